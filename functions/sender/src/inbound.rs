//! The address of a workspace, to which people answer. It is made when it is first written into a mail.

use engagement::kept::while_kept;
use shared::ids::WorkspaceTag;
use shared::model::inbound::{Inbound, InboundAddress, InboundId};
use shared::model::workspace::Workspace;
use shared::tenancy::jobs::WorkContext;
use shared::tenancy::{TenantStore, WorkspaceStore, conflict};
use shared::{Error, Result};

use crate::Sender;

/// How often it is looked for again when another worker makes it at the same time.
const TRIES: usize = 3;

impl Sender {
    /// `None`: this deployment receives no mails.
    pub async fn inbound(
        &self,
        context: &WorkContext,
        (store, within): (&TenantStore, &WorkspaceStore),
        workspace: &Workspace,
    ) -> Result<Option<InboundId>> {
        if self.sites.inbound.is_none() {
            return Ok(None);
        }
        let place = (store.tenant_id(), workspace.id.tag());
        if let Some(known) = self.inbound.lock().get(&place) {
            return Ok(Some(*known));
        }
        let id = found_or_made(context, (store, within), workspace).await?;
        self.inbound.lock().insert(place, id);
        Ok(Some(id))
    }
}

async fn found_or_made(
    context: &WorkContext,
    (store, within): (&TenantStore, &WorkspaceStore),
    workspace: &Workspace,
) -> Result<InboundId> {
    let (directory, tag): (_, WorkspaceTag) = (&context.directory, workspace.id.tag());
    for _ in 0..TRIES {
        if let Some(found) = store.find(&InboundAddress::key_of(tag)).await? {
            return Ok(found.id);
        }
        let address = InboundAddress { id: InboundId::new(directory.random()), workspace_id: workspace.id };
        let making = directory
            .transaction()
            .create(directory, &Inbound::new(&address, store.tenant_id()), conflict("This address exists."))?
            .create(store, &address, conflict("The workspace has an address."))?;
        match while_kept(making, store, within)?.commit().await {
            Err(Error::Conflict(_)) => {}
            made => return made.map(|()| address.id),
        }
    }
    Err(Error::Unavailable { doing: "making the address of a workspace", cause: "another worker is at it".into() })
}
