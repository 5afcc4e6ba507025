//! By which lines and channels a message may go, in the order in which they are tried.

use records::peer::Peer;
use records::phone_message::PhoneMessage;
use shared::Result;
use shared::crypto;
use shared::ids::TenantId;
use shared::model::line::{Channel, LinePool, PhoneLine};
use shared::tenancy::Directory;

/// A line and a channel that could carry a message.
#[derive(Clone, Copy)]
pub struct Way<'a> {
    pub line: &'a PhoneLine,
    pub channel: Channel,
}

/// The lines that there are.
pub async fn pool(directory: &Directory) -> Result<LinePool> {
    Ok(directory.find(&LinePool::key_of()).await?.unwrap_or_else(LinePool::none))
}

/// By the channel, then the lines in an order of the number's own, which spreads numbers over lines. A number that has a line is written to from no other
/// one, so that no tenant takes all lines for it.
pub fn of<'a>(pool: &'a LinePool, message: &PhoneMessage, peer: Option<&Peer>, tenant: TenantId) -> Vec<Way<'a>> {
    let own = |line: &PhoneLine| peer.is_some_and(|peer| peer.lines.contains(&line.id));
    let has_own = pool.lines.iter().any(own);
    let named = message.from.as_ref().filter(|_| message.has_named_line);
    let may = |line: &&PhoneLine| named.is_none_or(|number| line.phone_number == *number) && (!has_own || own(line));
    let mut lines: Vec<&PhoneLine> = pool.lines.iter().filter(may).collect();
    let sticky = peer.and_then(|peer| peer.lines.last().copied());
    let place = |line: &PhoneLine| {
        let parts = [tenant.to_string(), message.to.to_string(), line.id.to_string()];
        crypto::hash(&parts.each_ref().map(|part| part.as_bytes()))
    };
    lines.sort_by_cached_key(|line| (sticky != Some(line.id), place(line)));
    let of_channel = |channel: Channel| lines.iter().filter(move |line| line.carries(channel)).map(move |line| Way { line, channel });
    message.next_channels().into_iter().flat_map(of_channel).collect()
}
