//! When it is a message's turn on a line.

use jiff::{SignedDuration, Timestamp};
use records::phone_message::PhoneMessage;
use shared::model::line::{LineId, LinePace, PhoneLine, Turn};
use shared::tenancy::Directory;
use shared::{Error, Result};

/// What a line says.
pub enum Moment {
    Now,
    At(Timestamp),
    /// Not in the next minutes.
    Busy,
    Tomorrow,
    /// Others took turns all the time.
    Contested,
}

/// A turn that is over so soon is waited for.
const SOON: SignedDuration = SignedDuration::from_secs(1);
/// The reach of a queue.
pub const FAR: SignedDuration = SignedDuration::from_mins(15);
const TRIES: usize = 20;
/// For a turn that is given back: it is one of many.
const FEW: usize = 3;
const WAIT: std::time::Duration = std::time::Duration::from_millis(40);

/// What a campaign takes ahead: others have their turns in between.
const NEAR: SignedDuration = SignedDuration::from_mins(1);

/// Takes the line's next turn. One that comes too late is not taken.
pub async fn turn(directory: &Directory, line: &PhoneLine, now: Timestamp, message: &PhoneMessage) -> Result<Moment> {
    let reach = if message.campaign.is_some() { NEAR } else { FAR };
    for _ in 0..TRIES {
        let before = directory.find(&LinePace::key_of(line.id)).await?;
        let pace = before.clone().unwrap_or_else(|| LinePace::new(line.id));
        let (at, after) = match pace.turn(line, now, message.is_urgent()) {
            Turn::DayIsFull => return Ok(Moment::Tomorrow),
            Turn::At(at, _) if at > now + reach => return Ok(Moment::Busy),
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
        // Whoever met others comes back at another moment than they.
        tokio::time::sleep(WAIT.mul_f64(directory.random().fraction())).await;
    }
    Ok(Moment::Contested)
}

/// A turn that a carrier had no use for. Where others take turns all the time, it is lost.
pub async fn give_back(directory: &Directory, line: LineId, now: Timestamp) -> Result<()> {
    for _ in 0..FEW {
        let Some(before) = directory.find(&LinePace::key_of(line)).await? else { return Ok(()) };
        let Some(after) = before.given_back(now) else { return Ok(()) };
        if directory.replace_if(&after, &before).await? {
            return Ok(());
        }
    }
    Ok(())
}
