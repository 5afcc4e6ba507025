//! Invitations: an address and a role, a link in a mail, and joining with it.

use serde::Serialize;
use shared::accounts::{AddressRecords, ProvenData};
use shared::error::FieldErrors;
use shared::http::answer::{Answer, Created, Listing, Nothing};
use shared::http::arguments::{Found, NoFilters, Offsets};
use shared::http::form::{EmailAddress, Fields, Form, Name, Password, ROLE, Text};
use shared::http::idempotency::Once;
use shared::invitations::{self, open_invitations, seated};
use shared::model::invitation::{Invitation, InvitationId, WorkspaceSeat};
use shared::model::link::Link;
use shared::model::member::Member;
use shared::model::role::only_owners_touch_owners;
use shared::model::time::{Printed, zulu};
use shared::model::user::{Email, UserTenant};
use shared::model::workspace::{Workspace, WorkspaceMember};
use shared::store::{Direction, Record};
use shared::tenancy::doors::{Admin, Visitor};
use shared::tenancy::{Role, TenantId, conflict};
use shared::workspaces::join;
use shared::{Error, Result};

use crate::member::MemberView;
use crate::password::{self, dead_link};

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Invitation)]
pub struct InvitationView {
    id: InvitationId,
    email: Email,
    role: Role,
    invited_by: String,
    created_at: Printed,
    expires_at: Printed,
}

pub struct NewInvitation {
    email: Email,
    role: Role,
}

pub struct Acceptance {
    token: String,
    name: Option<String>,
    password: Option<String>,
}

/// Newest first.
pub async fn list(door: Admin, asked: Offsets<NoFilters>) -> Result<Listing<InvitationView>> {
    let newest_first = Invitation::all().going(Direction::Descending);
    let span = asked.page.span();
    let (found, open) = tokio::try_join!(door.store.page(&newest_first, &span, |_| true), open_invitations(&door.store))?;
    let items = found.items.iter().map(InvitationView::of).collect();
    Ok(Listing { items, total: open.count(door.now()), page: asked.page, next: found.next })
}

pub async fn create(door: Admin, once: Once<NewInvitation>) -> Result<Created<InvitationView>> {
    let NewInvitation { email, role } = once.body;
    let invitation = invitations::prepare(&door, email, role, None).await?;
    let answer = Created::new("Invitation sent", InvitationView::of(&invitation));
    invitations::send(&door, &invitation, |transaction| once.ticket.record(transaction, &door.store, &answer)).await?;
    Ok(answer)
}

pub async fn revoke(door: Admin, invitation: Found<Invitation>) -> Result<Answer<Nothing>> {
    let invitation = invitation.0;
    only_owners_touch_owners(door.member.role, &[invitation.role])?;
    seated(&door.store, |open| {
        let transaction = door.store.delete_audited(door.store.transaction(), &invitation)?;
        let transaction = door.require_role(transaction)?.remove(&door.directory, &Link::key_of(invitation.link))?;
        Ok((open.without(invitation.id, door.now()), transaction))
    })
    .await?;
    Ok(Answer::done("Invitation revoked"))
}

/// Joins the tenant as the invited address. A user who has proven the address keeps their password and name. Otherwise a new user gets the
/// name and password given here, whatever else exists at the address.
pub async fn accept(door: Visitor, once: Once<Acceptance>) -> Result<Answer<MemberView>> {
    let invited = door.invited(&once.body.token).await?.ok_or_else(dead_link)?;
    let (store, directory, invitation, now) = (&invited.store, &door.directory, &invited.invitation, door.now());
    let address = AddressRecords::read(directory, &invitation.email).await?;
    let known = address.owner(directory).await?;
    let proof = match &known {
        Some(_) => None,
        None => Some(address.proof(directory, None, new_user(&door, once.body, invited.tenant.id).await?).await?),
    };
    let user = match (&known, &proof) {
        (Some(user), _) => user.with_home(user.home.or(Some(invited.tenant.id)), now),
        (None, Some(proof)) => proof.user.clone(),
        (None, None) => return Err(dead_link()),
    };
    let member = Member {
        user: user.id,
        number: store.next_number(Member::NUMBERS).await?,
        role: invitation.role,
        name: user.name.clone(),
        email: user.email.as_str().to_owned(),
        joined_at: now,
        version: 1,
    };
    let plan = door.app.plans().get(&invited.tenant.plan);
    let seat = invited.workspace().await?.map(|(within, seat)| {
        let WorkspaceSeat { id, role } = seat;
        (within, id, WorkspaceMember { user: user.id, number: member.number, role, joined_at: now, version: 1 })
    });
    let earlier = match &seat {
        Some((within, _, seat)) => within.find(&WorkspaceMember::key_of(seat.user)).await?,
        None => None,
    };
    let seat = seat.map(|(within, id, seat)| (within, id, seat.after(earlier.as_ref())));
    let answer = Answer::new("Invitation accepted", MemberView::of(&member));
    seated(store, |open| {
        let transaction = once.ticket.record_open(directory.transaction(), directory, &answer)?;
        let transaction = transaction.delete(directory, &Link::key_of(invitation.link), Box::new(|_| dead_link()))?.delete(
            store,
            &Invitation::key_of(invitation.id),
            Box::new(|_| dead_link()),
        )?;
        // Only if its sender may still grant the role at this moment.
        let transaction = match &invited.sender {
            Some((place, sender)) => transaction.require_unchanged(
                place,
                sender,
                conflict("The role of whoever invited you was changed at the same moment. Try again."),
            )?,
            None => transaction,
        };
        let transaction = transaction
            .create(store, &member, conflict("You are a member of this tenant already."))?
            .create(store, &member.numbered(), conflict("Try again."))?
            .put(directory, &UserTenant { user: user.id, tenant: invited.tenant.id, since: now })?
            .count_within(store, Member::QUOTA, plan, &invited.tenant.plan)?;
        let transaction = if member.role == Role::Owner { transaction.count(store, Member::OWNERS, 1)? } else { transaction };
        let transaction = match (&known, &proof) {
            (Some(before), _) => transaction.replace(directory, &user, before)?,
            (None, Some(proof)) => {
                proof.write(transaction, directory, conflict("The address was registered meanwhile. Accept the invitation again."))?
            }
            (None, None) => transaction,
        };
        let transaction = match &seat {
            Some((within, id, seat)) => {
                // The workspace may have gone since, and then the seat in it is gone too.
                let transaction = transaction.require(store, &Workspace::key_of(id.tag()), conflict("Try again."))?;
                join(transaction, store, within, *id, seat, earlier.as_ref())?
            }
            None => transaction,
        };
        Ok((open.without(invitation.id, now), transaction))
    })
    .await?;
    if let Some(proof) = &proof {
        proof.finish(directory).await?;
    }
    Ok(answer)
}

async fn new_user(door: &Visitor, given: Acceptance, home: TenantId) -> Result<ProvenData> {
    let mut errors = FieldErrors::new();
    for (name, is_given) in [("name", given.name.is_some()), ("password", given.password.is_some())] {
        if !is_given {
            errors.insert(name.into(), vec![format!("The {name} field is required.")]);
        }
    }
    let (Some(name), Some(password)) = (given.name, given.password) else { return Err(Error::Validation(errors)) };
    Ok(ProvenData { name: Some(name), password: Some(password::hash(&door.app, password).await?), home: Some(home) })
}

impl InvitationView {
    fn of(invitation: &Invitation) -> Self {
        InvitationView {
            id: invitation.id,
            email: invitation.email.clone(),
            role: invitation.role,
            invited_by: invitation.invited_by.clone(),
            created_at: zulu(invitation.created_at),
            expires_at: zulu(invitation.expires_at),
        }
    }
}

impl Form for NewInvitation {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let email = fields.required("email", EmailAddress);
        let role = fields.optional("role", ROLE).unwrap_or(Role::Member);
        Some(NewInvitation { email: email?, role })
    }
}

impl Form for Acceptance {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let token = fields.required("token", Text::up_to(200));
        let name = fields.optional("name", Name { max: 255 });
        let password = fields.optional("password", Password { min: 8 });
        Some(Acceptance { token: token?, name, password })
    }
}
