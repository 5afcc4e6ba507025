//! Messages of the queue: what Amazon SES publishes about a mail
//! (<https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html>), and what our own pages write when a link is followed.

use std::collections::BTreeMap;

use engagement::followed::{Engagement, Followed};
use jiff::Timestamp;
use serde::Deserialize;
use shared::model::user::Email;
use shared::{Error, Result};

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Notice {
    Carrier(Box<Report>),
    Reader(Followed),
}

/// What SES says. Most of it is not read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    event_type: String,
    mail: Reported,
    bounce: Option<Bounce>,
    complaint: Option<Complaint>,
    delivery: Option<Moment>,
    reject: Option<Reject>,
    open: Option<Moment>,
    click: Option<Moment>,
}

#[derive(Debug, Deserialize)]
struct Reported {
    #[serde(default)]
    tags: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bounce {
    bounce_type: String,
    #[serde(default)]
    bounce_sub_type: Option<String>,
    #[serde(default)]
    bounced_recipients: Vec<Recipient>,
    timestamp: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Complaint {
    #[serde(default)]
    complaint_sub_type: Option<String>,
    #[serde(default)]
    complained_recipients: Vec<Recipient>,
    timestamp: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Recipient {
    email_address: String,
}

#[derive(Debug, Deserialize)]
struct Reject {
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Moment {
    timestamp: Option<String>,
}

/// What happened to a mail, and when.
#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    pub happened: Happened,
    pub at: Timestamp,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Happened {
    Delivered,
    /// For good. `of`: the addresses, if the carrier names them. `by_list`: the carrier did not even try, because others' mails to it bounced.
    Bounced {
        of: Vec<Email>,
        by_list: bool,
    },
    SoftBounced {
        of: Vec<Email>,
    },
    Complained {
        of: Vec<Email>,
    },
    /// The carrier took it, and then found what it does not send.
    Rejected {
        reason: String,
    },
    Opened {
        automated: bool,
    },
    Clicked {
        automated: bool,
    },
    Unsubscribed,
}

/// A sub-type: the address is on the list that the carrier keeps for the whole account.
const ON_LIST: &str = "OnAccountSuppressionList";

/// What SES writes once, when its events are to go to a topic. It is no JSON.
const GREETING: &str = "Successfully validated SNS topic";

impl Notice {
    /// `None`: it is about no mail.
    pub fn read(body: &str) -> Result<Option<Self>> {
        if body.starts_with(GREETING) {
            return Ok(None);
        }
        serde_json::from_str(body).map(Some).map_err(|error| Error::internal("reading a notice", error))
    }

    /// `None`: nothing that anything follows from, as a delay.
    pub fn event(&self, now: Timestamp) -> Option<Event> {
        let (happened, at) = match self {
            Notice::Carrier(report) => report.happened()?,
            Notice::Reader(followed) => (happened(followed), Some(&followed.at)),
        };
        // No mail is read tomorrow.
        let at = at.and_then(|at| at.parse::<Timestamp>().ok()).map_or(now, |at| at.min(now));
        Some(Event { happened, at })
    }
}

impl Report {
    /// The tags that the mail was given. One that stands there twice is none of ours.
    pub fn tags(&self) -> BTreeMap<String, String> {
        let once = |(name, values): (&String, &Vec<String>)| match &values[..] {
            [value] => Some((name.clone(), value.clone())),
            _ => None,
        };
        self.mail.tags.iter().filter_map(once).collect()
    }

    fn happened(&self) -> Option<(Happened, Option<&String>)> {
        Some(match self.event_type.as_str() {
            "Delivery" => (Happened::Delivered, self.delivery.as_ref()?.timestamp.as_ref()),
            "Bounce" => {
                let bounce = self.bounce.as_ref()?;
                let of = addresses(&bounce.bounced_recipients);
                let happened = match bounce.bounce_type.as_str() {
                    "Permanent" => Happened::Bounced { of, by_list: bounce.bounce_sub_type.as_deref() == Some(ON_LIST) },
                    // Transient, Undetermined.
                    _ => Happened::SoftBounced { of },
                };
                (happened, bounce.timestamp.as_ref())
            }
            "Complaint" => {
                let complaint = self.complaint.as_ref()?;
                let of = addresses(&complaint.complained_recipients);
                let happened = match complaint.complaint_sub_type.as_deref() == Some(ON_LIST) {
                    true => Happened::Bounced { of, by_list: true },
                    false => Happened::Complained { of },
                };
                (happened, complaint.timestamp.as_ref())
            }
            "Reject" => {
                let reason = self.reject.as_ref().and_then(|reject| reject.reason.clone());
                (Happened::Rejected { reason: reason.unwrap_or_else(|| "no reason given".into()) }, None)
            }
            "Open" => (Happened::Opened { automated: false }, self.open.as_ref().and_then(|of| of.timestamp.as_ref())),
            "Click" => (Happened::Clicked { automated: false }, self.click.as_ref().and_then(|of| of.timestamp.as_ref())),
            // What they do later counts, not that they wait.
            _ => return None,
        })
    }
}

fn happened(followed: &Followed) -> Happened {
    let automated = followed.automated;
    match followed.engagement {
        Engagement::Opened => Happened::Opened { automated },
        Engagement::Clicked => Happened::Clicked { automated },
        Engagement::Unsubscribed => Happened::Unsubscribed,
    }
}

fn addresses(recipients: &[Recipient]) -> Vec<Email> {
    recipients.iter().filter_map(|recipient| Email::parse(&recipient.email_address)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn event(notice: Value) -> Option<Event> {
        let notice: Notice = serde_json::from_value(notice).unwrap();
        notice.event("2030-01-01T12:00:00Z".parse().unwrap())
    }

    fn report(kind: &str, name: &str, about: Value) -> Option<Event> {
        event(json!({"eventType": kind, "mail": {"messageId": "m", "tags": {"t": ["x"]}}, name: about}))
    }

    #[test]
    fn each_kind_of_bounce_is_told_apart() {
        let bounce = |kind: &str, sub: &str| {
            let about = json!({"bounceType": kind, "bounceSubType": sub, "timestamp": "2030-01-01T11:00:00.000Z",
                "bouncedRecipients": [{"emailAddress": "ada@example.com"}]});
            report("Bounce", "bounce", about).unwrap()
        };
        let of = vec![Email::parse("ada@example.com").unwrap()];
        assert_eq!(bounce("Permanent", "General").happened, Happened::Bounced { of: of.clone(), by_list: false });
        assert_eq!(bounce("Permanent", "OnAccountSuppressionList").happened, Happened::Bounced { of: of.clone(), by_list: true });
        for kind in ["Transient", "Undetermined", "Surprising"] {
            assert_eq!(bounce(kind, "General").happened, Happened::SoftBounced { of: of.clone() }, "{kind}");
        }
        assert_eq!(bounce("Permanent", "General").at.to_string(), "2030-01-01T11:00:00Z");
    }

    #[test]
    fn a_complaint_that_only_names_the_list_is_none() {
        let complaint = |sub: Value| report("Complaint", "complaint", json!({"complaintSubType": sub})).unwrap().happened;
        assert_eq!(complaint(Value::Null), Happened::Complained { of: vec![] });
        assert_eq!(complaint(json!("OnAccountSuppressionList")), Happened::Bounced { of: vec![], by_list: true });
    }

    #[test]
    fn a_moment_is_never_ahead_and_a_delay_is_nothing() {
        let ahead = event(json!({"engagement": "opened", "token": "x", "at": "2031-01-01T00:00:00Z", "automated": true})).unwrap();
        assert_eq!(ahead, Event { happened: Happened::Opened { automated: true }, at: "2030-01-01T12:00:00Z".parse().unwrap() });
        let odd = event(json!({"engagement": "unsubscribed", "token": "x", "at": "yesterday"})).unwrap();
        assert_eq!(odd.at.to_string(), "2030-01-01T12:00:00Z");
        assert_eq!(report("DeliveryDelay", "deliveryDelay", json!({})), None);
        assert_eq!(report("Bounce", "delivery", json!({})), None, "a report without what it reports");
    }

    #[test]
    fn a_tag_that_stands_twice_is_none() {
        let text = json!({"eventType": "Open", "mail": {"tags": {"t": ["a", "b"], "c": ["d"]}}});
        let Notice::Carrier(report) = serde_json::from_value(text).unwrap() else { panic!("a report") };
        assert_eq!(report.tags().into_iter().collect::<Vec<_>>(), [("c".to_owned(), "d".to_owned())]);
    }
}
