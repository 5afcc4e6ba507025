//! Custom domains beyond their rules: what DNS says, and the writes that follow from it. A crate of its own, so that only the functions
//! that look into DNS (`tenants`, `janitor`) carry a resolver.

mod dns;
mod settle;

pub use dns::Dns;
pub use settle::{Settled, add, listed_already, release, remove, settle};
