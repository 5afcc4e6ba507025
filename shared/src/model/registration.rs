//! A registration that waits for its address to be confirmed. It is not an account and gives no right to the address. Several may wait for
//! one address without blocking its owner, and all end when the address is proven.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::crypto::SigningKey;
use crate::ids::LinkId;
use crate::model::text::nfc;
use crate::model::user::Email;
use crate::store::entity::{Collection, Entity, InDirectory, Key};

/// `email#<hash>` / `registration#<link>`: read together with everything else at the address.
#[derive(Clone, Serialize, Deserialize)]
pub struct Registration {
    /// The link in its mail.
    pub link: LinkId,
    pub email: Email,
    pub name: String,
    pub company_name: String,
    /// Recognises the password of the registration, so that a login with it can say what is missing. It opens nothing: the account gets the
    /// password that is given with the proof. It is keyed, because it is fast to compute.
    mark: String,
    pub created_at: Timestamp,
    expires_at: Timestamp,
}

/// What a person enters to register.
pub struct Registrant {
    pub email: Email,
    pub name: String,
    pub company_name: String,
}

impl Registration {
    pub const WAITS: SignedDuration = SignedDuration::from_hours(24 * 3);

    pub fn new(link: LinkId, by: Registrant, password: &str, key: &SigningKey, now: Timestamp) -> Self {
        Registration {
            link,
            email: by.email,
            name: by.name,
            company_name: by.company_name,
            mark: key.sign(&marked(link, password)),
            created_at: now,
            expires_at: now + Registration::WAITS,
        }
    }

    pub fn key_of(email: &Email, link: LinkId) -> Key<Self> {
        Key::at(&Collection::within::<Registration>(email.hashed()), format!("registration#{link}"))
    }

    /// Whether it was made with this password.
    pub fn was_made_with(&self, password: &str, key: &SigningKey) -> bool {
        key.verifies(&marked(self.link, password), &self.mark)
    }
}

/// No other text that is signed with the key of links begins like this.
fn marked(link: LinkId, password: &str) -> String {
    format!("registration {link} {}", nfc(password))
}

/// Without name, address and mark, in case it gets into a log line by accident.
impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Registration")
    }
}

impl Entity for Registration {
    type Scope = InDirectory;
    const TYPE: &'static str = "registration";
    const COLLECTION: &'static str = "email";

    fn key(&self) -> Key<Self> {
        Registration::key_of(&self.email, self.link)
    }

    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.expires_at)
    }
}
