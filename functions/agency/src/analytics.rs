//! What all subaccounts of an agency did in a range of days, in sum and separately.

use futures_util::future::try_join_all;
use jiff::ToSpan;
use jiff::civil::Date;
use serde::Serialize;
use shared::http::answer::Answer;
use shared::http::arguments::Query;
use shared::http::form::{CalendarDate, Fields, Form};
use shared::model::subaccount::Subaccount;
use shared::model::tenant::TenantStatus;
use shared::model::time::{day, months};
use shared::model::usage::UsageDay;
use shared::tenancy::doors::Owner;
use shared::{Error, Result};

/// The most days of one request.
const MOST_DAYS: i32 = 92;
const AT_ONCE: usize = 25;

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = AgencyAnalytics)]
pub struct AnalyticsView {
    #[schema(value_type = String, format = Date)]
    from: Date,
    #[schema(value_type = String, format = Date)]
    to: Date,
    totals: Totals,
    subaccounts: Vec<SubaccountTotals>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = SubaccountTotals)]
pub struct SubaccountTotals {
    id: String,
    name: String,
    status: TenantStatus,
    #[serde(flatten)]
    totals: Totals,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = MessageTotals)]
pub struct Totals {
    sent: u64,
    delivered: u64,
    failed: u64,
    blocked: u64,
    /// Delivered of sent, 0 to 1; null when nothing was sent.
    delivery_rate: Option<f64>,
    new_contacts: u64,
    api_calls: u64,
}

pub struct Range {
    from: Option<Date>,
    to: Option<Date>,
}

pub async fn show(door: Owner, asked: Query<Range>) -> Result<Answer<AnalyticsView>> {
    door.new_child()?;
    let (from, to) = asked.0.days(day(door.now()))?;
    let children = door.directory.all(&Subaccount::of_agency(door.tenant.id)).await?;
    let mut subaccounts = vec![];
    let mut all = UsageDay::none(from);
    for some in children.chunks(AT_ONCE) {
        let used = try_join_all(some.iter().map(|child| used(&door, child, from, to))).await?;
        for (child, used) in some.iter().zip(used) {
            all = all.plus(&used);
            let totals = Totals::of(&used);
            subaccounts.push(SubaccountTotals { id: child.id.prefixed(), name: child.name.clone(), status: child.status, totals });
        }
    }
    Ok(Answer::new("Success", AnalyticsView { from, to, totals: Totals::of(&all), subaccounts }))
}

/// What a child used between two days, with one query for each month.
async fn used(door: &Owner, child: &Subaccount, from: Date, to: Date) -> Result<UsageDay> {
    let store = door.child(child)?;
    let lists: Vec<_> = months(from, to).into_iter().map(UsageDay::of_month).collect();
    let found = try_join_all(lists.iter().map(|list| store.all(list))).await?;
    let within = found.iter().flatten().filter(|used| used.date >= from && used.date <= to);
    Ok(within.fold(UsageDay::none(from), |sum, day| sum.plus(day)))
}

impl Range {
    /// Both ends are included. The default is the last 30 days.
    fn days(&self, today: Date) -> Result<(Date, Date)> {
        let to = self.to.unwrap_or(today);
        let from = self.from.unwrap_or_else(|| to.saturating_sub(29.days()));
        if from > to {
            return Err(Error::field("from", "The from field must not be after to."));
        }
        if to > today {
            return Err(Error::field("to", "The to field must not be in the future."));
        }
        if (to - from).get_days() >= MOST_DAYS {
            return Err(Error::field("from", format!("The from field must be within {MOST_DAYS} days of to.")));
        }
        Ok((from, to))
    }
}

impl Totals {
    fn of(used: &UsageDay) -> Self {
        Totals {
            sent: used.messages_sent,
            delivered: used.messages_delivered,
            failed: used.messages_failed,
            blocked: used.messages_blocked,
            delivery_rate: (used.messages_sent > 0).then(|| used.messages_delivered as f64 / used.messages_sent as f64),
            new_contacts: used.new_contacts,
            api_calls: used.api_requests,
        }
    }
}

impl Form for Range {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Range { from: fields.optional("from", CalendarDate), to: fields.optional("to", CalendarDate) })
    }
}
