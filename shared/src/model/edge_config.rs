//! A tenant's edge configuration (F1): where its assets and its API come from, and how the proxy in front of them treats them.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::{Error, FieldErrors, Result, Throttled};
use crate::model::web;
use crate::store::entity::{Collection, Entity, InTenant, Key};

/// `edge-config` / `config`: one for each tenant. `POST /api/tenants` creates it. Tenants created in other ways have none until the first
/// change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EdgeConfig {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cms: Option<Cms>,
    /// The provider's own fields by name, as listed by `Cms::fields`.
    #[serde(default)]
    pub provider: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video_origin: Option<String>,
    /// Sent as `Referer` to the origin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub website_domain: Option<String>,
    pub cache_ttl: u32,
    /// `None` allows all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_types: Option<Vec<String>>,
    pub strip_params: StripParams,
    pub api: ApiProxy,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_token: Option<ApiToken>,
    /// Part of the edge's cache keys. After an increase, cached content is no longer found.
    pub cache_api: u64,
    pub cache_assets: u64,
    /// The latest cache refreshes, at most as many as are allowed in a minute.
    #[serde(default)]
    pub refreshed: Vec<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Counts edits, but not cache refreshes.
    pub version: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cms {
    Prismic,
    Contentful,
    Sanity,
    Shopify,
    Cloudinary,
    Imgix,
    Storyblok,
    Generic,
}

/// The query parameters that are removed before the cache lookup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StripParams {
    Off,
    /// For these types.
    Types(Vec<String>),
    All,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiProxy {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    pub auth_mode: AuthMode,
    pub token_header: String,
    pub cache_ttl: u32,
    /// Requests with this query parameter bypass the cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview_bypass_param: Option<String>,
    pub transform_urls: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    Bearer,
    Basic,
    Token,
    None,
}

/// The token for the API origin, sealed; see `Vault`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiToken {
    pub sealed: String,
    pub updated_at: Timestamp,
}

impl std::fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ApiToken({})", self.updated_at)
    }
}

/// Which caches are refreshed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caches {
    Api,
    Assets,
    All,
}

/// What an edit changes; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct EdgeChanges {
    pub cms: Option<Cms>,
    pub provider: BTreeMap<&'static str, String>,
    pub origin_url: Option<Option<String>>,
    pub video_origin: Option<Option<String>>,
    pub website_domain: Option<Option<String>>,
    pub cache_ttl: Option<u32>,
    pub allowed_types: Option<Option<Vec<String>>>,
    pub strip_params: Option<StripParams>,
    pub api: ApiChanges,
}

#[derive(Debug, Clone, Default)]
pub struct ApiChanges {
    pub origin: Option<Option<String>>,
    pub auth_mode: Option<AuthMode>,
    pub token_header: Option<String>,
    pub cache_ttl: Option<u32>,
    pub preview_bypass_param: Option<Option<String>>,
    pub transform_urls: Option<bool>,
}

impl Cms {
    pub const WORDS: &'static [&'static str] =
        &["prismic", "contentful", "sanity", "shopify", "cloudinary", "imgix", "storyblok", "generic"];

    const ALL: [Cms; 8] =
        [Cms::Prismic, Cms::Contentful, Cms::Sanity, Cms::Shopify, Cms::Cloudinary, Cms::Imgix, Cms::Storyblok, Cms::Generic];

    pub fn name(self) -> &'static str {
        Cms::WORDS[self as usize]
    }

    pub fn parse(text: &str) -> Option<Self> {
        Cms::ALL.into_iter().find(|cms| cms.name() == text)
    }

    /// The fields that this provider needs. It takes no others.
    pub fn fields(self) -> &'static [&'static str] {
        match self {
            Cms::Prismic => &["repository"],
            Cms::Contentful | Cms::Storyblok => &["spaceId"],
            Cms::Sanity => &["projectId", "dataset"],
            Cms::Shopify => &["shopDomain"],
            Cms::Cloudinary => &["cloudName"],
            Cms::Imgix => &["sourceDomain"],
            Cms::Generic => &[],
        }
    }
}

impl AuthMode {
    pub const WORDS: &'static [&'static str] = &["bearer", "basic", "token", "none"];

    pub fn name(self) -> &'static str {
        AuthMode::WORDS[self as usize]
    }

    pub fn parse(text: &str) -> Option<Self> {
        [AuthMode::Bearer, AuthMode::Basic, AuthMode::Token, AuthMode::None].into_iter().find(|mode| mode.name() == text)
    }
}

impl Caches {
    pub const WORDS: &'static [&'static str] = &["api", "assets", "all"];

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "api" => Some(Caches::Api),
            "assets" => Some(Caches::Assets),
            "all" => Some(Caches::All),
            _ => None,
        }
    }
}

impl EdgeConfig {
    pub const CACHE_TTL: u32 = 86_400;
    /// The field name that is bound into the sealed token.
    pub const TOKEN_FIELD: &'static str = "api_token";
    const REFRESHES_PER_MINUTE: usize = 10;
    /// The name of this limit.
    pub(crate) const REFRESHES: &'static str = "refresh-cache";

    pub fn key_of() -> Key<Self> {
        Key::at(&Collection::of::<EdgeConfig>(), "config".into())
    }

    /// The defaults. They are not stored: the first change makes them version 1.
    pub fn unset(now: Timestamp) -> Self {
        EdgeConfig {
            cms: None,
            provider: BTreeMap::new(),
            origin_url: None,
            video_origin: None,
            website_domain: None,
            cache_ttl: EdgeConfig::CACHE_TTL,
            allowed_types: None,
            strip_params: StripParams::Off,
            api: ApiProxy {
                origin: None,
                auth_mode: AuthMode::None,
                token_header: "Authorization".into(),
                cache_ttl: 60,
                preview_bypass_param: Some("preview".into()),
                transform_urls: true,
            },
            api_token: None,
            cache_api: 1,
            cache_assets: 1,
            refreshed: vec![],
            created_at: now,
            updated_at: now,
            version: 0,
        }
    }

    /// The configuration after an edit. The fields of a provider are dropped when another provider is chosen, which needs its complete set.
    /// `own` are the domains of the deployment, which the edge must not fetch from.
    pub fn changed(&self, changes: EdgeChanges, own: &[&str], now: Timestamp) -> Result<Self> {
        let mut errors = FieldErrors::new();
        let mut config = self.with_provider(&changes, &mut errors);
        config.video_origin = changes.video_origin.unwrap_or(config.video_origin);
        config.website_domain = changes.website_domain.unwrap_or(config.website_domain);
        config.cache_ttl = changes.cache_ttl.unwrap_or(config.cache_ttl);
        config.allowed_types = changes.allowed_types.unwrap_or(config.allowed_types);
        config.strip_params = changes.strip_params.unwrap_or(config.strip_params);
        config.api = config.api.changed(changes.api);
        config.check_hosts(own, &mut errors);
        if errors.is_empty() { Ok(config.touched(self, now)) } else { Err(Error::Validation(errors)) }
    }

    /// After an edit of the API proxy alone.
    pub fn with_api(&self, changes: ApiChanges, own: &[&str], now: Timestamp) -> Result<Self> {
        if changes.origin.is_none() && self.api.origin.is_none() {
            return Err(Error::field("apiOrigin", "The apiOrigin field is required."));
        }
        let config = EdgeConfig { api: self.api.changed(changes), ..self.clone() };
        let mut errors = FieldErrors::new();
        config.check_hosts(own, &mut errors);
        if errors.is_empty() { Ok(config.touched(self, now)) } else { Err(Error::Validation(errors)) }
    }

    pub fn with_token(&self, sealed: String, now: Timestamp) -> Self {
        EdgeConfig { api_token: Some(ApiToken { sealed, updated_at: now }), ..self.clone() }.touched(self, now)
    }

    /// The same token, sealed with another key.
    pub fn resealed(&self, sealed: String) -> Self {
        let api_token = self.api_token.as_ref().map(|token| ApiToken { sealed, updated_at: token.updated_at });
        EdgeConfig { api_token, version: self.version + 1, ..self.clone() }
    }

    /// With higher cache versions. At most ten times a minute, if `enforced`.
    pub fn refreshed(&self, caches: Caches, enforced: bool, now: Timestamp) -> Result<Self> {
        const MINUTE: SignedDuration = SignedDuration::from_mins(1);
        let mut config = self.clone();
        config.refreshed.retain(|at| now.duration_since(*at) < MINUTE);
        if config.refreshed.len() >= EdgeConfig::REFRESHES_PER_MINUTE {
            if enforced {
                let oldest = config.refreshed.first().copied().unwrap_or(now);
                let left = MINUTE - now.duration_since(oldest);
                let retry_after = u64::try_from(left.as_secs() + 1).unwrap_or(1).clamp(1, 60);
                let limit = EdgeConfig::REFRESHES_PER_MINUTE as u64;
                return Err(Error::TooManyRequests(Throttled { quota: EdgeConfig::REFRESHES, limit, retry_after }));
            }
            config.refreshed.remove(0);
        }
        config.refreshed.push(now);
        config.cache_api += u64::from(caches != Caches::Assets);
        config.cache_assets += u64::from(caches != Caches::Api);
        Ok(config)
    }

    /// The version and the cache versions, which change separately. An entity tag must name exactly one representation.
    pub fn etag(&self) -> String {
        format!("\"{}.{}.{}\"", self.version, self.cache_api, self.cache_assets)
    }

    fn with_provider(&self, changes: &EdgeChanges, errors: &mut FieldErrors) -> Self {
        let mut config = self.clone();
        let Some(cms) = changes.cms.or(self.cms) else {
            error(errors, "cms", "is required");
            return config;
        };
        if self.cms != Some(cms) {
            config.provider = BTreeMap::new();
            config.origin_url = None;
        }
        config.cms = Some(cms);
        config.origin_url = changes.origin_url.clone().unwrap_or(config.origin_url);
        for (name, value) in &changes.provider {
            if cms.fields().contains(name) {
                config.provider.insert((*name).to_owned(), value.clone());
            } else {
                error(errors, name, &format!("does not belong to {}", cms.name()));
            }
        }
        for name in cms.fields() {
            if !config.provider.contains_key(*name) {
                error(errors, name, &format!("is required for {}", cms.name()));
            }
        }
        if cms == Cms::Generic && config.origin_url.is_none() {
            error(errors, "originUrl", "is required for generic");
        }
        config
    }

    /// The edge must not fetch from itself.
    fn check_hosts(&self, own: &[&str], errors: &mut FieldErrors) {
        let named = [
            ("originUrl", &self.origin_url),
            ("videoOrigin", &self.video_origin),
            ("websiteDomain", &self.website_domain),
            ("apiOrigin", &self.api.origin),
        ];
        let named = named.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        let of_provider = ["shopDomain", "sourceDomain"].into_iter().filter_map(|name| Some((name, self.provider.get(name)?.as_str())));
        for (name, value) in named.chain(of_provider) {
            if own.iter().any(|domain| web::is_under(web::host_of(value), domain)) {
                error(errors, name, "must not be a host of this service");
            }
        }
    }

    fn touched(mut self, before: &Self, now: Timestamp) -> Self {
        if self != *before || before.version == 0 {
            self.updated_at = now;
            self.version += 1;
        }
        self
    }
}

impl ApiProxy {
    fn changed(&self, changes: ApiChanges) -> Self {
        ApiProxy {
            origin: changes.origin.unwrap_or_else(|| self.origin.clone()),
            auth_mode: changes.auth_mode.unwrap_or(self.auth_mode),
            token_header: changes.token_header.unwrap_or_else(|| self.token_header.clone()),
            cache_ttl: changes.cache_ttl.unwrap_or(self.cache_ttl),
            preview_bypass_param: changes.preview_bypass_param.unwrap_or_else(|| self.preview_bypass_param.clone()),
            transform_urls: changes.transform_urls.unwrap_or(self.transform_urls),
        }
    }
}

fn error(errors: &mut FieldErrors, name: &str, problem: &str) {
    errors.entry(name.to_owned()).or_default().push(format!("The {name} field {problem}."));
}

impl Entity for EdgeConfig {
    type Scope = InTenant;
    const TYPE: &'static str = "edge_config";
    const COLLECTION: &'static str = "edge-config";

    fn key(&self) -> Key<Self> {
        EdgeConfig::key_of()
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version), ("cache_api", self.cache_api), ("cache_assets", self.cache_assets)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn with(cms: Option<Cms>, provider: &[(&'static str, &str)]) -> EdgeChanges {
        let provider = provider.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        EdgeChanges { cms, provider, ..EdgeChanges::default() }
    }

    fn faults(result: Result<EdgeConfig>) -> Vec<String> {
        match result {
            Err(Error::Validation(errors)) => errors.into_keys().collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_provider_takes_its_own_fields_and_no_other() {
        for cms in Cms::ALL {
            assert_eq!(Cms::parse(cms.name()), Some(cms));
            let unset = EdgeConfig::unset(NOW);
            let full: Vec<_> = cms.fields().iter().map(|name| (*name, "x")).collect();
            let mut changes = with(Some(cms), &full);
            changes.origin_url = (cms == Cms::Generic).then(|| Some("https://a.example.com".into()));
            assert_eq!(unset.changed(changes, &[], NOW).unwrap().version, 1);
            let needed: Vec<String> =
                if cms == Cms::Generic { vec!["originUrl".into()] } else { cms.fields().iter().map(|name| (*name).into()).collect() };
            let mut found = faults(unset.changed(with(Some(cms), &[]), &[], NOW));
            found.sort();
            let mut needed = needed;
            needed.sort();
            assert_eq!(found, needed);
        }
        assert_eq!(
            faults(EdgeConfig::unset(NOW).changed(with(Some(Cms::Prismic), &[("repository", "r"), ("spaceId", "s")]), &[], NOW)),
            ["spaceId"]
        );
        assert_eq!(faults(EdgeConfig::unset(NOW).changed(with(None, &[]), &[], NOW)), ["cms"]);
    }

    #[test]
    fn another_provider_comes_with_its_whole_set() {
        let prismic = EdgeConfig::unset(NOW).changed(with(Some(Cms::Prismic), &[("repository", "r")]), &[], NOW).unwrap();
        assert_eq!(faults(prismic.changed(with(Some(Cms::Sanity), &[("dataset", "d")]), &[], NOW)), ["projectId"]);
        let sanity = prismic.changed(with(Some(Cms::Sanity), &[("projectId", "p"), ("dataset", "d")]), &[], NOW).unwrap();
        assert_eq!(sanity.provider.keys().collect::<Vec<_>>(), ["dataset", "projectId"]);
        // With the same provider, a single field can be changed.
        let other = sanity.changed(with(None, &[("dataset", "e")]), &[], NOW).unwrap();
        assert_eq!((other.provider["dataset"].as_str(), other.version), ("e", 3));
        assert_eq!(other.changed(with(None, &[]), &[], NOW).unwrap(), other, "nothing said, nothing changed");
    }

    #[test]
    fn the_edge_is_not_sent_to_itself() {
        let mut changes = with(Some(Cms::Generic), &[]);
        changes.origin_url = Some(Some("https://acme.edge.example.com".into()));
        changes.api.origin = Some(Some("https://api.example.com/x".into()));
        let own = ["edge.example.com", "api.example.com"];
        assert_eq!(faults(EdgeConfig::unset(NOW).changed(changes, &own, NOW)), ["apiOrigin", "originUrl"]);
    }

    #[test]
    fn caches_are_renewed_ten_times_a_minute() {
        let mut config = EdgeConfig::unset(NOW);
        for number in 0..10 {
            config = config.refreshed(Caches::All, true, NOW + SignedDuration::from_secs(number)).unwrap();
        }
        assert_eq!((config.cache_api, config.cache_assets), (11, 11));
        let refused = config.refreshed(Caches::Api, true, NOW + SignedDuration::from_secs(59)).unwrap_err();
        assert!(matches!(refused, Error::TooManyRequests(Throttled { retry_after: 2, .. })), "{refused:?}");
        assert!(config.refreshed(Caches::Api, false, NOW).unwrap().refreshed.len() == 10);
        let later = config.refreshed(Caches::Api, true, NOW + SignedDuration::from_secs(60)).unwrap();
        assert_eq!((later.cache_api, later.cache_assets, later.refreshed.len()), (12, 11, 10));
    }
}
