//! Tenants by slug with their domains (F1), the current tenant with its settings, audit log and export (F3).

mod audit;

use shared::http::Registry;
use shared::http::registry::Routes;

pub struct Tenants;

impl Routes for Tenants {
    fn declare(routes: &mut impl Registry) {
        routes.get("/api/tenant/audit-log", "List what was changed, and by whom", audit::list);
    }
}
