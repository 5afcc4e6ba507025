//! Takes away the waves of what was deleted. What was counted for the tenant for a mail that neither went nor can go any more is given back.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use records::campaign_plan::{MailDay, MailMonth};
use records::enrolment::Enrolment;
use records::wave::{Wave, WaveState};
use shared::store::List;
use shared::tenancy::{TenantStore, WorkspaceStore, missing};
use shared::{Error, Result};

use crate::purge::Budget;

/// Waves that are read at once.
const PAGE: usize = 100;
/// Few are counted. The others share nothing, so many go at the same time.
const AT_ONCE: usize = 16;
/// How often it is tried again in all where workers are at every wave. A worker has one for some seconds, so they come free one by one.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(300);

/// `false` when the budget ran out.
pub async fn clear(
    (store, within): (&TenantStore, &WorkspaceStore),
    list: &List<Wave>,
    now: Timestamp,
    budget: &mut Budget,
) -> Result<bool> {
    let mut tries = 0;
    loop {
        let (waves, _) = within.after(list, None, PAGE).await?;
        if waves.is_empty() {
            return Ok(true);
        }
        if budget.0 == 0 {
            return Ok(false);
        }
        let removals = waves.into_iter().map(|wave| remove(store, within, wave, now));
        let deleted: Vec<usize> = stream::iter(removals).buffer_unordered(AT_ONCE).try_collect().await?;
        let deleted = deleted.iter().sum();
        if deleted == 0 && tries < TRIES {
            tries += 1;
            tokio::time::sleep(PAUSE * tries).await;
            continue;
        }
        if deleted == 0 {
            return Err(Error::Unavailable { doing: "deleting waves", cause: "workers are at them, or the tenant goes".into() });
        }
        budget.0 = budget.0.saturating_sub(deleted);
    }
}

/// Leads whose mails are given back go with the wave: a worker that is still at it cannot claim them any more. Gives how many items went; none, if
/// somebody changed one of them meanwhile.
async fn remove(store: &TenantStore, within: &WorkspaceStore, wave: Wave, now: Timestamp) -> Result<usize> {
    let mut removing = within.transaction().delete_unchanged(within, &wave)?;
    let mut unspent = vec![];
    if let WaveState::Released { counted: Some(counted), .. } = wave.state {
        let keys: Vec<_> = wave.leads.0.iter().map(|lead| Enrolment::key_of(wave.campaign, *lead)).collect();
        unspent = within.find_many(&keys).await?;
        unspent.retain(|enrolment| enrolment.is_unspent(&wave.id, wave.step, now));
        for enrolment in &unspent {
            removing = removing.delete_unchanged(within, enrolment)?;
        }
        if !unspent.is_empty() {
            let by = -i64::try_from(unspent.len()).unwrap_or(0);
            let month = MailMonth::key_of(counted.month);
            removing = removing.while_kept(store)?.tally_within(store, &month, ("mails", by), None, missing())?;
            if let Some(day) = counted.day_of_new {
                removing = removing.tally_within(store, &MailDay::key_of(day), ("mails", by), None, missing())?;
            }
        }
    }
    match removing.commit().await {
        Ok(()) => Ok(1 + unspent.len()),
        Err(Error::Conflict(_) | Error::NotFound | Error::Missing(_)) => Ok(0),
        Err(error) => Err(error),
    }
}
