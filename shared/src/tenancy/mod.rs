//! Who may access what: the trusted core. A handler can reach data only through a store that is bound to one tenant, and only a door
//! (`doors`) returns one. Keep this folder small. Every change to it comes with an attack that fails.
//!
//! A tenant id cannot be read from text outside this crate, except as part of a record, with which no store can be opened:
//!
//! ```compile_fail
//! let id: shared::tenancy::TenantId = serde_json::from_str("\"550e8400-e29b-41d4-a716-446655440000\"").unwrap();
//! ```
//!
//! Any other id can:
//!
//! ```
//! let id: shared::ids::UserId = serde_json::from_str("\"550e8400-e29b-41d4-a716-446655440000\"").unwrap();
//! ```
//!
//! It cannot be parsed or built either:
//!
//! ```compile_fail
//! let id = shared::tenancy::TenantId::parse("550e8400-e29b-41d4-a716-446655440000");
//! ```
//!
//! ```
//! let id = shared::ids::UserId::parse("550e8400-e29b-41d4-a716-446655440000");
//! ```
//!
//! A function cannot open a store, whatever id it has:
//!
//! ```compile_fail
//! fn open(other: &shared::tenancy::TenantStore) { shared::tenancy::TenantStore::open(other.tenant_id()); }
//! ```
//!
//! But it can use one that came through a door:
//!
//! ```
//! fn id(mine: &shared::tenancy::TenantStore) -> shared::tenancy::TenantId { mine.tenant_id() }
//! ```
//!
//! Nobody outside names a partition: a key says where something lies within its tenant, and is made of typed segments, never of text:
//!
//! ```compile_fail
//! use shared::model::member::Member;
//! let key = shared::store::Key::<Member>::new(&shared::store::Collection::of::<Member>(), "user#x#".to_owned());
//! ```
//!
//! ```
//! use shared::model::member::Member;
//! # let id = shared::ids::UserId::parse("550e8400-e29b-41d4-a716-446655440000").unwrap();
//! let key = shared::store::Key::<Member>::behind(&shared::store::Collection::of::<Member>(), "user#", id);
//! ```
//!
//! The store of a workspace comes through a door as well:
//!
//! ```compile_fail
//! fn open(tenant: &shared::tenancy::TenantStore, other: shared::ids::WorkspaceTag) { tenant.workspace(other); }
//! ```
//!
//! ```
//! fn tag(mine: &shared::tenancy::WorkspaceStore) -> shared::ids::WorkspaceTag { mine.tag() }
//! ```
//!
//! A record of a workspace cannot be written to the tenant's store, nor a tenant's record to a workspace's:
//!
//! ```compile_fail
//! async fn mix(store: &shared::tenancy::TenantStore, record: &shared::model::workspace::WorkspaceMember) { let _ = store.create(record, || shared::Error::NotFound).await; }
//! ```
//!
//! ```
//! async fn keep(store: &shared::tenancy::WorkspaceStore, record: &shared::model::workspace::WorkspaceMember) { let _ = store.create(record, || shared::Error::NotFound).await; }
//! ```
//!
//! A record of another crate cannot be a fact of the directory, which says whose something is:
//!
//! ```compile_fail
//! const KIND: shared::store::Kind = shared::store::Kind::owned::<shared::model::user::User>();
//! ```
//!
//! ```
//! const KIND: shared::store::Kind = shared::store::Kind::owned::<shared::model::member::Member>();
//! ```
//!
//! A directory record cannot be written to a tenant's store, nor a tenant's record to the directory:
//!
//! ```compile_fail
//! async fn mix(store: &shared::tenancy::TenantStore, user: &shared::model::user::User) { let _ = store.create(user, || shared::Error::NotFound).await; }
//! ```
//!
//! ```
//! async fn keep(directory: &shared::tenancy::Directory, user: &shared::model::user::User) { let _ = directory.create(user, || shared::Error::NotFound).await; }
//! ```

mod app;
pub mod credential;
pub mod directory;
pub mod doors;
mod entered;
pub mod incoming;
mod instance_cache;
pub mod jobs;
mod limiter;
mod power;
mod record_store;
mod store;
mod together;
mod transaction;

pub use crate::ids::TenantId;
pub use crate::model::role::Role;
pub use crate::model::scope::{Scope, Scopes};
pub use app::App;
pub use directory::Directory;
pub use entered::{Entered, Reachable, Wants};
pub use incoming::Incoming;
pub(crate) use instance_cache::InstanceCache;
pub(crate) use limiter::DayPlace;
pub use limiter::{Allowance, Limiter};
pub use record_store::{Origin, RecordStore};
pub use store::{Store, TenantStore, WorkspaceStore};
pub use transaction::{Refusal, Transaction, conflict, limit_reached, missing};
