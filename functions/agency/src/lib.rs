//! Subaccounts of an agency, and what it sees of them (F4). Their keys are the business of `keys`, in the shapes of one's own.

mod analytics;
mod subaccount;

use shared::http::Registry;
use shared::http::registry::Routes;

pub struct Agency;

impl Routes for Agency {
    fn declare(routes: &mut impl Registry) {
        routes.get("/v1/subaccounts", "List subaccounts", subaccount::list);
        routes.post("/v1/subaccounts", "Create a subaccount", subaccount::create);
        routes.get("/v1/subaccounts/{id}", "Read a subaccount", subaccount::show);
        routes.patch("/v1/subaccounts/{id}", "Change a subaccount", subaccount::update);
        routes.post("/v1/subaccounts/{id}/suspend", "Suspend a subaccount", subaccount::suspend);
        routes.post("/v1/subaccounts/{id}/activate", "Activate a suspended subaccount", subaccount::activate);
        routes.post("/v1/subaccounts/{id}/close", "Close a subaccount for good", subaccount::close);
        routes.get("/v1/subaccounts/{id}/limits", "Read a subaccount's limits", subaccount::limits);
        routes.put("/v1/subaccounts/{id}/limits", "Set a subaccount's limits", subaccount::limit);
        routes.get("/v1/agency/analytics", "Read what all subaccounts did", analytics::show);
    }
}
