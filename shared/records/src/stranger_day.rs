//! How many threads of the inbox strangers begin on a day, which has an end: anybody may learn the address of a workspace.

use std::fmt;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use shared::ids::Segment;
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
        Key::new(&Collection::of::<StrangerDay>(), Day(day))
    }
}

struct Day(Date);

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Segment for Day {}

impl Entity for StrangerDay {
    type Scope = InWorkspace;
    const TYPE: &'static str = "stranger_day";
    const COLLECTION: &'static str = "stranger-days";
    const WITHIN: Option<Within> = Some(IN_WORKSPACE);
    const AUDITED: bool = false;
    /// A number of ours, whose key is nowhere in it.
    const EXPORTED: bool = false;

    /// It is only ever added to, under the key that `key_of` gives.
    fn key(&self) -> Key<Self> {
        Key::new(&Collection::of::<StrangerDay>(), "")
    }
}
