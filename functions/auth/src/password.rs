//! Passwords: argon2id at OWASP's floor (19 MiB, 2 passes, 1 lane), and the way back for who forgot his.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use jiff::SignedDuration;
use shared::http::answer::{Accepted, Answer, Nothing};
use shared::http::arguments::Body;
use shared::http::form::{EmailAddress, Fields, Form, Password, Text};
use shared::http::idempotency::Once;
use shared::ids::{LinkId, MailId, UserId};
use shared::model::link::{Link, Purpose};
use shared::model::mail::{Content, Mail};
use shared::model::session::Session;
use shared::model::user::{Email, EmailClaim, User};
use shared::runtime::App;
use shared::store::conflict;
use shared::tenancy::doors::Visitor;
use shared::{Error, Result};

use crate::registration::EmailView;

const RESET_HOURS: i64 = 1;
/// As many sessions as fit into one transaction with the change of the password.
const AT_ONCE: usize = 90;

pub struct Forgot {
    email: Email,
}

pub struct Reset {
    token: String,
    password: String,
}

/// Answers alike whether the address is known or not, with about the same work.
pub async fn forgot(door: Visitor, once: Once<Forgot>) -> Result<Accepted<EmailView>> {
    let email = once.body.email;
    door.admit(&email).await?;
    let claim = door.directory.find(&EmailClaim::key_of(&email)).await?;
    let asked = claim.as_ref().map_or_else(|| UserId::new(door.now(), door.app.random()), |claim| claim.user);
    let user = door.directory.find(&User::key_of(asked)).await?;
    let link = Link {
        id: LinkId::new(door.app.random()),
        purpose: Purpose::ResetPassword { user: asked },
        expires_at: door.now() + SignedDuration::from_hours(RESET_HOURS),
    };
    let answer = Accepted::new("If the address is known, a mail is on its way", EmailView::of(&email));
    let transaction = once.ticket.record_open(door.directory.transaction(), &door.directory, &answer)?;
    let mut transaction = transaction.create(&door.directory, &link, conflict("Try again."))?;
    if let Some(user) = user {
        let content = Content::ResetPassword { name: user.name.clone(), link: link.id };
        let mail = Mail::queued(MailId::new(door.now(), door.app.random()), user.home, user.email, content, door.now());
        transaction = transaction.create(&door.directory, &mail, conflict("Try again."))?;
    }
    transaction.commit().await?;
    Ok(answer)
}

/// Ends every session of the user. The mail proves the address, so it counts as verified.
pub async fn reset(door: Visitor, body: Body<Reset>) -> Result<Answer<Nothing>> {
    let (link, user) = linked(&door, &body.0.token).await?;
    let hash = hash(&door.app, body.0.password).await?;
    let changed = user.verified(door.now()).with_password(hash, door.now());
    // Two steps of the record, one write of it.
    let changed = User { version: user.version + 1, ..changed };
    let sessions = door.directory.all(&Session::of_user(user.id)).await?;
    let mut transaction = door
        .directory
        .transaction()
        .delete(&door.directory, &Link::key_of(link.id), Box::new(|_| dead_link()))?
        .replace(&door.directory, &changed, &user)?;
    for session in sessions.iter().take(AT_ONCE) {
        transaction = transaction.remove(&door.directory, &Session::key_of(user.id, session.id))?;
    }
    transaction.commit().await?;
    // Those beyond the transaction, and those that were opened since.
    for session in door.directory.all(&Session::of_user(user.id)).await? {
        door.directory.delete(&Session::key_of(user.id, session.id)).await?;
    }
    Ok(Answer::done("Password reset successfully"))
}

async fn linked(door: &Visitor, token: &str) -> Result<(Link, User)> {
    let id = Link::of_token(token, &door.app.keys()?.links).ok_or_else(dead_link)?;
    let link = door.directory.find(&Link::key_of(id)).await?.ok_or_else(dead_link)?;
    let Purpose::ResetPassword { user } = link.purpose else { return Err(dead_link()) };
    let user = door.directory.find(&User::key_of(user)).await?.ok_or_else(dead_link)?;
    Ok((link, user))
}

pub(crate) fn dead_link() -> Error {
    Error::field("token", "The token field is not valid, was used, or has expired.")
}

/// Off the request's thread: it takes tens of milliseconds of CPU on purpose.
pub(crate) async fn hash(app: &App, password: String) -> Result<String> {
    let salt: [u8; 16] = app.random().bytes();
    blocking(move || {
        let hash: PasswordHash = hasher().hash_password_with_salt(password.as_bytes(), &salt)?;
        Ok(hash.to_string())
    })
    .await
}

/// One verification whatever is known of the user: an unknown one is compared with a hash that nothing matches.
pub(crate) async fn verify(password: String, hash: Option<String>) -> Result<bool> {
    let known = hash.is_some();
    let hash = hash.unwrap_or_else(|| NOBODY.to_owned());
    let matches = blocking(move || {
        let hash = PasswordHash::new(&hash)?;
        Ok(Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
    })
    .await?;
    Ok(matches && known)
}

/// Whether a hash was made with other parameters than today's.
pub(crate) fn is_outdated(hash: &str) -> bool {
    !hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$")
}

/// A hash of random bytes that were thrown away.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZSBzYWx0IGhlcmUhIQ$rUqpFhZ5wHYn3kLQzZ7vqI7mC0bV1x9dJ2oS4tT6uEw";

fn hasher() -> Argon2<'static> {
    let params = Params::new(19_456, 2, 1, None).expect("the parameters are within argon2's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, argon2::password_hash::Error> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| Error::internal("hashing a password", error))?;
    done.map_err(|error| Error::internal("hashing a password", error.to_string()))
}

impl Form for Forgot {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let email = fields.required("email", EmailAddress);
        Some(Forgot { email: email? })
    }
}

impl Form for Reset {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let token = fields.required("token", Text::up_to(200));
        let password = fields.required("password", Password { min: 8 });
        Some(Reset { token: token?, password: password? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_verifies_against_its_own_hash_only() {
        let hash: PasswordHash = hasher().hash_password_with_salt(b"correct horse", b"0123456789abcdef").unwrap();
        let hash = hash.to_string();
        assert!(!is_outdated(&hash));
        assert!(verify("correct horse".into(), Some(hash.clone())).await.unwrap());
        assert!(!verify("wrong horse".into(), Some(hash)).await.unwrap());
        assert!(!verify("anything".into(), None).await.unwrap());
    }
}
