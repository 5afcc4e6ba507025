//! The suppression list: list, add, check, lift. A workspace has its own; what is suppressed in the tenant gets no mail from any workspace.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use futures_util::future::try_join_all;
use records::activity::{Activity, ActivityId, ActivityKind};
use records::lead::{Lead, LeadEmail};
use records::suppression::{
    AddressHash, Reach, Reason, Source, Suppression, SuppressionChange, SuppressionChangeId, SuppressionEntry, SuppressionId,
    SuppressionScope,
};
use serde::Serialize;
use shared::http::answer::{Answer, Created, Listing, NoContent};
use shared::http::arguments::{Body, Offsets, Query, path_id};
use shared::http::form::{EmailAddress, Fields, Form, OneOf, Several, Text, WorkspaceName};
use shared::http::idempotency::Once;
use shared::http::{Argument, Operation};
use shared::ids::{PathId, WorkspaceTag};
use shared::model::time::{Printed, zulu};
use shared::model::user::Email;
use shared::model::workspace::Workspace;
use shared::store::{Direction, Entity, InTenant, InWorkspace, Page, Position, Span};
use shared::tenancy::doors::{Admin, AtLeast, In, Member, Tenanted, Viewer};
use shared::tenancy::{Entered, Incoming, Role, Store, Transaction, Wants, WorkspaceStore, conflict, missing};
use shared::{Error, Result};

/// A suppressed address.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Suppression)]
pub struct SuppressionView {
    id: String,
    email: Email,
    scope: Reach,
    reason: Reason,
    source: Source,
    added_at: Printed,
}

/// Whether an address gets no mail, and why. With the tenant's reason where both have one.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = SuppressionCheck)]
pub struct CheckView {
    email: Email,
    suppressed: bool,
    scope: Option<Reach>,
    reason: Option<Reason>,
    source: Option<Source>,
    added_at: Option<Printed>,
}

/// What became of the addresses.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = SuppressedMany)]
pub struct ManyView {
    added: u64,
    /// They were suppressed before. A request of the person, or a complaint, takes the place of another reason.
    already: u64,
}

pub struct Filters {
    scope: Option<Reach>,
}

pub struct NewSuppression {
    email: Email,
    scope: Reach,
    reason: Reason,
}

pub struct NewSuppressions {
    emails: Vec<Email>,
    scope: Reach,
    reason: Reason,
}

pub struct Asked(Email);

pub struct Lifting {
    evidence: Option<String>,
}

const SCOPE: OneOf<Reach> = OneOf { words: Reach::WORDS, parse: Reach::parse };
const REASON: OneOf<Reason> = OneOf { words: Reason::WORDS, parse: Reason::parse };
/// Addresses of one transaction, which has up to three writes for each.
const TOGETHER: usize = 30;
/// How often it is tried again when somebody else changes the same address.
const TRIES: usize = 5;
/// Workspaces that are looked into at once.
const AT_ONCE: usize = 25;

/// Newest first. The tenant's own are for its admins: they hold addresses of other workspaces.
pub async fn list(door: In<Viewer>, asked: Offsets<Filters>) -> Result<Listing<SuppressionView>> {
    let Offsets { filters, page } = asked;
    let (of_tenant, of_workspace) = match filters.scope {
        Some(Reach::Workspace) => (false, true),
        Some(Reach::Tenant) => {
            for_the_tenant(&door)?;
            (true, false)
        }
        None => (for_the_tenant(&door).is_ok(), true),
    };
    let (mut views, mut total, mut nexts) = (vec![], 0, false);
    // Both lists are in the order of their ids, which the page follows: it holds the first of what both have.
    let span = Span { skip: 0, limit: page.span().skip + page.span().limit, ..page.span() };
    if of_tenant {
        let (found, count) = part(&door.outer.store, &span).await?;
        (total, nexts) = (total + count, nexts || found.next.is_some());
        views.extend(found.items.iter().map(|entry| (Place::of(entry), SuppressionView::of(entry, door.store.tag()))));
    }
    if of_workspace {
        let (found, count) = part(&door.store, &span).await?;
        (total, nexts) = (total + count, nexts || found.next.is_some());
        views.extend(found.items.iter().map(|entry| (Place::of(entry), SuppressionView::of(entry, door.store.tag()))));
    }
    views.sort_by_key(|(place, _)| Reverse(place.id));
    let more = nexts || views.len() > span.limit;
    views.truncate(span.limit);
    let next = views.last().filter(|_| more).map(|(place, _)| place.position.clone());
    let items = views.into_iter().skip(page.span().skip).map(|(_, view)| view).collect();
    Ok(Listing { items, total, page, next })
}

pub async fn create(door: In<Member>, once: Once<NewSuppression>) -> Result<Answer<SuppressionView, 201>> {
    let NewSuppression { email, scope, reason } = once.body;
    let (by, now, random) = (Some(door.outer.member.person()), door.now(), door.store.random());
    match scope {
        Reach::Tenant => {
            for_the_tenant(&door)?;
            let id = SuppressionId::new(WorkspaceTag::NONE, now, random);
            let entry = SuppressionEntry::<InTenant>::new(id, email, reason, Source::Api, by, now);
            create_one(&door, &door.outer.store, &once.ticket, entry).await
        }
        Reach::Workspace => {
            let id = SuppressionId::new(door.store.tag(), now, random);
            let entry = SuppressionEntry::<InWorkspace>::new(id, email, reason, Source::Api, by, now);
            create_one(&door, &door.store, &once.ticket, entry).await
        }
    }
}

async fn create_one<S: SuppressionScope>(
    door: &In<Member>,
    store: &Store<S>,
    ticket: &shared::http::idempotency::Ticket,
    entry: SuppressionEntry<S>,
) -> Result<Answer<SuppressionView, 201>>
where
    Suppression<S>: Entity<Scope = S>,
    SuppressionEntry<S>: Entity<Scope = S>,
{
    // One that stands is refused by the transaction, in which the answer to an earlier request with the same key comes first.
    let before = store.find(&Suppression::<S>::key_of(&entry.email)).await?.filter(|before| entry.says_more(Some(before)));
    let answer = Created::new("Address suppressed", SuppressionView::of(&entry, door.store.tag()));
    let transaction = door.while_there(ticket.record(store.transaction(), &door.outer.store, &answer)?)?;
    entry.add(transaction, (&door.outer.store, store), before.as_ref())?.commit().await?;
    Ok(answer)
}

/// The same request again adds nothing more, so its answer is kept after its effect.
pub async fn create_many(door: In<Member>, body: Body<NewSuppressions>) -> Result<Answer<ManyView>> {
    let NewSuppressions { emails, scope, reason } = body.0;
    let view = match scope {
        Reach::Tenant => {
            for_the_tenant(&door)?;
            add_all(&door, &door.outer.store, WorkspaceTag::NONE, emails, reason).await?
        }
        Reach::Workspace => add_all(&door, &door.store, door.store.tag(), emails, reason).await?,
    };
    Ok(Answer::new("Success", view))
}

async fn add_all<S: SuppressionScope>(
    door: &In<Member>,
    store: &Store<S>,
    tag: WorkspaceTag,
    emails: Vec<Email>,
    reason: Reason,
) -> Result<ManyView>
where
    Suppression<S>: Entity<Scope = S>,
    SuppressionEntry<S>: Entity<Scope = S>,
{
    let mut view = ManyView { added: 0, already: 0 };
    // Ids of one moment differ in few bits, and a thousand may have two alike.
    let mut ids = BTreeSet::new();
    for some in emails.chunks(TOGETHER) {
        let mut tries = 0;
        let (added, already) = loop {
            match add_some(door, store, tag, some, reason, &mut ids).await {
                // Somebody suppressed one of them at the same time: they are looked at again.
                Err(Error::Conflict(_)) if tries < TRIES => tries += 1,
                done => break done?,
            }
        };
        view.added += added;
        view.already += already;
    }
    Ok(view)
}

async fn add_some<S: SuppressionScope>(
    door: &In<Member>,
    store: &Store<S>,
    tag: WorkspaceTag,
    emails: &[Email],
    reason: Reason,
    ids: &mut BTreeSet<SuppressionId>,
) -> Result<(u64, u64)>
where
    Suppression<S>: Entity<Scope = S>,
    SuppressionEntry<S>: Entity<Scope = S>,
{
    let keys: Vec<_> = emails.iter().map(Suppression::<S>::key_of).collect();
    let known = store.find_many(&keys).await?;
    let mut entries = vec![];
    for email in emails {
        let address = AddressHash::of(email);
        let before = known.iter().find(|known| known.address == address);
        let mut id = SuppressionId::new(tag, door.now(), store.random());
        while !ids.insert(id) {
            id = SuppressionId::new(tag, door.now(), store.random());
        }
        let by = Some(door.outer.member.person());
        entries.push((SuppressionEntry::<S>::new(id, email.clone(), reason, Source::Api, by, door.now()), before));
    }
    entries.retain(|(entry, before)| entry.says_more(*before));
    let added = entries.iter().filter(|(_, before)| before.is_none_or(|before| before.current.is_none())).count() as u64;
    if !entries.is_empty() {
        let entries: Vec<_> = entries.iter().map(|(entry, before)| (entry, *before)).collect();
        SuppressionEntry::add_all(&entries, door.while_there(store.transaction())?, (&door.outer.store, store))?.commit().await?;
    }
    Ok((added, emails.len() as u64 - added))
}

pub async fn check(door: In<Viewer>, asked: Query<Asked>) -> Result<Answer<CheckView>> {
    let email = asked.0.0;
    let of_tenant = door.outer.store.find(&Suppression::<InTenant>::key_of(&email)).await?.and_then(|found| found.current);
    let found = match of_tenant {
        Some(found) => Some((Reach::Tenant, found)),
        None => {
            let found = door.store.find(&Suppression::<InWorkspace>::key_of(&email)).await?;
            found.and_then(|found| found.current).map(|found| (Reach::Workspace, found))
        }
    };
    let view = CheckView {
        email,
        suppressed: found.is_some(),
        scope: found.as_ref().map(|(scope, _)| *scope),
        reason: found.as_ref().map(|(_, found)| found.reason),
        source: found.as_ref().map(|(_, found)| found.source),
        added_at: found.as_ref().map(|(_, found)| zulu(found.added_at)),
    };
    Ok(Answer::new("Success", view))
}

/// The address goes, and the hash with what it was stays. The leads with the address may get mail again, unless the other list keeps them from it.
pub async fn delete(door: In<Admin>, entry: FoundEntry, body: Body<Lifting>) -> Result<NoContent> {
    let evidence = body.0.evidence;
    match entry {
        FoundEntry::OfTenant(entry) => {
            for_the_tenant(&door)?;
            let lift = Lift { door: &door, store: &door.outer.store, entry, evidence };
            // Before the address is lifted: whoever is interrupted here finds it suppressed still, and asks again.
            lift.reach_in_other_workspaces().await?;
            lift.run().await?;
        }
        FoundEntry::OfWorkspace(entry) => Lift { door: &door, store: &door.store, entry, evidence }.run().await?,
    }
    Ok(NoContent)
}

/// The end of a suppression.
struct Lift<'a, S> {
    door: &'a In<Admin>,
    store: &'a Store<S>,
    entry: SuppressionEntry<S>,
    evidence: Option<String>,
}

impl<S: SuppressionScope> Lift<'_, S>
where
    Suppression<S>: Entity<Scope = S>,
    SuppressionEntry<S>: Entity<Scope = S>,
{
    async fn run(&self) -> Result<()> {
        for _ in 0..TRIES {
            match self.once().await {
                Err(Error::Conflict(_)) => {}
                done => return done,
            }
        }
        Err(being_changed())
    }

    /// With the lead of the request's workspace.
    async fn once(&self) -> Result<()> {
        let Lift { door, store, entry, evidence } = self;
        let stands = self.stands().await?;
        let missing = || Error::Missing(SuppressionEntry::<S>::NAME);
        let lifted = stands.lifted(door.outer.member.person(), evidence.clone(), door.now()).ok_or_else(missing)?;
        let lead = self.kept_from_mail(&door.store).await?;
        let transaction = door.require_role(door.while_there(store.transaction())?, Role::Admin, None)?;
        let change = SuppressionChange::lifted(SuppressionChangeId::new(door.now(), store.random()), S::WORD, entry.reason, door.now());
        let transaction = transaction
            .delete(*store, &SuppressionEntry::<S>::key_of(entry.id), Box::new(|_| Error::Missing(SuppressionEntry::<S>::NAME)))?
            .replace(*store, &lifted, &stands)?
            .count(store, S::COUNTER, -1)?
            .create(&door.outer.store, &change, conflict("This change exists already."))?;
        self.reached(transaction, &door.store, lead.as_ref())?.commit().await
    }

    /// A lead says by itself whether mail may reach it, so that of each workspace is asked.
    async fn reach_in_other_workspaces(&self) -> Result<()> {
        let outer = &self.door.outer;
        let all = Workspace::all();
        let workspaces = outer.store.all(&all).await?;
        let others: Vec<_> =
            workspaces.iter().filter(|other| other.id != self.door.workspace.id).map(|other| outer.workspace(other.id)).collect();
        // A lift that is refused changes nothing anywhere, so all is asked before the first write.
        self.stands().await?;
        for some in others.chunks(AT_ONCE) {
            try_join_all(some.iter().map(|within| self.kept_from_mail(within))).await?;
        }
        for some in others.chunks(AT_ONCE) {
            try_join_all(some.iter().map(|within| self.reach_in(within))).await?;
        }
        Ok(())
    }

    /// What is lifted, if it may be and is still there.
    async fn stands(&self) -> Result<Suppression<S>> {
        self.may_reach(self.entry.reason.is_their_will())?;
        let stands = self.store.get(&Suppression::<S>::key_of(&self.entry.email)).await?;
        match stands.current.as_ref().is_some_and(|current| current.entry == self.entry.id) {
            true => Ok(stands),
            false => Err(Error::Missing(SuppressionEntry::<S>::NAME)),
        }
    }

    async fn reach_in(&self, within: &WorkspaceStore) -> Result<()> {
        for _ in 0..TRIES {
            let Some(lead) = self.kept_from_mail(within).await? else { return Ok(()) };
            let there = Workspace::key_of(within.tag());
            let transaction = self.door.require_role(within.transaction(), Role::Admin, None)?;
            let transaction = transaction.require(&self.door.outer.store, &there, missing())?;
            match self.reached(transaction, within, Some(&lead))?.commit().await {
                Err(Error::Conflict(_)) => {}
                // Lead or workspace went at the same time.
                Err(Error::NotFound | Error::Missing(_)) => return Ok(()),
                done => return done,
            }
        }
        Err(being_changed())
    }

    /// The lead of a workspace that gets mail again with this lift. `None`: there is none, it gets mail already, or the other list keeps it from that.
    async fn kept_from_mail(&self, within: &WorkspaceStore) -> Result<Option<Lead>> {
        let (outer, email) = (&self.door.outer.store, &self.entry.email);
        let Some(claim) = within.find(&LeadEmail::key_of(email)).await? else { return Ok(None) };
        let is_kept = |lead: &Lead| lead.email.normalised() == email.normalised() && lead.reachable_again().is_some();
        let Some(lead) = within.find(&Lead::key_of(claim.lead)).await?.filter(is_kept) else { return Ok(None) };
        // What is suppressed there at the same time stops mails by itself.
        let by_the_other = match S::WORD {
            Reach::Tenant => within.find(&Suppression::<InWorkspace>::key_of(email)).await?.is_some_and(|other| other.current.is_some()),
            Reach::Workspace => outer.find(&Suppression::<InTenant>::key_of(email)).await?.is_some_and(|other| other.current.is_some()),
        };
        if by_the_other {
            return Ok(None);
        }
        self.may_reach(lead.email_status.is_their_will())?;
        Ok(Some(lead))
    }

    /// Who did not want mail gets it again only where somebody says why.
    fn may_reach(&self, is_against_their_will: bool) -> Result<()> {
        if is_against_their_will && self.evidence.is_none() {
            let sentence = "The evidence field is required: say how you know that they want mail again.";
            return Err(Error::field("evidence", sentence));
        }
        Ok(())
    }

    fn reached<'a>(&'a self, transaction: Transaction<'a>, within: &WorkspaceStore, lead: Option<&Lead>) -> Result<Transaction<'a>> {
        let Some((lead, again)) = lead.and_then(|lead| Some((lead, lead.reachable_again()?.with_activity()))) else {
            return Ok(transaction);
        };
        let id = ActivityId::new(within.tag(), self.door.now(), within.random());
        let activity = Activity {
            by: Some(self.door.outer.member.person()),
            ..Activity::new(id, lead.id, ActivityKind::SuppressionLifted, self.door.now())
        };
        transaction.replace(within, &again, lead)?.create(within, &activity, conflict("This entry exists already."))
    }
}

fn being_changed() -> Error {
    Error::Conflict("This address is being changed by others. Try again.".into())
}

/// What is suppressed in all workspaces is for those who reach all of them.
fn for_the_tenant<R: AtLeast>(door: &In<Tenanted<R>>) -> Result<()> {
    let outer = &door.outer;
    let reaches_all = outer.member.role >= Role::Admin && outer.key.as_ref().is_none_or(|key| key.workspaces.is_none());
    if reaches_all { Ok(()) } else { Err(Error::Forbidden("What is suppressed in the whole tenant is for its admins.".into())) }
}

async fn part<S: SuppressionScope>(store: &Store<S>, span: &Span) -> Result<(Page<SuppressionEntry<S>>, u64)>
where
    Suppression<S>: Entity<Scope = S>,
    SuppressionEntry<S>: Entity<Scope = S>,
{
    let found = store.page(&SuppressionEntry::<S>::all().going(Direction::Descending), span, |_| true).await?;
    Ok((found, store.count(S::COUNTER).await?))
}

/// Where an entry stands among those of both lists.
struct Place {
    id: SuppressionId,
    position: Position,
}

impl Place {
    fn of<S: SuppressionScope>(entry: &SuppressionEntry<S>) -> Self
    where
        Suppression<S>: Entity<Scope = S>,
        SuppressionEntry<S>: Entity<Scope = S>,
    {
        Place { id: entry.id, position: Position::after(&SuppressionEntry::<S>::key_of(entry.id)) }
    }
}

/// The entry that the path names, of the workspace or of the tenant.
pub enum FoundEntry {
    OfTenant(SuppressionEntry<InTenant>),
    OfWorkspace(SuppressionEntry<InWorkspace>),
}

impl Argument for FoundEntry {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        wants.means::<SuppressionEntry<InWorkspace>>();
        if let Ok(id) = path_id::<SuppressionId>(incoming) {
            wants.named(&SuppressionEntry::<InWorkspace>::key_of(id));
            wants.record(&SuppressionEntry::<InTenant>::key_of(id.seen_from(WorkspaceTag::NONE)));
        }
    }

    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        let missing = || Error::Missing(SuppressionEntry::<InTenant>::NAME);
        let id: SuppressionId = path_id(incoming).map_err(|_| missing())?;
        if let Some(entry) = entered.find(&SuppressionEntry::<InWorkspace>::key_of(id)).await? {
            return Ok(FoundEntry::OfWorkspace(entry));
        }
        let of_tenant = entered.find(&SuppressionEntry::<InTenant>::key_of(id.seen_from(WorkspaceTag::NONE))).await?;
        of_tenant.map(FoundEntry::OfTenant).ok_or_else(missing)
    }

    fn describe(operation: &mut Operation) {
        operation.names(SuppressionId::schema());
    }
}

impl SuppressionView {
    fn of<S: SuppressionScope>(entry: &SuppressionEntry<S>, workspace: WorkspaceTag) -> Self {
        SuppressionView {
            id: entry.id.seen_from(workspace).prefixed(),
            email: entry.email.clone(),
            scope: S::WORD,
            reason: entry.reason,
            source: entry.source,
            added_at: zulu(entry.added_at),
        }
    }
}

impl Form for Filters {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        fields.optional("workspace", WorkspaceName);
        Some(Filters { scope: fields.optional("scope", SCOPE) })
    }
}

impl Form for NewSuppression {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        fields.optional("workspace_slug", WorkspaceName);
        let email = fields.required("email", EmailAddress);
        let scope = fields.optional("scope", SCOPE).unwrap_or(Reach::Workspace);
        let reason = fields.optional("reason", REASON).unwrap_or(Reason::Manual);
        Some(NewSuppression { email: email?, scope, reason })
    }
}

impl Form for NewSuppressions {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        fields.optional("workspace_slug", WorkspaceName);
        let emails = fields.required("emails", Several { each: EmailAddress, min: 1, max: 1_000, key: Email::normalised });
        let scope = fields.optional("scope", SCOPE).unwrap_or(Reach::Workspace);
        let reason = fields.optional("reason", REASON).unwrap_or(Reason::Manual);
        Some(NewSuppressions { emails: emails?, scope, reason })
    }
}

impl Form for Asked {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        fields.optional("workspace", WorkspaceName);
        fields.required("email", EmailAddress).map(Asked)
    }
}

impl Form for Lifting {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Lifting { evidence: fields.optional("evidence", Text::up_to(1_000)) })
    }
}
