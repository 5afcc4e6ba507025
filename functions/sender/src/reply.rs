//! Sends an answer from the inbox. At most once: it is taken before the carrier is asked, and says afterwards what is known.

use engagement::letter::{escaped, mailbox};
use engagement::suppressed::wants_no_mail;
use jiff::Timestamp;
use records::campaign_plan::MailMonth;
use records::message::{Delivery, Message, SendReply};
use records::thread::{Reference, Thread, ThreadKey};
use shared::carriers::{Letter, Outcome};
use shared::ids::Uuid;
use shared::model::inbound::{About, ReplyRef};
use shared::model::period::Month;
use shared::model::tenant::Tenant;
use shared::model::user::Email;
use shared::model::workspace::Workspace;
use shared::tenancy::jobs::WorkContext;
use shared::tenancy::{TenantStore, WorkspaceStore, missing};
use shared::{Error, Result};

use crate::Sender;
use crate::mail::busy;

/// How often what became of it is written again when somebody else changes the thread at the same time.
const TRIES: usize = 10;
/// Characters of a header.
const HEADER: usize = 870;

impl Sender {
    pub async fn reply(&self, context: &WorkContext, job: SendReply) -> Result<()> {
        let (Some(store), Some(within)) = (&context.store, &context.within) else {
            return Err(Error::internal("sending an answer", "the job names no workspace"));
        };
        let now = self.app.clock().now();
        let Some(message) = within.find(&Message::key_of(job.reply.thread, job.reply.message)).await? else { return Ok(()) };
        match message.delivery {
            Some(Delivery::Queued) => {}
            Some(Delivery::Sending { since }) if now.duration_since(since) < Message::LEASE => return Err(busy()),
            // Whoever took it died. Whether the carrier has it nobody knows.
            Some(Delivery::Sending { .. }) => return settled(within.replace_if(&message.with(Delivery::Unknown), &message).await?),
            _ => return Ok(()),
        }
        let letter = match self.answer(context, (store, within), &message).await? {
            Ok(letter) => letter,
            Err(Refused::Gone) => return Ok(()),
            Err(Refused::Because(reason)) => return failed((store, within), &message, reason.to_owned(), now).await,
        };
        let taken = message.with(Delivery::Sending { since: now });
        if !within.replace_if(&taken, &message).await? {
            return Err(busy());
        }
        match self.carrier.send(&letter).await {
            Outcome::Taken(id) => self.sent(within, &taken, id).await,
            Outcome::Never(reason) | Outcome::Unverified(reason) => failed((store, within), &taken, reason, now).await,
            Outcome::Unknown(reason) => {
                tracing::warn!(message = %taken.id, reason, "the carrier did not answer");
                settled(within.replace_if(&taken.with(Delivery::Unknown), &taken).await?)
            }
            Outcome::NotNow(reason) | Outcome::Held(reason) if taken.is_overdue(now) => failed((store, within), &taken, reason, now).await,
            Outcome::NotNow(reason) | Outcome::Held(reason) => {
                within.replace_if(&taken.with(Delivery::Queued), &taken).await?;
                Err(Error::Unavailable { doing: "sending an answer", cause: reason.into() })
            }
        }
    }

    async fn answer(
        &self,
        context: &WorkContext,
        (store, within): (&TenantStore, &WorkspaceStore),
        message: &Message,
    ) -> Result<Result<Letter, Refused>> {
        let (thread, workspace, tenant) = (Thread::key_of(message.thread), Workspace::key_of(within.tag()), Tenant::key_of());
        let (thread, workspace, tenant) = tokio::try_join!(within.find(&thread), store.find(&workspace), store.find(&tenant))?;
        let (Some(thread), Some(workspace), Some(tenant)) = (thread, workspace, tenant) else { return Ok(Err(Refused::Gone)) };
        if tenant.inaccessible(self.app.clock().now()).is_some() {
            return Ok(Err(Refused::Because("suspended")));
        }
        let Some(to) = Email::parse(&thread.correspondent.email) else { return Ok(Err(Refused::Because("not an address"))) };
        if wants_no_mail(store, within, &to, thread.correspondent.lead).await? {
            return Ok(Err(Refused::Because("suppressed")));
        }
        let inbox = match self.inbound(context, (store, within), &workspace).await?.zip(self.sites.inbound.as_deref()) {
            Some((inbound, domain)) => {
                let lead = thread.correspondent.lead.map_or(Uuid::nil(), Uuid::from);
                let reply = ReplyRef::new(inbound, lead, About::Thread(thread.id.into()));
                Some(reply.address(domain, &self.app.keys().mail_refs()?.signing))
            }
            None => workspace.settings.default_from_email.clone(),
        };
        let name = workspace.settings.default_from_name.as_deref().or(message.by.as_ref().map(|by| by.name.as_str()));
        let text = message.text()?;
        Ok(Ok(Letter {
            id: message.id.to_string(),
            from: Some(mailbox(name, &self.sites.from)),
            reply_to: inbox,
            to,
            subject: message.subject.clone(),
            html: paragraphs(&text),
            text,
            kind: "reply",
            tenant: Some(store.tenant_id()),
            headers: headers(&thread.references),
            tags: vec![],
        }))
    }

    /// Further mails may name the one that went, and are then found to belong here.
    async fn sent(&self, within: &WorkspaceStore, taken: &Message, id: Option<String>) -> Result<()> {
        let name = id.map(|id| format!("{id}@{}", self.host_of_messages));
        let sent = taken.sent(name.clone());
        let Some(name) = name else { return settled(within.replace_if(&sent, taken).await?) };
        for _ in 0..TRIES {
            let Some(thread) = within.find(&Thread::key_of(taken.thread)).await? else { return Ok(()) };
            let key = ThreadKey::new(Reference::message(&name), thread.id, None, self.app.clock().now());
            let writing = within
                .transaction()
                .replace(within, &sent, taken)?
                .replace(within, &thread.with_reference(&name), &thread)?
                .put(within, &key)?;
            match writing.commit().await {
                Err(Error::Conflict(_)) => {}
                Err(Error::NotFound | Error::Missing(_)) => return Ok(()),
                written => return written,
            }
        }
        // It is out. Only its name is not known.
        settled(within.replace_if(&sent, taken).await?)
    }
}

/// Why an answer does not go.
enum Refused {
    /// What it belongs to is gone, and it with that.
    Gone,
    Because(&'static str),
}

/// It does not count in the month.
async fn failed((store, within): (&TenantStore, &WorkspaceStore), message: &Message, reason: String, now: Timestamp) -> Result<()> {
    let month = MailMonth::key_of(Month::of(message.written_at.min(now)));
    let writing = within.transaction().replace(within, &message.with(Delivery::Failed { reason }), message)?;
    let writing = writing.tally_within(store, &month, ("mails", -1), None, missing())?;
    match writing.commit().await {
        Err(Error::Conflict(_)) => Err(busy()),
        written => written,
    }
}

/// Whoever wrote at the same time has more to say about it: another look follows.
fn settled(written: bool) -> Result<()> {
    if written { Ok(()) } else { Err(busy()) }
}

/// RFC 5322: what it answers, and what came before that.
fn headers(references: &[String]) -> Vec<(&'static str, String)> {
    let ids: Vec<String> = references.iter().filter(|id| is_plain(id)).map(|id| format!("<{id}>")).collect();
    let Some(newest) = ids.last().cloned() else { return vec![] };
    // The first stays, and older ones between go where the header is too long.
    let mut all = ids;
    while all.len() > 2 && all.join(" ").len() > HEADER {
        all.remove(1);
    }
    let named = all.join(" ");
    let references = if named.len() <= HEADER { named } else { newest.clone() };
    vec![("In-Reply-To", newest), ("References", references)]
}

fn is_plain(id: &str) -> bool {
    id.len() <= HEADER - 2 && id.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>'))
}

fn paragraphs(text: &str) -> String {
    let text = escaped(text);
    let parts = text.split("\n\n").map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| format!("<p>{}</p>", part.replace('\n', "<br>"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_name_what_is_answered_and_have_an_end() {
        let ids = |many: usize, length: usize| (0..many).map(|n| format!("{n}{}@mail.example", "x".repeat(length))).collect::<Vec<_>>();
        assert_eq!(headers(&[]), vec![]);
        assert_eq!(headers(&["a b".into(), "a>".into()]), vec![], "what would end the header early");
        let two = vec![("In-Reply-To", "<1@mail.example>".to_owned()), ("References", "<0@mail.example> <1@mail.example>".to_owned())];
        assert_eq!(headers(&ids(2, 0)), two);
        for (many, length) in [(8, 200), (2, 800), (8, 850)] {
            let headers = headers(&ids(many, length));
            assert!(headers.iter().all(|(_, value)| value.len() <= HEADER && value.starts_with('<')), "{headers:?}");
            assert!(headers[1].1.ends_with(&headers[0].1));
        }
    }

    #[test]
    fn text_becomes_paragraphs_that_say_the_same() {
        assert_eq!(paragraphs("Hi <Ada> & Co\nyes\n\n\n\nBye"), "<p>Hi &lt;Ada&gt; &amp; Co<br>yes</p><p>Bye</p>");
    }
}
