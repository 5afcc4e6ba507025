//! Templates: list, create, read, change, copy, delete.

use std::sync::atomic::{AtomicBool, Ordering};

use records::template::{
    Content, Revision, Template, TemplateBody, TemplateChanges, TemplateEntry, TemplateId, TemplateName, TemplateStatus,
};
use serde::Serialize;
use shared::http::answer::{Answer, Created, Listing, NoContent, Tagged};
use shared::http::arguments::{Body, Found, IfMatch, Offsets, Total};
use shared::http::form::{Fields, Form, Name, Text, WorkspaceName};
use shared::http::idempotency::{Once, Ticket};
use shared::model::text;
use shared::model::time::{Printed, zulu};
use shared::store::Direction;
use shared::tenancy::doors::{In, Member, Viewer};
use shared::tenancy::{Transaction, WorkspaceStore, conflict};
use shared::{Error, Result};
use templating::{Checked, Field, Warning};

use crate::rules::{MOST_BYTES, Part, STATUS, Tags, checked, name, refuse_faults};

/// A template in a list.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = TemplateSummary)]
pub struct SummaryView {
    id: String,
    name: String,
    subject: String,
    category: Option<String>,
    tags: Vec<String>,
    status: TemplateStatus,
    version: u64,
    created_at: Printed,
    updated_at: Printed,
}

/// A template without what it says, which whoever saved it has.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = SavedTemplate)]
pub struct SavedView {
    id: String,
    name: String,
    subject: String,
    description: Option<String>,
    category: Option<String>,
    tags: Vec<String>,
    status: TemplateStatus,
    /// The names it uses.
    variables: Vec<String>,
    /// What to know before it is sent; the first hundred.
    warnings: Vec<WarningView>,
    version: u64,
    /// How many campaigns use it.
    used_in: u64,
    created_at: Printed,
    updated_at: Printed,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Template)]
pub struct TemplateView {
    id: String,
    name: String,
    subject: String,
    /// HTML.
    body: String,
    /// Null: the text part is made of the HTML.
    text: Option<String>,
    description: Option<String>,
    category: Option<String>,
    tags: Vec<String>,
    status: TemplateStatus,
    /// The names it uses.
    variables: Vec<String>,
    /// What to know before it is sent; the first hundred.
    warnings: Vec<WarningView>,
    version: u64,
    /// How many campaigns use it.
    used_in: u64,
    created_at: Printed,
    updated_at: Printed,
}

/// Field, line and column are null where there is no one place.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = TemplateWarning)]
pub struct WarningView {
    code: &'static str,
    message: String,
    field: Option<&'static str>,
    line: Option<u32>,
    column: Option<u32>,
}

pub struct NewTemplate {
    name: String,
    content: Content,
    description: Option<String>,
    category: Option<String>,
    tags: Vec<String>,
    status: TemplateStatus,
}

pub struct Changes(TemplateChanges);

pub struct Copy {
    name: Option<String>,
}

pub struct Filters {
    search: Option<String>,
    category: Option<String>,
    tag: Option<String>,
    status: Option<TemplateStatus>,
}

/// Newest first.
pub async fn list(door: In<Viewer>, asked: Offsets<Filters>, total: Total<Template>) -> Result<Listing<SummaryView>> {
    let Offsets { filters, page } = asked;
    let list = Template::all().going(Direction::Descending);
    if filters.is_none() {
        let found = door.store.page(&list, &page.span(), |_| true).await?;
        return Ok(Listing { items: found.items.iter().map(SummaryView::of).collect(), total: total.count, page, next: found.next });
    }
    let found = door.store.ranked(&list, page.span(), |entry| filters.keep(&entry).then_some(())).await?;
    Ok(Listing { items: found.items.iter().map(SummaryView::of).collect(), total: found.total, page, next: found.next })
}

pub async fn create(door: In<Member>, once: Once<NewTemplate>) -> Result<Tagged<SavedView, 201>> {
    let (id, by) = (TemplateId::new(door.store.tag(), door.now(), door.store.random()), door.outer.member.person());
    let NewTemplate { name, content, description, category, tags, status } = once.body;
    let checked = checked(&content)?;
    let (template, body) = Template::new(id, name, &content, by, door.now());
    let template = Template { description, category, tags, status, ..template };
    write(&door, &once.ticket, &template, &body, &checked).await
}

pub async fn show(door: In<Viewer>, template: Found<Template>) -> Result<Tagged<TemplateView>> {
    let content = content_of(&door.store, &template.0).await?;
    answer(&template.0, content)
}

pub async fn update(
    door: In<Member>,
    template: Found<Template>,
    expected: IfMatch,
    changes: Body<Changes>,
) -> Result<Tagged<TemplateView>> {
    let (template, content) = save(&door, template.0, &expected, &changes.0.0).await?;
    answer(&template, content)
}

/// With its versions. Not while campaigns use it.
pub async fn delete(door: In<Member>, template: Found<Template>, expected: IfMatch) -> Result<NoContent> {
    let store = &door.store;
    store
        .remove(template.0, |template, transaction| {
            expected.check(&template.etag())?;
            if template.used_in > 0 {
                return Err(Error::TemplateInUse);
            }
            let transaction =
                door.while_there(transaction)?.count(store, Template::COUNT, -1)?.remove(store, &TemplateName::key_of(&template.name))?;
            let bodies = template.versions.iter().map(|kept| TemplateBody::key_of(template.id, kept.version));
            bodies.into_iter().try_fold(transaction, |transaction, key| transaction.remove(store, &key))
        })
        .await?;
    Ok(NoContent)
}

/// What the template says now, without its earlier versions. A name that is made up avoids those that are taken.
pub async fn duplicate(door: In<Member>, template: Found<Template>, once: Once<Copy>) -> Result<Tagged<SavedView, 201>> {
    let template = template.0;
    let content = content_of(&door.store, &template).await?;
    let checked = checked(&content)?;
    let id = TemplateId::new(door.store.tag(), door.now(), door.store.random());
    let copy = |name: String| template.copied(id, name, &content, door.outer.member.person(), door.now());
    if let Some(name) = once.body.name {
        let (copy, body) = copy(name);
        return write(&door, &once.ticket, &copy, &body, &checked).await;
    }
    let mut refused = Error::Conflict("Too many copies have such a name: give another.".into());
    for _ in 0..5 {
        let Some(name) = free_name(&door, &template.name).await? else { break };
        let (copy, body) = copy(name);
        match write(&door, &once.ticket, &copy, &body, &checked).await {
            // Somebody took the name that was free a moment ago.
            Err(error @ Error::Conflict(_)) => refused = error,
            other => return other,
        }
    }
    Err(refused)
}

/// What a template says. It may have been deleted a moment ago.
pub async fn content_of(store: &WorkspaceStore, template: &Template) -> Result<Content> {
    let body = store.find(&TemplateBody::key_of(template.id, template.content_version())).await?;
    body.ok_or(Error::Missing("Template"))?.content()
}

/// Writes what an edit makes of a template. A body is read apart from its template, so an edit that meets another one begins anew.
pub async fn save(door: &In<Member>, found: Template, expected: &IfMatch, changes: &TemplateChanges) -> Result<(Template, Content)> {
    let (store, by) = (&door.store, door.outer.member.person());
    let mut template = found;
    for _ in 0..10 {
        let version = template.content_version();
        let before = content_of(store, &template).await?;
        checked(&before.changed(changes))?;
        let overtaken = AtomicBool::new(false);
        let saved = store
            .edit(template, |template, transaction| {
                expected.check(&template.etag())?;
                if template.content_version() != version {
                    overtaken.store(true, Ordering::Relaxed);
                    return Ok(None);
                }
                let Some(revision) = template.revised(changes, &before, &by, door.now()) else { return Ok(None) };
                let transaction = with_revision(door, transaction, template, &revision)?;
                Ok(Some((revision.template, transaction)))
            })
            .await?;
        if !overtaken.into_inner() {
            return Ok((saved, before.changed(changes)));
        }
        template = saved;
    }
    Err(Error::Conflict("The template is being changed by others. Try again.".into()))
}

/// What is written beside an edited template: its new content, and its new name.
fn with_revision<'a>(door: &In<Member>, transaction: Transaction<'a>, before: &Template, revision: &Revision) -> Result<Transaction<'a>> {
    let (store, template) = (&door.store, &revision.template);
    let (old, new) = (before.claim(), template.claim());
    let mut transaction = transaction;
    if revision.body.is_some() || new != old {
        transaction = door.while_there(transaction)?;
    }
    if new != old {
        transaction = transaction.create(store, &new, taken())?.remove(store, &TemplateName::key_of(&old.name))?;
    }
    if let Some(body) = &revision.body {
        transaction = transaction.create(store, body, conflict("The template was changed at the same moment. Try again."))?;
    }
    let dropped = revision.dropped.iter().map(|version| TemplateBody::key_of(template.id, *version));
    dropped.into_iter().try_fold(transaction, |transaction, key| transaction.remove(store, &key))
}

async fn write(
    door: &In<Member>,
    ticket: &Ticket,
    template: &Template,
    body: &TemplateBody,
    checked: &Checked,
) -> Result<Tagged<SavedView, 201>> {
    let (outer, store) = (&door.outer.store, &door.store);
    let answer = Created::new("Template created", SavedView::of(template, checked)).tagged(template.etag());
    let transaction = ticket.record(outer.transaction(), outer, &answer)?;
    door.while_there(transaction)?
        .create(store, &template.claim(), taken())?
        .create(store, template, conflict("Another template was created at the same moment. Try again."))?
        .create(store, body, conflict("Another template was created at the same moment. Try again."))?
        .count_many_within(store, Template::COUNT, 1, "templates", Template::MOST, &door.outer.tenant.plan)?
        .commit()
        .await?;
    Ok(answer)
}

fn taken() -> shared::tenancy::Refusal {
    conflict("Another template of this workspace has this name.")
}

/// The first name of a copy that no template has.
async fn free_name(door: &In<Member>, name: &str) -> Result<Option<String>> {
    for first in (0..COPIES).step_by(NAMES) {
        let names: Vec<String> = (first..first + NAMES).map(|number| Template::copy_name(name, number)).collect();
        let keys: Vec<_> = names.iter().map(|name| TemplateName::key_of(name)).collect();
        let taken = door.store.find_many(&keys).await?;
        if let Some(free) = names.into_iter().find(|name| !taken.iter().any(|claim| claim.name == text::fold(name))) {
            return Ok(Some(free));
        }
    }
    Ok(None)
}

/// How many names of copies are tried, and how many at once.
const COPIES: usize = 100;
const NAMES: usize = 10;

fn answer(template: &Template, content: Content) -> Result<Tagged<TemplateView>> {
    let checked = checked(&content)?;
    Ok(Answer::new("Success", TemplateView::of(template, content, &checked)).tagged(template.etag()))
}

/// After a version became the newest.
pub fn saved(template: &Template, content: &Content) -> Result<Tagged<SavedView>> {
    Ok(Answer::new("Success", SavedView::of(template, &checked(content)?)).tagged(template.etag()))
}

impl SummaryView {
    fn of(template: &Template) -> Self {
        SummaryView {
            id: template.id.prefixed(),
            name: template.name.clone(),
            subject: template.subject.clone(),
            category: template.category.clone(),
            tags: template.tags.clone(),
            status: template.status,
            version: template.version,
            created_at: zulu(template.created_at),
            updated_at: zulu(template.updated_at),
        }
    }
}

impl SavedView {
    fn of(template: &Template, checked: &Checked) -> Self {
        SavedView {
            id: template.id.prefixed(),
            name: template.name.clone(),
            subject: template.subject.clone(),
            description: template.description.clone(),
            category: template.category.clone(),
            tags: template.tags.clone(),
            status: template.status,
            variables: checked.variables.clone(),
            warnings: warnings(checked),
            version: template.version,
            used_in: template.used_in,
            created_at: zulu(template.created_at),
            updated_at: zulu(template.updated_at),
        }
    }
}

impl TemplateView {
    fn of(template: &Template, content: Content, checked: &Checked) -> Self {
        let SavedView {
            id,
            name,
            subject,
            description,
            category,
            tags,
            status,
            variables,
            warnings,
            version,
            used_in,
            created_at,
            updated_at,
        } = SavedView::of(template, checked);
        let Content { html: body, text, .. } = content;
        TemplateView {
            id,
            name,
            subject,
            body,
            text,
            description,
            category,
            tags,
            status,
            variables,
            warnings,
            version,
            used_in,
            created_at,
            updated_at,
        }
    }
}

/// How many warnings are shown.
const WARNINGS: usize = 100;

fn warnings(checked: &Checked) -> Vec<WarningView> {
    let view = |warning: &Warning| {
        let place = warning.place();
        WarningView {
            code: warning.code(),
            message: warning.to_string(),
            field: place.map(|(field, ..)| name(field)),
            line: place.map(|(_, line, _)| line),
            column: place.map(|(.., column)| column),
        }
    };
    checked.warnings.iter().take(WARNINGS).map(view).collect()
}

impl Filters {
    fn is_none(&self) -> bool {
        self.search.is_none() && self.category.is_none() && self.tag.is_none() && self.status.is_none()
    }

    fn keep(&self, entry: &TemplateEntry) -> bool {
        let found = |search: &String| text::fold(&entry.name).contains(search) || text::fold(&entry.subject).contains(search);
        self.search.as_ref().is_none_or(found)
            && self.category.as_ref().is_none_or(|wanted| entry.category.as_ref().is_some_and(|category| text::fold(category) == *wanted))
            && self.tag.as_ref().is_none_or(|wanted| entry.tags.iter().any(|tag| text::fold(tag) == *wanted))
            && self.status.is_none_or(|wanted| entry.status == wanted)
    }
}

impl Form for NewTemplate {
    const MAX_BYTES: usize = MOST_BYTES;

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        fields.optional("workspace_slug", WorkspaceName);
        let name = fields.required("name", Name { max: Template::NAME });
        let subject = fields.required("subject", Part(Field::Subject));
        let html = fields.required("body", Part(Field::Html));
        let text = fields.optional("text", Part(Field::Text));
        let description = fields.optional("description", Text::up_to(Template::DESCRIPTION));
        let category = fields.optional("category", Name { max: Template::CATEGORY });
        let tags = fields.optional("tags", Tags).unwrap_or_default();
        let status = fields.optional("status", STATUS).unwrap_or(TemplateStatus::Active);
        refuse_faults(fields, Field::Subject, subject.as_deref());
        refuse_faults(fields, Field::Html, html.as_deref());
        refuse_faults(fields, Field::Text, text.as_deref());
        let content = Content { subject: subject?, html: html?, text };
        Some(NewTemplate { name: name?, content, description, category, tags, status })
    }
}

impl Form for Changes {
    const MAX_BYTES: usize = MOST_BYTES;

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let changes = TemplateChanges {
            name: fields.change("name", Name { max: Template::NAME }),
            subject: fields.change("subject", Part(Field::Subject)),
            html: fields.change("body", Part(Field::Html)),
            text: fields.change_or_clear("text", Part(Field::Text)),
            description: fields.change_or_clear("description", Text::up_to(Template::DESCRIPTION)),
            category: fields.change_or_clear("category", Name { max: Template::CATEGORY }),
            tags: fields.change("tags", Tags),
            status: fields.change("status", STATUS),
        };
        refuse_faults(fields, Field::Subject, changes.subject.as_deref());
        refuse_faults(fields, Field::Html, changes.html.as_deref());
        refuse_faults(fields, Field::Text, changes.text.as_ref().and_then(|text| text.as_deref()));
        Some(Changes(changes))
    }
}

impl Form for Copy {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Copy { name: fields.optional("name", Name { max: Template::NAME }) })
    }
}

impl Form for Filters {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        fields.optional("workspace", WorkspaceName);
        let search = fields.optional("search", Text::at_most(255)).filter(|search| !search.is_empty());
        let category = fields.optional("category", Name { max: Template::CATEGORY });
        let tag = fields.optional("tag", Name { max: Template::TAG });
        let status = fields.optional("status", STATUS);
        let fold = |text: Option<String>| text.map(|text| text::fold(&text));
        Some(Filters { search: fold(search), category: fold(category), tag: fold(tag), status })
    }
}
