//! How many mails of campaigns may go in a minute, over all tenants, and how they share it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::crypto;
use crate::ids::TenantId;
use crate::store::entity::{Collection, Entity, InDirectory, Key};

/// `send-budgets` / `<minute>`. Kept for an hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendBudget {
    minute: i64,
    /// What was taken, by tenants that asked. Their names are hashes: the record is of no tenant.
    taken: BTreeMap<String, u32>,
    pub version: u64,
}

impl SendBudget {
    pub fn of(now: Timestamp) -> Self {
        SendBudget { minute: now.as_second().div_euclid(60), taken: BTreeMap::new(), version: 0 }
    }

    /// The minute before.
    pub fn before(&self) -> Key<Self> {
        SendBudget::key_of(self.minute - 1)
    }

    /// When the next minute begins.
    pub fn ends_at(&self) -> Timestamp {
        Timestamp::from_second((self.minute + 1) * 60).unwrap_or(Timestamp::MAX)
    }

    /// How many of the mails that a tenant asks for may go, and the budget after that. Each has an equal share with those who asked in this minute or the
    /// one before. So one alone has all of it, and a newcomer has its share in the next minute at the latest.
    pub fn grant(&self, before: Option<&Self>, tenant: TenantId, asked: u32, total: u32) -> (u32, Self) {
        let name: String = crypto::hash(&[tenant.to_string().as_bytes()]).chars().take(16).collect();
        let askers = self.taken.keys().chain(before.into_iter().flat_map(|before| before.taken.keys())).chain([&name]);
        let sharing = u32::try_from(askers.collect::<std::collections::BTreeSet<_>>().len()).unwrap_or(u32::MAX).max(1);
        let (all, own) = (self.taken.values().sum::<u32>(), self.taken.get(&name).copied().unwrap_or(0));
        let granted = asked.min((total / sharing).max(1).saturating_sub(own)).min(total.saturating_sub(all));
        let mut taken = self.taken.clone();
        *taken.entry(name).or_default() += granted;
        (granted, SendBudget { taken, version: self.version + 1, ..*self })
    }

    fn key_of(minute: i64) -> Key<Self> {
        Key::at(&Collection::of::<SendBudget>(), format!("{minute:012}"))
    }
}

impl Entity for SendBudget {
    type Scope = InDirectory;
    const TYPE: &'static str = "send_budget";
    const COLLECTION: &'static str = "send-budgets";

    fn key(&self) -> Key<Self> {
        SendBudget::key_of(self.minute)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }

    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.ends_at() + SignedDuration::from_hours(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::tenant_id_for_tests;

    #[test]
    fn who_is_alone_has_all_and_a_newcomer_its_share_in_the_next_minute() {
        let one = tenant_id_for_tests("550e8400-e29b-41d4-a716-446655440000");
        let other = tenant_id_for_tests("650e8400-e29b-41d4-a716-446655440000");
        let now = Timestamp::UNIX_EPOCH;
        let (granted, first) = SendBudget::of(now).grant(None, one, 1_000, 840);
        assert_eq!(granted, 840);
        let (granted, first) = first.grant(None, other, 100, 840);
        assert_eq!(granted, 0);
        let second = SendBudget::of(now + SignedDuration::from_mins(1));
        let (granted, second) = second.grant(Some(&first), one, 1_000, 840);
        assert_eq!(granted, 420);
        let (granted, second) = second.grant(Some(&first), one, 1_000, 840);
        assert_eq!(granted, 0);
        let (granted, _) = second.grant(Some(&first), other, 100, 840);
        assert_eq!(granted, 100);
        assert!(!serde_json::to_string(&first).unwrap().contains(&one.to_string()));
    }
}
