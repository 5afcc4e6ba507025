//! Opt-outs: that somebody wants no more messages at their number, as a customer sees it. What a sender needs of it stands with the peer.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use shared::Result;
use shared::model::phone_number::PhoneNumber;
use shared::store::{Collection, Entity, InTenant, Key, List, ListEntry, Listed, Named, Restore, restored};

/// `opt-outs` / `<digits>`: one for each number that ever opted out, or seemed to. It is never deleted. Every write of one goes with a write of its peer,
/// whose version it needs, so none is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptOut {
    pub phone_number: PhoneNumber,
    /// The last time. `None`: it only seemed so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opted_out_at: Option<Timestamp>,
    /// `None` while it is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opted_back_in_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<OptOutSource>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyword: Option<String>,
    /// By which the person said so: `imessage`, `rcs` or `sms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspected: Option<Suspicion>,
    /// When somebody decided that a suspicion was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dismissed_at: Option<Timestamp>,
    pub updated_at: Timestamp,
    /// Counts changes.
    pub version: u64,
}

/// How somebody opted out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OptOutSource {
    Keyword,
    Api,
    Portal,
    Campaign,
}

/// Words that seem to say no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspicion {
    pub since: Timestamp,
    pub phrase: String,
}

/// Why somebody opted out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptOutCause {
    pub source: OptOutSource,
    pub keyword: Option<String>,
    pub channel: Option<String>,
    pub reason: Option<String>,
    /// The message by which they said so.
    pub message_id: Option<String>,
    /// When they said so, where that was not now: a message may come in late.
    pub said_at: Option<Timestamp>,
}

impl OptOutSource {
    pub fn name(self) -> &'static str {
        match self {
            OptOutSource::Keyword => "keyword",
            OptOutSource::Api => "api",
            OptOutSource::Portal => "portal",
            OptOutSource::Campaign => "campaign",
        }
    }
}

impl OptOut {
    pub const NAME: &'static str = "Opt-out";
    /// Of a reason, in characters.
    pub const REASON: usize = 500;

    /// Nothing is known yet.
    fn nothing(phone_number: PhoneNumber, now: Timestamp) -> Self {
        OptOut {
            phone_number,
            opted_out_at: None,
            opted_back_in_at: None,
            source: None,
            keyword: None,
            channel: None,
            reason: None,
            suspected: None,
            dismissed_at: None,
            updated_at: now,
            version: 0,
        }
    }

    fn next(before: Option<&OptOut>, phone_number: &PhoneNumber, now: Timestamp) -> Self {
        let before = before.cloned().unwrap_or_else(|| OptOut::nothing(phone_number.clone(), now));
        OptOut { updated_at: now, version: before.version + 1, ..before }
    }

    pub fn opted_out(before: Option<&OptOut>, phone_number: &PhoneNumber, cause: &OptOutCause, now: Timestamp) -> Self {
        let OptOutCause { source, keyword, channel, reason, message_id: _, said_at: _ } = cause.clone();
        OptOut {
            opted_out_at: Some(now),
            opted_back_in_at: None,
            source: Some(source),
            keyword,
            channel,
            reason,
            suspected: None,
            ..OptOut::next(before, phone_number, now)
        }
    }

    pub fn opted_back_in(before: Option<&OptOut>, phone_number: &PhoneNumber, now: Timestamp) -> Self {
        OptOut { opted_back_in_at: Some(now), suspected: None, ..OptOut::next(before, phone_number, now) }
    }

    pub fn suspected(before: Option<&OptOut>, phone_number: &PhoneNumber, suspicion: Suspicion, now: Timestamp) -> Self {
        OptOut { suspected: Some(suspicion), ..OptOut::next(before, phone_number, now) }
    }

    pub fn dismissed(before: Option<&OptOut>, phone_number: &PhoneNumber, now: Timestamp) -> Self {
        OptOut { suspected: None, dismissed_at: Some(now), ..OptOut::next(before, phone_number, now) }
    }

    /// Without what a person wrote as its reason.
    pub fn without_reason(&self, now: Timestamp) -> Self {
        OptOut { reason: None, ..OptOut::next(Some(self), &self.phone_number, now) }
    }

    pub fn is_active(&self) -> bool {
        self.opted_out_at.is_some() && self.opted_back_in_at.is_none()
    }

    pub fn etag(&self) -> String {
        format!("\"{}\"", self.version)
    }

    pub fn key_of(phone_number: &PhoneNumber) -> Key<Self> {
        Key::new(&Collection::of::<OptOut>(), phone_number.digits())
    }

    /// In the order of the digits.
    pub fn all() -> List<Self> {
        List::new(Collection::of::<OptOut>(), "")
    }
}

impl Entity for OptOut {
    type Scope = InTenant;
    const TYPE: &'static str = "opt_out";
    const COLLECTION: &'static str = "opt-outs";
    const NOUN: Option<&'static str> = Some(OptOut::NAME);
    const RESTORE: Option<Restore> = Some(restored::<OptOut>);

    fn key(&self) -> Key<Self> {
        OptOut::key_of(&self.phone_number)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }

    fn list_entry(&self) -> Result<Option<ListEntry>> {
        ListEntry::of(self)
    }
}

impl Named for OptOut {
    type Id = PhoneNumber;

    fn places(id: PhoneNumber) -> Vec<Key<Self>> {
        vec![OptOut::key_of(&id)]
    }
}

/// What the list of the newest sorts and filters by.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OptOutEntry {
    pub updated_at: Timestamp,
    pub active: bool,
    pub suspected: bool,
}

impl Listed for OptOut {
    type Entry = OptOutEntry;

    fn entry(&self) -> OptOutEntry {
        OptOutEntry { updated_at: self.updated_at, active: self.is_active(), suspected: self.suspected.is_some() }
    }
}
