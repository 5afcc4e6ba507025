//! Messages of test keys. They are answered at once, go nowhere and count nowhere. What becomes of one follows from its number.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use shared::id;
use shared::model::line::Channel;
use shared::model::phone_number::PhoneNumber;
use shared::store::{InTenant, Record};

use crate::message_template::{MessageTemplateName, MessageType};
use crate::phone_message::{MessageStatus, NewMessage, Reason, RequestedChannel};

id!(/// A message of a test key.
    SandboxMessageId = "sb", time_ordered);

/// `sandbox-messages` / `<id>`: in the order in which they were made. Kept for a month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxMessage {
    pub id: SandboxMessageId,
    pub to: PhoneNumber,
    pub from: PhoneNumber,
    pub body: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<MessageTemplateName>,
    pub message_type: MessageType,
    pub requested_channel: RequestedChannel,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_at: Option<Timestamp>,
    pub created_at: Timestamp,
}

/// What becomes of a number's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Script {
    Delivered,
    Failed(Reason),
    DeliveredLater,
}

impl SandboxMessage {
    /// The line that they come from, unless another one is named.
    const FROM: &'static str = "+15555550100";
    const LATER: SignedDuration = SignedDuration::from_secs(5);
    const KEPT: SignedDuration = SignedDuration::from_hours(24 * 30);

    pub fn new(id: SandboxMessageId, new: NewMessage, now: Timestamp) -> Option<Self> {
        Some(SandboxMessage {
            id,
            to: new.to,
            from: new.from_number.or_else(|| PhoneNumber::parse(SandboxMessage::FROM))?,
            body: new.body,
            template: new.template,
            message_type: new.message_type,
            requested_channel: new.requested_channel,
            metadata: new.metadata,
            scheduled_at: new.scheduled_at,
            created_at: now,
        })
    }

    pub fn channel(&self) -> Option<Channel> {
        self.requested_channel.channels(&[Channel::Imessage]).first().copied()
    }

    /// How far it is, and why.
    pub fn status(&self, now: Timestamp) -> (MessageStatus, Option<Reason>) {
        let sent_at = self.sent_at();
        if now < sent_at {
            return (MessageStatus::Scheduled, None);
        }
        match self.script() {
            Script::Delivered => (MessageStatus::Delivered, None),
            Script::Failed(reason) => (MessageStatus::Failed, Some(reason)),
            Script::DeliveredLater if now.duration_since(sent_at) < SandboxMessage::LATER => (MessageStatus::Sent, None),
            Script::DeliveredLater => (MessageStatus::Delivered, None),
        }
    }

    pub fn sent_at(&self) -> Timestamp {
        self.scheduled_at.unwrap_or(self.created_at)
    }

    pub fn delivered_at(&self) -> Timestamp {
        if self.script() == Script::DeliveredLater { self.sent_at() + SandboxMessage::LATER } else { self.sent_at() }
    }

    /// It changes only with time.
    pub fn etag(&self, now: Timestamp) -> String {
        let (status, _) = self.status(now);
        format!("\"{}\"", u8::from(status != MessageStatus::Scheduled) + u8::from(status != MessageStatus::Sent))
    }

    fn script(&self) -> Script {
        match self.to.digits().to_string().as_str() {
            "15555550002" => Script::Failed(Reason::CarrierError),
            "15555550003" => Script::Failed(Reason::OptedOut),
            "15555550004" => Script::Failed(Reason::RateLimited),
            "15555550005" => Script::DeliveredLater,
            _ => Script::Delivered,
        }
    }
}

impl Record for SandboxMessage {
    type Scope = InTenant;
    type Id = SandboxMessageId;
    const TYPE: &'static str = "sandbox_message";
    const COLLECTION: &'static str = "sandbox-messages";
    const AUDITED: bool = false;
    const NOUN: Option<&'static str> = Some(crate::phone_message::PhoneMessage::NOUN);

    fn id(&self) -> SandboxMessageId {
        self.id
    }

    fn version(&self) -> Option<u64> {
        None
    }

    fn expires_at(&self) -> Option<Timestamp> {
        self.created_at.checked_add(SandboxMessage::KEPT).ok()
    }
}

#[cfg(test)]
mod tests {
    use shared::crypto::Random;

    use super::*;

    #[test]
    fn the_number_says_what_becomes_of_it() {
        let now = Timestamp::UNIX_EPOCH;
        let message = |to: &str| {
            let new = NewMessage {
                to: PhoneNumber::parse(to).unwrap(),
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
            SandboxMessage::new(SandboxMessageId::new(now, &Random::seeded(1)), new, now).unwrap()
        };
        for (to, status, reason) in [
            ("+15555550001", MessageStatus::Delivered, None),
            ("+15555550002", MessageStatus::Failed, Some(Reason::CarrierError)),
            ("+15555550003", MessageStatus::Failed, Some(Reason::OptedOut)),
            ("+15555550004", MessageStatus::Failed, Some(Reason::RateLimited)),
            ("+15555550005", MessageStatus::Sent, None),
            ("+15551234567", MessageStatus::Delivered, None),
        ] {
            assert_eq!(message(to).status(now), (status, reason), "{to}");
        }
        let later = message("+15555550005");
        assert_eq!(later.status(now + SandboxMessage::LATER), (MessageStatus::Delivered, None));
        assert_ne!(later.etag(now), later.etag(now + SandboxMessage::LATER));
    }
}
