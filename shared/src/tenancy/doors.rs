//! Every door an HTTP request can come through. A handler's first parameter is one of these; there is no other way to a store.
//! (`jobs` has the doors for work without a request.)

use std::collections::HashMap;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};

use http::HeaderName;
use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::http::endpoint::{Entered, Wants};
use crate::http::request::Incoming;
use crate::ids::{SessionId, UserId};
use crate::model::invitation::Invitation;
use crate::model::link::{Link, Purpose};
use crate::model::member;
use crate::model::plan::Plan;
use crate::model::session::Session;
use crate::model::tenant::{Shut, Slug, SlugClaim, Tenant};
use crate::model::user::{Belongs, Email, User};
use crate::runtime::App;
use crate::store::table::{FullKey, Item};
use crate::tenancy::limiter::{Class, Hit, Spent};
use crate::tenancy::{Directory, Place, Role, TenantId, TenantStore, credential};

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
    pub member: member::Member,
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

impl<R: AtLeast> Door for Tenanted<R> {
    const ACCESS: Access = Access::AtLeast(R::ROLE);

    async fn enter(incoming: &Incoming, wants: Wants) -> Result<(Self, Entered)> {
        // Boxed and not generic: one way in, whatever the role.
        let (inside, entered) = Box::pin(go_inside(incoming, wants, R::ROLE)).await?;
        let Inside { store, directory, tenant, plan, member } = inside;
        Ok((Tenanted { app: incoming.app.clone(), store, directory, tenant, plan, member, least: PhantomData }, entered))
    }
}

struct Inside {
    store: TenantStore,
    directory: Directory,
    tenant: Tenant,
    plan: Plan,
    member: member::Member,
}

/// The way into a tenant: credential, then session, membership, tenant and what the handler wants in one read beside the counters,
/// then every reason to stay outside, in an order that tells an outsider nothing.
async fn go_inside(incoming: &Incoming, wants: Wants, least: Role) -> Result<(Inside, Entered)> {
    let app = &incoming.app;
    let visiting = Directory::open(incoming.table.clone(), app.shared_random(), incoming.now, incoming.origin("unknown".into()));
    let caller = credential::verify(incoming, &visiting).await?;
    let principal = principal(caller.user);
    incoming.learned().principal = Some(principal.clone());
    let origin = incoming.origin(principal.clone());
    let directory = Directory::open(incoming.table.clone(), app.shared_random(), incoming.now, origin.clone());
    let class = if incoming.is_read() { Class::READ } else { Class::WRITE };
    let limiter = app.limiter();
    let default = if incoming.is_read() { limiter.limits.read } else { limiter.limits.write };
    let selected = incoming.header(&X_TENANT_ID)?;
    // Nobody learns whether a tenant exists that he is not a member of, and asking counts; one's own session in a tenant one has left
    // is void.
    let outside = |hit: &Hit| match selected {
        Some(_) => limiter.judge(hit, default, incoming.now).1.err().unwrap_or(Error::NotFound),
        None => Error::Unauthorized,
    };
    let tenant = match selected {
        Some(text) => match tenant_named(&directory, text).await? {
            Some(tenant) => tenant,
            None => return Err(outside(&limiter.hit(&incoming.table, class, &principal, incoming.now).await?)),
        },
        None => caller.tenant.ok_or(Error::Forbidden("You do not belong to a tenant.".into()))?,
    };
    // Built here, handed out only below, when the membership is seen.
    let store = TenantStore::open(tenant, incoming.table.clone(), app.shared_random(), incoming.now, origin);

    let mut keys = vec![store.full(&member::Member::key_of(caller.user)), store.full(&Tenant::key_of())];
    keys.extend(caller.session.map(|session| directory.full(&Session::key_of(caller.user, session))));
    let own = keys.len();
    let home = caller.tenant == Some(tenant);
    if home {
        // Only in the tenant that the signed token itself names is anything read before the membership is seen.
        keys.extend(wants.tenant.into_iter().map(|(collection, sk)| FullKey { pk: store.partition(&collection), sk }));
        keys.extend(wants.counters.into_iter().map(|counter| store.counter(counter)));
    }
    if wants.user {
        keys.push(directory.full(&User::key_of(caller.user)));
    }
    let leased = async { if home { limiter.lease(&incoming.table, tenant, store.partition("quota"), incoming.now).await } else { Ok(()) } };
    let (items, hit, leased) =
        tokio::join!(incoming.table.get_many(&keys), limiter.hit(&incoming.table, class, &principal, incoming.now), leased);
    leased?;
    let (items, hit) = (items?, hit?);
    let mut read: HashMap<FullKey, Option<Item>> = keys.iter().cloned().zip(items).collect();
    let mut take = |index: usize| read.remove(&keys[index]).flatten();

    let membership: Option<member::Member> = store.read(take(0))?;
    let profile: Option<Tenant> = store.read(take(1))?;
    if own > 2 {
        let session: Option<Session> = directory.read(take(2))?;
        session.ok_or(Error::Unauthorized)?;
    }
    let (member, profile) = membership.zip(profile).ok_or_else(|| outside(&hit))?;
    let shut = profile.shut(incoming.now);
    if shut == Some(Shut::Gone) {
        return Err(outside(&hit));
    }
    incoming.learned().tenant = Some(tenant.to_string());

    let plan = app.plans().get(&profile.plan).clone();
    let (report, verdict) = limiter.judge(&hit, plan.requests_per_minute.unwrap_or(default), incoming.now);
    incoming.learned().limits.push(report);
    verdict?;
    if let Some(shut) = shut {
        return Err(shut.error());
    }
    loop {
        match limiter.spend(tenant, plan.api_requests_per_day, incoming.now) {
            Spent::Yes(report) => {
                incoming.learned().limits.extend(report);
                break;
            }
            Spent::UsedUp(report, error) => {
                incoming.learned().limits.extend(report);
                return Err(error);
            }
            Spent::LeaseFirst => {
                limiter.lease(&incoming.table, tenant, store.partition("quota"), incoming.now).await?;
            }
        }
    }
    if member.role < least {
        return Err(Error::Forbidden(format!("This needs the role {} or above.", least.name()).into()));
    }
    let inside = Inside { store: store.clone(), directory: directory.clone(), tenant: profile, plan, member };
    Ok((inside, Entered { store: Some(store), directory, principal, user: Some(caller.user), read }))
}

/// Anybody with a session: for what belongs to the person rather than to a tenant.
pub struct SignedIn {
    pub app: App,
    pub directory: Directory,
    pub user: UserId,
    pub session: Option<SessionId>,
}

impl Door for SignedIn {
    const ACCESS: Access = Access::SignedIn;

    async fn enter(incoming: &Incoming, _wants: Wants) -> Result<(Self, Entered)> {
        let app = &incoming.app;
        let visiting = Directory::open(incoming.table.clone(), app.shared_random(), incoming.now, incoming.origin("unknown".into()));
        let caller = credential::verify(incoming, &visiting).await?;
        let principal = principal(caller.user);
        incoming.learned().principal = Some(principal.clone());
        let directory = Directory::open(incoming.table.clone(), app.shared_random(), incoming.now, incoming.origin(principal.clone()));
        let class = if incoming.is_read() { Class::READ } else { Class::WRITE };
        let session = async {
            match caller.session {
                Some(session) => directory.find(&Session::key_of(caller.user, session)).await.map(|found| found.is_some()),
                None => Ok(true),
            }
        };
        let (session, hit) = tokio::join!(session, app.limiter().hit(&incoming.table, class, &principal, incoming.now));
        if !session? {
            return Err(Error::Unauthorized);
        }
        let limit = if incoming.is_read() { app.limiter().limits.read } else { app.limiter().limits.write };
        let (report, verdict) = app.limiter().judge(&hit?, limit, incoming.now);
        incoming.learned().limits.push(report);
        verdict?;
        let door = SignedIn { app: app.clone(), directory: directory.clone(), user: caller.user, session: caller.session };
        Ok((door, Entered { store: None, directory, principal, user: Some(caller.user), read: HashMap::new() }))
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
                let mut items = self.table.get_many(&keys).await?.into_iter();
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

fn principal(user: UserId) -> String {
    format!("user:{user}")
}

/// The principal that a token claims, before it is verified; see `credential::claimed_user`.
pub(crate) fn claimed_principal(incoming: &Incoming) -> Result<String> {
    credential::claimed_user(incoming).map(principal)
}

/// `x-tenant-id` as an id or a slug. It only selects: the membership decides.
async fn tenant_named(directory: &Directory, text: &str) -> Result<Option<TenantId>> {
    if let Some(id) = TenantId::parse(text) {
        return Ok(Some(id));
    }
    let Some(slug) = Slug::parse(text) else { return Ok(None) };
    Ok(directory.find(&SlugClaim::key_of(&slug)).await?.map(|claim| claim.tenant))
}
