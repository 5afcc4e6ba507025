//! What is due is brought to mind: each note of it that a sweep changes is a job by the stream.

use serde_json::{Value, json};

use crate::error::Result;
use crate::model::due::DueNote;
use crate::store::Span;
use crate::tenancy::jobs::WorkContext;

/// Notes that one sweep brings to mind, about, and how many it looks at.
const AT_MOST: u64 = 1_000;
const AT_ONCE: usize = 500;
const PAGES: usize = 20;

/// The answer of the schedule's command.
pub async fn sweep<N: DueNote>(context: &WorkContext) -> Result<Value> {
    let (mut reminded, mut span) = (0, Span::first(AT_ONCE));
    // Past those that are brought to mind more rarely.
    for _ in 0..PAGES {
        let due = context.directory.page(&N::all(), &span, |_| true).await?;
        for note in due.items.iter().filter(|note| note.is_worth(context.now())) {
            // Whoever deleted or changed it meanwhile has done the work, or brought it to mind.
            reminded += u64::from(context.directory.replace_if(&note.again(), note).await?);
        }
        let is_past = due.items.last().is_none_or(|last| !last.is_due(context.now()));
        if is_past || due.next.is_none() || reminded >= AT_MOST {
            break;
        }
        span.after = due.next;
    }
    Ok(json!({ "ok": true, "reminded": reminded }))
}
