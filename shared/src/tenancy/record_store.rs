//! The stores for records, and how a record becomes an item there. The store adds the partition; the record cannot.

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::store::entity::{Entity, InDirectory, Key, Owned, Packed, WORKSPACE};
use crate::store::item;
use crate::store::table::{FullKey, Item, borrowed, text};
use crate::tenancy::store::Store;
use crate::tenancy::{Directory, TenantId};

/// A store for records `E`: `TenantStore` for a tenant's records, `WorkspaceStore` for a workspace's, `Directory` for facts across tenants. Sealed.
pub trait RecordStore<E: Entity>: sealed::Sealed {
    #[doc(hidden)]
    fn full(&self, key: &Key<E>) -> FullKey;
    #[doc(hidden)]
    fn item(&self, entity: &E) -> Result<Item>;
    /// The tenant that owns it; `None` for the directory.
    #[doc(hidden)]
    fn tenant(&self) -> Option<TenantId>;
}

/// Who wrote an item and in which request. Stored in the item with the time, for the audit log that is written from the stream.
#[derive(Debug, Clone)]
pub struct Origin {
    /// `user:<id>`, `visitor`, `janitor`, …
    pub actor: String,
    pub request: String,
}

mod sealed {
    pub trait Sealed {}
    impl<S> Sealed for super::Store<S> {}
    impl Sealed for super::Directory {}
}

impl<S: Owned, E: Entity<Scope = S>> RecordStore<E> for Store<S> {
    fn full(&self, key: &Key<E>) -> FullKey {
        FullKey { pk: self.partition(&key.collection), sk: key.sort.clone() }
    }

    fn item(&self, entity: &E) -> Result<Item> {
        Packed::of(entity).map(|packed| self.packed(packed))
    }

    fn tenant(&self) -> Option<TenantId> {
        Some(self.tenant_id())
    }
}

impl<S: Owned> Store<S> {
    /// The item of a record of whatever type.
    pub(super) fn packed(&self, packed: Packed) -> Item {
        let key = FullKey { pk: self.partition(&packed.key.collection), sk: packed.key.sort.clone() };
        let mut item = item_of(packed, key, self.origin(), self.now());
        item.insert("tenant".into(), AttributeValue::S(self.tenant_id().to_string()));
        item.extend(self.workspace_tag().map(|tag| (WORKSPACE.to_owned(), AttributeValue::S(tag))));
        item
    }
}

impl<E: Entity<Scope = InDirectory>> RecordStore<E> for Directory {
    fn full(&self, key: &Key<E>) -> FullKey {
        FullKey { pk: Directory::partition(&key.collection), sk: key.sort.clone() }
    }

    fn item(&self, entity: &E) -> Result<Item> {
        let packed = Packed::of(entity)?;
        let key = FullKey { pk: Directory::partition(&packed.key.collection), sk: packed.key.sort.clone() };
        Ok(item_of(packed, key, self.origin(), self.now()))
    }

    fn tenant(&self) -> Option<TenantId> {
        None
    }
}

fn item_of(packed: Packed, key: FullKey, origin: &Origin, now: Timestamp) -> Item {
    let mut item = packed.attributes;
    if packed.listed {
        item.insert("lpk".into(), AttributeValue::S(key.pk.clone()));
        item.insert("lsk".into(), AttributeValue::S(key.sk.clone()));
    }
    item.insert("actor".into(), AttributeValue::S(origin.actor.clone()));
    item.insert("request".into(), AttributeValue::S(origin.request.clone()));
    item.insert("at".into(), AttributeValue::S(now.to_string()));
    item.insert("pk".into(), AttributeValue::S(key.pk));
    item.insert("sk".into(), AttributeValue::S(key.sk));
    item
}

/// Reads a record. A record of another type is our own mistake and is not returned.
pub(crate) fn record_of<E: Entity>(item: &Item) -> Result<E> {
    if borrowed(item, "type") != Some(E::TYPE) {
        return Err(Error::internal("reading a record", format!("expected a {} and found a {:?}", E::TYPE, text(item, "type"))));
    }
    item::read(item).map_err(|error| Error::internal("reading a record", error))
}
