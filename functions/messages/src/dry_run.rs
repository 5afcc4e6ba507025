//! What a campaign of messages would do now: who would get it and who would not, how many SMS segments it takes, and how long. Nothing is written.

use jiff::Timestamp;
use messaging::campaigns::{self as sending, Known, Room};
use messaging::moving::Allowed;
use records::message_campaign::{Load, MessageCampaign};
use records::messaging_quota::MessagingQuota;
use records::messaging_settings::MessagingSettings;
use records::phone_admission::Verdict;
use records::phone_message::{MessageStatus, Reason};
use serde::Serialize;
use shared::Result;
use shared::http::answer::Answer;
use shared::model::line::LinePool;
use shared::model::time::{day, end_of};
use shared::tenancy::doors::Member;

use crate::campaign::Recipients;

/// What a campaign of messages would do at this moment.
#[derive(Default, Serialize, utoipa::ToSchema)]
#[schema(as = MessageCampaignDryRun)]
pub struct DryRunView {
    /// Numbers, each once.
    recipients: u64,
    /// Entries that name a number that was named before.
    duplicates: u64,
    opted_out: u64,
    /// They seem to have said no, and get no marketing.
    opt_out_suspected: u64,
    no_consent: u64,
    /// A variable has no value for them, or the text with their values is none.
    invalid: u64,
    /// They would get their first message.
    new_contacts: u64,
    /// It is night there: their message is blocked or waits, as `quiet_hours` says.
    quiet_now: u64,
    /// SMS segments of all messages that would be sent.
    segments: u64,
    /// How long that takes, with the limits of lines and plan, in minutes.
    minutes: u64,
}

pub async fn run(
    door: &Member,
    campaign: &MessageCampaign,
    recipients: &Recipients,
    pool: &LinePool,
    settings: &MessagingSettings,
) -> Result<Answer<DryRunView>> {
    let (store, now) = (&door.store, door.now());
    let total = recipients.numbers.len() as u64;
    let mut view = DryRunView { recipients: total, duplicates: recipients.duplicates, ..DryRunView::default() };
    let mut sent = 0;
    for numbers in recipients.numbers.chunks(sending::TOGETHER) {
        let known = Known::read(store, numbers).await?;
        for (place, number) in (0..).zip(numbers) {
            let (message, verdict) = known.message(campaign, campaign.id.message(now, place), number, settings, now);
            match verdict {
                _ if message.status == MessageStatus::Failed => view.invalid += 1,
                Verdict::Blocked(Reason::OptedOut) => view.opted_out += 1,
                Verdict::Blocked(Reason::OptOutSuspected) => view.opt_out_suspected += 1,
                Verdict::Blocked(Reason::NoConsent) => view.no_consent += 1,
                Verdict::Blocked(_) => view.quiet_now += 1,
                Verdict::May | Verdict::Waits(..) => {
                    view.quiet_now += u64::from(verdict != Verdict::May);
                    view.new_contacts += u64::from(known.is_new(number));
                    view.segments += message.segments();
                    sent += 1;
                }
            }
        }
    }
    let room = Room::read(store, Allowed { plan: &door.plan, called: &door.tenant.plan }).await?;
    let left = |name, each: Option<u64>| room.free(name).zip(each);
    let load = Load {
        messages: sent,
        new_contacts: view.new_contacts,
        per_minute: sending::per_minute(campaign, pool, settings),
        messages_left: left(MessagingQuota::MESSAGES_OF_DAY, door.plan.messages_per_day),
        new_contacts_left: left(MessagingQuota::CONTACTS_OF_DAY, door.plan.contacts_messaged_per_day),
        minutes_left_today: minutes_left_of_day(now),
    };
    view.minutes = load.minutes();
    Ok(Answer::new("Success", view))
}

fn minutes_left_of_day(now: Timestamp) -> u64 {
    u64::try_from(end_of(day(now)).duration_since(now).as_mins()).unwrap_or(0)
}
