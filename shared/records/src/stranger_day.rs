//! How many threads of the inbox strangers begin on a day, which has an end: anybody may learn the address of a workspace. A flood of spam leaves the others
//! their room.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use shared::store::{Collection, Entity, IN_WORKSPACE, InWorkspace, Key, Within};

/// `stranger-days` / `<date>` (UTC).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrangerDay {
    #[serde(default)]
    pub threads: u64,
    /// Threads besides, begun by what the receiving service took for spam.
    #[serde(default)]
    pub spam: u64,
}

impl StrangerDay {
    /// After so many, what strangers write is taken for spam.
    pub const SPAM_AFTER: u64 = 100;
    /// After so many of a kind, that kind is dropped.
    pub const FULL_AFTER: u64 = 1_000;

    /// Of the kind.
    pub fn begun(&self, is_spam: bool) -> u64 {
        if is_spam { self.spam } else { self.threads }
    }

    pub fn counter(is_spam: bool) -> &'static str {
        if is_spam { "spam" } else { "threads" }
    }

    pub fn key_of(day: Date) -> Key<Self> {
        Key::new(&Collection::of::<StrangerDay>(), day)
    }
}

counts!(StrangerDay, InWorkspace, "stranger_day", "stranger-days", Some(IN_WORKSPACE));
