//! A new tenant with its owner, as parts of one transaction: registration and demos differ only in plan, end and sample data.

use jiff::Timestamp;
use shared::Result;
use shared::ids::UserId;
use shared::model::member::Member;
use shared::model::tenant::{Kind, Slug, SlugClaim, Status, Tenant};
use shared::model::user::{Belongs, Email, EmailClaim, User};
use shared::store::{Counter, Refusal, Transaction, conflict};
use shared::tenancy::directory::GlobalCounter;
use shared::tenancy::{Directory, Role, TenantStore};

/// Lower-case letters and digits, for the ends of slugs.
pub const SLUG_ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";

pub struct Founding {
    pub store: TenantStore,
    pub tenant: Tenant,
    pub owner: Member,
    pub user: User,
}

/// What a founder says.
pub struct Founder {
    pub name: String,
    pub email: Email,
    pub password: String,
    pub verified_at: Option<Timestamp>,
    pub tenant_name: String,
    pub slug: Slug,
    pub plan: &'static str,
    pub kind: Kind,
    pub ends_at: Option<Timestamp>,
}

impl Founding {
    /// `store` is a fresh tenant's. Takes an account number; one that is not used stays unused.
    pub async fn of(directory: &Directory, store: TenantStore, founder: Founder) -> Result<Self> {
        let now = directory.now();
        let user = User {
            id: UserId::new(now, directory.random()),
            name: founder.name,
            email: founder.email,
            password: Some(founder.password),
            verified_at: founder.verified_at,
            system_admin: false,
            home: Some(store.tenant_id()),
            created_at: now,
            updated_at: now,
            version: 1,
        };
        let tenant = Tenant {
            id: store.tenant_id(),
            account: directory.next_number(GlobalCounter::Accounts).await?,
            slug: founder.slug,
            name: founder.tenant_name,
            status: Status::Active,
            plan: founder.plan.to_owned(),
            kind: founder.kind,
            ends_at: founder.ends_at,
            created_at: now,
            updated_at: now,
            version: 1,
        };
        let owner = Member {
            user: user.id,
            number: 1,
            role: Role::Owner,
            name: user.name.clone(),
            email: user.email.as_str().to_owned(),
            joined_at: now,
            version: 1,
        };
        Ok(Founding { store, tenant, owner, user })
    }

    /// Adds everything a tenant begins with. `email_taken` answers when the address is somebody's.
    pub fn write<'a>(&self, transaction: Transaction<'a>, directory: &Directory, email_taken: Refusal) -> Result<Transaction<'a>> {
        let (store, user) = (&self.store, &self.user);
        let claim = EmailClaim { email: user.email.clone(), user: user.id, ends_at: self.tenant.ends_at };
        let slug = SlugClaim { slug: self.tenant.slug.clone(), tenant: self.tenant.id, account: self.tenant.account };
        let belongs = Belongs { user: user.id, tenant: self.tenant.id, since: self.tenant.created_at };
        transaction
            .create_or_expired(directory, &claim, directory.now().as_second(), email_taken)?
            .create(directory, &slug, conflict("Try again: this slug was taken at the same moment."))?
            .create(directory, user, conflict("Try again."))?
            .create(directory, &belongs, conflict("Try again."))?
            .create(store, &self.tenant, conflict("Try again."))?
            .create(store, &self.owner, conflict("Try again."))?
            .create(store, &self.owner.numbered(), conflict("Try again."))?
            .count(store, Counter::Members, 1)?
            .count(store, Counter::Owners, 1)?
            .count(store, Counter::MemberNumbers, 1)
    }
}
