//! Lists: which records, which way, and a page of them in the order of their sort keys.

use std::marker::PhantomData;

use crate::store::entity::{Collection, Key};

/// The records of a partition whose sort keys begin with a prefix. Made by the model, so a function never names a partition.
pub struct List<E> {
    pub(crate) collection: Collection,
    pub(crate) prefix: String,
    pub(crate) direction: Direction,
    entity: PhantomData<fn() -> E>,
}

impl<E> List<E> {
    /// Oldest first, until told otherwise.
    pub(crate) fn new(collection: Collection, prefix: &str) -> Self {
        List { collection, prefix: prefix.to_owned(), direction: Direction::Ascending, entity: PhantomData }
    }

    pub fn going(self, direction: Direction) -> Self {
        List { direction, ..self }
    }

    /// The key of a record of this list, from its sort key as the index gave it.
    pub fn key(&self, sort: String) -> Key<E> {
        Key::new(&self.collection, sort)
    }
}

/// Which way along the sort key. Ids are time-ordered, so `Descending` is newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Ascending,
    Descending,
}

/// Items, and where to go on. The position is a sort key: it says nothing of the partition, which the store adds.
#[derive(Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<Position>,
}

/// A place in a list, to be sealed into a cursor by `http::paging`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Position(pub(crate) String);

/// A record as it lies in the table, without our bookkeeping.
#[derive(Debug)]
pub struct Stored {
    /// The `type` attribute.
    pub kind: String,
    /// The sort key.
    pub key: String,
    /// Of this record: to go on after it.
    pub position: Position,
    pub data: serde_json::Map<String, serde_json::Value>,
    pub expired: bool,
}
