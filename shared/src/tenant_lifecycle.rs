//! How a tenant begins and ends. A new tenant is created with its owner in one transaction. Registration, demos, the two routes for further
//! tenants, and subaccounts differ only in owner, plan, kind and end.

use jiff::Timestamp;

use crate::model::deletion::Deletion;
use crate::model::member::Member;
use crate::model::tenant::{Inaccessible, Slug, SlugClaim, Tenant, TenantKind, TenantStatus};
use crate::model::user::{User, UserTenant};
use crate::tenancy::directory::GlobalCounter;
use crate::tenancy::{Directory, Refusal, Role, TenantStore, Transaction, conflict};
use crate::{Error, Result};

/// Lower-case letters and digits, for the random ends of slugs.
pub const SLUG_ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// The properties of a new tenant.
pub struct NewTenant {
    pub name: String,
    pub logo: Option<String>,
    pub slug: Slug,
    pub plan: String,
    pub kind: TenantKind,
    pub ends_at: Option<Timestamp>,
}

/// The records of a tenant that is being created, with its owner's membership.
pub struct TenantCreation {
    pub store: TenantStore,
    pub tenant: Tenant,
    /// A subaccount begins without members, because its agency acts for it.
    pub owner: Option<Member>,
}

impl TenantCreation {
    /// `store` must be that of a new tenant. Takes an account number. If the creation fails, the number stays unused.
    pub async fn with_owner(directory: &Directory, store: TenantStore, new: NewTenant, owner: &User) -> Result<Self> {
        let owner = Member {
            user: owner.id,
            number: 1,
            role: Role::Owner,
            name: owner.name.clone(),
            email: owner.email.as_str().to_owned(),
            joined_at: directory.now(),
            version: 1,
        };
        Ok(TenantCreation { owner: Some(owner), ..TenantCreation::without_owner(directory, store, new).await? })
    }

    pub async fn without_owner(directory: &Directory, store: TenantStore, new: NewTenant) -> Result<Self> {
        let now = directory.now();
        let tenant = Tenant {
            id: store.tenant_id(),
            account: directory.next_number(GlobalCounter::Accounts).await?,
            slug: new.slug,
            name: new.name,
            logo: new.logo,
            status: TenantStatus::Active,
            plan: new.plan,
            kind: new.kind,
            limits: None,
            ends_at: new.ends_at,
            deleted_at: None,
            created_at: now,
            updated_at: now,
            version: 1,
        };
        Ok(TenantCreation { store, tenant, owner: None })
    }

    /// Adds all records that a new tenant needs. `slug_taken` is the answer if the slug belongs to another tenant, or rests after a
    /// deletion.
    pub fn write<'a>(&self, transaction: Transaction<'a>, directory: &Directory, slug_taken: Refusal) -> Result<Transaction<'a>> {
        let (store, tenant) = (&self.store, &self.tenant);
        let slug = SlugClaim { slug: tenant.slug.clone(), tenant: tenant.id, account: tenant.account, rests_until: None };
        let transaction = transaction.create_or_expired(directory, &slug, directory.now().as_second(), slug_taken)?.create(
            store,
            tenant,
            conflict("Try again."),
        )?;
        let Some(owner) = &self.owner else { return Ok(transaction) };
        let belongs = UserTenant { user: owner.user, tenant: tenant.id, since: tenant.created_at };
        transaction
            .create(directory, &belongs, conflict("Try again."))?
            .create(store, owner, conflict("Try again."))?
            .create(store, &owner.numbered(), conflict("Try again."))?
            .count(store, Member::COUNT, 1)?
            .count(store, Member::OWNERS, 1)?
            .count(store, Member::NUMBERS, 1)
    }
}

/// Closes a tenant at once and puts it on the janitor's list.
pub async fn close(store: &TenantStore, directory: &Directory, tenant: Tenant) -> Result<Tenant> {
    close_if(store, directory, tenant, |_, transaction| Ok(transaction)).await
}

/// The same with a check of the record at the time of closing, and with additional conditions in the same transaction.
pub async fn close_if<'a, F>(store: &'a TenantStore, directory: &Directory, tenant: Tenant, holds: F) -> Result<Tenant>
where
    F: Fn(&Tenant, Transaction<'a>) -> Result<Transaction<'a>>,
{
    if tenant.kind == TenantKind::Subaccount {
        return Err(Error::Forbidden("This tenant is managed by the platform and cannot be deleted here.".into()));
    }
    store
        .edit(tenant, |tenant, transaction| {
            if tenant.inaccessible(store.now()) == Some(Inaccessible::Gone) {
                return Err(Error::NotFound);
            }
            let transaction = holds(tenant, transaction)?;
            let transaction = transaction.put(directory, &Deletion::of(tenant, store.now()))?;
            Ok(Some((tenant.deleting(store.now()), transaction)))
        })
        .await
}
