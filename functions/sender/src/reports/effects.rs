//! What follows from something that happened to a mail: for the lead in the campaign, for the lead, for the campaign's numbers and for the list of addresses
//! that get no mail. It is gathered, and then written in one transaction.

use engagement::kept::while_kept;
use engagement::steps;
use jiff::{SignedDuration, Timestamp};
use records::activity::{Activity, ActivityId, ActivityKind};
use records::campaign::{Campaign, CampaignStatus};
use records::campaign_plan::DeliveredMails;
use records::enrolment::{Enrolment, EnrolmentState, ExitReason, SentMail};
use records::lead::{EmailStatus, Lead};
use records::sequence::{self, Next, Step};
use records::suppression::{Reason, Source, Suppression, SuppressionEntry, SuppressionId};
use records::wave::{Wave, WaveId};
use shared::ids::WorkspaceTag;
use shared::model::due::DueWork;
use shared::model::user::Email;
use shared::store::InTenant;
use shared::tenancy::{conflict, missing};
use shared::{Error, Result};

use super::Mail;
use super::notice::{Event, Happened};

/// What stands there of the lead. Both may be gone.
#[derive(Clone, PartialEq)]
pub struct Known {
    pub enrolment: Option<Enrolment>,
    pub lead: Option<Lead>,
}

pub struct Effects<'a> {
    mail: &'a Mail<'a>,
    was: Known,
    is: Known,
    campaign: Option<Campaign>,
    now: Timestamp,
    /// Numbers of the campaign, and by how much.
    moved: Vec<(&'static str, i64)>,
    activities: Vec<ActivityKind>,
    /// The address gets no more mail from the tenant.
    suppressed: Option<Reason>,
    /// Nobody knew of the mail before.
    is_settled: bool,
    /// It is known now that it arrived.
    pub has_arrived: bool,
    /// Where the lead goes on.
    wave: Option<Wave>,
}

/// No person opens a mail so soon after it arrived: a program looked at it.
const SOON: SignedDuration = SignedDuration::from_secs(1);

impl<'a> Effects<'a> {
    pub fn new(mail: &'a Mail<'a>, known: Known, campaign: Option<Campaign>, now: Timestamp) -> Self {
        Effects {
            mail,
            was: known.clone(),
            is: known,
            campaign,
            now,
            moved: vec![],
            activities: vec![],
            suppressed: None,
            is_settled: false,
            has_arrived: false,
            wave: None,
        }
    }

    /// Whether one of the addresses is the lead's. It may have another one since.
    pub fn concerns(&self, of: &[Email]) -> bool {
        let is_theirs = |lead: &Lead| of.iter().any(|email| email.normalised() == lead.email.normalised());
        of.is_empty() || self.is.lead.as_ref().is_none_or(is_theirs)
    }

    /// Whatever happens to a mail, it was sent. One of which nobody knew is counted now, and the lead goes on.
    pub async fn settle(&mut self, event: &Event) -> Result<()> {
        let step = self.mail.step;
        let unknown = self.is.enrolment.clone().filter(|enrolment| enrolment.is_unknown_at(step));
        let (Some(unknown), Some(campaign)) = (unknown, &self.campaign) else { return Ok(()) };
        if matches!(event.happened, Happened::Rejected { .. }) {
            return Ok(());
        }
        let next = match (&self.is.lead, campaign.status) {
            (None, _) | (_, CampaignStatus::Completed) => Next::End,
            _ => {
                let steps = steps::of(self.mail.within, campaign).await?;
                let steps: Vec<Step> = steps.into_iter().map(|step| step.step).collect();
                sequence::from(&steps, step + 1, event.at)
            }
        };
        if let Next::Step { number, due } = next {
            let id = WaveId::new(self.mail.within.random());
            self.wave = Wave::planned(id, self.mail.campaign, number, due, vec![self.mail.lead]);
        }
        let wave = self.wave.as_ref().map(|wave| (wave.step, wave.id.clone()));
        self.is.enrolment = Some(unknown.settled(step, wave, event.at));
        self.is.lead = self.is.lead.take().map(|lead| lead.mailed(event.at));
        self.is_settled = true;
        self.activities.push(ActivityKind::EmailSent);
        self.moved.extend([("sent", 1), ("unknown", -1)]);
        Ok(())
    }

    pub fn delivered(&mut self, at: Timestamp) {
        self.has_arrived = self.noted(at, |mail| &mut mail.delivered_at);
        if self.has_arrived
            && let Some(lead) = &mut self.is.lead
        {
            lead.soft_bounces = 0;
        }
    }

    /// `by_list`: the carrier did not try, because the address is on a list of its own.
    pub fn bounced(&mut self, at: Timestamp, by_list: bool) {
        if self.is_known(at, |mail| &mut mail.bounced_at) {
            return;
        }
        self.is.lead = self.is.lead.take().map(Lead::bounced);
        self.activities.push(ActivityKind::EmailBounced);
        self.ends(ExitReason::Bounced, "bounced", if by_list { Reason::Carrier } else { Reason::HardBounce });
    }

    /// The third in a row is taken for a bounce for good.
    pub fn soft_bounced(&mut self, at: Timestamp) {
        if !self.noted(at, |mail| &mut mail.soft_bounced_at) {
            return;
        }
        self.is.lead = self.is.lead.take().map(Lead::soft_bounced);
        self.activities.push(ActivityKind::EmailBounced);
        if self.is.lead.as_ref().is_some_and(|lead| lead.soft_bounces >= Lead::SOFT_BOUNCES) {
            self.ends(ExitReason::Bounced, "bounced", Reason::SoftBounce);
        }
    }

    pub fn complained(&mut self, at: Timestamp) {
        if self.is_known(at, |mail| &mut mail.complained_at) {
            return;
        }
        self.is.lead = self.is.lead.take().map(Lead::complained);
        self.activities.push(ActivityKind::EmailComplained);
        self.ends(ExitReason::Complained, "complained", Reason::SpamComplaint);
    }

    /// It was taken, but never went out.
    pub fn rejected(&mut self, reason: &str) {
        let Some(enrolment) = self.is.enrolment.as_ref().filter(|enrolment| enrolment.can_exit()) else { return };
        if matches!(enrolment.state, EnrolmentState::Failed { .. }) {
            return;
        }
        if matches!(enrolment.state, EnrolmentState::Unknown { .. }) {
            self.moved.push(("unknown", -1));
        }
        self.is.enrolment = Some(enrolment.rejected(format!("rejected: {reason}")));
        self.moved.push(("failed", 1));
    }

    pub fn opened(&mut self, at: Timestamp, automated: bool) {
        self.engaged(at, automated, ActivityKind::EmailOpened);
    }

    pub fn clicked(&mut self, at: Timestamp, automated: bool) {
        self.engaged(at, automated, ActivityKind::EmailClicked);
    }

    /// Lead and list were changed when the wish was expressed.
    pub fn unsubscribed(&mut self) {
        self.exit(ExitReason::Unsubscribed, "unsubscribed");
    }

    /// `of_new`: the tenant is new, so mails that arrive are counted.
    pub async fn write(self, of_new: bool) -> Result<()> {
        let Mail { context, store, within, campaign, lead, step } = *self.mail;
        if self.is == self.was {
            return Ok(());
        }
        let is_counted = of_new && self.has_arrived;
        let mut writing = within.transaction();
        if let (Some(is), Some(was)) = (&self.is.enrolment, &self.was.enrolment)
            && is != was
        {
            if self.is.lead == self.was.lead && self.moved.is_empty() && !is_counted {
                return if within.replace_if(is, was).await? {
                    Ok(())
                } else {
                    Err(Error::Conflict("The lead was changed at the same time.".into()))
                };
            }
            writing = writing.replace(within, is, was)?;
        }
        writing = while_kept(writing, store, within)?;
        if is_counted {
            writing = writing.tally(store, &DeliveredMails::key_of(), &[("mails", 1)])?;
        }
        if let (Some(is), Some(was)) = (&self.is.lead, &self.was.lead)
            && is != was
        {
            writing = writing.replace(within, is, was)?;
            for kind in &self.activities {
                let id = ActivityId::new(within.tag(), self.now, within.random());
                let activity =
                    Activity { campaign: Some(campaign.prefixed()), step: Some(step), ..Activity::new(id, lead, *kind, self.now) };
                writing = writing.create(within, &activity, conflict("This entry exists."))?;
            }
            if let Some(reason) = self.suppressed {
                let before = store.find(&Suppression::<InTenant>::key_of(&is.email)).await?;
                if before.as_ref().is_none_or(|before| before.current.is_none()) {
                    let id = SuppressionId::new(WorkspaceTag::NONE, self.now, store.random());
                    let entry = SuppressionEntry::<InTenant>::new(id, is.email.clone(), reason, Source::Carrier, None, self.now);
                    writing = entry.add_counted(writing, (store, store), before.as_ref())?;
                }
            }
        }
        if let Some(wave) = &self.wave {
            writing = writing.create(within, wave, conflict("This wave exists."))?;
        }
        if self.is_settled {
            // Even if nobody goes on: the campaign may have waited for this alone.
            let at = self.wave.as_ref().map_or(self.now, |wave| wave.due);
            writing = writing.put(&context.directory, &DueWork::new(at, store.tenant_id(), campaign, within.random()))?;
        }
        if self.campaign.is_some() && !self.moved.is_empty() {
            let moved: Vec<_> = self.moved.iter().copied().chain([("moves", 1)]).collect();
            writing = writing.adjust(within, &Campaign::key_of(campaign), &moved, missing())?;
        }
        writing.commit().await
    }

    fn engaged(&mut self, at: Timestamp, automated: bool, kind: ActivityKind) {
        let Some(before) = self.is.enrolment.clone() else { return };
        let arrived = before.mail(self.mail.step).and_then(|mail| mail.delivered_at);
        let is_soon = arrived.is_some_and(|arrived| at.duration_since(arrived) <= SOON);
        if automated || is_soon {
            self.noted(at, |mail| &mut mail.automated_at);
            return;
        }
        // Who follows a link has opened the mail, also where no picture is shown.
        let clicked = kind == ActivityKind::EmailClicked && self.noted(at, |mail| &mut mail.clicked_at);
        let opened = self.noted(at, |mail| &mut mail.opened_at);
        if !clicked && !opened {
            return;
        }
        let is_first = |of: fn(&SentMail) -> Option<Timestamp>| before.mails.iter().all(|mail| of(mail).is_none());
        if opened && is_first(|mail| mail.opened_at) {
            self.moved.push(("opened", 1));
        }
        if clicked && is_first(|mail| mail.clicked_at) {
            self.moved.push(("clicked", 1));
        }
        self.is.lead = self.is.lead.take().map(|lead| lead.engaged(opened, clicked, at));
        self.activities.push(kind);
    }

    /// Writes a moment down, if it is the first of its kind.
    fn noted(&mut self, at: Timestamp, of: fn(&mut SentMail) -> &mut Option<Timestamp>) -> bool {
        let noted = self.is.enrolment.as_ref().and_then(|enrolment| enrolment.noted(self.mail.step, at, of));
        let is_new = noted.is_some();
        self.is.enrolment = noted.or(self.is.enrolment.take());
        is_new
    }

    /// The same for what concerns the lead even where its place in the campaign is gone. What the lead says then counts.
    fn is_known(&mut self, at: Timestamp, of: fn(&mut SentMail) -> &mut Option<Timestamp>) -> bool {
        match &self.is.enrolment {
            Some(_) => !self.noted(at, of),
            None => self.is.lead.as_ref().is_none_or(|lead| lead.email_status != EmailStatus::Active),
        }
    }

    fn ends(&mut self, reason: ExitReason, number: &'static str, suppressed: Reason) {
        self.exit(reason, number);
        self.suppressed = Some(suppressed);
    }

    fn exit(&mut self, reason: ExitReason, number: &'static str) {
        let Some(enrolment) = self.is.enrolment.as_ref().filter(|enrolment| enrolment.can_exit()) else { return };
        self.is.enrolment = Some(enrolment.exited(reason));
        self.moved.push((number, 1));
        self.wave = None;
    }
}
