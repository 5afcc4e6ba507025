//! Passwords: argon2id with OWASP's minimum (19 MiB, 2 passes, 1 lane), and how to reset a forgotten one.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use jiff::SignedDuration;
use shared::accounts::{AddressRecords, ProvenData};
use shared::http::answer::{Accepted, Answer, Nothing};
use shared::http::form::{Fields, Form, KnownAddress, Password, Text};
use shared::http::idempotency::Once;
use shared::ids::{LinkId, MailId, UserId};
use shared::model::link::{Link, Purpose};
use shared::model::mail::{Mail, MailContent};
use shared::model::session::Session;
use shared::model::text::nfc;
use shared::model::user::{Email, User};
use shared::runtime::App;
use shared::tenancy::conflict;
use shared::tenancy::doors::Visitor;
use shared::{Error, Result};

use crate::registration::EmailView;

const RESET_HOURS: i64 = 1;
/// The most sessions that fit into one transaction with the change of the password.
const AT_ONCE: usize = 90;

pub struct Forgot {
    email: Email,
}

pub struct Reset {
    token: String,
    password: String,
}

/// The answer is the same whether the address is known or not, and takes about the same work.
pub async fn forgot(door: Visitor, once: Once<Forgot>) -> Result<Accepted<EmailView>> {
    let email = once.body.email;
    door.admit_reset(&email).await?;
    let (directory, now, random) = (&door.directory, door.now(), door.app.random());
    let answer = Accepted::new("If the address is known, a mail is on its way", EmailView::of(&email));
    let address = AddressRecords::read(directory, &email).await?;
    let asked = address.resettable().unwrap_or_else(|| UserId::new(now, random));
    let user = directory.find(&User::key_of(asked)).await?;
    let passwords = user.as_ref().map_or(0, |user| user.passwords);
    let link = Link {
        id: LinkId::new(random),
        purpose: Purpose::ResetPassword { user: asked, passwords },
        expires_at: now + SignedDuration::from_hours(RESET_HOURS),
    };
    let mut transaction = once.ticket.record_open(directory.transaction(), directory, &answer)?;
    for allowance in door.reset_mails(&email) {
        transaction = transaction.allow(&allowance)?;
    }
    transaction = transaction.create(directory, &link, conflict("Try again."))?;
    if let Some(user) = user {
        let content = MailContent::ResetPassword { name: user.name, link: link.id };
        let mail = Mail::queued(MailId::new(now, random), user.home, user.email, content, now);
        transaction = transaction.create(directory, &mail, conflict("Try again."))?;
    }
    match transaction.commit().await {
        // The address has already got its mails of the day. Each of them is valid for an hour.
        Err(Error::TooManyRequests(_)) => once.ticket.record_open(directory.transaction(), directory, &answer)?.commit().await?,
        written => written?,
    }
    Ok(answer)
}

/// Ends every session of the user, and every other link to a new password. The mail proves the address. An unproven account at the address
/// is thereby proven, with this password and no earlier one.
pub async fn reset(door: Visitor, once: Once<Reset>) -> Result<Answer<Nothing>> {
    let directory = &door.directory;
    let (link, user) = linked(&door, &once.body.token).await?;
    let answer = Answer::done("Password reset successfully");
    let transaction = once.ticket.record_open(directory.transaction(), directory, &answer)?;
    let transaction = transaction.delete(directory, &Link::key_of(link.id), Box::new(|_| dead_link()))?;
    if !user.is_proven() {
        let address = AddressRecords::read(directory, &user.email).await?;
        if address.resettable() != Some(user.id) {
            return Err(dead_link());
        }
        let given = ProvenData { name: None, password: Some(hash(&door.app, once.body.password).await?), home: None };
        let proof = address.proof(directory, Some(user), given).await?;
        proof.write(transaction, directory, Box::new(|_| dead_link()))?.commit().await?;
        proof.finish(directory).await?;
        return Ok(answer);
    }
    let changed = user.proven(None, Some(hash(&door.app, once.body.password).await?), door.now());
    let sessions = directory.all(&Session::of_user(user.id)).await?;
    let mut transaction = transaction.replace(directory, &changed, &user)?;
    for session in sessions.iter().take(AT_ONCE) {
        transaction = transaction.remove(directory, &Session::key_of(user.id, session.id))?;
    }
    transaction.commit().await?;
    // Sessions that did not fit into the transaction, and those that were opened since.
    for session in directory.all(&Session::of_user(user.id)).await? {
        directory.delete(&Session::key_of(user.id, session.id)).await?;
    }
    Ok(answer)
}

async fn linked(door: &Visitor, token: &str) -> Result<(Link, User)> {
    let id = Link::of_token(token, door.app.keys().links()?).ok_or_else(dead_link)?;
    let link = door.directory.find(&Link::key_of(id)).await?.ok_or_else(dead_link)?;
    let Purpose::ResetPassword { user, passwords } = link.purpose else { return Err(dead_link()) };
    let user = door.directory.find(&User::key_of(user)).await?.filter(|user| user.passwords == passwords).ok_or_else(dead_link)?;
    Ok((link, user))
}

pub(crate) fn dead_link() -> Error {
    Error::field("token", "The token field is not valid, was used, or has expired.")
}

/// Not on the request's thread, because it takes tens of milliseconds of CPU on purpose.
pub(crate) async fn hash(app: &App, password: String) -> Result<String> {
    let salt: [u8; 16] = app.random().bytes();
    blocking(move || {
        let hash: PasswordHash = hasher().hash_password_with_salt(nfc(&password).as_bytes(), &salt)?;
        Ok(hash.to_string())
    })
    .await
}

/// The result of comparing a password with a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Matches {
    No,
    /// The password matches, but a new hash is needed: the parameters are old, or the text was hashed without NFC.
    Outdated,
    Yes,
}

/// One verification, whether the user is known or not: for an unknown user, the hash is one that nothing matches. Passwords were once
/// hashed without NFC, so only a text that is not in NFC needs a second verification.
pub(crate) async fn verify(password: String, hash: Option<String>) -> Result<Matches> {
    let known = hash.is_some();
    let hash = hash.unwrap_or_else(|| NOBODY.to_owned());
    let matches = blocking(move || {
        let composed = nfc(&password);
        let parsed = PasswordHash::new(&hash)?;
        let opens = |text: &str| Argon2::default().verify_password(text.as_bytes(), &parsed).is_ok();
        Ok(match opens(&composed) {
            true if is_outdated(&hash) => Matches::Outdated,
            true => Matches::Yes,
            false if *composed != *password && opens(&password) => Matches::Outdated,
            false => Matches::No,
        })
    })
    .await?;
    Ok(if known { matches } else { Matches::No })
}

/// Whether a hash was made with old parameters.
fn is_outdated(hash: &str) -> bool {
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
        let email = fields.required("email", KnownAddress);
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
        assert_eq!(verify("correct horse".into(), Some(hash.clone())).await.unwrap(), Matches::Yes);
        assert_eq!(verify("wrong horse".into(), Some(hash)).await.unwrap(), Matches::No);
        assert_eq!(verify("anything".into(), None).await.unwrap(), Matches::No);
    }

    #[tokio::test]
    async fn a_password_is_the_same_however_the_keyboard_composes_it() {
        let of = |text: &str| {
            let hash: PasswordHash = hasher().hash_password_with_salt(text.as_bytes(), b"0123456789abcdef").unwrap();
            Some(hash.to_string())
        };
        let (composed, apart) = ("caf\u{e9} au lait", "cafe\u{301} au lait");
        assert_eq!(verify(apart.into(), of(composed)).await.unwrap(), Matches::Yes);
        assert_eq!(verify(composed.into(), of(composed)).await.unwrap(), Matches::Yes);
        // Hashed before passwords were put into NFC.
        assert_eq!(verify(apart.into(), of(apart)).await.unwrap(), Matches::Outdated);
        assert_eq!(verify("cafe au lait".into(), of(composed)).await.unwrap(), Matches::No);
    }
}
