//! Leads that a person puts among those who wait: enrolled by hand, or tried once more. Each part is one transaction, which also moves the campaign: its end,
//! which is decided elsewhere at the same moment, then does not come.

use std::collections::{BTreeMap, BTreeSet};

use engagement::audience::Reader;
use jiff::Timestamp;
use records::audience::{Audience, Chosen, Exclusions};
use records::campaign::Campaign;
use records::campaign_plan::CampaignPlan;
use records::enrolment::Enrolment;
use records::lead::{Lead, LeadId};
use records::sequence::{self, Next};
use records::wave::{Wave, WaveId};
use serde::Serialize;
use shared::http::answer::Answer;
use shared::http::arguments::{Body, Found};
use shared::http::idempotency::Once;
use shared::store::Span;
use shared::tenancy::doors::{In, Member};
use shared::tenancy::{Transaction, conflict, missing};
use shared::{Error, Result};

use crate::contents;
use crate::forms::{Addition, Retried, Retry};
use crate::recipient::{TRIES, planned};

/// Leads that one request changes.
const MOST: usize = 100;
/// Leads of one transaction: with their waves, notes and an answer, it has room for so many.
const AT_ONCE: usize = 2 * Wave::MOST;

/// What became of leads that were named.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = RecipientsAdded)]
pub struct AddedView {
    enrolled: u64,
    /// How many get no mail, by reason. They can be added once the reason is gone.
    #[schema(value_type = BTreeMap<String, u64>)]
    skipped: BTreeMap<&'static str, u64>,
    /// They have a place in the campaign, and keep it as it is.
    already: u64,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = RecipientsRetried)]
pub struct RetriedView {
    /// How many wait for their mail again.
    retried: u64,
    /// Whether there were more than one request takes.
    has_more: bool,
}

/// The same request again changes nothing more, so its answer is kept after its effect.
pub async fn add(door: In<Member>, campaign: Found<Campaign>, body: Body<Addition>) -> Result<Answer<AddedView>> {
    let (store, campaign, named) = (&door.store, campaign.0, body.0.leads);
    campaign.check_waiting()?;
    let keys: Vec<_> = named.iter().copied().map(Lead::key_of).collect();
    if store.find_many(&keys).await?.len() < keys.len() {
        return Err(Error::Missing(Lead::NOUN));
    }
    let (mut campaign, contents) = contents::read(store, campaign).await?;
    let Next::Step { number, due } = sequence::from(&contents.steps, 1, door.now()) else {
        return Err(Error::CampaignState("The sequence of this campaign has no mail."));
    };
    let others = others(&door, &campaign, &named).await?;
    let mut view = AddedView { enrolled: 0, skipped: BTreeMap::new(), already: (named.len() - others.len()) as u64 };
    let exclude = contents.audience.map_or_else(Exclusions::default, |audience| audience.exclude);
    let audience = Audience { of: Chosen::Leads(others), exclude };
    let page = Reader::of(store, &door.outer.store, &campaign.settings, &audience).await?.page(None, MOST, &mut BTreeSet::new()).await?;
    let mut admitted = vec![];
    for lead in page.leads {
        match lead.decision {
            Ok(()) => admitted.push(lead.lead),
            Err(refusal) => *view.skipped.entry(refusal.word()).or_default() += 1,
        }
    }
    for leads in admitted.chunks(AT_ONCE) {
        let enrolled = enrol(&door, &mut campaign, leads, (number, due)).await?;
        view.enrolled += enrolled;
        view.already += leads.len() as u64 - enrolled;
    }
    Ok(Answer::new("Success", view))
}

/// A mail of which nobody knows may come a second time: whoever asks for it wants that, but once for each request. So it is as many as go into one
/// transaction, with the answer.
pub async fn retry(door: In<Member>, campaign: Found<Campaign>, once: Once<Retry>) -> Result<Answer<RetriedView>> {
    let (store, mut campaign, Retry { outcome, leads }) = (&door.store, campaign.0, once.body);
    campaign.check_waiting()?;
    let of_outcome = outcome.outcome();
    let (mut found, has_more) = match leads {
        Some(named) => {
            let keys: Vec<_> = named.iter().map(|lead| Enrolment::key_of(campaign.id, *lead)).collect();
            let mut found = store.find_many(&keys).await?;
            if found.len() < keys.len() {
                return Err(Error::Missing("Recipient"));
            }
            found.retain(|enrolment| enrolment.outcome() == of_outcome);
            let has_more = found.len() > AT_ONCE;
            found.truncate(AT_ONCE);
            (found, has_more)
        }
        None => {
            let list = Enrolment::of_campaign(campaign.id);
            let found = store.ranked(&list, Span::first(AT_ONCE), |own| (own == of_outcome).then_some(())).await?;
            (found.items, found.next.is_some())
        }
    };
    // Few waves, where many are at the same step.
    found.sort_by_key(|enrolment| enrolment.step);
    let answer = |retried| Answer::new("Success", RetriedView { retried, has_more });
    let record = |transaction, retried| once.ticket.record(transaction, &door.outer.store, &answer(retried));
    let retried = try_again(&door, &mut campaign, found, outcome, record).await?;
    Ok(answer(retried))
}

/// Those of the leads that have no place in the campaign.
async fn others(door: &In<Member>, campaign: &Campaign, leads: &[LeadId]) -> Result<Vec<LeadId>> {
    let keys: Vec<_> = leads.iter().map(|lead| Enrolment::key_of(campaign.id, *lead)).collect();
    let there: BTreeSet<LeadId> = door.store.find_many(&keys).await?.into_iter().map(|enrolment| enrolment.lead).collect();
    Ok(leads.iter().filter(|lead| !there.contains(lead)).copied().collect())
}

/// Enrols those of the leads that nobody else enrols at the same moment, and says how many.
async fn enrol(door: &In<Member>, campaign: &mut Campaign, leads: &[LeadId], (number, due): (u32, Timestamp)) -> Result<u64> {
    let (store, mut leads) = (&door.store, leads.to_vec());
    for _ in 0..TRIES {
        campaign.check_waiting()?;
        let (moved, count) = (campaign.moved(|_| {}), i64::try_from(leads.len()).unwrap_or(0));
        // With another version, so that no one who has read the plan before writes over the count.
        let counted = [("enrolled", count), ("version", 1)];
        let mut enrolling = door.while_there(store.transaction())?.replace(store, &moved, campaign)?.adjust(
            store,
            &CampaignPlan::key_of(campaign.id),
            &counted,
            missing(),
        )?;
        let mut waves = vec![];
        for some in leads.chunks(Wave::MOST) {
            let id = WaveId::new(store.random());
            for lead in some {
                let enrolment = Enrolment::new(campaign.id, *lead, 0, number, id.clone(), door.now());
                enrolling = enrolling.create(store, &enrolment, conflict("This recipient exists."))?;
            }
            waves.extend(Wave::planned(id, campaign.id, number, due, some.to_vec()).map(Wave::first));
        }
        enrolling = planned(enrolling, door, &waves)?;
        match enrolling.commit().await {
            Err(Error::Conflict(_)) => {
                *campaign = store.get(&Campaign::key_of(campaign.id)).await?;
                leads = others(door, campaign, &leads).await?;
                if leads.is_empty() {
                    return Ok(0);
                }
            }
            Err(error) => return Err(error),
            Ok(()) => {
                *campaign = moved;
                return Ok(leads.len() as u64);
            }
        }
    }
    Err(contents::being_changed())
}

/// Puts those that still have the outcome into waves of the step that they are at, and says how many. `record`: what is written first, by how many.
async fn try_again<'a>(
    door: &'a In<Member>,
    campaign: &mut Campaign,
    enrolments: Vec<Enrolment>,
    outcome: Retried,
    record: impl Fn(Transaction<'a>, u64) -> Result<Transaction<'a>>,
) -> Result<u64> {
    let (store, mut enrolments) = (&door.store, enrolments);
    for _ in 0..TRIES {
        campaign.check_waiting()?;
        enrolments.retain(|enrolment| enrolment.outcome() == outcome.outcome());
        if enrolments.is_empty() {
            record(store.transaction(), 0)?.commit().await?;
            return Ok(0);
        }
        let moved = campaign.moved(|numbers| match outcome {
            Retried::Failed => numbers.failed = numbers.failed.saturating_sub(enrolments.len() as u64),
            Retried::Unknown => numbers.unknown -= i64::try_from(enrolments.len()).unwrap_or(0),
        });
        let recorded = record(store.transaction(), enrolments.len() as u64)?;
        let mut trying = door.while_there(recorded)?.replace(store, &moved, campaign)?;
        let mut waves = vec![];
        for of_step in enrolments.chunk_by(|one, other| one.step == other.step) {
            for some in of_step.chunks(Wave::MOST) {
                let id = WaveId::new(store.random());
                for enrolment in some {
                    trying = trying.replace(store, &enrolment.waiting_in(&id), enrolment)?;
                }
                let leads = some.iter().map(|enrolment| enrolment.lead).collect();
                waves.extend(Wave::planned(id, campaign.id, some[0].step, door.now(), leads));
            }
        }
        trying = planned(trying, door, &waves)?;
        match trying.commit().await {
            Err(Error::Conflict(_)) => {
                let keys: Vec<_> = enrolments.iter().map(|one| Enrolment::key_of(campaign.id, one.lead)).collect();
                let campaign_key = Campaign::key_of(campaign.id);
                (*campaign, enrolments) = tokio::try_join!(store.get(&campaign_key), store.find_many(&keys))?;
            }
            Err(error) => return Err(error),
            Ok(()) => {
                *campaign = moved;
                return Ok(enrolments.len() as u64);
            }
        }
    }
    Err(contents::being_changed())
}
