//! A person, one record for each deployment, whatever tenants they belong to.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::ids::{TenantId, UserId, stored, stored_option};
use crate::model::text::nfc;
use crate::store::entity::{Collection, Entity, Hashed, InDirectory, Key};
use crate::store::page::List;

/// `user#<id>` / `profile`.
#[derive(Clone, Serialize, Deserialize)]
pub struct User {
    pub id: UserId,
    pub name: String,
    pub email: Email,
    /// argon2id in PHC format. Absent for people who only use an identity provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// How many passwords were set after the first. A reset link is only valid for the password that was current when it was requested.
    #[serde(default)]
    pub passwords: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Timestamp>,
    /// Set if the account was made with a demo. The address is then not proven, whatever `verified_at` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demo: Option<DemoAccount>,
    #[serde(default)]
    pub system_admin: bool,
    /// The tenant that a login opens by default.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "stored_option")]
    pub home: Option<TenantId>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub version: u64,
}

/// The state of an account that was made with a demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DemoAccount {
    /// The account exists only in the demo.
    Running,
    /// An operator made the demo a permanent tenant.
    Kept,
}

/// Without the password hash and the e-mail, in case a user gets into a log line by accident.
impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "User({})", self.id)
    }
}

impl User {
    pub fn key_of(id: UserId) -> Key<Self> {
        Key::at(&Collection::within::<User>(id), "profile".into())
    }

    /// Everything of one user is in this partition: profile, sessions, tenants.
    pub(crate) fn collection(id: UserId) -> Collection {
        Collection::within::<User>(id)
    }

    /// Profile, sessions and tenants of a user, to delete them.
    pub fn everything(id: UserId) -> List<Self> {
        List::new(User::collection(id), "")
    }

    /// Whether a person who can read the mails of the address has made this account theirs.
    pub fn is_proven(&self) -> bool {
        self.verified_at.is_some() && self.demo.is_none()
    }

    /// Whether the account exists only in its demo.
    pub fn is_of_demo(&self) -> bool {
        self.demo == Some(DemoAccount::Running)
    }

    /// Whether they may create a tenant. The owner of a demo may not.
    pub fn may_create_tenant(&self) -> Result<(), Error> {
        if self.is_of_demo() {
            return Err(Error::Forbidden("This account is a demo's. Register to have tenants of your own.".into()));
        }
        Ok(())
    }

    /// The account after the person has proven the address. An earlier password becomes invalid.
    pub fn proven(&self, name: Option<String>, password: Option<String>, now: Timestamp) -> Self {
        User {
            name: name.unwrap_or_else(|| self.name.clone()),
            password,
            passwords: self.passwords + 1,
            verified_at: Some(self.verified_at.filter(|_| self.is_proven()).unwrap_or(now)),
            demo: None,
            updated_at: now,
            version: self.version + 1,
            ..self.clone()
        }
    }

    /// The same password with a new hash.
    pub fn rehashed(&self, hash: String, now: Timestamp) -> Self {
        User { password: Some(hash), updated_at: now, version: self.version + 1, ..self.clone() }
    }

    /// The account of a demo that became a permanent tenant.
    pub fn kept(&self, now: Timestamp) -> Self {
        User { demo: Some(DemoAccount::Kept), updated_at: now, version: self.version + 1, ..self.clone() }
    }

    pub fn with_home(&self, home: Option<TenantId>, now: Timestamp) -> Self {
        User { home, updated_at: now, version: self.version + 1, ..self.clone() }
    }
}

impl Entity for User {
    type Scope = InDirectory;
    const TYPE: &'static str = "user";
    const COLLECTION: &'static str = "user";

    fn key(&self) -> Key<Self> {
        User::key_of(self.id)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }
}

/// `email#<hash>` / `owner`: the account that has the e-mail address. Unique in the deployment, and written by a proof of the address. An
/// older claim may belong to an account that has proven nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EmailClaim {
    pub email: Email,
    pub user: UserId,
    /// Older claims of demos end with the demo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
}

impl EmailClaim {
    pub fn key_of(email: &Email) -> Key<Self> {
        Key::at(&Collection::within::<EmailClaim>(email.hashed()), "owner".into())
    }
}

impl Entity for EmailClaim {
    type Scope = InDirectory;
    const TYPE: &'static str = "email";
    const COLLECTION: &'static str = "email";

    fn key(&self) -> Key<Self> {
        EmailClaim::key_of(&self.email)
    }

    fn expires_at(&self) -> Option<Timestamp> {
        self.ends_at
    }
}

/// `user#<id>` / `tenant#<id>`: a user belongs to a tenant. The role is stored in the tenant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UserTenant {
    pub user: UserId,
    #[serde(with = "stored")]
    pub tenant: TenantId,
    pub since: Timestamp,
}

impl UserTenant {
    /// The tenants of a user.
    pub fn of_user(user: UserId) -> List<Self> {
        List::new(User::collection(user), "tenant#")
    }

    pub fn key_of(user: UserId, tenant: TenantId) -> Key<Self> {
        Key::at(&User::collection(user), format!("tenant#{tenant}"))
    }
}

impl Entity for UserTenant {
    type Scope = InDirectory;
    const TYPE: &'static str = "belongs";
    const COLLECTION: &'static str = "user";

    fn key(&self) -> Key<Self> {
        UserTenant::key_of(self.user, self.tenant)
    }
}

/// `identity#<hash of issuer and subject>` / `owner`: the user for a subject of an identity provider.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Identity {
    pub issuer: String,
    pub subject: String,
    pub user: UserId,
    /// A `Subject` is stored with the user too. Older links have none until they are used.
    #[serde(default)]
    pub paired: bool,
}

impl Identity {
    pub fn key_of(issuer: &str, subject: &str) -> Key<Self> {
        Key::at(&Collection::within::<Identity>(Hashed::of(&[issuer, subject])), "owner".into())
    }
}

impl Entity for Identity {
    type Scope = InDirectory;
    const TYPE: &'static str = "identity";
    const COLLECTION: &'static str = "identity";

    fn key(&self) -> Key<Self> {
        Identity::key_of(&self.issuer, &self.subject)
    }
}

/// `user#<id>` / `subject#<hash of issuer>`: the subject of an issuer that is linked to the user.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Subject {
    pub user: UserId,
    pub issuer: String,
    pub subject: String,
}

impl Subject {
    pub fn key_of(user: UserId, issuer: &str) -> Key<Self> {
        Key::at(&User::collection(user), format!("subject#{}", Hashed::of(&[issuer])))
    }
}

impl Entity for Subject {
    type Scope = InDirectory;
    const TYPE: &'static str = "subject";
    const COLLECTION: &'static str = "user";

    fn key(&self) -> Key<Self> {
        Subject::key_of(self.user, &self.issuer)
    }
}

/// `familiar#<hash of the e-mail>` / `<hash of the network>`: the owner of the address logged in from this network within 30 days. Failures
/// of others never block it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KnownNetwork {
    email: Email,
    network: String,
    until: Timestamp,
}

impl KnownNetwork {
    const KEPT: SignedDuration = SignedDuration::from_hours(24 * 30);
    /// It is renewed this often, not at every login.
    const RENEWED: SignedDuration = SignedDuration::from_hours(24);

    pub fn new(email: &Email, network: &str, now: Timestamp) -> Self {
        KnownNetwork { email: email.clone(), network: Hashed::of(&[network]).to_string(), until: now + KnownNetwork::KEPT }
    }

    pub fn key_of(email: &Email, network: &str) -> Key<Self> {
        Key::at(&Collection::within::<KnownNetwork>(email.hashed()), Hashed::of(&[network]).to_string())
    }

    pub fn is_fresh(&self, now: Timestamp) -> bool {
        self.until > now + KnownNetwork::KEPT - KnownNetwork::RENEWED
    }
}

impl Entity for KnownNetwork {
    type Scope = InDirectory;
    const TYPE: &'static str = "familiar";
    const COLLECTION: &'static str = "familiar";

    fn key(&self) -> Key<Self> {
        Key::at(&Collection::within::<KnownNetwork>(self.email.hashed()), self.network.clone())
    }

    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.until)
    }
}

/// An address: an ASCII dot-atom, which is what carriers take, at a domain in A-labels. Kept as written and compared in ASCII lower case.
/// Older ones may have other forms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, format = Email)]
pub struct Email(String);

impl Email {
    const NO_ADDRESS: &str = "must be a valid email address";

    pub fn parse(text: &str) -> Option<Self> {
        Email::read(text).ok()
    }

    /// The error continues "The email field …".
    pub fn read(text: &str) -> Result<Self, &'static str> {
        let (local, domain) = text.trim().rsplit_once('@').ok_or(Email::NO_ADDRESS)?;
        if !local.is_ascii() {
            return Err("must be a valid email address: before the @, mail takes only unaccented letters, digits and signs like . _ + -");
        }
        if !is_dot_atom(local) {
            return Err(Email::NO_ADDRESS);
        }
        let domain = in_a_labels(domain).ok_or("must be a valid email address: what follows the @ is no domain name")?;
        Email::of(local, &domain).ok_or(Email::NO_ADDRESS)
    }

    /// An address that a person enters to log in. Older forms are found, but no longer accepted for new accounts.
    pub fn presented(text: &str) -> Result<Self, &'static str> {
        Email::read(text).or_else(|problem| if is_older_form(text.trim()) { Ok(Email(text.trim().to_owned())) } else { Err(problem) })
    }

    /// An address from an identity provider, to look it up. It does by hand what `idna` does for registered names, because its tables would
    /// be part of every function.
    pub fn looked_up(text: &str) -> Option<Self> {
        let (local, domain) = text.trim().rsplit_once('@')?;
        let label = |label: &str| match label.is_ascii() {
            true => Some(label.to_owned()),
            false => idna::punycode::encode_str(label).map(|encoded| format!("xn--{encoded}")),
        };
        let domain = nfc(&domain.to_lowercase()).split('.').map(label).collect::<Option<Vec<_>>>()?.join(".");
        if is_dot_atom(local) { Email::of(local, &domain) } else { None }
    }

    fn of(local: &str, domain: &str) -> Option<Self> {
        let label = |label: &str| {
            let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            (1..=63).contains(&label.len()) && plain && !label.starts_with('-') && !label.ends_with('-')
        };
        let fits = domain.contains('.') && domain.split('.').all(label) && local.len() + 1 + domain.len() <= 254;
        fits.then(|| Email(format!("{local}@{domain}")))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form that is equal for different spellings of one address.
    pub fn normalised(&self) -> String {
        self.0.to_lowercase()
    }

    /// The form in which the same address was stored before domains became A-labels.
    pub(crate) fn former(&self) -> Option<Self> {
        let (local, domain) = self.0.rsplit_once('@')?;
        if !has_a_label(domain) {
            return None;
        }
        let (unicode, valid) = idna::domain_to_unicode(domain);
        (valid.is_ok() && !unicode.is_ascii()).then(|| Email(format!("{local}@{unicode}")))
    }

    pub(crate) fn hashed(&self) -> Hashed {
        Hashed::of(&[&self.normalised()])
    }
}

/// `atext` of RFC 5322 with single dots between.
fn is_dot_atom(local: &str) -> bool {
    let atom =
        |atom: &str| !atom.is_empty() && atom.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte));
    local.len() <= 64 && local.split('.').all(atom)
}

fn in_a_labels(domain: &str) -> Option<Cow<'_, str>> {
    if domain.is_ascii() && !has_a_label(domain) {
        return Some(Cow::Borrowed(domain));
    }
    idna::domain_to_ascii_cow(domain.as_bytes(), idna::AsciiDenyList::STD3).ok()
}

fn has_a_label(domain: &str) -> bool {
    domain.split('.').any(|label| label.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("xn--")))
}

/// Accepted until addresses had one form: letters of any script before the @.
fn is_older_form(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let local_fits = (1..=64).contains(&local.len())
        && local.chars().all(|c| !c.is_whitespace() && !c.is_control() && !"\"(),:;<>@[\\]".contains(c))
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..");
    let label = |label: &str| {
        let plain = label.chars().all(|c| c.is_alphanumeric() || c == '-');
        (1..=63).contains(&label.len()) && plain && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= 254 && local_fits && domain.contains('.') && domain.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_strictly_and_compared_loosely() {
        for right in ["a@example.com", "First.Last+tag@sub.example.co", " padded@example.com ", "o'hara/x=y@example.com"] {
            assert!(Email::parse(right).is_some(), "{right}");
        }
        for wrong in [
            "",
            "a",
            "a@b",
            "@example.com",
            "a b@example.com",
            "a@exa mple.com",
            "a@-x.com",
            "a..b@example.com",
            "a@example.com\0",
            "ü@example.com",
            "\"a\"@example.com",
            "a@exam_ple.com",
            "a@xn--a.com",
            "a@b..com",
            "a@[127.0.0.1]",
            ".a@example.com",
        ] {
            assert!(Email::parse(wrong).is_none(), "{wrong:?}");
        }
        assert!(Email::read("ü@example.com").unwrap_err().contains("before the @"));
        let (upper, lower) = (Email::parse("A@Example.com").unwrap(), Email::parse("a@example.com").unwrap());
        assert!(upper.hashed() == lower.hashed());
    }
    #[test]
    fn a_domain_has_one_form_whatever_script_it_is_written_in() {
        for written in
            ["u@bücher.example", "u@BÜCHER.example", "u@bu\u{308}cher.example", "u@xn--bcher-kva.example", "u@XN--BCHER-KVA.example"]
        {
            assert_eq!(Email::parse(written).unwrap().as_str(), "u@xn--bcher-kva.example", "{written}");
            assert_eq!(Email::looked_up(written).unwrap().normalised(), "u@xn--bcher-kva.example", "{written}");
        }
        assert_eq!(Email::parse("u@bücher.example").unwrap().former().unwrap().as_str(), "u@bücher.example");
        assert!(Email::parse("u@example.com").unwrap().former().is_none());
    }

    #[test]
    fn an_older_form_is_found_and_not_made() {
        assert_eq!(Email::presented("ü@example.com").unwrap().as_str(), "ü@example.com");
        assert!(Email::presented("ü @example.com").is_err());
    }
}
