//! How a function starts and receives events: environment, AWS clients, secrets, the log line, panics.

pub mod function;
pub mod gateway;
mod sweep;
pub mod worker;

pub use crate::tenancy::App;
pub use function::serve;
pub use sweep::sweep;

/// What a function's `main` returns.
pub type StartError = Box<dyn std::error::Error + Send + Sync>;
