//! Deliveries: one event on its way to one webhook, by a schedule of eight attempts over a day and a half.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use shared::Result;
use shared::ids::Segment;
use shared::store::{Collection, Entity, InTenant, Key, List, ListEntry, Listed};

use crate::event::{Event, EventId, EventKind};
use crate::replay::ReplayId;
use crate::webhook::{Reached, WebhookId};

/// `deliveries` / `<webhook>#<event>`, for 30 days: those of a webhook in the order in which the events happened. Those of a webhook that is gone mean nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    pub webhook: WebhookId,
    pub event: EventId,
    pub kind: EventKind,
    pub state: DeliveryState,
    /// The newest last, at most `KEPT`.
    pub attempts: Vec<DeliveryAttempt>,
    /// Of all time, also those that are not kept.
    pub made: u64,
    /// Of the present schedule: a retry begins a new one.
    pub of_schedule: u64,
    /// One attempt, whatever becomes of it.
    pub once: bool,
    /// The last one that wanted it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayId>,
    pub created_at: Timestamp,
    pub version: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum DeliveryState {
    Pending {
        next_attempt_at: Timestamp,
        /// Too far away for a queue: the directory has a note of it.
        #[serde(default)]
        noted: bool,
        #[serde(default)]
        turn: DeliveryTurn,
    },
    Succeeded {
        ended_at: Timestamp,
    },
    Failed {
        ended_at: Timestamp,
        reason: GivenUp,
    },
}

/// Whether a delivery may go when it is due: a webhook is told no faster than its pace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryTurn {
    /// It asks for one by then.
    #[default]
    Asks,
    /// There was none. It waits with others, the oldest event first, and has no job.
    Waits,
    Has,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    Pending,
    Succeeded,
    Failed,
}

/// Why no further attempt is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GivenUp {
    /// All attempts failed.
    Exhausted,
    /// The receiver said so: `webhook-delivery: abort-message`.
    Aborted,
    /// The webhook is disabled.
    Disabled,
    /// The tenant was suspended for three days.
    Suspended,
    /// A demo delivers nothing to the public internet.
    Demo,
    /// The event is older than 30 days.
    Expired,
}

/// One attempt, as the sender saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeliveryAttempt {
    /// Not `at`, which says when an item was written.
    pub made_at: Timestamp,
    pub duration_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<AttemptError>,
    /// The beginning of what was answered, of the newest attempt alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    /// Some headers of the answer, of the newest attempt alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
}

/// Why an attempt did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttemptError {
    /// The name has no address.
    Dns,
    /// Nobody took the connection.
    Refused,
    /// The certificate does not hold.
    Tls,
    /// Not within 15 seconds.
    Timeout,
    /// What was answered is no HTTP.
    Broken,
    /// The answer is not 2xx. Redirects are not followed.
    Status,
    /// The URL leads where nothing is delivered. Nobody was called.
    Guard,
}

/// What comes of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Arrived,
    Again,
    Abort,
    NeverAgain,
}

/// A job: the next attempt of a delivery is to be signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliver {
    pub deliver: Ticket,
}

/// Which attempt of which delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    pub webhook: WebhookId,
    pub event: EventId,
    pub attempt: u64,
}

/// What goes to the worker that calls webhooks, whole and signed. It has nothing else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outgoing {
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
    pub signed_at: Timestamp,
    /// Comes back as it is, with what became of the attempt: `Returned` with its tenant, as text.
    pub back: serde_json::Value,
    /// For a fair share of the queue: the webhook.
    pub group: String,
}

/// A job: an attempt was made. `attempt` is `None`: it was not, because the signature was too old.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Returned {
    pub returned: Ticket,
    /// Ours, of the tenant and the ticket: nobody else can say what became of an attempt.
    pub mac: String,
    #[serde(default)]
    pub attempt: Option<DeliveryAttempt>,
}

impl Outgoing {
    /// Standard Webhooks lets receivers refuse what is older than minutes, and a webhook may have been disabled since.
    pub const FRESH: SignedDuration = SignedDuration::from_secs(60);
}

impl Ticket {
    /// What the MAC is of.
    pub fn text(&self, tenant: impl fmt::Display) -> String {
        format!("{tenant} {} {} {}", self.webhook, self.event, self.attempt)
    }
}

/// Between two attempts.
const PAUSES: [SignedDuration; 7] = [
    SignedDuration::from_secs(5),
    SignedDuration::from_mins(5),
    SignedDuration::from_mins(30),
    SignedDuration::from_hours(2),
    SignedDuration::from_hours(5),
    SignedDuration::from_hours(10),
    SignedDuration::from_hours(10),
];
/// After an answer that says that it was too much.
const BREATH: SignedDuration = SignedDuration::from_secs(60);
/// Of each pause, to either side: so that what failed together does not come again together.
const JITTER: f64 = 0.2;

impl Delivery {
    pub const NOUN: &'static str = "Delivery";
    /// Attempts.
    pub const KEPT: usize = 20;
    /// What is due within it waits in the queue.
    pub const BY_QUEUE: SignedDuration = SignedDuration::from_mins(15);
    /// While its tenant is suspended.
    pub const PATIENCE: SignedDuration = SignedDuration::from_hours(72);

    pub fn new(webhook: WebhookId, event: &Event, once: bool, now: Timestamp) -> Self {
        let state = due_at(now);
        let (attempts, made, of_schedule, replay, version) = (vec![], 0, 0, None, 1);
        Delivery { webhook, event: event.id, kind: event.kind, state, attempts, made, of_schedule, once, replay, created_at: now, version }
    }

    pub fn status(&self) -> DeliveryStatus {
        match self.state {
            DeliveryState::Pending { .. } => DeliveryStatus::Pending,
            DeliveryState::Succeeded { .. } => DeliveryStatus::Succeeded,
            DeliveryState::Failed { .. } => DeliveryStatus::Failed,
        }
    }

    /// When the next attempt is due.
    pub fn next_attempt_at(&self) -> Option<Timestamp> {
        match self.state {
            DeliveryState::Pending { next_attempt_at, .. } => Some(next_attempt_at),
            _ => None,
        }
    }

    /// The moment of its note in the directory.
    pub fn noted_for(&self) -> Option<Timestamp> {
        match self.state {
            DeliveryState::Pending { next_attempt_at, noted: true, .. } => Some(next_attempt_at),
            _ => None,
        }
    }

    /// The next attempt.
    pub fn ticket(&self) -> Ticket {
        Ticket { webhook: self.webhook, event: self.event, attempt: self.made + 1 }
    }

    /// Whether it waits for this attempt.
    pub fn awaits(&self, ticket: &Ticket) -> bool {
        self.status() == DeliveryStatus::Pending && self.ticket() == *ticket
    }

    /// Waits for its turn.
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, DeliveryState::Pending { turn: DeliveryTurn::Waits, .. })
    }

    pub fn has_turn(&self) -> bool {
        matches!(self.state, DeliveryState::Pending { turn: DeliveryTurn::Has, .. })
    }

    /// There is no turn for it now. The caller has seen that it is due.
    pub fn waiting(&self, now: Timestamp) -> Self {
        let state = DeliveryState::Pending { next_attempt_at: now, noted: false, turn: DeliveryTurn::Waits };
        Delivery { state, version: self.version + 1, ..self.clone() }
    }

    /// Its turn is at that moment, which is near. The caller has seen that it waits for one.
    pub fn given_turn(&self, moment: Timestamp) -> Self {
        let state = DeliveryState::Pending { next_attempt_at: moment, noted: false, turn: DeliveryTurn::Has };
        Delivery { state, version: self.version + 1, ..self.clone() }
    }

    /// After an attempt, and how the webhook fared. `fraction`: from 0 to 1, by chance. The caller has seen that it awaits the attempt.
    pub fn after(&self, attempt: DeliveryAttempt, fraction: f64) -> (Self, Reached) {
        let (verdict, ended_at) = (attempt.verdict(), attempt.made_at);
        let of_schedule = self.of_schedule + 1;
        let pause = (!self.once).then(|| pause_after(of_schedule, &attempt, fraction)).flatten();
        let given_up = |reason| DeliveryState::Failed { ended_at, reason };
        let (state, reached) = match (verdict, pause) {
            (Verdict::Arrived, _) => (DeliveryState::Succeeded { ended_at }, Reached::Yes),
            (Verdict::NeverAgain, _) => (given_up(GivenUp::Disabled), Reached::NeverAgain),
            // It was reached, and said what it wants.
            (Verdict::Abort, _) => (given_up(GivenUp::Aborted), Reached::Yes),
            (Verdict::Again, Some(pause)) => (planned(ended_at, pause), Reached::No),
            // A test is no loss.
            (Verdict::Again, None) => (given_up(GivenUp::Exhausted), if self.once { Reached::No } else { Reached::Lost }),
        };
        let mut attempts: Vec<DeliveryAttempt> =
            self.attempts.iter().map(|earlier| DeliveryAttempt { response: None, headers: vec![], ..earlier.clone() }).collect();
        attempts.push(attempt);
        let surplus = attempts.len().saturating_sub(Delivery::KEPT);
        attempts.drain(..surplus);
        (Delivery { state, attempts, made: self.made + 1, of_schedule, version: self.version + 1, ..self.clone() }, reached)
    }

    /// Without an attempt.
    pub fn given_up(&self, reason: GivenUp, now: Timestamp) -> Self {
        Delivery { state: DeliveryState::Failed { ended_at: now, reason }, version: self.version + 1, ..self.clone() }
    }

    /// Looked at again later, without an attempt.
    pub fn put_off(&self, now: Timestamp) -> Self {
        Delivery { state: planned(now, SignedDuration::from_hours(1)), version: self.version + 1, ..self.clone() }
    }

    /// Somebody wants it now, by a schedule from the beginning.
    pub fn again(&self, now: Timestamp) -> Self {
        let state = due_at(now);
        Delivery { state, of_schedule: 0, once: false, version: self.version + 1, ..self.clone() }
    }

    /// The same for a replay. `None`: it has had that, or its schedule is at its beginning anyway.
    pub fn replayed(&self, replay: ReplayId, now: Timestamp) -> Option<Self> {
        // What waits for its turn asks again: its step may be lost.
        let is_fresh = self.status() == DeliveryStatus::Pending && self.of_schedule == 0 && !self.is_waiting();
        (!is_fresh && self.replay != Some(replay)).then(|| Delivery { replay: Some(replay), ..self.again(now) })
    }

    pub fn key_of(webhook: WebhookId, event: EventId) -> Key<Self> {
        Key::new(&Collection::of::<Delivery>(), DeliveryKey(webhook, event))
    }

    /// In the order in which the events happened.
    pub fn of_webhook(webhook: WebhookId) -> List<Self> {
        List::behind(Collection::of::<Delivery>(), webhook)
    }
}

fn due_at(now: Timestamp) -> DeliveryState {
    DeliveryState::Pending { next_attempt_at: now, noted: false, turn: DeliveryTurn::Asks }
}

fn planned(now: Timestamp, pause: SignedDuration) -> DeliveryState {
    let next_attempt_at = now.saturating_add(pause).unwrap_or(Timestamp::MAX);
    DeliveryState::Pending { next_attempt_at, noted: pause > Delivery::BY_QUEUE, turn: DeliveryTurn::Asks }
}

/// `None`: it was the last of the schedule.
fn pause_after(of_schedule: u64, attempt: &DeliveryAttempt, fraction: f64) -> Option<SignedDuration> {
    let step = *PAUSES.get(usize::try_from(of_schedule).ok()?.checked_sub(1)?)?;
    let is_too_much = attempt.error == Some(AttemptError::Timeout) || attempt.status_code == Some(429);
    let step = if is_too_much { step.max(BREATH) } else { step };
    // What is asked for, within one and two steps: who asks for more would lose events, and for less would get a storm.
    if let Some(asked) = attempt.retry_after() {
        return Some(asked.clamp(step, step.saturating_mul(2)));
    }
    // Who has too much on their hands gets no less than a breath.
    let share = if is_too_much { 1.0 + JITTER * fraction } else { 1.0 - JITTER + 2.0 * JITTER * fraction };
    SignedDuration::try_from_secs_f64(step.as_secs_f64() * share).ok()
}

impl DeliveryAttempt {
    /// Of which nothing is known yet.
    pub fn made(at: Timestamp, duration_ms: u64) -> Self {
        DeliveryAttempt { made_at: at, duration_ms, status_code: None, error: None, response: None, headers: vec![] }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.trim())
    }

    /// In seconds. A date means that the receiver's clock counts, which we do not know.
    fn retry_after(&self) -> Option<SignedDuration> {
        self.header("retry-after")?.parse::<u32>().ok().map(|seconds| SignedDuration::from_secs(seconds.into()))
    }

    fn verdict(&self) -> Verdict {
        match (self.header("webhook-delivery"), self.status_code) {
            (Some("disable"), _) | (_, Some(410)) => Verdict::NeverAgain,
            (Some("abort-message"), _) => Verdict::Abort,
            (_, Some(200..=299)) => Verdict::Arrived,
            _ => Verdict::Again,
        }
    }
}

struct DeliveryKey(WebhookId, EventId);

impl fmt::Display for DeliveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.0, self.1)
    }
}

impl Segment for DeliveryKey {}

impl Entity for Delivery {
    type Scope = InTenant;
    const TYPE: &'static str = "delivery";
    const COLLECTION: &'static str = "deliveries";
    const AUDITED: bool = false;
    const NOUN: Option<&'static str> = Some(Delivery::NOUN);

    fn key(&self) -> Key<Self> {
        Delivery::key_of(self.webhook, self.event)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }

    fn expires_at(&self) -> Option<Timestamp> {
        self.created_at.checked_add(Event::KEPT).ok()
    }

    fn list_entry(&self) -> Result<Option<ListEntry>> {
        if self.is_waiting() { ListEntry::of(self) } else { Ok(None) }
    }
}

/// Deliveries that wait for their turn.
impl Listed for Delivery {
    type Entry = EventId;

    fn entry(&self) -> EventId {
        self.event
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;
    use shared::crypto::Random;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn delivery() -> Delivery {
        let id = EventId::of(NOW, "x", EventKind::MessageSent);
        let event = Event::new(id, EventKind::MessageSent, NOW, Map::new());
        Delivery::new(WebhookId::new(NOW, &Random::seeded(1)), &event, false, NOW)
    }

    fn answered(at: Timestamp, status_code: u16, headers: &[(&str, &str)]) -> DeliveryAttempt {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let error = (!(200..300).contains(&status_code)).then_some(AttemptError::Status);
        DeliveryAttempt { made_at: at, duration_ms: 1, status_code: Some(status_code), error, response: Some("x".into()), headers }
    }

    #[test]
    fn the_schedule_is_the_documented_one() {
        let (mut delivery, mut now, mut pauses) = (delivery(), NOW, vec![]);
        let reached = loop {
            let (next, reached) = delivery.after(answered(now, 500, &[]), 0.5);
            let Some(at) = next.next_attempt_at() else { break reached };
            assert_eq!(next.noted_for().is_some(), at.duration_since(now) > Delivery::BY_QUEUE);
            pauses.push(at.duration_since(now).as_secs());
            (delivery, now) = (next, at);
        };
        assert_eq!(pauses, [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000]);
        assert_eq!((delivery.made, reached), (7, Reached::Lost));
        let kept: Vec<bool> = delivery.attempts.iter().map(|attempt| attempt.response.is_some()).collect();
        assert_eq!(kept, [false, false, false, false, false, false, true]);
    }

    #[test]
    fn a_pause_moves_a_fifth_and_what_is_asked_for_counts_up_to_two_steps() {
        let pause = |attempt: &DeliveryAttempt, fraction| pause_after(2, attempt, fraction).unwrap().as_secs();
        let failed = answered(NOW, 500, &[]);
        assert_eq!((pause(&failed, 0.0), pause(&failed, 1.0)), (240, 360));
        for (asked, seconds) in [("1", 300), ("400", 400), ("90000", 600), ("soon", 300)] {
            assert_eq!(pause(&answered(NOW, 503, &[("retry-after", asked)]), 0.5), seconds, "{asked}");
        }
        let timeout = DeliveryAttempt { status_code: None, error: Some(AttemptError::Timeout), ..answered(NOW, 500, &[]) };
        for too_much in [timeout, answered(NOW, 429, &[])] {
            assert_eq!(pause_after(1, &too_much, 0.0).unwrap(), BREATH);
            assert_eq!(pause_after(1, &too_much, 1.0).unwrap().as_secs(), 72);
        }
    }

    #[test]
    fn a_receiver_can_end_a_delivery_or_all() {
        let after = |status, headers: &[(&str, &str)]| {
            let (delivery, reached) = delivery().after(answered(NOW, status, headers), 0.5);
            (delivery.state, reached)
        };
        let failed = |reason| DeliveryState::Failed { ended_at: NOW, reason };
        assert_eq!(after(204, &[]), (DeliveryState::Succeeded { ended_at: NOW }, Reached::Yes));
        assert_eq!(after(410, &[]), (failed(GivenUp::Disabled), Reached::NeverAgain));
        assert_eq!(after(200, &[("webhook-delivery", "disable")]), (failed(GivenUp::Disabled), Reached::NeverAgain));
        assert_eq!(after(500, &[("webhook-delivery", "abort-message")]), (failed(GivenUp::Aborted), Reached::Yes));
        assert!(matches!(after(302, &[]), (DeliveryState::Pending { .. }, Reached::No)));
    }

    #[test]
    fn an_attempt_is_awaited_once() {
        let delivery = delivery();
        let ticket = delivery.ticket();
        assert!(delivery.awaits(&ticket));
        let (next, _) = delivery.after(answered(NOW, 500, &[]), 0.5);
        assert!(!next.awaits(&ticket) && next.awaits(&next.ticket()));
        let (done, _) = next.after(answered(NOW, 200, &[]), 0.5);
        assert!(!done.awaits(&done.ticket()));
        assert!(done.again(NOW).awaits(&done.ticket()));
    }

    #[test]
    fn a_replay_begins_a_schedule_once() {
        let [one, other] = [1, 2].map(|seed| ReplayId::new(NOW, &Random::seeded(seed)));
        let delivery = delivery();
        assert_eq!(delivery.replayed(one, NOW), None, "it begins anyway");
        let (waiting, _) = delivery.after(answered(NOW, 500, &[]), 0.5);
        let (done, _) = waiting.after(answered(NOW, 200, &[]), 0.5);
        for earlier in [waiting, done] {
            let again = earlier.replayed(one, NOW).unwrap();
            assert_eq!((again.next_attempt_at(), again.of_schedule, again.version), (Some(NOW), 0, earlier.version + 1));
            let (after, _) = again.after(answered(NOW, 500, &[]), 0.5);
            assert_eq!(after.replayed(one, NOW), None);
            assert!(after.replayed(other, NOW).is_some());
        }
    }
}
