//! Campaigns: list, create, read, change, copy, delete.

use std::collections::BTreeSet;

use records::campaign::{Campaign, CampaignChanges, CampaignId, CampaignStatus};
use records::deleted_campaign::DeletedCampaign;
use records::sequence;
use shared::Result;
use shared::http::answer::{Answer, Created, Listing, NoContent, Tagged};
use shared::http::arguments::{Body, Found, IfMatch, Offsets, Total};
use shared::http::idempotency::{Once, Ticket};
use shared::store::Direction;
use shared::tenancy::conflict;
use shared::tenancy::doors::{In, Member, Viewer};

use crate::contents::{self, Contents};
use crate::forms::{Changes, Config, Copy, Filters, NewCampaign};
use crate::launch;
use crate::view::{CampaignView, CreatedView, SummaryView};

/// Newest first.
pub async fn list(door: In<Viewer>, asked: Offsets<Filters>, total: Total<Campaign>) -> Result<Listing<SummaryView>> {
    let Offsets { filters, page } = asked;
    let list = Campaign::all().going(Direction::Descending);
    if filters.is_none() {
        let found = door.store.page(&list, &page.span(), |_| true).await?;
        return Ok(Listing { items: found.items.iter().map(SummaryView::of).collect(), total: total.count, page, next: found.next });
    }
    let found = door.store.ranked(&list, page.span(), |entry| filters.keep(&entry).then_some(())).await?;
    Ok(Listing { items: found.items.iter().map(SummaryView::of).collect(), total: found.total, page, next: found.next })
}

pub async fn create(door: In<Member>, once: Once<NewCampaign>) -> Result<Tagged<CreatedView, 201>> {
    let NewCampaign { name, changes } = once.body;
    let (id, zone) = (CampaignId::new(door.store.tag(), door.now(), door.store.random()), &door.workspace.settings.timezone);
    let campaign = Campaign::new(id, name, zone, door.now()).with(&changes, zone, door.now())?;
    contents::named_are_there(&door.store, &changes).await?;
    let contents = Contents { steps: changes.steps.unwrap_or_default(), audience: changes.audience.flatten(), plan: None };
    write(&door, &once.ticket, &campaign, &contents).await
}

pub async fn show(door: In<Viewer>, campaign: Found<Campaign>) -> Result<Tagged<CampaignView>> {
    let (campaign, contents) = contents::read(&door.store, campaign.0).await?;
    Ok(answer(&campaign, contents))
}

/// Settings are merged; sequence and audience are replaced as a whole.
pub async fn update(
    door: In<Member>,
    campaign: Found<Campaign>,
    expected: IfMatch,
    changes: Body<Changes>,
) -> Result<Tagged<CampaignView>> {
    changed(&door, campaign.0, &expected, &changes.0.0).await
}

pub async fn configure(
    door: In<Member>,
    campaign: Found<Campaign>,
    expected: IfMatch,
    settings: Body<Config>,
) -> Result<Tagged<CampaignView>> {
    let changes = CampaignChanges { settings: settings.0.0, ..CampaignChanges::default() };
    changed(&door, campaign.0, &expected, &changes).await
}

/// Of one that was launched, its recipients and waves are swept later. Nothing of it is sent any more.
pub async fn delete(door: In<Member>, campaign: Found<Campaign>, expected: IfMatch) -> Result<NoContent> {
    let (store, campaign) = (&door.store, campaign.0);
    expected.check(&campaign.etag())?;
    campaign.status.check_delete()?;
    // It uses its templates until it is completed.
    let (campaign, used) = match campaign.status {
        CampaignStatus::Paused => {
            let (campaign, contents) = contents::read(store, campaign).await?;
            let used = sequence::templates(&contents.steps);
            (campaign, used)
        }
        _ => (campaign, BTreeSet::new()),
    };
    let (status, mark) = (campaign.status, campaign.sequence.clone());
    store
        .remove(campaign, |campaign, transaction| {
            expected.check(&campaign.etag())?;
            campaign.status.check_delete()?;
            if campaign.status != status || (status == CampaignStatus::Paused && campaign.sequence != mark) {
                return Err(contents::being_changed());
            }
            let transaction = door.while_there(transaction)?.count(store, Campaign::COUNT, -1)?;
            let transaction = contents::remove(transaction, store, campaign)?;
            if status == CampaignStatus::Draft {
                return Ok(transaction);
            }
            launch::using(transaction.put(store, &DeletedCampaign::new(campaign.id, door.now()))?, &door, used.iter().copied(), -1)
        })
        .await?;
    Ok(NoContent)
}

/// A draft that says the same, whatever the state of the campaign.
pub async fn duplicate(door: In<Member>, campaign: Found<Campaign>, once: Once<Copy>) -> Result<Tagged<CreatedView, 201>> {
    let (campaign, contents) = contents::read(&door.store, campaign.0).await?;
    let id = CampaignId::new(door.store.tag(), door.now(), door.store.random());
    let name = once.body.name.unwrap_or_else(|| Campaign::copy_name(&campaign.name));
    write(&door, &once.ticket, &campaign.copied(id, name, door.now()), &contents).await
}

async fn changed(door: &In<Member>, found: Campaign, expected: &IfMatch, changes: &CampaignChanges) -> Result<Tagged<CampaignView>> {
    let saved = contents::save(door, found, expected, changes).await?;
    let (campaign, contents) = contents::read(&door.store, saved).await?;
    Ok(answer(&campaign, contents))
}

async fn write(door: &In<Member>, ticket: &Ticket, campaign: &Campaign, contents: &Contents) -> Result<Tagged<CreatedView, 201>> {
    let (outer, store) = (&door.outer, &door.store);
    let answer = Created::new("Campaign created", CreatedView::of(campaign)).tagged(campaign.etag());
    let transaction = ticket.record(store.transaction(), &outer.store, &answer)?;
    let transaction = door
        .while_there(transaction)?
        .count_many_within(store, Campaign::COUNT, 1, "campaigns", Campaign::MOST, &outer.tenant.plan)?
        .create(store, campaign, conflict("This campaign exists already."))?;
    contents::create(transaction, store, campaign, contents)?.commit().await?;
    Ok(answer)
}

pub fn answer(campaign: &Campaign, contents: Contents) -> Tagged<CampaignView> {
    let etag = campaign.etag_with(contents.plan.as_ref());
    Answer::new("Success", CampaignView::of(campaign, contents)).tagged(etag)
}
