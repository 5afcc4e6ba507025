//! Workspaces: which one a request means, who may enter it, and that nothing leads from one into another.

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::workers::{Workers, drain};
use crate::world::{Answer, Caller, Settings, Tenant, World, claims_of, id};

const ALL: &str = "/api/v1/tenant/workspaces";

pub(crate) async fn workspace(world: &World, caller: &Caller, name: &str) -> Value {
    // Ids of one second have no order, and the oldest is the one that counts where none is named.
    world.advance(SignedDuration::from_secs(1));
    world.post(ALL).token(&caller.token).json(json!({"name": name})).send().await.expect(201).json()["data"].clone()
}

pub(crate) async fn add(world: &World, by: &Caller, workspace: &str, who: &Caller, role: &str) -> Answer {
    let body = json!({"email": who.email, "role": role});
    world.post(format!("{ALL}/{workspace}/members")).token(&by.token).json(body).send().await
}

async fn names(world: &World, caller: &Caller) -> Vec<String> {
    let answer = world.get(ALL).token(&caller.token).send().await.expect(200).json();
    let total = answer["pagination"]["total"].as_u64().expect("a total");
    let names: Vec<String> =
        answer["data"].as_array().expect("a list").iter().map(|one| one["name"].as_str().expect("a name").to_owned()).collect();
    assert_eq!(total, names.len() as u64);
    names
}

#[tokio::test]
async fn the_documented_shapes_are_met() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let created = world.post(ALL).token(&own.owner.token).json(json!({"name": "Acme Corp", "slug": "acme"})).send().await.expect(201);
    let workspace = created.json()["data"]["id"].as_str().expect("an id").to_owned();
    assert!(workspace.starts_with("ws_"));
    assert_eq!(created.json(), json!({"success": true, "data": {"id": workspace, "name": "Acme Corp", "slug": "acme"}}));
    let listed = world.get(ALL).token(&own.owner.token).send().await.expect(200);
    let item =
        json!({"id": workspace, "name": "Acme Corp", "slug": "acme", "role": "owner", "stats": {"active_campaigns": 0, "total_leads": 0}});
    assert_eq!(
        listed.json(),
        json!({
            "success": true, "data": [item],
            "pagination": {"total": 1, "limit": 20, "offset": 0, "has_more": false, "next_cursor": null},
        })
    );
    for name in ["acme", "ACME", &workspace] {
        let shown = world.get(format!("{ALL}/{name}")).token(&own.owner.token).send().await.expect(200).json()["data"].clone();
        assert_eq!(shown["settings"]["timezone"], "UTC");
        assert_eq!(shown["settings"]["branding"], json!({"logo_url": null}));
        assert_eq!(shown["members"], json!([{"user_id": own.owner.id, "role": "owner"}]));
    }
    let missing = world.get(format!("{ALL}/nobody")).token(&own.owner.token).send().await.expect(404);
    assert_eq!((missing.code().as_str(), missing.json()["error"]["message"].as_str()), ("RESOURCE_NOT_FOUND", Some("Workspace not found")));
}

#[tokio::test]
async fn slugs_are_unique_in_their_tenant_and_made_of_the_name() {
    let world = World::new().await;
    let (own, neighbour) = (world.tenant("acme").await, world.tenant("globex").await);
    let create = async |tenant: &Tenant, body: Value| world.post(ALL).token(&tenant.owner.token).json(body).send().await;
    for slug in ["osterreich", "osterreich-1", "osterreich-2"] {
        let made = create(&own, json!({"name": "Österreich"})).await.expect(201);
        assert_eq!(made.json()["data"]["slug"], slug);
    }
    // A UUID would be taken for an id, so it is none of its own.
    let uuid = "550e8400-e29b-41d4-a716-446655440000";
    for slug in [format!("workspace-{uuid}"), format!("{uuid}-1")] {
        let made = create(&own, json!({"name": uuid})).await.expect(201).json()["data"].clone();
        assert_eq!(made["slug"], slug);
        let shown = world.get(format!("{ALL}/{slug}")).token(&own.owner.token).send().await.expect(200);
        assert_eq!(shown.json()["data"]["id"], made["id"]);
    }
    assert_eq!(names(&world, &own.owner).await.iter().filter(|name| *name == uuid).count(), 2);
    create(&own, json!({"name": "Other", "slug": uuid})).await.expect(400);
    create(&own, json!({"name": "Other", "slug": "osterreich"})).await.expect(409);
    create(&neighbour, json!({"name": "Other", "slug": "osterreich"})).await.expect(201);
    for wrong in ["A", "a b", "-a", "a--b", "", "ä", &"a".repeat(64)] {
        let refused = create(&own, json!({"name": "Other", "slug": wrong})).await.expect(400);
        assert!(refused.details()["slug"].is_array(), "{wrong}: {}", refused.text);
    }
    // At once: each has a slug of its own.
    let racing = (0..8).map(|_| create(&own, json!({"name": "Race"})));
    let mut slugs: Vec<String> = futures_util::future::join_all(racing)
        .await
        .into_iter()
        .filter(|answer| answer.status == 201)
        .map(|answer| answer.json()["data"]["slug"].as_str().expect("a slug").to_owned())
        .collect();
    slugs.sort();
    let made = slugs.len();
    slugs.dedup();
    assert!(made == slugs.len() && made >= 1, "{slugs:?}");
    assert_eq!(names(&world, &own.owner).await.iter().filter(|name| *name == "Race").count(), made);
}

#[tokio::test]
async fn settings_are_merged_and_every_fault_is_named() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let workspace = workspace(&world, &own.owner, "Client").await;
    let path = format!("{ALL}/{}", id(&workspace));
    let change = async |body: Value| world.patch(&path).token(&own.owner.token).json(body).send().await;
    let settings = json!({
        "timezone": "europe/berlin", "branding": {"logo_url": "https://cdn.example.com/l.png"}, "default_from_name": "Ada",
        "default_from_email": "Ada@Example.com", "postal_address": "1 Main St\nTown",
    });
    let changed = change(json!({"name": "Client & Co", "settings": settings})).await.expect(200);
    let etag = changed.headers["etag"].clone();
    let data = changed.json()["data"].clone();
    assert_eq!((data["name"].as_str(), data["settings"]["timezone"].as_str()), (Some("Client & Co"), Some("Europe/Berlin")));
    // A change that changes nothing keeps the version, and null removes.
    assert_eq!(change(json!({"settings": {"timezone": "Europe/Berlin"}})).await.expect(200).headers["etag"], etag);
    let cleared = change(json!({"settings": {"branding": {"logo_url": null}, "default_from_name": null}})).await.expect(200).json();
    let after = &cleared["data"]["settings"];
    assert_eq!((&after["branding"]["logo_url"], &after["default_from_name"]), (&Value::Null, &Value::Null));
    assert_eq!(after["postal_address"], "1 Main St\nTown");
    let wrong = json!({"name": "", "slug": "new", "settings": {
        "timezone": "Mars/Olympus", "colour": 1, "branding": {"logo_url": "http://x"}, "default_from_email": "nobody",
    }});
    let refused = change(wrong).await.expect(400);
    let details = refused.details();
    let named: Vec<&str> = details.as_object().expect("fields").keys().map(String::as_str).collect();
    for field in ["name", "slug", "settings.timezone", "settings.colour", "settings.branding.logo_url", "settings.default_from_email"] {
        assert!(named.contains(&field), "{field}: {named:?}");
    }
    let stale = world.patch(&path).token(&own.owner.token).header("if-match", "\"1\"").json(json!({"name": "Late"})).send().await;
    assert_eq!((stale.status, stale.code().as_str()), (412, "PRECONDITION_FAILED"));
}

#[tokio::test]
async fn the_tenants_role_and_the_workspaces_say_together_who_may_do_what() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let (first, second) = (workspace(&world, &own.owner, "First").await, workspace(&world, &own.owner, "Second").await);
    let (viewer, member, admin) =
        (world.member(&own, "viewer").await, world.member(&own, "member").await, world.member(&own, "admin").await);
    // Who is no member of a workspace has none; the tenant's admins have all.
    for nobody in [&viewer, &member] {
        assert_eq!(names(&world, nobody).await, Vec::<String>::new());
        world.get(format!("{ALL}/{}", id(&first))).token(&nobody.token).send().await.expect(404);
    }
    assert_eq!(names(&world, &admin).await, ["First", "Second"]);
    // A viewer of the tenant only looks, whatever the workspace says.
    add(&world, &own.owner, id(&first), &viewer, "admin").await.expect(201);
    assert_eq!(names(&world, &viewer).await, ["First"]);
    world.patch(format!("{ALL}/{}", id(&first))).token(&viewer.token).json(json!({"name": "X"})).send().await.expect(403);
    // A member may be the admin of one workspace and nobody in the other.
    add(&world, &own.owner, id(&first), &member, "admin").await.expect(201);
    world.patch(format!("{ALL}/{}", id(&first))).token(&member.token).json(json!({"name": "One"})).send().await.expect(200);
    world.patch(format!("{ALL}/{}", id(&second))).token(&member.token).json(json!({"name": "Two"})).send().await.expect(404);
    let confirm = json!({"confirm": "One"});
    world.delete(format!("{ALL}/{}", id(&first))).token(&member.token).json(confirm.clone()).send().await.expect(403);
    world.delete(format!("{ALL}/{}", id(&first))).token(&admin.token).json(confirm).send().await.expect(403);
    world.post(ALL).token(&member.token).json(json!({"name": "Third"})).send().await.expect(403);
    // Only owners make owners, and an admin of the workspace invites no strangers into the tenant.
    let other = world.member(&own, "member").await;
    add(&world, &member, id(&first), &other, "owner").await.expect(403);
    add(&world, &member, id(&first), &other, "member").await.expect(201);
    let stranger = Caller { email: "stranger@example.com".into(), ..other.clone() };
    add(&world, &member, id(&first), &stranger, "member").await.expect(403);
    add(&world, &member, id(&first), &other, "member").await.expect(409);
}

#[tokio::test]
async fn a_workspace_keeps_an_admin_of_its_own() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let workspace = workspace(&world, &own.owner, "Client").await;
    let members = format!("{ALL}/{}/members", id(&workspace));
    let me = format!("{members}/{}", own.owner.id);
    let role = async |path: &str, role: &str| world.patch(path).token(&own.owner.token).json(json!({"role": role})).send().await;
    role(&me, "member").await.expect(409);
    world.delete(&me).token(&own.owner.token).send().await.expect(409);
    let second = world.member(&own, "member").await;
    add(&world, &own.owner, id(&workspace), &second, "member").await.expect(201);
    let theirs = format!("{members}/{}", second.id);
    role(&theirs, "admin").await.expect(200);
    // Both leave at once: one stays.
    let (mine, other) =
        futures_util::future::join(world.delete(&me).token(&own.owner.token).send(), world.delete(&theirs).token(&own.owner.token).send())
            .await;
    let mut statuses = [mine.status, other.status];
    statuses.sort();
    assert_eq!(statuses, [204, 409], "{} {}", mine.text, other.text);
    let left = world.get(&members).token(&own.owner.token).send().await.expect(200).json();
    assert_eq!((left["pagination"]["total"].as_u64(), left["data"].as_array().map(Vec::len)), (Some(1), Some(1)));
    for wrong in ["0", "x", "4711", "01"] {
        let missing = world.delete(format!("{members}/{wrong}")).token(&own.owner.token).send().await.expect(404);
        assert_eq!(missing.json()["error"]["message"], "Member not found");
    }
}

#[tokio::test]
async fn a_stranger_joins_the_workspace_with_the_tenant() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let (first, gone) = (workspace(&world, &own.owner, "First").await, workspace(&world, &own.owner, "Gone").await);
    for (workspace, email, role) in [(&first, "new@example.com", "admin"), (&gone, "late@example.com", "viewer")] {
        let body = json!({"email": email, "role": role});
        let members = format!("{ALL}/{}/members", id(workspace));
        let invited = world.post(&members).token(&own.owner.token).json(body.clone()).send().await.expect(201).json();
        assert_eq!((&invited["data"]["user_id"], &invited["data"]["status"]), (&Value::Null, &json!("invited")));
        world.post(&members).token(&own.owner.token).json(body).send().await.expect(409);
    }
    let as_owner = json!({"email": "boss@example.com", "role": "owner"});
    world.post(format!("{ALL}/{}/members", id(&first))).token(&own.owner.token).json(as_owner).send().await.expect(400);
    world.delete(format!("{ALL}/{}", id(&gone))).token(&own.owner.token).json(json!({"confirm": "Gone"})).send().await.expect(204);
    let mut joined = vec![];
    for email in ["new@example.com", "late@example.com"] {
        let token = world.link_token(email);
        let body = json!({"token": token, "name": "New", "password": "correct horse"});
        world.post("/api/v1/auth/accept-invitation").json(body).send().await.expect(200);
        joined.push(world.login(email, "correct horse").await);
    }
    assert_eq!(names(&world, &joined[0]).await, ["First"]);
    // The workspace went before they came: they are in the tenant alone.
    assert_eq!(names(&world, &joined[1]).await, Vec::<String>::new());
    let roles = world.get("/api/v1/tenant/members").token(&own.owner.token).send().await.expect(200).json();
    let roles: Vec<&str> = roles["data"].as_array().expect("members").iter().filter_map(|member| member["role"].as_str()).collect();
    assert_eq!(roles.iter().filter(|role| **role == "member").count(), 1, "{roles:?}");
    assert_eq!(roles.iter().filter(|role| **role == "viewer").count(), 1, "{roles:?}");
}

#[tokio::test]
async fn whoever_leaves_the_tenant_has_left_its_workspaces() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let workspace = workspace(&world, &own.owner, "Client").await;
    let gone = world.member(&own, "member").await;
    add(&world, &own.owner, id(&workspace), &gone, "owner").await.expect(201);
    let before = world.items_of(&own);
    let kept: Vec<Value> =
        before.iter().filter(|item| matches!(item["type"]["S"].as_str(), Some("workspace_member" | "workspace_access"))).cloned().collect();
    let removed = world.delete(format!("/api/v1/tenant/members/{}", gone.id)).token(&own.owner.token).send().await;
    removed.expect(200);
    let left = world.items_of(&own).iter().filter(|item| item["user"]["S"] == claims_of(&gone.token)["sub"]).count();
    assert_eq!(left, 0, "something of them is left");
    // What a crash would have left opens nothing for who comes back: the number is another.
    for item in kept.iter().filter(|item| item["user"]["S"] == claims_of(&gone.token)["sub"]) {
        world.put_item(item);
    }
    world.advance(SignedDuration::from_millis(10));
    world.post("/api/v1/tenant/invitations").token(&own.owner.token).json(json!({"email": gone.email})).send().await.expect(201);
    let token = world.link_token(&gone.email);
    world.post("/api/v1/auth/accept-invitation").json(json!({"token": token})).send().await.expect(200);
    let back = world.login(&gone.email, &gone.password).await;
    assert_eq!(names(&world, &back).await, Vec::<String>::new());
    world.get(format!("{ALL}/{}", id(&workspace))).token(&back.token).send().await.expect(404);
    let counts = world.get(format!("{ALL}/{}/members", id(&workspace))).token(&own.owner.token).send().await.expect(200).json();
    assert_eq!(counts["pagination"]["total"], 1);
    // They are added anew, in place of what was left.
    add(&world, &own.owner, id(&workspace), &back, "viewer").await.expect(201);
    assert_eq!(names(&world, &back).await, ["Client"]);
}

#[tokio::test]
async fn a_key_for_certain_workspaces_reaches_no_others_and_makes_no_freer_key() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let (first, second) = (workspace(&world, &own.owner, "First").await, workspace(&world, &own.owner, "Second").await);
    let neighbour = world.tenant("globex").await;
    let foreign = workspace(&world, &neighbour.owner, "Theirs").await;
    let make = async |token: &str, body: Value| world.post("/v1/api-keys").token(token).json(body).send().await;
    for wrong in [json!([]), json!(["x"]), json!([id(&foreign)]), json!("all"), json!([1])] {
        let refused = make(&own.owner.token, json!({"name": "K", "workspace_ids": wrong})).await.expect(400);
        assert!(refused.details()["workspace_ids"].is_array(), "{}", refused.text);
    }
    let made = make(&own.owner.token, json!({"name": "K", "workspace_ids": [id(&second)]})).await.expect(201);
    assert_eq!(made.json()["data"]["workspace_ids"], json!([id(&second)]));
    let key = made.json()["data"]["key"].as_str().expect("a key").to_owned();
    let reached = world.get(ALL).token(&key).send().await.expect(200).json();
    assert_eq!((reached["pagination"]["total"].as_u64(), reached["data"][0]["name"].as_str()), (Some(1), Some("Second")));
    world.get(format!("{ALL}/{}", id(&second))).token(&key).send().await.expect(200);
    let missing = world.get(format!("{ALL}/{}", id(&first))).token(&key).send().await.expect(404);
    let nobody = world.get(format!("{ALL}/nobody")).token(&key).send().await.expect(404);
    assert_eq!(missing.fingerprint(), nobody.fingerprint());
    world.post(ALL).token(&key).json(json!({"name": "Another"})).send().await.expect(403);
    for freer in [
        json!({"name": "K"}),
        json!({"name": "K", "workspace_ids": [id(&first)]}),
        json!({"name": "K", "workspace_ids": [id(&first), id(&second)]}),
    ] {
        make(&key, freer).await.expect(403);
    }
    make(&key, json!({"name": "K", "workspace_ids": [id(&second)]})).await.expect(201);
}

#[tokio::test]
async fn a_plan_says_how_many_and_a_race_makes_no_more() {
    let world = World::with(Settings { plans: json!({"free": {"workspaces": 2}}), ..Settings::default() }).await;
    let own = world.tenant("acme").await;
    let racing = (0..6).map(|turn| {
        let body = json!({"name": format!("W{turn}"), "slug": format!("w{turn}")});
        world.post(ALL).token(&own.owner.token).json(body).send()
    });
    let answers = futures_util::future::join_all(racing).await;
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(made, 2, "{:?}", answers.iter().map(|answer| answer.status).collect::<Vec<_>>());
    let refused = answers.iter().find(|answer| answer.status == 403).expect("a refusal");
    assert_eq!((refused.code().as_str(), &refused.details()["limit"]), ("PLAN_LIMIT_REACHED", &json!("workspaces")));
    // A deleted one gives its place back.
    let listed = world.get(ALL).token(&own.owner.token).send().await.expect(200).json();
    let first = &listed["data"][0];
    let confirm = json!({"confirm": first["name"]});
    world.delete(format!("{ALL}/{}", id(first))).token(&own.owner.token).json(confirm).send().await.expect(204);
    workspace(&world, &own.owner, "Again").await;
}

#[tokio::test]
async fn a_deleted_workspace_is_gone_at_once_and_leaves_nothing() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let workers = Workers::on(&world);
    let doomed = workspace(&world, &own.owner, "Doomed").await;
    let kept = workspace(&world, &own.owner, "Kept").await;
    let member = world.member(&own, "member").await;
    add(&world, &own.owner, id(&doomed), &member, "member").await.expect(201);
    add(&world, &own.owner, id(&kept), &member, "member").await.expect(201);
    let path = format!("{ALL}/{}", id(&doomed));
    for wrong in [json!({}), json!({"confirm": "doomed"}), json!({"confirm": true}), json!({"confirm": "Kept"})] {
        let refused = world.delete(&path).token(&own.owner.token).json(wrong).send().await.expect(400);
        assert!(refused.details()["confirm"].is_array(), "{}", refused.text);
    }
    world.delete(&path).token(&own.owner.token).json(json!({"confirm": "Doomed"})).send().await.expect(204);
    for name in [id(&doomed), "doomed"] {
        world.get(format!("{ALL}/{name}")).token(&own.owner.token).send().await.expect(404);
    }
    assert_eq!(names(&world, &own.owner).await, ["Kept"]);
    assert_eq!(names(&world, &member).await, ["Kept"]);
    // Its slug is free at once, and leads to the new one.
    world.advance(SignedDuration::from_secs(1));
    let again = json!({"name": "Doomed", "slug": "doomed"});
    world.post(ALL).token(&own.owner.token).json(again).send().await.expect(201);
    drain(&world, &workers).await;
    let tag = &id(&doomed)[id(&doomed).len() - 12..];
    let left: Vec<String> = world
        .items_of(&own)
        .iter()
        .filter(|item| item.to_string().contains(tag) && !matches!(item["type"]["S"].as_str(), Some("audit_entry" | "removal" | "answer")))
        .map(|item| format!("{} {}", item["pk"]["S"], item["type"]["S"]))
        .collect();
    assert!(left.iter().all(|line| line.contains("deleted-workspaces")), "{left:?}");
    assert_eq!(names(&world, &own.owner).await, ["Kept", "Doomed"]);
}

#[tokio::test]
async fn a_repeat_is_answered_in_the_workspace_of_the_first() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let create = || world.post(ALL).token(&own.owner.token).header("idempotency-key", "once").json(json!({"name": "Once"})).send();
    let (first, second) = (create().await.expect(201), create().await.expect(201));
    assert_eq!(first.text, second.text);
    assert_eq!(second.headers["idempotency-replayed"], "true");
    assert_eq!(second.header("x-workspace-id"), "");
    assert_eq!(names(&world, &own.owner).await, ["Once"]);
    // In a workspace a repeat says where it comes from, too.
    let member = world.member(&own, "member").await;
    let members = format!("{ALL}/once/members");
    let body = json!({"email": member.email});
    let add = || world.post(&members).token(&own.owner.token).header("idempotency-key", "add").json(body.clone()).send();
    let (first, second) = (add().await.expect(201), add().await.expect(201));
    assert_eq!((first.text.as_str(), first.header("x-workspace-id")), (second.text.as_str(), second.header("x-workspace-id")));
    assert!(!second.header("x-workspace-id").is_empty());
}

/// What a person may do to their own membership, and what shows that a membership changed.
#[tokio::test]
async fn ones_own_membership_is_changed_like_any_other() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let workspace = workspace(&world, &own.owner, "Client").await;
    let path = format!("{ALL}/{}", id(&workspace));
    let admin = world.member(&own, "member").await;
    let shown = async || world.get(&path).token(&own.owner.token).send().await.expect(200);
    let before = shown().await.header("etag").to_owned();
    add(&world, &own.owner, id(&workspace), &admin, "admin").await.expect(201);
    let after = shown().await.header("etag").to_owned();
    assert_ne!(before, after, "the answer shows another member");
    let unchanged = world.get(&path).token(&own.owner.token).header("if-none-match", &before).send().await;
    assert_eq!(unchanged.status, 200);
    // The version is the same, and an edit of the workspace is not disturbed.
    world.patch(&path).token(&own.owner.token).header("if-match", &before).json(json!({"name": "Client & Co"})).send().await.expect(200);
    add(&world, &admin, id(&workspace), &admin, "admin").await.expect(409);
    add(&world, &own.owner, id(&workspace), &own.owner, "member").await.expect(409);
    let me = format!("{path}/members/{}", admin.id);
    world.patch(&me).token(&admin.token).json(json!({"role": "owner"})).send().await.expect(403);
    world.patch(&me).token(&admin.token).json(json!({"role": "member"})).send().await.expect(200);
    world.patch(&me).token(&admin.token).json(json!({"role": "admin"})).send().await.expect(403);
    world.get(format!("{path}/members?workspace={}", id(&workspace))).token(&admin.token).send().await.expect(200);
    // The id of something else that ends with the same digits is no name of the workspace.
    let other = format!("{}{}", "ws_00000000000070008000", &id(&workspace)[id(&workspace).len() - 12..]);
    world.get(format!("{ALL}/{other}")).token(&own.owner.token).send().await.expect(404);
}

#[tokio::test]
async fn each_membership_has_its_own_entries_in_the_audit_log() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let workers = Workers::on(&world);
    let gone = world.member(&own, "member").await;
    for name in ["First", "Second", "Third"] {
        let workspace = workspace(&world, &own.owner, name).await;
        add(&world, &own.owner, id(&workspace), &gone, "member").await.expect(201);
    }
    world.delete(format!("/api/v1/tenant/members/{}", gone.id)).token(&own.owner.token).send().await.expect(200);
    drain(&world, &workers).await;
    let log = world.get("/api/tenant/audit-log?limit=100").token(&own.owner.token).send().await.expect(200).text;
    let user = claims_of(&gone.token)["sub"].as_str().expect("a subject").to_owned();
    let entries = |action: &str| log.matches(&format!("\"action\":\"{action}\",\"resource\":\"workspace_member\"")).count();
    assert!(log.contains(&format!("/{user}\"")), "{log}");
    assert_eq!(entries("deleted"), 3, "{log}");
}

#[tokio::test]
async fn what_names_the_workspace_beside_the_path_must_agree_with_it() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let neighbour = world.tenant("globex").await;
    let (first, second) = (workspace(&world, &own.owner, "First").await, workspace(&world, &own.owner, "Second").await);
    let foreign = workspace(&world, &neighbour.owner, "Foreign").await;
    let members = format!("{ALL}/{}/members", id(&first));
    let with = |name: &str| world.get(&members).token(&own.owner.token).header("x-workspace-id", name).send();
    for same in [id(&first), "first", "FIRST"] {
        let answer = with(same).await.expect(200);
        assert_eq!(answer.header("x-workspace-id"), id(&first));
    }
    let missing = world.get(format!("{ALL}/nobody/members")).token(&own.owner.token).send().await.expect(404);
    for other in [id(&second), "second", id(&foreign), "foreign", "nobody", "ws_", "a b", "ws_0198c0de000070008000000000000000"] {
        let answer = with(other).await.expect(404);
        assert_eq!(answer.fingerprint(), missing.fingerprint(), "{other}");
        assert!(!answer.headers.contains_key("x-workspace-id"));
    }
    with("first,first").await.expect(400);
    with("").await.expect(200);
}

/// What a mistake of ours in the keys would do: the item of one workspace lies where another's are read.
#[tokio::test]
async fn an_item_of_another_workspace_is_never_given_out() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let (first, second) = (workspace(&world, &own.owner, "First").await, workspace(&world, &own.owner, "Second").await);
    let tag = |workspace: &Value| id(workspace)[id(workspace).len() - 12..].to_owned();
    let item = world
        .items_of(&own)
        .into_iter()
        .find(|item| item["type"]["S"] == "workspace_member" && item["workspace"]["S"] == tag(&first).as_str());
    let item = item.expect("the owner's membership");
    let (pk, sk) = (item["pk"]["S"].as_str().expect("a key"), item["sk"]["S"].as_str().expect("a key"));
    for says in [Some(tag(&second)), Some(tag(&first).to_uppercase() + " "), Some(String::new()), None] {
        world.change_item(pk, sk, |item| match &says {
            Some(says) => item["workspace"] = json!({"S": says}),
            None => drop(item.as_object_mut().and_then(|item| item.remove("workspace"))),
        });
        for path in [format!("{ALL}/{}", id(&first)), format!("{ALL}/{}/members", id(&first)), ALL.to_owned()] {
            let answer = world.get(&path).token(&own.owner.token).send().await;
            assert_eq!(answer.status, 500, "{path} of an item of {says:?}: {}", answer.text);
        }
    }
    world.change_item(pk, sk, |item| item["workspace"] = json!({"S": tag(&first)}));
    world.get(format!("{ALL}/{}", id(&first))).token(&own.owner.token).send().await.expect(200);
}
