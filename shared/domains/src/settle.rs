//! The writes: listing a hostname, the result of a check, and removal. Each is one transaction over the tenant's record and the claim of
//! the whole deployment. If the claim has changed, the writer reads it again and decides again.

use shared::model::domain::{CheckTrigger, ClaimStanding, Domain, DomainCheck, DomainStatus, HostClaim, Verdict};
use shared::store::Entity;
use shared::tenancy::{Directory, TenantStore, Transaction, conflict};
use shared::{Error, Result};

/// How often a claim may change during a write. This is enough for many tenants that race for one hostname.
const ATTEMPTS: usize = 100;

/// A domain after a check, and the standing of its tenant's claim.
pub struct Settled {
    pub domain: Domain,
    pub standing: ClaimStanding,
}

/// Lists a hostname for the tenant of `store`. `extend` adds what belongs to the request: its recorded answer, and the plan's limit.
pub async fn add<'a>(
    directory: &'a Directory,
    store: &'a TenantStore,
    domain: &Domain,
    extend: impl Fn(Transaction<'a>) -> Result<Transaction<'a>> + Send + Sync,
) -> Result<()> {
    for _ in 0..ATTEMPTS {
        let known = directory.find(&HostClaim::key_of(&domain.hostname)).await?;
        let claim = HostClaim::listed(known.as_ref(), &domain.hostname, store.tenant_id(), directory.now())?;
        let transaction = extend(store.transaction())?.create(store, domain, Box::new(|_| listed_already()))?;
        let refusal = match claiming(transaction, directory, known.as_ref(), &claim)?.commit().await {
            Err(Error::Conflict(_) | Error::NotFound) => None,
            Err(error @ Error::PlanLimitReached(_)) => Some(error),
            other => return other,
        };
        if store.find(&domain.key()).await?.is_some() {
            return Err(listed_already());
        }
        if let Some(error) = refusal {
            return Err(error);
        }
    }
    Err(too_many())
}

/// The answer for a hostname that the tenant already lists. It comes before any limit.
pub fn listed_already() -> Error {
    Error::Conflict("This hostname is among your domains already.".into())
}

/// Writes the result of a check. A domain becomes active only here, and only together with the claim.
pub async fn settle(
    directory: &Directory,
    store: &TenantStore,
    domain: Domain,
    verdict: &Verdict,
    target: &str,
    trigger: CheckTrigger,
) -> Result<Settled> {
    let (tenant, now, hostname) = (store.tenant_id(), directory.now(), &domain.hostname);
    for _ in 0..ATTEMPTS {
        let known: Option<HostClaim> = directory.find(&HostClaim::key_of(hostname)).await?;
        let standing = HostClaim::standing(known.as_ref(), tenant, now);
        let checked = store.edit(domain.clone(), |current, mut transaction| {
            // The checked listing no longer exists. Its proof is not valid for another listing.
            if !domain.is_same_listing(current) {
                return Err(Error::NotFound);
            }
            let next = current.checked(verdict, standing, target, trigger, now);
            match (current.status == DomainStatus::Active, next.status == DomainStatus::Active) {
                (false, true) => {
                    let claim = HostClaim::won(known.as_ref(), hostname, tenant, now)?;
                    transaction = claiming(transaction, directory, known.as_ref(), &claim)?;
                }
                (true, false) => {
                    if let Some(known) = known.as_ref().filter(|known| known.owner() == Some(tenant)) {
                        transaction = transaction.replace(directory, &known.lost(tenant, now), known)?;
                    }
                }
                _ => {}
            }
            let transaction = moved(transaction, directory, store, current, Some(&next))?;
            Ok(Some((next, transaction)))
        });
        if let Some(domain) = unless_overtaken(store, &domain, checked.await).await? {
            return Ok(Settled { domain, standing });
        }
    }
    Err(too_many())
}

/// Removes a domain from the tenant's list. Its hostname is free at once: for the same tenant as before, and for other tenants with a TXT
/// record if it was in use.
pub async fn remove(directory: &Directory, store: &TenantStore, domain: Domain) -> Result<()> {
    remove_claim(directory, store, domain, HostClaim::left).await
}

/// Frees all hostnames of a deleted tenant. Those that were in use rest. Must be called before the tenant's collections are emptied.
pub async fn release(directory: &Directory, store: &TenantStore) -> Result<usize> {
    let mut released = 0;
    for domain in store.all(&Domain::all()).await? {
        match remove_claim(directory, store, domain, HostClaim::rested).await {
            Ok(()) => released += 1,
            // A parallel run was faster.
            Err(Error::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(released)
}

type Leave = fn(&HostClaim, shared::tenancy::TenantId, jiff::Timestamp) -> Option<HostClaim>;

async fn remove_claim(directory: &Directory, store: &TenantStore, domain: Domain, leave: Leave) -> Result<()> {
    for _ in 0..ATTEMPTS {
        let known: Option<HostClaim> = directory.find(&HostClaim::key_of(&domain.hostname)).await?;
        let known = known.filter(|claim| claim.lists(store.tenant_id()));
        let gone = store.remove(domain.clone(), |current, transaction| {
            let transaction = moved(transaction.count(store, Domain::COUNT, -1)?, directory, store, current, None)?;
            let Some(known) = &known else { return Ok(transaction) };
            match leave(known, store.tenant_id(), directory.now()) {
                Some(left) => transaction.replace(directory, &left, known),
                None => transaction.delete_unchanged(directory, known),
            }
        });
        if unless_overtaken(store, &domain, gone.await).await?.is_some() {
            return Ok(());
        }
    }
    Err(too_many())
}

/// Replaces the claim that was read by the new one.
fn claiming<'a>(
    transaction: Transaction<'a>,
    directory: &Directory,
    known: Option<&HostClaim>,
    next: &HostClaim,
) -> Result<Transaction<'a>> {
    match known {
        Some(known) => transaction.replace(directory, next, known),
        None => transaction.create_or_expired(directory, next, directory.now().as_second(), conflict("The hostname was just claimed.")),
    }
}

/// Updates the janitor's list for the domain.
fn moved<'a>(
    mut transaction: Transaction<'a>,
    directory: &Directory,
    store: &TenantStore,
    before: &Domain,
    after: Option<&Domain>,
) -> Result<Transaction<'a>> {
    let (before, after) = (before.check(store.tenant_id()), after.and_then(|after| after.check(store.tenant_id())));
    let due = |check: &Option<DomainCheck>| check.as_ref().map(|check| check.due_at.as_second());
    if due(&before) == due(&after) {
        return Ok(transaction);
    }
    if let Some(before) = before {
        transaction = transaction.remove(directory, &before.key())?;
    }
    if let Some(after) = after {
        transaction = transaction.put(directory, &after)?;
    }
    Ok(transaction)
}

/// `None`: the claim changed between reading and writing, and the listing still exists.
async fn unless_overtaken<T>(store: &TenantStore, domain: &Domain, written: Result<T>) -> Result<Option<T>> {
    match written {
        Ok(written) => Ok(Some(written)),
        Err(Error::Conflict(_) | Error::NotFound) => {
            let current = store.find(&domain.key()).await?.filter(|current| domain.is_same_listing(current));
            current.map(|_| None).ok_or(Error::NotFound)
        }
        Err(error) => Err(error),
    }
}

fn too_many() -> Error {
    Error::Unavailable { doing: "claiming a hostname", cause: "too many others claim it at the same time".into() }
}
