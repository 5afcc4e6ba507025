//! The caller's own tenant (F3): read, create, replace, delete.

use serde::Serialize;
use shared::http::answer::{Accepted, Answer, Created, Tagged};
use shared::http::arguments::{Body, IfMatch, OwnUser};
use shared::http::form::{Fields, Form, Name, Raw, Rule, Text};
use shared::http::idempotency::Once;
use shared::model::tenant::{Slug, Tenant, TenantKind, TenantStatus};
use shared::model::time::{Printed, zulu};
use shared::model::user::User;
use shared::model::web;
use shared::tenancy::doors::{Owner, SignedIn, Viewer};
use shared::tenancy::{TenantId, conflict};
use shared::tenant_lifecycle::{NewTenant, SLUG_ALPHABET, TenantCreation, close_if};
use shared::{Error, Result, children};

/// The tenant that the credential acts in.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CurrentTenant)]
#[serde(rename_all = "camelCase")]
pub struct TenantView {
    id: TenantId,
    name: String,
    #[schema(format = "uri")]
    logo: Option<String>,
    slug: String,
    /// For display.
    account: u64,
    plan: String,
    status: TenantStatus,
    kind: TenantKind,
    is_active: bool,
    created_at: Printed,
    updated_at: Printed,
}

/// Everything that an owner can set. What is left out is removed.
pub struct Statement {
    name: String,
    logo: Option<String>,
}

pub async fn show(door: Viewer) -> Result<Tagged<TenantView>> {
    Ok(Answer::bare(TenantView::of(&door.tenant)).tagged(door.tenant.etag()))
}

/// For a person who belongs to no tenant. A duplicate of this request reads the same user record, so only one of them creates a tenant.
pub async fn create(door: SignedIn, user: OwnUser, once: Once<Statement>) -> Result<Tagged<TenantView, 201>> {
    let directory = &door.directory;
    // If the user has changed since they were read, there is a duplicate of this request. The transaction finds the duplicate's answer, or
    // the reason for a refusal.
    if belongs_somewhere(&door).await? && directory.get(&User::key_of(door.user)).await?.version == user.0.version {
        return Err(already_exists());
    }
    user.0.may_create_tenant()?;
    let Statement { name, logo } = once.body;
    let slug = Slug::from_name(&name, &door.app.random().text(SLUG_ALPHABET, 6));
    let new = NewTenant { name, logo, slug, plan: "free".into(), kind: TenantKind::Standard, ends_at: None };
    let creation = TenantCreation::with_owner(directory, directory.new_tenant_store(), new, &user.0).await?;
    let answer = Created::bare(TenantView::of(&creation.tenant)).tagged(creation.tenant.etag());
    let at_home = user.0.with_home(Some(creation.tenant.id), door.now());
    let transaction = once.ticket.record_open(directory.transaction(), directory, &answer)?.replace(directory, &at_home, &user.0)?;
    let transaction = creation.write(transaction, directory, conflict("Try again: this slug was taken at the same moment."))?;
    match transaction.commit().await {
        Err(Error::Conflict(_)) if belongs_somewhere(&door).await? => Err(already_exists()),
        written => written.map(|()| answer),
    }
}

pub async fn update(door: Owner, expected: IfMatch, statement: Body<Statement>) -> Result<Tagged<TenantView, 202>> {
    let changed = door
        .store
        .edit(door.tenant.clone(), |tenant, transaction| {
            expected.check(&tenant.etag())?;
            let Statement { name, logo } = &statement.0;
            Ok(tenant.stated(name.clone(), logo.clone(), door.now()).map(|stated| (stated, transaction)))
        })
        .await?;
    Ok(Accepted::bare(TenantView::of(&changed)).tagged(changed.etag()))
}

/// Every credential of the tenant stops at once. Its data is purged after a week. Until then an operator can take the deletion back.
pub async fn delete(door: Owner, expected: IfMatch) -> Result<Answer<TenantView>> {
    let holds = |tenant: &Tenant, transaction| expected.check(&tenant.etag()).and_then(|()| door.require_role(transaction));
    let closed = close_if(&door.store, &door.directory, door.tenant.clone(), holds).await?;
    children::close_with(&door.store, &door.directory, |child| door.child(child)).await?;
    Ok(Answer::bare(TenantView::of(&closed)))
}

/// A tenant that is being deleted does not count.
async fn belongs_somewhere(door: &SignedIn) -> Result<bool> {
    Ok(!door.tenants().await?.is_empty())
}

fn already_exists() -> Error {
    Error::BadRequest("Your tenant already exists.".into())
}

impl TenantView {
    fn of(tenant: &Tenant) -> Self {
        TenantView {
            id: tenant.id,
            name: tenant.name.clone(),
            logo: tenant.logo.clone(),
            slug: tenant.slug.to_string(),
            account: tenant.account,
            plan: tenant.plan.clone(),
            status: tenant.status,
            kind: tenant.kind,
            is_active: matches!(tenant.status, TenantStatus::Active | TenantStatus::Trial),
            created_at: zulu(tenant.created_at),
            updated_at: zulu(tenant.updated_at),
        }
    }
}

impl Form for Statement {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let name = fields.required("name", Name { max: 255 });
        let logo = fields.optional("logo", Logo);
        Some(Statement { name: name?, logo })
    }
}

/// An https URL of at most 2,048 characters.
struct Logo;

impl Rule for Logo {
    type Value = String;

    fn check(&self, raw: Raw<'_>) -> Result<String, String> {
        let text = Text::up_to(2048).check(raw)?;
        web::url(&text, &["https"], false).map_err(|_| "must be an https URL".into())
    }

    fn schema(&self) -> serde_json::Value {
        serde_json::json!({"type": "string", "format": "uri", "pattern": "^https://", "maxLength": 2048})
    }
}
