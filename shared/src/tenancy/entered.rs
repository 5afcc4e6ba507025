//! What a request reads on its way in, and what stands behind the door.

use std::collections::HashMap;

use crate::error::Result;
use crate::ids::{SubaccountId, UserId};
use crate::store::Counter;
use crate::store::entity::{Entity, InDirectory, InTenant, Key};
use crate::store::table::{FullKey, Item, number};
use crate::tenancy::{Directory, RecordStore, TenantStore};

/// Records to be read in the door's round trip.
#[derive(Default, Clone)]
pub struct Wants {
    pub(crate) tenant: Vec<(String, String)>,
    pub(crate) counters: Vec<Counter>,
    /// The caller's own user record.
    pub(crate) user: bool,
    /// A child of the caller's agency.
    pub(crate) subaccount: Option<SubaccountId>,
    /// The list of tenants a person belongs to.
    pub(crate) belongs: bool,
}

impl Wants {
    pub(crate) fn record<E: Entity<Scope = InTenant>>(&mut self, key: &Key<E>) {
        self.tenant.push((key.collection.clone(), key.sort.clone()));
    }

    pub(crate) fn counter(&mut self, counter: Counter) {
        self.counters.push(counter);
    }
}

/// What stands behind the door: the stores, and what was read on the way in.
pub struct Entered {
    pub(crate) store: Option<TenantStore>,
    pub(crate) directory: Directory,
    /// `user:<id>`, or `visitor` with the caller's address.
    pub(crate) principal: String,
    pub(crate) user: Option<UserId>,
    pub(crate) read: HashMap<FullKey, Option<Item>>,
}

impl Entered {
    /// A record of the tenant: as read on the way in, or read now.
    pub(crate) async fn find<E: Entity<Scope = InTenant>>(&self, key: &Key<E>) -> Result<Option<E>> {
        let Some(store) = &self.store else { return Ok(None) };
        match self.read.get(&store.full(key)) {
            Some(item) => store.read(item.as_ref()),
            None => store.find(key).await,
        }
    }

    /// A record of the directory: as read on the way in, or read now.
    pub(crate) async fn find_open<E: Entity<Scope = InDirectory>>(&self, key: &Key<E>) -> Result<Option<E>> {
        match self.read.get(&self.directory.full(key)) {
            Some(item) => self.directory.read(item.as_ref()),
            None => self.directory.find(key).await,
        }
    }

    pub(crate) async fn count(&self, counter: Counter) -> Result<u64> {
        let Some(store) = &self.store else { return Ok(0) };
        match self.read.get(&store.counter(counter)) {
            Some(item) => Ok(item.as_ref().and_then(|item| number(item, "n")).unwrap_or(0)),
            None => store.count(counter).await,
        }
    }
}
