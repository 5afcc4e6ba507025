//! Messages of a thread, as they are shown.

use records::message::{AttachmentName, Author, Delivery, Message, MessageKind};
use records::thread::Thread;
use serde::Serialize;
use shared::Result;
use shared::http::answer::Listing;
use shared::http::arguments::{Found, Offsets};
use shared::http::form::{Fields, Flag, Form, WorkspaceName};
use shared::model::time::{Printed, zulu};
use shared::tenancy::doors::{In, Viewer};

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Message)]
pub struct MessageView {
    id: String,
    from: Author,
    kind: MessageKind,
    /// Of who wrote it.
    name: Option<String>,
    email: Option<String>,
    subject: String,
    /// Plain text.
    body: String,
    /// A fragment with a few harmless elements. Images of other servers are not loaded: their addresses are in `data-src`, unless they are asked for.
    html: Option<String>,
    /// There is more than is shown, or was more than is kept: `body`, `html`, or names of attachments.
    truncated: bool,
    /// What is known of them. They are not kept themselves.
    attachments: Vec<AttachmentName>,
    timestamp: Printed,
    /// How far an answer came. Null: it came in.
    status: Option<MessageStatus>,
    /// Why it did not go.
    reason: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
enum MessageStatus {
    Queued,
    Sending,
    Sent,
    Failed,
    /// Nobody knows whether it went. It is not sent again.
    Unknown,
}

pub struct Filters {
    images: bool,
}

/// Bytes of the messages of one answer. Lambda gives at most 6 MB, and JSON takes more than text.
const MOST: usize = 2 * 1024 * 1024;
/// Characters of a message for which there is no room.
const CUT: usize = 1_000;

/// Oldest first. What is too much for one answer is cut: a smaller page shows it whole.
pub async fn list(door: In<Viewer>, thread: Found<Thread>, asked: Offsets<Filters, 50>) -> Result<Listing<MessageView>> {
    let (thread, Offsets { filters, page }) = (thread.0, asked);
    let found = door.store.page(&Message::of_thread(thread.id), &page.span(), |_| true).await?;
    let items = fitting(&found.items, filters.images)?;
    Ok(Listing { items, total: thread.messages, page, next: found.next })
}

/// As one answer has room for them. The first is whole in any case.
pub fn fitting(messages: &[Message], images: bool) -> Result<Vec<MessageView>> {
    let (mut views, mut bytes) = (vec![], 0);
    for message in messages {
        let view = MessageView::of(message, images)?;
        let of_html = view.html.as_ref().map_or(0, String::len);
        if !views.is_empty() && bytes + view.body.len() + of_html > MOST {
            views.push(view.cut());
            continue;
        }
        bytes += view.body.len() + of_html;
        views.push(view);
    }
    Ok(views)
}

impl MessageView {
    fn cut(self) -> Self {
        let body = self.body.chars().take(CUT).collect();
        MessageView { body, html: None, truncated: true, ..self }
    }

    pub fn of(message: &Message, images: bool) -> Result<Self> {
        let (status, reason) = match &message.delivery {
            None => (None, None),
            Some(Delivery::Queued) => (Some(MessageStatus::Queued), None),
            Some(Delivery::Sending { .. }) => (Some(MessageStatus::Sending), None),
            Some(Delivery::Sent) => (Some(MessageStatus::Sent), None),
            Some(Delivery::Failed { reason }) => (Some(MessageStatus::Failed), Some(reason.clone())),
            Some(Delivery::Unknown) => (Some(MessageStatus::Unknown), None),
        };
        // Words that look alike have escaped quotes.
        let shown = |html: String| if images { html.replace(" data-src=\"", " src=\"") } else { html };
        Ok(MessageView {
            id: message.id.prefixed(),
            from: message.from,
            kind: message.kind,
            name: message.name.clone(),
            email: message.email.clone(),
            subject: message.subject.clone(),
            body: message.text()?,
            html: message.html()?.map(shown),
            truncated: message.truncated,
            attachments: message.attachments.clone(),
            timestamp: zulu(message.written_at),
            status,
            reason,
        })
    }
}

impl Form for Filters {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        fields.optional("workspace", WorkspaceName);
        Some(Filters { images: fields.optional("images", Flag).unwrap_or(false) })
    }
}
