//! The two stores for records, and how a record becomes an item there. The store adds the partition; the record cannot.

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::store::entity::{Entity, InDirectory, InTenant, Key};
use crate::store::item;
use crate::store::table::{FullKey, Item, borrowed, text};
use crate::tenancy::{Directory, TenantId, TenantStore};

/// A store for records `E`: `TenantStore` for a tenant's records, `Directory` for facts across tenants. Sealed.
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
    impl Sealed for super::TenantStore {}
    impl Sealed for super::Directory {}
}

impl<E: Entity<Scope = InTenant>> RecordStore<E> for TenantStore {
    fn full(&self, key: &Key<E>) -> FullKey {
        FullKey { pk: self.partition(&key.collection), sk: key.sort.clone() }
    }

    fn item(&self, entity: &E) -> Result<Item> {
        let mut item = item_of(entity, self.full(&entity.key()), self.origin(), self.now())?;
        item.insert("tenant".into(), AttributeValue::S(self.tenant_id().to_string()));
        Ok(item)
    }

    fn tenant(&self) -> Option<TenantId> {
        Some(self.tenant_id())
    }
}

impl<E: Entity<Scope = InDirectory>> RecordStore<E> for Directory {
    fn full(&self, key: &Key<E>) -> FullKey {
        FullKey { pk: format!("G#{}", key.collection), sk: key.sort.clone() }
    }

    fn item(&self, entity: &E) -> Result<Item> {
        item_of(entity, self.full(&entity.key()), self.origin(), self.now())
    }

    fn tenant(&self) -> Option<TenantId> {
        None
    }
}

fn item_of<E: Entity>(entity: &E, key: FullKey, origin: &Origin, now: Timestamp) -> Result<Item> {
    let mut item: Item = serde_dynamo::to_item(entity).map_err(|error| Error::internal("storing a record", error))?;
    if let Some(entry) = entity.list_entry() {
        let entry: Item = serde_dynamo::to_item(entry).map_err(|error| Error::internal("storing a record", error))?;
        item.extend(entry);
        item.insert("lpk".into(), AttributeValue::S(key.pk.clone()));
        item.insert("lsk".into(), AttributeValue::S(key.sk.clone()));
    }
    if let Some(expires_at) = entity.expires_at() {
        item.insert("ttl".into(), AttributeValue::N(expires_at.as_second().to_string()));
    }
    item.insert("type".into(), AttributeValue::S(E::TYPE.into()));
    item.insert("actor".into(), AttributeValue::S(origin.actor.clone()));
    item.insert("request".into(), AttributeValue::S(origin.request.clone()));
    item.insert("at".into(), AttributeValue::S(now.to_string()));
    item.insert("pk".into(), AttributeValue::S(key.pk));
    item.insert("sk".into(), AttributeValue::S(key.sk));
    Ok(item)
}

/// The attributes that a store adds to a record: its key, its entry in the index, its expiry and its origin.
pub(super) fn is_bookkeeping(attribute: &str) -> bool {
    matches!(attribute, "pk" | "sk" | "lpk" | "lsk" | "ttl" | "type" | "tenant" | "actor" | "request") || attribute.starts_with("list_")
}

/// Reads a record. A record of another type is our own mistake and is not returned.
pub(crate) fn record_of<E: Entity>(item: &Item) -> Result<E> {
    if borrowed(item, "type") != Some(E::TYPE) {
        return Err(Error::internal("reading a record", format!("expected a {} and found a {:?}", E::TYPE, text(item, "type"))));
    }
    item::read(item).map_err(|error| Error::internal("reading a record", error))
}
