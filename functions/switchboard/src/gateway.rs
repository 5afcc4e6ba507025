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

use crate::carrier::{LATER, LATEST, Outcome};

const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(3);

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
        Err(_) => Outcome::Unanswered,
        Ok(Err(error)) if Unreachable::is_behind(&error) => Outcome::NotNow(LATER),
        Ok(Err(_)) => Outcome::Unanswered,
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
        408 => Outcome::Unanswered,
        // Its secret is another one, or its address has moved: an operator must look.
        400..500 => Outcome::NotNow(60),
        _ => Outcome::Unanswered,
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
            (302, None, "", Outcome::Unanswered),
            (500, None, "", Outcome::Unanswered),
            (504, None, "", Outcome::Unanswered),
        ] {
            assert_eq!(verdict(status, retry_after, body.as_bytes()), outcome, "{status} {body}");
        }
    }
}
