//! Work that waits for its moment, of all tenants in one list: what is idle costs nothing.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::crypto::Random;
use crate::ids::{Segment, TenantId, WorkspaceTag, stored};
use crate::store::entity::{Collection, Entity, InDirectory, Key};
use crate::store::page::List;

/// A note that something is due at a moment. A change of it brings a job by the stream, so whoever brings it to mind writes it again.
pub trait DueNote: Entity<Scope = InDirectory> + Sized {
    fn due_at(&self) -> Timestamp;

    /// How often it was brought to mind.
    fn rounds(&self) -> u32;

    /// It was brought to mind.
    fn again(&self) -> Self;

    fn is_of(&self, tenant: TenantId) -> bool;

    /// In the order of their moments.
    fn all() -> List<Self> {
        List::new(Collection::of::<Self>(), "")
    }

    fn is_due(&self, now: Timestamp) -> bool {
        self.due_at() <= now
    }

    /// Whether it is time to bring it to mind: when it is due, and then ever more rarely, so that work which cannot be done is not in the way of others'.
    fn is_worth(&self, now: Timestamp) -> bool {
        let minutes = (1_i64 << self.rounds().min(12)) - 1;
        now >= self.due_at().saturating_add(SignedDuration::from_mins(minutes)).unwrap_or(Timestamp::MAX)
    }
}

/// `due` / `<moment>#<campaign>`: a campaign has something to do at a moment. Whoever makes it so writes this in the same transaction, and whoever has
/// done it deletes it. Two who look at the same moment write the same note, so a campaign is looked at once however many mails it has sent. The mark
/// keeps what they write apart, so that none is deleted with another's work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DueWork {
    /// Not `at`, which says when an item was written.
    pub due_at: Timestamp,
    #[serde(with = "stored")]
    pub(crate) tenant: TenantId,
    pub campaign: String,
    /// Another one each time that it is written or brought to mind. Each is a change, and so another job.
    mark: u64,
    /// How often it was brought to mind.
    rounds: u32,
}

impl DueWork {
    pub fn new(due_at: Timestamp, tenant: TenantId, campaign: impl Segment, random: &Random) -> Self {
        let mark = u32::from_be_bytes(random.bytes()).into();
        DueWork { due_at, tenant, campaign: campaign.to_string(), mark, rounds: 0 }
    }

    /// The workspace of the campaign, by its id.
    pub(crate) fn workspace(&self) -> Option<WorkspaceTag> {
        WorkspaceTag::of_id(&self.campaign)
    }

    /// For a fair share of a queue: the tenant.
    pub fn group(&self) -> String {
        self.tenant.to_string()
    }

    /// Whether it lies where the other one does.
    pub fn replaces(&self, other: &Self) -> bool {
        (self.due_at.as_millisecond(), &self.campaign) == (other.due_at.as_millisecond(), &other.campaign)
    }
}

impl DueNote for DueWork {
    fn due_at(&self) -> Timestamp {
        self.due_at
    }

    fn rounds(&self) -> u32 {
        self.rounds
    }

    fn again(&self) -> Self {
        DueWork { mark: self.mark + 1, rounds: self.rounds + 1, ..self.clone() }
    }

    fn is_of(&self, tenant: TenantId) -> bool {
        self.tenant == tenant
    }
}

impl Entity for DueWork {
    type Scope = InDirectory;
    const TYPE: &'static str = "due_work";
    const COLLECTION: &'static str = "due";

    fn key(&self) -> Key<Self> {
        Key::at(&Collection::of::<DueWork>(), format!("{:015}#{}", self.due_at.as_millisecond(), self.campaign))
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("mark", self.mark)]
    }
}

/// A job: a campaign that is due shall go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdvanceCampaign {
    pub due: DueWork,
}

/// `due-deliveries` / `<moment>#<tenant>#<webhook>#<event>`: an event is to be delivered again at a moment that is too far away for a queue. It is written with
/// what plans the delivery, and deleted with what becomes of that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DueDelivery {
    /// Not `at`, which says when an item was written.
    pub due_at: Timestamp,
    #[serde(with = "stored")]
    pub(crate) tenant: TenantId,
    pub webhook: String,
    pub event: String,
    /// How often it was brought to mind. Each is a change, and so another job.
    rounds: u32,
}

impl DueDelivery {
    pub fn new(due_at: Timestamp, tenant: TenantId, webhook: impl Segment, event: impl Segment) -> Self {
        DueDelivery { due_at, tenant, webhook: webhook.to_string(), event: event.to_string(), rounds: 0 }
    }

    /// Whether it was ever brought to mind.
    pub fn is_reminder(&self) -> bool {
        self.rounds > 0
    }

    /// For a fair share of a queue: the tenant.
    pub fn group(&self) -> String {
        self.tenant.to_string()
    }

    /// Where it lies.
    pub fn place(&self) -> Key<Self> {
        self.key()
    }
}

impl DueNote for DueDelivery {
    fn due_at(&self) -> Timestamp {
        self.due_at
    }

    fn rounds(&self) -> u32 {
        self.rounds
    }

    fn again(&self) -> Self {
        DueDelivery { rounds: self.rounds + 1, ..self.clone() }
    }

    fn is_of(&self, tenant: TenantId) -> bool {
        self.tenant == tenant
    }
}

impl Entity for DueDelivery {
    type Scope = InDirectory;
    const TYPE: &'static str = "due_delivery";
    const COLLECTION: &'static str = "due-deliveries";

    fn key(&self) -> Key<Self> {
        let moment = self.due_at.as_millisecond();
        Key::at(&Collection::of::<DueDelivery>(), format!("{moment:015}#{}#{}#{}", self.tenant, self.webhook, self.event))
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("rounds", self.rounds.into())]
    }
}

/// A job: an event is to be delivered again now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemindDelivery {
    pub due_delivery: DueDelivery,
}

/// `due-anchors` / `<moment>#<tenant>`: what a tenant recorded of consent on a day is to be anchored, when nothing can be added to the day any more. The
/// relay writes it with the first that it sees, and the janitor deletes it when all is anchored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DueAnchor {
    /// Not `at`, which says when an item was written.
    pub due_at: Timestamp,
    #[serde(with = "stored")]
    pub(crate) tenant: TenantId,
    /// How often it was brought to mind. Each is a change, and so another job.
    rounds: u32,
}

impl DueAnchor {
    pub fn new(due_at: Timestamp, tenant: TenantId) -> Self {
        DueAnchor { due_at, tenant, rounds: 0 }
    }

    /// Whether it was ever brought to mind.
    pub fn is_reminder(&self) -> bool {
        self.rounds > 0
    }

    /// For a fair share of a queue: the tenant.
    pub fn group(&self) -> String {
        self.tenant.to_string()
    }
}

impl DueNote for DueAnchor {
    fn due_at(&self) -> Timestamp {
        self.due_at
    }

    fn rounds(&self) -> u32 {
        self.rounds
    }

    fn again(&self) -> Self {
        DueAnchor { rounds: self.rounds + 1, ..*self }
    }

    fn is_of(&self, tenant: TenantId) -> bool {
        self.tenant == tenant
    }
}

impl Entity for DueAnchor {
    type Scope = InDirectory;
    const TYPE: &'static str = "due_anchor";
    const COLLECTION: &'static str = "due-anchors";

    fn key(&self) -> Key<Self> {
        Key::at(&Collection::of::<DueAnchor>(), format!("{:015}#{}", self.due_at.as_millisecond(), self.tenant))
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("rounds", self.rounds.into())]
    }
}

/// A job: consents of a tenant are to be anchored now. It names the note; the directory says whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnchorConsents {
    pub due_anchor: DueAnchor,
}
