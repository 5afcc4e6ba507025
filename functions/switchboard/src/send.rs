//! One message on its way out: plan, claim, call, mark. It is claimed in one transaction that requires its number as it was read, so nothing is claimed after a
//! committed STOP.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use messaging::moving::{self, Allowed};
use messaging::ways::{self, Way};
use records::contact::Contact;
use records::message_campaign::{MessageCampaign, MessageCampaignStatus};
use records::message_template::MessageType;
use records::messaging_settings::MessagingSettings;
use records::peer::Peer;
use records::phone_admission::{Recipient, Verdict, verdict};
use records::phone_message::{AttemptOutcome, MessageStatus, PhoneMessage, Reason, Report, Reported, SendMessage};
use shared::model::line::{LinePeer, LinePool, PhoneLine};
use shared::model::tenant::{Tenant, TenantStatus};
use shared::store::Record as _;
use shared::tenancy::TenantStore;
use shared::tenancy::jobs::WorkContext;
use shared::{Error, Result};

use crate::Switchboard;
use crate::carrier::Outcome;
use crate::common::{Common, Sender};
use crate::lines::{self, Moment};

/// What is known around a message.
pub struct Around {
    pub sender: Arc<Sender>,
    pub peer: Option<Peer>,
    pub pool: Arc<LinePool>,
    /// Of the number's contact, for marketing.
    timezone: Option<String>,
}

/// What is to be done with a message now.
enum Next<'a> {
    /// It moves without a call.
    Settle(Box<PhoneMessage>),
    /// Each of these is tried, in this order.
    Try(Vec<Way<'a>>),
    /// It is asked about once more, or has its turn, on this one.
    Go(Way<'a>),
}

/// What became of a claim.
enum Claim {
    /// The message, and its number, as they are now.
    Mine(Box<PhoneMessage>, Option<Box<Peer>>),
    /// The line belongs, for this number, to somebody else.
    OthersLine,
    /// Somebody else wrote; look again.
    Changed,
    /// A place of the plan is not to be had.
    Waits(Reason),
}

/// How often a message is looked at again that others change at the same time.
const TRIES: usize = 10;
const HOURLY: SignedDuration = SignedDuration::from_hours(1);
/// No longer than a queue can wait.
const BUSY: SignedDuration = lines::FAR;
/// How long a campaign's message waits where a line has no turn soon.
const CROWDED: SignedDuration = SignedDuration::from_mins(1);
/// Where too many want a turn at once.
const CONTESTED: SignedDuration = SignedDuration::from_secs(3);
/// How early a job may be.
const EARLY: SignedDuration = SignedDuration::from_secs(2);
/// After a call without an answer.
const AGAIN: u32 = 20;
/// Calls without an answer, after which nobody knows.
const UNANSWERED: usize = 5;
/// Seconds between two calls at most.
const LATEST: u32 = 900;

impl Switchboard {
    pub async fn send(&self, context: &WorkContext, common: &Common, job: SendMessage) -> Result<()> {
        let store = context.store.as_ref().ok_or_else(|| Error::internal("sending a message", "the job names no tenant"))?;
        let mut alone = None;
        for _ in 0..TRIES {
            let now = self.app.clock().now();
            let Some(mut message) = store.find(&PhoneMessage::key_of(job.message)).await? else { return Ok(()) };
            match (message.status, message.sending_since) {
                (MessageStatus::Queued, _) if message.due_at.is_some_and(|due| due > now + EARLY) => {
                    return Err(busy("it is not its turn"));
                }
                (MessageStatus::Queued, _) => {}
                (MessageStatus::Sending, Some(since)) if now.duration_since(since) < PhoneMessage::LEASE => {
                    return Err(busy("a worker has it"));
                }
                // Whoever had it died, and nobody knows whether it was given away.
                (MessageStatus::Sending, since) => message = message.with_attempt(AttemptOutcome::Unknown, since.unwrap_or(now)),
                _ => return Ok(()),
            }
            let Some(around) = around(context, common, store, &message).await? else { return Ok(()) };
            if alone.is_none() && may_go_twice(&message, &around, store) {
                alone = common.alone_now();
                if alone.is_none() {
                    alone = Some(common.alone().await);
                    // What is known is as old as the wait was long.
                    continue;
                }
            }
            if self.step(context, common, store, &message, &around, now).await? {
                return Ok(());
            }
            common.forget_senders().await;
        }
        Err(busy("others change it"))
    }

    /// `false`: somebody else wrote meanwhile.
    async fn step(
        &self,
        context: &WorkContext,
        common: &Common,
        store: &TenantStore,
        message: &PhoneMessage,
        around: &Around,
        now: Timestamp,
    ) -> Result<bool> {
        let (peer, campaign) = (around.peer.as_ref(), around.sender.campaign.as_ref());
        let settle = |then: PhoneMessage| async move { settle(context, store, (message, &then), peer, campaign).await };
        let (ways, has_turn) = match next(message, around, store, now) {
            Next::Settle(then) => return settle(*then).await,
            Next::Go(way) => (vec![way], true),
            Next::Try(ways) => (ways, false),
        };
        // Why it waits, and how long: for what comes first.
        let mut waits: Option<(Reason, Timestamp)> = None;
        let mut wait = |reason, until| waits = Some(waits.filter(|(_, known)| *known <= until).unwrap_or((reason, until)));
        let (mut refused, mut is_crowded) = (BTreeSet::new(), false);
        for way in ways {
            // What a line says to one channel, it says to all.
            if !refused.insert(way.line.id) {
                continue;
            }
            let Some(carrier) = self.carrier(context, common, way.line).await? else {
                tracing::error!(line = %way.line.id, "the line has no gateway whose secret can be read");
                wait(Reason::NoLine, now + HOURLY);
                continue;
            };
            if !has_turn {
                if self.is_others(context, store, around, way).await? {
                    continue;
                }
                let turns = common.turns().await;
                let turn = lines::turn(&context.directory, way.line, now, message).await?;
                drop(turns);
                match turn {
                    Moment::Now => {}
                    Moment::At(at) => return settle(message.at_turn(way.line.id, at)).await,
                    Moment::Contested => return settle(message.later(Some(now + CONTESTED), None)).await,
                    // It stays in its queue, behind what others send meanwhile.
                    Moment::Busy if message.campaign.is_some() => {
                        is_crowded = true;
                        continue;
                    }
                    Moment::Busy => {
                        wait(Reason::LineBusy, now + BUSY);
                        continue;
                    }
                    Moment::Tomorrow => {
                        wait(Reason::LineBusy, moving::tomorrow(now));
                        continue;
                    }
                }
            }
            let (claimed, peer) = match self.claim(context, store, message, around, way, now).await? {
                Claim::Mine(claimed, peer) => (claimed, peer),
                // Somebody else's since it was chosen: another one may be free.
                Claim::OthersLine if has_turn && !message.is_unanswered() => return settle(message.later(None, None)).await,
                Claim::OthersLine => continue,
                Claim::Changed => return Ok(false),
                Claim::Waits(reason) => {
                    wait(reason, moving::tomorrow(now));
                    break;
                }
            };
            let outcome = self.call(store, &claimed, &carrier).await?;
            self.mark(context, store, *claimed, peer.map(|peer| *peer), outcome).await?;
            // Asked again and again, it would use up the day of all.
            if matches!(outcome, Outcome::NotNow(_)) {
                let _turns = common.turns().await;
                lines::give_back(&context.directory, way.line.id, now).await?;
            }
            return Ok(true);
        }
        if is_crowded {
            return settle(message.later(Some(now + CROWDED), None)).await;
        }
        let (reason, until) = waits.unwrap_or((Reason::NoLine, now + HOURLY));
        // Whoever may have it is asked again, and nobody else.
        settle(if message.is_unanswered() { message.asked_again(until.min(now + BUSY)) } else { message.held(reason, until) }).await
    }

    /// Whether a line is somebody else's for the number, so that no turn of it is spent. The claim asks again.
    async fn is_others(&self, context: &WorkContext, store: &TenantStore, around: &Around, way: Way<'_>) -> Result<bool> {
        let Some(peer) = around.peer.as_ref().filter(|peer| !peer.lines.contains(&way.line.id)) else { return Ok(false) };
        let holder = context.directory.find(&LinePeer::key_of(way.line.id, &peer.phone_number)).await?;
        Ok(holder.is_some_and(|holder| !holder.is_of(store.tenant_id())))
    }

    async fn claim(
        &self,
        context: &WorkContext,
        store: &TenantStore,
        message: &PhoneMessage,
        around: &Around,
        way: Way<'_>,
        now: Timestamp,
    ) -> Result<Claim> {
        let taken = message.taken(way.line.id, &way.line.phone_number, way.channel, now);
        let writing = store.transaction().replace(store, &taken, message)?;
        let plan = self.app.plans().get(&around.sender.tenant.plan).within(&around.sender.tenant.limits.unwrap_or_default());
        let allowed = Allowed { plan: &plan, called: &around.sender.tenant.plan };
        let peer = around.peer.as_ref();
        // A place of its own, where the message that had taken one for the number did not go out. A confirmation needs none.
        let (writing, expecting) = match message.is_confirmation {
            true => (writing, None),
            false => moving::take_places(writing, store, (message, true), peer, allowed)?,
        };
        let own = expecting.as_ref().or(peer).cloned().unwrap_or_else(|| Peer::new(message.to.clone(), store.random()));
        let on_line = own.on_line(way.line.id);
        let changed = on_line.or(expecting);
        let mut writing = match (peer, &changed) {
            (_, Some(changed)) => moving::write_peer(writing, store, peer, changed)?,
            (Some(peer), None) => writing.require_unchanged(store, peer, moving::contested())?,
            (None, None) => writing,
        };
        if !own.lines.contains(&way.line.id) {
            writing = moving::claim_line(writing, &context.directory, store, way.line.id, &message.to)?;
        }
        match writing.commit().await {
            Ok(()) => Ok(Claim::Mine(taken.into(), changed.or_else(|| peer.cloned()).map(Box::new))),
            Err(Error::Conflict(refusal)) if refusal == moving::OTHERS_LINE => Ok(Claim::OthersLine),
            Err(Error::Conflict(_) | Error::NotFound | Error::Missing(_)) => Ok(Claim::Changed),
            Err(refusal) => moving::limited(&refusal).map(Claim::Waits).ok_or(refusal),
        }
    }

    /// Notes what the carrier said, beside what its receipts may have said already.
    async fn mark(
        &self,
        context: &WorkContext,
        store: &TenantStore,
        claimed: PhoneMessage,
        claimed_peer: Option<Peer>,
        outcome: Outcome,
    ) -> Result<()> {
        let now = self.app.clock().now();
        let (mut message, mut peer) = (claimed, claimed_peer);
        for _ in 0..TRIES {
            let Some(then) = after(&message, outcome, now) else { return Ok(()) };
            if settle(context, store, (&message, &then), peer.as_ref(), None).await? {
                return Ok(());
            }
            let (newer, newer_peer) = store.find_together((&PhoneMessage::key_of(message.id), &Peer::key_of(&message.to))).await?;
            let Some(newer) = newer else { return Ok(()) };
            (message, peer) = (newer, newer_peer);
        }
        Err(busy("others change it"))
    }
}

/// `None`: its tenant is gone, and it with that.
pub async fn around(context: &WorkContext, common: &Common, store: &TenantStore, message: &PhoneMessage) -> Result<Option<Around>> {
    let ((sender, peer), pool) = tokio::try_join!(sender_and_peer(common, store, message), common.lines(&context.directory))?;
    let Some(sender) = sender else { return Ok(None) };
    let contact = peer.as_ref().and_then(|peer| peer.contact).filter(|_| message.message_type == MessageType::Marketing);
    let timezone = match contact {
        Some(contact) => store.find(&Contact::key_of(contact)).await?.and_then(|contact| contact.timezone),
        None => None,
    };
    Ok(Some(Around { sender, peer, pool, timezone }))
}

async fn sender_and_peer(common: &Common, store: &TenantStore, message: &PhoneMessage) -> Result<(Option<Arc<Sender>>, Option<Peer>)> {
    let peer = Peer::key_of(&message.to);
    let read = async {
        let (tenant, settings) = (Tenant::key_of(), MessagingSettings::key_of());
        let (tenant, peer, settings, campaign) = match &message.campaign.map(MessageCampaign::key_of) {
            Some(campaign) => store.find_together((&tenant, &peer, &settings, campaign)).await?,
            None => {
                store.find_together((&tenant, &peer, &settings)).await.map(|(tenant, peer, settings)| (tenant, peer, settings, None))?
            }
        };
        // What is being deleted can be restored for a week, and waits.
        let tenant = tenant.filter(|tenant| tenant.status != TenantStatus::Closed);
        let sender = tenant.map(|tenant| {
            let settings = settings.unwrap_or_else(|| MessagingSettings::unset(tenant.created_at));
            Arc::new(Sender { tenant, settings, campaign })
        });
        Ok((sender, peer))
    };
    match common.sender((store.tenant_id(), message.campaign), read).await? {
        (sender, Some(peer)) => Ok((sender, peer)),
        (sender, None) => Ok((sender, store.find(&peer).await?)),
    }
}

/// Whether it may be given to a carrier that would take it a second time.
fn may_go_twice(message: &PhoneMessage, around: &Around, store: &TenantStore) -> bool {
    let may = |line: &PhoneLine| !line.deduplicates();
    let ways = || ways::of(&around.pool, message, around.peer.as_ref(), store.tenant_id());
    around.pool.lines.iter().any(may) && ways().iter().any(|way| may(way.line))
}

/// What a message becomes that may not go now, whatever line there is.
pub fn stopped(message: &PhoneMessage, around: &Around, now: Timestamp) -> Option<PhoneMessage> {
    // Perhaps it went. Nobody asks again, so nobody will know.
    let ended = |then: PhoneMessage| if message.is_unanswered() { unknown(message, around, now) } else { then };
    let is_in = |status| around.sender.campaign.as_ref().is_some_and(|campaign| campaign.status == status);
    let recipient = Recipient { peer: around.peer.as_ref(), timezone: around.timezone.as_deref() };
    match verdict(message, recipient, &around.sender.settings, now) {
        Verdict::Blocked(reason) => Some(ended(message.blocked(reason))),
        _ if message.has_expired(now) => Some(ended(message.failed(Reason::Expired, now))),
        _ if is_in(MessageCampaignStatus::Cancelled) => Some(message.cancelled().unwrap_or_else(|| unknown(message, around, now))),
        _ if around.sender.tenant.inaccessible(now).is_some() && message.is_unanswered() => Some(unknown(message, around, now)),
        _ if around.sender.tenant.inaccessible(now).is_some() => Some(message.held(Reason::TenantSuspended, now + HOURLY)),
        // One that may have gone is asked about in a pause too.
        _ if is_in(MessageCampaignStatus::Paused) && !message.is_unanswered() => {
            Some(message.held(Reason::CampaignPaused, message.valid_until))
        }
        // One that may have gone is asked about at night too.
        Verdict::Waits(reason, until) if !message.is_unanswered() => Some(message.held(reason, until)),
        Verdict::Waits(..) | Verdict::May => None,
    }
}

/// It may have gone, and is not asked about again. Of a carrier that would take it a second time, its reports say later whether it went.
fn unknown(message: &PhoneMessage, around: &Around, now: Timestamp) -> PhoneMessage {
    let line = message.line.and_then(|line| around.pool.find(line));
    if line.is_none_or(PhoneLine::deduplicates) { message.unknown() } else { message.unknown_until_reported(now) }
}

fn next<'a>(message: &PhoneMessage, around: &'a Around, store: &TenantStore, now: Timestamp) -> Next<'a> {
    if let Some(then) = stopped(message, around, now) {
        return Next::Settle(Box::new(then));
    }
    let line = message.line.and_then(|line| around.pool.find(line));
    let is_given = message.is_unanswered();
    match (line, message.channel) {
        // Whoever was asked is asked again, and nobody else: it may have it. Who would take it a second time is not asked.
        (Some(line), Some(channel)) if is_given && line.deduplicates() => return Next::Go(Way { line, channel }),
        _ if is_given => return Next::Settle(Box::new(unknown(message, around, now))),
        _ => {}
    }
    let ways = ways::of(&around.pool, message, around.peer.as_ref(), store.tenant_id());
    // Its turn, which it has waited for.
    let mine = ways.iter().find(|way| message.due_at.is_some() && message.line == Some(way.line.id));
    match mine {
        Some(way) => Next::Go(*way),
        None if message.next_channels().is_empty() => Next::Settle(Box::new(message.failed(message.last_reason(), now))),
        None => Next::Try(ways),
    }
}

/// `None`: receipts have said more already.
fn after(message: &PhoneMessage, outcome: Outcome, now: Timestamp) -> Option<PhoneMessage> {
    let attempted = |outcome| message.with_attempt(outcome, now);
    let sent = Report { status: Reported::Sent, reason: None, channel: None, at: now };
    match (message.status, outcome) {
        (MessageStatus::Sending, _) => {}
        // It went out, and failed after that.
        (MessageStatus::Failed, Outcome::Taken) => return attempted(AttemptOutcome::Taken).reported(sent),
        _ => return None,
    }
    match outcome {
        Outcome::Taken => attempted(AttemptOutcome::Taken).reported(sent),
        Outcome::Never(reason) => {
            let refused = attempted(AttemptOutcome::Refused);
            let is_of_channel = matches!(reason, Reason::NoImessage | Reason::NoRcs);
            Some(match reason {
                Reason::OptedOut => refused.blocked(reason),
                _ if is_of_channel && !refused.next_channels().is_empty() => refused.later(None, Some(reason)),
                _ => refused.failed(reason, now),
            })
        }
        Outcome::NotNow(seconds) => {
            let refused = attempted(AttemptOutcome::Later);
            let grown = refused.tries(AttemptOutcome::Later).min(10).saturating_sub(1);
            let seconds = seconds.saturating_mul(1 << grown).clamp(seconds, LATEST.max(seconds));
            let at = now + SignedDuration::from_secs(seconds.into());
            // One that was asked before without an answer may have it.
            Some(if refused.was_unanswered() { refused.asked_again(at) } else { refused.later(Some(at), None) })
        }
        Outcome::Lost => Some(attempted(AttemptOutcome::Unknown).unknown_until_reported(now)),
        Outcome::Unanswered => {
            let unanswered = attempted(AttemptOutcome::Unknown);
            let is_enough = unanswered.tries(AttemptOutcome::Unknown) >= UNANSWERED;
            let at = now + SignedDuration::from_secs(AGAIN.into());
            Some(if is_enough { unanswered.unknown() } else { unanswered.asked_again(at) })
        }
    }
}

/// `false`: somebody else wrote first. What a pause holds is held only while it is one: whoever ends it goes through what was held by then.
pub async fn settle(
    context: &WorkContext,
    store: &TenantStore,
    (before, after): (&PhoneMessage, &PhoneMessage),
    peer: Option<&Peer>,
    campaign: Option<&MessageCampaign>,
) -> Result<bool> {
    let mut writing = moving::change(store.transaction(), store, (before, after), peer)?;
    if let Some(paused) = campaign.filter(|_| after.reason == Some(Reason::CampaignPaused)) {
        writing = writing.require_unchanged(store, paused, moving::contested())?;
    }
    match moving::note_due(writing, &context.directory, store, after)?.commit().await {
        Ok(()) => Ok(true),
        Err(Error::Conflict(_) | Error::NotFound | Error::Missing(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn busy(cause: &'static str) -> Error {
    Error::Unavailable { doing: "sending a message", cause: cause.into() }
}
