//! The doors into a tenant: as its member, with its key, or as its agency.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;

use http::HeaderName;
use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::ids::{SubaccountId, UserId};
use crate::model::api_key::{ApiKey, Inactive, Issuer, KeyUse, Maker};
use crate::model::invitation::Invitation;
use crate::model::link::{ForChild, Sender};
use crate::model::member;
use crate::model::phone_number::PhoneNumber;
use crate::model::plan::Plan;
use crate::model::session::Session;
use crate::model::subaccount::Subaccount;
use crate::model::tenant::{Inaccessible, Tenant};
use crate::model::usage::UsageDay;
use crate::model::user::{Email, User};
use crate::store::table::{FullKey, Item};
use crate::store::{Entity, Record as _};
use crate::tenancy::credential::{Caller, Person};
use crate::tenancy::doors::agency::{act_for, acting};
use crate::tenancy::doors::workspace::Selection;
use crate::tenancy::doors::{Access, Door};
use crate::tenancy::instance_cache::tenant_named;
use crate::tenancy::limiter::{Class, Hit, Spent, TenantSeen};
use crate::tenancy::power::{self, Power};
use crate::tenancy::{
    Allowance, App, Directory, Entered, Incoming, Origin, RecordStore, Role, Scope, TenantId, TenantStore, Transaction, Wants, credential,
};

/// Routes whose first path value is the slug of a tenant.
pub(super) const SLUG_ROUTES: &str = "/api/tenants/{slug}";
/// The route for the caller's tenant itself.
const OWN_TENANT: &str = "/api/tenant";
const X_TENANT_ID: HeaderName = HeaderName::from_static("x-tenant-id");

/// A member of the tenant with at least a certain role. Holds the store of that tenant.
pub struct Tenanted<R> {
    pub app: App,
    pub store: TenantStore,
    pub directory: Directory,
    pub tenant: Tenant,
    pub plan: Plan,
    /// The caller. For a key, the member who made it, with the role they have now.
    pub member: member::Member,
    /// The API key of the request, if there is one.
    pub key: Option<ApiKey>,
    /// Whether the caller belongs to the tenant's agency and acts for the tenant.
    pub delegated: bool,
    /// That agency.
    agency: Option<ForChild>,
    power: Power,
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
    pub(super) fn of(app: App, inside: Inside) -> Self {
        let Inside { store, directory, tenant, plan, member, key, delegated, agency, power, selection: _ } = inside;
        Tenanted { app, store, directory, tenant, plan, member, key, delegated, agency, power, least: PhantomData }
    }

    /// The moment of the request.
    pub fn now(&self) -> Timestamp {
        self.store.now()
    }

    /// The caller as the sender of an invitation.
    pub fn sender(&self) -> Sender {
        Sender { user: self.member.user, agency: self.agency }
    }

    /// How many mails may invite this address in a day: from this tenant, and from all tenants.
    pub fn invitation_mails(&self, email: &Email) -> [Allowance; 2] {
        let (limiter, now, to) = (self.app.limiter(), self.now(), email.normalised());
        let from_here = format!("{to} {}", self.store.tenant_id());
        [
            limiter.allowance(Class::INVITATION_MAILS, &from_here, Invitation::MAILS, now),
            limiter.allowance(Class::INVITATION_MAILS, &to, Invitation::MAILS_FROM_ALL, now),
        ]
    }

    /// Limits one-time passwords to a number, in an hour: whoever makes a page of the tenant send them does not pay for them.
    pub fn one_time_passwords(&self, to: &PhoneNumber, most: u64) -> Allowance {
        let from_here = format!("{to} {}", self.store.tenant_id());
        self.app.limiter().allowance(Class::ONE_TIME_PASSWORDS, &from_here, most, self.now())
    }

    /// For changes that must fail after a demotion. Requires, in a transaction, that the caller's membership still has the role `least`,
    /// and that their key still exists. A transaction can write an item only once. `touched` is therefore the member or the key that it
    /// changes itself, whose version it compares anyway.
    pub fn require_role_at_least<'a>(&self, transaction: Transaction<'a>, least: Role, touched: Touched<'_>) -> Result<Transaction<'a>> {
        let transaction = match touched {
            Touched::Member(own) if !self.delegated && own.user == self.power.membership.user => {
                // As it is read now: the door may have seen a higher role.
                if own.role < least {
                    return Err(Error::Forbidden("Your role was changed at the same moment.".into()));
                }
                transaction
            }
            _ => self.power.require_role(&self.directory, transaction, least)?,
        };
        let Some(key) = &self.key else { return Ok(transaction) };
        if matches!(touched, Touched::Key(touched) if touched.id == key.id) {
            return Ok(transaction);
        }
        let gone = Box::new(|_| Error::Forbidden("The key was changed at the same moment.".into()));
        let key_store = self.directory.enter(self.key_tenant());
        transaction.require_unchanged(&key_store, key, gone)
    }

    /// The tenant of the caller's key. If an agency acts for a child, this is the agency.
    fn key_tenant(&self) -> TenantId {
        if self.delegated { self.power.tenant } else { self.tenant.id }
    }

    /// The person whose power a key gets that the caller makes or adopts.
    pub fn issuer(&self) -> Issuer {
        Issuer::of(&self.member, &self.power.membership)
    }

    pub fn maker(&self) -> Maker {
        self.power.maker()
    }

    /// For each of these keys, why it is inactive, if it is.
    pub async fn inactive(&self, keys: &[ApiKey]) -> Result<Vec<Option<Inactive>>> {
        let makers = power::of_makers(&self.directory, &self.store, keys).await?;
        Ok(keys.iter().map(|key| key.inactive_among(&makers)).collect())
    }
}

impl<R: AtLeast> Tenanted<R> {
    /// Requires, in a transaction, that the caller still has the role of this door.
    pub fn require_role<'a>(&self, transaction: Transaction<'a>) -> Result<Transaction<'a>> {
        self.require_role_at_least(transaction, R::ROLE, Touched::Else)
    }
}

/// What a transaction writes, if that may be the caller's own membership or key.
#[derive(Clone, Copy)]
pub enum Touched<'a> {
    Member(&'a member::Member),
    Key(&'a ApiKey),
    Else,
}

impl<R: AtLeast> Door for Tenanted<R> {
    const ACCESS: Access = Access::AtLeast(R::ROLE);

    async fn enter(incoming: &Incoming, wants: Wants) -> Result<(Self, Entered)> {
        // Boxed and not generic, so that the code exists once for all roles.
        let (inside, entered) = Box::pin(enter_tenant(incoming, wants, R::ROLE)).await?;
        Ok((Tenanted::of(incoming.app.clone(), inside), entered))
    }
}

pub(super) struct Inside {
    pub store: TenantStore,
    pub directory: Directory,
    pub tenant: Tenant,
    pub plan: Plan,
    pub member: member::Member,
    pub key: Option<ApiKey>,
    pub delegated: bool,
    pub agency: Option<ForChild>,
    pub power: Power,
    /// The workspace that the request names, for the door into it.
    pub selection: Option<Selection>,
}

/// Enters a tenant. First the credential is verified. Then one read gets the session and membership or the key, the tenant, and what the
/// handler wants, in parallel with the counters. Then all reasons for a refusal are checked, in an order that tells an outsider nothing.
/// Nothing that was read is returned before the membership, or the key's own tenant, is checked.
pub(super) async fn enter_tenant(incoming: &Incoming, wants: Wants, least: Role) -> Result<(Inside, Entered)> {
    match try_enter(incoming, wants.clone(), least, None).await? {
        Entry::Inside(inside, entered) => Ok((*inside, *entered)),
        Entry::Moved(home) => match try_enter(incoming, wants, least, Some(home)).await? {
            Entry::Inside(inside, entered) => Ok((*inside, *entered)),
            Entry::Moved(_) => Err(no_tenant(incoming)),
        },
    }
}

enum Entry {
    Inside(Box<Inside>, Box<Entered>),
    /// The tenant of the session no longer exists for the person, who has created or joined this one since.
    Moved(TenantId),
}

/// `elsewhere`: the tenant in which to act if the session's own tenant no longer exists.
async fn try_enter(incoming: &Incoming, wants: Wants, least: Role, elsewhere: Option<TenantId>) -> Result<Entry> {
    let verified = Verified::of(incoming, elsewhere).await?;
    let tenant = verified.tenant().await?;
    // Created here, but returned only below, after the membership is checked.
    let store = TenantStore::open(tenant, incoming.table.clone(), incoming.app.shared_random(), incoming.now, verified.origin.clone());
    let child = verified.acting.and_then(SubaccountId::parse_prefixed);
    // If an agency acts for a child, the handler wants nothing of the agency itself.
    let (wants, of_child) = if verified.acting.is_some() { (Wants::default(), wants) } else { (wants, Wants::default()) };
    let (wants, selection) = match wants.enters_workspace {
        true => Selection::of(incoming, &store, verified.maker_or_user(tenant), wants).await.map(|(wants, found)| (wants, Some(found)))?,
        false => (wants, None),
    };
    let mut reads = verified.read(&store, wants, child).await?;
    let profile: Option<Tenant> = store.read(reads.take(&store.full(&Tenant::key_of())).as_ref())?;
    let CallerInTenant { member, key, power } = verified.caller_in(&store, &mut reads).await?;
    let found = member.zip(profile).filter(|(_, profile)| profile.inaccessible(incoming.now) != Some(Inaccessible::Gone));
    let Some((member, profile)) = found else {
        return match verified.new_home(tenant).await? {
            Some(home) => Ok(Entry::Moved(home)),
            None => Err(verified.outside(&reads.hit)),
        };
    };
    incoming.facts().tenant = Some(tenant);
    let plan = incoming.app.plans().get(&profile.plan).within(&profile.limits.unwrap_or_default());
    let limit = key.as_ref().and_then(|key| key.rate_limit).or(plan.requests_per_minute).unwrap_or(verified.default_limit());
    let (report, verdict) = incoming.app.limiter().judge(&reads.hit, limit, incoming.now);
    incoming.facts().limits.push(report);
    verdict?;
    if let Some(reason) = profile.inaccessible(incoming.now) {
        return Err(reason.error());
    }
    let power = power.map_err(|inactive| Error::KeyInactive(inactive.message()))?;
    spend(incoming, &store, plan.api_requests_per_day).await?;
    if member.role < least {
        return Err(Error::Forbidden(format!("This needs the role {} or above.", least.name()).into()));
    }
    if let Some(key) = &key {
        within_scope(incoming, key)?;
        note_use(incoming, &store, key).await?;
    }
    let (directory, principal, user) = (verified.directory.clone(), verified.principal.clone(), verified.user());
    let link = child.and_then(|id| reads.take(&directory.full(&Subaccount::key_of(tenant, id))));
    let inside = Inside { store, directory, tenant: profile, plan, member, key, delegated: false, agency: None, power, selection };
    let (inside, entered) = if verified.acting.is_some() {
        let link = inside.directory.read(link.as_ref())?;
        Box::pin(act_for(incoming, inside, link, of_child, principal, user)).await?
    } else {
        let entered = Entered {
            store: Some(inside.store.clone()),
            workspace: None,
            directory: inside.directory.clone(),
            principal,
            user,
            read: reads.read,
        };
        (inside, entered)
    };
    Ok(Entry::Inside(Box::new(inside), Box::new(entered)))
}

/// A caller whose credential is verified, before the tenant is checked.
struct Verified<'a> {
    incoming: &'a Incoming,
    caller: Caller,
    principal: String,
    origin: Arc<Origin>,
    directory: Directory,
    class: Class,
    /// The tenant that the request names.
    selected: Option<&'a str>,
    /// The subaccount that the caller acts for.
    acting: Option<&'a str>,
    elsewhere: Option<TenantId>,
}

/// What was read for the door, and the counter of the caller's requests.
struct Reads {
    read: HashMap<FullKey, Option<Item>>,
    hit: Hit,
    /// The maker of a child's key may be a member of its agency.
    maker_in_agency: Option<member::Member>,
}

impl Reads {
    fn take(&mut self, key: &FullKey) -> Option<Item> {
        self.read.remove(key).flatten()
    }
}

/// The caller as the tenant knows them. For an inactive key, `power` is the reason.
struct CallerInTenant {
    member: Option<member::Member>,
    key: Option<ApiKey>,
    power: std::result::Result<Power, Inactive>,
}

impl<'a> Verified<'a> {
    async fn of(incoming: &'a Incoming, elsewhere: Option<TenantId>) -> Result<Self> {
        let open = |origin| Directory::open(incoming.table.clone(), incoming.app.shared_random(), incoming.now, origin);
        let caller = credential::verify(incoming, &open(incoming.origin("unknown".into()))).await?;
        let principal = caller.principal();
        incoming.facts().principal = Some(principal.clone());
        let origin = incoming.origin(principal.clone());
        let directory = open(origin.clone());
        let class = if incoming.is_read() { Class::READ } else { Class::WRITE };
        let acting = acting(incoming)?;
        let selected = selected(incoming, acting.is_some())?;
        Ok(Verified { incoming, caller, principal, origin, directory, class, selected, acting, elsewhere })
    }

    fn user(&self) -> Option<UserId> {
        match &self.caller {
            Caller::Person(person) => Some(person.user),
            Caller::Key(_) => None,
        }
    }

    /// Who acts in the tenant: the person, or the maker of the key if they are a member.
    fn maker_or_user(&self, tenant: TenantId) -> Option<UserId> {
        match &self.caller {
            Caller::Person(person) => Some(person.user),
            Caller::Key(claim) => claim.maker.filter(|maker| maker.tenant == tenant).map(|maker| maker.user),
        }
    }

    /// The requests per minute if neither plan nor key sets a limit.
    fn default_limit(&self) -> u64 {
        let limits = &self.incoming.app.limiter().limits;
        if self.incoming.is_read() { limits.read } else { limits.write }
    }

    fn is_home(&self, tenant: TenantId) -> bool {
        self.caller.tenant() == Some(tenant)
    }

    async fn hit(&self) -> Result<Hit> {
        self.incoming.app.limiter().hit(&self.incoming.table, self.class, &self.principal, self.incoming.now).await
    }

    /// The tenant in which the caller wants to act, whether they may or not.
    async fn tenant(&self) -> Result<TenantId> {
        let tenant = match (self.selected, &self.caller) {
            (Some(text), _) => tenant_named(&self.incoming.app, &self.directory, text).await?,
            // A person whose credential names no tenant acts in their present home tenant.
            (None, Caller::Person(person)) if self.caller.tenant().is_none() => home_of(&self.directory, person).await?,
            (None, caller) => self.elsewhere.or(caller.tenant()),
        };
        match (tenant, &self.caller) {
            (Some(tenant), Caller::Person(_)) => Ok(tenant),
            // A key has one tenant. Any other tenant does not exist for it.
            (Some(tenant), Caller::Key(_)) if self.is_home(tenant) => Ok(tenant),
            // If the credential has ended, the caller is told that first, as in any other tenant.
            _ => {
                let (stands, hit) = tokio::join!(stands(&self.directory, &self.caller), self.hit());
                Err(if stands? { self.outside(&hit?) } else { Error::Unauthorized })
            }
        }
    }

    /// A caller must not learn whether a tenant exists in which they are not a member, and every try counts. A key without its tenant is
    /// invalid; a person's session is not.
    fn outside(&self, hit: &Hit) -> Error {
        let missing = match (self.selected, &self.caller) {
            (None, Caller::Key(_)) => return Error::Unauthorized,
            (None, Caller::Person(_)) => no_tenant(self.incoming),
            (Some(_), _) => Error::NotFound,
        };
        self.incoming.app.limiter().judge(hit, self.default_limit(), self.incoming.now).1.err().unwrap_or(missing)
    }

    /// The present home tenant of a person, if their session's own tenant no longer exists.
    async fn new_home(&self, gone: TenantId) -> Result<Option<TenantId>> {
        match &self.caller {
            Caller::Person(person) if self.selected.is_none() && self.elsewhere.is_none() && self.caller.tenant().is_some() => {
                Ok(home_of(&self.directory, person).await?.filter(|home| *home != gone))
            }
            _ => Ok(None),
        }
    }

    /// Reads everything that is needed of the tenant, its caller and the handler's wishes, in one round trip in parallel with the counters.
    async fn read(&self, store: &TenantStore, wants: Wants, child: Option<SubaccountId>) -> Result<Reads> {
        let (incoming, tenant, directory) = (self.incoming, store.tenant_id(), &self.directory);
        let mut keys = vec![store.full(&Tenant::key_of())];
        let mut maker_elsewhere = None;
        match &self.caller {
            Caller::Person(person) => {
                keys.push(store.full(&member::Member::key_of(person.user)));
                keys.extend(person.session.map(|session| directory.full(&Session::key_of(person.user, session))));
            }
            Caller::Key(claim) => {
                keys.push(store.full(&ApiKey::key_of(claim.key)));
                maker_elsewhere = claim.maker.filter(|maker| maker.tenant != tenant);
                keys.extend(
                    claim.maker.filter(|maker| maker.tenant == tenant).map(|maker| store.full(&member::Member::key_of(maker.user))),
                );
            }
        }
        let children = wants.subaccount.into_iter().chain(child);
        keys.extend(children.map(|id| directory.full(&Subaccount::key_of(tenant, id))));
        keys.extend(wanted(wants, store, directory, self.user()));
        let limiter = incoming.app.limiter();
        let leased = async {
            match self.is_home(tenant) {
                true => limiter.lease(store.table(), tenant, store.partition(UsageDay::COLLECTION), incoming.now, TenantSeen::NotYet).await,
                false => Ok(()),
            }
        };
        let maker_in_agency = async {
            match maker_elsewhere {
                Some(maker) => directory.enter(maker.tenant).find(&member::Member::key_of(maker.user)).await,
                None => Ok(None),
            }
        };
        let (items, hit, leased, maker_in_agency) = tokio::join!(store.table().get_many(&keys), self.hit(), leased, maker_in_agency);
        leased?;
        let (items, hit) = (items?, hit?);
        Ok(Reads { read: keys.into_iter().zip(items).collect(), hit, maker_in_agency: maker_in_agency? })
    }

    async fn caller_in(&self, store: &TenantStore, reads: &mut Reads) -> Result<CallerInTenant> {
        let (directory, tenant, now) = (&self.directory, store.tenant_id(), self.incoming.now);
        match &self.caller {
            Caller::Person(person) => {
                if let Some(session) = person.session {
                    let session: Option<Session> =
                        directory.read(reads.take(&directory.full(&Session::key_of(person.user, session))).as_ref())?;
                    session.ok_or(Error::Unauthorized)?;
                }
                let member: Option<member::Member> = store.read(reads.take(&store.full(&member::Member::key_of(person.user))).as_ref())?;
                let power = member.clone().map(|membership| Power { tenant, membership });
                Ok(CallerInTenant { member, key: None, power: power.ok_or(Inactive::MakerRemoved) })
            }
            Caller::Key(claim) => {
                let key: Option<ApiKey> = store.read(reads.take(&store.full(&ApiKey::key_of(claim.key))).as_ref())?;
                let key = key.filter(|key| key.holds(now)).ok_or(Error::Unauthorized)?;
                let power = match claim.maker.filter(|maker| power::claim_fits(*maker, &key, tenant)) {
                    Some(maker) if maker.tenant == tenant => {
                        let membership = store.read(reads.take(&store.full(&member::Member::key_of(maker.user))).as_ref())?;
                        membership.map(|membership| Power { tenant, membership })
                    }
                    Some(maker) => reads.maker_in_agency.take().map(|membership| Power { tenant: maker.tenant, membership }),
                    None => power::look_up(&self.incoming.app, directory, store, &key).await?,
                };
                let inactive = key.inactive(power.as_ref().map(|power| &power.membership));
                let role = power.as_ref().map_or(Role::Viewer, |power| power.membership.role);
                let power = match (inactive, power) {
                    (None, Some(power)) => Ok(power),
                    (inactive, _) => Err(inactive.unwrap_or(Inactive::MakerRemoved)),
                };
                Ok(CallerInTenant { member: Some(key.acts_as(role)), key: Some(key), power })
            }
        }
    }
}

/// The keys of the records that a handler wants.
pub(super) fn wanted(wants: Wants, store: &TenantStore, directory: &Directory, user: Option<UserId>) -> Vec<FullKey> {
    let mut keys: Vec<FullKey> = wants.full;
    keys.extend(wants.tenant.into_iter().map(|(collection, sk)| FullKey { pk: store.partition(&collection), sk }));
    keys.extend(wants.counters.into_iter().map(|counter| store.counter(counter)));
    keys.extend(user.filter(|_| wants.user).map(|user| directory.full(&User::key_of(user))));
    keys
}

/// Records that a key was used: at intervals, and in its grace every time.
async fn note_use(incoming: &Incoming, store: &TenantStore, key: &ApiKey) -> Result<()> {
    if !incoming.app.instance_cache().is_use_due(key.id, incoming.now) && !key.is_retiring() {
        return Ok(());
    }
    let used = store.full(&KeyUse::key_of(key.id));
    let sets = [
        ("type", KeyUse::TYPE.to_owned()),
        ("tenant", store.tenant_id().to_string()),
        ("id", key.id.to_string()),
        ("last_used_at", incoming.now.to_string()),
    ];
    // In its grace every use is counted, and the record disappears with the key.
    let adds: &[_] = if key.is_retiring() { &[("uses_in_grace", 1)] } else { &[] };
    let ends_at = key.grace_ends_at.map(|end| end.as_second());
    store.table().update("noting a key's use", used, &sets, adds, ends_at).await.map(drop)
}

/// Whether the session or the key of a verified credential still exists.
pub(super) async fn stands(directory: &Directory, caller: &Caller) -> Result<bool> {
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

/// The home tenant of a person whose credential names no tenant. They may have created or joined one since.
async fn home_of(directory: &Directory, person: &Person) -> Result<Option<TenantId>> {
    if let Some(session) = person.session {
        directory.find(&Session::key_of(person.user, session)).await?.ok_or(Error::Unauthorized)?;
    }
    Ok(directory.find(&User::key_of(person.user)).await?.and_then(|user| user.home))
}

/// A person without a tenant who asks for their tenant is told that there is none (F3). On other routes they are told that they need one.
fn no_tenant(incoming: &Incoming) -> Error {
    if incoming.route == OWN_TENANT { Error::NotFound } else { Error::Forbidden("You do not belong to a tenant.".into()) }
}

/// Uses one request of the tenant's daily quota.
pub(super) async fn spend(incoming: &Incoming, store: &TenantStore, limit: Option<u64>) -> Result<()> {
    let limiter = incoming.app.limiter();
    loop {
        match limiter.spend(store.tenant_id(), limit, incoming.now) {
            Spent::Yes(report, place) => {
                let mut facts = incoming.facts();
                facts.limits.extend(report);
                facts.places.extend(place);
                return Ok(());
            }
            Spent::UsedUp(report, error) => {
                incoming.facts().limits.extend(report);
                return Err(error);
            }
            Spent::LeaseFirst => {
                limiter
                    .lease(store.table(), store.tenant_id(), store.partition(UsageDay::COLLECTION), incoming.now, TenantSeen::Inside)
                    .await?;
            }
        }
    }
}

/// A key may do what its scopes allow, and never what is for people only.
fn within_scope(incoming: &Incoming, key: &ApiKey) -> Result<()> {
    let scope = Scope::needed(&incoming.method, incoming.route).ok_or(Error::Forbidden("This is for people: sign in.".into()))?;
    if key.scopes.allow(scope) { Ok(()) } else { Err(Error::Forbidden(format!("This key lacks the scope {scope}.").into())) }
}

/// The tenant that a request names: the slug in the path of F1, or `x-tenant-id`. It only selects; the membership decides. A caller who
/// acts for a subaccount selects their agency with it, and the slug is then the subaccount's.
fn selected(incoming: &Incoming, acting: bool) -> Result<Option<&str>> {
    let header = incoming.single(&X_TENANT_ID)?;
    let in_path = incoming.route.starts_with(SLUG_ROUTES) && !acting;
    Ok(if in_path { incoming.path_values.first().map(String::as_str) } else { header })
}
