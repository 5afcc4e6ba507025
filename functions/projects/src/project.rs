//! Projects: list, create, read, change, shelve, delete.

use records::project::{DeletedProject, Project, ProjectChanges, ProjectEntry, ProjectId, Shelf};
use serde::Serialize;
use serde_json::{Map, Value};
use shared::Result;
use shared::http::answer::{Answer, Created, Listing, Nothing, Tagged};
use shared::http::arguments::{Body, Found, IfMatch, Pages};
use shared::http::form::{Color, Fields, Flag, Form, FreeObject, Name, OneOf, Text};
use shared::http::idempotency::Once;
use shared::http::{Argument, Operation};
use shared::model::text;
use shared::model::time::{Printed, with_offset};
use shared::store::{Counter, Direction};
use shared::tenancy::doors::{Admin, Viewer};
use shared::tenancy::{Entered, Incoming, Wants, conflict};

/// A project of the tenant.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Project)]
pub struct ProjectView {
    id: ProjectId,
    name: String,
    description: Option<String>,
    color: String,
    is_archived: bool,
    #[schema(value_type = Object)]
    settings: Map<String, Value>,
    open_tasks_count: u64,
    completed_tasks_count: u64,
    created_at: Printed,
    updated_at: Printed,
}

pub struct NewProject {
    name: String,
    description: Option<String>,
    color: Option<String>,
    settings: Option<Map<String, Value>>,
}

pub struct Changes(ProjectChanges);

pub struct Filters {
    search: Option<String>,
    shelf: Shelf,
    sort: Sort,
    direction: Direction,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Name,
    CreatedAt,
    UpdatedAt,
}

pub async fn list(door: Viewer, asked: Pages<Filters>, total: ShelfTotal) -> Result<Listing<ProjectView>> {
    let Pages { filters, page } = asked;
    let list = Project::on_shelf(filters.shelf).going(filters.direction);
    if filters.sort == Sort::CreatedAt && filters.search.is_none() {
        let found = door.store.page(&list, &page.span(), |_| true).await?;
        return Ok(Listing { items: found.items.iter().map(ProjectView::of).collect(), total: total.0, page, next: found.next });
    }
    let found = door
        .store
        .ranked(&list, page.span(), |entry| {
            let kept = filters.search.as_ref().is_none_or(|search| text::fold(&entry.name).contains(search));
            kept.then(|| filters.sort.rank(&entry))
        })
        .await?;
    Ok(Listing { items: found.items.iter().map(ProjectView::of).collect(), total: found.total, page, next: found.next })
}

pub async fn create(door: Admin, once: Once<NewProject>) -> Result<Tagged<ProjectView, 201>> {
    let project = once.body.project(ProjectId::new(door.now(), door.store.random()), door.now());
    let answer = Created::new("Project created successfully", ProjectView::of(&project)).tagged(project.etag());
    let transaction = once.ticket.record(door.store.transaction(), &door.store, &answer)?;
    transaction
        .count_within(&door.store, Project::QUOTA, &door.plan, &door.tenant.plan)?
        .create(&door.store, &project, conflict("This project exists already."))?
        .commit()
        .await?;
    Ok(answer)
}

pub async fn show(_door: Viewer, project: Found<Project>) -> Result<Tagged<ProjectView>> {
    Ok(answer("Success", &project.0))
}

pub async fn update(door: Admin, project: Found<Project>, expected: IfMatch, changes: Body<Changes>) -> Result<Tagged<ProjectView>> {
    let changed = door
        .store
        .edit(project.0, |project, transaction| {
            expected.check(&project.etag())?;
            Ok(project.changed(changes.0.0.clone(), door.now()).map(|changed| (changed, transaction)))
        })
        .await?;
    Ok(answer("Project updated successfully", &changed))
}

pub async fn delete(door: Admin, project: Found<Project>, expected: IfMatch) -> Result<Answer<Nothing>> {
    door.store
        .remove(project.0, |project, transaction| {
            expected.check(&project.etag())?;
            let gone = DeletedProject::new(project.id, door.now());
            transaction.count(&door.store, project.shelf.counter(), -1)?.put(&door.store, &gone)
        })
        .await?;
    Ok(Answer::done("Project deleted successfully"))
}

pub async fn archive(door: Admin, project: Found<Project>, expected: IfMatch) -> Result<Tagged<ProjectView>> {
    let project = shelve(&door, project.0, &expected, Shelf::Archived).await?;
    Ok(answer("Project archived successfully", &project))
}

/// Counts against the plan again: an archived project takes no place in it.
pub async fn unarchive(door: Admin, project: Found<Project>, expected: IfMatch) -> Result<Tagged<ProjectView>> {
    let project = shelve(&door, project.0, &expected, Shelf::Active).await?;
    Ok(answer("Project unarchived successfully", &project))
}

async fn shelve(door: &Admin, project: Project, expected: &IfMatch, shelf: Shelf) -> Result<Project> {
    door.store
        .edit(project, |project, transaction| {
            expected.check(&project.etag())?;
            let Some(moved) = project.moved_to(shelf, door.now()) else { return Ok(None) };
            let transaction = transaction.count(&door.store, project.shelf.counter(), -1)?;
            let transaction = match shelf {
                Shelf::Active => transaction.count_within(&door.store, Project::QUOTA, &door.plan, &door.tenant.plan)?,
                Shelf::Archived => transaction.count(&door.store, Shelf::Archived.counter(), 1)?,
            };
            Ok(Some((moved, transaction)))
        })
        .await
}

fn answer(message: &'static str, project: &Project) -> Tagged<ProjectView> {
    Answer::new(message, ProjectView::of(project)).tagged(project.etag())
}

impl ProjectView {
    fn of(project: &Project) -> Self {
        ProjectView {
            id: project.id,
            name: project.name.clone(),
            description: project.description.clone(),
            color: project.color.clone(),
            is_archived: project.shelf == Shelf::Archived,
            settings: project.settings.clone(),
            open_tasks_count: project.tasks.open,
            completed_tasks_count: project.tasks.completed,
            created_at: with_offset(project.created_at),
            updated_at: with_offset(project.updated_at),
        }
    }
}

impl NewProject {
    fn project(self, id: ProjectId, now: jiff::Timestamp) -> Project {
        Project {
            description: self.description,
            color: self.color.unwrap_or_else(|| Project::DEFAULT_COLOR.into()),
            settings: self.settings.unwrap_or_default(),
            ..Project::new(id, self.name, now)
        }
    }
}

/// How many projects stand on the shelf that the query asks for (`archived`), read with the door.
pub struct ShelfTotal(pub u64);

impl ShelfTotal {
    fn counter(incoming: &Incoming) -> Counter {
        let archived = incoming.query.get("archived").is_some_and(|archived| matches!(archived.as_str(), "true" | "1"));
        if archived { Shelf::Archived.counter() } else { Shelf::Active.counter() }
    }
}

impl Argument for ShelfTotal {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        wants.counter(ShelfTotal::counter(incoming));
    }

    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        entered.count(ShelfTotal::counter(incoming)).await.map(ShelfTotal)
    }

    fn describe(_operation: &mut Operation) {}
}

impl Form for NewProject {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let name = fields.required("name", Name { max: 255 });
        let description = fields.optional("description", Text::at_most(5000));
        let color = fields.optional("color", Color);
        let settings = fields.optional("settings", FreeObject);
        Some(NewProject { name: name?, description, color, settings })
    }
}

impl Form for Changes {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Changes(ProjectChanges {
            name: fields.change("name", Name { max: 255 }),
            description: fields.change_or_clear("description", Text::at_most(5000)),
            color: fields.change("color", Color),
            settings: fields.change("settings", FreeObject),
        }))
    }
}

impl Form for Filters {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let search = fields.optional("search", Text::at_most(255)).filter(|search| !search.is_empty());
        let archived = fields.optional("archived", Flag).unwrap_or(false);
        let sort = fields.optional("sort", OneOf { words: &["name", "created_at", "updated_at"], parse: Sort::parse });
        let direction = fields.optional("direction", crate::task::DIRECTION);
        Some(Filters {
            search: search.map(|search| text::fold(&search)),
            shelf: if archived { Shelf::Archived } else { Shelf::Active },
            sort: sort.unwrap_or(Sort::CreatedAt),
            direction: direction.unwrap_or(Direction::Descending),
        })
    }
}

impl Sort {
    fn rank(self, entry: &ProjectEntry) -> String {
        match self {
            Sort::Name => text::sort_key(&entry.name),
            Sort::CreatedAt => String::new(),
            Sort::UpdatedAt => format!("{:020}", entry.updated_at.as_microsecond()),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "name" => Some(Sort::Name),
            "created_at" => Some(Sort::CreatedAt),
            "updated_at" => Some(Sort::UpdatedAt),
            _ => None,
        }
    }
}
