//! Messages to phones that wait for their moment: one note for each tenant and minute in which some are due, however many they are.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::crypto::Random;
use crate::ids::{TenantId, stored};
use crate::model::due::DueNote;
use crate::store::entity::{Collection, Entity, InDirectory, Key};

/// `due-messages` / `<minute>#<tenant>`: messages of a tenant are due in that minute. Whoever makes a message wait writes it in the same transaction. It
/// goes a while after the minute: the index by which waiting messages are found trails the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DueMessages {
    /// Of the epoch.
    minute: i64,
    #[serde(with = "stored")]
    pub(crate) tenant: TenantId,
    /// Another one each time that it is written or brought to mind. Each is a change, and so another job.
    mark: u64,
    /// How often it was brought to mind without a job that got on.
    rounds: u32,
}

/// A job: messages of its tenant that are due shall go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseMessages {
    pub due: DueMessages,
}

impl DueMessages {
    /// How long the index may trail.
    const TRAILS: SignedDuration = SignedDuration::from_mins(2);

    /// The minute after `at`, at the latest, so that whatever is due then is found.
    pub fn new(at: Timestamp, tenant: TenantId, random: &Random) -> Self {
        let mark = u32::from_be_bytes(random.bytes()).into();
        let minute = at.as_second().div_euclid(60) + i64::from(at.as_millisecond().rem_euclid(60_000) > 0);
        DueMessages { minute, tenant, mark, rounds: 0 }
    }

    /// Whether all that was to be found in the index is in it.
    pub fn is_past(&self, now: Timestamp) -> bool {
        self.due_at().saturating_add(DueMessages::TRAILS).is_ok_and(|past| past <= now)
    }

    /// For a fair share of a queue: the tenant.
    pub fn group(&self) -> String {
        self.tenant.to_string()
    }

    /// A job did what it could, and there is more: the next one begins at once.
    pub fn onward(&self) -> Self {
        DueMessages { mark: self.mark + 1, rounds: 0, ..self.clone() }
    }
}

impl DueNote for DueMessages {
    fn due_at(&self) -> Timestamp {
        Timestamp::from_second(self.minute.saturating_mul(60)).unwrap_or(Timestamp::MAX)
    }

    fn rounds(&self) -> u32 {
        self.rounds
    }

    fn again(&self) -> Self {
        DueMessages { mark: self.mark + 1, rounds: self.rounds + 1, ..self.clone() }
    }

    fn is_of(&self, tenant: TenantId) -> bool {
        self.tenant == tenant
    }
}

impl Entity for DueMessages {
    type Scope = InDirectory;
    const TYPE: &'static str = "due_messages";
    const COLLECTION: &'static str = "due-messages";

    fn key(&self) -> Key<Self> {
        Key::at(&Collection::of::<DueMessages>(), format!("{:012}#{}", self.minute, self.tenant))
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("mark", self.mark)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::tenant_id_for_tests;

    #[test]
    fn a_minute_has_one_note_which_comes_when_all_of_it_is_due() {
        let tenant = tenant_id_for_tests("550e8400-e29b-41d4-a716-446655440000");
        let note = |at: &str| DueMessages::new(at.parse().unwrap(), tenant, &Random::seeded(1));
        let within = note("2026-11-21T10:00:00.001Z");
        assert_eq!(within.key().sort, note("2026-11-21T10:00:59Z").key().sort);
        assert_eq!(within.key().sort, note("2026-11-21T10:01:00Z").key().sort);
        assert_ne!(within.key().sort, note("2026-11-21T10:00:00Z").key().sort);
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert!(!within.is_due(at("2026-11-21T10:00:59.999Z")) && within.is_due(at("2026-11-21T10:01:00Z")));
        assert!(!within.is_past(at("2026-11-21T10:02:59Z")) && within.is_past(at("2026-11-21T10:03:00Z")));
        // One that gets nowhere comes more and more rarely; one that gets on, at once.
        let stuck = within.again().again();
        assert!(!stuck.is_worth(at("2026-11-21T10:03:59Z")) && stuck.is_worth(at("2026-11-21T10:04:00Z")));
        assert!(stuck.onward().is_worth(at("2026-11-21T10:01:00Z")) && stuck.onward() != stuck);
    }
}
