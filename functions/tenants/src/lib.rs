//! Tenants by slug with their domains (F1), the current tenant with its settings, audit log and export (F3).

mod audit;
mod current;
mod export;
mod setting;

use shared::http::Registry;
use shared::http::registry::Routes;

pub struct Tenants;

impl Routes for Tenants {
    fn declare(routes: &mut impl Registry) {
        routes.get("/api/tenant", "Read the current tenant", current::show);
        routes.post("/api/tenant", "Create a tenant", current::create);
        routes.put("/api/tenant", "Change the current tenant", current::update);
        routes.delete("/api/tenant", "Delete the current tenant", current::delete);
        routes.get("/api/tenant/export", "Export the current tenant", export::export);
        routes.get("/api/tenant-setting", "Read the settings", setting::list);
        routes.post("/api/tenant-setting", "Write one setting or many", setting::write);
        routes.post("/api/tenant-setting/dynamic", "Write settings of any name", setting::write);
        routes.get("/api/tenant-setting/{id}", "Read a setting", setting::show);
        routes.get("/api/tenant-setting/{id}/history", "List the changes of a setting", setting::history);
        routes.get("/api/tenant/audit-log", "List what was changed, and by whom", audit::list);
    }
}
