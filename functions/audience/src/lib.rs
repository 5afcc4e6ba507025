//! Whom a workspace writes to (F0): leads and their lists.

mod activity;
mod bulk;
mod changing;
mod lead;
mod list;
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
        routes.tag("lead lists", "Leads that somebody put together.");
        routes.get("/api/v1/tenant/leads/lists", "listLeadLists", "List the lists of leads", list::list);
        routes.post("/api/v1/tenant/leads/lists", "createLeadList", "Create a list of leads", list::create);
        routes.get("/api/v1/tenant/leads/lists/{id}", "getLeadList", "Read a list of leads", list::show);
        routes.patch("/api/v1/tenant/leads/lists/{id}", "updateLeadList", "Rename a list of leads", list::update);
        routes.delete("/api/v1/tenant/leads/lists/{id}", "deleteLeadList", "Delete a list, and none of its leads", list::delete);
    }
}
