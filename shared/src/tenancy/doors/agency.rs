//! From an agency into one of its children.

use std::collections::HashMap;

use http::HeaderName;

use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::model::audit::ResourceChange;
use crate::model::link::ForChild;
use crate::model::subaccount::Subaccount;
use crate::model::tenant::{Slug, Tenant, TenantKind, TenantStatus};
use crate::model::usage::UsageDay;
use crate::store::Entity;
use crate::store::table::{FullKey, Item};
use crate::tenancy::doors::tenanted::{Admin, Inside, Owner, SLUG_ROUTES, Tenanted, spend, wanted};
use crate::tenancy::doors::workspace::Selection;
use crate::tenancy::limiter::TenantSeen;
use crate::tenancy::{Directory, Entered, Incoming, Origin, RecordStore, Role, Scope, TenantStore, Transaction, Wants};

/// Routes whose first path value is a subaccount.
const SUBACCOUNT_ROUTES: &str = "/v1/subaccounts/{id}/api-keys";
/// The name that a child sees for those who act for it.
const DELEGATE: &str = "platform";
const X_SUBACCOUNT_ID: HeaderName = HeaderName::from_static("x-subaccount-id");

impl<R> Tenanted<R> {
    fn child_of(&self, subaccount: &Subaccount) -> Result<TenantStore> {
        if subaccount.agency != self.tenant.id || self.delegated {
            return Err(Error::NotFound);
        }
        Ok(self.directory.delegated(DELEGATE).enter(subaccount.tenant))
    }
}

impl Admin {
    /// The store of a child of this agency. Its admins may act for the child. What is written there names the platform, never the agency.
    pub fn child(&self, subaccount: &Subaccount) -> Result<TenantStore> {
        self.child_of(subaccount)
    }
}

impl Owner {
    /// The store of a child of this agency. What is written there names the platform, never the agency.
    pub fn child(&self, subaccount: &Subaccount) -> Result<TenantStore> {
        self.child_of(subaccount)
    }

    /// A store for a child that does not exist yet. Only an agency has children, and a child cannot have children.
    pub fn new_child(&self) -> Result<TenantStore> {
        if self.plan.subaccounts == Some(0) || self.tenant.kind == TenantKind::Subaccount || self.delegated {
            return Err(Error::AgencyRequired);
        }
        Ok(self.directory.delegated(DELEGATE).new_tenant_store())
    }

    /// Requires, in a transaction, that this agency is still open. A child created during the agency's deletion would outlive it.
    pub fn still_open<'a>(&self, transaction: Transaction<'a>) -> Result<Transaction<'a>> {
        let gone = Box::new(|_| Error::NotFound);
        transaction.require_unless(
            &self.store,
            &Tenant::key_of(),
            "status",
            [TenantStatus::Deleting.name(), TenantStatus::Closed.name()],
            gone,
        )
    }
}

/// The subaccount that an agency acts for: the one in the path of its keys, or `X-Subaccount-Id`.
pub(super) fn acting(incoming: &Incoming) -> Result<Option<&str>> {
    let header = incoming.single(&X_SUBACCOUNT_ID)?;
    let in_path = incoming.route.starts_with(SUBACCOUNT_ROUTES);
    Ok(if in_path { incoming.path_values.first().map(String::as_str) } else { header })
}

/// Enters one of the agency's children, as if it were the caller's own tenant: with the role and scopes they have in the agency, within the
/// child's plan and limits. Every such call is in both audit logs. What the child stores names the platform, never the agency.
pub(super) async fn act_for(
    incoming: &Incoming,
    agency: Inside,
    link: Option<Subaccount>,
    wants: Wants,
    principal: String,
    user: Option<UserId>,
) -> Result<(Inside, Entered)> {
    let app = &incoming.app;
    if agency.member.role < Role::Admin {
        return Err(Error::Forbidden("Acting for a subaccount needs the role admin or above.".into()));
    }
    let verb = if incoming.is_read() { Scope::ACTING_READ } else { Scope::ACTING_WRITE };
    if agency.key.as_ref().is_some_and(|key| !key.scopes.allow(verb)) {
        return Err(Error::Forbidden(format!("This key lacks the scope {verb}.").into()));
    }
    let link = link.ok_or(Error::NotFound)?;
    let origin = incoming.origin(DELEGATE.to_owned());
    let store = TenantStore::open(link.tenant, incoming.table.clone(), app.shared_random(), incoming.now, origin.clone());
    let (wants, selection) = match wants.enters_workspace {
        true => Selection::of(incoming, &store, None, wants).await.map(|(wants, found)| (wants, Some(found)))?,
        false => (wants, None),
    };
    let mut keys = vec![store.full(&Tenant::key_of())];
    keys.extend(wanted(wants, &store, &agency.directory, user));
    let leased = app.limiter().lease(store.table(), link.tenant, store.partition(UsageDay::COLLECTION), incoming.now, TenantSeen::NotYet);
    let (items, leased) = tokio::join!(store.table().get_many(&keys), leased);
    leased?;
    let mut read: HashMap<FullKey, Option<Item>> = keys.iter().cloned().zip(items?).collect();
    let profile: Tenant = store.read(read.remove(&keys[0]).flatten().as_ref())?.ok_or(Error::NotFound)?;
    let named_otherwise = incoming.route.starts_with(SLUG_ROUTES)
        && incoming.path_values.first().is_none_or(|slug| Slug::asked(slug).as_ref() != Some(&profile.slug));
    if named_otherwise {
        return Err(Error::NotFound);
    }
    if let Some(reason) = profile.inaccessible(incoming.now) {
        return Err(reason.error());
    }
    let plan = app.plans().get(&profile.plan).within(&profile.limits.unwrap_or_default());
    spend(incoming, &store, plan.api_requests_per_day).await?;
    let call = |id: String| ResourceChange::acted(format!("{} {}", incoming.method, incoming.route), id);
    let (here, there) = (call(link.id.prefixed()), call(String::new()));
    let by = Origin { actor: principal.clone(), request: incoming.request_id.clone() };
    let (ours, theirs) = tokio::join!(agency.store.audited(&by, incoming.now, &here), store.audited(&origin, incoming.now, &there));
    ours?;
    theirs?;
    incoming.facts().tenant = Some(link.tenant);
    let of = ForChild { agency: link.agency, subaccount: link.id };
    let directory = Directory::open(incoming.table.clone(), app.shared_random(), incoming.now, origin);
    let member = agency.member.delegated(DELEGATE);
    let inside = Inside {
        store: store.clone(),
        directory: directory.clone(),
        tenant: profile,
        plan,
        member,
        key: agency.key,
        delegated: true,
        agency: Some(of),
        power: agency.power,
        selection,
    };
    // A repeat with the same `Idempotency-Key` must be of the same caller for the same child.
    Ok((inside, Entered { store: Some(store), workspace: None, directory, principal, user, read }))
}
