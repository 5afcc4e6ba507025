//! Whoever dies at whatever wait: no phone gets a message twice, none is lost, and what is unknown is listed.

use jiff::SignedDuration;
use serde_json::{Value, json};
use stack::sources::{Duplicates, Faults};

use super::ledger::{Ledger, Limits};
use super::{ALL, Death, Town, cut, text};
use crate::messages::{report, tell};
use crate::world::{Settings, uuid_of};

/// One has all channels, one has no iMessage, one has only SMS.
const PHONES: [&str; 3] = ["+12025550120", "+12025550196", "+12025550197"];
/// A line of AWS End User Messaging.
const AWS: &str = "+12025550105";

async fn town() -> (Town, Ledger) {
    let no_limits = json!({"contacts_messaged_per_day": null, "contacts_messaged_per_month": null, "messages_per_day": null});
    let settings = Settings { plans: json!({"free": no_limits}), moment: "2026-11-03T12:00:00Z".parse().ok(), ..Settings::default() };
    (Town::new(2, settings).await, Ledger::new(Limits { new_contacts: i64::MAX, messages: i64::MAX }))
}

/// One message to each phone.
async fn send(town: &Town, firm: usize, text: &str) {
    for to in PHONES {
        town.post(firm, json!({"to": to, "body": text, "message_type": "alert", "valid_for_seconds": 86_400})).send().await.expect(202);
    }
}

/// The same by a campaign.
async fn send_campaign(town: &Town, firm: usize, text: &str) {
    let template = json!({"name": "news", "channel": "both", "type": "alert", "body": "{{text}}"});
    town.ask(firm, "POST", "/v1/templates").json(template).send().await;
    let body = json!({"name": text, "template": "news", "data": {"text": text}, "recipients": PHONES});
    town.ask(firm, "POST", "/v1/campaigns").json(body).send().await.expect(202);
}

/// All campaigns have ended, and their counts are those of their messages.
async fn check_campaigns(town: &Town, context: &str) {
    for campaign in town.world.items_of_type("message_campaign") {
        let path = format!("/v1/campaigns/cmp_{}", text(&campaign, "id").replace('-', ""));
        let shown = town.ask(0, "GET", &path).send().await.expect(200).json()["data"].clone();
        assert_eq!((&shown["status"], &shown["counts"]["delivered"]), (&json!("completed"), &json!(PHONES.len())), "{context}: {shown}");
    }
}

/// All arrived once, and the numbers are those of the messages.
async fn check(town: &Town, ledger: &mut Ledger, sent: usize, context: &str) {
    ledger.follow(town);
    assert!(ledger.faults.is_empty(), "{context}: {:#?}", ledger.faults);
    let open: Vec<Value> =
        town.messages(0).into_iter().filter(|one| text(one, "status") != "delivered" && text(one, "direction") == "outbound").collect();
    assert_eq!(open, Vec::<Value>::new(), "{context}");
    let arrived = town.arrived();
    for phone in PHONES {
        let texts: Vec<&str> = arrived.iter().filter(|(number, _)| number == phone).map(|(_, message)| message.text.as_str()).collect();
        assert_eq!(texts.len(), sent, "{context}: {phone} got {texts:?}");
    }
}

/// Sends until a worker comes to the end without its death. Gives how often it died: how often a run waits differs from machine to machine, so whoever asks
/// for a number asks for far less than there are on a fast one.
async fn die_everywhere(of: &'static str, by_campaign: bool, first: usize, step: usize, faults: Faults) -> usize {
    let (town, mut ledger) = town().await;
    let mut deaths = 0;
    for waits in (first..).step_by(step) {
        let context = format!("{of} died after {waits} waits");
        match by_campaign {
            true => send_campaign(&town, 0, &context).await,
            false => send(&town, 0, &context).await,
        }
        town.crew.dies(Death { of, waits });
        town.drain(faults.clone()).await;
        let lives = town.crew.lives();
        town.settle().await;
        check(&town, &mut ledger, deaths + 1, &context).await;
        check_campaigns(&town, &context).await;
        deaths += 1;
        if lives {
            break;
        }
        assert!(waits < 2_000);
    }
    town.check_letters(of);
    town.check_usage(0, of).await;
    ledger.compare(&town);
    deaths - 1
}

#[tokio::test]
async fn a_switchboard_that_dies_anywhere_loses_nothing_and_sends_nothing_twice() {
    let deaths = die_everywhere("switchboard", false, 1, 7, Faults::default()).await;
    assert!(deaths > 4, "{deaths}");
}

#[tokio::test]
async fn a_switchboard_that_dies_beside_another_one_loses_nothing_either() {
    let faults = Faults { seed: 3, duplicates: Duplicates::AtOnce, reorder: true, ..Faults::default() };
    let deaths = die_everywhere("switchboard", false, 2, 11, faults).await;
    assert!(deaths > 2, "{deaths}");
}

#[tokio::test]
async fn a_campaign_whose_switchboard_dies_anywhere_reaches_each_once() {
    let deaths = die_everywhere("switchboard", true, 1, 7, Faults::default()).await;
    assert!(deaths > 4, "{deaths}");
}

#[tokio::test]
async fn a_campaign_whose_relay_dies_anywhere_reaches_each_once() {
    let deaths = die_everywhere("relay", true, 1, 3, Faults::default()).await;
    assert!(deaths > 2, "{deaths}");
}

#[tokio::test]
async fn a_relay_that_dies_anywhere_loses_no_message() {
    let deaths = die_everywhere("relay", false, 1, 2, Faults::default()).await;
    assert!(deaths > 2, "{deaths}");
}

/// What phones tell is taken once, whenever the function that takes it dies.
#[tokio::test]
async fn reports_whose_taker_dies_anywhere_are_taken_once() {
    let (town, mut ledger) = town().await;
    send(&town, 0, "0").await;
    town.settle().await;
    let phones = town.world.aws.phones().clone();
    let (mut said, mut waits) = (0, 1);
    loop {
        send(&town, 0, &waits.to_string()).await;
        town.drain(Faults::default()).await;
        for phone in PHONES {
            town.world.advance(SignedDuration::from_millis(5));
            phones.say(phone, None, ["STOP", "START"][said % 2]).expect("said");
        }
        said += 1;
        let (told, _) = cut(tell(&town.world), waits).await;
        town.settle().await;
        let received = town.messages(0).iter().filter(|one| text(one, "direction") == "inbound").count();
        assert_eq!(received, said * PHONES.len(), "after {waits} waits");
        // Each step of a number is answered once.
        let answers = town.messages(0).iter().filter(|one| one["is_confirmation"]["BOOL"] == true).count();
        assert_eq!(answers, said * PHONES.len(), "after {waits} waits");
        // They are to be written to again.
        if said % 2 == 1 {
            for phone in PHONES {
                town.world.advance(SignedDuration::from_millis(5));
                phones.say(phone, None, "START").expect("said");
            }
            said += 1;
            town.settle().await;
        }
        check(&town, &mut ledger, 1 + waits + said, &format!("after {waits} waits")).await;
        if told.is_some() {
            break;
        }
        waits += 1;
    }
    assert!(waits > 3, "{waits}");
    town.check_usage(0, "reports").await;
}

/// With its key, a request whose function died is the same request again.
#[tokio::test]
async fn a_request_that_dies_anywhere_sends_one_message_when_it_comes_again() {
    let (town, mut ledger) = town().await;
    for waits in 1.. {
        let post = |to: &str| {
            let body = json!({"to": to, "body": waits.to_string()});
            town.post(0, body).header("idempotency-key", &format!("{to}{waits}")).send()
        };
        let mut is_done = true;
        for to in PHONES {
            let (first, _) = cut(post(to), waits).await;
            let again = post(to).await.expect(202);
            is_done &= first.is_some();
            if let Some(first) = first {
                assert_eq!(first.text, again.text);
            }
        }
        town.settle().await;
        check(&town, &mut ledger, waits, &format!("after {waits} waits")).await;
        if is_done {
            assert!(waits > 1, "{waits}");
            break;
        }
    }
    town.check_usage(0, "requests").await;
}

/// STOP comes while nobody knows whether a message went out: it is not asked about any more, is listed, and a report heals it.
#[tokio::test]
async fn only_what_was_given_away_without_an_answer_is_unknown_and_it_is_listed() {
    let (town, mut ledger) = town().await;
    let phones = town.world.aws.phones().clone();
    let [phone, ..] = PHONES;
    town.post(0, json!({"to": phone, "body": "0"})).send().await.expect(202);
    town.settle().await;
    let line = phones.conversation(phone).expect("a phone").messages[0].line.clone();
    // What somebody says overtakes the receipts of their phone.
    let say = async |text: &str, waits: usize| {
        town.world.advance(SignedDuration::from_millis(5));
        let (id, at) = (format!("{text}{waits}"), town.now().to_string());
        let event = json!({"type": "inbound", "id": id, "at": at, "line": line, "peer": phone, "text": text});
        assert_eq!(report(&town.world, &id, &event).send().await.expect(202).json()["data"]["accepted"], 1);
    };
    let (mut healed, mut stopped) = (0, 0);
    for waits in (1..).step_by(3) {
        let sent = town.post(0, json!({"to": phone, "body": waits.to_string()})).send().await.expect(202).json()["data"].clone();
        let path = format!("{ALL}/{}", sent["message_id"].as_str().expect("an id"));
        let lives = cut_off(&town, sent["message_id"].as_str().expect("an id"), waits).await;
        say("STOP", waits).await;
        let has_it = phones.conversation(phone).expect("a phone").messages.iter().any(|one| one.id == sent["message_id"]);
        town.drain(Faults::default()).await;
        let shown = town.ask(0, "GET", &path).send().await.expect(200).json()["data"].clone();
        let list = town.ask(0, "GET", &format!("{ALL}?status=unknown")).send().await.expect(200).json();
        let listed: Vec<&Value> = list["data"].as_array().into_iter().flatten().map(|one| &one["id"]).collect();
        let status = shown["status"].as_str().expect("a status");
        assert_eq!(status == "unknown", listed.contains(&&sent["message_id"]), "{waits}: {shown}");
        match status {
            "blocked" => {
                assert!(!has_it, "{waits}: {shown}");
                stopped += 1;
            }
            "unknown" | "sent" => {}
            other => panic!("{waits}: {other}"),
        }
        town.settle().await;
        let shown = town.ask(0, "GET", &path).send().await.expect(200).json()["data"].clone();
        match shown["status"].as_str().expect("a status") {
            "delivered" => {
                assert!(has_it, "{waits}: {shown}");
                healed += usize::from(status == "unknown");
            }
            "unknown" => assert!(!has_it, "{waits}: {shown}"),
            "blocked" => {}
            other => panic!("{waits}: {other}"),
        }
        ledger.follow(&town);
        assert!(ledger.faults.is_empty(), "{waits}: {:#?}", ledger.faults);
        say("START", waits).await;
        town.settle().await;
        if lives {
            break;
        }
    }
    // Whether a death falls between the call and its answer is a matter of time.
    assert!(stopped > 0, "{stopped} were stopped, {healed} healed");
    town.check_usage(0, "unknown").await;
}

/// One job of the switchboard, whose worker dies.
async fn cut_off(town: &Town, message: &str, waits: usize) -> bool {
    let body = json!({"tenant": town.firms[0].tenant, "message": uuid_of(message)}).to_string();
    let event = json!({"Records": [{"messageId": "1", "body": body, "eventSource": "aws:sqs"}]});
    cut(town.crew.workers.run("switchboard", event), waits).await.0.is_some()
}

/// AWS takes a message as often as it is given it. Whoever dies: no phone gets one twice, and what it was not given is known for certain after three days.
#[tokio::test]
async fn a_switchboard_that_dies_anywhere_gives_aws_nothing_twice() {
    let (town, mut ledger) = town().await;
    let line = json!({"command": "line-add", "phone_number": AWS, "capabilities": ["sms"], "carrier": "aws", "active": true,
        "daily_limit": 20_000, "per_minute_limit": 6_000});
    town.crew.workers.run("operator", line).await.expect("a line");
    let mut deaths = 0;
    for waits in (1..).step_by(3) {
        for to in PHONES {
            let body = json!({"to": to, "body": waits.to_string(), "channel": "sms", "from_number": AWS, "valid_for_seconds": 86_400});
            town.post(0, body).send().await.expect(202);
        }
        town.crew.dies(Death { of: "switchboard", waits });
        town.drain(Faults::default()).await;
        let lives = town.crew.lives();
        town.settle().await;
        ledger.follow(&town);
        assert!(ledger.faults.is_empty(), "{waits}: {:#?}", ledger.faults);
        if lives {
            break;
        }
        deaths += 1;
        assert!(waits < 2_000);
    }
    assert!(deaths > 4, "{deaths}");
    let unknown = town.messages(0).iter().filter(|one| text(one, "status") == "unknown").count();
    assert!(unknown <= deaths, "{unknown} of {deaths}");
    town.pass(SignedDuration::from_hours(74), &Faults::default()).await;
    let arrived = town.arrived();
    for message in town.messages(0) {
        let times = arrived.iter().filter(|(number, one)| number == text(&message, "to") && one.text == text(&message, "body")).count();
        let became = (text(&message, "status"), text(&message, "reason"));
        let expected = if times == 1 { ("delivered", "") } else { ("failed", "never_accepted") };
        assert!(times < 2 && became == expected, "{times} times: {became:?}");
    }
    town.check_letters("AWS");
    town.check_usage(0, "AWS").await;
}
