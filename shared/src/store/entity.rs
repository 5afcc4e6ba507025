//! What a record must say of itself to be stored: its collection, its sort key, when it expires, how lists may order it.

use std::fmt::Display;
use std::marker::PhantomData;

use jiff::Timestamp;
use serde::de::{self, DeserializeOwned, Visitor};
use serde::{Deserializer, Serialize};

use crate::ids::Segment;

/// A stored record. `Scope` says whose partition it lies in. What purge, export and audit do with it follows from what is said here.
pub trait Entity: Declared + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// `InTenant` or `InDirectory`: which of the two stores takes it.
    type Scope: Scope;
    /// The `type` attribute, for people who read the table and for the stream.
    const TYPE: &'static str;
    /// The collection it lies in. Records that are read together may share one.
    const COLLECTION: &'static str;
    /// Where it lies in one of several.
    const COLLECTIONS: &'static [&'static str] = &[Self::COLLECTION];
    /// Each parent has a partition of its own for it.
    const NESTED: bool = false;
    /// A change of it is an entry of the audit log. What a tenant owns is, unless it says otherwise: forgotten, the log tells too much.
    const AUDITED: bool = <Self::Scope as Scope>::OWNED;
    /// An export of its tenant shows it. Not what says nothing that the rest does not, is sealed, or is packed for ourselves.
    const EXPORTED: bool = true;

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

    /// The record's line in the `lists` index, for lists in another order than the default one.
    fn list_entry(&self) -> Option<ListEntry> {
        None
    }
}

/// Marks a record as a tenant's own.
pub struct InTenant;
/// Marks a record as a cross-tenant fact ("whose is this?").
pub struct InDirectory;

pub trait Scope {
    /// A tenant owns it.
    const OWNED: bool;
}

impl Scope for InTenant {
    const OWNED: bool = true;
}

impl Scope for InDirectory {
    const OWNED: bool = false;
}

/// Of records that stand in the list of all records (`model::records`): one that is missing there cannot be stored, so no purge and no audit
/// log can miss it.
pub trait Declared {}

/// Where a record lies within its scope. Only this crate can make one, from typed segments, so no text of a caller ever becomes a key.
pub struct Key<E: ?Sized> {
    pub(crate) collection: String,
    pub(crate) sort: String,
    entity: PhantomData<fn() -> Box<E>>,
}

impl<E: ?Sized> Key<E> {
    pub(crate) fn new(collection: &Collection, sort: String) -> Self {
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
    pub(crate) fn of<E: Entity>() -> Self {
        Collection(E::COLLECTION.to_owned())
    }

    /// The records of one parent.
    pub(crate) fn within<E: Entity>(parent: impl Segment) -> Self {
        Collection(format!("{}#{parent}", E::COLLECTION))
    }

    /// The `number`th of several, counted round.
    pub(crate) fn one_of<E: Entity>(number: usize) -> Self {
        Collection(E::COLLECTIONS[number % E::COLLECTIONS.len()].to_owned())
    }

    /// Records of any type. For the list of all records alone.
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

/// The attributes the `lists` index projects: what lists sort and filter by, and no more.
#[derive(Debug, Clone, Default, Serialize, serde::Deserialize)]
pub struct ListEntry {
    #[serde(rename = "list_name", skip_serializing_if = "String::is_empty", default)]
    pub name: String,
    #[serde(rename = "list_status", skip_serializing_if = "Option::is_none", default)]
    pub status: Option<String>,
    #[serde(rename = "list_priority", skip_serializing_if = "Option::is_none", default)]
    pub priority: Option<String>,
    #[serde(rename = "list_due", skip_serializing_if = "Option::is_none", default)]
    pub due: Option<String>,
    #[serde(rename = "list_order", skip_serializing_if = "Option::is_none", default)]
    pub order: Option<i64>,
    #[serde(rename = "list_assignee", skip_serializing_if = "Option::is_none", default)]
    pub assignee: Option<u64>,
    #[serde(rename = "list_updated", skip_serializing_if = "Option::is_none", default)]
    pub updated: Option<Timestamp>,
}

/// The attributes of a record itself, its type and its tenant, for reads that leave out what lies on its item besides. `None` where it does
/// not say.
pub(crate) fn attributes<E: Entity>() -> Option<Vec<&'static str>> {
    let own = fields::<E>()?.iter().copied();
    Some(["tenant", "type"].into_iter().chain(own.filter(|name| !matches!(*name, "tenant" | "type"))).collect())
}

/// The attributes of a list's entry, and its place in the list.
pub(crate) fn entry_attributes() -> Option<Vec<&'static str>> {
    Some(["sk"].into_iter().chain(fields::<ListEntry>()?.iter().copied()).collect())
}

fn fields<T: DeserializeOwned>() -> Option<&'static [&'static str]> {
    let mut names = None;
    // Ends with the names: there is nothing to read.
    let _ = T::deserialize(Names(&mut names));
    names
}

/// Asked for a struct, it keeps the names of its fields.
struct Names<'a>(&'a mut Option<&'static [&'static str]>);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = de::value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = Some(fields);
        self.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom("nothing to read"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq tuple
        tuple_struct map enum identifier ignored_any
    }
}

/// A number that moves in the transaction of the change it counts. One item each, so that busy counters do not collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Projects that are not archived.
    Projects,
    ArchivedProjects,
    /// Members of the tenant.
    Members,
    Owners,
    /// Member numbers given out; never goes down.
    MemberNumbers,
    /// API keys that are not being retired.
    ApiKeys,
    Settings,
    /// Custom domains, verified or not.
    Domains,
}

impl Counter {
    /// The counter's sort key.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Counter::Projects => "projects",
            Counter::ArchivedProjects => "archived_projects",
            Counter::Members => "members",
            Counter::Owners => "owners",
            Counter::MemberNumbers => "member_numbers",
            Counter::ApiKeys => "api_keys",
            Counter::Settings => "settings",
            Counter::Domains => "domains",
        }
    }
}
