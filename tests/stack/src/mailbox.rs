//! Catches the mails that Amazon SES would send. A mail is stored once for each id, however often it is posted, as with a carrier that
//! deduplicates. The number of posts is counted for tests.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::post};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;

use crate::journal::{Journal, JournalError};
use crate::lock::Lock;

const SPACE: &str = "mail";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    pub id: String,
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
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptMail {
    #[serde(flatten)]
    pub mail: Mail,
    /// RFC 3339.
    pub received_at: String,
    /// How often this id was posted.
    pub deliveries: usize,
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
    lost_answers: AtomicUsize,
    /// Increases with every mail.
    news: watch::Sender<u64>,
}

impl Mailbox {
    pub fn open(journal: Journal) -> Mailbox {
        Mailbox {
            shared: Arc::new(Shared {
                journal,
                writing: Lock::new(()),
                refusals: AtomicUsize::new(0),
                lost_answers: AtomicUsize::new(0),
                news: watch::Sender::new(0),
            }),
        }
    }

    /// Stores a mail. `false` if its id exists already. It is on disk when this returns.
    pub fn keep(&self, mail: Mail) -> Result<bool, JournalError> {
        let _writing = self.shared.writing.lock();
        let journal = &self.shared.journal;
        let kept = match journal.get::<KeptMail>(SPACE, &mail.id)? {
            Some(kept) => KeptMail { deliveries: kept.deliveries + 1, ..kept },
            None => KeptMail { mail, received_at: Timestamp::now().to_string(), deliveries: 1 },
        };
        journal.put(SPACE, &kept.mail.id, &kept)?;
        self.shared.news.send_modify(|count| *count += 1);
        Ok(kept.deliveries == 1)
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
    match mailbox.keep(mail) {
        Ok(_) if take_one(&mailbox.shared.lost_answers) => {
            (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "error": "kept and not told, as a test asked" })))
        }
        Ok(new) => (StatusCode::OK, Json(json!({ "new": new }))),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "error": error.to_string() }))),
    }
}

async fn list(State(mailbox): State<Mailbox>) -> impl IntoResponse {
    match mailbox.mails() {
        Ok(mails) => (StatusCode::OK, Json(json!(mails))),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "error": error.to_string() }))),
    }
}

fn take_one(count: &AtomicUsize) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(id: &str, to: &str) -> Mail {
        Mail {
            id: id.to_owned(),
            to: to.to_owned(),
            subject: "Hello".to_owned(),
            text: "text".to_owned(),
            html: None,
            kind: "verify".to_owned(),
            tenant: None,
        }
    }

    #[test]
    fn one_id_is_one_mail() {
        let mailbox = Mailbox::open(Journal::memory().unwrap());
        assert!(mailbox.keep(mail("a", "one@example.com")).unwrap());
        assert!(!mailbox.keep(mail("a", "other@example.com")).unwrap());
        assert!(mailbox.keep(mail("b", "One@example.com")).unwrap());
        let mails = mailbox.mails().unwrap();
        assert_eq!(mails.len(), 2);
        assert_eq!((mails[0].mail.to.as_str(), mails[0].deliveries), ("one@example.com", 2));
        assert_eq!(mailbox.mails_to("one@EXAMPLE.com").unwrap().len(), 2);
    }

    #[test]
    fn mails_survive_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("stack.sqlite3");
        Mailbox::open(Journal::open(&path).unwrap()).keep(mail("a", "one@example.com")).unwrap();
        let again = Mailbox::open(Journal::open(&path).unwrap());
        assert_eq!(again.mail("a").unwrap().unwrap().deliveries, 1);
        assert!(!again.keep(mail("a", "one@example.com")).unwrap());
    }
}
