//! Whether chains of consent are as they were written, and what somebody needs to see that for themselves.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use records::consent::{ChainHead, ConsentEntry};
use records::consent_anchor::{AnchorCheck, ConsentAnchor, ConsentAnchored};
use records::consent_chain::{ChainCheck, Evidence};
use records::peer::Peer;
use serde::Serialize;
use shared::http::answer::Answer;
use shared::http::arguments::Query;
use shared::http::form::{Cursor, Fields, Form, PhoneNumberText};
use shared::model::phone_number::PhoneNumber;
use shared::store::{Direction, Entity as _, Position, Span};
use shared::tenancy::TenantStore;
use shared::tenancy::doors::Viewer;
use shared::{Error, Result};

use crate::anchor::AnchorView;
use crate::rules::{JUDGED, opened, sealed};

/// Chains of a page.
const CHAINS: usize = 1_000;
/// Chains that are read at once.
const AT_ONCE: usize = 25;
/// Entries of one read.
const ENTRIES: usize = 500;
/// A page ends early when long chains take so long.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often a chain is looked at that grows meanwhile.
const TRIES: usize = 5;
/// Bytes of a page of a proof, before JSON quotes them.
const PAGE: usize = 2_000_000;
/// Anchors of a proof.
const ANCHORS: usize = 100;

/// Whether chains hold.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ConsentVerified)]
pub struct VerifiedView {
    /// All that were looked at hold.
    valid: bool,
    chains: u64,
    /// That hold.
    entries: u64,
    /// Of these, entries that another tenant recorded, of which this one is an import. Their hashes cover the id of that one.
    imported: u64,
    /// What anchors hold of these chains, and rightly.
    anchored: u64,
    /// Of the chain of one number: its end, if it has one.
    head: Option<HeadView>,
    /// Of the chain of one number: the first entry that does not hold.
    broken_at: Option<u64>,
    /// And what shows that.
    broken_by: Option<BrokenBy>,
    /// The chains that do not hold.
    broken: Vec<BrokenView>,
    /// Of all chains: what all anchors hold. Over all pages, `anchored` comes to the same, or somebody took away what was anchored.
    anchored_in_all: Option<u64>,
    /// Of all chains, on the first page: the number of the first anchor that does not hold, or, where there is one page, that holds more than is there.
    broken_anchor: Option<u64>,
    /// Of all chains: where to go on; null at the end.
    next_cursor: Option<String>,
}

/// The end of a chain.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ConsentHead)]
pub struct HeadView {
    n: u64,
    hash: String,
}

/// A chain that does not hold.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ConsentBroken)]
pub struct BrokenView {
    #[schema(inline)]
    phone_number: PhoneNumber,
    /// The first entry that does not hold.
    broken_at: u64,
    broken_by: BrokenBy,
}

/// What shows that a chain does not hold.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ConsentBrokenBy)]
pub enum BrokenBy {
    /// Its own hashes.
    Chain,
    /// They fit, but an anchor holds another entry: the chain was cut or written anew.
    Anchor,
}

/// What proves the consent of a number, for `docs/verify_consent.py`.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ConsentProof)]
pub struct ProofView {
    #[schema(inline)]
    phone_number: PhoneNumber,
    /// Null if there is no chain.
    head: Option<HeadView>,
    /// From the beginning of the chain.
    entries: Vec<ProvenView>,
    /// On the last page: what anchors hold of the chain, the newest first, at most 100.
    anchors: Vec<AnchoredView>,
    /// Where the chain goes on; null at its end.
    next_cursor: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ConsentProven)]
pub struct ProvenView {
    /// The text that the hash covers.
    canonical: String,
    /// SHA-256 of it, in hex.
    hash: String,
    /// What stands behind the digests in the text: SHA-256 of salt and value. Without what was redacted.
    disclosed: Vec<DisclosedView>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ConsentDisclosed)]
pub struct DisclosedView {
    name: &'static str,
    /// 16 bytes in hex.
    salt: String,
    value: String,
}

/// An anchor, and what it holds of the chain.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ConsentAnchored)]
pub struct AnchoredView {
    #[serde(flatten)]
    anchor: AnchorView,
    /// The entry at which the chain ended. A leaf of the tree is made of the phone number, this, and the hash of the entry.
    n: u64,
    /// The place of the leaf, from 0.
    index: u64,
    /// The hashes with which it leads to the root.
    path: Vec<String>,
}

pub struct VerifyQuery {
    phone_number: Option<PhoneNumber>,
    cursor: Option<String>,
}

pub struct ProofQuery {
    phone_number: PhoneNumber,
    cursor: Option<String>,
}

/// What was found of one chain.
struct Verdict {
    phone_number: PhoneNumber,
    head: Option<ChainHead>,
    entries: u64,
    imported: u64,
    anchored: Vec<ConsentAnchored>,
    broken: Option<(u64, BrokenBy)>,
}

/// The chain of a number, or a thousand chains in the order of their numbers.
pub async fn verify(door: Viewer, query: Query<VerifyQuery>) -> Result<Answer<VerifiedView>> {
    let (store, VerifyQuery { phone_number, cursor }) = (&door.store, query.0);
    if let Some(number) = phone_number {
        let head = store.find(&Peer::key_of(&number)).await?.and_then(|peer| peer.chain);
        let verdict = verdict(store, number, head).await?;
        let verdict = verdict.with(&Anchors::of(store).await?);
        let mut view = VerifiedView::of(std::slice::from_ref(&verdict), None);
        view.head = verdict.head.map(HeadView::of);
        (view.broken_at, view.broken_by) = verdict.broken.unzip();
        return Ok(Answer::new("Success", view));
    }
    let question = format!("consent verify {}", door.tenant.id);
    let after = opened(&door.app, &question, cursor.as_ref())?;
    let (is_first, before) = (after.is_none(), Anchors::of(store).await?);
    let peers = store.page_within(&Peer::all(), &Span { after, skip: 0, limit: CHAINS }, JUDGED, |peer| peer.chain.is_some()).await?;
    let (mut verdicts, mut next, began) = (vec![], peers.next, Instant::now());
    for some in peers.items.chunks(AT_ONCE) {
        let each = some.iter().map(|peer| verdict(store, peer.phone_number.clone(), peer.chain.clone()));
        verdicts.extend(try_join_all(each).await?);
        if began.elapsed() > PATIENCE && verdicts.len() < peers.items.len() {
            next = some.last().map(|last| Position::after(&last.key()));
            break;
        }
    }
    // Some may have been made meanwhile, and hold what was seen.
    let now = Anchors::of(store).await?;
    let verdicts: Vec<Verdict> = verdicts.into_iter().map(|verdict| verdict.with(&now)).collect();
    let next = sealed(&door.app, &question, next.as_ref())?;
    let mut view = VerifiedView::of(&verdicts, next.clone());
    let is_whole = is_first && next.is_none();
    view.anchored_in_all = Some(before.heads());
    view.broken_anchor = if is_first { before.first_broken() } else { None };
    view.broken_anchor = view.broken_anchor.or_else(|| is_whole.then(|| before.first_missing(&verdicts)).flatten());
    view.valid &= view.broken_anchor.is_none();
    Ok(Answer::new("Success", view).with_next(next))
}

/// The entries of a chain with what they cover, in pages.
pub async fn proof(door: Viewer, query: Query<ProofQuery>) -> Result<Answer<ProofView>> {
    let (store, ProofQuery { phone_number, cursor }) = (&door.store, query.0);
    let question = format!("consent proof {} {phone_number}", door.tenant.id);
    let mut after = opened(&door.app, &question, cursor.as_ref())?;
    let peer = store.find(&Peer::key_of(&phone_number)).await?;
    let head = peer.and_then(|peer| peer.chain);
    let known = head.as_ref().map_or(0, |head| head.n);
    let (mut entries, mut bytes) = (vec![], 0);
    'pages: loop {
        let span = Span { after: after.take(), skip: 0, limit: ENTRIES };
        // What was added since belongs to the next head.
        let found = store.page(&ConsentEntry::chain_of(&phone_number), &span, |entry| entry.n <= known).await?;
        let mut last = span.after;
        for entry in &found.items {
            let proven = ProvenView::of(entry);
            bytes += proven.bytes();
            if bytes > PAGE && !entries.is_empty() {
                after = last;
                break 'pages;
            }
            entries.push(proven);
            last = Some(Position::after(&entry.key()));
        }
        after = found.next;
        if after.is_none() {
            break;
        }
    }
    let next = sealed(&door.app, &question, after.as_ref())?;
    let anchors = if next.is_none() { newest_anchors(store, &phone_number).await? } else { vec![] };
    let view = ProofView { phone_number, head: head.map(HeadView::of), entries, anchors, next_cursor: next.clone() };
    Ok(Answer::new("Success", view).with_next(next))
}

/// `head` is as the peer was read. Where the chain grew since, both are read again.
async fn verdict(store: &TenantStore, phone_number: PhoneNumber, head: Option<ChainHead>) -> Result<Verdict> {
    let mut head = head;
    for _ in 0..TRIES {
        let verdict = looked_at(store, phone_number.clone(), head.clone()).await?;
        if verdict.broken.is_none() {
            return Ok(verdict);
        }
        let now = store.find(&Peer::key_of(&phone_number)).await?.and_then(|peer| peer.chain);
        if now == head {
            return Ok(verdict);
        }
        head = now;
    }
    Err(Error::Unavailable { doing: "verifying a chain", cause: "it grew all the time".into() })
}

async fn looked_at(store: &TenantStore, phone_number: PhoneNumber, head: Option<ChainHead>) -> Result<Verdict> {
    let own = store.tenant_id().to_string();
    // First, for what is anchored later may be of an entry that is added after the chain was read.
    let anchored = store.all(&ConsentAnchored::all_of(&phone_number)).await?;
    let (mut check, mut anchors) = (ChainCheck::of(phone_number.clone()), AnchorCheck::of(&anchored));
    let (list, mut place, mut imported) = (ConsentEntry::chain_of(&phone_number), None, 0);
    loop {
        let (some, next) = store.after(&list, place.as_ref(), ENTRIES).await?;
        for entry in &some {
            check.take(entry);
            anchors.take(entry);
            imported += u64::from(entry.recorded_in != own);
        }
        match next {
            Some(next) => place = Some(next),
            None => break,
        }
    }
    let by_itself = check.ended(head.as_ref()).err().map(|broken_at| (broken_at, BrokenBy::Chain));
    let broken = by_itself.or_else(|| anchors.ended().map(|broken_at| (broken_at, BrokenBy::Anchor)));
    Ok(Verdict { phone_number, head, entries: check.entries(), imported, anchored, broken })
}

/// All anchors of a tenant, in their order.
struct Anchors {
    own: String,
    all: Vec<ConsentAnchor>,
}

impl Anchors {
    async fn of(store: &TenantStore) -> Result<Self> {
        Ok(Anchors { own: store.tenant_id().to_string(), all: store.all(&ConsentAnchor::all()).await? })
    }

    fn heads(&self) -> u64 {
        self.all.iter().map(|anchor| anchor.heads).sum()
    }

    fn first_broken(&self) -> Option<u64> {
        ConsentAnchor::first_broken(&self.all, &self.own)
    }

    /// The first that held more than all chains have of it: somebody took away a chain, or what the anchor held of it.
    fn first_missing(&self, verdicts: &[Verdict]) -> Option<u64> {
        let mut held = BTreeMap::<u64, u64>::new();
        verdicts.iter().flat_map(|verdict| &verdict.anchored).for_each(|anchored| *held.entry(anchored.anchor).or_default() += 1);
        let is_missed = |anchor: &&ConsentAnchor| held.get(&anchor.number).copied().unwrap_or(0) != anchor.heads;
        self.all.iter().find(is_missed).map(|anchor| anchor.number)
    }

    /// Whether it is as it was made. `None`: it belongs to the anchor that is being made.
    fn hold(&self, anchored: &ConsentAnchored) -> Option<bool> {
        let newest = self.all.last().map_or(0, |anchor| anchor.number);
        match self.all.iter().find(|anchor| anchor.number == anchored.anchor) {
            Some(anchor) => Some(anchor.holds(anchored, &self.own)),
            None if anchored.anchor == newest + 1 => None,
            None => Some(false),
        }
    }
}

impl Verdict {
    /// The same, if also the anchors hold what is said of them. They were read after the chain.
    fn with(self, anchors: &Anchors) -> Self {
        let (mut kept, mut broken) = (vec![], None);
        for anchored in self.anchored {
            match anchors.hold(&anchored) {
                Some(true) => kept.push(anchored),
                Some(false) => broken = broken.or(Some((anchored.n, BrokenBy::Anchor))),
                None => {}
            }
        }
        Verdict { anchored: kept, broken: self.broken.or(broken), ..self }
    }
}

/// What anchors hold of a chain, the newest first.
async fn newest_anchors(store: &TenantStore, phone_number: &PhoneNumber) -> Result<Vec<AnchoredView>> {
    let newest = ConsentAnchored::all_of(phone_number).going(Direction::Descending);
    let anchored = store.page(&newest, &Span::first(ANCHORS), |_| true).await?.items;
    let pairs = with_their_anchors(store, &anchored).await?;
    let view = |(anchor, anchored): (ConsentAnchor, &ConsentAnchored)| AnchoredView {
        anchor: AnchorView::of(store, &anchor),
        n: anchored.n,
        index: anchored.index,
        path: anchored.path.clone(),
    };
    Ok(pairs.into_iter().map(view).collect())
}

/// Each with its anchor. One whose anchor is not there yet is left out.
async fn with_their_anchors<'a>(store: &TenantStore, anchored: &'a [ConsentAnchored]) -> Result<Vec<(ConsentAnchor, &'a ConsentAnchored)>> {
    let keys: Vec<_> = anchored.iter().map(|one| ConsentAnchor::key_of(one.anchor)).collect();
    let mut anchors = store.find_many(&keys).await?.into_iter().peekable();
    Ok(anchored.iter().filter_map(|one| Some((anchors.next_if(|anchor| anchor.number == one.anchor)?, one))).collect())
}

impl VerifiedView {
    fn of(verdicts: &[Verdict], next_cursor: Option<String>) -> Self {
        let broken = verdicts.iter().filter_map(|verdict| {
            let (broken_at, broken_by) = verdict.broken?;
            Some(BrokenView { phone_number: verdict.phone_number.clone(), broken_at, broken_by })
        });
        let broken: Vec<_> = broken.collect();
        VerifiedView {
            valid: broken.is_empty(),
            chains: verdicts.iter().filter(|verdict| verdict.head.is_some()).count() as u64,
            entries: verdicts.iter().map(|verdict| verdict.entries).sum(),
            imported: verdicts.iter().map(|verdict| verdict.imported).sum(),
            anchored: verdicts.iter().map(|verdict| verdict.anchored.len() as u64).sum(),
            head: None,
            broken_at: None,
            broken_by: None,
            broken,
            anchored_in_all: None,
            broken_anchor: None,
            next_cursor,
        }
    }
}

impl HeadView {
    fn of(head: ChainHead) -> Self {
        HeadView { n: head.n, hash: head.digest }
    }
}

impl ProvenView {
    fn of(entry: &ConsentEntry) -> Self {
        let evidence = [
            ("text", &entry.text),
            ("ip", &entry.ip),
            ("user_agent", &entry.user_agent),
            ("url", &entry.url),
            ("metadata", &entry.metadata),
        ];
        let disclosed = evidence.into_iter().filter_map(|(name, evidence)| match evidence {
            Some(Evidence::Kept { salt, value }) => Some(DisclosedView { name, salt: salt.clone(), value: value.clone() }),
            Some(Evidence::Forgotten { .. }) | None => None,
        });
        ProvenView { canonical: entry.canonical(), hash: entry.digest.clone(), disclosed: disclosed.collect() }
    }

    fn bytes(&self) -> usize {
        self.canonical.len() + self.disclosed.iter().map(|disclosed| disclosed.value.len() + 100).sum::<usize>() + 200
    }
}

impl Form for VerifyQuery {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let phone_number = fields.optional("phone_number", PhoneNumberText);
        let cursor = fields.optional("cursor", Cursor { max: 4096 });
        if phone_number.is_some() && cursor.is_some() {
            fields.refuse("cursor", "goes on with all chains, and not with that of a phone number");
        }
        Some(VerifyQuery { phone_number, cursor })
    }
}

impl Form for ProofQuery {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let phone_number = fields.required("phone_number", PhoneNumberText);
        let cursor = fields.optional("cursor", Cursor { max: 4096 });
        Some(ProofQuery { phone_number: phone_number?, cursor })
    }
}
