//! Roles of a membership, smallest first, so that "at least" is `>=`.

use serde::{Deserialize, Serialize};

use crate::error::Error;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Also creates and edits tasks.
    Member,
    /// Also sees and manages members and invitations, manages projects, and deletes tasks.
    Admin,
    /// Also what belongs to the tenant itself: plan, deletion, other owners.
    Owner,
}

impl Role {
    pub const ALL: [Role; 4] = [Role::Viewer, Role::Member, Role::Admin, Role::Owner];

    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Member => "member",
            Role::Admin => "admin",
            Role::Owner => "owner",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Role::ALL.into_iter().find(|role| role.name() == text)
    }
}

/// Only owners make, change or remove owners: of a tenant, and of a workspace.
pub fn only_owners_touch_owners(mine: Role, touched: &[Role]) -> Result<(), Error> {
    if mine < Role::Owner && touched.contains(&Role::Owner) {
        return Err(Error::Forbidden("Only an owner can make, change or remove an owner.".into()));
    }
    Ok(())
}
