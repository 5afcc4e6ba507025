//! Which thread a mail belongs to: the one whose address it was sent to; else one that it names, where its sender takes part; else one of the same sender
//! about the same thing; else a new one. Never another person's: what a stranger names opens nothing.

use records::campaign::CampaignId;
use records::lead::{Lead, LeadEmail, LeadId};
use records::message::Author;
use records::thread::{Correspondence, Correspondent, OwnThread, Reference, Thread, ThreadKey};
use shared::Result;
use shared::model::inbound::About;
use shared::model::user::Email;
use shared::store::Span;

use crate::receiving::Incoming;

/// Where a mail goes, and who wrote it.
pub struct Placing {
    pub place: Place,
    pub author: Author,
    /// Of whom the thread is, as it stands there.
    pub lead: Option<Lead>,
    /// No mail had its id before.
    pub is_new_id: bool,
    /// It came before, by another way.
    pub is_repeated: bool,
}

pub enum Place {
    Existing(Thread),
    New { lead: Option<Lead>, campaign: Option<CampaignId> },
}

/// Threads of one person that are compared by their subjects: the newest.
const COMPARED: usize = 20;

impl Placing {
    /// `None`: the thread takes no more for now.
    pub async fn of(incoming: &Incoming<'_>, lead: Option<LeadId>, about: Option<About>) -> Result<Option<Self>> {
        let (within, mail) = (incoming.within, incoming.mail);
        let lead = match lead {
            Some(lead) => within.find(&Lead::key_of(lead)).await?,
            None => None,
        };
        let campaign = match about {
            Some(About::Campaign(campaign)) => Some(CampaignId::from(campaign)),
            _ => None,
        };
        let thread = match named(incoming, lead.as_ref(), about).await? {
            Some(thread) => Some(thread),
            None => found(incoming, lead.as_ref()).await?,
        };
        if thread.as_ref().is_some_and(|thread| thread.is_full(incoming.now)) {
            return Ok(None);
        }
        let known = match &mail.message_id {
            Some(id) => within.find(&ThreadKey::key_of(&Reference::message(id))).await?,
            None => None,
        };
        let is_of = |thread: &Thread, key: &ThreadKey| {
            key.thread == thread.id && key.from.as_ref().is_none_or(|from| *from == Reference::address(&mail.from.email))
        };
        let is_repeated = thread.as_ref().zip(known.as_ref()).is_some_and(|(thread, key)| is_of(thread, key));
        let is_new_id = mail.message_id.is_some() && known.is_none();
        let Some(thread) = thread else {
            let lead = match lead {
                None if incoming.is_trusted() => writer(incoming).await?,
                lead => lead,
            };
            let place = Place::New { lead: lead.clone(), campaign };
            return Ok(Some(Placing { place, author: Author::Prospect, lead, is_new_id, is_repeated }));
        };
        let lead = match (lead, thread.correspondent.lead) {
            (Some(lead), Some(own)) if lead.id == own => Some(lead),
            (_, Some(own)) => within.find(&Lead::key_of(own)).await?,
            (_, None) => None,
        };
        let from = mail.from.email.to_lowercase();
        let is_theirs =
            thread.correspondent.email.to_lowercase() == from || lead.as_ref().is_some_and(|lead| lead.email.normalised() == from);
        let author = if is_theirs { Author::Prospect } else { Author::Other };
        Ok(Some(Placing { place: Place::Existing(thread), author, lead, is_new_id, is_repeated }))
    }
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
    let writer = match lead {
        Some(_) => None,
        None => writer(incoming).await?,
    };
    let lead = lead.or(writer.as_ref()).map(|lead| lead.id);
    let own = Correspondence::of(&Correspondent { email: from.clone(), name: None, lead });
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
