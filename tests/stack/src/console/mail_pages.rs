//! The mailbox as pages: the mails that would have been sent, to search and read, and what becomes of them, to see and to decide.

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderValue, StatusCode, header::CONTENT_SECURITY_POLICY},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::json;

use super::{
    Console, PageError,
    live::Topic,
    missing,
    page::{Section, live_page, page},
    parts::{self, Field},
    tenants::Tenants,
};
use crate::mailbox::{Act, Answer, KeptMail, Link, Meaning, Report, links, unsubscribe_url};

/// The most mails on a page.
const MOST: usize = 200;

/// For a mail as it was written: its own styles and embedded pictures are allowed, but no scripts and no requests.
const MAIL_POLICY: &str =
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

pub fn routes() -> Router<Console> {
    Router::new()
        .route("/mailbox", get(list))
        .route("/mailbox/{id}", get(show))
        .route("/mailbox/{id}/html", get(as_written))
        .route("/mailbox/{id}/play", post(play))
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
    let mailbox = console.aws.mailbox();
    if let Some(kept) = mailbox.mail(&id)? {
        return Ok(mail_page(&console, &kept).into_response());
    }
    let known = id.strip_suffix(".json").map(|id| mailbox.mail(id)).transpose()?.flatten();
    Ok(match known {
        Some(kept) => as_json(&kept).into_response(),
        None => missing(Section::Mailbox, "There is no such mail."),
    })
}

/// The mail with its links, for scripts.
fn as_json(kept: &KeptMail) -> Json<serde_json::Value> {
    let mut shown = json!(kept);
    shown["links"] = json!(links(&kept.mail));
    shown["unsubscribe"] = json!(unsubscribe_url(&kept.mail));
    Json(shown)
}

fn mail_page(console: &Console, kept: &KeptMail) -> Markup {
    let mail = &kept.mail;
    let content = html! {
        p .row.spread { a href="/mailbox" { "All mails" } a .small href={ (place(kept)) ".json" } { "As JSON" } }
        section .card aria-label="Envelope" { (parts::facts(&envelope(console, kept))) }
        (what_was_played(kept))
        section .card aria-labelledby="text-heading" {
            div .row.spread { h2 #text-heading { "Text" } (parts::copy_button("text", "the text")) }
            div .sheet tabindex="0" role="region" aria-labelledby="text-heading" { pre #text { (mail.text) } }
        }
        @if mail.html.is_some() {
            section .card aria-labelledby="html-heading" {
                h2 #html-heading { "HTML" }
                // Fully sandboxed: no scripts, no forms, no links out of the frame.
                iframe sandbox="" title="The mail as written" src={ (place(kept)) "/html" } {}
            }
        }
        (links_of(kept))
    };
    // Apart from what refreshes itself, so that nothing is lost while somebody writes.
    live_page(Section::Mailbox, subject(kept), Topic::Mailbox, answer_form(console, kept), content)
}

fn envelope<'a>(console: &Console, kept: &'a KeptMail) -> Vec<(&'a str, Markup)> {
    let mail = &kept.mail;
    let mut facts = vec![("To", html! { (parts::copyable_value("to", "the recipient", &mail.to)) })];
    facts.extend(mail.from.as_ref().map(|from| ("From", html! { (from) })));
    facts.extend(mail.reply_to.as_ref().map(|reply_to| ("Reply-To", html! { (reply_to) })));
    if let Some(tenant) = &mail.tenant {
        let tenant = Tenants::of(console).get(tenant);
        facts.push(("Tenant", html! { (tenant.title()) span .under.id { (tenant.id) } }));
    }
    facts.extend([
        ("When", html! { (parts::moment(&kept.received_at)) " UTC" }),
        ("Kind", html! { (mail.kind) }),
        ("Posted", html! { (kept.deliveries) "×" }),
    ]);
    facts.extend(mail.headers.iter().map(|(name, value)| (name.as_str(), html! { code { (value) } })));
    if !mail.tags.is_empty() {
        facts.push(("Message id", html! { span .id { (kept.message_id) } }));
        facts.push(("Tags", html! { @for (name, value) in &mail.tags { div { code { (name) " = " (value) } } } }));
    }
    facts
}

/// What SES reported and what the recipient did, with buttons for what else they may do.
fn what_was_played(kept: &KeptMail) -> Markup {
    let mail = &kept.mail;
    let reported = !mail.tags.is_empty();
    let opens = links(mail).iter().any(|link| link.means == Some(Meaning::Open));
    let unsubscribes = unsubscribe_url(mail).is_some();
    if !reported && !opens && !unsubscribes && kept.events.is_empty() {
        return html! {};
    }
    html! {
        section .card aria-labelledby="events-heading" {
            h2 #events-heading { "What became of it" }
            @if kept.events.is_empty() {
                p .quiet { "Nothing yet." @if reported { " The delivery is reported by itself." } }
            } @else {
                (parts::table("What became of it, oldest first", &[("When (UTC)", false), ("What", false), ("Answer", false), ("Address", false)], html! {
                    @for played in &kept.events {
                        tr {
                            td .short { (parts::moment(&played.at)) }
                            td .short { (played.what.replace('_', " ")) }
                            td .short { @if let Some(status) = played.status { (parts::status(status)) } }
                            td .long { @if let Some(url) = &played.url { (url) } }
                        }
                    }
                }))
            }
            form .row method="post" action={ (place(kept)) "/play" } {
                @if reported {
                    button type="submit" name="what" value="bounce" { "Bounce" }
                    button type="submit" name="what" value="soft_bounce" { "Soft bounce" }
                    button type="submit" name="what" value="complaint" { "Complain" }
                }
                @if opens { button type="submit" name="what" value="open" { "Open" } }
                @if unsubscribes { button type="submit" name="what" value="unsubscribe" { "Unsubscribe" } }
            }
        }
    }
}

/// What its recipient may write back, if that comes to this deployment.
fn answer_form(console: &Console, kept: &KeptMail) -> Markup {
    if console.aws.mailbox().reply_address(&kept.mail).is_none() {
        return html! {};
    }
    html! {
        details .card {
            summary { "Write back" }
            form .stack method="post" action={ (place(kept)) "/play" } {
                label for="answer-text" { "Text of the reply" }
                textarea #answer-text name="text" rows="3" { (Answer::usual().text) }
                div .row {
                    button type="submit" name="what" value="reply" { "Reply" }
                    button type="submit" name="what" value="ooo" { "Out of office" }
                }
            }
        }
    }
}

fn links_of(kept: &KeptMail) -> Markup {
    let links = links(&kept.mail);
    if links.is_empty() {
        return html! {};
    }
    html! {
        section .stack aria-labelledby="links-heading" {
            h2 #links-heading { "Links" }
            (parts::table("Links of the mail", &[("Follow", false), ("Address", false), ("A request means", false)], html! {
                @for link in &links {
                    tr { td .short { (click_button(kept, link)) } td .long { code { (link.url) } } td .short { (meaning(link)) } }
                }
            }))
        }
    }
}

/// The picture of an opened mail has its own button, and other addresses are not ours to ask.
fn click_button(kept: &KeptMail, link: &Link) -> Markup {
    html! {
        @if matches!(link.means, Some(Meaning::Click | Meaning::Unsubscribe)) {
            form method="post" action={ (place(kept)) "/play" } {
                input type="hidden" name="link" value=(link.url);
                button type="submit" name="what" value="click" { "Click" span .unseen { " " (link.url) } }
            }
        }
    }
}

fn meaning(link: &Link) -> &'static str {
    match link.means {
        Some(Meaning::Open) => "opened",
        Some(Meaning::Click) => "clicked",
        Some(Meaning::Unsubscribe) => "a page to unsubscribe",
        None => "",
    }
}

/// Plays what a button says, and shows the mail again.
async fn play(State(console): State<Console>, Path(id): Path<String>, body: Bytes) -> Result<Response, PageError> {
    let mailbox = console.aws.mailbox();
    let Some(kept) = mailbox.mail(&id)? else { return Ok(missing(Section::Mailbox, "There is no such mail.")) };
    let fields: std::collections::BTreeMap<_, _> = form_urlencoded::parse(&body).into_owned().collect();
    let reported = |report| mailbox.report(&id, report, Timestamp::now());
    let answered = |answer: &Answer| mailbox.reply(&id, answer, Timestamp::now());
    let act = async |act: Act| Ok::<_, PageError>(mailbox.act(&console.api, &id, &act).await.map_err(PageError)?.is_some());
    let done = match fields.get("what").map(String::as_str) {
        Some("bounce") => reported(Report::Bounce)?,
        Some("soft_bounce") => reported(Report::SoftBounce)?,
        Some("complaint") => reported(Report::Complaint)?,
        Some("reply") => answered(&fields.get("text").map_or_else(Answer::usual, |text| Answer::written(text)))?,
        Some("ooo") => answered(&Answer::out_of_office())?,
        Some("open") => act(Act::Open).await?,
        Some("click") => act(Act::Click(fields.get("link").cloned())).await?,
        Some("unsubscribe") => act(Act::Unsubscribe).await?,
        _ => false,
    };
    Ok(match done {
        true => Redirect::to(&place(&kept)).into_response(),
        false => {
            let why = html! { "This cannot happen to the mail: it has no such link of this API, no address of ours for answers, or no tags, without which nothing is reported." };
            (StatusCode::CONFLICT, page(Section::Mailbox, "Not so", parts::nothing(why))).into_response()
        }
    })
}

fn place(kept: &KeptMail) -> String {
    format!("/mailbox/{}", parts::encoded(&kept.mail.id))
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

/// Every word must be found in recipient, sender, subject, text, kind or tenant.
fn fits(kept: &KeptMail, wanted: &Wanted, tenants: &mut Tenants) -> bool {
    let mail = &kept.mail;
    let tenant = mail.tenant.as_deref().map(|tenant| tenants.get(tenant));
    let from = mail.from.as_deref().unwrap_or_default();
    let text = [&mail.to, from, &mail.subject, &mail.text, &mail.kind].map(|part| part.to_lowercase());
    let holds = |word: &str| text.iter().any(|part| part.contains(word)) || tenant.as_ref().is_some_and(|tenant| tenant.fits(word));
    let kind_fits = wanted.kind.is_empty() || wanted.kind == mail.kind;
    kind_fits && wanted.q.to_lowercase().split_whitespace().all(holds)
}
