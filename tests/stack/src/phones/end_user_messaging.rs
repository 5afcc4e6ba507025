//! The phones as AWS End User Messaging: it takes `SendTextMessage`, once for every call, and publishes what became of a message and what people write to
//! a topic, whose envelopes come to the queue that subscribes to it.

use std::collections::BTreeMap;

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header::CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Value, json};

use super::phone::{Channel, Event, Incoming, Status};
use super::{Answer, PhoneError, Phones};
use crate::mailbox::take_one;

/// What of a call is played.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SendTextMessage {
    destination_phone_number: String,
    origination_identity: String,
    message_body: String,
    configuration_set_name: String,
    #[serde(default)]
    context: BTreeMap<String, String>,
}

/// A refusal: its code, and why in the words of the service.
type Refusal = (StatusCode, &'static str, Option<&'static str>);

/// By this name a caller keeps what it wants to hear again.
const REFERENCE: &str = "reference";

impl Phones {
    /// The answer to a call of `SendTextMessage`.
    pub fn send_text_message(&self, body: &[u8]) -> Response {
        match self.sent(body) {
            Ok(id) => answer(StatusCode::OK, json!({ "MessageId": id })),
            Err((status, code, reason)) => answer(status, json!({ "__type": code, "Message": code, "Reason": reason })),
        }
    }

    /// Publishes what a phone tells. Nothing happens where no template has said where to.
    pub(super) fn publish(&self, number: &str, event: &Event) -> Result<(), PhoneError> {
        let Some((queues, notices)) = self.shared.notices.lock().clone() else { return Ok(()) };
        let (message, at) = match event {
            Event::Receipt { id, reference, status, at, .. } => (told(number, id, reference, *status, at.as_millisecond()), at),
            Event::Inbound { id, line, peer, text, at, .. } => (said(id, line, peer, text), at),
        };
        let envelope = json!({
            "Type": "Notification",
            "MessageId": event.id(),
            "TopicArn": notices.topic,
            "Message": message.to_string(),
            "Timestamp": at.to_string(),
            "SignatureVersion": "1",
        });
        queues.send(&notices.queue, &envelope.to_string(), None).map(drop).map_err(|error| PhoneError::Notices(error.to_string()))
    }

    fn sent(&self, body: &[u8]) -> Result<String, Refusal> {
        let call: SendTextMessage = serde_json::from_slice(body).map_err(|_| invalid("INVALID_REQUEST"))?;
        let set = self.shared.notices.lock().as_ref().map(|(_, notices)| notices.configuration_set.clone());
        if set.as_ref() != Some(&call.configuration_set_name) {
            return Err((StatusCode::BAD_REQUEST, "ResourceNotFoundException", None));
        }
        if take_one(&self.shared.refusals) {
            return Err(too_many());
        }
        let id = format!("{:08x}-aws-{:016x}", fastrand::u32(..), fastrand::u64(..));
        let incoming = Incoming {
            id: id.clone(),
            reference: call.context.get(REFERENCE).cloned().unwrap_or_default(),
            from: call.origination_identity,
            to: call.destination_phone_number,
            channel: Channel::Sms,
            text: call.message_body,
            by_aws: true,
        };
        if !incoming.is_valid() {
            return Err(invalid("FIELD_VALIDATION_FAILED"));
        }
        match self.take(incoming) {
            Ok(Answer::Taken | Answer::Known) => Ok(id),
            Ok(Answer::NotNow(..)) => Err(too_many()),
            Ok(Answer::Never(_)) => Err(invalid("DESTINATION_COUNTRY_BLOCKED")),
            Ok(Answer::Lost) | Err(_) => Err((StatusCode::INTERNAL_SERVER_ERROR, "InternalServerException", None)),
        }
    }
}

/// <https://docs.aws.amazon.com/sms-voice/latest/userguide/configuration-sets-event-format.html>
fn told(number: &str, id: &str, reference: &str, status: Status, at: i64) -> Value {
    let (event_type, status) = match status {
        Status::Failed => ("TEXT_CARRIER_UNREACHABLE", "CARRIER_UNREACHABLE"),
        // An SMS tells nobody that it was read.
        Status::Delivered | Status::Read => ("TEXT_DELIVERED", "DELIVERED"),
    };
    json!({
        "eventType": event_type,
        "eventVersion": "1.0",
        "eventTimestamp": at,
        "isFinal": true,
        "destinationPhoneNumber": number,
        "messageId": id,
        "messageStatus": status,
        "context": { REFERENCE: reference },
        "totalMessageParts": 1,
    })
}

/// <https://docs.aws.amazon.com/sms-voice/latest/userguide/two-way-sms-payload.html>
fn said(id: &str, line: &str, peer: &str, text: &str) -> Value {
    let keyword = text.split_whitespace().next().unwrap_or_default().to_uppercase();
    json!({
        "originationNumber": peer,
        "destinationNumber": line,
        "messageKeyword": keyword,
        "messageBody": text,
        "inboundMessageId": id,
    })
}

fn invalid(reason: &'static str) -> Refusal {
    (StatusCode::BAD_REQUEST, "ValidationException", Some(reason))
}

fn too_many() -> Refusal {
    (StatusCode::BAD_REQUEST, "ThrottlingException", None)
}

fn answer(status: StatusCode, body: Value) -> Response {
    (status, [(CONTENT_TYPE, "application/x-amz-json-1.0")], body.to_string()).into_response()
}
