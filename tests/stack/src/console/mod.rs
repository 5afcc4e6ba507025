//! The console beside the API: what the stack holds, for a person. Read only, on loopback only, nothing from a network.

pub mod guard;
mod mail_pages;
mod page;
mod reference;
mod table_pages;

use std::path::PathBuf;

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    middleware::from_fn,
    response::{IntoResponse, Response},
    routing::get,
};
use maud::{Markup, html};
use serde_json::{Value, json};

use crate::{
    aws::{Aws, AwsError},
    journal::JournalError,
};

#[derive(Clone)]
pub struct Console {
    pub aws: Aws,
    /// Base URL of the API.
    pub api_url: String,
    /// The workspace's `openapi.json`.
    pub openapi: PathBuf,
    /// Names of the tables to browse.
    pub tables: Vec<String>,
}

impl Console {
    pub fn router(self) -> Router {
        let mailbox = self.aws.mailbox().router();
        let pages = Router::new()
            .route("/", get(home))
            .route("/health", get(health))
            .merge(mail_pages::routes())
            .merge(table_pages::routes())
            .merge(reference::routes())
            .with_state(self);
        pages.merge(mailbox).merge(reference::assets()).layer(from_fn(page::headers)).layer(from_fn(guard::loopback_only))
    }

    /// Depth of every queue, by name.
    fn queue_depths(&self) -> Result<Vec<(String, crate::aws::queues::Depth)>, AwsError> {
        let queues = self.aws.queues();
        queues.names().into_iter().map(|name| Ok((name.clone(), queues.depth(&name)?))).collect()
    }
}

/// What a page could not do, as a page.
struct Trouble(String);

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let page = page::page("Trouble", html! { p { (self.0) } });
        (StatusCode::INTERNAL_SERVER_ERROR, page).into_response()
    }
}

impl From<AwsError> for Trouble {
    fn from(error: AwsError) -> Trouble {
        Trouble(error.to_string())
    }
}

impl From<JournalError> for Trouble {
    fn from(error: JournalError) -> Trouble {
        Trouble(error.to_string())
    }
}

async fn home(State(console): State<Console>) -> Result<Markup, Trouble> {
    let mails = console.aws.mailbox().mails()?.len();
    let queues = console.queue_depths()?;
    Ok(page::page(
        "Local stack",
        html! {
            p { "The API answers on " a href=(console.api_url) { (console.api_url) } "." }
            ul {
                li { a href="/reference" { "API reference" } " – every route, to read and to try" }
                li { a href="/mailbox" { "Mailbox" } " – " (mails) " mails that would have been sent" }
                li { a href="/table" { "Table" } " – the items of each tenant" }
                li { a href="/health" { "Health" } " – as JSON" }
            }
            h2 { "Queues" }
            table {
                tr { th { "Queue" } th { "Waiting" } th { "In work or delayed" } }
                @for (name, depth) in queues {
                    tr { td { (name) } td { (depth.visible) } td { (depth.hidden) } }
                }
            }
        },
    ))
}

async fn health(State(console): State<Console>) -> Result<Json<Value>, Trouble> {
    let queues: serde_json::Map<String, Value> = console
        .queue_depths()?
        .into_iter()
        .map(|(name, depth)| (name, json!({ "visible": depth.visible, "hidden": depth.hidden })))
        .collect();
    let mails = console.aws.mailbox().mails()?.len();
    Ok(Json(json!({ "status": "ok", "api": console.api_url, "mails": mails, "queues": queues })))
}

#[cfg(test)]
mod tests;
