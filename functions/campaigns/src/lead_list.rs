//! Lists of leads: list, create, read, rename, delete.

use records::lead_list::{LeadList, LeadListId, LeadListMember, LeadListName};
use serde::Serialize;
use shared::Result;
use shared::http::answer::{Answer, Created, Listing, NoContent, Tagged};
use shared::http::arguments::{Body, Found, IfMatch, OfWorkspace, Offsets, Total};
use shared::http::form::{Fields, Form, Name, WorkspaceName};
use shared::http::idempotency::Once;
use shared::model::time::{Printed, zulu};
use shared::store::Direction;
use shared::tenancy::doors::{In, Member, Viewer};
use shared::tenancy::{Refusal, conflict};

/// How much of a deleted list's membership is swept with it. What is left means nothing: no list has that id again.
const SWEPT: usize = 5_000;

/// A list of leads.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = LeadList)]
pub struct ListView {
    id: String,
    name: String,
    /// How many leads are on it.
    leads: u64,
    created_at: Printed,
    updated_at: Printed,
}

pub struct NewList(String);

pub struct Changes(Option<String>);

/// Newest first.
pub async fn list(door: In<Viewer>, asked: Offsets<OfWorkspace>, total: Total<LeadList>) -> Result<Listing<ListView>> {
    let page = asked.page;
    let found = door.store.page(&LeadList::all().going(Direction::Descending), &page.span(), |_| true).await?;
    Ok(Listing { items: found.items.iter().map(ListView::of).collect(), total: total.count, page, next: found.next })
}

pub async fn create(door: In<Member>, once: Once<NewList>) -> Result<Tagged<ListView, 201>> {
    let list = LeadList::new(LeadListId::new(door.store.tag(), door.now(), door.store.random()), once.body.0, door.now());
    let answer = Created::new("List created", ListView::of(&list)).tagged(list.etag());
    let transaction = once.ticket.record(door.store.transaction(), &door.outer.store, &answer)?;
    door.while_there(transaction)?
        .create(&door.store, &LeadListName::of(&list), taken())?
        .count_many_within(&door.store, LeadList::COUNT, 1, "lead_lists", LeadList::MOST, &door.outer.tenant.plan)?
        .create(&door.store, &list, conflict("This list exists already."))?
        .commit()
        .await?;
    Ok(answer)
}

pub async fn show(_door: In<Viewer>, list: Found<LeadList>) -> Result<Tagged<ListView>> {
    Ok(answer(&list.0))
}

pub async fn update(door: In<Member>, list: Found<LeadList>, expected: IfMatch, changes: Body<Changes>) -> Result<Tagged<ListView>> {
    let name = changes.0.0;
    let renamed = door
        .store
        .edit(list.0, |list, transaction| {
            expected.check(&list.etag())?;
            let Some(renamed) = name.as_ref().and_then(|name| list.renamed(name, door.now())) else { return Ok(None) };
            if LeadListName::same(&list.name, &renamed.name) {
                return Ok(Some((renamed, transaction)));
            }
            let transaction = door
                .while_there(transaction)?
                .create(&door.store, &LeadListName::of(&renamed), taken())?
                .remove(&door.store, &LeadListName::key_of(&list.name))?;
            Ok(Some((renamed, transaction)))
        })
        .await?;
    Ok(answer(&renamed))
}

/// The leads stay. That they were on it is not shown from then on, and their next edits forget it.
pub async fn delete(door: In<Member>, list: Found<LeadList>, expected: IfMatch) -> Result<NoContent> {
    let id = list.0.id;
    door.store
        .remove(list.0, |list, transaction| {
            expected.check(&list.etag())?;
            door.while_there(transaction)?.count(&door.store, LeadList::COUNT, -1)?.remove(&door.store, &LeadListName::key_of(&list.name))
        })
        .await?;
    if let Err(error) = door.store.sweep(&LeadListMember::on(id), SWEPT, |_| true).await {
        tracing::warn!(%error, "the members of a deleted list are left");
    }
    Ok(NoContent)
}

fn answer(list: &LeadList) -> Tagged<ListView> {
    Answer::new("Success", ListView::of(list)).tagged(list.etag())
}

fn taken() -> Refusal {
    conflict("A list of this workspace has this name already.")
}

impl ListView {
    fn of(list: &LeadList) -> Self {
        ListView {
            id: list.id.prefixed(),
            name: list.name.clone(),
            leads: list.members,
            created_at: zulu(list.created_at),
            updated_at: zulu(list.updated_at),
        }
    }
}

impl Form for NewList {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        fields.optional("workspace_slug", WorkspaceName);
        fields.required("name", Name { max: 100 }).map(NewList)
    }
}

impl Form for Changes {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Changes(fields.change("name", Name { max: 100 })))
    }
}
