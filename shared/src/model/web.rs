//! Hosts and URLs that a tenant enters and the edge fetches from: public names over https, never addresses inside a network.

use url::Url;

/// Names that always mean something local (RFC 6761, RFC 6762, RFC 8375, RFC 9476, and common names in networks).
const INSIDE: [&str; 13] =
    ["localhost", "local", "localdomain", "internal", "intranet", "private", "lan", "home", "corp", "arpa", "invalid", "onion", "alt"];

/// Services that resolve names to the address written in the name.
const ADDRESSES_AS_NAMES: [&str; 6] = ["nip.io", "sslip.io", "xip.io", "localtest.me", "lvh.me", "vcap.me"];

/// A public DNS name in lower case: at least two labels of letters, digits and hyphens. Not an IP address in any form, and not a local
/// name. The error continues "The <name> field …".
pub fn host(text: &str) -> Result<String, &'static str> {
    let host = text.to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let labels: Vec<&str> = host.split('.').collect();
    if host.len() > 253 || !labels.iter().all(|part| label(part)) {
        return Err("must be a host name like www.example.com");
    }
    let last = labels.last().copied().unwrap_or_default();
    // `127.1`, `2130706433` and `0x7f.1` are addresses too: no top-level domain begins with a digit.
    if last.starts_with(|first: char| first.is_ascii_digit()) {
        return Err("must be a host name, not an address");
    }
    if labels.len() < 2 || INSIDE.contains(&last) || ADDRESSES_AS_NAMES.iter().any(|suffix| is_under(&host, suffix)) {
        return Err("must be a host of the public internet");
    }
    Ok(host)
}

/// Where the edge fetches from: an https URL of a public host, without credentials, query, fragment or trailing slash.
pub fn origin(text: &str) -> Result<String, &'static str> {
    const SHAPE: &str = "must be an https URL like https://origin.example.com";
    if text.len() > 2048
        || !text.bytes().all(|byte| byte.is_ascii_graphic())
        || text.contains(['\\', '"', '<', '>', '`', '{', '}', '|', '^'])
    {
        return Err(SHAPE);
    }
    if !text.split_at_checked(8).is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("https://")) {
        return Err(SHAPE);
    }
    let url = Url::parse(text).map_err(|error| match error {
        url::ParseError::InvalidPort => "must have a port from 1 to 65535",
        url::ParseError::InvalidIpv4Address | url::ParseError::InvalidIpv6Address => "must be a host name, not an address",
        _ => SHAPE,
    })?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not have a query or a fragment");
    }
    if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
        return Err("must not carry credentials");
    }
    let host = match url.host() {
        Some(url::Host::Domain(name)) => host(name)?,
        Some(_) => return Err("must be a host name, not an address"),
        None => return Err(SHAPE),
    };
    let dots = |segment: &str| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    // Dot segments that the parser would remove are probably a mistake. So is a host with percent signs, or an empty host.
    let (authority, path) = text[8..].split_at(text[8..].find('/').unwrap_or(text.len() - 8));
    if path.split('/').any(dots) {
        return Err("must not have dot segments");
    }
    let spelled = authority.split(':').next().unwrap_or_default();
    if !spelled.eq_ignore_ascii_case(&host) || authority.ends_with(':') || url.port() == Some(0) || authority.contains(":0") {
        return Err(SHAPE);
    }
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    Ok(format!("https://{host}{port}{}", url.path().trim_end_matches('/')))
}

/// An absolute URL with one of the schemes and a host, in the normal form of its parser (WHATWG): scheme and host in lower case, the host
/// as A-labels, without default port and dot segments. A path that was not written is left out. With `named`, the URL may contain a user.
pub fn url(text: &str, schemes: &[&str], named: bool) -> Result<String, &'static str> {
    if text.len() > 2048 || text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err("must be a URL");
    }
    let url = Url::parse(text).map_err(|_| "must be a URL")?;
    let scheme =
        schemes.iter().any(|scheme| *scheme == url.scheme() && text.get(scheme.len()..).is_some_and(|rest| rest.starts_with("://")));
    if !scheme || url.host_str().is_none_or(str::is_empty) || text.contains(":///") {
        return Err("must be a URL");
    }
    // The parser drops an empty user, so the original text is checked.
    let authority = text.split("://").nth(1).and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    if !named && authority.contains('@') {
        return Err("must not carry credentials");
    }
    let mut normal = url.to_string();
    if url.path() == "/" && url.query().is_none() && url.fragment().is_none() && !text.ends_with('/') {
        normal.pop();
    }
    Ok(normal)
}

/// The host of a URL that `origin` made, or of a bare host.
pub fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', ':']).next().unwrap_or_default()
}

/// Whether a host is the domain or below it.
pub fn is_under(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// A header name (RFC 9110 token) that a proxy may set.
pub fn header_name(text: &str) -> Result<String, &'static str> {
    const THE_PROXYS_OWN: [&str; 12] = [
        "host",
        "connection",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
    ];
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !(1..=64).contains(&text.len()) || !text.bytes().all(token) {
        return Err("must be a header name");
    }
    let lower = text.to_ascii_lowercase();
    if THE_PROXYS_OWN.contains(&lower.as_str()) || lower.starts_with("proxy-") || lower.starts_with("x-forwarded-") {
        return Err("must not be a header that belongs to the connection");
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_public_names() {
        assert_eq!(host("WWW.Example.com").as_deref(), Ok("www.example.com"));
        assert!(host("xn--mnchen-3ya.example").is_ok());
        for wrong in [
            "",
            "localhost",
            "example",
            "example.com.",
            ".example.com",
            "a..b.com",
            "-a.com",
            "a-.com",
            "a_b.com",
            "münchen.de",
            "a b.com",
            "127.0.0.1",
            "10.1",
            "2130706433",
            "0x7f000001",
            "0x7f.0x1",
            "example.0x7f",
            "::1",
            "[::1]",
            "example.com:80",
            "https://a.com",
            "a.com/b",
            "foo.localhost",
            "printer.local",
            "metadata.google.internal",
            "db.lan",
            "1.0.0.127.in-addr.arpa",
            "169.254.169.254.nip.io",
            "localtest.me",
            &format!("{}.com", "a".repeat(64)),
            &format!("{}com", "a.".repeat(126)),
        ] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn origins_are_https_and_lead_outside() {
        for (text, kept) in [
            ("https://origin.example.com", "https://origin.example.com"),
            ("HTTPS://Origin.Example.com/", "https://origin.example.com"),
            ("https://origin.example.com:443/a/b/", "https://origin.example.com/a/b"),
            ("https://origin.example.com:8443/A", "https://origin.example.com:8443/A"),
        ] {
            assert_eq!(origin(text).as_deref(), Ok(kept));
        }
        for wrong in [
            "",
            "origin.example.com",
            "http://origin.example.com",
            "ftp://origin.example.com",
            "https://",
            "https:///a",
            "https:/a.com",
            "https://user@a.com",
            "https://user:pass@a.com",
            "https://@a.com",
            "https://a.com@10.0.0.1",
            "https://a.com?x=1",
            "https://a.com/#x",
            "https://a.com/?",
            "https://localhost",
            "https://127.0.0.1",
            "https://10.0.0.1/x",
            "https://192.168.1.1",
            "https://172.16.0.1",
            "https://169.254.169.254/latest/meta-data",
            "https://[::1]/",
            "https://[fd00:ec2::254]",
            "https://0/",
            "https://0177.0.0.1",
            "https://2130706433",
            "https://0x7f.1",
            "https://metadata.google.internal",
            "https://instance-data",
            "https://a.com:0",
            "https://a.com:65536",
            "https://a.com:+1",
            "https://a.com:",
            "https://a.com\\@b.com",
            "https://a.com /",
            "https://a.com/\n",
            "https://a.com/../b",
            "https://a.com/%2e%2E/b",
            "https://á.com",
            "https://a。com",
            "https://ａ.com",
            &format!("https://a.com/{}", "a".repeat(2048)),
        ] {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
        assert_eq!(host_of("https://a.example.com:8443/x"), "a.example.com");
        assert!(is_under("a.example.com", "example.com") && is_under("example.com", "example.com"));
        assert!(!is_under("badexample.com", "example.com"));
    }

    #[test]
    fn urls_are_kept_in_their_normal_form() {
        for (text, kept) in [
            ("https://example.com/logo.png", "https://example.com/logo.png"),
            ("https://example.com", "https://example.com"),
            ("https://example.com/", "https://example.com/"),
            ("HTTPS://EXAMPLE.com:443/a/../b.png", "https://example.com/b.png"),
            ("https://bücher.example/ö.png", "https://xn--bcher-kva.example/%C3%B6.png"),
            ("https://example.com?x=1", "https://example.com/?x=1"),
            ("http://127.1:8080/x", "http://127.0.0.1:8080/x"),
        ] {
            assert_eq!(url(text, &["https", "http"], false).as_deref(), Ok(kept), "{text}");
        }
        for wrong in [
            "",
            "example.com",
            "https://",
            "https:///a",
            "https:example.com",
            "https:/example.com",
            "ftp://example.com",
            "javascript:alert(1)",
            "https://user:pass@example.com/",
            "https://user@example.com/",
            "https://@example.com/",
            "https:\\\\example.com",
            "https://exam ple.com",
            "https://example.com/a b",
            " https://example.com",
            "https://example.com\n",
            "https://example.com:99999",
            "https://[::1",
        ] {
            assert!(url(wrong, &["https", "http"], false).is_err(), "{wrong}");
        }
        assert!(url("http://example.com", &["https"], false).is_err());
        assert_eq!(url("https://abc@o1.ingest.sentry.io/2", &["https"], true).as_deref(), Ok("https://abc@o1.ingest.sentry.io/2"));
    }

    #[test]
    fn header_names_are_tokens() {
        for right in ["Authorization", "X-Api-Key", "api_key"] {
            assert!(header_name(right).is_ok(), "{right}");
        }
        for wrong in ["", "a b", "a:", "a\r\nb", "ä", "Host", "content-length", "Proxy-Authorization", &"a".repeat(65)] {
            assert!(header_name(wrong).is_err(), "{wrong}");
        }
    }
}
