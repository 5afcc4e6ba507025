//! Projects: edits, the shelf they stand on, and the task counts they carry.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use shared::Result;
use shared::id;
use shared::ids::Segment;
use shared::model::free;
use shared::model::plan::Quota;
use shared::store::{Collection, Counter, Entity, InTenant, Key, List, ListEntry, Listed, Named};

id!(ProjectId, time_ordered);

/// `projects` / `<shelf>#<id>`: a shelf lists newest first by its own prefix, so archived projects never slow the default list.
/// Archiving moves the item; a read by id asks both places in one call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Project {
    pub id: ProjectId,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `#RRGGBB`.
    pub color: String,
    pub shelf: Shelf,
    #[serde(default, skip_serializing_if = "Map::is_empty", with = "free")]
    pub settings: Map<String, Value>,
    #[serde(flatten)]
    pub tasks: TaskCounts,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Counts edits of the project itself; tasks come and go without it.
    pub version: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shelf {
    Active,
    Archived,
}

/// 48 bits of a project's id, carried in the ids of its tasks: a task is found by its id alone, without an index or a pointer item.
/// Two projects may share a tag (odds of one in 2^48 a pair); lists therefore also compare the project.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProjectTag(pub(crate) u64);

pub(crate) const TAG_BITS: u128 = (1 << 48) - 1;

impl ProjectId {
    pub fn tag(&self) -> ProjectTag {
        ProjectTag((self.0.as_u128() & TAG_BITS) as u64)
    }
}

impl Segment for ProjectTag {}

impl fmt::Display for ProjectTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

/// How many tasks a project has, by what their status means. Moved in the transaction of the task's change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCounts {
    #[serde(rename = "open_tasks", default)]
    pub open: u64,
    #[serde(rename = "completed_tasks", default)]
    pub completed: u64,
    #[serde(rename = "cancelled_tasks", default)]
    pub cancelled: u64,
}

impl TaskCounts {
    pub fn total(self) -> u64 {
        self.open + self.completed + self.cancelled
    }
}

/// A job of the clean-up queue: the tasks of a project that was deleted.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
pub struct SweepTasks {
    pub project: ProjectId,
}

/// What an edit changes; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct ProjectChanges {
    pub name: Option<String>,
    pub description: Option<Option<String>>,
    pub color: Option<String>,
    pub settings: Option<Map<String, Value>>,
}

impl Project {
    /// Of those that are not archived.
    pub const QUOTA: Quota = Quota { counter: Shelf::Active.counter(), name: "projects", most: |plan| plan.projects };
    pub const DEFAULT_COLOR: &'static str = "#3B82F6";

    pub fn new(id: ProjectId, name: String, now: Timestamp) -> Self {
        Project {
            id,
            name,
            description: None,
            color: Project::DEFAULT_COLOR.into(),
            shelf: Shelf::Active,
            settings: Map::new(),
            tasks: TaskCounts::default(),
            created_at: now,
            updated_at: now,
            version: 1,
        }
    }

    /// `None`: it is so already.
    pub fn changed(&self, changes: ProjectChanges, now: Timestamp) -> Option<Self> {
        let mut project = self.clone();
        project.name = changes.name.unwrap_or(project.name);
        project.description = changes.description.unwrap_or(project.description);
        project.color = changes.color.unwrap_or(project.color);
        project.settings = changes.settings.unwrap_or(project.settings);
        (project != *self).then(|| project.touched(now))
    }

    /// The project on the other shelf, or `None` when it stands there already.
    pub fn moved_to(&self, shelf: Shelf, now: Timestamp) -> Option<Self> {
        (self.shelf != shelf).then(|| Project { shelf, ..self.clone() }.touched(now))
    }

    fn touched(mut self, now: Timestamp) -> Self {
        self.updated_at = now;
        self.version += 1;
        self
    }

    /// The version, and the counts, which change without it: an entity tag names exactly one representation.
    pub fn etag(&self) -> String {
        format!("\"{}.{}.{}\"", self.version, self.tasks.open, self.tasks.completed)
    }

    pub fn key_of(id: ProjectId, shelf: Shelf) -> Key<Self> {
        Key::behind(&Project::collection(), shelf.prefix(), id)
    }

    /// In order of creation.
    pub fn on_shelf(shelf: Shelf) -> List<Self> {
        List::new(Project::collection(), shelf.prefix())
    }

    fn collection() -> Collection {
        Collection::of::<Project>()
    }
}

impl Shelf {
    pub fn prefix(self) -> &'static str {
        match self {
            Shelf::Active => "active#",
            Shelf::Archived => "archived#",
        }
    }

    pub const fn counter(self) -> Counter {
        match self {
            Shelf::Active => Counter::named("projects"),
            Shelf::Archived => Counter::named("archived_projects"),
        }
    }
}

/// A stored project is written with its counts as plain attributes, so that a transaction can add to them.
impl Entity for Project {
    type Scope = InTenant;
    const TYPE: &'static str = "project";
    const COLLECTION: &'static str = "projects";
    const FREE: &'static [&'static str] = &["settings"];

    fn key(&self) -> Key<Self> {
        Project::key_of(self.id, self.shelf)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        let counts = self.tasks;
        vec![
            ("version", self.version),
            ("open_tasks", counts.open),
            ("completed_tasks", counts.completed),
            ("cancelled_tasks", counts.cancelled),
        ]
    }

    fn list_entry(&self) -> Result<Option<ListEntry>> {
        ListEntry::of(self)
    }
}

/// What lists of projects sort and filter by.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProjectEntry {
    pub name: String,
    pub updated_at: Timestamp,
}

impl Listed for Project {
    type Entry = ProjectEntry;

    fn entry(&self) -> ProjectEntry {
        ProjectEntry { name: self.name.clone(), updated_at: self.updated_at }
    }
}

impl Named for Project {
    type Id = ProjectId;

    fn places(id: ProjectId) -> Vec<Key<Self>> {
        vec![Project::key_of(id, Shelf::Active), Project::key_of(id, Shelf::Archived)]
    }
}

/// `deleted-projects` / `<tag>`: written when a project goes, read with each task, so that its tasks are gone at once while the janitor
/// still sweeps them. The stream tells the relay, which asks for the sweep; a sweep that has more to do writes the next round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeletedProject {
    pub id: ProjectId,
    pub deleted_at: Timestamp,
    #[serde(default)]
    pub round: u64,
    /// No task was left. Only from then on may this record vanish: before, leftover tasks would show again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swept_at: Option<Timestamp>,
}

impl DeletedProject {
    const KEPT_AFTER_SWEEP: SignedDuration = SignedDuration::from_hours(24);

    pub fn new(id: ProjectId, now: Timestamp) -> Self {
        DeletedProject { id, deleted_at: now, round: 0, swept_at: None }
    }

    /// There is more to sweep.
    pub fn next_round(&self) -> Self {
        DeletedProject { round: self.round + 1, ..self.clone() }
    }

    pub fn swept(&self, now: Timestamp) -> Self {
        DeletedProject { swept_at: Some(now), ..self.next_round() }
    }

    /// In no order that means anything.
    pub fn all() -> List<Self> {
        List::new(DeletedProject::collection(), "")
    }

    pub fn key_of(tag: ProjectTag) -> Key<Self> {
        Key::new(&DeletedProject::collection(), tag)
    }

    fn collection() -> Collection {
        Collection::of::<DeletedProject>()
    }
}

impl Entity for DeletedProject {
    type Scope = InTenant;
    const TYPE: &'static str = "deleted_project";
    const COLLECTION: &'static str = "deleted-projects";
    const AUDITED: bool = false;
    const EXPORTED: bool = false;

    fn key(&self) -> Key<Self> {
        DeletedProject::key_of(self.id.tag())
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("round", self.round)]
    }

    fn expires_at(&self) -> Option<Timestamp> {
        self.swept_at.map(|swept_at| swept_at + DeletedProject::KEPT_AFTER_SWEEP)
    }
}
