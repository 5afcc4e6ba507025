//! What carriers report about messages. Reports come late, twice and in any order; each says more or nothing.

use records::peer::Peer;
use records::phone_message::{PhoneMessage, PhoneMessageId, Report};
use shared::model::message_ref::MessageRef;
use shared::tenancy::TenantStore;
use shared::{Error, Result};

use crate::moving;

/// How often a report is written again that meets others at its message.
const TRIES: usize = 20;

/// Notes a report. `false`: the message is gone.
pub async fn note(store: &TenantStore, about: &MessageRef, report: Report) -> Result<bool> {
    let id = PhoneMessageId::from(about.message());
    for _ in 0..TRIES {
        let Some(message) = store.find(&PhoneMessage::key_of(id)).await? else { return Ok(false) };
        let Some(known) = message.reported(report) else { return Ok(true) };
        let peer = store.find(&Peer::key_of(&message.to)).await?;
        match moving::change(store.transaction(), store, (&message, &known), peer.as_ref())?.commit().await {
            Err(Error::Conflict(_) | Error::NotFound) => {}
            written => return written.map(|()| true),
        }
    }
    Err(Error::Unavailable { doing: "noting a report", cause: "others change the message".into() })
}
