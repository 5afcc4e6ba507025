//! How a function starts, and the edge it serves at: environment, AWS clients, secrets, the log line, panics.

pub mod app;
pub mod aws;
pub(crate) mod edge;
pub mod function;
pub mod gateway;
pub mod https;
pub mod log;
pub mod secrets;
pub mod worker;

pub use app::App;
pub use function::serve;

/// What a function's `main` returns.
pub type StartError = Box<dyn std::error::Error + Send + Sync>;
