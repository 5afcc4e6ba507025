//! Threads of the inbox: what people wrote, and were answered, about one thing. A thread's card is its line in the list of its status; it is moved in the
//! transaction that changes the thread, so the newest is always first and a page costs the same however many threads there are.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::campaign::CampaignId;
use crate::lead::LeadId;
use crate::message::{Author, Message, MessageId};
use shared::ids::Segment;
use shared::model::text;
use shared::store::{
    Collection, Counter, Direction, Entity, IN_WORKSPACE, InWorkspace, Key, List, Named, Packed, Restore, Within, restored,
};
use shared::tenancy::{Transaction, WorkspaceStore, conflict};
use shared::{Result, crypto, id};

id!(/// A thread of the inbox.
    ThreadId = "th", in_workspace);

/// `threads` / `<id>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    pub id: ThreadId,
    /// Of its first message.
    pub subject: String,
    /// The subject without `Re:` and the like, folded: what a mail that names no other is compared by.
    pub topic: String,
    /// How the newest message begins.
    pub snippet: String,
    pub status: ThreadStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// The number of a member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned_to: Option<u64>,
    pub unread: bool,
    pub is_spam: bool,
    /// Whom answers go to.
    pub correspondent: Correspondent,
    /// The campaign that was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaign: Option<CampaignId>,
    /// Addresses that wrote, in lower case.
    pub participants: Vec<String>,
    pub messages: u64,
    pub last_message: MessageId,
    pub last_message_at: Timestamp,
    /// `Message-ID`s for the headers of an answer: the first, and the newest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<String>,
    pub hours: Hours,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub version: u64,
}

/// The person at the other end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Correspondent {
    pub email: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `None`: no lead of the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lead: Option<LeadId>,
}

/// What came in lately: of whom answers go to, and of all others, who cannot silence them by a flood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hours {
    pub prospect: Hour,
    pub others: Hour,
}

/// How many mails came in since it began, if that is no hour ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hour {
    pub began: Timestamp,
    pub mails: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ThreadStatus)]
pub enum ThreadStatus {
    Open,
    Archived,
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ThreadCategory)]
pub enum Category {
    Interested,
    Meeting,
    /// The correspondent gets no further mails of the workspace.
    NotInterested,
    /// Out of office.
    Ooo,
}

/// What an edit changes; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct ThreadChanges {
    pub status: Option<ThreadStatus>,
    pub unread: Option<bool>,
    pub category: Option<Option<Category>>,
    pub assigned_to: Option<Option<u64>>,
}

/// A mail that came in, as far as a thread is concerned.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub message: MessageId,
    /// The header of that name.
    pub message_id: String,
    pub from: String,
    pub subject: String,
    pub topic: String,
    pub snippet: String,
    pub nature: Nature,
    pub author: Author,
    pub at: Timestamp,
}

/// Who or what wrote a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nature {
    Person,
    OutOfOffice,
    Automatic,
    Spam,
}

impl ThreadStatus {
    pub const WORDS: &'static [&'static str] = &["open", "archived", "closed"];
    pub const ALL: [ThreadStatus; 3] = [ThreadStatus::Open, ThreadStatus::Archived, ThreadStatus::Closed];

    pub fn parse(word: &str) -> Option<Self> {
        ThreadStatus::ALL.into_iter().find(|status| status.name() == word)
    }

    pub fn name(self) -> &'static str {
        ThreadStatus::WORDS[self as usize]
    }

    /// How many threads have it.
    pub fn counter(self) -> Counter {
        match self {
            ThreadStatus::Open => Counter::named("threads_open"),
            ThreadStatus::Archived => Counter::named("threads_archived"),
            ThreadStatus::Closed => Counter::named("threads_closed"),
        }
    }
}

impl Category {
    pub const WORDS: &'static [&'static str] = &["interested", "meeting", "not_interested", "ooo"];
    const ALL: [Category; 4] = [Category::Interested, Category::Meeting, Category::NotInterested, Category::Ooo];

    pub fn parse(word: &str) -> Option<Self> {
        Category::WORDS.iter().position(|own| *own == word).map(|at| Category::ALL[at])
    }
}

impl Thread {
    pub const NOUN: &'static str = "Thread";
    /// How long a mail without a sign of what it answers belongs to a thread of the same topic.
    pub const SAME_TOPIC: SignedDuration = SignedDuration::from_hours(30 * 24);
    /// Mails in an hour, of whom answers go to or of all others, after which further ones of theirs change nothing but the list of messages: two programs
    /// are answering each other, or somebody floods.
    pub const QUIET_AFTER: u32 = 20;
    /// Mails in an hour after which further ones are dropped.
    pub const FULL_AFTER: u32 = 200;
    /// Threads that one pass looks at: a filter that would have to look at more is refused.
    pub const MAX_PASSED: u64 = 20_000;
    const PARTICIPANTS: usize = 20;
    const REFERENCES: usize = 8;

    /// A thread that begins with a mail. One that no person wrote is not in the way of those that people did.
    pub fn begun(id: ThreadId, arrival: &Arrival, correspondent: Correspondent, campaign: Option<CampaignId>) -> Self {
        let Arrival { from, at, .. } = arrival;
        let is_for_people = arrival.nature == Nature::Person;
        let none = Hour { began: *at, mails: 0 };
        Thread {
            id,
            subject: arrival.subject.clone(),
            topic: arrival.topic.clone(),
            snippet: arrival.snippet.clone(),
            status: if is_for_people { ThreadStatus::Open } else { ThreadStatus::Archived },
            category: (arrival.nature == Nature::OutOfOffice).then_some(Category::Ooo),
            assigned_to: None,
            unread: is_for_people,
            is_spam: arrival.nature == Nature::Spam,
            correspondent,
            campaign,
            participants: vec![from.to_lowercase()],
            messages: 1,
            last_message: arrival.message,
            last_message_at: *at,
            references: vec![arrival.message_id.clone()],
            hours: Hours { prospect: none, others: none }.with_mail(arrival.author, *at),
            created_at: *at,
            updated_at: *at,
            version: 1,
        }
    }

    /// With one more mail. What a person writes opens the thread again; what else comes is kept and changes nothing else. A thread of spam stays one.
    pub fn received(&self, arrival: &Arrival) -> Self {
        let mut thread = self.with_message(arrival.message, &arrival.snippet, arrival.at);
        thread.hours = self.hours.with_mail(arrival.author, arrival.at);
        let from = arrival.from.to_lowercase();
        if !thread.participants.contains(&from) && thread.participants.len() < Thread::PARTICIPANTS {
            thread.participants.push(from);
        }
        thread.refer_to(&arrival.message_id);
        if arrival.nature == Nature::Person && !thread.is_quiet(arrival.author) {
            thread.unread = true;
            if !self.is_spam {
                thread.status = ThreadStatus::Open;
            }
        }
        thread
    }

    /// With one more message of ours. Whoever answers has read what came before.
    pub fn answered(&self, message: &Message, at: Timestamp) -> Result<Self> {
        Ok(Thread { unread: false, ..self.with_message(message.id, &message.snippet()?, at) })
    }

    /// The carrier's id of an answer, to which further answers refer.
    pub fn with_reference(&self, message_id: &str) -> Self {
        let mut thread = Thread { version: self.version + 1, ..self.clone() };
        thread.refer_to(message_id);
        thread
    }

    fn with_message(&self, message: MessageId, snippet: &str, at: Timestamp) -> Self {
        let at = at.max(self.last_message_at);
        let snippet = snippet.to_owned();
        let messages = self.messages + 1;
        Thread { snippet, messages, last_message: message, last_message_at: at, updated_at: at, version: self.version + 1, ..self.clone() }
    }

    fn refer_to(&mut self, message_id: &str) {
        self.references.push(message_id.to_owned());
        if self.references.len() > Thread::REFERENCES {
            self.references.remove(1);
        }
    }

    /// Whether so much of them came in this hour that it has no effects any more.
    pub fn is_quiet(&self, author: Author) -> bool {
        self.hours.of(author).mails > Thread::QUIET_AFTER
    }

    /// Whether a further mail of theirs is dropped.
    pub fn is_full(&self, author: Author, now: Timestamp) -> bool {
        self.hours.with_mail(author, now).of(author).mails > Thread::FULL_AFTER
    }

    /// Whether somebody with that address has written here, or is written to.
    pub fn has_part(&self, address: &str) -> bool {
        let address = address.to_lowercase();
        self.participants.contains(&address) || self.correspondent.email.to_lowercase() == address
    }

    /// Whether a mail belongs here that only says its subject.
    pub fn is_about(&self, topic: &str, now: Timestamp) -> bool {
        !topic.is_empty() && self.topic == topic && now.duration_since(self.last_message_at) <= Thread::SAME_TOPIC
    }

    /// `None`: it is so already.
    pub fn changed(&self, changes: &ThreadChanges, now: Timestamp) -> Option<Self> {
        let mut thread = self.clone();
        thread.status = changes.status.unwrap_or(thread.status);
        thread.unread = changes.unread.unwrap_or(thread.unread);
        thread.category = changes.category.unwrap_or(thread.category);
        thread.assigned_to = changes.assigned_to.unwrap_or(thread.assigned_to);
        // Whoever takes it out of the archive has found it to be none.
        if thread.status == ThreadStatus::Open {
            thread.is_spam = false;
        }
        (thread != *self).then(|| Thread { updated_at: now, version: self.version + 1, ..thread })
    }

    /// Writes it, with its card and its place in the counts. `before`: as it stands there, unless it is new.
    pub fn write<'a>(&self, mut transaction: Transaction<'a>, store: &WorkspaceStore, before: Option<&Thread>) -> Result<Transaction<'a>> {
        let card = self.card();
        let Some(before) = before else {
            let own = OwnThread { correspondence: Correspondence::of(&self.correspondent), thread: self.id };
            return transaction.create(store, self, conflict("This thread exists."))?.put(store, &card)?.put(store, &own)?.count(
                store,
                self.status.counter(),
                1,
            );
        };
        transaction = transaction.replace(store, self, before)?;
        let earlier = before.card();
        if earlier.place() != card.place() {
            transaction = transaction.remove(store, &earlier.key())?;
        }
        transaction = transaction.put(store, &card)?;
        if before.status != self.status {
            transaction = transaction.count(store, before.status.counter(), -1)?.count(store, self.status.counter(), 1)?;
        }
        Ok(transaction)
    }

    /// Takes it out of the lists and the counts, with itself. Its messages are deleted beforehand.
    pub fn delete<'a>(&self, transaction: Transaction<'a>, store: &WorkspaceStore) -> Result<Transaction<'a>> {
        let own = OwnThread { correspondence: Correspondence::of(&self.correspondent), thread: self.id };
        transaction.delete_unchanged(store, self)?.remove(store, &self.card().key())?.remove(store, &own.key())?.count(
            store,
            self.status.counter(),
            -1,
        )
    }

    pub fn card(&self) -> ThreadCard {
        ThreadCard {
            thread: self.id,
            status: self.status,
            subject: self.subject.clone(),
            snippet: self.snippet.clone(),
            last_message_at: self.last_message_at,
            correspondent: self.correspondent.clone(),
            campaign: self.campaign,
            unread: self.unread,
            category: self.category,
            assigned_to: self.assigned_to,
            is_spam: self.is_spam,
        }
    }

    pub fn etag(&self) -> String {
        format!("\"{}\"", self.version)
    }

    /// Of an answer that also shows these messages, which change by themselves while they are sent.
    pub fn etag_with(&self, messages: &[Message]) -> String {
        format!("\"{}.{}\"", self.version, messages.iter().map(|message| message.version).sum::<u64>())
    }

    pub fn key_of(id: ThreadId) -> Key<Self> {
        Key::new(&Collection::of::<Thread>(), id)
    }
}

impl Hours {
    fn of(self, author: Author) -> Hour {
        match author {
            Author::Prospect => self.prospect,
            Author::Me | Author::Other => self.others,
        }
    }

    fn with_mail(self, author: Author, at: Timestamp) -> Self {
        match author {
            Author::Prospect => Hours { prospect: self.prospect.with_mail(at), ..self },
            Author::Me | Author::Other => Hours { others: self.others.with_mail(at), ..self },
        }
    }
}

impl Hour {
    fn with_mail(self, at: Timestamp) -> Self {
        match at.duration_since(self.began) >= SignedDuration::from_hours(1) {
            true => Hour { began: at, mails: 1 },
            false => Hour { mails: self.mails.saturating_add(1), ..self },
        }
    }
}

impl Entity for Thread {
    type Scope = InWorkspace;
    const TYPE: &'static str = "thread";
    const COLLECTION: &'static str = "threads";
    const MAILS_AUDITED: bool = false;
    const WITHIN: Option<Within> = Some(IN_WORKSPACE);
    const NOUN: Option<&'static str> = Some(Thread::NOUN);
    const RESTORE: Option<Restore> = Some(restored::<Thread>);

    fn key(&self) -> Key<Self> {
        Thread::key_of(self.id)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }
}

impl Named for Thread {
    type Id = ThreadId;

    fn places(id: ThreadId) -> Vec<Key<Self>> {
        vec![Thread::key_of(id)]
    }
}

/// `inbox` / `<status>#<moment of the newest message>#<thread>`: what lists show of a thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadCard {
    pub thread: ThreadId,
    pub status: ThreadStatus,
    pub subject: String,
    pub snippet: String,
    pub last_message_at: Timestamp,
    pub correspondent: Correspondent,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaign: Option<CampaignId>,
    pub unread: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned_to: Option<u64>,
    pub is_spam: bool,
}

/// Status, moment and thread.
#[derive(PartialEq, Eq)]
struct Place(ThreadStatus, i64, ThreadId);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{:015}#{}", self.0.name(), self.1, self.2)
    }
}

impl Segment for Place {}

impl ThreadCard {
    fn place(&self) -> Place {
        Place(self.status, self.last_message_at.as_millisecond(), self.thread)
    }

    /// Those of a status, those with the newest messages first.
    pub fn of_status(status: ThreadStatus) -> List<Self> {
        List::behind(Collection::of::<ThreadCard>(), status.name()).going(Direction::Descending)
    }
}

/// With the count of its status, which goes with the card.
fn restored_card(data: Value) -> Option<Packed> {
    let card: ThreadCard = serde_json::from_value(data).ok()?;
    let mut packed = Packed::of(&card).ok()?;
    packed.counter = Some(card.status.counter());
    Some(packed)
}

impl Entity for ThreadCard {
    type Scope = InWorkspace;
    const TYPE: &'static str = "thread_card";
    const COLLECTION: &'static str = "inbox";
    const WITHIN: Option<Within> = Some(IN_WORKSPACE);
    /// The thread is.
    const AUDITED: bool = false;
    const RESTORE: Option<Restore> = Some(restored_card);

    fn key(&self) -> Key<Self> {
        Key::new(&Collection::of::<ThreadCard>(), self.place())
    }
}

/// Which threads a list shows; text is folded. Beside the status, by which they lie.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ThreadFilter {
    pub unread: Option<bool>,
    pub category: Option<Category>,
    /// The number of a member.
    pub assigned_to: Option<u64>,
    pub lead: Option<LeadId>,
    pub campaign: Option<CampaignId>,
    pub search: Option<String>,
}

impl ThreadFilter {
    pub fn keeps(&self, card: &ThreadCard) -> bool {
        self.unread.is_none_or(|unread| card.unread == unread)
            && self.category.is_none_or(|category| card.category == Some(category))
            && self.assigned_to.is_none_or(|number| card.assigned_to == Some(number))
            && self.lead.is_none_or(|lead| card.correspondent.lead == Some(lead))
            && self.campaign.is_none_or(|campaign| card.campaign == Some(campaign))
            && self.search.as_ref().is_none_or(|search| card.says(search))
    }

    pub fn keeps_all(&self) -> bool {
        *self == ThreadFilter::default()
    }
}

impl ThreadCard {
    /// Whether the subject, the name or the address contains it.
    fn says(&self, search: &str) -> bool {
        let name = self.correspondent.name.as_deref().unwrap_or_default();
        [self.subject.as_str(), name, &self.correspondent.email].iter().any(|own| text::fold(own).contains(search))
    }
}

/// Whose threads: a lead's, or an address's that is no lead's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Correspondence(String);

impl Correspondence {
    pub fn of(correspondent: &Correspondent) -> Self {
        match correspondent.lead {
            Some(lead) => Correspondence::of_lead(lead),
            None => Correspondence::of_address(&correspondent.email),
        }
    }

    pub fn of_address(email: &str) -> Self {
        Correspondence(crypto::hash(&[email.to_lowercase().as_bytes()]))
    }

    pub fn of_lead(lead: LeadId) -> Self {
        Correspondence(lead.to_string())
    }
}

impl fmt::Display for Correspondence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Segment for Correspondence {}

/// `threads-of` / `<correspondence>#<thread>`: the threads of somebody, to find the one that a mail belongs to, and to erase those of a lead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnThread {
    pub correspondence: Correspondence,
    pub thread: ThreadId,
}

struct OwnThreadKey(Correspondence, ThreadId);

impl fmt::Display for OwnThreadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.0, self.1)
    }
}

impl Segment for OwnThreadKey {}

impl OwnThread {
    /// Newest first.
    pub fn of(correspondence: Correspondence) -> List<Self> {
        List::behind(Collection::of::<OwnThread>(), correspondence).going(Direction::Descending)
    }
}

impl Entity for OwnThread {
    type Scope = InWorkspace;
    const TYPE: &'static str = "own_thread";
    const COLLECTION: &'static str = "threads-of";
    const WITHIN: Option<Within> = Some(IN_WORKSPACE);
    const AUDITED: bool = false;
    const RESTORE: Option<Restore> = Some(restored::<OwnThread>);

    fn key(&self) -> Key<Self> {
        Key::new(&Collection::of::<OwnThread>(), OwnThreadKey(self.correspondence.clone(), self.thread))
    }
}

/// `thread-keys` / `<hash>`: the thread of something that a mail may name, or of a mail that was received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadKey {
    pub hash: Reference,
    pub thread: ThreadId,
    /// Who wrote what has the name, folded into the hash of their address; none for what we wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Reference>,
    pub expires_at: Timestamp,
}

/// A hash of what leads to a thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reference(String);

impl Reference {
    /// The `Message-ID` of a mail. What Amazon SES gives is unique without its host, of which there are several.
    pub fn message(id: &str) -> Self {
        let of_ses = id.rsplit_once('@').filter(|(_, host)| *host == "amazonses.com" || host.ends_with(".amazonses.com"));
        Reference(crypto::hash(&[b"message", of_ses.map_or(id, |(own, _)| own).as_bytes()]))
    }

    /// A mail that was received, by the receiving service's own id of it.
    pub fn receipt(id: &str) -> Self {
        Reference(crypto::hash(&[b"receipt", id.as_bytes()]))
    }

    /// All answers of a lead to the mails of a campaign.
    pub fn campaign(campaign: CampaignId, lead: LeadId) -> Self {
        Reference(crypto::hash(&[b"campaign", campaign.to_string().as_bytes(), lead.to_string().as_bytes()]))
    }

    pub fn address(email: &str) -> Self {
        Reference(crypto::hash(&[b"address", email.to_lowercase().as_bytes()]))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Segment for Reference {}

impl ThreadKey {
    const KEPT: SignedDuration = SignedDuration::from_hours(400 * 24);

    pub fn new(hash: Reference, thread: ThreadId, from: Option<&str>, now: Timestamp) -> Self {
        ThreadKey { hash, thread, from: from.map(Reference::address), expires_at: now + ThreadKey::KEPT }
    }

    pub fn key_of(hash: &Reference) -> Key<Self> {
        Key::new(&Collection::of::<ThreadKey>(), hash.clone())
    }
}

impl Entity for ThreadKey {
    type Scope = InWorkspace;
    const TYPE: &'static str = "thread_key";
    const COLLECTION: &'static str = "thread-keys";
    const WITHIN: Option<Within> = Some(IN_WORKSPACE);
    const AUDITED: bool = false;
    const RESTORE: Option<Restore> = Some(restored::<ThreadKey>);

    fn key(&self) -> Key<Self> {
        ThreadKey::key_of(&self.hash)
    }

    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.expires_at)
    }
}

#[cfg(test)]
mod tests {
    use shared::crypto::Random;
    use shared::ids::WorkspaceTag;
    use shared::model::member::Person;

    use super::*;

    fn arrival(nature: Nature, minutes: i64) -> Arrival {
        let at = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes);
        Arrival {
            message: MessageId::new(WorkspaceTag::NONE, at, &Random::seeded(2)),
            message_id: format!("{minutes}@mail.example"),
            from: "Ada@Mail.example".into(),
            subject: "Re: Spring".into(),
            topic: "spring".into(),
            snippet: "Yes".into(),
            nature,
            author: Author::Prospect,
            at,
        }
    }

    fn begun(nature: Nature) -> Thread {
        let (id, arrival) = (ThreadId::new(WorkspaceTag::NONE, Timestamp::UNIX_EPOCH, &Random::seeded(1)), arrival(nature, 0));
        let correspondent = Correspondent { email: arrival.from.clone(), name: None, lead: None };
        Thread::begun(id, &arrival, correspondent, None)
    }

    #[test]
    fn only_what_a_person_writes_opens_a_thread() {
        let state = |thread: &Thread| (thread.status, thread.unread, thread.category, thread.is_spam);
        assert_eq!(state(&begun(Nature::Person)), (ThreadStatus::Open, true, None, false));
        assert_eq!(state(&begun(Nature::OutOfOffice)), (ThreadStatus::Archived, false, Some(Category::Ooo), false));
        assert_eq!(state(&begun(Nature::Automatic)), (ThreadStatus::Archived, false, None, false));
        assert_eq!(state(&begun(Nature::Spam)), (ThreadStatus::Archived, false, None, true));
        let read = ThreadChanges { status: Some(ThreadStatus::Closed), unread: Some(false), ..ThreadChanges::default() };
        let closed = begun(Nature::Person).changed(&read, Timestamp::UNIX_EPOCH).expect("a change");
        for nature in [Nature::OutOfOffice, Nature::Automatic, Nature::Spam] {
            assert_eq!(state(&closed.received(&arrival(nature, 1))), (ThreadStatus::Closed, false, None, false), "{nature:?}");
        }
        let again = closed.received(&arrival(Nature::Person, 1));
        assert_eq!((state(&again), again.messages), ((ThreadStatus::Open, true, None, false), 2));
        let by = Person { id: 1, name: "Ada".into(), email: "ada@example.com".into() };
        let answer = Message::answer(again.last_message, &again, "Thank you,\n\nAda", by, again.last_message_at);
        let answered = again.answered(&answer, again.last_message_at).unwrap();
        assert_eq!((answered.unread, answered.snippet.as_str(), answer.subject.as_str()), (false, "Thank you, Ada", "Re: Spring"));
    }

    #[test]
    fn two_programs_that_answer_each_other_come_to_rest() {
        let mut thread = begun(Nature::Person);
        for minute in 1..60 {
            let read = Thread { unread: false, ..thread.clone() };
            thread = read.received(&arrival(Nature::Person, minute / 2));
            assert_eq!(thread.unread, minute < i64::from(Thread::QUIET_AFTER), "{minute}");
        }
        let later = thread.received(&arrival(Nature::Person, 61));
        assert!(later.unread && !later.is_quiet(Author::Prospect) && !later.is_full(Author::Prospect, later.last_message_at));
    }

    #[test]
    fn a_flood_of_others_silences_nobody_else() {
        let flood = |thread: Thread, _| thread.received(&Arrival { author: Author::Other, ..arrival(Nature::Person, 1) });
        let flooded = (0..Thread::FULL_AFTER).fold(begun(Nature::Person), flood);
        assert!(flooded.is_full(Author::Other, flooded.last_message_at) && !flooded.is_full(Author::Prospect, flooded.last_message_at));
        let closed = Thread { status: ThreadStatus::Closed, unread: false, ..flooded };
        let of_other = closed.received(&Arrival { author: Author::Other, ..arrival(Nature::Person, 2) });
        assert!(!of_other.unread && of_other.is_quiet(Author::Other));
        let heard = of_other.received(&arrival(Nature::Person, 2));
        assert!(heard.unread && heard.status == ThreadStatus::Open && !heard.is_quiet(Author::Prospect));
    }

    #[test]
    fn the_headers_of_an_answer_name_the_first_and_the_newest() {
        let thread = (1..20).fold(begun(Nature::Person), |thread, minute| thread.received(&arrival(Nature::Automatic, minute)));
        assert_eq!(thread.references.len(), Thread::REFERENCES);
        assert_eq!((thread.references[0].as_str(), thread.references[7].as_str()), ("0@mail.example", "19@mail.example"));
    }

    #[test]
    fn a_mail_of_another_or_an_old_topic_belongs_elsewhere() {
        let (thread, day) = (begun(Nature::Person), SignedDuration::from_hours(24));
        let after = |days: i32| Timestamp::UNIX_EPOCH + day * days;
        assert!(thread.is_about("spring", after(30)) && !thread.is_about("spring", after(31)) && !thread.is_about("autumn", after(1)));
        assert!(!Thread { topic: String::new(), ..thread.clone() }.is_about("", after(0)), "no subject is no topic");
        assert!(thread.has_part("ADA@mail.example") && !thread.has_part("bob@mail.example"));
    }

    #[test]
    fn a_search_finds_what_contains_it() {
        let card = begun(Nature::Person).card();
        let found = |search: &str| ThreadFilter { search: Some(text::fold(search)), ..ThreadFilter::default() }.keeps(&card);
        assert!(found("SPRING") && found("mail.ex") && !found("yes"));
        assert!(ThreadFilter { unread: Some(true), ..ThreadFilter::default() }.keeps(&card));
        assert!(!ThreadFilter { assigned_to: Some(1), ..ThreadFilter::default() }.keeps(&card));
    }
}
