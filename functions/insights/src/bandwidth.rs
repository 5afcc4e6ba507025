//! Bandwidth day by day, without gaps.

use std::collections::HashMap;

use jiff::civil::Date;
use serde::Serialize;
use shared::Result;
use shared::http::answer::Answer;
use shared::http::arguments::Query;
use shared::http::form::{Fields, Form, Text};
use shared::model::edge::Rollup;
use shared::model::period::Days;
use shared::tenancy::doors::Viewer;

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = DailyBandwidth)]
pub struct Daily {
    #[schema(value_type = String, format = Date)]
    from: Date,
    #[schema(value_type = String, format = Date)]
    to: Date,
    points: Vec<Point>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = BandwidthOfDay)]
pub struct Point {
    #[schema(value_type = String, format = Date)]
    date: Date,
    bytes: u64,
    requests: u64,
}

pub struct BandwidthQuery {
    from: Option<String>,
    to: Option<String>,
}

pub async fn daily(door: Viewer, asked: Query<BandwidthQuery>) -> Result<Answer<Daily>> {
    let days = Days::asked(asked.0.from.as_deref(), asked.0.to.as_deref(), door.now())?;
    let after = days.to.tomorrow().map(Rollup::of_day).unwrap_or_else(|_| Rollup::of_day(days.to));
    let (found, _) = door.store.after(&Rollup::days(), Some(&after), Days::LONGEST).await?;
    let served: HashMap<_, _> = found.into_iter().filter_map(|rollup| Some((rollup.day()?, rollup.totals))).collect();
    let points = days.each().map(|day| {
        let totals = served.get(&day).copied().unwrap_or_default();
        Point { date: day, bytes: totals.bytes, requests: totals.requests }
    });
    Ok(Answer::bare(Daily { from: days.from, to: days.to, points: points.collect() }))
}

impl Form for BandwidthQuery {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(BandwidthQuery { from: fields.optional("from", Text::at_most(64)), to: fields.optional("to", Text::at_most(64)) })
    }
}
