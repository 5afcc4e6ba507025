//! The store of one tenant, or of one workspace of a tenant. Whoever holds it can reach its partitions and no other: every key it builds begins with
//! its own tenant and names its own workspace, and every item it reads is compared with them once more.

use std::marker::PhantomData;
use std::sync::Arc;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::crypto::Random;
use crate::error::{Error, Result};
use crate::ids::WorkspaceTag;
use crate::model::audit::{self, AuditEntry, Removal, ResourceChange};
use crate::model::tenant::Tenant;
use crate::store::entity::{
    Counter, Entity, InTenant, InWorkspace, Key, ListEntry, Listed, Owned, WORKSPACE, attributes, is_bookkeeping, not_found,
};
use crate::store::item;
use crate::store::page::{self, Direction, List, Page, Position, RankedPage, Span, Stored, Window};
use crate::store::records::{Anything, COUNTERS};
use crate::store::sweep::{self, Swept};
use crate::store::table::{Condition, FullKey, Item, Query, Table, borrowed, number, text};
use crate::tenancy::TenantId;
use crate::tenancy::record_store::{Origin, RecordStore, record_of};
use crate::tenancy::together::Together;
use crate::tenancy::transaction::{self, Transaction};

#[derive(Clone)]
pub struct Store<S> {
    tenant: TenantId,
    /// For the store of a workspace.
    workspace: Option<WorkspaceTag>,
    table: Table,
    random: Arc<Random>,
    now: Timestamp,
    origin: Arc<Origin>,
    scope: PhantomData<fn() -> S>,
}

/// For what belongs to the tenant itself.
pub type TenantStore = Store<InTenant>;
/// For what belongs to one workspace.
pub type WorkspaceStore = Store<InWorkspace>;

impl TenantStore {
    /// Only a door opens a store.
    pub(super) fn open(tenant: TenantId, table: Table, random: Arc<Random>, now: Timestamp, origin: Arc<Origin>) -> Self {
        Store { tenant, workspace: None, table: table.acting_for((tenant, None)), random, now, origin, scope: PhantomData }
    }

    /// The store of a workspace of this tenant. It may only be handed out to those who may enter the workspace.
    pub(super) fn workspace(&self, workspace: WorkspaceTag) -> WorkspaceStore {
        let Store { tenant, table, random, now, origin, .. } = self.clone();
        Store { tenant, workspace: Some(workspace), table, random, now, origin, scope: PhantomData }
    }
}

impl WorkspaceStore {
    /// The workspace, as ids within it name it.
    pub fn tag(&self) -> WorkspaceTag {
        self.workspace.unwrap_or(WorkspaceTag::NONE)
    }
}

impl<S: Owned> Store<S> {
    pub fn tenant_id(&self) -> TenantId {
        self.tenant
    }

    /// The moment of the request.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    pub fn random(&self) -> &Random {
        &self.random
    }

    /// A record that may be missing. Consistent.
    pub async fn find<E: Entity<Scope = S>>(&self, key: &Key<E>) -> Result<Option<E>> {
        let item = self.table.get(self.full(key), true).await?;
        self.read(item.as_ref())
    }

    /// A record that must be there, else `NotFound`.
    pub async fn get<E: Entity<Scope = S>>(&self, key: &Key<E>) -> Result<E> {
        self.find(key).await?.ok_or(not_found::<E>())
    }

    /// Several records at once, in the order asked; missing ones are left out.
    pub async fn find_many<E: Entity<Scope = S>>(&self, keys: &[Key<E>]) -> Result<Vec<E>> {
        if keys.is_empty() {
            return Ok(vec![]);
        }
        let keys: Vec<FullKey> = keys.iter().map(|key| self.full(key)).collect();
        let items = self.table.get_of(&keys, attributes::<E>().as_deref()).await?;
        items.iter().filter_map(|item| self.read(item.as_ref()).transpose()).collect()
    }

    /// Records of several types in one round trip. Consistent. They are not of one moment: one may have changed before another was read.
    pub async fn find_together<T: Together<S>>(&self, keys: T) -> Result<T::Found> {
        T::read(self, &self.table.get_many(&keys.full(self)).await?)
    }

    /// Writes one record that must not exist yet.
    pub async fn create<E: Entity<Scope = S>>(&self, entity: &E, exists: impl FnOnce() -> Error) -> Result<()> {
        let item = self.item(entity)?;
        match self.table.put(item.clone(), Some(&Condition::absent())).await? {
            Ok(()) => Ok(()),
            // The first answer was lost and the SDK asked again: the item that stands there is ours. Those of others have another request or moment, so what
            // one invocation does at the same time must differ in what it writes.
            Err(refused) if refused.0.as_ref() == Some(&item) => Ok(()),
            Err(_) => Err(exists()),
        }
    }

    /// Writes a record that must still equal `before`. `false` if it changed.
    pub async fn replace_if<E: Entity<Scope = S>>(&self, entity: &E, before: &E) -> Result<bool> {
        let item = self.item(entity)?;
        match self.table.put(item.clone(), Some(&Condition::unchanged(&before.guard()))).await? {
            Ok(()) => Ok(true),
            Err(refused) => Ok(refused.0.as_ref() == Some(&item)),
        }
    }

    /// Changes a record, from `current` as it was read. `change` gives the new record and what must happen in the same transaction, or `None`
    /// to leave all as it is. If somebody else wrote first, `change` is called again with the newer record. So no edit is
    /// lost, and a precondition is checked against the record that is really replaced.
    pub async fn edit<'a, E, F>(&'a self, current: E, change: F) -> Result<E>
    where
        E: Entity<Scope = S>,
        F: Fn(&E, Transaction<'a>) -> Result<Option<(E, Transaction<'a>)>>,
    {
        let mut current = current;
        for _ in 0..10 {
            let Some((changed, with)) = change(&current, self.transaction())? else { return Ok(current) };
            let same_place = self.full(&changed.key()) == self.full(&current.key());
            let newer = if same_place && with.is_empty() {
                let item = self.item(&changed)?;
                match self.table.put(item.clone(), Some(&Condition::unchanged(&current.guard()))).await? {
                    Ok(()) => None,
                    Err(refused) if refused.0.as_ref() == Some(&item) => None,
                    Err(refused) => Some(refused.0),
                }
            } else {
                let with_record = if same_place {
                    self.transaction().replace(self, &changed, &current)?
                } else {
                    let moved = transaction::changed::<E>();
                    self.transaction().delete_unchanged(self, &current)?.create(self, &changed, moved)?
                };
                with_record.and(with).commit_or_changed().await?
            };
            let Some(newer) = newer else { return Ok(changed) };
            current = self.read(newer.as_ref())?.ok_or(not_found::<E>())?;
        }
        Err(Error::contested())
    }

    /// Deletes one record that must be there.
    pub async fn delete<E: Entity<Scope = S>>(&self, key: &Key<E>) -> Result<()> {
        self.table.delete(self.full(key), Some(&Condition::present())).await?.map_err(|_| not_found::<E>())
    }

    /// Deletes a record, from `current` as it was read, with what `also` adds to the same transaction. When somebody else was quicker,
    /// `also` is asked again about the record as it is then.
    pub async fn remove<'a, E, F>(&'a self, current: E, also: F) -> Result<()>
    where
        E: Entity<Scope = S>,
        F: Fn(&E, Transaction<'a>) -> Result<Transaction<'a>>,
    {
        let mut current = current;
        for _ in 0..10 {
            let also = also(&current, self.transaction())?;
            let Some(newer) = self.delete_audited(self.transaction(), &current)?.and(also).commit_or_changed().await? else {
                return Ok(());
            };
            current = self.read(newer.as_ref())?.ok_or(not_found::<E>())?;
        }
        Err(Error::contested())
    }

    /// Adds the deletion of `current`, as it was read, to a transaction, with the `Removal` for the audit log.
    pub fn delete_audited<'a, E: Entity<Scope = S>>(&self, transaction: Transaction<'a>, current: &E) -> Result<Transaction<'a>> {
        let transaction = transaction.delete_unchanged(self, current)?;
        match self.removal(current)? {
            Some(removal) => transaction.put(&self.of_tenant(), &removal),
            None => Ok(transaction),
        }
    }

    /// The `Removal` of a deleted record, if its type is audited.
    fn removal<E: Entity<Scope = S>>(&self, gone: &E) -> Result<Option<Removal>> {
        if !E::AUDITED {
            return Ok(None);
        }
        let resource = E::TYPE;
        let item = self.item(gone)?;
        let id = audited_id(item.get("id").and_then(|id| id.as_s().ok()), self.workspace_tag().as_ref(), &gone.key().sort);
        let attributes = item::read(&item).map_err(|error| Error::internal("describing a removal", error))?;
        Ok(Some(Removal::new(resource, id, audit::digest(&attributes), &self.origin.request, self.now)))
    }

    pub fn transaction(&self) -> Transaction<'_> {
        Transaction::new(self.table.clone(), &self.random)
    }

    /// The page of a list that `span` asks for, in the order of the sort keys and read consistently. `keep` is asked of every record;
    /// records it turns down take no place on the page.
    pub async fn page<E: Entity<Scope = S>>(&self, list: &List<E>, span: &Span, keep: impl Fn(&E) -> bool) -> Result<Page<E>> {
        let pk = self.partition(&list.collection.0);
        page::read(&self.table, pk, list, span, usize::MAX, |item| Ok(self.read::<E>(Some(item))?.filter(&keep))).await
    }

    /// The same of a long list in which few may be kept: a page that looked at about `most` records ends there, however short it is, and the next goes on.
    pub async fn page_within<E: Entity<Scope = S>>(
        &self,
        list: &List<E>,
        span: &Span,
        most: usize,
        keep: impl Fn(&E) -> bool,
    ) -> Result<Page<E>> {
        let pk = self.partition(&list.collection.0);
        page::read(&self.table, pk, list, span, most, |item| Ok(self.read::<E>(Some(item))?.filter(&keep))).await
    }

    /// All records of a list, however many; for lists that are small by nature.
    pub async fn all<E: Entity<Scope = S>>(&self, list: &List<E>) -> Result<Vec<E>> {
        let mut records = vec![];
        let mut after = None;
        loop {
            let query = Query {
                pk: self.partition(&list.collection.0),
                prefix: list.prefix.clone(),
                index: None,
                forward: list.direction == Direction::Ascending,
                consistent: true,
                after,
                limit: None,
                attributes: attributes::<E>(),
            };
            let (found, next) = self.table.query(query).await?;
            for item in found {
                records.extend(self.read(Some(&item))?);
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(records),
            }
        }
    }

    /// At most `at_most` records of a list after a key, read consistently, and the key to continue after, if there are more.
    pub async fn after<E: Entity<Scope = S>>(
        &self,
        list: &List<E>,
        place: Option<&Key<E>>,
        at_most: usize,
    ) -> Result<(Vec<E>, Option<Key<E>>)> {
        let query = Query {
            pk: self.partition(&list.collection.0),
            prefix: list.prefix.clone(),
            index: None,
            forward: list.direction == Direction::Ascending,
            consistent: true,
            after: place.map(|key| key.sort.clone()),
            limit: Some(i32::try_from(at_most).unwrap_or(i32::MAX)),
            attributes: None,
        };
        let (found, next) = self.table.query(query).await?;
        let mut records = vec![];
        for item in found {
            records.extend(self.read(Some(&item))?);
        }
        Ok((records, next.map(|sort| list.key(sort))))
    }

    /// The page of a list that `span` asks for, in the order of what `rank` gives for each line of the `lists` index, in the direction of the list;
    /// `None` leaves a record out. One pass over the lines serves any order and filter. The index may trail the table by its propagation time.
    pub async fn ranked<E, K>(&self, list: &List<E>, span: Span, rank: impl Fn(E::Entry) -> Option<K>) -> Result<RankedPage<E>>
    where
        E: Listed + Entity<Scope = S>,
        K: Ord + Serialize + DeserializeOwned,
    {
        let mut window = Window::new(span, list.direction)?;
        self.each_line(list, None, |sort_key, entry| {
            if let Some(key) = rank(entry) {
                window.add(key, sort_key);
            }
        })
        .await?;
        let (sort_keys, next, total) = window.finish();
        let keys: Vec<_> = sort_keys.into_iter().map(|sort_key| list.key(sort_key)).collect();
        Ok(RankedPage { items: self.find_many(&keys).await?, next, total })
    }

    /// All lines of a list in the `lists` index, without the records; for lists that are small by nature, of records that are large.
    pub async fn lines<E: Listed + Entity<Scope = S>>(&self, list: &List<E>) -> Result<Vec<E::Entry>> {
        let mut entries = vec![];
        self.each_line(list, None, |_, entry| entries.push(entry)).await?;
        Ok(entries)
    }

    /// The first lines of such a list, however long it is. There may be more where it gives fewer than `at_most`.
    pub async fn first_lines<E: Listed + Entity<Scope = S>>(&self, list: &List<E>, at_most: usize) -> Result<Vec<E::Entry>> {
        let mut entries = vec![];
        self.each_line(list, Some(at_most), |_, entry| entries.push(entry)).await?;
        Ok(entries)
    }

    /// `at_most`: of the first page, and no others.
    async fn each_line<E: Listed + Entity<Scope = S>>(
        &self,
        list: &List<E>,
        at_most: Option<usize>,
        mut visit: impl FnMut(String, E::Entry),
    ) -> Result<()> {
        let mut after = None;
        loop {
            let query = Query {
                pk: self.partition(&list.collection.0),
                prefix: list.prefix.clone(),
                index: Some("lists"),
                forward: true,
                consistent: false,
                after,
                limit: at_most.map(|at_most| i32::try_from(at_most).unwrap_or(i32::MAX)),
                attributes: Some(vec!["sk", ListEntry::ATTRIBUTE]),
            };
            let (found, next) = self.table.query(query).await?;
            for line in &found {
                let Line { sk, list_entry } = item::read(line).map_err(|error| Error::internal("reading the lists index", error))?;
                visit(sk, list_entry);
            }
            match next {
                Some(next) if at_most.is_none() => after = Some(next),
                _ => return Ok(()),
            }
        }
    }

    /// Deletes the records of a list that are `doomed`, `at_most` of them. For the janitor.
    pub async fn sweep<E: Entity<Scope = S>>(&self, list: &List<E>, at_most: usize, doomed: impl Fn(&E) -> bool) -> Result<Swept> {
        let pk = self.partition(&list.collection.0);
        sweep::sweep(&self.table, &pk, &list.prefix, at_most, |item| record_of::<E>(item).map(|record| doomed(&record))).await
    }

    pub async fn count(&self, counter: Counter) -> Result<u64> {
        let item = self.table.get(self.counter(counter), true).await?;
        Ok(item.as_ref().and_then(|item| number(item, "n")).unwrap_or(0))
    }

    /// Gives out the next number of a counter; a number lost to a later failure is never given again.
    pub async fn next_number(&self, counter: Counter) -> Result<u64> {
        self.table.add(self.counter(counter), "n", 1, None).await
    }

    pub(crate) fn counter(&self, counter: Counter) -> FullKey {
        FullKey { pk: self.partition(COUNTERS), sk: counter.name().into() }
    }

    /// Of a collection of this tenant, or of this workspace: `T#<tenant>#<name>[#<part>]` or `T#<tenant>#<name>#<workspace>[.<part>]`.
    pub(super) fn partition(&self, collection: &str) -> String {
        let Some(workspace) = self.workspace else { return TenantStore::partition_of(self.tenant, collection) };
        match collection.split_once('#') {
            None => format!("T#{}#{collection}#{workspace}", self.tenant),
            Some((name, part)) => format!("T#{}#{name}#{workspace}.{part}", self.tenant),
        }
    }

    /// The table as this tenant's session sees it.
    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    /// The store of the tenant itself.
    fn of_tenant(&self) -> TenantStore {
        let Store { tenant, table, random, now, origin, .. } = self.clone();
        Store { tenant, workspace: None, table, random, now, origin, scope: PhantomData }
    }

    /// The tag of the workspace as items carry it.
    pub(super) fn workspace_tag(&self) -> Option<String> {
        self.workspace.map(|workspace| workspace.to_string())
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) fn read<E: Entity<Scope = S>>(&self, item: Option<&Item>) -> Result<Option<E>> {
        let Some(item) = item else { return Ok(None) };
        self.is_own(item)?;
        let record: E = record_of(item)?;
        Ok(record.expires_at().is_none_or(|expires_at| expires_at > self.now).then_some(record))
    }

    fn is_own(&self, item: &Item) -> Result<()> {
        self.is_of_tenant(item)?;
        if borrowed(item, WORKSPACE) == self.workspace_tag().as_deref() {
            return Ok(());
        }
        Err(Error::internal("reading a record", "an item of one workspace lay in the partition of another"))
    }

    fn is_of_tenant(&self, item: &Item) -> Result<()> {
        if borrowed(item, "tenant").and_then(TenantId::parse) == Some(self.tenant) {
            return Ok(());
        }
        Err(Error::internal("reading a record", "an item of one tenant lay in the partition of another"))
    }
}

/// The audit log, and what knows no types: purge and export, which also walk over the workspaces.
impl TenantStore {
    pub(super) fn partition_of(tenant: TenantId, collection: &str) -> String {
        format!("T#{tenant}#{collection}")
    }

    /// Adds a change to the audit log, for a request that passed its door. Adding it twice leaves one.
    pub(super) async fn audited(&self, by: &Origin, at: Timestamp, change: &ResourceChange) -> Result<()> {
        self.write_entry(by, at, change, false).await
    }

    /// The same for changes from the stream, which arrive late. Nothing is written for a tenant that is being or was purged. A purge closes the
    /// tenant first, and begins only after it was leaving for a while. So only for a leaving tenant does the transaction check that it is kept
    /// (`while_kept`).
    pub(super) async fn audited_late(&self, by: &Origin, at: Timestamp, change: &ResourceChange) -> Result<()> {
        let Some(tenant) = self.find(&Tenant::key_of()).await? else { return Ok(()) };
        match self.write_entry(by, at, change, tenant.is_leaving(self.now)).await {
            Err(Error::NotFound) => Ok(()),
            written => written,
        }
    }

    async fn write_entry(&self, by: &Origin, at: Timestamp, change: &ResourceChange, while_kept: bool) -> Result<()> {
        let text = serde_json::to_string(change).map_err(|error| Error::internal("writing the audit log", error))?;
        let name = format!("{}{}:{}", AuditEntry::CHANGE, change.resource, change.id);
        let sets = [
            ("tenant", self.tenant.to_string()),
            ("type", AuditEntry::TYPE.to_owned()),
            ("request", by.request.clone()),
            ("actor", by.actor.clone()),
            ("at", at.to_string()),
            (name.as_str(), text),
        ];
        let entry = self.full(&AuditEntry::key_at(at, &by.request));
        if while_kept {
            return self.transaction().while_kept(self)?.set(Some(self.tenant), entry, &sets)?.commit().await;
        }
        self.table.update("writing the audit log", entry, &sets, &[], None).await.map(|_| ())
    }

    /// Records of a list of whatever type, as they are stored, and where to go on. For the export and the purge, which know no types; what
    /// is sealed comes sealed.
    pub async fn stored<E>(&self, list: &List<E>, after: Option<Position>, at_most: i32) -> Result<(Vec<Stored>, Option<Position>)> {
        let query = Query {
            pk: self.partition(&list.collection.0),
            prefix: list.prefix.clone(),
            index: None,
            forward: true,
            consistent: true,
            after: after.map(|position| position.0),
            limit: Some(at_most),
            attributes: None,
        };
        let (found, next) = self.table.query(query).await?;
        let records = found.into_iter().map(|item| {
            self.is_of_tenant(&item)?;
            let (kind, key) = (text(&item, "type"), text(&item, "sk"));
            let workspace = borrowed(&item, WORKSPACE).map(str::to_owned);
            let expired = number(&item, "ttl").is_some_and(|ttl| i64::try_from(ttl).is_ok_and(|ttl| ttl <= self.now.as_second()));
            let data = item.into_iter().filter(|(name, _)| !is_bookkeeping(name)).collect::<Item>();
            let data = item::read(&data).map_err(|error| Error::internal("reading a record", error))?;
            Ok(Stored { kind, position: Position(key.clone()), key, workspace, data, expired })
        });
        Ok((records.collect::<Result<_>>()?, next.map(Position)))
    }

    /// Deletes all that the partition of a list holds, of whatever type and expired or not, `at_most` of it. For the janitor.
    pub async fn clear<E>(&self, list: &List<E>, at_most: usize) -> Result<Swept> {
        sweep::sweep(&self.table, &self.partition(&list.collection.0), "", at_most, |_| Ok(true)).await
    }

    /// Deletes a record of whatever type where it lies, if it is there. For the janitor.
    pub async fn erase(&self, list: &List<Anything>, position: &Position) -> Result<()> {
        let key = FullKey { pk: self.partition(&list.collection.0), sk: position.0.clone() };
        self.table.delete(key, None).await.map(|_| ())
    }

    /// Raw items, for a door that looks before it hands anything out.
    pub(super) async fn items(&self, keys: &[FullKey]) -> Result<Vec<Option<Item>>> {
        self.table.get_many(keys).await
    }
}

/// A line of the `lists` index.
#[derive(Deserialize)]
struct Line<T> {
    sk: String,
    list_entry: T,
}

/// How the audit log names a record: by its `id`, or by its sort key if it has none, with the workspace that it is in.
pub(super) fn audited_id(id: Option<&String>, workspace: Option<&String>, sort: &str) -> String {
    id.cloned().unwrap_or_else(|| workspace.map_or_else(|| sort.to_owned(), |workspace| format!("{workspace}/{sort}")))
}
