//! Erases what a deleted lead left: its activity, its threads and their messages. The request that deletes it does as much as takes no time, so that nobody
//! sees them any more; the janitor does the rest, also of a request that was interrupted. What somebody with the same address begins afterwards stays.

use jiff::Timestamp;
use records::activity::Activity;
use records::lead::DeletedLead;
use records::message::Message;
use records::thread::{Correspondence, OwnThread, Thread};
use shared::store::{Direction, Entity, Span};
use shared::tenancy::WorkspaceStore;
use shared::{Error, Result};

/// How often it is tried again when a mail comes in at the same time.
const TRIES: usize = 5;

/// What became of a thread.
enum Erasing {
    Done,
    /// It began too late to be one of those.
    Stays,
    /// There is more of it than may be erased at once.
    Unfinished,
}

/// Erases about `at_most` items. Whether nothing is left, and then the tombstone is gone, too.
pub async fn erase(store: &WorkspaceStore, gone: &DeletedLead, at_most: usize) -> Result<bool> {
    let mut left = at_most;
    let swept = store.sweep(&Activity::of_lead(gone.id), left, |_| true).await?;
    left = left.saturating_sub(swept.deleted);
    if !swept.finished {
        return Ok(false);
    }
    for (of, begun_by) in [(Correspondence::of_lead(gone.id), None), (gone.address.clone(), Some(gone.deleted_at))] {
        let oldest_first = OwnThread::of(of).going(Direction::Ascending);
        while let Some(own) = store.page(&oldest_first, &Span::first(1), |_| true).await?.items.pop() {
            match erase_thread(store, &own, begun_by, &mut left).await? {
                Erasing::Done => {}
                Erasing::Stays => break,
                Erasing::Unfinished => return Ok(false),
            }
        }
    }
    store.transaction().remove(store, &DeletedLead::key_of(gone.id))?.commit().await?;
    Ok(true)
}

/// With its messages. What leads to it by a hash says nothing of anybody, and ends by itself.
async fn erase_thread(store: &WorkspaceStore, own: &OwnThread, begun_by: Option<Timestamp>, left: &mut usize) -> Result<Erasing> {
    for _ in 0..TRIES {
        let thread = store.find(&Thread::key_of(own.thread)).await?;
        if let (Some(thread), Some(begun_by)) = (&thread, begun_by)
            && thread.created_at > begun_by
        {
            return Ok(Erasing::Stays);
        }
        if *left == 0 {
            return Ok(Erasing::Unfinished);
        }
        // Before the thread that leads to them, as it is now: what comes in later changes it.
        let swept = store.sweep(&Message::of_thread(own.thread), *left, |_| true).await?;
        *left = left.saturating_sub(swept.deleted + 1);
        if !swept.finished {
            return Ok(Erasing::Unfinished);
        }
        let Some(thread) = thread else {
            return store.transaction().remove(store, &own.key())?.commit().await.map(|()| Erasing::Done);
        };
        match thread.delete(store.transaction(), store)?.commit().await {
            Err(Error::Conflict(_) | Error::NotFound | Error::Missing(_)) => {}
            deleted => return deleted.map(|()| Erasing::Done),
        }
    }
    Err(Error::contested())
}
