//! The steps and the audience of a campaign, which lie apart from it: read, checked for what they name, and written with it.

use std::collections::BTreeSet;

use records::audience::{Audience, CampaignAudience, Chosen};
use records::campaign::{Campaign, CampaignChanges};
use records::lead::Lead;
use records::lead_list::LeadList;
use records::segment::Segment;
use records::sequence::{self, CampaignStep, Step};
use records::template::Template;
use shared::http::arguments::IfMatch;
use shared::store::{Entity, InWorkspace, Key, Record};
use shared::tenancy::doors::{In, Member};
use shared::tenancy::{Transaction, WorkspaceStore};
use shared::{Error, Result};

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
    let zone = &door.workspace.settings.timezone;
    door.store
        .edit(found, |campaign, transaction| {
            expected.check(&campaign.etag())?;
            let Some(changed) = campaign.changed(changes, zone, door.now())? else { return Ok(None) };
            let steps = changes.steps.as_deref().filter(|_| changed.sequence != campaign.sequence);
            let audience = changes.audience.as_ref().filter(|_| changed.audience != campaign.audience);
            if steps.is_none() && audience.is_none() {
                return Ok(Some((changed, transaction)));
            }
            let mut transaction = door.while_there(transaction)?;
            if let Some(steps) = steps {
                transaction = with_steps(transaction, &door.store, campaign, steps)?;
            }
            if let Some(audience) = audience {
                transaction = with_audience(transaction, &door.store, &changed, audience.as_ref())?;
            }
            Ok(Some((changed, transaction)))
        })
        .await
}

/// Adds what lies apart from a new campaign to the transaction that creates it.
pub fn create<'a>(
    transaction: Transaction<'a>,
    store: &WorkspaceStore,
    campaign: &Campaign,
    contents: &Contents,
) -> Result<Transaction<'a>> {
    let transaction = with_steps(transaction, store, campaign, &contents.steps)?;
    match &contents.audience {
        Some(audience) => with_audience(transaction, store, campaign, Some(audience)),
        None => Ok(transaction),
    }
}

/// Adds the removal of what lies apart from a campaign to the transaction that deletes it.
pub fn remove<'a>(transaction: Transaction<'a>, store: &WorkspaceStore, campaign: &Campaign) -> Result<Transaction<'a>> {
    let transaction = with_steps(transaction, store, campaign, &[])?;
    match campaign.audience {
        Some(_) => with_audience(transaction, store, campaign, None),
        None => Ok(transaction),
    }
}

/// These steps in place of those that the campaign has.
fn with_steps<'a>(transaction: Transaction<'a>, store: &WorkspaceStore, before: &Campaign, steps: &[Step]) -> Result<Transaction<'a>> {
    let steps = CampaignStep::all_of(before.id, steps);
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
