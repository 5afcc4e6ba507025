//! Threads: list, read, change.

use std::collections::HashMap;

use records::lead::Lead;
use records::message::Message;
use records::suppression::{Reason, Source, Suppression, SuppressionEntry, SuppressionId};
use records::thread::{Category, Thread, ThreadCard, ThreadChanges, ThreadFilter, ThreadStatus};
use serde::Serialize;
use shared::http::answer::{Answer, Listing, Tagged};
use shared::http::arguments::{Body, Found, IfMatch, NamedMember, Offsets};
use shared::http::form::{Fields, Flag, Form, Text, WorkspaceName};
use shared::model::member::{self, MemberNumber};
use shared::model::text;
use shared::model::time::{Printed, zulu};
use shared::model::user::Email;
use shared::model::workspace::{WorkspaceMember, role_in};
use shared::store::{Direction, InWorkspace, RankedPage, Span, Window};
use shared::tenancy::WorkspaceStore;
use shared::tenancy::doors::{In, Member, Viewer};
use shared::{Error, Result};

use crate::message::{MessageView, fitting};
use crate::rules::{CAMPAIGN, CATEGORY, LEAD, MEMBER, STATUS};

/// A thread in a list.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ThreadSummary)]
pub struct SummaryView {
    id: String,
    subject: String,
    snippet: String,
    status: ThreadStatus,
    last_message_at: Printed,
    lead: CorrespondentView,
    campaign_id: Option<String>,
    unread: bool,
    category: Option<Category>,
    /// The number of a member.
    assigned_to: Option<u64>,
    /// `spam`: it was found to be.
    tags: Vec<&'static str>,
}

/// Who is at the other end.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ThreadLead)]
struct CorrespondentView {
    /// Null: no lead of the workspace.
    id: Option<String>,
    email: String,
    name: Option<String>,
}

/// A thread with its newest messages, oldest first.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Thread)]
pub struct ThreadView {
    id: String,
    subject: String,
    snippet: String,
    status: ThreadStatus,
    last_message_at: Printed,
    lead: CorrespondentView,
    campaign_id: Option<String>,
    unread: bool,
    category: Option<Category>,
    /// The number of a member.
    assigned_to: Option<u64>,
    /// `spam`: it was found to be.
    tags: Vec<&'static str>,
    /// How many there are. `/messages` lists all.
    message_count: u64,
    messages: Vec<MessageView>,
    created_at: Printed,
    updated_at: Printed,
}

pub struct Changes(ThreadChanges);

pub struct Filters {
    status: ThreadStatus,
    filter: ThreadFilter,
}

/// Messages that are shown with a thread.
const MESSAGES: usize = 50;
/// Threads that one pass looks at together.
const AT_ONCE: usize = 1_000;
/// How often a change is tried again when a mail comes in at the same time.
pub const TRIES: usize = 10;

/// Those with the newest messages first. A page of a status costs the same however many threads there are. Any other filter looks at each thread of the
/// status, and there is an end to how many.
pub async fn list(door: In<Viewer>, asked: Offsets<Filters>) -> Result<Listing<SummaryView>> {
    let Offsets { filters: Filters { status, filter }, page } = asked;
    let cards = ThreadCard::of_status(status);
    if filter.keeps_all() {
        let span = page.span();
        let (found, total) = tokio::try_join!(door.store.page(&cards, &span, |_| true), door.store.count(status.counter()))?;
        return Ok(Listing { items: found.items.iter().map(SummaryView::of).collect(), total, page, next: found.next });
    }
    let total = door.store.count(status.counter()).await?;
    if total > Thread::MAX_PASSED {
        let sentence = format!(
            "This workspace has more than {} {} threads: they can be listed, but not filtered. Close or archive some.",
            Thread::MAX_PASSED,
            status.name()
        );
        return Err(Error::BadRequest(sentence.into()));
    }
    let found = passed(&door.store, status, &filter, page.span()).await?;
    Ok(Listing { items: found.items.iter().map(SummaryView::of).collect(), total: found.total, page, next: found.next })
}

pub async fn show(door: In<Viewer>, thread: Found<Thread>) -> Result<Tagged<ThreadView>> {
    answer(&door.store, &thread.0).await
}

/// Whoever has not opened the thread changes nothing: reading it marks nothing as read.
pub async fn update(
    door: In<Member>,
    thread: Found<Thread>,
    expected: IfMatch,
    changes: Body<Changes>,
    named: NamedMember,
) -> Result<Tagged<ThreadView>> {
    let (store, changes) = (&door.store, changes.0.0);
    if changes.assigned_to.flatten().is_some() {
        may_see(&door, named.0).await?;
    }
    let mut thread = thread.0;
    for _ in 0..TRIES {
        expected.check(&thread.etag())?;
        let Some(changed) = thread.changed(&changes, door.now()) else { return answer(store, &thread).await };
        // Before the thread says so, that whoever is interrupted has stopped too many mails and not too few.
        if changed.category == Some(Category::NotInterested) && thread.category != changed.category {
            not_interested(&door, &changed).await?;
        }
        let writing = changed.write(door.while_there(store.transaction())?, store, Some(&thread))?;
        match writing.commit().await {
            Err(Error::Conflict(_)) => thread = store.get(&Thread::key_of(thread.id)).await?,
            Err(error) => return Err(error),
            Ok(()) => return answer(store, &changed).await,
        }
    }
    Err(being_changed())
}

pub fn being_changed() -> Error {
    Error::Conflict("The thread is being changed by others. Try again.".into())
}

/// The correspondent gets no mail of the workspace any more: at the address that they write from, and at the lead's.
async fn not_interested(door: &In<Member>, thread: &Thread) -> Result<()> {
    let store = &door.store;
    let lead = match thread.correspondent.lead {
        Some(lead) => store.find(&Lead::key_of(lead)).await?,
        None => None,
    };
    let addresses = Email::parse(&thread.correspondent.email).into_iter().chain(lead.map(|lead| lead.email));
    for email in addresses {
        let before = store.find(&Suppression::<InWorkspace>::key_of(&email)).await?;
        let id = SuppressionId::new(store.tag(), door.now(), store.random());
        let by = Some(door.outer.member.person());
        let entry = SuppressionEntry::<InWorkspace>::new(id, email, Reason::NotInterested, Source::Reply, by, door.now());
        if !entry.says_more(before.as_ref()) {
            continue;
        }
        let writing = door.while_there(store.transaction())?;
        entry.add(writing, (&door.outer.store, store), before.as_ref())?.commit().await?;
    }
    Ok(())
}

/// Only who may enter the workspace finds the thread.
async fn may_see(door: &In<Member>, named: Option<MemberNumber>) -> Result<()> {
    let refused = || Error::field("assigned_to", "The assigned_to field must be the id of a member of this workspace.");
    let numbered = named.ok_or_else(refused)?;
    let (person, place) = (member::Member::key_of(numbered.user), WorkspaceMember::key_of(numbered.user));
    let (person, place) = tokio::try_join!(door.outer.store.find(&person), door.store.find(&place))?;
    let person = person.filter(|person| person.number == numbered.number).ok_or_else(refused)?;
    let place = place.filter(|place| place.number == person.number).map(|place| place.role);
    role_in(person.role, place).map(|_| ()).ok_or_else(refused)
}

/// Looks at each card of a status.
async fn passed(store: &WorkspaceStore, status: ThreadStatus, filter: &ThreadFilter, span: Span) -> Result<RankedPage<ThreadCard>> {
    let (cards, mut place) = (ThreadCard::of_status(status), None);
    let mut kept = HashMap::new();
    let mut window = Window::new(span, Direction::Descending)?;
    loop {
        let (some, next) = store.after(&cards, place.as_ref(), AT_ONCE).await?;
        for card in some.into_iter().filter(|card| filter.keeps(card)) {
            let thread = card.thread.to_string();
            window.add(card.last_message_at.as_millisecond(), thread.clone());
            kept.insert(thread, card);
        }
        match next {
            Some(next) => place = Some(next),
            None => break,
        }
    }
    let (threads, next, total) = window.finish();
    let card = |thread: &String| kept.get(thread).cloned();
    Ok(RankedPage { items: threads.iter().filter_map(card).collect(), next, total })
}

async fn answer(store: &WorkspaceStore, thread: &Thread) -> Result<Tagged<ThreadView>> {
    let newest = store.page(&Message::newest_of(thread.id), &Span::first(MESSAGES), |_| true).await?.items;
    let mut messages = fitting(&newest, false)?;
    messages.reverse();
    let etag = thread.etag_with(&newest);
    Ok(Answer::new("Success", ThreadView::of(thread, messages)).tagged(etag))
}

impl SummaryView {
    fn of(card: &ThreadCard) -> Self {
        let correspondent = &card.correspondent;
        SummaryView {
            id: card.thread.prefixed(),
            subject: card.subject.clone(),
            snippet: card.snippet.clone(),
            status: card.status,
            last_message_at: zulu(card.last_message_at),
            lead: CorrespondentView {
                id: correspondent.lead.map(|lead| lead.prefixed()),
                email: correspondent.email.clone(),
                name: correspondent.name.clone(),
            },
            campaign_id: card.campaign.map(|campaign| campaign.prefixed()),
            unread: card.unread,
            category: card.category,
            assigned_to: card.assigned_to,
            tags: if card.is_spam { vec!["spam"] } else { vec![] },
        }
    }
}

impl ThreadView {
    fn of(thread: &Thread, messages: Vec<MessageView>) -> Self {
        let SummaryView { id, subject, snippet, status, last_message_at, lead, campaign_id, unread, category, assigned_to, tags } =
            SummaryView::of(&thread.card());
        ThreadView {
            id,
            subject,
            snippet,
            status,
            last_message_at,
            lead,
            campaign_id,
            unread,
            category,
            assigned_to,
            tags,
            message_count: thread.messages,
            messages,
            created_at: zulu(thread.created_at),
            updated_at: zulu(thread.updated_at),
        }
    }
}

impl Form for Changes {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Changes(ThreadChanges {
            status: fields.change("status", STATUS),
            unread: fields.change("unread", Flag),
            category: fields.change_or_clear("category", CATEGORY),
            assigned_to: fields.change_or_clear("assigned_to", MEMBER).map(|number| number.map(i64::unsigned_abs)),
        }))
    }
}

impl Form for Filters {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        fields.optional("workspace", WorkspaceName);
        Some(Filters {
            status: fields.optional("status", STATUS).unwrap_or(ThreadStatus::Open),
            filter: ThreadFilter {
                unread: fields.optional("unread", Flag),
                category: fields.optional("category", CATEGORY),
                assigned_to: fields.optional("assigned_to", MEMBER).map(i64::unsigned_abs),
                lead: fields.optional("lead_id", LEAD),
                campaign: fields.optional("campaign_id", CAMPAIGN),
                search: fields.optional("search", Text { min: 2, max: 255 }).map(|search| text::fold(&search)),
            },
        })
    }
}
