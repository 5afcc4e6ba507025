//! Campaigns of messages to phones: to whom they go and what they say, that each gets one and what may not go does not, and that they can be paused, cancelled
//! and tried again at any moment.

use std::collections::BTreeSet;
use std::future::Future;

use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};
use shared::Clock;
use stack::sources::{Duplicates, Faults, Invoke, InvokeError, Sources};

use crate::messages::{Home, key_of, problem, tell};
use crate::workers::{Workers, drain, settle};
use crate::world::{Answer, Request, Settings, id, uuid_of};

const ALL: &str = "/v1/campaigns";
const NOON: &str = "2026-11-21T18:00:00Z";

impl Home {
    fn create(&self, body: Value) -> Request {
        self.world.advance(SignedDuration::from_millis(5));
        self.world.post(ALL).header("x-api-key", &self.key).json(body)
    }

    /// A campaign that was accepted.
    async fn campaign(&self, body: Value) -> String {
        id(&self.create(body).send().await.expect(202).json()["data"]).to_owned()
    }

    async fn turn(&self, campaign: &str, verb: &str) -> Answer {
        self.world.advance(SignedDuration::from_millis(5));
        self.world.post(format!("{ALL}/{campaign}/{verb}")).header("x-api-key", &self.key).send().await
    }

    async fn campaign_shown(&self, campaign: &str) -> Value {
        self.world.get(format!("{ALL}/{campaign}")).token(&self.own.owner.token).send().await.expect(200).json()["data"].clone()
    }

    /// The counts that are not zero.
    async fn counts(&self, campaign: &str) -> Value {
        let shown = self.campaign_shown(campaign).await;
        shown["counts"]
            .as_object()
            .expect("counts")
            .iter()
            .filter(|(_, n)| **n != json!(0))
            .map(|(name, n)| (name.clone(), n.clone()))
            .collect()
    }

    /// All recipients, over all pages.
    async fn recipients(&self, campaign: &str, query: &str) -> Vec<Value> {
        let (mut all, mut cursor) = (vec![], String::new());
        loop {
            let path = format!("{ALL}/{campaign}/recipients?{query}{cursor}");
            let page = self.world.get(path).token(&self.own.owner.token).send().await.expect(200).json();
            all.extend(page["data"].as_array().expect("recipients").clone());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    }

    async fn contact(&self, number: &str, more: Value) -> String {
        let mut body = json!({"phone_number": number});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let made = self.world.post("/v1/contacts").token(&self.own.owner.token).json(body).send().await.expect(201).json();
        id(&made["data"]).to_owned()
    }

    /// One turn of a campaign, without what it queues.
    async fn one_turn(&self, campaign: &str, turn: u64) {
        let body = json!({"tenant": self.own.id, "campaign_turn": {"campaign": uuid_of(campaign), "turn": turn}}).to_string();
        let event = json!({"Records": [{"messageId": "1", "body": body, "eventSource": "aws:sqs"}]});
        self.workers.run("switchboard", event).await.expect("a turn");
    }

    /// Every line may send so many in a minute.
    fn pace_lines(&self, per_minute: u64) {
        let pool = self.world.items_of_type("line_pool").remove(0);
        let [pk, sk] = ["pk", "sk"].map(|name| pool[name]["S"].as_str().expect("a key").to_owned());
        self.world.change_item(&pk, &sk, |pool| {
            for line in pool["lines"]["L"].as_array_mut().expect("lines") {
                line["M"]["per_minute_limit"] = json!({"N": per_minute.to_string()});
            }
        });
    }

    /// The counts are those of the messages, and nobody got two of a text.
    fn check(&self, campaign: &str, shown: &Value) {
        let uuid = uuid_of(campaign);
        let messages: Vec<Value> =
            self.world.items_of_type("phone_message").into_iter().filter(|item| item["campaign"]["S"] == *uuid).collect();
        let current = messages.iter().filter(|item| item["replaced_by"]["S"].is_null());
        let of = |word: &str| {
            current
                .clone()
                .filter(|item| match item["status"]["S"].as_str().expect("a status") {
                    "sending" => word == "queued",
                    "scheduled" => word == "held",
                    status => status == word,
                })
                .count()
        };
        for word in ["queued", "held", "sent", "delivered", "read", "failed", "blocked", "unknown"] {
            assert_eq!(shown["counts"][word], of(word), "{word}: {shown}");
        }
        let numbers: BTreeSet<&str> = current.clone().filter_map(|item| item["to"]["S"].as_str()).collect();
        assert_eq!(numbers.len(), current.count(), "nobody has two");
        for phone in self.world.aws.phones().phones() {
            let got = self.on(&phone.number);
            assert_eq!(got.len(), got.iter().collect::<BTreeSet<_>>().len(), "{} got {got:?}", phone.number);
        }
    }
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("+1212556{n:04}")).collect()
}

/// A plan without limits.
async fn unlimited() -> Home {
    let plans = json!({"free": {"contacts_messaged_per_day": null, "contacts_messaged_per_month": null}});
    Home::with(Settings { moment: NOON.parse().ok(), plans, ..Settings::default() }).await
}

fn marketing(recipients: Value) -> Value {
    json!({"name": "Spring", "body": "Hello", "recipients": recipients})
}

#[tokio::test]
async fn each_recipient_gets_one_message_with_the_values_of_their_contact() {
    let home = Home::new().await;
    let ada = home.contact("+12125550101", json!({"name": "Ada", "metadata": {"city": "London"}})).await;
    home.contact("+12125550102", json!({"name": "Grace", "email": "grace@example.com"})).await;
    let body = json!({
        "name": "Spring", "body": "Hi {{name}} in {{ city }}, {{phone_number}}", "data": {"city": "town", "name": "you"},
        "recipients": [ada, "+12125550102", "+12125550103", "+12125550101", ada],
    });
    let made = home.create(body).send().await.expect(202).json()["data"].clone();
    assert_eq!(
        (&made["status"], &made["recipients"], &made["message_type"], &made["channel"]),
        (&json!("sending"), &json!(3), &json!("marketing"), &json!("auto"))
    );
    let campaign = id(&made).to_owned();
    assert_eq!(home.counts(&campaign).await, json!({"total": 3, "pending": 3}));
    home.settle().await;
    let shown = home.campaign_shown(&campaign).await;
    assert_eq!((&shown["status"], shown["ended_at"].is_string()), (&json!("completed"), true), "{shown}");
    home.check(&campaign, &shown);
    assert_eq!(home.on("+12125550101"), ["Hi Ada in London, +12125550101"]);
    assert_eq!(home.on("+12125550102"), ["Hi Grace in town, +12125550102"]);
    assert_eq!(home.on("+12125550103"), ["Hi you in town, +12125550103"]);
    let recipients = home.recipients(&campaign, "limit=2").await;
    let told: Vec<_> = recipients.iter().map(|one| (&one["to"], &one["status"])).collect();
    let delivered = json!("delivered");
    assert_eq!(told, [(&json!("+12125550101"), &delivered), (&json!("+12125550102"), &delivered), (&json!("+12125550103"), &delivered)]);
    let message = recipients[0]["message_id"].as_str().expect("an id");
    let message = home.world.get(format!("/v1/messages/{message}")).token(&home.own.owner.token).send().await.expect(200).json();
    assert_eq!((&message["data"]["campaign_id"], &message["data"]["body"]), (&json!(campaign), &json!("Hi Ada in London, +12125550101")));
    let of_campaign = home.world.get(format!("/v1/messages?campaign_id={campaign}")).token(&home.own.owner.token).send().await.expect(200);
    assert_eq!(of_campaign.json()["data"].as_array().map(Vec::len), Some(3));
    let events = home.world.get("/v1/events?type=campaign.*").token(&home.own.owner.token).send().await.expect(200).json();
    let told = events["data"].as_array().expect("events").iter();
    let told: BTreeSet<_> = told.map(|event| (event["type"].as_str(), event["data"]["campaign_id"].as_str())).collect();
    let kinds = ["campaign.completed", "campaign.started"];
    assert_eq!(told, kinds.map(|kind| (Some(kind), Some(campaign.as_str()))).into());
    let list = home.world.get(format!("{ALL}?status=completed")).token(&home.own.owner.token).send().await.expect(200).json();
    assert_eq!((list["data"].as_array().map(Vec::len), &list["data"][0]["id"]), (Some(1), &json!(campaign)));
    assert_eq!(home.usage().await["messages"]["delivered"], 3);
}

#[tokio::test]
async fn a_group_is_who_is_in_it_when_the_campaign_starts() {
    let home = unlimited().await;
    let group =
        home.world.post("/v1/contact-groups").token(&home.own.owner.token).json(json!({"name": "VIP"})).send().await.expect(201).json();
    let group = id(&group["data"]).to_owned();
    let body = json!({"name": "Spring", "body": "Hi {{name}}", "group_id": group, "recipients": ["+12125559999"]});
    let empty = home.create(body.clone()).send().await.expect(400);
    assert!(problem(&empty, "group_id").contains("without contacts"), "{}", empty.text);
    let rows: Vec<Value> = numbers(260).iter().map(|number| json!({"phone_number": number, "name": "Ada"})).collect();
    let import = json!({"contacts": rows, "group_ids": [group]});
    home.world.post("/v1/contacts/import").token(&home.own.owner.token).json(import).send().await.expect(200);
    let tomorrow = json!("2026-11-22T18:00:00Z");
    let mut later = body.clone();
    later["scheduled_at"] = tomorrow;
    let campaign = home.campaign(later).await;
    let shown = home.campaign_shown(&campaign).await;
    assert_eq!((&shown["status"], &shown["recipients"], &shown["counts"]["total"]), (&json!("scheduled"), &Value::Null, &Value::Null));
    drain(&home.world, &home.workers).await;
    // One leaves, one comes.
    let contacts = home.world.get("/v1/contacts?search=%2B12125560000").token(&home.own.owner.token).send().await.expect(200).json();
    let gone = id(&contacts["data"][0]).to_owned();
    home.world.delete(format!("/v1/contacts/{gone}")).token(&home.own.owner.token).send().await.expect(200);
    home.contact("+13105550100", json!({"name": "New", "group_ids": [group]})).await;
    home.world.advance(SignedDuration::from_hours(24));
    home.sweep().await;
    let shown = home.campaign_shown(&campaign).await;
    assert_eq!((&shown["status"], &shown["recipients"]), (&json!("completed"), &json!(260)), "{shown}");
    home.check(&campaign, &shown);
    assert_eq!((home.on("+12125560000"), home.on("+13105550100")), (vec![], vec!["Hi New".to_owned()]));
    assert_eq!(home.recipients(&campaign, "limit=100&status=delivered").await.len(), 260);
    assert!(home.recipients(&campaign, "status=failed").await.is_empty());
}

#[tokio::test]
async fn a_dry_run_says_what_would_become_of_each_and_writes_nothing() {
    let home = Home::with(Settings {
        moment: NOON.parse().ok(),
        plans: json!({"free": {"contacts_messaged_per_day": 3, "contacts_messaged_per_month": 50}}),
        ..Settings::default()
    })
    .await;
    home.contact("+12125550101", json!({"name": "Ada"})).await;
    home.contact("+12125550102", json!({"name": "Bob"})).await;
    // It is night there.
    home.contact("+12125550104", json!({"timezone": "Asia/Tokyo"})).await;
    home.world.post("/v1/opt-outs").token(&home.own.owner.token).json(json!({"phone_number": "+12125550102"})).send().await.expect(201);
    let mut to = vec!["+12125550101", "+12125550102", "+12125550103", "+12125550101", "+12125550104"];
    let more = numbers(6);
    to.extend(more.iter().map(String::as_str));
    let body = json!({"name": "Spring", "body": "Hi {{name}}", "recipients": to});
    let before = home.world.items();
    let run = |body: Value| home.world.post(format!("{ALL}?dry_run=true")).token(&home.own.owner.token).json(body).send();
    let told = run(body.clone()).await.expect(200).json()["data"].clone();
    let expected = json!({
        "recipients": 10, "duplicates": 1, "opted_out": 1, "opt_out_suspected": 0, "no_consent": 0, "invalid": 8, "new_contacts": 1, "quiet_now": 0,
        "segments": 1, "minutes": 1,
    });
    assert_eq!(told, expected);
    let mut with_names = body.clone();
    with_names["data"] = json!({"name": "you"});
    let told = run(with_names.clone()).await.expect(200).json()["data"].clone();
    // Eight new contacts, three a day: the last two go the day after tomorrow, six hours and a day from now.
    let six_hours_and_a_day = (6 + 24) * 60 + 1;
    let expected = json!({
        "recipients": 10, "duplicates": 1, "opted_out": 1, "opt_out_suspected": 0, "no_consent": 0, "invalid": 0, "new_contacts": 8, "quiet_now": 1,
        "segments": 8, "minutes": six_hours_and_a_day,
    });
    assert_eq!(told, expected);
    with_names["quiet_hours"] = json!("defer");
    let told = run(with_names.clone()).await.expect(200).json()["data"].clone();
    assert_eq!((&told["new_contacts"], &told["quiet_now"], &told["segments"]), (&json!(9), &json!(1), &json!(9)));
    let kept = |items: &[Value]| {
        items
            .iter()
            .filter(|item| {
                item["type"]["S"].as_str().is_some_and(|kind| kind.starts_with("message_") || kind == "phone_message" || kind == "peer")
            })
            .count()
    };
    assert_eq!(kept(&home.world.items()), kept(&before));
    // A test key may ask, and no more.
    let test = key_of(&home.world, &home.own, "test").await;
    let by_test = |path: String| home.world.post(path).header("x-api-key", &test).json(with_names.clone()).send();
    by_test(format!("{ALL}?dry_run=true")).await.expect(200);
    by_test(ALL.to_owned()).await.expect(400);
    assert_eq!(kept(&home.world.items()), kept(&before));
}

#[tokio::test]
async fn what_may_not_go_does_not_and_says_why() {
    let home = unlimited().await;
    home.contact("+12125550101", json!({"metadata": {"code": "x"}})).await;
    home.contact("+12125550102", json!({"metadata": {"code": "x"}})).await;
    home.world.post("/v1/opt-outs").token(&home.own.owner.token).json(json!({"phone_number": "+12125550102"})).send().await.expect(201);
    let lacking = home.contact("+12125550103", json!({})).await;
    let campaign = home.campaign(json!({"name": "Spring", "body": "Use {{code}}", "recipients": ["+12125550101", "+12125550102", lacking, "+81312345678"], "data": {}})).await;
    home.settle().await;
    let shown = home.campaign_shown(&campaign).await;
    home.check(&campaign, &shown);
    assert_eq!(home.counts(&campaign).await, json!({"total": 4, "delivered": 1, "blocked": 1, "failed": 2}));
    assert_eq!(shown["status"], "completed");
    let reasons: Vec<_> = home.recipients(&campaign, "").await.iter().map(|one| (one["status"].clone(), one["reason"].clone())).collect();
    let (failed, missing) = (json!("failed"), json!("missing_template_var"));
    assert_eq!(
        reasons,
        [(json!("delivered"), Value::Null), (json!("blocked"), json!("opted_out")), (failed.clone(), missing.clone()), (failed, missing)]
    );
    // What was missing is there, and what failed goes again: with what is known now, and once.
    let path = format!("/v1/contacts/{lacking}");
    home.world.patch(path).token(&home.own.owner.token).json(json!({"metadata": {"code": "y"}})).send().await.expect(200);
    home.turn(&campaign, "retry-failed").await.expect(200);
    home.turn(&campaign, "retry-failed").await.expect(409);
    home.settle().await;
    let shown = home.campaign_shown(&campaign).await;
    home.check(&campaign, &shown);
    assert_eq!(home.counts(&campaign).await, json!({"total": 4, "delivered": 2, "blocked": 1, "failed": 1}));
    assert_eq!((home.on("+12125550103"), home.on("+12125550101")), (vec!["Use y".to_owned()], vec!["Use x".to_owned()]));
    let recipients = home.recipients(&campaign, "").await;
    assert_eq!((&recipients[2]["status"], &recipients[3]["status"]), (&json!("delivered"), &json!("failed")));
    // Nothing went out at all.
    let campaign = home.campaign(json!({"name": "Autumn", "body": "Use {{other}}", "recipients": ["+12125550101"]})).await;
    home.settle().await;
    assert_eq!(home.campaign_shown(&campaign).await["status"], "failed");
}

#[tokio::test]
async fn a_paused_campaign_sends_nothing_until_it_goes_on_and_then_each_gets_one() {
    let home = unlimited().await;
    let campaign = home.campaign(marketing(json!(numbers(130)))).await;
    home.one_turn(&campaign, 1).await;
    assert_eq!(home.counts(&campaign).await, json!({"total": 130, "pending": 30, "queued": 100}));
    home.turn(&campaign, "pause").await.expect(200);
    home.turn(&campaign, "pause").await.expect(409);
    home.settle().await;
    assert_eq!(home.counts(&campaign).await, json!({"total": 130, "pending": 30, "held": 100}));
    assert!(home.world.aws.phones().phones().is_empty());
    let held = home.recipients(&campaign, "status=held&limit=100").await;
    assert!(held.len() == 100 && held.iter().all(|one| one["reason"] == "campaign_paused"));
    // What waits is looked at each hour, and waits.
    home.world.advance(SignedDuration::from_hours(2));
    home.sweep().await;
    assert_eq!(home.counts(&campaign).await["held"], 100);
    home.turn(&campaign, "resume").await.expect(200);
    home.settle().await;
    let shown = home.campaign_shown(&campaign).await;
    assert_eq!(home.counts(&campaign).await, json!({"total": 130, "delivered": 130}));
    assert_eq!(shown["status"], "completed");
    home.check(&campaign, &shown);
    for verb in ["pause", "resume", "cancel", "retry-failed"] {
        assert_eq!(home.turn(&campaign, verb).await.expect(409).code(), "CAMPAIGN_INVALID_STATE", "{verb}");
    }
}

#[tokio::test]
async fn what_a_cancelled_campaign_has_not_sent_is_cancelled() {
    let home = unlimited().await;
    let campaign = home.campaign(marketing(json!(numbers(130)))).await;
    home.one_turn(&campaign, 1).await;
    home.turn(&campaign, "cancel").await.expect(200);
    home.settle().await;
    let shown = home.campaign_shown(&campaign).await;
    home.check(&campaign, &shown);
    assert_eq!((&shown["status"], home.counts(&campaign).await), (&json!("cancelled"), json!({"total": 130, "cancelled": 130})));
    assert!(home.world.aws.phones().phones().is_empty());
    assert_eq!(home.recipients(&campaign, "status=cancelled&limit=100").await.len(), 130);
    // The places of the plan are free again.
    assert_eq!(home.usage().await["new_contacts"]["used_this_month"], 0);
    let peers = home.world.items_of_type("peer");
    assert!(peers.iter().all(|peer| peer["place"].is_null()));
    // Before its start.
    let mut later = marketing(json!(numbers(2)));
    later["scheduled_at"] = json!("2026-11-22T18:00:00Z");
    let campaign = home.campaign(later).await;
    home.turn(&campaign, "pause").await.expect(409);
    home.turn(&campaign, "cancel").await.expect(200);
    home.world.advance(SignedDuration::from_hours(25));
    home.sweep().await;
    assert_eq!(home.campaign_shown(&campaign).await["status"], "cancelled");
    assert!(home.world.aws.phones().phones().is_empty());
}

/// Longer than a message of it would be worth anything: what has no place is not made before it has one.
#[tokio::test]
async fn new_contacts_beyond_the_day_wait_for_the_next_days() {
    let plans = json!({"free": {"contacts_messaged_per_day": 30, "contacts_messaged_per_month": 1_000}});
    let home = Home::with(Settings { moment: NOON.parse().ok(), plans, ..Settings::default() }).await;
    let known = "+12125569999";
    home.send(json!({"to": known, "body": "First"})).await;
    home.settle().await;
    // Whoever was written to before is no new contact, and does not wait for those who are.
    let to: Vec<String> = numbers(160).into_iter().chain([known.to_owned()]).collect();
    let campaign = home.campaign(marketing(json!(to))).await;
    home.settle().await;
    assert_eq!(home.on(known), ["First", "Hello"]);
    assert_eq!(home.counts(&campaign).await, json!({"total": 161, "delivered": 30, "held": 131}));
    let held = home.recipients(&campaign, "status=held&limit=100").await;
    assert!(held.len() == 131 && held.iter().all(|one| one["reason"] == "new_contact_limit" && one["message_id"].is_null()));
    assert_eq!(home.world.items_of_type("phone_message").len(), 31);
    for days in 2..=6 {
        // Nothing before the day is over.
        home.world.advance(SignedDuration::from_hours(5));
        home.sweep().await;
        assert_eq!(home.counts(&campaign).await["delivered"], 30 * (days - 1));
        home.world.advance(SignedDuration::from_hours(19));
        home.sweep().await;
        assert_eq!(home.counts(&campaign).await["delivered"], (30 * days).min(161));
    }
    let shown = home.campaign_shown(&campaign).await;
    assert_eq!(shown["status"], "completed");
    home.check(&campaign, &shown);
}

/// They were made at night, and wait for the morning and then for the plan: they go all the same.
#[tokio::test]
async fn what_waits_for_the_morning_and_for_the_plan_does_not_expire() {
    let plans = json!({"free": {"contacts_messaged_per_day": 5, "contacts_messaged_per_month": 1_000}});
    let home = Home::with(Settings { moment: "2026-11-21T06:00:00Z".parse().ok(), plans, ..Settings::default() }).await;
    let mut body = marketing(json!(numbers(24)));
    body["quiet_hours"] = json!("defer");
    let campaign = home.campaign(body).await;
    home.settle().await;
    assert_eq!(home.counts(&campaign).await, json!({"total": 24, "held": 24}));
    // Eight in the morning, and the same the next days.
    home.world.advance(SignedDuration::from_hours(8));
    for days in 1..=5 {
        home.sweep().await;
        assert_eq!(home.counts(&campaign).await["delivered"], (5 * days).min(24), "day {days}");
        home.world.advance(SignedDuration::from_hours(24));
    }
    home.sweep().await;
    let shown = home.campaign_shown(&campaign).await;
    assert_eq!(shown["status"], "completed");
    home.check(&campaign, &shown);
}

/// A queue gave up on some messages: they are queued again, and the campaign ends.
#[tokio::test]
async fn messages_whose_jobs_were_lost_go_after_all() {
    let home = unlimited().await;
    let campaign = home.campaign(marketing(json!(numbers(30)))).await;
    home.one_turn(&campaign, 1).await;
    let without = WithoutSwitchboard(home.workers.clone());
    let sources = Sources::with_faults(&home.world.template, &home.world.aws, without, Faults::default()).expect("sources");
    sources.drain().await.expect("all is given up");
    assert_eq!(home.counts(&campaign).await, json!({"total": 30, "queued": 30}));
    for _ in 0..12 {
        home.world.advance(SignedDuration::from_mins(10));
        home.sweep().await;
    }
    let shown = home.campaign_shown(&campaign).await;
    assert_eq!((&shown["status"], home.counts(&campaign).await), (&json!("completed"), json!({"total": 30, "delivered": 30})));
    home.check(&campaign, &shown);
}

#[tokio::test]
async fn a_tenant_has_a_bounded_number_of_open_campaigns_and_each_is_retried_a_few_times() {
    let home = unlimited().await;
    let mut later = marketing(json!(numbers(1)));
    later["scheduled_at"] = json!("2026-12-22T18:00:00Z");
    let planned: Vec<String> = join_all((0..49).map(|_| home.campaign(later.clone()))).await;
    let failing = home.campaign(json!({"name": "x", "body": "{{nothing}}", "recipients": numbers(2)})).await;
    assert_eq!(home.create(later.clone()).send().await.expect(403).code(), "PLAN_LIMIT_REACHED");
    home.settle().await;
    assert_eq!(home.campaign_shown(&failing).await["status"], "failed");
    // What has ended is not counted: one of these ends in another way.
    home.campaign(later.clone()).await;
    home.create(later.clone()).send().await.expect(403);
    home.turn(&planned[0], "cancel").await.expect(200);
    for _ in 0..5 {
        home.turn(&failing, "retry-failed").await.expect(200);
        home.create(later.clone()).send().await.expect(403);
        home.settle().await;
        assert_eq!(home.counts(&failing).await, json!({"total": 2, "failed": 2}));
    }
    assert_eq!(home.turn(&failing, "retry-failed").await.expect(409).code(), "CAMPAIGN_INVALID_STATE");
    home.campaign(later).await;
}

/// A campaign is a minute ahead of its lines, and takes turns of them a minute ahead: what somebody else sends does not wait behind all of it.
#[tokio::test]
async fn a_campaign_leaves_turns_to_others() {
    let home = unlimited().await;
    home.pace_lines(30);
    let campaign = home.campaign(marketing(json!(numbers(400)))).await;
    for turn in 1..=3 {
        home.one_turn(&campaign, turn).await;
    }
    // Three lines with 24 turns a minute for anything.
    let queued = home.counts(&campaign).await["queued"].as_i64().expect("a number");
    assert!((72..=175).contains(&queued), "{queued}");
    let jobs: Vec<String> =
        home.world.items_of_type("phone_message").iter().filter_map(|item| item["id"]["S"].as_str().map(str::to_owned)).collect();
    for message in &jobs {
        let body = json!({"tenant": home.own.id, "message": message}).to_string();
        let event = json!({"Records": [{"messageId": "1", "body": body, "eventSource": "aws:sqs"}]});
        home.workers.run("switchboard", event).await.expect("a message");
    }
    let now = home.world.clock.now();
    let furthest =
        home.world.items_of_type("line_pace").iter().filter_map(|pace| pace["next"]["S"].as_str()?.parse::<jiff::Timestamp>().ok()).max();
    assert!(furthest.expect("a line") <= now + SignedDuration::from_secs(65), "{furthest:?} {now}");
}

#[tokio::test]
async fn a_template_is_frozen_and_stays_as_long_as_a_scheduled_campaign_names_it() {
    let home = unlimited().await;
    let template = |name: &str, kind: &str| json!({"name": name, "channel": "both", "type": kind, "body": "Hi {{name}}"});
    let post = |body: Value| home.world.post("/v1/templates").token(&home.own.owner.token).json(body).send();
    let made = post(template("hello", "alert")).await.expect(201).json();
    post(template("code", "otp")).await.expect(201);
    let mut body = json!({"name": "Spring", "template": "hello", "data": {"name": "Ada"}, "recipients": ["+12125550101"], "scheduled_at": "2026-11-22T18:00:00Z"});
    let campaign = home.campaign(body.clone()).await;
    assert_eq!(home.campaign_shown(&campaign).await["message_type"], "alert");
    let path = format!("/v1/templates/{}", id(&made["data"]));
    assert_eq!(home.world.delete(path.clone()).token(&home.own.owner.token).send().await.expect(409).code(), "TEMPLATE_IN_USE");
    home.world.patch(path.clone()).token(&home.own.owner.token).json(json!({"body": "Other"})).send().await.expect(200);
    home.world.advance(SignedDuration::from_hours(25));
    home.sweep().await;
    assert_eq!(home.on("+12125550101"), ["Hi Ada"]);
    home.world.delete(path).token(&home.own.owner.token).send().await.expect(200);
    for (name, code) in [("hello", "INVALID_TEMPLATE"), ("code", "INVALID_TEMPLATE")] {
        body["template"] = json!(name);
        body["scheduled_at"] = json!("2026-11-24T18:00:00Z");
        assert_eq!(home.create(body.clone()).send().await.expect(400).code(), code, "{name}");
    }
}

#[tokio::test]
async fn every_wrong_field_is_named_and_nothing_is_written() {
    let home = Home::new().await;
    let before = home.world.items_of_type("message_campaign").len();
    let (hello, ada) = ("Hello", "+12125550101");
    let foreign = home.world.tenant("globex").await;
    let theirs =
        home.world.post("/v1/contacts").token(&foreign.owner.token).json(json!({"phone_number": ada})).send().await.expect(201).json();
    let theirs = id(&theirs["data"]).to_owned();
    let ten_thousand_and_one: Vec<String> = (0..10_001).map(|n| format!("+1212{n:07}")).collect();
    for (body, field) in [
        (json!({"body": hello, "recipients": [ada]}), "name"),
        (json!({"name": "x", "recipients": [ada]}), "body"),
        (json!({"name": "x", "body": hello, "template": "hello", "recipients": [ada]}), "body"),
        (json!({"name": "x", "body": "{{", "recipients": [ada]}), "body"),
        (json!({"name": "x", "body": "x".repeat(1_601), "recipients": [ada]}), "body"),
        (json!({"name": "x", "body": hello}), "recipients"),
        (json!({"name": "x", "body": hello, "recipients": []}), "recipients"),
        (json!({"name": "x", "body": hello, "recipients": ada}), "recipients"),
        (json!({"name": "x", "body": hello, "recipients": [ada, "5551234567"]}), "recipients"),
        (json!({"name": "x", "body": hello, "recipients": [ada, 5]}), "recipients"),
        (json!({"name": "x", "body": hello, "recipients": [ada, theirs]}), "recipients"),
        (json!({"name": "x", "body": hello, "recipients": ten_thousand_and_one}), "recipients"),
        (json!({"name": "x", "body": hello, "recipients": [ada], "scheduled_at": "2026-11-20T18:00:00Z"}), "scheduled_at"),
        (json!({"name": "x", "body": hello, "recipients": [ada], "scheduled_at": "2027-11-20T18:00:00Z"}), "scheduled_at"),
        (json!({"name": "x", "body": hello, "recipients": [ada], "channel": "fax"}), "channel"),
        (json!({"name": "x", "body": hello, "recipients": [ada], "quiet_hours": "never"}), "quiet_hours"),
        (json!({"name": "x", "body": hello, "recipients": [ada], "data": {"a": []}}), "data.a"),
        (json!({"name": "x", "body": hello, "recipients": [ada], "colour": "red"}), "colour"),
        (json!({"name": "x", "body": hello, "group_id": "grp_1"}), "group_id"),
    ] {
        let short = body.to_string().chars().take(120).collect::<String>();
        let answer = home.create(body).send().await.expect(400);
        assert!(answer.details()[field].is_array(), "{short}: {}", answer.text);
    }
    let named = home.create(json!({"name": "x", "body": hello, "recipients": [ada, theirs]})).send().await.expect(400);
    assert!(problem(&named, "recipients").contains("[1]"), "{}", named.text);
    let group = "grp_0198c0de000070008000000000000000";
    home.create(json!({"name": "x", "body": hello, "group_id": group})).send().await.expect(404);
    home.world.get(format!("{ALL}?status=draft")).token(&home.own.owner.token).send().await.expect(400);
    home.world.post(format!("{ALL}?dry_run=perhaps")).token(&home.own.owner.token).json(marketing(json!([ada]))).send().await.expect(400);
    assert_eq!(home.world.items_of_type("message_campaign").len(), before);
    // Without a line that carries it.
    let bare = crate::world::World::new().await;
    let own = bare.tenant("acme").await;
    let none = bare.post(ALL).token(&own.owner.token).json(marketing(json!([ada]))).send().await.expect(503);
    assert_eq!(none.code(), "NO_PHONE_AVAILABLE");
}

#[tokio::test]
async fn a_repeat_makes_no_second_campaign_and_of_racers_for_a_state_one_wins() {
    let home = unlimited().await;
    let once = || home.world.post(ALL).header("x-api-key", &home.key).header("idempotency-key", "one").json(marketing(json!(numbers(40))));
    let answers = join_all((0..4).map(|_| once().send())).await;
    let made: BTreeSet<String> =
        answers.iter().filter(|answer| answer.status == 202).map(|answer| id(&answer.json()["data"]).to_owned()).collect();
    assert_eq!(made.len(), 1);
    let campaign = made.into_iter().next().expect("one");
    assert_eq!(id(&once().send().await.expect(202).json()["data"]), campaign);
    assert_eq!(home.world.items_of_type("message_campaign").len(), 1);
    let verbs = ["pause", "cancel", "pause", "cancel"];
    let answers = join_all(verbs.iter().map(|verb| home.turn(&campaign, verb))).await;
    let won: Vec<_> = verbs.iter().zip(&answers).filter(|(_, answer)| answer.status == 200).map(|(verb, _)| *verb).collect();
    assert_eq!(won.iter().filter(|verb| **verb == "cancel").count(), 1, "{won:?}");
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 409)));
    settle(&home.world, &home.workers, Faults::default()).await;
    assert_eq!(home.counts(&campaign).await["cancelled"], 40);
}

/// Jobs and records twice, at once and in any order: each gets one message, and all numbers are right.
#[tokio::test]
async fn whatever_comes_twice_or_late_each_gets_one() {
    for (seed, duplicates) in [(1, Duplicates::Again), (2, Duplicates::AtOnce)] {
        let home = unlimited().await;
        let campaign = home.campaign(marketing(json!(numbers(120)))).await;
        let faults = Faults { seed, duplicates, reorder: true, ..Faults::default() };
        settle(&home.world, &home.workers, faults).await;
        while tell(&home.world).await > 0 {
            drain(&home.world, &home.workers).await;
        }
        let shown = home.campaign_shown(&campaign).await;
        home.check(&campaign, &shown);
        assert_eq!(home.counts(&campaign).await, json!({"total": 120, "delivered": 120}));
        assert_eq!(home.usage().await["messages"]["delivered"], 120);
    }
}

/// The workers without the switchboard.
#[derive(Clone)]
struct WithoutSwitchboard(Workers);

impl Invoke for WithoutSwitchboard {
    fn invoke(&self, function: &str, payload: Value) -> impl Future<Output = Result<Value, InvokeError>> + Send {
        let (workers, function) = (self.0.clone(), function.to_owned());
        async move {
            if function == "switchboard" {
                return Err(InvokeError::Failed { function, message: "it is not there".into() });
            }
            workers.invoke(&function, payload).await
        }
    }
}

/// A turn that was given up is given again.
#[tokio::test]
async fn a_campaign_whose_turn_was_lost_goes_on() {
    let home = unlimited().await;
    let campaign = home.campaign(marketing(json!(numbers(30)))).await;
    let without = WithoutSwitchboard(home.workers.clone());
    let sources = Sources::with_faults(&home.world.template, &home.world.aws, without, Faults::default()).expect("sources");
    sources.drain().await.expect("all is given up");
    let letters = home.world.aws.queues().depth("tenantry-local-BulkDeadLetters").expect("a queue");
    assert_eq!((letters.visible, home.counts(&campaign).await), (1, json!({"total": 30, "pending": 30})));
    home.settle().await;
    assert_eq!(home.counts(&campaign).await["pending"], 30);
    home.world.advance(SignedDuration::from_mins(13));
    home.sweep().await;
    assert_eq!(home.counts(&campaign).await, json!({"total": 30, "delivered": 30}));
}
