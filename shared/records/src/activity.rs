//! What happened with a lead, entry by entry.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::lead::{Lead, LeadId, LeadStatus};
use shared::id;
use shared::ids::Segment;
use shared::model::member::Person;
use shared::store::{Collection, Entity, IN_WORKSPACE, InWorkspace, Key, List, Restore, Within, restored};

id!(/// An entry of a lead's activity.
    ActivityId = "act", in_workspace);

/// `activity#<shard>` / `<lead>#<id>`: in 16 partitions by lead, because a campaign writes many at once. The lead counts its entries, and the
/// transaction that writes one also writes the lead: so none is written for a lead that is gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Activity {
    pub id: ActivityId,
    pub lead: LeadId,
    pub kind: ActivityKind,
    pub occurred_at: Timestamp,
    /// Who did it; for what a person did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Person>,
    /// The id of the campaign, and the number of its step, for what came of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaign: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
    /// For a change of status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<LeadStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<LeadStatus>,
    /// Of a note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ActivityType)]
pub enum ActivityKind {
    EmailSent,
    EmailOpened,
    EmailClicked,
    EmailReplied,
    EmailBounced,
    EmailComplained,
    Unsubscribed,
    /// Mail may go to the lead again.
    SuppressionLifted,
    StatusChanged,
    Note,
}

impl Activity {
    pub const SHARDS: u16 = 16;

    pub fn new(id: ActivityId, lead: LeadId, kind: ActivityKind, now: Timestamp) -> Self {
        Activity { id, lead, kind, occurred_at: now, by: None, campaign: None, step: None, from: None, to: None, text: None }
    }

    pub fn note(id: ActivityId, lead: LeadId, text: String, by: Person, now: Timestamp) -> Self {
        Activity { text: Some(text), by: Some(by), ..Activity::new(id, lead, ActivityKind::Note, now) }
    }

    /// `None`: the edit left the status as it was.
    pub fn of_edit(id: ActivityId, before: &Lead, after: &Lead, by: Person, now: Timestamp) -> Option<Self> {
        let changed = Activity::new(id, after.id, ActivityKind::StatusChanged, now);
        (before.status != after.status).then_some(Activity { from: Some(before.status), to: Some(after.status), by: Some(by), ..changed })
    }

    /// In the order in which they were written.
    pub fn of_lead(lead: LeadId) -> List<Self> {
        List::behind(Activity::collection(lead), lead)
    }

    fn collection(lead: LeadId) -> Collection {
        Collection::within::<Activity>(Shard::of(lead))
    }
}

/// Which of the partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shard(u16);

impl Shard {
    /// FNV-1a over the id.
    fn of(lead: LeadId) -> Self {
        let mixed = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        let hash = lead.to_string().bytes().fold(0x811c_9dc5, mixed);
        Shard(((hash >> 8) % u32::from(Activity::SHARDS)) as u16)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}", self.0)
    }
}

impl Segment for Shard {}

struct ActivityKey(LeadId, ActivityId);

impl fmt::Display for ActivityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.0, self.1)
    }
}

impl Segment for ActivityKey {}

fn shards_of_workspace(workspace: &Map<String, Value>) -> Option<Vec<String>> {
    let tags = (IN_WORKSPACE.parts)(workspace)?;
    Some(tags.iter().flat_map(|tag| (0..Activity::SHARDS).map(move |shard| format!("{tag}.{}", Shard(shard)))).collect())
}

impl Entity for Activity {
    type Scope = InWorkspace;
    const TYPE: &'static str = "activity";
    const COLLECTION: &'static str = "activity";
    const WITHIN: Option<Within> = Some(Within { parts: shards_of_workspace, ..IN_WORKSPACE });
    /// The lead, which is written with it, is.
    const AUDITED: bool = false;
    const RESTORE: Option<Restore> = Some(restored::<Activity>);

    fn key(&self) -> Key<Self> {
        Key::new(&Activity::collection(self.lead), ActivityKey(self.lead, self.id))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use shared::crypto::Random;
    use shared::ids::{WorkspaceId, WorkspaceTag};

    use super::*;

    #[test]
    fn leads_spread_over_the_partitions_that_a_purge_knows() {
        let (random, now) = (Random::seeded(1), Timestamp::UNIX_EPOCH);
        let shards: BTreeSet<String> = (0..4_000).map(|_| Shard::of(LeadId::new(WorkspaceTag::NONE, now, &random)).to_string()).collect();
        assert!(shards.len() == 16, "{}", shards.len());
        let workspace = WorkspaceId::new(now, &random);
        let stored = serde_json::json!({"id": workspace});
        let parts = shards_of_workspace(stored.as_object().unwrap()).unwrap();
        assert_eq!(parts.len(), 16);
        assert!(shards.iter().all(|shard| parts.contains(&format!("{}.{shard}", workspace.tag()))));
    }
}
