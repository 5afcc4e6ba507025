//! Does a released wave: its mails, or its condition. When all of its leads are through, one transaction counts what went out, gives back what did not, and
//! plans the waves that follow.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use engagement::active::turned;
use engagement::kept::while_kept;
use engagement::steps;
use jiff::{SignedDuration, Timestamp};
use records::activity::{Activity, ActivityId, ActivityKind};
use records::campaign::{Campaign, PausedBy};
use records::campaign_plan::{CampaignDay, MailDay, MailMonth};
use records::enrolment::{self, Enrolment, ExitReason, Turn};
use records::lead::{Lead, LeadId, LeadIds};
use records::sequence::{self, ConditionStep, Next, Step};
use records::wave::{Counted, Wave, WavePlace, WaveState};
use shared::model::due::DueWork;
use shared::model::workspace::Workspace;
use shared::tenancy::jobs::WorkContext;
use shared::tenancy::{TenantStore, WorkspaceStore, conflict, missing};
use shared::{Error, Result};

use crate::Sender;
use crate::mail::{Done, Post, Stop, busy};

/// A job begins no mail after that, and so ends well before the function is ended. What is left waits for another one.
const SENDS_FOR: Duration = Duration::from_secs(35);
/// How long nothing goes after the carrier took nothing.
const NOT_NOW: SignedDuration = SignedDuration::from_mins(1);
/// The same where it said that it will take nothing for a while.
const HELD: SignedDuration = SignedDuration::from_mins(15);

/// What became of a wave.
#[derive(Debug, Default)]
struct Ended {
    sent: Vec<LeadId>,
    unknown: i64,
    failed: i64,
    dropped: i64,
    /// Those that still wait.
    rest: Vec<LeadId>,
    stop: Option<Stop>,
    /// When the next step of a lead is due, as far as a condition said it now.
    due: BTreeMap<LeadId, Timestamp>,
    /// Those that go on, by the step for which they wait, and when it is due.
    following: Vec<Following>,
}

#[derive(Debug)]
struct Following {
    step: u32,
    due: Timestamp,
    leads: Vec<LeadId>,
}

impl Sender {
    pub async fn send(&self, context: &WorkContext, place: &WavePlace) -> Result<()> {
        let (Some(store), Some(within)) = (&context.store, &context.within) else {
            return Err(Error::internal("sending a wave", "the job names no workspace"));
        };
        let Some(wave) = within.find(&Wave::key_of(place)).await? else { return Ok(()) };
        let WaveState::Released { counted, .. } = wave.state else { return Ok(()) };
        let (campaign, workspace) = (Campaign::key_of(wave.campaign), Workspace::key_of(within.tag()));
        let (campaign, workspace) = tokio::try_join!(within.find(&campaign), store.find(&workspace))?;
        let (Some(campaign), Some(workspace)) = (campaign, workspace) else { return Ok(()) };
        let steps = steps::of(within, &campaign).await?;
        // One moment for all that a condition leads on: what is due at the same moment goes together.
        let now = self.app.clock().now();
        let plain_steps: Vec<Step> = steps.iter().map(|step| step.step.clone()).collect();
        let mut ended = match sequence::step(&plain_steps, wave.step) {
            Some(Step::Condition(condition)) => self.branch(within, &wave, &plain_steps, (condition, now)).await?,
            _ => {
                let step = steps.iter().find(|step| step.number == wave.step);
                let content = step.map(|step| step.content()).transpose()?.flatten();
                // What was launched has a content; without one, nothing can go until a person mends it.
                let Some(content) = content else { return Err(Error::internal("sending a wave", "its step has no content")) };
                let inbound = self.inbound(context, (store, within), &workspace).await?;
                let post = Post { context, store, within, plain_steps: &plain_steps, content: &content, wave: &wave, inbound };
                self.mails(&post).await?
            }
        };
        self.follow(within, &wave, (&plain_steps, now), &mut ended).await?;
        self.commit(context, (store, within), &wave, counted, &ended).await?;
        if let Some(by) = ended.stop.and_then(Stop::pauses) {
            self.pause((store, within), &wave, by).await?;
        }
        Ok(())
    }

    async fn mails(&self, post: &Post<'_>) -> Result<Ended> {
        let (mut ended, began) = (Ended::default(), Instant::now());
        for lead in &post.wave.leads.0 {
            if began.elapsed() > SENDS_FOR && ended.stop.is_none() {
                ended.stop = Some(Stop::NotNow);
            }
            if ended.stop.is_some() {
                ended.rest.push(*lead);
                continue;
            }
            match self.mail(post, *lead).await? {
                Done::Sent => ended.sent.push(*lead),
                Done::Unknown => ended.unknown += 1,
                Done::Failed => ended.failed += 1,
                Done::Dropped => ended.dropped += 1,
                Done::Gone => {}
                Done::Stopped(stop) => {
                    ended.rest.push(*lead);
                    ended.stop = Some(stop);
                }
            }
        }
        Ok(ended)
    }

    /// Each lead goes on where the condition leads it.
    async fn branch(
        &self,
        within: &WorkspaceStore,
        wave: &Wave,
        steps: &[Step],
        (condition, now): (&ConditionStep, Timestamp),
    ) -> Result<Ended> {
        let mut ended = Ended::default();
        for lead in &wave.leads.0 {
            self.branch_one(within, wave, (steps, now), (condition, *lead), &mut ended).await?;
        }
        Ok(ended)
    }

    async fn branch_one(
        &self,
        within: &WorkspaceStore,
        wave: &Wave,
        (steps, now): (&[Step], Timestamp),
        (condition, lead): (&ConditionStep, LeadId),
        ended: &mut Ended,
    ) -> Result<()> {
        let (enrolment_key, lead_key) = (Enrolment::key_of(wave.campaign, lead), Lead::key_of(lead));
        for _ in 0..5 {
            let (enrolment, lead) = within.find_together((&enrolment_key, &lead_key)).await?;
            let Some(enrolment) = enrolment else { return Ok(()) };
            match enrolment.turn(&wave.id, wave.step, now) {
                Turn::Go => {}
                turn => {
                    ended.dropped += i64::from(turn == Turn::Ended(enrolment::Ended::Dropped));
                    return Ok(());
                }
            }
            let Some(lead) = lead else {
                // The next look counts it.
                within.replace_if(&enrolment.left_out(ExitReason::Deleted), &enrolment).await?;
                continue;
            };
            let did = |step, event| enrolment.did(step, event);
            let next = sequence::branch(steps, condition, &lead, &did, now);
            if within.replace_if(&enrolment.went_on(&wave.id, next), &enrolment).await? {
                if let Next::Step { due, .. } = next {
                    ended.due.insert(lead.id, due);
                }
                return Ok(());
            }
        }
        Err(busy())
    }

    /// Those of the wave's leads that it has brought to a later step, now or before it was interrupted.
    async fn follow(&self, within: &WorkspaceStore, wave: &Wave, (steps, now): (&[Step], Timestamp), ended: &mut Ended) -> Result<()> {
        let keys: Vec<_> = wave.leads.0.iter().map(|lead| Enrolment::key_of(wave.campaign, *lead)).collect();
        let mut mails = BTreeMap::<u32, (Timestamp, Vec<LeadId>)>::new();
        let mut branched = BTreeMap::<(u32, Timestamp), Vec<LeadId>>::new();
        for enrolment in within.find_many(&keys).await?.into_iter().filter(|enrolment| enrolment.follows(&wave.id)) {
            let sent_at = enrolment.mail(wave.step).and_then(|mail| mail.sent_at);
            match sent_at.map(|sent_at| sequence::from(steps, wave.step + 1, sent_at)) {
                // They were sent one after the other, and go on together.
                Some(Next::Step { due, .. }) => {
                    let (latest, leads) = mails.entry(enrolment.step).or_insert((due, vec![]));
                    *latest = due.max(*latest);
                    leads.push(enrolment.lead);
                }
                _ => {
                    let due = ended.due.get(&enrolment.lead).copied();
                    let due = due.unwrap_or_else(|| due_behind((steps, now), wave.step, enrolment.step));
                    branched.entry((enrolment.step, due)).or_default().push(enrolment.lead);
                }
            }
        }
        let of_mails = mails.into_iter().map(|(step, (due, leads))| Following { step, due, leads });
        ended.following = of_mails.chain(branched.into_iter().map(|((step, due), leads)| Following { step, due, leads })).collect();
        Ok(())
    }

    async fn commit(
        &self,
        context: &WorkContext,
        (store, within): (&TenantStore, &WorkspaceStore),
        wave: &Wave,
        counted: Option<Counted>,
        ended: &Ended,
    ) -> Result<()> {
        let now = self.app.clock().now();
        // Again, when a lead is changed at the same moment.
        for _ in 0..10 {
            let keys: Vec<_> = ended.sent.iter().map(|lead| Lead::key_of(*lead)).collect();
            let leads = within.find_many(&keys).await?;
            let mut committing = while_kept(within.transaction(), store, within)?;
            committing = match ended.rest.is_empty() {
                true => committing.delete_unchanged(within, wave)?,
                false => committing.replace(within, &wave.returned(LeadIds(ended.rest.clone())), wave)?,
            };
            for lead in leads {
                let id = ActivityId::new(within.tag(), now, self.app.random());
                let activity = Activity {
                    campaign: Some(wave.campaign.prefixed()),
                    step: Some(wave.step),
                    ..Activity::new(id, lead.id, ActivityKind::EmailSent, now)
                };
                committing = committing.create(within, &activity, conflict("This entry exists."))?.replace(
                    within,
                    &lead.clone().mailed(now),
                    &lead,
                )?;
            }
            let numbers = [
                ("sent", i64::try_from(ended.sent.len()).unwrap_or(0)),
                ("failed", ended.failed),
                ("unknown", ended.unknown),
                ("dropped", ended.dropped),
            ];
            let moved: Vec<_> = numbers.into_iter().filter(|(_, by)| *by > 0).chain([("moves", 1)]).collect();
            committing = committing.adjust(within, &Campaign::key_of(wave.campaign), &moved, missing())?;
            if let Some(counted) = counted {
                let went = i64::try_from(ended.sent.len()).unwrap_or(0) + ended.unknown;
                let unspent = i64::try_from(wave.leads.0.len()).unwrap_or(0) - went;
                if unspent > 0 {
                    let (of_day, of_month) = (CampaignDay::key_of(wave.campaign, counted.day), MailMonth::key_of(counted.month));
                    committing = committing.tally_within(within, &of_day, ("mails", -unspent), None, missing())?.tally_within(
                        store,
                        &of_month,
                        ("mails", -unspent),
                        None,
                        missing(),
                    )?;
                    if let Some(day) = counted.day_of_new {
                        committing = committing.tally_within(store, &MailDay::key_of(day), ("mails", -unspent), None, missing())?;
                    }
                }
            }
            // When to look again: for the waves that follow, for the rest, and in the end whether anybody waits at all.
            let mut looks: Vec<Timestamp> = vec![];
            for Following { step, due, leads } in &ended.following {
                let Some(following) = wave.following(*step, *due, leads.clone()) else { continue };
                committing = committing.create(within, &following, conflict("This wave exists."))?;
                looks.push(*due);
            }
            looks.extend(match ended.stop {
                Some(Stop::Late) => Some(now),
                Some(Stop::NotNow) => Some(now + NOT_NOW),
                Some(Stop::Held) => Some(now + HELD),
                // It may have been resumed meanwhile.
                Some(Stop::Paused) => Some(now),
                // Whoever resumes it looks.
                Some(Stop::Unverified | Stop::Lacking) => None,
                None if ended.following.is_empty() => Some(now),
                None => None,
            });
            // Whoever looks then sees what is due later.
            if let Some(at) = looks.into_iter().min() {
                let note = DueWork::new(at, store.tenant_id(), wave.campaign, self.app.random());
                committing = committing.put(&context.directory, &note)?;
            }
            match committing.commit().await {
                Ok(()) => return Ok(()),
                // Another worker has committed it, or a lead changed: read both again.
                Err(Error::Conflict(_) | Error::Missing(_)) => {
                    if within.find(&Wave::key_of(&wave.place())).await?.as_ref() != Some(wave) {
                        return Ok(());
                    }
                }
                // Tenant or workspace are going.
                Err(Error::NotFound) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Err(busy())
    }

    async fn pause(&self, (store, within): (&TenantStore, &WorkspaceStore), wave: &Wave, by: PausedBy) -> Result<()> {
        for _ in 0..5 {
            let Some(campaign) = within.find(&Campaign::key_of(wave.campaign)).await? else { return Ok(()) };
            let Ok(paused) = campaign.paused(by, self.app.clock().now()) else { return Ok(()) };
            match turned(store, within, &paused, &campaign)?.commit().await {
                Err(Error::Conflict(_)) => {}
                Err(Error::NotFound | Error::Missing(_)) => return Ok(()),
                written => return written,
            }
        }
        Err(busy())
    }
}

/// When a step behind a condition is due for a lead that was led there before the wave was interrupted: of two ways, after the longer one.
fn due_behind((steps, now): (&[Step], Timestamp), condition: u32, step: u32) -> Timestamp {
    let Some(Step::Condition(condition)) = sequence::step(steps, condition) else { return now };
    let ways = [condition.then, condition.otherwise].into_iter().flatten().map(|number| sequence::from(steps, number, now));
    let dues = ways.filter_map(|next| match next {
        Next::Step { number, due } if number == step => Some(due),
        _ => None,
    });
    dues.max().unwrap_or(now)
}
