//! One mail of a wave: whether it goes, and what became of it. The enrolment is claimed before the carrier is asked, and says afterwards what is known.

use std::time::Duration;

use engagement::letter::Composer;
use engagement::suppressed::is_suppressed;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use records::admission::missing as lacks;
use records::campaign::{Campaign, CampaignStatus, PausedBy, sender_problems};
use records::enrolment::{Ended, Enrolment, ExitReason, SentMail, Turn};
use records::lead::{EmailStatus, Lead, LeadId};
use records::schedule::Pace;
use records::sequence::{self, Step};
use records::template::Content;
use records::wave::{Counted, Wave, WaveState};
use shared::carriers::{Letter, Outcome};
use shared::model::inbound::InboundId;
use shared::model::mail_ref::MailRef;
use shared::model::period::Month;
use shared::model::tenant::Tenant;
use shared::model::time;
use shared::model::workspace::Workspace;
use shared::tenancy::jobs::WorkContext;
use shared::tenancy::{TenantStore, WorkspaceStore};
use shared::{Error, Result};
use templating::RenderFault;

use crate::Sender;

/// What all mails of a wave have in common.
pub struct Post<'a> {
    pub context: &'a WorkContext,
    pub store: &'a TenantStore,
    pub within: &'a WorkspaceStore,
    pub plain_steps: &'a [Step],
    pub content: &'a Content,
    pub wave: &'a Wave,
    pub inbound: Option<InboundId>,
}

/// What became of a lead of a wave.
#[derive(Debug, PartialEq, Eq)]
pub enum Done {
    /// Its mail went out with this wave.
    Sent,
    /// Nobody knows.
    Unknown,
    Failed,
    /// It was left out now.
    Dropped,
    /// It is not this wave's any more.
    Gone,
    /// It waits: nothing goes at the moment.
    Stopped(Stop),
}

/// Why a wave stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The campaign, or its tenant, does not send any more.
    Paused,
    /// The hours, the day or the month for which its mails count are over.
    Late,
    /// The carrier takes nothing now.
    NotNow,
    /// The carrier takes nothing of this deployment for a while.
    Held,
    /// The carrier does not know the sender.
    Unverified,
    /// A mail does not say who sends it, and from where.
    Lacking,
}

impl Stop {
    /// Why the campaign is paused for it: nothing of it would go.
    pub fn pauses(self) -> Option<PausedBy> {
        match self {
            Stop::Unverified => Some(PausedBy::Carrier),
            Stop::Lacking => Some(PausedBy::Guard),
            Stop::Paused | Stop::Late | Stop::NotNow | Stop::Held => None,
        }
    }
}

impl Sender {
    /// Sends the mail of one lead, unless something is against it.
    pub async fn mail(&self, post: &Post<'_>, lead: LeadId) -> Result<Done> {
        let key = Enrolment::key_of(post.wave.campaign, lead);
        // Again, when something else about the lead was written at the same moment.
        for _ in 0..5 {
            let Some(enrolment) = post.within.find(&key).await? else { return Ok(Done::Gone) };
            let now = self.app.clock().now();
            match enrolment.turn(&post.wave.id, post.wave.step, now) {
                Turn::Leave => return Ok(Done::Gone),
                Turn::Count => return Ok(Done::Sent),
                // A report came before the loss was counted, and takes one off for it.
                Turn::Reported => return Ok(Done::Unknown),
                Turn::Ended(Ended::Unknown) => return Ok(Done::Unknown),
                Turn::Ended(Ended::Failed) => return Ok(Done::Failed),
                Turn::Ended(Ended::Dropped) => return Ok(Done::Dropped),
                Turn::Busy => return Err(busy()),
                Turn::Lost => {
                    let lost = lost(post, &enrolment, now);
                    if post.within.replace_if(&lost, &enrolment).await? {
                        return Ok(done_by_loss(post, &lost));
                    }
                }
                Turn::Go => {
                    if let Some(done) = self.go(post, enrolment).await? {
                        return Ok(done);
                    }
                }
            }
        }
        Err(busy())
    }

    /// `None`: the enrolment was changed meanwhile.
    async fn go(&self, post: &Post<'_>, enrolment: Enrolment) -> Result<Option<Done>> {
        let Post { store, within, wave, .. } = *post;
        let (campaign, lead) = (Campaign::key_of(wave.campaign), Lead::key_of(enrolment.lead));
        let (tenant, workspace) = (Tenant::key_of(), Workspace::key_of(within.tag()));
        let (campaign, lead, tenant, workspace) =
            tokio::try_join!(within.find(&campaign), within.find(&lead), store.find(&tenant), store.find(&workspace))?;
        let now = self.app.clock().now();
        let (Some(campaign), Some(tenant), Some(workspace)) = (campaign, tenant, workspace) else { return Ok(Some(Done::Gone)) };
        if campaign.status != CampaignStatus::Active || tenant.inaccessible(now).is_some() {
            return Ok(Some(Done::Stopped(Stop::Paused)));
        }
        if is_late(wave, &campaign, now)? {
            return Ok(Some(Done::Stopped(Stop::Late)));
        }
        if !sender_problems(&campaign.settings, &workspace.settings).is_empty() {
            return Ok(Some(Done::Stopped(Stop::Lacking)));
        }
        let reason = match &lead {
            None => Some(ExitReason::Deleted),
            Some(lead) => self.against(post, &campaign, lead).await?,
        };
        let (Some(lead), None) = (lead, reason) else {
            let exited = enrolment.left_out(reason.unwrap_or(ExitReason::Deleted));
            return Ok(within.replace_if(&exited, &enrolment).await?.then_some(Done::Dropped));
        };
        let attempt = enrolment.mail(wave.step).map_or(0, |mail| mail.attempts) + 1;
        let letter = match self.letter(post, (&workspace, &campaign), &lead, attempt)? {
            Ok(letter) => letter,
            Err(fault) => {
                let failed = enrolment.failed(format!("render: {fault}"));
                return Ok(within.replace_if(&failed, &enrolment).await?.then_some(Done::Failed));
            }
        };
        let claimed = enrolment.claimed(&wave.id, now);
        if !within.replace_if(&claimed, &enrolment).await? {
            return Ok(None);
        }
        self.give(post, claimed, &letter).await.map(Some)
    }

    async fn give(&self, post: &Post<'_>, claimed: Enrolment, letter: &Letter) -> Result<Done> {
        let (wave, outcome) = (post.wave, self.carrier.send(letter).await);
        let now = self.app.clock().now();
        let next = sequence::from(post.plain_steps, wave.step + 1, now);
        let within = post.within;
        match outcome {
            Outcome::Taken(message) => {
                settled(within, claimed, &|current| current.sent(&wave.id, wave.step, message.clone(), next, now)).await?;
                Ok(Done::Sent)
            }
            Outcome::Never(reason) => {
                settled(within, claimed, &|current| current.failed(reason.clone())).await?;
                Ok(Done::Failed)
            }
            Outcome::Unknown(reason) => {
                tracing::warn!(campaign = %wave.campaign, reason, "the carrier did not answer");
                let lost = settled(within, claimed, &|current| lost(post, current, now)).await?;
                Ok(lost.map_or(Done::Unknown, |lost| done_by_loss(post, &lost)))
            }
            Outcome::NotNow(reason) => self.returned(post, claimed, Stop::NotNow, &reason).await,
            Outcome::Held(reason) => self.returned(post, claimed, Stop::Held, &reason).await,
            Outcome::Unverified(reason) => self.returned(post, claimed, Stop::Unverified, &reason).await,
        }
    }

    async fn returned(&self, post: &Post<'_>, claimed: Enrolment, stop: Stop, reason: &str) -> Result<Done> {
        tracing::warn!(campaign = %post.wave.campaign, reason, "the carrier takes no mail now");
        settled(post.within, claimed, &|current| current.returned(&post.wave.id)).await?;
        Ok(Done::Stopped(stop))
    }

    /// Why a lead gets no mail any more.
    async fn against(&self, post: &Post<'_>, campaign: &Campaign, lead: &Lead) -> Result<Option<ExitReason>> {
        match lead.email_status {
            EmailStatus::Active => {}
            EmailStatus::Unsubscribed => return Ok(Some(ExitReason::Unsubscribed)),
            EmailStatus::Bounced => return Ok(Some(ExitReason::Bounced)),
            EmailStatus::Complained => return Ok(Some(ExitReason::Complained)),
        }
        if is_suppressed(post.store, post.within, &lead.email).await? {
            return Ok(Some(ExitReason::Suppressed));
        }
        Ok((!lacks(&campaign.settings.required_variables, lead).is_empty()).then_some(ExitReason::MissingVariable))
    }

    fn letter(
        &self,
        post: &Post<'_>,
        (workspace, campaign): (&Workspace, &Campaign),
        lead: &Lead,
        attempt: u32,
    ) -> Result<std::result::Result<Letter, RenderFault>> {
        let step = post.wave.step;
        let mail = MailRef::new(post.store.tenant_id(), campaign.id, lead.id, step)
            .ok_or_else(|| Error::internal("writing a mail", "campaign and lead are of two workspaces"))?;
        let (keys, random) = (self.app.keys().mail_refs()?, self.app.random());
        let (settings, sites) = (&campaign.settings, &self.sites);
        let composer = Composer { workspace, settings, sites, keys, random, inbound: post.inbound };
        // One attempt has one id, so that a carrier which takes an id once never sends an attempt twice.
        Ok(composer.letter(post.content, lead, &mail, format!("{}.{}.{step}.{attempt}", campaign.id, lead.id)))
    }
}

/// Nobody said what became of a claimed mail. A report of the carrier may have come before: then it was sent.
fn lost(post: &Post<'_>, claimed: &Enrolment, now: Timestamp) -> Enrolment {
    let step = post.wave.step;
    if claimed.mail(step).is_some_and(SentMail::was_seen) {
        return claimed.sent(&post.wave.id, step, None, sequence::from(post.plain_steps, step + 1, now), now);
    }
    claimed.lost_track(now)
}

fn done_by_loss(post: &Post<'_>, lost: &Enrolment) -> Done {
    if lost.mail(post.wave.step).is_some_and(|mail| mail.wave.as_ref() == Some(&post.wave.id)) {
        return Done::Sent;
    }
    tracing::warn!(campaign = %post.wave.campaign, "nobody knows whether a mail went out");
    Done::Unknown
}

/// Records what became of a claimed mail, and gives that. Something else may have been written about the lead meanwhile: that stays. `None`: it is gone.
async fn settled(
    within: &WorkspaceStore,
    claimed: Enrolment,
    change: &(dyn Fn(&Enrolment) -> Enrolment + Sync),
) -> Result<Option<Enrolment>> {
    let (mut current, mut pauses) = (claimed, [200, 800].into_iter());
    for _ in 0..10 {
        let changed = change(&current);
        match within.replace_if(&changed, &current).await {
            Ok(true) => return Ok(Some(changed)),
            Ok(false) => match within.find(&Enrolment::key_of(current.campaign, current.lead)).await? {
                Some(newer) => current = newer,
                None => return Ok(None),
            },
            Err(error) => match pauses.next() {
                Some(pause) if error.is_transient() => tokio::time::sleep(Duration::from_millis(pause)).await,
                _ => return Err(error),
            },
        }
    }
    Err(busy())
}

/// A wave waits for a worker, and longer for another one after a death.
fn is_late(wave: &Wave, campaign: &Campaign, now: Timestamp) -> Result<bool> {
    let WaveState::Released { counted: Some(Counted { day, month, day_of_new }), .. } = wave.state else { return Ok(false) };
    if day_of_new.is_some_and(|day| day != time::day(now)) {
        return Ok(true);
    }
    let settings = &campaign.settings;
    let zone = TimeZone::get(&settings.timezone).map_err(|error| Error::internal("reading a campaign's zone", error))?;
    let pace = Pace { zone: &zone, window: settings.window.as_ref(), daily_limit: settings.daily_limit };
    Ok(!pace.is_open(day, now) || month != Month::of(now))
}

pub fn busy() -> Error {
    Error::Unavailable { doing: "sending a wave", cause: "another worker is at it".into() }
}
