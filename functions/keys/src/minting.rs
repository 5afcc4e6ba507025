//! What both families do with keys: make, revoke, replace, adopt. A request with a key cannot give a new key more than it has itself, in
//! subaccounts too.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use serde::Serialize;
use serde_json::{Value, json};
use shared::http::answer::{Answer, Created, Tagged};
use shared::http::form::{Raw, Rule};
use shared::http::idempotency::Ticket;
use shared::ids::{PathId, WorkspaceId};
use shared::model::api_key::{ApiKey, Inactive, KeyClaim, KeyUse, Minted, NewKey};
use shared::model::workspace::Workspace;
use shared::store::Record as _;
use shared::tenancy::doors::{Owner, Touched};
use shared::tenancy::{Role, Transaction, conflict, missing};
use shared::{Error, Result};

/// The highest rate limit a key of the tenant may have.
pub fn ceiling(door: &Owner) -> u64 {
    let limits = &door.app.config().limits;
    door.plan.requests_per_minute.unwrap_or_else(|| limits.read.max(limits.write))
}

/// A family's names for fields of a new key.
pub struct Names {
    pub rate_limit: &'static str,
    pub workspaces: &'static str,
    pub expires_at: &'static str,
}

/// How a family shows keys.
pub struct Family<N, V> {
    pub names: Names,
    /// Shows a new key, with its text.
    pub made: fn(&Owner, &Minted) -> N,
    pub shown: fn(&Owner, &Shown<'_>) -> V,
}

/// A key with data that is not in its record.
pub struct Shown<'a> {
    pub key: &'a ApiKey,
    pub used: Option<&'a KeyUse>,
    pub inactive: Option<Inactive>,
}

impl<N: Serialize, V: Serialize> Family<N, V> {
    pub async fn create(&self, door: &Owner, new: NewKey, ticket: &Ticket) -> Result<Tagged<N, 201>> {
        let minted = mint(door, new, &self.names).await?;
        let answer = Created::new("API key created", (self.made)(door, &minted)).tagged(minted.key.etag());
        let transaction = ticket.record(door.store.transaction(), &door.store, &answer)?;
        write(door, transaction, &minted)?.commit().await?;
        Ok(answer)
    }

    pub async fn show(&self, door: &Owner, key: &ApiKey) -> Result<Tagged<V>> {
        let (id, one) = (KeyUse::key_of(key.id), std::slice::from_ref(key));
        let (used, inactive) = tokio::try_join!(door.store.find(&id), door.inactive(one))?;
        let shown = Shown { key, used: used.as_ref(), inactive: inactive.into_iter().next().flatten() };
        Ok(Answer::new("Success", (self.shown)(door, &shown)).tagged(key.etag()))
    }

    /// The views of several keys.
    pub async fn list(&self, door: &Owner, keys: &[ApiKey]) -> Result<Vec<V>> {
        let ids: Vec<_> = keys.iter().map(|key| KeyUse::key_of(key.id)).collect();
        let (uses, inactive) = tokio::try_join!(door.store.find_many(&ids), door.inactive(keys))?;
        let used = |key: &ApiKey| uses.iter().find(|used| used.id == key.id);
        Ok(keys.iter().zip(inactive).map(|(key, inactive)| (self.shown)(door, &Shown { key, used: used(key), inactive })).collect())
    }

    pub async fn rotate(&self, door: &Owner, key: &ApiKey, grace: SignedDuration, ticket: &Ticket) -> Result<Tagged<N, 201>> {
        if let Some(why) = door.inactive(std::slice::from_ref(key)).await?.into_iter().flatten().next() {
            return Err(Error::Conflict(why.message().into()));
        }
        let (minted, transaction) = replace(door, door.store.transaction(), key, grace)?;
        let answer = Created::new("API key replaced", (self.made)(door, &minted)).tagged(minted.key.etag());
        ticket.record(door.store.transaction(), &door.store, &answer)?.and(transaction).commit().await?;
        Ok(answer)
    }

    pub async fn end_grace(&self, door: &Owner, key: ApiKey) -> Result<Tagged<V>> {
        let ended = end_grace(door, key).await?;
        self.show(door, &ended).await
    }

    /// The key has the caller's power from now on. Only for people, as `model/scope.rs` says.
    pub async fn adopt(&self, door: &Owner, key: ApiKey) -> Result<Tagged<V>> {
        let adopted = adopt(door, key).await?;
        self.show(door, &adopted).await
    }
}

/// A new key, before it is written.
async fn mint(door: &Owner, new: NewKey, names: &Names) -> Result<Minted> {
    let (most, Names { rate_limit, workspaces, expires_at }) = (ceiling(door), names);
    if new.rate_limit.is_some_and(|limit| limit > most) {
        return Err(Error::field(rate_limit, format!("The {rate_limit} field must not be above {most}, the limit of your plan.")));
    }
    if new.expires_at.is_some_and(|end| end <= door.now()) {
        return Err(Error::field(expires_at, format!("The {expires_at} field must be in the future.")));
    }
    within(door, &new)?;
    let bound: Vec<_> = new.workspaces.iter().flatten().map(|id| Workspace::key_of(id.tag())).collect();
    let found = door.store.find_many(&bound).await?;
    if new.workspaces.iter().flatten().any(|id| !found.iter().any(|workspace| workspace.id == *id)) {
        return Err(Error::field(workspaces, format!("The {workspaces} field names a workspace that does not exist.")));
    }
    Ok(minted(door, new))
}

/// As both families show them.
pub fn workspace_ids(key: &ApiKey) -> Option<Vec<String>> {
    key.workspaces.as_ref().map(|bound| bound.iter().map(|id| id.prefixed()).collect())
}

/// The workspaces of a key: 1 to 100 ids.
pub struct WorkspaceIds;

impl WorkspaceIds {
    const MOST: usize = 100;
}

impl Rule for WorkspaceIds {
    type Value = BTreeSet<WorkspaceId>;

    fn check(&self, raw: Raw<'_>) -> Result<BTreeSet<WorkspaceId>, String> {
        let Raw::Json(Value::Array(ids)) = raw else { return Err("must be a list of workspace ids".into()) };
        if ids.is_empty() || ids.len() > WorkspaceIds::MOST {
            return Err(format!("must name 1 to {} workspaces", WorkspaceIds::MOST));
        }
        let ids = ids.iter().map(|id| id.as_str().and_then(WorkspaceId::parse_prefixed));
        ids.collect::<Option<_>>().ok_or_else(|| "must be a list of workspace ids like ws_0198…".into())
    }

    fn schema(&self) -> Value {
        json!({"type": "array", "minItems": 1, "maxItems": WorkspaceIds::MOST, "items": WorkspaceId::schema()})
    }
}

fn minted(door: &Owner, new: NewKey) -> Minted {
    ApiKey::mint(new, door.tenant.id, door.issuer(), door.maker(), door.now(), door.store.random())
}

/// Adds a new key to a transaction, within the plan.
fn write<'a>(door: &'a Owner, transaction: Transaction<'a>, minted: &Minted) -> Result<Transaction<'a>> {
    door.require_role(transaction)?
        .count_within(&door.store, ApiKey::QUOTA, &door.plan, &door.tenant.plan)?
        .create(&door.store, &minted.key, conflict("Try again."))?
        .create(&door.directory, &minted.claim, conflict("Try again."))
}

/// The key is deleted with its claim, so it opens nothing from the next request on.
pub async fn revoke(door: &Owner, key: ApiKey) -> Result<()> {
    if !door.delegated && door.key.as_ref().is_some_and(|mine| mine.id == key.id) {
        return Err(Error::Conflict("A key cannot revoke itself.".into()));
    }
    within(door, &key.like())?;
    door.store
        .remove(key, |key, transaction| {
            let transaction = transaction
                .delete(&door.directory, &KeyClaim::key_of(&key.handle), missing())?
                .remove(&door.store, &KeyUse::key_of(key.id))?;
            // A key in its grace left its place in the plan to the one that replaces it.
            if key.is_retiring() { Ok(transaction) } else { transaction.count(&door.store, ApiKey::QUOTA.counter, -1) }
        })
        .await
}

/// The old key with its grace, the key that replaces it, and the transaction that writes both. A key can be replaced once.
fn replace<'a>(door: &'a Owner, transaction: Transaction<'a>, key: &ApiKey, grace: SignedDuration) -> Result<(Minted, Transaction<'a>)> {
    if key.is_retiring() {
        return Err(Error::Conflict("This key was replaced already.".into()));
    }
    within(door, &key.like())?;
    let minted = minted(door, key.like());
    let transaction = door.require_role_at_least(transaction, Role::Owner, Touched::Key(key))?;
    let transaction = transaction
        .replace(&door.store, &key.rotated(grace, &minted, door.now()), key)?
        .expire(&door.directory, &KeyClaim::key_of(&key.handle), door.now() + grace, missing())?
        .create(&door.store, &minted.key, conflict("Try again."))?
        .create(&door.directory, &minted.claim, conflict("Try again."))?;
    Ok((minted, transaction))
}

/// Record and claim together, so that all instances find the same maker.
async fn adopt(door: &Owner, key: ApiKey) -> Result<ApiKey> {
    let claim = door.directory.get(&KeyClaim::key_of(&key.handle)).await?.made_by(door.maker());
    door.store
        .edit(key, |key, transaction| {
            let Some(adopted) = key.adopted(door.issuer()) else { return Ok(None) };
            let transaction = door.require_role(transaction)?.put(&door.directory, &claim.until(adopted.grace_ends_at))?;
            Ok(Some((adopted, transaction)))
        })
        .await
}

async fn end_grace(door: &Owner, key: ApiKey) -> Result<ApiKey> {
    within(door, &key.like())?;
    door.store
        .edit(key, |key, transaction| {
            if !key.is_retiring() {
                return Err(Error::Conflict("This key was not replaced: it has no grace to end.".into()));
            }
            let transaction = transaction.expire(&door.directory, &KeyClaim::key_of(&key.handle), door.now(), missing())?;
            Ok(Some((key.retired(door.now()), transaction)))
        })
        .await
}

/// A key that an agency uses to make keys for its subaccounts must have the scopes of the new keys.
fn within(door: &Owner, new: &NewKey) -> Result<()> {
    match door.key.as_ref().and_then(|mine| mine.refuses(new)) {
        Some(reason) => Err(Error::Forbidden(reason.into())),
        None => Ok(()),
    }
}
