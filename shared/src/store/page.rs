//! Lists: which records, in which direction, and one page of them in the order of their sort keys.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::ids::Segment;
use crate::store::entity::{Collection, Entity, Key, attributes};
use crate::store::table::{Item, Query, Table};

/// The records of a partition whose sort keys begin with a prefix. A list names no tenant: the store adds the partition.
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

    /// Those whose sort keys begin with a segment.
    pub fn starting(collection: Collection, first: impl Segment) -> Self {
        List::beginning(collection, &first.to_string())
    }

    /// Those whose sort keys begin with a segment and `#`.
    pub fn behind(collection: Collection, first: impl Segment) -> Self {
        List::beginning(collection, &format!("{first}#"))
    }

    pub fn going(self, direction: Direction) -> Self {
        List { direction, ..self }
    }

    /// The key of a record of this list, from a sort key that the index returned.
    pub(crate) fn key(&self, sort: String) -> Key<E> {
        Key::at(&self.collection, sort)
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

impl Position {
    /// Right after a record, for a page that was put together of several lists.
    pub fn after<E>(key: &Key<E>) -> Self {
        Position(key.sort.clone())
    }

    /// The sort key, for a list that ends where its reader says.
    pub fn key(&self) -> &str {
        &self.0
    }
}

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

/// A page in an order of its own.
#[derive(Debug)]
pub struct RankedPage<E> {
    pub items: Vec<E>,
    pub next: Option<Position>,
    /// On all pages together.
    pub total: u64,
}

/// The part of an ordered list that a page shows, found in one pass that keeps no more than the page.
/// `K` orders; the sort key of the record breaks ties, in the same direction.
pub struct Window<K> {
    direction: Direction,
    after: Option<(K, String)>,
    skip: usize,
    keep: usize,
    heap: BinaryHeap<Ranked<K>>,
    total: u64,
}

struct Ranked<K> {
    rank: (K, String),
    direction: Direction,
}

impl<K: Ord + Serialize + DeserializeOwned> Window<K> {
    pub fn new(span: Span, direction: Direction) -> Result<Self> {
        let (skip, reach) = (span.skip, span.reach());
        let after = span
            .after
            .map(|position| serde_json::from_str(&position.0))
            .transpose()
            .map_err(|_| Error::BadRequest("The cursor does not belong to this list.".into()))?;
        Ok(Window { direction, after, skip, keep: reach.saturating_add(1), heap: BinaryHeap::new(), total: 0 })
    }

    pub fn add(&mut self, order: K, sort_key: String) {
        self.total += 1;
        let ranked = Ranked { rank: (order, sort_key), direction: self.direction };
        if let Some(after) = &self.after
            && directed(self.direction, &ranked.rank, after) != Ordering::Greater
        {
            return;
        }
        self.heap.push(ranked);
        if self.heap.len() > self.keep {
            self.heap.pop();
        }
    }

    /// The sort keys of the page in order, where to go on, and how many records there are in all.
    pub fn finish(self) -> (Vec<String>, Option<Position>, u64) {
        let mut ranked = self.heap.into_sorted_vec();
        let more = ranked.len() == self.keep;
        if more {
            ranked.pop();
        }
        let next = ranked.last().filter(|_| more).and_then(|last| serde_json::to_string(&last.rank).ok()).map(Position);
        (ranked.into_iter().skip(self.skip).map(|ranked| ranked.rank.1).collect(), next, self.total)
    }
}

fn directed<T: Ord>(direction: Direction, left: &T, right: &T) -> Ordering {
    match direction {
        Direction::Ascending => left.cmp(right),
        Direction::Descending => right.cmp(left),
    }
}

impl<K: Ord> Ord for Ranked<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        directed(self.direction, &self.rank, &other.rank)
    }
}

impl<K: Ord> PartialOrd for Ranked<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord> PartialEq for Ranked<K> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<K: Ord> Eq for Ranked<K> {}

/// A record as it lies in the table, without our bookkeeping.
#[derive(Debug)]
pub struct Stored {
    /// The `type` attribute.
    pub kind: String,
    /// The sort key.
    pub key: String,
    /// The position of this record, to continue after it.
    pub position: Position,
    /// The tag of its workspace, if it lies in one.
    pub workspace: Option<String>,
    pub data: serde_json::Map<String, serde_json::Value>,
    pub expired: bool,
}

/// Reads one page of a partition in the order of the sort keys, with consistent reads. A record that `read` rejects does not count towards
/// the page. After about `most` records the page ends where it stopped looking, however short it is.
pub(crate) async fn read<E: Entity>(
    table: &Table,
    pk: String,
    list: &List<E>,
    span: &Span,
    most: usize,
    read: impl Fn(&Item) -> Result<Option<E>>,
) -> Result<Page<E>> {
    let (skip, reach) = (span.skip, span.reach());
    let mut after = span.after.as_ref().map(|position| position.0.clone());
    let mut items: Vec<E> = Vec::new();
    let mut looked_at = 0;
    loop {
        // One more than the page, to find out whether there is another page. Where few are kept, ever more are looked at in a call.
        let (missing, turned_down) = (reach + 1 - items.len(), looked_at - items.len());
        let wanted = missing.max((4 * turned_down).min(most.saturating_sub(looked_at)));
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
        looked_at += found.len();
        for item in found {
            items.extend(read(&item)?);
        }
        match next {
            // The page is short, and goes on where this one stops looking.
            Some(next) if items.len() <= reach && looked_at >= most => {
                return Ok(Page { items: items.into_iter().skip(skip).collect(), next: Some(Position(next)) });
            }
            Some(next) if items.len() <= reach => after = Some(next),
            _ => break,
        }
    }
    let more = items.len() > reach;
    items.truncate(reach);
    let next = if more { items.last().map(|last| Position(last.key().sort)) } else { None };
    Ok(Page { items: items.into_iter().skip(skip).collect(), next })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_by_cursor_sees_every_record_once_in_order() {
        for direction in [Direction::Ascending, Direction::Descending] {
            let records: Vec<(i64, String)> = (0..97).map(|n| ((n * 31) % 10, format!("{n:03}"))).collect();
            let mut expected = records.clone();
            expected.sort_by(|left, right| directed(direction, left, right));
            let (mut seen, mut after) = (vec![], None);
            loop {
                let mut window = Window::new(Span { after, skip: 0, limit: 10 }, direction).unwrap();
                records.iter().for_each(|(order, key)| window.add(*order, key.clone()));
                let (keys, next, total) = window.finish();
                assert_eq!(total, 97);
                seen.extend(keys);
                match next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
            assert_eq!(seen, expected.into_iter().map(|(_, key)| key).collect::<Vec<_>>());
        }
    }

    #[test]
    fn pages_skip_what_came_before() {
        let mut window = Window::new(Span { after: None, skip: 4, limit: 3 }, Direction::Ascending).unwrap();
        (0..9).for_each(|n| window.add(n, n.to_string()));
        let (keys, next, total) = window.finish();
        assert_eq!((keys, next.is_some(), total), (vec!["4".to_owned(), "5".into(), "6".into()], true, 9));
    }
}
