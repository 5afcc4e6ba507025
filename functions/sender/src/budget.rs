//! The share of a tenant in what the carrier takes in a minute.

use shared::model::send_budget::SendBudget;
use shared::store::Entity;
use shared::tenancy::{Directory, TenantStore};
use shared::{Error, Result};

/// How many of the mails that are asked for may go, and the budget's minute.
pub async fn take(directory: &Directory, store: &TenantStore, asked: u32, per_minute: u32) -> Result<(u32, SendBudget)> {
    let empty = SendBudget::of(directory.now());
    let before = directory.find(&empty.before()).await?;
    for _ in 0..10 {
        let current = directory.find(&empty.key()).await?;
        let (granted, budget) = current.as_ref().unwrap_or(&empty).grant(before.as_ref(), store.tenant_id(), asked, per_minute);
        let is_written = match &current {
            Some(current) => directory.replace_if(&budget, current).await?,
            None => match directory.create(&budget, || Error::Conflict("Another one was first.".into())).await {
                Ok(()) => true,
                Err(Error::Conflict(_)) => false,
                Err(error) => return Err(error),
            },
        };
        if is_written {
            return Ok((granted, budget));
        }
    }
    // Many ask at once. The next minute has another budget.
    Ok((0, empty))
}
