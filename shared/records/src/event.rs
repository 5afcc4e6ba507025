//! Events: what happened in a tenant, told to whoever asks for it. Kept for 30 days, and delivered to the webhooks that take them.
//!
//! Who reads on from an event to those that came after it must miss none. But an event lies where it happened, and is written a little later: behind
//! somebody who has read past that moment. So who reads on sees only what is `SETTLED`, and what is told `LATE` is written a second time, where it was told.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use shared::crypto;
use shared::id;
use shared::ids::{self, TenantId};
use shared::model::time::{Printed, zulu};
use shared::store::{InTenant, Record};

id!(/// Something that happened.
    EventId = "evt", own);

impl EventId {
    /// In the order of the moments. `mark` says which change of the table it was, so whoever sees that again finds the same event.
    pub fn of(moment: Timestamp, mark: &str, kind: EventKind) -> Self {
        let hash = crypto::hash(&[mark.as_bytes(), kind.name().as_bytes()]);
        let mut bytes = [0; 10];
        bytes.copy_from_slice(&hash.as_bytes()[..10]);
        EventId::beginning(moment, bytes)
    }

    /// Before all of a moment, and behind all of those before it.
    pub fn at(moment: Timestamp) -> Self {
        EventId::beginning(moment, [0; 10])
    }

    /// When it happened, in milliseconds.
    pub fn moment(&self) -> Timestamp {
        ids::moment_of(&self.0)
    }

    /// Of the same event where it was told.
    fn told_at(self, moment: Timestamp) -> Self {
        let mut bytes = [0; 10];
        bytes.copy_from_slice(&self.0.as_bytes()[6..]);
        EventId::beginning(moment, bytes)
    }

    fn beginning(moment: Timestamp, rest: [u8; 10]) -> Self {
        EventId(ids::beginning(moment, rest))
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
    CampaignStarted "campaign.started" "A campaign of messages began to send",
    CampaignCompleted "campaign.completed" "A campaign of messages has nothing left to send",
    CampaignCancelled "campaign.cancelled" "A campaign of messages was cancelled",
    ConsentAnchored "consent.anchored" "What a day added to chains of consent was summed up in one hash, for you to keep",
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

/// `events` / `<id>`, for 30 days: in the order in which they happened. One that was told late lies there once more, in the order of being told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub id: EventId,
    pub kind: EventKind,
    pub happened_at: Timestamp,
    /// Without the tenant, which each delivery adds.
    pub data: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Place::is_usual")]
    pub place: Place,
}

/// Which of an event's records it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The one that it has.
    #[default]
    Usual,
    /// Where it happened, when somebody may have read past it. There is a `Copy`.
    Passed,
    /// Where it was told.
    Copy(EventId),
}

/// A job: something happened, and is to be kept and delivered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Publish {
    pub happened: Event,
}

/// What is told of an event: the body of a delivery.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = EventBody)]
pub struct Told {
    #[serde(rename = "type")]
    pub kind: EventKind,
    pub timestamp: Printed,
    /// `tenant_id`, and what there is to know about an event of its type.
    #[schema(value_type = Object)]
    pub data: Map<String, Value>,
}

impl Place {
    fn is_usual(&self) -> bool {
        *self == Place::Usual
    }
}

impl Event {
    pub const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);
    /// Bytes of what is delivered. What would be larger is delivered thin.
    pub const LARGEST: usize = 20 * 1024;
    /// What is told so long after it happened has a copy.
    pub const LATE: SignedDuration = SignedDuration::from_secs(5);
    /// Who writes its records, of the moment before, has so long for it, or begins anew.
    pub const WRITTEN_WITHIN: Duration = Duration::from_secs(8);
    /// Who reads on sees what lies so far back: more than `LATE`, `WRITTEN_WITHIN` and what clocks differ by.
    pub const SETTLED: SignedDuration = SignedDuration::from_secs(15);
    /// What a thin one has beside ids: which of two is newer, the number by which opt-outs are found, and of an anchor what must lie elsewhere than with us.
    fn is_thin(&self, name: &str) -> bool {
        let of_anchor = self.kind == EventKind::ConsentAnchored && ["number", "hash"].contains(&name);
        name.ends_with("_id") || ["sequence", "phone_number"].contains(&name) || of_anchor
    }

    /// Not told yet.
    pub fn new(id: EventId, kind: EventKind, happened_at: Timestamp, data: Map<String, Value>) -> Self {
        Event { id, kind, happened_at, data, place: Place::Usual }
    }

    /// The records of an event that is written now, all in one transaction and `WRITTEN_WITHIN`.
    pub fn records(&self, now: Timestamp) -> Vec<Self> {
        if now.duration_since(self.happened_at) <= Event::LATE {
            return vec![self.clone()];
        }
        let of = |place| Event { place, ..self.clone() };
        vec![of(Place::Passed), of(Place::Copy(self.id.told_at(now)))]
    }

    pub fn is_copy(&self) -> bool {
        matches!(self.place, Place::Copy(_))
    }

    /// As it is told.
    pub fn told(&self, tenant: TenantId, payload: Payload) -> Told {
        let of = |payload: Payload| {
            let mut data = Map::from_iter([("tenant_id".to_owned(), json!(tenant))]);
            let kept = |name: &str| payload == Payload::Full || self.is_thin(name);
            data.extend(self.data.iter().filter(|(name, _)| kept(name)).map(|(name, value)| (name.clone(), value.clone())));
            // The table knows no order of names, and each attempt is to have the same text.
            data.sort_keys();
            data.values_mut().for_each(Value::sort_all_objects);
            Told { kind: self.kind, timestamp: zulu(self.happened_at), data }
        };
        let told = of(payload);
        if told.body().len() <= Event::LARGEST { told } else { of(Payload::Thin) }
    }
}

impl Told {
    /// As it is delivered, and signed.
    pub fn body(&self) -> String {
        json!(self).to_string()
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

    /// Where it lies: a copy is found by the moment when it was told.
    fn id(&self) -> EventId {
        if let Place::Copy(place) = self.place { place } else { self.id }
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
        assert_eq!((later.moment(), EventId::at(NOW).moment()), (NOW + SignedDuration::from_millis(1), NOW));
        assert!(EventId::at(NOW) < id("a", EventKind::MessageSent) && id("a", EventKind::MessageSent) < EventId::at(later.moment()));
    }

    #[test]
    fn what_is_told_late_lies_where_it_happened_and_where_it_was_told() {
        let event = Event::new(EventId::of(NOW, "a", EventKind::MessageSent), EventKind::MessageSent, NOW, Map::new());
        assert_eq!(event.records(NOW + Event::LATE), std::slice::from_ref(&event));
        let late = NOW + Event::LATE + SignedDuration::from_millis(1);
        let [passed, copy] = &event.records(late)[..] else { panic!("two") };
        assert_eq!((passed.id(), copy.id().moment(), passed.id, copy.id), (event.id, late, event.id, event.id));
        assert_eq!(Event { place: Place::Usual, ..copy.clone() }, event);
        let stored = serde_json::to_value([&event, passed, copy]).unwrap();
        assert_eq!(stored[0].get("place"), None, "what is usual is not written");
        assert_eq!(serde_json::from_value::<Vec<Event>>(stored).unwrap(), [event, passed.clone(), copy.clone()]);
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
