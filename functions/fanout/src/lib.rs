//! Tells webhooks of events: keeps what happened, writes a delivery for each webhook that takes it, signs its attempts for the worker that makes them, and
//! notes what became of each. A replay does the same again for events of some time. A delivery's record is its outbox: the sweep finds what waits longer than
//! a queue can hold, whatever dies. A receiver may get an event twice, with the same `webhook-id`.

mod attempt;
mod health;
mod pace;
mod publish;
mod replay;

use aws_sdk_sqs::Client;
use net_guard::Guard;
use records::delivery::{Deliver, Returned};
use records::event::Publish;
use records::replay::GoOn;
use records::webhook_pace::LetGo;
use serde::Deserialize;
use serde_json::Value;
use shared::Result;
use shared::aws::Aws;
use shared::config::{ConfigError, Variables};
use shared::model::due::{DueDelivery, RemindDelivery};
use shared::runtime::worker::{self, Worker};
use shared::runtime::{App, StartError, sweep};
use shared::tenancy::jobs::WorkContext;

use crate::pace::Turns;
use crate::publish::Listeners;

pub struct Fanout {
    app: App,
    sqs: Client,
    deliveries: String,
    /// The same for webhooks that let callers wait.
    slow_deliveries: String,
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
    Replay(GoOn),
    LetGo(LetGo),
}

impl Worker for Fanout {
    const NAME: &'static str = "fanout";

    /// `WEBHOOK_ALLOWED_HOSTS`: where events may be delivered to beside the public internet.
    fn start(app: App, variables: Variables) -> Result<Self, StartError> {
        let guard = Guard::read(app.config().webhook_allowed_hosts.as_deref(), &[&app.config().public_url]);
        let guard = guard.map_err(|error| ConfigError(format!("WEBHOOK_ALLOWED_HOSTS: {error}")))?;
        let deliveries = variables.required("DELIVERY_QUEUE_URL")?;
        let slow_deliveries = variables.required("SLOW_DELIVERY_QUEUE_URL")?;
        let results = variables.required("RESULT_QUEUE_ARN")?;
        Ok(Fanout { app, sqs: client(&Aws::read(variables)?), deliveries, slow_deliveries, results, guard })
    }

    async fn handle(&self, event: Value, request_id: &str) -> Result<Value> {
        if worker::comes_from(&event, &self.results) {
            let turns = &Turns::default();
            let work = |context: WorkContext, job: Returned| async move { self.returned(&context, turns, job).await };
            return worker::queue_at_once(&self.app, event, Self::NAME, request_id, work).await;
        }
        if worker::is_batch(&event) {
            let (listeners, turns) = (&Listeners::default(), &Turns::default());
            let work = |context: WorkContext, job: Job| async move {
                match job {
                    Job::Publish(job) => publish::publish(&context, listeners, job.happened).await,
                    Job::Deliver(job) => self.deliver(&context, turns, &job.deliver).await,
                    Job::Remind(job) => self.remind(context, turns, &job.due_delivery).await,
                    Job::Replay(job) => replay::go_on(&context, &job.replay).await,
                    Job::LetGo(job) => pace::step(&context, turns, &job.let_go).await,
                }
            };
            return worker::queue_at_once(&self.app, event, Self::NAME, request_id, work).await;
        }
        let context = worker::work_context(&self.app, Self::NAME, request_id);
        match worker::command(event)? {
            Task::Sweep {} => sweep::<DueDelivery>(&context).await,
        }
    }
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
