//! Which line a message goes by, and when it is its turn there.

use jiff::{SignedDuration, Timestamp};
use records::peer::Peer;
use records::phone_message::PhoneMessage;
use shared::crypto;
use shared::ids::TenantId;
use shared::model::line::{Channel, LinePace, LinePool, PhoneLine, Turn};
use shared::tenancy::Directory;
use shared::{Error, Result};

/// A line and a channel that could carry a message.
#[derive(Clone, Copy)]
pub struct Way<'a> {
    pub line: &'a PhoneLine,
    pub channel: Channel,
}

/// What a line says.
pub enum Moment {
    Now,
    At(Timestamp),
    /// Not in the next minutes.
    Busy,
    Tomorrow,
}

/// A turn that is over so soon is waited for.
const SOON: SignedDuration = SignedDuration::from_secs(1);
/// The reach of a queue.
const FAR: SignedDuration = SignedDuration::from_mins(15);
const TRIES: usize = 20;

/// In the order in which they are tried: by the channel, then the line that the number knows, then in an order of the number's own, which spreads numbers
/// over lines.
pub fn ways<'a>(pool: &'a LinePool, message: &PhoneMessage, peer: Option<&Peer>, tenant: TenantId) -> Vec<Way<'a>> {
    let sticky = peer.and_then(|peer| peer.lines.last().copied());
    let named = message.from.as_ref().filter(|_| message.has_named_line);
    let mut lines: Vec<&PhoneLine> = pool.lines.iter().filter(|line| named.is_none_or(|number| line.phone_number == *number)).collect();
    let place = |line: &PhoneLine| {
        let parts = [tenant.to_string(), message.to.to_string(), line.id.to_string()];
        crypto::hash(&parts.each_ref().map(|part| part.as_bytes()))
    };
    lines.sort_by_cached_key(|line| (sticky != Some(line.id), place(line)));
    let of_channel = |channel: Channel| lines.iter().filter(move |line| line.carries(channel)).map(move |line| Way { line, channel });
    message.next_channels().into_iter().flat_map(of_channel).collect()
}

/// Takes the line's next turn. One that comes too late is not taken.
pub async fn turn(directory: &Directory, line: &PhoneLine, now: Timestamp, is_urgent: bool) -> Result<Moment> {
    for _ in 0..TRIES {
        let before = directory.find(&LinePace::key_of(line.id)).await?;
        let pace = before.clone().unwrap_or_else(|| LinePace::new(line.id));
        let (at, after) = match pace.turn(line, now, is_urgent) {
            Turn::DayIsFull => return Ok(Moment::Tomorrow),
            Turn::At(at, _) if at > now + FAR => return Ok(Moment::Busy),
            Turn::At(at, after) => (at, after),
        };
        let is_mine = match &before {
            Some(before) => directory.replace_if(&after, before).await?,
            None => match directory.create(&after, Error::contested).await {
                Err(Error::Conflict(_)) => false,
                created => created.map(|()| true)?,
            },
        };
        if is_mine {
            return Ok(if at <= now + SOON { Moment::Now } else { Moment::At(at) });
        }
    }
    Err(Error::Unavailable { doing: "taking a line's turn", cause: "others take turns".into() })
}
