//! From a letter with tags over the carrier of a local run to the report in the queue: what a worker of campaigns sends and reads.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::{Value, json};
use shared::carriers::{Letter, MailCarrier, Outcome};
use shared::clock::Clock;
use shared::config::{Stage, Variables};
use shared::model::user::Email;

use crate::world::World;

const REPORTS: &str = "tenantry-local-MailEventsQueue";

fn carrier(world: &World) -> Box<dyn MailCarrier> {
    let variables = world.environment("courier").clone().into_iter().collect();
    ::carriers::chosen(Variables(variables), Stage::Local).expect("the mailbox")
}

fn letter(id: &str, to: &str, tags: Vec<(&'static str, String)>) -> Letter {
    Letter {
        id: id.into(),
        from: None,
        reply_to: Some("replies@example.org".into()),
        to: Email::parse(to).expect("an address"),
        subject: "Hello".into(),
        text: "Hello".into(),
        html: "<p>Hello</p>".into(),
        kind: "campaign",
        tenant: None,
        headers: vec![("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".into())],
        tags,
    }
}

fn tags() -> Vec<(&'static str, String)> {
    vec![("t", "acme".into()), ("s", "1".into()), ("sig", "x-_9".into())]
}

fn reports(world: &World) -> Vec<Value> {
    let messages = world.aws.queues().peek(REPORTS).expect("the queue of reports");
    messages.iter().map(|message| serde_json::from_str(&message.body).expect("JSON")).collect()
}

#[tokio::test]
async fn what_becomes_of_a_letter_with_tags_reaches_the_queue_under_the_id_that_the_carrier_gave() {
    let world = World::new().await;
    let (carrier, mailbox) = (carrier(&world), world.aws.mailbox());
    let sent = carrier.send(&letter("one", "ada+x+complain@example.com", tags())).await;
    let Outcome::Taken(Some(message)) = &sent else { panic!("{sent:?}") };
    assert_eq!(carrier.send(&letter("one", "ada+x+complain@example.com", tags())).await, sent, "a repeated call is the same mail");
    assert!(matches!(carrier.send(&letter("plain", "bob+bounce@example.com", vec![])).await, Outcome::Taken(Some(_))));
    let kept = mailbox.mail("one").unwrap().expect("the mail");
    assert_eq!(kept.mail.from.as_ref(), world.environment("courier").get("MAIL_FROM"), "a letter that names no sender has the platform's");
    assert_eq!((kept.mail.reply_to.as_deref(), kept.deliveries), (Some("replies@example.org"), 2));
    assert_eq!(kept.mail.headers, BTreeMap::from([("List-Unsubscribe-Post".to_owned(), "List-Unsubscribe=One-Click".to_owned())]));

    assert!(reports(&world).is_empty(), "nothing is played before the test says so");
    assert_eq!(mailbox.play(world.clock.now()).unwrap(), 2);
    assert_eq!(mailbox.play(world.clock.now()).unwrap(), 0);
    let reports = reports(&world);
    let kinds: Vec<&Value> = reports.iter().map(|report| &report["eventType"]).collect();
    assert_eq!(kinds, ["Delivery", "Complaint"], "a letter without tags is not reported");
    for report in &reports {
        assert_eq!(report["mail"]["messageId"], message.as_str());
        for (name, value) in tags() {
            assert_eq!(report["mail"]["tags"][name], json!([value]));
        }
    }
    let at = reports[0]["delivery"]["timestamp"].as_str().expect("a moment").parse::<jiff::Timestamp>().expect("a moment");
    assert_eq!(at.as_second(), world.clock.now().as_second(), "reports are of the moment at which they were played");
}

#[tokio::test]
async fn a_lost_answer_leaves_an_unknown_letter_that_a_report_settles() {
    let world = World::new().await;
    for _ in 0..2 {
        let sent = carrier(&world).send(&letter("one", "ada+lost@example.com", tags())).await;
        assert_eq!(sent, Outcome::Unknown("the mailbox answered 500".into()));
    }
    assert_eq!(world.aws.mailbox().play(world.clock.now()).unwrap(), 1);
    assert_eq!(reports(&world)[0]["eventType"], "Delivery");
}

/// The end of the gateway's side: what phones tell has the moments of the test's clock, in its signature too.
#[tokio::test]
async fn phones_stand_at_the_moment_of_the_test() {
    let world = World::new().await;
    let phones = world.aws.phones();
    phones.connect("http://127.0.0.1:1", "gw_1");
    world.advance(SignedDuration::from_hours(48));
    let written = phones.say("+12025550100", Some("+12025550101"), "STOP").expect("a message");
    assert_eq!(written.at.as_millisecond(), world.clock.now().as_millisecond());
    let moment = world.clock.now().as_second().to_string();
    let played = phones.play(async |request| match request.headers()["webhook-timestamp"] == moment.as_str() {
        true => Ok(202),
        false => Err(format!("signed at another moment: {:?}", request.headers())),
    });
    assert_eq!(played.await.expect("phones"), 1);
    assert_eq!(phones.conversation("+12025550100").expect("the phone").messages[0].answer, Some(202));
}
