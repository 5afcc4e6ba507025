//! Consent: what a person allowed a tenant to send to their number, and took back. One chain of entries for each number, which only grows
//! (`consent_chain.rs` says what makes it a chain), and a line for each entry in the order of time.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shared::ids::{self, Segment};
use shared::model::phone_number::PhoneNumber;
use shared::store::{Collection, Entity, InTenant, Key, List, Record, Restore, Within, restored};
use shared::{Error, Result, id};

use crate::consent_chain::Evidence;
use crate::peer::Peer;

id!(/// An entry of a chain of consent.
    ConsentId = "cns", time_ordered);

impl ConsentId {
    /// When it was made, in milliseconds.
    pub fn moment(&self) -> Timestamp {
        ids::moment_of(&self.0)
    }
}

id!(/// An import of consents.
    ConsentImportId, time_ordered);

/// What an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConsentKind {
    Granted,
    /// Of all consents of its type that were given before.
    Revoked,
    /// Of all consents that were given before.
    OptedOut,
    OptedIn,
}

/// The weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConsentType {
    /// Only noted: it allows nothing by itself.
    Implied,
    /// For what somebody asked for.
    Express,
    /// For marketing.
    ExpressWritten,
}

/// `consent-entries#<digits>` / `<n>`: a chain is one consistent query. What the digest covers never changes; evidence may be forgotten, which the digest
/// covers by digests of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConsentEntry {
    pub id: ConsentId,
    /// The id of the tenant that recorded it. After an import it is another one than that of the tenant that has it.
    pub recorded_in: String,
    pub phone_number: PhoneNumber,
    /// From 1.
    pub n: u64,
    pub kind: ConsentKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent_type: Option<ConsentType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent_source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent_text_version: Option<String>,
    /// In whole milliseconds, as the next.
    pub consented_at: Timestamp,
    pub recorded_at: Timestamp,
    /// `member:<number>`, the id of an API key, `platform`, or the worker that took it in.
    pub recorded_by: String,
    /// The message by which the person said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Evidence>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<Evidence>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<Evidence>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Evidence>,
    /// A JSON object as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Evidence>,
    /// The digest of the entry before it; 64 zeros for the first.
    pub previous: String,
    /// Of the canonical form.
    pub digest: String,
    /// Set when its evidence was forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redacted: Option<Redaction>,
    /// The import that wrote it: the audit log tells of that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<ConsentImportId>,
}

/// Who had the evidence of an entry forgotten, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redaction {
    pub redacted_at: Timestamp,
    pub redacted_by: String,
    pub reason: String,
}

/// The end of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainHead {
    pub n: u64,
    pub digest: String,
}

/// What is said of a consent, by whoever records it.
#[derive(Debug, Clone, PartialEq)]
pub struct ConsentFact {
    pub consent_type: Option<ConsentType>,
    pub source: Option<String>,
    pub text_version: Option<String>,
    /// `None`: now.
    pub consented_at: Option<Timestamp>,
    pub message_id: Option<String>,
    pub text: Option<String>,
    pub ip: Option<String>,
    pub user_agent: Option<String>,
    pub url: Option<String>,
    pub metadata: Map<String, Value>,
}

/// Which consents of a number are in force. It is stored with the peer, so that a sender knows it without the chain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Consents(Vec<Held>);

/// Of one type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    consent_type: ConsentType,
    /// When the newest was given that is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    given: Option<Timestamp>,
    /// When the last was taken back. What was given before that counts no more, even if it is recorded later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<Timestamp>,
}

impl ConsentKind {
    pub fn name(self) -> &'static str {
        match self {
            ConsentKind::Granted => "granted",
            ConsentKind::Revoked => "revoked",
            ConsentKind::OptedOut => "opted_out",
            ConsentKind::OptedIn => "opted_in",
        }
    }

    pub fn gives(self) -> bool {
        matches!(self, ConsentKind::Granted | ConsentKind::OptedIn)
    }
}

impl ConsentType {
    pub const WORDS: &'static [&'static str] = &["express_written", "express", "implied"];
    const ALL: [ConsentType; 3] = [ConsentType::Implied, ConsentType::Express, ConsentType::ExpressWritten];

    pub fn parse(text: &str) -> Option<Self> {
        ConsentType::ALL.into_iter().find(|known| known.name() == text)
    }

    pub fn name(self) -> &'static str {
        match self {
            ConsentType::Implied => "implied",
            ConsentType::Express => "express",
            ConsentType::ExpressWritten => "express_written",
        }
    }
}

impl ConsentFact {
    pub const TEXT: usize = 2_000;
    pub const URL: usize = 2_048;
    pub const USER_AGENT: usize = 500;
    /// A source or a version, in characters.
    pub const WORD: usize = 100;
    pub const METADATA: usize = 20;
    /// Of one value, in characters.
    pub const METADATA_VALUE: usize = 500;
    /// Of all, as JSON: a page of a hundred entries fits into an answer.
    pub const METADATA_BYTES: usize = 16 * 1024;
    /// Clocks of others may be fast by so much. What is later is in the future.
    const FAST: SignedDuration = SignedDuration::from_secs(60);

    /// Nothing but its source.
    pub fn from_source(source: &str) -> Self {
        ConsentFact {
            consent_type: None,
            source: Some(source.to_owned()),
            text_version: None,
            consented_at: None,
            message_id: None,
            text: None,
            ip: None,
            user_agent: None,
            url: None,
            metadata: Map::new(),
        }
    }

    /// When it was said. Nothing is said in the future; a clock that is a little fast means now.
    pub fn moment(&self, now: Timestamp) -> Result<Timestamp> {
        match self.consented_at {
            Some(said) if said > now.saturating_add(ConsentFact::FAST).unwrap_or(now) => {
                Err(Error::field("consented_at", "The consented_at field must not be in the future."))
            }
            Some(said) => Ok(millis(said.min(now))),
            None => Ok(millis(now)),
        }
    }
}

/// As the canonical form has it: later digits would be lost there.
pub fn millis(moment: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(moment.as_millisecond()).unwrap_or(moment)
}

impl Consents {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The strongest in force.
    pub fn effective(&self) -> Option<ConsentType> {
        self.0.iter().filter(|held| held.given.is_some()).map(|held| held.consent_type).max()
    }

    /// Whether one of this type is in force that was given then.
    pub fn hold(&self, consent_type: ConsentType, given: Timestamp) -> bool {
        let of_type = self.0.iter().find(|held| held.consent_type == consent_type);
        of_type.is_some_and(|held| held.given.is_some() && held.ended.is_none_or(|ended| given >= ended))
    }

    /// When the last of any type was taken back.
    pub fn last_end(&self) -> Option<Timestamp> {
        self.0.iter().filter_map(|held| held.ended).max()
    }

    /// After one more entry of the chain. An end takes back all that was recorded before it; what is recorded later counts if it was given then or later.
    pub fn after(&self, entry: &ConsentEntry) -> Self {
        let mut after = self.clone();
        for consent_type in ConsentType::ALL {
            let concerned = match entry.kind {
                ConsentKind::OptedOut => true,
                ConsentKind::Granted | ConsentKind::OptedIn | ConsentKind::Revoked => entry.consent_type == Some(consent_type),
            };
            if !concerned {
                continue;
            }
            let held = after.of_type(consent_type);
            if !entry.kind.gives() {
                held.ended = held.ended.max(held.given).max(Some(entry.consented_at));
                held.given = None;
            } else if held.ended.is_none_or(|ended| entry.consented_at >= ended) {
                held.given = held.given.max(Some(entry.consented_at));
            }
        }
        after
    }

    fn of_type(&mut self, consent_type: ConsentType) -> &mut Held {
        let place = match self.0.iter().position(|held| held.consent_type == consent_type) {
            Some(place) => place,
            None => {
                self.0.push(Held { consent_type, given: None, ended: None });
                self.0.len() - 1
            }
        };
        &mut self.0[place]
    }
}

impl ConsentEntry {
    pub fn key_of(phone_number: &PhoneNumber, n: u64) -> Key<Self> {
        Key::new(&Collection::within::<ConsentEntry>(phone_number.digits()), Place(n))
    }

    /// The chain of a number, from its beginning.
    pub fn chain_of(phone_number: &PhoneNumber) -> List<Self> {
        List::new(Collection::within::<ConsentEntry>(phone_number.digits()), "")
    }

    /// What leads to it.
    pub fn line(&self) -> Consent {
        let ConsentEntry { id, phone_number, n, consent_type, consented_at, .. } = self.clone();
        Consent { id, phone_number, n, consent_type, consented_at }
    }

    /// Whether it gave the same.
    pub fn says(&self, fact: &ConsentFact) -> bool {
        let kept = |evidence: &Option<Evidence>| evidence.as_ref().and_then(Evidence::value).map(str::to_owned);
        let ConsentFact { consent_type, source, text_version, consented_at, message_id, text, ip, user_agent, url, metadata } = fact;
        self.kind == ConsentKind::Granted
            && self.redacted.is_none()
            && self.consent_type == *consent_type
            && self.consent_source == *source
            && self.consent_text_version == *text_version
            && Some(self.consented_at) == consented_at.map(millis)
            && self.message_id == *message_id
            && kept(&self.text) == *text
            && kept(&self.ip) == *ip
            && kept(&self.user_agent) == *user_agent
            && kept(&self.url) == *url
            && self.metadata() == *metadata
    }

    /// As it was given; empty where it was forgotten.
    pub fn metadata(&self) -> Map<String, Value> {
        let text = self.metadata.as_ref().and_then(Evidence::value);
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// Without its evidence. `None`: it was forgotten before.
    pub fn forgotten(&self, redaction: Redaction) -> Option<Self> {
        if self.redacted.is_some() {
            return None;
        }
        let mut left = self.clone();
        for evidence in [&mut left.text, &mut left.ip, &mut left.user_agent, &mut left.url, &mut left.metadata].into_iter().flatten() {
            *evidence = evidence.forgotten();
        }
        left.redacted = Some(redaction);
        Some(left)
    }
}

/// Sorts as the number does.
pub(crate) struct Place(pub(crate) u64);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010}", self.0)
    }
}

impl Segment for Place {}

impl Entity for ConsentEntry {
    type Scope = InTenant;
    const TYPE: &'static str = "consent_entry";
    const COLLECTION: &'static str = "consent-entries";
    const WITHIN: Option<Within> = Some(Within { parents: &[Peer::COLLECTION], parts: number_of, parent_id: None });
    const TOLD_BY: Option<&'static str> = Some("import");
    const NOUN: Option<&'static str> = Some(Consent::NAME);
    const RESTORE: Option<Restore> = Some(restored::<ConsentEntry>);

    fn key(&self) -> Key<Self> {
        ConsentEntry::key_of(&self.phone_number, self.n)
    }

    /// It is there: what may change of it only goes.
    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("n", self.n)]
    }
}

/// The partition of a peer's chain, if it has one.
pub(crate) fn number_of(peer: &Map<String, Value>) -> Option<Vec<String>> {
    if peer.get("chain").is_none_or(Value::is_null) {
        return Some(vec![]);
    }
    let number = peer.get("phone_number")?.as_str().and_then(PhoneNumber::parse)?;
    Some(vec![number.digits().to_string()])
}

/// `consents` / `<id>`: an entry of any chain in the order of time, with what lists filter by. It says where the entry lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    pub id: ConsentId,
    pub phone_number: PhoneNumber,
    pub n: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent_type: Option<ConsentType>,
    pub consented_at: Timestamp,
}

impl Consent {
    pub const NAME: &'static str = "Consent record";

    pub fn entry(&self) -> Key<ConsentEntry> {
        ConsentEntry::key_of(&self.phone_number, self.n)
    }
}

impl Record for Consent {
    type Scope = InTenant;
    type Id = ConsentId;
    const TYPE: &'static str = "consent";
    const COLLECTION: &'static str = "consents";
    /// The entry is.
    const AUDITED: bool = false;
    const NOUN: Option<&'static str> = Some(Consent::NAME);

    fn id(&self) -> ConsentId {
        self.id
    }

    fn version(&self) -> Option<u64> {
        None
    }
}

/// `consent-imports` / `<id>`: for the audit log, which names the import and not each of its entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentImport {
    pub id: ConsentImportId,
    pub imported: u64,
    pub expires_at: Timestamp,
}

impl ConsentImport {
    /// The audit log, which keeps it, is written from the stream.
    const KEPT: SignedDuration = SignedDuration::from_hours(24);

    pub fn new(id: ConsentImportId, now: Timestamp) -> Self {
        ConsentImport { id, imported: 0, expires_at: now + ConsentImport::KEPT }
    }

    /// After it wrote so many more.
    pub fn going_on(&self, imported: u64) -> Self {
        ConsentImport { imported: self.imported + imported, ..self.clone() }
    }
}

impl Record for ConsentImport {
    type Scope = InTenant;
    type Id = ConsentImportId;
    const TYPE: &'static str = "consent_import";
    const COLLECTION: &'static str = "consent-imports";
    const EXPORTED: bool = false;

    fn id(&self) -> ConsentImportId {
        self.id
    }

    fn version(&self) -> Option<u64> {
        None
    }

    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.expires_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn entry(kind: ConsentKind, consent_type: Option<ConsentType>, second: i64) -> ConsentEntry {
        let json = serde_json::json!({
            "id": "01980000-0000-7000-8000-000000000001", "recorded_in": "t", "phone_number": "+41791234567", "n": 1, "kind": kind,
            "consented_at": at(second), "recorded_at": at(second), "recorded_by": "member:1", "previous": "", "digest": "",
        });
        ConsentEntry { consent_type, ..serde_json::from_value(json).unwrap() }
    }

    fn after(entries: &[(ConsentKind, Option<ConsentType>, i64)]) -> Consents {
        entries.iter().fold(Consents::default(), |all, (kind, of, second)| all.after(&entry(*kind, *of, *second)))
    }

    #[test]
    fn the_strongest_consent_counts_that_is_newer_than_what_took_it_back() {
        use ConsentKind::{Granted, OptedIn, OptedOut, Revoked};
        const IMPLIED: Option<ConsentType> = Some(ConsentType::Implied);
        const EXPRESS: Option<ConsentType> = Some(ConsentType::Express);
        const WRITTEN: Option<ConsentType> = Some(ConsentType::ExpressWritten);
        for (entries, effective) in [
            (&[][..], None),
            (&[(Granted, IMPLIED, 1)], IMPLIED),
            (&[(Granted, WRITTEN, 1), (Granted, IMPLIED, 2)], WRITTEN),
            (&[(Granted, WRITTEN, 1), (Granted, EXPRESS, 1), (Revoked, WRITTEN, 2)], EXPRESS),
            (&[(Granted, WRITTEN, 1), (Granted, EXPRESS, 1), (OptedOut, None, 2)], None),
            // The moment of an opt-out may come from a slower clock: what was recorded before it ends all the same.
            (&[(Granted, WRITTEN, 3), (OptedOut, None, 2)], None),
            (&[(Granted, WRITTEN, 1), (OptedOut, None, 2), (OptedIn, EXPRESS, 3)], EXPRESS),
            // Old evidence that is recorded late.
            (&[(OptedOut, None, 5), (Granted, WRITTEN, 4)], None),
            (&[(OptedOut, None, 5), (OptedIn, EXPRESS, 6), (Granted, WRITTEN, 4)], EXPRESS),
            (&[(Granted, WRITTEN, 9), (OptedOut, None, 5), (Granted, WRITTEN, 7)], None),
            (&[(OptedOut, None, 5), (Granted, WRITTEN, 5)], WRITTEN),
            (&[(Revoked, WRITTEN, 5), (Granted, EXPRESS, 4)], EXPRESS),
        ] {
            assert_eq!(after(entries).effective(), effective, "{entries:?}");
        }
        let consents = after(&[(Granted, WRITTEN, 1), (Revoked, WRITTEN, 2), (Granted, WRITTEN, 3)]);
        let holds = |second| consents.hold(ConsentType::ExpressWritten, at(second));
        assert!(holds(3) && !holds(1) && !consents.hold(ConsentType::Express, at(3)));
        assert_eq!((consents.last_end(), Consents::default().last_end()), (Some(at(2)), None));
        let stored = serde_json::to_value(&consents).unwrap();
        assert_eq!(serde_json::from_value::<Consents>(stored).unwrap(), consents);
    }

    #[test]
    fn nothing_is_said_in_the_future() {
        let now = at(1_000);
        let said = |second, nano| ConsentFact {
            consented_at: Some(at(second) + SignedDuration::from_nanos(nano)),
            ..ConsentFact::from_source("api")
        };
        assert_eq!(ConsentFact::from_source("api").moment(now).unwrap(), now);
        assert_eq!(said(10, 1_999_999).moment(now).unwrap(), at(10) + SignedDuration::from_millis(1));
        assert_eq!(said(1_060, 0).moment(now).unwrap(), now);
        assert!(matches!(said(1_060, 1).moment(now), Err(Error::Validation(_))));
        let never = ConsentFact { consented_at: Some(Timestamp::MAX), ..ConsentFact::from_source("api") };
        assert!(never.moment(now).is_err());
    }

    #[test]
    fn only_a_peer_with_a_chain_leads_to_one() {
        let peer = |json: Value| number_of(json.as_object().unwrap());
        assert_eq!(peer(serde_json::json!({"phone_number": "+41791234567"})), Some(vec![]));
        let chain = serde_json::json!({"n": 1, "digest": ""});
        assert_eq!(peer(serde_json::json!({"phone_number": "+41791234567", "chain": chain})), Some(vec!["41791234567".to_owned()]));
        assert_eq!(peer(serde_json::json!({"chain": chain})), None);
    }
}
