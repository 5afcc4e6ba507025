//! What gateways report: receipts of messages that they were given, and messages that came in. A report that comes again changes nothing more, so a gateway
//! repeats whatever was not answered with 202.

use jiff::{SignedDuration, Timestamp};
use messaging::inbound::{self, Arrival};
use messaging::{reports, ways};
use records::phone_message::{Reason, Report, Reported};
use serde::Serialize;
use serde_json::Value;
use shared::http::answer::Accepted;
use shared::http::catalogue::Operation;
use shared::http::endpoint::Argument;
use shared::http::form::{self, Fields, Form, Moment, OneOf, PhoneNumberText, Raw, Rule, Text};
use shared::http::json;
use shared::model::line::{Channel, LinePool};
use shared::model::phone_number::PhoneNumber;
use shared::tenancy::doors::GatewayCaller;
use shared::tenancy::{Entered, Incoming};
use shared::{Error, Result};

/// How many of the events are known now. What cannot be read, is older than seven days, or names no message or line of the gateway's is ignored: it would
/// not be known later either.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = GatewayEventsTaken)]
pub struct TakenView {
    accepted: usize,
    ignored: usize,
}

/// One event, or a list of them.
pub struct Events {
    told: usize,
    /// Those that could be read.
    events: Vec<Event>,
}

/// One event as a gateway writes it.
struct Event {
    id: String,
    at: Timestamp,
    content: Content,
}

enum Content {
    Receipt { reference: String, status: Reported, reason: Option<String>, channel: Option<Channel> },
    Inbound { line: PhoneNumber, peer: String, text: String, channel: Channel },
}

/// Events of one request.
const MOST: usize = 100;
/// How old an event may be: a gateway that was cut off for a weekend still tells.
const OLDEST: SignedDuration = SignedDuration::from_hours(24 * 7);
/// How far its clock may be ahead.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);

pub async fn take(door: GatewayCaller, events: Events) -> Result<Accepted<TakenView>> {
    let (work, mut accepted) = (&door.work, 0);
    let Events { told, events } = events;
    let pool = match events.iter().any(|event| matches!(event.content, Content::Inbound { .. })) {
        true => ways::pool(&work.directory).await?,
        false => LinePool::none(),
    };
    for event in events {
        let is_known = match event.content {
            Content::Receipt { reference, status, reason, channel } => {
                let report = Report { status, reason: reason.as_deref().map(Reason::reported), channel, at: event.at.min(work.now()) };
                match work.messaged(&reference)? {
                    Some((about, store)) => reports::note(&work.directory, (&about, &store), report, Some(door.gateway.id)).await?,
                    None => false,
                }
            }
            Content::Inbound { line, peer, text, channel } => match PhoneNumber::parse(&peer) {
                Some(peer) => {
                    let arrival = Arrival {
                        carrier: Some(door.gateway.id),
                        pool: &pool,
                        id: &event.id,
                        line: &line,
                        peer,
                        text,
                        channel,
                        at: event.at,
                    };
                    inbound::receive(work, arrival).await?
                }
                // A service with a name, or a few digits: nobody has written to it.
                None => false,
            },
        };
        accepted += usize::from(is_known);
    }
    Ok(Accepted::new("Events taken", TakenView { accepted, ignored: told - accepted }))
}

impl Argument for Events {
    async fn take(incoming: &Incoming, _entered: &Entered) -> Result<Self> {
        // What is signed is JSON, whatever its content type says.
        let (document, _) = json::parse(&incoming.body).map_err(|message| Error::BadRequest(message.into()))?;
        let several = match document {
            Value::Array(several) if several.len() > MOST => {
                return Err(Error::BadRequest(format!("There must not be more than {MOST} events in a request.").into()));
            }
            Value::Array(several) => several,
            one => vec![one],
        };
        // One that cannot be read holds up no other: it will never be readable.
        let read = |event: Value| match event {
            Value::Object(object) => form::from_json::<Event>(&object).ok().filter(|event| event.is_in_time(incoming.now)),
            _ => None,
        };
        let told = several.len();
        let events: Vec<Event> = several.into_iter().filter_map(read).collect();
        Ok(Events { told, events })
    }

    fn describe(operation: &mut Operation) {
        operation.body(form::described::<Event>());
    }
}

impl Event {
    /// All fields that one may have: which of them it must have depends on its type.
    fn described(fields: &mut Fields<'_>) -> Option<Self> {
        fields.required("type", TYPE);
        fields.required("id", Text::up_to(128));
        fields.required("at", Moment);
        fields.optional("channel", CHANNEL);
        fields.optional("reference", Text::up_to(200));
        fields.optional("status", STATUS);
        fields.optional("reason", Text::up_to(64));
        fields.optional("line", PhoneNumberText);
        fields.optional("peer", Text::up_to(32));
        fields.optional("text", Said);
        None
    }

    fn is_in_time(&self, now: Timestamp) -> bool {
        self.at <= now + AHEAD && self.at >= now - OLDEST
    }
}

impl Form for Event {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        if fields.describes() {
            return Event::described(fields);
        }
        let is_receipt = fields.required("type", TYPE);
        let id = fields.required("id", Text::up_to(128));
        let at = fields.required("at", Moment);
        let channel = fields.optional("channel", CHANNEL);
        let mut content = None;
        if is_receipt == Some(true) {
            let reference = fields.required("reference", Text::up_to(200));
            let status = fields.required("status", STATUS);
            let reason = fields.optional("reason", Text::up_to(64));
            content = reference.zip(status).map(|(reference, status)| Content::Receipt { reference, status, reason, channel });
        }
        if is_receipt == Some(false) {
            let line = fields.required("line", PhoneNumberText);
            let peer = fields.required("peer", Text::up_to(32));
            // A picture has none.
            let text = fields.optional("text", Said).unwrap_or_default();
            content = line.zip(peer).map(|(line, peer)| Content::Inbound { line, peer, text, channel: channel.unwrap_or(Channel::Sms) });
        }
        Some(Event { id: id?, at: at?, content: content? })
    }
}

/// What somebody wrote, whatever it is.
struct Said;

/// Characters: what an RCS message may have and an SMS never has.
const LONGEST: usize = 3_072;

impl Rule for Said {
    type Value = String;

    fn check(&self, raw: Raw<'_>) -> std::result::Result<String, String> {
        let text = raw.text().ok_or("must be a string")?;
        // A person must be able to say STOP whatever else they write.
        Ok(text.chars().take(LONGEST).collect())
    }

    fn schema(&self) -> Value {
        serde_json::json!({"type": "string", "description": format!("Longer texts are cut after {LONGEST} characters.")})
    }
}

/// Whether it is a receipt.
const TYPE: OneOf<bool> = OneOf {
    words: &["receipt", "inbound"],
    parse: |text| match text {
        "receipt" => Some(true),
        "inbound" => Some(false),
        _ => None,
    },
};

const STATUS: OneOf<Reported> = OneOf {
    words: &["sent", "delivered", "read", "failed"],
    parse: |text| match text {
        "sent" => Some(Reported::Sent),
        "delivered" => Some(Reported::Delivered),
        "read" => Some(Reported::Read),
        "failed" => Some(Reported::Failed),
        _ => None,
    },
};

const CHANNEL: OneOf<Channel> = OneOf { words: Channel::WORDS, parse: Channel::parse };
