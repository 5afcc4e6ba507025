//! What the forms of this function have in common.

use records::lead::{EmailStatus, Lead, LeadId, LeadStatus};
use records::lead_list::LeadListId;
use serde_json::{Map, Value, json};
use shared::http::form::{Id, Name, OneOf, Raw, Rule, Several, keys_are_visible};
use shared::model::{free, text};

pub const STATUS: OneOf<LeadStatus> = OneOf { words: LeadStatus::WORDS, parse: LeadStatus::parse };
pub const EMAIL_STATUS: OneOf<EmailStatus> = OneOf { words: EmailStatus::WORDS, parse: EmailStatus::parse };
pub const TAG: Name = Name { max: 50 };

pub const LIST: Id<LeadListId> = Id::of("a list");
pub const LEAD: Id<LeadId> = Id::of("a lead");

pub fn tags() -> Several<Name> {
    Several { each: TAG, min: 0, max: Lead::MAX_TAGS, key: |tag| text::fold(tag) }
}

pub fn list_ids() -> Several<Id<LeadListId>> {
    Several { each: LIST, min: 0, max: Lead::MAX_LISTS, key: LeadListId::to_string }
}

/// Attributes of a lead, or a change of them: 50 keys, 8 KiB.
pub struct Attributes;

impl Attributes {
    const MAX_DEPTH: usize = 10;
}

/// Whether a mail can show it: what templates take is bounded too.
fn fits_a_mail(value: &Value, depth: usize) -> bool {
    match value {
        Value::String(text) => !text::has_controls(text),
        Value::Array(items) => depth > 0 && items.iter().all(|item| fits_a_mail(item, depth - 1)),
        Value::Object(entries) => depth > 0 && entries.values().all(|entry| fits_a_mail(entry, depth - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

impl Rule for Attributes {
    type Value = Map<String, Value>;

    fn check(&self, raw: Raw<'_>) -> Result<Map<String, Value>, String> {
        let Raw::Json(Value::Object(object)) = raw else { return Err("must be an object".into()) };
        keys_are_visible(object)?;
        if !object.values().all(|value| fits_a_mail(value, Attributes::MAX_DEPTH)) {
            return Err(format!("must not contain control characters, or be nested more than {} deep", Attributes::MAX_DEPTH));
        }
        free::problem(object, Lead::MAX_ATTRIBUTES, Lead::MAX_ATTRIBUTE_BYTES).map_or_else(|| Ok(object.clone()), Err)
    }

    fn schema(&self) -> Value {
        json!({"type": "object", "additionalProperties": true, "maxProperties": 2 * Lead::MAX_ATTRIBUTES})
    }
}
