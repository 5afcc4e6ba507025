//! A lead in a campaign: claim, proof and listing in one. It says which wave may do the lead's next step, so whatever two workers do at once, each mail
//! goes once.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::campaign::CampaignId;
use crate::lead::LeadId;
use crate::rule::StepEvent;
use crate::sequence::{self, Next, Step};
use crate::wave::{Wave, WaveId};
use shared::ids::Segment;
use shared::store::{Collection, Entity, IN_WORKSPACE, InWorkspace, Key, List, ListEntry, Listed, Packed, Restore, Within};
use shared::{Error, Result};

/// `enrolments` / `<campaign>#<lead>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Enrolment {
    pub campaign: CampaignId,
    pub lead: LeadId,
    pub state: EnrolmentState,
    /// The step that it is at; of one that has ended, the last.
    pub step: u32,
    /// The page of the plan with which it came; 0: by hand.
    pub page: u32,
    /// What is known of its mails, at most one of each step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mails: Vec<SentMail>,
    /// The wave that brought it where it gets no mail, and counts that before it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<WaveId>,
    /// When the step that it waits for is due, where an answer of a program put that off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub put_off_to: Option<Timestamp>,
    pub enrolled_at: Timestamp,
    pub version: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case")]
pub enum EnrolmentState {
    /// A wave has it for its next step.
    Waiting {
        wave: WaveId,
    },
    /// A worker has claimed it and may be giving its mail to the carrier.
    Sending {
        wave: WaveId,
        since: Timestamp,
    },
    /// Nobody knows whether its mail went out. It is not sent again unless a person asks for it; a report of the carrier settles it.
    Unknown {
        since: Timestamp,
    },
    /// The carrier will not take its mail.
    Failed {
        reason: String,
    },
    Paused {
        reason: PauseReason,
    },
    /// It was never enrolled.
    Skipped {
        reason: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    /// It gets no further mails.
    Exited {
        reason: ExitReason,
    },
    Completed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseReason {
    Replied,
    Manual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitReason {
    Unsubscribed,
    Bounced,
    Complained,
    Suppressed,
    Removed,
    /// The lead was deleted.
    Deleted,
    /// A variable without which no mail may go had no value any more.
    MissingVariable,
}

/// A mail of a step, as far as it is known. Reports come in any order, so each moment is kept once and never taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentMail {
    pub step: u32,
    /// How often it was claimed.
    pub attempts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Timestamp>,
    /// The wave that sent it, and counts it before it goes. `None`: a report of the carrier said that it was sent, and was counted itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<WaveId>,
    /// The carrier's id of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Timestamp>,
    /// By a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clicked_at: Option<Timestamp>,
    /// By a program: a scanner, a prefetch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub automated_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replied_at: Option<Timestamp>,
    /// For good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounced_at: Option<Timestamp>,
    /// For now: the mailbox is full, or the like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soft_bounced_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complained_at: Option<Timestamp>,
}

impl SentMail {
    /// Whether something is known of it that only happens to a mail that was sent.
    pub fn was_seen(&self) -> bool {
        let moments = [self.delivered_at, self.opened_at, self.clicked_at, self.automated_at, self.replied_at];
        moments.iter().chain(&[self.bounced_at, self.soft_bounced_at, self.complained_at]).any(Option::is_some)
    }
}

/// What a wave does with one of its leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// It is this wave's, for this step.
    Go,
    /// Its mail went out with this wave, which counts it before it goes.
    Count,
    /// A mail of its that nobody knew of went out, as a report of the carrier said, and that counted it.
    Reported,
    /// It ended with this wave, which counts it before it goes.
    Ended(Ended),
    /// Another worker may be sending its mail right now.
    Busy,
    /// The worker that claimed it did not come to an end.
    Lost,
    /// It is elsewhere: paused, ended, with another wave.
    Leave,
}

/// How a wave left a lead without a mail that is known of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Unknown,
    Failed,
    Dropped,
}

impl Enrolment {
    /// Longer than a worker lives after a claim.
    pub const LEASE: SignedDuration = SignedDuration::from_secs(90);

    pub fn new(campaign: CampaignId, lead: LeadId, page: u32, step: u32, wave: WaveId, now: Timestamp) -> Self {
        let state = EnrolmentState::Waiting { wave };
        Enrolment { campaign, lead, state, step, page, mails: vec![], ended_by: None, put_off_to: None, enrolled_at: now, version: 1 }
    }

    pub fn skipped(campaign: CampaignId, lead: LeadId, page: u32, reason: String, detail: Option<String>, now: Timestamp) -> Self {
        let state = EnrolmentState::Skipped { reason, detail };
        Enrolment { campaign, lead, state, step: 0, page, mails: vec![], ended_by: None, put_off_to: None, enrolled_at: now, version: 1 }
    }

    /// What the wave has to do with it.
    pub fn turn(&self, wave: &WaveId, step: u32, now: Timestamp) -> Turn {
        if self.mail(step).is_some_and(|mail| mail.wave.as_ref() == Some(wave)) {
            return Turn::Count;
        }
        match &self.state {
            EnrolmentState::Unknown { .. } if self.is_ended_by(wave, step) => Turn::Ended(Ended::Unknown),
            EnrolmentState::Failed { .. } if self.is_ended_by(wave, step) => Turn::Ended(Ended::Failed),
            EnrolmentState::Exited { .. } if self.is_ended_by(wave, step) => Turn::Ended(Ended::Dropped),
            EnrolmentState::Waiting { wave: own } if own == wave && self.step == step => Turn::Go,
            EnrolmentState::Sending { wave: own, since } if own == wave && self.step == step => {
                if now.duration_since(*since) < Enrolment::LEASE { Turn::Busy } else { Turn::Lost }
            }
            _ if self.mail(step).is_some_and(|mail| mail.sent_at.is_some() && mail.wave.is_none()) => Turn::Reported,
            _ => Turn::Leave,
        }
    }

    /// Whether the mail for which the wave was counted certainly did not go. Deleted as it is, it never will.
    pub fn is_unspent(&self, wave: &WaveId, step: u32, now: Timestamp) -> bool {
        match self.turn(wave, step, now) {
            Turn::Go | Turn::Ended(Ended::Failed | Ended::Dropped) => true,
            // With another wave, or out: unless this one had claimed it before.
            Turn::Leave => self.mail(step).is_none_or(|mail| mail.attempts == 0),
            Turn::Count | Turn::Reported | Turn::Ended(Ended::Unknown) | Turn::Busy | Turn::Lost => false,
        }
    }

    fn is_ended_by(&self, wave: &WaveId, step: u32) -> bool {
        self.ended_by.as_ref() == Some(wave) && self.step == step
    }

    /// By a worker that is about to call the carrier.
    pub fn claimed(&self, wave: &WaveId, now: Timestamp) -> Self {
        let mut claimed = self.in_state(EnrolmentState::Sending { wave: wave.clone(), since: now });
        claimed.mail_mut(self.step).attempts += 1;
        claimed
    }

    /// Whether the wave's worker may be giving its mail to the carrier. Otherwise something else was written about it since.
    pub fn is_claimed_by(&self, wave: &WaveId) -> bool {
        matches!(&self.state, EnrolmentState::Sending { wave: own, .. } if own == wave)
    }

    /// The carrier took its mail of that step. `next`: where it goes on.
    pub fn sent(&self, wave: &WaveId, step: u32, message: Option<String>, next: Next, now: Timestamp) -> Self {
        // Whatever else happened to the lead meanwhile stays as it is.
        let mut sent = if self.is_claimed_by(wave) { self.went_on(wave, next) } else { self.in_state(self.state.clone()) };
        let mail = sent.mail_mut(step);
        mail.sent_at = Some(now);
        mail.wave = Some(wave.clone());
        mail.message = message;
        sent
    }

    /// Of an unknown mail it turned out that it was sent. `wave`: of the step where it goes on; `None`: it goes on nowhere.
    pub fn settled(&self, step: u32, wave: Option<(u32, WaveId)>, at: Timestamp) -> Self {
        let mut settled = match wave {
            Some((number, wave)) => Enrolment { step: number, ..self.in_state(EnrolmentState::Waiting { wave }) },
            None => self.in_state(EnrolmentState::Completed),
        };
        settled.mail_mut(step).sent_at = Some(at);
        settled
    }

    /// Whether nobody knows of its mail of that step.
    pub fn is_unknown_at(&self, step: u32) -> bool {
        matches!(self.state, EnrolmentState::Unknown { .. }) && self.step == step
    }

    /// Whether the lead can still leave it: a mail may bounce, and its reader may want no more, after the last one too.
    pub fn can_exit(&self) -> bool {
        !matches!(self.state, EnrolmentState::Skipped { .. } | EnrolmentState::Exited { .. })
    }

    /// Whether the wave has brought it to the step that it waits for now, and so brings it into the wave of that step.
    pub fn follows(&self, wave: &WaveId) -> bool {
        matches!(&self.state, EnrolmentState::Waiting { wave: own } if *own == wave.next(self.step))
    }

    /// To where the sequence leads, without a mail.
    pub fn went_on(&self, wave: &WaveId, next: Next) -> Self {
        match next {
            Next::Step { number, .. } => {
                let moved = self.in_state(EnrolmentState::Waiting { wave: wave.next(number) });
                Enrolment { step: number, ..moved }
            }
            Next::End => self.in_state(EnrolmentState::Completed),
        }
    }

    /// The carrier did not take it, and it may be tried again.
    pub fn returned(&self, wave: &WaveId) -> Self {
        match self.state {
            EnrolmentState::Sending { .. } => self.waiting_in(wave),
            _ => self.in_state(self.state.clone()),
        }
    }

    pub fn failed(&self, reason: String) -> Self {
        self.ended(EnrolmentState::Failed { reason })
    }

    pub fn lost_track(&self, now: Timestamp) -> Self {
        self.ended(EnrolmentState::Unknown { since: now })
    }

    /// The carrier took its mail, and then did not send it. Whoever says so counts it.
    pub fn rejected(&self, reason: String) -> Self {
        Enrolment { ended_by: None, ..self.in_state(EnrolmentState::Failed { reason }) }
    }

    /// By the wave in which it is.
    pub fn left_out(&self, reason: ExitReason) -> Self {
        self.ended(EnrolmentState::Exited { reason })
    }

    /// What else happened to the lead meanwhile stays as it is.
    fn ended(&self, state: EnrolmentState) -> Self {
        match &self.state {
            EnrolmentState::Waiting { wave } | EnrolmentState::Sending { wave, .. } => {
                Enrolment { ended_by: Some(wave.clone()), ..self.in_state(state) }
            }
            other => self.in_state(other.clone()),
        }
    }

    pub fn exited(&self, reason: ExitReason) -> Self {
        self.in_state(EnrolmentState::Exited { reason })
    }

    pub fn paused(&self, reason: PauseReason) -> Self {
        self.in_state(EnrolmentState::Paused { reason })
    }

    /// Out of a pause: into a wave for the step that it is at, or for the next one if its mail of that step went out meanwhile. No wave: that was the
    /// last.
    pub fn resumed(&self, wave: &WaveId, steps: &[Step], now: Timestamp) -> (Self, Option<Wave>) {
        let next = match self.mail(self.step).and_then(|mail| mail.sent_at) {
            Some(sent_at) => sequence::from(steps, self.step.saturating_add(1), sent_at),
            None => Next::Step { number: self.step, due: now },
        };
        let Next::Step { number, due } = next else { return (self.in_state(EnrolmentState::Completed), None) };
        let waiting = Enrolment { step: number, ..self.waiting_in(wave) };
        (waiting, Wave::planned(wave.clone(), self.campaign, number, due.max(now), vec![self.lead]))
    }

    pub fn check_pause(&self) -> Result<()> {
        match self.state {
            EnrolmentState::Waiting { .. } => Ok(()),
            EnrolmentState::Sending { .. } => Err(being_sent()),
            _ => Err(Error::Conflict("Only a recipient who waits for a mail can be paused.".into())),
        }
    }

    pub fn check_resume(&self) -> Result<()> {
        match self.state {
            EnrolmentState::Paused { .. } => Ok(()),
            _ => Err(Error::Conflict("Only a recipient who is paused can be resumed.".into())),
        }
    }

    pub fn check_remove(&self) -> Result<()> {
        match self.state {
            EnrolmentState::Sending { .. } => Err(being_sent()),
            _ if self.is_open() => Ok(()),
            _ => Err(Error::Conflict("This recipient gets no further mails anyway.".into())),
        }
    }

    /// When the step that it waits for is due, as far as that follows from what was sent. Behind a condition it does not, nor where a person or a report put
    /// it back among those who wait: then only its wave knows.
    pub fn due(&self, steps: &[Step], started_at: Timestamp) -> Option<Timestamp> {
        let EnrolmentState::Waiting { wave } = &self.state else { return None };
        if self.put_off_to.is_some() {
            return self.put_off_to;
        }
        let sent = self.mails.iter().filter(|mail| mail.step < self.step && mail.sent_at.is_some());
        let (behind, since) = match sent.max_by_key(|mail| mail.step) {
            Some(mail) if mail.wave.as_ref().is_none_or(|own| own.next(self.step) != *wave) => return None,
            Some(mail) => (mail.step, mail.sent_at?),
            None if self.page == 0 => (0, self.enrolled_at),
            None => (0, started_at),
        };
        match sequence::from(steps, behind.saturating_add(1), since) {
            Next::Step { number, due } if number == self.step => Some(due),
            _ => None,
        }
    }

    /// Whether it may still get mails.
    pub fn is_open(&self) -> bool {
        !matches!(
            self.state,
            EnrolmentState::Skipped { .. } | EnrolmentState::Exited { .. } | EnrolmentState::Completed | EnrolmentState::Failed { .. }
        )
    }

    /// What is known of the mail of a step.
    pub fn mail(&self, step: u32) -> Option<&SentMail> {
        self.mails.iter().find(|mail| mail.step == step)
    }

    fn mail_mut(&mut self, step: u32) -> &mut SentMail {
        let at = self.mails.iter().position(|mail| mail.step == step).unwrap_or_else(|| {
            self.mails.push(SentMail { step, ..SentMail::default() });
            self.mails.len() - 1
        });
        &mut self.mails[at]
    }

    /// What the lead did with a mail before.
    pub fn did(&self, step: u32, event: StepEvent) -> bool {
        self.mail(step).is_some_and(|mail| match event {
            StepEvent::Opened => mail.opened_at.is_some() || mail.clicked_at.is_some(),
            StepEvent::Clicked => mail.clicked_at.is_some(),
            StepEvent::Replied => mail.replied_at.is_some(),
        })
    }

    /// Of what came of it, the word by which lists are filtered.
    pub fn outcome(&self) -> Outcome {
        match &self.state {
            EnrolmentState::Waiting { .. } | EnrolmentState::Sending { .. } => Outcome::Active,
            EnrolmentState::Unknown { .. } => Outcome::Unknown,
            EnrolmentState::Failed { .. } => Outcome::Failed,
            EnrolmentState::Paused { reason: PauseReason::Replied } => Outcome::Replied,
            EnrolmentState::Paused { reason: PauseReason::Manual } => Outcome::Paused,
            EnrolmentState::Skipped { .. } => Outcome::Skipped,
            EnrolmentState::Exited { reason } => match reason {
                ExitReason::Unsubscribed => Outcome::Unsubscribed,
                ExitReason::Bounced => Outcome::Bounced,
                ExitReason::Complained => Outcome::Complained,
                ExitReason::Removed | ExitReason::Deleted => Outcome::Removed,
                ExitReason::Suppressed | ExitReason::MissingVariable => Outcome::Skipped,
            },
            EnrolmentState::Completed => Outcome::Completed,
        }
    }

    /// Why, where the outcome has a reason.
    pub fn reason(&self) -> Option<String> {
        match &self.state {
            EnrolmentState::Failed { reason } => Some(reason.clone()),
            EnrolmentState::Skipped { reason, detail } => {
                Some(detail.as_ref().map_or_else(|| reason.clone(), |detail| format!("{reason}: {detail}")))
            }
            EnrolmentState::Exited { reason: ExitReason::Suppressed } => Some("suppressed".into()),
            EnrolmentState::Exited { reason: ExitReason::MissingVariable } => Some("missing_variable".into()),
            EnrolmentState::Exited { reason: ExitReason::Deleted } => Some("deleted".into()),
            _ => None,
        }
    }

    /// With what a report of the carrier or a link says of its mail of a step. `None`: it is known, or it was not sent.
    pub fn noted(&self, step: u32, at: Timestamp, of: fn(&mut SentMail) -> &mut Option<Timestamp>) -> Option<Self> {
        let mut noted = self.clone();
        let place = of(noted.mails.iter_mut().find(|mail| mail.step == step)?);
        if place.is_some() {
            return None;
        }
        *place = Some(at);
        noted.version += 1;
        Some(noted)
    }

    /// With an answer to the newest mail that it got. `None`: that one was answered before, or it got none.
    pub fn answered(&self, at: Timestamp) -> Option<Self> {
        let newest =
            self.mails.iter().filter(|mail| mail.sent_at.is_some() || self.is_unknown_at(mail.step)).max_by_key(|mail| mail.step)?;
        self.noted(newest.step, at, |mail| &mut mail.replied_at)
    }

    /// Of a mail of which nobody knew, an answer shows that it was sent. Until somebody lets the lead go on, it gets no more.
    pub fn proven(&self, at: Timestamp) -> Self {
        let mut proven = self.paused(PauseReason::Replied);
        proven.mail_mut(self.step).sent_at = Some(at);
        proven
    }

    /// Whether any of its mails was answered.
    pub fn was_answered(&self) -> bool {
        self.mails.iter().any(|mail| mail.replied_at.is_some())
    }

    /// With a wave of its own for the step that it waits for, later than it was. `None`: it does not wait, or does so already.
    pub fn put_off(&self, wave: &WaveId, due: Timestamp) -> Option<(Self, Wave)> {
        let EnrolmentState::Waiting { wave: own } = &self.state else { return None };
        let planned = Wave::planned(wave.clone(), self.campaign, self.step, due, vec![self.lead])?;
        (own != wave).then(|| (Enrolment { put_off_to: Some(due), ..self.waiting_in(wave) }, planned))
    }

    /// Whatever came before, it goes with that wave.
    pub fn waiting_in(&self, wave: &WaveId) -> Self {
        self.in_state(EnrolmentState::Waiting { wave: wave.clone() })
    }

    fn in_state(&self, state: EnrolmentState) -> Self {
        Enrolment { state, ended_by: None, put_off_to: None, version: self.version + 1, ..self.clone() }
    }

    pub fn key_of(campaign: CampaignId, lead: LeadId) -> Key<Self> {
        Key::new(&Collection::of::<Enrolment>(), EnrolmentKey(campaign, lead))
    }

    /// In the order in which the leads were created.
    pub fn of_campaign(campaign: CampaignId) -> List<Self> {
        List::behind(Collection::of::<Enrolment>(), campaign)
    }
}

/// What a worker has begun, it ends.
fn being_sent() -> Error {
    Error::Conflict("A mail to this recipient is being sent at this moment. Try again.".into())
}

struct EnrolmentKey(CampaignId, LeadId);

impl Segment for EnrolmentKey {}

impl fmt::Display for EnrolmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.0, self.1)
    }
}

/// What came of a lead in a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = RecipientOutcome)]
pub enum Outcome {
    Active,
    Paused,
    Completed,
    Replied,
    Unsubscribed,
    Bounced,
    Complained,
    Removed,
    Skipped,
    Failed,
    Unknown,
}

impl Outcome {
    pub const WORDS: &'static [&'static str] =
        &["active", "paused", "completed", "replied", "unsubscribed", "bounced", "complained", "removed", "skipped", "failed", "unknown"];
    const ALL: [Outcome; 11] = [
        Outcome::Active,
        Outcome::Paused,
        Outcome::Completed,
        Outcome::Replied,
        Outcome::Unsubscribed,
        Outcome::Bounced,
        Outcome::Complained,
        Outcome::Removed,
        Outcome::Skipped,
        Outcome::Failed,
        Outcome::Unknown,
    ];

    pub fn parse(word: &str) -> Option<Self> {
        Outcome::WORDS.iter().position(|own| *own == word).map(|at| Outcome::ALL[at])
    }

    /// Whether the index has a line of it. Most leads go their way, and a line for each of their steps would cost as much as the mails.
    pub fn is_listed(self) -> bool {
        !matches!(self, Outcome::Active | Outcome::Completed)
    }
}

impl Entity for Enrolment {
    type Scope = InWorkspace;
    const TYPE: &'static str = "enrolment";
    const COLLECTION: &'static str = "enrolments";
    const WITHIN: Option<Within> = Some(IN_WORKSPACE);
    /// The campaign is.
    const AUDITED: bool = false;
    const NOUN: Option<&'static str> = Some("Recipient");
    /// No worker has it here, and what one was about to send may have gone where it came from.
    const RESTORE: Option<Restore> = Some(|data| {
        let enrolment: Enrolment = serde_json::from_value(data).ok()?;
        let state = match enrolment.state {
            EnrolmentState::Sending { since, .. } => EnrolmentState::Unknown { since },
            state => state,
        };
        Packed::of(&Enrolment { state, ..enrolment }).ok()
    });

    fn key(&self) -> Key<Self> {
        Enrolment::key_of(self.campaign, self.lead)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }

    fn list_entry(&self) -> Result<Option<ListEntry>> {
        if self.outcome().is_listed() { ListEntry::of(self) } else { Ok(None) }
    }
}

impl Listed for Enrolment {
    type Entry = Outcome;

    fn entry(&self) -> Outcome {
        self.outcome()
    }
}

#[cfg(test)]
mod tests {
    use shared::crypto::Random;
    use shared::ids::WorkspaceId;

    use super::*;
    use crate::sequence::{EmailStep, WaitStep, WaitUnit};

    fn steps() -> Vec<Step> {
        let email = || Step::Email(EmailStep { subject: None, body: None });
        vec![email(), Step::Wait(WaitStep { value: 2, unit: WaitUnit::Hours }), email()]
    }

    fn at(hours: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours)
    }

    /// After its first mail, which went at hour 1.
    fn waiting() -> (Enrolment, WaveId) {
        let (random, now) = (Random::seeded(1), at(0));
        let tag = WorkspaceId::new(now, &random).tag();
        let (campaign, wave) = (CampaignId::new(tag, now, &random), WaveId::new(&random));
        let new = Enrolment::new(campaign, LeadId::new(tag, now, &random), 1, 1, wave.clone(), now);
        assert_eq!((new.due(&steps(), at(0)), new.turn(&wave, 1, now)), (Some(at(0)), Turn::Go));
        let next = sequence::from(&steps(), 2, at(1));
        (new.claimed(&wave, at(1)).sent(&wave, 1, None, next, at(1)), WaveId::new(&random))
    }

    #[test]
    fn who_goes_on_after_a_pause_gets_no_mail_twice() {
        let (waiting, wave) = waiting();
        assert_eq!((waiting.step, waiting.due(&steps(), at(0))), (3, Some(at(3))));
        let (resumed, planned) = waiting.paused(PauseReason::Manual).resumed(&wave, &steps(), at(2));
        let planned = planned.unwrap();
        assert_eq!((resumed.step, planned.step, planned.due, resumed.turn(&wave, 3, at(2))), (3, 3, at(2), Turn::Go));
        assert_eq!(resumed.due(&steps(), at(0)), None);
        // Its mail went out while it was paused: with a wave that did not know of the pause.
        let late = Enrolment { step: 1, ..waiting.paused(PauseReason::Replied) };
        let (resumed, planned) = late.resumed(&wave, &steps(), at(2));
        assert_eq!((resumed.step, planned.unwrap().due, resumed.turn(&wave, 1, at(2))), (3, at(3), Turn::Leave));
        let last = Enrolment { step: 1, ..waiting.paused(PauseReason::Replied) };
        let (over, none) = last.resumed(&wave, &steps()[..1], at(2));
        assert_eq!((over.outcome(), none), (Outcome::Completed, None));
    }

    #[test]
    fn only_a_mail_that_certainly_did_not_go_is_given_back() {
        let (waiting, _) = waiting();
        let EnrolmentState::Waiting { wave } = waiting.state.clone() else { panic!("{waiting:?}") };
        let unspent = |enrolment: &Enrolment| enrolment.is_unspent(&wave, 3, at(9));
        let claimed = waiting.claimed(&wave, at(3));
        for given_back in [&waiting, &claimed.returned(&wave), &claimed.failed("no".into()), &waiting.paused(PauseReason::Manual)] {
            assert!(unspent(given_back), "{given_back:?}");
        }
        let sent = claimed.sent(&wave, 3, None, Next::End, at(3));
        for kept in [&claimed, &claimed.lost_track(at(3)), &sent, &claimed.lost_track(at(3)).waiting_in(&WaveId::new(&Random::seeded(7)))] {
            assert!(!unspent(kept), "{kept:?}");
        }
    }

    #[test]
    fn states_say_what_a_person_may_do() {
        let (waiting, wave) = waiting();
        let may =
            |enrolment: &Enrolment| [enrolment.check_pause(), enrolment.check_resume(), enrolment.check_remove()].map(|may| may.is_ok());
        assert_eq!(may(&waiting), [true, false, true]);
        assert_eq!(may(&waiting.claimed(&wave, at(2))), [false, false, false]);
        assert_eq!(may(&waiting.lost_track(at(2))), [false, false, true]);
        for reason in [PauseReason::Manual, PauseReason::Replied] {
            assert_eq!(may(&waiting.paused(reason)), [false, true, true]);
        }
        for over in [waiting.failed("x".into()), waiting.exited(ExitReason::Bounced), waiting.went_on(&wave, Next::End)] {
            assert_eq!(may(&over), [false, false, false]);
        }
    }
}
