//! The steps and the audience of a campaign, which lie apart from it: read, checked for what they name, and written with it.

use std::collections::BTreeSet;

use engagement::launch::of_contents;
use engagement::steps::{self, Copies};
use records::audience::{Audience, CampaignAudience, Chosen};
use records::campaign::{Campaign, CampaignChanges, CampaignStatus};
use records::lead::Lead;
use records::lead_list::LeadList;
use records::segment::Segment;
use records::sequence::{self, CampaignStep, SequenceMark, Step};
use records::template::Template;
use shared::error::Lack;
use shared::http::arguments::IfMatch;
use shared::store::{Entity, InWorkspace, Key, Record};
use shared::tenancy::doors::{In, Member};
use shared::tenancy::{Transaction, WorkspaceStore};
use shared::{Error, Result};

use crate::launch;

#[derive(Debug, Clone)]
pub struct Contents {
    pub steps: Vec<Step>,
    pub audience: Option<Audience>,
}

/// How often what lies apart is read again, when it was changed between two reads.
const TRIES: usize = 5;

/// Reads them, with the campaign to which they belong: a newer one, if it was changed after it was found.
pub async fn read(store: &WorkspaceStore, found: Campaign) -> Result<(Campaign, Contents)> {
    let mut campaign = found;
    for _ in 0..TRIES {
        let (steps, audience) = tokio::try_join!(steps_of(store, &campaign), audience_of(store, &campaign))?;
        if campaign.holds(&steps, audience.as_ref()) {
            return Ok((campaign, Contents { steps, audience }));
        }
        campaign = store.get(&Campaign::key_of(campaign.id)).await?;
    }
    Err(Error::Conflict("The campaign is being changed by others. Try again.".into()))
}

async fn steps_of(store: &WorkspaceStore, campaign: &Campaign) -> Result<Vec<Step>> {
    if campaign.sequence.steps == 0 {
        return Ok(vec![]);
    }
    Ok(store.all(&CampaignStep::of_campaign(campaign.id)).await?.into_iter().map(|step| step.step).collect())
}

async fn audience_of(store: &WorkspaceStore, campaign: &Campaign) -> Result<Option<Audience>> {
    if campaign.audience.is_none() {
        return Ok(None);
    }
    Ok(store.find(&CampaignAudience::key_of(campaign.id)).await?.map(|found| found.audience))
}

/// All that a request names must be in the workspace: templates, lists, leads, segments, campaigns.
pub async fn named_are_there(store: &WorkspaceStore, changes: &CampaignChanges) -> Result<()> {
    let steps = changes.steps.as_deref().unwrap_or_default();
    let audience = changes.audience.as_ref().and_then(|audience| audience.as_ref());
    let of_audience = |lists: fn(&Audience) -> Vec<_>| audience.map(lists).unwrap_or_default();
    let lists: BTreeSet<_> = sequence::lists(steps).into_iter().chain(of_audience(Audience::lists)).collect();
    let segments: BTreeSet<_> = audience.map(Audience::segments).unwrap_or_default().into_iter().collect();
    let leads = match audience.map(|audience| &audience.of) {
        Some(Chosen::Leads(leads)) => leads.as_slice(),
        _ => &[],
    };
    let campaigns = audience.map(|audience| audience.exclude.campaigns.as_slice()).unwrap_or_default();
    all_there(store, sequence::templates(steps).into_iter().map(Template::key_of)).await?;
    all_there(store, lists.into_iter().map(LeadList::key_of)).await?;
    all_there(store, leads.iter().copied().map(Lead::key_of)).await?;
    all_there(store, segments.into_iter().map(Segment::key_of)).await?;
    all_there(store, campaigns.iter().copied().map(Campaign::key_of)).await
}

async fn all_there<E: Entity<Scope = InWorkspace>>(store: &WorkspaceStore, keys: impl Iterator<Item = Key<E>>) -> Result<()> {
    let keys: Vec<Key<E>> = keys.collect();
    let found = store.find_many(&keys).await?;
    if found.len() == keys.len() { Ok(()) } else { Err(E::NOUN.map_or(Error::NotFound, Error::Missing)) }
}

/// Writes what an edit makes of a campaign.
pub async fn save(door: &In<Member>, found: Campaign, expected: &IfMatch, changes: &CampaignChanges) -> Result<Campaign> {
    // What the campaign itself forbids comes before what the change names.
    expected.check(&found.etag())?;
    found.status.check_edit()?;
    named_are_there(&door.store, changes).await?;
    let (found, rewritten) = Rewritten::of(door, found, changes).await?;
    let zone = &door.workspace.settings.timezone;
    door.store
        .edit(found, |campaign, transaction| {
            expected.check(&campaign.etag())?;
            let Some(changed) = campaign.changed(changes, zone, door.now())? else { return Ok(None) };
            let steps = changes.steps.as_deref().filter(|_| changed.sequence != campaign.sequence);
            let audience = changes.audience.as_ref().filter(|_| changed.audience != campaign.audience);
            let mut transaction = transaction;
            if steps.is_some() || audience.is_some() {
                transaction = door.while_there(transaction)?;
            }
            if let Some(steps) = steps {
                transaction = rewritten.write(transaction, door, campaign, steps)?;
            }
            if let Some(audience) = audience {
                transaction = with_audience(transaction, &door.store, &changed, audience.as_ref())?;
            }
            // What its mails wait for may be another now.
            if matches!(changed.status, CampaignStatus::Active | CampaignStatus::Scheduled) {
                transaction = launch::wake(transaction, door, &changed)?;
            }
            Ok(Some((changed, transaction)))
        })
        .await
}

/// Steps that replace others, and what those of a launched campaign need for it.
struct Rewritten {
    /// Of a campaign that was launched when they were read.
    before: Option<Vec<Step>>,
    /// The campaign's steps when they were read.
    mark: SequenceMark,
    copies: Copies,
}

impl Rewritten {
    async fn of(door: &In<Member>, found: Campaign, changes: &CampaignChanges) -> Result<(Campaign, Self)> {
        let store = &door.store;
        let Some(steps) = changes.steps.as_deref().filter(|_| found.status.is_launched()) else {
            let mark = found.sequence.clone();
            return Ok((found, Rewritten { before: None, mark, copies: Copies::default() }));
        };
        let (found, contents) = read(store, found).await?;
        // A step that has nothing to say would stop those who come to it.
        let problems = of_contents(store, &door.workspace.settings, &found, steps).await?;
        launch::refuse(problems.iter().find(|problem| matches!(problem.lack(), Lack::Emails | Lack::Template)))?;
        let (mark, copies) = (found.sequence.clone(), steps::copies(store, steps).await?);
        Ok((found, Rewritten { before: Some(contents.steps), mark, copies }))
    }

    fn write<'a>(&self, transaction: Transaction<'a>, door: &In<Member>, campaign: &Campaign, steps: &[Step]) -> Result<Transaction<'a>> {
        if !campaign.status.is_launched() {
            return with_steps(transaction, &door.store, campaign, steps, &Copies::default());
        }
        let Some(was) = self.before.as_deref().filter(|_| campaign.sequence == self.mark) else {
            return Err(Error::Conflict("The campaign is being changed by others. Try again.".into()));
        };
        if campaign.launched_at.is_some() && !sequence::continues(was, steps) {
            return Err(Error::CampaignState(
                "A launched campaign keeps its steps: their texts, waits and rules can be changed, and steps can be added at the end.",
            ));
        }
        let (before, after) = (sequence::templates(was), sequence::templates(steps));
        let transaction = launch::using(transaction, door, after.difference(&before).copied(), 1)?;
        let transaction = launch::using(transaction, door, before.difference(&after).copied(), -1)?;
        with_steps(transaction, &door.store, campaign, steps, &self.copies)
    }
}

/// Adds what lies apart from a new campaign to the transaction that creates it.
pub fn create<'a>(
    transaction: Transaction<'a>,
    store: &WorkspaceStore,
    campaign: &Campaign,
    contents: &Contents,
) -> Result<Transaction<'a>> {
    let transaction = with_steps(transaction, store, campaign, &contents.steps, &Copies::default())?;
    match &contents.audience {
        Some(audience) => with_audience(transaction, store, campaign, Some(audience)),
        None => Ok(transaction),
    }
}

/// Adds the removal of what lies apart from a campaign to the transaction that deletes it.
pub fn remove<'a>(transaction: Transaction<'a>, store: &WorkspaceStore, campaign: &Campaign) -> Result<Transaction<'a>> {
    let transaction = with_steps(transaction, store, campaign, &[], &Copies::default())?;
    match campaign.audience {
        Some(_) => with_audience(transaction, store, campaign, None),
        None => Ok(transaction),
    }
}

/// These steps in place of those that the campaign has.
fn with_steps<'a>(
    transaction: Transaction<'a>,
    store: &WorkspaceStore,
    before: &Campaign,
    steps: &[Step],
    copies: &Copies,
) -> Result<Transaction<'a>> {
    let steps: Vec<CampaignStep> = CampaignStep::all_of(before.id, steps).into_iter().map(|step| copies.with(step)).collect();
    let transaction = steps.iter().try_fold(transaction, |transaction, step| transaction.put(store, step))?;
    let beyond = sequence::number_of(steps.len())..=before.sequence.steps;
    beyond.map(|number| CampaignStep::key_of(before.id, number)).try_fold(transaction, |transaction, key| transaction.remove(store, &key))
}

fn with_audience<'a>(
    transaction: Transaction<'a>,
    store: &WorkspaceStore,
    campaign: &Campaign,
    audience: Option<&Audience>,
) -> Result<Transaction<'a>> {
    match audience {
        Some(audience) => transaction.put(store, &CampaignAudience { campaign: campaign.id, audience: audience.clone() }),
        None => transaction.remove(store, &CampaignAudience::key_of(campaign.id)),
    }
}
