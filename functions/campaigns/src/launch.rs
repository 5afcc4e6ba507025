//! Launches, pauses and resumes campaigns. A launch writes what the sender needs, in the transaction that changes the campaign's state.

use engagement::{active, launch, steps};
use records::campaign::{Campaign, CampaignStatus, PausedBy, Problem};
use records::campaign_plan::{CampaignPlan, MailMonth};
use records::sequence::{self, CampaignStep};
use records::template::{Template, TemplateId};
use shared::error::PlanLimit;
use shared::http::answer::Tagged;
use shared::http::arguments::{Found, IfMatch};
use shared::http::idempotency::Once;
use shared::model::due::DueWork;
use shared::model::period::Month;
use shared::tenancy::doors::{In, Member};
use shared::tenancy::{Transaction, conflict, missing};
use shared::{Error, Result};

use crate::campaign::answer;
use crate::contents::{self, Contents};
use crate::forms::SendAction;
use crate::view::CampaignView;

/// A campaign in another state, and what is written with it.
struct Turn<'a> {
    campaign: Campaign,
    plan: Option<CampaignPlan>,
    with: Transaction<'a>,
}

/// How often it is looked at again when others change the same campaign.
const TRIES: usize = 10;

pub async fn send(door: In<Member>, campaign: Found<Campaign>, expected: IfMatch, once: Once<SendAction>) -> Result<Tagged<CampaignView>> {
    let store = &door.store;
    let (mut campaign, mut contents) = contents::read(store, campaign.0).await?;
    for _ in 0..TRIES {
        expected.check(&campaign.etag())?;
        let turn = match once.body {
            SendAction::Start => start(&door, &campaign, &contents).await?,
            SendAction::Pause => pause(&door, &campaign, &contents)?,
            SendAction::Resume => resume(&door, &campaign, &contents).await?,
        };
        let answer = answer(&turn.campaign, Contents { plan: turn.plan, ..contents });
        let turning = once.ticket.record(store.transaction(), &door.outer.store, &answer)?.replace(store, &turn.campaign, &campaign)?;
        let turning = active::counted(door.while_there(turning)?, store, &turn.campaign, &campaign)?;
        match turning.and(turn.with).commit().await {
            // What is launched is what was checked, so an edit at the same moment ends a launch.
            Err(Error::Conflict(_)) if once.body != SendAction::Start => {
                (campaign, contents) = contents::read(store, store.get(&Campaign::key_of(campaign.id)).await?).await?;
            }
            done => return done.map(|()| answer),
        }
    }
    Err(contents::being_changed())
}

async fn start<'a>(door: &'a In<Member>, draft: &Campaign, contents: &Contents) -> Result<Turn<'a>> {
    if draft.status != CampaignStatus::Draft {
        return Err(Error::CampaignState("Only a draft can be launched."));
    }
    check(door, draft, contents).await?;
    let (store, now) = (&door.store, door.now());
    let copies = steps::copies(store, &contents.steps).await?;
    let (campaign, plan) = (draft.launched(now)?, CampaignPlan::new(draft.id, now));
    let mut with = store.transaction().create(store, &plan, conflict("This campaign was launched before."))?;
    for step in CampaignStep::all_of(campaign.id, &contents.steps) {
        with = with.put(store, &copies.with(step))?;
    }
    with = using(with, door, sequence::templates(&contents.steps), 1)?;
    with = wake(with, door, &campaign)?;
    Ok(Turn { campaign, plan: Some(plan), with })
}

fn pause<'a>(door: &'a In<Member>, campaign: &Campaign, contents: &Contents) -> Result<Turn<'a>> {
    let paused = campaign.paused(PausedBy::Manual, door.now())?;
    Ok(Turn { campaign: paused, plan: contents.plan.clone(), with: door.store.transaction() })
}

/// It asks for what a launch asks for.
async fn resume<'a>(door: &'a In<Member>, paused: &Campaign, contents: &Contents) -> Result<Turn<'a>> {
    if paused.status != CampaignStatus::Paused {
        return Err(Error::CampaignState("Only a paused campaign can be resumed."));
    }
    check(door, paused, contents).await?;
    let (store, now) = (&door.store, door.now());
    let plan = store.get(&CampaignPlan::key_of(paused.id)).await?;
    let campaign = paused.launched(now)?;
    let going_on = plan.resumed(paused, now);
    let with = wake(store.transaction().replace(store, &going_on, &plan)?, door, &campaign)?;
    Ok(Turn { campaign, plan: Some(going_on), with })
}

/// The first thing that a launch lacks.
async fn check(door: &In<Member>, campaign: &Campaign, contents: &Contents) -> Result<()> {
    let (outer, store) = (&door.outer, &door.store);
    let of_contents = launch::of_contents(store, &door.workspace.settings, campaign, &contents.steps).await?;
    refuse(of_contents.first())?;
    // Who is enrolled already is not asked again.
    if campaign.launched_at.is_none() {
        let of_audience = launch::of_audience(store, &outer.store, campaign, contents.audience.as_ref()).await?;
        refuse(of_audience.first())?;
    }
    has_room(door, 1).await
}

/// Whether so many mails more are within what the plan allows in the month.
pub async fn has_room(door: &In<Member>, mails: u64) -> Result<()> {
    let outer = &door.outer;
    let Some(most) = outer.plan.emails_per_month else { return Ok(()) };
    let used = outer.store.find(&MailMonth::key_of(Month::of(door.now()))).await?.map_or(0, |month| month.mails);
    if used.saturating_add(mails) <= most {
        return Ok(());
    }
    Err(Error::PlanLimitReached(PlanLimit { limit: MailMonth::NAME, used, max: most, plan: outer.tenant.plan.clone() }))
}

pub fn refuse(problem: Option<&Problem>) -> Result<()> {
    problem.map_or(Ok(()), |problem| Err(Error::CampaignNotReady(problem.lack(), problem.sentence())))
}

/// A template that a launched campaign uses stays: `by` is added to the number of campaigns that do.
pub fn using<'a>(
    transaction: Transaction<'a>,
    door: &In<Member>,
    templates: impl IntoIterator<Item = TemplateId>,
    by: i64,
) -> Result<Transaction<'a>> {
    templates.into_iter().try_fold(transaction, |transaction, template| {
        transaction.adjust(&door.store, &Template::key_of(template), &[("used_in", by)], missing())
    })
}

/// A note for the sender, at once or for the moment of the start.
pub fn wake<'a>(transaction: Transaction<'a>, door: &In<Member>, campaign: &Campaign) -> Result<Transaction<'a>> {
    let at = match campaign.status {
        CampaignStatus::Scheduled => campaign.start_at.unwrap_or(door.now()),
        _ => door.now(),
    };
    let note = DueWork::new(at, door.store.tenant_id(), campaign.id, door.store.random());
    transaction.put(&door.outer.directory, &note)
}
