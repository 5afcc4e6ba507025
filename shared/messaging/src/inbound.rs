//! Messages that come in from phones: whose they are, and what follows from what they say. One that comes again changes nothing more.

use jiff::Timestamp;
use records::phone_message::{Inbound, PhoneMessage, PhoneMessageId};
use shared::crypto;
use shared::model::gateway::Gateway;
use shared::model::line::{Channel, LinePeer, LinePool};
use shared::model::phone_number::PhoneNumber;
use shared::tenancy::conflict;
use shared::tenancy::jobs::WorkContext;
use shared::{Error, Result};

/// A message as a gateway reports it.
pub struct Arrival<'a> {
    pub gateway: &'a Gateway,
    /// The gateway's own name for it.
    pub id: &'a str,
    pub line: &'a PhoneNumber,
    pub peer: PhoneNumber,
    pub text: String,
    pub channel: Channel,
    pub at: Timestamp,
}

/// `false`: the line is none of the gateway's, or nobody has written to the number from it, so nobody knows whom it is for.
pub async fn receive(work: &WorkContext, arrival: Arrival<'_>) -> Result<bool> {
    let Arrival { gateway, id, line, peer, text, channel, at } = arrival;
    let pool = work.directory.find(&LinePool::key_of()).await?.unwrap_or_else(LinePool::none);
    let Some(line) = pool.of_number(line).filter(|line| line.gateway == gateway.id) else { return Ok(false) };
    let Some(holder) = work.directory.find(&LinePeer::key_of(line.id, &peer)).await? else {
        tracing::warn!(line = %line.id, "a message came in from a number to which nobody has written");
        return Ok(false);
    };
    let store = work.conversing(&holder);
    let id = PhoneMessageId::of(at, &crypto::hash(&[gateway.id.to_string().as_bytes(), id.as_bytes()]));
    let came = Inbound { peer, line: line.id, line_number: line.phone_number.clone(), channel, body: text };
    let message = PhoneMessage::inbound(id, came, at);
    let writing = store.transaction().while_kept(&store)?.create(&store, &message, conflict("It is here."))?;
    match writing.commit().await {
        Err(Error::Conflict(_)) => Ok(true),
        Err(Error::NotFound) => Ok(false),
        written => written.map(|()| true),
    }
}
