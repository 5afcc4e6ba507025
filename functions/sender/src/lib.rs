//! Sends campaigns: enrols the leads of what was launched, releases waves of them when they may go, gives their mails to the carrier, and notes what
//! became of them. It also sends the answers of the inbox and test mails. Whatever dies in between, nobody gets a mail twice, and whoever waits is found again.

mod budget;
mod conduct;
mod enrol;
mod inbound;
mod mail;
mod new_tenant;
mod plan;
mod reply;
mod reports;
mod test_mail;
mod wave;

use engagement::letter::Sites;
use records::message::SendReply;
use records::test_mail::SendTest;
use records::wave::SendWave;
use reports::Notice;
use serde::Deserialize;
use serde_json::Value;
use shared::Result;
use shared::bounded::Bounded;
use shared::carriers::MailCarrier;
use shared::config::{ConfigError, Variables};
use shared::ids::{TenantId, WorkspaceTag};
use shared::lock::Lock;
use shared::model::due::{AdvanceCampaign, DueWork};
use shared::model::inbound::InboundId;
use shared::runtime::worker::{self, Worker};
use shared::runtime::{App, StartError, sweep};
use shared::tenancy::jobs::WorkContext;

pub struct Sender {
    app: App,
    carrier: Box<dyn MailCarrier>,
    sites: Sites,
    /// Behind the @ of the `Message-ID`s that Amazon SES gives.
    host_of_messages: String,
    /// Addresses of workspaces, which never change.
    inbound: Lock<Bounded<(TenantId, WorkspaceTag), InboundId>>,
    /// Mails of campaigns in a minute, over all tenants.
    per_minute: u32,
    /// Mails of a new tenant's campaigns in a day. `None`: as many as others.
    new_tenant_daily: Option<u64>,
    /// Tenants that are not new.
    known: Lock<Bounded<TenantId, ()>>,
    /// The queue of what became of mails.
    reports: String,
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
    Reply(SendReply),
}

/// Workspaces whose addresses are remembered, and tenants that are.
const REMEMBERED: usize = 10_000;
/// Of a minute's mails. A tenth of what the carrier takes is left for mails to accounts.
const SHARE_OF_A_MINUTE: u32 = 54;

impl Worker for Sender {
    const NAME: &'static str = "sender";

    /// `MAIL_FROM` is the address that mails of campaigns come from. `SES_PER_SECOND`: how many mails the carrier takes. `NEW_TENANT_DAILY`: how many
    /// mails go in a day for a tenant that is new; 0: as many as for others.
    fn start(app: App, variables: Variables) -> Result<Self, StartError> {
        let from = variables.required("MAIL_FROM")?;
        let per_second: u32 = match variables.required("SES_PER_SECOND")?.parse() {
            Ok(per_second) if per_second > 0 => per_second,
            _ => return Err(ConfigError("SES_PER_SECOND must be a whole number above 0".into()).into()),
        };
        let new_tenant_daily: u64 = match variables.required("NEW_TENANT_DAILY")?.parse() {
            Ok(daily) => daily,
            Err(_) => return Err(ConfigError("NEW_TENANT_DAILY must be a whole number".into()).into()),
        };
        let reports = variables.required("MAIL_EVENTS_QUEUE_ARN")?;
        let sites = Sites { from, api: app.config().public_url.clone(), inbound: variables.optional("INBOUND_DOMAIN") };
        let host_of_messages = host_of_messages(variables.optional("AWS_REGION").as_deref());
        let carrier = carriers::chosen(variables, app.config().stage)?;
        Ok(Sender {
            app,
            carrier,
            sites,
            host_of_messages,
            inbound: Lock::new(Bounded::new(REMEMBERED)),
            per_minute: per_second.saturating_mul(SHARE_OF_A_MINUTE),
            new_tenant_daily: (new_tenant_daily > 0).then_some(new_tenant_daily),
            known: Lock::new(Bounded::new(REMEMBERED)),
            reports,
        })
    }

    async fn handle(&self, event: Value, request_id: &str) -> Result<Value> {
        if worker::comes_from(&event, &self.reports) {
            let work = |context: WorkContext, body: String| async move {
                match Notice::read(&body)? {
                    Some(notice) => self.report(&context, notice).await,
                    None => Ok(()),
                }
            };
            return worker::notices(&self.app, event, Self::NAME, request_id, work).await;
        }
        if worker::is_batch(&event) {
            let work = |context: WorkContext, job: Job| async move {
                match job {
                    Job::Advance(job) => self.advance(&context, &job.due).await,
                    Job::Send(job) => self.send(&context, &job.wave).await,
                    Job::Test(job) => self.test(&context, job).await,
                    Job::Reply(job) => self.reply(&context, job).await,
                }
            };
            return worker::queue(&self.app, event, Self::NAME, request_id, work).await;
        }
        let context = worker::work_context(&self.app, Self::NAME, request_id);
        match worker::command(event)? {
            Task::Sweep {} => sweep::<DueWork>(&context).await,
        }
    }
}

/// <https://docs.aws.amazon.com/ses/latest/dg/header-fields.html>
fn host_of_messages(region: Option<&str>) -> String {
    match region {
        None | Some("us-east-1") => "email.amazonses.com".to_owned(),
        Some(region) => format!("{region}.amazonses.com"),
    }
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
