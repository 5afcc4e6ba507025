//! Keeps web pages out: a request must be addressed to loopback, or a name that resolves there (DNS rebinding) would
//! let any page a developer visits read the stack.

use axum::{
    extract::Request,
    http::{StatusCode, header::HOST},
    middleware::Next,
    response::{IntoResponse, Response},
};

pub async fn loopback_only(request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    if host.is_some_and(is_loopback) {
        next.run(request).await
    } else {
        (StatusCode::MISDIRECTED_REQUEST, "The local stack answers requests to 127.0.0.1 and localhost only.\n").into_response()
    }
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    matches!(name, "127.0.0.1" | "localhost" | "::1")
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
}
