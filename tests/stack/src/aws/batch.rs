//! `SendMessageBatch` by the rules of SQS: what it refuses as a whole, and that each message is taken or refused by itself. winterbaume's answer knows no
//! message that fails, and no limits.

use std::collections::HashMap;

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use winterbaume_sqs::{
    model::{
        BatchResultErrorEntry, MessageAttributeValue, SendMessageBatchRequestEntry, SendMessageBatchResult, SendMessageBatchResultEntry,
    },
    state::SqsError,
    types::MessageAttribute,
    wire,
};

use super::{
    queues::{NewMessage, Queues},
    server::refuse,
};

const MOST_MESSAGES: usize = 10;
/// Of a message, and of all of a request together.
const MOST_BYTES: usize = 1024 * 1024;
const LONGEST_DELAY: i32 = 900;

pub fn answer(queues: &Queues, body: &[u8]) -> Response {
    let request = match wire::deserialize_send_message_batch_request(body) {
        Ok(request) => request,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, "InvalidInput", &error),
    };
    if let Some((code, message)) = refusal(&request.entries) {
        return refuse(StatusCode::BAD_REQUEST, code, message);
    }
    let (mut ids, mut messages, mut failed) = (vec![], vec![], vec![]);
    for entry in request.entries {
        match fault(&entry) {
            Some((code, message)) => failed.push(error(entry.id, code, message.to_owned(), true)),
            None => {
                ids.push(entry.id.clone());
                messages.push(new_message(entry));
            }
        }
    }
    let queue = request.queue_url.rsplit('/').next().unwrap_or_default();
    let answers = match queues.put_batch(queue, messages) {
        Ok(answers) => answers,
        Err(error @ SqsError::NonExistentQueue) => {
            return refuse(StatusCode::BAD_REQUEST, "AWS.SimpleQueueService.NonExistentQueue", &error.to_string());
        }
        Err(error) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", &error.to_string()),
    };
    let mut successful = vec![];
    for (id, answer) in ids.into_iter().zip(answers) {
        match answer {
            Ok(sent) => successful.push(SendMessageBatchResultEntry {
                id: Some(id),
                message_id: Some(sent.message_id),
                m_d5_of_message_body: Some(sent.body_md5),
                ..SendMessageBatchResultEntry::default()
            }),
            Err(fault) => failed.push(error(id, "InternalError", fault.to_string(), false)),
        }
    }
    let answer =
        wire::serialize_send_message_batch_response(&SendMessageBatchResult { successful: Some(successful), failed: Some(failed) });
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, answer.headers, answer.body).into_response()
}

/// Why nothing of a request is taken.
fn refusal(entries: &[SendMessageBatchRequestEntry]) -> Option<(&'static str, &'static str)> {
    let is_id =
        |id: &str| (1..=80).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    let mut ids: Vec<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    if entries.is_empty() {
        Some(("AWS.SimpleQueueService.EmptyBatchRequest", "There should be at least one SendMessageBatchRequestEntry in the request."))
    } else if entries.len() > MOST_MESSAGES {
        Some(("AWS.SimpleQueueService.TooManyEntriesInBatchRequest", "Maximum number of entries per request are 10."))
    } else if !entries.iter().all(|entry| is_id(&entry.id)) {
        Some(("AWS.SimpleQueueService.InvalidBatchEntryId", "An id has letters, digits, hyphens and underscores, at most 80 of them."))
    } else if ids.len() < entries.len() {
        Some(("AWS.SimpleQueueService.BatchEntryIdsNotDistinct", "Two entries have the same id."))
    } else if entries.iter().map(|entry| entry.message_body.len()).sum::<usize>() > MOST_BYTES {
        Some(("AWS.SimpleQueueService.BatchRequestTooLong", "Batch requests cannot be longer than 1048576 bytes."))
    } else {
        None
    }
}

/// Why one message is not taken.
fn fault(entry: &SendMessageBatchRequestEntry) -> Option<(&'static str, &'static str)> {
    let is_allowed = |letter: char| matches!(letter, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    if entry.message_body.is_empty() {
        Some(("MissingParameter", "The request must contain the parameter MessageBody."))
    } else if !entry.message_body.chars().all(is_allowed) {
        Some(("InvalidMessageContents", "The message contains characters outside the allowed set."))
    } else if entry.delay_seconds.is_some_and(|delay| !(0..=LONGEST_DELAY).contains(&delay)) {
        Some(("InvalidParameterValue", "DelaySeconds must be >= 0 and <= 900."))
    } else {
        None
    }
}

fn new_message(entry: SendMessageBatchRequestEntry) -> NewMessage {
    let attribute = |value: MessageAttributeValue| MessageAttribute {
        data_type: value.data_type,
        string_value: value.string_value,
        binary_value: None,
    };
    let attributes: HashMap<String, MessageAttribute> =
        entry.message_attributes.into_iter().flatten().map(|(name, value)| (name, attribute(value))).collect();
    NewMessage {
        body: entry.message_body,
        // None at all means the queue's own.
        delay_seconds: entry.delay_seconds.and_then(|delay| u32::try_from(delay).ok()),
        attributes,
        group: entry.message_group_id,
        deduplication: entry.message_deduplication_id,
    }
}

fn error(id: String, code: &str, message: String, is_senders: bool) -> BatchResultErrorEntry {
    BatchResultErrorEntry { id: Some(id), code: Some(code.to_owned()), message: Some(message), sender_fault: Some(is_senders) }
}
