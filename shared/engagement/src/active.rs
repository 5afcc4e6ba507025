//! The number of a workspace's campaigns that send. It moves in the transaction in which one begins or ceases to.

use records::campaign::Campaign;
use shared::Result;
use shared::model::workspace::Workspace;
use shared::tenancy::{TenantStore, Transaction, WorkspaceStore};

use crate::kept::while_kept;

/// Adds what the change of a campaign means for that number.
pub fn counted<'a>(transaction: Transaction<'a>, within: &WorkspaceStore, after: &Campaign, before: &Campaign) -> Result<Transaction<'a>> {
    match i64::from(after.status.is_active()) - i64::from(before.status.is_active()) {
        0 => Ok(transaction),
        by => transaction.count(within, Workspace::ACTIVE_CAMPAIGNS, by),
    }
}

/// The change of a campaign's state by a worker. The refusal is `Conflict` where it was changed meanwhile, and `NotFound` or `Missing` where it is gone.
pub fn turned<'a>(store: &TenantStore, within: &'a WorkspaceStore, after: &Campaign, before: &Campaign) -> Result<Transaction<'a>> {
    let turning = within.transaction().replace(within, after, before)?;
    counted(while_kept(turning, store, within)?, within, after, before)
}
