//! An open invitation to join a tenant.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{InvitationId, LinkId};
use crate::model::user::Email;
use crate::store::entity::{Collection, Entity, InTenant, Key};
use crate::store::page::List;
use crate::tenancy::Role;

/// `invitations` / `<id>`: listed newest first; gone when accepted, revoked or expired.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Invitation {
    pub id: InvitationId,
    pub email: Email,
    pub role: Role,
    /// The link in its mail.
    pub link: LinkId,
    pub invited_by: String,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

impl Invitation {
    pub const DAYS: i64 = 7;

    pub fn key_of(id: InvitationId) -> Key<Self> {
        Key::new(&Invitation::collection(), id.to_string())
    }

    pub fn all() -> List<Self> {
        List::new(Invitation::collection(), "")
    }

    pub(crate) fn collection() -> Collection {
        Collection::named("invitations")
    }
}

impl Entity for Invitation {
    type Scope = InTenant;
    const TYPE: &'static str = "invitation";

    fn key(&self) -> Key<Self> {
        Invitation::key_of(self.id)
    }

    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.expires_at)
    }
}
