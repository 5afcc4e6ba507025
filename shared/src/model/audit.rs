//! The audit log: who changed what, in which request. It is written from the table's stream, so that no change can be missing and no
//! request waits for it. A deletion also writes a removal, because the stream does not say who deleted an item.

use std::collections::{BTreeMap, HashMap};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::store::entity::{Collection, Entity, Hashed, InTenant, Key, is_bookkeeping};
use crate::store::page::List;

/// SHA-256 of a record's own attributes, in the order of their names. It shows that two states differ, but not what they contain.
pub fn digest(attributes: &HashMap<String, Value>) -> String {
    let own = |name: &str| !is_bookkeeping(name) && name != "at";
    let kept: BTreeMap<&String, Value> =
        attributes.iter().filter(|(name, _)| own(name)).map(|(name, value)| (name, in_order(value))).collect();
    crate::crypto::hash(&[&serde_json::to_vec(&kept).unwrap_or_default()])
}

fn in_order(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let sorted: BTreeMap<&String, Value> = object.iter().map(|(name, value)| (name, in_order(value))).collect();
            serde_json::to_value(sorted).unwrap_or_default()
        }
        Value::Array(items) => items.iter().map(in_order).collect(),
        other => other.clone(),
    }
}

/// What happened to one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = AuditedChange)]
pub struct ResourceChange {
    /// `created`, `changed` or `deleted`.
    pub action: String,
    /// `project`, `task`, `member` …
    pub resource: String,
    /// As the answers with the resource write it, where it has an id.
    pub id: String,
    /// Hash of the state before, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub before: Option<String>,
    /// Hash of the state after, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub after: Option<String>,
}

impl ResourceChange {
    /// A call that an agency made for a subaccount. In the agency's log `id` names the subaccount; in the subaccount's own log it is empty.
    pub fn acted(call: String, id: String) -> Self {
        let id = if id.is_empty() { call.clone() } else { format!("{id} {call}") };
        ResourceChange { action: "called".into(), resource: "api".into(), id, before: None, after: None }
    }
}

/// `audit` / `<moment>#<hash of the request id>`: one entry for each request, in order of time. Each change is an attribute of its own, so
/// that stream records may arrive in any order, and twice.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuditEntry {
    pub request: String,
    /// `user:<id>`, `key:<handle>`, `operator`, …
    pub actor: String,
    pub at: Timestamp,
    /// `change:<resource>:<id>` → the change as JSON, among the attributes that every item has.
    #[serde(flatten)]
    attributes: HashMap<String, Value>,
}

impl AuditEntry {
    pub const CHANGE: &'static str = "change:";

    pub fn changes(&self) -> Vec<ResourceChange> {
        let changes: BTreeMap<&String, &Value> = self.attributes.iter().filter(|(name, _)| name.starts_with(Self::CHANGE)).collect();
        changes.values().filter_map(|change| serde_json::from_str(change.as_str()?).ok()).collect()
    }

    /// In order of time.
    pub fn all() -> List<Self> {
        List::new(AuditEntry::collection(), "")
    }

    pub(crate) fn key_at(at: Timestamp, request: &str) -> Key<Self> {
        Key::at(&AuditEntry::collection(), format!("{:020}#{}", at.as_microsecond(), Hashed::of(&[request])))
    }

    fn collection() -> Collection {
        Collection::of::<AuditEntry>()
    }
}

impl Entity for AuditEntry {
    type Scope = InTenant;
    const TYPE: &'static str = "audit_entry";
    const COLLECTION: &'static str = "audit";
    const AUDITED: bool = false;

    fn key(&self) -> Key<Self> {
        AuditEntry::key_at(self.at, &self.request)
    }
}

/// `removals` / `<hash of request and resource>`: written with a deletion, for the audit log. Kept for a day.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Removal {
    pub resource: String,
    pub id: String,
    pub before: String,
    request: String,
    /// Not stored: every record has the moment of its write.
    #[serde(skip)]
    at: Timestamp,
}

impl Removal {
    const KEPT: SignedDuration = SignedDuration::from_hours(24);

    pub(crate) fn new(resource: &'static str, id: String, before: String, request: &str, at: Timestamp) -> Self {
        Removal { resource: resource.to_owned(), id, before, request: request.to_owned(), at }
    }
}

impl Entity for Removal {
    type Scope = InTenant;
    const TYPE: &'static str = "removal";
    const COLLECTION: &'static str = "removals";
    const AUDITED: bool = false;
    const EXPORTED: bool = false;

    fn key(&self) -> Key<Self> {
        Key::at(&Collection::of::<Removal>(), Hashed::of(&[&self.request, &self.resource, &self.id]).to_string())
    }

    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.at + Removal::KEPT)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn attributes(value: Value) -> HashMap<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_digest_is_of_the_record_alone_and_of_no_order() {
        let one = attributes(
            json!({"name": "x", "settings": {"a": 1, "b": [1, 2]}, "pk": "T#1#x", "request": "r1", "list_entry": {"name": "x"}}),
        );
        let same = attributes(json!({"settings": {"b": [1, 2], "a": 1}, "name": "x", "request": "r2", "at": "now"}));
        let other = attributes(json!({"name": "x", "settings": {"a": 1, "b": [2, 1]}}));
        assert_eq!(digest(&one), digest(&same));
        assert_ne!(digest(&one), digest(&other));
    }
}
