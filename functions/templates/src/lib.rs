//! E-mail templates of a workspace (F0): written, listed, rendered, copied, and put back to an earlier version.

mod render;
mod rules;
mod template;
mod version;

use shared::http::Registry;
use shared::http::registry::Routes;

pub struct Templates;

impl Routes for Templates {
    fn declare(routes: &mut impl Registry) {
        routes.tag("templates", "What the mails of a workspace say, with names for what differs from contact to contact.");
        routes.get("/api/v1/tenant/templates", "listTemplates", "List templates", template::list);
        routes.post("/api/v1/tenant/templates", "createTemplate", "Create a template", template::create);
        routes.post("/api/v1/tenant/templates/render", "renderUnsavedTemplate", "Render what is not saved", render::unsaved);
        routes.get("/api/v1/tenant/templates/{id}", "getTemplate", "Read a template", template::show);
        routes.patch("/api/v1/tenant/templates/{id}", "updateTemplate", "Change a template", template::update);
        routes.delete(
            "/api/v1/tenant/templates/{id}",
            "deleteTemplate",
            "Delete a template that no launched campaign uses",
            template::delete,
        );
        routes.post("/api/v1/tenant/templates/{id}/render", "renderTemplate", "Render a template", render::saved);
        routes.post("/api/v1/tenant/templates/{id}/duplicate", "duplicateTemplate", "Copy a template", template::duplicate);
        routes.get("/api/v1/tenant/templates/{id}/versions", "listTemplateVersions", "List the versions that are kept", version::list);
        routes.post(
            "/api/v1/tenant/templates/{id}/versions/{version}/restore",
            "restoreTemplateVersion",
            "Make an earlier version the newest",
            version::restore,
        );
    }
}
