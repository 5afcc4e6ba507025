//! The phones of the local stack, behind a gateway to iMessage, RCS and SMS as Tenantry knows them: it takes signed posts of messages, each id
//! once, and tells the API by signed posts what became of them and what the phones' owners write. For lines without a gateway they play
//! AWS End User Messaging (`end_user_messaging`).
//!
//! There is a phone for every number that somebody wrote to. What it does is said by its switches, and by how its number ends (`script`).
//! In `cargo local` everything is told at its time (`run`). In a test nothing is told until it says so (`play`).
//!
//! Everything is on disk before it is answered, as with the mailbox. Nothing here knows what the messages are about.

mod end_user_messaging;
mod phone;
mod player;
mod script;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
    routing::post,
};
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::watch;

pub use phone::{Channel, Direction, Event, LONGEST_TEXT, MOST_MESSAGES, Message, Phone, Receipt, Status, Switch, is_number};
pub use script::{ENDINGS, Script};

use crate::aws::queues::Queues;
use crate::client::Api;
use crate::journal::{Change, Journal, JournalError};
use crate::lock::Lock;
use crate::mailbox::take_one;
use crate::template::MessageNotices;
use crate::webhook_signature::Secret;
use phone::Incoming;

/// The most phones. A further number takes the place of the phone that was silent for longest.
const MOST_PHONES: usize = 20_000;

/// The largest post of a message: 1,600 characters, escaped, and their envelope.
const LARGEST_POST: usize = 64 * 1024;

/// Phones by number.
const PHONES: &str = "phone";

/// The ids of messages that were taken. They outlive the conversations, so that no message is taken twice.
const TAKEN: &str = "phone-message";

const SECRET: &str = "phone-secret";

#[derive(Debug, thiserror::Error)]
pub enum PhoneError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("{0:?} is no phone number: + and 8 to 15 digits")]
    Number(String),
    #[error("a message has 1 to {LONGEST_TEXT} characters, and some that can be seen")]
    Text,
    #[error("this phone knows no line yet, so the message needs one")]
    Line,
    #[error("the phone is off")]
    Off,
    #[error("a secret is whsec_ and the base64 of 24 to 64 bytes")]
    Secret,
    #[error("no API is connected that could be told")]
    Alone,
    #[error("the API cannot be asked: {0}")]
    Request(#[from] http::Error),
    #[error("nothing can be put into the queue of notices: {0}")]
    Notices(String),
}

/// Cheap to clone. Clones share the phones.
#[derive(Clone)]
pub struct Phones {
    shared: Arc<Shared>,
}

struct Shared {
    url: String,
    journal: Journal,
    /// Held over look-up and write, so that two posts of one id cannot both be the first.
    state: Lock<Kept>,
    secret: Lock<Secret>,
    /// Whom to tell, once that is known.
    api: Lock<Option<Connection>>,
    /// Where AWS End User Messaging tells, once a template has said so.
    notices: Lock<Option<(Queues, MessageNotices)>>,
    clock: Lock<Arc<dyn Fn() -> Timestamp + Send + Sync>>,
    refusals: AtomicUsize,
    lost_answers: AtomicUsize,
    /// Increases with everything that changes.
    news: watch::Sender<u64>,
}

/// What the journal has, to be read without it.
struct Kept {
    phones: BTreeMap<String, Phone>,
    taken: HashSet<String>,
    /// How many posts of a message were refused because its phone has no time.
    refused: HashMap<String, usize>,
}

#[derive(Clone)]
struct Connection {
    api: Api,
    gateway: String,
}

/// The answer to a post of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Taken,
    Known,
    /// Taken, and not told.
    Lost,
    /// The status, and after how many seconds to come again.
    NotNow(u16, u64),
    Never(&'static str),
}

impl Phones {
    /// `url` is where the gateway will answer: whoever opens the phones serves `router` there.
    pub fn open(journal: Journal, url: &str) -> Result<Phones, JournalError> {
        let phones = journal.list::<Phone>(PHONES)?.into_iter().collect();
        let taken = journal.ids(TAKEN)?.into_iter().collect();
        let secret = match journal.get::<String>(SECRET, SECRET)?.as_deref().and_then(Secret::parse) {
            Some(secret) => secret,
            None => {
                let secret = Secret::generate();
                journal.put(SECRET, SECRET, &secret.text())?;
                secret
            }
        };
        Ok(Phones {
            shared: Arc::new(Shared {
                url: url.to_owned(),
                journal,
                state: Lock::new(Kept { phones, taken, refused: HashMap::new() }),
                secret: Lock::new(secret),
                api: Lock::new(None),
                notices: Lock::new(None),
                clock: Lock::new(Arc::new(Timestamp::now)),
                refusals: AtomicUsize::new(0),
                lost_answers: AtomicUsize::new(0),
                news: watch::Sender::new(0),
            }),
        })
    }

    /// Where messages are posted.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// What both sides sign with: `whsec_…`. The same for as long as the data is kept.
    pub fn secret(&self) -> String {
        self.shared.secret.lock().text()
    }

    /// From now on both sides sign with this secret, as after `gateway-add` or `gateway-rotate` gave one.
    pub fn use_secret(&self, text: &str) -> Result<(), PhoneError> {
        let secret = Secret::parse(text).ok_or(PhoneError::Secret)?;
        self.shared.journal.put(SECRET, SECRET, &secret.text())?;
        *self.shared.secret.lock() = secret;
        Ok(())
    }

    /// From now on the API at this address (`http://127.0.0.1:9000`) is told, as this gateway. What happened before is told too.
    pub fn connect(&self, api_url: &str, gateway_id: &str) {
        *self.shared.api.lock() = Some(Connection { api: Api::new(api_url), gateway: gateway_id.to_owned() });
        self.changed();
    }

    /// From now on what AWS End User Messaging tells are messages of the queue that the template names.
    pub fn publish_to(&self, queues: Queues, notices: Option<MessageNotices>) {
        *self.shared.notices.lock() = notices.map(|notices| (queues, notices));
    }

    pub fn is_connected(&self) -> bool {
        self.shared.api.lock().is_some()
    }

    /// For tests with a clock of their own: signatures and conversations have its moments.
    pub fn follow(&self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) {
        *self.shared.clock.lock() = Arc::new(clock);
    }

    /// Every phone, by number.
    pub fn phones(&self) -> Vec<Phone> {
        self.shared.state.lock().phones.values().cloned().collect()
    }

    pub fn count(&self) -> usize {
        self.shared.state.lock().phones.len()
    }

    /// The phone with its conversation. Nothing if nobody wrote to it or used it.
    pub fn conversation(&self, number: &str) -> Option<Phone> {
        self.shared.state.lock().phones.get(number).cloned()
    }

    /// Its owner looks at the conversation, which tells their reading where the channel can. A number that has no phone yet gets one in
    /// this answer alone.
    pub fn look(&self, number: &str) -> Result<Phone, PhoneError> {
        let mut kept = self.shared.state.lock();
        let mut phone = find(&kept, number)?;
        if phone.open(self.now()) {
            self.keep(&mut kept, phone.clone(), vec![])?;
        }
        Ok(phone)
    }

    /// Its owner writes to a line (E.164), otherwise to the one that wrote last. The API is told by `play` or `run`.
    pub fn say(&self, number: &str, line: Option<&str>, text: &str) -> Result<Message, PhoneError> {
        let mut kept = self.shared.state.lock();
        let mut phone = find(&kept, number)?;
        let line = line.or(phone.last_line()).ok_or(PhoneError::Line)?.to_owned();
        if !is_number(&line) {
            return Err(PhoneError::Number(line));
        }
        if !phone::is_text(text) {
            return Err(PhoneError::Text);
        }
        if !phone.on {
            return Err(PhoneError::Off);
        }
        let message = phone.write(format!("in-{:032x}", fastrand::u128(..)), &line, text, self.now());
        self.keep(&mut kept, phone, vec![])?;
        Ok(message)
    }

    pub fn switch(&self, number: &str, switch: Switch) -> Result<Phone, PhoneError> {
        let mut kept = self.shared.state.lock();
        let mut phone = find(&kept, number)?;
        phone.switch(switch, self.now());
        self.keep(&mut kept, phone.clone(), vec![])?;
        Ok(phone)
    }

    /// For tests: the next posts are refused with 503 and not taken.
    pub fn refuse_next(&self, posts: usize) {
        self.shared.refusals.store(posts, Ordering::SeqCst);
    }

    /// For tests: the next posts are taken but answered with 500, like a connection cut after the sending.
    pub fn lose_next_answers(&self, posts: usize) {
        self.shared.lost_answers.store(posts, Ordering::SeqCst);
    }

    /// Changes with everything that happens to a phone.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.shared.news.subscribe()
    }

    /// `POST /phones`: the gateway, for whoever sends messages.
    pub fn router(&self) -> Router {
        Router::new().route("/phones", post(receive)).layer(DefaultBodyLimit::max(LARGEST_POST)).with_state(self.clone())
    }

    /// In whole milliseconds, as moments are told.
    fn now(&self) -> Timestamp {
        let clock = self.shared.clock.lock().clone();
        let now = clock();
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }

    fn take(&self, incoming: Incoming) -> Result<Answer, PhoneError> {
        let mut kept = self.shared.state.lock();
        if kept.taken.contains(&incoming.id) {
            return Ok(Answer::Known);
        }
        let mut phone = find(&kept, &incoming.to)?;
        if let Some((posts, status, after)) = phone.script().refusals() {
            let refused = kept.refused.entry(incoming.name().to_owned()).or_default();
            if *refused < posts {
                *refused += 1;
                return Ok(Answer::NotNow(status, after));
            }
        }
        if let Some(reason) = phone.refusal(incoming.channel) {
            return Ok(Answer::Never(reason));
        }
        let (id, name) = (incoming.id.clone(), incoming.name().to_owned());
        phone.take(incoming, self.now());
        let lost = phone.script() == Script::Lost || take_one(&self.shared.lost_answers);
        self.keep(&mut kept, phone, vec![Change::put(TAKEN, &id, &())?])?;
        kept.refused.remove(&name);
        kept.taken.insert(id);
        Ok(if lost { Answer::Lost } else { Answer::Taken })
    }

    /// Writes a phone together with other changes, all or none.
    fn keep(&self, kept: &mut Kept, phone: Phone, mut changes: Vec<Change>) -> Result<(), JournalError> {
        let is_full = kept.phones.len() >= MOST_PHONES && !kept.phones.contains_key(&phone.number);
        let last = |phone: &Phone| phone.messages.last().map(|message| message.at);
        let leaves = kept.phones.values().filter(|phone| is_full && phone.waiting() == 0).min_by_key(|phone| last(phone));
        let leaves = leaves.map(|phone| phone.number.clone());
        changes.extend(leaves.iter().map(|number| Change::delete(PHONES, number)));
        changes.push(Change::put(PHONES, &phone.number, &phone)?);
        self.shared.journal.apply(&changes)?;
        if let Some(number) = leaves {
            kept.phones.remove(&number);
        }
        kept.phones.insert(phone.number.clone(), phone);
        self.changed();
        Ok(())
    }

    fn changed(&self) {
        self.shared.news.send_modify(|count| *count += 1);
    }
}

/// The phone, or what it is before anything happened to it.
fn find(kept: &Kept, number: &str) -> Result<Phone, PhoneError> {
    if !is_number(number) {
        return Err(PhoneError::Number(number.to_owned()));
    }
    Ok(kept.phones.get(number).cloned().unwrap_or_else(|| Phone::new(number)))
}

async fn receive(State(phones): State<Phones>, headers: HeaderMap, body: Bytes) -> Response {
    let secret = phones.shared.secret.lock().clone();
    let Some(id) = secret.verify(&headers, &body, phones.now()) else {
        return refuse(StatusCode::UNAUTHORIZED, "wrong_signature");
    };
    if take_one(&phones.shared.refusals) {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "refused_by_test");
    }
    let incoming = serde_json::from_slice::<Incoming>(&body).ok().filter(|incoming| incoming.is_valid() && incoming.id == id);
    let Some(incoming) = incoming else {
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, "invalid_message");
    };
    // Says of an id that it is the gateway's own.
    let own = Json(json!({ "id": format!("phone-{}", incoming.id) }));
    match phones.take(incoming) {
        Ok(Answer::Taken) => (StatusCode::ACCEPTED, own).into_response(),
        Ok(Answer::Known) => (StatusCode::CONFLICT, own).into_response(),
        Ok(Answer::Lost) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "taken_and_not_told"),
        Ok(Answer::NotNow(status, after)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            (status, [(RETRY_AFTER, after)], Json(json!({ "reason": "busy" }))).into_response()
        }
        Ok(Answer::Never(reason)) => refuse(StatusCode::UNPROCESSABLE_ENTITY, reason),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn refuse(status: StatusCode, reason: &str) -> Response {
    (status, Json(json!({ "reason": reason }))).into_response()
}

#[cfg(test)]
mod tests;
