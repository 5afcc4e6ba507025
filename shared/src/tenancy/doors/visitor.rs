//! Somebody unknown: signing in, following a link, asking for a demo.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;

use crate::error::Result;
use crate::http::endpoint::{Entered, Wants};
use crate::http::request::Incoming;
use crate::http::request::Learned;
use crate::model::invitation::Invitation;
use crate::model::link::{Link, Purpose};
use crate::model::member;
use crate::model::tenant::{Shut, Tenant};
use crate::model::user::{Belongs, Email, User};
use crate::runtime::App;
use crate::store::Table;
use crate::tenancy::doors::{Access, Door};
use crate::tenancy::limiter::Class;
use crate::tenancy::{Directory, Place, TenantId, TenantStore};

/// Somebody unknown at an open route of sign-in. Counted by address here, by e-mail and address in `admit`.
pub struct Visitor {
    pub app: App,
    pub directory: Directory,
    table: Table,
    ip: String,
    learned: Arc<Mutex<Learned>>,
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
                let mut items = store.items(&keys).await?.into_iter();
                let mut next = || items.next().flatten();
                let (profile, membership) = (store.read(next().as_ref())?, store.read(next().as_ref())?);
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
        let Some(id) = Link::of_token(token, self.app.keys().links()?) else { return Ok(None) };
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
