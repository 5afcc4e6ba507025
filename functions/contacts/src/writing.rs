//! How a contact is written: with its peer and its groups, in one transaction.

use std::collections::BTreeSet;
use std::time::Duration;

use records::contact::{Contact, ContactChanges, ContactId};
use records::contact_group::{ContactGroup, ContactGroupId, ContactGroupMember};
use records::lead::Lead;
use records::peer::Peer;
use shared::model::workspace::Workspace;
use shared::store::Record;
use shared::tenancy::doors::Member;
use shared::tenancy::{Refusal, TenantStore, Transaction, conflict};
use shared::{Error, Result};

/// How often a change is tried again whose groups or peer change at the same time.
const TRIES: usize = 5;
/// The same where messages and consents write to the number, too.
const TRIES_AT_NUMBER: u32 = 15;
/// For each try that failed, the longest pause before the next.
const PAUSE: Duration = Duration::from_millis(5);

/// Which of these groups are there.
pub async fn existing(store: &TenantStore, groups: impl IntoIterator<Item = ContactGroupId>) -> Result<BTreeSet<ContactGroupId>> {
    let asked: BTreeSet<ContactGroupId> = groups.into_iter().collect();
    let keys: Vec<_> = asked.into_iter().map(ContactGroup::key_of).collect();
    Ok(store.find_many(&keys).await?.into_iter().map(|group| group.id).collect())
}

/// The contact without groups that were deleted: as it is shown, and as its next edit writes it.
pub fn without_deleted(contact: &Contact, existing: &BTreeSet<ContactGroupId>) -> Contact {
    let mut shown = contact.clone();
    shown.groups.retain(|group| existing.contains(group));
    shown
}

/// Writes a new contact, and what `record` adds before it.
pub async fn create(
    door: &Member,
    contact: &Contact,
    record: impl for<'a> Fn(Transaction<'a>) -> Result<Transaction<'a>> + Send + Sync,
) -> Result<()> {
    let store = &door.store;
    // Of most numbers nothing is known before.
    let mut peer = None;
    for round in 0..TRIES_AT_NUMBER {
        let transaction = claim(record(store.transaction())?, store, contact, peer.as_ref())?
            .count_within(store, Lead::QUOTA, &door.plan, &door.tenant.plan)?
            .count(store, Contact::COUNT, 1)?
            .create(store, contact, conflict("This contact exists already."))?;
        let transaction = contact.groups.iter().try_fold(transaction, |transaction, group| {
            let transaction = come_in(transaction, store, *group, 1)?;
            transaction.put(store, &ContactGroupMember { group: *group, contact: contact.id })
        })?;
        match transaction.commit().await {
            Err(Error::Conflict(_) | Error::NotFound) => {}
            done => return done,
        }
        peer = store.find(&Peer::key_of(&contact.phone_number)).await?;
        // A contact that is not there, as after the import of an export that was made while it came or went, keeps no number.
        if let Some(owner) = peer.as_ref().and_then(|peer| peer.contact)
            && store.find(&Contact::key_of(owner)).await?.is_some()
        {
            return Err(taken());
        }
        pause(store, round).await;
    }
    Err(Error::contested())
}

/// The number is the contact's from now on. `peer` is what is known of it.
pub fn claim<'a>(transaction: Transaction<'a>, store: &TenantStore, contact: &Contact, peer: Option<&Peer>) -> Result<Transaction<'a>> {
    match peer {
        Some(peer) => transaction.replace(store, &peer.with_contact(contact.id), peer),
        None => {
            let peer = Peer::new(contact.phone_number.clone(), store.random()).with_contact(contact.id);
            transaction.create(store, &peer, Box::new(|_| taken()))
        }
    }
}

/// The number is no contact's from now on.
fn give_up<'a>(transaction: Transaction<'a>, store: &TenantStore, peer: Option<&Peer>) -> Result<Transaction<'a>> {
    match peer.map(|peer| (peer, peer.without_contact())) {
        Some((peer, Some(left))) => transaction.replace(store, &left, peer),
        Some((peer, None)) => transaction.delete_unchanged(store, peer),
        None => Ok(transaction),
    }
}

/// So many contacts come into the group.
pub fn come_in<'a>(transaction: Transaction<'a>, store: &TenantStore, group: ContactGroupId, many: i64) -> Result<Transaction<'a>> {
    transaction.adjust(store, &ContactGroup::key_of(group), &[("members", many)], no_group())
}

/// Edits a contact, from `contact` as it was read, by what `change` says of it as it is then. `named` are the groups that the change may put it into.
/// The result is as it is shown.
pub async fn edit(
    store: &TenantStore,
    contact: Contact,
    named: &[ContactGroupId],
    change: impl Fn(&Contact) -> Result<ContactChanges> + Send + Sync,
) -> Result<Contact> {
    let mut contact = contact;
    for _ in 0..TRIES {
        let asked: BTreeSet<ContactGroupId> = contact.groups.iter().chain(named).copied().collect();
        let there = existing(store, asked.iter().copied()).await?;
        if named.iter().any(|group| !there.contains(group)) {
            return Err(Error::Missing(ContactGroup::NOUN));
        }
        let one = |contact: &Contact, transaction| {
            if contact.groups.iter().any(|group| !asked.contains(group)) {
                // Somebody put it into another group meanwhile.
                return Err(Error::Missing(ContactGroup::NOUN));
            }
            let shown = without_deleted(contact, &there);
            let Some(changed) = shown.changed(&change(&shown)?, store.now())? else { return Ok(None) };
            let transaction = moved(transaction, store, contact, &changed, &there)?;
            Ok(Some((changed, transaction)))
        };
        match store.edit(contact.clone(), one).await {
            // A group went at the same time.
            Err(Error::Missing(ContactGroup::NOUN)) => contact = store.get(&Contact::key_of(contact.id)).await?,
            edited => return edited.map(|contact| without_deleted(&contact, &there)),
        }
    }
    Err(Error::contested())
}

/// The groups that a contact comes into and leaves with an edit.
fn moved<'a>(
    transaction: Transaction<'a>,
    store: &TenantStore,
    before: &Contact,
    after: &Contact,
    existing: &BTreeSet<ContactGroupId>,
) -> Result<Transaction<'a>> {
    let mut transaction = transaction;
    for group in after.groups.iter().filter(|group| !before.groups.contains(group)) {
        let member = ContactGroupMember { group: *group, contact: after.id };
        transaction = come_in(transaction, store, *group, 1)?.put(store, &member)?;
    }
    let left = before.groups.iter().filter(|group| !after.groups.contains(group));
    left.copied().try_fold(transaction, |transaction, group| leave(transaction, store, before.id, group, existing))
}

fn leave<'a>(
    transaction: Transaction<'a>,
    store: &TenantStore,
    contact: ContactId,
    group: ContactGroupId,
    existing: &BTreeSet<ContactGroupId>,
) -> Result<Transaction<'a>> {
    let transaction = match existing.contains(&group) {
        true => come_in(transaction, store, group, -1)?,
        false => transaction,
    };
    transaction.remove(store, &ContactGroupMember::key_of(group, contact))
}

/// Deletes a contact. What else is known of its number stays. `check` is asked of it as it is then.
pub async fn delete(store: &TenantStore, contact: Contact, check: impl Fn(&Contact) -> Result<()> + Send + Sync) -> Result<()> {
    let (id, mut contact) = (contact.id, contact);
    for round in 0..TRIES_AT_NUMBER {
        let peer = store.find(&Peer::key_of(&contact.phone_number)).await?.filter(|peer| peer.contact == Some(id));
        let asked = contact.groups.clone();
        let there = existing(store, asked.iter().copied()).await?;
        let also = |contact: &Contact, transaction| {
            // As it is shown, with the entity tag of that.
            check(&without_deleted(contact, &there))?;
            if contact.groups.iter().any(|group| !asked.contains(group)) {
                return Err(Error::Missing(ContactGroup::NOUN));
            }
            let transaction = give_up(transaction, store, peer.as_ref())?;
            let transaction = transaction.count(store, Workspace::PEOPLE, -1)?.count(store, Contact::COUNT, -1)?;
            contact.groups.iter().try_fold(transaction, |transaction, group| leave(transaction, store, id, *group, &there))
        };
        match store.remove(contact.clone(), also).await {
            // A group went at the same time, or something new is known of the number.
            Err(Error::Missing(ContactGroup::NOUN) | Error::Conflict(_)) => {
                pause(store, round).await;
                contact = store.get(&Contact::key_of(id)).await?;
            }
            done => return done,
        }
    }
    Err(Error::contested())
}

/// A moment that differs for each of those who met.
async fn pause(store: &TenantStore, round: u32) {
    tokio::time::sleep(PAUSE.mul_f64(f64::from(round) * store.random().fraction())).await;
}

fn taken() -> Error {
    Error::Conflict("A contact has this phone number already.".into())
}

fn no_group() -> Refusal {
    Box::new(|_| Error::Missing(ContactGroup::NOUN))
}
