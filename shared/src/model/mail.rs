//! A mail of the platform to a person. The record is the outbox: it is written in the same transaction as the event that it reports. The
//! stream brings it to the courier, and its state says how far sending has got.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::ids::{LinkId, MailId, TenantId, stored_option};
use crate::model::edge::Metric;
use crate::model::user::Email;
use crate::store::entity::{Collection, Entity, InDirectory, Key};
use crate::store::page::List;

/// `mail#<id>` / `mail`. Kept for 30 days.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mail {
    pub id: MailId,
    /// The tenant whose fair share of the queue it uses.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "stored_option")]
    pub tenant: Option<TenantId>,
    pub to: Email,
    pub content: MailContent,
    pub state: MailState,
    pub created_at: Timestamp,
    pub version: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MailContent {
    VerifyEmail {
        name: String,
        link: LinkId,
    },
    /// Somebody registered with an address that already has an account.
    AlreadyRegistered {
        name: String,
    },
    ResetPassword {
        name: String,
        link: LinkId,
    },
    Invitation {
        tenant_name: String,
        invited_by: String,
        link: LinkId,
    },
    DemoReady {
        name: String,
        tenant_name: String,
        url: String,
        ends_at: Timestamp,
    },
    DemoEnding {
        name: String,
        tenant_name: String,
        ends_at: Timestamp,
    },
    /// A share of the month's edge quota was used.
    QuotaReached {
        name: String,
        tenant_name: String,
        metric: Metric,
        percent: u64,
        /// Whether the plan bills requests above the quota. Otherwise serving pauses.
        overage: bool,
    },
    /// Nothing reaches a webhook, or nothing is delivered to it any more.
    WebhookFailing {
        name: String,
        tenant_name: String,
        webhook: String,
        /// `None`: it asked for it by itself.
        failing_since: Option<Timestamp>,
        is_disabled: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case")]
pub enum MailState {
    Queued,
    /// One worker has claimed it until the lease ends.
    Sending {
        since: Timestamp,
    },
    Sent {
        at_time: Timestamp,
    },
    /// A worker ended between the carrier's call and its answer, and the carrier cannot say what happened. It is never sent again
    /// automatically.
    Unknown {
        since: Timestamp,
    },
    /// The carrier will never take it.
    Failed {
        reason: String,
    },
    /// An operator had it sent again under another id.
    Replaced {
        by: MailId,
    },
}

/// `unknown-mails` / `<id>`: mails of which nobody knows whether they were sent, for the operator's list. Kept as long as the mail.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UnknownMail {
    pub mail: MailId,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "stored_option")]
    pub tenant: Option<TenantId>,
    pub kind: String,
    pub since: Timestamp,
    pub expires_at: Timestamp,
}

/// What a worker that received the mail must do.
#[derive(Debug, PartialEq, Eq)]
pub enum MailStep {
    /// Write the claimed mail, then send it.
    Send,
    /// Another worker may be sending it: try later.
    Wait,
    /// Nobody knows whether it was sent.
    GiveUp,
    /// Nothing: it was sent, or it certainly was not.
    Done,
}

impl Mail {
    const KEEP_DAYS: i64 = 30;
    /// Longer than a worker can live.
    pub const LEASE: SignedDuration = SignedDuration::from_secs(60);

    pub fn queued(id: MailId, tenant: Option<TenantId>, to: Email, content: MailContent, now: Timestamp) -> Self {
        Mail { id, tenant, to, content, state: MailState::Queued, created_at: now, version: 1 }
    }

    pub fn key_of(id: MailId) -> Key<Self> {
        Key::at(&Collection::within::<Mail>(id), "mail".into())
    }

    /// `carrier_deduplicates`: if the same id is sent twice, the recipient gets it once.
    pub fn next_step(&self, now: Timestamp, carrier_deduplicates: bool) -> MailStep {
        match &self.state {
            MailState::Queued => MailStep::Send,
            MailState::Sending { since } if now.duration_since(*since) < Mail::LEASE => MailStep::Wait,
            MailState::Sending { .. } if carrier_deduplicates => MailStep::Send,
            MailState::Sending { .. } => MailStep::GiveUp,
            MailState::Sent { .. } | MailState::Unknown { .. } | MailState::Failed { .. } | MailState::Replaced { .. } => MailStep::Done,
        }
    }

    /// Claimed by a worker that is about to call the carrier.
    pub fn claimed(&self, now: Timestamp) -> Self {
        self.with_state(MailState::Sending { since: now })
    }

    /// The mail as unknown, and its entry in the list of unknown mails.
    pub fn lost_track_of(&self, now: Timestamp) -> (Self, UnknownMail) {
        let line = UnknownMail {
            mail: self.id,
            tenant: self.tenant,
            kind: self.content.kind().to_owned(),
            since: now,
            expires_at: self.ends_at(),
        };
        (self.with_state(MailState::Unknown { since: now }), line)
    }

    /// The same content under a new id, and this mail as replaced by it. A message for this mail that is still in a queue then sends
    /// nothing. A mail that was sent, or may be sent right now, cannot be replaced.
    pub fn sent_again(&self, id: MailId, now: Timestamp) -> Result<(Self, Self), Error> {
        match &self.state {
            MailState::Queued | MailState::Unknown { .. } | MailState::Failed { .. } => {}
            MailState::Sending { .. } => {
                return Err(Error::Conflict("This mail is being sent right now: wait until that is settled.".into()));
            }
            MailState::Sent { .. } => return Err(Error::Conflict("This mail was sent.".into())),
            MailState::Replaced { by } => return Err(Error::Conflict(format!("This mail was sent again already, as {by}.").into())),
        }
        let again = Mail::queued(id, self.tenant, self.to.clone(), self.content.clone(), now);
        Ok((self.with_state(MailState::Replaced { by: id }), again))
    }

    fn ends_at(&self) -> Timestamp {
        self.created_at + SignedDuration::from_hours(24 * Mail::KEEP_DAYS)
    }

    pub fn with_state(&self, state: MailState) -> Self {
        Mail { state, version: self.version + 1, ..self.clone() }
    }
}

impl Entity for Mail {
    type Scope = InDirectory;
    const TYPE: &'static str = "mail";
    const COLLECTION: &'static str = "mail";

    fn key(&self) -> Key<Self> {
        Mail::key_of(self.id)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }

    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.ends_at())
    }
}

impl MailContent {
    /// As stored, and as in the carrier's reports.
    pub fn kind(&self) -> &'static str {
        match self {
            MailContent::VerifyEmail { .. } => "verify_email",
            MailContent::AlreadyRegistered { .. } => "already_registered",
            MailContent::ResetPassword { .. } => "reset_password",
            MailContent::Invitation { .. } => "invitation",
            MailContent::DemoReady { .. } => "demo_ready",
            MailContent::DemoEnding { .. } => "demo_ending",
            MailContent::QuotaReached { .. } => "quota_reached",
            MailContent::WebhookFailing { .. } => "webhook_failing",
        }
    }
}

impl UnknownMail {
    pub fn key_of(mail: MailId) -> Key<Self> {
        Key::at(&UnknownMail::collection(), mail.to_string())
    }

    /// Oldest first.
    pub fn all() -> List<Self> {
        List::new(UnknownMail::collection(), "")
    }

    fn collection() -> Collection {
        Collection::of::<UnknownMail>()
    }
}

impl Entity for UnknownMail {
    type Scope = InDirectory;
    const TYPE: &'static str = "unknown_mail";
    const COLLECTION: &'static str = "unknown-mails";

    fn key(&self) -> Key<Self> {
        UnknownMail::key_of(self.mail)
    }

    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.expires_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Random;

    fn mail(state: MailState) -> Mail {
        let random = Random::seeded(3);
        let now = Timestamp::UNIX_EPOCH;
        let content = MailContent::VerifyEmail { name: "Ada".into(), link: LinkId::new(&random) };
        Mail::queued(MailId::new(now, &random), None, Email::parse("ada@example.com").unwrap(), content, now).with_state(state)
    }

    #[test]
    fn a_claim_holds_for_its_lease_and_then_only_a_deduplicating_carrier_is_asked_again() {
        let claimed_at = Timestamp::UNIX_EPOCH;
        let claimed = mail(MailState::Queued).claimed(claimed_at);
        for deduplicates in [true, false] {
            assert_eq!(claimed.next_step(claimed_at + SignedDuration::from_secs(59), deduplicates), MailStep::Wait);
        }
        assert_eq!(claimed.next_step(claimed_at + Mail::LEASE, true), MailStep::Send);
        assert_eq!(claimed.next_step(claimed_at + Mail::LEASE, false), MailStep::GiveUp);
    }

    #[test]
    fn what_is_settled_is_never_sent_by_itself() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1);
        let by = MailId::new(now, &Random::seeded(4));
        for settled in [
            MailState::Sent { at_time: now },
            MailState::Unknown { since: now },
            MailState::Failed { reason: "no such address".into() },
            MailState::Replaced { by },
        ] {
            assert_eq!(mail(settled).next_step(now, true), MailStep::Done);
        }
    }

    #[test]
    fn sending_again_takes_a_new_id_and_settles_the_old_one() {
        let now = Timestamp::UNIX_EPOCH;
        let id = MailId::new(now, &Random::seeded(5));
        let (old, new) = mail(MailState::Unknown { since: now }).sent_again(id, now).unwrap();
        assert_eq!((old.state.clone(), new.id, new.state.clone()), (MailState::Replaced { by: id }, id, MailState::Queued));
        assert!(old.sent_again(id, now).is_err());
        assert!(mail(MailState::Sent { at_time: now }).sent_again(id, now).is_err());
        assert!(mail(MailState::Sending { since: now }).sent_again(id, now).is_err());
    }

    #[test]
    fn the_kind_is_the_stored_one() {
        let content = MailContent::Invitation { tenant_name: "A".into(), invited_by: "B".into(), link: LinkId::new(&Random::seeded(1)) };
        assert_eq!(serde_json::to_value(&content).unwrap()["kind"], content.kind());
    }
}
