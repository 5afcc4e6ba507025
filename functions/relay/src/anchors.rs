//! Notes that what was recorded of consent is to be anchored when its day is over. One note a tenant and day, whatever is recorded.

use jiff::Timestamp;
use records::consent_anchor::ConsentAnchor;
use shared::bounded::Bounded;
use shared::lock::Lock;
use shared::model::due::DueAnchor;
use shared::tenancy::jobs::WorkContext;
use shared::tenancy::{TenantId, conflict};
use shared::{Error, Result};

/// What this instance has noted: the tenant, and when it is due. Such a note stands at least until then.
pub struct Noted(Lock<Bounded<(TenantId, Timestamp), ()>>);

impl Noted {
    const REMEMBERED: usize = 10_000;

    pub async fn note(&self, context: &WorkContext, recorded_at: Timestamp) -> Result<()> {
        let Some(store) = &context.store else { return Err(Error::internal("noting an anchor", "the consent belongs to no tenant")) };
        let (directory, due_at) = (&context.directory, ConsentAnchor::due_at(recorded_at));
        let key = (store.tenant_id(), due_at);
        if self.0.lock().get(&key).is_some() {
            return Ok(());
        }
        // Nothing may be written after a purge.
        let noting = store.transaction().while_kept(store)?;
        match noting.create(directory, &DueAnchor::new(due_at, store.tenant_id()), conflict("It is noted."))?.commit().await {
            Ok(()) | Err(Error::Conflict(_) | Error::NotFound) => {}
            Err(error) => return Err(error),
        }
        self.0.lock().insert(key, ());
        Ok(())
    }
}

impl Default for Noted {
    fn default() -> Self {
        Noted(Lock::new(Bounded::new(Noted::REMEMBERED)))
    }
}
