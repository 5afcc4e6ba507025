//! The edge configuration of one tenant: reading and changing it, its API proxy with the token, and refreshing its caches.

use serde::Serialize;
use shared::http::answer::{Answer, Tagged};
use shared::http::arguments::{Body, IfMatch};
use shared::http::form::{Fields, Form, OneOf};
use shared::http::{Argument, Operation};
use shared::model::edge_config::{ApiChanges, AuthMode, Caches, Cms, EdgeChanges, EdgeConfig, StripParams};
use shared::model::tenant::{Slug, Tenant};
use shared::model::time::{Printed, zulu};
use shared::model::web;
use shared::tenancy::doors::{Admin, Viewer};
use shared::tenancy::{App, Entered, Incoming, Wants};
use shared::{Error, Result};

use crate::rules::{self, CMS, Token};

/// A tenant under its key, the slug.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Tenant)]
pub struct TenantView {
    key: String,
    value: ValueView,
}

/// A tenant's configuration. The token never shows.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = TenantConfig)]
#[serde(rename_all = "camelCase")]
pub struct ValueView {
    slug: String,
    name: String,
    #[schema(format = "uri")]
    proxy_base: String,
    cms: Option<Cms>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    repository: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    space_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    project_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    dataset: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    shop_domain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    cloud_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    source_domain: Option<String>,
    #[schema(format = "uri")]
    origin_url: Option<String>,
    #[schema(format = "uri")]
    video_origin: Option<String>,
    website_domain: Option<String>,
    #[serde(rename = "cacheTTL")]
    cache_ttl: u32,
    allowed_types: Option<Vec<String>>,
    strip_params: StrippedView,
    #[serde(flatten)]
    api: ApiView,
    cache_versions: VersionsView,
    created_at: Printed,
    updated_at: Printed,
}

/// Whether query parameters are left out of what is cached: always, never, or for some file types.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = StripParams)]
#[serde(untagged)]
pub enum StrippedView {
    Always(bool),
    Of(Vec<String>),
}

/// How API requests are passed on. The token never shows.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ApiProxy)]
#[serde(rename_all = "camelCase")]
pub struct ApiView {
    #[schema(format = "uri")]
    api_origin: Option<String>,
    api_auth_mode: AuthMode,
    api_token_header: String,
    #[serde(rename = "apiCacheTTL")]
    api_cache_ttl: u32,
    preview_bypass_param: Option<String>,
    transform_api_urls: bool,
    has_api_token: bool,
    api_token_updated_at: Option<Printed>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CacheVersions)]
pub struct VersionsView {
    api: u64,
    assets: u64,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CacheRefresh)]
pub struct RefreshView {
    ok: bool,
    versions: VersionsView,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ApiTokenReceipt)]
#[serde(rename_all = "camelCase")]
pub struct TokenView {
    ok: bool,
    updated_at: Printed,
}

pub struct Changes(EdgeChanges);

pub struct ApiForm(ApiChanges);

pub struct NewToken(Option<String>);

pub struct Refresh(Caches);

pub async fn show(door: Viewer, edge: FoundConfig) -> Result<Tagged<TenantView>> {
    Ok(answer(&door.app, &door.tenant, &or_unset(edge.0, &door.tenant)))
}

pub async fn update(door: Admin, edge: FoundConfig, expected: IfMatch, changes: Body<Changes>) -> Result<Tagged<TenantView>> {
    let own = own_domains(&door.app);
    let config = change(&door, edge.0, |config| {
        expected.check(&config.etag())?;
        config.changed(changes.0.0.clone(), &own, door.now())
    })
    .await?;
    Ok(answer(&door.app, &door.tenant, &config))
}

pub async fn save_api(door: Admin, edge: FoundConfig, expected: IfMatch, form: Body<ApiForm>) -> Result<Tagged<ApiView>> {
    let own = own_domains(&door.app);
    let config = change(&door, edge.0, |config| {
        expected.check(&config.etag())?;
        config.with_api(form.0.0.clone(), &own, door.now())
    })
    .await?;
    Ok(Answer::bare(ApiView::of(&config)).tagged(config.etag()))
}

/// Write-only: sealed before it is stored, and never shown. The token that is kept already stays, with its date.
pub async fn save_token(door: Admin, edge: FoundConfig, token: Body<NewToken>) -> Result<Answer<TokenView>> {
    let token = token.0.0.ok_or(Error::TokenMissing)?;
    let vault = door.app.keys().vault()?;
    let sealed = vault.seal(door.tenant.id, EdgeConfig::TOKEN_FIELD, &token, door.app.random());
    let opens = |sealed: &str| vault.open(door.tenant.id, EdgeConfig::TOKEN_FIELD, sealed);
    let config = change(&door, edge.0, |config| match &config.api_token {
        Some(kept) if opens(&kept.sealed).as_ref() == Some(&token) => Ok(config.clone()),
        _ => Ok(config.with_token(sealed.clone(), door.now())),
    });
    let updated_at = config.await?.api_token.map_or_else(|| door.now(), |token| token.updated_at);
    Ok(Answer::bare(TokenView { ok: true, updated_at: zulu(updated_at) }))
}

pub async fn refresh_cache(door: Admin, edge: FoundConfig, what: Body<Refresh>) -> Result<Answer<RefreshView>> {
    let enforced = door.app.config().limits.enforce;
    let config = change(&door, edge.0, |config| config.refreshed(what.0.0, enforced, door.now())).await?;
    Ok(Answer::bare(RefreshView { ok: true, versions: VersionsView::of(&config) }))
}

/// Changes the configuration. If the tenant has none, creates it.
async fn change(door: &Admin, config: Option<EdgeConfig>, change: impl Fn(&EdgeConfig) -> Result<EdgeConfig>) -> Result<EdgeConfig> {
    let current = match config {
        Some(config) => config,
        None => {
            let first = change(&or_unset(None, &door.tenant))?;
            match door.store.create(&first, || Error::Conflict("The configuration was begun at the same moment.".into())).await {
                Ok(()) => return Ok(first),
                Err(Error::Conflict(_)) => door.store.get(&EdgeConfig::key_of()).await?,
                Err(error) => return Err(error),
            }
        }
    };
    door.store
        .edit(current, |config, transaction| {
            let changed = change(config)?;
            Ok((changed != *config).then_some((changed, transaction)))
        })
        .await
}

pub fn or_unset(config: Option<EdgeConfig>, tenant: &Tenant) -> EdgeConfig {
    config.unwrap_or_else(|| EdgeConfig::unset(tenant.created_at))
}

/// The domains that the edge must not fetch from: itself, and this API.
pub fn own_domains(app: &App) -> [&str; 2] {
    [&app.config().edge.domain, web::host_of(&app.config().public_url)]
}

pub fn proxy_base(app: &App, slug: &Slug) -> String {
    format!("https://{slug}.{}", app.config().edge.domain)
}

/// The entity tag also contains the tenant's version, because the answer shows the tenant's name.
fn answer(app: &App, tenant: &Tenant, config: &EdgeConfig) -> Tagged<TenantView> {
    let etag = format!("{}.{}\"", config.etag().trim_end_matches('"'), tenant.version);
    Answer::bare(TenantView { key: tenant.slug.to_string(), value: ValueView::of(app, tenant, config) }).tagged(etag)
}

impl ValueView {
    fn of(app: &App, tenant: &Tenant, config: &EdgeConfig) -> Self {
        let provider = |name: &str| config.provider.get(name).cloned();
        ValueView {
            slug: tenant.slug.to_string(),
            name: tenant.name.clone(),
            proxy_base: proxy_base(app, &tenant.slug),
            cms: config.cms,
            repository: provider("repository"),
            space_id: provider("spaceId"),
            project_id: provider("projectId"),
            dataset: provider("dataset"),
            shop_domain: provider("shopDomain"),
            cloud_name: provider("cloudName"),
            source_domain: provider("sourceDomain"),
            origin_url: config.origin_url.clone(),
            video_origin: config.video_origin.clone(),
            website_domain: config.website_domain.clone(),
            cache_ttl: config.cache_ttl,
            allowed_types: config.allowed_types.clone(),
            strip_params: match &config.strip_params {
                StripParams::Off => StrippedView::Always(false),
                StripParams::All => StrippedView::Always(true),
                StripParams::Types(types) => StrippedView::Of(types.clone()),
            },
            api: ApiView::of(config),
            cache_versions: VersionsView::of(config),
            created_at: zulu(tenant.created_at),
            updated_at: zulu(config.updated_at.max(tenant.updated_at)),
        }
    }
}

impl ApiView {
    fn of(config: &EdgeConfig) -> Self {
        ApiView {
            api_origin: config.api.origin.clone(),
            api_auth_mode: config.api.auth_mode,
            api_token_header: config.api.token_header.clone(),
            api_cache_ttl: config.api.cache_ttl,
            preview_bypass_param: config.api.preview_bypass_param.clone(),
            transform_api_urls: config.api.transform_urls,
            has_api_token: config.api_token.is_some(),
            api_token_updated_at: config.api_token.as_ref().map(|token| zulu(token.updated_at)),
        }
    }
}

impl VersionsView {
    fn of(config: &EdgeConfig) -> Self {
        VersionsView { api: config.cache_api, assets: config.cache_assets }
    }
}

/// The tenant's edge configuration, read with the door; `None` where nothing was configured yet.
pub struct FoundConfig(pub Option<EdgeConfig>);

impl Argument for FoundConfig {
    fn wants(_incoming: &Incoming, wants: &mut Wants) {
        wants.record(&EdgeConfig::key_of());
    }

    async fn take(_incoming: &Incoming, entered: &Entered) -> Result<Self> {
        entered.find(&EdgeConfig::key_of()).await.map(FoundConfig)
    }

    fn describe(operation: &mut Operation) {
        operation.may_miss();
    }
}

impl Form for Changes {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let cms = fields.change("cms", CMS);
        Some(Changes(EdgeChanges { cms, ..rules::read_changes(fields) }))
    }
}

impl Form for ApiForm {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(ApiForm(rules::read_api_changes(fields)))
    }
}

impl Form for NewToken {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(NewToken(fields.optional("token", Token).flatten()))
    }
}

impl Form for Refresh {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let caches = fields.required("type", OneOf { words: Caches::WORDS, parse: Caches::parse });
        Some(Refresh(caches?))
    }
}
