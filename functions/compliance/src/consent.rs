//! Consent records: list, record, read, revoke. Nothing is changed or deleted: a chain only grows.

use jiff::Timestamp;
use messaging::standings::{self, Decision};
use records::consent::{Consent, ConsentEntry, ConsentFact, ConsentKind, ConsentType, Redaction};
use records::consent_chain::Evidence;
use records::standing::Standing;
use serde::Serialize;
use serde_json::{Map, Value};
use shared::http::answer::{Answer, Created, Listing, Tagged};
use shared::http::arguments::{Cursors, Found};
use shared::http::form::{Fields, Form, Moment, PhoneNumberText, Text};
use shared::http::idempotency::Once;
use shared::model::phone_number::PhoneNumber;
use shared::model::time::{Printed, zulu};
use shared::store::{Direction, Entity as _, Page, Position, Record as _, Span};
use shared::tenancy::TenantStore;
use shared::tenancy::doors::{Member, Viewer};
use shared::{Error, Result};

use crate::rules::{CONSENT_TYPE, JUDGED, NewConsent, recorder};

/// An entry of a chain. What was redacted is null.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ConsentRecord)]
pub struct ConsentView {
    id: String,
    #[schema(inline)]
    phone_number: PhoneNumber,
    kind: ConsentKind,
    consent_type: Option<ConsentType>,
    consent_source: Option<String>,
    consent_text_version: Option<String>,
    consent_text: Option<String>,
    ip_address: Option<String>,
    user_agent: Option<String>,
    evidence_url: Option<String>,
    consented_at: Printed,
    recorded_at: Printed,
    /// `member:<number>`, the id of an API key, `platform`, or the worker that took it in.
    recorded_by: String,
    message_id: Option<String>,
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    /// Its place in the chain of the number, from 1.
    n: u64,
    /// Of its canonical form: SHA-256 in hex.
    hash: String,
    /// The hash of the entry before it; 64 zeros for the first.
    previous: String,
    redacted: Option<RedactionView>,
}

/// That the evidence of a record was forgotten.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ConsentRedaction)]
pub struct RedactionView {
    redacted_at: Printed,
    redacted_by: String,
    reason: String,
}

/// Which entries are wanted.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub phone_number: Option<PhoneNumber>,
    pub consent_type: Option<ConsentType>,
    /// Of `consented_at`.
    pub from: Option<Timestamp>,
    /// The first moment after.
    pub to: Option<Timestamp>,
}

pub struct Revoking {
    reason: Option<String>,
}

/// Newest first.
pub async fn list(door: Viewer, asked: Cursors<Filter>) -> Result<Listing<ConsentView>> {
    let Cursors { filters, page } = asked;
    let found = filters.page(&door.store, &page.span(), Direction::Descending).await?;
    Ok(Listing { items: found.items.iter().map(ConsentView::of).collect(), total: 0, page, next: found.next })
}

pub async fn create(door: Member, once: Once<NewConsent>) -> Result<Tagged<ConsentView, 201>> {
    let NewConsent { phone_number, fact } = once.body;
    let decide = |standing: &mut Standing| {
        standing.append(ConsentKind::Granted, fact.clone(), &recorder(&door))?;
        Ok(Decision::Write)
    };
    let also = |transaction, standing: &Standing| once.ticket.record(transaction, &door.store, &recorded(standing)?);
    recorded(&standings::change(&door.store, &phone_number, decide, also).await?)
}

pub async fn show(door: Viewer, consent: Found<Consent>) -> Result<Tagged<ConsentView>> {
    let entry = door.store.get(&consent.0.entry()).await?;
    Ok(Answer::new("Success", ConsentView::of(&entry)).tagged(etag(&entry)))
}

/// A person takes back a kind of consent, not a form that they filled in: all of the type that were given before end.
pub async fn revoke(door: Member, consent: Found<Consent>, once: Once<Revoking>) -> Result<Tagged<ConsentView, 201>> {
    let given = door.store.get(&consent.0.entry()).await?;
    let consent_type = given.consent_type.filter(|_| given.kind.gives());
    let consent_type = consent_type.ok_or(Error::Conflict("Only what gives a consent can be revoked.".into()))?;
    let fact = ConsentFact { consent_type: Some(consent_type), text: once.body.reason.clone(), ..ConsentFact::from_source("api") };
    let decide = |standing: &mut Standing| {
        let holds = standing.peer().consents.hold(consent_type, given.consented_at);
        // The entry is there in either case, for the answer.
        standing.append(ConsentKind::Revoked, fact.clone(), &recorder(&door))?;
        Ok(if holds { Decision::Write } else { Decision::Refuse("This consent is not in force any more.") })
    };
    let also = |transaction, standing: &Standing| once.ticket.record(transaction, &door.store, &recorded(standing)?);
    recorded(&standings::change(&door.store, &given.phone_number, decide, also).await?)
}

/// The entry that was added last.
fn recorded(standing: &Standing) -> Result<Tagged<ConsentView, 201>> {
    let entry = standing.entries().last().ok_or_else(|| Error::internal("recording a consent", "no entry was added"))?;
    Ok(Created::new("Recorded", ConsentView::of(entry)).tagged(etag(entry)))
}

/// An entry changes once, when its evidence is forgotten.
fn etag(entry: &ConsentEntry) -> String {
    format!("\"{}\"", if entry.redacted.is_some() { 2 } else { 1 })
}

impl Filter {
    fn keeps(&self, consent_type: Option<ConsentType>, consented_at: Timestamp) -> bool {
        self.consent_type.is_none_or(|wanted| consent_type == Some(wanted))
            && self.from.is_none_or(|from| consented_at >= from)
            && self.to.is_none_or(|to| consented_at < to)
    }

    /// Of a number, its chain; else all entries, in the order in which they were recorded.
    pub async fn page(&self, store: &TenantStore, span: &Span, direction: Direction) -> Result<Page<ConsentEntry>> {
        if let Some(number) = &self.phone_number {
            let keep = |entry: &ConsentEntry| self.keeps(entry.consent_type, entry.consented_at);
            return store.page_within(&ConsentEntry::chain_of(number).going(direction), span, JUDGED, keep).await;
        }
        let keep = |line: &Consent| self.keeps(line.consent_type, line.consented_at);
        let found = store.page_within(&Consent::all().going(direction), span, JUDGED, keep).await?;
        let keys: Vec<_> = found.items.iter().map(Consent::entry).collect();
        Ok(Page { items: store.find_many(&keys).await?, next: found.next })
    }

    /// Right after an entry, in the order of `page`.
    pub fn after(&self, entry: &ConsentEntry) -> Position {
        match self.phone_number {
            Some(_) => Position::after(&entry.key()),
            None => Position::after(&Consent::key_of(entry.id)),
        }
    }
}

impl ConsentView {
    pub fn of(entry: &ConsentEntry) -> Self {
        let value = |evidence: &Option<Evidence>| evidence.as_ref().and_then(Evidence::value).map(str::to_owned);
        ConsentView {
            id: entry.id.prefixed(),
            phone_number: entry.phone_number.clone(),
            kind: entry.kind,
            consent_type: entry.consent_type,
            consent_source: entry.consent_source.clone(),
            consent_text_version: entry.consent_text_version.clone(),
            consent_text: value(&entry.text),
            ip_address: value(&entry.ip),
            user_agent: value(&entry.user_agent),
            evidence_url: value(&entry.url),
            consented_at: zulu(entry.consented_at),
            recorded_at: zulu(entry.recorded_at),
            recorded_by: entry.recorded_by.clone(),
            message_id: entry.message_id.clone(),
            metadata: entry.metadata(),
            n: entry.n,
            hash: entry.digest.clone(),
            previous: entry.previous.clone(),
            redacted: entry.redacted.as_ref().map(RedactionView::of),
        }
    }
}

impl RedactionView {
    fn of(redaction: &Redaction) -> Self {
        let Redaction { redacted_at, redacted_by, reason } = redaction.clone();
        RedactionView { redacted_at: zulu(redacted_at), redacted_by, reason }
    }
}

impl Form for Filter {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let filter = Filter {
            phone_number: fields.optional("phone_number", PhoneNumberText),
            consent_type: fields.optional("consent_type", CONSENT_TYPE),
            from: fields.optional("from", Moment),
            to: fields.optional("to", Moment),
        };
        if filter.from.zip(filter.to).is_some_and(|(from, to)| to < from) {
            fields.refuse("to", "must not be before from");
        }
        Some(filter)
    }
}

impl Form for Revoking {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Revoking { reason: fields.optional("reason", Text::up_to(ConsentFact::TEXT)) })
    }
}
