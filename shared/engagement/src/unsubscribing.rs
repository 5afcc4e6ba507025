//! What a recipient's wish to get no more mail changes: the suppression list of the workspace, the leads concerned, their activity. All or nothing, and once,
//! whether it came by a link or by mail.

use records::activity::{Activity, ActivityId, ActivityKind};
use records::campaign::CampaignId;
use records::lead::{Lead, LeadEmail, LeadId};
use records::suppression::{Reason, Source, Suppression, SuppressionEntry, SuppressionId};
use shared::model::user::Email;
use shared::model::workspace::Workspace;
use shared::store::InWorkspace;
use shared::tenancy::{TenantStore, WorkspaceStore, conflict};
use shared::{Error, Result};

/// Who wants no more mail, and of which mail they say so.
#[derive(Clone, Copy)]
pub struct Wish<'a> {
    pub outer: &'a TenantStore,
    pub store: &'a WorkspaceStore,
    /// That the mail went to, or that the wish came from. `None`: nobody can say.
    pub address: Option<&'a Email>,
    pub lead: LeadId,
    pub campaign: CampaignId,
    /// `None`: of the campaign, whichever of its mails.
    pub step: Option<u32>,
}

/// How often it is tried again when somebody else changes the same address.
const TRIES: usize = 10;

/// The lead may be gone or have another address since: the wish holds for the address, for the lead that has it now, and for the one that the mail went
/// to. Where the workspace is gone, nothing is written.
pub async fn unsubscribe(wish: Wish<'_>) -> Result<()> {
    for _ in 0..TRIES {
        match once(wish).await {
            // A lead was changed, or went, at the same time.
            Err(Error::Conflict(_) | Error::NotFound | Error::Missing(_)) => {}
            // The workspace went.
            Err(Error::Gone) => return Ok(()),
            done => return done,
        }
    }
    Err(Error::Conflict("This address is being changed by others. Try again.".into()))
}

async fn once(wish: Wish<'_>) -> Result<()> {
    let Wish { outer, store, campaign, step, .. } = wish;
    let leads = concerned(wish).await?;
    let mut addresses: Vec<&Email> = wish.address.into_iter().collect();
    for lead in &leads {
        if addresses.iter().all(|known| known.normalised() != lead.email.normalised()) {
            addresses.push(&lead.email);
        }
    }
    let mut entries = vec![];
    for email in addresses {
        let before = store.find(&Suppression::<InWorkspace>::key_of(email)).await?;
        let id = SuppressionId::new(store.tag(), store.now(), store.random());
        let entry = SuppressionEntry::<InWorkspace>::new(id, email.clone(), Reason::UserRequest, Source::Unsubscribe, None, store.now());
        entries.push((entry, before));
    }
    entries.retain(|(entry, before)| entry.says_more(before.as_ref()));
    let added: Vec<_> = entries.iter().map(|(entry, before)| (entry, before.as_ref())).collect();
    let mut transaction = SuppressionEntry::add_all(&added, store.transaction(), (outer, store))?;
    for lead in &leads {
        let changed = lead.unsubscribed();
        let is_added = entries.iter().any(|(entry, _)| entry.email.normalised() == lead.email.normalised());
        if changed.is_none() && !is_added {
            continue;
        }
        let id = ActivityId::new(store.tag(), store.now(), store.random());
        let activity = Activity::new(id, lead.id, ActivityKind::Unsubscribed, store.now());
        let activity = Activity { campaign: Some(campaign.prefixed()), step, ..activity };
        let after = changed.unwrap_or_else(|| lead.clone()).with_activity();
        transaction = transaction.replace(store, &after, lead)?.create(store, &activity, conflict("This entry exists already."))?;
    }
    if transaction.is_empty() {
        return Ok(());
    }
    transaction.require(outer, &Workspace::key_of(store.tag()), Box::new(|_| Error::Gone))?.commit().await
}

/// The lead that the mail went to, and the one that has the address now.
async fn concerned(wish: Wish<'_>) -> Result<Vec<Lead>> {
    let Wish { store, .. } = wish;
    let mut leads: Vec<Lead> = store.find(&Lead::key_of(wish.lead)).await?.into_iter().collect();
    let Some(email) = wish.address else { return Ok(leads) };
    let holder = store.find(&LeadEmail::key_of(email)).await?.filter(|claim| claim.lead != wish.lead);
    if let Some(claim) = holder {
        let has_it = |lead: &Lead| lead.email.normalised() == email.normalised();
        leads.extend(store.find(&Lead::key_of(claim.lead)).await?.filter(has_it));
    }
    Ok(leads)
}
