//! What many requests at the same moment leave behind: exact limits, exact counts, no lost edit, one effect.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::world::{Answer, Caller, Settings, Tenant, World, id};

const PROJECTS: &str = "/api/v1/projects";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_creations_stop_exactly_at_the_plan_limit() {
    let world = World::with(Settings { plans: json!({"free": {"projects": 10}}), ..Settings::default() }).await;
    let acme = world.tenant("acme").await;
    let instances = [world.clone(), world.another_instance().await];
    let answers = race(64, |number| {
        let request = instances[number % 2].post(PROJECTS).token(&acme.owner.token);
        request.json(json!({"name": format!("Project {number}")})).send()
    })
    .await;
    assert_eq!(counted(&answers), BTreeMap::from([(201, 10), (403, 54)]));
    let refused = answers.iter().find(|answer| answer.status == 403).expect("one was refused");
    assert_eq!(refused.details(), json!({"limit": "projects", "used": 10, "max": 10, "plan": "free"}));
    assert_eq!(of_type(&world, &acme, "project").len(), 10);
    assert_eq!(counter(&world, &acme, "projects"), 10);
    assert_eq!(total(&world, &acme.owner, PROJECTS).await, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_creations_archives_and_deletions_keep_the_projects_counted() {
    let world = World::with(Settings { plans: json!({"free": {"projects": 12}}), ..Settings::default() }).await;
    let acme = world.tenant("acme").await;
    let mut projects = vec![];
    for number in 0..12 {
        projects.push(world.project(&acme.owner, &format!("Project {number}")).await);
    }
    race(48, |number| {
        let (path, token) = (format!("{PROJECTS}/{}", id(&projects[number % 12])), &acme.owner.token);
        match number / 12 {
            0 => world.post(PROJECTS).token(token).json(json!({"name": "More"})).send(),
            1 => world.post(format!("{path}/archive")).token(token).send(),
            2 => world.post(format!("{path}/unarchive")).token(token).send(),
            _ if number % 3 == 0 => world.delete(path).token(token).send(),
            _ => world.put(path).token(token).json(json!({"name": "Renamed"})).send(),
        }
    })
    .await;
    let stored = of_type(&world, &acme, "project");
    for (counted, shelf) in [("projects", "active"), ("archived_projects", "archived")] {
        let standing = stored.iter().filter(|project| project["shelf"]["S"] == shelf).count() as u64;
        assert_eq!(counter(&world, &acme, counted), standing, "{shelf}");
    }
    assert!(counter(&world, &acme, "projects") <= 12);
    let ids: BTreeSet<_> = stored.iter().map(|project| project["id"]["S"].to_string()).collect();
    assert_eq!(ids.len(), stored.len(), "no project stands on two shelves");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exactly_sixty_of_two_hundred_concurrent_writes_pass_in_a_minute() {
    for instances in [1, 2] {
        let world = World::with(Settings { variables: vec![("RATE_WRITE", "60".into())], ..Settings::default() }).await;
        let acme = world.tenant("acme").await;
        start_of_minute(&world);
        let mut worlds = vec![world.clone()];
        if instances == 2 {
            worlds.push(world.another_instance().await);
        }
        let answers =
            race(200, |number| worlds[number % worlds.len()].post(PROJECTS).token(&acme.owner.token).json(json!({"name": "x"})).send())
                .await;
        assert_eq!(counted(&answers), BTreeMap::from([(201, 60), (429, 140)]));
        assert_eq!(counter(&world, &acme, "projects"), 60);
        // Each place in the window was used once.
        let passed = answers.iter().filter(|answer| answer.status == 201);
        let places: BTreeSet<_> = passed.map(|answer| answer.header("x-ratelimit-remaining").to_owned()).collect();
        assert_eq!(places.len(), 60);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_edits_of_one_version_one_wins_and_the_other_hears_of_it() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    for _ in 0..10 {
        let project = world.project(&acme.owner, "Launch").await;
        let task = world.task(&acme.owner, &project, json!({"title": "First"})).await;
        for path in [format!("{PROJECTS}/{}", id(&project)), format!("/api/v1/tasks/{}", id(&task))] {
            let seen = world.get(&path).token(&acme.owner.token).send().await.expect(200);
            let field = if path.starts_with(PROJECTS) { "name" } else { "title" };
            let answers = race(2, |number| {
                let request = world.put(&path).token(&acme.owner.token).header("if-match", seen.header("etag"));
                request.json(json!({field: format!("Edit {number}")})).send()
            })
            .await;
            assert_eq!(counted(&answers), BTreeMap::from([(200, 1), (412, 1)]));
            let winner = answers.iter().find(|answer| answer.status == 200).expect("one won");
            let standing = world.get(&path).token(&acme.owner.token).send().await.expect(200);
            assert_eq!(standing.json()["data"][field], winner.json()["data"][field]);
            assert_eq!(standing.header("etag"), winner.header("etag"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn edits_of_different_fields_at_once_are_all_kept() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    for round in 0..5 {
        let project = world.project(&acme.owner, "Launch").await;
        let task = world.task(&acme.owner, &project, json!({"title": "First"})).await;
        let edits = [
            json!({"title": format!("Title {round}")}),
            json!({"description": "Described"}),
            json!({"status": "in_review"}),
            json!({"priority": "urgent"}),
            json!({"due_date": "2100-01-01"}),
            json!({"sort_order": 7}),
            json!({"assigned_to": 1}),
        ];
        let path = format!("/api/v1/tasks/{}", id(&task));
        let answers = race(edits.len(), |number| world.put(&path).token(&acme.owner.token).json(edits[number].clone()).send()).await;
        assert_eq!(counted(&answers), BTreeMap::from([(200, edits.len())]));
        let standing = world.get(&path).token(&acme.owner.token).send().await.expect(200).json()["data"].clone();
        let kept = [
            &standing["title"],
            &standing["description"],
            &standing["status"]["value"],
            &standing["priority"]["value"],
            &standing["due_date"],
            &standing["sort_order"],
            &standing["assignee"]["id"],
        ];
        let written: Vec<_> = edits.iter().flat_map(|edit| edit.as_object().into_iter().flat_map(|edit| edit.values())).collect();
        assert_eq!(kept.to_vec(), written);

        let path = format!("{PROJECTS}/{}", id(&project));
        let edits =
            [json!({"name": "Landing"}), json!({"description": "Described"}), json!({"color": "#123456"}), json!({"settings": {"a": 1}})];
        let answers = race(edits.len(), |number| world.put(&path).token(&acme.owner.token).json(edits[number].clone()).send()).await;
        assert_eq!(counted(&answers), BTreeMap::from([(200, edits.len())]));
        let standing = world.get(&path).token(&acme.owner.token).send().await.expect(200).json()["data"].clone();
        for (field, value) in edits.iter().flat_map(|edit| edit.as_object().into_iter().flatten()) {
            assert_eq!(&standing[field], value);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_repeats_of_one_idempotency_key_have_one_effect_and_one_answer() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let instances = [world.clone(), world.another_instance().await];
    let project = world.project(&acme.owner, "Launch").await;
    let tasks = format!("{PROJECTS}/{}/tasks", id(&project));
    let requests = [
        (PROJECTS, json!({"name": "Once"})),
        (tasks.as_str(), json!({"title": "Once"})),
        ("/api/v1/tenant/invitations", json!({"email": "bob@example.com", "role": "member"})),
    ];
    for (path, body) in &requests {
        let before = world.items_of(&acme).len();
        let answers = race(16, |number| {
            let request = instances[number % 2].post(*path).token(&acme.owner.token).header("idempotency-key", "key-1");
            request.json(body.clone()).send()
        })
        .await;
        assert_eq!(counted(&answers), BTreeMap::from([(201, 16)]));
        let bodies: BTreeSet<_> = answers.iter().map(|answer| (answer.text.as_str(), answer.header("etag"))).collect();
        assert_eq!(bodies.len(), 1, "identical answers");
        let replayed = answers.iter().filter(|answer| answer.header("idempotency-replayed") == "true").count();
        assert_eq!(replayed, 15);
        // The first invitation also creates the list of open invitations.
        let made = 2 + usize::from(path.ends_with("invitations"));
        assert_eq!(world.items_of(&acme).len(), before + made, "the thing itself and the kept answer");
    }
    assert_eq!(total(&world, &acme.owner, PROJECTS).await, 2);
    assert_eq!(total(&world, &acme.owner, &tasks).await, 1);
}

#[tokio::test]
async fn an_idempotency_key_is_for_one_body_of_one_caller_for_a_day() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let admin = world.member(&acme, "admin").await;
    let create = async |caller: &Caller, key: &str, name: &str| {
        world.post(PROJECTS).token(&caller.token).header("idempotency-key", key).json(json!({"name": name})).send().await
    };
    let first = create(&acme.owner, "key-1", "Once").await.expect(201);
    let other = create(&acme.owner, "key-1", "Other").await.expect(422);
    assert_eq!(other.code(), "IDEMPOTENCY_KEY_REUSED");
    let others = create(&admin, "key-1", "Once").await.expect(201);
    assert_ne!(others.text, first.text);
    for wrong in ["", &"x".repeat(256)] {
        create(&acme.owner, wrong, "Once").await.expect(400);
    }
    // A refusal is not recorded: the request can be corrected with the same key.
    create(&acme.owner, "key-2", "").await.expect(422);
    create(&acme.owner, "key-2", "Right").await.expect(201);
    world.advance(SignedDuration::from_hours(24) - SignedDuration::from_secs(1));
    assert_eq!(create(&acme.owner, "key-1", "Once").await.expect(201).text, first.text);
    world.advance(SignedDuration::from_secs(1));
    assert_ne!(create(&acme.owner, "key-1", "Once").await.expect(201).text, first.text);
    assert_eq!(total(&world, &acme.owner, PROJECTS).await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_session_opened_with_the_old_password_outlives_a_reset() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let login = |password: &str| world.post("/api/v1/auth/login").json(json!({"email": acme.owner.email, "password": password})).send();
    for round in 0..6 {
        let (old, new) = (
            if round == 0 { "correct horse".to_owned() } else { format!("battery staple {}", round - 1) },
            format!("battery staple {round}"),
        );
        world.advance(SignedDuration::from_secs(1));
        world.post("/api/v1/auth/forgot-password").json(json!({"email": acme.owner.email})).send().await.expect(202);
        let token = world.link_token(&acme.owner.email);
        let answers = race(13, |number| match number {
            6 => world.post("/api/v1/auth/reset-password").json(json!({"token": token, "password": new})).send(),
            _ => login(&old),
        })
        .await;
        assert_eq!(answers[6].status, 200);
        for opened in answers.iter().filter(|answer| answer.json()["data"]["token"].is_string()) {
            let token = opened.json()["data"]["token"].as_str().unwrap_or_default().to_owned();
            world.get("/api/v1/auth/me").token(&token).send().await.expect(401);
        }
        assert_eq!(everywhere(&world, "session"), 0);
        login(&old).await.expect(422);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn open_requests_with_one_idempotency_key_happen_once_too() {
    let world = World::new().await;
    let demo = ("/api/v1/demo", json!({"email": "ada@example.com", "name": "Ada", "company_name": "Engines"}), 201);
    let registration = (
        "/api/v1/auth/register",
        json!({"email": "bob@example.com", "name": "Bob", "company_name": "Engines", "password": "correct horse"}),
        202,
    );
    for (number, (path, body, status)) in [demo, registration].into_iter().enumerate() {
        let answers =
            race(16, |_| world.post(path).at_ip("203.0.113.1").header("idempotency-key", "key-1").json(body.clone()).send()).await;
        assert_eq!(counted(&answers), BTreeMap::from([(status, 16)]), "{path}");
        let bodies: BTreeSet<_> = answers.iter().map(|answer| answer.text.as_str()).collect();
        assert_eq!(bodies.len(), 1, "identical answers");
        assert_eq!(everywhere(&world, "mail"), number + 1, "{path}");
        assert_eq!((everywhere(&world, "tenant"), everywhere(&world, "registration")), (1, number), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_demos_stop_exactly_at_the_most_there_may_be() {
    let world = World::with(Settings { variables: vec![("DEMO_MAX_ACTIVE", "5".into())], ..Settings::default() }).await;
    let answers = race(16, |number| {
        let body = json!({"email": format!("ada{number}@example.com"), "name": "Ada", "company_name": "Engines"});
        world.post("/api/v1/demo").json(body).send()
    })
    .await;
    assert_eq!(counted(&answers), BTreeMap::from([(201, 5), (429, 11)]));
    for name in ["tenant", "demo", "user", "mail"] {
        assert_eq!(everywhere(&world, name), 5, "{name}");
    }
    let counters = world.items().into_iter().find(|item| item["pk"]["S"] == "G#counters" && item["sk"]["S"] == "active_demos");
    assert_eq!(counters.expect("the counter")["n"]["N"], "5");
    let accounts: BTreeSet<_> =
        answers.iter().filter(|answer| answer.status == 201).map(|answer| answer.json()["data"]["tenant_id"].to_string()).collect();
    assert_eq!(accounts.len(), 5, "account numbers are never shared");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_registrations_of_one_address_make_one_account() {
    let world = World::new().await;
    let answers = race(32, |number| {
        let email = if number % 2 == 0 { "ada@example.com" } else { "Ada@Example.com" };
        let body = json!({"name": "Ada", "email": email, "password": "correct horse", "company_name": "Engines"});
        world.post("/api/v1/auth/register").json(body).send()
    })
    .await;
    // All answers are the same, and an address gets at most ten mails a day.
    assert_eq!(counted(&answers), BTreeMap::from([(202, 32)]));
    assert_eq!((everywhere(&world, "mail"), everywhere(&world, "registration")), (10, 10));
    assert_eq!((everywhere(&world, "user"), everywhere(&world, "email"), everywhere(&world, "tenant")), (0, 0, 0));
    // Whichever are confirmed at once, one succeeds.
    let links = world.items().into_iter().filter(|item| item["type"]["S"] == "link");
    let key = world.auth.keys().links().expect("the key of links");
    let tokens: Vec<String> = links
        .map(|link| shared::model::link::Link::token(shared::ids::LinkId::parse(link["id"]["S"].as_str().unwrap()).unwrap(), key))
        .collect();
    let answers = race(10, |number| {
        let body = json!({"token": tokens[number], "password": "battery staple"});
        world.post("/api/v1/auth/verify-email").json(body).send()
    })
    .await;
    assert_eq!(counted(&answers).get(&200), Some(&1), "{:?}", counted(&answers));
    for name in ["tenant", "user", "email", "slug", "member"] {
        assert_eq!(everywhere(&world, name), 1, "{name}");
    }
    assert_eq!(everywhere(&world, "registration"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn task_counts_stay_exact_under_concurrent_changes() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = world.project(&acme.owner, "Launch").await;
    let tasks = format!("{PROJECTS}/{}/tasks", id(&project));
    let answers = race(32, |number| {
        let status = ["todo", "in_progress", "done", "cancelled"][number % 4];
        world.post(&tasks).token(&acme.owner.token).json(json!({"title": "x", "status": status})).send()
    })
    .await;
    assert_eq!(counted(&answers), BTreeMap::from([(201, 32)]));
    counts_hold(&world, &acme, &project).await;
    let made: Vec<Value> = answers.iter().map(|answer| answer.json()["data"].clone()).collect();

    let answers =
        race(32, |number| world.post(format!("/api/v1/tasks/{}/complete", id(&made[number]))).token(&acme.owner.token).send()).await;
    assert_eq!(counted(&answers), BTreeMap::from([(200, 32)]));
    counts_hold(&world, &acme, &project).await;

    // Several requests of every kind for the same task.
    let answers = race(48, |number| {
        let (path, token) = (format!("/api/v1/tasks/{}", id(&made[number % 12])), &acme.owner.token);
        match number / 12 {
            0 => world.put(path).token(token).json(json!({"status": "todo"})).send(),
            1 => world.put(path).token(token).json(json!({"status": "cancelled", "title": "y"})).send(),
            2 => world.post(format!("{path}/complete")).token(token).send(),
            _ => world.delete(path).token(token).send(),
        }
    })
    .await;
    assert!(answers.iter().all(|answer| [200, 404].contains(&answer.status)), "{:?}", counted(&answers));
    assert_eq!(of_type(&world, &acme, "task").len(), 20);
    counts_hold(&world, &acme, &project).await;

    // A task that is deleted many times at once is deleted once.
    let path = format!("/api/v1/tasks/{}", id(&made[31]));
    let answers = race(8, |_| world.delete(&path).token(&acme.owner.token).send()).await;
    assert_eq!(counted(&answers), BTreeMap::from([(200, 1), (404, 7)]));
    counts_hold(&world, &acme, &project).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_task_is_lost_or_miscounted_while_its_project_moves_to_and_fro() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = world.project(&acme.owner, "Launch").await;
    let path = format!("{PROJECTS}/{}", id(&project));
    let mut made = vec![world.task(&acme.owner, &project, json!({"title": "x"})).await];
    for _ in 0..6 {
        let answers = race(16, |number| {
            let token = &acme.owner.token;
            match number % 4 {
                0 => world.post(format!("{path}/archive")).token(token).send(),
                1 => world.post(format!("{path}/unarchive")).token(token).send(),
                2 => world.post(format!("/api/v1/tasks/{}/complete", id(&made[number % made.len()]))).token(token).send(),
                _ => world.post(format!("{path}/tasks")).token(token).json(json!({"title": "y"})).send(),
            }
        })
        .await;
        assert!(answers.iter().all(|answer| answer.status < 500), "{:?}", counted(&answers));
        // A completion is only refused when the project moved too often, and a creation when it was archived.
        assert!(answers.iter().all(|answer| [200, 201, 404, 409, 422].contains(&answer.status)), "{:?}", counted(&answers));
        made.extend(answers.iter().filter(|answer| answer.status == 201).map(|answer| answer.json()["data"].clone()));
        counts_hold(&world, &acme, &project).await;
        assert_eq!(of_type(&world, &acme, "task").len(), made.len());
        let standing = of_type(&world, &acme, "project");
        assert_eq!(standing.len(), 1);
        let archived = u64::from(standing[0]["shelf"]["S"] == "archived");
        assert_eq!((counter(&world, &acme, "projects"), counter(&world, &acme, "archived_projects")), (1 - archived, archived));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn members_who_join_at_once_have_numbers_of_their_own_and_no_more_than_the_plan_has_room_for() {
    let world = World::with(Settings { plans: json!({"free": {"users": 5}}), ..Settings::default() }).await;
    let acme = world.tenant("acme").await;
    let answers = race(12, |number| {
        let body = json!({"email": format!("bob{number}@example.com"), "role": "member"});
        world.post("/api/v1/tenant/invitations").token(&acme.owner.token).json(body).send()
    })
    .await;
    // Open invitations take seats: of twelve at once, only as many succeed as there are seats.
    assert_eq!(counted(&answers), BTreeMap::from([(201, 4), (403, 8)]));
    assert_eq!((everywhere(&world, "invitation"), everywhere(&world, "mail")), (4, 5));
    let invited: Vec<String> = answers.iter().filter_map(|answer| answer.json()["data"]["email"].as_str().map(str::to_owned)).collect();
    let tokens: Vec<String> = invited.iter().map(|email| world.link_token(email)).collect();
    let answers = race(12, |number| {
        let body = json!({"token": tokens[number % 4], "name": "Bob", "password": "correct horse"});
        world.post("/api/v1/auth/accept-invitation").json(body).send()
    })
    .await;
    assert_eq!(counted(&answers).get(&200), Some(&4), "{:?}", counted(&answers));
    let joined: BTreeSet<_> =
        answers.iter().filter(|answer| answer.status == 200).map(|answer| answer.json()["data"]["id"].to_string()).collect();
    assert_eq!(joined.len(), 4);
    assert_eq!((of_type(&world, &acme, "member").len(), counter(&world, &acme, "members")), (5, 5));
    assert_eq!(everywhere(&world, "user"), 5);
}

/// Sends `count` requests at once, each as a separate Tokio task.
async fn race<F>(count: usize, request: impl Fn(usize) -> F) -> Vec<Answer>
where
    F: Future<Output = Answer> + Send + 'static,
{
    let mut running = tokio::task::JoinSet::new();
    for number in 0..count {
        let request = request(number);
        running.spawn(async move { (number, request.await) });
    }
    let mut answers = running.join_all().await;
    answers.sort_by_key(|(number, _)| *number);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

fn counted(answers: &[Answer]) -> BTreeMap<u16, usize> {
    answers.iter().fold(BTreeMap::new(), |mut counted, answer| {
        *counted.entry(answer.status).or_default() += 1;
        counted
    })
}

/// The project's counts match the list of its tasks.
async fn counts_hold(world: &World, tenant: &Tenant, project: &Value) {
    let path = format!("{PROJECTS}/{}", id(project));
    let shown = world.get(&path).token(&tenant.owner.token).send().await.expect(200).json()["data"].clone();
    let stored: Vec<_> = of_type(world, tenant, "task").into_iter().filter(|task| task["project"]["S"] == project["id"]).collect();
    let count = |statuses: &[&str]| {
        json!(stored.iter().filter(|task| statuses.contains(&task["status"]["S"].as_str().unwrap_or_default())).count())
    };
    assert_eq!(shown["open_tasks_count"], count(&["todo", "in_progress", "in_review"]));
    assert_eq!(shown["completed_tasks_count"], count(&["done"]));
    assert_eq!(total(world, &tenant.owner, &format!("{path}/tasks")).await, stored.len() as u64);
}

async fn total(world: &World, caller: &Caller, path: &str) -> u64 {
    let listed = world.get(path).token(&caller.token).send().await.expect(200).json();
    listed["meta"]["total"].as_u64().expect("a list has a total")
}

fn of_type(world: &World, tenant: &Tenant, name: &str) -> Vec<Value> {
    world.items_of(tenant).into_iter().filter(|item| item["type"]["S"] == name).collect()
}

fn everywhere(world: &World, name: &str) -> usize {
    world.items().iter().filter(|item| item["type"]["S"] == name).count()
}

fn counter(world: &World, tenant: &Tenant, name: &str) -> u64 {
    let pk = format!("T#{}#counters", tenant.id);
    let item = world.items_of(tenant).into_iter().find(|item| item["pk"]["S"] == pk.as_str() && item["sk"]["S"] == name);
    item.and_then(|item| item["n"]["N"].as_str()?.parse().ok()).unwrap_or(0)
}

fn start_of_minute(world: &World) {
    let now = world.auth.clock().now();
    let begins = Timestamp::from_second((now.as_second() / 60 + 1) * 60).expect("a moment");
    world.advance(begins.duration_since(now));
}
