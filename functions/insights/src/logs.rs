//! The request log, newest first. Entries are in packs, a pack belongs to one batch, and batches overlap in time. Packs are opened in the
//! order of their newest entries and merged, a few at a time. A cursor names the open packs and how far each was read. The next page only
//! reads those again.

use std::collections::VecDeque;

use crate::arguments::{LogFilters, LogPage};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use shared::http::answer::Answer;
use shared::model::edge::{CacheResult, Entry, KEPT, Pack, RequestKind, Shelf};
use shared::model::period::Month;
use shared::model::time::{Printed, zulu};
use shared::tenancy::TenantStore;
use shared::tenancy::doors::Viewer;
use shared::{Error, Result};

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LogPage)]
pub struct Logs {
    logs: Vec<LogView>,
    next_cursor: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LogEntry)]
pub struct LogView {
    id: String,
    timestamp: Printed,
    method: String,
    path: String,
    kind: RequestKind,
    status: u16,
    cache: CacheResult,
    bytes: u64,
    duration_ms: u32,
    country: Option<String>,
}

/// Packs that are merged at a time. If more overlap (many backfills of the same days), their entries come slightly out of order.
const OPEN: usize = 16;
/// The most entries to look at, and the most packs to read, for one page. A filter without matches stops there, with a cursor to continue.
const LOOKED_AT: usize = 10_000;
const READ: usize = 250;
/// Packs for one read: the most, the number with a filter, and the number when only the next one must be known.
const AT_ONCE: usize = 100;
const FILTERED: usize = 20;
const PEEK: usize = 2;

pub async fn page(door: Viewer, asked: LogPage) -> Result<Answer<Logs>> {
    let mut reader = Reader::new(&door.store, &asked).await?;
    let logs = reader.page(asked.limit).await?;
    let position = reader.position()?;
    let next_cursor = position.map(|position| asked.cursor(&position)).transpose()?;
    Ok(Answer::bare(Logs { logs, next_cursor: next_cursor.clone() }).with_next(next_cursor))
}

/// The position at the end of a page.
#[derive(Serialize, Deserialize)]
struct Position {
    /// Open packs: shelf, sort key, next entry.
    open: Vec<(Shelf, String, usize)>,
    /// Streams that have not ended.
    streams: Vec<Stream>,
}

/// The packs of a shelf, newest first.
#[derive(Serialize, Deserialize)]
struct Stream {
    shelf: Shelf,
    /// The sort key of the last pack that was taken.
    after: Option<String>,
    #[serde(skip)]
    fetched: VecDeque<Pack>,
    /// Nothing after the fetched packs matters.
    #[serde(skip)]
    drained: bool,
}

struct Open {
    pack: Pack,
    entries: Vec<Entry>,
    next: usize,
}

struct Reader<'a> {
    store: &'a TenantStore,
    filters: &'a LogFilters,
    newest: Timestamp,
    oldest: Timestamp,
    open: Vec<Open>,
    streams: Vec<Stream>,
    a_pack: usize,
    wanted: usize,
    looked_at: usize,
    read: usize,
}

impl<'a> Reader<'a> {
    async fn new(store: &'a TenantStore, asked: &'a LogPage) -> Result<Self> {
        let filters = &asked.filters;
        let now = store.now();
        // The clocks of the edge proxies may be slightly ahead.
        let newest = filters.to.unwrap_or(Timestamp::MAX).min(now + shared::model::edge::AHEAD);
        let oldest = filters.from.unwrap_or(Timestamp::MIN).max(now - KEPT);
        let mut reader = Reader {
            store,
            filters,
            newest,
            oldest,
            open: vec![],
            streams: vec![],
            a_pack: asked.a_pack,
            wanted: asked.limit,
            looked_at: 0,
            read: 0,
        };
        match &asked.position {
            None => reader.begin(),
            Some(position) => reader.go_on(position).await?,
        }
        Ok(reader)
    }

    fn begin(&mut self) {
        if self.newest < self.oldest {
            return;
        }
        // A narrow pack whose newest entry is later than the range may still have entries in it.
        let reach = if self.filters.to.is_some() { Pack::NARROW } else { SignedDuration::ZERO };
        let first = self.newest + reach;
        let after = self.filters.to.map(|_| Shelf::sort_of(&Shelf::WIDE.from(first)));
        let mut month = Month::of(first);
        while month >= Month::of(self.oldest) {
            // The partitions of earlier months are read from their beginning.
            let after = after.clone().filter(|_| month == Month::of(first));
            self.streams.push(Stream::new(Shelf::of(month), after));
            month = month.previous();
        }
        self.streams.push(Stream::new(Shelf::WIDE, None));
    }

    async fn go_on(&mut self, position: &str) -> Result<()> {
        let position: Position =
            serde_json::from_str(position).map_err(|_| Error::BadRequest("The cursor does not belong to this list.".into()))?;
        let keys: Vec<_> = position.open.iter().map(|(shelf, sort, _)| shelf.key(sort)).collect();
        for pack in self.store.find_many(&keys).await? {
            let next = position.open.iter().find(|(_, sort, _)| *sort == pack.sort()).map_or(0, |(_, _, next)| *next);
            self.looked_at += 1;
            self.open.push(Open { entries: pack.entries()?, pack, next });
        }
        self.streams = position.streams;
        Ok(())
    }

    async fn page(&mut self, limit: usize) -> Result<Vec<LogView>> {
        let mut logs = vec![];
        while logs.len() < limit {
            self.wanted = limit - logs.len();
            if !self.fetch().await? {
                break;
            }
            let next_pack =
                self.streams.iter().enumerate().filter_map(|(index, stream)| Some((stream.fetched.front()?.newest, index))).max();
            let next_entry = (0..self.open.len()).map(|index| (self.open[index].at(), std::cmp::Reverse(index))).max();
            match (next_pack, next_entry) {
                (Some((newest, index)), entry) if self.open.len() < OPEN && entry.is_none_or(|(at, _)| newest >= at) => {
                    self.open_from(index)?
                }
                (_, Some((_, std::cmp::Reverse(index)))) => logs.extend(self.take(index)),
                _ => break,
            }
        }
        Ok(logs)
    }

    /// Makes sure that the next pack of each stream is known. `false` if enough was read for one page.
    async fn fetch(&mut self) -> Result<bool> {
        let enough = self.looked_at >= LOOKED_AT || self.read >= READ;
        let filtered =
            self.filters.status.is_some() || self.filters.cache.is_some() || self.filters.kind.is_some() || self.filters.path.is_some();
        let some = if filtered { FILTERED } else { (self.wanted.div_ceil(self.a_pack) + 1).min(AT_ONCE) };
        let empty: Vec<&mut Stream> = self.streams.iter_mut().filter(|stream| stream.fetched.is_empty() && !stream.drained).collect();
        if empty.is_empty() {
            return Ok(true);
        }
        if enough {
            return Ok(false);
        }
        // All at the same time. For later streams, only enough to know which pack is next.
        let (store, oldest) = (self.store, self.oldest);
        let fetching = empty.into_iter().enumerate().map(|(index, stream)| {
            let some = if index == 0 { some } else { PEEK };
            async move { stream.fetch(store, oldest, some).await }
        });
        self.read += futures_util::future::try_join_all(fetching).await?.into_iter().sum::<usize>();
        Ok(true)
    }

    fn open_from(&mut self, index: usize) -> Result<()> {
        let Some(pack) = self.streams[index].take() else { return Ok(()) };
        if pack.oldest > self.newest || pack.newest < self.oldest {
            return Ok(());
        }
        let entries = pack.entries()?;
        let next = entries.iter().take_while(|entry| entry.at > self.newest).count();
        if next < entries.len() {
            self.open.push(Open { pack, entries, next });
        }
        Ok(())
    }

    /// The next entry of an open pack, if it matches the filter.
    fn take(&mut self, index: usize) -> Option<LogView> {
        let open = &mut self.open[index];
        let entry = &open.entries[open.next];
        let too_old = entry.at < self.oldest;
        let view = (!too_old && fits(self.filters, entry)).then(|| LogView::of(&open.pack, open.next, entry));
        open.next += 1;
        self.looked_at += 1;
        if too_old || open.next == open.entries.len() {
            self.open.remove(index);
        }
        view
    }

    /// `None` when nothing is left.
    fn position(self) -> Result<Option<String>> {
        let streams: Vec<Stream> = self.streams.into_iter().filter(|stream| !stream.is_done()).collect();
        if self.open.is_empty() && streams.is_empty() {
            return Ok(None);
        }
        let open = self.open.iter().map(|open| (open.pack.shelf(), open.pack.sort(), open.next)).collect();
        let position = serde_json::to_string(&Position { open, streams });
        position.map(Some).map_err(|error| Error::internal("writing a cursor", error))
    }
}

impl Open {
    fn at(&self) -> Timestamp {
        self.entries[self.next].at
    }
}

impl Stream {
    fn new(shelf: Shelf, after: Option<String>) -> Self {
        Stream { shelf, after, fetched: VecDeque::new(), drained: false }
    }

    fn is_done(&self) -> bool {
        self.fetched.is_empty() && self.drained
    }

    fn take(&mut self) -> Option<Pack> {
        let pack = self.fetched.pop_front()?;
        self.after = Some(pack.sort());
        Some(pack)
    }

    /// Fetches some packs and returns their number. The stream ends when its packs are too old.
    async fn fetch(&mut self, store: &TenantStore, oldest: Timestamp, some: usize) -> Result<usize> {
        let after = self.after.as_deref().map(|after| self.shelf.key(after));
        let (packs, next) = store.after(&self.shelf.packs(), after.as_ref(), some).await?;
        let read = packs.len();
        self.fetched.extend(packs.into_iter().filter(|pack| pack.newest >= oldest));
        // If all fetched packs have expired or are too old, so are those after them.
        self.drained = next.is_none() || self.fetched.is_empty() || self.fetched.len() < read;
        Ok(read)
    }
}

fn fits(filters: &LogFilters, entry: &Entry) -> bool {
    filters.status.is_none_or(|status| i64::from(entry.status) == status)
        && filters.cache.is_none_or(|cache| entry.cache == cache)
        && filters.kind.is_none_or(|kind| entry.kind == kind)
        && filters.path.as_ref().is_none_or(|path| entry.path.starts_with(path.as_str()))
}

impl LogView {
    fn of(pack: &Pack, index: usize, entry: &Entry) -> Self {
        LogView {
            id: format!("{}-{index}", pack.id),
            timestamp: zulu(entry.at),
            method: entry.method.clone(),
            path: entry.path.clone(),
            kind: entry.kind,
            status: entry.status,
            cache: entry.cache,
            bytes: entry.bytes,
            duration_ms: entry.duration_ms,
            country: entry.country.clone(),
        }
    }
}
