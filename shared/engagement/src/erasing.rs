//! Erases what a deleted lead left: its activity, its threads and their messages. The request that deletes it does as much as takes no time, so that nobody
//! sees them any more; the janitor does the rest, also of a request that was interrupted.

use records::activity::Activity;
use records::lead::DeletedLead;
use records::message::Message;
use records::thread::{Correspondence, OwnThread, Thread};
use shared::store::{Entity, Span};
use shared::tenancy::WorkspaceStore;
use shared::{Error, Result};

/// How often it is tried again when a mail comes in at the same time.
const TRIES: usize = 5;

/// Erases about `at_most` items. Whether nothing is left, and then the tombstone is gone, too.
pub async fn erase(store: &WorkspaceStore, gone: &DeletedLead, at_most: usize) -> Result<bool> {
    let mut left = at_most;
    let swept = store.sweep(&Activity::of_lead(gone.id), left, |_| true).await?;
    left = left.saturating_sub(swept.deleted);
    if !swept.finished {
        return Ok(false);
    }
    for own in std::iter::once(Correspondence::of_lead(gone.id)).chain(gone.address.clone()) {
        while let Some(own) = store.page(&OwnThread::of(own.clone()), &Span::first(1), |_| true).await?.items.pop() {
            if !erase_thread(store, &own, &mut left).await? {
                return Ok(false);
            }
        }
    }
    store.transaction().remove(store, &DeletedLead::key_of(gone.id))?.commit().await?;
    Ok(true)
}

/// With its messages. What leads to it by a hash says nothing of anybody, and ends by itself.
async fn erase_thread(store: &WorkspaceStore, own: &OwnThread, left: &mut usize) -> Result<bool> {
    for _ in 0..TRIES {
        let thread = store.find(&Thread::key_of(own.thread)).await?;
        if *left == 0 {
            return Ok(false);
        }
        // Before the thread that leads to them, as it is now: what comes in later changes it.
        let swept = store.sweep(&Message::of_thread(own.thread), *left, |_| true).await?;
        *left = left.saturating_sub(swept.deleted + 1);
        if !swept.finished {
            return Ok(false);
        }
        let Some(thread) = thread else {
            return store.transaction().remove(store, &own.key())?.commit().await.map(|()| true);
        };
        match thread.delete(store.transaction(), store)?.commit().await {
            Err(Error::Conflict(_) | Error::NotFound | Error::Missing(_)) => {}
            deleted => return deleted.map(|()| true),
        }
    }
    Err(Error::Conflict("The resource is being changed by others. Try again.".into()))
}
