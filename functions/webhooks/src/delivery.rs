//! Deliveries of a webhook: list, read, try again, and a test. What is to be delivered is written here; workers do the rest.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use records::delivery::{AttemptError, Delivery, DeliveryAttempt, DeliveryState, DeliveryStatus, GivenUp};
use records::event::{Event, EventId, EventKind};
use records::webhook::{Webhook, WebhookId};
use serde::Serialize;
use serde_json::{Map, json};
use shared::http::answer::{Accepted, Answer, Listing};
use shared::http::arguments::{Cursors, Found};
use shared::http::form::{Fields, Form, Moment, OneOf};
use shared::http::{Argument, Operation};
use shared::ids::PathId;
use shared::model::time::{Printed, zulu};
use shared::store::Direction;
use shared::tenancy::doors::{Admin, Viewer};
use shared::tenancy::{Entered, Incoming, Wants, conflict};
use shared::{Error, Result, crypto};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, timeout};

use crate::rules::EVENT;

/// How often a test looks for its attempt.
const PAUSE: Duration = Duration::from_millis(250);

const STATUS: OneOf<DeliveryStatus> = OneOf {
    words: &["pending", "succeeded", "failed"],
    parse: |word| match word {
        "pending" => Some(DeliveryStatus::Pending),
        "succeeded" => Some(DeliveryStatus::Succeeded),
        "failed" => Some(DeliveryStatus::Failed),
        _ => None,
    },
};

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = WebhookDelivery)]
pub struct DeliveryView {
    /// What the receiver finds in `webhook-id`.
    event_id: String,
    webhook_id: String,
    event: EventKind,
    status: DeliveryStatus,
    /// Of all time.
    attempts_made: u64,
    /// While it is pending.
    #[schema(required = true)]
    next_attempt_at: Option<Printed>,
    /// When it was delivered or given up.
    #[schema(required = true)]
    ended_at: Option<Printed>,
    /// Why it was given up.
    #[schema(required = true)]
    reason: Option<GivenUp>,
    created_at: Printed,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = WebhookDeliveryDetails)]
pub struct DetailsView {
    #[serde(flatten)]
    delivery: DeliveryView,
    /// The last 20, the oldest first.
    attempts: Vec<AttemptView>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = WebhookAttempt)]
pub struct AttemptView {
    at: Printed,
    duration_ms: u64,
    #[schema(required = true)]
    status_code: Option<u16>,
    #[schema(required = true)]
    error: Option<AttemptError>,
    /// The first 2 KiB of the answer, of the newest attempt alone.
    #[schema(required = true)]
    response: Option<String>,
    /// Five headers of the answer, of the newest attempt alone.
    headers: BTreeMap<String, String>,
}

pub struct Filters {
    status: Option<DeliveryStatus>,
    event: Option<EventKind>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

/// Deliveries that a page looks at.
const LOOKED_AT: usize = 1_000;

/// The delivery that a path names.
pub struct FoundDelivery {
    webhook: Webhook,
    delivery: Delivery,
}

pub async fn list(door: Viewer, webhook: Found<Webhook>, asked: Cursors<Filters>) -> Result<Listing<DeliveryView>> {
    let filters = &asked.filters;
    let keep = |delivery: &Delivery| {
        filters.status.is_none_or(|status| delivery.status() == status)
            && filters.event.is_none_or(|kind| delivery.kind == kind)
            && filters.since.is_none_or(|since| delivery.created_at >= since)
            && filters.until.is_none_or(|until| delivery.created_at < until)
    };
    let list = Delivery::of_webhook(webhook.0.id).going(Direction::Descending);
    let found = door.store.page_within(&list, &asked.page.span(), LOOKED_AT, keep).await?;
    Ok(Listing { items: found.items.iter().map(DeliveryView::of).collect(), total: 0, page: asked.page, next: found.next })
}

pub async fn show(_door: Viewer, found: FoundDelivery) -> Result<Answer<DetailsView>> {
    Ok(Answer::new("Success", DetailsView::of(&found.delivery)))
}

/// The same request again changes nothing that matters, so its answer is kept after its effect.
pub async fn retry(door: Admin, found: FoundDelivery) -> Result<Accepted<DetailsView>> {
    let (store, FoundDelivery { webhook, delivery }) = (&door.store, found);
    if !webhook.enabled {
        return Err(Error::WebhookDisabled);
    }
    let again = delivery.again(door.now());
    store.transaction().replace(store, &again, &delivery)?.commit().await?;
    Ok(Accepted::new("It will be tried again", DetailsView::of(&again)))
}

/// One attempt, whatever becomes of it. Who repeats the request tests again.
pub async fn test(door: Admin, webhook: Found<Webhook>) -> Result<Answer<DetailsView>> {
    let (store, webhook, now) = (&door.store, webhook.0, door.now());
    if !webhook.enabled {
        return Err(Error::WebhookDisabled);
    }
    let mark = crypto::hash(&[&store.random().bytes::<16>()]);
    let data = Map::from_iter([("webhook_id".to_owned(), json!(webhook.id.prefixed()))]);
    let kind = EventKind::WebhookTest;
    let event = Event::new(EventId::of(now, &mark, kind), kind, now, data);
    let delivery = Delivery::new(webhook.id, &event, true, now);
    let again = || conflict("Try again.");
    let mut writing = store.transaction().create(store, &delivery, again())?;
    for event in event.records(door.app.clock().now()) {
        writing = writing.create(store, &event, again())?;
    }
    let too_long = |elapsed: Elapsed| Error::Unavailable { doing: "keeping an event", cause: elapsed.into() };
    timeout(Event::WRITTEN_WITHIN, writing.commit()).await.map_err(too_long)??;
    let until = Instant::now() + door.app.config().webhook_test_wait;
    loop {
        let found = store.get(&Delivery::key_of(webhook.id, event.id)).await?;
        if found.status() != DeliveryStatus::Pending || Instant::now() >= until {
            return Ok(Answer::new("Success", DetailsView::of(&found)));
        }
        sleep(PAUSE).await;
    }
}

impl FoundDelivery {
    fn named(incoming: &Incoming) -> Option<(WebhookId, Option<EventId>)> {
        let [webhook, event] = &incoming.path_values[..] else { return None };
        Some((WebhookId::from_path(webhook)?, EventId::from_path(event)))
    }
}

impl Argument for FoundDelivery {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        wants.means::<Webhook>();
        let Some((webhook, event)) = FoundDelivery::named(incoming) else { return };
        wants.named(&<Webhook as shared::store::Record>::key_of(webhook));
        if let Some(event) = event {
            wants.record(&Delivery::key_of(webhook, event));
        }
    }

    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        let no_webhook = || Error::Missing("Webhook");
        let (id, event) = FoundDelivery::named(incoming).ok_or_else(no_webhook)?;
        let webhook = entered.find(&<Webhook as shared::store::Record>::key_of(id)).await?.ok_or_else(no_webhook)?;
        let missing = || Error::Missing(Delivery::NOUN);
        let delivery = entered.find(&Delivery::key_of(id, event.ok_or_else(missing)?)).await?.ok_or_else(missing)?;
        Ok(FoundDelivery { webhook, delivery })
    }

    fn describe(operation: &mut Operation) {
        operation.names(EventId::schema());
        operation.within(WebhookId::schema());
    }
}

impl DeliveryView {
    fn of(delivery: &Delivery) -> Self {
        let (ended_at, reason) = match delivery.state {
            DeliveryState::Pending { .. } => (None, None),
            DeliveryState::Succeeded { ended_at } => (Some(ended_at), None),
            DeliveryState::Failed { ended_at, reason } => (Some(ended_at), Some(reason)),
        };
        DeliveryView {
            event_id: delivery.event.prefixed(),
            webhook_id: delivery.webhook.prefixed(),
            event: delivery.kind,
            status: delivery.status(),
            attempts_made: delivery.made,
            next_attempt_at: delivery.next_attempt_at().map(zulu),
            ended_at: ended_at.map(zulu),
            reason,
            created_at: zulu(delivery.created_at),
        }
    }
}

impl DetailsView {
    fn of(delivery: &Delivery) -> Self {
        DetailsView { delivery: DeliveryView::of(delivery), attempts: delivery.attempts.iter().map(AttemptView::of).collect() }
    }
}

impl AttemptView {
    fn of(attempt: &DeliveryAttempt) -> Self {
        AttemptView {
            at: zulu(attempt.made_at),
            duration_ms: attempt.duration_ms,
            status_code: attempt.status_code,
            error: attempt.error,
            response: attempt.response.clone(),
            headers: attempt.headers.iter().cloned().collect(),
        }
    }
}

impl Form for Filters {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Filters {
            status: fields.optional("status", STATUS),
            event: fields.optional("event", EVENT),
            since: fields.optional("since", Moment),
            until: fields.optional("until", Moment),
        })
    }
}
