//! Contacts: the people a tenant writes messages to. What a change of one makes of it, what lists of them filter by, and what an import leaves.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::contact_group::ContactGroupId;
use crate::lead::{merge, words};
use shared::model::phone_number::{Digits, PhoneNumber};
use shared::model::user::Email;
use shared::model::{free, text};
use shared::store::{Counter, InTenant, ListEntry, Listed, Record};
use shared::{Error, Result, id};

id!(/// A contact of a tenant.
    ContactId = "con", time_ordered);

id!(/// An import of contacts.
    ContactImportId, time_ordered);

/// `contacts` / `<id>`: newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contact {
    pub id: ContactId,
    /// Its peer says whose it is. It never changes.
    pub phone_number: PhoneNumber,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
    /// An IANA zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Texts by their names.
    #[serde(default, skip_serializing_if = "Map::is_empty", with = "free")]
    pub metadata: Map<String, Value>,
    /// Groups that it is in. The id of a group that was deleted since may still stand here: readers leave it out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<ContactGroupId>,
    /// The last import that wrote it: the audit log tells of that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<ContactImportId>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub version: u64,
}

/// What an edit changes; `None` leaves a field as it is, and `Some(None)` clears it.
#[derive(Debug, Clone, Default)]
pub struct ContactChanges {
    pub name: Option<Option<String>>,
    pub email: Option<Option<Email>>,
    pub timezone: Option<Option<String>>,
    /// Merged into what is there: null takes a name away.
    pub metadata: Option<Map<String, Value>>,
    pub groups: Option<Vec<ContactGroupId>>,
}

impl Contact {
    pub const NOUN: &'static str = "Contact";
    pub const COUNT: Counter = Counter::named("contacts");
    /// Of one contact. An edit that leaves as many groups as it comes into is one transaction, of at most 100 writes.
    pub const MAX_GROUPS: usize = 20;
    pub const MAX_METADATA: usize = 50;
    /// Of one value, in characters.
    pub const MAX_METADATA_VALUE: usize = 500;
    /// Of all, as JSON: a page of a hundred contacts fits into an answer.
    pub const MAX_METADATA_BYTES: usize = 32 * 1024;
    /// How many contacts one pass looks at: a filter that would have to look at more is refused.
    pub const MAX_PASSED: u64 = 20_000;

    pub fn new(id: ContactId, phone_number: PhoneNumber, now: Timestamp) -> Self {
        Contact {
            id,
            phone_number,
            name: None,
            email: None,
            timezone: None,
            metadata: Map::new(),
            groups: vec![],
            import: None,
            created_at: now,
            updated_at: now,
            version: 1,
        }
    }

    /// `None`: it is so already.
    pub fn changed(&self, changes: &ContactChanges, now: Timestamp) -> Result<Option<Self>> {
        let changed = self.with(changes)?;
        Ok((changed != *self).then(|| Contact { updated_at: now, version: self.version + 1, ..changed }))
    }

    /// With these changes, as for a contact that is not stored yet.
    pub fn with(&self, changes: &ContactChanges) -> Result<Self> {
        let ContactChanges { name, email, timezone, metadata, groups } = changes.clone();
        let mut contact = self.clone();
        contact.name = name.unwrap_or(contact.name);
        contact.email = email.unwrap_or(contact.email);
        contact.timezone = timezone.unwrap_or(contact.timezone);
        if let Some(metadata) = &metadata {
            merge(&mut contact.metadata, metadata);
            metadata_fits(&contact.metadata)?;
        }
        if let Some(groups) = groups {
            if groups.len() > Contact::MAX_GROUPS {
                return Err(Error::field("group_ids", format!("A contact is in at most {} groups.", Contact::MAX_GROUPS)));
            }
            contact.groups = groups;
        }
        Ok(contact)
    }

    /// In these groups too.
    pub fn in_groups(&self, more: &[ContactGroupId]) -> ContactChanges {
        let mut groups = self.groups.clone();
        groups.extend(more.iter().filter(|group| !self.groups.contains(group)));
        ContactChanges { groups: Some(groups), ..ContactChanges::default() }
    }

    /// No longer in the group.
    pub fn outside(&self, group: ContactGroupId) -> ContactChanges {
        let groups = self.groups.iter().filter(|own| **own != group).copied().collect();
        ContactChanges { groups: Some(groups), ..ContactChanges::default() }
    }
}

fn metadata_fits(metadata: &Map<String, Value>) -> Result<()> {
    let problem = free::problem(metadata, Contact::MAX_METADATA, Contact::MAX_METADATA_BYTES);
    problem.map_or(Ok(()), |problem| Err(Error::field("metadata", format!("The metadata field {problem}."))))
}

impl Record for Contact {
    type Scope = InTenant;
    type Id = ContactId;
    const TYPE: &'static str = "contact";
    const COLLECTION: &'static str = "contacts";
    const TOLD_BY: Option<&'static str> = Some("import");
    const COUNTER: Option<Counter> = Some(Contact::COUNT);
    const NOUN: Option<&'static str> = Some(Contact::NOUN);
    const FREE: &'static [&'static str] = &["metadata"];

    fn id(&self) -> ContactId {
        self.id
    }

    fn version(&self) -> Option<u64> {
        Some(self.version)
    }

    fn list_entry(&self) -> Result<Option<ListEntry>> {
        ListEntry::of(self)
    }

    /// The version; then what changes how it is shown without an edit: groups that were deleted.
    fn etag(&self) -> String {
        format!("\"{}.{}\"", self.version, self.groups.len())
    }
}

/// What lists of contacts filter by; text is folded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ContactEntry {
    pub digits: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<ContactGroupId>,
}

impl Listed for Contact {
    type Entry = ContactEntry;

    fn entry(&self) -> ContactEntry {
        ContactEntry {
            digits: self.phone_number.digits().to_string(),
            name: self.name.as_deref().map(text::fold).unwrap_or_default(),
            groups: self.groups.clone(),
        }
    }
}

/// Which contacts a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContactFilter {
    pub group: Option<ContactGroupId>,
    pub search: Option<Search>,
}

/// What somebody looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Search {
    /// The beginning of a number.
    Number(Digits),
    /// The beginning of a word of a name, folded.
    Name(String),
}

impl Search {
    pub fn of(asked: &str) -> Self {
        Digits::asked(asked).map_or_else(|| Search::Name(text::fold(asked)), Search::Number)
    }
}

impl ContactFilter {
    pub fn keeps(&self, entry: &ContactEntry) -> bool {
        let found = match &self.search {
            None => true,
            Some(Search::Number(digits)) => entry.digits.starts_with(&digits.to_string()),
            Some(Search::Name(name)) => words(&entry.name).any(|word| word.starts_with(name)),
        };
        found && self.group.is_none_or(|group| entry.groups.contains(&group))
    }
}

/// `contact-imports` / `<id>`: for the audit log, which names the import and not each of a thousand contacts. Each contact names the last import that
/// wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactImport {
    pub id: ContactImportId,
    pub created: u64,
    pub updated: u64,
    pub expires_at: Timestamp,
}

impl ContactImport {
    /// The audit log, which keeps it, is written from the stream.
    const KEPT: SignedDuration = SignedDuration::from_hours(24);

    pub fn new(id: ContactImportId, now: Timestamp) -> Self {
        ContactImport { id, created: 0, updated: 0, expires_at: now + ContactImport::KEPT }
    }

    /// After it wrote so many more.
    pub fn going_on(&self, created: u64, updated: u64) -> Self {
        ContactImport { created: self.created + created, updated: self.updated + updated, ..self.clone() }
    }
}

impl Record for ContactImport {
    type Scope = InTenant;
    type Id = ContactImportId;
    const TYPE: &'static str = "contact_import";
    const COLLECTION: &'static str = "contact-imports";
    const EXPORTED: bool = false;

    fn id(&self) -> ContactImportId {
        self.id
    }

    fn version(&self) -> Option<u64> {
        None
    }

    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.expires_at)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared::crypto::Random;

    use super::*;

    fn contact(number: &str) -> Contact {
        let now = Timestamp::UNIX_EPOCH;
        Contact::new(ContactId::new(now, &Random::seeded(1)), PhoneNumber::parse(number).unwrap(), now)
    }

    fn with(contact: &Contact, metadata: Value) -> Result<Option<Contact>> {
        let changes = ContactChanges { metadata: metadata.as_object().cloned(), ..ContactChanges::default() };
        contact.changed(&changes, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_change_says_what_stays_what_is_new_and_what_goes() {
        let named = ContactChanges { name: Some(Some("Ada".into())), timezone: Some(Some("UTC".into())), ..ContactChanges::default() };
        let ada = contact("+41791234567").changed(&named, Timestamp::UNIX_EPOCH).unwrap().unwrap();
        assert_eq!((ada.name.as_deref(), ada.timezone.as_deref(), ada.etag().as_str()), (Some("Ada"), Some("UTC"), "\"2.0\""));
        assert_eq!(ada.changed(&named, Timestamp::UNIX_EPOCH).unwrap(), None);
        let cleared = ContactChanges { timezone: Some(None), ..ContactChanges::default() };
        let ada = ada.changed(&cleared, Timestamp::UNIX_EPOCH).unwrap().unwrap();
        assert_eq!((ada.name.as_deref(), ada.timezone, ada.version), (Some("Ada"), None, 3));
    }

    #[test]
    fn metadata_is_merged_within_its_bounds() {
        let keys = |range: std::ops::Range<usize>| Value::Object(range.map(|n| (format!("k{n}"), json!("v"))).collect());
        let full = with(&contact("+41791234567"), keys(0..50)).unwrap().unwrap();
        assert!(with(&full, keys(50..51)).is_err());
        let other = with(&full, json!({"k0": null, "k50": "w"})).unwrap().unwrap();
        assert_eq!((other.metadata.len(), other.metadata.get("k0"), other.version), (50, None, 3));
        let large = |letter: &str| Value::Object((0..50).map(|n| (format!("k{n}"), json!(letter.repeat(500)))).collect());
        assert!(with(&full, large("x")).is_ok() && with(&full, large("ä")).is_err());
    }

    #[test]
    fn a_contact_is_in_so_many_groups() {
        let group = |seed| ContactGroupId::new(Timestamp::UNIX_EPOCH, &Random::seeded(seed));
        let many: Vec<_> = (0..20).map(group).collect();
        let one = contact("+41791234567");
        let full = one.with(&one.in_groups(&many)).unwrap();
        assert_eq!(full.in_groups(&many[..3]).groups, Some(many.clone()));
        assert!(full.with(&full.in_groups(&[group(20)])).is_err());
        assert_eq!(full.with(&full.outside(many[0])).unwrap().groups, many[1..]);
    }

    #[test]
    fn a_search_finds_numbers_and_words_of_names_that_begin_so() {
        let mut one = contact("+41791234567");
        one.name = Some("José O'Brien-Smith 3rd".into());
        let found = |search: &str| ContactFilter { search: Some(Search::of(search)), group: None }.keeps(&one.entry());
        for search in ["+41", "4179", "41791234567", "jos", "JOSÉ o'b", "brien-s", "smith", "3rd", "O'BRIEN"] {
            assert!(found(search), "{search}");
        }
        // What is digits alone is a number.
        for search in ["79", "+42", "417912345678", "ose", "rien", "3", "+41 79"] {
            assert!(!found(search), "{search}");
        }
    }
}
