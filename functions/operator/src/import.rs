//! A fresh tenant from the lines of an export. It is suspended until the last line is written, so nobody can enter an incomplete
//! one; `purge-tenant` removes it. Secrets, API keys and open invitations are not in an export, so they are named as skipped.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use records::consent::{Consent, ConsentEntry};
use records::contact::Contact;
use records::peer::Peer;
use records::project::{Project, ProjectId, Shelf, TaskCounts};
use records::setting::{Setting, SettingValue};
use records::task::{Task, TaskStatus};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use shared::accounts::owner_of;
use shared::ids::{UserId, WorkspaceId};
use shared::model::member::Member;
use shared::model::phone_number::PhoneNumber;
use shared::model::tenant::{Slug, Tenant, TenantKind, TenantStatus};
use shared::model::text::{self, MASK};
use shared::model::user::{Email, User, UserTenant};
use shared::model::workspace::{DeletedWorkspace, Workspace, WorkspaceAccess, WorkspaceMember};
use shared::store::{Counter, Entity, InTenant, Packed, Restored};
use shared::tenancy::jobs::WorkContext;
use shared::tenancy::{Directory, Role, TenantStore, Transaction, WorkspaceStore, conflict};
use shared::tenant_lifecycle::{NewTenant, SLUG_ALPHABET, TenantCreation};
use shared::{Error, Result};

/// Records of one transaction, at most four writes each.
const TOGETHER: usize = 25;

#[derive(Deserialize)]
struct Line {
    r#type: String,
    /// The tag of its workspace.
    #[serde(default)]
    workspace: Option<String>,
    data: Value,
}

/// What the lines hold, read and checked before anything is written.
#[derive(Default)]
struct Content {
    tenant: Option<Tenant>,
    members: Vec<Member>,
    projects: BTreeMap<ProjectId, Project>,
    tasks: Vec<Task>,
    settings: Vec<Setting>,
    ordinary: Vec<Ordinary>,
    consents: Vec<ConsentEntry>,
    /// What leads to them.
    consent_lines: Vec<Consent>,
    /// How many entries the chains of numbers have.
    chains: BTreeMap<PhoneNumber, u64>,
    /// By their tags.
    workspaces: BTreeMap<String, WorkspaceId>,
    /// With the tags of their workspaces.
    workspace_members: Vec<(String, WorkspaceMember)>,
    skipped: BTreeMap<String, usize>,
}

/// A record that is put back as it was.
struct Ordinary {
    name: &'static str,
    /// The tag of its workspace.
    workspace: Option<String>,
    record: Packed,
}

/// `restored`: how ordinary records are put back.
pub async fn import_tenant(context: &WorkContext, restored: &[&[Restored]], owner: &str, lines: &str) -> Result<Value> {
    let mut content = Content::read(restored, lines)?;
    let directory = &context.directory;
    let owner = user_of(directory, owner).await?.ok_or(Error::BadRequest("No account has the owner's e-mail address.".into()))?;
    let original = content.tenant.take().ok_or(Error::BadRequest("There is no line of the type tenant.".into()))?;
    content.resolve_members(directory).await?;

    let plan = context.app.plans().contains(&original.plan) && original.plan != "demo";
    let new = NewTenant {
        slug: Slug::from_name(&original.name, &context.app.random().text(SLUG_ALPHABET, 6)),
        name: original.name.clone(),
        logo: original.logo.clone(),
        plan: if plan { original.plan.clone() } else { "free".into() },
        kind: TenantKind::Standard,
        ends_at: None,
    };
    let mut creation = TenantCreation::with_owner(directory, directory.new_tenant_store(), new, &owner).await?;
    let founder = creation.owner.take().ok_or_else(|| Error::internal("importing a tenant", "it was founded without an owner"))?;
    let member = content.owner(&founder);
    creation.owner = Some(member.clone());
    let (created_at, updated_at, version) = (original.created_at, original.updated_at, original.version);
    creation.tenant = Tenant { status: TenantStatus::Suspended, created_at, updated_at, version, ..creation.tenant };
    creation.write(directory.transaction(), directory, conflict("Try again."))?.commit().await?;

    content.resolve_workspaces(&member);
    let imported = content.write(context, &creation.store, &member).await?;
    let open = Tenant { status: TenantStatus::Active, ..creation.tenant.clone() };
    let store = &creation.store;
    content.count_in_workspaces(context, store).await?;
    content.count(store.transaction().replace(store, &open, &creation.tenant)?, store, &member)?.commit().await?;
    Ok(json!({"ok": true, "tenant": open.id, "slug": open.slug, "imported": imported, "skipped": content.skipped}))
}

impl Content {
    fn read(restored: &[&[Restored]], lines: &str) -> Result<Self> {
        let mut content = Content::default();
        for (index, text) in lines.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
            content.add(restored, text).ok_or_else(|| Error::BadRequest(format!("Line {} is not one of an export.", index + 1).into()))?;
        }
        for task in std::mem::take(&mut content.tasks) {
            match content.projects.get_mut(&task.project).filter(|project| task.id.project_tag() == project.id.tag()) {
                Some(project) => {
                    let counts = &mut project.tasks;
                    match task.status {
                        TaskStatus::Done => counts.completed += 1,
                        TaskStatus::Cancelled => counts.cancelled += 1,
                        TaskStatus::Todo | TaskStatus::InProgress | TaskStatus::InReview => counts.open += 1,
                    }
                    content.tasks.push(task);
                }
                None => content.skip("task"),
            }
        }
        // What was recorded after the export came to the peers: its place is free for what is recorded next.
        let chains = std::mem::take(&mut content.chains);
        let is_known = |number: &PhoneNumber, n: u64| chains.get(number).is_some_and(|known| n <= *known);
        for entry in std::mem::take(&mut content.consents) {
            match is_known(&entry.phone_number, entry.n) {
                true => content.ordinary.push(Ordinary { name: ConsentEntry::TYPE, workspace: None, record: Packed::of(&entry)? }),
                false => content.skip(ConsentEntry::TYPE),
            }
        }
        for line in std::mem::take(&mut content.consent_lines) {
            match is_known(&line.phone_number, line.n) {
                true => content.ordinary.push(Ordinary { name: Consent::TYPE, workspace: None, record: Packed::of(&line)? }),
                false => content.skip(Consent::TYPE),
            }
        }
        Ok(content)
    }

    fn add(&mut self, restored: &[&[Restored]], text: &str) -> Option<()> {
        let Line { r#type: kind, workspace, data } = serde_json::from_str(text).ok()?;
        match kind.as_str() {
            Tenant::TYPE => self.tenant = Some(record(data)?),
            Member::TYPE => self.members.push(record(data)?),
            // It follows from the member.
            "member_number" => {}
            Task::TYPE => self.tasks.push(record(data)?),
            Project::TYPE => {
                let project: Project = record(data)?;
                self.projects.insert(project.id, Project { tasks: TaskCounts::default(), ..project });
            }
            Setting::TYPE => match record::<Setting>(data)? {
                Setting { value: SettingValue::Sealed(_), .. } => self.skip("secret_setting"),
                setting => self.settings.push(setting),
            },
            Workspace::TYPE => {
                let workspace: Workspace = record(data).filter(|workspace: &Workspace| workspace.id.is_one())?;
                self.workspaces.insert(workspace.id.tag().to_string(), workspace.id);
                self.ordinary.push(Ordinary { name: Workspace::TYPE, workspace: None, record: Packed::of(&workspace).ok()? });
            }
            WorkspaceMember::TYPE => self.workspace_members.push((workspace?, record(data)?)),
            ConsentEntry::TYPE if workspace.is_none() => self.consents.push(record(data)?),
            Consent::TYPE if workspace.is_none() => self.consent_lines.push(record(data)?),
            Peer::TYPE if workspace.is_none() => {
                // Neither lines nor places are the new tenant's.
                let peer = record::<Peer>(data)?.elsewhere();
                self.chains.extend(peer.chain.as_ref().map(|head| (peer.phone_number.clone(), head.n)));
                self.ordinary.push(Ordinary { name: Peer::TYPE, workspace: None, record: Packed::of(&peer).ok()? });
            }
            other => match restored.iter().copied().flatten().find(|known| known.kind == other) {
                // Elsewhere nothing would lead to it, and a purge would not find it.
                Some(known) if known.walled != workspace.is_some() => return None,
                Some(Restored { kind, restore: Some(restore), free, .. }) if !is_masked("", &data, free) => {
                    self.ordinary.push(Ordinary { name: kind, workspace, record: restore(data)? });
                }
                _ => self.skip(other),
            },
        }
        Some(())
    }

    fn skip(&mut self, kind: &str) {
        *self.skipped.entry(kind.to_owned()).or_default() += 1;
    }

    /// Finds each member's account by the address. Members without an account here are skipped.
    async fn resolve_members(&mut self, directory: &Directory) -> Result<()> {
        let (mut users, mut numbers): (BTreeSet<UserId>, BTreeSet<u64>) = Default::default();
        for member in std::mem::take(&mut self.members) {
            let Some(user) = user_of(directory, &member.email).await? else {
                self.skip(Member::TYPE);
                continue;
            };
            if member.number == 0 || !users.insert(user.id) || !numbers.insert(member.number) {
                return Err(Error::BadRequest("Two members have the same number or address.".into()));
            }
            self.members.push(Member { user: user.id, ..member });
        }
        Ok(())
    }

    /// The owner: as a member of the export, or with a member number that it does not use.
    fn owner(&self, founder: &Member) -> Member {
        match self.members.iter().find(|member| member.user == founder.user) {
            Some(known) => Member { role: Role::Owner, ..known.clone() },
            None if self.last_number() == 0 => founder.clone(),
            None => Member { number: self.last_number() + 1, ..founder.clone() },
        }
    }

    /// The highest number that a member has, or that a task still names.
    fn last_number(&self) -> u64 {
        let named = self.tasks.iter().flat_map(|task| task.assignee.iter().chain([&task.creator]).map(|person| person.id));
        self.members.iter().map(|member| member.number).chain(named).max().unwrap_or(0)
    }

    fn other_members<'a>(&'a self, owner: &'a Member) -> impl Iterator<Item = &'a Member> {
        self.members.iter().filter(|member| member.user != owner.user)
    }

    /// A workspace's member is who has their number in the tenant. Those whose account is not here are skipped, and so is what lies in a workspace that
    /// is not among the lines, because nothing would lead to it.
    fn resolve_workspaces(&mut self, owner: &Member) {
        for one in std::mem::take(&mut self.ordinary) {
            match &one.workspace {
                Some(tag) if !self.workspaces.contains_key(tag) => self.skip(one.name),
                _ => self.ordinary.push(one),
            }
        }
        for (workspace, member) in std::mem::take(&mut self.workspace_members) {
            let known = self.other_members(owner).chain([owner]).find(|known| known.number == member.number);
            match known.filter(|_| self.workspaces.contains_key(&workspace)).map(|known| known.user) {
                Some(user) => self.workspace_members.push((workspace, WorkspaceMember { user, ..member })),
                None => self.skip(WorkspaceMember::TYPE),
            }
        }
    }

    async fn write(&self, context: &WorkContext, store: &TenantStore, owner: &Member) -> Result<Value> {
        let directory = &context.directory;
        let others: Vec<&Member> = self.other_members(owner).collect();
        for some in others.chunks(TOGETHER) {
            let mut transaction = store.transaction();
            for member in some {
                let belongs = UserTenant { user: member.user, tenant: store.tenant_id(), since: store.now() };
                transaction = transaction
                    .create(store, *member, conflict("Two lines say the same."))?
                    .create(store, &member.numbered(), conflict("Two lines say the same."))?
                    .put(directory, &belongs)?;
            }
            transaction.commit().await?;
        }
        create_all(store, self.projects.values()).await?;
        create_all(store, self.tasks.iter()).await?;
        create_all(store, self.settings.iter()).await?;
        for some in self.ordinary.chunks(TOGETHER) {
            let mut transaction = store.transaction();
            for Ordinary { workspace, record, .. } in some {
                let twice = conflict("Two lines say the same.");
                transaction = match workspace {
                    Some(tag) => transaction.create_packed(&workspace_of(context, store, tag)?, record, twice)?,
                    None => transaction.create_packed(store, record, twice)?,
                };
            }
            transaction.commit().await?;
        }
        for some in self.workspace_members.chunks(TOGETHER) {
            let mut transaction = store.transaction();
            for (tag, member) in some {
                let Some(id) = self.workspaces.get(tag) else { continue };
                transaction = transaction
                    .create(&workspace_of(context, store, tag)?, member, conflict("Two lines say the same."))?
                    .create(store, &WorkspaceAccess { user: member.user, id: *id }, conflict("Two lines say the same."))?;
            }
            transaction.commit().await?;
        }
        let (projects, tasks, settings) = (self.projects.len(), self.tasks.len(), self.settings.len());
        let mut imported = BTreeMap::from([("member", others.len() + 1), ("project", projects), ("task", tasks), ("setting", settings)]);
        for Ordinary { name, .. } in &self.ordinary {
            *imported.entry(name).or_default() += 1;
        }
        if !self.workspace_members.is_empty() {
            imported.insert(WorkspaceMember::TYPE, self.workspace_members.len());
        }
        Ok(json!(imported))
    }

    /// Adds what lies in workspaces to their counters.
    async fn count_in_workspaces(&self, context: &WorkContext, store: &TenantStore) -> Result<()> {
        let mut counts: BTreeMap<&str, HashMap<Counter, i64>> = BTreeMap::new();
        for Ordinary { workspace, record, .. } in &self.ordinary {
            if let Some((tag, counter)) = workspace.as_deref().zip(record.counter) {
                *counts.entry(tag).or_default().entry(counter).or_default() += 1;
            }
        }
        for (tag, member) in &self.workspace_members {
            let counts = counts.entry(tag).or_default();
            *counts.entry(WorkspaceMember::COUNT).or_default() += 1;
            *counts.entry(WorkspaceMember::ADMINS).or_default() += i64::from(WorkspaceMember::is_admin(member.role));
        }
        for (tag, counts) in counts {
            let within = workspace_of(context, store, tag)?;
            let mut counts = counts.into_iter();
            counts.try_fold(store.transaction(), |all, (counter, by)| all.count(&within, counter, by))?.commit().await?;
        }
        Ok(())
    }

    /// Adds the imported records to the counters. Creating the tenant has already counted one member, who is an owner, and number 1.
    fn count<'a>(&self, transaction: Transaction<'a>, store: &TenantStore, owner: &Member) -> Result<Transaction<'a>> {
        let on = |shelf: Shelf| self.projects.values().filter(|project| project.shelf == shelf).count();
        let last_number = usize::try_from(self.last_number().max(owner.number)).unwrap_or(usize::MAX);
        let mut counts: HashMap<Counter, usize> = HashMap::from([
            (Member::COUNT, self.other_members(owner).count()),
            (Member::OWNERS, self.other_members(owner).filter(|member| member.role == Role::Owner).count()),
            (Member::NUMBERS, last_number - 1),
            (Shelf::Active.counter(), on(Shelf::Active)),
            (Shelf::Archived.counter(), on(Shelf::Archived)),
            (Setting::COUNT, self.settings.len()),
        ]);
        for counter in self.ordinary.iter().filter(|one| one.workspace.is_none()).filter_map(|one| one.record.counter) {
            *counts.entry(counter).or_default() += 1;
        }
        for (counter, of_tenant) in DeletedWorkspace::SETTLED {
            let held = self.ordinary.iter().filter(|one| one.workspace.is_some() && one.record.counter == Some(counter)).count();
            *counts.entry(of_tenant).or_default() += held;
        }
        let contacts = self.ordinary.iter().filter(|one| one.record.counter == Some(Contact::COUNT)).count();
        *counts.entry(Workspace::PEOPLE).or_default() += contacts;
        let mut counts = counts.into_iter().filter(|(_, by)| *by > 0);
        counts.try_fold(transaction, |transaction, (counter, by)| transaction.count(store, counter, i64::try_from(by).unwrap_or(i64::MAX)))
    }
}

/// The workspace of a line, which must be one of the export.
fn workspace_of(context: &WorkContext, store: &TenantStore, tag: &str) -> Result<WorkspaceStore> {
    context.imported_workspace(store, tag).ok_or(Error::BadRequest("A line names a workspace that cannot be one.".into()))
}

async fn create_all<'a, E: Entity<Scope = InTenant>>(store: &TenantStore, records: impl Iterator<Item = &'a E>) -> Result<()> {
    let records: Vec<&E> = records.collect();
    for some in records.chunks(TOGETHER) {
        let mut transaction = store.transaction();
        for record in some {
            transaction = transaction.create(store, *record, conflict("Two lines say the same."))?;
        }
        transaction.commit().await?;
    }
    Ok(())
}

/// An export shows the mask in place of what is secret, at any depth, but not in what is free.
fn is_masked(name: &str, data: &Value, free: &[&str]) -> bool {
    match data {
        Value::String(text) => text == MASK && text::is_concealed(name),
        Value::Array(values) => values.iter().any(|value| is_masked("", value, &[])),
        Value::Object(fields) => fields.iter().any(|(name, value)| !free.contains(&name.as_str()) && is_masked(name, value, &[])),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn record<T: DeserializeOwned>(data: Value) -> Option<T> {
    serde_json::from_value(data).ok()
}

/// Who has proven the address: nobody else gains a membership by it.
async fn user_of(directory: &Directory, email: &str) -> Result<Option<User>> {
    match Email::presented(email) {
        Ok(email) => owner_of(directory, &email).await,
        Err(_) => Ok(None),
    }
}
