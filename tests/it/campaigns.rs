//! Campaigns as drafts: what they answer, what they refuse, that they stay in their workspace, and that a dry run counts as a person would.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::lifecycle::export;
use crate::workers::{Workers, drain};
use crate::workspaces::{add, workspace};
use crate::world::{Answer, Caller, Tenant, World, id};

const ALL: &str = "/api/v1/tenant/campaigns";
const LEADS: &str = "/api/v1/tenant/leads";
const WORKSPACES: &str = "/api/v1/tenant/workspaces";

async fn home() -> (World, Tenant, Value) {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let workspace = workspace(&world, &own.owner, "Client").await;
    (world, own, workspace)
}

async fn post(world: &World, caller: &Caller, path: &str, body: Value) -> Answer {
    // Ids of one moment have no order.
    world.advance(SignedDuration::from_millis(5));
    world.post(path).token(&caller.token).json(body).send().await
}

/// The id of what a request makes.
async fn made(world: &World, caller: &Caller, path: &str, body: Value) -> String {
    id(&post(world, caller, path, body).await.expect(201).json()["data"]).to_owned()
}

async fn change(world: &World, caller: &Caller, campaign: &str, body: Value) -> Answer {
    world.advance(SignedDuration::from_millis(5));
    world.patch(format!("{ALL}/{campaign}")).token(&caller.token).json(body).send().await
}

async fn shown(world: &World, caller: &Caller, campaign: &str) -> Value {
    world.get(format!("{ALL}/{campaign}")).token(&caller.token).send().await.expect(200).json()["data"].clone()
}

async fn dry_run(world: &World, caller: &Caller, campaign: &str) -> Value {
    post(world, caller, &format!("{ALL}/{campaign}/dry-run"), json!({})).await.expect(200).json()["data"].clone()
}

/// The names on a page, and the total.
async fn names(world: &World, caller: &Caller, query: &str) -> (Vec<String>, u64) {
    let page = world.get(format!("{ALL}{query}")).token(&caller.token).send().await.expect(200).json();
    let names = page["data"].as_array().expect("a list").iter().filter_map(|one| one["name"].as_str().map(str::to_owned)).collect();
    (names, page["pagination"]["total"].as_u64().expect("a total"))
}

fn faults(answer: &Answer) -> Vec<String> {
    answer.details().as_object().expect("fields").keys().cloned().collect()
}

fn of_type(world: &World, tenant: &Tenant) -> BTreeMap<String, usize> {
    let kinds = world.items_of(tenant).into_iter().filter_map(|item| Some(item["type"]["S"].as_str()?.to_owned()));
    kinds.filter(|kind| kind.starts_with("campaign")).fold(BTreeMap::new(), |mut counts, kind| {
        *counts.entry(kind).or_default() += 1;
        counts
    })
}

fn sequence() -> Value {
    json!([
        {"type": "email", "subject": "Hi {{first_name}}", "body": "<p>Hello</p> {{unsubscribe_url}}"},
        {"type": "wait", "value": 2, "unit": "days"},
        {"type": "condition", "rule": {"field": "steps[1].opened", "op": "equals", "value": true}, "then": null, "else": 4},
        {"type": "email", "subject": "Again", "body": "<p>Still there?</p>"},
    ])
}

#[tokio::test]
async fn the_documented_shapes_are_met() {
    let (world, own, _) = home().await;
    let owner = &own.owner;
    let created = post(&world, owner, ALL, json!({"workspace_slug": "client", "name": "Spring", "goal": "sales"})).await.expect(201);
    let campaign = id(&created.json()["data"]).to_owned();
    assert!(campaign.starts_with("cmp_") && created.header("etag") == "\"1.0\"");
    assert_eq!(created.json(), json!({"success": true, "data": {"id": campaign, "name": "Spring", "status": "draft"}}));
    let read = world.get(format!("{ALL}/{campaign}")).token(&owner.token).send().await.expect(200);
    let data = read.json()["data"].clone();
    let now = data["created_at"].clone();
    let stats = json!({"sent": 0, "opened": 0, "replied": 0});
    let settings = json!({
        "from_name": null, "from_email": null, "reply_to": null, "daily_limit": 50, "window": null, "timezone": "UTC", "track_opens": true,
        "track_clicks": true, "unsubscribe_enabled": true, "pause_on_reply": true, "ooo_delay_days": 3, "required_variables": [],
        "brake": {"bounce": 5, "complaint": 0.3},
    });
    let counts = json!({
        "enrolled": 0, "skipped": 0, "sent": 0, "failed": 0, "unknown": 0, "dropped": 0, "bounced": 0, "complained": 0, "unsubscribed": 0,
        "opened": 0, "clicked": 0, "replied": 0,
    });
    let whole = json!({
        "id": campaign, "name": "Spring", "status": "draft", "goal": "sales", "description": null, "sequence": [], "settings": settings,
        "audience": null, "start_at": null, "stats": stats, "counts": counts, "pacing": null, "paused_by": null, "launched_at": null,
        "completed_at": null, "warnings": [], "created_at": now, "updated_at": now,
    });
    assert_eq!((data, read.header("etag")), (whole, "\"1.0\""));
    let cached = world.get(format!("{ALL}/{campaign}")).token(&owner.token).header("if-none-match", "\"1.0\"").send().await;
    assert_eq!(cached.status, 304);
    let page = world.get(format!("{ALL}?workspace=client")).token(&owner.token).send().await.expect(200).json();
    let summary = json!({"id": campaign, "name": "Spring", "status": "draft", "stats": stats, "created_at": now});
    let pagination = json!({"total": 1, "limit": 20, "offset": 0, "has_more": false, "next_cursor": null});
    assert_eq!(page, json!({"success": true, "data": [summary], "pagination": pagination}));
    assert_eq!(world.delete(format!("{ALL}/{campaign}")).token(&owner.token).send().await.expect(204).text, "");
    let missing = world.get(format!("{ALL}/{campaign}")).token(&owner.token).send().await.expect(404);
    assert_eq!((missing.code().as_str(), &missing.json()["error"]["message"]), ("RESOURCE_NOT_FOUND", &json!("Campaign not found")));
    assert_eq!(names(&world, owner, "").await, (vec![], 0));
    assert_eq!(of_type(&world, &own), BTreeMap::new());
}

#[tokio::test]
async fn a_change_keeps_the_rest_and_one_of_nothing_keeps_the_version() {
    let (world, own, _) = home().await;
    let owner = &own.owner;
    let lead = made(&world, owner, LEADS, json!({"email": "a@b.example"})).await;
    let body = json!({
        "name": "Spring", "description": "First", "sequence": sequence(), "audience": {"lead_ids": [lead, lead]},
        "settings": {"window": {"days": ["fri", "mon"], "from": "09:00", "to": "24:00"}, "timezone": "europe/berlin", "daily_limit": null},
        "start_at": "2099-01-01T00:00:00Z",
    });
    assert_eq!(faults(&post(&world, owner, ALL, body.clone()).await.expect(400)), ["start_at"]);
    let mut body = body;
    body["start_at"] = Value::Null;
    let campaign = made(&world, owner, ALL, body).await;
    let before = shown(&world, owner, &campaign).await;
    assert_eq!(before["settings"]["window"], json!({"days": ["mon", "fri"], "from": "09:00", "to": "24:00"}));
    assert_eq!((&before["settings"]["timezone"], &before["settings"]["daily_limit"]), (&json!("Europe/Berlin"), &Value::Null));
    assert_eq!((&before["audience"]["lead_ids"], before["sequence"][3]["step"].as_u64()), (&json!([lead]), Some(4)));
    assert_eq!(before["sequence"][2]["else"], 4);
    let warnings: Vec<(u64, &str)> = before["warnings"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| (one["step"].as_u64().expect("a number"), one["code"].as_str().expect("a code")))
        .collect();
    assert_eq!(warnings, [(4, "no_unsubscribe_url")]);
    // As it is shown, it may come back: nothing changes.
    let same = json!({
        "name": before["name"], "goal": before["goal"], "description": before["description"], "sequence": before["sequence"],
        "settings": before["settings"], "audience": before["audience"], "start_at": before["start_at"],
    });
    for same in [same, json!({}), json!({"settings": {}})] {
        let again = change(&world, owner, &campaign, same).await.expect(200);
        assert_eq!((again.header("etag"), &again.json()["data"]), ("\"1.0\"", &before));
    }
    // Settings are merged, by both routes.
    let changed =
        change(&world, owner, &campaign, json!({"settings": {"daily_limit": 10, "brake": {"complaint": 0.25}}})).await.expect(200);
    let settings = &changed.json()["data"]["settings"];
    assert_eq!((&settings["daily_limit"], &settings["brake"]), (&json!(10), &json!({"bounce": 5, "complaint": 0.25})));
    assert_eq!((&settings["window"], changed.header("etag")), (&before["settings"]["window"], "\"2.0\""));
    let config = json!({"window": null, "timezone": null, "required_variables": ["firstName", "custom.plan"], "from_name": "Ada"});
    let config = world.patch(format!("{ALL}/{campaign}/config")).token(&owner.token).json(config).send().await.expect(200);
    let settings = &config.json()["data"]["settings"];
    assert_eq!((&settings["window"], &settings["timezone"], &settings["daily_limit"]), (&Value::Null, &json!("UTC"), &json!(10)));
    assert_eq!(settings["required_variables"], json!(["first_name", "custom.plan"]));
    // Sequence and audience are replaced as a whole, and nothing of the old ones is left.
    assert_eq!(of_type(&world, &own)["campaign_step"], 4);
    let shorter = json!({"sequence": [{"type": "email"}], "audience": {"tag": "VIP"}});
    let shorter = change(&world, owner, &campaign, shorter).await.expect(200).json()["data"].clone();
    assert_eq!(shorter["sequence"], json!([{"type": "email", "step": 1, "subject": null, "body": null, "template_id": null}]));
    assert_eq!((&shorter["audience"]["tag"], &shorter["audience"]["lead_ids"]), (&json!("VIP"), &Value::Null));
    assert_eq!(of_type(&world, &own)["campaign_step"], 1);
    let cleared = json!({"sequence": null, "audience": null, "description": null});
    let cleared = change(&world, owner, &campaign, cleared).await.expect(200);
    assert_eq!((&cleared.json()["data"]["sequence"], &cleared.json()["data"]["audience"]), (&json!([]), &Value::Null));
    assert_eq!(of_type(&world, &own), BTreeMap::from([("campaign".to_owned(), 1)]));
    let conditional = |etag: &'static str| {
        let request = world.patch(format!("{ALL}/{campaign}")).token(&owner.token).header("if-match", etag);
        request.json(json!({"name": "Conditional"})).send()
    };
    assert_eq!(conditional("\"4.0\"").await.expect(412).code(), "PRECONDITION_FAILED");
    conditional("\"5.0\"").await.expect(200);
    world.delete(format!("{ALL}/{campaign}")).token(&owner.token).header("if-match", "\"5.0\"").send().await.expect(412);
    world.delete(format!("{ALL}/{campaign}")).token(&owner.token).header("if-match", "\"6.0\"").send().await.expect(204);
}

#[tokio::test]
async fn every_fault_is_named_at_once_with_its_place() {
    let (world, own, _) = home().await;
    let owner = &own.owner;
    let lead = made(&world, owner, LEADS, json!({"email": "a@b.example"})).await;
    let wrong = json!({
        "name": "", "goal": "fame", "description": 1, "colour": "red", "start_at": "tomorrow",
        "sequence": [
            {"type": "email", "subject": "{{", "body": "a\n{{#x}}"}, {"type": "wait", "value": 0, "unit": "days"},
            {"type": "condition", "rule": {"field": "steps[2].opened", "op": "equals", "value": true}, "then": 1}, {"type": "sms"}, 5,
        ],
        "settings": {
            "from_name": "", "from_email": "nobody", "daily_limit": 0, "timezone": "Mars/Olympus", "track_opens": "yes", "ooo_delay_days": 31,
            "required_variables": ["sender_name"], "window": {"days": [], "from": "10:00", "to": "09:00"}, "brake": {"bounce": 101}, "speed": 1,
        },
        "audience": {"lead_ids": [lead], "tag": "x", "list_ids": ["list_1"], "exclude": {"campaign_ids": [1], "tags": []}},
    });
    let expected = [
        "audience.exclude.campaign_ids",
        "audience.exclude.tags",
        "audience.list_ids",
        "audience.tag",
        "colour",
        "description",
        "goal",
        "name",
        "sequence[0].body",
        "sequence[0].subject",
        "sequence[1].value",
        "sequence[2].else",
        "sequence[2].rule.field",
        "sequence[2].then",
        "sequence[3].type",
        "sequence[4]",
        "settings.brake.bounce",
        "settings.daily_limit",
        "settings.from_email",
        "settings.from_name",
        "settings.ooo_delay_days",
        "settings.required_variables",
        "settings.speed",
        "settings.timezone",
        "settings.track_opens",
        "settings.window.days",
        "settings.window.to",
        "start_at",
    ];
    let refused = post(&world, owner, ALL, wrong.clone()).await.expect(400);
    assert_eq!(faults(&refused), expected);
    assert!(refused.details()["sequence[0].body"][0].as_str().is_some_and(|told| told.contains("line 2, column")), "{}", refused.text);
    let campaign = made(&world, owner, ALL, json!({"name": "n"})).await;
    assert_eq!(faults(&change(&world, owner, &campaign, wrong).await.expect(400)), expected);
    for (body, place) in [
        (json!({"sequence": vec![json!({"type": "email"}); 8]}), "sequence"),
        (json!({"sequence": {}}), "sequence"),
        (json!({"audience": {}}), "audience.lead_ids"),
        (json!({"audience": {"lead_ids": []}}), "audience.lead_ids"),
        (json!({"audience": []}), "audience"),
        (json!({"settings": {"window": {"days": ["mon"]}}}), "settings.window.from"),
        (json!({"name": null}), "name"),
        (json!({"start_at": "2020-01-01T00:00:00Z"}), "start_at"),
    ] {
        let refused = change(&world, owner, &campaign, body.clone()).await.expect(400);
        assert!(faults(&refused).contains(&place.to_owned()), "{body}: {}", refused.text);
    }
    let large = json!({"sequence": vec![json!({"type": "email", "subject": "s", "body": "x".repeat(250 * 1024)}); 4]});
    change(&world, owner, &campaign, large).await.expect(200);
    let too_large = json!({"sequence": vec![json!({"type": "email", "body": "x".repeat(270 * 1024)}); 4]});
    change(&world, owner, &campaign, too_large).await.expect(413);
    let config = world.patch(format!("{ALL}/{campaign}/config")).token(&owner.token).json(json!({"name": "x", "daily_limit": "5"}));
    assert_eq!(faults(&config.send().await.expect(400)), ["daily_limit", "name"]);
    // A state in which it cannot be done.
    let item = world.items_of_type("campaign").remove(0);
    let (pk, sk) = (item["pk"]["S"].as_str().expect("a key"), item["sk"]["S"].as_str().expect("a key"));
    for (status, edit, delete) in [("active", 200, 409), ("completed", 409, 204)] {
        world.change_item(pk, sk, |item| item["status"] = json!({"S": status}));
        let edited = change(&world, owner, &campaign, json!({"description": status})).await.expect(edit);
        let deleted = world.delete(format!("{ALL}/{campaign}")).token(&owner.token).send().await.expect(delete);
        for answer in [edited, deleted] {
            assert!(answer.status < 300 || answer.code() == "CAMPAIGN_INVALID_STATE", "{}", answer.text);
        }
    }
}

#[tokio::test]
async fn a_campaign_and_what_it_names_are_in_its_workspace_alone() {
    let (world, own, _) = home().await;
    let owner = &own.owner;
    let other = workspace(&world, owner, "Other").await;
    let there = async |path: &str, mut body: Value| {
        body["workspace_slug"] = json!("other");
        made(&world, owner, path, body).await
    };
    let template = json!({"name": "T", "subject": "s", "body": "b"});
    let rule = json!({"field": "city", "op": "exists"});
    let of_other = [
        there(LEADS, json!({"email": "a@b.example"})).await,
        there("/api/v1/tenant/leads/lists", json!({"name": "L"})).await,
        there("/api/v1/tenant/leads/segments", json!({"name": "S", "rule": rule})).await,
        there("/api/v1/tenant/templates", template).await,
        there(ALL, json!({"name": "Theirs"})).await,
    ];
    let campaign = made(&world, owner, ALL, json!({"name": "Mine", "workspace_slug": "client"})).await;
    let nobodys = |id: &str| format!("{}{}", id.split_once('_').map_or("", |(prefix, _)| prefix), "_0198c0de000070008000000000000000");
    let on_list = |id: &str| json!({"field": "lists", "op": "contains", "value": id});
    let excluding = |name: &str, value: Value| json!({"audience": {"tag": "x", "exclude": {name: value}}});
    let bodies = |ids: &[String; 5]| {
        let [lead, list, segment, template, campaign] = ids;
        [
            ("Lead", json!({"audience": {"lead_ids": [lead]}})),
            ("List", json!({"audience": {"list_ids": [list]}})),
            ("Segment", json!({"audience": {"segment_id": segment}})),
            ("List", excluding("list_ids", json!([list]))),
            ("Segment", excluding("segment_id", json!(segment))),
            ("Campaign", excluding("campaign_ids", json!([campaign]))),
            ("Template", json!({"sequence": [{"type": "email", "template_id": template}]})),
            ("List", json!({"sequence": [{"type": "condition", "rule": on_list(list), "then": null, "else": null}]})),
        ]
    };
    for ((noun, foreign), (_, missing)) in bodies(&of_other).into_iter().zip(bodies(&of_other.clone().map(|id| nobodys(&id)))) {
        let mut prints = vec![];
        for body in [foreign, missing] {
            let changed = change(&world, owner, &campaign, body.clone()).await.expect(404);
            assert_eq!(changed.json()["error"]["message"], format!("{noun} not found"));
            let mut new = body;
            (new["name"], new["workspace_slug"]) = (json!("New"), json!("client"));
            prints.push((changed.fingerprint(), post(&world, owner, ALL, new).await.expect(404).fingerprint()));
        }
        assert_eq!(prints[0], prints[1], "{noun}");
    }
    assert_eq!(names(&world, owner, "?workspace=client").await, (vec!["Mine".to_owned()], 1));
    // In the workspace itself all of it is taken.
    for (_, body) in bodies(&of_other) {
        change(&world, owner, &of_other[4], body).await.expect(200);
    }
    let (viewer, outsider) = (world.member(&own, "viewer").await, world.member(&own, "member").await);
    add(&world, owner, "client", &viewer, "viewer").await.expect(201);
    add(&world, owner, id(&other), &outsider, "admin").await.expect(201);
    let routes: [(&'static str, &str, u16); 6] = [
        ("GET", "", 200),
        ("PATCH", "", 403),
        ("DELETE", "", 403),
        ("PATCH", "/config", 403),
        ("POST", "/duplicate", 403),
        ("POST", "/dry-run", 200),
    ];
    for (method, suffix, as_viewer) in routes {
        let ask = async |campaign: &str, caller: &Caller, header: Option<&str>| {
            let mut request = world.request(method, format!("{ALL}/{campaign}{suffix}")).token(&caller.token);
            if matches!(method, "PATCH" | "POST") {
                request = request.json(json!({}));
            }
            if let Some(workspace) = header {
                request = request.header("x-workspace-id", workspace);
            }
            request.send().await
        };
        let missing = ask(&nobodys(&campaign), owner, None).await.expect(404).fingerprint();
        for (campaign, caller, header) in [
            (of_other[4].as_str(), owner, Some("client")),
            (&campaign, owner, Some("other")),
            (&campaign, &outsider, None),
            ("cmp_x", owner, None),
        ] {
            assert_eq!(ask(campaign, caller, header).await.fingerprint(), missing, "{method} {campaign}{suffix}");
        }
        ask(&campaign, &viewer, None).await.expect(as_viewer);
    }
    post(&world, &viewer, ALL, json!({"name": "n"})).await.expect(403);
}

#[tokio::test]
async fn lists_filter_and_a_repeat_makes_one() {
    let (world, own, _) = home().await;
    let owner = &own.owner;
    for name in ["Spring", "Summer", "Österreich"] {
        made(&world, owner, ALL, json!({"name": name})).await;
    }
    let all = |names: &[&str]| (names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), names.len() as u64);
    assert_eq!(names(&world, owner, "").await, all(&["Österreich", "Summer", "Spring"]));
    assert_eq!(names(&world, owner, "?search=s").await, all(&["Österreich", "Summer", "Spring"]));
    assert_eq!(names(&world, owner, "?search=%C3%96STER").await, all(&["Österreich"]));
    assert_eq!(names(&world, owner, "?status=draft&search=su").await, all(&["Summer"]));
    assert_eq!(names(&world, owner, "?status=active").await, all(&[]));
    assert_eq!(names(&world, owner, "?limit=1&offset=1").await, (vec!["Summer".to_owned()], 3));
    for query in ["?status=sent", "?colour=red", "?limit=101"] {
        world.get(format!("{ALL}{query}")).token(&owner.token).send().await.expect(400);
    }
    let again =
        || world.post(ALL).token(&owner.token).header("idempotency-key", "k").json(json!({"name": "Once", "sequence": sequence()})).send();
    let (first, second) = (again().await.expect(201), again().await.expect(201));
    assert_eq!((first.text.as_str(), second.header("idempotency-replayed")), (second.text.as_str(), "true"));
    assert_eq!(of_type(&world, &own)["campaign"], 4);
    // A copy says the same.
    let once = id(&first.json()["data"]).to_owned();
    let copy = post(&world, owner, &format!("{ALL}/{once}/duplicate"), json!({})).await.expect(201).json()["data"].clone();
    assert_eq!((&copy["name"], &copy["status"]), (&json!("Copy of Once"), &json!("draft")));
    let (of, copied) = (shown(&world, owner, &once).await, shown(&world, owner, id(&copy)).await);
    assert_eq!((&copied["sequence"], &copied["settings"]), (&of["sequence"], &of["settings"]));
    let named = post(&world, owner, &format!("{ALL}/{once}/duplicate"), json!({"name": "Other"})).await.expect(201).json()["data"].clone();
    world.delete(format!("{ALL}/{once}")).token(&owner.token).send().await.expect(204);
    assert_eq!(shown(&world, owner, id(&named)).await["sequence"], of["sequence"]);
    assert_eq!(of_type(&world, &own), BTreeMap::from([("campaign".to_owned(), 5), ("campaign_step".to_owned(), 8)]));
}

#[tokio::test]
async fn a_dry_run_counts_as_a_person_would() {
    let (world, own, place) = home().await;
    let owner = &own.owner;
    let lists = [
        made(&world, owner, "/api/v1/tenant/leads/lists", json!({"name": "A"})).await,
        made(&world, owner, "/api/v1/tenant/leads/lists", json!({"name": "B"})).await,
        made(&world, owner, "/api/v1/tenant/leads/lists", json!({"name": "Out"})).await,
    ];
    let rule = json!({"field": "city", "op": "equals", "value": "Paris"});
    let segment = made(&world, owner, "/api/v1/tenant/leads/segments", json!({"name": "Paris", "rule": rule})).await;
    let mut expected = BTreeMap::<&str, u64>::new();
    let mut gets = 0;
    for number in 0..240_u32 {
        // Each property has a period of its own, so that they meet in every way.
        let (on_a, on_b, out) = (number % 2 == 0, number % 3 == 0, number % 11 == 0);
        let on: Vec<&String> = [(on_a, 0), (on_b, 1), (out, 2)].into_iter().filter(|(on, _)| *on).map(|(_, at)| &lists[at]).collect();
        let mut body = json!({"email": format!("lead{number}@corp.example"), "list_ids": on});
        if number % 5 != 0 {
            body["first_name"] = json!("Ada");
        }
        if number % 7 == 0 {
            body["city"] = json!("paris");
        }
        let lead = made(&world, owner, LEADS, body).await;
        let status = ["active", "unsubscribed", "bounced", "complained"][if number % 13 == 0 { (number as usize / 13) % 4 } else { 0 }];
        let item =
            world.items_of_type("lead").into_iter().find(|item| item["email"]["S"] == format!("lead{number}@corp.example")).expect("it");
        world.change_item(item["pk"]["S"].as_str().expect("a key"), item["sk"]["S"].as_str().expect("a key"), |item| {
            item["email_status"] = json!({"S": status});
        });
        let suppressed = number % 17 == 0;
        if suppressed {
            let scope = if number % 34 == 0 { "tenant" } else { "workspace" };
            let body = json!({"email": format!("LEAD{number}@corp.example"), "scope": scope, "reason": "manual"});
            post(&world, owner, "/api/v1/tenant/suppression-list", body).await.expect(201);
        }
        assert!(lead.starts_with("lead_"));
        if !on_a && !on_b {
            continue;
        }
        *expected.entry("duplicate").or_default() += u64::from(on_a && on_b);
        let reason = match () {
            () if status != "active" => status,
            () if suppressed => "suppressed",
            () if out || number % 7 == 0 => "excluded",
            () if number % 5 == 0 => "missing_variable",
            () => {
                gets += 1;
                continue;
            }
        };
        *expected.entry(reason).or_default() += 1;
    }
    let body = json!({
        "name": "Mixed", "sequence": sequence(), "settings": {"required_variables": ["first_name"], "daily_limit": 20},
        "audience": {"list_ids": lists[..2], "exclude": {"list_ids": [lists[2]], "segment_id": segment}},
    });
    let campaign = made(&world, owner, ALL, body).await;
    let before = world.items_of(&own).len();
    let found = dry_run(&world, owner, &campaign).await;
    assert_eq!((&found["would_get"], &found["excluded"]), (&json!(gets), &json!(expected)));
    assert!(
        ["duplicate", "suppressed", "unsubscribed", "bounced", "complained", "excluded", "missing_variable"]
            .iter()
            .all(|word| expected[word] > 0)
    );
    let example = |reason: &str| found["examples"][reason][0].clone();
    assert_eq!(example("missing_variable")["detail"], "first_name");
    assert_eq!((&example("suppressed")["detail"], &example("duplicate")["detail"]), (&json!("manual"), &Value::Null));
    assert!(example("excluded")["email"].as_str().is_some_and(|email| email.ends_with("@corp.example")));
    for (reason, many) in &expected {
        assert_eq!(
            found["examples"][reason].as_array().map(Vec::len),
            Some(usize::try_from(*many).expect("a number").min(100)),
            "{reason}"
        );
    }
    let days: Vec<u64> = found["forecast"].as_array().expect("days").iter().map(|day| day["mails"].as_u64().expect("a number")).collect();
    assert!(days.iter().sum::<u64>() == gets && days.iter().rev().skip(1).all(|mails| *mails == 20), "{days:?}");
    let problems = |found: &Value| -> Vec<String> {
        found["problems"].as_array().expect("problems").iter().filter_map(|one| one["code"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(problems(&found), ["SENDER_NAME_MISSING", "SENDER_ADDRESS_MISSING"]);
    // The same people by segment, by tag and by name; what is gone is told.
    change(&world, owner, &campaign, json!({"audience": {"segment_id": segment}, "settings": {"required_variables": []}}))
        .await
        .expect(200);
    let paris = dry_run(&world, owner, &campaign).await;
    let in_paris = paris["would_get"].as_u64().expect("a number");
    let others: u64 = paris["excluded"].as_object().expect("reasons").values().filter_map(Value::as_u64).sum();
    assert_eq!(in_paris + others, (0..240).filter(|number| number % 7 == 0).count() as u64);
    change(&world, owner, &campaign, json!({"audience": {"tag": "nobody"}, "sequence": []})).await.expect(200);
    assert!(["CAMPAIGN_NO_LEADS", "CAMPAIGN_EMPTY_SEQUENCE"].iter().all(|code| !problems(&found).contains(&(*code).to_owned())));
    let nobody = dry_run(&world, owner, &campaign).await;
    assert!(
        ["CAMPAIGN_NO_LEADS", "CAMPAIGN_EMPTY_SEQUENCE"].iter().all(|code| problems(&nobody).contains(&(*code).to_owned())),
        "{nobody}"
    );
    change(&world, owner, &campaign, json!({"audience": {"list_ids": [lists[0]]}})).await.expect(200);
    world.delete(format!("/api/v1/tenant/leads/lists/{}", lists[0])).token(&owner.token).send().await.expect(204);
    let gone = dry_run(&world, owner, &campaign).await;
    assert!(
        problems(&gone).contains(&"CAMPAIGN_AUDIENCE_GONE".to_owned()) && gone["would_get"] == 0 && gone["forecast"] == json!([]),
        "{gone}"
    );
    assert!(world.items_of(&own).len() <= before + 5);
    // There is an end to how many.
    let tag = &id(&place)[id(&place).len() - 12..];
    world.change_item(&format!("T#{}#counters#{tag}", own.id), "leads", |item| item["n"] = json!({"N": "20001"}));
    let refused = post(&world, owner, &format!("{ALL}/{campaign}/dry-run"), json!({})).await.expect(400);
    assert!(refused.text.contains("at most 20000 leads"), "{}", refused.text);
}

#[tokio::test]
async fn a_deleted_workspace_takes_its_campaigns_with_it() {
    let (world, own, doomed) = home().await;
    let owner = &own.owner;
    let workers = Workers::on(&world);
    let body = json!({"name": "Gone", "sequence": sequence(), "audience": {"tag": "x"}});
    let campaign = made(&world, owner, ALL, body).await;
    let confirm = json!({"confirm": "Client"});
    world.delete(format!("{WORKSPACES}/{}", id(&doomed))).token(&owner.token).json(confirm).send().await.expect(204);
    world.get(format!("{ALL}/{campaign}")).token(&owner.token).send().await.expect(404);
    drain(&world, &workers).await;
    let tag = &id(&doomed)[id(&doomed).len() - 12..];
    let left = world.items_of(&own).into_iter().filter(|item| item["pk"]["S"].as_str().is_some_and(|pk| pk.contains(tag)));
    assert_eq!(left.map(|item| item["pk"]["S"].clone()).collect::<Vec<_>>(), Vec::<Value>::new());
}

#[tokio::test]
async fn campaigns_stand_in_the_audit_log_the_export_and_the_import() {
    let (world, own, _) = home().await;
    let owner = &own.owner;
    let workers = Workers::on(&world);
    let campaign = made(&world, owner, ALL, json!({"name": "Kept", "sequence": sequence(), "audience": {"tag": "x"}})).await;
    let before = shown(&world, owner, &campaign).await;
    drain(&world, &workers).await;
    let log = world.get("/api/tenant/audit-log").token(&owner.token).send().await.expect(200).json();
    assert!(log.to_string().contains("\"campaign\"") && !log.to_string().contains("campaign_step"), "{log}");
    let (lines, _) = export(&world, owner).await;
    let imported = workers.import(records::ALL_RESTORED, &owner.email, &lines).await;
    let counts = ["campaign", "campaign_step", "campaign_audience"].map(|kind| imported["imported"][kind].as_u64());
    assert_eq!(counts, [Some(1), Some(4), Some(1)], "{imported}");
    let twin = imported["tenant"].as_str().expect("a tenant");
    let again = world.login(&owner.email, &owner.password).await;
    let ask = |request: crate::world::Request| request.token(&again.token).header("x-tenant-id", twin).send();
    assert_eq!(ask(world.get(format!("{ALL}/{campaign}"))).await.expect(200).json()["data"], before);
    let list = ask(world.get(format!("{ALL}?search=kep"))).await.expect(200).json();
    assert_eq!((&list["pagination"]["total"], &list["data"][0]["name"]), (&json!(1), &json!("Kept")));
    assert_eq!(ask(world.get(ALL)).await.expect(200).json()["pagination"]["total"], 1);
}

/// A campaign of four steps. The door alone costs 5 reads, and 2 writes for the limits.
#[tokio::test]
async fn each_operation_costs_no_more_than_it_must() {
    let (world, own, place) = home().await;
    let owner = &own.owner;
    let named = |request: crate::world::Request| request.token(&owner.token).header("x-workspace-id", id(&place)).send();
    let body = json!({"name": "Spring", "sequence": sequence(), "audience": {"tag": "x"}});
    let campaign = id(&named(world.post(ALL).json(body.clone())).await.expect(201).json()["data"]).to_owned();
    let path = format!("{ALL}/{campaign}");
    named(world.get(ALL)).await.expect(200);
    let mut costs = vec![];
    for (name, request, reads, writes, trips) in [
        ("list", world.get(ALL), 7.0, 2.0, 2),
        ("list, filtered", world.get(format!("{ALL}?status=draft")), 7.5, 2.0, 3),
        ("create", world.post(ALL).json(body), 5.0, 19.0, 2),
        ("show", world.get(&path), 8.0, 2.0, 2),
        ("change the name", world.patch(&path).json(json!({"name": "Summer"})), 8.0, 4.0, 3),
        ("configure", world.patch(format!("{path}/config")).json(json!({"daily_limit": 9})), 8.0, 3.0, 3),
        ("change the sequence", world.patch(&path).json(json!({"sequence": [{"type": "email"}]})), 8.0, 14.0, 3),
        ("dry run", world.post(format!("{path}/dry-run")).json(json!({})), 11.0, 2.0, 4),
        ("duplicate", world.post(format!("{path}/duplicate")).json(json!({})), 8.0, 13.0, 3),
        ("delete", world.delete(&path), 6.0, 15.0, 2),
    ] {
        let answer = named(request).await;
        let metered = answer.metered.expect("metered");
        assert!(answer.status < 300, "{name}: {}", answer.text);
        let spent = (metered.read_units, metered.write_units, metered.round_trips);
        if spent.0 > reads || spent.1 > writes || spent.2 > trips {
            costs.push(format!("{name} costs {spent:?}"));
        }
    }
    assert_eq!(costs, Vec::<String>::new());
}
