//! What follows from an answer for campaigns: a person who answers is left alone until somebody lets them go on, and an answer of a program puts the next mail
//! off. Each can be done twice and is then as if it was done once.

use std::time::Duration;

use engagement::kept::while_kept;
use jiff::{SignedDuration, Timestamp};
use records::campaign::{Campaign, CampaignId};
use records::campaign_plan::CampaignPlan;
use records::enrolment::{Enrolment, EnrolmentState, ExitReason, PauseReason};
use records::lead::LeadId;
use records::sequence::Step;
use records::thread::Nature;
use records::wave::WaveId;
use shared::model::due::DueWork;
use shared::store::Span;
use shared::tenancy::conflict;
use shared::tenancy::jobs::WorkContext;
use shared::{Error, Result};

use crate::receiving::Incoming;

/// Campaigns that are looked at together.
const AT_ONCE: usize = 100;
/// How often an enrolment is looked at again whose mail is being sent, or which others change.
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(300);

/// `answered`: the campaign whose mail was answered, if that is known.
pub async fn on_campaigns(incoming: &Incoming<'_>, context: &WorkContext, lead: LeadId, answered: Option<CampaignId>) -> Result<()> {
    match (incoming.nature, answered) {
        (Nature::Person, _) => {
            if let Some(campaign) = answered {
                note_answer(incoming, campaign, lead, true).await?;
            }
            pause_elsewhere(incoming, lead, answered).await
        }
        (Nature::OutOfOffice, Some(campaign)) => put_off(incoming, context, campaign, lead).await,
        (Nature::OutOfOffice | Nature::Automatic | Nature::Spam, _) => Ok(()),
    }
}

/// The same person may be in other campaigns that are under way.
async fn pause_elsewhere(incoming: &Incoming<'_>, lead: LeadId, except: Option<CampaignId>) -> Result<()> {
    let mut span = Span::first(AT_ONCE);
    loop {
        let launched = incoming.within.ranked(&Campaign::all(), span.clone(), |entry| entry.status.is_launched().then_some(())).await?;
        let keys: Vec<_> = launched.items.iter().map(|campaign| Enrolment::key_of(campaign.id, lead)).collect();
        for enrolment in incoming.within.find_many(&keys).await? {
            let is_under_way = matches!(enrolment.state, EnrolmentState::Waiting { .. } | EnrolmentState::Sending { .. });
            if is_under_way && Some(enrolment.campaign) != except {
                note_answer(incoming, enrolment.campaign, lead, false).await?;
            }
        }
        match launched.next {
            Some(next) => span.after = Some(next),
            None => return Ok(()),
        }
    }
}

/// `is_own`: the answer is to a mail of this campaign, and counts there.
async fn note_answer(incoming: &Incoming<'_>, campaign: CampaignId, lead: LeadId, is_own: bool) -> Result<()> {
    change(incoming, campaign, lead, |campaign, enrolment| {
        let answered = enrolment.answered(incoming.now).filter(|_| is_own);
        let mut after = answered.unwrap_or_else(|| enrolment.clone());
        let is_first = after.was_answered() && !enrolment.was_answered();
        let is_unknown = matches!(enrolment.state, EnrolmentState::Unknown { .. });
        if campaign.settings.pause_on_reply && is_first && is_unknown {
            return Some((after.proven(incoming.now), &[("sent", 1), ("unknown", -1), ("replied", 1), ("moves", 1)]));
        }
        if campaign.settings.pause_on_reply && matches!(enrolment.state, EnrolmentState::Waiting { .. }) {
            after = after.paused(PauseReason::Replied);
        }
        Some((after, if is_first { &[("replied", 1), ("moves", 1)] } else { &[("moves", 1)] }))
    })
    .await
}

/// What the person asks for who unsubscribes with a mail, for their place in the campaign. A mail of which nobody knew has gone.
pub async fn on_unsubscribing(incoming: &Incoming<'_>, lead: LeadId, campaign: CampaignId) -> Result<()> {
    change(incoming, campaign, lead, |_, enrolment| {
        let moves: Moves = match enrolment.state {
            EnrolmentState::Unknown { .. } => &[("sent", 1), ("unknown", -1), ("unsubscribed", 1), ("moves", 1)],
            _ => &[("unsubscribed", 1), ("moves", 1)],
        };
        enrolment.can_exit().then(|| (enrolment.exited(ExitReason::Unsubscribed), moves))
    })
    .await
}

/// Numbers of a campaign, and by how much they move.
type Moves = &'static [(&'static str, i64)];

/// Writes what `change` makes of the lead's place in a campaign, as it is then. `None`: it stays as it is.
async fn change(
    incoming: &Incoming<'_>,
    campaign: CampaignId,
    lead: LeadId,
    change: impl Fn(&Campaign, &Enrolment) -> Option<(Enrolment, Moves)>,
) -> Result<()> {
    let Incoming { store, within, now, .. } = *incoming;
    for _ in 0..TRIES {
        let keys = (Campaign::key_of(campaign), Enrolment::key_of(campaign, lead));
        let (Some(found), Some(enrolment)) = within.find_together((&keys.0, &keys.1)).await? else { return Ok(()) };
        // Its worker says in a moment where it goes on, and then it can be held up. One that died is no reason to wait.
        if is_being_sent(&enrolment, now) {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        let Some((after, moves)) = change(&found, &enrolment).filter(|(after, _)| *after != enrolment) else { return Ok(()) };
        let writing = within.transaction().replace(within, &after, &enrolment)?.adjust(within, &keys.0, moves, gone())?;
        match while_kept(writing, store, within)?.commit().await {
            // Another look finds what was written, or that it is gone.
            Err(Error::Conflict(_) | Error::Missing(_)) => {}
            written => return written,
        }
    }
    Err(Error::Unavailable { doing: "noting an answer", cause: "a mail to the same lead is being sent".into() })
}

fn gone() -> shared::tenancy::Refusal {
    conflict("The campaign was deleted at the same time.")
}

fn is_being_sent(enrolment: &Enrolment, now: Timestamp) -> bool {
    matches!(&enrolment.state, EnrolmentState::Sending { since, .. } if now.duration_since(*since) < Enrolment::LEASE)
}

/// The next mail goes some days later, once for each answer.
async fn put_off(incoming: &Incoming<'_>, context: &WorkContext, campaign: CampaignId, lead: LeadId) -> Result<()> {
    let Incoming { store, within, now, receipt, .. } = *incoming;
    let wave = WaveId::of_answer(&receipt.message_id, campaign);
    for _ in 0..TRIES {
        let keys = (Campaign::key_of(campaign), CampaignPlan::key_of(campaign), Enrolment::key_of(campaign, lead));
        let found = within.find_together((&keys.0, &keys.1, &keys.2)).await?;
        let (Some(campaign), Some(plan), Some(enrolment)) = found else { return Ok(()) };
        if is_being_sent(&enrolment, now) {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        let days = i64::from(campaign.settings.ooo_delay_days);
        let steps: Vec<Step> = engagement::steps::of(within, &campaign).await?.into_iter().map(|step| step.step).collect();
        // Where only a wave knows when it is due, it may be later than any guess: nothing is brought forward.
        let Some(due) = enrolment.due(&steps, plan.started_at).filter(|_| days > 0) else { return Ok(()) };
        let due = due.max(now).saturating_add(SignedDuration::from_hours(24 * days)).unwrap_or(Timestamp::MAX);
        let Some((later, planned)) = enrolment.put_off(&wave, due) else { return Ok(()) };
        let writing = within
            .transaction()
            .replace(within, &later, &enrolment)?
            .create(within, &planned, conflict("This wave exists."))?
            .adjust(within, &Campaign::key_of(campaign.id), &[("moves", 1)], gone())?
            .put(&context.directory, &DueWork::new(planned.due, store.tenant_id(), campaign.id, within.random()))?;
        match while_kept(writing, store, within)?.commit().await {
            Err(Error::Conflict(_) | Error::Missing(_)) => {}
            written => return written,
        }
    }
    Err(Error::Unavailable { doing: "putting off a mail", cause: "a mail to the same lead is being sent".into() })
}
