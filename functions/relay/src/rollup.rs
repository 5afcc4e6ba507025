//! Adds up packs of the edge's log: counters of days and months, and the events of a quota that fills. A pack and the mark that it was
//! counted are written in one transaction. So neither a second delivery nor another order changes a sum.

use shared::model::edge::{Counted, Pack, QuotaEvent, Rollup, Totals};
use shared::model::mail::MailContent;
use shared::model::period::Month;
use shared::model::tenant::Tenant;
use shared::store::Entity;
use shared::tenancy::jobs::WorkContext;
use shared::tenancy::{TenantStore, conflict};
use shared::{Error, Result, owners};

pub async fn count(context: &WorkContext, pack: &Pack) -> Result<()> {
    let Some(store) = &context.store else { return Err(Error::internal("counting a pack", "it belongs to no tenant")) };
    let mut counting = store.transaction().create(store, &Counted::of(pack), conflict("It is counted."))?;
    // Nothing may be written after a purge.
    counting = counting.while_kept(store)?;
    for (key, totals) in pack.rollups() {
        counting = counting.tally(store, &key, &totals.columns())?;
    }
    match counting.commit().await {
        // Counted before, perhaps by an interrupted run: check the quota again.
        Ok(()) | Err(Error::Conflict(_)) => tell(context, store).await,
        Err(Error::NotFound) => Ok(()),
        Err(error) => Err(error),
    }
}

/// If a parallel run records the same share, this one checks again.
async fn tell(context: &WorkContext, store: &TenantStore) -> Result<()> {
    for _ in 0..5 {
        if tell_once(context, store).await? {
            return Ok(());
        }
    }
    Err(Error::Unavailable { doing: "writing quota events", cause: "others are writing them".into() })
}

/// Records every share of this month's quota that is reached and not yet recorded, and mails the owners about the largest. `false` if a
/// parallel run recorded some of them.
async fn tell_once(context: &WorkContext, store: &TenantStore) -> Result<bool> {
    let month = Month::of(context.now());
    let Some(tenant) = store.find(&Tenant::key_of()).await? else { return Ok(true) };
    let used = store.find(&Rollup::of_month(month)).await?.map_or_else(Totals::default, |rollup| rollup.totals);
    let plan = context.app.plans().get(&tenant.plan);
    let reached = QuotaEvent::reached(month, &used, plan, &tenant.plan, context.now());
    let keys: Vec<_> = reached.iter().map(Entity::key).collect();
    let known = store.find_many(&keys).await?;
    let is_known = |event: &QuotaEvent| known.iter().any(|known| known.metric == event.metric && known.percent == event.percent);
    let mut new: Vec<QuotaEvent> = reached.into_iter().filter(|event| !is_known(event)).collect();
    while let Some(largest) = new.pop() {
        let mut writing = store.transaction().while_kept(store)?;
        let same = |event: &QuotaEvent| event.metric == largest.metric;
        for event in new.iter().filter(|event| same(event)).chain([&largest]) {
            writing = writing.create(store, event, conflict("It is written down."))?;
        }
        let content = |name| MailContent::QuotaReached {
            name,
            tenant_name: tenant.name.clone(),
            metric: largest.metric,
            percent: largest.percent,
            overage: plan.edge_overage,
        };
        for mail in owners::mails(context, store, &tenant, content).await? {
            writing = writing.create(&context.directory, &mail, conflict("It is written."))?;
        }
        match writing.commit().await {
            Ok(()) => new.retain(|event| event.metric != largest.metric),
            Err(Error::Conflict(_)) => return Ok(false),
            Err(Error::NotFound) => return Ok(true),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}
