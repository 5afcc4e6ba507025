//! What all Tenantry functions share. `tenancy` decides who may access what, and `store` speaks DynamoDB. `model` holds the records and
//! their pure rules. `http` turns requests into typed calls, and `runtime` starts a function. `aws` has the clients. `accounts`, `carriers`, `children`,
//! `invitations`, `owners`, `tenant_lifecycle` and `workspaces` do what several functions need. The rest are small tools.

pub mod accounts;
pub mod aws;
pub mod bounded;
pub mod carriers;
pub mod children;
pub mod clock;
pub mod config;
pub mod crypto;
pub mod error;
pub mod http;
pub mod ids;
pub mod invitations;
pub mod lock;
pub mod log;
pub mod model;
pub mod owners;
pub mod runtime;
pub mod store;
pub mod tenancy;
pub mod tenant_lifecycle;
pub mod workspaces;

pub use clock::Clock;
pub use error::{Error, Result};
