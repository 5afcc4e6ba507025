//! What people may write into a template of messages, the values of its variables, and how a tenant sends.

use std::collections::BTreeMap;

use records::message_template::{MessageTemplateName, MessageType, TemplateChannel};
use records::message_text::{MOST, TemplateBody, VALUE, VARIABLES};
use records::messaging_settings::Fallback;
use records::quiet_hours::{QuietMode, QuietRules};
use records::schedule::MINUTES_OF_A_DAY;
use serde_json::{Map, Value, json};
use shared::http::form::{Clock, Fields, OneOf, Raw, Rule, keys_are_visible};
use shared::model::line::Channel;
use shared::model::text;

pub const CHANNEL: OneOf<TemplateChannel> = OneOf { words: TemplateChannel::WORDS, parse: TemplateChannel::parse };
pub const MESSAGE_TYPE: OneOf<MessageType> = OneOf { words: MessageType::WORDS, parse: MessageType::parse };

pub const QUIET_MODE: OneOf<QuietMode> = OneOf { words: QuietMode::WORDS, parse: QuietMode::parse };
pub const QUIET_RULES: OneOf<QuietRules> = OneOf { words: QuietRules::WORDS, parse: QuietRules::parse };
pub const CLOCK: Clock = Clock { last: MINUTES_OF_A_DAY - 1 };
const ONE_CHANNEL: OneOf<Channel> = OneOf { words: Channel::WORDS, parse: Channel::parse };

/// The channels that a message to `auto` tries, in their order.
pub struct Channels;

impl Rule for Channels {
    type Value = Fallback;

    fn check(&self, raw: Raw<'_>) -> Result<Fallback, String> {
        let Raw::Json(Value::Array(items)) = raw else { return Err("must be a list of channels".into()) };
        let mut channels = vec![];
        for (index, item) in items.iter().enumerate().take(Fallback::MOST + 1) {
            channels.push(ONE_CHANNEL.check(Raw::Json(item)).map_err(|problem| format!("is wrong at [{index}], which {problem}"))?);
        }
        Fallback::new(channels).ok_or_else(|| "must name at least one channel, and each once".into())
    }

    fn schema(&self) -> Value {
        json!({"type": "array", "minItems": 1, "maxItems": Fallback::MOST, "uniqueItems": true, "items": ONE_CHANNEL.schema()})
    }
}

/// The name of a template.
pub struct TemplateName;

impl Rule for TemplateName {
    type Value = MessageTemplateName;

    fn check(&self, raw: Raw<'_>) -> Result<MessageTemplateName, String> {
        let name = raw.text().and_then(MessageTemplateName::parse);
        name.ok_or_else(|| format!("must be 1 to {} letters a to z, digits or _", MessageTemplateName::MAX))
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "pattern": "^[a-z0-9_]{1,64}$"})
    }
}

/// The body of a template as it is written. What is wrong in it, `parsed` says.
pub struct BodyText;

impl Rule for BodyText {
    type Value = String;

    fn check(&self, raw: Raw<'_>) -> Result<String, String> {
        Ok(raw.text().ok_or("must be a string")?.to_owned())
    }

    fn schema(&self) -> Value {
        let text = "Plain text, kept as it is written. `{{name}}` or `{{ name }}` is a variable: 1 to 32 of a to z, digits and _. Lengths are counted in \
            Unicode characters.";
        json!({"type": "string", "minLength": 1, "maxLength": MOST, "description": text})
    }
}

/// Adds what is wrong in a body to what is wrong with the other fields.
pub fn parsed(fields: &mut Fields<'_>, body: Option<String>) -> Option<TemplateBody> {
    let problems = match TemplateBody::parse(&body?) {
        Ok(body) => return Some(body),
        Err(problems) => problems,
    };
    problems.iter().for_each(|problem| fields.refuse("body", problem));
    None
}

/// Values for the variables of a template. What is wrong with one of them, `values` says.
struct Data;

impl Rule for Data {
    type Value = Map<String, Value>;

    fn check(&self, raw: Raw<'_>) -> Result<Map<String, Value>, String> {
        let Raw::Json(Value::Object(object)) = raw else { return Err("must be an object".into()) };
        if object.len() > VARIABLES {
            return Err(format!("must not have more than {VARIABLES} keys"));
        }
        Ok(object.clone())
    }

    fn schema(&self) -> Value {
        let text = format!(
            "At most {VARIABLES} values of {VALUE} characters. A number is shown as it is written. What the template does not use is ignored."
        );
        json!({
            "type": "object", "maxProperties": VARIABLES, "description": text,
            "additionalProperties": {"type": ["string", "number", "null"], "maxLength": VALUE},
        })
    }
}

/// The values of `data` as a message shows them. Null is none.
pub fn values(fields: &mut Fields<'_>) -> BTreeMap<String, String> {
    let given = fields.optional("data", Data).unwrap_or_default();
    let mut values = fields.numbers_as_written("data");
    for (name, value) in given {
        match value {
            Value::String(text) => drop(values.insert(name, text)),
            Value::Number(_) | Value::Null => {}
            _ => fields.refuse(&format!("data.{name}"), "must be a string or a number"),
        }
    }
    for (name, value) in &values {
        if text::has_controls(value) {
            fields.refuse(&format!("data.{name}"), "must not contain control characters");
        } else if value.chars().count() > VALUE {
            fields.refuse(&format!("data.{name}"), &format!("must not be greater than {VALUE} characters"));
        }
    }
    values
}

/// What a sender wants to find again with a message: texts, kept as they are.
pub struct MetadataTexts;

/// Keys of a message's metadata, and characters of a key and of a value.
const METADATA: (usize, usize, usize) = (20, 64, 500);

impl Rule for MetadataTexts {
    type Value = BTreeMap<String, String>;

    fn check(&self, raw: Raw<'_>) -> Result<BTreeMap<String, String>, String> {
        let Raw::Json(Value::Object(object)) = raw else { return Err("must be an object".into()) };
        keys_are_visible(object)?;
        let (keys, key, value) = METADATA;
        if object.len() > keys {
            return Err(format!("must not have more than {keys} keys"));
        }
        let fits = |name: &String, given: &Value| {
            let text = given.as_str().filter(|text| text.chars().count() <= value && !text::has_controls(text))?;
            (name.chars().count() <= key).then(|| (name.clone(), text.to_owned()))
        };
        let texts = object.iter().map(|(name, given)| fits(name, given)).collect::<Option<_>>();
        texts.ok_or_else(|| format!("must have texts of at most {value} characters under names of 1 to {key}"))
    }

    fn schema(&self) -> Value {
        let (keys, _, value) = METADATA;
        json!({"type": "object", "maxProperties": keys, "additionalProperties": {"type": "string", "maxLength": value}})
    }
}
