//! Leads: the people a workspace writes to. What a change of one makes of it, and what lists of them filter by.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::{Map, Value};

use crate::lead_list::LeadListId;
use crate::thread::Correspondence;
use shared::ids::Segment;
use shared::model::plan::Quota;
use shared::model::user::Email;
use shared::model::workspace::Workspace;
use shared::model::{free, text};
use shared::store::{
    Collection, Counter, Entity, IN_WORKSPACE, InWorkspace, Key, List, ListEntry, Listed, Named, Restore, Within, restored,
};
use shared::{Error, Result, id};

id!(/// A lead of a workspace.
    LeadId = "lead", in_workspace);

/// `leads` / `<id>`: newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lead {
    pub id: LeadId,
    pub email: Email,
    #[serde(default, skip_serializing_if = "Profile::is_empty")]
    pub profile: Profile,
    #[serde(default, skip_serializing_if = "Map::is_empty", with = "free")]
    pub attributes: Map<String, Value>,
    /// In the order in which they were given, none twice in any case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Lists that it is on. The id of a list that was deleted since may still stand here: readers leave it out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<LeadListId>,
    pub status: LeadStatus,
    pub email_status: EmailStatus,
    #[serde(flatten)]
    pub engagement: Engagement,
    /// Mails in a row that were refused for now. A delivery ends the row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub soft_bounces: u32,
    /// How many entries its activity has: moved with each. All that moves `engagement` is such an entry.
    pub activities: u64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Counts edits; what is sent and what answers comes without it.
    pub version: u64,
}

/// What is known of a person, each only if somebody said it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Profile(BTreeMap<ProfileField, String>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProfileField {
    FirstName,
    LastName,
    Company,
    Phone,
    JobTitle,
    City,
    State,
    Country,
    Timezone,
}

/// How far a conversation with a lead is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeadStatus {
    New,
    Contacted,
    Replied,
    Converted,
}

/// Whether mail reaches a lead, and may. Only the system changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EmailStatus {
    Active,
    Unsubscribed,
    Bounced,
    Complained,
}

/// What was sent to a lead and what it did with it. Plain numbers of the item, so that a transaction can add to them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engagement {
    pub sent: u64,
    pub opened: u64,
    pub clicked: u64,
    pub replied: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sent_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_opened_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_clicked_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_replied_at: Option<Timestamp>,
}

/// What an edit changes; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct LeadChanges {
    pub email: Option<Email>,
    /// `None` clears a field.
    pub profile: Vec<(ProfileField, Option<String>)>,
    /// Merged into those that are there (RFC 7396): null takes a key away.
    pub attributes: Option<Map<String, Value>>,
    pub tags: Option<Vec<String>>,
    pub lists: Option<Vec<LeadListId>>,
    pub status: Option<LeadStatus>,
}

/// Many leads of one workspace in few bytes: as text, first what their ids have in common, at the beginning and in the tag of the workspace, and then of
/// each lead what lies between. Leads that came at about the same time have their first bytes in common.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeadIds(pub Vec<LeadId>);

/// Of the 16 bytes of an id.
const BEFORE_TAG: usize = 10;

impl Serialize for LeadIds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(first) = self.0.first() else { return serializer.serialize_str("") };
        let (start, tag) = first.0.as_bytes().split_at(BEFORE_TAG);
        // The last byte is never common, so that each lead has one of its own.
        let mut common = BEFORE_TAG - 1;
        for lead in &self.0 {
            let (own, of_workspace) = lead.0.as_bytes().split_at(BEFORE_TAG);
            if of_workspace != tag {
                return Err(ser::Error::custom("leads of two workspaces"));
            }
            common = start.iter().zip(own).take(common).take_while(|(of_first, own)| of_first == own).count();
        }
        let mut packed = [start.get(..common).unwrap_or_default(), tag].concat();
        for lead in &self.0 {
            packed.extend(lead.0.as_bytes().get(common..BEFORE_TAG).unwrap_or_default());
        }
        serializer.serialize_str(&format!("{common}{}", URL_SAFE_NO_PAD.encode(packed)))
    }
}

impl<'de> Deserialize<'de> for LeadIds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let Some(digit) = text.chars().next() else { return Ok(LeadIds::default()) };
        let common = digit.to_digit(10).ok_or_else(|| de::Error::custom("no number of common bytes"))? as usize;
        let packed = URL_SAFE_NO_PAD.decode(&text.as_bytes()[1..]).map_err(de::Error::custom)?;
        let parts = packed.split_at_checked(common).and_then(|(start, rest)| Some((start, rest.split_at_checked(16 - BEFORE_TAG)?)));
        let Some((start, (tag, leads))) = parts else { return Err(de::Error::custom("leads without a workspace")) };
        let chunks = leads.chunks_exact(BEFORE_TAG - common);
        if !chunks.remainder().is_empty() {
            return Err(de::Error::custom("half an id"));
        }
        let lead = |own: &[u8]| {
            let mut bytes = [0; 16];
            bytes[..common].copy_from_slice(start);
            bytes[common..BEFORE_TAG].copy_from_slice(own);
            bytes[BEFORE_TAG..].copy_from_slice(tag);
            LeadId(shared::ids::Uuid::from_bytes(bytes))
        };
        Ok(LeadIds(chunks.map(lead).collect()))
    }
}

impl Lead {
    pub const NOUN: &'static str = "Lead";
    /// Of the whole tenant.
    pub const QUOTA: Quota = Quota { counter: Workspace::PEOPLE, name: "leads and contacts", most: |plan| plan.people };
    pub const MAX_TAGS: usize = 20;
    pub const MAX_LISTS: usize = 20;
    pub const MAX_ATTRIBUTES: usize = 50;
    pub const MAX_ATTRIBUTE_BYTES: usize = 8 * 1024;
    /// In a row, after which the address is taken for one that does not work.
    pub const SOFT_BOUNCES: u32 = 3;
    /// How many leads one pass looks at: a filter that would have to look at more is refused.
    pub const MAX_PASSED: u64 = 20_000;

    pub fn new(id: LeadId, email: Email, now: Timestamp) -> Self {
        Lead {
            id,
            email,
            profile: Profile::default(),
            attributes: Map::new(),
            tags: vec![],
            lists: vec![],
            status: LeadStatus::New,
            email_status: EmailStatus::Active,
            engagement: Engagement::default(),
            soft_bounces: 0,
            activities: 0,
            created_at: now,
            updated_at: now,
            version: 1,
        }
    }

    /// Somebody with a name, to show what a mail looks like.
    pub fn example(id: LeadId, email: Email, now: Timestamp) -> Self {
        let values = [(ProfileField::FirstName, "Jane"), (ProfileField::LastName, "Doe"), (ProfileField::Company, "Example Ltd")];
        let profile = Profile(values.into_iter().map(|(field, value)| (field, value.to_owned())).collect());
        Lead { profile, ..Lead::new(id, email, now) }
    }

    /// `None`: it is so already.
    pub fn changed(&self, changes: &LeadChanges, now: Timestamp) -> Result<Option<Self>> {
        let mut lead = self.with(changes)?;
        if lead == *self {
            return Ok(None);
        }
        lead.updated_at = now;
        lead.version += 1;
        Ok(Some(lead))
    }

    /// With these changes, as for a lead that is not stored yet.
    pub fn with(&self, changes: &LeadChanges) -> Result<Self> {
        let mut lead = self.clone();
        if let Some(email) = &changes.email {
            // What was known of the address says nothing of another one. What the person wants stays.
            if email.normalised() != lead.email.normalised() {
                lead.soft_bounces = 0;
                if lead.email_status == EmailStatus::Bounced {
                    lead.email_status = EmailStatus::Active;
                }
            }
            lead.email = email.clone();
        }
        for (field, value) in &changes.profile {
            lead.profile.set(*field, value.clone());
        }
        if let Some(attributes) = &changes.attributes {
            merge(&mut lead.attributes, attributes);
            attributes_fit(&lead.attributes)?;
        }
        if let Some(tags) = &changes.tags {
            lead.tags = tags.clone();
        }
        if let Some(lists) = &changes.lists {
            lead.lists = lists.clone();
        }
        lead.status = changes.status.unwrap_or(lead.status);
        Ok(lead)
    }

    /// First and last, as far as they are known.
    pub fn name(&self) -> Option<String> {
        let names = [ProfileField::FirstName, ProfileField::LastName].map(|field| self.profile.get(field).unwrap_or_default());
        Some(names.join(" ").trim().to_owned()).filter(|name| !name.is_empty())
    }

    /// What a mail to the lead may show, by the names that templates have for it.
    pub fn variables(&self) -> Map<String, Value> {
        let mut variables: Map<String, Value> =
            self.profile.0.iter().map(|(field, value)| (field.name().to_owned(), value.as_str().into())).collect();
        variables.insert("full_name".into(), self.name().unwrap_or_default().into());
        variables.insert("email".into(), self.email.as_str().into());
        // A standard name that is kept among the attributes.
        variables.extend(self.attributes.get_key_value("lead_score").map(|(name, score)| (name.clone(), score.clone())));
        variables.insert("custom".into(), Value::Object(self.attributes.clone()));
        variables
    }

    /// It wants no mail of the workspace. `None`: it says so already. No edit of the lead: its version stays.
    pub fn unsubscribed(&self) -> Option<Self> {
        let known = matches!(self.email_status, EmailStatus::Unsubscribed | EmailStatus::Complained);
        (!known).then(|| Lead { email_status: EmailStatus::Unsubscribed, ..self.clone() })
    }

    /// Mail may go to it again. `None`: it may already.
    pub fn reachable_again(&self) -> Option<Self> {
        let again = || Lead { email_status: EmailStatus::Active, soft_bounces: 0, ..self.clone() };
        (self.email_status != EmailStatus::Active).then(again)
    }

    /// With one more entry of its activity, which is no edit.
    pub fn with_activity(mut self) -> Self {
        self.activities += 1;
        self
    }

    /// After a mail went to it.
    pub fn mailed(mut self, at: Timestamp) -> Self {
        self.engagement.sent += 1;
        self.engagement.last_sent_at = Some(self.engagement.last_sent_at.map_or(at, |last| last.max(at)));
        if self.status == LeadStatus::New {
            self.status = LeadStatus::Contacted;
        }
        self.with_activity()
    }

    /// After a person opened a mail, or followed a link of one.
    pub fn engaged(mut self, opened: bool, clicked: bool, at: Timestamp) -> Self {
        let latest = |last: Option<Timestamp>| Some(last.map_or(at, |last| last.max(at)));
        if opened {
            self.engagement.opened += 1;
            self.engagement.last_opened_at = latest(self.engagement.last_opened_at);
        }
        if clicked {
            self.engagement.clicked += 1;
            self.engagement.last_clicked_at = latest(self.engagement.last_clicked_at);
        }
        self.with_activity()
    }

    /// After it answered a mail.
    pub fn replied(mut self, at: Timestamp) -> Self {
        self.engagement.replied += 1;
        self.engagement.last_replied_at = Some(self.engagement.last_replied_at.map_or(at, |last| last.max(at)));
        if matches!(self.status, LeadStatus::New | LeadStatus::Contacted) {
            self.status = LeadStatus::Replied;
        }
        self.with_activity()
    }

    /// After a mail came back for good.
    pub fn bounced(mut self) -> Self {
        if self.email_status == EmailStatus::Active {
            self.email_status = EmailStatus::Bounced;
        }
        self.with_activity()
    }

    /// After it called a mail spam.
    pub fn complained(mut self) -> Self {
        self.email_status = EmailStatus::Complained;
        self.with_activity()
    }

    /// After a mail was refused for now.
    pub fn soft_bounced(mut self) -> Self {
        self.soft_bounces += 1;
        if self.soft_bounces >= Lead::SOFT_BOUNCES { self.bounced() } else { self.with_activity() }
    }

    pub fn has_tag(&self, tag: &str) -> bool {
        let tag = text::fold(tag);
        self.tags.iter().any(|own| text::fold(own) == tag)
    }

    /// The version; then what changes how it is shown without an edit: its activity, and lists that were deleted.
    pub fn etag(&self) -> String {
        format!("\"{}.{}.{}\"", self.version, self.activities, self.lists.len())
    }

    pub fn key_of(id: LeadId) -> Key<Self> {
        Key::new(&Collection::of::<Lead>(), id)
    }

    pub fn all() -> List<Self> {
        List::new(Collection::of::<Lead>(), "")
    }
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// RFC 7396.
pub(crate) fn merge(into: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => drop(into.shift_remove(name)),
            Value::Object(patch) => {
                let mut object = into.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
                merge(&mut object, patch);
                into.insert(name.clone(), Value::Object(object));
            }
            value => drop(into.insert(name.clone(), value.clone())),
        }
    }
}

fn attributes_fit(attributes: &Map<String, Value>) -> Result<()> {
    let problem = free::problem(attributes, Lead::MAX_ATTRIBUTES, Lead::MAX_ATTRIBUTE_BYTES);
    problem.map_or(Ok(()), |problem| Err(Error::field("attributes", format!("The attributes field {problem}."))))
}

impl Entity for Lead {
    type Scope = InWorkspace;
    const TYPE: &'static str = "lead";
    const COLLECTION: &'static str = "leads";
    const MAILS_AUDITED: bool = false;
    const WITHIN: Option<Within> = Some(IN_WORKSPACE);
    const COUNTER: Option<Counter> = Some(Workspace::LEADS);
    const NOUN: Option<&'static str> = Some(Lead::NOUN);
    const FREE: &'static [&'static str] = &["attributes"];
    const RESTORE: Option<Restore> = Some(restored::<Lead>);

    fn key(&self) -> Key<Self> {
        Lead::key_of(self.id)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version), ("activities", self.activities)]
    }

    fn list_entry(&self) -> Result<Option<ListEntry>> {
        ListEntry::of(self)
    }
}

impl Named for Lead {
    type Id = LeadId;

    fn places(id: LeadId) -> Vec<Key<Self>> {
        vec![Lead::key_of(id)]
    }
}

impl Profile {
    pub fn get(&self, field: ProfileField) -> Option<&str> {
        self.0.get(&field).map(String::as_str)
    }

    /// An empty value is none.
    pub fn set(&mut self, field: ProfileField, value: Option<String>) {
        match value.filter(|value| !value.is_empty()) {
            Some(value) => drop(self.0.insert(field, value)),
            None => drop(self.0.remove(&field)),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<BTreeMap<String, String>> for Profile {
    type Error = &'static str;

    fn try_from(stored: BTreeMap<String, String>) -> Result<Self, &'static str> {
        let field = |(name, value): (String, String)| Some((ProfileField::parse(&name)?, value));
        stored.into_iter().map(field).collect::<Option<_>>().map(Profile).ok_or("no profile has such a field")
    }
}

impl From<Profile> for BTreeMap<String, String> {
    fn from(profile: Profile) -> Self {
        profile.0.into_iter().map(|(field, value)| (field.name().to_owned(), value)).collect()
    }
}

impl ProfileField {
    pub const ALL: [ProfileField; 9] = [
        ProfileField::FirstName,
        ProfileField::LastName,
        ProfileField::Company,
        ProfileField::Phone,
        ProfileField::JobTitle,
        ProfileField::City,
        ProfileField::State,
        ProfileField::Country,
        ProfileField::Timezone,
    ];

    pub fn name(self) -> &'static str {
        match self {
            ProfileField::FirstName => "first_name",
            ProfileField::LastName => "last_name",
            ProfileField::Company => "company",
            ProfileField::Phone => "phone",
            ProfileField::JobTitle => "job_title",
            ProfileField::City => "city",
            ProfileField::State => "state",
            ProfileField::Country => "country",
            ProfileField::Timezone => "timezone",
        }
    }

    /// In characters.
    pub fn max(self) -> usize {
        match self {
            ProfileField::FirstName | ProfileField::LastName | ProfileField::Company => 200,
            _ => 100,
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        ProfileField::ALL.into_iter().find(|field| field.name() == name)
    }
}

impl LeadStatus {
    pub const WORDS: &'static [&'static str] = &["new", "contacted", "replied", "converted"];

    pub fn name(self) -> &'static str {
        LeadStatus::WORDS[self as usize]
    }

    pub fn parse(word: &str) -> Option<Self> {
        [LeadStatus::New, LeadStatus::Contacted, LeadStatus::Replied, LeadStatus::Converted].into_iter().find(|own| own.name() == word)
    }
}

impl EmailStatus {
    pub const WORDS: &'static [&'static str] = &["active", "unsubscribed", "bounced", "complained"];

    /// Whether the person did not want the mail.
    pub fn is_their_will(self) -> bool {
        matches!(self, EmailStatus::Unsubscribed | EmailStatus::Complained)
    }

    pub fn name(self) -> &'static str {
        EmailStatus::WORDS[self as usize]
    }

    pub fn parse(word: &str) -> Option<Self> {
        let all = [EmailStatus::Active, EmailStatus::Unsubscribed, EmailStatus::Bounced, EmailStatus::Complained];
        all.into_iter().find(|own| own.name() == word)
    }
}

/// What lists of leads filter by; text is folded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LeadEntry {
    pub status: LeadStatus,
    pub email_status: EmailStatus,
    pub email: String,
    /// First and last name, then the company in a line of its own.
    pub names: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<LeadListId>,
}

impl Listed for Lead {
    type Entry = LeadEntry;

    fn entry(&self) -> LeadEntry {
        let of = |field| self.profile.get(field).unwrap_or_default();
        let name = format!("{} {}", of(ProfileField::FirstName), of(ProfileField::LastName));
        LeadEntry {
            status: self.status,
            email_status: self.email_status,
            email: self.email.normalised(),
            names: text::fold(&format!("{}\n{}", name.trim(), of(ProfileField::Company))),
            tags: self.tags.iter().map(|tag| text::fold(tag)).collect(),
            lists: self.lists.clone(),
        }
    }
}

/// Which leads a list shows; text is folded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeadFilter {
    pub status: Option<LeadStatus>,
    pub email_status: Option<EmailStatus>,
    pub search: Option<String>,
    pub list: Option<LeadListId>,
    pub tag: Option<String>,
}

impl LeadFilter {
    pub fn keeps(&self, entry: &LeadEntry) -> bool {
        self.status.is_none_or(|status| entry.status == status)
            && self.email_status.is_none_or(|status| entry.email_status == status)
            && self.list.is_none_or(|list| entry.lists.contains(&list))
            && self.tag.as_ref().is_none_or(|tag| entry.tags.contains(tag))
            && self.search.as_ref().is_none_or(|search| entry.is_found_by(search))
    }

    pub fn keeps_all(&self) -> bool {
        *self == LeadFilter::default()
    }
}

impl LeadEntry {
    /// Whether the e-mail, its domain, or a word of a name begins so.
    fn is_found_by(&self, search: &str) -> bool {
        let domain = self.email.find('@').map_or("", |at| &self.email[at..]);
        self.email.starts_with(search)
            || domain.starts_with(search)
            || domain.get(1..).is_some_and(|domain| domain.starts_with(search))
            || words(&self.names).any(|word| word.starts_with(search))
    }
}

/// A text from the beginning of each of its words on.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut within = false;
    text.char_indices().filter_map(move |(at, letter)| {
        let begins = letter.is_alphanumeric() && !within;
        within = letter.is_alphanumeric();
        begins.then(|| &text[at..])
    })
}

/// `lead-emails` / `<e-mail>`: whose address it is. The claim makes it unique within the workspace; another workspace may write to the same person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeadEmail {
    pub email: Email,
    pub lead: LeadId,
}

/// An address as a key: in lower case, and with what a key must not contain written as `%xx`.
pub struct EmailKey(String);

impl EmailKey {
    pub fn of(email: &Email) -> Self {
        EmailKey(email.normalised().replace('%', "%25").replace('#', "%23"))
    }
}

impl std::fmt::Display for EmailKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Segment for EmailKey {}

impl LeadEmail {
    pub fn key_of(email: &Email) -> Key<Self> {
        Key::new(&Collection::of::<LeadEmail>(), EmailKey::of(email))
    }
}

impl Entity for LeadEmail {
    type Scope = InWorkspace;
    const TYPE: &'static str = "lead_email";
    const COLLECTION: &'static str = "lead-emails";
    const WITHIN: Option<Within> = Some(IN_WORKSPACE);
    const AUDITED: bool = false;
    const RESTORE: Option<Restore> = Some(restored::<LeadEmail>);

    fn key(&self) -> Key<Self> {
        LeadEmail::key_of(&self.email)
    }
}

/// `deleted-leads` / `<id>`: written when a lead goes, and taken away when its activity and threads are erased. The stream tells the relay, which asks the
/// janitor for what the request did not get to; a job that has more to do writes the next round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeletedLead {
    pub id: LeadId,
    /// Under which threads lie that began before the lead was one, and those that somebody with the address begins afterwards.
    pub address: Correspondence,
    pub deleted_at: Timestamp,
    pub round: u64,
}

impl DeletedLead {
    pub fn of(lead: &Lead, now: Timestamp) -> Self {
        DeletedLead { id: lead.id, address: Correspondence::of_address(lead.email.as_str()), deleted_at: now, round: 0 }
    }

    /// There is more to erase.
    pub fn next_round(&self) -> Self {
        DeletedLead { round: self.round + 1, ..self.clone() }
    }

    pub fn key_of(id: LeadId) -> Key<Self> {
        Key::new(&Collection::of::<DeletedLead>(), id)
    }
}

/// A job of the clean-up queue: what a deleted lead left.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
pub struct EraseLead {
    pub lead: LeadId,
}

impl Entity for DeletedLead {
    type Scope = InWorkspace;
    const TYPE: &'static str = "deleted_lead";
    const COLLECTION: &'static str = "deleted-leads";
    const WITHIN: Option<Within> = Some(IN_WORKSPACE);
    const AUDITED: bool = false;
    const EXPORTED: bool = false;

    fn key(&self) -> Key<Self> {
        DeletedLead::key_of(self.id)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("round", self.round)]
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;
    use shared::crypto::Random;
    use shared::ids::WorkspaceTag;

    use super::*;

    pub(crate) fn lead(email: &str) -> Lead {
        let now = Timestamp::UNIX_EPOCH;
        Lead::new(LeadId::new(WorkspaceTag::NONE, now, &Random::seeded(1)), Email::parse(email).unwrap(), now)
    }

    fn with(lead: &Lead, attributes: Value) -> Result<Option<Lead>> {
        lead.changed(&LeadChanges { attributes: attributes.as_object().cloned(), ..LeadChanges::default() }, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn many_leads_are_few_bytes_and_come_out_as_they_went_in() {
        let (random, tag) = (Random::seeded(1), WorkspaceTag::NONE);
        let leads = |apart: i64, count: i64| {
            let at = |number: i64| Timestamp::from_millisecond(1_790_000_000_000 + number * apart).unwrap();
            LeadIds((0..count).map(|number| LeadId::new(tag, at(number), &random)).collect())
        };
        for (apart, longest) in [(1, 283), (60_000, 387), (86_400_000, 491)] {
            let leads = leads(apart, 40);
            let text = serde_json::to_value(&leads).unwrap();
            assert!(text.as_str().is_some_and(|text| text.len() <= longest), "{apart}: {text}");
            assert_eq!(serde_json::from_value::<LeadIds>(text).unwrap(), leads);
        }
        let same = leads(0, 1).0[0];
        for leads in [vec![], vec![same], vec![same, same]] {
            let text = serde_json::to_value(LeadIds(leads.clone())).unwrap();
            assert_eq!(serde_json::from_value::<LeadIds>(text).unwrap().0, leads);
        }
        for text in ["x", "0", "3AAAA", "ö", "9AAAAAAAAAAAAAAAAAAAAA!"] {
            assert!(serde_json::from_value::<LeadIds>(json!(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn attributes_are_merged_and_null_takes_one_away() {
        let lead = with(&lead("a@b.example"), json!({"a": 1, "b": {"c": 1, "d": 2}, "no": null})).unwrap().unwrap();
        assert_eq!(Value::Object(lead.attributes.clone()), json!({"a": 1, "b": {"c": 1, "d": 2}}));
        let lead = with(&lead, json!({"a": null, "b": {"c": null, "e": [1]}})).unwrap().unwrap();
        assert_eq!((Value::Object(lead.attributes.clone()), lead.version), (json!({"b": {"d": 2, "e": [1]}}), 3));
        assert_eq!(with(&lead, json!({"b": {"d": 2}, "gone": null})).unwrap(), None);
    }

    #[test]
    fn another_address_may_work_but_a_wish_stays_a_wish() {
        let to = |lead: &Lead, email: &str| {
            let changes = LeadChanges { email: Email::parse(email), ..LeadChanges::default() };
            lead.with(&changes).unwrap()
        };
        let bounced = (0..3).fold(lead("a@b.example"), |lead, _| lead.soft_bounced());
        assert_eq!((bounced.email_status, bounced.soft_bounces, bounced.activities), (EmailStatus::Bounced, 3, 3));
        assert_eq!(to(&bounced, "A@B.example").email_status, EmailStatus::Bounced);
        let other = to(&bounced, "c@b.example");
        assert_eq!((other.email_status, other.soft_bounces), (EmailStatus::Active, 0));
        for (lead, status) in [
            (lead("a@b.example").complained().bounced(), EmailStatus::Complained),
            (lead("a@b.example").unsubscribed().unwrap().bounced(), EmailStatus::Unsubscribed),
        ] {
            assert_eq!(to(&lead, "c@b.example").email_status, status);
        }
    }

    #[test]
    fn attributes_have_bounds_after_the_merge() {
        let keys = |range: std::ops::Range<usize>| Value::Object(range.map(|n| (format!("k{n}"), json!(n))).collect());
        let full = with(&lead("a@b.example"), keys(0..50)).unwrap().unwrap();
        assert!(with(&full, keys(50..51)).is_err());
        assert!(with(&full, json!({"k0": null, "k50": 1})).is_ok());
        assert!(with(&lead("a@b.example"), json!({"k": "x".repeat(8 * 1024)})).is_err());
    }

    #[test]
    fn a_search_finds_what_begins_so() {
        let mut lead = lead("Jane.Doe@Mail.Acme.example");
        for (field, value) in
            [(ProfileField::FirstName, "Jané"), (ProfileField::LastName, "O'Brien-Smith"), (ProfileField::Company, "ACME Straße 7")]
        {
            lead.profile.set(field, Some(value.into()));
        }
        let found = |search: &str| LeadFilter { search: Some(text::fold(search)), ..LeadFilter::default() }.keeps(&lead.entry());
        for search in ["ja", "JANE.DOE@", "mail.acme", "@mail", "jané o'b", "o'brien", "brien-s", "smith", "acme", "STRASSE 7", "7", "janÉ"]
        {
            assert!(found(search), "{search}");
        }
        for search in ["doe", "acme.example", "ane", "mith", "smith acme", "example", "8"] {
            assert!(!found(search), "{search}");
        }
    }

    #[test]
    fn an_address_is_one_key_in_any_case() {
        let key = |email: &str| EmailKey::of(&Email::parse(email).unwrap()).to_string();
        assert_eq!(key("A.b@C.example"), key("a.B@c.EXAMPLE"));
        assert_eq!(key("a#b%23@c.example"), "a%23b%2523@c.example");
        assert_ne!(key("a#b@c.example"), key("a%23b@c.example"));
    }

    #[test]
    fn a_mail_shows_what_is_known_of_a_lead() {
        let mut lead = lead("a@b.example");
        assert_eq!(Value::Object(lead.variables()), json!({"full_name": "", "email": "a@b.example", "custom": {}}));
        lead.profile.set(ProfileField::LastName, Some("Lovelace".into()));
        lead.attributes = json!({"plan": "pro", "lead_score": 7}).as_object().cloned().unwrap_or_default();
        let shown = json!({
            "last_name": "Lovelace", "full_name": "Lovelace", "email": "a@b.example", "lead_score": 7, "custom": {"plan": "pro", "lead_score": 7},
        });
        assert_eq!(Value::Object(lead.variables()), shown);
    }

    #[test]
    fn whoever_unsubscribes_wants_no_mail_and_a_complaint_says_more() {
        let with = |status| Lead { email_status: status, ..lead("a@b.example") };
        for status in [EmailStatus::Active, EmailStatus::Bounced] {
            let unsubscribed = with(status).unsubscribed().expect("it is new");
            assert_eq!((unsubscribed.email_status, unsubscribed.version), (EmailStatus::Unsubscribed, 1));
        }
        for status in [EmailStatus::Unsubscribed, EmailStatus::Complained] {
            assert_eq!(with(status).unsubscribed(), None);
        }
    }

    #[test]
    fn a_lead_that_mail_may_reach_again_starts_anew() {
        let bounced = (0..3).fold(lead("a@b.example"), |lead, _| lead.soft_bounced());
        let again = bounced.reachable_again().expect("it bounced");
        assert_eq!((again.email_status, again.soft_bounces, again.version), (EmailStatus::Active, 0, 1));
        assert_eq!(again.reachable_again(), None);
    }

    #[test]
    fn an_edit_that_changes_nothing_keeps_the_version() {
        let lead = lead("a@b.example");
        let changes = LeadChanges { status: Some(LeadStatus::New), profile: vec![(ProfileField::City, None)], ..LeadChanges::default() };
        assert_eq!(lead.changed(&changes, Timestamp::UNIX_EPOCH).unwrap(), None);
        let changes = LeadChanges { status: Some(LeadStatus::Replied), ..changes };
        assert_eq!(lead.changed(&changes, Timestamp::UNIX_EPOCH).unwrap().unwrap().etag(), "\"2.0.0\"");
    }
}
