//! The directory: facts that belong to no tenant ("whose e-mail is this, whose slug, whose session?"). It answers with an owner, never with
//! a tenant's data. It can also create a store for a new tenant, whose id is new and therefore not another tenant's.

use std::sync::Arc;

use jiff::Timestamp;

use crate::crypto::Random;
use crate::error::{Error, Result};
use crate::store::entity::{Entity, InDirectory, Key, attributes};
use crate::store::page::{self, Direction, List, Page, Span};
use crate::store::sweep::{self, Swept};
use crate::store::table::{Condition, FullKey, Item, Query, Table};
use crate::tenancy::record_store::{Origin, RecordStore, record_of};
use crate::tenancy::transaction::Transaction;
use crate::tenancy::{TenantId, TenantStore};

#[derive(Clone)]
pub struct Directory {
    table: Table,
    random: Arc<Random>,
    now: Timestamp,
    origin: Arc<Origin>,
}

/// Numbers of the whole deployment.
#[derive(Debug, Clone, Copy)]
pub enum GlobalCounter {
    /// Account numbers that were used.
    Accounts,
    /// Existing demo tenants.
    ActiveDemos,
    /// Subaccounts of an agency that are not closed.
    Subaccounts(TenantId),
}

impl Directory {
    pub(super) fn partition(collection: &str) -> String {
        format!("G#{collection}")
    }

    pub(super) fn open(table: Table, random: Arc<Random>, now: Timestamp, origin: Arc<Origin>) -> Self {
        Directory { table, random, now, origin }
    }

    pub fn now(&self) -> Timestamp {
        self.now
    }

    pub fn random(&self) -> &Random {
        &self.random
    }

    pub async fn find<E: Entity<Scope = InDirectory>>(&self, key: &Key<E>) -> Result<Option<E>> {
        let item = self.table.get(self.full(key), true).await?;
        self.read(item.as_ref())
    }

    /// A record that may have expired but was not deleted yet, so that its owner can be told.
    pub async fn find_expired_too<E: Entity<Scope = InDirectory>>(&self, key: &Key<E>) -> Result<Option<E>> {
        self.table.get(self.full(key), true).await?.as_ref().map(record_of).transpose()
    }

    pub async fn get<E: Entity<Scope = InDirectory>>(&self, key: &Key<E>) -> Result<E> {
        self.find(key).await?.ok_or(Error::NotFound)
    }

    /// Several records at once; missing ones are left out.
    pub async fn find_many<E: Entity<Scope = InDirectory>>(&self, keys: &[Key<E>]) -> Result<Vec<E>> {
        if keys.is_empty() {
            return Ok(vec![]);
        }
        let keys: Vec<FullKey> = keys.iter().map(|key| self.full(key)).collect();
        let items = self.table.get_of(&keys, attributes::<E>().as_deref()).await?;
        items.iter().filter_map(|item| self.read(item.as_ref()).transpose()).collect()
    }

    pub async fn create<E: Entity<Scope = InDirectory>>(&self, entity: &E, exists: impl FnOnce() -> Error) -> Result<()> {
        let item = self.item(entity)?;
        match self.table.put(item.clone(), Some(&Condition::absent())).await? {
            Ok(()) => Ok(()),
            Err(refused) if refused.0.as_ref() == Some(&item) => Ok(()),
            Err(_) => Err(exists()),
        }
    }

    /// Writes a record that must still equal `before`. `false` if it changed.
    pub async fn replace_if<E: Entity<Scope = InDirectory>>(&self, entity: &E, before: &E) -> Result<bool> {
        let item = self.item(entity)?;
        match self.table.put(item.clone(), Some(&Condition::unchanged(&before.guard()))).await? {
            Ok(()) => Ok(true),
            Err(refused) => Ok(refused.0.as_ref() == Some(&item)),
        }
    }

    /// Deletes a record. `false` if it did not exist.
    pub async fn delete<E: Entity<Scope = InDirectory>>(&self, key: &Key<E>) -> Result<bool> {
        Ok(self.table.delete(self.full(key), Some(&Condition::present())).await?.is_ok())
    }

    /// All records of a list. Only for lists that are always short (a person's sessions, the active demos).
    pub async fn all<E: Entity<Scope = InDirectory>>(&self, list: &List<E>) -> Result<Vec<E>> {
        let mut records = self.all_expired_too(list).await?;
        records.retain(|record| record.expires_at().is_none_or(|expires_at| expires_at > self.now));
        Ok(records)
    }

    /// The same with records that have expired but were not deleted yet.
    pub async fn all_expired_too<E: Entity<Scope = InDirectory>>(&self, list: &List<E>) -> Result<Vec<E>> {
        let mut records = vec![];
        let mut after = None;
        loop {
            let (items, next) = self
                .table
                .query(Query {
                    pk: Directory::partition(&list.collection.0),
                    prefix: list.prefix.clone(),
                    index: None,
                    forward: list.direction == Direction::Ascending,
                    consistent: true,
                    after,
                    limit: None,
                    attributes: None,
                })
                .await?;
            for item in items {
                records.push(record_of(&item)?);
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(records),
            }
        }
    }

    /// The page of a list that `span` asks for, in the order of the sort keys.
    pub async fn page<E: Entity<Scope = InDirectory>>(&self, list: &List<E>, span: &Span, keep: impl Fn(&E) -> bool) -> Result<Page<E>> {
        let pk = Directory::partition(&list.collection.0);
        page::read(&self.table, pk, list, span, usize::MAX, |item| Ok(self.read::<E>(Some(item))?.filter(&keep))).await
    }

    /// The first `at_most` records of a list, for work that is done in portions.
    pub async fn first<E: Entity<Scope = InDirectory>>(&self, list: &List<E>, at_most: usize) -> Result<Vec<E>> {
        let (items, _) = self
            .table
            .query(Query {
                pk: Directory::partition(&list.collection.0),
                prefix: list.prefix.clone(),
                index: None,
                forward: list.direction == Direction::Ascending,
                consistent: true,
                after: None,
                limit: Some(i32::try_from(at_most).unwrap_or(i32::MAX)),
                attributes: None,
            })
            .await?;
        items.iter().filter_map(|item| self.read(Some(item)).transpose()).collect()
    }

    /// Deletes the records of a list, expired or not, at most `at_most`. For the janitor.
    pub async fn clear<E: Entity<Scope = InDirectory>>(&self, list: &List<E>, at_most: usize) -> Result<Swept> {
        sweep::sweep(&self.table, &Directory::partition(&list.collection.0), &list.prefix, at_most, |_| Ok(true)).await
    }

    /// Deletes a record, expired or not, if its attribute `holder` still is `held_by`.
    pub async fn release<E: Entity<Scope = InDirectory>>(&self, key: &Key<E>, holder: &'static str, held_by: &str) -> Result<bool> {
        Ok(self.table.delete(self.full(key), Some(&Condition::held_by(holder, held_by))).await?.is_ok())
    }

    pub fn transaction(&self) -> Transaction<'_> {
        Transaction::new(self.table.clone(), &self.random)
    }

    /// A store for a tenant that does not exist yet. Its id is generated here, so it cannot be another tenant's.
    pub fn new_tenant_store(&self) -> TenantStore {
        let tenant = TenantId::new(&self.random);
        TenantStore::open(tenant, self.table.clone(), self.random.clone(), self.now, self.origin.clone())
    }

    /// The same directory for writing into a child of the caller's agency. What the child stores does not name the person.
    pub(super) fn delegated(&self, delegate: &str) -> Directory {
        let origin = Origin { actor: delegate.to_owned(), request: self.origin.request.clone() };
        Directory { origin: origin.into(), ..self.clone() }
    }

    /// The next account number. A number that is lost by a later failure is not used again.
    pub async fn next_number(&self, counter: GlobalCounter) -> Result<u64> {
        self.table.add(Self::counter(counter), "n", 1, None).await
    }

    /// Deletes a counter whose subject no longer exists.
    pub async fn forget(&self, counter: GlobalCounter) -> Result<()> {
        self.table.delete(Self::counter(counter), None).await.map(|_| ())
    }

    pub(crate) fn counter(counter: GlobalCounter) -> FullKey {
        let name = match counter {
            GlobalCounter::Accounts => "accounts".to_owned(),
            GlobalCounter::ActiveDemos => "active_demos".to_owned(),
            GlobalCounter::Subaccounts(agency) => format!("subaccounts#{agency}"),
        };
        FullKey { pk: "G#counters".into(), sk: name }
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// For the doors that work without a caller: the tenant of a job or a record.
    pub(super) fn enter(&self, tenant: TenantId) -> TenantStore {
        TenantStore::open(tenant, self.table.clone(), self.random.clone(), self.now, self.origin.clone())
    }

    pub(crate) fn read<E: Entity<Scope = InDirectory>>(&self, item: Option<&Item>) -> Result<Option<E>> {
        let Some(item) = item else { return Ok(None) };
        let record: E = record_of(item)?;
        Ok(record.expires_at().is_none_or(|expires_at| expires_at > self.now).then_some(record))
    }
}
