//! What every transaction of the workers of campaigns and mails asks for: that tenant and workspace are there. A write that comes late leaves nothing behind them.

use shared::Result;
use shared::model::workspace::Workspace;
use shared::tenancy::{TenantStore, Transaction, WorkspaceStore, missing};

/// Adds it. The refusal is `NotFound`.
pub fn while_kept<'a>(transaction: Transaction<'a>, store: &TenantStore, within: &WorkspaceStore) -> Result<Transaction<'a>> {
    transaction.while_kept(store)?.require(store, &Workspace::key_of(within.tag()), missing())
}
