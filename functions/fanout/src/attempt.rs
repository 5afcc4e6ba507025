//! Attempts: signs the next one of a delivery, and notes what became of it.

use std::time::Duration;

use records::delivery::{AttemptError, Delivery, DeliveryAttempt, GivenUp, Outgoing, Returned, Ticket};
use records::event::{Event, EventId};
use records::webhook::{HealthState, Reached, Webhook, WebhookHealth, WebhookId, WebhookSecrets};
use records::webhook_pace::{Lane, WebhookPace};
use serde_json::{Value, json};
use shared::model::due::DueDelivery;
use shared::model::shared_secret::SharedSecret;
use shared::model::tenant::{Inaccessible, Tenant, TenantKind};
use shared::store::Record as _;
use shared::tenancy::TenantStore;
use shared::tenancy::jobs::WorkContext;
use shared::{Error, Result};

use crate::pace::Turns;
use crate::{Fanout, health, pace};

/// What an attempt is made of.
struct Parts {
    webhook: Webhook,
    health: HealthState,
    event: Event,
    secrets: Vec<SharedSecret>,
    lane: Lane,
    /// The tenant is a demo.
    demo: bool,
}

/// Why an attempt is not made.
enum Refused {
    /// Its webhook or tenant is gone, and with it all of its deliveries.
    Gone,
    Because(GivenUp),
    /// Nobody may act for the tenant now.
    Later,
}

impl Fanout {
    /// A delivery that a note in the directory brings to mind. The note goes with what becomes of the delivery, or because nothing does.
    pub async fn remind(&self, mut context: WorkContext, turns: &Turns, due: &DueDelivery) -> Result<()> {
        const DOING: &str = "delivering what is due";
        let store = context.tenant_of_delivery(due);
        let (Some(webhook), Some(event)) = (WebhookId::parse(&due.webhook), EventId::parse(&due.event)) else {
            return Err(Error::internal(DOING, "the note names no delivery"));
        };
        let found = store.find(&Delivery::key_of(webhook, event)).await?;
        let is_current = found.as_ref().is_some_and(|delivery| delivery.noted_for() == Some(due.due_at));
        context.store = Some(store);
        match found {
            Some(delivery) if is_current => self.deliver(&context, turns, &delivery.ticket()).await,
            _ => context.directory.transaction().remove(&context.directory, &due.place())?.commit().await,
        }
    }

    /// Signs an attempt that a delivery awaits, if it is its turn. Whoever comes too late, or twice, finds that it does not.
    pub async fn deliver(&self, context: &WorkContext, turns: &Turns, ticket: &Ticket) -> Result<()> {
        let store = store_of(context)?;
        let now = self.app.clock().now();
        let Some(delivery) = store.find(&Delivery::key_of(ticket.webhook, ticket.event)).await? else { return Ok(()) };
        if !delivery.awaits(ticket) {
            return Ok(());
        }
        if delivery.is_waiting() {
            return pace::join(turns, store, ticket.webhook, now).await;
        }
        let parts = match self.parts(store, &delivery).await? {
            Ok(parts) => parts,
            Err(Refused::Gone) => return settled(self.forget(context, store, &delivery).await),
            Err(Refused::Later) if now.duration_since(delivery.created_at) < Delivery::PATIENCE => {
                return settled(self.write(context, store, &delivery, &delivery.put_off(now)).await);
            }
            Err(Refused::Later) => return self.give_up(context, store, &delivery, GivenUp::Suspended).await,
            Err(Refused::Because(reason)) => return self.give_up(context, store, &delivery, reason).await,
        };
        match self.guard.judge(&parts.webhook.url) {
            Ok(target) if parts.demo && !self.guard.is_listed(&target) => self.give_up(context, store, &delivery, GivenUp::Demo).await,
            // Whoever tests waits for the answer.
            Ok(_) if delivery.once || delivery.has_turn() => self.send(context, store, ticket, &parts).await,
            Ok(_) if pace::take_turn(turns, store, ticket.webhook, parts.webhook.every(parts.health), now).await? => {
                self.send(context, store, ticket, &parts).await
            }
            Ok(_) => {
                settled(self.write(context, store, &delivery, &delivery.waiting(now)).await)?;
                pace::join(turns, store, ticket.webhook, now).await
            }
            Err(_) => self.note(context, turns, ticket, (&delivery, None), refused(now)).await,
        }
    }

    /// What the worker that makes attempts says of one. Only what we signed is believed.
    pub async fn returned(&self, context: &WorkContext, turns: &Turns, job: Returned) -> Result<()> {
        let store = store_of(context)?;
        let text = job.returned.text(store.tenant_id());
        if !self.app.keys().deliveries()?.verifies(&text, &job.mac) {
            return Err(Error::internal("noting an attempt", "its ticket is not ours"));
        }
        // It waited too long, and is signed anew.
        let Some(attempt) = job.attempt else { return self.deliver(context, turns, &job.returned).await };
        let Ticket { webhook, event, .. } = job.returned;
        let keys = (&Delivery::key_of(webhook, event), &WebhookPace::key_of(webhook), &WebhookHealth::key_of(webhook));
        let (delivery, pace, health) = store.find_together(keys).await?;
        let Some(delivery) = delivery else { return Ok(()) };
        let health = health.unwrap_or_else(|| WebhookHealth::new(webhook));
        let took = Duration::from_millis(attempt.duration_ms);
        self.note(context, turns, &job.returned, (&delivery, Some(&health)), attempt).await?;
        pace::answered(turns, store, webhook, pace, took, self.app.clock().now()).await
    }

    /// Disables first what asks for it: whoever dies in between is asked again, and nothing goes meanwhile.
    async fn note(
        &self,
        context: &WorkContext,
        turns: &Turns,
        ticket: &Ticket,
        (delivery, health): (&Delivery, Option<&WebhookHealth>),
        attempt: DeliveryAttempt,
    ) -> Result<()> {
        let store = store_of(context)?;
        if !delivery.awaits(ticket) {
            return Ok(());
        }
        let at = attempt.made_at;
        let (after, reached) = delivery.after(attempt, self.app.random().fraction());
        if reached == Reached::NeverAgain {
            health::note(context, turns, store, ticket.webhook, health, (reached, at)).await?;
        }
        settled(self.write(context, store, delivery, &after).await)?;
        if reached != Reached::NeverAgain {
            health::note(context, turns, store, ticket.webhook, health, (reached, at)).await?;
        }
        Ok(())
    }

    async fn parts(&self, store: &TenantStore, delivery: &Delivery) -> Result<Result<Parts, Refused>> {
        let (webhook, secrets) = (Webhook::key_of(delivery.webhook), WebhookSecrets::key_of(delivery.webhook));
        let (event, tenant, health) = (Event::key_of(delivery.event), Tenant::key_of(), WebhookHealth::key_of(delivery.webhook));
        let pace = WebhookPace::key_of(delivery.webhook);
        let keys = (&webhook, &secrets, &event, &tenant, &health, &pace);
        let (webhook, secrets, event, tenant, health, pace) = store.find_together(keys).await?;
        let (Some(webhook), Some(secrets), Some(tenant)) = (webhook, secrets, tenant) else { return Ok(Err(Refused::Gone)) };
        let now = self.app.clock().now();
        match tenant.inaccessible(now) {
            Some(Inaccessible::Suspended) => return Ok(Err(Refused::Later)),
            Some(_) => return Ok(Err(Refused::Gone)),
            None => {}
        }
        if !webhook.enabled {
            return Ok(Err(Refused::Because(GivenUp::Disabled)));
        }
        let Some(event) = event else { return Ok(Err(Refused::Because(GivenUp::Expired))) };
        let secrets = secrets.living(now, store.tenant_id(), self.app.keys().vault()?);
        let secrets = secrets.ok_or_else(|| Error::internal("signing an event", "a secret of the webhook does not open"))?;
        let health = WebhookHealth::state_of(health.as_ref());
        // Tests take no turn, and what waited got many at once: any number of them may be without an answer.
        let is_uncounted = delivery.once || delivery.has_turn();
        let lane = if is_uncounted { Lane::Slow } else { WebhookPace::lane(pace.as_ref(), now) };
        Ok(Ok(Parts { webhook, health, event, secrets, lane, demo: tenant.kind == TenantKind::Demo }))
    }

    async fn send(&self, context: &WorkContext, store: &TenantStore, ticket: &Ticket, parts: &Parts) -> Result<()> {
        const DOING: &str = "queueing an attempt";
        let (tenant, signed_at) = (store.tenant_id(), self.app.clock().now());
        let mac = self.app.keys().deliveries()?.sign(&ticket.text(tenant));
        let back = context.job(Returned { returned: ticket.clone(), mac, attempt: None });
        let back: Value = serde_json::to_value(&back).map_err(|error| Error::internal(DOING, error))?;
        let id = parts.event.id.prefixed();
        let body = parts.event.told(tenant, parts.webhook.payload).body();
        let signatures: Vec<String> = parts.secrets.iter().map(|secret| secret.sign(&id, signed_at, body.as_bytes())).collect();
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("user-agent", format!("Tenantry-Webhooks/1.0 (tenant {tenant})")),
            ("webhook-id", id),
            ("webhook-timestamp", signed_at.as_second().to_string()),
            ("webhook-signature", signatures.join(" ")),
        ];
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let group = ticket.webhook.to_string();
        let outgoing = Outgoing { url: parts.webhook.url.clone(), headers, body, signed_at, back, group: group.clone() };
        let message = json!(outgoing).to_string();
        let queue = match parts.lane {
            Lane::Quick => &self.deliveries,
            Lane::Slow => &self.slow_deliveries,
        };
        let sending = self.sqs.send_message().queue_url(queue).message_body(message).message_group_id(group).send();
        sending.await.map_err(|error| Error::Unavailable { doing: DOING, cause: error.into() })?;
        Ok(())
    }

    async fn give_up(&self, context: &WorkContext, store: &TenantStore, delivery: &Delivery, reason: GivenUp) -> Result<()> {
        let now = self.app.clock().now();
        settled(self.write(context, store, delivery, &delivery.given_up(reason, now)).await)
    }

    /// A delivery as it is now, with its note in the directory, and without the one that it had.
    async fn write(&self, context: &WorkContext, store: &TenantStore, before: &Delivery, after: &Delivery) -> Result<()> {
        let directory = &context.directory;
        let mut transaction = store.transaction().while_kept(store)?.replace(store, after, before)?;
        if let Some(note) = note_of(store, before) {
            transaction = transaction.remove(directory, &note.place())?;
        }
        if let Some(note) = note_of(store, after) {
            transaction = transaction.put(directory, &note)?;
        }
        transaction.commit().await
    }

    async fn forget(&self, context: &WorkContext, store: &TenantStore, delivery: &Delivery) -> Result<()> {
        let transaction = store.transaction().delete_unchanged(store, delivery)?;
        let transaction = match note_of(store, delivery) {
            Some(note) => transaction.remove(&context.directory, &note.place())?,
            None => transaction,
        };
        transaction.commit().await
    }
}

pub fn store_of(context: &WorkContext) -> Result<&TenantStore> {
    context.store.as_ref().ok_or_else(|| Error::internal("delivering an event", "the job names no tenant"))
}

/// What the guard refuses counts as an attempt: whoever looks at the delivery sees why.
fn refused(now: jiff::Timestamp) -> DeliveryAttempt {
    DeliveryAttempt { error: Some(AttemptError::Guard), ..DeliveryAttempt::made(now, 0) }
}

/// What brings a delivery to mind whose next attempt is far away.
fn note_of(store: &TenantStore, delivery: &Delivery) -> Option<DueDelivery> {
    delivery.noted_for().map(|moment| DueDelivery::new(moment, store.tenant_id(), delivery.webhook, delivery.event))
}

/// Whoever wrote at the same time has more to say about it: another look follows. What is gone needs none.
pub fn settled(written: Result<()>) -> Result<()> {
    match written {
        Err(Error::Conflict(_)) => Err(Error::Unavailable { doing: "noting a delivery", cause: "somebody else changed it".into() }),
        Err(Error::NotFound | Error::Missing(_)) => Ok(()),
        other => other,
    }
}
