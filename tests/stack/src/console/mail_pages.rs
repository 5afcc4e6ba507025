//! The mailbox as pages: the mails that would have been sent, to search and read.

use axum::{
    Router,
    extract::{Path, Query, State},
    http::{HeaderValue, header::CONTENT_SECURITY_POLICY},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    Console, PageError,
    live::Topic,
    missing,
    page::{Section, live_page, page},
    parts::{self, Field},
    tenants::Tenants,
};
use crate::mailbox::KeptMail;

/// The most mails on a page.
const MOST: usize = 200;

/// For a mail as it was written: its own styles and embedded pictures are allowed, but no scripts and no requests.
const MAIL_POLICY: &str =
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

pub fn routes() -> Router<Console> {
    Router::new().route("/mailbox", get(list)).route("/mailbox/{id}", get(show)).route("/mailbox/{id}/html", get(as_written))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wanted {
    q: String,
    kind: String,
}

async fn list(State(console): State<Console>, Query(wanted): Query<Wanted>) -> Result<Markup, PageError> {
    let mut tenants = Tenants::of(&console);
    let all = console.aws.mailbox().mails()?;
    let mut kinds: Vec<&str> = all.iter().map(|kept| kept.mail.kind.as_str()).filter(|kind| !kind.is_empty()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let found: Vec<&KeptMail> = all.iter().rev().filter(|kept| fits(kept, &wanted, &mut tenants)).collect();
    let fields = [
        Field::Search { name: "q", label: "Search", value: &wanted.q, hint: "Recipient, subject, text or tenant" },
        Field::Choice {
            name: "kind",
            label: "Kind",
            value: &wanted.kind,
            options: kinds.into_iter().map(|kind| (kind.to_owned(), kind.to_owned())).collect(),
        },
    ];
    let content = html! {
        div .row.spread {
            (parts::count(found.len(), Some(all.len()), "mail", "mails"))
            a .small href="/mailbox.json" { "All as JSON" }
        }
        @if all.is_empty() {
            (parts::nothing(html! { "No mail has been sent yet. Register somebody or invite a member, and it appears here." }))
        } @else if found.is_empty() {
            (parts::nothing(html! { "No mail fits the filter." }))
        } @else {
            (parts::table("Mails, newest first", &[("When (UTC)", false), ("To", false), ("Subject", false), ("Tenant", false), ("Kind", false)], html! {
                @for kept in found.iter().take(MOST) {
                    tr #{ "mail-" (parts::encoded(&kept.mail.id)) } {
                        td .short { (parts::moment(&kept.received_at)) }
                        td { (kept.mail.to) }
                        td .long { a href={ "/mailbox/" (parts::encoded(&kept.mail.id)) } { (subject(kept)) } }
                        td { @if let Some(tenant) = &kept.mail.tenant { (tenants.get(tenant).markup()) } @else { span .quiet { "none" } } }
                        td .short { (kept.mail.kind) }
                    }
                }
            }))
            @if found.len() > MOST { p .quiet { "The newest " (MOST) " are shown. Search for older ones." } }
        }
    };
    Ok(live_page(Section::Mailbox, "Mailbox", Topic::Mailbox, parts::filters("/mailbox", "#live", &fields), content))
}

async fn show(State(console): State<Console>, Path(id): Path<String>) -> Result<Response, PageError> {
    let Some(kept) = console.aws.mailbox().mail(&id)? else {
        return Ok(missing(Section::Mailbox, "There is no such mail."));
    };
    let mail = &kept.mail;
    let mut facts = vec![
        ("To", html! { (parts::copyable_value("to", "the recipient", &mail.to)) }),
        ("When", html! { (parts::moment(&kept.received_at)) " UTC" }),
        ("Kind", html! { (mail.kind) }),
        ("Posted", html! { (kept.deliveries) "×" }),
    ];
    if let Some(tenant) = &mail.tenant {
        let tenant = Tenants::of(&console).get(tenant);
        facts.insert(1, ("Tenant", html! { (tenant.title()) span .under.id { (tenant.id) } }));
    }
    let content = html! {
        p { a href="/mailbox" { "All mails" } }
        section .card aria-label="Envelope" { (parts::facts(&facts)) }
        section .card aria-labelledby="text-heading" {
            div .row.spread { h2 #text-heading { "Text" } (parts::copy_button("text", "the text")) }
            div .sheet tabindex="0" role="region" aria-labelledby="text-heading" { pre #text { (mail.text) } }
        }
        @if mail.html.is_some() {
            section .card aria-labelledby="html-heading" {
                h2 #html-heading { "HTML" }
                // Fully sandboxed: no scripts, no forms, no links out of the frame.
                iframe sandbox="" title="The mail as written" src={ "/mailbox/" (parts::encoded(&mail.id)) "/html" } {}
            }
        }
    };
    Ok(page(Section::Mailbox, subject(&kept), content).into_response())
}

async fn as_written(State(console): State<Console>, Path(id): Path<String>) -> Result<Response, PageError> {
    let mail = console.aws.mailbox().mail(&id)?;
    let Some(markup) = mail.and_then(|kept| kept.mail.html) else {
        return Ok(missing(Section::Mailbox, "There is no such mail."));
    };
    Ok(([(CONTENT_SECURITY_POLICY, HeaderValue::from_static(MAIL_POLICY))], Html(markup)).into_response())
}

fn subject(kept: &KeptMail) -> &str {
    if kept.mail.subject.trim().is_empty() { "(no subject)" } else { &kept.mail.subject }
}

/// Every word must be found in recipient, subject, text, kind or tenant.
fn fits(kept: &KeptMail, wanted: &Wanted, tenants: &mut Tenants) -> bool {
    let mail = &kept.mail;
    let tenant = mail.tenant.as_deref().map(|tenant| tenants.get(tenant));
    let text = [&mail.to, &mail.subject, &mail.text, &mail.kind].map(|part| part.to_lowercase());
    let holds = |word: &str| text.iter().any(|part| part.contains(word)) || tenant.as_ref().is_some_and(|tenant| tenant.fits(word));
    let kind_fits = wanted.kind.is_empty() || wanted.kind == mail.kind;
    kind_fits && wanted.q.to_lowercase().split_whitespace().all(holds)
}
