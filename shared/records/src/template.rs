//! E-mail templates: their versions, which edits make new ones, and the names that are unique in a workspace. What a template says lies apart from
//! it, in a record for each version, so that lists do not read it.

use std::fmt;
use std::io::{Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use shared::ids::Segment;
use shared::model::member::Person;
use shared::model::text;
use shared::store::{
    Collection, Counter, Entity, IN_WORKSPACE, InWorkspace, Key, List, ListEntry, Listed, Named, Restore, Within, restored,
};
use shared::{Error, Result, id};

id!(TemplateId = "tpl", in_workspace);

/// `templates#<workspace>` / `<id>`: newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Template {
    pub id: TemplateId,
    pub name: String,
    /// Of the newest content, for lists.
    pub subject: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    pub status: TemplateStatus,
    /// The versions whose content is kept, oldest first. The last is the template's own.
    pub versions: Vec<Kept>,
    /// How many campaigns that were launched use it. A launch moves it; until campaigns are launched it is 0.
    pub used_in: u64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Counts edits. Those of name, tags and the like make no new content.
    pub version: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TemplateStatus {
    Draft,
    Active,
    Archived,
}

/// A version whose content is kept, and the size of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
pub struct Kept {
    pub version: u64,
    pub bytes: u64,
}

/// What a template says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    pub subject: String,
    pub html: String,
    /// `None`: the text part is made of the HTML.
    pub text: Option<String>,
}

/// What an edit changes; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct TemplateChanges {
    pub name: Option<String>,
    pub description: Option<Option<String>>,
    pub category: Option<Option<String>>,
    pub tags: Option<Vec<String>>,
    pub status: Option<TemplateStatus>,
    pub subject: Option<String>,
    pub html: Option<String>,
    pub text: Option<Option<String>>,
}

/// A template after an edit.
#[derive(Debug)]
pub struct Revision {
    pub template: Template,
    /// The new content, if the edit changes it.
    pub body: Option<TemplateBody>,
    /// The versions that are kept no longer.
    pub dropped: Vec<u64>,
}

impl TemplateStatus {
    pub const WORDS: &'static [&'static str] = &["draft", "active", "archived"];

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "draft" => Some(TemplateStatus::Draft),
            "active" => Some(TemplateStatus::Active),
            "archived" => Some(TemplateStatus::Archived),
            _ => None,
        }
    }
}

impl From<(u64, u64)> for Kept {
    fn from((version, bytes): (u64, u64)) -> Self {
        Kept { version, bytes }
    }
}

impl From<Kept> for (u64, u64) {
    fn from(kept: Kept) -> Self {
        (kept.version, kept.bytes)
    }
}

impl Template {
    pub const COUNT: Counter = Counter::named("templates");
    /// In one workspace: a pass over their lines serves filters.
    pub const MOST: u64 = 5_000;
    pub const NAME: usize = 100;
    pub const DESCRIPTION: usize = 1_000;
    pub const CATEGORY: usize = 50;
    pub const TAGS: usize = 20;
    pub const TAG: usize = 50;
    /// How many versions are kept.
    pub const VERSIONS: usize = 50;
    /// Bytes of all kept versions together. One transaction deletes them with the template, and takes no more than 4 MB.
    pub const HISTORY: u64 = 3 * 1024 * 1024;

    /// A new template, and its first version.
    pub fn new(id: TemplateId, name: String, content: &Content, by: Person, now: Timestamp) -> (Self, TemplateBody) {
        let body = TemplateBody::new(id, 1, content, by, now);
        let template = Template {
            id,
            name,
            subject: content.subject.clone(),
            description: None,
            category: None,
            tags: vec![],
            status: TemplateStatus::Active,
            versions: vec![body.kept()],
            used_in: 0,
            created_at: now,
            updated_at: now,
            version: 1,
        };
        (template, body)
    }

    /// Another template that says the same.
    pub fn copied(&self, id: TemplateId, name: String, content: &Content, by: Person, now: Timestamp) -> (Self, TemplateBody) {
        let (template, body) = Template::new(id, name, content, by, now);
        let Template { description, category, tags, status, .. } = self.clone();
        (Template { description, category, tags, status, ..template }, body)
    }

    /// After an edit; `before` is what the template says now. `None`: it is so already.
    pub fn revised(&self, changes: &TemplateChanges, before: &Content, by: &Person, now: Timestamp) -> Option<Revision> {
        let content = before.changed(changes);
        let mut template = self.clone();
        let TemplateChanges { name, description, category, tags, status, .. } = changes.clone();
        template.name = name.unwrap_or(template.name);
        template.description = description.unwrap_or(template.description);
        template.category = category.unwrap_or(template.category);
        template.tags = tags.unwrap_or(template.tags);
        template.status = status.unwrap_or(template.status);
        if template == *self && content == *before {
            return None;
        }
        template.updated_at = now;
        template.version += 1;
        if content == *before {
            return Some(Revision { template, body: None, dropped: vec![] });
        }
        let body = TemplateBody::new(self.id, template.version, &content, by.clone(), now);
        let dropped = template.keep(body.kept());
        template.subject = content.subject;
        Some(Revision { template, body: Some(body), dropped })
    }

    /// Adds a version, and drops the oldest as long as there are too many.
    fn keep(&mut self, newest: Kept) -> Vec<u64> {
        self.versions.push(newest);
        let is_full =
            |kept: &[Kept]| kept.len() > Template::VERSIONS || kept.iter().map(|kept| kept.bytes).sum::<u64>() > Template::HISTORY;
        let mut many = 0;
        while many + 1 < self.versions.len() && is_full(&self.versions[many..]) {
            many += 1;
        }
        self.versions.drain(..many).map(|kept| kept.version).collect()
    }

    /// The version of its content.
    pub fn content_version(&self) -> u64 {
        self.versions.last().map_or(self.version, |kept| kept.version)
    }

    pub fn keeps(&self, version: u64) -> bool {
        self.versions.iter().any(|kept| kept.version == version)
    }

    /// The version, and the number of campaigns, which changes without it: an entity tag names exactly one representation.
    pub fn etag(&self) -> String {
        format!("\"{}.{}\"", self.version, self.used_in)
    }

    pub fn claim(&self) -> TemplateName {
        TemplateName { name: text::fold(&self.name), template: self.id }
    }

    /// What a copy is called: `Copy of Welcome`, then `Copy of Welcome 2`. Cut where it would become too long.
    pub fn copy_name(name: &str, number: usize) -> String {
        let number = if number == 0 { String::new() } else { format!(" {}", number + 1) };
        let stem: String = format!("Copy of {name}").chars().take(Template::NAME - number.len()).collect();
        let mut stem = stem.as_str();
        loop {
            // The cut may leave half of what belongs together.
            match text::name(&format!("{stem}{number}")) {
                Ok(name) => return name,
                Err(_) => stem = stem.char_indices().next_back().map_or("Copy", |(at, _)| &stem[..at]),
            }
        }
    }

    pub fn key_of(id: TemplateId) -> Key<Self> {
        Key::new(&Collection::of::<Template>(), id)
    }

    /// In order of creation.
    pub fn all() -> List<Self> {
        List::new(Collection::of::<Template>(), "")
    }
}

impl Entity for Template {
    type Scope = InWorkspace;
    const TYPE: &'static str = "template";
    const COLLECTION: &'static str = "templates";
    const WITHIN: Option<Within> = Some(IN_WORKSPACE);
    const COUNTER: Option<Counter> = Some(Template::COUNT);
    const NOUN: Option<&'static str> = Some("Template");
    const RESTORE: Option<Restore> = Some(restored::<Template>);

    fn key(&self) -> Key<Self> {
        Template::key_of(self.id)
    }

    /// With the number of campaigns: an edit must not overwrite it, and a deletion must see it.
    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version), ("used_in", self.used_in)]
    }

    fn list_entry(&self) -> Result<Option<ListEntry>> {
        ListEntry::of(self)
    }
}

impl Named for Template {
    type Id = TemplateId;

    fn places(id: TemplateId) -> Vec<Key<Self>> {
        vec![Template::key_of(id)]
    }
}

/// What lists of templates filter by.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TemplateEntry {
    pub name: String,
    pub subject: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    pub status: TemplateStatus,
}

impl Listed for Template {
    type Entry = TemplateEntry;

    fn entry(&self) -> TemplateEntry {
        let Template { name, subject, category, tags, status, .. } = self.clone();
        TemplateEntry { name, subject, category, tags, status }
    }
}

impl Content {
    pub fn changed(&self, changes: &TemplateChanges) -> Self {
        Content {
            subject: changes.subject.clone().unwrap_or_else(|| self.subject.clone()),
            html: changes.html.clone().unwrap_or_else(|| self.html.clone()),
            text: changes.text.clone().unwrap_or_else(|| self.text.clone()),
        }
    }
}

/// `template-bodies#<workspace>` / `<template>#<version>`: what a version of a template says. Never changed. The largest fits into an item even if
/// nothing of it can be compressed: 256 KiB and 64 KiB of 400 KB.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TemplateBody {
    pub template: TemplateId,
    pub version: u64,
    pub subject: String,
    pub html: PackedText,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<PackedText>,
    pub by: Person,
    pub created_at: Timestamp,
}

/// A text as it is stored: deflated and in Base64 if that is shorter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PackedText {
    Plain(String),
    Deflated(String),
}

impl TemplateBody {
    /// Of the record beside its texts.
    const OTHER: u64 = 2_000;

    pub fn new(template: TemplateId, version: u64, content: &Content, by: Person, now: Timestamp) -> Self {
        let Content { subject, html, text } = content;
        let text = text.as_deref().map(PackedText::of);
        TemplateBody { template, version, subject: subject.clone(), html: PackedText::of(html), text, by, created_at: now }
    }

    pub fn content(&self) -> Result<Content> {
        let text = self.text.as_ref().map(PackedText::unpacked).transpose()?;
        Ok(Content { subject: self.subject.clone(), html: self.html.unpacked()?, text })
    }

    fn kept(&self) -> Kept {
        let bytes = self.html.bytes() + self.text.as_ref().map_or(0, PackedText::bytes);
        Kept { version: self.version, bytes: bytes as u64 + TemplateBody::OTHER }
    }

    pub fn key_of(template: TemplateId, version: u64) -> Key<Self> {
        Key::new(&Collection::of::<TemplateBody>(), VersionKey(template, version))
    }

    /// The versions of a template, oldest first.
    pub fn of_template(template: TemplateId) -> List<Self> {
        List::behind(Collection::of::<TemplateBody>(), template)
    }
}

impl PackedText {
    /// Bytes that a text may have, when it is unpacked.
    const MOST: u64 = 1024 * 1024;

    pub fn of(text: &str) -> Self {
        let mut encoder = DeflateEncoder::new(vec![], Compression::default());
        let deflated = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish());
        match deflated.map(|bytes| STANDARD_NO_PAD.encode(bytes)) {
            Ok(deflated) if deflated.len() < text.len() => PackedText::Deflated(deflated),
            _ => PackedText::Plain(text.to_owned()),
        }
    }

    pub fn unpacked(&self) -> Result<String> {
        let deflated = match self {
            PackedText::Plain(text) => return Ok(text.clone()),
            PackedText::Deflated(deflated) => deflated,
        };
        let broken = |error: &dyn fmt::Display| Error::internal("unpacking a template", error.to_string());
        let bytes = STANDARD_NO_PAD.decode(deflated).map_err(|error| broken(&error))?;
        let mut text = String::new();
        DeflateDecoder::new(&bytes[..]).take(PackedText::MOST).read_to_string(&mut text).map_err(|error| broken(&error))?;
        Ok(text)
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        match self {
            PackedText::Plain(text) | PackedText::Deflated(text) => text.len(),
        }
    }
}

/// The digits are padded, so that versions sort by number.
struct VersionKey(TemplateId, u64);

impl Segment for VersionKey {}

impl fmt::Display for VersionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{:010}", self.0, self.1)
    }
}

impl Entity for TemplateBody {
    type Scope = InWorkspace;
    const TYPE: &'static str = "template_body";
    const COLLECTION: &'static str = "template-bodies";
    const WITHIN: Option<Within> = Some(IN_WORKSPACE);
    const AUDITED: bool = false;
    const NOUN: Option<&'static str> = Some("Version");
    const RESTORE: Option<Restore> = Some(restored::<TemplateBody>);

    fn key(&self) -> Key<Self> {
        TemplateBody::key_of(self.template, self.version)
    }

    fn list_entry(&self) -> Result<Option<ListEntry>> {
        ListEntry::of(self)
    }
}

/// A version as the list of versions shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VersionEntry {
    pub version: u64,
    pub subject: String,
    pub by: Person,
    pub created_at: Timestamp,
}

impl Listed for TemplateBody {
    type Entry = VersionEntry;

    fn entry(&self) -> VersionEntry {
        VersionEntry { version: self.version, subject: self.subject.clone(), by: self.by.clone(), created_at: self.created_at }
    }
}

/// `template-names#<workspace>` / hash: which template has a name. The claim makes the name unique in its workspace, whatever its letter case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TemplateName {
    /// Folded.
    pub name: String,
    pub template: TemplateId,
}

/// A name of any letters, as a key may contain it.
struct NameHash(String);

impl Segment for NameHash {}

impl fmt::Display for NameHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TemplateName {
    pub fn key_of(name: &str) -> Key<Self> {
        let hash = shared::crypto::hash(&[text::fold(name).as_bytes()]);
        Key::new(&Collection::of::<TemplateName>(), NameHash(hash))
    }
}

impl Entity for TemplateName {
    type Scope = InWorkspace;
    const TYPE: &'static str = "template_name";
    const COLLECTION: &'static str = "template-names";
    const WITHIN: Option<Within> = Some(IN_WORKSPACE);
    const AUDITED: bool = false;
    const RESTORE: Option<Restore> = Some(restored::<TemplateName>);

    fn key(&self) -> Key<Self> {
        TemplateName::key_of(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use shared::crypto::Random;
    use shared::ids::WorkspaceTag;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn person() -> Person {
        Person { id: 1, name: "Ada".into(), email: "ada@example.com".into() }
    }

    fn content(html: &str) -> Content {
        Content { subject: "Hi".into(), html: html.into(), text: None }
    }

    fn template(html: &str) -> Template {
        Template::new(TemplateId::new(WorkspaceTag::NONE, NOW, &Random::seeded(1)), "Welcome".into(), &content(html), person(), NOW).0
    }

    /// Text that no compression makes shorter than Base64 makes it longer.
    fn noise(bytes: usize) -> String {
        Random::seeded(7).text(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/#!$%&()*,-.:;<=>?@[]^_`{|}~", bytes)
    }

    #[test]
    fn an_edit_of_the_content_is_a_version_and_one_of_the_rest_is_not() {
        let first = template("<p>1</p>");
        let before = content("<p>1</p>");
        assert!(first.revised(&TemplateChanges::default(), &before, &person(), NOW).is_none());
        let same = TemplateChanges { html: Some("<p>1</p>".into()), name: Some("Welcome".into()), text: Some(None), ..Default::default() };
        assert!(first.revised(&same, &before, &person(), NOW).is_none());
        let renamed = TemplateChanges { name: Some("Hello".into()), ..Default::default() };
        let renamed = first.revised(&renamed, &before, &person(), NOW).unwrap();
        assert_eq!((renamed.template.version, renamed.template.content_version(), renamed.body), (2, 1, None));
        let rewritten = TemplateChanges { subject: Some("Ho".into()), ..Default::default() };
        let rewritten = renamed.template.revised(&rewritten, &before, &person(), NOW).unwrap();
        let (template, body) = (rewritten.template, rewritten.body.unwrap());
        assert_eq!((template.version, template.content_version(), template.subject.as_str()), (3, 3, "Ho"));
        assert!(template.keeps(1) && !template.keeps(2) && template.keeps(3) && template.etag() == "\"3.0\"");
        assert_eq!(body.content().unwrap(), Content { subject: "Ho".into(), ..before });
    }

    #[test]
    fn the_oldest_versions_go_and_the_newest_never() {
        let mut template = template("");
        for version in 2..=60 {
            let dropped = template.keep(Kept { version, bytes: 10 });
            assert_eq!(dropped, if version > 50 { vec![version - 50] } else { vec![] });
        }
        assert_eq!(template.versions.len(), Template::VERSIONS);
        // A large one takes the place of several.
        let dropped = template.keep(Kept { version: 61, bytes: Template::HISTORY - 25 });
        assert_eq!((dropped.len(), template.versions.len()), (48, 3));
        assert_eq!(template.keep(Kept { version: 62, bytes: 2 * Template::HISTORY }).len(), 3);
        assert_eq!((template.versions.len(), template.content_version()), (1, 62));
    }

    #[test]
    fn a_text_is_stored_in_the_shorter_form_and_comes_back() {
        let html = "<tr><td>Größe</td></tr>\n".repeat(9_000);
        for (text, deflated) in [("", false), ("short", false), (html.as_str(), true), (noise(256 * 1024).as_str(), false)] {
            let packed = PackedText::of(text);
            assert_eq!(matches!(packed, PackedText::Deflated(_)), deflated, "{} bytes", text.len());
            assert!(packed.bytes() <= text.len());
            assert_eq!(packed.unpacked().unwrap(), text);
        }
        assert!(PackedText::Deflated("?".into()).unpacked().is_err());
        assert!(PackedText::Deflated(STANDARD_NO_PAD.encode([0xFF; 9])).unpacked().is_err());
    }

    #[test]
    fn versions_sort_by_number_and_names_by_nothing() {
        let id = template("").id;
        let sorts: Vec<String> = [1, 9, 10, 123_456].iter().map(|version| VersionKey(id, *version).to_string()).collect();
        assert!(sorts.is_sorted(), "{sorts:?}");
        assert_eq!(text::fold("STRASSE"), text::fold("straße"));
        let claim = template("").claim();
        assert_eq!((claim.name.as_str(), claim.template), ("welcome", id));
    }

    #[test]
    fn copies_have_names_that_are_names() {
        assert_eq!(Template::copy_name("Welcome", 0), "Copy of Welcome");
        assert_eq!(Template::copy_name("Welcome", 1), "Copy of Welcome 2");
        let long = Template::copy_name(&"ä".repeat(100), 9);
        assert_eq!((long.chars().count(), long.ends_with("ä 10")), (100, true));
        // An emoji of several characters is cut, and what is left of it has to be a name.
        for letters in 80..100 {
            let family = format!("{}👩\u{200D}👩\u{200D}👧", "x".repeat(letters));
            let name = Template::copy_name(&family, 0);
            assert!(text::name(&name).is_ok() && name.chars().count() <= 100, "{name}");
        }
    }
}
