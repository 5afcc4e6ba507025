//! Which thread a mail belongs to: the one whose address it was sent to; else one that it names, where its sender takes part; else one of the same sender
//! about the same thing; else a new one. Never another person's: what a stranger names opens nothing.

use received::Received;
use records::campaign::CampaignId;
use records::lead::{Lead, LeadEmail, LeadId};
use records::message::Author;
use records::stranger_day::StrangerDay;
use records::thread::{Correspondence, Correspondent, Nature, OwnThread, Reference, Thread, ThreadKey};
use shared::Result;
use shared::model::inbound::About;
use shared::model::time::day;
use shared::model::user::Email;
use shared::store::Span;

use crate::receiving::Incoming;

/// Where a mail goes, and who wrote it.
pub struct Placing {
    /// `None`: a new one.
    pub thread: Option<Thread>,
    pub author: Author,
    /// Of whom it is an answer, as it stands there.
    pub lead: Option<Lead>,
    /// Whose mail it answers, as its address says.
    pub campaign: Option<CampaignId>,
    /// No mail had its id before.
    pub is_new_id: bool,
    /// It came before, by another way.
    pub is_repeated: bool,
    /// It begins a thread and comes from no lead: how many of those, spam or not as it is, there were today.
    pub of_stranger: Option<u64>,
}

/// Threads of one person that are compared by their subjects: the newest.
const COMPARED: usize = 20;

impl Placing {
    /// `None`: the thread takes no more for now, or the workspace no more of strangers.
    pub async fn of(incoming: &Incoming<'_>, lead: Option<LeadId>, about: Option<About>) -> Result<Option<Self>> {
        let (within, mail) = (incoming.within, incoming.mail);
        let addressed = match lead {
            Some(lead) => within.find(&Lead::key_of(lead)).await?,
            None => None,
        };
        let campaign = match about {
            Some(About::Campaign(campaign)) if addressed.is_some() => Some(CampaignId::from(campaign)),
            _ => None,
        };
        let writer = if incoming.is_trusted() { writer(incoming).await? } else { None };
        let thread = match named(incoming, addressed.as_ref(), about).await? {
            Some(thread) => Some(thread),
            None => found(incoming, addressed.as_ref().or(writer.as_ref())).await?,
        };
        let known = match &mail.message_id {
            Some(id) => within.find(&ThreadKey::key_of(&Reference::message(id))).await?,
            None => None,
        };
        let from = Reference::address(&mail.from.email);
        let is_repeated = known.as_ref().is_some_and(|known| known.from.as_ref() == Some(&from));
        let is_new_id = mail.message_id.is_some() && known.is_none();
        let of_thread = match thread.as_ref().and_then(|thread| thread.correspondent.lead) {
            Some(own) if addressed.as_ref().is_none_or(|lead| lead.id != own) => within.find(&Lead::key_of(own)).await?,
            _ => None,
        };
        // Somebody wrote before they were a lead.
        let is_stranger = thread.as_ref().is_none_or(|thread| thread.correspondent.lead.is_none());
        let lead = addressed.or(of_thread).or(writer.filter(|_| is_stranger));
        let is_theirs = |address: &str| address.to_lowercase() == mail.from.email.to_lowercase();
        let is_known = match (&lead, &thread) {
            (Some(lead), _) if is_theirs(lead.email.as_str()) => true,
            (None, None) => true,
            (_, Some(thread)) => is_theirs(&thread.correspondent.email),
            (Some(_), None) => false,
        };
        let is_prospect = is_known && (incoming.is_trusted() || lead.is_none());
        let author = if is_prospect { Author::Prospect } else { Author::Other };
        if thread.as_ref().is_some_and(|thread| thread.is_full(author, incoming.now)) {
            return Ok(None);
        }
        let of_stranger = match (&thread, &lead) {
            (None, None) => Some(begun_by_strangers(incoming).await?),
            _ => None,
        };
        if of_stranger.is_some_and(|begun| begun >= StrangerDay::FULL_AFTER) {
            return Ok(None);
        }
        Ok(Some(Placing { thread, author, lead, campaign, is_new_id, is_repeated, of_stranger }))
    }

    /// Of a new thread. Who writes with another's address does not become the one who is answered.
    pub fn correspondent(&self, mail: &Received) -> Correspondent {
        let lead = self.lead.as_ref();
        let name = mail.from.name.clone().or_else(|| lead.and_then(Lead::name));
        match lead {
            Some(lead) if self.author == Author::Other => {
                Correspondent { email: lead.email.as_str().to_owned(), name: lead.name(), lead: Some(lead.id) }
            }
            lead => Correspondent { email: mail.from.email.clone(), name, lead: lead.map(|lead| lead.id) },
        }
    }
}

async fn begun_by_strangers(incoming: &Incoming<'_>) -> Result<u64> {
    let today = StrangerDay::key_of(day(incoming.now));
    Ok(incoming.within.find(&today).await?.map_or(0, |day| day.begun(incoming.nature == Nature::Spam)))
}

/// By the address that it was sent to, which we wrote.
async fn named(incoming: &Incoming<'_>, lead: Option<&Lead>, about: Option<About>) -> Result<Option<Thread>> {
    let within = incoming.within;
    match (about, lead) {
        (Some(About::Thread(thread)), _) => within.find(&Thread::key_of(thread.into())).await,
        (Some(About::Campaign(campaign)), Some(lead)) => {
            let key = ThreadKey::key_of(&Reference::campaign(campaign.into(), lead.id));
            match within.find(&key).await? {
                Some(key) => within.find(&Thread::key_of(key.thread)).await,
                None => Ok(None),
            }
        }
        _ => Ok(None),
    }
}

/// By what it says of itself, which anybody may write. So its sender must be one of the thread.
async fn found(incoming: &Incoming<'_>, lead: Option<&Lead>) -> Result<Option<Thread>> {
    let (within, mail) = (incoming.within, incoming.mail);
    if !incoming.is_trusted() {
        return Ok(None);
    }
    let from = &mail.from.email;
    let answered = mail.in_reply_to.iter().chain(mail.references.iter().rev());
    let mut keys: Vec<_> = vec![];
    for reference in answered.map(|id| Reference::message(id)) {
        if !keys.contains(&reference) {
            keys.push(reference);
        }
    }
    let keys: Vec<_> = keys.iter().map(ThreadKey::key_of).collect();
    let mut threads: Vec<_> = vec![];
    for key in within.find_many(&keys).await? {
        if !threads.contains(&key.thread) {
            threads.push(key.thread);
        }
    }
    let threads: Vec<_> = threads.into_iter().map(Thread::key_of).collect();
    if let Some(thread) = within.find_many(&threads).await?.into_iter().find(|thread| thread.has_part(from)) {
        return Ok(Some(thread));
    }
    let own = lead.map_or_else(|| Correspondence::of_address(from), |lead| Correspondence::of_lead(lead.id));
    let own = within.page(&OwnThread::of(own), &Span::first(COMPARED), |_| true).await?.items;
    let own: Vec<_> = own.into_iter().map(|own| Thread::key_of(own.thread)).collect();
    let is_meant = |thread: &Thread| thread.is_about(&mail.thread_subject, incoming.now) && thread.has_part(from);
    Ok(within.find_many(&own).await?.into_iter().find(is_meant))
}

/// The lead whose address it comes from.
async fn writer(incoming: &Incoming<'_>) -> Result<Option<Lead>> {
    let Some(email) = Email::parse(&incoming.mail.from.email) else { return Ok(None) };
    match incoming.within.find(&LeadEmail::key_of(&email)).await? {
        Some(claim) => incoming.within.find(&Lead::key_of(claim.lead)).await,
        None => Ok(None),
    }
}
