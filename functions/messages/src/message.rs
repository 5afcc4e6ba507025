//! Messages to phones: send, list, read, cancel, send again. A request checks what can be known at once and writes the message; the committed message is what
//! `switchboard` works on.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use messaging::moving::{self, Allowed};
use messaging::ways::{self, Way};
use records::contact::Contact;
use records::message_campaign::MessageCampaignId;
use records::message_template::{MessageTemplate, MessageTemplateName, MessageType, TemplateChannel};
use records::messaging_settings::MessagingSettings;
use records::peer::Peer;
use records::phone_admission::{Recipient, Verdict, verdict};
use records::phone_message::{MessageStatus, NewMessage, PhoneMessage, PhoneMessageId, Reason, RequestedChannel, Way as Direct};
use records::quiet_hours::QuietMode;
use serde::Serialize;
use shared::http::answer::{Accepted, Answer, Listing, Tagged};
use shared::http::arguments::{Cursors, Found};
use shared::http::form::{Fields, Form, Id, Integer, Moment, NoFields, OneOf, PhoneNumberText};
use shared::http::idempotency::{Once, Ticket};
use shared::model::line::{Channel, LinePeer, LinePool, PhoneLine};
use shared::model::phone_number::PhoneNumber;
use shared::model::time::{Printed, zulu};
use shared::store::{Direction, Record as _};
use shared::tenancy::conflict;
use shared::tenancy::doors::{Member, Viewer};
use shared::{Error, Result};

use crate::known::Known;
use crate::rules::{BodyText, MESSAGE_TYPE, MetadataTexts, QUIET_MODE, TemplateName, values};
use crate::sandbox::{self, SandboxMessages};

/// What is known of a message after it was accepted.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = AcceptedMessage)]
pub struct AcceptedView {
    pub message_id: String,
    pub status: MessageStatus,
    /// Why it waits, or is not sent.
    pub reason: Option<Reason>,
    #[schema(inline)]
    pub to: PhoneNumber,
    /// The line that is planned; the event that it was sent names the final one.
    #[schema(inline)]
    pub from: Option<PhoneNumber>,
    /// The same.
    pub channel: Option<Channel>,
    /// As SMS.
    pub segments: u64,
    pub estimated_delivery_ms: Option<u64>,
    pub scheduled_at: Option<Printed>,
    pub sandbox: bool,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = PhoneMessage)]
pub struct MessageView {
    pub id: String,
    pub direction: Direct,
    #[schema(inline)]
    pub to: PhoneNumber,
    #[schema(inline)]
    pub from: Option<PhoneNumber>,
    pub body: String,
    pub template: Option<String>,
    pub campaign_id: Option<String>,
    pub channel: Option<Channel>,
    pub requested_channel: RequestedChannel,
    pub message_type: MessageType,
    pub status: MessageStatus,
    pub reason: Option<Reason>,
    /// As SMS.
    pub segments: u64,
    pub metadata: BTreeMap<String, String>,
    pub sandbox: bool,
    pub replaced_by: Option<String>,
    pub created_at: Printed,
    pub scheduled_at: Option<Printed>,
    pub queued_at: Option<Printed>,
    pub sent_at: Option<Printed>,
    pub delivered_at: Option<Printed>,
    pub read_at: Option<Printed>,
    pub failed_at: Option<Printed>,
}

/// One message, with each call of a carrier.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = PhoneMessageWithAttempts)]
pub struct WholeMessageView {
    #[serde(flatten)]
    message: MessageView,
    attempts: Vec<AttemptView>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = MessageAttempt)]
pub struct AttemptView {
    channel: Channel,
    line: String,
    at: Printed,
    outcome: records::phone_message::AttemptOutcome,
}

pub struct Asked {
    pub to: PhoneNumber,
    text: Text,
    pub channel: RequestedChannel,
    pub from_number: Option<PhoneNumber>,
    message_type: Option<MessageType>,
    scheduled_at: Option<Timestamp>,
    valid_for: Option<SignedDuration>,
    quiet_mode: Option<QuietMode>,
    pub metadata: BTreeMap<String, String>,
}

enum Text {
    Body(String),
    Template(MessageTemplateName, BTreeMap<String, String>),
}

pub struct Filters {
    pub status: Option<MessageStatus>,
    pub direction: Option<Direct>,
    pub channel: Option<Channel>,
    pub message_type: Option<MessageType>,
    pub to: Option<PhoneNumber>,
    pub from: Option<PhoneNumber>,
    pub campaign: Option<MessageCampaignId>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

/// Of a queued message, in milliseconds.
const ESTIMATED: u64 = 2_000;
/// How far ahead a message may be scheduled.
const SOONEST: SignedDuration = SignedDuration::from_mins(1);
const LATEST: SignedDuration = SignedDuration::from_hours(24 * 90);
/// Messages that a page with filters looks at.
const LOOKED_AT: usize = 1_000;
/// How often something is written again that meets others.
const TRIES: usize = 10;

/// In two round trips: what the request names is read with the door, and one transaction accepts the message. Marketing to a contact, and a line by name,
/// may take one more.
pub async fn send(door: Member, known: Known, once: Once<Asked>) -> Result<Accepted<AcceptedView>> {
    let Once { body: asked, ticket } = once;
    let new = asked.message(known.template.as_ref(), door.now())?;
    if sandbox::is_for(door.key.as_ref()) {
        return sandbox::send(&door, new, &ticket).await;
    }
    accept(&door, known, new, &ticket, None).await
}

/// Newest first.
pub async fn list(door: Viewer, asked: Cursors<Filters>) -> Result<Listing<MessageView>> {
    let Cursors { filters, page } = asked;
    if sandbox::is_for(door.key.as_ref()) {
        return sandbox::list(&door, &filters, page).await;
    }
    let messages = PhoneMessage::all().going(Direction::Descending);
    let found = door.store.page_within(&messages, &page.span(), LOOKED_AT, |message| filters.keep(message)).await?;
    Ok(Listing { items: found.items.iter().map(MessageView::of).collect(), total: 0, page, next: found.next })
}

pub async fn show(door: Viewer, message: SandboxMessages) -> Result<Tagged<WholeMessageView>> {
    message.is_for(door.key.as_ref())?;
    let (message, etag) = match message {
        SandboxMessages::Live(message) => (WholeMessageView::of(&message), message.etag()),
        SandboxMessages::Sandbox(message) => (WholeMessageView::of_sandbox(&message, door.now()), message.etag(door.now())),
    };
    Ok(Answer::new("Success", message).tagged(etag))
}

/// What was not given to a carrier yet.
pub async fn cancel(door: Member, message: Found<PhoneMessage>, once: Once<NoFields>) -> Result<Tagged<MessageView>> {
    sandbox::is_none_for(door.key.as_ref())?;
    let (store, mut message) = (&door.store, message.0);
    for _ in 0..TRIES {
        let peer = store.find(&Peer::key_of(&message.to)).await?;
        let cancelled = message.cancelled().ok_or(Error::MessageState("Only a message that waits can be cancelled."))?;
        let answer = Answer::new("Message cancelled", MessageView::of(&cancelled)).tagged(cancelled.etag());
        let writing = once.ticket.record(store.transaction(), store, &answer)?;
        match moving::change(writing, store, (&message, &cancelled), peer.as_ref())?.commit().await {
            Err(Error::Conflict(_) | Error::NotFound) => message = store.get(&PhoneMessage::key_of(message.id)).await?,
            written => return written.map(|()| answer),
        }
    }
    Err(Error::contested())
}

/// As a new message: what became of the old one stays as it is known.
pub async fn resend(door: Member, known: Known, message: Found<PhoneMessage>, once: Once<NoFields>) -> Result<Accepted<AcceptedView>> {
    sandbox::is_none_for(door.key.as_ref())?;
    let old = replaceable(message.0)?;
    let known = Known { peer: door.store.find(&Peer::key_of(&old.to)).await?, ..known };
    accept(&door, known, old.again(), &once.ticket, Some(old)).await
}

fn replaceable(old: PhoneMessage) -> Result<PhoneMessage> {
    if old.replaced_by.is_some() || !matches!(old.status, MessageStatus::Unknown | MessageStatus::Failed) {
        return Err(Error::MessageState("Only a message that failed or is unknown, and was not sent again, can be sent again."));
    }
    Ok(old)
}

/// Writes a message with all that it takes, in the order in which it may be refused.
async fn accept(
    door: &Member,
    known: Known,
    new: NewMessage,
    ticket: &Ticket,
    replaces: Option<PhoneMessage>,
) -> Result<Accepted<AcceptedView>> {
    let (store, now) = (&door.store, door.now());
    let settings = known.settings.unwrap_or_else(|| MessagingSettings::unset(door.tenant.created_at));
    let id = PhoneMessageId::new(now, store.random());
    let message = PhoneMessage::outbound(id, new, settings.fallback.channels(), now);
    let (mut peer, mut replaces) = (known.peer, replaces);
    // What a transaction found: the day has no places any more.
    let mut full: Option<Reason> = None;
    for _ in 0..TRIES {
        let timezone = zone_of(door, &message, peer.as_ref()).await?;
        let recipient = Recipient { peer: peer.as_ref(), timezone: timezone.as_deref() };
        let verdict = verdict(&message, recipient, &settings, now);
        if verdict == Verdict::Blocked(Reason::OptedOut) {
            return Err(refuse(door, &message, ticket).await?);
        }
        let Way { line, channel } = planned(door, &known.pool, &message, peer.as_ref()).await?;
        // What is scheduled is looked at when it is due.
        let then = match (verdict, full) {
            _ if message.status == MessageStatus::Scheduled => message.clone(),
            (Verdict::Blocked(reason), _) => message.blocked(reason).unqueued(),
            (Verdict::Waits(reason, until), _) => message.held(reason, until).unqueued(),
            (Verdict::May, Some(reason)) => message.held(reason, moving::tomorrow(now)).unqueued(),
            (Verdict::May, None) => message.clone(),
        };
        let answer = AcceptedView::of(&then, line, channel);
        let mut writing = ticket.record(store.transaction(), store, &answer)?.create(store, &then, conflict("Try again."))?;
        if let Some(old) = &replaces {
            writing = writing.replace(store, &old.replaced(then.id), old)?;
        }
        if then.message_type == MessageType::Otp && then.status != MessageStatus::Blocked {
            writing = writing.allow(&door.one_time_passwords(&then.to, settings.otp_per_hour))?;
        }
        if then.status == MessageStatus::Queued {
            let allowed = Allowed { plan: &door.plan, called: &door.tenant.plan };
            let (taking, expecting) = moving::take_places(writing, store, (&then, false), peer.as_ref(), allowed)?;
            writing = match expecting {
                Some(expecting) => moving::write_peer(taking, store, peer.as_ref(), &expecting)?,
                None => taking,
            };
        }
        writing = moving::note_due(writing, &door.directory, store, &then)?;
        match moving::count(writing, store, &message.tally(&then), None)?.commit().await {
            Ok(()) => return Ok(answer),
            // Somebody else wrote to the number first, or came to know something about it or about the old message.
            Err(Error::Conflict(_) | Error::NotFound) => {
                peer = store.find(&Peer::key_of(&message.to)).await?;
                if let Some(old) = replaces {
                    replaces = Some(replaceable(store.get(&PhoneMessage::key_of(old.id)).await?)?);
                }
            }
            // It waits for the next day.
            Err(refusal) => full = Some(moving::waits_for_tomorrow(&refusal).ok_or(refusal)?),
        }
    }
    Err(Error::contested())
}

/// The zone of the number's contact, which only marketing asks for.
async fn zone_of(door: &Member, message: &PhoneMessage, peer: Option<&Peer>) -> Result<Option<String>> {
    let contact = peer.and_then(|peer| peer.contact).filter(|_| message.message_type == MessageType::Marketing);
    let Some(contact) = contact else { return Ok(None) };
    Ok(door.store.find(&Contact::key_of(contact)).await?.and_then(|contact| contact.timezone))
}

/// The message is kept, to show that it was asked for and not sent.
async fn refuse(door: &Member, message: &PhoneMessage, ticket: &Ticket) -> Result<Error> {
    let store = &door.store;
    let (blocked, refusal) = (message.blocked(Reason::OptedOut).unqueued(), Error::RecipientOptedOut);
    let writing = ticket.record_refusal(store.transaction(), store, &refusal)?.create(store, &blocked, conflict("Try again."))?;
    moving::count(writing, store, &message.tally(&blocked), None)?.commit().await?;
    Ok(refusal)
}

/// The line and the channel by which it would go now. A number is written to from one line of the pool; another one may not be named.
async fn planned<'a>(door: &Member, pool: &'a LinePool, message: &PhoneMessage, peer: Option<&Peer>) -> Result<Way<'a>> {
    if let Some(number) = message.from.as_ref().filter(|_| message.has_named_line) {
        let line = pool.of_number(number).ok_or(Error::NumberNotOwned)?;
        if !peer.is_some_and(|peer| peer.lines.contains(&line.id)) {
            let holder = door.directory.find(&LinePeer::key_of(line.id, &message.to)).await?;
            let is_theirs = holder.is_some_and(|holder| !holder.is_of(door.store.tenant_id()));
            if is_theirs || peer.is_some_and(|peer| peer.lines.iter().any(|own| pool.find(*own).is_some())) {
                return Err(Error::NumberNotOwned);
            }
        }
    }
    ways::of(pool, message, peer, door.store.tenant_id()).first().copied().ok_or(Error::NoPhoneAvailable)
}

impl Asked {
    /// With the text of its template, if it names one. A template's type wins.
    fn message(self, template: Option<&MessageTemplate>, now: Timestamp) -> Result<NewMessage> {
        may_be_scheduled(self.scheduled_at, now)?;
        let (body, named, message_type) = match self.text {
            Text::Body(body) => (body, None, self.message_type.unwrap_or(MessageType::Alert)),
            Text::Template(name, data) => {
                let template = fitting(template, &name, self.channel)?;
                (template.body.rendered(&data)?, Some(name), template.message_type)
            }
        };
        Ok(NewMessage {
            to: self.to,
            body,
            template: named,
            message_type,
            requested_channel: self.channel,
            from_number: self.from_number,
            scheduled_at: self.scheduled_at,
            valid_for: self.valid_for,
            quiet_mode: self.quiet_mode,
            metadata: self.metadata,
        })
    }
}

pub fn may_be_scheduled(at: Option<Timestamp>, now: Timestamp) -> Result<()> {
    if at.is_some_and(|at| at < now + SOONEST || at > now + LATEST) {
        return Err(Error::field("scheduled_at", "The scheduled_at field must be between a minute and 90 days from now."));
    }
    Ok(())
}

/// The template of that name, if it may go by what is asked for.
pub fn fitting<'a>(
    template: Option<&'a MessageTemplate>,
    name: &MessageTemplateName,
    channel: RequestedChannel,
) -> Result<&'a MessageTemplate> {
    let template = template.filter(|template| template.name == *name);
    let template = template.ok_or(Error::InvalidTemplate("There is no template of this name."))?;
    if goes(template.channel, channel) { Ok(template) } else { Err(Error::InvalidTemplate("The template is not for this channel.")) }
}

/// Whether a template's text may go by what is asked for.
fn goes(template: TemplateChannel, asked: RequestedChannel) -> bool {
    match template {
        TemplateChannel::Both => true,
        TemplateChannel::Imessage => matches!(asked, RequestedChannel::Auto | RequestedChannel::Imessage),
        TemplateChannel::Sms => matches!(asked, RequestedChannel::Auto | RequestedChannel::Sms | RequestedChannel::Rcs),
    }
}

impl AcceptedView {
    fn of(message: &PhoneMessage, line: &PhoneLine, channel: Channel) -> Accepted<Self> {
        let estimated = (message.status == MessageStatus::Queued).then_some(ESTIMATED);
        Accepted::new(
            "Message accepted",
            AcceptedView {
                message_id: message.id.prefixed(),
                status: message.status.shown(),
                reason: message.reason,
                to: message.to.clone(),
                from: Some(message.from.clone().unwrap_or_else(|| line.phone_number.clone())),
                channel: Some(message.channel.unwrap_or(channel)),
                segments: message.segments(),
                estimated_delivery_ms: estimated,
                scheduled_at: message.scheduled_at.map(zulu),
                sandbox: false,
            },
        )
    }
}

impl MessageView {
    pub fn of(message: &PhoneMessage) -> Self {
        MessageView {
            id: message.id.prefixed(),
            direction: message.direction,
            to: message.to.clone(),
            from: message.from.clone(),
            body: message.body.clone(),
            template: message.template.as_ref().map(ToString::to_string),
            campaign_id: message.campaign.map(|campaign| campaign.prefixed()),
            channel: message.channel,
            requested_channel: message.requested_channel,
            message_type: message.message_type,
            status: message.status.shown(),
            reason: message.reason,
            segments: message.segments(),
            metadata: message.metadata.clone(),
            sandbox: false,
            replaced_by: message.replaced_by.map(|id| id.prefixed()),
            created_at: zulu(message.created_at),
            scheduled_at: message.scheduled_at.map(zulu),
            queued_at: message.queued_at.map(zulu),
            sent_at: message.sent_at.map(zulu),
            delivered_at: message.delivered_at.map(zulu),
            read_at: message.read_at.map(zulu),
            failed_at: message.failed_at.map(zulu),
        }
    }
}

impl WholeMessageView {
    fn of(message: &PhoneMessage) -> Self {
        let attempts = message.attempts.iter().map(|attempt| AttemptView {
            channel: attempt.channel,
            line: attempt.line.prefixed(),
            at: zulu(attempt.tried_at),
            outcome: attempt.outcome,
        });
        WholeMessageView { message: MessageView::of(message), attempts: attempts.collect() }
    }

    fn of_sandbox(message: &records::sandbox_message::SandboxMessage, now: Timestamp) -> Self {
        WholeMessageView { message: sandbox::view(message, now), attempts: vec![] }
    }
}

impl Filters {
    fn keep(&self, message: &PhoneMessage) -> bool {
        self.keeps(&Shown {
            status: message.status.shown(),
            direction: message.direction,
            channel: message.channel,
            message_type: message.message_type,
            to: &message.to,
            from: message.from.as_ref(),
            campaign: message.campaign,
            created_at: message.created_at,
        })
    }

    pub fn keeps(&self, message: &Shown<'_>) -> bool {
        self.status.is_none_or(|status| status == message.status)
            && self.direction.is_none_or(|direction| direction == message.direction)
            && self.channel.is_none_or(|channel| Some(channel) == message.channel)
            && self.message_type.is_none_or(|message_type| message_type == message.message_type)
            && self.to.as_ref().is_none_or(|to| to == message.to)
            && self.from.as_ref().is_none_or(|from| Some(from) == message.from)
            && self.campaign.is_none_or(|campaign| Some(campaign) == message.campaign)
            && self.since.is_none_or(|since| message.created_at >= since)
            && self.until.is_none_or(|until| message.created_at < until)
    }
}

/// What filters ask about.
pub struct Shown<'a> {
    pub status: MessageStatus,
    pub direction: Direct,
    pub channel: Option<Channel>,
    pub message_type: MessageType,
    pub to: &'a PhoneNumber,
    pub from: Option<&'a PhoneNumber>,
    pub campaign: Option<MessageCampaignId>,
    pub created_at: Timestamp,
}

impl Form for Asked {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let to = fields.required("to", PhoneNumberText);
        let body = fields.optional("body", BodyText);
        let template = fields.optional("template", TemplateName);
        let data = values(fields);
        let channel = fields.optional("channel", REQUESTED);
        let from_number = fields.optional("from_number", PhoneNumberText);
        let message_type = fields.optional("message_type", MESSAGE_TYPE);
        let scheduled_at = fields.optional("scheduled_at", Moment);
        let valid_for = fields.optional("valid_for_seconds", Integer { min: 60, max: 259_200 });
        let quiet_mode = fields.optional("quiet_hours", QUIET_MODE);
        let metadata = fields.optional("metadata", MetadataTexts).unwrap_or_default();
        if let Some(problem) = body.as_deref().and_then(records::message_text::problem) {
            fields.refuse("body", &problem);
        }
        if fields.has("body") == fields.has("template") && !fields.describes() {
            fields.refuse("body", if body.is_some() { "must not be given with a template" } else { "is required, or a template" });
        }
        let text = match template {
            Some(name) => Text::Template(name, data),
            None => Text::Body(body?),
        };
        Some(Asked {
            to: to?,
            text,
            channel: channel.unwrap_or(RequestedChannel::Auto),
            from_number,
            message_type,
            scheduled_at,
            valid_for: valid_for.map(SignedDuration::from_secs),
            quiet_mode,
            metadata,
        })
    }
}

impl Form for Filters {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Filters {
            status: fields.optional("status", STATUS),
            direction: fields.optional("direction", DIRECTION),
            channel: fields.optional("channel", CARRIED),
            message_type: fields.optional("message_type", MESSAGE_TYPE),
            to: fields.optional("to", PhoneNumberText),
            from: fields.optional("from", PhoneNumberText),
            campaign: fields.optional("campaign_id", CAMPAIGN),
            since: fields.optional("from_date", Moment),
            until: fields.optional("to_date", Moment),
        })
    }
}

const CAMPAIGN: Id<MessageCampaignId> = Id::of("a campaign of messages");
pub const REQUESTED: OneOf<RequestedChannel> = OneOf { words: RequestedChannel::WORDS, parse: RequestedChannel::parse };
const STATUS: OneOf<MessageStatus> = OneOf { words: MessageStatus::WORDS, parse: MessageStatus::parse };
const CARRIED: OneOf<Channel> = OneOf { words: Channel::WORDS, parse: Channel::parse };
const DIRECTION: OneOf<Direct> = OneOf { words: Direct::WORDS, parse: Direct::parse };
