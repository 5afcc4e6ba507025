//! The stored answer of a request with an `Idempotency-Key`, written in the transaction of its effect and kept for 24 hours.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::store::entity::{Collection, Entity, Hashed, InDirectory, InTenant, Key};

/// `answers` / `<hash of principal, route and key>`: one read before the effect, one write with it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AnswerRecord {
    pub id: String,
    /// The hash of the request's body, in records from before it was sealed. The hash of a password could be guessed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body_hash: String,
    /// The hash of the request's content, and the answer. Sealed, because the answer may contain a secret that is shown only once.
    pub sealed: String,
    pub expires_at: Timestamp,
}

/// The same for requests without a tenant: `answers#<hash>` / `answer`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DirectoryAnswerRecord(pub AnswerRecord);

impl AnswerRecord {
    pub const KEPT: SignedDuration = SignedDuration::from_hours(24);

    pub(crate) fn key_of(id: &Hashed) -> Key<Self> {
        Key::at(&AnswerRecord::collection(), id.to_string())
    }

    pub(crate) fn collection() -> Collection {
        Collection::of::<AnswerRecord>()
    }
}

impl Entity for AnswerRecord {
    type Scope = InTenant;
    const TYPE: &'static str = "answer";
    const COLLECTION: &'static str = "answers";
    const AUDITED: bool = false;
    const EXPORTED: bool = false;

    fn key(&self) -> Key<Self> {
        AnswerRecord::key_of(&Hashed(self.id.clone()))
    }

    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.expires_at)
    }
}

impl DirectoryAnswerRecord {
    pub(crate) fn key_of(id: &Hashed) -> Key<Self> {
        Key::at(&Collection::within::<AnswerRecord>(id.clone()), "answer".into())
    }
}

impl Entity for DirectoryAnswerRecord {
    type Scope = InDirectory;
    const TYPE: &'static str = "open_answer";
    const COLLECTION: &'static str = "answers";

    fn key(&self) -> Key<Self> {
        DirectoryAnswerRecord::key_of(&Hashed(self.0.id.clone()))
    }

    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.0.expires_at)
    }
}
