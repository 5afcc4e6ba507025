//! The table's stream, turned into jobs: a mail that was written is to be sent, a project that was deleted has tasks to be swept. A
//! committed item is the event, so nothing is lost between a write and its job; a record seen twice makes a second job, which does nothing.

use aws_sdk_sqs::Client;
use serde::Serialize;
use serde_json::Value;
use shared::config::Variables;
use shared::model::mail::Mail;
use shared::model::project::DeletedProject;
use shared::runtime::aws::Aws;
use shared::runtime::worker::{self, Worker};
use shared::runtime::{App, StartError};
use shared::store::Entity;
use shared::tenancy::jobs::{Change, ChangeKind, Queued, SendMail, SweepTasks};
use shared::{Error, Result};

pub struct Relay {
    sqs: Client,
    mail_queue: String,
    cleanup_queue: String,
}

/// What a change of the table asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// The mail, and whose share of the queue it takes.
    Send(SendMail, String),
    Sweep(SweepTasks),
    Nothing,
}

impl Worker for Relay {
    const NAME: &'static str = "relay";

    fn start(_app: App, variables: Variables) -> Result<Self, StartError> {
        let (mail_queue, cleanup_queue) = (variables.required("MAIL_QUEUE_URL")?, variables.required("CLEANUP_QUEUE_URL")?);
        Ok(Relay { sqs: client(&Aws::read(variables)?), mail_queue, cleanup_queue })
    }

    async fn handle(&self, event: Value, _request_id: &str) -> Result<Value> {
        worker::stream(event, Self::NAME, |change| async move {
            match asked(&change)? {
                Asked::Send(job, group) => self.queue(&self.mail_queue, &group, &change.job(job)).await,
                Asked::Sweep(job) => self.queue(&self.cleanup_queue, &change.group(), &change.job(job)).await,
                Asked::Nothing => Ok(()),
            }
        })
        .await
    }
}

impl Relay {
    async fn queue<J: Serialize>(&self, queue: &str, group: &str, job: &Queued<J>) -> Result<()> {
        let body = serde_json::to_string(job).map_err(|error| Error::internal("writing a job", error))?;
        let sending = self.sqs.send_message().queue_url(queue).message_body(body).message_group_id(group).send();
        sending.await.map_err(|error| Error::Unavailable { doing: "queueing a job", cause: error.into() })?;
        Ok(())
    }
}

/// Most changes ask for nothing, and say so by kind and type alone.
fn asked(change: &Change) -> Result<Asked> {
    match change.kind {
        // A mail's later states are the courier's own doing.
        ChangeKind::Inserted if change.entity == Mail::TYPE => {
            let mail: Mail = change.record()?;
            let group = mail.tenant.map_or_else(|| mail.id.to_string(), |tenant| tenant.to_string());
            Ok(Asked::Send(SendMail { mail: mail.id }, group))
        }
        ChangeKind::Inserted | ChangeKind::Modified if change.entity == DeletedProject::TYPE => {
            let deleted: DeletedProject = change.record()?;
            Ok(if deleted.swept_at.is_none() { Asked::Sweep(SweepTasks { project: deleted.id }) } else { Asked::Nothing })
        }
        _ => Ok(Asked::Nothing),
    }
}

fn client(aws: &Aws) -> Client {
    let common = aws.common("SQS");
    let mut config = aws_sdk_sqs::Config::builder()
        .behavior_version(common.behavior)
        .region(common.region)
        .credentials_provider(common.credentials)
        .http_client(common.http)
        .retry_config(common.retries)
        .timeout_config(common.timeouts);
    config.set_endpoint_url(common.endpoint);
    Client::from_conf(config.build())
}
