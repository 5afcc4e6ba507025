//! Writes a delivery of an event for each webhook that takes it, and keeps the event with them.

use records::delivery::Delivery;
use records::event::Event;
use records::webhook::{Webhook, WebhookId};
use shared::store::Record as _;
use shared::tenancy::jobs::WorkContext;
use shared::tenancy::{TenantStore, conflict};
use shared::{Error, Result};

/// Deliveries that are written together with their event, or with one another: a transaction takes 100 writes.
const TOGETHER: usize = 90;

/// Done again, it writes what is not there yet and nothing else.
pub async fn publish(context: &WorkContext, event: Event) -> Result<()> {
    let store = context.store.as_ref().ok_or_else(|| Error::internal("telling of an event", "the job names no tenant"))?;
    let about = event.data.get("webhook_id").and_then(|id| id.as_str()).and_then(WebhookId::parse_prefixed);
    let webhooks = store.all(&Webhook::all()).await?;
    let deliveries = webhooks.iter().filter(|webhook| webhook.takes(event.kind, about));
    let deliveries: Vec<Delivery> = deliveries.map(|webhook| Delivery::new(webhook.id, &event, false, context.now())).collect();
    // Nobody would read it.
    if deliveries.is_empty() {
        return Ok(());
    }
    let first = deliveries.chunks(TOGETHER).next().unwrap_or_default();
    match write(store, Some(&event), first).await {
        Ok(()) => {}
        // A purged tenant is told of nothing.
        Err(Error::NotFound) => return Ok(()),
        // It was written before, with all of these or some.
        Err(Error::Conflict(_)) => return one_by_one(store, &deliveries).await,
        Err(error) => return Err(error),
    }
    one_by_one(store, deliveries.get(TOGETHER..).unwrap_or_default()).await
}

async fn one_by_one(store: &TenantStore, deliveries: &[Delivery]) -> Result<()> {
    for delivery in deliveries {
        match write(store, None, std::slice::from_ref(delivery)).await {
            Ok(()) | Err(Error::Conflict(_) | Error::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn write(store: &TenantStore, event: Option<&Event>, deliveries: &[Delivery]) -> Result<()> {
    let there = || conflict("It is there.");
    let mut transaction = store.transaction().while_kept(store)?;
    if let Some(event) = event {
        transaction = transaction.create(store, event, there())?;
    }
    for delivery in deliveries {
        transaction = transaction.create(store, delivery, there())?;
    }
    transaction.commit().await
}
