//! Demos that are about to end are warned; demos that have ended and tenants that were deleted a week ago are purged: everything of the
//! tenant, proven gone, then what the directory knows of it. The line in the directory that says so goes last, in the transaction that
//! frees a demo's place, or puts a slug to rest and writes a receipt: a purge that is cut off is found again, and its end happens once.

use records::peer::Peer;
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared::ids::{LinkId, MailId, UserId};
use shared::model::api_key::{ApiKey, KeyClaim, KeyHandle};
use shared::model::deletion::{Deletion, Receipt};
use shared::model::demo::{Demo, DemoClaim, Due};
use shared::model::due::{DueAnchor, DueDelivery, DueNote, DueWork};
use shared::model::due_messages::DueMessages;
use shared::model::inbound::{Inbound, InboundAddress, InboundId};
use shared::model::invitation::Invitation;
use shared::model::line::LinePeer;
use shared::model::link::Link;
use shared::model::mail::{Mail, UnknownMail};
use shared::model::member::Member;
use shared::model::session::Session;
use shared::model::subaccount::{ExternalId, Subaccount};
use shared::model::tenant::{SlugClaim, Tenant, TenantKind, TenantStatus};
use shared::model::user::{EmailClaim, User, UserTenant};
use shared::store::{Branch, Entity, InTenant, List, Record as _, Span, Swept};
use shared::tenancy::directory::GlobalCounter;
use shared::tenancy::jobs::WorkContext;
use shared::tenancy::{TenantId, TenantStore, conflict, missing};
use shared::{Error, Result, children};

use crate::domain::release_hostnames;

/// Items that one run deletes at most: well within the function's time. The next run goes on.
pub const AT_MOST: usize = 50_000;
const RECORDS: i32 = 100;

#[derive(Debug, Default, Serialize)]
pub struct Purged {
    pub ok: bool,
    pub warned: usize,
    pub purged: usize,
    pub items: usize,
    /// Something is left for the next run.
    pub more: bool,
}

/// What one run may still delete.
pub(crate) struct Budget(pub(crate) usize);

pub async fn purge(context: &WorkContext, at_most: usize) -> Result<Purged> {
    let mut done = Purged { ok: true, ..Purged::default() };
    let mut budget = Budget(at_most);
    let mut failed = 0;
    for demo in context.directory.all(&Demo::all()).await? {
        let outcome = match demo.due(context.now()) {
            Due::Nothing => Ok(()),
            Due::Warning => warn(context, &demo).await.map(|warned| done.warned += usize::from(warned)),
            Due::Purge => remove(context, &demo, &mut budget).await.map(|finished| done.count(finished)),
        };
        // One tenant that fails holds up no other.
        if let Err(error) = outcome {
            tracing::error!(tenant = %demo.tenant, %error, "a demo could not be tidied up");
            failed += 1;
        }
    }
    // Twice: an agency's purge puts its children on the list.
    for round in 0..2 {
        let (due, waiting): (Vec<_>, Vec<_>) =
            context.directory.all(&Deletion::all()).await?.into_iter().partition(|deletion| deletion.due_at <= context.now());
        let children = round > 0;
        for deletion in due.iter().filter(|deletion| !children || deletion.asked_at == context.now()) {
            match remove_deleted(context, deletion, &mut budget).await {
                Ok(finished) => done.count(finished),
                Err(error) => {
                    tracing::error!(tenant = %deletion.tenant, %error, "a deleted tenant could not be purged");
                    failed += 1;
                }
            }
        }
        for deletion in waiting.iter().filter(|_| !children) {
            // The request that deleted an agency may have ended before all its children were shut.
            let agency = context.deleted_tenant(deletion);
            let closing = children::close_with(&agency, &context.directory, |child| Ok(context.child(child)));
            if let Err(error) = closing.await {
                tracing::error!(tenant = %deletion.tenant, %error, "the subaccounts of a deleted tenant could not be shut");
                failed += 1;
            }
        }
    }
    done.items = at_most - budget.0;
    tracing::info!(warned = done.warned, purged = done.purged, items = done.items, more = done.more, failed, "purge");
    if failed > 0 { Err(Error::internal("purging tenants", format!("{failed} of them failed"))) } else { Ok(done) }
}

impl Purged {
    fn count(&mut self, finished: Option<bool>) {
        match finished {
            Some(true) => self.purged += 1,
            Some(false) => self.more = true,
            None => {}
        }
    }
}

/// The mail and the note that it was written, together: it is written once.
async fn warn(context: &WorkContext, demo: &Demo) -> Result<bool> {
    let (warned, mail) = demo.warned(MailId::new(context.now(), context.app.random()), context.now());
    let directory = &context.directory;
    let writing = directory.transaction().replace(directory, &warned, demo)?.create(directory, &mail, conflict("Try again."))?;
    unless_overtaken(writing.commit().await)
}

/// `Some(true)` when nothing is left of the demo, `Some(false)` when the budget ran out, `None` when it is no demo any more.
async fn remove(context: &WorkContext, demo: &Demo, budget: &mut Budget) -> Result<Option<bool>> {
    let store = context.tenant_of(demo);
    if !shut(&store, context).await? {
        return Ok(None);
    }
    if !empty(context, &store, budget).await? || !remove_owner(context, demo, budget).await? {
        return Ok(Some(false));
    }
    let directory = &context.directory;
    let closing = directory
        .transaction()
        .delete(directory, &demo.key(), missing())?
        .remove(directory, &SlugClaim::key_of(&demo.slug))?
        .count_global(GlobalCounter::ActiveDemos, -1, None, conflict("Try again."))?;
    unless_overtaken(closing.commit().await).map(|closed| closed.then_some(true))
}

/// The same for a tenant whose deletion is due.
async fn remove_deleted(context: &WorkContext, deletion: &Deletion, budget: &mut Budget) -> Result<Option<bool>> {
    let (store, directory, before) = (context.deleted_tenant(deletion), &context.directory, budget.0);
    if !begin(&store, context).await? {
        return Ok(None);
    }
    let finished = empty(context, &store, budget).await?
        && remove_mails(context, deletion.tenant).await?
        && remove_due(context, deletion.tenant).await?;
    let items = before - budget.0;
    if !finished {
        directory.replace_if(&deletion.gone_on(items), deletion).await?;
        return Ok(Some(false));
    }
    let receipt = Receipt::of(deletion, items, context.now(), context.app.keys().receipts()?);
    let closing = directory.transaction().delete(directory, &deletion.key(), missing())?.put(directory, &receipt)?;
    // What still points at the slug must not reach somebody else for a while. A demo's slug may be free, or another's, by now.
    let claim = directory.find(&SlugClaim::key_of(&deletion.slug)).await?.filter(|claim| claim.tenant == deletion.tenant);
    let closing = match claim {
        Some(claim) => {
            let resting = SlugClaim { rests_until: Some(context.now() + Deletion::REST), ..claim };
            closing.claim(directory, &resting, "tenant", &deletion.tenant.to_string(), conflict("The slug has another owner."))?
        }
        None => closing,
    };
    unless_overtaken(closing.commit().await).map(|closed| closed.then_some(true))
}

/// From here on the deletion cannot be taken back, and nothing is written into the tenant any more: requests found it gone a minute ago or
/// longer, and what comes late asks in its transaction (`while_kept`). So what is found empty stays empty. `false` when the deletion was
/// just taken back.
async fn begin(store: &TenantStore, context: &WorkContext) -> Result<bool> {
    match store.find(&Tenant::key_of()).await? {
        // An earlier run came as far as this.
        None => Ok(true),
        Some(tenant) => match tenant.status {
            TenantStatus::Closed => Ok(true),
            TenantStatus::Deleting => {
                let closed = tenant.with_status(TenantStatus::Closed, context.now());
                unless_overtaken(store.transaction().replace(store, &closed, &tenant)?.commit().await)
            }
            TenantStatus::Trial | TenantStatus::Active | TenantStatus::Suspended => Ok(false),
        },
    }
}

/// Everything of a tenant: what says where more is comes first, and a last look proves that nothing is left.
async fn empty(context: &WorkContext, store: &TenantStore, budget: &mut Budget) -> Result<bool> {
    Ok(release_lines(context, store, budget).await?
        && clear_nested(context, store, budget).await?
        && remove_members(context, store, budget).await?
        && remove_claims(context, store).await?
        && release_children(context, store).await?
        && clear_the_rest(context, store, budget).await?
        && is_empty(context, store).await?)
}

/// What the directory knows of keys, invitations, hostnames and addresses for mails, expired ones too; their records go with the rest.
async fn remove_claims(context: &WorkContext, store: &TenantStore) -> Result<bool> {
    for handle in named::<_, KeyHandle>(store, &ApiKey::all(), "handle").await? {
        // A later run finds the same keys.
        context.directory.release(&KeyClaim::key_of(&handle), "tenant", &store.tenant_id().to_string()).await?;
    }
    for link in named::<_, LinkId>(store, &Invitation::all(), "link").await? {
        context.directory.delete(&Link::key_of(link)).await?;
    }
    for address in named::<_, InboundId>(store, &InboundAddress::all(), "id").await? {
        context.directory.delete(&Inbound::key_of(address)).await?;
    }
    release_hostnames(context, store).await?;
    Ok(true)
}

/// The lines that are the tenant's for a number are somebody else's from now on. A number forgets them, so that a later run passes it over.
async fn release_lines(context: &WorkContext, store: &TenantStore, budget: &mut Budget) -> Result<bool> {
    let mut after = None;
    loop {
        let (peers, next) = store.after(&Peer::all(), after.as_ref(), 500).await?;
        for peer in peers.into_iter().filter(|peer| !peer.lines.is_empty()) {
            if budget.0 == 0 {
                return Ok(false);
            }
            for line in &peer.lines {
                let held = LinePeer::key_of(*line, &peer.phone_number);
                context.directory.release(&held, LinePeer::HOLDER, &store.tenant_id().to_string()).await?;
            }
            store.replace_if(&peer.without_lines(), &peer).await?;
            budget.0 -= 1;
        }
        let Some(next) = next else { return Ok(true) };
        after = Some(next);
    }
}

/// An agency's children are purged after it; what says that they were its own goes with it.
async fn release_children(context: &WorkContext, store: &TenantStore) -> Result<bool> {
    let (directory, agency) = (&context.directory, store.tenant_id());
    for child in directory.all(&Subaccount::of_agency(agency)).await? {
        if let Some(external_id) = &child.external_id {
            directory.delete(&ExternalId::key_of(agency, external_id)).await?;
        }
        children::purge_with(directory, &child, &context.child(&child)).await?;
    }
    directory.forget(GlobalCounter::Subaccounts(agency)).await?;
    Ok(true)
}

/// What the records of a list have in an attribute.
async fn named<E, T: DeserializeOwned>(store: &TenantStore, list: &List<E>, attribute: &str) -> Result<Vec<T>> {
    let (mut names, mut after) = (vec![], None);
    loop {
        let (records, next) = store.stored(list, after, RECORDS).await?;
        for mut record in records {
            if let Some(name) = record.data.remove(attribute) {
                names.push(serde_json::from_value(name).map_err(|error| Error::internal("reading a record", error))?);
            }
        }
        match next {
            Some(next) => after = Some(next),
            None => return Ok(names),
        }
    }
}

/// Mails that somebody may still ask for. The others end by themselves.
async fn remove_mails(context: &WorkContext, tenant: TenantId) -> Result<bool> {
    for unknown in context.directory.all(&UnknownMail::all()).await? {
        if unknown.tenant == Some(tenant) {
            context.directory.delete(&Mail::key_of(unknown.mail)).await?;
            context.directory.delete(&UnknownMail::key_of(unknown.mail)).await?;
        }
    }
    Ok(true)
}

/// Notes of what would have been due: of campaigns, of messages, of deliveries to webhooks, and of anchors.
async fn remove_due(context: &WorkContext, tenant: TenantId) -> Result<bool> {
    remove_notes::<DueWork>(context, tenant).await?;
    remove_notes::<DueMessages>(context, tenant).await?;
    remove_notes::<DueDelivery>(context, tenant).await?;
    remove_notes::<DueAnchor>(context, tenant).await?;
    Ok(true)
}

async fn remove_notes<N: DueNote>(context: &WorkContext, tenant: TenantId) -> Result<()> {
    let mut span = Span::first(1_000);
    loop {
        let page = context.directory.page(&N::all(), &span, |_| true).await?;
        for note in page.items.iter().filter(|note| note.is_of(tenant)) {
            context.directory.delete(&note.key()).await?;
        }
        let Some(next) = page.next else { return Ok(()) };
        span.after = Some(next);
    }
}

async fn is_empty(context: &WorkContext, store: &TenantStore) -> Result<bool> {
    for branch in context.app.records().of_tenant() {
        if !store.clear(&branch.list, 0).await?.finished {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Closes the tenant for good, so that it can no longer be converted and nothing is written into it any more; `false` when it was
/// converted, just now.
async fn shut(store: &TenantStore, context: &WorkContext) -> Result<bool> {
    match store.find(&Tenant::key_of()).await? {
        // An earlier run came as far as this.
        None => Ok(true),
        Some(tenant) if tenant.kind != TenantKind::Demo => Ok(false),
        Some(tenant) if tenant.status == TenantStatus::Closed => Ok(true),
        // A demo that its owner has deleted must not be restored half-way either.
        Some(tenant) => {
            let closed = tenant.with_status(TenantStatus::Closed, context.now());
            unless_overtaken(store.transaction().replace(store, &closed, &tenant)?.commit().await)
        }
    }
}

/// A record goes after what lies in partitions of its own: it alone says where those are.
async fn clear_nested(context: &WorkContext, store: &TenantStore, budget: &mut Budget) -> Result<bool> {
    for branch in context.app.records().of_tenant().iter().filter(|branch| !branch.nested.is_empty()) {
        if !clear_branch(store, branch, budget).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Empties a collection and all that lies within it. `false` when the budget ran out.
pub(crate) async fn clear_branch(store: &TenantStore, branch: &Branch, budget: &mut Budget) -> Result<bool> {
    if branch.nested.is_empty() {
        return Ok(budget.spend(store.clear(&branch.list, budget.0).await?));
    }
    while let Some(parent) = store.stored(&branch.list, None, 1).await?.0.pop() {
        if budget.0 == 0 {
            return Ok(false);
        }
        for nested in &branch.nested {
            // Erased now, nothing would lead to what lies within it.
            let lost =
                || Error::internal("deleting records", format!("a record of {} does not say where its {} are", branch.name, nested.name));
            for within in branch.within(nested, &parent.data).ok_or_else(lost)? {
                if !Box::pin(clear_branch(store, &within, budget)).await? {
                    return Ok(false);
                }
            }
        }
        store.erase(&branch.list, &parent.position).await?;
        budget.0 = budget.0.saturating_sub(1);
    }
    Ok(true)
}

/// A member goes after what the directory says of their membership.
async fn remove_members(context: &WorkContext, store: &TenantStore, budget: &mut Budget) -> Result<bool> {
    while let Some(member) = first(store, &Member::all()).await? {
        if budget.0 == 0 {
            return Ok(false);
        }
        context.directory.delete(&UserTenant::key_of(member.user, store.tenant_id())).await?;
        for session in context.directory.all_expired_too(&Session::of_user(member.user)).await? {
            if session.tenant == Some(store.tenant_id()) {
                context.directory.delete(&Session::key_of(member.user, session.id)).await?;
            }
        }
        send_home(context, member.user, store.tenant_id()).await?;
        remove_record(store, &member, budget).await?;
    }
    Ok(true)
}

/// All that a tenant can have; done when a last look at each partition found nothing.
async fn clear_the_rest(context: &WorkContext, store: &TenantStore, budget: &mut Budget) -> Result<bool> {
    for branch in context.app.records().of_tenant() {
        if !budget.spend(store.clear(&branch.list, budget.0).await?) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The demo's owner goes with it, and its address is as free as it always was. An older account may have joined another tenant: it stays, but
/// nobody has proven its address, so neither its password nor a session of it opens anything until somebody does.
async fn remove_owner(context: &WorkContext, demo: &Demo, budget: &mut Budget) -> Result<bool> {
    let (directory, now) = (&context.directory, context.now());
    directory.delete(&DemoClaim::key_of(&demo.email, demo.tenant)).await?;
    let elsewhere = !directory.all(&UserTenant::of_user(demo.owner)).await?.is_empty();
    let owner = directory.find(&User::key_of(demo.owner)).await?.filter(|owner| elsewhere && owner.demo.is_none());
    let Some(owner) = owner else {
        // Since the demo's end the address may have become somebody else's.
        directory.release(&EmailClaim::key_of(&demo.email), "user", &demo.owner.to_string()).await?;
        return Ok(budget.spend(directory.clear(&User::everything(demo.owner), budget.0).await?));
    };
    // It was made before demos had claims of their own, or its address was proven since.
    let claim = directory.find_expired_too(&EmailClaim::key_of(&demo.email)).await?.filter(|claim| claim.user == demo.owner);
    let Some(claim) = claim.filter(|claim| claim.ends_at.is_some()) else { return Ok(true) };
    let lasting = EmailClaim { ends_at: None, ..claim };
    let unproven = User { password: None, verified_at: None, updated_at: now, version: owner.version + 1, ..owner.clone() };
    let taken = conflict("The address has another owner.");
    let transaction = directory.transaction().claim(directory, &lasting, "user", &demo.owner.to_string(), taken)?;
    let kept = transaction.replace(directory, &unproven, &owner)?.commit().await;
    for session in directory.all_expired_too(&Session::of_user(demo.owner)).await? {
        directory.delete(&Session::key_of(demo.owner, session.id)).await?;
    }
    unless_overtaken(kept).map(|_| true)
}

/// A login must not open a tenant that is gone: it opens another one of the user's, or none.
async fn send_home(context: &WorkContext, user: UserId, gone: TenantId) -> Result<()> {
    let directory = &context.directory;
    let Some(known) = directory.find(&User::key_of(user)).await?.filter(|user| user.home == Some(gone)) else { return Ok(()) };
    let others = directory.all(&UserTenant::of_user(user)).await?;
    let home = others.into_iter().map(|belongs| belongs.tenant).find(|tenant| *tenant != gone);
    if directory.replace_if(&known.with_home(home, context.now()), &known).await? {
        return Ok(());
    }
    Err(Error::Unavailable { doing: "leaving a tenant", cause: "the user was changed at the same time".into() })
}

async fn first<E: Entity<Scope = InTenant>>(store: &TenantStore, list: &List<E>) -> Result<Option<E>> {
    Ok(store.page(list, &Span::first(1), |_| true).await?.items.pop())
}

async fn remove_record<E: Entity<Scope = InTenant>>(store: &TenantStore, record: &E, budget: &mut Budget) -> Result<()> {
    budget.0 = budget.0.saturating_sub(1);
    match store.delete(&record.key()).await {
        Err(Error::NotFound) => Ok(()),
        other => other,
    }
}

/// Somebody else changed the record between reading and writing: an operator, or a twin of this run. `false`, and no failure.
fn unless_overtaken(written: Result<()>) -> Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(Error::Conflict(_) | Error::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}

impl Budget {
    /// Whether the sweep came to its end.
    pub(crate) fn spend(&mut self, swept: Swept) -> bool {
        self.0 = self.0.saturating_sub(swept.deleted);
        swept.finished
    }
}
