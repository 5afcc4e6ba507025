//! What an instance remembers for a short time: the owners of slugs, and when it last recorded the use of a key.

use jiff::{SignedDuration, Timestamp};

use crate::bounded::Bounded;
use crate::error::Result;
use crate::ids::ApiKeyId;
use crate::lock::Lock;
use crate::model::api_key::KeyUse;
use crate::model::tenant::{Slug, SlugClaim};
use crate::tenancy::{App, Directory, TenantId};

/// A tenant by id or slug.
pub(super) async fn tenant_named(app: &App, directory: &Directory, text: &str) -> Result<Option<TenantId>> {
    if let Some(id) = TenantId::parse(text) {
        return Ok(Some(id));
    }
    let Some(slug) = Slug::asked(text) else { return Ok(None) };
    if let Some(tenant) = app.instance_cache().slug_owner(&slug, directory.now()) {
        return Ok(Some(tenant));
    }
    let owner = directory.find(&SlugClaim::key_of(&slug)).await?.map(|claim| claim.tenant);
    if let Some(tenant) = owner {
        app.instance_cache().remember_slug(slug, tenant, directory.now());
    }
    Ok(owner)
}

pub struct InstanceCache {
    owners: Lock<Bounded<Slug, (TenantId, Timestamp)>>,
    uses: Lock<Bounded<ApiKeyId, Timestamp>>,
}

impl Default for InstanceCache {
    fn default() -> Self {
        InstanceCache {
            owners: Lock::new(Bounded::new(InstanceCache::REMEMBERED)),
            uses: Lock::new(Bounded::new(InstanceCache::REMEMBERED)),
        }
    }
}

impl InstanceCache {
    const REMEMBERED: usize = 10_000;
    /// Much shorter than the time for which a slug rests before another tenant can take it.
    const KEEP: SignedDuration = SignedDuration::from_mins(5);

    fn slug_owner(&self, slug: &Slug, now: Timestamp) -> Option<TenantId> {
        let mut owners = self.owners.lock();
        owners.get(slug).filter(|(_, seen_at)| now.duration_since(*seen_at).abs() < Self::KEEP).map(|(tenant, _)| *tenant)
    }

    fn remember_slug(&self, slug: Slug, tenant: TenantId, now: Timestamp) {
        self.owners.lock().insert(slug, (tenant, now));
    }

    /// Whether the use of a key must be recorded again.
    pub(super) fn is_use_due(&self, key: ApiKeyId, now: Timestamp) -> bool {
        let mut uses = self.uses.lock();
        let due = uses.get(&key).is_none_or(|last| now.duration_since(*last).abs() >= KeyUse::EVERY);
        if due {
            uses.insert(key, now);
        }
        due
    }
}
