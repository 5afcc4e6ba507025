//! How the deliveries to a webhook fare. What fails for days, or asks for it, is disabled, and its owners are told.

use jiff::Timestamp;
use records::webhook::{HealthState, Reached, Webhook, WebhookChanges, WebhookHealth, WebhookId};
use shared::model::mail::{Mail, MailContent};
use shared::model::tenant::Tenant;
use shared::store::Record as _;
use shared::tenancy::jobs::WorkContext;
use shared::tenancy::{TenantStore, conflict};
use shared::{Error, Result, owners};

use crate::pace::Turns;

/// How often it is tried when others note something at the same time.
const TRIES: usize = 10;

/// After an attempt at `at`. `seen`: the health as it was a moment ago, if that is known. Mostly it says that there is nothing to write. Where many meet, one
/// that is not counted does no harm, for the next ones are: only what disables must be written.
pub async fn note(
    context: &WorkContext,
    turns: &Turns,
    store: &TenantStore,
    id: WebhookId,
    seen: Option<&WebhookHealth>,
    (reached, at): (Reached, Timestamp),
) -> Result<()> {
    if seen.is_some_and(|health| health.after(reached, at).is_none()) {
        return Ok(());
    }
    let _mine = turns.next().await;
    let mut mails_are_due = true;
    for _ in 0..TRIES {
        let known = store.find(&WebhookHealth::key_of(id)).await?;
        let before = known.clone().unwrap_or_else(|| WebhookHealth::new(id));
        let Some(after) = before.after(reached, at) else { return Ok(()) };
        let transaction = store.transaction().while_kept(store)?;
        let mut transaction = match &known {
            Some(known) => transaction.replace(store, &after, known)?,
            None => transaction.create(store, &after, conflict("Somebody noted something."))?,
        };
        if mails_are_due && after.is_mailed_after(&before) {
            transaction = transaction.allow(&context.webhook_mails(store))?;
            for mail in mails(context, store, &after, reached).await? {
                transaction = transaction.create(&context.directory, &mail, conflict("It is written."))?;
            }
        }
        let transaction = if after.state == HealthState::Disabled {
            let Some(webhook) = store.find(&Webhook::key_of(id)).await? else { return Ok(()) };
            match webhook.changed(&WebhookChanges { enabled: Some(false), ..WebhookChanges::default() }, store.now()) {
                Some(disabled) => transaction.replace(store, &disabled, &webhook)?,
                // Whoever enables or deletes it meanwhile counts.
                None => transaction.require_unchanged(store, &webhook, conflict("Somebody changed the webhook."))?,
            }
        } else {
            transaction.require(store, &Webhook::key_of(id), Box::new(|_| Error::NotFound))?
        };
        match transaction.commit().await {
            Err(Error::TooManyRequests(_)) => mails_are_due = false,
            Err(Error::Conflict(_)) => {}
            // The webhook or its tenant is gone, and nothing of it is kept.
            Err(Error::NotFound | Error::Missing(_)) => return Ok(()),
            written => return written,
        }
    }
    if reached == Reached::NeverAgain {
        return Err(Error::Unavailable { doing: "disabling a webhook", cause: "others change it all the time".into() });
    }
    tracing::warn!(webhook = %id, "an attempt is not counted in the health of its webhook");
    Ok(())
}

async fn mails(context: &WorkContext, store: &TenantStore, health: &WebhookHealth, reached: Reached) -> Result<Vec<Mail>> {
    let Some(tenant) = store.find(&Tenant::key_of()).await? else { return Ok(vec![]) };
    let content = |name| MailContent::WebhookFailing {
        name,
        tenant_name: tenant.name.clone(),
        webhook: health.id.prefixed(),
        failing_since: health.failing_since.filter(|_| reached != Reached::NeverAgain),
        is_disabled: health.state == HealthState::Disabled,
    };
    owners::mails(context, store, &tenant, content).await
}
