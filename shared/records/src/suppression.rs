//! Addresses that get no mail: of one workspace, or of all of a tenant's.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use shared::ids::{Segment, WorkspaceTag};
use shared::model::member::Person;
use shared::model::user::Email;
use shared::store::{
    Collection, Counter, Entity, IN_WORKSPACE, InTenant, InWorkspace, Key, List, Owned, Record, Restore, Within, restored,
};
use shared::tenancy::{Store, TenantStore, Transaction, conflict};
use shared::{Result, crypto, id};

id!(/// A suppressed address, as a workspace sees it: it ends with the workspace's tag, for the tenant's own too, so that it leads into the workspace
    /// where it is used.
    SuppressionId = "sup", in_workspace);

impl SuppressionId {
    /// The same one, as another workspace sees it; for the tenant's own as it is stored, which is without one.
    pub fn seen_from(&self, workspace: WorkspaceTag) -> Self {
        SuppressionId(shared::ids::ending_in(self.0, workspace))
    }
}

/// A tenant's suppressions, or a workspace's: the same, in their own places.
pub trait SuppressionScope: Owned {
    const SUPPRESSION: &'static str;
    const ENTRY: &'static str;
    const COUNTER: Counter;
    const WITHIN: Option<Within>;
    const WORD: Reach;
}

impl SuppressionScope for InTenant {
    const SUPPRESSION: &'static str = "suppression";
    const ENTRY: &'static str = "suppression_entry";
    const COUNTER: Counter = Counter::named("suppressions");
    const WITHIN: Option<Within> = None;
    const WORD: Reach = Reach::Tenant;
}

impl SuppressionScope for InWorkspace {
    const SUPPRESSION: &'static str = "workspace_suppression";
    const ENTRY: &'static str = "workspace_suppression_entry";
    const COUNTER: Counter = Counter::named("workspace_suppressions");
    const WITHIN: Option<Within> = Some(IN_WORKSPACE);
    const WORD: Reach = Reach::Workspace;
}

/// Where an address gets no mail from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SuppressionScope)]
pub enum Reach {
    Tenant,
    Workspace,
}

/// Why an address gets no mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SuppressionReason)]
pub enum Reason {
    UserRequest,
    SpamComplaint,
    HardBounce,
    SoftBounce,
    NotInterested,
    Manual,
    Import,
    Carrier,
}

/// How an address came on the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SuppressionSource)]
pub enum Source {
    Api,
    Unsubscribe,
    Carrier,
    Reply,
    Import,
}

/// `suppressions` / `<hash of the address>`: read before each send. It holds no address, and stays when the suppression is lifted, with what it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Suppression<S> {
    /// No export masks it under this name, and so an import puts it back.
    pub address: AddressHash,
    /// `None`: lifted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<Suppressed>,
    /// Earlier ones, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Lifted>,
    pub version: u64,
    #[serde(skip)]
    scope: std::marker::PhantomData<fn() -> S>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppressed {
    /// Its entry in the list.
    pub entry: SuppressionId,
    pub reason: Reason,
    pub source: Source,
    pub added_at: Timestamp,
}

/// A suppression that was, and who ended it on which grounds. Nobody did where the person's own wish took its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifted {
    pub reason: Reason,
    pub source: Source,
    pub added_at: Timestamp,
    pub lifted_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Person>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

/// `suppression-log` / `<id>`: the list, in the order in which addresses came on it. The address stands here alone, and goes with its entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct SuppressionEntry<S> {
    pub id: SuppressionId,
    pub email: Email,
    pub reason: Reason,
    pub source: Source,
    pub added_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Person>,
    #[serde(skip)]
    scope: std::marker::PhantomData<fn() -> S>,
}

id!(/// A change of the suppression list.
    SuppressionChangeId, time_ordered);

/// `suppression-changes` / `<id>`: for the audit log, which names one change where a request suppresses a thousand addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuppressionChange {
    pub id: SuppressionChangeId,
    pub reach: Reach,
    /// Of what came on the list, or went.
    pub reason: Reason,
    pub added: u64,
    pub lifted: u64,
    pub expires_at: Timestamp,
}

impl SuppressionChange {
    /// The audit log, which keeps it, is written from the stream.
    const KEPT: SignedDuration = SignedDuration::from_hours(24);

    pub fn added(id: SuppressionChangeId, reach: Reach, reason: Reason, added: u64, now: Timestamp) -> Self {
        SuppressionChange { id, reach, reason, added, lifted: 0, expires_at: now + SuppressionChange::KEPT }
    }

    pub fn lifted(id: SuppressionChangeId, reach: Reach, reason: Reason, now: Timestamp) -> Self {
        SuppressionChange { id, reach, reason, added: 0, lifted: 1, expires_at: now + SuppressionChange::KEPT }
    }
}

impl Record for SuppressionChange {
    type Scope = InTenant;
    type Id = SuppressionChangeId;
    const TYPE: &'static str = "suppression_change";
    const COLLECTION: &'static str = "suppression-changes";
    const EXPORTED: bool = false;

    fn id(&self) -> SuppressionChangeId {
        self.id
    }

    fn version(&self) -> Option<u64> {
        None
    }

    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.expires_at)
    }
}

impl<S> SuppressionEntry<S> {
    /// What a person calls it.
    pub const NAME: &'static str = "Suppression";
}

/// SHA-256 of the normal form of an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AddressHash(String);

impl AddressHash {
    pub fn of(email: &Email) -> Self {
        AddressHash(crypto::hash(&[email.normalised().as_bytes()]))
    }
}

impl fmt::Display for AddressHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Segment for AddressHash {}

impl<S: SuppressionScope> SuppressionEntry<S>
where
    SuppressionEntry<S>: Entity<Scope = S>,
{
    pub fn new(id: SuppressionId, email: Email, reason: Reason, source: Source, by: Option<Person>, now: Timestamp) -> Self {
        SuppressionEntry { id, email, reason, source, added_at: now, by, scope: std::marker::PhantomData }
    }

    /// Whether it says more than what stands of the address: that is not suppressed, or not by the person's own wish, which this is. Of what others wrote
    /// down the first stays.
    pub fn says_more(&self, before: Option<&Suppression<S>>) -> bool {
        let standing = before.and_then(|before| before.current.as_ref());
        standing.is_none_or(|standing| self.reason.is_their_will() && !standing.reason.is_their_will())
    }

    /// The record that stops mail to the address, after the one that stands there.
    pub fn suppression(&self, before: Option<&Suppression<S>>) -> Suppression<S> {
        let current = Suppressed { entry: self.id, reason: self.reason, source: self.source, added_at: self.added_at };
        Suppression {
            address: AddressHash::of(&self.email),
            current: Some(current),
            history: before.map(|before| before.ended(None, None, self.added_at)).unwrap_or_default(),
            version: before.map_or(1, |before| before.version + 1),
            scope: std::marker::PhantomData,
        }
    }

    /// The address is sent no mail from now on: adds this entry to a transaction, with the record that stops mail, after the one that stands there, and the
    /// line for the audit log. Nothing, where it does not say more than what stands.
    pub fn add<'a>(
        &self,
        transaction: Transaction<'a>,
        stores: (&TenantStore, &Store<S>),
        before: Option<&Suppression<S>>,
    ) -> Result<Transaction<'a>>
    where
        Suppression<S>: Entity<Scope = S>,
    {
        Self::add_all(&[(self, before)], transaction, stores)
    }

    /// The same for several addresses, each with what stands there, of one reason.
    pub fn add_all<'a>(
        entries: &[(&Self, Option<&Suppression<S>>)],
        transaction: Transaction<'a>,
        (of_tenant, store): (&TenantStore, &Store<S>),
    ) -> Result<Transaction<'a>>
    where
        Suppression<S>: Entity<Scope = S>,
    {
        let (mut transaction, mut written, mut added) = (transaction, 0, 0);
        for (entry, before) in entries.iter().filter(|(entry, before)| entry.says_more(*before)) {
            // The entry of a weaker reason goes.
            match before.and_then(|before| before.current.as_ref()) {
                Some(weaker) => transaction = transaction.remove(store, &SuppressionEntry::<S>::key_of(weaker.entry))?,
                None => added += 1,
            }
            let suppression = entry.suppression(*before);
            transaction = match before {
                Some(before) => transaction.replace(store, &suppression, before)?,
                None => transaction.create(store, &suppression, conflict("This address is suppressed already."))?,
            };
            transaction = transaction.create(store, *entry, conflict("This entry exists already."))?;
            written += 1;
        }
        let Some((first, _)) = entries.first().filter(|_| written > 0) else { return Ok(transaction) };
        let id = SuppressionChangeId::new(first.added_at, store.random());
        let change = SuppressionChange::added(id, S::WORD, first.reason, written, first.added_at);
        if added > 0 {
            transaction = transaction.count(store, S::COUNTER, added)?;
        }
        transaction.create(of_tenant, &change, conflict("This change exists already."))
    }

    pub fn key_of(id: SuppressionId) -> Key<Self> {
        Key::new(&Collection::of::<Self>(), id)
    }

    pub fn all() -> List<Self> {
        List::new(Collection::of::<Self>(), "")
    }
}

impl<S> Suppression<S> {
    /// Earlier suppressions that are kept.
    const KEPT: usize = 20;

    /// The history, with what stands now.
    fn ended(&self, by: Option<Person>, evidence: Option<String>, now: Timestamp) -> Vec<Lifted> {
        let mut history = self.history.clone();
        if let Some(Suppressed { reason, source, added_at, .. }) = self.current.clone() {
            history.push(Lifted { reason, source, added_at, lifted_at: now, by, evidence });
        }
        history.drain(..history.len().saturating_sub(Self::KEPT));
        history
    }
}

impl<S: SuppressionScope> Suppression<S>
where
    Suppression<S>: Entity<Scope = S>,
{
    pub fn key_of(email: &Email) -> Key<Self> {
        Key::new(&Collection::of::<Self>(), AddressHash::of(email))
    }

    /// Mail may be sent again. `None`: it may already.
    pub fn lifted(&self, by: Person, evidence: Option<String>, now: Timestamp) -> Option<Self> {
        self.current.as_ref()?;
        Some(Suppression { current: None, history: self.ended(Some(by), evidence, now), version: self.version + 1, ..self.clone() })
    }

    /// Whether it was lifted since, and for the same reason stood then: what is said of that moment once more is nothing new.
    pub fn was_lifted_since(&self, reason: Reason, at: Timestamp) -> bool {
        self.current.is_none() && self.history.iter().any(|past| past.reason == reason && past.lifted_at >= at)
    }
}

macro_rules! suppressions_of {
    ($scope:ty) => {
        impl Entity for Suppression<$scope> {
            type Scope = $scope;
            const TYPE: &'static str = <$scope>::SUPPRESSION;
            const COLLECTION: &'static str = "suppressions";
            const WITHIN: Option<Within> = <$scope>::WITHIN;
            /// `SuppressionChange` is.
            const AUDITED: bool = false;
            const RESTORE: Option<Restore> = Some(restored::<Self>);

            fn key(&self) -> Key<Self> {
                Key::new(&Collection::of::<Self>(), self.address.clone())
            }

            fn guard(&self) -> Vec<(&'static str, u64)> {
                vec![("version", self.version)]
            }
        }

        impl Entity for SuppressionEntry<$scope> {
            type Scope = $scope;
            const TYPE: &'static str = <$scope>::ENTRY;
            const COLLECTION: &'static str = "suppression-log";
            const WITHIN: Option<Within> = <$scope>::WITHIN;
            const COUNTER: Option<Counter> = Some(<$scope>::COUNTER);
            const NOUN: Option<&'static str> = Some(Self::NAME);
            const AUDITED: bool = false;
            const RESTORE: Option<Restore> = Some(restored::<Self>);

            fn key(&self) -> Key<Self> {
                SuppressionEntry::key_of(self.id)
            }
        }
    };
}

suppressions_of!(InTenant);
suppressions_of!(InWorkspace);

impl Reach {
    pub const WORDS: &'static [&'static str] = &["tenant", "workspace"];

    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "tenant" => Some(Reach::Tenant),
            "workspace" => Some(Reach::Workspace),
            _ => None,
        }
    }
}

impl Reason {
    pub const WORDS: &'static [&'static str] =
        &["user_request", "spam_complaint", "hard_bounce", "soft_bounce", "not_interested", "manual", "import", "carrier"];
    const ALL: [Reason; 8] = [
        Reason::UserRequest,
        Reason::SpamComplaint,
        Reason::HardBounce,
        Reason::SoftBounce,
        Reason::NotInterested,
        Reason::Manual,
        Reason::Import,
        Reason::Carrier,
    ];

    pub fn parse(word: &str) -> Option<Self> {
        Reason::WORDS.iter().position(|own| *own == word).map(|at| Reason::ALL[at])
    }

    pub fn name(self) -> &'static str {
        Reason::WORDS[self as usize]
    }

    /// Whether the person did not want the mail: who lets it go to them again must say why.
    pub fn is_their_will(self) -> bool {
        matches!(self, Reason::UserRequest | Reason::SpamComplaint)
    }
}

#[cfg(test)]
mod tests {
    use shared::crypto::Random;
    use shared::ids::WorkspaceId;

    use super::*;

    #[test]
    fn the_words_are_those_that_are_stored() {
        for (word, reason) in Reason::WORDS.iter().zip(Reason::ALL) {
            assert_eq!(serde_json::to_value(reason).unwrap(), *word);
            assert_eq!((Reason::parse(word), reason.name()), (Some(reason), *word));
        }
    }

    #[test]
    fn an_id_is_one_in_every_workspace() {
        let (random, now) = (Random::seeded(1), Timestamp::UNIX_EPOCH);
        let [one, other] = [1, 2].map(|_| WorkspaceId::new(now, &random).tag());
        let id = SuppressionId::new(WorkspaceTag::NONE, now, &random);
        assert_eq!(WorkspaceTag::of_id(&id.seen_from(one).prefixed()), Some(one));
        assert_eq!(id.seen_from(one).seen_from(other).seen_from(WorkspaceTag::NONE), id);
    }

    #[test]
    fn what_was_suppressed_is_remembered() {
        let (random, now) = (Random::seeded(1), Timestamp::UNIX_EPOCH);
        let by = Person { id: 1, name: "Jane".into(), email: "jane@example.com".into() };
        let entry = |reason| {
            let id = SuppressionId::new(WorkspaceTag::NONE, now, &random);
            SuppressionEntry::<InTenant>::new(id, Email::parse("a@b.example").unwrap(), reason, Source::Api, None, now)
        };
        let mut stands = entry(Reason::Manual).suppression(None);
        for round in 0..25 {
            let lifted = stands.lifted(by.clone(), Some(format!("{round}")), now).expect("it stood");
            assert!(lifted.lifted(by.clone(), None, now).is_none());
            stands = entry(Reason::SpamComplaint).suppression(Some(&lifted));
        }
        assert_eq!((stands.history.len(), stands.version), (20, 51));
        assert_eq!(stands.history.last().and_then(|last| last.evidence.as_deref()), Some("24"));
        assert!(!serde_json::to_string(&stands).unwrap().contains("b.example"));
        let at = |second| Timestamp::from_second(second).unwrap();
        let lifted = stands.lifted(by, None, at(10)).expect("it stood");
        assert!(lifted.was_lifted_since(Reason::SpamComplaint, at(10)) && !lifted.was_lifted_since(Reason::SpamComplaint, at(11)));
        assert!(!lifted.was_lifted_since(Reason::HardBounce, at(1)) && !stands.was_lifted_since(Reason::SpamComplaint, at(1)));
    }

    #[test]
    fn their_own_wish_takes_the_place_of_what_others_wrote_down() {
        let (random, now) = (Random::seeded(1), Timestamp::UNIX_EPOCH);
        let entry = |reason| {
            let id = SuppressionId::new(WorkspaceTag::NONE, now, &random);
            SuppressionEntry::<InTenant>::new(id, Email::parse("a@b.example").unwrap(), reason, Source::Api, None, now)
        };
        for reason in Reason::ALL {
            assert!(entry(reason).says_more(None));
            let stands = entry(reason).suppression(None);
            for other in Reason::ALL {
                let says_more = other.is_their_will() && !reason.is_their_will();
                assert_eq!(entry(other).says_more(Some(&stands)), says_more, "{other:?} after {reason:?}");
            }
            let wish = entry(Reason::UserRequest);
            let replaced = wish.suppression(Some(&stands));
            assert_eq!(replaced.current.map(|current| (current.entry, current.reason)), Some((wish.id, Reason::UserRequest)));
            assert_eq!(replaced.history.iter().map(|past| (past.reason, past.by.is_none())).collect::<Vec<_>>(), [(reason, true)]);
        }
    }
}
