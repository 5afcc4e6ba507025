//! Keys in F4's shape: `{data}` in snake_case, ids with the prefix `key_`.

use jiff::SignedDuration;
use serde::Serialize;
use shared::Result;
use shared::http::answer::{Answer, Listing, Tagged};
use shared::http::arguments::{Cursors, Found, NoFilters};
use shared::http::form::{Fields, Form};
use shared::http::idempotency::Once;
use shared::model::api_key::{ApiKey, Environment, Inactive, Minted, NewKey};
use shared::model::time::{Printed, zulu};
use shared::store::Record as _;
use shared::tenancy::doors::Owner;

use crate::minting::{self, Family, Names, Shown};
use crate::tenant_api_key::{GRACE_SECONDS, new_key};

/// A key without its secret.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ApiKey)]
pub struct KeyView {
    id: String,
    name: String,
    /// The end of the key, `...f6g7`.
    key_hint: String,
    /// The readable start of the key.
    prefix: String,
    environment: Environment,
    scopes: Vec<String>,
    /// Requests per minute: its own, or the plan's.
    rate_limit: u64,
    /// The only workspaces that exist for it; null: all that exist for its maker.
    workspace_ids: Option<Vec<String>>,
    expires_at: Option<Printed>,
    /// To the minute.
    last_used_at: Option<Printed>,
    created_at: Printed,
    /// The key that replaces this one.
    replaced_by: Option<String>,
    grace_ends_at: Option<Printed>,
    /// How often this key was used since it was replaced.
    uses_in_grace: Option<u64>,
    /// Whether it does what it says; a key that expired is active still.
    active: bool,
    /// Why not: whose power it had was removed or demoted. An owner can adopt it.
    inactive_reason: Option<Inactive>,
}

/// A key just made. This is the only time its text is shown.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CreatedApiKey)]
pub struct NewKeyView {
    id: String,
    name: String,
    key: String,
    environment: Environment,
    scopes: Vec<String>,
    rate_limit: u64,
    workspace_ids: Option<Vec<String>>,
    expires_at: Option<Printed>,
    created_at: Printed,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = RevokedApiKey)]
pub struct RevokedView {
    id: String,
    revoked: bool,
    revoked_at: Printed,
}

pub struct NewKeyForm(NewKey);

pub struct Grace(SignedDuration);

const NAMES: Names = Names { rate_limit: "rate_limit", workspaces: "workspace_ids", expires_at: "expires_at" };
const FAMILY: Family<NewKeyView, KeyView> = Family { names: NAMES, made: NewKeyView::of, shown: KeyView::of };

/// Oldest first, including keys in their grace.
pub async fn list(door: Owner, asked: Cursors<NoFilters>) -> Result<Listing<KeyView>> {
    let found = door.store.page(&ApiKey::all(), &asked.page.span(), |_| true).await?;
    let items = FAMILY.list(&door, &found.items).await?;
    Ok(Listing { items, total: 0, page: asked.page, next: found.next })
}

pub async fn create(door: Owner, once: Once<NewKeyForm>) -> Result<Tagged<NewKeyView, 201>> {
    FAMILY.create(&door, once.body.0, &once.ticket).await
}

pub async fn show(door: Owner, key: Found<ApiKey>) -> Result<Tagged<KeyView>> {
    FAMILY.show(&door, &key.0).await
}

pub async fn revoke(door: Owner, key: Found<ApiKey>) -> Result<Answer<RevokedView>> {
    let id = key.0.id.prefixed();
    minting::revoke(&door, key.0).await?;
    Ok(Answer::new("API key revoked", RevokedView { id, revoked: true, revoked_at: zulu(door.now()) }))
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
            id: key.id.prefixed(),
            name: key.name.clone(),
            key_hint: format!("...{}", key.last4),
            prefix: key.prefix(),
            environment: key.environment,
            scopes: key.scopes.words(),
            rate_limit: key.rate_limit.unwrap_or_else(|| minting::ceiling(door)),
            workspace_ids: minting::workspace_ids(key),
            expires_at: key.expires_at.map(zulu),
            last_used_at: used.map(|used| zulu(used.last_used_at)),
            created_at: zulu(key.created_at),
            replaced_by: key.replaced_by.map(|id| id.prefixed()),
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
            id: key.id.prefixed(),
            name: key.name.clone(),
            key: minted.text.clone(),
            environment: key.environment,
            scopes: key.scopes.words(),
            rate_limit: key.rate_limit.unwrap_or_else(|| minting::ceiling(door)),
            workspace_ids: minting::workspace_ids(key),
            expires_at: key.expires_at.map(zulu),
            created_at: zulu(key.created_at),
        }
    }
}

impl Form for NewKeyForm {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        new_key(fields, &NAMES).map(NewKeyForm)
    }
}

impl Form for Grace {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Grace(SignedDuration::from_secs(fields.optional("grace_seconds", GRACE_SECONDS).unwrap_or(0))))
    }
}
