//! The membership by which a caller acts: a person's own, that of a key's maker, or that of the agency's person who acts for a child. The
//! door has checked it. A write that must fail after a demotion checks it again in its own transaction.

use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::model::api_key::{ApiKey, KeyClaim, Maker};
use crate::model::member::Member;
use crate::model::subaccount::Subaccount;
use crate::model::user::UserTenant;
use crate::store::table::Condition;
use crate::tenancy::{App, Directory, Role, TenantId, TenantStore, Transaction};

#[derive(Debug, Clone)]
pub(super) struct Power {
    pub tenant: TenantId,
    pub membership: Member,
}

impl Power {
    pub(super) fn maker(&self) -> Maker {
        Maker { tenant: self.tenant, user: self.membership.user }
    }

    /// Requires, in the transaction itself, that the membership still has the role `least` or a higher one.
    pub(super) fn require_role<'a>(&self, directory: &Directory, transaction: Transaction<'a>, least: Role) -> Result<Transaction<'a>> {
        let roles = Role::ALL.into_iter().filter(|role| *role >= least).map(Role::name);
        let condition = Condition::says(("number", self.membership.number), "role", roles);
        let gone = Box::new(|_| Error::Forbidden("Your role was changed at the same moment.".into()));
        let (membership_store, key) = (directory.enter(self.tenant), Member::key_of(self.membership.user));
        transaction.require_if(&membership_store, &key, &condition, gone)
    }
}

/// Whether a claim names the maker of the key. An adoption changes both, and an instance may remember the earlier claim.
pub(super) fn claim_fits(maker: Maker, key: &ApiKey, tenant: TenantId) -> bool {
    maker.user == key.issuer.user && (maker.tenant != tenant) == key.issuer.is_of_agency()
}

/// The membership of a key's maker, if the remembered claim does not lead to it. Either the key was adopted since, or its claim was written
/// before makers were stored. The new claim is remembered.
pub(super) async fn look_up(app: &App, directory: &Directory, store: &TenantStore, key: &ApiKey) -> Result<Option<Power>> {
    let Some(claim) = directory.find(&KeyClaim::key_of(&key.handle)).await? else { return Ok(None) };
    let Some(maker) = maker_of(directory, store.tenant_id(), &claim, key).await? else { return Ok(None) };
    app.known_keys().remember(claim.made_by(maker).into());
    let membership = directory.enter(maker.tenant).find(&Member::key_of(maker.user)).await?;
    Ok(membership.map(|membership| Power { tenant: maker.tenant, membership }))
}

/// The memberships of the makers of several keys of one tenant.
pub(super) async fn of_makers(directory: &Directory, store: &TenantStore, keys: &[ApiKey]) -> Result<Vec<Member>> {
    let (theirs, own): (Vec<&ApiKey>, Vec<&ApiKey>) = keys.iter().partition(|key| key.issuer.is_of_agency());
    let mut makers: Vec<Maker> = vec![];
    let mut add = |maker: Maker| {
        if !makers.contains(&maker) {
            makers.push(maker);
        }
    };
    for key in own {
        add(Maker { tenant: store.tenant_id(), user: key.issuer.user });
    }
    let claims: Vec<_> = theirs.iter().map(|key| KeyClaim::key_of(&key.handle)).collect();
    for claim in directory.find_many(&claims).await? {
        if let Some(key) = theirs.iter().find(|key| key.handle == claim.handle)
            && let Some(maker) = maker_of(directory, store.tenant_id(), &claim, key).await?
        {
            add(maker);
        }
    }
    let mut members = vec![];
    while let Some(maker) = makers.first().copied() {
        let (here, elsewhere): (Vec<Maker>, Vec<Maker>) = makers.into_iter().partition(|other| other.tenant == maker.tenant);
        makers = elsewhere;
        let users: Vec<_> = here.iter().map(|maker| Member::key_of(maker.user)).collect();
        members.extend(directory.enter(maker.tenant).find_many(&users).await?);
    }
    Ok(members)
}

async fn maker_of(directory: &Directory, tenant: TenantId, claim: &KeyClaim, key: &ApiKey) -> Result<Option<Maker>> {
    if let Some(maker) = claim.maker.filter(|maker| claim_fits(*maker, key, tenant)) {
        return Ok(Some(maker));
    }
    let user = key.issuer.user;
    if !key.issuer.is_of_agency() {
        return Ok(Some(Maker { tenant, user }));
    }
    agency_of(directory, user, tenant).await.map(|agency| agency.map(|tenant| Maker { tenant, user }))
}

/// Finds the agency of `child` among the tenants of a person.
async fn agency_of(directory: &Directory, user: UserId, child: TenantId) -> Result<Option<TenantId>> {
    for belongs in directory.all(&UserTenant::of_user(user)).await? {
        let children = directory.all(&Subaccount::of_agency(belongs.tenant)).await?;
        if children.iter().any(|subaccount| subaccount.tenant == child) {
            return Ok(Some(belongs.tenant));
        }
    }
    Ok(None)
}
