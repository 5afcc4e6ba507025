//! Lines: the numbers that messages to phones go out from and come in to, how fast each may send, and whose a conversation is.

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ids::{TenantId, stored_or_nobody};
use crate::model::gateway::GatewayId;
use crate::model::phone_number::PhoneNumber;
use crate::model::time::day;
use crate::store::entity::{Collection, Entity, InDirectory, Key};

crate::id!(/// A line.
    LineId = "line", time_ordered);

/// The ways in which a message reaches a phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = MessageChannel)]
pub enum Channel {
    Imessage,
    Rcs,
    Sms,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PhoneLineStatus)]
pub enum LineStatus {
    Active,
    /// It sends little at first, and more each day.
    Warming,
}

/// One line. Its limits hold for all tenants together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhoneLine {
    pub id: LineId,
    pub phone_number: PhoneNumber,
    /// In the order in which they are tried.
    pub capabilities: Vec<Channel>,
    /// What carries its messages. `None`: AWS End User Messaging, which sells the number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayId>,
    /// Messages in a day (UTC).
    pub daily_limit: u64,
    pub per_minute_limit: u64,
    /// The day from which it warms up. `None`: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warming_since: Option<Date>,
    pub created_at: Timestamp,
}

/// `lines` / `pool`: the lines that all tenants share. One record, because whoever sends chooses among them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinePool {
    pub lines: Vec<PhoneLine>,
    pub version: u64,
}

/// `line-peers#<line>` / `<digits>`: the tenant to whom belongs what comes in from a number on a line. Whoever sends first to a number has the line for it,
/// and it is no one else's. It is nobody's where somebody said STOP to whom nobody had written: then no one has the line for the number, until START.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinePeer {
    pub line: LineId,
    pub phone_number: PhoneNumber,
    /// `None`: nobody's.
    #[serde(with = "stored_or_nobody")]
    pub(crate) tenant: Option<TenantId>,
    /// Of nobody's: when they last said STOP, in milliseconds of the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stopped_ms: Option<u64>,
}

/// `line-paces` / `<line>`: when a line may send the next message, and how many it sent today.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinePace {
    line: LineId,
    /// Nothing goes before, but for what is urgent.
    next: Timestamp,
    /// What is urgent has turns of its own, a fifth of all.
    #[serde(default)]
    next_urgent: Timestamp,
    day: Date,
    today: u64,
    version: u64,
}

/// What a line says to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// It may go at that moment, with the pace after that.
    At(Timestamp, LinePace),
    /// The line has sent all of its day.
    DayIsFull,
}

impl Channel {
    pub const WORDS: &'static [&'static str] = &["imessage", "rcs", "sms"];

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "imessage" => Some(Channel::Imessage),
            "rcs" => Some(Channel::Rcs),
            "sms" => Some(Channel::Sms),
            _ => None,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Channel::Imessage => "imessage",
            Channel::Rcs => "rcs",
            Channel::Sms => "sms",
        }
    }
}

impl PhoneLine {
    pub const NOUN: &'static str = "Phone line";
    /// Messages of the first day of a line that warms up; each day as many more.
    const WARMING: u64 = 20;
    /// It is warm after that many a day.
    const WARM: u64 = 200;

    /// Turns of a minute that anything may have.
    pub fn usual_per_minute(&self) -> u64 {
        self.share(LinePace::OF_ALL)
    }

    fn share(&self, of_five: u64) -> u64 {
        (self.per_minute_limit * of_five / 5).max(1)
    }

    /// The day of its warming, from 1. `None`: it is warm.
    pub fn warming_day(&self, now: Timestamp) -> Option<u64> {
        let days = self.warming_since?.until(day(now)).map_or(0, |since| since.get_days());
        let number = u64::try_from(days).unwrap_or(0) + 1;
        (number * PhoneLine::WARMING <= PhoneLine::WARM).then_some(number)
    }

    pub fn status(&self, now: Timestamp) -> LineStatus {
        if self.warming_day(now).is_some() { LineStatus::Warming } else { LineStatus::Active }
    }

    /// Messages that it sends on this day.
    pub fn limit_of_day(&self, now: Timestamp) -> u64 {
        self.warming_day(now).map_or(self.daily_limit, |number| self.daily_limit.min(number * PhoneLine::WARMING))
    }

    /// Whether what carries its messages takes one once, however often it is given it.
    pub fn deduplicates(&self) -> bool {
        self.gateway.is_some()
    }

    pub fn carries(&self, channel: Channel) -> bool {
        self.capabilities.contains(&channel)
    }
}

impl LinePool {
    /// Lines at most.
    pub const MOST: usize = 300;

    pub fn none() -> Self {
        LinePool { lines: vec![], version: 0 }
    }

    /// With one more.
    pub fn with(&self, line: PhoneLine) -> Result<Self> {
        if self.of_number(&line.phone_number).is_some() {
            return Err(Error::Conflict("There is a line with this number.".into()));
        }
        if self.lines.len() >= LinePool::MOST {
            return Err(Error::Conflict("The pool has as many lines as it can have.".into()));
        }
        let mut lines = self.lines.clone();
        lines.push(line);
        Ok(LinePool { lines, version: self.version + 1 })
    }

    pub fn of_number(&self, number: &PhoneNumber) -> Option<&PhoneLine> {
        self.lines.iter().find(|line| line.phone_number == *number)
    }

    pub fn find(&self, id: LineId) -> Option<&PhoneLine> {
        self.lines.iter().find(|line| line.id == id)
    }

    pub fn key_of() -> Key<Self> {
        Key::new(&Collection::of::<LinePool>(), "pool")
    }
}

impl LinePeer {
    pub const HOLDER: &'static str = "tenant";

    pub fn new(line: LineId, phone_number: PhoneNumber, tenant: TenantId) -> Self {
        LinePeer { line, phone_number, tenant: Some(tenant), stopped_ms: None }
    }

    pub fn nobodys(line: LineId, phone_number: PhoneNumber, stopped_at: Timestamp) -> Self {
        LinePeer { line, phone_number, tenant: None, stopped_ms: Some(milliseconds(stopped_at)) }
    }

    /// Of nobody's, after a STOP. `None`: a later one is known.
    pub fn stopped_again(&self, at: Timestamp) -> Option<Self> {
        let is_later = self.stopped_ms.is_some_and(|stopped_ms| stopped_ms < milliseconds(at));
        is_later.then(|| LinePeer::nobodys(self.line, self.phone_number.clone(), at))
    }

    /// Whether the last STOP of nobody's was said after a moment.
    pub fn is_stopped_after(&self, at: Timestamp) -> bool {
        self.stopped_ms.is_some_and(|stopped_ms| stopped_ms > milliseconds(at))
    }

    pub fn is_of(&self, tenant: TenantId) -> bool {
        self.tenant == Some(tenant)
    }

    pub fn key_of(line: LineId, number: &PhoneNumber) -> Key<Self> {
        Key::new(&Collection::within::<LinePeer>(line), number.digits())
    }
}

/// What was said before 1970 was said then.
fn milliseconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_millisecond()).unwrap_or(0)
}

impl LinePace {
    /// Of five turns, those that anything may have. The rest is for one-time passwords, so that none waits behind others.
    const OF_ALL: u64 = 4;

    pub fn new(line: LineId) -> Self {
        LinePace { line, next: Timestamp::UNIX_EPOCH, next_urgent: Timestamp::UNIX_EPOCH, day: Date::ZERO, today: 0, version: 0 }
    }

    pub fn today(&self, now: Timestamp) -> u64 {
        if self.day == day(now) { self.today } else { 0 }
    }

    /// The next turn of the line. `is_urgent`: a one-time password, which takes the first of either kind.
    pub fn turn(&self, line: &PhoneLine, now: Timestamp, is_urgent: bool) -> Turn {
        let today = self.today(now);
        if today >= line.limit_of_day(now) {
            return Turn::DayIsFull;
        }
        let step = |of_five: u64| SignedDuration::from_micros(60_000_000 / i64::try_from(line.share(of_five)).unwrap_or(i64::MAX));
        let after = |at: Timestamp, step: SignedDuration| at.saturating_add(step).unwrap_or(Timestamp::MAX);
        let (anybodys, urgent) = (self.next.max(now), self.next_urgent.max(now));
        let taken = LinePace { day: day(now), today: today + 1, version: self.version + 1, ..self.clone() };
        if is_urgent && urgent < anybodys {
            let next_urgent = after(urgent, step(5 - LinePace::OF_ALL));
            return Turn::At(urgent, LinePace { next_urgent, ..taken });
        }
        Turn::At(anybodys, LinePace { next: after(anybodys, step(LinePace::OF_ALL)), ..taken })
    }

    /// A turn was not used: the day has one more. `None`: it was of another day.
    pub fn given_back(&self, now: Timestamp) -> Option<LinePace> {
        let today = self.today(now).checked_sub(1)?;
        Some(LinePace { today, version: self.version + 1, ..self.clone() })
    }

    pub fn key_of(line: LineId) -> Key<Self> {
        Key::new(&Collection::of::<LinePace>(), line)
    }
}

impl Entity for LinePool {
    type Scope = InDirectory;
    const TYPE: &'static str = "line_pool";
    const COLLECTION: &'static str = "lines";

    fn key(&self) -> Key<Self> {
        LinePool::key_of()
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }
}

impl Entity for LinePeer {
    type Scope = InDirectory;
    const TYPE: &'static str = "line_peer";
    const COLLECTION: &'static str = "line-peers";

    fn key(&self) -> Key<Self> {
        LinePeer::key_of(self.line, &self.phone_number)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        self.stopped_ms.map(|stopped_ms| ("stopped_ms", stopped_ms)).into_iter().collect()
    }
}

impl Entity for LinePace {
    type Scope = InDirectory;
    const TYPE: &'static str = "line_pace";
    const COLLECTION: &'static str = "line-paces";

    fn key(&self) -> Key<Self> {
        LinePace::key_of(self.line)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Random;

    const NOON: &str = "2026-11-21T12:00:00Z";

    fn line(per_minute_limit: u64, warming_since: Option<Date>) -> PhoneLine {
        let (now, random) = (Timestamp::UNIX_EPOCH, Random::seeded(1));
        PhoneLine {
            id: LineId::new(now, &random),
            phone_number: PhoneNumber::parse("+15550100001").unwrap(),
            capabilities: vec![Channel::Sms],
            gateway: Some(GatewayId::new(now, &random)),
            daily_limit: 1_000,
            per_minute_limit,
            warming_since,
            created_at: now,
        }
    }

    fn moments(line: &PhoneLine, now: Timestamp, count: usize, is_urgent: bool) -> Vec<Timestamp> {
        let mut pace = LinePace::new(line.id);
        let mut moments = vec![];
        while let (true, Turn::At(at, next)) = (moments.len() < count, pace.turn(line, now, is_urgent)) {
            moments.push(at);
            pace = next;
        }
        moments
    }

    #[test]
    fn no_minute_has_more_than_the_line_may_send() {
        let now: Timestamp = NOON.parse().unwrap();
        for (is_urgent, in_a_minute) in [(false, 48), (true, 60)] {
            let moments = moments(&line(60, None), now, 200, is_urgent);
            let within = moments.iter().filter(|at| at.duration_since(now) < SignedDuration::from_mins(1)).count();
            assert_eq!((moments.len(), within), (200, in_a_minute), "{is_urgent}");
        }
    }

    #[test]
    fn a_one_time_password_does_not_wait_behind_others() {
        let (now, line): (Timestamp, _) = (NOON.parse().unwrap(), line(60, None));
        let mut pace = LinePace::new(line.id);
        for _ in 0..500 {
            let Turn::At(_, next) = pace.turn(&line, now, false) else { panic!("the day is not full") };
            pace = next;
        }
        let Turn::At(at, _) = pace.turn(&line, now, true) else { panic!("the day is not full") };
        assert_eq!(at, now);
    }

    #[test]
    fn a_new_line_sends_twenty_more_each_day_until_it_is_warm() {
        let now: Timestamp = NOON.parse().unwrap();
        let today = day(now);
        for (days, limit, status) in
            [(0, 20, LineStatus::Warming), (1, 40, LineStatus::Warming), (9, 200, LineStatus::Warming), (10, 1_000, LineStatus::Active)]
        {
            let since = today.checked_sub(jiff::Span::new().days(days)).unwrap();
            let line = line(6_000, Some(since));
            assert_eq!((line.limit_of_day(now), line.status(now)), (limit, status), "{days}");
            assert_eq!(moments(&line, now, 5_000, false).len() as u64, limit, "{days}");
        }
        // A turn that was not used is there again.
        let mut pace = LinePace::new(line(60, None).id);
        assert_eq!(pace.given_back(now), None);
        (pace.day, pace.today) = (today, 1_000);
        assert!(matches!(pace.given_back(now).unwrap().turn(&line(60, None), now, false), Turn::At(..)));
        assert_eq!(pace.given_back(now + SignedDuration::from_hours(12)), None);
        // The next day begins at 0.
        let mut pace = LinePace::new(line(60, None).id);
        pace.day = today;
        pace.today = 1_000;
        assert_eq!(pace.turn(&line(60, None), now, false), Turn::DayIsFull);
        assert!(matches!(pace.turn(&line(60, None), now + SignedDuration::from_hours(12), false), Turn::At(..)));
    }

    #[test]
    fn a_number_is_of_one_line() {
        let pool = LinePool::none().with(line(60, None)).unwrap();
        assert!(matches!(pool.with(line(60, None)), Err(Error::Conflict(_))));
        assert_eq!(pool.of_number(&line(60, None).phone_number).map(|line| line.id), pool.find(line(60, None).id).map(|line| line.id));
    }
}
