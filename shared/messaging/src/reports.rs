//! What carriers report about messages. Reports come late, twice and in any order; each says more or nothing.

use records::peer::Peer;
use records::phone_message::{PhoneMessage, PhoneMessageId, Report, Reported};
use shared::model::gateway::GatewayId;
use shared::model::message_ref::MessageRef;
use shared::tenancy::{Directory, TenantStore};
use shared::{Error, Result};

use crate::{moving, ways};

/// How often a report is written again that meets others at its message.
const TRIES: usize = 20;

/// Notes a report of a carrier: a gateway, or AWS End User Messaging. `false`: the message is gone.
pub async fn note(
    directory: &Directory,
    (about, store): (&MessageRef, &TenantStore),
    report: Report,
    carrier: Option<GatewayId>,
) -> Result<bool> {
    let id = PhoneMessageId::from(about.message());
    // That it failed is for the carrier to say that was given it last: another one may have been tried before.
    let pool = match report.status {
        Reported::Failed => Some(ways::pool(directory).await?),
        _ => None,
    };
    for _ in 0..TRIES {
        let Some(message) = store.find(&PhoneMessage::key_of(id)).await? else { return Ok(false) };
        let line = message.line.and_then(|line| pool.as_ref()?.find(line));
        if line.is_some_and(|line| line.gateway != carrier) {
            return Ok(true);
        }
        let Some(known) = message.reported(report) else { return Ok(true) };
        let peer = match moving::concerns_number(&message, &known) {
            true => store.find(&Peer::key_of(&message.to)).await?,
            false => None,
        };
        match moving::change(store.transaction(), store, (&message, &known), peer.as_ref())?.commit().await {
            Err(Error::Conflict(_) | Error::NotFound) => {}
            written => return written.map(|()| true),
        }
    }
    Err(Error::Unavailable { doing: "noting a report", cause: "others change the message".into() })
}
