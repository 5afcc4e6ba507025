//! What a tenant uses: edge metering, usage, analytics and logs (F1), billing usage (F4), cost.

mod analytics;
mod arguments;
mod bandwidth;
mod billing;
mod cost;
mod ingest;
mod logs;
mod usage;

use shared::http::Registry;
use shared::http::registry::Routes;

pub struct Insights;

impl Routes for Insights {
    fn declare(routes: &mut impl Registry) {
        routes.tag("edge reports", "What edge proxies tell and ask.");
        routes.post("/api/usage/ingest", "ingestUsage", "Report what the edge served", ingest::ingest);
        routes.get("/api/usage/check", "checkUsage", "Ask whether the edge may serve", ingest::check);
        routes.tag("tenant usage", "What a tenant served: usage, analytics, bandwidth and logs.");
        routes.get("/api/tenants/usage", "getUsageOverview", "Read the usage of all your tenants", usage::everywhere);
        routes.get("/api/tenants/{slug}/usage", "getTenantUsage", "Read the usage of a month", usage::monthly);
        routes.get("/api/tenants/{slug}/analytics", "getTenantAnalytics", "Read the analytics of a month", analytics::overview);
        routes.get("/api/tenants/{slug}/bandwidth-daily", "getTenantBandwidth", "Read the bandwidth of each day", bandwidth::daily);
        routes.get("/api/tenants/{slug}/logs", "listTenantLogs", "Read the request log", logs::page);
        routes.tag("costs", "What the tenant costs to run.");
        routes.get("/api/tenant/cost", "getCurrentTenantCost", "Read what the tenant costs to run", cost::show);
        routes.tag("billing", "Usage beside what the plan allows.");
        routes.get("/v1/billing/usage", "getBillingUsage", "Read the usage of the current month", billing::usage);
        routes.get("/v1/billing/usage/history", "getBillingUsageHistory", "Read the usage of earlier months", billing::history);
        routes.get("/v1/billing/events", "listBillingEvents", "List billing events", billing::events);
    }
}
