//! One login. The token names the session, and this record says whether it is still valid.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{SessionId, TenantId, UserId, stored_option};
use crate::model::user::User;
use crate::store::entity::{Entity, InDirectory, Key};
use crate::store::page::List;

/// `user#<id>` / `session#<id>`: read by every door. A user's sessions are one query.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Session {
    pub id: SessionId,
    pub user: UserId,
    /// The tenant in which it was opened; `None` for a user without a tenant.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "stored_option")]
    pub tenant: Option<TenantId>,
    pub device_name: String,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

impl Session {
    pub fn of_user(user: UserId) -> List<Self> {
        List::new(User::collection(user), "session#")
    }

    pub fn key_of(user: UserId, id: SessionId) -> Key<Self> {
        Key::at(&User::collection(user), format!("session#{id}"))
    }
}

impl Entity for Session {
    type Scope = InDirectory;
    const TYPE: &'static str = "session";
    const COLLECTION: &'static str = "user";

    fn key(&self) -> Key<Self> {
        Session::key_of(self.user, self.id)
    }

    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.expires_at)
    }
}
