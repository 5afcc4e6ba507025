//! What campaigns of messages share: who is behind their numbers, which places of the plan are left, and how they are brought to mind.

use std::collections::BTreeMap;
use std::ops::Range;

use futures_util::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use records::contact::{Contact, ContactId};
use records::contact_group::{ContactGroupId, ContactGroupMember};
use records::message_campaign::{CampaignCounts, MessageCampaign, MessageCampaignId, RecipientPack};
use records::messaging_quota::{MessagingQuota, Place};
use records::messaging_settings::MessagingSettings;
use records::peer::Peer;
use records::phone_admission::{Recipient, Verdict, verdict};
use records::phone_message::{MessageStatus, PhoneMessage, PhoneMessageId, Reason};
use shared::Result;
use shared::model::due_messages::DueMessages;
use shared::model::line::{LinePool, PhoneLine};
use shared::model::phone_number::PhoneNumber;
use shared::model::plan::Plan;
use shared::model::time::day;
use shared::store::Record as _;
use shared::tenancy::{Directory, TenantStore, Transaction, limit_reached, missing};

use crate::moving::Allowed;

/// Records that are read together.
pub const TOGETHER: usize = 1_000;

/// What a tenant knows of some numbers.
pub struct Known {
    peers: BTreeMap<PhoneNumber, Peer>,
    contacts: BTreeMap<PhoneNumber, Contact>,
}

/// Places of the plan that messages take together.
pub struct Room<'a> {
    plan: &'a Plan,
    called: &'a str,
    now: Timestamp,
    places: Vec<(Place, Left)>,
}

#[derive(Clone, Copy)]
struct Left {
    /// `None`: as many as there are.
    free: Option<u64>,
    taken: u64,
}

impl Known {
    pub async fn read(store: &TenantStore, numbers: &[PhoneNumber]) -> Result<Self> {
        let keys: Vec<_> = numbers.iter().map(Peer::key_of).collect();
        let peers = store.find_many(&keys).await?;
        let keys: Vec<_> = peers.iter().filter_map(|peer| peer.contact).map(Contact::key_of).collect();
        let contacts = store.find_many(&keys).await?;
        let peers = peers.into_iter().map(|peer| (peer.phone_number.clone(), peer)).collect();
        let contacts = contacts.into_iter().map(|contact| (contact.phone_number.clone(), contact)).collect();
        Ok(Known { peers, contacts })
    }

    pub fn peer(&self, number: &PhoneNumber) -> Option<&Peer> {
        self.peers.get(number)
    }

    /// Whether a message to it is its first.
    pub fn is_new(&self, number: &PhoneNumber) -> bool {
        self.peer(number).is_none_or(Peer::is_new)
    }

    /// A campaign's message to one of them, and whether it may go now. One whose text cannot be made has failed.
    pub fn message(
        &self,
        campaign: &MessageCampaign,
        id: PhoneMessageId,
        number: &PhoneNumber,
        settings: &MessagingSettings,
        now: Timestamp,
    ) -> (PhoneMessage, Verdict) {
        let contact = self.contacts.get(number);
        let message = campaign.message(id, number, contact, settings.fallback.channels(), now);
        let timezone = contact.and_then(|contact| contact.timezone.as_deref());
        let verdict = verdict(&message, Recipient { peer: self.peer(number), timezone }, settings, now);
        (message, verdict)
    }
}

impl<'a> Room<'a> {
    pub async fn read(store: &TenantStore, allowed: Allowed<'a>) -> Result<Self> {
        let now = store.now();
        let places = MessagingQuota::places(allowed.plan, true, true, day(now));
        let used = try_join_all(places.iter().map(|place| store.find(&place.key))).await?;
        let left = |most: Option<u64>, used: Option<MessagingQuota>| Left {
            free: most.map(|most| most.saturating_sub(used.map_or(0, |used| used.n))),
            taken: 0,
        };
        let places = places
            .into_iter()
            .zip(used)
            .map(|(place, used)| {
                let left = left(place.most, used);
                (place, left)
            })
            .collect();
        Ok(Room { plan: allowed.plan, called: allowed.called, now, places })
    }

    /// Takes what a message needs. `Err`: what there is none of, until the next day.
    pub fn take(&mut self, is_new: bool) -> Result<(), Reason> {
        let needed = MessagingQuota::places(self.plan, true, is_new, day(self.now));
        let is_needed = |place: &Place| needed.iter().any(|needed| needed.name == place.name);
        let mut mine: Vec<_> = self.places.iter_mut().filter(|(place, _)| is_needed(place)).collect();
        if let Some((place, _)) = mine.iter().find(|(_, left)| left.free == Some(0)) {
            return Err(MessagingQuota::reason(place.name).unwrap_or(Reason::MessageLimit));
        }
        for (_, left) in &mut mine {
            *left = Left { free: left.free.map(|free| free - 1), taken: left.taken + 1 };
        }
        Ok(())
    }

    /// Places of that name that are left: `None`, where the plan has no limit of it.
    pub fn free(&self, name: &str) -> Option<u64> {
        self.places.iter().find(|(place, _)| place.name == name).and_then(|(_, left)| left.free)
    }

    /// Writes what was taken. The refusal is `PlanLimitReached`: others took some meanwhile.
    pub fn write<'t>(&self, transaction: Transaction<'t>, store: &TenantStore) -> Result<Transaction<'t>> {
        let mut taken = self.places.iter().filter(|(_, left)| left.taken > 0);
        taken.try_fold(transaction, |transaction, (place, left)| {
            let refusal = place.most.map_or_else(missing, |most| limit_reached(place.name, most, self.called));
            let by = i64::try_from(left.taken).unwrap_or(i64::MAX);
            transaction.tally_within(store, &place.key, ("n", by), place.most, refusal)
        })
    }
}

/// What becomes of a message when it is first written. `Err`: there is no place for it until the next day.
pub fn admitted(message: PhoneMessage, verdict: Verdict, room: &mut Room<'_>, is_new: bool) -> Result<PhoneMessage, Reason> {
    match verdict {
        _ if message.status == MessageStatus::Failed => Ok(message),
        Verdict::Blocked(reason) => Ok(message.blocked(reason).unqueued()),
        Verdict::Waits(reason, until) => Ok(message.held(reason, until).unqueued()),
        Verdict::May => room.take(is_new).map(|()| message),
    }
}

/// The numbers at some places of a campaign.
pub async fn numbers(store: &TenantStore, campaign: MessageCampaignId, places: Range<u64>) -> Result<Vec<PhoneNumber>> {
    if places.is_empty() {
        return Ok(vec![]);
    }
    let packs = store.find_many(&RecipientPack::around(campaign, places.clone())).await?;
    let numbers = packs.into_iter().flat_map(|pack| (pack.n * RecipientPack::SIZE..).zip(pack.numbers));
    Ok(numbers.filter(|(place, _)| places.contains(place)).map(|(_, number)| number).collect())
}

/// The numbers of the next contacts of a group that were there at a moment, and the last of these contacts.
pub async fn members(
    store: &TenantStore,
    group: ContactGroupId,
    after: Option<ContactId>,
    at: Timestamp,
    most: usize,
) -> Result<(Vec<PhoneNumber>, Option<ContactId>)> {
    let (mut numbers, mut after) = (vec![], after);
    while numbers.len() < most {
        let place = after.map(|contact| ContactGroupMember::key_of(group, contact));
        let wanted = TOGETHER.min(most - numbers.len());
        let (members, next) = store.after(&ContactGroupMember::of_group(group), place.as_ref(), wanted).await?;
        let keys: Vec<_> = members.iter().map(|member| Contact::key_of(member.contact)).collect();
        // What an edit that was cut off left behind is not in the group. And whoever came since may have a number that was read as somebody else's.
        let is_in = |contact: &Contact| contact.groups.contains(&group) && contact.created_at <= at;
        let contacts = store.find_many(&keys).await?;
        numbers.extend(contacts.into_iter().filter(is_in).map(|contact| contact.phone_number));
        after = members.last().map(|member| member.contact).or(after);
        if next.is_none() {
            break;
        }
    }
    Ok((numbers, after))
}

/// The message to each of these places as it is now: the last of those that were made for it.
pub async fn messages(
    store: &TenantStore,
    campaign: MessageCampaignId,
    first: &[PhoneMessageId],
) -> Result<BTreeMap<PhoneMessageId, PhoneMessage>> {
    let mut last: BTreeMap<PhoneMessageId, PhoneMessage> = BTreeMap::new();
    let mut wanted: Vec<(PhoneMessageId, PhoneMessageId)> = first.iter().map(|id| (*id, *id)).collect();
    while !wanted.is_empty() {
        let keys: Vec<_> = wanted.iter().map(|(_, id)| PhoneMessage::key_of(*id)).collect();
        let found = store.find_many(&keys).await?;
        let mut next = vec![];
        for (place, id) in wanted {
            // One that somebody sent again by itself is no message of the campaign.
            let Some(message) = found.iter().find(|message| message.id == id && message.campaign == Some(campaign)) else { continue };
            next.extend(message.replaced_by.map(|by| (place, by)));
            last.insert(place, message.clone());
        }
        wanted = next;
    }
    Ok(last)
}

pub async fn counts(store: &TenantStore, campaign: MessageCampaignId) -> Result<CampaignCounts> {
    Ok(CampaignCounts::sum(campaign, &store.find_many(&CampaignCounts::all_of(campaign)).await?))
}

/// What the lines that may send a campaign give to those who wait, in a minute.
pub fn per_minute(campaign: &MessageCampaign, pool: &LinePool, settings: &MessagingSettings) -> u64 {
    let channels = campaign.requested_channel.channels(settings.fallback.channels());
    let may = |line: &&PhoneLine| channels.iter().any(|channel| line.carries(*channel));
    pool.lines.iter().filter(may).map(PhoneLine::usual_per_minute).sum()
}

/// Brings a tenant's campaigns to mind at a moment.
pub fn remind<'a>(transaction: Transaction<'a>, directory: &Directory, store: &TenantStore, at: Timestamp) -> Result<Transaction<'a>> {
    transaction.put(directory, &DueMessages::new(at, store.tenant_id(), store.random()))
}

/// How far away the note is that finds a campaign whose turn was lost: further than a turn takes to be lost.
pub const WATCHED: SignedDuration = SignedDuration::from_mins(12);
