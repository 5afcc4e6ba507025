//! Amazon SES. It accepts the same message as often as it is sent, so nothing is repeated unless SES said that it did not accept it. The
//! result is known after a refusal, and when no connection was opened. After any other error the message may have been sent.

use std::time::Duration;

use aws_sdk_sesv2::Client;
use aws_sdk_sesv2::config::retry::RetryConfig;
use aws_sdk_sesv2::config::timeout::TimeoutConfig;
use aws_sdk_sesv2::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_sesv2::operation::send_email::{SendEmailError, SendEmailInput};
use aws_sdk_sesv2::types::{Body, Content, Destination, EmailContent, Message, MessageHeader, MessageTag};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use shared::aws::Aws;
use shared::aws::https::Unreachable;
use shared::carriers::{Letter, MailCarrier, Outcome, PendingSend};

use crate::lines;

/// Pauses after SES said "too many". After a refusal, a new try is safe.
const PAUSES: [Duration; 2] = [Duration::from_millis(400), Duration::from_millis(1200)];

const TOO_MANY: &str = "TooManyRequestsException";

const SEND_TIMEOUT: Duration = Duration::from_secs(5);

pub struct AmazonSes {
    client: Client,
    /// The sender of letters that name none.
    from: String,
    /// Of letters with tags: SES reports what becomes of them where this configuration set says.
    configuration_set: Option<String>,
}

impl AmazonSes {
    pub fn new(aws: &Aws, from: String, configuration_set: Option<String>) -> Self {
        // One attempt has the whole time: what ends early may have been sent, and nobody knows.
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(1))
            .operation_attempt_timeout(SEND_TIMEOUT)
            .operation_timeout(SEND_TIMEOUT)
            .build();
        // The SDK would repeat what timed out, which may have been sent.
        let once = RetryConfig::disabled();
        let client = shared::client!(aws, "SESV2", aws_sdk_sesv2, retry_config(once), timeout_config(timeouts));
        AmazonSes { client, from, configuration_set }
    }

    async fn deliver(&self, letter: &Letter) -> Outcome {
        let mut pauses = PAUSES.into_iter();
        loop {
            let input = match self.input(letter) {
                Ok(input) => input,
                Err(error) => return Outcome::NotNow(format!("the message cannot be built: {error}")),
            };
            let sending = self.client.send_email().set_from_email_address(input.from_email_address).set_destination(input.destination);
            let sending = sending.set_reply_to_addresses(input.reply_to_addresses).set_content(input.content);
            let sending = sending.set_email_tags(input.email_tags).set_configuration_set_name(input.configuration_set_name);
            let error = match sending.send().await {
                Ok(sent) => return Outcome::Taken(sent.message_id),
                Err(error) => error,
            };
            match (verdict(&error), pauses.next()) {
                (Outcome::NotNow(_), Some(pause)) if error.code() == Some(TOO_MANY) => tokio::time::sleep(pause).await,
                (outcome, _) => return outcome,
            }
        }
    }

    fn input(&self, letter: &Letter) -> Result<SendEmailInput, BuildError> {
        let content = |text: &str| Content::builder().data(text).charset("UTF-8").build();
        let body = Body::builder().text(content(&letter.text)?).html(content(&letter.html)?).build();
        let header = |(name, value): &(&str, String)| MessageHeader::builder().name(*name).value(value).build();
        let headers = letter.headers.iter().map(header).collect::<Result<Vec<_>, _>>()?;
        let headers = Some(headers).filter(|headers| !headers.is_empty());
        let message = Message::builder().subject(content(&letter.subject)?).body(body).set_headers(headers).build();
        let reported = !letter.tags.is_empty();
        SendEmailInput::builder()
            .from_email_address(lines::in_ascii(letter.from.as_ref().unwrap_or(&self.from)))
            .set_reply_to_addresses(letter.reply_to.as_ref().map(|address| vec![lines::in_ascii(address)]))
            .destination(Destination::builder().to_addresses(letter.to.as_str()).build())
            .content(EmailContent::builder().simple(message).build())
            .set_email_tags(Some(tags(letter)?))
            .set_configuration_set_name(self.configuration_set.clone().filter(|_| reported))
            .build()
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

/// Those of the letter. A letter without any has its id as a tag, so that an operator can find out what happened to an `unknown` mail.
fn tags(letter: &Letter) -> Result<Vec<MessageTag>, BuildError> {
    let tag = |name: &str, value: &str| MessageTag::builder().name(name).value(value).build();
    match letter.tags.as_slice() {
        [] => Ok(vec![tag("mail", &letter.id)?, tag("kind", letter.kind)?]),
        own => own.iter().map(|(name, value)| tag(name, value)).collect(),
    }
}

/// What an error says about the message. Only codes are stored, because the texts of SES contain addresses.
fn verdict(error: &SdkError<SendEmailError, HttpResponse>) -> Outcome {
    match error {
        SdkError::ConstructionFailure(_) => Outcome::NotNow("the request could not be made".into()),
        SdkError::DispatchFailure(_) if Unreachable::is_behind(error) => Outcome::NotNow("SES is out of reach".into()),
        SdkError::ServiceError(refused) => {
            let code = refused.err().code().unwrap_or("no code").to_owned();
            let says = |words: &str| refused.err().message().is_some_and(|text| text.to_ascii_lowercase().contains(words));
            match (refused.raw().status().as_u16(), code.as_str()) {
                (400..500, "SendingPausedException" | "AccountSuspendedException") => Outcome::Held(code),
                // The quota of 24 hours. That of a second, which has the same code, is over soon.
                (400..500, TOO_MANY | "LimitExceededException" | "ThrottlingException") if says("daily") => Outcome::Held(code),
                (400..500, "MailFromDomainNotVerifiedException") => Outcome::Unverified(code),
                // In the sandbox, or before the identity is set up: a problem of the account, not of this mail.
                (400..500, "BadRequestException" | "MessageRejected") if says("not verified") => Outcome::Unverified(code),
                (400..500, "BadRequestException" | "MessageRejected") => Outcome::Never(code),
                (400..500, _) => Outcome::NotNow(code),
                _ => Outcome::Unknown(code),
            }
        }
        _ => Outcome::Unknown("no answer".into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread::JoinHandle;

    use serde_json::{Value, json};

    use super::*;
    use crate::tests::{letter, variables};

    fn ses(endpoint: String) -> AmazonSes {
        let aws = Aws::read(variables(&[("AWS_ENDPOINT_URL_SESV2", &endpoint)])).unwrap();
        AmazonSes::new(&aws, "no-reply@example.com".into(), Some("reports".into()))
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

    fn body_of(request: &str) -> Value {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /v2/email/outbound-emails "), "{head}");
        serde_json::from_str(body).unwrap()
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
        assert_eq!(ses(endpoint).deliver(&letter).await, Outcome::Taken(Some("1".into())));
        let body = body_of(&server.join().unwrap()[0]);
        assert_eq!(body["FromEmailAddress"], "no-reply@example.com");
        assert_eq!(body["Destination"]["ToAddresses"][0], "ada@example.com");
        assert_eq!(body["Content"]["Simple"]["Subject"]["Data"], letter.subject);
        assert_eq!(body["Content"]["Simple"]["Body"]["Text"]["Data"], letter.text);
        assert_eq!(body["Content"]["Simple"]["Body"]["Html"]["Data"], letter.html);
        assert_eq!(body["EmailTags"], json!([{"Name": "mail", "Value": letter.id}, {"Name": "kind", "Value": "verify_email"}]));
        for absent in ["ReplyToAddresses", "ConfigurationSetName"] {
            assert!(body.get(absent).is_none(), "{body}");
        }
        assert!(body["Content"]["Simple"].get("Headers").is_none(), "{body}");
    }

    #[tokio::test]
    async fn a_letter_of_a_tenant_has_its_sender_headers_and_tags_and_is_reported() {
        let (endpoint, server) = answering(vec![(200, "", "")]);
        let letter = Letter {
            from: Some("Jörg <j@example.org>".into()),
            reply_to: Some("replies@example.org".into()),
            headers: vec![("List-Unsubscribe", "<https://api.example.com/e/u/x>".into())],
            tags: vec![("t", "acme".into()), ("sig", "abc".into())],
            ..letter()
        };
        assert_eq!(ses(endpoint).deliver(&letter).await, Outcome::Taken(Some("1".into())));
        let body = body_of(&server.join().unwrap()[0]);
        assert_eq!(body["FromEmailAddress"], "=?UTF-8?B?SsO2cmc=?= <j@example.org>");
        assert_eq!(body["ReplyToAddresses"], json!(["replies@example.org"]));
        let header = json!({"Name": "List-Unsubscribe", "Value": "<https://api.example.com/e/u/x>"});
        assert_eq!(body["Content"]["Simple"]["Headers"], json!([header]));
        assert_eq!(body["EmailTags"], json!([{"Name": "t", "Value": "acme"}, {"Name": "sig", "Value": "abc"}]));
        assert_eq!(body["ConfigurationSetName"], "reports");
    }

    #[tokio::test]
    async fn a_refusal_is_known_and_an_answer_that_never_came_is_not() {
        for (status, code, text, expected) in [
            (400, "BadRequestException", "bad address", Outcome::Never("BadRequestException".into())),
            (400, "MessageRejected", "Address is on the list of ada@example.com", Outcome::Never("MessageRejected".into())),
            (400, "MessageRejected", "Email address is not verified: ada@example.com", Outcome::Unverified("MessageRejected".into())),
            (400, "MailFromDomainNotVerifiedException", "", Outcome::Unverified("MailFromDomainNotVerifiedException".into())),
            (400, "AccountSuspendedException", "", Outcome::Held("AccountSuspendedException".into())),
            (400, "SendingPausedException", "", Outcome::Held("SendingPausedException".into())),
            (429, TOO_MANY, "Daily message quota exceeded", Outcome::Held(TOO_MANY.into())),
            (400, "LimitExceededException", "", Outcome::NotNow("LimitExceededException".into())),
            (403, "AccessDeniedException", "", Outcome::NotNow("AccessDeniedException".into())),
            (500, "InternalServiceError", "", Outcome::Unknown("InternalServiceError".into())),
            (0, "", "", Outcome::Unknown("no answer".into())),
        ] {
            assert_eq!(outcome_of(vec![(status, code, text)]).await, expected, "{status} {code}");
        }
    }

    #[tokio::test]
    async fn only_throttling_is_answered_with_another_try() {
        let throttled = (429, TOO_MANY, "Maximum sending rate exceeded");
        assert_eq!(outcome_of(vec![throttled, (200, "", "")]).await, Outcome::Taken(Some("1".into())));
        assert_eq!(outcome_of(vec![throttled; 3]).await, Outcome::NotNow(TOO_MANY.into()));
    }

    #[tokio::test]
    async fn a_connection_that_never_came_about_sent_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        assert_eq!(ses(endpoint).deliver(&letter()).await, Outcome::NotNow("SES is out of reach".into()));
    }
}
