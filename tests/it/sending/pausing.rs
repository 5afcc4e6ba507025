//! A pause takes hold at once: in the middle of a wave, and while leads are being enrolled. What is resumed goes on where it stopped.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{CAMPAIGNS, Home, LEADS, Numbers, email, wait};
use crate::world::{Settings, id};

/// Pauses as soon as so much is there, while the workers are at it. Gives how many mails had gone when the answer came.
pub async fn paused_when(home: &Home, campaign: &str, is_time: impl Fn() -> bool) -> usize {
    let pausing = async {
        while !is_time() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        home.send(campaign, "pause").await.expect(200);
        home.sent().len()
    };
    let (before, ()) = tokio::join!(Box::pin(pausing), Box::pin(home.settle()));
    before
}

#[tokio::test]
async fn after_a_pause_in_the_middle_of_a_wave_one_mail_may_go_and_after_a_resume_the_rest() {
    let home = Home::new().await;
    let leads = home.leads(15).await;
    for mails in [1, 4, 9] {
        let before = home.sent().len();
        let campaign = home.campaign(json!([email("One")]), json!({"lead_ids": leads}), json!({"daily_limit": null})).await;
        home.send(&campaign, "start").await.expect(200);
        let at_answer = paused_when(&home, &campaign, || home.sent().len() >= before + mails).await;
        let gone = home.sent().len();
        assert!(gone <= at_answer + 1 && gone < before + leads.len(), "{at_answer} and then {gone}");
        let so_far = (gone - before) as u64;
        let numbers = home.numbers(&campaign);
        assert_eq!((numbers.sent, numbers.in_days), (so_far, so_far), "what did not go is not counted");
        home.pass(3, SignedDuration::from_mins(20)).await;
        assert_eq!((home.sent().len(), &home.status(&campaign).await["status"]), (gone, &json!("paused")));

        home.send(&campaign, "resume").await.expect(200);
        home.settle().await;
        let numbers = home.numbers(&campaign);
        assert_eq!((numbers.sent, numbers.in_days, numbers.dropped), (15, 15, 0));
        assert!(home.given(&campaign).len() == 15 && home.given(&campaign).values().all(|times| *times == 1));
        assert_eq!(home.status(&campaign).await["status"], "completed");
    }
}

/// The second mails of those who had the first before the pause, and of those who had it after, go at their own time.
#[tokio::test]
async fn a_pause_and_a_resume_within_a_second_keep_both_parts_of_a_wave() {
    let home = Home::new().await;
    let leads = home.leads(8).await;
    let sequence = json!([email("One"), wait(1, "hours"), email("Two")]);
    let campaign = home.campaign(sequence, json!({"lead_ids": leads}), json!({"daily_limit": null})).await;
    home.send(&campaign, "start").await.expect(200);
    paused_when(&home, &campaign, || home.sent().len() >= 3).await;
    home.send(&campaign, "resume").await.expect(200);
    home.settle().await;
    home.pass(4, SignedDuration::from_mins(20)).await;
    assert_eq!(home.numbers(&campaign), Numbers { sent: 16, in_days: 16, in_months: 16, ..Numbers::default() });
    assert_eq!(home.status(&campaign).await["status"], "completed");
}

#[tokio::test]
async fn after_a_pause_while_leads_are_enrolled_nothing_goes_until_the_resume() {
    let home = Home::new().await;
    let mut lists = vec![];
    for number in 0..4 {
        let list = home.post(&format!("{LEADS}/lists"), json!({"name": format!("List {number}")})).await.expect(201).json();
        lists.push(id(&list["data"]).to_owned());
    }
    // Each list begins a page of its own.
    for number in 0..12 {
        let body = json!({"email": format!("lead{number}@example.com"), "list_ids": [lists[number % 4]]});
        home.post(LEADS, body).await.expect(201);
    }
    for enrolled in [1, 4, 10] {
        let before = home.sent().len();
        let campaign = home.campaign(json!([email("One")]), json!({"list_ids": lists}), json!({"daily_limit": null})).await;
        home.send(&campaign, "start").await.expect(200);
        let at_answer = paused_when(&home, &campaign, || home.enrolments(&campaign).len() >= enrolled).await;
        assert!(home.sent().len() <= at_answer + 1);
        home.send(&campaign, "resume").await.expect(200);
        home.settle().await;
        home.pass(2, SignedDuration::from_mins(16)).await;
        assert_eq!(home.sent().len(), before + 12);
        assert!(home.given(&campaign).values().all(|times| *times == 1));
        let numbers = home.numbers(&campaign);
        assert_eq!((numbers.sent, numbers.in_days, numbers.dropped), (12, 12, 0));
        assert_eq!(home.status(&campaign).await["status"], "completed");
    }
}

/// Whatever ends it, and whoever begins it.
#[tokio::test]
async fn a_workspace_says_how_many_of_its_campaigns_are_active() {
    let home = Home::new().await;
    let leads = home.leads(2).await;
    let listed = async || home.get("/api/v1/tenant/workspaces").await[0]["stats"]["active_campaigns"].clone();
    let sequence = json!([email("One"), wait(1, "hours"), email("Two")]);
    let first = home.campaign(sequence.clone(), json!({"lead_ids": leads}), json!({"daily_limit": null})).await;
    let second = home.campaign(sequence, json!({"lead_ids": leads}), json!({"daily_limit": null})).await;
    assert_eq!(listed().await, 0);
    home.send(&first, "start").await.expect(200);
    home.send(&second, "start").await.expect(200);
    assert_eq!(listed().await, 2);
    home.settle().await;
    home.send(&second, "pause").await.expect(200);
    home.send(&second, "pause").await.expect(409);
    assert_eq!(listed().await, 1);
    home.send(&second, "resume").await.expect(200);
    assert_eq!(listed().await, 2);
    home.send(&second, "pause").await.expect(200);
    home.delete(&format!("{CAMPAIGNS}/{second}")).await;
    home.pass(3, SignedDuration::from_mins(31)).await;
    assert_eq!((home.status(&first).await["status"].clone(), listed().await), (json!("completed"), json!(0)));
}

/// The same request twice, at once or later, is answered twice and done once, also where its answer depends on what it did.
#[tokio::test]
async fn a_launch_a_pause_and_a_retry_asked_for_twice_are_done_once() {
    let home = Home::with(Settings { plans: json!({"free": {"emails_per_month": null}}), ..Settings::default() }).await;
    let leads = home.leads(90).await;
    let campaign = home.campaign(json!([email("One")]), json!({"lead_ids": leads}), json!({"daily_limit": null})).await;
    let ask = async |path: &str, body: Value, key: &str| {
        let request = home.world.post(format!("{CAMPAIGNS}/{campaign}/{path}")).token(&home.tenant.owner.token);
        request.header("idempotency-key", key).json(body).send().await
    };
    for (action, status) in [("start", "active"), ("pause", "paused"), ("resume", "active")] {
        let (one, two) = tokio::join!(ask("send", json!({"action": action}), action), ask("send", json!({"action": action}), action));
        assert_eq!((one.status, two.status, one.text == two.text), (200, 200, true), "{action}: {} {}", one.text, two.text);
        assert_eq!(ask("send", json!({"action": action}), action).await.expect(200).json()["data"]["status"], status);
        assert_eq!(home.send(&campaign, action).await.status, 409, "{action}");
    }
    home.world.aws.mailbox().refuse_next(1_000);
    home.settle().await;
    home.world.aws.mailbox().refuse_next(0);
    assert_eq!(home.numbers(&campaign).unknown, 90);
    let first = ask("retry", json!({"outcome": "unknown"}), "again").await.expect(200);
    assert_eq!(first.json()["data"], json!({"retried": 80, "has_more": true}));
    assert_eq!(ask("retry", json!({"outcome": "unknown"}), "again").await.expect(200).text, first.text);
    // Those that are named are as many, and the request that finds none keeps its answer, too.
    let named = json!({"outcome": "failed", "lead_ids": leads});
    let none = ask("retry", named.clone(), "none").await.expect(200);
    assert_eq!(none.json()["data"], json!({"retried": 0, "has_more": false}));
    let again = ask("retry", named, "none").await.expect(200);
    assert_eq!((&again.text, again.header("idempotency-replayed")), (&none.text, "true"));
    home.settle().await;
    home.pass(2, SignedDuration::from_mins(16)).await;
    assert_eq!((home.sent().len(), home.numbers(&campaign).unknown), (80, 10));
    let named = json!({"outcome": "unknown", "lead_ids": leads});
    assert_eq!(ask("retry", named, "rest").await.expect(200).json()["data"], json!({"retried": 10, "has_more": false}));
}

#[tokio::test]
async fn more_leads_than_one_transaction_takes_are_tried_again_in_two_requests() {
    let home = Home::with(Settings { plans: json!({"free": {"emails_per_month": null}}), ..Settings::default() }).await;
    let leads = home.leads(90).await;
    let campaign = home.campaign(json!([email("One")]), json!({"lead_ids": leads}), json!({"daily_limit": null})).await;
    home.send(&campaign, "start").await.expect(200);
    home.world.aws.mailbox().refuse_next(1_000);
    home.settle().await;
    home.world.aws.mailbox().refuse_next(0);
    let ask = async |key: &str| {
        let request = home.world.post(format!("{CAMPAIGNS}/{campaign}/retry")).token(&home.tenant.owner.token);
        let body = json!({"outcome": "unknown", "lead_ids": leads});
        request.header("idempotency-key", key).json(body).send().await.expect(200).json()["data"].clone()
    };
    for (key, retried, has_more) in [("one", 80, true), ("one", 80, true), ("two", 10, false), ("two", 10, false), ("three", 0, false)] {
        assert_eq!(ask(key).await, json!({"retried": retried, "has_more": has_more}), "{key}");
    }
    assert_eq!(home.numbers(&campaign).unknown, 0);
    home.pass(2, SignedDuration::from_mins(16)).await;
    assert_eq!(home.sent().len(), 90);
}

#[tokio::test]
async fn a_campaign_of_long_mails_is_launched_and_paused_with_a_key() {
    let home = Home::new().await;
    let leads = home.leads(1).await;
    let long = |subject: &str| json!({"type": "email", "subject": subject, "body": format!("<p>{}</p>", "word ".repeat(45_000))});
    let campaign = home.campaign(json!([long("One"), wait(1, "days"), long("Two")]), json!({"lead_ids": leads}), json!({})).await;
    for (action, status) in [("start", "active"), ("pause", "paused"), ("resume", "active")] {
        let request = home.world.post(format!("{CAMPAIGNS}/{campaign}/send")).token(&home.tenant.owner.token);
        let answer = request.header("idempotency-key", action).json(json!({"action": action})).send().await.expect(200);
        assert!(answer.text.len() > 400_000 && answer.json()["data"]["status"] == status);
    }
}
