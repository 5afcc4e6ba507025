//! Releases the waves that are due, as far as the campaign's pace, its plan and the carrier allow. What is released is counted first: a mail too few may
//! go, never one too many.

use engagement::kept::while_kept;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use records::campaign::Campaign;
use records::campaign_plan::{CampaignDay, CampaignPlan, MailDay, MailMonth};
use records::schedule::{Hold, Pace};
use records::sequence::{self, Step};
use records::wave::{Counted, Wave};
use shared::model::period::Month;
use shared::model::plan::Plan;
use shared::model::tenant::Tenant;
use shared::model::time;
use shared::tenancy::jobs::WorkContext;
use shared::tenancy::{TenantStore, WorkspaceStore, conflict, limit_reached};
use shared::{Error, Result};

use crate::Sender;
use crate::budget;
use crate::enrol::overtaken;

pub struct Conductor<'a> {
    pub sender: &'a Sender,
    pub context: &'a WorkContext,
    pub store: &'a TenantStore,
    pub within: &'a WorkspaceStore,
    pub tenant: &'a Tenant,
    pub plan_of_tenant: &'a Plan,
    pub campaign: &'a Campaign,
    pub steps: &'a [Step],
}

/// When the campaign has something to do again.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    Again(Timestamp),
    /// Nobody waits any more.
    Over,
}

/// Waves that are looked at in one job.
const AT_ONCE: usize = 200;
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

impl Conductor<'_> {
    /// With the plan as it is.
    pub async fn conduct(&self, mut plan: CampaignPlan) -> Result<Look> {
        let now = self.context.now();
        // Who waits for the next mail goes before those who begin: their moment has been promised.
        let rows = [false, true].map(|is_first| Wave::due(self.campaign.id, is_first));
        let (next, first) = tokio::try_join!(self.within.after(&rows[0], None, AT_ONCE), self.within.after(&rows[1], None, AT_ONCE))?;
        let is_more = [&next, &first].iter().any(|(waves, more)| more.is_some() && waves.last().is_some_and(|last| last.due <= now));
        let waves: Vec<Wave> = next.0.into_iter().chain(first.0).collect();
        if waves.is_empty() {
            return Ok(Look::Over);
        }
        if let Some(not_over) = plan.not_over() {
            if !self.within.replace_if(&not_over, &plan).await? {
                return Err(overtaken());
            }
            plan = not_over;
        }
        let mut looks: Vec<Timestamp> = vec![];
        let mut mails: Vec<&Wave> = vec![];
        for wave in &waves {
            if !wave.is_planned() {
                if let Some(again) = wave.again(now) {
                    self.within.replace_if(&again, wave).await?;
                }
                looks.extend(wave.again(now).as_ref().unwrap_or(wave).overdue_at());
            } else if wave.due <= now {
                match sequence::step(self.steps, wave.step) {
                    Some(Step::Email(_)) => mails.push(wave),
                    _ => looks.extend(self.release_uncounted(wave).await?),
                }
            } else {
                looks.push(wave.due);
            }
        }
        if is_more {
            looks.push(in_a_minute(now));
        }
        if !mails.is_empty() {
            looks.extend(self.release(plan, &mails).await?);
        }
        Ok(Look::Again(looks.into_iter().min().unwrap_or_else(|| in_a_minute(now))))
    }

    /// A condition sends nothing.
    async fn release_uncounted(&self, wave: &Wave) -> Result<Option<Timestamp>> {
        let released = wave.released(None, self.context.now());
        self.within.replace_if(&released, wave).await?;
        Ok(released.overdue_at())
    }

    async fn release(&self, plan: CampaignPlan, mails: &[&Wave]) -> Result<Vec<Timestamp>> {
        let now = self.context.now();
        let zone = TimeZone::get(&self.campaign.settings.timezone).map_err(|error| Error::internal("reading a campaign's zone", error))?;
        let settings = &self.campaign.settings;
        let pace = Pace { zone: &zone, window: settings.window.as_ref(), daily_limit: settings.daily_limit };
        let (day, month) = (zone.to_datetime(now).date(), Month::of(now));
        let (of_day, of_month, daily_of_new) = tokio::try_join!(
            async { self.within.find(&CampaignDay::key_of(self.campaign.id, day)).await },
            async { self.store.find(&MailMonth::key_of(month)).await },
            self.sender.daily_of_new(self.store),
        )?;
        let today = time::day(now);
        let of_new = match daily_of_new {
            Some(_) => self.store.find(&MailDay::key_of(today)).await?.map_or(0, |day| day.mails),
            None => 0,
        };
        let used = of_day.map_or(0, |day| day.mails);
        let allowance = pace.allowance(plan.paced_to, plan.credit, used, now);
        let wanted = mails.iter().map(|wave| count(wave.leads.0.len())).sum::<u32>();
        let paced = allowance.mails.unwrap_or(u32::MAX);
        let in_month = left(self.plan_of_tenant.emails_per_month, of_month.map_or(0, |month| month.mails));
        let as_new = left(daily_of_new, of_new);
        let asked = wanted.min(paced).min(in_month).min(as_new);
        let (granted, minute) = match asked {
            0 => (0, None),
            asked => {
                let (granted, budget) = budget::take(&self.context.directory, self.store, asked, self.sender.per_minute).await?;
                (granted, Some(budget))
            }
        };
        let hold = if granted == wanted {
            None
        } else if granted < asked {
            Some((Hold::Carrier, minute.map_or_else(|| in_a_minute(now), |minute| minute.ends_at())))
        } else if in_month <= paced.min(as_new) {
            Some((Hold::MonthlyLimit, month.end()))
        } else if as_new <= paced {
            Some((Hold::NewTenant, time::end_of(today)))
        } else {
            Some((allowance.hold, allowance.next_at))
        };
        // Moments that the carrier had no room for are kept for later today.
        let credit = asked.saturating_sub(granted);
        if let Some(paced) = plan.paced(now, credit, hold.map(|(hold, _)| hold), hold.map(|(_, at)| at))
            && !self.within.replace_if(&paced, &plan).await?
        {
            return Err(overtaken());
        }
        let mut looks: Vec<Timestamp> = hold.map(|(_, at)| at).into_iter().collect();
        let (mut still, counted) = (granted, Counted { day, month, day_of_new: daily_of_new.map(|_| today) });
        for wave in mails {
            if still == 0 {
                break;
            }
            let (own, rest) = wave.parted(still as usize);
            still -= count(own.leads.0.len());
            let released = own.released(Some(counted), now);
            looks.extend(released.overdue_at());
            match self.released(wave, &released, rest.as_ref(), (counted, daily_of_new)).await {
                // Another worker has it.
                Ok(()) | Err(Error::Conflict(_)) => {}
                // Others have used it up since it was read.
                Err(Error::PlanLimitReached(_)) => {
                    looks.push(in_a_minute(now));
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(looks)
    }

    async fn released(
        &self,
        before: &Wave,
        released: &Wave,
        rest: Option<&Wave>,
        (counted, daily_of_new): (Counted, Option<u64>),
    ) -> Result<()> {
        let mails = i64::from(count(released.leads.0.len()));
        let (of_day, of_month) = (CampaignDay::key_of(self.campaign.id, counted.day), MailMonth::key_of(counted.month));
        let daily = self.campaign.settings.daily_limit.map(u64::from);
        let monthly = self.plan_of_tenant.emails_per_month;
        let full = |limit, most: Option<u64>| limit_reached(limit, most.unwrap_or(u64::MAX), &self.tenant.plan);
        let mut releasing = while_kept(self.within.transaction(), self.store, self.within)?
            .replace(self.within, released, before)?
            .tally_within(self.within, &of_day, ("mails", mails), daily, full("e-mails per day", daily))?
            .tally_within(self.store, &of_month, ("mails", mails), monthly, full(MailMonth::NAME, monthly))?;
        if let Some(day) = counted.day_of_new {
            let full = full(MailDay::NAME, daily_of_new);
            releasing = releasing.tally_within(self.store, &MailDay::key_of(day), ("mails", mails), daily_of_new, full)?;
        }
        if let Some(rest) = rest {
            releasing = releasing.create(self.within, rest, conflict("This wave exists."))?;
        }
        releasing.commit().await
    }
}

/// Of a limit, if there is one.
fn left(most: Option<u64>, used: u64) -> u32 {
    most.map_or(u32::MAX, |most| u32::try_from(most.saturating_sub(used)).unwrap_or(u32::MAX))
}

/// The begin of a minute, so that all jobs of a campaign look again at the same moment.
fn in_a_minute(now: Timestamp) -> Timestamp {
    let at = now + MINUTE;
    Timestamp::from_second(at.as_second() - at.as_second().rem_euclid(60)).unwrap_or(at)
}

pub fn count(mails: usize) -> u32 {
    u32::try_from(mails).unwrap_or(u32::MAX)
}
