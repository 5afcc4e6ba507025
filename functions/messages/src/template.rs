//! Templates of messages: list, create, read, change, delete, and what becomes of one. One is found by its name; its id says the name.

use std::collections::BTreeMap;

use records::message_campaign::{MessageCampaign, MessageCampaignStatus, OpenCampaign};
use records::message_template::{
    MessageTemplate, MessageTemplateById, MessageTemplateChanges, MessageTemplateId, MessageTemplateName, MessageType, TemplateChannel,
};
use records::message_text::TemplateBody;
use records::sms::{Encoding, Sms};
use serde::Serialize;
use shared::http::answer::{Answer, Created, Deleted, Listing, Tagged};
use shared::http::arguments::{Body, Cursors, Found, IfMatch};
use shared::http::form::{Fields, Form};
use shared::http::idempotency::Once;
use shared::model::time::{Printed, zulu};
use shared::store::Entity as _;
use shared::tenancy::doors::{Member, Viewer};
use shared::tenancy::{Refusal, TenantStore, conflict};
use shared::{Error, Result};

use crate::rules::{BodyText, CHANNEL, MESSAGE_TYPE, TemplateName, parsed, values};

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = MessageTemplate)]
pub struct TemplateView {
    id: String,
    name: String,
    channel: TemplateChannel,
    #[serde(rename = "type")]
    message_type: MessageType,
    body: String,
    /// In the order in which they appear, each once.
    variables: Vec<String>,
    version: u64,
    created_at: Printed,
    updated_at: Printed,
}

/// What a message says.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = MessagePreview)]
pub struct PreviewView {
    body: String,
    /// Of Unicode, of which a message has at most 1,600.
    characters: u64,
    /// As SMS: the alphabet of GSM 03.38, or UTF-16 as soon as one character is not in that.
    encoding: Encoding,
    /// As SMS: of 160 septets or 70 code units, or of 153 or 67 where there are several.
    segments: u64,
}

pub struct NewTemplate {
    name: MessageTemplateName,
    channel: TemplateChannel,
    message_type: MessageType,
    body: TemplateBody,
}

pub struct Changes(MessageTemplateChanges);

pub struct WithData(BTreeMap<String, String>);

pub struct Filters {
    message_type: Option<MessageType>,
}

/// In the order of the names.
pub async fn list(door: Viewer, asked: Cursors<Filters>) -> Result<Listing<TemplateView>> {
    let keep = |template: &MessageTemplate| asked.filters.message_type.is_none_or(|wanted| template.message_type == wanted);
    let found = door.store.page(&MessageTemplate::all(), &asked.page.span(), keep).await?;
    Ok(Listing { items: found.items.iter().map(TemplateView::of).collect(), total: 0, page: asked.page, next: found.next })
}

pub async fn create(door: Member, once: Once<NewTemplate>) -> Result<Tagged<TemplateView, 201>> {
    let (store, now) = (&door.store, door.now());
    let NewTemplate { name, channel, message_type, body } = once.body;
    let id = MessageTemplateId::new(now, store.random());
    let template = MessageTemplate { id, name, channel, message_type, body, created_at: now, updated_at: now, version: 1 };
    let answer = Created::new("Template created", TemplateView::of(&template)).tagged(template.etag());
    let transaction = once.ticket.record(store.transaction(), store, &answer)?;
    transaction
        .create(store, &template, conflict("Another template has this name."))?
        .create(store, &template.by_id(), conflict("Try again."))?
        .count_many_within(store, MessageTemplate::COUNT, 1, "message_templates", MessageTemplate::MOST, &door.tenant.plan)?
        .commit()
        .await?;
    Ok(answer)
}

pub async fn show(door: Viewer, named: Found<MessageTemplateById>) -> Result<Tagged<TemplateView>> {
    Ok(answer(&template_of(&door.store, &named.0).await?))
}

pub async fn update(
    door: Member,
    named: Found<MessageTemplateById>,
    expected: IfMatch,
    changes: Body<Changes>,
) -> Result<Tagged<TemplateView>> {
    let (store, named) = (&door.store, named.0);
    let changed = store
        .edit(template_of(store, &named).await?, |template, transaction| {
            named.is_of(template)?;
            expected.check(&template.etag())?;
            let Some(changed) = template.changed(&changes.0.0, door.now()) else { return Ok(None) };
            Ok(Some((changed, transaction.require(store, &named.key(), gone())?)))
        })
        .await?;
    Ok(answer(&changed))
}

pub async fn delete(door: Member, named: Found<MessageTemplateById>, expected: IfMatch) -> Result<Answer<Deleted>> {
    let (store, named) = (&door.store, named.0);
    let is_planned = |open: &OpenCampaign| open.status == MessageCampaignStatus::Scheduled && open.template.as_ref() == Some(&named.name);
    if store.lines(&MessageCampaign::all()).await?.iter().any(is_planned) {
        return Err(Error::TemplateInUse);
    }
    store
        .remove(template_of(store, &named).await?, |template, transaction| {
            named.is_of(template)?;
            expected.check(&template.etag())?;
            transaction.delete(store, &named.key(), gone())?.count(store, MessageTemplate::COUNT, -1)
        })
        .await?;
    Ok(Answer::new("Template deleted", Deleted::of(named.id.prefixed())))
}

/// Nothing is written or sent.
pub async fn preview(door: Viewer, named: Found<MessageTemplateById>, body: Body<WithData>) -> Result<Answer<PreviewView>> {
    let text = template_of(&door.store, &named.0).await?.body.rendered(&body.0.0)?;
    Ok(Answer::new("Success", PreviewView::of(text)))
}

async fn template_of(store: &TenantStore, named: &MessageTemplateById) -> Result<MessageTemplate> {
    let template = store.get(&MessageTemplate::key_of(&named.name)).await?;
    named.is_of(&template)?;
    Ok(template)
}

/// It was deleted since it was read.
fn gone() -> Refusal {
    Box::new(|_| Error::Missing(MessageTemplate::NOUN))
}

fn answer(template: &MessageTemplate) -> Tagged<TemplateView> {
    Answer::new("Success", TemplateView::of(template)).tagged(template.etag())
}

impl TemplateView {
    fn of(template: &MessageTemplate) -> Self {
        TemplateView {
            id: template.id.prefixed(),
            name: template.name.to_string(),
            channel: template.channel,
            message_type: template.message_type,
            body: template.body.as_str().to_owned(),
            variables: template.body.variables(),
            version: template.version,
            created_at: zulu(template.created_at),
            updated_at: zulu(template.updated_at),
        }
    }
}

impl PreviewView {
    fn of(body: String) -> Self {
        let (Sms { encoding, segments }, characters) = (Sms::of(&body), body.chars().count() as u64);
        PreviewView { body, characters, encoding, segments }
    }
}

impl Form for NewTemplate {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let name = fields.required("name", TemplateName);
        let channel = fields.required("channel", CHANNEL);
        let message_type = fields.required("type", MESSAGE_TYPE);
        let body = fields.required("body", BodyText);
        let body = parsed(fields, body);
        Some(NewTemplate { name: name?, channel: channel?, message_type: message_type?, body: body? })
    }
}

impl Form for Changes {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let channel = fields.change("channel", CHANNEL);
        let message_type = fields.change("type", MESSAGE_TYPE);
        let body = fields.change("body", BodyText);
        let body = parsed(fields, body);
        Some(Changes(MessageTemplateChanges { channel, message_type, body }))
    }
}

impl Form for WithData {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(WithData(values(fields)))
    }
}

impl Form for Filters {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Filters { message_type: fields.optional("type", MESSAGE_TYPE) })
    }
}
