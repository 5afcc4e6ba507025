//! Tenants of which few mails have arrived so far. A carrier judges a deployment by all of its tenants, so campaigns of new ones begin slowly.

use records::campaign_plan::DeliveredMails;
use shared::Result;
use shared::tenancy::TenantStore;

use crate::Sender;

impl Sender {
    /// How many mails of its campaigns may go in a day. `None`: the tenant is not new, or the deployment does not mind.
    pub async fn daily_of_new(&self, store: &TenantStore) -> Result<Option<u64>> {
        let Some(daily) = self.new_tenant_daily else { return Ok(None) };
        if self.known.lock().get(&store.tenant_id()).is_some() {
            return Ok(None);
        }
        let delivered = store.find(&DeliveredMails::key_of()).await?.map_or(0, |delivered| delivered.mails);
        if delivered < DeliveredMails::ENOUGH {
            return Ok(Some(daily));
        }
        // It never becomes new again.
        self.known.lock().insert(store.tenant_id(), ());
        Ok(None)
    }
}
