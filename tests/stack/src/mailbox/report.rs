//! What Amazon SES reports about a mail, as its event publishing documents it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::KeptMail;
use crate::aws::{ACCOUNT, REGION};

/// Where mails of the local stack come from if they do not say.
const SENDER: &str = "tenantry@localhost.localdomain";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    Delivery,
    /// For good: there is no such address.
    Bounce,
    /// For now: the mailbox is full.
    SoftBounce,
    Complaint,
}

impl Report {
    pub fn name(self) -> &'static str {
        match self {
            Report::Delivery => "delivery",
            Report::Bounce => "bounce",
            Report::SoftBounce => "soft_bounce",
            Report::Complaint => "complaint",
        }
    }

    /// As an event destination of the template names its kind.
    pub fn kind(self) -> &'static str {
        match self {
            Report::Delivery => "delivery",
            Report::Bounce | Report::SoftBounce => "bounce",
            Report::Complaint => "complaint",
        }
    }

    pub fn event(self, kept: &KeptMail, configuration_set: &str, at: Timestamp) -> Value {
        let (name, about) = match self {
            Report::Delivery => ("Delivery", delivery(kept, at)),
            Report::Bounce => ("Bounce", bounce(kept, at, ["Permanent", "General", "5.1.1", "smtp; 550 5.1.1 user unknown"])),
            Report::SoftBounce => ("Bounce", bounce(kept, at, ["Transient", "MailboxFull", "4.2.2", "smtp; 452 4.2.2 mailbox full"])),
            Report::Complaint => ("Complaint", complaint(kept, at)),
        };
        json!({ "eventType": name, "mail": mail(kept, configuration_set, at), self.kind(): about })
    }
}

fn delivery(kept: &KeptMail, at: Timestamp) -> Value {
    json!({
        "timestamp": moment(at),
        "processingTimeMillis": (at.as_millisecond() - sent(kept, at).as_millisecond()),
        "recipients": [kept.mail.to],
        "smtpResponse": "250 2.6.0 Message received",
        "remoteMtaIp": "127.0.0.1",
        "reportingMTA": "mta.localhost.localdomain",
    })
}

fn bounce(kept: &KeptMail, at: Timestamp, [kind, sub_kind, status, says]: [&str; 4]) -> Value {
    json!({
        "bounceType": kind,
        "bounceSubType": sub_kind,
        "bouncedRecipients": [{ "emailAddress": kept.mail.to, "action": "failed", "status": status, "diagnosticCode": says }],
        "timestamp": moment(at),
        "feedbackId": feedback_id(kept),
        "reportingMTA": "dsn; mta.localhost.localdomain",
    })
}

fn complaint(kept: &KeptMail, at: Timestamp) -> Value {
    json!({
        "complainedRecipients": [{ "emailAddress": kept.mail.to }],
        "timestamp": moment(at),
        "feedbackId": feedback_id(kept),
        "complaintSubType": null,
        "userAgent": "Amazon SES Mailbox Simulator",
        "complaintFeedbackType": "abuse",
        "arrivalDate": moment(at),
    })
}

fn mail(kept: &KeptMail, configuration_set: &str, at: Timestamp) -> Value {
    let mail = &kept.mail;
    let from = mail.from.as_deref().unwrap_or(SENDER);
    let address = from.rsplit_once('<').map_or(from, |(_, address)| address.trim_end_matches('>'));
    let domain = address.rsplit_once('@').map_or(address, |(_, domain)| domain);
    let mut headers = vec![json!({ "name": "From", "value": from })];
    headers.extend(mail.reply_to.iter().map(|to| json!({ "name": "Reply-To", "value": to })));
    headers.push(json!({ "name": "To", "value": mail.to }));
    headers.push(json!({ "name": "Subject", "value": mail.subject }));
    headers.extend(mail.headers.iter().map(|(name, value)| json!({ "name": name, "value": value })));
    let own = [
        ("ses:configuration-set", configuration_set),
        ("ses:from-domain", domain),
        ("ses:source-ip", "127.0.0.1"),
        ("ses:caller-identity", "local"),
        ("ses:outgoing-ip", "127.0.0.1"),
    ];
    let tags = own.into_iter().chain(mail.tags.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    json!({
        "timestamp": moment(sent(kept, at)),
        "source": from,
        "sourceArn": format!("arn:aws:ses:{REGION}:{ACCOUNT}:identity/{domain}"),
        "sendingAccountId": ACCOUNT,
        "messageId": kept.message_id,
        "destination": [mail.to],
        "headersTruncated": false,
        "headers": headers,
        "commonHeaders": { "from": [from], "to": [mail.to], "messageId": kept.message_id, "subject": mail.subject },
        "tags": tags.map(|(name, value)| (name.to_owned(), json!([value]))).collect::<serde_json::Map<_, _>>(),
    })
}

/// When the mail was taken. A test may stand at a moment before the real one, and no report is older than its mail.
fn sent(kept: &KeptMail, at: Timestamp) -> Timestamp {
    kept.received_at.parse::<Timestamp>().unwrap_or(at).min(at)
}

fn feedback_id(kept: &KeptMail) -> String {
    format!("{}-feedback", kept.message_id)
}

/// With milliseconds, as SES writes it.
fn moment(moment: Timestamp) -> String {
    format!("{moment:.3}")
}
