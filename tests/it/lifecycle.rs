//! The end of a tenant, and taking its data elsewhere: deletion, restoring, purge and receipt, export and import, operators' commands.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use futures_util::future::{join_all, poll_immediate};
use janitor::Janitor;
use jiff::SignedDuration;
use operator::Operator;
use serde_json::{Value, json};
use shared::aws::Aws as Clients;
use shared::config::{Config, Variables};
use shared::crypto::Random;
use shared::model::plan::Plans;
use shared::model::tenant::{Slug, TenantKind};
use shared::model::user::{Email, EmailClaim, User};
use shared::runtime::App;
use shared::runtime::worker::{self, Worker};
use shared::tenancy::conflict;
use shared::tenant_lifecycle::{NewTenant, TenantCreation};

use crate::world::{Answer, Caller, Settings, Tenant, World, claims_of, id};

const DAY: SignedDuration = SignedDuration::from_hours(24);

// Deletion.

#[tokio::test]
async fn a_deletion_is_taken_back_asked_for_again_and_carried_out() {
    let (world, workers) = workers().await;
    let acme = world.tenant("acme").await;
    let globex = world.tenant("globex").await;
    let key = fill(&world, &acme).await;
    fill(&world, &globex).await;
    join(&world, &acme, &globex.owner).await;
    let neighbours = of(&world, &globex);

    delete(&world, &acme).await;
    for (token, status) in [(&acme.owner.token, 403), (&key, 401)] {
        world.get("/api/v1/projects").token(token).send().await.expect(status);
    }
    let restored = workers.operate(json!({"command": "restore-tenant", "tenant": acme.slug})).await.unwrap();
    assert_eq!((&restored["tenant"], &restored["status"]), (&json!(acme.id), &json!("active")));
    for token in [&acme.owner.token, &key] {
        world.get("/api/v1/projects").token(token).send().await.expect(200);
    }
    assert_eq!(workers.operate(json!({"command": "restore-tenant", "tenant": acme.slug})).await.unwrap(), restored);
    world.advance(DAY * 8);
    assert_eq!(workers.purge().await["purged"], 0, "a deletion that was taken back is none");

    let owner = world.login(&acme.owner.email, &acme.owner.password).await;
    let acme = Tenant { owner, ..acme };
    delete(&world, &acme).await;
    world.advance(DAY * 6);
    assert_eq!(workers.purge().await["purged"], 0);
    let before = world.items_of(&acme).len();
    world.advance(DAY);
    let late = workers.operate(json!({"command": "restore-tenant", "tenant": acme.slug})).await.unwrap_err();
    assert!(late.contains("cannot be restored"), "{late}");
    let done = workers.purge().await;
    assert_eq!((&done["purged"], &done["more"]), (&json!(1), &json!(false)), "{done}");

    assert_eq!(left(&world, &acme), ["receipt", "slug"]);
    assert_eq!(of(&world, &globex), neighbours);
    let receipts = workers.operate(json!({"command": "list-receipts"})).await.unwrap();
    let receipt = &receipts["receipts"][0];
    assert_eq!((&receipt["tenant"], &receipt["slug"], &receipt["intact"]), (&json!(acme.id), &json!(acme.slug), &json!(true)));
    assert!(receipt["items"].as_u64().unwrap() as usize >= before, "{receipt}");
    world.change_item("G#receipts", &acme.id, |item| item["items"] = json!({"N": "1"}));
    let receipts = workers.operate(json!({"command": "list-receipts"})).await.unwrap();
    assert_eq!(receipts["receipts"][0]["intact"], false);
    // The account stays and can create another tenant. The guest returns to their earlier tenant.
    assert_eq!(workers.purge().await["purged"], 0);
    let owner = world.login(&acme.owner.email, &acme.owner.password).await;
    world.get("/api/tenant").token(&owner.token).send().await.expect(404);
    world.post("/api/tenant").token(&owner.token).json(json!({"name": "acme"})).send().await.expect(201);
    let guest = world.login(&globex.owner.email, &globex.owner.password).await;
    assert_eq!(claims_of(&guest.token)["tid"], globex.id.as_str());
}

#[tokio::test]
async fn a_slug_rests_for_thirty_days_and_then_nothing_old_opens_the_new_tenant() {
    let world = World::with(Settings { variables: vec![("SESSION_DAYS", "60".into())], ..Settings::default() }).await;
    let workers = Workers::of(&world);
    let acme = world.tenant("acme").await;
    let globex = world.tenant("globex").await;
    for n in 0..3 {
        world.project(&acme.owner, &format!("Project {n}")).await;
    }
    let page = world.get("/api/v1/projects?per_page=1").token(&acme.owner.token).send().await.expect(200).json();
    let cursor = page["meta"]["next_cursor"].as_str().unwrap().to_owned();
    let once = |token: &str| world.post("/api/v1/projects").token(token).header("idempotency-key", "k").json(json!({"name": "Once"}));
    let first = once(&acme.owner.token).send().await.expect(201);
    delete(&world, &acme).await;
    world.advance(DAY * 7);
    assert_eq!(workers.purge().await["purged"], 1);
    world.advance(DAY * 30 - SignedDuration::from_secs(1));
    assert!(claim(&workers, &acme.slug, &globex.owner.email).await.is_err());
    world.advance(SignedDuration::from_secs(1));
    claim(&workers, &acme.slug, &globex.owner.email).await.unwrap();

    world.get("/api/tenant").token(&acme.owner.token).send().await.expect(401);
    world.get("/api/tenant").token(&acme.owner.token).header("x-tenant-id", &acme.slug).send().await.expect(401);
    let owner = world.login(&acme.owner.email, &acme.owner.password).await;
    world.get("/api/tenant").token(&owner.token).header("x-tenant-id", &acme.slug).send().await.expect(404);
    let there = world.get("/api/tenant").token(&globex.owner.token).header("x-tenant-id", &acme.slug).send().await.expect(200).json();
    assert!(there["slug"] == acme.slug.as_str() && there["id"] != acme.id.as_str());
    let at = |request: crate::world::Request| request.header("x-tenant-id", &acme.slug);
    let path = format!("/api/v1/projects?per_page=1&cursor={cursor}");
    at(world.get(path)).token(&globex.owner.token).send().await.expect(400);
    let fresh = at(once(&globex.owner.token)).send().await.expect(201);
    assert!(fresh.header("idempotency-replayed").is_empty() && id(&fresh.json()["data"]) != id(&first.json()["data"]));
}

#[tokio::test]
async fn a_purge_that_dies_anywhere_is_finished_by_the_next_with_one_receipt() {
    let (world, workers) = workers().await;
    let mut point = 1;
    loop {
        let acme = world.tenant(&format!("acme{point}")).await;
        fill(&world, &acme).await;
        delete(&world, &acme).await;
        world.advance(DAY * 7);
        let finished = workers.cut_off(json!({"task": "purge"}), point).await;
        workers.purge().await;
        assert_eq!(left(&world, &acme), ["receipt", "slug"], "cut at {point}");
        if finished {
            break;
        }
        // Close together at first. Later waits are for more items of the same kind.
        point += 3 + point / 4;
        assert!(point < 2000);
    }
    assert!(point > 40, "a purge has many points to die at, not {point}");
    let receipts = workers.operate(json!({"command": "list-receipts"})).await.unwrap();
    assert!(receipts["receipts"].as_array().unwrap().iter().all(|receipt| receipt["intact"] == true));
}

#[tokio::test]
async fn a_purge_does_what_it_may_and_counts_all_of_it() {
    let (world, workers) = workers().await;
    let acme = world.tenant("acme").await;
    fill(&world, &acme).await;
    delete(&world, &acme).await;
    let items = world.items_of(&acme).len();
    world.advance(DAY * 7);
    let context = || worker::work_context(&workers.janitor_app, "janitor", "request");
    let mut runs = 0;
    ready(&workers.janitor_app).await;
    while janitor::purge::purge(&context(), 5).await.unwrap().more {
        let refused = workers.operate(json!({"command": "restore-tenant", "tenant": acme.id})).await.unwrap_err();
        assert!(refused.contains("cannot be restored") || refused.contains("no tenant"), "{refused}");
        runs += 1;
        assert!(runs < 100);
    }
    assert!(runs > 2);
    let receipts = workers.operate(json!({"command": "list-receipts"})).await.unwrap();
    assert!(receipts["receipts"][0]["items"].as_u64().unwrap() as usize >= items - 5, "{receipts} of {items}");
}

#[tokio::test]
async fn restoring_and_purging_that_meet_leave_one_whole_outcome() {
    let (world, workers) = workers().await;
    for n in 0..6 {
        let acme = world.tenant(&format!("acme{n}")).await;
        world.project(&acme.owner, "Kept").await;
        delete(&world, &acme).await;
        workers.operate(json!({"command": "purge-tenant", "tenant": acme.id, "now": true})).await.unwrap();
        world.advance(SignedDuration::from_secs(59));
        let restore = workers.operate(json!({"command": "restore-tenant", "tenant": acme.id}));
        world.clock.advance(SignedDuration::from_secs(if n % 2 == 0 { 0 } else { 1 }));
        let (restored, purged) = futures_util::join!(restore, workers.purge());
        if restored.is_ok() {
            assert_eq!(purged["purged"], 0);
            world.get("/api/v1/projects").token(&acme.owner.token).send().await.expect(200);
        } else {
            assert_eq!((&purged["purged"], left(&world, &acme)), (&json!(1), vec!["receipt".to_owned(), "slug".to_owned()]));
        }
    }
}

#[tokio::test]
async fn deletions_at_once_are_one() {
    let (world, workers) = workers().await;
    let acme = world.tenant("acme").await;
    let second = world.member(&acme, "owner").await;
    let deletions = [&acme.owner, &second, &acme.owner].map(|caller| world.delete("/api/tenant").token(&caller.token).send());
    let statuses: Vec<u16> = join_all(deletions).await.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(world.items().iter().filter(|item| item["type"]["S"] == "deletion").count(), 1);
    workers.operate(json!({"command": "restore-tenant", "tenant": acme.slug})).await.unwrap();
    assert_eq!(world.items().iter().filter(|item| item["type"]["S"] == "deletion").count(), 0);
}

#[tokio::test]
async fn a_demo_that_its_owner_deletes_goes_like_any_demo() {
    let (world, workers) = workers().await;
    let body = json!({"email": "ada@example.com", "name": "Ada", "company_name": "Engines"});
    let made = world.post("/api/v1/demo").json(body).send().await.expect(201).json()["data"].clone();
    let ada = world.login("ada@example.com", made["password"].as_str().unwrap()).await;
    let slug = made["tenant_slug"].as_str().unwrap();
    world.delete("/api/tenant").token(&ada.token).send().await.expect(200);
    world.advance(SignedDuration::from_hours(49));
    assert_eq!(workers.purge().await["purged"], 1);
    let globex = world.tenant("globex").await;
    claim(&workers, slug, &globex.owner.email).await.unwrap();
    world.advance(DAY * 7);
    assert_eq!(workers.purge().await["purged"], 1);
    let there = world.login(&globex.owner.email, &globex.owner.password).await;
    world.get("/api/tenant").token(&there.token).header("x-tenant-id", slug).send().await.expect(200);
    assert_eq!(workers.purge().await["purged"], 0);
}

#[tokio::test]
async fn operators_purge_in_two_steps_and_change_plans() {
    let (world, workers) = workers().await;
    let acme = world.tenant("acme").await;
    let purge = |now: bool| workers.operate(json!({"command": "purge-tenant", "tenant": acme.slug, "now": now}));
    assert!(purge(true).await.unwrap_err().contains("Ask for the deletion first"));
    world.get("/api/tenant").token(&acme.owner.token).send().await.expect(200);
    let asked = purge(false).await.unwrap();
    assert_eq!(purge(false).await.unwrap(), asked);
    world.get("/api/tenant").token(&acme.owner.token).send().await.expect(404);
    for command in [
        json!({"command": "change-plan", "tenant": acme.slug, "plan": "pro"}),
        json!({"command": "activate-tenant", "tenant": acme.slug}),
        json!({"command": "suspend-tenant", "tenant": acme.slug}),
    ] {
        assert!(workers.operate(command).await.unwrap_err().contains("being deleted"));
    }
    assert!(purge(true).await.unwrap()["purged_after"].as_str() < asked["purged_after"].as_str());
    purge(true).await.unwrap();
    assert_eq!(workers.purge().await["purged"], 0, "requests that are under way end first");
    world.advance(SignedDuration::from_secs(60));
    assert_eq!(workers.purge().await["purged"], 1);

    let globex = world.tenant("globex").await;
    let plan = |plan: &str| workers.operate(json!({"command": "change-plan", "tenant": globex.id, "plan": plan}));
    for wrong in ["gold", "demo", ""] {
        assert!(plan(wrong).await.unwrap_err().contains("no plan"), "{wrong}");
    }
    assert_eq!(plan("pro").await.unwrap()["plan"], "pro");
    let shown = world.get("/api/tenant").token(&globex.owner.token).send().await.expect(200);
    assert_eq!(shown.json()["plan"], "pro");
    plan("pro").await.unwrap();
    let again = world.get("/api/tenant").token(&globex.owner.token).send().await;
    assert_eq!(again.header("etag"), shown.header("etag"), "repeating changes nothing");
    // A suspended tenant is suspended again when its deletion is taken back.
    for command in ["suspend-tenant", "purge-tenant", "restore-tenant"] {
        workers.operate(json!({"command": command, "tenant": globex.slug})).await.unwrap();
    }
    world.get("/api/tenant").token(&globex.owner.token).send().await.expect(403);
    for command in ["purge-tenant", "restore-tenant"] {
        assert!(workers.operate(json!({"command": command, "tenant": "nobody"})).await.is_err());
    }
}

// Export and import.

#[tokio::test]
async fn an_export_shows_everything_but_what_is_secret() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let key = fill(&world, &acme).await;
    let (text, pages) = export(&world, &acme.owner).await;
    assert_eq!(pages, 1);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for line in &lines {
        assert_eq!(line.as_object().unwrap().len(), 3, "{line}");
        for hidden in ["pk", "sk", "lpk", "lsk", "ttl", "type", "actor", "request", "tenant", "list_entry"] {
            assert!(line["data"].get(hidden).is_none(), "{line}");
        }
        *count.entry(line["type"].as_str().unwrap()).or_default() += 1;
    }
    let expected = [
        ("api_key", 2),
        ("invitation", 1),
        ("member", 2),
        ("member_number", 2),
        ("project", 3),
        ("setting", 2),
        ("task", 3),
        ("tenant", 1),
    ];
    assert_eq!(count, expected.into());
    let items = world.items();
    let links = items.iter().filter(|item| item["type"]["S"] == "link").filter_map(|item| item["id"]["S"].as_str());
    let sealed = items.iter().filter_map(|item| item["value"]["M"]["sealed"]["S"].as_str().or(item["sealed"]["S"].as_str()));
    for secret in links.chain(sealed).chain([&key[20..], "swordfish"]) {
        assert!(!text.contains(secret), "{secret} is in the export");
    }
    for role in ["admin", "viewer"] {
        let member = world.member(&acme, role).await;
        world.get("/api/tenant/export").token(&member.token).send().await.expect(403);
    }
    world.get("/api/tenant/export").token(&key).send().await.expect(403);
}

#[tokio::test]
async fn a_large_export_comes_in_pages_that_fit_and_lose_nothing() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let globex = world.tenant("globex").await;
    let mut expected = BTreeSet::new();
    for n in 0..3 {
        let project = world.project(&acme.owner, &format!("Project {n}")).await;
        let task = world.task(&acme.owner, &project, json!({"title": "Copied"})).await;
        expected.insert(id(&task).to_owned());
        expected.extend(copies(&world, id(&task), 700));
    }
    let (text, pages) = export(&world, &acme.owner).await;
    assert!(pages >= 2, "{pages} pages of {} bytes", text.len());
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let tasks: Vec<&str> = lines.iter().filter(|line| line["type"] == "task").map(|line| line["key"].as_str().unwrap()).collect();
    assert_eq!((tasks.len(), tasks.iter().map(|key| (*key).to_owned()).collect::<BTreeSet<_>>()), (expected.len(), expected));
    assert_eq!(lines.last().unwrap()["type"], "tenant");

    let first = world.get("/api/tenant/export").token(&acme.owner.token).send().await.expect(200);
    let next = next(&first).unwrap();
    world.get(&next).token(&globex.owner.token).send().await.expect(400);
    for wrong in ["/api/tenant/export?cursor=x", "/api/tenant/export?page=2"] {
        world.get(wrong).token(&acme.owner.token).send().await.expect(400);
    }
    let list = world.get("/api/v1/projects?per_page=1").token(&acme.owner.token).send().await.expect(200).json();
    let cursor = list["meta"]["next_cursor"].as_str().unwrap();
    world.get(format!("/api/tenant/export?cursor={cursor}")).token(&acme.owner.token).send().await.expect(400);
    // A project that is deleted between two pages does not affect the tasks of others.
    let gone = lines.iter().find(|line| line["type"] == "project").unwrap()["data"]["id"].as_str().unwrap();
    world.delete(format!("/api/v1/projects/{gone}")).token(&acme.owner.token).send().await.expect(200);
    let rest = world.get(&next).token(&acme.owner.token).send().await.expect(200);
    assert!(rest.text.len() > 100_000);
}

#[tokio::test]
async fn a_misplaced_item_is_never_exported() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let globex = world.tenant("globex").await;
    let project = world.project(&acme.owner, "Misplaced").await;
    world.task(&acme.owner, &project, json!({"title": "Misplaced"})).await;
    for kind in ["project", "task", "member", "tenant"] {
        let item = world.items_of(&acme).into_iter().find(|item| item["type"]["S"] == kind).unwrap();
        let (pk, sk) = (item["pk"]["S"].as_str().unwrap(), item["sk"]["S"].as_str().unwrap());
        for owner in [Some(globex.id.as_str()), Some(""), None] {
            world.change_item(pk, sk, |item| match owner {
                Some(owner) => item["tenant"] = json!({"S": owner}),
                None => drop(item.as_object_mut().unwrap().remove("tenant")),
            });
            let answer = world.get("/api/tenant/export").token(&acme.owner.token).send().await.expect(500);
            assert!(!answer.text.contains("Misplaced"), "{}", answer.text);
        }
        world.change_item(pk, sk, |item| item["tenant"] = json!({"S": acme.id}));
    }
    let (text, _) = export(&world, &acme.owner).await;
    assert!(text.contains("Misplaced") && !text.contains(&globex.id));
}

#[tokio::test]
async fn an_export_becomes_an_equal_tenant() {
    let (world, workers) = workers().await;
    let acme = world.tenant("acme").await;
    fill(&world, &acme).await;
    world
        .put("/api/tenant")
        .token(&acme.owner.token)
        .json(json!({"name": "Acme", "logo": "https://example.com/l"}))
        .send()
        .await
        .expect(202);
    let (exported, _) = export(&world, &acme.owner).await;
    let command = json!({"command": "import-tenant", "owner": acme.owner.email, "lines": exported});
    let imported = workers.operate(command).await.unwrap();
    assert_eq!(imported["imported"], json!({"member": 2, "project": 3, "task": 3, "setting": 1}));
    assert_eq!(imported["skipped"], json!({"api_key": 2, "invitation": 1, "secret_setting": 1}));
    let slug = imported["slug"].as_str().unwrap();
    let answer = world.get("/api/tenant/export").token(&acme.owner.token).header("x-tenant-id", slug).send().await.expect(200);
    assert_eq!(comparable(&answer.text), comparable(&exported));
    // The counters match the records.
    let twin = Tenant { id: imported["tenant"].as_str().unwrap().to_owned(), slug: slug.to_owned(), owner: acme.owner.clone() };
    let counters = |tenant: &Tenant| -> BTreeMap<String, String> {
        let items = world.items_of(tenant).into_iter().filter(|item| item["pk"]["S"].as_str().unwrap().ends_with("#counters"));
        let named = items.map(|item| (item["sk"]["S"].as_str().unwrap().to_owned(), item["n"]["N"].as_str().unwrap().to_owned()));
        named.filter(|(name, n)| !["settings", "api_keys"].contains(&name.as_str()) && n != "0").collect()
    };
    assert_eq!(counters(&twin), counters(&acme));
    let project = world.post("/api/v1/projects").token(&acme.owner.token).header("x-tenant-id", slug).json(json!({"name": "New"}));
    project.send().await.expect(201);
    assert!(!export(&world, &acme.owner).await.0.contains("\"New\""));
}

#[tokio::test]
async fn what_is_no_export_is_not_imported() {
    let (world, workers) = workers().await;
    let acme = world.tenant("acme").await;
    fill(&world, &acme).await;
    let (exported, _) = export(&world, &acme.owner).await;
    let import = |owner: &str, lines: &str| workers.operate(json!({"command": "import-tenant", "owner": owner, "lines": lines}));
    let before = world.items().len();
    let task = exported.lines().find(|line| line.contains("\"type\":\"task\"")).unwrap();
    let member = exported.lines().find(|line| line.contains("\"type\":\"member\"") && line.contains(&acme.owner.email)).unwrap();
    for (lines, says) in [
        (String::new(), "no line of the type tenant"),
        ("{}".into(), "Line 1"),
        (format!("{exported}\nnonsense"), "is not one"),
        (exported.replace("\"active\"", "\"flying\""), "is not one"),
        (task.to_owned(), "no line of the type tenant"),
        (format!("{exported}{member}"), "same number or address"),
    ] {
        let error = import(&acme.owner.email, &lines).await.unwrap_err();
        assert!(error.contains(says), "{error}");
    }
    assert!(import("nobody@example.com", &exported).await.unwrap_err().contains("No account"));
    assert_eq!(world.items().len(), before);
    // The same record twice: nobody can enter, and the incomplete tenant can be purged.
    let error = import(&acme.owner.email, &format!("{exported}{task}")).await.unwrap_err();
    assert!(!error.is_empty());
    let half = world.items().into_iter().find(|item| item["type"]["S"] == "tenant" && item["status"]["S"] == "suspended").unwrap();
    let half = half["id"]["S"].as_str().unwrap();
    world.get("/api/tenant").token(&acme.owner.token).header("x-tenant-id", half).send().await.expect(403);
    for now in [false, true] {
        workers.operate(json!({"command": "purge-tenant", "tenant": half, "now": now})).await.unwrap();
    }
    world.advance(SignedDuration::from_secs(60));
    assert_eq!(workers.purge().await["purged"], 1);
    // A file from outside names people. Only the person with the importer's address becomes a member, and a task without a project is
    // skipped.
    let stranger = member.replace(&acme.owner.email, "stranger@example.com").replace("\"number\":1", "\"number\":9");
    let mut foreign: Value = serde_json::from_str(task).unwrap();
    foreign["data"]["project"] = json!("0198c0de-0000-7000-8000-000000000000");
    let lines: Vec<&str> = exported.lines().filter(|line| *line != task).collect();
    let done = import(&acme.owner.email, &format!("{}\n{stranger}\n{foreign}", lines.join("\n"))).await.unwrap();
    assert_eq!((&done["skipped"]["member"], &done["skipped"]["task"]), (&json!(1), &json!(1)));
}

// ---------------------------------------------------------------- helpers

pub struct Workers {
    janitor_app: App,
    operator_app: App,
    janitor: Janitor,
    operator: Operator,
}

impl Workers {
    pub fn of(world: &World) -> Self {
        let variables = |name: &str| Variables(world.environment(name).clone().into_iter().collect());
        let (janitor_app, operator_app) = (app(world, "janitor"), app(world, "operator"));
        Workers {
            janitor: Janitor::start(janitor_app.clone(), variables("janitor")).unwrap(),
            operator: Operator::start(operator_app.clone(), variables("operator")).unwrap(),
            janitor_app,
            operator_app,
        }
    }

    pub async fn operate(&self, command: Value) -> Result<Value, String> {
        ready(&self.operator_app).await;
        self.operator.handle(command, "operator-request").await.map_err(|error| error.to_string())
    }

    pub async fn purge(&self) -> Value {
        ready(&self.janitor_app).await;
        self.janitor.handle(json!({"task": "purge"}), "janitor-request").await.unwrap()
    }

    /// A run of the janitor whose process dies after this many waits. Returns whether it finished before that.
    async fn cut_off(&self, event: Value, waits: usize) -> bool {
        ready(&self.janitor_app).await;
        let mut work = pin!(self.janitor.handle(event, "janitor-request"));
        for _ in 0..waits {
            if poll_immediate(&mut work).await.is_some() {
                return true;
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        false
    }
}

async fn workers() -> (World, Workers) {
    let world = World::new().await;
    let workers = Workers::of(&world);
    (world, workers)
}

fn app(world: &World, function: &str) -> App {
    let variables = || Variables(world.environment(function).clone().into_iter().collect());
    let config = Config::read(&variables()).unwrap();
    let clients = Clients::read(variables()).unwrap();
    App::new(config, Plans::seeded(), records::ALL, world.clock.clone(), Random::system(), &clients)
}

async fn ready(app: &App) {
    if app.keys().receipts().is_err() {
        app.fetch_secrets().await.unwrap();
    }
}

async fn delete(world: &World, tenant: &Tenant) {
    world.delete("/api/tenant").token(&tenant.owner.token).send().await.expect(200);
}

/// One of everything that a tenant can have. Returns the text of an API key.
async fn fill(world: &World, tenant: &Tenant) -> String {
    let owner = &tenant.owner.token;
    let (active, kept, gone) = (
        world.project(&tenant.owner, "Active").await,
        world.project(&tenant.owner, "Archived").await,
        world.project(&tenant.owner, "Gone").await,
    );
    let member = world.member(tenant, "member").await;
    for (project, status) in [(&active, "done"), (&active, "todo"), (&kept, "cancelled"), (&gone, "todo")] {
        world.task(&tenant.owner, project, json!({"title": "A task", "status": status, "assigned_to": member.id})).await;
    }
    world.post(format!("/api/v1/projects/{}/archive", id(&kept))).token(owner).send().await.expect(200);
    world.delete(format!("/api/v1/projects/{}", id(&gone))).token(owner).send().await.expect(200);
    let invited = json!({"email": format!("guest@{}.example.com", tenant.slug), "role": "viewer"});
    world.post("/api/v1/tenant/invitations").token(owner).json(invited).send().await.expect(201);
    world.post("/api/v1/projects").token(owner).header("idempotency-key", "one").json(json!({"name": "Once"})).send().await.expect(201);
    let settings = json!({"currency": "EUR", "smtp_password": "swordfish"});
    world.post("/api/tenant-setting").token(owner).json(settings).send().await.expect(201);
    let key = || world.post("/api/tenant-api-key").token(owner).json(json!({"name": "Key"})).send();
    let (key, rotated) = (key().await.expect(201).json(), key().await.expect(201).json());
    world
        .post(format!("/api/tenant-api-key/{}/rotate", id(&rotated)))
        .token(owner)
        .json(json!({"graceSeconds": 0}))
        .send()
        .await
        .expect(201);
    let text = key["apiKey"].as_str().unwrap().to_owned();
    world.get("/api/v1/projects").token(&text).send().await.expect(200);
    text
}

async fn join(world: &World, tenant: &Tenant, guest: &Caller) {
    // Ids of one millisecond have no order, and the test needs the newest mail.
    world.advance(SignedDuration::from_millis(10));
    let invited = json!({"email": guest.email, "role": "member"});
    world.post("/api/v1/tenant/invitations").token(&tenant.owner.token).json(invited).send().await.expect(201);
    let token = world.link_token(&guest.email);
    world.post("/api/v1/auth/accept-invitation").json(json!({"token": token})).send().await.expect(200);
    world.get("/api/tenant").token(&guest.token).header("x-tenant-id", &tenant.slug).send().await.expect(200);
}

/// The kinds of items that still contain something of a tenant. Mails, links and sealed answers expire by themselves.
fn left(world: &World, tenant: &Tenant) -> Vec<String> {
    let by_themselves = ["mail", "open_answer"];
    let kinds = world.items().into_iter().filter(|item| item.to_string().contains(&tenant.id));
    let kinds: BTreeSet<String> = kinds.map(|item| item["type"]["S"].as_str().unwrap_or("none").to_owned()).collect();
    kinds.into_iter().filter(|kind| !by_themselves.contains(&kind.as_str())).collect()
}

/// Everything of a tenant except its counter of the day's requests.
fn of(world: &World, tenant: &Tenant) -> Vec<Value> {
    world.items_of(tenant).into_iter().filter(|item| !item["pk"]["S"].as_str().unwrap().ends_with("#quota")).collect()
}

/// Creates a tenant with a chosen slug.
async fn claim(workers: &Workers, slug: &str, email: &str) -> shared::Result<()> {
    ready(&workers.operator_app).await;
    let directory = worker::work_context(&workers.operator_app, "operator", "request").directory;
    let claim = directory.find(&EmailClaim::key_of(&Email::parse(email).unwrap())).await?.unwrap();
    let user = directory.get(&User::key_of(claim.user)).await?;
    let slug = Slug::parse(slug).unwrap();
    let new = NewTenant { name: "New".into(), logo: None, slug, plan: "free".into(), kind: TenantKind::Standard, ends_at: None };
    let creation = TenantCreation::with_owner(&directory, directory.new_tenant_store(), new, &user).await?;
    creation.write(directory.transaction(), &directory, conflict("This slug is taken."))?.commit().await
}

/// All pages of the export, each within its limits, and their number.
pub(crate) async fn export(world: &World, caller: &Caller) -> (String, usize) {
    let (mut text, mut pages) = (String::new(), 0);
    let mut path = Some("/api/tenant/export".to_owned());
    while let Some(asked) = path {
        let answer = world.get(asked).token(&caller.token).send().await.expect(200);
        assert_eq!(answer.header("content-type"), "application/x-ndjson");
        assert!(answer.text.len() <= 5_000_000 && (answer.text.is_empty() || answer.text.ends_with('\n')));
        path = next(&answer);
        text.push_str(&answer.text);
        pages += 1;
    }
    (text, pages)
}

fn next(answer: &Answer) -> Option<String> {
    let link = answer.header("link").strip_prefix('<')?.split_once(">; rel=\"next\"")?;
    Some(link.0.to_owned())
}

/// What two exports must have in common: without data that belongs to one tenant only, and without data that is not exported.
fn comparable(export: &str) -> Vec<Value> {
    let lines = export.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let travels = |line: &Value| {
        let secret = line["type"] == "setting" && line["data"]["value"].get("sealed").is_some();
        !secret && !["api_key", "invitation"].contains(&line["type"].as_str().unwrap())
    };
    lines
        .filter(travels)
        .map(|mut line| {
            if line["type"] == "tenant" {
                for own in ["id", "account", "slug"] {
                    line["data"].as_object_mut().unwrap().remove(own).unwrap();
                }
            }
            line
        })
        .collect()
}

/// Writes copies of a task directly to the table, each of some size.
fn copies(world: &World, task: &str, count: u32) -> Vec<String> {
    let item = world.items().into_iter().find(|item| item["sk"]["S"] == task).unwrap();
    (1..=count)
        .map(|n| {
            let copy = format!("{}{:04x}{}", &task[..9], n, &task[13..]);
            let mut item = item.clone();
            for attribute in ["sk", "lsk", "id"] {
                item[attribute] = json!({"S": copy});
            }
            item["description"] = json!({"S": "x".repeat(4000)});
            let request = json!({"TableName": world.table_name(), "Item": item});
            world.aws.database().put_item(serde_json::from_value(request).unwrap()).unwrap();
            copy
        })
        .collect()
}
