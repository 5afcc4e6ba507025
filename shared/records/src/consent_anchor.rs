//! Anchors: what was added to the chains of a day, in one hash that goes into the customer's own hands. From then on a chain that is cut or written anew,
//! with all that leads to it, no longer fits a hash that lies outside the table. `docs/verify_consent.py` checks the same with other tools.
//!
//! A path says nothing of other numbers: a leaf has the digest of an entry, which nobody can guess, because the entry's id is random.
//!
//! Which lines an anchor covers follows from the lines and the anchor before it alone. So whoever makes it, and however often, makes one that holds
//! the same.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use shared::crypto::sha256_hex;
use shared::model::phone_number::PhoneNumber;
use shared::store::{Collection, Direction, Entity, InTenant, Key, List, Within};

use crate::consent::{ChainHead, Consent, ConsentEntry, ConsentId, Place, millis, number_of};
use crate::consent_chain::{framed, printed};
use crate::merkle::{Hash, Tree, root_above};
use crate::peer::Peer;

/// The first lines of the canonical forms.
const VERSION: &str = "tenantry-consent-anchor-1";
const HEAD_VERSION: &str = "tenantry-consent-head-1";
const DAY: i64 = 24 * 60 * 60 * 1_000;

/// `consent-anchors` / `<number>`: one for each day on which something was recorded, and more where that was much. It never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentAnchor {
    /// From 1.
    pub number: u64,
    /// In whole milliseconds.
    pub anchored_at: Timestamp,
    /// The last line that it covers.
    pub until: ConsentId,
    /// How many chains grew.
    pub heads: u64,
    /// Of the tree over their ends, in the order of the numbers.
    pub root: String,
    /// The digest of the anchor before it; 64 zeros for the first.
    pub previous: String,
    /// Of the canonical form.
    pub digest: String,
}

/// `consent-anchored#<digits>` / `<anchor>`: what an anchor holds of the chain of a number. It is written before the anchor: one without an anchor says
/// nothing yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentAnchored {
    pub phone_number: PhoneNumber,
    /// The number of the anchor.
    pub anchor: u64,
    /// The end that the chain had: its entry, and the digest of that.
    pub n: u64,
    pub digest: String,
    /// Its place among the leaves of the tree.
    pub index: u64,
    /// From there to the root, in hex.
    pub path: Vec<String>,
}

impl ConsentAnchor {
    /// Lines that one anchor covers at most.
    pub const MOST: usize = 20_000;
    /// So long after its end, nothing is added to a day any more: longer than any function runs, and than clocks differ by.
    const SETTLED: SignedDuration = SignedDuration::from_mins(20);

    /// When what was recorded on the day (UTC) of a moment may be anchored.
    pub fn due_at(moment: Timestamp) -> Timestamp {
        end_of_day(moment).saturating_add(ConsentAnchor::SETTLED).unwrap_or(Timestamp::MAX)
    }

    /// Of lines that follow the last anchor, those that the next one covers: of the day of the first, if that is settled, and at most so many.
    pub fn covered(lines: &[Consent], now: Timestamp, most: usize) -> &[Consent] {
        let Some(first) = lines.first().map(|line| line.id.moment()).filter(|first| ConsentAnchor::due_at(*first) <= now) else {
            return &[];
        };
        let of_day = lines.iter().take(most).take_while(|line| line.id.moment() < end_of_day(first)).count();
        lines.get(..of_day).unwrap_or(lines)
    }

    /// Where chains ended with these lines: the last entry of each number.
    pub fn heads(lines: &[Consent]) -> BTreeMap<PhoneNumber, u64> {
        lines.iter().fold(BTreeMap::new(), |mut heads, line| {
            let head = heads.entry(line.phone_number.clone()).or_insert(line.n);
            *head = line.n.max(*head);
            heads
        })
    }

    /// The anchor after the last one, and what it holds of each chain.
    pub fn after(
        last: Option<&Self>,
        tenant: &str,
        until: ConsentId,
        heads: &BTreeMap<PhoneNumber, ChainHead>,
        now: Timestamp,
    ) -> (Self, Vec<ConsentAnchored>) {
        let number = last.map_or(1, |last| last.number + 1);
        let leaves: Vec<String> = heads.iter().map(|(phone_number, head)| leaf(phone_number, head.n, &head.digest)).collect();
        let tree = Tree::of(leaves.iter().map(String::as_bytes));
        let anchored = heads.iter().enumerate().map(|(index, (phone_number, head))| ConsentAnchored {
            phone_number: phone_number.clone(),
            anchor: number,
            n: head.n,
            digest: head.digest.clone(),
            index: index as u64,
            path: tree.path(index).iter().map(|hash| HEXLOWER.encode(hash)).collect(),
        });
        let anchored = anchored.collect();
        let mut anchor = ConsentAnchor {
            number,
            anchored_at: millis(now),
            until,
            heads: leaves.len() as u64,
            root: HEXLOWER.encode(&tree.root()),
            previous: last.map_or_else(|| ConsentEntry::beginning().digest, |last| last.digest.clone()),
            digest: String::new(),
        };
        anchor.digest = sha256_hex(&[anchor.canonical(tenant).as_bytes()]);
        (anchor, anchored)
    }

    /// The text that its digest covers.
    pub fn canonical(&self, tenant: &str) -> String {
        let lines = [
            ("tenant", tenant.to_owned()),
            ("number", self.number.to_string()),
            ("anchored_at", printed(self.anchored_at)),
            ("heads", self.heads.to_string()),
            ("root", self.root.clone()),
            ("previous", self.previous.clone()),
        ];
        framed(VERSION, lines.map(|(name, value)| (name, Some(value))))
    }

    /// Whether it says what its digest covers.
    pub fn is_whole(&self, tenant: &str) -> bool {
        self.digest == sha256_hex(&[self.canonical(tenant).as_bytes()])
    }

    /// The first of all anchors of a tenant, in their order, that does not hold: it is another than its digest covers, or does not follow the one before it.
    pub fn first_broken(anchors: &[Self], tenant: &str) -> Option<u64> {
        let mut previous = ConsentEntry::beginning().digest;
        for (number, anchor) in (1..).zip(anchors) {
            if anchor.number != number || anchor.previous != previous || !anchor.is_whole(tenant) {
                return Some(number);
            }
            previous.clone_from(&anchor.digest);
        }
        None
    }

    /// Whether it holds what this says.
    pub fn holds(&self, anchored: &ConsentAnchored, tenant: &str) -> bool {
        let path: Option<Vec<Hash>> = anchored.path.iter().map(|hash| HEXLOWER.decode(hash.as_bytes()).ok()?.try_into().ok()).collect();
        let leaf = leaf(&anchored.phone_number, anchored.n, &anchored.digest);
        let root = path.and_then(|path| root_above(leaf.as_bytes(), anchored.index, self.heads, &path));
        self.number == anchored.anchor && self.is_whole(tenant) && root.is_some_and(|root| HEXLOWER.encode(&root) == self.root)
    }

    pub fn key_of(number: u64) -> Key<Self> {
        Key::new(&Collection::of::<ConsentAnchor>(), Place(number))
    }

    /// From the first.
    pub fn all() -> List<Self> {
        List::new(Collection::of::<ConsentAnchor>(), "")
    }

    pub fn newest_first() -> List<Self> {
        ConsentAnchor::all().going(Direction::Descending)
    }
}

impl ConsentAnchored {
    /// Of a number, from the first.
    pub fn all_of(phone_number: &PhoneNumber) -> List<Self> {
        List::new(Collection::within::<ConsentAnchored>(phone_number.digits()), "")
    }
}

/// What anchors say of a chain. Looks at its entries one after another, and at the end whether all are there.
#[derive(Debug, Clone)]
pub struct AnchorCheck {
    /// Places, with the digests that were anchored.
    anchored: BTreeMap<u64, String>,
    last: u64,
    broken_at: Option<u64>,
}

impl AnchorCheck {
    /// Of these, some may name an entry twice, and then with one digest.
    pub fn of(anchored: &[ConsentAnchored]) -> Self {
        let anchored = anchored.iter().map(|one| (one.n, one.digest.clone())).collect();
        AnchorCheck { anchored, last: 0, broken_at: None }
    }

    pub fn take(&mut self, entry: &ConsentEntry) {
        let differs = self.anchored.get(&entry.n).is_some_and(|digest| *digest != entry.digest);
        if differs && self.broken_at.is_none() {
            self.broken_at = Some(entry.n);
        }
        self.last = self.last.max(entry.n);
    }

    /// The first entry that is another than was anchored, or the first that is missing.
    pub fn ended(&self) -> Option<u64> {
        let is_cut = self.anchored.last_key_value().is_some_and(|(n, _)| *n > self.last);
        self.broken_at.or(is_cut.then_some(self.last + 1))
    }
}

/// The text of a leaf.
fn leaf(phone_number: &PhoneNumber, n: u64, digest: &str) -> String {
    let lines = [("phone_number", phone_number.to_string()), ("n", n.to_string()), ("hash", digest.to_owned())];
    framed(HEAD_VERSION, lines.map(|(name, value)| (name, Some(value))))
}

/// The first moment of the next day.
fn end_of_day(moment: Timestamp) -> Timestamp {
    let days = moment.as_millisecond().div_euclid(DAY) + 1;
    Timestamp::from_millisecond(days * DAY).unwrap_or(Timestamp::MAX)
}

impl Entity for ConsentAnchor {
    type Scope = InTenant;
    const TYPE: &'static str = "consent_anchor";
    const COLLECTION: &'static str = "consent-anchors";
    /// Its event tells it.
    const AUDITED: bool = false;
    // Not restored: its digest names the tenant, which gave it to its customer. The tenant that an import makes has anchors of its own.

    fn key(&self) -> Key<Self> {
        ConsentAnchor::key_of(self.number)
    }
}

impl Entity for ConsentAnchored {
    type Scope = InTenant;
    const TYPE: &'static str = "consent_anchored";
    const COLLECTION: &'static str = "consent-anchored";
    const WITHIN: Option<Within> = Some(Within { parents: &[Peer::COLLECTION], parts: number_of, parent_id: None });
    const AUDITED: bool = false;

    fn key(&self) -> Key<Self> {
        Key::new(&Collection::within::<ConsentAnchored>(self.phone_number.digits()), Place(self.anchor))
    }
}

#[cfg(test)]
mod tests {
    use shared::crypto::Random;

    use super::*;

    const TENANT: &str = "0b8e";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn number(last: u64) -> PhoneNumber {
        PhoneNumber::parse(&format!("+4179{last:07}")).unwrap()
    }

    fn line(phone: u64, n: u64, seconds: i64) -> Consent {
        let id = ConsentId::new(at(seconds), &Random::seeded(n));
        Consent { id, phone_number: number(phone), n, consent_type: None, consented_at: at(seconds) }
    }

    fn heads(count: u64) -> BTreeMap<PhoneNumber, ChainHead> {
        (0..count).map(|phone| (number(phone), ChainHead { n: phone + 1, digest: sha256_hex(&[&phone.to_be_bytes()]) })).collect()
    }

    fn until() -> ConsentId {
        line(0, 1, 0).id
    }

    #[test]
    fn an_anchor_covers_the_settled_day_of_the_first_line() {
        const HOUR: i64 = 3_600;
        let lines = [line(1, 1, 10 * HOUR), line(2, 1, 24 * HOUR - 1), line(1, 2, 24 * HOUR), line(1, 3, 50 * HOUR)];
        let covered = |lines: &[Consent], now, most| ConsentAnchor::covered(lines, now, most).len();
        let settled = ConsentAnchor::due_at(lines[0].id.moment());
        assert_eq!(settled, at(24 * HOUR + 20 * 60));
        assert_eq!(covered(&lines, settled - SignedDuration::from_millis(1), 9), 0);
        // However late it is made.
        for now in [settled, at(1_000 * HOUR)] {
            assert_eq!((covered(&lines, now, 9), covered(&lines, now, 2), covered(&lines, now, 1)), (2, 2, 1));
        }
        assert_eq!((covered(&lines[2..], at(49 * HOUR), 9), covered(&lines[3..], at(49 * HOUR), 9), covered(&[], settled, 9)), (1, 0, 0));
        assert_eq!(ConsentAnchor::due_at(Timestamp::MAX), Timestamp::MAX);
    }

    #[test]
    fn the_head_of_a_chain_is_its_last_entry_whatever_the_order_of_the_lines() {
        let heads = ConsentAnchor::heads(&[line(2, 7, 1), line(1, 3, 2), line(1, 2, 3), line(2, 8, 4)]);
        assert_eq!(heads, BTreeMap::from([(number(1), 3), (number(2), 8)]));
    }

    #[test]
    fn the_canonical_forms_are_what_others_compute_too() {
        let heads = heads(1);
        let (anchor, anchored) = ConsentAnchor::after(None, TENANT, until(), &heads, at(1));
        let leaf = format!("tenantry-consent-head-1\nphone_number:12:+41790000000\nn:1:1\nhash:64:{}\n", anchored[0].digest);
        assert_eq!(anchor.root, sha256_hex(&[&[0], leaf.as_bytes()]));
        let text = format!(
            "tenantry-consent-anchor-1\ntenant:4:0b8e\nnumber:1:1\nanchored_at:24:1970-01-01T00:00:01.000Z\nheads:1:1\nroot:64:{}\nprevious:64:{}\n",
            anchor.root,
            "0".repeat(64)
        );
        assert_eq!((anchor.canonical(TENANT), &anchor.digest), (text.clone(), &sha256_hex(&[text.as_bytes()])));
        let (second, _) = ConsentAnchor::after(Some(&anchor), TENANT, until(), &heads, at(2));
        assert_eq!((second.number, second.previous), (2, anchor.digest));
    }

    #[test]
    fn an_anchor_holds_each_of_its_heads_and_nothing_else() {
        for count in [1, 2, 3, 7, 40] {
            let (anchor, anchored) = ConsentAnchor::after(None, TENANT, until(), &heads(count), at(1));
            for one in &anchored {
                assert!(anchor.holds(one, TENANT) && !anchor.holds(one, "other"), "{count}");
                let others = [
                    ConsentAnchored { n: one.n + 1, ..one.clone() },
                    ConsentAnchored { digest: "0".repeat(64), ..one.clone() },
                    ConsentAnchored { phone_number: number(99), ..one.clone() },
                    ConsentAnchored { index: one.index + 1, ..one.clone() },
                    ConsentAnchored { anchor: 2, ..one.clone() },
                    ConsentAnchored { path: vec!["x".into()], ..one.clone() },
                ];
                assert!(others.iter().all(|other| !anchor.holds(other, TENANT)), "{count}");
                let changed = ConsentAnchor { heads: count + 1, ..anchor.clone() };
                assert!(!changed.holds(one, TENANT));
            }
        }
        // Without a head there is still a hash, for what follows.
        let (nothing, anchored) = ConsentAnchor::after(None, TENANT, until(), &BTreeMap::new(), at(1));
        assert_eq!((nothing.root, anchored), (sha256_hex(&[]), vec![]));
    }

    #[test]
    fn a_change_of_an_anchor_is_found_at_it_or_at_the_next() {
        let anchors = (0..4_u64).fold(vec![], |mut all: Vec<ConsentAnchor>, seed| {
            all.push(ConsentAnchor::after(all.last(), TENANT, until(), &heads(seed + 1), at(1)).0);
            all
        });
        let broken = |anchors: &[ConsentAnchor]| ConsentAnchor::first_broken(anchors, TENANT);
        assert_eq!((broken(&anchors), broken(&[])), (None, None));
        assert_eq!((broken(&anchors[1..]), ConsentAnchor::first_broken(&anchors, "other")), (Some(1), Some(1)));
        let mut changed = anchors.clone();
        changed[1].heads += 1;
        assert_eq!(broken(&changed), Some(2));
        changed[1].digest = sha256_hex(&[changed[1].canonical(TENANT).as_bytes()]);
        assert_eq!(broken(&changed), Some(3));
        changed.remove(1);
        assert_eq!(broken(&changed), Some(2));
    }

    #[test]
    fn what_was_anchored_must_be_in_the_chain() {
        let entry = |n: u64, digest: &str| -> ConsentEntry {
            let json = serde_json::json!({
                "id": until(), "recorded_in": "t", "phone_number": number(1), "n": n, "kind": "granted",
                "consented_at": at(0), "recorded_at": at(0), "recorded_by": "member:1", "previous": "", "digest": digest,
            });
            serde_json::from_value(json).unwrap()
        };
        let anchored =
            |n: u64, digest: &str| ConsentAnchored { phone_number: number(1), anchor: n, n, digest: digest.into(), index: 0, path: vec![] };
        let anchored = [anchored(2, "b"), anchored(4, "d")];
        let verdict = |digests: &str| {
            let mut check = AnchorCheck::of(&anchored);
            digests.chars().zip(1..).for_each(|(digest, n)| check.take(&entry(n, &digest.to_string())));
            check.ended()
        };
        assert_eq!((verdict("abcd"), verdict("abcde"), verdict("xbyd")), (None, None, None));
        assert_eq!(
            (verdict("axcd"), verdict("axcx"), verdict("abcx"), verdict("abc"), verdict("")),
            (Some(2), Some(2), Some(4), Some(4), Some(1))
        );
        assert_eq!(AnchorCheck::of(&[]).ended(), None);
    }
}
