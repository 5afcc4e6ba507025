//! Gives a message to a gateway: one signed POST, whose `webhook-id` is the message's id. A gateway takes an id once, so a call can be repeated after a lost
//! answer.

use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use records::phone_message::{PhoneMessage, Reason};
use serde::Deserialize;
use serde_json::json;
use shared::aws::https::{Https, Unreachable};
use shared::model::gateway::Gateway;
use shared::model::shared_secret::SharedSecret;

/// What is known after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The gateway has it.
    Taken,
    /// It certainly has it not, and may take it after so many seconds.
    NotNow(u32),
    /// It will never go by this channel.
    Never(Reason),
    /// Perhaps it has it.
    Unknown,
}

const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(3);
/// Seconds, where a gateway does not say how long.
const LATER: u32 = 10;
/// No gateway is waited for longer than that before it is asked again.
const LATEST: u32 = 900;

pub async fn send(
    https: &Https,
    gateway: &Gateway,
    secret: &SharedSecret,
    message: &PhoneMessage,
    reference: &str,
    now: jiff::Timestamp,
) -> Outcome {
    let id = message.id.prefixed();
    let body = json!({
        "id": id,
        "reference": reference,
        "from": message.from,
        "to": message.to,
        "channel": message.channel,
        "text": message.body,
    })
    .to_string();
    let signature = secret.sign(&id, now, body.as_bytes());
    let mut request = HttpRequest::new(body.into());
    if request.set_method("POST").is_err() || request.set_uri(gateway.url.as_str()).is_err() {
        return Outcome::NotNow(LATEST);
    }
    let headers = request.headers_mut();
    headers.insert("content-type", "application/json");
    headers.insert("webhook-id", id);
    headers.insert("webhook-timestamp", now.as_second().to_string());
    headers.insert("webhook-signature", signature);
    match tokio::time::timeout(TIMEOUT, https.send(request, Some(CONNECT))).await {
        Err(_) => Outcome::Unknown,
        Ok(Err(error)) if Unreachable::is_behind(&error) => Outcome::NotNow(LATER),
        Ok(Err(_)) => Outcome::Unknown,
        Ok(Ok(response)) => {
            let retry_after = response.headers().get("retry-after").and_then(|seconds| seconds.trim().parse().ok());
            verdict(response.status().as_u16(), retry_after, response.body().bytes().unwrap_or_default())
        }
    }
}

fn verdict(status: u16, retry_after: Option<u32>, body: &[u8]) -> Outcome {
    match status {
        // 409: it came before.
        200..300 | 409 => Outcome::Taken,
        422 => Outcome::Never(reason(body)),
        429 | 503 => Outcome::NotNow(retry_after.unwrap_or(LATER).clamp(1, LATEST)),
        408 => Outcome::Unknown,
        // Its secret is another one, or its address has moved: an operator must look.
        400..500 => Outcome::NotNow(60),
        _ => Outcome::Unknown,
    }
}

fn reason(body: &[u8]) -> Reason {
    #[derive(Deserialize)]
    struct Refusal {
        reason: String,
    }
    serde_json::from_slice::<Refusal>(body).map_or(Reason::CarrierError, |refusal| Reason::reported(&refusal.reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_answer_is_one() {
        for (status, retry_after, body, outcome) in [
            (202, None, "", Outcome::Taken),
            (409, None, "", Outcome::Taken),
            (422, None, r#"{"reason":"no_imessage"}"#, Outcome::Never(Reason::NoImessage)),
            (422, None, "<html>", Outcome::Never(Reason::CarrierError)),
            (429, Some(7), "", Outcome::NotNow(7)),
            (503, Some(86_400), "", Outcome::NotNow(LATEST)),
            (503, None, "", Outcome::NotNow(LATER)),
            (401, None, "", Outcome::NotNow(60)),
            (302, None, "", Outcome::Unknown),
            (500, None, "", Outcome::Unknown),
            (504, None, "", Outcome::Unknown),
        ] {
            assert_eq!(verdict(status, retry_after, body.as_bytes()), outcome, "{status} {body}");
        }
    }
}
