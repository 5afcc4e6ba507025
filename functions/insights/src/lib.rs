//! What a tenant uses: edge metering, usage, analytics and logs (F1), billing usage (F4), cost.

mod analytics;
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
        routes.post("/api/usage/ingest", "Report what the edge served", ingest::ingest);
        routes.get("/api/usage/check", "Ask whether the edge may serve", ingest::check);
        routes.get("/api/tenants/usage", "Read the usage of all your tenants", usage::everywhere);
        routes.get("/api/tenants/{slug}/usage", "Read the usage of a month", usage::monthly);
        routes.get("/api/tenants/{slug}/analytics", "Read the analytics of a month", analytics::overview);
        routes.get("/api/tenants/{slug}/bandwidth-daily", "Read the bandwidth of each day", bandwidth::daily);
        routes.get("/api/tenants/{slug}/logs", "Read the request log", logs::page);
        routes.get("/api/tenant/cost", "Read what the tenant costs to run", cost::show);
        routes.get("/v1/billing/usage", "Read the usage of the current month", billing::usage);
        routes.get("/v1/billing/usage/history", "Read the usage of earlier months", billing::history);
        routes.get("/v1/billing/events", "List billing events", billing::events);
    }
}
