//! Which changes of the table are events that customers are told of: the one place where that is decided. A change is at most one event. A new kind of
//! record adds an arm here, and nothing else: keeping the event, delivering and signing it are the same for all.

use records::consent_anchor::ConsentAnchor;
use records::event::{Event, EventId, EventKind};
use records::message_campaign::{MessageCampaign, MessageCampaignStatus};
use records::opt_out::OptOut;
use records::phone_message::{MessageStatus, PhoneMessage, Way};
use records::webhook::WebhookHealth;
use serde_json::{Map, Value, json};
use shared::Result;
use shared::model::time::zulu;
use shared::store::Entity;
use shared::tenancy::jobs::{Change, ChangeKind};

/// The event that a change is. The same change, seen again, is the same event.
pub fn of(change: &Change) -> Result<Option<Event>> {
    // What an operator puts back has happened before, elsewhere.
    if change.kind == ChangeKind::Removed || change.is_by("operator") {
        return Ok(None);
    }
    let Some((kind, data)) = what(change)? else { return Ok(None) };
    let (happened_at, mark) = change.written()?;
    Ok(Some(Event::new(EventId::of(happened_at, &mark, kind), kind, happened_at, data)))
}

/// What happened, and what is told of it: names ending in `_id` are told to those too who want ids alone.
fn what(change: &Change) -> Result<Option<(EventKind, Map<String, Value>)>> {
    match change.entity.as_str() {
        WebhookHealth::TYPE => {
            let health: WebhookHealth = change.record()?;
            let kind = health.told_after(change.earlier::<WebhookHealth>()?.as_ref());
            Ok(kind.map(|kind| {
                let since = health.failing_since.map(zulu);
                (kind, object(json!({"webhook_id": health.id.prefixed(), "failing_since": since, "sequence": health.version})))
            }))
        }
        PhoneMessage::TYPE => {
            let message: PhoneMessage = change.record()?;
            let kind = of_message(change.earlier::<PhoneMessage>()?.as_ref(), &message);
            Ok(kind.map(|kind| (kind, about_message(&message))))
        }
        MessageCampaign::TYPE => {
            let campaign: MessageCampaign = change.record()?;
            let kind = of_campaign(change.earlier::<MessageCampaign>()?.as_ref(), &campaign);
            Ok(kind.map(|kind| (kind, about_campaign(&campaign))))
        }
        OptOut::TYPE => {
            let opt_out: OptOut = change.record()?;
            let kind = of_opt_out(change.earlier::<OptOut>()?.as_ref(), &opt_out);
            Ok(kind.map(|kind| (kind, about_opt_out(&opt_out))))
        }
        // It never changes.
        ConsentAnchor::TYPE => Ok(Some((EventKind::ConsentAnchored, about_anchor(&change.record()?)))),
        _ => Ok(None),
    }
}

/// What happened to a message is where it is now, if it is another place than before. That a worker has it, and that it is tried again, is no news.
fn of_message(before: Option<&PhoneMessage>, message: &PhoneMessage) -> Option<EventKind> {
    let before = before.map(|before| before.status.shown());
    if before == Some(message.status.shown()) {
        return None;
    }
    match message.status {
        MessageStatus::Scheduled | MessageStatus::Sending => None,
        MessageStatus::Held => Some(EventKind::MessageHeld),
        MessageStatus::Queued => Some(EventKind::MessageQueued),
        MessageStatus::Sent => Some(EventKind::MessageSent),
        MessageStatus::Delivered => Some(EventKind::MessageDelivered),
        MessageStatus::Read => Some(EventKind::MessageRead),
        MessageStatus::Failed => Some(EventKind::MessageFailed),
        MessageStatus::Blocked => Some(EventKind::MessageBlocked),
        MessageStatus::Unknown => Some(EventKind::MessageUnknown),
        MessageStatus::Cancelled => Some(EventKind::MessageCancelled),
        MessageStatus::Received => Some(EventKind::MessageReceived),
    }
}

/// What was said is told only of what came in: who sent a message knows it. A receiver drops what has a lower `sequence` than it has seen.
fn about_message(message: &PhoneMessage) -> Map<String, Value> {
    let body = (message.direction == Way::Inbound).then_some(&message.body);
    object(json!({
        "message_id": message.id.prefixed(),
        "direction": message.direction,
        "from": message.from,
        "to": message.to,
        "body": body,
        "channel": message.channel,
        "message_type": message.message_type,
        "status": message.status.shown(),
        "reason": message.reason,
        "segments": message.segments(),
        "metadata": message.metadata,
        "campaign_id": message.campaign.map(|campaign| campaign.prefixed()),
        "sequence": message.version,
    }))
}

/// That it was paused, went on or is tried again is known to whoever did so.
fn of_campaign(before: Option<&MessageCampaign>, campaign: &MessageCampaign) -> Option<EventKind> {
    let (was, is) = (before.map(|before| before.status), campaign.status);
    match is {
        _ if was == Some(is) => None,
        MessageCampaignStatus::Sending if was.is_none_or(|was| was == MessageCampaignStatus::Scheduled) => Some(EventKind::CampaignStarted),
        MessageCampaignStatus::Completed | MessageCampaignStatus::Failed => Some(EventKind::CampaignCompleted),
        MessageCampaignStatus::Cancelled => Some(EventKind::CampaignCancelled),
        MessageCampaignStatus::Scheduled | MessageCampaignStatus::Sending | MessageCampaignStatus::Paused => None,
    }
}

fn about_campaign(campaign: &MessageCampaign) -> Map<String, Value> {
    object(json!({
        "campaign_id": campaign.id.prefixed(),
        "name": campaign.name,
        "status": campaign.status,
        "recipients": campaign.recipients,
        "started_at": campaign.started_at.map(zulu),
        "ended_at": campaign.ended_at.map(zulu),
        "sequence": campaign.version,
    }))
}

fn of_opt_out(before: Option<&OptOut>, opt_out: &OptOut) -> Option<EventKind> {
    let was_active = before.is_some_and(OptOut::is_active);
    let was_suspected = before.is_some_and(|before| before.suspected.is_some());
    match (was_active, opt_out.is_active()) {
        (false, true) => Some(EventKind::ContactOptedOut),
        (true, false) => Some(EventKind::ContactOptedIn),
        _ if opt_out.suspected.is_some() && !was_suspected => Some(EventKind::ContactOptOutSuspected),
        _ => None,
    }
}

fn about_opt_out(opt_out: &OptOut) -> Map<String, Value> {
    object(json!({
        "phone_number": opt_out.phone_number,
        "active": opt_out.is_active(),
        "source": opt_out.source,
        "keyword": opt_out.keyword,
        "channel": opt_out.channel,
        "phrase": opt_out.suspected.as_ref().map(|suspected| &suspected.phrase),
        "opted_out_at": opt_out.opted_out_at.map(zulu),
        "opted_back_in_at": opt_out.opted_back_in_at.map(zulu),
        "sequence": opt_out.version,
    }))
}

fn about_anchor(anchor: &ConsentAnchor) -> Map<String, Value> {
    object(json!({
        "number": anchor.number,
        "anchored_at": zulu(anchor.anchored_at),
        "heads": anchor.heads,
        "root": anchor.root,
        "previous": anchor.previous,
        "hash": anchor.digest,
    }))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}
