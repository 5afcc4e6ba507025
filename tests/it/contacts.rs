//! Contacts, their groups and imports: what they answer, what they refuse, and that every count stays true, whatever meets.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use futures_util::future::{join, join_all, poll_immediate};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::audience::stored;
use crate::workers::{Workers, drain};
use crate::workspaces::workspace;
use crate::world::{Answer, Caller, Request, Settings, Tenant, World, id};

const CONTACTS: &str = "/v1/contacts";
const GROUPS: &str = "/v1/contact-groups";
const IMPORT: &str = "/v1/contacts/import";
const NOBODYS_CONTACT: &str = "con_0198c0de000070008000000000000000";
const NOBODYS_GROUP: &str = "grp_0198c0de000070008000000000000000";

/// A number of its own for each.
fn number(n: usize) -> String {
    format!("+4179{n:07}")
}

async fn contact(world: &World, who: &Caller, body: Value) -> Value {
    // Ids of one millisecond have no order.
    world.advance(SignedDuration::from_millis(1));
    world.post(CONTACTS).token(&who.token).json(body).send().await.expect(201).json()["data"].clone()
}

async fn group(world: &World, who: &Caller, name: &str) -> String {
    world.advance(SignedDuration::from_millis(1));
    let made = world.post(GROUPS).token(&who.token).json(json!({"name": name})).send().await.expect(201).json();
    id(&made["data"]).to_owned()
}

async fn got(world: &World, who: &Caller, path: &str) -> Value {
    world.get(path).token(&who.token).send().await.expect(200).json()
}

async fn imported(world: &World, who: &Caller, body: Value) -> Value {
    world.advance(SignedDuration::from_millis(1));
    world.post(IMPORT).token(&who.token).json(body).send().await.expect(200).json()["data"].clone()
}

fn at(contact: &Value) -> String {
    format!("{CONTACTS}/{}", id(contact))
}

fn numbers(page: &Value) -> Vec<String> {
    let items = page["data"].as_array().expect("a list");
    items.iter().map(|contact| contact["phone_number"].as_str().expect("a number").to_owned()).collect()
}

/// All of a list, page by page.
async fn walked(world: &World, who: &Caller, path: &str, limit: usize) -> Vec<String> {
    let (mut found, mut cursor) = (vec![], String::new());
    let joint = if path.contains('?') { '&' } else { '?' };
    loop {
        let page = got(world, who, &format!("{path}{joint}limit={limit}{cursor}")).await;
        found.extend(numbers(&page));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

fn counted(answers: &[Answer]) -> BTreeMap<u16, usize> {
    answers.iter().fold(BTreeMap::new(), |mut counted, answer| {
        *counted.entry(answer.status).or_default() += 1;
        counted
    })
}

fn of_type(world: &World, tenant: &Tenant, kind: &str) -> Vec<Value> {
    world.items_of(tenant).into_iter().filter(|item| item["type"]["S"] == kind).collect()
}

/// Every count and every claim, compared with what there is.
fn counts_are_true(world: &World, tenant: &Tenant) {
    // Read once, for others may be writing still.
    let items = world.items_of(tenant);
    let [contacts, leads, peers, groups, names, members] =
        ["contact", "lead", "peer", "contact_group", "contact_group_name", "contact_group_member"]
            .map(|kind| items.iter().filter(|item| item["type"]["S"] == kind).collect::<Vec<_>>());
    let counter = |name: &str| -> usize {
        let found = items.iter().find(|item| item["pk"]["S"] == format!("T#{}#counters", tenant.id) && item["sk"]["S"] == name);
        found.map_or(0, |item| item["n"]["N"].as_str().expect("a number").parse().expect("a number"))
    };
    assert_eq!(counter("people"), contacts.len() + leads.len(), "people");
    assert_eq!(counter("contacts"), contacts.len(), "contacts");
    assert_eq!((counter("contact_groups"), names.len()), (groups.len(), groups.len()), "groups");
    let claiming: Vec<_> = peers.into_iter().filter(|peer| peer["contact"].is_object()).collect();
    let claims: BTreeSet<(String, String)> =
        claiming.iter().map(|peer| (peer["phone_number"]["S"].to_string(), peer["contact"]["S"].to_string())).collect();
    let held: BTreeSet<(String, String)> =
        contacts.iter().map(|contact| (contact["phone_number"]["S"].to_string(), contact["id"]["S"].to_string())).collect();
    assert_eq!((claims, claiming.len()), (held, contacts.len()), "peers");
    for group in &groups {
        let is_in = |contact: &&&Value| contact["groups"]["L"].as_array().is_some_and(|groups| groups.contains(&group["id"]));
        let on: BTreeSet<String> = contacts.iter().filter(is_in).map(|contact| contact["id"]["S"].to_string()).collect();
        let of_group = members.iter().filter(|member| member["group"] == group["id"]);
        assert_eq!(of_group.map(|member| member["contact"]["S"].to_string()).collect::<BTreeSet<_>>(), on, "members of {group}");
        assert_eq!(group["members"]["N"], on.len().to_string(), "{group}");
    }
}

#[tokio::test]
async fn a_contact_lives_from_creation_to_deletion() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let who = &acme.owner;
    let vip = group(&world, who, "VIP").await;
    let body = json!({
        "phone_number": "+15551234567", "name": "  Jane Doe ", "email": "Jane@Corp.example", "timezone": "america/new_york",
        "metadata": {"plan": "pro", "none": null, "empty": "", "note": "two\nlines"}, "group_ids": [vip, vip],
    });
    let made = world.post(CONTACTS).token(&who.token).json(body).send().await.expect(201);
    let jane = made.json()["data"].clone();
    assert!(id(&jane).starts_with("con_") && made.header("etag") == "\"1.1\"", "{}", made.text);
    for (field, value) in [
        ("phone_number", json!("+15551234567")),
        ("name", json!("Jane Doe")),
        ("email", json!("Jane@Corp.example")),
        ("timezone", json!("America/New_York")),
        ("metadata", json!({"plan": "pro", "empty": "", "note": "two\nlines"})),
        ("group_ids", json!([vip])),
    ] {
        assert_eq!(jane[field], value, "{field}");
    }
    let read = world.get(at(&jane)).token(&who.token).send().await.expect(200);
    assert_eq!((read.json()["data"].clone(), read.header("etag")), (jane.clone(), "\"1.1\""));
    world.get(at(&jane)).token(&who.token).header("if-none-match", "\"1.1\"").send().await.expect(304);

    let change = |tag: &str, body: Value| world.patch(at(&jane)).token(&who.token).header("if-match", tag).json(body).send();
    let body = json!({"name": "Jane Roe", "email": null, "metadata": {"plan": null, "seats": "3"}, "group_ids": []});
    let changed = change("\"1.1\"", body).await.expect(200);
    let data = changed.json()["data"].clone();
    assert_eq!(
        (&data["name"], &data["email"], &data["timezone"], &data["metadata"], &data["group_ids"]),
        (
            &json!("Jane Roe"),
            &Value::Null,
            &json!("America/New_York"),
            &json!({"empty": "", "note": "two\nlines", "seats": "3"}),
            &json!([])
        )
    );
    assert_eq!(changed.header("etag"), "\"2.0\"");
    change("\"1.1\"", json!({"name": "x"})).await.expect(412);
    // What changes nothing keeps the version.
    assert_eq!(change("\"2\"", json!({"name": "Jane Roe", "metadata": {"gone": null}})).await.expect(200).header("etag"), "\"2.0\"");
    // A number is another person's, or the same.
    for number in ["+15551234567", "+15551234568"] {
        let refused = change("\"2\"", json!({"phone_number": number})).await.expect(400);
        assert!(refused.details()["phone_number"].is_array(), "{}", refused.text);
    }
    let taken = world.post(CONTACTS).token(&who.token).json(json!({"phone_number": "+15551234567"})).send().await.expect(409);
    assert_eq!(
        (taken.code().as_str(), &taken.json()["error"]["message"]),
        ("CONFLICT", &json!("A contact has this phone number already."))
    );
    counts_are_true(&world, &acme);

    world.delete(at(&jane)).token(&who.token).header("if-match", "\"1\"").send().await.expect(412);
    let gone = world.delete(at(&jane)).token(&who.token).header("if-match", "\"2\"").send().await.expect(200);
    assert_eq!(gone.json(), json!({"data": {"id": id(&jane), "deleted": true}}));
    for method in ["GET", "PATCH", "DELETE"] {
        let missing = world.request(method, at(&jane)).token(&who.token).send().await.expect(404).json();
        assert_eq!((&missing["error"]["code"], &missing["error"]["message"]), (&json!("NOT_FOUND"), &json!("Contact not found")));
    }
    counts_are_true(&world, &acme);
    assert_eq!(of_type(&world, &acme, "peer"), Vec::<Value>::new());
    let again = contact(&world, who, json!({"phone_number": "+15551234567"})).await;
    assert_eq!((&again["name"], &again["metadata"], id(&again) == id(&jane)), (&Value::Null, &json!({}), false));
    counts_are_true(&world, &acme);
}

#[tokio::test]
async fn every_field_at_fault_is_named_at_once() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let who = &acme.owner;
    let jane = contact(&world, who, json!({"phone_number": number(1)})).await;
    let before = stored(&world, &acme);
    let keys: Value = (0..51).map(|n| (format!("k{n}"), json!("v"))).collect::<serde_json::Map<_, _>>().into();
    let large: Value = (0..50).map(|n| (format!("k{n}"), json!("ä".repeat(500)))).collect::<serde_json::Map<_, _>>().into();
    let groups: Vec<String> = (0..21).map(|n| format!("grp_0198c0de0000700080000000000000{n:02}")).collect();
    for (body, faults) in [
        (json!({}), vec!["phone_number"]),
        (
            json!({"phone_number": 15_551_234_567_u64, "name": 3, "email": 3, "timezone": 3, "metadata": [], "group_ids": "all"}),
            vec!["email", "group_ids", "metadata", "name", "phone_number", "timezone"],
        ),
        (
            json!({"phone_number": "+1 555 123 4567", "name": "x".repeat(256), "email": "nobody", "timezone": "Berlin", "metadata": keys}),
            vec!["email", "metadata", "name", "phone_number", "timezone"],
        ),
        (
            json!({"phone_number": "+１５５５１２３４５６７", "name": "\u{200b}", "metadata": {"a": 1}, "group_ids": groups}),
            vec!["group_ids", "metadata", "name", "phone_number"],
        ),
        (json!({"phone_number": "12345", "metadata": {"": "x"}, "group_ids": [id(&jane)]}), vec!["group_ids", "metadata", "phone_number"]),
        (json!({"phone_number": "+1234567890123456", "metadata": {"k": "x".repeat(501)}}), vec!["metadata", "phone_number"]),
        (json!({"phone_number": "+0791234567", "metadata": {"k": "\u{0}"}, "id": NOBODYS_CONTACT}), vec!["id", "metadata", "phone_number"]),
        (
            json!({"phone_number": "+1555", "metadata": {"k".repeat(101): "v"}, "opted_out": true}),
            vec!["metadata", "opted_out", "phone_number"],
        ),
        (json!({"phone_number": null, "metadata": {"k": {"l": "m"}}}), vec!["metadata", "phone_number"]),
        (json!({"phone_number": "+15551234567\n", "metadata": large}), vec!["metadata", "phone_number"]),
    ] {
        let refused = world.post(CONTACTS).token(&who.token).json(body.clone()).send().await.expect(400);
        assert_eq!(refused.code(), "VALIDATION_ERROR");
        let named: Vec<String> = refused.details().as_object().expect("fields").keys().cloned().collect();
        assert_eq!(named, faults, "{body}");
        if body.as_object().is_some_and(|body| body.len() > 1) {
            world.patch(at(&jane)).token(&who.token).json(body).send().await.expect(400);
        }
    }
    // What is there already counts, too.
    let fifty: Value = (0..50).map(|n| (format!("k{n}"), json!("v"))).collect::<serde_json::Map<_, _>>().into();
    let full = contact(&world, who, json!({"phone_number": number(2), "metadata": fifty})).await;
    let more = world.patch(at(&full)).token(&who.token).json(json!({"metadata": {"more": "v"}})).send().await.expect(400);
    assert!(more.details()["metadata"].is_array(), "{}", more.text);
    world.patch(at(&full)).token(&who.token).json(json!({"metadata": {"more": "v", "k0": null}})).send().await.expect(200);
    world.delete(at(&full)).token(&who.token).send().await.expect(200);
    for query in ["search=a", "group_id=all", "colour=red", "limit=0", "limit=101", "offset=1", "cursor=x"] {
        world.get(format!("{CONTACTS}?{query}")).token(&who.token).send().await.expect(400);
    }
    for query in ["search=", "group_id="] {
        world.get(format!("{CONTACTS}?{query}")).token(&who.token).send().await.expect(200);
    }
    for body in [
        json!({"name": ""}),
        json!({"name": "x".repeat(101)}),
        json!({"name": "x", "description": "y".repeat(1_001)}),
        json!({"name": "x", "members": 3}),
        json!({"name": ["x"]}),
    ] {
        world.post(GROUPS).token(&who.token).json(body).send().await.expect(400);
    }
    let kept = |items: Vec<Value>| {
        items
            .into_iter()
            .filter(|item| !["removal", "counter"].iter().any(|kind| item["type"]["S"] == *kind) && item["n"].is_null())
            .collect::<Vec<_>>()
    };
    assert_eq!(kept(stored(&world, &acme)), kept(before));
    counts_are_true(&world, &acme);
}

#[tokio::test]
async fn lists_of_contacts_agree_with_a_plain_model() {
    let world = World::new().await;
    let (acme, globex) = (world.tenant("acme").await, world.tenant("globex").await);
    let who = &acme.owner;
    contact(&world, &globex.owner, json!({"phone_number": number(3), "name": "Hidden"})).await;
    let groups = [group(&world, who, "One").await, group(&world, who, "Two").await];
    let mut all: Vec<Value> = vec![];
    let names = [Some("Jane Doe"), Some("Jürg O'Neil"), None, Some("Ann-Marie")];
    for n in 0..30_usize {
        let body = json!({
            "phone_number": format!("+{}{:07}", ["4179", "1555", "4471"][n % 3], (n * 7_919) % 1_000), "name": names[n % 4],
            "group_ids": match n % 4 { 0 => json!([groups[0]]), 1 => json!([groups[0], groups[1]]), _ => json!([]) },
        });
        all.insert(0, contact(&world, who, body).await);
    }
    counts_are_true(&world, &acme);
    let has = |contact: &Value, group: &str| contact["group_ids"].as_array().expect("a list").contains(&json!(group));
    let begins = |contact: &Value, digits: &str| contact["phone_number"].as_str().expect("a number").starts_with(digits);
    type Keep<'a> = Box<dyn Fn(&Value) -> bool + 'a>;
    let questions: Vec<(String, bool, Keep<'_>)> = vec![
        (String::new(), false, Box::new(|_| true)),
        ("search=%2B4179".into(), true, Box::new(|contact| begins(contact, "+4179"))),
        // A plus that nobody encoded is a blank.
        ("search=+1555".into(), true, Box::new(|contact| begins(contact, "+1555"))),
        ("search=44710000".into(), true, Box::new(|contact| begins(contact, "+44710000"))),
        ("search=79".into(), true, Box::new(|_| false)),
        ("search=J%C3%9CRG".into(), false, Box::new(|contact| contact["name"] == "Jürg O'Neil")),
        ("search=mar".into(), false, Box::new(|contact| contact["name"] == "Ann-Marie")),
        ("search=arie".into(), false, Box::new(|_| false)),
        (format!("group_id={}", groups[0]), false, Box::new(|contact| has(contact, &groups[0]))),
        (format!("group_id={}&search=jane", groups[0]), false, Box::new(|contact| contact["name"] == "Jane Doe")),
        (format!("group_id={}&search=4179", groups[1]), false, Box::new(|contact| has(contact, &groups[1]) && begins(contact, "+4179"))),
    ];
    for (query, by_number, keep) in questions {
        let mut expected: Vec<String> = all
            .iter()
            .filter(|contact| keep(contact))
            .map(|contact| contact["phone_number"].as_str().expect("a number").to_owned())
            .collect();
        if by_number {
            expected.sort();
        }
        for limit in [1, 4, 50] {
            assert_eq!(walked(&world, who, &format!("{CONTACTS}?{query}"), limit).await, expected, "{query}, {limit} a page");
        }
    }
    assert_eq!(walked(&world, who, &format!("{GROUPS}/{}/contacts", groups[1]), 3).await.len(), 8);
    for n in 30..60 {
        contact(&world, who, json!({"phone_number": number(10_000 + n)})).await;
    }
    let page = got(&world, who, CONTACTS).await;
    assert_eq!((numbers(&page).len(), page["next_cursor"].is_string()), (50, true));
    let missing = world.get(format!("{CONTACTS}?group_id={NOBODYS_GROUP}")).token(&who.token).send().await.expect(404);
    assert_eq!(missing.json()["error"]["message"], "Contact group not found");
}

#[tokio::test]
async fn a_page_costs_the_same_whatever_is_there_and_too_many_are_not_passed() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let who = &acme.owner;
    let named = group(&world, who, "Few").await;
    let paths =
        [format!("{CONTACTS}?limit=2"), format!("{CONTACTS}?limit=2&group_id={named}"), format!("{CONTACTS}?limit=2&search=%2B4179")];
    let costs = async || {
        let mut costs = vec![];
        for path in &paths {
            costs.push(world.get(path).token(&who.token).send().await.expect(200).metered.expect("metered").read_units);
        }
        costs
    };
    let add = async |range: std::ops::Range<usize>| {
        let rows: Vec<Value> = range.map(|n| json!({"phone_number": number(n), "name": format!("Person {n}")})).collect();
        imported(&world, who, json!({"contacts": rows, "group_ids": [named]})).await;
    };
    add(0..3).await;
    let few = costs().await;
    add(3..200).await;
    let many = costs().await;
    assert!(few.iter().zip(&many).all(|(few, many)| (many - few).abs() <= 0.5), "{few:?} {many:?}");

    let count = |n: &str| world.change_item(&format!("T#{}#counters", acme.id), "contacts", |item| item["n"]["N"] = json!(n));
    count("20001");
    let refused = world.get(format!("{CONTACTS}?search=person")).token(&who.token).send().await.expect(400);
    assert!(refused.json()["error"]["message"].as_str().is_some_and(|told| told.contains("group_id=grp_")), "{}", refused.text);
    let expected: Vec<String> = walked(&world, who, &format!("{CONTACTS}?group_id={named}"), 100).await;
    assert_eq!(walked(&world, who, &format!("{CONTACTS}?search=person&group_id={named}"), 70).await, expected);
    assert_eq!(walked(&world, who, &format!("{CONTACTS}?search=4179000000&group_id={named}"), 4).await.len(), 10);
    assert_eq!(walked(&world, who, &format!("{CONTACTS}?search=4179000000"), 4).await.len(), 10);
    count("200");
    counts_are_true(&world, &acme);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_create_one_number_at_once_one_does() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let instances = [world.clone(), world.another_instance().await];
    // Of the second number something is known before.
    known(&world, &acme, &number(1), 7);
    for n in [0, 1] {
        let create = |at: usize| {
            let request = instances[at % 2].post(CONTACTS).token(&acme.owner.token);
            request.json(json!({"phone_number": number(n), "name": format!("Racer {at}")})).send()
        };
        let answers = join_all((0..64).map(create)).await;
        assert_eq!(counted(&answers), BTreeMap::from([(201, 1), (409, 63)]), "{n}");
        let lost = answers.iter().find(|answer| answer.status == 409).expect("one lost");
        assert_eq!(lost.json()["error"]["message"], "A contact has this phone number already.");
        counts_are_true(&world, &acme);
    }
    assert_eq!(peer(&world, &acme, &number(1))["version"]["N"], "8");
}

/// As after an export that was made while contacts came and went. Nobody who read an earlier peer of the number writes over a later one.
#[tokio::test]
async fn a_number_of_a_contact_that_is_not_there_is_free() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let who = &acme.owner;
    for n in [1, 2] {
        let lost = contact(&world, who, json!({"phone_number": number(n)})).await;
        let claim = peer(&world, &acme, &number(n));
        world.delete(at(&lost)).token(&who.token).send().await.expect(200);
        world.put_item(&claim);
        if n == 1 {
            contact(&world, who, json!({"phone_number": number(n)})).await;
        } else {
            assert_eq!(imported(&world, who, json!({"contacts": [{"phone_number": number(n)}]})).await["created"], 1);
        }
        counts_are_true(&world, &acme);
        let again = world.post(CONTACTS).token(&who.token).json(json!({"phone_number": number(n)})).send().await.expect(409);
        assert_eq!(again.code(), "CONFLICT");
    }
    let gone = contact(&world, who, json!({"phone_number": number(3)})).await;
    let earlier = peer(&world, &acme, &number(3));
    world.delete(at(&gone)).token(&who.token).send().await.expect(200);
    contact(&world, who, json!({"phone_number": number(3)})).await;
    assert_ne!(earlier["version"], peer(&world, &acme, &number(3))["version"]);
}

/// A peer without a contact, as a later feature may leave it.
fn known(world: &World, tenant: &Tenant, number: &str, version: u64) {
    let text = |text: &str| json!({"S": text});
    world.put_item(&json!({
        "pk": text(&format!("T#{}#peers", tenant.id)), "sk": text(number.trim_start_matches('+')), "type": text("peer"), "tenant": text(&tenant.id),
        "phone_number": text(number), "version": {"N": version.to_string()},
    }));
}

fn peer(world: &World, tenant: &Tenant, number: &str) -> Value {
    of_type(world, tenant, "peer").into_iter().find(|peer| peer["phone_number"]["S"] == number).expect("the peer is there")
}

#[tokio::test]
async fn a_peer_is_found_by_its_contact_and_lists_leave_others_out() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let who = &acme.owner;
    for n in 0..9 {
        known(&world, &acme, &number(n), 1);
    }
    let rows = json!([{"phone_number": number(4)}, {"phone_number": number(20)}]);
    assert_eq!(imported(&world, who, json!({"contacts": rows})).await["created"], 2);
    contact(&world, who, json!({"phone_number": number(6)})).await;
    assert_eq!(walked(&world, who, &format!("{CONTACTS}?search=4179"), 1).await, [number(4), number(6), number(20)]);
    for (n, version) in [(4, "2"), (6, "2"), (5, "1")] {
        assert_eq!(peer(&world, &acme, &number(n))["version"]["N"], version, "{n}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn deletions_and_creations_of_one_number_at_once_leave_one_or_none() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let who = &acme.owner;
    let vip = group(&world, who, "VIP").await;
    for _ in 0..10 {
        let first = contact(&world, who, json!({"phone_number": number(0), "group_ids": [vip]})).await;
        let answers = join_all((0..12).map(|turn| match turn % 3 {
            0 => world.delete(at(&first)).token(&who.token).send(),
            1 => world.post(CONTACTS).token(&who.token).json(json!({"phone_number": number(0)})).send(),
            _ => world.patch(at(&first)).token(&who.token).json(json!({"name": format!("Name {turn}")})).send(),
        }))
        .await;
        let by = |status: u16, which: usize| answers.iter().skip(which).step_by(3).filter(|answer| answer.status == status).count();
        assert_eq!((by(200, 0), by(404, 0)), (1, 3), "{:?}", counted(&answers));
        assert!(by(201, 1) <= 1 && by(201, 1) + by(409, 1) == 4, "{:?}", counted(&answers));
        assert_eq!(by(200, 2) + by(404, 2), 4, "{:?}", counted(&answers));
        counts_are_true(&world, &acme);
        for contact in got(&world, who, CONTACTS).await["data"].as_array().expect("a list") {
            world.delete(at(contact)).token(&who.token).send().await.expect(200);
        }
        assert_eq!(of_type(&world, &acme, "peer"), Vec::<Value>::new());
    }
    counts_are_true(&world, &acme);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_edits_of_one_version_one_wins_and_edits_of_other_fields_are_all_kept() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let who = &acme.owner;
    let groups = [group(&world, who, "One").await, group(&world, who, "Two").await];
    for n in 0..10 {
        let jane = contact(&world, who, json!({"phone_number": number(n)})).await;
        let edit = |tag: Option<&str>, body: Value| {
            let request = world.patch(at(&jane)).token(&who.token);
            tag.map_or_else(|| world.patch(at(&jane)).token(&who.token), |tag| request.header("if-match", tag)).json(body).send()
        };
        let (one, other) = join(edit(Some("\"1.0\""), json!({"name": "One"})), edit(Some("\"1.0\""), json!({"name": "Other"}))).await;
        assert_eq!(BTreeSet::from([one.status, other.status]), BTreeSet::from([200, 412]));
        let winner = if one.status == 200 { one } else { other };
        let standing = world.get(at(&jane)).token(&who.token).send().await.expect(200);
        assert_eq!((standing.json(), standing.header("etag")), (winner.json(), winner.header("etag")));
        let add = |group: &str| {
            world.post(format!("{GROUPS}/{group}/contacts")).token(&who.token).json(json!({"contact_ids": [id(&jane)]})).send()
        };
        let edits =
            [json!({"email": "a@b.example"}), json!({"timezone": "UTC"}), json!({"metadata": {"a": "1"}}), json!({"metadata": {"b": "2"}})];
        let (edited, added) = join(join_all(edits.into_iter().map(|body| edit(None, body))), join(add(&groups[0]), add(&groups[1]))).await;
        assert_eq!(counted(&edited), BTreeMap::from([(200, 4)]));
        assert_eq!(
            (added.0.expect(200).json()["data"]["changed"].clone(), added.1.expect(200).json()["data"]["changed"].clone()),
            (json!(1), json!(1))
        );
        let data = got(&world, who, &at(&jane)).await["data"].clone();
        assert_eq!(
            (&data["email"], &data["timezone"], &data["metadata"]),
            (&json!("a@b.example"), &json!("UTC"), &json!({"a": "1", "b": "2"})).clone()
        );
        assert_eq!(data["group_ids"].as_array().map(Vec::len), Some(2), "{data}");
    }
    counts_are_true(&world, &acme);
}

#[tokio::test]
async fn a_repeat_is_answered_and_done_once() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let who = &acme.owner;
    let named = group(&world, who, "One").await;
    let jane = contact(&world, who, json!({"phone_number": number(0)})).await;
    for (path, body, status) in [
        (CONTACTS.to_owned(), json!({"phone_number": number(1), "group_ids": [named]}), 201),
        (GROUPS.to_owned(), json!({"name": "Once"}), 201),
        (IMPORT.to_owned(), json!({"contacts": [{"phone_number": number(2)}, {"phone_number": "2"}], "group_ids": [named]}), 200),
        (format!("{GROUPS}/{named}/contacts"), json!({"contact_ids": [id(&jane)]}), 200),
    ] {
        let send = |body: &Value| world.post(&path).token(&who.token).header("idempotency-key", "k").json(body.clone()).send();
        let first = send(&body).await.expect(status);
        let again = send(&body).await.expect(status);
        assert_eq!((first.json(), again.header("idempotency-replayed")), (again.json(), "true"), "{path}");
        assert_eq!(first.header("etag"), again.header("etag"), "{path}");
        let mut other = body.clone();
        let field = if path == GROUPS {
            "description"
        } else if path == CONTACTS {
            "name"
        } else if path == IMPORT {
            "on_duplicate"
        } else {
            "more"
        };
        other[field] = json!("skip");
        send(&other).await.expect(422);
    }
    let both = || world.post(CONTACTS).token(&who.token).header("idempotency-key", "two").json(json!({"phone_number": number(5)})).send();
    let (one, other) = join(both(), both()).await;
    assert_eq!((one.expect(201).json(), other.status), (other.json(), 201));
    counts_are_true(&world, &acme);
}

#[tokio::test]
async fn the_plan_bounds_leads_and_contacts_together() {
    let world = World::with(Settings { plans: json!({"free": {"people": 4}}), ..Settings::default() }).await;
    let acme = world.tenant("acme").await;
    let who = &acme.owner;
    workspace(&world, who, "Main").await;
    world.post("/api/v1/tenant/leads").token(&who.token).json(json!({"email": "jane@corp.example"})).send().await.expect(201);
    let first = contact(&world, who, json!({"phone_number": number(0)})).await;
    let rows: Vec<Value> = (0..6).map(|n| json!({"phone_number": number(n)})).chain([json!({"phone_number": number(1)})]).collect();
    let done = imported(&world, who, json!({"contacts": rows})).await;
    assert_eq!((&done["created"], &done["skipped"]), (&json!(2), &json!(2)), "{done}");
    let told: Vec<(u64, &str)> = done["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|fault| (fault["index"].as_u64().expect("an index"), fault["code"].as_str().expect("a code")))
        .collect();
    assert_eq!(told, [3, 4, 5].map(|index| (index, "PLAN_LIMIT_REACHED")));
    assert_eq!(done["errors"][0]["message"], "Your plan allows 4 leads and contacts.");
    counts_are_true(&world, &acme);
    let refused = world.post(CONTACTS).token(&who.token).json(json!({"phone_number": number(9)})).send().await.expect(403);
    assert_eq!(refused.details(), json!({"limit": "leads and contacts", "used": 4, "max": 4, "plan": "free"}));
    // What is there already is said first, and can be changed still.
    world.post(CONTACTS).token(&who.token).json(json!({"phone_number": number(0)})).send().await.expect(409);
    world.post("/api/v1/tenant/leads").token(&who.token).json(json!({"email": "joe@corp.example"})).send().await.expect(403);
    let rows = json!([{"phone_number": number(7)}, {"phone_number": number(0), "name": "Known"}, {"phone_number": number(8)}]);
    let done = imported(&world, who, json!({"contacts": rows, "on_duplicate": "update"})).await;
    assert_eq!((&done["created"], &done["updated"], done["errors"].as_array().map(Vec::len)), (&json!(0), &json!(1), Some(2)), "{done}");
    world.delete(at(&first)).token(&who.token).send().await.expect(200);
    world.post("/api/v1/tenant/leads").token(&who.token).json(json!({"email": "joe@corp.example"})).send().await.expect(201);
    world.post(CONTACTS).token(&who.token).json(json!({"phone_number": number(0)})).send().await.expect(403);
    counts_are_true(&world, &acme);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn imports_and_creations_at_once_stop_exactly_at_the_limit() {
    for round in 0..4 {
        let world = World::with(Settings { plans: json!({"free": {"people": 100}}), ..Settings::default() }).await;
        let acme = world.tenant("acme").await;
        let instances = [world.clone(), world.another_instance().await];
        let answers = join_all((0..16_usize).map(|at| {
            let token = &acme.owner.token;
            if at < 4 {
                // Two have the same numbers.
                let rows: Vec<Value> = (0..60).map(|n| json!({"phone_number": number((at / 2) * 1_000 + n)})).collect();
                instances[at % 2].post(IMPORT).token(token).json(json!({"contacts": rows})).send()
            } else {
                instances[at % 2].post(CONTACTS).token(token).json(json!({"phone_number": number(5_000 + at)})).send()
            }
        }))
        .await;
        let created: u64 = answers
            .iter()
            .map(|answer| match answer.status {
                201 => 1,
                200 => {
                    let done = answer.json()["data"].clone();
                    let rows: u64 = ["created", "updated", "skipped"].iter().map(|name| done[name].as_u64().expect("a number")).sum();
                    assert_eq!(rows + done["errors"].as_array().expect("errors").len() as u64, 60, "{done}");
                    assert!(done["errors"].as_array().expect("errors").iter().all(|fault| fault["code"] == "PLAN_LIMIT_REACHED"), "{done}");
                    done["created"].as_u64().expect("a number")
                }
                status => {
                    assert_eq!(status, 403, "{}", answer.text);
                    0
                }
            })
            .sum();
        assert_eq!((created, of_type(&world, &acme, "contact").len()), (100, 100), "round {round}");
        counts_are_true(&world, &acme);
    }
}

#[tokio::test]
async fn an_import_takes_each_row_as_if_it_came_alone() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let who = &acme.owner;
    let groups = [group(&world, who, "One").await, group(&world, who, "Two").await];
    let jane =
        contact(&world, who, json!({"phone_number": number(0), "name": "Jane", "metadata": {"a": "1"}, "group_ids": [groups[0]]})).await;
    let rows = json!([
        {"phone_number": number(0), "name": "Other", "metadata": {"b": "2"}},
        {"phone_number": number(1), "name": "One", "email": "one@corp.example", "timezone": "europe/zurich", "group_ids": [groups[0]]},
        {"phone_number": "123", "name": 3, "colour": "red"},
        "no object",
        {"phone_number": number(1), "name": "Again"},
        {"phone_number": number(2), "group_ids": [NOBODYS_GROUP]},
        {"name": "Nobody"},
        {"phone_number": number(3), "group_ids": "all"},
        {"phone_number": number(2)},
    ]);
    let skipping = imported(&world, who, json!({"contacts": rows, "group_ids": [groups[1]]})).await;
    assert_eq!((&skipping["created"], &skipping["updated"], &skipping["skipped"]), (&json!(2), &json!(0), &json!(2)), "{skipping}");
    let faults = skipping["errors"].as_array().expect("errors");
    let told: Vec<(&Value, &str)> = faults.iter().map(|fault| (&fault["index"], fault["code"].as_str().expect("a code"))).collect();
    let wrong = "VALIDATION_ERROR";
    assert_eq!(told, [(&json!(2), wrong), (&json!(3), wrong), (&json!(5), "NOT_FOUND"), (&json!(6), wrong), (&json!(7), wrong)]);
    for (fault, names) in
        [(0, vec!["phone_number", "name", "colour"]), (1, vec!["object"]), (2, vec!["Contact group not found"]), (3, vec!["phone_number"])]
    {
        let message = faults[fault]["message"].as_str().expect("a message");
        assert!(names.iter().all(|name| message.contains(name)), "{message}");
    }
    assert_eq!(got(&world, who, &at(&jane)).await["data"], jane, "what is skipped stays as it is");
    counts_are_true(&world, &acme);

    let before = got(&world, who, &at(&jane)).await["data"]["updated_at"].clone();
    let updating = imported(&world, who, json!({"contacts": rows, "group_ids": [groups[1]], "on_duplicate": "update"})).await;
    assert_eq!((&updating["created"], &updating["updated"], &updating["skipped"]), (&json!(0), &json!(2), &json!(2)), "{updating}");
    let jane = got(&world, who, &at(&jane)).await["data"].clone();
    assert_eq!(
        (&jane["name"], &jane["metadata"], &jane["group_ids"]),
        (&json!("Other"), &json!({"a": "1", "b": "2"}), &json!([groups[0], groups[1]]))
    );
    assert_ne!(jane["updated_at"], before);
    let one = got(&world, who, &format!("{CONTACTS}?search={}", &number(1)[1..])).await["data"][0].clone();
    assert_eq!(
        (&one["name"], &one["email"], &one["timezone"], &one["group_ids"]),
        (&json!("Again"), &json!("one@corp.example"), &json!("Europe/Zurich"), &json!([groups[1], groups[0]]))
    );
    counts_are_true(&world, &acme);
    // Nothing is new: the versions stay.
    let calm = json!([{"phone_number": number(0), "name": "Other"}, {"phone_number": number(1)}]);
    let tag = async || world.get(at(&jane)).token(&who.token).send().await.expect(200).header("etag").to_owned();
    let tag_before = tag().await;
    let again = imported(&world, who, json!({"contacts": calm, "on_duplicate": "update"})).await;
    assert_eq!((&again["skipped"], tag().await), (&json!(2), tag_before), "{again}");

    // A deleted group vanishes, and an update forgets it.
    world.delete(format!("{GROUPS}/{}", groups[0])).token(&who.token).send().await.expect(200);
    assert_eq!(got(&world, who, &at(&jane)).await["data"]["group_ids"], json!([groups[1]]));
    let row = json!([{"phone_number": number(0), "name": "Third"}]);
    assert_eq!(imported(&world, who, json!({"contacts": row, "on_duplicate": "update"})).await["updated"], 1);
    counts_are_true(&world, &acme);
    let missing = world.post(IMPORT).token(&who.token).json(json!({"contacts": row, "group_ids": [groups[0]]})).send().await.expect(404);
    assert_eq!(missing.json()["error"]["message"], "Contact group not found");
}

#[tokio::test]
async fn an_import_has_bounds_and_takes_a_thousand() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let who = &acme.owner;
    let mut groups = vec![];
    for n in 0..20 {
        groups.push(group(&world, who, &format!("Group {n}")).await);
    }
    let rows =
        |count: usize| -> Vec<Value> { (0..count).map(|n| json!({"phone_number": number(n), "name": format!("Person {n}")})).collect() };
    let send = |body: Value| world.post(IMPORT).token(&who.token).json(body).send();
    for (body, fault) in [
        (json!({}), "contacts"),
        (json!({"contacts": []}), "contacts"),
        (json!({"contacts": rows(1_001)}), "contacts"),
        (json!({"contacts": {"phone_number": number(0)}}), "contacts"),
        (json!({"contacts": rows(1), "on_duplicate": "replace"}), "on_duplicate"),
        (json!({"contacts": rows(1), "group_ids": "all"}), "group_ids"),
        (json!({"contacts": rows(1), "notify": true}), "notify"),
    ] {
        let refused = send(body).await.expect(400);
        assert!(refused.details()[fault].is_array(), "{}", refused.text);
    }
    let huge: Vec<Value> =
        (0..1_000).map(|n| json!({"phone_number": number(n), "metadata": {"k": "x".repeat(500), "l": "x".repeat(500)}})).collect();
    let refused = send(json!({"contacts": huge, "group_ids": []})).await.expect(413);
    assert_eq!(refused.json()["error"]["message"], "The body is larger than 1 MiB.");
    assert_eq!(of_type(&world, &acme, "contact"), Vec::<Value>::new());

    let done = imported(&world, who, json!({"contacts": rows(1_000), "group_ids": [groups[0]]})).await;
    assert_eq!(done, json!({"created": 1_000, "updated": 0, "skipped": 0, "errors": []}));
    counts_are_true(&world, &acme);
    let done = imported(&world, who, json!({"contacts": rows(60), "group_ids": groups, "on_duplicate": "update"})).await;
    assert_eq!(done, json!({"created": 0, "updated": 60, "skipped": 0, "errors": []}));
    counts_are_true(&world, &acme);
    // One more group than a contact may have, of the row's own.
    let more = group(&world, who, "More").await;
    let row = json!([{"phone_number": number(0), "group_ids": [more]}, {"phone_number": number(2_000), "group_ids": [more]}]);
    let done = imported(&world, who, json!({"contacts": row, "group_ids": groups, "on_duplicate": "update"})).await;
    assert_eq!(done["errors"].as_array().map(Vec::len), Some(2), "{done}");
    assert_eq!(done["errors"][0]["message"], "A contact is in at most 20 groups.");
    // The same number again and again.
    let same: Vec<Value> =
        (0..1_000).map(|n| json!({"phone_number": number(3_000), "metadata": {format!("k{}", n % 50): n.to_string()}})).collect();
    let done = imported(&world, who, json!({"contacts": same, "on_duplicate": "update"})).await;
    assert_eq!(done, json!({"created": 1, "updated": 999, "skipped": 0, "errors": []}));
    let one = got(&world, who, &format!("{CONTACTS}?search=41790003000")).await["data"][0].clone();
    assert_eq!((&one["metadata"]["k0"], &one["metadata"]["k49"]), (&json!("950"), &json!("999")));
    // A thousand rows that are wrong in many ways are told of in one answer.
    let wrong: Vec<Value> =
        (0..1_000).map(|n| (0..60).map(|field| (format!("unknown{field}"), json!(n))).collect::<serde_json::Map<_, _>>().into()).collect();
    let told = send(json!({"contacts": wrong})).await.expect(200);
    assert!(told.text.len() < 1_000_000 && told.json()["data"]["errors"].as_array().map(Vec::len) == Some(1_000), "{}", told.text.len());
    counts_are_true(&world, &acme);
}

#[tokio::test]
async fn an_import_that_dies_on_its_way_can_be_repeated() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let who = &acme.owner;
    let named = group(&world, who, "All").await;
    let rows: Vec<Value> = (0..200).map(|n| json!({"phone_number": number(n), "name": format!("Person {n}")})).collect();
    let mut reached = BTreeSet::new();
    for (round, waits) in [4, 8, 12, 16, 20, 26, 32].into_iter().enumerate() {
        let body = json!({"contacts": rows, "group_ids": [named], "on_duplicate": "update"});
        {
            let request = world.post(IMPORT).token(&who.token).header("idempotency-key", &format!("round {round}")).json(body);
            let mut work = pin!(request.send());
            for _ in 0..waits {
                if poll_immediate(&mut work).await.is_some() {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
        counts_are_true(&world, &acme);
        reached.insert(of_type(&world, &acme, "contact").len());
    }
    assert!(reached.iter().any(|reached| (1..200).contains(reached)), "none died in the middle: {reached:?}");
    let body = json!({"contacts": rows, "group_ids": [named]});
    let done = world.post(IMPORT).token(&who.token).json(body).send().await.expect(200).json()["data"].clone();
    let there = reached.last().copied().unwrap_or_default();
    assert_eq!((&done["created"], &done["skipped"]), (&json!(200 - there), &json!(there)), "{done}");
    assert_eq!(of_type(&world, &acme, "contact").len(), 200);
    counts_are_true(&world, &acme);
}

#[tokio::test]
async fn groups_hold_contacts_and_leave_them_when_they_go() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let who = &acme.owner;
    let body = json!({"name": " VIP ", "description": "Those who\nmatter"});
    let made = world.post(GROUPS).token(&who.token).json(body).send().await.expect(201);
    let vip = made.json()["data"].clone();
    assert_eq!((&vip["name"], &vip["description"], &vip["contacts"]), (&json!("VIP"), &json!("Those who\nmatter"), &json!(0)));
    assert!(id(&vip).starts_with("grp_") && made.header("etag") == "\"1.0\"");
    let path = format!("{GROUPS}/{}", id(&vip));
    let taken = world.post(GROUPS).token(&who.token).json(json!({"name": "vip"})).send().await.expect(409);
    assert_eq!(taken.json()["error"]["message"], "A group has this name already.");
    let other = group(&world, who, "Other").await;
    world.patch(&path).token(&who.token).json(json!({"name": "OTHER"})).send().await.expect(409);
    let change = |tag: &str, body: Value| world.patch(&path).token(&who.token).header("if-match", tag).json(body).send();
    assert_eq!(change("\"1.0\"", json!({"name": "Vip"})).await.expect(200).header("etag"), "\"2.0\"");
    change("\"1.0\"", json!({"name": "x"})).await.expect(412);
    assert_eq!(change("\"2\"", json!({"name": "Vip"})).await.expect(200).header("etag"), "\"2.0\"");
    assert_eq!(change("\"2\"", json!({"name": "Best", "description": null})).await.expect(200).json()["data"]["description"], Value::Null);
    group(&world, who, "VIP").await;
    world.get(&path).token(&who.token).header("if-none-match", "\"3.0\"").send().await.expect(304);

    let mut people = vec![];
    for n in 0..5 {
        people.push(contact(&world, who, json!({"phone_number": number(n)})).await);
    }
    let ids: Vec<&str> = people.iter().map(id).collect();
    let members = format!("{path}/contacts");
    let send =
        |method: &'static str, ids: Value| world.request(method, &members).token(&who.token).json(json!({"contact_ids": ids})).send();
    let added = send("POST", json!([ids[0], ids[1], ids[1], NOBODYS_CONTACT, ids[4]])).await.expect(200).json()["data"].clone();
    let nobody = json!([{"id": NOBODYS_CONTACT, "reason": "Contact not found"}]);
    assert_eq!(added, json!({"matched": 3, "changed": 3, "failed": nobody}));
    let again = send("POST", json!([ids[0], ids[2]])).await.expect(200).json()["data"].clone();
    assert_eq!(again, json!({"matched": 2, "changed": 1, "failed": []}));
    assert_eq!(got(&world, who, &path).await["data"]["contacts"], 4);
    assert_eq!(walked(&world, who, &members, 3).await, [4, 2, 1, 0].map(number));
    let out = send("DELETE", json!([ids[2], ids[3], NOBODYS_CONTACT])).await.expect(200).json()["data"].clone();
    assert_eq!(out, json!({"matched": 2, "changed": 1, "failed": nobody}));
    counts_are_true(&world, &acme);
    let many: Vec<String> = (0..101).map(|n| format!("con_0198c0de0000700080000000000{n:05}")).collect();
    for ids in [json!([]), json!(many), json!("all"), json!([id(&vip)]), Value::Null] {
        for method in ["POST", "DELETE"] {
            send(method, ids.clone()).await.expect(400);
        }
    }

    // A contact that is in as many as it may be.
    let mut full = vec![];
    for n in 0..20 {
        full.push(group(&world, who, &format!("Group {n}")).await);
    }
    world.patch(at(&people[3])).token(&who.token).json(json!({"group_ids": full})).send().await.expect(200);
    let refused = send("POST", json!([ids[3]])).await.expect(200).json()["data"].clone();
    assert_eq!(refused["failed"], json!([{"id": ids[3], "reason": "A contact is in at most 20 groups."}]));
    // All of them for others, in one edit.
    let mut others = vec![];
    for n in 0..20 {
        others.push(group(&world, who, &format!("Another {n}")).await);
    }
    let moved = world.patch(at(&people[3])).token(&who.token).json(json!({"group_ids": others})).send().await.expect(200);
    assert_eq!(moved.json()["data"]["group_ids"], json!(others));
    counts_are_true(&world, &acme);

    world.delete(&path).token(&who.token).header("if-match", "\"2\"").send().await.expect(412);
    let gone = world.delete(&path).token(&who.token).send().await.expect(200);
    assert_eq!(gone.json(), json!({"data": {"id": id(&vip), "deleted": true}}));
    for path in [path.clone(), members.clone(), format!("{CONTACTS}?group_id={}", id(&vip))] {
        world.get(path).token(&who.token).send().await.expect(404);
    }
    send("POST", json!([ids[0]])).await.expect(404);
    let first = world.get(at(&people[0])).token(&who.token).send().await.expect(200);
    assert_eq!((&first.json()["data"]["group_ids"], first.header("etag")), (&json!([]), "\"2.0\""));
    world.patch(at(&people[0])).token(&who.token).json(json!({"group_ids": [other]})).send().await.expect(200);
    world.delete(at(&people[1])).token(&who.token).send().await.expect(200);
    group(&world, who, "Best").await;
    counts_are_true(&world, &acme);
    assert!(
        of_type(&world, &acme, "contact_group_member")
            .iter()
            .all(|member| !uuid_of(&vip).contains(member["group"]["S"].as_str().expect("an id")))
    );

    world.change_item(&format!("T#{}#counters", acme.id), "contact_groups", |item| item["n"]["N"] = json!("500"));
    let refused = world.post(GROUPS).token(&who.token).json(json!({"name": "One more"})).send().await.expect(403);
    assert_eq!(refused.details()["limit"], "contact_groups");
}

/// An id as it is stored.
fn uuid_of(group: &Value) -> String {
    let hex = id(group).trim_start_matches("grp_");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn groups_that_go_while_contacts_come_into_them_leave_the_counts_true() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let who = &acme.owner;
    for round in 0..8 {
        let (going, staying) = (group(&world, who, &format!("Going {round}")).await, group(&world, who, &format!("Staying {round}")).await);
        let jane = contact(&world, who, json!({"phone_number": number(round), "group_ids": [going]})).await;
        let path = format!("{GROUPS}/{going}");
        let rows: Vec<Value> = (0..30).map(|n| json!({"phone_number": number(1_000 + 100 * round + n)})).collect();
        let answers = join_all([
            world.delete(&path).token(&who.token).send(),
            world.patch(at(&jane)).token(&who.token).json(json!({"group_ids": [going, staying]})).send(),
            world.post(format!("{path}/contacts")).token(&who.token).json(json!({"contact_ids": [id(&jane)]})).send(),
            world.post(CONTACTS).token(&who.token).json(json!({"phone_number": number(500 + round), "group_ids": [staying, going]})).send(),
            world.post(IMPORT).token(&who.token).json(json!({"contacts": rows, "group_ids": [going]})).send(),
        ])
        .await;
        assert_eq!(answers[0].status, 200, "{}", answers[0].text);
        for (answer, statuses) in answers.iter().skip(1).zip([[200, 404], [200, 404], [201, 404], [200, 404]]) {
            assert!(statuses.contains(&answer.status), "{}", answer.text);
        }
        if answers[4].status == 200 {
            let done = answers[4].json()["data"].clone();
            let failed = done["errors"].as_array().expect("errors");
            assert!(failed.iter().all(|fault| fault["code"] == "NOT_FOUND"), "{done}");
            assert_eq!(done["created"].as_u64().expect("a number") + failed.len() as u64, 30, "{done}");
        }
        counts_are_true(&world, &acme);
        world.get(at(&jane)).token(&who.token).send().await.expect(200);
    }
}

#[tokio::test]
async fn pages_show_what_stays_once_while_contacts_come_and_go() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let who = &acme.owner;
    let named = group(&world, who, "All").await;
    let mut people = vec![];
    for n in 0..40 {
        people.push(contact(&world, who, json!({"phone_number": number(10 * n), "name": "Somebody", "group_ids": [named]})).await);
    }
    let mut new = 0;
    for query in [String::new(), format!("group_id={named}"), "search=4179".into(), "search=somebody".into()] {
        let gone: Vec<String> = (0..5).map(|n| people.remove(n * 5)["phone_number"].as_str().expect("a number").to_owned()).collect();
        let (mut seen, mut cursor, mut doomed) = (vec![], String::new(), gone.clone());
        loop {
            let page = got(&world, who, &format!("{CONTACTS}?{query}&limit=4{cursor}")).await;
            seen.extend(numbers(&page));
            new += 1;
            contact(&world, who, json!({"phone_number": number(1_000 + new), "name": "Somebody", "group_ids": [named]})).await;
            if let Some(number) = doomed.pop() {
                let found = got(&world, who, &format!("{CONTACTS}?search={}", &number[1..])).await;
                world.delete(at(&found["data"][0])).token(&who.token).send().await.expect(200);
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        let once: BTreeSet<&String> = seen.iter().collect();
        assert_eq!(once.len(), seen.len(), "{query}: one is shown twice");
        for one in &people {
            assert!(once.contains(&one["phone_number"].as_str().expect("a number").to_owned()), "{query}: {one} is missing");
        }
    }
    counts_are_true(&world, &acme);
}

#[tokio::test]
async fn the_audit_log_names_a_contact_and_of_an_import_the_import() {
    let world = World::new().await;
    let workers = Workers::on(&world);
    let acme = world.tenant("acme").await;
    let who = &acme.owner;
    let one = contact(&world, who, json!({"phone_number": number(0)})).await;
    let rows: Vec<Value> = (0..120).map(|n| json!({"phone_number": number(n), "name": format!("Person {n}")})).collect();
    world.advance(SignedDuration::from_millis(1));
    let import = world.post(IMPORT).token(&who.token).json(json!({"contacts": rows, "on_duplicate": "update"})).send().await.expect(200);
    assert_eq!((&import.json()["data"]["created"], &import.json()["data"]["updated"]), (&json!(119), &json!(1)));
    world.advance(SignedDuration::from_millis(1));
    // What an import wrote is told of when somebody changes it.
    let renamed = world.patch(at(&one)).token(&who.token).json(json!({"name": "Jane"})).send().await.expect(200);
    let vip = group(&world, who, "VIP").await;
    let added = world.post(format!("{GROUPS}/{vip}/contacts")).token(&who.token).json(json!({"contact_ids": [id(&one)]})).send().await;
    let deleted = world.delete(at(&one)).token(&who.token).send().await.expect(200);
    drain(&world, &workers).await;
    let log = got(&world, who, "/api/tenant/audit-log?limit=100").await;
    let told = |answer: &Answer| -> Vec<String> {
        let entries = log["entries"].as_array().expect("entries");
        let entry = entries.iter().find(|entry| entry["requestId"] == answer.header("x-request-id")).expect("an entry");
        let changes = entry["changes"].as_array().expect("changes").iter();
        changes
            .map(|change| format!("{} {}", change["action"].as_str().expect("an action"), change["resource"].as_str().expect("a resource")))
            .collect()
    };
    assert_eq!(told(&import), ["created contact_import"]);
    assert_eq!(told(&renamed), ["changed contact"]);
    assert_eq!(told(&added.expect(200)), ["changed contact"]);
    assert_eq!(told(&deleted), ["deleted contact"]);
    let text = log.to_string();
    assert!(text.contains("\"created contact\"") || text.matches("\"resource\":\"contact\"").count() == 4, "{text}");
    let note = of_type(&world, &acme, "contact_import").pop().expect("the import");
    assert_eq!((&note["created"]["N"], &note["updated"]["N"]), (&json!("119"), &json!("1")));
    assert!(of_type(&world, &acme, "contact").iter().all(|contact| contact["import"] == note["id"]));
}

#[tokio::test]
async fn an_export_comes_back_with_contacts_groups_and_peers() {
    let world = World::new().await;
    let workers = Workers::on(&world);
    let acme = world.tenant("acme").await;
    let who = &acme.owner;
    let groups = [group(&world, who, "One").await, group(&world, who, "Two").await];
    let rows: Vec<Value> = (0..30).map(|n| json!({"phone_number": number(n), "metadata": {"secret": format!("s{n}")}})).collect();
    imported(&world, who, json!({"contacts": rows, "group_ids": [groups[0]]})).await;
    contact(&world, who, json!({"phone_number": number(50), "name": "********", "group_ids": groups})).await;
    world.delete(format!("{GROUPS}/{}", groups[1])).token(&who.token).send().await.expect(200);
    let lines = world.get("/api/tenant/export").token(&who.token).send().await.expect(200).text;
    let done = workers.import(records::ALL_RESTORED, &who.email, &lines).await;
    for (kind, count) in [("contact", 31), ("contact_group", 1), ("contact_group_name", 1), ("contact_group_member", 31), ("peer", 31)] {
        assert_eq!(done["imported"][kind], count, "{kind}: {done}");
    }
    let twin = Tenant { id: done["tenant"].as_str().expect("a tenant").to_owned(), ..acme.clone() };
    counts_are_true(&world, &twin);
    let again = world.login(&who.email, &who.password).await;
    let ask = |request: Request| request.token(&again.token).header("x-tenant-id", &twin.id).send();
    let page = |path: String| ask(world.get(path));
    let path = format!("{CONTACTS}?limit=100&group_id={}", groups[0]);
    let (here, there) = (got(&world, who, &path).await, page(path.clone()).await.expect(200).json());
    assert_eq!((&here["data"], numbers(&here).len()), (&there["data"], 31));
    assert_eq!(there["data"][1]["metadata"]["secret"].as_str().map(|secret| secret.starts_with('s')), Some(true));
    ask(world.post(CONTACTS).json(json!({"phone_number": number(7)}))).await.expect(409);
    ask(world.post(GROUPS).json(json!({"name": "ONE"}))).await.expect(409);
    ask(world.delete(at(&there["data"][0]))).await.expect(200);
    counts_are_true(&world, &twin);

    world.delete("/api/tenant").token(&who.token).header("x-tenant-id", &acme.id).send().await.expect(200);
    world.advance(SignedDuration::from_hours(24 * 8));
    workers.run("janitor", json!({"task": "purge"})).await.expect("the purge");
    assert_eq!(world.items_of(&acme), Vec::<Value>::new());
}
