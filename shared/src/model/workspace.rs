//! Workspaces: what a tenant keeps apart, mostly one for each of its clients. Their members, and the roles that follow.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::ids::{Segment, UserId, WorkspaceId, WorkspaceTag, parse_uuid};
use crate::model::plan::Quota;
use crate::model::role::Role;
use crate::store::entity::{Collection, Counter, DELETED_WORKSPACES, Entity, IN_WORKSPACE, InTenant, InWorkspace, Key, WORKSPACES, Within};
use crate::store::page::List;
use crate::store::records::{Restore, restored};

/// `workspaces` / `<tag>`: read by the door of each request into it. The tags, and so the list, are in the order of creation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workspace {
    pub id: WorkspaceId,
    pub slug: WorkspaceSlug,
    pub name: String,
    pub settings: WorkspaceSettings,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub version: u64,
}

/// What mails of the workspace say of their sender, and when they go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkspaceSettings {
    /// An IANA zone.
    pub timezone: String,
    /// An https URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logo_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_from_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_from_email: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postal_address: Option<String>,
}

impl Default for WorkspaceSettings {
    fn default() -> Self {
        WorkspaceSettings {
            timezone: "UTC".into(),
            logo_url: None,
            default_from_name: None,
            default_from_email: None,
            postal_address: None,
        }
    }
}

impl Workspace {
    /// A pass over all workspaces of a tenant is one query, so there is an end to them in every plan.
    pub const MOST: u64 = 1_000;
    pub const COUNT: Counter = Counter::named("workspaces");
    pub const QUOTA: Quota = Quota {
        counter: Workspace::COUNT,
        name: "workspaces",
        most: |plan| Some(plan.workspaces.map_or(Workspace::MOST, |most| most.min(Workspace::MOST))),
    };
    /// Leads and contacts of the whole tenant.
    pub const PEOPLE: Counter = Counter::named("people");
    /// Counters of a workspace that its list shows.
    pub const LEADS: Counter = Counter::named("leads");
    pub const ACTIVE_CAMPAIGNS: Counter = Counter::named("active_campaigns");

    /// `None`: nothing changes.
    pub fn changed(&self, name: Option<String>, settings: WorkspaceSettings, now: Timestamp) -> Option<Self> {
        let name = name.unwrap_or_else(|| self.name.clone());
        let new = name != self.name || settings != self.settings;
        new.then(|| Workspace { name, settings, updated_at: now, version: self.version + 1, ..self.clone() })
    }

    pub fn etag(&self) -> String {
        format!("\"{}\"", self.version)
    }

    pub fn key_of(tag: WorkspaceTag) -> Key<Self> {
        Key::new(&Collection::of::<Workspace>(), tag)
    }

    pub fn all() -> List<Self> {
        List::new(Collection::of::<Workspace>(), "")
    }
}

impl Entity for Workspace {
    type Scope = InTenant;
    const TYPE: &'static str = "workspace";
    const COLLECTION: &'static str = WORKSPACES;
    const COUNTER: Option<Counter> = Some(Workspace::COUNT);
    const NOUN: Option<&'static str> = Some("Workspace");

    fn key(&self) -> Key<Self> {
        Workspace::key_of(self.id.tag())
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }
}

/// `a-z 0-9` in groups joined by single hyphens, 1 to 63 characters. Unique within its tenant, and never changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkspaceSlug(String);

impl WorkspaceSlug {
    pub const MAX: usize = 63;
    pub const PATTERN: &'static str = "^[a-z0-9]+(-[a-z0-9]+)*$";

    pub fn parse(text: &str) -> Option<Self> {
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        // A UUID would be taken for an id wherever a workspace is named.
        let fits = text.len() <= WorkspaceSlug::MAX && parse_uuid(text).is_none();
        (fits && text.split('-').all(plain)).then(|| WorkspaceSlug(text.to_owned()))
    }

    /// As somebody asks for it, in upper or lower case.
    pub fn asked(text: &str) -> Option<Self> {
        WorkspaceSlug::parse(&text.to_ascii_lowercase())
    }

    /// Made of a name, the nearest ASCII letters of it. `number` tells it from others: `acme`, then `acme-1`. What is no slug by itself, such as a
    /// UUID, gets a word before it.
    pub fn from_name(name: &str, number: usize) -> Self {
        let ascii = any_ascii::any_ascii(name).to_ascii_lowercase();
        let parts: Vec<&str> = ascii.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|part| !part.is_empty()).collect();
        let whole = parts.join("-");
        let stem = whole[..whole.len().min(50)].trim_end_matches('-');
        let stem = if stem.is_empty() { "workspace" } else { stem };
        let text = if number == 0 { stem.to_owned() } else { format!("{stem}-{number}") };
        WorkspaceSlug::parse(&text).unwrap_or_else(|| WorkspaceSlug(format!("workspace-{text}")))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for WorkspaceSlug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Segment for WorkspaceSlug {}

impl TryFrom<String> for WorkspaceSlug {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, &'static str> {
        WorkspaceSlug::parse(&text).ok_or("not the slug of a workspace")
    }
}

impl From<WorkspaceSlug> for String {
    fn from(slug: WorkspaceSlug) -> String {
        slug.0
    }
}

/// `workspace-slugs` / `<slug>`: whose slug it is. The claim makes it unique.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkspaceSlugClaim {
    pub slug: WorkspaceSlug,
    pub id: WorkspaceId,
}

impl WorkspaceSlugClaim {
    pub fn key_of(slug: &WorkspaceSlug) -> Key<Self> {
        Key::new(&Collection::of::<WorkspaceSlugClaim>(), slug.clone())
    }
}

impl Entity for WorkspaceSlugClaim {
    type Scope = InTenant;
    const TYPE: &'static str = "workspace_slug";
    const COLLECTION: &'static str = "workspace-slugs";
    const AUDITED: bool = false;
    const RESTORE: Option<Restore> = Some(restored::<WorkspaceSlugClaim>);

    fn key(&self) -> Key<Self> {
        WorkspaceSlugClaim::key_of(&self.slug)
    }
}

/// `workspace-members#<workspace>` / `<user>`: read by the door of each request into the workspace.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkspaceMember {
    pub user: UserId,
    /// Of their membership in the tenant. Numbers are not used again, so nobody who leaves the tenant and comes back has their old workspaces.
    pub number: u64,
    pub role: Role,
    pub joined_at: Timestamp,
    pub version: u64,
}

impl WorkspaceMember {
    pub const COUNT: Counter = Counter::named("workspace_members");
    /// Admins and owners that the workspace itself has.
    pub const ADMINS: Counter = Counter::named("workspace_admins");

    pub fn key_of(user: UserId) -> Key<Self> {
        Key::new(&Collection::of::<WorkspaceMember>(), user)
    }

    pub fn all() -> List<Self> {
        List::new(Collection::of::<WorkspaceMember>(), "")
    }

    /// In the place of what is left of an earlier membership, which opens nothing.
    pub fn after(self, earlier: Option<&WorkspaceMember>) -> Self {
        WorkspaceMember { version: earlier.map_or(1, |earlier| earlier.version + 1), ..self }
    }

    pub fn with_role(&self, role: Role) -> Self {
        WorkspaceMember { role, version: self.version + 1, ..self.clone() }
    }

    pub fn etag(&self) -> String {
        format!("\"{}\"", self.version)
    }

    pub fn is_admin(role: Role) -> bool {
        role >= Role::Admin
    }
}

impl Entity for WorkspaceMember {
    type Scope = InWorkspace;
    const TYPE: &'static str = "workspace_member";
    const COLLECTION: &'static str = "workspace-members";
    const WITHIN: Option<Within> = Some(IN_WORKSPACE);
    const COUNTER: Option<Counter> = Some(WorkspaceMember::COUNT);
    const NOUN: Option<&'static str> = Some("Member");

    fn key(&self) -> Key<Self> {
        WorkspaceMember::key_of(self.user)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }
}

/// `workspace-access` / `<user>#<workspace>`: the workspaces of a person, in the order of their creation. Written with `WorkspaceMember`, which decides.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkspaceAccess {
    pub user: UserId,
    pub id: WorkspaceId,
}

impl WorkspaceAccess {
    pub fn key_of(user: UserId, workspace: WorkspaceTag) -> Key<Self> {
        Key::at(&Collection::of::<WorkspaceAccess>(), format!("{user}#{workspace}"))
    }

    pub fn of_user(user: UserId) -> List<Self> {
        List::beginning(Collection::of::<WorkspaceAccess>(), &format!("{user}#"))
    }
}

impl Entity for WorkspaceAccess {
    type Scope = InTenant;
    const TYPE: &'static str = "workspace_access";
    const COLLECTION: &'static str = "workspace-access";
    const AUDITED: bool = false;
    const EXPORTED: bool = false;

    fn key(&self) -> Key<Self> {
        WorkspaceAccess::key_of(self.user, self.id.tag())
    }
}

/// `deleted-workspaces` / `<tag>`: written when a workspace goes. The stream tells the relay, which asks for the sweep of what it held; a sweep that has
/// more to do writes the next round. It stays until nothing is left, because a purge of the tenant finds the rest by it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeletedWorkspace {
    pub id: WorkspaceId,
    pub deleted_at: Timestamp,
    pub round: u64,
    /// What counted against the plan was taken off the tenant's counters.
    pub settled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swept_at: Option<Timestamp>,
}

impl DeletedWorkspace {
    /// Counters of a workspace that count against the tenant's plan, with the tenant's own.
    pub const SETTLED: [(Counter, Counter); 1] = [(Workspace::LEADS, Workspace::PEOPLE)];
    const KEPT_AFTER_SWEEP: SignedDuration = SignedDuration::from_hours(24);

    pub fn new(id: WorkspaceId, now: Timestamp) -> Self {
        DeletedWorkspace { id, deleted_at: now, round: 0, settled: false, swept_at: None }
    }

    pub fn settled(&self) -> Self {
        DeletedWorkspace { settled: true, round: self.round + 1, ..self.clone() }
    }

    /// There is more to sweep.
    pub fn next_round(&self) -> Self {
        DeletedWorkspace { round: self.round + 1, ..self.clone() }
    }

    pub fn swept(&self, now: Timestamp) -> Self {
        DeletedWorkspace { swept_at: Some(now), ..self.next_round() }
    }

    pub fn key_of(tag: WorkspaceTag) -> Key<Self> {
        Key::new(&Collection::of::<DeletedWorkspace>(), tag)
    }
}

impl Entity for DeletedWorkspace {
    type Scope = InTenant;
    const TYPE: &'static str = "deleted_workspace";
    const COLLECTION: &'static str = DELETED_WORKSPACES;
    const AUDITED: bool = false;
    const EXPORTED: bool = false;

    fn key(&self) -> Key<Self> {
        DeletedWorkspace::key_of(self.id.tag())
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("round", self.round)]
    }

    fn expires_at(&self) -> Option<Timestamp> {
        self.swept_at.map(|swept_at| swept_at + DeletedWorkspace::KEPT_AFTER_SWEEP)
    }
}

/// A job of the clean-up queue: what a deleted workspace held.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
pub struct SweepWorkspace {
    pub workspace: WorkspaceId,
}

/// What somebody may do in a workspace, by their role in the tenant and their membership in the workspace. `None`: for them it does not exist.
pub fn role_in(tenant: Role, workspace: Option<Role>) -> Option<Role> {
    match tenant {
        Role::Owner => Some(Role::Owner),
        Role::Admin => Some(workspace.unwrap_or(Role::Admin).max(Role::Admin)),
        Role::Member => workspace,
        Role::Viewer => workspace.map(|_| Role::Viewer),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slugs_are_words_joined_by_hyphens() {
        for text in ["a", "acme", "acme-1", "0-0", &"a".repeat(63)] {
            assert_eq!(WorkspaceSlug::parse(text).map(|slug| slug.to_string()).as_deref(), Some(text));
        }
        for wrong in ["", "-", "a-", "-a", "a--b", "A", "a_b", "ä", "a b", "a#b", "0198c0de-0000-7000-8000-000000000000", &"a".repeat(64)]
        {
            assert_eq!(WorkspaceSlug::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_name_becomes_a_slug() {
        for (name, number, slug) in [
            ("Acme Corp.", 0, "acme-corp"),
            ("Österreich", 0, "osterreich"),
            ("!!!", 0, "workspace"),
            ("Acme", 2, "acme-2"),
            ("東京", 0, "dongjing"),
            ("550E8400-e29b-41d4-a716-446655440000", 0, "workspace-550e8400-e29b-41d4-a716-446655440000"),
            ("550e8400 e29b 41d4 a716 446655440000", 1, "550e8400-e29b-41d4-a716-446655440000-1"),
            ("550e8400e29b41d4a716446655440000", 0, "550e8400e29b41d4a716446655440000"),
        ] {
            assert_eq!(WorkspaceSlug::from_name(name, number).as_str(), slug);
        }
    }

    proptest! {
        /// What is stored is read with `parse`.
        #[test]
        fn whatever_is_made_of_a_name_is_a_slug(
            name in prop_oneof![
                any::<String>(),
                "[0-9a-f]{8}([- ]?[0-9a-f]{4}){3}[- ]?[0-9a-f]{12}",
                "[0-9a-f]{8}(-[0-9a-f]{4}){3}",
                "[a-z-]{40,90}",
            ],
            number in prop_oneof![0..=Workspace::MOST as usize, Just(446_655_440_000)],
        ) {
            let slug = WorkspaceSlug::from_name(&name, number);
            prop_assert_eq!(WorkspaceSlug::parse(slug.as_str()), Some(slug));
        }
    }

    #[test]
    fn the_tenants_admins_enter_every_workspace_and_its_viewers_only_look() {
        let expected = [
            (Role::Owner, None, Some(Role::Owner)),
            (Role::Owner, Some(Role::Viewer), Some(Role::Owner)),
            (Role::Admin, None, Some(Role::Admin)),
            (Role::Admin, Some(Role::Owner), Some(Role::Owner)),
            (Role::Member, None, None),
            (Role::Member, Some(Role::Admin), Some(Role::Admin)),
            (Role::Viewer, None, None),
            (Role::Viewer, Some(Role::Owner), Some(Role::Viewer)),
        ];
        for (tenant, workspace, role) in expected {
            assert_eq!(role_in(tenant, workspace), role, "{tenant:?} {workspace:?}");
        }
    }
}
