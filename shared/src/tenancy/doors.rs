//! Every door an HTTP request can come through. A handler's first parameter is one of these; there is no other way to a store.
//! (`jobs` has the doors for work without a request.)

use std::collections::HashMap;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};

use http::HeaderName;
use jiff::{SignedDuration, Timestamp};

use crate::error::{Error, Result};
use crate::http::endpoint::{Entered, Wants};
use crate::http::paging::PageRequest;
use crate::http::request::Incoming;
use crate::ids::{ApiKeyId, SessionId, SubaccountId, UserId};
use crate::model::api_key::{ApiKey, KeyUse};
use crate::model::audit::ResourceChange;
use crate::model::domain::Domain;
use crate::model::edge::{Batch, Pack, Rollup, Totals};
use crate::model::edge_config::EdgeConfig;
use crate::model::invitation::Invitation;
use crate::model::link::{Link, Purpose};
use crate::model::member;
use crate::model::period::Month;
use crate::model::plan::Plan;
use crate::model::session::Session;
use crate::model::subaccount::Subaccount;
use crate::model::tenant::{Kind, Shut, Slug, SlugClaim, Tenant};
use crate::model::user::{Belongs, Email, User};
use crate::runtime::App;
use crate::store::Entity;
use crate::store::entity::{InTenant, Key};
use crate::store::table::{FullKey, Item};
use crate::tenancy::credential::{Caller, Person};
use crate::tenancy::limiter::{Class, Hit, Spent};
use crate::tenancy::{Directory, Origin, Place, Role, Scope, TenantId, TenantStore, credential};

/// Routes whose first path value is the slug of the tenant they are about.
const SLUG_ROUTES: &str = "/api/tenants/{slug}";
/// Where the caller's tenant itself is what is asked for.
const OWN_TENANT: &str = "/api/tenant";
/// Routes whose first path value is a subaccount that the rest is about.
const SUBACCOUNT_ROUTES: &str = "/v1/subaccounts/{id}/api-keys";
/// What a child sees of who acts for it.
const DELEGATE: &str = "platform";
const X_SUBACCOUNT_ID: HeaderName = HeaderName::from_static("x-subaccount-id");
const X_INGEST_KEY: HeaderName = HeaderName::from_static("x-ingest-key");
const X_TENANT_ID: HeaderName = HeaderName::from_static("x-tenant-id");

/// Who may come through, as the role matrix prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Open on purpose.
    Open { why: &'static str },
    /// Any session, whatever its tenant's state.
    SignedIn,
    /// A member of the tenant with at least this role.
    AtLeast(Role),
    /// The edge proxies, by the key of the deployment in `X-Ingest-Key`.
    Edge,
}

pub trait Door: Sized + Send {
    const ACCESS: Access;

    fn enter(incoming: &Incoming, wants: Wants) -> impl Future<Output = Result<(Self, Entered)>> + Send;
}

/// A member of the tenant with at least a role; holds the store of that tenant.
pub struct Tenanted<R> {
    pub app: App,
    pub store: TenantStore,
    pub directory: Directory,
    pub tenant: Tenant,
    pub plan: Plan,
    /// Himself; for a key, the member who made it.
    pub member: member::Member,
    /// What the request came with, where that was an API key.
    pub key: Option<ApiKey>,
    /// The caller is of the tenant's agency and acts for it.
    pub delegated: bool,
    least: PhantomData<R>,
}

pub type Viewer = Tenanted<ViewerRole>;
pub type Member = Tenanted<MemberRole>;
pub type Admin = Tenanted<AdminRole>;
pub type Owner = Tenanted<OwnerRole>;

pub struct ViewerRole;
pub struct MemberRole;
pub struct AdminRole;
pub struct OwnerRole;

pub trait AtLeast: Send + Sync + 'static {
    const ROLE: Role;
}

impl AtLeast for ViewerRole {
    const ROLE: Role = Role::Viewer;
}
impl AtLeast for MemberRole {
    const ROLE: Role = Role::Member;
}
impl AtLeast for AdminRole {
    const ROLE: Role = Role::Admin;
}
impl AtLeast for OwnerRole {
    const ROLE: Role = Role::Owner;
}

impl<R> Tenanted<R> {
    /// The moment of the request.
    pub fn now(&self) -> Timestamp {
        self.store.now()
    }
}

impl Tenanted<OwnerRole> {
    /// The store of a child of this agency. What is written there names the platform, never the agency.
    pub fn child(&self, subaccount: &Subaccount) -> Result<TenantStore> {
        if subaccount.agency != self.tenant.id || self.delegated {
            return Err(Error::NotFound);
        }
        Ok(self.directory.delegated(DELEGATE).enter(subaccount.tenant))
    }

    /// A store for a child that does not exist yet. Only an agency has children, and a child has none.
    pub fn new_child(&self) -> Result<TenantStore> {
        if self.plan.subaccounts == Some(0) || self.tenant.kind == Kind::Subaccount || self.delegated {
            return Err(Error::AgencyRequired);
        }
        Ok(self.directory.delegated(DELEGATE).found_tenant())
    }
}

impl<R: AtLeast> Door for Tenanted<R> {
    const ACCESS: Access = Access::AtLeast(R::ROLE);

    async fn enter(incoming: &Incoming, wants: Wants) -> Result<(Self, Entered)> {
        // Boxed and not generic: one way in, whatever the role.
        let (inside, entered) = Box::pin(go_inside(incoming, wants, R::ROLE)).await?;
        let Inside { store, directory, tenant, plan, member, key, delegated } = inside;
        Ok((Tenanted { app: incoming.app.clone(), store, directory, tenant, plan, member, key, delegated, least: PhantomData }, entered))
    }
}

struct Inside {
    store: TenantStore,
    directory: Directory,
    tenant: Tenant,
    plan: Plan,
    member: member::Member,
    key: Option<ApiKey>,
    delegated: bool,
}

/// The way into a tenant: credential, then session and membership or key, tenant and what the handler wants in one read beside the
/// counters, then every reason to stay outside, in an order that tells an outsider nothing. Nothing that was read is handed out before
/// the membership, or the key's own tenant, is seen.
async fn go_inside(incoming: &Incoming, wants: Wants, least: Role) -> Result<(Inside, Entered)> {
    let app = &incoming.app;
    let visiting = Directory::open(incoming.table.clone(), app.shared_random(), incoming.now, incoming.origin("unknown".into()));
    let caller = credential::verify(incoming, &visiting).await?;
    let principal = caller.principal();
    incoming.learned().principal = Some(principal.clone());
    let origin = incoming.origin(principal.clone());
    let directory = Directory::open(incoming.table.clone(), app.shared_random(), incoming.now, origin.clone());
    let class = if incoming.is_read() { Class::READ } else { Class::WRITE };
    let limiter = app.limiter();
    let default = if incoming.is_read() { limiter.limits.read } else { limiter.limits.write };
    let acting = acting(incoming)?;
    let selected = selected(incoming, acting.is_some())?;
    // A person whose credential names no tenant acts where he is at home by now.
    let nowhere = selected.is_none() && caller.tenant().is_none();
    // Nobody learns whether a tenant exists that he is not a member of, and asking counts; one's own credential in a tenant one has
    // left is void.
    let outside = |hit: &Hit| match selected {
        Some(_) => limiter.judge(hit, default, incoming.now).1.err().unwrap_or(Error::NotFound),
        None if nowhere => limiter.judge(hit, default, incoming.now).1.err().unwrap_or_else(|| no_tenant(incoming)),
        None => Error::Unauthorized,
    };
    let tenant = match selected {
        Some(text) => tenant_named(app, &directory, text).await?,
        None => match (caller.tenant(), &caller) {
            (None, Caller::Person(person)) => home_of(&directory, person).await?,
            (tenant, _) => tenant,
        },
    };
    let home = tenant.is_some() && caller.tenant() == tenant;
    let tenant = match (tenant, &caller) {
        (Some(tenant), Caller::Person(_)) => tenant,
        // A key has one tenant: any other is as if it did not exist.
        (Some(tenant), Caller::Key(_)) if home => tenant,
        // A credential that has ended hears that first, as it would in any other tenant.
        _ => {
            let hit = limiter.hit(&incoming.table, class, &principal, incoming.now);
            let (stands, hit) = tokio::join!(stands(&directory, &caller), hit);
            return Err(if stands? { outside(&hit?) } else { Error::Unauthorized });
        }
    };
    // Built here, handed out only below, when the membership is seen.
    let store = TenantStore::open(tenant, incoming.table.clone(), app.shared_random(), incoming.now, origin);

    let mut keys = vec![store.full(&Tenant::key_of())];
    match &caller {
        Caller::Person(person) => {
            keys.push(store.full(&member::Member::key_of(person.user)));
            keys.extend(person.session.map(|session| directory.full(&Session::key_of(person.user, session))));
        }
        Caller::Key(claim) => keys.push(store.full(&ApiKey::key_of(claim.key))),
    }
    let own = keys.len();
    let child = acting.and_then(SubaccountId::parse_prefixed);
    keys.extend(wants.subaccount.map(|id| directory.full(&Subaccount::key_of(tenant, id))));
    keys.extend(child.map(|id| directory.full(&Subaccount::key_of(tenant, id))));
    // Of an agency itself nothing is wanted where it acts for a child.
    let (wants, of_child) = if acting.is_some() { (Wants::default(), wants) } else { (wants, Wants::default()) };
    keys.extend(wants.tenant.into_iter().map(|(collection, sk)| FullKey { pk: store.partition(&collection), sk }));
    keys.extend(wants.counters.into_iter().map(|counter| store.counter(counter)));
    if let (true, Caller::Person(person)) = (wants.user, &caller) {
        keys.push(directory.full(&User::key_of(person.user)));
    }
    let leased = async { if home { limiter.lease(store.table(), tenant, store.partition("usage"), incoming.now).await } else { Ok(()) } };
    let (items, hit, leased) =
        tokio::join!(store.table().get_many(&keys), limiter.hit(&incoming.table, class, &principal, incoming.now), leased);
    leased?;
    let (items, hit) = (items?, hit?);
    let mut read: HashMap<FullKey, Option<Item>> = keys.iter().cloned().zip(items).collect();
    let mut take = |index: usize| read.remove(&keys[index]).flatten();

    let profile: Option<Tenant> = store.read(take(0))?;
    let (member, key) = match &caller {
        Caller::Person(_) => {
            let membership: Option<member::Member> = store.read(take(1))?;
            if own > 2 {
                let session: Option<Session> = directory.read(take(2))?;
                session.ok_or(Error::Unauthorized)?;
            }
            (membership, None)
        }
        Caller::Key(_) => {
            let key: Option<ApiKey> = store.read(take(1))?;
            let key = key.filter(|key| key.holds(incoming.now)).ok_or(Error::Unauthorized)?;
            (Some(key.acts_as()), Some(key))
        }
    };
    let (member, profile) = member.zip(profile).ok_or_else(|| outside(&hit))?;
    let shut = profile.shut(incoming.now);
    if shut == Some(Shut::Gone) {
        return Err(outside(&hit));
    }
    incoming.learned().tenant = Some(tenant);

    let plan = app.plans().get(&profile.plan).within(&profile.limits.unwrap_or_default());
    let limit = key.as_ref().and_then(|key| key.rate_limit).or(plan.requests_per_minute).unwrap_or(default);
    let (report, verdict) = limiter.judge(&hit, limit, incoming.now);
    incoming.learned().limits.push(report);
    verdict?;
    if let Some(shut) = shut {
        return Err(shut.error());
    }
    spend(incoming, &store, plan.api_requests_per_day).await?;
    if member.role < least {
        return Err(Error::Forbidden(format!("This needs the role {} or above.", least.name()).into()));
    }
    let user = match &caller {
        Caller::Person(person) => Some(person.user),
        Caller::Key(_) => None,
    };
    if let Some(key) = &key {
        within_scope(incoming, key)?;
        if app.lately().is_due(key.id, incoming.now) || key.is_retiring() {
            let used = store.full(&KeyUse::key_of(key.id));
            store.table().touch(used, tenant, KeyUse::TYPE, &key.id.to_string(), incoming.now, key.grace_ends_at).await?;
        }
    }
    if acting.is_some() {
        let link = match child {
            Some(id) => directory.read(read.remove(&directory.full(&Subaccount::key_of(tenant, id))).flatten())?,
            None => None,
        };
        let agency = Inside { store, directory, tenant: profile, plan, member, key, delegated: false };
        return Box::pin(act_for(incoming, agency, link, of_child, principal, user)).await;
    }
    let inside = Inside { store: store.clone(), directory: directory.clone(), tenant: profile, plan, member, key, delegated: false };
    Ok((inside, Entered { store: Some(store), directory, principal, user, read }))
}

/// Whether the session or the key that a verified credential names is still there.
async fn stands(directory: &Directory, caller: &Caller) -> Result<bool> {
    match caller {
        Caller::Person(Person { session: None, .. }) => Ok(true),
        Caller::Person(Person { user, session: Some(session), .. }) => {
            directory.find(&Session::key_of(*user, *session)).await.map(|found| found.is_some())
        }
        Caller::Key(claim) => {
            let key = directory.enter(claim.tenant).find(&ApiKey::key_of(claim.key)).await?;
            Ok(key.is_some_and(|key| key.holds(directory.now())))
        }
    }
}

/// Where somebody is at home whose credential names no tenant: he may have founded one, or joined one, since.
async fn home_of(directory: &Directory, person: &Person) -> Result<Option<TenantId>> {
    if let Some(session) = person.session {
        directory.find(&Session::key_of(person.user, session)).await?.ok_or(Error::Unauthorized)?;
    }
    Ok(directory.find(&User::key_of(person.user)).await?.and_then(|user| user.home))
}

/// Whoever asks for his tenant and has none hears that there is none (F3); anywhere else, that he needs one.
fn no_tenant(incoming: &Incoming) -> Error {
    if incoming.route == OWN_TENANT { Error::NotFound } else { Error::Forbidden("You do not belong to a tenant.".into()) }
}

/// From an agency into one of its children, which is as if it were the caller's own tenant: with the role and scopes he has in the agency,
/// within the child's plan and limits. Every such call stands in both audit logs; what the child keeps names the platform, never the agency.
async fn act_for(
    incoming: &Incoming,
    agency: Inside,
    link: Option<Subaccount>,
    wants: Wants,
    principal: String,
    user: Option<UserId>,
) -> Result<(Inside, Entered)> {
    let app = &incoming.app;
    if agency.member.role < Role::Admin {
        return Err(Error::Forbidden("Acting for a subaccount needs the role admin or above.".into()));
    }
    let verb = if incoming.is_read() { Scope::ACTING_READ } else { Scope::ACTING_WRITE };
    if agency.key.as_ref().is_some_and(|key| !key.scopes.allow(verb)) {
        return Err(Error::Forbidden(format!("This key lacks the scope {verb}.").into()));
    }
    let link = link.ok_or(Error::NotFound)?;
    let origin = incoming.origin(DELEGATE.to_owned());
    let store = TenantStore::open(link.tenant, incoming.table.clone(), app.shared_random(), incoming.now, origin.clone());
    let mut keys = vec![store.full(&Tenant::key_of())];
    keys.extend(wants.tenant.into_iter().map(|(collection, sk)| FullKey { pk: store.partition(&collection), sk }));
    keys.extend(wants.counters.into_iter().map(|counter| store.counter(counter)));
    if let (true, Some(user)) = (wants.user, user) {
        keys.push(agency.directory.full(&User::key_of(user)));
    }
    let leased = app.limiter().lease(store.table(), link.tenant, store.partition("usage"), incoming.now);
    let (items, leased) = tokio::join!(store.table().get_many(&keys), leased);
    leased?;
    let mut read: HashMap<FullKey, Option<Item>> = keys.iter().cloned().zip(items?).collect();
    let profile: Tenant = store.read(read.remove(&keys[0]).flatten())?.ok_or(Error::NotFound)?;
    let named_otherwise =
        incoming.route.starts_with(SLUG_ROUTES) && incoming.path_values.first().is_none_or(|slug| slug != profile.slug.as_str());
    if named_otherwise {
        return Err(Error::NotFound);
    }
    if let Some(shut) = profile.shut(incoming.now) {
        return Err(shut.error());
    }
    let plan = app.plans().get(&profile.plan).within(&profile.limits.unwrap_or_default());
    spend(incoming, &store, plan.api_requests_per_day).await?;
    let call = |id: String| ResourceChange::acted(format!("{} {}", incoming.method, incoming.route), id);
    let (here, there) = (call(link.id.prefixed()), call(String::new()));
    let by = Origin { actor: principal.clone(), request: incoming.request_id.clone() };
    let (ours, theirs) = tokio::join!(agency.store.audited(&by, incoming.now, &here), store.audited(&origin, incoming.now, &there));
    ours?;
    theirs?;
    incoming.learned().tenant = Some(link.tenant);
    let directory = Directory::open(incoming.table.clone(), app.shared_random(), incoming.now, origin);
    let member = agency.member.delegated(DELEGATE);
    let inside =
        Inside { store: store.clone(), directory: directory.clone(), tenant: profile, plan, member, key: agency.key, delegated: true };
    // A repeat by `Idempotency-Key` is one of the same caller for the same child.
    Ok((inside, Entered { store: Some(store), directory, principal, user, read }))
}

/// Spends one request of the tenant's day.
async fn spend(incoming: &Incoming, store: &TenantStore, limit: Option<u64>) -> Result<()> {
    let limiter = incoming.app.limiter();
    loop {
        match limiter.spend(store.tenant_id(), limit, incoming.now) {
            Spent::Yes(report) => {
                incoming.learned().limits.extend(report);
                return Ok(());
            }
            Spent::UsedUp(report, error) => {
                incoming.learned().limits.extend(report);
                return Err(error);
            }
            Spent::LeaseFirst => {
                limiter.lease(store.table(), store.tenant_id(), store.partition("usage"), incoming.now).await?;
            }
        }
    }
}

/// What a key may do is the scopes it was made with, and never what is for people alone.
fn within_scope(incoming: &Incoming, key: &ApiKey) -> Result<()> {
    let scope = Scope::needed(&incoming.method, incoming.route).ok_or(Error::Forbidden("This is for people: sign in.".into()))?;
    if key.scopes.allow(scope) { Ok(()) } else { Err(Error::Forbidden(format!("This key lacks the scope {scope}.").into())) }
}

/// The subaccount that an agency acts for: the one in the path of its keys, or `X-Subaccount-Id`.
fn acting(incoming: &Incoming) -> Result<Option<&str>> {
    let header = incoming.header(&X_SUBACCOUNT_ID)?;
    let in_path = incoming.route.starts_with(SUBACCOUNT_ROUTES);
    Ok(if in_path { incoming.path_values.first().map(String::as_str) } else { header })
}

/// The tenant that a request names: the slug in the path of F1, or `x-tenant-id`. It only selects: the membership decides. Who acts for a
/// subaccount selects his agency; the slug is then the subaccount's.
fn selected(incoming: &Incoming, acting: bool) -> Result<Option<&str>> {
    let header = incoming.header(&X_TENANT_ID)?;
    let in_path = incoming.route.starts_with(SLUG_ROUTES) && !acting;
    Ok(if in_path { incoming.path_values.first().map(String::as_str) } else { header })
}

/// Anybody with a session: for what belongs to the person rather than to a tenant.
pub struct SignedIn {
    pub app: App,
    pub directory: Directory,
    pub user: UserId,
    pub session: Option<SessionId>,
    /// Read on the way in, where the handler asked for it.
    belongs: Option<Vec<Belongs>>,
}

/// A tenant as one of its members finds it from outside: what stands there, never a store.
pub struct OwnTenant {
    pub tenant: Tenant,
    pub role: Role,
    pub edge: Option<EdgeConfig>,
    /// The first of its custom domains.
    pub domain: Option<Domain>,
}

/// A tenant of the caller, and what it used in a month.
pub struct UsedIn {
    pub tenant: Tenant,
    pub role: Role,
    pub used: Totals,
}

impl SignedIn {
    /// Tenants that are read at the same time.
    const AT_ONCE: usize = 25;

    pub fn now(&self) -> Timestamp {
        self.directory.now()
    }

    /// The tenants the caller is a member of.
    pub async fn tenants(&self) -> Result<Vec<OwnTenant>> {
        self.each(|tenant| async move {
            let store = self.directory.enter(tenant);
            let (domains, first, edge) = (Domain::all(), PageRequest::first(), EdgeConfig::key_of());
            let (own, found) = tokio::try_join!(self.own_tenant(tenant, &edge), store.page(&domains, &first, |_| true))?;
            Ok(own.map(|(tenant, role, edge)| OwnTenant { tenant, role, edge, domain: found.items.into_iter().next() }))
        })
        .await
    }

    /// The tenants the caller is a member of, with what each used in a month.
    pub async fn used_in(&self, month: Month) -> Result<Vec<UsedIn>> {
        self.each(|tenant| async move {
            let own = self.own_tenant(tenant, &Rollup::of_month(month)).await?;
            let used = |rollup: Option<Rollup>| rollup.map(|rollup| rollup.totals).unwrap_or_default();
            Ok(own.map(|(tenant, role, rollup)| UsedIn { tenant, role, used: used(rollup) }))
        })
        .await
    }

    /// What is read of each of his tenants. The directory only says where to look: `read` gives nothing of a tenant without the membership
    /// that stands in the tenant itself.
    async fn each<T, F, Fut>(&self, read: F) -> Result<Vec<T>>
    where
        F: Fn(TenantId) -> Fut,
        Fut: Future<Output = Result<Option<T>>>,
    {
        let belongs = match &self.belongs {
            Some(belongs) => belongs.clone(),
            None => self.directory.all(&Belongs::of_user(self.user)).await?,
        };
        let mut found = vec![];
        for some in belongs.chunks(Self::AT_ONCE) {
            let reads = some.iter().map(|belongs| read(belongs.tenant));
            found.extend(futures_util::future::try_join_all(reads).await?.into_iter().flatten());
        }
        Ok(found)
    }

    /// His membership with the tenant and one more record of it: none when the membership does not stand in the tenant itself and name the
    /// caller, or the tenant is on its way out.
    /// Read through the tenant's own store, a call for each: what reaches one tenant never reaches another.
    async fn own_tenant<E: Entity<Scope = InTenant>>(&self, tenant: TenantId, also: &Key<E>) -> Result<Option<(Tenant, Role, Option<E>)>> {
        let store = self.directory.enter(tenant);
        let keys = [store.full(&member::Member::key_of(self.user)), store.full(&Tenant::key_of()), store.full(also)];
        let mut items = store.items(&keys).await?.into_iter();
        let mut next = || items.next().flatten();
        let (member, profile, record) = (next(), next(), next());
        let member = store.read::<member::Member>(member)?.filter(|member| member.user == self.user);
        let profile = store.read::<Tenant>(profile)?.filter(|profile| profile.shut(self.now()) != Some(Shut::Gone));
        let Some((member, tenant)) = member.zip(profile) else { return Ok(None) };
        Ok(Some((tenant, member.role, store.read(record)?)))
    }
}

impl Door for SignedIn {
    const ACCESS: Access = Access::SignedIn;

    async fn enter(incoming: &Incoming, wants: Wants) -> Result<(Self, Entered)> {
        let app = &incoming.app;
        let visiting = Directory::open(incoming.table.clone(), app.shared_random(), incoming.now, incoming.origin("unknown".into()));
        let caller = credential::verify(incoming, &visiting).await?;
        let principal = caller.principal();
        incoming.learned().principal = Some(principal.clone());
        let directory = Directory::open(incoming.table.clone(), app.shared_random(), incoming.now, incoming.origin(principal.clone()));
        let class = if incoming.is_read() { Class::READ } else { Class::WRITE };
        // Kept here until the session is seen to stand.
        let belongs = async {
            match &caller {
                Caller::Person(person) if wants.belongs => directory.all(&Belongs::of_user(person.user)).await.map(Some),
                _ => Ok(None),
            }
        };
        let (stands, hit, belongs) =
            tokio::join!(stands(&directory, &caller), app.limiter().hit(&incoming.table, class, &principal, incoming.now), belongs);
        if !stands? {
            return Err(Error::Unauthorized);
        }
        let limit = if incoming.is_read() { app.limiter().limits.read } else { app.limiter().limits.write };
        let (report, verdict) = app.limiter().judge(&hit?, limit, incoming.now);
        incoming.learned().limits.push(report);
        verdict?;
        let Caller::Person(person) = caller else { return Err(Error::Forbidden("This is for people: sign in.".into())) };
        let belongs = belongs?;
        let door = SignedIn { app: app.clone(), directory: directory.clone(), user: person.user, session: person.session, belongs };
        Ok((door, Entered { store: None, directory, principal, user: Some(person.user), read: HashMap::new() }))
    }
}

/// Somebody unknown at an open route of sign-in. Counted by address here, by e-mail and address in `admit`.
pub struct Visitor {
    pub app: App,
    pub directory: Directory,
    table: crate::store::Table,
    ip: String,
    learned: Arc<Mutex<crate::http::request::Learned>>,
}

impl Door for Visitor {
    const ACCESS: Access = Access::Open { why: "signing in, limited by address and e-mail" };

    async fn enter(incoming: &Incoming, _wants: Wants) -> Result<(Self, Entered)> {
        let app = &incoming.app;
        let directory = Directory::open(incoming.table.clone(), app.shared_random(), incoming.now, incoming.origin("visitor".into()));
        let hit = app.limiter().hit(&incoming.table, Class::AUTH_IP, &incoming.ip, incoming.now).await?;
        let (report, verdict) = app.limiter().judge(&hit, app.limiter().limits.auth_ip, incoming.now);
        incoming.learned().limits.push(report);
        verdict?;
        let door = Visitor {
            app: app.clone(),
            directory: directory.clone(),
            table: incoming.table.clone(),
            ip: incoming.ip.clone(),
            learned: incoming.shared_learned(),
        };
        let principal = format!("visitor {}", incoming.ip);
        Ok((door, Entered { store: None, directory, principal, user: None, read: HashMap::new() }))
    }
}

impl Visitor {
    pub fn now(&self) -> Timestamp {
        self.directory.now()
    }

    /// Counts an attempt for this e-mail. Known and unknown addresses are treated alike.
    pub async fn admit(&self, email: &Email) -> Result<()> {
        let (limiter, now) = (self.app.limiter(), self.now());
        let (address, from_here) = (email.normalised(), format!("{} {}", email.normalised(), self.ip));
        let (hit, failures) = tokio::join!(
            limiter.hit(&self.table, Class::AUTH, &from_here, now),
            limiter.look(&self.table, Class::AUTH_FAILURES, &address, now)
        );
        let (report, verdict) = limiter.judge(&hit?, limiter.limits.auth, now);
        self.learned.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).limits.insert(0, report);
        verdict?;
        // `look` does not count, so a further failure is allowed up to the limit itself.
        limiter.judge(&failures?, limiter.limits.auth_failures.saturating_sub(1), now).1
    }

    /// Counts a failed login against the e-mail, wherever it came from.
    pub async fn failed(&self, email: &Email) -> Result<()> {
        self.app.limiter().hit(&self.table, Class::AUTH_FAILURES, &email.normalised(), self.now()).await.map(|_| ())
    }
}

/// What an invitation's link opens: the tenant that invites, for joining it.
pub struct Invited {
    pub store: TenantStore,
    pub tenant: Tenant,
    pub invitation: Invitation,
}

impl Visitor {
    /// Where a user who has just proved who he is acts: his home tenant, or another he belongs to, or none. Answers with his own
    /// membership, never with a store.
    pub async fn place_of(&self, user: &User) -> Result<Option<(Tenant, member::Member)>> {
        let mut tenants: Vec<TenantId> = user.home.into_iter().collect();
        let mut asked_for_others = false;
        let mut shut = None;
        loop {
            for tenant in std::mem::take(&mut tenants) {
                let store = self.directory.enter(tenant);
                let keys = [store.full(&Tenant::key_of()), store.full(&member::Member::key_of(user.id))];
                let mut items = store.table().get_many(&keys).await?.into_iter();
                let (profile, membership) = (store.read(items.next().flatten())?, store.read(items.next().flatten())?);
                let Some((profile, membership)) = Option::<Tenant>::zip(profile, membership) else { continue };
                match profile.shut(self.now()) {
                    None => return Ok(Some((profile, membership))),
                    Some(Shut::Gone) => {}
                    Some(reason) => shut = shut.or(Some(reason)),
                }
            }
            if std::mem::replace(&mut asked_for_others, true) {
                break;
            }
            let belongs = self.directory.all(&Belongs::of_user(user.id)).await?;
            tenants = belongs.into_iter().map(|belongs| belongs.tenant).filter(|tenant| Some(*tenant) != user.home).collect();
        }
        shut.map_or(Ok(None), |shut| Err(shut.error()))
    }

    /// The invitation behind a link that we signed, if it is still open.
    pub async fn invited(&self, token: &str) -> Result<Option<Invited>> {
        let Some(id) = Link::of_token(token, &self.app.keys()?.links) else { return Ok(None) };
        let Some(link) = self.directory.find(&Link::key_of(id)).await? else { return Ok(None) };
        let Purpose::AcceptInvitation { tenant, invitation } = link.purpose else { return Ok(None) };
        let store = self.directory.enter(tenant);
        let Some(invitation) = store.find(&Invitation::key_of(invitation)).await?.filter(|invitation| invitation.link == id) else {
            return Ok(None);
        };
        let tenant = store.get(&Tenant::key_of()).await?;
        match tenant.shut(self.now()) {
            None => Ok(Some(Invited { store, tenant, invitation })),
            Some(shut) => Err(shut.error()),
        }
    }
}

/// Somebody who asks for a demo: a few per address and hour.
pub struct DemoVisitor {
    pub app: App,
    pub directory: Directory,
}

impl Door for DemoVisitor {
    const ACCESS: Access = Access::Open { why: "creating a demo, limited by address" };

    async fn enter(incoming: &Incoming, _wants: Wants) -> Result<(Self, Entered)> {
        let app = &incoming.app;
        let directory = Directory::open(incoming.table.clone(), app.shared_random(), incoming.now, incoming.origin("visitor".into()));
        let hit = app.limiter().hit(&incoming.table, Class::DEMO, &incoming.ip, incoming.now).await?;
        let (report, verdict) = app.limiter().judge(&hit, app.limiter().limits.demo, incoming.now);
        incoming.learned().limits.push(report);
        verdict?;
        let principal = format!("visitor {}", incoming.ip);
        let entered = Entered { store: None, directory: directory.clone(), principal, user: None, read: HashMap::new() };
        Ok((DemoVisitor { app: app.clone(), directory }, entered))
    }
}

/// The edge proxies, which say what they served. They name a tenant by its slug and may ask how much it used and add to it; the store
/// behind it is not handed out. Not limited: one batch speaks for a thousand requests.
pub struct Edge {
    pub app: App,
    directory: Directory,
    table: crate::store::Table,
    learned: Arc<Mutex<crate::http::request::Learned>>,
}

/// A tenant as the edge sees it.
pub struct EdgeTenant {
    pub tenant: Tenant,
    pub plan: Plan,
    /// Served in the current month.
    pub used: Totals,
    store: TenantStore,
}

impl Door for Edge {
    const ACCESS: Access = Access::Edge;

    async fn enter(incoming: &Incoming, _wants: Wants) -> Result<(Self, Entered)> {
        let app = incoming.app.clone();
        let given = incoming.header(&X_INGEST_KEY)?.unwrap_or_default();
        if given.is_empty() || !app.secrets().is_ingest_key(given, incoming.now).await? {
            return Err(Error::Unauthorized);
        }
        let principal = "edge".to_owned();
        incoming.learned().principal = Some(principal.clone());
        let directory = Directory::open(incoming.table.clone(), app.shared_random(), incoming.now, incoming.origin(principal.clone()));
        let entered = Entered { store: None, directory: directory.clone(), principal, user: None, read: HashMap::new() };
        Ok((Edge { app, directory, table: incoming.table.clone(), learned: incoming.shared_learned() }, entered))
    }
}

impl Edge {
    pub fn now(&self) -> Timestamp {
        self.directory.now()
    }

    /// The tenant with this slug, whatever its state, and what it used this month.
    pub async fn tenant(&self, slug: &str) -> Result<EdgeTenant> {
        // By slug alone: an id would be as good as one to `tenant_named`.
        let slug = Slug::parse(slug).ok_or(Error::NotFound)?;
        let tenant = tenant_named(&self.app, &self.directory, slug.as_str()).await?.ok_or(Error::NotFound)?;
        let store = self.directory.enter(tenant);
        let keys = [store.full(&Tenant::key_of()), store.full(&Rollup::of_month(Month::of(self.now())))];
        let mut items = self.table.get_many(&keys).await?.into_iter();
        let (profile, used) = (store.read::<Tenant>(items.next().flatten())?, store.read::<Rollup>(items.next().flatten())?);
        let profile = profile.filter(|profile| profile.slug == slug).ok_or(Error::NotFound)?;
        self.learned.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).tenant = Some(tenant);
        let plan = self.app.plans().get(&profile.plan).clone();
        Ok(EdgeTenant { tenant: profile, plan, used: used.map(|used| used.totals).unwrap_or_default(), store })
    }
}

impl EdgeTenant {
    /// Notes that a batch came in; or gives the record of the first time it did.
    pub async fn begin(&self, batch: &Batch) -> Result<Option<Batch>> {
        let taken = crate::store::conflict("This batch came in before.");
        let noting = self.store.transaction().create_or_expired(&self.store, batch, self.store.now().as_second(), taken)?;
        match noting.commit().await {
            Ok(()) => Ok(None),
            Err(Error::Conflict(_)) => self.store.find(&batch.key()).await,
            Err(error) => Err(error),
        }
    }

    /// Writes the packs of a batch; those that stand already stay as they are.
    pub async fn append(&self, packs: &[Pack]) -> Result<()> {
        let writing = packs.iter().map(|pack| async move {
            match self.store.create(pack, || Error::Conflict("This pack stands.".into())).await {
                Err(Error::Conflict(_)) => Ok(()),
                other => other,
            }
        });
        futures_util::future::try_join_all(writing).await.map(|_| ())
    }
}

/// Anybody, for what is public.
pub struct Anyone {
    pub app: App,
}

impl Door for Anyone {
    const ACCESS: Access = Access::Open { why: "public keys" };

    async fn enter(incoming: &Incoming, _wants: Wants) -> Result<(Self, Entered)> {
        let app = incoming.app.clone();
        let directory = Directory::open(incoming.table.clone(), app.shared_random(), incoming.now, incoming.origin("anyone".into()));
        Ok((Anyone { app }, Entered { store: None, directory, principal: "anyone".into(), user: None, read: HashMap::new() }))
    }
}

/// The principal that a credential claims, before it is verified; see `credential::claimed_principal`.
pub(crate) fn claimed_principal(incoming: &Incoming) -> Result<String> {
    credential::claimed_principal(incoming)
}

/// A tenant by id or slug.
async fn tenant_named(app: &App, directory: &Directory, text: &str) -> Result<Option<TenantId>> {
    if let Some(id) = TenantId::parse(text) {
        return Ok(Some(id));
    }
    let Some(slug) = Slug::parse(text) else { return Ok(None) };
    if let Some(tenant) = app.lately().owner(&slug, directory.now()) {
        return Ok(Some(tenant));
    }
    let owner = directory.find(&SlugClaim::key_of(&slug)).await?.map(|claim| claim.tenant);
    if let Some(tenant) = owner {
        app.lately().seen(slug, tenant, directory.now());
    }
    Ok(owner)
}

/// What an instance remembers for a short while: whose a slug is, and when it last wrote down the use of a key.
#[derive(Default)]
pub struct Lately {
    owners: Mutex<HashMap<Slug, (TenantId, Timestamp)>>,
    uses: Mutex<HashMap<ApiKeyId, Timestamp>>,
}

impl Lately {
    const REMEMBERED: usize = 10_000;
    /// Far shorter than a slug rests before it can be somebody else's.
    const KEEP: SignedDuration = SignedDuration::from_mins(5);

    fn owner(&self, slug: &Slug, now: Timestamp) -> Option<TenantId> {
        let owners = self.owners.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        owners.get(slug).filter(|(_, seen_at)| now.duration_since(*seen_at).abs() < Self::KEEP).map(|(tenant, _)| *tenant)
    }

    fn seen(&self, slug: Slug, tenant: TenantId, now: Timestamp) {
        let mut owners = self.owners.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if owners.len() >= Self::REMEMBERED {
            owners.clear();
        }
        owners.insert(slug, (tenant, now));
    }

    /// Whether the use of a key is to be written down again.
    fn is_due(&self, key: ApiKeyId, now: Timestamp) -> bool {
        let mut uses = self.uses.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if uses.len() >= Self::REMEMBERED {
            uses.clear();
        }
        let due = uses.get(&key).is_none_or(|last| now.duration_since(*last).abs() >= KeyUse::EVERY);
        if due {
            uses.insert(key, now);
        }
        due
    }
}
