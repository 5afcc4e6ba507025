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
        routes.tag("tenants", "Tenants of a person, by slug, with their edge configuration.");
        routes.get("/api/tenants", "listTenants", "List my tenants", tenant::list);
        routes.post("/api/tenants", "createTenant", "Create a tenant", tenant::create);
        routes.get("/api/tenants/slug-availability", "getSlugAvailability", "Ask whether a slug is available", tenant::availability);
        routes.get("/api/tenants/{slug}", "getTenant", "Read a tenant's configuration", config::show);
        routes.put("/api/tenants/{slug}", "updateTenant", "Change a tenant's configuration", config::update);
        routes.delete("/api/tenants/{slug}", "deleteTenant", "Delete a tenant", tenant::delete);
        routes.put("/api/tenants/{slug}/api-config", "updateApiProxy", "Save the configuration of the API proxy", config::save_api);
        routes.put("/api/tenants/{slug}/api-token", "setApiToken", "Save the token of the API origin", config::save_token);
        routes.post("/api/tenants/{slug}/refresh-cache", "refreshCache", "Make what is cached unreachable", config::refresh_cache);
        routes.tag("current tenant", "The tenant that the credential acts in.");
        routes.get("/api/tenant", "getCurrentTenant", "Read the current tenant", current::show);
        routes.post("/api/tenant", "createCurrentTenant", "Create a tenant", current::create);
        routes.put("/api/tenant", "updateCurrentTenant", "Change the current tenant", current::update);
        routes.delete("/api/tenant", "deleteCurrentTenant", "Delete the current tenant", current::delete);
        routes.get("/api/tenant/export", "exportCurrentTenant", "Export the current tenant", export::export);
        routes.tag("settings", "Named values of the current tenant; secrets are sealed and masked.");
        routes.get("/api/tenant-setting", "listSettings", "Read the settings", setting::list);
        routes.post("/api/tenant-setting", "writeSettings", "Write one setting or many", setting::write);
        routes.post("/api/tenant-setting/dynamic", "writeDynamicSettings", "Write settings of any name", setting::write);
        routes.get("/api/tenant-setting/{id}", "getSetting", "Read a setting", setting::show);
        routes.get("/api/tenant-setting/{id}/history", "listSettingChanges", "List the changes of a setting", setting::history);
        routes.tag("audit log", "What was changed, and by whom.");
        routes.get("/api/tenant/audit-log", "listAuditLog", "List what was changed, and by whom", audit::list);
        routes.tag("domains", "Custom domains of a tenant, verified by DNS.");
        routes.get("/api/tenants/{slug}/domains", "listDomains", "List the custom domains of a tenant", domain::list);
        routes.post("/api/tenants/{slug}/domains", "createDomain", "Add a custom domain", domain::create);
        routes.delete("/api/tenants/{slug}/domains", "deleteDomain", "Remove a custom domain", domain::remove);
        routes.post("/api/tenants/{slug}/domains/verify", "verifyDomain", "Check the DNS of a custom domain", domain::verify);
    }
}
