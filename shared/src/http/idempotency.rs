//! `Idempotency-Key`, which works on every POST. `Once` records the answer in the transaction of its effect, so the effect never exists
//! without its record. A repeat therefore never waits: it finds the record, or causes the effect. Routes that can be repeated without harm
//! record their answer afterwards. A record belongs to principal, route and key, and only answers requests with the same content. It is in
//! the tenant in which the caller acts, or in the directory if there is none.

use bytes::Bytes;
use http::{HeaderName, Method, Response};
use http_body_util::BodyExt;
use serde::Deserialize;

use crate::crypto;
use crate::error::{Error, Result, StoredAnswer};
use crate::http::answer::{self, Answer, ResponseBody};
use crate::http::catalogue::Operation;
use crate::http::endpoint::Argument;
use crate::http::family::Family;
use crate::http::form::{self, Form};
use crate::http::{json, request};
use crate::model::answer::{AnswerRecord, DirectoryAnswerRecord};
use crate::store::entity::Hashed;
use crate::store::table::text;
use crate::tenancy::{App, Directory, Entered, Incoming, TenantStore, Transaction, Wants};

/// Bytes of an answer that is recorded: sealed and in Base64 it fits into an item. A repeat of a request with a larger one is a request of its own.
const LARGEST_KEPT: usize = 256 * 1024;

pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A JSON body whose effect happens once per `Idempotency-Key`.
pub struct Once<F> {
    pub body: F,
    pub ticket: Ticket,
}

/// What is needed to record the answer.
pub struct Ticket {
    app: App,
    family: Family,
    request_id: String,
    recording: Option<Recording>,
}

#[derive(Clone)]
struct Recording {
    id: Hashed,
    content: Content,
    /// Whether the record is in the tenant's store. Otherwise it is in the directory.
    in_tenant: bool,
}

/// The content of a request, the same for different JSON spellings. Earlier records have the hash of the bytes.
#[derive(Clone)]
struct Content {
    hash: String,
    bytes_hash: String,
}

/// What is sealed: the content's hash, the status and the ETag in one line each, then the unchanged body. A body quoted in JSON would be a
/// sixth larger, and many records would exceed the kilobyte of one write unit. Earlier records are JSON.
#[derive(Debug, PartialEq, Deserialize)]
struct KeptAnswer {
    content: String,
    answer: StoredAnswer,
}

impl<F: Form> Argument for Once<F> {
    const RECORDS: bool = true;

    fn wants(incoming: &Incoming, wants: &mut Wants) {
        want(incoming, wants);
    }

    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        let ticket = Ticket::of(incoming, entered)?;
        if let Some(answer) = ticket.earlier(entered).await? {
            return Err(Error::Replayed(Box::new(answer)));
        }
        Ok(Once { body: request::form(incoming)?, ticket })
    }

    fn describe(operation: &mut Operation) {
        operation.body(form::described::<F>());
        operation.at_most(F::MAX_BYTES);
    }
}

/// A JSON body whose answer contains a credential. For a repeat, the caller must first prove again who they are. The handler then returns
/// the earlier answer only while its credential is valid.
pub struct Proven<F> {
    pub body: F,
    pub ticket: Ticket,
    pub earlier: Option<StoredAnswer>,
}

impl<F: Form> Argument for Proven<F> {
    const RECORDS: bool = true;

    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        let ticket = Ticket::of(incoming, entered)?;
        let earlier = ticket.earlier(entered).await?;
        Ok(Proven { body: request::form(incoming)?, ticket, earlier })
    }

    fn describe(operation: &mut Operation) {
        operation.body(form::described::<F>());
        operation.at_most(F::MAX_BYTES);
    }
}

/// Records the answer of a route that does not record it itself, after its effect.
pub(crate) struct LateRecording {
    ticket: Ticket,
    store: Option<TenantStore>,
    directory: Directory,
}

/// Whether a route's answer is recorded afterwards: if no argument records it.
pub(crate) fn is_recorded_afterwards(incoming: &Incoming, records: bool) -> bool {
    !records && incoming.method == Method::POST && incoming.headers.contains_key(&IDEMPOTENCY_KEY)
}

/// Lets the door read the record. An invalid key is reported later. The principal is part of the id, so only the caller's own records are
/// read.
pub(crate) fn want(incoming: &Incoming, wants: &mut Wants) {
    if let Ok(Some(key)) = key_of(incoming)
        && let Ok(principal) = crate::tenancy::doors::claimed_principal(incoming)
    {
        wants.record(&AnswerRecord::key_of(&id_of(incoming, &principal, key)));
    }
}

impl LateRecording {
    /// A repeat is answered here.
    pub(crate) async fn of(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        let ticket = Ticket::of(incoming, entered)?;
        match ticket.earlier(entered).await? {
            Some(answer) => Err(Error::Replayed(Box::new(answer))),
            None => Ok(LateRecording { ticket, store: entered.store.clone(), directory: entered.directory.clone() }),
        }
    }

    pub(crate) async fn record(self, response: Response<ResponseBody>) -> Response<ResponseBody> {
        let (head, body) = response.into_parts();
        // Our bodies are in memory, so collecting one cannot fail.
        let bytes: Bytes = body.collect().await.map(|collected| collected.to_bytes()).unwrap_or_default();
        let etag = head.headers.get(http::header::ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        let answer = StoredAnswer { status: head.status.as_u16(), etag, body: String::from_utf8_lossy(&bytes).into_owned() };
        if answer.body.len() > LARGEST_KEPT {
            return Response::from_parts(head, ResponseBody::from(bytes));
        }
        if let Err(error) = self.keep(&answer).await {
            // The effect has happened, and repeating it does no harm.
            tracing::warn!(%error, "an answer could not be recorded");
        }
        Response::from_parts(head, ResponseBody::from(bytes))
    }

    async fn keep(&self, answer: &StoredAnswer) -> Result<()> {
        let now = self.directory.now();
        let Some(answered) = self.ticket.sealed(answer, now)? else { return Ok(()) };
        let refusal = self.ticket.duplicate();
        let recorded = match &self.store {
            Some(store) => store.transaction().create_or_expired(store, &answered, now.as_second(), refusal)?.commit().await,
            None => {
                let directory = &self.directory;
                directory
                    .transaction()
                    .create_or_expired(directory, &DirectoryAnswerRecord(answered), now.as_second(), refusal)?
                    .commit()
                    .await
            }
        };
        match recorded {
            // A duplicate request was faster, and its answer counts.
            Err(Error::Replayed(_) | Error::IdempotencyKeyReused) => Ok(()),
            other => other,
        }
    }
}

impl Ticket {
    fn of(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        let recording = key_of(incoming)?.map(|key| Recording {
            id: id_of(incoming, &entered.principal, key),
            content: Content::of(incoming, entered),
            in_tenant: entered.store.is_some(),
        });
        Ok(Ticket { app: incoming.app.clone(), family: Family::of(incoming.route), request_id: incoming.request_id.clone(), recording })
    }

    /// The answer to an earlier request with the same key.
    async fn earlier(&self, entered: &Entered) -> Result<Option<StoredAnswer>> {
        let Some(recording) = &self.recording else { return Ok(None) };
        let answered = if recording.in_tenant {
            entered.find(&AnswerRecord::key_of(&recording.id)).await?
        } else {
            entered.find_open(&DirectoryAnswerRecord::key_of(&recording.id)).await?.map(|open| open.0)
        };
        answered.map(|answered| opened(&self.app, &recording.content, &answered.body_hash, &answered.id, &answered.sealed)).transpose()
    }

    /// Adds the record to the transaction of the effect. The record is the first write in it. If a duplicate request was faster, the caller
    /// therefore gets that request's answer and not the error that the effect already exists.
    pub fn record<'a, T: serde::Serialize, const STATUS: u16, const TAGGED: bool>(
        &self,
        transaction: Transaction<'a>,
        store: &TenantStore,
        answer: &Answer<T, STATUS, TAGGED>,
    ) -> Result<Transaction<'a>> {
        let Some(answered) = self.sealed(&answer.render(self.family), store.now())? else { return Ok(transaction) };
        transaction.create_or_expired(store, &answered, store.now().as_second(), self.duplicate())
    }

    /// The same for a refusal that has an effect of its own.
    pub fn record_refusal<'a>(&self, transaction: Transaction<'a>, store: &TenantStore, refusal: &Error) -> Result<Transaction<'a>> {
        let answer = answer::refusal(refusal, self.family, &self.request_id);
        let Some(answered) = self.sealed(&answer, store.now())? else { return Ok(transaction) };
        transaction.create_or_expired(store, &answered, store.now().as_second(), self.duplicate())
    }

    /// The same for a request without a tenant. A tenant's record is never in the directory, because another tenant's record could have the
    /// same key there.
    pub fn record_open<'a, T: serde::Serialize, const STATUS: u16, const TAGGED: bool>(
        &self,
        transaction: Transaction<'a>,
        directory: &Directory,
        answer: &Answer<T, STATUS, TAGGED>,
    ) -> Result<Transaction<'a>> {
        if self.recording.as_ref().is_some_and(|recording| recording.in_tenant) {
            return Err(Error::internal("keeping an answer", "a tenant's answer was to be kept in the directory"));
        }
        let Some(answered) = self.sealed(&answer.render(self.family), directory.now())? else { return Ok(transaction) };
        transaction.create_or_expired(directory, &DirectoryAnswerRecord(answered), directory.now().as_second(), self.duplicate())
    }

    /// For a refusal before the transaction, in a request without a tenant. The effect of a faster duplicate may be its reason, and then
    /// the caller gets the duplicate's answer.
    pub async fn or_duplicate(&self, directory: &Directory, refusal: Error) -> Error {
        let Some(recording) = &self.recording else { return refusal };
        match directory.find(&DirectoryAnswerRecord::key_of(&recording.id)).await {
            Ok(None) => refusal,
            Ok(Some(DirectoryAnswerRecord(theirs))) => replay(&self.app, &recording.content, &theirs.body_hash, &theirs.id, &theirs.sealed),
            Err(error) => error,
        }
    }

    fn sealed(&self, answer: &StoredAnswer, now: jiff::Timestamp) -> Result<Option<AnswerRecord>> {
        let Some(Recording { id, content, .. }) = &self.recording else { return Ok(None) };
        // No effect fails because its answer is long.
        if answer.body.len() > LARGEST_KEPT {
            return Ok(None);
        }
        let kept = KeptAnswer { content: content.hash.clone(), answer: answer.clone() };
        let sealed = self.app.keys().answers()?.seal(kept.text().as_bytes(), &id.to_string(), self.app.random());
        Ok(Some(AnswerRecord { id: id.to_string(), body_hash: String::new(), sealed, expires_at: now + AnswerRecord::KEPT }))
    }

    fn duplicate(&self) -> crate::tenancy::Refusal {
        let (app, recording) = (self.app.clone(), self.recording.clone());
        Box::new(move |old| match (old, recording) {
            (Some(old), Some(Recording { content, .. })) => {
                replay(&app, &content, &text(&old, "body_hash"), &text(&old, "id"), &text(&old, "sealed"))
            }
            _ => Error::internal("keeping an answer", "the record in the way came without its content"),
        })
    }
}

impl KeptAnswer {
    fn text(&self) -> String {
        let StoredAnswer { status, etag, body } = &self.answer;
        format!("{}\n{status}\n{}\n{body}", self.content, etag.as_deref().unwrap_or_default())
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(b"{") {
            return serde_json::from_slice(bytes).ok();
        }
        let mut parts = std::str::from_utf8(bytes).ok()?.splitn(4, '\n');
        let (content, status) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
        let etag = parts.next().filter(|etag| !etag.is_empty()).map(str::to_owned);
        Some(KeptAnswer { content, answer: StoredAnswer { status, etag, body: parts.next()?.to_owned() } })
    }
}

impl Content {
    /// With the workspace, which a header may name: the same request in another workspace is another one.
    fn of(incoming: &Incoming, entered: &Entered) -> Self {
        let body = match json::parse(&incoming.body) {
            Ok((document, inexact)) if inexact.is_empty() => json::canonical(&document).into_bytes(),
            _ => incoming.body.to_vec(),
        };
        let mut parts: Vec<&[u8]> = vec![&body];
        parts.extend(incoming.query.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]));
        let workspace = entered.workspace.as_ref().map(|workspace| workspace.tag().to_string());
        parts.extend(workspace.as_deref().map(str::as_bytes));
        Content { hash: crypto::hash(&parts), bytes_hash: crypto::hash(&[&incoming.body]) }
    }
}

fn replay(app: &App, content: &Content, bytes_hash: &str, id: &str, sealed: &str) -> Error {
    opened(app, content, bytes_hash, id, sealed).map_or_else(|error| error, |answer| Error::Replayed(Box::new(answer)))
}

/// The answer in a record, if its request had the same content.
fn opened(app: &App, content: &Content, bytes_hash: &str, id: &str, sealed: &str) -> Result<StoredAnswer> {
    let bytes = app.keys().answers()?.open(sealed, id).unwrap_or_default();
    let (same, answer) = match KeptAnswer::read(&bytes) {
        Some(kept) => (kept.content == content.hash, Some(kept.answer)),
        // An earlier format, with the hash of the bytes beside it.
        None => (bytes_hash == content.bytes_hash, serde_json::from_slice(&bytes).ok()),
    };
    match answer {
        Some(answer) if same => Ok(answer),
        Some(_) => Err(Error::IdempotencyKeyReused),
        None => Err(Error::internal("replaying an answer", "the stored answer cannot be opened")),
    }
}

fn key_of(incoming: &Incoming) -> Result<Option<&str>> {
    let Some(key) = incoming.header(&IDEMPOTENCY_KEY)? else { return Ok(None) };
    if key.is_empty() || key.len() > 255 {
        return Err(Error::BadRequest("The Idempotency-Key must be 1 to 255 characters.".into()));
    }
    Ok(Some(key))
}

fn id_of(incoming: &Incoming, principal: &str, key: &str) -> Hashed {
    Hashed::of(&[principal, incoming.method.as_str(), incoming.route, &incoming.path_values.join("/"), key])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_as_it_was() {
        for (etag, body) in [(Some("\"1.0\""), "{\"a\":\"b\\n\"}"), (None, "line\nline\n"), (None, "")] {
            let answer = StoredAnswer { status: 201, etag: etag.map(str::to_owned), body: body.to_owned() };
            let kept = KeptAnswer { content: "hash".to_owned(), answer };
            assert_eq!(KeptAnswer::read(kept.text().as_bytes()), Some(kept));
        }
    }

    #[test]
    fn earlier_records_are_read() {
        let kept = KeptAnswer::read(br#"{"content":"hash","answer":{"status":200,"etag":null,"body":"{}"}}"#).unwrap();
        assert_eq!((kept.content.as_str(), kept.answer.status, kept.answer.body.as_str()), ("hash", 200, "{}"));
        for none in [&b"{\"status\":200,\"etag\":null,\"body\":\"\"}"[..], b"", b"hash\n200\n", b"hash\nx\n\n", b"\xff"] {
            assert_eq!(KeptAnswer::read(none), None);
        }
    }
}
