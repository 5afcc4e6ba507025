//! The console: what the stack contains and does, as web pages. Only on loopback, and without anything from the network.
//!
//! A page is a handler that returns `page(…)`. `page` and `parts` are the tools for pages: the frame with its navigation, and filters,
//! tables, facts and JSON. They work on a phone, in dark mode, with a keyboard and with a screen reader. A page that names a `Topic`
//! refreshes itself.

mod assets;
mod catcher_pages;
mod entered;
pub mod guard;
mod home;
mod live;
mod mail_pages;
mod page;
mod parts;
mod phone_pages;
mod reference;
mod request_pages;
mod table_pages;
mod tenants;

use std::{path::PathBuf, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{Method, StatusCode, Uri},
    middleware::from_fn,
    response::{IntoResponse, Response},
    routing::get,
};
use maud::html;
use serde_json::{Value, json};

use crate::lock::Lock;
use crate::{
    aws::{Aws, AwsError, queues::Depth},
    client::Api,
    demo::Demo,
    gateway::access::AccessLog,
    journal::JournalError,
};

use page::{Section, page};

#[derive(Clone)]
pub struct Console {
    aws: Aws,
    access: AccessLog,
    api: Api,
    /// The workspace's `openapi.json`.
    openapi: PathBuf,
    /// The names of the tables to show.
    tables: Vec<String>,
    /// The session that the reference works with.
    session: Arc<Lock<Option<String>>>,
}

impl Console {
    /// `api_url` is the base of the API.
    pub fn new(aws: Aws, access: AccessLog, api_url: &str, openapi: PathBuf, tables: Vec<String>) -> Console {
        Console { aws, access, api: Api::new(api_url), openapi, tables, session: Arc::default() }
    }

    pub fn router(self) -> Router {
        let beside = self.aws.mailbox().router().merge(self.aws.catcher().router());
        let pages = Router::new()
            .route("/health", get(health))
            .merge(home::routes())
            .merge(request_pages::routes())
            .merge(mail_pages::routes())
            .merge(phone_pages::routes())
            .merge(catcher_pages::routes())
            .merge(table_pages::routes())
            .merge(reference::routes())
            .merge(live::routes())
            .with_state(self);
        pages
            .merge(beside)
            .merge(reference::assets())
            .merge(assets::routes())
            .fallback(unknown)
            .method_not_allowed_fallback(wrong_method)
            .layer(from_fn(page::headers))
            .layer(from_fn(guard::webhooks_to_sinks_only))
            .layer(from_fn(guard::own_pages_only))
            .layer(from_fn(guard::loopback_only))
    }

    /// The depth of every queue, by name.
    fn queue_depths(&self) -> Result<Vec<(String, Depth)>, AwsError> {
        let queues = self.aws.queues();
        queues.names().into_iter().map(|name| Ok((name.clone(), queues.depth(&name)?))).collect()
    }

    fn demo(&self) -> Result<Option<Demo>, JournalError> {
        Demo::known(self.aws.journal())
    }

    /// Logs the demo in and returns its new token.
    async fn log_in(&self) -> Result<String, String> {
        let demo = self.demo().map_err(|error| error.to_string())?.ok_or("There is no demo tenant yet.")?;
        let (status, answer) = self.api.call(Method::POST, "/api/v1/auth/login", Some(&demo.credentials())).await?;
        match answer["data"]["token"].as_str() {
            Some(token) if status == 200 => Ok(token.to_owned()),
            _ => Err(format!("The login was answered {status}: {}", answer["error"]["message"].as_str().unwrap_or("no reason given"))),
        }
    }

    /// The token of the last login while it is valid, otherwise that of a new one.
    async fn token(&self) -> Result<String, String> {
        let kept = self.session.lock().clone();
        if let Some(token) = kept {
            let request = axum::http::Request::get("/api/v1/auth/me").header("authorization", format!("Bearer {token}"));
            let answer = self.api.send(request.body(bytes::Bytes::new()).map_err(|error| error.to_string())?).await?;
            if answer.status() == StatusCode::OK {
                return Ok(token);
            }
        }
        let token = self.log_in().await?;
        *self.session.lock() = Some(token.clone());
        Ok(token)
    }
}

/// An error, shown as a page.
struct PageError(String);

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let page = page(Section::None, "Trouble", html! { p { (self.0) } });
        (StatusCode::INTERNAL_SERVER_ERROR, page).into_response()
    }
}

impl From<AwsError> for PageError {
    fn from(error: AwsError) -> PageError {
        PageError(error.to_string())
    }
}

impl From<JournalError> for PageError {
    fn from(error: JournalError) -> PageError {
        PageError(error.to_string())
    }
}

/// A page for something that does not exist. `what` is its name in a sentence.
fn missing(section: Section, what: &str) -> Response {
    (StatusCode::NOT_FOUND, page(section, "Not found", html! { (parts::nothing(html! { (what) })) })).into_response()
}

async fn unknown(method: Method, uri: Uri) -> Response {
    missing(Section::None, &format!("The console has nothing at {method} {}.", uri.path()))
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    let content = parts::nothing(html! { "The console does not take " (method) " at " (uri.path()) "." });
    (StatusCode::METHOD_NOT_ALLOWED, page(Section::None, "Not so", content)).into_response()
}

async fn health(State(console): State<Console>) -> Result<Json<Value>, PageError> {
    let queues: serde_json::Map<String, Value> = console
        .queue_depths()?
        .into_iter()
        .map(|(name, depth)| (name, json!({ "visible": depth.visible, "hidden": depth.hidden })))
        .collect();
    let mails = console.aws.mailbox().mails()?.len();
    let (phones, webhooks) = (console.aws.phones().count(), console.aws.catcher().count());
    Ok(Json(json!({ "status": "ok", "api": console.api.base(), "mails": mails, "phones": phones, "webhooks": webhooks, "queues": queues })))
}

#[cfg(test)]
mod tests;
