//! `Idempotency-Key`: the answer is recorded in the transaction of its effect, per tenant, principal, route and body. There is no
//! moment at which the effect stands without its record, so a repeat never has to wait: it finds the record, or makes the effect.

use http::HeaderName;

use crate::crypto;
use crate::error::{Error, Result};
use crate::http::answer::{Answer, StoredAnswer};
use crate::http::catalogue::Operation;
use crate::http::endpoint::{Argument, Entered, Wants};
use crate::http::family::Family;
use crate::http::form::{self, Form};
use crate::http::request::Incoming;
use crate::model::answer::{Answered, OpenAnswered};
use crate::runtime::App;
use crate::store::Transaction;
use crate::store::entity::Hashed;
use crate::store::table::text;
use crate::tenancy::{Directory, TenantStore};

pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A JSON body whose effect happens once per `Idempotency-Key`.
pub struct Once<F> {
    pub body: F,
    pub ticket: Ticket,
}

/// What it takes to record the answer.
pub struct Ticket {
    app: App,
    family: Family,
    recording: Option<Recording>,
}

struct Recording {
    id: Hashed,
    body_hash: String,
}

impl<F: Form> Argument for Once<F> {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        // A wrong key is reported by `take`; the principal is part of the id, so the read is of the caller's own records.
        if let Ok(Some(key)) = key_of(incoming)
            && let Ok(principal) = crate::tenancy::doors::claimed_principal(incoming)
        {
            wants.record(&Answered::key_of(&id_of(incoming, &principal, key)));
        }
    }

    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        let ticket = |recording| Ticket { app: incoming.app.clone(), family: incoming.family, recording };
        let Some(key) = key_of(incoming)? else {
            return Ok(Once { body: incoming.form()?, ticket: ticket(None) });
        };
        let recording = Recording { id: id_of(incoming, &entered.principal, key), body_hash: crypto::hash(&[&incoming.body]) };
        let answered = if entered.store.is_some() {
            entered.find(&Answered::key_of(&recording.id)).await?
        } else {
            entered.find_open(&OpenAnswered::key_of(&recording.id)).await?.map(|open| open.0)
        };
        if let Some(answered) = answered {
            return Err(replay(&incoming.app, &recording.body_hash, &answered.body_hash, &answered.id, &answered.sealed));
        }
        Ok(Once { body: incoming.form()?, ticket: ticket(Some(recording)) })
    }

    fn describe(operation: &mut Operation) {
        operation.body(form::described::<F>());
        operation.idempotent();
    }
}

impl Ticket {
    /// Adds the record to the transaction of the effect. The record comes first in it: when a twin was quicker, the caller gets the
    /// twin's answer rather than the complaint that the twin's effect already stands.
    pub fn record<'a, T: serde::Serialize, const STATUS: u16>(
        &self,
        transaction: Transaction<'a>,
        store: &TenantStore,
        answer: &Answer<T, STATUS>,
    ) -> Result<Transaction<'a>> {
        let Some(answered) = self.answered(answer, store.now())? else { return Ok(transaction) };
        transaction.create_or_expired(store, &answered, store.now().as_second(), self.twin(&answered))
    }

    /// The same for a request without a tenant.
    pub fn record_open<'a, T: serde::Serialize, const STATUS: u16>(
        &self,
        transaction: Transaction<'a>,
        directory: &Directory,
        answer: &Answer<T, STATUS>,
    ) -> Result<Transaction<'a>> {
        let Some(answered) = self.answered(answer, directory.now())? else { return Ok(transaction) };
        let refusal = self.twin(&answered);
        transaction.create_or_expired(directory, &OpenAnswered(answered), directory.now().as_second(), refusal)
    }

    /// For a refusal that comes before the transaction, of a request without a tenant: it may be due to the effect of a twin that was quicker,
    /// and then the caller gets the twin's answer.
    pub async fn or_twin(&self, directory: &Directory, refusal: Error) -> Error {
        let Some(recording) = &self.recording else { return refusal };
        match directory.find(&OpenAnswered::key_of(&recording.id)).await {
            Ok(None) => refusal,
            Ok(Some(OpenAnswered(theirs))) => replay(&self.app, &recording.body_hash, &theirs.body_hash, &theirs.id, &theirs.sealed),
            Err(error) => error,
        }
    }

    fn answered<T: serde::Serialize, const STATUS: u16>(
        &self,
        answer: &Answer<T, STATUS>,
        now: jiff::Timestamp,
    ) -> Result<Option<Answered>> {
        let Some(recording) = &self.recording else { return Ok(None) };
        let stored = serde_json::to_vec(&answer.render(self.family)).map_err(|error| Error::internal("keeping an answer", error))?;
        let sealed = self.app.keys().answers()?.seal(&stored, &recording.id.to_string(), self.app.random());
        Ok(Some(Answered {
            id: recording.id.to_string(),
            body_hash: recording.body_hash.clone(),
            sealed,
            expires_at: now + Answered::KEPT,
        }))
    }

    fn twin(&self, mine: &Answered) -> crate::store::Refusal {
        let (app, body_hash) = (self.app.clone(), mine.body_hash.clone());
        Box::new(move |old| match old {
            Some(old) => replay(&app, &body_hash, &text(&old, "body_hash"), &text(&old, "id"), &text(&old, "sealed")),
            None => Error::internal("keeping an answer", "the record in the way came without its content"),
        })
    }
}

fn replay(app: &App, mine: &str, theirs: &str, id: &str, sealed: &str) -> Error {
    if mine != theirs {
        return Error::IdempotencyKeyReused;
    }
    let opened = app.keys().answers().ok().and_then(|answers| answers.open(sealed, id));
    match opened.and_then(|bytes| serde_json::from_slice::<StoredAnswer>(&bytes).ok()) {
        Some(answer) => Error::Replayed(Box::new(answer)),
        None => Error::internal("replaying an answer", "the stored answer cannot be opened"),
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
