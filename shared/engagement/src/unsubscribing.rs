//! What a recipient's wish to get no more mail changes: the suppression list of the workspace, the lead, its activity. All or nothing, and once, whether it
//! came by a link or by mail.

use records::activity::{Activity, ActivityId, ActivityKind};
use records::campaign::CampaignId;
use records::lead::{Lead, LeadId};
use records::suppression::{Reason, Source, Suppression, SuppressionEntry, SuppressionId};
use shared::model::workspace::Workspace;
use shared::store::InWorkspace;
use shared::tenancy::{TenantStore, Transaction, WorkspaceStore, conflict, missing};
use shared::{Error, Result};

/// Who wants no more mail, and of which mail they say so.
#[derive(Clone, Copy)]
pub struct Wish<'a> {
    pub outer: &'a TenantStore,
    pub store: &'a WorkspaceStore,
    pub lead: LeadId,
    pub campaign: CampaignId,
    /// `None`: of the campaign, whichever of its mails.
    pub step: Option<u32>,
}

/// How often it is tried again when somebody else changes the same address.
const TRIES: usize = 5;

/// Where the lead or its workspace is gone, the address went with it, and nothing is written. The wish names no address, so a lead that comes again with the
/// same one is another lead to it.
pub async fn unsubscribe(wish: Wish<'_>) -> Result<()> {
    for _ in 0..TRIES {
        match once(wish).await {
            Err(Error::Conflict(_)) => {}
            // It went at the same time.
            Err(Error::NotFound | Error::Missing(_)) => return Ok(()),
            done => return done,
        }
    }
    Err(Error::Conflict("This address is being changed by others. Try again.".into()))
}

async fn once(wish: Wish<'_>) -> Result<()> {
    let store = wish.store;
    let Some(lead) = store.find(&Lead::key_of(wish.lead)).await? else { return Ok(()) };
    let email = lead.email.clone();
    let before = store.find(&Suppression::<InWorkspace>::key_of(&email)).await?;
    let id = SuppressionId::new(store.tag(), store.now(), store.random());
    let entry = SuppressionEntry::<InWorkspace>::new(id, email.clone(), Reason::UserRequest, Source::Unsubscribe, None, store.now());
    store
        .edit(lead, |lead, transaction| {
            if lead.email.normalised() != email.normalised() {
                return Err(Error::Conflict("The lead has another address now.".into()));
            }
            let changed = lead.unsubscribed();
            if changed.is_none() && !entry.says_more(before.as_ref()) {
                return Ok(None);
            }
            let there = Workspace::key_of(store.tag());
            let transaction = with_activity(wish, lead, transaction)?.require(wish.outer, &there, missing())?;
            let transaction = entry.add_counted(transaction, (wish.outer, store), before.as_ref())?;
            Ok(Some((changed.unwrap_or_else(|| lead.clone()).with_activity(), transaction)))
        })
        .await?;
    Ok(())
}

fn with_activity<'a>(wish: Wish<'_>, lead: &Lead, transaction: Transaction<'a>) -> Result<Transaction<'a>> {
    let Wish { store, campaign, step, .. } = wish;
    let id = ActivityId::new(store.tag(), store.now(), store.random());
    let activity =
        Activity { campaign: Some(campaign.prefixed()), step, ..Activity::new(id, lead.id, ActivityKind::Unsubscribed, store.now()) };
    transaction.create(store, &activity, conflict("This entry exists already."))
}
