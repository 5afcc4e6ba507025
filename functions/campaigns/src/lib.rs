//! Campaigns of a workspace (F0): written, listed, copied, asked what they would do, launched, paused and resumed; their recipients, the
//! lists and segments that they go to, and the addresses that get none. `sender` does the rest.

mod campaign;
mod contents;
mod dry_run;
mod forms;
mod launch;
mod lead_list;
mod recipient;
mod rules;
mod segment;
mod suppression;
mod test_send;
mod view;
mod waiting;

use shared::http::Registry;
use shared::http::registry::Routes;

pub struct Campaigns;

impl Routes for Campaigns {
    fn declare(routes: &mut impl Registry) {
        routes.tag("campaigns", "Mails to many leads: in which order, to whom, from whom and how fast.");
        routes.get("/api/v1/tenant/campaigns", "listCampaigns", "List campaigns", campaign::list);
        routes.post("/api/v1/tenant/campaigns", "createCampaign", "Create a campaign", campaign::create);
        routes.get("/api/v1/tenant/campaigns/{id}", "getCampaign", "Read a campaign", campaign::show);
        routes.patch("/api/v1/tenant/campaigns/{id}", "updateCampaign", "Change a campaign", campaign::update);
        routes.delete("/api/v1/tenant/campaigns/{id}", "deleteCampaign", "Delete a campaign that sends nothing", campaign::delete);
        routes.patch("/api/v1/tenant/campaigns/{id}/config", "configureCampaign", "Change how a campaign sends", campaign::configure);
        routes.post("/api/v1/tenant/campaigns/{id}/duplicate", "duplicateCampaign", "Copy a campaign", campaign::duplicate);
        routes.post("/api/v1/tenant/campaigns/{id}/send", "sendCampaign", "Launch, pause or resume a campaign", launch::send);
        routes.post("/api/v1/tenant/campaigns/{id}/dry-run", "dryRunCampaign", "Ask who would get a campaign, and when", dry_run::run);
        routes.post("/api/v1/tenant/campaigns/{id}/test-send", "testCampaign", "Send a mail of a campaign to colleagues", test_send::send);
        routes.get("/api/v1/tenant/campaigns/{id}/recipients", "listRecipients", "List the recipients of a campaign", recipient::list);
        routes.post("/api/v1/tenant/campaigns/{id}/recipients", "addRecipients", "Enrol up to 100 leads by hand", waiting::add);
        routes.post("/api/v1/tenant/campaigns/{id}/recipients/{lead}/pause", "pauseRecipient", "Pause a recipient", recipient::pause);
        routes.post("/api/v1/tenant/campaigns/{id}/recipients/{lead}/resume", "resumeRecipient", "Resume a recipient", recipient::resume);
        routes.post("/api/v1/tenant/campaigns/{id}/recipients/{lead}/remove", "removeRecipient", "Take a recipient out", recipient::remove);
        routes.post("/api/v1/tenant/campaigns/{id}/retry", "retryCampaign", "Send mails that failed or got lost once more", waiting::retry);
        routes.tag("lead lists", "Leads that somebody put together.");
        routes.get("/api/v1/tenant/leads/lists", "listLeadLists", "List the lists of leads", lead_list::list);
        routes.post("/api/v1/tenant/leads/lists", "createLeadList", "Create a list of leads", lead_list::create);
        routes.get("/api/v1/tenant/leads/lists/{id}", "getLeadList", "Read a list of leads", lead_list::show);
        routes.patch("/api/v1/tenant/leads/lists/{id}", "updateLeadList", "Rename a list of leads", lead_list::update);
        routes.delete("/api/v1/tenant/leads/lists/{id}", "deleteLeadList", "Delete a list, and none of its leads", lead_list::delete);
        routes.tag("segments", "Leads that a rule describes.");
        routes.get("/api/v1/tenant/leads/segments", "listSegments", "List segments", segment::list);
        routes.post("/api/v1/tenant/leads/segments", "createSegment", "Create a segment", segment::create);
        routes.post("/api/v1/tenant/leads/segments/preview", "previewRule", "See which leads a rule describes", segment::preview_rule);
        routes.get("/api/v1/tenant/leads/segments/{id}", "getSegment", "Read a segment", segment::show);
        routes.patch("/api/v1/tenant/leads/segments/{id}", "updateSegment", "Change a segment", segment::update);
        routes.delete("/api/v1/tenant/leads/segments/{id}", "deleteSegment", "Delete a segment, and none of its leads", segment::delete);
        routes.get("/api/v1/tenant/leads/segments/{id}/count", "countSegment", "Count the leads of a segment", segment::count);
        routes.get("/api/v1/tenant/leads/segments/{id}/preview", "previewSegment", "See which leads are in a segment", segment::preview);
        routes.tag("suppression list", "Addresses that get no mail.");
        routes.get("/api/v1/tenant/suppression-list", "listSuppressions", "List suppressed addresses", suppression::list);
        routes.post("/api/v1/tenant/suppression-list", "createSuppression", "Suppress an address", suppression::create);
        routes.post("/api/v1/tenant/suppression-list/bulk", "suppressMany", "Suppress up to 1,000 addresses", suppression::create_many);
        routes.get("/api/v1/tenant/suppression-list/check", "checkSuppression", "See whether an address is suppressed", suppression::check);
        routes.delete("/api/v1/tenant/suppression-list/{id}", "deleteSuppression", "Let an address get mail again", suppression::delete);
    }
}
