//! The mailbox of a local run: every mail is caught and shown to the developer. It accepts an id once, so a call can be repeated after a
//! lost answer.

use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use serde_json::{Map, Value, json};
use shared::aws::https::Https;
use shared::carriers::{Letter, MailCarrier, Outcome, PendingSend};

const TIMEOUT: Duration = Duration::from_secs(5);

pub struct Mailbox {
    url: String,
    /// The sender of letters that name none.
    from: Option<String>,
    https: Https,
}

impl Mailbox {
    pub fn at(url: String, from: Option<String>, https: Https) -> Self {
        Mailbox { url, from, https }
    }

    async fn post(&self, letter: &Letter) -> Outcome {
        let object = |pairs: &[(&str, String)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect::<Map<_, _>>();
        let body = json!({
            "id": letter.id,
            "from": letter.from.as_ref().or(self.from.as_ref()),
            "reply_to": letter.reply_to,
            "to": letter.to,
            "subject": letter.subject,
            "text": letter.text,
            "html": letter.html,
            "kind": letter.kind,
            "tenant": letter.tenant.map(|tenant| tenant.to_string()),
            "headers": object(&letter.headers),
            "tags": object(&letter.tags),
        });
        let mut request = HttpRequest::new(body.to_string().into());
        if request.set_method("POST").is_err() || request.set_uri(self.url.as_str()).is_err() {
            return Outcome::NotNow("MAILBOX_URL is not a URL".into());
        }
        request.headers_mut().insert("content-type", "application/json");
        match tokio::time::timeout(TIMEOUT, self.https.send(request, None)).await {
            Err(_) => Outcome::Unknown("the mailbox did not answer in time".into()),
            Ok(Err(error)) => Outcome::Unknown(format!("the mailbox is out of reach: {error}")),
            Ok(Ok(response)) => match response.status().as_u16() {
                200..300 => Outcome::Taken(message_id(response.body().bytes().unwrap_or_default())),
                429 => Outcome::NotNow("the mailbox takes no more at the moment".into()),
                status @ 400..500 => Outcome::Never(format!("the mailbox answered {status}")),
                status => Outcome::Unknown(format!("the mailbox answered {status}")),
            },
        }
    }
}

fn message_id(answer: &[u8]) -> Option<String> {
    serde_json::from_slice::<Value>(answer).ok()?["message_id"].as_str().map(str::to_owned)
}

impl MailCarrier for Mailbox {
    fn deduplicates(&self) -> bool {
        true
    }

    fn send<'a>(&'a self, letter: &'a Letter) -> PendingSend<'a> {
        Box::pin(self.post(letter))
    }
}
