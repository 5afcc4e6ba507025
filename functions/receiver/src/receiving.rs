//! Takes in a mail: for which workspace it is, which thread it belongs to, and what follows from it. Notices come twice, so all that follows is done once or
//! can be done again; the message is written last, with the note that the mail was received.

use std::time::Duration;

use engagement::unsubscribing::{self, Wish};
use jiff::Timestamp;
use received::Received;
use records::activity::{Activity, ActivityId, ActivityKind};
use records::campaign::CampaignId;
use records::lead::{Lead, LeadId};
use records::message::{AttachmentName, Author, Body, Message, MessageId, MessageKind};
use records::thread::{Arrival, Nature, Reference, Thread, ThreadId, ThreadKey};
use shared::model::inbound::{About, Addressed, Inbound};
use shared::model::tenant::Tenant;
use shared::model::workspace::Workspace;
use shared::tenancy::jobs::WorkContext;
use shared::tenancy::{TenantStore, WorkspaceStore, conflict, missing};
use shared::{Error, Result};

use crate::threading::{Place, Placing};
use crate::{Receipt, Receiver, Verdict, effects};

/// A mail that came in for a workspace.
pub struct Incoming<'a> {
    pub store: &'a TenantStore,
    pub within: &'a WorkspaceStore,
    pub receipt: &'a Receipt,
    pub mail: &'a Received,
    pub nature: Nature,
    pub now: Timestamp,
}

/// How often it is tried again when somebody else writes about the same thread or lead.
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(100);
/// Workspaces that one mail is taken in for.
const WORKSPACES: usize = 10;

impl Receiver {
    /// Nothing of its addresses, subject or text is logged.
    pub async fn receive(&self, context: &WorkContext, receipt: &Receipt, raw: &[u8]) -> Result<()> {
        let id = &receipt.message_id;
        if receipt.virus == Verdict::Fail {
            tracing::warn!(mail = %id, "a mail with a virus is dropped");
            return Ok(());
        }
        let addressed = self.addressed(receipt)?;
        if addressed.is_empty() {
            tracing::info!(mail = %id, "a mail came to no address of ours");
            return Ok(());
        }
        let mail = match received::read(raw) {
            Ok(mail) => mail,
            Err(reason) => {
                tracing::warn!(mail = %id, %reason, "a mail cannot be read");
                return Ok(());
            }
        };
        for addressed in addressed {
            self.take_in(context, receipt, &mail, addressed).await?;
        }
        Ok(())
    }

    /// One for each workspace: what says most.
    fn addressed(&self, receipt: &Receipt) -> Result<Vec<Addressed>> {
        let (Some(domain), key) = (&self.domain, self.app.keys().mail_refs()?) else { return Ok(vec![]) };
        let mut all: Vec<Addressed> = vec![];
        for addressed in receipt.recipients.iter().filter_map(|address| Addressed::read(address, domain, key)) {
            match all.iter_mut().find(|other| other.inbound() == addressed.inbound()) {
                Some(other) if matches!(other, Addressed::Workspace(_)) => *other = addressed,
                Some(_) => {}
                None => all.push(addressed),
            }
        }
        all.truncate(WORKSPACES);
        Ok(all)
    }

    async fn take_in(&self, context: &WorkContext, receipt: &Receipt, mail: &Received, addressed: Addressed) -> Result<()> {
        let Some(inbound) = context.directory.find(&Inbound::key_of(addressed.inbound())).await? else { return Ok(()) };
        let (store, within) = context.received(&inbound);
        let (tenant, workspace) = (Tenant::key_of(), Workspace::key_of(within.tag()));
        let (tenant, workspace) = tokio::try_join!(store.find(&tenant), store.find(&workspace))?;
        let now = self.app.clock().now();
        // A suspended tenant finds its mails when it comes back. One that is going gets no more.
        if workspace.is_none() || tenant.is_none_or(|tenant| tenant.is_leaving(now)) {
            return Ok(());
        }
        let nature = nature_of(receipt, mail);
        let incoming = Incoming { store: &store, within: &within, receipt, mail, nature, now };
        for _ in 0..TRIES {
            match incoming.take_in(context, &addressed).await {
                // Somebody else wrote at the same time.
                Err(Error::Conflict(_) | Error::Missing(_)) => tokio::time::sleep(PAUSE).await,
                // Tenant or workspace are going.
                Err(Error::NotFound) => return Ok(()),
                done => return done,
            }
        }
        Err(Error::Unavailable { doing: "taking in a mail", cause: "others write about the same thread".into() })
    }
}

impl Incoming<'_> {
    async fn take_in(&self, context: &WorkContext, addressed: &Addressed) -> Result<()> {
        let Incoming { within, mail, receipt, now, .. } = *self;
        let known = ThreadKey::key_of(&Reference::receipt(&receipt.message_id));
        if within.find(&known).await?.is_some() {
            return Ok(());
        }
        let (lead, about) = match addressed {
            Addressed::Workspace(_) => (None, None),
            Addressed::Reply(reply) => (reply.lead(within.tag()).map(LeadId::from), Some(reply.about(within.tag()))),
        };
        if let (Some(About::Unsubscribing(campaign)), Some(lead)) = (about, lead) {
            return self.unsubscribe(lead, CampaignId::from(campaign)).await;
        }
        let Some(placing) = Placing::of(self, lead, about).await? else {
            tracing::warn!(mail = %receipt.message_id, "a thread takes no more mails this hour");
            return Ok(());
        };
        if placing.is_repeated {
            return Ok(());
        }
        let message = MessageId::new(within.tag(), now, within.random());
        let own_id = mail.message_id.clone().unwrap_or_else(|| format!("{}@received", receipt.message_id));
        let arrival = self.arrival(message, &own_id);
        let (thread, before) = match placing.place {
            Place::Existing(before) => (before.received(&arrival), Some(before)),
            Place::New { lead, campaign } => {
                let lead = lead.as_ref().map(|lead| lead.id);
                (Thread::begun(ThreadId::new(within.tag(), now, within.random()), &arrival, lead, campaign), None)
            }
        };
        let author = placing.author;
        let has_effects = author == Author::Prospect && !thread.is_quiet();
        if let (Some(lead), true) = (&placing.lead, has_effects) {
            effects::on_campaigns(self, context, lead.id, thread.campaign).await?;
        }
        let mut writing = within
            .transaction()
            .create(within, &ThreadKey::new(Reference::receipt(&receipt.message_id), thread.id, Some(&arrival.from), now), again())?
            .create(within, &self.message(&thread, message, &own_id, author), again())?
            .while_kept(self.store)?
            .require(self.store, &Workspace::key_of(within.tag()), missing())?;
        writing = thread.write(writing, within, before.as_ref())?;
        if placing.is_new_id {
            let key = ThreadKey::new(Reference::message(&own_id), thread.id, Some(&arrival.from), now);
            writing = writing.create(within, &key, again())?;
        }
        if let (None, Some(campaign), Some(lead)) = (&before, thread.campaign, thread.correspondent.lead) {
            writing = writing.put(within, &ThreadKey::new(Reference::campaign(campaign, lead), thread.id, None, now))?;
        }
        if let (Some(lead), true, Nature::Person) = (&placing.lead, has_effects, self.nature) {
            let id = ActivityId::new(within.tag(), now, within.random());
            let campaign = thread.campaign.map(|campaign| campaign.prefixed());
            let activity = Activity { campaign, ..Activity::new(id, lead.id, ActivityKind::EmailReplied, now) };
            writing = writing.replace(within, &lead.clone().replied(now), lead)?.create(within, &activity, again())?;
        } else if let Some(lead) = thread.correspondent.lead.filter(|_| before.is_none()) {
            // What is written for a lead that goes at this moment, nobody would erase.
            writing = writing.require(within, &Lead::key_of(lead), again())?;
        }
        writing.commit().await
    }

    /// The mail itself says nothing that anybody should read.
    async fn unsubscribe(&self, lead: LeadId, campaign: CampaignId) -> Result<()> {
        let Incoming { store, within, .. } = *self;
        unsubscribing::unsubscribe(Wish { outer: store, store: within, lead, campaign, step: None }).await?;
        effects::on_unsubscribing(self, lead, campaign).await
    }

    fn arrival(&self, message: MessageId, own_id: &str) -> Arrival {
        let Received { from, subject, thread_subject, snippet, .. } = self.mail;
        Arrival {
            message,
            message_id: own_id.to_owned(),
            from: from.email.clone(),
            name: from.name.clone(),
            subject: subject.clone(),
            topic: thread_subject.clone(),
            snippet: snippet.clone(),
            nature: self.nature,
            at: self.now,
        }
    }

    fn message(&self, thread: &Thread, id: MessageId, own_id: &str, from: Author) -> Message {
        let mail = self.mail;
        let body = Body::packed(&mail.text, mail.html.as_deref());
        let attachment = |file: &received::Attachment| AttachmentName {
            name: file.name.clone(),
            media_type: file.media_type.clone(),
            size: file.size as u64,
        };
        Message {
            id,
            thread: thread.id,
            from,
            kind: match self.nature {
                Nature::Person | Nature::Spam => MessageKind::Email,
                Nature::OutOfOffice => MessageKind::Ooo,
                Nature::Automatic => MessageKind::Auto,
            },
            name: mail.from.name.clone(),
            email: Some(mail.from.email.clone()),
            subject: mail.subject.clone(),
            text: body.text,
            html: body.html,
            truncated: mail.truncated || body.truncated || mail.further_attachments > 0,
            attachments: mail.attachments.iter().map(attachment).collect(),
            message_id: Some(own_id.to_owned()),
            written_at: self.now,
            by: None,
            delivery: None,
            version: 1,
        }
    }

    /// Whether the sender is who the mail says, as far as that was checked.
    pub fn is_trusted(&self) -> bool {
        self.receipt.dmarc != Verdict::Fail
    }
}

/// What the envelope and the checks say goes before what the mail says.
fn nature_of(receipt: &Receipt, mail: &Received) -> Nature {
    match mail.nature {
        _ if receipt.spam == Verdict::Fail => Nature::Spam,
        received::Nature::OutOfOffice => Nature::OutOfOffice,
        received::Nature::Automatic | received::Nature::Bounce => Nature::Automatic,
        // Nobody may answer it, so no person wrote it (RFC 3834).
        received::Nature::Person if receipt.source.is_empty() => Nature::Automatic,
        received::Nature::Person => Nature::Person,
    }
}

fn again() -> shared::tenancy::Refusal {
    conflict("Another worker takes in the same mail.")
}
