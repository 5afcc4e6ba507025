//! How a number stands with a tenant is read and written: peer, opt-out and chain of consent, in one transaction. Writers of one number meet at its peer;
//! the one that comes second begins again, so a chain has one end and no step is lost.

use std::time::Duration;

use futures_util::future::try_join;
use records::opt_out::OptOut;
use records::peer::Peer;
use records::standing::Standing;
use shared::model::phone_number::PhoneNumber;
use shared::tenancy::{Refusal, TenantStore, Transaction, conflict};
use shared::{Error, Result};

/// How often a step is tried again that meets others at its number.
const TRIES: u32 = 20;
/// The longest wait before the next.
const WAIT: Duration = Duration::from_millis(200);

/// Whether a step is to be taken, as the number stands.
pub enum Decision {
    Write,
    /// It cannot be. Says why.
    Refuse(&'static str),
}

/// What is known of a number now, in one round trip.
pub async fn read(store: &TenantStore, phone_number: &PhoneNumber) -> Result<Standing> {
    let (peer_key, opt_out_key) = (Peer::key_of(phone_number), OptOut::key_of(phone_number));
    let (peer, opt_out) = try_join(store.find(&peer_key), store.find(&opt_out_key)).await?;
    Ok(Standing::of(phone_number.clone(), peer, opt_out, store.random()))
}

/// Adds what the steps made of a number to a transaction. Where somebody else was quicker, it is refused as a conflict (or, where the peer went, as not
/// found), and the caller reads again.
pub fn write<'a>(transaction: Transaction<'a>, store: &TenantStore, standing: &Standing) -> Result<Transaction<'a>> {
    let transaction = match (standing.before(), standing.after()) {
        (Some(before), Some(after)) => transaction.replace(store, &after, before)?,
        (None, Some(after)) => transaction.create(store, &after, quicker())?,
        (Some(before), None) => transaction.delete_unchanged(store, before)?,
        (None, None) => transaction,
    };
    let transaction = standing
        .entries()
        .iter()
        .try_fold(transaction, |transaction, entry| transaction.create(store, entry, quicker())?.create(store, &entry.line(), quicker()))?;
    match standing.changed_opt_out() {
        Some(opt_out) => transaction.put(store, opt_out),
        None => Ok(transaction),
    }
}

/// Takes a step on a number: `decide` takes it on the standing as it is read, and `also` adds to the transaction, before the rest. Both are asked again
/// where somebody else was quicker. A refusal comes from the transaction too, so that what `also` adds is refused first: the answer to an earlier request.
pub async fn change<'a>(
    store: &'a TenantStore,
    phone_number: &PhoneNumber,
    decide: impl Fn(&mut Standing) -> Result<Decision> + Send + Sync,
    also: impl Fn(Transaction<'a>, &Standing) -> Result<Transaction<'a>> + Send + Sync,
) -> Result<Standing> {
    for round in 0..TRIES {
        let mut standing = read(store, phone_number).await?;
        let decision = decide(&mut standing)?;
        let transaction = also(store.transaction(), &standing)?;
        match (decision, standing.before()) {
            (Decision::Refuse(reason), Some(before)) => {
                // It is there, so this never comes to pass.
                transaction.create(store, before, conflict(reason))?.commit().await?;
                continue;
            }
            (Decision::Refuse(reason), None) => return Err(Error::Conflict(reason.into())),
            (Decision::Write, _) => {}
        }
        match write(transaction, store, &standing)?.commit().await {
            Err(Error::Conflict(_) | Error::NotFound) => wait(store, round).await,
            done => return done.map(|()| standing),
        }
    }
    Err(Error::contested())
}

/// A moment that differs for each of those who met.
pub async fn wait(store: &TenantStore, round: u32) {
    let longest = WAIT.min(Duration::from_millis(5 << round.min(8)));
    tokio::time::sleep(longest.mul_f64(store.random().fraction())).await;
}

fn quicker() -> Refusal {
    Box::new(|_| Error::contested())
}
