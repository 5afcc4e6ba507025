//! Events: what happened in a tenant, told to whoever asks for it. Kept for 30 days, and delivered to the webhooks that take them.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use shared::crypto;
use shared::id;
use shared::ids::{Builder, TenantId};
use shared::model::time::zulu;
use shared::store::{InTenant, Record};

id!(/// Something that happened.
    EventId = "evt", own);

impl EventId {
    /// In the order of the moments. `mark` says which change of the table it was, so whoever sees that again finds the same event.
    pub fn of(moment: Timestamp, mark: &str, kind: EventKind) -> Self {
        let hash = crypto::hash(&[mark.as_bytes(), kind.name().as_bytes()]);
        let mut bytes = [0; 10];
        bytes.copy_from_slice(&hash.as_bytes()[..10]);
        let millis = u64::try_from(moment.as_millisecond()).unwrap_or(0);
        EventId(Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid())
    }
}

macro_rules! kinds {
    ($($kind:ident $name:literal $text:literal,)*) => {
        /// What can happen.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum EventKind {
            $(#[serde(rename = $name)] $kind,)*
        }

        impl EventKind {
            pub const ALL: &'static [EventKind] = &[$(EventKind::$kind),*];
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            pub fn name(self) -> &'static str {
                match self {
                    $(EventKind::$kind => $name,)*
                }
            }

            /// When it happens, in a sentence without its end.
            pub fn text(self) -> &'static str {
                match self {
                    $(EventKind::$kind => $text,)*
                }
            }
        }
    };
}

kinds! {
    MessageQueued "message.queued" "A message was accepted, or may go after all",
    MessageSent "message.sent" "A message was given to its carrier",
    MessageDelivered "message.delivered" "A message arrived at its phone",
    MessageRead "message.read" "A message was read",
    MessageFailed "message.failed" "A message did not arrive, and will not",
    MessageBlocked "message.blocked" "A message may not go",
    MessageReceived "message.received" "Somebody wrote a message",
    MessageHeld "message.held" "A message waits for something",
    MessageUnknown "message.unknown" "Nobody knows whether a message was sent",
    MessageCancelled "message.cancelled" "A message was cancelled",
    ContactOptedOut "contact.opted_out" "Somebody wants no messages any more",
    ContactOptedIn "contact.opted_in" "Somebody wants messages again",
    ContactOptOutSuspected "contact.opt_out_suspected" "Somebody may have meant to opt out",
    WebhookFailing "webhook.failing" "Another webhook has not been reached for an hour",
    WebhookRecovered "webhook.recovered" "Another webhook that failed was reached again",
    WebhookDisabled "webhook.disabled" "Another webhook was disabled, because it failed for days or asked for it",
    WebhookTest "webhook.test" "Somebody tested the webhook",
}

/// By hand: the derivation does not see names that a macro gives.
impl utoipa::PartialSchema for EventKind {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        use utoipa::openapi::schema::{ObjectBuilder, Type};
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(EventKind::NAMES.iter().copied())).into()
    }
}

impl utoipa::ToSchema for EventKind {}

impl EventKind {
    /// Also by the name that other services have for it.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "message.inbound" {
            return Some(EventKind::MessageReceived);
        }
        EventKind::ALL.iter().copied().find(|kind| kind.name() == text)
    }

    /// What stands before the dot.
    pub fn group(self) -> EventGroup {
        EventGroup(self.name().split('.').next().unwrap_or_default())
    }
}

/// Which events a webhook takes: `message.delivered`, `message.*` or `*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum EventFilter {
    Every,
    Group(EventGroup),
    One(EventKind),
}

/// What stands before the dot: `message`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventGroup(&'static str);

impl EventFilter {
    pub fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(EventFilter::Every);
        }
        match text.strip_suffix(".*") {
            Some(group) => EventKind::ALL.iter().map(|kind| kind.group()).find(|known| known.0 == group).map(EventFilter::Group),
            None => EventKind::parse(text).map(EventFilter::One),
        }
    }

    pub fn takes(self, kind: EventKind) -> bool {
        match self {
            EventFilter::Every => true,
            EventFilter::Group(group) => kind.group() == group,
            EventFilter::One(one) => one == kind,
        }
    }
}

impl fmt::Display for EventFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EventFilter::Every => f.write_str("*"),
            EventFilter::Group(group) => write!(f, "{}.*", group.0),
            EventFilter::One(kind) => f.write_str(kind.name()),
        }
    }
}

impl TryFrom<String> for EventFilter {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        EventFilter::parse(&text).ok_or("no such event")
    }
}

impl From<EventFilter> for String {
    fn from(filter: EventFilter) -> Self {
        filter.to_string()
    }
}

/// How much of an event is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Payload {
    /// All that is known.
    Full,
    /// Ids, for who asks the API for the rest.
    Thin,
}

impl Payload {
    pub const WORDS: &'static [&'static str] = &["full", "thin"];

    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "full" => Some(Payload::Full),
            "thin" => Some(Payload::Thin),
            _ => None,
        }
    }
}

/// `events` / `<id>`, for 30 days: in the order in which they happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub id: EventId,
    pub kind: EventKind,
    pub happened_at: Timestamp,
    /// Without the tenant, which each delivery adds.
    pub data: Map<String, Value>,
}

/// A job: something happened, and is to be kept and delivered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Publish {
    pub happened: Event,
}

impl Event {
    pub const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);
    /// Bytes of what is delivered. What would be larger is delivered thin.
    pub const LARGEST: usize = 20 * 1024;
    /// What a thin one has beside ids: which of two is newer, and the number by which opt-outs are found.
    const THIN: [&'static str; 2] = ["sequence", "phone_number"];

    /// As it is delivered, and signed.
    pub fn body(&self, tenant: TenantId, payload: Payload) -> String {
        let of = |payload: Payload| {
            let mut data = Map::from_iter([("tenant_id".to_owned(), json!(tenant))]);
            let kept = |name: &str| payload == Payload::Full || name.ends_with("_id") || Event::THIN.contains(&name);
            data.extend(self.data.iter().filter(|(name, _)| kept(name)).map(|(name, value)| (name.clone(), value.clone())));
            json!({"type": self.kind, "timestamp": zulu(self.happened_at), "data": data}).to_string()
        };
        let body = of(payload);
        if body.len() <= Event::LARGEST { body } else { of(Payload::Thin) }
    }
}

impl Record for Event {
    type Scope = InTenant;
    type Id = EventId;
    const TYPE: &'static str = "event";
    const COLLECTION: &'static str = "events";
    const AUDITED: bool = false;
    // It ends before an import would be of use, and says what happened in another tenant.
    const RESTORED: bool = false;
    const NOUN: Option<&'static str> = Some("Event");

    fn id(&self) -> EventId {
        self.id
    }

    fn version(&self) -> Option<u64> {
        None
    }

    fn expires_at(&self) -> Option<Timestamp> {
        self.happened_at.checked_add(Event::KEPT).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn the_same_change_is_the_same_event() {
        let id = |mark: &str, kind| EventId::of(NOW, mark, kind);
        assert_eq!(id("a", EventKind::MessageSent), id("a", EventKind::MessageSent));
        assert_ne!(id("a", EventKind::MessageSent), id("b", EventKind::MessageSent));
        assert_ne!(id("a", EventKind::MessageSent), id("a", EventKind::MessageRead));
        let later = EventId::of(NOW + SignedDuration::from_millis(1), "a", EventKind::MessageSent);
        assert!(later > id("a", EventKind::MessageSent));
    }

    #[test]
    fn filters_are_names_groups_or_all() {
        let takes = |filter: &str, kind| EventFilter::parse(filter).unwrap().takes(kind);
        assert!(takes("*", EventKind::WebhookTest) && takes("message.*", EventKind::MessageRead));
        assert!(!takes("message.*", EventKind::ContactOptedOut) && !takes("message.sent", EventKind::MessageRead));
        assert_eq!(EventFilter::parse("message.inbound").unwrap().to_string(), "message.received");
        for wrong in ["", "message", "message.", "messages.*", ".*", "**", "message.*.*", "Message.sent", "message.sent "] {
            assert_eq!(EventFilter::parse(wrong), None, "{wrong}");
        }
        for kind in EventKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
            assert_eq!(EventKind::parse(kind.name()), Some(*kind));
        }
        assert_eq!(EventKind::NAMES.len(), EventKind::ALL.len());
    }
}
