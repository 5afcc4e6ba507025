//! Catches the mails that Amazon SES would send. A mail is stored once for each id, however often it is posted, as with a carrier that
//! deduplicates. The number of posts is counted for tests.
//!
//! Mails to the deployment come in here too, as answers of recipients or as a test writes them (`inbound`).
//!
//! For a mail with tags it then plays what SES would report and what its recipient would do, as the address asks (`script`). In `cargo local`
//! that takes its time (`run`). In a test nothing is played until it says so (`play`).

mod inbound;
mod player;
mod report;
mod script;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::post};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;

pub use inbound::{Answer, Envelope, Verdicts};
pub use player::Act;
pub use report::Report;
pub use script::{Link, Meaning, links, unsubscribe_url};

use crate::aws::{AwsError, queues::Queues};
use crate::journal::{Change, Journal, JournalError};
use crate::lock::Lock;
use crate::template::{MailReception, MailReports};
use script::Play;

const SPACE: &str = "mail";

/// What is still to be played. An entry leaves together with what it becomes, so that nothing is played twice, whenever the process dies.
const PLANNED: &str = "play";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    pub id: String,
    #[serde(default)]
    pub from: Option<String>,
    #[serde(default)]
    pub reply_to: Option<String>,
    pub to: String,
    pub subject: String,
    #[serde(default)]
    pub text: String,
    #[serde(default)]
    pub html: Option<String>,
    #[serde(default)]
    pub kind: String,
    #[serde(default)]
    pub tenant: Option<String>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// With tags a mail is reported, as if it was sent with a configuration set of SES.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptMail {
    #[serde(flatten)]
    pub mail: Mail,
    /// RFC 3339.
    pub received_at: String,
    /// How often this id was posted.
    pub deliveries: usize,
    /// What SES would call it.
    #[serde(default)]
    pub message_id: String,
    /// What was played for it, oldest first.
    #[serde(default)]
    pub events: Vec<Played>,
}

/// Something that SES reported, or that the recipient did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Played {
    /// `delivery`, `bounce`, `soft_bounce`, `complaint`; `open`, `click`, `unsubscribe`, `reply`, `ooo`.
    pub what: String,
    /// RFC 3339.
    pub at: String,
    /// What was asked for, and the status of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

#[derive(Serialize, Deserialize)]
struct Planned {
    mail: String,
    due: Timestamp,
    play: Play,
}

/// Cheap to clone. Clones share the mails.
#[derive(Clone)]
pub struct Mailbox {
    shared: Arc<Shared>,
}

struct Shared {
    journal: Journal,
    /// Held over look-up and write, so that two posts of one id cannot both be the first.
    writing: Lock<()>,
    refusals: AtomicUsize,
    throttled: AtomicUsize,
    lost_answers: AtomicUsize,
    /// Where reports go, once a template has said so.
    reports: Lock<Option<(Queues, MailReports)>>,
    /// Where mails to the deployment go, once a template has said so.
    reception: Lock<Option<(Queues, MailReception)>>,
    /// Increases with every mail and with all that is played.
    news: watch::Sender<u64>,
}

impl Mailbox {
    pub fn open(journal: Journal) -> Mailbox {
        Mailbox {
            shared: Arc::new(Shared {
                journal,
                writing: Lock::new(()),
                refusals: AtomicUsize::new(0),
                throttled: AtomicUsize::new(0),
                lost_answers: AtomicUsize::new(0),
                reports: Lock::new(None),
                reception: Lock::new(None),
                news: watch::Sender::new(0),
            }),
        }
    }

    /// From now on reports are messages of the queue that the template names.
    pub fn publish_to(&self, queues: Queues, reports: Option<MailReports>) {
        *self.shared.reports.lock() = reports.map(|reports| (queues, reports));
    }

    /// From now on mails to the domain of the template are stored and said as its receipt rule says.
    pub fn receive_by(&self, queues: Queues, reception: Option<MailReception>) {
        *self.shared.reception.lock() = reception.map(|reception| (queues, reception));
    }

    /// Stores a mail. `false` if its id exists already. It is on disk when this returns.
    pub fn keep(&self, mail: Mail) -> Result<bool, JournalError> {
        Ok(self.take(mail)?.deliveries == 1)
    }

    fn take(&self, mail: Mail) -> Result<KeptMail, JournalError> {
        let _writing = self.shared.writing.lock();
        let journal = &self.shared.journal;
        let (kept, planned) = match journal.get::<KeptMail>(SPACE, &mail.id)? {
            Some(kept) => (KeptMail { deliveries: kept.deliveries + 1, ..kept }, vec![]),
            None => {
                let (now, message_id) = (Timestamp::now(), message_id(&mail.id));
                let plays = script::of(&mail).into_iter();
                let planned = plays.map(|(after, play)| Planned { mail: mail.id.clone(), due: now + after, play }).collect();
                (KeptMail { mail, received_at: now.to_string(), deliveries: 1, message_id, events: vec![] }, planned)
            }
        };
        let mut changes = vec![Change::put(SPACE, &kept.mail.id, &kept)?];
        for (number, planned) in planned.iter().enumerate() {
            changes.push(Change::put(PLANNED, &format!("{}/{number}", kept.mail.id), planned)?);
        }
        journal.apply(&changes)?;
        self.shared.news.send_modify(|count| *count += 1);
        Ok(kept)
    }

    /// Plays all reports and answers that are planned, in their order, as if it was `at`. Returns how many were published. Links need an API
    /// that answers, so only `run` follows them.
    pub fn play(&self, at: Timestamp) -> Result<usize, AwsError> {
        let mut published = 0;
        for (entry, planned) in self.planned()? {
            published += match planned.play {
                Play::Report(report) => usize::from(self.publish(&planned.mail, report, at, Some(&entry))?),
                Play::Reply => usize::from(self.answer(&planned.mail, &Answer::usual(), at, Some(&entry))?),
                Play::OutOfOffice => usize::from(self.answer(&planned.mail, &Answer::out_of_office(), at, Some(&entry))?),
                Play::Open | Play::Click => 0,
            };
        }
        Ok(published)
    }

    /// Reports something about a mail, whatever its address asks. `false` if SES would report nothing: the mail has no tags, or the
    /// template does not ask for reports of this kind.
    pub fn report(&self, mail: &str, report: Report, at: Timestamp) -> Result<bool, AwsError> {
        self.publish(mail, report, at, None)
    }

    /// What is planned, the next first.
    fn planned(&self) -> Result<Vec<(String, Planned)>, JournalError> {
        let mut planned = self.shared.journal.list::<Planned>(PLANNED)?;
        planned.sort_by_key(|(_, planned)| planned.due);
        Ok(planned)
    }

    fn publish(&self, mail: &str, report: Report, at: Timestamp, planned: Option<&str>) -> Result<bool, AwsError> {
        let _writing = self.shared.writing.lock();
        let journal = &self.shared.journal;
        if let Some(entry) = planned
            && journal.get::<Planned>(PLANNED, entry)?.is_none()
        {
            return Ok(false);
        }
        let mut changes: Vec<Change> = planned.map(|entry| Change::delete(PLANNED, entry)).into_iter().collect();
        let kept = journal.get::<KeptMail>(SPACE, mail)?.filter(|kept| !kept.mail.tags.is_empty());
        let reports = self.shared.reports.lock().clone().filter(|(_, reports)| reports.kinds.contains(report.kind()));
        let (Some(mut kept), Some((queues, reports))) = (kept, reports) else {
            journal.apply(&changes)?;
            return Ok(false);
        };
        let event = report.event(&kept, &reports.configuration_set, at);
        kept.events.push(Played { what: report.name().to_owned(), at: at.to_string(), url: None, status: None });
        changes.push(Change::put(SPACE, mail, &kept)?);
        queues.send_along(&reports.queue, &event.to_string(), changes)?;
        self.shared.news.send_modify(|count| *count += 1);
        Ok(true)
    }

    /// Takes something out of the plan. `false` if it is not there any more.
    fn begin(&self, entry: &str) -> Result<bool, JournalError> {
        let _writing = self.shared.writing.lock();
        let is_there = self.shared.journal.get::<Planned>(PLANNED, entry)?.is_some();
        self.shared.journal.delete(PLANNED, entry)?;
        Ok(is_there)
    }

    fn note(&self, mail: &str, played: Played) -> Result<(), JournalError> {
        let _writing = self.shared.writing.lock();
        if let Some(mut kept) = self.mail(mail)? {
            kept.events.push(played);
            self.shared.journal.put(SPACE, mail, &kept)?;
            self.shared.news.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    /// Changes with every further mail.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.shared.news.subscribe()
    }

    /// All mails, oldest first.
    pub fn mails(&self) -> Result<Vec<KeptMail>, JournalError> {
        let mails = self.shared.journal.list::<KeptMail>(SPACE)?;
        Ok(mails.into_iter().map(|(_, mail)| mail).collect())
    }

    pub fn mails_to(&self, address: &str) -> Result<Vec<KeptMail>, JournalError> {
        let mut mails = self.mails()?;
        mails.retain(|kept| kept.mail.to.eq_ignore_ascii_case(address));
        Ok(mails)
    }

    pub fn mail(&self, id: &str) -> Result<Option<KeptMail>, JournalError> {
        self.shared.journal.get(SPACE, id)
    }

    /// For tests: the next posts are refused with 503 and not stored.
    pub fn refuse_next(&self, posts: usize) {
        self.shared.refusals.store(posts, Ordering::SeqCst);
    }

    /// For tests: the next posts are refused with 429, as Amazon SES does with more mails than it takes, and not stored.
    pub fn throttle_next(&self, posts: usize) {
        self.shared.throttled.store(posts, Ordering::SeqCst);
    }

    /// For tests: the next posts are stored but answered with 500, like a connection cut after the sending.
    pub fn lose_next_answers(&self, posts: usize) {
        self.shared.lost_answers.store(posts, Ordering::SeqCst);
    }

    /// `POST /mailbox` to store, `GET /mailbox.json` to list.
    pub fn router(&self) -> Router {
        Router::new().route("/mailbox", post(receive)).route("/mailbox.json", axum::routing::get(list)).with_state(self.clone())
    }
}

async fn receive(State(mailbox): State<Mailbox>, Json(mail): Json<Mail>) -> impl IntoResponse {
    if take_one(&mailbox.shared.refusals) {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": "refused, as a test asked" })));
    }
    if take_one(&mailbox.shared.throttled) {
        return (StatusCode::TOO_MANY_REQUESTS, Json(json!({ "error": "too many, as a test asked" })));
    }
    match mailbox.take(mail) {
        Ok(_) if take_one(&mailbox.shared.lost_answers) => {
            (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "error": "kept and not told, as a test asked" })))
        }
        Ok(kept) if script::is_lost(&kept.mail) => {
            (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "error": "kept and not told, as the address asks" })))
        }
        Ok(kept) => (StatusCode::OK, Json(json!({ "new": kept.deliveries == 1, "message_id": kept.message_id }))),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "error": error.to_string() }))),
    }
}

async fn list(State(mailbox): State<Mailbox>) -> impl IntoResponse {
    match mailbox.mails() {
        Ok(mails) => (StatusCode::OK, Json(json!(mails))),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "error": error.to_string() }))),
    }
}

/// The same for every post of a mail, and another for every mail.
fn message_id(mail: &str) -> String {
    let mut id = String::from("local-");
    for byte in mail.bytes() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' => id.push(byte.into()),
            other => id.push_str(&format!("_{other:02x}")),
        }
    }
    id
}

/// Counts down for a test. Whether there was something left.
pub(crate) fn take_one(count: &AtomicUsize) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

#[cfg(test)]
mod tests;
