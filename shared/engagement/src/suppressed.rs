//! Whether an address gets no mail, from the workspace or from all of its tenant.

use records::suppression::Suppression;
use shared::Result;
use shared::model::user::Email;
use shared::store::{InTenant, InWorkspace};
use shared::tenancy::{TenantStore, WorkspaceStore};

pub async fn is_suppressed(store: &TenantStore, within: &WorkspaceStore, email: &Email) -> Result<bool> {
    let (own, of_tenant) = (Suppression::<InWorkspace>::key_of(email), Suppression::<InTenant>::key_of(email));
    let (own, of_tenant) = tokio::try_join!(within.find(&own), store.find(&of_tenant))?;
    Ok(own.is_some_and(|found| found.current.is_some()) || of_tenant.is_some_and(|found| found.current.is_some()))
}
