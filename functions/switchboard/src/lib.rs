//! Sends messages to phones: chooses the line, waits for its turn, gives the message to what carries it, and notes what is known. It also wakes messages up
//! that waited, makes the messages of campaigns, and takes in what AWS End User Messaging says. Whatever dies in between, no phone gets a message twice, and what waits is found again.

mod campaign;
mod carrier;
mod common;
mod end_user_messaging;
mod gateway;
mod lines;
mod notice;
mod release;
mod send;

use records::message_campaign::AdvanceMessageCampaign;
use records::phone_message::SendMessage;
use serde::Deserialize;
use serde_json::Value;
use shared::Result;
use shared::aws::Aws;
use shared::aws::https::Https;
use shared::config::Variables;
use shared::model::due_messages::{DueMessages, ReleaseMessages};
use shared::runtime::worker::{self, Worker};
use shared::runtime::{App, StartError, sweep};
use shared::tenancy::jobs::WorkContext;

use crate::common::Common;
use crate::end_user_messaging::EndUserMessaging;

pub struct Switchboard {
    app: App,
    /// To gateways, which have certificates like anybody's.
    https: Https,
    end_user_messaging: EndUserMessaging,
    /// The queue of what it says.
    notices: String,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "task", rename_all = "kebab-case", deny_unknown_fields)]
enum Task {
    /// Each minute: messages that are due are brought to mind.
    Sweep {},
}

/// A job of one of its queues.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Job {
    Send(SendMessage),
    Release(ReleaseMessages),
    Advance(AdvanceMessageCampaign),
}

impl Worker for Switchboard {
    const NAME: &'static str = "switchboard";

    fn start(app: App, variables: Variables) -> Result<Self, StartError> {
        let (configuration_set, notices) =
            (variables.required("MESSAGE_CONFIGURATION_SET")?, variables.required("MESSAGE_NOTICES_QUEUE_ARN")?);
        let end_user_messaging = EndUserMessaging::new(&Aws::read(variables)?, configuration_set);
        Ok(Switchboard { app, https: Https::native()?, end_user_messaging, notices })
    }

    async fn handle(&self, event: Value, request_id: &str) -> Result<Value> {
        if worker::comes_from(&event, &self.notices) {
            let work = |context: WorkContext, body: String| async move { notice::take(&context, &body).await };
            return worker::notices(&self.app, event, Self::NAME, request_id, work).await;
        }
        if worker::is_batch(&event) {
            let common = &Common::default();
            let work = |context: WorkContext, job: Job| async move {
                match job {
                    Job::Send(job) => Box::pin(self.send(&context, common, job)).await,
                    Job::Release(job) => Box::pin(self.release(&context, common, &job.due)).await,
                    Job::Advance(job) => Box::pin(self.advance(&context, common, &job.campaign_turn)).await,
                }
            };
            return worker::queue_at_once(&self.app, event, Self::NAME, request_id, work).await;
        }
        let context = worker::work_context(&self.app, Self::NAME, request_id);
        match worker::command(event)? {
            Task::Sweep {} => sweep::<DueMessages>(&context).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_of_the_schedule_is_a_task() {
        let sample = include_str!("../../../events/switchboard/sweep.json");
        worker::command::<Task>(serde_json::from_str(sample).unwrap()).unwrap();
        assert!(worker::command::<Task>(serde_json::json!({"task": "sweep", "tenant": "x"})).is_err());
    }
}
