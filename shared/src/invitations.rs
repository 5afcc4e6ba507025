//! Inviting somebody into a tenant, and with that perhaps into a workspace of it. An open invitation takes a seat of the plan until it is accepted,
//! revoked or expired. An address can have only one open invitation, and gets few such mails.

use jiff::SignedDuration;

use crate::accounts::owner_of;
use crate::error::{Error, Result};
use crate::ids::{LinkId, MailId};
use crate::model::invitation::{Invitation, InvitationId, OpenInvitations, WorkspaceSeat};
use crate::model::link::{Link, Purpose};
use crate::model::mail::{Mail, MailContent};
use crate::model::member::Member;
use crate::model::role::{Role, only_owners_touch_owners};
use crate::model::tenant::TenantKind;
use crate::model::user::Email;
use crate::store::Record;
use crate::tenancy::doors::{Tenanted, Touched};
use crate::tenancy::{TenantStore, Transaction, conflict};

/// A new invitation, before it is written. The caller must be an admin of the tenant.
pub async fn prepare<R>(door: &Tenanted<R>, email: Email, role: Role, seat: Option<WorkspaceSeat>) -> Result<Invitation> {
    if door.tenant.kind == TenantKind::Demo {
        return Err(Error::Forbidden("A demo sends nothing outside, invitations included.".into()));
    }
    only_owners_touch_owners(door.member.role, &[role])?;
    if let Some(owner) = owner_of(&door.directory, &email).await?
        && door.store.find(&Member::key_of(owner.id)).await?.is_some()
    {
        return Err(Error::field("email", "The email field is a member's already."));
    }
    Ok(Invitation {
        id: InvitationId::new(door.now(), door.app.random()),
        email,
        role,
        seat,
        link: LinkId::new(door.app.random()),
        invited_by: door.member.name.clone(),
        created_at: door.now(),
        expires_at: door.now() + SignedDuration::from_hours(24 * Invitation::DAYS),
        written_by: None,
    })
}

/// Writes it with its link and its mail. `first` is what the transaction begins with.
pub async fn send<'a, R>(
    door: &'a Tenanted<R>,
    invitation: &Invitation,
    first: impl Fn(Transaction<'a>) -> Result<Transaction<'a>>,
) -> Result<()> {
    let (directory, now) = (&door.directory, door.now());
    let purpose = Purpose::AcceptInvitation { tenant: door.tenant.id, invitation: invitation.id, sender: Some(door.sender()) };
    let link = Link { id: invitation.link, purpose, expires_at: invitation.expires_at };
    let content = MailContent::Invitation { tenant_name: door.tenant.name.clone(), invited_by: door.member.name.clone(), link: link.id };
    let mail = Mail::queued(MailId::new(now, door.app.random()), Some(door.tenant.id), invitation.email.clone(), content, now);
    seated(&door.store, |open| {
        let transaction = first(door.store.transaction())?;
        if open.invites(&invitation.email, now) {
            // After what comes first: a recorded answer, which a duplicate of this request must get. Nothing else can have the id of the new
            // invitation yet.
            let refusal = conflict("This address is invited already. Revoke that invitation to send another.");
            return Ok((open.clone(), transaction.require(&door.store, &Invitation::key_of(invitation.id), refusal)?));
        }
        if open.count(now) >= OpenInvitations::MOST as u64 {
            return Err(Error::Conflict("There are 1,000 open invitations: revoke some, or wait until they are accepted.".into()));
        }
        let held = open.count(now);
        let transaction = door.require_role_at_least(transaction, Role::Admin, Touched::Else)?;
        let transaction = transaction.require_room(&door.store, Member::QUOTA, held, &door.plan, &door.tenant.plan)?;
        let transaction = door.invitation_mails(&invitation.email).iter().try_fold(transaction, |all, mails| all.allow(mails))?;
        let transaction = transaction
            .create(&door.store, invitation, conflict("Try again."))?
            .create(directory, &link, conflict("Try again."))?
            .create(directory, &mail, conflict("Try again."))?;
        Ok((open.with(invitation, now), transaction))
    })
    .await
}

/// Writes a change of the open invitations with what belongs to it. If others changed them in the meantime, `change` is called again.
pub async fn seated<'a>(
    store: &'a TenantStore,
    change: impl Fn(&OpenInvitations) -> Result<(OpenInvitations, Transaction<'a>)>,
) -> Result<()> {
    let mut before = open_invitations(store).await?;
    for _ in 0..64 {
        let (after, transaction) = change(&before)?;
        let written = match before.is_new() {
            true => transaction.create(store, &after, conflict("Try again."))?,
            false => transaction.replace(store, &after, &before)?,
        };
        let Err(refused) = written.commit().await else { return Ok(()) };
        // A duplicate of this request changed the list, and its answer counts.
        if matches!(refused, Error::Replayed(_) | Error::IdempotencyKeyReused) {
            return Err(refused);
        }
        // The reason for the refusal may no longer exist in the present list.
        let now = open_invitations(store).await?;
        if now.same_as(&before) {
            return Err(refused);
        }
        before = now;
    }
    Err(Error::Conflict("The invitations are being changed by others. Try again.".into()))
}

/// The list of open invitations, or what it would be if it was not written yet.
pub async fn open_invitations(store: &TenantStore) -> Result<OpenInvitations> {
    if let Some(open) = store.find(&OpenInvitations::key_of()).await? {
        return Ok(open);
    }
    let (mut found, mut after) = (vec![], None);
    loop {
        let (some, next) = store.after(&Invitation::all(), after.as_ref(), OpenInvitations::MOST).await?;
        found.extend(some);
        match next {
            Some(next) => after = Some(next),
            None => return Ok(OpenInvitations::of(&found)),
        }
    }
}
