//! The catcher as pages: what came to its sinks, newest first, each with its signature and what was answered; and for each sink what to set.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header::HOST},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Console, PageError,
    entered::{fields, is_json, not_understood, refused},
    live::Topic,
    missing,
    page::{Section, live_page},
    parts::{self, Field},
};
use crate::catcher::{Answer, CatcherError, Caught, MOST_CAUGHT, SINKS, SLOW, Sink, Verdict, is_name};

/// The most rows on a page.
const MOST: usize = 100;

const COLUMNS: [(&str, bool); 6] =
    [("Time (UTC)", false), ("Event", false), ("Name", false), ("webhook-id", false), ("Answered", false), ("Signature", false)];

/// Whether a signature holds: for scripts, and for people.
const SIGNED: (&str, &str) = ("signed", "signed");
const WRONG: (&str, &str) = ("wrong", "signature does not hold");
const NO_SECRET: (&str, &str) = ("no_secret", "no secret known");

pub fn routes() -> Router<Console> {
    Router::new().route("/catcher", get(list)).route("/catcher.json", get(list_as_json)).route("/catcher/{name}", get(show).post(set))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wanted {
    q: String,
    signature: String,
    /// The number of the open row.
    open: String,
    /// A name whose page is wanted.
    name: String,
}

/// What was caught, together with whether its signature holds.
struct Judged {
    caught: Arc<Caught>,
    event: Option<String>,
    verdict: Verdict,
}

async fn list(State(console): State<Console>, Query(wanted): Query<Wanted>, headers: HeaderMap) -> Response {
    if !wanted.name.is_empty() {
        return match is_name(&wanted.name) {
            true => Redirect::to(&place(&wanted.name)).into_response(),
            false => refused(false, Section::Catcher, StatusCode::BAD_REQUEST, &CatcherError::Name(wanted.name).to_string()),
        };
    }
    let sinks = console.aws.catcher().sinks();
    let all = judged(&console, &sinks);
    let found: Vec<&Judged> = all.iter().filter(|each| fits(each, &wanted)).collect();
    let states = [SIGNED, WRONG, NO_SECRET].map(|(name, words)| (name.to_owned(), words.to_owned()));
    let filters = [
        Field::Search { name: "q", label: "Search", value: &wanted.q, hint: "Name, event, id or body" },
        Field::Choice { name: "signature", label: "Signature", value: &wanted.signature, options: states.to_vec() },
    ];
    let fixed = html! {
        form .row method="get" action="/catcher" {
            label for="sink-name" { "Set up the name" }
            div { input #sink-name type="text" name="name" placeholder="mine" pattern="[a-z0-9\\-]{1,40}" autocomplete="off" spellcheck="false" required; }
            button type="submit" { "Open" }
        }
        (parts::filters("/catcher", "#live", &filters))
    };
    let content = html! {
        div .row.spread {
            (parts::count(found.len(), Some(all.len()), "webhook", "webhooks"))
            a .small href="/catcher.json" { "All as JSON" }
        }
        @if !sinks.is_empty() {
            (parts::table("Names", &[("Name", false), ("Answers", false), ("Secrets", true), ("Webhooks", true)], html! {
                @for (name, sink) in &sinks {
                    tr {
                        td { a href=(place(name)) { (name) } }
                        td { (answered(sink.answer)) }
                        td .number { (sink.secrets.len()) }
                        td .number { (all.iter().filter(|each| each.caught.sink == *name).count()) }
                    }
                }
            }))
        }
        @if all.is_empty() {
            (parts::nothing(html! { "Nothing has come yet. Give a webhook this URL, and what it is told appears here:" }))
            (parts::copyable("sink-url", "the URL", &url(&headers, "mine")))
        } @else {
            (rows("/catcher", &wanted, &found))
        }
    };
    live_page(Section::Catcher, "Catcher", Topic::Catcher, fixed, content).into_response()
}

async fn list_as_json(State(console): State<Console>) -> Json<Value> {
    let all = judged(&console, &console.aws.catcher().sinks());
    Json(all.iter().map(as_json).collect())
}

async fn show(State(console): State<Console>, Path(name): Path<String>, Query(wanted): Query<Wanted>, headers: HeaderMap) -> Response {
    let (name, wants_json) = name.strip_suffix(".json").map_or((name.as_str(), false), |name| (name, true));
    if !is_name(name) {
        return missing(Section::Catcher, "There is no such name.");
    }
    let sink = console.aws.catcher().sink(name);
    let mut all = judged(&console, &BTreeMap::from([(name.to_owned(), sink.clone())]));
    all.retain(|each| each.caught.sink == name);
    if wants_json {
        let mut shown = state(&headers, name, &sink);
        shown["webhooks"] = all.iter().map(as_json).collect();
        return Json(shown).into_response();
    }
    let found: Vec<&Judged> = all.iter().collect();
    let content = html! {
        p .row.spread { a href="/catcher" { "All names" } a .small href={ (place(name)) ".json" } { "As JSON" } }
        section .card aria-label="Sink" {
            (parts::facts(&[
                ("URL", parts::copyable_value("sink-url", "the URL", &url(&headers, name))),
                ("Answers", html! { span .row { (answered(sink.answer)) (answer_buttons(name, &sink)) } }),
                ("Secrets", secrets(name, &sink)),
            ]))
            (secret_form(name))
        }
        (parts::count(found.len(), None, "webhook", "webhooks"))
        @if all.is_empty() {
            (parts::nothing(html! { "Nothing has come to this name yet." }))
        } @else {
            (rows(&place(name), &wanted, &found))
        }
    };
    live_page(Section::Catcher, name, Topic::Catcher, html! {}, content).into_response()
}

fn answer_buttons(name: &str, sink: &Sink) -> Markup {
    html! {
        form .row method="post" action=(place(name)) {
            @for answer in Answer::ALL.into_iter().filter(|answer| *answer != sink.answer) {
                button type="submit" name="answer" value=(answer.name()) {
                    @if answer == Answer::Slow { "Answer slowly" } @else { "Answer " (answer.name()) }
                }
            }
        }
        span .under { "A URL that ends with " code { "?answer=500" } " is answered so, whatever is set here." }
    }
}

fn secrets(name: &str, sink: &Sink) -> Markup {
    html! {
        @if sink.secrets.is_empty() {
            span .quiet { "none known: it cannot be seen whether signatures hold" }
        } @else {
            form .row method="post" action=(place(name)) {
                @for secret in sink.shown_secrets() { span .id { (secret) } }
                button type="submit" name="secret" value="" { "Forget" span .unseen { " the secrets" } }
            }
        }
    }
}

/// What somebody is entering stays when the page refreshes itself.
fn secret_form(name: &str) -> Markup {
    html! {
        form .row method="post" action=(place(name)) {
            label for="secret" { "Secret of the webhook" }
            div { input #secret type="text" name="secret" placeholder="whsec_…" autocomplete="off" spellcheck="false" required data-keep; }
            button .main type="submit" { "Verify with it" }
        }
    }
}

fn rows(path: &str, wanted: &Wanted, found: &[&Judged]) -> Markup {
    let is_open = |each: &&&Judged| wanted.open.parse() == Ok(each.caught.number);
    html! {
        @if found.is_empty() {
            (parts::nothing(html! { "No webhook fits the filter." }))
        } @else {
            (parts::table("Webhooks, newest first", &COLUMNS, html! {
                @for each in found.iter().take(MOST) { (row(path, wanted, each, is_open(&each))) }
                // An open row stays, even after many newer ones.
                @if let Some(each) = found.iter().skip(MOST).find(is_open) { (row(path, wanted, each, true)) }
            }))
            @if found.len() > MOST { p .quiet { "The newest " (MOST) " are shown. Search for older ones; the last " (MOST_CAUGHT) " are kept." } }
        }
    }
}

fn row(path: &str, wanted: &Wanted, each: &Judged, open: bool) -> Markup {
    let caught = &each.caught;
    let number = caught.number.to_string();
    let asked = [("q", wanted.q.as_str()), ("signature", &wanted.signature), ("open", if open { "" } else { &number })];
    let link = format!("{path}{}", parts::query(&asked));
    html! {
        tr #{ "webhook-" (number) } .open[open] {
            td .short { (parts::moment(&caught.at.to_string())) }
            td { (parts::opener(&number, &link, open, each.event.as_deref().unwrap_or("none named"))) }
            td { a href=(place(&caught.sink)) { (caught.sink) } }
            td .long { span .id { (caught.id) } @if caught.attempt > 1 { span .under { "repeat, attempt " (caught.attempt) } } }
            td { (answered(caught.answer)) }
            td { (verdict(&each.verdict)) }
        }
        @if open {
            tr #{ "detail-" (number) } .inside { td colspan=(COLUMNS.len()) { (detail(each)) } }
        }
    }
}

fn detail(each: &Judged) -> Markup {
    let caught = &each.caught;
    html! {
        div .detail {
            (parts::facts(&[
                ("At", html! { time datetime=(caught.at) { (caught.at.strftime("%Y-%m-%d %H:%M:%S%.3f")) } " UTC" }),
                ("webhook-id", parts::copyable_value("webhook-id", "the id", &caught.id)),
                ("webhook-timestamp", html! { span .id { (caught.timestamp) } }),
                ("webhook-signature", html! { @for signature in caught.signature.split(' ') { span .id { (signature) } br; } }),
                ("Attempt", html! { (caught.attempt) @if caught.attempt > 1 { ", a repeat: the same id came before" } }),
                ("Answered", answered(caught.answer)),
                ("Signature", html! { (verdict(&each.verdict)) @if let Verdict::Wrong(why) = each.verdict { span .under { (why) } } }),
            ]))
            div .sheet tabindex="0" role="region" aria-label="Body" { (parts::body(&caught.body)) }
        }
    }
}

fn answered(answer: Answer) -> Markup {
    html! {
        (parts::status(answer.status().as_u16()))
        @if answer == Answer::Slow { " " span .quiet { "after " (SLOW.as_secs()) " seconds" } }
    }
}

fn verdict(verdict: &Verdict) -> Markup {
    html! {
        span .badge.good[matches!(verdict, Verdict::Signed(_))].broken[matches!(verdict, Verdict::Wrong(_))] { (named(verdict).1) }
        @if let Verdict::Signed(secret) = verdict { span .under.id { (secret) } }
    }
}

fn named(verdict: &Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Signed(_) => SIGNED,
        Verdict::Wrong(_) => WRONG,
        Verdict::NoSecret => NO_SECRET,
    }
}

/// Sets `secret` (none if it is empty) and `answer` of a name. JSON is answered with what is then set, a form with the page.
async fn set(State(console): State<Console>, Path(name): Path<String>, headers: HeaderMap, body: Bytes) -> Result<Response, PageError> {
    let is_json = is_json(&headers);
    let entered = fields(is_json, &body, &["secret", "answer"]).filter(|fields| !fields.is_empty()).and_then(|mut fields| {
        let secret = fields.remove("secret").map(|value| value.as_str().map(str::to_owned).ok_or(())).transpose().ok()?;
        let answer = fields.remove("answer").map(Answer::try_from).transpose().ok()?;
        Some((secret, answer))
    });
    let Some((secret, answer)) = entered else {
        return Ok(not_understood(is_json, Section::Catcher, "secret, a text, and answer: 200, 410, 500 or slow"));
    };
    match console.aws.catcher().set(&name, secret.as_deref(), answer) {
        Ok(sink) if is_json => Ok(Json(state(&headers, &name, &sink)).into_response()),
        Ok(_) => Ok(Redirect::to(&place(&name)).into_response()),
        Err(CatcherError::Journal(error)) => Err(error.into()),
        Err(error @ CatcherError::Full) => Ok(refused(is_json, Section::Catcher, StatusCode::CONFLICT, &error.to_string())),
        Err(error) => Ok(refused(is_json, Section::Catcher, StatusCode::BAD_REQUEST, &error.to_string())),
    }
}

fn judged(console: &Console, sinks: &BTreeMap<String, Sink>) -> Vec<Judged> {
    let none = Sink::default();
    let judge = |caught: Arc<Caught>| {
        let sink = sinks.get(&caught.sink).unwrap_or(&none);
        Judged { event: caught.event(), verdict: caught.verdict(&sink.secrets), caught }
    };
    console.aws.catcher().caught().into_iter().map(judge).collect()
}

/// Every word must be found in the name, the event, the id or the body.
fn fits(each: &Judged, wanted: &Wanted) -> bool {
    let caught = &each.caught;
    let holds = |word: &str| {
        [&caught.sink, &caught.id, &caught.body].iter().any(|text| text.to_lowercase().contains(word))
            || each.event.as_ref().is_some_and(|event| event.contains(word))
    };
    let state = wanted.signature.is_empty() || wanted.signature == named(&each.verdict).0;
    state && wanted.q.to_lowercase().split_whitespace().all(holds)
}

/// The body is the text as it came, so that others can verify it too.
fn as_json(each: &Judged) -> Value {
    let caught = &each.caught;
    let (signed_by, why) = match &each.verdict {
        Verdict::Signed(secret) => (Some(secret), None),
        Verdict::Wrong(why) => (None, Some(why)),
        Verdict::NoSecret => (None, None),
    };
    json!({ "number": caught.number, "name": caught.sink, "at": caught.at, "type": each.event, "webhook_id": caught.id,
        "webhook_timestamp": caught.timestamp, "webhook_signature": caught.signature, "attempt": caught.attempt, "answered": caught.answer,
        "signature": named(&each.verdict).0, "signed_by": signed_by, "why": why, "body": caught.body })
}

/// What is set for a name.
fn state(headers: &HeaderMap, name: &str, sink: &Sink) -> Value {
    json!({ "name": name, "url": url(headers, name), "answer": sink.answer, "secrets": sink.shown_secrets() })
}

/// What a webhook is given: the address under which the API may call the console, without a name that is to be resolved.
fn url(headers: &HeaderMap, name: &str) -> String {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let port = host.rsplit_once(':').map(|(_, port)| format!(":{port}")).unwrap_or_default();
    format!("http://127.0.0.1{port}{SINKS}{name}")
}

fn place(name: &str) -> String {
    format!("/catcher/{name}")
}
