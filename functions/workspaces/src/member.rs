//! The members of a workspace. The tenant's owners and admins enter every workspace; the others enter those they are members of. A workspace that has
//! an admin of its own keeps one.

use serde::Serialize;
use shared::accounts::owner_of;
use shared::http::answer::{Answer, Created, Listing, NoContent, Tagged};
use shared::http::arguments::{Body, IfMatch, OfWorkspace, Offsets, Total, path_id};
use shared::http::form::{EmailAddress, Fields, Form, ROLE};
use shared::http::idempotency::Once;
use shared::http::{Argument, Operation};
use shared::ids::PathId;
use shared::invitations;
use shared::model::invitation::WorkspaceSeat;
use shared::model::member::{self, MemberNumber, Number};
use shared::model::role::only_owners_touch_owners;
use shared::model::time::{Printed, zulu};
use shared::model::user::Email;
use shared::model::workspace::WorkspaceMember;
use shared::store::Span;
use shared::tenancy::doors::{Admin, In, Tenanted, Viewer};
use shared::tenancy::{Entered, Incoming, Refusal, Role, Wants};
use shared::workspaces::{join, leave};
use shared::{Error, Result};

/// A member, as the workspace itself shows them.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = WorkspaceMemberRole)]
pub struct MemberRole {
    /// The number of their membership in the tenant.
    user_id: u64,
    role: Role,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = WorkspaceMember)]
pub struct MemberView {
    /// The number of their membership in the tenant; null for somebody who is invited.
    user_id: Option<u64>,
    name: Option<String>,
    #[schema(format = Email)]
    email: String,
    role: Role,
    status: Status,
    joined_at: Option<Printed>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = WorkspaceMemberStatus)]
enum Status {
    Active,
    Invited,
}

pub struct NewMember {
    email: Email,
    role: Role,
}

pub struct NewRole {
    role: Role,
}

/// Not those who may enter because of their role in the tenant.
pub async fn list(door: In<Viewer>, asked: Offsets<OfWorkspace>, total: Total<WorkspaceMember>) -> Result<Listing<MemberView>> {
    let found = door.store.page(&WorkspaceMember::all(), &asked.page.span(), |_| true).await?;
    let keys: Vec<_> = found.items.iter().map(|member| member::Member::key_of(member.user)).collect();
    let people = door.outer.store.find_many(&keys).await?;
    let person = |member: &WorkspaceMember| people.iter().find(|person| person.user == member.user && person.number == member.number);
    let items = found.items.iter().filter_map(|member| Some(MemberView::of(member, person(member)?))).collect();
    Ok(Listing { items, total: total.count, page: asked.page, next: found.next })
}

/// Who belongs to the tenant is added. Others are invited into both, for which it takes an admin of the tenant.
pub async fn add(door: In<Admin>, once: Once<NewMember>) -> Result<Tagged<MemberView, 201>> {
    let NewMember { email, role } = &once.body;
    only_owners_touch_owners(door.role, &[*role])?;
    let (outer, now) = (&door.outer, door.now());
    let user = owner_of(&outer.directory, email).await?;
    let person = match &user {
        Some(user) => outer.store.find(&member::Member::key_of(user.id)).await?,
        None => None,
    };
    let Some(person) = person else { return invite(&door, &once).await };
    let found = door.store.find(&WorkspaceMember::key_of(person.user)).await?;
    let own = outer.member.user == person.user && !outer.delegated;
    if own && found.as_ref().is_some_and(|found| found.number == person.number) {
        return Err(Error::Conflict("You are a member of the workspace already.".into()));
    }
    let earlier = found.filter(|found| found.number != person.number);
    let member = WorkspaceMember { user: person.user, number: person.number, role: *role, joined_at: now, version: 1 };
    let member = member.after(earlier.as_ref());
    let answer = Created::new("Member added", MemberView::of(&member, &person)).tagged(member.etag());
    let transaction = once.ticket.record(outer.store.transaction(), &outer.store, &answer)?;
    let transaction = door.require_role(transaction, least(&[*role]), None)?;
    let transaction = match own {
        // The transaction requires their membership in the tenant already.
        true => transaction,
        false => {
            let removed = Box::new(|_| Error::Conflict("The member was changed or removed at the same moment. Try again.".into()));
            transaction.require_unchanged(&outer.store, &person, removed)?
        }
    };
    let transaction = door.while_there(transaction)?;
    join(transaction, &outer.store, &door.store, door.workspace.id, &member, earlier.as_ref())?.commit().await?;
    Ok(answer)
}

pub async fn update(door: In<Admin>, member: FoundMember, expected: IfMatch, body: Body<NewRole>) -> Result<Tagged<MemberView>> {
    let (role, FoundMember { member, person }) = (body.0.role, member);
    let changed = door
        .store
        .edit(member, |member, transaction| {
            expected.check(&member.etag())?;
            only_owners_touch_owners(door.role, &[member.role, role])?;
            if member.role == role {
                return Ok(None);
            }
            let transaction = door.require_role(transaction, least(&[member.role, role]), Some(member))?;
            let transaction = match (WorkspaceMember::is_admin(member.role), WorkspaceMember::is_admin(role)) {
                (true, false) => transaction.count_down(&door.store, WorkspaceMember::ADMINS, 1, last_admin())?,
                (false, true) => transaction.count(&door.store, WorkspaceMember::ADMINS, 1)?,
                _ => transaction,
            };
            Ok(Some((member.with_role(role), transaction)))
        })
        .await?;
    Ok(Answer::new("Member changed", MemberView::of(&changed, &person)).tagged(changed.etag()))
}

pub async fn remove(door: In<Admin>, member: FoundMember, expected: IfMatch) -> Result<NoContent> {
    door.store
        .remove(member.member, |member, transaction| {
            expected.check(&member.etag())?;
            only_owners_touch_owners(door.role, &[member.role])?;
            let transaction = door.require_role(transaction, least(&[member.role]), Some(member))?;
            leave(transaction, &door.outer.store, &door.store, member, Some(last_admin()))
        })
        .await?;
    Ok(NoContent)
}

impl MemberRole {
    pub fn text(&self) -> String {
        format!("{}:{}", self.user_id, self.role.name())
    }
}

/// The members as the workspace itself shows them.
pub async fn roles_of<R>(door: &In<Tenanted<R>>) -> Result<Vec<MemberRole>> {
    let found = door.store.page(&WorkspaceMember::all(), &Span::first(SHOWN), |_| true).await?;
    Ok(found.items.iter().map(|member| MemberRole { user_id: member.number, role: member.role }).collect())
}

/// The members that a workspace shows with itself.
const SHOWN: usize = 1_000;

/// A stranger joins the workspace with the tenant, when they accept.
async fn invite(door: &In<Admin>, once: &Once<NewMember>) -> Result<Tagged<MemberView, 201>> {
    let NewMember { email, role } = &once.body;
    let outer = &door.outer;
    if outer.member.role < Role::Admin {
        return Err(Error::Forbidden("Inviting somebody who is not in the tenant needs the role admin or above in the tenant.".into()));
    }
    if *role == Role::Owner {
        return Err(Error::field("role", "The role field must be admin or below for somebody who has not joined yet."));
    }
    let in_tenant = (*role).min(Role::Member);
    let seat = WorkspaceSeat { id: door.workspace.id, role: *role };
    let invitation = invitations::prepare(outer, email.clone(), in_tenant, Some(seat)).await?;
    let answer = Created::new("Invitation sent", MemberView::invited(email, *role)).tagged("\"0\"".into());
    let first = |transaction| once.ticket.record(transaction, &outer.store, &answer);
    invitations::send(outer, &invitation, first).await?;
    Ok(answer)
}

/// The role that is needed to change members with these roles.
fn least(touched: &[Role]) -> Role {
    if touched.contains(&Role::Owner) { Role::Owner } else { Role::Admin }
}

fn last_admin() -> Refusal {
    Box::new(|_| Error::Conflict("A workspace keeps at least one admin of its own.".into()))
}

/// The member whose number the path names.
pub struct FoundMember {
    member: WorkspaceMember,
    person: member::Member,
}

impl Argument for FoundMember {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        if let Ok(Number(number)) = path_id(incoming) {
            wants.record(&MemberNumber::key_of(number));
        }
    }

    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        let missing = || Error::Missing("Member");
        let Number(number) = path_id(incoming).map_err(|_| missing())?;
        let numbered = entered.find(&MemberNumber::key_of(number)).await?.ok_or_else(missing)?;
        let (person, place) = (member::Member::key_of(numbered.user), WorkspaceMember::key_of(numbered.user));
        let (person, member) = tokio::try_join!(entered.find(&person), entered.find(&place))?;
        let found = person.zip(member).filter(|(person, member)| person.number == member.number);
        found.map(|(person, member)| FoundMember { member, person }).ok_or_else(missing)
    }

    fn describe(operation: &mut Operation) {
        operation.names(Number::schema());
    }
}

impl MemberView {
    fn of(member: &WorkspaceMember, person: &member::Member) -> Self {
        MemberView {
            user_id: Some(member.number),
            name: Some(person.name.clone()),
            email: person.email.clone(),
            role: member.role,
            status: Status::Active,
            joined_at: Some(zulu(member.joined_at)),
        }
    }

    fn invited(email: &Email, role: Role) -> Self {
        MemberView { user_id: None, name: None, email: email.as_str().to_owned(), role, status: Status::Invited, joined_at: None }
    }
}

impl Form for NewMember {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let email = fields.required("email", EmailAddress);
        let role = fields.optional("role", ROLE).unwrap_or(Role::Member);
        Some(NewMember { email: email?, role })
    }
}

impl Form for NewRole {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let role = fields.required("role", ROLE);
        Some(NewRole { role: role? })
    }
}
