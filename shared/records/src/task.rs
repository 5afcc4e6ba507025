//! Tasks: their states, what is computed from them, and how a change moves the project's counts.

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::project::{DeletedProject, Project, ProjectId, ProjectTag, TAG_BITS};
use shared::Result;
use shared::crypto::Random;
use shared::id;
use shared::ids::{Uuid, time_ordered};
use shared::model::member::Person;
use shared::model::time::day;
use shared::store::{Collection, Entity, InTenant, Key, List, ListEntry, Listed, Within};

id!(TaskId, own);

impl TaskId {
    /// A v7 UUID whose last 48 bits are the project's tag; 26 random bits keep tasks of one millisecond apart.
    pub fn new(project: ProjectId, now: Timestamp, random: &Random) -> Self {
        let ordered = time_ordered(now, random).as_u128();
        TaskId(Uuid::from_u128((ordered & !TAG_BITS) | u128::from(project.tag().0)))
    }

    pub fn project_tag(&self) -> ProjectTag {
        ProjectTag((self.0.as_u128() & TAG_BITS) as u64)
    }
}

/// `tasks#<project tag>` / `<id>`: a project's tasks are one partition, newest first; the id alone names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub id: TaskId,
    pub project: ProjectId,
    pub title: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub status: TaskStatus,
    pub priority: Priority,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_date: Option<Date>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    pub sort_order: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignee: Option<Person>,
    pub creator: Person,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub version: u64,
}

/// In the order in which lists rank them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = TaskStatusValue)]
pub enum TaskStatus {
    Todo,
    InProgress,
    InReview,
    Done,
    Cancelled,
}

/// In the order in which lists rank them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = TaskPriorityValue)]
pub enum Priority {
    Low,
    Medium,
    High,
    Urgent,
}

/// What an edit changes; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct TaskChanges {
    pub title: Option<String>,
    pub description: Option<Option<String>>,
    pub status: Option<TaskStatus>,
    pub priority: Option<Priority>,
    pub due_date: Option<Option<Date>>,
    pub assignee: Option<Option<Person>>,
    pub sort_order: Option<i64>,
}

impl TaskStatus {
    pub const ALL: [TaskStatus; 5] =
        [TaskStatus::Todo, TaskStatus::InProgress, TaskStatus::InReview, TaskStatus::Done, TaskStatus::Cancelled];

    pub fn name(self) -> &'static str {
        match self {
            TaskStatus::Todo => "todo",
            TaskStatus::InProgress => "in_progress",
            TaskStatus::InReview => "in_review",
            TaskStatus::Done => "done",
            TaskStatus::Cancelled => "cancelled",
        }
    }

    pub fn label(self) -> &'static str {
        match self {
            TaskStatus::Todo => "To Do",
            TaskStatus::InProgress => "In Progress",
            TaskStatus::InReview => "In Review",
            TaskStatus::Done => "Done",
            TaskStatus::Cancelled => "Cancelled",
        }
    }

    pub fn color(self) -> &'static str {
        match self {
            TaskStatus::Todo => "gray",
            TaskStatus::InProgress => "blue",
            TaskStatus::InReview => "yellow",
            TaskStatus::Done => "green",
            TaskStatus::Cancelled => "red",
        }
    }

    pub fn is_open(self) -> bool {
        matches!(self, TaskStatus::Todo | TaskStatus::InProgress | TaskStatus::InReview)
    }

    pub fn parse(text: &str) -> Option<Self> {
        TaskStatus::ALL.into_iter().find(|status| status.name() == text)
    }

    /// The project's count that includes tasks of this status.
    fn counted_as(self) -> &'static str {
        match self {
            TaskStatus::Todo | TaskStatus::InProgress | TaskStatus::InReview => "open_tasks",
            TaskStatus::Done => "completed_tasks",
            TaskStatus::Cancelled => "cancelled_tasks",
        }
    }
}

impl Priority {
    pub const ALL: [Priority; 4] = [Priority::Low, Priority::Medium, Priority::High, Priority::Urgent];

    pub fn name(self) -> &'static str {
        match self {
            Priority::Low => "low",
            Priority::Medium => "medium",
            Priority::High => "high",
            Priority::Urgent => "urgent",
        }
    }

    pub fn label(self) -> &'static str {
        match self {
            Priority::Low => "Low",
            Priority::Medium => "Medium",
            Priority::High => "High",
            Priority::Urgent => "Urgent",
        }
    }

    pub fn color(self) -> &'static str {
        match self {
            Priority::Low => "gray",
            Priority::Medium => "blue",
            Priority::High => "orange",
            Priority::Urgent => "red",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Priority::ALL.into_iter().find(|priority| priority.name() == text)
    }
}

impl Task {
    /// A task due within this many days from today, today included, is due soon.
    const SOON_DAYS: i32 = 3;

    pub fn is_overdue(&self, today: Date) -> bool {
        overdue(self.status, self.due_date, today)
    }

    pub fn is_due_soon(&self, today: Date) -> bool {
        self.status.is_open() && self.due_date.is_some_and(|due| due >= today && due <= today.saturating_add(Task::SOON_DAYS.days()))
    }

    /// The version stays the same if nothing changes.
    pub fn changed(&self, changes: TaskChanges, now: Timestamp) -> Self {
        let mut task = self.clone();
        task.title = changes.title.unwrap_or(task.title);
        task.description = changes.description.unwrap_or(task.description);
        task.priority = changes.priority.unwrap_or(task.priority);
        task.due_date = changes.due_date.unwrap_or(task.due_date);
        task.assignee = changes.assignee.unwrap_or(task.assignee);
        task.sort_order = changes.sort_order.unwrap_or(task.sort_order);
        let status = changes.status.unwrap_or(self.status);
        if task == *self && status == self.status { task } else { task.with_status(status, now) }
    }

    /// Entering `done` sets the completion time, and leaving it removes it. A task that stays `done` keeps it.
    pub fn with_status(mut self, status: TaskStatus, now: Timestamp) -> Self {
        self.completed_at = (status == TaskStatus::Done).then(|| self.completed_at.unwrap_or(now));
        self.status = status;
        self.updated_at = now;
        self.version += 1;
        self
    }

    /// A due date in the past is only allowed if it was there before.
    pub fn due_date_allowed(due: Date, before: Option<Date>, now: Timestamp) -> bool {
        Some(due) == before || due >= day(now)
    }

    pub fn etag(&self) -> String {
        format!("\"{}\"", self.version)
    }

    pub fn key_of(id: TaskId) -> Key<Self> {
        Key::new(&Task::collection(id.project_tag()), id)
    }

    /// The tasks of a project in order of creation. Another project may share the tag: compare `project` too.
    pub fn of_project(project: ProjectId) -> List<Self> {
        List::new(Task::collection(project.tag()), "")
    }

    fn collection(tag: ProjectTag) -> Collection {
        Collection::within::<Task>(tag)
    }
}

pub fn overdue(status: TaskStatus, due: Option<Date>, today: Date) -> bool {
    status.is_open() && due.is_some_and(|due| due < today)
}

/// How a project's counts change when a task changes its status. `None` means that the task does not exist.
pub fn count_changes(from: Option<TaskStatus>, to: Option<TaskStatus>) -> Vec<(&'static str, i64)> {
    let (from, to) = (from.map(TaskStatus::counted_as), to.map(TaskStatus::counted_as));
    if from == to {
        return vec![];
    }
    from.map(|name| (name, -1)).into_iter().chain(to.map(|name| (name, 1))).collect()
}

impl Entity for Task {
    type Scope = InTenant;
    const TYPE: &'static str = "task";
    const COLLECTION: &'static str = "tasks";
    const WITHIN: Option<Within> =
        Some(Within { parents: &[Project::COLLECTION, DeletedProject::COLLECTION], parts: tag_of, parent_id: Some("project") });

    fn key(&self) -> Key<Self> {
        Task::key_of(self.id)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }

    fn list_entry(&self) -> Result<Option<ListEntry>> {
        ListEntry::of(self)
    }
}

/// What lists of tasks sort and filter by.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskEntry {
    pub title: String,
    pub status: TaskStatus,
    pub priority: Priority,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_date: Option<Date>,
    pub sort_order: i64,
    /// The assignee's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignee: Option<u64>,
}

impl Listed for Task {
    type Entry = TaskEntry;

    fn entry(&self) -> TaskEntry {
        TaskEntry {
            title: self.title.clone(),
            status: self.status,
            priority: self.priority,
            due_date: self.due_date,
            sort_order: self.sort_order,
            assignee: self.assignee.as_ref().map(|person| person.id),
        }
    }
}

/// The tag of a stored project, or of what is left of one.
fn tag_of(project: &Map<String, Value>) -> Option<Vec<String>> {
    project.get("id")?.as_str().and_then(ProjectId::parse).map(|id| vec![id.tag().to_string()])
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn task(status: TaskStatus, due: Option<Date>) -> Task {
        let random = Random::seeded(7);
        let now = Timestamp::UNIX_EPOCH;
        let project = ProjectId::new(now, &random);
        Task {
            id: TaskId::new(project, now, &random),
            project,
            title: "Design".into(),
            description: None,
            status,
            priority: Priority::Medium,
            due_date: due,
            completed_at: None,
            sort_order: 0,
            assignee: None,
            creator: Person { id: 1, name: "A".into(), email: "a@example.com".into() },
            created_at: now,
            updated_at: now,
            version: 1,
        }
    }

    #[test]
    fn a_task_id_names_its_project() {
        let (random, now) = (Random::seeded(1), Timestamp::UNIX_EPOCH);
        let project = ProjectId::new(now, &random);
        let task = TaskId::new(project, now, &random);
        assert_eq!(task.project_tag(), project.tag());
        assert_eq!(TaskId::parse(&task.to_string()), Some(task));
        assert_ne!(TaskId::new(project, now, &random), task);
    }

    #[test]
    fn overdue_and_due_soon_count_open_tasks_only() {
        let today = date(2024, 2, 15);
        assert!(task(TaskStatus::Todo, Some(date(2024, 2, 14))).is_overdue(today));
        assert!(!task(TaskStatus::Done, Some(date(2024, 2, 14))).is_overdue(today));
        assert!(!task(TaskStatus::Todo, Some(today)).is_overdue(today));
        for (due, soon) in [(date(2024, 2, 14), false), (today, true), (date(2024, 2, 18), true), (date(2024, 2, 19), false)] {
            assert_eq!(task(TaskStatus::InProgress, Some(due)).is_due_soon(today), soon, "{due}");
        }
    }

    #[test]
    fn completion_is_stamped_on_entering_done_and_cleared_on_leaving() {
        let (first, later) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(1));
        let done = task(TaskStatus::Todo, None).with_status(TaskStatus::Done, first);
        assert_eq!(done.completed_at, Some(first));
        assert_eq!(done.clone().with_status(TaskStatus::Done, later).completed_at, Some(first));
        assert_eq!(done.with_status(TaskStatus::Todo, later).completed_at, None);
    }

    #[test]
    fn counts_move_only_between_kinds_of_status() {
        assert_eq!(count_changes(Some(TaskStatus::Todo), Some(TaskStatus::InReview)), vec![]);
        assert_eq!(count_changes(Some(TaskStatus::Todo), Some(TaskStatus::Done)), vec![("open_tasks", -1), ("completed_tasks", 1)]);
        assert_eq!(count_changes(None, Some(TaskStatus::Cancelled)), vec![("cancelled_tasks", 1)]);
        assert_eq!(count_changes(Some(TaskStatus::Done), None), vec![("completed_tasks", -1)]);
    }
}
