//! A person with a session, for their own data and to find their tenants.

use std::collections::HashMap;
use std::future::Future;

use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::ids::{SessionId, UserId};
use crate::model::domain::Domain;
use crate::model::edge::{Rollup, Totals};
use crate::model::edge_config::EdgeConfig;
use crate::model::member;
use crate::model::period::Month;
use crate::model::tenant::{Inaccessible, Tenant};
use crate::model::user::UserTenant;
use crate::store::entity::{InTenant, Key};
use crate::store::{Entity, Span};
use crate::tenancy::credential::Caller;
use crate::tenancy::doors::tenanted::stands;
use crate::tenancy::doors::{Access, Door};
use crate::tenancy::limiter::Class;
use crate::tenancy::{App, Directory, Entered, Incoming, RecordStore, Role, TenantId, Wants, credential};

/// A person with a session, for data that belongs to the person and not to a tenant.
pub struct SignedIn {
    pub app: App,
    pub directory: Directory,
    pub user: UserId,
    pub session: Option<SessionId>,
    /// Set if the handler asked for it in advance.
    belongs: Option<Vec<UserTenant>>,
}

/// A tenant as one of its members sees it from outside: some of its data, never a store.
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
    /// Tenants that are read in parallel.
    const AT_ONCE: usize = 25;

    pub fn now(&self) -> Timestamp {
        self.directory.now()
    }

    /// The tenants the caller is a member of.
    pub async fn tenants(&self) -> Result<Vec<OwnTenant>> {
        self.each(|tenant| async move {
            let store = self.directory.enter(tenant);
            let (domains, first, edge) = (Domain::all(), Span::first(1), EdgeConfig::key_of());
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

    /// Reads something of each of the caller's tenants. The directory only says where to look: `read` returns nothing without the
    /// membership in the tenant itself.
    async fn each<T, F, Fut>(&self, read: F) -> Result<Vec<T>>
    where
        F: Fn(TenantId) -> Fut,
        Fut: Future<Output = Result<Option<T>>>,
    {
        let belongs = match &self.belongs {
            Some(belongs) => belongs.clone(),
            None => self.directory.all(&UserTenant::of_user(self.user)).await?,
        };
        let mut found = vec![];
        for some in belongs.chunks(Self::AT_ONCE) {
            let reads = some.iter().map(|belongs| read(belongs.tenant));
            found.extend(futures_util::future::try_join_all(reads).await?.into_iter().flatten());
        }
        Ok(found)
    }

    /// Their membership, with the tenant and one more record of it. `None` if the tenant has no membership of the caller, or is being
    /// deleted. Each tenant is read through its own store, one call for each, so that no call reaches two tenants.
    async fn own_tenant<E: Entity<Scope = InTenant>>(&self, tenant: TenantId, also: &Key<E>) -> Result<Option<(Tenant, Role, Option<E>)>> {
        let store = self.directory.enter(tenant);
        let keys = [store.full(&member::Member::key_of(self.user)), store.full(&Tenant::key_of()), store.full(also)];
        let mut items = store.items(&keys).await?.into_iter();
        let mut next = || items.next().flatten();
        let (member, profile, record) = (next(), next(), next());
        let member = store.read::<member::Member>(member.as_ref())?.filter(|member| member.user == self.user);
        let profile =
            store.read::<Tenant>(profile.as_ref())?.filter(|profile| profile.inaccessible(self.now()) != Some(Inaccessible::Gone));
        let Some((member, tenant)) = member.zip(profile) else { return Ok(None) };
        Ok(Some((tenant, member.role, store.read(record.as_ref())?)))
    }
}

impl Door for SignedIn {
    const ACCESS: Access = Access::SignedIn;

    async fn enter(incoming: &Incoming, wants: Wants) -> Result<(Self, Entered)> {
        let app = &incoming.app;
        let visiting = Directory::open(incoming.table.clone(), app.shared_random(), incoming.now, incoming.origin("unknown".into()));
        let caller = credential::verify(incoming, &visiting).await?;
        let principal = caller.principal();
        incoming.facts().principal = Some(principal.clone());
        let directory = Directory::open(incoming.table.clone(), app.shared_random(), incoming.now, incoming.origin(principal.clone()));
        let class = if incoming.is_read() { Class::READ } else { Class::WRITE };
        // Not returned before the session is checked.
        let belongs = async {
            match &caller {
                Caller::Person(person) if wants.belongs => directory.all(&UserTenant::of_user(person.user)).await.map(Some),
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
        incoming.facts().limits.push(report);
        verdict?;
        let Caller::Person(person) = caller else { return Err(Error::Forbidden("This is for people: sign in.".into())) };
        let belongs = belongs?;
        let door = SignedIn { app: app.clone(), directory: directory.clone(), user: person.user, session: person.session, belongs };
        Ok((door, Entered { store: None, workspace: None, directory, principal, user: Some(person.user), read: HashMap::new() }))
    }
}
