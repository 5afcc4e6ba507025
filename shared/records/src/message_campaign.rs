//! Campaigns of messages to phones: one text to many numbers, each with the values of its contact. What a campaign says is fixed when it is created. To whom
//! it goes lies in packs, how far it is in its progress, and what became of its messages in its counts, so that none of them waits for another.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use shared::ids::{self, Segment};
use shared::model::line::Channel;
use shared::model::phone_number::PhoneNumber;
use shared::store::{Collection, Counter, Entity, InTenant, Key, List, ListEntry, Listed, Named, Packed, Restore};
use shared::{Error, Result, id};

use crate::contact::{Contact, ContactId};
use crate::contact_group::ContactGroupId;
use crate::message_template::{MessageTemplateName, MessageType};
use crate::message_text::TemplateBody;
use crate::phone_message::{MessageStatus, NewMessage, PhoneMessage, PhoneMessageId, Reason, RequestedChannel};
use crate::quiet_hours::QuietMode;

id!(/// A campaign of messages to phones.
    MessageCampaignId = "cmp", time_ordered);

/// `message-campaigns` / `<id>`: in the order in which they were created. Those that have not ended have a line in the index `lists`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MessageCampaign {
    pub id: MessageCampaignId,
    pub name: String,
    /// The text, also where a template gave it: an edit of that changes nothing here.
    pub body: TemplateBody,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<MessageTemplateName>,
    pub message_type: MessageType,
    /// Values of the variables, for those whose contact has none of its own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
    pub requested_channel: RequestedChannel,
    /// `None`: as the tenant has set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_mode: Option<QuietMode>,
    /// Those who are in it when the campaign starts. `None`: its packs were written with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<ContactGroupId>,
    /// To how many numbers it goes; of a group, as soon as all of it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients: Option<u64>,
    pub status: MessageCampaignStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub version: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MessageCampaignStatus {
    Scheduled,
    Sending,
    Paused,
    /// Nothing waits any more.
    Completed,
    Cancelled,
    /// The same as `completed`, but nothing went out.
    Failed,
}

/// `message-campaign-packs` / `<campaign>#<n>`: numbers that it goes to, each once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientPack {
    pub campaign: MessageCampaignId,
    pub n: u64,
    pub numbers: Vec<PhoneNumber>,
}

/// `message-campaign-progress` / `<id>`: how far a campaign is that was started. One worker at a time moves it on: whose turn it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignProgress {
    pub campaign: MessageCampaignId,
    /// Its messages have ids of this moment.
    pub began_at: Timestamp,
    /// Of a group that is not all in packs yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gathering: Option<Gathering>,
    /// Numbers in packs.
    pub recipients: u64,
    /// Of how many there is a message, or none because of what `left_out` says.
    pub made: u64,
    /// Numbers were left out that would get their first message: the plan has no more of these today.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<Reason>,
    /// How far those that were left out earlier are tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<u64>,
    /// Its messages are gone through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub walk: Option<Walk>,
    /// Looks in a row that found nothing to do.
    #[serde(default)]
    pub idle: u32,
    /// When the next turn is due. `None`: at once, or none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// What the plan has none of until the next day, so that no further messages are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<Reason>,
    /// How often what failed was sent again.
    #[serde(default)]
    pub retries: u32,
    /// Until then there is a note that brings it to mind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watched_until: Option<Timestamp>,
    pub updated_at: Timestamp,
    /// Another one for each job.
    pub turn: u64,
    /// Another one for each write.
    pub version: u64,
}

/// How much of a group is in packs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gathering {
    /// The last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<ContactId>,
    pub packs: u64,
}

/// How far its messages were gone through, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walk {
    pub place: u64,
    /// Those that failed go again, with ids of this moment. `None`: what its state did to them before is undone or done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries_at: Option<Timestamp>,
}

/// What became of a recipient. The counts have a number for each but the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = MessageCampaignRecipientStatus)]
pub enum RecipientStatus {
    /// Their message is not made yet.
    Pending,
    Queued,
    Held,
    Sent,
    Delivered,
    Read,
    Failed,
    Blocked,
    Unknown,
    Cancelled,
}

/// `message-campaign-counts` / `<campaign>#<0 to 7>`: a part of the numbers of messages in each state. A message that moves takes itself off one number and
/// adds itself to another, in the transaction of its move; readers add the parts up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignCounts {
    pub campaign: MessageCampaignId,
    part: String,
    #[serde(default)]
    pub queued: i64,
    #[serde(default)]
    pub held: i64,
    #[serde(default)]
    pub sent: i64,
    #[serde(default)]
    pub delivered: i64,
    #[serde(default)]
    pub read: i64,
    #[serde(default)]
    pub failed: i64,
    #[serde(default)]
    pub blocked: i64,
    #[serde(default)]
    pub unknown: i64,
    #[serde(default)]
    pub cancelled: i64,
}

/// A job: a campaign shall go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdvanceMessageCampaign {
    pub campaign_turn: CampaignTurn,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignTurn {
    pub campaign: MessageCampaignId,
    pub turn: u64,
}

/// How long a campaign takes.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Messages that would be sent.
    pub messages: u64,
    /// Of them, those to numbers that never got one.
    pub new_contacts: u64,
    /// What the lines send in a minute.
    pub per_minute: u64,
    /// Messages and new contacts that the plan has left today, and has each day. `None`: no limit.
    pub messages_left: Option<(u64, u64)>,
    pub new_contacts_left: Option<(u64, u64)>,
    /// Until the next day.
    pub minutes_left_today: u64,
}

impl MessageCampaignStatus {
    pub const WORDS: &'static [&'static str] = &["scheduled", "sending", "paused", "completed", "cancelled", "failed"];
    const ALL: [MessageCampaignStatus; 6] = [
        MessageCampaignStatus::Scheduled,
        MessageCampaignStatus::Sending,
        MessageCampaignStatus::Paused,
        MessageCampaignStatus::Completed,
        MessageCampaignStatus::Cancelled,
        MessageCampaignStatus::Failed,
    ];

    pub fn parse(word: &str) -> Option<Self> {
        MessageCampaignStatus::WORDS.iter().position(|own| *own == word).map(|at| MessageCampaignStatus::ALL[at])
    }

    pub fn has_ended(self) -> bool {
        matches!(self, MessageCampaignStatus::Completed | MessageCampaignStatus::Cancelled | MessageCampaignStatus::Failed)
    }
}

impl MessageCampaign {
    pub const NOUN: &'static str = "Campaign";
    /// Numbers of one campaign.
    pub const MOST: usize = 10_000;
    /// Campaigns of a tenant that have not ended, and how many those may be.
    pub const OPEN: Counter = Counter::named("open_message_campaigns");
    pub const MOST_OPEN: u64 = 50;
    /// In characters.
    pub const NAME: usize = 255;
    /// Thirteen months, as its messages, and as long as it may be scheduled ahead.
    const KEPT: SignedDuration = SignedDuration::from_hours(24 * (396 + 90));

    pub fn etag(&self) -> String {
        format!("\"{}\"", self.version)
    }

    /// Its message to a number, queued; failed and with the text as it was written, where the values make no text.
    pub fn message(
        &self,
        id: PhoneMessageId,
        to: &PhoneNumber,
        contact: Option<&Contact>,
        auto: &[Channel],
        now: Timestamp,
    ) -> PhoneMessage {
        let message = |body| {
            let message = PhoneMessage::outbound(id, self.asked(to, body), auto, now);
            PhoneMessage { campaign: Some(self.id), ..message }
        };
        match self.body.rendered(&self.values(to, contact)) {
            Ok(body) => message(body),
            Err(problem) => {
                let is_missing = matches!(problem, Error::MissingTemplateVariables(_));
                let reason = if is_missing { Reason::MissingTemplateVar } else { Reason::InvalidText };
                message(self.body.as_str().to_owned()).failed(reason, now).unqueued()
            }
        }
    }

    fn asked(&self, to: &PhoneNumber, body: String) -> NewMessage {
        NewMessage {
            to: to.clone(),
            body,
            template: self.template.clone(),
            message_type: self.message_type,
            requested_channel: self.requested_channel,
            from_number: None,
            scheduled_at: None,
            valid_for: None,
            quiet_mode: self.quiet_mode,
            metadata: BTreeMap::new(),
        }
    }

    /// What a contact says of itself wins, and its name and address over its metadata.
    fn values(&self, to: &PhoneNumber, contact: Option<&Contact>) -> BTreeMap<String, String> {
        let mut values = self.data.clone();
        if let Some(contact) = contact {
            let texts = contact.metadata.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
            values.extend(texts);
            values.extend(contact.name.as_ref().map(|name| ("name".to_owned(), name.clone())));
            values.extend(contact.email.as_ref().map(|email| ("email".to_owned(), email.as_str().to_owned())));
        }
        values.insert("phone_number".into(), to.to_string());
        values
    }

    /// `None`: it was not waiting for its moment.
    pub fn started(&self, now: Timestamp) -> Option<Self> {
        let waits = self.status == MessageCampaignStatus::Scheduled;
        waits.then(|| MessageCampaign { started_at: Some(now), ..self.to(MessageCampaignStatus::Sending, now) })
    }

    /// All of its group is known.
    pub fn gathered(&self, recipients: u64, now: Timestamp) -> Self {
        MessageCampaign { recipients: Some(recipients), ..self.to(self.status, now) }
    }

    pub fn paused(&self, now: Timestamp) -> Option<Self> {
        (self.status == MessageCampaignStatus::Sending).then(|| self.to(MessageCampaignStatus::Paused, now))
    }

    pub fn resumed(&self, now: Timestamp) -> Option<Self> {
        (self.status == MessageCampaignStatus::Paused).then(|| self.to(MessageCampaignStatus::Sending, now))
    }

    pub fn cancelled(&self, now: Timestamp) -> Option<Self> {
        let has_ended = self.status.has_ended();
        (!has_ended).then(|| MessageCampaign { ended_at: Some(now), ..self.to(MessageCampaignStatus::Cancelled, now) })
    }

    /// Nothing waits any more.
    pub fn ended(&self, counts: &CampaignCounts, now: Timestamp) -> Self {
        let status = if counts.went_out() > 0 { MessageCampaignStatus::Completed } else { MessageCampaignStatus::Failed };
        MessageCampaign { ended_at: Some(now), ..self.to(status, now) }
    }

    /// What failed in it goes again.
    pub fn retried(&self, now: Timestamp) -> Option<Self> {
        let may = matches!(self.status, MessageCampaignStatus::Completed | MessageCampaignStatus::Failed);
        may.then(|| MessageCampaign { ended_at: None, ..self.to(MessageCampaignStatus::Sending, now) })
    }

    fn to(&self, status: MessageCampaignStatus, now: Timestamp) -> Self {
        MessageCampaign { status, updated_at: now, version: self.version + 1, ..self.clone() }
    }

    pub fn key_of(id: MessageCampaignId) -> Key<Self> {
        Key::new(&Collection::of::<MessageCampaign>(), id)
    }

    pub fn all() -> List<Self> {
        List::new(Collection::of::<MessageCampaign>(), "")
    }
}

/// What the index knows of a campaign that has not ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OpenCampaign {
    pub id: MessageCampaignId,
    pub status: MessageCampaignStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<MessageTemplateName>,
}

impl Listed for MessageCampaign {
    type Entry = OpenCampaign;

    fn entry(&self) -> OpenCampaign {
        OpenCampaign { id: self.id, status: self.status, scheduled_at: self.scheduled_at, template: self.template.clone() }
    }
}

impl Entity for MessageCampaign {
    type Scope = InTenant;
    const TYPE: &'static str = "message_campaign";
    const COLLECTION: &'static str = "message-campaigns";
    const NOUN: Option<&'static str> = Some(MessageCampaign::NOUN);
    const FREE: &'static [&'static str] = &["data"];
    /// What it had not sent is the other tenant's to send.
    const RESTORE: Option<Restore> = Some(|data| {
        let campaign: MessageCampaign = serde_json::from_value(data).ok()?;
        let updated_at = campaign.updated_at;
        Packed::of(&campaign.cancelled(updated_at).unwrap_or(campaign)).ok()
    });

    fn key(&self) -> Key<Self> {
        MessageCampaign::key_of(self.id)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }

    /// One that has not ended has its place among those.
    fn expires_at(&self) -> Option<Timestamp> {
        self.created_at.saturating_add(MessageCampaign::KEPT).ok().filter(|_| self.status.has_ended())
    }

    fn list_entry(&self) -> Result<Option<ListEntry>> {
        if self.status.has_ended() { Ok(None) } else { ListEntry::of(self) }
    }
}

impl Named for MessageCampaign {
    type Id = MessageCampaignId;

    fn places(id: MessageCampaignId) -> Vec<Key<Self>> {
        vec![MessageCampaign::key_of(id)]
    }
}

impl RecipientPack {
    /// Numbers of one.
    pub const SIZE: u64 = 250;

    /// In the order in which they are given.
    pub fn all_of(campaign: MessageCampaignId, numbers: &[PhoneNumber]) -> Vec<Self> {
        let packs = numbers.chunks(usize::try_from(RecipientPack::SIZE).unwrap_or(usize::MAX));
        (0..).zip(packs).map(|(n, numbers)| RecipientPack { campaign, n, numbers: numbers.to_vec() }).collect()
    }

    pub fn key_of(campaign: MessageCampaignId, n: u64) -> Key<Self> {
        Key::new(&Collection::of::<RecipientPack>(), PackKey(campaign, n))
    }

    /// The packs of some places, of which there is at least one.
    pub fn around(campaign: MessageCampaignId, places: Range<u64>) -> Vec<Key<Self>> {
        let (first, last) = (places.start / RecipientPack::SIZE, places.end.saturating_sub(1) / RecipientPack::SIZE);
        (first..=last).map(|n| RecipientPack::key_of(campaign, n)).collect()
    }
}

struct PackKey(MessageCampaignId, u64);

impl fmt::Display for PackKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{:05}", self.0, self.1)
    }
}

impl Segment for PackKey {}

struct CountsKey(MessageCampaignId, String);

impl fmt::Display for CountsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.0, self.1)
    }
}

impl Segment for CountsKey {}

/// Of its campaign: when that expires, what lies around it may go.
fn expires_with(campaign: MessageCampaignId) -> Option<Timestamp> {
    ids::moment_of(&campaign.0).saturating_add(MessageCampaign::KEPT).ok()
}

impl MessageCampaignId {
    /// The id of its message to the number at a place. Whoever makes that message again makes the same one.
    pub fn message(self, moment: Timestamp, place: u64) -> PhoneMessageId {
        let mut bytes = [0; 10];
        bytes[..6].copy_from_slice(&self.0.as_bytes()[10..]);
        bytes[6..].copy_from_slice(&u32::try_from(place).unwrap_or(u32::MAX).to_be_bytes());
        PhoneMessageId::from(ids::beginning(moment, bytes))
    }
}

impl Entity for RecipientPack {
    type Scope = InTenant;
    const TYPE: &'static str = "message_campaign_pack";
    const COLLECTION: &'static str = "message-campaign-packs";
    const AUDITED: bool = false;
    const RESTORE: Option<Restore> = Some(shared::store::restored::<RecipientPack>);

    fn key(&self) -> Key<Self> {
        RecipientPack::key_of(self.campaign, self.n)
    }

    fn expires_at(&self) -> Option<Timestamp> {
        expires_with(self.campaign)
    }
}

impl CampaignProgress {
    /// Looks that come by themselves.
    const LOOKS: u32 = 5;
    /// Rests, after which messages that do not move are to be queued again.
    const RESTS: u32 = 5;
    /// Minutes.
    const LONGEST_REST: i64 = 15;
    /// Longer than a turn takes to come.
    const LOST: SignedDuration = SignedDuration::from_mins(10);
    /// How often what failed may be sent again. Each time, one more message is read to know what became of a recipient.
    pub const MOST_RETRIES: u32 = 5;

    /// Of a campaign that starts.
    pub fn new(campaign: &MessageCampaign, now: Timestamp) -> Self {
        CampaignProgress {
            campaign: campaign.id,
            began_at: now,
            gathering: campaign.group.map(|_| Gathering::default()),
            recipients: campaign.recipients.unwrap_or(0),
            made: 0,
            left_out: None,
            again: None,
            walk: None,
            idle: 0,
            due_at: None,
            waits_for: None,
            retries: 0,
            watched_until: None,
            updated_at: now,
            turn: 1,
            version: 1,
        }
    }

    pub fn job(&self) -> AdvanceMessageCampaign {
        AdvanceMessageCampaign { campaign_turn: CampaignTurn { campaign: self.campaign, turn: self.turn } }
    }

    /// The id of the message to the number at a place.
    pub fn message(&self, place: u64) -> PhoneMessageId {
        self.campaign.message(self.began_at, place)
    }

    /// A part of the turn is done.
    pub fn on(self, now: Timestamp) -> Self {
        CampaignProgress { idle: 0, due_at: None, waits_for: None, updated_at: now, version: self.version + 1, ..self }
    }

    /// The next turn, at once or at a moment.
    pub fn next_turn(self, due_at: Option<Timestamp>, now: Timestamp) -> Self {
        CampaignProgress { due_at, updated_at: now, turn: self.turn + 1, version: self.version + 1, ..self }
    }

    /// The same for one that only waits for its messages: a few times, more and more rarely. Then it rests.
    pub fn later(self, now: Timestamp) -> Self {
        let idle = self.idle + 1;
        let after = match idle.checked_sub(CampaignProgress::LOOKS) {
            None => SignedDuration::from_secs(5 << (idle - 1)),
            Some(rests) => {
                return self.rests(now + SignedDuration::from_mins((1 << rests.min(8)).min(CampaignProgress::LONGEST_REST)), now);
            }
        };
        CampaignProgress { idle, waits_for: None, ..self.next_turn(Some(now + after), now) }
    }

    /// Until then, when a note of its tenant brings it to mind.
    pub fn rests(self, until: Timestamp, now: Timestamp) -> Self {
        let idle = (self.idle + 1).max(CampaignProgress::LOOKS);
        CampaignProgress { idle, due_at: Some(until), waits_for: None, updated_at: now, version: self.version + 1, ..self }
    }

    /// The same, because the plan has no more of something until then.
    pub fn waits(self, reason: Reason, until: Timestamp, now: Timestamp) -> Self {
        CampaignProgress { waits_for: Some(reason), ..self.rests(until, now) }
    }

    /// Not while a turn of it is on its way.
    pub fn is_resting(&self) -> bool {
        self.idle >= CampaignProgress::LOOKS && self.due_at.is_some()
    }

    /// Messages of it have not moved for half an hour and more.
    pub fn stands_still(&self) -> bool {
        self.idle >= CampaignProgress::LOOKS + CampaignProgress::RESTS
    }

    /// All messages are gone through, from the first.
    pub fn walking(self, retries_at: Option<Timestamp>, now: Timestamp) -> Self {
        let walk = (self.made > 0).then_some(Walk { place: 0, retries_at });
        CampaignProgress { walk, idle: 0, waits_for: None, ..self.next_turn(None, now) }
    }

    /// Whether it is to have a turn: its rest is over, or its turn was lost.
    pub fn wants_turn(&self, now: Timestamp) -> bool {
        let since = self.due_at.unwrap_or(self.updated_at);
        if self.is_resting() { since <= now } else { now.duration_since(since.max(self.updated_at)) >= CampaignProgress::LOST }
    }

    /// There is a note that comes by then.
    pub fn watched(self, until: Timestamp) -> Self {
        CampaignProgress { watched_until: Some(until), version: self.version + 1, ..self }
    }

    pub fn is_made(&self) -> bool {
        self.gathering.is_none() && self.places().is_none() && self.left_out.is_none()
    }

    /// Where messages are to be made now, and whether some may be there already.
    pub fn places(&self) -> Option<(u64, bool)> {
        match self.again {
            Some(place) => Some((place, true)),
            None => (self.made < self.recipients).then_some((self.made, false)),
        }
    }

    /// Messages are made up to that place. Behind the last one, those that were left out are next.
    pub fn made_up_to(self, place: u64, left_out: Option<Reason>) -> Self {
        let left_out = self.left_out.or(left_out);
        match self.again {
            Some(_) => CampaignProgress { again: (place < self.recipients).then_some(place), left_out, ..self },
            None => CampaignProgress { made: place, left_out, ..self },
        }
    }

    /// All were tried today, and some were left out: they are tried again the next day.
    pub fn begins_again(self, until: Timestamp, now: Timestamp) -> Option<Self> {
        let reason = self.left_out.filter(|_| self.places().is_none())?;
        Some(CampaignProgress { left_out: None, again: Some(0), ..self }.waits(reason, until, now))
    }

    pub fn key_of(id: MessageCampaignId) -> Key<Self> {
        Key::new(&Collection::of::<CampaignProgress>(), id)
    }
}

impl Entity for CampaignProgress {
    type Scope = InTenant;
    const TYPE: &'static str = "message_campaign_progress";
    const COLLECTION: &'static str = "message-campaign-progress";
    const AUDITED: bool = false;
    const RESTORE: Option<Restore> = Some(shared::store::restored::<CampaignProgress>);

    fn key(&self) -> Key<Self> {
        CampaignProgress::key_of(self.campaign)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }

    fn expires_at(&self) -> Option<Timestamp> {
        expires_with(self.campaign)
    }
}

impl RecipientStatus {
    pub const WORDS: &'static [&'static str] =
        &["pending", "queued", "held", "sent", "delivered", "read", "failed", "blocked", "unknown", "cancelled"];
    const ALL: [RecipientStatus; 10] = [
        RecipientStatus::Pending,
        RecipientStatus::Queued,
        RecipientStatus::Held,
        RecipientStatus::Sent,
        RecipientStatus::Delivered,
        RecipientStatus::Read,
        RecipientStatus::Failed,
        RecipientStatus::Blocked,
        RecipientStatus::Unknown,
        RecipientStatus::Cancelled,
    ];

    pub fn parse(word: &str) -> Option<Self> {
        RecipientStatus::WORDS.iter().position(|own| *own == word).map(|at| RecipientStatus::ALL[at])
    }

    pub fn word(self) -> &'static str {
        RecipientStatus::WORDS[self as usize]
    }

    /// By the state of their message.
    pub fn of(status: MessageStatus) -> Self {
        match status {
            MessageStatus::Scheduled | MessageStatus::Held => RecipientStatus::Held,
            MessageStatus::Queued | MessageStatus::Sending => RecipientStatus::Queued,
            MessageStatus::Sent | MessageStatus::Received => RecipientStatus::Sent,
            MessageStatus::Delivered => RecipientStatus::Delivered,
            MessageStatus::Read => RecipientStatus::Read,
            MessageStatus::Failed => RecipientStatus::Failed,
            MessageStatus::Blocked => RecipientStatus::Blocked,
            MessageStatus::Unknown => RecipientStatus::Unknown,
            MessageStatus::Cancelled => RecipientStatus::Cancelled,
        }
    }
}

impl CampaignCounts {
    const PARTS: u8 = 8;

    fn none(campaign: MessageCampaignId) -> Self {
        CampaignCounts {
            campaign,
            part: String::new(),
            queued: 0,
            held: 0,
            sent: 0,
            delivered: 0,
            read: 0,
            failed: 0,
            blocked: 0,
            unknown: 0,
            cancelled: 0,
        }
    }

    /// One of a few, without numbers.
    pub fn part(campaign: MessageCampaignId, spread: u8) -> Self {
        CampaignCounts { part: (spread % CampaignCounts::PARTS).to_string(), ..CampaignCounts::none(campaign) }
    }

    pub fn sum(campaign: MessageCampaignId, parts: &[Self]) -> Self {
        parts.iter().fold(CampaignCounts::none(campaign), |sum, part| CampaignCounts {
            campaign,
            part: sum.part,
            queued: sum.queued + part.queued,
            held: sum.held + part.held,
            sent: sum.sent + part.sent,
            delivered: sum.delivered + part.delivered,
            read: sum.read + part.read,
            failed: sum.failed + part.failed,
            blocked: sum.blocked + part.blocked,
            unknown: sum.unknown + part.unknown,
            cancelled: sum.cancelled + part.cancelled,
        })
    }

    /// The number of messages in a state.
    pub fn name(status: MessageStatus) -> &'static str {
        RecipientStatus::of(status).word()
    }

    /// What waits or is on its way.
    pub fn open(&self) -> i64 {
        self.queued + self.held
    }

    pub fn all(&self) -> i64 {
        self.open() + self.went_out() + self.failed + self.blocked + self.cancelled
    }

    /// What left, or may have.
    pub fn went_out(&self) -> i64 {
        self.sent + self.delivered + self.read + self.unknown
    }

    pub fn all_of(campaign: MessageCampaignId) -> Vec<Key<Self>> {
        (0..CampaignCounts::PARTS).map(|part| CampaignCounts::part(campaign, part).key()).collect()
    }
}

impl Entity for CampaignCounts {
    type Scope = InTenant;
    const TYPE: &'static str = "message_campaign_counts";
    const COLLECTION: &'static str = "message-campaign-counts";
    const AUDITED: bool = false;
    /// What waits is cancelled there, as its messages are.
    const RESTORE: Option<Restore> = Some(|data| {
        let counts: CampaignCounts = serde_json::from_value(data).ok()?;
        Packed::of(&CampaignCounts { queued: 0, held: 0, cancelled: counts.cancelled + counts.open(), ..counts }).ok()
    });

    fn key(&self) -> Key<Self> {
        Key::new(&Collection::of::<CampaignCounts>(), CountsKey(self.campaign, self.part.clone()))
    }

    fn expires_at(&self) -> Option<Timestamp> {
        expires_with(self.campaign)
    }
}

impl Load {
    /// In minutes, at least one where anything is sent.
    pub fn minutes(&self) -> u64 {
        let by_lines = self.messages.div_ceil(self.per_minute.max(1));
        let last_day = [(self.messages, self.messages_left), (self.new_contacts, self.new_contacts_left)]
            .into_iter()
            .filter_map(|(wanted, left)| left.map(|(today, each)| wanted.saturating_sub(today).div_ceil(each.max(1))))
            .max()
            .unwrap_or(0);
        match last_day {
            0 => by_lines,
            days => by_lines.max(self.minutes_left_today + (days - 1) * 24 * 60 + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared::crypto::Random;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn campaign(body: &str, data: &[(&str, &str)]) -> MessageCampaign {
        MessageCampaign {
            id: MessageCampaignId::new(NOW, &Random::seeded(1)),
            name: "Spring".into(),
            body: TemplateBody::parse(body).unwrap(),
            template: None,
            message_type: MessageType::Marketing,
            data: data.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            requested_channel: RequestedChannel::Auto,
            quiet_mode: None,
            group: None,
            recipients: Some(3),
            status: MessageCampaignStatus::Scheduled,
            scheduled_at: Some(NOW),
            started_at: None,
            ended_at: None,
            created_at: NOW,
            updated_at: NOW,
            version: 1,
        }
    }

    #[test]
    fn each_place_has_an_id_of_its_own_and_the_same_one_each_time() {
        let id = campaign("x", &[]).id;
        let ids: std::collections::BTreeSet<_> = (0..10_000).map(|place| id.message(NOW, place)).collect();
        assert_eq!((ids.len(), id.message(NOW, 9_999)), (10_000, *ids.last().unwrap()));
        let another = MessageCampaignId::new(NOW, &Random::seeded(2));
        let later = NOW + SignedDuration::from_millis(1);
        assert!(!ids.contains(&another.message(NOW, 7)) && !ids.contains(&id.message(later, 7)));
    }

    #[test]
    fn what_a_contact_says_of_itself_wins_and_its_fields_over_its_metadata() {
        let number = PhoneNumber::parse("+12125550101").unwrap();
        let campaign = campaign("{{name}} {{city}} {{phone_number}}", &[("name", "you"), ("city", "town"), ("phone_number", "0")]);
        let mut ada = Contact::new(ContactId::new(NOW, &Random::seeded(1)), number.clone(), NOW);
        ada.metadata = json!({"city": "London", "name": "not this"}).as_object().unwrap().clone();
        ada.name = Some("Ada".into());
        let id = campaign.id.message(NOW, 0);
        let said = |contact| campaign.message(id, &number, contact, &[], NOW).body;
        assert_eq!((said(Some(&ada)), said(None)), ("Ada London +12125550101".into(), "you town +12125550101".into()));
    }

    #[test]
    fn a_text_that_cannot_be_made_has_failed_before_it_was_queued() {
        let number = PhoneNumber::parse("+12125550101").unwrap();
        let long = "x".repeat(500);
        for (body, data, reason) in [
            ("Hi {{name}}", vec![], Reason::MissingTemplateVar),
            ("{{a}}{{a}}{{a}}{{a}}", vec![("a", long.as_str())], Reason::InvalidText),
            ("{{a}}", vec![("a", " ")], Reason::InvalidText),
        ] {
            let campaign = campaign(body, &data);
            let message = campaign.message(campaign.id.message(NOW, 0), &number, None, &[], NOW);
            assert_eq!((message.status, message.reason, message.queued_at), (MessageStatus::Failed, Some(reason), None), "{body}");
            assert_eq!((message.body.as_str(), message.campaign), (body, Some(campaign.id)));
        }
    }

    #[test]
    fn each_state_leads_to_some_and_an_end_is_one() {
        let scheduled = campaign("x", &[]);
        let sending = scheduled.started(NOW).unwrap();
        let paused = sending.paused(NOW).unwrap();
        let sent = CampaignCounts { delivered: 1, ..CampaignCounts::none(scheduled.id) };
        let completed = sending.ended(&sent, NOW);
        let failed = sending.ended(&CampaignCounts { blocked: 3, ..CampaignCounts::none(scheduled.id) }, NOW);
        let cancelled = paused.cancelled(NOW).unwrap();
        assert_eq!((completed.status, failed.status), (MessageCampaignStatus::Completed, MessageCampaignStatus::Failed));
        // Started, paused, resumed, cancelled, retried.
        for (campaign, may) in [
            (&scheduled, [true, false, false, true, false]),
            (&sending, [false, true, false, true, false]),
            (&paused, [false, false, true, true, false]),
            (&completed, [false, false, false, false, true]),
            (&failed, [false, false, false, false, true]),
            (&cancelled, [false, false, false, false, false]),
        ] {
            let done = [campaign.started(NOW), campaign.paused(NOW), campaign.resumed(NOW), campaign.cancelled(NOW), campaign.retried(NOW)];
            assert_eq!(done.map(|done| done.is_some()), may, "{:?}", campaign.status);
        }
        assert!(completed.ended_at.is_some() && completed.retried(NOW).unwrap().ended_at.is_none());
    }

    #[test]
    fn each_state_of_a_message_has_its_number_in_the_counts() {
        assert_eq!(RecipientStatus::ALL.map(RecipientStatus::word), RecipientStatus::WORDS);
        let counts = serde_json::to_value(CampaignCounts::none(campaign("x", &[]).id)).unwrap();
        assert!(RecipientStatus::WORDS[1..].iter().all(|word| counts[word] == 0), "{counts}");
    }

    #[test]
    fn packs_hold_all_numbers_in_their_order() {
        let id = campaign("x", &[]).id;
        let numbers: Vec<_> = (0..501).map(|n| PhoneNumber::parse(&format!("+1212555{n:04}")).unwrap()).collect();
        let packs = RecipientPack::all_of(id, &numbers);
        assert_eq!(packs.iter().map(|pack| pack.numbers.len()).collect::<Vec<_>>(), [250, 250, 1]);
        assert_eq!(packs.iter().flat_map(|pack| pack.numbers.clone()).collect::<Vec<_>>(), numbers);
        let around = |places: Range<u64>| RecipientPack::around(id, places).len();
        assert_eq!((around(0..250), around(249..251), around(250..500), around(0..501)), (1, 2, 1, 3));
    }

    #[test]
    fn it_takes_as_long_as_lines_and_plan_ask_for() {
        let load =
            Load { messages: 100, new_contacts: 80, per_minute: 30, messages_left: None, new_contacts_left: None, minutes_left_today: 120 };
        assert_eq!(load.minutes(), 4);
        assert_eq!(Load { messages: 0, ..load }.minutes(), 0);
        let of_contacts = |left| Load { new_contacts_left: Some(left), ..load }.minutes();
        assert_eq!(
            (of_contacts((80, 10)), of_contacts((75, 5)), of_contacts((0, 40)), of_contacts((0, 0))),
            (4, 121, 1_561, 120 + 79 * 1_440 + 1)
        );
        assert_eq!(Load { messages_left: Some((10, 90)), per_minute: 0, ..load }.minutes(), 121);
    }

    #[test]
    fn looks_become_rare_and_then_it_rests_longer_and_longer() {
        let progress = CampaignProgress::new(&campaign("x", &[]), NOW);
        let (mut looking, mut waits) = (progress.clone(), vec![]);
        while !looking.stands_still() {
            looking = looking.later(NOW);
            waits.extend(looking.due_at.map(|due| due.duration_since(NOW).as_secs()));
        }
        assert_eq!((waits, looking.turn), (vec![5, 10, 20, 40, 60, 120, 240, 480, 900, 900], 5));
        let minutes = |minutes| NOW + SignedDuration::from_mins(minutes);
        assert!(!looking.wants_turn(minutes(14)) && looking.wants_turn(minutes(15)));
        // With something to do, it is as new.
        let brought = looking.clone().next_turn(None, NOW);
        assert!(!brought.is_resting() && !brought.wants_turn(minutes(9)) && brought.wants_turn(minutes(10)));
        assert!(brought.later(NOW).is_resting() && !looking.on(NOW).is_resting());
        assert!(!progress.wants_turn(minutes(9)) && progress.wants_turn(minutes(10)));
        let waiting = progress.waits(Reason::NewContactLimit, minutes(60), NOW);
        assert!(waiting.is_resting() && !waiting.wants_turn(minutes(59)) && waiting.wants_turn(minutes(60)));
        assert_eq!((waiting.waits_for, waiting.walking(None, NOW).waits_for), (Some(Reason::NewContactLimit), None));
    }
}
