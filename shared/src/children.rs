//! What happens to an agency's subaccounts when the agency is deleted: they close with it, are restored with it, and are purged with it.
//! The link stores the child's earlier status, and a child that was closed for good stays closed. Each child is one transaction that checks
//! the agency's status. The next run therefore continues after an interruption, and a deletion that is taken back in between wins.

use futures_util::future::try_join_all;

use crate::model::deletion::Deletion;
use crate::model::subaccount::Subaccount;
use crate::model::tenant::{Tenant, TenantStatus};
use crate::tenancy::{Directory, TenantStore, conflict};
use crate::{Error, Result};

/// All transactions check the agency's record, so more of them would only conflict.
const AT_ONCE: usize = 5;

/// Closes the children of an agency that is being deleted. `store_of` enters a child.
pub async fn close_with(agency: &TenantStore, directory: &Directory, store_of: impl Fn(&Subaccount) -> Result<TenantStore>) -> Result<()> {
    turn_all(agency, directory, store_of, |agency, _, tenant| {
        let open = !matches!(tenant.status, TenantStatus::Deleting | TenantStatus::Closed);
        (agency.status == TenantStatus::Deleting && open).then(|| tenant.deleting(directory.now()))
    })
    .await
}

/// Restores the children that were closed with an agency whose deletion was taken back.
pub async fn restore_with(
    agency: &TenantStore,
    directory: &Directory,
    store_of: impl Fn(&Subaccount) -> Result<TenantStore>,
) -> Result<()> {
    turn_all(agency, directory, store_of, |agency, child, tenant| {
        let back = !matches!(agency.status, TenantStatus::Deleting | TenantStatus::Closed);
        let shut = tenant.status == TenantStatus::Deleting && child.status != TenantStatus::Closed;
        (back && shut).then(|| tenant.restored(child.status, directory.now()))
    })
    .await
}

/// Puts a child of an agency that is being purged on the janitor's list, due at once, and deletes its link to the agency.
pub async fn purge_with(directory: &Directory, child: &Subaccount, store: &TenantStore) -> Result<()> {
    let tenant = store.find(&Tenant::key_of()).await?;
    let mut transaction = directory.transaction().delete_unchanged(directory, child)?;
    if let Some(tenant) = tenant.filter(|_| child.status != TenantStatus::Closed) {
        let deletion = Deletion { due_at: directory.now(), ..Deletion::of(&tenant, directory.now()) };
        transaction = transaction.put(directory, &deletion)?;
        if tenant.status != TenantStatus::Deleting {
            transaction = transaction.replace(store, &tenant.deleting(directory.now()), &tenant)?;
        }
    }
    transaction.commit().await
}

async fn turn_all(
    agency: &TenantStore,
    directory: &Directory,
    store_of: impl Fn(&Subaccount) -> Result<TenantStore>,
    change: impl Fn(&Tenant, &Subaccount, &Tenant) -> Option<Tenant>,
) -> Result<()> {
    let change = &change;
    for some in directory.all(&Subaccount::of_agency(agency.tenant_id())).await?.chunks(AT_ONCE) {
        try_join_all(some.iter().map(|child| {
            let store = store_of(child);
            async move { turn(agency, directory, &store?, |above, tenant| change(above, child, tenant)).await }
        }))
        .await?;
    }
    Ok(())
}

/// Changes a child as `change` decides from the present records of the agency and the child. The agency's record must be unchanged at the
/// time of writing.
async fn turn(
    agency: &TenantStore,
    directory: &Directory,
    store: &TenantStore,
    change: impl Fn(&Tenant, &Tenant) -> Option<Tenant>,
) -> Result<()> {
    let profile = Tenant::key_of();
    for _ in 0..10 {
        let (above, tenant) = tokio::try_join!(agency.find(&profile), store.find(&profile))?;
        let Some((above, tenant)) = above.zip(tenant) else { return Ok(()) };
        let Some(changed) = change(&above, &tenant) else { return Ok(()) };
        let transaction =
            directory.transaction().require_unchanged(agency, &above, conflict("The agency was changed at the same time."))?;
        match transaction.replace(store, &changed, &tenant)?.commit().await {
            Err(Error::Conflict(_) | Error::NotFound) => {}
            written => return written,
        }
    }
    Err(Error::Unavailable { doing: "turning a subaccount with its agency", cause: "others are changing it".into() })
}
