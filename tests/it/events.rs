//! Events for those who ask: that nobody who reads on misses one, however late it is told; and replays, which deliver again what is asked for and no
//! more, whoever dies.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use records::event::{Event, EventId, EventKind};
use serde_json::{Map, Value, json};
use shared::lock::Lock;
use stack::sources::{Duplicates, Faults, Sources};

use crate::webhooks::{Heard, Home, Mortal, Say, verifies};
use crate::world::{Answer, id};

const EVENTS: &str = "/v1/events";
const NOBODY: &str = "0198c0de000070008000000000000000";
/// An answer that ends a delivery at its first attempt.
const ABORT: Say = Say::Status(500, "webhook-delivery: abort-message\r\n");

/// Something that happened at a moment.
fn happened(number: usize, kind: EventKind, at: Timestamp) -> Event {
    let data = Map::from_iter([("message_id".to_owned(), json!(format!("msg_{number}"))), ("sequence".to_owned(), json!(number))]);
    Event::new(EventId::of(at, &number.to_string(), kind), kind, at, data)
}

/// As the relay queues it.
async fn tell(home: &Home, events: &[Event]) {
    for some in events.chunks(10) {
        let job = |event: &Event| json!({"tenant": home.own.id, "happened": event}).to_string();
        let records: Vec<Value> = some
            .iter()
            .enumerate()
            .map(|(n, event)| json!({"messageId": n.to_string(), "body": job(event), "eventSource": "aws:sqs"}))
            .collect();
        let answer = home.workers.run("fanout", json!({"Records": records})).await.expect("an answer");
        assert_eq!(answer, json!({"batchItemFailures": []}));
    }
}

/// So many, each a millisecond after the one before.
async fn told(home: &Home, numbers: std::ops::Range<usize>, kind: EventKind) -> Vec<Event> {
    let mut events = vec![];
    for number in numbers {
        home.world.advance(SignedDuration::from_millis(1));
        events.push(happened(number, kind, home.world.clock_now()));
    }
    tell(home, &events).await;
    events
}

fn ids(listed: &Value) -> Vec<String> {
    listed["data"].as_array().expect("a list").iter().map(|event| id(event).to_owned()).collect()
}

fn prefixed(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| event.id.prefixed()).collect()
}

async fn page(home: &Home, query: &str) -> Value {
    home.world.get(format!("{EVENTS}?{query}")).token(&home.owner().token).send().await.expect(200).json()
}

/// All pages, until one says that nothing follows, or nothing comes for one who reads on; and the last cursor.
async fn walk(home: &Home, query: &str, from: Option<String>) -> (Vec<String>, usize, Option<String>) {
    let (mut seen, mut pages, mut cursor) = (vec![], 0, from);
    loop {
        let asked = cursor.as_ref().map_or(query.to_owned(), |cursor| format!("{query}&cursor={cursor}"));
        let found = page(home, &asked).await;
        pages += 1;
        assert!(pages < 1_000, "it goes on for ever");
        let some = ids(&found);
        cursor = found["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() || (query.contains("order=asc") && some.is_empty()) {
            seen.extend(some);
            return (seen, pages, cursor);
        }
        seen.extend(some);
    }
}

fn named(refused: &Answer) -> Vec<String> {
    refused.details().as_object().expect("details").keys().cloned().collect()
}

// ---------------------------------------------------------------- events

#[tokio::test]
async fn an_event_is_shown_as_a_webhook_is_told_of_it() {
    let home = Home::new().await;
    let (webhook, secret) = home.webhook("a", json!(["contact.*"])).await;
    for number in ["+15551234567", "+15557654321"] {
        home.post("/v1/opt-outs", json!({"phone_number": number})).await.expect(201);
    }
    home.drain().await;
    let listed = page(&home, "").await;
    assert_eq!(listed["next_cursor"], Value::Null);
    let heard: BTreeMap<String, Heard> =
        home.receiver.take().into_iter().map(|heard| (heard.headers["webhook-id"].to_str().expect("text").to_owned(), heard)).collect();
    assert_eq!((ids(&listed).len(), heard.len()), (2, 2));
    for event in listed["data"].as_array().expect("events") {
        let heard = &heard[id(event)];
        assert!(verifies(&secret, heard));
        let mut told: Value = serde_json::from_str(&heard.body).expect("JSON");
        assert_eq!((&told["type"], &told["data"]["tenant_id"]), (&json!("contact.opted_out"), &json!(home.own.id)));
        told["id"] = event["id"].clone();
        assert_eq!(*event, told);
        assert_eq!(home.get(&format!("{EVENTS}/{}", id(event))).await, told);
    }
    let [newest, oldest] = &listed["data"].as_array().expect("events")[..] else { panic!("{listed}") };
    assert!(newest["timestamp"].as_str() > oldest["timestamp"].as_str(), "newest first");
    let moment = |event: &Value| event["timestamp"].as_str().expect("a moment").to_owned();
    for (query, expected) in [
        ("type=contact.*".to_owned(), vec![newest, oldest]),
        ("type=*".to_owned(), vec![newest, oldest]),
        ("type=contact.opted_out&order=desc".to_owned(), vec![newest, oldest]),
        ("type=message.inbound".to_owned(), vec![]),
        (format!("since={}", moment(newest)), vec![newest]),
        (format!("until={}", moment(newest)), vec![oldest]),
        (format!("order=asc&until={}", moment(newest)), vec![oldest]),
        (format!("order=asc&since={}&until=2100-01-01T00:00:00Z", moment(oldest)), vec![oldest, newest]),
    ] {
        let expected: Vec<String> = expected.into_iter().map(|event| id(event).to_owned()).collect();
        let found = page(&home, &query).await;
        assert_eq!((ids(&found), &found["next_cursor"]), (expected, &Value::Null), "{query}");
    }
    // Its own test is an event too, and no delivery of others.
    home.test(&webhook).await;
    assert_eq!(page(&home, "type=webhook.*").await["data"][0]["type"], "webhook.test");
}

#[tokio::test]
async fn a_batch_of_several_tenants_tells_each_of_its_own() {
    let home = Home::new().await;
    let other = home.world.tenant("other").await;
    home.webhook("own", json!(["message.*"])).await;
    let webhook = json!({"url": home.receiver.url("other"), "events": ["message.*"]});
    home.world.post("/v1/webhooks").token(&other.owner.token).json(webhook).send().await.expect(201);
    let tenants = [&home.own.id, &other.id];
    let job = |number: usize| {
        let happened = happened(number, EventKind::MessageSent, home.world.clock_now());
        json!({"tenant": tenants[number % 2], "happened": happened}).to_string()
    };
    let records: Vec<Value> =
        (0..10).map(|number| json!({"messageId": number.to_string(), "body": job(number), "eventSource": "aws:sqs"})).collect();
    home.workers.run("fanout", json!({"Records": records})).await.expect("an answer");
    home.drain().await;
    let mut heard: Vec<(String, String, u64)> = home.receiver.take().iter().map(whose).collect();
    heard.sort();
    let expected =
        |path: &str, at: usize| (0..5).map(|number| (format!("/{path}"), tenants[at].clone(), 2 * number + at as u64)).collect::<Vec<_>>();
    assert_eq!(heard, [expected("other", 1), expected("own", 0)].concat());
    assert_eq!(ids(&page(&home, "type=message.*").await).len(), 5);
}

/// Where something was heard, of which tenant, and which of all.
fn whose(heard: &Heard) -> (String, String, u64) {
    let told: Value = serde_json::from_str(&heard.body).expect("JSON");
    let tenant = told["data"]["tenant_id"].as_str().expect("a tenant").to_owned();
    (heard.path.clone(), tenant, told["data"]["sequence"].as_u64().expect("a number"))
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_named_and_what_is_others_is_not_there() {
    let home = Home::new().await;
    let events = told(&home, 0..3, EventKind::MessageSent).await;
    for (query, field) in [
        ("type=message", "type"),
        ("type=message.*.*", "type"),
        ("since=yesterday", "since"),
        ("until=1", "until"),
        ("order=up", "order"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("offset=1", "offset"),
        ("event=message.sent", "event"),
    ] {
        let refused = home.world.get(format!("{EVENTS}?{query}")).token(&home.owner().token).send().await.expect(400);
        assert_eq!((refused.code().as_str(), named(&refused)), ("VALIDATION_ERROR", vec![field.to_owned()]), "{query}");
    }
    let cursor = page(&home, "limit=1").await["next_cursor"].as_str().expect("a cursor").to_owned();
    page(&home, &format!("limit=2&cursor={cursor}")).await;
    for query in [format!("order=asc&cursor={cursor}"), format!("type=*&cursor={cursor}"), "cursor=x".into()] {
        home.world.get(format!("{EVENTS}?{query}")).token(&home.owner().token).send().await.expect(400);
    }
    let one = format!("{EVENTS}/{}", events[0].id.prefixed());
    let other = home.world.tenant("globex").await;
    assert_eq!(home.world.get(EVENTS).token(&other.owner.token).send().await.expect(200).json(), json!({"data": [], "next_cursor": null}));
    for path in [one.clone(), format!("{EVENTS}/evt_{NOBODY}"), format!("{EVENTS}/x")] {
        assert_eq!(home.world.get(path).token(&other.owner.token).send().await.expect(404).code(), "NOT_FOUND");
    }
    home.world.get(&format!("{EVENTS}/evt_{NOBODY}")[..]).token(&home.owner().token).send().await.expect(404);

    // Whoever may read messages may read what happened to them.
    let viewer = home.world.member(&home.own, "viewer").await;
    for path in [EVENTS, &one] {
        home.world.get(path).token(&viewer.token).send().await.expect(200);
        home.world.get(path).send().await.expect(401);
    }
    let key = async |environment: &str, scope: &str| {
        let body = json!({"name": "app", "environment": environment, "scopes": [scope]});
        let made = home.world.post("/v1/api-keys").token(&home.owner().token).json(body).send().await.expect(201).json();
        made["data"]["key"].as_str().expect("a key").to_owned()
    };
    let (live, narrow, test) = (key("live", "webhooks:read").await, key("live", "messages:*").await, key("test", "*").await);
    assert_eq!(ids(&home.world.get(EVENTS).token(&live).send().await.expect(200).json()).len(), 3);
    home.world.get(&one).token(&live).send().await.expect(200);
    for path in [EVENTS, &one] {
        home.world.get(path).token(&narrow).send().await.expect(403);
    }
    // What happened to what is real is nothing for a test.
    assert_eq!(home.world.get(EVENTS).token(&test).send().await.expect(200).json(), json!({"data": [], "next_cursor": null}));
    home.world.get(&one).token(&test).send().await.expect(404);
}

#[tokio::test]
async fn pages_reach_the_end_in_either_order() {
    let home = Home::new().await;
    let mut events = prefixed(&told(&home, 0..230, EventKind::MessageSent).await);
    home.world.advance(SignedDuration::from_mins(1));
    let until = "order=asc&until=2100-01-01T00:00:00Z";
    for (limit, pages) in [(100, 3), (115, 2), (23, 10)].into_iter().filter(|(limit, _)| *limit <= 100) {
        assert_eq!(walk(&home, &format!("{until}&limit={limit}"), None).await, (events.clone(), pages, None));
        let (seen, some, cursor) = walk(&home, &format!("order=asc&limit={limit}"), None).await;
        assert_eq!((seen, some), (events.clone(), pages + 1), "and one that finds nothing");
        assert!(cursor.is_some(), "it can be read on from there");
        events.reverse();
        assert_eq!(walk(&home, &format!("limit={limit}"), None).await, (events.clone(), pages, None));
        events.reverse();
    }
    // One among many: a page looks at a thousand, and says where to go on.
    let rare = prefixed(&told(&home, 230..231, EventKind::MessageRead).await);
    told(&home, 231..1_600, EventKind::MessageSent).await;
    home.world.advance(SignedDuration::from_mins(1));
    for query in ["type=message.read", "type=message.read&order=asc"] {
        let first = page(&home, query).await;
        let (seen, pages, _) = walk(&home, query, None).await;
        assert!(pages >= 2 && first["next_cursor"].is_string(), "{query}: {pages} pages");
        assert_eq!(seen, rare, "{query}");
    }
}

/// Told in any order and up to an hour late, while somebody reads on.
#[tokio::test]
async fn who_reads_on_sees_each_event_once_however_late_it_is_told() {
    for seed in 1..=3_u64 {
        let home = Home::new().await;
        let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut roll = |sides: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) % sides
        };
        let (mut waiting, mut all): (Vec<(Timestamp, Event)>, BTreeSet<String>) = (vec![], BTreeSet::new());
        let (mut seen, mut cursor): (Vec<String>, Option<String>) = (vec![], None);
        for step in 0..240 {
            home.world.advance(SignedDuration::from_millis(i64::try_from(roll(4_000)).expect("small")));
            let now = home.world.clock_now();
            for number in 0..roll(3) {
                let event = happened(step * 10 + usize::try_from(number).expect("small"), EventKind::MessageSent, now);
                let delay = [0, 0, 0, 1, 4, 5, 6, 20, 70, 3_600][usize::try_from(roll(10)).expect("small")];
                all.insert(event.id.prefixed());
                waiting.push((now + SignedDuration::from_secs(delay), event));
            }
            let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut waiting).into_iter().partition(|(at, _)| *at <= now);
            waiting = later;
            tell(&home, &due.into_iter().map(|(_, event)| event).collect::<Vec<_>>()).await;
            if roll(4) == 0 {
                let (some, _, next) = walk(&home, "order=asc&limit=7", cursor.take()).await;
                seen.extend(some);
                cursor = next;
            }
        }
        home.world.advance(SignedDuration::from_hours(2));
        let rest: Vec<Event> = waiting.into_iter().map(|(_, event)| event).collect();
        // Twice, as queues do.
        tell(&home, &rest).await;
        tell(&home, &rest).await;
        home.world.advance(SignedDuration::from_mins(1));
        seen.extend(walk(&home, "order=asc&limit=7", cursor).await.0);
        let distinct: BTreeSet<String> = seen.iter().cloned().collect();
        assert_eq!((seen.len(), &distinct), (all.len(), &all), "seed {seed}");
        // From the beginning, and newest first, the same are there, each once.
        for query in ["order=asc&limit=50", "limit=50", "order=asc&limit=50&until=2100-01-01T00:00:00Z"] {
            let (again, _, _) = walk(&home, query, None).await;
            let distinct: BTreeSet<String> = again.iter().cloned().collect();
            assert_eq!((again.len(), &distinct), (all.len(), &all), "seed {seed}, {query}");
        }
        let copies = home.world.items_of_type("event").len() - all.len();
        assert!(copies > 10, "{copies} were late");
    }
}

/// Writers and a reader at the same time.
#[tokio::test]
async fn who_reads_on_while_others_write_misses_nothing() {
    let home = Home::new().await;
    let all = Lock::new(BTreeSet::new());
    let write = async |writer: usize| {
        for round in 0..25 {
            home.world.advance(SignedDuration::from_millis(300));
            let at = home.world.clock_now();
            let events: Vec<Event> = (0..4).map(|n| happened(writer * 1_000 + round * 10 + n, EventKind::MessageSent, at)).collect();
            all.lock().extend(prefixed(&events));
            tokio::task::yield_now().await;
            tell(&home, &events).await;
        }
    };
    let read = async {
        let (mut seen, mut cursor) = (vec![], None);
        for _ in 0..40 {
            let (some, _, next) = walk(&home, "order=asc&limit=10", cursor.take()).await;
            seen.extend(some);
            cursor = next;
            tokio::task::yield_now().await;
        }
        (seen, cursor)
    };
    let ((), (), (), (mut seen, cursor)) = tokio::join!(write(1), write(2), write(3), read);
    home.world.advance(SignedDuration::from_mins(1));
    seen.extend(walk(&home, "order=asc&limit=10", cursor).await.0);
    let distinct: BTreeSet<String> = seen.iter().cloned().collect();
    assert_eq!((seen.len(), &distinct), (300, &*all.lock()));
}

#[tokio::test]
async fn who_keeps_no_events_keeps_what_a_webhook_takes() {
    let home = Home::new().await;
    let settings = "/v1/settings/messaging";
    assert_eq!(home.get(settings).await["keep_events"], true);
    let changed = home.patch(settings, json!({"keep_events": false})).await.expect(200);
    assert_eq!((&changed.json()["data"]["keep_events"], changed.header("etag")), (&json!(false), "\"1\""));
    assert_eq!(home.patch(settings, json!({"keep_events": false})).await.expect(200).header("etag"), "\"1\"", "it is so already");
    for wrong in [json!("no"), json!(0), Value::Null] {
        assert_eq!(named(&home.patch(settings, json!({"keep_events": wrong})).await.expect(400)), ["keep_events"]);
    }
    told(&home, 0..2, EventKind::MessageSent).await;
    assert_eq!((ids(&page(&home, "").await), home.world.items_of_type("event").len()), (vec![], 0));
    home.webhook("a", json!(["message.read"])).await;
    told(&home, 2..4, EventKind::MessageSent).await;
    let taken = told(&home, 4..5, EventKind::MessageRead).await;
    assert_eq!(ids(&page(&home, "").await), prefixed(&taken));
    home.patch(settings, json!({"keep_events": true})).await.expect(200);
    let kept = told(&home, 5..6, EventKind::MessageSent).await;
    assert_eq!(ids(&page(&home, "").await)[0], kept[0].id.prefixed());
    // For 30 days.
    home.world.advance(SignedDuration::from_hours(30 * 24 + 1));
    let owner = home.world.login(&home.owner().email, &home.owner().password).await;
    assert_eq!(home.world.get(EVENTS).token(&owner.token).send().await.expect(200).json()["data"], json!([]));
}

// ---------------------------------------------------------------- replays

/// Since an hour ago.
fn since(home: &Home) -> String {
    (home.world.clock_now() - SignedDuration::from_hours(1)).to_string()
}

async fn replay(home: &Home, webhook: &str, body: Value) -> String {
    let begun = home.post(&format!("{webhook}/replay"), body).await.expect(202).json()["data"].clone();
    assert_eq!((&begun["status"], &begun["replayed"], &begun["ended_at"]), (&json!("running"), &json!(0), &Value::Null), "{begun}");
    format!("{webhook}/replay/{}", id(&begun))
}

/// What was heard, by `webhook-id`.
fn by_id(heard: Vec<Heard>) -> BTreeMap<String, Vec<Heard>> {
    let mut all: BTreeMap<String, Vec<Heard>> = BTreeMap::new();
    for heard in heard {
        all.entry(heard.headers["webhook-id"].to_str().expect("text").to_owned()).or_default().push(heard);
    }
    all
}

#[tokio::test]
async fn what_failed_or_all_is_delivered_again_with_the_same_id_and_body() {
    let home = Home::new().await;
    // Before there was a webhook.
    let early = told(&home, 0..2, EventKind::MessageSent).await;
    let (webhook, secret) = home.webhook("a", json!(["message.*"])).await;
    home.receiver.says(ABORT);
    home.test(&webhook).await;
    let failed = told(&home, 2..5, EventKind::MessageSent).await;
    let failed_read = told(&home, 5..6, EventKind::MessageRead).await;
    home.drain().await;
    let before = by_id(home.receiver.take());
    home.receiver.says(Say::Status(204, ""));
    let succeeded = told(&home, 6..8, EventKind::MessageSent).await;
    told(&home, 8..9, EventKind::ContactOptedOut).await;
    home.drain().await;
    home.receiver.take();

    let job = replay(&home, &webhook, json!({"since": since(&home), "event": "message.read"})).await;
    home.drain().await;
    let done = home.get(&job).await;
    assert_eq!((&done["status"], &done["replayed"], &done["more_since"]), (&json!("completed"), &json!(1), &Value::Null), "{done}");
    assert_eq!((&done["selects"], &done["event"]), (&json!("failed"), &json!("message.read")));
    assert_eq!(by_id(home.receiver.take()).into_keys().collect::<Vec<_>>(), prefixed(&failed_read));

    let job = replay(&home, &webhook, json!({"since": since(&home), "status": "failed"})).await;
    home.drain().await;
    assert_eq!(home.get(&job).await["replayed"], 3, "the test is not told again, nor what was delivered by now");
    let heard = by_id(home.receiver.take());
    assert_eq!(heard.keys().cloned().collect::<BTreeSet<_>>(), prefixed(&failed).into_iter().collect());
    for (event, heard) in &heard {
        assert_eq!((heard.len(), &heard[0].body), (1, &before[event][0].body));
        assert!(verifies(&secret, &heard[0]));
        let delivery = home.get(&format!("{webhook}/deliveries/{event}")).await;
        assert_eq!((&delivery["status"], &delivery["attempts_made"]), (&json!("succeeded"), &json!(2)));
    }

    let all = [early.clone(), failed, failed_read, succeeded.clone()].concat();
    let job = replay(&home, &webhook, json!({"since": since(&home), "status": "all"})).await;
    home.drain().await;
    assert_eq!((&home.get(&job).await["status"], &home.get(&job).await["replayed"]), (&json!("completed"), &json!(8)));
    let heard = by_id(home.receiver.take());
    assert_eq!(heard.keys().cloned().collect::<BTreeSet<_>>(), prefixed(&all).into_iter().collect());
    assert!(heard.values().all(|heard| heard.len() == 1 && verifies(&secret, &heard[0])));

    // Of a part of the time.
    let (from, to) = (early[1].happened_at.to_string(), succeeded[0].happened_at.to_string());
    let job = replay(&home, &webhook, json!({"since": from, "until": to, "status": "all", "event": "message.*"})).await;
    home.drain().await;
    assert_eq!((home.get(&job).await["replayed"].clone(), by_id(home.receiver.take()).len()), (json!(5), 5));
    // Who asked is told, once for each.
    let entries = home.world.get("/api/tenant/audit-log?limit=100").token(&home.owner().token).send().await.expect(200).text;
    assert_eq!(entries.matches("\"replay\"").count(), 4, "{entries}");
}

#[tokio::test]
async fn a_long_replay_goes_page_by_page_and_ends_where_one_may_not_take_more() {
    let home = Home::new().await;
    let mut events = told(&home, 0..250, EventKind::MessageSent).await;
    // Told late, it lies there twice, and is one.
    let late = happened(999, EventKind::MessageSent, home.world.clock_now());
    home.world.advance(SignedDuration::from_mins(1));
    tell(&home, std::slice::from_ref(&late)).await;
    events.push(late);
    let (webhook, _) = home.webhook("a", json!(["*"])).await;
    let job = replay(&home, &webhook, json!({"since": since(&home), "status": "all"})).await;
    home.drain().await;
    assert_eq!((home.get(&job).await["replayed"].clone(), by_id(home.receiver.take()).len()), (json!(251), 251));
    let pages = home.world.items_of_type("replay").remove(0)["version"]["N"].clone();
    assert_eq!(pages, "4", "the first, and each of three pages");

    // As if it had taken 9,900 before.
    let job = replay(&home, &webhook, json!({"since": since(&home), "status": "all"})).await;
    let running = running(&home);
    let place = |name: &str| running[name]["S"].as_str().expect("a key").to_owned();
    home.world.change_item(&place("pk"), &place("sk"), |item| item["replayed"] = json!({"N": "9900"}));
    home.drain().await;
    let full = home.get(&job).await;
    assert_eq!((&full["status"], &full["replayed"]), (&json!("completed"), &json!(10_000)));
    assert_eq!(full["more_since"], shown(events[100].happened_at));
    let job = replay(&home, &webhook, json!({"since": full["more_since"], "status": "all"})).await;
    home.drain().await;
    assert_eq!((home.get(&job).await["replayed"].clone(), by_id(home.receiver.take()).len()), (json!(151), 251));
}

/// Of an hour of nothing, and of thousands that are not wanted.
#[tokio::test]
async fn a_replay_of_nothing_ends() {
    let home = Home::new().await;
    told(&home, 0..1_250, EventKind::MessageSent).await;
    let (webhook, _) = home.webhook("a", json!(["message.read"])).await;
    for (body, pages) in [(json!({"status": "all"}), "3"), (json!({"status": "failed"}), "2")] {
        let mut body = body;
        body["since"] = json!(since(&home));
        let job = replay(&home, &webhook, body).await;
        home.drain().await;
        let done = home.get(&job).await;
        assert_eq!((&done["status"], &done["replayed"]), (&json!("completed"), &json!(0)));
        let uuid = id(&done)[4..].to_owned();
        let items = home.world.items_of_type("replay");
        let item = items.iter().find(|item| item["id"]["S"].as_str().is_some_and(|text| text.replace('-', "") == uuid)).expect("it");
        assert_eq!(item["version"]["N"], pages);
    }
}

fn running(home: &Home) -> Value {
    let is_running = |item: &Value| item["status"]["S"] == "running";
    home.world.items_of_type("replay").into_iter().find(is_running).expect("one that runs")
}

fn shown(moment: Timestamp) -> Value {
    serde_json::to_value(shared::model::time::zulu(moment)).expect("JSON")
}

#[tokio::test]
async fn one_at_a_time_and_not_while_the_webhook_rests() {
    let home = Home::new().await;
    let (webhook, _) = home.webhook("a", json!(["*"])).await;
    let (other, _) = home.webhook("b", json!(["*"])).await;
    let path = format!("{webhook}/replay");
    told(&home, 0..3, EventKind::MessageSent).await;
    home.drain().await;
    home.receiver.take();
    home.world.advance(SignedDuration::from_millis(1));
    let body = json!({"since": since(&home), "status": "all"});
    let racing = (0..8).map(|_| home.world.post(&path).token(&home.owner().token).json(body.clone()).send());
    let answers = futures_util::future::join_all(racing).await;
    let begun: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 202).collect();
    let refused = answers.iter().filter(|answer| answer.status == 409 && answer.code() == "CONFLICT").count();
    assert_eq!((begun.len(), refused), (1, 7));
    let first = begun[0].json()["data"].clone();
    home.post(&format!("{other}/replay"), body.clone()).await.expect(202);
    home.drain().await;
    assert_eq!(home.receiver.take().len(), 6);
    // A repeated request begins nothing.
    let once = || home.world.post(&path).token(&home.owner().token).header("idempotency-key", "k1").json(body.clone());
    let (one, two) = (once().send().await.expect(202), once().send().await.expect(202));
    assert_eq!(one.json(), two.json());
    home.drain().await;
    assert_eq!((home.receiver.take().len(), home.world.items_of_type("replay").len()), (3, 3));
    assert_eq!(home.get(&format!("{path}/{}", id(&first))).await["status"], "completed", "earlier ones stay to be seen");

    // Disabled before, and meanwhile.
    let job = replay(&home, &webhook, body.clone()).await;
    home.patch(&webhook, json!({"enabled": false})).await.expect(200);
    assert_eq!(home.post(&path, body.clone()).await.expect(409).code(), "WEBHOOK_DISABLED");
    home.drain().await;
    let stopped = home.get(&job).await;
    assert_eq!((&stopped["status"], &stopped["replayed"]), (&json!("stopped"), &json!(0)));
    assert!(stopped["ended_at"].is_string() && home.receiver.take().is_empty());

    // What its queue gave up is in nobody's way.
    home.patch(&webhook, json!({"enabled": true})).await.expect(200);
    let stalled = replay(&home, &webhook, body.clone()).await;
    home.world.advance(SignedDuration::from_mins(59));
    home.post(&path, body.clone()).await.expect(409);
    home.world.advance(SignedDuration::from_mins(2));
    let next = replay(&home, &webhook, json!({"since": since(&home), "status": "failed"})).await;
    assert_eq!(home.get(&stalled).await["status"], "stopped");
    home.drain().await;
    assert_eq!(home.get(&next).await["status"], "completed");

    // It ends with its webhook.
    let job = replay(&home, &webhook, json!({"since": since(&home)})).await;
    home.world.delete(&webhook).token(&home.owner().token).send().await.expect(200);
    home.drain().await;
    home.world.get(job).token(&home.owner().token).send().await.expect(404);
    assert!(home.world.items_of_type("replay").iter().all(|item| item["status"]["S"] != "running"));
}

#[tokio::test]
async fn a_replay_names_what_is_wrong_and_is_for_admins_of_its_tenant() {
    let home = Home::new().await;
    let (webhook, _) = home.webhook("a", json!(["*"])).await;
    let (other, _) = home.webhook("b", json!(["*"])).await;
    let path = format!("{webhook}/replay");
    let ago = |hours: i64| (home.world.clock_now() - SignedDuration::from_hours(hours)).to_string();
    let good = json!({"since": ago(1)});
    for (field, value) in [
        ("since", Value::Null),
        ("since", json!("yesterday")),
        ("since", json!(ago(24 * 30 + 1))),
        ("since", json!(ago(-1))),
        ("until", json!(ago(2))),
        ("until", json!(1)),
        ("status", json!("succeeded")),
        ("event", json!("message")),
        ("limit", json!(1)),
    ] {
        let mut body = good.clone();
        body[field] = value.clone();
        let refused = home.post(&path, body).await.expect(400);
        assert_eq!((refused.code().as_str(), named(&refused)), ("VALIDATION_ERROR", vec![field.to_owned()]), "{field}: {value}");
    }
    let refused = home.post(&path, json!({"status": "x", "event": "x"})).await.expect(400);
    assert_eq!(named(&refused), ["event", "since", "status"]);
    let job = replay(&home, &webhook, json!({"since": ago(24 * 30), "until": ago(-24)})).await;
    let job_id = job.rsplit('/').next().expect("an id").to_owned();
    assert_eq!(home.get(&job).await["until"], home.get(&job).await["created_at"], "what is to come is told anyway");

    let (member, stranger) = (home.world.member(&home.own, "member").await, home.world.tenant("globex").await.owner);
    home.world.post(&path).token(&member.token).json(good.clone()).send().await.expect(403);
    home.world.get(&job).token(&member.token).send().await.expect(200);
    home.world.post(&path).token(&stranger.token).json(good.clone()).send().await.expect(404);
    home.world.get(&job).token(&stranger.token).send().await.expect(404);
    for gone in [format!("{other}/replay/{job_id}"), format!("{path}/rpl_{NOBODY}"), format!("{path}/x")] {
        home.world.get(gone).token(&home.owner().token).send().await.expect(404);
    }
    home.drain().await;
    home.world.get(format!("{other}/replay/{job_id}")).token(&home.owner().token).send().await.expect(404);
    home.world.get(&job).token(&home.owner().token).send().await.expect(200);
}

/// Whoever dies at whatever point, each event arrives, and is counted once.
async fn a_replay_where_dies(of: &'static str) {
    let home = Home::new().await;
    let (webhook, secret) = home.webhook("a", json!(["*"])).await;
    home.receiver.says(ABORT);
    let events: BTreeSet<String> = prefixed(&told(&home, 0..3, EventKind::MessageSent).await).into_iter().collect();
    home.drain().await;
    home.receiver.take();
    let mut deaths = 0;
    for waits in 1.. {
        // Each time they fail again, for the next time.
        let selects = if waits % 2 == 0 { "failed" } else { "all" };
        let job = replay(&home, &webhook, json!({"since": since(&home), "status": selects})).await;
        let mortal = Mortal::new(&home.workers, of, waits);
        Sources::new(&home.world.template, &home.world.aws, mortal.clone()).expect("the sources").drain().await.expect("all is done");
        let lived = mortal.lived();
        let done = home.get(&job).await;
        assert_eq!((&done["status"], &done["replayed"]), (&json!("completed"), &json!(3)), "{of} died after {waits}: {done}");
        let heard = by_id(home.receiver.take());
        assert_eq!(heard.keys().cloned().collect::<BTreeSet<_>>(), events, "{of} died after {waits}");
        assert!(heard.values().all(|heard| heard.len() <= 2 && heard.iter().all(|one| verifies(&secret, one))), "{of} died after {waits}");
        if lived {
            break;
        }
        deaths += 1;
        assert!(waits < 3_000);
    }
    assert!(deaths > 0, "{of} never died");
}

#[tokio::test]
async fn a_fanout_that_dies_anywhere_in_a_replay_loses_nothing() {
    a_replay_where_dies("fanout").await;
}

#[tokio::test]
async fn a_relay_that_dies_anywhere_in_a_replay_loses_nothing() {
    a_replay_where_dies("relay").await;
}

#[tokio::test]
async fn a_replay_whose_jobs_come_twice_and_in_any_order_counts_each_event_once() {
    for (seed, duplicates) in [(1, Duplicates::Again), (2, Duplicates::AtOnce), (3, Duplicates::AtOnce)] {
        let home = Home::new().await;
        let events = told(&home, 0..130, EventKind::MessageSent).await;
        let (webhook, _) = home.webhook("a", json!(["*"])).await;
        let job = replay(&home, &webhook, json!({"since": since(&home), "status": "all"})).await;
        let faults = Faults { seed, duplicates, reorder: true, ..Faults::default() };
        let sources = Sources::with_faults(&home.world.template, &home.world.aws, home.workers.clone(), faults).expect("the sources");
        sources.drain().await.expect("all is done");
        assert_eq!((home.get(&job).await["status"].clone(), home.get(&job).await["replayed"].clone()), (json!("completed"), json!(130)));
        let heard = by_id(home.receiver.take());
        assert_eq!(heard.keys().cloned().collect::<BTreeSet<_>>(), prefixed(&events).into_iter().collect());
    }
}
