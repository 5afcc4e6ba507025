//! Active custom domains are checked every few hours, in the order in which they are due. After three misses in a row the hostname is free.
//! The hostnames of a deleted tenant rest.

use domains::Dns;
use futures_util::future::join_all;
use serde::Serialize;
use shared::model::domain::{CheckTrigger, Domain, DomainCheck, DomainStatus, Verdict};
use shared::store::Entity;
use shared::tenancy::TenantStore;
use shared::tenancy::jobs::WorkContext;
use shared::{Error, Result};

/// The most domains for one run, which ends in time even if no resolver answers. The next run continues.
pub const AT_MOST: usize = 2_000;
const AT_ONCE: usize = 25;

#[derive(Debug, Default, Serialize)]
pub struct Checked {
    pub ok: bool,
    pub checked: usize,
    /// No longer active.
    pub lost: usize,
    /// Whether domains that are due are left for the next run.
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
                // A domain that fails does not stop the others.
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

/// `None` if the list was out of date: the domain is gone, or is checked at another time.
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
        // Removed during the check.
        Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Called by the purge before it empties the tenant's collections. Frees its hostnames; those that were in use cannot be taken for 30 days.
/// Returns how many it freed. The next run continues after an interruption.
pub async fn release_hostnames(context: &WorkContext, store: &TenantStore) -> Result<usize> {
    domains::release(&context.directory, store).await
}
