//! Deletes the tasks of a deleted project. Its tombstone hides them at once and may only vanish when no task is left.

use records::project::{DeletedProject, SweepTasks};
use records::task::Task;
use shared::tenancy::jobs::WorkContext;
use shared::{Error, Result};

/// The most tasks that one job deletes, well within the function's time.
pub const AT_MOST: usize = 20_000;

/// Another project of the tenant may share the tag, so tasks are selected by their project. If some are left, the tombstone is written
/// again. The relay then queues the next round, as often as needed.
pub async fn sweep(context: &WorkContext, job: SweepTasks, at_most: usize) -> Result<()> {
    let store = context.store.as_ref().ok_or_else(|| Error::internal("sweeping tasks", "the job names no tenant"))?;
    let Some(tombstone) = store.find(&DeletedProject::key_of(job.project.tag())).await? else { return Ok(()) };
    if tombstone.id == job.project && tombstone.swept_at.is_some() {
        return Ok(());
    }
    let swept = store.sweep(&Task::of_project(job.project), at_most, |task| task.project == job.project).await?;
    tracing::info!(project = %job.project, tasks = swept.deleted, finished = swept.finished, "swept");
    if tombstone.id != job.project {
        // The tombstone of another project with the same tag has replaced this one, so this job is repeated.
        return if swept.finished { Ok(()) } else { Err(Error::Unavailable { doing: "sweeping tasks", cause: "more are left".into() }) };
    }
    let next = if swept.finished { tombstone.swept(context.now()) } else { tombstone.next_round() };
    match store.transaction().replace(store, &next, &tombstone)?.commit().await {
        // A parallel run of this job was faster, or the whole tenant is gone.
        Err(Error::Conflict(_) | Error::NotFound) => Ok(()),
        other => other,
    }
}
