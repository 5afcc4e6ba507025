//! Lists of leads: a name, and who is on them.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::lead::LeadId;
use shared::ids::Segment;
use shared::model::text;
use shared::store::{Collection, Counter, Entity, IN_WORKSPACE, InWorkspace, Key, List, Named, Restore, Within, restored};
use shared::{crypto, id};

id!(/// A list of leads.
    LeadListId = "list", in_workspace);

/// `lead-lists` / `<id>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeadList {
    pub id: LeadListId,
    pub name: String,
    /// How many leads are on it: moved in the transaction of the lead's change.
    pub members: u64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Counts edits of the list itself; leads come and go without it.
    pub version: u64,
}

impl LeadList {
    pub const NOUN: &'static str = "List";
    pub const COUNT: Counter = Counter::named("lead_lists");
    /// In one workspace.
    pub const MOST: u64 = 500;

    pub fn new(id: LeadListId, name: String, now: Timestamp) -> Self {
        LeadList { id, name, members: 0, created_at: now, updated_at: now, version: 1 }
    }

    /// `None`: it has that name already.
    pub fn renamed(&self, name: &str, now: Timestamp) -> Option<Self> {
        (self.name != name).then(|| LeadList { name: name.to_owned(), updated_at: now, version: self.version + 1, ..self.clone() })
    }

    /// The version, and the count, which changes without it.
    pub fn etag(&self) -> String {
        format!("\"{}.{}\"", self.version, self.members)
    }

    pub fn key_of(id: LeadListId) -> Key<Self> {
        Key::new(&Collection::of::<LeadList>(), id)
    }

    pub fn all() -> List<Self> {
        List::new(Collection::of::<LeadList>(), "")
    }
}

impl Entity for LeadList {
    type Scope = InWorkspace;
    const TYPE: &'static str = "lead_list";
    const COLLECTION: &'static str = "lead-lists";
    const WITHIN: Option<Within> = Some(IN_WORKSPACE);
    const COUNTER: Option<Counter> = Some(LeadList::COUNT);
    const NOUN: Option<&'static str> = Some(LeadList::NOUN);
    const RESTORE: Option<Restore> = Some(restored::<LeadList>);

    fn key(&self) -> Key<Self> {
        LeadList::key_of(self.id)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version), ("members", self.members)]
    }
}

impl Named for LeadList {
    type Id = LeadListId;

    fn places(id: LeadListId) -> Vec<Key<Self>> {
        vec![LeadList::key_of(id)]
    }
}

/// `lead-list-names` / `<hash of the name>`: makes a name unique within the workspace, in any case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeadListName {
    pub name: String,
    pub list: LeadListId,
}

/// A name as a key.
pub struct NameKey(String);

impl NameKey {
    pub(crate) fn of(name: &str) -> Self {
        NameKey(crypto::hash(&[text::fold(name).as_bytes()]))
    }
}

impl fmt::Display for NameKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Segment for NameKey {}

impl LeadListName {
    pub fn of(list: &LeadList) -> Self {
        LeadListName { name: list.name.clone(), list: list.id }
    }

    pub fn key_of(name: &str) -> Key<Self> {
        Key::new(&Collection::of::<LeadListName>(), NameKey::of(name))
    }

    /// Whether two names are one to this claim.
    pub fn same(one: &str, other: &str) -> bool {
        text::fold(one) == text::fold(other)
    }
}

impl Entity for LeadListName {
    type Scope = InWorkspace;
    const TYPE: &'static str = "lead_list_name";
    const COLLECTION: &'static str = "lead-list-names";
    const WITHIN: Option<Within> = Some(IN_WORKSPACE);
    const AUDITED: bool = false;
    const RESTORE: Option<Restore> = Some(restored::<LeadListName>);

    fn key(&self) -> Key<Self> {
        LeadListName::key_of(&self.name)
    }
}

/// `lead-list-members` / `<list>#<lead>`: a page of a list is one query, whatever its size. Those of a list that is gone mean nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeadListMember {
    pub list: LeadListId,
    pub lead: LeadId,
}

struct MemberKey(LeadListId, LeadId);

impl fmt::Display for MemberKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.0, self.1)
    }
}

impl Segment for MemberKey {}

impl LeadListMember {
    pub fn key_of(list: LeadListId, lead: LeadId) -> Key<Self> {
        Key::new(&Collection::of::<LeadListMember>(), MemberKey(list, lead))
    }

    /// In the order in which the leads were created.
    pub fn on(list: LeadListId) -> List<Self> {
        List::behind(Collection::of::<LeadListMember>(), list)
    }
}

impl Entity for LeadListMember {
    type Scope = InWorkspace;
    const TYPE: &'static str = "lead_list_member";
    const COLLECTION: &'static str = "lead-list-members";
    const WITHIN: Option<Within> = Some(IN_WORKSPACE);
    const AUDITED: bool = false;
    const RESTORE: Option<Restore> = Some(restored::<LeadListMember>);

    fn key(&self) -> Key<Self> {
        LeadListMember::key_of(self.list, self.lead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_in_any_case_and_composition() {
        assert_eq!(NameKey::of("Straße É").to_string(), NameKey::of("STRASSE e\u{301}").to_string());
        assert_ne!(NameKey::of("a").to_string(), NameKey::of("b").to_string());
        assert!(LeadListName::same("ABC", "abc") && !LeadListName::same("abc", "abd"));
    }
}
