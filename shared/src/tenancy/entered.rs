//! What a request reads on its way in, and what stands behind the door.

use std::collections::HashMap;

use crate::error::Result;
use crate::ids::{SubaccountId, UserId};
use crate::model::subaccount::Subaccount;
use crate::store::Counter;
use crate::store::entity::{Entity, InDirectory, InTenant, InWorkspace, Key, Owned, Scope};
use crate::store::table::{FullKey, Item, number};
use crate::tenancy::{Directory, RecordStore, Store, TenantStore, WorkspaceStore};

/// Records to be read in the door's round trip.
#[derive(Default, Clone)]
pub struct Wants {
    pub(crate) tenant: Vec<(String, String)>,
    /// Records of the workspace that the request enters.
    pub(crate) workspace: Vec<(String, String)>,
    /// What the door itself needs.
    pub(crate) full: Vec<FullKey>,
    /// Whether the request enters a workspace.
    pub(crate) enters_workspace: bool,
    /// What a person calls the record that the path names.
    pub(crate) noun: Option<&'static str>,
    pub(crate) counters: Vec<Counter>,
    /// The caller's own user record.
    pub(crate) user: bool,
    /// A child of the caller's agency.
    pub(crate) subaccount: Option<SubaccountId>,
    /// The list of tenants a person belongs to.
    pub(crate) belongs: bool,
}

impl Wants {
    /// A record of the tenant, or of the workspace.
    pub fn record<E: Entity<Scope: Owned>>(&mut self, key: &Key<E>) {
        let wanted = if <E::Scope as Scope>::WALLED { &mut self.workspace } else { &mut self.tenant };
        wanted.push((key.collection.clone(), key.sort.clone()));
    }

    /// A record of the directory.
    pub fn open<E: Entity<Scope = InDirectory>>(&mut self, key: &Key<E>) {
        self.full.push(FullKey { pk: Directory::partition(&key.collection), sk: key.sort.clone() });
    }

    /// The record that the path names.
    pub fn named<E: Entity<Scope: Owned>>(&mut self, key: &Key<E>) {
        self.means::<E>();
        self.record(key);
    }

    /// What a path is about, even where it names none that could exist.
    pub fn means<E: Entity>(&mut self) {
        self.noun = E::NOUN;
    }

    /// A counter of the workspace if the request enters one, else of the tenant.
    pub fn counter(&mut self, counter: Counter) {
        self.counters.push(counter);
    }

    /// A child of the caller's agency.
    pub fn child(&mut self, id: SubaccountId) {
        self.subaccount = Some(id);
    }

    /// The tenants that the caller belongs to.
    pub fn tenants(&mut self) {
        self.belongs = true;
    }
}

/// What stands behind the door: the stores, and what was read on the way in.
pub struct Entered {
    pub(crate) store: Option<TenantStore>,
    /// The workspace that the request entered.
    pub(crate) workspace: Option<WorkspaceStore>,
    pub(crate) directory: Directory,
    /// `user:<id>`, or `visitor` with the caller's address.
    pub(crate) principal: String,
    pub(crate) user: Option<UserId>,
    pub(crate) read: HashMap<FullKey, Option<Item>>,
}

impl Entered {
    /// The tenant's store; `None` where the door opens no tenant.
    pub fn store(&self) -> Option<&TenantStore> {
        self.store.as_ref()
    }

    /// A record of the tenant, or of the workspace: as read on the way in, or read now.
    pub async fn find<E: Entity<Scope: Reachable>>(&self, key: &Key<E>) -> Result<Option<E>> {
        let Some(store) = <E::Scope as Reachable>::store(self) else { return Ok(None) };
        match self.read.get(&store.full(key)) {
            Some(item) => store.read(item.as_ref()),
            None => store.find(key).await,
        }
    }

    /// A record of the directory: as read on the way in, or read now.
    pub async fn find_open<E: Entity<Scope = InDirectory>>(&self, key: &Key<E>) -> Result<Option<E>> {
        match self.read.get(&self.directory.full(key)) {
            Some(item) => self.directory.read(item.as_ref()),
            None => self.directory.find(key).await,
        }
    }

    /// A child of the caller's agency: as read on the way in, or read now.
    pub async fn child(&self, id: SubaccountId) -> Result<Option<Subaccount>> {
        match &self.store {
            Some(agency) => self.find_open(&Subaccount::key_of(agency.tenant_id(), id)).await,
            None => Ok(None),
        }
    }

    /// A counter of the workspace if the request entered one, else of the tenant.
    pub async fn count(&self, counter: Counter) -> Result<u64> {
        match (&self.workspace, &self.store) {
            (Some(workspace), _) => self.count_in(workspace, counter).await,
            (None, Some(store)) => self.count_in(store, counter).await,
            (None, None) => Ok(0),
        }
    }

    async fn count_in<S: Owned>(&self, store: &Store<S>, counter: Counter) -> Result<u64> {
        match self.read.get(&store.counter(counter)) {
            Some(item) => Ok(item.as_ref().and_then(|item| number(item, "n")).unwrap_or(0)),
            None => store.count(counter).await,
        }
    }
}

/// A scope whose store a request may have entered.
pub trait Reachable: Owned {
    #[doc(hidden)]
    fn store(entered: &Entered) -> Option<&Store<Self>>;
}

impl Reachable for InTenant {
    fn store(entered: &Entered) -> Option<&TenantStore> {
        entered.store.as_ref()
    }
}

impl Reachable for InWorkspace {
    fn store(entered: &Entered) -> Option<&WorkspaceStore> {
        entered.workspace.as_ref()
    }
}
