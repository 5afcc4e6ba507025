//! Keeps web pages out. A request must be addressed to loopback, because a name that resolves there (DNS rebinding) could be used by any
//! page. Requests that no page needs are refused to every browser. A browser can be recognised by its headers.

use http::{HeaderMap, StatusCode, Uri, header};

use super::refusal::Refusal;

/// The name in `Host`, or in an absolute request target, must be this machine.
pub fn loopback(uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().unwrap_or_default(),
        _ => "",
    };
    let target = uri.authority().is_none_or(|authority| is_loopback(authority.as_str()));
    if target && is_loopback(host) {
        return Ok(());
    }
    let message = "the local stack answers requests to 127.0.0.1, localhost and [::1] only";
    Err(Refusal::bad(StatusCode::MISDIRECTED_REQUEST, message))
}

/// Browsers send the page's origin (`Origin`) or the purpose (`Sec-Fetch-*`). No page can leave out both.
pub fn no_browser(headers: &HeaderMap) -> Result<(), Refusal> {
    let told = |name: &http::HeaderName| *name == header::ORIGIN || name.as_str().starts_with("sec-fetch-");
    if headers.keys().any(told) {
        return Err(Refusal::new(StatusCode::FORBIDDEN, "FORBIDDEN", "web pages have no access to this"));
    }
    Ok(())
}

/// Content types that a page can send without a preflight. A client of AWS never uses them.
pub fn not_a_form(headers: &HeaderMap) -> Result<(), Refusal> {
    let content_type = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?").to_ascii_lowercase());
    let essence = content_type.as_deref().map(|text| text.split(';').next().unwrap_or_default().trim());
    match essence {
        None | Some("application/json" | "application/x-amz-json-1.0" | "application/x-amz-json-1.1" | "application/octet-stream") => {
            Ok(())
        }
        Some(_) => {
            let message = "an invocation takes an event as application/json";
            Err(Refusal::bad(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
        }
    }
}

/// With or without a port.
pub fn is_loopback(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, port)) => (name, port.strip_prefix(':').or(port.is_empty().then_some(""))),
            None => return false,
        },
        None => host.split_once(':').map_or((host, Some("")), |(name, port)| (name, Some(port))),
    };
    let ipv6 = host.starts_with('[');
    let ours = if ipv6 { name == "::1" } else { name == "127.0.0.1" || name.eq_ignore_ascii_case("localhost") };
    ours && port.is_some_and(|port| port.is_empty() || port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_loopback_names_pass() {
        for host in ["127.0.0.1:9001", "localhost", "LocalHost:1", "[::1]:9001", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "127.0.0.1.evil.example:9001",
            "localhost.evil:9001",
            "[::2]:9001",
            "::1",
            "[::1",
            "[::1]x",
            "localhost:x",
            "localhost:80:80",
            "127.0.0.1@evil",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
        let uri = Uri::from_static("/");
        assert!(loopback(&uri, &headers(&[("host", "localhost:9000")])).is_ok());
        assert!(loopback(&uri, &headers(&[])).is_err());
        assert!(loopback(&uri, &headers(&[("host", "localhost"), ("host", "evil.example")])).is_err());
        assert!(loopback(&Uri::from_static("http://evil.example/"), &headers(&[("host", "localhost")])).is_err());
    }

    #[test]
    fn a_browser_is_known_by_what_it_cannot_leave_out() {
        assert!(no_browser(&headers(&[("user-agent", "Mozilla/5.0")])).is_ok());
        for (name, value) in
            [("origin", "null"), ("origin", "http://localhost:9000"), ("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")]
        {
            assert!(no_browser(&headers(&[(name, value)])).is_err(), "{name}");
        }
        for simple in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "TEXT/PLAIN;charset=utf-8"] {
            assert!(not_a_form(&headers(&[("content-type", simple)])).is_err(), "{simple}");
        }
        assert!(not_a_form(&headers(&[("content-type", "application/json; charset=utf-8")])).is_ok());
        assert!(not_a_form(&headers(&[])).is_ok());
    }
}
