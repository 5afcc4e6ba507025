//! What follows from something that happened to a mail: for the lead in the campaign, for the lead, for the campaign's numbers and for the list of addresses
//! that get no mail. It is gathered, and then written in one transaction.

use engagement::kept::while_kept;
use engagement::steps;
use jiff::{SignedDuration, Timestamp};
use records::activity::{Activity, ActivityId, ActivityKind};
use records::campaign::{Campaign, CampaignStatus};
use records::campaign_plan::DeliveredMails;
use records::enrolment::{Enrolment, EnrolmentState, ExitReason, SentMail};
use records::lead::{EmailStatus, Lead, LeadEmail};
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
    /// What comes on the list of addresses that get no more mail from the tenant.
    lists: Vec<List>,
    /// Nobody knew of the mail before.
    is_settled: bool,
    /// It is known now that it arrived.
    pub has_arrived: bool,
    /// Where the lead goes on.
    wave: Option<Wave>,
}

/// An entry of the list after what stands there of its address, and the other lead that has the address: as it is from now on, as it was, and what it did.
struct List {
    entry: SuppressionEntry<InTenant>,
    before: Option<Suppression<InTenant>>,
    other: Option<(Lead, Lead, ActivityKind)>,
}

/// A report names the recipients of one mail, which has one.
const MOST_NAMED: usize = 10;
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
            lists: vec![],
            is_settled: false,
            has_arrived: false,
            wave: None,
        }
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

    /// The mail did not arrive, so the campaign ends for the lead, also where the address was taken off the list since.
    /// `of`: the addresses, if the carrier names them. `by_list`: it did not try, because the address is on a list of its own.
    pub async fn bounced(&mut self, at: Timestamp, of: &[Email], by_list: bool) -> Result<()> {
        if self.is_repeated(at, |mail| &mut mail.bounced_at) {
            return Ok(());
        }
        let holds = self.suppress(of, if by_list { Reason::Carrier } else { Reason::HardBounce }, at).await?;
        if holds && self.is_news(of) {
            self.mark(ActivityKind::EmailBounced, Lead::bounced);
        }
        self.exit(ExitReason::Bounced, "bounced");
        Ok(())
    }

    /// The third in a row is taken for a bounce for good.
    pub async fn soft_bounced(&mut self, at: Timestamp, of: &[Email]) -> Result<()> {
        if !self.noted(at, |mail| &mut mail.soft_bounced_at) || !self.is_theirs(of) {
            return Ok(());
        }
        let is_for_good = self.is.lead.as_ref().is_some_and(|lead| lead.soft_bounces + 1 >= Lead::SOFT_BOUNCES);
        if is_for_good && !self.suppress(of, Reason::SoftBounce, at).await? {
            return Ok(());
        }
        self.mark(ActivityKind::EmailBounced, Lead::soft_bounced);
        if is_for_good {
            self.exit(ExitReason::Bounced, "bounced");
        }
        Ok(())
    }

    pub async fn complained(&mut self, at: Timestamp, of: &[Email]) -> Result<()> {
        if self.is_repeated(at, |mail| &mut mail.complained_at) {
            return Ok(());
        }
        let holds = self.suppress(of, Reason::SpamComplaint, at).await?;
        if holds && self.is_news(of) {
            self.mark(ActivityKind::EmailComplained, Lead::complained);
        }
        self.exit(ExitReason::Complained, "complained");
        Ok(())
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
        let lists = self.lists;
        if self.is == self.was && lists.is_empty() {
            return Ok(());
        }
        let is_counted = of_new && self.has_arrived;
        let mut writing = within.transaction();
        if let (Some(is), Some(was)) = (&self.is.enrolment, &self.was.enrolment)
            && is != was
        {
            if self.is.lead == self.was.lead && self.moved.is_empty() && lists.is_empty() && !is_counted {
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
        }
        let entries: Vec<_> = lists.iter().map(|list| (&list.entry, list.before.as_ref())).collect();
        writing = SuppressionEntry::add_all(&entries, writing, (store, store))?;
        for List { other, .. } in &lists {
            if let Some((is, was, kind)) = other {
                let id = ActivityId::new(within.tag(), self.now, within.random());
                let activity = Activity::new(id, is.id, *kind, self.now);
                writing = writing.replace(within, is, was)?.create(within, &activity, conflict("This entry exists."))?;
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
        // Both also where only the click was reported, or before the opening.
        self.activities.extend(opened.then_some(ActivityKind::EmailOpened));
        self.activities.extend(clicked.then_some(ActivityKind::EmailClicked));
    }

    /// Writes a moment down, if it is the first of its kind.
    fn noted(&mut self, at: Timestamp, of: fn(&mut SentMail) -> &mut Option<Timestamp>) -> bool {
        let noted = self.is.enrolment.as_ref().and_then(|enrolment| enrolment.noted(self.mail.step, at, of));
        let is_new = noted.is_some();
        self.is.enrolment = noted.or(self.is.enrolment.take());
        is_new
    }

    /// Whether the lead's place in the campaign says that it was heard before. Where that is gone, the lead and the list say it.
    fn is_repeated(&mut self, at: Timestamp, of: fn(&mut SentMail) -> &mut Option<Timestamp>) -> bool {
        self.is.enrolment.is_some() && !self.noted(at, of)
    }

    /// Whether it says something new of the lead.
    fn is_news(&self, of: &[Email]) -> bool {
        let was_active = self.is.lead.as_ref().is_some_and(|lead| lead.email_status == EmailStatus::Active);
        self.is_theirs(of) && (self.is.enrolment.is_some() || was_active)
    }

    /// Whether one of the addresses is the lead's. It may have another one since.
    fn is_theirs(&self, of: &[Email]) -> bool {
        let has = |lead: &Lead| of.iter().any(|email| email.normalised() == lead.email.normalised());
        self.is.lead.as_ref().is_some_and(|lead| of.is_empty() || has(lead))
    }

    fn mark(&mut self, kind: ActivityKind, change: fn(Lead) -> Lead) {
        self.is.lead = self.is.lead.take().map(change);
        self.activities.push(kind);
    }

    /// What comes on the list: an address that is not on it, and was not taken off it since. The lead may be gone, or have another address: what was said
    /// of these holds all the same. `false`: it was said of the lead's address before that was taken off the list, so it says nothing of the lead any more.
    async fn suppress(&mut self, of: &[Email], reason: Reason, at: Timestamp) -> Result<bool> {
        let Mail { store, .. } = *self.mail;
        let own = self.is.lead.as_ref().map(|lead| lead.email.clone());
        let mut of: Vec<Email> = of.iter().take(MOST_NAMED).cloned().collect();
        if of.is_empty() {
            of.extend(own.clone());
        }
        of.sort_by_key(Email::normalised);
        of.dedup_by_key(|email| email.normalised());
        let mut holds = true;
        for email in of {
            let before = store.find(&Suppression::<InTenant>::key_of(&email)).await?;
            let is_own = own.as_ref().is_some_and(|own| own.normalised() == email.normalised());
            if before.as_ref().is_some_and(|before| before.was_lifted_since(reason, at)) {
                holds &= !is_own;
                continue;
            }
            let id = SuppressionId::new(WorkspaceTag::NONE, self.now, store.random());
            let entry = SuppressionEntry::<InTenant>::new(id, email.clone(), reason, Source::Carrier, None, self.now);
            if entry.says_more(before.as_ref()) {
                self.lists.push(List { other: self.other(&email, reason).await?, entry, before });
            }
        }
        Ok(holds)
    }

    /// The lead that has an address now, where that is not the one that the mail went to.
    async fn other(&self, email: &Email, reason: Reason) -> Result<Option<(Lead, Lead, ActivityKind)>> {
        let Mail { within, lead, .. } = *self.mail;
        let Some(claim) = within.find(&LeadEmail::key_of(email)).await?.filter(|claim| claim.lead != lead) else { return Ok(None) };
        let Some(was) = within.find(&Lead::key_of(claim.lead)).await? else { return Ok(None) };
        if was.email.normalised() != email.normalised() {
            return Err(Error::Conflict("The lead was changed at the same time.".into()));
        }
        let (is, kind) = match reason {
            Reason::SpamComplaint => (was.clone().complained(), ActivityKind::EmailComplained),
            _ => (was.clone().bounced(), ActivityKind::EmailBounced),
        };
        Ok((is.email_status != was.email_status).then_some((is, was, kind)))
    }

    fn exit(&mut self, reason: ExitReason, number: &'static str) {
        let Some(enrolment) = self.is.enrolment.as_ref().filter(|enrolment| enrolment.can_exit()) else { return };
        self.is.enrolment = Some(enrolment.exited(reason));
        self.moved.push((number, 1));
        self.wave = None;
    }
}
