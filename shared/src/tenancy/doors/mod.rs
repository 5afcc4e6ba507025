//! Every door an HTTP request can come through. A handler's first parameter is one of these; there is no other way to a store.
//! (`jobs` has the doors for work without a request.)
//!
//! * `Viewer`, `Member`, `Admin`, `Owner`: the caller's tenant, or the one they select, or a child of their agency.
//! * `SignedIn`: a person, for what is their own.
//! * `Visitor`, `DemoVisitor`: somebody unknown, limited by address.
//! * `EdgeProxy`: the edge proxies, which add usage and hold no store.
//! * `Anyone`: what is public.

mod agency;
mod edge;
mod person;
mod tenanted;
mod visitor;

use std::collections::HashMap;
use std::future::Future;

use crate::error::Result;
use crate::tenancy::{App, Directory, Entered, Incoming, Role, Wants, credential};

pub use edge::{EdgeProxy, EdgeTenant};
pub use person::{OwnTenant, SignedIn, UsedIn};
pub use tenanted::{Admin, AdminRole, AtLeast, Member, MemberRole, Owner, OwnerRole, Tenanted, Touched, Viewer, ViewerRole};
pub use visitor::{DemoVisitor, Invited, Visitor};

/// Who may come through, as the role matrix prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Open on purpose.
    Open { why: &'static str },
    /// Any session, whatever its tenant's state.
    SignedIn,
    /// A member of the tenant with at least this role.
    AtLeast(Role),
    /// The edge proxies, by the key of the deployment in `X-Ingest-Key`.
    Edge,
}

pub trait Door: Sized + Send {
    const ACCESS: Access;

    fn enter(incoming: &Incoming, wants: Wants) -> impl Future<Output = Result<(Self, Entered)>> + Send;
}

/// Anybody, for what is public.
pub struct Anyone {
    pub app: App,
}

impl Door for Anyone {
    const ACCESS: Access = Access::Open { why: "public keys" };

    async fn enter(incoming: &Incoming, _wants: Wants) -> Result<(Self, Entered)> {
        let app = incoming.app.clone();
        let directory = Directory::open(incoming.table.clone(), app.shared_random(), incoming.now, incoming.origin("anyone".into()));
        Ok((Anyone { app }, Entered { store: None, directory, principal: "anyone".into(), user: None, read: HashMap::new() }))
    }
}

/// The principal that a credential claims, before it is verified; see `credential::claimed_principal`.
pub(crate) fn claimed_principal(incoming: &Incoming) -> Result<String> {
    credential::claimed_principal(incoming)
}
