//! Registering, which founds a tenant, and verifying the address, which opens it.

use jiff::SignedDuration;
use serde::Serialize;
use shared::founding::{Founder, Founding, NewTenant, SLUG_ALPHABET};
use shared::http::answer::{Accepted, Answer};
use shared::http::arguments::Body;
use shared::http::form::{EmailAddress, Fields, Form, Name, Password, Text};
use shared::http::idempotency::{Once, Ticket};
use shared::ids::{LinkId, MailId};
use shared::model::link::{Link, Purpose};
use shared::model::mail::{Content, Mail};
use shared::model::tenant::{Kind, Slug};
use shared::model::user::{Email, EmailClaim, User};
use shared::store::conflict;
use shared::tenancy::directory::GlobalCounter;
use shared::tenancy::doors::Visitor;
use shared::{Error, Result};

use crate::password::{self, dead_link};
use crate::session::UserView;

const VERIFY_HOURS: i64 = 24 * 3;

pub struct Registration {
    name: String,
    email: Email,
    password: String,
    company_name: String,
}

pub struct Verification {
    token: String,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = EmailReceipt)]
pub struct EmailView {
    email: String,
}

impl EmailView {
    pub(crate) fn of(email: &Email) -> Self {
        EmailView { email: email.as_str().to_owned() }
    }
}

/// Answers alike for a new address and a known one: the owner of a known one gets a mail that says so.
pub async fn register(door: Visitor, once: Once<Registration>) -> Result<Accepted<EmailView>> {
    let Registration { name, email, password, company_name } = once.body;
    door.admit(&email).await?;
    let password = password::hash(&door.app, password).await?;
    let answer = Accepted::new("Check your mail to finish the registration", EmailView::of(&email));
    let directory = &door.directory;
    if directory.find(&EmailClaim::key_of(&email)).await?.is_some() {
        // Takes an account number to no purpose: the same calls, in the same order, as for a new address.
        directory.next_number(GlobalCounter::Accounts).await?;
        tell_owner(&door, &once.ticket, &answer, name, email).await?;
        return Ok(answer);
    }
    let new = NewTenant {
        slug: Slug::from_name(&company_name, &door.app.random().text(SLUG_ALPHABET, 6)),
        name: company_name,
        logo: None,
        plan: "free".into(),
        kind: Kind::Standard,
        ends_at: None,
    };
    let store = directory.found_tenant();
    let user = Founder { name: name.clone(), email: email.clone(), password, verified_at: None }.user(directory, &store);
    let founding = Founding::of(directory, store, new, &user).await?;
    let link = Link {
        id: LinkId::new(door.app.random()),
        purpose: Purpose::VerifyEmail { user: user.id },
        expires_at: door.now() + SignedDuration::from_hours(VERIFY_HOURS),
    };
    let content = Content::VerifyEmail { name: user.name.clone(), link: link.id };
    let mail = Mail::queued(MailId::new(door.now(), door.app.random()), Some(founding.tenant.id), email.clone(), content, door.now());
    let transaction = once.ticket.record_open(directory.transaction(), directory, &answer)?;
    let taken = Box::new(|_| Error::field("email", "The email field was registered at the same moment."));
    let transaction = founding.write_user(transaction, directory, &user, taken)?;
    let written = founding
        .write(transaction, directory, conflict("Try again: this slug was taken at the same moment."))?
        .create(directory, &link, conflict("Try again."))?
        .create(directory, &mail, conflict("Try again."))?
        .commit()
        .await;
    match written {
        // Two at once are answered as two in a row, or sending two would tell a new address from a known one.
        Err(Error::Validation(_)) => tell_owner(&door, &once.ticket, &answer, name, email).await?,
        written => written?,
    }
    Ok(answer)
}

/// The owner of a known address hears that somebody tried to register with it.
async fn tell_owner(door: &Visitor, ticket: &Ticket, answer: &Accepted<EmailView>, name: String, email: Email) -> Result<()> {
    let mail = Mail::queued(MailId::new(door.now(), door.app.random()), None, email, Content::AlreadyRegistered { name }, door.now());
    let transaction = ticket.record_open(door.directory.transaction(), &door.directory, answer)?;
    transaction.create(&door.directory, &mail, conflict("Try again."))?.commit().await
}

pub async fn verify_email(door: Visitor, body: Body<Verification>) -> Result<Answer<UserView>> {
    let id = Link::of_token(&body.0.token, &door.app.keys()?.links).ok_or_else(dead_link)?;
    let link = door.directory.find(&Link::key_of(id)).await?.ok_or_else(dead_link)?;
    let Purpose::VerifyEmail { user } = link.purpose else { return Err(dead_link()) };
    let user = door.directory.find(&User::key_of(user)).await?.ok_or_else(dead_link)?;
    let verified = user.verified(door.now());
    door.directory
        .transaction()
        .delete(&door.directory, &Link::key_of(id), Box::new(|_| dead_link()))?
        .replace(&door.directory, &verified, &user)?
        .commit()
        .await?;
    let place = door.place_of(&verified).await.or_else(|error| if matches!(error, Error::Forbidden(_)) { Ok(None) } else { Err(error) })?;
    Ok(Answer::new("Email verified successfully", UserView::of(&verified, place.as_ref().map(|(_, member)| member))))
}

impl Form for Registration {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let name = fields.required("name", Name { max: 255 });
        let email = fields.required("email", EmailAddress);
        let password = fields.required("password", Password { min: 8 });
        let company_name = fields.required("company_name", Name { max: 255 });
        Some(Registration { name: name?, email: email?, password: password?, company_name: company_name? })
    }
}

impl Form for Verification {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let token = fields.required("token", Text::up_to(200));
        Some(Verification { token: token? })
    }
}
