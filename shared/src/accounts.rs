//! The records at an e-mail address, and what a proof of the address does with them. A proof is something that only a reader of its mails
//! can do. It proves the mailbox and nothing else. Passwords, sessions and memberships from before the proof become invalid, so that nobody
//! can prepare an account for another person.

use futures_util::future::try_join_all;

use crate::error::Result;
use crate::ids::{LinkId, SessionId, UserId};
use crate::model::demo::DemoClaim;
use crate::model::registration::Registration;
use crate::model::session::Session;
use crate::model::tenant::{Slug, TenantKind};
use crate::model::user::{Email, EmailClaim, User};
use crate::store::List;
use crate::store::entity::Collection;
use crate::tenancy::{Directory, Refusal, TenantId, Transaction};
use crate::tenant_lifecycle::{NewTenant, SLUG_ALPHABET, TenantCreation};

/// All records at an address.
pub struct AddressRecords {
    pub email: Email,
    /// Also a claim that has expired.
    claim: Option<EmailClaim>,
    demos: Vec<DemoClaim>,
    registrations: Vec<Registration>,
}

/// The data that is given with a proof.
pub struct ProvenData {
    pub name: Option<String>,
    /// The hash.
    pub password: Option<String>,
    /// The home tenant, for an account that has none yet.
    pub home: Option<TenantId>,
}

/// The account after a proof, and what ends with the proof.
pub struct Proof {
    pub user: User,
    /// The account before, if an existing one is kept.
    before: Option<User>,
    address: AddressRecords,
    /// The account that loses the address and has nothing else, so it is deleted. A demo's account is deleted with its demo.
    unproven: Option<User>,
    /// Accounts whose sessions end.
    losing: Vec<UserId>,
    sessions: Vec<(UserId, SessionId)>,
}

/// Who has proven the address.
pub async fn owner_of(directory: &Directory, email: &Email) -> Result<Option<User>> {
    let Some(claim) = claim_of(directory, email).await?.filter(|claim| claim.ends_at.is_none()) else { return Ok(None) };
    Ok(directory.find(&User::key_of(claim.user)).await?.filter(User::is_proven))
}

impl AddressRecords {
    pub async fn read(directory: &Directory, email: &Email) -> Result<Self> {
        let at = Collection::within::<Registration>(email.hashed());
        let (demos, registrations) = (List::new(at.clone(), "demo#"), List::new(at, "registration#"));
        let (claim, demos, registrations) =
            tokio::try_join!(claim_of(directory, email), directory.all_expired_too(&demos), directory.all(&registrations))?;
        Ok(AddressRecords { email: email.clone(), claim, demos, registrations })
    }

    /// The account that can have its own password.
    pub fn account(&self) -> Option<UserId> {
        self.claim.as_ref().map(|claim| claim.user)
    }

    /// The demo with this password. It may have expired.
    pub fn demo_opened_by(&self, password: &str) -> Option<&DemoClaim> {
        self.demos.iter().find(|demo| demo.is_opened_by(password))
    }

    pub fn registrations(&self) -> &[Registration] {
        &self.registrations
    }

    pub fn registration(&self, link: LinkId) -> Option<&Registration> {
        self.registrations.iter().find(|registration| registration.link == link)
    }

    /// The account whose password can be reset with a mail to the address: the account of the address, or that of a demo which an operator
    /// made permanent.
    pub fn resettable(&self) -> Option<UserId> {
        let claim = self.claim.as_ref().filter(|claim| claim.ends_at.is_none()).map(|claim| claim.user);
        claim.or_else(|| self.kept().map(|demo| demo.user))
    }

    pub async fn owner(&self, directory: &Directory) -> Result<Option<User>> {
        match self.claim.as_ref().filter(|claim| claim.ends_at.is_none()) {
            Some(claim) => Ok(directory.find(&User::key_of(claim.user)).await?.filter(User::is_proven)),
            None => Ok(None),
        }
    }

    /// An account from before registrations waited that has the address without having proven it.
    pub async fn unproven(&self, directory: &Directory) -> Result<Option<User>> {
        match self.claim.as_ref().filter(|claim| claim.ends_at.is_none()) {
            Some(claim) => Ok(directory.find(&User::key_of(claim.user)).await?.filter(|user| !user.is_proven())),
            None => Ok(None),
        }
    }

    /// A proof of the address, which nobody has proven yet. The account is `existing` if the proof is for that account. Otherwise it is
    /// that of a demo which was made permanent, or a new one.
    pub async fn proof(self, directory: &Directory, existing: Option<User>, given: ProvenData) -> Result<Proof> {
        let now = directory.now();
        let before = match (existing, self.kept()) {
            (Some(user), _) => Some(user),
            (None, Some(demo)) => directory.find(&User::key_of(demo.user)).await?,
            (None, None) => None,
        };
        let user = match &before {
            Some(before) => {
                let user = before.proven(given.name, given.password, now);
                User { home: user.home.or(given.home), ..user }
            }
            None => User {
                id: UserId::new(now, directory.random()),
                name: given.name.unwrap_or_default(),
                email: self.email.clone(),
                password: given.password,
                passwords: 0,
                verified_at: Some(now),
                demo: None,
                system_admin: false,
                home: given.home,
                created_at: now,
                updated_at: now,
                version: 1,
            },
        };
        let unproven = self.unproven(directory).await?.filter(|unproven| unproven.id != user.id);
        let losing: Vec<UserId> = self.demos.iter().map(|demo| demo.user).chain(self.account()).collect();
        let sessions = sessions_of(directory, &losing).await?;
        Ok(Proof { user, before, address: self, unproven, losing, sessions })
    }

    /// A demo that an operator made permanent.
    fn kept(&self) -> Option<&DemoClaim> {
        self.demos.iter().find(|demo| demo.ends_at.is_none())
    }
}

impl Proof {
    /// How many of each kind are deleted in the transaction of a proof. The rest is deleted right after it.
    const IN_TRANSACTION: usize = 20;

    /// `taken` is the answer if somebody else proved the address at the same moment.
    pub fn write<'a>(&self, transaction: Transaction<'a>, directory: &Directory, taken: Refusal) -> Result<Transaction<'a>> {
        let claim = EmailClaim { email: self.address.email.clone(), user: self.user.id, ends_at: None };
        let now = directory.now().as_second();
        let transaction = match &self.address.claim {
            None => transaction.create_or_expired(directory, &claim, now, taken)?,
            Some(before) if before.email.normalised() == claim.email.normalised() => {
                transaction.claim(directory, &claim, "user", &before.user.to_string(), taken)?
            }
            // The claim uses the form that addresses had before.
            Some(before) => {
                transaction.create_or_expired(directory, &claim, now, taken)?.remove(directory, &EmailClaim::key_of(&before.email))?
            }
        };
        let mut transaction = match &self.before {
            Some(before) => transaction.replace(directory, &self.user, before)?,
            None => transaction.create(directory, &self.user, crate::tenancy::conflict("Try again."))?,
        };
        if let Some(unproven) = &self.unproven {
            transaction = transaction.delete_unchanged(directory, unproven)?;
        }
        for demo in self.address.demos.iter().take(Self::IN_TRANSACTION) {
            transaction = transaction.remove(directory, &DemoClaim::key_of(&self.address.email, demo.tenant))?;
        }
        for registration in self.address.registrations.iter().take(Self::IN_TRANSACTION) {
            transaction = transaction.remove(directory, &Registration::key_of(&self.address.email, registration.link))?;
        }
        for (user, session) in self.sessions.iter().take(Self::IN_TRANSACTION) {
            transaction = transaction.remove(directory, &Session::key_of(*user, *session))?;
        }
        Ok(transaction)
    }

    /// What did not fit into the transaction, and sessions that were opened in the meantime.
    pub async fn finish(&self, directory: &Directory) -> Result<()> {
        for demo in self.address.demos.iter().skip(Self::IN_TRANSACTION) {
            directory.delete(&DemoClaim::key_of(&self.address.email, demo.tenant)).await?;
        }
        for registration in self.address.registrations.iter().skip(Self::IN_TRANSACTION) {
            directory.delete(&Registration::key_of(&self.address.email, registration.link)).await?;
        }
        for (user, session) in sessions_of(directory, &self.losing).await? {
            directory.delete(&Session::key_of(user, session)).await?;
        }
        Ok(())
    }
}

/// The proof and the tenant that result from a registration when its address is proven.
pub async fn confirm(
    directory: &Directory,
    address: AddressRecords,
    registration: &Registration,
    given: ProvenData,
) -> Result<(Proof, TenantCreation)> {
    let company = registration.company_name.clone();
    // In the owner's spelling, whatever spelling was used to find it.
    let address = AddressRecords { email: registration.email.clone(), ..address };
    let store = directory.new_tenant_store();
    let given = ProvenData { name: given.name.or_else(|| Some(registration.name.clone())), home: Some(store.tenant_id()), ..given };
    let proof = address.proof(directory, None, given).await?;
    let new = NewTenant {
        slug: Slug::from_name(&company, &directory.random().text(SLUG_ALPHABET, 6)),
        name: company,
        logo: None,
        plan: "free".into(),
        kind: TenantKind::Standard,
        ends_at: None,
    };
    let creation = TenantCreation::with_owner(directory, store, new, &proof.user).await?;
    Ok((proof, creation))
}

/// Also an expired claim, and one under the earlier form of the address.
async fn claim_of(directory: &Directory, email: &Email) -> Result<Option<EmailClaim>> {
    let claim = directory.find_expired_too(&EmailClaim::key_of(email)).await?;
    match (claim, email.former()) {
        (None, Some(former)) => directory.find_expired_too(&EmailClaim::key_of(&former)).await,
        (claim, _) => Ok(claim),
    }
}

async fn sessions_of(directory: &Directory, users: &[UserId]) -> Result<Vec<(UserId, SessionId)>> {
    let found = try_join_all(users.iter().map(|user| async move { directory.all(&Session::of_user(*user)).await })).await?;
    Ok(found.into_iter().flatten().map(|session| (session.user, session.id)).collect())
}
