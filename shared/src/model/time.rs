//! How moments are printed.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// F2 prints whole seconds with an offset: `2024-01-01T00:00:00+00:00`.
pub fn with_offset(moment: Timestamp) -> String {
    format!("{}+00:00", moment.strftime("%Y-%m-%dT%H:%M:%S"))
}

/// The other families print milliseconds: `2024-01-01T00:00:00.000Z`.
pub fn zulu(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// The first days of the months that two days and those between them lie in.
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
