//! Plays an SQS event source with batches of visible messages. Handled messages are deleted. The others come back when their visibility
//! timeout ends, and go to the dead-letter queue after too many receives.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Courier, Invoke, Outcome, SourceError, Step, filter};
use crate::{
    aws::{Aws, REGION, queues::ReceivedMessage},
    template::QueueSource,
};

/// For so many batches that AWS handles at the same time, one is handled in real time: a laptop has few cores, and every one more is a process.
const OF_AWS: usize = 20;

pub struct QueuePlayer {
    source: QueueSource,
}

impl QueuePlayer {
    pub fn new(source: QueueSource) -> QueuePlayer {
        QueuePlayer { source }
    }

    pub fn queue(&self) -> &str {
        &self.source.queue
    }

    /// How many batches are handled at the same time.
    pub fn at_once(&self) -> usize {
        self.source.at_once.map_or(1, |most| (most / OF_AWS).max(1))
    }

    pub async fn step<I: Invoke>(&self, courier: &Courier<I>, aws: &Aws) -> Result<Step, SourceError> {
        let source = &self.source;
        let queues = aws.queues();
        let received = queues.receive(&source.queue, source.batch_size)?;
        if received.is_empty() {
            return Ok(Step::Idle);
        }
        let (mut batch, unwanted): (Vec<ReceivedMessage>, Vec<ReceivedMessage>) =
            received.into_iter().partition(|message| filter::passes(&source.filters, &filterable(message)));
        for message in unwanted {
            queues.delete(&source.queue, &message.receipt_handle)?;
        }
        if batch.is_empty() {
            return Ok(Step::Moved);
        }
        if courier.faults.reorder {
            courier.dice.shuffle(&mut batch);
        }
        let records: Vec<Value> = batch.iter().map(|message| self.record(message)).collect();
        let identifiers: Vec<&str> = batch.iter().map(|message| message.message_id.as_str()).collect();
        let event = json!({ "Records": records });
        let outcome = courier.deliver(&source.function, event, source.report_item_failures, &identifiers).await;
        let kept = match outcome {
            Ok(Outcome::Done) => BTreeSet::new(),
            Ok(Outcome::Partly(items)) => items,
            Ok(Outcome::Failed(message)) => {
                return Ok(Step::Again { failures: 0, message });
            }
            Err(SourceError::Invoke(error)) => {
                // If the function was not reached, the messages wait as before.
                for message in &batch {
                    queues.give_back(&source.queue, &message.message_id)?;
                }
                return Err(error.into());
            }
            Err(error) => return Err(error),
        };
        for message in batch.iter().filter(|message| !kept.contains(&message.message_id)) {
            queues.delete(&source.queue, &message.receipt_handle)?;
        }
        Ok(Step::Moved)
    }

    fn record(&self, message: &ReceivedMessage) -> Value {
        let mut attributes = json!({
            "ApproximateReceiveCount": message.receive_count.to_string(),
            "SentTimestamp": message.sent_at.to_string(),
            "SenderId": message.sender,
            "ApproximateFirstReceiveTimestamp": message.first_received_at.to_string(),
        });
        if let Some(group) = &message.group {
            attributes["MessageGroupId"] = json!(group);
        }
        let message_attributes: Map<String, Value> = message
            .attributes
            .iter()
            .map(|(name, attribute)| {
                let value = json!({ "stringValue": attribute.string_value, "dataType": attribute.data_type });
                (name.clone(), value)
            })
            .collect();
        json!({
            "messageId": message.message_id,
            "receiptHandle": message.receipt_handle,
            "body": message.body,
            "attributes": attributes,
            "messageAttributes": message_attributes,
            "md5OfBody": message.body_md5,
            "eventSource": "aws:sqs",
            "eventSourceARN": self.source.arn,
            "awsRegion": REGION,
        })
    }
}

/// Filters can look into a body that is JSON.
fn filterable(message: &ReceivedMessage) -> Value {
    let body = serde_json::from_str(&message.body).unwrap_or_else(|_| Value::from(message.body.as_str()));
    json!({ "messageId": message.message_id, "body": body })
}
