//! Messages to and from phones. A message goes through states, of which only some follow each other; what a carrier reports late or twice moves nothing back.
//! What a move counts follows from the two states alone.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use shared::model::line::{Channel, LineId};
use shared::model::phone_number::PhoneNumber;
use shared::store::{Collection, Entity, InTenant, Key, List, ListEntry, Listed, Named, Packed, Restore};
use shared::{Result, id};

use crate::message_campaign::{CampaignCounts, MessageCampaignId};
use crate::message_template::{MessageTemplateName, MessageType};
use crate::quiet_hours::QuietMode;
use crate::sms::Sms;

id!(/// A message to or from a phone.
    PhoneMessageId = "msg", time_ordered);

impl From<PhoneMessageId> for shared::ids::Uuid {
    fn from(id: PhoneMessageId) -> Self {
        id.0
    }
}

impl From<shared::ids::Uuid> for PhoneMessageId {
    fn from(id: shared::ids::Uuid) -> Self {
        PhoneMessageId(id)
    }
}

impl PhoneMessageId {
    /// The same for the same moment and name, whoever makes it: for what somebody else has a name for. `name` is a hash.
    pub fn of(at: Timestamp, name: &str) -> Self {
        let mut bytes = [0; 10];
        bytes.iter_mut().zip(name.bytes()).for_each(|(byte, of_name)| *byte = of_name);
        PhoneMessageId(shared::ids::beginning(at, bytes))
    }
}

/// `phone-messages` / `<id>`: in the order in which they were accepted or came in. Those that wait have a line in the index `lists`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhoneMessage {
    pub id: PhoneMessageId,
    pub direction: Way,
    pub to: PhoneNumber,
    /// Of what was sent: the line's, as soon as one is chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<PhoneNumber>,
    pub body: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<MessageTemplateName>,
    /// The campaign that it is of, whose counts move with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaign: Option<MessageCampaignId>,
    pub message_type: MessageType,
    pub requested_channel: RequestedChannel,
    /// By which it may go, in the order in which they are tried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<Channel>,
    /// By which it goes, or went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// Whether `from` was asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_named_line: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<LineId>,
    pub status: MessageStatus,
    /// Of marketing: what becomes of it at night, where the sender has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_mode: Option<QuietMode>,
    /// The answer to a keyword, which goes whatever stands in the way of others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_confirmation: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    pub created_at: Timestamp,
    /// Not sent any more after that.
    pub valid_until: Timestamp,
    /// When it is to be looked at: of what waits, of what is queued until the line's turn, and of what nobody knows of until its carrier would have said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// Since when a worker has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sending_since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<Timestamp>,
    /// The message that was sent instead of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<PhoneMessageId>,
    pub version: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = MessageDirection)]
pub enum Way {
    Outbound,
    Inbound,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PhoneMessageStatus)]
pub enum MessageStatus {
    /// Until a moment that was asked for.
    Scheduled,
    /// Until what is in its way is over; see `reason`.
    Held,
    Queued,
    /// A worker gives it to the carrier. Shown as `queued`.
    Sending,
    Sent,
    Delivered,
    Read,
    Failed,
    Blocked,
    /// Nobody knows whether it went out. It is not sent again.
    Unknown,
    Cancelled,
    /// It came in.
    Received,
}

/// Why a message waits, was not sent or did not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = MessageReason)]
pub enum Reason {
    OptedOut,
    /// The number seems to have said no, in other words than a keyword.
    OptOutSuspected,
    /// Marketing without the consent that the tenant asks for.
    NoConsent,
    /// It is night where the number is.
    QuietHours,
    /// The day's new contacts of the plan are used up.
    NewContactLimit,
    /// The month's.
    NewContactMonthLimit,
    /// The day's messages.
    MessageLimit,
    MessageMonthLimit,
    /// Each line that could send it is at the end of its day, or of its minutes.
    LineBusy,
    /// Each line that could send it belongs, for this number, to somebody else.
    NoLine,
    TenantSuspended,
    CampaignPaused,
    /// A variable of its campaign's text has no value for its number.
    MissingTemplateVar,
    /// Its campaign's text, with the values of its number, is no message.
    InvalidText,
    Expired,
    NoImessage,
    NoRcs,
    Unreachable,
    Rejected,
    RateLimited,
    CarrierError,
    /// The carrier was asked and did not answer.
    NoAnswer,
    /// It was asked and did not answer, and has not reported anything for longer than it keeps a message.
    NeverAccepted,
}

/// What was asked for. `auto`: iMessage, else RCS, else SMS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RequestedChannel {
    Auto,
    Imessage,
    Rcs,
    Sms,
}

/// One call of a carrier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    pub channel: Channel,
    pub line: LineId,
    pub tried_at: Timestamp,
    pub outcome: AttemptOutcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    Taken,
    /// Not now.
    Later,
    /// Never by this channel.
    Refused,
    Unknown,
}

/// What is asked for by whoever sends.
#[derive(Debug, Clone)]
pub struct NewMessage {
    pub to: PhoneNumber,
    pub body: String,
    pub template: Option<MessageTemplateName>,
    pub message_type: MessageType,
    pub requested_channel: RequestedChannel,
    pub from_number: Option<PhoneNumber>,
    pub scheduled_at: Option<Timestamp>,
    /// `None`: as long as a message of its type is worth something.
    pub valid_for: Option<SignedDuration>,
    /// Of marketing. `None`: as the tenant has set it.
    pub quiet_mode: Option<QuietMode>,
    pub metadata: BTreeMap<String, String>,
}

/// What a carrier reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    pub status: Reported,
    pub reason: Option<Reason>,
    pub channel: Option<Channel>,
    pub at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    Sent,
    Delivered,
    Read,
    Failed,
}

/// Numbers of a day of usage that a move adds to.
pub type Tally = Vec<(&'static str, i64)>;

impl Way {
    pub const WORDS: &'static [&'static str] = &["outbound", "inbound"];

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "outbound" => Some(Way::Outbound),
            "inbound" => Some(Way::Inbound),
            _ => None,
        }
    }
}

impl MessageStatus {
    pub const WORDS: &'static [&'static str] =
        &["scheduled", "held", "queued", "sent", "delivered", "read", "failed", "blocked", "unknown", "cancelled", "received"];

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "scheduled" => Some(MessageStatus::Scheduled),
            "held" => Some(MessageStatus::Held),
            "queued" => Some(MessageStatus::Queued),
            "sent" => Some(MessageStatus::Sent),
            "delivered" => Some(MessageStatus::Delivered),
            "read" => Some(MessageStatus::Read),
            "failed" => Some(MessageStatus::Failed),
            "blocked" => Some(MessageStatus::Blocked),
            "unknown" => Some(MessageStatus::Unknown),
            "cancelled" => Some(MessageStatus::Cancelled),
            "received" => Some(MessageStatus::Received),
            _ => None,
        }
    }

    /// As people see it.
    pub fn shown(self) -> Self {
        if self == MessageStatus::Sending { MessageStatus::Queued } else { self }
    }

    /// Whether nothing goes out before something else happens.
    pub fn is_waiting(self) -> bool {
        matches!(self, MessageStatus::Scheduled | MessageStatus::Held)
    }

    /// Whether it left.
    fn is_out(self) -> bool {
        matches!(self, MessageStatus::Sent | MessageStatus::Delivered | MessageStatus::Read)
    }

    /// Which states follow this one.
    fn leads_to(self, next: MessageStatus) -> bool {
        use MessageStatus::{Blocked, Cancelled, Delivered, Failed, Held, Queued, Read, Received, Scheduled, Sending, Sent, Unknown};
        match self {
            Scheduled => matches!(next, Queued | Held | Blocked | Cancelled | Failed),
            Held => matches!(next, Held | Queued | Blocked | Cancelled | Failed | Unknown),
            // Unknown: it was given to a carrier that did not answer, and is not asked again.
            Queued => matches!(next, Queued | Sending | Held | Blocked | Cancelled | Failed | Unknown),
            Sending => matches!(next, Sending | Sent | Delivered | Read | Failed | Unknown | Queued | Blocked | Held),
            Unknown => matches!(next, Sent | Delivered | Read | Failed),
            Sent => matches!(next, Delivered | Read | Failed),
            Delivered => matches!(next, Read),
            Read | Failed | Blocked | Cancelled | Received => false,
        }
    }
}

impl Reason {
    /// Of what a gateway says. Other words are an error of the carrier.
    pub fn reported(word: &str) -> Self {
        match word {
            "no_imessage" => Reason::NoImessage,
            "no_rcs" => Reason::NoRcs,
            "unreachable" | "unreachable_number" => Reason::Unreachable,
            "rejected" => Reason::Rejected,
            "rate_limited" => Reason::RateLimited,
            "opted_out" => Reason::OptedOut,
            _ => Reason::CarrierError,
        }
    }
}

impl RequestedChannel {
    pub const WORDS: &'static [&'static str] = &["auto", "imessage", "rcs", "sms"];

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(RequestedChannel::Auto),
            "imessage" => Some(RequestedChannel::Imessage),
            "rcs" => Some(RequestedChannel::Rcs),
            "sms" => Some(RequestedChannel::Sms),
            _ => None,
        }
    }

    /// In the order in which they are tried; `auto` as its tenant has set it.
    pub fn channels(self, auto: &[Channel]) -> Vec<Channel> {
        match self {
            RequestedChannel::Auto => auto.to_vec(),
            RequestedChannel::Imessage => vec![Channel::Imessage],
            RequestedChannel::Rcs => vec![Channel::Rcs],
            RequestedChannel::Sms => vec![Channel::Sms],
        }
    }
}

impl From<Channel> for RequestedChannel {
    fn from(channel: Channel) -> Self {
        match channel {
            Channel::Imessage => RequestedChannel::Imessage,
            Channel::Rcs => RequestedChannel::Rcs,
            Channel::Sms => RequestedChannel::Sms,
        }
    }
}

impl MessageType {
    /// How long a message of this type is worth something.
    pub fn validity(self) -> SignedDuration {
        match self {
            MessageType::Otp => SignedDuration::from_mins(10),
            MessageType::Alert => SignedDuration::from_hours(24),
            MessageType::Marketing => SignedDuration::from_hours(72),
        }
    }
}

impl PhoneMessage {
    pub const NOUN: &'static str = "Message";
    /// Longer than a worker lives after it took one.
    pub const LEASE: SignedDuration = SignedDuration::from_secs(60);
    /// Longer than a queue keeps a job to itself with all its tries.
    const LOST: SignedDuration = SignedDuration::from_mins(30);
    /// AWS End User Messaging reports the end of each message that it accepted within 72 hours
    /// <https://docs.aws.amazon.com/sms-voice/latest/userguide/configuration-sets-event-types.html>, and reports take their time.
    const REPORTED: SignedDuration = SignedDuration::from_hours(73);
    /// Thirteen months.
    const KEPT: SignedDuration = SignedDuration::from_hours(24 * 396);
    /// Of which a message keeps the newest.
    const ATTEMPTS: usize = 20;

    /// To be sent, now or at a moment. `auto`: the channels that its tenant has set for that.
    pub fn outbound(id: PhoneMessageId, new: NewMessage, auto: &[Channel], now: Timestamp) -> Self {
        let NewMessage { to, body, template, message_type, requested_channel, from_number, scheduled_at, valid_for, quiet_mode, metadata } =
            new;
        let validity = valid_for.unwrap_or(message_type.validity());
        PhoneMessage {
            id,
            direction: Way::Outbound,
            to,
            has_named_line: from_number.is_some(),
            from: from_number,
            body,
            template,
            campaign: None,
            message_type,
            requested_channel,
            channels: requested_channel.channels(auto),
            quiet_mode,
            is_confirmation: false,
            channel: None,
            line: None,
            status: if scheduled_at.is_some() { MessageStatus::Scheduled } else { MessageStatus::Queued },
            reason: None,
            metadata,
            attempts: vec![],
            created_at: now,
            valid_until: scheduled_at.unwrap_or(now).saturating_add(validity).unwrap_or(Timestamp::MAX),
            due_at: scheduled_at,
            sending_since: None,
            scheduled_at,
            queued_at: scheduled_at.is_none().then_some(now),
            sent_at: None,
            delivered_at: None,
            read_at: None,
            failed_at: None,
            replaced_by: None,
            version: 1,
        }
    }

    /// It came in on a line.
    pub fn inbound(id: PhoneMessageId, came: Inbound, now: Timestamp) -> Self {
        let Inbound { peer, line, line_number, channel, body } = came;
        PhoneMessage {
            id,
            direction: Way::Inbound,
            to: line_number,
            from: Some(peer),
            body,
            template: None,
            campaign: None,
            message_type: MessageType::Alert,
            requested_channel: RequestedChannel::from(channel),
            channels: vec![],
            quiet_mode: None,
            is_confirmation: false,
            channel: Some(channel),
            has_named_line: false,
            line: Some(line),
            status: MessageStatus::Received,
            reason: None,
            metadata: BTreeMap::new(),
            attempts: vec![],
            created_at: now,
            valid_until: now,
            due_at: None,
            sending_since: None,
            scheduled_at: None,
            queued_at: None,
            sent_at: None,
            delivered_at: None,
            read_at: None,
            failed_at: None,
            replaced_by: None,
            version: 1,
        }
    }

    pub fn etag(&self) -> String {
        format!("\"{}\"", self.version)
    }

    /// What a new message like this one asks for: now, and as long as one of its type is worth something.
    pub fn again(&self) -> NewMessage {
        NewMessage {
            to: self.to.clone(),
            body: self.body.clone(),
            template: self.template.clone(),
            message_type: self.message_type,
            requested_channel: self.requested_channel,
            from_number: self.from.clone().filter(|_| self.has_named_line),
            scheduled_at: None,
            valid_for: None,
            quiet_mode: self.quiet_mode,
            metadata: self.metadata.clone(),
        }
    }

    /// Another message was sent instead.
    pub fn replaced(&self, by: PhoneMessageId) -> Self {
        PhoneMessage { replaced_by: Some(by), version: self.version + 1, ..self.clone() }
    }

    /// The answer to a keyword, on the line and by the channel on which it came.
    pub fn confirmation(id: PhoneMessageId, to: &Self, text: String, now: Timestamp) -> Option<Self> {
        let (number, channel) = to.from.clone().zip(to.channel)?;
        let new = NewMessage {
            to: number,
            body: text,
            template: None,
            message_type: MessageType::Alert,
            requested_channel: channel.into(),
            from_number: Some(to.to.clone()),
            scheduled_at: None,
            valid_for: None,
            quiet_mode: None,
            metadata: BTreeMap::new(),
        };
        Some(PhoneMessage { is_confirmation: true, ..PhoneMessage::outbound(id, new, &[], now) })
    }

    /// The other party's number.
    pub fn peer(&self) -> &PhoneNumber {
        match (self.direction, &self.from) {
            (Way::Inbound, Some(from)) => from,
            _ => &self.to,
        }
    }

    /// As SMS.
    pub fn segments(&self) -> u64 {
        Sms::of(&self.body).segments
    }

    pub fn is_urgent(&self) -> bool {
        self.message_type == MessageType::Otp
    }

    /// Whether it has its place among the plan's messages.
    pub fn is_counted(&self) -> bool {
        self.queued_at.is_some()
    }

    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.valid_until <= now
    }

    /// The channels that are worth a try, in their order: each is tried until a carrier says that it never goes by it.
    pub fn next_channels(&self) -> Vec<Channel> {
        let refused = |channel: &Channel| {
            self.attempts.iter().any(|attempt| attempt.channel == *channel && attempt.outcome == AttemptOutcome::Refused)
        };
        self.channels.iter().copied().filter(|channel| !refused(channel)).collect()
    }

    /// It waits for its turn no longer.
    pub fn queued(&self, now: Timestamp) -> Self {
        let moved = self.to(MessageStatus::Queued, None);
        PhoneMessage { queued_at: self.queued_at.or(Some(now)), line: None, ..moved }
    }

    /// Its turn on a line comes at a moment.
    pub fn at_turn(&self, line: LineId, at: Timestamp) -> Self {
        PhoneMessage { due_at: Some(at), line: Some(line), ..self.to(MessageStatus::Queued, None) }
    }

    /// The carrier did not take it. It is tried again, on whatever line: now, or at a moment.
    pub fn later(&self, at: Option<Timestamp>, reason: Option<Reason>) -> Self {
        PhoneMessage { due_at: at, line: None, ..self.to(MessageStatus::Queued, reason) }
    }

    /// The carrier did not answer. It is asked again at a moment, on the same line by the same channel.
    pub fn asked_again(&self, at: Timestamp) -> Self {
        PhoneMessage { due_at: Some(at), ..self.to(MessageStatus::Queued, Some(Reason::NoAnswer)) }
    }

    /// Whether a carrier was asked that may have it.
    pub fn is_unanswered(&self) -> bool {
        self.status == MessageStatus::Sending || self.was_unanswered()
    }

    /// The same by the calls that ended: a later one that was not taken does not say that an earlier one was not.
    pub fn was_unanswered(&self) -> bool {
        let last = self.attempts.iter().rev().find(|attempt| attempt.outcome != AttemptOutcome::Later);
        last.is_some_and(|attempt| attempt.outcome == AttemptOutcome::Unknown)
    }

    pub fn tries(&self, outcome: AttemptOutcome) -> usize {
        self.attempts.iter().filter(|attempt| attempt.outcome == outcome).count()
    }

    /// Why it did not go by the last channel.
    pub fn last_reason(&self) -> Reason {
        self.reason.unwrap_or(Reason::CarrierError)
    }

    /// What waited with its campaign is worth as much as a new one.
    pub fn renewed(&self, now: Timestamp) -> Self {
        PhoneMessage { valid_until: now + self.message_type.validity(), ..self.clone() }
    }

    /// A job of it got lost, if it has not moved for so long: as it is queued again.
    pub fn nudged(&self, now: Timestamp) -> Option<Self> {
        let since = match self.status {
            MessageStatus::Queued => self.due_at.or(self.queued_at)?,
            MessageStatus::Sending => self.sending_since?,
            _ => return None,
        };
        if now.duration_since(since) < PhoneMessage::LOST {
            return None;
        }
        match self.status {
            MessageStatus::Sending => Some(self.with_attempt(AttemptOutcome::Unknown, since).asked_again(now)),
            _ if self.was_unanswered() => Some(self.asked_again(now)),
            _ => Some(self.later(Some(now), self.reason)),
        }
    }

    pub fn held(&self, reason: Reason, until: Timestamp) -> Self {
        PhoneMessage { due_at: Some(until.min(self.valid_until)), line: None, ..self.to(MessageStatus::Held, Some(reason)) }
    }

    /// As it is first written, where it was not queued: it has no place among the plan's messages.
    pub fn unqueued(self) -> Self {
        PhoneMessage { queued_at: None, version: 1, ..self }
    }

    /// A worker has it, to give it to a line.
    pub fn taken(&self, line: LineId, number: &PhoneNumber, channel: Channel, now: Timestamp) -> Self {
        let moved = self.to(MessageStatus::Sending, None);
        PhoneMessage { line: Some(line), from: Some(number.clone()), channel: Some(channel), sending_since: Some(now), ..moved }
    }

    /// The same, and what the carrier said. Only of one that is being sent.
    pub fn with_attempt(&self, outcome: AttemptOutcome, now: Timestamp) -> Self {
        let mut attempts = self.attempts.clone();
        if let Some((line, channel)) = self.line.zip(self.channel) {
            attempts.push(Attempt { channel, line, tried_at: now, outcome });
        }
        // What says by which channels it never goes stays.
        while attempts.len() > PhoneMessage::ATTEMPTS {
            let oldest = attempts.iter().position(|attempt| attempt.outcome == AttemptOutcome::Later).unwrap_or(0);
            attempts.remove(oldest);
        }
        PhoneMessage { attempts, ..self.clone() }
    }

    pub fn blocked(&self, reason: Reason) -> Self {
        self.to(MessageStatus::Blocked, Some(reason))
    }

    pub fn failed(&self, reason: Reason, now: Timestamp) -> Self {
        PhoneMessage { failed_at: Some(now), ..self.to(MessageStatus::Failed, Some(reason)) }
    }

    pub fn unknown(&self) -> Self {
        self.to(MessageStatus::Unknown, Some(Reason::NoAnswer))
    }

    /// The same, of a carrier that does not take a message once only, and so is never asked again. It reports each message that it has.
    pub fn unknown_until_reported(&self, now: Timestamp) -> Self {
        PhoneMessage { due_at: Some(now + PhoneMessage::REPORTED), ..self.unknown() }
    }

    /// Whether something becomes of it at a moment, whatever else happens.
    pub fn is_awaited(&self) -> bool {
        self.due_at.is_some() && (self.status.is_waiting() || self.status == MessageStatus::Unknown)
    }

    /// `None`: it is too late.
    pub fn cancelled(&self) -> Option<Self> {
        (self.status.leads_to(MessageStatus::Cancelled) && !self.is_unanswered()).then(|| self.to(MessageStatus::Cancelled, None))
    }

    /// As another tenant keeps it: it sends nothing of it.
    pub fn elsewhere(self) -> Self {
        use MessageStatus::{Cancelled, Held, Queued, Scheduled, Sending};
        match self.status {
            Scheduled | Held | Queued | Sending => {
                PhoneMessage { status: Cancelled, due_at: None, sending_since: None, line: None, ..self }
            }
            _ => PhoneMessage { line: None, due_at: None, ..self },
        }
    }

    /// What a carrier reports. `None`: it says nothing new.
    pub fn reported(&self, report: Report) -> Option<Self> {
        let at = report.at.max(self.created_at);
        // It went out before it failed, whichever is told first.
        let is_refused = self.attempts.last().is_some_and(|attempt| attempt.outcome == AttemptOutcome::Refused);
        if (self.status, report.status) == (MessageStatus::Failed, Reported::Sent) && self.sent_at.is_none() {
            let went_out = PhoneMessage { sent_at: Some(at), version: self.version + 1, ..self.clone() };
            return (self.sending_since.is_some() && !is_refused).then_some(went_out);
        }
        let status = match report.status {
            Reported::Sent => MessageStatus::Sent,
            Reported::Delivered => MessageStatus::Delivered,
            Reported::Read => MessageStatus::Read,
            Reported::Failed => MessageStatus::Failed,
        };
        let is_by_another = report.channel.is_some() && report.channel != self.channel;
        let is_asked =
            matches!(self.status, MessageStatus::Sending | MessageStatus::Sent | MessageStatus::Unknown) || self.was_unanswered();
        // Of a channel that is tried no longer.
        if status == MessageStatus::Failed && (is_by_another || !is_asked) {
            return None;
        }
        // A carrier that reports it has it, even where the worker that gave it away has not said so, or was about to try again.
        let has_it = self.attempts.iter().any(|attempt| attempt.outcome != AttemptOutcome::Refused) || self.sending_since.is_some();
        let known = match self.status {
            MessageStatus::Queued | MessageStatus::Held if has_it => PhoneMessage { status: MessageStatus::Sending, ..self.clone() },
            _ => self.clone(),
        };
        let reason = (status == MessageStatus::Failed).then(|| report.reason.unwrap_or(Reason::CarrierError));
        if !known.status.leads_to(status) {
            return None;
        }
        let moved = known.to(status, reason);
        let is_out = status.is_out();
        Some(PhoneMessage {
            channel: report.channel.or(moved.channel),
            sent_at: moved.sent_at.or(is_out.then_some(at)),
            delivered_at: moved.delivered_at.or(matches!(status, MessageStatus::Delivered | MessageStatus::Read).then_some(at)),
            read_at: moved.read_at.or((status == MessageStatus::Read).then_some(at)),
            failed_at: moved.failed_at.or((status == MessageStatus::Failed).then_some(at)),
            ..moved
        })
    }

    /// What the day of usage gains when a message moves from here to there. Each number counts a message once, whatever came in between.
    pub fn tally(&self, after: &Self) -> Tally {
        let mut tally = vec![];
        let (was_out, is_out) = (self.sent_at.is_some(), after.sent_at.is_some());
        if is_out && !was_out {
            tally.push(("messages_sent", 1));
            tally.push((after.counted_as(), 1));
        }
        // A carrier said later that it went by another channel.
        if was_out && self.counted_as() != after.counted_as() {
            tally.extend([(self.counted_as(), -1), (after.counted_as(), 1)]);
        }
        if after.delivered_at.is_some() && self.delivered_at.is_none() {
            tally.push(("messages_delivered", 1));
        }
        let became = |status| after.status == status && self.status != status;
        if became(MessageStatus::Failed) {
            tally.push(("messages_failed", 1));
        }
        if became(MessageStatus::Blocked) {
            tally.push(("messages_blocked", 1));
        }
        tally
    }

    /// What the counts of its campaign gain when a message moves from here to there: the one of its new state one, and that of the old one less one.
    pub fn campaign_tally(&self, after: &Self) -> Option<(MessageCampaignId, Tally)> {
        let (before, now) = (CampaignCounts::name(self.status), CampaignCounts::name(after.status));
        after.campaign.filter(|_| before != now).map(|campaign| (campaign, vec![(before, -1), (now, 1)]))
    }

    /// The line that it left by, if it goes out when it moves from here to there: the one that was given it last. What is queued again has none, or another
    /// one's turn.
    pub fn left_by(&self, after: &Self) -> Option<LineId> {
        let goes_out = after.sent_at.is_some() && self.sent_at.is_none();
        let given_to = match (self.status, self.attempts.last()) {
            (MessageStatus::Sending, _) | (_, None) => self.line,
            (_, Some(attempt)) => Some(attempt.line),
        };
        given_to.filter(|_| goes_out)
    }

    /// The number of usage of its channel.
    fn counted_as(&self) -> &'static str {
        match self.channel {
            Some(Channel::Imessage) => "sent_imessage",
            Some(Channel::Rcs) => "sent_rcs",
            Some(Channel::Sms) | None => "sent_sms",
        }
    }

    /// In the next state. Whoever calls it knows that the one leads to the other.
    fn to(&self, status: MessageStatus, reason: Option<Reason>) -> Self {
        debug_assert!(self.status.leads_to(status), "{:?} does not lead to {status:?}", self.status);
        PhoneMessage { status, reason, due_at: None, version: self.version + 1, ..self.clone() }
    }

    pub fn key_of(id: PhoneMessageId) -> Key<Self> {
        Key::new(&Collection::of::<PhoneMessage>(), id)
    }

    /// In the order in which they came.
    pub fn all() -> List<Self> {
        List::new(Collection::of::<PhoneMessage>(), "")
    }
}

/// What came in.
#[derive(Debug, Clone)]
pub struct Inbound {
    pub peer: PhoneNumber,
    pub line: LineId,
    pub line_number: PhoneNumber,
    pub channel: Channel,
    pub body: String,
}

/// What the index knows of a message that waits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Waiting {
    pub id: PhoneMessageId,
    pub due_at: Timestamp,
    /// It is one of many, and waits behind those that are not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_behind: bool,
}

impl Listed for PhoneMessage {
    type Entry = Waiting;

    fn entry(&self) -> Waiting {
        let is_behind = self.campaign.is_some() || self.status == MessageStatus::Unknown;
        Waiting { id: self.id, due_at: self.due_at.unwrap_or(self.created_at), is_behind }
    }
}

impl Entity for PhoneMessage {
    type Scope = InTenant;
    const TYPE: &'static str = "phone_message";
    const COLLECTION: &'static str = "phone-messages";
    const MAILS_AUDITED: bool = false;
    const NOUN: Option<&'static str> = Some(PhoneMessage::NOUN);
    const FREE: &'static [&'static str] = &["metadata"];
    /// What was to be sent is the other tenant's to send.
    const RESTORE: Option<Restore> = Some(|data| {
        let message: PhoneMessage = serde_json::from_value(data).ok()?;
        Packed::of(&message.elsewhere()).ok()
    });

    fn key(&self) -> Key<Self> {
        PhoneMessage::key_of(self.id)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }

    fn expires_at(&self) -> Option<Timestamp> {
        self.created_at.saturating_add(PhoneMessage::KEPT).ok()
    }

    fn list_entry(&self) -> Result<Option<ListEntry>> {
        if self.is_awaited() { ListEntry::of(self) } else { Ok(None) }
    }
}

impl Named for PhoneMessage {
    type Id = PhoneMessageId;

    fn places(id: PhoneMessageId) -> Vec<Key<Self>> {
        vec![PhoneMessage::key_of(id)]
    }
}

/// A job: a message is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendMessage {
    pub message: PhoneMessageId,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::crypto::Random;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;
    const ALL: [MessageStatus; 12] = [
        MessageStatus::Scheduled,
        MessageStatus::Held,
        MessageStatus::Queued,
        MessageStatus::Sending,
        MessageStatus::Sent,
        MessageStatus::Delivered,
        MessageStatus::Read,
        MessageStatus::Failed,
        MessageStatus::Blocked,
        MessageStatus::Unknown,
        MessageStatus::Cancelled,
        MessageStatus::Received,
    ];

    fn message() -> PhoneMessage {
        let new = NewMessage {
            to: PhoneNumber::parse("+15551234567").unwrap(),
            body: "Hello".into(),
            template: None,
            message_type: MessageType::Alert,
            requested_channel: RequestedChannel::Auto,
            from_number: None,
            scheduled_at: None,
            valid_for: None,
            quiet_mode: None,
            metadata: BTreeMap::new(),
        };
        let auto = [Channel::Imessage, Channel::Rcs, Channel::Sms];
        PhoneMessage::outbound(PhoneMessageId::new(NOW, &Random::seeded(1)), new, &auto, NOW)
    }

    fn sending() -> PhoneMessage {
        let line = LineId::new(NOW, &Random::seeded(2));
        message().taken(line, &PhoneNumber::parse("+15550100001").unwrap(), Channel::Imessage, NOW)
    }

    fn report(status: Reported, second: i64) -> Report {
        Report { status, reason: None, channel: None, at: NOW + SignedDuration::from_secs(second) }
    }

    #[test]
    fn what_is_final_stays() {
        for status in
            [MessageStatus::Read, MessageStatus::Failed, MessageStatus::Blocked, MessageStatus::Cancelled, MessageStatus::Received]
        {
            assert!(ALL.iter().all(|next| !status.leads_to(*next)), "{status:?}");
        }
        let back = ALL.iter().filter(|next| MessageStatus::Sent.leads_to(**next)).collect::<Vec<_>>();
        assert_eq!(back, [&MessageStatus::Delivered, &MessageStatus::Read, &MessageStatus::Failed]);
    }

    #[test]
    fn a_report_says_more_or_nothing() {
        let read = sending().reported(report(Reported::Read, 9)).unwrap();
        assert_eq!((read.status, read.sent_at, read.delivered_at), (MessageStatus::Read, read.read_at, read.read_at));
        for late in [Reported::Sent, Reported::Delivered, Reported::Read, Reported::Failed] {
            assert_eq!(read.reported(report(late, 10)), None);
        }
        let failed = sending().reported(report(Reported::Failed, 1)).unwrap();
        assert_eq!((failed.status, failed.reason, failed.sent_at), (MessageStatus::Failed, Some(Reason::CarrierError), None));
        // That it went out before counts all the same, once.
        let went_out = failed.reported(report(Reported::Sent, 2)).unwrap();
        assert_eq!((went_out.status, went_out.sent_at.is_some()), (MessageStatus::Failed, true));
        assert_eq!(failed.tally(&went_out), [("messages_sent", 1), ("sent_imessage", 1)]);
        assert_eq!(went_out.reported(report(Reported::Sent, 3)), None);
        assert_eq!(failed.reported(report(Reported::Delivered, 2)), None);
        // One that no carrier took did not go out.
        let refused = sending().with_attempt(AttemptOutcome::Refused, NOW).failed(Reason::Unreachable, NOW);
        assert_eq!(
            (refused.reported(report(Reported::Sent, 1)), message().failed(Reason::Expired, NOW).reported(report(Reported::Sent, 1))),
            (None, None)
        );
        // One that was never given to a carrier.
        assert_eq!(message().reported(report(Reported::Delivered, 1)), None);
        // One that was, and is queued again: the carrier has it after all.
        let again = sending().with_attempt(AttemptOutcome::Later, NOW).later(None, None);
        assert_eq!(again.reported(report(Reported::Delivered, 1)).map(|known| known.status), Some(MessageStatus::Delivered));
    }

    #[test]
    fn a_channel_that_is_told_later_is_counted_in_the_place_of_the_first() {
        let by = |channel, status| Report { channel: Some(channel), ..report(status, 1) };
        let sent = sending().reported(by(Channel::Rcs, Reported::Sent)).unwrap();
        let delivered = sent.reported(by(Channel::Sms, Reported::Delivered)).unwrap();
        assert_eq!(sent.tally(&delivered), [("sent_rcs", -1), ("sent_sms", 1), ("messages_delivered", 1)]);
        assert_eq!(delivered.tally(&delivered.reported(by(Channel::Sms, Reported::Read)).unwrap()), []);
    }

    #[test]
    fn a_message_leaves_by_the_line_that_was_given_it_last_and_once() {
        let [line, another] = [2, 3].map(|seed| LineId::new(NOW, &Random::seeded(seed)));
        let by = |message: &PhoneMessage, status| message.left_by(&message.reported(report(status, 1)).unwrap());
        assert_eq!((by(&sending(), Reported::Sent), by(&sending(), Reported::Failed)), (Some(line), None));
        let sent = sending().reported(report(Reported::Sent, 1)).unwrap();
        assert_eq!(by(&sent, Reported::Delivered), None);
        // It was told first that it failed.
        let failed = sending().reported(report(Reported::Failed, 1)).unwrap();
        assert_eq!(by(&failed, Reported::Sent), Some(line));
        // The carrier has it after all, whatever line's turn it waits for.
        let again = sending().with_attempt(AttemptOutcome::Later, NOW).later(None, None);
        assert_eq!((again.line, by(&again, Reported::Delivered)), (None, Some(line)));
        assert_eq!(by(&again.at_turn(another, NOW), Reported::Delivered), Some(line));
        let number = PhoneNumber::parse("+15550100002").unwrap();
        assert_eq!(by(&again.taken(another, &number, Channel::Sms, NOW), Reported::Delivered), Some(another));
    }

    #[test]
    fn a_channel_is_tried_until_a_carrier_says_never() {
        let refused = sending().with_attempt(AttemptOutcome::Later, NOW).with_attempt(AttemptOutcome::Refused, NOW);
        assert_eq!(sending().next_channels(), [Channel::Imessage, Channel::Rcs, Channel::Sms]);
        assert_eq!(refused.next_channels(), [Channel::Rcs, Channel::Sms]);
        let only = PhoneMessage { channels: vec![Channel::Imessage], ..refused };
        assert_eq!(only.next_channels(), []);
    }

    proptest! {
        /// Whatever the order and however often: the same state, and each number once.
        #[test]
        fn reports_in_any_order_end_alike(order in Just(vec![0_usize, 1, 2]).prop_shuffle(), repeats in prop::collection::vec(0_usize..3, 0..6)) {
            let all = [report(Reported::Sent, 1), report(Reported::Delivered, 2), report(Reported::Read, 3)];
            let mut message = sending();
            let mut counted: BTreeMap<&str, i64> = BTreeMap::new();
            let mut left = 0;
            for index in order.into_iter().chain(repeats) {
                let Some(next) = message.reported(all[index]) else { continue };
                for (name, by) in message.tally(&next) {
                    *counted.entry(name).or_default() += by;
                }
                left += usize::from(message.left_by(&next).is_some());
                message = next;
            }
            prop_assert_eq!((message.status, left), (MessageStatus::Read, 1));
            prop_assert_eq!(counted, BTreeMap::from([("messages_sent", 1), ("sent_imessage", 1), ("messages_delivered", 1)]));
        }
    }
}
