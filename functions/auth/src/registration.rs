//! Registering, which waits for a proof of the address, and the proof, which creates the account and its tenant.

use serde::Serialize;
use shared::accounts::{AddressRecords, ProvenData, confirm};
use shared::http::answer::{Accepted, Answer};
use shared::http::form::{EmailAddress, Fields, Form, Name, Password, Text};
use shared::http::idempotency::Once;
use shared::ids::{LinkId, MailId, UserId};
use shared::model::link::{Link, Purpose};
use shared::model::mail::{Mail, MailContent};
use shared::model::registration::{Registrant, Registration};
use shared::model::user::{Email, User};
use shared::tenancy::conflict;
use shared::tenancy::doors::Visitor;
use shared::{Error, Result};

use crate::password::{self, dead_link};
use crate::session::UserView;

pub struct NewRegistration {
    name: String,
    email: Email,
    password: String,
    company_name: String,
}

pub struct Verification {
    token: String,
    password: String,
    name: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = EmailReceipt)]
pub struct EmailView {
    email: Email,
}

impl EmailView {
    pub(crate) fn of(email: &Email) -> Self {
        EmailView { email: email.clone() }
    }
}

/// The answer is the same for a new address and a known one. The owner of a known one gets a mail that says so. The password opens nothing:
/// it only lets a login with it say what is missing.
pub async fn register(door: Visitor, once: Once<NewRegistration>) -> Result<Accepted<EmailView>> {
    let NewRegistration { name, email, password, company_name } = once.body;
    door.admit(&email).await?;
    let (directory, now, random) = (&door.directory, door.now(), door.app.random());
    let answer = Accepted::new("Check your mail to finish the registration", EmailView::of(&email));
    let address = AddressRecords::read(directory, &email).await?;
    // An unknown address needs the same reads as a known one.
    let account = address.resettable().unwrap_or_else(|| UserId::new(now, random));
    let owner = directory.find(&User::key_of(account)).await?.filter(User::is_proven);
    let link = LinkId::new(random);
    let content = match owner {
        Some(_) => MailContent::AlreadyRegistered { name: name.clone() },
        None => MailContent::VerifyEmail { name: name.clone(), link },
    };
    let mail = Mail::queued(MailId::new(now, random), None, email.clone(), content, now);
    let registrant = Registrant { email: email.clone(), name, company_name };
    let registration = Registration::new(link, registrant, &password, door.app.keys().links()?, now);
    let link = Link { id: link, purpose: Purpose::Register { email: email.clone() }, expires_at: now + Registration::WAITS };
    let mut transaction = once.ticket.record_open(directory.transaction(), directory, &answer)?;
    for allowance in door.registration_mails(&email) {
        transaction = transaction.allow(&allowance)?;
    }
    let written = transaction
        .create(directory, &registration, conflict("Try again."))?
        .create(directory, &link, conflict("Try again."))?
        .create(directory, &mail, conflict("Try again."))?
        .commit()
        .await;
    match written {
        // The address has already got its mails of the day, and without a mail nothing can follow.
        Err(Error::TooManyRequests(_)) => once.ticket.record_open(directory.transaction(), directory, &answer)?.commit().await?,
        written => written?,
    }
    Ok(answer)
}

/// The person who reads the mails of the address sets the account's password here. The password of the registration does not count, because
/// a person who registers another's address would know it.
pub async fn verify_email(door: Visitor, once: Once<Verification>) -> Result<Answer<UserView>> {
    let Verification { token, password, name } = once.body;
    let directory = &door.directory;
    let id = Link::of_token(&token, door.app.keys().links()?).ok_or_else(dead_link)?;
    let link = directory.find(&Link::key_of(id)).await?.ok_or_else(dead_link)?;
    let given = |password| ProvenData { name, password: Some(password), home: None };
    let (proof, creation) = match link.purpose {
        Purpose::Register { email } => {
            let address = AddressRecords::read(directory, &email).await?;
            let registration = address.registration(id).cloned().ok_or_else(dead_link)?;
            if address.owner(directory).await?.is_some() {
                return Err(dead_link());
            }
            let given = given(password::hash(&door.app, password).await?);
            let (proof, creation) = Box::pin(confirm(directory, address, &registration, given)).await?;
            (proof, Some(creation))
        }
        Purpose::VerifyEmail { user } => {
            let user = directory.find(&User::key_of(user)).await?.filter(|user| !user.is_proven()).ok_or_else(dead_link)?;
            let address = AddressRecords::read(directory, &user.email).await?;
            if address.resettable() != Some(user.id) {
                return Err(dead_link());
            }
            let given = given(password::hash(&door.app, password).await?);
            (address.proof(directory, Some(user), given).await?, None)
        }
        Purpose::ResetPassword { .. } | Purpose::AcceptInvitation { .. } => return Err(dead_link()),
    };
    let member = match &creation {
        Some(creation) => creation.owner.clone(),
        None => {
            let place = door.acting_tenant(&proof.user).await;
            let place = place.or_else(|error| if matches!(error, Error::Forbidden(_)) { Ok(None) } else { Err(error) })?;
            place.map(|(_, member)| member)
        }
    };
    let answer = Answer::new("Email verified successfully", UserView::of(&proof.user, member.as_ref()));
    let transaction = once.ticket.record_open(directory.transaction(), directory, &answer)?;
    let transaction = transaction.delete(directory, &Link::key_of(id), Box::new(|_| dead_link()))?;
    let transaction = proof.write(transaction, directory, Box::new(|_| dead_link()))?;
    let transaction = match &creation {
        Some(creation) => creation.write(transaction, directory, conflict("Try again: this slug was taken at the same moment."))?,
        None => transaction,
    };
    transaction.commit().await?;
    proof.finish(directory).await?;
    Ok(answer)
}

impl Form for NewRegistration {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let name = fields.required("name", Name { max: 255 });
        let email = fields.required("email", EmailAddress);
        let password = fields.required("password", Password { min: 8 });
        let company_name = fields.required("company_name", Name { max: 255 });
        Some(NewRegistration { name: name?, email: email?, password: password?, company_name: company_name? })
    }
}

impl Form for Verification {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let token = fields.required("token", Text::up_to(200));
        let password = fields.required("password", Password { min: 8 });
        let name = fields.optional("name", Name { max: 255 });
        Some(Verification { token: token?, password: password?, name })
    }
}
