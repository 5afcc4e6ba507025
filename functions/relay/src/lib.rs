//! Turns the table's stream into jobs and derived data. A new mail or message is to be sent, a campaign that is due goes on, an event is told to webhooks, a
//! released wave and an answer of the inbox are sent, a deleted project, workspace, campaign or lead is to be swept, a change goes into the audit log, a pack
//! of the edge's log is added to its days and months, and what was recorded of consent is noted for its anchor. The committed item is the event, so nothing is lost between a write and its effect. A record that
//! is seen twice causes a second job, which does nothing, and the same audit entry. The jobs of all records of a batch are sent together, and the batch is
//! asked for again from the first record of which a job is not on its queue.

mod anchors;
pub mod events;
mod jobs;
mod rollup;

use aws_sdk_sqs::Client;
use jiff::{SignedDuration, Timestamp};
use records::consent::Consent;
use records::deleted_campaign::{DeletedCampaign, SweepCampaign};
use records::delivery::{Deliver, Delivery};
use records::event::Publish;
use records::lead::{DeletedLead, EraseLead};
use records::message::{self, Message, SendReply};
use records::message_campaign::{AdvanceMessageCampaign, CampaignProgress};
use records::phone_message::{MessageStatus, PhoneMessage, SendMessage};
use records::project::{DeletedProject, SweepTasks};
use records::replay::{GoOn, Replay};
use records::test_mail::{SendTest, TestMail};
use records::wave::{SendWave, Wave};
use records::webhook_pace::{LetGo, WebhookPace};
use serde_json::Value;
use shared::Result;
use shared::aws::Aws;
use shared::config::Variables;
use shared::model::due::{AdvanceCampaign, AnchorConsents, DueAnchor, DueDelivery, DueNote, DueWork, RemindDelivery};
use shared::model::due_messages::{DueMessages, ReleaseMessages};
use shared::model::edge::Pack;
use shared::model::mail::Mail;
use shared::model::workspace::{DeletedWorkspace, SweepWorkspace};
use shared::runtime::worker::{self, Worker};
use shared::runtime::{App, StartError};
use shared::store::Entity;
use shared::tenancy::jobs::{Change, ChangeKind, SendMail};

use crate::anchors::Noted;
use crate::jobs::Job;

pub struct Relay {
    app: App,
    sqs: Client,
    mail_queue: String,
    cleanup_queue: String,
    campaign_queue: String,
    send_queue: String,
    otp_queue: String,
    message_queue: String,
    bulk_queue: String,
    event_queue: String,
    noted: Noted,
}

/// What must follow a change of the table.
#[derive(Debug, PartialEq, Eq)]
enum FollowUp {
    /// The mail, and the tenant whose share of the queue it uses.
    Send(SendMail, String),
    Sweep(SweepTasks),
    SweepWorkspace(SweepWorkspace),
    SweepCampaign(SweepCampaign),
    EraseLead(EraseLead),
    /// The campaign, and the tenant whose share of the queue it uses.
    Advance(AdvanceCampaign, String),
    SendWave(SendWave),
    SendTest(SendTest),
    SendReply(SendReply),
    SendMessage(PhoneJob),
    /// The next turn of a campaign of messages, after so long.
    AdvanceMessages(AdvanceMessageCampaign, SignedDuration),
    /// The messages, and the tenant whose share of the queue they use.
    Release(ReleaseMessages, String),
    /// The next attempt of a delivery, after so long.
    Deliver(Deliver, SignedDuration),
    /// The next page of a replay, after so long.
    Replay(GoOn, SignedDuration),
    /// The next deliveries of a webhook that wait for their turn, after so long.
    LetGo(LetGo, SignedDuration),
    /// The delivery, and the tenant whose share of the queue it uses.
    RemindDelivery(RemindDelivery, String),
    /// The note, and the tenant whose share of the queue it uses.
    AnchorConsents(AnchorConsents, String),
    /// Something was recorded of consent, at this moment.
    NoteAnchor(Timestamp),
    /// Add to the counters of its days and months.
    Count(Box<Pack>),
    Nothing,
}

/// A message to a phone that is to be sent.
#[derive(Debug, PartialEq, Eq)]
struct PhoneJob {
    job: SendMessage,
    lane: Lane,
    /// Until its turn.
    delay: SignedDuration,
}

/// Which queue a message to a phone goes through: none waits behind what is less urgent.
#[derive(Debug, PartialEq, Eq)]
enum Lane {
    Otp,
    Usual,
    /// Of campaigns.
    Bulk,
}

impl Worker for Relay {
    const NAME: &'static str = "relay";

    fn start(app: App, variables: Variables) -> Result<Self, StartError> {
        let queue = |name| variables.required(name);
        let (mail_queue, cleanup_queue) = (queue("MAIL_QUEUE_URL")?, queue("CLEANUP_QUEUE_URL")?);
        let (campaign_queue, send_queue) = (queue("CAMPAIGN_QUEUE_URL")?, queue("SEND_QUEUE_URL")?);
        let (otp_queue, message_queue) = (queue("OTP_QUEUE_URL")?, queue("MESSAGE_QUEUE_URL")?);
        let (bulk_queue, event_queue) = (queue("BULK_QUEUE_URL")?, queue("EVENT_QUEUE_URL")?);
        let sqs = client(&Aws::read(variables)?);
        let noted = Noted::default();
        Ok(Relay {
            app,
            sqs,
            mail_queue,
            cleanup_queue,
            campaign_queue,
            send_queue,
            otp_queue,
            message_queue,
            bulk_queue,
            event_queue,
            noted,
        })
    }

    async fn handle(&self, event: Value, request_id: &str) -> Result<Value> {
        let each = |change| self.jobs_after(change, request_id);
        worker::stream(event, Self::NAME, each, |jobs| jobs::send(&self.sqs, jobs)).await
    }
}

impl Relay {
    /// What is to be queued after a change. The audit log and the counters have it by then.
    async fn jobs_after(&self, change: Change, request_id: &str) -> Result<Vec<Job<'_>>> {
        change.audit(&self.app, Self::NAME, request_id).await?;
        let happened = events::of(&change)?;
        let event = happened.map(|happened| Job::new(&self.event_queue, change.group(), &change.job(Publish { happened })));
        let next = match follow_up(&change, self.app.clock().now())? {
            FollowUp::Send(job, group) => Job::new(&self.mail_queue, group, &change.job(job)),
            FollowUp::Sweep(job) => Job::new(&self.cleanup_queue, change.group(), &change.job(job)),
            FollowUp::SweepWorkspace(job) => Job::new(&self.cleanup_queue, change.group(), &change.job(job)),
            FollowUp::SweepCampaign(job) => Job::new(&self.cleanup_queue, change.group(), &change.job(job)),
            FollowUp::EraseLead(job) => Job::new(&self.cleanup_queue, change.group(), &change.job(job)),
            FollowUp::Advance(job, group) => Job::new(&self.campaign_queue, group, &change.job(job)),
            FollowUp::SendWave(job) => Job::new(&self.send_queue, change.group(), &change.job(job)),
            FollowUp::SendReply(job) => Job::new(&self.send_queue, change.group(), &change.job(job)),
            FollowUp::SendTest(job) => Job::new(&self.send_queue, change.group(), &change.job(job)),
            FollowUp::SendMessage(PhoneJob { job, lane, delay }) => {
                let queue = match lane {
                    Lane::Otp => &self.otp_queue,
                    Lane::Usual => &self.message_queue,
                    Lane::Bulk => &self.bulk_queue,
                };
                Job::new(queue, change.group(), &change.job(job)).map(|job| job.after(delay))
            }
            FollowUp::AdvanceMessages(job, delay) => {
                Job::new(&self.bulk_queue, change.group(), &change.job(job)).map(|job| job.after(delay))
            }
            FollowUp::Release(job, group) => Job::new(&self.message_queue, group, &change.job(job)),
            FollowUp::Deliver(job, delay) => Job::new(&self.event_queue, change.group(), &change.job(job)).map(|job| job.after(delay)),
            FollowUp::Replay(job, delay) => Job::new(&self.event_queue, change.group(), &change.job(job)).map(|job| job.after(delay)),
            FollowUp::LetGo(job, delay) => Job::new(&self.event_queue, change.group(), &change.job(job)).map(|job| job.after(delay)),
            FollowUp::RemindDelivery(job, group) => Job::new(&self.event_queue, group, &change.job(job)),
            FollowUp::AnchorConsents(job, group) => Job::new(&self.cleanup_queue, group, &change.job(job)),
            FollowUp::NoteAnchor(recorded_at) => {
                self.noted.note(&change.context(&self.app, Self::NAME, request_id), recorded_at).await?;
                return event.into_iter().collect();
            }
            FollowUp::Count(pack) => {
                rollup::count(&change.context(&self.app, Self::NAME, request_id), &pack).await?;
                return event.into_iter().collect();
            }
            FollowUp::Nothing => return event.into_iter().collect(),
        };
        event.into_iter().chain([next]).collect()
    }
}

/// Of SQS.
const LONGEST_DELAY: SignedDuration = SignedDuration::from_mins(15);

/// How long a queue keeps a job that is due at a moment. A part of a second is waited for, too.
fn until(due_at: Option<Timestamp>, now: Timestamp) -> SignedDuration {
    let until = due_at.map_or(SignedDuration::ZERO, |due| due.duration_since(now) + SignedDuration::from_millis(999));
    until.clamp(SignedDuration::ZERO, LONGEST_DELAY)
}

/// Most changes need nothing, which follows from their kind and type.
fn follow_up(change: &Change, now: Timestamp) -> Result<FollowUp> {
    match change.kind {
        // The courier itself writes the later states of a mail.
        ChangeKind::Inserted if change.entity == Mail::TYPE => {
            let mail: Mail = change.record()?;
            let group = mail.tenant.map_or_else(|| mail.id.to_string(), |tenant| tenant.to_string());
            Ok(FollowUp::Send(SendMail { mail: mail.id }, group))
        }
        ChangeKind::Inserted | ChangeKind::Modified if change.entity == DeletedProject::TYPE => {
            let deleted: DeletedProject = change.record()?;
            Ok(if deleted.swept_at.is_none() { FollowUp::Sweep(SweepTasks { project: deleted.id }) } else { FollowUp::Nothing })
        }
        ChangeKind::Inserted | ChangeKind::Modified if change.entity == DeletedWorkspace::TYPE => {
            let deleted: DeletedWorkspace = change.record()?;
            let job = SweepWorkspace { workspace: deleted.id };
            Ok(if deleted.swept_at.is_none() { FollowUp::SweepWorkspace(job) } else { FollowUp::Nothing })
        }
        ChangeKind::Inserted | ChangeKind::Modified if change.entity == DeletedCampaign::TYPE => {
            let deleted: DeletedCampaign = change.record()?;
            let job = SweepCampaign { campaign: deleted.id };
            Ok(if deleted.swept_at.is_none() { FollowUp::SweepCampaign(job) } else { FollowUp::Nothing })
        }
        // It is taken away when nothing is left.
        ChangeKind::Inserted | ChangeKind::Modified if change.entity == DeletedLead::TYPE => {
            let deleted: DeletedLead = change.record()?;
            Ok(FollowUp::EraseLead(EraseLead { lead: deleted.id }))
        }
        // What is due later is brought to mind by then, which changes it.
        ChangeKind::Inserted | ChangeKind::Modified if change.entity == DueWork::TYPE => {
            let due: DueWork = change.record()?;
            let group = due.group();
            Ok(if due.is_due(now) { FollowUp::Advance(AdvanceCampaign { due }, group) } else { FollowUp::Nothing })
        }
        ChangeKind::Inserted | ChangeKind::Modified if change.entity == Wave::TYPE => {
            let wave: Wave = change.record()?;
            Ok(if wave.is_planned() { FollowUp::Nothing } else { FollowUp::SendWave(SendWave { wave: wave.place() }) })
        }
        // The sender itself writes the later states of a test mail.
        ChangeKind::Inserted if change.entity == TestMail::TYPE => {
            let test: TestMail = change.record()?;
            Ok(FollowUp::SendTest(SendTest { test: test.id }))
        }
        // Of messages, those that are written here.
        ChangeKind::Inserted if change.entity == Message::TYPE => {
            let message: Message = change.record()?;
            let is_queued = message.delivery == Some(message::Delivery::Queued);
            Ok(if is_queued { FollowUp::SendReply(SendReply { reply: message.place() }) } else { FollowUp::Nothing })
        }
        ChangeKind::Inserted | ChangeKind::Modified if change.entity == PhoneMessage::TYPE => {
            let message: PhoneMessage = change.record()?;
            if message.status != MessageStatus::Queued {
                return Ok(FollowUp::Nothing);
            }
            let lane = match message.campaign {
                _ if message.is_urgent() => Lane::Otp,
                None => Lane::Usual,
                Some(_) => Lane::Bulk,
            };
            Ok(FollowUp::SendMessage(PhoneJob { job: SendMessage { message: message.id }, lane, delay: until(message.due_at, now) }))
        }
        // A turn has many steps, of which only the last one asks for the next turn.
        ChangeKind::Inserted | ChangeKind::Modified if change.entity == CampaignProgress::TYPE => {
            let progress: CampaignProgress = change.record()?;
            let before: Option<CampaignProgress> = change.earlier()?;
            if before.is_some_and(|before| before.turn == progress.turn) {
                return Ok(FollowUp::Nothing);
            }
            Ok(FollowUp::AdvanceMessages(progress.job(), until(progress.due_at, now)))
        }
        // What is due later is brought to mind by then, which changes it.
        ChangeKind::Inserted | ChangeKind::Modified if change.entity == DueMessages::TYPE => {
            let due: DueMessages = change.record()?;
            let group = due.group();
            Ok(if due.is_due(now) { FollowUp::Release(ReleaseMessages { due }, group) } else { FollowUp::Nothing })
        }
        // What is further away is brought to mind by its note in the directory, and what waits for its turn by the pace of its webhook.
        ChangeKind::Inserted | ChangeKind::Modified if change.entity == Delivery::TYPE => {
            let delivery: Delivery = change.record()?;
            let has_job = delivery.noted_for().is_none() && !delivery.is_waiting();
            let Some(next) = delivery.next_attempt_at().filter(|_| has_job) else { return Ok(FollowUp::Nothing) };
            Ok(FollowUp::Deliver(Deliver { deliver: delivery.ticket() }, until(Some(next), now)))
        }
        ChangeKind::Inserted | ChangeKind::Modified if change.entity == WebhookPace::TYPE => {
            let pace: WebhookPace = change.record()?;
            let Some((step, moment)) = pace.asks_after(change.earlier()?.as_ref()) else { return Ok(FollowUp::Nothing) };
            Ok(FollowUp::LetGo(LetGo { let_go: step }, until(Some(moment), now)))
        }
        ChangeKind::Inserted | ChangeKind::Modified if change.entity == Replay::TYPE => {
            let replay: Replay = change.record()?;
            let after = if replay.place.is_none() { SignedDuration::ZERO } else { Replay::PACE };
            Ok(if replay.is_running() { FollowUp::Replay(GoOn { replay: replay.page() }, after) } else { FollowUp::Nothing })
        }
        // Written for later; the sweep's change of it says that it is due.
        ChangeKind::Modified if change.entity == DueDelivery::TYPE => {
            let due_delivery: DueDelivery = change.record()?;
            let group = due_delivery.group();
            Ok(if due_delivery.is_reminder() {
                FollowUp::RemindDelivery(RemindDelivery { due_delivery }, group)
            } else {
                FollowUp::Nothing
            })
        }
        // The id is of the moment when it was recorded, which an import keeps, and which may be of a clock that is ahead.
        ChangeKind::Inserted if change.entity == Consent::TYPE => {
            let consent: Consent = change.record()?;
            let (written_at, _) = change.written()?;
            Ok(FollowUp::NoteAnchor(consent.id.moment().max(written_at)))
        }
        // Written for later, as the other.
        ChangeKind::Modified if change.entity == DueAnchor::TYPE => {
            let due_anchor: DueAnchor = change.record()?;
            let group = due_anchor.group();
            Ok(if due_anchor.is_reminder() { FollowUp::AnchorConsents(AnchorConsents { due_anchor }, group) } else { FollowUp::Nothing })
        }
        // Packs are never changed, and expired ones still count.
        ChangeKind::Inserted if change.entity == Pack::TYPE => Ok(FollowUp::Count(change.record()?)),
        _ => Ok(FollowUp::Nothing),
    }
}

fn client(aws: &Aws) -> Client {
    shared::client!(aws, "SQS", aws_sdk_sqs)
}

#[cfg(test)]
mod tests {

    use serde_json::json;

    use shared::lock::Lock;

    use super::*;

    const TENANT: &str = "5b0e8f6e-7a10-4c55-9d6e-2b6f0a1c4d01";
    const PROJECT: &str = "018f3f70-12ab-7e0f-8a44-5d1f9c3b2e10";

    /// The follow-ups of a batch's records, and the answer to the batch.
    async fn follow_ups_of(event: Value) -> (Vec<FollowUp>, Value) {
        let all = Lock::new(vec![]);
        let each = |change: Change| async move { follow_up(&change, Timestamp::UNIX_EPOCH) };
        let answer = worker::stream(event, "relay", each, |follow_ups| {
            *all.lock() = follow_ups;
            async { vec![] }
        });
        let answer = answer.await.unwrap();
        (std::mem::take(&mut *all.lock()), answer)
    }

    fn record(number: u32, event: &str, image: Value) -> Value {
        let keys = json!({"pk": {"S": format!("T#{TENANT}#deleted-projects")}, "sk": {"S": "5d1f9c3b2e10"}});
        json!({"eventName": event, "dynamodb": {"Keys": keys, "NewImage": image, "SequenceNumber": number.to_string()}})
    }

    fn tombstone(swept: bool) -> Value {
        let mut image = json!({"type": {"S": "deleted_project"}, "id": {"S": PROJECT}, "deleted_at": {"S": "2026-11-21T09:30:00Z"}, "round": {"N": "1"}});
        if swept {
            image["swept_at"] = json!({"S": "2026-11-21T09:31:00Z"});
        }
        image
    }

    #[tokio::test]
    async fn a_new_mail_is_to_be_sent_in_the_share_of_its_tenant() {
        let sample: Value = serde_json::from_str(include_str!("../../../events/relay/stream-insert.json")).unwrap();
        let (follow_ups, answer) = follow_ups_of(sample).await;
        let [FollowUp::Send(job, group)] = &follow_ups[..] else { panic!("{follow_ups:?}") };
        assert_eq!((job.mail.to_string().as_str(), group.as_str()), ("018f3f72-44cd-7b21-b3a7-90e4d2f6a811", TENANT));
        assert_eq!(answer, json!({"batchItemFailures": []}));
    }

    #[tokio::test]
    async fn a_deleted_project_is_to_be_swept_until_it_was() {
        let records = [
            record(1, "INSERT", tombstone(false)),
            record(2, "MODIFY", tombstone(false)),
            record(3, "MODIFY", tombstone(true)),
            record(4, "REMOVE", tombstone(true)),
        ];
        let (follow_ups, _) = follow_ups_of(json!({"Records": records})).await;
        let sweeps =
            follow_ups.iter().filter(|follow_up| matches!(follow_up, FollowUp::Sweep(job) if job.project.to_string() == PROJECT)).count();
        assert_eq!((sweeps, follow_ups.len()), (2, 4));
    }

    #[tokio::test]
    async fn a_poisoned_record_stops_its_batch_at_itself() {
        let poison = record(2, "INSERT", json!({"type": {"S": "deleted_project"}, "id": {"S": "no id"}}));
        let records = [record(1, "INSERT", tombstone(false)), poison, record(3, "INSERT", tombstone(false))];
        let (follow_ups, answer) = follow_ups_of(json!({"Records": records})).await;
        assert_eq!((follow_ups.len(), answer), (1, json!({"batchItemFailures": [{"itemIdentifier": "2"}]})));
    }
}
