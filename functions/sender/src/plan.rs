//! What a campaign that is due does next: it starts at its moment, enrols leads, releases what may go, and ends when nothing is left.

use std::time::{Duration, Instant};

use engagement::active::turned;
use engagement::{launch, steps};
use jiff::SignedDuration;
use records::audience::CampaignAudience;
use records::campaign::{Campaign, CampaignId, CampaignStatus, PausedBy};
use records::campaign_plan::CampaignPlan;
use records::sequence::{self, Step};
use records::template::Template;
use shared::model::due::DueWork;
use shared::model::tenant::Tenant;
use shared::model::workspace::Workspace;
use shared::store::Entity;
use shared::tenancy::jobs::WorkContext;
use shared::tenancy::{TenantStore, WorkspaceStore, missing};
use shared::{Error, Result};

use crate::Sender;
use crate::conduct::{Conductor, Look};
use crate::enrol::{self, overtaken};

/// A job enrols for so long, and leaves the rest to the next one. The first job of a campaign enrols one page.
const ENROLS_FOR: Duration = Duration::from_secs(20);
/// A tenant that may not act now is asked again after that.
const NOT_NOW: SignedDuration = SignedDuration::from_mins(15);
/// A mail of which nobody knows may turn out to have gone, and is then followed by the next one, if the campaign still runs.
const FOR_REPORTS: SignedDuration = SignedDuration::from_hours(1);

impl Sender {
    /// Does what is due and notes when to look again. The note that brought the job goes with that, so whoever dies before is followed by another.
    pub async fn advance(&self, context: &WorkContext, due: &DueWork) -> Result<()> {
        let directory = &context.directory;
        // A job that comes again finds no note, and its work done.
        let Some(due) = directory.find(&due.key()).await? else { return Ok(()) };
        let next = match self.look(context, &due).await {
            Ok(next) => next,
            // What it lies in is going, with all that is in it.
            Err(Error::NotFound | Error::Missing(_)) => None,
            Err(error) => return Err(error),
        };
        let Some(next) = next else { return done(directory.transaction().delete_unchanged(directory, &due)?.commit().await) };
        let noting = directory.transaction().put(directory, &next)?;
        if next.replaces(&due) {
            return noting.commit().await;
        }
        match noting.delete_unchanged(directory, &due)?.commit().await {
            Err(Error::Conflict(_)) => directory.transaction().put(directory, &next)?.commit().await,
            written => written,
        }
    }

    async fn look(&self, context: &WorkContext, due: &DueWork) -> Result<Option<DueWork>> {
        let Some(((store, within), id)) = context.due(due).zip(CampaignId::parse(&due.campaign)) else { return Ok(None) };
        let again = |at| Some(DueWork::new(at, store.tenant_id(), id, self.app.random()));
        let Some(campaign) = within.find(&Campaign::key_of(id)).await? else { return Ok(None) };
        let Some(workspace) = store.find(&Workspace::key_of(within.tag())).await? else { return Ok(None) };
        let Some(tenant) = store.find(&Tenant::key_of()).await? else { return Ok(None) };
        let steps: Vec<Step> = steps::of(&within, &campaign).await?.into_iter().map(|step| step.step).collect();
        if tenant.inaccessible(context.now()).is_some() {
            return Ok(again(context.now() + NOT_NOW));
        }
        let campaign = match campaign.status {
            CampaignStatus::Active => campaign,
            CampaignStatus::Scheduled => match self.start(context, (&store, &within), campaign, &workspace, &steps).await? {
                Started::Active(campaign) => *campaign,
                Started::Later(at) => return Ok(again(at)),
                Started::Not => return Ok(None),
            },
            // Whoever resumes it writes a note.
            CampaignStatus::Draft | CampaignStatus::Paused | CampaignStatus::Completed => return Ok(None),
        };
        let mut plan = within.get(&CampaignPlan::key_of(id)).await?;
        // The first mails do not wait until a large audience is enrolled.
        let (is_first, began) = (plan.page == 0, Instant::now());
        let goes_on = || !is_first && began.elapsed() < ENROLS_FOR;
        while !plan.is_enrolled {
            plan = enrol::page(context, (&store, &within), &campaign, &steps, plan, goes_on).await?;
            // A page that was written down is enrolled by the same job, so that the next one begins with what is true then.
            if plan.pending.is_none() && !goes_on() {
                break;
            }
        }
        let conductor = Conductor {
            sender: self,
            context,
            store: &store,
            within: &within,
            tenant: &tenant,
            plan_of_tenant: self.app.plans().get(&tenant.plan),
            campaign: &campaign,
            steps: &steps,
        };
        let (is_enrolled, enrolled) = (plan.is_enrolled, plan.clone());
        Ok(match conductor.conduct(plan).await? {
            _ if !is_enrolled => again(context.now()),
            Look::Again(at) => again(at),
            Look::Over if campaign.numbers.unknown > 0 && !reports_had_time(&enrolled, context.now()) => {
                if enrolled.over_since.is_none() && !within.replace_if(&enrolled.over(context.now()), &enrolled).await? {
                    return Err(overtaken());
                }
                again(enrolled.over_since.unwrap_or(context.now()) + FOR_REPORTS)
            }
            Look::Over => {
                let completed = campaign.completed(self.app.clock().now());
                let mut ending = turned(&store, &within, &completed, &campaign)?;
                for template in sequence::templates(&steps) {
                    ending = ending.adjust(&within, &Template::key_of(template), &[("used_in", -1)], missing())?;
                }
                match ending.commit().await {
                    Ok(()) => None,
                    // Somebody has put a lead back at the same moment.
                    Err(Error::Conflict(_)) => again(context.now()),
                    Err(error) => return Err(error),
                }
            }
        })
    }

    /// A campaign whose start is due becomes active if a launch would be allowed now.
    async fn start(
        &self,
        context: &WorkContext,
        (store, within): (&TenantStore, &WorkspaceStore),
        campaign: Campaign,
        workspace: &Workspace,
        steps: &[Step],
    ) -> Result<Started> {
        let now = context.now();
        let start_at = campaign.start_at.unwrap_or(now);
        if start_at > now {
            return Ok(Started::Later(start_at));
        }
        let paused_by = if now.duration_since(start_at) > Campaign::LATEST_START {
            Some(PausedBy::MissedStart)
        } else {
            let audience = within.find(&CampaignAudience::key_of(campaign.id)).await?.map(|found| found.audience);
            let mut problems = launch::of_contents(within, &workspace.settings, &campaign, steps).await?;
            problems.extend(launch::of_audience(within, store, &campaign, audience.as_ref()).await?);
            (!problems.is_empty()).then_some(PausedBy::Guard)
        };
        if let Some(by) = paused_by {
            return match turned(store, within, &campaign.paused(by, now)?, &campaign)?.commit().await {
                Ok(()) => Ok(Started::Not),
                Err(Error::Conflict(_)) => Err(overtaken()),
                Err(error) => Err(error),
            };
        }
        let active = campaign.launched(now)?;
        let plan = within.get(&CampaignPlan::key_of(campaign.id)).await?;
        turned(store, within, &active, &campaign)?.replace(within, &plan.resumed(&campaign, now), &plan)?.commit().await?;
        Ok(Started::Active(Box::new(active)))
    }
}

/// Whether reports of mails of which nobody knew had time to come.
fn reports_had_time(plan: &CampaignPlan, now: jiff::Timestamp) -> bool {
    plan.over_since.is_some_and(|since| now.duration_since(since) >= FOR_REPORTS)
}

/// Whoever changed the note meanwhile has more to do, and a job of their own.
fn done(deleted: Result<()>) -> Result<()> {
    match deleted {
        Err(Error::Conflict(_)) => Ok(()),
        deleted => deleted,
    }
}

enum Started {
    Active(Box<Campaign>),
    Later(jiff::Timestamp),
    Not,
}
