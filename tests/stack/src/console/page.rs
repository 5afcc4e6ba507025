//! The frame of every console page, and the headers that keep displayed content from running.

use axum::{
    extract::Request,
    http::{HeaderValue, header},
    middleware::Next,
    response::Response,
};
use maud::{DOCTYPE, Markup, html};

use super::live::Topic;

/// The targets of the navigation. A new page of the console is one line here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    Home,
    Requests,
    Mailbox,
    Phones,
    Catcher,
    Table,
    Reference,
    /// A page outside the navigation.
    None,
}

const NAVIGATION: [(Section, &str, &str); 7] = [
    (Section::Home, "/", "Home"),
    (Section::Requests, "/requests", "Requests"),
    (Section::Mailbox, "/mailbox", "Mailbox"),
    (Section::Phones, "/phones", "Phones"),
    (Section::Catcher, "/catcher", "Catcher"),
    (Section::Table, "/table", "Table"),
    (Section::Reference, "/reference", "API reference"),
];

/// Scripts, styles and everything else come from this server, and none is inline. No page can be framed by another origin. The reference
/// also calls the API through this server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; \
    frame-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// htmx gets no `eval` and no style of its own. It stores no pages in the browser, because they may contain secrets.
const HTMX: &str =
    r#"{"allowEval":false,"includeIndicatorStyles":false,"historyCacheSize":0,"refreshOnHistoryMiss":true,"selfRequestsOnly":true}"#;

/// Filters whose options change with the events. One that a person is using is not changed.
const CHOICES: &str = "#filter-tenant:morph,#filter-kind:morph";

/// A page that does not change until it is loaded again.
pub fn page(section: Section, title: &str, content: Markup) -> Markup {
    frame(
        section,
        title,
        &[],
        &["/assets/console.js"],
        html! {
            main #main tabindex="-1" {
                div .stack {
                    h1 { (title) }
                    (content)
                }
            }
        },
    )
}

/// A page that refreshes itself with every event of its topic. `fixed` is what a person works with (filters) and stays. `content` is
/// morphed into its new state, so that focus, selection and position stay. The address contains the state of the page: filters and what is
/// open.
pub fn live_page(section: Section, title: &str, topic: Topic, fixed: Markup, content: Markup) -> Markup {
    frame(
        section,
        title,
        &[],
        &["/assets/console.js"],
        html! {
            main #main tabindex="-1" hx-ext="sse" sse-connect={ "/events?topic=" (topic.name()) } {
                // Without an address, it requests that of the page.
                div hidden hx-get="" hx-trigger="sse:news" hx-select="#live" hx-target="#live" hx-swap="morph" hx-sync="this:queue last" hx-select-oob=(CHOICES) {}
                div .stack {
                    div .row.spread {
                        h1 { (title) }
                        span #live-state .live { "Connecting" }
                    }
                    (fixed)
                    div #live .stack { (content) }
                }
            }
        },
    )
}

/// The frame around a `main`, for pages with their own styles and scripts.
pub fn frame(section: Section, title: &str, styles: &[&str], scripts: &[&str], main: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { @if section == Section::Home { "Tenantry console" } @else { (title) " · Tenantry console" } }
                link rel="icon" href="/assets/icon.svg" type="image/svg+xml";
                @for style in styles { link rel="stylesheet" href=(style); }
                link rel="stylesheet" href="/assets/console.css";
                meta name="htmx-config" content=(HTMX);
                @for script in ["/assets/htmx.min.js", "/assets/htmx-sse.min.js", "/assets/idiomorph-ext.min.js"] { script src=(script) defer {} }
                @for script in scripts { script src=(script) defer {} }
            }
            body hx-ext="morph" {
                a .skip href="#main" { "Skip to the content" }
                header .top {
                    div {
                        a .brand href="/" {
                            svg viewBox="0 0 24 24" fill="currentColor" aria-hidden="true" {
                                path d="M3 4h18v4H14v13h-4V8H3z";
                                path d="M3 11h4v4H3zm14 0h4v4h-4zM3 17h4v4H3zm14 0h4v4h-4z" opacity=".45";
                            }
                            "Tenantry" small { "console" }
                        }
                        nav aria-label="Console" {
                            ul {
                                @for (at, path, name) in NAVIGATION {
                                    li { a href=(path) aria-current=[(at == section).then_some("page")] { (name) } }
                                }
                            }
                        }
                    }
                }
                (main)
                div #toast .toast role="status" aria-live="polite" {}
            }
        }
    }
}

pub async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(POLICY));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Nobody else learns an address. With `no-referrer`, a browser would send the console's own forms with `Origin: null`, like a stranger's.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}
