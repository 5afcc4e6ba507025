//! Lists: which records, in which direction, and one page of them in the order of their sort keys.

use std::marker::PhantomData;

use crate::error::Result;
use crate::store::entity::{Collection, Entity, Key, attributes};
use crate::store::table::{Item, Query, Table};

/// The records of a partition whose sort keys begin with a prefix. Only the model creates lists, so a function never names a partition.
pub struct List<E> {
    pub(crate) collection: Collection,
    pub(crate) prefix: String,
    pub(crate) direction: Direction,
    entity: PhantomData<fn() -> E>,
}

impl<E> List<E> {
    /// The oldest record comes first, unless `going` changes that.
    pub(crate) fn new(collection: Collection, prefix: &str) -> Self {
        List { collection, prefix: prefix.to_owned(), direction: Direction::Ascending, entity: PhantomData }
    }

    pub fn going(self, direction: Direction) -> Self {
        List { direction, ..self }
    }

    /// The key of a record of this list, from a sort key that the index returned.
    pub fn key(&self, sort: String) -> Key<E> {
        Key::new(&self.collection, sort)
    }
}

/// The direction along the sort key. Ids are time-ordered, so `Descending` means newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Ascending,
    Descending,
}

/// Items, and the position where the next page begins. The position is a sort key. It does not contain the partition, which the store adds.
#[derive(Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<Position>,
}

/// A position in a list. `http::paging` encrypts it into a cursor.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Position(pub(crate) String);

/// Which part of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Begin after this record, or at the beginning.
    pub after: Option<Position>,
    /// How many records to skip first.
    pub skip: usize,
    pub limit: usize,
}

impl Span {
    /// The first `limit` records of a list.
    pub fn first(limit: usize) -> Self {
        Span { after: None, skip: 0, limit }
    }

    /// How many records must be read: those skipped and those returned.
    pub(crate) fn reach(&self) -> usize {
        self.skip.saturating_add(self.limit)
    }
}

/// A record as it is in the table, without our internal attributes.
#[derive(Debug)]
pub struct Stored {
    /// The `type` attribute.
    pub kind: String,
    /// The sort key.
    pub key: String,
    /// The position of this record, to continue after it.
    pub position: Position,
    pub data: serde_json::Map<String, serde_json::Value>,
    pub expired: bool,
}

/// Reads one page of a partition in the order of the sort keys, with consistent reads. A record that `read` rejects does not count towards
/// the page.
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
        // One more than the page, to find out whether there is another page.
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
