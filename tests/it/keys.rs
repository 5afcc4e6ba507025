//! API keys: their text, what they open, how long, how often, and how they are replaced while they are in use.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::world::{Answer, Request, Settings, Tenant, World, id};

const F3: &str = "/api/tenant-api-key";
const F4: &str = "/v1/api-keys";
const PROJECTS: &str = "/api/v1/projects";

#[tokio::test]
async fn the_examples_of_the_source_work_as_printed() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let body = json!({"name": "CI/CD Integration Key", "expiresAt": "2099-12-31T00:00:00.000Z"});
    let created = world.post(F3).token(&own.owner.token).json(body).send().await.expect(201).json();
    assert_eq!(
        (created["name"].as_str(), created["expiresAt"].as_str()),
        (Some("CI/CD Integration Key"), Some("2099-12-31T00:00:00.000Z"))
    );
    assert_eq!(created["tenantId"], own.id.as_str());
    let text = created["apiKey"].as_str().expect("the key, once");
    let listed = world.get(F3).token(&own.owner.token).send().await.expect(200);
    let keys = listed.json();
    assert_eq!((keys[0]["id"].clone(), keys[0]["lastUsedAt"].clone()), (created["id"].clone(), Value::Null));
    assert!(!listed.text.contains(&text[20..]), "{}", listed.text);
    world.get(PROJECTS).header("x-api-key", text).send().await.expect(200);
    world.delete(format!("{F3}/{}", id(&created))).token(&own.owner.token).send().await.expect(200);
    world.get(PROJECTS).header("x-api-key", text).send().await.expect(401);
    world.delete(format!("{F3}/{}", id(&created))).token(&own.owner.token).send().await.expect(404);
}

#[tokio::test]
async fn both_families_show_the_same_keys_each_in_its_shape() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let body = json!({"name": "Senders", "rate_limit": 90, "environment": "test", "scopes": ["projects:*", "usage:read"]});
    let created = world.post(F4).token(&own.owner.token).json(body).send().await.expect(201).json()["data"].clone();
    let text = created["key"].as_str().expect("the key, once");
    assert!(text.starts_with("tf_test_") && text.len() == 69, "{text}");
    assert!(id(&created).starts_with("key_") && created["rate_limit"] == 90, "{created}");
    let shown = world.get(format!("{F4}/{}", id(&created))).token(&own.owner.token).send().await.expect(200).json()["data"].clone();
    assert_eq!(shown["key_hint"], format!("...{}", &text[65..]));
    assert_eq!(shown["scopes"], json!(["projects:*", "usage:read"]));
    let bare = world.get(F3).token(&own.owner.token).send().await.expect(200).json()[0].clone();
    assert_eq!((&bare["name"], &bare["environment"], &bare["rateLimit"]), (&json!("Senders"), &json!("test"), &json!(90)));
    assert_eq!(format!("key_{}", id(&bare).replace('-', "")), id(&created));
    let page = world.get(format!("{F4}?limit=1")).token(&own.owner.token).send().await.expect(200).json();
    assert_eq!((page["data"].as_array().map(Vec::len), &page["next_cursor"]), (Some(1), &Value::Null));
    let gone = world.delete(format!("{F4}/{}", id(&bare))).token(&own.owner.token).send().await.expect(200).json();
    assert_eq!((&gone["data"]["id"], &gone["data"]["revoked"]), (&created["id"], &json!(true)));
}

#[tokio::test]
async fn a_key_comes_as_bearer_or_in_its_own_header_but_once() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let key = make(&world, &own, json!({})).await;
    world.get(PROJECTS).token(&key.text).send().await.expect(200);
    world.get(PROJECTS).header("x-api-key", &key.text).send().await.expect(200);
    world.get(PROJECTS).token(&key.text).header("x-api-key", &key.text).send().await.expect(400);
    world.get(PROJECTS).token(&own.owner.token).header("x-api-key", &key.text).send().await.expect(400);
    world.get(PROJECTS).header("x-api-key", &key.text).header("x-api-key", &key.text).send().await.expect(400);
    world.get(PROJECTS).header("x-api-key", &own.owner.token).send().await.expect(401);
    let basic = world.get(PROJECTS).header("authorization", &format!("Basic {}", key.text));
    basic.send().await.expect(401);
}

#[tokio::test]
async fn a_key_that_is_none_is_refused_before_any_read() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let text = make(&world, &own, json!({})).await.text;
    let mut wrong =
        vec![text.to_lowercase(), text.to_uppercase(), format!("{text}A"), text.replace("tf_live_", "tf_test_"), "tf_live_".into()];
    for at in [0, 3, 8, 12, 20, 40, 62, 63, 68] {
        wrong.push(text[..at].to_owned());
        let other = if &text[at..=at] == "x" { "y" } else { "x" };
        wrong.push(format!("{}{other}{}", &text[..at], &text[at + 1..]));
    }
    let anonymous = world.get(PROJECTS).send().await.expect(401);
    for wrong in wrong {
        let answer = world.get(PROJECTS).header("x-api-key", &wrong).send().await;
        assert_eq!(answer.fingerprint(), anonymous.fingerprint(), "{wrong}");
        assert_eq!(answer.metered.expect("metered").calls, 0, "{wrong}");
    }
    // Of good form, but nobody's: one read, and the same answer.
    let stranger = World::new().await;
    let theirs = make(&stranger, &stranger.tenant("elsewhere").await, json!({})).await.text;
    let answer = world.get(PROJECTS).header("x-api-key", &theirs).send().await;
    assert_eq!((answer.fingerprint(), answer.metered.expect("metered").calls), (anonymous.fingerprint(), 1));
}

/// Who knows the readable part of a key can neither use it nor use up its limit.
#[tokio::test]
async fn the_readable_part_of_a_key_is_worth_nothing() {
    let world = World::strict().await;
    let own = world.tenant("acme").await;
    let (key, other) = (make(&world, &own, json!({"rateLimit": 5})).await, make(&world, &own, json!({})).await);
    world.get(PROJECTS).token(&key.text).send().await.expect(200);
    let forged = with_checksum(&format!("{}{}", &key.text[..20], &other.text[20..63]));
    for world in [world.clone(), world.another_instance().await] {
        for _ in 0..20 {
            world.get(PROJECTS).token(&forged).send().await.expect(401);
        }
    }
    let answer = world.get(PROJECTS).token(&key.text).send().await.expect(200);
    assert_eq!((answer.header("x-ratelimit-limit"), answer.header("x-ratelimit-remaining")), ("5", "3"));
}

#[tokio::test]
async fn revoking_holds_from_the_next_request_on_everywhere() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let key = make(&world, &own, json!({})).await;
    let warm = world.another_instance().await;
    for world in [&world, &warm] {
        world.get(PROJECTS).token(&key.text).send().await.expect(200);
    }
    world.delete(format!("{F3}/{}", key.id)).token(&own.owner.token).send().await.expect(200);
    for world in [&world, &warm, &world.another_instance().await] {
        world.get(PROJECTS).token(&key.text).send().await.expect(401);
        world.post(PROJECTS).token(&key.text).json(json!({"name": "x"})).send().await.expect(401);
        world.get("/api/v1/auth/sessions").token(&key.text).send().await.expect(401);
    }
}

#[tokio::test]
async fn a_key_expires_and_its_end_lies_in_the_future() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let end = world.auth.clock().now() + SignedDuration::from_secs(60);
    let key = make(&world, &own, json!({"expiresAt": end.to_string()})).await;
    world.get(PROJECTS).token(&key.text).send().await.expect(200);
    world.advance(SignedDuration::from_secs(60));
    world.get(PROJECTS).token(&key.text).send().await.expect(401);
    // Still listed, so that its owner sees why it stopped.
    assert_eq!(world.get(F3).token(&own.owner.token).send().await.json()[0]["id"], key.id.as_str());
    for wrong in [json!("2020-01-01T00:00:00Z"), json!("tomorrow"), json!(1), json!("2026-13-01T00:00:00Z"), json!("2026-12-31"), json!("")]
    {
        let answer = world.post(F3).token(&own.owner.token).json(json!({"name": "x", "expiresAt": wrong})).send().await.expect(400);
        assert!(answer.details()["expiresAt"].is_array(), "{wrong}: {}", answer.text);
    }
}

#[tokio::test]
async fn bad_input_names_every_field() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    for (path, body, fields) in [
        (F3, json!({}), vec!["name"]),
        (F3, json!({"name": "", "scopes": [], "rateLimit": 0, "environment": "prod"}), vec!["environment", "name", "rateLimit", "scopes"]),
        (F3, json!({"name": "x", "scopes": ["projects:delete"]}), vec!["scopes"]),
        (F3, json!({"name": "x", "scopes": "projects:read"}), vec!["scopes"]),
        (F3, json!({"name": "x", "scopes": [1]}), vec!["scopes"]),
        (F3, json!({"name": "x", "rate_limit": 5}), vec!["rate_limit"]),
        (F3, json!({"name": "x".repeat(256)}), vec!["name"]),
        (F3, json!({"name": "x", "rateLimit": 1_000_000}), vec!["rateLimit"]),
        (F4, json!({"name": "x", "rateLimit": 5}), vec!["rateLimit"]),
        (F4, json!({"name": 5, "expires_at": true}), vec!["expires_at", "name"]),
    ] {
        let strict = World::strict().await;
        let (world, own) = if body["rateLimit"] == 1_000_000 { (&strict, strict.tenant("acme").await) } else { (&world, own.clone()) };
        let answer = world.post(path).token(&own.owner.token).json(body.clone()).send().await.expect(400);
        let details = answer.details();
        let named: BTreeSet<&str> = details.as_object().expect("details").keys().map(String::as_str).collect();
        assert_eq!(named, fields.into_iter().collect(), "{body}: {}", answer.text);
    }
    let key = make(&world, &own, json!({})).await;
    for grace in [json!(-1), json!(2_592_001), json!("1"), json!(1.5)] {
        let rotate = world.post(format!("{F3}/{}/rotate", key.id)).token(&own.owner.token).json(json!({"graceSeconds": grace}));
        rotate.send().await.expect(400);
    }
    assert_eq!(world.get(F3).token(&own.owner.token).send().await.json().as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn what_a_key_makes_carries_the_name_of_who_made_the_key() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let key = make(&world, &own, json!({"scopes": ["projects:*"]})).await;
    let project = world.post(PROJECTS).token(&key.text).json(json!({"name": "By key"})).send().await.expect(201).json()["data"].clone();
    let task = world.post(format!("{PROJECTS}/{}/tasks", id(&project))).token(&key.text).json(json!({"title": "By key"}));
    let task = task.send().await.expect(201).json()["data"].clone();
    assert_eq!(task["creator"]["id"], own.owner.id);
    let item = world.items_of(&own).into_iter().find(|item| item["type"]["S"] == "project").expect("the project");
    assert_eq!(item["actor"]["S"], format!("key:{}", &key.text[8..20]));
}

#[tokio::test]
async fn a_key_makes_no_key_that_may_do_more_than_itself() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let now = world.auth.clock().now();
    let at = |hours: i64| (now + SignedDuration::from_hours(hours)).to_string();
    let small =
        make(&world, &own, json!({"scopes": ["keys:*", "projects:read"], "rateLimit": 50, "expiresAt": at(2), "environment": "test"}))
            .await;
    let make_with = |body: Value| world.post(F3).token(&small.text).json(body);
    let within = json!({"name": "x", "scopes": ["projects:read"], "rateLimit": 50, "expiresAt": at(1), "environment": "test"});
    make_with(within.clone()).send().await.expect(201);
    for (field, value) in [
        ("scopes", json!(["*"])),
        ("scopes", json!(["projects:*"])),
        ("scopes", Value::Null),
        ("rateLimit", json!(51)),
        ("rateLimit", Value::Null),
        ("expiresAt", json!(at(3))),
        ("expiresAt", Value::Null),
        ("environment", json!("live")),
    ] {
        let mut body = within.clone();
        body[field] = value.clone();
        assert_eq!(make_with(body).send().await.expect(403).code(), "FORBIDDEN", "{field} {value}");
    }
    let big = make(&world, &own, json!({})).await;
    for (method, path) in [("DELETE", ""), ("POST", "/rotate"), ("POST", "/end-grace")] {
        let request = world.request(method, format!("{F3}/{}{path}", big.id)).token(&small.text).json(json!({}));
        request.send().await.expect(403);
    }
    world.delete(format!("{F3}/{}", big.id)).token(&big.text).send().await.expect(409);
    world.delete(format!("{F3}/{}", small.id)).token(&big.text).send().await.expect(200);
    // Without the scope for keys, nothing of it.
    let reader = make(&world, &own, json!({"scopes": ["projects:read"]})).await;
    for (method, path) in [("GET", F3), ("POST", F3), ("GET", F4), ("POST", F4)] {
        world.request(method, path).token(&reader.text).send().await.expect(403);
    }
}

#[tokio::test]
async fn the_plan_bounds_how_many_keys_there_are_whatever_races() {
    let world = World::with(Settings { plans: json!({"free": {"api_keys": 5}}), ..Settings::default() }).await;
    let own = world.tenant("acme").await;
    let makes = (0..64).map(|n| world.post(if n % 2 == 0 { F3 } else { F4 }).token(&own.owner.token).json(json!({"name": "x"})).send());
    let answers = join_all(makes).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 5);
    for refused in answers.iter().filter(|answer| answer.status != 201) {
        assert_eq!((refused.status, refused.code().as_str()), (403, "PLAN_LIMIT_REACHED"), "{}", refused.text);
        assert_eq!(refused.details(), json!({"limit": "api_keys", "used": 5, "max": 5, "plan": "free"}));
    }
    let keys = world.get(F3).token(&own.owner.token).send().await.json();
    // Replacing takes no place, revoking frees one, and revoking what was replaced frees none.
    let path = |number: usize, verb: &str| format!("{F3}/{}{verb}", id(&keys[number]));
    world.post(path(0, "/rotate")).token(&own.owner.token).json(json!({"graceSeconds": 60})).send().await.expect(201);
    world.delete(path(0, "")).token(&own.owner.token).send().await.expect(200);
    world.post(F3).token(&own.owner.token).json(json!({"name": "x"})).send().await.expect(403);
    world.delete(path(1, "")).token(&own.owner.token).send().await.expect(200);
    world.post(F3).token(&own.owner.token).json(json!({"name": "x"})).send().await.expect(201);
    world.post(F3).token(&own.owner.token).json(json!({"name": "x"})).send().await.expect(403);
}

#[tokio::test]
async fn a_key_has_its_own_limit() {
    let world = World::strict().await;
    let own = world.tenant("acme").await;
    let key = make(&world, &own, json!({"rateLimit": 7})).await;
    let answers = join_all((0..30).map(|_| world.get(PROJECTS).token(&key.text).send())).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 7);
    let refused = answers.iter().find(|answer| answer.status == 429).expect("one too many");
    assert_eq!((refused.header("x-ratelimit-limit"), refused.details()["limit"].clone()), ("7", json!(7)));
    world.get(PROJECTS).token(&own.owner.token).send().await.expect(200);
}

#[tokio::test]
async fn the_last_use_is_written_down_once_a_minute() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let key = make(&world, &own, json!({})).await;
    let first = world.get(PROJECTS).token(&key.text).send().await.expect(200).metered.expect("metered");
    let second = world.get(PROJECTS).token(&key.text).send().await.expect(200).metered.expect("metered");
    assert_eq!((first.write_units - second.write_units, second.round_trips), (1.0, 2), "{first:?} {second:?}");
    let used = async || world.get(format!("{F3}/{}", key.id)).token(&own.owner.token).send().await.json()["lastUsedAt"].clone();
    let before = used().await;
    world.advance(SignedDuration::from_secs(61));
    world.get(PROJECTS).token(&key.text).send().await.expect(200);
    assert_ne!(used().await, before);
}

#[tokio::test]
async fn a_replaced_key_works_on_in_its_grace_and_its_use_can_be_seen() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let old = make(&world, &own, json!({"scopes": ["projects:read"], "rateLimit": 40})).await;
    let rotate = |grace: i64| world.post(format!("{F3}/{}/rotate", old.id)).token(&own.owner.token).json(json!({"graceSeconds": grace}));
    let new = rotate(600).send().await.expect(201).json();
    rotate(600).send().await.expect(409);
    assert_eq!((&new["scopes"], &new["rateLimit"]), (&json!(["projects:read"]), &json!(40)));
    for _ in 0..3 {
        world.get(PROJECTS).token(&old.text).send().await.expect(200);
    }
    world.get(PROJECTS).token(new["apiKey"].as_str().expect("a key")).send().await.expect(200);
    let shown = world.get(format!("{F3}/{}", old.id)).token(&own.owner.token).send().await.expect(200).json();
    assert_eq!((&shown["usesInGrace"], &shown["replacedBy"]), (&json!(3), &new["id"]));
    world.post(format!("{F3}/{}/end-grace", id(&new))).token(&own.owner.token).send().await.expect(409);
    world.advance(SignedDuration::from_secs(599));
    world.get(PROJECTS).token(&old.text).send().await.expect(200);
    world.advance(SignedDuration::from_secs(1));
    world.get(PROJECTS).token(&old.text).send().await.expect(401);
    world.get(format!("{F3}/{}", old.id)).token(&own.owner.token).send().await.expect(404);
    // The grace can be ended at once.
    let again = world.post(format!("{F4}/{}/rotate", id(&new))).token(&own.owner.token).json(json!({"grace_seconds": 600}));
    let newest = again.send().await.expect(201).json()["data"].clone();
    world.post(format!("{F4}/{}/end-grace", id(&new))).token(&own.owner.token).send().await.expect(200);
    world.get(PROJECTS).token(new["apiKey"].as_str().expect("a key")).send().await.expect(401);
    world.get(PROJECTS).token(newest["key"].as_str().expect("a key")).send().await.expect(200);
}

#[tokio::test]
async fn fifty_keys_are_replaced_under_the_feet_of_eight_clients() {
    let world = World::with(Settings { plans: json!({"free": {"api_keys": 50}}), ..Settings::default() }).await;
    let own = world.tenant("acme").await;
    let keys = join_all((0..50).map(|_| make(&world, &own, json!({"scopes": ["projects:read"]})))).await;
    let current: Arc<Vec<std::sync::Mutex<String>>> = Arc::new(keys.iter().map(|key| key.text.clone().into()).collect());
    let (done, used) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients = (0..8).map(|client: usize| {
        let (world, current, done, used) = (world.clone(), current.clone(), done.clone(), used.clone());
        tokio::spawn(async move {
            let mut number = client;
            while !done.load(Ordering::Relaxed) {
                number = (number + 7) % current.len();
                // A client learns of the new key only after its next request: within the grace.
                let text = current[number].lock().expect("a key").clone();
                let answer = world.get(PROJECTS).token(&text).send().await;
                assert_eq!(answer.status, 200, "key {number}: {}", answer.text);
                used.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    for (number, key) in keys.iter().enumerate() {
        let rotate = world.post(format!("{F3}/{}/rotate", key.id)).token(&own.owner.token).json(json!({"graceSeconds": 300}));
        let new = rotate.send().await.expect(201).json();
        *current[number].lock().expect("a key") = new["apiKey"].as_str().expect("a key").to_owned();
    }
    done.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("no request failed");
    }
    assert!(used.load(Ordering::Relaxed) > 50);
    world.advance(SignedDuration::from_secs(301));
    for key in &keys {
        world.get(PROJECTS).token(&key.text).send().await.expect(401);
    }
}

#[tokio::test]
async fn a_key_acts_in_its_own_tenant_and_knows_no_other() {
    let world = World::new().await;
    let (own, other) = (world.tenant("acme").await, world.tenant("globex").await);
    let key = make(&world, &own, json!({})).await;
    let with = |name: &str| world.get(PROJECTS).token(&key.text).header("x-tenant-id", name);
    with(&own.id).send().await.expect(200);
    with(&own.slug).send().await.expect(200);
    let nobody = with("no-such-tenant").send().await.expect(404);
    for name in [&other.id, &other.slug] {
        assert_eq!(with(name).send().await.fingerprint(), nobody.fingerprint());
    }
    let theirs = make(&world, &other, json!({})).await;
    for path in [F3, F4] {
        let missing = world.get(format!("{path}/0198c0de-0000-7000-8000-000000000000")).token(&key.text).send().await.expect(404);
        let foreign = world.get(format!("{path}/{}", theirs.id)).token(&key.text).send().await;
        assert_eq!(foreign.fingerprint(), missing.fingerprint());
        for (method, verb) in [("DELETE", ""), ("POST", "/rotate"), ("POST", "/end-grace")] {
            world.request(method, format!("{path}/{}{verb}", theirs.id)).token(&key.text).json(json!({})).send().await.expect(404);
        }
    }
    world.get(PROJECTS).token(&theirs.text).send().await.expect(200);
}

#[tokio::test]
async fn creating_a_key_twice_with_one_idempotency_key_makes_one_and_shows_it_again() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let send = |body: Value| world.post(F3).token(&own.owner.token).header("idempotency-key", "once").json(body).send();
    let answers: Vec<Answer> = join_all((0..16).map(|_| send(json!({"name": "x"})))).await;
    for answer in &answers {
        assert_eq!((answer.status, &answer.text), (201, &answers[0].text));
    }
    send(json!({"name": "y"})).await.expect(422);
    assert_eq!(world.get(F3).token(&own.owner.token).send().await.json().as_array().map(Vec::len), Some(1));
    // By a key, too.
    let key = answers[0].json()["apiKey"].as_str().expect("a key").to_owned();
    let send = || world.post(PROJECTS).token(&key).header("idempotency-key", "once").json(json!({"name": "x"})).send();
    let (first, second) = (send().await.expect(201), send().await.expect(201));
    assert_eq!((first.text, second.header("idempotency-replayed")), (second.text.clone(), "true"));
}

#[tokio::test]
async fn the_secret_of_a_key_is_kept_nowhere() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let key = make(&world, &own, json!({})).await;
    let rotated = world.post(format!("{F3}/{}/rotate", key.id)).token(&own.owner.token).json(json!({"graceSeconds": 60}));
    let rotated = rotated.send().await.expect(201).json();
    let dump = serde_json::to_string(&world.items()).expect("JSON");
    for text in [key.text.as_str(), rotated["apiKey"].as_str().expect("a key")] {
        world.get(PROJECTS).token(text).send().await.expect(200);
        for part in [&text[20..63], &text[20..40], &text[40..63]] {
            assert!(!dump.contains(part));
        }
    }
}

struct Key {
    id: String,
    text: String,
}

async fn make(world: &World, tenant: &Tenant, properties: Value) -> Key {
    let mut body = json!({"name": "A key"});
    for (name, value) in properties.as_object().expect("properties") {
        body[name] = value.clone();
    }
    let request: Request = world.post(F3).token(&tenant.owner.token).json(body);
    let made = request.send().await.expect(201).json();
    Key { id: id(&made).to_owned(), text: made["apiKey"].as_str().expect("the key").to_owned() }
}

/// What an attacker can do too: the checksum is no secret. CRC-32 (IEEE), six digits of base62.
fn with_checksum(body: &str) -> String {
    let mut crc = !0_u32;
    for byte in body.bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    let mut crc = !crc;
    let alphabet = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = alphabet[(crc % 62) as usize];
        crc /= 62;
    }
    format!("{body}{}", String::from_utf8_lossy(&digits))
}
