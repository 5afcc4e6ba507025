//! Keeps an event for those who ask for it, and writes a delivery of it for each webhook that takes it.

use std::collections::HashMap;
use std::sync::Arc;

use records::delivery::Delivery;
use records::event::Event;
use records::messaging_settings::MessagingSettings;
use records::webhook::Webhook;
use shared::model::tenant::Tenant;
use shared::store::Record as _;
use shared::tenancy::jobs::WorkContext;
use shared::tenancy::{TenantId, TenantStore, conflict};
use shared::{Error, Result};
use tokio::sync::Mutex;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

/// Deliveries that are written together with their event, or with one another: a transaction takes 100 writes.
const TOGETHER: usize = 90;

/// Who is told of what happens to each tenant, read once for a batch of jobs. It may not outlive the batch: what is in one happened before it was read, so
/// nobody who asked before that is missed. Whoever asks first reads, and the others wait for that.
#[derive(Default)]
pub struct Listeners(Mutex<HashMap<TenantId, Option<Arc<Listening>>>>);

/// Of one tenant.
struct Listening {
    tenant: Tenant,
    keeps: bool,
    webhooks: Vec<Webhook>,
}

impl Listeners {
    /// `None`: the tenant is purged.
    async fn of(&self, store: &TenantStore) -> Result<Option<Arc<Listening>>> {
        let mut known = self.0.lock().await;
        if let Some(known) = known.get(&store.tenant_id()) {
            return Ok(known.clone());
        }
        let (settings, tenant, webhooks) = (MessagingSettings::key_of(), Tenant::key_of(), Webhook::all());
        let ((settings, tenant), webhooks) = tokio::try_join!(store.find_together((&settings, &tenant)), store.all(&webhooks))?;
        let keeps = settings.is_none_or(|settings| settings.keep_events);
        let listening = tenant.map(|tenant| Arc::new(Listening { tenant, keeps, webhooks }));
        known.insert(store.tenant_id(), listening.clone());
        Ok(listening)
    }
}

/// Done again, it writes what is not there yet and nothing else.
pub async fn publish(context: &WorkContext, listeners: &Listeners, event: Event) -> Result<()> {
    let store = context.store.as_ref().ok_or_else(|| Error::internal("telling of an event", "the job names no tenant"))?;
    // A purged tenant is told of nothing.
    let Some(listening) = listeners.of(store).await? else { return Ok(()) };
    let Listening { tenant, keeps, webhooks } = &*listening;
    let deliveries = webhooks.iter().filter(|webhook| webhook.takes(&event));
    let deliveries: Vec<Delivery> = deliveries.map(|webhook| Delivery::new(webhook.id, &event, false, context.now())).collect();
    // Nobody would read it.
    if deliveries.is_empty() && !*keeps {
        return Ok(());
    }
    let now = context.app.clock().now();
    let first = deliveries.chunks(TOGETHER).next().unwrap_or_default();
    let records = event.records(now);
    let writing = async {
        match &records[..] {
            // By far the most, and a write outside of a transaction costs a quarter.
            [event] if first.is_empty() && !tenant.is_leaving(now) => store.create(event, || Error::Conflict("It is there.".into())).await,
            events => write(store, events, first).await,
        }
    };
    let too_long = |elapsed: Elapsed| Error::Unavailable { doing: "keeping an event", cause: elapsed.into() };
    match timeout(Event::WRITTEN_WITHIN, writing).await.map_err(too_long)? {
        Ok(()) => {}
        Err(Error::NotFound) => return Ok(()),
        // It was written before, with all of these or some.
        Err(Error::Conflict(_)) => return one_by_one(store, &deliveries).await,
        Err(error) => return Err(error),
    }
    one_by_one(store, deliveries.get(TOGETHER..).unwrap_or_default()).await
}

async fn one_by_one(store: &TenantStore, deliveries: &[Delivery]) -> Result<()> {
    for delivery in deliveries {
        match write(store, &[], std::slice::from_ref(delivery)).await {
            Ok(()) | Err(Error::Conflict(_) | Error::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub async fn write(store: &TenantStore, events: &[Event], deliveries: &[Delivery]) -> Result<()> {
    let there = || conflict("It is there.");
    let mut transaction = store.transaction().while_kept(store)?;
    for event in events {
        transaction = transaction.create(store, event, there())?;
    }
    for delivery in deliveries {
        transaction = transaction.create(store, delivery, there())?;
    }
    transaction.commit().await
}
