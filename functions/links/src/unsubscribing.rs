//! What a recipient's wish to get no more mail changes: the suppression list of the workspace, the lead, its activity. All or nothing, and once.

use records::activity::{Activity, ActivityId, ActivityKind};
use records::campaign::CampaignId;
use records::lead::{Lead, LeadId};
use records::suppression::{Reason, Source, Suppression, SuppressionEntry, SuppressionId};
use shared::store::InWorkspace;
use shared::tenancy::doors::Recipient;
use shared::tenancy::{Transaction, conflict};
use shared::{Error, Result};

/// How often it is tried again when somebody else changes the same address.
const TRIES: usize = 5;

/// Where the lead or its workspace is gone, the address went with it, and nothing is written. The link names no address, so a lead that comes again with the
/// same one is another lead to it.
pub async fn unsubscribe(door: &Recipient) -> Result<()> {
    for _ in 0..TRIES {
        match once(door).await {
            Err(Error::Conflict(_)) => {}
            // It went at the same time.
            Err(Error::NotFound | Error::Missing(_)) => return Ok(()),
            done => return done,
        }
    }
    Err(Error::Conflict("This address is being changed by others. Try again.".into()))
}

async fn once(door: &Recipient) -> Result<()> {
    if door.workspace.is_none() {
        return Ok(());
    }
    let Some(lead) = door.store.find(&Lead::key_of(LeadId::from(door.link.mail.lead()))).await? else { return Ok(()) };
    let email = lead.email.clone();
    let before = door.store.find(&Suppression::<InWorkspace>::key_of(&email)).await?;
    let is_suppressed = before.as_ref().is_some_and(|before| before.current.is_some());
    door.store
        .edit(lead, |lead, transaction| {
            if lead.email.normalised() != email.normalised() {
                return Err(Error::Conflict("The lead has another address now.".into()));
            }
            let changed = lead.unsubscribed();
            if changed.is_none() && is_suppressed {
                return Ok(None);
            }
            let transaction = door.while_there(with_activity(door, lead, transaction)?)?;
            let transaction = if is_suppressed { transaction } else { suppressed(door, lead, transaction, before.as_ref())? };
            Ok(Some((changed.unwrap_or_else(|| lead.clone()).with_activity(), transaction)))
        })
        .await?;
    Ok(())
}

fn with_activity<'a>(door: &Recipient, lead: &Lead, transaction: Transaction<'a>) -> Result<Transaction<'a>> {
    let mail = &door.link.mail;
    let id = ActivityId::new(door.store.tag(), door.now(), door.store.random());
    let activity = Activity {
        campaign: Some(CampaignId::from(mail.campaign()).prefixed()),
        step: Some(mail.step()),
        ..Activity::new(id, lead.id, ActivityKind::Unsubscribed, door.now())
    };
    transaction.create(&door.store, &activity, conflict("This entry exists already."))
}

fn suppressed<'a>(
    door: &Recipient,
    lead: &Lead,
    transaction: Transaction<'a>,
    before: Option<&Suppression<InWorkspace>>,
) -> Result<Transaction<'a>> {
    let (store, now, random) = (&door.store, door.now(), door.store.random());
    let id = SuppressionId::new(store.tag(), now, random);
    let entry = SuppressionEntry::<InWorkspace>::new(id, lead.email.clone(), Reason::UserRequest, Source::Unsubscribe, None, now);
    entry.add_counted(transaction, (&door.outer, store), before)
}
