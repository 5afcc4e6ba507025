//! How moments are printed.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// F2 prints whole seconds with an offset: `2024-01-01T00:00:00+00:00`.
pub fn with_offset(moment: Timestamp) -> String {
    format!("{}+00:00", moment.strftime("%Y-%m-%dT%H:%M:%S"))
}

/// The other families print `2024-01-01T00:00:00Z`.
pub fn zulu(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// F3 prints `2024-01-01T00:00:00.000Z`.
pub fn millis(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// The calendar day in UTC.
pub fn day(moment: Timestamp) -> Date {
    moment.to_zoned(TimeZone::UTC).date()
}
