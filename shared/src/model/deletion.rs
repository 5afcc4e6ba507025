//! Tenants whose deletion was asked for, until they are purged.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::model::tenant::{Slug, Tenant};
use crate::store::entity::{Collection, Entity, InDirectory, Key};
use crate::store::page::List;
use crate::tenancy::{TenantId, stored};

/// `deletions` / `<due>#<tenant>`: in the order in which they are due, for the janitor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Deletion {
    #[serde(with = "stored")]
    pub tenant: TenantId,
    pub slug: Slug,
    pub account: u64,
    pub asked_at: Timestamp,
    pub due_at: Timestamp,
}

impl Deletion {
    /// Until then an operator can take it back.
    pub const GRACE: SignedDuration = SignedDuration::from_hours(7 * 24);
    /// Slugs and hostnames of a deleted tenant are nobody's for this long.
    pub const REST: SignedDuration = SignedDuration::from_hours(30 * 24);

    pub fn of(tenant: &Tenant, now: Timestamp) -> Self {
        Deletion { tenant: tenant.id, slug: tenant.slug.clone(), account: tenant.account, asked_at: now, due_at: now + Deletion::GRACE }
    }

    pub fn all() -> List<Self> {
        List::new(Deletion::collection(), "")
    }

    pub fn key_of(due_at: Timestamp, tenant: TenantId) -> Key<Self> {
        Key::new(&Deletion::collection(), format!("{:012}#{tenant}", due_at.as_second()))
    }

    fn collection() -> Collection {
        Collection::named("deletions")
    }
}

impl Entity for Deletion {
    type Scope = InDirectory;
    const TYPE: &'static str = "deletion";

    fn key(&self) -> Key<Self> {
        Deletion::key_of(self.due_at, self.tenant)
    }
}
