//! Launches, pauses and resumes campaigns. A launch writes what the sender needs, in the transaction that changes the campaign's state.

use engagement::{active, launch, steps};
use records::campaign::{Campaign, CampaignStatus, PausedBy, Problem};
use records::campaign_plan::{CampaignPlan, MailMonth};
use records::sequence::{self, CampaignStep};
use records::template::{Template, TemplateId};
use shared::error::PlanLimit;
use shared::http::answer::Tagged;
use shared::http::arguments::{Body, Found, IfMatch};
use shared::model::due::DueWork;
use shared::model::period::Month;
use shared::tenancy::doors::{In, Member};
use shared::tenancy::{Transaction, conflict, missing};
use shared::{Error, Result};

use crate::campaign::answer;
use crate::contents::{self, Contents};
use crate::forms::SendAction;
use crate::view::CampaignView;

pub async fn send(
    door: In<Member>,
    campaign: Found<Campaign>,
    expected: IfMatch,
    action: Body<SendAction>,
) -> Result<Tagged<CampaignView>> {
    let (campaign, mut contents) = contents::read(&door.store, campaign.0).await?;
    expected.check(&campaign.etag())?;
    let campaign = match action.0 {
        SendAction::Start => start(&door, campaign, &mut contents).await?,
        SendAction::Pause => pause(&door, campaign, &expected).await?,
        SendAction::Resume => resume(&door, campaign, &expected, &mut contents).await?,
    };
    Ok(answer(&campaign, contents))
}

/// What it says is what was checked: an edit at the same moment makes the launch fail.
async fn start(door: &In<Member>, campaign: Campaign, contents: &mut Contents) -> Result<Campaign> {
    if campaign.status != CampaignStatus::Draft {
        return Err(Error::CampaignState("Only a draft can be launched."));
    }
    check(door, &campaign, contents).await?;
    let (store, now) = (&door.store, door.now());
    let copies = steps::copies(store, &contents.steps).await?;
    let launched = campaign.launched(now)?;
    let plan = CampaignPlan::new(campaign.id, now);
    let mut launching = door.while_there(store.transaction())?.replace(store, &launched, &campaign)?.create(
        store,
        &plan,
        conflict("This campaign was launched before."),
    )?;
    for step in CampaignStep::all_of(campaign.id, &contents.steps) {
        launching = launching.put(store, &copies.with(step))?;
    }
    launching = active::counted(launching, store, &launched, &campaign)?;
    launching = using(launching, door, sequence::templates(&contents.steps), 1)?;
    launching = wake(launching, door, &launched)?;
    launching.commit().await?;
    contents.plan = Some(plan);
    Ok(launched)
}

async fn pause(door: &In<Member>, campaign: Campaign, expected: &IfMatch) -> Result<Campaign> {
    let change = |campaign: &Campaign, transaction| {
        expected.check(&campaign.etag())?;
        let paused = campaign.paused(PausedBy::Manual, door.now())?;
        let transaction = active::counted(door.while_there(transaction)?, &door.store, &paused, campaign)?;
        Ok(Some((paused, transaction)))
    };
    door.store.edit(campaign, change).await
}

/// It asks for what a launch asks for.
async fn resume(door: &In<Member>, campaign: Campaign, expected: &IfMatch, contents: &mut Contents) -> Result<Campaign> {
    let is_paused = |campaign: &Campaign| match campaign.status {
        CampaignStatus::Paused => Ok(()),
        _ => Err(Error::CampaignState("Only a paused campaign can be resumed.")),
    };
    is_paused(&campaign)?;
    check(door, &campaign, contents).await?;
    let (store, now) = (&door.store, door.now());
    let plan = store.get(&CampaignPlan::key_of(campaign.id)).await?;
    let resumed = store
        .edit(campaign, |campaign, transaction| {
            expected.check(&campaign.etag())?;
            is_paused(campaign)?;
            let resumed = campaign.launched(now)?;
            let transaction = door.while_there(transaction)?.replace(store, &plan.resumed(&resumed, now), &plan)?;
            let transaction = active::counted(transaction, store, &resumed, campaign)?;
            Ok(Some((resumed.clone(), wake(transaction, door, &resumed)?)))
        })
        .await?;
    contents.plan = Some(plan.resumed(&resumed, now));
    Ok(resumed)
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
