//! What somebody did with a link of a mail: the message that `links` queues and `sender` reads.

use serde::{Deserialize, Serialize};
use shared::model::mail_ref::LinkKind;

#[derive(Debug, Serialize, Deserialize)]
pub struct Followed {
    pub engagement: Engagement,
    /// Of the link. It names the mail.
    pub token: String,
    /// RFC 3339.
    pub at: String,
    /// A program did it, and no person.
    #[serde(default)]
    pub automated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engagement {
    Opened,
    Clicked,
    Unsubscribed,
}

impl Engagement {
    /// The links with which it is done.
    pub fn link(self) -> LinkKind {
        match self {
            Engagement::Opened => LinkKind::Open,
            Engagement::Clicked => LinkKind::Click,
            Engagement::Unsubscribed => LinkKind::Unsubscribe,
        }
    }
}
