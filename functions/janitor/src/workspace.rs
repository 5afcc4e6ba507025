//! Deletes what a deleted workspace held. Its door is shut with the deletion, and everything that is created in a workspace checks that it is there, so
//! what is found empty stays empty.

use records::wave::Wave;
use serde_json::{Map, Value};
use shared::model::inbound::{Inbound, InboundAddress};
use shared::model::workspace::{DeletedWorkspace, SweepWorkspace, WorkspaceAccess, WorkspaceMember};
use shared::store::{Direction, Span};
use shared::tenancy::TenantStore;
use shared::tenancy::jobs::WorkContext;
use shared::{Error, Result};

use crate::purge::{Budget, clear_branch};
use crate::wave;

/// The most items that one job deletes, well within the function's time.
pub const AT_MOST: usize = 20_000;
/// Memberships that are read at once.
const MEMBERS: usize = 100;

/// If some are left, the tombstone is written again. The relay then queues the next round, as often as needed.
pub async fn sweep(context: &WorkContext, job: SweepWorkspace, at_most: usize) -> Result<()> {
    let store = context.store.as_ref().ok_or_else(|| Error::internal("sweeping a workspace", "the job names no tenant"))?;
    let found = store.find(&DeletedWorkspace::key_of(job.workspace.tag())).await?;
    let Some(tombstone) = found.filter(|tombstone| tombstone.swept_at.is_none()) else { return Ok(()) };
    if !tombstone.settled {
        // The note that it was done brings the next round.
        return settle(context, store, &tombstone).await;
    }
    forget_members(context, store, &tombstone).await?;
    forget_address(context, store, &tombstone).await?;
    let finished = empty(context, store, &tombstone, &mut Budget(at_most)).await?;
    tracing::info!(workspace = %job.workspace, finished, "swept");
    let next = if finished { tombstone.swept(context.now()) } else { tombstone.next_round() };
    unless_overtaken(store.transaction().replace(store, &next, &tombstone)?.commit().await)
}

/// Takes what counted against the plan off the tenant's counters, once: with the note that it was done.
async fn settle(context: &WorkContext, store: &TenantStore, tombstone: &DeletedWorkspace) -> Result<()> {
    let within = context.deleted_workspace(store, tombstone);
    let mut transaction = store.transaction();
    for (counter, of_tenant) in DeletedWorkspace::SETTLED {
        let held = i64::try_from(within.count(counter).await?).unwrap_or(i64::MAX);
        if held > 0 {
            transaction = transaction.count(store, of_tenant, -held)?;
        }
    }
    unless_overtaken(transaction.replace(store, &tombstone.settled(), tombstone)?.commit().await)
}

/// A parallel run of this job was faster, or the whole tenant is gone.
fn unless_overtaken(written: Result<()>) -> Result<()> {
    match written {
        Err(Error::Conflict(_) | Error::NotFound) => Ok(()),
        other => other,
    }
}

/// The workspace goes from its members' lists.
async fn forget_members(context: &WorkContext, store: &TenantStore, tombstone: &DeletedWorkspace) -> Result<()> {
    let within = context.deleted_workspace(store, tombstone);
    let mut span = Span::first(MEMBERS);
    loop {
        let found = within.page(&WorkspaceMember::all().going(Direction::Ascending), &span, |_| true).await?;
        let mut transaction = store.transaction();
        for member in &found.items {
            transaction = transaction.remove(store, &WorkspaceAccess::key_of(member.user, tombstone.id.tag()))?;
        }
        transaction.commit().await?;
        match found.next {
            Some(next) => span = Span { after: Some(next), skip: 0, limit: MEMBERS },
            None => return Ok(()),
        }
    }
}

/// Nothing comes in for it any more.
async fn forget_address(context: &WorkContext, store: &TenantStore, tombstone: &DeletedWorkspace) -> Result<()> {
    let key = InboundAddress::key_of(tombstone.id.tag());
    let Some(address) = store.find(&key).await? else { return Ok(()) };
    let directory = &context.directory;
    directory.transaction().remove(directory, &Inbound::key_of(address.id))?.remove(store, &key)?.commit().await
}

async fn empty(context: &WorkContext, store: &TenantStore, tombstone: &DeletedWorkspace, budget: &mut Budget) -> Result<bool> {
    let within = context.deleted_workspace(store, tombstone);
    if !wave::clear((store, &within), &Wave::all(), context.now(), budget).await? {
        return Ok(false);
    }
    let workspace = Map::from_iter([("id".to_owned(), Value::String(tombstone.id.to_string()))]);
    for branch in context.app.records().of_workspace(&workspace) {
        if !clear_branch(store, &branch, budget).await? {
            return Ok(false);
        }
    }
    Ok(true)
}
