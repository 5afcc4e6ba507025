//! Amazon SES. It accepts the same message as often as it is sent, so nothing is repeated unless SES said that it did not accept it. The
//! result is known after a refusal, and when no connection was opened. After any other error the message may have been sent.

use std::error::Error;
use std::time::Duration;

use aws_sdk_sesv2::Client;
use aws_sdk_sesv2::config::retry::RetryConfig;
use aws_sdk_sesv2::config::timeout::TimeoutConfig;
use aws_sdk_sesv2::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_sesv2::operation::send_email::{SendEmailError, SendEmailInput};
use aws_sdk_sesv2::types::{Body, Content, Destination, EmailContent, Message, MessageTag};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use shared::aws::Aws;
use shared::aws::https::Unreachable;
use shared::carriers::{Letter, MailCarrier, Outcome, PendingSend};

/// Pauses after SES said "too many". After a refusal, a new try is safe.
const PAUSES: [Duration; 2] = [Duration::from_millis(400), Duration::from_millis(1200)];

const SEND_TIMEOUT: Duration = Duration::from_secs(5);

pub struct AmazonSes {
    client: Client,
    from: String,
}

impl AmazonSes {
    pub fn new(aws: &Aws, from: String) -> Self {
        // One attempt has the whole time: what ends early may have been sent, and nobody knows.
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(1))
            .operation_attempt_timeout(SEND_TIMEOUT)
            .operation_timeout(SEND_TIMEOUT)
            .build();
        // The SDK would repeat what timed out, which may have been sent.
        let once = RetryConfig::disabled();
        AmazonSes { client: shared::client!(aws, "SESV2", aws_sdk_sesv2, retry_config(once), timeout_config(timeouts)), from }
    }

    async fn deliver(&self, letter: &Letter) -> Outcome {
        let mut pauses = PAUSES.into_iter();
        loop {
            let input = match input(letter, &self.from) {
                Ok(input) => input,
                Err(error) => return Outcome::NotNow(format!("the message cannot be built: {error}")),
            };
            let sending = self.client.send_email().set_from_email_address(input.from_email_address).set_destination(input.destination);
            let error = match sending.set_content(input.content).set_email_tags(input.email_tags).send().await {
                Ok(_) => return Outcome::Taken,
                Err(error) => error,
            };
            match pauses.next() {
                Some(pause) if error.code() == Some("TooManyRequestsException") => tokio::time::sleep(pause).await,
                _ => return verdict(&error),
            }
        }
    }
}

impl MailCarrier for AmazonSes {
    fn deduplicates(&self) -> bool {
        false
    }

    fn send<'a>(&'a self, letter: &'a Letter) -> PendingSend<'a> {
        Box::pin(self.deliver(letter))
    }
}

/// With the mail's id as a tag, so that delivery events of SES tell an operator what happened to an `unknown` mail.
fn input(letter: &Letter, from: &str) -> Result<SendEmailInput, BuildError> {
    let content = |text: &str| Content::builder().data(text).charset("UTF-8").build();
    let body = Body::builder().text(content(&letter.text)?).html(content(&letter.html)?).build();
    let message = Message::builder().subject(content(&letter.subject)?).body(body).build();
    let tag = |name: &str, value: String| MessageTag::builder().name(name).value(value).build();
    SendEmailInput::builder()
        .from_email_address(from)
        .destination(Destination::builder().to_addresses(letter.to.as_str()).build())
        .content(EmailContent::builder().simple(message).build())
        .email_tags(tag("mail", letter.id.to_string())?)
        .email_tags(tag("kind", letter.kind.to_owned())?)
        .build()
}

/// What an error says about the message. Only codes are stored, because the texts of SES contain addresses.
fn verdict(error: &SdkError<SendEmailError, HttpResponse>) -> Outcome {
    match error {
        SdkError::ConstructionFailure(_) => Outcome::NotNow("the request could not be made".into()),
        SdkError::DispatchFailure(_) if never_connected(error) => Outcome::NotNow("SES is out of reach".into()),
        SdkError::ServiceError(refused) => {
            let code = refused.err().code().unwrap_or("no code").to_owned();
            // In the sandbox, or before the identity is set up: a problem of the account, not of this mail.
            let unverified = refused.err().message().is_some_and(|text| text.contains("not verified"));
            match (refused.raw().status().as_u16(), code.as_str()) {
                (400..500, "BadRequestException" | "MessageRejected") if !unverified => Outcome::Never(code),
                (400..500, _) => Outcome::NotNow(code),
                _ => Outcome::Unknown(code),
            }
        }
        _ => Outcome::Unknown("no answer".into()),
    }
}

fn never_connected(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<Unreachable>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread::JoinHandle;

    use jiff::Timestamp;
    use shared::carriers::letter::Sites;
    use shared::config::Variables;
    use shared::crypto::{Random, RootKey};
    use shared::ids::{LinkId, MailId};
    use shared::model::mail::{self, Mail};
    use shared::model::user::Email;

    use super::*;

    fn letter() -> Letter {
        let (random, now) = (Random::seeded(1), Timestamp::UNIX_EPOCH);
        let content = mail::MailContent::VerifyEmail { name: "Ada".into(), link: LinkId::new(&random) };
        let mail = Mail::queued(MailId::new(now, &random), None, Email::parse("ada@example.com").unwrap(), content, now);
        let key = RootKey::new(b"a root secret of a deployment, 32 bytes or more").signing("links");
        Letter::of(&mail, &Sites { api: "https://api.example.com".into(), app: None }, &key)
    }

    fn ses(endpoint: String) -> AmazonSes {
        let variables = [
            ("AWS_REGION", "eu-central-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("AWS_ENDPOINT_URL_SESV2", endpoint),
        ];
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<HashMap<_, _>>();
        AmazonSes::new(&Aws::read(Variables(variables)).unwrap(), "no-reply@example.com".into())
    }

    /// Gives each request the next answer. With status 0 it closes the connection after reading the request.
    fn answering(answers: Vec<(u16, &'static str, &'static str)>) -> (String, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let serve = move |(status, code, message)| {
            let (mut stream, _) = listener.accept().unwrap();
            let request = read(&mut stream);
            if status > 0 {
                let body = if status == 200 { r#"{"MessageId":"1"}"#.to_owned() } else { format!(r#"{{"message":"{message}"}}"#) };
                let head =
                    format!("HTTP/1.1 {status} X\r\nx-amzn-errortype: {code}\r\ncontent-length: {}\r\nconnection: close", body.len());
                write!(stream, "{head}\r\ncontent-type: application/json\r\n\r\n{body}").unwrap();
            }
            request
        };
        (endpoint, std::thread::spawn(move || answers.into_iter().map(serve).collect()))
    }

    fn read(stream: &mut TcpStream) -> String {
        let (mut request, mut buffer) = (vec![], [0; 4096]);
        loop {
            let read = stream.read(&mut buffer).unwrap();
            request.extend_from_slice(&buffer[..read]);
            let text = String::from_utf8_lossy(&request).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
            if body.len() >= length {
                return text;
            }
        }
    }

    async fn outcome_of(answers: Vec<(u16, &'static str, &'static str)>) -> Outcome {
        let expected = answers.len();
        let (endpoint, server) = answering(answers);
        let outcome = ses(endpoint).deliver(&letter()).await;
        assert_eq!(server.join().unwrap().len(), expected);
        outcome
    }

    #[test]
    fn a_send_has_the_whole_time_for_its_one_attempt() {
        let ses = ses("http://127.0.0.1:1".into());
        let timeouts = ses.client.config().timeout_config().expect("timeouts");
        assert_eq!((timeouts.operation_attempt_timeout(), timeouts.operation_timeout()), (Some(SEND_TIMEOUT), Some(SEND_TIMEOUT)));
    }

    #[tokio::test]
    async fn a_mail_is_sent_with_all_its_parts() {
        let (endpoint, server) = answering(vec![(200, "", "")]);
        let letter = letter();
        assert_eq!(ses(endpoint).deliver(&letter).await, Outcome::Taken);
        let requests = server.join().unwrap();
        let (head, body) = requests[0].split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /v2/email/outbound-emails "), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["FromEmailAddress"], "no-reply@example.com");
        assert_eq!(body["Destination"]["ToAddresses"][0], "ada@example.com");
        assert_eq!(body["Content"]["Simple"]["Subject"]["Data"], letter.subject);
        assert_eq!(body["Content"]["Simple"]["Body"]["Text"]["Data"], letter.text);
        assert_eq!(body["Content"]["Simple"]["Body"]["Html"]["Data"], letter.html);
        assert_eq!(body["EmailTags"][0]["Value"], letter.id.to_string());
    }

    #[tokio::test]
    async fn a_refusal_is_known_and_an_answer_that_never_came_is_not() {
        for (status, code, text, expected) in [
            (400, "BadRequestException", "bad address", Outcome::Never("BadRequestException".into())),
            (400, "MessageRejected", "Address is on the list of ada@example.com", Outcome::Never("MessageRejected".into())),
            (400, "MessageRejected", "Email address is not verified: ada@example.com", Outcome::NotNow("MessageRejected".into())),
            (400, "AccountSuspendedException", "", Outcome::NotNow("AccountSuspendedException".into())),
            (400, "SendingPausedException", "", Outcome::NotNow("SendingPausedException".into())),
            (403, "AccessDeniedException", "", Outcome::NotNow("AccessDeniedException".into())),
            (500, "InternalServiceError", "", Outcome::Unknown("InternalServiceError".into())),
            (0, "", "", Outcome::Unknown("no answer".into())),
        ] {
            assert_eq!(outcome_of(vec![(status, code, text)]).await, expected, "{status} {code}");
        }
    }

    #[tokio::test]
    async fn only_throttling_is_answered_with_another_try() {
        let throttled = (429, "TooManyRequestsException", "");
        assert_eq!(outcome_of(vec![throttled, (200, "", "")]).await, Outcome::Taken);
        assert_eq!(outcome_of(vec![throttled; 3]).await, Outcome::NotNow("TooManyRequestsException".into()));
    }

    #[tokio::test]
    async fn a_connection_that_never_came_about_sent_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        assert_eq!(ses(endpoint).deliver(&letter()).await, Outcome::NotNow("SES is out of reach".into()));
    }
}
