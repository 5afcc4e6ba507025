//! What both families do with keys: make, revoke, replace. A key at work on keys is bound by what it may do itself.

use jiff::SignedDuration;
use serde::Serialize;
use shared::http::answer::{Answer, Created};
use shared::http::idempotency::Ticket;
use shared::model::api_key::{ApiKey, Issuer, KeyClaim, KeyUse, Minted, NewKey};
use shared::store::{Counter, Transaction, conflict, missing};
use shared::tenancy::doors::Owner;
use shared::{Error, Result};

/// The highest rate limit a key of the tenant may have.
pub fn ceiling(door: &Owner) -> u64 {
    let limits = &door.app.config().limits;
    door.plan.requests_per_minute.unwrap_or_else(|| limits.read.max(limits.write))
}

/// How a family shows keys, and how it spells two fields of a new one.
pub struct Family<N, V> {
    pub rate_limit: &'static str,
    pub expires_at: &'static str,
    /// A key just made, with its text.
    pub made: fn(&Owner, &Minted) -> N,
    pub shown: fn(&Owner, &ApiKey, Option<&KeyUse>) -> V,
}

impl<N: Serialize, V: Serialize> Family<N, V> {
    pub async fn create(&self, door: &Owner, new: NewKey, ticket: &Ticket) -> Result<Created<N>> {
        let minted = mint(door, new, self.rate_limit, self.expires_at)?;
        let answer = Created::new("API key created", (self.made)(door, &minted)).tagged(minted.key.etag());
        let transaction = ticket.record(door.store.transaction(), &door.store, &answer)?;
        write(door, transaction, &minted)?.commit().await?;
        Ok(answer)
    }

    pub async fn show(&self, door: &Owner, key: &ApiKey) -> Result<Answer<V>> {
        let used = door.store.find(&KeyUse::key_of(key.id)).await?;
        Ok(Answer::new("Success", (self.shown)(door, key, used.as_ref())).tagged(key.etag()))
    }

    pub async fn rotate(&self, door: &Owner, key: &ApiKey, grace: SignedDuration, ticket: &Ticket) -> Result<Created<N>> {
        let (minted, transaction) = replace(door, door.store.transaction(), key, grace)?;
        let answer = Created::new("API key replaced", (self.made)(door, &minted)).tagged(minted.key.etag());
        ticket.record(door.store.transaction(), &door.store, &answer)?.and(transaction).commit().await?;
        Ok(answer)
    }

    pub async fn end_grace(&self, door: &Owner, key: ApiKey) -> Result<Answer<V>> {
        let ended = end_grace(door, key).await?;
        self.show(door, &ended).await
    }
}

/// A new key, before it is written. `rate_limit` and `expires_at` name the fields as the family spells them.
fn mint(door: &Owner, new: NewKey, rate_limit: &'static str, expires_at: &'static str) -> Result<Minted> {
    let most = ceiling(door);
    if new.rate_limit.is_some_and(|limit| limit > most) {
        return Err(Error::field(rate_limit, format!("The {rate_limit} field must not be above {most}, the limit of your plan.")));
    }
    if new.expires_at.is_some_and(|end| end <= door.now()) {
        return Err(Error::field(expires_at, format!("The {expires_at} field must be in the future.")));
    }
    within(door, &new)?;
    Ok(ApiKey::mint(new, door.tenant.id, Issuer::of(&door.member), door.now(), door.store.random()))
}

/// Adds a new key to a transaction, within the plan.
fn write<'a>(door: &'a Owner, transaction: Transaction<'a>, minted: &Minted) -> Result<Transaction<'a>> {
    transaction
        .count_within(&door.store, Counter::ApiKeys, "api_keys", door.plan.api_keys, &door.tenant.plan)?
        .create(&door.store, &minted.key, conflict("Try again."))?
        .create(&door.directory, &minted.claim, conflict("Try again."))
}

/// The key is gone with its claim: it opens nothing from the next request on.
pub async fn revoke(door: &Owner, key: ApiKey) -> Result<()> {
    if !door.delegated && door.key.as_ref().is_some_and(|mine| mine.id == key.id) {
        return Err(Error::Conflict("A key cannot revoke itself.".into()));
    }
    within(door, &key.like())?;
    door.store
        .remove(key, |key, along| {
            let along =
                along.delete(&door.directory, &KeyClaim::key_of(&key.handle), missing())?.remove(&door.store, &KeyUse::key_of(key.id))?;
            // A key in its grace left its place in the plan to the one that replaces it.
            if key.is_retiring() { Ok(along) } else { along.count(&door.store, Counter::ApiKeys, -1) }
        })
        .await
}

/// The old key on its way out, and the one that replaces it, with the transaction that writes both. A key is replaced once.
fn replace<'a>(door: &'a Owner, transaction: Transaction<'a>, key: &ApiKey, grace: SignedDuration) -> Result<(Minted, Transaction<'a>)> {
    if key.is_retiring() {
        return Err(Error::Conflict("This key was replaced already.".into()));
    }
    within(door, &key.like())?;
    let (retiring, minted) = key.rotated(grace, Issuer::of(&door.member), door.tenant.id, door.now(), door.store.random());
    let transaction = transaction.replace(&door.store, &retiring, key)?.create(&door.store, &minted.key, conflict("Try again."))?.create(
        &door.directory,
        &minted.claim,
        conflict("Try again."),
    )?;
    Ok((minted, transaction))
}

async fn end_grace(door: &Owner, key: ApiKey) -> Result<ApiKey> {
    within(door, &key.like())?;
    door.store
        .edit(key, |key, along| {
            if !key.is_retiring() {
                return Err(Error::Conflict("This key was not replaced: it has no grace to end.".into()));
            }
            let along = along.expire(&door.directory, &KeyClaim::key_of(&key.handle), door.now(), missing())?;
            Ok(Some((key.retired(door.now()), along)))
        })
        .await
}

/// An agency's key is bound by its scopes for subaccounts instead, which the door has seen.
fn within(door: &Owner, new: &NewKey) -> Result<()> {
    match door.key.as_ref().filter(|_| !door.delegated).and_then(|mine| mine.refuses(new)) {
        Some(reason) => Err(Error::Forbidden(reason.into())),
        None => Ok(()),
    }
}
