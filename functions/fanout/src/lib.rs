//! Tells webhooks of events: keeps what happened, writes a delivery for each webhook that takes it, signs its attempts for the worker that makes them, and
//! notes what became of each. What is committed is the outbox: a delivery that waits is found again whatever dies in between. A receiver may get an event
//! twice, with the same `webhook-id`; none is lost.

mod attempt;
mod health;
mod publish;

use aws_sdk_sqs::Client;
use net_guard::{Allowed, Guard};
use records::delivery::{Deliver, Returned};
use records::event::Publish;
use serde::Deserialize;
use serde_json::Value;
use shared::Result;
use shared::aws::Aws;
use shared::config::{ConfigError, Variables};
use shared::model::due::{DueDelivery, RemindDelivery};
use shared::runtime::worker::{self, Worker};
use shared::runtime::{App, StartError};
use shared::store::Span;
use shared::tenancy::jobs::WorkContext;

pub struct Fanout {
    app: App,
    sqs: Client,
    deliveries: String,
    /// Where the herald says what became of its calls. It talks to strangers, so nothing else is taken from there.
    results: String,
    guard: Guard,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "task", rename_all = "kebab-case", deny_unknown_fields)]
enum Task {
    /// Each minute: deliveries that are due are brought to mind.
    Sweep {},
}

/// A job of the queue of events, into which only the relay writes.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Job {
    Publish(Publish),
    Deliver(Deliver),
    Remind(RemindDelivery),
}

/// Notes that one sweep brings to mind, about, and how many it looks at.
const AT_MOST: u64 = 1_000;
const AT_ONCE: usize = 500;
const PAGES: usize = 20;

impl Worker for Fanout {
    const NAME: &'static str = "fanout";

    /// `WEBHOOK_ALLOWED_HOSTS`: where events may be delivered to beside the public internet.
    fn start(app: App, variables: Variables) -> Result<Self, StartError> {
        let allowed = Allowed::parse(&variables.optional("WEBHOOK_ALLOWED_HOSTS").unwrap_or_default());
        let allowed = allowed.map_err(|error| ConfigError(format!("WEBHOOK_ALLOWED_HOSTS: {error}")))?;
        let guard = Guard::new(allowed, &[&app.config().public_url]);
        let deliveries = variables.required("DELIVERY_QUEUE_URL")?;
        let results = variables.required("RESULT_QUEUE_ARN")?;
        Ok(Fanout { app, sqs: client(&Aws::read(variables)?), deliveries, results, guard })
    }

    async fn handle(&self, event: Value, request_id: &str) -> Result<Value> {
        if worker::comes_from(&event, &self.results) {
            let work = |context: WorkContext, job: Returned| async move { self.returned(&context, job).await };
            return worker::queue(&self.app, event, Self::NAME, request_id, work).await;
        }
        if worker::is_batch(&event) {
            let work = |context: WorkContext, job: Job| async move {
                match job {
                    Job::Publish(job) => publish::publish(&context, job.happened).await,
                    Job::Deliver(job) => self.deliver(&context, &job.deliver).await,
                    Job::Remind(job) => self.remind(context, &job.due_delivery).await,
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

/// Changes each note that is due, which brings a job by the stream.
async fn sweep(context: &WorkContext) -> Result<Value> {
    let (mut reminded, mut span) = (0, Span::first(AT_ONCE));
    // Past those that are brought to mind more rarely.
    for _ in 0..PAGES {
        let due = context.directory.page(&DueDelivery::all(), &span, |_| true).await?;
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
    Ok(serde_json::json!({ "ok": true, "reminded": reminded }))
}

fn client(aws: &Aws) -> Client {
    shared::client!(aws, "SQS", aws_sdk_sqs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_of_the_schedule_is_a_task() {
        let sample = include_str!("../../../events/fanout/sweep.json");
        worker::command::<Task>(serde_json::from_str(sample).unwrap()).unwrap();
        assert!(worker::command::<Task>(serde_json::json!({"task": "sweep", "tenant": "x"})).is_err());
    }
}
