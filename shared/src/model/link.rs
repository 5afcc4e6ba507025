//! A link in a mail: for one use, valid for a short time. Its token is `<id>.<signature>`, signed with a key derived from the secret of
//! links. The table therefore contains nothing that opens an account, and the courier can write the link without storing it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::crypto::SigningKey;
use crate::ids::{LinkId, SubaccountId, TenantId, UserId, stored};
use crate::model::invitation::InvitationId;
use crate::model::user::Email;
use crate::store::entity::{Collection, Entity, InDirectory, Key};

/// `link#<id>` / `link`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Link {
    pub id: LinkId,
    pub purpose: Purpose,
    pub expires_at: Timestamp,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Purpose {
    /// Confirms the registration that waits at the address with the link's id.
    Register { email: Email },
    /// For accounts from before registrations waited.
    VerifyEmail { user: UserId },
    ResetPassword {
        user: UserId,
        /// Invalid after another password was set.
        #[serde(default)]
        passwords: u64,
    },
    AcceptInvitation {
        #[serde(with = "stored")]
        tenant: TenantId,
        invitation: InvitationId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sender: Option<Sender>,
    },
}

/// Who is responsible for an invitation. It is worth what they may grant when it is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    pub user: UserId,
    /// Set if the tenant's agency invites: where the sender is a member. Stored here and not in the tenant, which must not name its agency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agency: Option<ForChild>,
}

/// An agency, and the subaccount of it that the tenant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForChild {
    #[serde(with = "stored")]
    pub agency: TenantId,
    pub subaccount: SubaccountId,
}

impl Link {
    pub fn key_of(id: LinkId) -> Key<Self> {
        Key::at(&Collection::within::<Link>(id), "link".into())
    }

    pub fn token(id: LinkId, key: &SigningKey) -> String {
        format!("{id}.{}", key.sign(&id.to_string()))
    }

    /// The id in a token that we signed. It is checked before anything is read.
    pub fn of_token(token: &str, key: &SigningKey) -> Option<LinkId> {
        let (id, signature) = token.split_once('.')?;
        let id = LinkId::parse(id)?;
        key.verifies(&id.to_string(), signature).then_some(id)
    }
}

impl Entity for Link {
    type Scope = InDirectory;
    const TYPE: &'static str = "link";
    const COLLECTION: &'static str = "link";

    fn key(&self) -> Key<Self> {
        Link::key_of(self.id)
    }

    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.expires_at)
    }
}
