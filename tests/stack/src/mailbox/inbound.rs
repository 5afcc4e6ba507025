//! Mails to the deployment, as Amazon SES receives them: the mail in a bucket, and a notice of it in a queue. And what a recipient writes back.

use jiff::Timestamp;
use mail_builder::MessageBuilder;
use mail_builder::headers::{address::Address, raw::Raw};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{KeptMail, Mail, Mailbox, PLANNED, Planned, Played, SPACE};
use crate::aws::{AwsError, objects::Objects};
use crate::journal::Change;
use crate::template::MailReception;

/// How many mails came in.
const COUNT: &str = "inbound";

/// What a recipient writes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub text: String,
    /// Nobody wrote it: they are out of office.
    pub ooo: bool,
}

/// What SES knows of a mail apart from its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The return path; empty where nothing may come back.
    pub source: &'a str,
    pub recipients: &'a [&'a str],
    pub verdicts: Verdicts,
}

/// What the checks of SES came to: `PASS`, `FAIL`, `GRAY`, `PROCESSING_FAILED`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdicts {
    pub spam: &'static str,
    pub virus: &'static str,
    pub spf: &'static str,
    pub dkim: &'static str,
    pub dmarc: &'static str,
}

#[derive(Default, Serialize, Deserialize)]
struct Count(u64);

impl Default for Verdicts {
    fn default() -> Self {
        Verdicts { spam: "PASS", virus: "PASS", spf: "PASS", dkim: "PASS", dmarc: "PASS" }
    }
}

impl Answer {
    pub fn written(text: &str) -> Answer {
        Answer { text: text.to_owned(), ooo: false }
    }

    pub fn out_of_office() -> Answer {
        Answer { text: "I am out of office and will read your message when I am back.".to_owned(), ooo: true }
    }

    /// What an address that asks for an answer gets.
    pub fn usual() -> Answer {
        Answer::written("Thank you, this is interesting. Can we talk next week?")
    }

    fn name(&self) -> &'static str {
        if self.ooo { "ooo" } else { "reply" }
    }
}

impl Mailbox {
    /// Takes in a mail as SES does, with the headers that it puts before those of the mail. Returns how SES calls the mail. Only recipients of the
    /// deployment's domain count; without any the mail is refused.
    pub fn receive(&self, raw: &[u8], envelope: &Envelope, at: Timestamp) -> Result<String, AwsError> {
        let _writing = self.shared.writing.lock();
        self.store(raw, envelope, at, vec![])
    }

    /// Writes back to a mail in the name of its recipient. `false` if it has no address for answers that is the deployment's.
    pub fn reply(&self, mail: &str, answer: &Answer, at: Timestamp) -> Result<bool, AwsError> {
        self.answer(mail, answer, at, None)
    }

    /// The address of a mail for answers, if it is the deployment's.
    pub fn reply_address(&self, mail: &Mail) -> Option<String> {
        let reception = self.shared.reception.lock();
        let (_, reception) = reception.as_ref()?;
        mail.reply_to.as_deref()?.split(',').map(address_in).find(|address| takes(reception, address)).map(str::to_owned)
    }

    pub(super) fn answer(&self, mail: &str, answer: &Answer, at: Timestamp, planned: Option<&str>) -> Result<bool, AwsError> {
        let _writing = self.shared.writing.lock();
        let journal = &self.shared.journal;
        if let Some(entry) = planned
            && journal.get::<Planned>(PLANNED, entry)?.is_none()
        {
            return Ok(false);
        }
        let mut changes: Vec<Change> = planned.map(|entry| Change::delete(PLANNED, entry)).into_iter().collect();
        let kept = journal.get::<KeptMail>(SPACE, mail)?;
        let Some((mut kept, to)) = kept.and_then(|kept| self.reply_address(&kept.mail).map(|to| (kept, to))) else {
            journal.apply(&changes)?;
            return Ok(false);
        };
        let number = 1 + kept.events.iter().filter(|played| ["reply", "ooo"].contains(&played.what.as_str())).count();
        let raw = message(&kept, &to, answer, number, at).map_err(|error| AwsError::Service(format!("writing a reply: {error}")))?;
        kept.events.push(Played { what: answer.name().to_owned(), at: at.to_string(), url: None, status: None });
        changes.push(Change::put(SPACE, mail, &kept)?);
        let source = if answer.ooo { "" } else { address_in(&kept.mail.to) };
        self.store(&raw, &Envelope { source, recipients: &[&to], verdicts: Verdicts::default() }, at, changes)?;
        self.shared.news.send_modify(|count| *count += 1);
        Ok(true)
    }

    /// The mail, its notice and other changes, all or none. The caller writes alone.
    fn store(&self, raw: &[u8], envelope: &Envelope, at: Timestamp, mut changes: Vec<Change>) -> Result<String, AwsError> {
        let reception = self.shared.reception.lock().clone();
        let (queues, reception) = reception.ok_or_else(|| AwsError::Service("the template receives no mails".to_owned()))?;
        let recipients: Vec<&str> = envelope.recipients.iter().copied().filter(|address| takes(&reception, address)).collect();
        if recipients.is_empty() {
            return Err(AwsError::Service(format!("no recipient is at {}", reception.recipients.join(", "))));
        }
        let journal = &self.shared.journal;
        let Count(before) = journal.get(COUNT, "count")?.unwrap_or_default();
        let id = format!("inbound{:033}", before + 1);
        let key = format!("{}{id}", reception.prefix);
        changes.push(Change::put(COUNT, "count", &Count(before + 1))?);
        changes.push(Objects::put(
            &reception.bucket,
            &key,
            "application/octet-stream",
            &[&before_it(&id, envelope, &recipients, at), raw].concat(),
        )?);
        queues.send_along(&reception.queue, &notice(&id, &key, &reception, envelope, &recipients, at).to_string(), changes)?;
        Ok(id)
    }
}

/// A receipt rule for a domain takes all its addresses.
fn takes(reception: &MailReception, address: &str) -> bool {
    let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
    reception.recipients.iter().any(|taken| taken.eq_ignore_ascii_case(domain) || taken.eq_ignore_ascii_case(address))
}

/// The headers that SES adds.
fn before_it(id: &str, envelope: &Envelope, recipients: &[&str], at: Timestamp) -> Vec<u8> {
    let Verdicts { spam, virus, spf, dkim, dmarc } = &envelope.verdicts;
    let (source, date) = (envelope.source, rfc_2822(at));
    let first = recipients.first().copied().unwrap_or_default();
    format!(
        "Return-Path: <{source}>\r\n\
         Received: from mail.localhost.localdomain (mail.localhost.localdomain [127.0.0.1])\r\n \
         by inbound-smtp.us-east-1.amazonaws.com with SMTP id {id}\r\n for {first};\r\n {date}\r\n\
         X-SES-Spam-Verdict: {spam}\r\n\
         X-SES-Virus-Verdict: {virus}\r\n\
         Authentication-Results: amazonses.com; spf={}; dkim={}; dmarc={};\r\n",
        spf.to_lowercase(),
        dkim.to_lowercase(),
        dmarc.to_lowercase(),
    )
    .into_bytes()
}

fn notice(id: &str, key: &str, reception: &MailReception, envelope: &Envelope, recipients: &[&str], at: Timestamp) -> Value {
    let moment = format!("{at:.3}");
    let Verdicts { spam, virus, spf, dkim, dmarc } = &envelope.verdicts;
    let status = |verdict: &str| json!({ "status": verdict });
    json!({
        "notificationType": "Received",
        "mail": {
            "timestamp": moment,
            "source": envelope.source,
            "messageId": id,
            "destination": envelope.recipients,
            "headersTruncated": true,
            "headers": [],
            "commonHeaders": { "returnPath": envelope.source },
        },
        "receipt": {
            "timestamp": moment,
            "processingTimeMillis": 1,
            "recipients": recipients,
            "spamVerdict": status(spam),
            "virusVerdict": status(virus),
            "spfVerdict": status(spf),
            "dkimVerdict": status(dkim),
            "dmarcVerdict": status(dmarc),
            "action": {
                "type": "S3",
                "topicArn": reception.topic,
                "bucketName": reception.bucket,
                "objectKeyPrefix": reception.prefix,
                "objectKey": key,
            },
        },
    })
}

/// An answer as mail programs write it: with a subject that says so, and the mail that it answers below.
fn message(kept: &KeptMail, to: &str, answer: &Answer, number: usize, at: Timestamp) -> std::io::Result<Vec<u8>> {
    let mail = &kept.mail;
    let domain = address_in(&mail.to).rsplit_once('@').map_or("localhost", |(_, domain)| domain);
    // What SES makes of its id in a mail that it sends.
    let original = format!("{}@email.amazonses.com", kept.message_id);
    let subject = match mail.subject.get(..3) {
        Some(start) if start.eq_ignore_ascii_case("re:") => mail.subject.clone(),
        _ if answer.ooo => format!("Automatic reply: {}", mail.subject),
        _ => format!("Re: {}", mail.subject),
    };
    let mut quoted = String::new();
    for line in mail.text.lines() {
        quoted.push_str(if line.is_empty() { ">" } else { "> " });
        quoted.push_str(line);
        quoted.push('\n');
    }
    let from = mail.from.as_deref().unwrap_or("the sender");
    let text = match (answer.ooo, quoted.is_empty()) {
        (false, false) => format!("{}\n\nOn {}, {from} wrote:\n\n{quoted}", answer.text, rfc_2822(at)),
        _ => format!("{}\n", answer.text),
    };
    let message = MessageBuilder::new()
        .from(Address::new_address(name_in(&mail.to), address_in(&mail.to)))
        .to(to)
        .subject(subject)
        .message_id(format!("{}.{number}@{domain}", kept.message_id))
        .in_reply_to(original.clone())
        .references(original)
        .date(at.as_second())
        .text_body(text);
    let message = match answer.ooo {
        true => message.header("Auto-Submitted", Raw::new("auto-replied")).header("X-Autoreply", Raw::new("yes")),
        false => message,
    };
    message.write_to_vec()
}

/// `ada@example.com` of `Ada <ada@example.com>`.
fn address_in(written: &str) -> &str {
    written.rsplit_once('<').map_or(written, |(_, address)| address.trim_end().trim_end_matches('>')).trim()
}

/// `Ada` of `Ada <ada@example.com>`.
fn name_in(written: &str) -> Option<&str> {
    written.rsplit_once('<').map(|(name, _)| name.trim().trim_matches('"')).filter(|name| !name.is_empty())
}

fn rfc_2822(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}
