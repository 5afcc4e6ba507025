//! API keys: their text with its checksum, their scopes, their lifetime, and their rotation. A key may do what its scopes allow and what
//! its maker's present role allows. When the role is no longer enough, the key is inactive until an owner adopts it.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::crypto::{Random, hash, same};
use crate::ids::{ApiKeyId, Segment, TenantId, UserId, WorkspaceId, stored};
use crate::model::member::{Member, Person};
use crate::model::plan::Quota;
use crate::model::role::Role;
use crate::model::scope::Scopes;
use crate::store::entity::{Collection, Counter, Entity, InDirectory, InTenant, Key, Record};
use crate::store::page::List;

const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const HANDLE: usize = 12;
const SECRET: usize = 43;
const CHECKSUM: usize = 6;

/// Live keys do what they say; test keys run everything but delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = KeyEnvironment)]
pub enum Environment {
    Live,
    Test,
}

impl Environment {
    pub fn name(self) -> &'static str {
        match self {
            Environment::Live => "live",
            Environment::Test => "test",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Environment::Live, Environment::Test].into_iter().find(|environment| environment.name() == text)
    }
}

/// The part by which a key is found: 12 characters of base62, readable in its text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyHandle(String);

impl Segment for KeyHandle {}

impl KeyHandle {
    fn parse(text: &str) -> Option<Self> {
        (text.len() == HANDLE && text.bytes().all(|byte| byte.is_ascii_alphanumeric())).then(|| KeyHandle(text.to_owned()))
    }
}

impl std::fmt::Display for KeyHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for KeyHandle {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, &'static str> {
        KeyHandle::parse(&text).ok_or("not a key handle")
    }
}

impl From<KeyHandle> for String {
    fn from(handle: KeyHandle) -> String {
        handle.0
    }
}

/// The parts of a key's text: `tf_live_` or `tf_test_`, handle, 43-character secret, and CRC-32 of everything before it (base62, 6
/// characters).
pub struct KeyText<'a> {
    pub handle: KeyHandle,
    secret: &'a str,
}

impl<'a> KeyText<'a> {
    /// Whether a text is meant to be a key, even if something is wrong with it.
    pub fn looks_like_one(text: &str) -> bool {
        text.starts_with("tf_live_") || text.starts_with("tf_test_")
    }

    /// `None` for a text that was mistyped, cut or invented. Its form or checksum shows this before anything is read.
    pub fn parse(text: &'a str) -> Option<Self> {
        if !KeyText::looks_like_one(text) || text.len() != 8 + HANDLE + SECRET + CHECKSUM || !text.is_ascii() {
            return None;
        }
        let (body, given) = text.split_at(text.len() - CHECKSUM);
        let (handle, secret) = body[8..].split_at(HANDLE);
        let plain = secret.bytes().all(|byte| byte.is_ascii_alphanumeric());
        (plain && checksum(body) == given).then(|| Some(KeyText { handle: KeyHandle::parse(handle)?, secret })).flatten()
    }

    /// Compares in constant time.
    pub fn opens(&self, claim: &KeyClaim) -> bool {
        same(secret_hash(self.secret).as_bytes(), claim.secret_hash.as_bytes())
    }
}

fn checksum(body: &str) -> String {
    let mut crc = crc32fast::hash(body.as_bytes());
    let mut digits = [b'0'; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(crc % 62) as usize];
        crc /= 62;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

/// A secret of 256 random bits needs no slow hash.
fn secret_hash(secret: &str) -> String {
    hash(&[b"api key", secret.as_bytes()])
}

/// `api-key#<handle>` / `owner`: the tenant of the key and the hash of its secret, which never change. Also where its maker's membership
/// is, which changes with an adoption.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeyClaim {
    pub handle: KeyHandle,
    pub key: ApiKeyId,
    #[serde(with = "stored")]
    pub tenant: TenantId,
    secret_hash: String,
    /// Absent in claims from before makers were stored. A door then finds the maker by the key's record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maker: Option<Maker>,
    /// The end of the grace of a replaced key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
}

/// The membership that gives a key its power: in its own tenant, or in the agency of the tenant. Only the directory stores it, so that
/// nothing in a child leads to its agency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maker {
    #[serde(with = "stored")]
    pub tenant: TenantId,
    pub user: UserId,
}

impl KeyClaim {
    pub fn key_of(handle: &KeyHandle) -> Key<Self> {
        Key::at(&Collection::within::<KeyClaim>(handle.clone()), "owner".into())
    }

    pub fn made_by(&self, maker: Maker) -> Self {
        KeyClaim { maker: Some(maker), ..self.clone() }
    }

    pub fn until(&self, ends_at: Option<Timestamp>) -> Self {
        KeyClaim { ends_at, ..self.clone() }
    }
}

impl Entity for KeyClaim {
    type Scope = InDirectory;
    const TYPE: &'static str = "api_key_claim";
    const COLLECTION: &'static str = "api-key";

    fn key(&self) -> Key<Self> {
        KeyClaim::key_of(&self.handle)
    }

    fn expires_at(&self) -> Option<Timestamp> {
        self.ends_at
    }
}

/// `api-keys` / `<id>`: read by every door that a key can open. A tenant's keys are one query, in order of creation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub handle: KeyHandle,
    /// The last four characters of the secret, to tell keys apart.
    pub last4: String,
    pub name: String,
    pub environment: Environment,
    pub scopes: Scopes,
    /// Requests per minute. If absent, the plan's limit holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<u64>,
    /// The only workspaces that exist for it. If absent, all that exist for its maker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspaces: Option<BTreeSet<WorkspaceId>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The person whose power it has. What the key creates carries their name.
    pub issuer: Issuer,
    /// Set when its maker was removed or demoted below what the key needs. It stays set until an owner adopts the key, even if the maker
    /// gets the role back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silenced: Option<Inactive>,
    /// Set when the key was rotated: the key that replaces it, and the end of its grace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<ApiKeyId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_ends_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub version: u64,
}

/// The person behind a key, who made or adopted it, directly or with another key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issuer {
    pub user: UserId,
    pub person: Person,
    /// The number of their membership. Numbers are not used again, so a person who leaves and comes back is no longer the maker. Absent in
    /// older keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub membership: Option<u64>,
}

impl Issuer {
    /// `acts_as` is what the tenant sees of the person. `membership` is where their power comes from.
    pub fn of(acts_as: &Member, membership: &Member) -> Self {
        Issuer { user: membership.user, person: acts_as.person(), membership: Some(membership.number) }
    }

    /// Whether it is a person of the tenant's agency. They have no number here.
    pub fn is_of_agency(&self) -> bool {
        self.person.id == 0
    }

    /// Whether `member` is the same person with the same membership.
    fn is(&self, member: &Member) -> bool {
        let own = (!self.is_of_agency()).then_some(self.person.id);
        member.user == self.user && self.membership.or(own).is_none_or(|number| number == member.number)
    }
}

/// Why a key that holds does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = KeyInactiveReason)]
pub enum Inactive {
    MakerRemoved,
    MakerDemoted,
}

impl Inactive {
    /// The sentence for a person.
    pub fn message(self) -> &'static str {
        match self {
            Inactive::MakerRemoved => "Who made this key is no longer a member. An owner can adopt the key.",
            Inactive::MakerDemoted => "Who made this key no longer has the role that it needs. An owner can adopt the key.",
        }
    }
}

/// The properties that the maker of a key chooses.
#[derive(Debug, Clone)]
pub struct NewKey {
    pub name: String,
    pub environment: Environment,
    pub scopes: Scopes,
    pub rate_limit: Option<u64>,
    pub workspaces: Option<BTreeSet<WorkspaceId>>,
    pub expires_at: Option<Timestamp>,
}

/// A new key: its records, and its text, which is shown once.
pub struct Minted {
    pub key: ApiKey,
    pub claim: KeyClaim,
    pub text: String,
}

impl ApiKey {
    /// It is for trying things out: nothing goes out by it.
    pub fn is_test(&self) -> bool {
        self.environment == Environment::Test
    }

    pub const MAX_GRACE: SignedDuration = SignedDuration::from_secs(2_592_000);

    pub fn mint(new: NewKey, tenant: TenantId, issuer: Issuer, maker: Maker, now: Timestamp, random: &Random) -> Minted {
        let handle = random.text(BASE62, HANDLE);
        let secret = random.text(BASE62, SECRET);
        let body = format!("tf_{}_{handle}{secret}", new.environment.name());
        let text = format!("{body}{}", checksum(&body));
        let id = ApiKeyId::new(now, random);
        let claim = KeyClaim {
            handle: KeyHandle(handle.clone()),
            key: id,
            tenant,
            secret_hash: secret_hash(&secret),
            maker: Some(maker),
            ends_at: None,
        };
        let key = ApiKey {
            id,
            handle: KeyHandle(handle),
            last4: text[text.len() - 4..].to_owned(),
            name: new.name,
            environment: new.environment,
            scopes: new.scopes,
            rate_limit: new.rate_limit,
            workspaces: new.workspaces,
            expires_at: new.expires_at,
            issuer,
            silenced: None,
            replaced_by: None,
            grace_ends_at: None,
            created_at: now,
            version: 1,
        };
        Minted { key, claim, text }
    }

    /// The same key with a new secret. The old one works until the end of its grace.
    pub fn rotated(&self, grace: SignedDuration, minted: &Minted, now: Timestamp) -> Self {
        ApiKey { replaced_by: Some(minted.key.id), grace_ends_at: Some(now + grace), version: self.version + 1, ..self.clone() }
    }

    /// The key with a grace that ends now.
    pub fn retired(&self, now: Timestamp) -> Self {
        ApiKey { grace_ends_at: Some(now), version: self.version + 1, ..self.clone() }
    }

    /// The key, inactive until somebody adopts it. `None` if it is inactive already.
    pub fn silenced(&self, why: Inactive) -> Option<Self> {
        self.silenced.is_none().then(|| ApiKey { silenced: Some(why), version: self.version + 1, ..self.clone() })
    }

    /// The key with the power of `issuer`. `None` if it has it already.
    pub fn adopted(&self, issuer: Issuer) -> Option<Self> {
        let theirs = self.silenced.is_none() && self.issuer.user == issuer.user && self.issuer.membership == issuer.membership;
        (!theirs).then(|| ApiKey { issuer, silenced: None, version: self.version + 1, ..self.clone() })
    }

    /// The role that its maker must have: the highest role that any of its scopes needs. To act for a subaccount, the maker must be at
    /// least an admin of the agency.
    pub fn needs(&self) -> Role {
        let scopes = self.scopes.role();
        if self.issuer.is_of_agency() { scopes.max(Role::Admin) } else { scopes }
    }

    /// Why the key is inactive, given its maker's present membership.
    pub fn inactive(&self, maker: Option<&Member>) -> Option<Inactive> {
        self.silenced.or_else(|| match maker.filter(|member| self.issuer.is(member)) {
            None => Some(Inactive::MakerRemoved),
            Some(member) if member.role < self.needs() => Some(Inactive::MakerDemoted),
            Some(_) => None,
        })
    }

    /// The same, with the memberships of several makers.
    pub fn inactive_among(&self, makers: &[Member]) -> Option<Inactive> {
        self.inactive(makers.iter().find(|member| self.issuer.is(member)))
    }

    /// Why the key becomes inactive if `member` gets the role `role`, or leaves (`None`).
    pub fn lost_with(&self, member: &Member, role: Option<Role>) -> Option<Inactive> {
        match role {
            _ if !self.issuer.is(member) => None,
            None => Some(Inactive::MakerRemoved),
            Some(role) => (role < self.needs()).then_some(Inactive::MakerDemoted),
        }
    }

    /// Why a request with this key may not make or renew a key like `other`. A key cannot make a key that may do more, or for longer.
    pub fn refuses(&self, other: &NewKey) -> Option<&'static str> {
        let longer = self.ends_at().is_some_and(|mine| other.expires_at.is_none_or(|theirs| theirs > mine));
        let elsewhere = self.workspaces.as_ref().is_some_and(|mine| other.workspaces.as_ref().is_none_or(|theirs| !theirs.is_subset(mine)));
        let faster = self.rate_limit.is_some_and(|mine| other.rate_limit.is_none_or(|theirs| theirs > mine));
        if !self.scopes.cover(&other.scopes) {
            Some("A key makes no key with scopes it lacks.")
        } else if self.environment == Environment::Test && other.environment == Environment::Live {
            Some("A test key makes no live key.")
        } else if longer {
            Some("A key makes no key that outlives it.")
        } else if elsewhere {
            Some("A key makes no key for workspaces that it does not reach.")
        } else if faster {
            Some("A key makes no key with a higher rate limit.")
        } else {
            None
        }
    }

    /// When it stops working by itself: at its end, or at the end of its grace.
    fn ends_at(&self) -> Option<Timestamp> {
        [self.expires_at, self.grace_ends_at].into_iter().flatten().min()
    }

    /// Its properties, to make another key like it.
    pub fn like(&self) -> NewKey {
        NewKey {
            name: self.name.clone(),
            environment: self.environment,
            scopes: self.scopes.clone(),
            rate_limit: self.rate_limit,
            workspaces: self.workspaces.clone(),
            expires_at: self.expires_at,
        }
    }

    /// Whether a workspace exists for it.
    pub fn reaches(&self, workspace: WorkspaceId) -> bool {
        self.workspaces.as_ref().is_none_or(|bound| bound.contains(&workspace))
    }

    /// Whether the key works at `now`.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.ends_at().is_none_or(|end| end > now)
    }

    pub fn is_retiring(&self) -> bool {
        self.replaced_by.is_some()
    }

    /// The readable start of its text.
    pub fn prefix(&self) -> String {
        format!("tf_{}_{}", self.environment.name(), self.handle)
    }

    /// The member as whom it acts: its maker, with their present role, limited by its own scopes.
    pub fn acts_as(&self, role: Role) -> Member {
        Member {
            user: self.issuer.user,
            number: self.issuer.person.id,
            role,
            name: self.issuer.person.name.clone(),
            email: self.issuer.person.email.clone(),
            joined_at: self.created_at,
            version: 0,
        }
    }

    /// Of those that are not being replaced.
    pub const QUOTA: Quota = Quota { counter: Counter::named("api_keys"), name: "api_keys", most: |plan| plan.api_keys };
}

impl Record for ApiKey {
    type Scope = InTenant;
    type Id = ApiKeyId;
    const TYPE: &'static str = "api_key";
    const COLLECTION: &'static str = "api-keys";
    const RESTORED: bool = false;
    const COUNTER: Option<Counter> = Some(ApiKey::QUOTA.counter);

    fn id(&self) -> ApiKeyId {
        self.id
    }

    fn version(&self) -> Option<u64> {
        Some(self.version)
    }

    /// A rotated key disappears with its grace. An expired key stays in the list until somebody deletes it.
    #[expect(clippy::misnamed_getters, reason = "when the record vanishes, not when the key stops")]
    fn expires_at(&self) -> Option<Timestamp> {
        self.grace_ends_at
    }
}

/// `api-key-uses` / `<id>`: when a key was last used, and how often since it was rotated. Separate from the key, so that a use does not
/// change the key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeyUse {
    pub id: ApiKeyId,
    pub last_used_at: Timestamp,
    #[serde(default)]
    pub uses_in_grace: u64,
}

impl KeyUse {
    /// An instance records a use at most this often. In a key's grace, every use is recorded and counted.
    pub const EVERY: SignedDuration = SignedDuration::from_secs(60);

    pub fn all() -> List<Self> {
        List::new(KeyUse::collection(), "")
    }

    pub fn key_of(id: ApiKeyId) -> Key<Self> {
        Key::at(&KeyUse::collection(), id.to_string())
    }

    fn collection() -> Collection {
        Collection::of::<KeyUse>()
    }
}

impl Entity for KeyUse {
    type Scope = InTenant;
    const TYPE: &'static str = "api_key_use";
    const COLLECTION: &'static str = "api-key-uses";
    const AUDITED: bool = false;
    const EXPORTED: bool = false;

    fn key(&self) -> Key<Self> {
        KeyUse::key_of(self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = "018f3f70-12ab-7e0f-8a44-5d1f9c3b2e10";

    fn member(number: u64, role: Role) -> Member {
        let (name, email) = ("Ada".to_owned(), "ada@example.com".to_owned());
        Member { user: UserId::parse(USER).unwrap(), number, role, name, email, joined_at: Timestamp::UNIX_EPOCH, version: 1 }
    }

    fn minted_with(seed: u64, scopes: &[&str]) -> Minted {
        let random = Random::seeded(seed);
        let tenant = stored::deserialize(serde_json::json!("5b0e8f6e-7a10-4c55-9d6e-2b6f0a1c4d01")).unwrap();
        let owner = member(1, Role::Owner);
        let scopes = Scopes::parse(scopes.iter().copied()).unwrap();
        let new =
            NewKey { name: "CI".into(), environment: Environment::Live, scopes, rate_limit: None, workspaces: None, expires_at: None };
        let maker = Maker { tenant, user: owner.user };
        ApiKey::mint(new, tenant, Issuer::of(&owner, &owner), maker, Timestamp::UNIX_EPOCH, &random)
    }

    fn minted(seed: u64) -> Minted {
        minted_with(seed, &["*"])
    }

    #[test]
    fn a_key_has_the_power_of_its_makers_present_membership() {
        let key = minted_with(1, &["projects:*"]).key;
        assert_eq!(key.needs(), Role::Admin);
        assert_eq!(key.inactive(Some(&member(1, Role::Owner))), None);
        assert_eq!(key.inactive(Some(&member(1, Role::Admin))), None);
        assert_eq!(key.inactive(Some(&member(1, Role::Member))), Some(Inactive::MakerDemoted));
        assert_eq!(key.inactive(None), Some(Inactive::MakerRemoved));
        // A person who comes back has another number.
        assert_eq!(key.inactive(Some(&member(7, Role::Owner))), Some(Inactive::MakerRemoved));
        let silenced = key.silenced(Inactive::MakerDemoted).unwrap();
        assert!(silenced.silenced(Inactive::MakerRemoved).is_none());
        assert_eq!(silenced.inactive(Some(&member(1, Role::Owner))), Some(Inactive::MakerDemoted), "no revival by a promotion");
        let back = member(7, Role::Owner);
        let adopted = silenced.adopted(Issuer::of(&back, &back)).unwrap();
        assert_eq!((adopted.inactive(Some(&back)), adopted.version), (None, 3));
        assert!(adopted.adopted(Issuer::of(&back, &back)).is_none());
    }

    #[test]
    fn a_key_stored_before_goes_by_its_makers_present_membership() {
        let mut stored = serde_json::to_value(minted(1).key).unwrap();
        stored["issuer"].as_object_mut().unwrap().remove("membership");
        let key: ApiKey = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(key.inactive(Some(&member(1, Role::Owner))), None);
        assert_eq!(key.inactive(Some(&member(7, Role::Owner))), Some(Inactive::MakerRemoved));
        // Made by an agency, without the person's number.
        stored["issuer"]["person"]["id"] = 0.into();
        let key: ApiKey = serde_json::from_value(stored).unwrap();
        assert_eq!(key.inactive(Some(&member(7, Role::Owner))), None);
        assert_eq!(key.inactive(Some(&member(7, Role::Admin))), Some(Inactive::MakerDemoted));
    }

    #[test]
    fn a_key_in_its_grace_makes_no_key_that_outlives_it() {
        let minted = minted(1);
        let now = Timestamp::UNIX_EPOCH;
        let old = minted.key.rotated(SignedDuration::from_secs(60), &minted, now);
        let new = |seconds: Option<i64>| NewKey { expires_at: seconds.map(|s| now + SignedDuration::from_secs(s)), ..old.like() };
        assert!(old.refuses(&new(None)).is_some() && old.refuses(&new(Some(61))).is_some());
        assert!(old.refuses(&new(Some(60))).is_none() && minted.key.refuses(&new(None)).is_none());
    }

    #[test]
    fn a_key_opens_its_own_claim_and_no_other() {
        let (mine, other) = (minted(1), minted(2));
        assert_eq!(mine.text.len(), 69);
        let text = KeyText::parse(&mine.text).unwrap();
        assert_eq!(text.handle, mine.claim.handle);
        assert!(text.opens(&mine.claim) && !text.opens(&other.claim));
        assert!(!serde_json::to_string(&mine.claim).unwrap().contains(text.secret));
    }

    #[test]
    fn any_one_character_changed_is_noticed_without_a_read() {
        let text = minted(3).text;
        for at in 0..text.len() {
            for other in ["0", "a", "Z", "_", "é"] {
                let mut changed = text.clone();
                changed.replace_range(at..=at, other);
                assert!(changed == text || KeyText::parse(&changed).is_none(), "{changed}");
            }
            assert!(KeyText::parse(&text[..at]).is_none());
        }
        for wrong in [text.to_lowercase(), text.to_uppercase(), format!("{text} "), format!(" {text}"), text.replace("live", "test")] {
            assert!(KeyText::parse(&wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_rotated_key_holds_until_its_grace_ends() {
        let (first, second) = (minted(4), minted(5));
        let now = Timestamp::UNIX_EPOCH;
        let grace = SignedDuration::from_secs(60);
        let old = first.key.rotated(grace, &second, now);
        assert!(old.holds(now) && old.holds(now + SignedDuration::from_secs(59)) && !old.holds(now + grace));
        assert_eq!(old.replaced_by, Some(second.key.id));
        assert!(!old.retired(now).holds(now));
        let at_once = first.key.rotated(SignedDuration::ZERO, &second, now);
        assert!(!at_once.holds(now));
    }
}
