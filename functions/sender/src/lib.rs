//! Sends campaigns: enrols the leads of what was launched, releases waves of them when they may go, and gives their mails to the carrier. Whatever dies
//! in between, nobody gets a mail twice, and whoever waits is found again.

mod budget;
mod conduct;
mod enrol;
mod kept;
mod mail;
pub mod plan;
mod test_mail;
pub mod wave;

use engagement::letter::Sites;
use records::test_mail::SendTest;
use records::wave::SendWave;
use serde::Deserialize;
use serde_json::Value;
use shared::Result;
use shared::carriers::MailCarrier;
use shared::config::{ConfigError, Variables};
use shared::model::due::{AdvanceCampaign, DueWork};
use shared::runtime::worker::{self, Worker};
use shared::runtime::{App, StartError};
use shared::tenancy::jobs::WorkContext;

pub struct Sender {
    app: App,
    carrier: Box<dyn MailCarrier>,
    sites: Sites,
    /// Mails of campaigns in a minute, over all tenants.
    per_minute: u32,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "task", rename_all = "kebab-case", deny_unknown_fields)]
enum Task {
    /// Each minute: what is due is brought to mind.
    Sweep {},
}

/// A job of one of its queues.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Job {
    Advance(AdvanceCampaign),
    Send(SendWave),
    Test(SendTest),
}

/// Due campaigns that one sweep brings to mind.
const AT_MOST: usize = 1_000;

impl Worker for Sender {
    const NAME: &'static str = "sender";

    /// `MAIL_FROM` is the address that mails of campaigns come from. `SES_PER_SECOND`: how many mails the carrier takes.
    fn start(app: App, variables: Variables) -> Result<Self, StartError> {
        let from = variables.required("MAIL_FROM")?;
        let per_second: u32 = match variables.required("SES_PER_SECOND")?.parse() {
            Ok(per_second) if per_second > 0 => per_second,
            _ => return Err(ConfigError("SES_PER_SECOND must be a whole number above 0".into()).into()),
        };
        let carrier = carriers::chosen(variables, app.config().stage)?;
        Ok(Sender::with(app, carrier, from, per_second))
    }

    async fn handle(&self, event: Value, request_id: &str) -> Result<Value> {
        if worker::is_batch(&event) {
            let work = |context: WorkContext, job: Job| async move {
                match job {
                    Job::Advance(job) => self.advance(&context, &job.due).await,
                    Job::Send(job) => self.send(&context, &job.wave).await,
                    Job::Test(job) => self.test(&context, job).await,
                }
            };
            return worker::queue(&self.app, event, Self::NAME, request_id, work).await;
        }
        let context = worker::work_context(&self.app, Self::NAME, request_id);
        match worker::command(event)? {
            Task::Sweep {} => worker::answer(sweep(&context).await?),
        }
    }
}

impl Sender {
    pub fn with(app: App, carrier: Box<dyn MailCarrier>, from: String, per_second: u32) -> Self {
        let sites = Sites { from, api: app.config().public_url.clone() };
        Sender { app, carrier, sites, per_minute: per_second.saturating_mul(60) }
    }
}

/// Changes each note that is due, which brings a job by the stream.
async fn sweep(context: &WorkContext) -> Result<Value> {
    let due = context.directory.first(&DueWork::all(), AT_MOST).await?;
    let mut reminded = 0;
    for note in due.iter().take_while(|note| note.is_due(context.now())) {
        // Whoever deleted or changed it meanwhile has done the work, or brought it to mind.
        reminded += u64::from(context.directory.replace_if(&note.again(), note).await?);
    }
    Ok(serde_json::json!({ "reminded": reminded }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_of_the_schedule_is_a_task() {
        let sample = include_str!("../../../events/sender/sweep.json");
        worker::command::<Task>(serde_json::from_str(sample).unwrap()).unwrap();
        assert!(worker::command::<Task>(serde_json::json!({"task": "sweep", "tenant": "x"})).is_err());
    }
}
