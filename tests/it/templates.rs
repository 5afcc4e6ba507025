//! E-mail templates: what they may say, their versions, and that they stay in their workspace.

use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::lifecycle::export;
use crate::workers::{Workers, drain};
use crate::workspaces::{add, workspace};
use crate::world::{Answer, Caller, Tenant, World, id};

const ALL: &str = "/api/v1/tenant/templates";
const WORKSPACES: &str = "/api/v1/tenant/workspaces";

async fn home() -> (World, Tenant, Value) {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let workspace = workspace(&world, &own.owner, "Client").await;
    (world, own, workspace)
}

async fn create(world: &World, caller: &Caller, body: Value) -> Answer {
    // Ids of one moment have no order.
    world.advance(SignedDuration::from_millis(5));
    world.post(ALL).token(&caller.token).json(body).send().await
}

async fn template(world: &World, caller: &Caller, name: &str, html: &str) -> String {
    let body = json!({"name": name, "subject": "Hi {{first_name}}", "body": html});
    id(&create(world, caller, body).await.expect(201).json()["data"]).to_owned()
}

async fn change(world: &World, caller: &Caller, template: &str, body: Value) -> Answer {
    world.advance(SignedDuration::from_millis(5));
    world.patch(format!("{ALL}/{template}")).token(&caller.token).json(body).send().await
}

async fn shown(world: &World, caller: &Caller, template: &str) -> Value {
    world.get(format!("{ALL}/{template}")).token(&caller.token).send().await.expect(200).json()["data"].clone()
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

#[tokio::test]
async fn the_documented_shapes_are_met() {
    let (world, own, _) = home().await;
    let owner = &own.owner;
    let body = json!({"workspace_slug": "client", "name": "Welcome", "subject": "Hi {{firstName}}", "body": "<p>{{custom.plan}}</p>"});
    let created = create(&world, owner, body).await.expect(201);
    let made = created.json()["data"].clone();
    let template = id(&made).to_owned();
    assert!(template.starts_with("tpl_") && template.len() == 36, "{template}");
    let now = made["created_at"].clone();
    let summary = json!({
        "id": template, "name": "Welcome", "subject": "Hi {{firstName}}", "category": null, "tags": [], "status": "active", "version": 1,
        "created_at": now, "updated_at": now,
    });
    let undeclared = json!({
        "code": "undeclared_variable", "message": "custom.plan is no standard name: it shows something only for contacts that have it among their attributes.",
        "field": "body", "line": 1, "column": 6,
    });
    let unsubscribe = json!({
        "code": "no_unsubscribe_url", "message": "There is no {{unsubscribe_url}}; the link is appended when the mail is sent.",
        "field": null, "line": null, "column": null,
    });
    let mut saved = summary.clone();
    saved["description"] = Value::Null;
    saved["variables"] = json!(["custom.plan", "first_name"]);
    saved["warnings"] = json!([undeclared, unsubscribe]);
    saved["used_in"] = json!(0);
    assert_eq!((&created.json(), created.header("etag")), (&json!({"success": true, "data": saved}), "\"1.0\""));
    let page = world.get(ALL).token(&owner.token).send().await.expect(200);
    let pagination = json!({"total": 1, "limit": 20, "offset": 0, "has_more": false, "next_cursor": null});
    assert_eq!(page.json(), json!({"success": true, "data": [summary], "pagination": pagination}));
    assert!(page.header("x-workspace-id").starts_with("ws_"));
    saved["body"] = json!("<p>{{custom.plan}}</p>");
    saved["text"] = Value::Null;
    let read = world.get(format!("{ALL}/{template}")).token(&owner.token).send().await.expect(200);
    assert_eq!((read.json()["data"].clone(), read.header("etag")), (saved, "\"1.0\""));
    let cached = world.get(format!("{ALL}/{template}")).token(&owner.token).header("if-none-match", "\"1.0\"").send().await;
    assert_eq!(cached.status, 304);
    let versions = world.get(format!("{ALL}/{template}/versions")).token(&owner.token).send().await.expect(200).json();
    let version = json!({
        "version": 1, "subject": "Hi {{firstName}}", "created_at": now, "by": {"id": owner.id, "name": "Owner of acme"},
    });
    assert_eq!((&versions["data"], &versions["pagination"]), (&json!([version]), &pagination));
    let deleted = world.delete(format!("{ALL}/{template}")).token(&owner.token).send().await.expect(204);
    assert_eq!(deleted.text, "");
    let missing = world.get(format!("{ALL}/{template}")).token(&owner.token).send().await.expect(404);
    assert_eq!((missing.code().as_str(), &missing.json()["error"]["message"]), ("RESOURCE_NOT_FOUND", &json!("Template not found")));
    assert_eq!(names(&world, owner, "").await, (vec![], 0));
    let left = world.items_of(&own).into_iter().filter(|item| item["type"]["S"].as_str().is_some_and(|kind| kind.starts_with("template")));
    assert_eq!(left.count(), 0);
}

#[tokio::test]
async fn a_change_keeps_the_rest_and_one_of_nothing_keeps_the_version() {
    let (world, own, _) = home().await;
    let owner = &own.owner;
    let template = template(&world, owner, "Welcome", "<p>Hi</p>").await;
    let body = json!({
        "name": "Hello", "text": "Hi", "description": "First mail", "category": "Follow-up", "tags": ["New", "new", "EU"], "status": "draft",
    });
    let changed = change(&world, owner, &template, body.clone()).await.expect(200);
    let data = changed.json()["data"].clone();
    assert_eq!(
        (&data["name"], &data["text"], &data["tags"], &data["status"], &data["body"]),
        (&json!("Hello"), &json!("Hi"), &json!(["New", "EU"]), &json!("draft"), &json!("<p>Hi</p>"))
    );
    assert_eq!((&data["version"], changed.header("etag")), (&json!(2), "\"2.0\""));
    assert!(data["updated_at"].as_str() > data["created_at"].as_str());
    let before = world.items_of(&own).len();
    for same in [body, json!({}), json!({"subject": "Hi {{first_name}}", "body": "<p>Hi</p>"})] {
        let again = change(&world, owner, &template, same).await.expect(200);
        assert_eq!((again.header("etag"), &again.json()["data"]), ("\"2.0\"", &data));
    }
    assert_eq!(world.items_of(&own).len(), before);
    let cleared = json!({"text": null, "description": null, "category": null, "tags": []});
    let cleared = change(&world, owner, &template, cleared).await.expect(200).json()["data"].clone();
    assert_eq!((&cleared["text"], &cleared["category"], &cleared["tags"]), (&Value::Null, &Value::Null, &json!([])));
    let conditional = |etag: &'static str| {
        let request = world.patch(format!("{ALL}/{template}")).token(&owner.token).header("if-match", etag);
        request.json(json!({"name": "Conditional"})).send()
    };
    assert_eq!(conditional("\"2.0\"").await.expect(412).code(), "PRECONDITION_FAILED");
    conditional("\"3.7\"").await.expect(200);
    world.delete(format!("{ALL}/{template}")).token(&owner.token).header("if-match", "\"3.0\"").send().await.expect(412);
    world.delete(format!("{ALL}/{template}")).token(&owner.token).header("if-match", "\"4.0\"").send().await.expect(204);
}

#[tokio::test]
async fn names_are_unique_in_a_workspace_whatever_their_letter_case() {
    let (world, own, _) = home().await;
    let owner = &own.owner;
    let other = workspace(&world, owner, "Other").await;
    let first = template(&world, owner, "Straße", "x").await;
    let second = template(&world, owner, "Second", "x").await;
    let with = |name: &str| json!({"name": name, "subject": "s", "body": "b"});
    for name in ["Straße", "STRASSE", " strasse "] {
        assert_eq!(create(&world, owner, with(name)).await.expect(409).code(), "CONFLICT", "{name}");
        change(&world, owner, &second, json!({"name": name})).await.expect(409);
    }
    create(&world, owner, json!({"workspace_slug": id(&other), "name": "Straße", "subject": "s", "body": "b"})).await.expect(201);
    // Its own name in another spelling is no other name.
    change(&world, owner, &first, json!({"name": "STRASSE"})).await.expect(200);
    create(&world, owner, with("Straße")).await.expect(409);
    change(&world, owner, &first, json!({"name": "Weg"})).await.expect(200);
    change(&world, owner, &second, json!({"name": "Straße"})).await.expect(200);
    world.delete(format!("{ALL}/{second}")).token(&owner.token).send().await.expect(204);
    create(&world, owner, with("straße")).await.expect(201);
    // At once: one has the name.
    world.advance(SignedDuration::from_millis(5));
    let racing = join_all((0..6).map(|_| world.post(ALL).token(&owner.token).json(with("Race")).send())).await;
    let mut statuses: Vec<u16> = racing.iter().map(|answer| answer.status).collect();
    statuses.sort();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409]);
    let (found, total) = names(&world, owner, "").await;
    assert_eq!((found, total), (vec!["Race".to_owned(), "straße".into(), "Weg".into()], 3));
}

#[tokio::test]
async fn lists_filter_search_and_go_on() {
    let (world, own, _) = home().await;
    let owner = &own.owner;
    for (name, subject, category, tags, status) in [
        ("Welcome", "Grüße", json!("Welcome"), json!(["EU", "new"]), "active"),
        ("Reminder", "Again", json!("Follow-up"), json!(["eu"]), "draft"),
        ("Last call", "Welcome back", Value::Null, json!([]), "archived"),
        ("Café news", "s", json!("follow-UP"), json!(["new"]), "active"),
    ] {
        let body = json!({"name": name, "subject": subject, "body": "b", "category": category, "tags": tags, "status": status});
        create(&world, owner, body).await.expect(201);
    }
    for (query, expected) in [
        ("", vec!["Café news", "Last call", "Reminder", "Welcome"]),
        ("?search=WELCOME", vec!["Last call", "Welcome"]),
        ("?search=CAFE%CC%81", vec!["Café news"]),
        ("?search=gr%C3%BCSSE", vec!["Welcome"]),
        ("?search=nothing", vec![]),
        ("?category=follow-up", vec!["Café news", "Reminder"]),
        ("?tag=Eu", vec!["Reminder", "Welcome"]),
        ("?status=active", vec!["Café news", "Welcome"]),
        ("?status=active&tag=new&search=welcome", vec!["Welcome"]),
        ("?workspace=client&status=draft", vec!["Reminder"]),
    ] {
        let (found, total) = names(&world, owner, query).await;
        assert_eq!((&found, total), (&expected.iter().map(|name| (*name).to_owned()).collect(), expected.len() as u64), "{query}");
    }
    for query in ["?limit=2", "?limit=2&status=active&offset=0", "?limit=1&search=e"] {
        let (whole, _) = names(&world, owner, &query.replace("limit=2", "limit=100").replace("limit=1&", "limit=100&")).await;
        let (mut seen, mut cursor) = (vec![], String::new());
        loop {
            let path = format!("{ALL}{}{cursor}", if cursor.is_empty() { query.to_owned() } else { query.replace("&offset=0", "") });
            let page = world.get(path).token(&owner.token).send().await.expect(200).json();
            seen.extend(page["data"].as_array().expect("a list").iter().filter_map(|one| one["name"].as_str().map(str::to_owned)));
            match page["pagination"]["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen, whole, "{query}");
    }
    for (query, field) in [
        ("?status=gone", "status"),
        ("?limit=0", "limit"),
        ("?limit=101", "limit"),
        ("?offset=-1", "offset"),
        ("?offset=10001", "offset"),
        ("?colour=red", "colour"),
        ("?search=%00", "search"),
    ] {
        let refused = world.get(format!("{ALL}{query}")).token(&owner.token).send().await.expect(400);
        assert_eq!(faults(&refused), [field], "{query}");
    }
    // A list reads no bodies: it costs the same with large ones.
    let small = world.get(ALL).token(&owner.token).send().await.metered.expect("metered").read_units;
    for name in ["Welcome", "Reminder", "Last call", "Café news"] {
        let page = world.get(ALL).token(&owner.token).send().await.json();
        let one = page["data"].as_array().expect("a list").iter().find(|one| one["name"] == name).expect("it is there").clone();
        change(&world, owner, id(&one), json!({"body": noise(200_000)})).await.expect(200);
    }
    let large = world.get(ALL).token(&owner.token).send().await.metered.expect("metered").read_units;
    assert!(large <= small + 0.5, "{small} and {large}");
}

/// Text that cannot be compressed, and in which no tag begins.
fn noise(bytes: usize) -> String {
    shared::crypto::Random::seeded(7).text(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/#!$&()*,-.:;=?@[]^_`|~", bytes)
}

#[tokio::test]
async fn every_fault_of_a_form_is_named_at_once() {
    let (world, own, _) = home().await;
    let owner = &own.owner;
    let template = template(&world, owner, "Welcome", "<p>Hi</p>").await;
    let before = world.items_of(&own);
    let wrong = json!({
        "name": "", "subject": 3, "body": "{{", "text": ["t"], "description": 1, "category": "x".repeat(51), "tags": "new", "status": "sent",
        "colour": "red", "workspace_slug": "client",
    });
    let refused = create(&world, owner, wrong.clone()).await.expect(400);
    assert_eq!((refused.code().as_str(), faults(&refused).len()), ("VALIDATION_ERROR", 9), "{}", refused.text);
    let refused = change(&world, owner, &template, wrong).await.expect(400);
    assert_eq!(faults(&refused).len(), 10, "{}", refused.text);
    let good = || json!({"name": "n", "subject": "s", "body": "b"});
    assert_eq!(faults(&create(&world, owner, json!({})).await.expect(400)), ["body", "name", "subject"]);
    for (field, values) in [
        ("name", vec![json!(null), json!(1), json!("x".repeat(101)), json!("a\u{202E}b"), json!(" ")]),
        ("subject", vec![json!(null), json!(""), json!(" "), json!("x".repeat(256)), json!("a\u{0}"), json!({})]),
        ("body", vec![json!(null), json!(""), json!("\n"), json!([]), json!("\u{1}"), json!(true)]),
        ("text", vec![json!(""), json!("x".repeat(64 * 1024 + 1)), json!(7)]),
        ("description", vec![json!("x".repeat(1001)), json!([])]),
        ("category", vec![json!("a\nb"), json!(false)]),
        ("tags", vec![json!([1]), json!([""]), json!([null]), json!((0..21).map(|tag| tag.to_string()).collect::<Vec<_>>()), json!({})]),
        ("status", vec![json!("Active"), json!("deleted"), json!(1)]),
        ("id", vec![json!("tpl_1")]),
        ("used_in", vec![json!(0)]),
        ("version", vec![json!(9)]),
        ("workspace_slug", vec![json!(7)]),
    ] {
        for value in values {
            let mut body = good();
            body[field] = value.clone();
            let refused = create(&world, owner, body).await;
            assert_eq!(refused.status, 400, "{field} {}", refused.text);
            assert!(refused.details()[field].is_array() || field == "workspace_slug", "{field} {value}: {}", refused.text);
            let required = ["name", "subject", "body"].contains(&field);
            if value.is_null() && !required {
                continue;
            }
            change(&world, owner, &template, json!({field: value})).await.expect(400);
        }
    }
    assert_eq!(world.items_of(&own).len(), before.len());
    for (route, wrong) in
        [("duplicate", json!({"name": ""})), ("duplicate", json!({"body": "b"})), ("versions/1/restore", json!({"version": 1}))]
    {
        let refused = world.post(format!("{ALL}/{template}/{route}")).token(&owner.token).json(wrong).send().await;
        assert_eq!(refused.status, 400, "{route} {}", refused.text);
    }
}

#[tokio::test]
async fn faults_of_a_template_are_told_with_their_place() {
    let (world, own, _) = home().await;
    let owner = &own.owner;
    let wrong = json!({
        "name": "n", "subject": "Hi {{ first_name", "body": "<p>\n  {% include 'x' %}</p>{{ a|b|c( }}", "text": "{{ 1 + }}",
    });
    let refused = create(&world, owner, wrong).await.expect(400);
    assert_eq!(faults(&refused), ["body", "subject", "text"]);
    let body = refused.details()["body"].clone();
    let first = body[0].as_str().expect("a sentence");
    assert!(first.starts_with("The body field has a fault in line 2, column 6: There is no include in a template") && first.ends_with('.'));
    assert!(body.as_array().expect("sentences").len() == 2, "{body}");
    assert!(refused.details()["subject"][0].as_str().is_some_and(|told| told.contains("line 1, column 4: ")), "{}", refused.text);
    // Blanks before it count.
    let refused = create(&world, owner, json!({"name": "n", "subject": "s", "body": "  \n\n {% raw %}"})).await.expect(400);
    assert!(refused.details()["body"][0].as_str().is_some_and(|told| told.contains("line 3, column 5: ")), "{}", refused.text);
    let many: String = (0..201).map(|name| format!("{{{{n{name}}}}}")).collect();
    assert_eq!(faults(&create(&world, owner, json!({"name": "n", "subject": "s", "body": many})).await.expect(400)), ["body"]);
    for hostile in [
        "{% macro x() %}{% endmacro %}",
        "{% for i in range(9) %}{% endfor %}",
        "{{ ''.__class__ }}",
        "{% set x = 1 %}",
        "{{ 7*7 }}",
        "{% extends 'a' %}",
        "{{ self }}{% block a %}{% endblock %}",
        &"{% if a %}".repeat(30),
    ] {
        for field in ["subject", "body", "text"] {
            let mut body = json!({"name": "n", "subject": "s", "body": "b"});
            body[field] = json!(hostile);
            // Some of it may be read as a name or a text; nothing of it ever runs.
            match create(&world, owner, body).await {
                Answer { status: 400, .. } => {}
                made => {
                    let made = made.expect(201).json()["data"].clone();
                    let path = format!("{ALL}/{}", id(&made));
                    let mail = world.post(format!("{path}/render")).token(&owner.token).json(json!({})).send().await.expect(200).json();
                    assert!(!mail.to_string().contains("49") && !mail.to_string().contains("class"), "{mail}");
                    world.delete(path).token(&owner.token).send().await.expect(204);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_template_renders_with_the_values_of_a_context() {
    let (world, own, workspace) = home().await;
    let owner = &own.owner;
    let settings = json!({"default_from_name": "Ada", "default_from_email": "ada@example.com", "postal_address": "1 Main St"});
    let path = format!("{WORKSPACES}/{}", id(&workspace));
    world.patch(path).token(&owner.token).json(json!({"settings": settings})).send().await.expect(200);
    let html = "<p>{{first_name}} & {{custom.plan}} of {{workspace_name}}</p><a href=\"{{link}}\">x</a>{{sender_name}} {{sender_email}} {{postal_address}}";
    let template = template(&world, owner, "Welcome", html).await;
    let render = |path: String, body: Value| world.post(path).token(&owner.token).json(body).send();
    let context = json!({"firstName": "<Eve>", "custom": {"plan": "Pro"}, "link": "javascript:alert(1)", "sender_name": "Bob"});
    let rendered = render(format!("{ALL}/{template}/render"), json!({"context": context})).await.expect(200).json();
    let mail = json!({
        "subject": "Hi <Eve>",
        "html": "<p>&lt;Eve&gt; & Pro of Client</p><a href=\"#\">x</a>Bob ada@example.com 1 Main St",
        "text": rendered["data"]["text"], "missing": [],
    });
    assert_eq!(rendered, json!({"success": true, "data": mail}));
    assert!(rendered["data"]["text"].as_str().is_some_and(|text| text.contains("<Eve> & Pro of Client")), "{rendered}");
    // The same before it is saved, and without any context.
    let unsaved = json!({"subject": "Hi {{first_name}}", "body": html, "context": context, "workspace_slug": "client"});
    assert_eq!(render(format!("{ALL}/render"), unsaved).await.expect(200).json()["data"], mail);
    for empty in [json!({}), json!({"context": null}), json!({"context": {}})] {
        let rendered = render(format!("{ALL}/{template}/render"), empty).await.expect(200).json();
        assert_eq!(rendered["data"]["missing"], json!(["custom.link", "custom.plan", "first_name"]));
        assert_eq!(rendered["data"]["subject"], "Hi");
    }
    let text = json!({"subject": "s", "body": "<b>{{a}}</b>", "text": "{{a|there}}\n", "context": {"a": null}});
    let rendered = render(format!("{ALL}/render"), text).await.expect(200).json()["data"].clone();
    assert_eq!((&rendered["text"], &rendered["missing"]), (&json!("there\n"), &json!(["custom.a"])));
    // What is wrong is told on its field.
    let deep = (0..30).fold(json!(1), |value, _| json!([value]));
    for (context, fields) in [
        (json!([]), vec!["context"]),
        (json!("x"), vec!["context"]),
        (json!({"a": "\u{1}"}), vec!["context"]),
        (json!({"a": deep}), vec!["context"]),
        (json!({"a": "x".repeat(129 * 1024)}), vec!["context"]),
    ] {
        let refused = render(format!("{ALL}/{template}/render"), json!({"context": context})).await.expect(400);
        assert_eq!(faults(&refused), fields);
    }
    for wrong in [json!({"context": {}, "colour": 1}), json!({"lead": 1})] {
        render(format!("{ALL}/{template}/render"), wrong).await.expect(400);
    }
    let refused = render(format!("{ALL}/render"), json!({"subject": "{{", "text": 1, "context": 1})).await.expect(400);
    assert_eq!(faults(&refused), ["body", "context", "subject", "text"]);
    let bomb = "{% for a in l %}{% for b in l %}{% for c in l %}{% for d in l %}xxxxxxxx{% endfor %}{% endfor %}{% endfor %}{% endfor %}";
    let list: Vec<u8> = vec![0; 1000];
    let bomb = json!({"subject": "s", "body": bomb, "context": {"custom": {"l": list}}});
    assert_eq!(faults(&render(format!("{ALL}/render"), bomb).await.expect(400)), ["body"]);
    let flood = json!({"subject": "s", "body": "{{a}}".repeat(9), "context": {"a": "x".repeat(100 * 1024)}});
    assert_eq!(faults(&render(format!("{ALL}/render"), flood).await.expect(400)), ["body"]);
    // With a key, even where the answer is too large to be kept.
    let large = json!({"subject": "s", "body": "{{a}}{{a}}{{a}}", "context": {"a": "x".repeat(100 * 1024)}});
    for _ in 0..2 {
        let answer =
            world.post(format!("{ALL}/render")).token(&owner.token).header("idempotency-key", "large").json(large.clone()).send().await;
        assert_eq!(answer.expect(200).json()["data"]["html"].as_str().map(str::len), Some(300 * 1024));
    }
}

#[tokio::test]
async fn a_body_may_be_large_and_one_byte_more_is_too_much() {
    let (world, own, _) = home().await;
    let owner = &own.owner;
    let (most, text) = (256 * 1024, 64 * 1024);
    // Nothing of it can be compressed, or nearly all; JSON doubles the last.
    for (name, html) in [("noise", noise(most)), ("same", "a".repeat(most)), ("wide", "ä".repeat(most / 2)), ("quotes", "\"".repeat(most))]
    {
        let body = json!({"name": name, "subject": "s", "body": html, "text": noise(text)});
        let made = create(&world, owner, body).await.expect(201).json()["data"].clone();
        let shown = shown(&world, owner, id(&made)).await;
        assert!(shown["body"] == html && shown["text"] == noise(text), "{name}");
        assert_eq!(made["warnings"].as_array().and_then(|all| all.last()).map(|last| last["code"].clone()), Some(json!("clipped")));
    }
    let largest = world.items_of_type("template_body").iter().map(|item| item.to_string().len()).max();
    assert!(largest.is_some_and(|bytes| (most + text..400 * 1000).contains(&bytes)), "{largest:?}");
    assert!(world.items_of_type("template").iter().all(|item| item.to_string().len() < 2_000));
    for (field, wrong) in [("body", "x".repeat(most + 1)), ("body", "ä".repeat(most / 2 + 1)), ("text", "x".repeat(text + 1))] {
        let mut body = json!({"name": "n", "subject": "s", "body": "b"});
        body[field] = json!(wrong);
        assert_eq!(faults(&create(&world, owner, body).await.expect(400)), [field]);
    }
    // A request up to 1 MiB is read here; elsewhere the limit is what it was.
    let padded = |bytes: usize| {
        let body = json!({"name": "padded", "subject": "s", "body": "b"}).to_string();
        let blanks = " ".repeat(bytes - body.len());
        format!("{body}{blanks}").into_bytes()
    };
    for (bytes, status) in [(1024 * 1024 + 1, 413), (3 * 1024 * 1024, 413), (1024 * 1024, 201)] {
        let answer = world.post(ALL).token(&owner.token).raw(&padded(bytes)).send().await.expect(status);
        if status == 413 {
            assert_eq!(
                (answer.code().as_str(), &answer.json()["error"]["message"]),
                ("BAD_REQUEST", &json!("The body is larger than 1 MiB."))
            );
        }
    }
    for bytes in [256 * 1024 + 1, 1024 * 1024 + 1] {
        let answer = world.post(WORKSPACES).token(&owner.token).raw(&padded(bytes)).send().await.expect(413);
        assert_eq!(answer.json()["error"]["message"], "The body is larger than 256 KiB.");
    }
    let copy = format!("{ALL}/{}/duplicate", template(&world, owner, "t", "b").await);
    world.post(copy).token(&owner.token).raw(&padded(256 * 1024 + 1)).send().await.expect(413);
}

#[tokio::test]
async fn fifty_versions_are_kept_and_each_comes_back_exactly() {
    let (world, own, _) = home().await;
    let owner = &own.owner;
    let template = template(&world, owner, "Welcome", "<p>1</p>").await;
    let path = format!("{ALL}/{template}");
    let versions = async |query: &str| world.get(format!("{path}/versions{query}")).token(&owner.token).send().await.expect(200).json();
    for number in 2..=53 {
        change(&world, owner, &template, json!({"body": format!("<p>{number}</p>"), "subject": format!("s{number}")})).await.expect(200);
    }
    // An edit of the rest is a version of the template without content of its own.
    change(&world, owner, &template, json!({"name": "Hello"})).await.expect(200);
    let page = versions("").await;
    let shown_versions: Vec<u64> = page["data"].as_array().expect("a list").iter().filter_map(|one| one["version"].as_u64()).collect();
    assert_eq!(shown_versions, (34..=53).rev().collect::<Vec<_>>());
    assert_eq!((&page["pagination"]["total"], &page["data"][0]["subject"]), (&json!(50), &json!("s53")));
    let next = format!("?limit=20&cursor={}", page["pagination"]["next_cursor"].as_str().expect("there are more"));
    assert_eq!(versions(&next).await["data"][0]["version"], 33);
    let last = versions("?offset=49").await;
    assert_eq!((&last["data"][0]["version"], last["data"].as_array().map(Vec::len)), (&json!(4), Some(1)));
    assert_eq!(world.items_of_type("template_body").len(), 50);
    let restore = async |version: &str| world.post(format!("{path}/versions/{version}/restore")).token(&owner.token).send().await;
    for gone in ["1", "3", "54", "0", "-4", "04", "x", "99999999999999999999999"] {
        let missing = restore(gone).await.expect(404);
        assert_eq!(missing.json()["error"]["message"], "Version not found", "{gone}");
    }
    let restored = restore("4").await.expect(200);
    assert_eq!((restored.header("etag"), &restored.json()["data"]["subject"]), ("\"55.0\"", &json!("s4")));
    assert!(restored.json()["data"].get("body").is_none());
    let now = shown(&world, owner, &template).await;
    assert_eq!((&now["body"], &now["name"], &now["version"]), (&json!("<p>4</p>"), &json!("Hello"), &json!(55)));
    // What it says already is no new version.
    assert_eq!(restore("55").await.expect(200).header("etag"), "\"55.0\"");
    assert_eq!(versions("?limit=1").await["pagination"]["total"], 50);
    restore("4").await.expect(404);
    let stale = world.post(format!("{path}/versions/20/restore")).token(&owner.token).header("if-match", "\"54.0\"").send().await;
    stale.expect(412);
    let once = || world.post(format!("{path}/versions/20/restore")).token(&owner.token).header("idempotency-key", "once").send();
    let first = once().await.expect(200);
    change(&world, owner, &template, json!({"body": "after"})).await.expect(200);
    assert_eq!((once().await.expect(200).text, shown(&world, owner, &template).await["body"].clone()), (first.text, json!("after")));
    // The template goes with all that is kept of it.
    world.delete(&path).token(&owner.token).send().await.expect(204);
    assert_eq!(world.items_of_type("template_body").len(), 0);
    restore("20").await.expect(404);
}

#[tokio::test]
async fn large_versions_are_kept_as_far_as_one_transaction_deletes_them() {
    let (world, own, _) = home().await;
    let owner = &own.owner;
    let template = template(&world, owner, "Large", "x").await;
    for number in 0..14 {
        change(&world, owner, &template, json!({"body": format!("{number}{}", noise(250_000))})).await.expect(200);
    }
    let page = world.get(format!("{ALL}/{template}/versions")).token(&owner.token).send().await.expect(200).json();
    assert_eq!(page["pagination"]["total"], 12);
    world.delete(format!("{ALL}/{template}")).token(&owner.token).send().await.expect(204);
    assert_eq!(world.items_of_type("template_body").len(), 0);
}

#[tokio::test]
async fn edits_at_once_follow_one_another_and_lose_nothing() {
    let (world, own, _) = home().await;
    let owner = &own.owner;
    let template = template(&world, owner, "Welcome", "0").await;
    let edits = (1..=5).map(|number| {
        let body = match number {
            1 => json!({"name": "Hello"}),
            2 => json!({"tags": ["a"]}),
            3 => json!({"text": "text"}),
            4 => json!({"subject": "subject"}),
            _ => json!({"body": "body"}),
        };
        world.patch(format!("{ALL}/{template}")).token(&owner.token).json(body).send()
    });
    for answer in join_all(edits).await {
        answer.expect(200);
    }
    let shown = shown(&world, owner, &template).await;
    assert_eq!(
        (&shown["name"], &shown["tags"], &shown["text"], &shown["subject"], &shown["body"], &shown["version"]),
        (&json!("Hello"), &json!(["a"]), &json!("text"), &json!("subject"), &json!("body"), &json!(6))
    );
    let versions = world.get(format!("{ALL}/{template}/versions")).token(&owner.token).send().await.expect(200).json();
    assert_eq!((&versions["pagination"]["total"], world.items_of_type("template_body").len()), (&json!(4), 4));
}

#[tokio::test]
async fn a_copy_says_the_same_under_a_name_of_its_own() {
    let (world, own, _) = home().await;
    let owner = &own.owner;
    let body = json!({"name": "Welcome", "subject": "s {{a}}", "body": "<b>b</b>", "text": "t", "category": "Outreach", "tags": ["x"], "status": "draft"});
    let original = id(&create(&world, owner, body).await.expect(201).json()["data"]).to_owned();
    let duplicate = |body: Value| world.post(format!("{ALL}/{original}/duplicate")).token(&owner.token).json(body).send();
    let copied = duplicate(json!({})).await.expect(201).json()["data"].clone();
    assert_eq!((&copied["name"], &copied["version"], &copied["variables"]), (&json!("Copy of Welcome"), &json!(1), &json!(["custom.a"])));
    let (first, copy) = (shown(&world, owner, &original).await, shown(&world, owner, id(&copied)).await);
    for field in ["subject", "body", "text", "category", "tags", "status"] {
        assert_eq!(first[field], copy[field], "{field}");
    }
    assert_eq!(duplicate(json!({})).await.expect(201).json()["data"]["name"], "Copy of Welcome 2");
    duplicate(json!({"name": "welcome"})).await.expect(409);
    assert_eq!(duplicate(json!({"name": "Other"})).await.expect(201).json()["data"]["name"], "Other");
    let racing = join_all((0..4).map(|_| duplicate(json!({})))).await;
    let mut made: Vec<String> =
        racing.iter().filter(|answer| answer.status == 201).map(|answer| answer.json()["data"]["name"].to_string()).collect();
    made.sort();
    made.dedup();
    assert_eq!(made.len(), racing.iter().filter(|answer| answer.status == 201).count());
    assert!(!made.is_empty() && racing.iter().all(|answer| matches!(answer.status, 201 | 409)), "{made:?}");
    // The copy is a template of its own.
    change(&world, owner, id(&copied), json!({"body": "other"})).await.expect(200);
    assert_eq!(shown(&world, owner, &original).await["body"], "<b>b</b>");
    let once = |path: String, body: Value| world.post(path).token(&owner.token).header("idempotency-key", "once").json(body).send();
    let path = format!("{ALL}/{original}/duplicate");
    let (first, second) = (once(path.clone(), json!({})).await.expect(201), once(path.clone(), json!({})).await.expect(201));
    assert_eq!((&first.text, second.header("idempotency-replayed")), (&second.text, "true"));
    assert_eq!(once(path, json!({"name": "x"})).await.expect(422).code(), "IDEMPOTENCY_KEY_REUSED");
    let new = json!({"name": "Once", "subject": "s", "body": noise(256 * 1024)});
    let (first, second) = (once(ALL.to_owned(), new.clone()).await.expect(201), once(ALL.to_owned(), new).await.expect(201));
    assert_eq!((&first.text, second.header("idempotency-replayed")), (&second.text, "true"));
    assert_eq!(names(&world, owner, "?search=once").await.1, 1);
}

#[tokio::test]
async fn a_template_that_campaigns_use_stays() {
    let (world, own, _) = home().await;
    let owner = &own.owner;
    let template = template(&world, owner, "Used", "x").await;
    let stored = world.items_of_type("template").remove(0);
    let (pk, sk) = (stored["pk"]["S"].as_str().expect("a key"), stored["sk"]["S"].as_str().expect("a key"));
    world.change_item(pk, sk, |item| item["used_in"]["N"] = json!("2"));
    let read = world.get(format!("{ALL}/{template}")).token(&owner.token).send().await.expect(200);
    assert_eq!((read.header("etag"), &read.json()["data"]["used_in"]), ("\"1.2\"", &json!(2)));
    let refused = world.delete(format!("{ALL}/{template}")).token(&owner.token).send().await.expect(409);
    assert_eq!(refused.code(), "TEMPLATE_IN_USE");
    assert_eq!(change(&world, owner, &template, json!({"body": "y"})).await.expect(200).json()["data"]["used_in"], 2);
    let stored = world.items_of_type("template").remove(0);
    assert_eq!(stored["used_in"]["N"], "2");
    world.change_item(pk, sk, |item| item["used_in"]["N"] = json!("0"));
    world.delete(format!("{ALL}/{template}")).token(&owner.token).send().await.expect(204);
}

#[tokio::test]
async fn a_template_exists_in_its_workspace_alone() {
    let (world, own, _) = home().await;
    let (owner, other) = (&own.owner, workspace(&world, &own.owner, "Other").await);
    let neighbour = world.tenant("globex").await;
    workspace(&world, &neighbour.owner, "Theirs").await;
    let foreign = template(&world, &neighbour.owner, "Theirs", "x").await;
    let mine = template(&world, owner, "Mine", "x").await;
    let nobodys = format!("{}{}", &mine[..20], "0123456789abcdef");
    let in_no_workspace = "tpl_0198c0de000070008000000000000000".to_owned();
    let (viewer, outsider) = (world.member(&own, "viewer").await, world.member(&own, "member").await);
    add(&world, owner, "client", &viewer, "viewer").await.expect(201);
    add(&world, owner, id(&other), &outsider, "admin").await.expect(201);
    let content = json!({"subject": "s", "body": "b"});
    let routes: [(&'static str, &str, Option<Value>); 8] = [
        ("GET", "", None),
        ("PATCH", "", Some(content.clone())),
        ("DELETE", "", None),
        ("POST", "/render", Some(json!({}))),
        ("POST", "/duplicate", Some(json!({}))),
        ("GET", "/versions", None),
        ("POST", "/versions/1/restore", None),
        ("GET", "?workspace=other", None),
    ];
    let theirs = || {
        let items = world.items_of(&neighbour).into_iter();
        items.filter(|item| item["type"]["S"].as_str().is_some_and(|kind| kind.starts_with("template"))).collect::<Vec<_>>()
    };
    let before = theirs();
    assert_eq!(before.len(), 3);
    for (method, suffix, body) in &routes {
        let ask = async |template: &str, caller: &Caller, header: Option<&str>| {
            let mut request = world.request(method, format!("{ALL}/{template}{suffix}")).token(&caller.token);
            if let Some(body) = body {
                request = request.json(body.clone());
            }
            if let Some(workspace) = header {
                request = request.header("x-workspace-id", workspace);
            }
            request.send().await
        };
        let missing = ask(&in_no_workspace, owner, None).await.expect(404).fingerprint();
        for (template, caller, header) in [
            (foreign.as_str(), owner, None),
            (&nobodys, owner, None),
            (&mine, owner, Some("other")),
            (&mine, owner, Some("nobody")),
            (&mine, &outsider, None),
            (&mine, &neighbour.owner, None),
            ("tpl_x", owner, None),
            ("x", owner, None),
        ] {
            assert_eq!(ask(template, caller, header).await.fingerprint(), missing, "{method} {template}{suffix}");
        }
        let expected = match (*method, *suffix) {
            (_, "?workspace=other") => 404,
            ("GET", _) | (_, "/render") => 200,
            _ => 403,
        };
        assert_eq!(ask(&mine, &viewer, None).await.status, expected, "{method} {suffix}");
    }
    assert_eq!(theirs(), before);
    // A viewer renders what is not saved either, and creates nothing.
    let render = json!({"subject": "s", "body": "b"});
    world.post(format!("{ALL}/render")).token(&viewer.token).json(render).send().await.expect(200);
    create(&world, &viewer, json!({"name": "n", "subject": "s", "body": "b"})).await.expect(403);
    // Each workspace has its list, and who has no workspace an empty one.
    assert_eq!(names(&world, owner, "?workspace=other").await, (vec![], 0));
    assert_eq!(names(&world, owner, "").await, (vec!["Mine".to_owned()], 1));
    let nobody = world.member(&own, "member").await;
    assert_eq!(names(&world, &nobody, "").await, (vec![], 0));
    create(&world, &nobody, json!({"name": "n", "subject": "s", "body": "b"})).await.expect(400);
    for path in [format!("{ALL}?workspace=nobody"), format!("{ALL}?workspace=client")] {
        let missing = world.get(path).token(&outsider.token).send().await.expect(404);
        assert_eq!(missing.json()["error"]["message"], "Workspace not found");
    }
}

#[tokio::test]
async fn a_key_reads_and_writes_templates_by_its_scopes() {
    let (world, own, workspace) = home().await;
    let template = template(&world, &own.owner, "Welcome", "x").await;
    let key = async |scopes: Value| {
        let body = json!({"name": "K", "scopes": scopes, "workspace_ids": [id(&workspace)]});
        let made = world.post("/v1/api-keys").token(&own.owner.token).json(body).send().await.expect(201).json();
        made["data"]["key"].as_str().expect("a key").to_owned()
    };
    let (read, write, none) =
        (key(json!(["templates:read"])).await, key(json!(["templates:*"])).await, key(json!(["workspaces:read"])).await);
    let body = json!({"name": "By key", "subject": "s", "body": "b"});
    for (key, reads, writes) in [(&read, 200, 403), (&write, 200, 201), (&none, 403, 403)] {
        world.get(format!("{ALL}/{template}")).token(key).send().await.expect(reads);
        world.post(ALL).token(key).json(body.clone()).send().await.expect(writes);
    }
}

#[tokio::test]
async fn a_deleted_workspace_takes_its_templates_with_it() {
    let (world, own, doomed) = home().await;
    let owner = &own.owner;
    let workers = Workers::on(&world);
    let template = template(&world, owner, "Gone", "x").await;
    change(&world, owner, &template, json!({"body": "y"})).await.expect(200);
    let confirm = json!({"confirm": "Client"});
    world.delete(format!("{WORKSPACES}/{}", id(&doomed))).token(&owner.token).json(confirm).send().await.expect(204);
    for (method, suffix) in [("GET", ""), ("DELETE", ""), ("GET", "/versions"), ("POST", "/duplicate"), ("POST", "/versions/1/restore")] {
        world.request(method, format!("{ALL}/{template}{suffix}")).token(&owner.token).send().await.expect(404);
    }
    drain(&world, &workers).await;
    let tag = &id(&doomed)[id(&doomed).len() - 12..];
    let left = world.items_of(&own).into_iter().filter(|item| item["pk"]["S"].as_str().is_some_and(|pk| pk.contains(tag)));
    assert_eq!(left.map(|item| item["pk"]["S"].clone()).collect::<Vec<_>>(), Vec::<Value>::new());
}

#[tokio::test]
async fn templates_stand_in_the_audit_log_the_export_and_the_import() {
    let (world, own, workspace) = home().await;
    let owner = &own.owner;
    let workers = Workers::on(&world);
    let html = format!("<p>Hi</p>{}", "<tr><td>x</td></tr>".repeat(2_000));
    let kept = template(&world, owner, "Kept", &html).await;
    change(&world, owner, &kept, json!({"body": format!("{html}!"), "tags": ["a"]})).await.expect(200);
    let gone = template(&world, owner, "Gone", "x").await;
    world.delete(format!("{ALL}/{gone}")).token(&owner.token).send().await.expect(204);
    let before = shown(&world, owner, &kept).await;
    drain(&world, &workers).await;
    let log = world.get("/api/tenant/audit-log").token(&owner.token).send().await.expect(200).json();
    let entries = log["entries"].as_array().expect("entries").iter();
    let told: Vec<(&str, &str)> = entries
        .flat_map(|entry| entry["changes"].as_array().expect("changes"))
        .filter_map(|change| Some((change["resource"].as_str()?, change["action"].as_str()?)))
        .filter(|(resource, _)| resource.starts_with("template"))
        .collect();
    for action in ["created", "changed", "deleted"] {
        assert!(told.contains(&("template", action)), "{told:?}");
    }
    assert!(told.iter().all(|(resource, _)| *resource == "template"), "{told:?}");

    let (lines, _) = export(&world, owner).await;
    let imported = workers.import(records::ALL_RESTORED, &owner.email, &lines).await;
    assert_eq!(
        (&imported["imported"]["template"], &imported["imported"]["template_body"], &imported["imported"]["template_name"]),
        (&json!(1), &json!(2), &json!(1)),
        "{imported}"
    );
    let twin = imported["tenant"].as_str().expect("a tenant");
    let again = world.login(&owner.email, &owner.password).await;
    let ask = |request: crate::world::Request| request.token(&again.token).header("x-tenant-id", twin).send();
    let there = ask(world.get(format!("{ALL}/{kept}"))).await.expect(200).json()["data"].clone();
    assert_eq!(there, before);
    let list = ask(world.get(format!("{ALL}?workspace={}&tag=a", id(&workspace)))).await.expect(200).json();
    assert_eq!((&list["pagination"]["total"], &list["data"][0]["name"]), (&json!(1), &json!("Kept")));
    let total = ask(world.get(ALL)).await.expect(200).json();
    assert_eq!(total["pagination"]["total"], 1);
    let body = json!({"name": "kept", "subject": "s", "body": "b"});
    ask(world.post(ALL).json(body)).await.expect(409);
    let restored = ask(world.post(format!("{ALL}/{kept}/versions/1/restore"))).await.expect(200).json();
    assert_eq!(restored["data"]["version"], 3);
    assert_eq!(ask(world.get(format!("{ALL}/{kept}"))).await.expect(200).json()["data"]["body"], html);
}

/// A template of 27 KB. The door alone costs 5 reads, and 2 writes for the limits.
#[tokio::test]
async fn each_operation_costs_no_more_than_it_must() {
    let (world, own, workspace) = home().await;
    let owner = &own.owner;
    let named = |request: crate::world::Request| request.token(&owner.token).header("x-workspace-id", id(&workspace)).send();
    let html = format!("<p>Hi {{{{first_name}}}}</p>{}", "<tr><td>Größe</td></tr>".repeat(900));
    let body = json!({"name": "Welcome", "subject": "s", "body": html});
    let template = id(&named(world.post(ALL).json(body.clone())).await.expect(201).json()["data"]).to_owned();
    let path = format!("{ALL}/{template}");
    named(world.get(ALL)).await.expect(200);
    let second = json!({"name": "Second", "subject": "s", "body": html});
    let rewritten = json!({"body": format!("{html}!")});
    for (name, request, reads, writes, trips) in [
        ("list", world.get(ALL), 7.0, 2.0, 2),
        ("list, filtered", world.get(format!("{ALL}?status=active")), 7.5, 2.0, 3),
        ("create", world.post(ALL).json(second), 5.0, 14.0, 2),
        ("show", world.get(&path), 7.0, 2.0, 2),
        ("change the name", world.patch(&path).json(json!({"name": "Hello"})), 7.0, 11.0, 3),
        ("change the tags", world.patch(&path).json(json!({"tags": ["a"]})), 7.0, 4.0, 3),
        ("change the body", world.patch(&path).json(rewritten), 7.0, 9.0, 3),
        ("render", world.post(format!("{path}/render")).json(json!({})), 7.0, 2.0, 2),
        ("render unsaved", world.post(format!("{ALL}/render")).json(json!({"subject": "s", "body": "b"})), 5.0, 2.0, 1),
        ("versions", world.get(format!("{path}/versions")), 6.5, 2.0, 2),
        ("restore", world.post(format!("{path}/versions/1/restore")), 8.0, 9.0, 3),
        ("duplicate", world.post(format!("{path}/duplicate")).json(json!({})), 17.0, 14.0, 4),
        ("delete", world.delete(&path), 6.0, 22.0, 2),
    ] {
        let answer = named(request).await;
        let metered = answer.metered.expect("metered");
        assert!(answer.status < 300, "{name}: {}", answer.text);
        let spent = (metered.read_units, metered.write_units, metered.round_trips);
        assert!(spent.0 <= reads && spent.1 <= writes && spent.2 <= trips, "{name} costs {spent:?}");
    }
}
