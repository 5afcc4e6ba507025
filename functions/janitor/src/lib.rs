//! Work without a request: demos are warned and purged, deleted tenants are purged, what deleted projects, workspaces, campaigns and leads held is deleted,
//! custom domains are checked, and what was recorded of consent is anchored. Every task may be interrupted at any point, and its next run continues.

pub mod anchor;
pub mod campaign;
pub mod domain;
pub mod lead;
pub mod purge;
pub mod sweep;
mod wave;
pub mod workspace;

use records::deleted_campaign::SweepCampaign;
use records::lead::EraseLead;
use records::project::SweepTasks;
use serde::Deserialize;
use serde_json::Value;
use shared::Result;
use shared::config::Variables;
use shared::model::due::{AnchorConsents, DueAnchor};
use shared::model::workspace::SweepWorkspace;
use shared::runtime::worker::{self, Worker};
use shared::runtime::{App, StartError, sweep as remind};

use crate::anchor::Portion;

pub struct Janitor {
    app: App,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "task", rename_all = "kebab-case", deny_unknown_fields)]
enum Task {
    /// Hourly.
    Purge {},
    /// Hourly.
    CheckDomains {},
    /// Every five minutes: what is to be anchored is brought to mind.
    AnchorConsents {},
}

/// A job of the clean-up queue.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum CleanUp {
    Tasks(SweepTasks),
    Workspace(SweepWorkspace),
    Campaign(SweepCampaign),
    Lead(EraseLead),
    Anchor(AnchorConsents),
}

impl Worker for Janitor {
    const NAME: &'static str = "janitor";

    fn start(app: App, _variables: Variables) -> Result<Self, StartError> {
        Ok(Janitor { app })
    }

    async fn handle(&self, event: Value, request_id: &str) -> Result<Value> {
        if worker::is_batch(&event) {
            let clean_up = |context, job: CleanUp| async move {
                match job {
                    CleanUp::Tasks(job) => sweep::sweep(&context, job, sweep::AT_MOST).await,
                    CleanUp::Campaign(job) => campaign::sweep(&context, job, campaign::AT_MOST).await,
                    CleanUp::Lead(job) => lead::sweep(&context, job, lead::AT_MOST).await,
                    CleanUp::Workspace(job) => workspace::sweep(&context, job, workspace::AT_MOST).await,
                    CleanUp::Anchor(job) => anchor::anchor(&context, job, Portion::MOST).await,
                }
            };
            return worker::queue(&self.app, event, Self::NAME, request_id, clean_up).await;
        }
        let context = worker::work_context(&self.app, Self::NAME, request_id);
        match worker::command(event)? {
            Task::Purge {} => worker::answer(purge::purge(&context, purge::AT_MOST).await?),
            Task::CheckDomains {} => worker::answer(domain::check(&context, domain::AT_MOST).await?),
            Task::AnchorConsents {} => remind::<DueAnchor>(&context).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inputs_of_the_schedules_are_tasks() {
        for sample in [
            include_str!("../../../events/janitor/purge.json"),
            include_str!("../../../events/janitor/check-domains.json"),
            include_str!("../../../events/janitor/anchor-consents.json"),
        ] {
            worker::command::<Task>(serde_json::from_str(sample).unwrap()).unwrap();
        }
        assert!(worker::command::<Task>(serde_json::json!({"task": "purge", "tenant": "x"})).is_err());
    }
}
