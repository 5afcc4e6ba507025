//! Opt-outs and consent: what they answer and refuse, that a chain has one end whatever meets, and that every change of one is seen.

pub mod anchors;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::{join, join_all};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::isolation::suspected;
use crate::workers::{Workers, drain};
use crate::world::{Answer, Caller, Request, Tenant, World, id};

const OUTS: &str = "/v1/opt-outs";
const ALIAS: &str = "/v1/compliance/opt-outs";
const CONSENT: &str = "/v1/compliance/consent";
const ADA: &str = "+15551234567";
const BOB: &str = "+15551234568";

/// What somebody does to a stored item.
type Change = fn(&mut Value);

async fn home() -> (World, Tenant) {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    (world, own)
}

fn number(n: usize) -> String {
    format!("+4179{n:07}")
}

fn given(phone_number: &str) -> Value {
    json!({"phone_number": phone_number, "consent_type": "express_written", "consent_source": "web_form", "consent_text": "I agree."})
}

fn evidence() -> Value {
    json!({"consent": {"consent_type": "express", "consent_source": "web_form"}})
}

fn ask(world: &World, who: &Caller, request: &str, body: Value) -> Request {
    let (method, path) = request.split_once(' ').expect("a method and a path");
    let method = ["GET", "POST", "PATCH", "DELETE"].into_iter().find(|known| *known == method).expect("a method");
    let request = world.request(method, path).token(&who.token);
    if body.is_null() { request } else { request.json(body) }
}

async fn done(world: &World, who: &Caller, request: &str, body: Value) -> Value {
    world.advance(SignedDuration::from_millis(5));
    let answer = ask(world, who, request, body).send().await;
    assert!(answer.status < 300, "{request}: {} {}", answer.status, answer.text);
    answer.json()
}

async fn verified(world: &World, who: &Caller, number: &str) -> Value {
    done(world, who, &format!("GET {CONSENT}/verify?phone_number=%2B{}", &number[1..]), Value::Null).await["data"].clone()
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

fn peer(world: &World, tenant: &Tenant, number: &str) -> Value {
    of_type(world, tenant, "peer").into_iter().find(|peer| peer["phone_number"]["S"] == number).unwrap_or_default()
}

fn numbers(page: &Value) -> Vec<&str> {
    page["data"].as_array().expect("a list").iter().map(|one| one["phone_number"].as_str().expect("a number")).collect()
}

#[tokio::test]
async fn an_opt_out_and_an_opt_in_meet_the_documented_shapes() {
    let (world, own) = home().await;
    let owner = &own.owner;
    let created = ask(&world, owner, &format!("POST {OUTS}"), json!({"phone_number": ADA, "reason": "Called us"})).send().await.expect(201);
    let body = created.json();
    let out = &body["data"];
    assert_eq!(
        (
            &out["phone_number"],
            &out["active"],
            &out["source"],
            &out["reason"],
            &out["opted_back_in_at"],
            &out["keyword"],
            &out["suspected"]
        ),
        (&json!(ADA), &json!(true), &json!("api"), &json!("Called us"), &Value::Null, &Value::Null, &Value::Null)
    );
    let etag = created.header("etag").to_owned();
    assert_eq!((etag.as_str(), peer(&world, &own, ADA)["opted_out"]["M"]["source"]["S"].as_str()), ("\"1\"", Some("api")));
    ask(&world, owner, &format!("POST {OUTS}"), json!({"phone_number": ADA})).send().await.expect(409);
    // One number in each spelling of the path, under both paths.
    for path in [format!("{OUTS}/{ADA}"), format!("{OUTS}/%2B15551234567"), format!("{ALIAS}/{ADA}"), format!("{ALIAS}/%2b15551234567")] {
        let shown = world.get(&path).token(&owner.token).send().await.expect(200);
        assert_eq!((&shown.json()["data"], shown.header("etag")), (out, etag.as_str()), "{path}");
    }
    let missing = world.get(format!("{OUTS}/{BOB}")).token(&owner.token).send().await.expect(404).fingerprint();
    for nobody in ["15551234567", "+1555", "%20%2B15551234567", "+1555123456x", "opt-out"] {
        let answer = world.get(format!("{OUTS}/{nobody}")).token(&owner.token).send().await.expect(404);
        assert_eq!(answer.fingerprint(), missing, "{nobody}");
    }
    let opt_in = format!("POST {OUTS}/{ADA}/opt-in");
    ask(&world, owner, &opt_in, evidence()).header("if-match", "\"7\"").send().await.expect(412);
    world.advance(SignedDuration::from_secs(1));
    let back = ask(&world, owner, &opt_in, evidence()).header("if-match", &etag).send().await.expect(200);
    let back = back.json()["data"].clone();
    assert_eq!((&back["active"], &back["opted_out_at"], &back["reason"]), (&json!(false), &out["opted_out_at"], &json!("Called us")));
    assert!(back["opted_back_in_at"].is_string());
    ask(&world, owner, &opt_in, evidence()).send().await.expect(409);
    let peer = peer(&world, &own, ADA);
    assert_eq!((&peer["opted_out"], peer["chain"]["M"]["n"]["N"].as_str()), (&Value::Null, Some("2")));
    // The other path, and DELETE, do the same.
    done(&world, owner, &format!("POST {ALIAS}"), json!({"phone_number": BOB})).await;
    let deleted = done(&world, owner, &format!("DELETE {ALIAS}/{BOB}"), evidence()).await;
    assert_eq!(deleted["data"]["active"], false);
    let chain = done(&world, owner, &format!("GET {CONSENT}?phone_number=%2B15551234568"), Value::Null).await;
    let kinds: Vec<_> = chain["data"].as_array().unwrap().iter().map(|entry| (entry["kind"].clone(), entry["n"].clone())).collect();
    assert_eq!(kinds, [(json!("opted_in"), json!(2)), (json!("opted_out"), json!(1))]);
}

#[tokio::test]
async fn an_opt_in_needs_evidence_that_is_not_older_than_the_opt_out() {
    let (world, own) = home().await;
    let owner = &own.owner;
    done(&world, owner, &format!("POST {OUTS}"), json!({"phone_number": ADA})).await;
    let path = format!("POST {OUTS}/{ADA}/opt-in");
    let since = done(&world, owner, &format!("GET {OUTS}/{ADA}"), Value::Null).await["data"]["opted_out_at"].clone();
    world.advance(SignedDuration::from_hours(1));
    let with = |more: Value| {
        let mut body = evidence();
        body["consent"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (body, field) in [
        (json!({}), "consent"),
        (json!({"consent": null}), "consent"),
        (json!({"consent": "yes"}), "consent"),
        (json!({"consent": {}}), "consent.consent_type"),
        (with(json!({"phone_number": ADA})), "consent.phone_number"),
        (with(json!({"consented_at": "2020-01-01T00:00:00Z"})), "consent.consented_at"),
        (with(json!({"consented_at": "2099-01-01T00:00:00Z"})), "consent.consented_at"),
        (with(json!({"ip_address": "1.2.3.4.5"})), "consent.ip_address"),
    ] {
        let refused = ask(&world, owner, &path, body).send().await.expect(400);
        let details = refused.details();
        let sentence = details[field][0].as_str().unwrap_or_else(|| panic!("{field}: {details}")).to_owned();
        assert!(sentence.contains(&format!("The {} field", field.trim_start_matches("consent."))), "{sentence}");
    }
    let member = world.member(&own, "member").await;
    ask(&world, &member, &path, evidence()).send().await.expect(403);
    done(&world, owner, &path, with(json!({"consented_at": since}))).await;
}

#[tokio::test]
async fn opt_outs_are_listed_by_number_and_by_time() {
    let (world, own) = home().await;
    let owner = &own.owner;
    for n in [3, 1, 2] {
        done(&world, owner, &format!("POST {OUTS}"), json!({"phone_number": number(n)})).await;
    }
    done(&world, owner, &format!("POST {OUTS}/{}/opt-in", number(3)), evidence()).await;
    suspected(&world, &own, &number(4));
    let list = async |query: &str| done(&world, owner, &format!("GET {OUTS}{query}"), Value::Null).await;
    let of = |wanted: &[usize]| wanted.iter().map(|n| number(*n)).collect::<Vec<_>>();
    for (query, wanted) in [
        ("", &[1, 2, 3, 4][..]),
        ("?order=number&active=true", &[1, 2]),
        ("?active=false", &[3, 4]),
        ("?suspected=true", &[4]),
        ("?order=recent&suspected=false", &[3, 2, 1]),
        ("?order=recent&active=true", &[2, 1]),
        ("?phone_number=%2B41790000002", &[2]),
        ("?phone_number=%2B41790000002&active=false", &[]),
        ("?phone_number=%2B41790000009&order=recent", &[]),
    ] {
        assert_eq!(numbers(&list(query).await), of(wanted), "{query}");
    }
    for order in ["number", "recent"] {
        let (mut seen, mut cursor) = (vec![], String::new());
        loop {
            let page = list(&format!("?order={order}&limit=1{cursor}")).await;
            seen.extend(numbers(&page).into_iter().map(str::to_owned));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen.len(), 4, "{order}");
    }
    for (query, field) in
        [("?active=1x", "active"), ("?order=name", "order"), ("?phone_number=123", "phone_number"), ("?colour=red", "colour")]
    {
        assert!(world.get(format!("{OUTS}{query}")).token(&owner.token).send().await.expect(400).details()[field].is_array(), "{query}");
    }
}

#[tokio::test]
async fn a_suspicion_is_dismissed_or_confirmed() {
    let (world, own) = home().await;
    let owner = &own.owner;
    suspected(&world, &own, ADA);
    suspected(&world, &own, BOB);
    let shown = done(&world, owner, &format!("GET {OUTS}/{ADA}"), Value::Null).await["data"].clone();
    assert_eq!((&shown["active"], &shown["suspected"]["phrase"]), (&json!(false), &json!("please stop texting me")));
    let dismissed = done(&world, owner, &format!("POST {OUTS}/{ADA}/dismiss"), Value::Null).await["data"].clone();
    assert_eq!((&dismissed["suspected"], &dismissed["opted_out_at"]), (&Value::Null, &Value::Null));
    assert!(dismissed["dismissed_at"].is_string());
    // Nothing else was known of the number.
    assert_eq!(peer(&world, &own, ADA), Value::Null);
    ask(&world, owner, &format!("POST {OUTS}/{ADA}/dismiss"), Value::Null).send().await.expect(409);
    let confirmed = done(&world, owner, &format!("POST {OUTS}"), json!({"phone_number": BOB})).await["data"].clone();
    assert_eq!((&confirmed["active"], &confirmed["suspected"]), (&json!(true), &Value::Null));
    let peer = peer(&world, &own, BOB);
    assert_eq!((&peer["suspected"], peer["opted_out"].is_object()), (&Value::Null, true));
    ask(&world, owner, &format!("POST {OUTS}/{BOB}/dismiss"), Value::Null).send().await.expect(409);
}

#[tokio::test]
async fn a_consent_is_kept_as_it_was_given() {
    let (world, own) = home().await;
    let owner = &own.owner;
    let whole = json!({"phone_number": ADA, "consent_type": "express_written", "consent_source": "checkout_form", "consent_text": " I agree\nto all. ",
        "consent_text_version": "v2", "ip_address": "2001:DB8:0::1", "user_agent": "Mozilla/5.0", "evidence_url": "HTTPS://Example.com/buy?a=1",
        "consented_at": "2024-01-31T10:30:00.1239+01:00", "metadata": {"order": "42", "Straße": "ä"}});
    let made = ask(&world, owner, &format!("POST {CONSENT}"), whole).send().await.expect(201);
    let record = made.json()["data"].clone();
    let expected = json!({"phone_number": ADA, "kind": "granted", "consent_type": "express_written", "consent_source": "checkout_form",
        "consent_text": "I agree\nto all.", "consent_text_version": "v2", "ip_address": "2001:db8::1", "user_agent": "Mozilla/5.0",
        "evidence_url": "https://example.com/buy?a=1", "consented_at": "2024-01-31T09:30:00.123Z", "recorded_by": "member:1", "message_id": null,
        "metadata": {"order": "42", "Straße": "ä"}, "n": 1, "previous": "0".repeat(64), "redacted": null});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&record[name], value, "{name}");
    }
    assert!(id(&record).starts_with("cns_") && record["hash"].as_str().is_some_and(|hash| hash.len() == 64));
    let path = format!("{CONSENT}/{}", id(&record));
    let shown = world.get(&path).token(&owner.token).send().await.expect(200);
    assert_eq!((&shown.json()["data"], shown.header("etag")), (&record, made.header("etag")));
    world.get(&path).token(&owner.token).header("if-none-match", "\"1\"").send().await.expect(304);
    for method in ["PATCH", "PUT", "DELETE"] {
        world.request(method, path.clone()).token(&owner.token).json(json!({})).send().await.expect(405);
    }
    // By a key, and for a number that has a chain.
    let scopes = json!({"name": "Forms", "scopes": ["compliance:write"]});
    let key = world.post("/v1/api-keys").token(&owner.token).json(scopes).send().await.expect(201).json()["data"].clone();
    let secret = key["key"].as_str().expect("a key");
    let second = world.post(CONSENT).token(secret).json(given(ADA)).send().await.expect(201).json()["data"].clone();
    assert_eq!((&second["n"], &second["previous"], &second["recorded_by"]), (&json!(2), &record["hash"], &json!(id(&key))));
    world.get(CONSENT).token(secret).send().await.expect(403);
    world.post(format!("{CONSENT}/redact")).token(secret).json(json!({"ids": [id(&record)], "reason": "x"})).send().await.expect(403);
    assert_eq!(verified(&world, owner, ADA).await["valid"], true);
}

#[tokio::test]
async fn what_cannot_be_a_consent_is_refused_by_name() {
    let (world, own) = home().await;
    let owner = &own.owner;
    let texts = |count: usize, length: usize| Value::Object((0..count).map(|n| (format!("k{n}"), json!("x".repeat(length)))).collect());
    let soon = (world.auth.clock().now() + SignedDuration::from_secs(61)).to_string();
    let wrong = [
        (
            "phone_number",
            vec![
                json!(null),
                json!(15551234567_u64),
                json!("15551234567"),
                json!("+1 555 123 45 67"),
                json!("+１５５５１２３４５６７"),
                json!("+1234567890123456"),
            ],
        ),
        ("consent_type", vec![json!(null), json!("written"), json!("EXPRESS"), json!(1), json!([])]),
        ("consent_source", vec![json!(null), json!(""), json!("x".repeat(101)), json!("a\u{0}"), json!({})]),
        ("consent_text", vec![json!("x".repeat(2_001)), json!(""), json!(1), json!("a\u{7}")]),
        ("consent_text_version", vec![json!("x".repeat(101)), json!(2)]),
        ("ip_address", vec![json!("example.com"), json!("1.2.3"), json!("1.2.3.4/8"), json!("::g"), json!(1)]),
        ("user_agent", vec![json!("x".repeat(501)), json!(true)]),
        (
            "evidence_url",
            vec![
                json!("ftp://example.com"),
                json!("javascript:alert(1)"),
                json!("example.com"),
                json!(format!("https://example.com/{}", "x".repeat(2_040))),
            ],
        ),
        ("consented_at", vec![json!(soon), json!("9999-12-31T00:00:00Z"), json!("2024-01-31"), json!("2024-01-31T10:00:00"), json!(0)]),
        ("metadata", vec![texts(21, 1), texts(1, 501), json!({"n": 1}), json!({"n": null}), json!([]), json!({"": "x"})]),
        ("kind", vec![json!("granted")]),
        ("recorded_at", vec![json!("2024-01-31T10:00:00Z")]),
    ];
    for (field, values) in wrong {
        for value in values {
            let mut body = given(ADA);
            body[field] = value.clone();
            let refused = ask(&world, owner, &format!("POST {CONSENT}"), body).send().await.expect(400);
            assert_eq!(refused.details().as_object().unwrap().keys().collect::<Vec<_>>(), [field], "{value}");
        }
    }
    let all = json!({"phone_number": 1, "consent_type": 1, "consent_source": 1, "consent_text": 1, "metadata": 1});
    let refused = ask(&world, owner, &format!("POST {CONSENT}"), all).send().await.expect(400);
    assert_eq!(refused.details().as_object().unwrap().len(), 5);
    assert_eq!((of_type(&world, &own, "consent_entry").len(), peer(&world, &own, ADA)), (0, Value::Null));
    // At its bounds it is taken. A clock that is a little fast means now.
    let fast = (world.auth.clock().now() + SignedDuration::from_secs(50)).to_string();
    let mut most =
        json!({"consent_text": "ä".repeat(2_000), "user_agent": "x".repeat(500), "metadata": texts(20, 500), "consented_at": fast});
    most.as_object_mut()
        .unwrap()
        .extend(json!({"phone_number": ADA, "consent_type": "implied", "consent_source": "x".repeat(100)}).as_object().unwrap().clone());
    let made = done(&world, owner, &format!("POST {CONSENT}"), most).await["data"].clone();
    assert_eq!(made["consented_at"], made["recorded_at"]);
}

#[tokio::test]
async fn sixteen_who_write_at_once_make_one_chain() {
    let (world, own) = home().await;
    let owner = &own.owner;
    for round in 0..3 {
        let number = number(round);
        let writes = (0..16).map(|_| ask(&world, owner, &format!("POST {CONSENT}"), given(&number)).send());
        let answers = join_all(writes).await;
        assert_eq!(counted(&answers), BTreeMap::from([(201, 16)]));
        let mut places: Vec<u64> = answers.iter().map(|answer| answer.json()["data"]["n"].as_u64().unwrap()).collect();
        places.sort_unstable();
        assert_eq!(places, (1..=16).collect::<Vec<_>>());
        let verdict = verified(&world, owner, &number).await;
        assert_eq!((&verdict["valid"], &verdict["entries"], &verdict["head"]["n"]), (&json!(true), &json!(16), &json!(16)));
    }
    // Whatever they write: a contact comes and goes at the same number, and one of several opt-outs counts.
    let number = number(9);
    let contact = done(&world, owner, "POST /v1/contacts", json!({"phone_number": number})).await["data"].clone();
    let outs = join_all((0..5).map(|_| ask(&world, owner, &format!("POST {OUTS}"), json!({"phone_number": number})).send()));
    let grants = join_all((0..10).map(|_| ask(&world, owner, &format!("POST {CONSENT}"), given(&number)).send()));
    let deleted = world.delete(format!("/v1/contacts/{}", id(&contact))).token(&owner.token).send();
    let ((outs, grants), deleted) = join(join(outs, grants), deleted).await;
    assert_eq!(
        (counted(&outs), counted(&grants), deleted.status),
        (BTreeMap::from([(201, 1), (409, 4)]), BTreeMap::from([(201, 10)]), 200)
    );
    let verdict = verified(&world, owner, &number).await;
    assert_eq!((&verdict["valid"], &verdict["entries"]), (&json!(true), &json!(11)));
    let peer = peer(&world, &own, &number);
    assert_eq!((peer["opted_out"].is_object(), &peer["contact"]), (true, &Value::Null));
    let all = done(&world, owner, &format!("GET {CONSENT}/verify"), Value::Null).await["data"].clone();
    assert_eq!((&all["valid"], &all["chains"], &all["entries"], &all["next_cursor"]), (&json!(true), &json!(4), &json!(59), &Value::Null));
}

#[tokio::test]
async fn a_repeat_with_its_key_gets_the_first_answer() {
    let (world, own) = home().await;
    let owner = &own.owner;
    let opt_in = format!("POST {OUTS}/{ADA}/opt-in");
    for (request, body) in
        [(format!("POST {CONSENT}"), given(ADA)), (format!("POST {OUTS}"), json!({"phone_number": ADA})), (opt_in, evidence())]
    {
        let once = || ask(&world, owner, &request, body.clone()).header("idempotency-key", "k").send();
        // Some of them at once: those that come second find what the first did, and still get its answer.
        let answers = join_all((0..4).map(|_| once())).await;
        assert!(answers.iter().all(|answer| answer.status < 300 && answer.text == answers[0].text), "{request}: {}", answers[0].text);
        let again = once().await;
        assert_eq!((again.text.as_str(), again.header("idempotency-replayed")), (answers[0].text.as_str(), "true"));
        let other =
            if request.contains("opt-in") { json!({"consent": {"consent_type": "implied", "consent_source": "x"}}) } else { given(BOB) };
        let other = if request == format!("POST {OUTS}") { json!({"phone_number": BOB}) } else { other };
        ask(&world, owner, &request, other).header("idempotency-key", "k").send().await.expect(422);
    }
    assert_eq!(verified(&world, owner, ADA).await["entries"], 3);
}

#[tokio::test]
async fn what_a_person_takes_back_counts_no_more() {
    let (world, own) = home().await;
    let owner = &own.owner;
    let effective = || -> Vec<String> {
        let consents = peer(&world, &own, ADA)["consents"]["L"].as_array().cloned().unwrap_or_default();
        let given = consents.iter().filter(|held| held["M"]["given"].is_object());
        given.map(|held| held["M"]["consent_type"]["S"].as_str().unwrap().to_owned()).collect()
    };
    let grant = async |kind: &str, at: Option<&str>| {
        let body = json!({"phone_number": ADA, "consent_type": kind, "consent_source": "web_form", "consented_at": at});
        done(&world, owner, &format!("POST {CONSENT}"), body).await["data"].clone()
    };
    let written = grant("express_written", None).await;
    let express = grant("express", None).await;
    assert_eq!(effective(), ["express_written", "express"]);
    let revoke = |record: &Value| format!("POST {CONSENT}/{}/revoke", id(record));
    let revoked = done(&world, owner, &revoke(&written), json!({"reason": "On the phone"})).await["data"].clone();
    assert_eq!(
        (&revoked["kind"], &revoked["consent_type"], &revoked["consent_text"]),
        (&json!("revoked"), &json!("express_written"), &json!("On the phone"))
    );
    assert_eq!(effective(), ["express"]);
    ask(&world, owner, &revoke(&written), json!({})).send().await.expect(409);
    ask(&world, owner, &revoke(&revoked), json!({})).send().await.expect(409);
    // Given anew, the old record cannot take back the new one.
    let anew = grant("express_written", None).await;
    ask(&world, owner, &revoke(&written), json!({})).send().await.expect(409);
    assert_eq!(effective(), ["express_written", "express"]);
    done(&world, owner, &format!("POST {OUTS}"), json!({"phone_number": ADA})).await;
    assert_eq!(effective(), Vec::<String>::new());
    for record in [&anew, &express] {
        ask(&world, owner, &revoke(record), json!({})).send().await.expect(409);
    }
    // Evidence of before the opt-out, recorded late.
    grant("express_written", Some("2024-01-01T00:00:00Z")).await;
    assert_eq!(effective(), Vec::<String>::new());
    done(&world, owner, &format!("POST {OUTS}/{ADA}/opt-in"), evidence()).await;
    assert_eq!(effective(), ["express"]);
    assert_eq!(verified(&world, owner, ADA).await["valid"], true);
}

#[tokio::test]
async fn consent_records_are_found_by_number_type_and_time() {
    let (world, own) = home().await;
    let owner = &own.owner;
    for n in 0..12 {
        let kind = ["express_written", "express", "implied"][n % 3];
        let body = json!({"phone_number": number(n % 4), "consent_type": kind, "consent_source": "api", "consented_at": format!("2024-{:02}-01T00:00:00Z", n + 1)});
        done(&world, owner, &format!("POST {CONSENT}"), body).await;
    }
    let walked = async |query: &str, limit: usize| {
        let (mut seen, mut cursor) = (vec![], String::new());
        loop {
            let page = done(&world, owner, &format!("GET {CONSENT}?limit={limit}{query}{cursor}"), Value::Null).await;
            let months =
                page["data"].as_array().unwrap().iter().map(|one| one["consented_at"].as_str().unwrap()[5..7].parse::<usize>().unwrap());
            seen.extend(months);
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return seen,
            }
        }
    };
    for limit in [1, 2, 5, 100] {
        for (query, wanted) in [
            ("", (1..=12).rev().collect::<Vec<_>>()),
            ("&phone_number=%2B41790000001", vec![10, 6, 2]),
            ("&consent_type=express", vec![11, 8, 5, 2]),
            ("&phone_number=%2B41790000001&consent_type=express", vec![2]),
            ("&from=2024-03-01T00:00:00Z&to=2024-05-01T00:00:00Z", vec![4, 3]),
            ("&consent_type=implied&from=2024-06-01T00:00:00Z", vec![12, 9, 6]),
            ("&phone_number=%2B41790000009", vec![]),
        ] {
            assert_eq!(walked(query, limit).await, wanted, "{query} by {limit}");
        }
    }
    for (query, field) in
        [("from=x", "from"), ("consent_type=x", "consent_type"), ("from=2024-03-01T00:00:00Z&to=2024-01-01T00:00:00Z", "to")]
    {
        assert!(
            world.get(format!("{CONSENT}?{query}")).token(&owner.token).send().await.expect(400).details()[field].is_array(),
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_changed_chain_is_seen_and_says_where() {
    let (world, own) = home().await;
    let owner = &own.owner;
    for _ in 0..4 {
        done(&world, owner, &format!("POST {CONSENT}"), given(ADA)).await;
    }
    done(&world, owner, &format!("POST {CONSENT}"), given(BOB)).await;
    let partition = format!("T#{}#consent-entries#15551234567", own.id);
    let third = of_type(&world, &own, "consent_entry")
        .into_iter()
        .find(|item| item["pk"]["S"] == partition.as_str() && item["sk"]["S"] == "0000000003");
    let third = third.expect("the third entry");
    let changes: [(&str, Change); 5] = [
        ("a text", |item| item["text"]["M"]["value"]["S"] = json!("I agree!")),
        ("a moment", |item| item["consented_at"]["S"] = json!("2020-01-01T00:00:00Z")),
        ("a type", |item| item["consent_type"]["S"] = json!("express")),
        ("a hash", |item| item["digest"]["S"] = json!("0".repeat(64))),
        ("a number", |item| item["phone_number"]["S"] = json!(BOB)),
    ];
    for (what, change) in changes {
        world.change_item(&partition, "0000000003", change);
        let verdict = verified(&world, owner, ADA).await;
        assert_eq!((&verdict["valid"], &verdict["broken_at"], &verdict["entries"]), (&json!(false), &json!(3), &json!(2)), "{what}");
        let all = done(&world, owner, &format!("GET {CONSENT}/verify"), Value::Null).await["data"].clone();
        assert_eq!(
            (&all["valid"], &all["broken"]),
            (&json!(false), &json!([{"phone_number": ADA, "broken_at": 3, "broken_by": "chain"}])),
            "{what}"
        );
        world.put_item(&third);
        assert_eq!(verified(&world, owner, ADA).await["valid"], true, "{what}");
    }
    // The end of the chain lies with the peer: an entry too many is none of it.
    let mut fifth = third.clone();
    fifth["sk"]["S"] = json!("0000000005");
    fifth["n"]["N"] = json!("5");
    world.put_item(&fifth);
    assert_eq!(verified(&world, owner, ADA).await["broken_at"], 5);
    let viewer = world.member(&own, "viewer").await;
    assert_eq!(verified(&world, &viewer, BOB).await["valid"], true);
    assert_eq!(
        verified(&world, &viewer, "+15550000000").await,
        json!({"valid": true, "chains": 0, "entries": 0, "imported": 0, "anchored": 0, "head": null, "broken_at": null, "broken_by": null,
        "broken": [], "anchored_in_all": null, "broken_anchor": null, "next_cursor": null})
    );
}

#[tokio::test]
async fn what_is_redacted_is_gone_and_the_chain_holds() {
    let (world, own) = home().await;
    let owner = &own.owner;
    let whole = json!({"phone_number": ADA, "consent_type": "express", "consent_source": "web_form", "consent_text": "swordfish text", "ip_address": "203.0.113.77",
        "user_agent": "swordfish agent", "evidence_url": "https://swordfish.example.com/", "metadata": {"swordfish": "value"}});
    let record = done(&world, owner, &format!("POST {CONSENT}"), whole).await["data"].clone();
    done(&world, owner, &format!("POST {OUTS}"), json!({"phone_number": ADA, "reason": "swordfish reason"})).await;
    let chain = done(&world, owner, &format!("GET {CONSENT}?phone_number=%2B15551234567"), Value::Null).await;
    let ids: Vec<&str> = chain["data"].as_array().unwrap().iter().map(id).collect();
    let body = json!({"ids": [ids[0], ids[1], "cns_0198c0de000070008000000000000000"], "reason": "Asked to be forgotten"});
    let admin = world.member(&own, "admin").await;
    ask(&world, &admin, &format!("POST {CONSENT}/redact"), body.clone()).send().await.expect(403);
    let answer = done(&world, owner, &format!("POST {CONSENT}/redact"), body.clone()).await["data"].clone();
    assert_eq!((&answer["redacted"], &answer["already"], &answer["errors"][0]["code"]), (&json!(2), &json!(0), &json!("NOT_FOUND")));
    let answer = done(&world, owner, &format!("POST {CONSENT}/redact"), body).await["data"].clone();
    assert_eq!((&answer["redacted"], &answer["already"]), (&json!(0), &json!(2)));
    let left = world.get(format!("{CONSENT}/{}", id(&record))).token(&owner.token).send().await.expect(200);
    let view = left.json()["data"].clone();
    assert_eq!(
        (&view["consent_text"], &view["ip_address"], &view["metadata"], &view["hash"]),
        (&Value::Null, &Value::Null, &json!({}), &record["hash"])
    );
    assert_eq!(
        (&view["redacted"]["reason"], &view["redacted"]["redacted_by"], left.header("etag")),
        (&json!("Asked to be forgotten"), &json!("member:1"), "\"2\"")
    );
    for item in world.items_of(&own) {
        let item = item.to_string();
        assert!(!item.contains("swordfish") && !item.contains("203.0.113.77"), "{item}");
    }
    let verdict = verified(&world, owner, ADA).await;
    assert_eq!((&verdict["valid"], &verdict["entries"]), (&json!(true), &json!(2)));
    assert_eq!(done(&world, owner, &format!("GET {OUTS}/{ADA}"), Value::Null).await["data"]["active"], true);
    for body in [
        json!({"ids": [], "reason": "x"}),
        json!({"ids": ["1"], "reason": "x"}),
        json!({"ids": [id(&record)]}),
        json!({"ids": vec![id(&record); 101], "reason": "x"}),
    ] {
        ask(&world, owner, &format!("POST {CONSENT}/redact"), body).send().await.expect(400);
    }
}

#[tokio::test]
async fn a_deleted_contact_keeps_its_opt_out_and_consent() {
    let (world, own) = home().await;
    let owner = &own.owner;
    let contact = done(&world, owner, "POST /v1/contacts", json!({"phone_number": ADA})).await["data"].clone();
    done(&world, owner, &format!("POST {CONSENT}"), given(ADA)).await;
    done(&world, owner, &format!("POST {OUTS}"), json!({"phone_number": ADA})).await;
    done(&world, owner, &format!("DELETE /v1/contacts/{}", id(&contact)), Value::Null).await;
    assert_eq!(done(&world, owner, &format!("GET {OUTS}/{ADA}"), Value::Null).await["data"]["active"], true);
    assert_eq!(verified(&world, owner, ADA).await["entries"], 2);
    assert!(numbers(&done(&world, owner, "GET /v1/contacts?search=%2B1555", Value::Null).await).is_empty());
    // Whoever has the number next finds both.
    done(&world, owner, "POST /v1/contacts", json!({"phone_number": ADA})).await;
    let peer = peer(&world, &own, ADA);
    assert_eq!(
        (peer["contact"].is_object(), peer["opted_out"].is_object(), peer["chain"]["M"]["n"]["N"].as_str()),
        (true, true, Some("2"))
    );
}

#[tokio::test]
async fn an_import_takes_each_row_by_itself_and_none_twice() {
    let (world, own) = home().await;
    let owner = &own.owner;
    let import = format!("POST {CONSENT}/import");
    let row = |n: usize| json!({"phone_number": number(n % 200), "consent_type": "express", "consent_source": "paper_form", "consented_at": format!("20{:02}-01-01T00:00:00Z", n % 23)});
    let mut rows: Vec<Value> = (0..496).map(row).collect();
    rows.extend([
        json!({"phone_number": "1"}),
        json!(4),
        row(0),
        json!({"phone_number": ADA, "consent_type": "express", "consent_source": "x", "consented_at": "2099-01-01T00:00:00Z"}),
    ]);
    let body = json!({"records": rows});
    let answer = done(&world, owner, &import, body.clone()).await["data"].clone();
    assert_eq!((&answer["imported"], &answer["skipped"]), (&json!(496), &json!(1)));
    let errors: Vec<_> = answer["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| (error["index"].as_u64().unwrap(), error["code"].as_str().unwrap()))
        .collect();
    assert_eq!(errors, [(496, "VALIDATION_ERROR"), (497, "VALIDATION_ERROR"), (499, "VALIDATION_ERROR")]);
    let again = done(&world, owner, &import, body).await["data"].clone();
    assert_eq!((&again["imported"], &again["skipped"]), (&json!(0), &json!(497)));
    let all = done(&world, owner, &format!("GET {CONSENT}/verify"), Value::Null).await["data"].clone();
    assert_eq!((&all["valid"], &all["chains"], &all["entries"]), (&json!(true), &json!(200), &json!(496)));
    assert_eq!(of_type(&world, &own, "consent").len(), 496);
    for body in
        [json!({}), json!({"records": []}), json!({"records": vec![row(1); 501]}), json!({"records": {}}), json!({"contacts": [row(1)]})]
    {
        ask(&world, owner, &import, body).send().await.expect(400);
    }
    // Imports of the same numbers that meet leave chains that hold, and lose no row.
    let rows = |turn: usize| {
        (0..20)
            .map(|n| json!({"phone_number": number(n), "consent_type": "implied", "consent_source": format!("turn {turn}")}))
            .collect::<Vec<_>>()
    };
    let answers = join_all((0..4).map(|turn| ask(&world, owner, &import, json!({"records": rows(turn)})).send())).await;
    assert!(
        answers.iter().all(|answer| answer.json()["data"]["imported"] == 20),
        "{:?}",
        answers.iter().map(|answer| &answer.text).collect::<Vec<_>>()
    );
    let all = done(&world, owner, &format!("GET {CONSENT}/verify"), Value::Null).await["data"].clone();
    assert_eq!((&all["valid"], &all["entries"]), (&json!(true), &json!(576)));
}

#[tokio::test]
async fn an_export_has_all_records_in_pages_of_either_form() {
    let (world, own) = home().await;
    let owner = &own.owner;
    // More than a page: each has almost 15 KB.
    let long: Value = (0..20).map(|n| (format!("k{n}"), json!("x".repeat(499)))).collect::<serde_json::Map<_, _>>().into();
    for turn in 0..5 {
        let rows: Vec<Value> = (0..100)
            .map(|n| json!({"phone_number": number(n), "consent_type": "express", "consent_source": format!("=turn, {turn}"), "metadata": long}))
            .collect();
        for some in rows.chunks(50) {
            done(&world, owner, &format!("POST {CONSENT}/import"), json!({"records": some})).await;
        }
    }
    for format in ["json", "csv"] {
        let (mut path, mut lines, mut pages) = (format!("{CONSENT}/export?format={format}"), vec![], 0);
        loop {
            let page = world.get(&path).token(&owner.token).send().await.expect(200);
            assert!(page.text.len() <= 4_500_000, "{}", page.text.len());
            pages += 1;
            lines.extend(page.text.lines().map(str::to_owned));
            assert_eq!(page.header("content-type"), if format == "csv" { "text/csv; charset=utf-8" } else { "application/x-ndjson" });
            let link = page.header("link").to_owned();
            match link.strip_prefix('<').and_then(|link| link.split_once('>')) {
                Some((next, _)) => path = next.to_owned(),
                None => break,
            }
        }
        assert!(pages > 1, "{format}");
        let head = usize::from(format == "csv");
        assert_eq!(lines.len(), 500 + head, "{format}");
        if format == "csv" {
            assert!(
                lines[0].starts_with("id,phone_number,kind,consent_type") && lines[1].contains(",\"'=turn, 0\","),
                "{}",
                &lines[1][..200]
            );
        } else {
            let ids: std::collections::BTreeSet<String> =
                lines.iter().map(|line| id(&serde_json::from_str::<Value>(line).unwrap()).to_owned()).collect();
            assert_eq!(ids.len(), 500);
        }
    }
    let one = world.get(format!("{CONSENT}/export?phone_number=%2B41790000001")).token(&owner.token).send().await.expect(200);
    assert_eq!((one.text.lines().count(), one.header("link")), (5, ""));
    let member = world.member(&own, "member").await;
    world.get(format!("{CONSENT}/export")).token(&member.token).send().await.expect(403);
    world.get(format!("{CONSENT}/export?format=xml")).token(&owner.token).send().await.expect(400);
    world.get(format!("{CONSENT}/export?cursor=abc")).token(&owner.token).send().await.expect(400);
}

/// What `docs/verify_consent.py` says of pages of a proof, and whether it is content.
fn checked(pages: &[Value]) -> (bool, String) {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("proof-{}", CALLS.fetch_add(1, Ordering::Relaxed)));
    std::fs::create_dir_all(&folder).expect("a folder");
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/verify_consent.py"));
    for (index, page) in pages.iter().enumerate() {
        let path = folder.join(format!("{index}.json"));
        std::fs::write(&path, page.to_string()).expect("a file");
        command.arg(path);
    }
    let done = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().expect("python3 runs");
    (done.status.success(), String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
}

#[tokio::test]
async fn a_proof_is_checked_by_those_who_have_nothing_but_python() {
    let (world, own) = home().await;
    let owner = &own.owner;
    let mut whole = given(ADA);
    whole["metadata"] = json!({"Straße": "ä:\n1", "a": ""});
    whole["ip_address"] = json!("203.0.113.9");
    let first = done(&world, owner, &format!("POST {CONSENT}"), whole.clone()).await["data"].clone();
    done(&world, owner, &format!("POST {CONSENT}"), whole).await;
    done(&world, owner, &format!("POST {OUTS}"), json!({"phone_number": ADA, "reason": "Called us:\nline"})).await;
    done(&world, owner, &format!("POST {OUTS}/{ADA}/opt-in"), evidence()).await;
    done(&world, owner, &format!("POST {CONSENT}/redact"), json!({"ids": [id(&first)], "reason": "asked"})).await;
    let proof = done(&world, owner, &format!("GET {CONSENT}/proof?phone_number=%2B15551234567"), Value::Null).await;
    let (valid, said) = checked(std::slice::from_ref(&proof));
    assert!(valid && said.starts_with("valid: +15551234567, 4 entries, 4 values disclosed"), "{said}");
    let changes: [(&str, Change); 8] = [
        ("a value", |page| page["data"]["entries"][1]["disclosed"][0]["value"] = json!("I agree!")),
        ("a hash", |page| page["data"]["entries"][1]["hash"] = page["data"]["entries"][2]["hash"].clone()),
        ("a cut", |page| drop(page["data"]["entries"].as_array_mut().unwrap().pop())),
        ("a cut at the beginning", |page| drop(page["data"]["entries"].as_array_mut().unwrap().remove(0))),
        ("a swap", |page| page["data"]["entries"].as_array_mut().unwrap().swap(1, 2)),
        ("a letter", |page| {
            let text = page["data"]["entries"][0]["canonical"].as_str().unwrap().replace("web_form", "web_farm");
            page["data"]["entries"][0]["canonical"] = json!(text);
        }),
        ("another number", |page| page["data"]["phone_number"] = json!(BOB)),
        ("another end", |page| page["data"]["head"]["n"] = json!(5)),
    ];
    for (what, change) in changes {
        let mut changed = proof.clone();
        change(&mut changed);
        let (valid, said) = checked(&[changed]);
        assert!(!valid && said.starts_with("NOT VALID"), "{what}: {said}");
    }
    let none = done(&world, owner, &format!("GET {CONSENT}/proof?phone_number=%2B15551234568"), Value::Null).await;
    assert_eq!((&none["data"]["head"], checked(std::slice::from_ref(&none)).0), (&Value::Null, true));
    // A chain of several pages.
    let text = "ä".repeat(2_000);
    for some in 0..6 {
        let rows: Vec<Value> = (0..90)
            .map(|n| json!({"phone_number": BOB, "consent_type": "implied", "consent_source": format!("{some} {n}"), "consent_text": text}))
            .collect();
        done(&world, owner, &format!("POST {CONSENT}/import"), json!({"records": rows})).await;
    }
    let (mut pages, mut cursor) = (vec![], String::new());
    loop {
        let page = done(&world, owner, &format!("GET {CONSENT}/proof?phone_number=%2B15551234568{cursor}"), Value::Null).await;
        let next = page["data"]["next_cursor"].as_str().map(|next| format!("&cursor={next}"));
        pages.push(page);
        match next {
            Some(next) => cursor = next,
            None => break,
        }
    }
    let (valid, said) = checked(&pages);
    assert!(pages.len() > 1 && valid && said.contains("540 entries, 540 values"), "{}: {said}", pages.len());
    assert!(!checked(&pages[1..]).0);
}

#[tokio::test]
async fn an_import_of_a_tenant_has_chains_that_hold_and_go_on_and_a_purge_leaves_nothing() {
    let world = World::new().await;
    let workers = Workers::on(&world);
    let acme = world.tenant("acme").await;
    let owner = &acme.owner;
    for number in [ADA, BOB] {
        done(&world, owner, &format!("POST {CONSENT}"), given(number)).await;
        done(&world, owner, &format!("POST {OUTS}"), json!({"phone_number": number})).await;
    }
    let first = done(&world, owner, &format!("GET {CONSENT}?phone_number=%2B15551234567"), Value::Null).await["data"][1].clone();
    done(&world, owner, &format!("POST {CONSENT}/redact"), json!({"ids": [id(&first)], "reason": "asked"})).await;
    done(&world, owner, "POST /v1/contacts", json!({"phone_number": number(1)})).await;
    suspected(&world, &acme, &number(2));
    anchors::anchored_next_day(&world, &workers).await;
    let lines = world.get("/api/tenant/export").token(&owner.token).send().await.expect(200).text;
    // Recorded after the peers were exported, and before their chains were.
    let late =
        lines.lines().find(|line| line.contains("\"consent_entry\"") && line.contains(BOB) && line.contains("\"n\":2")).expect("an entry");
    let late = late.replace("\"n\":2", "\"n\":3").replace("0000000002", "0000000003");
    let leading =
        lines.lines().find(|line| line.contains("\"type\":\"consent\"") && line.contains(BOB) && line.contains("\"n\":2")).expect("a line");
    let leading = leading.replace("\"n\":2", "\"n\":3");
    let imported = workers.import(records::ALL_RESTORED, &owner.email, &format!("{lines}\n{late}\n{leading}")).await;
    for (kind, count) in [("consent_entry", 4), ("consent", 4), ("opt_out", 3), ("peer", 4)] {
        assert_eq!(imported["imported"][kind], count, "{kind}: {imported}");
    }
    assert_eq!((&imported["skipped"]["consent_entry"], &imported["skipped"]["consent"]), (&json!(1), &json!(1)));
    // What was anchored there was told to the customer of that tenant.
    assert_eq!((&imported["skipped"]["consent_anchor"], &imported["skipped"]["consent_anchored"]), (&json!(1), &json!(2)));
    let twin = Tenant { id: imported["tenant"].as_str().expect("a tenant").to_owned(), ..acme.clone() };
    let again = world.login(&owner.email, &owner.password).await;
    let there = |request: Request| request.token(&again.token).header("x-tenant-id", &twin.id).send();
    let all = there(world.get(format!("{CONSENT}/verify"))).await.expect(200).json()["data"].clone();
    assert_eq!((&all["valid"], &all["chains"], &all["entries"], &all["imported"]), (&json!(true), &json!(2), &json!(4), &json!(4)));
    assert_eq!(there(world.get(format!("{OUTS}/{ADA}"))).await.expect(200).json()["data"]["active"], true);
    there(world.post(OUTS).json(json!({"phone_number": ADA}))).await.expect(409);
    world.advance(SignedDuration::from_secs(1));
    there(world.post(format!("{OUTS}/{BOB}/opt-in")).json(evidence())).await.expect(200);
    let verdict = there(world.get(format!("{CONSENT}/verify?phone_number=%2B15551234568"))).await.expect(200).json()["data"].clone();
    assert_eq!((&verdict["valid"], &verdict["entries"], &verdict["imported"]), (&json!(true), &json!(3), &json!(2)));
    let proof = there(world.get(format!("{CONSENT}/proof?phone_number=%2B15551234568"))).await.expect(200).json();
    let (valid, said) = checked(&[proof]);
    assert!(valid, "{said}");
    // It has anchors of its own: of each day on which something was recorded, there too.
    done(&world, owner, &format!("POST {CONSENT}"), given(ADA)).await;
    anchors::anchored_next_day(&world, &workers).await;
    let all = there(world.get(format!("{CONSENT}/verify"))).await.expect(200).json()["data"].clone();
    assert_eq!((&all["valid"], &all["anchored"], &all["broken_anchor"]), (&json!(true), &json!(3), &Value::Null), "{all}");
    let proof = there(world.get(format!("{CONSENT}/proof?phone_number=%2B15551234568"))).await.expect(200).json();
    assert_eq!((&proof["data"]["anchors"][0]["tenant_id"], &proof["data"]["anchors"][0]["n"]), (&json!(twin.id), &json!(3)));
    let (valid, said) = checked(std::slice::from_ref(&proof));
    assert!(valid && said.contains("anchor 2, of") && said.contains("anchor 1, of"), "{said}");

    // With something that waits for its anchor.
    done(&world, owner, &format!("POST {CONSENT}"), given(BOB)).await;
    drain(&world, &workers).await;
    let noted = || world.items_of_type("due_anchor").into_iter().filter(|note| note["tenant"]["S"] == acme.id.as_str()).count();
    assert_eq!((noted(), of_type(&world, &acme, "consent_anchor").len()), (1, 2));
    world.delete("/api/tenant").token(&owner.token).header("x-tenant-id", &acme.id).send().await.expect(200);
    world.advance(SignedDuration::from_hours(24 * 8));
    workers.run("janitor", json!({"task": "purge"})).await.expect("the purge");
    assert_eq!((world.items_of(&acme), noted()), (vec![], 0));
    assert!(!of_type(&world, &twin, "consent_anchored").is_empty());
    // The stream comes late, and a note that it left says nothing any more.
    anchors::anchored_next_day(&world, &workers).await;
    assert_eq!((world.items_of(&acme), noted()), (vec![], 0));
}
