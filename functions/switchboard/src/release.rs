//! Messages that waited go on: those that were scheduled, and those that something was in the way of. Those of which nobody knows whether they went out fail
//! when their carrier would have said so.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use messaging::moving::{self, Allowed};
use records::phone_message::{AttemptOutcome, MessageStatus, PhoneMessage, PhoneMessageId, Reason};
use shared::model::due_messages::DueMessages;
use shared::tenancy::TenantStore;
use shared::tenancy::jobs::WorkContext;
use shared::{Error, Result};

use crate::Switchboard;
use crate::common::Common;
use crate::send::{around, settle, stopped};

/// Messages of one job. A sweep brings the rest to mind.
const AT_ONCE: usize = 200;
const TRIES: usize = 10;
/// After so many refusals a message of a campaign is worth no more than another one.
const REFUSED: usize = 10;
/// Several jobs come together, and have the time of one.
const PATIENCE: Duration = Duration::from_secs(10);

impl Switchboard {
    pub async fn release(&self, context: &WorkContext, common: &Common, due: &DueMessages) -> Result<()> {
        let store = context.waiting(due);
        let now = self.app.clock().now();
        let began = Instant::now();
        // One that cannot go on holds up no other.
        let mut failed = self.revive(context, &store).await.err();
        let mut waiting = store.lines(&PhoneMessage::all()).await?;
        waiting.retain(|waiting| waiting.due_at <= now);
        // Oldest first, so that whoever waited longest has the day's first places.
        waiting.sort_by_key(|waiting| (waiting.is_behind, waiting.id));
        let mut has_more = waiting.len() > AT_ONCE;
        for waiting in waiting.into_iter().take(AT_ONCE) {
            if began.elapsed() > PATIENCE {
                has_more = true;
                break;
            }
            if let Err(error) = self.wake(context, common, &store, waiting.id, now).await {
                tracing::error!(message = %waiting.id, %error, "a message could not go on");
                failed = Some(error);
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        if has_more {
            // At once, by the stream.
            context.directory.replace_if(&due.onward(), due).await?;
            return Ok(());
        }
        // The index trails: what it does not show yet is found by the next sweep.
        if due.is_past(now) {
            let directory = &context.directory;
            let done = directory.transaction().delete_unchanged(directory, due)?.commit().await;
            // One that was written again has more to say.
            return if matches!(done, Err(Error::Conflict(_) | Error::NotFound)) { Ok(()) } else { done };
        }
        Ok(())
    }

    /// One that is due, or that a pause of its campaign holds, goes on if it may.
    pub async fn wake(
        &self,
        context: &WorkContext,
        common: &Common,
        store: &TenantStore,
        id: PhoneMessageId,
        now: Timestamp,
    ) -> Result<()> {
        for _ in 0..TRIES {
            let Some(message) = store.find(&PhoneMessage::key_of(id)).await? else { return Ok(()) };
            let is_due = message.due_at.is_none_or(|due| due <= now) || message.reason == Some(Reason::CampaignPaused);
            if !message.is_awaited() || !is_due {
                return Ok(());
            }
            let Some(around) = around(context, common, store, &message).await? else { return Ok(()) };
            let (peer, campaign) = (around.peer.as_ref(), around.sender.campaign.as_ref());
            if message.status == MessageStatus::Unknown {
                let then = message.failed(Reason::NeverAccepted, now);
                if settle(context, store, (&message, &then), peer, campaign).await? {
                    return Ok(());
                }
                common.forget_senders().await;
                continue;
            }
            // A campaign takes as long as lines, nights and the plan ask for, but not as long as a carrier refuses.
            let is_refused = message.tries(AttemptOutcome::Later) >= REFUSED;
            let current = if message.campaign.is_some() && !is_refused { message.renewed(now) } else { message.clone() };
            if let Some(then) = stopped(&current, &around, now) {
                if settle(context, store, (&message, &then), peer, campaign).await? {
                    return Ok(());
                }
                common.forget_senders().await;
                continue;
            }
            let queued = current.queued(now);
            let plan = self.app.plans().get(&around.sender.tenant.plan).within(&around.sender.tenant.limits.unwrap_or_default());
            let allowed = Allowed { plan: &plan, called: &around.sender.tenant.plan };
            let writing = store.transaction().replace(store, &queued, &message)?;
            let (writing, expecting) = match message.is_confirmation {
                true => (writing, None),
                false => moving::take_places(writing, store, (&queued, message.is_counted()), peer, allowed)?,
            };
            let writing = match expecting {
                Some(expecting) => moving::write_peer(writing, store, peer, &expecting)?,
                None => writing,
            };
            let writing = moving::count(writing, store, &[], message.campaign_tally(&queued))?;
            let reason = match writing.commit().await {
                Ok(()) => return Ok(()),
                Err(Error::Conflict(_) | Error::NotFound | Error::Missing(_)) => {
                    common.forget_senders().await;
                    continue;
                }
                Err(refusal) => moving::limited(&refusal).ok_or(refusal)?,
            };
            if settle(context, store, (&message, &current.held(reason, moving::tomorrow(now))), peer, campaign).await? {
                return Ok(());
            }
            common.forget_senders().await;
        }
        Err(Error::Unavailable { doing: "waking a message up", cause: "others change it".into() })
    }
}
