//! The frame of every console page, and the headers that keep what is shown from acting.

use axum::{
    extract::Request,
    http::{HeaderValue, header},
    middleware::Next,
    response::Response,
};
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = "
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1c2430; }
nav a { margin-right: 1rem; } table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .3rem .6rem;
border-bottom: 1px solid #d8dee6; vertical-align: top; } pre { background: #f4f6f8; padding: .8rem; overflow-x: auto; white-space: pre-wrap; }
code { overflow-wrap: anywhere; } iframe { width: 100%; height: 24rem; border: 1px solid #d8dee6; }";

/// Scripts come from this server only (the API reference needs them), styles may be inline, and no page is framed by
/// another origin. The API itself is on another port: the reference calls it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
font-src 'self' data:; connect-src 'self' http://127.0.0.1:* http://localhost:*; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

pub fn page(title: &str, content: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { (title) " · Tenantry" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                nav { a href="/" { "Home" } a href="/reference" { "API reference" } a href="/mailbox" { "Mailbox" } a href="/table" { "Table" } }
                h1 { (title) }
                (content)
            }
        }
    }
}

pub async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
