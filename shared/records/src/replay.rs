//! Replays: events of some time are delivered to a webhook again, page by page, so that one replay keeps nobody else waiting.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use shared::id;
use shared::ids::Segment;
use shared::store::{Collection, Entity, InTenant, Key};

use crate::delivery::{Delivery, DeliveryStatus};
use crate::event::{Event, EventFilter, EventId, EventKind};
use crate::webhook::{Webhook, WebhookId};

id!(/// Events are delivered to a webhook again.
    ReplayId = "rpl", time_ordered);

/// `replays` / `<webhook>#running`, of which a webhook has one; `<webhook>#<id>` from its end on, for 30 days.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    pub id: ReplayId,
    pub webhook: WebhookId,
    pub selects: Selection,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<EventFilter>,
    pub since: Timestamp,
    pub until: Timestamp,
    pub status: ReplayStatus,
    /// The last event that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<EventId>,
    pub replayed: u64,
    /// It took as many as one may, and this is where the next one begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more_since: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Counts pages.
    pub version: u64,
}

/// Which events of its time are replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// Whose delivery failed.
    Failed,
    /// That the webhook takes.
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReplayStatus {
    Running,
    Completed,
    /// The webhook was disabled meanwhile, or it stood still.
    Stopped,
}

/// A job: a replay shall go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoOn {
    pub replay: Page,
}

/// Which page of which replay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    pub webhook: WebhookId,
    pub id: ReplayId,
    pub version: u64,
}

/// What came of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turned {
    pub place: EventId,
    pub replayed: u64,
    pub then: Then,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Another page.
    GoesOn,
    /// Nothing is left.
    Ends,
    /// There is more than one replay may take, from this moment on.
    IsFull(Timestamp),
}

impl Selection {
    pub const WORDS: &'static [&'static str] = &["failed", "all"];

    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "failed" => Some(Selection::Failed),
            "all" => Some(Selection::All),
            _ => None,
        }
    }
}

impl Replay {
    pub const NOUN: &'static str = "Replay";
    /// Events.
    pub const MOST: u64 = 10_000;
    /// Events of a page.
    pub const PAGE: u64 = 100;
    /// Between two pages: what else the tenants have to deliver goes in between.
    pub const PACE: SignedDuration = SignedDuration::from_secs(2);
    /// What stands still for so long was given up by its queue. A new one may begin.
    const STALLED: SignedDuration = SignedDuration::from_hours(1);

    pub fn new(id: ReplayId, webhook: WebhookId, selects: Selection, (since, until): (Timestamp, Timestamp), now: Timestamp) -> Self {
        Replay {
            id,
            webhook,
            selects,
            filter: None,
            since,
            until,
            status: ReplayStatus::Running,
            place: None,
            replayed: 0,
            more_since: None,
            created_at: now,
            updated_at: now,
            ended_at: None,
            version: 1,
        }
    }

    /// The next page.
    pub fn page(&self) -> Page {
        Page { webhook: self.webhook, id: self.id, version: self.version }
    }

    pub fn is_running(&self) -> bool {
        self.status == ReplayStatus::Running
    }

    pub fn awaits(&self, page: &Page) -> bool {
        self.is_running() && self.page() == *page
    }

    pub fn is_stalled(&self, now: Timestamp) -> bool {
        now.duration_since(self.updated_at) >= Replay::STALLED
    }

    /// Behind which event the next page begins. What is about to expire is not worth it.
    pub fn from(&self, now: Timestamp) -> EventId {
        let since = self.since.max(now.saturating_sub(Event::KEPT).unwrap_or(Timestamp::MIN));
        self.place.map_or(EventId::at(since), |place| place.max(EventId::at(since)))
    }

    /// Behind its last event.
    pub fn end(&self) -> EventId {
        EventId::at(self.until)
    }

    /// How many more the next page may take.
    pub fn room(&self) -> u64 {
        Replay::PAGE.min(Replay::MOST.saturating_sub(self.replayed))
    }

    pub fn wants_event(&self, webhook: &Webhook, event: &Event) -> bool {
        !event.is_copy() && webhook.takes(event) && self.filter.is_none_or(|filter| filter.takes(event.kind))
    }

    /// Also one that it wanted before, when its page was cut off.
    pub fn wants_delivery(&self, delivery: &Delivery) -> bool {
        let is_failed = delivery.status() == DeliveryStatus::Failed || delivery.replay == Some(self.id);
        let is_test = delivery.kind == EventKind::WebhookTest;
        is_failed && !is_test && self.filter.is_none_or(|filter| filter.takes(delivery.kind))
    }

    /// After a page.
    pub fn after(&self, turned: Turned, now: Timestamp) -> Self {
        let replayed = self.replayed + turned.replayed;
        let went = Replay { place: Some(turned.place), replayed, updated_at: now, version: self.version + 1, ..self.clone() };
        match turned.then {
            Then::GoesOn => went,
            Then::Ends => went.ended(ReplayStatus::Completed, now),
            Then::IsFull(moment) => Replay { more_since: Some(moment), ..went.ended(ReplayStatus::Completed, now) },
        }
    }

    /// Before it was through.
    pub fn stopped(&self, now: Timestamp) -> Self {
        Replay { version: self.version + 1, ..self.ended(ReplayStatus::Stopped, now) }
    }

    /// An end has a place, as a page has: see `TOLD_BY`.
    fn ended(&self, status: ReplayStatus, now: Timestamp) -> Self {
        Replay { status, place: Some(self.place.unwrap_or(self.from(now))), updated_at: now, ended_at: Some(now), ..self.clone() }
    }

    /// The one of a webhook that runs.
    pub fn running(webhook: WebhookId) -> Key<Self> {
        Key::new(&Collection::of::<Replay>(), ReplayKey(webhook, None))
    }

    /// One that ended.
    pub fn ended_one(webhook: WebhookId, id: ReplayId) -> Key<Self> {
        Key::new(&Collection::of::<Replay>(), ReplayKey(webhook, Some(id)))
    }
}

struct ReplayKey(WebhookId, Option<ReplayId>);

impl fmt::Display for ReplayKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            None => write!(f, "{}#running", self.0),
            Some(id) => write!(f, "{}#{id}", self.0),
        }
    }
}

impl Segment for ReplayKey {}

impl Entity for Replay {
    type Scope = InTenant;
    const TYPE: &'static str = "replay";
    const COLLECTION: &'static str = "replays";
    // Who asked for it is told. Its pages are no news: each has another place.
    const TOLD_BY: Option<&'static str> = Some("place");
    const NOUN: Option<&'static str> = Some(Replay::NOUN);

    fn key(&self) -> Key<Self> {
        if self.is_running() { Replay::running(self.webhook) } else { Replay::ended_one(self.webhook, self.id) }
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }

    fn expires_at(&self) -> Option<Timestamp> {
        self.created_at.checked_add(Event::KEPT).ok()
    }
}

#[cfg(test)]
mod tests {
    use shared::crypto::Random;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn replay() -> Replay {
        let random = Random::seeded(1);
        let hour = SignedDuration::from_hours(1);
        Replay::new(
            ReplayId::new(NOW, &random),
            WebhookId::new(NOW, &random),
            Selection::All,
            (NOW + hour, NOW + hour + hour),
            NOW + hour * 3,
        )
    }

    #[test]
    fn a_page_is_awaited_once_and_the_last_one_ends_it() {
        let (replay, now) = (replay(), NOW + SignedDuration::from_hours(4));
        let place = EventId::at(NOW + SignedDuration::from_mins(90));
        let next = replay.after(Turned { place, replayed: 100, then: Then::GoesOn }, now);
        assert!(!next.awaits(&replay.page()) && next.awaits(&next.page()));
        assert_eq!((next.from(now), next.replayed, next.room()), (place, 100, 100));
        let ended = next.after(Turned { place, replayed: 3, then: Then::Ends }, now);
        assert_eq!((ended.status, ended.replayed, ended.more_since, ended.ended_at), (ReplayStatus::Completed, 103, None, Some(now)));
        assert!(!ended.awaits(&ended.page()));
        let nearly = Replay { replayed: 9_950, ..next };
        assert_eq!(nearly.room(), 50);
        let full = nearly.after(Turned { place, replayed: 50, then: Then::IsFull(now) }, now);
        assert_eq!((full.status, full.replayed, full.more_since), (ReplayStatus::Completed, 10_000, Some(now)));
    }

    #[test]
    fn an_end_is_told_by_a_place_as_pages_are() {
        let (replay, now) = (replay(), NOW + SignedDuration::from_hours(4));
        let stopped = replay.stopped(now);
        assert_eq!((stopped.place, stopped.version), (Some(EventId::at(replay.since)), 2));
        // Nothing is looked for that expires.
        assert_eq!(
            replay.from(replay.since + Event::KEPT + SignedDuration::from_mins(5)),
            EventId::at(replay.since + SignedDuration::from_mins(5))
        );
    }

    #[test]
    fn what_stands_still_makes_way() {
        let replay = replay();
        assert!(!replay.is_stalled(replay.updated_at + SignedDuration::from_mins(59)));
        assert!(replay.is_stalled(replay.updated_at + SignedDuration::from_mins(60)));
    }
}
