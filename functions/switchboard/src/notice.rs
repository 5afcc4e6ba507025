//! What AWS End User Messaging says over its topic: what became of a message that it was given
//! (<https://docs.aws.amazon.com/sms-voice/latest/userguide/configuration-sets-event-format.html>), and what somebody writes to a number
//! (<https://docs.aws.amazon.com/sms-voice/latest/userguide/two-way-sms-payload.html>). A notice that comes again changes nothing more.

use std::collections::BTreeMap;

use jiff::Timestamp;
use messaging::inbound::{self, Arrival};
use messaging::{reports, ways};
use records::phone_message::{Reason, Report, Reported};
use serde::Deserialize;
use shared::model::line::Channel;
use shared::model::phone_number::PhoneNumber;
use shared::tenancy::jobs::WorkContext;
use shared::{Error, Result};

use crate::end_user_messaging::REFERENCE;

/// What the topic delivers. An inbound message has no moment of its own, so it has that at which it was published.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Published {
    message: String,
    timestamp: Timestamp,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Notice {
    Event(Event),
    Inbound(Inbound),
}

/// Most of it is not read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    event_type: String,
    /// In milliseconds.
    event_timestamp: i64,
    #[serde(default)]
    is_final: bool,
    #[serde(default)]
    context: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Inbound {
    origination_number: String,
    destination_number: String,
    #[serde(default)]
    message_body: String,
    inbound_message_id: String,
}

/// What is no notice about a message or a line of ours says nothing.
pub async fn take(context: &WorkContext, body: &str) -> Result<()> {
    let published: Published = serde_json::from_str(body).map_err(|error| Error::internal("reading a notice of a topic", error))?;
    // A topic may be told other things too, as when a destination is made.
    let Ok(notice) = serde_json::from_str::<Notice>(&published.message) else {
        tracing::warn!("a notice is none of AWS End User Messaging");
        return Ok(());
    };
    match notice {
        Notice::Event(event) => {
            let reference = event.context.get(REFERENCE).map(String::as_str).unwrap_or_default();
            let Some((about, store)) = context.messaged(reference)? else { return Ok(()) };
            if let Some(report) = event.report(context.now()) {
                reports::note(&context.directory, (&about, &store), report, None).await?;
            }
        }
        Notice::Inbound(said) => {
            let numbers = (PhoneNumber::parse(&said.destination_number), PhoneNumber::parse(&said.origination_number));
            // A service with a name, or a few digits: nobody has written to it.
            let (Some(line), Some(peer)) = numbers else { return Ok(()) };
            let pool = ways::pool(&context.directory).await?;
            let (id, text, at) = (&said.inbound_message_id, said.message_body, published.timestamp);
            let arrival = Arrival { carrier: None, pool: &pool, id, line: &line, peer, text, channel: Channel::Sms, at };
            inbound::receive(context, arrival).await?;
        }
    }
    Ok(())
}

impl Event {
    /// `None`: it says nothing of the message's end, nor that it was accepted.
    fn report(&self, now: Timestamp) -> Option<Report> {
        let failed = |reason| self.is_final.then_some((Reported::Failed, Some(reason)));
        let (status, reason) = match self.event_type.as_str() {
            "TEXT_DELIVERED" => (Reported::Delivered, None),
            // Accepted: by the service, or by a network that tells no more. Of one that is unknown after 72 hours nobody knows whether it arrived.
            "TEXT_QUEUED" | "TEXT_PENDING" | "TEXT_SENT" | "TEXT_SUCCESSFUL" | "TEXT_UNKNOWN" => (Reported::Sent, None),
            "TEXT_INVALID" | "TEXT_UNREACHABLE" | "TEXT_CARRIER_UNREACHABLE" => failed(Reason::Unreachable)?,
            "TEXT_BLOCKED" | "TEXT_CARRIER_BLOCKED" | "TEXT_PROTECT_BLOCKED" | "TEXT_SPAM" => failed(Reason::Rejected)?,
            "TEXT_TTL_EXPIRED" => failed(Reason::Expired)?,
            kind if kind.starts_with("TEXT_") => failed(Reason::CarrierError)?,
            _ => return None,
        };
        let at = Timestamp::from_millisecond(self.event_timestamp).map_or(now, |at| at.min(now));
        Some(Report { status, reason, channel: Some(Channel::Sms), at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_word_is_a_failure() {
        let report = |event_type: &str, is_final| {
            let event = Event { event_type: event_type.into(), event_timestamp: 1_686_975_103_470, is_final, context: BTreeMap::new() };
            event.report(Timestamp::MAX).map(|report| (report.status, report.reason))
        };
        for (event_type, is_final, expected) in [
            ("TEXT_QUEUED", false, Some((Reported::Sent, None))),
            ("TEXT_SUCCESSFUL", true, Some((Reported::Sent, None))),
            ("TEXT_UNKNOWN", true, Some((Reported::Sent, None))),
            ("TEXT_DELIVERED", true, Some((Reported::Delivered, None))),
            ("TEXT_CARRIER_UNREACHABLE", false, None),
            ("TEXT_CARRIER_UNREACHABLE", true, Some((Reported::Failed, Some(Reason::Unreachable)))),
            ("TEXT_SPAM", true, Some((Reported::Failed, Some(Reason::Rejected)))),
            ("TEXT_TTL_EXPIRED", true, Some((Reported::Failed, Some(Reason::Expired)))),
            ("TEXT_OF_LATER_YEARS", true, Some((Reported::Failed, Some(Reason::CarrierError)))),
            ("VOICE_BUSY", true, None),
        ] {
            assert_eq!(report(event_type, is_final), expected, "{event_type}");
        }
    }

    #[test]
    fn what_the_documentation_prints_is_read() {
        let event = r#"{"eventType":"TEXT_SUCCESSFUL","eventVersion":"1.0","eventTimestamp":1686975103470,"isFinal":true,
            "originationPhoneNumber":"+12065550152","destinationPhoneNumber":"+14255550156","isoCountryCode":"US","mcc":"310","mnc":"800",
            "messageId":"862a8790-60c0-4430-9b2b-658bdexample","messageRequestTimestamp":1686975103170,"messageEncoding":"GSM",
            "messageType":"PROMOTIONAL","messageStatus":"SUCCESSFUL","messageStatusDescription":"Message has been accepted by phone carrier",
            "context":{"account":"bar"},"totalMessageParts":1,"totalMessagePrice":0.09582,"totalCarrierFee":0.0}"#;
        assert!(matches!(serde_json::from_str(event), Ok(Notice::Event(event)) if event.is_final && event.context["account"] == "bar"));
        let said = r#"{"originationNumber":"+14255550182","destinationNumber":"+12125550101","messageKeyword":"JOIN","messageBody":"EXAMPLE",
            "inboundMessageId":"cae173d2-66b9-564c-8309-21f858e9fb84","previousPublishedMessageId":"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}"#;
        assert!(matches!(serde_json::from_str(said), Ok(Notice::Inbound(said)) if said.message_body == "EXAMPLE"));
    }
}
