//! Joining and leaving a workspace: the membership, which decides, and the line in the person's own list, in one transaction.

use crate::ids::{UserId, WorkspaceId};
use crate::model::workspace::{WorkspaceAccess, WorkspaceMember};
use crate::store::entity::Entity;
use crate::tenancy::doors::Admin;
use crate::tenancy::{Refusal, TenantStore, Transaction, WorkspaceStore, conflict};
use crate::{Error, Result};

/// Adds a new member to a transaction. `earlier`: what is left of a membership that ended with their earlier one in the tenant.
pub fn join<'a>(
    transaction: Transaction<'a>,
    store: &TenantStore,
    within: &WorkspaceStore,
    workspace: WorkspaceId,
    member: &WorkspaceMember,
    earlier: Option<&WorkspaceMember>,
) -> Result<Transaction<'a>> {
    let transaction = transaction.put(store, &WorkspaceAccess { user: member.user, id: workspace })?;
    let (transaction, was_admin) = match earlier {
        Some(earlier) => (transaction.replace(within, member, earlier)?, WorkspaceMember::is_admin(earlier.role)),
        None => {
            let transaction = transaction.create(within, member, conflict("This person is a member of the workspace already."))?;
            (transaction.count(within, WorkspaceMember::COUNT, 1)?, false)
        }
    };
    match i64::from(WorkspaceMember::is_admin(member.role)) - i64::from(was_admin) {
        0 => Ok(transaction),
        by => transaction.count(within, WorkspaceMember::ADMINS, by),
    }
}

/// Adds to a transaction what goes with a member, but not the membership itself. `last_admin`: the refusal if nobody would administer the workspace.
pub fn leave<'a>(
    transaction: Transaction<'a>,
    store: &TenantStore,
    within: &WorkspaceStore,
    member: &WorkspaceMember,
    last_admin: Option<Refusal>,
) -> Result<Transaction<'a>> {
    let transaction =
        transaction.remove(store, &WorkspaceAccess::key_of(member.user, within.tag()))?.count(within, WorkspaceMember::COUNT, -1)?;
    match last_admin {
        _ if !WorkspaceMember::is_admin(member.role) => Ok(transaction),
        Some(refusal) => transaction.count_down(within, WorkspaceMember::ADMINS, 1, refusal),
        None => transaction.count(within, WorkspaceMember::ADMINS, -1),
    }
}

/// Takes somebody who was removed from the tenant out of all its workspaces. Their memberships open nothing without the one in the tenant, whose number
/// they have. The tenant's own admins keep every workspace administered.
pub async fn leave_all(door: &Admin, user: UserId) -> Result<()> {
    let store = &door.store;
    for access in store.all(&WorkspaceAccess::of_user(user)).await? {
        let within = door.workspace(access.id);
        let Some(member) = within.find(&WorkspaceMember::key_of(user)).await? else {
            store.transaction().remove(store, &access.key())?.commit().await?;
            continue;
        };
        let left = within.remove(member, |member, transaction| leave(transaction, store, &within, member, None)).await;
        match left {
            // They left, or the workspace went, at the same moment.
            Ok(()) | Err(Error::NotFound | Error::Missing(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
