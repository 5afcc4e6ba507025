//! Subaccounts: created with one call, limited, suspended, closed. The link and the child are written together.

use serde::Serialize;
use serde_json::{Map, Value};
use shared::http::answer::{Answer, Created, Listing, Tagged};
use shared::http::arguments::{Body, Cursors, IfMatch, path_id};
use shared::http::form::{Fields, Form, FreeObject, Integer, Name, OneOf, Text};
use shared::http::idempotency::Once;
use shared::http::{Argument, Operation};
use shared::ids::{PathId, SubaccountId};
use shared::model::deletion::Deletion;
use shared::model::subaccount::{ExternalId, LimitChanges, LineMode, Subaccount, SubaccountChanges, SubaccountLimits};
use shared::model::tenant::{Slug, Tenant, TenantKind, TenantStatus};
use shared::model::time::{Printed, zulu};
use shared::tenancy::directory::GlobalCounter;
use shared::tenancy::doors::Owner;
use shared::tenancy::{Entered, Incoming, TenantId, Wants, conflict, limit_reached};
use shared::tenant_lifecycle::{NewTenant, SLUG_ALPHABET, TenantCreation};
use shared::{Error, Result};

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Subaccount)]
pub struct SubaccountView {
    id: String,
    name: String,
    external_id: Option<String>,
    status: TenantStatus,
    plan: String,
    parent_tenant_id: TenantId,
    /// The subaccount's own tenant.
    tenant_id: TenantId,
    phone_assignment_mode: LineMode,
    limits: SubaccountLimits,
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    created_at: Printed,
    updated_at: Printed,
}

/// A line of the list: without what stands in the child itself.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = SubaccountSummary)]
pub struct SubaccountLine {
    id: String,
    name: String,
    external_id: Option<String>,
    status: TenantStatus,
    parent_tenant_id: TenantId,
    tenant_id: TenantId,
    phone_assignment_mode: LineMode,
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    created_at: Printed,
    updated_at: Printed,
}

pub struct NewSubaccount {
    name: String,
    external_id: Option<String>,
    plan: String,
    limits: SubaccountLimits,
    lines: LineMode,
    metadata: Map<String, Value>,
}

pub struct Changes(SubaccountChanges);

pub struct NewLimits(SubaccountLimits);

pub struct Filters {
    status: Option<TenantStatus>,
}

pub async fn list(door: Owner, asked: Cursors<Filters>) -> Result<Listing<SubaccountLine>> {
    let keep = |subaccount: &Subaccount| asked.filters.status.is_none_or(|status| subaccount.status == status);
    let found = door.directory.page(&Subaccount::of_agency(door.tenant.id), &asked.page.span(), keep).await?;
    Ok(Listing { items: found.items.iter().map(SubaccountLine::of).collect(), total: 0, page: asked.page, next: found.next })
}

pub async fn create(door: Owner, once: Once<NewSubaccount>) -> Result<Tagged<SubaccountView, 201>> {
    let (new, directory, now) = (once.body, &door.directory, door.now());
    let store = door.new_child()?;
    allowed(&door, &new.plan, &new.limits)?;
    let slug = Slug::from_name(&new.name, &door.app.random().text(SLUG_ALPHABET, 8));
    let child = NewTenant { name: new.name.clone(), logo: None, slug, plan: new.plan, kind: TenantKind::Subaccount, ends_at: None };
    let mut creation = TenantCreation::without_owner(directory, store, child).await?;
    creation.tenant.limits = Some(new.limits);
    let subaccount = Subaccount {
        id: SubaccountId::new(now, door.app.random()),
        agency: door.tenant.id,
        tenant: creation.tenant.id,
        name: new.name,
        external_id: new.external_id,
        status: TenantStatus::Active,
        lines: new.lines,
        metadata: new.metadata,
        created_at: now,
        updated_at: now,
        version: 1,
    };
    let answer = Created::new("Subaccount created", SubaccountView::of(&subaccount, &creation.tenant)).tagged(subaccount.etag());
    let most = door.plan.subaccounts;
    let full = limit_reached("subaccounts", most.unwrap_or(u64::MAX), &door.tenant.plan);
    let mut transaction = once.ticket.record(directory.transaction(), &door.store, &answer)?;
    if let Some(external_id) = &subaccount.external_id {
        let claim = ExternalId { agency: door.tenant.id, external_id: external_id.clone(), subaccount: subaccount.id };
        transaction = transaction.create(directory, &claim, conflict("Another subaccount has this external_id."))?;
    }
    let transaction = transaction.count_global(GlobalCounter::Subaccounts(door.tenant.id), 1, most, full)?;
    let transaction = door.still_open(door.require_role(transaction)?)?.create(directory, &subaccount, conflict("Try again."))?;
    creation.write(transaction, directory, conflict("Try again: this slug was taken at the same moment."))?.commit().await?;
    Ok(answer)
}

pub async fn show(door: Owner, subaccount: FoundSubaccount) -> Result<Tagged<SubaccountView>> {
    let tenant = door.child(&subaccount.0)?.get(&Tenant::key_of()).await?;
    Ok(answer(&subaccount.0, &tenant))
}

/// The child's name follows: it is what its own people see.
pub async fn update(door: Owner, subaccount: FoundSubaccount, expected: IfMatch, changes: Body<Changes>) -> Result<Tagged<SubaccountView>> {
    let (subaccount, tenant) = change(&door, subaccount.0, &expected, changes.0.0).await?;
    Ok(answer(&subaccount, &tenant))
}

pub async fn suspend(door: Owner, subaccount: FoundSubaccount) -> Result<Tagged<SubaccountView>> {
    turn(&door, subaccount.0, TenantStatus::Suspended).await
}

pub async fn activate(door: Owner, subaccount: FoundSubaccount) -> Result<Tagged<SubaccountView>> {
    turn(&door, subaccount.0, TenantStatus::Active).await
}

/// Its keys stop at once; what it holds is purged when the time for second thoughts of deletions is over.
pub async fn close(door: Owner, subaccount: FoundSubaccount) -> Result<Tagged<SubaccountView>> {
    turn(&door, subaccount.0, TenantStatus::Closed).await
}

/// The tag is the subaccount's own, of which the limits are a part.
pub async fn limits(door: Owner, subaccount: FoundSubaccount) -> Result<Tagged<SubaccountLimits>> {
    let tenant = door.child(&subaccount.0)?.get(&Tenant::key_of()).await?;
    Ok(Answer::new("Success", tenant.limits.unwrap_or_default()).tagged(subaccount.0.etag()))
}

/// All limits: one that is not named is removed, so that the plan's limit holds.
pub async fn limit(
    door: Owner,
    subaccount: FoundSubaccount,
    expected: IfMatch,
    given: Body<NewLimits>,
) -> Result<Tagged<SubaccountLimits>> {
    let changes = SubaccountChanges { limits: LimitChanges::to(given.0.0), ..SubaccountChanges::default() };
    let (subaccount, tenant) = change(&door, subaccount.0, &expected, changes).await?;
    Ok(Answer::new("Success", tenant.limits.unwrap_or_default()).tagged(subaccount.etag()))
}

async fn change(door: &Owner, before: Subaccount, expected: &IfMatch, changes: SubaccountChanges) -> Result<(Subaccount, Tenant)> {
    expected.check(&before.etag())?;
    let (store, directory) = (door.child(&before)?, &door.directory);
    let tenant = store.get(&Tenant::key_of()).await?;
    allowed(door, &tenant.plan, &changes.limits.over(SubaccountLimits::default()))?;
    let Some((link, child)) = before.changed(&tenant, changes, door.now()) else { return Ok((before, tenant)) };
    let mut transaction = door.require_role(directory.transaction().replace(directory, &link, &before)?)?;
    if let Some(child) = &child {
        transaction = transaction.replace(&store, child, &tenant)?;
    }
    transaction.commit().await?;
    Ok((link, child.unwrap_or(tenant)))
}

async fn turn(door: &Owner, subaccount: Subaccount, status: TenantStatus) -> Result<Tagged<SubaccountView>> {
    let (store, directory) = (door.child(&subaccount)?, &door.directory);
    let tenant = store.get(&Tenant::key_of()).await?;
    let Some(turned) = subaccount.with_status(status, door.now())? else { return Ok(answer(&subaccount, &tenant)) };
    let child = tenant.with_status(status, door.now());
    let mut transaction = directory.transaction().replace(directory, &turned, &subaccount)?.replace(&store, &child, &tenant)?;
    transaction = door.require_role(transaction)?;
    if status == TenantStatus::Closed {
        let counter = GlobalCounter::Subaccounts(door.tenant.id);
        transaction =
            transaction.put(directory, &Deletion::of(&child, door.now()))?.count_global(counter, -1, None, conflict("Try again."))?;
        if let Some(external_id) = &subaccount.external_id {
            transaction = transaction.remove(directory, &ExternalId::key_of(door.tenant.id, external_id))?;
        }
    }
    transaction.commit().await?;
    Ok(answer(&turned, &child))
}

/// An agency gives its children no more than it has itself, and sets limits only below the child's plan.
fn allowed(door: &Owner, plan: &str, limits: &SubaccountLimits) -> Result<()> {
    let plans = door.app.plans();
    if !plans.contains(plan) || plan == "demo" || !door.plan.covers(plans.get(plan)) {
        return Err(Error::field("plan", "The plan field must be a plan within your own."));
    }
    match plans.get(plan).exceeded_by(limits).first() {
        Some(name) => Err(Error::field("limits", format!("The limits field sets {name} above the plan."))),
        None => Ok(()),
    }
}

fn answer(subaccount: &Subaccount, tenant: &Tenant) -> Tagged<SubaccountView> {
    Answer::new("Success", SubaccountView::of(subaccount, tenant)).tagged(subaccount.etag())
}

impl SubaccountView {
    fn of(subaccount: &Subaccount, tenant: &Tenant) -> Self {
        SubaccountView {
            id: subaccount.id.prefixed(),
            name: subaccount.name.clone(),
            external_id: subaccount.external_id.clone(),
            status: subaccount.status,
            plan: tenant.plan.clone(),
            parent_tenant_id: subaccount.agency,
            tenant_id: subaccount.tenant,
            phone_assignment_mode: subaccount.lines,
            limits: tenant.limits.unwrap_or_default(),
            metadata: subaccount.metadata.clone(),
            created_at: zulu(subaccount.created_at),
            updated_at: zulu(subaccount.updated_at),
        }
    }
}

impl SubaccountLine {
    fn of(subaccount: &Subaccount) -> Self {
        SubaccountLine {
            id: subaccount.id.prefixed(),
            name: subaccount.name.clone(),
            external_id: subaccount.external_id.clone(),
            status: subaccount.status,
            parent_tenant_id: subaccount.agency,
            tenant_id: subaccount.tenant,
            phone_assignment_mode: subaccount.lines,
            metadata: subaccount.metadata.clone(),
            created_at: zulu(subaccount.created_at),
            updated_at: zulu(subaccount.updated_at),
        }
    }
}

const LINES: OneOf<LineMode> = OneOf {
    words: &["pooled", "dedicated"],
    parse: |text| match text {
        "pooled" => Some(LineMode::Pooled),
        "dedicated" => Some(LineMode::Dedicated),
        _ => None,
    },
};

const STATUS: OneOf<TenantStatus> = OneOf {
    words: &["active", "suspended", "closed"],
    parse: |text| [TenantStatus::Active, TenantStatus::Suspended, TenantStatus::Closed].into_iter().find(|status| status.name() == text),
};

/// The subaccount of the caller's agency that the path names.
pub struct FoundSubaccount(pub Subaccount);

impl Argument for FoundSubaccount {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        if let Ok(id) = path_id(incoming) {
            wants.child(id);
        }
    }

    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        entered.child(path_id(incoming)?).await?.map(FoundSubaccount).ok_or(Error::NotFound)
    }

    fn describe(operation: &mut Operation) {
        operation.names(SubaccountId::schema());
    }
}

impl Form for NewSubaccount {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let name = fields.required("name", Name { max: 255 });
        let external_id = fields.optional("external_id", Name { max: 255 });
        let plan = fields.optional("plan", Text::up_to(64)).unwrap_or_else(|| "free".to_owned());
        let limits = fields.nested("limits");
        let lines = fields.optional("phone_assignment_mode", LINES).unwrap_or(LineMode::Pooled);
        let metadata = fields.optional("metadata", FreeObject).unwrap_or_default();
        let limits = limits.map_or_else(SubaccountLimits::default, |NewLimits(limits)| limits);
        Some(NewSubaccount { name: name?, external_id, plan, limits, lines, metadata })
    }
}

const LIMIT: Integer = Integer { min: 0, max: 1_000_000_000 };

impl Form for NewLimits {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let mut limit = |name| fields.optional(name, LIMIT).map(i64::unsigned_abs);
        Some(NewLimits(SubaccountLimits {
            messages_per_day: limit("messages_per_day"),
            messages_per_month: limit("messages_per_month"),
            new_contacts_per_day: limit("new_contacts_per_day"),
            new_contacts_per_month: limit("new_contacts_per_month"),
            api_requests_per_day: limit("api_requests_per_day"),
        }))
    }
}

/// Only the limits that are named. Null removes a limit.
struct SomeLimits(LimitChanges);

impl Form for SomeLimits {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let mut limit = |name| fields.change_or_clear(name, LIMIT).map(|limit| limit.map(i64::unsigned_abs));
        Some(SomeLimits(LimitChanges {
            messages_per_day: limit("messages_per_day"),
            messages_per_month: limit("messages_per_month"),
            new_contacts_per_day: limit("new_contacts_per_day"),
            new_contacts_per_month: limit("new_contacts_per_month"),
            api_requests_per_day: limit("api_requests_per_day"),
        }))
    }
}

impl Form for Changes {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let name = fields.change("name", Name { max: 255 });
        let metadata = fields.change("metadata", FreeObject);
        let limits = fields.nested("limits").map_or_else(LimitChanges::default, |SomeLimits(limits)| limits);
        Some(Changes(SubaccountChanges { name, metadata, limits }))
    }
}

impl Form for Filters {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Filters { status: fields.optional("status", STATUS) })
    }
}
