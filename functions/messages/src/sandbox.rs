//! Messages of test keys (`tf_test_…`): answered at once, in a list of their own, without quota, usage or delivery.

use jiff::Timestamp;
use records::phone_message::{MessageStatus, NewMessage, PhoneMessage, PhoneMessageId, Way};
use records::sandbox_message::{SandboxMessage, SandboxMessageId};
use records::sms::Sms;
use shared::http::answer::{Accepted, Listing};
use shared::http::catalogue::Operation;
use shared::http::endpoint::Argument;
use shared::http::idempotency::Ticket;
use shared::http::paging::PageRequest;
use shared::ids::PathId;
use shared::model::api_key::ApiKey;
use shared::model::time::zulu;
use shared::store::{Direction, Record as _};
use shared::tenancy::doors::{Member, Viewer};
use shared::tenancy::{Entered, Incoming, Wants, conflict};
use shared::{Error, Result};

use crate::message::{AcceptedView, Filters, MessageView, Shown};

/// The message that the path names, of either kind.
pub enum SandboxMessages {
    Live(Box<PhoneMessage>),
    Sandbox(Box<SandboxMessage>),
}

/// Messages that a page with filters looks at.
const LOOKED_AT: usize = 1_000;

pub fn is_for(key: Option<&ApiKey>) -> bool {
    key.is_some_and(ApiKey::is_test)
}

/// For what is done to messages that go somewhere: a test key knows of none.
pub fn is_none_for(key: Option<&ApiKey>) -> Result<()> {
    if is_for(key) { Err(Error::Missing(PhoneMessage::NOUN)) } else { Ok(()) }
}

impl SandboxMessages {
    /// A key sees those of its own kind, and a person both.
    pub fn is_for(&self, key: Option<&ApiKey>) -> Result<()> {
        let Some(key) = key else { return Ok(()) };
        let is_sandbox = matches!(self, SandboxMessages::Sandbox(_));
        if is_sandbox == is_for(Some(key)) { Ok(()) } else { Err(Error::Missing(PhoneMessage::NOUN)) }
    }
}

pub async fn send(door: &Member, new: NewMessage, ticket: &Ticket) -> Result<Accepted<AcceptedView>> {
    let (store, now) = (&door.store, door.now());
    let message = SandboxMessage::new(SandboxMessageId::new(now, store.random()), new, now);
    let message = message.ok_or_else(|| Error::internal("writing a message of a test key", "its line has no number"))?;
    let (status, reason) = message.status(now);
    let answer = Accepted::new(
        "Message accepted",
        AcceptedView {
            message_id: message.id.prefixed(),
            status,
            reason,
            to: message.to.clone(),
            from: Some(message.from.clone()),
            channel: message.channel(),
            segments: Sms::of(&message.body).segments,
            estimated_delivery_ms: Some(0),
            scheduled_at: message.scheduled_at.map(zulu),
            sandbox: true,
        },
    );
    ticket.record(store.transaction(), store, &answer)?.create(store, &message, conflict("Try again."))?.commit().await?;
    Ok(answer)
}

/// Newest first.
pub async fn list(door: &Viewer, filters: &Filters, page: PageRequest) -> Result<Listing<MessageView>> {
    let now = door.now();
    let keep = |message: &SandboxMessage| {
        filters.keeps(&Shown {
            status: message.status(now).0,
            direction: Way::Outbound,
            channel: message.channel(),
            message_type: message.message_type,
            to: &message.to,
            from: Some(&message.from),
            campaign: None,
            created_at: message.created_at,
        })
    };
    let found = door.store.page_within(&SandboxMessage::all().going(Direction::Descending), &page.span(), LOOKED_AT, keep).await?;
    Ok(Listing { items: found.items.iter().map(|message| view(message, now)).collect(), total: 0, page, next: found.next })
}

pub fn view(message: &SandboxMessage, now: Timestamp) -> MessageView {
    let (status, reason) = message.status(now);
    let (is_out, is_there) = (matches!(status, MessageStatus::Sent | MessageStatus::Delivered), status == MessageStatus::Delivered);
    MessageView {
        id: message.id.prefixed(),
        direction: Way::Outbound,
        to: message.to.clone(),
        from: Some(message.from.clone()),
        body: message.body.clone(),
        template: message.template.as_ref().map(ToString::to_string),
        campaign_id: None,
        channel: message.channel(),
        requested_channel: message.requested_channel,
        message_type: message.message_type,
        status,
        reason,
        segments: Sms::of(&message.body).segments,
        metadata: message.metadata.clone(),
        sandbox: true,
        replaced_by: None,
        created_at: zulu(message.created_at),
        scheduled_at: message.scheduled_at.map(zulu),
        queued_at: Some(zulu(message.sent_at())).filter(|_| status != MessageStatus::Scheduled),
        sent_at: is_out.then(|| zulu(message.sent_at())),
        delivered_at: is_there.then(|| zulu(message.delivered_at())),
        read_at: None,
        failed_at: (status == MessageStatus::Failed).then(|| zulu(message.sent_at())),
    }
}

impl Argument for SandboxMessages {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        wants.means::<PhoneMessage>();
        match Id::of(incoming) {
            Some(Id::Live(id)) => wants.named(&PhoneMessage::key_of(id)),
            Some(Id::Sandbox(id)) => wants.named(&SandboxMessage::key_of(id)),
            None => {}
        }
    }

    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        let found = match Id::of(incoming) {
            Some(Id::Live(id)) => entered.find(&PhoneMessage::key_of(id)).await?.map(|message| SandboxMessages::Live(message.into())),
            Some(Id::Sandbox(id)) => {
                entered.find(&SandboxMessage::key_of(id)).await?.map(|message| SandboxMessages::Sandbox(message.into()))
            }
            None => None,
        };
        found.ok_or(Error::Missing(PhoneMessage::NOUN))
    }

    fn describe(operation: &mut Operation) {
        operation.names(serde_json::json!({
            "type": "string", "pattern": "^((msg|sb)_[0-9A-Fa-f]{32}|[0-9A-Fa-f-]{36})$",
            "description": "`msg_` or, for messages of test keys, `sb_`, and 32 hex digits.",
        }));
    }
}

enum Id {
    Live(PhoneMessageId),
    Sandbox(SandboxMessageId),
}

impl Id {
    fn of(incoming: &Incoming) -> Option<Self> {
        let text = incoming.path_values.last()?;
        if text.starts_with("sb_") {
            return SandboxMessageId::from_path(text).map(Id::Sandbox);
        }
        PhoneMessageId::from_path(text).map(Id::Live)
    }
}
