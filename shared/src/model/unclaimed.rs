//! Messages that came in from a number to which nobody has written from their line, so that nobody knows whom they are for. An operator may say so.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::ids::Uuid;
use crate::model::line::{Channel, LineId};
use crate::model::phone_number::PhoneNumber;
use crate::store::entity::{Collection, Entity, InDirectory, Key};
use crate::store::page::List;

/// `unclaimed` / `<digits>#<line>#<message>`, for 30 days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unclaimed {
    /// The id that it has wherever it is taken in.
    pub message: Uuid,
    pub line: LineId,
    /// Who wrote it.
    pub phone_number: PhoneNumber,
    pub text: String,
    pub channel: Channel,
    pub came_at: Timestamp,
}

impl Unclaimed {
    const KEPT: SignedDuration = SignedDuration::from_hours(24 * 30);

    /// By number.
    pub fn all() -> List<Self> {
        List::new(Collection::of::<Unclaimed>(), "")
    }

    /// Those of a number on a line, in the order in which they came.
    pub fn between(phone_number: &PhoneNumber, line: LineId) -> List<Self> {
        List::beginning(Collection::of::<Unclaimed>(), &format!("{}#{line}#", phone_number.digits()))
    }
}

impl Entity for Unclaimed {
    type Scope = InDirectory;
    const TYPE: &'static str = "unclaimed";
    const COLLECTION: &'static str = "unclaimed";

    fn key(&self) -> Key<Self> {
        let name = format!("{}#{}#{}", self.phone_number.digits(), self.line, self.message.as_hyphenated());
        Key::at(&Collection::of::<Unclaimed>(), name)
    }

    fn expires_at(&self) -> Option<Timestamp> {
        self.came_at.saturating_add(Unclaimed::KEPT).ok()
    }
}
