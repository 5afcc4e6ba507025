//! All doors for HTTP requests. A handler's first parameter is one of these, and there is no other way to a store. (`jobs` has the doors
//! for work without a request.)
//!
//! * `Viewer`, `Member`, `Admin`, `Owner`: the caller's tenant, or the one they select, or a child of their agency.
//! * `In<Viewer>`, `In<Member>` …: a workspace of that tenant, with the role they have there.
//! * `SignedIn`: a person, for their own data.
//! * `Visitor`, `DemoVisitor`: a caller without credentials, limited by address.
//! * `Recipient`: somebody who follows a signed link of a mail.
//! * `EdgeProxy`: the edge proxies, which report usage and get no store.
//! * `GatewayCaller`: a gateway of the operator, which reports what became of messages to phones.
//! * `Anyone`: public data.

mod agency;
mod edge;
mod gateway;
mod person;
mod recipient;
mod tenanted;
mod visitor;
pub(crate) mod workspace;

use std::collections::HashMap;
use std::future::Future;

use crate::error::Result;
use crate::tenancy::{App, Directory, Entered, Incoming, Role, Wants, credential};

pub use edge::{EdgeProxy, EdgeTenant};
pub use gateway::GatewayCaller;
pub use person::{OwnTenant, SignedIn, UsedIn};
pub use recipient::Recipient;
pub use tenanted::{Admin, AdminRole, AtLeast, Member, MemberRole, Owner, OwnerRole, Tenanted, Touched, Viewer, ViewerRole};
pub use visitor::{DemoVisitor, Invited, Visitor};
pub use workspace::{In, ReachableWorkspace};

/// Who may enter, as printed in the role matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Open to all, on purpose.
    Open { why: &'static str },
    /// Open to whoever has a link of a mail, which we signed.
    Recipient,
    /// Any session, whatever the state of its tenant.
    SignedIn,
    /// A member of the tenant with at least this role.
    AtLeast(Role),
    /// A member of the workspace with at least this role.
    InWorkspace(Role),
    /// The edge proxies, with the deployment's key in `X-Ingest-Key`.
    Edge,
    /// A gateway of the operator, which signs what it reports.
    Gateway,
}

pub trait Door: Sized + Send {
    const ACCESS: Access;
    /// Whether its requests can be repeated without harm, so that none needs an `Idempotency-Key`.
    const REPEATABLE: bool = false;
    /// Whether a query is nobody's business here, even one that cannot be read.
    const IGNORES_QUERY: bool = false;

    fn enter(incoming: &Incoming, wants: Wants) -> impl Future<Output = Result<(Self, Entered)>> + Send;
}

/// Any caller, for public data.
pub struct Anyone {
    pub app: App,
}

impl Door for Anyone {
    const ACCESS: Access = Access::Open { why: "public keys" };

    async fn enter(incoming: &Incoming, _wants: Wants) -> Result<(Self, Entered)> {
        let app = incoming.app.clone();
        let directory = Directory::open(incoming.table.clone(), app.shared_random(), incoming.now, incoming.origin("anyone".into()));
        Ok((
            Anyone { app },
            Entered { store: None, workspace: None, directory, principal: "anyone".into(), user: None, read: HashMap::new() },
        ))
    }
}

/// The principal that a credential claims, before it is verified; see `credential::claimed_principal`.
pub(crate) fn claimed_principal(incoming: &Incoming) -> Result<String> {
    credential::claimed_principal(incoming)
}
