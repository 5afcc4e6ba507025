//! Templates of messages to phones. A template lies under its name, which never changes: whoever sends by name reads it at once. A record beside it
//! says the name of an id. The e-mail templates of workspaces are others (`template.rs`).

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use shared::ids::Segment;
use shared::store::{Collection, Counter, Entity, InTenant, Key, List, Named, Restore, restored};
use shared::{Error, Result, id};

use crate::message_text::TemplateBody;

id!(/// A template of messages.
    MessageTemplateId = "tpl", time_ordered);

/// `message-templates` / `<name>`: in the order of the names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MessageTemplate {
    pub id: MessageTemplateId,
    pub name: MessageTemplateName,
    pub channel: TemplateChannel,
    pub message_type: MessageType,
    pub body: TemplateBody,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Counts edits.
    pub version: u64,
}

/// 1 to 64 of `a-z 0-9 _`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MessageTemplateName(String);

/// By what it may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TemplateChannel {
    Imessage,
    Sms,
    Both,
}

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MessageType {
    Otp,
    Alert,
    Marketing,
}

/// What an edit changes; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct MessageTemplateChanges {
    pub channel: Option<TemplateChannel>,
    pub message_type: Option<MessageType>,
    pub body: Option<TemplateBody>,
}

impl TemplateChannel {
    pub const WORDS: &'static [&'static str] = &["imessage", "sms", "both"];

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "imessage" => Some(TemplateChannel::Imessage),
            "sms" => Some(TemplateChannel::Sms),
            "both" => Some(TemplateChannel::Both),
            _ => None,
        }
    }
}

impl MessageType {
    pub const WORDS: &'static [&'static str] = &["otp", "alert", "marketing"];

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "otp" => Some(MessageType::Otp),
            "alert" => Some(MessageType::Alert),
            "marketing" => Some(MessageType::Marketing),
            _ => None,
        }
    }
}

impl MessageTemplateName {
    pub const MAX: usize = 64;

    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        (plain && (1..=MessageTemplateName::MAX).contains(&text.len())).then(|| MessageTemplateName(text.to_owned()))
    }
}

impl fmt::Display for MessageTemplateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Its letters include no delimiter.
impl Segment for MessageTemplateName {}

impl TryFrom<String> for MessageTemplateName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        MessageTemplateName::parse(&text).ok_or("not the name of a template")
    }
}

impl From<MessageTemplateName> for String {
    fn from(name: MessageTemplateName) -> Self {
        name.0
    }
}

impl MessageTemplate {
    pub const NOUN: &'static str = "Template";
    pub const COUNT: Counter = Counter::named("message_templates");
    /// In one tenant: a filter looks at each of them.
    pub const MOST: u64 = 1_000;

    pub fn etag(&self) -> String {
        format!("\"{}\"", self.version)
    }

    /// `None`: it is so already.
    pub fn changed(&self, changes: &MessageTemplateChanges, now: Timestamp) -> Option<Self> {
        let MessageTemplateChanges { channel, message_type, body } = changes.clone();
        let changed = MessageTemplate {
            channel: channel.unwrap_or(self.channel),
            message_type: message_type.unwrap_or(self.message_type),
            body: body.unwrap_or_else(|| self.body.clone()),
            ..self.clone()
        };
        (changed != *self).then(|| MessageTemplate { updated_at: now, version: self.version + 1, ..changed })
    }

    /// What is written and deleted with it.
    pub fn by_id(&self) -> MessageTemplateById {
        MessageTemplateById { id: self.id, name: self.name.clone() }
    }

    pub fn key_of(name: &MessageTemplateName) -> Key<Self> {
        Key::new(&Collection::of::<MessageTemplate>(), name.clone())
    }

    /// In the order of the names.
    pub fn all() -> List<Self> {
        List::new(Collection::of::<MessageTemplate>(), "")
    }
}

impl Entity for MessageTemplate {
    type Scope = InTenant;
    const TYPE: &'static str = "message_template";
    const COLLECTION: &'static str = "message-templates";
    const COUNTER: Option<Counter> = Some(MessageTemplate::COUNT);
    const NOUN: Option<&'static str> = Some(MessageTemplate::NOUN);
    const RESTORE: Option<Restore> = Some(restored::<MessageTemplate>);

    fn key(&self) -> Key<Self> {
        MessageTemplate::key_of(&self.name)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }
}

/// `message-template-ids` / `<id>`: the name of the template that has an id. It is there as long as that template is, so a write that requires it never
/// meets a later template of the same name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MessageTemplateById {
    pub id: MessageTemplateId,
    pub name: MessageTemplateName,
}

impl MessageTemplateById {
    /// Whether this is still the template that has the name: it may have been deleted, and the name given to another.
    pub fn is_of(&self, template: &MessageTemplate) -> Result<()> {
        if template.id == self.id { Ok(()) } else { Err(Error::Missing(MessageTemplate::NOUN)) }
    }

    pub fn key_of(id: MessageTemplateId) -> Key<Self> {
        Key::new(&Collection::of::<MessageTemplateById>(), id)
    }
}

impl Entity for MessageTemplateById {
    type Scope = InTenant;
    const TYPE: &'static str = "message_template_id";
    const COLLECTION: &'static str = "message-template-ids";
    const AUDITED: bool = false;
    const NOUN: Option<&'static str> = Some(MessageTemplate::NOUN);
    const RESTORE: Option<Restore> = Some(restored::<MessageTemplateById>);

    fn key(&self) -> Key<Self> {
        MessageTemplateById::key_of(self.id)
    }
}

impl Named for MessageTemplateById {
    type Id = MessageTemplateId;

    fn places(id: MessageTemplateId) -> Vec<Key<Self>> {
        vec![MessageTemplateById::key_of(id)]
    }
}

#[cfg(test)]
mod tests {
    use shared::crypto::Random;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn template(seed: u64) -> MessageTemplate {
        MessageTemplate {
            id: MessageTemplateId::new(NOW, &Random::seeded(seed)),
            name: MessageTemplateName::parse("login_code").unwrap(),
            channel: TemplateChannel::Both,
            message_type: MessageType::Otp,
            body: TemplateBody::parse("{{code}}").unwrap(),
            created_at: NOW,
            updated_at: NOW,
            version: 1,
        }
    }

    #[test]
    fn a_name_has_plain_letters() {
        for name in ["a", "0", "_", "login_code_2", &"x".repeat(64)] {
            assert!(MessageTemplateName::parse(name).is_some(), "{name}");
        }
        for wrong in ["", "A", "login-code", "login code", "ä", "a#b", "a/b", "a\n", &"x".repeat(65)] {
            assert!(MessageTemplateName::parse(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn an_edit_of_nothing_is_none() {
        let one = template(1);
        let later = NOW + jiff::SignedDuration::from_secs(1);
        let same =
            MessageTemplateChanges { channel: Some(one.channel), message_type: Some(one.message_type), body: Some(one.body.clone()) };
        assert_eq!((one.changed(&same, later), one.changed(&MessageTemplateChanges::default(), later)), (None, None));
        let changed = one.changed(&MessageTemplateChanges { channel: Some(TemplateChannel::Sms), ..Default::default() }, later).unwrap();
        assert_eq!((changed.version, changed.updated_at, changed.etag().as_str()), (2, later, "\"2\""));
        assert_eq!((changed.created_at, &changed.name, &changed.body), (NOW, &one.name, &one.body));
    }

    #[test]
    fn an_id_is_that_of_one_template_whatever_has_its_name() {
        let (one, another) = (template(1), template(2));
        assert!(one.by_id().is_of(&one).is_ok());
        assert!(matches!(one.by_id().is_of(&another), Err(Error::Missing("Template"))));
    }

    #[test]
    fn what_is_stored_is_read_as_strictly_as_what_is_sent() {
        let stored = serde_json::to_value(template(1)).unwrap();
        assert!(serde_json::from_value::<MessageTemplate>(stored.clone()).is_ok());
        for (field, wrong) in [("name", "A#b"), ("body", "{{A}}"), ("message_type", "push"), ("channel", "")] {
            let mut stored = stored.clone();
            stored[field] = wrong.into();
            assert!(serde_json::from_value::<MessageTemplate>(stored).is_err(), "{field}");
        }
    }
}
