//! Custom domains: DNS queries, and the writes that follow from them. It is a separate crate, so that only the functions that query DNS
//! (`tenants`, `janitor`) contain a resolver.

mod dns;
mod settle;

pub use dns::Dns;
pub use settle::{Settled, add, listed_already, release, remove, settle};
