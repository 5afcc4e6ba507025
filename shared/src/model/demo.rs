//! Demo tenants: who they are listed for, how long they live, what password they get.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::crypto::SigningKey;
use crate::ids::UserId;
use crate::model::tenant::Slug;
use crate::model::user::Email;
use crate::store::page::List;
use crate::store::entity::{Collection, Entity, InDirectory, Key};
use crate::tenancy::{TenantId, stored};

/// `demos` / `<end>#<tenant>`: the active demos in the order they end, for the janitor. At most a hundred.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Demo {
    #[serde(with = "stored")]
    pub tenant: TenantId,
    pub owner: UserId,
    pub slug: Slug,
    pub email: Email,
    pub name: String,
    pub tenant_name: String,
    pub ends_at: Timestamp,
    /// The mail a day before the end is written.
    pub warned: bool,
    pub version: u64,
}

/// What the janitor owes a demo at `now`.
#[derive(Debug, PartialEq, Eq)]
pub enum Due {
    Nothing,
    Warning,
    Purge,
}

impl Demo {
    const WARN_HOURS: i64 = 24;

    pub fn key_of(ends_at: Timestamp, tenant: TenantId) -> Key<Self> {
        Key::new(&Demo::collection(), format!("{:012}#{tenant}", ends_at.as_second()))
    }

    /// In the order in which they end.
    pub fn all() -> List<Self> {
        List::new(Demo::collection(), "")
    }

    pub(crate) fn collection() -> Collection {
        Collection::named("demos")
    }

    pub fn due(&self, now: Timestamp) -> Due {
        if self.ends_at <= now {
            Due::Purge
        } else if !self.warned && self.ends_at <= now + jiff::SignedDuration::from_hours(Demo::WARN_HOURS) {
            Due::Warning
        } else {
            Due::Nothing
        }
    }

    pub fn warned(&self) -> Self {
        Demo { warned: true, version: self.version + 1, ..self.clone() }
    }

    /// A demo's own password: 20 characters from a configured secret and the tenant, so no two demos share one.
    pub fn password(secret: &SigningKey, tenant: TenantId) -> String {
        secret.sign(&format!("demo {tenant}")).chars().filter(char::is_ascii_alphanumeric).take(20).collect()
    }
}

impl Entity for Demo {
    type Scope = InDirectory;
    const TYPE: &'static str = "demo";

    fn key(&self) -> Key<Self> {
        Demo::key_of(self.ends_at, self.tenant)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }
}
