//! Quiet hours: when marketing may not be sent to somebody, by their own clocks. Pure: moment, number and zones are given. Whether a message is marketing,
//! and whether it is dropped or waits, others decide.
//!
//! A function that asks needs the zones themselves: jiff's feature `tzdb-bundle-always`.

use std::collections::BTreeMap;

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use shared::model::phone_number::PhoneNumber;

use crate::area_codes;

/// From `start` over midnight until `end`, in minutes of the local day. They are never shorter than the default, and leave at least four hours of a day, so
/// that even where two zones must be awake, each of a week has some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Asked", into = "Asked")]
pub struct QuietHours {
    start: u16,
    end: u16,
    rules: QuietRules,
}

/// Whose rules hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuietRules {
    /// The hours as they are set.
    Default,
    /// And those of states whose law leaves less of a day to solicitations, by the area code of the number.
    Strict,
}

/// What becomes of marketing within quiet hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuietMode {
    /// It is not sent.
    Block,
    /// It waits for the end of them.
    Defer,
}

/// Whose clocks count for a number: all of them must be awake.
#[derive(Debug, Clone)]
pub struct Zones {
    first: TimeZone,
    second: Option<TimeZone>,
    /// Where its area code is, as ISO 3166 spells it.
    region: Option<&'static str>,
}

/// The hours of a state, in minutes of the local day. `to` is not within.
#[derive(Debug, Clone, Copy)]
struct Awake {
    from: u16,
    to: u16,
}

struct State {
    region: &'static str,
    weekdays: Awake,
    saturday: Awake,
    sunday: Option<Awake>,
}

/// Quiet hours as they are given and stored.
#[derive(Serialize, Deserialize)]
struct Asked {
    start: u16,
    end: u16,
    rules: QuietRules,
}

/// What leaves less than 08:00 to 20:00, as of November 2026; public facts, and no advice. Holidays are not looked at (Louisiana, Pennsylvania, Rhode Island
/// and Utah have rules for theirs).
///
/// The default is enough for Florida (Fla. Stat. § 501.059), Maryland (Md. Code, Com. Law § 14-4502), Massachusetts (201 CMR 12.00), Oklahoma (15 O.S.
/// § 775C.1) and Washington (RCW 80.36.390), which end at 20:00. Left out is what is about calling machines or voice alone: California, Illinois, Indiana,
/// Nebraska, South Dakota, Canada.
const STATES: &[State] = &[
    // Conn. Gen. Stat. § 42-288a, as amended by Public Act 23-98.
    daily("US-CT", 9, 20),
    // KRS 367.46955: not between 21:00 and 10:00.
    daily("US-KY", 10, 21),
    // Louisiana Public Service Commission, General Order R-29617 § V(A)(2).
    State { sunday: None, ..daily("US-LA", 8, 20) },
    // Minn. Stat. § 325E.30.
    daily("US-MN", 9, 21),
    // Miss. Code § 77-3-723(1).
    State { sunday: None, ..daily("US-MS", 8, 20) },
    // N.M. Stat. § 57-12-22(B)(5).
    daily("US-NM", 9, 21),
    // NRS 598.0918: not between 20:00 and 9:00.
    daily("US-NV", 9, 20),
    // R.I. Gen. Laws §§ 5-61-2, 5-61-3.6.
    State { saturday: hours(10, 17), sunday: None, ..daily("US-RI", 9, 18) },
    // Tex. Bus. & Com. Code § 301.051.
    State { sunday: Some(hours(12, 21)), ..daily("US-TX", 9, 21) },
    // Utah Code § 13-25a-103(3).
    State { sunday: None, ..daily("US-UT", 8, 21) },
];

const fn hours(from: u16, to: u16) -> Awake {
    Awake { from: from * 60, to: to * 60 }
}

const fn daily(region: &'static str, from: u16, to: u16) -> State {
    State { region, weekdays: hours(from, to), saturday: hours(from, to), sunday: Some(hours(from, to)) }
}

/// How far the end of quiet hours is looked for: a week, and the days at its ends.
const DAYS_AHEAD: i64 = 8;

/// The clocks of whoever has a number: those of their contact, else of the area code, else of the tenant. A zone that the database does not have is passed
/// over; without any it is UTC.
pub fn zones(number: &PhoneNumber, contact: Option<&str>, tenant: &str) -> Zones {
    let place = area_codes::place(number);
    let region = place.map(|place| place.region);
    let known = |name: &str| TimeZone::get(name).ok();
    if let Some(first) = contact.and_then(known) {
        return Zones { first, second: None, region };
    }
    let mut there = place.into_iter().flat_map(|place| place.zones).filter_map(|name| known(name));
    match there.next() {
        Some(first) => Zones { first, second: there.next(), region },
        None => Zones { first: known(tenant).unwrap_or(TimeZone::UTC), second: None, region },
    }
}

/// `None`: all of the zones are awake at `now`. Else the first moment at which they are.
pub fn quiet_until(now: Timestamp, zones: &Zones, hours: QuietHours) -> Option<Timestamp> {
    let all_awake = |at: Timestamp| zones.each().all(|zone| hours.is_awake(zone.to_datetime(at), zones.region));
    if all_awake(now) {
        return None;
    }
    let mut moments: Vec<Timestamp> = zones.each().flat_map(|zone| hours.beginnings(zone, zones.region, now)).collect();
    moments.sort_unstable();
    // Each week has such a moment. If it had none, this is when to look again.
    Some(moments.into_iter().find(|at| all_awake(*at)).unwrap_or(now + SignedDuration::from_hours(24)))
}

impl Zones {
    fn each(&self) -> impl Iterator<Item = &TimeZone> {
        std::iter::once(&self.first).chain(&self.second)
    }
}

impl QuietHours {
    /// 20:00 to 08:00.
    pub const DEFAULT: QuietHours = QuietHours { start: 20 * 60, end: 8 * 60, rules: QuietRules::Default };
    /// What is left of a day, in minutes: more than the clocks of two zones of a place are apart.
    pub const LEAST_AWAKE: u16 = 4 * 60;

    /// What is wrong, by field; it continues "The <name> field …".
    pub fn new(start: u16, end: u16, rules: QuietRules) -> Result<Self, BTreeMap<&'static str, String>> {
        let mut problems = QuietHours::shrunk(Some(start), Some(end));
        if problems.is_empty() && start < end.saturating_add(QuietHours::LEAST_AWAKE) {
            problems.insert("start", format!("must be at least {} hours after the end", QuietHours::LEAST_AWAKE / 60));
        }
        if problems.is_empty() { Ok(QuietHours { start, end, rules }) } else { Err(problems) }
    }

    /// Which of these would leave out a part of the default, by field; it continues "The <name> field …".
    pub fn shrunk(start: Option<u16>, end: Option<u16>) -> BTreeMap<&'static str, String> {
        let mut problems = BTreeMap::new();
        if start.is_some_and(|start| start > QuietHours::DEFAULT.start) {
            problems.insert("start", "must not be later than 20:00".to_owned());
        }
        if end.is_some_and(|end| end < QuietHours::DEFAULT.end) {
            problems.insert("end", "must not be earlier than 08:00".to_owned());
        }
        problems
    }

    /// A minute of the day.
    pub fn start(self) -> u16 {
        self.start
    }

    /// A minute of the day.
    pub fn end(self) -> u16 {
        self.end
    }

    pub fn rules(self) -> QuietRules {
        self.rules
    }

    fn is_awake(self, local: DateTime, region: Option<&str>) -> bool {
        let minute = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        self.awake(local.date(), region).is_some_and(|awake| (awake.from..awake.to).contains(&minute))
    }

    /// What is left of a local day. `None`: nothing.
    fn awake(self, day: Date, region: Option<&str>) -> Option<Awake> {
        let set = Awake { from: self.end, to: self.start };
        let state = STATES.iter().find(|state| self.rules == QuietRules::Strict && Some(state.region) == region);
        let Some(state) = state else { return Some(set) };
        let there = match day.weekday() {
            Weekday::Saturday => state.saturday,
            Weekday::Sunday => state.sunday?,
            _ => state.weekdays,
        };
        Some(Awake { from: set.from.max(there.from), to: set.to.min(there.to) }).filter(|both| both.from < both.to)
    }

    /// The moments after `now` at which a zone may wake up: as its days begin to be awake, both times where clocks go back over that, and as its clocks are
    /// moved, which may go past it.
    fn beginnings(self, zone: &TimeZone, region: Option<&str>, now: Timestamp) -> Vec<Timestamp> {
        let last = now + SignedDuration::from_hours(24 * DAYS_AHEAD);
        let today = zone.to_datetime(now).date();
        let days = (0..=DAYS_AHEAD).filter_map(|number| today.checked_add(number.days()).ok());
        let local = days.filter_map(|day| {
            let from = self.awake(day, region)?.from;
            Some(day.at(i8::try_from(from / 60).ok()?, i8::try_from(from % 60).ok()?, 0, 0))
        });
        let begun = local.flat_map(|local| {
            let moments = zone.to_ambiguous_timestamp(local);
            [moments.earlier(), moments.later()].into_iter().flatten()
        });
        let moved = zone.following(now).map(|transition| transition.timestamp()).take_while(|at| *at <= last);
        begun.filter(|at| *at > now).chain(moved).collect()
    }
}

impl QuietRules {
    pub const WORDS: &'static [&'static str] = &["default", "strict"];

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "default" => Some(QuietRules::Default),
            "strict" => Some(QuietRules::Strict),
            _ => None,
        }
    }
}

impl QuietMode {
    pub const WORDS: &'static [&'static str] = &["block", "defer"];

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "block" => Some(QuietMode::Block),
            "defer" => Some(QuietMode::Defer),
            _ => None,
        }
    }
}

impl TryFrom<Asked> for QuietHours {
    type Error = String;

    fn try_from(Asked { start, end, rules }: Asked) -> Result<Self, String> {
        QuietHours::new(start, end, rules).map_err(|problems| format!("no quiet hours: {problems:?}"))
    }
}

impl From<QuietHours> for Asked {
    fn from(QuietHours { start, end, rules }: QuietHours) -> Asked {
        Asked { start, end, rules }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const STRICT: QuietHours = QuietHours { rules: QuietRules::Strict, ..QuietHours::DEFAULT };

    fn number(area: u16) -> PhoneNumber {
        PhoneNumber::parse(&format!("+1{area}5550100")).unwrap()
    }

    fn moment(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn only(zone: TimeZone) -> Zones {
        Zones { first: zone, second: None, region: None }
    }

    /// Until when it is quiet for a number of that area code, of whom nothing else is known.
    fn until(area: u16, now: &str, hours: QuietHours) -> Option<Timestamp> {
        quiet_until(moment(now), &zones(&number(area), None, "UTC"), hours)
    }

    /// The same without knowing when it may change: every quarter of an hour is asked.
    fn searched(now: Timestamp, zones: &Zones, hours: QuietHours) -> Option<Timestamp> {
        let quarter = SignedDuration::from_mins(15);
        let mut at = now;
        while !zones.each().all(|zone| hours.is_awake(zone.to_datetime(at), zones.region)) {
            at = Timestamp::from_second(at.as_second() / 900 * 900).unwrap() + quarter;
        }
        (at != now).then_some(at)
    }

    /// How a message asks.
    #[test]
    fn marketing_waits_for_the_morning_of_its_recipient() {
        let (now, recipient) = (moment("2026-11-30T01:30:00Z"), number(212));
        let zones = zones(&recipient, None, "Europe/Berlin");
        assert_eq!(quiet_until(now, &zones, QuietHours::DEFAULT), Some(moment("2026-11-30T13:00:00Z")));
        assert_eq!(quiet_until(moment("2026-11-30T13:00:00Z"), &zones, QuietHours::DEFAULT), None);
    }

    #[test]
    fn the_contact_knows_best_then_the_area_code_then_the_tenant() {
        let now = moment("2026-11-30T07:30:00Z");
        let asked = |text: &str, contact: Option<&str>, tenant: &str| {
            quiet_until(now, &zones(&PhoneNumber::parse(text).unwrap(), contact, tenant), QuietHours::DEFAULT)
        };
        let eight = |zone: &str| Some(jiff::civil::date(2026, 11, 30).at(8, 0, 0, 0).in_tz(zone).unwrap().timestamp());
        assert_eq!(asked("+12125550100", Some("America/Los_Angeles"), "UTC"), eight("America/Los_Angeles"));
        assert_eq!(asked("+12125550100", None, "UTC"), eight("America/New_York"));
        assert_eq!(asked("+41791234567", None, "Europe/Zurich"), None);
        assert_eq!(asked("+41791234567", None, "UTC"), eight("UTC"));
        assert_eq!(asked("+41791234567", Some("America/New_York"), "UTC"), eight("America/New_York"));
        assert_eq!(asked("+18005550100", None, "America/Chicago"), eight("America/Chicago"));
        for unknown in ["", "Mars/Olympus", "+01:00"] {
            assert_eq!(asked("+12125550100", Some(unknown), "UTC"), eight("America/New_York"), "{unknown}");
            assert_eq!(asked("+41791234567", None, unknown), eight("UTC"), "{unknown}");
        }
    }

    #[test]
    fn it_is_quiet_from_the_first_minute_until_the_last_over_midnight() {
        for (now, end) in [
            ("2026-11-29T19:59:59.999Z", None),
            ("2026-11-29T20:00:00Z", Some("2026-11-30T08:00:00Z")),
            ("2026-11-29T23:59:59Z", Some("2026-11-30T08:00:00Z")),
            ("2026-11-30T00:00:00Z", Some("2026-11-30T08:00:00Z")),
            ("2026-11-30T07:59:59.999Z", Some("2026-11-30T08:00:00Z")),
            ("2026-11-30T08:00:00Z", None),
        ] {
            assert_eq!(quiet_until(moment(now), &only(TimeZone::UTC), QuietHours::DEFAULT), end.map(moment), "{now}");
        }
        let longer = QuietHours::new(18 * 60 + 30, 9 * 60 + 15, QuietRules::Default).unwrap();
        assert_eq!(quiet_until(moment("2026-11-29T18:30:00Z"), &only(TimeZone::UTC), longer), Some(moment("2026-11-30T09:15:00Z")));
        assert_eq!(quiet_until(moment("2026-11-29T18:29:59Z"), &only(TimeZone::UTC), longer), None);
    }

    #[test]
    fn in_an_area_of_two_zones_both_are_awake() {
        // Pensacola (Central) and Tallahassee (Eastern).
        assert_eq!(until(850, "2026-11-30T13:30:00Z", QuietHours::DEFAULT), Some(moment("2026-11-30T14:00:00Z")));
        assert_eq!(until(850, "2026-11-30T14:00:00Z", QuietHours::DEFAULT), None);
        assert_eq!(until(850, "2026-12-01T00:59:00Z", QuietHours::DEFAULT), None);
        assert_eq!(until(850, "2026-12-01T01:00:00Z", QuietHours::DEFAULT), Some(moment("2026-12-01T14:00:00Z")));
        // A contact whose zone is known has one.
        let known = zones(&number(850), Some("America/New_York"), "UTC");
        assert_eq!(quiet_until(moment("2026-11-30T13:30:00Z"), &known, QuietHours::DEFAULT), None);
    }

    #[test]
    fn clocks_that_are_moved_over_the_morning_are_asked_for_what_they_show() {
        // At 8:00 of 14 March it is 9:00; at 9:00 of 1 November it is 8:00 again.
        let zone = || only(TimeZone::posix("AAA0BBB,M3.2.0/8,M11.1.0/9").unwrap());
        let morning = QuietHours::new(1200, 8 * 60 + 30, QuietRules::Default).unwrap();
        let spring = quiet_until(moment("2027-03-14T03:00:00Z"), &zone(), morning);
        assert_eq!(spring, Some(moment("2027-03-14T08:00:00Z")), "8:30 is passed over");
        let autumn = |now: &str| quiet_until(moment(now), &zone(), morning);
        assert_eq!(autumn("2026-11-01T07:00:00Z"), Some(moment("2026-11-01T07:30:00Z")));
        assert_eq!(autumn("2026-11-01T07:45:00Z"), None);
        assert_eq!(autumn("2026-11-01T08:15:00Z"), Some(moment("2026-11-01T08:30:00Z")), "8:15 comes again");
        assert_eq!(autumn("2026-11-01T08:30:00Z"), None);
    }

    #[test]
    fn a_state_that_leaves_less_is_asked_where_that_is_wanted() {
        // Houston, on a Sunday morning.
        let sunday = "2026-11-29T15:00:00Z";
        assert_eq!(until(713, sunday, QuietHours::DEFAULT), None);
        assert_eq!(until(713, sunday, STRICT), Some(moment("2026-11-29T18:00:00Z")));
        assert_eq!(until(713, "2026-11-30T14:30:00Z", STRICT), Some(moment("2026-11-30T15:00:00Z")));
        // Providence: Saturday until 17:00, then nothing until Monday.
        assert_eq!(until(401, "2026-11-28T22:00:00Z", STRICT), Some(moment("2026-11-30T14:00:00Z")));
        // Jackson and Salt Lake City on a Sunday.
        assert_eq!(until(601, sunday, STRICT), Some(moment("2026-11-30T14:00:00Z")));
        assert_eq!(until(801, "2026-11-29T19:00:00Z", STRICT), Some(moment("2026-11-30T15:00:00Z")));
        // Bowling Green has two zones, and Kentucky begins at 10:00 in both.
        assert_eq!(until(270, "2026-11-30T15:30:00Z", STRICT), Some(moment("2026-11-30T16:00:00Z")));
        // What is set holds too.
        let shorter = QuietHours::new(16 * 60, 11 * 60, QuietRules::Strict).unwrap();
        assert_eq!(until(713, "2026-11-30T15:30:00Z", shorter), Some(moment("2026-11-30T17:00:00Z")));
        assert_eq!(until(713, "2026-11-29T22:00:00Z", shorter), Some(moment("2026-11-30T17:00:00Z")));
        // The law is that of the area code, wherever the contact is; Cayman is not Kentucky, and others have no more than the default.
        let moved = zones(&number(713), Some("America/Los_Angeles"), "UTC");
        assert_eq!(quiet_until(moment("2026-11-29T17:00:00Z"), &moved, STRICT), Some(moment("2026-11-29T20:00:00Z")));
        assert_eq!(until(345, "2026-11-30T13:30:00Z", STRICT), None);
        assert_eq!(until(212, "2026-11-29T13:30:00Z", STRICT), None);
    }

    #[test]
    fn states_are_regions_of_area_codes_and_leave_less_than_the_default() {
        let regions: BTreeSet<&str> = area_codes::all().map(|(_, place)| place.region).collect();
        let named: BTreeSet<&str> = STATES.iter().map(|state| state.region).collect();
        assert_eq!(named.len(), STATES.len());
        assert!(named.is_subset(&regions));
        let less = |awake: Awake| awake.from > QuietHours::DEFAULT.end || awake.to < QuietHours::DEFAULT.start;
        assert!(STATES.iter().all(|state| less(state.weekdays) || less(state.saturday) || state.sunday.is_none_or(less)));
    }

    #[test]
    fn hours_never_shrink_below_the_default_nor_fill_the_day() {
        let fields = |start, end| match QuietHours::new(start, end, QuietRules::Default) {
            Ok(_) => vec![],
            Err(problems) => problems.into_keys().collect::<Vec<_>>(),
        };
        for (start, end) in [(1200, 480), (1200, 960), (720, 480), (1000, 760)] {
            assert_eq!(fields(start, end), Vec::<&str>::new(), "{start} {end}");
        }
        assert_eq!((fields(1201, 480), fields(1200, 479), fields(1260, 420)), (vec!["start"], vec!["end"], vec!["end", "start"]));
        assert_eq!((fields(719, 480), fields(1200, 961), fields(0, 0)), (vec!["start"], vec!["start"], vec!["end"]));
        assert_eq!((fields(600, 600), fields(u16::MAX, u16::MAX)), (vec!["start"], vec!["start"]));
        let stored = serde_json::to_value(QuietHours::DEFAULT).unwrap();
        assert_eq!(serde_json::from_value::<QuietHours>(stored.clone()).unwrap(), QuietHours::DEFAULT);
        for (field, wrong) in [("start", 1201.into()), ("end", 0.into()), ("rules", serde_json::Value::from("none"))] {
            let mut stored = stored.clone();
            stored[field] = wrong;
            assert!(serde_json::from_value::<QuietHours>(stored).is_err(), "{field}");
        }
    }

    /// Around each edge of daylight saving in two years, in each area code: the answer is the one that a search finds, and it comes within three days.
    #[test]
    fn no_area_code_is_quiet_for_ever_whatever_its_clocks_do() {
        let awake = |from: u16, to: u16, rules| QuietHours::new(to, from, rules).unwrap();
        let settings = [QuietRules::Default, QuietRules::Strict]
            .map(|rules| [awake(480, 1200, rules), awake(480, 720, rules), awake(960, 1200, rules)])
            .concat();
        let (begin, end) = (moment("2026-01-01T00:00:00Z"), moment("2028-01-01T00:00:00Z"));
        let mut asked = BTreeSet::new();
        for (code, place) in area_codes::all() {
            let own = zones(&number(code), None, "UTC");
            let names: Vec<_> = own.each().map(|zone| zone.iana_name()).collect();
            assert_eq!(names, place.zones.iter().map(|name| Some(*name)).collect::<Vec<_>>(), "{code}");
            // Codes of one place get the same answers: they have the same zones and the same region.
            assert_eq!(own.region, Some(place.region));
            if !asked.insert((place.region, place.zones)) {
                continue;
            }
            let mut edges: Vec<Timestamp> =
                own.each().flat_map(|zone| zone.following(begin).map(|edge| edge.timestamp()).take_while(|at| *at < end)).collect();
            // And where clocks are never moved: as they are elsewhere, and a new year.
            edges.extend(["2026-11-01T06:00:00Z", "2027-01-01T00:00:00Z", "2027-03-14T07:00:00Z"].map(moment));
            for (edge, hours) in edges.iter().flat_map(|edge| settings.iter().map(move |hours| (*edge, *hours))) {
                for step in (-30..=30).step_by(5) {
                    let now = edge + SignedDuration::from_mins(step * 60 + 7);
                    let until = quiet_until(now, &own, hours);
                    assert_eq!(until, searched(now, &own, hours), "{code} at {now} with {hours:?}");
                    let wait = until.map_or(SignedDuration::ZERO, |until| until.duration_since(now));
                    assert!(wait < SignedDuration::from_hours(72), "{code} at {now} with {hours:?} waits {wait}");
                    assert_eq!(until.and_then(|until| quiet_until(until, &own, hours)), None);
                }
            }
        }
    }
}
