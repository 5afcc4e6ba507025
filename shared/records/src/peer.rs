//! Peers: what a tenant knows of a phone number, whoever it belongs to.

use serde::{Deserialize, Serialize};
use shared::crypto::Random;
use shared::model::phone_number::{Digits, PhoneNumber};
use shared::store::{Collection, Entity, InTenant, Key, List, Restore, restored};

use crate::contact::ContactId;

/// `peers` / `<digits>`: one for each number of which something is known. Its contact makes a number unique among the contacts of a tenant. Whoever writes
/// one begins with what stands there and raises the version, so that no fact is lost; it goes when it says nothing any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    pub phone_number: PhoneNumber,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<ContactId>,
    pub version: u64,
}

impl Peer {
    /// Of whom nothing is known yet. Its versions begin anywhere, so that none is that of an earlier peer of the number, which somebody may have read.
    pub fn new(phone_number: PhoneNumber, random: &Random) -> Self {
        let [a, b, c, d, e, f] = random.bytes();
        Peer { phone_number, contact: None, version: u64::from_be_bytes([0, 0, a, b, c, d, e, f]) }
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
    fn says_something(&self) -> bool {
        let Peer { phone_number: _, contact, version: _ } = self;
        contact.is_some()
    }

    pub fn key_of(phone_number: &PhoneNumber) -> Key<Self> {
        Key::new(&Collection::of::<Peer>(), phone_number.digits())
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
    use jiff::Timestamp;

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
}
