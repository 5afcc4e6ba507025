//! What carries messages to people, behind one small interface. A carrier says what it knows of a message's fate, and whether it can be
//! asked twice; what follows from that is the worker's business.

pub mod letter;

use std::future::Future;
use std::pin::Pin;

pub use letter::Letter;

/// Takes e-mails.
pub trait MailCarrier: Send + Sync + 'static {
    /// The same id twice reaches the recipient once, so a lost answer may be asked for again.
    fn deduplicates(&self) -> bool;

    fn send<'a>(&'a self, letter: &'a Letter) -> PendingSend<'a>;
}

pub type PendingSend<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// What is known after a call. The texts are for the record and the log: never an address, never content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The carrier has it.
    Taken,
    /// The carrier certainly does not have it, and may take it later.
    NotNow(String),
    /// The carrier will never take it.
    Never(String),
    /// No answer that says: it may be on its way.
    Unknown(String),
}
