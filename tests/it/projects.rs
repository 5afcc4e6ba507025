//! Projects and tasks, beyond the documented examples: lists compared with a simple model, counts with a recount, limits, preconditions,
//! repeats, bad input, and the cost of a request.

use std::cmp::Ordering;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::SignedDuration;
use serde_json::{Value, json};
use shared::clock::Clock;
use shared::crypto::Random;
use shared::model::time::day;

use crate::world::{Answer, Caller, Request, World, id};

const STATES: [&str; 5] = ["todo", "in_progress", "in_review", "done", "cancelled"];
const PRIORITIES: [&str; 4] = ["low", "medium", "high", "urgent"];
const MISSING: &str = "550e8400-e29b-41d4-a716-446655440000";

#[tokio::test]
async fn a_project_lives_from_creation_to_deletion() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = world.project(&acme.owner, "Launch").await;
    let task = world.task(&acme.owner, &project, json!({"title": "First"})).await;
    let shown = world.get(path_of(&project)).token(&acme.owner.token).send().await.expect(200);
    assert_eq!(shown.json()["data"]["open_tasks_count"], 1);
    let listed = world.get("/api/v1/projects").token(&acme.owner.token).send().await.expect(200);
    assert_eq!(listed.json()["meta"]["total"], 1);
    world.delete(path_of(&project)).token(&acme.owner.token).send().await.expect(200);
    for (method, path) in [
        ("GET", path_of(&project)),
        ("GET", tasks_path(&project)),
        ("GET", task_path(&task)),
        ("PUT", task_path(&task)),
        ("DELETE", task_path(&task)),
    ] {
        world.request(method, path).token(&acme.owner.token).json(json!({})).send().await.expect(404);
    }
    world.post(format!("{}/complete", task_path(&task))).token(&acme.owner.token).send().await.expect(404);
    world.post(tasks_path(&project)).token(&acme.owner.token).json(json!({"title": "Late"})).send().await.expect(404);
    assert_eq!(world.get("/api/v1/projects").token(&acme.owner.token).send().await.json()["meta"]["total"], 0);
}

// Lists.

#[tokio::test]
async fn lists_of_tasks_agree_with_a_plain_model() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let members = [acme.owner.clone(), world.member(&acme, "member").await, world.member(&acme, "viewer").await];
    let project = world.project(&acme.owner, "Launch").await;
    // Another project in the same tenant, whose tasks must never be shown.
    let other = world.project(&acme.owner, "Other").await;
    let mut dice = Dice::new(1);
    let mut tasks = vec![];
    for n in 0..60 {
        let mut body = json!({
            "title": format!("{} {}", dice.pick(&["Alpha", "alpha", "BETA", "Gamma", "ÄRGER", "zeta"]), dice.below(8)),
            "status": dice.pick(&STATES), "priority": dice.pick(&PRIORITIES), "sort_order": dice.below(7) as i64 - 3
        });
        if dice.below(3) > 0 {
            body["due_date"] = json!(in_days(&world, dice.below(10) as i64));
        }
        if dice.below(2) > 0 {
            body["assigned_to"] = json!(dice.pick(&[members[0].id, members[1].id, members[2].id]));
        }
        tasks.push(world.task(&acme.owner, &project, body.clone()).await);
        if n % 10 == 0 {
            world.task(&acme.owner, &other, body).await;
        }
        world.advance(SignedDuration::from_secs(dice.below(2) as i64));
    }
    world.advance(SignedDuration::from_hours(24 * 5));
    let today = in_days(&world, 0);

    let sorts = ["", "title", "status", "priority", "due_date", "created_at", "sort_order"];
    let mut questions: Vec<Vec<(&str, String)>> = vec![];
    for sort in sorts {
        for direction in ["", "asc", "desc"] {
            questions.push(vec![("sort", sort.into()), ("direction", direction.into())]);
        }
    }
    let filters = |dice: &mut Dice| {
        vec![
            ("status", dice.pick(&STATES).to_owned()),
            ("priority", dice.pick(&PRIORITIES).to_owned()),
            ("open", dice.pick(&["true", "false", "1", "0"]).to_owned()),
            ("overdue", dice.pick(&["true", "false"]).to_owned()),
            ("assigned_to", dice.pick(&[1_u64, 2, 3, 99]).to_string()),
            ("my_tasks", dice.pick(&["true", "false"]).to_owned()),
            ("search", dice.pick(&["alpha", "ALPHA", "eta", "ärger", " 3", "nothing", "a 1"]).to_owned()),
        ]
    };
    for _ in 0..3 {
        questions.extend(filters(&mut dice).into_iter().map(|filter| vec![filter]));
    }
    for _ in 0..60 {
        let mut question: Vec<_> = filters(&mut dice).into_iter().filter(|_| dice.below(3) == 0).collect();
        question.push(("sort", dice.pick(&sorts).to_owned()));
        question.push(("direction", dice.pick(&["", "asc", "desc"]).to_owned()));
        questions.push(question);
    }

    for question in questions {
        let asked: Vec<_> = question.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let caller = dice.pick(&[&members[0], &members[1], &members[2]]);
        let mut expected: Vec<&Value> = tasks.iter().filter(|task| keeps(&asked, task, caller.id, &today)).collect();
        let of = |name: &str| asked.iter().find(|(asked, _)| *asked == name).map(|(_, value)| value.clone());
        order(&mut expected, of("direction").as_deref() == Some("asc"), |task| match of("sort").as_deref() {
            Some("title") => (0, lower(&task["title"])),
            Some("status") => (rank(&STATES, &task["status"]["value"]), String::new()),
            Some("priority") => (rank(&PRIORITIES, &task["priority"]["value"]), String::new()),
            Some("due_date") => (0, task["due_date"].as_str().unwrap_or_default().to_owned()),
            Some("sort_order") => (task["sort_order"].as_i64().expect("a number"), String::new()),
            _ => (0, String::new()),
        });
        let query: Vec<_> = asked.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let per_page = dice.pick(&[1, 4, 7, 15, 60, 100]);
        // Pages of one item only for short lists.
        let per_page = if per_page == 1 && expected.len() > 8 { 9 } else { per_page };
        let by_cursor = dice.below(2) == 0;
        let found = walk(&world, caller, &tasks_path(&project), &query, per_page, by_cursor, expected.len()).await;
        let shown = |list: Vec<Value>| list.into_iter().map(|task| (id(&task).to_owned(), task["title"].clone())).collect::<Vec<_>>();
        assert_eq!(shown(found), shown(expected.into_iter().cloned().collect()), "{query:?}, {per_page} a page, by cursor: {by_cursor}");
    }
}

#[tokio::test]
async fn lists_of_projects_agree_with_a_plain_model() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let mut dice = Dice::new(2);
    let mut ids = vec![];
    for n in 0..30 {
        let name = format!("{} {}", dice.pick(&["Launch", "launch", "ÜBUNG", "Market"]), n % 11);
        ids.push(id(&world.project(&acme.owner, &name).await).to_owned());
        world.advance(SignedDuration::from_secs(dice.below(2) as i64));
    }
    for _ in 0..15 {
        let path = format!("/api/v1/projects/{}", dice.pick(&ids));
        world.advance(SignedDuration::from_secs(dice.below(2) as i64));
        match dice.below(3) {
            0 => world.put(path).token(&acme.owner.token).json(json!({"color": "#000000"})).send().await.expect(200),
            _ => world.post(format!("{path}/archive")).token(&acme.owner.token).send().await.expect(200),
        };
    }
    let mut projects = vec![];
    for id in &ids {
        projects.push(world.get(format!("/api/v1/projects/{id}")).token(&acme.owner.token).send().await.expect(200).json()["data"].clone());
    }
    for sort in ["", "name", "created_at", "updated_at"] {
        for direction in ["", "asc", "desc"] {
            for archived in ["", "true", "false"] {
                for search in ["", "LAUNCH", "übung", "nothing", "t 1"] {
                    let asked = [("sort", sort), ("direction", direction), ("archived", archived), ("search", search)];
                    let query: Vec<_> = asked
                        .iter()
                        .filter(|(_, value)| !value.is_empty())
                        .map(|(name, value)| format!("{name}={}", encoded(value)))
                        .collect();
                    let matching = |project: &&Value| {
                        project["is_archived"] == (archived == "true")
                            && project["name"].as_str().is_some_and(|name| name.to_lowercase().contains(&search.to_lowercase()))
                    };
                    let mut expected: Vec<_> = projects.iter().filter(matching).collect();
                    order(&mut expected, direction == "asc", |project| match sort {
                        "name" => lower(&project["name"]),
                        "updated_at" => project["updated_at"].as_str().expect("a moment").to_owned(),
                        _ => String::new(),
                    });
                    let (per_page, by_cursor) = (dice.pick(&[4, 15, 100]), dice.below(2) == 0);
                    let found = walk(&world, &acme.owner, "/api/v1/projects", &query, per_page, by_cursor, expected.len()).await;
                    assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{query:?}, {per_page} a page, by cursor: {by_cursor}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_position_that_cannot_be_is_refused() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = world.project(&acme.owner, "Launch").await;
    for list in ["/api/v1/projects".to_owned(), tasks_path(&project)] {
        let ask = |query: &str| world.get(format!("{list}?{query}")).token(&acme.owner.token).send();
        for (query, field) in [
            ("per_page=0", "per_page"),
            ("per_page=101", "per_page"),
            ("per_page=abc", "per_page"),
            ("per_page=1.5", "per_page"),
            ("page=0", "page"),
            ("page=-1", "page"),
            ("page=abc", "page"),
            ("page=99999999999999999999", "page"),
            ("colour=red", "colour"),
            ("limit=5", "limit"),
            ("sort=id", "sort"),
            ("direction=sideways", "direction"),
        ] {
            let answer = ask(query).await.expect(422);
            assert_eq!((answer.code().as_str(), named(&answer)), ("VALIDATION_ERROR", vec![field.to_owned()]), "{query}");
        }
        let both = ask("per_page=0&colour=red&sort=id").await.expect(422);
        assert_eq!(named(&both), ["colour", "per_page", "sort"]);
        assert_eq!(ask("page=1&page=2").await.expect(400).code(), "BAD_REQUEST");
        for (deep, status) in
            [("page=101&per_page=100", 200), ("page=102&per_page=100", 422), ("page=10001&per_page=1", 200), ("page=10002&per_page=1", 422)]
        {
            let answer = ask(deep).await.expect(status);
            assert!(
                status == 200 || answer.details()["page"][0].as_str().is_some_and(|hint| hint.contains("next_cursor")),
                "{}",
                answer.text
            );
        }
    }
}

#[tokio::test]
async fn a_cursor_holds_only_where_it_was_given() {
    let world = World::new().await;
    let (acme, rival) = (world.tenant("acme").await, world.tenant("rival").await);
    for caller in [&acme.owner, &rival.owner] {
        for name in ["A", "B", "C"] {
            let project = world.project(caller, name).await;
            for title in ["a", "b", "c"] {
                world.task(caller, &project, json!({"title": title})).await;
            }
        }
    }
    let projects = world.get("/api/v1/projects").token(&acme.owner.token).send().await.json()["data"].clone();
    let (list, other_list) = (tasks_path(&projects[0]), tasks_path(&projects[1]));
    let ask = |caller: &Caller, list: &str, query: &str, cursor: &str| {
        world.get(format!("{list}?{query}&cursor={cursor}")).token(&caller.token).send()
    };
    for query in ["per_page=1", "per_page=1&sort=title", "per_page=1&status=todo"] {
        let first = world.get(format!("{list}?{query}")).token(&acme.owner.token).send().await.expect(200).json();
        let cursor = first["meta"]["next_cursor"].as_str().expect("a cursor").to_owned();
        let second = ask(&acme.owner, &list, query, &cursor).await.expect(200).json();
        assert_ne!(first["data"], second["data"]);
        assert_eq!(second["meta"]["current_page"], Value::Null);
        // The page size is not part of the list.
        let rest = ask(&acme.owner, &list, &query.replace("per_page=1", "per_page=50"), &cursor).await.expect(200).json();
        assert_eq!(
            (rest["data"].as_array().map(Vec::len), &rest["meta"]["total"], &rest["meta"]["next_cursor"]),
            (Some(2), &json!(3), &Value::Null)
        );

        let bytes = URL_SAFE_NO_PAD.decode(&cursor).expect("base64url");
        let mut changed: Vec<String> = (0..bytes.len() * 8)
            .step_by(5)
            .map(|bit| {
                let mut bytes = bytes.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                URL_SAFE_NO_PAD.encode(bytes)
            })
            .collect();
        changed.extend([1, 2, 10, cursor.len() - 1].map(|short| cursor[..cursor.len() - short].to_owned()));
        changed.extend([format!("{cursor}A"), format!("{cursor}="), "eyJpZCI6MX0".into(), "%00".into(), "T%23other%23tasks".into()]);
        // A cursor has one spelling: for most lengths, the last character has unused bits.
        let last = cursor.chars().last().expect("not empty");
        changed.extend(('A'..='Z').filter(|c| *c != last).map(|c| format!("{}{c}", &cursor[..cursor.len() - 1])));
        for wrong in changed {
            // A control character is refused by the form, everything else by the seal.
            let answer = ask(&acme.owner, &list, query, &wrong).await;
            assert!(
                answer.status == 400 && answer.code() == "BAD_REQUEST" || wrong == "%00" && answer.status == 422,
                "{wrong}: {}",
                answer.text
            );
        }
        let theirs = world.get("/api/v1/projects").token(&rival.owner.token).send().await.json()["data"].clone();
        for (caller, list, query) in [
            (&acme.owner, other_list.as_str(), query.to_owned()),
            (&acme.owner, "/api/v1/projects", query.replace("&status=todo", "").replace("&sort=title", "")),
            (&rival.owner, &tasks_path(&theirs[0]), query.to_owned()),
            (&acme.owner, &list, format!("{query}&priority=medium")),
            (&acme.owner, &list, format!("{query}&direction=asc")),
            (&acme.owner, &list, format!("{query}&search=a")),
            (&acme.owner, &list, if query.contains("sort") { query.replace("title", "status") } else { format!("{query}&sort=status") }),
        ] {
            assert_eq!(ask(caller, list, &query, &cursor).await.expect(400).code(), "BAD_REQUEST", "{list}?{query}");
        }
        ask(&acme.owner, &list, &format!("{query}&page=1"), &cursor).await.expect(400);
    }
    let query = "per_page=1";
    let mine = world.get("/api/v1/projects?per_page=1").token(&acme.owner.token).send().await.json()["meta"]["next_cursor"].clone();
    ask(&rival.owner, "/api/v1/projects", query, mine.as_str().expect("a cursor")).await.expect(400);
    ask(&acme.owner, "/api/v1/projects", "per_page=1&archived=true", mine.as_str().expect("a cursor")).await.expect(400);
}

#[tokio::test]
async fn first_middle_last_and_empty_pages_link_to_one_another() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let links = |page: u64, last: u64| {
        let url = |page: u64| json!(format!("/api/v1/projects?per_page=2&page={page}"));
        let at = |wanted: bool, page: u64| if wanted { url(page) } else { Value::Null };
        json!({"first": url(1), "last": url(last), "prev": at(page > 1, page.saturating_sub(1)), "next": at(page < last, page + 1)})
    };
    let meta = |page: u64, last: u64, total: u64, shown: Option<(u64, u64)>| json!({"current_page": page, "last_page": last, "per_page": 2, "total": total, "from": shown.map(|shown| shown.0), "to": shown.map(|shown| shown.1)});
    let ask = async |page: u64| {
        let answer = world.get(format!("/api/v1/projects?page={page}&per_page=2")).token(&acme.owner.token).send().await.expect(200);
        let mut body = answer.json();
        let cursor = body["meta"].as_object_mut().and_then(|meta| meta.remove("next_cursor")).expect("it says whether there is more");
        (answer.header("link").to_owned(), body, cursor)
    };
    let (link, body, cursor) = ask(1).await;
    assert_eq!((&body["data"], &body["links"], &body["meta"], cursor), (&json!([]), &links(1, 1), &meta(1, 1, 0, None), Value::Null));
    assert_eq!(link, r#"</api/v1/projects?per_page=2&page=1>; rel="first", </api/v1/projects?per_page=2&page=1>; rel="last""#);
    for n in 0..5 {
        world.project(&acme.owner, &format!("{n}")).await;
    }
    for (page, shown) in [(1, Some((1, 2))), (2, Some((3, 4))), (3, Some((5, 5))), (4, None)] {
        let (link, body, cursor) = ask(page).await;
        assert_eq!((&body["links"], &body["meta"]), (&links(page, 3), &meta(page, 3, 5, shown)), "page {page}");
        assert_eq!(cursor.is_string(), page < 3, "page {page}");
        for relation in ["first", "prev", "next", "last"] {
            let said = body["links"][relation].as_str().map(|url| format!("<{url}>; rel=\"{relation}\""));
            assert_eq!(said.as_ref().is_some_and(|said| link.contains(said)), said.is_some(), "{link}");
            assert_eq!(link.contains(&format!("rel=\"{relation}\"")), said.is_some(), "{link}");
        }
    }
    // Links repeat the request's parameters, encoded. Following them stays in the list.
    let filtered = world.get("/api/v1/projects?search=a%26b%20c&sort=name").token(&acme.owner.token).send().await.expect(200).json();
    assert_eq!(filtered["links"]["first"], "/api/v1/projects?search=a%26b+c&sort=name&page=1");
    world.get(filtered["links"]["last"].as_str().expect("a link")).token(&acme.owner.token).send().await.expect(200);
}

// The plan, the shelf, the counts.

#[tokio::test]
async fn a_plan_bounds_active_projects_on_creation_and_on_return() {
    let world = World::strict().await;
    let acme = world.tenant("acme").await;
    let mut projects = vec![];
    for name in ["A", "B", "C"] {
        projects.push(world.project(&acme.owner, name).await);
    }
    let create = || world.post("/api/v1/projects").token(&acme.owner.token).json(json!({"name": "D"})).send();
    let act = |action: &str| world.post(format!("{}/{action}", path_of(&projects[0]))).token(&acme.owner.token).send();
    let limit = json!({"limit": "projects", "used": 3, "max": 3, "plan": "free"});
    let refused = create().await.expect(403);
    assert_eq!((refused.code().as_str(), refused.details()), ("PLAN_LIMIT_REACHED", limit.clone()));
    act("archive").await.expect(200);
    let fourth = create().await.expect(201).json()["data"].clone();
    let refused = act("unarchive").await.expect(403);
    assert_eq!((refused.code().as_str(), refused.details()), ("PLAN_LIMIT_REACHED", limit));
    let shown = world.get(path_of(&projects[0])).token(&acme.owner.token).send().await.expect(200).json();
    assert_eq!(shown["data"]["is_archived"], true, "a refused return changes nothing");
    // What is already unarchived is not counted a second time.
    world.post(format!("{}/unarchive", path_of(&projects[1]))).token(&acme.owner.token).send().await.expect(200);
    world.delete(path_of(&fourth)).token(&acme.owner.token).send().await.expect(200);
    act("unarchive").await.expect(200);
    create().await.expect(403);
    let totals = async |query: &str| {
        world.get(format!("/api/v1/projects{query}")).token(&acme.owner.token).send().await.json()["meta"]["total"].clone()
    };
    assert_eq!((totals("").await, totals("?archived=true").await), (json!(3), json!(0)));
}

#[tokio::test]
async fn an_archived_project_takes_no_new_tasks_but_its_own_go_on() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = world.project(&acme.owner, "Launch").await;
    let mut tasks = vec![];
    for n in 0..4 {
        tasks.push(world.task(&acme.owner, &project, json!({"title": format!("{n}")})).await);
    }
    world.post(format!("{}/archive", path_of(&project))).token(&acme.owner.token).send().await.expect(200);
    let refused = world.post(tasks_path(&project)).token(&acme.owner.token).json(json!({"title": "Late"})).send().await.expect(422);
    assert_eq!((refused.code().as_str(), named(&refused)), ("VALIDATION_ERROR", vec!["project".to_owned()]));
    let counts = async |expected: (u64, u64)| {
        let shown = world.get(path_of(&project)).token(&acme.owner.token).send().await.expect(200).json()["data"].clone();
        assert_eq!((shown["is_archived"].clone(), counted(&shown)), (json!(true), expected));
    };
    counts((4, 0)).await;
    world.put(task_path(&tasks[0])).token(&acme.owner.token).json(json!({"title": "Renamed"})).send().await.expect(200);
    counts((4, 0)).await;
    world.put(task_path(&tasks[0])).token(&acme.owner.token).json(json!({"status": "cancelled"})).send().await.expect(200);
    counts((3, 0)).await;
    world.post(format!("{}/complete", task_path(&tasks[1]))).token(&acme.owner.token).send().await.expect(200);
    counts((2, 1)).await;
    world.delete(task_path(&tasks[1])).token(&acme.owner.token).send().await.expect(200);
    counts((2, 0)).await;
    world.delete(task_path(&tasks[2])).token(&acme.owner.token).send().await.expect(200);
    counts((1, 0)).await;
    let total = world.get(tasks_path(&project)).token(&acme.owner.token).send().await.expect(200).json()["meta"]["total"].clone();
    assert_eq!(total, 2);
    world.delete(path_of(&project)).token(&acme.owner.token).send().await.expect(200);
    world.get(task_path(&tasks[3])).token(&acme.owner.token).send().await.expect(404);
}

#[tokio::test]
async fn counts_equal_a_recount_after_any_series_of_changes() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let mut dice = Dice::new(3);
    let mut projects = vec![];
    for name in ["A", "B", "C"] {
        projects.push((world.project(&acme.owner, name).await, Vec::<Value>::new()));
    }
    for step in 1..=150 {
        let (project, tasks) = {
            let index = dice.below(3);
            &mut projects[index]
        };
        let chosen = (!tasks.is_empty()).then(|| dice.below(tasks.len()));
        let send = |request: Request| request.token(&acme.owner.token).send();
        match (dice.below(8), chosen) {
            (0..=2, _) | (_, None) => {
                let answer = send(world.post(tasks_path(project)).json(json!({"title": "t", "status": dice.pick(&STATES)}))).await;
                // Archived: no new tasks.
                if answer.status != 422 {
                    tasks.push(answer.expect(201).json()["data"].clone());
                }
            }
            (3 | 4, Some(n)) => {
                let answer = send(world.put(task_path(&tasks[n])).json(json!({"status": dice.pick(&STATES)}))).await.expect(200);
                tasks[n] = answer.json()["data"].clone();
            }
            (5, Some(n)) => {
                tasks[n] = send(world.post(format!("{}/complete", task_path(&tasks[n])))).await.expect(200).json()["data"].clone()
            }
            (6, Some(n)) => {
                send(world.delete(task_path(&tasks[n]))).await.expect(200);
                tasks.remove(n);
            }
            _ => {
                let action = dice.pick(&["archive", "unarchive", "unarchive"]);
                send(world.post(format!("{}/{action}", path_of(project)))).await.expect(200);
            }
        }
        if step % 10 == 0 {
            for (project, tasks) in &projects {
                let shown = world.get(path_of(project)).token(&acme.owner.token).send().await.expect(200).json()["data"].clone();
                let open = tasks.iter().filter(|task| task["status"]["is_open"] == true).count() as u64;
                let done = tasks.iter().filter(|task| task["status"]["value"] == "done").count() as u64;
                assert_eq!(counted(&shown), (open, done), "after {step} changes");
                let list = world.get(tasks_path(project)).token(&acme.owner.token).send().await.expect(200).json();
                assert_eq!(list["meta"]["total"], tasks.len(), "after {step} changes");
            }
            let archived = world.get("/api/v1/projects?archived=true").token(&acme.owner.token).send().await.json();
            let active = world.get("/api/v1/projects").token(&acme.owner.token).send().await.json();
            for list in [&archived, &active] {
                assert_eq!(list["meta"]["total"], list["data"].as_array().map_or(0, Vec::len));
            }
            assert_eq!(archived["meta"]["total"].as_u64().zip(active["meta"]["total"].as_u64()).map(|(a, b)| a + b), Some(3));
        }
    }
}

// Computed fields, and the rules for dates and people.

#[tokio::test]
async fn completion_overdue_and_due_soon_follow_status_and_calendar() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = world.project(&acme.owner, "Launch").await;
    let task = world.task(&acme.owner, &project, json!({"title": "t", "due_date": in_days(&world, 4)})).await;
    let show = async || world.get(task_path(&task)).token(&acme.owner.token).send().await.expect(200).json()["data"].clone();
    let put =
        async |body: Value| world.put(task_path(&task)).token(&acme.owner.token).json(body).send().await.expect(200).json()["data"].clone();
    for (overdue, soon) in [(false, false), (false, true), (false, true), (false, true), (false, true), (true, false)] {
        let shown = show().await;
        assert_eq!((&shown["is_overdue"], &shown["is_due_soon"]), (&json!(overdue), &json!(soon)), "{shown}");
        world.advance(SignedDuration::from_hours(24));
    }
    assert_eq!(task["completed_at"], Value::Null);
    let done = put(json!({"status": "done"})).await;
    assert_eq!((&done["completed_at"], &done["is_overdue"]), (&done["updated_at"], &json!(false)));
    world.advance(SignedDuration::from_hours(1));
    assert_eq!(put(json!({"title": "Renamed"})).await["completed_at"], done["completed_at"], "staying done keeps the stamp");
    let again = world.post(format!("{}/complete", task_path(&task))).token(&acme.owner.token).send().await.expect(200).json();
    assert_eq!(again["data"]["completed_at"], done["completed_at"], "completing twice keeps the stamp");
    let reopened = put(json!({"status": "in_review"})).await;
    assert_eq!((&reopened["completed_at"], &reopened["is_overdue"]), (&Value::Null, &json!(true)));
    put(json!({"status": "cancelled"})).await;
    world.post(format!("{}/complete", task_path(&task))).token(&acme.owner.token).send().await.expect(200);
    assert_eq!(show().await["status"]["value"], "done");
    let born_done = world.task(&acme.owner, &project, json!({"title": "t", "status": "done"})).await;
    assert_eq!(born_done["completed_at"], born_done["created_at"]);
}

#[tokio::test]
async fn a_due_date_may_lie_in_the_past_only_if_it_stood_there() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = world.project(&acme.owner, "Launch").await;
    let due = in_days(&world, 1);
    let task = world.task(&acme.owner, &project, json!({"title": "t", "due_date": due})).await;
    world.advance(SignedDuration::from_hours(72));
    let put = |body: Value| world.put(task_path(&task)).token(&acme.owner.token).json(body).send();
    let refused =
        world.post(tasks_path(&project)).token(&acme.owner.token).json(json!({"title": "t", "due_date": due})).send().await.expect(422);
    assert_eq!(refused.details(), json!({"due_date": ["The due_date field must be a date after or equal to today."]}));
    assert_eq!(named(&put(json!({"due_date": in_days(&world, -1)})).await.expect(422)), ["due_date"]);
    assert_eq!(put(json!({"title": "Still due", "due_date": due})).await.expect(200).json()["data"]["due_date"], due.as_str());
    put(json!({"priority": "high"})).await.expect(200);
    put(json!({"due_date": in_days(&world, 0)})).await.expect(200);
    assert_eq!(put(json!({"due_date": null})).await.expect(200).json()["data"]["due_date"], Value::Null);
    // After it was removed, the same date counts as new.
    put(json!({"due_date": due})).await.expect(422);
}

#[tokio::test]
async fn only_members_of_the_tenant_can_be_assigned() {
    let world = World::new().await;
    let (acme, rival) = (world.tenant("acme").await, world.tenant("rival").await);
    let theirs = world.member(&rival, "member").await;
    let project = world.project(&acme.owner, "Launch").await;
    let task = world.task(&acme.owner, &project, json!({"title": "t"})).await;
    for nobody in [theirs.id, 999, 9_007_199_254_740_993] {
        for request in [
            world.post(tasks_path(&project)).json(json!({"title": "t", "assigned_to": nobody})),
            world.put(task_path(&task)).json(json!({"assigned_to": nobody})),
        ] {
            assert_eq!(named(&request.token(&acme.owner.token).send().await.expect(422)), ["assigned_to"]);
        }
    }
    let body = json!({"title": "t", "assigned_to": 999, "due_date": in_days(&world, -1)});
    let both = world.post(tasks_path(&project)).token(&acme.owner.token).json(body).send().await.expect(422);
    assert_eq!(named(&both), ["assigned_to", "due_date"]);

    let ours = world.member(&acme, "viewer").await;
    let put = |body: Value| world.put(task_path(&task)).token(&acme.owner.token).json(body).send();
    let assigned = put(json!({"assigned_to": ours.id})).await.expect(200).json();
    assert_eq!(assigned["data"]["assignee"], json!({"id": ours.id, "name": "The viewer", "email": ours.email}));
    world.delete(format!("/api/v1/tenant/members/{}", ours.id)).token(&acme.owner.token).send().await.expect(200);
    assert_eq!(
        put(json!({"title": "kept"})).await.expect(200).json()["data"]["assignee"]["id"],
        ours.id,
        "what was assigned keeps its name"
    );
    let another = world.task(&acme.owner, &project, json!({"title": "t"})).await;
    world.put(task_path(&another)).token(&acme.owner.token).json(json!({"assigned_to": ours.id})).send().await.expect(422);
    assert_eq!(put(json!({"assigned_to": null})).await.expect(200).json()["data"]["assignee"], Value::Null);
}

// Preconditions and repeats.

#[tokio::test]
async fn an_edit_can_insist_on_the_version_it_saw() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = world.project(&acme.owner, "Launch").await;
    let task = world.task(&acme.owner, &project, json!({"title": "t"})).await;
    for (path, field) in [(path_of(&project), "name"), (task_path(&task), "title")] {
        let get = async || world.get(&path).token(&acme.owner.token).send().await.expect(200);
        let put =
            |etag: &str, value: &str| world.put(&path).token(&acme.owner.token).header("if-match", etag).json(json!({field: value})).send();
        let seen = get().await.header("etag").to_owned();
        let changed = put(&seen, "one").await.expect(200);
        assert_ne!(changed.header("etag"), seen);
        assert_eq!(get().await.header("etag"), changed.header("etag"));
        let before = substance(&world);
        for stale in [seen.as_str(), "\"999\"", "W/\"1\"", "nonsense"] {
            assert_eq!(put(stale, "two").await.expect(412).code(), "PRECONDITION_FAILED", "{stale}");
            world.delete(&path).token(&acme.owner.token).header("if-match", stale).send().await.expect(412);
        }
        assert_eq!(substance(&world), before);
        put("*", "three").await.expect(200);
        let both = format!("{seen}, {}", get().await.header("etag"));
        put(&both, "four").await.expect(200);
    }
    let action = |path: String| world.post(path).token(&acme.owner.token).header("if-match", "\"999\"").send();
    action(format!("{}/complete", task_path(&task))).await.expect(412);
    action(format!("{}/archive", path_of(&project))).await.expect(412);
    for path in [task_path(&task), path_of(&project)] {
        let seen = world.get(&path).token(&acme.owner.token).send().await.header("etag").to_owned();
        world.delete(&path).token(&acme.owner.token).header("if-match", &seen).send().await.expect(200);
    }
}

#[tokio::test]
async fn what_the_caller_has_is_not_sent_again() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = world.project(&acme.owner, "Launch").await;
    let task = world.task(&acme.owner, &project, json!({"title": "t"})).await;
    for path in [path_of(&project), task_path(&task)] {
        let etag = world.get(&path).token(&acme.owner.token).send().await.header("etag").to_owned();
        for known in [etag.clone(), format!("W/{etag}"), format!("\"x\", {etag}"), "*".into()] {
            let answer = world.get(&path).token(&acme.owner.token).header("if-none-match", &known).send().await.expect(304);
            assert_eq!((answer.text.as_str(), answer.header("etag")), ("", etag.as_str()));
            assert_ne!(answer.header("x-request-id"), "");
        }
        world.get(&path).token(&acme.owner.token).header("if-none-match", "\"x\"").send().await.expect(200);
        world.get(&path).header("if-none-match", &etag).send().await.expect(401);
    }
    // A tag names one representation. A project's counts are part of it, although no edit changes them.
    let etag = world.get(path_of(&project)).token(&acme.owner.token).send().await.header("etag").to_owned();
    world.post(format!("{}/complete", task_path(&task))).token(&acme.owner.token).send().await.expect(200);
    let now = world.get(path_of(&project)).token(&acme.owner.token).header("if-none-match", &etag).send().await.expect(200);
    assert_eq!(counted(&now.json()["data"]), (0, 1));
    // They do not disturb an edit either.
    world.put(path_of(&project)).token(&acme.owner.token).header("if-match", &etag).json(json!({"name": "n"})).send().await.expect(200);
}

#[tokio::test]
async fn a_repeat_with_the_same_key_has_one_effect_and_one_answer() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let admin = world.member(&acme, "admin").await;
    let project = world.project(&acme.owner, "Launch").await;
    for (path, field) in [("/api/v1/projects".to_owned(), "name"), (tasks_path(&project), "title")] {
        let send = |caller: &Caller, key: &str, text: &str| {
            world.post(&path).token(&caller.token).header("idempotency-key", key).json(json!({field: text})).send()
        };
        let total = async || world.get(&path).token(&acme.owner.token).send().await.json()["meta"]["total"].as_u64().expect("a total");
        let before = total().await;
        let first = send(&acme.owner, "key", "one").await.expect(201);
        assert_eq!(first.header("idempotency-replayed"), "");
        world.advance(SignedDuration::from_mins(5));
        for instance in [world.clone(), world.another_instance().await] {
            let again = instance
                .post(&path)
                .token(&acme.owner.token)
                .header("idempotency-key", "key")
                .json(json!({field: "one"}))
                .send()
                .await
                .expect(201);
            assert_eq!((again.header("idempotency-replayed"), &again.text), ("true", &first.text));
            assert_eq!((again.header("etag"), again.header("content-type")), (first.header("etag"), first.header("content-type")));
            assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
        }
        assert_eq!(send(&acme.owner, "key", "two").await.expect(422).code(), "IDEMPOTENCY_KEY_REUSED");
        assert_eq!(total().await, before + 1);
        // Another person with the same key is independent.
        assert_ne!(send(&admin, "key", "one").await.expect(201).text, first.text);
        assert_ne!(send(&acme.owner, "Key", "one").await.expect(201).text, first.text);
        // A refusal is not recorded: the request can be corrected with the same key.
        send(&acme.owner, "later", "").await.expect(422);
        send(&acme.owner, "later", "right").await.expect(201);
        for wrong in ["", &"k".repeat(256)] {
            send(&acme.owner, wrong, "one").await.expect(400);
        }
        send(&acme.owner, &"k".repeat(255), "one").await.expect(201);
        // Kept for 24 hours from the first answer, to the second.
        world.advance(SignedDuration::from_hours(24) - SignedDuration::from_mins(5) - SignedDuration::from_secs(1));
        assert_eq!(send(&acme.owner, "key", "one").await.expect(201).text, first.text);
        world.advance(SignedDuration::from_secs(1));
        let new = send(&acme.owner, "key", "two").await.expect(201);
        assert_eq!(new.header("idempotency-replayed"), "");
        assert_ne!(new.text, first.text);
    }
    // The same key at another path is another request.
    let other = world.project(&acme.owner, "Other").await;
    for project in [&project, &other] {
        let request =
            world.post(tasks_path(project)).token(&acme.owner.token).header("idempotency-key", "both").json(json!({"title": "t"}));
        assert_eq!(request.send().await.expect(201).header("idempotency-replayed"), "");
    }
}

// Input.

#[tokio::test]
async fn settings_come_back_as_they_were_given() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let settings = json!({
        "": "an empty name", "null": null, "list": [1, "two", [3.5, {"four": false}], []], "empty": {}, "ünï": "\u{0}\u{7}\n😀",
        "large": 1e300, "small": 1e-300, "float": 1.0, "exact": 18_446_744_073_709_551_615_u64, "least": i64::MIN, "pk": "T#other", "tenant": "x"
    });
    let created = world
        .post("/api/v1/projects")
        .token(&acme.owner.token)
        .json(json!({"name": "n", "settings": settings}))
        .send()
        .await
        .expect(201)
        .json();
    assert_eq!(created["data"]["settings"], settings);
    let path = path_of(&created["data"]);
    let shown = async || world.get(&path).token(&acme.owner.token).send().await.expect(200).json()["data"]["settings"].clone();
    assert_eq!(shown().await, settings);
    let put = |body: Value| world.put(&path).token(&acme.owner.token).json(body).send();
    put(json!({"name": "renamed"})).await.expect(200);
    assert_eq!(shown().await, settings, "an edit of something else keeps them");
    put(json!({"settings": {"only": "this"}})).await.expect(200);
    assert_eq!(shown().await, json!({"only": "this"}), "replaced as a whole");
    for (wrong, length) in [(false, 16 * 1024), (true, 16 * 1024 + 1)] {
        let settings = json!({"k": "x".repeat(length - r#"{"k":""}"#.len())});
        let answer = put(json!({"settings": settings})).await.expect(if wrong { 422 } else { 200 });
        assert!(!wrong || named(&answer) == ["settings"], "{}", answer.text);
    }
    let mut deep = json!({});
    for _ in 0..29 {
        deep = json!({"d": deep});
    }
    put(json!({"settings": deep})).await.expect(200);
    assert_eq!(shown().await, deep);
    put(json!({"settings": {}})).await.expect(200);
    assert_eq!(shown().await, json!({}));
    for wrong in [json!(null), json!([]), json!("{}"), json!(1)] {
        assert_eq!(named(&put(json!({"settings": wrong})).await.expect(422)), ["settings"]);
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_refused_and_writes_nothing() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = world.project(&acme.owner, "Launch").await;
    let task = world.task(&acme.owner, &project, json!({"title": "t"})).await;
    let before = substance(&world);
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(300 * 1024));
    let deep = format!(r#"{{"settings":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    let bodies: Vec<(&[u8], u16)> = vec![
        (large.as_bytes(), 413),
        (deep.as_bytes(), 400),
        (b"{", 400),
        (br#"{"name":"n",}"#, 400),
        (br#"{"name":"n"} trailing"#, 400),
        (br#"{"name":"n","name":"m"}"#, 400),
        (br#"{"settings":{"a":1,"a":2}}"#, 400),
        (b"[]", 400),
        (b"null", 400),
        (b"\"name\"", 400),
        (b"{\"name\":\"\xff\xfe\"}", 400),
        (br#"{"name":"\ud800"}"#, 400),
        (b"\xef\xbb\xbf{", 400),
        (br#"{"name":NaN}"#, 400),
    ];
    for (method, path) in
        [("POST", "/api/v1/projects".to_owned()), ("PUT", path_of(&project)), ("POST", tasks_path(&project)), ("PUT", task_path(&task))]
    {
        for (body, status) in &bodies {
            let answer = world.request(method, &path).token(&acme.owner.token).raw(body).send().await.expect(*status);
            assert_eq!(answer.code(), "BAD_REQUEST", "{method} {path}");
            assert!(answer.text.len() < 500, "an error does not repeat what it was sent: {}", answer.text);
        }
        for kind in ["text/plain", "application/x-www-form-urlencoded"] {
            let request = world.request(method, &path).token(&acme.owner.token).header("content-type", kind);
            let answer = request.json(json!({"name": "n", "title": "t"})).send().await;
            assert_eq!(answer.expect(400).code(), "BAD_REQUEST", "{kind}");
        }
    }
    assert_eq!(substance(&world), before);
    for kind in ["application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json"] {
        world
            .put(path_of(&project))
            .token(&acme.owner.token)
            .header("content-type", kind)
            .json(json!({"name": "n"}))
            .send()
            .await
            .expect(200);
    }
}

#[tokio::test]
async fn every_field_at_fault_is_named_at_once() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = world.project(&acme.owner, "Launch").await;
    let task = world.task(&acme.owner, &project, json!({"title": "t"})).await;
    let before = substance(&world);
    let wrong_project = json!({"name": 7, "description": [], "color": true, "settings": "x", "is_archived": true, "id": MISSING});
    let wrong_task = json!({
        "title": {}, "description": 1.5, "status": 1, "priority": [], "due_date": 20_240_215, "assigned_to": "one", "sort_order": "first",
        "completed_at": null, "tenant_id": 1
    });
    for (method, path, body) in [
        ("POST", "/api/v1/projects".to_owned(), &wrong_project),
        ("PUT", path_of(&project), &wrong_project),
        ("POST", tasks_path(&project), &wrong_task),
        ("PUT", task_path(&task), &wrong_task),
    ] {
        let answer = world.request(method, &path).token(&acme.owner.token).json(body.clone()).send().await.expect(422);
        let mut fields: Vec<_> = body.as_object().expect("an object").keys().cloned().collect();
        fields.sort();
        assert_eq!(named(&answer), fields, "{method} {path}");
    }
    for text in ["a\u{0}b", "\u{1b}[31m", "\u{7f}", "a\u{85}b"] {
        let answer = world
            .post("/api/v1/projects")
            .token(&acme.owner.token)
            .json(json!({"name": text, "description": text}))
            .send()
            .await
            .expect(422);
        assert_eq!(named(&answer), ["description", "name"], "{text:?}");
    }
    let long =
        world.post("/api/v1/projects").token(&acme.owner.token).json(json!({"name": "n", "x".repeat(10_000): 1})).send().await.expect(422);
    assert!(long.text.len() < 500, "{}", long.text);
    assert_eq!(substance(&world), before);
    let trimmed = world
        .post("/api/v1/projects")
        .token(&acme.owner.token)
        .json(json!({"name": "  n  ", "description": "a\n\tb"}))
        .send()
        .await
        .expect(201)
        .json();
    assert_eq!((&trimmed["data"]["name"], &trimmed["data"]["description"]), (&json!("n"), &json!("a\n\tb")));
}

// The HTTP around it.

#[tokio::test]
async fn problem_details_say_the_same_where_they_are_asked_for() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let requests = || {
        [
            (world.get(format!("/api/v1/projects/{MISSING}")).token(&acme.owner.token), 404),
            (world.post("/api/v1/projects").token(&acme.owner.token).json(json!({"x": 1})), 422),
            (world.post("/api/v1/projects").token(&acme.owner.token).raw(b"{"), 400),
            (world.get("/api/v1/projects"), 401),
            (world.get("/api/v1/projects?page=1&page=1").token(&acme.owner.token), 400),
            (world.get("/nowhere"), 404),
            (world.request("PATCH", "/api/v1/projects"), 405),
        ]
    };
    for ((plain, status), (problem, _)) in requests().into_iter().zip(requests()) {
        let plain = plain.send().await.expect(status).json()["error"].clone();
        let answer = problem.header("accept", "application/problem+json, application/json;q=0.5").send().await.expect(status);
        let problem = answer.json();
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!((&problem["status"], &problem["detail"]), (&json!(status), &plain["message"]));
        assert_eq!((&problem["code"], &problem["details"]), (&plain["code"], &plain["details"]));
        assert_eq!(problem["request_id"], answer.header("x-request-id"));
        assert_eq!(problem["type"], format!("urn:tenantry:error:{}", plain["code"].as_str().expect("a code").to_lowercase()));
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()));
    }
}

#[tokio::test]
async fn unknown_paths_are_404_and_other_methods_405() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    for path in [
        "/",
        "/api/v1",
        "/api/v1/nothing",
        "/api/v1/projects/",
        &format!("/api/v1/projects/{MISSING}/members"),
        "/api/v1/tasks/",
        "/API/v1/projects",
        "//api/v1/projects",
    ] {
        assert_eq!(world.get(path).token(&acme.owner.token).send().await.expect(404).code(), "NOT_FOUND", "{path}");
    }
    for (method, path, allowed) in [
        ("DELETE", "/api/v1/projects".to_owned(), "GET,HEAD,POST"),
        ("PATCH", format!("/api/v1/projects/{MISSING}"), "GET,HEAD,PUT,DELETE"),
        ("GET", format!("/api/v1/projects/{MISSING}/archive"), "POST"),
        ("PUT", format!("/api/v1/projects/{MISSING}/tasks"), "GET,HEAD,POST"),
        ("POST", format!("/api/v1/tasks/{MISSING}"), "GET,HEAD,PUT,DELETE"),
        ("GET", format!("/api/v1/tasks/{MISSING}/complete"), "POST"),
        ("GET", "/api/v1/auth/login".to_owned(), "POST"),
    ] {
        let answer = world.request(method, &path).token(&acme.owner.token).send().await.expect(405);
        let sorted = |methods: &str| {
            let mut methods: Vec<_> = methods.split(',').map(|method| method.trim().to_owned()).collect();
            methods.sort();
            methods
        };
        assert_eq!((answer.code().as_str(), sorted(answer.header("allow"))), ("METHOD_NOT_ALLOWED", sorted(allowed)), "{method} {path}");
    }
}

#[tokio::test]
async fn head_answers_as_get_without_a_body() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = world.project(&acme.owner, "Launch").await;
    let task = world.task(&acme.owner, &project, json!({"title": "t"})).await;
    for path in
        ["/api/v1/projects".to_owned(), path_of(&project), tasks_path(&project), task_path(&task), format!("/api/v1/projects/{MISSING}")]
    {
        let get = world.get(&path).token(&acme.owner.token).send().await;
        let head = world.request("HEAD", &path).token(&acme.owner.token).send().await.expect(get.status);
        assert_eq!(head.text, "");
        for name in ["etag", "content-type", "content-length", "link", "x-ratelimit-limit", "cache-control"] {
            assert_eq!(head.header(name), get.header(name), "{path} {name}");
        }
    }
}

/// Sequential calls to the table, on a warm instance, in the session's own tenant. If an answer is recorded after its effect, there is one
/// more call.
#[tokio::test]
async fn no_request_takes_more_round_trips_than_it_may() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let member = world.member(&acme, "member").await;
    let project = world.project(&acme.owner, "Launch").await;
    let doomed = world.project(&acme.owner, "Doomed").await;
    let task = world.task(&acme.owner, &project, json!({"title": "t"})).await;
    let doomed_task = world.task(&acme.owner, &project, json!({"title": "t"})).await;
    let (project_path, task_path) = (path_of(&project), task_path(&task));
    let due = in_days(&world, 1);
    let warm = world.get("/api/v1/projects").token(&acme.owner.token).send().await.expect(200);
    assert!(warm.metered.is_some());
    let mut over = vec![];
    for (method, path, body, bound) in [
        ("GET", "/api/v1/projects".to_owned(), Value::Null, 2),
        ("GET", "/api/v1/projects?archived=true".to_owned(), Value::Null, 2),
        ("GET", "/api/v1/projects?page=2&per_page=1".to_owned(), Value::Null, 2),
        ("GET", "/api/v1/projects?search=a&sort=name".to_owned(), Value::Null, 3),
        ("GET", project_path.clone(), Value::Null, 2),
        ("POST", "/api/v1/projects".to_owned(), json!({"name": "n"}), 2),
        ("PUT", project_path.clone(), json!({"name": "n"}), 2),
        ("POST", format!("{project_path}/archive"), Value::Null, 3),
        ("GET", project_path.clone(), Value::Null, 2),
        ("PUT", project_path.clone(), json!({"name": "m"}), 2),
        ("POST", format!("{project_path}/unarchive"), Value::Null, 3),
        ("GET", tasks_path(&project), Value::Null, 2),
        ("GET", format!("{}?status=todo&my_tasks=false&sort=due_date", tasks_path(&project)), Value::Null, 3),
        ("POST", tasks_path(&project), json!({"title": "t", "due_date": due}), 2),
        ("POST", tasks_path(&project), json!({"title": "t", "assigned_to": member.id}), 2),
        ("GET", task_path.clone(), Value::Null, 2),
        ("PUT", task_path.clone(), json!({"title": "n", "status": "in_progress", "priority": "high", "due_date": due}), 2),
        ("PUT", task_path.clone(), json!({"status": "done"}), 2),
        ("PUT", task_path.clone(), json!({"assigned_to": member.id}), 2),
        ("PUT", task_path.clone(), json!({"assigned_to": null}), 2),
        ("POST", format!("{task_path}/complete"), Value::Null, 2),
        ("DELETE", self::task_path(&doomed_task), Value::Null, 2),
        ("DELETE", path_of(&doomed), Value::Null, 2),
    ] {
        let request = world.request(method, &path).token(&acme.owner.token).header("idempotency-key", &format!("{method} {path} {body}"));
        let request = if body.is_null() { request } else { request.json(body.clone()) };
        let answer = request.send().await;
        let metered = answer.metered.expect("it is measured");
        assert!(answer.status < 300, "{method} {path}: {}", answer.text);
        if metered.round_trips > bound {
            over.push(format!("{method} {path} {body}: {} round trips of {bound}", metered.round_trips));
        }
    }
    assert!(over.is_empty(), "{over:#?}");
}

// Helpers.

/// Repeatable random choices.
struct Dice(Random);

impl Dice {
    fn new(seed: u64) -> Self {
        Dice(Random::seeded(seed))
    }

    fn below(&mut self, sides: usize) -> usize {
        u32::from_be_bytes(self.0.bytes()) as usize % sides
    }

    fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }
}

/// A second version of what the filters of the task list mean.
fn keeps(asked: &[(&str, String)], task: &Value, me: u64, today: &str) -> bool {
    let is_open = STATES[..3].iter().any(|state| task["status"]["value"] == *state);
    asked.iter().all(|(name, value)| {
        let flag = value == "true" || value == "1";
        match *name {
            "status" | "priority" => task[*name]["value"] == value.as_str(),
            "open" => is_open == flag,
            "overdue" => !flag || is_open && task["due_date"].as_str().is_some_and(|due| due < today),
            "assigned_to" => task["assignee"]["id"].as_u64().is_some_and(|number| number.to_string() == *value),
            "my_tasks" => !flag || task["assignee"]["id"] == me,
            // Surrounding white space is ignored in the search.
            "search" => task["title"].as_str().is_some_and(|title| title.to_lowercase().contains(value.to_lowercase().trim())),
            _ => true,
        }
    })
}

/// By the requested field, then by id, both in the same direction.
fn order<K: Ord>(records: &mut [&Value], ascending: bool, key: impl Fn(&Value) -> K) {
    let compare = |left: &&Value, right: &&Value| -> Ordering { (key(left), id(left)).cmp(&(key(right), id(right))) };
    records.sort_by(|left, right| if ascending { compare(left, right) } else { compare(right, left) });
}

/// The whole list, page by page along the links, with the totals of each page.
async fn walk(world: &World, caller: &Caller, list: &str, query: &[String], per_page: usize, by_cursor: bool, total: usize) -> Vec<Value> {
    let mut url = Some(format!("{list}?{}", [query, &[format!("per_page={per_page}")]].concat().join("&")));
    let mut found = vec![];
    while let Some(next) = url {
        let answer = world.get(&next).token(&caller.token).send().await.expect(200).json();
        let shown = answer["data"].as_array().expect("a list");
        assert_eq!(
            (&answer["meta"]["total"], &answer["meta"]["last_page"]),
            (&json!(total), &json!(total.div_ceil(per_page).max(1))),
            "{next}"
        );
        assert!(shown.len() == per_page || shown.len() < per_page && answer["meta"]["next_cursor"].is_null(), "{next}");
        assert_eq!(answer["meta"]["next_cursor"].is_null(), answer["links"]["next"].is_null(), "{next}");
        found.extend(shown.iter().cloned());
        assert!(found.len() <= total, "{next}: more than there are");
        url = match (by_cursor, answer["meta"]["next_cursor"].as_str()) {
            (true, cursor) => cursor.map(|cursor| {
                format!("{list}?{}", [query, &[format!("per_page={per_page}"), format!("cursor={cursor}")]].concat().join("&"))
            }),
            (false, _) => answer["links"]["next"].as_str().map(str::to_owned),
        };
    }
    found
}

/// Everything that is stored, except the counters that every request changes.
fn substance(world: &World) -> Vec<Value> {
    let counts = |item: &Value| item["pk"]["S"].as_str().is_some_and(|pk| pk.starts_with("G#rate#") || pk.ends_with("#usage"));
    world.items().into_iter().filter(|item| !counts(item)).collect()
}

fn named(answer: &Answer) -> Vec<String> {
    answer.details().as_object().expect("details").keys().cloned().collect()
}

fn counted(project: &Value) -> (u64, u64) {
    let count = |name: &str| project[name].as_u64().expect("a count");
    (count("open_tasks_count"), count("completed_tasks_count"))
}

fn path_of(project: &Value) -> String {
    format!("/api/v1/projects/{}", id(project))
}

fn tasks_path(project: &Value) -> String {
    format!("{}/tasks", path_of(project))
}

fn task_path(task: &Value) -> String {
    format!("/api/v1/tasks/{}", id(task))
}

fn in_days(world: &World, days: i64) -> String {
    day(world.clock.now() + SignedDuration::from_hours(24 * days)).to_string()
}

/// Sorted by the letters without marks. Of two that are then equal, the marked one comes second.
fn lower(text: &Value) -> String {
    let lower = text.as_str().expect("text").to_lowercase();
    let plain = lower.replace('ä', "a").replace('é', "e");
    if plain == lower { lower } else { format!("{plain}\0{lower}") }
}

fn rank(words: &[&str], word: &Value) -> i64 {
    words.iter().position(|known| word == *known).expect("a known word") as i64
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() || byte == b'_' { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
