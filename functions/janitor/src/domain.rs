//! Active custom domains are looked at again every few hours, in the order in which they are due; three misses in a row and the hostname
//! is free. The hostnames of a deleted tenant are put to rest.

use domains::Dns;
use futures_util::future::join_all;
use serde::Serialize;
use shared::model::domain::{CheckTrigger, Domain, DomainCheck, DomainStatus, Verdict};
use shared::store::Entity;
use shared::tenancy::TenantStore;
use shared::tenancy::jobs::WorkContext;
use shared::{Error, Result};

/// Domains that one run looks at: though every resolver were silent, well within the function's time. The next run goes on.
pub const AT_MOST: usize = 2_000;
const AT_ONCE: usize = 25;

#[derive(Debug, Default, Serialize)]
pub struct Checked {
    pub ok: bool,
    pub checked: usize,
    /// No longer active.
    pub lost: usize,
    /// Something that is due is left for the next run.
    pub more: bool,
}

pub async fn check(context: &WorkContext, at_most: usize) -> Result<Checked> {
    let mut listed = context.directory.first(&DomainCheck::all(), at_most).await?;
    listed.retain(|check| check.due_at <= context.now());
    let mut done = Checked { ok: true, more: listed.len() == at_most, ..Checked::default() };
    let mut failed = 0;
    for some in listed.chunks(AT_ONCE) {
        for (check, outcome) in some.iter().zip(join_all(some.iter().map(|check| look_again(context, check))).await) {
            match outcome {
                Ok(Some(status)) => {
                    done.checked += 1;
                    done.lost += usize::from(status != DomainStatus::Active);
                }
                Ok(None) => {}
                // One domain that fails holds up no other.
                Err(error) => {
                    tracing::error!(hostname = %check.hostname, %error, "a domain could not be checked");
                    failed += 1;
                }
            }
        }
    }
    tracing::info!(checked = done.checked, lost = done.lost, more = done.more, failed, "check-domains");
    if failed > 0 { Err(Error::internal("checking domains", format!("{failed} of them failed"))) } else { Ok(done) }
}

/// `None` when the list was behind: the domain is gone, or is checked at another time.
async fn look_again(context: &WorkContext, check: &DomainCheck) -> Result<Option<DomainStatus>> {
    let store = context.tenant_of_check(check);
    let domain = store.find(&Domain::key_of(&check.hostname)).await?;
    let is_due = |domain: &Domain| domain.check(store.tenant_id()).is_some_and(|due| due.due_at.as_second() == check.due_at.as_second());
    let Some(domain) = domain.filter(is_due) else {
        context.directory.delete(&check.key()).await?;
        return Ok(None);
    };
    let config = &context.app.config().edge;
    let seen = Dns::new(config).look(&domain).await;
    let verdict = Verdict::of(&seen, &config.target, &domain.challenge());
    match domains::settle(&context.directory, &store, domain, &verdict, &config.target, CheckTrigger::BySchedule).await {
        Ok(settled) => Ok(Some(settled.domain.status)),
        // Removed while it was looked at.
        Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// For the purge, before it empties the tenant's collections: its hostnames are let go, and those that served it are nobody's for 30
/// days. Says how many it let go; a run that is cut off is taken up by the next.
pub async fn release_hostnames(context: &WorkContext, store: &TenantStore) -> Result<usize> {
    domains::release(&context.directory, store).await
}
