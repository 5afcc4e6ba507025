//! Templates of messages: what they may say, what becomes of them, that a name is one template's, and that an id is never another's.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{join_all, poll_immediate};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::lifecycle::export;
use crate::workers::{Workers, drain};
use crate::workspaces::workspace;
use crate::world::{Answer, Caller, Request, Tenant, World, id};

const ALL: &str = "/v1/templates";
const NOBODY: &str = "tpl_0198c0de000070008000000000000000";

async fn home() -> (World, Tenant) {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    (world, own)
}

fn new(name: &str, body: &str) -> Value {
    json!({"name": name, "channel": "both", "type": "otp", "body": body})
}

fn create(world: &World, caller: &Caller, body: Value) -> Request {
    world.post(ALL).token(&caller.token).json(body)
}

async fn template(world: &World, caller: &Caller, name: &str, body: &str) -> String {
    let made = create(world, caller, new(name, body)).send().await.expect(201).json();
    format!("{ALL}/{}", id(&made["data"]))
}

fn change(world: &World, caller: &Caller, template: &str, body: Value) -> Request {
    world.advance(SignedDuration::from_millis(5));
    world.patch(template).token(&caller.token).json(body)
}

async fn shown(world: &World, caller: &Caller, template: &str) -> Value {
    world.get(template).token(&caller.token).send().await.expect(200).json()["data"].clone()
}

fn preview(world: &World, caller: &Caller, template: &str, data: &Value) -> Request {
    world.post(format!("{template}/preview")).token(&caller.token).json(json!({"data": data}))
}

/// The names on a page, and the cursor.
async fn names(world: &World, caller: &Caller, query: &str) -> (Vec<String>, Value) {
    let page = world.get(format!("{ALL}{query}")).token(&caller.token).send().await.expect(200).json();
    let names = page["data"].as_array().expect("a list").iter().filter_map(|one| one["name"].as_str().map(str::to_owned)).collect();
    (names, page["next_cursor"].clone())
}

/// What is wrong with one field.
fn problem(answer: &Answer, field: &str) -> String {
    answer.details()[field][0].as_str().unwrap_or_default().to_owned()
}

fn statuses(answers: &[Answer]) -> Vec<u16> {
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    statuses
}

/// How many the tenant has, as the counter says.
fn counted(world: &World, tenant: &Tenant) -> Value {
    let counters = world.items_of(tenant).into_iter().filter(|item| item["sk"]["S"] == "message_templates");
    counters.map(|item| item["n"]["N"].clone()).next().unwrap_or(json!("0"))
}

#[tokio::test]
async fn the_documented_shapes_are_met() {
    let (world, own) = home().await;
    let owner = &own.owner;
    let body =
        json!({"name": "login_code", "channel": "both", "type": "otp", "body": "{{ code }} is your code, {{name}}. Again: {{code}}"});
    let created = create(&world, owner, body.clone()).send().await.expect(201);
    let made = created.json()["data"].clone();
    assert!(id(&made).starts_with("tpl_") && id(&made).len() == 36, "{made}");
    let whole = json!({
        "id": made["id"], "name": "login_code", "channel": "both", "type": "otp", "body": body["body"], "variables": ["code", "name"], "version": 1,
        "created_at": made["created_at"], "updated_at": made["created_at"],
    });
    assert_eq!((&created.json(), created.header("etag")), (&json!({"data": whole}), "\"1\""));
    let path = format!("{ALL}/{}", id(&made));
    let read = world.get(&path).token(&owner.token).send().await.expect(200);
    assert_eq!((read.json(), read.header("etag")), (json!({"data": whole}), "\"1\""));
    assert!(read.metered.expect("metered").round_trips <= 2);
    let cached = world.get(&path).token(&owner.token).header("if-none-match", "\"1\"").send().await;
    assert_eq!(cached.status, 304);
    let listed = world.get(ALL).token(&owner.token).send().await.expect(200).json();
    assert_eq!(listed, json!({"data": [whole], "next_cursor": null}));
    let seen = preview(&world, owner, &path, &json!({"code": 123_456, "name": "Ada"})).send().await.expect(200).json();
    let text = "123456 is your code, Ada. Again: 123456";
    assert_eq!(seen, json!({"data": {"body": text, "characters": 39, "encoding": "gsm7", "segments": 1}}));
    let deleted = world.delete(&path).token(&owner.token).send().await.expect(200).json();
    assert_eq!(deleted, json!({"data": {"id": path.rsplit('/').next(), "deleted": true}}));
    let missing = world.get(&path).token(&owner.token).send().await.expect(404);
    assert_eq!((missing.code().as_str(), &missing.json()["error"]["message"]), ("NOT_FOUND", &json!("Template not found")));
    assert_eq!(names(&world, owner, "").await, (vec![], Value::Null));
    let left = world.items_of(&own).into_iter().filter(|item| item["pk"]["S"].as_str().is_some_and(|pk| pk.contains("#message-template")));
    assert_eq!((left.count(), counted(&world, &own)), (0, json!("0")));
}

#[tokio::test]
async fn every_wrong_field_is_named_at_once() {
    let (world, own) = home().await;
    let owner = &own.owner;
    let wrong = json!({"name": "Login-Code", "channel": "rcs", "type": "news", "body": "{{Code}} {{", "version": 2});
    let refused = create(&world, owner, wrong).send().await.expect(400);
    assert_eq!(refused.code(), "VALIDATION_ERROR");
    assert_eq!(
        refused.details(),
        json!({
            "name": ["The name field must be 1 to 64 letters a to z, digits or _."],
            "channel": ["The channel field must be one of imessage, sms, both."],
            "type": ["The type field must be one of otp, alert, marketing."],
            "body": [
                "The body field has a mistake in line 1, column 1: \"Code\" is no name of a variable: it has letters a to z, digits and _.",
                "The body field has a mistake in line 1, column 10: {{ has no }}.",
            ],
            "version": ["The version field is not known."],
        })
    );
    let nothing = create(&world, owner, json!({})).send().await.expect(400);
    assert_eq!(nothing.details().as_object().map(serde_json::Map::len), Some(4));
    for (field, wrongs) in [
        ("name", json!(["", "A", "a b", "ä", "a#b", "x".repeat(65), 1, null, ["a"]])),
        ("channel", json!(["SMS", "", "auto", 1, null])),
        ("type", json!(["OTP", "", true, null])),
        (
            "body",
            json!(["", " \n", 1, null, ["x"], {"text": "x"}, "a\u{0}", "\u{7}", "a\u{1b}[1m", "\u{85}x", "x".repeat(1_601), "{{", "{{}}", "{{a b}}"]),
        ),
    ] {
        for value in wrongs.as_array().expect("a list") {
            let mut body = new("fine", "Fine");
            body[field] = value.clone();
            let refused = create(&world, owner, body).send().await.expect(400);
            assert_eq!(
                (refused.code().as_str(), refused.details().as_object().map(serde_json::Map::len)),
                ("VALIDATION_ERROR", Some(1)),
                "{value}"
            );
            assert!(problem(&refused, field).starts_with(&format!("The {field} field ")), "{}", refused.text);
        }
    }
    // No JSON: half of a surrogate pair, a control character as it is, bytes that are no UTF-8.
    for raw in
        [&br#"{"name":"a","channel":"sms","type":"otp","body":"\ud83d"}"#[..], b"{\"body\":\"a\x07\"}", b"{\"body\":\"\xFF\"}", b"[]", b"{"]
    {
        let refused = world.post(ALL).token(&owner.token).raw(raw).send().await.expect(400);
        assert_eq!(refused.code(), "BAD_REQUEST", "{}", refused.text);
    }
    let huge = create(&world, owner, new("huge", &"x".repeat(300_000))).send().await;
    assert_eq!((huge.status, huge.code().as_str()), (413, "BAD_REQUEST"));
    for query in ["?limit=0", "?limit=101", "?type=news", "?offset=1", "?cursor=x", "?search=a"] {
        world.get(format!("{ALL}{query}")).token(&owner.token).send().await.expect(400);
    }
    assert_eq!(names(&world, owner, "").await.0, Vec::<String>::new());
}

#[tokio::test]
async fn a_body_is_kept_as_it_is_written_and_counted_in_characters() {
    let (world, own) = home().await;
    let owner = &own.owner;
    for (name, body) in [
        ("blanks", "  Line one\r\n\tline two  \n".to_owned()),
        ("emoji", "😀".repeat(1_600)),
        ("html", "<b>{{ name }}</b> &amp; {% if %} ${x} }}".to_owned()),
        ("composed", "e\u{301} \u{200D}\u{202E}".to_owned()),
    ] {
        let path = template(&world, owner, name, &body).await;
        assert_eq!(shown(&world, owner, &path).await["body"], json!(body));
        let seen = preview(&world, owner, &path, &json!({"name": "<i>"})).send().await.expect(200).json()["data"].clone();
        assert_eq!(
            (&seen["body"], &seen["characters"]),
            (&json!(body.replace("{{ name }}", "<i>")), &json!(seen["body"].as_str().unwrap().chars().count()))
        );
    }
    // As many variables as there may be values.
    let using = |many: usize| (0..many).map(|number| format!("{{{{v{number}}}}}")).collect::<String>();
    template(&world, owner, "fifty", &using(50)).await;
    let refused = create(&world, owner, new("more", &using(51))).send().await.expect(400);
    assert_eq!(problem(&refused, "body"), "The body field must not have more than 50 variables.");
}

#[tokio::test]
async fn a_name_is_one_templates_as_long_as_that_is_there() {
    let (world, own) = home().await;
    let (owner, other) = (&own.owner, world.tenant("globex").await);
    let first = template(&world, owner, "welcome", "One").await;
    let taken = create(&world, owner, new("welcome", "Two")).send().await.expect(409);
    assert_eq!((taken.code().as_str(), &taken.json()["error"]["message"]), ("CONFLICT", &json!("Another template has this name.")));
    // Another tenant's names are its own.
    let theirs = template(&world, &other.owner, "welcome", "Theirs").await;
    world.get(&theirs).token(&owner.token).send().await.expect(404);
    let by_id = world.items_of(&own).into_iter().find(|item| item["type"]["S"] == "message_template_id").expect("the name of the id");
    world.delete(&first).token(&owner.token).send().await.expect(200);
    let second = template(&world, owner, "welcome", "Two").await;
    assert_ne!(first, second);
    // As a request sees it that read the name of the id before both.
    world.put_item(&by_id);
    // The earlier id does not become the later template's.
    for (method, path) in
        [("GET", first.clone()), ("PATCH", first.clone()), ("DELETE", first.clone()), ("POST", format!("{first}/preview"))]
    {
        let nobodys = path.replace(first.strip_prefix("/v1/templates/").unwrap(), NOBODY);
        let ask =
            async |path: String| world.request(method, path).token(&owner.token).json(json!({})).send().await.expect(404).fingerprint();
        assert_eq!(ask(path).await, ask(nobodys).await, "{method}");
    }
    let kept = shown(&world, owner, &second).await;
    assert_eq!((&kept["body"], &kept["version"], counted(&world, &own)), (&json!("Two"), &json!(1), json!("1")));
    assert_eq!(shown(&world, &other.owner, &theirs).await["body"], "Theirs");
}

#[tokio::test]
async fn of_racers_for_a_name_one_wins() {
    let (world, own) = home().await;
    for round in 0..5 {
        let name = format!("race_{round}");
        let racers = (0..16).map(|number| create(&world, &own.owner, new(&name, &format!("Racer {number}"))).send());
        let answers = join_all(racers).await;
        assert_eq!(statuses(&answers), [&[201][..], &[409; 15]].concat());
        let won = answers.iter().find(|answer| answer.status == 201).expect("a winner").json()["data"].clone();
        assert_eq!(shown(&world, &own.owner, &format!("{ALL}/{}", id(&won))).await, won);
        assert_eq!((names(&world, &own.owner, "").await.0.len(), counted(&world, &own)), (round + 1, json!((round + 1).to_string())));
    }
    // Those that lost left nothing that an id could find.
    assert_eq!(world.items_of_type("message_template_id").len(), 5);
}

#[tokio::test]
async fn a_change_keeps_the_rest_and_one_of_nothing_keeps_the_version() {
    let (world, own) = home().await;
    let owner = &own.owner;
    let path = template(&world, owner, "welcome", "Hi {{name}}").await;
    let before = shown(&world, owner, &path).await;
    let changed = change(&world, owner, &path, json!({"body": "Ho {{name}} {{code}}", "type": "marketing"})).send().await.expect(200);
    let data = changed.json()["data"].clone();
    assert_eq!((&data["body"], &data["type"], &data["channel"]), (&json!("Ho {{name}} {{code}}"), &json!("marketing"), &json!("both")));
    assert_eq!((&data["variables"], &data["version"], changed.header("etag")), (&json!(["name", "code"]), &json!(2), "\"2\""));
    assert_eq!((&data["name"], &data["id"], &data["created_at"]), (&before["name"], &before["id"], &before["created_at"]));
    assert!(data["updated_at"].as_str() > before["updated_at"].as_str());
    for nothing in [json!({}), json!({"channel": "both"}), json!({"body": data["body"], "type": "marketing", "channel": "both"})] {
        let same = change(&world, owner, &path, nothing).send().await.expect(200);
        assert_eq!((&same.json()["data"], same.header("etag")), (&data, "\"2\""));
    }
    // A name does not change, and nothing can be taken away.
    for wrong in [
        json!({"name": "hello"}),
        json!({"name": "welcome"}),
        json!({"body": null}),
        json!({"type": null}),
        json!({"channel": ""}),
        json!({"body": "{{"}),
        json!({"id": NOBODY}),
    ] {
        let refused = change(&world, owner, &path, wrong.clone()).send().await.expect(400);
        assert_eq!(refused.code(), "VALIDATION_ERROR", "{wrong}");
    }
    assert_eq!(shown(&world, owner, &path).await, data);
    let if_match = |tag: &str, body: Value| change(&world, owner, &path, body).header("if-match", tag).send();
    let stale = if_match("\"1\"", json!({"channel": "sms"})).await.expect(412);
    assert_eq!(stale.code(), "PRECONDITION_FAILED");
    assert_eq!(if_match("W/\"2\"", json!({"channel": "sms"})).await.expect(200).header("etag"), "\"3\"");
    let delete = |tag: &str| world.delete(&path).token(&owner.token).header("if-match", tag).send();
    delete("\"2\"").await.expect(412);
    delete("\"3\"").await.expect(200);
    delete("\"3\"").await.expect(404);
}

#[tokio::test]
async fn of_edits_of_one_version_one_is_made_and_without_a_version_all() {
    let (world, own) = home().await;
    let owner = &own.owner;
    let path = template(&world, owner, "welcome", "Hi").await;
    let edits =
        (0..8).map(|number| change(&world, owner, &path, json!({"body": format!("Edit {number}")})).header("if-match", "\"1\"").send());
    assert_eq!(statuses(&join_all(edits).await), [&[200][..], &[412; 7]].concat());
    assert_eq!(shown(&world, owner, &path).await["version"], 2);
    let edits = (0..4).map(|number| change(&world, owner, &path, json!({"body": format!("Again {number}")})).send());
    assert_eq!(statuses(&join_all(edits).await), [200; 4]);
    assert_eq!(shown(&world, owner, &path).await["version"], 6);
    // Of two that delete it, one does.
    let deletions = (0..4).map(|_| world.delete(&path).token(&owner.token).send());
    assert_eq!(statuses(&join_all(deletions).await), [200, 404, 404, 404]);
    assert_eq!(counted(&world, &own), json!("0"));
}

/// An edit or a deletion of a template stops after each of its waits for the table; meanwhile the template is deleted, and its name given to another. It
/// never reaches that one.
#[tokio::test]
async fn a_late_request_for_an_id_never_meets_a_later_template_of_the_name() {
    let (world, own) = home().await;
    // What a request holds while it waits, it holds in its own instance.
    let other = world.another_instance().await;
    let owner = &own.owner;
    let mut refused = 0;
    for method in ["PATCH", "DELETE"] {
        let mut waits = 0;
        loop {
            let name = format!("{}_{waits}", method.to_lowercase());
            let first = template(&world, owner, &name, "First").await;
            let mut late = pin!(world.request(method, &first).token(&owner.token).json(json!({"body": "Late"})).send());
            let mut answer = None;
            for _ in 0..waits {
                answer = poll_immediate(&mut late).await;
                if answer.is_some() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let done = answer.is_some();
            other.delete(&first).token(&owner.token).send().await;
            let second = template(&other, owner, &name, "Second").await;
            let answer = match answer {
                Some(answer) => answer,
                None => late.await,
            };
            assert!(matches!(answer.status, 200 | 404), "{}", answer.text);
            refused += usize::from(answer.status == 404);
            let there = shown(&world, owner, &second).await;
            assert_eq!((&there["body"], &there["version"]), (&json!("Second"), &json!(1)), "{method} after {waits} waits");
            world.get(&first).token(&owner.token).send().await.expect(404);
            if done {
                break;
            }
            waits += 1;
        }
    }
    assert!(refused > 4, "{refused} requests came too late");
    let many = names(&world, owner, "?limit=100").await.0.len();
    assert_eq!(counted(&world, &own), json!(many.to_string()));
}

#[tokio::test]
async fn a_preview_is_what_would_be_sent() {
    let (world, own) = home().await;
    let owner = &own.owner;
    let path = template(&world, owner, "order", "{{name}}: {{ count }} for {{price}}, {{name}}").await;
    let seen = async |data: Value| {
        preview(&world, owner, &path, &data).send().await.expect(200).json()["data"]["body"].as_str().unwrap().to_owned()
    };
    assert_eq!(seen(json!({"name": "Ada", "count": 3, "price": "1.50", "unused": "x", "{{": "y"})).await, "Ada: 3 for 1.50, Ada");
    // A value is shown as it is, and not read for variables.
    assert_eq!(
        seen(json!({"name": "{{price}}", "count": "<b>&amp;", "price": "{{name}}"})).await,
        "{{price}}: <b>&amp; for {{name}}, {{price}}"
    );
    assert_eq!(seen(json!({"name": "", "count": "", "price": "a\nb\tc"})).await, ":  for a\nb\tc, ");
    // Numbers as they are written, not as they are computed with.
    let raw = r#"{"data": {"name": -0.10, "count": 1E+2, "price": 1.50, "n\u0061me2": 2.0}}"#;
    let written = world.post(format!("{path}/preview")).token(&owner.token).raw(raw.as_bytes()).send().await.expect(200);
    assert_eq!(written.json()["data"]["body"], "-0.10: 1E+2 for 1.50, -0.10");
    for big in ["18446744073709551616", "0.1000000000000000055511151231257827"] {
        let raw = format!("{{\"data\": {{\"name\": {big}, \"count\": 1, \"price\": 1}}}}");
        let refused = world.post(format!("{path}/preview")).token(&owner.token).raw(raw.as_bytes()).send().await.expect(400);
        assert_eq!(problem(&refused, "data.name"), "The data.name field holds a number that cannot be kept exactly: send it as a string.");
    }
    // All that is missing is named, in the order of the text. Null is no value, and neither is a name in other letters.
    let missing = preview(&world, owner, &path, &json!({"count": null, "Name": "Ada", "other": 1})).send().await.expect(400);
    assert_eq!(
        missing.json()["error"],
        json!({
            "code": "MISSING_TEMPLATE_VAR",
            "message": "The template needs values that data lacks: name, count, price.",
            "details": {
                "data.count": ["The data.count field is required."],
                "data.name": ["The data.name field is required."],
                "data.price": ["The data.price field is required."],
            },
            "request_id": missing.header("x-request-id"),
        })
    );
    for body in [json!({}), json!({"data": null}), json!({"data": {}})] {
        let missing = world.post(format!("{path}/preview")).token(&owner.token).json(body).send().await.expect(400);
        assert_eq!((missing.code().as_str(), missing.details().as_object().map(serde_json::Map::len)), ("MISSING_TEMPLATE_VAR", Some(3)));
    }
    let plain = template(&world, owner, "plain", "Hello").await;
    world.post(format!("{plain}/preview")).token(&owner.token).send().await.expect(200);
    // Nothing of it is kept.
    assert_eq!(shown(&world, owner, &path).await["version"], 1);
}

#[tokio::test]
async fn values_are_bounded_and_wrong_ones_are_named_at_once() {
    let (world, own) = home().await;
    let owner = &own.owner;
    let path = template(&world, owner, "four", "{{a}}{{b}}{{c}}{{d}}").await;
    let refused = async |data: Value| {
        let refused = preview(&world, owner, &path, &data).send().await.expect(400);
        assert_eq!(refused.code(), "VALIDATION_ERROR", "{}", refused.text);
        refused
    };
    let wrong = refused(json!({"a": true, "b": ["x"], "c": {"x": 1}, "d": "\u{0}", "e": "x".repeat(501), "f": "\u{1b}"})).await;
    assert_eq!(
        wrong.details(),
        json!({
            "data.a": ["The data.a field must be a string or a number."],
            "data.b": ["The data.b field must be a string or a number."],
            "data.c": ["The data.c field must be a string or a number."],
            "data.d": ["The data.d field must not contain control characters."],
            "data.e": ["The data.e field must not be greater than 500 characters."],
            "data.f": ["The data.f field must not contain control characters."],
        })
    );
    for data in [json!([]), json!("x"), json!(1), json!(true)] {
        assert_eq!(problem(&refused(data).await, "data"), "The data field must be an object.");
    }
    let keys = |many: usize| (0..many).map(|number| (format!("v{number}"), json!("x"))).collect::<serde_json::Map<_, _>>();
    assert_eq!(problem(&refused(json!(keys(51))).await, "data"), "The data field must not have more than 50 keys.");
    assert_eq!(preview(&world, owner, &path, &json!(keys(50))).send().await.expect(400).code(), "MISSING_TEMPLATE_VAR");
    let unknown =
        world.post(format!("{path}/preview")).token(&owner.token).json(json!({"data": {}, "to": "+15551234567"})).send().await.expect(400);
    assert_eq!(problem(&unknown, "to"), "The to field is not known.");
    let number = format!("{{\"data\": {{\"a\": 0.5{}}}}}", "0".repeat(500));
    let long = world.post(format!("{path}/preview")).token(&owner.token).raw(number.as_bytes()).send().await.expect(400);
    assert_eq!(problem(&long, "data.a"), "The data.a field must not be greater than 500 characters.");
    // What comes of values that are fine by themselves.
    let value = "😀".repeat(400);
    let most = preview(&world, owner, &path, &json!({"a": value, "b": value, "c": value, "d": value})).send().await.expect(200).json();
    assert_eq!(
        (&most["data"]["characters"], &most["data"]["encoding"], &most["data"]["segments"]),
        (&json!(1_600), &json!("ucs2"), &json!(49))
    );
    let long = refused(json!({"a": value, "b": value, "c": value, "d": format!("{value}x")})).await;
    assert_eq!(problem(&long, "data"), "The text with this data must not be greater than 1600 characters.");
    let empty = refused(json!({"a": "", "b": " ", "c": "\n", "d": ""})).await;
    assert_eq!(problem(&empty, "data"), "The text with this data must not be empty.");
}

#[tokio::test]
async fn a_preview_says_how_many_segments_a_message_takes() {
    let (world, own) = home().await;
    let path = template(&world, &own.owner, "any", "{{a}}{{b}}{{c}}").await;
    for (text, encoding, segments) in [
        ("a".repeat(160), "gsm7", 1),
        ("a".repeat(161), "gsm7", 2),
        ("a".repeat(307), "gsm7", 3),
        // An escape pair is not split, and neither is a surrogate pair.
        ("€".repeat(80), "gsm7", 1),
        ("€".repeat(153), "gsm7", 3),
        ("я".repeat(70), "ucs2", 1),
        ("я".repeat(71), "ucs2", 2),
        ("😀".repeat(35), "ucs2", 1),
        ("😀".repeat(67), "ucs2", 3),
        // Typographic quotes make two messages of one.
        (format!("“{}”", "a".repeat(69)), "ucs2", 2),
    ] {
        let seen =
            preview(&world, &own.owner, &path, &json!({"a": text, "b": "", "c": ""})).send().await.expect(200).json()["data"].clone();
        assert_eq!((&seen["encoding"], &seen["segments"]), (&json!(encoding), &json!(segments)), "{text}");
    }
}

#[tokio::test]
async fn a_list_is_in_the_order_of_names_and_may_be_of_one_type() {
    let (world, own) = home().await;
    let owner = &own.owner;
    let kinds = ["otp", "alert", "marketing"];
    for number in [7, 3, 0, 8, 1, 5, 2, 6, 4] {
        let mut body = new(&format!("name_{number}"), "Hi");
        body["type"] = json!(kinds[number % 3]);
        create(&world, owner, body).send().await.expect(201);
    }
    let all: Vec<String> = (0..9).map(|number| format!("name_{number}")).collect();
    assert_eq!(names(&world, owner, "").await, (all.clone(), Value::Null));
    assert_eq!(names(&world, owner, "?type=").await.0, all);
    assert_eq!(names(&world, owner, "?type=alert").await.0, ["name_1", "name_4", "name_7"]);
    let walked = async |query: &str| {
        let (mut seen, mut pages, mut cursor) = (vec![], 0, String::new());
        loop {
            let (page, next) = names(&world, owner, &format!("?{query}{cursor}")).await;
            seen.extend(page);
            pages += 1;
            match next.as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return (seen, pages),
            }
        }
    };
    assert_eq!(walked("limit=2").await, (all, 5));
    assert_eq!(walked("limit=2&type=marketing").await, (vec!["name_2".to_owned(), "name_5".into(), "name_8".into()], 2));
    // A page goes on where it ended, whatever is made or deleted meanwhile.
    let (first, next) = names(&world, owner, "?limit=4").await;
    assert_eq!(first.last().map(String::as_str), Some("name_3"));
    template(&world, owner, "a_new_one", "Hi").await;
    template(&world, owner, "name_35", "Hi").await;
    let (second, _) = names(&world, owner, &format!("?limit=4&cursor={}", next.as_str().unwrap())).await;
    assert_eq!(second, ["name_35", "name_4", "name_5", "name_6"]);
    // A cursor belongs to its filter.
    world.get(format!("{ALL}?type=otp&cursor={}", next.as_str().unwrap())).token(&owner.token).send().await.expect(400);
}

#[tokio::test]
async fn a_tenant_has_a_bounded_number_of_templates() {
    let (world, own) = home().await;
    let owner = &own.owner;
    let first = template(&world, owner, "first", "Hi").await;
    world.change_item(&format!("T#{}#counters", own.id), "message_templates", |item| item["n"]["N"] = json!("998"));
    let racers = (0..6).map(|number| create(&world, owner, new(&format!("racer_{number}"), "Hi")).send());
    let answers = join_all(racers).await;
    assert_eq!(statuses(&answers), [201, 201, 403, 403, 403, 403]);
    let refused = answers.iter().find(|answer| answer.status == 403).expect("one is refused");
    assert_eq!(refused.code(), "PLAN_LIMIT_REACHED");
    assert_eq!(
        (&refused.details()["limit"], &refused.details()["used"], &refused.details()["max"]),
        (&json!("message_templates"), &json!(1_000), &json!(1_000))
    );
    world.delete(&first).token(&owner.token).send().await.expect(200);
    template(&world, owner, "after", "Hi").await;
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer() {
    let (world, own) = home().await;
    let owner = &own.owner;
    let once = |body: Value| create(&world, owner, body).header("idempotency-key", "once").send();
    let (first, again) = (once(new("welcome", "Hi")).await.expect(201), once(new("welcome", "Hi")).await.expect(201));
    assert_eq!((&first.text, again.header("idempotency-replayed"), again.header("etag")), (&again.text, "true", "\"1\""));
    assert_eq!(once(new("welcome", "Ho")).await.expect(422).code(), "IDEMPOTENCY_KEY_REUSED");
    let path = format!("{ALL}/{}", id(&first.json()["data"]));
    let previewed = || preview(&world, owner, &path, &json!({})).header("idempotency-key", "seen").send();
    let (seen, again) = (previewed().await.expect(200), previewed().await.expect(200));
    assert_eq!((&seen.text, again.header("idempotency-replayed")), (&again.text, "true"));
    assert_eq!(counted(&world, &own), json!("1"));
}

/// Both have ids that begin with `tpl_`, and keys need one scope for both.
#[tokio::test]
async fn templates_of_messages_and_of_mails_are_apart() {
    let (world, own) = home().await;
    let owner = &own.owner;
    workspace(&world, owner, "Client").await;
    let mail = json!({"name": "welcome", "subject": "Hi", "body": "<p>Hi</p>"});
    let mail = world.post("/api/v1/tenant/templates").token(&owner.token).json(mail).send().await.expect(201).json()["data"].clone();
    let message = template(&world, owner, "welcome", "Hi").await;
    world.get(format!("{ALL}/{}", id(&mail))).token(&owner.token).send().await.expect(404);
    let as_mail = message.replace(ALL, "/api/v1/tenant/templates");
    world.get(as_mail).token(&owner.token).send().await.expect(404);
    let viewer = world.member(&own, "viewer").await;
    world.get(&message).token(&viewer.token).send().await.expect(200);
    preview(&world, &viewer, &message, &json!({})).send().await.expect(200);
    create(&world, &viewer, new("theirs", "Hi")).send().await.expect(403);
    let key = json!({"name": "Reader", "scopes": ["templates:read"]});
    let key = world.post("/v1/api-keys").token(&owner.token).json(key).send().await.expect(201).json()["data"]["key"]
        .as_str()
        .unwrap()
        .to_owned();
    world.get(&message).token(&key).send().await.expect(200);
    world.post(ALL).token(&key).json(new("theirs", "Hi")).send().await.expect(403);
}

#[tokio::test]
async fn templates_stand_in_the_audit_log_the_export_and_the_import_and_are_purged() {
    let (world, own) = home().await;
    let owner = &own.owner;
    let workers = Workers::on(&world);
    let kept = template(&world, owner, "kept", "Hi {{name}} ✓").await;
    change(&world, owner, &kept, json!({"channel": "imessage"})).send().await.expect(200);
    let gone = template(&world, owner, "gone", "Hi").await;
    world.delete(&gone).token(&owner.token).send().await.expect(200);
    let before = shown(&world, owner, &kept).await;
    drain(&world, &workers).await;
    let log = world.get("/api/tenant/audit-log").token(&owner.token).send().await.expect(200).json();
    let entries = log["entries"].as_array().expect("entries").iter();
    let mut told: Vec<(&str, &str)> = entries
        .flat_map(|entry| entry["changes"].as_array().expect("changes"))
        .filter_map(|change| Some((change["resource"].as_str()?, change["action"].as_str()?)))
        .filter(|(resource, _)| resource.starts_with("message_template"))
        .collect();
    told.sort_unstable();
    let one = "message_template";
    assert_eq!(told, [(one, "changed"), (one, "created"), (one, "created"), (one, "deleted")]);

    let (lines, _) = export(&world, owner).await;
    let imported = workers.import(records::ALL_RESTORED, &owner.email, &lines).await;
    assert_eq!(
        (&imported["imported"]["message_template"], &imported["imported"]["message_template_id"]),
        (&json!(1), &json!(1)),
        "{imported}"
    );
    let twin = imported["tenant"].as_str().expect("a tenant");
    let again = world.login(&owner.email, &owner.password).await;
    let ask = |request: Request| request.token(&again.token).header("x-tenant-id", twin).send();
    assert_eq!(ask(world.get(&kept)).await.expect(200).json()["data"], before);
    // Its name is taken there too, and it counts.
    ask(world.post(ALL).json(new("kept", "Hi"))).await.expect(409);
    ask(world.delete(&kept)).await.expect(200);
    ask(world.post(ALL).json(new("kept", "Hi"))).await.expect(201);
    let counters =
        world.items().into_iter().filter(|item| item["pk"]["S"] == format!("T#{twin}#counters") && item["sk"]["S"] == "message_templates");
    assert_eq!(counters.map(|item| item["n"]["N"].clone()).collect::<Vec<_>>(), [json!("1")]);

    ask(world.delete("/api/tenant")).await.expect(200);
    world.advance(SignedDuration::from_hours(24 * 8));
    workers.run("janitor", json!({"task": "purge"})).await.expect("the purge");
    let left = world.items().into_iter().filter(|item| item["pk"]["S"].as_str().is_some_and(|pk| pk.starts_with(&format!("T#{twin}#"))));
    assert_eq!(left.count(), 0);
}
