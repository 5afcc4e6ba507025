//! The gateway before the functions: it answers as API Gateway's HTTP API does, bounded and guarded, and remembers what it answered.

pub mod access;
mod mask;
