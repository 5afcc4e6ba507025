//! The versions of a template: list, and make one the newest again.

use std::collections::BTreeMap;

use records::template::{Template, TemplateBody, TemplateChanges, TemplateId, VersionEntry};
use serde::Serialize;
use serde_json::json;
use shared::http::answer::{Listing, Tagged};
use shared::http::arguments::{Body, Found, IfMatch, OfWorkspace, Offsets};
use shared::http::form::NoFields;
use shared::http::{Argument, Operation};
use shared::ids::PathId;
use shared::model::time::{Printed, zulu};
use shared::store::{Direction, Window};
use shared::tenancy::doors::{In, Member, Viewer};
use shared::tenancy::{Entered, Incoming, Wants};
use shared::{Error, Result};

use crate::template::{SavedView, save, saved};

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = TemplateVersion)]
pub struct VersionView {
    version: u64,
    subject: String,
    created_at: Printed,
    by: AuthorView,
}

/// Who saved a version.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = TemplateAuthor)]
pub struct AuthorView {
    /// The member's number.
    id: u64,
    name: String,
}

/// Newest first. Edits that change no content have no version here.
pub async fn list(door: In<Viewer>, template: Found<Template>, asked: Offsets<OfWorkspace>) -> Result<Listing<VersionView>> {
    let (template, page) = (template.0, asked.page);
    let mut window = Window::new(page.span(), Direction::Descending)?;
    let mut entries = BTreeMap::new();
    for entry in door.store.lines(&TemplateBody::of_template(template.id)).await? {
        if template.keeps(entry.version) {
            window.add(entry.version, entry.version.to_string());
            entries.insert(entry.version.to_string(), entry);
        }
    }
    let (versions, next, total) = window.finish();
    let items = versions.iter().filter_map(|version| entries.get(version)).map(VersionView::of).collect();
    Ok(Listing { items, total, page, next })
}

/// Name, tags and the like stay. Nothing is lost: what the template said is a version too.
pub async fn restore(door: In<Member>, found: FoundVersion, expected: IfMatch, _body: Body<NoFields>) -> Result<Tagged<SavedView>> {
    let content = found.body.content()?;
    let changes = TemplateChanges {
        subject: Some(content.subject),
        html: Some(content.html),
        text: Some(content.text),
        ..TemplateChanges::default()
    };
    let (template, content) = save(&door, found.template, &expected, &changes).await?;
    saved(&template, &content)
}

/// The version of a template that a path names.
pub struct FoundVersion {
    template: Template,
    body: TemplateBody,
}

impl FoundVersion {
    /// A number without sign or leading zeros.
    fn named(incoming: &Incoming) -> Option<(TemplateId, Option<u64>)> {
        let [template, version] = &incoming.path_values[..] else { return None };
        let number = version.parse().ok().filter(|number: &u64| number.to_string() == *version);
        Some((TemplateId::from_path(template)?, number))
    }
}

impl Argument for FoundVersion {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        wants.means::<Template>();
        let Some((template, version)) = FoundVersion::named(incoming) else { return };
        wants.named(&Template::key_of(template));
        if let Some(version) = version {
            wants.record(&TemplateBody::key_of(template, version));
        }
    }

    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        let (id, version) = FoundVersion::named(incoming).ok_or(Error::Missing("Template"))?;
        let template = entered.find(&Template::key_of(id)).await?.ok_or(Error::Missing("Template"))?;
        let missing = || Error::Missing("Version");
        let version = version.filter(|version| template.keeps(*version)).ok_or_else(missing)?;
        let body = entered.find(&TemplateBody::key_of(id, version)).await?.ok_or_else(missing)?;
        Ok(FoundVersion { template, body })
    }

    fn describe(operation: &mut Operation) {
        operation.names(json!({"type": "integer", "minimum": 1}));
        operation.within(TemplateId::schema());
    }
}

impl VersionView {
    fn of(entry: &VersionEntry) -> Self {
        VersionView {
            version: entry.version,
            subject: entry.subject.clone(),
            created_at: zulu(entry.created_at),
            by: AuthorView { id: entry.by.id, name: entry.by.name.clone() },
        }
    }
}
