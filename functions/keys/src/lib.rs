//! API keys of a tenant: one store, in the shapes of F3 (`/api/tenant-api-key`) and F4 (`/v1/api-keys`).

mod api_key;
mod minting;
mod tenant_api_key;

use shared::http::Registry;
use shared::http::registry::Routes;

pub struct Keys;

impl Routes for Keys {
    fn declare(routes: &mut impl Registry) {
        routes.tag("tenant API keys", "API keys of the current tenant, as bare objects in camelCase.");
        routes.get("/api/tenant-api-key", "listTenantApiKeys", "List API keys", tenant_api_key::list);
        routes.post("/api/tenant-api-key", "createTenantApiKey", "Create an API key", tenant_api_key::create);
        routes.get("/api/tenant-api-key/{id}", "getTenantApiKey", "Read an API key", tenant_api_key::show);
        routes.delete("/api/tenant-api-key/{id}", "revokeTenantApiKey", "Revoke an API key", tenant_api_key::revoke);
        routes.post("/api/tenant-api-key/{id}/rotate", "rotateTenantApiKey", "Replace an API key", tenant_api_key::rotate);
        routes.post(
            "/api/tenant-api-key/{id}/adopt",
            "adoptTenantApiKey",
            "Adopt an API key whose maker lost the power for it",
            tenant_api_key::adopt,
        );
        routes.post(
            "/api/tenant-api-key/{id}/end-grace",
            "endTenantApiKeyGrace",
            "End the grace of a replaced API key",
            tenant_api_key::end_grace,
        );
        routes.tag("API keys", "The same API keys of the current tenant, as `{data}` in snake_case.");
        routes.get("/v1/api-keys", "listApiKeys", "List API keys", api_key::list);
        routes.post("/v1/api-keys", "createApiKey", "Create an API key", api_key::create);
        routes.get("/v1/api-keys/{id}", "getApiKey", "Read an API key", api_key::show);
        routes.delete("/v1/api-keys/{id}", "revokeApiKey", "Revoke an API key", api_key::revoke);
        routes.post("/v1/api-keys/{id}/rotate", "rotateApiKey", "Replace an API key", api_key::rotate);
        routes.post("/v1/api-keys/{id}/adopt", "adoptApiKey", "Adopt an API key whose maker lost the power for it", api_key::adopt);
        routes.post("/v1/api-keys/{id}/end-grace", "endApiKeyGrace", "End the grace of a replaced API key", api_key::end_grace);
        routes.tag("subaccount API keys", "API keys of a subaccount, made and revoked by its agency.");
        routes.get("/v1/subaccounts/{id}/api-keys", "listSubaccountApiKeys", "List a subaccount's API keys", api_key::list);
        routes.post("/v1/subaccounts/{id}/api-keys", "createSubaccountApiKey", "Create an API key of a subaccount", api_key::create);
        routes.get("/v1/subaccounts/{id}/api-keys/{kid}", "getSubaccountApiKey", "Read an API key of a subaccount", api_key::show);
        routes.delete(
            "/v1/subaccounts/{id}/api-keys/{kid}",
            "revokeSubaccountApiKey",
            "Revoke an API key of a subaccount",
            api_key::revoke,
        );
        routes.post(
            "/v1/subaccounts/{id}/api-keys/{kid}/rotate",
            "rotateSubaccountApiKey",
            "Replace an API key of a subaccount",
            api_key::rotate,
        );
        routes.post(
            "/v1/subaccounts/{id}/api-keys/{kid}/adopt",
            "adoptSubaccountApiKey",
            "Adopt an API key of a subaccount whose maker lost the power for it",
            api_key::adopt,
        );
        routes.post(
            "/v1/subaccounts/{id}/api-keys/{kid}/end-grace",
            "endSubaccountApiKeyGrace",
            "End the grace of a subaccount's replaced API key",
            api_key::end_grace,
        );
    }
}
