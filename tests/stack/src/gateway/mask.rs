//! What may be remembered of requests and answers: everything except secrets. Secrets are recognised by their field name or by their form.

use serde_json::Value;

pub const MASK: &str = "********";

/// Longer JSON is not parsed, and so not shown.
const MOST_READ: usize = 1024 * 1024;

/// Parts of names whose values are secret, in lower case and without `-` and `_`.
const SECRET_NAMES: [&str; 11] =
    ["password", "passwd", "secret", "token", "authorization", "apikey", "accesskey", "ingestkey", "privatekey", "cookie", "credential"];

/// Names that contain such a part but are not secret.
const PLAIN_NAMES: [&str; 8] =
    ["tokentype", "accesscontrolallowcredentials", "expiresintokens", "apikeys", "apikeyid", "tokenexpiresat", "secretset", "passwordset"];

pub fn header(name: &str, value: &str) -> String {
    if is_secret(name) { MASK.to_owned() } else { text(value) }
}

/// A query string with masked secrets.
pub fn query(query: &str) -> String {
    let pair = |pair: &str| match pair.split_once('=') {
        Some((name, value)) if is_secret(name) && !value.is_empty() => format!("{name}={MASK}"),
        _ => text(pair),
    };
    query.split('&').map(pair).collect::<Vec<_>>().join("&")
}

pub fn body(path: &str, content_type: &str, body: &[u8]) -> String {
    let Ok(plain) = std::str::from_utf8(body) else {
        return format!("({} bytes that are not text)", body.len());
    };
    if plain.trim().is_empty() {
        return plain.to_owned();
    }
    if body.len() > MOST_READ {
        return format!("({} bytes, too many to look for secrets in)", body.len());
    }
    // The value of any tenant setting may be a secret.
    let values_too = path.starts_with("/api/tenant-setting");
    if content_type.starts_with("application/x-www-form-urlencoded") {
        return query(plain);
    }
    if let Some(masked) = json(plain, values_too) {
        return masked;
    }
    let lines: Option<Vec<String>> =
        plain.lines().map(|line| if line.is_empty() { Some(String::new()) } else { json(line, values_too) }).collect();
    if let Some(lines) = lines {
        return lines.join("\n");
    }
    // Not JSON, or broken JSON: the end of a secret is not known.
    if values_too || is_secret(plain) {
        return format!("({} bytes that cannot be read and name a secret)", body.len());
    }
    text(plain)
}

fn json(text: &str, values_too: bool) -> Option<String> {
    let trimmed = text.trim_start_matches('\u{feff}').trim();
    // A plain number or word needs no rewriting.
    if !trimmed.starts_with(['{', '[', '"']) {
        return None;
    }
    let value: Value = serde_json::from_str(trimmed).ok()?;
    let masked = value_masked(value.clone(), values_too);
    // Unchanged if nothing was secret.
    Some(if masked == value { trimmed.to_owned() } else { masked.to_string() })
}

fn value_masked(value: Value, values_too: bool) -> Value {
    match value {
        Value::Object(object) => Value::Object(
            object
                .into_iter()
                .map(|(name, value)| {
                    let value = if is_secret(&name) { secret(value) } else { value_masked(value, values_too) };
                    (name, value)
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(|item| value_masked(item, values_too)).collect()),
        Value::String(plain) if values_too => Value::String(if plain.is_empty() { plain } else { MASK.to_owned() }),
        // An event contains a body as text inside its JSON.
        Value::String(plain) => {
            Value::String(json(&plain, values_too).filter(|_| plain.starts_with(['{', '['])).unwrap_or_else(|| text(&plain)))
        }
        other => other,
    }
}

/// Masks every leaf below a secret name. `null`, `false` and an empty text stay, because they only say that there is no value.
fn secret(value: Value) -> Value {
    match value {
        Value::Null | Value::Bool(_) => value,
        Value::String(text) if text.is_empty() => Value::String(text),
        Value::Array(items) => Value::Array(items.into_iter().map(secret).collect()),
        Value::Object(object) => Value::Object(object.into_iter().map(|(name, value)| (name, secret(value))).collect()),
        _ => Value::String(MASK.to_owned()),
    }
}

fn is_secret(name: &str) -> bool {
    let name: String = name.chars().filter(|c| !matches!(c, '-' | '_')).collect::<String>().to_lowercase();
    !PLAIN_NAMES.contains(&name.as_str()) && SECRET_NAMES.iter().any(|part| name.contains(part))
}

/// Keys and session tokens are recognised by their form everywhere.
fn text(plain: &str) -> String {
    if !["tf_live_", "tf_test_", "eyJ"].iter().any(|start| plain.contains(start)) {
        return plain.to_owned();
    }
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let mut masked = String::with_capacity(plain.len());
    for word in plain.split_inclusive(|c| !is_part(c)) {
        let end = word.trim_end_matches(|c| !is_part(c));
        if end.starts_with("tf_live_") || end.starts_with("tf_test_") {
            masked.push_str(&end[..end.len().min(8)]);
            masked.push_str(MASK);
        } else if end.starts_with("eyJ") && end.matches('.').count() == 2 {
            masked.push_str(MASK);
        } else {
            masked.push_str(end);
        }
        masked.push_str(&word[end.len()..]);
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_name_and_by_form() {
        for name in
            ["Authorization", "X-API-Key", "cookie", "set-cookie", "x-ingest-key", "proxy-authorization", "newPassword", "client_secret"]
        {
            assert_eq!(header(name, "value"), MASK, "{name}");
        }
        for name in ["content-type", "x-ratelimit-limit", "idempotency-key", "etag", "token_type"] {
            assert_eq!(header(name, "value"), "value", "{name}");
        }
        assert_eq!(
            query("search=a&token=abc&access_token=&x=tf_live_abcdefghijkl.1"),
            "search=a&token=********&access_token=&x=tf_live_********"
        );
        assert_eq!(text("use tf_test_abc, or eyJh.eyJi.sig!"), "use tf_test_********, or ********!");
    }

    #[test]
    fn bodies_keep_their_form_but_for_the_secrets() {
        let masked = |path: &str, text: &str| body(path, "application/json", text.as_bytes());
        assert_eq!(masked("/", r#"{ "name": "kept as written" }"#), r#"{ "name": "kept as written" }"#);
        assert_eq!(
            masked("/", r#"{"email":"a@b.c","password":"x","data":{"token":"eyJ","key":"tf_live_aaaa"},"secrets":{"a":["b",1,null]}}"#),
            r#"{"email":"a@b.c","password":"********","data":{"token":"********","key":"tf_live_********"},"secrets":{"a":["********","********",null]}}"#
        );
        assert_eq!(masked("/api/tenant-setting", r#"{"smtp_host":"mail"}"#), r#"{"smtp_host":"********"}"#);
        assert_eq!(masked("/", "{\"a\":1}\n{\"password\":\"x\"}"), "{\"a\":1}\n{\"password\":\"********\"}");
        assert_eq!(masked("/", r#"{"password": "x"#), "(15 bytes that cannot be read and name a secret)");
        assert_eq!(masked("/", r#"{"name": "x"#), r#"{"name": "x"#);
        assert_eq!(body("/", "application/x-www-form-urlencoded", b"name=a&password=b"), "name=a&password=********");
        assert_eq!(masked("/", "\u{feff}{\"password\":\"x\"}"), r#"{"password":"********"}"#);
    }
}
