//! Enrols the leads of an audience, page by page. Who is on a page is written down first. Then each gets an enrolment, and at last their waves are
//! planned and the page is past, in one transaction. Whoever goes on after a death does the same again. The transaction also writes down who is on the
//! next page, if that follows at once: a write for each page less.

use std::collections::BTreeSet;

use engagement::audience::Reader;
use engagement::kept::while_kept;
use futures_util::{StreamExt, TryStreamExt, stream};
use records::admission::Refusal;
use records::audience::CampaignAudience;
use records::campaign::Campaign;
use records::campaign_plan::{CampaignPlan, Place, PlannedPage, SkippedLead};
use records::enrolment::{Enrolment, Turn};
use records::lead::{LeadId, LeadIds};
use records::sequence::{self, Next, Step};
use records::wave::Wave;
use shared::model::due::DueWork;
use shared::store::Entity;
use shared::tenancy::jobs::WorkContext;
use shared::tenancy::{TenantStore, WorkspaceStore, conflict};
use shared::{Error, Result};

/// Writes that are under way at the same time.
const AT_ONCE: usize = 32;

/// Enrols the next page, and gives the plan after it. `goes_on`: whether the page after it is enrolled at once, so that it is not decided long before.
pub async fn page(
    context: &WorkContext,
    (store, within): (&TenantStore, &WorkspaceStore),
    campaign: &Campaign,
    steps: &[Step],
    plan: CampaignPlan,
    goes_on: impl Fn() -> bool,
) -> Result<CampaignPlan> {
    let (plan, page) = match &plan.pending {
        Some(page) => (plan.clone(), page.clone()),
        None => planned(store, within, campaign, plan).await?,
    };
    let first = sequence::from(steps, 1, plan.started_at);
    let waves = plan.waves(&page, first);
    let mut enrolments: Vec<Enrolment> = vec![];
    for wave in &waves {
        let one = |lead: &LeadId| Enrolment::new(campaign.id, *lead, plan.page, wave.step, wave.id.clone(), context.now());
        enrolments.extend(wave.leads.0.iter().map(one));
    }
    if waves.is_empty() {
        // A sequence that begins with its end.
        let over = |lead: &LeadId| Enrolment::skipped(campaign.id, *lead, plan.page, "no_email".into(), None, context.now());
        enrolments.extend(page.leads.0.iter().map(over));
    }
    let skipped = page.skipped.iter().map(|skipped| {
        let SkippedLead { lead, reason, detail } = skipped.clone();
        Enrolment::skipped(campaign.id, lead, plan.page, reason, detail, context.now())
    });
    enrolments.extend(skipped);
    let all: Vec<LeadId> = enrolments.iter().map(|enrolment| enrolment.lead).collect();
    let theirs: Vec<Option<Enrolment>> =
        stream::iter(enrolments).map(|enrolment| enrolled(within, enrolment)).buffered(AT_ONCE).try_collect().await?;
    let theirs: Vec<Enrolment> = theirs.into_iter().flatten().filter(|enrolment| enrolment.page == plan.page).collect();
    let of_skipped: BTreeSet<LeadId> = page.skipped.iter().map(|skipped| skipped.lead).collect();
    let left_out = theirs.iter().filter(|enrolment| of_skipped.contains(&enrolment.lead)).count() as u64;
    let mut next = plan.past_page(page.next, theirs.len() as u64 - left_out, left_out);
    if !next.is_enrolled && goes_on() {
        next = next.with_page(decided(store, within, campaign, next.place).await?);
    }
    let mut planning = while_kept(within.transaction(), store, within)?.replace(within, &next, &plan)?;
    for wave in &waves {
        if let Some(wave) = without_others(wave, &theirs, context) {
            planning = planning.create(within, &wave, conflict("This wave exists."))?;
        }
    }
    if let Next::Step { due, .. } = first
        && due > context.now()
        && !page.leads.0.is_empty()
    {
        planning = planning.put(&context.directory, &DueWork::new(due, store.tenant_id(), campaign.id, context.app.random()))?;
    }
    match planning.commit().await {
        Ok(()) => Ok(next),
        Err(error @ (Error::NotFound | Error::Missing(_))) => {
            // The workspace is going. What was written here after its sweep would stay.
            for lead in all {
                match within.delete(&Enrolment::key_of(campaign.id, lead)).await {
                    Ok(()) | Err(Error::NotFound | Error::Missing(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            Err(error)
        }
        Err(error) => Err(error),
    }
}

/// Decides who is on the next page, and writes it down.
async fn planned(
    store: &TenantStore,
    within: &WorkspaceStore,
    campaign: &Campaign,
    plan: CampaignPlan,
) -> Result<(CampaignPlan, PlannedPage)> {
    let page = decided(store, within, campaign, plan.place).await?;
    let with_page = plan.with_page(page.clone());
    if !within.replace_if(&with_page, &plan).await? {
        return Err(overtaken());
    }
    Ok((with_page, page))
}

/// Who is on the page that begins there.
async fn decided(store: &TenantStore, within: &WorkspaceStore, campaign: &Campaign, place: Option<Place>) -> Result<PlannedPage> {
    let audience = within.find(&CampaignAudience::key_of(campaign.id)).await?;
    let Some(audience) = audience else { return Ok(PlannedPage { leads: LeadIds::default(), skipped: vec![], next: None }) };
    let reader = Reader::of(within, store, &campaign.settings, &audience.audience).await?;
    let read = reader.page(place, CampaignPlan::PAGE, &mut BTreeSet::new()).await?;
    let mut page = PlannedPage { leads: LeadIds::default(), skipped: vec![], next: read.next };
    for lead in read.leads {
        match lead.decision {
            Ok(()) => page.leads.0.push(lead.lead),
            // Its first naming counts.
            Err(Refusal::Duplicate) => {}
            Err(refusal) => {
                let detail = refusal.detail().map(|detail| short(&detail));
                page.skipped.push(SkippedLead { lead: lead.lead, reason: refusal.word().to_owned(), detail });
            }
        }
    }
    Ok(page)
}

/// All of a page lie in one item.
fn short(detail: &str) -> String {
    const LONGEST: usize = 200;
    if detail.len() <= LONGEST {
        return detail.to_owned();
    }
    format!("{}…", &detail[..detail.floor_char_boundary(LONGEST)])
}

/// The lead's enrolment, if it was not there already: then that one. `None`: it went at the same moment.
async fn enrolled(within: &WorkspaceStore, enrolment: Enrolment) -> Result<Option<Enrolment>> {
    match within.create(&enrolment, || Error::Conflict("It is there.".into())).await {
        Ok(()) => Ok(Some(enrolment)),
        Err(Error::Conflict(_)) => within.find(&enrolment.key()).await,
        Err(error) => Err(error),
    }
}

/// The wave without leads that another page has enrolled, or that have left already.
fn without_others(wave: &Wave, enrolments: &[Enrolment], context: &WorkContext) -> Option<Wave> {
    let is_own = |enrolment: &&Enrolment| enrolment.turn(&wave.id, wave.step, context.now()) == Turn::Go;
    let own: BTreeSet<LeadId> = enrolments.iter().filter(is_own).map(|enrolment| enrolment.lead).collect();
    let leads = wave.leads.0.iter().filter(|lead| own.contains(lead)).copied().collect();
    Wave::planned(wave.id.clone(), wave.campaign, wave.step, wave.due, leads)
}

/// Another job of the campaign was faster.
pub fn overtaken() -> Error {
    Error::Unavailable { doing: "advancing a campaign", cause: "another worker is at it".into() }
}
