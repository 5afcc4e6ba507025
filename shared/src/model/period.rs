//! Calendar months and ranges of days in UTC, as used for usage and billing.

use std::fmt;

use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ids::Segment;
use crate::model::time::day;

/// `2026-11`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Month {
    year: i16,
    month: i8,
}

impl Month {
    pub fn of(moment: Timestamp) -> Self {
        Month::of_day(day(moment))
    }

    pub fn of_day(day: Date) -> Self {
        Month { year: day.year(), month: day.month() }
    }

    /// `YYYY-MM`, `current` or `previous`; the default is the current month. A month in the future is refused.
    pub fn asked(text: Option<&str>, now: Timestamp) -> Result<Self> {
        let current = Month::of(now);
        match text {
            None | Some("current") => Ok(current),
            Some("previous") => Ok(current.previous()),
            Some(text) => Month::parse(text).filter(|month| *month <= current).ok_or(Error::InvalidPeriod),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (year, month) = text.split_once('-')?;
        let digits = |text: &str, length: usize| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
        let month = Month { year: year.parse().ok()?, month: month.parse().ok()? };
        (digits(year, 4) && digits(&text[5..], 2) && month.year >= 1970 && (1..=12).contains(&month.month)).then_some(month)
    }

    pub fn previous(self) -> Self {
        if self.month == 1 { Month { year: self.year - 1, month: 12 } } else { Month { month: self.month - 1, ..self } }
    }

    fn next(self) -> Self {
        if self.month == 12 { Month { year: self.year + 1, month: 1 } } else { Month { month: self.month + 1, ..self } }
    }

    /// 1 to 12.
    pub fn number(self) -> usize {
        usize::try_from(self.month).unwrap_or(1)
    }

    /// The number of days in it.
    pub fn days(self) -> u64 {
        u64::from(date(self.year, self.month, 1).days_in_month().unsigned_abs())
    }

    pub fn start(self) -> Timestamp {
        midnight(date(self.year, self.month, 1))
    }

    /// The first moment after it.
    pub fn end(self) -> Timestamp {
        self.next().start()
    }
}

impl TryFrom<String> for Month {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        Month::parse(&text).ok_or("not a month")
    }
}

impl From<Month> for String {
    fn from(month: Month) -> String {
        month.to_string()
    }
}

impl Segment for Month {}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

fn midnight(day: Date) -> Timestamp {
    day.to_zoned(TimeZone::UTC).map_or(Timestamp::UNIX_EPOCH, |zoned| zoned.timestamp())
}

/// Days from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days {
    pub from: Date,
    pub to: Date,
}

impl Days {
    pub const LONGEST: usize = 92;
    const DEFAULT: i64 = 30;

    /// Without bounds: the last 30 days. With one bound: the 30 days that begin or end there.
    pub fn asked(from: Option<&str>, to: Option<&str>, now: Timestamp) -> Result<Self> {
        let read = |text: Option<&str>| match text {
            None => Ok(None),
            Some(text) => {
                let day = Some(text).filter(|text| text.len() == 10).and_then(|text| text.parse::<Date>().ok());
                day.filter(|day| (1970..=9000).contains(&day.year()))
                    .map(Some)
                    .ok_or(Error::InvalidRange("A day is given like 2026-11-21."))
            }
        };
        let most = (Days::DEFAULT - 1).days();
        let days = match (read(from)?, read(to)?) {
            (Some(from), Some(to)) => Days { from, to },
            (Some(from), None) => Days { from, to: from.saturating_add(most) },
            (None, to) => {
                let to = to.unwrap_or_else(|| day(now));
                Days { from: to.saturating_sub(most), to }
            }
        };
        if days.from > days.to {
            return Err(Error::InvalidRange("The range ends before it begins."));
        }
        if days.each().count() > Days::LONGEST {
            return Err(Error::InvalidRange("The range is longer than 92 days."));
        }
        Ok(days)
    }

    pub fn each(self) -> impl Iterator<Item = Date> {
        self.from.series(1.day()).take_while(move |day| *day <= self.to).take(Days::LONGEST + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-01-15T10:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_month_is_read_strictly_and_never_lies_ahead() {
        let read = |text: &str| Month::asked(Some(text), now()).map(|month| month.to_string());
        assert_eq!(Month::asked(None, now()).unwrap().to_string(), "2026-01");
        assert_eq!(read("current").unwrap(), "2026-01");
        assert_eq!(read("previous").unwrap(), "2025-12");
        assert_eq!(read("2025-02").unwrap(), "2025-02");
        for wrong in [
            "",
            "2026-13",
            "2026-00",
            "2026-1",
            "26-01",
            "2026-02",
            "9999-12",
            "2026-01-01",
            "last",
            "Current",
            "+026-01",
            "2026-+1",
            "0001-01",
            "é026-01",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let december = Month::asked(Some("2025-12"), now()).unwrap();
        assert_eq!(
            (december.start().to_string(), december.end().to_string()),
            ("2025-12-01T00:00:00Z".into(), "2026-01-01T00:00:00Z".into())
        );
    }

    #[test]
    fn a_range_has_1_to_92_days() {
        let read = |from, to| Days::asked(from, to, now()).map(|days| (days.from.to_string(), days.to.to_string(), days.each().count()));
        assert_eq!(read(None, None).unwrap(), ("2025-12-17".into(), "2026-01-15".into(), 30));
        assert_eq!(read(Some("2026-01-01"), Some("2026-01-01")).unwrap().2, 1);
        assert_eq!(read(Some("2025-10-01"), Some("2025-12-31")).unwrap().2, 92);
        assert_eq!(read(Some("2025-10-01"), None).unwrap().1, "2025-10-30");
        for (from, to) in [
            (Some("2025-10-01"), Some("2026-01-01")),
            (Some("2026-01-02"), Some("2026-01-01")),
            (Some("2026-02-30"), None),
            (Some("yesterday"), None),
            (None, Some("2026-1-1")),
            (Some("1970-01-01"), Some("8999-01-01")),
        ] {
            assert!(read(from, to).is_err(), "{from:?} {to:?}");
        }
    }
}
