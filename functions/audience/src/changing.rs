//! How a lead is written: with its address, its lists and its activity, in one transaction. What it leaves when it is deleted is erased after that.

use std::collections::BTreeSet;

use engagement::erasing::erase;
use engagement::lead_view::{existing, without_deleted};
use records::activity::{Activity, ActivityId};
use records::lead::{DeletedLead, Lead, LeadChanges, LeadEmail, LeadId};
use records::lead_list::{LeadList, LeadListId, LeadListMember};
use shared::model::workspace::Workspace;
use shared::tenancy::doors::{In, Member};
use shared::tenancy::{Refusal, Transaction, WorkspaceStore, conflict};
use shared::{Error, Result};

/// How often a change is tried again whose lists go at the same time.
const TRIES: usize = 5;
/// What a lead did is erased within the request that deletes it, if it is no more than this.
const ERASED: usize = 500;

/// Writes a new lead.
pub fn create<'a>(door: &'a In<Member>, transaction: Transaction<'a>, lead: &Lead) -> Result<Transaction<'a>> {
    let transaction = door
        .while_there(transaction)?
        .create(&door.store, &LeadEmail { email: lead.email.clone(), lead: lead.id }, taken())?
        .count_within(&door.outer.store, Lead::QUOTA, &door.outer.plan, &door.outer.tenant.plan)?
        .count(&door.store, Workspace::LEADS, 1)?
        .create(&door.store, lead, conflict("This lead exists already."))?;
    lead.lists.iter().try_fold(transaction, |transaction, list| join(transaction, &door.store, lead.id, *list))
}

/// Edits a lead, from `lead` as it was read, by what `change` says of it as it is then. `named` are the lists that the change may put it on.
/// The result is as it is shown.
pub async fn edit(
    door: &In<Member>,
    lead: Lead,
    named: &[LeadListId],
    change: impl Fn(&Lead) -> Result<LeadChanges> + Send + Sync,
) -> Result<Lead> {
    let mut lead = lead;
    for _ in 0..TRIES {
        let asked: BTreeSet<LeadListId> = lead.lists.iter().chain(named).copied().collect();
        let there = existing(&door.store, asked.iter().copied()).await?;
        if named.iter().any(|list| !there.contains(list)) {
            return Err(Error::Missing(LeadList::NOUN));
        }
        let one = |lead: &Lead, transaction| {
            if lead.lists.iter().any(|list| !asked.contains(list)) {
                // Somebody put it on another list meanwhile.
                return Err(Error::Missing(LeadList::NOUN));
            }
            let shown = without_deleted(lead, &there);
            let Some(changed) = shown.changed(&change(&shown)?, door.now())? else { return Ok(None) };
            written(door, transaction, lead, changed, &there).map(Some)
        };
        match door.store.edit(lead.clone(), one).await {
            // A list went at the same time.
            Err(Error::Missing(LeadList::NOUN)) => lead = door.store.get(&Lead::key_of(lead.id)).await?,
            edited => return edited.map(|lead| without_deleted(&lead, &there)),
        }
    }
    Err(Error::contested())
}

/// What an edit writes with the lead: its claim to another address, the lists it comes on and leaves, and its change of status.
fn written<'a>(
    door: &'a In<Member>,
    transaction: Transaction<'a>,
    before: &Lead,
    after: Lead,
    existing: &BTreeSet<LeadListId>,
) -> Result<(Lead, Transaction<'a>)> {
    let (store, mut after, mut transaction) = (&door.store, after, transaction);
    if before.email.normalised() != after.email.normalised() {
        transaction = transaction
            .create(store, &LeadEmail { email: after.email.clone(), lead: after.id }, taken())?
            .remove(store, &LeadEmail::key_of(&before.email))?;
    }
    for list in after.lists.iter().filter(|list| !before.lists.contains(list)) {
        transaction = join(transaction, store, after.id, *list)?;
    }
    for list in before.lists.iter().filter(|list| !after.lists.contains(list)) {
        transaction = leave(transaction, store, after.id, *list, existing)?;
    }
    let id = ActivityId::new(store.tag(), door.now(), store.random());
    if let Some(activity) = Activity::of_edit(id, before, &after, door.outer.member.person(), door.now()) {
        transaction = transaction.create(store, &activity, conflict("This entry exists already."))?;
        after = after.with_activity();
    }
    if !transaction.is_empty() {
        transaction = door.while_there(transaction)?;
    }
    Ok((after, transaction))
}

/// Deletes a lead with all that is its own; much of it a moment later. `check` is asked of it as it is then.
pub async fn delete(door: &In<Member>, lead: Lead, check: impl Fn(&Lead) -> Result<()> + Send + Sync) -> Result<()> {
    let (store, id, mut lead) = (&door.store, lead.id, lead);
    for _ in 0..TRIES {
        let asked = lead.lists.clone();
        let there = existing(store, asked.iter().copied()).await?;
        let also = |lead: &Lead, transaction| {
            // As it is shown, with the entity tag of that.
            check(&without_deleted(lead, &there))?;
            if lead.lists.iter().any(|list| !asked.contains(list)) {
                return Err(Error::Missing(LeadList::NOUN));
            }
            let transaction = door
                .while_there(transaction)?
                .remove(store, &LeadEmail::key_of(&lead.email))?
                .count(&door.outer.store, Workspace::PEOPLE, -1)?
                .count(store, Workspace::LEADS, -1)?
                .put(store, &DeletedLead::of(lead, door.now()))?;
            lead.lists.iter().try_fold(transaction, |transaction, list| leave(transaction, store, id, *list, &there))
        };
        match store.remove(lead.clone(), also).await {
            Err(Error::Missing(LeadList::NOUN)) => lead = store.get(&Lead::key_of(id)).await?,
            Err(error) => return Err(error),
            Ok(()) => {
                if let Err(error) = erase_some(store, id).await {
                    // The lead is gone, and its note says what is left.
                    tracing::warn!(%error, "what a deleted lead did is left for the janitor");
                }
                return Ok(());
            }
        }
    }
    Err(Error::contested())
}

/// By the note, which has the address that the lead had last.
async fn erase_some(store: &WorkspaceStore, lead: LeadId) -> Result<()> {
    if let Some(gone) = store.find(&DeletedLead::key_of(lead)).await? {
        erase(store, &gone, ERASED).await?;
    }
    Ok(())
}

fn join<'a>(transaction: Transaction<'a>, store: &WorkspaceStore, lead: LeadId, list: LeadListId) -> Result<Transaction<'a>> {
    transaction.adjust(store, &LeadList::key_of(list), &[("members", 1)], no_list())?.put(store, &LeadListMember { list, lead })
}

fn leave<'a>(
    transaction: Transaction<'a>,
    store: &WorkspaceStore,
    lead: LeadId,
    list: LeadListId,
    existing: &BTreeSet<LeadListId>,
) -> Result<Transaction<'a>> {
    let transaction = match existing.contains(&list) {
        true => transaction.adjust(store, &LeadList::key_of(list), &[("members", -1)], no_list())?,
        false => transaction,
    };
    transaction.remove(store, &LeadListMember::key_of(list, lead))
}

fn taken() -> Refusal {
    conflict("A lead of this workspace has this e-mail already.")
}

fn no_list() -> Refusal {
    Box::new(|_| Error::Missing(LeadList::NOUN))
}
