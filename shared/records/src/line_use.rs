//! How many messages a tenant sent from a line on a day. What others sent from the same line is theirs to know.

use std::fmt;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use shared::ids::Segment;
use shared::model::line::LineId;
use shared::model::time::end_of;
use shared::store::{Collection, Entity, InTenant, Key, List};

/// `line-uses` / `<date>#<line>#<0 to 7>`: a part of the messages that went out from a line on a day (UTC). A message adds itself to one part, in the
/// transaction in which it goes out; readers add the parts up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineUse {
    date: Date,
    line: LineId,
    part: String,
    #[serde(default)]
    pub sent: u64,
}

impl LineUse {
    const PARTS: u8 = 8;
    /// After the end of its day.
    const KEPT: SignedDuration = SignedDuration::from_hours(3 * 24);

    /// One of a few, without numbers.
    pub fn part(date: Date, line: LineId, spread: u8) -> Self {
        LineUse { date, line, part: (spread % LineUse::PARTS).to_string(), sent: 0 }
    }

    /// Of all lines.
    pub fn of_day(date: Date) -> List<Self> {
        List::behind(Collection::of::<LineUse>(), date)
    }

    /// Of one line.
    pub fn of_line(date: Date, line: LineId) -> List<Self> {
        List::starting(Collection::of::<LineUse>(), UseKey(date, line, ""))
    }

    /// What a line sent, by parts of a day among which may be those of other lines.
    pub fn sent_from(line: LineId, parts: &[Self]) -> u64 {
        parts.iter().filter(|part| part.line == line).map(|part| part.sent).sum()
    }
}

struct UseKey<'a>(Date, LineId, &'a str);

impl fmt::Display for UseKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}#{}", self.0, self.1, self.2)
    }
}

impl Segment for UseKey<'_> {}

impl Entity for LineUse {
    type Scope = InTenant;
    const TYPE: &'static str = "line_use";
    const COLLECTION: &'static str = "line-uses";
    const AUDITED: bool = false;
    /// A number of ours, which ends with its day.
    const EXPORTED: bool = false;

    fn key(&self) -> Key<Self> {
        Key::new(&Collection::of::<LineUse>(), UseKey(self.date, self.line, &self.part))
    }

    fn expires_at(&self) -> Option<Timestamp> {
        end_of(self.date).checked_add(LineUse::KEPT).ok()
    }
}

#[cfg(test)]
mod tests {
    use shared::crypto::Random;

    use super::*;

    #[test]
    fn a_line_sent_what_its_parts_say_and_nothing_of_anothers() {
        let today = Date::constant(2026, 11, 21);
        let [one, other] = [1, 2].map(|seed| LineId::new(Timestamp::UNIX_EPOCH, &Random::seeded(seed)));
        let sent = |line, spread, sent| LineUse { sent, ..LineUse::part(today, line, spread) };
        let parts = [sent(one, 0, 2), sent(one, 7, 3), sent(other, 0, 4)];
        let of = [one, other].map(|line| LineUse::sent_from(line, &parts));
        assert_eq!((of, LineUse::sent_from(one, &[])), ([5, 4], 0));
        assert_eq!(LineUse::part(today, one, 9), LineUse::part(today, one, 1));
    }
}
