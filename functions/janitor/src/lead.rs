//! Erases what a deleted lead left: its activity and its threads. Nothing new is written for a lead that is gone.

use engagement::erasing::erase;
use records::lead::{DeletedLead, EraseLead};
use shared::tenancy::jobs::WorkContext;
use shared::{Error, Result};

/// The most items that one job deletes, well within the function's time.
pub const AT_MOST: usize = 20_000;

/// If some are left, the tombstone is written again. The relay then queues the next round, as often as needed. Mostly the request was quicker.
pub async fn sweep(context: &WorkContext, job: EraseLead, at_most: usize) -> Result<()> {
    let store = context.within.as_ref().ok_or_else(|| Error::internal("erasing a lead", "the job names no workspace"))?;
    let Some(tombstone) = store.find(&DeletedLead::key_of(job.lead)).await? else { return Ok(()) };
    let finished = erase(store, &tombstone, at_most).await?;
    tracing::info!(lead = %job.lead, finished, "swept");
    if !finished {
        // A parallel run of this job may be faster.
        store.replace_if(&tombstone.next_round(), &tombstone).await?;
    }
    Ok(())
}
