//! How fast a webhook is told: which delivery may go now, and which ones wait until it is their turn. A receiver that fails is asked more rarely, so that a
//! storm does not keep it down. And which way its calls go: one that lets callers wait meets only its own kind.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use shared::store::{InTenant, Record};

use crate::webhook::{HealthState, Webhook, WebhookId};

/// `webhook-paces` / `<id of the webhook>`, from its first delivery on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookPace {
    pub id: WebhookId,
    /// Nothing goes before.
    next: Timestamp,
    backlog: Backlog,
    /// The number of the newest step. A job with another number does nothing.
    steps: u64,
    /// When it was asked for.
    stepped_at: Timestamp,
    /// Turns since a quick answer was noted, up to `UNANSWERED`.
    #[serde(default)]
    unanswered: usize,
    /// Its last answer that let us wait. It is written again only after half of the time for which it is remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slow_at: Option<Timestamp>,
    version: u64,
}

/// The queue of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    Quick,
    /// Of those that let callers wait or of which nothing is known yet, and of calls that are not counted.
    Slow,
}

/// Whether deliveries wait for their turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Backlog {
    Empty,
    /// Whoever comes now waits behind them.
    Moving,
    /// Few are left: the last step had more room. Whoever comes may take a turn.
    Draining,
    /// The last step found none. The index that leads to them trails, so there is one more.
    Ending,
}

/// A job: some of the backlog is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetGo {
    pub let_go: Step,
}

/// Which step of which webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub webhook: WebhookId,
    pub step: u64,
}

/// What a step found.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// Lines of the index, also of deliveries that wait no longer.
    pub lines: usize,
    /// Deliveries to which it gave a turn.
    pub turns: usize,
}

/// Turns that one step gives, at most. Each is a write.
const AT_MOST: usize = 250;
/// For how long a step gives turns. What changes meanwhile counts from the next one on.
const AHEAD: SignedDuration = SignedDuration::from_secs(10);
/// A step is asked for so long before its first turn: it takes its time.
const LEAD: SignedDuration = SignedDuration::from_secs(2);
/// A turn that is at most so far ahead is taken at once, so what belongs to one second goes without waiting.
const SOON: SignedDuration = SignedDuration::from_secs(1);
/// So long after a step that found nothing there is one more, because the index may show late what waits.
const LAST_LOOK: SignedDuration = SignedDuration::from_secs(60);
/// After that, the step that was asked for is lost.
const LOST: SignedDuration = SignedDuration::from_mins(20);

/// So many calls without an answer may be among those of others, until one is slow.
const UNANSWERED: usize = 16;
/// A call that takes longer holds up what it goes with.
const SLOW: Duration = Duration::from_secs(5);
/// For so long after a slow answer, a quick one means little: else one that takes turns would always be among the others.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(1);

/// Between two attempts at a webhook of which the last ones failed.
const DEGRADED: SignedDuration = SignedDuration::from_secs(1);
/// At one that fails: enough to see that it is back.
const FAILING: SignedDuration = SignedDuration::from_secs(30);

impl Webhook {
    /// The time from one attempt to the next, by how it fares. Whatever comes to one that is disabled is given up, and calls nobody.
    pub fn every(&self, health: HealthState) -> SignedDuration {
        let at = |per_second: i64| SignedDuration::from_micros(1_000_000 / per_second.max(1));
        match health {
            _ if !self.enabled => at(Webhook::FASTEST),
            HealthState::Healthy => at(self.max_per_second),
            HealthState::Degraded => DEGRADED,
            HealthState::Failing | HealthState::Disabled => FAILING,
        }
    }
}

impl WebhookPace {
    /// Of a webhook that was told of nothing yet.
    pub fn new(id: WebhookId, now: Timestamp) -> Self {
        WebhookPace { id, next: now, backlog: Backlog::Empty, steps: 0, stepped_at: now, unanswered: UNANSWERED, slow_at: None, version: 0 }
    }

    /// Once a delivery that is due takes a turn. `None`: there is none, and it waits with others.
    pub fn turn(&self, every: SignedDuration, now: Timestamp) -> Option<Self> {
        let next = self.next.max(now);
        if self.backlog == Backlog::Moving || next > now + SOON {
            return None;
        }
        let unanswered = (self.unanswered + 1).min(UNANSWERED);
        Some(WebhookPace { next: next + every, unanswered, version: self.version + 1, ..self.clone() })
    }

    /// The way of its calls. `None`: nothing was told yet.
    pub fn lane(pace: Option<&Self>, now: Timestamp) -> Lane {
        let is_slow = |pace: &Self| pace.unanswered >= UNANSWERED || pace.slow_at.is_some_and(|at| now.duration_since(at) < REMEMBERED);
        if pace.is_none_or(is_slow) { Lane::Slow } else { Lane::Quick }
    }

    /// Once a call came back after a while. `None`: nothing is to be written, for all is as it was, or nearly.
    pub fn answered(&self, took: Duration, now: Timestamp) -> Option<Self> {
        let is_remembered = |at: Timestamp| now.duration_since(at) < REMEMBERED / 2;
        let (unanswered, slow_at) = match took > SLOW {
            true if self.slow_at.is_some_and(is_remembered) => return None,
            true => (UNANSWERED, Some(now)),
            false if self.unanswered < UNANSWERED / 2 => return None,
            false => (0, self.slow_at),
        };
        Some(WebhookPace { unanswered, slow_at, version: self.version + 1, ..self.clone() })
    }

    /// Once a delivery waits. `None`: nothing is to be written, for the next step is already asked for.
    pub fn joined(&self, now: Timestamp) -> Option<Self> {
        let is_lost = now > self.stepped_at.max(self.next) + LOST;
        if matches!(self.backlog, Backlog::Moving | Backlog::Draining) && !is_lost {
            return None;
        }
        let (backlog, steps, version) = (Backlog::Moving, self.steps + 1, self.version + 1);
        Some(WebhookPace { backlog, steps, stepped_at: now, version, ..self.clone() })
    }

    /// The step that its change from `before` asks for, and when. Deliveries that take a turn ask for none.
    pub fn asks_after(&self, before: Option<&Self>) -> Option<(Step, Timestamp)> {
        let moment = match self.backlog {
            Backlog::Moving | Backlog::Draining => self.next - LEAD,
            Backlog::Ending => self.stepped_at + LAST_LOOK,
            Backlog::Empty => return None,
        };
        let is_new = before.map_or(0, |before| before.steps) != self.steps;
        is_new.then_some((Step { webhook: self.id, step: self.steps }, moment))
    }

    pub fn awaits(&self, step: &Step) -> bool {
        self.backlog != Backlog::Empty && self.steps == step.step
    }

    /// How many deliveries the next step lets go.
    pub fn room(every: SignedDuration) -> usize {
        let room = AHEAD.as_micros() / every.as_micros().max(1);
        usize::try_from(room).map_or(AT_MOST, |room| room.clamp(1, AT_MOST))
    }

    /// The turns that a step gives, one after another.
    pub fn turns(&self, every: SignedDuration, now: Timestamp) -> impl Iterator<Item = Timestamp> {
        std::iter::successors(Some(self.next.max(now)), move |turn| turn.checked_add(every).ok())
    }

    /// After a step.
    pub fn stepped(&self, found: Found, every: SignedDuration, now: Timestamp) -> Self {
        let next = if found.turns == 0 { self.next } else { self.turns(every, now).nth(found.turns).unwrap_or(self.next) };
        let backlog = match (found.lines, self.backlog) {
            (0, Backlog::Ending) => Backlog::Empty,
            (0, _) => Backlog::Ending,
            (lines, _) if lines < WebhookPace::room(every) => Backlog::Draining,
            _ => Backlog::Moving,
        };
        let (steps, version) = (self.steps + 1, self.version + 1);
        WebhookPace { next, backlog, steps, stepped_at: now, version, ..self.clone() }
    }
}

impl Record for WebhookPace {
    type Scope = InTenant;
    type Id = WebhookId;
    const TYPE: &'static str = "webhook_pace";
    const COLLECTION: &'static str = "webhook-paces";
    const AUDITED: bool = false;
    const EXPORTED: bool = false;

    fn id(&self) -> WebhookId {
        self.id
    }

    fn version(&self) -> Option<u64> {
        Some(self.version)
    }
}

#[cfg(test)]
mod tests {
    use shared::crypto::Random;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn ms(ms: i64) -> SignedDuration {
        SignedDuration::from_millis(ms)
    }

    fn pace() -> WebhookPace {
        WebhookPace::new(WebhookId::new(NOW, &Random::seeded(1)), NOW)
    }

    fn found(all: usize) -> Found {
        Found { lines: all, turns: all }
    }

    #[test]
    fn one_that_fails_is_asked_more_rarely_and_one_that_is_disabled_not_at_all() {
        let webhook = Webhook {
            id: pace().id,
            url: "https://example.com/".into(),
            events: vec![],
            payload: crate::event::Payload::Full,
            max_per_second: 25,
            enabled: true,
            created_at: NOW,
            updated_at: NOW,
            version: 1,
        };
        use HealthState::{Degraded, Disabled, Failing, Healthy};
        assert_eq!([Healthy, Degraded, Failing].map(|health| webhook.every(health)), [ms(40), DEGRADED, FAILING]);
        let disabled = Webhook { enabled: false, ..webhook };
        assert_eq!([Healthy, Disabled].map(|health| disabled.every(health)), [ms(10), ms(10)], "what waits is given up soon");
    }

    /// However often somebody asks, no second has more than its turns, but for those of the second before that nobody took.
    #[test]
    fn turns_follow_one_another_at_the_pace() {
        for (every, of_minute) in [(ms(10), 6_101), (ms(40), 1_526), (ms(1_000), 62), (ms(30_000), 3)] {
            let (mut pace, mut turns) = (pace(), 0);
            for step in 0..=6_000 {
                let now = NOW + ms(10 * step);
                while let Some(after) = pace.turn(every, now) {
                    (pace, turns) = (after, turns + 1);
                }
            }
            assert_eq!(turns, of_minute, "one each {every:?}");
        }
    }

    #[test]
    fn what_finds_no_turn_goes_step_by_step_and_before_what_comes_later() {
        let every = ms(40);
        let mut pace = pace();
        while let Some(after) = pace.turn(every, NOW) {
            pace = after;
        }
        let moving = pace.joined(NOW).unwrap();
        assert_eq!(moving.joined(NOW), None, "a step is under way");
        let (step, moment) = moving.asks_after(Some(&pace)).unwrap();
        assert!(moving.awaits(&step) && moment <= NOW, "{moment}");
        assert!(moving.turn(every, NOW + ms(5_000)).is_none(), "others were there before");

        // A full step, a last one, and two that find nothing.
        let turns: Vec<_> = moving.turns(every, NOW).take(WebhookPace::room(every)).collect();
        assert_eq!((turns.len(), turns[0], turns[249].duration_since(turns[0])), (250, NOW + ms(1_040), ms(9_960)));
        let second = moving.stepped(found(250), every, NOW);
        assert!(!second.awaits(&step) && !moving.awaits(&second.asks_after(Some(&moving)).unwrap().0));
        let (step, moment) = second.asks_after(Some(&moving)).unwrap();
        assert_eq!((moment, second.awaits(&step)), (NOW + ms(9_040), true));
        let ending = second.stepped(found(0), every, NOW + ms(9_040));
        let (step, moment) = ending.asks_after(Some(&second)).unwrap();
        assert_eq!((moment, ending.awaits(&step)), (NOW + ms(69_040), true));
        // Nobody waits, so whoever comes goes. That asks for nothing.
        let at = NOW + ms(20_000);
        let busy = ending.turn(every, at).unwrap();
        assert_eq!(busy.asks_after(Some(&ending)), None);
        let ended = busy.stepped(found(0), every, NOW + ms(69_040));
        assert_eq!((ended.asks_after(Some(&busy)), ended.awaits(&step)), (None, false));
        // One that waits by then is found.
        assert!(busy.joined(at).unwrap().asks_after(Some(&busy)).is_some_and(|(next, _)| next != step));
    }

    #[test]
    fn one_that_lets_callers_wait_is_among_its_own_kind() {
        let (quick, slow) = (Duration::from_millis(300), Duration::from_secs(15));
        let lane = |pace: &WebhookPace, now| WebhookPace::lane(Some(pace), now);
        let new = pace();
        assert_eq!((WebhookPace::lane(None, NOW), lane(&new, NOW)), (Lane::Slow, Lane::Slow), "nobody knows it");
        let known = new.turn(ms(10), NOW).unwrap().answered(quick, NOW).unwrap();
        assert_eq!((lane(&known, NOW), known.answered(quick, NOW)), (Lane::Quick, None), "all is known already");
        // Calls that are not answered are noticed before any of them is given up.
        let (mut busy, mut told) = (known.clone(), 0);
        while lane(&busy, NOW) == Lane::Quick {
            (busy, told) = (busy.turn(ms(10), NOW).unwrap(), told + 1);
        }
        assert_eq!(told, UNANSWERED);
        assert_eq!(busy.answered(quick, NOW).map(|answered| lane(&answered, NOW)), Some(Lane::Quick));
        // A slow answer is remembered, whatever comes after it.
        let late = busy.answered(slow, NOW).unwrap();
        assert_eq!(late.answered(slow, NOW + ms(1_000)), None, "it is known already");
        let again = late.answered(quick, NOW).unwrap();
        assert_eq!([59, 60].map(|minutes| lane(&again, NOW + SignedDuration::from_mins(minutes))), [Lane::Slow, Lane::Quick]);
        let later = NOW + SignedDuration::from_mins(31);
        let longer = late.answered(slow, later).unwrap().answered(quick, later).unwrap();
        assert_eq!([90, 91].map(|minutes| lane(&longer, NOW + SignedDuration::from_mins(minutes))), [Lane::Slow, Lane::Quick]);
    }

    #[test]
    fn a_step_takes_what_its_time_allows_and_a_lost_one_is_asked_for_again() {
        let mut pace = pace().joined(NOW).unwrap();
        for (room, every) in [(1, FAILING), (10, DEGRADED), (250, ms(10))] {
            assert_eq!(WebhookPace::room(every), room);
            let before = pace.next;
            pace = pace.stepped(found(room), every, NOW);
            assert_eq!((pace.next, pace.backlog), (before + every * i32::try_from(room).unwrap(), Backlog::Moving));
        }
        // Lines of what waits no longer cost no turn.
        let stale = pace.stepped(Found { lines: 250, turns: 0 }, ms(10), NOW);
        assert_eq!((stale.next, stale.backlog), (pace.next, Backlog::Moving));
        let few = pace.stepped(found(3), ms(10), NOW);
        assert_eq!((few.backlog, few.joined(NOW)), (Backlog::Draining, None));
        assert!(few.turn(ms(10), few.next).is_some(), "it is below its pace, and nobody has to wait");
        let late = pace.next + LOST;
        assert_eq!(pace.joined(late), None);
        let again = pace.joined(late + ms(1)).unwrap();
        assert!(again.asks_after(Some(&pace)).is_some());
    }
}
