//! What makes a list of entries a chain: each names the digest of the one before it, and the digest of an entry covers all that it says. Evidence enters
//! by a salted digest of its own, so it can be forgotten and the chain still holds. `docs/verify_consent.py` checks the same with other tools.

use std::fmt::Write as _;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use shared::crypto::{Random, sha256_hex};
use shared::model::phone_number::PhoneNumber;

use crate::consent::{ChainHead, ConsentEntry, ConsentType, millis};

/// The first line of each canonical form.
const VERSION: &str = "tenantry-consent-1";
/// Bytes of a salt.
const SALT: usize = 16;

/// What a person gave, or what is left of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Evidence {
    /// The salt, in hex, keeps a short value (an address) from being guessed when it is forgotten.
    Kept { salt: String, value: String },
    /// The digest that salt and value had.
    Forgotten { digest: String },
}

impl Evidence {
    pub fn new(value: String, random: &Random) -> Self {
        Evidence::Kept { salt: HEXLOWER.encode(&random.bytes::<SALT>()), value }
    }

    /// `None` if it was forgotten.
    pub fn value(&self) -> Option<&str> {
        match self {
            Evidence::Kept { value, .. } => Some(value),
            Evidence::Forgotten { .. } => None,
        }
    }

    /// As it stands in the canonical form: SHA-256 of salt and value. A salt that is none gives what no entry has.
    pub fn digest(&self) -> String {
        match self {
            Evidence::Kept { salt, value } => match HEXLOWER.decode(salt.as_bytes()) {
                Ok(salt) if salt.len() == SALT => sha256_hex(&[&salt, value.as_bytes()]),
                _ => String::new(),
            },
            Evidence::Forgotten { digest } => digest.clone(),
        }
    }

    pub fn forgotten(&self) -> Self {
        Evidence::Forgotten { digest: self.digest() }
    }
}

impl ConsentEntry {
    /// What comes before the first entry.
    pub fn beginning() -> ChainHead {
        ChainHead { n: 0, digest: "0".repeat(64) }
    }

    /// The text that its digest covers.
    pub fn canonical(&self) -> String {
        let evidence = |evidence: &Option<Evidence>| evidence.as_ref().map(Evidence::digest);
        let lines: [(&'static str, Option<String>); 18] = [
            ("tenant", Some(self.recorded_in.clone())),
            ("phone_number", Some(self.phone_number.to_string())),
            ("n", Some(self.n.to_string())),
            ("id", Some(self.id.prefixed())),
            ("kind", Some(self.kind.name().to_owned())),
            ("consent_type", self.consent_type.map(ConsentType::name).map(str::to_owned)),
            ("consent_source", self.consent_source.clone()),
            ("consent_text_version", self.consent_text_version.clone()),
            ("consented_at", Some(printed(self.consented_at))),
            ("recorded_at", Some(printed(self.recorded_at))),
            ("recorded_by", Some(self.recorded_by.clone())),
            ("message_id", self.message_id.clone()),
            ("text", evidence(&self.text)),
            ("ip", evidence(&self.ip)),
            ("user_agent", evidence(&self.user_agent)),
            ("url", evidence(&self.url)),
            ("metadata", evidence(&self.metadata)),
            ("previous", Some(self.previous.clone())),
        ];
        framed(VERSION, lines)
    }

    /// The end of a chain that ends with it.
    pub fn head(&self) -> ChainHead {
        ChainHead { n: self.n, digest: self.digest.clone() }
    }
}

/// A canonical form: a first line that says of what, then a line for each value. Each has its length in bytes before it, so no two lists of values have the
/// same text.
pub(crate) fn framed(version: &str, lines: impl IntoIterator<Item = (&'static str, Option<String>)>) -> String {
    let mut text = format!("{version}\n");
    for (name, value) in lines {
        // Writing to a string cannot fail.
        let _ = match value {
            Some(value) => writeln!(text, "{name}:{}:{value}", value.len()),
            None => writeln!(text, "{name}:-"),
        };
    }
    text
}

/// RFC 3339 in UTC with milliseconds. A moment with more digits than we write is printed with all of them, which no digest covers.
pub(crate) fn printed(moment: Timestamp) -> String {
    let format = if millis(moment) == moment { "%Y-%m-%dT%H:%M:%S%.3fZ" } else { "%Y-%m-%dT%H:%M:%S%.9fZ" };
    moment.strftime(format).to_string()
}

/// Looks at the entries of a chain one after another.
#[derive(Debug, Clone)]
pub struct ChainCheck {
    phone_number: PhoneNumber,
    last: ChainHead,
    /// Where it does not hold.
    broken_at: Option<u64>,
}

impl ChainCheck {
    pub fn of(phone_number: PhoneNumber) -> Self {
        ChainCheck { phone_number, last: ConsentEntry::beginning(), broken_at: None }
    }

    /// How many entries hold so far.
    pub fn entries(&self) -> u64 {
        self.last.n
    }

    /// The next entry, as it lies. After one that does not hold, nothing is looked at any more.
    pub fn take(&mut self, entry: &ConsentEntry) {
        let next = self.last.n + 1;
        let holds = entry.n == next
            && entry.phone_number == self.phone_number
            && entry.previous == self.last.digest
            && entry.digest == sha256_hex(&[entry.canonical().as_bytes()]);
        if self.broken_at.is_none() {
            match holds {
                true => self.last = entry.head(),
                false => self.broken_at = Some(next),
            }
        }
    }

    /// Whether all entries hold and the last is the one that the peer names; else the number of the first that does not.
    pub fn ended(&self, head: Option<&ChainHead>) -> Result<(), u64> {
        if let Some(broken_at) = self.broken_at {
            return Err(broken_at);
        }
        match head {
            Some(head) if *head == self.last => Ok(()),
            None if self.last.n == 0 => Ok(()),
            // The same number with another digest is at fault itself; else one is missing, or too many.
            Some(head) if head.n == self.last.n => Err(self.last.n),
            Some(head) => Err(head.n.min(self.last.n) + 1),
            None => Err(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::consent::{ConsentFact, ConsentKind, Redaction};
    use crate::standing::{Recorder, Standing};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn number() -> PhoneNumber {
        PhoneNumber::parse("+15551234567").unwrap()
    }

    /// A chain of so many entries, with its head.
    fn chain(entries: u64, seed: u64) -> (Vec<ConsentEntry>, Option<ChainHead>) {
        let random = Random::seeded(seed);
        let mut standing = Standing::of(number(), None, None, &random);
        for n in 0..entries {
            let now = NOW + SignedDuration::from_millis(i64::try_from(n).unwrap() * 1_500);
            let recorder = Recorder { tenant: "0b8e".into(), by: format!("member:{n}"), now, random: &random, import: None };
            let fact = ConsentFact {
                consent_type: (n % 3 != 2).then_some(ConsentType::ExpressWritten),
                text_version: (n % 2 == 0).then(|| format!("v{n}")),
                text: Some(format!("I agree\nto {n}: messages")),
                ip: (n % 2 == 1).then(|| "203.0.113.9".to_owned()),
                user_agent: Some("Mozilla/5.0".into()),
                url: Some("https://example.com/?a=1".into()),
                metadata: json!({"form": "checkout", "n": n.to_string()}).as_object().cloned().unwrap(),
                ..ConsentFact::from_source("web_form")
            };
            standing.append(ConsentKind::Granted, fact, &recorder).unwrap();
        }
        let head = standing.peer().chain.clone();
        (standing.entries().to_vec(), head)
    }

    fn verdict(entries: &[ConsentEntry], head: Option<&ChainHead>) -> Result<(), u64> {
        let mut check = ChainCheck::of(number());
        entries.iter().for_each(|entry| check.take(entry));
        check.ended(head)
    }

    #[test]
    fn the_canonical_form_is_what_others_compute_too() {
        let (entries, head) = chain(2, 1);
        let [first, second] = &entries[..] else { panic!("two entries") };
        let digest = |evidence: &Option<Evidence>| evidence.as_ref().unwrap().digest();
        let expected = format!(
            "tenantry-consent-1\ntenant:4:0b8e\nphone_number:12:+15551234567\nn:1:2\nid:36:{}\nkind:7:granted\nconsent_type:15:express_written\n\
             consent_source:8:web_form\nconsent_text_version:-\nconsented_at:24:1970-01-01T00:00:01.500Z\nrecorded_at:24:1970-01-01T00:00:01.500Z\n\
             recorded_by:8:member:1\nmessage_id:-\ntext:64:{}\nip:64:{}\nuser_agent:64:{}\nurl:64:{}\nmetadata:64:{}\nprevious:64:{}\n",
            second.id.prefixed(),
            digest(&second.text),
            digest(&second.ip),
            digest(&second.user_agent),
            digest(&second.url),
            digest(&second.metadata),
            first.digest,
        );
        assert_eq!(second.canonical(), expected);
        assert_eq!(second.digest, sha256_hex(&[expected.as_bytes()]));
        assert_eq!((first.previous.as_str(), head), ("0".repeat(64).as_str(), Some(second.head())));
    }

    #[test]
    fn each_of_ten_thousand_flips_cuts_and_swaps_is_found() {
        let (entries, head) = chain(12, 2);
        assert_eq!(verdict(&entries, head.as_ref()), Ok(()));
        let random = Random::seeded(3);
        let below = |most: usize| usize::try_from(u64::from_be_bytes(random.bytes()) % most as u64).unwrap();
        for round in 0..10_000 {
            let mut changed = entries.clone();
            match round % 4 {
                0 => {
                    changed.remove(below(entries.len()));
                }
                1 => {
                    let (one, other) = (below(entries.len()), below(entries.len()));
                    if one == other {
                        continue;
                    }
                    changed.swap(one, other);
                }
                2 => changed.truncate(below(entries.len())),
                _ => {
                    let place = below(entries.len());
                    let mut stored = serde_json::to_value(&entries[place]).unwrap();
                    if !flip(&mut stored, &below) {
                        continue;
                    }
                    // What cannot be read any more is found without a digest.
                    let Ok(entry) = serde_json::from_value::<ConsentEntry>(stored) else { continue };
                    if entry == entries[place] {
                        continue;
                    }
                    changed[place] = entry;
                }
            }
            assert!(verdict(&changed, head.as_ref()).is_err(), "{round}: {changed:?}");
        }
    }

    /// Flips a bit of a letter, or a number, somewhere in a stored record.
    fn flip(value: &mut Value, below: &impl Fn(usize) -> usize) -> bool {
        match value {
            Value::Object(object) => {
                let place = below(object.len());
                object.values_mut().nth(place).is_some_and(|value| flip(value, below))
            }
            Value::String(text) if !text.is_empty() => {
                let mut letters: Vec<char> = text.chars().collect();
                let place = below(letters.len());
                letters[place] = char::from_u32(u32::from(letters[place]) ^ (1 << below(5))).unwrap_or('?');
                *text = letters.into_iter().collect();
                true
            }
            Value::Number(number) => {
                *value = (number.as_u64().unwrap_or(0) ^ (1 << below(5))).into();
                true
            }
            _ => false,
        }
    }

    #[test]
    fn a_verdict_names_the_first_entry_that_does_not_hold() {
        let (entries, head) = chain(5, 4);
        let head = head.as_ref();
        let mut flipped = entries.clone();
        flipped[2].recorded_by = "member:9".into();
        assert_eq!(verdict(&flipped, head), Err(3));
        assert_eq!(verdict(&entries[..3], head), Err(4));
        assert_eq!(verdict(&entries[1..], head), Err(1));
        assert_eq!(verdict(&[], head), Err(1));
        assert_eq!((verdict(&[], None), verdict(&entries, None)), (Ok(()), Err(1)));
        let earlier = ChainHead { n: 4, digest: entries[3].digest.clone() };
        assert_eq!(verdict(&entries, Some(&earlier)), Err(5));
        assert_eq!(verdict(&entries, Some(&ChainHead { n: 5, ..earlier })), Err(5));
        // A digest over what was changed does not help: the next entry names the old one.
        flipped[2].digest = sha256_hex(&[flipped[2].canonical().as_bytes()]);
        assert_eq!(verdict(&flipped, head), Err(4));
        let mut later = entries.clone();
        later[1].recorded_at += SignedDuration::from_nanos(1);
        assert_eq!(verdict(&later, head), Err(2));
        // The chain of another number.
        let mut check = ChainCheck::of(PhoneNumber::parse("+15551234568").unwrap());
        entries.iter().for_each(|entry| check.take(entry));
        assert_eq!(check.ended(head), Err(1));
    }

    #[test]
    fn what_is_forgotten_leaves_a_chain_that_holds() {
        let (entries, head) = chain(6, 5);
        let redaction = Redaction { redacted_at: NOW, redacted_by: "member:1".into(), reason: "asked".into() };
        let left: Vec<_> = entries.iter().map(|entry| entry.forgotten(redaction.clone()).unwrap()).collect();
        assert_eq!(verdict(&left, head.as_ref()), Ok(()));
        assert!(left.iter().all(|entry| entry.forgotten(redaction.clone()).is_none() && entry.metadata() == Map::new()));
        let stored = serde_json::to_string(&left).unwrap();
        for value in ["I agree", "203.0.113.9", "Mozilla", "example.com", "checkout", "salt"] {
            assert!(!stored.contains(value), "{value}");
        }
        // Another value in its place is found.
        let mut refilled = left.clone();
        refilled[0].text = Some(Evidence::new("I agree\nto 0: messages".into(), &Random::seeded(9)));
        assert_eq!(verdict(&refilled, head.as_ref()), Err(1));
    }
}
