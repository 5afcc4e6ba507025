//! How many threads of the inbox strangers begin on a day, which has an end: anybody may learn the address of a workspace.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use shared::store::{Collection, Entity, IN_WORKSPACE, InWorkspace, Key, Within};

/// `stranger-days` / `<date>` (UTC).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrangerDay {
    pub threads: u64,
}

impl StrangerDay {
    /// After so many, what strangers write is taken for spam.
    pub const SPAM_AFTER: u64 = 100;
    /// After so many, it is dropped.
    pub const FULL_AFTER: u64 = 1_000;

    pub fn key_of(day: Date) -> Key<Self> {
        Key::new(&Collection::of::<StrangerDay>(), day)
    }
}

counts!(StrangerDay, InWorkspace, "stranger_day", "stranger-days", Some(IN_WORKSPACE));
