//! The catcher of webhooks: it takes what webhooks of the local stack are told, answers as it is asked to, and knows whether the signatures hold.
//!
//! A sink is a name under which something comes, `/catcher/sink/{name}`. Any name is one. What is on disk is only what somebody set for it:
//! the secrets that it verifies with, and its answer.
//!
//! Everything is on disk before it is answered, as with the mailbox.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, RawQuery, Request, State},
    http::{HeaderMap, StatusCode},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::post,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::gateway::guard;
use crate::journal::{Change, Journal, JournalError};
use crate::lock::Lock;
use crate::webhook_signature::{self as signature, Secret};

/// Below it are the sinks.
pub const SINKS: &str = "/catcher/sink/";

/// The most webhooks that are kept, of all sinks. Older ones are forgotten.
pub const MOST_CAUGHT: usize = 500;

/// The most sinks for which something is set.
const MOST_SINKS: usize = 100;

/// As many as sign at a time while secrets of a webhook are replaced. Older ones are forgotten.
const MOST_SECRETS: usize = 3;

/// A webhook has up to 20 KB.
const LARGEST_BODY: usize = 64 * 1024;

const LONGEST_NAME: usize = 40;

/// The longest header that is kept. Three signatures have 150 characters.
const LONGEST_HEADER: usize = 512;

/// Longer than the 15 seconds that a webhook's answer may take.
pub const SLOW: Duration = Duration::from_secs(20);

/// What of a secret is shown, so that its owner knows it again.
const SHOWN_OF_SECRET: usize = 12;

/// Webhooks by number.
const CAUGHT: &str = "webhook";

/// Sinks by name.
const SINK: &str = "webhook-sink";

#[derive(Debug, thiserror::Error)]
pub enum CatcherError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("{0:?} is no name: 1 to {LONGEST_NAME} of a-z, 0-9 and -")]
    Name(String),
    #[error("a secret is whsec_ and the base64 of 24 to 64 bytes")]
    Secret,
    #[error("something is set for {MOST_SINKS} names already")]
    Full,
}

/// What a sink answers with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum Answer {
    #[default]
    Taken,
    Gone,
    Broken,
    /// It would be 200, but so late that nobody waits for it.
    Slow,
}

/// What is set for a sink.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sink {
    /// Of its webhooks, the last entered first: `whsec_…`.
    pub secrets: Vec<String>,
    pub answer: Answer,
}

/// Something that came to a sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caught {
    /// Higher than that of all before.
    pub number: u64,
    pub sink: String,
    pub at: Timestamp,
    /// `webhook-id`, `webhook-timestamp` and `webhook-signature`, as they came.
    pub id: String,
    pub timestamp: String,
    pub signature: String,
    pub body: String,
    /// How often this id came to this sink, as far as it is known, this time included.
    pub attempt: u32,
    pub answer: Answer,
}

/// Whether a signature holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// By the secret that begins so.
    Signed(String),
    /// The reason continues "The signature does not hold: ".
    Wrong(&'static str),
    NoSecret,
}

/// Cheap to clone. Clones share what was caught.
#[derive(Clone)]
pub struct Catcher {
    shared: Arc<Shared>,
}

struct Shared {
    journal: Journal,
    /// Held over look-up and write, so that two posts of one id are not both the first.
    state: Lock<Kept>,
    /// Increases with everything that changes.
    news: watch::Sender<u64>,
}

/// What the journal has, to be read without it.
struct Kept {
    /// Oldest first.
    caught: VecDeque<Arc<Caught>>,
    sinks: BTreeMap<String, Sink>,
}

impl Catcher {
    pub fn open(journal: Journal) -> Result<Catcher, JournalError> {
        let caught = journal.list::<Caught>(CAUGHT)?.into_iter().map(|(_, caught)| Arc::new(caught)).collect();
        let sinks = journal.list::<Sink>(SINK)?.into_iter().collect();
        Ok(Catcher { shared: Arc::new(Shared { journal, state: Lock::new(Kept { caught, sinks }), news: watch::Sender::new(0) }) })
    }

    /// All that is kept, the newest first.
    pub fn caught(&self) -> Vec<Arc<Caught>> {
        self.shared.state.lock().caught.iter().rev().cloned().collect()
    }

    pub fn count(&self) -> usize {
        self.shared.state.lock().caught.len()
    }

    pub fn sink(&self, name: &str) -> Sink {
        self.shared.state.lock().sinks.get(name).cloned().unwrap_or_default()
    }

    /// The sinks for which something is set or to which something came, by name.
    pub fn sinks(&self) -> BTreeMap<String, Sink> {
        let kept = self.shared.state.lock();
        let mut sinks: BTreeMap<_, _> = kept.caught.iter().map(|caught| (caught.sink.clone(), Sink::default())).collect();
        sinks.extend(kept.sinks.clone());
        sinks
    }

    /// One more secret for a sink, or none at all if the text is empty; another answer.
    pub fn set(&self, name: &str, secret: Option<&str>, answer: Option<Answer>) -> Result<Sink, CatcherError> {
        if !is_name(name) {
            return Err(CatcherError::Name(name.to_owned()));
        }
        let mut kept = self.shared.state.lock();
        let mut sink = kept.sinks.get(name).cloned().unwrap_or_default();
        match secret {
            None => {}
            Some("") => sink.secrets.clear(),
            Some(secret) => {
                let secret = Secret::parse(secret.trim()).ok_or(CatcherError::Secret)?.text();
                sink.secrets.retain(|known| *known != secret);
                sink.secrets.insert(0, secret);
                sink.secrets.truncate(MOST_SECRETS);
            }
        }
        sink.answer = answer.unwrap_or(sink.answer);
        if sink == Sink::default() {
            self.shared.journal.delete(SINK, name)?;
            kept.sinks.remove(name);
        } else {
            if kept.sinks.len() >= MOST_SINKS && !kept.sinks.contains_key(name) {
                return Err(CatcherError::Full);
            }
            self.shared.journal.put(SINK, name, &sink)?;
            kept.sinks.insert(name.to_owned(), sink.clone());
        }
        self.changed();
        Ok(sink)
    }

    /// Changes with everything that comes and everything that is set.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.shared.news.subscribe()
    }

    /// `POST /catcher/sink/{name}`, for programs alone.
    pub fn router(&self) -> Router {
        Router::new()
            .route(&format!("{SINKS}{{name}}"), post(receive))
            .layer(DefaultBodyLimit::max(LARGEST_BODY))
            .layer(from_fn(programs_only))
            .with_state(self.clone())
    }

    /// Keeps what came. `wanted` is the answer that the URL asks for.
    fn take(&self, came: Caught, wanted: Option<Answer>) -> Result<Arc<Caught>, JournalError> {
        let mut kept = self.shared.state.lock();
        let before = kept.caught.iter().rev().find(|before| before.sink == came.sink && before.id == came.id);
        let set = kept.sinks.get(&came.sink).map(|sink| sink.answer);
        let caught = Arc::new(Caught {
            number: kept.caught.back().map_or(0, |newest| newest.number) + 1,
            attempt: before.map_or(0, |before| before.attempt) + 1,
            answer: wanted.or(set).unwrap_or_default(),
            ..came
        });
        let leave = (kept.caught.len() + 1).saturating_sub(MOST_CAUGHT);
        let mut changes = vec![Change::put(CAUGHT, &caught.number.to_string(), &*caught)?];
        changes.extend(kept.caught.iter().take(leave).map(|old| Change::delete(CAUGHT, &old.number.to_string())));
        self.shared.journal.apply(&changes)?;
        kept.caught.drain(..leave);
        kept.caught.push_back(caught.clone());
        self.changed();
        Ok(caught)
    }

    fn changed(&self) {
        self.shared.news.send_modify(|count| *count += 1);
    }
}

impl Answer {
    pub const ALL: [Answer; 4] = [Answer::Taken, Answer::Gone, Answer::Broken, Answer::Slow];

    /// As it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Answer::Taken => "200",
            Answer::Gone => "410",
            Answer::Broken => "500",
            Answer::Slow => "slow",
        }
    }

    pub fn parse(text: &str) -> Option<Answer> {
        Answer::ALL.into_iter().find(|answer| answer.name() == text)
    }

    pub fn status(self) -> StatusCode {
        match self {
            Answer::Taken | Answer::Slow => StatusCode::OK,
            Answer::Gone => StatusCode::GONE,
            Answer::Broken => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What the query of a sink asks for: nothing, or one of them once.
    fn asked(query: Option<&str>) -> Option<Option<Answer>> {
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let asked: Vec<_> = pairs.filter(|(name, _)| name == "answer").map(|(_, value)| Answer::parse(&value)).collect();
        match asked[..] {
            [] => Some(None),
            [Some(answer)] => Some(Some(answer)),
            _ => None,
        }
    }
}

impl TryFrom<Value> for Answer {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<Answer, &'static str> {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Answer::parse(&text).ok_or("an answer is 200, 410, 500 or slow")
    }
}

impl From<Answer> for Value {
    fn from(answer: Answer) -> Value {
        answer.name().parse::<u16>().map_or_else(|_| json!(answer.name()), |status| json!(status))
    }
}

impl Sink {
    /// What is shown of its secrets.
    pub fn shown_secrets(&self) -> Vec<String> {
        self.secrets.iter().map(|secret| shown(secret)).collect()
    }
}

impl Caught {
    /// Its parts as they came. `None` if it is no webhook.
    fn read(sink: String, headers: &HeaderMap, body: &[u8]) -> Option<Caught> {
        let header = |name| Some(headers.get(name)?.to_str().ok()?.to_owned()).filter(|text| (1..=LONGEST_HEADER).contains(&text.len()));
        Some(Caught {
            number: 0,
            sink,
            // In whole milliseconds, as moments are told.
            at: Timestamp::from_millisecond(Timestamp::now().as_millisecond()).ok()?,
            id: header(signature::ID)?,
            timestamp: header(signature::TIMESTAMP)?,
            signature: header(signature::SIGNATURE)?,
            body: String::from_utf8(body.to_vec()).ok()?,
            attempt: 1,
            answer: Answer::default(),
        })
    }

    /// The type of the event, if the body says one.
    pub fn event(&self) -> Option<String> {
        let body: Value = serde_json::from_str(&self.body).ok()?;
        Some(body["type"].as_str()?.to_owned())
    }

    /// With these secrets, as of its arrival: whoever enters a secret later sees the same as who entered it before.
    pub fn verdict(&self, secrets: &[String]) -> Verdict {
        if secrets.is_empty() {
            return Verdict::NoSecret;
        }
        let fits = |secret: &&String| {
            Secret::parse(secret).is_some_and(|secret| secret.fits(&self.id, &self.timestamp, &self.signature, self.body.as_bytes()))
        };
        match secrets.iter().find(fits) {
            None => Verdict::Wrong("none of its signatures was made with a secret that is known"),
            Some(_) if !signature::is_timely(&self.timestamp, self.at) => {
                Verdict::Wrong("it was signed more than five minutes from its arrival")
            }
            Some(secret) => Verdict::Signed(shown(secret)),
        }
    }
}

/// Whether a sink may be called so.
pub fn is_name(text: &str) -> bool {
    (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

fn shown(secret: &str) -> String {
    secret.chars().take(SHOWN_OF_SECRET).chain(['…']).collect()
}

/// A page, the console's own included, has nothing to tell a sink.
async fn programs_only(request: Request, next: Next) -> Response {
    match guard::no_browser(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refuse(refusal.status, &refusal.message),
    }
}

async fn receive(
    State(catcher): State<Catcher>,
    Path(sink): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !is_name(&sink) {
        return refuse(StatusCode::BAD_REQUEST, &CatcherError::Name(sink).to_string());
    }
    let Some(wanted) = Answer::asked(query.as_deref()) else {
        return refuse(StatusCode::BAD_REQUEST, "answer is 200, 410, 500 or slow, once");
    };
    let Some(came) = Caught::read(sink, &headers, &body) else {
        return refuse(StatusCode::BAD_REQUEST, "a webhook has webhook-id, webhook-timestamp, webhook-signature and a text");
    };
    let caught = match catcher.take(came, wanted) {
        Ok(caught) => caught,
        Err(error) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    };
    if caught.answer == Answer::Slow {
        tokio::time::sleep(SLOW).await;
    }
    (caught.answer.status(), Json(json!({ "number": caught.number, "attempt": caught.attempt }))).into_response()
}

fn refuse(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({ "error": why }))).into_response()
}

#[cfg(test)]
mod tests;
