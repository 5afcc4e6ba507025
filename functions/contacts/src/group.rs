//! Groups of contacts: list, create, read, change, delete, and who is in them.

use records::contact::{Contact, ContactId};
use records::contact_group::{ContactGroup, ContactGroupChanges, ContactGroupId, ContactGroupMember, ContactGroupName};
use serde::Serialize;
use shared::http::answer::{Answer, Created, Deleted, Listing, Tagged};
use shared::http::arguments::{Body, Cursors, Found, IfMatch, NoFilters};
use shared::http::form::{Fields, Form, Name, Several, Text};
use shared::http::idempotency::Once;
use shared::model::time::{Printed, zulu};
use shared::store::{Direction, Record};
use shared::tenancy::doors::{Member, Viewer};
use shared::tenancy::{Refusal, TenantStore, conflict};
use shared::{Error, Result};

use crate::contact::{ContactView, in_group, shown};
use crate::rules::CONTACT;
use crate::writing;

/// How much of a deleted group's membership is swept with it. What is left means nothing: no group has that id again.
const SWEPT: usize = 5_000;

/// A group of contacts.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ContactGroup)]
pub struct GroupView {
    id: String,
    name: String,
    description: Option<String>,
    /// How many contacts are in it.
    contacts: u64,
    created_at: Printed,
    updated_at: Printed,
}

/// What became of the contacts that were named.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ContactsChanged)]
pub struct ChangedView {
    /// How many of them there are.
    matched: u64,
    /// How many were changed; the others were so already, or failed.
    changed: u64,
    failed: Vec<FailedView>,
}

/// A contact that was not changed, and why.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ContactNotChanged)]
pub struct FailedView {
    id: String,
    reason: String,
}

pub struct NewGroup {
    name: String,
    description: Option<String>,
}

pub struct Changes(ContactGroupChanges);

pub struct Named(Vec<ContactId>);

#[derive(Clone, Copy)]
enum Move {
    In,
    Out,
}

/// Newest first.
pub async fn list(door: Viewer, asked: Cursors<NoFilters>) -> Result<Listing<GroupView>> {
    let found = door.store.page(&ContactGroup::all().going(Direction::Descending), &asked.page.span(), |_| true).await?;
    Ok(Listing { items: found.items.iter().map(GroupView::of).collect(), total: 0, page: asked.page, next: found.next })
}

pub async fn create(door: Member, once: Once<NewGroup>) -> Result<Tagged<GroupView, 201>> {
    let NewGroup { name, description } = once.body;
    let group = ContactGroup::new(ContactGroupId::new(door.now(), door.store.random()), name, description, door.now());
    let answer = Created::new("Group created", GroupView::of(&group)).tagged(group.etag());
    once.ticket
        .record(door.store.transaction(), &door.store, &answer)?
        .create(&door.store, &ContactGroupName::of(&group), taken())?
        .count_many_within(&door.store, ContactGroup::COUNT, 1, "contact_groups", ContactGroup::MOST, &door.tenant.plan)?
        .create(&door.store, &group, conflict("This group exists already."))?
        .commit()
        .await?;
    Ok(answer)
}

pub async fn show(_door: Viewer, group: Found<ContactGroup>) -> Result<Tagged<GroupView>> {
    Ok(answer(&group.0))
}

pub async fn update(door: Member, group: Found<ContactGroup>, expected: IfMatch, changes: Body<Changes>) -> Result<Tagged<GroupView>> {
    let changed = door
        .store
        .edit(group.0, |group, transaction| {
            expected.check(&group.etag())?;
            let Some(changed) = group.changed(&changes.0.0, door.now()) else { return Ok(None) };
            if ContactGroupName::same(&group.name, &changed.name) {
                return Ok(Some((changed, transaction)));
            }
            let transaction = transaction
                .create(&door.store, &ContactGroupName::of(&changed), taken())?
                .remove(&door.store, &ContactGroupName::key_of(&group.name))?;
            Ok(Some((changed, transaction)))
        })
        .await?;
    Ok(answer(&changed))
}

/// The contacts stay. That they were in it is not shown from then on, and their next edits forget it.
pub async fn delete(door: Member, group: Found<ContactGroup>, expected: IfMatch) -> Result<Answer<Deleted>> {
    let id = group.0.id;
    door.store
        .remove(group.0, |group, transaction| {
            expected.check(&group.etag())?;
            transaction.count(&door.store, ContactGroup::COUNT, -1)?.remove(&door.store, &ContactGroupName::key_of(&group.name))
        })
        .await?;
    if let Err(error) = door.store.sweep(&ContactGroupMember::of_group(id), SWEPT, |_| true).await {
        tracing::warn!(%error, "the members of a deleted group are left");
    }
    Ok(Answer::new("Group deleted", Deleted::of(id.prefixed())))
}

/// Newest first.
pub async fn contacts(door: Viewer, group: Found<ContactGroup>, asked: Cursors<NoFilters>) -> Result<Listing<ContactView>> {
    let found = in_group(&door.store, group.0.id, &asked.page.span()).await?;
    Ok(Listing { items: shown(&door.store, &found.items).await?, total: 0, page: asked.page, next: found.next })
}

/// The same request again changes nothing more, so its answer is kept after its effect.
pub async fn add(door: Member, group: Found<ContactGroup>, body: Body<Named>) -> Result<Answer<ChangedView>> {
    let changed = move_all(&door.store, group.0.id, body.0.0, Move::In).await?;
    Ok(Answer::new("Success", changed))
}

pub async fn take_out(door: Member, group: Found<ContactGroup>, body: Body<Named>) -> Result<Answer<ChangedView>> {
    let changed = move_all(&door.store, group.0.id, body.0.0, Move::Out).await?;
    Ok(Answer::new("Success", changed))
}

/// Each contact is changed by itself: one that cannot be does not hold up the others.
async fn move_all(store: &TenantStore, group: ContactGroupId, ids: Vec<ContactId>, to: Move) -> Result<ChangedView> {
    let keys: Vec<_> = ids.iter().copied().map(Contact::key_of).collect();
    let contacts = store.find_many(&keys).await?;
    let mut view = ChangedView { matched: contacts.len() as u64, changed: 0, failed: vec![] };
    for id in ids {
        let done = match contacts.iter().find(|contact| contact.id == id) {
            Some(contact) => move_one(store, group, contact, to).await,
            None => Err(Error::Missing(Contact::NOUN)),
        };
        match done {
            Ok(changed) => view.changed += u64::from(changed),
            // What is our fault, or will pass, is so for all of them.
            Err(error @ (Error::Internal { .. } | Error::Unavailable { .. })) => return Err(error),
            Err(error) => view.failed.push(FailedView { id: id.prefixed(), reason: error.in_a_line() }),
        }
    }
    Ok(view)
}

/// Whether it was elsewhere before.
async fn move_one(store: &TenantStore, group: ContactGroupId, contact: &Contact, to: Move) -> Result<bool> {
    let changed = match to {
        Move::In => writing::edit(store, contact.clone(), &[group], |contact| Ok(contact.in_groups(&[group]))).await?,
        Move::Out => writing::edit(store, contact.clone(), &[], |contact| Ok(contact.outside(group))).await?,
    };
    Ok(changed.version != contact.version)
}

fn answer(group: &ContactGroup) -> Tagged<GroupView> {
    Answer::new("Success", GroupView::of(group)).tagged(group.etag())
}

fn taken() -> Refusal {
    conflict("A group has this name already.")
}

impl GroupView {
    fn of(group: &ContactGroup) -> Self {
        GroupView {
            id: group.id.prefixed(),
            name: group.name.clone(),
            description: group.description.clone(),
            contacts: group.members,
            created_at: zulu(group.created_at),
            updated_at: zulu(group.updated_at),
        }
    }
}

impl Form for NewGroup {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let name = fields.required("name", Name { max: ContactGroup::NAME });
        let description = fields.optional("description", Text::up_to(ContactGroup::DESCRIPTION));
        Some(NewGroup { name: name?, description })
    }
}

impl Form for Changes {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Changes(ContactGroupChanges {
            name: fields.change("name", Name { max: ContactGroup::NAME }),
            description: fields.change_or_clear("description", Text::up_to(ContactGroup::DESCRIPTION)),
        }))
    }
}

impl Form for Named {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        fields.required("contact_ids", Several { each: CONTACT, min: 1, max: 100, key: ContactId::to_string }).map(Named)
    }
}
