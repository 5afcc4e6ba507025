//! The carriers of messages, behind one small interface. A carrier reports what it knows about a message, and whether a call can be
//! repeated. The worker decides what follows from that.

pub mod letter;

use std::future::Future;
use std::pin::Pin;

pub use letter::Letter;

/// Sends e-mails.
pub trait MailCarrier: Send + Sync + 'static {
    /// Whether a repeated id reaches the recipient only once. Then a call can be repeated after a lost answer.
    fn deduplicates(&self) -> bool;

    fn send<'a>(&'a self, letter: &'a Letter) -> PendingSend<'a>;
}

pub type PendingSend<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// What is known after a call. The texts are for the record and the log, so they contain no address and no content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The carrier accepted it, under this id of its own if it says one.
    Taken(Option<String>),
    /// The carrier certainly did not accept it, but may do so later.
    NotNow(String),
    /// The same, and it accepts nothing of this deployment for a while: its day is used up, or it has been told to send nothing.
    Held(String),
    /// The same, and it accepts nothing of this sender (or, in the sandbox of SES, to this recipient) until somebody has verified it.
    Unverified(String),
    /// The carrier will never accept it.
    Never(String),
    /// There is no clear answer, so it may have been sent.
    Unknown(String),
}
