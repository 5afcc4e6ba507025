//! What became of each recipient of a campaign of messages, in the order in which they were named.

use messaging::campaigns as sending;
use records::message_campaign::{CampaignProgress, MessageCampaign, RecipientPack, RecipientStatus};
use records::phone_message::{PhoneMessage, PhoneMessageId, Reason};
use serde::Serialize;
use shared::Result;
use shared::http::answer::Listing;
use shared::http::arguments::{Cursors, Found};
use shared::http::form::{Fields, Form, OneOf};
use shared::model::line::Channel;
use shared::model::phone_number::PhoneNumber;
use shared::model::time::{Printed, zulu};
use shared::store::Position;
use shared::tenancy::doors::Viewer;

use crate::campaign::{NotMade, known_to, not_made};

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = MessageCampaignRecipient)]
pub struct RecipientView {
    #[schema(inline)]
    to: PhoneNumber,
    status: RecipientStatus,
    reason: Option<Reason>,
    /// Null: their message is not made yet, or never was.
    message_id: Option<String>,
    channel: Option<Channel>,
    sent_at: Option<Printed>,
    delivered_at: Option<Printed>,
    failed_at: Option<Printed>,
}

pub struct Filters {
    status: Option<RecipientStatus>,
}

const STATUS: OneOf<RecipientStatus> = OneOf { words: RecipientStatus::WORDS, parse: RecipientStatus::parse };
/// Recipients that a page looks at.
const LOOKED_AT: u64 = 1_000;
/// Recipients that are read together.
const TOGETHER: u64 = 100;

/// A page with a filter may be short: it goes on as long as there is a cursor. Of a group, those who were in it when the campaign started.
pub async fn list(door: Viewer, campaign: Found<MessageCampaign>, asked: Cursors<Filters>) -> Result<Listing<RecipientView>> {
    known_to(door.key.as_ref())?;
    let (store, campaign, Cursors { filters, page }) = (&door.store, campaign.0, asked);
    let progress = store.find(&CampaignProgress::key_of(campaign.id)).await?;
    let end = progress.as_ref().map_or(campaign.recipients.unwrap_or(0), |progress| progress.recipients);
    let start = page.span().after.as_ref().and_then(place_of).unwrap_or(0);
    let (mut items, mut place) = (vec![], start);
    while place < end && place - start < LOOKED_AT && items.len() < page.limit {
        let places = place..end.min(place + TOGETHER);
        let numbers = sending::numbers(store, campaign.id, places.clone()).await?;
        let is_made = |place: &u64| progress.as_ref().is_some_and(|progress| *place < progress.made);
        let first: Vec<PhoneMessageId> =
            progress.iter().flat_map(|progress| places.clone().filter(is_made).map(|place| progress.message(place))).collect();
        let messages = sending::messages(store, campaign.id, &first).await?;
        for (at, to) in places.clone().zip(numbers) {
            place = at + 1;
            let message = progress.as_ref().and_then(|progress| messages.get(&progress.message(at)));
            let view = RecipientView::of(to, message, &not_made(&campaign, progress.as_ref()));
            if filters.status.is_none_or(|status| view.status == status) {
                items.push(view);
            }
            if items.len() == page.limit {
                break;
            }
        }
        if place < places.end && items.len() < page.limit {
            // A pack is gone.
            place = places.end;
        }
    }
    let next = (place < end).then(|| Position::after(&RecipientPack::key_of(campaign.id, place)));
    Ok(Listing { items, total: 0, page, next })
}

/// Where the next page begins: behind the last `#` of its position.
fn place_of(position: &Position) -> Option<u64> {
    position.key().rsplit('#').next()?.parse().ok()
}

impl RecipientView {
    fn of(to: PhoneNumber, message: Option<&PhoneMessage>, without: &NotMade) -> Self {
        let (status, reason) = match (message, without) {
            (Some(message), _) => (RecipientStatus::of(message.status), message.reason),
            (None, NotMade::Pending) => (RecipientStatus::Pending, None),
            (None, NotMade::Held(reason)) => (RecipientStatus::Held, Some(*reason)),
            (None, NotMade::Never) => (RecipientStatus::Cancelled, None),
        };
        RecipientView {
            to,
            status,
            reason,
            message_id: message.map(|message| message.id.prefixed()),
            channel: message.and_then(|message| message.channel),
            sent_at: message.and_then(|message| message.sent_at).map(zulu),
            delivered_at: message.and_then(|message| message.delivered_at).map(zulu),
            failed_at: message.and_then(|message| message.failed_at).map(zulu),
        }
    }
}

impl Form for Filters {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Filters { status: fields.optional("status", STATUS) })
    }
}
