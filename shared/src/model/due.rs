//! Work that waits for its moment, of all tenants in one list: what is idle costs nothing.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::crypto::Random;
use crate::ids::{Segment, TenantId, WorkspaceTag, stored};
use crate::store::entity::{Collection, Entity, InDirectory, Key};
use crate::store::page::List;

/// `due` / `<moment>#<campaign>#<nonce>`: a campaign has something to do at a moment. Whoever makes it so writes this in the same transaction, and
/// whoever has done it deletes it. The nonce keeps the notes of two writers apart, so that none is deleted with another's work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DueWork {
    /// Not `at`, which says when an item was written.
    pub due_at: Timestamp,
    #[serde(with = "stored")]
    pub(crate) tenant: TenantId,
    pub campaign: String,
    nonce: String,
    /// How often it was brought to mind. Each time is a change, and so another job.
    pub rounds: u64,
}

impl DueWork {
    pub fn new(due_at: Timestamp, tenant: TenantId, campaign: impl Segment, random: &Random) -> Self {
        let nonce = random.text(b"0123456789abcdefghijklmnopqrstuv", 8);
        DueWork { due_at, tenant, campaign: campaign.to_string(), nonce, rounds: 0 }
    }

    /// The workspace of the campaign, by its id.
    pub(crate) fn workspace(&self) -> Option<WorkspaceTag> {
        WorkspaceTag::of_id(&self.campaign)
    }

    pub fn is_due(&self, now: Timestamp) -> bool {
        self.due_at <= now
    }

    /// For a fair share of a queue: the tenant.
    pub fn group(&self) -> String {
        self.tenant.to_string()
    }

    pub fn again(&self) -> Self {
        DueWork { rounds: self.rounds + 1, ..self.clone() }
    }

    /// In the order of their moments.
    pub fn all() -> List<Self> {
        List::new(DueWork::collection(), "")
    }

    fn collection() -> Collection {
        Collection::of::<DueWork>()
    }
}

impl Entity for DueWork {
    type Scope = InDirectory;
    const TYPE: &'static str = "due_work";
    const COLLECTION: &'static str = "due";

    fn key(&self) -> Key<Self> {
        Key::at(&DueWork::collection(), format!("{:012}#{}#{}", self.due_at.as_second(), self.campaign, self.nonce))
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("rounds", self.rounds)]
    }
}

/// A job: a campaign that is due shall go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdvanceCampaign {
    pub due: DueWork,
}
