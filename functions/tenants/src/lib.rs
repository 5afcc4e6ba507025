//! Tenants by slug with their domains (F1), the current tenant with its settings, audit log and export (F3).

mod audit;
mod config;
mod current;
mod domain;
mod export;
mod rules;
mod setting;
mod tenant;

use shared::http::Registry;
use shared::http::registry::Routes;

pub struct Tenants;

impl Routes for Tenants {
    fn declare(routes: &mut impl Registry) {
        routes.get("/api/tenants", "List my tenants", tenant::list);
        routes.post("/api/tenants", "Create a tenant", tenant::create);
        routes.get("/api/tenants/slug-availability", "Ask whether a slug is available", tenant::availability);
        routes.get("/api/tenants/{slug}", "Read a tenant's configuration", config::show);
        routes.put("/api/tenants/{slug}", "Change a tenant's configuration", config::update);
        routes.delete("/api/tenants/{slug}", "Delete a tenant", tenant::delete);
        routes.put("/api/tenants/{slug}/api-config", "Save the configuration of the API proxy", config::save_api);
        routes.put("/api/tenants/{slug}/api-token", "Save the token of the API origin", config::save_token);
        routes.post("/api/tenants/{slug}/refresh-cache", "Make what is cached unreachable", config::refresh_cache);
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
        routes.get("/api/tenants/{slug}/domains", "List the custom domains of a tenant", domain::list);
        routes.post("/api/tenants/{slug}/domains", "Add a custom domain", domain::create);
        routes.delete("/api/tenants/{slug}/domains", "Remove a custom domain", domain::remove);
        routes.post("/api/tenants/{slug}/domains/verify", "Check the DNS of a custom domain", domain::verify);
    }
}
