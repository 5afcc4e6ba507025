//! What recipients do with a mail, for the worker that sends campaigns: queued, and never in the way of the recipient.

use std::time::Duration;

use aws_sdk_sqs::Client;
use engagement::followed::{Engagement, Followed};
use jiff::{SignedDuration, Timestamp};
use shared::aws::Aws;
use shared::bounded::Bounded;
use shared::http::{Argument, Operation};
use shared::lock::Lock;
use shared::tenancy::doors::Recipient;
use shared::tenancy::{App, Entered, Incoming, Wants};
use shared::{Error, Result, crypto};

/// Who follows a link.
pub struct Asker {
    /// A program that looks at links before a person does. A proxy that fetches images for a person is none.
    automated: bool,
}

/// The queue, and what was written to it lately.
struct Outbox {
    sqs: Client,
    queue: Option<String>,
    /// Hashes of events. Mail programs show the same image again and again.
    lately: Lock<Bounded<String, Timestamp>>,
}

const REMEMBERED: usize = 10_000;
/// No longer, because whether it was a person is decided by whoever reads the events: a program may have been the first.
const FOR: SignedDuration = SignedDuration::from_mins(5);
/// Nobody waits longer for their page than this.
const PATIENCE: Duration = Duration::from_secs(5);
/// Headers with which a browser says that nobody looks yet.
const AHEAD_OF_TIME: [&str; 4] = ["purpose", "sec-purpose", "x-purpose", "x-moz"];
const WORDS: [&str; 3] = ["prefetch", "prerender", "preview"];

impl Asker {
    pub const PERSON: Asker = Asker { automated: false };

    fn of(is_head: bool, values: &[&str]) -> Self {
        let says = |value: &&str| value.to_ascii_lowercase().split(|c: char| !c.is_ascii_alphanumeric()).any(|word| WORDS.contains(&word));
        Asker { automated: is_head || values.iter().any(says) }
    }
}

impl Argument for Asker {
    fn wants(_incoming: &Incoming, _wants: &mut Wants) {}

    async fn take(incoming: &Incoming, _entered: &Entered) -> Result<Self> {
        let values = AHEAD_OF_TIME.iter().flat_map(|name| incoming.headers.get_all(*name)).filter_map(|value| value.to_str().ok());
        Ok(Asker::of(incoming.is_head, &values.collect::<Vec<_>>()))
    }

    fn describe(_operation: &mut Operation) {}
}

/// Queues what happened, unless it is known. A failure is ours, and the recipient gets what they asked for.
pub async fn note(door: &Recipient, engagement: Engagement, asker: &Asker) {
    if door.crowded {
        return;
    }
    let outbox = door.app.kept(Outbox::new);
    let key = crypto::hash(&[door.token.as_bytes(), &[engagement as u8, u8::from(asker.automated)]]);
    if outbox.lately.lock().get(&key).is_some_and(|at| door.now().duration_since(*at) < FOR) {
        return;
    }
    let followed = Followed { engagement, token: door.token.clone(), at: door.now().to_string(), automated: asker.automated };
    match outbox.send(&followed, door.outer.tenant_id().to_string()).await {
        Ok(()) => outbox.lately.lock().insert(key, door.now()),
        Err(error) => tracing::warn!(%error, ?engagement, "an event of a mail is lost"),
    }
}

impl Outbox {
    fn new(app: &App) -> Self {
        let queue = app.config().mail_events_queue.clone();
        Outbox { sqs: client(app.aws()), queue, lately: Lock::new(Bounded::new(REMEMBERED)) }
    }

    async fn send(&self, followed: &Followed, group: String) -> Result<()> {
        const DOING: &str = "queueing an event of a mail";
        let queue =
            self.queue.as_ref().ok_or_else(|| Error::internal(DOING, "this function is not configured with MAIL_EVENTS_QUEUE_URL"))?;
        let body = serde_json::to_string(followed).map_err(|error| Error::internal(DOING, error))?;
        let sending = self.sqs.send_message().queue_url(queue).message_body(body).message_group_id(group).send();
        let sent =
            tokio::time::timeout(PATIENCE, sending).await.map_err(|error| Error::Unavailable { doing: DOING, cause: error.into() })?;
        sent.map_err(|error| Error::Unavailable { doing: DOING, cause: error.into() }).map(|_| ())
    }
}

fn client(aws: &Aws) -> Client {
    shared::client!(aws, "SQS", aws_sdk_sqs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_say_so_are_no_people() {
        for (is_head, values) in [
            (true, vec![]),
            (false, vec!["prefetch"]),
            (false, vec!["", "prefetch;prerender"]),
            (false, vec!["Preview"]),
            (false, vec!["prefetch;anonymous-client-ip"]),
        ] {
            assert!(Asker::of(is_head, &values).automated, "{values:?}");
        }
        for values in [vec![], vec![""], vec!["navigate"], vec!["prefetched"]] {
            assert!(!Asker::of(false, &values).automated, "{values:?}");
        }
    }
}
