//! Deletes what a deleted campaign held: its plan, its waves, its recipients, and what it counted by day. Whoever is still at it finds no campaign.

use records::campaign_plan::{CampaignDay, CampaignPlan};
use records::deleted_campaign::{DeletedCampaign, SweepCampaign};
use records::enrolment::Enrolment;
use records::wave::Wave;
use shared::store::{Entity, InWorkspace, List};
use shared::tenancy::jobs::WorkContext;
use shared::tenancy::{TenantStore, WorkspaceStore};
use shared::{Error, Result};

use crate::purge::Budget;
use crate::wave;

/// The most items that one job deletes, well within the function's time.
pub const AT_MOST: usize = 20_000;

/// If some are left, the tombstone is written again. The relay then queues the next round, as often as needed.
pub async fn sweep(context: &WorkContext, job: SweepCampaign, at_most: usize) -> Result<()> {
    let (Some(tenant), Some(store)) = (&context.store, &context.within) else {
        return Err(Error::internal("sweeping a campaign", "the job names no workspace"));
    };
    let found = store.find(&DeletedCampaign::key_of(job.campaign)).await?;
    let Some(tombstone) = found.filter(|tombstone| tombstone.swept_at.is_none()) else { return Ok(()) };
    let finished = empty(context, (tenant, store), &tombstone, &mut Budget(at_most)).await?;
    tracing::info!(campaign = %job.campaign, finished, "swept");
    let next = if finished { tombstone.swept(context.now()) } else { tombstone.next_round() };
    match store.transaction().replace(store, &next, &tombstone)?.commit().await {
        // A parallel run of this job was faster, or the whole tenant is gone.
        Err(Error::Conflict(_) | Error::NotFound) => Ok(()),
        other => other,
    }
}

/// The plan goes first: without it no page of leads is enrolled any more. Without a wave no mail is counted.
async fn empty(
    context: &WorkContext,
    (tenant, store): (&TenantStore, &WorkspaceStore),
    tombstone: &DeletedCampaign,
    budget: &mut Budget,
) -> Result<bool> {
    let campaign = tombstone.id;
    store.transaction().remove(store, &CampaignPlan::key_of(campaign))?.commit().await?;
    Ok(wave::clear((tenant, store), &Wave::of_campaign(campaign), context.now(), budget).await?
        && clear(store, &Enrolment::of_campaign(campaign), budget).await?
        && clear(store, &CampaignDay::of_campaign(campaign), budget).await?)
}

async fn clear<E: Entity<Scope = InWorkspace>>(store: &WorkspaceStore, list: &List<E>, budget: &mut Budget) -> Result<bool> {
    Ok(budget.spend(store.sweep(list, budget.0, |_| true).await?))
}
