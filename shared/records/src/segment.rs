//! Segments: a name for the leads that a rule describes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::rule::Rule;
use shared::id;
use shared::model::free;
use shared::store::{Counter, InWorkspace, Record};

id!(/// A segment of a workspace's leads.
    SegmentId = "seg", in_workspace);

/// `segments` / `<id>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    pub id: SegmentId,
    pub name: String,
    /// As it was given; `Rule::parse` takes it.
    #[serde(with = "free")]
    pub rule: Map<String, Value>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub version: u64,
}

impl Segment {
    pub const COUNT: Counter = Counter::named("segments");
    /// In one workspace.
    pub const MOST: u64 = 200;

    /// `None`: it is so already.
    pub fn changed(&self, name: Option<String>, rule: Option<Map<String, Value>>, now: Timestamp) -> Option<Self> {
        let (name, rule) = (name.unwrap_or_else(|| self.name.clone()), rule.unwrap_or_else(|| self.rule.clone()));
        let new = name != self.name || rule != self.rule;
        new.then(|| Segment { name, rule, updated_at: now, version: self.version + 1, ..self.clone() })
    }

    /// Its rule to ask leads by. It was parsed before it was stored; if it cannot be any more, nobody is in the segment.
    pub fn parsed(&self) -> Option<Rule> {
        Rule::parse(&self.rule).ok()
    }
}

impl Record for Segment {
    type Scope = InWorkspace;
    type Id = SegmentId;
    const TYPE: &'static str = "segment";
    const COLLECTION: &'static str = "segments";
    const COUNTER: Option<Counter> = Some(Segment::COUNT);
    const NOUN: Option<&'static str> = Some("Segment");
    const FREE: &'static [&'static str] = &["rule"];

    fn id(&self) -> SegmentId {
        self.id
    }

    fn version(&self) -> Option<u64> {
        Some(self.version)
    }
}
