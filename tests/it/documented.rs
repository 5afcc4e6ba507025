//! The API document of this family, example by example and row by row, against the running functions. The JSON below is the document's own.
//! What it abbreviates with `...` is left out, or filled from the full example of the same resource.

use jiff::SignedDuration;
use jiff::civil::Date;
use serde_json::{Map, Value, json};

use crate::world::{Answer, Settings, Tenant, World, id};

// Login, logout, current user.

#[tokio::test]
async fn login_answers_as_documented() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let body = json!({"email": acme.owner.email, "password": acme.owner.password, "device_name": "my-app"});
    let answer = world.post("/api/v1/auth/login").json(body).send().await.expect(200);
    assert_like(
        &answer,
        &json!({
            "success": true,
            "message": "Login successful",
            "data": {"user": user_example(), "token": "1|abc123...", "token_type": "Bearer"}
        }),
        &[],
    );
    let data = &answer.json()["data"];
    assert_eq!((&data["user"]["name"], &data["user"]["email"]), (&json!("Owner of acme"), &json!(acme.owner.email)));
    assert_eq!((&data["user"]["id"], &data["user"]["is_tenant_owner"], &data["token_type"]), (&json!(1), &json!(true), &json!("Bearer")));
    let token = data["token"].as_str().expect("a token");
    world.get("/api/v1/auth/me").token(token).send().await.expect(200);
}

#[tokio::test]
async fn a_login_without_device_name_is_an_api_token() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    world
        .post("/api/v1/auth/login")
        .raw(format!(r#"{{"email":"{}","password":"correct horse"}}"#, acme.owner.email).as_bytes())
        .send()
        .await
        .expect(200);
    let sessions = world.get("/api/v1/auth/sessions").token(&acme.owner.token).send().await.expect(200).json();
    assert!(sessions["data"].as_array().expect("a list").iter().all(|session| session["device_name"] == "api-token"), "{sessions}");
}

#[tokio::test]
async fn wrong_credentials_and_wrong_input_are_422() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    for email in [acme.owner.email.as_str(), "nobody@example.com"] {
        let answer = world.post("/api/v1/auth/login").json(json!({"email": email, "password": "wrong"})).send().await.expect(422);
        assert_error(&answer, "VALIDATION_ERROR");
        assert_eq!(answer.details(), json!({"email": ["These credentials do not match our records."]}));
    }
    let answer = world.post("/api/v1/auth/login").json(json!({"email": "no address", "device_name": 7})).send().await.expect(422);
    assert_eq!(named(&answer), ["device_name", "email", "password"]);
}

#[tokio::test]
async fn an_unverified_address_and_a_system_administrator_are_403() {
    let world = World::new().await;
    let body = json!({"name": "Una", "email": "una@example.com", "password": "correct horse", "company_name": "Una"});
    world.post("/api/v1/auth/register").json(body).send().await.expect(202);
    let login = json!({"email": "una@example.com", "password": "correct horse"});
    assert_error(&world.post("/api/v1/auth/login").json(login).send().await.expect(403), "FORBIDDEN");

    let acme = world.tenant("acme").await;
    let login = json!({"email": acme.owner.email, "password": acme.owner.password});
    rewrite(
        &world,
        |item| item["type"]["S"] == "user" && item["email"]["S"] == acme.owner.email.as_str(),
        |item| item["system_admin"] = json!({"BOOL": true}),
    );
    assert_error(&world.post("/api/v1/auth/login").json(login).send().await.expect(403), "FORBIDDEN");
}

#[tokio::test]
async fn logout_revokes_the_presented_token_only() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let other = world.login(&acme.owner.email, "correct horse").await;
    let answer = world.post("/api/v1/auth/logout").token(&acme.owner.token).send().await.expect(200);
    assert_eq!(answer.json(), json!({"success": true, "message": "Logged out successfully"}));
    assert_error(&world.get("/api/v1/auth/me").token(&acme.owner.token).send().await.expect(401), "UNAUTHORIZED");
    world.get("/api/v1/auth/me").token(&other.token).send().await.expect(200);
}

#[tokio::test]
async fn the_current_user_answers_as_documented() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let answer = world.get("/api/v1/auth/me").token(&acme.owner.token).send().await.expect(200);
    assert_like(&answer, &json!({"success": true, "message": "Success", "data": user_example()}), &[]);
    assert_eq!(answer.json()["message"], "Success");
    let member = world.member(&acme, "member").await;
    let shown = world.get("/api/v1/auth/me").token(&member.token).send().await.expect(200).json();
    assert_eq!((&shown["data"]["is_tenant_owner"], &shown["data"]["id"]), (&json!(false), &json!(member.id)));
}

// Demo.

#[tokio::test]
async fn a_demo_answers_as_documented_and_can_be_used_at_once() {
    let world = World::new().await;
    let answer = demo(&world, "visitor@example.com").await.expect(201);
    assert_like(
        &answer,
        &json!({
            "success": true,
            "message": "Demo tenant created successfully",
            "data": {
                "tenant_id": 123,
                "tenant_slug": "demo-abc123",
                "tenant_url": "https://demo-abc123.example.com",
                "app_url": "https://demo-abc123.example.com/app",
                "email": "visitor@example.com",
                "password": "demo-password-123",
                "expires_at": "2026-01-25T12:00:00+00:00"
            }
        }),
        &[],
    );
    let data = &answer.json()["data"];
    assert_eq!(answer.json()["message"], "Demo tenant created successfully");
    let slug = data["tenant_slug"].as_str().expect("a slug");
    assert!(slug.len() == 11 && slug.starts_with("demo-"), "{slug}");
    assert_eq!(data["tenant_url"], format!("https://{slug}.example.com"));
    assert_eq!(data["app_url"], format!("https://{slug}.example.com/app"));
    assert_eq!(data["email"], "visitor@example.com");
    let caller = world.login("visitor@example.com", data["password"].as_str().expect("a password")).await;
    let projects = world.get("/api/v1/projects").token(&caller.token).send().await.expect(200).json();
    assert_ne!(projects["meta"]["total"], 0, "a demo has sample projects");
}

#[tokio::test]
async fn a_disabled_demo_is_403() {
    let world = World::with(Settings { variables: vec![("DEMO_ENABLED", "false".into())], ..Settings::default() }).await;
    assert_error(&demo(&world, "visitor@example.com").await.expect(403), "FORBIDDEN");
}

#[tokio::test]
async fn a_fourth_demo_within_the_hour_is_429() {
    let world = World::strict().await;
    for n in 0..3 {
        demo(&world, &format!("visitor{n}@example.com")).await.expect(201);
    }
    let answer = demo(&world, "visitor3@example.com").await.expect(429);
    assert_error(&answer, "TOO_MANY_REQUESTS");
    assert_limited(&answer, 3);
    world.advance(SignedDuration::from_hours(1));
    demo(&world, "visitor3@example.com").await.expect(201);
}

#[tokio::test]
async fn production_without_a_demo_secret_is_503() {
    let world =
        World::with(Settings { variables: vec![("STAGE", "prod".into()), ("DEMO_SECRET_ID", String::new())], ..Settings::default() }).await;
    assert_error(&demo(&world, "visitor@example.com").await.expect(503), "SERVICE_UNAVAILABLE");
}

// Projects.

#[tokio::test]
async fn the_list_of_projects_answers_as_documented() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    for n in 0..42 {
        let body = json!({"name": format!("Project {n}"), "description": "Q1 marketing initiatives"});
        world.post("/api/v1/projects").token(&acme.owner.token).json(body).send().await.expect(201);
        world.advance(SignedDuration::from_secs(1));
    }
    let answer = world.get("/api/v1/projects").token(&acme.owner.token).send().await.expect(200);
    let example = json!({
        "data": [project_example()],
        "links": {"first": "/api/v1/projects?page=1", "last": "/api/v1/projects?page=3", "prev": null, "next": "/api/v1/projects?page=2"},
        "meta": {"current_page": 1, "from": 1, "last_page": 3, "per_page": 15, "to": 15, "total": 42}
    });
    assert_like(&answer, &example, &["next_cursor"]);
    let mut list = answer.json();
    assert_eq!(list["links"], example["links"]);
    assert!(list["meta"].as_object_mut().and_then(|meta| meta.remove("next_cursor")).is_some_and(|cursor| cursor.is_string()));
    assert_eq!(list["meta"], example["meta"]);
    let names: Vec<_> = list["data"].as_array().expect("a list").iter().map(|project| project["name"].clone()).collect();
    assert_eq!(names, (27..42).rev().map(|n| json!(format!("Project {n}"))).collect::<Vec<_>>(), "newest first, 15 of them");
}

#[tokio::test]
async fn every_parameter_of_the_list_of_projects_is_taken() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    for name in ["Beta", "Alpha", "Gamma"] {
        world.project(&acme.owner, name).await;
        world.advance(SignedDuration::from_secs(1));
    }
    let shelved = world.project(&acme.owner, "Shelved").await;
    world.post(format!("/api/v1/projects/{}/archive", id(&shelved))).token(&acme.owner.token).send().await.expect(200);
    for (query, expected) in [
        ("", vec!["Gamma", "Alpha", "Beta"]),
        ("search=ALPH", vec!["Alpha"]),
        ("archived=true", vec!["Shelved"]),
        ("archived=false", vec!["Gamma", "Alpha", "Beta"]),
        ("sort=name", vec!["Gamma", "Beta", "Alpha"]),
        ("sort=created_at&direction=asc", vec!["Beta", "Alpha", "Gamma"]),
        ("sort=updated_at&direction=desc", vec!["Gamma", "Alpha", "Beta"]),
        ("direction=asc&per_page=1&page=2", vec!["Alpha"]),
    ] {
        let list = world.get(format!("/api/v1/projects?{query}")).token(&acme.owner.token).send().await.expect(200).json();
        let names: Vec<_> =
            list["data"].as_array().expect("a list").iter().map(|project| project["name"].as_str().unwrap_or_default()).collect();
        assert_eq!(names, expected, "{query}");
    }
    for wrong in ["sort=color", "direction=up", "archived=maybe", "per_page=101", "page=0"] {
        let answer = world.get(format!("/api/v1/projects?{wrong}")).token(&acme.owner.token).send().await.expect(422);
        assert_eq!(named(&answer), [wrong.split('=').next().expect("a name")]);
    }
}

#[tokio::test]
async fn creating_a_project_answers_as_documented() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let body = json!({"name": "New Project", "description": "Description", "color": "#3B82F6", "settings": {}});
    let answer = world.post("/api/v1/projects").token(&acme.owner.token).json(body.clone()).send().await.expect(201);
    let mut example = project_example();
    // The document's answer to a creation has no counts. Ours has them with the value 0, which does not disturb a client of the document.
    let fields = example.as_object_mut().expect("an object");
    let counts = ["open_tasks_count", "completed_tasks_count"];
    counts.iter().for_each(|count| assert!(fields.remove(*count).is_some()));
    assert_like(&answer, &json!({"success": true, "message": "Project created successfully", "data": example}), &counts);
    let created = answer.json();
    assert_eq!(created["message"], "Project created successfully");
    for field in ["name", "description", "color", "settings"] {
        assert_eq!(created["data"][field], body[field], "{field}");
    }
    assert_eq!((&created["data"]["is_archived"], &created["data"]["open_tasks_count"]), (&json!(false), &json!(0)));

    let least = world.post("/api/v1/projects").token(&acme.owner.token).json(json!({"name": "Least"})).send().await.expect(201).json();
    assert_eq!(
        (&least["data"]["description"], &least["data"]["color"], &least["data"]["settings"]),
        (&Value::Null, &json!("#3B82F6"), &json!({}))
    );
}

#[tokio::test]
async fn the_documented_bounds_of_a_project_hold() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let create = |body: Value| world.post("/api/v1/projects").token(&acme.owner.token).json(body).send();
    create(json!({"name": "ü".repeat(255), "description": "ü".repeat(5000), "color": "#a1B2c3"})).await.expect(201);
    for (wrong, field) in [
        (json!({}), "name"),
        (json!({"name": ""}), "name"),
        (json!({"name": null}), "name"),
        (json!({"name": "n".repeat(256)}), "name"),
        (json!({"name": "n", "description": "d".repeat(5001)}), "description"),
        (json!({"name": "n", "color": "3B82F6"}), "color"),
        (json!({"name": "n", "color": "#3B82F"}), "color"),
        (json!({"name": "n", "color": "#3B82FG"}), "color"),
        (json!({"name": "n", "settings": []}), "settings"),
    ] {
        let answer = create(wrong).await.expect(422);
        assert_error(&answer, "VALIDATION_ERROR");
        assert_eq!(named(&answer), [field]);
    }
}

#[tokio::test]
async fn reading_a_project_answers_as_documented() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = documented_project(&world, &acme).await;
    for status in ["todo", "in_progress", "in_review", "done", "done", "cancelled"] {
        world.task(&acme.owner, &project, json!({"title": "t", "status": status})).await;
    }
    let answer = world.get(path_of(&project)).token(&acme.owner.token).send().await.expect(200);
    assert_like(&answer, &json!({"success": true, "message": "Success", "data": project_example()}), &[]);
    assert_eq!(answer.json()["message"], "Success");
    let data = &answer.json()["data"];
    assert_eq!((&data["open_tasks_count"], &data["completed_tasks_count"]), (&json!(3), &json!(2)));
}

#[tokio::test]
async fn updating_a_project_answers_as_documented() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = documented_project(&world, &acme).await;
    world.advance(SignedDuration::from_secs(5));
    let body = json!({"name": "Updated Name", "description": "Updated description", "color": "#10B981"});
    let answer = world.put(path_of(&project)).token(&acme.owner.token).json(body.clone()).send().await.expect(200);
    assert_like(&answer, &json!({"success": true, "message": "Project updated successfully", "data": project_example()}), &[]);
    let updated = answer.json();
    assert_eq!(updated["message"], "Project updated successfully");
    for field in ["name", "description", "color"] {
        assert_eq!(updated["data"][field], body[field], "{field}");
    }
    assert_eq!(updated["data"]["created_at"], project["created_at"]);
    assert_ne!(updated["data"]["updated_at"], project["updated_at"]);
}

#[tokio::test]
async fn deleting_a_project_answers_as_documented() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = world.project(&acme.owner, "Doomed").await;
    let answer = world.delete(path_of(&project)).token(&acme.owner.token).send().await.expect(200);
    assert_eq!(answer.json(), json!({"success": true, "message": "Project deleted successfully"}));
    assert_error(&world.get(path_of(&project)).token(&acme.owner.token).send().await.expect(404), "NOT_FOUND");
}

#[tokio::test]
async fn archiving_and_unarchiving_answer_as_documented() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = documented_project(&world, &acme).await;
    // Each action twice: the second time changes nothing.
    for (action, message, is_archived) in [
        ("archive", "Project archived successfully", true),
        ("archive", "Project archived successfully", true),
        ("unarchive", "Project unarchived successfully", false),
        ("unarchive", "Project unarchived successfully", false),
    ] {
        let answer = world.post(format!("{}/{action}", path_of(&project))).token(&acme.owner.token).send().await.expect(200);
        assert_like(&answer, &json!({"success": true, "message": message, "data": project_example()}), &[]);
        assert_eq!(answer.json()["message"], message);
        assert_eq!(answer.json()["data"]["is_archived"], is_archived);
        let listed = world.get("/api/v1/projects").token(&acme.owner.token).send().await.expect(200).json();
        assert_eq!(listed["meta"]["total"], u64::from(!is_archived), "hidden from the default list");
    }
}

// Tasks.

#[tokio::test]
async fn the_list_of_tasks_answers_as_documented() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = documented_project(&world, &acme).await;
    for _ in 0..16 {
        documented_task(&world, &acme, &project).await;
    }
    let path = format!("{}/tasks", path_of(&project));
    let answer = world.get(&path).token(&acme.owner.token).send().await.expect(200);
    let example = json!({
        "data": [task_example()],
        "links": {"first": format!("{path}?page=1"), "last": format!("{path}?page=2"), "prev": null, "next": format!("{path}?page=2")},
        "meta": {"current_page": 1, "from": 1, "last_page": 2, "per_page": 15, "to": 15, "total": 16}
    });
    assert_like(&answer, &example, &["next_cursor"]);
    assert_eq!(answer.json()["links"], example["links"]);
}

#[tokio::test]
async fn every_parameter_of_the_list_of_tasks_is_taken() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = world.project(&acme.owner, "Launch").await;
    let due = |days: i64| in_days(&world, days);
    for body in [
        json!({"title": "Alpha", "status": "todo", "priority": "urgent", "due_date": due(1), "sort_order": 3, "assigned_to": acme.owner.id}),
        json!({"title": "Beta", "status": "done", "priority": "low", "due_date": due(9), "sort_order": 1}),
        json!({"title": "Gamma", "status": "in_review", "priority": "medium", "due_date": due(5), "sort_order": 2}),
    ] {
        world.task(&acme.owner, &project, body).await;
        world.advance(SignedDuration::from_secs(1));
    }
    world.advance(SignedDuration::from_hours(3 * 24));
    let path = format!("{}/tasks", path_of(&project));
    let mine = format!("assigned_to={}", acme.owner.id);
    for (query, expected) in [
        ("status=in_review", vec!["Gamma"]),
        ("priority=low", vec!["Beta"]),
        ("open=true", vec!["Gamma", "Alpha"]),
        ("open=false", vec!["Beta"]),
        ("overdue=true", vec!["Alpha"]),
        (&mine, vec!["Alpha"]),
        ("my_tasks=true", vec!["Alpha"]),
        ("search=eta", vec!["Beta"]),
        ("sort=title", vec!["Gamma", "Beta", "Alpha"]),
        ("sort=status&direction=asc", vec!["Alpha", "Gamma", "Beta"]),
        ("sort=priority&direction=asc", vec!["Beta", "Gamma", "Alpha"]),
        ("sort=due_date&direction=asc", vec!["Alpha", "Gamma", "Beta"]),
        ("sort=created_at&direction=asc", vec!["Alpha", "Beta", "Gamma"]),
        ("sort=sort_order&direction=desc", vec!["Alpha", "Gamma", "Beta"]),
        ("per_page=1", vec!["Gamma"]),
    ] {
        let list = world.get(format!("{path}?{query}")).token(&acme.owner.token).send().await.expect(200).json();
        let titles: Vec<_> =
            list["data"].as_array().expect("a list").iter().map(|task| task["title"].as_str().unwrap_or_default()).collect();
        assert_eq!(titles, expected, "{query}");
    }
    for wrong in [
        "status=open",
        "priority=none",
        "open=perhaps",
        "overdue=2",
        "assigned_to=me",
        "my_tasks=x",
        "sort=updated_at",
        "direction=down",
        "per_page=0",
    ] {
        let answer = world.get(format!("{path}?{wrong}")).token(&acme.owner.token).send().await.expect(422);
        assert_eq!(named(&answer), [wrong.split('=').next().expect("a name")]);
    }
}

#[tokio::test]
async fn creating_a_task_answers_as_documented() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = world.project(&acme.owner, "Launch").await;
    let path = format!("{}/tasks", path_of(&project));
    let body = json!({
        "title": "New Task", "description": "Task description", "status": "todo", "priority": "medium",
        "due_date": in_days(&world, 0), "assigned_to": 1, "sort_order": 0
    });
    let answer = world.post(&path).token(&acme.owner.token).json(body.clone()).send().await.expect(201);
    assert_like(&answer, &json!({"success": true, "message": "Task created successfully", "data": task_example()}), &[]);
    let created = answer.json();
    assert_eq!(created["message"], "Task created successfully");
    for field in ["title", "description", "due_date", "sort_order"] {
        assert_eq!(created["data"][field], body[field], "{field}");
    }
    let owner = json!({"id": 1, "name": "Owner of acme", "email": acme.owner.email});
    assert_eq!((&created["data"]["assignee"], &created["data"]["creator"]), (&owner, &owner));

    let least = world.post(&path).token(&acme.owner.token).json(json!({"title": "Least"})).send().await.expect(201).json()["data"].clone();
    assert_eq!(
        (&least["status"]["value"], &least["priority"]["value"], &least["sort_order"]),
        (&json!("todo"), &json!("medium"), &json!(0))
    );
    for empty in ["description", "due_date", "assignee", "completed_at"] {
        assert_eq!(least[empty], Value::Null, "{empty}");
    }
}

#[tokio::test]
async fn the_documented_bounds_of_a_task_hold() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = world.project(&acme.owner, "Launch").await;
    let create = |body: Value| world.post(format!("{}/tasks", path_of(&project))).token(&acme.owner.token).json(body).send();
    create(json!({"title": "ü".repeat(255), "description": "ü".repeat(10_000), "due_date": in_days(&world, 0), "sort_order": -5}))
        .await
        .expect(201);
    for (wrong, field) in [
        (json!({}), "title"),
        (json!({"title": "t".repeat(256)}), "title"),
        (json!({"title": "t", "description": "d".repeat(10_001)}), "description"),
        (json!({"title": "t", "status": "open"}), "status"),
        (json!({"title": "t", "priority": "highest"}), "priority"),
        (json!({"title": "t", "due_date": in_days(&world, -1)}), "due_date"),
        (json!({"title": "t", "due_date": "15.02.2124"}), "due_date"),
        (json!({"title": "t", "due_date": "2124-02-30"}), "due_date"),
        (json!({"title": "t", "assigned_to": 999}), "assigned_to"),
        (json!({"title": "t", "assigned_to": "1"}), "assigned_to"),
        (json!({"title": "t", "sort_order": 1.5}), "sort_order"),
    ] {
        let answer = create(wrong).await.expect(422);
        assert_error(&answer, "VALIDATION_ERROR");
        assert_eq!(named(&answer), [field]);
    }
}

#[tokio::test]
async fn states_and_priorities_are_shown_with_label_and_color() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = world.project(&acme.owner, "Launch").await;
    for (value, label, color, is_open) in [
        ("todo", "To Do", "gray", true),
        ("in_progress", "In Progress", "blue", true),
        ("in_review", "In Review", "yellow", true),
        ("done", "Done", "green", false),
        ("cancelled", "Cancelled", "red", false),
    ] {
        let task = world.task(&acme.owner, &project, json!({"title": "t", "status": value})).await;
        assert_eq!(task["status"], json!({"value": value, "label": label, "color": color, "is_open": is_open}));
    }
    for (value, label, color) in
        [("low", "Low", "gray"), ("medium", "Medium", "blue"), ("high", "High", "orange"), ("urgent", "Urgent", "red")]
    {
        let task = world.task(&acme.owner, &project, json!({"title": "t", "priority": value})).await;
        assert_eq!(task["priority"], json!({"value": value, "label": label, "color": color}));
    }
}

#[tokio::test]
async fn reading_a_task_answers_as_documented() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = documented_project(&world, &acme).await;
    let task = documented_task(&world, &acme, &project).await;
    let answer = world.get(task_path(&task)).token(&acme.owner.token).send().await.expect(200);
    assert_like(&answer, &json!({"success": true, "message": "Success", "data": task_example()}), &[]);
    let shown = answer.json();
    assert_eq!((&shown["message"], &shown["data"]), (&json!("Success"), &task));
    let example = task_example();
    for field in ["title", "description", "status", "priority", "completed_at", "is_overdue", "is_due_soon", "sort_order"] {
        assert_eq!(task[field], example[field], "{field}");
    }
}

#[tokio::test]
async fn updating_a_task_answers_as_documented() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let second = world.member(&acme, "member").await;
    assert_eq!(second.id, 2);
    let project = documented_project(&world, &acme).await;
    let task = documented_task(&world, &acme, &project).await;
    let body =
        json!({"title": "Updated Title", "status": "in_progress", "priority": "high", "due_date": in_days(&world, 30), "assigned_to": 2});
    let answer = world.put(task_path(&task)).token(&acme.owner.token).json(body.clone()).send().await.expect(200);
    assert_like(&answer, &json!({"success": true, "message": "Task updated successfully", "data": task_example()}), &[]);
    let updated = answer.json();
    assert_eq!(updated["message"], "Task updated successfully");
    let data = &updated["data"];
    assert_eq!((&data["title"], &data["due_date"]), (&body["title"], &body["due_date"]));
    assert_eq!(
        (&data["status"]["value"], &data["priority"]["value"], &data["assignee"]["id"]),
        (&body["status"], &body["priority"], &json!(2))
    );
    assert_eq!((&data["description"], &data["creator"]), (&task["description"], &task["creator"]));
}

#[tokio::test]
async fn deleting_a_task_answers_as_documented() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = documented_project(&world, &acme).await;
    let task = documented_task(&world, &acme, &project).await;
    let answer = world.delete(task_path(&task)).token(&acme.owner.token).send().await.expect(200);
    assert_eq!(answer.json(), json!({"success": true, "message": "Task deleted successfully"}));
    assert_error(&world.get(task_path(&task)).token(&acme.owner.token).send().await.expect(404), "NOT_FOUND");
}

#[tokio::test]
async fn completing_a_task_answers_as_documented() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = documented_project(&world, &acme).await;
    let task = documented_task(&world, &acme, &project).await;
    let answer = world.post(format!("{}/complete", task_path(&task))).token(&acme.owner.token).send().await.expect(200);
    let mut example = task_example();
    let status = json!({"value": "done", "label": "Done", "color": "green", "is_open": false});
    (example["status"], example["completed_at"], example["is_due_soon"]) =
        (status.clone(), json!("2024-01-15T10:30:00+00:00"), json!(false));
    assert_like(&answer, &json!({"success": true, "message": "Task marked as completed", "data": example}), &[]);
    assert_eq!((&answer.json()["message"], &answer.json()["data"]["status"]), (&json!("Task marked as completed"), &status));
}

// Errors.

#[tokio::test]
async fn every_error_has_the_one_body() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let viewer = world.member(&acme, "viewer").await;
    let missing = "/api/v1/projects/550e8400-e29b-41d4-a716-446655440000";
    for (request, status, code) in [
        (world.post("/api/v1/projects").token(&acme.owner.token).raw(b"{"), 400, "BAD_REQUEST"),
        (world.get("/api/v1/projects"), 401, "UNAUTHORIZED"),
        (world.get("/api/v1/projects").token("1|abc123"), 401, "UNAUTHORIZED"),
        (world.post("/api/v1/projects").token(&viewer.token).json(json!({"name": "n"})), 403, "FORBIDDEN"),
        (world.get(missing).token(&acme.owner.token), 404, "NOT_FOUND"),
        (world.post("/api/v1/projects").token(&acme.owner.token).json(json!({})), 422, "VALIDATION_ERROR"),
    ] {
        assert_error(&request.send().await.expect(status), code);
    }
}

#[tokio::test]
async fn our_own_failure_is_500_and_says_nothing_of_the_cause() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = world.project(&acme.owner, "Launch").await;
    rewrite(&world, |item| item["type"]["S"] == "project", |item| item["version"] = json!({"S": "broken"}));
    let answer = world.get(path_of(&project)).token(&acme.owner.token).send().await.expect(500);
    assert_error(&answer, "INTERNAL_SERVER_ERROR");
    assert_eq!(answer.json()["error"]["message"], "Something went wrong on our side.");
    assert_eq!(answer.details(), json!({}));
}

// Limits.

#[tokio::test]
async fn reads_are_limited_to_120_and_writes_to_60_a_minute() {
    let world = World::strict().await;
    let acme = world.tenant("acme").await;
    begin_day(&world);
    for (limit, method, path) in [(120, "GET", "/api/v1/projects"), (60, "PUT", "/api/v1/projects/550e8400-e29b-41d4-a716-446655440000")] {
        let send = || world.request(method, path).token(&acme.owner.token).json(json!({})).send();
        for used in 1..=limit {
            let answer = send().await;
            assert_ne!(answer.status, 429, "request {used}");
            assert_eq!(answer.header("x-ratelimit-limit"), limit.to_string());
            assert_eq!(answer.header("x-ratelimit-remaining"), (limit - used).to_string());
            assert_eq!(answer.header("retry-after"), "");
        }
        let refused = send().await.expect(429);
        assert_error(&refused, "TOO_MANY_REQUESTS");
        assert_limited(&refused, limit);
        let seconds: i64 = refused.header("retry-after").parse().expect("seconds");
        world.advance(SignedDuration::from_secs(seconds));
        assert_ne!(send().await.status, 429);
    }
}

#[tokio::test]
async fn logins_are_limited_to_10_a_minute() {
    let world = World::strict().await;
    let acme = world.tenant("acme").await;
    world.advance(SignedDuration::from_mins(2));
    let login =
        || world.post("/api/v1/auth/login").at_ip("203.0.113.9").json(json!({"email": acme.owner.email, "password": "wrong"})).send();
    for _ in 0..10 {
        let answer = login().await.expect(422);
        assert_eq!(answer.header("x-ratelimit-limit"), "10");
    }
    let answer = login().await.expect(429);
    assert_error(&answer, "TOO_MANY_REQUESTS");
    assert_limited(&answer, 10);
}

#[tokio::test]
async fn the_daily_quota_of_the_plan_ends_at_midnight() {
    let world = World::with(Settings { strict: true, variables: vec![("RATE_READ", "1000000".into())], ..Settings::default() }).await;
    let acme = world.tenant("acme").await;
    begin_day(&world);
    for n in 1..=1000 {
        let answer = world.get("/api/v1/projects").token(&acme.owner.token).send().await;
        assert_eq!(answer.status, 200, "request {n}: {}", answer.text);
    }
    let refused = world.get("/api/v1/projects").token(&acme.owner.token).send().await.expect(429);
    assert_error(&refused, "TOO_MANY_REQUESTS");
    assert_eq!((&refused.details()["quota"], &refused.details()["limit"]), (&json!("api_requests_per_day"), &json!(1000)));
    let seconds: i64 = refused.header("retry-after").parse().expect("seconds");
    world.advance(SignedDuration::from_secs(seconds - 1));
    world.get("/api/v1/projects").token(&acme.owner.token).send().await.expect(429);
    world.advance(SignedDuration::from_secs(1));
    world.get("/api/v1/projects").token(&acme.owner.token).send().await.expect(200);
}

// Tenant isolation. The sweep over all routes is a separate test.

#[tokio::test]
async fn another_tenants_resources_are_404() {
    let world = World::new().await;
    let (acme, rival) = (world.tenant("acme").await, world.tenant("rival").await);
    let project = world.project(&acme.owner, "Secret").await;
    let task = world.task(&acme.owner, &project, json!({"title": "Secret"})).await;
    for path in [path_of(&project), format!("{}/tasks", path_of(&project)), task_path(&task)] {
        world.get(path).token(&rival.owner.token).send().await.expect(404);
    }
    let listed = world.get("/api/v1/projects").token(&rival.owner.token).send().await.expect(200).json();
    assert_eq!((&listed["data"], &listed["meta"]["total"]), (&json!([]), &json!(0)));
}

#[tokio::test]
async fn integers_are_no_resource_ids() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    for path in ["/api/v1/projects/1", "/api/v1/projects/1/tasks", "/api/v1/tasks/1"] {
        assert_error(&world.get(path).token(&acme.owner.token).send().await.expect(404), "NOT_FOUND");
    }
}

#[tokio::test]
async fn the_curl_examples_work_in_a_row() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = world.project(&acme.owner, "Launch").await;
    let body = format!(r#"{{"email":"{}","password":"{}"}}"#, acme.owner.email, acme.owner.password);
    let login = world.post("/api/v1/auth/login").header("content-type", "application/json").raw(body.as_bytes()).send().await.expect(200);
    let token = login.json()["data"]["token"].as_str().expect("a token").to_owned();
    let listed = world.get("/api/v1/projects").token(&token).send().await.expect(200).json();
    assert_eq!(listed["data"][0]["id"], project["id"]);
    let created = world
        .post(format!("{}/tasks", path_of(&project)))
        .token(&token)
        .header("content-type", "application/json")
        .raw(br#"{"title":"New Task","priority":"high"}"#)
        .send()
        .await
        .expect(201)
        .json();
    assert_eq!((&created["data"]["title"], &created["data"]["priority"]["value"]), (&json!("New Task"), &json!("high")));
}

// The document's examples.

fn user_example() -> Value {
    json!({
        "id": 1,
        "name": "John Doe",
        "email": "john@example.com",
        "email_verified_at": "2024-01-01T00:00:00+00:00",
        "is_tenant_owner": true,
        "created_at": "2024-01-01T00:00:00+00:00",
        "updated_at": "2024-01-01T00:00:00+00:00"
    })
}

fn project_example() -> Value {
    json!({
        "id": "550e8400-e29b-41d4-a716-446655440000",
        "name": "Marketing Campaign",
        "description": "Q1 marketing initiatives",
        "color": "#3B82F6",
        "is_archived": false,
        "settings": {},
        "open_tasks_count": 5,
        "completed_tasks_count": 12,
        "created_at": "2024-01-01T00:00:00+00:00",
        "updated_at": "2024-01-01T00:00:00+00:00"
    })
}

fn task_example() -> Value {
    json!({
        "id": "550e8400-e29b-41d4-a716-446655440001",
        "title": "Design homepage mockup",
        "description": "Create wireframes for the new homepage",
        "status": {"value": "in_progress", "label": "In Progress", "color": "blue", "is_open": true},
        "priority": {"value": "high", "label": "High", "color": "orange"},
        "due_date": "2024-02-15",
        "completed_at": null,
        "is_overdue": false,
        "is_due_soon": true,
        "sort_order": 1,
        "assignee": {"id": 1, "name": "John Doe", "email": "john@example.com"},
        "creator": {"id": 2, "name": "Jane Smith", "email": "jane@example.com"},
        "created_at": "2024-01-01T00:00:00+00:00",
        "updated_at": "2024-01-01T00:00:00+00:00"
    })
}

// Helpers.

async fn demo(world: &World, email: &str) -> Answer {
    let body = json!({"email": email, "name": "Demo User", "company_name": "Demo Company"});
    world.post("/api/v1/demo").at_ip("203.0.113.7").json(body).send().await
}

async fn documented_project(world: &World, tenant: &Tenant) -> Value {
    let body = json!({"name": "Marketing Campaign", "description": "Q1 marketing initiatives"});
    world.post("/api/v1/projects").token(&tenant.owner.token).json(body).send().await.expect(201).json()["data"].clone()
}

async fn documented_task(world: &World, tenant: &Tenant, project: &Value) -> Value {
    let body = json!({
        "title": "Design homepage mockup", "description": "Create wireframes for the new homepage", "status": "in_progress",
        "priority": "high", "due_date": in_days(world, 2), "assigned_to": tenant.owner.id, "sort_order": 1
    });
    world.task(&tenant.owner, project, body).await
}

fn path_of(project: &Value) -> String {
    format!("/api/v1/projects/{}", id(project))
}

fn task_path(task: &Value) -> String {
    format!("/api/v1/tasks/{}", id(task))
}

fn in_days(world: &World, days: i64) -> String {
    use shared::clock::Clock;
    shared::model::time::day(world.clock.now() + SignedDuration::from_hours(24 * days)).to_string()
}

/// Half a minute past the next midnight, so that neither a minute nor a day ends during the test.
fn begin_day(world: &World) {
    use shared::clock::Clock;
    let second = world.clock.now().as_second();
    world.advance(SignedDuration::from_secs(86_400 - second.rem_euclid(86_400) + 30));
}

/// Changes the chosen items directly in the table.
fn rewrite(world: &World, meant: impl Fn(&Value) -> bool, change: impl Fn(&mut Value)) {
    for mut item in world.items().into_iter().filter(|item| meant(item)) {
        change(&mut item);
        let request = json!({"TableName": world.table_name(), "Item": item});
        world.aws.database().put_item(serde_json::from_value(request).expect("an item")).expect("the item is written");
    }
}

/// The fields that a validation error names.
fn named(answer: &Answer) -> Vec<String> {
    answer.details().as_object().expect("details").keys().cloned().collect()
}

#[track_caller]
fn assert_error(answer: &Answer, code: &str) {
    let body = answer.json();
    let error = body["error"].as_object().expect("an error");
    assert_eq!(body.as_object().map(Map::len), Some(2), "{body}");
    assert_eq!((&body["success"], &error["code"]), (&json!(false), &json!(code)), "{body}");
    assert_eq!(
        error.keys().collect::<std::collections::BTreeSet<_>>(),
        ["code", "details", "message", "request_id"].map(String::from).iter().collect()
    );
    assert!(error["message"].as_str().is_some_and(|message| message.ends_with('.')), "a sentence: {body}");
    assert_eq!(error["request_id"], answer.header("x-request-id"));
    let details = error["details"].as_object().expect("details are an object");
    if code == "VALIDATION_ERROR" {
        let sentences =
            |messages: &Value| messages.as_array().is_some_and(|messages| !messages.is_empty() && messages.iter().all(Value::is_string));
        assert!(!details.is_empty() && details.values().all(sentences), "{body}");
    }
    assert_eq!(answer.header("content-type"), "application/json");
}

#[track_caller]
fn assert_limited(answer: &Answer, limit: u64) {
    assert_eq!((answer.header("x-ratelimit-limit"), answer.header("x-ratelimit-remaining")), (limit.to_string().as_str(), "0"));
    assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| (1..=3600).contains(&seconds)), "{:?}", answer.headers);
    for name in ["x-ratelimit-reset", "ratelimit-policy", "ratelimit"] {
        assert_ne!(answer.header(name), "", "{name}");
    }
}

/// The answer has exactly the fields of the document's example, with the same types and forms. `extras` are our additional fields.
#[track_caller]
fn assert_like(answer: &Answer, example: &Value, extras: &[&str]) {
    assert_eq!(answer.header("content-type"), "application/json");
    if let Some(difference) = difference("", &answer.json(), example, extras) {
        panic!("{difference}\n{}", answer.text);
    }
}

fn difference(path: &str, actual: &Value, example: &Value, extras: &[&str]) -> Option<String> {
    let wrong = |what: &str| Some(format!("{path} {what}: {actual}"));
    match (actual, example) {
        (Value::Object(actual), Value::Object(example)) => {
            let missing = example.keys().find(|key| !actual.contains_key(*key)).map(|key| format!("{path}.{key} is missing"));
            let added = || {
                actual
                    .keys()
                    .find(|key| !example.contains_key(*key) && !extras.contains(&key.as_str()))
                    .map(|key| format!("{path}.{key} is not documented"))
            };
            let inner = || example.iter().find_map(|(key, example)| difference(&format!("{path}.{key}"), &actual[key], example, extras));
            missing.or_else(added).or_else(inner)
        }
        (Value::Array(actual), Value::Array(example)) => {
            actual.iter().find_map(|actual| difference(&format!("{path}[]"), actual, &example[0], extras))
        }
        (Value::String(actual), Value::String(example)) if form_of(actual) != form_of(example) => {
            wrong(&format!("should look like {example}"))
        }
        (Value::Number(actual), Value::Number(_)) if !actual.is_i64() && !actual.is_u64() => wrong("should be an integer"),
        _ if std::mem::discriminant(actual) != std::mem::discriminant(example) => wrong(&format!("should be like {example}")),
        _ => None,
    }
}

#[derive(Debug, PartialEq)]
enum TextForm {
    Moment,
    Day,
    Uuid,
    Color,
    Text,
}

fn form_of(text: &str) -> TextForm {
    let is_moment = text.len() == 25 && text.ends_with("+00:00") && text.parse::<jiff::Timestamp>().is_ok();
    match text {
        _ if is_moment => TextForm::Moment,
        _ if text.len() == 10 && text.parse::<Date>().is_ok() => TextForm::Day,
        _ if records::project::ProjectId::parse(text).is_some() => TextForm::Uuid,
        _ if text.len() == 7 && text.starts_with('#') => TextForm::Color,
        _ => TextForm::Text,
    }
}
