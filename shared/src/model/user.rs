//! A person, once per deployment, whatever tenants he belongs to.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::UserId;
use crate::store::entity::{Collection, Entity, Hashed, InDirectory, Key};
use crate::store::page::List;
use crate::tenancy::{TenantId, stored, stored_option};

/// `user#<id>` / `profile`.
#[derive(Clone, Serialize, Deserialize)]
pub struct User {
    pub id: UserId,
    pub name: String,
    pub email: Email,
    /// argon2id in PHC form. Absent for people who only come through an identity provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Timestamp>,
    #[serde(default)]
    pub system_admin: bool,
    /// The tenant a login opens when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "stored_option")]
    pub home: Option<TenantId>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub version: u64,
}

/// Without the password hash and the e-mail: a user may end up in a log line by accident.
impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "User({})", self.id)
    }
}

impl User {
    pub fn key_of(id: UserId) -> Key<Self> {
        Key::new(&Collection::of("user", id), "profile".into())
    }

    /// Everything of one user lies in this partition: profile, sessions, memberships.
    pub(crate) fn collection(id: UserId) -> Collection {
        Collection::of("user", id)
    }

    /// Profile, sessions and memberships of a user, for when he goes.
    pub fn everything(id: UserId) -> List<Self> {
        List::new(User::collection(id), "")
    }

    pub fn verified(&self, now: Timestamp) -> Self {
        User { verified_at: Some(self.verified_at.unwrap_or(now)), updated_at: now, version: self.version + 1, ..self.clone() }
    }

    pub fn with_password(&self, hash: String, now: Timestamp) -> Self {
        User { password: Some(hash), updated_at: now, version: self.version + 1, ..self.clone() }
    }

    pub fn with_home(&self, home: Option<TenantId>, now: Timestamp) -> Self {
        User { home, updated_at: now, version: self.version + 1, ..self.clone() }
    }
}

impl Entity for User {
    type Scope = InDirectory;
    const TYPE: &'static str = "user";

    fn key(&self) -> Key<Self> {
        User::key_of(self.id)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }
}

/// `email#<hash>` / `owner`: whose e-mail it is. Unique across the deployment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EmailClaim {
    pub email: Email,
    pub user: UserId,
    /// A demo's claim ends with the demo; after that the address is free again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
}

impl EmailClaim {
    pub fn key_of(email: &Email) -> Key<Self> {
        Key::new(&Collection::of("email", email.hashed()), "owner".into())
    }
}

impl Entity for EmailClaim {
    type Scope = InDirectory;
    const TYPE: &'static str = "email";

    fn key(&self) -> Key<Self> {
        EmailClaim::key_of(&self.email)
    }

    fn expires_at(&self) -> Option<Timestamp> {
        self.ends_at
    }
}

/// `user#<id>` / `tenant#<id>`: that a user belongs to a tenant. The role stands in the tenant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Belongs {
    pub user: UserId,
    #[serde(with = "stored")]
    pub tenant: TenantId,
    pub since: Timestamp,
}

impl Belongs {
    /// The tenants of a user.
    pub fn of_user(user: UserId) -> List<Self> {
        List::new(User::collection(user), "tenant#")
    }

    pub fn key_of(user: UserId, tenant: TenantId) -> Key<Self> {
        Key::new(&User::collection(user), format!("tenant#{tenant}"))
    }
}

impl Entity for Belongs {
    type Scope = InDirectory;
    const TYPE: &'static str = "belongs";

    fn key(&self) -> Key<Self> {
        Belongs::key_of(self.user, self.tenant)
    }
}

/// `identity#<hash of issuer and subject>` / `owner`: who an identity provider's subject is here.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Identity {
    pub issuer: String,
    pub subject: String,
    pub user: UserId,
}

impl Identity {
    pub fn key_of(issuer: &str, subject: &str) -> Key<Self> {
        Key::new(&Collection::of("identity", Hashed::of(&[issuer, subject])), "owner".into())
    }
}

impl Entity for Identity {
    type Scope = InDirectory;
    const TYPE: &'static str = "identity";

    fn key(&self) -> Key<Self> {
        Identity::key_of(&self.issuer, &self.subject)
    }
}

/// An address, kept as written and compared in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Email(String);

impl Email {
    /// A practical subset of RFC 5321: one `@`, a dot-separated domain of letters, digits and hyphens, no spaces or control
    /// characters, at most 254 bytes.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (local, domain) = text.rsplit_once('@')?;
        let local_fits = (1..=64).contains(&local.len())
            && local.chars().all(|c| !c.is_whitespace() && !c.is_control() && !"\"(),:;<>@[\\]".contains(c))
            && !local.starts_with('.')
            && !local.ends_with('.')
            && !local.contains("..");
        let labels: Vec<&str> = domain.split('.').collect();
        let domain_fits = labels.len() >= 2
            && labels.iter().all(|label| {
                (1..=63).contains(&label.len())
                    && label.chars().all(|c| c.is_alphanumeric() || c == '-')
                    && !label.starts_with('-')
                    && !label.ends_with('-')
            });
        (text.len() <= 254 && local_fits && domain_fits).then(|| Email(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What two spellings of one address share.
    pub fn normalised(&self) -> String {
        self.0.to_lowercase()
    }

    pub(crate) fn hashed(&self) -> Hashed {
        Hashed::of(&[&self.normalised()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_strictly_and_compared_loosely() {
        for right in ["a@example.com", "First.Last+tag@sub.example.co", " padded@example.com "] {
            assert!(Email::parse(right).is_some(), "{right}");
        }
        for wrong in
            ["", "a", "a@b", "@example.com", "a b@example.com", "a@exa mple.com", "a@-x.com", "a..b@example.com", "a@example.com\0"]
        {
            assert!(Email::parse(wrong).is_none(), "{wrong:?}");
        }
        let (upper, lower) = (Email::parse("A@Example.com").unwrap(), Email::parse("a@example.com").unwrap());
        assert!(upper.hashed() == lower.hashed());
    }
}
