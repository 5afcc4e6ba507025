//! The edge proxies.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderName;
use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::model::edge::{Batch, Pack, Rollup, Totals};
use crate::model::period::Month;
use crate::model::plan::Plan;
use crate::model::tenant::{Slug, Tenant};
use crate::store::Entity;
use crate::tenancy::doors::{Access, Door};
use crate::tenancy::incoming::RequestFacts;
use crate::tenancy::instance_cache::tenant_named;
use crate::tenancy::{App, Directory, Entered, Incoming, RecordStore, TenantStore, Wants, credential};

const X_INGEST_KEY: HeaderName = HeaderName::from_static("x-ingest-key");

/// The edge proxies, which report what they served. They name a tenant by its slug and may only read and add to its usage, so they get no
/// store. They are not limited, because one batch reports a thousand requests.
pub struct EdgeProxy {
    pub app: App,
    directory: Directory,
    facts: Arc<Lock<RequestFacts>>,
}

/// A tenant as the edge sees it.
pub struct EdgeTenant {
    pub tenant: Tenant,
    pub plan: Plan,
    /// Served in the current month.
    pub used: Totals,
    store: TenantStore,
}

impl Door for EdgeProxy {
    const ACCESS: Access = Access::Edge;

    async fn enter(incoming: &Incoming, _wants: Wants) -> Result<(Self, Entered)> {
        let app = incoming.app.clone();
        let given = incoming.header(&X_INGEST_KEY)?.filter(|given| !given.is_empty()).ok_or(Error::Unauthorized)?;
        if !app.secrets().is_ingest_key(given, incoming.now).await? {
            // The key may contain a comma. A wrong key with a comma is treated as a repeated header.
            incoming.single(&X_INGEST_KEY)?;
            return Err(credential::refused(incoming).await);
        }
        let principal = "edge".to_owned();
        incoming.facts().principal = Some(principal.clone());
        let directory = Directory::open(incoming.table.clone(), app.shared_random(), incoming.now, incoming.origin(principal.clone()));
        let entered = Entered { store: None, workspace: None, directory: directory.clone(), principal, user: None, read: HashMap::new() };
        Ok((EdgeProxy { app, directory, facts: incoming.shared_facts() }, entered))
    }
}

impl EdgeProxy {
    pub fn now(&self) -> Timestamp {
        self.directory.now()
    }

    /// The tenant with this slug, in any state, and its usage of this month.
    pub async fn tenant(&self, slug: &str) -> Result<EdgeTenant> {
        // Only by slug: `tenant_named` would also accept an id.
        let slug = Slug::asked(slug).ok_or(Error::NotFound)?;
        let tenant = tenant_named(&self.app, &self.directory, slug.as_str()).await?.ok_or(Error::NotFound)?;
        let store = self.directory.enter(tenant);
        let keys = [store.full(&Tenant::key_of()), store.full(&Rollup::of_month(Month::of(self.now())))];
        let mut items = store.items(&keys).await?.into_iter();
        let mut next = || items.next().flatten();
        let (profile, used) = (store.read::<Tenant>(next().as_ref())?, store.read::<Rollup>(next().as_ref())?);
        let profile = profile.filter(|profile| profile.slug == slug).ok_or(Error::NotFound)?;
        self.facts.lock().tenant = Some(tenant);
        let plan = self.app.plans().get(&profile.plan).clone();
        Ok(EdgeTenant { tenant: profile, plan, used: used.map(|used| used.totals).unwrap_or_default(), store })
    }
}

impl EdgeTenant {
    /// Records that a batch arrived, or returns the record of the first time.
    pub async fn begin(&self, batch: &Batch) -> Result<Option<Batch>> {
        let taken = crate::tenancy::conflict("This batch came in before.");
        let noting = self.store.transaction().create_or_expired(&self.store, batch, self.store.now().as_second(), taken)?;
        let noting = noting.while_kept(&self.store)?;
        match noting.commit().await {
            Ok(()) => Ok(None),
            Err(Error::Conflict(_)) => self.store.find(&batch.key()).await,
            Err(error) => Err(error),
        }
    }

    /// Writes the packs of a batch. Existing packs stay as they are.
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
