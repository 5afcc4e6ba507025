//! Calls webhooks. It gets each call whole and signed, may read and write nothing but its two queues, and knows no secret: whoever tricks it gains nothing
//! but calls that the guard allows anyway.

use std::time::Instant;

use aws_sdk_sqs::Client;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use net_guard::{Caller, Failure, Guard, Outcome, SystemResolver};
use records::delivery::{AttemptError, DeliveryAttempt, Outgoing};
use serde_json::Value;
use shared::aws::Aws;
use shared::config::{ConfigError, Variables};
use shared::runtime::worker::{self, Worker};
use shared::runtime::{App, StartError};
use shared::{Error, Result};

pub struct Herald {
    app: App,
    sqs: Client,
    results: String,
    caller: Caller<SystemResolver>,
}

impl Worker for Herald {
    const NAME: &'static str = "herald";

    /// `WEBHOOK_ALLOWED_HOSTS`: what may be called beside the public internet.
    fn start(app: App, variables: Variables) -> Result<Self, StartError> {
        let guard = Guard::read(app.config().webhook_allowed_hosts.as_deref(), &[&app.config().public_url]);
        let guard = guard.map_err(|error| ConfigError(format!("WEBHOOK_ALLOWED_HOSTS: {error}")))?;
        let results = variables.required("RESULT_QUEUE_URL")?;
        Ok(Herald { app, sqs: client(&Aws::read(variables)?), results, caller: Caller::new(guard)? })
    }

    /// The calls of a batch are made at the same time: none waits for another's receiver.
    async fn handle(&self, event: Value, request_id: &str) -> Result<Value> {
        worker::notices_at_once(&self.app, event, Self::NAME, request_id, |_, body| self.bring(body)).await
    }
}

impl Herald {
    async fn bring(&self, body: String) -> Result<()> {
        let Outgoing { url, headers, body, signed_at, back, group } =
            serde_json::from_str(&body).map_err(|error| Error::internal("reading a call", error))?;
        let made_at = self.app.clock().now();
        let attempt = if made_at.duration_since(signed_at) > Outgoing::FRESH {
            None
        } else {
            let headers = headers.iter().map(|(name, value)| Some((name.parse::<HeaderName>().ok()?, HeaderValue::from_str(value).ok()?)));
            let headers = headers.collect::<Option<HeaderMap>>().ok_or_else(|| Error::internal("reading a call", "a header is none"))?;
            let started = Instant::now();
            let outcome = self.caller.call(Method::POST, &url, &headers, Bytes::from(body)).await;
            let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            Some(attempt_of(outcome, DeliveryAttempt::made(made_at, duration_ms)))
        };
        self.give_back(back, attempt.as_ref(), &group).await
    }

    /// Until this is done the call counts as not made, and is made again.
    async fn give_back(&self, mut back: Value, attempt: Option<&DeliveryAttempt>, group: &str) -> Result<()> {
        const DOING: &str = "saying what became of a call";
        back["attempt"] = serde_json::to_value(attempt).map_err(|error| Error::internal(DOING, error))?;
        let sending = self.sqs.send_message().queue_url(&self.results).message_body(back.to_string()).message_group_id(group).send();
        sending.await.map_err(|error| Error::Unavailable { doing: DOING, cause: error.into() })?;
        Ok(())
    }
}

fn attempt_of(outcome: Outcome, made: DeliveryAttempt) -> DeliveryAttempt {
    match outcome {
        Ok(answer) => {
            let error = (!(200..300).contains(&answer.status)).then_some(AttemptError::Status);
            let response = Some(answer.text).filter(|text| !text.is_empty());
            DeliveryAttempt { status_code: Some(answer.status), error, response, headers: answer.headers, ..made }
        }
        Err(failure) => {
            let error = match failure {
                Failure::Guard(_) => AttemptError::Guard,
                Failure::Dns => AttemptError::Dns,
                Failure::Refused => AttemptError::Refused,
                Failure::Tls => AttemptError::Tls,
                Failure::Timeout => AttemptError::Timeout,
                Failure::Broken => AttemptError::Broken,
            };
            DeliveryAttempt { error: Some(error), ..made }
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
    fn the_sample_event_is_a_call() {
        let sample: Value = serde_json::from_str(include_str!("../../../events/herald/call.json")).unwrap();
        let body = sample["Records"][0]["body"].as_str().unwrap();
        let outgoing: Outgoing = serde_json::from_str(body).unwrap();
        assert!(outgoing.url.starts_with("https://"));
    }
}
