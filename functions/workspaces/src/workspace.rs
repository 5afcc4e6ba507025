//! Workspaces: list, create, read, change, delete.

use serde::Serialize;
use shared::http::answer::{Answer, Created, Listing, NoContent, Tagged};
use shared::http::arguments::{Body, IfMatch, NoFilters, Offsets};
use shared::http::form::{EmailAddress, Fields, Form, Name, Text, Timezone};
use shared::http::idempotency::{Once, Ticket};
use shared::ids::WorkspaceId;
use shared::model::time::{Printed, zulu};
use shared::model::workspace::{DeletedWorkspace, Workspace, WorkspaceMember, WorkspaceSettings, WorkspaceSlug, WorkspaceSlugClaim};
use shared::tenancy::doors::{Admin, In, Owner, ReachableWorkspace, Viewer};
use shared::tenancy::{Role, conflict, missing};
use shared::workspaces::join;
use shared::{Error, Result, crypto};

use crate::member::{MemberRole, roles_of};
use crate::rules::{HttpsUrl, NewSlug};

/// A workspace in a list.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = WorkspaceSummary)]
pub struct SummaryView {
    id: String,
    name: String,
    slug: String,
    /// Yours.
    role: Role,
    stats: StatsView,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = WorkspaceStats)]
pub struct StatsView {
    active_campaigns: u64,
    total_leads: u64,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CreatedWorkspace)]
pub struct CreatedView {
    id: String,
    name: String,
    slug: String,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Workspace)]
pub struct WorkspaceView {
    id: String,
    name: String,
    slug: String,
    /// Yours.
    role: Role,
    settings: SettingsView,
    /// The first thousand.
    members: Vec<MemberRole>,
    created_at: Printed,
    updated_at: Printed,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = WorkspaceSettings)]
pub struct SettingsView {
    timezone: String,
    branding: BrandingView,
    default_from_name: Option<String>,
    default_from_email: Option<String>,
    postal_address: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = WorkspaceBranding)]
pub struct BrandingView {
    logo_url: Option<String>,
}

pub struct NewWorkspace {
    name: String,
    slug: Option<WorkspaceSlug>,
    settings: SettingsChanges,
}

pub struct Changes {
    name: Option<String>,
    settings: SettingsChanges,
}

/// `None` leaves a setting as it is.
#[derive(Default)]
struct SettingsChanges {
    timezone: Option<String>,
    branding: BrandingChanges,
    default_from_name: Option<Option<String>>,
    default_from_email: Option<Option<String>>,
    postal_address: Option<Option<String>>,
}

#[derive(Default)]
struct BrandingChanges {
    logo_url: Option<Option<String>>,
}

pub struct Confirmation {
    confirm: String,
}

/// Oldest first.
pub async fn list(door: Viewer, asked: Offsets<NoFilters>) -> Result<Listing<SummaryView>> {
    let found = door.reachable_workspaces(&asked.page.span(), [Workspace::ACTIVE_CAMPAIGNS, Workspace::LEADS]).await?;
    let items = found.items.iter().map(SummaryView::of).collect();
    Ok(Listing { items, total: found.total, page: asked.page, next: found.next })
}

/// Who creates it becomes its owner. A slug that is made of the name avoids those that are taken.
pub async fn create(door: Admin, once: Once<NewWorkspace>) -> Result<Tagged<CreatedView, 201>> {
    if door.key.as_ref().is_some_and(|key| key.workspaces.is_some()) {
        return Err(Error::Forbidden("This key is for certain workspaces: it creates no others.".into()));
    }
    let NewWorkspace { name, slug, settings } = once.body;
    let id = WorkspaceId::new(door.now(), door.store.random());
    let settings = settings.applied(&WorkspaceSettings::default());
    let workspace = |slug: WorkspaceSlug| Workspace {
        id,
        slug,
        name: name.clone(),
        settings: settings.clone(),
        created_at: door.now(),
        updated_at: door.now(),
        version: 1,
    };
    if let Some(slug) = slug {
        return write(&door, &once.ticket, &workspace(slug)).await;
    }
    let mut refused = Error::Conflict("Too many workspaces have this name: give a slug.".into());
    for _ in 0..5 {
        let Some(slug) = free_slug(&door, &name).await? else { break };
        match write(&door, &once.ticket, &workspace(slug)).await {
            // Somebody took the slug that was free a moment ago.
            Err(error @ Error::Conflict(_)) => refused = error,
            other => return other,
        }
    }
    Err(refused)
}

pub async fn show(door: In<Viewer>) -> Result<Tagged<WorkspaceView>> {
    let members = roles_of(&door).await?;
    Ok(answer(&door.workspace, door.role, members))
}

/// The slug stays: links and clients know the workspace by it.
pub async fn update(door: In<Admin>, expected: IfMatch, changes: Body<Changes>) -> Result<Tagged<WorkspaceView>> {
    let changed = door
        .outer
        .store
        .edit(door.workspace.clone(), |workspace, transaction| {
            expected.check(&workspace.etag())?;
            let settings = changes.0.settings.applied(&workspace.settings);
            Ok(workspace.changed(changes.0.name.clone(), settings, door.now()).map(|changed| (changed, transaction)))
        })
        .await?;
    let members = roles_of(&door).await?;
    Ok(answer(&changed, door.role, members))
}

/// The workspace is gone at once; what it held is deleted afterwards. Whoever deletes it types its name, because that cannot be taken back.
pub async fn delete(door: In<Owner>, expected: IfMatch, body: Body<Confirmation>) -> Result<NoContent> {
    let store = &door.outer.store;
    store
        .remove(door.workspace.clone(), |workspace, transaction| {
            expected.check(&workspace.etag())?;
            if body.0.confirm != workspace.name {
                return Err(Error::field("confirm", "The confirm field must be the name of the workspace."));
            }
            door.require_role(transaction, Role::Owner, None)?
                .delete(store, &WorkspaceSlugClaim::key_of(&workspace.slug), missing())?
                .put(store, &DeletedWorkspace::new(workspace.id, door.now()))?
                .count(store, Workspace::COUNT, -1)
        })
        .await?;
    Ok(NoContent)
}

async fn write(door: &Admin, ticket: &Ticket, workspace: &Workspace) -> Result<Tagged<CreatedView, 201>> {
    let (store, now) = (&door.store, door.now());
    let claim = WorkspaceSlugClaim { slug: workspace.slug.clone(), id: workspace.id };
    let answer = Created::new("Workspace created", CreatedView::of(workspace)).tagged(workspace.etag());
    let transaction = ticket.record(store.transaction(), store, &answer)?;
    let transaction = door
        .require_role(transaction)?
        .count_within(store, Workspace::QUOTA, &door.plan, &door.tenant.plan)?
        .create(store, &claim, conflict("Another workspace has this slug."))?
        .create(store, workspace, conflict("Another workspace was created at the same moment. Try again."))?;
    // Somebody of an agency is no member of its child, nor is a key that they made there.
    let transaction = match door.member.number {
        0 => transaction,
        _ => {
            let (user, number) = (door.member.user, door.member.number);
            let owner = WorkspaceMember { user, number, role: Role::Owner, joined_at: now, version: 1 };
            join(transaction, store, &door.workspace(workspace.id), workspace.id, &owner, None)?
        }
    };
    transaction.commit().await?;
    Ok(answer)
}

/// The first slug made of the name that nobody has.
async fn free_slug(door: &Admin, name: &str) -> Result<Option<WorkspaceSlug>> {
    for first in (0..Workspace::MOST as usize).step_by(SLUGS) {
        let slugs: Vec<WorkspaceSlug> = (first..first + SLUGS).map(|number| WorkspaceSlug::from_name(name, number)).collect();
        let keys: Vec<_> = slugs.iter().map(WorkspaceSlugClaim::key_of).collect();
        let taken = door.store.find_many(&keys).await?;
        if let Some(free) = slugs.into_iter().find(|slug| !taken.iter().any(|claim| claim.slug == *slug)) {
            return Ok(Some(free));
        }
    }
    Ok(None)
}

/// How many slugs are tried at once.
const SLUGS: usize = 10;

/// The entity tag names what is shown: with the version, the caller's role and the members.
fn answer(workspace: &Workspace, role: Role, members: Vec<MemberRole>) -> Tagged<WorkspaceView> {
    let seats = members.iter().map(MemberRole::text);
    let shown = crypto::hash(&[role.name().as_bytes(), seats.collect::<Vec<_>>().join(" ").as_bytes()]);
    let etag = format!("\"{}.{}\"", workspace.version, &shown[..12]);
    Answer::new("Success", WorkspaceView::of(workspace, role, members)).tagged(etag)
}

impl SummaryView {
    fn of(found: &ReachableWorkspace<2>) -> Self {
        let [active_campaigns, total_leads] = found.counts;
        SummaryView {
            id: found.workspace.id.prefixed(),
            name: found.workspace.name.clone(),
            slug: found.workspace.slug.to_string(),
            role: found.role,
            stats: StatsView { active_campaigns, total_leads },
        }
    }
}

impl CreatedView {
    fn of(workspace: &Workspace) -> Self {
        CreatedView { id: workspace.id.prefixed(), name: workspace.name.clone(), slug: workspace.slug.to_string() }
    }
}

impl WorkspaceView {
    fn of(workspace: &Workspace, role: Role, members: Vec<MemberRole>) -> Self {
        let settings = &workspace.settings;
        WorkspaceView {
            id: workspace.id.prefixed(),
            name: workspace.name.clone(),
            slug: workspace.slug.to_string(),
            role,
            settings: SettingsView {
                timezone: settings.timezone.clone(),
                branding: BrandingView { logo_url: settings.logo_url.clone() },
                default_from_name: settings.default_from_name.clone(),
                default_from_email: settings.default_from_email.clone(),
                postal_address: settings.postal_address.clone(),
            },
            members,
            created_at: zulu(workspace.created_at),
            updated_at: zulu(workspace.updated_at),
        }
    }
}

impl SettingsChanges {
    fn applied(&self, before: &WorkspaceSettings) -> WorkspaceSettings {
        let changed = |change: &Option<Option<String>>, before: &Option<String>| change.clone().unwrap_or_else(|| before.clone());
        WorkspaceSettings {
            timezone: self.timezone.clone().unwrap_or_else(|| before.timezone.clone()),
            logo_url: changed(&self.branding.logo_url, &before.logo_url),
            default_from_name: changed(&self.default_from_name, &before.default_from_name),
            default_from_email: changed(&self.default_from_email, &before.default_from_email),
            postal_address: changed(&self.postal_address, &before.postal_address),
        }
    }
}

impl Form for NewWorkspace {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let name = fields.required("name", Name { max: 100 });
        let slug = fields.optional("slug", NewSlug);
        let settings = fields.nested("settings").unwrap_or_default();
        Some(NewWorkspace { name: name?, slug, settings })
    }
}

impl Form for Changes {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let name = fields.change("name", Name { max: 100 });
        let settings = fields.nested("settings").unwrap_or_default();
        Some(Changes { name, settings })
    }
}

impl Form for SettingsChanges {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(SettingsChanges {
            timezone: fields.change("timezone", Timezone),
            // Without branding there is no logo.
            branding: fields
                .nested_or_clear("branding")
                .map_or_else(BrandingChanges::default, |branding| branding.unwrap_or(BrandingChanges { logo_url: Some(None) })),
            default_from_name: fields.change_or_clear("default_from_name", Name { max: 100 }),
            default_from_email: fields
                .change_or_clear("default_from_email", EmailAddress)
                .map(|email| email.map(|email| email.as_str().to_owned())),
            postal_address: fields.change_or_clear("postal_address", Text::up_to(300)),
        })
    }
}

impl Form for BrandingChanges {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(BrandingChanges { logo_url: fields.change_or_clear("logo_url", HttpsUrl) })
    }
}

impl Form for Confirmation {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let confirm = fields.required("confirm", Name { max: 100 });
        Some(Confirmation { confirm: confirm? })
    }
}
