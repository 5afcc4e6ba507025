//! Whose turn it is: a webhook is told no faster than it wants, and more rarely while it fails. What finds no turn waits, and goes step by step, the oldest
//! event first. And how long it lets callers wait.

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use records::delivery::Delivery;
use records::event::EventId;
use records::webhook::{Webhook, WebhookHealth, WebhookId};
use records::webhook_pace::{Found, Step, WebhookPace};
use shared::store::Record as _;
use shared::tenancy::jobs::WorkContext;
use shared::tenancy::{TenantStore, conflict, missing};
use shared::{Error, Result};
use tokio::sync::{Mutex, MutexGuard};

use crate::attempt::{settled, store_of};

/// How often a pace is changed where others change it at the same time.
const TRIES: usize = 20;
const WAIT: Duration = Duration::from_millis(40);
/// Deliveries that are written at the same time.
const AT_ONCE: usize = 16;

/// What the jobs of a batch change one after another: the pace and the health of a webhook. Of two that read one at the same time, one would write in vain.
#[derive(Default)]
pub struct Turns(Mutex<()>);

impl Turns {
    pub async fn next(&self) -> MutexGuard<'_, ()> {
        self.0.lock().await
    }
}

/// Takes a turn of now. Where there is none, or others take them all the time, the delivery has to wait.
pub async fn take_turn(turns: &Turns, store: &TenantStore, webhook: WebhookId, every: SignedDuration, now: Timestamp) -> Result<bool> {
    Ok(change(turns, store, webhook, now, |pace| pace.turn(every, now)).await? == Changed::Yes)
}

/// A call came back after a while. `seen`: the pace as it was a moment ago. Mostly it says that there is nothing to write. Where others change it all the time,
/// the next answer says the same.
pub async fn answered(
    turns: &Turns,
    store: &TenantStore,
    webhook: WebhookId,
    seen: Option<WebhookPace>,
    took: Duration,
    now: Timestamp,
) -> Result<()> {
    if seen.is_some_and(|pace| pace.answered(took, now).is_none()) {
        return Ok(());
    }
    change(turns, store, webhook, now, |pace| pace.answered(took, now)).await.map(drop)
}

/// A delivery waits: makes sure that a step finds it.
pub async fn join(turns: &Turns, store: &TenantStore, webhook: WebhookId, now: Timestamp) -> Result<()> {
    change(turns, store, webhook, now, |pace| pace.joined(now)).await?.settled("waiting for a turn")
}

/// Lets some of those go that wait. A step that was cut off is done again, and finds what is left. One that comes twice finds that it is not awaited.
pub async fn step(context: &WorkContext, turns: &Turns, step: &Step) -> Result<()> {
    let (store, id, now) = (store_of(context)?, step.webhook, context.app.clock().now());
    let (pace, webhook, health) = (WebhookPace::key_of(id), Webhook::key_of(id), WebhookHealth::key_of(id));
    let (pace, webhook, health) = store.find_together((&pace, &webhook, &health)).await?;
    // With its webhook goes its pace, and what waits means nothing.
    let (Some(pace), Some(webhook)) = (pace.filter(|pace| pace.awaits(step)), webhook) else { return Ok(()) };
    let every = webhook.every(WebhookHealth::state_of(health.as_ref()));
    let lines = store.first_lines(&Delivery::of_webhook(id), WebhookPace::room(every)).await?;
    let waiting = waiting(store, id, &lines).await?;
    let found = Found { lines: lines.len(), turns: waiting.len() };
    let moments: Vec<_> = waiting.into_iter().zip(pace.turns(every, now)).collect();
    let given = stream::iter(moments).map(|(delivery, turn)| async move { give_turn(store, &delivery, turn).await });
    let given: Vec<bool> = given.buffer_unordered(AT_ONCE).collect().await;
    if !given.is_empty() && !given.contains(&true) {
        return Err(Error::Unavailable { doing: "giving turns", cause: "none could be written".into() });
    }
    // Deliveries take turns meanwhile, which makes it no other step.
    let stepped = |pace: &WebhookPace| pace.awaits(step).then(|| pace.stepped(found, every, now));
    change(turns, store, id, now, stepped).await?.settled("noting a step")
}

/// The deliveries to which lines of the index lead. A line may outlive that its delivery waits. The line of one that has expired would stay in the way
/// until DynamoDB deletes it.
async fn waiting(store: &TenantStore, webhook: WebhookId, lines: &[EventId]) -> Result<Vec<Delivery>> {
    let keys: Vec<_> = lines.iter().map(|event| Delivery::key_of(webhook, *event)).collect();
    let found = store.find_many(&keys).await?;
    for key in lines.iter().filter(|line| !found.iter().any(|delivery| delivery.event == **line)).zip(&keys).map(|(_, key)| key) {
        settled(store.delete(key).await)?;
    }
    Ok(found.into_iter().filter(Delivery::is_waiting).collect())
}

/// Whether it could be written. What could not waits for the next step. Whoever changed it meanwhile has more to say about it.
async fn give_turn(store: &TenantStore, delivery: &Delivery, turn: Timestamp) -> bool {
    let given = store.replace_if(&delivery.given_turn(turn), delivery).await;
    given.inspect_err(|error| tracing::error!(webhook = %delivery.webhook, %error, "a delivery got no turn")).is_ok()
}

/// What became of a change of a pace.
#[derive(PartialEq)]
enum Changed {
    Yes,
    /// There is nothing to change.
    No,
    /// Others changed it all the time.
    Contested,
}

impl Changed {
    fn settled(self, doing: &'static str) -> Result<()> {
        match self {
            Changed::Yes | Changed::No => Ok(()),
            Changed::Contested => Err(Error::Unavailable { doing, cause: "others change the pace all the time".into() }),
        }
    }
}

/// Changes a pace, as it is when nobody else writes.
async fn change(
    turns: &Turns,
    store: &TenantStore,
    webhook: WebhookId,
    now: Timestamp,
    to: impl Fn(&WebhookPace) -> Option<WebhookPace>,
) -> Result<Changed> {
    let _mine = turns.next().await;
    for _ in 0..TRIES {
        let before = store.find(&WebhookPace::key_of(webhook)).await?;
        let pace = before.clone().unwrap_or_else(|| WebhookPace::new(webhook, now));
        let Some(after) = to(&pace) else { return Ok(Changed::No) };
        if write(store, before.as_ref(), &after).await? {
            return Ok(Changed::Yes);
        }
        // Whoever met others comes back at another moment than they.
        tokio::time::sleep(WAIT.mul_f64(store.random().fraction())).await;
    }
    Ok(Changed::Contested)
}

/// Whether nobody else wrote meanwhile.
async fn write(store: &TenantStore, before: Option<&WebhookPace>, after: &WebhookPace) -> Result<bool> {
    let Some(before) = before else {
        // With the webhook, so that it goes with it.
        let first = store.transaction().while_kept(store)?.require(store, &Webhook::key_of(after.id), missing())?;
        return match first.create(store, after, conflict("It is there."))?.commit().await {
            Err(Error::Conflict(_)) => Ok(false),
            // Gone, and with it what it is told.
            Err(Error::NotFound | Error::Missing(_)) => Ok(true),
            made => made.map(|()| true),
        };
    };
    store.replace_if(after, before).await
}
