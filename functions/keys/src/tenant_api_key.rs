//! Keys in F3's shape: bare objects in camelCase, ids as UUIDs.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use shared::Result;
use shared::http::answer::{Answer, Tagged};
use shared::http::arguments::{Found, WholeList};
use shared::http::form::{Fields, Form, Integer, Moment, Name, OneOf, ScopeList};
use shared::http::idempotency::Once;
use shared::ids::ApiKeyId;
use shared::model::api_key::{ApiKey, Environment, Inactive, Minted, NewKey};
use shared::model::time::{Printed, zulu};
use shared::store::Record as _;
use shared::tenancy::doors::Owner;
use shared::tenancy::{Scopes, TenantId};

use crate::minting::{self, Family, Names, Shown, WorkspaceIds};

/// A key without its secret.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TenantApiKey)]
pub struct KeyView {
    id: ApiKeyId,
    name: String,
    /// The readable start of the key.
    prefix: String,
    last4: String,
    tenant_id: TenantId,
    environment: Environment,
    scopes: Vec<String>,
    /// Requests per minute; null: the plan's.
    rate_limit: Option<u64>,
    /// The only workspaces that exist for it; null: all that exist for its maker.
    workspace_ids: Option<Vec<String>>,
    expires_at: Option<Printed>,
    /// To the minute.
    last_used_at: Option<Printed>,
    created_at: Printed,
    /// The key that replaces this one.
    replaced_by: Option<ApiKeyId>,
    grace_ends_at: Option<Printed>,
    /// How often this key was used since it was replaced.
    uses_in_grace: Option<u64>,
    /// Whether it does what it says; a key that expired is active still.
    active: bool,
    /// Why not: whose power it had was removed or demoted. An owner can adopt it.
    inactive_reason: Option<Inactive>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(transparent)]
#[schema(as = TenantApiKeyList)]
pub struct KeyList(Vec<KeyView>);

/// A key just made. This is the only time its text is shown.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CreatedTenantApiKey)]
pub struct NewKeyView {
    id: ApiKeyId,
    name: String,
    api_key: String,
    tenant_id: TenantId,
    environment: Environment,
    scopes: Vec<String>,
    rate_limit: Option<u64>,
    workspace_ids: Option<Vec<String>>,
    expires_at: Option<Printed>,
    created_at: Printed,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = RevokedTenantApiKey)]
pub struct RevokedView {
    id: ApiKeyId,
}

pub struct NewKeyForm(NewKey);

pub struct Grace(pub SignedDuration);

const NAMES: Names = Names { rate_limit: "rateLimit", workspaces: "workspaceIds", expires_at: "expiresAt" };
const FAMILY: Family<NewKeyView, KeyView> = Family { names: NAMES, made: NewKeyView::of, shown: KeyView::of };

/// Oldest first, including keys in their grace.
pub async fn list(door: Owner, asked: WholeList) -> Result<Answer<KeyList>> {
    let found = door.store.page(&ApiKey::all(), &asked.page.span(), |_| true).await?;
    let next = asked.page.cursor(&door.app, found.next.as_ref())?;
    Ok(Answer::new("Success", KeyList(FAMILY.list(&door, &found.items).await?)).with_next(next))
}

pub async fn create(door: Owner, once: Once<NewKeyForm>) -> Result<Tagged<NewKeyView, 201>> {
    FAMILY.create(&door, once.body.0, &once.ticket).await
}

pub async fn show(door: Owner, key: Found<ApiKey>) -> Result<Tagged<KeyView>> {
    FAMILY.show(&door, &key.0).await
}

pub async fn revoke(door: Owner, key: Found<ApiKey>) -> Result<Answer<RevokedView>> {
    let id = key.0.id;
    minting::revoke(&door, key.0).await?;
    Ok(Answer::new("API key revoked", RevokedView { id }))
}

pub async fn rotate(door: Owner, key: Found<ApiKey>, once: Once<Grace>) -> Result<Tagged<NewKeyView, 201>> {
    FAMILY.rotate(&door, &key.0, once.body.0, &once.ticket).await
}

pub async fn adopt(door: Owner, key: Found<ApiKey>) -> Result<Tagged<KeyView>> {
    FAMILY.adopt(&door, key.0).await
}

pub async fn end_grace(door: Owner, key: Found<ApiKey>) -> Result<Tagged<KeyView>> {
    FAMILY.end_grace(&door, key.0).await
}

impl KeyView {
    fn of(door: &Owner, shown: &Shown<'_>) -> Self {
        let Shown { key, used, inactive } = *shown;
        KeyView {
            id: key.id,
            name: key.name.clone(),
            prefix: key.prefix(),
            last4: key.last4.clone(),
            tenant_id: door.tenant.id,
            environment: key.environment,
            scopes: key.scopes.words(),
            rate_limit: key.rate_limit,
            workspace_ids: minting::workspace_ids(key),
            expires_at: key.expires_at.map(zulu),
            last_used_at: used.map(|used| zulu(used.last_used_at)),
            created_at: zulu(key.created_at),
            replaced_by: key.replaced_by,
            grace_ends_at: key.grace_ends_at.map(zulu),
            uses_in_grace: key.is_retiring().then(|| used.map_or(0, |used| used.uses_in_grace)),
            active: inactive.is_none(),
            inactive_reason: inactive,
        }
    }
}

impl NewKeyView {
    fn of(door: &Owner, minted: &Minted) -> Self {
        let key = &minted.key;
        NewKeyView {
            id: key.id,
            name: key.name.clone(),
            api_key: minted.text.clone(),
            tenant_id: door.tenant.id,
            environment: key.environment,
            scopes: key.scopes.words(),
            rate_limit: key.rate_limit,
            workspace_ids: minting::workspace_ids(key),
            expires_at: key.expires_at.map(zulu),
            created_at: zulu(key.created_at),
        }
    }
}

pub(crate) const ENVIRONMENT: OneOf<Environment> = OneOf { words: &["live", "test"], parse: Environment::parse };
pub(crate) const RATE_LIMIT: Integer = Integer { min: 1, max: 1_000_000 };
pub(crate) const GRACE_SECONDS: Integer = Integer { min: 0, max: ApiKey::MAX_GRACE.as_secs() };

/// The fields of a new key, with the family's names.
pub(crate) fn new_key(fields: &mut Fields<'_>, names: &Names) -> Option<NewKey> {
    let name = fields.required("name", Name { max: 255 });
    let environment = fields.optional("environment", ENVIRONMENT).unwrap_or(Environment::Live);
    let scopes = fields.optional("scopes", ScopeList).unwrap_or_else(Scopes::everything);
    let rate_limit = fields.optional(names.rate_limit, RATE_LIMIT).map(i64::unsigned_abs);
    let workspaces = fields.optional(names.workspaces, WorkspaceIds);
    let expires_at: Option<Timestamp> = fields.optional(names.expires_at, Moment);
    Some(NewKey { name: name?, environment, scopes, rate_limit, workspaces, expires_at })
}

impl Form for NewKeyForm {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        new_key(fields, &NAMES).map(NewKeyForm)
    }
}

impl Form for Grace {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Grace(SignedDuration::from_secs(fields.optional("graceSeconds", GRACE_SECONDS).unwrap_or(0))))
    }
}
