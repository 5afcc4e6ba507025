//! The access log, live: the last requests to the API with their answers. The address contains the filters and the open row.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    extract::{Query, State},
    routing::get,
};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    Console, PageError,
    live::Topic,
    page::{Section, live_page},
    parts::{self, Field},
    tenants::{Named, Tenants},
};
use crate::gateway::access::{CAPACITY, Entry, Filter, MOST_BODY, Message};

/// The most rows on a page.
const MOST: usize = 100;

/// Stands for requests without a tenant.
const NOBODY: &str = "-";

const STATUSES: [(&str, &str); 20] = [
    ("2xx", "2xx – done"),
    ("3xx", "3xx – elsewhere or unchanged"),
    ("4xx", "4xx – refused"),
    ("5xx", "5xx – failed"),
    ("200", "200"),
    ("201", "201"),
    ("204", "204"),
    ("304", "304"),
    ("400", "400"),
    ("401", "401"),
    ("403", "403"),
    ("404", "404"),
    ("405", "405"),
    ("409", "409"),
    ("412", "412"),
    ("413", "413"),
    ("422", "422"),
    ("429", "429"),
    ("500", "500"),
    ("503", "503"),
];

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

pub fn routes() -> Router<Console> {
    Router::new().route("/requests", get(list))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wanted {
    route: String,
    tenant: String,
    method: String,
    status: String,
    /// The number of the open row.
    open: String,
}

async fn list(State(console): State<Console>, Query(wanted): Query<Wanted>) -> Result<Markup, PageError> {
    let mut tenants = Tenants::of(&console);
    let all = console.access.recent(&Filter::default());
    let filter = Filter {
        tenant: Some(wanted.tenant.clone()),
        route: Some(wanted.route.clone()),
        method: Some(wanted.method.clone()),
        status: Some(wanted.status.clone()),
        ..Filter::default()
    };
    let found: Vec<&Arc<Entry>> = all.iter().filter(|entry| filter.fits(entry)).collect();
    let fields = [
        Field::Search { name: "route", label: "Route or path", value: &wanted.route, hint: "A part of it, like projects" },
        Field::Choice { name: "tenant", label: "Tenant", value: &wanted.tenant, options: tenants_of(&all, &mut tenants) },
        Field::Choice {
            name: "method",
            label: "Method",
            value: &wanted.method,
            options: METHODS.map(|name| (name.to_owned(), name.to_owned())).to_vec(),
        },
        Field::Choice {
            name: "status",
            label: "Status",
            value: &wanted.status,
            options: STATUSES.map(|(value, text)| (value.to_owned(), text.to_owned())).to_vec(),
        },
    ];
    let heads = [
        ("Time (UTC)", false),
        ("Method", false),
        ("Route", false),
        ("Status", false),
        ("Tenant", false),
        ("Latency", true),
        ("Table units", true),
        ("Request id", false),
    ];
    let content = html! {
        (parts::count(found.len(), Some(all.len()), "request", "requests"))
        @if all.is_empty() {
            (parts::nothing(html! { "No request has come yet. Send one, and it appears here: the lines on the " a href="/" { "home page" } " will do." }))
        } @else if found.is_empty() {
            (parts::nothing(html! { "No request fits the filter." }))
        } @else {
            (parts::table("Requests, newest first", &heads, html! {
                @for entry in found.iter().take(MOST) { (row(&console, entry, &wanted, &mut tenants)) }
                // An open row stays, even after many newer ones.
                @if let Some(entry) = found.iter().skip(MOST).find(|entry| is_open(entry, &wanted)) { (row(&console, entry, &wanted, &mut tenants)) }
            }))
            @if found.len() > MOST { p .quiet { "The newest " (MOST) " are shown. Filter for older ones; the last " (CAPACITY) " are kept." } }
        }
    };
    Ok(live_page(Section::Requests, "Requests", Topic::Requests, parts::filters("/requests", "#live", &fields), content))
}

fn row(console: &Console, entry: &Entry, wanted: &Wanted, tenants: &mut Tenants) -> Markup {
    let open = is_open(entry, wanted);
    let number = entry.number.to_string();
    let tenant = entry.tenant.as_deref().map(|id| tenants.get(id));
    let link = format!(
        "/requests{}",
        parts::query(&[
            ("route", &wanted.route),
            ("tenant", &wanted.tenant),
            ("method", &wanted.method),
            ("status", &wanted.status),
            ("open", if open { "" } else { &number }),
        ])
    );
    html! {
        tr #{ "request-" (number) } .open[open] {
            td .short.mono { (time(entry)) }
            td .verb { (entry.method) }
            td .long {
                (parts::opener(&number, &link, open, entry.route_alone()))
                @if entry.path != entry.route_alone() || !entry.query.is_empty() {
                    span .under.mono { (entry.path) @if !entry.query.is_empty() { "?" (entry.query) } }
                }
            }
            td { (parts::status(entry.status)) }
            td { @match &tenant { Some(tenant) => (tenant.markup()), None => span .quiet { "none" } } }
            td .number { (milliseconds(entry.latency_ms)) }
            td .number { (units(entry)) }
            td .short.id { (entry.request_id) }
        }
        @if open {
            tr #{ "detail-" (number) } .inside { td colspan="8" { (detail(console, entry, tenant.as_ref())) } }
        }
    }
}

fn detail(console: &Console, entry: &Entry, tenant: Option<&Named>) -> Markup {
    let mut facts = vec![
        ("At", html! { time datetime=(entry.at) { (entry.at.strftime("%Y-%m-%d %H:%M:%S%.3f")) } " UTC" }),
        ("Request id", parts::copyable_value("request-id", "the request id", &entry.request_id)),
        (
            "Latency",
            html! {
                (milliseconds(entry.latency_ms))
                @if let Some(inside) = entry.function_ms { ", of which the function " (milliseconds(inside)) }
            },
        ),
        (
            "Table units",
            html! {
                @match (entry.read_units, entry.write_units) {
                    (None, None) => span .quiet { "none told" },
                    (read, write) => { (number(read.unwrap_or_default())) " read, " (number(write.unwrap_or_default())) " written" }
                }
            },
        ),
    ];
    if let Some(function) = &entry.function {
        facts.push(("Function", html! { (function) }));
    }
    if let Some(tenant) = tenant {
        facts.push((
            "Tenant",
            html! { a href={ "/requests" (parts::query(&[("tenant", &tenant.id)])) } { (tenant.title()) } span .under.id { (tenant.id) } },
        ));
    }
    if let Some(principal) = &entry.principal {
        facts.push(("Who", html! { span .id { (principal) } }));
    }
    html! {
        div .detail {
            (parts::facts(&facts))
            section .stack aria-labelledby="curl-heading" {
                h2 #curl-heading { "As curl" }
                (parts::copyable("curl", "as curl", &entry.curl(console.api.base())))
            }
            div .pair.even {
                (message("request", "Request", &entry.request))
                (message("answer", "Answer", &entry.response))
            }
        }
    }
}

fn message(id: &str, name: &str, message: &Message) -> Markup {
    html! {
        section .stack aria-labelledby={ (id) "-heading" } {
            h2 #{ (id) "-heading" } { (name) }
            div .sheet tabindex="0" role="region" aria-label={ (name) ", headers" } {
                pre { @for (name, value) in &message.headers { (name) ": " (value) "\n" } }
            }
            @if message.body.is_empty() {
                p .quiet { "No body." }
            } @else {
                div .sheet tabindex="0" role="region" aria-label={ (name) ", body" } { (parts::body(&message.body)) }
                @if message.cut { p .quiet.small { "The first " (MOST_BODY / 1024) " KiB of " (message.body_bytes) " bytes." } }
            }
        }
    }
}

fn is_open(entry: &Entry, wanted: &Wanted) -> bool {
    wanted.open.parse() == Ok(entry.number)
}

/// The tenants of the requests, by name, and an entry for requests without a tenant.
fn tenants_of(entries: &[Arc<Entry>], tenants: &mut Tenants) -> Vec<(String, String)> {
    let mut named: BTreeMap<String, String> = BTreeMap::new();
    for id in entries.iter().filter_map(|entry| entry.tenant.as_deref()) {
        named.entry(id.to_owned()).or_insert_with(|| tenants.get(id).title());
    }
    let mut options: Vec<(String, String)> = named.into_iter().collect();
    options.sort_by_cached_key(|(_, title)| title.to_lowercase());
    options.push((NOBODY.to_owned(), "None".to_owned()));
    options
}

fn time(entry: &Entry) -> Markup {
    html! { time datetime=(entry.at) title=(entry.at) { (entry.at.strftime("%H:%M:%S%.3f")) } }
}

fn milliseconds(value: f64) -> String {
    if value < 10.0 { format!("{value:.1} ms") } else { format!("{value:.0} ms") }
}

fn units(entry: &Entry) -> Markup {
    match (entry.read_units, entry.write_units) {
        (None, None) => html! { span .quiet { "–" } },
        (read, write) => html! {
            span title="read" { (number(read.unwrap_or_default())) span .unseen { " read" } } " / "
            span title="written" { (number(write.unwrap_or_default())) span .unseen { " written" } }
        },
    }
}

fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

impl Entry {
    /// The route without the method at the beginning of a gateway's route.
    fn route_alone(&self) -> &str {
        self.route.split_once(' ').map_or(self.route.as_str(), |(_, path)| path)
    }
}
