//! Messages of a thread: what came in, and what was answered.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::template::PackedText;
use crate::thread::{Thread, ThreadId};
use serde_json::Value;
use shared::ids::Segment;
use shared::model::member::Person;
use shared::store::{Collection, Direction, Entity, IN_WORKSPACE, InWorkspace, Key, List, Packed, Restore, Within};
use shared::{Result, id};

id!(/// A message of a thread.
    MessageId = "msg", in_workspace);

/// `messages` / `<thread>#<id>`: in the order in which they came or were written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub id: MessageId,
    pub thread: ThreadId,
    pub from: Author,
    pub kind: MessageKind,
    /// Of who wrote it.
    pub name: Option<String>,
    pub email: Option<String>,
    pub subject: String,
    pub text: PackedText,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<PackedText>,
    /// There was more than is kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<AttachmentName>,
    /// The header of that name. Of an answer, once the carrier has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    pub written_at: Timestamp,
    /// The member who answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Person>,
    /// Of an answer: how far it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    pub version: u64,
}

/// Whose a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = MessageAuthor)]
pub enum Author {
    Me,
    Prospect,
    /// Somebody else who had the thread's address.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = MessageKind)]
pub enum MessageKind {
    Email,
    /// Out of office.
    Ooo,
    /// Another answer of a program.
    Auto,
}

/// What is known of an attachment, which is not kept itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = AttachmentName)]
pub struct AttachmentName {
    pub name: String,
    pub media_type: String,
    /// Bytes.
    pub size: u64,
}

/// How far an answer came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Delivery {
    Queued,
    /// A worker gives it to the carrier, or has.
    Sending {
        since: Timestamp,
    },
    Sent,
    Failed {
        reason: String,
    },
    /// Nobody knows whether it went out. It is not sent again.
    Unknown,
}

/// A text and its HTML as they are stored.
#[derive(Debug, Clone)]
pub struct Body {
    pub text: PackedText,
    pub html: Option<PackedText>,
    pub truncated: bool,
}

impl Body {
    /// Bytes of both together, packed. An item of the table takes 400 KB.
    const MOST: usize = 300 * 1024;

    /// HTML that has no room is left out, and then text is cut.
    pub fn packed(text: &str, html: Option<&str>) -> Self {
        let packed = PackedText::of(text);
        let with_html = html.map(PackedText::of).filter(|html| html.bytes() + packed.bytes() <= Body::MOST);
        let truncated = html.is_some() && with_html.is_none();
        if packed.bytes() <= Body::MOST {
            return Body { text: packed, html: with_html, truncated };
        }
        let mut end = Body::MOST.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        // Text that does not pack well is no longer than it was.
        Body { text: PackedText::of(&text[..end]), html: None, truncated: true }
    }
}

impl Message {
    /// Its last delivery by the queue comes after that: five, six minutes apart (`SendQueue` in template.yaml).
    pub const PATIENCE: SignedDuration = SignedDuration::from_mins(20);
    /// Characters.
    const SNIPPET: usize = 160;
    /// Longer than a worker lives after it took one.
    pub const LEASE: SignedDuration = SignedDuration::from_secs(90);

    /// An answer to a thread, which is to be sent.
    pub fn answer(id: MessageId, thread: &Thread, text: &str, by: Person, now: Timestamp) -> Self {
        let is_answer = thread.subject.to_lowercase().starts_with("re:");
        Message {
            id,
            thread: thread.id,
            from: Author::Me,
            kind: MessageKind::Email,
            name: Some(by.name.clone()),
            email: None,
            subject: if is_answer { thread.subject.clone() } else { format!("Re: {}", thread.subject).trim_end().to_owned() },
            text: PackedText::of(text),
            html: None,
            truncated: false,
            attachments: vec![],
            message_id: None,
            written_at: now,
            by: Some(by),
            delivery: Some(Delivery::Queued),
            version: 1,
        }
    }

    /// How it begins, on one line.
    pub fn snippet(&self) -> Result<String> {
        Ok(self.text()?.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(Message::SNIPPET).collect())
    }

    pub fn text(&self) -> Result<String> {
        self.text.unpacked()
    }

    pub fn html(&self) -> Result<Option<String>> {
        self.html.as_ref().map(PackedText::unpacked).transpose()
    }

    /// How far it is after that.
    pub fn with(&self, delivery: Delivery) -> Self {
        Message { delivery: Some(delivery), version: self.version + 1, ..self.clone() }
    }

    /// The carrier took it.
    pub fn sent(&self, message_id: Option<String>) -> Self {
        Message { message_id, ..self.with(Delivery::Sent) }
    }

    /// Whether the carrier has had its time to take it.
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        now.duration_since(self.written_at) >= Message::PATIENCE
    }

    /// Where it lies.
    pub fn place(&self) -> MessagePlace {
        MessagePlace { thread: self.thread, message: self.id }
    }

    /// In the order in which they were written.
    pub fn of_thread(thread: ThreadId) -> List<Self> {
        List::behind(Collection::of::<Message>(), thread)
    }

    /// The newest first.
    pub fn newest_of(thread: ThreadId) -> List<Self> {
        Message::of_thread(thread).going(Direction::Descending)
    }

    pub fn key_of(thread: ThreadId, id: MessageId) -> Key<Self> {
        Key::new(&Collection::of::<Message>(), MessagePlace { thread, message: id })
    }
}

/// Where a message lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessagePlace {
    pub thread: ThreadId,
    pub message: MessageId,
}

impl fmt::Display for MessagePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.thread, self.message)
    }
}

impl Segment for MessagePlace {}

/// Where it came from, an answer that was on its way may have gone.
fn imported(data: Value) -> Option<Message> {
    let mut message: Message = serde_json::from_value(data).ok()?;
    if matches!(message.delivery, Some(Delivery::Queued | Delivery::Sending { .. })) {
        message.delivery = Some(Delivery::Unknown);
    }
    Some(message)
}

fn restored_message(data: Value) -> Option<Packed> {
    Packed::of(&imported(data)?).ok()
}

impl Entity for Message {
    type Scope = InWorkspace;
    const TYPE: &'static str = "message";
    const COLLECTION: &'static str = "messages";
    const MAILS_AUDITED: bool = false;
    const WITHIN: Option<Within> = Some(IN_WORKSPACE);
    const NOUN: Option<&'static str> = Some("Message");
    const RESTORE: Option<Restore> = Some(restored_message);

    fn key(&self) -> Key<Self> {
        Message::key_of(self.thread, self.id)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }
}

/// A job: an answer shall go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendReply {
    pub reply: MessagePlace,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_on_its_way_where_it_came_from_does_not_go_again() {
        let id = "0198c0de-0000-7000-8000-000000000001";
        let stored = |delivery: Value| {
            let by = serde_json::json!({"id": 1, "name": "Ada", "email": "ada@example.com"});
            serde_json::json!({
                "id": id, "thread": id, "from": "me", "kind": "email", "name": "Ada", "email": null, "subject": "Hi", "text": {"plain": "Hi"},
                "written_at": "2026-11-21T09:30:00Z", "by": by, "delivery": delivery, "version": 1,
            })
        };
        let state = |delivery: Value| {
            let restored = imported(stored(delivery)).unwrap();
            restored.delivery.unwrap()
        };
        for moving in [serde_json::json!({"state": "queued"}), serde_json::json!({"state": "sending", "since": "2026-11-21T09:30:00Z"})] {
            assert_eq!(state(moving), Delivery::Unknown);
        }
        assert_eq!(state(serde_json::json!({"state": "sent"})), Delivery::Sent);
    }

    #[test]
    fn what_is_too_much_is_cut_and_says_so() {
        let noise = |length: usize| {
            let mut state = 1_u64;
            let letter = |_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                char::from(b'!' + (state >> 58) as u8)
            };
            (0..length).map(letter).collect::<String>()
        };
        let small = Body::packed("Yes", Some("<p>Yes</p>"));
        assert_eq!((small.text.unpacked().unwrap().as_str(), small.html.is_some(), small.truncated), ("Yes", true, false));
        let large = "word ".repeat(50_000);
        let packed = Body::packed(&large, Some(&large));
        assert!(packed.html.is_some() && packed.text.unpacked().unwrap() == large);
        let html = noise(512 * 1024);
        let without = Body::packed("Yes", Some(&html));
        assert!(without.html.is_none() && without.truncated);
        let text = format!("{}ä", noise(600 * 1024));
        let cut = Body::packed(&text, None);
        assert!(cut.truncated && cut.text.bytes() <= Body::MOST && text.starts_with(&cut.text.unpacked().unwrap()));
    }
}
