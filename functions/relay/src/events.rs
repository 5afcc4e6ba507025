//! Which changes of the table are events that customers are told of: the one place where that is decided. A change is at most one event. A new kind of
//! record adds an arm here, and nothing else: keeping the event, delivering and signing it are the same for all.

use records::event::{Event, EventId, EventKind};
use records::webhook::WebhookHealth;
use serde_json::{Map, Value, json};
use shared::Result;
use shared::store::Entity;
use shared::tenancy::jobs::{Change, ChangeKind};

/// The event that a change is. The same change, seen again, is the same event.
pub fn of(change: &Change) -> Result<Option<Event>> {
    if change.kind == ChangeKind::Removed {
        return Ok(None);
    }
    let Some((kind, data)) = what(change)? else { return Ok(None) };
    let (happened_at, mark) = change.written()?;
    Ok(Some(Event { id: EventId::of(happened_at, &mark, kind), kind, happened_at, data }))
}

/// What happened, and what is told of it: names ending in `_id` are told to those too who want ids alone.
fn what(change: &Change) -> Result<Option<(EventKind, Map<String, Value>)>> {
    match change.entity.as_str() {
        WebhookHealth::TYPE => {
            let health: WebhookHealth = change.record()?;
            let kind = health.told_after(change.earlier::<WebhookHealth>()?.as_ref());
            Ok(kind.map(|kind| {
                let since = health.failing_since.map(shared::model::time::zulu);
                (kind, object(json!({"webhook_id": health.id.prefixed(), "failing_since": since, "sequence": health.version})))
            }))
        }
        _ => Ok(None),
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}
