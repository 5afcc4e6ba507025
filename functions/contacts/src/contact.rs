//! Contacts: list, create, read, change, delete.

use records::contact::{Contact, ContactChanges, ContactFilter, ContactId, Search};
use records::contact_group::{ContactGroup, ContactGroupId, ContactGroupMember};
use records::peer::Peer;
use serde::Serialize;
use serde_json::{Map, Value};
use shared::http::answer::{Answer, Created, Deleted, Listing, Tagged};
use shared::http::arguments::{Body, Cursors, Found, IfMatch, Total};
use shared::http::form::{EmailAddress, Fields, Form, Name, PhoneNumberText, Text, Timezone};
use shared::http::idempotency::Once;
use shared::model::phone_number::PhoneNumber;
use shared::model::time::{Printed, zulu};
use shared::model::user::Email;
use shared::store::{Direction, Listed, Page, Record, Span, Window};
use shared::tenancy::TenantStore;
use shared::tenancy::doors::{Member, Viewer};
use shared::{Error, Result};

use crate::rules::{GROUP, METADATA, group_ids};
use crate::writing::{self, existing, without_deleted};

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Contact)]
pub struct ContactView {
    id: String,
    #[schema(inline)]
    phone_number: PhoneNumber,
    name: Option<String>,
    email: Option<Email>,
    timezone: Option<String>,
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    group_ids: Vec<String>,
    created_at: Printed,
    updated_at: Printed,
}

#[derive(Clone)]
pub struct NewContact {
    pub phone_number: PhoneNumber,
    pub changes: ContactChanges,
}

pub struct Changes(ContactChanges);

pub struct Filters(ContactFilter);

pub async fn list(door: Viewer, asked: Cursors<Filters>, total: Total<Contact>) -> Result<Listing<ContactView>> {
    let Cursors { filters, page } = asked;
    let found = matching(&door.store, &filters.0, page.span(), total.count).await?;
    Ok(Listing { items: shown(&door.store, &found.items).await?, total: 0, page, next: found.next })
}

pub async fn create(door: Member, once: Once<NewContact>) -> Result<Tagged<ContactView, 201>> {
    let NewContact { phone_number, changes } = once.body;
    let id = ContactId::new(door.now(), door.store.random());
    let contact = Contact::new(id, phone_number, door.now()).with(&changes)?;
    let answer = Created::new("Contact created", ContactView::of(&contact)).tagged(contact.etag());
    writing::create(&door, &contact, |transaction| once.ticket.record(transaction, &door.store, &answer)).await?;
    Ok(answer)
}

pub async fn show(door: Viewer, contact: Found<Contact>) -> Result<Tagged<ContactView>> {
    let there = existing(&door.store, contact.0.groups.iter().copied()).await?;
    Ok(answer(&without_deleted(&contact.0, &there)))
}

pub async fn update(door: Member, contact: Found<Contact>, expected: IfMatch, changes: Body<Changes>) -> Result<Tagged<ContactView>> {
    let changes = changes.0.0;
    let named = changes.groups.clone().unwrap_or_default();
    let changed = writing::edit(&door.store, contact.0, &named, |contact| {
        expected.check(&contact.etag())?;
        Ok(changes.clone())
    })
    .await?;
    Ok(answer(&changed))
}

pub async fn delete(door: Member, contact: Found<Contact>, expected: IfMatch) -> Result<Answer<Deleted>> {
    let id = contact.0.id.prefixed();
    writing::delete(&door.store, contact.0, |contact| expected.check(&contact.etag())).await?;
    Ok(Answer::new("Contact deleted", Deleted::of(id)))
}

/// Newest first; those whose number begins so in the order of their digits. Without a filter, by group alone and by number alone a page costs the same
/// whatever the number of contacts. Any other filter looks at each contact of the tenant, or of the group where that has fewer, and there is an end to how
/// many.
async fn matching(store: &TenantStore, filter: &ContactFilter, span: Span, total: u64) -> Result<Page<Contact>> {
    let contacts = Contact::all().going(Direction::Descending);
    match filter {
        ContactFilter { group: None, search: None } => return store.page(&contacts, &span, |_| true).await,
        ContactFilter { group: Some(group), search: None } => {
            store.get(&ContactGroup::key_of(*group)).await?;
            return in_group(store, *group, &span).await;
        }
        ContactFilter { group: None, search: Some(Search::Number(digits)) } => {
            let found = store.page(&Peer::starting(digits.clone()), &span, |peer| peer.contact.is_some()).await?;
            let ids = found.items.iter().filter_map(|peer| peer.contact);
            return Ok(Page { items: all(store, ids).await?, next: found.next });
        }
        ContactFilter { search: Some(_), .. } => {}
    }
    if let Some(id) = filter.group {
        let group = store.get(&ContactGroup::key_of(id)).await?;
        if total > Contact::MAX_PASSED && group.members <= Contact::MAX_PASSED {
            return among_members(store, id, filter, span).await;
        }
    }
    if total > Contact::MAX_PASSED {
        let most = Contact::MAX_PASSED;
        let sentence = format!(
            "There are more than {most} contacts: search for the beginning of a number, or name a group of at most {most} too, with group_id=grp_…."
        );
        return Err(Error::BadRequest(sentence.into()));
    }
    let found = store.ranked(&contacts, span, |entry| filter.keeps(&entry).then_some(())).await?;
    Ok(Page { items: found.items, next: found.next })
}

/// The contacts of a group, newest first.
pub async fn in_group(store: &TenantStore, group: ContactGroupId, span: &Span) -> Result<Page<Contact>> {
    let found = store.page(&ContactGroupMember::of_group(group).going(Direction::Descending), span, |_| true).await?;
    Ok(Page { items: all(store, found.items.iter().map(|member| member.contact)).await?, next: found.next })
}

async fn among_members(store: &TenantStore, group: ContactGroupId, filter: &ContactFilter, span: Span) -> Result<Page<Contact>> {
    const AT_ONCE: usize = 1_000;
    let mut window = Window::new(span, Direction::Descending)?;
    let (members, mut place) = (ContactGroupMember::of_group(group), None);
    loop {
        let (some, next) = store.after(&members, place.as_ref(), AT_ONCE).await?;
        let contacts = all(store, some.iter().map(|member| member.contact)).await?;
        for contact in contacts.iter().filter(|contact| filter.keeps(&contact.entry())) {
            window.add((), contact.id.to_string());
        }
        match next {
            Some(next) => place = Some(next),
            None => break,
        }
    }
    let (ids, next, _) = window.finish();
    Ok(Page { items: all(store, ids.iter().filter_map(|id| ContactId::parse(id))).await?, next })
}

async fn all(store: &TenantStore, ids: impl Iterator<Item = ContactId>) -> Result<Vec<Contact>> {
    let keys: Vec<_> = ids.map(Contact::key_of).collect();
    store.find_many(&keys).await
}

/// As a list shows them.
pub async fn shown(store: &TenantStore, contacts: &[Contact]) -> Result<Vec<ContactView>> {
    let there = existing(store, contacts.iter().flat_map(|contact| contact.groups.iter().copied())).await?;
    Ok(contacts.iter().map(|contact| ContactView::of(&without_deleted(contact, &there))).collect())
}

fn answer(contact: &Contact) -> Tagged<ContactView> {
    Answer::new("Success", ContactView::of(contact)).tagged(contact.etag())
}

impl ContactView {
    fn of(contact: &Contact) -> Self {
        ContactView {
            id: contact.id.prefixed(),
            phone_number: contact.phone_number.clone(),
            name: contact.name.clone(),
            email: contact.email.clone(),
            timezone: contact.timezone.clone(),
            metadata: contact.metadata.clone(),
            group_ids: contact.groups.iter().map(ContactGroupId::prefixed).collect(),
            created_at: zulu(contact.created_at),
            updated_at: zulu(contact.updated_at),
        }
    }
}

impl Form for NewContact {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let phone_number = fields.required("phone_number", PhoneNumberText);
        let changes = ContactChanges {
            name: fields.optional("name", Name { max: 255 }).map(Some),
            email: fields.optional("email", EmailAddress).map(Some),
            timezone: fields.optional("timezone", Timezone).map(Some),
            metadata: fields.optional("metadata", METADATA),
            groups: fields.optional("group_ids", group_ids()),
        };
        Some(NewContact { phone_number: phone_number?, changes })
    }
}

impl Form for Changes {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Changes(ContactChanges {
            name: fields.change_or_clear("name", Name { max: 255 }),
            email: fields.change_or_clear("email", EmailAddress),
            timezone: fields.change_or_clear("timezone", Timezone),
            metadata: fields.change("metadata", METADATA),
            groups: fields.change("group_ids", group_ids()),
        }))
    }
}

impl Form for Filters {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Filters(ContactFilter {
            group: fields.optional("group_id", GROUP),
            search: fields.optional("search", Text { min: 2, max: 255 }).map(|search| Search::of(&search)),
        }))
    }
}
