//! A mail of the platform to a person. The record is the outbox: it is written in the transaction of what it tells about, the stream
//! brings it to the courier, and its state says how far sending got.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::ids::{LinkId, MailId};
use crate::model::user::Email;
use crate::store::entity::{Collection, Entity, InDirectory, Key};
use crate::tenancy::{TenantId, stored_option};

/// `mail#<id>` / `mail`. Kept for 30 days.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mail {
    pub id: MailId,
    /// Whose fair share of the queue it uses.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "stored_option")]
    pub tenant: Option<TenantId>,
    pub to: Email,
    pub content: Content,
    pub state: State,
    pub created_at: Timestamp,
    pub version: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Content {
    VerifyEmail { name: String, link: LinkId },
    /// Somebody registered with an address that has an account.
    AlreadyRegistered { name: String },
    ResetPassword { name: String, link: LinkId },
    Invitation { tenant_name: String, invited_by: String, link: LinkId },
    DemoReady { name: String, tenant_name: String, url: String, ends_at: Timestamp },
    DemoEnding { name: String, tenant_name: String, ends_at: Timestamp },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case")]
pub enum State {
    Queued,
    /// Claimed by one worker until the lease ends.
    Sending { since: Timestamp },
    Sent { at_time: Timestamp },
    /// A worker vanished between the carrier's call and its answer, and the carrier cannot tell: never sent again by itself.
    Unknown { since: Timestamp },
    /// The carrier will never take it.
    Failed { reason: String },
}

/// What a worker that received the mail has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Write the claimed mail, then send it.
    Send,
    /// Another worker may be at it: come back later.
    Wait,
    /// Nobody knows whether it went out.
    GiveUp,
    /// Nothing: it is sent, or known not to be.
    Done,
}

impl Mail {
    const KEEP_DAYS: i64 = 30;
    /// Longer than a worker can live.
    pub const LEASE: SignedDuration = SignedDuration::from_secs(60);

    pub fn queued(id: MailId, tenant: Option<TenantId>, to: Email, content: Content, now: Timestamp) -> Self {
        Mail { id, tenant, to, content, state: State::Queued, created_at: now, version: 1 }
    }

    pub fn key_of(id: MailId) -> Key<Self> {
        Key::new(&Collection::of("mail", id), "mail".into())
    }

    /// `carrier_deduplicates`: sending the same id twice reaches the recipient once.
    pub fn next_step(&self, now: Timestamp, carrier_deduplicates: bool) -> Step {
        match &self.state {
            State::Queued => Step::Send,
            State::Sending { since } if now.duration_since(*since) < Mail::LEASE => Step::Wait,
            State::Sending { .. } if carrier_deduplicates => Step::Send,
            State::Sending { .. } => Step::GiveUp,
            State::Sent { .. } | State::Unknown { .. } | State::Failed { .. } => Step::Done,
        }
    }

    pub fn with_state(&self, state: State) -> Self {
        Mail { state, version: self.version + 1, ..self.clone() }
    }
}

impl Entity for Mail {
    type Scope = InDirectory;
    const TYPE: &'static str = "mail";

    fn key(&self) -> Key<Self> {
        Mail::key_of(self.id)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }

    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.created_at + SignedDuration::from_hours(24 * Mail::KEEP_DAYS))
    }
}
