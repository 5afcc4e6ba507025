//! The tenant record, one for all families. Its limits come from its plan.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::ids::{TenantId, stored};
use crate::model::deletion::Deletion;
use crate::model::subaccount::SubaccountLimits;
use crate::store::entity::{Collection, Entity, InDirectory, InTenant, Key};

/// `tenant` / `profile`: read by every door.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tenant {
    #[serde(with = "stored")]
    pub id: TenantId,
    /// For display (F2's integer `tenant_id`), never for authorization.
    pub account: u64,
    pub slug: Slug,
    pub name: String,
    /// An https URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logo: Option<String>,
    pub status: TenantStatus,
    pub plan: String,
    pub kind: TenantKind,
    /// What its agency allows, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<SubaccountLimits>,
    /// When a demo ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    /// When its deletion was requested. An operator can take the deletion back for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub version: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TenantStatus {
    Trial,
    Active,
    Suspended,
    Deleting,
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TenantKind {
    Standard,
    Demo,
    Subaccount,
}

impl TenantStatus {
    pub fn name(self) -> &'static str {
        match self {
            TenantStatus::Trial => "trial",
            TenantStatus::Active => "active",
            TenantStatus::Suspended => "suspended",
            TenantStatus::Deleting => "deleting",
            TenantStatus::Closed => "closed",
        }
    }
}

/// Why nobody can enter a tenant right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inaccessible {
    Suspended,
    Expired,
    /// Deleting or closed: for everyone it does not exist.
    Gone,
}

impl Tenant {
    /// Why nobody can act in this tenant at `now`.
    pub fn inaccessible(&self, now: Timestamp) -> Option<Inaccessible> {
        match self.status {
            TenantStatus::Deleting | TenantStatus::Closed => Some(Inaccessible::Gone),
            TenantStatus::Suspended => Some(Inaccessible::Suspended),
            TenantStatus::Trial | TenantStatus::Active => self.ends_at.filter(|ends_at| *ends_at <= now).map(|_| Inaccessible::Expired),
        }
    }

    /// The tenant will be gone soon: a purge may begin before a write that runs now is finished.
    pub fn is_leaving(&self, now: Timestamp) -> bool {
        self.inaccessible(now + Deletion::STILL_RUNNING).is_some_and(|reason| reason != Inaccessible::Suspended)
    }

    pub fn key_of() -> Key<Self> {
        Key::at(&Collection::of::<Tenant>(), "profile".into())
    }

    /// The changes an operator makes; each writes a new version.
    pub fn with_status(&self, status: TenantStatus, now: Timestamp) -> Self {
        Tenant { status, updated_at: now, version: self.version + 1, ..self.clone() }
    }

    /// The name and logo that its owner set. `None` if nothing changes.
    pub fn stated(&self, name: String, logo: Option<String>, now: Timestamp) -> Option<Self> {
        let new = name != self.name || logo != self.logo;
        new.then(|| Tenant { name, logo, updated_at: now, version: self.version + 1, ..self.clone() })
    }

    pub fn on_plan(&self, plan: &str, now: Timestamp) -> Self {
        Tenant { plan: plan.to_owned(), updated_at: now, version: self.version + 1, ..self.clone() }
    }

    /// An operator takes the deletion back.
    pub fn restored(&self, status: TenantStatus, now: Timestamp) -> Self {
        Tenant { deleted_at: None, ..self.with_status(status, now) }
    }

    pub fn etag(&self) -> String {
        format!("\"{}\"", self.version)
    }

    /// Its owner requested the deletion: nobody can enter any more. An operator can take it back until the purge.
    pub fn deleting(&self, now: Timestamp) -> Self {
        Tenant { deleted_at: Some(now), ..self.with_status(TenantStatus::Deleting, now) }
    }

    /// With the name and the limits that its agency sets.
    pub fn as_agreed(&self, name: String, limits: SubaccountLimits, now: Timestamp) -> Self {
        Tenant { name, limits: Some(limits), updated_at: now, version: self.version + 1, ..self.clone() }
    }

    /// A demo becomes a permanent tenant on a plan.
    pub fn converted(&self, plan: &str, now: Timestamp) -> Result<Self, Error> {
        if self.kind != TenantKind::Demo {
            return Err(Error::Conflict("Only a demo can be converted.".into()));
        }
        if matches!(self.status, TenantStatus::Deleting | TenantStatus::Closed) {
            return Err(Error::Conflict("This demo is being purged and cannot be converted any more.".into()));
        }
        Ok(Tenant {
            kind: TenantKind::Standard,
            plan: plan.to_owned(),
            ends_at: None,
            updated_at: now,
            version: self.version + 1,
            ..self.clone()
        })
    }
}

impl Inaccessible {
    /// What a member is told.
    pub fn error(self) -> Error {
        match self {
            Inaccessible::Suspended => Error::TenantSuspended,
            Inaccessible::Expired => Error::Forbidden("This demo has expired.".into()),
            Inaccessible::Gone => Error::NotFound,
        }
    }
}

impl Entity for Tenant {
    type Scope = InTenant;
    const TYPE: &'static str = "tenant";
    const COLLECTION: &'static str = "tenant";

    fn key(&self) -> Key<Self> {
        Tenant::key_of()
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }
}

/// `slug#<slug>` / `owner`: the tenant that has the slug. Exists from the tenant's creation on. The claim makes the slug unique.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SlugClaim {
    pub slug: Slug,
    #[serde(with = "stored")]
    pub tenant: TenantId,
    pub account: u64,
    /// After a deletion the slug rests, so that old links do not reach another tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rests_until: Option<Timestamp>,
}

impl SlugClaim {
    pub fn key_of(slug: &Slug) -> Key<Self> {
        Key::at(&Collection::within::<SlugClaim>(slug.clone()), "owner".into())
    }
}

impl Entity for SlugClaim {
    type Scope = InDirectory;
    const TYPE: &'static str = "slug";
    const COLLECTION: &'static str = "slug";

    fn key(&self) -> Key<Self> {
        SlugClaim::key_of(&self.slug)
    }

    fn expires_at(&self) -> Option<Timestamp> {
        self.rests_until
    }
}

/// A DNS label (RFC 1035): 3–63 of `a-z 0-9 -`, no hyphen at the ends, and not of the form `xn--…`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slug(String);

impl Slug {
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (3..=63).contains(&text.len()) && text.get(2..4) != Some("--");
        let plain = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        (fits && plain && !text.starts_with('-') && !text.ends_with('-')).then(|| Slug(text.to_owned()))
    }

    /// A slug as somebody requests it, in upper or lower case. ASCII only, because lowercasing in Unicode turns some look-alikes into
    /// letters.
    pub fn asked(text: &str) -> Option<Self> {
        Slug::parse(&text.to_ascii_lowercase())
    }

    /// Whether it is reserved for the deployment, or looks like a reserved one (`adm1n`, `a-p-i`).
    pub fn is_reserved(&self) -> bool {
        RESERVED.iter().any(|word| look(word) == look(&self.0))
    }

    /// Similar slugs, the most natural first, when the requested one is taken. `noise` makes the last ones likely to be free.
    pub fn alternatives(&self, noise: &str) -> Vec<Slug> {
        let stem = self.0[..self.0.len().min(50)].trim_end_matches('-');
        let plain = ["app", "hq", "team", "site"].iter().map(|end| format!("{stem}-{end}"));
        let noisy = noise.as_bytes().chunks(4).map(|end| format!("{stem}-{}", String::from_utf8_lossy(end)));
        plain.chain(noisy).filter_map(|text| Slug::parse(&text)).filter(|slug| !slug.is_reserved()).collect()
    }

    /// A slug made of a name. Letters of other alphabets become the nearest ASCII letters, and everything else that is not a letter or
    /// digit becomes a hyphen. `suffix` makes it unique.
    pub fn from_name(name: &str, suffix: &str) -> Self {
        let mut slug = String::new();
        for character in any_ascii::any_ascii(name).chars().map(|character| character.to_ascii_lowercase()) {
            if character.is_ascii_alphanumeric() {
                slug.push(character);
            } else if !slug.ends_with('-') && !slug.is_empty() {
                slug.push('-');
            }
            if slug.len() == 28 {
                break;
            }
        }
        let stem = slug.trim_matches('-');
        let stem = if stem.is_empty() { "tenant" } else { stem };
        Slug(format!("{stem}-{suffix}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Hosts and path segments of our own, and names that could be taken for the deployment.
const RESERVED: [&str; 82] = [
    "abuse",
    "account",
    "accounts",
    "admin",
    "administrator",
    "analytics",
    "api",
    "app",
    "assets",
    "auth",
    "autoconfig",
    "autodiscover",
    "billing",
    "blog",
    "cdn",
    "console",
    "contact",
    "current",
    "dashboard",
    "demo",
    "dev",
    "developer",
    "docs",
    "domains",
    "edge",
    "email",
    "export",
    "ftp",
    "help",
    "hostmaster",
    "imap",
    "info",
    "internal",
    "invite",
    "invites",
    "jwks",
    "localhost",
    "login",
    "logout",
    "logs",
    "mail",
    "media",
    "metrics",
    "news",
    "noreply",
    "null",
    "oauth",
    "official",
    "origin",
    "owner",
    "pop3",
    "postmaster",
    "prod",
    "production",
    "proxy",
    "public",
    "register",
    "root",
    "security",
    "settings",
    "signin",
    "signup",
    "slug-availability",
    "smtp",
    "sso",
    "staging",
    "static",
    "status",
    "support",
    "system",
    "team",
    "tenant",
    "tenantry",
    "tenants",
    "test",
    "undefined",
    "usage",
    "user",
    "users",
    "webhooks",
    "webmaster",
    "www",
];

/// What a reader sees at first sight: digits and letter pairs that look like letters become those letters, and hyphens disappear.
fn look(text: &str) -> String {
    let plain: String = text
        .chars()
        .filter(|character| *character != '-')
        .map(|character| match character {
            '0' => 'o',
            '1' | 'l' => 'i',
            '3' => 'e',
            '4' => 'a',
            '5' => 's',
            '7' => 't',
            other => other,
        })
        .collect();
    plain.replace("vv", "w").replace("rn", "m")
}

impl std::fmt::Display for Slug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl crate::ids::Segment for Slug {}

impl TryFrom<String> for Slug {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Slug::parse(&text).ok_or_else(|| format!("{text:?} is not a slug"))
    }
}

impl From<Slug> for String {
    fn from(slug: Slug) -> String {
        slug.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reserved_words_and_their_look_alikes_are_kept() {
        for kept in
            ["admin", "adm1n", "a-d-m-i-n", "api", "ap1", "vvww", "www", "rnail", "usage", "us-age", "slug-availability", "d0cs", "users"]
        {
            assert!(Slug::parse(kept).unwrap().is_reserved(), "{kept}");
        }
        for free in ["acme", "my-project", "administer", "apix", "demo-abc123", "wwww"] {
            assert!(!Slug::parse(free).unwrap().is_reserved(), "{free}");
        }
    }

    #[test]
    fn asked_slugs_are_lowered_without_unicode_tricks() {
        assert_eq!(Slug::asked("ACME").as_ref().map(Slug::as_str), Some("acme"));
        // The Kelvin sign, a Cyrillic a, a full-width letter, a zero-width space.
        for wrong in ["\u{212a}elvin", "\u{430}cme", "\u{ff41}cme", "ac\u{200b}me", " acme", "acme.", "a_me", "xn--acme-x"] {
            assert!(Slug::asked(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn alternatives_are_slugs_themselves() {
        for slug in ["acme", "admin", &"a".repeat(63), &format!("{}-b", "a".repeat(49))] {
            let alternatives = Slug::parse(slug).unwrap().alternatives("abcd1234efgh");
            assert!(alternatives.len() >= 6, "{slug}: {alternatives:?}");
        }
    }

    #[test]
    fn slugs_hold_no_delimiter() {
        assert!(Slug::parse("demo-abc123").is_some());
        for wrong in ["", "ab", "-abc", "abc-", "a#b", "ABC", "ünï", "ab--c", "xn--abc", &"a".repeat(64)] {
            assert!(Slug::parse(wrong).is_none(), "{wrong}");
        }
        for (name, slug) in [("Österreich", "osterreich-x1"), ("Łódź Świat", "lodz-swiat-x1"), ("Ελλάδα", "ellada-x1"), ("", "tenant-x1")]
        {
            assert_eq!(Slug::from_name(name, "x1").as_str(), slug);
        }
        for name in ["Acme & Sons, Ltd.", "日本", "", "---", "🦀🦀", &"x".repeat(300), &"ß".repeat(300)] {
            assert!(Slug::parse(Slug::from_name(name, "abc123").as_str()).is_some(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_made_of_a_name_is_a_slug(name in prop_oneof![any::<String>(), "[a-z -]{0,40}", "[0-9a-f-]{36}"], suffix in "[a-z0-9]{6,8}") {
            let slug = Slug::from_name(&name, &suffix);
            prop_assert_eq!(Slug::parse(slug.as_str()), Some(slug));
        }
    }
}
