//! API keys: their text, what they open, for how long, how often, and how they are replaced while they are in use.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_util::future::{join_all, poll_immediate};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::world::{Answer, Request, Settings, Tenant, World, id};
use shared::lock::Lock;

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
    // A valid form, but unknown: one read, and the same answer.
    let stranger = World::new().await;
    let theirs = make(&stranger, &stranger.tenant("elsewhere").await, json!({})).await.text;
    let answer = world.get(PROJECTS).header("x-api-key", &theirs).send().await;
    assert_eq!((answer.fingerprint(), answer.metered.expect("metered").calls), (anonymous.fingerprint(), 1));
}

/// Knowing the readable part of a key is not enough to use it or to use up its limit.
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
    // Without the scope for keys, all of it is refused.
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
    // Replacing a key takes no place in the plan. Revoking frees one, but revoking a replaced key frees none.
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
    let current: Arc<Vec<Lock<String>>> = Arc::new(keys.iter().map(|key| Lock::new(key.text.clone())).collect());
    let (done, used) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients = (0..8).map(|client: usize| {
        let (world, current, done, used) = (world.clone(), current.clone(), done.clone(), used.clone());
        tokio::spawn(async move {
            let mut number = client;
            while !done.load(Ordering::Relaxed) {
                number = (number + 7) % current.len();
                // A client learns of the new key only after its next request: within the grace.
                let text = current[number].lock().clone();
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
        *current[number].lock() = new["apiKey"].as_str().expect("a key").to_owned();
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

/// An attacker can compute the checksum too, because it is not secret: CRC-32 (IEEE), six digits of base62.
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

// Power whose reason no longer exists.

const MEMBERS: &str = "/api/v1/tenant/members";

/// Requests of every kind that a key may make, each with the reason for its refusal.
async fn inactive_everywhere(worlds: &[&World], key: &str) {
    for world in worlds {
        for (method, path) in
            [("GET", PROJECTS), ("POST", PROJECTS), ("GET", F3), ("POST", F4), ("GET", "/api/tenant"), ("GET", "/v1/billing/usage")]
        {
            let answer = world.request(method, path).token(key).json(json!({"name": "x"})).send().await;
            assert_eq!((answer.status, answer.code().as_str()), (403, "KEY_INACTIVE"), "{method} {path}: {}", answer.text);
        }
        // In another tenant it is unknown, like any other key.
        world.get(PROJECTS).token(key).header("x-tenant-id", "no-such-tenant").send().await.expect(404);
    }
}

async fn made_by(world: &World, token: &str, properties: Value) -> Key {
    let mut body = json!({"name": "A key"});
    body.as_object_mut().expect("a body").extend(properties.as_object().expect("properties").clone());
    let made = world.post(F3).token(token).json(body).send().await.expect(201).json();
    Key { id: id(&made).to_owned(), text: made["apiKey"].as_str().expect("the key").to_owned() }
}

async fn change_role(world: &World, by: &str, number: u64, role: &str) -> Answer {
    world.put(format!("{MEMBERS}/{number}")).token(by).json(json!({"role": role})).send().await
}

fn silenced(answer: &Answer) -> BTreeSet<String> {
    let keys = answer.json()["data"]["silenced_keys"].as_array().expect("the keys").clone();
    keys.iter().map(|key| id(key).to_owned()).collect()
}

fn prefixed(key: &Key) -> String {
    format!("key_{}", key.id.replace('-', ""))
}

#[tokio::test]
async fn a_key_goes_silent_with_its_maker_until_an_owner_adopts_it() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let maker = world.member(&own, "owner").await;
    let key = made_by(&world, &maker.token, json!({})).await;
    // The person behind a key that was made by a key is still the person.
    let chained = made_by(&world, &key.text, json!({"scopes": ["*"]})).await;
    let reader = made_by(&world, &maker.token, json!({"scopes": ["projects:read"]})).await;
    let other = make(&world, &own, json!({})).await;
    let warm = world.another_instance().await;
    for world in [&world, &warm] {
        for key in [&key, &chained, &reader, &other] {
            world.get(PROJECTS).token(&key.text).send().await.expect(200);
        }
    }
    let gone = world.delete(format!("{MEMBERS}/{}", maker.id)).token(&own.owner.token).send().await.expect(200);
    assert_eq!(silenced(&gone), [&key, &chained, &reader].map(prefixed).into());
    let worlds = [&world, &warm, &world.another_instance().await];
    for key in [&key, &chained] {
        inactive_everywhere(&worlds, &key.text).await;
    }
    world.get(PROJECTS).token(&reader.text).send().await.expect(403);
    world.get(PROJECTS).token(&other.text).send().await.expect(200);
    let listed = world.get(F3).token(&own.owner.token).send().await.expect(200).json();
    let of = |key: &Key| listed.as_array().expect("keys").iter().find(|listed| listed["id"] == key.id.as_str()).expect("listed").clone();
    assert_eq!((&of(&key)["active"], &of(&key)["inactiveReason"]), (&json!(false), &json!("maker_removed")));
    assert_eq!((&of(&other)["active"], &of(&other)["inactiveReason"]), (&json!(true), &Value::Null));
    // It cannot be renewed, nor adopted by another key.
    world.post(format!("{F3}/{}/rotate", key.id)).token(&own.owner.token).json(json!({})).send().await.expect(409);
    for path in [F3, F4] {
        assert_eq!(world.post(format!("{path}/{}/adopt", key.id)).token(&other.text).send().await.expect(403).code(), "FORBIDDEN");
        let admin = world.member(&own, "admin").await;
        world.post(format!("{path}/{}/adopt", key.id)).token(&admin.token).send().await.expect(403);
    }
    // A person who comes back has a new membership, which does not revive their keys.
    world.advance(SignedDuration::from_secs(1));
    let invitation = json!({"email": maker.email, "role": "owner"});
    world.post("/api/v1/tenant/invitations").token(&own.owner.token).json(invitation).send().await.expect(201);
    let acceptance = json!({"token": world.link_token(&maker.email), "name": "Back", "password": "correct horse"});
    world.post("/api/v1/auth/accept-invitation").json(acceptance).send().await.expect(200);
    inactive_everywhere(&worlds, &key.text).await;

    let adopted = world.post(format!("{F3}/{}/adopt", key.id)).token(&own.owner.token).send().await.expect(200);
    assert_eq!((&adopted.json()["active"], &adopted.json()["inactiveReason"]), (&json!(true), &Value::Null));
    let again = world.post(format!("{F3}/{}/adopt", key.id)).token(&own.owner.token).send().await.expect(200);
    assert_eq!(again.header("etag"), adopted.header("etag"));
    let back = world.login(&maker.email, "correct horse").await;
    let f4 = world.post(format!("{F4}/{}/adopt", chained.id)).token(&back.token).send().await.expect(200).json();
    assert_eq!((&f4["data"]["active"], &f4["data"]["inactive_reason"]), (&json!(true), &Value::Null));
    for world in worlds {
        for key in [&key, &chained] {
            world.get(PROJECTS).token(&key.text).send().await.expect(200);
        }
    }
    // Now it has the adopter's power.
    let gone = world.delete(format!("{MEMBERS}/{}", back.id)).token(&own.owner.token).send().await.expect(200);
    assert_eq!(silenced(&gone), [prefixed(&chained)].into());
    for world in worlds {
        world.get(PROJECTS).token(&key.text).send().await.expect(200);
        world.get(PROJECTS).token(&chained.text).send().await.expect(403);
    }
}

#[tokio::test]
async fn a_demotion_silences_what_the_new_role_does_not_bear() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let maker = world.member(&own, "owner").await;
    let all = made_by(&world, &maker.token, json!({})).await;
    let writer = made_by(&world, &maker.token, json!({"scopes": ["projects:*"]})).await;
    let reader = made_by(&world, &maker.token, json!({"scopes": ["projects:read"]})).await;
    let path = format!("{MEMBERS}/{}", maker.id);
    // A change without effect, or a refused one, silences nothing.
    world.put(&path).token(&own.owner.token).json(json!({"role": "owner"})).send().await.expect(200);
    world.put(&path).token(&own.owner.token).header("if-match", "\"9\"").json(json!({"role": "viewer"})).send().await.expect(412);
    world.delete(&path).token(&own.owner.token).header("if-match", "\"9\"").send().await.expect(412);
    let admin = world.member(&own, "admin").await;
    change_role(&world, &admin.token, maker.id, "viewer").await.expect(403);
    for key in [&all, &writer, &reader] {
        world.get(PROJECTS).token(&key.text).send().await.expect(200);
    }
    assert_eq!(silenced(&change_role(&world, &own.owner.token, maker.id, "admin").await.expect(200)), [prefixed(&all)].into());
    inactive_everywhere(&[&world], &all.text).await;
    world.post(PROJECTS).token(&writer.text).json(json!({"name": "x"})).send().await.expect(201);
    assert_eq!(silenced(&change_role(&world, &own.owner.token, maker.id, "viewer").await.expect(200)), [prefixed(&writer)].into());
    let refused = world.get(PROJECTS).token(&writer.text).send().await.expect(403);
    assert_eq!(refused.code(), "KEY_INACTIVE");
    world.get(PROJECTS).token(&reader.text).send().await.expect(200);
    let shown = world.get(format!("{F4}/{}", all.id)).token(&own.owner.token).send().await.expect(200).json();
    assert_eq!(shown["data"]["inactive_reason"], "maker_demoted");
    // A promotion alone revives nothing.
    assert_eq!(silenced(&change_role(&world, &own.owner.token, maker.id, "owner").await.expect(200)), BTreeSet::new());
    inactive_everywhere(&[&world], &all.text).await;
    world.post(format!("{F4}/{}/adopt", all.id)).token(&maker.token).send().await.expect(200);
    world.get(PROJECTS).token(&all.text).send().await.expect(200);
    // The last owner cannot be removed, and their keys stay.
    let alone = world.tenant("alone").await;
    let key = make(&world, &alone, json!({})).await;
    change_role(&world, &alone.owner.token, alone.owner.id, "admin").await.expect(409);
    world.delete(format!("{MEMBERS}/{}", alone.owner.id)).token(&alone.owner.token).send().await.expect(409);
    world.get(PROJECTS).token(&key.text).send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_key_slips_through_while_its_maker_is_demoted_or_removed() {
    let world = World::new().await;
    for round in 0..12 {
        let own = world.tenant(&format!("acme{round}")).await;
        let maker = world.member(&own, "owner").await;
        let old = made_by(&world, &maker.token, json!({})).await;
        let path = format!("{MEMBERS}/{}", maker.id);
        let unmake = async {
            let request = if round % 2 == 0 { world.delete(&path) } else { world.put(&path).json(json!({"role": "viewer"})) };
            request.token(&own.owner.token).send().await
        };
        let mints = join_all((0..6).map(|n| {
            let by = if n % 2 == 0 { &maker.token } else { &old.text };
            world.post(F4).token(by).json(json!({"name": "late"})).send()
        }));
        let rotations = join_all(
            (0..2).map(|_| world.post(format!("{F4}/{}/rotate", old.id)).token(&maker.token).json(json!({"grace_seconds": 60})).send()),
        );
        let (unmade, minted, rotated) = tokio::join!(unmake, mints, rotations);
        unmade.expect(200);
        for answer in minted.into_iter().chain(rotated).filter(|answer| answer.status == 201) {
            let text = answer.json()["data"]["key"].as_str().expect("a key").to_owned();
            let refused = world.get(PROJECTS).token(&text).send().await.expect(403);
            assert_eq!(refused.code(), "KEY_INACTIVE");
        }
        world.get(PROJECTS).token(&old.text).send().await.expect(403);
        let listed = world.get(F4).token(&own.owner.token).send().await.expect(200).json();
        assert!(listed["data"].as_array().expect("keys").iter().all(|key| key["active"] == false), "{listed}");
    }
}

#[tokio::test]
async fn a_key_stored_before_makers_were_kept_goes_by_the_present_membership() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let maker = world.member(&own, "owner").await;
    let (key, adopted) = (made_by(&world, &maker.token, json!({})).await, made_by(&world, &maker.token, json!({})).await);
    for key in [&key, &adopted] {
        world.change_item(&format!("T#{}#api-keys", own.id), &key.id, |item| {
            item["issuer"]["M"].as_object_mut().expect("an issuer").remove("membership");
        });
        let claim = format!("G#api-key#{}", &key.text[8..20]);
        world.change_item(&claim, "owner", |item| drop(item.as_object_mut().expect("a claim").remove("maker")));
    }
    for world in [&world, &world.another_instance().await] {
        let first = world.get(PROJECTS).token(&key.text).send().await.expect(200).metered.expect("metered");
        let second = world.get(PROJECTS).token(&key.text).send().await.expect(200).metered.expect("metered");
        assert!(second.round_trips < first.round_trips && second.round_trips <= 2, "{first:?} {second:?}");
        world.get(PROJECTS).token(&adopted.text).send().await.expect(200);
    }
    world.post(format!("{F3}/{}/adopt", adopted.id)).token(&own.owner.token).send().await.expect(200);
    world.delete(format!("{MEMBERS}/{}", maker.id)).token(&own.owner.token).send().await.expect(200);
    assert_eq!(world.get(PROJECTS).token(&key.text).send().await.expect(403).code(), "KEY_INACTIVE");
    world.get(PROJECTS).token(&adopted.text).send().await.expect(200);
}

#[tokio::test]
async fn a_key_in_its_grace_makes_no_key_that_outlives_it() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let key = make(&world, &own, json!({})).await;
    let rotate = world.post(format!("{F3}/{}/rotate", key.id)).token(&own.owner.token).json(json!({"graceSeconds": 600}));
    rotate.send().await.expect(201);
    world.post(F3).token(&key.text).json(json!({"name": "for ever"})).send().await.expect(403);
    let at = |seconds: i64| (world.auth.clock().now() + SignedDuration::from_secs(seconds)).to_string();
    world.post(F3).token(&key.text).json(json!({"name": "longer", "expiresAt": at(601)})).send().await.expect(403);
    world.post(F3).token(&key.text).json(json!({"name": "within", "expiresAt": at(600)})).send().await.expect(201);
}

#[tokio::test]
async fn a_key_that_ends_is_replaced_by_one_that_ends_with_it() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let end = (world.auth.clock().now() + SignedDuration::from_secs(300)).to_string();
    let key = make(&world, &own, json!({"expiresAt": end})).await;
    // Its grace would last longer than itself.
    let rotate = world.post(format!("{F3}/{}/rotate", key.id)).token(&own.owner.token).json(json!({"graceSeconds": 600}));
    let next = rotate.send().await.expect(201).json();
    let shown = world.get(format!("{F3}/{}", key.id)).token(&own.owner.token).send().await.expect(200).json();
    assert!(next["expiresAt"].is_string() && next["expiresAt"] == shown["expiresAt"], "{next} {shown}");
    let next = next["apiKey"].as_str().expect("a key");
    world.advance(SignedDuration::from_secs(299));
    for key in [&key.text, next] {
        world.get(PROJECTS).token(key).send().await.expect(200);
    }
    world.advance(SignedDuration::from_secs(1));
    for key in [&key.text, next] {
        world.get(PROJECTS).token(key).send().await.expect(401);
    }
}

#[tokio::test]
async fn nothing_of_a_revoked_key_is_left() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let (revoked, kept) = (make(&world, &own, json!({})).await, make(&world, &own, json!({})).await);
    for key in [&revoked, &kept] {
        world.get(PROJECTS).token(&key.text).send().await.expect(200);
    }
    world.delete(format!("{F3}/{}", revoked.id)).token(&own.owner.token).send().await.expect(200);
    let left = |key: &Key| {
        let claim = format!("G#api-key#{}", &key.text[8..20]);
        let places = |item: &Value| item["pk"]["S"] == claim.as_str() || item["sk"]["S"] == key.id.as_str();
        world.items().iter().filter(|item| places(item)).count()
    };
    // Of the other: itself, its claim and the note of its use.
    assert_eq!((left(&revoked), left(&kept)), (0, 3));
}

#[tokio::test]
async fn nothing_of_a_replaced_key_is_left_when_its_grace_is_over() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let key = make(&world, &own, json!({})).await;
    let rotate = world.post(format!("{F3}/{}/rotate", key.id)).token(&own.owner.token).json(json!({"graceSeconds": 600}));
    rotate.send().await.expect(201);
    let claim = format!("G#api-key#{}", &key.text[8..20]);
    let ttl = |pk: &str| world.items().into_iter().find(|item| item["pk"]["S"] == pk).expect("the claim")["ttl"]["N"].clone();
    let end = (world.auth.clock().now() + SignedDuration::from_secs(600)).as_second().to_string();
    assert_eq!(ttl(&claim), json!(end));
    world.post(format!("{F3}/{}/adopt", key.id)).token(&own.owner.token).send().await.expect(200);
    assert_eq!(ttl(&claim), json!(end));
}

#[tokio::test]
async fn the_list_of_keys_goes_on_by_cursors() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    for _ in 0..3 {
        make(&world, &own, json!({})).await;
    }
    let all = world.get(F3).token(&own.owner.token).send().await.expect(200);
    assert_eq!((all.json().as_array().map(Vec::len), all.header("link")), (Some(3), ""));
    let first = world.get(format!("{F3}?limit=2")).token(&own.owner.token).send().await.expect(200);
    let link = first.header("link").trim_start_matches('<').split('>').next().expect("a link").to_owned();
    let rest = world.get(link).token(&own.owner.token).send().await.expect(200);
    assert_eq!((first.json().as_array().map(Vec::len), rest.json().as_array().map(Vec::len), rest.header("link")), (Some(2), Some(1), ""));
    for wrong in ["cursor=garbage", "limit=0", "limit=x", "unknown=1"] {
        world.get(format!("{F3}?{wrong}")).token(&own.owner.token).send().await.expect(400);
    }
}

/// A demotion between the door and the write of something that must fail after a demotion, at any point of the request.
#[tokio::test]
async fn what_a_demoted_owner_had_begun_with_keys_is_not_finished() {
    met_by_a_demotion("mint", "POST", F4, json!({"name": "late"})).await;
    met_by_a_demotion("mint by key", "POST", F4, json!({"name": "late"})).await;
    met_by_a_demotion("rotate", "POST", "/v1/api-keys/{key}/rotate", json!({})).await;
    met_by_a_demotion("adopt", "POST", "/v1/api-keys/{key}/adopt", Value::Null).await;
}

#[tokio::test]
async fn what_a_demoted_owner_had_begun_with_people_is_not_finished() {
    met_by_a_demotion("remove", "DELETE", "/api/v1/tenant/members/{bob}", Value::Null).await;
    met_by_a_demotion("promote", "PUT", "/api/v1/tenant/members/{bob}", json!({"role": "owner"})).await;
}

#[tokio::test]
async fn what_a_demoted_owner_had_begun_with_tenants_is_not_finished() {
    met_by_a_demotion("delete", "DELETE", "/api/tenant", Value::Null).await;
    met_by_a_demotion("subaccount", "POST", "/v1/subaccounts", json!({"name": "late"})).await;
    met_by_a_demotion("suspend", "POST", "/v1/subaccounts/{child}/suspend", Value::Null).await;
}

/// Demotes an owner at every other point of a request before its write. The request must be refused each time.
async fn met_by_a_demotion(name: &str, method: &'static str, path: &str, body: Value) {
    // The demotion comes from another instance. In the same one, it would wait for what the stopped request holds.
    let world = World::new().await;
    let other = world.another_instance().await;
    let mut refused = 0;
    for waits in (1..60).step_by(2) {
        let own = world.tenant(&format!("acme-{waits}")).await;
        let (eve, bob) = (world.member(&own, "owner").await, world.member(&own, "member").await);
        let key = make(&world, &own, json!({})).await;
        let by = made_by(&world, &eve.token, json!({})).await;
        let child = world.post("/v1/subaccounts").token(&own.owner.token).json(json!({"name": "x"})).send().await.expect(201).json();
        let path = path.replace("{key}", &key.id).replace("{bob}", &bob.id.to_string()).replace("{child}", id(&child["data"]));
        let token = if name == "mint by key" { &by.text } else { &eve.token };
        let request = world.request(method, path).token(token);
        let request = if body.is_null() { request } else { request.json(body.clone()) };
        let state = || {
            let kinds = ["api_key", "member", "tenant", "subaccount"];
            let tenant = own.id.clone();
            let items = world.items().into_iter().filter(move |item| {
                kinds.iter().any(|kind| item["type"]["S"] == *kind) && item["pk"]["S"].as_str().is_some_and(|pk| pk.contains(&tenant))
            });
            items.collect::<Vec<_>>()
        };
        let before = state();
        let mut request = Box::pin(request.send());
        let mut finished = false;
        for _ in 0..waits {
            if poll_immediate(&mut request).await.is_some() {
                finished = true;
                break;
            }
            // Its calls to the table are answered by then.
            tokio::time::sleep(std::time::Duration::from_millis(15)).await;
        }
        // It is written, so the demotion comes too late.
        if finished || state() != before {
            break;
        }
        change_role(&other, &own.owner.token, eve.id, "viewer").await.expect(200);
        let answer = request.await;
        assert!(matches!(answer.status, 401 | 403 | 404 | 409), "{name} after {waits} waits: {} {}", answer.status, answer.text);
        refused += 1;
    }
    assert!(refused >= 1, "{name} was met at {refused} points");
}
