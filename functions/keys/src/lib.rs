//! API keys of a tenant: one store, shown in the shapes of F3 (`/api/tenant-api-key`) and F4 (`/v1/api-keys`).

mod api_key;
mod minting;
mod tenant_api_key;

use shared::http::Registry;
use shared::http::registry::Routes;

pub struct Keys;

impl Routes for Keys {
    fn declare(routes: &mut impl Registry) {
        routes.get("/api/tenant-api-key", "List API keys", tenant_api_key::list);
        routes.post("/api/tenant-api-key", "Create an API key", tenant_api_key::create);
        routes.get("/api/tenant-api-key/{id}", "Read an API key", tenant_api_key::show);
        routes.delete("/api/tenant-api-key/{id}", "Revoke an API key", tenant_api_key::revoke);
        routes.post("/api/tenant-api-key/{id}/rotate", "Replace an API key", tenant_api_key::rotate);
        routes.post("/api/tenant-api-key/{id}/adopt", "Adopt an API key whose maker lost the power for it", tenant_api_key::adopt);
        routes.post("/api/tenant-api-key/{id}/end-grace", "End the grace of a replaced API key", tenant_api_key::end_grace);
        routes.get("/v1/api-keys", "List API keys", api_key::list);
        routes.post("/v1/api-keys", "Create an API key", api_key::create);
        routes.get("/v1/api-keys/{id}", "Read an API key", api_key::show);
        routes.delete("/v1/api-keys/{id}", "Revoke an API key", api_key::revoke);
        routes.post("/v1/api-keys/{id}/rotate", "Replace an API key", api_key::rotate);
        routes.post("/v1/api-keys/{id}/adopt", "Adopt an API key whose maker lost the power for it", api_key::adopt);
        routes.post("/v1/api-keys/{id}/end-grace", "End the grace of a replaced API key", api_key::end_grace);
        routes.get("/v1/subaccounts/{id}/api-keys", "List a subaccount's API keys", api_key::list);
        routes.post("/v1/subaccounts/{id}/api-keys", "Create an API key of a subaccount", api_key::create);
        routes.get("/v1/subaccounts/{id}/api-keys/{kid}", "Read an API key of a subaccount", api_key::show);
        routes.delete("/v1/subaccounts/{id}/api-keys/{kid}", "Revoke an API key of a subaccount", api_key::revoke);
        routes.post("/v1/subaccounts/{id}/api-keys/{kid}/rotate", "Replace an API key of a subaccount", api_key::rotate);
        routes.post(
            "/v1/subaccounts/{id}/api-keys/{kid}/adopt",
            "Adopt an API key of a subaccount whose maker lost the power for it",
            api_key::adopt,
        );
        routes.post(
            "/v1/subaccounts/{id}/api-keys/{kid}/end-grace",
            "End the grace of a subaccount's replaced API key",
            api_key::end_grace,
        );
    }
}
