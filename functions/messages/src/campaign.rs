//! Campaigns of messages: create, list, read, pause, resume, cancel, send what failed once more. A request writes what is asked for; `switchboard` does the rest.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use messaging::campaigns as sending;
use records::contact::{Contact, ContactId};
use records::contact_group::{ContactGroup, ContactGroupId};
use records::message_campaign::{
    CampaignCounts, CampaignProgress, MessageCampaign, MessageCampaignId, MessageCampaignStatus, RecipientPack,
};
use records::message_template::{MessageTemplate, MessageTemplateName, MessageType};
use records::message_text::TemplateBody;
use records::messaging_settings::MessagingSettings;
use records::phone_message::{Reason, RequestedChannel};
use records::quiet_hours::QuietMode;
use serde::Serialize;
use serde_json::{Value, json};
use shared::http::answer::{Accepted, Answer, Listing, Tagged};
use shared::http::arguments::{Cursors, Found, Query};
use shared::http::endpoint::Either;
use shared::http::form::{Fields, Flag, Form, Id, Moment, Name, NoFields, OneOf, PhoneNumberText, Raw, Rule};
use shared::http::idempotency::{Once, Ticket};
use shared::http::request::LARGEST_BODY;
use shared::model::phone_number::PhoneNumber;
use shared::model::time::{Printed, zulu};
use shared::store::{Direction, Record as _};
use shared::tenancy::doors::{Member, Viewer};
use shared::tenancy::{TenantStore, Transaction, conflict};
use shared::{Error, Result};

use crate::dry_run::{self, DryRunView};
use crate::known::Known;
use crate::message::{REQUESTED, fitting, may_be_scheduled};
use crate::rules::{BodyText, QUIET_MODE, TemplateName, parsed, values};
use crate::sandbox;

/// A campaign of messages to phones.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = MessageCampaign)]
pub struct CampaignView {
    id: String,
    name: String,
    status: MessageCampaignStatus,
    /// The text, with `{{variables}}`.
    body: String,
    template: Option<String>,
    /// Values of the variables, for those whose contact has none of its own.
    data: BTreeMap<String, String>,
    message_type: MessageType,
    channel: RequestedChannel,
    quiet_hours: Option<QuietMode>,
    group_id: Option<String>,
    /// To how many numbers it goes: of a group, to at most 10,000. Null: its group is not read yet.
    recipients: Option<u64>,
    scheduled_at: Option<Printed>,
    started_at: Option<Printed>,
    ended_at: Option<Printed>,
    created_at: Printed,
    updated_at: Printed,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = MessageCampaignWithCounts)]
pub struct CountedView {
    #[serde(flatten)]
    campaign: CampaignView,
    counts: CountsView,
}

/// Recipients by what became of them: each is in one of the numbers behind `total`.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = MessageCampaignCounts)]
struct CountsView {
    /// Null: its group is not read yet.
    total: Option<u64>,
    /// Their message is not made yet.
    pending: u64,
    queued: u64,
    held: u64,
    sent: u64,
    delivered: u64,
    read: u64,
    failed: u64,
    blocked: u64,
    unknown: u64,
    cancelled: u64,
}

pub struct NewCampaign {
    name: String,
    text: Text,
    data: BTreeMap<String, String>,
    to: To,
    channel: RequestedChannel,
    scheduled_at: Option<Timestamp>,
    quiet_mode: Option<QuietMode>,
}

enum Text {
    Body(TemplateBody),
    Template(MessageTemplateName),
}

enum To {
    Named(Vec<Recipient>),
    Group(ContactGroupId),
}

#[derive(Clone)]
enum Recipient {
    Number(PhoneNumber),
    Contact(ContactId),
}

pub struct Mode {
    is_dry_run: bool,
}

pub struct Filters {
    status: Option<MessageCampaignStatus>,
}

/// To whom a campaign goes.
pub struct Recipients {
    /// Each once, in the order in which they were named first.
    pub numbers: Vec<PhoneNumber>,
    pub duplicates: u64,
    group: Option<ContactGroup>,
}

const STATUS: OneOf<MessageCampaignStatus> = OneOf { words: MessageCampaignStatus::WORDS, parse: MessageCampaignStatus::parse };
const GROUP: Id<ContactGroupId> = Id::of("a group of contacts");
const CONTACT: Id<ContactId> = Id::of("a contact");
/// Campaigns that a page with filters looks at.
const LOOKED_AT: usize = 1_000;
/// Wrong places of a list that are told.
const TOLD: usize = 20;
/// How often something is written again that meets others.
const TRIES: usize = 10;

/// Newest first.
pub async fn list(door: Viewer, asked: Cursors<Filters>) -> Result<Listing<CampaignView>> {
    let Cursors { filters, page } = asked;
    if sandbox::is_for(door.key.as_ref()) {
        return Ok(Listing { items: vec![], total: 0, page, next: None });
    }
    let keep = |campaign: &MessageCampaign| filters.status.is_none_or(|status| campaign.status == status);
    let found = door.store.page_within(&MessageCampaign::all().going(Direction::Descending), &page.span(), LOOKED_AT, keep).await?;
    Ok(Listing { items: found.items.iter().map(CampaignView::of).collect(), total: 0, page, next: found.next })
}

/// A dry run writes nothing.
pub async fn create(
    door: Member,
    mode: Query<Mode>,
    known: Known,
    once: Once<NewCampaign>,
) -> Result<Either<Accepted<CampaignView>, Answer<DryRunView>>> {
    let (store, now, Once { body: new, ticket }) = (&door.store, door.now(), once);
    let settings = known.settings.unwrap_or_else(|| MessagingSettings::unset(door.tenant.created_at));
    let (campaign, to) = new.campaign(MessageCampaignId::new(now, store.random()), known.template.as_ref(), now)?;
    let recipients = Recipients::read(store, to, mode.0.is_dry_run).await?;
    if sending::per_minute(&campaign, &known.pool, &settings) == 0 {
        return Err(Error::NoPhoneAvailable);
    }
    if mode.0.is_dry_run {
        return dry_run::run(&door, &campaign, &recipients, &known.pool, &settings).await.map(Either::Second);
    }
    if sandbox::is_for(door.key.as_ref()) {
        return Err(Error::BadRequest("A test key sends nothing: ask for a dry run.".into()));
    }
    write(&door, campaign, recipients, &ticket).await.map(Either::First)
}

pub async fn show(door: Viewer, campaign: Found<MessageCampaign>) -> Result<Tagged<CountedView>> {
    known_to(door.key.as_ref())?;
    let (store, campaign) = (&door.store, campaign.0);
    let progress = CampaignProgress::key_of(campaign.id);
    let (counts, progress) = tokio::try_join!(sending::counts(store, campaign.id), store.find(&progress))?;
    let counts = CountsView::of(&campaign, &counts, progress.as_ref());
    let view = CountedView { campaign: CampaignView::of(&campaign), counts };
    Ok(Answer::new("Success", view).tagged(campaign.etag()))
}

/// What was given to a carrier by then goes on its way.
pub async fn pause(door: Member, campaign: Found<MessageCampaign>, once: Once<NoFields>) -> Result<Tagged<CampaignView>> {
    let refusal = "Only a campaign that is sending can be paused.";
    change(&door, campaign.0, &once.ticket, "Campaign paused", |campaign, now| campaign.paused(now).ok_or(refusal)).await
}

pub async fn resume(door: Member, campaign: Found<MessageCampaign>, once: Once<NoFields>) -> Result<Tagged<CampaignView>> {
    let refusal = "Only a paused campaign can go on.";
    change(&door, campaign.0, &once.ticket, "Campaign resumed", |campaign, now| campaign.resumed(now).ok_or(refusal)).await
}

pub async fn cancel(door: Member, campaign: Found<MessageCampaign>, once: Once<NoFields>) -> Result<Tagged<CampaignView>> {
    let refusal = "A campaign that has ended cannot be cancelled.";
    change(&door, campaign.0, &once.ticket, "Campaign cancelled", |campaign, now| campaign.cancelled(now).ok_or(refusal)).await
}

/// Of an ended campaign, a few times. What is unknown may have gone, and is left alone.
pub async fn retry_failed(door: Member, campaign: Found<MessageCampaign>, once: Once<NoFields>) -> Result<Tagged<CampaignView>> {
    known_to(door.key.as_ref())?;
    let counts = sending::counts(&door.store, campaign.0.id).await?;
    let refusal = "Only a campaign that has ended and was not cancelled can be retried.";
    let retried = |campaign: &MessageCampaign, now| match campaign.retried(now) {
        Some(_) if counts.failed <= 0 => Err("None of its messages failed."),
        retried => retried.ok_or(refusal),
    };
    change(&door, campaign.0, &once.ticket, "Campaign retried", retried).await
}

/// A test key knows of no campaign: it sends nothing.
pub fn known_to(key: Option<&shared::model::api_key::ApiKey>) -> Result<()> {
    if sandbox::is_for(key) { Err(Error::Missing(MessageCampaign::NOUN)) } else { Ok(()) }
}

/// Moves a campaign to another state, and lets a worker do what follows for its messages.
async fn change(
    door: &Member,
    campaign: MessageCampaign,
    ticket: &Ticket,
    done: &'static str,
    decide: impl Fn(&MessageCampaign, Timestamp) -> Result<MessageCampaign, &'static str>,
) -> Result<Tagged<CampaignView>> {
    known_to(door.key.as_ref())?;
    let (store, now, mut campaign) = (&door.store, door.now(), campaign);
    for _ in 0..TRIES {
        let changed = decide(&campaign, now).map_err(Error::CampaignState)?;
        let answer = Answer::new(done, CampaignView::of(&changed)).tagged(changed.etag());
        let mut writing = ticket.record(store.transaction(), store, &answer)?.replace(store, &changed, &campaign)?;
        writing = match (campaign.status.has_ended(), changed.status.has_ended()) {
            (true, false) => is_open(door, writing)?,
            (false, true) => writing.count(store, MessageCampaign::OPEN, -1)?,
            _ => writing,
        };
        let progress = store.find(&CampaignProgress::key_of(campaign.id)).await?;
        // Before its start there is none, and a paused one is gone through when it goes on.
        if let Some(progress) = progress.filter(|_| changed.status != MessageCampaignStatus::Paused) {
            let after = if campaign.status.has_ended() {
                if progress.retries == CampaignProgress::MOST_RETRIES {
                    return Err(Error::CampaignState("It was retried five times."));
                }
                CampaignProgress { retries: progress.retries + 1, ..progress.clone().walking(Some(now), now) }
            } else {
                progress.clone().walking(progress.walk.and_then(|walk| walk.retries_at), now)
            };
            writing = writing.replace(store, &after.watched(now + sending::WATCHED), &progress)?;
            writing = sending::remind(writing, &door.directory, store, now + sending::WATCHED)?;
        }
        match writing.commit().await {
            // The campaign, or how far it is.
            Err(Error::Conflict(_) | Error::NotFound) => campaign = store.get(&MessageCampaign::key_of(campaign.id)).await?,
            written => return written.map(|()| answer),
        }
    }
    Err(Error::contested())
}

/// One more of them has not ended.
fn is_open<'a>(door: &Member, writing: Transaction<'a>) -> Result<Transaction<'a>> {
    writing.count_many_within(
        &door.store,
        MessageCampaign::OPEN,
        1,
        "open_message_campaigns",
        MessageCampaign::MOST_OPEN,
        &door.tenant.plan,
    )
}

async fn write(door: &Member, campaign: MessageCampaign, recipients: Recipients, ticket: &Ticket) -> Result<Accepted<CampaignView>> {
    let (store, directory) = (&door.store, &door.directory);
    let count = recipients.group.is_none().then_some(recipients.numbers.len() as u64);
    let campaign = MessageCampaign { recipients: count, ..campaign };
    let answer = Accepted::new("Campaign accepted", CampaignView::of(&campaign));
    let mut writing = ticket.record(store.transaction(), store, &answer)?.create(store, &campaign, conflict("Try again."))?;
    if let Some(template) = &campaign.template {
        let gone = Box::new(|_| Error::InvalidTemplate("There is no template of this name."));
        writing = writing.require(store, &MessageTemplate::key_of(template), gone)?;
    }
    if let Some(group) = &recipients.group {
        writing = writing.require(store, &ContactGroup::key_of(group.id), Box::new(|_| Error::Missing(ContactGroup::NOUN)))?;
    }
    for pack in RecipientPack::all_of(campaign.id, &recipients.numbers) {
        writing = writing.create(store, &pack, conflict("Try again."))?;
    }
    let writing = is_open(door, writing)?;
    let writing = match campaign.scheduled_at {
        Some(due_at) => sending::remind(writing, directory, store, due_at)?,
        None => {
            let watched_until = door.now() + sending::WATCHED;
            let progress = CampaignProgress::new(&campaign, door.now()).watched(watched_until);
            sending::remind(writing.create(store, &progress, conflict("Try again."))?, directory, store, watched_until)?
        }
    };
    writing.commit().await.map(|()| answer)
}

impl NewCampaign {
    /// With the text of its template, if it names one.
    fn campaign(self, id: MessageCampaignId, template: Option<&MessageTemplate>, now: Timestamp) -> Result<(MessageCampaign, To)> {
        may_be_scheduled(self.scheduled_at, now)?;
        let (body, template, message_type) = match self.text {
            // The safe choice for many: nobody is written to at night or without consent because somebody forgot to say what it is.
            Text::Body(body) => (body, None, MessageType::Marketing),
            Text::Template(name) => {
                let template = fitting(template, &name, self.channel)?;
                (template.body.clone(), Some(name), template.message_type)
            }
        };
        if message_type == MessageType::Otp {
            return Err(Error::InvalidTemplate("One-time passwords are not for many."));
        }
        let campaign = MessageCampaign {
            id,
            name: self.name,
            body,
            template,
            message_type,
            data: self.data,
            requested_channel: self.channel,
            quiet_mode: self.quiet_mode,
            group: match &self.to {
                To::Group(group) => Some(*group),
                To::Named(_) => None,
            },
            recipients: None,
            status: if self.scheduled_at.is_some() { MessageCampaignStatus::Scheduled } else { MessageCampaignStatus::Sending },
            scheduled_at: self.scheduled_at,
            started_at: self.scheduled_at.is_none().then_some(now),
            ended_at: None,
            created_at: now,
            updated_at: now,
            version: 1,
        };
        Ok((campaign, self.to))
    }
}

impl Recipients {
    /// Of a group, the numbers only for a dry run: who is in it is seen when the campaign starts.
    async fn read(store: &TenantStore, to: To, is_dry_run: bool) -> Result<Self> {
        let named = match to {
            To::Named(named) => named,
            To::Group(group) => {
                let group = store.find(&ContactGroup::key_of(group)).await?.ok_or(Error::Missing(ContactGroup::NOUN))?;
                let problem = match usize::try_from(group.members).unwrap_or(usize::MAX) {
                    0 => Some("names a group without contacts".to_owned()),
                    members if members > MessageCampaign::MOST => {
                        Some(format!("names a group of more than {} contacts", MessageCampaign::MOST))
                    }
                    _ => None,
                };
                if let Some(problem) = problem {
                    return Err(Error::field("group_id", format!("The group_id field {problem}.")));
                }
                let numbers = match is_dry_run {
                    true => sending::members(store, group.id, None, store.now(), MessageCampaign::MOST).await?.0,
                    false => vec![],
                };
                return Ok(Recipients { numbers, duplicates: 0, group: Some(group) });
            }
        };
        let ids: Vec<ContactId> = named.iter().filter_map(Recipient::contact).collect();
        let mut known: BTreeMap<ContactId, PhoneNumber> = BTreeMap::new();
        for some in ids.chunks(sending::TOGETHER) {
            let keys: Vec<_> = some.iter().map(|id| Contact::key_of(*id)).collect();
            known.extend(store.find_many(&keys).await?.into_iter().map(|contact| (contact.id, contact.phone_number)));
        }
        let (mut numbers, mut seen, mut unknown) = (vec![], BTreeSet::new(), vec![]);
        for (index, recipient) in named.iter().enumerate() {
            let number = match recipient {
                Recipient::Number(number) => Some(number),
                Recipient::Contact(contact) => known.get(contact),
            };
            match number {
                None => unknown.push(format!("[{index}]")),
                Some(number) if seen.insert(number.clone()) => numbers.push(number.clone()),
                Some(_) => {}
            }
        }
        if !unknown.is_empty() {
            let rest = if unknown.len() > TOLD { " and elsewhere" } else { "" };
            unknown.truncate(TOLD);
            let message = format!("The recipients field names contacts that are not there, at {}{rest}.", unknown.join(", "));
            return Err(Error::field("recipients", message));
        }
        let duplicates = (named.len() - numbers.len()) as u64;
        Ok(Recipients { numbers, duplicates, group: None })
    }
}

impl Recipient {
    fn contact(&self) -> Option<ContactId> {
        match self {
            Recipient::Contact(contact) => Some(*contact),
            Recipient::Number(_) => None,
        }
    }
}

impl CampaignView {
    fn of(campaign: &MessageCampaign) -> Self {
        CampaignView {
            id: campaign.id.prefixed(),
            name: campaign.name.clone(),
            status: campaign.status,
            body: campaign.body.as_str().to_owned(),
            template: campaign.template.as_ref().map(ToString::to_string),
            data: campaign.data.clone(),
            message_type: campaign.message_type,
            channel: campaign.requested_channel,
            quiet_hours: campaign.quiet_mode,
            group_id: campaign.group.map(|group| group.prefixed()),
            recipients: campaign.recipients,
            scheduled_at: campaign.scheduled_at.map(zulu),
            started_at: campaign.started_at.map(zulu),
            ended_at: campaign.ended_at.map(zulu),
            created_at: zulu(campaign.created_at),
            updated_at: zulu(campaign.updated_at),
        }
    }
}

impl CountsView {
    fn of(campaign: &MessageCampaign, counts: &CampaignCounts, progress: Option<&CampaignProgress>) -> Self {
        let shown = |n: i64| u64::try_from(n).unwrap_or(0);
        let total = campaign.recipients.or(progress.filter(|_| campaign.status.has_ended()).map(|progress| progress.recipients));
        let left = total.unwrap_or(0).saturating_sub(shown(counts.all()));
        let (pending, held, never) = match not_made(campaign, progress) {
            NotMade::Pending => (left, 0, 0),
            NotMade::Held(_) => (0, left, 0),
            NotMade::Never => (0, 0, left),
        };
        CountsView {
            total,
            pending,
            queued: shown(counts.queued),
            held: shown(counts.held) + held,
            sent: shown(counts.sent),
            delivered: shown(counts.delivered),
            read: shown(counts.read),
            failed: shown(counts.failed),
            blocked: shown(counts.blocked),
            unknown: shown(counts.unknown),
            cancelled: shown(counts.cancelled) + never,
        }
    }
}

/// What is to be said of recipients whose message is not made.
pub enum NotMade {
    Pending,
    /// The plan has no more of something until the next day.
    Held(Reason),
    Never,
}

pub fn not_made(campaign: &MessageCampaign, progress: Option<&CampaignProgress>) -> NotMade {
    let waits_for = progress.and_then(|progress| progress.waits_for);
    match (campaign.status, waits_for) {
        (MessageCampaignStatus::Cancelled, _) => NotMade::Never,
        (MessageCampaignStatus::Sending, Some(reason)) => NotMade::Held(reason),
        _ => NotMade::Pending,
    }
}

/// A list of numbers and of ids of contacts.
struct RecipientList;

impl Rule for RecipientList {
    type Value = Vec<Recipient>;

    fn check(&self, raw: Raw<'_>) -> Result<Vec<Recipient>, String> {
        let Raw::Json(Value::Array(items)) = raw else { return Err("must be a list".into()) };
        if items.is_empty() || items.len() > MessageCampaign::MOST {
            return Err(format!("must have between 1 and {} entries", MessageCampaign::MOST));
        }
        let read = |(index, item): (usize, &Value)| {
            let number = PhoneNumberText.check(Raw::Json(item)).map(Recipient::Number);
            let contact = || CONTACT.check(Raw::Json(item)).map(Recipient::Contact);
            number
                .or_else(|_| contact())
                .map_err(|_| format!("is wrong at [{index}], which must be a phone number like +15551234567, or the id of a contact"))
        };
        items.iter().enumerate().map(read).collect()
    }

    fn schema(&self) -> Value {
        let each = json!({"anyOf": [PhoneNumberText.schema(), CONTACT.schema()]});
        json!({"type": "array", "minItems": 1, "maxItems": MessageCampaign::MOST, "items": each})
    }
}

impl Form for NewCampaign {
    const MAX_BYTES: usize = LARGEST_BODY;

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let name = fields.required("name", Name { max: MessageCampaign::NAME });
        let body = fields.optional("body", BodyText);
        let template = fields.optional("template", TemplateName);
        let data = values(fields);
        let recipients = fields.optional("recipients", RecipientList);
        let group = fields.optional("group_id", GROUP);
        let channel = fields.optional("channel", REQUESTED);
        let scheduled_at = fields.optional("scheduled_at", Moment);
        let quiet_mode = fields.optional("quiet_hours", QUIET_MODE);
        let body = parsed(fields, body);
        if fields.has("body") == fields.has("template") && !fields.describes() {
            fields.refuse("body", if fields.has("body") { "must not be given with a template" } else { "is required, or a template" });
        }
        if !fields.has("recipients") && !fields.has("group_id") && !fields.describes() {
            fields.refuse("recipients", "is required, or a group_id");
        }
        let text = match template {
            Some(name) => Text::Template(name),
            None => Text::Body(body?),
        };
        // A group wins.
        let to = match group {
            Some(group) => To::Group(group),
            None => To::Named(recipients?),
        };
        let channel = channel.unwrap_or(RequestedChannel::Auto);
        Some(NewCampaign { name: name?, text, data, to, channel, scheduled_at, quiet_mode })
    }
}

impl Form for Mode {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Mode { is_dry_run: fields.optional("dry_run", Flag).unwrap_or(false) })
    }
}

impl Form for Filters {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Filters { status: fields.optional("status", STATUS) })
    }
}
