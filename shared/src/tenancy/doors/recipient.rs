//! Somebody who got a mail of a campaign and follows one of its links. The link is signed, so it says whose mail it is. They have no account, and
//! reach nothing but what their link is about.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::model::mail_ref::{LinkKind, MailLink, MailRef};
use crate::model::tenant::Tenant;
use crate::model::workspace::Workspace;
use crate::tenancy::doors::{Access, Door};
use crate::tenancy::limiter::{Class, network};
use crate::tenancy::{App, Directory, Entered, Incoming, RecordStore, TenantStore, Wants, WorkspaceStore};

/// The routes whose first path value is the token of a link.
const LINK_ROUTES: [(&str, LinkKind); 3] =
    [("/e/u/{token}", LinkKind::Unsubscribe), ("/e/o/{token}", LinkKind::Open), ("/e/c/{token}", LinkKind::Click)];

/// A recipient of a mail. No limit of the tenant stands in their way.
pub struct Recipient {
    pub app: App,
    pub link: MailLink,
    /// As it stands in the link.
    pub token: String,
    /// The tenant that sent the mail.
    pub outer: TenantStore,
    /// The workspace of lead and campaign, which may be gone.
    pub store: WorkspaceStore,
    /// `None`: it was deleted, and there is nothing left to write.
    pub workspace: Option<Workspace>,
    /// Too much comes from their network. They are answered, but what they do counts for nothing.
    pub crowded: bool,
}

impl Door for Recipient {
    const ACCESS: Access = Access::Recipient;
    const REPEATABLE: bool = true;
    /// What programs on the way of a mail add to its links.
    const IGNORES_QUERY: bool = true;

    async fn enter(incoming: &Incoming, _wants: Wants) -> Result<(Self, Entered)> {
        let app = incoming.app.clone();
        let kind = LINK_ROUTES.iter().find(|(route, _)| *route == incoming.route).map(|(_, kind)| *kind);
        let kind = kind.ok_or_else(|| Error::internal("following a link", "its route has no kind of link"))?;
        let token = incoming.path_values.first().map(String::as_str).unwrap_or_default();
        // Before anything is read: whoever makes tokens up costs no call.
        let link = MailRef::read(kind, token, app.keys().mail_refs()?).ok_or(Error::NotFound)?;
        let limiter = app.limiter();
        let class = match kind {
            LinkKind::Unsubscribe => Class::UNSUBSCRIBING,
            LinkKind::Open | LinkKind::Click => Class::LINKS,
        };
        let hit = limiter.strike(&incoming.table, class, &network(&incoming.ip), incoming.now).await?;
        let (report, verdict) = limiter.judge(&hit, limiter.limits.links, incoming.now);
        incoming.facts().limits.push(report);
        let crowded = match (kind, verdict) {
            (LinkKind::Unsubscribe, verdict) => verdict.map(|()| false)?,
            // Many people may be behind one address, and each wants to get to where the link leads.
            (LinkKind::Open | LinkKind::Click, verdict) => verdict.is_err(),
        };
        let directory = Directory::open(incoming.table.clone(), app.shared_random(), incoming.now, incoming.origin("recipient".into()));
        let outer = directory.enter(link.mail.tenant());
        let store = outer.workspace(link.mail.workspace());
        let keys = [outer.full(&Tenant::key_of()), outer.full(&Workspace::key_of(link.mail.workspace()))];
        let mut items = outer.items(&keys).await?.into_iter();
        let mut next = || items.next().flatten();
        let (tenant, workspace) = (outer.read::<Tenant>(next().as_ref())?, outer.read::<Workspace>(next().as_ref())?);
        // What was purged has no record at all. We signed the link, so there was one.
        if tenant.is_none_or(|tenant| tenant.inaccessible(incoming.now).is_some() || tenant.is_leaving(incoming.now)) {
            return Err(Error::Gone);
        }
        incoming.facts().tenant = Some(link.mail.tenant());
        let principal = "recipient".to_owned();
        incoming.facts().principal = Some(principal.clone());
        let token = token.to_owned();
        let entered =
            Entered { store: Some(outer.clone()), workspace: Some(store.clone()), directory, principal, user: None, read: HashMap::new() };
        Ok((Recipient { app, link, token, outer, store, workspace, crowded }, entered))
    }
}

impl Recipient {
    /// The moment of the request.
    pub fn now(&self) -> jiff::Timestamp {
        self.store.now()
    }
}
