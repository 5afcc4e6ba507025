//! Arguments of the handlers for usage and logs: a month with its counters, and a page of the log.

use jiff::Timestamp;
use serde_json::{Value, json};
use shared::http::form::{self, Cursor, Fields, Form, Integer, OneOf, Raw, Rule, Text};
use shared::http::paging::binding;
use shared::http::{Argument, Operation};
use shared::model::edge::{CacheResult, RequestKind, Rollup, Totals};
use shared::model::edge_config::EdgeConfig;
use shared::model::period::Month;
use shared::model::time;
use shared::tenancy::{App, Entered, Incoming, Wants};
use shared::{Error, Result};

/// The query parameter `period`.
pub struct Period(Option<String>);

impl Form for Period {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Period(fields.optional("period", Text::at_most(32))))
    }
}

impl Period {
    fn of(incoming: &Incoming) -> Result<Month> {
        let Period(text) = form::from_query(&incoming.query).map_err(Error::Validation)?;
        Month::asked(text.as_deref(), incoming.now)
    }
}

/// The requested month, with the usage of that month and of the one before. Read with the door.
pub struct MonthlyUsage {
    pub month: Month,
    pub current: Totals,
    pub previous: Totals,
}

impl Argument for MonthlyUsage {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        if let Ok(month) = Period::of(incoming) {
            wants.record(&Rollup::of_month(month));
            wants.record(&Rollup::of_month(month.previous()));
        }
    }

    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        let month = Period::of(incoming)?;
        Ok(MonthlyUsage { month, current: served(entered, month).await?, previous: served(entered, month.previous()).await? })
    }

    fn describe(operation: &mut Operation) {
        operation.query(form::described::<Period>());
    }
}

/// The requested month, its usage, and the CMS of the tenant. Read with the door.
pub struct MonthOverview {
    pub month: Month,
    pub used: Totals,
    pub cms: Option<String>,
}

impl Argument for MonthOverview {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        if let Ok(month) = Period::of(incoming) {
            wants.record(&Rollup::of_month(month));
            wants.record(&EdgeConfig::key_of());
        }
    }

    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        let month = Period::of(incoming)?;
        let cms = entered.find(&EdgeConfig::key_of()).await?.and_then(|config: EdgeConfig| config.cms).map(|cms| cms.name().to_owned());
        Ok(MonthOverview { month, used: served(entered, month).await?, cms })
    }

    fn describe(operation: &mut Operation) {
        operation.query(form::described::<Period>());
    }
}

async fn served(entered: &Entered, month: Month) -> Result<Totals> {
    Ok(entered.find(&Rollup::of_month(month)).await?.map(|rollup: Rollup| rollup.totals).unwrap_or_default())
}

/// The requested month, for all tenants of the caller.
pub struct MonthEverywhere(pub Month);

impl Argument for MonthEverywhere {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        if Period::of(incoming).is_ok() {
            wants.tenants();
        }
    }

    async fn take(incoming: &Incoming, _entered: &Entered) -> Result<Self> {
        Period::of(incoming).map(MonthEverywhere)
    }

    fn describe(operation: &mut Operation) {
        operation.query(form::described::<Period>());
    }
}

/// The filters for log entries.
#[derive(Debug, Default)]
pub struct LogFilters {
    pub status: Option<i64>,
    pub cache: Option<CacheResult>,
    pub kind: Option<RequestKind>,
    /// The beginning of the path.
    pub path: Option<String>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

/// A page of the log: filters and position.
pub struct LogPage {
    pub filters: LogFilters,
    pub limit: usize,
    /// A position that `cursor` returned.
    pub position: Option<String>,
    /// The average number of entries in a pack.
    pub a_pack: usize,
    bound_to: String,
    app: App,
}

struct LogForm {
    filters: LogFilters,
    limit: Option<i64>,
    cursor: Option<String>,
}

impl Form for LogForm {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let status = fields.optional("status", Integer { min: 100, max: 599 });
        let cache = fields.optional("cache", OneOf { words: CacheResult::WORDS, parse: CacheResult::parse });
        let kind = fields.optional("kind", OneOf { words: RequestKind::WORDS, parse: RequestKind::parse });
        let path = fields.optional("path", Text::up_to(2048));
        let from = fields.optional("from", Moment { ends: false });
        let to = fields.optional("to", Moment { ends: true });
        let limit = fields.optional("limit", Integer { min: 1, max: 200 });
        let cursor = fields.optional("cursor", Cursor { max: 4096 });
        Some(LogForm { filters: LogFilters { status, cache, kind, path, from, to }, limit, cursor })
    }
}

impl Argument for LogPage {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        wants.record(&Rollup::of_month(Month::of(incoming.now)));
    }

    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        let LogForm { filters, limit, cursor } = form::from_query(&incoming.query).map_err(Error::Validation)?;
        if filters.from.zip(filters.to).is_some_and(|(from, to)| from > to) {
            return Err(Error::InvalidRange("The range ends before it begins."));
        }
        let tenant = entered.store().map(|store| store.tenant_id().to_string()).unwrap_or_default();
        let bound_to = binding(&tenant, incoming.route, &incoming.query);
        let position = match cursor {
            None => None,
            Some(cursor) => {
                let opened = incoming.app.keys().cursors()?.open(&cursor, &bound_to).and_then(|bytes| String::from_utf8(bytes).ok());
                Some(opened.ok_or(Error::BadRequest("The cursor does not belong to this list.".into()))?)
            }
        };
        let limit = usize::try_from(limit.unwrap_or(50)).unwrap_or(50);
        let a_pack = served(entered, Month::of(incoming.now)).await?.a_pack();
        Ok(LogPage { filters, limit, position, a_pack, bound_to, app: incoming.app.clone() })
    }

    fn describe(operation: &mut Operation) {
        operation.query(form::described::<LogForm>());
    }
}

impl LogPage {
    /// The position, encrypted for this list with these filters.
    pub fn cursor(&self, position: &str) -> Result<String> {
        Ok(self.app.keys().cursors()?.seal(position.as_bytes(), &self.bound_to, self.app.random()))
    }
}

/// A moment in RFC 3339, or a day. A day means its first moment, or its last one if it `ends` a range.
struct Moment {
    ends: bool,
}

impl Rule for Moment {
    type Value = Timestamp;

    fn check(&self, raw: Raw<'_>) -> Result<Timestamp, String> {
        let text = match raw {
            Raw::Json(value) => value.as_str(),
            Raw::Text(text) => Some(text),
        };
        let whole_day = |text: &str| {
            let last = if self.ends { "T23:59:59.999Z" } else { "T00:00:00Z" };
            (text.len() == 10).then(|| time::moment(&format!("{text}{last}"))).flatten()
        };
        text.and_then(|text| time::moment(text).or_else(|| whole_day(text)))
            .ok_or_else(|| "must be a moment like 2026-11-21T09:30:00Z, or a day".into())
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "format": "date-time"})
    }
}

/// 1 to `max` values that are read one by one. `schema` is the schema of each.
pub struct Values {
    pub max: usize,
    pub schema: fn() -> Value,
}

impl Rule for Values {
    type Value = Vec<Value>;

    fn check(&self, raw: Raw<'_>) -> Result<Vec<Value>, String> {
        match raw {
            Raw::Json(Value::Array(values)) if (1..=self.max).contains(&values.len()) => Ok(values.clone()),
            _ => Err(format!("must be a list of 1 to {}", self.max)),
        }
    }

    fn schema(&self) -> Value {
        json!({"type": "array", "minItems": 1, "maxItems": self.max, "items": (self.schema)()})
    }
}

/// A field of an object that is read later. `schema` is the schema of the object.
pub struct Unread {
    pub field: &'static str,
    pub schema: fn() -> Value,
}

impl Rule for Unread {
    type Value = Value;

    fn check(&self, raw: Raw<'_>) -> Result<Value, String> {
        match raw {
            Raw::Json(value) => Ok(value.clone()),
            Raw::Text(text) => Ok(Value::String(text.to_owned())),
        }
    }

    fn schema(&self) -> Value {
        (self.schema)()["properties"][self.field].clone()
    }
}
