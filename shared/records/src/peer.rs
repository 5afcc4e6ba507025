//! Peers: what a tenant knows of a phone number, whoever it belongs to.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use shared::crypto::Random;
use shared::model::line::LineId;
use shared::model::phone_number::{Digits, PhoneNumber};
use shared::store::{Collection, Entity, InTenant, Key, List, Restore, restored};

use crate::consent::{ChainHead, Consents};
use crate::contact::ContactId;
use crate::opt_out::{OptOutSource, Suspicion};
use crate::phone_message::PhoneMessageId;

/// `peers` / `<digits>`: one for each number of which something is known. Its contact makes a number unique among the contacts of a tenant. Whoever writes
/// one begins with what stands there and raises the version, so that no fact is lost; it goes when it says nothing any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    pub phone_number: PhoneNumber,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<ContactId>,
    /// When the first message went out to it. `None`: a message to it takes a place of the plan's new contacts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_messaged_at: Option<Timestamp>,
    /// Such a place, which further messages to it share until one went out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<ContactPlace>,
    /// The lines that are the tenant's for this number; the last is the one that is used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<LineId>,
    /// Nothing may be sent to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opted_out: Option<OptedOut>,
    /// It seems to have said no, in words that are no keyword. No marketing may be sent to it until somebody has decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspected: Option<Suspicion>,
    /// What follows from its chain of consent.
    #[serde(default, skip_serializing_if = "Consents::is_empty")]
    pub consents: Consents,
    /// The last entry of its chain. It moves in the transaction of each entry, so that a chain has one end, whoever writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<ChainHead>,
    pub version: u64,
}

/// A place of the plan's new contacts: of which day, and which message took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactPlace {
    pub message: PhoneMessageId,
    pub day: Date,
}

/// An opt-out in force, as far as a sender needs it. `OptOut` says the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptedOut {
    pub since: Timestamp,
    pub source: OptOutSource,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyword: Option<String>,
}

impl Peer {
    /// Of whom nothing is known yet. Its versions begin anywhere, so that none is that of an earlier peer of the number, which somebody may have read.
    pub fn new(phone_number: PhoneNumber, random: &Random) -> Self {
        let [a, b, c, d, e, f] = random.bytes();
        Peer {
            phone_number,
            contact: None,
            first_messaged_at: None,
            place: None,
            lines: vec![],
            opted_out: None,
            suspected: None,
            consents: Consents::default(),
            chain: None,
            version: u64::from_be_bytes([0, 0, a, b, c, d, e, f]),
        }
    }

    pub fn with_contact(&self, contact: ContactId) -> Self {
        Peer { contact: Some(contact), version: self.version + 1, ..self.clone() }
    }

    /// `None`: then it says nothing any more.
    pub fn without_contact(&self) -> Option<Self> {
        let left = Peer { contact: None, version: self.version + 1, ..self.clone() };
        left.says_something().then_some(left)
    }

    /// The fields are listed one by one, so that a new fact must be decided on here.
    pub fn says_something(&self) -> bool {
        let Peer { phone_number: _, contact, first_messaged_at, place, lines, opted_out, suspected, consents, chain, version: _ } = self;
        let is_messaged = first_messaged_at.is_some() || place.is_some() || !lines.is_empty();
        contact.is_some() || is_messaged || opted_out.is_some() || suspected.is_some() || !consents.is_empty() || chain.is_some()
    }

    /// Nothing may be sent to it.
    pub fn is_opted_out(&self) -> bool {
        self.opted_out.is_some()
    }

    /// Whether a message to it takes a place of the plan's new contacts.
    pub fn is_new(&self) -> bool {
        self.first_messaged_at.is_none() && self.place.is_none()
    }

    /// With a place for the message.
    pub fn expecting(&self, message: PhoneMessageId, day: Date) -> Self {
        Peer { place: Some(ContactPlace { message, day }), version: self.version + 1, ..self.clone() }
    }

    /// A message went out. `None`: it was not the first.
    pub fn messaged(&self, at: Timestamp) -> Option<Self> {
        let first = self.first_messaged_at.is_none();
        first.then(|| Peer { first_messaged_at: Some(at), place: None, version: self.version + 1, ..self.clone() })
    }

    /// The message that took a place will not go out. Gives the place that is free again; `None`: the message has none.
    pub fn without_place(&self, message: PhoneMessageId) -> Option<(Self, ContactPlace)> {
        let place = self.place.filter(|place| place.message == message)?;
        Some((Peer { place: None, version: self.version + 1, ..self.clone() }, place))
    }

    /// As another tenant knows it: it has no line for it yet, and no place.
    pub fn elsewhere(self) -> Self {
        Peer { lines: vec![], place: None, ..self }
    }

    /// No line is the tenant's any more.
    pub fn without_lines(&self) -> Self {
        Peer { lines: vec![], version: self.version + 1, ..self.clone() }
    }

    /// With this line as the one that is used. `None`: it is so.
    pub fn on_line(&self, line: LineId) -> Option<Self> {
        if self.lines.last() == Some(&line) {
            return None;
        }
        let others = self.lines.iter().copied().filter(|other| *other != line);
        Some(Peer { lines: others.chain([line]).collect(), version: self.version + 1, ..self.clone() })
    }

    pub fn key_of(phone_number: &PhoneNumber) -> Key<Self> {
        Key::new(&Collection::of::<Peer>(), phone_number.digits())
    }

    /// In the order of the digits.
    pub fn all() -> List<Self> {
        List::new(Collection::of::<Peer>(), "")
    }

    /// Those whose numbers begin so, in the order of the digits.
    pub fn starting(digits: Digits) -> List<Self> {
        List::starting(Collection::of::<Peer>(), digits)
    }
}

impl Entity for Peer {
    type Scope = InTenant;
    const TYPE: &'static str = "peer";
    const COLLECTION: &'static str = "peers";
    const AUDITED: bool = false;
    const RESTORE: Option<Restore> = Some(restored::<Peer>);

    fn key(&self) -> Key<Self> {
        Peer::key_of(&self.phone_number)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_goes_with_the_last_that_is_known_of_it() {
        let number = || PhoneNumber::parse("+41791234567").unwrap();
        let nobody = Peer::new(number(), &Random::seeded(1));
        assert_ne!(nobody.version, Peer::new(number(), &Random::seeded(2)).version);
        let somebody = nobody.with_contact(ContactId::new(Timestamp::UNIX_EPOCH, &Random::seeded(1)));
        assert_eq!((somebody.version, somebody.says_something()), (nobody.version + 1, true));
        assert_eq!(somebody.without_contact(), None);
    }

    #[test]
    fn an_opt_out_and_a_chain_outlive_the_contact() {
        let contact = ContactId::new(Timestamp::UNIX_EPOCH, &Random::seeded(1));
        let known = Peer::new(PhoneNumber::parse("+41791234567").unwrap(), &Random::seeded(1)).with_contact(contact);
        let opted_out = OptedOut { since: Timestamp::UNIX_EPOCH, source: OptOutSource::Keyword, keyword: Some("STOP".into()) };
        let suspected = Suspicion { since: Timestamp::UNIX_EPOCH, phrase: "leave me alone".into() };
        for peer in [
            Peer { opted_out: Some(opted_out), ..known.clone() },
            Peer { suspected: Some(suspected), ..known.clone() },
            Peer { chain: Some(ChainHead { n: 1, digest: "0".repeat(64) }), ..known.clone() },
        ] {
            let left = peer.without_contact().unwrap();
            assert_eq!((left.contact, left.version), (None, peer.version + 1));
            assert_eq!(Peer { contact: peer.contact, version: peer.version, ..left }, peer);
        }
        let stored = serde_json::to_value(&known).unwrap();
        assert_eq!(stored.as_object().unwrap().keys().collect::<Vec<_>>(), ["phone_number", "contact", "version"]);
    }
}
