//! Opt-outs: list, opt out, read, opt in, dismiss a suspicion. None is ever deleted.

use messaging::standings::{self, Decision};
use records::consent::ConsentFact;
use records::opt_out::{OptOut, OptOutCause, OptOutSource, Suspicion};
use records::standing::Standing;
use serde::Serialize;
use shared::http::answer::{Answer, Created, Listing, Tagged};
use shared::http::arguments::{Cursors, Found, IfMatch};
use shared::http::form::{Fields, Flag, Form, OneOf, PhoneNumberText, Text};
use shared::http::idempotency::Once;
use shared::model::phone_number::PhoneNumber;
use shared::model::time::{Printed, zulu};
use shared::store::{Direction, Listed, Page};
use shared::tenancy::doors::{Admin, Member, Viewer};
use shared::{Error, Result};

use crate::rules::{JUDGED, Said, recorder};

/// Whether a phone number gets messages.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = OptOut)]
pub struct OptOutView {
    #[schema(inline)]
    phone_number: PhoneNumber,
    /// Nothing may be sent to it now.
    active: bool,
    /// The last time; null if it only seemed so.
    opted_out_at: Option<Printed>,
    opted_back_in_at: Option<Printed>,
    source: Option<OptOutSource>,
    /// With which the person said so.
    keyword: Option<String>,
    /// By which the person said so.
    channel: Option<String>,
    reason: Option<String>,
    /// The person seems to have said no: no marketing may be sent until somebody opts the number out or dismisses it.
    suspected: Option<SuspicionView>,
    dismissed_at: Option<Printed>,
    updated_at: Printed,
}

/// Words that seem to say no.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = SuspectedOptOut)]
pub struct SuspicionView {
    since: Printed,
    phrase: String,
}

pub struct Filters {
    active: Option<bool>,
    suspected: Option<bool>,
    phone_number: Option<PhoneNumber>,
    order: Order,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Number,
    Recent,
}

pub struct NewOptOut {
    phone_number: PhoneNumber,
    reason: Option<String>,
}

pub struct OptingIn {
    consent: ConsentFact,
}

/// In the order of the numbers, or what changed last first. The latter looks at a line of each opt-out.
pub async fn list(door: Viewer, asked: Cursors<Filters>) -> Result<Listing<OptOutView>> {
    let Cursors { filters, page } = asked;
    let (store, span) = (&door.store, page.span());
    let keeps = |active: bool, suspected: bool| {
        filters.active.is_none_or(|wanted| active == wanted) && filters.suspected.is_none_or(|wanted| suspected == wanted)
    };
    let of = |opt_out: &OptOut| keeps(opt_out.is_active(), opt_out.suspected.is_some());
    let found = match (&filters.phone_number, filters.order) {
        (Some(number), _) => {
            let one = store.find(&OptOut::key_of(number)).await?.filter(of);
            Page { items: one.into_iter().collect(), next: None }
        }
        (None, Order::Number) => store.page_within(&OptOut::all(), &span, JUDGED, of).await?,
        (None, Order::Recent) => {
            let rank = |line: <OptOut as Listed>::Entry| keeps(line.active, line.suspected).then_some(line.updated_at);
            let found = store.ranked(&OptOut::all().going(Direction::Descending), span, rank).await?;
            Page { items: found.items, next: found.next }
        }
    };
    Ok(Listing { items: found.items.iter().map(OptOutView::of).collect(), total: 0, page, next: found.next })
}

pub async fn create(door: Member, once: Once<NewOptOut>) -> Result<Tagged<OptOutView, 201>> {
    let NewOptOut { phone_number, reason } = once.body;
    let cause = OptOutCause { source: OptOutSource::Api, keyword: None, channel: None, reason, message_id: None, said_at: None };
    let decide = |standing: &mut Standing| match standing.opt_out_for(cause.clone(), &recorder(&door))? {
        true => Ok(Decision::Write),
        false => Ok(Decision::Refuse("This number has opted out already.")),
    };
    let answer = |standing: &Standing| -> Result<Tagged<OptOutView, 201>> {
        let opt_out = shown(standing)?;
        Ok(Created::new("Opted out", OptOutView::of(opt_out)).tagged(opt_out.etag()))
    };
    let also = |transaction, standing: &Standing| once.ticket.record(transaction, &door.store, &answer(standing)?);
    answer(&standings::change(&door.store, &phone_number, decide, also).await?)
}

pub async fn show(_door: Viewer, opt_out: Found<OptOut>) -> Result<Tagged<OptOutView>> {
    Ok(answer(&opt_out.0))
}

/// On evidence of consent, which becomes an entry of the number's chain.
pub async fn opt_in(door: Admin, opt_out: Found<OptOut>, expected: IfMatch, once: Once<OptingIn>) -> Result<Tagged<OptOutView>> {
    let decide = |standing: &mut Standing| {
        expected.check(&shown(standing)?.etag())?;
        match standing.opt_in(once.body.consent.clone(), &recorder(&door)).map_err(within_consent)? {
            true => Ok(Decision::Write),
            false => Ok(Decision::Refuse("This number has not opted out.")),
        }
    };
    let also = |transaction, standing: &Standing| once.ticket.record(transaction, &door.store, &answer(shown(standing)?));
    let standing = standings::change(&door.store, &opt_out.0.phone_number, decide, also).await?;
    Ok(answer(shown(&standing)?))
}

/// The same request again changes nothing more, so its answer is kept after its effect.
pub async fn dismiss(door: Admin, opt_out: Found<OptOut>, expected: IfMatch) -> Result<Tagged<OptOutView>> {
    let decide = |standing: &mut Standing| {
        expected.check(&shown(standing)?.etag())?;
        match standing.dismiss(door.now()) {
            true => Ok(Decision::Write),
            false => Ok(Decision::Refuse("Nothing is suspected of this number.")),
        }
    };
    let standing = standings::change(&door.store, &opt_out.0.phone_number, decide, |transaction, _| Ok(transaction)).await?;
    Ok(answer(shown(&standing)?))
}

fn shown(standing: &Standing) -> Result<&OptOut> {
    standing.opt_out().ok_or(Error::Missing(OptOut::NAME))
}

fn answer(opt_out: &OptOut) -> Tagged<OptOutView> {
    Answer::new("Success", OptOutView::of(opt_out)).tagged(opt_out.etag())
}

/// The fields lie in `consent`.
fn within_consent(error: Error) -> Error {
    match error {
        Error::Validation(fields) => {
            Error::Validation(fields.into_iter().map(|(name, problems)| (format!("consent.{name}"), problems)).collect())
        }
        other => other,
    }
}

impl OptOutView {
    fn of(opt_out: &OptOut) -> Self {
        let suspected = |suspicion: &Suspicion| SuspicionView { since: zulu(suspicion.since), phrase: suspicion.phrase.clone() };
        OptOutView {
            phone_number: opt_out.phone_number.clone(),
            active: opt_out.is_active(),
            opted_out_at: opt_out.opted_out_at.map(zulu),
            opted_back_in_at: opt_out.opted_back_in_at.map(zulu),
            source: opt_out.source,
            keyword: opt_out.keyword.clone(),
            channel: opt_out.channel.clone(),
            reason: opt_out.reason.clone(),
            suspected: opt_out.suspected.as_ref().map(suspected),
            dismissed_at: opt_out.dismissed_at.map(zulu),
            updated_at: zulu(opt_out.updated_at),
        }
    }
}

const ORDER: OneOf<Order> = OneOf {
    words: &["number", "recent"],
    parse: |word| match word {
        "number" => Some(Order::Number),
        "recent" => Some(Order::Recent),
        _ => None,
    },
};

impl Form for Filters {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Filters {
            active: fields.optional("active", Flag),
            suspected: fields.optional("suspected", Flag),
            phone_number: fields.optional("phone_number", PhoneNumberText),
            order: fields.optional("order", ORDER).unwrap_or(Order::Number),
        })
    }
}

impl Form for NewOptOut {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let phone_number = fields.required("phone_number", PhoneNumberText);
        let reason = fields.optional("reason", Text::up_to(OptOut::REASON));
        Some(NewOptOut { phone_number: phone_number?, reason })
    }
}

impl Form for OptingIn {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        fields.required_nested::<Said>("consent").map(|Said(consent)| OptingIn { consent })
    }
}
