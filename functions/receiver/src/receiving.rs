//! Takes in a mail: for which workspace it is, which thread it belongs to, and what follows from it. Notices come twice, so all that follows is done once or
//! can be done again; the message is written last, with the note that the mail was received.

use std::time::Duration;

use engagement::kept::while_kept;
use engagement::unsubscribing::{self, Wish};
use jiff::Timestamp;
use received::Received;
use records::activity::{Activity, ActivityId, ActivityKind};
use records::campaign::CampaignId;
use records::lead::{Lead, LeadId};
use records::message::{AttachmentName, Author, Body, Message, MessageId, MessageKind};
use records::stranger_day::StrangerDay;
use records::thread::{Arrival, Nature, Reference, Thread, ThreadId, ThreadKey};
use shared::model::inbound::{About, Addressed, Inbound};
use shared::model::tenant::Tenant;
use shared::model::time::day;
use shared::model::user::Email;
use shared::model::workspace::Workspace;
use shared::tenancy::jobs::WorkContext;
use shared::tenancy::{TenantStore, WorkspaceStore, conflict};
use shared::{Error, Result};

use crate::threading::Placing;
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
    /// What is for nobody here is not even fetched. Nothing of its addresses, subject or text is logged.
    pub async fn receive(&self, context: &WorkContext, receipt: &Receipt) -> Result<()> {
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
        let Some(raw) = self.mails.fetch(&receipt.key).await? else { return Ok(()) };
        let mail = match received::read(&raw) {
            Ok(mail) => mail,
            Err(reason) => {
                tracing::warn!(mail = %id, %reason, "a mail cannot be read");
                return Ok(());
            }
        };
        // Whoever cannot be served now takes nothing from the others. Those that were are not served again.
        let mut failed = None;
        for addressed in addressed {
            if let Err(error) = self.take_in(context, receipt, &mail, addressed).await {
                failed = failed.or(Some(error));
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Each wish to get no more mail; beside that one for each workspace: what says most.
    fn addressed(&self, receipt: &Receipt) -> Result<Vec<Addressed>> {
        let (Some(domain), key) = (&self.domain, &self.app.keys().mail_refs()?.signing) else { return Ok(vec![]) };
        let (mut wishes, mut all): (Vec<Addressed>, Vec<Addressed>) = (vec![], vec![]);
        for addressed in receipt.recipients.iter().filter_map(|address| Addressed::read(address, domain, key)) {
            if addressed.unsubscribes() {
                wishes.push(addressed);
                continue;
            }
            match all.iter_mut().find(|other| other.inbound() == addressed.inbound()) {
                Some(other) if matches!(other, Addressed::Workspace(_)) => *other = addressed,
                Some(_) => {}
                None => all.push(addressed),
            }
        }
        wishes.extend(all);
        wishes.truncate(WORKSPACES);
        Ok(wishes)
    }

    async fn take_in(&self, context: &WorkContext, receipt: &Receipt, mail: &Received, addressed: Addressed) -> Result<()> {
        let Some(inbound) = context.directory.find(&Inbound::key_of(addressed.inbound())).await? else { return Ok(()) };
        let (store, within) = context.received(&inbound);
        let (tenant, workspace) = (Tenant::key_of(), Workspace::key_of(within.tag()));
        let (tenant, workspace) = store.find_together((&tenant, &workspace)).await?;
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
        let (lead, about) = match addressed {
            Addressed::Workspace(_) => (None, None),
            Addressed::Reply(reply) => (reply.lead(within.tag()).map(LeadId::from), Some(reply.about(within.tag()))),
        };
        if let (Some(About::Unsubscribing(campaign)), Some(lead)) = (about, lead) {
            return self.unsubscribe(lead, CampaignId::from(campaign)).await;
        }
        let known = ThreadKey::key_of(&Reference::receipt(&receipt.message_id));
        if within.find(&known).await?.is_some() {
            return Ok(());
        }
        let Some(placing) = Placing::of(self, lead, about).await? else {
            tracing::warn!(mail = %receipt.message_id, "a thread takes no more mails this hour, or a workspace no more of strangers today");
            return Ok(());
        };
        if placing.is_repeated {
            return Ok(());
        }
        let message = MessageId::new(within.tag(), now, within.random());
        let own_id = mail.message_id.clone().unwrap_or_else(|| format!("{}@received", receipt.message_id));
        // More than anybody reads are in nobody's way.
        let is_one_of_many = placing.of_stranger.is_some_and(|begun| begun >= StrangerDay::SPAM_AFTER);
        let nature = if is_one_of_many { Nature::Spam } else { self.nature };
        let arrival = self.arrival(message, &own_id, nature, placing.author);
        let thread = match &placing.thread {
            Some(before) => before.received(&arrival),
            None => {
                let id = ThreadId::new(within.tag(), now, within.random());
                Thread::begun(id, &arrival, placing.correspondent(mail), placing.campaign)
            }
        };
        let campaign = placing.campaign.or(thread.campaign);
        // Whoever has the address of a campaign's mail got that mail, whatever address they write from.
        let is_answer = placing.author == Author::Prospect || placing.campaign.is_some();
        let answering = placing.lead.as_ref().filter(|_| is_answer && !thread.is_quiet(placing.author));
        if let Some(lead) = answering {
            effects::on_campaigns(self, context, lead.id, campaign).await?;
        }
        let writing = while_kept(within.transaction(), self.store, within)?;
        let writing = writing.create(within, &self.message(&thread, message, &own_id, placing.author), again())?;
        let mut writing = thread.write(writing, within, placing.thread.as_ref())?;
        if placing.of_stranger.is_some() {
            writing = writing.tally_within(
                within,
                &StrangerDay::key_of(day(now)),
                (StrangerDay::counter(self.nature == Nature::Spam), 1),
                None,
                again(),
            )?;
        }
        for (reference, is_new) in [(Reference::receipt(&receipt.message_id), true), (Reference::message(&own_id), placing.is_new_id)] {
            if is_new {
                let key = ThreadKey::new(reference, thread.id, Some(&arrival.from), now);
                writing = writing.create_or_expired(within, &key, now.as_second(), again())?;
            }
        }
        if let (Some(campaign), Some(lead)) = (placing.campaign, &placing.lead) {
            writing = writing.put(within, &ThreadKey::new(Reference::campaign(campaign, lead.id), thread.id, None, now))?;
        }
        match (answering, self.nature) {
            (Some(lead), Nature::Person) => {
                let id = ActivityId::new(within.tag(), now, within.random());
                let campaign = campaign.map(|campaign| campaign.prefixed());
                let activity = Activity { campaign, ..Activity::new(id, lead.id, ActivityKind::EmailReplied, now) };
                writing = writing.replace(within, &lead.clone().replied(now), lead)?.create(within, &activity, again())?;
            }
            // What is written for a lead that goes at this moment, nobody would erase.
            _ => {
                if let Some(lead) = thread.correspondent.lead {
                    writing = writing.require(within, &Lead::key_of(lead), again())?;
                }
            }
        }
        writing.commit().await
    }

    /// The mail itself says nothing that anybody should read. The address that it came to has no room for that of the lead, so if the lead is gone or has
    /// another one, it is the sender's own that counts, where that can be believed.
    async fn unsubscribe(&self, lead: LeadId, campaign: CampaignId) -> Result<()> {
        let Incoming { store, within, mail, .. } = *self;
        let own = if self.is_trusted() { Email::parse(&mail.from.email) } else { None };
        unsubscribing::unsubscribe(Wish { outer: store, store: within, address: own.as_ref(), lead, campaign, step: None }).await?;
        effects::on_unsubscribing(self, lead, campaign).await
    }

    fn arrival(&self, message: MessageId, own_id: &str, nature: Nature, author: Author) -> Arrival {
        let Received { from, subject, thread_subject, snippet, .. } = self.mail;
        Arrival {
            message,
            message_id: own_id.to_owned(),
            from: from.email.clone(),
            subject: subject.clone(),
            topic: thread_subject.clone(),
            snippet: snippet.clone(),
            nature,
            author,
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

    /// Whether the sender is who the mail says. A domain without a policy is believed where the envelope names the same one, and that was checked.
    pub fn is_trusted(&self) -> bool {
        let host = |address: &str| address.rsplit_once('@').map(|(_, host)| host.to_ascii_lowercase());
        let Receipt { dmarc, spf, source, .. } = self.receipt;
        match dmarc {
            Verdict::Pass => true,
            Verdict::Fail => false,
            Verdict::Gray | Verdict::Unknown => {
                *spf == Verdict::Pass && host(source).is_some() && host(source) == host(&self.mail.from.email)
            }
        }
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
