//! What people may write to a thread, and what they may ask of the inbox.

use records::campaign::CampaignId;
use records::lead::LeadId;
use records::message::MessageId;
use records::thread::{Category, ThreadStatus};
use serde_json::{Value, json};
use shared::http::form::{Id, Integer, OneOf, Raw, Rule};
use shared::model::text;

pub const STATUS: OneOf<ThreadStatus> = OneOf { words: ThreadStatus::WORDS, parse: ThreadStatus::parse };
pub const CATEGORY: OneOf<Category> = OneOf { words: Category::WORDS, parse: Category::parse };
pub const LEAD: Id<LeadId> = Id::of("a lead");
pub const CAMPAIGN: Id<CampaignId> = Id::of("a campaign");
pub const MESSAGE: Id<MessageId> = Id::of("a message");
pub const MEMBER: Integer = Integer { min: 1, max: i64::MAX };

/// The words of an answer: 1 byte to 100 KiB.
pub struct Words;

const MOST: usize = 100 * 1024;

impl Rule for Words {
    type Value = String;

    fn check(&self, raw: Raw<'_>) -> Result<String, String> {
        let text = raw.text().ok_or("must be a string")?.trim();
        if text.is_empty() {
            return Err("must not be empty".into());
        }
        if text::has_controls(text) {
            return Err("must not contain control characters".into());
        }
        if text.len() > MOST {
            return Err(format!("must not be larger than {} KiB", MOST / 1024));
        }
        Ok(text.replace("\r\n", "\n"))
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "minLength": 1, "maxLength": MOST, "description": "Plain text, at most 100 KiB. An empty line begins a paragraph."})
    }
}
