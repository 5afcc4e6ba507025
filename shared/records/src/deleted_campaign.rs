//! What is left of a launched campaign that was deleted, until all that it held is gone.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::campaign::CampaignId;
use shared::store::{Collection, Entity, IN_WORKSPACE, InWorkspace, Key, Within};

/// `deleted-campaigns` / `<id>`: written when a campaign goes. The stream tells the relay, which asks for the sweep of its recipients and waves; a sweep
/// that has more to do writes the next round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeletedCampaign {
    pub id: CampaignId,
    pub deleted_at: Timestamp,
    pub round: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swept_at: Option<Timestamp>,
}

impl DeletedCampaign {
    const KEPT_AFTER_SWEEP: SignedDuration = SignedDuration::from_hours(24);

    pub fn new(id: CampaignId, now: Timestamp) -> Self {
        DeletedCampaign { id, deleted_at: now, round: 0, swept_at: None }
    }

    /// There is more to sweep.
    pub fn next_round(&self) -> Self {
        DeletedCampaign { round: self.round + 1, ..self.clone() }
    }

    pub fn swept(&self, now: Timestamp) -> Self {
        DeletedCampaign { swept_at: Some(now), ..self.next_round() }
    }

    pub fn key_of(id: CampaignId) -> Key<Self> {
        Key::new(&Collection::of::<DeletedCampaign>(), id)
    }
}

impl Entity for DeletedCampaign {
    type Scope = InWorkspace;
    const TYPE: &'static str = "deleted_campaign";
    const COLLECTION: &'static str = "deleted-campaigns";
    const WITHIN: Option<Within> = Some(IN_WORKSPACE);
    const AUDITED: bool = false;
    const EXPORTED: bool = false;

    fn key(&self) -> Key<Self> {
        DeletedCampaign::key_of(self.id)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("round", self.round)]
    }

    fn expires_at(&self) -> Option<Timestamp> {
        self.swept_at.map(|swept_at| swept_at + DeletedCampaign::KEPT_AFTER_SWEEP)
    }
}

/// A job of the clean-up queue: what a deleted campaign held.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
pub struct SweepCampaign {
    pub campaign: CampaignId,
}
