//! What people may write about a webhook, and the judgement of its URL.

use std::sync::Arc;

use net_guard::Guard;
use records::event::{EventFilter, EventKind, Payload};
use records::webhook::Webhook;
use serde_json::{Value, json};
use shared::http::form::{Integer, OneOf, Raw, Rule, Several};
use shared::model::shared_secret::SharedSecret;
use shared::tenancy::App;
use shared::{Error, Result};

pub const PAYLOAD: OneOf<Payload> = OneOf { words: Payload::WORDS, parse: Payload::parse };
pub const EVENT: OneOf<EventKind> = OneOf { words: EventKind::NAMES, parse: EventKind::parse };

/// Attempts a second.
pub const PACE: Integer = Integer { min: 1, max: Webhook::FASTEST };

/// Which events: at least one, each once.
pub const EVENTS: Several<EventText> = Several { each: EventText, min: 1, max: 50, key: |filter| filter.to_string() };

pub struct EventText;

impl Rule for EventText {
    type Value = EventFilter;

    fn check(&self, raw: Raw<'_>) -> Result<EventFilter, String> {
        raw.text()
            .and_then(EventFilter::parse)
            .ok_or_else(|| "must be an event like message.delivered, a group like message.*, or *".into())
    }

    fn schema(&self) -> Value {
        let text = "The name of an event (`GET /v1/webhooks/event-types`), `message.*` for a group, or `*` for all. `message.inbound` is `message.received`.";
        json!({"type": "string", "maxLength": 64, "description": text, "example": "message.*"})
    }
}

/// Whether it may be called is judged apart from its form.
pub struct UrlText;

impl Rule for UrlText {
    type Value = String;

    fn check(&self, raw: Raw<'_>) -> Result<String, String> {
        let text = raw.text().ok_or("must be a string")?;
        if text.is_empty() || text.len() > Webhook::LONGEST_URL {
            return Err(format!("must have 1 to {} bytes", Webhook::LONGEST_URL));
        }
        Ok(text.to_owned())
    }

    fn schema(&self) -> Value {
        let text = "An https URL of a host of the public internet, with port 443 or 8443, and without credentials. Stored in the normal form of a URL parser.";
        json!({"type": "string", "format": "uri", "minLength": 1, "maxLength": Webhook::LONGEST_URL, "description": text})
    }
}

pub struct SecretText;

impl Rule for SecretText {
    type Value = SharedSecret;

    fn check(&self, raw: Raw<'_>) -> Result<SharedSecret, String> {
        raw.text()
            .and_then(SharedSecret::parse)
            .ok_or_else(|| format!("must be whsec_ and the Base64 of {} to {} bytes", SharedSecret::SHORTEST, SharedSecret::LONGEST))
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "format": "password", "maxLength": 94, "pattern": "^whsec_[A-Za-z0-9+/]+={0,2}$"})
    }
}

/// The URL in the form in which it is stored and called.
pub fn judged(app: &App, url: &str) -> Result<String> {
    let target = guard(app)?.judge(url).map_err(|refused| Error::WebhookUrlRefused(refused.to_string()))?;
    Ok(target.as_str().to_owned())
}

fn guard(app: &App) -> Result<Guard> {
    let kept: Arc<Result<Guard, String>> = app.kept(|app| {
        let guard = Guard::read(app.config().webhook_allowed_hosts.as_deref(), &[&app.config().public_url]);
        guard.map_err(|error| error.to_string())
    });
    (*kept).clone().map_err(|error| Error::internal("reading WEBHOOK_ALLOWED_HOSTS", error))
}
