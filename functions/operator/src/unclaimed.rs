//! Commands about messages that came in from numbers to which nobody has written, so that nobody knows whom they are for.

use std::cmp::Reverse;

use messaging::inbound::{self, Words};
use messaging::{moving, ways};
use records::peer::Peer;
use records::phone_message::{Inbound, PhoneMessage, PhoneMessageId};
use serde_json::{Value, json};
use shared::model::line::{LineId, PhoneLine};
use shared::model::phone_number::PhoneNumber;
use shared::model::unclaimed::Unclaimed;
use shared::runtime::worker;
use shared::store::Entity as _;
use shared::tenancy::TenantStore;
use shared::tenancy::jobs::WorkContext;
use shared::{Error, Result};

/// Whoever takes in what was nobody's.
pub const ACTOR: &str = "unclaimed";
/// Messages that are shown, the newest first.
const SHOWN: usize = 500;
/// Messages of one command. It can be repeated.
const AT_ONCE: usize = 100;
const TRIES: usize = 10;
const OTHERS: &str = "On this line the number belongs to another tenant, or has said STOP to whoever writes.";

pub async fn list(context: &WorkContext) -> Result<Value> {
    let pool = ways::pool(&context.directory).await?;
    let mut messages = context.directory.all(&Unclaimed::all()).await?;
    messages.sort_by_key(|message| Reverse(message.came_at));
    let has_more = messages.len() > SHOWN;
    messages.truncate(SHOWN);
    let messages = messages.iter().map(|message| {
        json!({
            "message": PhoneMessageId::from(message.message).prefixed(),
            "line": pool.find(message.line).map(|line| &line.phone_number),
            "phone_number": message.phone_number,
            "text": message.text,
            "channel": message.channel,
            "at": message.came_at.to_string(),
        })
    });
    worker::answer(json!({"ok": true, "messages": messages.collect::<Vec<Value>>(), "has_more": has_more}))
}

/// From now on the conversation between a number and a line is a tenant's, and it gets what came of it, if anything did. `line` is a number or an id.
pub async fn attribute(context: &WorkContext, phone_number: &str, line: &str, tenant: &str) -> Result<Value> {
    let number = PhoneNumber::parse(phone_number).ok_or_else(|| bad("The phone_number must be + and 8 to 15 digits."))?;
    let (store, profile) = super::find(context, tenant).await?;
    let directory = &context.directory;
    let pool = ways::pool(directory).await?;
    let named = |one: &&PhoneLine| one.phone_number.to_string() == line || Some(one.id) == LineId::parse_prefixed(line);
    let line = pool.lines.iter().find(named).ok_or_else(|| bad("There is no such line."))?;
    bind(context, &store, &number, line).await?;
    // After that nothing more comes that is nobody's.
    let mut messages = directory.all(&Unclaimed::between(&number, line.id)).await?;
    let has_more = messages.len() > AT_ONCE;
    messages.truncate(AT_ONCE);
    for unclaimed in &messages {
        let came = Inbound {
            peer: unclaimed.phone_number.clone(),
            line: line.id,
            line_number: line.phone_number.clone(),
            channel: unclaimed.channel,
            body: unclaimed.text.clone(),
        };
        let message = PhoneMessage::inbound(unclaimed.message.into(), came, unclaimed.came_at);
        // Nobody was meant by STOP, START or HELP that nobody had written to.
        if !inbound::take_in(context, &store, &message, Words::AreRead).await? {
            return Err(super::gone());
        }
        directory.delete(&unclaimed.key()).await?;
    }
    Ok(json!({"ok": true, "tenant": profile.id, "slug": profile.slug, "messages": messages.len(), "has_more": has_more}))
}

/// The tenant has the line for the number, as if it had written first.
async fn bind(context: &WorkContext, store: &TenantStore, number: &PhoneNumber, line: &PhoneLine) -> Result<()> {
    for _ in 0..TRIES {
        let peer = store.find(&Peer::key_of(number)).await?;
        let own = peer.clone().unwrap_or_else(|| Peer::new(number.clone(), store.random()));
        let Some(on_line) = own.on_line(line.id) else { return Ok(()) };
        let writing = moving::write_peer(store.transaction().while_kept(store)?, store, peer.as_ref(), &on_line)?;
        match moving::claim_line(writing, &context.directory, store, line.id, number)?.commit().await {
            Ok(()) => return Ok(()),
            Err(Error::Conflict(refusal)) if refusal == moving::OTHERS_LINE => return Err(Error::Conflict(OTHERS.into())),
            Err(Error::Conflict(_)) => {}
            Err(Error::NotFound) => return Err(super::gone()),
            Err(error) => return Err(error),
        }
    }
    Err(Error::contested())
}

fn bad(message: &'static str) -> Error {
    Error::BadRequest(message.into())
}
