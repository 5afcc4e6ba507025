//! Whether an address gets no mail, from the workspace or from all of its tenant.

use records::lead::{Lead, LeadId};
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

/// Whether somebody gets no mail: by the address that they write from, or as the lead that they are.
pub async fn wants_no_mail(store: &TenantStore, within: &WorkspaceStore, email: &Email, lead: Option<LeadId>) -> Result<bool> {
    if is_suppressed(store, within, email).await? {
        return Ok(true);
    }
    let Some(lead) = lead else { return Ok(false) };
    let Some(lead) = within.find(&Lead::key_of(lead)).await? else { return Ok(false) };
    // A bounce is of the lead's own address alone.
    Ok(lead.email_status.is_their_will()
        || lead.email.normalised() != email.normalised() && is_suppressed(store, within, &lead.email).await?)
}
