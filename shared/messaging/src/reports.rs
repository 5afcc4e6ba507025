//! What carriers report about messages. Reports come late, twice and in any order; each says more or nothing.

use records::peer::Peer;
use records::phone_message::{PhoneMessage, PhoneMessageId, Report, Reported};
use shared::model::gateway::GatewayId;
use shared::model::line::LinePool;
use shared::model::message_ref::MessageRef;
use shared::tenancy::TenantStore;
use shared::{Error, Result};

use crate::moving;

/// How often a report is written again that meets others at its message.
const TRIES: usize = 20;

/// Notes a report of a carrier: a gateway, or AWS End User Messaging. `false`: the message is gone.
pub async fn note(
    store: &TenantStore,
    about: &MessageRef,
    report: Report,
    (pool, carrier): (&LinePool, Option<GatewayId>),
) -> Result<bool> {
    let id = PhoneMessageId::from(about.message());
    for _ in 0..TRIES {
        let Some(message) = store.find(&PhoneMessage::key_of(id)).await? else { return Ok(false) };
        // That it failed is for the carrier to say that was given it last: another one may have been tried before.
        let is_anothers = message.line.and_then(|line| pool.find(line)).is_some_and(|line| line.gateway != carrier);
        if report.status == Reported::Failed && is_anothers {
            return Ok(true);
        }
        let Some(known) = message.reported(report) else { return Ok(true) };
        let peer = store.find(&Peer::key_of(&message.to)).await?;
        match moving::change(store.transaction(), store, (&message, &known), peer.as_ref())?.commit().await {
            Err(Error::Conflict(_) | Error::NotFound) => {}
            written => return written.map(|()| true),
        }
    }
    Err(Error::Unavailable { doing: "noting a report", cause: "others change the message".into() })
}
