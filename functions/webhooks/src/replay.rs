//! Replays: events of some time are to be delivered to a webhook again. What is asked for is written here; workers do the rest.

use jiff::{SignedDuration, Timestamp};
use records::event::{Event, EventFilter};
use records::replay::{Replay, ReplayId, ReplayStatus, Selection};
use records::webhook::{Webhook, WebhookId};
use serde::Serialize;
use shared::error::FieldErrors;
use shared::http::answer::{Accepted, Answer};
use shared::http::arguments::Found;
use shared::http::form::{Fields, Form, Moment, OneOf};
use shared::http::idempotency::Once;
use shared::http::{Argument, Operation};
use shared::ids::PathId;
use shared::model::time::{Printed, zulu};
use shared::store::Record as _;
use shared::tenancy::doors::{Admin, Viewer};
use shared::tenancy::{Entered, Incoming, Wants, conflict};
use shared::{Error, Result};

use crate::rules::EventText;

const SELECTION: OneOf<Selection> = OneOf { words: Selection::WORDS, parse: Selection::parse };

/// Whoever reckons 30 days back has done so a moment ago.
const SLACK: SignedDuration = SignedDuration::from_mins(1);

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = WebhookReplay)]
pub struct ReplayView {
    id: String,
    webhook_id: String,
    status: ReplayStatus,
    /// `failed`: events whose delivery failed. `all`: events that the webhook takes.
    selects: Selection,
    /// Only of this type, or of this group.
    #[schema(required = true)]
    event: Option<String>,
    since: Printed,
    until: Printed,
    /// Events that are delivered again, so far.
    replayed: u64,
    /// It took 10,000 events, and there is more: another replay can begin here.
    #[schema(required = true)]
    more_since: Option<Printed>,
    created_at: Printed,
    #[schema(required = true)]
    ended_at: Option<Printed>,
}

pub struct Asked {
    since: Timestamp,
    until: Option<Timestamp>,
    selects: Selection,
    filter: Option<EventFilter>,
}

/// The replay that a path names.
pub struct FoundReplay {
    /// `None`: it was neither among those that run nor among those that ended.
    replay: Option<Replay>,
    webhook: WebhookId,
    id: ReplayId,
}

/// One at a time for each webhook.
pub async fn begin(door: Admin, webhook: Found<Webhook>, once: Once<Asked>) -> Result<Accepted<ReplayView>> {
    let (store, now, webhook) = (&door.store, door.now(), webhook.0);
    let replay = once.body.replay(ReplayId::new(now, store.random()), webhook.id, now)?;
    if !webhook.enabled {
        return Err(Error::WebhookDisabled);
    }
    let answer = Accepted::new("The replay begins", ReplayView::of(&replay));
    let running = store.find(&Replay::running(webhook.id)).await?;
    let writing = once.ticket.record(store.transaction(), store, &answer)?;
    let writing = writing.require(store, &Webhook::key_of(webhook.id), Box::new(|_| Error::Missing("Webhook")))?;
    let busy = "A replay of this webhook is running: wait for its end.";
    let writing = match running {
        None => writing.create(store, &replay, conflict(busy))?,
        Some(stalled) if stalled.is_stalled(now) => {
            writing.replace(store, &replay, &stalled)?.create(store, &stalled.stopped(now), conflict(busy))?
        }
        Some(_) => return Err(Error::Conflict(busy.into())),
    };
    writing.commit().await?;
    Ok(answer)
}

pub async fn show(door: Viewer, found: FoundReplay) -> Result<Answer<ReplayView>> {
    let replay = match found.replay {
        Some(replay) => replay,
        // It may have ended between the two reads.
        None => door.store.find(&Replay::ended_one(found.webhook, found.id)).await?.ok_or(Error::Missing(Replay::NOUN))?,
    };
    Ok(Answer::new("Success", ReplayView::of(&replay)))
}

impl Asked {
    /// What it asks for up to now: what happens from now on is told anyway.
    fn replay(self, id: ReplayId, webhook: WebhookId, now: Timestamp) -> Result<Replay> {
        let until = self.until.map_or(now, |until| until.min(now));
        let mut errors = FieldErrors::new();
        let mut refuse = |field: &str, problem: &str| errors.insert(field.to_owned(), vec![format!("The {field} field {problem}.")]);
        if now.duration_since(self.since) > Event::KEPT + SLACK {
            refuse("since", "must not be more than 30 days ago");
        } else if self.since >= now {
            refuse("since", "must be in the past");
        } else if self.since >= until {
            refuse("until", "must be after since");
        }
        if !errors.is_empty() {
            return Err(Error::Validation(errors));
        }
        Ok(Replay { filter: self.filter, ..Replay::new(id, webhook, self.selects, (self.since, until), now) })
    }
}

impl FoundReplay {
    fn named(incoming: &Incoming) -> Option<(WebhookId, Option<ReplayId>)> {
        let [webhook, replay] = &incoming.path_values[..] else { return None };
        Some((WebhookId::from_path(webhook)?, ReplayId::from_path(replay)))
    }
}

impl Argument for FoundReplay {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        wants.means::<Webhook>();
        let Some((webhook, replay)) = FoundReplay::named(incoming) else { return };
        wants.named(&Webhook::key_of(webhook));
        if let Some(replay) = replay {
            wants.record(&Replay::running(webhook));
            wants.record(&Replay::ended_one(webhook, replay));
        }
    }

    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        let no_webhook = || Error::Missing("Webhook");
        let (webhook, id) = FoundReplay::named(incoming).ok_or_else(no_webhook)?;
        entered.find(&Webhook::key_of(webhook)).await?.ok_or_else(no_webhook)?;
        let id = id.ok_or(Error::Missing(Replay::NOUN))?;
        let running = entered.find(&Replay::running(webhook)).await?.filter(|running| running.id == id);
        let replay = match running {
            Some(running) => Some(running),
            None => entered.find(&Replay::ended_one(webhook, id)).await?,
        };
        Ok(FoundReplay { replay, webhook, id })
    }

    fn describe(operation: &mut Operation) {
        operation.names(ReplayId::schema());
        operation.within(WebhookId::schema());
    }
}

impl ReplayView {
    fn of(replay: &Replay) -> Self {
        ReplayView {
            id: replay.id.prefixed(),
            webhook_id: replay.webhook.prefixed(),
            status: replay.status,
            selects: replay.selects,
            event: replay.filter.map(|filter| filter.to_string()),
            since: zulu(replay.since),
            until: zulu(replay.until),
            replayed: replay.replayed,
            more_since: replay.more_since.map(zulu),
            created_at: zulu(replay.created_at),
            ended_at: replay.ended_at.map(zulu),
        }
    }
}

impl Form for Asked {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let since = fields.required("since", Moment);
        let until = fields.optional("until", Moment);
        let selects = fields.optional("status", SELECTION).unwrap_or(Selection::Failed);
        let filter = fields.optional("event", EventText);
        Some(Asked { since: since?, until, selects, filter })
    }
}
