//! Tasks: list, create, read, change, complete, delete. A change of status moves the project's counts in the same transaction.

use jiff::civil::Date;
use records::project::{DeletedProject, Project, Shelf};
use records::task::{Priority, Task, TaskChanges, TaskEntry, TaskId, TaskStatus, count_changes, overdue};
use serde::{Deserialize, Serialize};
use shared::http::answer::{Answer, Created, Listing, Nothing, Tagged};
use shared::http::arguments::{Body, Found, IfMatch, NamedMember, Pages, path_id};
use shared::http::form::{CalendarDate, Fields, Flag, Form, Integer, Name, OneOf, Text};
use shared::http::idempotency::Once;
use shared::http::{Argument, Operation};
use shared::ids::PathId;
use shared::model::member::{MemberNumber, Person};
use shared::model::text;
use shared::model::time::{Printed, day, with_offset};
use shared::store::Direction;
use shared::tenancy::doors::{Admin, Member, Viewer};
use shared::tenancy::{Entered, Incoming, TenantStore, Transaction, Wants, conflict, missing};
use shared::{Error, Result};

/// A task of a project.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Task)]
pub struct TaskView {
    id: TaskId,
    title: String,
    description: Option<String>,
    status: StatusView,
    priority: PriorityView,
    #[schema(value_type = Option<String>, format = Date)]
    due_date: Option<Date>,
    completed_at: Option<Printed>,
    is_overdue: bool,
    is_due_soon: bool,
    sort_order: i64,
    assignee: Option<PersonView>,
    creator: PersonView,
    created_at: Printed,
    updated_at: Printed,
}

/// A member as tasks show them.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Person)]
pub struct PersonView {
    /// The member's number.
    id: u64,
    name: String,
    /// Null where an agency acted: it shows as the platform.
    email: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = TaskStatus)]
pub struct StatusView {
    value: TaskStatus,
    label: &'static str,
    color: &'static str,
    is_open: bool,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = TaskPriority)]
pub struct PriorityView {
    value: Priority,
    label: &'static str,
    color: &'static str,
}

pub struct NewTask {
    title: String,
    description: Option<String>,
    status: TaskStatus,
    priority: Priority,
    due_date: Option<Date>,
    assigned_to: Option<u64>,
    sort_order: i64,
}

pub struct Changes {
    title: Option<String>,
    description: Option<Option<String>>,
    status: Option<TaskStatus>,
    priority: Option<Priority>,
    due_date: Option<Option<Date>>,
    assigned_to: Option<Option<u64>>,
    sort_order: Option<i64>,
}

pub struct Filters {
    status: Option<TaskStatus>,
    priority: Option<Priority>,
    open: Option<bool>,
    overdue: Option<bool>,
    assigned_to: Option<u64>,
    my_tasks: bool,
    search: Option<String>,
    sort: Sort,
    direction: Direction,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Title,
    Status,
    Priority,
    DueDate,
    CreatedAt,
    Order,
}

/// The place of a task in a list: one kind of value for each order.
#[derive(PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Rank {
    None,
    Number(i64),
    Text(String),
}

pub(crate) const DIRECTION: OneOf<Direction> = OneOf {
    words: &["asc", "desc"],
    parse: |text| match text {
        "asc" => Some(Direction::Ascending),
        "desc" => Some(Direction::Descending),
        _ => None,
    },
};

pub async fn list(door: Viewer, project: Found<Project>, asked: Pages<Filters>) -> Result<Listing<TaskView>> {
    let (Pages { filters, page }, project) = (asked, project.0);
    let today = day(door.now());
    let list = Task::of_project(project.id).going(filters.direction);
    if filters.is_default_order() {
        let found = door.store.page(&list, &page.span(), |task: &Task| task.project == project.id).await?;
        let items = found.items.iter().map(|task| TaskView::of(task, today)).collect();
        return Ok(Listing { items, total: project.tasks.total(), page, next: found.next });
    }
    let rank = |entry: TaskEntry| filters.keep(&entry, door.member.number, today).then(|| filters.sort.rank(&entry));
    let found = door.store.ranked(&list, page.span(), rank).await?;
    let items = found.items.iter().map(|task| TaskView::of(task, today)).collect();
    Ok(Listing { items, total: found.total, page, next: found.next })
}

pub async fn create(door: Member, project: Found<Project>, once: Once<NewTask>, named: NamedMember) -> Result<Tagged<TaskView, 201>> {
    let (project, new) = (project.0, once.body);
    let assignee = checked(&door.store, new.due_date.map(|due| (due, None)), new.assigned_to, named)?;
    if project.shelf == Shelf::Archived {
        return Err(Error::field("project", "The project is archived: restore it before adding tasks."));
    }
    let task = Task {
        id: TaskId::new(project.id, door.now(), door.store.random()),
        project: project.id,
        title: new.title,
        description: new.description,
        status: new.status,
        priority: new.priority,
        due_date: new.due_date,
        completed_at: (new.status == TaskStatus::Done).then(|| door.now()),
        sort_order: new.sort_order,
        assignee,
        creator: door.member.person(),
        created_at: door.now(),
        updated_at: door.now(),
        version: 1,
    };
    let answer = Created::new("Task created successfully", TaskView::of(&task, day(door.now()))).tagged(task.etag());
    let transaction = once.ticket.record(door.store.transaction(), &door.store, &answer)?;
    let transaction = assigned(transaction, &door.store, task.assignee.as_ref())?;
    transaction
        .adjust(&door.store, &Project::key_of(project.id, Shelf::Active), &count_changes(None, Some(task.status)), missing())?
        .create(&door.store, &task, conflict("This task exists already."))?
        .commit()
        .await?;
    Ok(answer)
}

pub async fn show(door: Viewer, task: FoundTask) -> Result<Tagged<TaskView>> {
    Ok(answer("Success", &task.0, &door.store))
}

pub async fn update(
    door: Member,
    task: FoundTask,
    expected: IfMatch,
    changes: Body<Changes>,
    named: NamedMember,
) -> Result<Tagged<TaskView>> {
    let (task, changes) = (task.0, changes.0);
    let due = changes.due_date.flatten().map(|due| (due, task.due_date));
    let assignee = checked(&door.store, due, changes.assigned_to.flatten(), named)?;
    let changes = changes.with_assignee(assignee);
    let changed = edit(&door.store, task, |task| {
        expected.check(&task.etag())?;
        Ok(task.changed(changes.clone(), door.now()))
    })
    .await?;
    Ok(answer("Task updated successfully", &changed, &door.store))
}

pub async fn delete(door: Admin, task: FoundTask, expected: IfMatch) -> Result<Answer<Nothing>> {
    match remove(&door.store, &task.0, &expected, Shelf::Active).await {
        Err(Error::NotFound) => remove(&door.store, &task.0, &expected, Shelf::Archived).await?,
        done => done?,
    }
    Ok(Answer::done("Task deleted successfully"))
}

pub async fn complete(door: Member, task: FoundTask, expected: IfMatch) -> Result<Tagged<TaskView>> {
    let done = edit(&door.store, task.0, |task| {
        expected.check(&task.etag())?;
        Ok(if task.status == TaskStatus::Done { task.clone() } else { task.clone().with_status(TaskStatus::Done, door.now()) })
    })
    .await?;
    Ok(answer("Task marked as completed", &done, &door.store))
}

fn answer(message: &'static str, task: &Task, store: &TenantStore) -> Tagged<TaskView> {
    Answer::new(message, TaskView::of(task, day(store.now()))).tagged(task.etag())
}

// A task does not know on which shelf its project stands. Nearly always it is the active one; where not, the other is tried.

async fn remove(store: &TenantStore, task: &Task, expected: &IfMatch, shelf: Shelf) -> Result<()> {
    let adjusted = |task: &Task, transaction| {
        expected.check(&task.etag())?;
        Transaction::adjust(transaction, store, &Project::key_of(task.project, shelf), &count_changes(Some(task.status), None), missing())
    };
    store.remove(task.clone(), adjusted).await
}

async fn edit(store: &TenantStore, task: Task, change: impl Fn(&Task) -> Result<Task> + Send + Sync) -> Result<Task> {
    match edit_on(store, task.clone(), &change, Shelf::Active).await {
        Err(Error::NotFound) => edit_on(store, task, &change, Shelf::Archived).await,
        done => done,
    }
}

/// Writes an edited task, with the project's counts where the status moved and a check of the assignee where they changed.
async fn edit_on(store: &TenantStore, task: Task, change: &(impl Fn(&Task) -> Result<Task> + Send + Sync), shelf: Shelf) -> Result<Task> {
    store
        .edit(task, |task, transaction| {
            let changed = change(task)?;
            if changed.version == task.version {
                return Ok(None);
            }
            let moved = count_changes(Some(task.status), Some(changed.status));
            let transaction = match moved[..] {
                [] => transaction,
                _ => transaction.adjust(store, &Project::key_of(task.project, shelf), &moved, missing())?,
            };
            let newly_assigned = changed.assignee.as_ref().filter(|_| changed.assignee != task.assignee);
            let transaction = assigned(transaction, store, newly_assigned)?;
            Ok(Some((changed, transaction)))
        })
        .await
}

/// The assignee must still be a member when the task is written.
fn assigned<'a>(transaction: Transaction<'a>, store: &TenantStore, assignee: Option<&Person>) -> Result<Transaction<'a>> {
    match assignee {
        None => Ok(transaction),
        Some(person) => transaction.require(store, &MemberNumber::key_of(person.id), Box::new(|_| unknown_assignee())),
    }
}

/// What a form alone cannot know, both faults at once: a due date in the past (unless it stood there `before`), and an assignee who
/// is no member.
fn checked(store: &TenantStore, due: Option<(Date, Option<Date>)>, assigned_to: Option<u64>, named: NamedMember) -> Result<Option<Person>> {
    let mut errors = shared::error::FieldErrors::new();
    if let Some((due, before)) = due
        && !Task::due_date_allowed(due, before, store.now())
    {
        errors.insert("due_date".into(), vec!["The due_date field must be a date after or equal to today.".into()]);
    }
    let mut assignee = None;
    if let Some(number) = assigned_to {
        assignee = named.0.filter(|member| member.number == number).map(|member| member.person());
        if assignee.is_none()
            && let Error::Validation(unknown) = unknown_assignee()
        {
            errors.extend(unknown);
        }
    }
    if errors.is_empty() { Ok(assignee) } else { Err(Error::Validation(errors)) }
}

fn unknown_assignee() -> Error {
    Error::field("assigned_to", "The assigned_to field must be the id of a member of this tenant.")
}

impl TaskView {
    fn of(task: &Task, today: Date) -> Self {
        TaskView {
            id: task.id,
            title: task.title.clone(),
            description: task.description.clone(),
            status: StatusView {
                value: task.status,
                label: task.status.label(),
                color: task.status.color(),
                is_open: task.status.is_open(),
            },
            priority: PriorityView { value: task.priority, label: task.priority.label(), color: task.priority.color() },
            due_date: task.due_date,
            completed_at: task.completed_at.map(with_offset),
            is_overdue: task.is_overdue(today),
            is_due_soon: task.is_due_soon(today),
            sort_order: task.sort_order,
            assignee: task.assignee.as_ref().map(PersonView::of),
            creator: PersonView::of(&task.creator),
            created_at: with_offset(task.created_at),
            updated_at: with_offset(task.updated_at),
        }
    }
}

impl PersonView {
    fn of(person: &Person) -> Self {
        let email = Some(person.email.clone()).filter(|email| !email.is_empty());
        PersonView { id: person.id, name: person.name.clone(), email }
    }
}

impl Changes {
    fn with_assignee(self, assignee: Option<Person>) -> TaskChanges {
        TaskChanges {
            title: self.title,
            description: self.description,
            status: self.status,
            priority: self.priority,
            due_date: self.due_date,
            assignee: self.assigned_to.map(|_| assignee),
            sort_order: self.sort_order,
        }
    }
}

impl Filters {
    fn is_default_order(&self) -> bool {
        self.sort == Sort::CreatedAt
            && self.status.is_none()
            && self.priority.is_none()
            && self.open.is_none()
            && self.overdue.is_none()
            && self.assigned_to.is_none()
            && !self.my_tasks
            && self.search.is_none()
    }

    fn keep(&self, entry: &TaskEntry, me: u64, today: Date) -> bool {
        self.status.is_none_or(|wanted| entry.status == wanted)
            && self.priority.is_none_or(|wanted| entry.priority == wanted)
            && self.open.is_none_or(|open| entry.status.is_open() == open)
            && self.overdue.is_none_or(|wanted| overdue(entry.status, entry.due_date, today) == wanted)
            && self.assigned_to.is_none_or(|number| entry.assignee == Some(number))
            && (!self.my_tasks || entry.assignee == Some(me))
            && self.search.as_ref().is_none_or(|search| text::fold(&entry.title).contains(search))
    }
}

impl Sort {
    const WORDS: &'static [&'static str] = &["title", "status", "priority", "due_date", "created_at", "sort_order"];

    fn parse(text: &str) -> Option<Self> {
        match text {
            "title" => Some(Sort::Title),
            "status" => Some(Sort::Status),
            "priority" => Some(Sort::Priority),
            "due_date" => Some(Sort::DueDate),
            "created_at" => Some(Sort::CreatedAt),
            "sort_order" => Some(Sort::Order),
            _ => None,
        }
    }

    /// States rank in the order of work, priorities by weight; a task without a due date comes before all dates.
    fn rank(self, entry: &TaskEntry) -> Rank {
        match self {
            Sort::Title => Rank::Text(text::sort_key(&entry.title)),
            Sort::Status => Rank::Number(entry.status as i64),
            Sort::Priority => Rank::Number(entry.priority as i64),
            Sort::DueDate => entry.due_date.map_or(Rank::None, |due| Rank::Text(due.to_string())),
            Sort::CreatedAt => Rank::None,
            Sort::Order => Rank::Number(entry.sort_order),
        }
    }
}

const STATUS: OneOf<TaskStatus> = OneOf { words: &["todo", "in_progress", "in_review", "done", "cancelled"], parse: TaskStatus::parse };
const PRIORITY: OneOf<Priority> = OneOf { words: &["low", "medium", "high", "urgent"], parse: Priority::parse };
const MEMBER: Integer = Integer { min: 1, max: i64::MAX };
const SORT_ORDER: Integer = Integer { min: -2_147_483_648, max: 2_147_483_647 };

/// The task that the path names, unless its project is gone.
pub struct FoundTask(pub Task);

impl Argument for FoundTask {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        if let Ok(id) = path_id::<TaskId>(incoming) {
            wants.record(&Task::key_of(id));
            wants.record(&DeletedProject::key_of(id.project_tag()));
        }
    }

    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        let id: TaskId = path_id(incoming)?;
        let task = entered.find(&Task::key_of(id)).await?.ok_or(Error::NotFound)?;
        match entered.find(&DeletedProject::key_of(id.project_tag())).await? {
            Some(deleted) if deleted.id == task.project => Err(Error::NotFound),
            _ => Ok(FoundTask(task)),
        }
    }

    fn describe(operation: &mut Operation) {
        operation.names(TaskId::schema());
    }
}

impl Form for NewTask {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let title = fields.required("title", Name { max: 255 });
        let description = fields.optional("description", Text::at_most(10_000));
        let status = fields.optional("status", STATUS).unwrap_or(TaskStatus::Todo);
        let priority = fields.optional("priority", PRIORITY).unwrap_or(Priority::Medium);
        let due_date = fields.optional("due_date", CalendarDate);
        let assigned_to = fields.optional("assigned_to", MEMBER).map(i64::unsigned_abs);
        let sort_order = fields.optional("sort_order", SORT_ORDER).unwrap_or(0);
        Some(NewTask { title: title?, description, status, priority, due_date, assigned_to, sort_order })
    }
}

impl Form for Changes {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Changes {
            title: fields.change("title", Name { max: 255 }),
            description: fields.change_or_clear("description", Text::at_most(10_000)),
            status: fields.change("status", STATUS),
            priority: fields.change("priority", PRIORITY),
            due_date: fields.change_or_clear("due_date", CalendarDate),
            assigned_to: fields.change_or_clear("assigned_to", MEMBER).map(|number| number.map(i64::unsigned_abs)),
            sort_order: fields.change("sort_order", SORT_ORDER),
        })
    }
}

impl Form for Filters {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Filters {
            status: fields.optional("status", STATUS),
            priority: fields.optional("priority", PRIORITY),
            open: fields.optional("open", Flag),
            // "Show only overdue tasks": false asks for nothing.
            overdue: fields.optional("overdue", Flag).filter(|overdue| *overdue),
            assigned_to: fields.optional("assigned_to", MEMBER).map(i64::unsigned_abs),
            my_tasks: fields.optional("my_tasks", Flag).unwrap_or(false),
            search: fields.optional("search", Text::at_most(255)).filter(|search| !search.is_empty()).map(|search| text::fold(&search)),
            sort: fields.optional("sort", OneOf { words: Sort::WORDS, parse: Sort::parse }).unwrap_or(Sort::CreatedAt),
            direction: fields.optional("direction", DIRECTION).unwrap_or(Direction::Descending),
        })
    }
}
