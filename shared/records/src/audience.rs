//! Whom a campaign writes to, and whom it leaves out. What it names may be gone when it is asked.

use serde::{Deserialize, Serialize};

use crate::campaign::CampaignId;
use crate::lead::LeadId;
use crate::lead_list::LeadListId;
use crate::segment::SegmentId;
use shared::crypto;
use shared::store::{Collection, Entity, IN_WORKSPACE, InWorkspace, Key, Restore, Within, restored};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audience {
    pub of: Chosen,
    #[serde(default, skip_serializing_if = "Exclusions::is_empty")]
    pub exclude: Exclusions,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Chosen {
    Leads(Vec<LeadId>),
    Lists(Vec<LeadListId>),
    Segment(SegmentId),
    /// As it was given; leads have it in any case.
    Tag(String),
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exclusions {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<LeadListId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<SegmentId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub campaigns: Vec<CampaignId>,
}

impl Exclusions {
    fn is_empty(&self) -> bool {
        *self == Exclusions::default()
    }
}

impl Audience {
    pub const MOST_LEADS: usize = 1_000;
    /// Lists, and campaigns that are excluded.
    pub const MOST_NAMED: usize = 20;

    /// What the record of a campaign knows of it.
    pub fn digest(&self) -> String {
        crypto::hash(&[&serde_json::to_vec(self).unwrap_or_default()])
    }

    /// The segments it names.
    pub fn segments(&self) -> Vec<SegmentId> {
        let chosen = if let Chosen::Segment(segment) = self.of { Some(segment) } else { None };
        chosen.into_iter().chain(self.exclude.segment).collect()
    }

    /// The lists it names.
    pub fn lists(&self) -> Vec<LeadListId> {
        let chosen = if let Chosen::Lists(lists) = &self.of { lists.as_slice() } else { &[] };
        chosen.iter().chain(&self.exclude.lists).copied().collect()
    }
}

/// `campaign-audiences` / `<campaign>`: apart from the campaign, since a thousand ids are large. Written and deleted with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CampaignAudience {
    pub campaign: CampaignId,
    pub audience: Audience,
}

impl CampaignAudience {
    pub fn key_of(campaign: CampaignId) -> Key<Self> {
        Key::new(&Collection::of::<CampaignAudience>(), campaign)
    }
}

impl Entity for CampaignAudience {
    type Scope = InWorkspace;
    const TYPE: &'static str = "campaign_audience";
    const COLLECTION: &'static str = "campaign-audiences";
    const WITHIN: Option<Within> = Some(IN_WORKSPACE);
    /// The campaign, which is written with it, is.
    const AUDITED: bool = false;
    const RESTORE: Option<Restore> = Some(restored::<CampaignAudience>);

    fn key(&self) -> Key<Self> {
        CampaignAudience::key_of(self.campaign)
    }
}
