//! The current tenant and its settings (F3): the document's examples, roles, bad input, races, and that no secret is shown.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::{Map, Value, json};

use crate::world::{Answer, Caller, Settings, Tenant, World, claims_of, id};

// The tenant.

#[tokio::test]
async fn the_current_tenant_is_shown_as_documented() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    for caller in [&acme.owner, &world.member(&acme, "viewer").await] {
        let answer = world.get("/api/tenant").token(&caller.token).send().await.expect(200);
        let tenant = answer.json();
        assert_eq!((&tenant["id"], &tenant["name"], &tenant["logo"]), (&json!(acme.id), &json!("acme"), &Value::Null));
        assert_eq!((&tenant["slug"], &tenant["status"], &tenant["isActive"]), (&json!(acme.slug), &json!("active"), &json!(true)));
        for moment in ["createdAt", "updatedAt"] {
            let text = tenant[moment].as_str().unwrap();
            assert!(text.len() == "2024-01-01T00:00:00.000Z".len() && text.ends_with('Z') && &text[19..20] == ".", "{text}");
        }
        world.get("/api/tenant").token(&caller.token).header("if-none-match", answer.header("etag")).send().await.expect(304);
    }
    assert_eq!(world.get("/api/tenant").send().await.expect(401).code(), "UNAUTHORIZED");
}

#[tokio::test]
async fn somebody_without_a_tenant_creates_one_and_is_in_it_at_once() {
    let world = World::new().await;
    let ada = homeless(&world).await;
    assert_eq!(world.get("/api/tenant").token(&ada.token).send().await.expect(404).code(), "NOT_FOUND");
    world.put("/api/tenant").token(&ada.token).json(json!({"name": "X"})).send().await.expect(404);
    world.get("/api/tenant-setting").token(&ada.token).send().await.expect(403);
    world.get("/api/v1/projects").token(&ada.token).send().await.expect(403);

    let body = json!({"name": " New Company ", "logo": "https://example.com/logo.png"});
    let made = world.post("/api/tenant").token(&ada.token).json(body).send().await.expect(201);
    let tenant = made.json();
    assert_eq!((&tenant["name"], &tenant["logo"]), (&json!("New Company"), &json!("https://example.com/logo.png")));
    assert!(tenant["slug"].as_str().unwrap().starts_with("new-company-"), "{tenant}");
    // The earlier session, and a new one.
    for token in [&ada.token, &world.login(&ada.email, &ada.password).await.token] {
        assert_eq!(world.get("/api/tenant").token(token).send().await.expect(200).json(), tenant);
        world.post("/api/v1/projects").token(token).json(json!({"name": "First"})).send().await.expect(201);
    }
    let again = world.post("/api/tenant").token(&ada.token).json(json!({"name": "Another"})).send().await.expect(400);
    assert!(again.code() == "BAD_REQUEST" && again.text.contains("already exists"), "{}", again.text);
    let logout = world.post("/api/v1/auth/logout").token(&ada.token).send().await;
    logout.expect(200);
    world.get("/api/tenant").token(&ada.token).send().await.expect(401);
}

#[tokio::test]
async fn two_creations_at_once_leave_one_tenant() {
    let world = World::new().await;
    let ada = homeless(&world).await;
    let before = tenants(&world);
    let create = |n: usize| world.post("/api/tenant").token(&ada.token).json(json!({"name": format!("Company {n}")})).send();
    let answers = join_all((0..8).map(create)).await;
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 400, 400, 400, 400, 400, 400, 400]);
    assert_eq!(tenants(&world), before + 1);

    // With an idempotency key: one effect and one answer.
    for _ in 0..5 {
        let bob = homeless(&world).await;
        let before = tenants(&world);
        let create = || {
            let request = world.post("/api/tenant").token(&bob.token).header("idempotency-key", "one");
            request.json(json!({"name": "Company"})).send()
        };
        let answers = join_all([create(), create(), create()]).await;
        let texts: BTreeSet<&str> = answers.iter().map(|answer| answer.text.as_str()).collect();
        assert!(answers.iter().all(|answer| answer.status == 201) && texts.len() == 1, "{texts:?}");
        assert_eq!(create().await.expect(201).header("idempotency-replayed"), "true");
        assert_eq!(tenants(&world), before + 1);
    }
}

#[tokio::test]
async fn an_owner_restates_the_tenant() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let put = |body: Value| world.put("/api/tenant").token(&acme.owner.token).json(body);
    let first = put(json!({"name": "Updated Company Name", "logo": "https://example.com/l.svg"})).send().await.expect(202);
    assert_eq!(first.json()["logo"], "https://example.com/l.svg");
    let second = put(json!({"name": "Updated Company Name"})).header("if-match", first.header("etag")).send().await.expect(202);
    assert_eq!((&second.json()["name"], &second.json()["logo"]), (&json!("Updated Company Name"), &Value::Null));
    let stale = put(json!({"name": "Lost"})).header("if-match", first.header("etag")).send().await.expect(412);
    assert_eq!(stale.code(), "PRECONDITION_FAILED");
    world.delete("/api/tenant").token(&acme.owner.token).header("if-match", first.header("etag")).send().await.expect(412);
    assert_eq!(world.get("/api/tenant").token(&acme.owner.token).send().await.json(), second.json());
    for role in ["admin", "member", "viewer"] {
        let member = world.member(&acme, role).await;
        world.put("/api/tenant").token(&member.token).json(json!({"name": "Mine"})).send().await.expect(403);
        world.delete("/api/tenant").token(&member.token).send().await.expect(403);
    }
}

#[tokio::test]
async fn a_wrong_statement_is_refused_field_by_field() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let ada = homeless(&world).await;
    for (body, field) in [
        (json!({}), "name"),
        (json!({"name": ""}), "name"),
        (json!({"name": "  "}), "name"),
        (json!({"name": 7}), "name"),
        (json!({"name": null}), "name"),
        (json!({"name": "x".repeat(256)}), "name"),
        (json!({"name": "nul\u{0}"}), "name"),
        (json!({"name": "A", "logo": "http://example.com/l.png"}), "logo"),
        (json!({"name": "A", "logo": "javascript:alert(1)"}), "logo"),
        (json!({"name": "A", "logo": "https://"}), "logo"),
        (json!({"name": "A", "logo": "https://user:pass@example.com/"}), "logo"),
        (json!({"name": "A", "logo": format!("https://example.com/{}", "x".repeat(2048))}), "logo"),
        (json!({"name": "A", "logo": 1}), "logo"),
        (json!({"name": "A", "slug": "taken"}), "slug"),
        (json!({"name": "A", "plan": "enterprise"}), "plan"),
    ] {
        for (request, caller) in [(world.put("/api/tenant"), &acme.owner), (world.post("/api/tenant"), &ada)] {
            let answer = request.token(&caller.token).json(body.clone()).send().await.expect(400);
            assert_eq!(answer.code(), "VALIDATION_ERROR", "{body}");
            assert_eq!(fields(&answer), BTreeSet::from([field.to_owned()]), "{body}");
        }
    }
    let malformed = world.put("/api/tenant").token(&acme.owner.token).raw(b"{").send().await.expect(400);
    assert_eq!(malformed.code(), "BAD_REQUEST");
    // The longest allowed name, and a name without letters for the slug.
    world.put("/api/tenant").token(&acme.owner.token).json(json!({"name": "x".repeat(255)})).send().await.expect(202);
    world.post("/api/tenant").token(&ada.token).json(json!({"name": "日本"})).send().await.expect(201);
}

#[tokio::test]
async fn a_deleted_tenant_stops_at_once_and_its_owner_may_found_another() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let viewer = world.member(&acme, "viewer").await;
    let key = world.post("/api/tenant-api-key").token(&acme.owner.token).json(json!({"name": "CI/CD Integration Key"})).send().await;
    let key = key.expect(201).json()["apiKey"].as_str().unwrap().to_owned();
    world.delete("/api/tenant").token(&key).send().await.expect(403);
    let closed = world.delete("/api/tenant").token(&acme.owner.token).send().await.expect(200);
    assert_eq!((&closed.json()["status"], &closed.json()["isActive"]), (&json!("deleting"), &json!(false)));
    for world in [world.clone(), world.another_instance().await] {
        // A person's session is valid but opens nothing. The key is invalid without its tenant.
        for (token, status, own_status) in [(&acme.owner.token, 403, 404), (&viewer.token, 403, 404), (&key, 401, 401)] {
            world.get("/api/v1/projects").token(token).send().await.expect(status);
            world.get("/api/tenant").token(token).send().await.expect(own_status);
            world.delete("/api/tenant").token(token).send().await.expect(own_status);
        }
    }
    let owner = world.login(&acme.owner.email, &acme.owner.password).await;
    world.get("/api/tenant").token(&owner.token).send().await.expect(404);
    world.get("/api/tenant").token(&owner.token).header("x-tenant-id", &acme.slug).send().await.expect(404);
    world.get("/api/v1/projects").token(&owner.token).send().await.expect(403);
    let another = world.post("/api/tenant").token(&owner.token).json(json!({"name": "acme"})).send().await.expect(201).json();
    assert_ne!((&another["id"], &another["slug"]), (&json!(acme.id), &json!(acme.slug)));
    let owner = world.login(&acme.owner.email, &acme.owner.password).await;
    assert_eq!(claims_of(&owner.token)["tid"], another["id"]);
    assert_eq!(world.get("/api/tenant").token(&owner.token).send().await.expect(200).json()["id"], another["id"]);
}

// Settings.

#[tokio::test]
async fn a_setting_is_written_listed_and_read_as_documented() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let row = set(&world, &acme, json!({"name": "SETTING_KEY", "value": "setting_value"})).await.expect(201).json();
    assert_eq!((&row["name"], &row["value"], &row["tenantId"]), (&json!("SETTING_KEY"), &json!("********alue"), &json!(acme.id)));
    let plain = set(&world, &acme, json!({"name": "currency", "value": "EUR"})).await.expect(201).json();
    assert_eq!(plain["value"], "EUR");
    let listed = world.get("/api/tenant-setting").token(&acme.owner.token).send().await.expect(200).json();
    assert_eq!(listed, json!({"SETTING_KEY": "********alue", "currency": "EUR"}));
    let read = world.get(path(&row)).token(&acme.owner.token).send().await.expect(200);
    assert_eq!(read.json(), row);
    world.get(path(&row)).token(&acme.owner.token).header("if-none-match", read.header("etag")).send().await.expect(304);
    for missing in ["550e8400-e29b-41d4-a716-446655440000", "nothing"] {
        world.get(format!("/api/tenant-setting/{missing}")).token(&acme.owner.token).send().await.expect(404);
    }
    // The same name is the same row.
    let again = set(&world, &acme, json!({"name": "currency", "value": "USD"})).await.expect(201).json();
    assert_eq!((&again["id"], &again["value"]), (&plain["id"], &json!("USD")));
    let gone = set(&world, &acme, json!({"name": "currency", "value": null})).await.expect(201).json();
    assert_eq!((&gone["id"], &gone["value"]), (&Value::Null, &Value::Null));
    world.get(path(&plain)).token(&acme.owner.token).send().await.expect(404);
    for role in ["admin", "member", "viewer"] {
        let member = world.member(&acme, role).await;
        world.get("/api/tenant-setting").token(&member.token).send().await.expect(403);
        world.post("/api/tenant-setting").token(&member.token).json(json!({"name": "a", "value": "b"})).send().await.expect(403);
    }
}

#[tokio::test]
async fn many_settings_are_written_at_once_or_not_at_all() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let body = json!({"fileStorageProvider": "S3", "aws_secret_access_key": "wJalrXUtnFEMI", "aws_bucket": "files", "posthogEnabled": true, "posthogFlushInterval": 5000});
    let map = set(&world, &acme, body).await.expect(201).json();
    let expected = json!({
        "fileStorageProvider": "S3", "aws_secret_access_key": "********FEMI", "aws_bucket": "files",
        "posthogEnabled": "true", "posthogFlushInterval": "5000",
    });
    assert_eq!(map, expected);
    // The map is sent back as it came, with masks: nothing changes.
    let before = settings_of(&world, &acme);
    assert_eq!(set(&world, &acme, map.clone()).await.expect(201).json(), expected);
    assert_eq!(settings_of(&world, &acme), before);
    let bad = json!({"aws_bucket": "other", "posthogEnabled": "maybe", "fileStorageProvider": "FTP", "spaced name": "x", "deep": {"a": 1}});
    let refused = set(&world, &acme, bad).await.expect(400);
    assert_eq!(refused.code(), "VALIDATION_ERROR");
    assert_eq!(fields(&refused), ["deep", "fileStorageProvider", "posthogEnabled", "spaced name"].map(str::to_owned).into());
    assert_eq!(settings_of(&world, &acme), before);
    let dynamic = world.post("/api/tenant-setting/dynamic").token(&acme.owner.token).json(json!({"aws_bucket": null, "probe.url": "x"}));
    let map = dynamic.send().await.expect(201).json();
    assert_eq!((&map["aws_bucket"], &map["probe.url"], map.as_object().unwrap().len()), (&Value::Null, &json!("********"), 5));
    assert_eq!(counter(&world, &acme), 5);
}

#[tokio::test]
async fn a_wrong_setting_is_refused() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    for (body, field) in [
        (json!({"name": "a"}), "value"),
        (json!({"value": "a"}), "name"),
        (json!({"name": "", "value": "a"}), "name"),
        (json!({"name": "a#b", "value": "a"}), "name"),
        (json!({"name": "x".repeat(256), "value": "a"}), "name"),
        (json!({"name": 7, "value": "a"}), "name"),
        (json!({"name": null, "value": "a"}), "name"),
        (json!({"name": "a", "value": ["a"]}), "value"),
        (json!({"name": "a", "value": "x".repeat(8193)}), "value"),
        (json!({"name": "a", "value": "a\u{0}"}), "value"),
        (json!({"name": "a", "value": "********"}), "value"),
        (json!({"name": "jitsuHost", "value": "not a url"}), "value"),
        (json!({"name": "sentryEnabled", "value": 1}), "value"),
        (json!({"name": "a", "value": "b", "tenantId": "x"}), "tenantId"),
    ] {
        let answer = set(&world, &acme, body.clone()).await.expect(400);
        assert_eq!(answer.code(), "VALIDATION_ERROR", "{body}");
        assert_eq!(fields(&answer), BTreeSet::from([field.to_owned()]), "{body}");
    }
    assert_eq!(fields(&set(&world, &acme, json!({})).await.expect(400)), ["name", "value"].map(str::to_owned).into());
    let too_many: Map<String, Value> = (0..201).map(|n| (format!("n{n}"), json!("v"))).collect();
    set(&world, &acme, Value::Object(too_many)).await.expect(400);
    let too_many_at_once: Map<String, Value> = (0..91).map(|n| (format!("n{n}"), json!("v"))).collect();
    set(&world, &acme, Value::Object(too_many_at_once)).await.expect(400);
    assert_eq!(settings_of(&world, &acme), Vec::<Value>::new());
    set(&world, &acme, json!({"name": "x".repeat(255), "value": "y".repeat(8192)})).await.expect(201);
}

#[tokio::test]
async fn there_are_at_most_two_hundred_settings_whatever_races() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    for part in [0..90, 90..180, 180..195] {
        let body: Map<String, Value> = part.map(|n| (format!("n{n}"), json!("v"))).collect();
        set(&world, &acme, Value::Object(body)).await.expect(201);
    }
    let more = |n: usize| set(&world, &acme, json!({"name": format!("more{n}"), "value": "v"}));
    let answers = join_all((0..9).map(more)).await;
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(made, 5);
    let refused = answers.iter().find(|answer| answer.status != 201).unwrap();
    assert_eq!((refused.status, refused.code().as_str(), &refused.details()["max"]), (403, "PLAN_LIMIT_REACHED", &json!(200)));
    assert_eq!((counter(&world, &acme), settings_of(&world, &acme).len()), (200, 200));
    // One is deleted and one added in one request. Existing ones can still change.
    set(&world, &acme, json!({"n0": null, "n200": "v", "n1": "w"})).await.expect(201);
    assert_eq!((counter(&world, &acme), settings_of(&world, &acme).len()), (200, 200));
    set(&world, &acme, json!({"n2": null, "a": "v", "b": "v"})).await.expect(403);
}

#[tokio::test]
async fn writes_that_meet_follow_one_another_and_each_is_in_the_history() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let answers = join_all((0..6).map(|n| set(&world, &acme, json!({"name": "theme", "value": format!("theme {n}")})))).await;
    assert!(answers.iter().all(|answer| answer.status == 201), "{answers:?}");
    let ids: BTreeSet<String> = answers.iter().map(|answer| id(&answer.json()).to_owned()).collect();
    assert_eq!((ids.len(), counter(&world, &acme)), (1, 1));
    let history = history(&world, &acme, &answers[0].json()).await;
    assert_eq!(history.len(), 6);
    for pair in history.windows(2) {
        assert_eq!(pair[0]["beforeHash"], pair[1]["afterHash"], "newest first, without a gap");
    }
    assert_eq!((&history[5]["beforeHash"], &history[0]["changedBy"]["name"]), (&Value::Null, &json!("Owner of acme")));
    for n in 0..30 {
        set(&world, &acme, json!({"name": "theme", "value": format!("later {n}")})).await.expect(201);
    }
    assert_eq!(self::history(&world, &acme, &answers[0].json()).await.len(), 20);

    let key = world.post("/api/tenant-api-key").token(&acme.owner.token).json(json!({"name": "CI", "scopes": ["settings:*"]})).send().await;
    let key = key.expect(201).json()["apiKey"].as_str().unwrap().to_owned();
    let by_key = world.post("/api/tenant-setting").header("x-api-key", &key).json(json!({"name": "theme", "value": "dark"}));
    by_key.send().await.expect(201);
    let newest = self::history(&world, &acme, &answers[0].json()).await.remove(0);
    assert!(key.starts_with(newest["changedBy"]["key"].as_str().unwrap()), "{newest}");
}

#[tokio::test]
async fn a_repeated_write_happens_once() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let write = |value: &'static str| {
        let request = world.post("/api/tenant-setting").token(&acme.owner.token).header("idempotency-key", "one");
        request.json(json!({"name": "theme", "value": value})).send()
    };
    let first = write("dark").await.expect(201);
    set(&world, &acme, json!({"name": "theme", "value": "light"})).await.expect(201);
    let repeated = write("dark").await.expect(201);
    assert_eq!((repeated.text.as_str(), repeated.header("idempotency-replayed")), (first.text.as_str(), "true"));
    assert_eq!(write("blue").await.expect(422).code(), "IDEMPOTENCY_KEY_REUSED");
    let listed = world.get("/api/tenant-setting").token(&acme.owner.token).send().await.json();
    assert_eq!(listed["theme"], "light");
}

/// Words that are only used in secrets.
const CANARIES: [&str; 4] = ["canary-one-0001", "canary-two-0002", "canary-three-0003", "CANARY7"];

#[tokio::test]
async fn secrets_show_nowhere() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let globex = world.tenant("globex").await;
    let mut heard = vec![];
    let names = ["smtp_password", "aws_secret_access_key", "posthogKey", "short"];
    for (name, canary) in names.iter().zip(CANARIES) {
        for _ in 0..2 {
            heard.push(set(&world, &acme, json!({"name": name, "value": canary})).await.expect(201));
        }
        let once = world.post("/api/tenant-setting").token(&acme.owner.token).header("idempotency-key", name);
        heard.push(once.json(json!({"name": format!("{name}2"), "value": canary})).send().await.expect(201));
        // Refused for another reason: the values must not be in the errors.
        for bad in [json!({"name": "sentryDsn", "value": canary}), json!({"posthogEnabled": canary}), json!({"name": canary, "value": {}})]
        {
            heard.push(set(&world, &acme, bad).await.expect(400));
        }
    }
    heard.push(world.get("/api/tenant-setting").token(&acme.owner.token).send().await.expect(200));
    let row = heard[0].json();
    for request in [world.get(path(&row)), world.get(format!("{}/history", path(&row))), world.get("/api/tenant/export")] {
        heard.push(request.token(&acme.owner.token).send().await.expect(200));
    }
    let items = world.items().iter().map(Value::to_string).collect::<String>();
    for canary in CANARIES {
        assert!(!items.contains(canary), "{canary} lies in the table");
        for answer in &heard {
            assert!(!answer.text.contains(canary), "{}", answer.text);
        }
    }
    // Equal secrets of two tenants look different everywhere.
    let (mine, theirs) = (heard[0].json(), set(&world, &globex, json!({"name": "smtp_password", "value": CANARIES[0]})).await.json());
    let marks = |history: Vec<Value>| history[0]["afterHash"].clone();
    assert_ne!(marks(history(&world, &acme, &mine).await), marks(history(&world, &globex, &theirs).await));
    // A value sealed for one tenant does not open for another tenant or another name.
    let item = |tenant: &Tenant, name: &str| {
        settings_of(&world, tenant).into_iter().find(|item| item["name"]["S"] == name).expect("the setting's item")
    };
    let (stolen, other) = (item(&acme, "smtp_password")["value"].clone(), item(&acme, "aws_secret_access_key")["value"].clone());
    for (tenant, value) in [(&globex, stolen), (&acme, other)] {
        world.change_item(&format!("T#{}#settings", tenant.id), "name#smtp_password", |item| item["value"] = value.clone());
        let answer = world.get("/api/tenant-setting").token(&tenant.owner.token).send().await.expect(500);
        assert!(!answer.text.contains("0001") && !answer.text.contains("0002"), "{}", answer.text);
    }
}

#[tokio::test]
async fn one_setting_costs_two_round_trips() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    for value in ["dark", "light", "blue"] {
        set(&world, &acme, json!({"name": "theme", "value": value})).await.expect(201);
    }
    let changed = set(&world, &acme, json!({"name": "theme", "value": "red"})).await.expect(201).metered.unwrap();
    assert!(changed.round_trips <= 2, "{changed:?}");
    let read = world.get("/api/tenant").token(&acme.owner.token).send().await.expect(200).metered.unwrap();
    assert_eq!(read.round_trips, 1, "{read:?}");
    let listed = world.get("/api/tenant-setting").token(&acme.owner.token).send().await.expect(200).metered.unwrap();
    assert_eq!(listed.round_trips, 2, "{listed:?}");
}

async fn set(world: &World, tenant: &Tenant, body: Value) -> Answer {
    world.post("/api/tenant-setting").token(&tenant.owner.token).json(body).send().await
}

async fn history(world: &World, tenant: &Tenant, row: &Value) -> Vec<Value> {
    let answer = world.get(format!("{}/history", path(row))).token(&tenant.owner.token).send().await.expect(200);
    answer.json().as_array().expect("a list").clone()
}

fn path(row: &Value) -> String {
    format!("/api/tenant-setting/{}", id(row))
}

fn fields(answer: &Answer) -> BTreeSet<String> {
    answer.details().as_object().expect("details").keys().cloned().collect()
}

fn settings_of(world: &World, tenant: &Tenant) -> Vec<Value> {
    world.items_of(tenant).into_iter().filter(|item| item["type"]["S"] == "setting").collect()
}

fn counter(world: &World, tenant: &Tenant) -> u64 {
    let items = world.items_of(tenant).into_iter().find(|item| item["sk"]["S"] == "settings");
    items.and_then(|item| item["n"]["N"].as_str()?.parse().ok()).unwrap_or(0)
}

fn tenants(world: &World) -> usize {
    world.items().iter().filter(|item| item["type"]["S"] == "tenant").count()
}

/// A person with an account who belongs to no tenant.
async fn homeless(world: &World) -> Caller {
    let name = format!("left{}", world.items().len());
    let tenant = world.tenant(&name).await;
    world.delete("/api/tenant").token(&tenant.owner.token).send().await.expect(200);
    world.login(&tenant.owner.email, &tenant.owner.password).await
}

#[tokio::test]
async fn a_mask_comes_back_with_whatever_blanks_it_caught_and_nothing_else_begins_as_one() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let write = async |body: Value| world.post("/api/tenant-setting").token(&acme.owner.token).json(body).send().await;
    let row = write(json!({"name": "smtp_password", "value": "a swordfish ter2"})).await.expect(201).json();
    let path = format!("/api/tenant-setting/{}", row["id"].as_str().expect("an id"));
    let tag = async || world.get(&path).token(&acme.owner.token).send().await.expect(200).header("etag").to_owned();
    let before = tag().await;
    for mask in [
        "********ter2",
        "********ter2\n",
        " ********ter2 ",
        "********\tter2",
        "\u{feff}********ter2",
        "****\r\n****ter2",
        "********\u{a0}ter2",
    ] {
        for body in [json!({"smtp_password": mask}), json!({"name": "smtp_password", "value": mask})] {
            write(body).await.expect(201);
        }
    }
    assert_eq!(tag().await, before);
    for wrong in ["********ter3", "********", "*********ter2", "********ter2x", " ********new", "********\nnew secret"] {
        let refused = write(json!({"smtp_password": wrong})).await.expect(400);
        assert!(refused.details()["smtp_password"].is_array(), "{wrong:?}: {}", refused.text);
    }
    assert_eq!(tag().await, before);
    // For a name that is not secret, such text is plain text.
    write(json!({"currency": "********"})).await.expect(201);
}

#[tokio::test]
async fn urls_are_kept_in_their_normal_form() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let token = &acme.owner.token;
    for (given, kept) in [
        ("HTTPS://Acme.EXAMPLE:443/a/../logo.png", "https://acme.example/logo.png"),
        ("https://bücher.example/ö.png", "https://xn--bcher-kva.example/%C3%B6.png"),
        ("https://acme.example", "https://acme.example"),
    ] {
        let stated = world.put("/api/tenant").token(token).json(json!({"name": "A", "logo": given})).send().await.expect(202).json();
        assert_eq!(stated["logo"], kept, "{given}");
    }
    for wrong in [
        "https:\\\\acme.example",
        "https:acme.example",
        "https://acme.example/\nx",
        "https://",
        "https:///x",
        "https://a b.example",
        "https://u@acme.example",
    ] {
        world.put("/api/tenant").token(token).json(json!({"name": "A", "logo": wrong})).send().await.expect(400);
    }
    let body = json!({"posthogHost": "HTTPS://EU.PostHog.com:443", "sentryDsn": "https://abc@o1.ingest.sentry.io/2"});
    let map = world.post("/api/tenant-setting").token(token).json(body).send().await.expect(201).json();
    assert_eq!(map["posthogHost"], "https://eu.posthog.com");
    let path = format!("/api/tenants/{}", acme.slug);
    let body = json!({"cms": "generic", "originUrl": "HTTPS://Origin.ACME.example:443/Media/"});
    let config = world.put(&path).token(token).json(body).send().await.expect(200).json();
    assert_eq!(config["value"]["originUrl"], "https://origin.acme.example/Media");
    for wrong in [
        "https://0x7f.1/",
        "https://[::1]/",
        "https://2130706433",
        "https://%6cocalhost",
        "https://origin.acme.example:0",
        "https://origin.acme.example/%2e%2e/x",
    ] {
        world.put(&path).token(token).json(json!({"originUrl": wrong})).send().await.expect(400);
    }
}

/// F1, F3 and F4 print milliseconds, F2 whole seconds with an offset.
#[tokio::test]
async fn moments_are_printed_in_one_form_by_each_family() {
    let world = World::with(Settings { plans: json!({"free": {"subaccounts": 5, "custom_domains": 5}}), ..Settings::default() }).await;
    let acme = world.tenant("acme").await;
    let token = &acme.owner.token;
    world.advance(jiff::SignedDuration::from_nanos(123_456_789));
    let project = world.project(&acme.owner, "Launch").await;
    let task = world.task(&acme.owner, &project, json!({"title": "x", "status": "done"})).await;
    let domains = format!("/api/tenants/{}/domains", acme.slug);
    world.post(&domains).token(token).json(json!({"hostname": "cdn.acme.com"})).send().await.expect(201);
    world.put(format!("/api/tenants/{}/api-token", acme.slug)).token(token).json(json!({"token": "x"})).send().await.expect(200);
    let ends = "2099-01-01T00:00:00.5Z";
    let key = world.post("/v1/api-keys").token(token).json(json!({"name": "x", "expires_at": ends})).send().await.expect(201).json();
    assert_eq!(key["data"]["expires_at"], "2099-01-01T00:00:00.500Z");
    world.post("/v1/subaccounts").token(token).json(json!({"name": "x"})).send().await.expect(201);
    world.post("/api/tenant-setting").token(token).json(json!({"name": "theme", "value": "dark"})).send().await.expect(201);
    world
        .post("/api/v1/tenant/invitations")
        .token(token)
        .json(json!({"email": "x@example.com", "role": "viewer"}))
        .send()
        .await
        .expect(201);
    let tenants = format!("/api/tenants/{}", acme.slug);
    let mut seen = 0;
    for path in [
        "/api/tenants",
        &tenants,
        &domains,
        &format!("{tenants}/usage"),
        "/api/tenant",
        "/api/tenant-api-key",
        "/v1/api-keys",
        "/v1/subaccounts",
        "/v1/billing/usage",
        "/api/v1/tenant/members",
        "/api/v1/tenant/invitations",
        "/api/v1/projects",
        &format!("/api/v1/tasks/{}", task["id"].as_str().expect("an id")),
        "/api/v1/auth/me",
        "/api/v1/auth/sessions",
    ] {
        let answer = world.get(path).token(token).send().await.expect(200).json();
        let f2 = path.starts_with("/api/v1/") && !path.starts_with("/api/v1/tenant/");
        for text in texts(&answer) {
            let is_moment = text.len() > 18 && text.as_bytes()[4] == b'-' && text.as_bytes()[10] == b'T' && text.as_bytes()[13] == b':';
            if is_moment {
                seen += 1;
                let fits = if f2 { text.len() == 25 && text.ends_with("+00:00") } else { text.len() == 24 && text.ends_with('Z') };
                assert!(fits, "{path}: {text}");
            }
        }
    }
    assert!(seen >= 25, "{seen}");
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(object) => object.values().flat_map(texts).collect(),
        _ => vec![],
    }
}
