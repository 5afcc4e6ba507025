//! Phone lines: those that the tenant may send from, and how many of its own messages each of them sent today. Never what carries a line, what others send
//! from it, or whose conversations it holds.

use jiff::Timestamp;
use records::line_use::LineUse;
use serde::Serialize;
use shared::http::answer::{Answer, Listing, Tagged};
use shared::http::arguments::{Cursors, NoFilters, path_id};
use shared::http::{Argument, Operation};
use shared::ids::PathId as _;
use shared::model::line::{Channel, LineId, LinePool, LineStatus, PhoneLine};
use shared::model::phone_number::PhoneNumber;
use shared::model::time::{Printed, day, zulu};
use shared::store::{Direction, Window};
use shared::tenancy::doors::Viewer;
use shared::tenancy::{Entered, Incoming, Wants};
use shared::{Error, Result};

/// A number that messages go out from.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = PhoneLine)]
pub struct LineView {
    id: String,
    #[schema(inline)]
    phone_number: PhoneNumber,
    /// By what it sends.
    capabilities: Vec<Channel>,
    mode: Mode,
    status: LineStatus,
    /// Messages that it sends today (UTC), for all tenants together. While it warms up, they are 20 more each day.
    daily_limit: u64,
    /// Messages that this tenant sent from it today (UTC).
    sent_today: u64,
    /// For all tenants together.
    per_minute_limit: u64,
    /// The day of its warming, from 1. `null`: it is warm.
    #[schema(required = true)]
    warming_day: Option<u64>,
    created_at: Printed,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PhoneLineMode)]
pub enum Mode {
    /// All tenants share it.
    Pooled,
}

/// The lines that all tenants share, read with the door.
pub struct Pool(LinePool);

/// The line of them that the path names.
pub struct FoundLine {
    line: PhoneLine,
    pool_version: u64,
}

/// In the order in which they were added.
pub async fn list(door: Viewer, pool: Pool, asked: Cursors<NoFilters>) -> Result<Listing<LineView>> {
    let mut window = Window::new(asked.page.span(), Direction::Ascending)?;
    for (index, line) in pool.0.lines.iter().enumerate() {
        window.add(index, line.id.to_string());
    }
    let (ids, next, total) = window.finish();
    let uses = door.store.all(&LineUse::of_day(day(door.now()))).await?;
    let lines = ids.iter().filter_map(|id| pool.0.find(LineId::parse(id)?));
    let items = lines.map(|line| LineView::of(line, &uses, door.now())).collect();
    Ok(Listing { items, total, page: asked.page, next })
}

pub async fn show(door: Viewer, found: FoundLine) -> Result<Tagged<LineView>> {
    let uses = door.store.all(&LineUse::of_line(day(door.now()), found.line.id)).await?;
    let view = LineView::of(&found.line, &uses, door.now());
    let etag = format!("\"{}.{}.{}\"", found.pool_version, view.warming_day.unwrap_or(0), view.sent_today);
    Ok(Answer::new("Success", view).tagged(etag))
}

impl LineView {
    fn of(line: &PhoneLine, uses: &[LineUse], now: Timestamp) -> Self {
        LineView {
            id: line.id.prefixed(),
            phone_number: line.phone_number.clone(),
            capabilities: line.capabilities.clone(),
            mode: Mode::Pooled,
            status: line.status(now),
            daily_limit: line.limit_of_day(now),
            sent_today: LineUse::sent_from(line.id, uses),
            per_minute_limit: line.per_minute_limit,
            warming_day: line.warming_day(now),
            created_at: zulu(line.created_at),
        }
    }
}

impl Argument for Pool {
    fn wants(_incoming: &Incoming, wants: &mut Wants) {
        wants.open(&LinePool::key_of());
    }

    async fn take(_incoming: &Incoming, entered: &Entered) -> Result<Self> {
        Ok(Pool(entered.find_open(&LinePool::key_of()).await?.unwrap_or_else(LinePool::none)))
    }

    fn describe(_operation: &mut Operation) {}
}

impl Argument for FoundLine {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        Pool::wants(incoming, wants);
    }

    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        let Pool(pool) = Pool::take(incoming, entered).await?;
        let line = path_id(incoming).ok().and_then(|id| pool.find(id)).cloned();
        let line = line.ok_or(Error::Missing(PhoneLine::NOUN))?;
        Ok(FoundLine { line, pool_version: pool.version })
    }

    fn describe(operation: &mut Operation) {
        operation.names(LineId::schema());
    }
}
