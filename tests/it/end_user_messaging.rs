//! Lines of AWS End User Messaging: it takes a message as often as it is given it, so it is given it once, and its notices say the rest.

use jiff::SignedDuration;
use serde_json::{Value, json};
use shared::Clock;

use crate::messages::Home;

const LINE: &str = "+12025550105";
/// These have a phone that tells of what it gets, one that never does, one that has no time at first, one whose network fails, and none.
const PHONE: &str = "+12025550120";
const SILENT: &str = "+12025550190";
const BUSY: &str = "+12025550192";
const FAILING: &str = "+12025550195";
const NOBODY: &str = "+12025550198";

async fn home() -> Home {
    let home = Home::new().await;
    let line = json!({"command": "line-add", "phone_number": LINE, "capabilities": ["sms"], "carrier": "aws", "active": true,
        "daily_limit": 1_000, "per_minute_limit": 600});
    let added = home.workers.run("operator", line).await.expect("a line");
    let line = (&added["line"]["carrier"], &added["line"]["gateway"]);
    assert_eq!((&added["ok"], line), (&json!(true), (&json!("aws"), &Value::Null)));
    home
}

impl Home {
    async fn over_aws(&self, to: &str, body: &str) -> Value {
        self.send(json!({"to": to, "body": body, "channel": "sms", "from_number": LINE})).await
    }

    /// As its key sees it, which outlives any session.
    async fn seen(&self, message: &Value) -> Value {
        let path = format!("/v1/messages/{}", message["message_id"].as_str().expect("an id"));
        self.world.get(path).header("x-api-key", &self.key).send().await.expect(200).json()["data"].clone()
    }

    /// What the topic tells, whoever published it.
    async fn told(&self, message: &str) {
        let at = self.world.clock.now().to_string();
        let envelope = json!({"Type": "Notification", "MessageId": "1", "TopicArn": "arn", "Message": message, "Timestamp": at});
        let queue = "tenantry-local-MessageNoticesQueue";
        self.world.aws.queues().send(queue, &envelope.to_string(), None).expect("a queue");
        self.settle().await;
    }

    fn given_up(&self) -> usize {
        self.world.aws.queues().depth("tenantry-local-MessageNoticesDeadLetters").expect("a queue").visible
    }
}

fn told_of(message: &Value) -> (&Value, &Value) {
    (&message["status"], &message["reason"])
}

#[tokio::test]
async fn a_message_goes_out_once_and_its_events_bring_it_on() {
    let home = home().await;
    let sent = home.over_aws(PHONE, "Hello").await;
    assert_eq!((&sent["status"], &sent["from"]), (&json!("queued"), &json!(LINE)));
    home.settle().await;
    let seen = home.seen(&sent).await;
    assert_eq!((told_of(&seen), &seen["channel"]), ((&json!("delivered"), &Value::Null), &json!("sms")));
    assert_eq!(seen["attempts"].as_array().map(Vec::len), Some(1));
    let phone = home.world.aws.phones().conversation(PHONE).expect("a phone");
    assert_eq!(phone.messages.iter().map(|one| (one.text.as_str(), one.by_aws)).collect::<Vec<_>>(), [("Hello", true)]);
    // Neither iMessage nor RCS: a line of AWS is no way for them.
    let refused = json!({"to": PHONE, "body": "x", "channel": "imessage", "from_number": LINE});
    assert_eq!(home.post(refused).send().await.expect(503).code(), "NO_PHONE_AVAILABLE");
    let usage = home.usage().await;
    assert_eq!((&usage["messages"]["delivered"], &usage["channels"]["sms"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn stop_over_aws_silences_the_number_and_start_brings_it_back() {
    let home = home().await;
    home.over_aws(PHONE, "Hello").await;
    home.settle().await;
    let phones = home.world.aws.phones().clone();
    phones.say(PHONE, Some(LINE), "Stop.").expect("said");
    home.settle().await;
    let texts = home.on(PHONE);
    assert!(texts.len() == 2 && texts[1].contains("unsubscribed"), "{texts:?}");
    let again = json!({"to": PHONE, "body": "x", "from_number": LINE, "channel": "sms"});
    assert_eq!(home.post(again.clone()).send().await.expect(403).code(), "RECIPIENT_OPTED_OUT");
    home.world.advance(SignedDuration::from_secs(1));
    phones.say(PHONE, None, "START").expect("said");
    home.settle().await;
    home.post(again).send().await.expect(202);
    home.settle().await;
    assert_eq!(home.on(PHONE).len(), 4);
    // A notice that comes again changes nothing.
    let received = home.world.get("/v1/messages?direction=inbound").header("x-api-key", &home.key).send().await.expect(200).json();
    assert_eq!(received["data"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn an_answer_that_got_lost_is_not_asked_for_again_and_an_event_heals_it() {
    let home = home().await;
    home.world.aws.phones().lose_next_answers(1);
    let sent = home.over_aws(PHONE, "Hello").await;
    crate::workers::drain(&home.world, &home.workers).await;
    assert_eq!(told_of(&home.seen(&sent).await), (&json!("unknown"), &json!("no_answer")));
    home.settle().await;
    assert_eq!(told_of(&home.seen(&sent).await), (&json!("delivered"), &Value::Null));
    home.world.advance(SignedDuration::from_hours(74));
    home.sweep().await;
    assert_eq!((home.seen(&sent).await["status"].clone(), home.on(PHONE)), (json!("delivered"), vec!["Hello".to_owned()]));
}

#[tokio::test]
async fn what_is_not_reported_for_three_days_was_never_accepted() {
    let home = home().await;
    home.world.aws.phones().lose_next_answers(1);
    let sent = home.over_aws(SILENT, "Hello").await;
    home.settle().await;
    assert_eq!(home.seen(&sent).await["status"], "unknown");
    for (hours, status, reason) in [(72, "unknown", "no_answer"), (1, "unknown", "no_answer"), (1, "failed", "never_accepted")] {
        home.world.advance(SignedDuration::from_hours(hours));
        home.sweep().await;
        assert_eq!(told_of(&home.seen(&sent).await), (&json!(status), &json!(reason)), "after {hours} more hours");
    }
    // Its place among the new contacts is free again, and a late word changes nothing.
    let usage = home.world.get("/v1/billing/usage").header("x-api-key", &home.key).send().await.expect(200).json()["data"].clone();
    assert_eq!(usage["new_contacts"]["used_this_month"], 0);
}

#[tokio::test]
async fn only_a_clear_no_ends_a_message() {
    let home = home().await;
    let [busy, failing, nobody] = [BUSY, FAILING, NOBODY];
    let (busy, failing, nobody) = (home.over_aws(busy, "x").await, home.over_aws(failing, "x").await, home.over_aws(nobody, "x").await);
    home.settle().await;
    assert_eq!(told_of(&home.seen(&failing).await), (&json!("failed"), &json!("unreachable")));
    assert_eq!(told_of(&home.seen(&nobody).await), (&json!("failed"), &json!("rejected")));
    for _ in 0..4 {
        home.world.advance(SignedDuration::from_secs(61));
        home.settle().await;
    }
    let seen = home.seen(&busy).await;
    assert_eq!((&seen["status"], home.on(BUSY).len()), (&json!("delivered"), 1), "{seen}");
    // What was refused is no turn of the line's day: those of the four messages that were taken, or never were, are.
    let paces = home.world.items_of_type("line_pace");
    let today: Vec<&str> = paces.iter().filter_map(|pace| pace["today"]["N"].as_str()).collect();
    assert_eq!(today, ["3"]);
    let outcomes: Vec<&Value> = seen["attempts"].as_array().expect("attempts").iter().map(|one| &one["outcome"]).collect();
    assert_eq!(outcomes, ["later", "later", "taken"]);
}

#[tokio::test]
async fn nobody_else_tells_anything_of_a_message_or_a_line() {
    let home = home().await;
    let sent = home.over_aws(SILENT, "Hello").await;
    let other = home.send(json!({"to": PHONE, "body": "Hello"})).await;
    home.settle().await;
    let reference = home.world.aws.phones().conversation(SILENT).expect("a phone").messages[0].reference.clone().expect("a reference");
    let event = |reference: &str| {
        json!({"eventType": "TEXT_DELIVERED", "eventTimestamp": 0, "isFinal": true, "context": {"reference": reference}}).to_string()
    };
    let (tenant_and_message, mac) = reference.rsplit_once('.').expect("a signature");
    for forged in [format!("{tenant_and_message}.{}", mac.to_uppercase()), tenant_and_message.to_owned(), String::new()] {
        home.told(&event(&forged)).await;
        assert_eq!(home.seen(&sent).await["status"], "sent", "{forged}");
    }
    // A line of a gateway's is none of AWS.
    let line = home.seen(&other).await["from"].clone();
    let stop = |line: &Value, from: &str| {
        json!({"originationNumber": from, "destinationNumber": line, "messageBody": "STOP", "inboundMessageId": "1"}).to_string()
    };
    home.told(&stop(&line, PHONE)).await;
    home.post(json!({"to": PHONE, "body": "x"})).send().await.expect(202);
    // Nor is a failure of a message that AWS has for a gateway to tell.
    let failed =
        json!({"type": "receipt", "id": "f", "at": home.world.clock.now().to_string(), "reference": reference, "status": "failed"});
    crate::messages::report(&home.world, "f", &failed).send().await.expect(202);
    assert_eq!(home.seen(&sent).await["status"], "sent");
    // What is no notice holds up nothing and is not kept.
    for nothing in ["", "{}", "[]", "Successfully validated", r#"{"eventType":"TEXT_DELIVERED"}"#, r#"{"originationNumber":7}"#] {
        home.told(nothing).await;
    }
    home.told(&stop(&json!(LINE), "INFO")).await;
    assert_eq!(home.given_up(), 0);
    // Those of our own still count, at the moment of ours at the latest.
    home.told(&event(&reference)).await;
    let seen = home.seen(&sent).await;
    assert_eq!((&seen["status"], &seen["delivered_at"]), (&json!("delivered"), &seen["created_at"]));
}

#[tokio::test]
async fn a_line_has_one_carrier_that_carries_what_it_says() {
    let home = Home::new().await;
    for (carried, why) in [
        (json!({"carrier": "aws", "capabilities": ["imessage", "sms"]}), "sms alone"),
        (json!({"carrier": "aws", "gateway": "phones", "capabilities": ["sms"]}), "either a gateway or the carrier aws"),
        (json!({"capabilities": ["sms"]}), "either a gateway or the carrier aws"),
        (json!({"carrier": "pigeon", "capabilities": ["sms"]}), "cannot be read"),
    ] {
        let mut command = json!({"command": "line-add", "phone_number": LINE, "daily_limit": 1, "per_minute_limit": 1});
        command.as_object_mut().expect("an object").extend(carried.as_object().expect("an object").clone());
        let refused = home.workers.run("operator", command).await;
        let says = refused.map_or_else(|error| error.clone(), |answer| answer.to_string());
        assert!(says.contains(why), "{carried}: {says}");
    }
}
