//! Agencies: subaccounts with limits and states, their keys, acting for them, and what neither side may learn of the other.

use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::workers::{drain, workers};
use crate::world::{Request, Settings, Tenant, World, id};

const SUBACCOUNTS: &str = "/v1/subaccounts";
const PROJECTS: &str = "/api/v1/projects";
const NOBODY: &str = "sub_0198c0de000070008000000000000000";

#[tokio::test]
async fn a_subaccount_is_made_with_one_call_and_works_at_once() {
    let world = World::new().await;
    let agency = world.tenant("agency").await;
    let body = json!({"name": "Client One", "external_id": "crm-17", "limits": {"messages_per_day": 100}, "metadata": {"tier": "gold"}});
    let made = world.post(SUBACCOUNTS).token(&agency.owner.token).json(body).send().await.expect(201).json()["data"].clone();
    assert_eq!((&made["status"], &made["parent_tenant_id"]), (&json!("active"), &json!(agency.id)));
    assert_eq!((&made["limits"]["messages_per_day"], &made["phone_assignment_mode"]), (&json!(100), &json!("pooled")));
    let shown = world.get(format!("{SUBACCOUNTS}/{}", id(&made))).token(&agency.owner.token).send().await.expect(200);
    assert_eq!(shown.json()["data"], made);
    assert!(shown.metered.expect("metered").round_trips <= 2);
    let listed = world.get(SUBACCOUNTS).token(&agency.owner.token).send().await.expect(200).json();
    assert_eq!((&listed["data"][0]["id"], &listed["next_cursor"]), (&made["id"], &Value::Null));
    let key = key_of(&world, &agency, &made).await;
    let project = world.post(PROJECTS).token(&key).json(json!({"name": "Theirs"})).send().await.expect(201).json()["data"].clone();
    // The agency sees it only where it acts for the child.
    let path = format!("{PROJECTS}/{}", id(&project));
    world.get(&path).token(&agency.owner.token).send().await.expect(404);
    acting(world.get(&path), &agency, id(&made)).send().await.expect(200);
    let renamed = world.patch(format!("{SUBACCOUNTS}/{}", id(&made))).token(&agency.owner.token).json(json!({"name": "Client 1"}));
    assert_eq!(renamed.send().await.expect(200).json()["data"]["name"], "Client 1");
}

#[tokio::test]
async fn acting_for_a_child_is_as_if_it_were_ones_own_tenant() {
    let world = World::new().await;
    let agency = world.tenant("agency").await;
    let child = subaccount(&world, &agency, json!({})).await;
    let project = acting(world.post(PROJECTS), &agency, id(&child)).json(json!({"name": "Ours for them"})).send().await.expect(201);
    let project = project.json()["data"].clone();
    let path = format!("{PROJECTS}/{}", id(&project));
    let task =
        acting(world.post(format!("{path}/tasks")), &agency, id(&child)).json(json!({"title": "Do"})).send().await.expect(201).json();
    assert_eq!(task["data"]["creator"], json!({"id": 0, "name": "platform", "email": ""}));
    let read = acting(world.get(&path), &agency, id(&child)).send().await.expect(200);
    assert!(read.metered.expect("metered").round_trips <= 3, "{:?}", read.metered);
    acting(world.put(&path), &agency, id(&child)).json(json!({"name": "Renamed"})).send().await.expect(200);
    acting(world.delete(&path), &agency, id(&child)).send().await.expect(200);
    assert!(world.items_of(&agency).iter().all(|item| item["type"]["S"] != "project"), "nothing of it lies with the agency");
    // Both spellings of the id, and once only.
    let uuid = uuid_of(id(&child));
    acting(world.get(PROJECTS), &agency, &uuid).send().await.expect(200);
    acting(acting(world.get(PROJECTS), &agency, &uuid).header("x-subaccount-id", &uuid), &agency, &uuid).send().await.expect(400);
    // A repeat is one of the same child.
    let other = subaccount(&world, &agency, json!({})).await;
    let create = |child: &Value| {
        acting(world.post(PROJECTS), &agency, id(child)).header("idempotency-key", "once").json(json!({"name": "Once"})).send()
    };
    let (first, again, elsewhere) = (create(&child).await.expect(201), create(&child).await.expect(201), create(&other).await.expect(201));
    assert_eq!(first.text, again.text);
    assert_ne!(first.text, elsewhere.text);
}

#[tokio::test]
async fn nobody_acts_for_what_is_not_his_own_open_child() {
    let world = World::new().await;
    let (agency, rival) = (world.tenant("agency").await, world.tenant("rival").await);
    let child = subaccount(&world, &agency, json!({})).await;
    let theirs = subaccount(&world, &rival, json!({})).await;
    let closed = subaccount(&world, &agency, json!({})).await;
    world.post(format!("{SUBACCOUNTS}/{}/close", id(&closed))).token(&agency.owner.token).send().await.expect(200);
    let before = world.items_of(&rival);
    let unknown = acting(world.get(PROJECTS), &agency, NOBODY).send().await.expect(404);
    for stranger in [id(&theirs), id(&closed), &agency.id, &rival.id, &rival.slug, "", "x", child["tenant_id"].as_str().expect("an id")] {
        for request in [world.get(PROJECTS), world.post(PROJECTS).json(json!({"name": "x"})), world.get("/v1/api-keys")] {
            let answer = acting(request, &agency, stranger).send().await;
            assert_eq!(answer.fingerprint(), unknown.fingerprint(), "{stranger:?}");
        }
    }
    assert_eq!(world.items_of(&rival), before);
    // A child has no children, and a grandchild cannot be made or reached.
    let key = key_of(&world, &agency, &child).await;
    world.post(SUBACCOUNTS).token(&key).json(json!({"name": "Grandchild"})).send().await.expect(403);
    let sibling = subaccount(&world, &agency, json!({})).await;
    for other in [id(&sibling), id(&child), NOBODY] {
        world.get(PROJECTS).token(&key).header("x-subaccount-id", other).send().await.expect(404);
        world.get(format!("{SUBACCOUNTS}/{other}")).token(&key).send().await.expect(404);
    }
    let made = acting(world.post(SUBACCOUNTS), &agency, id(&child)).json(json!({"name": "Grandchild"})).send().await.expect(403);
    assert_eq!(made.code(), "AGENCY_REQUIRED");
    // Less than an admin does not act for anybody.
    let member = world.member(&agency, "member").await;
    world.get(PROJECTS).token(&member.token).header("x-subaccount-id", id(&child)).send().await.expect(403);
    let admin = world.member(&agency, "admin").await;
    world.get(PROJECTS).token(&admin.token).header("x-subaccount-id", id(&child)).send().await.expect(200);
    world.get("/v1/api-keys").token(&admin.token).header("x-subaccount-id", id(&child)).send().await.expect(403);
}

#[tokio::test]
async fn a_key_of_the_agency_acts_within_its_scopes() {
    let world = World::new().await;
    let agency = world.tenant("agency").await;
    let child = subaccount(&world, &agency, json!({})).await;
    let with = async |scopes: Value| {
        let body = json!({"name": "Agency", "scopes": scopes});
        let key = world.post("/v1/api-keys").token(&agency.owner.token).json(body).send().await.expect(201);
        key.json()["data"]["key"].as_str().expect("a key").to_owned()
    };
    let act = |key: &str, request: Request| request.token(key).header("x-subaccount-id", id(&child)).send();
    let reader = with(json!(["agency:read", "projects:*"])).await;
    act(&reader, world.get(PROJECTS)).await.expect(200);
    act(&reader, world.post(PROJECTS).json(json!({"name": "x"}))).await.expect(403);
    let outsider = with(json!(["projects:*"])).await;
    act(&outsider, world.get(PROJECTS)).await.expect(403);
    let narrow = with(json!(["agency:*"])).await;
    act(&narrow, world.get(PROJECTS)).await.expect(403);
    // Keys of its children are the agency's business, whatever else its key may not do.
    let keys = format!("{SUBACCOUNTS}/{}/api-keys", id(&child));
    let made = world.post(&keys).token(&narrow).json(json!({"name": "Theirs"})).send().await.expect(201).json()["data"].clone();
    world.get(PROJECTS).token(made["key"].as_str().expect("a key")).send().await.expect(200);
    let rotate = world.post(format!("{keys}/{}/rotate", id(&made))).token(&narrow).json(json!({"grace_seconds": 0}));
    let new = rotate.send().await.expect(201).json()["data"].clone();
    world.get(PROJECTS).token(made["key"].as_str().expect("a key")).send().await.expect(401);
    world.get(PROJECTS).token(new["key"].as_str().expect("a key")).send().await.expect(200);
    world.delete(format!("{keys}/{}", id(&new))).token(&narrow).send().await.expect(200);
    world.get(PROJECTS).token(new["key"].as_str().expect("a key")).send().await.expect(401);
}

#[tokio::test]
async fn a_child_cannot_tell_that_it_has_an_agency() {
    let (world, workers) = workers().await;
    let agency = world.tenant("agency").await;
    let child = subaccount(&world, &agency, json!({"external_id": "crm-17"})).await;
    subaccount(&world, &agency, json!({"name": "Sibling"})).await;
    let key = key_of(&world, &agency, &child).await;
    acting(world.post(PROJECTS), &agency, id(&child)).json(json!({"name": "Visible"})).send().await.expect(201);
    acting(world.get(PROJECTS), &agency, id(&child)).send().await.expect(200);
    let limits = world.put(format!("{SUBACCOUNTS}/{}/limits", id(&child))).token(&agency.owner.token).json(json!({"messages_per_day": 5}));
    let limited = limits.send().await.expect(200).header("x-request-id").to_owned();
    drain(&world, &workers).await;
    let secrets = [
        agency.id.as_str(),
        &agency.slug,
        &agency.owner.email,
        "Owner of agency",
        "agency",
        "crm-17",
        "Sibling",
        id(&child),
        &uuid_of(id(&child)),
    ];
    for path in [PROJECTS, "/api/tenant/audit-log", "/api/tenant-api-key", "/v1/api-keys"] {
        let answer = world.get(path).token(&key).send().await.expect(200);
        for secret in secrets {
            assert!(!answer.text.contains(secret), "{path} tells {secret}: {}", answer.text);
        }
    }
    let log = world.get("/api/tenant/audit-log").token(&key).send().await.json();
    let entries = log["entries"].as_array().expect("entries");
    assert!(
        entries.iter().any(|entry| entry["actor"] == "platform" && entry["changes"].to_string().contains("GET /api/v1/projects")),
        "{log}"
    );
    let log = world.get("/api/tenant/audit-log").token(&agency.owner.token).send().await.json();
    assert!(log.to_string().contains(&limited), "a child's limits are the agency's doing: {log}");
    for call in ["GET /api/v1/projects", "POST /api/v1/projects"] {
        assert!(log.to_string().contains(&format!("{} {call}", id(&child))), "{call}: {log}");
    }
    let mut acting = log["entries"].as_array().expect("entries").iter().filter(|entry| entry["changes"].to_string().contains("\"called\""));
    assert!(acting.all(|entry| entry["actor"].as_str().is_some_and(|actor| actor.starts_with("user:"))));
}

#[tokio::test]
async fn suspending_and_closing_hold_from_the_next_request_on() {
    let world = World::new().await;
    let agency = world.tenant("agency").await;
    let child = subaccount(&world, &agency, json!({"external_id": "crm-17"})).await;
    let key = key_of(&world, &agency, &child).await;
    let turn = async |verb: &str| world.post(format!("{SUBACCOUNTS}/{}/{verb}", id(&child))).token(&agency.owner.token).send().await;
    for world in [&world, &world.another_instance().await] {
        world.get(PROJECTS).token(&key).send().await.expect(200);
    }
    assert_eq!(turn("suspend").await.expect(200).json()["data"]["status"], "suspended");
    turn("suspend").await.expect(200);
    world.get(PROJECTS).token(&key).send().await.expect(403);
    acting(world.get(PROJECTS), &agency, id(&child)).send().await.expect(403);
    turn("activate").await.expect(200);
    world.get(PROJECTS).token(&key).send().await.expect(200);
    turn("close").await.expect(200);
    turn("close").await.expect(200);
    for verb in ["suspend", "activate"] {
        turn(verb).await.expect(409);
    }
    world.get(PROJECTS).token(&key).send().await.expect(401);
    acting(world.get(PROJECTS), &agency, id(&child)).send().await.expect(404);
    let listed = world.get(format!("{SUBACCOUNTS}?status=closed")).token(&agency.owner.token).send().await.expect(200).json();
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(1));
    // Its external id is free again.
    subaccount(&world, &agency, json!({"external_id": "crm-17"})).await;
}

#[tokio::test]
async fn the_plan_bounds_subaccounts_and_an_external_id_is_given_once_whatever_races() {
    let world = World::with(Settings { plans: json!({"free": {"subaccounts": 10}}), ..Settings::default() }).await;
    let agency = world.tenant("agency").await;
    let makes = (0..64).map(|_| world.post(SUBACCOUNTS).token(&agency.owner.token).json(json!({"name": "x"})).send());
    let answers = join_all(makes).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 10);
    let refused = answers.iter().find(|answer| answer.status != 201).expect("one too many");
    assert_eq!((refused.status, refused.details()), (403, json!({"limit": "subaccounts", "used": 10, "max": 10, "plan": "free"})));
    let first = answers.iter().find(|answer| answer.status == 201).expect("one").json()["data"].clone();
    world.post(format!("{SUBACCOUNTS}/{}/close", id(&first))).token(&agency.owner.token).send().await.expect(200);
    let named =
        (0..16).map(|_| world.post(SUBACCOUNTS).token(&agency.owner.token).json(json!({"name": "x", "external_id": "same"})).send());
    let answers = join_all(named).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert!(answers.iter().all(|answer| matches!(answer.status, 201 | 403 | 409)));

    let strict = World::strict().await;
    let small = strict.tenant("small").await;
    let refused = strict.post(SUBACCOUNTS).token(&small.owner.token).json(json!({"name": "x"})).send().await.expect(403);
    assert_eq!(refused.code(), "AGENCY_REQUIRED");
}

#[tokio::test]
async fn limits_lie_within_the_childs_plan_and_are_enforced() {
    let world = World::with(Settings { strict: true, plans: json!({"free": {"subaccounts": 10}}), ..Settings::default() }).await;
    let agency = world.tenant("agency").await;
    for (body, field) in [
        (json!({"name": "x", "plan": "pro"}), "plan"),
        (json!({"name": "x", "plan": "demo"}), "plan"),
        (json!({"name": "x", "plan": "none"}), "plan"),
        (json!({"name": "x", "limits": {"api_requests_per_day": 1001}}), "limits"),
        (json!({"name": "x", "limits": {"new_contacts_per_day": 11}}), "limits"),
        (json!({"name": "x", "limits": {"messages_per_day": -1}}), "limits.messages_per_day"),
        (json!({"name": "x", "limits": {"unknown": 1}}), "limits.unknown"),
        (json!({"name": "x", "limits": []}), "limits"),
        (json!({"name": "x", "phone_assignment_mode": "both"}), "phone_assignment_mode"),
        (json!({"name": "x", "metadata": "gold"}), "metadata"),
        (json!({"name": ""}), "name"),
    ] {
        let answer = world.post(SUBACCOUNTS).token(&agency.owner.token).json(body.clone()).send().await.expect(400);
        assert!(answer.details()[field].is_array(), "{body}: {}", answer.text);
    }
    let child = subaccount(&world, &agency, json!({})).await;
    let key = key_of(&world, &agency, &child).await;
    let limits = format!("{SUBACCOUNTS}/{}/limits", id(&child));
    world.put(&limits).token(&agency.owner.token).json(json!({"api_requests_per_day": 2000})).send().await.expect(400);
    let set = world.put(&limits).token(&agency.owner.token).json(json!({"api_requests_per_day": 5})).send().await.expect(200).json();
    assert_eq!((&set["data"]["api_requests_per_day"], &set["data"]["messages_per_day"]), (&json!(5), &Value::Null));
    assert_eq!(world.get(&limits).token(&agency.owner.token).send().await.json(), set);
    // Its own people cannot lift it, and cannot see who set it.
    world.put(&limits).token(&key).json(json!({})).send().await.expect(404);
    let answers = join_all((0..30).map(|_| world.get(PROJECTS).token(&key).send())).await;
    assert!(answers.iter().filter(|answer| answer.status == 200).count() <= 5);
    assert!(answers.iter().any(|answer| answer.status == 429 && answer.details()["quota"] == "api_requests_per_day"));
    world.get(PROJECTS).token(&agency.owner.token).send().await.expect(200);
}

#[tokio::test]
async fn analytics_add_up_what_the_children_used() {
    let world = World::new().await;
    let agency = world.tenant("agency").await;
    let (one, two) = (subaccount(&world, &agency, json!({"name": "One"})).await, subaccount(&world, &agency, json!({"name": "Two"})).await);
    for (child, calls) in [(&one, 3), (&two, 5)] {
        let key = key_of(&world, &agency, child).await;
        for _ in 0..calls {
            world.get(PROJECTS).token(&key).send().await.expect(200);
        }
    }
    let path = "/v1/agency/analytics";
    let answer = world.get(path).token(&agency.owner.token).send().await.expect(200).json()["data"].clone();
    let each: Vec<u64> =
        answer["subaccounts"].as_array().expect("subaccounts").iter().filter_map(|child| child["api_calls"].as_u64()).collect();
    assert!(each.len() == 2 && each[0] >= 3 && each[1] >= 5, "{answer}");
    assert_eq!(answer["totals"]["api_calls"], each.iter().sum::<u64>());
    assert_eq!((&answer["totals"]["sent"], &answer["totals"]["delivery_rate"]), (&json!(0), &Value::Null));
    let today = world.auth.clock().now().strftime("%Y-%m-%d").to_string();
    world.advance(SignedDuration::from_hours(48));
    let later = world.auth.clock().now().strftime("%Y-%m-%d").to_string();
    let on = async |range: &str| world.get(format!("{path}?{range}")).token(&agency.owner.token).send().await;
    assert_eq!(on(&format!("from={later}&to={later}")).await.expect(200).json()["data"]["totals"]["api_calls"], 0);
    assert_eq!(on(&format!("from={today}&to={later}")).await.expect(200).json()["data"]["totals"], answer["totals"]);
    for wrong in [
        format!("from={later}&to={today}"),
        "from=2020-01-01".into(),
        "from=2026-13-01".into(),
        "to=2999-01-01".into(),
        "from=yesterday".into(),
        "days=3".into(),
    ] {
        on(&wrong).await.expect(400);
    }
}

async fn subaccount(world: &World, agency: &Tenant, properties: Value) -> Value {
    let mut body = json!({"name": "Client"});
    for (name, value) in properties.as_object().expect("properties") {
        body[name] = value.clone();
    }
    world.post(SUBACCOUNTS).token(&agency.owner.token).json(body).send().await.expect(201).json()["data"].clone()
}

/// A key of the child with every scope, made by the agency.
async fn key_of(world: &World, agency: &Tenant, child: &Value) -> String {
    let path = format!("{SUBACCOUNTS}/{}/api-keys", id(child));
    let made = world.post(path).token(&agency.owner.token).json(json!({"name": "Theirs"})).send().await.expect(201);
    made.json()["data"]["key"].as_str().expect("a key").to_owned()
}

fn acting(request: Request, agency: &Tenant, child: &str) -> Request {
    let request = if request.has("authorization") { request } else { request.token(&agency.owner.token) };
    request.header("x-subaccount-id", child)
}

fn uuid_of(prefixed: &str) -> String {
    let hex = prefixed.trim_start_matches("sub_");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
