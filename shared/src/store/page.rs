//! Lists: which records, which way, and a page of them in the order of their sort keys.

use std::marker::PhantomData;

use crate::error::Result;
use crate::store::entity::{Collection, Entity, Key, attributes};
use crate::store::table::{Item, Query, Table};

/// The records of a partition whose sort keys begin with a prefix. Made by the model, so a function never names a partition.
pub struct List<E> {
    pub(crate) collection: Collection,
    pub(crate) prefix: String,
    pub(crate) direction: Direction,
    entity: PhantomData<fn() -> E>,
}

impl<E> Clone for List<E> {
    fn clone(&self) -> Self {
        List { collection: self.collection.clone(), prefix: self.prefix.clone(), direction: self.direction, entity: PhantomData }
    }
}

impl<E> List<E> {
    /// Those whose sort keys begin with `prefix`, oldest first until told otherwise.
    pub fn new(collection: Collection, prefix: &'static str) -> Self {
        List::beginning(collection, prefix)
    }

    pub(crate) fn beginning(collection: Collection, prefix: &str) -> Self {
        List { collection, prefix: prefix.to_owned(), direction: Direction::Ascending, entity: PhantomData }
    }

    pub fn going(self, direction: Direction) -> Self {
        List { direction, ..self }
    }

    /// The key of a record of this list, from its sort key as the index gave it.
    pub fn key(&self, sort: String) -> Key<E> {
        Key::at(&self.collection, sort)
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

/// Which part of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// From behind this one, or from the beginning.
    pub after: Option<Position>,
    /// So many are left out first.
    pub skip: usize,
    pub limit: usize,
}

impl Span {
    /// The first `limit` records of a list.
    pub fn first(limit: usize) -> Self {
        Span { after: None, skip: 0, limit }
    }

    /// How many records lie between its beginning and its end.
    pub(crate) fn reach(&self) -> usize {
        self.skip.saturating_add(self.limit)
    }
}

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

/// Reads the page of a partition that `span` asks for, in the order of the sort keys and consistently. What `read` turns down takes no
/// place on the page.
pub(crate) async fn read<E: Entity>(
    table: &Table,
    pk: String,
    list: &List<E>,
    span: &Span,
    read: impl Fn(&Item) -> Result<Option<E>>,
) -> Result<Page<E>> {
    let (skip, reach) = (span.skip, span.reach());
    let mut after = span.after.as_ref().map(|position| position.0.clone());
    let mut items: Vec<E> = Vec::new();
    loop {
        // One more than the page, to know whether there is another.
        let wanted = reach + 1 - items.len();
        let query = Query {
            pk: pk.clone(),
            prefix: list.prefix.clone(),
            index: None,
            forward: list.direction == Direction::Ascending,
            consistent: true,
            after: after.take(),
            limit: Some(i32::try_from(wanted).unwrap_or(i32::MAX)),
            attributes: attributes::<E>(),
        };
        let (found, next) = table.query(query).await?;
        for item in found {
            items.extend(read(&item)?);
        }
        match next {
            Some(next) if items.len() <= reach => after = Some(next),
            _ => break,
        }
    }
    let more = items.len() > reach;
    items.truncate(reach);
    let next = if more { items.last().map(|last| Position(last.key().sort)) } else { None };
    Ok(Page { items: items.into_iter().skip(skip).collect(), next })
}
