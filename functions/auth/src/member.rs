//! The members of a tenant. A tenant always has at least one owner, and only owners can make or unmake owners.

use serde::Serialize;
use shared::http::answer::{Answer, Listing, Tagged};
use shared::http::arguments::{Body, IfMatch, NoFilters, Offsets, Total, path_id};
use shared::http::form::{Fields, Form, ROLE};
use shared::http::{Argument, Operation};
use shared::ids::PathId;
use shared::model::member::{Member, MemberNumber, Number};
use shared::model::role::only_owners_touch_owners;
use shared::model::session::Session;
use shared::model::time::{Printed, zulu};
use shared::model::user::UserTenant;
use shared::tenancy::doors::{Admin, Touched};
use shared::tenancy::{Entered, Incoming, Refusal, Role, Wants, missing};
use shared::workspaces::leave_all;
use shared::{Error, Result};

use crate::silencing::{SilencedView, silence};

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Member)]
pub struct MemberView {
    /// The member's number.
    id: u64,
    name: String,
    #[schema(format = Email)]
    email: String,
    role: Role,
    joined_at: Printed,
}

/// A member with a new role, and the keys that it silenced.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ChangedMember)]
pub struct ChangedView {
    /// The member's number.
    id: u64,
    name: String,
    #[schema(format = Email)]
    email: String,
    role: Role,
    joined_at: Printed,
    silenced_keys: Vec<SilencedView>,
}

/// The keys that went silent with a member.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = RemovedMember)]
pub struct RemovedView {
    silenced_keys: Vec<SilencedView>,
}

pub struct NewRole {
    role: Role,
}

pub async fn list(door: Admin, asked: Offsets<NoFilters>, total: Total<Member>) -> Result<Listing<MemberView>> {
    let found = door.store.page(&Member::all(), &asked.page.span(), |_| true).await?;
    Ok(Listing { items: found.items.iter().map(MemberView::of).collect(), total: total.count, page: asked.page, next: found.next })
}

/// Keys that need more than the new role are silenced first, and once more at the end for keys made meanwhile.
pub async fn update(door: Admin, member: FoundMember, expected: IfMatch, body: Body<NewRole>) -> Result<Tagged<ChangedView>> {
    let role = body.0.role;
    may_touch(&door, &member.0, &expected, Some(role)).await?;
    let demoted = (role < member.0.role).then_some(&member.0);
    let mut silenced_keys = silenced(&door, demoted, Some(role)).await?;
    let changed = door
        .store
        .edit(member.0.clone(), |member, transaction| {
            expected.check(&etag(member))?;
            only_owners_touch_owners(door.member.role, &[member.role, role])?;
            if member.role == role {
                return Ok(None);
            }
            let transaction = door.require_role_at_least(transaction, least(&[member.role, role]), Touched::Member(member))?;
            let transaction = match (member.role, role) {
                (Role::Owner, _) => transaction.count_down(&door.store, Member::OWNERS, 1, last_owner())?,
                (_, Role::Owner) => transaction.count(&door.store, Member::OWNERS, 1)?,
                _ => transaction,
            };
            Ok(Some((member.with_role(role), transaction)))
        })
        .await?;
    silenced_keys.extend(silenced(&door, demoted, Some(role)).await?);
    let tag = etag(&changed);
    Ok(Answer::new("Member updated successfully", ChangedView::of(MemberView::of(&changed), silenced_keys)).tagged(tag))
}

/// Their sessions in this tenant end with the membership, even if they are invited again, and so do the keys they made and their places
/// in workspaces. Their tasks keep their name.
pub async fn remove(door: Admin, member: FoundMember, expected: IfMatch) -> Result<Answer<RemovedView>> {
    let user = member.0.user;
    may_touch(&door, &member.0, &expected, None).await?;
    let mut silenced_keys = silenced(&door, Some(&member.0), None).await?;
    door.store
        .remove(member.0.clone(), |member, transaction| {
            expected.check(&etag(member))?;
            only_owners_touch_owners(door.member.role, &[member.role])?;
            let transaction = door
                .require_role_at_least(transaction, least(&[member.role]), Touched::Member(member))?
                .delete(&door.store, &MemberNumber::key_of(member.number), missing())?
                .remove(&door.directory, &UserTenant::key_of(member.user, door.tenant.id))?
                .count(&door.store, Member::COUNT, -1)?;
            if member.role == Role::Owner { transaction.count_down(&door.store, Member::OWNERS, 1, last_owner()) } else { Ok(transaction) }
        })
        .await?;
    silenced_keys.extend(silenced(&door, Some(&member.0), None).await?);
    leave_all(&door, user).await?;
    for session in door.directory.all(&Session::of_user(user)).await? {
        if session.tenant == Some(door.tenant.id) {
            door.directory.delete(&Session::key_of(user, session.id)).await?;
        }
    }
    Ok(Answer::new("Member removed successfully", RemovedView { silenced_keys }))
}

/// Checks the change before anything is written. The transaction checks again.
async fn may_touch(door: &Admin, member: &Member, expected: &IfMatch, role: Option<Role>) -> Result<()> {
    expected.check(&etag(member))?;
    only_owners_touch_owners(door.member.role, &[Some(member.role), role].into_iter().flatten().collect::<Vec<_>>())?;
    if member.role == Role::Owner && role != Some(Role::Owner) && door.store.count(Member::OWNERS).await? <= 1 {
        return Err(last_owner()(None));
    }
    Ok(())
}

async fn silenced(door: &Admin, losing: Option<&Member>, role: Option<Role>) -> Result<Vec<SilencedView>> {
    match losing {
        Some(member) => silence(door, member, role).await,
        None => Ok(vec![]),
    }
}

/// The role that is needed to change members with these roles.
fn least(touched: &[Role]) -> Role {
    if touched.contains(&Role::Owner) { Role::Owner } else { Role::Admin }
}

fn last_owner() -> Refusal {
    Box::new(|_| Error::Conflict("A tenant keeps at least one owner.".into()))
}

fn etag(member: &Member) -> String {
    format!("\"{}\"", member.version)
}

impl MemberView {
    pub(crate) fn of(member: &Member) -> Self {
        MemberView {
            id: member.number,
            name: member.name.clone(),
            email: member.email.clone(),
            role: member.role,
            joined_at: zulu(member.joined_at),
        }
    }
}

impl ChangedView {
    fn of(member: MemberView, silenced_keys: Vec<SilencedView>) -> Self {
        let MemberView { id, name, email, role, joined_at } = member;
        ChangedView { id, name, email, role, joined_at, silenced_keys }
    }
}

/// The member whose number the path names.
pub struct FoundMember(pub Member);

impl Argument for FoundMember {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        if let Ok(Number(number)) = path_id(incoming) {
            wants.record(&MemberNumber::key_of(number));
        }
    }

    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        let Number(number) = path_id(incoming)?;
        let numbered = entered.find(&MemberNumber::key_of(number)).await?.ok_or(Error::NotFound)?;
        entered.find(&Member::key_of(numbered.user)).await?.map(FoundMember).ok_or(Error::NotFound)
    }

    fn describe(operation: &mut Operation) {
        operation.names(Number::schema());
    }
}

impl Form for NewRole {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let role = fields.required("role", ROLE);
        Some(NewRole { role: role? })
    }
}
