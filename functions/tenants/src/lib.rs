//! Tenants by slug with their domains (F1), the current tenant with its settings, audit log and export (F3).

mod audit;
mod domain;

use shared::http::Registry;
use shared::http::registry::Routes;

pub struct Tenants;

impl Routes for Tenants {
    fn declare(routes: &mut impl Registry) {
        routes.get("/api/tenant/audit-log", "List what was changed, and by whom", audit::list);
        routes.get("/api/tenants/{slug}/domains", "List the custom domains of a tenant", domain::list);
        routes.post("/api/tenants/{slug}/domains", "Add a custom domain", domain::create);
        routes.delete("/api/tenants/{slug}/domains", "Remove a custom domain", domain::remove);
        routes.post("/api/tenants/{slug}/domains/verify", "Check the DNS of a custom domain", domain::verify);
    }
}
