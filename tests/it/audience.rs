//! Leads, lists, segments and the suppression list: what they answer, what they refuse, and that every count stays true.

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::workers::{Workers, drain};
use crate::workspaces::{add, workspace};
use crate::world::{Answer, Caller, Request, Settings, Tenant, World, id};

const LEADS: &str = "/api/v1/tenant/leads";
const LISTS: &str = "/api/v1/tenant/leads/lists";
const SEGMENTS: &str = "/api/v1/tenant/leads/segments";
const SUPPRESSIONS: &str = "/api/v1/tenant/suppression-list";
/// Ids that are nobody's, in no workspace.
const NOBODY: &str = "00000000000070008000000000000000";

/// A tenant with one workspace.
async fn acme(world: &World) -> (Tenant, String) {
    let acme = world.tenant("acme").await;
    let place = workspace(world, &acme.owner, "Main").await;
    (acme, id(&place).to_owned())
}

/// A request of somebody in a workspace.
fn asks(world: &World, method: &'static str, path: &str, who: &Caller, workspace: &str) -> Request {
    world.request(method, path).token(&who.token).header("x-workspace-id", workspace)
}

async fn lead(world: &World, who: &Caller, workspace: &str, body: Value) -> Value {
    // Ids of one millisecond have no order.
    world.advance(SignedDuration::from_millis(1));
    asks(world, "POST", LEADS, who, workspace).json(body).send().await.expect(201).json()["data"].clone()
}

async fn list(world: &World, who: &Caller, workspace: &str, name: &str) -> String {
    world.advance(SignedDuration::from_millis(1));
    let made = asks(world, "POST", LISTS, who, workspace).json(json!({"name": name})).send().await.expect(201).json();
    id(&made["data"]).to_owned()
}

async fn got(world: &World, who: &Caller, workspace: &str, path: &str) -> Value {
    asks(world, "GET", path, who, workspace).send().await.expect(200).json()
}

fn at(lead: &Value) -> String {
    format!("{LEADS}/{}", id(lead))
}

fn emails(page: &Value) -> Vec<&str> {
    page["data"].as_array().expect("a list").iter().map(|lead| lead["email"].as_str().expect("an e-mail")).collect()
}

/// What requests change on purpose: without what is counted of each request.
pub(crate) fn stored(world: &World, tenant: &Tenant) -> Vec<Value> {
    world.items_of(tenant).into_iter().filter(|item| !item["pk"]["S"].as_str().is_some_and(|pk| pk.contains("#usage"))).collect()
}

/// Every count that is kept, compared with what there is.
pub(crate) fn counts_are_true(world: &World, tenant: &Tenant) {
    let items = world.items_of(tenant);
    let is = |item: &Value, kind: &str| item["type"]["S"] == kind;
    let counter = |pk: &str, name: &str| -> u64 {
        let found = items.iter().find(|item| item["pk"]["S"] == pk && item["sk"]["S"] == name);
        found.map_or(0, |item| item["n"]["N"].as_str().expect("a number").parse().expect("a number"))
    };
    let number = |item: &Value, name: &str| -> u64 { item[name]["N"].as_str().expect("a number").parse().expect("a number") };
    let leads: Vec<&Value> = items.iter().filter(|item| is(item, "lead")).collect();
    assert_eq!(counter(&format!("T#{}#counters", tenant.id), "people"), leads.len() as u64, "people");
    let places = items.iter().filter(|item| is(item, "workspace"));
    for place in places {
        let tag = place["sk"]["S"].as_str().expect("a tag");
        let of = |kind: &str| items.iter().filter(|item| is(item, kind) && item["workspace"]["S"] == tag).count() as u64;
        let counters = format!("T#{}#counters#{tag}", tenant.id);
        for (name, kind) in [
            ("leads", "lead"),
            ("leads", "lead_email"),
            ("lead_lists", "lead_list"),
            ("lead_lists", "lead_list_name"),
            ("segments", "segment"),
            ("workspace_suppressions", "workspace_suppression_entry"),
        ] {
            assert_eq!(counter(&counters, name), of(kind), "{name} {kind}");
        }
    }
    assert_eq!(
        counter(&format!("T#{}#counters", tenant.id), "suppressions"),
        items.iter().filter(|item| is(item, "suppression_entry")).count() as u64
    );
    for lead in &leads {
        let own = items.iter().filter(|item| is(item, "activity") && item["lead"] == lead["id"]).count() as u64;
        assert_eq!(number(lead, "activities"), own, "activities of {lead}");
        let claims: Vec<_> = items.iter().filter(|item| is(item, "lead_email") && item["lead"] == lead["id"]).collect();
        assert_eq!(claims.len(), 1);
    }
    for list in items.iter().filter(|item| is(item, "lead_list")) {
        let members = items.iter().filter(|item| is(item, "lead_list_member") && item["list"] == list["id"]).count() as u64;
        let on_it = |lead: &&&Value| lead["lists"]["L"].as_array().is_some_and(|lists| lists.contains(&list["id"]));
        let on = leads.iter().filter(on_it).count() as u64;
        assert_eq!((number(list, "members"), on), (members, members), "members of {list}");
    }
    for orphan in items.iter().filter(|item| is(item, "activity")) {
        assert!(leads.iter().any(|lead| lead["id"] == orphan["lead"]), "{orphan}");
    }
    assert!(items.iter().all(|item| !is(item, "deleted_lead")));
}

// Leads.

#[tokio::test]
async fn a_lead_lives_from_creation_to_deletion() {
    let world = World::new().await;
    let (acme, place) = acme(&world).await;
    let who = &acme.owner;
    let body = json!({
        "email": " Jane@Corp.example ", "first_name": "Jane", "last_name": "Doe", "company": "Corp", "job_title": "CTO", "phone": "+41 1",
        "city": "Bern", "state": "BE", "country": "CH", "timezone": "Europe/Zurich", "attributes": {"seats": 3, "none": null},
        "tags": ["VIP", "vip", "warm"], "workspace_slug": "main",
    });
    let made = world.post(LEADS).token(&who.token).json(body).send().await.expect(201);
    let jane = made.json()["data"].clone();
    assert!(id(&jane).starts_with("lead_") && made.header("etag") == "\"1.0.0\"" && made.header("x-workspace-id") == place);
    for (field, value) in [
        ("email", json!("Jane@Corp.example")),
        ("first_name", json!("Jane")),
        ("job_title", json!("CTO")),
        ("timezone", json!("Europe/Zurich")),
        ("status", json!("new")),
        ("email_status", json!("active")),
        ("tags", json!(["VIP", "warm"])),
        ("list_ids", json!([])),
        ("attributes", json!({"seats": 3})),
        ("activity", json!([])),
    ] {
        assert_eq!(jane[field], value, "{field}");
    }
    let read = world.get(at(&jane)).token(&who.token).send().await.expect(200);
    assert_eq!((read.json()["data"].clone(), read.header("etag")), (jane.clone(), "\"1.0.0\""));
    world.get(at(&jane)).token(&who.token).header("if-none-match", "\"1.0.0\"").send().await.expect(304);

    let change = |tag: &str, body: Value| world.patch(at(&jane)).token(&who.token).header("if-match", tag).json(body).send();
    let body = json!({"email": "jane@new.example", "last_name": null, "attributes": {"seats": null, "plan": "pro"}, "status": "contacted"});
    let changed = change("\"1.0.0\"", body).await.expect(200);
    let data = changed.json()["data"].clone();
    assert_eq!(
        (&data["email"], &data["last_name"], &data["attributes"], &data["status"]),
        (&json!("jane@new.example"), &Value::Null, &json!({"plan": "pro"}), &json!("contacted"))
    );
    let entry = &data["activity"][0];
    assert_eq!((&entry["type"], &entry["from"], &entry["to"]), (&json!("status_changed"), &json!("new"), &json!("contacted")));
    assert_eq!((changed.header("etag"), &entry["by"]["id"]), ("\"2.1.0\"", &json!(who.id)));
    change("\"1.0.0\"", json!({"city": "Basel"})).await.expect(412);
    assert_eq!(change("\"2\"", json!({"city": "Bern"})).await.expect(200).header("etag"), "\"2.1.0\"");
    counts_are_true(&world, &acme);

    // The old address is free, the new one is not.
    let taken = world.post(LEADS).token(&who.token).json(json!({"email": "JANE@new.example"})).send().await.expect(409);
    assert_eq!(taken.json()["error"]["message"], "A lead of this workspace has this e-mail already.");
    let other = lead(&world, who, &place, json!({"email": "jane@corp.example"})).await;
    world.patch(at(&other)).token(&who.token).json(json!({"email": "Jane@NEW.example"})).send().await.expect(409);
    counts_are_true(&world, &acme);

    world.delete(at(&jane)).token(&who.token).header("if-match", "\"1\"").send().await.expect(412);
    let gone = world.delete(at(&jane)).token(&who.token).send().await.expect(204);
    assert_eq!(gone.text, "");
    for (method, path) in [("GET", at(&jane)), ("PATCH", at(&jane)), ("DELETE", at(&jane)), ("GET", format!("{}/activity", at(&jane)))] {
        let missing = world.request(method, path).token(&who.token).send().await.expect(404).json();
        assert_eq!((&missing["error"]["code"], &missing["error"]["message"]), (&json!("RESOURCE_NOT_FOUND"), &json!("Lead not found")));
    }
    lead(&world, who, &place, json!({"email": "jane@new.example"})).await;
    counts_are_true(&world, &acme);
    assert_eq!(got(&world, who, &place, LEADS).await["pagination"]["total"], 2);
}

#[tokio::test]
async fn every_field_at_fault_is_named_at_once() {
    let world = World::new().await;
    let (acme, place) = acme(&world).await;
    let jane = lead(&world, &acme.owner, &place, json!({"email": "jane@corp.example"})).await;
    let before = stored(&world, &acme);
    let tags: Vec<String> = (0..21).map(|n| format!("t{n}")).collect();
    let keys: Value = (0..51).map(|n| (format!("k{n}"), json!(n))).collect::<serde_json::Map<_, _>>().into();
    for (body, faults) in [
        (json!({}), vec!["email"]),
        (
            json!({"email": 3, "first_name": 3, "status": "lost", "tags": "vip", "list_ids": ["x"], "attributes": []}),
            vec!["attributes", "email", "first_name", "list_ids", "status", "tags"],
        ),
        (
            json!({"email": "nobody", "company": "x".repeat(201), "phone": "9".repeat(101), "tags": tags}),
            vec!["company", "email", "phone", "tags"],
        ),
        (json!({"email": "a@b.example", "email_status": "bounced", "id": "lead_1", "colour": "red"}), vec!["colour", "email_status", "id"]),
        (
            json!({"email": "a@localhost", "first_name": "a\u{202e}b", "tags": [""], "attributes": {"": 1}}),
            vec!["attributes", "email", "first_name", "tags"],
        ),
        (json!({"email": "a@b.example", "attributes": keys}), vec!["attributes"]),
        (json!({"email": "a@b.example", "attributes": {"k": "x".repeat(8_200)}}), vec!["attributes"]),
        (json!({"email": "\"a b\"@b.example"}), vec!["email"]),
    ] {
        let refused = asks(&world, "POST", LEADS, &acme.owner, &place).json(body.clone()).send().await.expect(400);
        assert_eq!(refused.code(), "VALIDATION_ERROR");
        let named: Vec<String> = refused.details().as_object().expect("fields").keys().cloned().collect();
        assert_eq!(named, faults, "{body}");
        if faults != ["email"] {
            let mut body = body;
            body.as_object_mut().expect("an object").remove("email");
            world.patch(at(&jane)).token(&acme.owner.token).json(body).send().await.expect(400);
        }
    }
    for query in ["status=lost", "email_status=x", "search=a", "list=all", "tag=", "colour=red", "limit=0", "limit=101", "offset=10001"] {
        let expected = if query == "tag=" { 200 } else { 400 };
        asks(&world, "GET", &format!("{LEADS}?{query}"), &acme.owner, &place).send().await.expect(expected);
    }
    world.patch(at(&jane)).token(&acme.owner.token).json(json!({"workspace_slug": "main"})).send().await.expect(400);
    assert_eq!(stored(&world, &acme), before);
    counts_are_true(&world, &acme);
}

#[tokio::test]
async fn lists_of_leads_agree_with_a_plain_model() {
    let world = World::new().await;
    let (acme, place) = acme(&world).await;
    let who = &acme.owner;
    let other = id(&workspace(&world, who, "Other").await).to_owned();
    lead(&world, who, &other, json!({"email": "hidden@corp.example", "tags": ["vip"]})).await;
    let lists = [list(&world, who, &place, "One").await, list(&world, who, &place, "Two").await];
    let mut all: Vec<Value> = vec![];
    let (names, companies, domains) = (["Jane", "Jürg", "Ann Marie"], ["Acme AG", "Zeta"], ["corp", "acme", "zeta"]);
    let states = ["new", "contacted", "replied", "converted"];
    for n in 0..30_usize {
        let body = json!({
            "email": format!("user{n}@{}.example", domains[n % 3]),
            "first_name": names[n % 3], "company": companies[n % 2],
            "status": states[n % 4], "tags": if n % 5 == 0 { json!(["VIP"]) } else { json!([]) },
            "list_ids": match n % 4 { 0 => json!([lists[0]]), 1 => json!([lists[0], lists[1]]), _ => json!([]) },
        });
        all.insert(0, lead(&world, who, &place, body).await);
        world.advance(SignedDuration::from_millis(2));
    }
    counts_are_true(&world, &acme);
    let text = |lead: &Value, name: &str| lead[name].as_str().unwrap_or_default().to_lowercase();
    let has = |lead: &Value, name: &str, one: &str| lead[name].as_array().expect("a list").contains(&json!(one));
    type Keep<'a> = Box<dyn Fn(&Value) -> bool + 'a>;
    let questions: Vec<(String, Keep<'_>)> = vec![
        (String::new(), Box::new(|_| true)),
        ("status=replied".into(), Box::new(|lead| lead["status"] == "replied")),
        ("email_status=bounced".into(), Box::new(|_| false)),
        ("email_status=active&tag=vip".into(), Box::new(|lead| has(lead, "tags", "VIP"))),
        ("search=USER1".into(), Box::new(|lead| text(lead, "email").starts_with("user1"))),
        ("search=acme".into(), Box::new(|lead| text(lead, "email").contains("@acme") || text(lead, "company").starts_with("acme"))),
        ("search=j%C3%BC".into(), Box::new(|lead| text(lead, "first_name") == "jürg")),
        ("search=marie".into(), Box::new(|lead| text(lead, "first_name") == "ann marie")),
        ("search=arie".into(), Box::new(|_| false)),
        (format!("list={}", lists[0]), Box::new(|lead| has(lead, "list_ids", &lists[0]))),
        (
            format!("list={}&status=new&search=corp", lists[0]),
            Box::new(|lead| has(lead, "list_ids", &lists[0]) && lead["status"] == "new" && text(lead, "email").contains("@corp")),
        ),
    ];
    for (query, keep) in questions {
        let expected: Vec<&str> = all.iter().filter(|lead| keep(lead)).map(|lead| lead["email"].as_str().expect("an e-mail")).collect();
        for limit in [4, 50] {
            let (mut found, mut cursor) = (vec![], String::new());
            loop {
                let page = got(&world, who, &place, &format!("{LEADS}?{query}&limit={limit}{cursor}")).await;
                assert_eq!(page["pagination"]["total"], expected.len(), "{query}");
                found.extend(emails(&page).into_iter().map(str::to_owned));
                match page["pagination"]["next_cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            assert_eq!(found, expected, "{query}, {limit} a page");
        }
        let skipped = got(&world, who, &place, &format!("{LEADS}?{query}&offset=3&limit=5")).await;
        assert_eq!(emails(&skipped), expected.iter().skip(3).take(5).copied().collect::<Vec<_>>(), "{query}");
    }
    // The page that is shown without a word about its size.
    for n in 0..25 {
        lead(&world, who, &place, json!({"email": format!("more{n}@corp.example")})).await;
    }
    let page = got(&world, who, &place, LEADS).await;
    assert_eq!((emails(&page).len(), &page["pagination"]["limit"], &page["pagination"]["total"]), (50, &json!(50), &json!(55)));
    let item = &page["data"][0];
    let mut fields: Vec<&str> = item.as_object().expect("an object").keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        ["company", "created_at", "email", "email_status", "first_name", "id", "last_name", "list_ids", "status", "tags", "updated_at"]
    );
    assert_eq!(emails(&got(&world, who, "other", LEADS).await), ["hidden@corp.example"]);
}

#[tokio::test]
async fn a_page_costs_the_same_whatever_is_there_and_too_many_are_not_passed() {
    let world = World::new().await;
    let (acme, place) = acme(&world).await;
    let who = &acme.owner;
    for n in 0..3 {
        lead(&world, who, &place, json!({"email": format!("user{n}@corp.example")})).await;
    }
    let cost = |answer: &Answer| answer.metered.expect("metered").read_units;
    let few = cost(&asks(&world, "GET", &format!("{LEADS}?limit=2"), who, &place).send().await.expect(200));
    for n in 3..20 {
        lead(&world, who, &place, json!({"email": format!("user{n}@corp.example")})).await;
    }
    let many = cost(&asks(&world, "GET", &format!("{LEADS}?limit=2"), who, &place).send().await.expect(200));
    assert!((many - few).abs() <= 0.5, "{few} {many}");

    let named = list(&world, who, &place, "Few").await;
    lead(&world, who, &place, json!({"email": "jane@corp.example", "list_ids": [named], "tags": ["vip"]})).await;
    let tag = tag_of(&place);
    let count = |n: &str| {
        world.change_item(&format!("T#{}#counters#{tag}", acme.id), "leads", |item| item["n"]["N"] = json!(n));
    };
    count("20001");
    for query in ["status=new", "search=jane", "tag=vip"] {
        let refused = asks(&world, "GET", &format!("{LEADS}?{query}"), who, &place).send().await.expect(400);
        assert!(refused.json()["error"]["message"].as_str().is_some_and(|told| told.contains("list=list_")), "{}", refused.text);
        let found = got(&world, who, &place, &format!("{LEADS}?{query}&list={named}")).await;
        assert_eq!((emails(&found), &found["pagination"]["total"]), (vec!["jane@corp.example"], &json!(1)), "{query}");
    }
    assert_eq!(got(&world, who, &place, &format!("{LEADS}?tag=cold&list={named}")).await["pagination"]["total"], 0);
    let rule = json!({"field": "status", "op": "equals", "value": "new"});
    let refused = asks(&world, "POST", &format!("{SEGMENTS}/preview"), who, &place).json(json!({"rule": rule})).send().await.expect(400);
    assert!(refused.json()["error"]["message"].as_str().is_some_and(|told| told.contains("20000")), "{}", refused.text);
    asks(&world, "GET", LEADS, who, &place).send().await.expect(200);
    count("21");
    counts_are_true(&world, &acme);
}

/// The tag of a workspace, from its id.
fn tag_of(workspace: &str) -> &str {
    &workspace[workspace.len() - 12..]
}

#[tokio::test]
async fn two_leads_of_one_address_at_once_are_one() {
    let world = World::new().await;
    let (acme, place) = acme(&world).await;
    let who = &acme.owner;
    for round in 0..5 {
        let email = format!("race{round}@corp.example");
        let make = |email: &str| asks(&world, "POST", LEADS, who, &place).json(json!({"email": email})).send();
        let upper = email.to_uppercase().replace(".EXAMPLE", ".example");
        let (one, other) = futures_util::join!(make(&email), make(&upper));
        let mut statuses = [one.status, other.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409]);
    }
    let (one, other) = (
        lead(&world, who, &place, json!({"email": "one@corp.example"})).await,
        lead(&world, who, &place, json!({"email": "other@corp.example"})).await,
    );
    let claim = |lead: &Value| world.patch(at(lead)).token(&who.token).json(json!({"email": "same@corp.example"})).send();
    let (first, second) = futures_util::join!(claim(&one), claim(&other));
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    counts_are_true(&world, &acme);
    assert_eq!(got(&world, who, &place, LEADS).await["pagination"]["total"], 7);
}

#[tokio::test]
async fn a_repeat_is_answered_and_done_once() {
    let world = World::new().await;
    let (acme, place) = acme(&world).await;
    let who = &acme.owner;
    let named = list(&world, who, &place, "One").await;
    let jane = lead(&world, who, &place, json!({"email": "jane@corp.example"})).await;
    let rule = json!({"field": "status", "op": "equals", "value": "new"});
    for (path, body, status) in [
        (LEADS.to_owned(), json!({"email": "once@corp.example", "list_ids": [named]}), 201),
        (format!("{}/notes", at(&jane)), json!({"text": "Called"}), 201),
        (LISTS.to_owned(), json!({"name": "Once"}), 201),
        (SEGMENTS.to_owned(), json!({"name": "Once", "rule": rule}), 201),
        (format!("{LEADS}/bulk"), json!({"ids": [id(&jane)], "action": "add_tag", "value": "vip"}), 200),
        (SUPPRESSIONS.to_owned(), json!({"email": "no@corp.example"}), 201),
        (format!("{SUPPRESSIONS}/bulk"), json!({"emails": ["a@b.example", "A@b.example", "c@b.example"]}), 200),
    ] {
        let send = |body: &Value| asks(&world, "POST", &path, who, &place).header("idempotency-key", "k").json(body.clone()).send();
        let first = send(&body).await.expect(status);
        let again = send(&body).await.expect(status);
        assert_eq!((first.json(), again.header("idempotency-replayed")), (again.json(), "true"), "{path}");
        assert_eq!(first.header("etag"), again.header("etag"), "{path}");
        let mut other = body.clone();
        other["workspace_slug"] = json!("main");
        if !path.ends_with("notes") {
            send(&other).await.expect(422);
        }
    }
    let both =
        || asks(&world, "POST", LEADS, who, &place).header("idempotency-key", "two").json(json!({"email": "two@corp.example"})).send();
    let (one, other) = futures_util::join!(both(), both());
    assert_eq!((one.expect(201).json(), other.status), (other.json(), 201));
    let both =
        || asks(&world, "POST", SUPPRESSIONS, who, &place).header("idempotency-key", "two").json(json!({"email": "two@b.example"})).send();
    let (one, other) = futures_util::join!(both(), both());
    assert_eq!((one.expect(201).json(), other.status), (other.json(), 201));
    counts_are_true(&world, &acme);
}

#[tokio::test]
async fn the_plan_bounds_leads_of_all_workspaces() {
    let world = World::with(Settings { plans: json!({"free": {"people": 3}}), ..Settings::default() }).await;
    let (acme, place) = acme(&world).await;
    let who = &acme.owner;
    let other = id(&workspace(&world, who, "Other").await).to_owned();
    let jane = lead(&world, who, &place, json!({"email": "jane@corp.example"})).await;
    lead(&world, who, &other, json!({"email": "jane@corp.example"})).await;
    lead(&world, who, &other, json!({"email": "joe@corp.example"})).await;
    let refused = asks(&world, "POST", LEADS, who, &place).json(json!({"email": "ann@corp.example"})).send().await.expect(403);
    assert_eq!(refused.code(), "PLAN_LIMIT_REACHED");
    assert_eq!(refused.details(), json!({"limit": "leads and contacts", "used": 3, "max": 3, "plan": "free"}));
    // What is there already is said first.
    asks(&world, "POST", LEADS, who, &place).json(json!({"email": "jane@corp.example"})).send().await.expect(409);
    world.delete(at(&jane)).token(&who.token).send().await.expect(204);
    let make = |email: &str| asks(&world, "POST", LEADS, who, &place).json(json!({"email": email})).send();
    let (one, two) = futures_util::join!(make("ann@corp.example"), make("bob@corp.example"));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 403]);
    counts_are_true(&world, &acme);
    // A deleted workspace gives its place back.
    let workers = Workers::on(&world);
    world.delete(format!("/api/v1/tenant/workspaces/{other}")).token(&who.token).json(json!({"confirm": "Other"})).send().await.expect(204);
    drain(&world, &workers).await;
    assert!(world.items_of(&acme).iter().all(|item| item["workspace"]["S"] != tag_of(&other)));
    counts_are_true(&world, &acme);
}

#[tokio::test]
async fn what_is_anothers_is_not_there_byte_for_byte() {
    let world = World::new().await;
    let (acme, place) = acme(&world).await;
    let globex = world.tenant("globex").await;
    let theirs = id(&workspace(&world, &globex.owner, "Theirs").await).to_owned();
    let other = id(&workspace(&world, &acme.owner, "Other").await).to_owned();
    // Somebody who is in the first workspace alone.
    let member = world.member(&acme, "member").await;
    add(&world, &acme.owner, &place, &member, "admin").await.expect(201);
    let rule = json!({"field": "status", "op": "equals", "value": "new"});
    let tag = tag_of(&place);
    for (owner, there) in [(&acme.owner, &other), (&globex.owner, &theirs)] {
        let lead_of = id(&lead(&world, owner, there, json!({"email": "jane@corp.example"})).await).to_owned();
        let list_of = list(&world, owner, there, "List").await;
        let made = asks(&world, "POST", SEGMENTS, owner, there).json(json!({"name": "S", "rule": rule})).send().await.expect(201).json();
        let segment = id(&made["data"]).to_owned();
        let made = asks(&world, "POST", SUPPRESSIONS, owner, there).json(json!({"email": "a@b.example"})).send().await.expect(201).json();
        let suppression = id(&made["data"]).to_owned();
        let before = (stored(&world, &acme), stored(&world, &globex));
        for (method, path, prefix, foreign, body) in [
            ("GET", "/leads/{}", "lead", &lead_of, json!({})),
            ("PATCH", "/leads/{}", "lead", &lead_of, json!({"city": "Bern"})),
            ("DELETE", "/leads/{}", "lead", &lead_of, json!({})),
            ("GET", "/leads/{}/activity", "lead", &lead_of, json!({})),
            ("POST", "/leads/{}/notes", "lead", &lead_of, json!({"text": "Hello"})),
            ("GET", "/leads/lists/{}", "list", &list_of, json!({})),
            ("PATCH", "/leads/lists/{}", "list", &list_of, json!({"name": "Mine"})),
            ("DELETE", "/leads/lists/{}", "list", &list_of, json!({})),
            ("GET", "/leads/segments/{}", "seg", &segment, json!({})),
            ("PATCH", "/leads/segments/{}", "seg", &segment, json!({"name": "Mine"})),
            ("DELETE", "/leads/segments/{}", "seg", &segment, json!({})),
            ("GET", "/leads/segments/{}/count", "seg", &segment, json!({})),
            ("GET", "/leads/segments/{}/preview", "seg", &segment, json!({})),
            ("DELETE", "/suppression-list/{}", "sup", &suppression, json!({})),
        ] {
            let ask = |id: &str| {
                world.request(method, format!("/api/v1/tenant{}", path.replace("{}", id))).token(&member.token).json(body.clone())
            };
            let foreign_answer = ask(foreign).send().await.expect(404);
            for nobodys in [format!("{prefix}_{NOBODY}"), format!("{prefix}_0198c0de00007000800{}", &format!("{NOBODY}{tag}")[25..44])] {
                let nobodys = &nobodys[..prefix.len() + 33];
                let missing = ask(nobodys).send().await;
                assert_eq!(missing.fingerprint(), foreign_answer.fingerprint(), "{method} {path} {nobodys}");
            }
            // Told to look in their own workspace, it is still not there.
            let selected = ask(foreign).header("x-workspace-id", &place).send().await;
            assert_eq!(selected.fingerprint(), foreign_answer.fingerprint(), "{method} {path}");
        }
        // In bodies and queries.
        let named = |path: &str, method: &'static str, body: Value| asks(&world, method, path, &member, &place).json(body).send();
        let nothing = format!("list_{NOBODY}");
        for list_id in [&list_of, &nothing] {
            let refused = named(LEADS, "POST", json!({"email": "x@corp.example", "list_ids": [list_id]})).await.expect(404);
            assert_eq!(refused.json()["error"]["message"], "List not found");
            named(&format!("{LEADS}?list={list_id}"), "GET", json!({})).await.expect(404);
            let rule = json!({"not": {"field": "lists", "op": "contains", "value": list_id}});
            named(&format!("{SEGMENTS}/preview"), "POST", json!({"rule": rule})).await.expect(404);
            named(SEGMENTS, "POST", json!({"name": "S", "rule": rule})).await.expect(404);
            let add = json!({"ids": [lead_of], "action": "add_to_list", "value": list_id});
            named(&format!("{LEADS}/bulk"), "POST", add).await.expect(404);
        }
        let order = json!({"ids": [lead_of, format!("lead_{NOBODY}")], "action": "delete"});
        let bulk = named(&format!("{LEADS}/bulk"), "POST", order).await.expect(200).json();
        assert_eq!((&bulk["data"]["matched"], &bulk["data"]["changed"]), (&json!(0), &json!(0)));
        assert!(
            bulk["data"]["failed"].as_array().is_some_and(|all| all.len() == 2 && all.iter().all(|one| one["reason"] == "Lead not found"))
        );
        assert_eq!((stored(&world, &acme), stored(&world, &globex)), before);
    }
}

#[tokio::test]
async fn roles_say_who_may_read_and_write() {
    let world = World::new().await;
    let (acme, place) = acme(&world).await;
    let viewer = world.member(&acme, "viewer").await;
    add(&world, &acme.owner, &place, &viewer, "viewer").await.expect(201);
    let member = world.member(&acme, "member").await;
    add(&world, &acme.owner, &place, &member, "member").await.expect(201);
    let jane = lead(&world, &member, &place, json!({"email": "jane@corp.example"})).await;
    let listed = list(&world, &member, &place, "L").await;
    let made = asks(&world, "POST", SUPPRESSIONS, &member, &place).json(json!({"email": "a@b.example"})).send().await.expect(201).json();
    let suppression = format!("{SUPPRESSIONS}/{}", id(&made["data"]));
    let rule = json!({"field": "status", "op": "equals", "value": "new"});
    for path in [LEADS, LISTS, SEGMENTS, SUPPRESSIONS, &at(&jane), &format!("{LISTS}/{listed}")] {
        got(&world, &viewer, &place, path).await;
    }
    asks(&world, "POST", &format!("{SEGMENTS}/preview"), &viewer, &place).json(json!({"rule": rule})).send().await.expect(200);
    for (method, path, body) in [
        ("POST", LEADS.to_owned(), json!({"email": "x@corp.example"})),
        ("PATCH", at(&jane), json!({"city": "Bern"})),
        ("DELETE", at(&jane), json!({})),
        ("POST", format!("{}/notes", at(&jane)), json!({"text": "x"})),
        ("POST", format!("{LEADS}/bulk"), json!({"ids": [id(&jane)], "action": "delete"})),
        ("POST", LISTS.to_owned(), json!({"name": "x"})),
        ("DELETE", format!("{LISTS}/{listed}"), json!({})),
        ("POST", SEGMENTS.to_owned(), json!({"name": "x", "rule": rule})),
        ("POST", SUPPRESSIONS.to_owned(), json!({"email": "x@b.example"})),
        ("POST", format!("{SUPPRESSIONS}/bulk"), json!({"emails": ["x@b.example"]})),
    ] {
        asks(&world, method, &path, &viewer, &place).json(body).send().await.expect(403);
    }
    // Lifting is for the workspace's admins, and what concerns all workspaces for the tenant's.
    asks(&world, "DELETE", &suppression, &member, &place).json(json!({})).send().await.expect(403);
    let whole = json!({"email": "x@b.example", "scope": "tenant"});
    asks(&world, "POST", SUPPRESSIONS, &member, &place).json(whole.clone()).send().await.expect(403);
    asks(&world, "GET", &format!("{SUPPRESSIONS}?scope=tenant"), &member, &place).send().await.expect(403);
    asks(&world, "POST", SUPPRESSIONS, &acme.owner, &place).json(whole).send().await.expect(201);
    let seen = got(&world, &member, &place, SUPPRESSIONS).await;
    assert_eq!((emails(&seen), &seen["pagination"]["total"]), (vec!["a@b.example"], &json!(1)));
    assert_eq!(got(&world, &member, &place, &format!("{SUPPRESSIONS}/check?email=X@b.example")).await["data"]["suppressed"], true);
    // Who is in no workspace finds nothing, and creates nothing.
    let stranger = world.member(&acme, "member").await;
    for path in [LEADS, LISTS, SEGMENTS, SUPPRESSIONS] {
        let nothing = world.get(path).token(&stranger.token).send().await.expect(200).json();
        assert_eq!((&nothing["data"], &nothing["pagination"]["total"]), (&json!([]), &json!(0)), "{path}");
    }
    world.post(LEADS).token(&stranger.token).json(json!({"email": "x@corp.example"})).send().await.expect(400);
    counts_are_true(&world, &acme);
}

// Activity.

#[tokio::test]
async fn notes_and_changes_of_status_are_kept_newest_first_and_go_with_the_lead() {
    let world = World::new().await;
    let (acme, place) = acme(&world).await;
    let who = &acme.owner;
    let jane = lead(&world, who, &place, json!({"email": "jane@corp.example"})).await;
    let joe = lead(&world, who, &place, json!({"email": "joe@corp.example"})).await;
    let notes = format!("{}/notes", at(&jane));
    for n in 0..24 {
        world.advance(SignedDuration::from_millis(3));
        let note = world.post(&notes).token(&who.token).json(json!({"text": format!("Note {n}")})).send().await.expect(201).json();
        assert_eq!((&note["data"]["type"], &note["data"]["by"]["id"]), (&json!("note"), &json!(who.id)));
        assert!(id(&note["data"]).starts_with("act_"));
    }
    world.post(format!("{}/notes", at(&joe))).token(&who.token).json(json!({"text": "Joe's"})).send().await.expect(201);
    world.advance(SignedDuration::from_millis(3));
    world.patch(at(&jane)).token(&who.token).json(json!({"status": "replied"})).send().await.expect(200);
    let shown = world.get(at(&jane)).token(&who.token).send().await.expect(200);
    let activity = shown.json()["data"]["activity"].as_array().expect("a list").clone();
    assert_eq!((activity.len(), &activity[0]["type"], &activity[1]["text"]), (20, &json!("status_changed"), &json!("Note 23")));
    assert_eq!(shown.header("etag"), "\"2.25.0\"");
    let page = world.get(format!("{}/activity?limit=10&offset=10", at(&jane))).token(&who.token).send().await.expect(200).json();
    assert_eq!((&page["data"][0]["text"], &page["pagination"]["total"]), (&json!("Note 14"), &json!(25)));
    let next = page["pagination"]["next_cursor"].as_str().expect("more");
    let last = world.get(format!("{}/activity?limit=10&cursor={next}", at(&jane))).token(&who.token).send().await.expect(200).json();
    assert_eq!((&last["data"][4]["text"], &last["pagination"]["has_more"]), (&json!("Note 0"), &json!(false)));
    for wrong in [json!({}), json!({"text": ""}), json!({"text": "x".repeat(4_001)}), json!({"text": 3}), json!({"text": "x", "by": 1})] {
        world.post(&notes).token(&who.token).json(wrong).send().await.expect(400);
    }
    counts_are_true(&world, &acme);
    world.delete(at(&jane)).token(&who.token).send().await.expect(204);
    counts_are_true(&world, &acme);
    assert_eq!(world.items_of_type("activity").len(), 1);
}

// Lists.

#[tokio::test]
async fn a_list_counts_its_leads_through_every_change() {
    let world = World::new().await;
    let (acme, place) = acme(&world).await;
    let who = &acme.owner;
    let (one, two) = (list(&world, who, &place, "One").await, list(&world, who, &place, "Two").await);
    let path = format!("{LISTS}/{one}");
    let members = async |list: &str| got(&world, who, &place, &format!("{LISTS}/{list}")).await["data"]["leads"].clone();
    let jane = lead(&world, who, &place, json!({"email": "jane@corp.example", "list_ids": [one, one, two]})).await;
    let joe = lead(&world, who, &place, json!({"email": "joe@corp.example", "list_ids": [one]})).await;
    assert_eq!((members(&one).await, members(&two).await), (json!(2), json!(1)));
    let shown = world.get(at(&jane)).token(&who.token).send().await.expect(200);
    assert_eq!((&shown.json()["data"]["list_ids"], shown.header("etag")), (&json!([one, two]), "\"1.0.2\""));
    world.patch(at(&jane)).token(&who.token).json(json!({"list_ids": [two]})).send().await.expect(200);
    assert_eq!((members(&one).await, members(&two).await), (json!(1), json!(1)));
    counts_are_true(&world, &acme);
    // Renaming: unique in any case.
    let rename = |name: &str, tag: &str| world.patch(&path).token(&who.token).header("if-match", tag).json(json!({"name": name})).send();
    let taken = rename("TWO", "*").await.expect(409);
    assert_eq!(taken.json()["error"]["message"], "A list of this workspace has this name already.");
    assert_eq!(rename("ONE", "\"1.1\"").await.expect(200).header("etag"), "\"2.1\"");
    rename("Eins", "\"1\"").await.expect(412);
    rename("Eins", "\"2\"").await.expect(200);
    list(&world, who, &place, "One").await;
    asks(&world, "POST", LISTS, who, &place).json(json!({"name": "eins"})).send().await.expect(409);
    for wrong in [json!({}), json!({"name": ""}), json!({"name": "x".repeat(101)}), json!({"name": 3}), json!({"name": "x", "members": 3})]
    {
        asks(&world, "POST", LISTS, who, &place).json(wrong.clone()).send().await.expect(400);
        if wrong != json!({}) {
            world.patch(&path).token(&who.token).json(wrong).send().await.expect(400);
        }
    }
    let all = got(&world, who, &place, &format!("{LISTS}?limit=2")).await;
    assert_eq!(
        (&all["data"][0]["name"], &all["pagination"]["total"], all["data"].as_array().map(Vec::len)),
        (&json!("One"), &json!(3), Some(2))
    );
    world.delete(at(&joe)).token(&who.token).send().await.expect(204);
    assert_eq!(members(&one).await, 0);
    counts_are_true(&world, &acme);
}

#[tokio::test]
async fn a_deleted_list_is_on_no_lead_from_then_on() {
    let world = World::new().await;
    let (acme, place) = acme(&world).await;
    let who = &acme.owner;
    let (one, two) = (list(&world, who, &place, "One").await, list(&world, who, &place, "Two").await);
    let jane = lead(&world, who, &place, json!({"email": "jane@corp.example", "list_ids": [one, two]})).await;
    let joe = lead(&world, who, &place, json!({"email": "joe@corp.example", "list_ids": [one]})).await;
    let exists = json!({"name": "On a list", "rule": {"field": "lists", "op": "exists"}});
    let made = asks(&world, "POST", SEGMENTS, who, &place).json(exists).send().await.expect(201).json();
    let count = format!("{SEGMENTS}/{}/count", id(&made["data"]));
    assert_eq!(got(&world, who, &place, &count).await["data"]["value"], 2);
    let path = format!("{LISTS}/{one}");
    world.delete(&path).token(&who.token).header("if-match", "\"9\"").send().await.expect(412);
    world.delete(&path).token(&who.token).send().await.expect(204);
    world.get(&path).token(&who.token).send().await.expect(404);
    world.delete(&path).token(&who.token).send().await.expect(404);
    asks(&world, "GET", &format!("{LEADS}?list={one}"), who, &place).send().await.expect(404);
    let page = got(&world, who, &place, LEADS).await;
    assert_eq!((&page["data"][0]["list_ids"], &page["data"][1]["list_ids"]), (&json!([]), &json!([two])));
    let shown = world.get(at(&jane)).token(&who.token).send().await.expect(200);
    assert_eq!((&shown.json()["data"]["list_ids"], shown.header("etag")), (&json!([two]), "\"1.0.1\""));
    assert_eq!(got(&world, who, &place, &count).await["data"]["value"], 1);
    // The name is free, and leads can be edited, put on other lists and deleted.
    let again = list(&world, who, &place, "one").await;
    world.patch(at(&jane)).token(&who.token).json(json!({"city": "Bern"})).send().await.expect(200);
    world.patch(at(&joe)).token(&who.token).json(json!({"list_ids": [one]})).send().await.expect(404);
    world.patch(at(&joe)).token(&who.token).json(json!({"list_ids": [again]})).send().await.expect(200);
    counts_are_true(&world, &acme);
    world.delete(format!("{LISTS}/{two}")).token(&who.token).send().await.expect(204);
    world.delete(at(&jane)).token(&who.token).send().await.expect(204);
    counts_are_true(&world, &acme);
    assert_eq!(got(&world, who, &place, &format!("{LEADS}?list={again}")).await["pagination"]["total"], 1);
}

// Segments.

#[tokio::test]
async fn a_segment_is_counted_and_previewed() {
    let world = World::new().await;
    let (acme, place) = acme(&world).await;
    let who = &acme.owner;
    for n in 0..25 {
        let body = json!({"email": format!("user{n}@corp.example"), "attributes": {"seats": n}, "city": if n % 2 == 0 { "Bern" } else { "Basel" }});
        lead(&world, who, &place, body).await;
    }
    let rule =
        json!({"all": [{"field": "city", "op": "equals", "value": "BERN"}, {"field": "attributes.seats", "op": "gte", "value": 10}]});
    let made = asks(&world, "POST", SEGMENTS, who, &place).json(json!({"name": "Bernese", "rule": rule})).send().await.expect(201);
    let segment = made.json()["data"].clone();
    let path = format!("{SEGMENTS}/{}", id(&segment));
    assert!(id(&segment).starts_with("seg_") && segment["rule"] == rule && made.header("etag") == "\"1\"");
    let counted = got(&world, who, &place, &format!("{path}/count")).await;
    assert_eq!(counted["data"]["value"], 8);
    assert!(counted["data"]["counted_at"].is_string());
    let preview = got(&world, who, &place, &format!("{path}/preview")).await;
    assert_eq!((&preview["data"]["count"]["value"], &preview["data"]["leads"][0]["email"]), (&json!(8), &json!("user24@corp.example")));
    let all = json!({"rule": {"field": "email", "op": "exists"}});
    let free = asks(&world, "POST", &format!("{SEGMENTS}/preview"), who, &place).json(all).send().await.expect(200).json();
    assert_eq!((&free["data"]["count"]["value"], free["data"]["leads"].as_array().map(Vec::len)), (&json!(25), Some(20)));
    let change = |tag: &str, body: Value| world.patch(&path).token(&who.token).header("if-match", tag).json(body).send();
    let narrower = json!({"rule": {"not": {"field": "attributes.seats", "op": "lt", "value": 24}}});
    assert_eq!(change("\"1\"", narrower).await.expect(200).header("etag"), "\"2\"");
    change("\"1\"", json!({"name": "Other"})).await.expect(412);
    assert_eq!(got(&world, who, &place, &format!("{path}/count")).await["data"]["value"], 1);
    for (rule, place_of) in [
        (json!({"all": [{"field": "city", "op": "equals", "value": "a"}, {"field": "shoe", "op": "exists"}]}), "all[1].field"),
        (json!({"not": {"not": {"not": {"not": {"field": "city", "op": "exists"}}}}}), "not.not.not.not"),
        (json!({"field": "city", "op": "matches", "value": ".*"}), "op"),
    ] {
        for (method, path) in [("POST", SEGMENTS.to_owned()), ("PATCH", path.clone()), ("POST", format!("{SEGMENTS}/preview"))] {
            let body = if path.ends_with("segments") { json!({"name": "x", "rule": rule}) } else { json!({"rule": rule}) };
            let refused = asks(&world, method, &path, who, &place).json(body).send().await.expect(400);
            let told = refused.details()["rule"][0].as_str().expect("a sentence").to_owned();
            assert!(told.contains(&format!("at {place_of}, which")), "{told}");
        }
    }
    for wrong in [
        json!({}),
        json!({"name": "x"}),
        json!({"name": "x", "rule": []}),
        json!({"name": "x", "rule": {}}),
        json!({"rule": rule, "name": 3}),
    ] {
        asks(&world, "POST", SEGMENTS, who, &place).json(wrong).send().await.expect(400);
    }
    world.delete(&path).token(&who.token).send().await.expect(204);
    world.get(&path).token(&who.token).send().await.expect(404);
    counts_are_true(&world, &acme);
    assert_eq!(got(&world, who, &place, SEGMENTS).await["pagination"]["total"], 0);
}

#[tokio::test]
async fn there_is_an_end_to_lists_and_segments() {
    let world = World::new().await;
    let (acme, place) = acme(&world).await;
    let who = &acme.owner;
    let rule = json!({"field": "status", "op": "equals", "value": "new"});
    list(&world, who, &place, "One").await;
    asks(&world, "POST", SEGMENTS, who, &place).json(json!({"name": "One", "rule": rule})).send().await.expect(201);
    let counters = format!("T#{}#counters#{}", acme.id, tag_of(&place));
    for (path, name, most) in [(LISTS, "lead_lists", "500"), (SEGMENTS, "segments", "200")] {
        world.change_item(&counters, name, |item| item["n"]["N"] = json!(most));
        let body = if path == LISTS { json!({"name": "More"}) } else { json!({"name": "More", "rule": rule}) };
        let refused = asks(&world, "POST", path, who, &place).json(body).send().await.expect(403);
        assert_eq!(refused.details()["max"].to_string(), most);
    }
}

// Bulk.

#[tokio::test]
async fn many_leads_are_changed_by_one_request() {
    let world = World::new().await;
    let (acme, place) = acme(&world).await;
    let who = &acme.owner;
    let named = list(&world, who, &place, "One").await;
    let mut ids = vec![];
    for n in 0..5 {
        ids.push(id(&lead(&world, who, &place, json!({"email": format!("user{n}@corp.example")})).await).to_owned());
    }
    let full: Vec<String> = (0..20).map(|n| format!("t{n}")).collect();
    world.patch(format!("{LEADS}/{}", ids[4])).token(&who.token).json(json!({"tags": full})).send().await.expect(200);
    let bulk = async |action: &str, value: Value, ids: &[String]| {
        let mut body = json!({"ids": ids, "action": action});
        if !value.is_null() {
            body["value"] = value;
        }
        let answer = asks(&world, "POST", &format!("{LEADS}/bulk"), who, &place).json(body).send().await.expect(200).json();
        counts_are_true(&world, &acme);
        let data = &answer["data"];
        (data["matched"].as_u64().unwrap(), data["changed"].as_u64().unwrap(), data["failed"].as_array().unwrap().clone())
    };
    let mut some = ids.clone();
    some.extend([ids[0].clone(), format!("lead_{NOBODY}")]);
    let (matched, changed, failed) = bulk("add_tag", json!("VIP"), &some).await;
    assert_eq!((matched, changed, failed.len()), (5, 4, 2));
    assert_eq!(failed[0], json!({"id": ids[4], "reason": "The lead has 20 tags already."}));
    assert_eq!(failed[1], json!({"id": format!("lead_{NOBODY}"), "reason": "Lead not found"}));
    assert_eq!(bulk("add_tag", json!("vip"), &ids[..4]).await, (4, 0, vec![]));
    assert_eq!(got(&world, who, &place, &format!("{LEADS}?tag=VIP")).await["pagination"]["total"], 4);
    assert_eq!(bulk("remove_tag", json!("vip"), &ids[..3]).await, (3, 3, vec![]));
    assert_eq!(got(&world, who, &place, &format!("{LEADS}?tag=vip")).await["pagination"]["total"], 1);
    assert_eq!(bulk("add_to_list", json!(named), &ids).await, (5, 5, vec![]));
    assert_eq!(bulk("add_to_list", json!(named), &ids).await, (5, 0, vec![]));
    assert_eq!(bulk("remove_from_list", json!(named), &ids[..2]).await, (2, 2, vec![]));
    assert_eq!(got(&world, who, &place, &format!("{LISTS}/{named}")).await["data"]["leads"], 3);
    assert_eq!(bulk("set_status", json!("converted"), &ids).await, (5, 5, vec![]));
    assert_eq!(world.items_of_type("activity").len(), 5);
    assert_eq!(bulk("delete", Value::Null, &ids[1..]).await, (4, 4, vec![]));
    assert_eq!(world.items_of_type("activity").len(), 1);
    let many: Vec<String> = (0..101).map(|n| format!("lead_{n:032x}")).collect();
    for wrong in [
        json!({"action": "delete"}),
        json!({"ids": [], "action": "delete"}),
        json!({"ids": many, "action": "delete"}),
        json!({"ids": ["x"], "action": "delete"}),
        json!({"ids": ids, "action": "merge"}),
        json!({"ids": ids, "action": "add_tag"}),
        json!({"ids": ids, "action": "add_tag", "value": ""}),
        json!({"ids": ids, "action": "set_status", "value": "lost"}),
        json!({"ids": ids, "action": "add_to_list", "value": "One"}),
        json!({"ids": ids, "action": "delete", "value": "x"}),
        json!({"ids": ids, "action": "delete", "segment_id": "seg_1"}),
    ] {
        asks(&world, "POST", &format!("{LEADS}/bulk"), who, &place).json(wrong).send().await.expect(400);
    }
    counts_are_true(&world, &acme);
}

#[tokio::test]
async fn edits_that_meet_are_all_kept() {
    let world = World::new().await;
    let (acme, place) = acme(&world).await;
    let who = &acme.owner;
    let jane = lead(&world, who, &place, json!({"email": "jane@corp.example"})).await;
    let (one, two) = (list(&world, who, &place, "One").await, list(&world, who, &place, "Two").await);
    let bulk = |action: &str, value: &str| {
        let body = json!({"ids": [id(&jane)], "action": action, "value": value});
        asks(&world, "POST", &format!("{LEADS}/bulk"), who, &place).json(body).send()
    };
    let note = |text: &str| world.post(format!("{}/notes", at(&jane))).token(&who.token).json(json!({"text": text})).send();
    let edit = |body: Value| world.patch(at(&jane)).token(&who.token).json(body).send();
    let (a, b, c, d, e) = futures_util::join!(
        bulk("add_to_list", &one),
        bulk("add_to_list", &two),
        bulk("add_tag", "vip"),
        note("Hello"),
        edit(json!({"city": "Bern", "status": "replied"}))
    );
    a.expect(200);
    b.expect(200);
    c.expect(200);
    d.expect(201);
    e.expect(200);
    let shown = world.get(at(&jane)).token(&who.token).send().await.expect(200).json()["data"].clone();
    assert_eq!(shown["list_ids"].as_array().map(Vec::len), Some(2));
    assert_eq!((&shown["tags"], &shown["city"], &shown["status"]), (&json!(["vip"]), &json!("Bern"), &json!("replied")));
    assert_eq!(shown["activity"].as_array().map(Vec::len), Some(2));
    counts_are_true(&world, &acme);
    // A list that goes while a lead comes on it.
    for round in 0..5 {
        let short = list(&world, who, &place, &format!("Short {round}")).await;
        let path = format!("{LISTS}/{short}");
        let (gone, joined) = futures_util::join!(world.delete(&path).token(&who.token).send(), bulk("add_to_list", &short));
        gone.expect(204);
        assert!(joined.status == 200 || joined.status == 404, "{}", joined.text);
        let kept = world.get(at(&jane)).token(&who.token).send().await.expect(200).json();
        assert_eq!(kept["data"]["list_ids"].as_array().map(Vec::len), Some(2));
    }
    world.delete(at(&jane)).token(&who.token).send().await.expect(204);
    counts_are_true(&world, &acme);
}

// The suppression list.

#[tokio::test]
async fn an_address_is_suppressed_checked_and_let_go_with_a_reason() {
    let world = World::new().await;
    let (acme, place) = acme(&world).await;
    let who = &acme.owner;
    let other = id(&workspace(&world, who, "Other").await).to_owned();
    let suppress = |place: &str, body: Value| asks(&world, "POST", SUPPRESSIONS, who, place).json(body).send();
    let made = suppress(&place, json!({"email": "Jane@corp.example"})).await.expect(201).json()["data"].clone();
    assert_eq!(
        (&made["email"], &made["scope"], &made["reason"], &made["source"]),
        (&json!("Jane@corp.example"), &json!("workspace"), &json!("manual"), &json!("api"))
    );
    suppress(&place, json!({"email": "jane@CORP.example", "reason": "hard_bounce"})).await.expect(409);
    suppress(&other, json!({"email": "jane@corp.example"})).await.expect(201);
    world.advance(SignedDuration::from_millis(3));
    let complaint = json!({"email": "joe@corp.example", "scope": "tenant", "reason": "spam_complaint"});
    let made = suppress(&place, complaint).await.expect(201).json()["data"].clone();
    let check =
        async |place: &str, email: &str| got(&world, who, place, &format!("{SUPPRESSIONS}/check?email={email}")).await["data"].clone();
    for (place, email, scope, reason) in [
        (&place, "JANE@corp.example", json!("workspace"), json!("manual")),
        (&other, "joe@corp.example", json!("tenant"), json!("spam_complaint")),
        (&place, "nobody@corp.example", Value::Null, Value::Null),
    ] {
        let told = check(place, email).await;
        assert_eq!((&told["suppressed"], &told["scope"], &told["reason"]), (&json!(!scope.is_null()), &scope, &reason), "{told}");
    }
    // Both lists in one, newest first; each workspace sees the tenant's under an id of its own.
    let both = got(&world, who, &place, SUPPRESSIONS).await;
    assert_eq!((emails(&both), &both["pagination"]["total"]), (vec!["joe@corp.example", "Jane@corp.example"], &json!(2)));
    assert_eq!(id(&both["data"][0]), id(&made));
    let there = got(&world, who, &other, &format!("{SUPPRESSIONS}?scope=tenant")).await;
    let in_other = format!("{SUPPRESSIONS}/{}", id(&there["data"][0]));
    assert_ne!(id(&there["data"][0]), id(&made));
    assert_eq!(emails(&got(&world, who, &place, &format!("{SUPPRESSIONS}?scope=workspace")).await), ["Jane@corp.example"]);

    for body in [json!({}), json!({"evidence": ""}), json!({"evidence": 3}), json!({"evidence": "x", "more": 1})] {
        world.delete(&in_other).token(&who.token).json(body).send().await.expect(400);
    }
    assert!(check(&place, "joe@corp.example").await["suppressed"] == true);
    world.delete(&in_other).token(&who.token).json(json!({"evidence": "They wrote on 3 May"})).send().await.expect(204);
    world.delete(&in_other).token(&who.token).json(json!({"evidence": "again"})).send().await.expect(404);
    assert!(check(&place, "joe@corp.example").await["suppressed"] == false);
    let own = format!("{SUPPRESSIONS}/{}", id(&both["data"][1]));
    world.delete(&own).token(&who.token).send().await.expect(204);
    // The hash stays, with what was; the address does not.
    let kept: Vec<Value> = world.items_of_type("suppression");
    let text = serde_json::to_string(&world.items_of(&acme)).expect("JSON");
    assert_eq!((kept.len(), &kept[0]["history"]["L"][0]["M"]["evidence"]["S"]), (1, &json!("They wrote on 3 May")));
    assert!(!text.contains("joe@corp.example"));
    // It can come on the list again, and its history is kept.
    suppress(&place, json!({"email": "joe@corp.example", "scope": "tenant", "reason": "user_request"})).await.expect(201);
    assert_eq!(world.items_of_type("suppression")[0]["history"]["L"].as_array().map(Vec::len), Some(1));
    for wrong in [
        json!({}),
        json!({"email": "nobody"}),
        json!({"email": "a@b.example", "scope": "world"}),
        json!({"email": "a@b.example", "reason": "why not"}),
        json!({"email": "a@b.example", "source": "carrier"}),
    ] {
        suppress(&place, wrong).await.expect(400);
    }
    for query in ["", "?email=nobody", "?email=a@b.example&colour=red"] {
        asks(&world, "GET", &format!("{SUPPRESSIONS}/check{query}"), who, &place).send().await.expect(400);
    }
    counts_are_true(&world, &acme);
}

#[tokio::test]
async fn a_thousand_addresses_are_suppressed_at_once() {
    let world = World::new().await;
    let (acme, place) = acme(&world).await;
    let who = &acme.owner;
    asks(&world, "POST", SUPPRESSIONS, who, &place).json(json!({"email": "user7@corp.example"})).send().await.expect(201);
    let emails: Vec<String> = (0..1_000).map(|n| format!("user{n}@corp.example")).collect();
    let bulk = |body: Value| asks(&world, "POST", &format!("{SUPPRESSIONS}/bulk"), who, &place).json(body).send();
    let body = json!({"emails": emails, "reason": "import"});
    let (one, other) = futures_util::join!(bulk(body.clone()), bulk(body.clone()));
    let added = |answer: &Answer| answer.json()["data"]["added"].as_u64().expect("a number");
    assert_eq!(added(&one.clone().expect(200)) + added(&other.clone().expect(200)), 999);
    assert_eq!(bulk(body).await.expect(200).json()["data"], json!({"added": 0, "already": 1_000}));
    let page = got(&world, who, &place, &format!("{SUPPRESSIONS}?limit=100&offset=950")).await;
    assert_eq!((page["data"].as_array().map(Vec::len), &page["pagination"]["total"]), (Some(50), &json!(1_000)));
    for wrong in [
        json!({}),
        json!({"emails": []}),
        json!({"emails": ["a@b.example", "nobody"]}),
        json!({"emails": vec!["a@b.example"; 1_001]}),
        json!({"emails": ["a@b.example"], "reason": "x"}),
    ] {
        bulk(wrong).await.expect(400);
    }
    counts_are_true(&world, &acme);
}

#[tokio::test]
async fn two_lists_make_one_page_after_another() {
    let world = World::new().await;
    let (acme, place) = acme(&world).await;
    let who = &acme.owner;
    let mut expected = vec![];
    for n in 0..15 {
        let email = format!("user{n}@corp.example");
        let scope = if n % 3 == 0 { "tenant" } else { "workspace" };
        asks(&world, "POST", SUPPRESSIONS, who, &place).json(json!({"email": email, "scope": scope})).send().await.expect(201);
        world.advance(SignedDuration::from_millis(3));
        expected.insert(0, email);
    }
    for limit in [1, 4, 7, 15] {
        let (mut found, mut cursor) = (vec![], String::new());
        loop {
            let page = got(&world, who, &place, &format!("{SUPPRESSIONS}?limit={limit}{cursor}")).await;
            assert_eq!(page["pagination"]["total"], 15);
            found.extend(emails(&page).into_iter().map(str::to_owned));
            match page["pagination"]["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(found, expected, "{limit} a page");
        let skipped = got(&world, who, &place, &format!("{SUPPRESSIONS}?limit={limit}&offset=5")).await;
        assert_eq!(emails(&skipped), expected.iter().skip(5).take(limit).collect::<Vec<_>>());
    }
}

// What follows.

#[tokio::test]
async fn keys_with_the_scope_may_and_others_may_not() {
    let world = World::new().await;
    let (acme, place) = acme(&world).await;
    let key = async |scopes: Value| {
        let body = json!({"name": "Key", "scopes": scopes});
        let made = world.post("/api/tenant-api-key").token(&acme.owner.token).json(body).send().await.expect(201).json();
        made["apiKey"].as_str().expect("a key").to_owned()
    };
    let (reads, writes, other) = (key(json!(["leads:read"])).await, key(json!(["leads:*"])).await, key(json!(["projects:*"])).await);
    let post =
        |key: &str, path: &str, body: Value| world.post(path).header("x-api-key", key).header("x-workspace-id", &place).json(body).send();
    post(&writes, LEADS, json!({"email": "jane@corp.example"})).await.expect(201);
    post(&writes, SUPPRESSIONS, json!({"email": "a@b.example"})).await.expect(201);
    post(&reads, LEADS, json!({"email": "joe@corp.example"})).await.expect(403);
    world.get(LEADS).header("x-api-key", &reads).send().await.expect(200);
    world.get(SUPPRESSIONS).header("x-api-key", &reads).send().await.expect(200);
    world.get(LEADS).header("x-api-key", &other).send().await.expect(403);
}

#[tokio::test]
async fn all_of_it_is_audited_exported_imported_and_purged() {
    let world = World::new().await;
    let workers = Workers::on(&world);
    let (acme, place) = acme(&world).await;
    let who = &acme.owner;
    let named = list(&world, who, &place, "One").await;
    let jane = lead(&world, who, &place, json!({"email": "jane@corp.example", "list_ids": [named], "attributes": {"a": [1.5]}})).await;
    world.post(format!("{}/notes", at(&jane))).token(&who.token).json(json!({"text": "Called"})).send().await.expect(201);
    let rule = json!({"field": "lists", "op": "contains", "value": named});
    asks(&world, "POST", SEGMENTS, who, &place).json(json!({"name": "S", "rule": rule})).send().await.expect(201);
    asks(&world, "POST", SUPPRESSIONS, who, &place).json(json!({"email": "a@b.example"})).send().await.expect(201);
    asks(&world, "POST", SUPPRESSIONS, who, &place).json(json!({"email": "c@b.example", "scope": "tenant"})).send().await.expect(201);
    drain(&world, &workers).await;
    let log = world.get("/api/tenant/audit-log").token(&who.token).send().await.expect(200).text;
    for resource in ["lead", "lead_list", "segment", "suppression_change"] {
        assert!(log.contains(&format!("\"resource\":\"{resource}\"")), "{resource}: {log}");
    }
    let mut lines = String::new();
    let mut path = "/api/tenant/export".to_owned();
    loop {
        let part = world.get(&path).token(&who.token).send().await.expect(200);
        lines.push_str(&part.text);
        match part.header("link").split_once('>').and_then(|(url, _)| url.split_once('<')) {
            Some((_, next)) => path = next.to_owned(),
            None => break,
        }
    }
    for kind in [
        "lead",
        "lead_email",
        "lead_list",
        "lead_list_name",
        "lead_list_member",
        "segment",
        "activity",
        "suppression",
        "suppression_entry",
        "workspace_suppression",
        "workspace_suppression_entry",
    ] {
        assert_eq!(lines.lines().filter(|line| line.contains(&format!("\"type\":\"{kind}\""))).count(), 1, "{kind}");
    }
    let imported = workers.import(records::ALL_RESTORED, &who.email, &lines).await;
    assert_eq!((&imported["imported"]["lead"], &imported["imported"]["activity"]), (&json!(1), &json!(1)), "{imported}");
    let again = world.login(&who.email, &who.password).await;
    let twin = imported["tenant"].as_str().expect("a tenant");
    let there = async |path: &str| world.get(path).token(&again.token).header("x-tenant-id", twin).send().await.expect(200).json();
    let leads = there(&format!("{LEADS}?list={named}")).await;
    assert_eq!((emails(&leads), &leads["pagination"]["total"]), (vec!["jane@corp.example"], &json!(1)));
    assert_eq!(there(LEADS).await["pagination"]["total"], 1);
    let shown = there(&at(&jane)).await;
    assert_eq!((&shown["data"]["activity"][0]["text"], &shown["data"]["attributes"]), (&json!("Called"), &json!({"a": [1.5]})));
    assert_eq!(there(SUPPRESSIONS).await["data"].as_array().map(Vec::len), Some(2));
    assert_eq!(there(&format!("{SUPPRESSIONS}/check?email=c@b.example")).await["data"]["scope"], "tenant");
    world.post(LEADS).token(&again.token).header("x-tenant-id", twin).json(json!({"email": "jane@corp.example"})).send().await.expect(409);

    world.delete("/api/tenant").token(&who.token).header("x-tenant-id", &acme.id).send().await.expect(200);
    world.advance(SignedDuration::from_hours(24 * 8));
    workers.run("janitor", json!({"task": "purge"})).await.expect("the purge");
    assert_eq!(world.items_of(&acme), Vec::<Value>::new());
}
