//! What a record must say of itself to be stored: its collection, its sort key, when it expires, how lists may order it.

use std::fmt::Display;
use std::marker::PhantomData;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use serde::de::{self, DeserializeOwned, Visitor};
use serde::{Deserializer, Serialize};

use crate::error::{Error, Result};
use crate::ids::{PathId, Segment, WorkspaceId};
use crate::store::page::List;
use crate::store::records::{Anything, Restore, restored};
use crate::store::table::Item;

/// A stored record. `Scope` says whose partition it lies in. What purge, export and audit do with it follows from what is said here.
pub trait Entity: Declared + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// `InTenant`, `InWorkspace` or `InDirectory`: which store takes it.
    type Scope: Scope;
    /// The `type` attribute, for people who read the table and for the stream.
    const TYPE: &'static str;
    /// The collection it lies in. Records that are read together may share one.
    const COLLECTION: &'static str;
    /// All collections that it may lie in.
    const COLLECTIONS: &'static [&'static str] = &[Self::COLLECTION];
    /// For a nested record: its parents. Each parent has its own partition for it.
    const WITHIN: Option<Within> = None;
    /// Whether a change of it is an entry of the audit log. By default yes for a tenant's records, so a forgotten line makes the log tell too much, not
    /// too little.
    const AUDITED: bool = <Self::Scope as Scope>::OWNED;
    /// Whether it is an entry also where a mail made the change, sent or received. False where the activity of a lead, or the thread itself, tells the
    /// same: entries would cost as much as the mails.
    const MAILS_AUDITED: bool = true;
    /// An attribute that names another record: a write that changes it has no entry of its own, because that record is one. For requests that change a
    /// thousand records of a type: entries would be one item that grows with each of them.
    const TOLD_BY: Option<&'static str> = None;
    /// Whether an export shows it. False for a record that only repeats others, is sealed, or is packed for our own use.
    const EXPORTED: bool = true;
    /// Attributes that hold what a customer named themselves. An export masks what is called a secret everywhere else.
    const FREE: &'static [&'static str] = &[];
    /// How an import puts it back. `None`: not at all, or `operator` has its own code for it.
    const RESTORE: Option<Restore> = None;
    /// The counter that says how many its tenant or workspace has.
    const COUNTER: Option<Counter> = None;
    /// What a person calls it, for the sentence that there is none: `Some("Template")` says "Template not found".
    const NOUN: Option<&'static str> = None;

    fn key(&self) -> Key<Self>;

    /// Numbers of the stored record that a `replace` compares: its version, and what others move inside it. Empty for records
    /// without edits.
    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![]
    }

    /// When the record may vanish. DynamoDB deletes late, so readers compare too.
    fn expires_at(&self) -> Option<Timestamp> {
        None
    }

    /// The record's line in the `lists` index, for lists in another order than the default one: `ListEntry::of(self)`.
    fn list_entry(&self) -> Result<Option<ListEntry>> {
        Ok(None)
    }
}

/// A record of any type, ready to be stored. The store adds partition and origin.
#[derive(Clone)]
pub struct Packed {
    pub(crate) key: Key<Anything>,
    pub(crate) attributes: Item,
    /// It has a line in the `lists` index.
    pub(crate) listed: bool,
    pub counter: Option<Counter>,
}

impl Packed {
    pub fn of<E: Entity>(entity: &E) -> Result<Self> {
        let pack = |error| Error::internal("storing a record", error);
        let mut attributes: Item = serde_dynamo::to_item(entity).map_err(pack)?;
        let entry = entity.list_entry()?;
        let listed = entry.is_some();
        if entry.is_some_and(|entry| attributes.insert(ListEntry::ATTRIBUTE.to_owned(), entry.0).is_some()) {
            return Err(Error::internal("storing a record", "it has an attribute of the name of its list entry"));
        }
        if attributes.contains_key(WORKSPACE) {
            return Err(Error::internal("storing a record", "it has an attribute of the name of its workspace"));
        }
        if attributes.contains_key("at") {
            return Err(Error::internal("storing a record", "it has an attribute of the name of the moment of its write"));
        }
        if let Some(expires_at) = entity.expires_at() {
            attributes.insert("ttl".into(), AttributeValue::N(expires_at.as_second().to_string()));
        }
        attributes.insert("type".into(), AttributeValue::S(E::TYPE.into()));
        let Key { collection, sort, .. } = entity.key();
        Ok(Packed { key: Key { collection, sort, entity: PhantomData }, attributes, listed, counter: E::COUNTER })
    }
}

/// Marks a record as a tenant's own.
#[derive(Clone)]
pub struct InTenant;
/// Marks a record as a workspace's own: its partition names the tenant and the workspace.
#[derive(Clone)]
pub struct InWorkspace;
/// Marks a record as a cross-tenant fact ("whose is this?").
pub struct InDirectory;

pub trait Scope: Send + Sync + 'static {
    /// A tenant owns it.
    const OWNED: bool;
    /// A workspace of the tenant owns it.
    const WALLED: bool = false;
}

/// A scope within a tenant.
pub trait Owned: Scope + Clone {}

impl Scope for InTenant {
    const OWNED: bool = true;
}

impl Owned for InTenant {}

impl Scope for InWorkspace {
    const OWNED: bool = true;
    const WALLED: bool = true;
}

impl Owned for InWorkspace {}

impl Scope for InDirectory {
    const OWNED: bool = false;
}

/// The error for a record that is not there, or belongs to somebody else.
pub(crate) fn not_found<E: Entity>() -> Error {
    E::NOUN.map_or(Error::NotFound, Error::Missing)
}

/// A record that a path can name.
pub trait Named: Entity<Scope: Owned> {
    type Id: PathId;

    /// The keys that it may have. All are read together; the first that exists is taken.
    fn places(id: Self::Id) -> Vec<Key<Self>>;
}

/// An ordinary record of a tenant or a workspace: it lies in one collection and is found by its id. `Entity` follows from it, and with that storing,
/// lists, purge, export, import and audit log. A record that differs implements `Entity` itself.
pub trait Record: Declared + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// `InTenant` or `InWorkspace`.
    type Scope: Owned;
    type Id: PathId + Segment;
    const TYPE: &'static str;
    const COLLECTION: &'static str;
    /// See `Entity`, as for the following.
    const AUDITED: bool = true;
    const MAILS_AUDITED: bool = true;
    const TOLD_BY: Option<&'static str> = None;
    const EXPORTED: bool = true;
    /// Whether an import puts it back unchanged. False for secrets, and for what stands for something outside the tenant.
    const RESTORED: bool = Self::EXPORTED;
    const COUNTER: Option<Counter> = None;
    const NOUN: Option<&'static str> = None;
    const FREE: &'static [&'static str] = &[];

    fn id(&self) -> Self::Id;

    /// Counts its edits; `None` for records without edits.
    fn version(&self) -> Option<u64>;

    fn expires_at(&self) -> Option<Timestamp> {
        None
    }

    fn list_entry(&self) -> Result<Option<ListEntry>> {
        Ok(None)
    }

    fn key_of(id: Self::Id) -> Key<Self> {
        Key::new(&Collection::of::<Self>(), id)
    }

    /// In the order of the ids.
    fn all() -> List<Self> {
        List::new(Collection::of::<Self>(), "")
    }

    /// As headers write it.
    fn etag(&self) -> String {
        format!("\"{}\"", self.version().unwrap_or(1))
    }
}

impl<R: Record> Entity for R {
    type Scope = R::Scope;
    const TYPE: &'static str = R::TYPE;
    const COLLECTION: &'static str = R::COLLECTION;
    const AUDITED: bool = R::AUDITED;
    const MAILS_AUDITED: bool = R::MAILS_AUDITED;
    const TOLD_BY: Option<&'static str> = R::TOLD_BY;
    const EXPORTED: bool = R::EXPORTED;
    const RESTORE: Option<Restore> = if R::RESTORED { Some(restored::<R>) } else { None };
    const COUNTER: Option<Counter> = R::COUNTER;
    const NOUN: Option<&'static str> = R::NOUN;
    const FREE: &'static [&'static str] = R::FREE;
    const WITHIN: Option<Within> = if <R::Scope as Scope>::WALLED { Some(IN_WORKSPACE) } else { None };

    fn key(&self) -> Key<Self> {
        R::key_of(self.id())
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        self.version().map(|version| ("version", version)).into_iter().collect()
    }

    fn expires_at(&self) -> Option<Timestamp> {
        R::expires_at(self)
    }

    fn list_entry(&self) -> Result<Option<ListEntry>> {
        R::list_entry(self)
    }
}

impl<R: Record> Named for R {
    type Id = R::Id;

    fn places(id: R::Id) -> Vec<Key<Self>> {
        vec![R::key_of(id)]
    }
}

pub(crate) const WORKSPACES: &str = "workspaces";
pub(crate) const DELETED_WORKSPACES: &str = "deleted-workspaces";

/// How the records of a workspace lie: within it, or within what is left of it.
pub const IN_WORKSPACE: Within = Within { parents: &[WORKSPACES, DELETED_WORKSPACES], parts: tag_of_workspace, parent_id: None };

fn tag_of_workspace(workspace: &serde_json::Map<String, serde_json::Value>) -> Option<Vec<String>> {
    let id = workspace.get("id")?.as_str().and_then(WorkspaceId::parse)?;
    Some(vec![id.tag().to_string()])
}

/// How a nested record lies: each of its parents has a partition of its own for it.
#[derive(Clone, Copy)]
pub struct Within {
    /// The collections of its parents.
    pub parents: &'static [&'static str],
    /// The parts of a parent in the names of its partitions, mostly one, from the parent as it is stored. `None`: it does not say them.
    pub parts: fn(&serde_json::Map<String, serde_json::Value>) -> Option<Vec<String>>,
    /// The nested record's attribute that is its parent's `id`, where two parents may share a partition.
    pub parent_id: Option<&'static str>,
}

/// Implemented for every record in a list (`model::records`, or `records!` in another crate). A record in no list cannot be stored, so no purge and no
/// audit log can miss it.
pub trait Declared {}

/// Where a record lies within its scope. Made of typed segments, so no text of a caller ever becomes a key. It names no tenant: the store puts its
/// own in front, and compares what it reads.
pub struct Key<E: ?Sized> {
    pub(crate) collection: String,
    pub(crate) sort: String,
    entity: PhantomData<fn() -> Box<E>>,
}

impl<E: ?Sized> Key<E> {
    pub fn new(collection: &Collection, sort: impl Segment) -> Self {
        Key::at(collection, sort.to_string())
    }

    /// Behind a fixed word, which orders or groups the records of a collection.
    pub fn behind(collection: &Collection, word: &'static str, sort: impl Segment) -> Self {
        Key::at(collection, format!("{word}{sort}"))
    }

    pub(crate) fn at(collection: &Collection, sort: String) -> Self {
        Key { collection: collection.0.clone(), sort, entity: PhantomData }
    }
}

impl<E: ?Sized> Clone for Key<E> {
    fn clone(&self) -> Self {
        Key { collection: self.collection.clone(), sort: self.sort.clone(), entity: PhantomData }
    }
}

/// A partition within a scope: a name, and for nested collections the parent.
#[derive(Clone)]
pub struct Collection(pub(crate) String);

impl Collection {
    pub fn of<E: Entity>() -> Self {
        Collection(E::COLLECTION.to_owned())
    }

    /// The records of one parent.
    pub fn within<E: Entity>(parent: impl Segment) -> Self {
        Collection::nested(E::COLLECTION, &parent.to_string())
    }

    pub(crate) fn nested(name: &str, part: &str) -> Self {
        Collection(format!("{name}#{part}"))
    }

    /// Number `number` of `COLLECTIONS`, starting again after the last.
    pub(crate) fn one_of<E: Entity>(number: usize) -> Self {
        Collection(E::COLLECTIONS[number % E::COLLECTIONS.len()].to_owned())
    }

    /// A collection by its name. Only for `store::records`.
    pub(crate) fn named(name: &'static str) -> Self {
        Collection(name.to_owned())
    }
}

/// A SHA-256 in base64url, the form in which free text (an e-mail, a key of the caller) enters a key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Hashed(pub(crate) String);

impl Display for Hashed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Segment for Hashed {}

impl Hashed {
    pub(crate) fn of(parts: &[&str]) -> Self {
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        Hashed(crate::crypto::hash(&parts))
    }
}

/// A record with a line in the `lists` index: what its lists sort and filter by, and no more.
pub trait Listed: Entity {
    type Entry: Serialize + DeserializeOwned;

    fn entry(&self) -> Self::Entry;
}

/// That line, as it is stored.
pub struct ListEntry(AttributeValue);

impl ListEntry {
    /// The attribute that the index projects.
    pub(crate) const ATTRIBUTE: &'static str = "list_entry";

    /// What a listed record gives for `list_entry`.
    pub fn of<E: Listed>(record: &E) -> Result<Option<Self>> {
        let value = serde_dynamo::to_attribute_value(record.entry()).map_err(|error| Error::internal("storing a record", error))?;
        Ok(Some(ListEntry(value)))
    }
}

/// The attribute that names the workspace of a record, by its tag.
pub(crate) const WORKSPACE: &str = "workspace";

/// The attributes that a store adds to a record: its key, its entry in the index, its expiry and its origin. Not `at`, the moment of the write: an
/// export shows it.
pub(crate) fn is_bookkeeping(attribute: &str) -> bool {
    matches!(attribute, "pk" | "sk" | "lpk" | "lsk" | "ttl" | "type" | "tenant" | WORKSPACE | "actor" | "request" | ListEntry::ATTRIBUTE)
}

/// The names of the record's own attributes, with `type`, `tenant` and `workspace`: a read asks for these only. `None` if the struct does not list its fields
/// (`flatten`).
pub(crate) fn attributes<E: Entity>() -> Option<Vec<&'static str>> {
    let own = fields::<E>()?.iter().copied();
    let added = if <E::Scope as Scope>::WALLED { &["tenant", "type", WORKSPACE][..] } else { &["tenant", "type"] };
    Some(added.iter().copied().chain(own.filter(|name| !added.contains(name))).collect())
}

fn fields<T: DeserializeOwned>() -> Option<&'static [&'static str]> {
    let mut names = None;
    // Always fails, after the names were kept.
    let _ = T::deserialize(Names(&mut names));
    names
}

/// A deserializer that reads nothing and keeps the names of the struct's fields.
struct Names<'a>(&'a mut Option<&'static [&'static str]>);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = de::value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> std::result::Result<V::Value, Self::Error> {
        *self.0 = Some(fields);
        self.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> std::result::Result<V::Value, Self::Error> {
        Err(de::Error::custom("nothing to read"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq tuple
        tuple_struct map enum identifier ignored_any
    }
}

/// A number that moves in the transaction of the change it counts, under its sort key. One item each, so that busy counters do not collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Counter(&'static str);

impl Counter {
    pub const fn named(name: &'static str) -> Self {
        Counter(name)
    }

    pub(crate) fn name(self) -> &'static str {
        self.0
    }
}
