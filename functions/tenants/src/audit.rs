//! The audit log of the current tenant: every change, newest first.

use serde::Serialize;
use shared::Result;
use shared::http::answer::Answer;
use shared::http::arguments::{Cursors, NoFilters};
use shared::model::audit::{AuditEntry, ResourceChange};
use shared::model::time::{Printed, zulu};
use shared::store::Direction;
use shared::tenancy::doors::Admin;

/// One request that changed something.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditEntry)]
pub struct EntryView {
    at: Printed,
    /// `user:<id>`, `key:<readable part of the key>`, or who else may write.
    actor: String,
    request_id: String,
    changes: Vec<ResourceChange>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditLog)]
pub struct LogView {
    entries: Vec<EntryView>,
    next_cursor: Option<String>,
}

/// An entry appears after the change, with the delay of the stream.
pub async fn list(door: Admin, asked: Cursors<NoFilters>) -> Result<Answer<LogView>> {
    let found = door.store.page(&AuditEntry::all().going(Direction::Descending), &asked.page.span(), |_| true).await?;
    let next_cursor = asked.page.cursor(&door.app, found.next.as_ref())?;
    let entries = found.items.iter().map(EntryView::of).collect();
    Ok(Answer::new("Success", LogView { entries, next_cursor: next_cursor.clone() }).with_next(next_cursor))
}

impl EntryView {
    fn of(entry: &AuditEntry) -> Self {
        EntryView { at: zulu(entry.at), actor: entry.actor.clone(), request_id: entry.request.clone(), changes: entry.changes() }
    }
}
