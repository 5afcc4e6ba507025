//! Messages to phones, from the request to the phone and back: sent once, reported in any order, ended by STOP, bounded by plan, hours and lines.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};
use shared::Clock;
use stack::phones::{Direction, Switch};
use stack::sources::Faults;

use crate::workers::{Workers, drain, settle};
use crate::world::{Answer, Request, Settings, Tenant, World, uuid_of};

const ALL: &str = "/v1/messages";
const PHONE: &str = "+15551234567";
const NOON: &str = "2026-11-21T18:00:00Z";

/// A deployment with lines, phones, and one tenant with a key.
pub struct Home {
    pub world: World,
    pub workers: Workers,
    pub own: Tenant,
    pub key: String,
}

impl Home {
    pub async fn new() -> Self {
        Home::with(Settings { moment: Some(NOON.parse().unwrap()), ..Settings::default() }).await
    }

    pub async fn with(settings: Settings) -> Self {
        let world = World::with(settings).await;
        let workers = Workers::on(&world);
        stack::phone_lines::seed(world.aws.phones(), &workers, "http://127.0.0.1:1").await.expect("lines");
        let own = world.tenant("acme").await;
        let key = key_of(&world, &own, "live").await;
        Home { world, workers, own, key }
    }

    pub fn post(&self, body: Value) -> Request {
        self.world.advance(SignedDuration::from_millis(5));
        self.world.post(ALL).header("authorization", &format!("Bearer {}", self.key)).json(body)
    }

    pub async fn send(&self, body: Value) -> Value {
        self.post(body).send().await.expect(202).json()["data"].clone()
    }

    async fn say(&self, to: &str, body: &str) -> Value {
        self.send(json!({"to": to, "body": body})).await
    }

    async fn shown(&self, message: &Value) -> Value {
        let path = format!("{ALL}/{}", message["message_id"].as_str().unwrap_or_default());
        self.world.get(path).token(&self.own.owner.token).send().await.expect(200).json()["data"].clone()
    }

    /// Everything goes on until nothing is left to do, and the phones tell what they have to tell.
    pub async fn settle(&self) {
        for _ in 0..3 {
            drain(&self.world, &self.workers).await;
            self.tell().await;
        }
        drain(&self.world, &self.workers).await;
    }

    async fn tell(&self) -> usize {
        tell(&self.world).await
    }

    pub async fn sweep(&self) {
        self.workers.run("switchboard", json!({"task": "sweep"})).await.expect("a sweep");
        self.settle().await;
    }

    /// What came to a phone.
    pub fn on(&self, phone: &str) -> Vec<String> {
        let conversation = self.world.aws.phones().conversation(phone);
        let messages = conversation.map(|phone| phone.messages).unwrap_or_default();
        messages
            .into_iter()
            .filter(|message| message.direction == Direction::Outbound && !message.held)
            .map(|message| message.text)
            .collect()
    }

    /// What the gateway reports.
    fn report(&self, id: &str, events: Value) -> Request {
        report(&self.world, id, &events)
    }

    /// What the tenant sent today, from all lines together.
    async fn sent_today(&self) -> u64 {
        let lines = self.world.get("/v1/phone-lines").token(&self.own.owner.token).send().await.expect(200).json();
        lines["data"].as_array().expect("lines").iter().map(|line| line["sent_today"].as_u64().expect("a number")).sum()
    }

    pub async fn usage(&self) -> Value {
        self.world.get("/v1/billing/usage").token(&self.own.owner.token).send().await.expect(200).json()["data"].clone()
    }
}

/// The phones tell all that they have to tell.
pub async fn tell(world: &World) -> usize {
    let told = world.aws.phones().play(async |request| {
        let (head, body) = request.into_parts();
        let mut told = world.post(head.uri.path().to_owned()).raw(&body);
        for (name, value) in &head.headers {
            told = told.header(name.as_str(), value.to_str().expect("text"));
        }
        Ok(told.send().await.status)
    });
    told.await.expect("phones")
}

/// What the gateway of the phones reports, signed.
pub fn report(world: &World, id: &str, events: &Value) -> Request {
    let gateways = world.items_of_type("gateway");
    let [gateway] = gateways.as_slice() else { panic!("one gateway") };
    let gateway = format!("gw_{}", gateway["id"]["S"].as_str().expect("an id").replace('-', ""));
    let (now, body) = (world.clock.now(), events.to_string());
    let secret = shared::model::shared_secret::SharedSecret::parse(&world.aws.phones().secret()).expect("a secret");
    let request = world.post(format!("/v1/gateways/{gateway}/events")).raw(body.as_bytes()).header("webhook-id", id);
    let request = request.header("webhook-timestamp", &now.as_second().to_string());
    request.header("webhook-signature", &secret.sign(id, now, body.as_bytes()))
}

pub async fn key_of(world: &World, tenant: &Tenant, environment: &str) -> String {
    let body = json!({"name": "app", "environment": environment});
    let made = world.post("/v1/api-keys").token(&tenant.owner.token).json(body).send().await.expect(201).json();
    made["data"]["key"].as_str().expect("a key").to_owned()
}

pub fn problem(answer: &Answer, field: &str) -> String {
    answer.details()[field][0].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn the_documented_request_sends_a_message() {
    let home = Home::new().await;
    let sent = home.send(json!({"to": PHONE, "channel": "auto", "body": "Hello from my tenant"})).await;
    assert_eq!((&sent["status"], &sent["channel"], &sent["estimated_delivery_ms"]), (&json!("queued"), &json!("imessage"), &json!(2000)));
    assert_eq!(
        (&sent["to"], &sent["reason"], &sent["sandbox"], &sent["segments"]),
        (&json!(PHONE), &Value::Null, &json!(false), &json!(1))
    );
    assert!(sent["message_id"].as_str().unwrap().starts_with("msg_"));
    home.settle().await;
    assert_eq!(home.on(PHONE), ["Hello from my tenant"]);
    let shown = home.shown(&sent).await;
    assert_eq!((&shown["status"], &shown["from"]), (&json!("delivered"), &sent["from"]));
    assert_eq!((&shown["attempts"][0]["outcome"], &shown["attempts"][0]["channel"]), (&json!("taken"), &json!("imessage")));
    let usage = home.usage().await;
    assert_eq!(usage["messages"], json!({"sent": 1, "delivered": 1, "failed": 0, "blocked": 0}));
    assert_eq!((&usage["channels"]["imessage"], &usage["new_contacts"]["used_today"]), (&json!(1), &json!(1)));
    // Somebody reads it.
    home.world.aws.phones().look(PHONE).expect("a look");
    home.settle().await;
    assert_eq!(home.shown(&sent).await["status"], "read");
    assert_eq!(home.usage().await["messages"], json!({"sent": 1, "delivered": 1, "failed": 0, "blocked": 0}));
}

#[tokio::test]
async fn stop_silences_the_number_for_that_tenant_and_start_brings_it_back() {
    let home = Home::new().await;
    let other = home.world.tenant("globex").await;
    let theirs = key_of(&home.world, &other, "live").await;
    home.say(PHONE, "One").await;
    home.settle().await;
    home.world.aws.phones().say(PHONE, None, "Stop.").expect("said");
    home.settle().await;
    let on = home.on(PHONE);
    assert_eq!((on.len(), on[1].contains("unsubscribed")), (2, true), "{on:?}");
    let refused = home.post(json!({"to": PHONE, "body": "Two"})).header("idempotency-key", "k").send().await.expect(403);
    assert_eq!(refused.code(), "RECIPIENT_OPTED_OUT");
    // The same answer for the same key, and one row.
    let again = home.post(json!({"to": PHONE, "body": "Two"})).header("idempotency-key", "k").send().await.expect(403);
    assert_eq!((again.text.as_str(), again.header("idempotency-replayed")), (refused.text.as_str(), "true"));
    let list = format!("{ALL}?status=blocked");
    let blocked = home.world.get(list).token(&home.own.owner.token).send().await.expect(200).json();
    assert_eq!(blocked["data"].as_array().map(Vec::len), Some(1));
    assert_eq!((&blocked["data"][0]["reason"], &blocked["data"][0]["body"]), (&json!("opted_out"), &json!("Two")));
    assert_eq!(home.usage().await["messages"]["blocked"], 1);
    // A second STOP is silent.
    home.world.aws.phones().say(PHONE, None, "STOP").expect("said");
    home.settle().await;
    assert_eq!(home.on(PHONE).len(), 2);
    // Another tenant's messages arrive, by another line.
    let theirs = home.world.post(ALL).header("x-api-key", &theirs).json(json!({"to": PHONE, "body": "Theirs"})).send().await.expect(202);
    home.settle().await;
    assert_eq!(home.on(PHONE).last().map(String::as_str), Some("Theirs"), "{}", theirs.text);
    let line = home.world.aws.phones().conversation(PHONE).unwrap().messages[0].line.clone();
    // What comes in one millisecond has no order.
    home.world.advance(SignedDuration::from_millis(5));
    home.world.aws.phones().say(PHONE, Some(&line), "START").expect("said");
    home.settle().await;
    assert!(home.on(PHONE).last().is_some_and(|text| text.contains("you will get messages again")));
    home.say(PHONE, "Three").await;
    home.settle().await;
    assert_eq!(home.on(PHONE).last().map(String::as_str), Some("Three"));
    // START of somebody who has not opted out is an ordinary message.
    let before = home.on(PHONE).len();
    home.world.advance(SignedDuration::from_millis(5));
    home.world.aws.phones().say(PHONE, Some(&line), "yes").expect("said");
    home.settle().await;
    assert_eq!(home.on(PHONE).len(), before);
    let received = home.world.get(format!("{ALL}?direction=inbound")).token(&home.own.owner.token).send().await.expect(200).json();
    let said: Vec<&str> = received["data"].as_array().unwrap().iter().map(|one| one["body"].as_str().unwrap()).collect();
    assert_eq!(said, ["yes", "START", "STOP", "Stop."]);
}

#[tokio::test]
async fn nothing_is_claimed_after_a_stop_that_came_in_between() {
    let home = Home::new().await;
    home.say(PHONE, "One").await;
    home.settle().await;
    let two = home.say(PHONE, "Two").await;
    home.world.aws.phones().say(PHONE, None, "STOP").expect("said");
    home.tell().await;
    home.settle().await;
    let shown = home.shown(&two).await;
    assert_eq!((&shown["status"], &shown["reason"]), (&json!("blocked"), &json!("opted_out")));
    assert!(!home.on(PHONE).contains(&"Two".to_owned()));
    assert_eq!(home.usage().await["messages"], json!({"sent": 2, "delivered": 2, "failed": 0, "blocked": 1}));
}

#[tokio::test]
async fn words_that_seem_to_say_no_end_marketing_and_nothing_else() {
    let home = Home::new().await;
    home.say(PHONE, "One").await;
    home.settle().await;
    home.world.aws.phones().say(PHONE, None, "please stop texting me").expect("said");
    home.settle().await;
    let marketing = home.send(json!({"to": PHONE, "body": "Sale", "message_type": "marketing"})).await;
    assert_eq!((&marketing["status"], &marketing["reason"]), (&json!("blocked"), &json!("opt_out_suspected")));
    assert_eq!(home.say(PHONE, "Your code").await["status"], "queued");
}

#[tokio::test]
async fn a_number_that_never_wrote_to_the_line_reaches_nobody() {
    let home = Home::new().await;
    home.world.aws.phones().say("+15557654321", Some(stack::phone_lines::LINES[0]), "Hello?").expect("said");
    assert_eq!(home.tell().await, 1);
    assert!(home.world.items_of_type("phone_message").is_empty());
}

/// An operator says whom it is for. From then on the conversation is that tenant's.
#[tokio::test]
async fn what_nobody_asked_for_is_kept_until_an_operator_says_whose_it_is() {
    let home = Home::new().await;
    let ([line, other, ..], caller) = (stack::phone_lines::LINES, "+15557654321");
    let say = async |number: &str, line: &str, text: &str| {
        home.world.advance(SignedDuration::from_millis(5));
        home.world.aws.phones().say(number, Some(line), text).expect("said");
        home.settle().await;
    };
    let command = async |command: Value| home.workers.run("operator", command).await;
    let unclaimed = async || command(json!({"command": "unclaimed-list"})).await.expect("a list")["messages"].clone();
    let attribute = async |number: &str, line: &str, tenant: &str| {
        command(json!({"command": "unclaimed-attribute", "phone_number": number, "line": line, "tenant": tenant})).await
    };
    say(caller, line, "Hello?").await;
    say(caller, line, "Is anybody there?").await;
    say(caller, other, "On another line").await;
    // A gateway that repeats itself says nothing more.
    let at = home.world.clock.now().to_string();
    let event = json!({"type": "inbound", "id": "twice", "at": at, "line": line, "peer": "+15557650000", "text": "Twice"});
    for _ in 0..2 {
        home.report("once", event.clone()).send().await.expect(202);
    }
    let texts: Vec<Value> = unclaimed().await.as_array().expect("messages").iter().map(|one| one["text"].clone()).collect();
    let in_order = |texts: &[Value]| texts.iter().filter(|text| **text != "On another line").cloned().collect::<Vec<_>>();
    assert_eq!((texts.len(), in_order(&texts)), (4, vec![json!("Twice"), json!("Is anybody there?"), json!("Hello?")]));

    for (number, line, tenant, why) in [
        ("5557654321", line, home.own.slug.as_str(), "phone_number"),
        (caller, "+12025559999", home.own.slug.as_str(), "no such line"),
        (caller, line, "nobody", "no tenant"),
    ] {
        let refused = attribute(number, line, tenant).await.expect_err("a refusal");
        assert!(refused.contains(why), "{refused}");
    }
    let given = attribute(caller, line, &home.own.slug).await.expect("it is theirs");
    assert_eq!((&given["messages"], &given["has_more"]), (&json!(2), &json!(false)));
    // Once more changes nothing.
    assert_eq!(attribute(caller, line, &home.own.slug).await.expect("it is theirs")["messages"], 0);
    home.settle().await;
    let received = async || {
        let list = home.world.get(format!("{ALL}?direction=inbound")).token(&home.own.owner.token).send().await.expect(200).json();
        list["data"].as_array().expect("messages").iter().map(|one| one["body"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(received().await, ["Is anybody there?", "Hello?"]);
    // Events are shown once all that came before them are there.
    home.world.advance(SignedDuration::from_mins(1));
    let events = home.world.get("/v1/events?type=message.received").token(&home.own.owner.token).send().await.expect(200).json();
    assert_eq!(events["data"].as_array().map(Vec::len), Some(2));
    // A HELP that was said to nobody is not answered, however late it is given to somebody.
    say(caller, other, "HELP").await;
    attribute(caller, other, &home.own.slug).await.expect("it is theirs, too");
    home.settle().await;
    assert_eq!((received().await.len(), home.on(caller)), (4, vec![]));
    // They are written to from that line, and what they say now comes in at once. STOP is theirs.
    say(caller, line, "Thank you").await;
    assert_eq!(received().await.len(), 5);
    let sent = home.send(json!({"to": caller, "body": "Here we are", "from_number": line})).await;
    home.settle().await;
    assert_eq!(home.shown(&sent).await["from"], line);
    say(caller, line, "STOP").await;
    assert_eq!(home.post(json!({"to": caller, "body": "x"})).send().await.expect(403).code(), "RECIPIENT_OPTED_OUT");

    // No line is taken from whoever has it, nor from somebody who said STOP to all.
    let globex = home.world.tenant("globex").await;
    let texts: Vec<Value> = unclaimed().await.as_array().expect("messages").iter().map(|one| one["text"].clone()).collect();
    assert_eq!(texts, ["Twice"]);
    say("+15557650000", line, "STOP").await;
    let refused = attribute("+15557650000", line, &globex.slug).await.expect_err("a refusal");
    assert!(refused.contains("has said STOP"), "{refused}");
    home.world.advance(SignedDuration::from_hours(24 * 31));
    assert_eq!(unclaimed().await, json!([]));
}

/// Nobody knows whom they mean, so the line writes to them for no one. Other lines know nothing of it.
#[tokio::test]
async fn a_stop_to_whom_nobody_has_written_keeps_the_line_from_the_number_until_start() {
    let home = Home::new().await;
    let [first, rest @ ..] = stack::phone_lines::LINES;
    let says = async |line: &str, text: &str| {
        home.world.advance(SignedDuration::from_millis(5));
        home.world.aws.phones().say(PHONE, Some(line), text).expect("said");
        assert_eq!(home.tell().await, 1);
    };
    // START of somebody who never said STOP is nothing.
    says(first, "START").await;
    assert!(home.world.items_of_type("line_peer").is_empty());
    for line in stack::phone_lines::LINES {
        says(line, "STOP").await;
        says(line, "stop!").await;
    }
    let stopped_at = home.world.clock.now();
    assert_eq!(home.world.items_of_type("line_peer").len(), 3);
    let named = home.post(json!({"to": PHONE, "body": "x", "from_number": first})).send().await.expect(404);
    assert_eq!(named.code(), "NUMBER_NOT_OWNED");
    let sent = home.say(PHONE, "Hello").await;
    home.settle().await;
    let shown = home.shown(&sent).await;
    assert_eq!((&shown["status"], &shown["reason"]), (&json!("held"), &json!("no_line")));
    // A START that was said before the STOP and comes in after it ends nothing.
    let earlier = (home.world.clock.now() - SignedDuration::from_mins(5)).to_string();
    let start = json!({"type": "inbound", "id": "late", "at": earlier, "line": rest[0], "peer": PHONE, "text": "START"});
    home.report("late", start).send().await.expect(202);
    assert_eq!(home.world.items_of_type("line_peer").iter().filter(|item| item["stopped_ms"]["N"].is_string()).count(), 3);
    // Nor does one that was said between two.
    let between = (stopped_at - SignedDuration::from_millis(2)).to_string();
    let start = json!({"type": "inbound", "id": "between", "at": between, "line": rest[1], "peer": PHONE, "text": "START"});
    home.report("between", start).send().await.expect(202);
    assert_eq!(home.world.items_of_type("line_peer").len(), 3);
    // One line again, and the message goes by it.
    says(rest[0], "START").await;
    home.world.advance(SignedDuration::from_mins(61));
    home.sweep().await;
    let shown = home.shown(&sent).await;
    assert_eq!((&shown["status"], &shown["from"]), (&json!("delivered"), &json!(rest[0])));
    // It is the tenant's now: START makes it nobody's no more, and STOP is theirs.
    says(rest[0], "START").await;
    says(rest[0], "STOP").await;
    let refused = home.post(json!({"to": PHONE, "body": "x"})).send().await.expect(403);
    assert_eq!(refused.code(), "RECIPIENT_OPTED_OUT");
    assert!(home.world.items_of_type("line_peer").iter().any(|item| item["tenant"]["S"] == home.own.id.as_str()));
}

/// Both are kept, and one answer says all.
#[tokio::test]
async fn two_calls_for_help_at_once_are_kept_both_and_answered_once() {
    let home = Home::new().await;
    home.say(PHONE, "One").await;
    home.settle().await;
    let line = home.world.aws.phones().conversation(PHONE).unwrap().messages[0].line.clone();
    let help = |id: &str| {
        let at = home.world.clock.now();
        let event = json!({"type": "inbound", "id": id, "at": at.to_string(), "line": line, "peer": PHONE, "text": "HELP"});
        home.report(id, event).send()
    };
    for answer in join_all([help("a"), help("b"), help("c")]).await {
        assert_eq!(answer.expect(202).json()["data"]["accepted"], 1);
    }
    home.settle().await;
    let received = home.world.get(format!("{ALL}?direction=inbound")).token(&home.own.owner.token).send().await.expect(200).json();
    assert_eq!(received["data"].as_array().map(Vec::len), Some(3));
    assert_eq!(home.on(PHONE).iter().filter(|text| text.contains("reply STOP")).count(), 1);
}

#[tokio::test]
async fn only_a_gateway_reports() {
    let home = Home::new().await;
    let sent = home.say(PHONE, "One").await;
    drain(&home.world, &home.workers).await;
    let world = &home.world;
    let stolen = world.aws.phones().play(async |request| {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let header = |name: &str| head.headers[name].to_str().unwrap().to_owned();
        let signed = |path: String, body: &[u8], signature: String| {
            let request = world.post(path).raw(body).header("webhook-id", &header("webhook-id"));
            request.header("webhook-timestamp", &header("webhook-timestamp")).header("webhook-signature", &signature)
        };
        let signature = header("webhook-signature");
        world.post(path.clone()).raw(&body).send().await.expect(401);
        signed(path.clone(), b"[]", signature.clone()).send().await.expect(401);
        signed(path.clone(), &body, signature.replace("v1,", "v2,")).send().await.expect(401);
        signed("/v1/gateways/gw_0198c0de000070008000000000000000/events".into(), &body, signature.clone()).send().await.expect(401);
        // A minute that is over.
        world.advance(SignedDuration::from_mins(6));
        signed(path.clone(), &body, signature).send().await.expect(401);
        Err("not told".into())
    });
    assert_eq!(stolen.await.expect("phones"), 0);
    assert_eq!(home.shown(&sent).await["status"], "sent");
}

#[tokio::test]
async fn an_event_that_cannot_be_read_holds_up_no_other() {
    let home = Home::new().await;
    home.say(PHONE, "One").await;
    home.settle().await;
    home.world.aws.phones().say(PHONE, None, "STOP").expect("said");
    let gateway = stack_gateway(&home);
    let told = home.world.aws.phones().play(async |request| {
        let (head, body) = request.into_parts();
        let stop: Value = serde_json::from_slice(&body).expect("JSON");
        let events = json!([{"type": "inbound", "id": "1", "at": "yesterday"}, {"type": "typing"}, 7, stop]).to_string();
        let at = home.world.clock.now().as_second().to_string();
        let signature = gateway.sign("batch", home.world.clock.now(), events.as_bytes());
        let told = home.world.post(head.uri.path().to_owned()).raw(events.as_bytes()).header("webhook-id", "batch");
        let told = told.header("webhook-timestamp", &at).header("webhook-signature", &signature).send().await.expect(202);
        assert_eq!(told.json()["data"], json!({"accepted": 1, "ignored": 3}));
        Ok(202)
    });
    assert_eq!(told.await.expect("phones"), 1);
    let refused = home.post(json!({"to": PHONE, "body": "Two"})).send().await.expect(403);
    assert_eq!(refused.code(), "RECIPIENT_OPTED_OUT");
}

fn stack_gateway(home: &Home) -> shared::model::shared_secret::SharedSecret {
    shared::model::shared_secret::SharedSecret::parse(&home.world.aws.phones().secret()).expect("a secret")
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_field_by_field() {
    let home = Home::new().await;
    for (body, field, says) in [
        (json!({"body": "x"}), "to", "is required"),
        (json!({"to": "5551234567", "body": "x"}), "to", "+"),
        (json!({"to": "+1 555 123 4567", "body": "x"}), "to", "+"),
        (json!({"to": "\u{ff0b}15551234567", "body": "x"}), "to", "+"),
        (json!({"to": "+1234567890123456", "body": "x"}), "to", "+"),
        (json!({"to": PHONE}), "body", "is required, or a template"),
        (json!({"to": PHONE, "body": "x", "template": "code"}), "body", "with a template"),
        (json!({"to": PHONE, "body": "   "}), "body", "empty"),
        (json!({"to": PHONE, "body": "x".repeat(1_601)}), "body", "1600"),
        (json!({"to": PHONE, "body": 5}), "body", "string"),
        (json!({"to": PHONE, "body": "x", "channel": "fax"}), "channel", "auto, imessage, rcs, sms"),
        (json!({"to": PHONE, "body": "x", "message_type": "spam"}), "message_type", "otp, alert, marketing"),
        (json!({"to": PHONE, "body": "x", "scheduled_at": "2026-11-21T18:00:30Z"}), "scheduled_at", "between"),
        (json!({"to": PHONE, "body": "x", "scheduled_at": "2027-02-20T00:00:00Z"}), "scheduled_at", "between"),
        (json!({"to": PHONE, "body": "x", "scheduled_at": "2026-11-22T18:00:00"}), "scheduled_at", "moment"),
        (json!({"to": PHONE, "body": "x", "valid_for_seconds": 59}), "valid_for_seconds", "60"),
        (json!({"to": PHONE, "body": "x", "quiet_hours": "never"}), "quiet_hours", "block, defer"),
        (json!({"to": PHONE, "body": "x", "metadata": {"a": 1}}), "metadata", "texts"),
        (json!({"to": PHONE, "body": "x", "tenant_id": "x"}), "tenant_id", "not known"),
    ] {
        let answer = home.post(body.clone()).send().await.expect(400);
        assert!(problem(&answer, field).contains(says), "{body}: {}", answer.text);
    }
    let answer = home.post(json!({"to": "x", "body": "", "channel": 1})).send().await.expect(400);
    assert_eq!(answer.details().as_object().unwrap().keys().collect::<Vec<_>>(), ["body", "channel", "to"]);
    assert!(home.world.items_of_type("phone_message").is_empty());
}

/// Whoever makes a tenant's page ask for codes, to a number that earns them money, gets few of them.
#[tokio::test]
async fn one_time_passwords_to_a_number_have_an_end() {
    let home = Home::new().await;
    let code = |to: &str| home.post(json!({"to": to, "body": "Your code is 1", "message_type": "otp"})).send();
    let racers = join_all((0..16).map(|_| code(PHONE))).await;
    assert_eq!(racers.iter().filter(|answer| answer.status == 202).count(), 5);
    for answer in racers.into_iter().filter(|answer| answer.status != 202) {
        let refused = answer.expect(429);
        assert_eq!((refused.code().as_str(), &refused.details()["quota"]), ("TOO_MANY_REQUESTS", &json!("one-time-passwords")));
        assert!((1..=3_600).contains(&refused.header("retry-after").parse::<u64>().unwrap()));
    }
    // Nothing else is bounded, and no one else.
    code("+15557654321").await.expect(202);
    home.say(PHONE, "An alert").await;
    let other = home.world.tenant("globex").await;
    let theirs = key_of(&home.world, &other, "live").await;
    let body = json!({"to": PHONE, "body": "Your code is 2", "message_type": "otp"});
    home.world.post(ALL).header("x-api-key", &theirs).json(body).send().await.expect(202);
    // What waits counts, too.
    let later = json!({"to": PHONE, "body": "x", "message_type": "otp", "scheduled_at": "2026-11-22T18:00:00Z"});
    home.post(later).send().await.expect(429);
    let settings = home.world.patch("/v1/settings/messaging").token(&home.own.owner.token);
    settings.json(json!({"otp_per_hour": 6})).send().await.expect(200);
    code(PHONE).await.expect(202);
    code(PHONE).await.expect(429);
    home.settle().await;
    home.world.advance(SignedDuration::from_mins(60));
    code(PHONE).await.expect(202);
    home.settle().await;
    assert_eq!(home.on(PHONE).iter().filter(|text| text.contains("Your code is 1")).count(), 7);
}

#[tokio::test]
async fn a_template_says_the_text_and_its_type() {
    let home = Home::new().await;
    let template = json!({"name": "code", "channel": "sms", "type": "otp", "body": "Your code is {{code}}."});
    home.world.post("/v1/templates").token(&home.own.owner.token).json(template).send().await.expect(201);
    let sent = home.send(json!({"to": PHONE, "template": "code", "data": {"code": 123}, "message_type": "marketing"})).await;
    let shown = home.shown(&sent).await;
    assert_eq!((&shown["body"], &shown["message_type"], &shown["template"]), (&json!("Your code is 123."), &json!("otp"), &json!("code")));
    for (body, code) in [
        (json!({"to": PHONE, "template": "other"}), "INVALID_TEMPLATE"),
        (json!({"to": PHONE, "template": "code", "data": {"code": "1"}, "channel": "imessage"}), "INVALID_TEMPLATE"),
        (json!({"to": PHONE, "template": "code"}), "MISSING_TEMPLATE_VAR"),
    ] {
        let answer = home.post(body).send().await.expect(400);
        assert_eq!(answer.code(), code, "{}", answer.text);
    }
    home.settle().await;
    assert_eq!(home.on(PHONE), ["Your code is 123."]);
}

#[tokio::test]
async fn a_line_is_named_only_where_it_may_be_used() {
    let home = Home::new().await;
    let own = stack::phone_lines::LINES[2];
    let sent = home.send(json!({"to": PHONE, "body": "x", "from_number": own})).await;
    assert_eq!(sent["from"], own);
    home.settle().await;
    assert_eq!(home.shown(&sent).await["from"], own);
    let refused = home.post(json!({"to": PHONE, "body": "x", "from_number": "+12025559999"})).send().await.expect(404);
    assert_eq!(refused.code(), "NUMBER_NOT_OWNED");
    let other = home.world.tenant("globex").await;
    let theirs = key_of(&home.world, &other, "live").await;
    let body = json!({"to": PHONE, "body": "x", "from_number": own});
    let refused = home.world.post(ALL).header("x-api-key", &theirs).json(body).send().await.expect(404);
    assert_eq!(refused.code(), "NUMBER_NOT_OWNED");
}

#[tokio::test]
async fn another_channel_is_tried_only_after_a_definite_no() {
    let home = Home::new().await;
    let (sms_only, only_rcs) = ("+15555550197", "+15555550196");
    let sent = home.say(sms_only, "Hello").await;
    home.settle().await;
    let shown = home.shown(&sent).await;
    let tried: Vec<_> = shown["attempts"].as_array().unwrap().iter().map(|one| (one["channel"].clone(), one["outcome"].clone())).collect();
    let expected = [("imessage", "refused"), ("rcs", "refused"), ("sms", "taken")].map(|(a, b)| (json!(a), json!(b)));
    assert_eq!((tried, &shown["status"], &shown["channel"]), (expected.to_vec(), &json!("delivered"), &json!("sms")));
    let imessage = home.send(json!({"to": only_rcs, "body": "Hello", "channel": "imessage"})).await;
    home.settle().await;
    let shown = home.shown(&imessage).await;
    assert_eq!((&shown["status"], &shown["reason"]), (&json!("failed"), &json!("no_imessage")));
    // The first of these numbers is known; the other never got anything, so its place is free again.
    let usage = home.usage().await;
    assert_eq!((&usage["new_contacts"]["used_today"], &usage["messages"]["failed"]), (&json!(1), &json!(1)));
    assert_eq!(quota(&home, "contacts-"), 1);
}

/// What is taken of a quota of the day.
fn quota(home: &Home, what: &str) -> u64 {
    let day = format!("{what}{}", &home.world.clock.now().to_string()[..10]);
    let item = home.world.items_of_type("messaging_quota").into_iter().find(|item| item["sk"]["S"] == day.as_str());
    item.and_then(|item| item["n"]["N"].as_str()?.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn a_gateway_that_has_no_time_is_asked_again_and_a_lost_answer_sends_nothing_twice() {
    let home = Home::new().await;
    let (busy, lost) = ("+15555550192", "+15555550193");
    let (one, two) = (home.say(busy, "One").await, home.say(lost, "Two").await);
    for _ in 0..6 {
        home.settle().await;
        home.world.advance(SignedDuration::from_secs(61));
    }
    home.settle().await;
    assert_eq!((home.on(busy), home.on(lost)), (vec!["One".to_owned()], vec!["Two".to_owned()]));
    assert_eq!((&home.shown(&one).await["status"], &home.shown(&two).await["status"]), (&json!("delivered"), &json!("delivered")));
    assert_eq!(home.usage().await["messages"], json!({"sent": 2, "delivered": 2, "failed": 0, "blocked": 0}));
}

#[tokio::test]
async fn receipts_twice_and_in_any_order_count_once() {
    let home = Home::new().await;
    let sent = home.say("+15555550194", "One").await;
    home.settle().await;
    home.settle().await;
    assert_eq!(home.shown(&sent).await["status"], "read");
    assert_eq!(home.usage().await["messages"], json!({"sent": 1, "delivered": 1, "failed": 0, "blocked": 0}));
    assert_eq!(home.sent_today().await, 1);
}

#[tokio::test]
async fn jobs_of_a_batch_write_under_names_of_their_own() {
    let home = Home::new().await;
    let mut records = vec![];
    for number in 0..8 {
        let sent = home.say(PHONE, &number.to_string()).await;
        let body = json!({"tenant": home.own.id, "message": uuid_of(sent["message_id"].as_str().expect("an id"))}).to_string();
        records.push(json!({"messageId": number.to_string(), "body": body, "eventSource": "aws:sqs"}));
    }
    let answer = home.workers.run("switchboard", json!({"Records": records})).await.expect("a batch");
    assert_eq!(answer, json!({"batchItemFailures": []}));
    // All write to the same number, line and day, and none takes what another one wrote for its own.
    let messages = home.world.items_of_type("phone_message");
    assert!(messages.iter().all(|message| message["status"]["S"] == "sent"), "{messages:?}");
    let requests: BTreeSet<&str> = messages.iter().filter_map(|message| message["request"]["S"].as_str()).collect();
    assert_eq!((requests.len(), home.on(PHONE).len(), home.sent_today().await), (8, 8, 8));
    let paces = home.world.items_of_type("line_pace");
    assert!(paces.iter().all(|pace| pace["today"]["N"].as_str().is_some_and(|today| today.parse::<u64>().is_ok_and(|today| today >= 8))));
    home.settle().await;
    assert_eq!(home.usage().await["messages"], json!({"sent": 8, "delivered": 8, "failed": 0, "blocked": 0}));
}

#[tokio::test]
async fn a_death_after_any_invocation_neither_doubles_nor_loses_a_message() {
    let home = Home::new().await;
    home.say(PHONE, "0").await;
    home.settle().await;
    for deaths in 1.. {
        let sent = home.say(PHONE, &deaths.to_string()).await;
        let faults = Faults { kill_after: Some(deaths), ..Faults::default() };
        let cut = stack::sources::Sources::with_faults(&home.world.template, &home.world.aws, home.workers.clone(), faults)
            .unwrap()
            .drain()
            .await;
        for _ in 0..2 {
            settle(&home.world, &home.workers, Faults::default()).await;
            home.settle().await;
        }
        assert_eq!(home.on(PHONE).len(), deaths + 1);
        assert_eq!(home.shown(&sent).await["status"], "delivered", "{deaths}");
        if cut.is_ok() {
            assert!(deaths > 2, "relay and switchboard were both cut");
            break;
        }
        assert!(deaths < 30);
    }
    let messages = home.usage().await["messages"].clone();
    assert_eq!((&messages["sent"], home.sent_today().await), (&json!(home.on(PHONE).len()), home.on(PHONE).len() as u64));
    assert_eq!(messages["delivered"], messages["sent"]);
}

#[tokio::test]
async fn a_death_at_any_wait_of_the_switchboard_is_repaired() {
    let home = Home::new().await;
    home.say(PHONE, "0").await;
    home.settle().await;
    let mut finished = false;
    for waits in 1..200 {
        let sent = home.say(PHONE, &waits.to_string()).await;
        let message = sent["message_id"].as_str().unwrap()[4..].to_owned();
        let uuid = [&message[..8], &message[8..12], &message[12..16], &message[16..20], &message[20..]].join("-");
        let body = json!({"tenant": home.own.id, "message": uuid}).to_string();
        let event = json!({"Records": [{"messageId": "1", "body": body, "eventSource": "aws:sqs"}]});
        finished = home.workers.cut_off("switchboard", event, waits).await;
        for _ in 0..2 {
            settle(&home.world, &home.workers, Faults::default()).await;
            home.settle().await;
        }
        assert_eq!(home.on(PHONE).len(), waits + 1, "cut at {waits}");
        assert_eq!(home.shown(&sent).await["status"], "delivered", "cut at {waits}");
        if finished {
            assert!(waits > 4);
            break;
        }
    }
    assert!(finished);
    let messages = home.usage().await["messages"].clone();
    assert_eq!((&messages["sent"], &messages["delivered"]), (&json!(home.on(PHONE).len()), &json!(home.on(PHONE).len())));
}

#[tokio::test]
async fn new_contacts_of_a_day_are_no_more_than_the_plan_allows_and_wait_for_the_next() {
    let settings = Settings {
        moment: Some(NOON.parse().unwrap()),
        plans: json!({"free": {"contacts_messaged_per_day": 3, "contacts_messaged_per_month": 5}}),
        ..Settings::default()
    };
    let home = Home::with(settings).await;
    let numbers: Vec<String> = (0..16).map(|number| format!("+1555000{number:04}")).collect();
    let sent = join_all(numbers.iter().map(|number| home.post(json!({"to": number, "body": "Hello"})).send())).await;
    let statuses = |sent: &[Answer]| {
        let mut count: BTreeMap<String, usize> = BTreeMap::new();
        for answer in sent {
            let status = answer.json()["data"]["status"].as_str().map_or(answer.code(), str::to_owned);
            *count.entry(status).or_default() += 1;
        }
        count
    };
    assert_eq!(statuses(&sent), BTreeMap::from([("held".into(), 13), ("queued".into(), 3)]));
    home.settle().await;
    let arrived = |home: &Home| numbers.iter().filter(|number| !home.on(number).is_empty()).count();
    assert_eq!((arrived(&home), quota(&home, "contacts-")), (3, 3));
    // A number that is known goes on.
    let known = numbers.iter().find(|number| !home.on(number).is_empty()).unwrap();
    assert_eq!(home.say(known, "Again").await["status"], "queued");
    home.settle().await;
    // The next day: two more, and then the month is full.
    home.world.advance(SignedDuration::from_hours(7));
    home.sweep().await;
    assert_eq!(arrived(&home), 5);
    let refused = home.post(json!({"to": "+15559990000", "body": "Hello"})).send().await.expect(403);
    assert_eq!((refused.code(), &refused.details()["limit"]), ("PLAN_LIMIT_REACHED".into(), &json!("new contacts messaged per month")));
    // Whoever waits longer than the message is worth gets nothing, and no place is lost.
    home.world.advance(SignedDuration::from_hours(25));
    home.sweep().await;
    let list = home.world.get(format!("{ALL}?status=failed&limit=100")).token(&home.own.owner.token).send().await.expect(200).json();
    assert_eq!(list["data"].as_array().map(Vec::len), Some(11));
    assert_eq!(home.usage().await["new_contacts"]["used_this_month"], 5);
}

#[tokio::test]
async fn a_scheduled_message_goes_at_its_moment_or_not_at_all() {
    let home = Home::new().await;
    let at = |minutes: i64| (home.world.clock.now() + SignedDuration::from_mins(minutes)).to_string();
    let (one, two) = (
        home.send(json!({"to": PHONE, "body": "One", "scheduled_at": at(90)})).await,
        home.send(json!({"to": PHONE, "body": "Two", "scheduled_at": at(90)})).await,
    );
    assert_eq!((&one["status"], &one["estimated_delivery_ms"]), (&json!("scheduled"), &Value::Null));
    home.settle().await;
    home.sweep().await;
    assert!(home.on(PHONE).is_empty());
    let cancel = format!("{ALL}/{}/cancel", two["message_id"].as_str().unwrap());
    let cancelled = home.world.post(&cancel).token(&home.own.owner.token).send().await.expect(200).json();
    assert_eq!(cancelled["data"]["status"], "cancelled");
    home.world.advance(SignedDuration::from_mins(92));
    home.sweep().await;
    assert_eq!(home.on(PHONE), ["One"]);
    assert_eq!((&home.shown(&one).await["status"], &home.shown(&two).await["status"]), (&json!("delivered"), &json!("cancelled")));
    let late = home.world.post(&cancel).token(&home.own.owner.token).send().await.expect(409);
    assert_eq!(late.code(), "MESSAGE_INVALID_STATE");
    // The note goes when the index has had its time.
    home.world.advance(SignedDuration::from_mins(3));
    home.sweep().await;
    assert!(home.world.items_of_type("due_messages").is_empty());
}

#[tokio::test]
async fn marketing_at_night_is_blocked_or_waits_for_the_morning() {
    // 02:00 in New York.
    let home = Home::with(Settings { moment: Some("2026-11-21T07:00:00Z".parse().unwrap()), ..Settings::default() }).await;
    let number = "+12125550123";
    let body = |mode: &str| json!({"to": number, "body": "Sale", "message_type": "marketing", "quiet_hours": mode});
    let blocked = home.send(body("block")).await;
    assert_eq!((&blocked["status"], &blocked["reason"]), (&json!("blocked"), &json!("quiet_hours")));
    let held = home.send(body("defer")).await;
    assert_eq!((&held["status"], &held["reason"]), (&json!("held"), &json!("quiet_hours")));
    assert_eq!(home.say(number, "Your code").await["status"], "queued");
    home.settle().await;
    home.world.advance(SignedDuration::from_mins(6 * 60 + 2));
    home.sweep().await;
    assert_eq!(home.on(number), ["Your code", "Sale"]);
}

#[tokio::test]
async fn a_phone_that_is_off_gets_its_messages_when_it_is_on() {
    let home = Home::new().await;
    home.world.aws.phones().switch(PHONE, Switch::On(false)).expect("off");
    let sent = home.say(PHONE, "One").await;
    home.settle().await;
    assert_eq!(home.shown(&sent).await["status"], "sent");
    home.world.aws.phones().switch(PHONE, Switch::On(true)).expect("on");
    home.settle().await;
    assert_eq!(home.shown(&sent).await["status"], "delivered");
}

#[tokio::test]
async fn a_test_key_sends_nothing_and_counts_nowhere() {
    let home = Home::new().await;
    let key = key_of(&home.world, &home.own, "test").await;
    let request = |method: &'static str, path: &str| home.world.request(method, path).header("x-api-key", &key);
    for (to, status, reason) in [
        ("+15555550001", "delivered", Value::Null),
        ("+15555550002", "failed", json!("carrier_error")),
        ("+15555550003", "failed", json!("opted_out")),
        ("+15555550004", "failed", json!("rate_limited")),
        ("+15555550005", "sent", Value::Null),
        (PHONE, "delivered", Value::Null),
    ] {
        let sent = request("POST", ALL).json(json!({"to": to, "body": "Hello"})).send().await.expect(202).json()["data"].clone();
        assert_eq!((&sent["status"], &sent["reason"], &sent["sandbox"]), (&json!(status), &reason, &json!(true)), "{to}");
        assert!(sent["message_id"].as_str().unwrap().starts_with("sb_") && sent["estimated_delivery_ms"] == 0);
        home.world.advance(SignedDuration::from_secs(6));
        let path = format!("{ALL}/{}", sent["message_id"].as_str().unwrap());
        let later = request("GET", &path).send().await.expect(200).json()["data"].clone();
        assert_eq!(later["status"], if status == "sent" { "delivered" } else { status }, "{to}");
    }
    // It reaches no message that goes somewhere, and a live key none of its own.
    let live = home.say("+15555550195", "Hello").await["message_id"].as_str().expect("an id").to_owned();
    home.settle().await;
    for (method, path) in
        [("GET", format!("{ALL}/{live}")), ("POST", format!("{ALL}/{live}/cancel")), ("POST", format!("{ALL}/{live}/resend"))]
    {
        request(method, &path).send().await.expect(404);
    }
    let listed = request("GET", ALL).send().await.expect(200).json();
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(6));
    let sandbox = listed["data"][0]["id"].as_str().expect("an id");
    let live_key = home.world.get(format!("{ALL}/{sandbox}")).header("x-api-key", &home.key);
    live_key.send().await.expect(404);
    let live = home.world.get(ALL).token(&home.own.owner.token).send().await.expect(200).json();
    assert_eq!(live["data"].as_array().map(Vec::len), Some(1));
    assert!(home.on(PHONE).is_empty());
    assert_eq!((&home.usage().await["messages"]["sent"], home.sent_today().await), (&json!(1), 1));
}

#[tokio::test]
async fn a_list_with_filters_goes_on_until_all_were_looked_at() {
    let home = Home::new().await;
    for number in 0..7 {
        home.say(&format!("+1555100000{}", number % 2), &number.to_string()).await;
    }
    home.settle().await;
    let (mut query, mut seen) = ("?to=%2B15551000001&limit=2".to_owned(), vec![]);
    loop {
        let page = home.world.get(format!("{ALL}{query}")).token(&home.own.owner.token).send().await.expect(200).json();
        seen.extend(page["data"].as_array().unwrap().iter().map(|one| one["body"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("?to=%2B15551000001&limit=2&cursor={cursor}");
    }
    assert_eq!(seen, ["5", "3", "1"]);
}

#[tokio::test]
async fn a_failed_message_is_sent_again_by_a_call_alone() {
    let home = Home::new().await;
    let sent = home.say("+15555550195", "Hello").await;
    home.settle().await;
    assert_eq!(home.shown(&sent).await["status"], "failed");
    let path = format!("{ALL}/{}/resend", sent["message_id"].as_str().unwrap());
    let again = home.world.post(&path).token(&home.own.owner.token).send().await.expect(202).json()["data"].clone();
    assert_eq!(home.shown(&sent).await["replaced_by"], again["message_id"]);
    let twice = home.world.post(&path).token(&home.own.owner.token).send().await.expect(409);
    assert_eq!(twice.code(), "MESSAGE_INVALID_STATE");
}
