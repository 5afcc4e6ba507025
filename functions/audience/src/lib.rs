//! Whom a workspace writes to (F0): leads, and what happened with them.

mod activity;
mod bulk;
mod changing;
mod lead;
mod rules;

use shared::http::Registry;
use shared::http::registry::Routes;

pub struct Audience;

impl Routes for Audience {
    fn declare(routes: &mut impl Registry) {
        routes.tag("leads", "The people a workspace writes to.");
        routes.get("/api/v1/tenant/leads", "listLeads", "List leads", lead::list);
        routes.post("/api/v1/tenant/leads", "createLead", "Create a lead", lead::create);
        routes.post("/api/v1/tenant/leads/bulk", "changeLeads", "Change up to 100 leads", bulk::change);
        routes.get("/api/v1/tenant/leads/{id}", "getLead", "Read a lead", lead::show);
        routes.patch("/api/v1/tenant/leads/{id}", "updateLead", "Change a lead", lead::update);
        routes.delete("/api/v1/tenant/leads/{id}", "deleteLead", "Delete a lead with its activity and threads", lead::delete);
        routes.get("/api/v1/tenant/leads/{id}/activity", "listLeadActivity", "List what happened with a lead", activity::list);
        routes.post("/api/v1/tenant/leads/{id}/notes", "createLeadNote", "Add a note to a lead", activity::note);
    }
}
