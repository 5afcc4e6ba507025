//! The door into a workspace: which one a request means, whether it is there for the caller, and with which role.

use http::HeaderName;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::ids::{UserId, WorkspaceId, WorkspaceTag};
use crate::model::workspace::{Workspace, WorkspaceAccess, WorkspaceMember, WorkspaceSettings, WorkspaceSlug, WorkspaceSlugClaim, role_in};
use crate::store::Counter;
use crate::store::page::{Position, RankedPage, Span};
use crate::store::table::{FullKey, number};
use crate::tenancy::doors::tenanted::{Inside, Tenanted, enter_tenant};
use crate::tenancy::doors::{Access, Admin, AtLeast, Door};
use crate::tenancy::limiter::Class;
use crate::tenancy::{Allowance, Entered, Incoming, RecordStore, Role, TenantStore, Transaction, Wants, WorkspaceStore};

/// Routes whose first path value is a workspace itself. On all others it is the id of something within one, which names the workspace.
const WORKSPACE_ROUTES: &str = "/api/v1/tenant/workspaces/{workspace}";
/// Selects a workspace, by id or slug. An answer says with it where it comes from.
pub(crate) const X_WORKSPACE_ID: HeaderName = HeaderName::from_static("x-workspace-id");
/// The parameter of lists that selects a workspace.
const IN_QUERY: &str = "workspace";
/// The field of bodies that selects one.
const IN_BODY: &str = "workspace_slug";
const NOUN: &str = "Workspace";
/// Requests for test mails.
const TESTS_AN_HOUR: u64 = 10;

/// A member of a workspace with at least a certain role: `In<Viewer>`. Holds the store of that workspace.
pub struct In<D> {
    /// The door into the tenant, through which the caller came.
    pub outer: D,
    pub store: WorkspaceStore,
    /// For lists of a caller who has no workspace: one without a name, in which nothing is.
    pub workspace: Workspace,
    /// The caller's role in the workspace.
    pub role: Role,
}

impl<R> In<Tenanted<R>> {
    /// The moment of the request.
    pub fn now(&self) -> jiff::Timestamp {
        self.store.now()
    }

    /// For what is created in the workspace: requires, in the transaction, that the workspace is still there. Nothing is then written into a workspace
    /// after its deletion, which sweeps what it finds.
    pub fn while_there<'a>(&self, transaction: Transaction<'a>) -> Result<Transaction<'a>> {
        let gone = Box::new(|_| Error::Missing(NOUN));
        transaction.require(&self.outer.store, &Workspace::key_of(self.workspace.id.tag()), gone)
    }

    /// How often test mails are sent from the workspace in an hour.
    pub fn test_mails(&self) -> Allowance {
        let workspace = format!("{} {}", self.store.tenant_id(), self.store.tag());
        self.outer.app.limiter().allowance(Class::TEST_MAILS, &workspace, TESTS_AN_HOUR, self.now())
    }

    /// For changes that must fail after a demotion: requires, in the transaction, the memberships by which the caller has their role here. A transaction
    /// can write an item only once: `touched` is the membership in the workspace that it changes itself, as read now and with a check of its version.
    pub fn require_role<'a>(
        &self,
        transaction: Transaction<'a>,
        least: Role,
        touched: Option<&WorkspaceMember>,
    ) -> Result<Transaction<'a>> {
        let by_tenant = role_in(self.outer.member.role, None).is_some_and(|role| role >= least);
        // A viewer of the tenant only looks, whatever the workspace says.
        let in_tenant = if by_tenant { least } else { least.min(Role::Member) };
        let transaction = self.outer.require_role_at_least(transaction, in_tenant, super::Touched::Else)?;
        if by_tenant {
            return Ok(transaction);
        }
        if let Some(own) = touched.filter(|touched| touched.user == self.outer.member.user) {
            return if own.role >= least { Ok(transaction) } else { Err(demoted()) };
        }
        let roles = Role::ALL.into_iter().filter(|role| *role < least).map(Role::name);
        let own = WorkspaceMember::key_of(self.outer.member.user);
        transaction.require_unless(&self.store, &own, "role", roles, Box::new(|_| demoted()))
    }
}

fn demoted() -> Error {
    Error::Forbidden("Your role in the workspace was changed at the same moment.".into())
}

impl Admin {
    /// The store of a workspace of this tenant. Its admins may enter each.
    pub fn workspace(&self, id: WorkspaceId) -> WorkspaceStore {
        self.store.workspace(id.tag())
    }
}

/// A workspace that the caller can reach, with their role there.
pub struct ReachableWorkspace<const N: usize> {
    pub workspace: Workspace,
    pub role: Role,
    /// The counters that were asked for.
    pub counts: [u64; N],
}

impl<R> Tenanted<R> {
    /// A page of the workspaces that the caller can reach, oldest first, with counters of each.
    pub async fn reachable_workspaces<const N: usize>(
        &self,
        span: &Span,
        counters: [Counter; N],
    ) -> Result<RankedPage<ReachableWorkspace<N>>> {
        let bound = self.key.as_ref().and_then(|key| key.workspaces.as_ref());
        if role_in(self.member.role, None).is_some() && bound.is_none() {
            let list = Workspace::all();
            let (found, total) = tokio::try_join!(self.store.page(&list, span, |_| true), self.store.count(Workspace::COUNT))?;
            return Ok(RankedPage { items: self.entered_by(found.items, counters).await?, next: found.next, total });
        }
        let mut tags: Vec<WorkspaceTag> = match bound {
            Some(bound) => bound.iter().map(|id| id.tag()).collect(),
            None => self.store.all(&WorkspaceAccess::of_user(self.member.user)).await?.iter().map(|access| access.id.tag()).collect(),
        };
        tags.sort();
        let keys: Vec<_> = tags.into_iter().map(Workspace::key_of).collect();
        let found =
            self.store.find_many(&keys).await?.into_iter().filter(|workspace| bound.is_none_or(|bound| bound.contains(&workspace.id)));
        let mut all = self.entered_by(found.collect(), []).await?;
        let total = all.len() as u64;
        if let Some(Position(after)) = &span.after {
            all.retain(|found| found.workspace.id.tag().to_string() > *after);
        }
        let left = all.len().saturating_sub(span.skip) > span.limit;
        let page: Vec<_> = all.into_iter().skip(span.skip).take(span.limit).map(|found| found.workspace).collect();
        let next = page.last().filter(|_| left).map(|last| Position(last.id.tag().to_string()));
        Ok(RankedPage { items: self.entered_by(page, counters).await?, next, total })
    }

    /// Those that exist for the caller, with their role and the counters of each.
    async fn entered_by<const N: usize>(&self, found: Vec<Workspace>, counters: [Counter; N]) -> Result<Vec<ReachableWorkspace<N>>> {
        let keys = |workspace: &Workspace| {
            let within = self.store.workspace(workspace.id.tag());
            let member = within.full(&WorkspaceMember::key_of(self.member.user));
            std::iter::once(member).chain(counters.map(|counter| within.counter(counter))).collect::<Vec<_>>()
        };
        let items = self.store.items(&found.iter().flat_map(keys).collect::<Vec<_>>()).await?;
        let mut reachable = vec![];
        for (workspace, items) in found.into_iter().zip(items.chunks(N + 1)) {
            let within = self.store.workspace(workspace.id.tag());
            let membership: Option<WorkspaceMember> = within.read(items[0].as_ref())?;
            let membership = membership.filter(|membership| membership.number == self.member.number && !self.delegated);
            let counts = std::array::from_fn(|at| items[at + 1].as_ref().and_then(|item| number(item, "n")).unwrap_or(0));
            let role = role_in(self.member.role, membership.map(|membership| membership.role));
            reachable.extend(role.map(|role| ReachableWorkspace { workspace, role, counts }));
        }
        Ok(reachable)
    }
}

impl<R: AtLeast> Door for In<Tenanted<R>> {
    const ACCESS: Access = Access::InWorkspace(R::ROLE);

    async fn enter(incoming: &Incoming, wants: Wants) -> Result<(Self, Entered)> {
        let wants = Wants { enters_workspace: true, ..wants };
        let (inside, entered) = Box::pin(enter_tenant(incoming, wants, Role::Viewer)).await?;
        let app = incoming.app.clone();
        let (place, inside, entered) = Box::pin(enter_workspace(incoming, inside, entered, R::ROLE)).await?;
        let Place { store, workspace, role } = place;
        Ok((In { outer: Tenanted::of(app, inside), store, workspace, role }, entered))
    }
}

struct Place {
    store: WorkspaceStore,
    workspace: Workspace,
    role: Role,
}

/// The workspaces that a request names. Each exists or not, and nobody has looked yet whether the caller may enter it.
#[derive(Default)]
pub(super) struct Selection {
    path: Option<Named>,
    header: Option<Named>,
    /// With the name of the parameter or field.
    parameter: Option<(&'static str, Named)>,
    /// What the handler wants to read in the workspace.
    wanted: Vec<(String, String)>,
    counters: Vec<Counter>,
    noun: Option<&'static str>,
}

/// What a name stands for. `None`: no workspace has it.
type Named = Option<Asked>;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Asked {
    tag: WorkspaceTag,
    /// Of the workspace itself, unless an id of something within it names it.
    id: Option<WorkspaceId>,
}

impl Selection {
    /// Reads what the request names, and adds to the wishes what is needed to judge it.
    pub(super) async fn of(incoming: &Incoming, store: &TenantStore, user: Option<UserId>, mut wants: Wants) -> Result<(Wants, Selection)> {
        let header = incoming.single(&X_WORKSPACE_ID)?.filter(|text| !text.is_empty());
        let body = in_body(incoming);
        let parameter = match (incoming.query.get(IN_QUERY), &body) {
            (Some(_), Some(_)) => {
                return Err(Error::BadRequest("Name the workspace in the query or in the body, not in both.".into()));
            }
            (Some(query), None) => Some((IN_QUERY, query.as_str())),
            (None, Some(body)) => Some((IN_BODY, body.as_str())),
            (None, None) => None,
        };
        let mut selection = Selection {
            wanted: std::mem::take(&mut wants.workspace),
            counters: std::mem::take(&mut wants.counters),
            noun: wants.noun,
            ..Selection::default()
        };
        if let Some(first) = incoming.path_values.first() {
            selection.path = Some(match incoming.route.starts_with(WORKSPACE_ROUTES) {
                true => named(store, first).await?,
                false => WorkspaceTag::of_id(first).map(|tag| Asked { tag, id: None }),
            });
        }
        if let Some(text) = header {
            selection.header = Some(named(store, text).await?);
        }
        if let Some((name, text)) = parameter {
            selection.parameter = Some((name, named(store, text).await?));
        }
        for key in selection.tags().flat_map(|tag| selection.keys_of(store, tag, user)) {
            wants.full.push(key);
        }
        Ok((wants, selection))
    }

    /// The workspaces that are named, each once. For a name that stands for none, nobody's is read, so that it takes as many reads.
    fn tags(&self) -> impl Iterator<Item = WorkspaceTag> + use<> {
        let all = [self.path, self.header, self.parameter.map(|(_, named)| named)];
        let mut tags: Vec<WorkspaceTag> = vec![];
        for named in all.into_iter().flatten() {
            let tag = named.map_or(WorkspaceTag::NONE, |asked| asked.tag);
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        tags.into_iter()
    }

    fn keys_of(&self, store: &TenantStore, tag: WorkspaceTag, user: Option<UserId>) -> Vec<FullKey> {
        let within = store.workspace(tag);
        let mut keys = vec![store.full(&Workspace::key_of(tag))];
        keys.extend(user.map(|user| within.full(&WorkspaceMember::key_of(user))));
        keys.extend(self.wanted.iter().map(|(collection, sort)| FullKey { pk: within.partition(collection), sk: sort.clone() }));
        keys.extend(self.counters.iter().map(|counter| within.counter(*counter)));
        keys
    }
}

async fn enter_workspace(incoming: &Incoming, mut inside: Inside, mut entered: Entered, least: Role) -> Result<(Place, Inside, Entered)> {
    let selection = inside.selection.take().unwrap_or_default();
    let place = selected(&selection, &inside, &mut entered).await?;
    let place = match place {
        Some(place) => place,
        None => default(incoming, &selection, &inside, &mut entered).await?,
    };
    if place.role < least {
        return Err(Error::Forbidden(format!("This needs the role {} or above in the workspace.", least.name()).into()));
    }
    if place.workspace.id.tag() != WorkspaceTag::NONE {
        incoming.facts().workspace = Some(place.workspace.id);
    }
    entered.workspace = Some(place.store.clone());
    Ok((place, inside, entered))
}

/// What the request names. The id in a path decides; a header or parameter must agree with it.
async fn selected(selection: &Selection, inside: &Inside, entered: &mut Entered) -> Result<Option<Place>> {
    if let Some(named) = selection.path {
        let missing = || Error::Missing(selection.noun.unwrap_or(NOUN));
        let others = [selection.header, selection.parameter.map(|(_, named)| named)];
        let tag = |named: Named| named.map(|asked| asked.tag);
        if named.is_none() || others.into_iter().flatten().any(|other| tag(other) != tag(named)) {
            return Err(missing());
        }
        return accessible(named, inside, entered).await?.ok_or_else(missing).map(Some);
    }
    let missing = || Error::Missing(NOUN);
    let header = match selection.header {
        Some(named) => Some(accessible(named, inside, entered).await?.ok_or_else(missing)?),
        None => None,
    };
    let parameter = match selection.parameter {
        Some((name, named)) => Some((name, accessible(named, inside, entered).await?.ok_or_else(missing)?)),
        None => None,
    };
    match (header, parameter) {
        (Some(header), Some((name, parameter))) if header.workspace.id != parameter.workspace.id => {
            Err(Error::field(name, format!("The {name} field names another workspace than the header x-workspace-id.")))
        }
        (Some(place), _) | (None, Some((_, place))) => Ok(Some(place)),
        (None, None) => Ok(None),
    }
}

/// The workspace, if it exists for the caller.
async fn accessible(named: Named, inside: &Inside, entered: &mut Entered) -> Result<Option<Place>> {
    let Some(Asked { tag, id }) = named else { return Ok(None) };
    let store = inside.store.workspace(tag);
    let workspace = entered.find(&Workspace::key_of(tag)).await?;
    let Some(workspace) = workspace.filter(|workspace| id.is_none_or(|id| workspace.id == id)) else { return Ok(None) };
    entered.workspace = Some(store.clone());
    let membership = entered.find(&WorkspaceMember::key_of(inside.member.user)).await?;
    entered.workspace = None;
    let membership = membership.filter(|membership| membership.number == inside.member.number && !inside.delegated);
    let reachable = inside.key.as_ref().is_none_or(|key| key.reaches(workspace.id));
    let role = role_in(inside.member.role, membership.map(|membership| membership.role)).filter(|_| reachable);
    Ok(role.map(|role| Place { store, workspace, role }))
}

/// Where a request goes that names no workspace: into the oldest that the caller can reach. Who has none finds empty lists, and can create nothing.
async fn default(incoming: &Incoming, selection: &Selection, inside: &Inside, entered: &mut Entered) -> Result<Place> {
    for some in reachable(inside).await?.chunks(AT_ONCE) {
        for workspace in inside.store.find_many(&some.iter().copied().map(Workspace::key_of).collect::<Vec<_>>()).await? {
            let asked = Asked { tag: workspace.id.tag(), id: Some(workspace.id) };
            let keys = selection.keys_of(&inside.store, asked.tag, Some(inside.member.user));
            let items = inside.store.items(&keys).await?;
            entered.read.extend(keys.into_iter().zip(items));
            if let Some(place) = accessible(Some(asked), inside, entered).await? {
                return Ok(place);
            }
        }
    }
    if !incoming.is_read() {
        return Err(Error::field(IN_BODY, "There is no workspace yet: create one with POST /api/v1/tenant/workspaces."));
    }
    let (store, id) = (inside.store.workspace(WorkspaceTag::NONE), WorkspaceId::NONE);
    let now = inside.store.now();
    let slug = WorkspaceSlug::from_name("", 0);
    let workspace =
        Workspace { id, slug, name: String::new(), settings: WorkspaceSettings::default(), created_at: now, updated_at: now, version: 0 };
    Ok(Place { store, workspace, role: Role::Viewer })
}

/// How many workspaces are looked for at once.
const AT_ONCE: usize = 100;

/// The workspaces that the caller may reach, oldest first; of a tenant's admins, who reach all, only the oldest.
async fn reachable(inside: &Inside) -> Result<Vec<WorkspaceTag>> {
    if let Some(bound) = inside.key.as_ref().and_then(|key| key.workspaces.as_ref()) {
        let mut tags: Vec<WorkspaceTag> = bound.iter().map(|id| id.tag()).collect();
        tags.sort();
        return Ok(tags);
    }
    if role_in(inside.member.role, None).is_some() {
        let oldest = inside.store.page(&Workspace::all(), &Span::first(1), |_| true).await?;
        return Ok(oldest.items.iter().map(|workspace| workspace.id.tag()).collect());
    }
    let access = inside.store.all(&WorkspaceAccess::of_user(inside.member.user)).await?;
    Ok(access.iter().map(|access| access.id.tag()).collect())
}

/// A workspace by id or slug.
async fn named(store: &TenantStore, text: &str) -> Result<Named> {
    let id = match (WorkspaceId::parse_prefixed(text), WorkspaceSlug::asked(text)) {
        (Some(id), _) => Some(id),
        (None, Some(slug)) => store.find(&WorkspaceSlugClaim::key_of(&slug)).await?.map(|claim| claim.id),
        (None, None) => None,
    };
    Ok(id.map(|id| Asked { tag: id.tag(), id: Some(id) }))
}

/// The workspace that a body names. A body that is not as it should be is refused later, with its other faults.
fn in_body(incoming: &Incoming) -> Option<String> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        workspace_slug: Option<String>,
    }
    if incoming.is_read() {
        return None;
    }
    serde_json::from_slice::<Body>(&incoming.body).ok()?.workspace_slug
}
