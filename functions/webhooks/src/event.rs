//! Events for those who ask: newest first, or in the order in which they were told, to read on from where one was.

use jiff::Timestamp;
use records::event::{Event, EventFilter, EventId, Payload, Place, Told};
use serde::Serialize;
use shared::http::answer::{Answer, Listing};
use shared::http::arguments::{Cursors, Found};
use shared::http::form::{Fields, Form, Moment, OneOf};
use shared::ids::TenantId;
use shared::model::api_key::ApiKey;
use shared::store::{Direction, Position, Record};
use shared::tenancy::TenantStore;
use shared::tenancy::doors::Viewer;
use shared::{Error, Result};

use crate::rules::EventText;

/// Events that a page looks at.
const LOOKED_AT: usize = 1_000;
/// Events that are read together.
const TOGETHER: usize = 250;

const ORDER: OneOf<Direction> = OneOf {
    words: &["desc", "asc"],
    parse: |word| match word {
        "desc" => Some(Direction::Descending),
        "asc" => Some(Direction::Ascending),
        _ => None,
    },
};

/// As a webhook is told of it, with `payload: full`.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Event)]
pub struct EventView {
    /// What a webhook finds in `webhook-id`.
    id: String,
    #[serde(flatten)]
    told: Told,
}

pub struct Filters {
    kind: Option<EventFilter>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    order: Direction,
}

/// Which part of the events a walk sees, and in what order.
struct Walk {
    direction: Direction,
    /// Behind this one, in the direction.
    from: Option<EventId>,
    /// Before this one, in the direction.
    to: Option<EventId>,
    /// It never ends: whoever reads on from there comes to what is told later.
    reads_on: bool,
}

/// A test key sees nothing that happened to what is real.
pub async fn list(door: Viewer, asked: Cursors<Filters>) -> Result<Listing<EventView>> {
    let Cursors { filters, page } = asked;
    let after = page.span().after.as_ref().and_then(|position| EventId::parse(position.key()));
    let walk = filters.walk(after, door.now());
    let (events, next) = if door.key.as_ref().is_some_and(ApiKey::is_test) {
        (vec![], walk.end())
    } else {
        walk.page(&door.store, &filters, page.limit).await?
    };
    let items = events.iter().map(|event| EventView::of(event, door.tenant.id)).collect();
    Ok(Listing { items, total: 0, page, next: next.map(|id| Position::after(&Event::key_of(id))) })
}

pub async fn show(door: Viewer, event: Found<Event>) -> Result<Answer<EventView>> {
    // Only we know where a copy lies.
    if door.key.as_ref().is_some_and(ApiKey::is_test) || event.0.is_copy() {
        return Err(Error::Missing("Event"));
    }
    Ok(Answer::new("Success", EventView::of(&event.0, door.tenant.id)))
}

impl Filters {
    /// Oldest first and without an end, it is for those who read on: in the order of being told, and only what is settled, so that nothing comes in behind
    /// them. What is asked for with an end, or newest first, is shown as it happened.
    fn walk(&self, after: Option<EventId>, now: Timestamp) -> Walk {
        let (since, until) = (self.since.map(EventId::at), self.until.map(end_of));
        let (direction, reads_on) = (self.order, self.order == Direction::Ascending && self.until.is_none());
        let (from, to) = match direction {
            Direction::Ascending => (since, until),
            Direction::Descending => (until, since),
        };
        let from = after.or(from);
        if !reads_on {
            return Walk { direction, from, to, reads_on };
        }
        let settled = EventId::at(now.saturating_sub(Event::SETTLED).unwrap_or(Timestamp::MIN));
        // Clocks differ: whoever has read so far does not go back.
        Walk { direction, from, to: Some(from.map_or(settled, |from| from.max(settled))), reads_on }
    }

    fn keeps(&self, event: &Event, walk: &Walk) -> bool {
        let is_here = if walk.reads_on { event.place != Place::Passed } else { !event.is_copy() };
        is_here
            && self.kind.is_none_or(|filter| filter.takes(event.kind))
            && self.since.is_none_or(|since| event.happened_at >= since)
            && self.until.is_none_or(|until| event.happened_at < until)
    }
}

/// Behind all of a moment that began.
fn end_of(until: Timestamp) -> EventId {
    EventId::at(until.saturating_add(jiff::SignedDuration::from_millis(1)).unwrap_or(Timestamp::MAX))
}

impl Walk {
    async fn page(&self, store: &TenantStore, filters: &Filters, limit: usize) -> Result<(Vec<Event>, Option<EventId>)> {
        let list = Event::all().going(self.direction);
        let (mut events, mut looked_at): (Vec<Event>, usize) = (vec![], 0);
        let mut after = self.from.map(Event::key_of);
        loop {
            let wanted = if looked_at == 0 { limit + 1 } else { TOGETHER };
            let (found, next) = store.after(&list, after.as_ref(), wanted).await?;
            looked_at += wanted;
            let last = found.last().map(Record::id);
            for event in found {
                if self.is_over(event.id()) {
                    return Ok((events, self.end()));
                }
                if filters.keeps(&event, self) {
                    if events.len() == limit {
                        return Ok((events.clone(), events.last().map(Record::id)));
                    }
                    events.push(event);
                }
            }
            match (next, last) {
                (None, _) => return Ok((events, self.end())),
                // However few there are: the next page goes on from here.
                (Some(_), Some(last)) if looked_at >= LOOKED_AT => return Ok((events, Some(last))),
                (next, _) => after = next,
            }
        }
    }

    fn is_over(&self, id: EventId) -> bool {
        self.to.is_some_and(|to| if self.direction == Direction::Ascending { id >= to } else { id < to })
    }

    /// Where to go on from when nothing is left.
    fn end(&self) -> Option<EventId> {
        self.to.filter(|_| self.reads_on)
    }
}

impl EventView {
    fn of(event: &Event, tenant: TenantId) -> Self {
        EventView { id: event.id.prefixed(), told: event.told(tenant, Payload::Full) }
    }
}

impl Form for Filters {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Filters {
            kind: fields.optional("type", EventText),
            since: fields.optional("since", Moment),
            until: fields.optional("until", Moment),
            order: fields.optional("order", ORDER).unwrap_or(Direction::Descending),
        })
    }
}
