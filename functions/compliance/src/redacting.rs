//! Forgetting the evidence of consent records. Their digests stay, so their chains still hold.

use messaging::standings::{self, Decision};
use records::consent::{Consent, ConsentEntry, ConsentId, ConsentKind, Redaction};
use records::standing::Standing;
use serde::Serialize;
use shared::http::answer::Answer;
use shared::http::arguments::Body;
use shared::http::form::{Fields, Form, Id, Several, Text};
use shared::http::{Family, status};
use shared::store::Record as _;
use shared::tenancy::doors::Owner;
use shared::{Error, Result};

use crate::rules::recorded_by;

/// Of a reason, in characters.
const REASON: usize = 500;

/// What became of the records that were named.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ConsentsRedacted)]
pub struct RedactedView {
    redacted: u64,
    /// Their evidence was forgotten before.
    already: u64,
    errors: Vec<NotRedactedView>,
}

/// A record that was not redacted, and why.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ConsentNotRedacted)]
pub struct NotRedactedView {
    id: String,
    /// As in the answer to an error.
    code: &'static str,
    message: String,
}

pub struct Redacting {
    ids: Vec<ConsentId>,
    reason: String,
}

/// Each record by itself: one that cannot be redacted does not hold up the others. The same request again changes nothing more, so its answer is kept
/// after its effect.
pub async fn redact(door: Owner, body: Body<Redacting>) -> Result<Answer<RedactedView>> {
    let Redacting { ids, reason } = body.0;
    let keys: Vec<_> = ids.iter().copied().map(Consent::key_of).collect();
    let lines = door.store.find_many(&keys).await?;
    let redaction = Redaction { redacted_at: door.now(), redacted_by: recorded_by(&door), reason };
    let mut view = RedactedView { redacted: 0, already: 0, errors: vec![] };
    for id in ids {
        let done = match lines.iter().find(|line| line.id == id) {
            Some(line) => redact_one(&door, line, &redaction).await,
            None => Err(Error::Missing(Consent::NAME)),
        };
        match done {
            Ok(true) => view.redacted += 1,
            Ok(false) => view.already += 1,
            // What is our fault, or will pass, is so for all of them.
            Err(error @ (Error::Internal { .. } | Error::Unavailable { .. })) => return Err(error),
            Err(error) => {
                let code = status::entry(&error, Family::Messaging).1.0;
                view.errors.push(NotRedactedView { id: id.prefixed(), code, message: error.in_a_line() });
            }
        }
    }
    Ok(Answer::new("Success", view))
}

/// Whether there was something to forget.
async fn redact_one(door: &Owner, line: &Consent, redaction: &Redaction) -> Result<bool> {
    let store = &door.store;
    let entry: ConsentEntry = store.get(&line.entry()).await?;
    if entry.redacted.is_some() {
        return Ok(false);
    }
    if entry.kind == ConsentKind::OptedOut {
        // The list of opt-outs shows the same words. They go first: whoever is interrupted here finds the entry as it was, and asks again.
        let forget = |standing: &mut Standing| {
            standing.forget_reason(entry.consented_at, door.now());
            Ok(Decision::Write)
        };
        standings::change(store, &entry.phone_number, forget, |transaction, _| Ok(transaction)).await?;
    }
    let forgotten = store.edit(entry, |entry, transaction| Ok(entry.forgotten(redaction.clone()).map(|left| (left, transaction)))).await?;
    Ok(forgotten.redacted.as_ref() == Some(redaction))
}

impl Form for Redacting {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let ids = Several { each: Id::<ConsentId>::of("a consent record"), min: 1, max: 100, key: ConsentId::to_string };
        let ids = fields.required("ids", ids);
        let reason = fields.required("reason", Text::up_to(REASON));
        Some(Redacting { ids: ids?, reason: reason? })
    }
}
