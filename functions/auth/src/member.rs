//! The members of a tenant. A tenant keeps at least one owner, and only owners make or unmake owners.

use serde::Serialize;
use shared::http::answer::{Answer, Listing, Nothing};
use shared::http::arguments::{Body, Found, IfMatch, MemberTotal, NoFilters, Offsets};
use shared::http::form::{Fields, Form, OneOf};
use shared::model::member::{Member, MemberNumber};
use shared::model::session::Session;
use shared::model::time::zulu;
use shared::model::user::Belongs;
use shared::store::{Counter, Refusal, missing};
use shared::tenancy::Role;
use shared::tenancy::doors::Admin;
use shared::{Error, Result};

pub(crate) const ROLE: OneOf<Role> = OneOf { words: &["viewer", "member", "admin", "owner"], parse: Role::parse };

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Member)]
pub struct MemberView {
    /// The member's number.
    id: u64,
    name: String,
    email: String,
    role: &'static str,
    joined_at: String,
}

pub struct NewRole {
    role: Role,
}

pub async fn list(door: Admin, asked: Offsets<NoFilters>, total: MemberTotal) -> Result<Listing<MemberView>> {
    let found = door.store.page(&Member::all(), &asked.page, |_| true).await?;
    Ok(Listing { items: found.items.iter().map(MemberView::of).collect(), total: total.0, page: asked.page, next: found.next })
}

pub async fn update(door: Admin, member: Found<Member>, expected: IfMatch, body: Body<NewRole>) -> Result<Answer<MemberView>> {
    let role = body.0.role;
    let changed = door
        .store
        .edit(member.0, |member, along| {
            expected.check(&etag(member))?;
            only_owners_touch_owners(door.member.role, &[member.role, role])?;
            let along = match (member.role, role) {
                (before, after) if before == after => return Ok(None),
                (Role::Owner, _) => along.count_down(&door.store, Counter::Owners, 1, last_owner())?,
                (_, Role::Owner) => along.count(&door.store, Counter::Owners, 1)?,
                _ => along,
            };
            Ok(Some((member.with_role(role), along)))
        })
        .await?;
    Ok(Answer::new("Member updated successfully", MemberView::of(&changed)).tagged(etag(&changed)))
}

/// His sessions in this tenant end with his membership, also should he be invited again; his tasks keep his name.
pub async fn remove(door: Admin, member: Found<Member>, expected: IfMatch) -> Result<Answer<Nothing>> {
    let user = member.0.user;
    door.store
        .remove(member.0, |member, along| {
            expected.check(&etag(member))?;
            only_owners_touch_owners(door.member.role, &[member.role])?;
            let along = along
                .delete(&door.store, &MemberNumber::key_of(member.number), missing())?
                .remove(&door.directory, &Belongs::key_of(member.user, door.tenant.id))?
                .count(&door.store, Counter::Members, -1)?;
            if member.role == Role::Owner { along.count_down(&door.store, Counter::Owners, 1, last_owner()) } else { Ok(along) }
        })
        .await?;
    for session in door.directory.all(&Session::of_user(user)).await? {
        if session.tenant == Some(door.tenant.id) {
            door.directory.delete(&Session::key_of(user, session.id)).await?;
        }
    }
    Ok(Answer::done("Member removed successfully"))
}

pub(crate) fn only_owners_touch_owners(mine: Role, touched: &[Role]) -> Result<()> {
    if mine < Role::Owner && touched.contains(&Role::Owner) {
        return Err(Error::Forbidden("Only an owner can make, change or remove an owner.".into()));
    }
    Ok(())
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
            role: member.role.name(),
            joined_at: zulu(member.joined_at),
        }
    }
}

impl Form for NewRole {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let role = fields.required("role", ROLE);
        Some(NewRole { role: role? })
    }
}
