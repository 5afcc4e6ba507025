//! The audit log: what was changed, by whom, in which request. It is written from the stream, in any order and with duplicates.

use jiff::SignedDuration;
use serde_json::{Value, json};
use stack::sources::{Duplicates, Faults};

use crate::isolation::{ENDS_THE_TENANT, call, in_tenant, sample};
use crate::workers::{drain, settle, workers};
use crate::world::{Answer, Tenant, World, claims_of, id};

const LOG: &str = "/api/tenant/audit-log";

#[tokio::test]
async fn every_mutation_leaves_one_entry() {
    let (world, workers) = workers().await;
    let own = world.tenant("acme").await;
    let user = format!("user:{}", claims_of(&own.owner.token)["sub"].as_str().expect("a subject"));
    drain(&world, &workers).await;
    let registered = entries(&world, &own).await;
    assert_eq!(registered.len(), 1, "the registration: {registered:?}");
    let owner = |request: crate::world::Request| {
        world.advance(SignedDuration::from_millis(1));
        request.token(&own.owner.token)
    };
    let project = owner(world.post("/api/v1/projects")).json(json!({"name": "One"})).send().await.expect(201);
    let (project, created) = (project.json()["data"].clone(), request_id(&project));
    let path = format!("/api/v1/projects/{}", id(&project));
    let mut expected = vec![(created, "created", "project")];
    let mut note = |answer: Answer, action: &'static str, resource: &'static str| {
        assert!(answer.status < 300, "{}", answer.text);
        expected.push((request_id(&answer), action, resource));
        answer.json()
    };
    note(owner(world.put(&path)).json(json!({"name": "Two"})).send().await, "changed", "project");
    let task = note(owner(world.post(format!("{path}/tasks"))).json(json!({"title": "Do"})).send().await, "created", "task");
    let task = format!("/api/v1/tasks/{}", id(&task["data"]));
    note(owner(world.post(format!("{task}/complete"))).send().await, "changed", "task");
    note(owner(world.delete(&task)).send().await, "deleted", "task");
    note(owner(world.post(format!("{path}/archive"))).send().await, "changed", "project");
    note(owner(world.delete(&path)).send().await, "deleted", "project");
    let invited = json!({"email": "new@example.com", "role": "viewer"});
    let invitation = note(owner(world.post("/api/v1/tenant/invitations")).json(invited).send().await, "created", "invitation");
    let invitation = format!("/api/v1/tenant/invitations/{}", id(&invitation["data"]));
    note(owner(world.delete(invitation)).send().await, "deleted", "invitation");
    let key = note(owner(world.post("/api/tenant-api-key")).json(json!({"name": "CI"})).send().await, "created", "api_key");
    note(owner(world.delete(format!("/api/tenant-api-key/{}", id(&key)))).send().await, "deleted", "api_key");
    let setting = json!({"name": "smtp_password", "value": "swordfish"});
    note(owner(world.post("/api/tenant-setting")).json(setting).send().await, "created", "setting");
    let deletion = json!({"name": "smtp_password", "value": null});
    note(owner(world.post("/api/tenant-setting")).json(deletion).send().await, "deleted", "setting");
    let renamed = json!({"name": "Another name"});
    note(owner(world.put("/api/tenant")).json(renamed).send().await, "changed", "tenant");
    // None of this changes anything.
    owner(world.get(&path)).send().await.expect(404);
    owner(world.post("/api/v1/projects")).json(json!({"name": ""})).send().await.expect(422);
    drain(&world, &workers).await;

    let log = entries(&world, &own).await;
    let newest_first: Vec<_> = log.iter().map(|entry| entry["requestId"].as_str().expect("a request").to_owned()).collect();
    assert_eq!(newest_first.len(), expected.len() + registered.len(), "{log:?}");
    for (request, action, resource) in &expected {
        let entry = log.iter().find(|entry| entry["requestId"] == request.as_str()).unwrap_or_else(|| panic!("{action} {resource}"));
        let changes = entry["changes"].as_array().expect("changes");
        assert_eq!(changes.len(), 1, "{entry}");
        assert_eq!((&changes[0]["action"], &changes[0]["resource"], &entry["actor"]), (&json!(action), &json!(resource), &json!(user)));
        assert_eq!(
            (changes[0]["before"].is_string(), changes[0]["after"].is_string()),
            match *action {
                "created" => (false, true),
                // Archiving moves the record. The entry contains its earlier state.
                "changed" => (changes[0]["before"].is_string(), true),
                _ => (true, false),
            }
        );
    }
    // The states form a chain: the state after one change is the state before the next.
    let of = |action: &str, nth: usize| {
        let of_project = log.iter().rev().flat_map(|entry| entry["changes"].as_array().expect("changes").clone());
        of_project.filter(|change| change["resource"] == "project" && change["action"] == action).nth(nth).expect("a change")
    };
    assert_eq!(of("created", 0)["after"], of("changed", 0)["before"]);
    assert_eq!(of("changed", 0)["id"], id(&project));
}

/// These change nothing here, so they leave no entry: the key's maker adopts it, the subaccount is active already, the lead is nobody, and what only
/// shows something. No consent record has the id that is to be redacted, and deliveries are told in a list of their own.
const UNCHANGED: [&str; 12] = [
    "POST /api/tenant-api-key/{id}/adopt",
    "POST /v1/api-keys/{id}/adopt",
    "POST /v1/subaccounts/{id}/activate",
    "POST /api/v1/tenant/leads/bulk",
    "POST /api/v1/tenant/leads/segments/preview",
    "POST /api/v1/tenant/campaigns/{id}/dry-run",
    "POST /api/v1/tenant/templates/render",
    "POST /api/v1/tenant/templates/{id}/render",
    "POST /v1/templates/{id}/preview",
    "POST /v1/compliance/consent/redact",
    "POST /v1/webhooks/{id}/test",
    "POST /v1/webhooks/{id}/deliveries/{event}/retry",
];

/// The routes come from the catalogue: one whose record is in no list of records, or says that it is not audited, is seen here.
#[tokio::test]
async fn every_mutation_of_the_catalogue_leaves_one_entry() {
    let (world, workers) = workers().await;
    let own = world.tenant("acme").await;
    let mutations: Vec<_> = in_tenant().into_iter().filter(|operation| operation.method != "GET").collect();
    let mut problems = vec![];
    for operation in &mutations {
        let name = operation.name();
        if ENDS_THE_TENANT.contains(&name.as_str()) {
            continue;
        }
        let target = sample(operation).0.made(&world, &own, &own.owner).await;
        world.advance(SignedDuration::from_millis(1));
        let answer = call(&world, operation, &target).token(&own.owner.token).send().await.expect(operation.status);
        drain(&world, &workers).await;
        let request = request_id(&answer);
        let log = entries(&world, &own).await;
        let told = log.iter().filter(|entry| entry["requestId"] == request.as_str()).count();
        let expected = usize::from(!UNCHANGED.contains(&name.as_str()));
        if told != expected {
            problems.push(format!("{name}: {told} entries, not {expected}"));
        }
    }
    assert!(mutations.len() > 30 && problems.is_empty(), "{problems:#?}");
}

#[tokio::test]
async fn the_log_is_the_same_however_the_stream_tells_it() {
    let mut seen: Vec<Vec<String>> = vec![];
    for (seed, duplicates) in [(1, Duplicates::Again), (2, Duplicates::AtOnce), (3, Duplicates::AtOnce)] {
        let (world, workers) = workers().await;
        let own = world.tenant("acme").await;
        let project = world.project(&own.owner, "One").await;
        for number in 0..10 {
            let task = world.task(&own.owner, &project, json!({"title": format!("Task {number}")})).await;
            world.delete(format!("/api/v1/tasks/{}", id(&task))).token(&own.owner.token).send().await.expect(200);
        }
        settle(&world, &workers, Faults { seed, duplicates, reorder: true, ..Faults::default() }).await;
        let log = entries(&world, &own).await;
        let mut changes: Vec<String> = log
            .iter()
            .flat_map(|entry| entry["changes"].as_array().expect("changes").clone())
            .map(|change| format!("{} {}", change["action"].as_str().unwrap_or_default(), change["resource"].as_str().unwrap_or_default()))
            .collect();
        changes.sort();
        assert_eq!(log.len(), 1 + 1 + 20, "{changes:?}");
        seen.push(changes);
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn the_log_says_which_key_it_was_and_goes_on_by_cursor() {
    let (world, workers) = workers().await;
    let (own, other) = (world.tenant("acme").await, world.tenant("globex").await);
    let key = world.post("/api/tenant-api-key").token(&own.owner.token).json(json!({"name": "CI"})).send().await.expect(201).json();
    let text = key["apiKey"].as_str().expect("a key");
    for number in 0..5 {
        world.post("/api/v1/projects").token(text).json(json!({"name": format!("P{number}")})).send().await.expect(201);
    }
    drain(&world, &workers).await;
    let (mut all, mut cursor) = (vec![], String::new());
    loop {
        let page = world.get(format!("{LOG}?limit=2{cursor}")).token(&own.owner.token).send().await.expect(200).json();
        all.extend(page["entries"].as_array().expect("entries").clone());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(all.iter().filter(|entry| entry["actor"] == format!("key:{}", &text[8..20])).count(), 5);
    assert_eq!(all.len(), 1 + 1 + 5);
    let foreign = world.get(format!("{LOG}?limit=2{cursor}")).token(&other.owner.token).send().await.expect(400);
    assert_eq!(foreign.code(), "BAD_REQUEST");
    assert_eq!(entries(&world, &other).await.len(), 1, "another tenant's log is its own");
    for wrong in ["limit=0", "limit=101", "limit=x", "actor=me", "offset=3"] {
        world.get(format!("{LOG}?{wrong}")).token(&own.owner.token).send().await.expect(400);
    }
}

async fn entries(world: &World, tenant: &Tenant) -> Vec<Value> {
    let answer = world.get(format!("{LOG}?limit=100")).token(&tenant.owner.token).send().await.expect(200);
    answer.json()["entries"].as_array().expect("entries").clone()
}

fn request_id(answer: &Answer) -> String {
    answer.header("x-request-id").to_owned()
}

#[tokio::test]
async fn the_log_goes_on_by_links_too() {
    let (world, workers) = workers().await;
    let acme = world.tenant("acme").await;
    for number in 0..3 {
        world.project(&acme.owner, &format!("Project {number}")).await;
    }
    drain(&world, &workers).await;
    let all = world.get(LOG).token(&acme.owner.token).send().await.expect(200);
    assert_eq!(all.header("link"), "");
    let (mut path, mut walked) = (format!("{LOG}?limit=1"), vec![]);
    loop {
        let page = world.get(&path).token(&acme.owner.token).send().await.expect(200);
        walked.extend(page.json()["entries"].as_array().expect("entries").clone());
        let next = page.json()["nextCursor"].clone();
        match page.header("link").strip_prefix('<').and_then(|link| link.split_once(">; rel=\"next\"")) {
            Some((link, _)) => {
                assert_eq!(link, format!("{LOG}?limit=1&cursor={}", next.as_str().expect("a cursor")));
                path = link.to_owned();
            }
            None => break assert_eq!(next, Value::Null),
        }
    }
    assert_eq!(&walked, all.json()["entries"].as_array().expect("entries"));
    world.get(format!("{LOG}?cursor=garbage")).token(&acme.owner.token).send().await.expect(400);
}
