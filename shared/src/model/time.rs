//! How moments are read and written.

use jiff::civil::Date;
use jiff::fmt::temporal::Pieces;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::Serialize;

/// A moment as an answer prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, format = DateTime)]
pub struct Printed(String);

/// RFC 3339, with any offset. The last day of the year 9999 is outside the range of our arithmetic. It means "never" and is read as the
/// last possible moment.
pub fn moment(text: &str) -> Option<Timestamp> {
    let text = Some(text).filter(|text| (20..=40).contains(&text.len()) && text.is_ascii())?;
    text.parse().ok().or_else(|| {
        let pieces = Pieces::parse(text).ok()?;
        let last = pieces.date() >= jiff::civil::date(9999, 12, 30);
        (last && pieces.time().is_some() && pieces.to_numeric_offset().is_some()).then_some(Timestamp::MAX)
    })
}

/// F2 writes whole seconds with an offset: `2024-01-01T00:00:00+00:00`.
pub fn with_offset(moment: Timestamp) -> Printed {
    Printed(format!("{}+00:00", printed(moment, "%Y-%m-%dT%H:%M:%S")))
}

/// The other families write milliseconds: `2024-01-01T00:00:00.000Z`.
pub fn zulu(moment: Timestamp) -> Printed {
    Printed(printed(moment, "%Y-%m-%dT%H:%M:%S%.3fZ"))
}

/// "Never" is written as the last second of the year 9999, as people write it.
fn printed(moment: Timestamp, format: &str) -> String {
    if moment < Timestamp::MAX {
        return moment.strftime(format).to_string();
    }
    jiff::civil::date(9999, 12, 31).at(23, 59, 59, 0).strftime(format).to_string()
}

/// The first days of the months from one day to another.
pub fn months(from: Date, to: Date) -> Vec<Date> {
    let mut months = vec![];
    let mut month = from.first_of_month();
    while month <= to {
        months.push(month);
        month = month.saturating_add(1.month());
    }
    months
}

/// The calendar day in UTC.
pub fn day(moment: Timestamp) -> Date {
    moment.to_zoned(TimeZone::UTC).date()
}

/// The first moment after a day, in UTC.
pub fn end_of(day: Date) -> Timestamp {
    day.tomorrow().and_then(|next| next.to_zoned(TimeZone::UTC)).map_or(Timestamp::MAX, |zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_with_their_offset() {
        for (given, kept) in [
            ("2026-12-31T00:00:00Z", "2026-12-31T00:00:00.000Z"),
            ("2026-12-31T00:00:00.5+02:00", "2026-12-30T22:00:00.500Z"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.000Z"),
            ("9999-12-31T00:00:00+00:00", "9999-12-31T23:59:59.000Z"),
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.000Z"),
            ("9999-12-30T12:00:00Z", "9999-12-30T12:00:00.000Z"),
        ] {
            assert_eq!(moment(given).map(zulu), Some(Printed(kept.into())), "{given}");
        }
        for wrong in
            ["", "9999-12-31", "9999-12-31T23:59:59", "10000-01-01T00:00:00Z", "9999-13-31T23:59:59Z", "9999-12-32T23:59:59Z", "tomorrow"]
        {
            assert_eq!(moment(wrong), None, "{wrong}");
        }
    }
}
