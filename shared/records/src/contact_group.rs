//! Groups of contacts: a name, and who is in them.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::contact::ContactId;
use crate::lead_list::NameKey;
use shared::id;
use shared::ids::Segment;
use shared::model::text;
use shared::store::{Collection, Counter, Entity, InTenant, Key, List, Named, Restore, restored};

id!(/// A group of contacts.
    ContactGroupId = "grp", time_ordered);

/// `contact-groups` / `<id>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContactGroup {
    pub id: ContactGroupId,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How many contacts are in it: moved in the transaction of the contact's change.
    pub members: u64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Counts edits of the group itself; contacts come and go without it.
    pub version: u64,
}

/// What an edit changes; `None` leaves a field as it is, and `Some(None)` clears it.
#[derive(Debug, Clone)]
pub struct ContactGroupChanges {
    pub name: Option<String>,
    pub description: Option<Option<String>>,
}

impl ContactGroup {
    pub const NOUN: &'static str = "Contact group";
    pub const COUNT: Counter = Counter::named("contact_groups");
    /// Of one tenant.
    pub const MOST: u64 = 500;
    /// In characters.
    pub const NAME: usize = 100;
    pub const DESCRIPTION: usize = 1_000;

    pub fn new(id: ContactGroupId, name: String, description: Option<String>, now: Timestamp) -> Self {
        ContactGroup { id, name, description, members: 0, created_at: now, updated_at: now, version: 1 }
    }

    /// `None`: it is so already.
    pub fn changed(&self, changes: &ContactGroupChanges, now: Timestamp) -> Option<Self> {
        let name = changes.name.clone().unwrap_or_else(|| self.name.clone());
        let description = changes.description.clone().unwrap_or_else(|| self.description.clone());
        let is_other = name != self.name || description != self.description;
        is_other.then(|| ContactGroup { name, description, updated_at: now, version: self.version + 1, ..self.clone() })
    }

    /// The version, and the count, which changes without it.
    pub fn etag(&self) -> String {
        format!("\"{}.{}\"", self.version, self.members)
    }

    pub fn key_of(id: ContactGroupId) -> Key<Self> {
        Key::new(&Collection::of::<ContactGroup>(), id)
    }

    pub fn all() -> List<Self> {
        List::new(Collection::of::<ContactGroup>(), "")
    }
}

impl Entity for ContactGroup {
    type Scope = InTenant;
    const TYPE: &'static str = "contact_group";
    const COLLECTION: &'static str = "contact-groups";
    const COUNTER: Option<Counter> = Some(ContactGroup::COUNT);
    const NOUN: Option<&'static str> = Some(ContactGroup::NOUN);
    const RESTORE: Option<Restore> = Some(restored::<ContactGroup>);

    fn key(&self) -> Key<Self> {
        ContactGroup::key_of(self.id)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version), ("members", self.members)]
    }
}

impl Named for ContactGroup {
    type Id = ContactGroupId;

    fn places(id: ContactGroupId) -> Vec<Key<Self>> {
        vec![ContactGroup::key_of(id)]
    }
}

/// `contact-group-names` / `<hash of the name>`: makes a name unique within the tenant, in any case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContactGroupName {
    pub name: String,
    pub group: ContactGroupId,
}

impl ContactGroupName {
    pub fn of(group: &ContactGroup) -> Self {
        ContactGroupName { name: group.name.clone(), group: group.id }
    }

    /// Whether two names are one to this claim.
    pub fn same(one: &str, other: &str) -> bool {
        text::fold(one) == text::fold(other)
    }

    pub fn key_of(name: &str) -> Key<Self> {
        Key::new(&Collection::of::<ContactGroupName>(), NameKey::of(name))
    }
}

impl Entity for ContactGroupName {
    type Scope = InTenant;
    const TYPE: &'static str = "contact_group_name";
    const COLLECTION: &'static str = "contact-group-names";
    const AUDITED: bool = false;
    const RESTORE: Option<Restore> = Some(restored::<ContactGroupName>);

    fn key(&self) -> Key<Self> {
        ContactGroupName::key_of(&self.name)
    }
}

/// `contact-group-members` / `<group>#<contact>`: a page of a group is one query, whatever its size. Those of a group that is gone mean nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContactGroupMember {
    pub group: ContactGroupId,
    pub contact: ContactId,
}

struct MemberKey(ContactGroupId, ContactId);

impl fmt::Display for MemberKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.0, self.1)
    }
}

impl Segment for MemberKey {}

impl ContactGroupMember {
    pub fn key_of(group: ContactGroupId, contact: ContactId) -> Key<Self> {
        Key::new(&Collection::of::<ContactGroupMember>(), MemberKey(group, contact))
    }

    /// In the order in which the contacts were created.
    pub fn of_group(group: ContactGroupId) -> List<Self> {
        List::behind(Collection::of::<ContactGroupMember>(), group)
    }
}

impl Entity for ContactGroupMember {
    type Scope = InTenant;
    const TYPE: &'static str = "contact_group_member";
    const COLLECTION: &'static str = "contact-group-members";
    const AUDITED: bool = false;
    const RESTORE: Option<Restore> = Some(restored::<ContactGroupMember>);

    fn key(&self) -> Key<Self> {
        ContactGroupMember::key_of(self.group, self.contact)
    }
}
