//! Agencies: subaccounts with limits and states, their keys, acting for them, and what neither side may learn about the other.

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
    // The agency sees it only when it acts for the child.
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
    assert_eq!(task["data"]["creator"], json!({"id": 0, "name": "platform", "email": null}));
    let listed = acting(world.get(format!("{path}/tasks")), &agency, id(&child)).send().await.expect(200).json();
    assert_eq!(listed["data"][0]["creator"], task["data"]["creator"]);
    let read = acting(world.get(&path), &agency, id(&child)).send().await.expect(200);
    assert!(read.metered.expect("metered").round_trips <= 3, "{:?}", read.metered);
    acting(world.put(&path), &agency, id(&child)).json(json!({"name": "Renamed"})).send().await.expect(200);
    acting(world.delete(&path), &agency, id(&child)).send().await.expect(200);
    assert!(world.items_of(&agency).iter().all(|item| item["type"]["S"] != "project"), "nothing of it lies with the agency");
    // Both spellings of the id, and only once.
    let uuid = uuid_of(id(&child));
    acting(world.get(PROJECTS), &agency, &uuid).send().await.expect(200);
    acting(acting(world.get(PROJECTS), &agency, &uuid).header("x-subaccount-id", &uuid), &agency, &uuid).send().await.expect(400);
    // A repeat must be for the same child.
    let other = subaccount(&world, &agency, json!({})).await;
    let create = |child: &Value| {
        acting(world.post(PROJECTS), &agency, id(child)).header("idempotency-key", "once").json(json!({"name": "Once"})).send()
    };
    let (first, again, elsewhere) = (create(&child).await.expect(201), create(&child).await.expect(201), create(&other).await.expect(201));
    assert_eq!(first.text, again.text);
    assert_ne!(first.text, elsewhere.text);
}

#[tokio::test]
async fn nobody_acts_for_a_child_that_is_not_open_or_not_their_own() {
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
    // A child has no children, and a grandchild can be neither created nor reached.
    let key = key_of(&world, &agency, &child).await;
    world.post(SUBACCOUNTS).token(&key).json(json!({"name": "Grandchild"})).send().await.expect(403);
    let sibling = subaccount(&world, &agency, json!({})).await;
    for other in [id(&sibling), id(&child), NOBODY] {
        world.get(PROJECTS).token(&key).header("x-subaccount-id", other).send().await.expect(404);
        world.get(format!("{SUBACCOUNTS}/{other}")).token(&key).send().await.expect(404);
    }
    let made = acting(world.post(SUBACCOUNTS), &agency, id(&child)).json(json!({"name": "Grandchild"})).send().await.expect(403);
    assert_eq!(made.code(), "AGENCY_REQUIRED");
    // A role below admin cannot act for a child.
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
    // A key that provisions children must have the scopes that it gives out.
    let keys = format!("{SUBACCOUNTS}/{}/api-keys", id(&child));
    world.post(&keys).token(&narrow).json(json!({"name": "Theirs"})).send().await.expect(403);
    world.post(&keys).token(&narrow).json(json!({"name": "Theirs", "scopes": ["projects:read"]})).send().await.expect(403);
    let narrow = with(json!(["agency:*", "projects:*"])).await;
    let body = json!({"name": "Theirs", "scopes": ["projects:read"]});
    let made = world.post(&keys).token(&narrow).json(body).send().await.expect(201).json()["data"].clone();
    world.get(PROJECTS).token(made["key"].as_str().expect("a key")).send().await.expect(200);
    let rotate = world.post(format!("{keys}/{}/rotate", id(&made))).token(&narrow).json(json!({"grace_seconds": 0}));
    let new = rotate.send().await.expect(201).json()["data"].clone();
    world.get(PROJECTS).token(made["key"].as_str().expect("a key")).send().await.expect(401);
    world.get(PROJECTS).token(new["key"].as_str().expect("a key")).send().await.expect(200);
    world.delete(format!("{keys}/{}", id(&new))).token(&narrow).send().await.expect(200);
    world.get(PROJECTS).token(new["key"].as_str().expect("a key")).send().await.expect(401);
}

/// A small key must not get more power by making a larger key, in a child either, in any way.
#[tokio::test]
async fn a_key_makes_no_stronger_key_of_a_child() {
    let world = World::new().await;
    let agency = world.tenant("agency").await;
    let child = subaccount(&world, &agency, json!({})).await;
    let end = (world.auth.clock().now() + SignedDuration::from_hours(2)).to_string();
    let later = (world.auth.clock().now() + SignedDuration::from_hours(3)).to_string();
    let scopes = json!(["agency:*", "keys:*", "projects:read"]);
    let body = json!({"name": "Small", "environment": "test", "scopes": scopes, "rate_limit": 50, "expires_at": end});
    let small = world.post("/v1/api-keys").token(&agency.owner.token).json(body).send().await.expect(201).json()["data"].clone();
    let small = small["key"].as_str().expect("a key");
    let in_path = format!("{SUBACCOUNTS}/{}/api-keys", id(&child));
    let mint = |path: &str, body: &Value| {
        let request = world.post(path).token(small).json(body.clone());
        if path == in_path { request } else { request.header("x-subaccount-id", id(&child)) }
    };
    let within = json!({"name": "x", "environment": "test", "scopes": ["projects:read"], "rate_limit": 50, "expires_at": end});
    for path in [in_path.as_str(), "/v1/api-keys"] {
        mint(path, &within).send().await.expect(201);
        for (field, value) in [
            ("scopes", json!(["*"])),
            ("scopes", json!(["projects:write"])),
            ("scopes", Value::Null),
            ("environment", json!("live")),
            ("rate_limit", json!(51)),
            ("rate_limit", Value::Null),
            ("expires_at", json!(later)),
            ("expires_at", Value::Null),
        ] {
            let mut body = within.clone();
            body[field] = value.clone();
            assert_eq!(mint(path, &body).send().await.expect(403).code(), "FORBIDDEN", "{path} {field} {value}");
        }
    }
    // It cannot renew, end or remove a larger one either.
    let large =
        world.post(&in_path).token(&agency.owner.token).json(json!({"name": "Large"})).send().await.expect(201).json()["data"].clone();
    for (method, verb) in [("POST", "/rotate"), ("POST", "/end-grace"), ("POST", "/adopt"), ("DELETE", "")] {
        let request = world.request(method, format!("{in_path}/{}{verb}", id(&large))).token(small).json(json!({}));
        request.send().await.expect(403);
    }
    world.get(PROJECTS).token(large["key"].as_str().expect("a key")).send().await.expect(200);
}

#[tokio::test]
async fn a_childs_key_goes_silent_with_the_agencys_person_who_made_it() {
    let world = World::new().await;
    let agency = world.tenant("agency").await;
    let child = subaccount(&world, &agency, json!({})).await;
    let maker = world.member(&agency, "owner").await;
    let path = format!("{SUBACCOUNTS}/{}/api-keys", id(&child));
    let mint = async |token: &str, body: Value| world.post(&path).token(token).json(body).send().await.expect(201).json()["data"].clone();
    let text = |key: &Value| key["key"].as_str().expect("a key").to_owned();
    let all = mint(&maker.token, json!({"name": "All"})).await;
    let reader = mint(&maker.token, json!({"name": "Reader", "scopes": ["projects:read"]})).await;
    let stays = mint(&agency.owner.token, json!({"name": "Stays"})).await;
    // A key that the child's key makes has the same person behind it.
    let chained =
        world.post("/v1/api-keys").token(&text(&all)).json(json!({"name": "Chained"})).send().await.expect(201).json()["data"].clone();
    let warm = world.another_instance().await;
    for world in [&world, &warm] {
        for key in [&all, &reader, &stays, &chained] {
            let answer = world.get(PROJECTS).token(&text(key)).send().await.expect(200);
            assert!(answer.metered.expect("metered").round_trips <= 4, "{:?}", answer.metered);
        }
        assert!(world.get(PROJECTS).token(&text(&all)).send().await.metered.expect("metered").round_trips <= 2);
    }
    // A role below admin cannot act for a child.
    let members = format!("/api/v1/tenant/members/{}", maker.id);
    let silenced = |answer: &Value| -> Vec<String> {
        let keys = answer["data"]["silenced_keys"].as_array().expect("keys");
        assert!(keys.iter().all(|key| key["subaccount"] == child["id"]), "{answer}");
        let mut ids: Vec<_> = keys.iter().map(|key| id(key).to_owned()).collect();
        ids.sort();
        ids
    };
    let demoted = world.put(&members).token(&agency.owner.token).json(json!({"role": "admin"})).send().await.expect(200).json();
    let mut both = [id(&all), id(&chained)];
    both.sort();
    assert_eq!(silenced(&demoted), both);
    world.get(PROJECTS).token(&text(&reader)).send().await.expect(200);
    let removed = world.delete(&members).token(&agency.owner.token).send().await.expect(200).json();
    assert_eq!(silenced(&removed), [id(&reader)]);
    for world in [&world, &warm] {
        for key in [&all, &reader, &chained] {
            assert_eq!(world.get(PROJECTS).token(&text(key)).send().await.expect(403).code(), "KEY_INACTIVE");
        }
        world.get(PROJECTS).token(&text(&stays)).send().await.expect(200);
    }
    // Both sides see why. The agency's owner adopts, in both ways.
    let seen = world.get("/v1/api-keys").token(&text(&stays)).send().await.expect(200).json();
    let listed = world.get(&path).token(&agency.owner.token).send().await.expect(200).json();
    for list in [&seen, &listed] {
        let key = list["data"].as_array().expect("keys").iter().find(|key| key["id"] == all["id"]).expect("listed");
        assert_eq!((&key["active"], &key["inactive_reason"]), (&json!(false), &json!("maker_demoted")));
        assert!(list["data"].as_array().expect("keys").iter().any(|key| key["id"] == stays["id"] && key["active"] == true));
    }
    world.post(format!("{path}/{}/adopt", id(&all))).token(&text(&stays)).send().await.expect(403);
    world.post(format!("{path}/{}/adopt", id(&all))).token(&agency.owner.token).send().await.expect(200);
    acting(world.post(format!("/v1/api-keys/{}/adopt", id(&reader))), &agency, id(&child)).send().await.expect(200);
    for world in [&world, &warm] {
        for key in [&all, &reader] {
            world.get(PROJECTS).token(&text(key)).send().await.expect(200);
        }
    }
    assert!(
        !seen.to_string().contains(&agency.id)
            && !world.get("/api/tenant-api-key").token(&text(&stays)).send().await.text.contains(&agency.id)
    );
}

#[tokio::test]
async fn a_childs_key_stored_before_makers_were_kept_finds_its_agency() {
    let world = World::new().await;
    let agency = world.tenant("agency").await;
    let child = subaccount(&world, &agency, json!({})).await;
    let maker = world.member(&agency, "owner").await;
    let path = format!("{SUBACCOUNTS}/{}/api-keys", id(&child));
    let made = world.post(&path).token(&maker.token).json(json!({"name": "Old"})).send().await.expect(201).json()["data"].clone();
    let text = made["key"].as_str().expect("a key");
    let keys = format!("T#{}#api-keys", child["tenant_id"].as_str().expect("an id"));
    world.change_item(&keys, &uuid_of_key(id(&made)), |item| {
        drop(item["issuer"]["M"].as_object_mut().expect("an issuer").remove("membership"))
    });
    world.change_item(&format!("G#api-key#{}", &text[8..20]), "owner", |item| drop(item.as_object_mut().expect("a claim").remove("maker")));
    let fresh = world.another_instance().await;
    fresh.get(PROJECTS).token(text).send().await.expect(200);
    let listed = world.get(&path).token(&agency.owner.token).send().await.expect(200).json();
    assert_eq!(listed["data"][0]["active"], true);
    world.delete(format!("/api/v1/tenant/members/{}", maker.id)).token(&agency.owner.token).send().await.expect(200);
    assert_eq!(fresh.get(PROJECTS).token(text).send().await.expect(403).code(), "KEY_INACTIVE");
}

#[tokio::test]
async fn a_subaccount_changes_only_where_something_changes_and_never_silently() {
    let (world, workers) = workers().await;
    let agency = world.tenant("agency").await;
    let child = subaccount(&world, &agency, json!({"metadata": {"tier": "gold"}, "limits": {"messages_per_day": 7}})).await;
    let path = format!("{SUBACCOUNTS}/{}", id(&child));
    let get = async |path: &str| world.get(path).token(&agency.owner.token).send().await.expect(200);
    let patch = |tag: &str, body: Value| world.patch(&path).token(&agency.owner.token).header("if-match", tag).json(body).send();
    let first = get(&path).await;
    let tag = first.header("etag").to_owned();
    assert_eq!(get(&format!("{path}/limits")).await.header("etag"), tag);
    drain(&world, &workers).await;
    let log =
        async || world.get("/api/tenant/audit-log").token(&agency.owner.token).send().await.json()["entries"].as_array().map(Vec::len);
    let entries = log().await;
    let same = patch(&tag, json!({"name": "Client", "metadata": {"tier": "gold"}, "limits": {"messages_per_day": 7}})).await.expect(200);
    assert_eq!((same.header("etag"), same.json()), (tag.as_str(), first.json()));
    let put =
        |tag: &str, body: Value| world.put(format!("{path}/limits")).token(&agency.owner.token).header("if-match", tag).json(body).send();
    assert_eq!(put(&tag, json!({"messages_per_day": 7})).await.expect(200).header("etag"), tag);
    drain(&world, &workers).await;
    assert_eq!(log().await, entries, "what changes nothing is no entry");

    // A limit that is not named stays, and null removes it. The rest of the subaccount stays.
    let changed = patch(&tag, json!({"limits": {"new_contacts_per_day": 3}, "metadata": {"tier": "silver"}})).await.expect(200);
    let data = changed.json()["data"].clone();
    assert_eq!((&data["limits"]["messages_per_day"], &data["limits"]["new_contacts_per_day"]), (&json!(7), &json!(3)));
    assert_eq!((&data["metadata"], &data["name"]), (&json!({"tier": "silver"}), &json!("Client")));
    assert_ne!(changed.header("etag"), tag);
    patch(&tag, json!({"limits": {"messages_per_day": 1}})).await.expect(412);
    put(&tag, json!({"messages_per_day": 1})).await.expect(412);
    let tag = changed.header("etag").to_owned();
    let lifted = patch(&tag, json!({"limits": {"messages_per_day": null}})).await.expect(200).json();
    assert_eq!(
        (&lifted["data"]["limits"]["messages_per_day"], &lifted["data"]["limits"]["new_contacts_per_day"]),
        (&Value::Null, &json!(3))
    );
    let limits = get(&format!("{path}/limits")).await;
    assert_eq!(limits.json()["data"], lifted["data"]["limits"]);
    assert_eq!(put(limits.header("etag"), json!({})).await.expect(200).json()["data"]["new_contacts_per_day"], Value::Null);
    for (body, field) in [
        (json!({"limits": {"unknown": 1}}), "limits.unknown"),
        (json!({"limits": {"messages_per_day": -1}}), "limits.messages_per_day"),
        (json!({"limits": 3}), "limits"),
        (json!({"metadata": null}), "metadata"),
    ] {
        let refused = world.patch(&path).token(&agency.owner.token).json(body.clone()).send().await.expect(400);
        assert!(refused.details()[field].is_array(), "{body}: {}", refused.text);
    }
}

#[tokio::test]
async fn an_agency_takes_its_subaccounts_with_it_and_brings_them_back() {
    let (world, workers) = workers().await;
    let agency = world.tenant("agency").await;
    let stranger = world.tenant("stranger").await;
    let (open, suspended, closed) = (
        subaccount(&world, &agency, json!({})).await,
        subaccount(&world, &agency, json!({})).await,
        subaccount(&world, &agency, json!({})).await,
    );
    let theirs = subaccount(&world, &stranger, json!({})).await;
    let (key, other) = (key_of(&world, &agency, &open).await, key_of(&world, &stranger, &theirs).await);
    let quiet = key_of(&world, &agency, &suspended).await;
    for (child, verb) in [(&suspended, "suspend"), (&closed, "close")] {
        world.post(format!("{SUBACCOUNTS}/{}/{verb}", id(child))).token(&agency.owner.token).send().await.expect(200);
    }
    assert_eq!(world.get(PROJECTS).token(&quiet).send().await.expect(403).code(), "TENANT_SUSPENDED");
    world.delete("/api/tenant").token(&agency.owner.token).send().await.expect(200);
    for gone in [&key, &quiet] {
        world.get(PROJECTS).token(gone).send().await.expect(401);
    }
    world.get(PROJECTS).token(&other).send().await.expect(200);
    world.advance(SignedDuration::from_hours(6 * 24));
    assert_eq!(workers.run("janitor", json!({"task": "purge"})).await.unwrap()["purged"], 0);
    workers.run("operator", json!({"command": "restore-tenant", "tenant": agency.slug})).await.unwrap();
    world.get(PROJECTS).token(&key).send().await.expect(200);
    assert_eq!(world.get(PROJECTS).token(&quiet).send().await.expect(403).code(), "TENANT_SUSPENDED");
    let owner = world.login(&agency.owner.email, &agency.owner.password).await;
    let statuses = world.get(SUBACCOUNTS).token(&owner.token).send().await.expect(200).json();
    let mut statuses: Vec<&str> =
        statuses["data"].as_array().expect("children").iter().filter_map(|child| child["status"].as_str()).collect();
    // Ids of one millisecond have no order.
    statuses.sort_unstable();
    assert_eq!(statuses, ["active", "closed", "suspended"]);

    // Requested by an operator this time. The janitor closes what the request left open.
    workers.run("operator", json!({"command": "purge-tenant", "tenant": agency.slug})).await.unwrap();
    let tenant_of = |child: &Value| child["tenant_id"].as_str().expect("an id").to_owned();
    world.change_item(&format!("T#{}#tenant", tenant_of(&open)), "profile", |item| item["status"] = json!({"S": "active"}));
    world.get(PROJECTS).token(&key).send().await.expect(200);
    workers.run("janitor", json!({"task": "purge"})).await.unwrap();
    world.get(PROJECTS).token(&key).send().await.expect(401);
    world.advance(SignedDuration::from_hours(8 * 24));
    workers.run("janitor", json!({"task": "purge"})).await.unwrap();
    drain(&world, &workers).await;
    let receipts = workers.run("operator", json!({"command": "list-receipts"})).await.unwrap().to_string();
    for gone in [agency.id.clone(), tenant_of(&open), tenant_of(&suspended), tenant_of(&closed)] {
        let left: Vec<Value> =
            world.items().into_iter().filter(|item| item["pk"]["S"].as_str().is_some_and(|pk| pk.contains(&gone))).collect();
        assert_eq!(left, Vec::<Value>::new(), "{gone}");
        assert!(receipts.contains(&gone), "{gone}: {receipts}");
    }
    world.get(PROJECTS).token(&other).send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_subaccount_is_made_behind_the_back_of_its_agencys_deletion() {
    let world = World::new().await;
    for round in 0..8 {
        let agency = world.tenant(&format!("agency{round}")).await;
        let makes = join_all((0..6).map(|_| world.post(SUBACCOUNTS).token(&agency.owner.token).json(json!({"name": "x"})).send()));
        let (made, deleted) = tokio::join!(makes, world.delete("/api/tenant").token(&agency.owner.token).send());
        deleted.expect(200);
        for child in made.iter().filter(|answer| answer.status == 201) {
            let tenant = child.json()["data"]["tenant_id"].as_str().expect("an id").to_owned();
            let pk = format!("T#{tenant}#tenant");
            let profile = world.items().into_iter().find(|item| item["pk"]["S"] == pk.as_str()).expect("the child");
            assert_eq!(profile["status"]["S"], "deleting", "round {round}");
        }
    }
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
    // Its own people cannot remove the limit, and cannot see who set it.
    world.put(&limits).token(&key).json(json!({})).send().await.expect(404);
    let answers = join_all((0..30).map(|_| world.get(PROJECTS).token(&key).send())).await;
    assert!(answers.iter().filter(|answer| answer.status == 200).count() <= 5);
    assert!(answers.iter().any(|answer| answer.status == 429 && answer.details()["quota"] == "api_requests_per_day"));
    world.get(PROJECTS).token(&agency.owner.token).send().await.expect(200);
}

#[tokio::test]
async fn whoever_acts_for_a_child_spends_what_the_child_may() {
    let world = World::with(Settings { strict: true, plans: json!({"free": {"subaccounts": 10}}), ..Settings::default() }).await;
    let agency = world.tenant("agency").await;
    let child = subaccount(&world, &agency, json!({"limits": {"api_requests_per_day": 5}})).await;
    let act = async || acting(world.get(PROJECTS), &agency, id(&child)).send().await;
    for _ in 0..5 {
        act().await.expect(200);
    }
    assert_eq!(act().await.expect(429).details()["quota"], "api_requests_per_day");
    // The agency's own day goes on, and so does the child's where it may more.
    world.get(PROJECTS).token(&agency.owner.token).send().await.expect(200);
    world.put(format!("{SUBACCOUNTS}/{}/limits", id(&child))).token(&agency.owner.token).json(json!({})).send().await.expect(200);
    act().await.expect(200);
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
    let mut each: Vec<u64> =
        answer["subaccounts"].as_array().expect("subaccounts").iter().filter_map(|child| child["api_calls"].as_u64()).collect();
    each.sort_unstable();
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

fn uuid_of_key(prefixed: &str) -> String {
    uuid_of(prefixed.trim_start_matches("key_"))
}

fn uuid_of(prefixed: &str) -> String {
    let hex = prefixed.trim_start_matches("sub_");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
