//! The mailbox as pages: the list, and one mail with both its forms.

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use maud::{Markup, html};

use super::{Console, Trouble, page::page};

pub fn routes() -> Router<Console> {
    Router::new().route("/mailbox", get(list)).route("/mailbox/{id}", get(show))
}

async fn list(State(console): State<Console>) -> Result<Markup, Trouble> {
    let mails = console.aws.mailbox().mails()?;
    Ok(page(
        "Mailbox",
        html! {
            @if mails.is_empty() {
                p { "No mail has been sent yet." }
            } @else {
                table {
                    tr { th { "When" } th { "To" } th { "Subject" } th { "Kind" } th { "Tenant" } }
                    @for kept in mails.iter().rev() {
                        tr {
                            td { (kept.received_at) }
                            td { (kept.mail.to) }
                            td { a href={ "/mailbox/" (path_part(&kept.mail.id)) } { (kept.mail.subject) } }
                            td { (kept.mail.kind) }
                            td { (kept.mail.tenant.as_deref().unwrap_or_default()) }
                        }
                    }
                }
            }
            p { a href="/mailbox.json" { "As JSON" } }
        },
    ))
}

async fn show(State(console): State<Console>, Path(id): Path<String>) -> Result<Response, Trouble> {
    let Some(kept) = console.aws.mailbox().mail(&id)? else {
        let nothing = page("Mailbox", html! { p { "There is no such mail." } });
        return Ok((StatusCode::NOT_FOUND, nothing).into_response());
    };
    let mail = kept.mail;
    let content = html! {
        table {
            tr { th { "To" } td { (mail.to) } }
            tr { th { "When" } td { (kept.received_at) } }
            tr { th { "Kind" } td { (mail.kind) } }
            tr { th { "Posted" } td { (kept.deliveries) "×" } }
        }
        h2 { "Text" }
        pre { (mail.text) }
        @if let Some(markup) = mail.html {
            h2 { "HTML" }
            // Sandboxed without exceptions: no scripts, no forms, no way out of the frame.
            iframe sandbox="" srcdoc=(markup) {}
        }
    };
    Ok(page(&mail.subject, content).into_response())
}

/// Percent-encodes an id for a path.
pub fn path_part(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
