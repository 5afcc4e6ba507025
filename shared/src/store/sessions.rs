//! The second wall, for deployments that use it. A tenant's partitions are read and written with the credentials of a role session that has
//! the tenant as its tag, and IAM refuses every other partition key. The tag is the tenant that a door opened the store for; it never comes
//! from a key. A wrong key is therefore refused.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sdk_sts::types::Tag;

use crate::bounded::Bounded;
use crate::error::{Error, Result};
use crate::ids::TenantId;
use crate::lock::Lock;
use crate::store::table::{failure, unavailable};

/// The tenants whose partitions the credentials are for: one, or two that share a transaction.
pub(crate) type Tenants = (TenantId, Option<TenantId>);

pub struct Sessions {
    sts: aws_sdk_sts::Client,
    role: String,
    held: Lock<Bounded<Tenants, Arc<Slot>>>,
}

/// Empty until the first call is answered. Other callers wait for the same answer.
type Slot = tokio::sync::Mutex<Option<Credentials>>;

impl Sessions {
    /// The shortest lifetime that STS offers, so that leaked credentials expire soon.
    const SECONDS: i32 = 900;
    const REFRESHED_BEFORE_END: Duration = Duration::from_secs(120);
    const REMEMBERED: usize = 1000;

    pub(crate) fn new(sts: aws_sdk_sts::Client, role: String) -> Self {
        Sessions { sts, role, held: Lock::new(Bounded::new(Self::REMEMBERED)) }
    }

    pub(crate) async fn of(&self, tenants: Tenants) -> Result<Credentials> {
        let slot = self.slot(tenants);
        let mut held = slot.lock().await;
        let now = SystemTime::now();
        if let Some(credentials) = held.as_ref().filter(|credentials| lasts(credentials, now + Self::REFRESHED_BEFORE_END)) {
            return Ok(credentials.clone());
        }
        match self.assume(tenants).await {
            Ok(credentials) => Ok(held.insert(credentials).clone()),
            // They have not expired yet, so the next call can try again.
            Err(error) => match held.as_ref().filter(|credentials| lasts(credentials, now)) {
                Some(credentials) => {
                    tracing::warn!(%error, "a tenant's session could not be renewed in time");
                    Ok(credentials.clone())
                }
                None => Err(error),
            },
        }
    }

    fn slot(&self, tenants: Tenants) -> Arc<Slot> {
        let mut held = self.held.lock();
        held.or_insert_with(tenants, Arc::default).clone()
    }

    async fn assume(&self, (tenant, partner): Tenants) -> Result<Credentials> {
        const DOING: &str = "opening a tenant's session";
        let tag = |key: &str, tenant: TenantId| {
            Tag::builder().key(key).value(tenant.to_string()).build().map_err(|error| Error::internal(DOING, error))
        };
        let request = self
            .sts
            .assume_role()
            .role_arn(&self.role)
            // CloudTrail shows it with each call.
            .role_session_name(format!("tenant-{tenant}"))
            .duration_seconds(Self::SECONDS)
            .tags(tag("tenant", tenant)?);
        let request = match partner {
            None => request,
            Some(partner) => request.tags(tag("partner", partner)?),
        };
        let answer = request.send().await.map_err(|error| failure(DOING, error))?;
        let given = answer.credentials.ok_or_else(|| unavailable(DOING, "STS answered without credentials"))?;
        let ends_at = SystemTime::try_from(given.expiration).map_err(|error| Error::internal(DOING, error))?;
        Ok(Credentials::new(given.access_key_id, given.secret_access_key, Some(given.session_token), Some(ends_at), "tenant"))
    }
}

fn lasts(credentials: &Credentials, until: SystemTime) -> bool {
    credentials.expiry().is_some_and(|ends_at| ends_at > until)
}
