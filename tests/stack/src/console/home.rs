//! The first page: addresses, the demo to work with, and the depths of the queues.

use axum::{
    Router,
    extract::State,
    http::HeaderMap,
    routing::{get, post},
};
use maud::{Markup, html};

use super::{
    Console, PageError,
    live::Topic,
    page::{Section, live_page, page},
    parts,
    tenants::Tenants,
};
use crate::{demo::Demo, gateway::access::Filter};

/// Part of the name of the secret with the edge's key.
const INGEST_SECRET: &str = "IngestSecret";

pub fn routes() -> Router<Console> {
    Router::new().route("/", get(home)).route("/demo/token", post(token))
}

/// Differs when the page would differ. It must be cheap, because it is called every second.
pub fn state(console: &Console) -> String {
    let queues: Vec<_> = console.queue_depths().unwrap_or_default().into_iter().map(|(_, depth)| (depth.visible, depth.hidden)).collect();
    let newest = console.access.recent(&Filter { limit: Some(1), ..Filter::default() }).first().map(|entry| entry.number);
    let counted = [console.aws.mailbox().news(), console.aws.phones().news(), console.aws.catcher().news()].map(|news| *news.borrow());
    format!("{queues:?} {:?} {newest:?} {counted:?}", console.demo().ok().flatten())
}

async fn home(State(console): State<Console>) -> Result<Markup, PageError> {
    let demo = console.demo()?;
    let key = console.ingest_key().await;
    let mails = console.aws.mailbox().mails()?.len();
    let phones = console.aws.phones().count();
    let webhooks = console.aws.catcher().count();
    let requests = console.access.recent(&Filter::default());
    let failed = requests.iter().filter(|entry| entry.status >= 500).count();
    let queues = console.queue_depths()?;
    let content = html! {
        div .pair {
            section .card aria-labelledby="demo-heading" {
                h2 #demo-heading { "Demo" }
                @match &demo {
                    Some(demo) => (demo_box(&console, demo, key.as_deref())),
                    None => p .quiet { "The demo tenant is being made. It appears here as soon as it is there." },
                }
            }
            div .stack {
                section .card aria-labelledby="stack-heading" {
                    h2 #stack-heading { "This stack" }
                    (parts::facts(&[
                        ("API", html! { (parts::copyable_value("api-url", "the address of the API", console.api.base())) }),
                        ("Requests", html! {
                            a href="/requests" { (requests.len()) @if requests.len() == 1 { " request" } @else { " requests" } }
                            @if failed > 0 { " " a href="/requests?status=5xx" .badge.broken { (failed) " failed" } }
                        }),
                        ("Mails", html! { a href="/mailbox" { (mails) @if mails == 1 { " mail" } @else { " mails" } } " caught, none sent" }),
                        ("Phones", html! { a href="/phones" { (phones) @if phones == 1 { " phone" } @else { " phones" } } " that were written to" }),
                        ("Catcher", html! { a href="/catcher" { (webhooks) @if webhooks == 1 { " webhook" } @else { " webhooks" } } " caught" }),
                        ("Data", html! { a href="/table" { "Items of every tenant" } }),
                        ("API reference", html! { a href="/reference" { "Every route, to read and to try" } }),
                        ("Health", html! { a href="/health" { "As JSON" } }),
                    ]))
                }
                section .stack aria-labelledby="queues-heading" {
                    h2 #queues-heading { "Queues" }
                    (parts::table("Queues", &[("Queue", false), ("Waiting", true), ("In work", true)], html! {
                        @for (name, depth) in queues {
                            tr { td { (name) } td .number { (depth.visible) } td .number { (depth.hidden) } }
                        }
                    }))
                }
            }
        }
    };
    Ok(live_page(Section::Home, "Local stack", Topic::Home, html! {}, content))
}

fn demo_box(console: &Console, demo: &Demo, key: Option<&str>) -> Markup {
    let tenant = console.tenant_by_slug(&demo.tenant_slug).map(|id| Tenants::of(console).get(&id));
    let mut facts = vec![
        ("E-mail", parts::copyable_value("demo-email", "the e-mail address", &demo.email)),
        ("Password", parts::copyable_value("demo-password", "the password", &demo.password)),
        (
            "Tenant",
            html! {
                @match &tenant {
                    Some(tenant) => {
                        (tenant.name) " – " (parts::copyable_value("demo-slug", "the slug", &demo.tenant_slug))
                        span .under { "number " (demo.tenant_id) ", id " span .id { (tenant.id) } }
                    }
                    None => { (parts::copyable_value("demo-slug", "the slug", &demo.tenant_slug)) span .under { "number " (demo.tenant_id) } }
                }
            },
        ),
    ];
    if let Some(key) = key {
        facts.push((
            "Ingest key",
            html! {
                (parts::copyable_value("ingest-key", "the ingest key", key))
                span .under { "The edge reports with it, in the header " code { "X-Ingest-Key" } "." }
            },
        ));
    }
    html! {
        (parts::facts(&facts))
        div .stack {
            form method="post" action="/demo/token" hx-post="/demo/token" hx-target="#token" hx-swap="innerHTML" {
                button .main type="submit" { "Get a fresh token" }
            }
            // Kept when the rest of the page refreshes itself.
            div #token data-keep aria-live="polite" {}
        }
        h3 { "Lines to paste into a shell" }
        @for (index, (explanation, line)) in demo.curl_lines(console.api.base()).iter().enumerate() {
            div { p .quiet.small { (index + 1) ". " (explanation) } (parts::copyable(&format!("curl-{}", index + 1), "the line", line)) }
        }
    }
}

/// A part of the page for scripts, and a whole page for browsers without scripts.
async fn token(State(console): State<Console>, headers: HeaderMap) -> Markup {
    let content = match console.log_in().await {
        Ok(token) => html! {
            p .quiet.small { "A new session. Send it as " code { "Authorization: Bearer …" } "." }
            (parts::copyable("token-text", "the token", &token))
        },
        Err(problem) => html! { p { "There is no token. " (problem) } },
    };
    match headers.contains_key("hx-request") {
        true => content,
        false => page(Section::Home, "A fresh token", html! { (content) p { a href="/" { "Back" } } }),
    }
}

impl Console {
    /// The key with which the edge proxies report.
    pub async fn ingest_key(&self) -> Option<String> {
        let secrets = self.aws.secret_values().await;
        secrets.into_iter().find_map(|(name, value)| value.filter(|_| name.contains(INGEST_SECRET)))
    }

    /// The id of the tenant with this slug.
    pub fn tenant_by_slug(&self, slug: &str) -> Option<String> {
        let partition = format!("G#slug#{slug}");
        let claim = self.tables.iter().find_map(|table| self.aws.item(table, &partition, "owner").ok().flatten())?;
        Some(claim["tenant"]["S"].as_str()?.to_owned())
    }
}
