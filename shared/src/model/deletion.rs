//! Tenants whose deletion was requested, until they are purged.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::crypto::SigningKey;
use crate::ids::{TenantId, stored};
use crate::model::tenant::{Slug, Tenant, TenantStatus};
use crate::store::entity::{Collection, Entity, InDirectory, Key};
use crate::store::page::List;

/// `deletions` / `<due>#<tenant>`: in the order in which the janitor purges them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Deletion {
    #[serde(with = "stored")]
    pub tenant: TenantId,
    pub slug: Slug,
    pub account: u64,
    pub asked_at: Timestamp,
    pub due_at: Timestamp,
    /// The status before the deletion. The tenant gets it back if the deletion is taken back.
    #[serde(default = "active")]
    pub status: TenantStatus,
    /// Items that purges have deleted so far.
    #[serde(default)]
    pub items: usize,
    #[serde(default)]
    pub version: u64,
}

fn active() -> TenantStatus {
    TenantStatus::Active
}

impl Deletion {
    /// Until then an operator can take the deletion back.
    pub const GRACE: SignedDuration = SignedDuration::from_hours(7 * 24);
    /// Slugs and hostnames of a deleted tenant cannot be taken for this long.
    pub const REST: SignedDuration = SignedDuration::from_hours(30 * 24);
    /// Requests that were running when a tenant was closed have ended after this time.
    pub const STILL_RUNNING: SignedDuration = SignedDuration::from_secs(60);

    pub fn of(tenant: &Tenant, now: Timestamp) -> Self {
        Deletion {
            tenant: tenant.id,
            slug: tenant.slug.clone(),
            account: tenant.account,
            asked_at: now,
            due_at: now + Deletion::GRACE,
            status: tenant.status,
            items: 0,
            version: 1,
        }
    }

    /// Due as soon as running requests have ended.
    pub fn due_now(&self, now: Timestamp) -> Self {
        let due_at = self.due_at.min(now + Deletion::STILL_RUNNING);
        Deletion { due_at, version: self.version + 1, ..self.clone() }
    }

    /// After a run that deleted this many items and is not finished.
    pub fn gone_on(&self, items: usize) -> Self {
        Deletion { items: self.items + items, version: self.version + 1, ..self.clone() }
    }

    pub fn all() -> List<Self> {
        List::new(Deletion::collection(), "")
    }

    pub fn key_of(due_at: Timestamp, tenant: TenantId) -> Key<Self> {
        Key::at(&Deletion::collection(), format!("{:012}#{tenant}", due_at.as_second()))
    }

    fn collection() -> Collection {
        Collection::of::<Deletion>()
    }
}

impl Entity for Deletion {
    type Scope = InDirectory;
    const TYPE: &'static str = "deletion";
    const COLLECTION: &'static str = "deletions";

    fn key(&self) -> Key<Self> {
        Deletion::key_of(self.due_at, self.tenant)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }
}

/// `receipts` / `<tenant>`: what remains of a purged tenant, as evidence. It contains none of the tenant's data.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Receipt {
    #[serde(with = "stored")]
    pub tenant: TenantId,
    pub slug: Slug,
    pub account: u64,
    pub asked_at: Timestamp,
    pub purged_at: Timestamp,
    /// The least number of items that were deleted. Runs that were interrupted are not counted.
    pub items: usize,
    /// Signs the facts above.
    pub hash: String,
}

impl Receipt {
    pub fn of(deletion: &Deletion, items: usize, now: Timestamp, key: &SigningKey) -> Self {
        let mut receipt = Receipt {
            tenant: deletion.tenant,
            slug: deletion.slug.clone(),
            account: deletion.account,
            asked_at: deletion.asked_at,
            purged_at: now,
            items: deletion.items + items,
            hash: String::new(),
        };
        receipt.hash = key.sign(&receipt.facts());
        receipt
    }

    /// Whether it is unchanged.
    pub fn holds(&self, key: &SigningKey) -> bool {
        key.verifies(&self.facts(), &self.hash)
    }

    fn facts(&self) -> String {
        format!("{} {} {} {} {} {}", self.tenant, self.slug, self.account, self.asked_at, self.purged_at, self.items)
    }

    pub fn all() -> List<Self> {
        List::new(Receipt::collection(), "")
    }

    pub fn key_of(tenant: TenantId) -> Key<Self> {
        Key::at(&Receipt::collection(), tenant.to_string())
    }

    fn collection() -> Collection {
        Collection::of::<Receipt>()
    }
}

impl Entity for Receipt {
    type Scope = InDirectory;
    const TYPE: &'static str = "receipt";
    const COLLECTION: &'static str = "receipts";

    fn key(&self) -> Key<Self> {
        Receipt::key_of(self.tenant)
    }
}
