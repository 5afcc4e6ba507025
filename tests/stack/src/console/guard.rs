//! Keeps web pages out. A request must be addressed to loopback. Otherwise a name that resolves there (DNS rebinding) would let any page
//! that a developer visits read the stack.

use axum::{
    extract::Request,
    http::{
        HeaderMap, Method, StatusCode,
        header::{HOST, ORIGIN},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::catcher::SINKS;
use crate::gateway::guard::no_browser;
use crate::webhook_signature;

pub async fn loopback_only(request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    if host.is_some_and(is_loopback) {
        next.run(request).await
    } else {
        (StatusCode::MISDIRECTED_REQUEST, "The local stack answers requests to 127.0.0.1 and localhost only.\n").into_response()
    }
}

/// A page of another origin, even another port of this machine, may only link here. Requests that do not come from a page pass.
pub async fn own_pages_only(request: Request, next: Next) -> Response {
    if is_foreign(request.method(), request.headers()) {
        (StatusCode::FORBIDDEN, "The console answers its own pages only.\n").into_response()
    } else {
        next.run(request).await
    }
}

/// The API may call this port, so that the catcher can be told of things. Whatever URL somebody gives a webhook, it gets no further. The
/// reference, a page, may try routes that are signed so.
pub async fn webhooks_to_sinks_only(request: Request, next: Next) -> Response {
    let is_webhook = request.headers().contains_key(webhook_signature::ID) && no_browser(request.headers()).is_ok();
    if is_webhook && !request.uri().path().starts_with(SINKS) {
        (StatusCode::FORBIDDEN, "Webhooks are told to /catcher/sink/ only.\n").into_response()
    } else {
        next.run(request).await
    }
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    matches!(name, "127.0.0.1" | "localhost" | "::1")
}

fn is_foreign(method: &Method, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let own = format!("http://{}", text(HOST.as_str()).unwrap_or_default());
    if text(ORIGIN.as_str()).is_some_and(|origin| origin != own) {
        return true;
    }
    // `none` means that a person typed the address.
    let from_elsewhere = text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
    let followed_link = method == Method::GET && text("sec-fetch-mode") == Some("navigate") && text("sec-fetch-dest") == Some("document");
    from_elsewhere && !followed_link
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_pass() {
        for host in ["127.0.0.1:9001", "localhost", "localhost:1", "[::1]:9001"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "evil.example", "127.0.0.1.evil.example:9001", "localhost.evil:9001", "[::2]:9001"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn pages_of_other_origins_are_foreign_and_their_links_are_not() {
        let foreign = |method: Method, pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in [("host", "127.0.0.1:9001")].iter().chain(pairs) {
                headers.insert(*name, value.parse().unwrap());
            }
            is_foreign(&method, &headers)
        };
        assert!(!foreign(Method::GET, &[]) && !foreign(Method::POST, &[]));
        assert!(!foreign(Method::POST, &[("origin", "http://127.0.0.1:9001"), ("sec-fetch-site", "same-origin")]));
        for origin in ["https://evil.example", "null", "http://127.0.0.1:9002", "https://127.0.0.1:9001"] {
            assert!(foreign(Method::POST, &[("origin", origin)]), "{origin}");
        }
        let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
        assert!(!foreign(Method::GET, &link));
        assert!(foreign(Method::POST, &link));
        assert!(foreign(Method::GET, &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")]));
        assert!(foreign(Method::GET, &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")]));
    }
}
