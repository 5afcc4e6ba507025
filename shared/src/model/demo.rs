//! Demo tenants: their list, their lifetime and their password.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::crypto::SigningKey;
use crate::ids::{MailId, TenantId, UserId, stored};
use crate::model::mail::{Mail, MailContent};
use crate::model::tenant::Slug;
use crate::model::user::Email;
use crate::store::entity::{Collection, Entity, InDirectory, Key};
use crate::store::page::List;

/// `demos` / `<end>#<tenant>`: the active demos in the order in which they end, for the janitor. At most a hundred.
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
    /// The mail that warns a day before the end was written.
    pub warned: bool,
    pub version: u64,
}

/// What the janitor has to do for a demo at `now`.
#[derive(Debug, PartialEq, Eq)]
pub enum Due {
    Nothing,
    Warning,
    Purge,
}

impl Demo {
    const WARN_HOURS: i64 = 24;
    /// Requests that arrived at the last moment have ended after this time, so nothing is written after the purge.
    const STILL_RUNNING: SignedDuration = SignedDuration::from_secs(60);

    pub fn key_of(ends_at: Timestamp, tenant: TenantId) -> Key<Self> {
        Key::at(&Demo::collection(), format!("{:012}#{tenant}", ends_at.as_second()))
    }

    /// In the order in which they end.
    pub fn all() -> List<Self> {
        List::new(Demo::collection(), "")
    }

    pub(crate) fn collection() -> Collection {
        Collection::of::<Demo>()
    }

    pub fn due(&self, now: Timestamp) -> Due {
        if self.ends_at + Demo::STILL_RUNNING <= now {
            Due::Purge
        } else if !self.warned && self.ends_at > now && self.ends_at <= now + SignedDuration::from_hours(Demo::WARN_HOURS) {
            Due::Warning
        } else {
            Due::Nothing
        }
    }

    /// The demo marked as warned, and the mail to send.
    pub fn warned(&self, mail: MailId, now: Timestamp) -> (Self, Mail) {
        let content = MailContent::DemoEnding { name: self.name.clone(), tenant_name: self.tenant_name.clone(), ends_at: self.ends_at };
        let mail = Mail::queued(mail, Some(self.tenant), self.email.clone(), content, now);
        (Demo { warned: true, version: self.version + 1, ..self.clone() }, mail)
    }

    /// A demo's own password: 20 characters, derived from a configured secret and the tenant, so that every demo has another one.
    pub fn password(secret: &SigningKey, tenant: TenantId) -> String {
        secret.sign(&format!("demo {tenant}")).chars().filter(char::is_ascii_alphanumeric).take(20).collect()
    }
}

impl Entity for Demo {
    type Scope = InDirectory;
    const TYPE: &'static str = "demo";
    const COLLECTION: &'static str = "demos";

    fn key(&self) -> Key<Self> {
        Demo::key_of(self.ends_at, self.tenant)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }
}

/// `email#<hash>` / `demo#<tenant>`: somebody made a demo with this address. They can log in with the demo's own password. It does not say
/// who owns the address: a proof of the address removes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DemoClaim {
    pub email: Email,
    #[serde(with = "stored")]
    pub tenant: TenantId,
    pub user: UserId,
    /// Used to recognise the password. A fast hash is enough, because the password is 20 random characters.
    mark: String,
    /// `None` once the demo has become a permanent tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
}

impl DemoClaim {
    pub fn new(demo: &Demo, password: &str) -> Self {
        let mark = mark(demo.tenant, password);
        DemoClaim { email: demo.email.clone(), tenant: demo.tenant, user: demo.owner, mark, ends_at: Some(demo.ends_at) }
    }

    pub fn key_of(email: &Email, tenant: TenantId) -> Key<Self> {
        Key::at(&Collection::within::<DemoClaim>(email.hashed()), format!("demo#{tenant}"))
    }

    pub fn is_opened_by(&self, password: &str) -> bool {
        crate::crypto::same(mark(self.tenant, password).as_bytes(), self.mark.as_bytes())
    }

    /// The claim of a demo that has become a permanent tenant.
    pub fn kept(&self) -> Self {
        DemoClaim { ends_at: None, ..self.clone() }
    }
}

fn mark(tenant: TenantId, password: &str) -> String {
    crate::crypto::hash(&[b"demo password", tenant.to_string().as_bytes(), password.as_bytes()])
}

impl Entity for DemoClaim {
    type Scope = InDirectory;
    const TYPE: &'static str = "demo_claim";
    const COLLECTION: &'static str = "email";

    fn key(&self) -> Key<Self> {
        DemoClaim::key_of(&self.email, self.tenant)
    }

    fn expires_at(&self) -> Option<Timestamp> {
        self.ends_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demo_is_warned_once_in_its_last_day_and_purged_after_it() {
        let ends_at = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(48);
        let random = crate::crypto::Random::seeded(1);
        let demo = Demo {
            tenant: serde_json::from_value::<Stored>(serde_json::json!("550e8400-e29b-41d4-a716-446655440000")).unwrap().0,
            owner: UserId::new(Timestamp::UNIX_EPOCH, &random),
            slug: Slug::parse("demo-abc123").unwrap(),
            email: Email::parse("ada@example.com").unwrap(),
            name: "Ada".into(),
            tenant_name: "Engines".into(),
            ends_at,
            warned: false,
            version: 1,
        };
        let before = |hours: i64| ends_at - SignedDuration::from_hours(hours);
        assert_eq!(demo.due(before(25)), Due::Nothing);
        assert_eq!(demo.due(before(24)), Due::Warning);
        let (warned, _) = demo.warned(MailId::new(before(24), &random), before(24));
        assert_eq!(warned.due(before(23)), Due::Nothing);
        // Too late to warn, too early to purge.
        assert_eq!(demo.due(ends_at), Due::Nothing);
        assert_eq!(warned.due(ends_at + Demo::STILL_RUNNING), Due::Purge);
    }

    #[derive(Deserialize)]
    struct Stored(#[serde(with = "stored")] TenantId);
}
