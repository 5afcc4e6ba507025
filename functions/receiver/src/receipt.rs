//! The notice of Amazon SES that it has stored a mail. Whoever wrote the mail has no hand in it, so that what is believed about sender and recipients is
//! taken from here and not from the mail.

use serde::Deserialize;
use shared::{Error, Result};

/// A mail that was received and stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// What Amazon SES calls it. Each mail has another, and each notice of a mail has the same.
    pub message_id: String,
    /// Who sent it, by the envelope. Empty where nothing may come back.
    pub source: String,
    /// Those of its recipients that are ours.
    pub recipients: Vec<String>,
    pub spam: Verdict,
    pub virus: Verdict,
    pub spf: Verdict,
    pub dmarc: Verdict,
    pub key: String,
}

/// What a check of Amazon SES came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    Pass,
    Fail,
    Gray,
    /// It was not made, or came to no end.
    #[default]
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Notice {
    notification_type: String,
    mail: About,
    receipt: Checked,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct About {
    message_id: String,
    #[serde(default)]
    source: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Checked {
    recipients: Vec<String>,
    #[serde(default)]
    spam_verdict: Check,
    #[serde(default)]
    virus_verdict: Check,
    #[serde(default)]
    spf_verdict: Check,
    #[serde(default)]
    dmarc_verdict: Check,
    action: Action,
}

#[derive(Default, Deserialize)]
struct Check {
    status: Verdict,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Action {
    bucket_name: String,
    object_key: String,
}

/// How Amazon SES begins what it publishes once, to see whether it may.
const GREETING: &str = "Successfully validated SNS topic";

/// The object that it stores once, for the same purpose.
const SETUP: &str = "AMAZON_SES_SETUP_NOTIFICATION";

/// A null return path, as some write it.
const NOBODY: [&str; 2] = ["", "<>"];

impl Receipt {
    /// `None` of what Amazon SES publishes when it is set up. A notice of another bucket is not from our rule.
    pub fn read(body: &str, bucket: &str) -> Result<Option<Receipt>> {
        if body.starts_with(GREETING) {
            return Ok(None);
        }
        let unreadable = |problem: String| Error::internal("reading a notice of a mail", problem);
        let Notice { notification_type, mail, receipt } = serde_json::from_str(body).map_err(|error| unreadable(error.to_string()))?;
        if notification_type != "Received" {
            return Err(unreadable("it is not about a mail that was received".into()));
        }
        let Action { bucket_name, object_key } = receipt.action;
        if bucket_name != bucket {
            return Err(unreadable("its mail is in another bucket".into()));
        }
        if object_key.ends_with(SETUP) {
            return Ok(None);
        }
        let source = mail.source.unwrap_or_default();
        Ok(Some(Receipt {
            message_id: mail.message_id,
            source: if NOBODY.contains(&source.trim()) { String::new() } else { source },
            recipients: receipt.recipients,
            spam: receipt.spam_verdict.status,
            virus: receipt.virus_verdict.status,
            spf: receipt.spf_verdict.status,
            dmarc: receipt.dmarc_verdict.status,
            key: object_key,
        }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const BUCKET: &str = "tenantry-inboundmails-1qz8d2m4x7";

    fn notice() -> Value {
        json!({
            "notificationType": "Received",
            "mail": {
                "timestamp": "2026-11-27T09:15:42.871Z",
                "source": "grace@example.org",
                "messageId": "o3vrnil0e2ic28trm7dfhrc2v0clambda4nbp0g1",
                "destination": ["reply+abc@in.example.com", "someone@example.net"],
                "headersTruncated": false,
                "headers": [
                    {"name": "Return-Path", "value": "<grace@example.org>"},
                    {"name": "From", "value": "Grace Hopper <grace@example.org>"},
                    {"name": "To", "value": "Ada <reply+abc@in.example.com>, someone@example.net"},
                    {"name": "Subject", "value": "Re: Hello"},
                    {"name": "Message-ID", "value": "<CAF1x7@mail.example.org>"}
                ],
                "commonHeaders": {
                    "returnPath": "grace@example.org",
                    "from": ["Grace Hopper <grace@example.org>"],
                    "date": "Fri, 27 Nov 2026 10:15:40 +0100",
                    "to": ["Ada <reply+abc@in.example.com>", "someone@example.net"],
                    "messageId": "<CAF1x7@mail.example.org>",
                    "subject": "Re: Hello"
                }
            },
            "receipt": {
                "timestamp": "2026-11-27T09:15:43.004Z",
                "processingTimeMillis": 574,
                "recipients": ["reply+abc@in.example.com"],
                "spamVerdict": {"status": "PASS"},
                "virusVerdict": {"status": "PASS"},
                "spfVerdict": {"status": "GRAY"},
                "dkimVerdict": {"status": "FAIL"},
                "dmarcVerdict": {"status": "PROCESSING_FAILED"},
                "dmarcPolicy": "reject",
                "action": {
                    "type": "S3",
                    "topicArn": "arn:aws:sns:eu-central-1:123456789012:tenantry-InboundTopic",
                    "bucketName": BUCKET,
                    "objectKeyPrefix": "",
                    "objectKey": "o3vrnil0e2ic28trm7dfhrc2v0clambda4nbp0g1"
                }
            }
        })
    }

    fn read(notice: &Value) -> Result<Option<Receipt>> {
        Receipt::read(&notice.to_string(), BUCKET)
    }

    #[test]
    fn a_notice_says_what_was_received_and_where_it_is() {
        let receipt = read(&notice()).unwrap().unwrap();
        let expected = Receipt {
            message_id: "o3vrnil0e2ic28trm7dfhrc2v0clambda4nbp0g1".into(),
            source: "grace@example.org".into(),
            recipients: vec!["reply+abc@in.example.com".into()],
            spam: Verdict::Pass,
            virus: Verdict::Pass,
            spf: Verdict::Gray,
            dmarc: Verdict::Unknown,
            key: "o3vrnil0e2ic28trm7dfhrc2v0clambda4nbp0g1".into(),
        };
        assert_eq!(receipt, expected);
    }

    #[test]
    fn what_is_not_said_is_not_known() {
        let mut bare = notice();
        for name in ["spamVerdict", "virusVerdict", "spfVerdict", "dmarcVerdict"] {
            bare["receipt"].as_object_mut().unwrap().remove(name);
        }
        bare["mail"]["source"] = "<>".into();
        let receipt = read(&bare).unwrap().unwrap();
        let verdicts = [receipt.spam, receipt.virus, receipt.spf, receipt.dmarc];
        assert_eq!((verdicts, receipt.source.as_str()), ([Verdict::Unknown; 4], ""));
        bare["mail"].as_object_mut().unwrap().remove("source");
        bare["receipt"]["spamVerdict"] = json!({"status": "DISABLED"});
        let receipt = read(&bare).unwrap().unwrap();
        assert_eq!((receipt.spam, receipt.source.as_str()), (Verdict::Unknown, ""));
    }

    #[test]
    fn what_is_published_at_the_beginning_is_about_no_mail() {
        let greeting = "Successfully validated SNS topic for Amazon SES event publishing.";
        assert_eq!(Receipt::read(greeting, BUCKET).unwrap(), None);
        let mut setup = notice();
        setup["receipt"]["action"]["objectKey"] = "AMAZON_SES_SETUP_NOTIFICATION".into();
        assert_eq!(read(&setup).unwrap(), None);
    }

    #[test]
    fn notices_of_other_buckets_and_of_other_kinds_are_refused() {
        assert!(Receipt::read(&notice().to_string(), "another").is_err());
        let mut bounce = notice();
        bounce["notificationType"] = "Bounce".into();
        assert!(read(&bounce).is_err());
        let mut lambda = notice();
        lambda["receipt"]["action"] = json!({"type": "Lambda", "functionArn": "arn:aws:lambda:eu-central-1:123456789012:function:x"});
        assert!(read(&lambda).is_err());
        assert!(Receipt::read("{}", BUCKET).is_err() && Receipt::read("hello", BUCKET).is_err());
    }
}
