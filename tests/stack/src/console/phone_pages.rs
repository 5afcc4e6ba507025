//! The phones as pages: what was written to each number, as its owner sees it, with a box to answer and switches. Opening a conversation reads
//! it, and the page reads what comes while it is open.

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Console, PageError,
    entered::{failed, fields, is_json, not_understood, refused},
    live::Topic,
    missing,
    page::{Section, live_page},
    parts::{self, Field},
};
use crate::phones::{Direction, ENDINGS, LONGEST_TEXT, Message, Phone, PhoneError, Receipt, Switch, is_number};

/// The most phones on a page.
const MOST: usize = 200;

/// The most characters of a message in the list of phones.
const EXCERPT: usize = 120;

/// What recipients of messages write most, each with what it asks for.
const WORDS: [(&str, &str); 3] = [("STOP", "no further message"), ("START", "messages again"), ("HELP", "help")];

pub fn routes() -> Router<Console> {
    Router::new()
        .route("/phones", get(list))
        .route("/phones.json", get(list_as_json))
        .route("/phones/{number}", get(show).post(switch))
        .route("/phones/{number}/messages", post(say))
}

impl From<PhoneError> for PageError {
    fn from(error: PhoneError) -> PageError {
        PageError(error.to_string())
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wanted {
    q: String,
    /// A number to open, as a person types it.
    open: String,
}

async fn list(State(console): State<Console>, Query(wanted): Query<Wanted>) -> Response {
    if !wanted.open.is_empty() {
        let number: String = wanted.open.chars().filter(|c| !c.is_whitespace() && !matches!(c, '-' | '(' | ')' | '.')).collect();
        return match is_number(&number) {
            true => Redirect::to(&place(&number)).into_response(),
            false => refused(false, Section::Phones, StatusCode::BAD_REQUEST, &PhoneError::Number(wanted.open).to_string()),
        };
    }
    let all = newest_first(&console);
    let found: Vec<&Phone> = all.iter().filter(|phone| fits(phone, &wanted.q)).collect();
    let fields = [Field::Search { name: "q", label: "Search", value: &wanted.q, hint: "Number, line or text" }];
    let fixed = html! {
        form .row method="get" action="/phones" {
            label for="open-number" { "Open the phone" }
            div { input #open-number type="tel" name="open" placeholder="+12025550100" autocomplete="off" required; }
            button type="submit" { "Open" }
        }
        (parts::filters("/phones", "#live", &fields))
    };
    let content = html! {
        div .row.spread {
            (parts::count(found.len(), Some(all.len()), "phone", "phones"))
            a .small href="/phones.json" { "All as JSON" }
        }
        (whether_connected(&console))
        @if all.is_empty() {
            (parts::nothing(html! { "Nobody has written to a phone yet. A phone appears with the first message to its number." }))
        } @else if found.is_empty() {
            (parts::nothing(html! { "No phone fits the filter." }))
        } @else {
            (parts::table("Phones, the newest message first", &[("When (UTC)", false), ("Number", false), ("Last message", false), ("Messages", true), ("State", false)], html! {
                @for phone in found.iter().take(MOST) { (row(phone)) }
            }))
            @if found.len() > MOST { p .quiet { (MOST) " are shown. Search for others." } }
        }
        details .card {
            summary { "Numbers that do something else" }
            p .quiet { "A message to any number is delivered. One to a number that ends like these is not, or later:" }
            (parts::facts(&ENDINGS.map(|(ending, _, says)| (ending, html! { (says) }))))
        }
    };
    live_page(Section::Phones, "Phones", Topic::Phones, fixed, content).into_response()
}

fn row(phone: &Phone) -> Markup {
    let last = phone.messages.last();
    html! {
        tr #{ "phone-" (phone.number.trim_start_matches('+')) } {
            td .short { @if let Some(last) = last { (parts::moment(&last.at.to_string())) } }
            td .short { a href=(place(&phone.number)) { (phone.number) } }
            td .long dir="auto" { @if let Some(last) = last { (excerpt(&last.text)) } @else { span .quiet { "none" } } }
            td .number { (phone.messages.len()) }
            td { (badges(phone)) }
        }
    }
}

fn badges(phone: &Phone) -> Markup {
    html! {
        span .row {
            @if !phone.on { span .badge.wrong { "off" } }
            @if !phone.imessage { span .badge { "no iMessage" } }
            @if !phone.rcs { span .badge { "no RCS" } }
            @if phone.waiting() > 0 { span .badge.wrong { (phone.waiting()) " to be told" } }
        }
    }
}

async fn list_as_json(State(console): State<Console>) -> Json<Value> {
    let phones = newest_first(&console);
    Json(phones.iter().map(|phone| with_state(phone, json!({ "messages": phone.messages.len(), "last": phone.messages.last() }))).collect())
}

async fn show(State(console): State<Console>, Path(number): Path<String>) -> Result<Response, PageError> {
    if let Some(number) = number.strip_suffix(".json") {
        let known = console.aws.phones().conversation(number);
        return Ok(match known {
            Some(phone) => Json(with_state(&phone, json!({ "messages": phone.messages }))).into_response(),
            None => failed(StatusCode::NOT_FOUND, "Nobody wrote to this phone yet."),
        });
    }
    match console.aws.phones().look(&number) {
        Ok(phone) => Ok(conversation_page(&console, &phone).into_response()),
        Err(PhoneError::Number(_)) => Ok(missing(Section::Phones, "There is no such phone.")),
        Err(error) => Err(error.into()),
    }
}

fn conversation_page(console: &Console, phone: &Phone) -> Markup {
    let content = html! {
        p .row.spread { a href="/phones" { "All phones" } a .small href={ (place(&phone.number)) ".json" } { "As JSON" } }
        (whether_connected(console))
        @if let Some(says) = phone.script().says() { p .quiet { "This number " (says) "." } }
        section .card aria-label="Phone" { (switches(phone)) }
        // Its end is shown first, and stays in sight.
        div .chat role="log" aria-label="Conversation" tabindex="0" {
            @if phone.messages.is_empty() {
                p .quiet { "Nobody has written yet." }
            } @else {
                ol { @for message in &phone.messages { (bubble(message)) } }
            }
        }
        (answer_forms(phone))
    };
    live_page(Section::Phones, &phone.number, Topic::Phones, html! {}, content)
}

/// What the phone has, and a button for each change.
fn switches(phone: &Phone) -> Markup {
    let switch = |name: &str, is_on: bool, [on, off]: [&str; 2]| {
        html! { button type="submit" name=(name) value=(!is_on) { @if is_on { (off) } @else { (on) } } }
    };
    html! {
        div .row.spread {
            span .row {
                span .badge.good[phone.on].wrong[!phone.on] { @if phone.on { "on" } @else { "off" } }
                @for (has, name) in [(phone.imessage, "iMessage"), (phone.rcs, "RCS"), (true, "SMS")] {
                    span .badge.good[has] { @if !has { "no " } (name) }
                }
                @if phone.waiting() > 0 { span .badge.wrong { (phone.waiting()) " to be told" } }
            }
            form .row method="post" action=(place(&phone.number)) {
                (switch("on", phone.on, ["Switch on", "Switch off"]))
                (switch("imessage", phone.imessage, ["Give it iMessage", "Take iMessage away"]))
                (switch("rcs", phone.rcs, ["Give it RCS", "Take RCS away"]))
            }
        }
    }
}

fn bubble(message: &Message) -> Markup {
    let mine = message.direction == Direction::Inbound;
    html! {
        li #{ "message-" (parts::encoded(&message.id)) } .mine[mine] .held[message.held] {
            // Each message says by its own letters in which direction it is read.
            p .said dir="auto" { (message.text) }
            p .quiet.small {
                @if mine { "to " } @else { "from " } (message.line) " · " (message.channel.title()) " · " (parts::moment(&message.at.to_string()))
                @if message.held { " · waits until the phone is on" }
                @if mine { " · " (answered(message.answer)) }
                @for receipt in &message.receipts { " · " (told(receipt)) }
            }
        }
    }
}

fn told(receipt: &Receipt) -> Markup {
    html! {
        (receipt.status.name())
        @if let Some(reason) = &receipt.reason { " (" (reason) ")" }
        @if receipt.answer != Some(202) { ", " (answered(receipt.answer)) }
    }
}

/// What the API made of what a phone told it.
fn answered(answer: Option<u16>) -> Markup {
    html! {
        @match answer {
            None => "not told yet",
            Some(202) => "sent",
            Some(status) => { "refused with " (parts::status(status)) }
        }
    }
}

/// A box to answer, and the words that mean something. What somebody is writing stays when the page refreshes itself.
fn answer_forms(phone: &Phone) -> Markup {
    if !phone.on {
        return parts::nothing(html! { "The phone is off, so nobody can write with it." });
    }
    let action = format!("{}/messages", place(&phone.number));
    let last = phone.last_line();
    html! {
        form .card method="post" action=(action) {
            label for="text" { "Answer as " (phone.number) }
            textarea #text name="text" rows="3" maxlength=(LONGEST_TEXT) dir="auto" required data-keep {}
            div .row {
                label for="line" { "to the line" }
                div {
                    @if last.is_some() {
                        select #line name="line" data-keep {
                            option value="" { "that wrote last" }
                            @for line in phone.lines() { option value=(line) { (line) } }
                        }
                    } @else {
                        input #line type="tel" name="line" placeholder="+12025550101" autocomplete="off" required data-keep;
                    }
                }
                button .main type="submit" { "Send" }
            }
        }
        @if last.is_some() {
            form .row method="post" action=(action) {
                @for (word, asks) in WORDS {
                    button type="submit" name="text" value=(word) { (word) span .unseen { ", which asks for " (asks) } }
                }
            }
        }
    }
}

/// Writes as the phone's owner: `text`, and `line` if not the one that wrote last. JSON is answered with the message, a form with the page.
async fn say(State(console): State<Console>, Path(number): Path<String>, headers: HeaderMap, body: Bytes) -> Result<Response, PageError> {
    let is_json = is_json(&headers);
    let Some(fields) = texts(is_json, &body, &["text", "line"]) else {
        return Ok(not_understood(is_json, Section::Phones, "text, and line"));
    };
    let line = fields.get("line").map(String::as_str).filter(|line| !line.is_empty());
    // A browser sends line breaks as the standard of forms wants them, and a phone does not.
    let text = fields.get("text").map(|text| text.replace("\r\n", "\n")).unwrap_or_default();
    match console.aws.phones().say(&number, line, &text) {
        Ok(message) if is_json => Ok((StatusCode::CREATED, Json(message)).into_response()),
        Ok(_) => Ok(Redirect::to(&place(&number)).into_response()),
        Err(error) => refuse(is_json, error),
    }
}

/// Puts the switches `on`, `imessage` and `rcs` to `true` or `false`.
async fn switch(
    State(console): State<Console>,
    Path(number): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, PageError> {
    let is_json = is_json(&headers);
    let switches = texts(is_json, &body, &["on", "imessage", "rcs"]).and_then(|fields| {
        let put = fields.iter().map(|(name, value)| match (name.as_str(), value.parse().ok()?) {
            ("on", on) => Some(Switch::On(on)),
            ("imessage", has) => Some(Switch::Imessage(has)),
            (_, has) => Some(Switch::Rcs(has)),
        });
        put.collect::<Option<Vec<Switch>>>().filter(|switches| !switches.is_empty())
    });
    let Some(switches) = switches else {
        return Ok(not_understood(is_json, Section::Phones, "on, imessage and rcs, each true or false"));
    };
    let phones = console.aws.phones();
    let mut phone = None;
    for switch in switches {
        match phones.switch(&number, switch) {
            Ok(changed) => phone = Some(changed),
            Err(error) => return refuse(is_json, error),
        }
    }
    Ok(match phone.filter(|_| is_json) {
        Some(phone) => Json(with_state(&phone, json!({}))).into_response(),
        None => Redirect::to(&place(&number)).into_response(),
    })
}

/// The fields of a form or of a JSON object, as texts. Nothing if one is no text and no switch.
fn texts(is_json: bool, body: &[u8], known: &[&str]) -> Option<BTreeMap<String, String>> {
    let text = |value: Value| match value {
        Value::String(text) => Some(text),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null => Some(String::new()),
        _ => None,
    };
    fields(is_json, body, known)?.into_iter().map(|(name, value)| Some((name, text(value)?))).collect()
}

fn refuse(is_json: bool, error: PhoneError) -> Result<Response, PageError> {
    let status = match error {
        PhoneError::Off => StatusCode::CONFLICT,
        PhoneError::Number(_) | PhoneError::Text | PhoneError::Line => StatusCode::BAD_REQUEST,
        error => return Err(error.into()),
    };
    Ok(refused(is_json, Section::Phones, status, &error.to_string()))
}

/// What a phone is, apart from its messages, and what else is to be said.
fn with_state(phone: &Phone, and: Value) -> Value {
    let mut shown = json!({ "number": phone.number, "on": phone.on, "imessage": phone.imessage, "rcs": phone.rcs,
        "script": phone.script().says(), "waiting": phone.waiting() });
    if let (Value::Object(shown), Value::Object(and)) = (&mut shown, and) {
        shown.extend(and);
    }
    shown
}

fn whether_connected(console: &Console) -> Markup {
    html! {
        @if !console.aws.phones().is_connected() {
            p .quiet { "No API has been connected to the phones, so what they tell waits." }
        }
    }
}

fn newest_first(console: &Console) -> Vec<Phone> {
    let mut phones = console.aws.phones().phones();
    phones.sort_by_key(|phone| std::cmp::Reverse(phone.messages.last().map(|message| message.at)));
    phones
}

/// Every word must be found in the number, a line or a text.
fn fits(phone: &Phone, wanted: &str) -> bool {
    let holds = |word: &str| {
        let in_message = |message: &Message| message.line.contains(word) || message.text.to_lowercase().contains(word);
        phone.number.contains(word) || phone.messages.iter().any(in_message)
    };
    wanted.to_lowercase().split_whitespace().all(holds)
}

fn excerpt(text: &str) -> String {
    let mut excerpt: String = text.chars().take(EXCERPT).collect();
    if excerpt.len() < text.len() {
        excerpt.push('…');
    }
    excerpt
}

fn place(number: &str) -> String {
    format!("/phones/{}", parts::encoded(number))
}
