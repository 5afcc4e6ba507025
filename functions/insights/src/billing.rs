//! Usage as F4 bills it: the current month with the plan's limits, the months before, and events.

use std::collections::BTreeMap;

use jiff::ToSpan;
use serde::Serialize;
use shared::Result;
use shared::http::answer::{Answer, Listing};
use shared::http::arguments::{Cursors, NoFilters, Query};
use shared::http::form::{Fields, Form, Integer};
use shared::model::edge::{Metric, QuotaEvent};
use shared::model::period::Month;
use shared::model::time::{Printed, day, zulu};
use shared::model::usage::UsageDay;
use shared::store::Direction;
use shared::tenancy::doors::Viewer;

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = BillingUsage)]
pub struct BillingView {
    plan: String,
    period_start: Printed,
    /// The first moment after it.
    period_end: Printed,
    new_contacts: NewContacts,
    messages: Messages,
    channels: Channels,
    api_calls: ApiCalls,
}

/// Null is unlimited.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ContactUsage)]
pub struct NewContacts {
    used_today: u64,
    limit_today: Option<u64>,
    used_this_month: u64,
    limit_this_month: Option<u64>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = MessageUsage)]
pub struct Messages {
    /// Everything that left, delivered or not.
    sent: u64,
    delivered: u64,
    failed: u64,
    blocked: u64,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ChannelUsage)]
pub struct Channels {
    imessage: u64,
    rcs: u64,
    sms: u64,
}

/// The counter that the daily quota is compared with: requests leased to instances, of which each holds at most a sixteenth of the day so
/// far, and one, that it has not used.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ApiCallUsage)]
pub struct ApiCalls {
    used_today: u64,
    limit_today: Option<u64>,
    used_this_month: u64,
    /// Of the month: what its days allow together.
    limit: Option<u64>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = BillingMonth)]
pub struct MonthView {
    period: String,
    new_contacts: u64,
    messages: Messages,
    channels: Channels,
    api_calls: u64,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(transparent)]
#[schema(as = BillingHistory)]
pub struct HistoryView(Vec<MonthView>);

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = BillingEvent)]
pub struct EventView {
    /// `quota.reached`.
    r#type: &'static str,
    period: String,
    metric: Metric,
    percent: u64,
    used: u64,
    limit: u64,
    plan: String,
    created_at: Printed,
}

pub struct Back {
    months: usize,
}

pub async fn usage(door: Viewer) -> Result<Answer<BillingView>> {
    let today = day(door.now());
    let month = Month::of_day(today);
    let days = door.store.all(&UsageDay::of_month(today)).await?;
    let used = sum(&days);
    let on_day = days.iter().filter(|used| used.date == today).fold(UsageDay::none(today), |sum, part| sum.plus(part));
    Ok(Answer::new(
        "Success",
        BillingView {
            plan: door.tenant.plan.clone(),
            period_start: zulu(month.start()),
            period_end: zulu(month.end()),
            new_contacts: NewContacts {
                used_today: on_day.new_contacts,
                limit_today: door.plan.contacts_messaged_per_day,
                used_this_month: used.new_contacts,
                limit_this_month: door.plan.contacts_messaged_per_month,
            },
            messages: Messages::of(&used),
            channels: Channels::of(&used),
            api_calls: ApiCalls {
                used_today: on_day.api_requests,
                limit_today: door.plan.api_requests_per_day,
                used_this_month: used.api_requests,
                limit: door.plan.api_requests_per_day.map(|a_day| a_day.saturating_mul(month.days())),
            },
        },
    ))
}

/// Newest first, with the current month. Months without usage are included.
pub async fn history(door: Viewer, asked: Query<Back>) -> Result<Answer<HistoryView>> {
    let days = door.store.all(&UsageDay::all()).await?;
    let mut months: BTreeMap<Month, UsageDay> = BTreeMap::new();
    for used in days {
        let sum = months.entry(Month::of_day(used.date)).or_insert_with(|| UsageDay::none(used.date));
        *sum = sum.plus(&used);
    }
    let today = day(door.now());
    let back = (0..asked.0.months).map(|months| today.first_of_month().saturating_sub(i32::try_from(months).unwrap_or(0).months()));
    let views = back.map(|first| {
        let month = Month::of_day(first);
        MonthView::of(month, months.get(&month).unwrap_or(&UsageDay::none(first)))
    });
    Ok(Answer::new("Success", HistoryView(views.collect())))
}

pub async fn events(door: Viewer, asked: Cursors<NoFilters>) -> Result<Listing<EventView>> {
    let found = door.store.page(&QuotaEvent::all().going(Direction::Descending), &asked.page.span(), |_| true).await?;
    Ok(Listing { items: found.items.iter().map(EventView::of).collect(), total: 0, page: asked.page, next: found.next })
}

fn sum(days: &[UsageDay]) -> UsageDay {
    let first = days.first().map_or_else(|| jiff::civil::Date::ZERO, |day| day.date);
    days.iter().fold(UsageDay::none(first), |sum, day| sum.plus(day))
}

impl Messages {
    fn of(used: &UsageDay) -> Self {
        Messages {
            sent: used.messages_sent,
            delivered: used.messages_delivered,
            failed: used.messages_failed,
            blocked: used.messages_blocked,
        }
    }
}

impl Channels {
    fn of(used: &UsageDay) -> Self {
        let [imessage, rcs, sms] = [used.sent_imessage, used.sent_rcs, used.sent_sms].map(|sent| u64::try_from(sent).unwrap_or(0));
        Channels { imessage, rcs, sms }
    }
}

impl MonthView {
    fn of(month: Month, used: &UsageDay) -> Self {
        MonthView {
            period: month.to_string(),
            new_contacts: used.new_contacts,
            messages: Messages::of(used),
            channels: Channels::of(used),
            api_calls: used.api_requests,
        }
    }
}

impl EventView {
    fn of(event: &QuotaEvent) -> Self {
        EventView {
            r#type: "quota.reached",
            period: event.month.clone(),
            metric: event.metric,
            percent: event.percent,
            used: event.used,
            limit: event.limit,
            plan: event.plan.clone(),
            created_at: zulu(event.reached_at),
        }
    }
}

impl Form for Back {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let months = fields.optional("months", Integer { min: 1, max: 24 }).unwrap_or(12);
        Some(Back { months: usize::try_from(months).unwrap_or(12) })
    }
}
