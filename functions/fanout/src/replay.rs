//! Delivers events of some time to a webhook again, a page for each job. The page is done when the replay says that it was: one that was cut off is done
//! again, and finds what it has begun. So nothing is left out or counted twice.

use records::delivery::Delivery;
use records::event::{Event, EventId};
use records::replay::{Page, Replay, Selection, Then, Turned};
use records::webhook::Webhook;
use shared::model::tenant::{Inaccessible, Tenant};
use shared::store::Record;
use shared::tenancy::jobs::WorkContext;
use shared::tenancy::{TenantStore, conflict};
use shared::{Error, Result};

use crate::attempt::{settled, store_of};
use crate::publish::write;

/// Records that are read together.
const TOGETHER: usize = 100;
/// Records that a page looks at, in which there may be few that are wanted.
const LOOKED_AT: usize = 1_000;
/// How often a delivery is written that others change at the same time.
const TRIES: usize = 10;

/// What a page looks at.
enum Seen {
    Event(Event),
    Delivery(Delivery),
}

/// Whoever comes too late, or twice, finds that the page is not awaited.
pub async fn go_on(context: &WorkContext, page: &Page) -> Result<()> {
    let store = store_of(context)?;
    let (replay, webhook, tenant) = (Replay::running(page.webhook), Webhook::key_of(page.webhook), Tenant::key_of());
    let (replay, webhook, tenant) = store.find_together((&replay, &webhook, &tenant)).await?;
    let Some(replay) = replay.filter(|replay| replay.awaits(page)) else { return Ok(()) };
    let now = context.now();
    let is_gone = |tenant: &Tenant| tenant.inaccessible(now).is_some_and(|reason| reason != Inaccessible::Suspended);
    let after = match (webhook, tenant) {
        (Some(webhook), Some(tenant)) if !is_gone(&tenant) => {
            if webhook.enabled {
                replay.after(turn(store, &replay, &webhook).await?, now)
            } else {
                replay.stopped(now)
            }
        }
        // Nobody can read what became of it.
        _ => return settled(store.transaction().delete_unchanged(store, &replay)?.commit().await),
    };
    let transaction = store.transaction();
    let transaction = if after.is_running() {
        transaction.replace(store, &after, &replay)?
    } else {
        transaction.while_kept(store)?.delete_unchanged(store, &replay)?.create(store, &after, conflict("It has ended."))?
    };
    settled(transaction.commit().await)
}

/// Delivers again what the next page has.
async fn turn(store: &TenantStore, replay: &Replay, webhook: &Webhook) -> Result<Turned> {
    let (mut place, mut replayed, mut looked_at) = (replay.from(store.now()), 0, 0);
    let turned = |place, replayed, then| Ok(Turned { place, replayed, then });
    while looked_at < LOOKED_AT {
        let (seen, has_more) = following(store, replay, place).await?;
        looked_at += seen.len().max(1);
        for one in seen {
            let id = one.event();
            if id >= replay.end() {
                return turned(place, replayed, Then::Ends);
            }
            if one.is_wanted(replay, webhook) {
                if replayed == replay.room() {
                    let is_full = replay.replayed + replayed == Replay::MOST;
                    return turned(place, replayed, if is_full { Then::IsFull(id.moment()) } else { Then::GoesOn });
                }
                again(store, replay, one).await?;
                replayed += 1;
            }
            place = id;
        }
        if !has_more {
            return turned(place, replayed, Then::Ends);
        }
    }
    turned(place, replayed, Then::GoesOn)
}

/// Some of what lies behind an event, and whether there is more.
async fn following(store: &TenantStore, replay: &Replay, place: EventId) -> Result<(Vec<Seen>, bool)> {
    match replay.selects {
        Selection::All => {
            let (events, next) = store.after(&Event::all(), Some(&Event::key_of(place)), TOGETHER).await?;
            Ok((events.into_iter().map(Seen::Event).collect(), next.is_some()))
        }
        Selection::Failed => {
            let (list, place) = (Delivery::of_webhook(replay.webhook), Delivery::key_of(replay.webhook, place));
            let (deliveries, next) = store.after(&list, Some(&place), TOGETHER).await?;
            Ok((deliveries.into_iter().map(Seen::Delivery).collect(), next.is_some()))
        }
    }
}

async fn again(store: &TenantStore, replay: &Replay, one: Seen) -> Result<()> {
    let key = Delivery::key_of(replay.webhook, one.event());
    let mut known = match &one {
        Seen::Delivery(delivery) => Some(delivery.clone()),
        Seen::Event(_) => store.find(&key).await?,
    };
    for _ in 0..TRIES {
        match (&known, &one) {
            (Some(delivery), _) => {
                let Some(again) = delivery.replayed(replay.id, store.now()) else { return Ok(()) };
                if store.replace_if(&again, delivery).await? {
                    return Ok(());
                }
            }
            (None, Seen::Event(event)) => {
                let new = Delivery { replay: Some(replay.id), ..Delivery::new(replay.webhook, event, false, store.now()) };
                match write(store, &[], &[new]).await {
                    Err(Error::Conflict(_)) => {}
                    // Of a purged tenant.
                    Err(Error::NotFound) => return Ok(()),
                    written => return written,
                }
            }
            (None, Seen::Delivery(_)) => return Ok(()),
        }
        known = store.find(&key).await?;
    }
    Err(Error::Unavailable { doing: "delivering an event again", cause: "others change its delivery all the time".into() })
}

impl Seen {
    /// Where it lies.
    fn event(&self) -> EventId {
        match self {
            Seen::Event(event) => event.id(),
            Seen::Delivery(delivery) => delivery.event,
        }
    }

    fn is_wanted(&self, replay: &Replay, webhook: &Webhook) -> bool {
        match self {
            Seen::Event(event) => replay.wants_event(webhook, event),
            Seen::Delivery(delivery) => replay.wants_delivery(delivery),
        }
    }
}
