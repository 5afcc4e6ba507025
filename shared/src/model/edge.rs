//! What the edge proxies report. Log entries are stored in compressed packs. Counters of days and months are rolled up from the stream of
//! packs. Marks make sure that both happen once. Quota events say how full a quota is.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{Error, FieldErrors, Result};
use crate::model::period::Month;
use crate::model::plan::Plan;
use crate::model::tenant::{Inaccessible, Tenant};
use crate::model::time::{self, day};
use crate::store::entity::{Collection, Entity, Hashed, InTenant, Key};
use crate::store::page::{Direction, List};

/// One request that the edge served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// In whole milliseconds.
    pub at: Timestamp,
    pub method: String,
    pub path: String,
    pub kind: RequestKind,
    pub status: u16,
    pub cache: CacheResult,
    pub bytes: u64,
    pub duration_ms: u32,
    pub country: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RequestKind {
    Asset,
    Api,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum CacheResult {
    Hit,
    Miss,
    Bypass,
    Error,
}

impl RequestKind {
    pub const WORDS: &'static [&'static str] = &["asset", "api"];

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "asset" => Some(RequestKind::Asset),
            "api" => Some(RequestKind::Api),
            _ => None,
        }
    }
}

impl CacheResult {
    pub const WORDS: &'static [&'static str] = &["HIT", "MISS", "BYPASS", "ERROR"];

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "HIT" => Some(CacheResult::Hit),
            "MISS" => Some(CacheResult::Miss),
            "BYPASS" => Some(CacheResult::Bypass),
            "ERROR" => Some(CacheResult::Error),
            _ => None,
        }
    }
}

/// Log entries are kept for this long.
pub const KEPT: SignedDuration = SignedDuration::from_hours(24 * 30);
/// How far the clock of an edge proxy may be ahead of ours.
pub const AHEAD: SignedDuration = SignedDuration::from_secs(60);
const FIELDS: [&str; 9] = ["timestamp", "method", "path", "kind", "status", "cache", "bytes", "durationMs", "country"];
const MAX_PATH: usize = 2048;
/// More than the size of any response.
const MAX_BYTES: u64 = 1 << 42;
/// A day.
const MAX_DURATION: f64 = 86_400_000.0;

impl Entry {
    /// Reads an entry. Every wrong field is added to `errors` under `<at>.<field>`.
    pub fn read(value: &Value, at: &str, now: Timestamp, errors: &mut FieldErrors) -> Option<Self> {
        let mut wrong = |field: &str, problem: &str| {
            errors.entry(format!("{at}.{field}")).or_default().push(format!("The {at}.{field} field {problem}."));
        };
        let Some(object) = value.as_object() else {
            errors.entry(at.to_owned()).or_default().push(format!("The {at} field must be an object."));
            return None;
        };
        if let Some(unknown) = object.keys().find(|name| !FIELDS.contains(&name.as_str())) {
            let shown: String = unknown.chars().take(64).collect();
            wrong(&shown, "is not known");
        }
        let mut field = |name: &str, problem: &str, fits: &dyn Fn(&Value) -> bool| match object.get(name) {
            None | Some(Value::Null) => {
                wrong(name, "is required");
                None
            }
            Some(value) if fits(value) => Some(value),
            Some(_) => {
                wrong(name, problem);
                None
            }
        };
        let text = |value: &Value, fits: &dyn Fn(&str) -> bool| value.as_str().is_some_and(fits);
        let timestamp = field("timestamp", "must be a moment like 2026-11-21T09:30:00Z", &|value| moment(value).is_some());
        let method = field("method", "must be an HTTP method", &|value| text(value, &is_method));
        let path = field("path", "must be a path of at most 2048 characters", &|value| text(value, &is_path));
        let kind = field("kind", "must be one of asset, api", &|value| value.as_str().and_then(RequestKind::parse).is_some());
        let status = field("status", "must be between 100 and 599", &|value| value.as_u64().is_some_and(|n| (100..600).contains(&n)));
        let cache =
            field("cache", "must be one of HIT, MISS, BYPASS, ERROR", &|value| value.as_str().and_then(CacheResult::parse).is_some());
        let bytes =
            field("bytes", "must be a whole number of bytes, not negative", &|value| value.as_u64().is_some_and(|n| n <= MAX_BYTES));
        let duration = field("durationMs", "must be milliseconds, not negative", &|value| {
            value.as_f64().is_some_and(|n| (0.0..=MAX_DURATION).contains(&n))
        });
        let country = object.get("country").filter(|value| !value.is_null());
        if country.is_some_and(|value| !text(value, &is_country)) {
            wrong("country", "must be a country of two letters, or null");
        }
        let at = moment(timestamp?)?;
        if at > now + AHEAD {
            wrong("timestamp", "lies in the future");
        } else if at <= now - KEPT {
            wrong("timestamp", "is older than 30 days");
        }
        Some(Entry {
            at,
            method: method?.as_str()?.to_owned(),
            path: without_query(path?.as_str()?).to_owned(),
            kind: RequestKind::parse(kind?.as_str()?)?,
            status: u16::try_from(status?.as_u64()?).ok()?,
            cache: CacheResult::parse(cache?.as_str()?)?,
            bytes: bytes?.as_u64()?,
            duration_ms: duration?.as_f64()?.round() as u32,
            country: country.and_then(Value::as_str).map(str::to_owned),
        })
    }

    /// How the API reference shows an entry.
    pub fn schema() -> Value {
        json!({
            "type": "object",
            "required": FIELDS.iter().filter(|name| **name != "country").collect::<Vec<_>>(),
            "additionalProperties": false,
            "properties": {
                "timestamp": {"type": "string", "format": "date-time"},
                "method": {"type": "string"},
                "path": {"type": "string", "maxLength": MAX_PATH},
                "kind": {"type": "string", "enum": RequestKind::WORDS},
                "status": {"type": "integer", "minimum": 100, "maximum": 599},
                "cache": {"type": "string", "enum": CacheResult::WORDS},
                "bytes": {"type": "integer", "minimum": 0, "maximum": MAX_BYTES},
                "durationMs": {"type": "number", "minimum": 0, "maximum": MAX_DURATION},
                "country": {"type": ["string", "null"], "pattern": "^[A-Z][A-Z0-9]$"},
            },
        })
    }
}

/// A moment in RFC 3339, cut to milliseconds.
pub fn moment(value: &Value) -> Option<Timestamp> {
    let at = time::moment(value.as_str()?)?;
    Timestamp::from_millisecond(at.as_millisecond()).ok()
}

fn is_method(text: &str) -> bool {
    (3..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.chars().count() <= MAX_PATH && !text.chars().any(char::is_control)
}

fn is_country(text: &str) -> bool {
    text.len() == 2
        && text.as_bytes()[0].is_ascii_uppercase()
        && (text.as_bytes()[1].is_ascii_uppercase() || text.as_bytes()[1].is_ascii_digit())
}

/// A query string may contain data that must not be logged.
fn without_query(path: &str) -> &str {
    path.split(['?', '#']).next().unwrap_or_default()
}

/// Sums over requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    pub requests: u64,
    pub bytes: u64,
    pub hits: u64,
    pub misses: u64,
    pub bypass: u64,
    pub errors: u64,
    pub api: u64,
    pub assets: u64,
    pub api_hits: u64,
    /// Bytes that the cache served.
    pub hit_bytes: u64,
    /// The number of packs with these requests.
    pub packs: u64,
}

impl Totals {
    fn count(&mut self, entry: &Entry) {
        self.requests += 1;
        self.bytes += entry.bytes;
        match entry.cache {
            CacheResult::Hit => self.hits += 1,
            CacheResult::Miss => self.misses += 1,
            CacheResult::Bypass => self.bypass += 1,
            CacheResult::Error => self.errors += 1,
        }
        match entry.kind {
            RequestKind::Asset => self.assets += 1,
            RequestKind::Api => self.api += 1,
        }
        if entry.cache == CacheResult::Hit {
            self.hit_bytes += entry.bytes;
            self.api_hits += u64::from(entry.kind == RequestKind::Api);
        }
    }

    pub fn plus(&mut self, other: &Totals) {
        let theirs = other.columns();
        for ((_, mine), (_, theirs)) in self.columns_mut().into_iter().zip(theirs) {
            *mine += theirs;
        }
    }

    /// As attributes of a rollup.
    pub fn columns(&self) -> [(&'static str, u64); 11] {
        let mut copy = *self;
        copy.columns_mut().map(|(name, value)| (name, *value))
    }

    fn columns_mut(&mut self) -> [(&'static str, &mut u64); 11] {
        [
            ("requests", &mut self.requests),
            ("bytes", &mut self.bytes),
            ("hits", &mut self.hits),
            ("misses", &mut self.misses),
            ("bypass", &mut self.bypass),
            ("errors", &mut self.errors),
            ("api", &mut self.api),
            ("assets", &mut self.assets),
            ("api_hits", &mut self.api_hits),
            ("hit_bytes", &mut self.hit_bytes),
            ("packs", &mut self.packs),
        ]
    }

    /// The average number of entries in a pack, to read no more packs than needed.
    pub fn a_pack(&self) -> usize {
        usize::try_from(self.requests / self.packs.max(1)).unwrap_or(Pack::MOST).clamp(1, Pack::MOST)
    }
}

/// `edge-logs-<month of the year>` / `<newest entry>#<batch>-<part>`: up to 200 log entries of one batch, newest first, compressed. A
/// partition holds one month. Entries live for 30 days, so last year's are gone when the name is used again. A batch that spans hours or
/// days goes to `edge-logs-wide`. A pack is written once and never changed. Its insertion is the event that the rollups count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pack {
    pub id: String,
    pub newest: Timestamp,
    pub oldest: Timestamp,
    wide: bool,
    /// What it adds to each day (`2026-11-21`).
    days: BTreeMap<String, Totals>,
    #[serde(with = "bytes")]
    entries: Vec<u8>,
}

/// The partitions of packs: one for each month of the year, and one for packs with a wide time span.
pub(crate) const SHELVES: [&str; 13] = [
    "edge-logs-wide",
    "edge-logs-01",
    "edge-logs-02",
    "edge-logs-03",
    "edge-logs-04",
    "edge-logs-05",
    "edge-logs-06",
    "edge-logs-07",
    "edge-logs-08",
    "edge-logs-09",
    "edge-logs-10",
    "edge-logs-11",
    "edge-logs-12",
];

/// A partition of packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shelf(u8);

impl Shelf {
    pub const WIDE: Shelf = Shelf(0);

    pub fn of(month: Month) -> Self {
        Shelf(u8::try_from(month.number()).unwrap_or(1))
    }

    fn collection(self) -> Collection {
        Collection::one_of::<Pack>(usize::from(self.0))
    }

    /// Newest first.
    pub fn packs(self) -> List<Pack> {
        List::new(self.collection(), "").going(Direction::Descending)
    }

    /// The key of a pack of this shelf, from its sort key.
    pub fn key(self, sort: &str) -> Key<Pack> {
        Key::at(&self.collection(), sort.to_owned())
    }

    /// The sort key of a pack, for `key`.
    pub fn sort_of(key: &Key<Pack>) -> String {
        key.sort.clone()
    }

    /// The first pack, seen from the newest, whose newest entry is not newer than `moment`.
    pub fn from(self, moment: Timestamp) -> Key<Pack> {
        Key::at(&self.collection(), format!("{:013}$", moment.as_millisecond().max(0)))
    }
}

/// The entries of a pack, column by column. Equal values are next to each other, which compresses best.
#[derive(Default, Serialize, Deserialize)]
struct Columns {
    before: Vec<i64>,
    method: Vec<String>,
    path: Vec<String>,
    kind: Vec<RequestKind>,
    status: Vec<u16>,
    cache: Vec<CacheResult>,
    bytes: Vec<u64>,
    duration: Vec<u32>,
    country: Vec<Option<String>>,
}

impl Pack {
    pub const MOST: usize = 200;
    /// The most packs of a batch with a short time span.
    const AT_MOST: usize = 8;
    /// The entries of a pack that is not wide are within this time span.
    pub const NARROW: SignedDuration = SignedDuration::from_mins(15);

    /// Cuts a batch into packs, always in the same way. At most eight.
    pub fn cut(batch: &Batch, mut entries: Vec<Entry>) -> Result<Vec<Pack>> {
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.at));
        let narrow = chunks(&entries, Some(Pack::NARROW));
        let wide = narrow.len() > Pack::AT_MOST;
        let chunks = if wide { chunks(&entries, None) } else { narrow };
        chunks.into_iter().enumerate().map(|(part, entries)| Pack::of(format!("{}-{part}", batch.short_id()), wide, entries)).collect()
    }

    fn of(id: String, wide: bool, entries: &[Entry]) -> Result<Self> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Err(Error::internal("packing log entries", "there are none"));
        };
        let mut columns = Columns::default();
        let mut days: BTreeMap<String, Totals> = BTreeMap::new();
        let mut newer = first.at;
        for entry in entries {
            days.entry(day(entry.at).to_string()).or_default().count(entry);
            columns.before.push(newer.as_millisecond() - entry.at.as_millisecond());
            columns.method.push(entry.method.clone());
            columns.path.push(entry.path.clone());
            columns.kind.push(entry.kind);
            columns.status.push(entry.status);
            columns.cache.push(entry.cache);
            columns.bytes.push(entry.bytes);
            columns.duration.push(entry.duration_ms);
            columns.country.push(entry.country.clone());
            newer = entry.at;
        }
        // The pack counts for the day of its newest entry.
        if let Some(newest) = days.get_mut(&day(first.at).to_string()) {
            newest.packs = 1;
        }
        let entries = compress(&columns).map_err(|error| Error::internal("packing log entries", error))?;
        Ok(Pack { id, newest: first.at, oldest: last.at, wide, days, entries })
    }

    /// Newest first.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let columns: Columns = serde_json::from_reader(DeflateDecoder::new(&self.entries[..]).take(1 << 24))
            .map_err(|error| Error::internal("unpacking log entries", error))?;
        let mut at = self.newest;
        let Columns { before, method, path, kind, status, cache, bytes, duration, country } = columns;
        let texts = method.into_iter().zip(path).zip(country);
        let numbers = status.into_iter().zip(bytes).zip(duration);
        let words = kind.into_iter().zip(cache);
        let entries = before.into_iter().zip(texts).zip(numbers).zip(words);
        Ok(entries
            .map(|(((before, ((method, path), country)), ((status, bytes), duration_ms)), (kind, cache))| {
                at -= SignedDuration::from_millis(before);
                Entry { at, method, path, kind, status, cache, bytes, duration_ms, country }
            })
            .collect())
    }

    pub fn shelf(&self) -> Shelf {
        if self.wide { Shelf::WIDE } else { Shelf::of(Month::of(self.newest)) }
    }

    pub fn sort(&self) -> String {
        format!("{:013}#{}", self.newest.as_millisecond().max(0), self.id)
    }

    /// What it adds to the counters of days and months.
    pub fn rollups(&self) -> Vec<(Key<Rollup>, Totals)> {
        let mut months: BTreeMap<Month, Totals> = BTreeMap::new();
        let days: Vec<(Date, Totals)> = self.days.iter().filter_map(|(day, totals)| Some((day.parse().ok()?, *totals))).collect();
        for (day, totals) in &days {
            months.entry(Month::of_day(*day)).or_default().plus(totals);
        }
        let days = days.into_iter().map(|(day, totals)| (Rollup::of_day(day), totals));
        days.chain(months.into_iter().map(|(month, totals)| (Rollup::of_month(month), totals))).collect()
    }
}

/// Groups of neighbours, newest first: never more than a pack holds, and within `span` of each other if a span is given.
fn chunks(entries: &[Entry], span: Option<SignedDuration>) -> Vec<&[Entry]> {
    let mut chunks = vec![];
    let mut start = 0;
    for (index, entry) in entries.iter().enumerate() {
        let too_wide = span.is_some_and(|span| entries[start].at.duration_since(entry.at) > span);
        if index - start == Pack::MOST || too_wide {
            chunks.push(&entries[start..index]);
            start = index;
        }
    }
    if start < entries.len() {
        chunks.push(&entries[start..]);
    }
    chunks
}

fn compress(columns: &Columns) -> std::io::Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(vec![], Compression::best());
    encoder.write_all(&serde_json::to_vec(columns)?)?;
    encoder.finish()
}

impl Entity for Pack {
    type Scope = InTenant;
    const TYPE: &'static str = "edge_pack";
    const COLLECTION: &'static str = SHELVES[0];
    const COLLECTIONS: &'static [&'static str] = &SHELVES;
    const AUDITED: bool = false;
    const EXPORTED: bool = false;

    fn key(&self) -> Key<Self> {
        self.shelf().key(&self.sort())
    }

    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.newest + KEPT)
    }
}

/// `edge-batches` / `<hash of the batch id>`: a batch was accepted, and what it contained. It lives longer than its entries, so that a
/// repeat adds nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    pub id: String,
    pub content: String,
    pub received_at: Timestamp,
}

impl Batch {
    pub fn new(batch_id: &str, content: &[u8], received_at: Timestamp) -> Self {
        Batch { id: Hashed::of(&[batch_id]).to_string(), content: crate::crypto::hash(&[content]), received_at }
    }

    /// 96 bits: enough to tell apart the batches of a tenant and a month.
    fn short_id(&self) -> &str {
        &self.id[..16]
    }
}

impl Entity for Batch {
    type Scope = InTenant;
    const TYPE: &'static str = "edge_batch";
    const COLLECTION: &'static str = "edge-batches";
    const AUDITED: bool = false;
    const EXPORTED: bool = false;

    fn key(&self) -> Key<Self> {
        Key::at(&Collection::of::<Batch>(), self.id.clone())
    }

    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.received_at + KEPT + AHEAD + SignedDuration::from_hours(24))
    }
}

/// `edge-counted` / `<pack>`: a pack is in the rollups. Written in the transaction that adds it, so that a second delivery adds nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Counted {
    pub pack: String,
    pub until: Timestamp,
}

impl Counted {
    pub fn of(pack: &Pack) -> Self {
        Counted { pack: pack.id.clone(), until: pack.newest + KEPT + SignedDuration::from_hours(48) }
    }
}

impl Entity for Counted {
    type Scope = InTenant;
    const TYPE: &'static str = "edge_counted";
    const COLLECTION: &'static str = "edge-counted";
    const AUDITED: bool = false;
    const EXPORTED: bool = false;

    fn key(&self) -> Key<Self> {
        Key::at(&Collection::of::<Counted>(), self.pack.clone())
    }

    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.until)
    }
}

/// `edge-usage` / `day#<2026-11-21>` and `month#<2026-11>`: what was served in a day or month. Changes in the same transaction as
/// `Counted`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rollup {
    #[serde(rename = "sk")]
    span: String,
    #[serde(flatten)]
    pub totals: Totals,
}

impl Rollup {
    pub fn of_day(day: Date) -> Key<Self> {
        Key::at(&Rollup::collection(), format!("day#{day}"))
    }

    pub fn of_month(month: Month) -> Key<Self> {
        Key::at(&Rollup::collection(), format!("month#{month}"))
    }

    /// Newest day first.
    pub fn days() -> List<Self> {
        List::new(Rollup::collection(), "day#").going(Direction::Descending)
    }

    /// `None` for a month.
    pub fn day(&self) -> Option<Date> {
        self.span.strip_prefix("day#")?.parse().ok()
    }

    fn collection() -> Collection {
        Collection::of::<Rollup>()
    }
}

impl Entity for Rollup {
    type Scope = InTenant;
    const TYPE: &'static str = "edge_usage";
    const COLLECTION: &'static str = "edge-usage";
    const AUDITED: bool = false;

    fn key(&self) -> Key<Self> {
        Key::at(&Rollup::collection(), self.span.clone())
    }
}

/// `quota-events` / `<month>#<metric>#<percent>`: a share of the month's quota was reached. Once each.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct QuotaEvent {
    pub month: String,
    pub metric: Metric,
    pub percent: u64,
    pub used: u64,
    pub limit: u64,
    pub plan: String,
    pub reached_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = QuotaMetric)]
pub enum Metric {
    Requests,
    Bytes,
}

impl Metric {
    pub fn name(self) -> &'static str {
        match self {
            Metric::Requests => "requests",
            Metric::Bytes => "bytes",
        }
    }
}

impl QuotaEvent {
    const PERCENTS: [u64; 3] = [50, 80, 100];

    /// Every share of the plan's quota that the month has reached so far.
    pub fn reached(month: Month, totals: &Totals, plan: &Plan, plan_name: &str, now: Timestamp) -> Vec<QuotaEvent> {
        let quotas =
            [(Metric::Requests, totals.requests, plan.edge_requests_per_month), (Metric::Bytes, totals.bytes, plan.edge_bytes_per_month)];
        let mut events = vec![];
        for (metric, used, limit) in quotas {
            let Some(limit) = limit else { continue };
            let reached = |percent: u64| u128::from(used) * 100 >= u128::from(limit) * u128::from(percent);
            events.extend(QuotaEvent::PERCENTS.into_iter().filter(|percent| reached(*percent)).map(|percent| QuotaEvent {
                month: month.to_string(),
                metric,
                percent,
                used,
                limit,
                plan: plan_name.to_owned(),
                reached_at: now,
            }));
        }
        events
    }
}

impl QuotaEvent {
    /// By month, metric and share.
    pub fn all() -> List<Self> {
        List::new(QuotaEvent::collection(), "")
    }

    fn collection() -> Collection {
        Collection::of::<QuotaEvent>()
    }
}

impl Entity for QuotaEvent {
    type Scope = InTenant;
    const TYPE: &'static str = "quota_event";
    const COLLECTION: &'static str = "quota-events";
    const AUDITED: bool = false;

    fn key(&self) -> Key<Self> {
        Key::at(&QuotaEvent::collection(), format!("{}#{}#{:03}", self.month, self.metric.name(), self.percent))
    }
}

/// Why the edge should currently serve nothing for a tenant, in the words of `usage/check`.
pub fn refusal(tenant: &Tenant, plan: &Plan, used: &Totals, now: Timestamp) -> Option<&'static str> {
    let over = |used: u64, limit: Option<u64>| limit.is_some_and(|limit| used >= limit);
    match tenant.inaccessible(now) {
        Some(Inaccessible::Suspended) => Some("suspended"),
        Some(Inaccessible::Expired) => Some("expired"),
        Some(Inaccessible::Gone) => Some("deleted"),
        // If the plan bills overage, the edge continues to serve.
        None if plan.edge_overage => None,
        None if over(used.requests, plan.edge_requests_per_month) => Some("requests_exceeded"),
        None if over(used.bytes, plan.edge_bytes_per_month) => Some("bandwidth_exceeded"),
        None => None,
    }
}

/// What a gigabyte costs at a CMS, in US dollars: rough list prices, only where a price is published. Used for `estimatedSavings`.
const PRICE_PER_GB: [(&str, f64); 6] =
    [("prismic", 0.15), ("contentful", 0.15), ("sanity", 0.30), ("cloudinary", 0.40), ("imgix", 0.08), ("storyblok", 0.15)];

/// The value of the CMS bandwidth that the cache saved, in US dollars and cents.
pub fn savings(cms: &str, used: &Totals) -> Option<f64> {
    let price = PRICE_PER_GB.iter().find(|(name, _)| *name == cms)?.1;
    Some((used.hit_bytes as f64 / 1e9 * price * 100.0).round() / 100.0)
}

/// `part` divided by `whole`, with four digits. 0 if `whole` is 0.
pub fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64 * 10_000.0).round() / 10_000.0 }
}

/// Bytes as one binary value, not as a list of numbers.
mod bytes {
    use std::fmt;

    use serde::de::{Error, SeqAccess, Visitor};
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }

            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<u8>, A::Error> {
                let mut bytes = vec![];
                while let Some(byte) = list.next_element()? {
                    bytes.push(byte);
                }
                Ok(bytes)
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::model::plan::Plans;

    fn now() -> Timestamp {
        "2026-11-21T09:30:00Z".parse().unwrap()
    }

    fn entry(seconds_ago: i64, bytes: u64) -> Entry {
        Entry {
            at: now() - SignedDuration::from_secs(seconds_ago),
            method: "GET".into(),
            path: format!("/img/{}.png", seconds_ago % 37),
            kind: if seconds_ago % 3 == 0 { RequestKind::Api } else { RequestKind::Asset },
            status: 200,
            cache: if seconds_ago % 2 == 0 { CacheResult::Hit } else { CacheResult::Miss },
            bytes,
            duration_ms: 12,
            country: (seconds_ago % 5 > 0).then(|| "DE".into()),
        }
    }

    fn packs(entries: Vec<Entry>) -> Vec<Pack> {
        Pack::cut(&Batch::new("b", b"", now()), entries).unwrap()
    }

    fn good() -> Value {
        json!({"timestamp": "2026-11-21T09:29:59.1234Z", "method": "GET", "path": "/a?token=secret", "kind": "api", "status": 200, "cache": "HIT", "bytes": 10, "durationMs": 1.6, "country": null})
    }

    #[test]
    fn an_entry_is_read_strictly_and_without_its_query() {
        let mut errors = FieldErrors::new();
        let entry = Entry::read(&good(), "entries.0", now(), &mut errors).unwrap();
        assert_eq!((entry.path.as_str(), entry.duration_ms, entry.at.to_string().as_str()), ("/a", 2, "2026-11-21T09:29:59.123Z"));
        assert!(errors.is_empty());
        for (field, wrong) in [
            ("timestamp", json!("2026-11-21T09:31:01Z")),
            ("timestamp", json!("2026-10-22T09:30:00Z")),
            ("timestamp", json!(1_795_253_400)),
            ("method", json!("get")),
            ("path", json!("a")),
            ("path", json!("/a\n")),
            ("kind", json!("image")),
            ("status", json!(600)),
            ("status", json!("200")),
            ("cache", json!("hit")),
            ("bytes", json!(-1)),
            ("bytes", json!(1.5)),
            ("bytes", json!(null)),
            ("durationMs", json!(-1)),
            ("country", json!("Germany")),
            ("extra", json!(1)),
        ] {
            let (mut value, mut errors) = (good(), FieldErrors::new());
            value[field] = wrong.clone();
            let _ = Entry::read(&value, "entries.7", now(), &mut errors);
            assert_eq!(errors.keys().collect::<Vec<_>>(), [&format!("entries.7.{field}")], "{wrong}");
        }
        let mut errors = FieldErrors::new();
        assert!(Entry::read(&json!(3), "entries.1", now(), &mut errors).is_none());
        assert_eq!(errors.len(), 1);
    }

    #[test]
    fn packs_hold_what_went_in_and_know_their_sums() {
        for step in [0, 1, 5, 3600, 2590] {
            let entries: Vec<Entry> = (0..1000).map(|n| entry(n * step, u64::try_from(n).unwrap())).collect();
            let packs = packs(entries.clone());
            assert!(packs.len() <= Pack::AT_MOST, "{step}: {}", packs.len());
            let mut read: Vec<Entry> = packs.iter().flat_map(|pack| pack.entries().unwrap()).collect();
            read.sort_by_key(|entry| entry.bytes);
            assert_eq!(read, entries);
            let mut sums = Totals::default();
            packs.iter().flat_map(Pack::rollups).filter(|(key, _)| key.sort.starts_with("day#")).for_each(|(_, totals)| sums.plus(&totals));
            let mut months = Totals::default();
            packs
                .iter()
                .flat_map(Pack::rollups)
                .filter(|(key, _)| key.sort.starts_with("month#"))
                .for_each(|(_, totals)| months.plus(&totals));
            assert_eq!(sums, months);
            assert_eq!((sums.requests, sums.bytes, sums.packs), (1000, 499_500, packs.len() as u64));
            assert_eq!((sums.hits + sums.misses, sums.api + sums.assets), (1000, 1000));
            for pack in &packs {
                assert!(pack.shelf() == Shelf::WIDE || pack.newest.duration_since(pack.oldest) <= Pack::NARROW);
            }
        }
    }

    #[test]
    fn a_pack_survives_the_table() {
        let pack = packs((0..3).map(|n| entry(n, 1)).collect()).remove(0);
        let item: std::collections::HashMap<String, aws_sdk_dynamodb::types::AttributeValue> = serde_dynamo::to_item(&pack).unwrap();
        assert!(item["entries"].is_b());
        assert_eq!(crate::store::item::read::<Pack>(&item).unwrap(), pack);
    }

    #[test]
    fn a_quota_is_reached_in_three_steps() {
        let plans = Plans::seeded();
        let percents = |requests: u64, bytes: u64| {
            let totals = Totals { requests, bytes, ..Totals::default() };
            let events = QuotaEvent::reached(Month::of(now()), &totals, plans.get("demo"), "demo", now());
            events.into_iter().map(|event| (event.metric.name(), event.percent)).collect::<Vec<_>>()
        };
        assert_eq!(percents(4999, 0), []);
        assert_eq!(percents(5000, 0), [("requests", 50)]);
        assert_eq!(percents(12_000, 80_000_000), [("requests", 50), ("requests", 80), ("requests", 100), ("bytes", 50), ("bytes", 80)]);
        let all = Totals { requests: u64::MAX, bytes: u64::MAX, ..Totals::default() };
        assert!(QuotaEvent::reached(Month::of(now()), &all, plans.get("enterprise"), "enterprise", now()).is_empty());
    }

    #[test]
    fn savings_are_known_where_a_price_is() {
        let used = Totals { hit_bytes: 10_000_000_000, bytes: u64::MAX, ..Totals::default() };
        assert_eq!(savings("sanity", &used), Some(3.0));
        assert_eq!(savings("generic", &used), None);
        assert_eq!((ratio(1, 3), ratio(0, 0)), (0.3333, 0.0));
    }
}
