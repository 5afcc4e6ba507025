//! From an HTTP request to a typed call and back. A route is declared once, with method, path, sentence and handler (`registry`). The
//! handler's signature says who may call it (its door) and what it takes (its arguments). Router and API reference are both derived from
//! that.

pub mod answer;
pub mod arguments;
pub mod catalogue;
pub mod endpoint;
pub mod family;
pub mod form;
pub mod idempotency;
pub mod json;
pub mod lines;
pub(crate) mod negotiation;
pub(crate) mod openapi;
pub mod page;
pub mod paging;
pub mod registry;
pub mod request;
pub(crate) mod serve;
pub mod status;

pub use answer::{Answer, Listing};
pub use arguments::{Body, Found, IfMatch, Query};
pub use catalogue::{Catalogue, Operation};
pub use endpoint::{Argument, Handler, Reply};
pub use family::Family;
pub use form::{Fields, Form};
pub use idempotency::Once;
pub use registry::{Registry, router};
