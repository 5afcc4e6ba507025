//! Webhooks: what they answer and refuse, that what is delivered is signed as Standard Webhooks says, when it is tried again and when it ends, and that
//! nothing is lost whoever dies.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, poll_immediate};
use jiff::{SignedDuration, Timestamp};
use lambda_http::http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use shared::Clock as _;
use shared::lock::Lock;
use stack::sources::{Invoke, InvokeError, Sources};
use standardwebhooks::Webhook;

use crate::lifecycle::export;
use crate::workers::{Workers, drain};
use crate::world::{Answer, Caller, Request, Settings, Tenant, World, id};

const ALL: &str = "/v1/webhooks";
const NOBODY: &str = "wh_0198c0de000070008000000000000000";

/// What a receiver answers.
#[derive(Clone)]
pub enum Say {
    Status(u16, &'static str),
    /// More than anybody reads.
    Endless,
    /// Nothing: the connection ends.
    Nothing,
}

#[derive(Clone, Debug)]
pub struct Heard {
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

/// Somebody's endpoint, at a port of this machine.
pub struct Receiver {
    port: u16,
    heard: Arc<Lock<Vec<Heard>>>,
    says: Arc<Lock<Say>>,
}

impl Receiver {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (heard, says): (Arc<Lock<Vec<Heard>>>, _) = (Arc::default(), Arc::new(Lock::new(Say::Status(204, ""))));
        let receiver = Receiver { port, heard: heard.clone(), says: says.clone() };
        // It ends with the process of the tests.
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let _ = answer(socket, &heard, &says);
            }
        });
        receiver
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    pub fn says(&self, say: Say) {
        *self.says.lock() = say;
    }

    pub fn take(&self) -> Vec<Heard> {
        std::mem::take(&mut *self.heard.lock())
    }
}

fn answer(mut socket: TcpStream, heard: &Lock<Vec<Heard>>, says: &Lock<Say>) -> std::io::Result<()> {
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let (mut read, mut part) = (vec![], [0; 4096]);
    let (head, length) = loop {
        let got = socket.read(&mut part)?;
        read.extend_from_slice(&part[..got]);
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).into_owned();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
            break (head, end + 4 + length);
        }
        if got == 0 {
            return Ok(());
        }
    };
    while read.len() < length {
        let got = socket.read(&mut part)?;
        if got == 0 {
            return Ok(());
        }
        read.extend_from_slice(&part[..got]);
    }
    let mut lines = head.lines();
    let path = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers =
        headers.filter_map(|(name, value)| Some((name.parse::<HeaderName>().ok()?, HeaderValue::from_str(value).ok()?))).collect();
    let body = String::from_utf8_lossy(&read[head.len() + 4..]).into_owned();
    heard.lock().push(Heard { path, headers, body });
    let say = says.lock().clone();
    match say {
        Say::Status(status, headers) => write!(socket, "HTTP/1.1 {status} Said\r\n{headers}content-length: 2\r\n\r\nok"),
        Say::Nothing => Ok(()),
        Say::Endless => {
            write!(socket, "HTTP/1.1 200 OK\r\n\r\n")?;
            while socket.write_all(&[b'x'; 65_536]).is_ok() {}
            Ok(())
        }
    }
}

pub struct Home {
    pub world: World,
    pub workers: Workers,
    pub own: Tenant,
    pub receiver: Receiver,
}

impl Home {
    pub async fn new() -> Self {
        let receiver = Receiver::open();
        let variables = vec![("WEBHOOK_ALLOWED_HOSTS", format!("127.0.0.1:{}", receiver.port))];
        let moment: Timestamp = Timestamp::now();
        let world = World::with(Settings { variables, moment: Some(moment), ..Settings::default() }).await;
        let (workers, own) = (Workers::on(&world), world.tenant("acme").await);
        Home { world, workers, own, receiver }
    }

    pub fn owner(&self) -> &Caller {
        &self.own.owner
    }

    fn create(&self, body: Value) -> Request {
        self.world.advance(SignedDuration::from_millis(1));
        self.world.post(ALL).token(&self.owner().token).json(body)
    }

    /// Its path, and its secret.
    pub async fn webhook(&self, path: &str, events: Value) -> (String, String) {
        let made = self.create(json!({"url": self.receiver.url(path), "events": events})).send().await.expect(201).json();
        (format!("{ALL}/{}", id(&made["data"])), made["data"]["secret"].as_str().expect("a secret").to_owned())
    }

    pub async fn get(&self, path: &str) -> Value {
        self.world.get(path).token(&self.owner().token).send().await.expect(200).json()["data"].clone()
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.world.patch(path).token(&self.owner().token).json(body).send().await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.world.advance(SignedDuration::from_millis(1));
        let request = self.world.post(path).token(&self.owner().token);
        if body.is_null() { request.send().await } else { request.json(body).send().await }
    }

    /// The path of a delivery that waits.
    pub async fn test(&self, webhook: &str) -> String {
        let test = self.post(&format!("{webhook}/test"), Value::Null).await.expect(200).json();
        format!("{webhook}/deliveries/{}", test["data"]["event_id"].as_str().expect("an event"))
    }

    pub async fn drain(&self) {
        drain(&self.world, &self.workers).await;
    }

    /// What the clock brings to mind.
    async fn sweep(&self) {
        self.workers.run("fanout", json!({"task": "sweep"})).await.expect("the sweep");
        self.drain().await;
    }

    /// Tested, and what became of that.
    async fn tested(&self, webhook: &str) -> Value {
        let delivery = self.test(webhook).await;
        self.drain().await;
        self.get(&delivery).await
    }

    async fn health(&self, webhook: &str) -> Value {
        self.get(webhook).await["health"]["state"].clone()
    }

    fn due(&self) -> usize {
        self.world.items_of_type("due_delivery").len()
    }
}

pub fn verifies(secret: &str, heard: &Heard) -> bool {
    Webhook::new(secret).expect("a secret").verify(heard.body.as_bytes(), &heard.headers).is_ok()
}

#[tokio::test]
async fn the_documented_shapes_are_met() {
    let home = Home::new().await;
    let made = home.create(json!({"url": "https://Example.com/hook", "events": ["message.inbound", "contact.*"]})).send().await.expect(201);
    let data = made.json()["data"].clone();
    let path = format!("{ALL}/{}", id(&data));
    assert!(id(&data).starts_with("wh_") && data["secret"].as_str().is_some_and(|secret| secret.starts_with("whsec_")), "{data}");
    assert_eq!(data["url"], "https://example.com/hook");
    assert_eq!(data["events"], json!(["message.received", "contact.*"]));
    assert_eq!((&data["payload"], &data["max_per_second"], &data["enabled"]), (&json!("full"), &json!(25), &json!(true)));
    assert_eq!(data["health"], json!({"state": "healthy", "failures": 0, "failing_since": null}));

    let shown = home.world.get(&path).token(&home.owner().token).send().await.expect(200);
    let mut without = data.clone();
    without.as_object_mut().expect("an object").remove("secret");
    assert_eq!((shown.json(), shown.header("etag")), (json!({"data": without}), made.header("etag")));
    let listed = home.world.get(ALL).token(&home.owner().token).send().await.expect(200).json();
    assert_eq!(listed, json!({"data": [without], "next_cursor": null}));

    // What changes nothing keeps the version.
    let same = home.patch(&path, json!({"events": ["message.received", "contact.*"], "enabled": true})).await.expect(200);
    assert_eq!(same.header("etag"), made.header("etag"));
    let changed = home.patch(&path, json!({"events": ["*"], "payload": "thin", "max_per_second": 100})).await.expect(200);
    let after = &changed.json()["data"];
    assert_eq!((changed.header("etag"), &after["events"], &after["max_per_second"]), ("\"2.0\"", &json!(["*"]), &json!(100)));
    let late = home.world.patch(&path).token(&home.owner().token).header("if-match", "\"1.0\"").json(json!({"payload": "full"}));
    late.send().await.expect(412);

    let types = home.get("/v1/webhooks/event-types").await;
    assert_eq!((types.as_array().map(Vec::len), &types[0]["name"]), (Some(21), &json!("message.queued")));
    let deleted = home.world.delete(&path).token(&home.owner().token).send().await.expect(200);
    assert_eq!(deleted.json()["data"], json!({"id": id(&data), "deleted": true}));
    home.world.get(&path).token(&home.owner().token).send().await.expect(404);
    let left: Vec<Value> = home
        .world
        .items_of(&home.own)
        .into_iter()
        .filter(|item| item["type"]["S"].as_str().is_some_and(|kind| kind.starts_with("webhook")))
        .collect();
    assert_eq!(left, Vec::<Value>::new());
}

#[tokio::test]
async fn a_url_is_refused_alike_when_it_is_made_changed_tested_and_delivered() {
    let home = Home::new().await;
    let (webhook, _) = home.webhook("a", json!(["*"])).await;
    for url in [
        "http://example.com/",
        "https://localhost/",
        "https://10.0.0.1/",
        "https://2130706433/",
        "https://0177.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://user:word@example.com/",
        "https://example.com:22/",
        "https://example.com./",
        "https://api.example.com/v1/webhooks",
        "http://127.0.0.1:1/",
        "ftp://example.com/",
        "example.com",
    ] {
        let made = home.create(json!({"url": url, "events": ["*"]})).send().await.expect(400);
        let changed = home.patch(&webhook, json!({"url": url})).await.expect(400);
        assert_eq!((made.code().as_str(), made.details()), ("WEBHOOK_URL_REFUSED", changed.details()), "{url}");
        assert!(made.details()["url"][0].as_str().is_some_and(|text| text.starts_with("The url field ")), "{url}");
        // One that stands there already, from when more was allowed.
        let place = format!("T#{}#webhooks", home.own.id);
        let stored = home.world.items_of_type("webhook").remove(0);
        home.world.change_item(&place, stored["sk"]["S"].as_str().expect("a key"), |item| item["url"] = json!({"S": url}));
        let tested = home.tested(&webhook).await;
        assert_eq!((&tested["status"], &tested["attempts"][0]["error"]), (&json!("failed"), &json!("guard")), "{url}: {tested}");
    }
    assert_eq!(home.workers.invocations("herald"), 0, "nobody was to be called");
    assert!(home.receiver.take().is_empty());
}

#[tokio::test]
async fn every_field_at_fault_is_named() {
    let home = Home::new().await;
    let good = json!({"url": "https://example.com/", "events": ["*"]});
    for (field, values) in [
        ("url", vec![json!(null), json!(""), json!(1), json!("x".repeat(2_049))]),
        ("events", vec![json!(null), json!([]), json!("*"), json!(["message"]), json!(["message.sent", 1]), json!(vec!["*"; 51])]),
        ("payload", vec![json!("fat"), json!(1)]),
        ("max_per_second", vec![json!(0), json!(101), json!(-1), json!(2.5), json!("25")]),
        ("enabled", vec![json!("yes"), json!(0)]),
        ("secret", vec![json!("whsec_"), json!("abc"), json!("whsec_MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM="), json!(1)]),
        ("max", vec![json!(1)]),
    ] {
        for value in values {
            let mut body = good.clone();
            body[field] = value.clone();
            let refused = home.create(body).send().await.expect(400);
            let named: Vec<String> = refused.details().as_object().expect("details").keys().cloned().collect();
            assert_eq!((refused.code().as_str(), named), ("VALIDATION_ERROR", vec![field.to_owned()]), "{value}");
        }
    }
    let (webhook, _) = home.webhook("a", json!(["*"])).await;
    let rotate = format!("{webhook}/rotate-secret");
    for body in [json!({"grace_seconds": -1}), json!({"grace_seconds": 604_801}), json!({"secret": "x"}), json!({"other": 1})] {
        home.post(&rotate, body).await.expect(400);
    }
    for query in ["status=done", "event=message.*", "since=yesterday", "limit=101", "offset=1"] {
        home.world.get(format!("{webhook}/deliveries?{query}")).token(&home.owner().token).send().await.expect(400);
    }
    assert_eq!(home.world.get(format!("{ALL}/{NOBODY}")).token(&home.owner().token).send().await.expect(404).code(), "NOT_FOUND");
}

#[tokio::test]
async fn as_many_as_the_plan_allows_whoever_races() {
    let world = World::with(Settings { plans: json!({"free": {"webhooks": 3}}), ..Settings::default() }).await;
    let own = world.tenant("acme").await;
    let make = || world.post(ALL).token(&own.owner.token).json(json!({"url": "https://example.com/", "events": ["*"]})).send();
    let answers = join_all((0..8).map(|_| make())).await;
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!((made, world.items_of_type("webhook").len()), (3, 3));
    let refused = answers.iter().find(|answer| answer.status == 403).expect("a refusal");
    assert_eq!((refused.code().as_str(), refused.details()["limit"].clone()), ("PLAN_LIMIT_REACHED", json!("webhooks")));
    let one = answers.iter().find(|answer| answer.status == 201).expect("one").json();
    world.delete(format!("{ALL}/{}", id(&one["data"]))).token(&own.owner.token).send().await.expect(200);
    make().await.expect(201);
    make().await.expect(403);
}

#[tokio::test]
async fn a_test_waits_for_its_attempt_and_shows_it() {
    let receiver = Receiver::open();
    let variables = vec![("WEBHOOK_ALLOWED_HOSTS", format!("127.0.0.1:{}", receiver.port)), ("WEBHOOK_TEST_WAIT_MS", "20000".to_owned())];
    let world = World::with(Settings { variables, ..Settings::default() }).await;
    let (workers, own) = (Workers::on(&world), world.tenant("acme").await);
    let body = json!({"url": receiver.url("hook?a=1"), "events": ["message.*"], "payload": "thin"});
    let made = world.post(ALL).token(&own.owner.token).json(body).send().await.expect(201).json();
    let webhook = id(&made["data"]).to_owned();
    drain(&world, &workers).await;
    let testing = world.post(format!("{ALL}/{webhook}/test")).token(&own.owner.token).send();
    let delivering = async {
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            drain(&world, &workers).await;
        }
    };
    let (tested, ()) = tokio::join!(testing, delivering);
    let tested = tested.expect(200).json()["data"].clone();
    assert_eq!((&tested["status"], &tested["attempts"][0]["status_code"]), (&json!("succeeded"), &json!(204)), "{tested}");
    assert_eq!((&tested["event"], &tested["attempts_made"]), (&json!("webhook.test"), &json!(1)));
    let heard = receiver.take();
    let [one] = &heard[..] else { panic!("{heard:?}") };
    assert!(verifies(made["data"]["secret"].as_str().expect("a secret"), one));
    assert_eq!(
        (one.path.as_str(), one.headers["webhook-id"].to_str().expect("text")),
        ("/hook?a=1", tested["event_id"].as_str().expect("an id"))
    );
    assert_eq!(one.headers["user-agent"], format!("Tenantry-Webhooks/1.0 (tenant {})", own.id).as_str());
    let body: Value = serde_json::from_str(&one.body).expect("JSON");
    assert_eq!((&body["type"], &body["data"]), (&json!("webhook.test"), &json!({"tenant_id": own.id, "webhook_id": webhook})));
}

#[tokio::test]
async fn the_reference_verifier_takes_each_living_secret_through_ten_rotations() {
    let home = Home::new().await;
    let (webhook, first) = home.webhook("a", json!(["*"])).await;
    let rotate = format!("{webhook}/rotate-secret");
    let mut secrets = vec![first];
    for round in 1..=10 {
        // With grace and without, by turns.
        let rotated = home.post(&rotate, json!({"grace_seconds": if round % 2 == 0 { 0 } else { 7_200 }})).await.expect(200).json();
        secrets.push(rotated["data"]["secret"].as_str().expect("a secret").to_owned());
        home.tested(&webhook).await;
        let heard = home.receiver.take();
        let verified: Vec<bool> = secrets.iter().map(|secret| verifies(secret, &heard[0])).collect();
        let living = if round % 2 == 0 { 1 } else { 2 };
        assert_eq!(rotated["data"]["living"], living, "{rotated}");
        let expected: Vec<bool> = (0..secrets.len()).map(|index| index + living >= secrets.len()).collect();
        assert_eq!(verified, expected, "round {round}");
        let signatures = heard[0].headers["webhook-signature"].to_str().expect("text").split(' ').count();
        assert_eq!(signatures, living);
    }
    // Three live at once; a fourth is refused until one ends.
    for _ in 0..2 {
        home.post(&rotate, json!({"grace_seconds": 600})).await.expect(200);
    }
    assert_eq!(home.post(&rotate, json!({"grace_seconds": 600})).await.expect(409).code(), "CONFLICT");
    let given = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let own = home.post(&rotate, json!({"secret": given, "grace_seconds": 0})).await.expect(200).json();
    assert_eq!((&own["data"]["secret"], &own["data"]["living"]), (&json!(given), &json!(1)));
    home.tested(&webhook).await;
    assert!(verifies(given, &home.receiver.take()[0]));
    let kept = home.world.items_of_type("webhook_secrets").remove(0).to_string();
    assert!(!kept.contains(&given[6..]) && secrets.iter().all(|secret| !kept.contains(&secret[6..])), "{kept}");
    let (text, _) = export(&home.world, home.owner()).await;
    assert!(
        text.contains("127.0.0.1") && !text.contains("sealed") && secrets.iter().all(|secret| !text.contains(secret.as_str())),
        "{text}"
    );
}

#[tokio::test]
async fn what_fails_comes_again_by_the_schedule_and_then_ends() {
    let home = Home::new().await;
    let (webhook, _) = home.webhook("a", json!(["*"])).await;
    home.receiver.says(Say::Status(500, ""));
    let delivery = home.test(&webhook).await;
    home.drain().await;
    assert_eq!(home.get(&delivery).await["reason"], "exhausted", "a test is one attempt");
    // Tried again, it has a schedule of its own. What waits in a queue comes at once here; what waits in the table, by the clock.
    home.post(&format!("{delivery}/retry"), Value::Null).await.expect(202);
    home.drain().await;
    let mut seen = home.get(&delivery).await;
    assert_eq!((&seen["status"], &seen["attempts_made"], home.due()), (&json!("pending"), &json!(4), 1), "{seen}");
    for (made, hours) in [(4, 0.5), (5, 2.0), (6, 5.0), (7, 10.0), (8, 10.0)] {
        let next: Timestamp = seen["next_attempt_at"].as_str().expect("a moment").parse().expect("a moment");
        let pause = next.duration_since(home.world.clock_now()).as_secs_f64() / 3_600.0;
        assert!((hours * 0.79..=hours * 1.21).contains(&pause), "{pause} hours after {made} attempts");
        home.world.advance(next.duration_since(home.world.clock_now()) - SignedDuration::from_secs(1));
        home.sweep().await;
        assert_eq!(home.get(&delivery).await["attempts_made"], made, "not before its time");
        home.world.advance(SignedDuration::from_secs(2));
        home.sweep().await;
        seen = home.get(&delivery).await;
        assert_eq!(seen["attempts_made"], made + 1);
    }
    assert_eq!((&seen["status"], &seen["reason"], home.due()), (&json!("failed"), &json!("exhausted"), 0), "{seen}");
    assert_eq!(home.receiver.take().len(), 9);
    let ids: Vec<bool> = seen["attempts"].as_array().expect("attempts").iter().map(|attempt| attempt["response"].is_string()).collect();
    assert_eq!(ids, [&[false; 8][..], &[true]].concat());
    // It comes again when somebody asks, and arrives.
    home.receiver.says(Say::Status(200, ""));
    home.post(&format!("{delivery}/retry"), Value::Null).await.expect(202);
    home.drain().await;
    assert_eq!(home.get(&delivery).await["status"], "succeeded");
    for (query, count) in [("status=succeeded", 1), ("status=failed", 0), ("event=webhook.test", 1), ("event=message.sent", 0)] {
        assert_eq!(home.get(&format!("{webhook}/deliveries?{query}")).await.as_array().map(Vec::len), Some(count), "{query}");
    }
}

#[tokio::test]
async fn answers_of_every_kind_are_told_apart() {
    let home = Home::new().await;
    let (webhook, _) = home.webhook("a", json!(["*"])).await;
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    assert_ne!(free, home.receiver.port);
    for (say, status, error) in [
        (Say::Status(200, ""), json!(200), json!(null)),
        (Say::Status(299, ""), json!(299), json!(null)),
        (Say::Status(302, "location: http://169.254.169.254/\r\n"), json!(302), json!("status")),
        (Say::Status(500, ""), json!(500), json!("status")),
        (Say::Endless, json!(200), json!(null)),
        (Say::Nothing, json!(null), json!("broken")),
    ] {
        home.receiver.says(say);
        let tested = home.tested(&webhook).await;
        let attempt = &tested["attempts"][0];
        assert_eq!((&attempt["status_code"], &attempt["error"]), (&status, &error), "{tested}");
        assert_eq!(tested["status"], if error.is_null() { "succeeded" } else { "failed" });
        assert!(attempt["response"].as_str().is_none_or(|text| text.len() <= 2_048));
    }
    assert_eq!(home.receiver.take().len(), 6, "a redirect is not followed");
}

#[tokio::test]
async fn who_asks_for_it_is_left_alone() {
    let home = Home::new().await;
    for (say, state) in [
        (Say::Status(410, ""), "disabled"),
        (Say::Status(200, "webhook-delivery: disable\r\n"), "disabled"),
        (Say::Status(500, "webhook-delivery: abort-message\r\n"), "healthy"),
    ] {
        let (webhook, _) = home.webhook("a", json!(["*"])).await;
        home.receiver.says(say);
        let delivery = home.test(&webhook).await;
        home.drain().await;
        assert_eq!((home.health(&webhook).await, &home.get(&delivery).await["status"]), (json!(state), &json!("failed")));
        if state == "disabled" {
            assert_eq!(home.get(&webhook).await["enabled"], false);
            for path in [format!("{webhook}/test"), format!("{delivery}/retry")] {
                assert_eq!(home.post(&path, Value::Null).await.expect(409).code(), "WEBHOOK_DISABLED");
            }
            home.patch(&webhook, json!({"enabled": true})).await.expect(200);
            assert_eq!(home.health(&webhook).await, "healthy", "enabled, it begins anew");
        }
        home.receiver.take();
    }
}

#[tokio::test]
async fn nothing_goes_to_what_was_disabled_or_deleted() {
    let home = Home::new().await;
    home.receiver.says(Say::Status(500, ""));
    let (disabled, _) = home.webhook("disabled", json!(["*"])).await;
    let (deleted, _) = home.webhook("deleted", json!(["*"])).await;
    let mut deliveries = vec![];
    for webhook in [&disabled, &deleted] {
        let waiting = home.test(webhook).await;
        home.drain().await;
        home.post(&format!("{waiting}/retry"), Value::Null).await.expect(202);
        home.drain().await;
        deliveries.push(waiting);
    }
    // One waits for its next attempt, the other for its first.
    let first = home.test(&disabled).await;
    home.test(&deleted).await;
    home.receiver.take();
    home.patch(&disabled, json!({"enabled": false})).await.expect(200);
    home.world.delete(&deleted).token(&home.owner().token).send().await.expect(200);
    home.drain().await;
    home.world.advance(SignedDuration::from_hours(1));
    home.sweep().await;
    assert!(home.receiver.take().is_empty());
    for delivery in [&deliveries[0], &first] {
        assert_eq!(home.get(delivery).await["reason"], "disabled");
    }
    let left: Vec<Value> = home
        .world
        .items_of_type("delivery")
        .into_iter()
        .filter(|item| deleted.contains(&item["webhook"]["S"].as_str().unwrap_or("?").replace('-', "")))
        .collect();
    assert_eq!((left, home.due()), (vec![], 0), "what belongs to a deleted webhook is forgotten");
}

/// What is read together is compared with its tenant like what is read alone.
#[tokio::test]
async fn nothing_is_signed_with_what_says_that_it_is_anothers() {
    let home = Home::new().await;
    home.webhook("a", json!(["contact.*"])).await;
    let other = home.world.tenant("other").await;
    home.receiver.says(Say::Status(500, ""));
    home.opt_outs(0..1).await;
    home.drain().await;
    let waiting = home.world.items_of_type("delivery").remove(0);
    let made: u64 = waiting["made"]["N"].as_str().and_then(|made| made.parse().ok()).expect("a number");
    let ticket = json!({"webhook": waiting["webhook"]["S"], "event": waiting["event"]["S"], "attempt": made + 1});
    let body = json!({"tenant": home.own.id, "deliver": ticket}).to_string();
    let batch = json!({"Records": [{"messageId": "1", "body": body, "eventSource": "aws:sqs", "eventSourceARN": "events"}]});
    home.receiver.says(Say::Status(204, ""));
    home.receiver.take();
    for of_type in ["webhook", "webhook_secrets", "event", "webhook_health"] {
        let item = home.world.items_of_type(of_type).remove(0);
        let (pk, sk) = (item["pk"]["S"].as_str().expect("a key"), item["sk"]["S"].as_str().expect("a key"));
        for (says, failures, heard) in [(&other.id, 1, 0), (&home.own.id, 0, usize::from(of_type == "webhook_health"))] {
            home.world.change_item(pk, sk, |item| item["tenant"] = json!({"S": says}));
            if failures == 0 && heard == 0 {
                continue;
            }
            let answer = home.workers.run("fanout", batch.clone()).await.expect("an answer");
            assert_eq!(answer["batchItemFailures"].as_array().map(Vec::len), Some(failures), "{of_type}");
            home.drain().await;
            assert_eq!(home.receiver.take().len(), heard, "{of_type}");
        }
    }
}

#[tokio::test]
async fn others_are_told_of_a_webhook_that_fails_once() {
    let home = Home::new().await;
    let (failing, _) = home.webhook("failing", json!(["*"])).await;
    let (watching, secret) = home.webhook("watching", json!(["webhook.*"])).await;
    home.webhook("busy", json!(["message.*"])).await;
    home.receiver.says(Say::Status(500, ""));
    for _ in 0..5 {
        home.tested(&failing).await;
    }
    assert_eq!(home.health(&failing).await, "degraded");
    home.world.advance(SignedDuration::from_hours(1));
    home.receiver.take();
    for _ in 0..6 {
        home.tested(&failing).await;
    }
    home.receiver.says(Say::Status(200, ""));
    home.drain().await;
    assert_eq!(home.health(&failing).await, "failing");
    home.world.advance(SignedDuration::from_mins(40));
    home.sweep().await;
    home.tested(&failing).await;
    home.drain().await;
    assert_eq!(home.health(&failing).await, "healthy");
    let heard = home.receiver.take();
    let told: Vec<&Heard> = heard.iter().filter(|heard| heard.path == "/watching").collect();
    let mut kinds: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for one in told {
        let body: Value = serde_json::from_str(&one.body).expect("JSON");
        assert_eq!(body["data"]["webhook_id"], failing.rsplit('/').next().expect("an id"));
        kinds
            .entry(body["type"].as_str().expect("a type").to_owned())
            .or_default()
            .push(json!(one.headers["webhook-id"].to_str().expect("text")));
    }
    for ids in kinds.values_mut() {
        ids.dedup();
    }
    assert_eq!(kinds.keys().collect::<Vec<_>>(), ["webhook.failing", "webhook.recovered"], "{kinds:?}");
    assert!(kinds.values().all(|ids| ids.len() == 1), "each is one event: {kinds:?}");
    assert!(heard.iter().filter(|heard| heard.path == "/busy").count() == 0);
    let recovered = heard.iter().find(|heard| heard.body.contains("webhook.recovered")).expect("an event");
    // The verifier's clock is the machine's, and stands behind.
    let timestamp = recovered.headers["webhook-timestamp"].to_str().expect("text").parse().expect("seconds");
    let id = recovered.headers["webhook-id"].to_str().expect("text");
    let signed = Webhook::new(&secret).expect("a secret").sign(id, timestamp, recovered.body.as_bytes()).expect("a signature");
    assert_eq!(recovered.headers["webhook-signature"], signed.as_str());
    assert_eq!(home.get(&format!("{watching}/deliveries?event=webhook.recovered")).await[0]["status"], "succeeded");
}

/// Whoever has one webhook alone hears of it by mail.
#[tokio::test]
async fn owners_get_a_mail_about_a_webhook_that_fails_and_one_that_is_disabled() {
    let home = Home::new().await;
    let told = || -> Vec<Value> {
        let mails = home.world.items_of_type("mail").into_iter();
        let about = mails.filter(|mail| mail["content"]["M"]["kind"]["S"] == "webhook_failing");
        about
            .map(|mail| json!([mail["to"]["S"], mail["content"]["M"]["webhook"]["S"], mail["content"]["M"]["is_disabled"]["BOOL"]]))
            .collect()
    };
    home.world.member(&home.own, "admin").await;
    let (failing, _) = home.webhook("failing", json!(["*"])).await;
    home.receiver.says(Say::Status(500, ""));
    for _ in 0..10 {
        home.tested(&failing).await;
    }
    assert_eq!(told(), Vec::<Value>::new());
    home.world.advance(SignedDuration::from_hours(1));
    for _ in 0..3 {
        home.tested(&failing).await;
    }
    let name = |webhook: &str| webhook.rsplit('/').next().expect("an id").to_owned();
    let of_failing = json!([home.owner().email, name(&failing), false]);
    assert_eq!(told(), std::slice::from_ref(&of_failing));
    // Whoever disables one by hand knows it. The next one asks for it by itself.
    home.patch(&failing, json!({"enabled": false})).await.expect(200);
    home.receiver.says(Say::Status(410, ""));
    let (gone, _) = home.webhook("gone", json!(["*"])).await;
    home.tested(&gone).await;
    let mut all = told();
    all.sort_by_key(|mail| mail[2].as_bool());
    assert_eq!(all, [of_failing, json!([home.owner().email, name(&gone), true])]);
    let letters = home.world.aws.mailbox().mails().expect("mails");
    let last = letters.iter().find(|kept| kept.mail.subject == "A webhook is disabled").expect("a mail");
    assert!(last.mail.text.contains(&name(&gone)) && last.mail.text.contains("It asked to be left alone."), "{}", last.mail.text);
    // Whoever makes webhooks that end at once floods nobody, and they end all the same.
    for n in 0..12 {
        let (gone, _) = home.webhook(&format!("gone-{n}"), json!(["*"])).await;
        home.tested(&gone).await;
        assert_eq!(home.health(&gone).await, "disabled");
        home.world.delete(&gone).token(&home.owner().token).send().await.expect(200);
    }
    assert_eq!(told().len(), 10);
}

/// A worker that dies once, after so many waits of one invocation.
#[derive(Clone)]
pub struct Mortal {
    workers: Workers,
    of: &'static str,
    /// It dies only where its payload has this text.
    at: &'static str,
    death: Arc<Lock<Option<usize>>>,
}

impl Mortal {
    /// It dies once, after it has waited so many times.
    pub fn new(workers: &Workers, of: &'static str, waits: usize) -> Self {
        Mortal { workers: workers.clone(), of, at: "", death: Arc::new(Lock::new(Some(waits))) }
    }

    pub fn at(self, at: &'static str) -> Self {
        Mortal { at, ..self }
    }

    /// None of its invocations waited as often.
    pub fn lived(&self) -> bool {
        self.death.lock().is_some()
    }
}

impl Invoke for Mortal {
    async fn invoke(&self, function: &str, payload: Value) -> Result<Value, InvokeError> {
        let failed = |message: String| InvokeError::Failed { function: function.to_owned(), message };
        let is_concerned = function == self.of && payload.to_string().contains(self.at);
        let death = if is_concerned { self.death.lock().take() } else { None };
        let mut work = pin!(self.workers.run(function, payload));
        let Some(waits) = death else { return work.await.map_err(failed) };
        for _ in 0..waits {
            if let Some(done) = poll_immediate(&mut work).await {
                // It came to its end before that: another one dies, or none.
                *self.death.lock() = Some(waits);
                return done.map_err(failed);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Err(failed("it died".to_owned()))
    }
}

/// Whatever dies at whatever point, an event arrives and is noted once. Gives the deaths, and how often it arrived again.
async fn dies_everywhere(of: &'static str) -> (usize, usize) {
    let home = Home::new().await;
    let (webhook, secret) = home.webhook("a", json!(["*"])).await;
    let (mut deaths, mut again) = (0, 0);
    for waits in 1.. {
        let delivery = home.test(&webhook).await;
        let mortal = Mortal::new(&home.workers, of, waits);
        Sources::new(&home.world.template, &home.world.aws, mortal.clone()).expect("the sources").drain().await.expect("all is done");
        let lived = mortal.lived();
        let seen = home.get(&delivery).await;
        assert_eq!((&seen["status"], &seen["attempts_made"]), (&json!("succeeded"), &json!(1)), "{of} died after {waits}: {seen}");
        let heard = home.receiver.take();
        assert!((1..=2).contains(&heard.len()) && heard.iter().all(|one| verifies(&secret, one)), "{of} died after {waits}: {heard:?}");
        let ids: Vec<_> = heard.iter().map(|one| one.headers["webhook-id"].clone()).collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "the receiver knows it again");
        again += heard.len() - 1;
        if lived {
            break;
        }
        deaths += 1;
        assert!(waits < 3_000);
    }
    (deaths, again)
}

#[tokio::test]
async fn a_herald_that_dies_anywhere_loses_nothing() {
    let (deaths, again) = dies_everywhere("herald").await;
    assert!(deaths > 2 && again > 0, "one died after the call and before it said so");
}

#[tokio::test]
async fn a_relay_that_dies_anywhere_loses_nothing() {
    let (deaths, _) = dies_everywhere("relay").await;
    assert!(deaths > 0);
}

#[tokio::test]
async fn a_fanout_that_dies_anywhere_loses_nothing() {
    let (deaths, _) = dies_everywhere("fanout").await;
    assert!(deaths > 2, "it died {deaths} times");
}

impl Home {
    /// Numbers that opt out at the same time: an event each.
    async fn opt_outs(&self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            self.post("/v1/opt-outs", json!({"phone_number": format!("+1555{number:07}")})).await.expect(201);
        }
    }

    async fn drain_in_time(&self) {
        self.drain_telling(|| ()).await;
    }

    /// The only webhook has another value as soon as somebody waits.
    async fn drain_with(&self, field: &str, value: Value) {
        let (place, is_changed) = (format!("T#{}#webhooks", self.own.id), Lock::new(false));
        self.drain_telling(|| {
            let waits = |item: &Value| item["state"]["M"]["turn"]["S"] == "waits";
            if !*is_changed.lock() && self.world.items_of_type("delivery").iter().any(waits) {
                let stored = self.world.items_of_type("webhook").remove(0);
                self.world.change_item(&place, stored["sk"]["S"].as_str().expect("a key"), |item| item[field] = value.clone());
                *is_changed.lock() = true;
            }
        })
        .await;
        assert!(*is_changed.lock(), "nobody waited");
    }

    async fn drain_telling(&self, each_time: impl Fn()) {
        let sources = Sources::new(&self.world.template, &self.world.aws, self.workers.clone()).expect("the sources");
        let passes = |time: Duration| {
            self.world.advance(time.try_into().expect("a while"));
            each_time();
        };
        sources.drain_in_time(passes).await.expect("all is done");
    }

    /// When each event was told, in seconds, in the order in which they were, with its number.
    fn told(&self) -> Vec<(i64, String)> {
        let heard = self.receiver.take().into_iter().map(|heard| {
            let body: Value = serde_json::from_str(&heard.body).expect("JSON");
            let second = heard.headers["webhook-timestamp"].to_str().expect("text").parse().expect("seconds");
            (second, body["data"]["phone_number"].as_str().expect("a number").to_owned())
        });
        heard.collect()
    }

    fn backlog(&self) -> Value {
        self.world.items_of_type("webhook_pace").remove(0)["backlog"]["S"].clone()
    }
}

/// Whether at no moment more was told than so many at once, and then one each so many milliseconds.
fn keeps_pace(told: &[(i64, String)], at_once: i64, every: i64) -> bool {
    let mut moments: Vec<i64> = told.iter().map(|(at, _)| *at).collect();
    moments.sort_unstable();
    let allowed = |at: i64| at_once + (at - moments[0]) * 1_000 / every;
    moments.iter().zip(1..).all(|(at, count)| count <= allowed(*at))
}

#[tokio::test]
async fn a_webhook_is_told_no_faster_than_it_wants() {
    let home = Home::new().await;
    let (webhook, _) = home.webhook("a", json!(["contact.*"])).await;
    home.patch(&webhook, json!({"max_per_second": 5})).await.expect(200);
    home.opt_outs(0..60).await;
    home.drain_in_time().await;
    let told = home.told();
    // Six at once, and then five a second. A queue keeps a job for whole seconds, and a machine may be slow.
    assert!(told.len() == 60 && keeps_pace(&told, 11, 200), "{told:?}");
    let took = told[59].0 - told[0].0;
    assert!((10..60).contains(&took), "{took} seconds");
    // What waits goes in the order in which it happened.
    let waited: Vec<usize> = told[6..].iter().map(|(_, number)| number[9..].parse().expect("a number")).collect();
    assert!(waited.iter().enumerate().all(|(place, number)| number.abs_diff(place) <= 16), "{waited:?}");
    assert_eq!(home.get(&format!("{webhook}/deliveries?status=succeeded&limit=100")).await.as_array().map(Vec::len), Some(60));
    assert_eq!(home.backlog(), "empty", "the next one need not wait");
    home.world.advance(SignedDuration::from_secs(1));
    home.opt_outs(60..62).await;
    home.drain_in_time().await;
    assert_eq!((home.told().len(), home.backlog()), (2, json!("empty")));
}

#[tokio::test]
async fn a_webhook_that_fails_is_asked_more_rarely_until_it_is_back() {
    let home = Home::new().await;
    let (webhook, _) = home.webhook("a", json!(["contact.*"])).await;
    home.receiver.says(Say::Status(500, ""));
    for _ in 0..5 {
        home.tested(&webhook).await;
    }
    home.receiver.take();
    // The first attempts of ten events, and the second ones five seconds after each.
    home.opt_outs(0..10).await;
    home.drain_in_time().await;
    let told = home.told();
    assert_eq!(home.health(&webhook).await, "degraded");
    assert!(told.len() >= 20 && keeps_pace(&told, 4, 1_000), "one a second: {told:?}");

    home.world.advance(SignedDuration::from_hours(1));
    home.tested(&webhook).await;
    assert_eq!(home.health(&webhook).await, "failing");
    home.receiver.take();
    home.opt_outs(10..14).await;
    home.drain_in_time().await;
    let told = home.told();
    assert!(told.len() >= 8 && keeps_pace(&told, 3, 30_000), "one in thirty seconds: {told:?}");
    assert!(told.iter().any(|(_, number)| number.ends_with("13")), "nobody waits for ever: {told:?}");

    // A test is one attempt, which nobody waits behind. It says that the receiver is back.
    home.receiver.says(Say::Status(204, ""));
    let began = home.world.clock_now().as_second();
    home.tested(&webhook).await;
    assert_eq!(home.health(&webhook).await, "healthy");
    home.receiver.take();
    home.opt_outs(14..40).await;
    home.drain_in_time().await;
    let told: Vec<(i64, String)> =
        home.told().into_iter().filter(|(_, number)| number[10..].parse::<u32>().expect("a number") >= 14).collect();
    assert!(told.len() == 26 && told.iter().all(|(at, _)| at - began < 120), "the full pace is back: {told:?}");
    home.world.advance(SignedDuration::from_hours(12));
    home.sweep().await;
    let deliveries = home.get(&format!("{webhook}/deliveries?limit=100")).await;
    let failed: Vec<&Value> = deliveries
        .as_array()
        .expect("deliveries")
        .iter()
        .filter(|delivery| delivery["status"] != "succeeded" && delivery["event"] != "webhook.test")
        .collect();
    assert_eq!((failed, home.backlog()), (vec![], json!("empty")));
}

/// A step that dies is done again. Nothing that waits is lost, or told more often than a receiver knows.
#[tokio::test]
async fn a_backlog_outlives_whoever_moves_it() {
    for (of, at, least) in [("fanout", "let_go", 3), ("relay", "webhook_pace", 1)] {
        let mut deaths = 0;
        for waits in 1.. {
            let home = Home::new().await;
            let (webhook, _) = home.webhook("a", json!(["contact.*"])).await;
            home.patch(&webhook, json!({"max_per_second": 1})).await.expect(200);
            home.opt_outs(0..8).await;
            let mortal = Mortal::new(&home.workers, of, waits).at(at);
            Sources::new(&home.world.template, &home.world.aws, mortal.clone()).expect("the sources").drain().await.expect("all is done");
            let numbers: std::collections::BTreeSet<String> = home.told().into_iter().map(|(_, number)| number).collect();
            assert_eq!((numbers.len(), home.backlog()), (8, json!("empty")), "{of} died after {waits} waits");
            if mortal.lived() {
                break;
            }
            deaths += 1;
        }
        assert!(deaths >= least, "{of} died {deaths} times");
    }
}

/// What waits when it is changed, disabled, or expires.
#[tokio::test]
async fn what_changes_while_others_wait_counts_for_them() {
    let home = Home::new().await;
    let (webhook, _) = home.webhook("a", json!(["contact.*"])).await;
    home.patch(&webhook, json!({"max_per_second": 1})).await.expect(200);
    // One that waits, expired, and that DynamoDB did not delete yet.
    home.opt_outs(0..3).await;
    home.drain().await;
    home.receiver.take();
    let stored = home.world.items_of_type("delivery").into_iter().min_by_key(|item| item["sk"]["S"].as_str().map(str::to_owned));
    let stored = stored.expect("a delivery");
    let (pk, sk) = (stored["pk"]["S"].as_str().expect("a key"), stored["sk"]["S"].as_str().expect("a key"));
    home.world.change_item(pk, sk, |item| {
        item["state"] =
            json!({"M": {"status": {"S": "pending"}, "next_attempt_at": {"S": "2026-01-01T00:00:00Z"}, "turn": {"S": "waits"}}});
        (item["lpk"], item["lsk"], item["list_entry"]) = (item["pk"].clone(), item["sk"].clone(), item["event"].clone());
        item["created_at"] = json!({"S": "2020-01-01T00:00:00Z"});
    });
    home.opt_outs(3..9).await;
    home.drain_in_time().await;
    let told = home.told();
    assert_eq!((told.len(), home.backlog()), (6, json!("empty")), "what expired is in nobody's way: {told:?}");
    assert!(home.world.items_of_type("delivery").iter().all(|item| item["sk"]["S"] != sk));

    // Faster from the next step on.
    home.opt_outs(10..60).await;
    let began = home.world.clock_now().as_second();
    home.drain_with("max_per_second", json!({"N": "100"})).await;
    let told = home.told();
    assert!(told.len() == 50 && told.iter().all(|(at, _)| at - began < 45), "{told:?}");

    // Whatever waits for one that is disabled is given up, and soon.
    home.patch(&webhook, json!({"max_per_second": 1})).await.expect(200);
    home.opt_outs(60..100).await;
    let began = home.world.clock_now();
    home.drain_with("enabled", json!({"BOOL": false})).await;
    assert!(home.told().len() < 20);
    assert!(home.world.clock_now().duration_since(began) < SignedDuration::from_secs(240), "most of it is the last look");
    assert!(home.get(&format!("{webhook}/deliveries?status=pending")).await.as_array().is_some_and(Vec::is_empty));
}

/// A job that nobody did for so long that it is lost.
#[tokio::test]
async fn a_backlog_that_stands_still_is_moved_by_the_next_event() {
    let home = Home::new().await;
    let (webhook, _) = home.webhook("a", json!(["contact.*"])).await;
    home.patch(&webhook, json!({"max_per_second": 1})).await.expect(200);
    home.opt_outs(0..6).await;
    home.drain().await;
    home.receiver.take();
    let place = format!("T#{}#webhook-paces", home.own.id);
    let stored = home.world.items_of_type("webhook_pace").remove(0);
    home.world.change_item(&place, stored["sk"]["S"].as_str().expect("a key"), |item| item["backlog"] = json!({"S": "moving"}));
    home.opt_outs(6..7).await;
    home.drain().await;
    assert_eq!((home.told().len(), home.backlog()), (0, json!("moving")), "it waits behind what is said to wait");
    home.world.advance(SignedDuration::from_mins(21));
    home.opt_outs(7..8).await;
    home.drain().await;
    assert_eq!((home.told().len(), home.backlog()), (2, json!("empty")));
    // Whoever brings a step of it to another tenant moves nothing.
    let other = home.world.tenant("other").await;
    let stored = home.world.items_of_type("webhook_pace").remove(0);
    home.world.change_item(&place, stored["sk"]["S"].as_str().expect("a key"), |item| item["backlog"] = json!({"S": "moving"}));
    let stored = home.world.items_of_type("webhook_pace");
    let step = json!({"webhook": stored[0]["id"]["S"], "step": stored[0]["steps"]["N"].as_str().and_then(|n| n.parse::<u64>().ok())});
    for (tenant, moves) in [(&other.id, false), (&home.own.id, true)] {
        let body = json!({"tenant": tenant, "let_go": step}).to_string();
        let batch = json!({"Records": [{"messageId": "1", "body": body, "eventSource": "aws:sqs", "eventSourceARN": "events"}]});
        assert_eq!(home.workers.run("fanout", batch).await.expect("an answer"), json!({"batchItemFailures": []}));
        assert_eq!(home.world.items_of_type("webhook_pace") != stored, moves);
    }
    // With the webhook goes its pace.
    home.world.delete(&webhook).token(&home.owner().token).send().await.expect(200);
    assert!(home.world.items_of_type("webhook_pace").is_empty());
}

#[tokio::test]
async fn a_result_that_we_did_not_sign_is_no_result() {
    let home = Home::new().await;
    let (webhook, _) = home.webhook("a", json!(["*"])).await;
    let delivery = home.test(&webhook).await;
    let (webhook_id, event) = (home.world.items_of_type("webhook").remove(0), home.world.items_of_type("delivery").remove(0));
    let attempt = json!({"made_at": home.world.clock_now().to_string(), "duration_ms": 1, "status_code": 200});
    let returned = json!({"webhook": webhook_id["id"]["S"], "event": event["event"]["S"], "attempt": 1});
    for mac in ["", "x", &"A".repeat(43)] {
        let body = json!({"tenant": home.own.id, "returned": returned, "mac": mac, "attempt": attempt}).to_string();
        assert_eq!(of_results(&home, body).await, json!({"batchItemFailures": [{"itemIdentifier": "1"}]}));
    }
    // Whoever writes there may tell of calls, and of nothing else: neither what happened nor that it is to be told.
    let happened =
        json!({"id": event["event"]["S"], "kind": "message.received", "happened_at": home.world.clock_now().to_string(), "data": {}});
    for job in
        [json!({"happened": happened}), json!({"deliver": {"webhook": webhook_id["id"]["S"], "event": event["event"]["S"], "attempt": 1}})]
    {
        let mut body = job.clone();
        body["tenant"] = json!(home.own.id);
        assert_eq!(of_results(&home, body.to_string()).await, json!({"batchItemFailures": [{"itemIdentifier": "1"}]}), "{job}");
    }
    assert_eq!(home.get(&delivery).await["status"], "pending");
    home.drain().await;
    assert_eq!(home.get(&delivery).await["status"], "succeeded");
}

/// What the worker says to something from the queue into which the herald writes.
async fn of_results(home: &Home, body: String) -> Value {
    let queue = home.world.environment("fanout")["RESULT_QUEUE_ARN"].clone();
    let batch = json!({"Records": [{"messageId": "1", "body": body, "eventSource": "aws:sqs", "eventSourceARN": queue}]});
    home.workers.run("fanout", batch).await.expect("an answer")
}

#[tokio::test]
async fn a_call_that_waited_too_long_is_signed_anew() {
    let home = Home::new().await;
    let (webhook, secret) = home.webhook("a", json!(["*"])).await;
    let delivery = home.test(&webhook).await;
    let stale = Arc::new(Lock::new(true));
    let slow = Waiting { home: (home.workers.clone(), home.world.clone()), stale };
    Sources::new(&home.world.template, &home.world.aws, slow).expect("the sources").drain().await.expect("all is done");
    let seen = home.get(&delivery).await;
    assert_eq!((&seen["status"], &seen["attempts_made"]), (&json!("succeeded"), &json!(1)), "{seen}");
    let heard = home.receiver.take();
    assert_eq!(heard.len(), 1, "the old one did not go");
    assert!(
        heard[0].headers["webhook-timestamp"]
            .to_str()
            .is_ok_and(|at| at.parse::<i64>().is_ok_and(|at| at >= home.world.clock_now().as_second()))
    );
    drop(secret);
}

/// The first call waits for more than a minute.
#[derive(Clone)]
struct Waiting {
    home: (Workers, World),
    stale: Arc<Lock<bool>>,
}

impl Invoke for Waiting {
    async fn invoke(&self, function: &str, payload: Value) -> Result<Value, InvokeError> {
        if function == "herald" && std::mem::take(&mut *self.stale.lock()) {
            self.home.1.advance(SignedDuration::from_secs(61));
        }
        let failed = |message: String| InvokeError::Failed { function: function.to_owned(), message };
        self.home.0.run(function, payload).await.map_err(failed)
    }
}

/// What hangs holds up its own kind alone: whoever lets callers wait, or is not known yet, is called from a queue of its own.
#[tokio::test]
async fn one_that_lets_callers_wait_is_called_apart() {
    let home = Home::new().await;
    let (webhook, _) = home.webhook("a", json!(["contact.*"])).await;
    let called = async |took: Option<u64>| {
        let calls = Calls { workers: home.workers.clone(), took, queues: Arc::default() };
        Sources::new(&home.world.template, &home.world.aws, calls.clone()).expect("the sources").drain().await.expect("all is done");
        assert_eq!(home.receiver.take().len(), 1);
        calls.queues.lock().remove(0)
    };
    let told = async |number: u32, took: Option<u64>| {
        home.opt_outs(number..number + 1).await;
        called(took).await
    };
    let (quick, slow) = ("tenantry-local-DeliveryQueue", "tenantry-local-SlowDeliveryQueue");
    assert_eq!((told(0, None).await, told(1, None).await), (slow.to_owned(), quick.to_owned()), "it answered quickly");
    home.test(&webhook).await;
    assert_eq!(called(None).await, slow, "tests take no turns");
    assert_eq!((told(2, Some(15_000)).await, told(3, None).await), (quick.to_owned(), slow.to_owned()), "it let us wait");
    assert_eq!(told(4, None).await, slow, "which is remembered");
    home.world.advance(SignedDuration::from_mins(61));
    assert_eq!(told(5, None).await, quick);
}

/// Notes from which queues calls came, and says that each took so many milliseconds.
#[derive(Clone)]
struct Calls {
    workers: Workers,
    took: Option<u64>,
    queues: Arc<Lock<Vec<String>>>,
}

impl Invoke for Calls {
    async fn invoke(&self, function: &str, mut payload: Value) -> Result<Value, InvokeError> {
        for record in payload["Records"].as_array_mut().into_iter().flatten() {
            if function == "herald" {
                let source = record["eventSourceARN"].as_str().expect("a queue");
                self.queues.lock().push(source.rsplit(':').next().expect("a name").to_owned());
            }
            let body = record["body"].as_str().and_then(|body| serde_json::from_str::<Value>(body).ok());
            if let (Some(mut body), Some(took)) = (body.filter(|body| body["attempt"].is_object()), self.took) {
                body["attempt"]["duration_ms"] = json!(took);
                record["body"] = json!(body.to_string());
            }
        }
        let failed = |message: String| InvokeError::Failed { function: function.to_owned(), message };
        self.workers.run(function, payload).await.map_err(failed)
    }
}

#[tokio::test]
async fn a_suspended_tenant_waits_and_a_demo_delivers_nothing_outside() {
    let home = Home::new().await;
    let (webhook, _) = home.webhook("a", json!(["*"])).await;
    let delivery = home.test(&webhook).await;
    let tenant = format!("T#{}#tenant", home.own.id);
    let sort = home.world.items().into_iter().find(|item| item["pk"]["S"] == tenant.as_str()).expect("a tenant")["sk"]["S"].clone();
    let sort = sort.as_str().expect("a key");
    home.world.change_item(&tenant, sort, |item| item["status"] = json!({"S": "suspended"}));
    home.drain().await;
    assert!(home.receiver.take().is_empty());
    home.world.advance(SignedDuration::from_hours(2));
    home.sweep().await;
    assert_eq!((home.due(), home.receiver.take().len()), (1, 0));
    home.world.change_item(&tenant, sort, |item| item["status"] = json!({"S": "active"}));
    home.world.advance(SignedDuration::from_hours(2));
    home.sweep().await;
    assert_eq!((home.get(&delivery).await["status"].clone(), home.receiver.take().len(), home.due()), (json!("succeeded"), 1, 0));

    let public = home.create(json!({"url": "https://example.com/", "events": ["*"]})).send().await.expect(201).json();
    home.world.change_item(&tenant, sort, |item| item["kind"] = json!({"S": "demo"}));
    assert_eq!(home.tested(&format!("{ALL}/{}", id(&public["data"]))).await["reason"], "demo");
    assert_eq!(home.tested(&webhook).await["status"], "succeeded", "what the operator lists is not outside");
}

/// Who sends messages to phones is told of every step, and of every answer.
#[tokio::test]
async fn each_step_of_a_message_is_told() {
    let home = Home::new().await;
    let phones = home.world.aws.phones();
    stack::phone_lines::seed(phones, &home.workers, "http://127.0.0.1:1").await.expect("lines");
    home.create(json!({"url": home.receiver.url("hook"), "events": ["message.*", "contact.*"]})).send().await.expect(201);
    let phone = "+15551234567";
    let body = json!({"to": phone, "body": "Hello", "metadata": {"order": "42"}});
    let sent = home.world.post("/v1/messages").token(&home.owner().token).json(body).send().await.expect(202).json();
    let settle = async || {
        for _ in 0..3 {
            drain(&home.world, &home.workers).await;
            crate::messages::tell(&home.world).await;
        }
        drain(&home.world, &home.workers).await;
    };
    settle().await;
    phones.look(phone).expect("a look");
    settle().await;
    phones.say(phone, None, "STOP").expect("said");
    settle().await;
    let mut told: Vec<(String, Value)> = vec![];
    for heard in home.receiver.take() {
        let body: Value = serde_json::from_str(&heard.body).expect("JSON");
        told.push((body["type"].as_str().expect("a type").to_owned(), body["data"].clone()));
    }
    let mut kinds: Vec<&str> = told.iter().map(|(kind, _)| kind.as_str()).collect();
    kinds.sort_unstable();
    // The confirmation of STOP is a message like others: queued, sent and delivered.
    let expected = [
        "contact.opted_out",
        "message.delivered",
        "message.delivered",
        "message.queued",
        "message.queued",
        "message.read",
        "message.received",
        "message.sent",
        "message.sent",
    ];
    assert_eq!(kinds, expected);
    let of = |kind: &str| &told.iter().find(|(known, _)| known == kind).expect("told").1;
    let read = of("message.read");
    assert_eq!((&read["message_id"], &read["metadata"]["order"]), (&sent["data"]["message_id"], &json!("42")));
    assert_eq!((&read["body"], &of("message.received")["body"]), (&Value::Null, &json!("STOP")));
    assert_eq!((&of("contact.opted_out")["phone_number"], &of("contact.opted_out")["keyword"]), (&json!(phone), &json!("STOP")));
    let mine = told.iter().filter(|(_, data)| data["message_id"] == sent["data"]["message_id"]);
    let sequences: Vec<(u64, &str)> = mine.map(|(kind, data)| (data["sequence"].as_u64().expect("a number"), kind.as_str())).collect();
    let in_order: BTreeMap<u64, &str> = sequences.into_iter().collect();
    assert_eq!(in_order.into_values().collect::<Vec<_>>(), ["message.queued", "message.sent", "message.delivered", "message.read"]);
}

/// STOP, START and STOP of one moment, reported together, are three events. Those who want ids alone are told whose number it is.
#[tokio::test]
async fn each_change_of_mind_is_told_however_fast_they_come() {
    let home = Home::new().await;
    let phones = home.world.aws.phones();
    stack::phone_lines::seed(phones, &home.workers, "http://127.0.0.1:1").await.expect("lines");
    let webhook = json!({"url": home.receiver.url("hook"), "events": ["contact.*"], "payload": "thin"});
    home.create(webhook).send().await.expect(201);
    let phone = "+15551234567";
    let body = json!({"to": phone, "body": "Hello"});
    home.world.post("/v1/messages").token(&home.owner().token).json(body).send().await.expect(202);
    for _ in 0..3 {
        drain(&home.world, &home.workers).await;
        crate::messages::tell(&home.world).await;
    }
    let line = phones.conversation(phone).unwrap().messages[0].line.clone();
    let at = home.world.clock.now();
    let said = ["STOP", "START", "STOP"].iter().enumerate().map(|(n, text)| {
        let at = at + SignedDuration::from_millis(i64::try_from(n).unwrap());
        json!({"type": "inbound", "id": n.to_string(), "at": at.to_string(), "line": line, "peer": phone, "text": text})
    });
    let events: Value = said.collect();
    let told = crate::messages::report(&home.world, "minds", &events).send().await.expect(202);
    assert_eq!(told.json()["data"]["accepted"], 3);
    home.drain().await;
    let heard = home.receiver.take();
    let of = |heard: &Heard| -> (String, Value) {
        let body: Value = serde_json::from_str(&heard.body).expect("JSON");
        assert_eq!(body["data"]["phone_number"], phone, "{body}");
        assert_eq!(body["data"].get("keyword"), None, "{body}");
        (body["type"].as_str().expect("a type").to_owned(), body["data"]["sequence"].clone())
    };
    let told: Vec<(String, Value)> = heard.iter().map(of).collect();
    let ids: std::collections::BTreeSet<_> = heard.iter().map(|heard| heard.headers["webhook-id"].to_str().unwrap().to_owned()).collect();
    let mut kinds: Vec<&str> = told.iter().map(|(kind, _)| kind.as_str()).collect();
    kinds.sort_unstable();
    assert_eq!((kinds, ids.len()), (vec!["contact.opted_in", "contact.opted_out", "contact.opted_out"], 3), "{told:?}");
}

/// What is put back by an import happened elsewhere and before.
#[tokio::test]
async fn an_import_of_a_tenant_is_no_news() {
    let home = Home::new().await;
    let phones = home.world.aws.phones();
    stack::phone_lines::seed(phones, &home.workers, "http://127.0.0.1:1").await.expect("lines");
    let body = json!({"to": "+15551234567", "body": "Hello"});
    home.world.post("/v1/messages").token(&home.owner().token).json(body).send().await.expect(202);
    home.world.post("/v1/opt-outs").token(&home.owner().token).json(json!({"phone_number": "+15557654321"})).send().await.expect(201);
    home.drain().await;
    let (exported, _) = export(&home.world, home.owner()).await;
    let command = json!({"command": "import-tenant", "owner": home.owner().email, "lines": exported});
    let imported = home.workers.invoke("operator", command).await.expect("an import");
    assert!(imported["imported"]["phone_message"] == 1 && imported["imported"]["opt_out"] == 1, "{imported}");
    // Before the stream has brought anything.
    let webhook = json!({"url": home.receiver.url("hook"), "events": ["*"]});
    let twin = imported["tenant"].as_str().expect("a tenant");
    home.create(webhook).header("x-tenant-id", twin).send().await.expect(201);
    home.receiver.take();
    home.drain().await;
    let heard: Vec<String> = home.receiver.take().into_iter().map(|heard| heard.body).collect();
    assert_eq!(heard, Vec::<String>::new());
    assert!(home.world.items_of_type("delivery").is_empty());
    // Of the opt-out and of the message's steps there are events where they happened, and none here.
    let events = async |tenant: &str| {
        let listed = home.world.get("/v1/events").token(&home.owner().token).header("x-tenant-id", tenant).send().await.expect(200).json();
        listed["data"].as_array().expect("events").len()
    };
    assert!(events(&home.own.id).await > 1 && events(twin).await == 0);
}
