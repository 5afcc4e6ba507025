//! Subaccounts of an agency, and what it sees of them (F4). Their keys are in `keys`, in the same shapes as other keys.

mod analytics;
mod subaccount;

use shared::http::Registry;
use shared::http::registry::Routes;

pub struct Agency;

impl Routes for Agency {
    fn declare(routes: &mut impl Registry) {
        routes.tag("subaccounts", "Client tenants of an agency, with limits and states of their own.");
        routes.get("/v1/subaccounts", "listSubaccounts", "List subaccounts", subaccount::list);
        routes.post("/v1/subaccounts", "createSubaccount", "Create a subaccount", subaccount::create);
        routes.get("/v1/subaccounts/{id}", "getSubaccount", "Read a subaccount", subaccount::show);
        routes.patch("/v1/subaccounts/{id}", "updateSubaccount", "Change a subaccount", subaccount::update);
        routes.post("/v1/subaccounts/{id}/suspend", "suspendSubaccount", "Suspend a subaccount", subaccount::suspend);
        routes.post("/v1/subaccounts/{id}/activate", "activateSubaccount", "Activate a suspended subaccount", subaccount::activate);
        routes.post("/v1/subaccounts/{id}/close", "closeSubaccount", "Close a subaccount for good", subaccount::close);
        routes.get("/v1/subaccounts/{id}/limits", "getSubaccountLimits", "Read a subaccount's limits", subaccount::limits);
        routes.put("/v1/subaccounts/{id}/limits", "setSubaccountLimits", "Set a subaccount's limits", subaccount::limit);
        routes.tag("agency", "What all subaccounts of an agency did together.");
        routes.get("/v1/agency/analytics", "getAgencyAnalytics", "Read what all subaccounts did", analytics::show);
    }
}
