//! Webhooks: list, create, read, change, delete, and their secrets.

use jiff::SignedDuration;
use records::event::{EventFilter, EventKind, Payload};
use records::replay::Replay;
use records::webhook::{HealthState, Webhook, WebhookChanges, WebhookHealth, WebhookId, WebhookSecrets};
use records::webhook_pace::WebhookPace;
use serde::Serialize;
use shared::http::answer::{Answer, Created, Deleted, Listing, Tagged};
use shared::http::arguments::{Body, Cursors, Found, IfMatch, NoFilters};
use shared::http::form::{Fields, Flag, Form, Integer};
use shared::http::idempotency::Once;
use shared::model::shared_secret::SharedSecret;
use shared::model::time::{Printed, zulu};
use shared::store::{Direction, Record as _, Window};
use shared::tenancy::doors::{Admin, Viewer};
use shared::tenancy::{TenantStore, conflict};
use shared::{Error, Result};

use crate::rules::{EVENTS, PACE, PAYLOAD, SecretText, UrlText, judged};

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Webhook)]
pub struct WebhookView {
    id: String,
    url: String,
    /// Names of events, groups like `message.*`, or `*`.
    events: Vec<String>,
    payload: Payload,
    /// Attempts a second on average. Up to about twice as many come within one second, and more after an interruption of ours. While the last ones
    /// fail there is about one a second, and where all fail for an hour one in 30 seconds.
    max_per_second: i64,
    enabled: bool,
    health: HealthView,
    created_at: Printed,
    updated_at: Printed,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = WebhookHealth)]
pub struct HealthView {
    state: HealthState,
    /// Attempts that failed in a row, counted up to 10.
    failures: u64,
    /// The first of them.
    #[schema(required = true)]
    failing_since: Option<Printed>,
}

/// With the secret, which is shown this once.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CreatedWebhook)]
pub struct NewView {
    #[serde(flatten)]
    webhook: WebhookView,
    /// `whsec_` and Base64: what a library for Standard Webhooks takes.
    secret: String,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = WebhookSecret)]
pub struct SecretView {
    id: String,
    /// Shown this once.
    secret: String,
    /// How many secrets sign now. A delivery has a signature of each.
    living: u64,
    /// When those before it end.
    earlier_end_at: Printed,
}

/// What a webhook can be told of.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = EventType)]
pub struct EventTypeView {
    name: EventKind,
    description: &'static str,
}

pub struct NewWebhook {
    url: String,
    events: Vec<EventFilter>,
    payload: Payload,
    max_per_second: i64,
    enabled: bool,
    secret: Option<SharedSecret>,
}

pub struct Changes(WebhookChanges);

pub struct Rotation {
    secret: Option<SharedSecret>,
    grace: SignedDuration,
}

/// Newest first.
pub async fn list(door: Viewer, asked: Cursors<NoFilters>) -> Result<Listing<WebhookView>> {
    let found = door.store.page(&Webhook::all().going(Direction::Descending), &asked.page.span(), |_| true).await?;
    let keys: Vec<_> = found.items.iter().map(|webhook| WebhookHealth::key_of(webhook.id)).collect();
    let health = door.store.find_many(&keys).await?;
    let view = |webhook: &Webhook| WebhookView::of(webhook, health.iter().find(|health| health.id == webhook.id));
    Ok(Listing { items: found.items.iter().map(view).collect(), total: 0, page: asked.page, next: found.next })
}

pub async fn create(door: Admin, once: Once<NewWebhook>) -> Result<Tagged<NewView, 201>> {
    let (store, now, random) = (&door.store, door.now(), door.store.random());
    let NewWebhook { url, events, payload, max_per_second, enabled, secret } = once.body;
    let (id, url) = (WebhookId::new(now, random), judged(&door.app, &url)?);
    let webhook = Webhook { id, url, events, payload, max_per_second, enabled, created_at: now, updated_at: now, version: 1 };
    let secret = secret.unwrap_or_else(|| SharedSecret::new(random));
    let secrets = WebhookSecrets::new(id, &secret, (door.tenant.id, door.app.keys().vault()?, random));
    let view = NewView { webhook: WebhookView::of(&webhook, None), secret: secret.text() };
    let answer = Created::new("Webhook created", view).tagged(etag(&webhook, None));
    once.ticket
        .record(store.transaction(), store, &answer)?
        .count_within(store, Webhook::QUOTA, &door.plan, &door.tenant.plan)?
        .create(store, &webhook, conflict("Try again."))?
        .create(store, &secrets, conflict("Try again."))?
        .commit()
        .await?;
    Ok(answer)
}

/// In the order in which the API reference names them.
pub async fn event_types(_door: Viewer, asked: Cursors<NoFilters>) -> Result<Listing<EventTypeView>> {
    let mut window = Window::new(asked.page.span(), Direction::Ascending)?;
    for (index, kind) in EventKind::ALL.iter().enumerate() {
        window.add(index, kind.name().to_owned());
    }
    let (names, next, total) = window.finish();
    let kinds = names.iter().filter_map(|name| EventKind::parse(name));
    let items = kinds.map(|kind| EventTypeView { name: kind, description: kind.text() }).collect();
    Ok(Listing { items, total, page: asked.page, next })
}

pub async fn show(door: Viewer, webhook: Found<Webhook>) -> Result<Tagged<WebhookView>> {
    answer(&door.store, &webhook.0).await
}

/// Enabled again, it begins as one of which nothing bad is known.
pub async fn update(door: Admin, webhook: Found<Webhook>, expected: IfMatch, changes: Body<Changes>) -> Result<Tagged<WebhookView>> {
    let (store, mut changes) = (&door.store, changes.0.0);
    changes.url = changes.url.map(|url| judged(&door.app, &url)).transpose()?;
    let health = store.find(&WebhookHealth::key_of(webhook.0.id)).await?.unwrap_or_else(|| WebhookHealth::new(webhook.0.id));
    let changed = store
        .edit(webhook.0, |webhook, transaction| {
            expected.check(&webhook.etag())?;
            let Some(changed) = webhook.changed(&changes, door.now()) else { return Ok(None) };
            let is_enabled_again = changed.enabled && !webhook.enabled;
            // Also where nothing was known of it: it may have been disabled since.
            let transaction = if is_enabled_again { transaction.put(store, &health.anew())? } else { transaction };
            Ok(Some((changed, transaction)))
        })
        .await?;
    answer(store, &changed).await
}

pub async fn delete(door: Admin, webhook: Found<Webhook>, expected: IfMatch) -> Result<Answer<Deleted>> {
    let (store, id) = (&door.store, webhook.0.id);
    store
        .remove(webhook.0, |webhook, transaction| {
            expected.check(&webhook.etag())?;
            let transaction = transaction.remove(store, &WebhookSecrets::key_of(id))?.remove(store, &WebhookHealth::key_of(id))?;
            let transaction = transaction.remove(store, &WebhookPace::key_of(id))?;
            transaction.remove(store, &Replay::running(id))?.count(store, Webhook::COUNT, -1)
        })
        .await?;
    Ok(Answer::new("Webhook deleted", Deleted::of(id.prefixed())))
}

pub async fn rotate_secret(door: Admin, webhook: Found<Webhook>, once: Once<Rotation>) -> Result<Answer<SecretView>> {
    let (store, now, random, id) = (&door.store, door.now(), door.store.random(), webhook.0.id);
    let Rotation { secret, grace } = once.body;
    let secret = secret.unwrap_or_else(|| SharedSecret::new(random));
    let secrets = store.find(&WebhookSecrets::key_of(id)).await?.ok_or(Error::Missing("Webhook"))?;
    let rotated = secrets.rotated(&secret, grace, now, (door.tenant.id, door.app.keys().vault()?, random)).ok_or_else(too_many)?;
    let living = rotated.secrets.len() as u64;
    let earlier_end_at = rotated.secrets.iter().filter_map(|secret| secret.ends_at).max().unwrap_or(now);
    let view = SecretView { id: id.prefixed(), secret: secret.text(), living, earlier_end_at: zulu(earlier_end_at) };
    let answer = Answer::new("Secret replaced", view);
    once.ticket.record(store.transaction(), store, &answer)?.replace(store, &rotated, &secrets)?.commit().await?;
    Ok(answer)
}

fn too_many() -> Error {
    let most = WebhookSecrets::MOST;
    Error::Conflict(
        format!("A webhook has at most {most} secrets at a time: wait until one ends, or end them now with grace_seconds 0.").into(),
    )
}

async fn answer(store: &TenantStore, webhook: &Webhook) -> Result<Tagged<WebhookView>> {
    let health = store.find(&WebhookHealth::key_of(webhook.id)).await?;
    let etag = etag(webhook, health.as_ref());
    Ok(Answer::new("Success", WebhookView::of(webhook, health.as_ref())).tagged(etag))
}

/// The version, and that of its health, which moves without an edit.
fn etag(webhook: &Webhook, health: Option<&WebhookHealth>) -> String {
    format!("\"{}.{}\"", webhook.version, health.map_or(0, |health| health.version))
}

impl WebhookView {
    fn of(webhook: &Webhook, health: Option<&WebhookHealth>) -> Self {
        WebhookView {
            id: webhook.id.prefixed(),
            url: webhook.url.clone(),
            events: webhook.events.iter().map(ToString::to_string).collect(),
            payload: webhook.payload,
            max_per_second: webhook.max_per_second,
            enabled: webhook.enabled,
            health: HealthView {
                state: if webhook.enabled { WebhookHealth::state_of(health) } else { HealthState::Disabled },
                failures: health.map_or(0, |health| health.failures),
                failing_since: health.and_then(|health| health.failing_since).map(zulu),
            },
            created_at: zulu(webhook.created_at),
            updated_at: zulu(webhook.updated_at),
        }
    }
}

impl Form for NewWebhook {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let url = fields.required("url", UrlText);
        let events = fields.required("events", EVENTS);
        let payload = fields.optional("payload", PAYLOAD).unwrap_or(Payload::Full);
        let max_per_second = fields.optional("max_per_second", PACE).unwrap_or(Webhook::USUAL_PACE);
        let enabled = fields.optional("enabled", Flag).unwrap_or(true);
        let secret = fields.optional("secret", SecretText);
        Some(NewWebhook { url: url?, events: events?, payload, max_per_second, enabled, secret })
    }
}

impl Form for Changes {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Changes(WebhookChanges {
            url: fields.change("url", UrlText),
            events: fields.change("events", EVENTS),
            payload: fields.change("payload", PAYLOAD),
            max_per_second: fields.change("max_per_second", PACE),
            enabled: fields.change("enabled", Flag),
        }))
    }
}

impl Form for Rotation {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let secret = fields.optional("secret", SecretText);
        let grace = fields.optional("grace_seconds", Integer { min: 0, max: WebhookSecrets::LONGEST_GRACE }).unwrap_or(86_400);
        Some(Rotation { secret, grace: SignedDuration::from_secs(grace) })
    }
}
