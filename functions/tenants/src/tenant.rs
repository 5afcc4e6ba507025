//! Tenants of a person: the list, a new one, available slugs, and deletion.

use jiff::Timestamp;
use serde::Serialize;
use shared::error::PlanLimit;
use shared::http::answer::{Answer, Created};
use shared::http::arguments::{IfMatch, Query, WholeList, WithTenants};
use shared::http::form::{Fields, Form, Name};
use shared::http::idempotency::{Once, Ticket};
use shared::model::domain::DomainStatus;
use shared::model::edge_config::{Cms, EdgeChanges, EdgeConfig};
use shared::model::plan::Plans;
use shared::model::tenant::{Slug, SlugClaim, TenantKind};
use shared::model::time::{Printed, zulu};
use shared::model::user::User;
use shared::store::{Direction, Window};
use shared::tenancy::doors::{OwnTenant, Owner, SignedIn};
use shared::tenancy::{Directory, Role, TenantId, Transaction, conflict};
use shared::tenant_lifecycle::{NewTenant, SLUG_ALPHABET, TenantCreation, close_if};
use shared::{Error, Result, children};

use crate::config::{FoundConfig, or_unset, own_domains, proxy_base};
use crate::rules::{self, CMS, NewSlug, SlugText};

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = TenantList)]
pub struct TenantsView {
    total: usize,
    tenants: Vec<ItemView>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = TenantSummary)]
#[serde(rename_all = "camelCase")]
pub struct ItemView {
    slug: String,
    name: String,
    role: Role,
    cms: Option<Cms>,
    #[schema(format = "uri")]
    proxy_base: String,
    website_domain: Option<String>,
    /// The status of the custom domain, or null without one.
    custom_domain: Option<DomainStatus>,
    created_at: Printed,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CreatedTenant)]
#[serde(rename_all = "camelCase")]
pub struct CreatedView {
    ok: bool,
    key: String,
    #[schema(format = "uri")]
    proxy_base: String,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = DeletedTenant)]
pub struct DeletedView {
    ok: bool,
    key: String,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = SlugAvailability)]
pub struct AvailabilityView {
    slug: String,
    available: bool,
    /// Null where it is available.
    reason: Option<Unavailable>,
    /// Free ones that begin alike, where this one is not to be had.
    suggestions: Vec<String>,
}

/// Why a slug is not to be had.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SlugReason)]
pub enum Unavailable {
    Taken,
    /// After a deletion.
    Resting,
    Reserved,
}

pub struct NewTenantForm {
    slug: Slug,
    name: Option<String>,
    config: EdgeChanges,
}

pub struct AvailabilityQuery(Slug);

/// Oldest first.
pub async fn list(door: SignedIn, _found: WithTenants, asked: WholeList) -> Result<Answer<TenantsView>> {
    let own = door.tenants().await?;
    let mut window = Window::new(asked.page.span(), Direction::Ascending)?;
    for own in &own {
        window.add((own.tenant.created_at, own.tenant.account), own.tenant.slug.to_string());
    }
    let (slugs, next, _) = window.finish();
    let next = asked.page.cursor(&door.app, next.as_ref())?;
    let tenants: Vec<ItemView> = slugs
        .iter()
        .filter_map(|slug| own.iter().find(|own| own.tenant.slug.as_str() == slug))
        .map(|own| ItemView {
            slug: own.tenant.slug.to_string(),
            name: own.tenant.name.clone(),
            role: own.role,
            cms: own.edge.as_ref().and_then(|edge| edge.cms),
            proxy_base: proxy_base(&door.app, &own.tenant.slug),
            website_domain: own.edge.as_ref().and_then(|edge| edge.website_domain.clone()),
            custom_domain: own.domain.as_ref().map(|domain| domain.status),
            created_at: zulu(own.tenant.created_at),
        })
        .collect();
    Ok(Answer::bare(TenantsView { total: own.len(), tenants }).with_next(next))
}

pub async fn create(door: SignedIn, once: Once<NewTenantForm>) -> Result<Created<CreatedView>> {
    let (directory, now) = (&door.directory, door.now());
    let NewTenantForm { slug, name, config } = once.body;
    let config = EdgeConfig::unset(now).changed(config, &own_domains(&door.app), now)?;
    let answer = Created::bare(CreatedView { ok: true, key: slug.to_string(), proxy_base: proxy_base(&door.app, &slug) });
    let mut creator = TenantCreator::of(&door, &once.ticket).await?;
    creator.user.may_create_tenant()?;
    let name = name.unwrap_or_else(|| slug.to_string());
    let new = NewTenant { name, logo: None, slug, plan: "free".into(), kind: TenantKind::Standard, ends_at: None };
    let creation = TenantCreation::with_owner(directory, directory.new_tenant_store(), new, &creator.user).await?;
    for _ in 0..64 {
        let transaction = once.ticket.record_open(directory.transaction(), directory, &answer)?;
        let transaction = creator.hold(transaction, directory, creation.tenant.id)?;
        let transaction = creation.write(transaction, directory, conflict("This slug is used already."))?;
        let written = transaction.create(&creation.store, &config, conflict("Try again."))?.commit().await;
        let Err(Error::Conflict(reason)) = written else { return written.map(|()| answer) };
        let again = TenantCreator::of(&door, &once.ticket).await?;
        if again.user.version == creator.user.version {
            return Err(Error::Conflict(reason));
        }
        creator = again;
    }
    Err(Error::Conflict("Your account is being changed by other requests. Try again.".into()))
}

/// The person who creates a tenant, and what they own at that time. Their record is read before their tenants are counted, and written with
/// the new tenant. If two creations run in parallel, one either counts the other, or finds the record changed and counts again.
struct TenantCreator {
    user: User,
    homeless: bool,
    limited: bool,
}

impl TenantCreator {
    async fn of(door: &SignedIn, ticket: &Ticket) -> Result<Self> {
        let user = door.directory.get(&User::key_of(door.user)).await?;
        let own = door.tenants().await?;
        let homeless = user.home.is_none_or(|home| own.iter().all(|own| own.tenant.id != home));
        match room(door.app.plans(), &own, door.now()) {
            Ok(max) => Ok(TenantCreator { user, homeless, limited: max.is_some() }),
            Err(refusal) => Err(ticket.or_duplicate(&door.directory, refusal).await),
        }
    }

    fn hold<'a>(&self, transaction: Transaction<'a>, directory: &Directory, new: TenantId) -> Result<Transaction<'a>> {
        if !self.limited && !self.homeless {
            return Ok(transaction);
        }
        let home = if self.homeless { Some(new) } else { self.user.home };
        transaction.replace(directory, &self.user.with_home(home, directory.now()), &self.user)
    }
}

/// What the best plan among a person's own tenants allows, or the refusal when that is used up. A subaccount counts against its agency's
/// plan instead, and the plan of an inaccessible tenant does not count.
fn room(plans: &Plans, own: &[OwnTenant], now: Timestamp) -> Result<Option<u64>> {
    let owned = || own.iter().filter(|own| own.role == Role::Owner && own.tenant.kind != TenantKind::Subaccount).map(|own| &own.tenant);
    let limit = |name: &str| plans.get(name).tenants_owned;
    let best = owned().filter(|tenant| tenant.inaccessible(now).is_none());
    let best = best.map(|tenant| tenant.plan.as_str()).max_by_key(|name| limit(name).unwrap_or(u64::MAX)).unwrap_or("free");
    let used = owned().count() as u64;
    match limit(best) {
        Some(max) if used >= max => Err(Error::PlanLimitReached(PlanLimit { limit: "tenants_owned", used, max, plan: best.to_owned() })),
        max => Ok(max),
    }
}

pub async fn availability(door: SignedIn, asked: Query<AvailabilityQuery>) -> Result<Answer<AvailabilityView>> {
    let AvailabilityQuery(slug) = asked.0;
    let others = slug.alternatives(&door.app.random().text(SLUG_ALPHABET, 16));
    let keys: Vec<_> = std::iter::once(&slug).chain(&others).map(SlugClaim::key_of).collect();
    let claims = door.directory.find_many(&keys).await?;
    let claim_of = |slug: &Slug| claims.iter().find(|claim| claim.slug == *slug);
    let reason = match claim_of(&slug) {
        _ if slug.is_reserved() => Some(Unavailable::Reserved),
        Some(claim) if claim.rests_until.is_some() => Some(Unavailable::Resting),
        Some(_) => Some(Unavailable::Taken),
        None => None,
    };
    let free = others.iter().filter(|other| reason.is_some() && claim_of(other).is_none());
    let suggestions = free.take(3).map(Slug::to_string).collect();
    Ok(Answer::bare(AvailabilityView { slug: slug.to_string(), available: reason.is_none(), reason, suggestions }))
}

pub async fn delete(door: Owner, edge: FoundConfig, expected: IfMatch) -> Result<Answer<DeletedView>> {
    expected.check(&or_unset(edge.0, &door.tenant).etag())?;
    let key = door.tenant.slug.to_string();
    close_if(&door.store, &door.directory, door.tenant.clone(), |_, transaction| door.require_role(transaction)).await?;
    children::close_with(&door.store, &door.directory, |child| door.child(child)).await?;
    Ok(Answer::bare(DeletedView { ok: true, key }))
}

impl Form for NewTenantForm {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let slug = fields.required("slug", NewSlug);
        let name = fields.optional("name", Name { max: 255 });
        let cms = fields.required("cms", CMS);
        let config = EdgeChanges { cms, ..rules::read_changes(fields) };
        Some(NewTenantForm { slug: slug?, name, config: cms.map(|_| config)? })
    }
}

impl Form for AvailabilityQuery {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let slug = fields.required("slug", SlugText);
        Some(AvailabilityQuery(slug?))
    }
}
