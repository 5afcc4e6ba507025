//! How a message to a phone moves: always in one transaction with what it counts and with what follows for its number, so that each number of usage and
//! each place of the plan is right whatever is repeated or dies in between.

use jiff::Timestamp;
use records::line_use::LineUse;
use records::message_campaign::{CampaignCounts, MessageCampaignId};
use records::messaging_quota::MessagingQuota;
use records::peer::Peer;
use records::phone_message::{MessageStatus, PhoneMessage, Reason, Tally};
use shared::model::due_messages::DueMessages;
use shared::model::line::{LineId, LinePeer};
use shared::model::phone_number::PhoneNumber;
use shared::model::plan::Plan;
use shared::model::time::{day, end_of};
use shared::model::usage::UsageDay;
use shared::tenancy::{Directory, Refusal, TenantStore, Transaction, conflict, limit_reached, missing};
use shared::{Error, Result};

/// A plan, and what it is called.
#[derive(Clone, Copy)]
pub struct Allowed<'a> {
    pub plan: &'a Plan,
    pub called: &'a str,
}

/// Takes the places of the plan that a message needs which is queued now: its own, unless it is counted already, and one of the new contacts if its number
/// has none. Then what the number becomes is to be written too. The refusal is `PlanLimitReached`; see `waits_for_tomorrow`.
pub fn take_places<'a>(
    transaction: Transaction<'a>,
    store: &TenantStore,
    (message, is_counted): (&PhoneMessage, bool),
    peer: Option<&Peer>,
    allowed: Allowed<'_>,
) -> Result<(Transaction<'a>, Option<Peer>)> {
    let (today, is_new) = (day(store.now()), peer.is_none_or(Peer::is_new));
    let mut transaction = transaction;
    for place in MessagingQuota::places(allowed.plan, !is_counted, is_new, today) {
        let refusal = place.most.map_or_else(missing, |most| limit_reached(place.name, most, allowed.called));
        transaction = transaction.tally_within(store, &place.key, ("n", 1), place.most, refusal)?;
    }
    let expecting = is_new.then(|| expecting(store, message, peer));
    Ok((transaction, expecting))
}

/// What its number becomes, with a place of the new contacts for it.
pub fn expecting(store: &TenantStore, message: &PhoneMessage, peer: Option<&Peer>) -> Peer {
    let known = peer.cloned().unwrap_or_else(|| Peer::new(message.to.clone(), store.random()));
    known.expecting(message.id, day(store.now()))
}

/// Writes what a number became.
pub fn write_peer<'a>(transaction: Transaction<'a>, store: &TenantStore, before: Option<&Peer>, after: &Peer) -> Result<Transaction<'a>> {
    match before {
        Some(before) => transaction.replace(store, after, before),
        None => transaction.create(store, after, contested()),
    }
}

/// The refusal of `claim_line`.
pub const OTHERS_LINE: &str = "The line is somebody else's for this number.";

/// The tenant has a line for a number, unless somebody else has.
pub fn claim_line<'a>(
    transaction: Transaction<'a>,
    directory: &Directory,
    store: &TenantStore,
    line: LineId,
    number: &PhoneNumber,
) -> Result<Transaction<'a>> {
    let holder = LinePeer::new(line, number.clone(), store.tenant_id());
    transaction.claim(directory, &holder, LinePeer::HOLDER, &store.tenant_id().to_string(), conflict(OTHERS_LINE))
}

/// Which of the plan's places are used up, if that is what a refusal says.
pub fn limited(refusal: &Error) -> Option<Reason> {
    match refusal {
        Error::PlanLimitReached(limit) => MessagingQuota::reason(limit.limit),
        _ => None,
    }
}

/// The same, if the next day has places again.
pub fn waits_for_tomorrow(refusal: &Error) -> Option<Reason> {
    limited(refusal).filter(|reason| matches!(reason, Reason::NewContactLimit | Reason::MessageLimit))
}

/// The first moment of the next day (UTC).
pub fn tomorrow(now: Timestamp) -> Timestamp {
    end_of(day(now))
}

/// Writes the note that brings a message to mind of which something becomes at a moment.
pub fn note_due<'a>(
    transaction: Transaction<'a>,
    directory: &Directory,
    store: &TenantStore,
    waiting: &PhoneMessage,
) -> Result<Transaction<'a>> {
    let Some(due_at) = waiting.due_at.filter(|_| waiting.is_awaited()) else { return Ok(transaction) };
    transaction.put(directory, &DueMessages::new(due_at, store.tenant_id(), store.random()))
}

/// Whether something follows for its number from what becomes of a message.
pub fn concerns_number(before: &PhoneMessage, after: &PhoneMessage) -> bool {
    went_out(before, after).is_some() || ended(after)
}

/// Writes what became of a message, with what that counts and what follows for its number: `peer`, unless it is not concerned.
pub fn change<'a>(
    transaction: Transaction<'a>,
    store: &TenantStore,
    (before, after): (&PhoneMessage, &PhoneMessage),
    peer: Option<&Peer>,
) -> Result<Transaction<'a>> {
    let mut transaction = transaction.replace(store, after, before)?;
    let mut tally = before.tally(after);
    let (went_out, ended) = (went_out(before, after), ended(after));
    if let Some((peer, messaged)) = peer.zip(went_out).and_then(|(peer, at)| peer.messaged(at).map(|messaged| (peer, messaged))) {
        transaction = transaction.replace(store, &messaged, peer)?;
        tally.push(("new_contacts", 1));
        // Its place was given back by a message that ended before this one went out.
        if peer.place.is_none() {
            let (of_month, of_day) = MessagingQuota::of_contacts(day(store.now()));
            for key in [of_month, of_day] {
                transaction = transaction.tally_within(store, &key, ("n", 1), None, missing())?;
            }
        }
    } else if let Some((peer, (left, place))) =
        peer.filter(|_| ended).and_then(|peer| peer.without_place(after.id).map(|left| (peer, left)))
    {
        transaction = transaction.replace(store, &left, peer)?;
        let (of_month, of_day) = MessagingQuota::of_contacts(place.day);
        for key in [of_month, of_day] {
            transaction = transaction.tally_within(store, &key, ("n", -1), None, missing())?;
        }
    }
    let [spread] = store.random().bytes();
    if let Some(line) = before.left_by(after) {
        transaction = transaction.tally_from(store, &LineUse::part(day(store.now()), line, spread), &[("sent", 1)])?;
    }
    count_at(spread, transaction, store, &tally, before.campaign_tally(after))
}

/// Adds to the day's usage, and to the counts of a campaign.
pub fn count<'a>(
    transaction: Transaction<'a>,
    store: &TenantStore,
    tally: &[(&'static str, i64)],
    of_campaign: Option<(MessageCampaignId, Tally)>,
) -> Result<Transaction<'a>> {
    let [spread] = store.random().bytes();
    count_at(spread, transaction, store, tally, of_campaign)
}

/// All counts of a move are spread over as many parts, so that whoever meets at one meets at the others.
fn count_at<'a>(
    spread: u8,
    transaction: Transaction<'a>,
    store: &TenantStore,
    tally: &[(&'static str, i64)],
    of_campaign: Option<(MessageCampaignId, Tally)>,
) -> Result<Transaction<'a>> {
    let transaction = match of_campaign {
        Some((campaign, tally)) => transaction.tally_from(store, &CampaignCounts::part(campaign, spread), &tally)?,
        None => transaction,
    };
    if tally.is_empty() {
        return Ok(transaction);
    }
    transaction.tally_from(store, &UsageDay::part(day(store.now()), spread), tally)
}

/// Others were quicker; whoever asked looks again.
pub fn contested() -> Refusal {
    Box::new(|_| Error::contested())
}

fn went_out(before: &PhoneMessage, after: &PhoneMessage) -> Option<Timestamp> {
    after.sent_at.filter(|_| before.sent_at.is_none())
}

fn ended(after: &PhoneMessage) -> bool {
    matches!(after.status, MessageStatus::Failed | MessageStatus::Blocked | MessageStatus::Cancelled)
}
