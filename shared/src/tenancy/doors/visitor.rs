//! A caller without credentials: to sign in, follow a link or ask for a demo.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::error::{Error, Result, Throttled};
use crate::ids::WorkspaceId;
use crate::lock::{Guard, Lock};
use crate::model::invitation::{Invitation, WorkspaceSeat};
use crate::model::link::{Link, Purpose, Sender};
use crate::model::member;
use crate::model::subaccount::Subaccount;
use crate::model::tenant::{Inaccessible, Tenant, TenantStatus};
use crate::model::user::{Email, KnownNetwork, User, UserTenant};
use crate::model::workspace::Workspace;
use crate::store::{Record as _, Table};
use crate::tenancy::doors::{Access, Door};
use crate::tenancy::incoming::RequestFacts;
use crate::tenancy::limiter::{Class, network};
use crate::tenancy::{Allowance, App, Directory, Entered, Incoming, RecordStore, Role, TenantId, TenantStore, Wants, WorkspaceStore};

const LOGIN: &str = "/api/v1/auth/login";

/// A caller at an open route of sign-in. Counted by address here, and by e-mail and address in `admit`.
pub struct Visitor {
    pub app: App,
    pub directory: Directory,
    table: Table,
    /// What counts as one address.
    network: String,
    /// Too many requests came from this network. Only a login continues, because the owner of the account may have logged in from there
    /// before.
    crowded: Option<Throttled>,
    facts: Arc<Lock<RequestFacts>>,
}

/// Whether the owner of an e-mail logged in from this network recently, for `remembered`.
pub struct LoginHistory(Option<KnownNetwork>);

impl Door for Visitor {
    const ACCESS: Access = Access::Open { why: "signing in, limited by address and e-mail" };

    async fn enter(incoming: &Incoming, _wants: Wants) -> Result<(Self, Entered)> {
        let app = &incoming.app;
        let directory = Directory::open(incoming.table.clone(), app.shared_random(), incoming.now, incoming.origin("visitor".into()));
        let network = network(&incoming.ip);
        let hit = app.limiter().hit(&incoming.table, Class::AUTH_IP, &network, incoming.now).await?;
        let (report, verdict) = app.limiter().judge(&hit, app.limiter().limits.auth_ip, incoming.now);
        incoming.facts().limits.push(report);
        let crowded = match verdict {
            Err(Error::TooManyRequests(throttled)) if incoming.route == LOGIN => Some(throttled),
            verdict => verdict.map(|()| None)?,
        };
        let door = Visitor {
            app: app.clone(),
            directory: directory.clone(),
            table: incoming.table.clone(),
            network,
            crowded,
            facts: incoming.shared_facts(),
        };
        let principal = format!("visitor {}", incoming.ip);
        Ok((door, Entered { store: None, workspace: None, directory, principal, user: None, read: HashMap::new() }))
    }
}

impl Visitor {
    /// How many attempts an unknown network has after too many failures from everywhere. This is enough for a person who knows the
    /// password, and little for each of many machines that guess.
    const FEW: u64 = 3;
    /// Mails of one kind to an address in a day.
    const MAILS: u64 = 10;
    /// The same from one network.
    const MAILS_FROM_HERE: u64 = 5;

    pub fn now(&self) -> Timestamp {
        self.directory.now()
    }

    /// Counts a registration of this e-mail. Known and unknown addresses are treated alike.
    pub async fn admit(&self, email: &Email) -> Result<()> {
        self.count(Class::AUTH, email).await
    }

    /// Counts a request to reset a password. Failed logins do not block it.
    pub async fn admit_reset(&self, email: &Email) -> Result<()> {
        self.count(Class::FORGOT, email).await
    }

    /// Counts a login. Failures block their network, first for the e-mail that was tried and then for every e-mail. An owner who logged in
    /// from there within 30 days is blocked only by failures for their own e-mail. Failures for one e-mail from many networks never block
    /// it: after a certain number, each unknown network gets only a few attempts.
    pub async fn admit_login(&self, email: &Email) -> Result<LoginHistory> {
        let (limiter, now) = (self.app.limiter(), self.now());
        let (address, from_here) = (email.normalised(), self.email_and_network(email));
        let counters = [
            (Class::AUTH_FAILURES, from_here.as_str()),
            (Class::AUTH_FAILURES_ANYWHERE, address.as_str()),
            (Class::AUTH_FAILURES_IP, self.network.as_str()),
        ];
        let mut keys: Vec<_> = counters.iter().map(|(class, principal)| limiter.counter_key(*class, principal, now)).collect();
        keys.push(self.directory.full(&KnownNetwork::key_of(email, &self.network)));
        let (counted, items) = tokio::join!(self.count(Class::AUTH, email), self.table.get_many(&keys));
        counted?;
        let items = items?;
        let seen = |index: usize| limiter.seen(counters[index].0, counters[index].1, items[index].as_ref(), now);
        let known_network: Option<KnownNetwork> = self.directory.read(items[3].as_ref())?;
        let (own, anywhere, from_place) = (seen(0), seen(1), seen(2));
        let most = limiter.limits.auth_failures;
        let few = known_network.is_none() && anywhere.used() > most;
        if let (None, Some(throttled)) = (&known_network, &self.crowded) {
            return Err(Error::TooManyRequests(throttled.clone()));
        }
        let mut verdicts = vec![limiter.judge(&own, if few { most.min(Self::FEW) } else { most }, now)];
        if known_network.is_none() {
            verdicts.push(limiter.judge(&from_place, limiter.limits.auth_failures_ip, now));
        }
        for (report, verdict) in verdicts {
            if verdict.is_err() {
                self.facts().limits.insert(0, report);
                verdict?;
            }
        }
        Ok(LoginHistory(known_network))
    }

    /// Counts a failed login: for the e-mail from this network, for the e-mail, and for this network.
    pub async fn failed(&self, email: &Email) -> Result<()> {
        let (limiter, now, address, from_here) = (self.app.limiter(), self.now(), email.normalised(), self.email_and_network(email));
        let hits = tokio::join!(
            limiter.hit(&self.table, Class::AUTH_FAILURES, &from_here, now),
            limiter.hit(&self.table, Class::AUTH_FAILURES_ANYWHERE, &address, now),
            limiter.hit(&self.table, Class::AUTH_FAILURES_IP, &self.network, now)
        );
        hits.0.and(hits.1).and(hits.2).map(|_| ())
    }

    /// The record that the owner of the e-mail logged in from here, if it must be renewed.
    pub fn remembered(&self, email: &Email, known: &LoginHistory) -> Option<KnownNetwork> {
        let fresh = known.0.as_ref().is_some_and(|known_network| known_network.is_fresh(self.now()));
        (!fresh).then(|| KnownNetwork::new(email, &self.network, self.now()))
    }

    /// Limits mails about a registration with this address, in a day: from this network, and from everywhere.
    pub fn registration_mails(&self, email: &Email) -> [Allowance; 2] {
        self.mails(Class::REGISTRATION_MAILS, email)
    }

    /// The same for a forgotten password.
    pub fn reset_mails(&self, email: &Email) -> [Allowance; 2] {
        self.mails(Class::RESET_MAILS, email)
    }

    fn mails(&self, class: Class, email: &Email) -> [Allowance; 2] {
        let (limiter, now) = (self.app.limiter(), self.now());
        [
            limiter.allowance(class, &self.email_and_network(email), Self::MAILS_FROM_HERE, now),
            limiter.allowance(class, &email.normalised(), Self::MAILS, now),
        ]
    }

    async fn count(&self, class: Class, email: &Email) -> Result<()> {
        let limiter = self.app.limiter();
        let hit = limiter.hit(&self.table, class, &self.email_and_network(email), self.now()).await?;
        let (report, verdict) = limiter.judge(&hit, limiter.limits.auth, self.now());
        self.facts().limits.insert(0, report);
        verdict
    }

    fn facts(&self) -> Guard<'_, RequestFacts> {
        self.facts.lock()
    }

    /// The e-mail together with the network it is tried from. Attempts and mails are counted by this.
    fn email_and_network(&self, email: &Email) -> String {
        format!("{} {}", email.normalised(), self.network)
    }
}

/// What an invitation's link gives access to: the tenant that invites, in order to join it.
pub struct Invited {
    pub store: TenantStore,
    pub tenant: Tenant,
    pub invitation: Invitation,
    /// The sender, if known: their membership must be unchanged when the invitation is accepted.
    pub sender: Option<(TenantStore, member::Member)>,
}

impl Invited {
    /// The workspace that the invitation is into as well, if it is still there.
    pub async fn workspace(&self) -> Result<Option<(WorkspaceStore, WorkspaceSeat)>> {
        let Some(seat) = self.invitation.seat else { return Ok(None) };
        let workspace = self.store.find(&Workspace::key_of(seat.id.tag())).await?.filter(|workspace| workspace.id == seat.id);
        Ok(workspace.map(|workspace| (self.store.workspace(workspace.id.tag()), seat)))
    }
}

impl Visitor {
    /// The tenant in which a user acts who has just proven who they are: their home tenant, or another of their tenants, or none. Returns
    /// their own membership, never a store.
    pub async fn acting_tenant(&self, user: &User) -> Result<Option<(Tenant, member::Member)>> {
        let mut tenants: Vec<TenantId> = user.home.into_iter().collect();
        let mut asked_for_others = false;
        let mut shut = None;
        loop {
            for tenant in std::mem::take(&mut tenants) {
                let store = self.directory.enter(tenant);
                let keys = [store.full(&Tenant::key_of()), store.full(&member::Member::key_of(user.id))];
                let mut items = store.items(&keys).await?.into_iter();
                let mut next = || items.next().flatten();
                let (profile, membership) = (store.read(next().as_ref())?, store.read(next().as_ref())?);
                let Some((profile, membership)) = Option::<Tenant>::zip(profile, membership) else { continue };
                match profile.inaccessible(self.now()) {
                    None => return Ok(Some((profile, membership))),
                    Some(Inaccessible::Gone) => {}
                    Some(reason) => shut = shut.or(Some(reason)),
                }
            }
            if std::mem::replace(&mut asked_for_others, true) {
                break;
            }
            let belongs = self.directory.all(&UserTenant::of_user(user.id)).await?;
            tenants = belongs.into_iter().map(|belongs| belongs.tenant).filter(|tenant| Some(*tenant) != user.home).collect();
        }
        shut.map_or(Ok(None), |shut| Err(shut.error()))
    }

    /// The invitation of a link that we signed, if it is still open and its sender may still grant its role.
    pub async fn invited(&self, token: &str) -> Result<Option<Invited>> {
        let Some(id) = Link::of_token(token, self.app.keys().links()?) else { return Ok(None) };
        let Some(link) = self.directory.find(&Link::key_of(id)).await? else { return Ok(None) };
        let Purpose::AcceptInvitation { tenant, invitation, sender } = link.purpose else { return Ok(None) };
        let store = self.directory.enter(tenant);
        let keys = [store.full(&Tenant::key_of()), store.full(&Invitation::key_of(invitation))];
        let mut items = store.items(&keys).await?.into_iter();
        let mut next = || items.next().flatten();
        let (tenant, invitation) = (store.read::<Tenant>(next().as_ref())?, store.read::<Invitation>(next().as_ref())?);
        let Some((tenant, invitation)) = tenant.zip(invitation.filter(|invitation| invitation.link == id)) else { return Ok(None) };
        if let Some(shut) = tenant.inaccessible(self.now()) {
            return Err(shut.error());
        }
        // Older links do not name their sender, but the sender wrote their invitation.
        let sender = sender.or_else(|| invitation.writer().map(|user| Sender { user, agency: None }));
        let sender = match sender {
            Some(sender) => {
                let Some(membership_store) = self.sender_store(&store, sender).await? else { return Ok(None) };
                let Some(member) = membership_store.find(&member::Member::key_of(sender.user)).await? else { return Ok(None) };
                Some((membership_store, member))
            }
            None => None,
        };
        // An older invitation of an agency, whose sender is unknown, may give any role except owner.
        let role = sender.as_ref().map_or(Role::Admin, |(_, member)| member.role);
        let may_grant = role >= Role::Admin && (role == Role::Owner || invitation.role < Role::Owner);
        Ok(may_grant.then_some(Invited { store, tenant, invitation, sender }))
    }

    /// The store with the sender's membership: the tenant itself, or the agency if the tenant is still its child.
    async fn sender_store(&self, store: &TenantStore, sender: Sender) -> Result<Option<TenantStore>> {
        let Some(of) = sender.agency else { return Ok(Some(store.clone())) };
        let child = self.directory.find(&Subaccount::key_of(of.agency, of.subaccount)).await?;
        let child = child.filter(|child| child.tenant == store.tenant_id() && child.status == TenantStatus::Active);
        Ok(child.map(|child| self.directory.enter(child.agency)))
    }
}

/// A caller who asks for a demo: a few for each address and hour.
pub struct DemoVisitor {
    pub app: App,
    pub directory: Directory,
}

impl DemoVisitor {
    /// The store of a new workspace in the tenant that the demo makes: the only tenant whose store this door leads to.
    pub fn new_workspace(&self, demo: &TenantStore, workspace: WorkspaceId) -> WorkspaceStore {
        demo.workspace(workspace.tag())
    }

    /// Mails about demos to an address in a day. Further demos come without a mail.
    const MAILS: u64 = 3;

    pub fn mails(&self, email: &Email) -> Allowance {
        self.app.limiter().allowance(Class::DEMO_MAILS, &email.normalised(), Self::MAILS, self.directory.now())
    }
}

impl Door for DemoVisitor {
    const ACCESS: Access = Access::Open { why: "creating a demo, limited by address" };

    async fn enter(incoming: &Incoming, _wants: Wants) -> Result<(Self, Entered)> {
        let app = &incoming.app;
        let directory = Directory::open(incoming.table.clone(), app.shared_random(), incoming.now, incoming.origin("visitor".into()));
        let hit = app.limiter().hit(&incoming.table, Class::DEMO, &network(&incoming.ip), incoming.now).await?;
        let (report, verdict) = app.limiter().judge(&hit, app.limiter().limits.demo, incoming.now);
        incoming.facts().limits.push(report);
        verdict?;
        let principal = format!("visitor {}", incoming.ip);
        let entered = Entered { store: None, workspace: None, directory: directory.clone(), principal, user: None, read: HashMap::new() };
        Ok((DemoVisitor { app: app.clone(), directory }, entered))
    }
}
