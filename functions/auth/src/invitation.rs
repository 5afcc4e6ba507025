//! Invitations: an address and a role, a link in a mail, and joining through it.

use jiff::SignedDuration;
use serde::Serialize;
use shared::error::FieldErrors;
use shared::http::answer::{Answer, Created, Listing, Nothing};
use shared::http::arguments::{Body, Found, NoFilters, Offsets};
use shared::http::form::{EmailAddress, Fields, Form, Name, Password, Text};
use shared::http::idempotency::Once;
use shared::http::paging::Window;
use shared::ids::{InvitationId, LinkId, MailId, UserId};
use shared::model::invitation::Invitation;
use shared::model::link::{Link, Purpose};
use shared::model::mail::{Content, Mail};
use shared::model::member::Member;
use shared::model::tenant::Kind;
use shared::model::time::zulu;
use shared::model::user::{Belongs, Email, EmailClaim, User};
use shared::store::{Counter, Direction, conflict};
use shared::tenancy::Role;
use shared::tenancy::doors::{Admin, Visitor};
use shared::{Error, Result};

use crate::member::{MemberView, ROLE, only_owners_touch_owners};
use crate::password::{self, dead_link};

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Invitation)]
pub struct InvitationView {
    id: String,
    email: String,
    role: &'static str,
    invited_by: String,
    created_at: String,
    expires_at: String,
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
    let open = door.store.all(&Invitation::all()).await?;
    let mut window = Window::new(&asked.page, Direction::Descending)?;
    for invitation in &open {
        window.add(invitation.id.to_string(), invitation.id.to_string());
    }
    let (ids, next, total) = window.finish();
    let find = |id: String| open.iter().find(|invitation| invitation.id.to_string() == id);
    Ok(Listing { items: ids.into_iter().filter_map(find).map(InvitationView::of).collect(), total, page: asked.page, next })
}

/// Needs a free place in the plan, which is taken when the invitation is accepted.
pub async fn create(door: Admin, once: Once<NewInvitation>) -> Result<Created<InvitationView>> {
    let NewInvitation { email, role } = once.body;
    if door.tenant.kind == Kind::Demo {
        return Err(Error::Forbidden("A demo sends nothing outside, invitations included.".into()));
    }
    only_owners_touch_owners(door.member.role, &[role])?;
    if let Some(claim) = door.directory.find(&EmailClaim::key_of(&email)).await?
        && door.store.find(&Member::key_of(claim.user)).await?.is_some()
    {
        return Err(Error::field("email", "The email field is a member's already."));
    }
    let now = door.now();
    let expires_at = now + SignedDuration::from_hours(24 * Invitation::DAYS);
    let invitation = Invitation {
        id: InvitationId::new(now, door.app.random()),
        email,
        role,
        link: LinkId::new(door.app.random()),
        invited_by: door.member.name.clone(),
        created_at: now,
        expires_at,
    };
    let purpose = Purpose::AcceptInvitation { tenant: door.tenant.id, invitation: invitation.id };
    let link = Link { id: invitation.link, purpose, expires_at };
    let content = Content::Invitation { tenant_name: door.tenant.name.clone(), invited_by: door.member.name.clone(), link: link.id };
    let mail = Mail::queued(MailId::new(now, door.app.random()), Some(door.tenant.id), invitation.email.clone(), content, now);
    let answer = Created::new("Invitation sent", InvitationView::of(&invitation));
    let transaction = once.ticket.record(door.store.transaction(), &door.store, &answer)?;
    transaction
        .require_room(&door.store, Counter::Members, "users", door.plan.users, &door.tenant.plan)?
        .create(&door.store, &invitation, conflict("Try again."))?
        .create(&door.directory, &link, conflict("Try again."))?
        .create(&door.directory, &mail, conflict("Try again."))?
        .commit()
        .await?;
    Ok(answer)
}

pub async fn revoke(door: Admin, invitation: Found<Invitation>) -> Result<Answer<Nothing>> {
    only_owners_touch_owners(door.member.role, &[invitation.0.role])?;
    door.store.remove(invitation.0, |invitation, along| along.remove(&door.directory, &Link::key_of(invitation.link))).await?;
    Ok(Answer::done("Invitation revoked"))
}

/// Joins the tenant as the invited address: as the user it belongs to, or as a new user with the name and password given here.
pub async fn accept(door: Visitor, body: Body<Acceptance>) -> Result<Answer<MemberView>> {
    let invited = door.invited(&body.0.token).await?.ok_or_else(dead_link)?;
    let (store, invitation, now) = (&invited.store, &invited.invitation, door.now());
    let claim = door.directory.find(&EmailClaim::key_of(&invitation.email)).await?;
    let known = match claim {
        Some(claim) => Some(door.directory.get(&User::key_of(claim.user)).await?),
        None => None,
    };
    let user = match &known {
        // The link reached the address: that verifies it.
        Some(user) => {
            let home = user.home.or(Some(invited.tenant.id));
            User { verified_at: user.verified_at.or(Some(now)), home, updated_at: now, version: user.version + 1, ..user.clone() }
        }
        None => new_user(&door, invitation.email.clone(), body.0, invited.tenant.id).await?,
    };
    let member = Member {
        user: user.id,
        number: store.next_number(Counter::MemberNumbers).await?,
        role: invitation.role,
        name: user.name.clone(),
        email: user.email.as_str().to_owned(),
        joined_at: now,
        version: 1,
    };
    let plan = door.app.plans().get(&invited.tenant.plan);
    let transaction = door
        .directory
        .transaction()
        .delete(&door.directory, &Link::key_of(invitation.link), Box::new(|_| dead_link()))?
        .delete(store, &Invitation::key_of(invitation.id), Box::new(|_| dead_link()))?
        .create(store, &member, conflict("You are a member of this tenant already."))?
        .create(store, &member.numbered(), conflict("Try again."))?
        .put(&door.directory, &Belongs { user: user.id, tenant: invited.tenant.id, since: now })?
        .count_within(store, Counter::Members, "users", plan.users, &invited.tenant.plan)?;
    let transaction = if member.role == Role::Owner { transaction.count(store, Counter::Owners, 1)? } else { transaction };
    let transaction = match &known {
        Some(before) => transaction.replace(&door.directory, &user, before)?,
        None => {
            let claim = EmailClaim { email: user.email.clone(), user: user.id, ends_at: None };
            let taken = conflict("The address was registered meanwhile. Accept the invitation again.");
            transaction.create_or_expired(&door.directory, &claim, now.as_second(), taken)?.create(
                &door.directory,
                &user,
                conflict("Try again."),
            )?
        }
    };
    transaction.commit().await?;
    Ok(Answer::new("Invitation accepted", MemberView::of(&member)))
}

async fn new_user(door: &Visitor, email: Email, given: Acceptance, home: shared::tenancy::TenantId) -> Result<User> {
    let mut errors = FieldErrors::new();
    for (name, is_given) in [("name", given.name.is_some()), ("password", given.password.is_some())] {
        if !is_given {
            errors.insert(name.into(), vec![format!("The {name} field is required.")]);
        }
    }
    let (Some(name), Some(password)) = (given.name, given.password) else { return Err(Error::Validation(errors)) };
    let now = door.now();
    Ok(User {
        id: UserId::new(now, door.app.random()),
        name,
        email,
        password: Some(password::hash(&door.app, password).await?),
        verified_at: Some(now),
        system_admin: false,
        home: Some(home),
        created_at: now,
        updated_at: now,
        version: 1,
    })
}

impl InvitationView {
    fn of(invitation: &Invitation) -> Self {
        InvitationView {
            id: invitation.id.to_string(),
            email: invitation.email.as_str().to_owned(),
            role: invitation.role.name(),
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
