//! Every answer in any test must match its description in `openapi.json`, field by field, and so must every accepted body.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::derived::resolved;
use crate::world::{Answer, catalogue};

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| catalogue().openapi("0.0.0"));

/// Fails if the answer does not match its description. Unknown paths and methods belong to no route.
#[track_caller]
pub fn check(method: &str, path: &str, sent: Option<&[u8]>, answer: &Answer) {
    let Some(operation) = route(path).map(|route| &DOCUMENT["paths"][route][method.to_ascii_lowercase()]).filter(|found| found.is_object())
    else {
        return;
    };
    let told = || format!("{method} {path} answers {} {:?} {}", answer.status, answer.headers, answer.text);
    let response = resolved(&DOCUMENT, &operation["responses"][answer.status.to_string()]);
    assert!(response.is_object(), "openapi.json has no such status: {}", told());
    let kind = answer.header("content-type");
    match response["content"].as_object() {
        None => assert!(answer.text.is_empty(), "openapi.json has no content there: {}", told()),
        Some(kinds) => {
            let content = kinds.get(kind).unwrap_or_else(|| panic!("openapi.json has no such content: {}", told()));
            let text = || Value::String(answer.text.clone());
            let body = if kind.ends_with("json") && kind != "application/x-ndjson" { answer.json() } else { text() };
            if let Err(problem) = fits(&body, &content["schema"], true) {
                panic!("openapi.json describes another answer ({problem}): {}", told());
            }
        }
    }
    for header in ["etag", "link", "idempotency-replayed", "retry-after", "ratelimit"] {
        let names = |response: &Value| {
            response["headers"].as_object().is_some_and(|known| known.keys().any(|name| name.eq_ignore_ascii_case(header)))
        };
        // A refusal that has an effect of its own is kept too.
        let is_replay =
            || operation["responses"].as_object().is_some_and(|all| header == "idempotency-replayed" && all.values().any(names));
        let is_described = names(response) || is_replay();
        assert!(is_described || answer.header(header).is_empty(), "openapi.json has no header {header} there: {}", told());
    }
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    if let Some(body) = sent.and_then(|sent| serde_json::from_slice::<Value>(sent).ok()).map(|body| taken(path, body, answer))
        && schema.is_object()
        && answer.status < 300
        // Where a list of them is taken, those that nobody can read are ignored.
        && let Err(problem) = match body.as_array() {
            None => fits(&body, schema, false),
            Some(all) if all.iter().any(|one| fits(one, schema, false).is_ok()) => Ok(()),
            Some(all) => all.iter().try_for_each(|one| fits(one, schema, false)),
        }
    {
        panic!("openapi.json does not allow this body ({problem}), which was taken: {body}: {}", told());
    }
}

/// A body without the rows that its answer refuses one by one.
fn taken(path: &str, mut body: Value, answer: &Answer) -> Value {
    let rows = match path {
        "/v1/contacts/import" => "contacts",
        "/v1/compliance/consent/import" => "records",
        _ => return body,
    };
    if let Some(rows) = body.get_mut(rows).and_then(Value::as_array_mut) {
        let told = serde_json::from_str::<Value>(&answer.text).unwrap_or_default();
        for fault in told["data"]["errors"].as_array().into_iter().flatten().rev() {
            rows.remove(fault["index"].as_u64().and_then(|index| usize::try_from(index).ok()).expect("the row is one of them"));
        }
    }
    body
}

/// The path of the description that a path is one of: the one with the fewest values.
pub fn route(path: &str) -> Option<&'static str> {
    let segments: Vec<&str> = path.split('?').next()?.split('/').collect();
    let is_value = |pattern: &&str| pattern.starts_with('{');
    DOCUMENT["paths"]
        .as_object()?
        .keys()
        .map(String::as_str)
        .filter(|pattern| {
            let mut pairs = pattern.split('/').zip(&segments);
            pattern.split('/').count() == segments.len()
                && pairs.all(|(pattern, segment)| pattern == *segment || (is_value(&pattern) && !segment.is_empty()))
        })
        .min_by_key(|pattern| pattern.split('/').filter(is_value).count())
}

/// Whether a value matches a schema. `exact`: an object has no field that the schema does not name.
fn fits(value: &Value, schema: &Value, exact: bool) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{value} {what} of {schema}"));
    let Some(schema) = schema.as_object() else { return Ok(()) };
    if schema.contains_key("$ref") {
        fits(value, referred(schema), exact)?;
    }
    if let Some(kind) = schema.get("type") {
        let is = |kind: &Value| match kind.as_str().unwrap_or_default() {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "string" => value.is_string(),
            "array" => value.is_array(),
            _ => value.is_object(),
        };
        if !kind.as_array().map_or_else(|| is(kind), |kinds| kinds.iter().any(is)) {
            return wrong("is not the type");
        }
    }
    if schema.get("enum").and_then(Value::as_array).is_some_and(|words| !words.contains(value))
        || schema.get("const").is_some_and(|only| only != value)
    {
        return wrong("is not among the words");
    }
    if let Some(any) = schema.get("anyOf").or(schema.get("oneOf")).and_then(Value::as_array) {
        let problems: Vec<String> = any.iter().map_while(|one| fits(value, one, exact).err()).collect();
        if problems.len() == any.len() {
            return Err(problems.join("; "));
        }
    }
    for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        fits(value, part, false)?;
    }
    match value {
        Value::Object(fields) => {
            let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
            if let Some(missing) = required.filter_map(Value::as_str).find(|name| !fields.contains_key(*name)) {
                return wrong(&format!("lacks {missing}"));
            }
            for (name, field) in fields {
                match (schema.get("properties").and_then(|properties| properties.get(name)), schema.get("additionalProperties")) {
                    (Some(property), _) => fits(field, property, exact)?,
                    (None, Some(Value::Bool(false))) => return wrong(&format!("may not have {name}")),
                    (None, Some(others)) => fits(field, others, exact)?,
                    (None, None) if exact && !may_have(schema, name) => {
                        return wrong(&format!("has {name}, which is none"));
                    }
                    (None, None) => {}
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                fits(item, schema.get("items").unwrap_or(&Value::Null), exact)?;
            }
        }
        Value::String(text) => {
            let is_formed = match schema.get("format").and_then(Value::as_str).unwrap_or_default() {
                "date-time" => shared::model::time::moment(text).is_some(),
                "date" => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
                "uuid" => text.len() == 36 && text.split('-').map(str::len).eq([8, 4, 4, 4, 12]),
                "email" => text.contains('@'),
                "uri" => text.contains(':'),
                _ => true,
            };
            let length = text.chars().count() as u64;
            let limit = |name: &str, without: u64| schema.get(name).and_then(Value::as_u64).unwrap_or(without);
            if !is_formed || length < limit("minLength", 0) && !text.is_empty() && exact || exact && length > limit("maxLength", u64::MAX) {
                return wrong("is not the form");
            }
        }
        Value::Number(number) => {
            let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
            let number = number.as_f64().unwrap_or_default();
            if bound("minimum").is_some_and(|least| number < least) || bound("maximum").is_some_and(|most| number > most) {
                return wrong("is out of the bounds");
            }
        }
        _ => {}
    }
    Ok(())
}

/// Whether a schema, or a part of it, names a field, or names none at all.
fn may_have(schema: &Map<String, Value>, name: &str) -> bool {
    let parts: Vec<&Map<String, Value>> =
        schema.get("allOf").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object).collect();
    let referred = schema.get("$ref").map(|_| referred(schema));
    match schema.get("properties").and_then(Value::as_object) {
        Some(properties) => properties.contains_key(name),
        None if parts.is_empty() && referred.is_none() => true,
        None => {
            parts.into_iter().any(|part| may_have(part, name))
                || referred.and_then(Value::as_object).is_some_and(|part| may_have(part, name))
        }
    }
}

/// The target of a schema's reference.
fn referred(schema: &Map<String, Value>) -> &'static Value {
    let pointer = schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#')).unwrap_or_default();
    DOCUMENT.pointer(pointer).unwrap_or_else(|| panic!("{pointer} leads nowhere"))
}

#[test]
fn a_value_is_compared_field_by_field() {
    let project = json!({
        "id": "550e8400-e29b-41d4-a716-446655440000", "name": "n", "description": null, "color": "#000000", "is_archived": false,
        "settings": {"any": [1]}, "open_tasks_count": 0, "completed_tasks_count": 0, "created_at": "2026-11-21T09:30:00+00:00",
        "updated_at": "2026-11-21T09:30:00+00:00",
    });
    let schema = json!({"$ref": "#/components/schemas/Project"});
    assert_eq!(fits(&project, &schema, true), Ok(()));
    let with = |name: &str, value: Value| {
        let mut changed = project.clone();
        changed[name] = value;
        changed
    };
    for wrong in [
        with("id", json!("1")),
        with("name", Value::Null),
        with("is_archived", json!(0)),
        with("open_tasks_count", json!(-1)),
        with("created_at", json!("yesterday")),
        with("secret", json!("s")),
        json!({"id": project["id"]}),
        json!([]),
    ] {
        assert!(fits(&wrong, &schema, true).is_err(), "{wrong}");
    }
    assert_eq!(route("/api/tenants/usage"), Some("/api/tenants/usage"));
    assert_eq!(route("/api/tenants/acme?x=1"), Some("/api/tenants/{slug}"));
    assert_eq!(route("/api/nothing"), None);
}
