//! What a function holds between requests: configuration, clock, randomness, the table, keys, limits. Cheap to clone.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::aws::Aws;
use crate::aws::https::Https;
use crate::aws::secrets::{Jwks, Keys, Secrets, SessionSigner};
use crate::clock::Clock;
use crate::config::Config;
use crate::crypto::Random;
use crate::error::Result;
use crate::lock::Lock;
use crate::model::plan::Plans;
use crate::store::sessions::Sessions;
use crate::store::{Records, Table};
use crate::tenancy::credential::{Issuers, KnownKeys, KnownTokens};
use crate::tenancy::{InstanceCache, Limiter};

#[derive(Clone)]
pub struct App(Arc<Inner>);

/// A start waits no longer than this for a connection.
const WARM_UP: Duration = Duration::from_secs(1);

struct Inner {
    config: Config,
    plans: Plans,
    records: Records,
    clock: Arc<dyn Clock>,
    random: Arc<Random>,
    table: Table,
    table_connections: Https,
    secrets: Secrets,
    limiter: Limiter,
    issuers: Issuers,
    known_keys: KnownKeys,
    known_tokens: KnownTokens,
    instance_cache: InstanceCache,
    aws: Aws,
    kept: Lock<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

impl App {
    pub fn new(config: Config, plans: Plans, records: Records, clock: Arc<dyn Clock>, random: Random, aws: &Aws) -> Self {
        let sessions = config.tenant_role.clone().map(|role| Sessions::new(aws.sts(), role));
        let table = Table::new(aws.dynamodb(), &config.table, sessions);
        let limiter = Limiter::new(config.limits.clone());
        let secrets = Secrets::new(aws.secrets_manager(), &config);
        let issuers = Issuers::new(config.issuers.clone());
        App(Arc::new(Inner {
            config,
            plans,
            records,
            clock,
            random: Arc::new(random),
            table,
            table_connections: aws.table_connections().clone(),
            secrets,
            limiter,
            issuers,
            known_keys: KnownKeys::default(),
            known_tokens: KnownTokens::default(),
            instance_cache: InstanceCache::default(),
            aws: aws.clone(),
            kept: Lock::new(HashMap::new()),
        }))
    }

    pub fn config(&self) -> &Config {
        &self.0.config
    }

    pub fn plans(&self) -> &Plans {
        &self.0.plans
    }

    /// All records of the deployment.
    pub fn records(&self) -> Records {
        self.0.records
    }

    pub fn clock(&self) -> &dyn Clock {
        &*self.0.clock
    }

    pub fn random(&self) -> &Random {
        &self.0.random
    }

    pub(crate) fn shared_random(&self) -> Arc<Random> {
        self.0.random.clone()
    }

    pub(crate) fn table(&self) -> &Table {
        &self.0.table
    }

    pub(crate) fn limiter(&self) -> &Limiter {
        &self.0.limiter
    }

    pub(crate) fn issuers(&self) -> &Issuers {
        &self.0.issuers
    }

    pub(crate) fn known_keys(&self) -> &KnownKeys {
        &self.0.known_keys
    }

    pub(crate) fn known_tokens(&self) -> &KnownTokens {
        &self.0.known_tokens
    }

    pub(crate) fn instance_cache(&self) -> &InstanceCache {
        &self.0.instance_cache
    }

    /// For clients of services that only one function uses.
    pub fn aws(&self) -> &Aws {
        &self.0.aws
    }

    /// What a function keeps for itself between requests, one of each type: made when it is first asked for.
    pub fn kept<T: Send + Sync + 'static>(&self, make: impl FnOnce(&App) -> T) -> Arc<T> {
        let mut kept = self.0.kept.lock();
        let known = kept.get(&TypeId::of::<T>()).and_then(|known| known.clone().downcast::<T>().ok());
        known.unwrap_or_else(|| {
            let made = Arc::new(make(self));
            kept.insert(TypeId::of::<T>(), made.clone());
            made
        })
    }

    pub fn secrets(&self) -> &Secrets {
        &self.0.secrets
    }

    /// The keys derived from the secrets of this function.
    pub fn keys(&self) -> &Keys {
        self.0.secrets.keys()
    }

    /// The public keys of sessions, read again when they are too old.
    pub async fn jwks(&self) -> Result<Arc<Jwks>> {
        self.0.secrets.jwks(self.0.clock.now(), false).await
    }

    /// The private key of sessions. Only the `auth` function may read it.
    pub async fn signer(&self) -> Result<Arc<SessionSigner>> {
        self.0.secrets.signer(self.0.clock.now()).await
    }

    /// Opens connections and fetches keys during the start, which Lambda does not limit to the function's own CPU share.
    pub async fn warm_up(&self) -> Result<()> {
        let table = async {
            let key = crate::store::table::FullKey { pk: "G#warm-up".into(), sk: "warm-up".into() };
            // Whether the table works is checked by the first request. Here only the connection matters.
            match timeout(WARM_UP, self.0.table.metered().get(key, false)).await {
                Ok(Err(error)) => tracing::warn!(%error, "warming up the table's connection failed"),
                // As many connections as a door has calls in flight at once.
                Ok(Ok(_)) => self.0.table_connections.open_spare(2).await,
                Err(_) => {}
            }
        };
        let secrets = self.0.secrets.fetch_to_sign(self.0.clock.now());
        let (_, secrets) = tokio::join!(table, secrets);
        secrets
    }

    /// Fetches the secrets of this function, but never the signing key.
    pub async fn fetch_secrets(&self) -> Result<()> {
        self.0.secrets.fetch(self.0.clock.now()).await
    }
}
