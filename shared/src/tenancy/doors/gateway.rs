//! The gateways of the operator, which carry messages to phones.

use std::collections::HashMap;

use http::HeaderName;

use crate::error::{Error, Result};
use crate::model::gateway::{Gateway, GatewayId};
use crate::tenancy::doors::{Access, Door};
use crate::tenancy::jobs::WorkContext;
use crate::tenancy::{Directory, Entered, Incoming, Wants, credential};

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
/// Who writes, for the table and the audit log.
const ACTOR: &str = "gateway";

/// A gateway that reports. It names its own lines and messages that it was given; `work` says what it may touch, as for a worker. It is not limited,
/// because it speaks for the phones of all tenants.
pub struct GatewayCaller {
    pub gateway: Gateway,
    pub work: WorkContext,
}

impl Door for GatewayCaller {
    const ACCESS: Access = Access::Gateway;
    /// What it reports is known by its own ids.
    const REPEATABLE: bool = true;

    async fn enter(incoming: &Incoming, _wants: Wants) -> Result<(Self, Entered)> {
        let app = incoming.app.clone();
        let directory = Directory::open(incoming.table.clone(), app.shared_random(), incoming.now, incoming.origin(ACTOR.into()));
        let Some(gateway) = known(incoming, &directory).await? else { return Err(credential::refused(incoming).await) };
        let principal = format!("{ACTOR}:{}", gateway.id);
        incoming.facts().principal = Some(principal.clone());
        let work = WorkContext::of_request(app, directory.clone(), incoming.table.clone());
        let entered = Entered { store: None, workspace: None, directory, principal, user: None, read: HashMap::new() };
        Ok((GatewayCaller { gateway, work }, entered))
    }
}

/// The gateway that the path names, if it signed the request.
async fn known(incoming: &Incoming, directory: &Directory) -> Result<Option<Gateway>> {
    let id = incoming.path_values.first().and_then(|text| GatewayId::parse_prefixed(text));
    let (name, at) = (incoming.single(&WEBHOOK_ID)?, incoming.single(&WEBHOOK_TIMESTAMP)?);
    let (Some(id), Some(name), Some(at), Some(signatures)) = (id, name, at, incoming.header(&WEBHOOK_SIGNATURE)?) else {
        return Ok(None);
    };
    let Some(gateway) = directory.find(&Gateway::key_of(id)).await? else { return Ok(None) };
    let secret = gateway.secret(incoming.app.keys().lines()?);
    let secret = secret.ok_or_else(|| Error::internal("reading a gateway's secret", "it was sealed with another key"))?;
    Ok(secret.verifies(name, at, signatures, &incoming.body, incoming.now).then_some(gateway))
}
