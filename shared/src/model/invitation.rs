//! An open invitation to join a tenant.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{LinkId, UserId, WorkspaceId};
use crate::model::role::Role;
use crate::model::user::Email;
use crate::store::entity::{Collection, Entity, InTenant, Key, Record};

crate::id!(InvitationId, time_ordered);

/// `invitations` / `<id>`: listed newest first. Deleted when accepted or revoked, and when it expires.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Invitation {
    pub id: InvitationId,
    pub email: Email,
    pub role: Role,
    /// The place in a workspace that goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seat: Option<WorkspaceSeat>,
    /// The link in its mail.
    pub link: LinkId,
    pub invited_by: String,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// Who wrote the item, as the store records it. Needed for older invitations, whose links do not name their sender.
    #[serde(default, rename = "actor", skip_serializing)]
    pub written_by: Option<String>,
}

/// The place in a workspace that an invitation promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkspaceSeat {
    pub id: WorkspaceId,
    pub role: Role,
}

impl Invitation {
    pub const DAYS: i64 = 7;
    /// Mails to one address from one tenant in a day.
    pub const MAILS: u64 = 3;
    /// Mails to one address from all tenants in a day.
    pub const MAILS_FROM_ALL: u64 = 20;

    /// The user who made it, as far as the item says.
    pub fn writer(&self) -> Option<UserId> {
        self.written_by.as_deref()?.strip_prefix("user:").and_then(UserId::parse)
    }
}

impl Record for Invitation {
    type Scope = InTenant;
    type Id = InvitationId;
    const TYPE: &'static str = "invitation";
    const COLLECTION: &'static str = "invitations";
    // Its link is in a mail that names another tenant.
    const RESTORED: bool = false;

    fn id(&self) -> InvitationId {
        self.id
    }

    fn version(&self) -> Option<u64> {
        None
    }

    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.expires_at)
    }
}

/// `open-invitations` / `list`: who is invited. Every change checks its version, so that open invitations and members together never take
/// more seats than the plan has, and nobody is invited twice. An expired invitation takes no seat.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct OpenInvitations {
    seats: BTreeMap<String, Seat>,
    /// 0 means not written yet.
    version: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Seat {
    /// The hash of the address.
    to: String,
    until: i64,
}

impl OpenInvitations {
    /// One item contains them all.
    pub const MOST: usize = 1000;

    pub fn key_of() -> Key<Self> {
        Key::at(&Collection::of::<OpenInvitations>(), "list".into())
    }

    /// The list for invitations that were made before the list existed.
    pub fn of(invitations: &[Invitation]) -> Self {
        let seats = invitations.iter().map(|invitation| (invitation.id.to_string(), Seat::of(invitation)));
        OpenInvitations { seats: seats.collect(), version: 0 }
    }

    pub fn is_new(&self) -> bool {
        self.version == 0
    }

    pub fn count(&self, now: Timestamp) -> u64 {
        self.open(now).count() as u64
    }

    pub fn invites(&self, email: &Email, now: Timestamp) -> bool {
        let to = email.hashed().to_string();
        self.open(now).any(|seat| seat.to == to)
    }

    pub fn with(&self, invitation: &Invitation, now: Timestamp) -> Self {
        let mut seats = self.standing(now);
        seats.insert(invitation.id.to_string(), Seat::of(invitation));
        OpenInvitations { seats, version: self.version + 1 }
    }

    pub fn without(&self, invitation: InvitationId, now: Timestamp) -> Self {
        let mut seats = self.standing(now);
        seats.remove(&invitation.to_string());
        OpenInvitations { seats, version: self.version + 1 }
    }

    pub fn same_as(&self, other: &Self) -> bool {
        self.version == other.version
    }

    fn standing(&self, now: Timestamp) -> BTreeMap<String, Seat> {
        let mut seats = self.seats.clone();
        seats.retain(|_, seat| seat.until > now.as_second());
        seats
    }

    fn open(&self, now: Timestamp) -> impl Iterator<Item = &Seat> {
        self.seats.values().filter(move |seat| seat.until > now.as_second())
    }
}

impl Seat {
    fn of(invitation: &Invitation) -> Self {
        Seat { to: invitation.email.hashed().to_string(), until: invitation.expires_at.as_second() }
    }
}

impl Entity for OpenInvitations {
    type Scope = InTenant;
    const TYPE: &'static str = "open_invitations";
    const COLLECTION: &'static str = "open-invitations";
    const AUDITED: bool = false;
    const EXPORTED: bool = false;

    fn key(&self) -> Key<Self> {
        OpenInvitations::key_of()
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Random;

    #[test]
    fn an_open_invitation_takes_a_seat_until_it_expires() {
        let (random, now) = (Random::seeded(1), Timestamp::UNIX_EPOCH);
        let invitation = |email: &str, hours: i64| Invitation {
            id: InvitationId::new(now, &random),
            email: Email::parse(email).unwrap(),
            role: Role::Member,
            seat: None,
            link: LinkId::new(&random),
            invited_by: "Ada".into(),
            created_at: now,
            expires_at: now + jiff::SignedDuration::from_hours(hours),
            written_by: None,
        };
        let (brief, long) = (invitation("a@example.com", 1), invitation("b@example.com", 2));
        let open = OpenInvitations::default().with(&brief, now).with(&long, now);
        assert_eq!(open.count(now), 2);
        assert!(open.invites(&Email::parse("A@Example.com").unwrap(), now));
        let later = brief.expires_at;
        assert_eq!((open.count(later), open.invites(&brief.email, later)), (1, false));
        assert_eq!(open.without(long.id, later).count(later), 0);
        assert_eq!(OpenInvitations::of(&[brief, long]).count(now), 2);
    }

    #[test]
    fn who_wrote_an_older_invitation_is_on_its_item() {
        let mut invitation: Invitation = serde_json::from_value(serde_json::json!({
            "id": "0198c0de-0000-7000-8000-000000000000", "email": "a@example.com", "role": "owner", "invited_by": "Ada",
            "link": "0198c0de-0000-4000-8000-000000000000", "created_at": "2026-01-01T00:00:00Z", "expires_at": "2026-01-08T00:00:00Z",
            "actor": "user:0198c0de-0000-7000-8000-000000000001",
        }))
        .unwrap();
        assert_eq!(invitation.writer().unwrap().to_string(), "0198c0de-0000-7000-8000-000000000001");
        invitation.written_by = Some("platform".into());
        assert!(invitation.writer().is_none());
    }
}
