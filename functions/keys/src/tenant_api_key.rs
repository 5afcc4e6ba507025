//! Keys as F3 shows them: bare objects in camelCase, ids as UUIDs.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use shared::Result;
use shared::http::answer::{Answer, Created};
use shared::http::arguments::Found;
use shared::http::form::{Fields, Form, Integer, Moment, Name, OneOf, ScopeList};
use shared::http::idempotency::Once;
use shared::model::api_key::{ApiKey, Environment, KeyUse, Minted, NewKey};
use shared::model::time::millis;
use shared::tenancy::Scopes;
use shared::tenancy::doors::Owner;

use crate::minting::{self, Family};

/// A key without its secret.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TenantApiKey)]
pub struct KeyView {
    id: String,
    name: String,
    /// The readable start of the key.
    prefix: String,
    last4: String,
    tenant_id: String,
    environment: Environment,
    scopes: Vec<String>,
    /// Requests per minute; null: the plan's.
    rate_limit: Option<u64>,
    expires_at: Option<String>,
    /// To the minute.
    last_used_at: Option<String>,
    created_at: String,
    /// The key that replaces this one.
    replaced_by: Option<String>,
    grace_ends_at: Option<String>,
    /// How often this key was used since it was replaced.
    uses_in_grace: Option<u64>,
}

/// A key just made. This is the only time its text is shown.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NewTenantApiKey)]
pub struct NewKeyView {
    id: String,
    name: String,
    api_key: String,
    tenant_id: String,
    environment: Environment,
    scopes: Vec<String>,
    rate_limit: Option<u64>,
    expires_at: Option<String>,
    created_at: String,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = RevokedTenantApiKey)]
pub struct RevokedView {
    id: String,
}

pub struct Given(NewKey);

pub struct Grace(pub SignedDuration);

const FAMILY: Family<NewKeyView, KeyView> =
    Family { rate_limit: "rateLimit", expires_at: "expiresAt", made: NewKeyView::of, shown: KeyView::of };

/// Oldest first; those in their grace too.
pub async fn list(door: Owner) -> Result<Answer<Vec<KeyView>>> {
    let (keys, uses) = (ApiKey::all(), KeyUse::all());
    let (keys, uses) = tokio::try_join!(door.store.all(&keys), door.store.all(&uses))?;
    let views = keys.iter().map(|key| KeyView::of(&door, key, uses.iter().find(|used| used.id == key.id))).collect();
    Ok(Answer::new("Success", views))
}

pub async fn create(door: Owner, once: Once<Given>) -> Result<Created<NewKeyView>> {
    FAMILY.create(&door, once.body.0, &once.ticket).await
}

pub async fn show(door: Owner, key: Found<ApiKey>) -> Result<Answer<KeyView>> {
    FAMILY.show(&door, &key.0).await
}

pub async fn revoke(door: Owner, key: Found<ApiKey>) -> Result<Answer<RevokedView>> {
    let id = key.0.id.to_string();
    minting::revoke(&door, key.0).await?;
    Ok(Answer::new("API key revoked", RevokedView { id }))
}

pub async fn rotate(door: Owner, key: Found<ApiKey>, once: Once<Grace>) -> Result<Created<NewKeyView>> {
    FAMILY.rotate(&door, &key.0, once.body.0, &once.ticket).await
}

pub async fn end_grace(door: Owner, key: Found<ApiKey>) -> Result<Answer<KeyView>> {
    FAMILY.end_grace(&door, key.0).await
}

impl KeyView {
    fn of(door: &Owner, key: &ApiKey, used: Option<&KeyUse>) -> Self {
        KeyView {
            id: key.id.to_string(),
            name: key.name.clone(),
            prefix: key.prefix(),
            last4: key.last4.clone(),
            tenant_id: door.tenant.id.to_string(),
            environment: key.environment,
            scopes: key.scopes.words(),
            rate_limit: key.rate_limit,
            expires_at: key.expires_at.map(millis),
            last_used_at: used.map(|used| millis(used.last_used_at)),
            created_at: millis(key.created_at),
            replaced_by: key.replaced_by.map(|id| id.to_string()),
            grace_ends_at: key.grace_ends_at.map(millis),
            uses_in_grace: key.is_retiring().then(|| used.map_or(0, |used| used.uses_in_grace)),
        }
    }
}

impl NewKeyView {
    fn of(door: &Owner, minted: &Minted) -> Self {
        let key = &minted.key;
        NewKeyView {
            id: key.id.to_string(),
            name: key.name.clone(),
            api_key: minted.text.clone(),
            tenant_id: door.tenant.id.to_string(),
            environment: key.environment,
            scopes: key.scopes.words(),
            rate_limit: key.rate_limit,
            expires_at: key.expires_at.map(millis),
            created_at: millis(key.created_at),
        }
    }
}

pub(crate) const ENVIRONMENT: OneOf<Environment> = OneOf { words: &["live", "test"], parse: Environment::parse };
pub(crate) const RATE_LIMIT: Integer = Integer { min: 1, max: 1_000_000 };
pub(crate) const GRACE_SECONDS: Integer = Integer { min: 0, max: ApiKey::MAX_GRACE.as_secs() };

/// The fields of a new key, by the names the family gives them.
pub(crate) fn new_key(fields: &mut Fields<'_>, rate_limit: &'static str, expires_at: &'static str) -> Option<NewKey> {
    let name = fields.required("name", Name { max: 255 });
    let environment = fields.optional("environment", ENVIRONMENT).unwrap_or(Environment::Live);
    let scopes = fields.optional("scopes", ScopeList).unwrap_or_else(Scopes::everything);
    let rate_limit = fields.optional(rate_limit, RATE_LIMIT).map(i64::unsigned_abs);
    let expires_at: Option<Timestamp> = fields.optional(expires_at, Moment);
    Some(NewKey { name: name?, environment, scopes, rate_limit, expires_at })
}

impl Form for Given {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        new_key(fields, "rateLimit", "expiresAt").map(Given)
    }
}

impl Form for Grace {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Grace(SignedDuration::from_secs(fields.optional("graceSeconds", GRACE_SECONDS).unwrap_or(0))))
    }
}
