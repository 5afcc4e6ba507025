//! The analytics of a month: from its counters, and the busiest paths from the latest entries of its log.

use std::collections::HashMap;

use crate::arguments::MonthOverview;
use serde::Serialize;
use shared::Result;
use shared::http::answer::Answer;
use shared::model::edge::{Entry, Shelf, ratio, savings};
use shared::tenancy::doors::Viewer;

use crate::usage::PeriodView;

/// The number of entries in which busiest paths are searched, and the number of paths shown.
const LATEST: usize = 200;
const SHOWN: usize = 10;

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TenantAnalytics)]
pub struct Analytics {
    period: PeriodView,
    requests: u64,
    hits: u64,
    misses: u64,
    bypass: u64,
    errors: u64,
    hit_ratio: f64,
    origin_requests_avoided: u64,
    bandwidth_bytes: u64,
    /// In US dollars, where the CMS has a known price; else null.
    estimated_savings: Option<f64>,
    traffic: Traffic,
    top_paths: Vec<TopPath>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TenantTraffic)]
pub struct Traffic {
    asset: u64,
    api: u64,
    api_hit_ratio: f64,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct TopPath {
    path: String,
    requests: u64,
}

pub async fn overview(door: Viewer, asked: MonthOverview) -> Result<Answer<Analytics>> {
    let used = asked.used;
    let latest = latest(&door, &asked).await?;
    Ok(Answer::bare(Analytics {
        period: PeriodView::of(asked.month),
        requests: used.requests,
        hits: used.hits,
        misses: used.misses,
        bypass: used.bypass,
        errors: used.errors,
        hit_ratio: ratio(used.hits, used.requests),
        origin_requests_avoided: used.hits,
        bandwidth_bytes: used.bytes,
        estimated_savings: asked.cms.as_deref().and_then(|cms| savings(cms, &used)),
        traffic: Traffic { asset: used.assets, api: used.api, api_hit_ratio: ratio(used.api_hits, used.api) },
        top_paths: busiest(&latest),
    }))
}

/// The latest entries of the month, in one round trip. The counters say how many packs they are in.
async fn latest(door: &Viewer, asked: &MonthOverview) -> Result<Vec<Entry>> {
    let packs = LATEST.div_ceil(asked.used.a_pack()) + 1;
    let end = asked.month.end();
    let (narrow, wide) = (Shelf::of(asked.month), Shelf::WIDE);
    let (narrow_list, wide_list, narrow_end, wide_end) = (narrow.packs(), wide.packs(), narrow.from(end), wide.from(end));
    let (narrow, wide) = futures_util::future::join(
        door.store.after(&narrow_list, Some(&narrow_end), packs),
        door.store.after(&wide_list, Some(&wide_end), packs),
    )
    .await;
    let mut entries = vec![];
    for pack in narrow?.0.iter().chain(&wide?.0) {
        entries.extend(pack.entries()?.into_iter().filter(|entry| (asked.month.start()..end).contains(&entry.at)));
    }
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.at));
    entries.truncate(LATEST);
    Ok(entries)
}

fn busiest(entries: &[Entry]) -> Vec<TopPath> {
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for entry in entries {
        *counts.entry(&entry.path).or_default() += 1;
    }
    let mut paths: Vec<TopPath> = counts.into_iter().map(|(path, requests)| TopPath { path: path.to_owned(), requests }).collect();
    paths.sort_by(|left, right| right.requests.cmp(&left.requests).then_with(|| left.path.cmp(&right.path)));
    paths.truncate(SHOWN);
    paths
}
