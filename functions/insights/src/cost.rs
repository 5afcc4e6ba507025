//! What a tenant costs to run: the capacity and computing time that its requests really consumed, at configured prices.

use jiff::civil::Date;
use serde::Serialize;
use shared::Result;
use shared::config::Prices;
use shared::http::answer::Answer;
use shared::http::arguments::Query;
use shared::http::form::{Fields, Form, Text};
use shared::model::period::Month;
use shared::model::time::day;
use shared::model::usage::UsageDay;
use shared::tenancy::doors::Admin;

use crate::usage::PeriodView;

/// In US dollars. Of requests of the API; what is done after the answer (mails, audit log, clean-up) is not in it.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Cost)]
pub struct CostView {
    period: PeriodView,
    currency: &'static str,
    requests: u64,
    table: TableCost,
    compute: ComputeCost,
    /// Of the requests themselves, at Lambda and at the gateway.
    request_cost: f64,
    total: f64,
    days: Vec<DayView>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TableCost {
    read_units: f64,
    write_units: f64,
    cost: f64,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComputeCost {
    milliseconds: f64,
    gb_seconds: f64,
    cost: f64,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CostOfDay)]
pub struct DayView {
    #[schema(value_type = String, format = Date)]
    date: Date,
    requests: u64,
    cost: f64,
}

pub struct CostQuery {
    period: Option<String>,
}

/// An instance records what its requests consumed with its next lease of the daily quota. The last requests may therefore be recorded
/// later, or not at all if the instance ends first.
pub async fn show(door: Admin, asked: Query<CostQuery>) -> Result<Answer<CostView>> {
    let month = Month::asked(asked.0.period.as_deref(), door.now())?;
    let days = door.store.all(&UsageDay::of_month(day(month.start()))).await?;
    Ok(Answer::bare(CostView::of(month, &days, &door.app.config().prices)))
}

impl CostView {
    fn of(month: Month, days: &[UsageDay], prices: &Prices) -> Self {
        let used = days.iter().fold(UsageDay::none(day(month.start())), |sum, day| sum.plus(day));
        let (table, compute) = (TableCost::of(&used, prices), ComputeCost::of(&used, prices));
        let request_cost = used.requests as f64 * prices.request;
        CostView {
            period: PeriodView::of(month),
            currency: "USD",
            requests: used.requests,
            total: table.cost + compute.cost + request_cost,
            table,
            compute,
            request_cost,
            days: days.iter().map(|day| DayView::of(day, prices)).collect(),
        }
    }
}

impl TableCost {
    fn of(used: &UsageDay, prices: &Prices) -> Self {
        let (read_units, write_units) = (used.read_milliunits as f64 / 1000.0, used.write_milliunits as f64 / 1000.0);
        TableCost { read_units, write_units, cost: read_units * prices.read_unit + write_units * prices.write_unit }
    }
}

impl ComputeCost {
    fn of(used: &UsageDay, prices: &Prices) -> Self {
        let gb_seconds = used.gb_micros as f64 / 1e6;
        ComputeCost { milliseconds: used.compute_micros as f64 / 1e3, gb_seconds, cost: gb_seconds * prices.gb_second }
    }
}

impl DayView {
    fn of(used: &UsageDay, prices: &Prices) -> Self {
        let cost = TableCost::of(used, prices).cost + ComputeCost::of(used, prices).cost + used.requests as f64 * prices.request;
        DayView { date: used.date, requests: used.requests, cost }
    }
}

impl Form for CostQuery {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(CostQuery { period: fields.optional("period", Text::up_to(16)) })
    }
}
