//! Usage of a month: of one tenant, and of all tenants of a person.

use crate::arguments::{MonthEverywhere, MonthlyUsage};
use serde::Serialize;
use shared::Result;
use shared::http::answer::Answer;
use shared::model::edge::Totals;
use shared::model::period::Month;
use shared::model::plan::{Plan, Plans};
use shared::model::time::{Printed, zulu};
use shared::tenancy::Role;
use shared::tenancy::doors::{SignedIn, UsedIn, Viewer};

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Period)]
pub struct PeriodView {
    key: String,
    start: Printed,
    /// The first moment after it.
    end: Printed,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EdgeUsage)]
pub struct UsageView {
    requests: u64,
    bandwidth_bytes: u64,
    api_requests: u64,
    asset_requests: u64,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = MonthlyUsage)]
pub struct Monthly {
    current: UsageView,
    previous: UsageView,
    period: PeriodView,
}

/// Of a plan, a month; null is unlimited.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EdgeLimits {
    requests: Option<u64>,
    bandwidth_bytes: Option<u64>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantUsage {
    slug: String,
    requests: u64,
    bandwidth_bytes: u64,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = UsageOverview)]
pub struct Everywhere {
    period: PeriodView,
    totals: UsageView,
    limits: EdgeLimits,
    tenants: Vec<TenantUsage>,
}

pub async fn monthly(_door: Viewer, usage: MonthlyUsage) -> Result<Answer<Monthly>> {
    Ok(Answer::bare(Monthly {
        current: UsageView::of(&usage.current),
        previous: UsageView::of(&usage.previous),
        period: PeriodView::of(usage.month),
    }))
}

/// The limits are those of the best plan among the tenants that the person owns.
pub async fn everywhere(door: SignedIn, month: MonthEverywhere) -> Result<Answer<Everywhere>> {
    let used = door.used_in(month.0).await?;
    let mut totals = Totals::default();
    used.iter().for_each(|of| totals.plus(&of.used));
    Ok(Answer::bare(Everywhere {
        period: PeriodView::of(month.0),
        totals: UsageView::of(&totals),
        limits: EdgeLimits::best(&used, door.app.plans()),
        tenants: used.iter().map(TenantUsage::of).collect(),
    }))
}

impl PeriodView {
    pub fn of(month: Month) -> Self {
        PeriodView { key: month.to_string(), start: zulu(month.start()), end: zulu(month.end()) }
    }
}

impl UsageView {
    fn of(totals: &Totals) -> Self {
        UsageView { requests: totals.requests, bandwidth_bytes: totals.bytes, api_requests: totals.api, asset_requests: totals.assets }
    }
}

impl TenantUsage {
    fn of(of: &UsedIn) -> Self {
        TenantUsage { slug: of.tenant.slug.to_string(), requests: of.used.requests, bandwidth_bytes: of.used.bytes }
    }
}

impl EdgeLimits {
    pub fn of(plan: &Plan) -> Self {
        EdgeLimits { requests: plan.edge_requests_per_month, bandwidth_bytes: plan.edge_bytes_per_month }
    }

    fn best(used: &[UsedIn], plans: &Plans) -> Self {
        let owned = used.iter().filter(|of| of.role == Role::Owner).map(|of| plans.get(&of.tenant.plan));
        let size = |plan: &&Plan| plan.edge_requests_per_month.unwrap_or(u64::MAX);
        EdgeLimits::of(owned.max_by_key(size).unwrap_or_else(|| plans.get("free")))
    }
}
