//! An answer to a thread. It is written down with all that follows from it, and `sender` sends it.

use engagement::suppressed::wants_no_mail;
use records::campaign_plan::MailMonth;
use records::message::{Message, MessageId};
use records::thread::Thread;
use shared::http::answer::{Answer, Created};
use shared::http::arguments::Found;
use shared::http::form::{Fields, Form};
use shared::http::idempotency::Once;
use shared::model::period::Month;
use shared::model::user::Email;
use shared::tenancy::doors::{In, Member};
use shared::tenancy::{conflict, limit_reached};
use shared::{Error, Result};

use crate::message::MessageView;
use crate::rules::{MESSAGE, Words};
use crate::thread::{TRIES, being_changed};

pub struct Reply {
    body: String,
    /// The newest message that its writer knew.
    last_seen: Option<MessageId>,
}

/// It counts among the mails of the month. A thread in which something came in that the writer has not seen is refused, if they say what they have seen.
pub async fn reply(door: In<Member>, thread: Found<Thread>, once: Once<Reply>) -> Result<Answer<MessageView, 201>> {
    let (store, outer, now) = (&door.store, &door.outer, door.now());
    let Reply { body, last_seen } = &once.body;
    let mut thread = thread.0;
    let unwritable = || Error::Conflict("The address of the other end takes no mail of ours.".into());
    let to = Email::parse(&thread.correspondent.email).ok_or_else(unwritable)?;
    if wants_no_mail(&outer.store, store, &to, thread.correspondent.lead).await? {
        return Err(Error::RecipientSuppressed);
    }
    let id = MessageId::new(store.tag(), now, store.random());
    for _ in 0..TRIES {
        if last_seen.is_some_and(|seen| seen != thread.last_message) {
            return Err(Error::ThreadChanged);
        }
        let message = Message::answer(id, &thread, body, outer.member.person(), now);
        let answered = thread.answered(&message, now)?;
        let answer = Created::new("Reply queued", MessageView::of(&message, false)?);
        let most = outer.plan.emails_per_month;
        let full = limit_reached(MailMonth::NAME, most.unwrap_or(u64::MAX), &outer.tenant.plan);
        let writing = door
            .while_there(once.ticket.record(store.transaction(), &outer.store, &answer)?)?
            .tally_within(&outer.store, &MailMonth::key_of(Month::of(now)), ("mails", 1), most, full)?
            .create(store, &message, conflict("This message exists."))?;
        match answered.write(writing, store, Some(&thread))?.commit().await {
            Err(Error::Conflict(_)) => thread = store.get(&Thread::key_of(thread.id)).await?,
            Err(error) => return Err(error),
            Ok(()) => return Ok(answer),
        }
    }
    Err(being_changed())
}

impl Form for Reply {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let body = fields.required("body", Words);
        let last_seen = fields.optional("last_seen", MESSAGE);
        Some(Reply { body: body?, last_seen })
    }
}
