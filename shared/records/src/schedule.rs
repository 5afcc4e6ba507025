//! When a campaign's mails may go: the hours of a window in a zone, and the moments over which a day's mails are spread. Pure: the zone and the moment to
//! begin at are given. A local day is the campaign's, however long daylight saving makes it.

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Span, Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

/// Hours of some days of the week. Minutes are those of the local day: `from` comes before `to`, and `to` is not within.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// At least one, in the order of the week, each once.
    pub days: Vec<Day>,
    pub from: u16,
    pub to: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// How fast mails go: over the window, if there is one, and never more a local day than the limit.
#[derive(Debug, Clone, Copy)]
pub struct Pace<'a> {
    pub zone: &'a TimeZone,
    pub window: Option<&'a Window>,
    pub daily_limit: Option<u32>,
}

/// A moment at which mails may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    pub at: Timestamp,
    pub day: Date,
    /// `None`: as many as there are.
    pub most: Option<u32>,
}

/// What mails of a campaign wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CampaignHold)]
pub enum Hold {
    /// The hours of its window, or the next moment within them.
    Window,
    DailyLimit,
    /// What the plan allows in a month.
    MonthlyLimit,
    /// What the deployment allows a tenant in a day (UTC) until a thousand mails of its campaigns have arrived.
    NewTenant,
    /// What the carrier takes from all tenants, or from this deployment at the moment.
    Carrier,
}

/// What may go now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// `None`: as many as there are.
    pub mails: Option<u32>,
    /// The local day for which they count.
    pub day: Date,
    /// What the rest waits for, and when it is worth looking again.
    pub hold: Hold,
    pub next_at: Timestamp,
}

/// From a moment up to, and without, another one.
type Stretch = (Timestamp, Timestamp);

pub const MINUTES_OF_A_DAY: u16 = 24 * 60;
/// Mails that go together. They are a wave.
const LARGEST_WAVE: u32 = 25;
/// Waves come closer only when a day has more mails than fit.
const BETWEEN_WAVES: SignedDuration = SignedDuration::from_mins(5);

impl Day {
    pub const WORDS: &'static [&'static str] = &["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    const ALL: [Day; 7] = [Day::Mon, Day::Tue, Day::Wed, Day::Thu, Day::Fri, Day::Sat, Day::Sun];

    pub fn parse(word: &str) -> Option<Self> {
        Day::WORDS.iter().position(|own| *own == word).map(|at| Day::ALL[at])
    }

    fn of(weekday: Weekday) -> Self {
        Day::ALL[usize::try_from(weekday.to_monday_zero_offset()).unwrap_or(0)]
    }
}

impl Pace<'_> {
    /// The moments at which mails may go, from `from` on, in their order. With a window and a limit they lie at fixed places of each day, so who begins in the
    /// middle of a day has only the rest of them.
    pub fn slots(self, from: Timestamp) -> impl Iterator<Item = Slot> {
        // Where clocks go back over midnight, a day goes on after the next one has begun.
        let first = self.zone.to_datetime(from).date().saturating_sub(1.day());
        let days = (0_i32..).map_while(move |number| first.checked_add(Span::new().try_days(number).ok()?).ok());
        days.flat_map(move |day| self.of_day(day, from))
    }

    /// What may go at `now`, when the moments up to `paced_to` are used but for `credit` mails, and `used` mails count for the local day already. What was
    /// not used on a day before is not made up for.
    pub fn allowance(self, paced_to: Timestamp, credit: u32, used: u64, now: Timestamp) -> Allowance {
        let day = self.zone.to_datetime(now).date();
        let left = self.daily_limit.map(|limit| limit.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX)));
        let open = if self.window.is_some() && self.daily_limit.is_some() {
            let (mut passed, is_today) = (0_u32, self.zone.to_datetime(paced_to).date() == day);
            // No local day is longer.
            let from = paced_to.max(now - SignedDuration::from_hours(26));
            for slot in self.slots(from).take_while(|slot| slot.at <= now).filter(|slot| slot.day == day && slot.at > paced_to) {
                passed = passed.saturating_add(slot.most.unwrap_or(0));
            }
            Some(passed.saturating_add(if is_today { credit } else { 0 }))
        } else {
            match self.slots(now).next() {
                Some(slot) if slot.at == now => slot.most,
                _ => Some(0),
            }
        };
        let mails = match (open, left) {
            (Some(open), Some(left)) => Some(open.min(left)),
            (open, left) => open.or(left),
        };
        let hold = if left == Some(0) { Hold::DailyLimit } else { Hold::Window };
        let is_next = |slot: &Slot| slot.at > now && (left != Some(0) || slot.day > day);
        // Without a window, the day that goes on is one moment.
        let is_next_day = |slot: &Slot| slot.at > now && (self.window.is_some() && self.daily_limit.is_some() || slot.day > day);
        let next_at = self.slots(now).find(|slot| is_next(slot) && is_next_day(slot)).map_or(Timestamp::MAX, |slot| slot.at);
        Allowance { mails, day, hold, next_at }
    }

    /// Whether mails that count for the day may go at `now`.
    pub fn is_open(self, day: Date, now: Timestamp) -> bool {
        let within = |window: &Window| {
            let stretches = open(self.zone, day, window.from, window.to);
            window.days.contains(&Day::of(day.weekday())) && stretches.iter().any(|(start, end)| *start <= now && now < *end)
        };
        self.zone.to_datetime(now).date() == day && self.window.is_none_or(within)
    }

    /// How many of so many mails go on which day, beginning at `from`.
    pub fn forecast(self, mails: u64, from: Timestamp) -> Vec<(Date, u64)> {
        let (mut left, mut days) = (mails, Vec::<(Date, u64)>::new());
        if left == 0 {
            return days;
        }
        for slot in self.slots(from) {
            let go = slot.most.map_or(left, |most| left.min(most.into()));
            match days.last_mut() {
                Some((day, mails)) if *day == slot.day => *mails += go,
                _ => days.push((slot.day, go)),
            }
            left -= go;
            if left == 0 {
                break;
            }
        }
        days
    }

    fn of_day(self, day: Date, from: Timestamp) -> Box<dyn Iterator<Item = Slot>> {
        let stretches = match self.window {
            Some(window) if !window.days.contains(&Day::of(day.weekday())) => vec![],
            Some(window) => open(self.zone, day, window.from, window.to),
            None => open(self.zone, day, 0, MINUTES_OF_A_DAY),
        };
        match (self.window, self.daily_limit) {
            (Some(_), Some(limit)) => {
                let waves = waves(stretches, limit).map(move |(at, most)| Slot { at, day, most: Some(most) });
                Box::new(waves.skip_while(move |slot| slot.at < from))
            }
            // All of the day's at once, as soon as the day, or the window, is open.
            (_, most) => {
                let first = stretches.into_iter().find(|(_, end)| *end > from);
                Box::new(first.into_iter().map(move |(start, _)| Slot { at: start.max(from), day, most }))
            }
        }
    }
}

/// When the clock of the zone shows that day, and a time from one minute to another. More than one stretch where the clock changes within.
fn open(zone: &TimeZone, day: Date, from: u16, to: u16) -> Vec<Stretch> {
    // No clock is further from UTC.
    let far = SignedDuration::from_hours(26);
    let minute = |minute: u16| day.to_datetime(jiff::civil::Time::midnight()).saturating_add(i64::from(minute).minutes());
    let (begins, ends) = (minute(from), minute(to));
    let in_utc = |moment: DateTime| Offset::UTC.to_timestamp(moment).ok();
    let (Some(earliest), Some(latest)) =
        (in_utc(begins).and_then(|moment| moment.checked_sub(far).ok()), in_utc(ends).and_then(|moment| moment.checked_add(far).ok()))
    else {
        return vec![];
    };
    let (mut offset, mut since, mut stretches) = (zone.to_offset(earliest), earliest, vec![]);
    let mut add = |offset: Offset, since: Timestamp, until: Timestamp| {
        if let (Ok(begins), Ok(ends)) = (offset.to_timestamp(begins), offset.to_timestamp(ends)) {
            let stretch = (begins.max(since), ends.min(until));
            stretches.extend((stretch.0 < stretch.1).then_some(stretch));
        }
    };
    for change in zone.following(earliest).take_while(|change| change.timestamp() < latest) {
        add(offset, since, change.timestamp());
        (offset, since) = (change.offset(), change.timestamp());
    }
    add(offset, since, latest);
    stretches
}

/// So many mails, evenly over the stretches of a day. They go singly if there are few, and never more than `LARGEST_WAVE` together.
fn waves(stretches: Vec<Stretch>, limit: u32) -> impl Iterator<Item = (Timestamp, u32)> {
    let length = |(start, end): &Stretch| end.duration_since(*start).as_millis();
    let total: i128 = stretches.iter().map(length).sum();
    let places = u32::try_from(total / BETWEEN_WAVES.as_millis()).unwrap_or(u32::MAX).max(1);
    let size = (limit / places).clamp(1, LARGEST_WAVE);
    let count = if total == 0 { 0 } else { limit.div_ceil(size) };
    (0..count).filter_map(move |number| {
        let mut after = total * i128::from(number) / i128::from(count);
        for stretch in &stretches {
            let length = length(stretch);
            if after < length {
                let at = stretch.0 + SignedDuration::from_millis(i64::try_from(after).ok()?);
                return Some((at, size.min(limit - size * number)));
            }
            after -= length;
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    const ZONES: [&str; 10] = [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "America/St_Johns",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "Africa/Casablanca",
        "America/Santiago",
        "Pacific/Chatham",
        "Asia/Beirut",
    ];

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    fn window(days: &[Day], from: u16, to: u16) -> Window {
        Window { days: days.to_vec(), from, to }
    }

    fn moment(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn fifty_a_day_in_eight_hours_go_singly() {
        let (utc, window) = (zone("UTC"), window(&[Day::Mon], 9 * 60, 17 * 60));
        let pace = Pace { zone: &utc, window: Some(&window), daily_limit: Some(50) };
        let slots: Vec<Slot> = pace.slots(moment("2026-11-28T00:00:00Z")).take(51).collect();
        assert!(slots.iter().all(|slot| slot.most == Some(1)));
        assert_eq!(slots[1].at.duration_since(slots[0].at), SignedDuration::from_secs(576));
        assert_eq!((slots[0].at, slots[50].at), (moment("2026-11-30T09:00:00Z"), moment("2026-12-07T09:00:00Z")));
        // In the middle of a day there is the rest of it.
        let pace = pace.forecast(60, moment("2026-11-30T13:00:00Z"));
        assert_eq!(pace, [(date(2026, 11, 30), 25), (date(2026, 12, 7), 35)]);
    }

    #[test]
    fn without_a_window_a_day_goes_at_once_and_without_a_limit_all() {
        let berlin = zone("Europe/Berlin");
        let all_day = Pace { zone: &berlin, window: None, daily_limit: Some(40) };
        let from = moment("2026-11-29T22:30:00Z");
        assert_eq!(all_day.forecast(100, from), [(date(2026, 11, 29), 40), (date(2026, 11, 30), 40), (date(2026, 12, 1), 20)]);
        let slots: Vec<Timestamp> = all_day.slots(from).take(2).map(|slot| slot.at).collect();
        assert_eq!(slots, [from, moment("2026-11-29T23:00:00Z")]);
        let free = Pace { daily_limit: None, ..all_day };
        assert_eq!(free.forecast(1_000_000, from), [(date(2026, 11, 29), 1_000_000)]);
        assert_eq!(free.forecast(0, from), []);
        let (window, after) = (window(&[Day::Sun], 0, 60), moment("2026-11-29T00:30:00Z"));
        let weekly = Pace { window: Some(&window), ..free };
        assert_eq!(weekly.forecast(7, after), [(date(2026, 12, 6), 7)]);
    }

    #[test]
    fn a_window_in_which_the_clock_changes_is_open_while_the_clock_says_so() {
        let berlin = zone("Europe/Berlin");
        let lengths = |day: Date, from, to| -> Vec<i64> {
            open(&berlin, day, from, to).iter().map(|(start, end)| end.duration_since(*start).as_mins()).collect()
        };
        // 02:00 to 03:00 is not there in spring, and comes twice in autumn.
        assert_eq!(lengths(date(2026, 3, 29), 60, 240), [60, 60]);
        assert_eq!(lengths(date(2026, 3, 29), 120, 180), Vec::<i64>::new());
        assert_eq!(lengths(date(2026, 10, 25), 150, 180), [30, 30]);
        assert_eq!(lengths(date(2026, 10, 25), 0, 1440).iter().sum::<i64>(), 25 * 60);
    }

    #[test]
    fn what_was_to_go_within_hours_of_a_day_does_not_go_after_them() {
        let (berlin, hours) = (zone("Europe/Berlin"), window(&[Day::Fri, Day::Sun], 150, 180));
        let of_window = Pace { zone: &berlin, window: Some(&hours), daily_limit: None };
        let sunday = date(2026, 10, 25);
        // That half hour comes twice.
        for (time, is_open) in [("00:29:59", false), ("00:30:00", true), ("01:00:00", false), ("01:30:00", true), ("02:00:00", false)] {
            assert_eq!(of_window.is_open(sunday, moment(&format!("2026-10-25T{time}Z"))), is_open, "{time}");
        }
        assert!(!of_window.is_open(date(2026, 10, 23), moment("2026-10-25T00:30:00Z")), "another day");
        let all_day = Pace { window: None, ..of_window };
        assert!(all_day.is_open(sunday, moment("2026-10-25T22:59:59Z")) && !all_day.is_open(sunday, moment("2026-10-25T23:00:00Z")));
    }

    #[test]
    fn many_mails_go_in_waves() {
        let (utc, window) = (zone("UTC"), window(&Day::ALL, 0, 60));
        let pace = Pace { zone: &utc, window: Some(&window), daily_limit: Some(1_000) };
        let slots: Vec<Slot> = pace.slots(moment("2026-11-30T00:00:00Z")).take(41).collect();
        assert!(slots.iter().all(|slot| slot.most == Some(25)));
        assert_eq!((slots[39].at, slots[40].at), (moment("2026-11-30T00:58:30Z"), moment("2026-12-01T00:00:00Z")));
    }

    #[test]
    fn what_may_go_follows_the_moments_of_the_day() {
        let (utc, days) = (zone("UTC"), window(&[Day::Mon], 9 * 60, 17 * 60));
        let pace = Pace { zone: &utc, window: Some(&days), daily_limit: Some(50) };
        let at = |text: &str| moment(&format!("2026-11-30T{text}Z"));
        let allowed = |paced_to, credit, used, now| {
            let allowance = pace.allowance(paced_to, credit, used, now);
            (allowance.mails, allowance.hold, allowance.next_at)
        };
        let next_week = moment("2026-12-07T09:00:00Z");
        assert_eq!(allowed(at("08:00:00"), 0, 0, at("08:59:00")), (Some(0), Hold::Window, at("09:00:00")));
        assert_eq!(allowed(at("08:00:00"), 0, 0, at("09:00:00")), (Some(1), Hold::Window, at("09:09:36")));
        assert_eq!(allowed(at("09:00:00"), 0, 1, at("09:05:00")), (Some(0), Hold::Window, at("09:09:36")));
        // An hour without a worker is made up for, up to what the day has left; another day's is not.
        assert_eq!(allowed(at("09:00:00"), 2, 1, at("10:00:00")), (Some(8), Hold::Window, at("10:07:12")));
        assert_eq!(allowed(at("09:00:00"), 2, 47, at("10:00:00")), (Some(3), Hold::Window, at("10:07:12")));
        assert_eq!(allowed(at("09:00:00"), 2, 50, at("10:00:00")), (Some(0), Hold::DailyLimit, next_week));
        assert_eq!(allowed(moment("2026-11-23T09:00:00Z"), 9, 0, at("09:00:00")), (Some(1), Hold::Window, at("09:09:36")));
        assert_eq!(allowed(at("09:00:00"), 0, 9, at("17:00:00")).2, next_week);
        let all_day = Pace { window: None, ..pace }.allowance(at("09:00:00"), 0, 20, at("23:30:00"));
        assert_eq!((all_day.mails, all_day.hold, all_day.next_at), (Some(30), Hold::Window, moment("2026-12-01T00:00:00Z")));
        let in_hours = Pace { daily_limit: None, ..pace };
        assert_eq!(in_hours.allowance(at("09:00:00"), 0, 9, at("16:59:59")).mails, None);
        let closed = in_hours.allowance(at("09:00:00"), 0, 9, at("17:00:00"));
        assert_eq!((closed.mails, closed.next_at), (Some(0), next_week));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]
        #[test]
        fn two_years_in_ten_zones_never_outside_a_window_or_over_a_day(
            days in prop::sample::subsequence(Day::ALL.to_vec(), 1..=7),
            (from, length) in (0_u16..1_439, 1_u16..700),
            limit in prop::option::weighted(0.9, 1_u32..300),
            begin in 0_i64..86_400,
        ) {
            let window = Window { days, from, to: (from + length).min(MINUTES_OF_A_DAY) };
            let begin = moment("2026-01-01T00:00:00Z") + SignedDuration::from_secs(begin);
            for name in ZONES {
                let zone = zone(name);
                for (within, daily_limit) in [(Some(&window), limit), (None, limit)] {
                    let pace = Pace { zone: &zone, window: within, daily_limit };
                    let (mut sent, mut last) = (BTreeMap::<Date, u32>::new(), begin);
                    for slot in pace.slots(begin).take_while(|slot| slot.at < begin + SignedDuration::from_hours(2 * 365 * 24)) {
                        let local = zone.to_datetime(slot.at);
                        let minute = i32::from(local.hour()) * 60 + i32::from(local.minute());
                        prop_assert_eq!(local.date(), slot.day);
                        prop_assert!(slot.at >= last, "{} {:?}", name, slot);
                        if let Some(window) = within {
                            prop_assert!(window.days.contains(&Day::of(local.weekday())), "{} {}", name, local);
                            prop_assert!(minute >= i32::from(window.from) && minute < i32::from(window.to), "{} {}", name, local);
                        }
                        *sent.entry(slot.day).or_default() += slot.most.unwrap_or(1);
                        last = slot.at;
                    }
                    // Each whole day that has such hours is used, and used up, and no day is used beyond.
                    let most = daily_limit.unwrap_or(1);
                    prop_assert!(sent.values().all(|sent| *sent <= most));
                    let whole: Vec<u32> = sent.into_values().skip(1).collect();
                    prop_assert!(whole.iter().rev().skip(1).all(|sent| *sent == most), "{} {:?}", name, whole);
                }
            }
        }
    }
}
