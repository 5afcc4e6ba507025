//! Tenants by slug (F1): the documented routes, what they refuse, and the results of races and outdated records.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;

use jiff::SignedDuration;
use operator::Operator;
use serde_json::{Value, json};
use shared::aws::Aws as Clients;
use shared::config::{Config, Variables};
use shared::crypto::Random;
use shared::model::plan::Plans;
use shared::runtime::App;
use shared::runtime::worker::Worker;

use crate::world::{Answer, Caller, Settings, Tenant, World, claims_of, id};

const TENANTS: &str = "/api/tenants";

// ---------------------------------------------------------------- the documented routes

#[tokio::test]
async fn a_person_lists_and_creates_tenants() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let token = &acme.owner.token;
    let body = json!({
        "slug": "My-Project", "cms": "prismic", "repository": "my-repo", "cacheTTL": 172_800, "websiteDomain": "WWW.Acme.example",
        "allowedTypes": ["jpeg", ".PNG", "image/webp", "png"],
    });
    let created = world.post(TENANTS).token(token).json(body).send().await.expect(201);
    assert_eq!(created.json(), json!({"ok": true, "key": "my-project", "proxyBase": "https://my-project.edge.example.com"}));

    let list = world.get(TENANTS).token(token).send().await.expect(200);
    let listed = list.json();
    assert_eq!(listed["total"], 2);
    let mut first = listed["tenants"][0].clone();
    assert!(first["createdAt"].as_str().is_some_and(|at| at.ends_with('Z')), "{first}");
    first["createdAt"] = Value::Null;
    assert_eq!(
        first,
        json!({"slug": acme.slug, "name": "acme", "role": "owner", "cms": null, "proxyBase": format!("https://{}.edge.example.com", acme.slug),
            "websiteDomain": null, "customDomain": null, "createdAt": null})
    );
    let second = &listed["tenants"][1];
    assert_eq!((&second["slug"], &second["name"], &second["cms"]), (&json!("my-project"), &json!("my-project"), &json!("prismic")));
    assert_eq!(second["websiteDomain"], "www.acme.example");
    assert_eq!(list.metered.expect("metered").round_trips, 2);
    // The key selects it from the next request on.
    let value = show(&world, &acme.owner, "my-project").await;
    assert_eq!((&value["cacheTTL"], &value["allowedTypes"]), (&json!(172_800), &json!(["jpeg", "png", "image/webp"])));
    for caller in [None, Some("garbage")] {
        for request in [world.get(TENANTS), world.post(TENANTS), world.get(format!("{TENANTS}/slug-availability?slug=acme"))] {
            let request = caller.into_iter().fold(request, |request, token| request.token(token));
            request.send().await.expect(401);
        }
    }
}

#[tokio::test]
async fn everything_a_configuration_holds_comes_back() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let full = json!({
        "slug": "full", "name": "All of it", "cms": "sanity", "projectId": "abc123", "dataset": "production",
        "originUrl": "https://Origin.acme.example/base/", "videoOrigin": "https://video.acme.example:8443", "websiteDomain": "www.acme.example",
        "cacheTTL": 60, "allowedTypes": ["webp"], "stripParams": ["svg"], "apiOrigin": "https://api.acme.example/v1", "apiAuthMode": "bearer",
        "apiTokenHeader": "X-Token", "apiCacheTTL": 3600, "previewBypassParam": "draft", "transformApiUrls": false,
    });
    world.post(TENANTS).token(&acme.owner.token).json(full).send().await.expect(201);
    // The first request there takes a lease of the day's quota.
    show(&world, &acme.owner, "full").await;
    let answer = world.get(format!("{TENANTS}/full")).token(&acme.owner.token).send().await.expect(200);
    assert_eq!(answer.json()["key"], "full");
    // It is not the session's tenant, so its quota is leased after the door has checked the membership.
    assert!(answer.metered.expect("metered").round_trips <= 2);
    let mut value = answer.json()["value"].clone();
    let (created, updated) = (value["createdAt"].take(), value["updatedAt"].take());
    assert_eq!(created, updated);
    assert_eq!(
        value,
        json!({
            "slug": "full", "name": "All of it", "proxyBase": "https://full.edge.example.com", "cms": "sanity", "projectId": "abc123",
            "dataset": "production", "originUrl": "https://origin.acme.example/base", "videoOrigin": "https://video.acme.example:8443",
            "websiteDomain": "www.acme.example", "cacheTTL": 60, "allowedTypes": ["webp"], "stripParams": ["svg"],
            "apiOrigin": "https://api.acme.example/v1", "apiAuthMode": "bearer", "apiTokenHeader": "X-Token", "apiCacheTTL": 3600,
            "previewBypassParam": "draft", "transformApiUrls": false, "hasApiToken": false, "apiTokenUpdatedAt": null,
            "cacheVersions": {"api": 1, "assets": 1}, "createdAt": null, "updatedAt": null,
        })
    );
}

#[tokio::test]
async fn every_provider_with_its_fields_and_without() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let providers = [
        ("prismic", json!({"repository": "repo"})),
        ("contentful", json!({"spaceId": "cfexampleapi"})),
        ("sanity", json!({"projectId": "p1", "dataset": "production"})),
        ("shopify", json!({"shopDomain": "acme.myshopify.com"})),
        ("cloudinary", json!({"cloudName": "acme"})),
        ("imgix", json!({"sourceDomain": "acme.imgix.net"})),
        ("storyblok", json!({"spaceId": "12345"})),
        ("generic", json!({"originUrl": "https://origin.acme.example"})),
    ];
    for (cms, fields) in &providers {
        let mut body = json!({"slug": format!("with-{cms}"), "cms": cms});
        let bare = world.post(TENANTS).token(&acme.owner.token).json(body.clone()).send().await.expect(400);
        let named: BTreeSet<_> = bare.details().as_object().expect("fields").keys().cloned().collect();
        assert_eq!(named, fields.as_object().expect("fields").keys().cloned().collect(), "{cms}");
        for (name, value) in fields.as_object().expect("fields") {
            body[name] = value.clone();
        }
        let mut foreign = body.clone();
        foreign[if *cms == "imgix" { "cloudName" } else { "sourceDomain" }] = json!("other.imgix.net");
        world.post(TENANTS).token(&acme.owner.token).json(foreign).send().await.expect(400);
        world.post(TENANTS).token(&acme.owner.token).json(body).send().await.expect(201);
        let value = show(&world, &acme.owner, &format!("with-{cms}")).await;
        for (name, field) in fields.as_object().expect("fields") {
            assert_eq!(&value[name], field, "{cms}");
        }
    }
}

#[tokio::test]
async fn slugs_are_asked_for_before_they_are_taken() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let ask = async |slug: &str| world.get(format!("{TENANTS}/slug-availability?slug={slug}")).token(&acme.owner.token).send().await;
    let free = ask("My-Project").await.expect(200);
    assert_eq!(free.json(), json!({"slug": "my-project", "available": true, "reason": null, "suggestions": []}));
    assert_eq!(free.metered.expect("metered").round_trips, 2);
    create(&world, &acme.owner, "my-project").await.expect(201);
    create(&world, &acme.owner, "my-project-app").await.expect(201);
    let taken = ask("my-project").await.expect(200).json();
    assert_eq!((&taken["available"], &taken["reason"]), (&json!(false), &json!("taken")));
    let suggestions: Vec<&str> = taken["suggestions"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert_eq!(suggestions.len(), 3);
    for suggestion in suggestions {
        assert_ne!(suggestion, "my-project-app");
        assert_eq!(ask(suggestion).await.expect(200).json()["available"], true, "{suggestion}");
        create(&world, &acme.owner, suggestion).await.expect(201);
    }
    for reserved in ["usage", "slug-availability", "www", "API", "admin", "users", "invites", "adm1n", "vvww", "tenantry"] {
        let answer = ask(reserved).await.expect(200).json();
        assert_eq!((&answer["available"], &answer["reason"]), (&json!(false), &json!("reserved")), "{reserved}");
        let refused = create(&world, &acme.owner, reserved).await.expect(400);
        assert!(refused.details()["slug"].is_array(), "{}", refused.text);
    }
    for wrong in [
        "",
        "ab",
        "-abc",
        "abc-",
        "a_b",
        "a.b",
        "acme.edge.example.com",
        "xn--acme",
        "%C3%A4cme",
        "%D0%B0cme",
        "%E2%84%AAelvin",
        "a%20b",
        "%20acme",
    ] {
        let answer = ask(wrong).await.expect(400);
        assert_eq!((answer.code().as_str(), answer.details()["slug"].is_array()), ("VALIDATION_ERROR", true), "{wrong}");
    }
    ask(&"a".repeat(64)).await.expect(400);
    ask(&"a".repeat(63)).await.expect(200);
    world.get(format!("{TENANTS}/slug-availability")).token(&acme.owner.token).send().await.expect(400);
    world.get(format!("{TENANTS}/slug-availability?slug=a-b-c&x=1")).token(&acme.owner.token).send().await.expect(400);
}

// ---------------------------------------------------------------- what creating refuses

#[tokio::test]
async fn a_tenant_is_not_created_from_what_is_wrong() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let before = world.items().len();
    let good = json!({"slug": "good", "cms": "generic", "originUrl": "https://origin.acme.example"});
    let inside = [
        "http://origin.acme.example",
        "origin.acme.example",
        "https://user:pass@origin.acme.example",
        "https://user@origin.acme.example",
        "https://localhost",
        "https://127.0.0.1",
        "https://10.0.0.8",
        "https://192.168.0.1",
        "https://172.16.9.9",
        "https://169.254.169.254",
        "https://[::1]",
        "https://[fe80::1]",
        "https://2130706433",
        "https://0x7f000001",
        "https://metadata.google.internal",
        "https://printer.local",
        "https://origin",
        "https://origin.acme.example?x=1",
        "https://origin.acme.example#x",
        "ftp://a.example",
        "https://acme.edge.example.com",
        "https://edge.example.com",
        "https://api.example.com",
        "https://аcme.example",
        "",
    ];
    let mut wrong: Vec<(&str, Value)> = vec![];
    for field in ["originUrl", "videoOrigin", "apiOrigin"] {
        wrong.extend(inside.iter().map(|url| (field, json!(url))));
    }
    for (field, values) in [
        (
            "slug",
            vec![
                json!(null),
                json!(""),
                json!("ab"),
                json!("usage"),
                json!("adm1n"),
                json!("ünïcode"),
                json!("xn--abc-x"),
                json!(7),
                json!("a.b"),
            ],
        ),
        ("name", vec![json!(""), json!("x".repeat(256)), json!(1), json!("nul\u{0}")]),
        ("cms", vec![json!(null), json!("wordpress"), json!("Prismic"), json!(""), json!(1), json!(["prismic"])]),
        (
            "websiteDomain",
            vec![
                json!("https://www.acme.example"),
                json!("localhost"),
                json!("a..b"),
                json!("www.acme.example:80"),
                json!("x.edge.example.com"),
                json!(1),
            ],
        ),
        ("cacheTTL", vec![json!(59), json!(31_536_001), json!(0), json!(-1), json!("86400"), json!(1.5), json!(null), json!(i64::MAX)]),
        ("allowedTypes", vec![json!([]), json!("webp"), json!([1]), json!(["we bp"]), json!([""]), json!(["../x"]), json!(vec!["a"; 51])]),
        ("stripParams", vec![json!("yes"), json!([]), json!(1)]),
        ("apiAuthMode", vec![json!("digest"), json!("Bearer"), json!(null)]),
        ("apiTokenHeader", vec![json!(""), json!("X Token"), json!("X:Token"), json!("a\r\nb: c"), json!("Host"), json!("x".repeat(65))]),
        ("apiCacheTTL", vec![json!(9), json!(3601), json!("60")]),
        ("previewBypassParam", vec![json!(""), json!("a b"), json!("a&b"), json!("...")]),
        ("transformApiUrls", vec![json!("true"), json!(1)]),
        ("repository", vec![json!("repo")]),
        ("apiToken", vec![json!("secret")]),
        ("proxyBase", vec![json!("https://x.example")]),
    ] {
        wrong.extend(values.into_iter().map(|value| (field, value)));
    }
    for (field, value) in wrong {
        let mut body = good.clone();
        body[field] = value.clone();
        let answer = world.post(TENANTS).token(&acme.owner.token).json(body).send().await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "VALIDATION_ERROR"), "{field} {value}: {}", answer.text);
        assert!(answer.details()[field].is_array(), "{field} {value}: {}", answer.text);
    }
    for raw in [&b""[..], b"{", b"[]", b"null", b"{\"slug\":\"a\",\"slug\":\"b\"}"] {
        world.post(TENANTS).token(&acme.owner.token).raw(raw).send().await.expect(400);
    }
    let stored = world.items().into_iter().filter(|item| !item["pk"]["S"].as_str().is_some_and(|pk| pk.starts_with("G#rate#"))).count();
    assert!(stored <= before, "nothing was written");
    world.post(TENANTS).token(&acme.owner.token).json(good).send().await.expect(201);
}

#[tokio::test]
async fn the_best_plan_among_ones_own_tenants_says_how_many() {
    let world = World::strict().await;
    let acme = world.tenant("acme").await;
    let refused = create(&world, &acme.owner, "second").await.expect(403);
    assert_eq!(refused.code(), "PLAN_LIMIT_REACHED");
    assert_eq!(refused.details(), json!({"limit": "tenants_owned", "used": 1, "max": 1, "plan": "free"}));
    set_plan(&world, &acme, "pro");
    create(&world, &acme.owner, "second").await.expect(201);
    create(&world, &acme.owner, "third").await.expect(201);
    // The plan of a suspended tenant does not count, but the tenant itself does.
    set_tenant(&world, &acme, "status", "suspended");
    let refused = create(&world, &acme.owner, "fourth").await.expect(403);
    assert_eq!(refused.details(), json!({"limit": "tenants_owned", "used": 3, "max": 1, "plan": "free"}));
    // Another person's plan counts only for its owner.
    set_tenant(&world, &acme, "status", "active");
    let admin = world.member(&acme, "admin").await;
    create(&world, &admin, "his-first").await.expect(201);
    create(&world, &admin, "his-second").await.expect(403);
    // Deleted tenants no longer count.
    world.delete(format!("{TENANTS}/his-first")).token(&admin.token).send().await.expect(200);
    create(&world, &admin, "his-second").await.expect(201);
}

// ---------------------------------------------------------------- races

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_creations_stop_exactly_at_the_limit() {
    for max in [1_u64, 2, 6] {
        let world = World::with(Settings { plans: json!({"free": {"tenants_owned": max}}), ..Settings::default() }).await;
        let acme = world.tenant("acme").await;
        let instances = [world.clone(), world.another_instance().await];
        let answers = race(64, |number| {
            let body = json!({"slug": format!("race-{number}"), "cms": "prismic", "repository": "r"});
            instances[number % 2].post(TENANTS).token(&acme.owner.token).json(body).send()
        })
        .await;
        let made = usize::try_from(max).expect("small") - 1;
        let expected: BTreeMap<u16, usize> = [(201, made), (403, 64 - made)].into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted(&answers), expected);
        assert_eq!(world.get(TENANTS).token(&acme.owner.token).send().await.expect(200).json()["total"], max);
        assert_eq!(world.items().iter().filter(|item| item["type"]["S"] == "slug").count() as u64, max);
        assert_eq!(world.items().iter().filter(|item| item["type"]["S"] == "edge_config").count(), made);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_sixty_four_who_want_a_slug_one_has_it() {
    let world = World::new().await;
    let mut owners = vec![];
    for number in 0..4 {
        owners.push(world.tenant(&format!("acme{number}")).await.owner);
    }
    let answers = race(64, |number| {
        let body = json!({"slug": "wanted", "cms": "prismic", "repository": format!("r{number}")});
        world.post(TENANTS).token(&owners[number % 4].token).json(body).send()
    })
    .await;
    assert_eq!(counted(&answers), BTreeMap::from([(201, 1), (409, 63)]));
    assert!(answers.iter().filter(|answer| answer.status == 409).all(|answer| answer.code() == "CONFLICT"));
    let items = world.items();
    let claimed: Vec<_> = items.iter().filter(|item| item["type"]["S"] == "slug" && item["slug"]["S"] == "wanted").collect();
    let tenants = items.iter().filter(|item| item["type"]["S"] == "tenant" && item["slug"]["S"] == "wanted").count();
    assert_eq!((claimed.len(), tenants), (1, 1));
    let winner = answers.iter().position(|answer| answer.status == 201).expect("a winner");
    let value = show(&world, &owners[winner % 4], "wanted").await;
    assert_eq!(value["repository"], format!("r{winner}"));
    for (index, owner) in owners.iter().enumerate().filter(|(index, _)| *index != winner % 4) {
        let answer = world.get(format!("{TENANTS}/wanted")).token(&owner.token).send().await;
        assert_eq!(answer.status, 404, "{index}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_idempotency_key_creates_one_tenant() {
    let world = World::with(Settings { plans: json!({"free": {"tenants_owned": 2}}), ..Settings::default() }).await;
    let acme = world.tenant("acme").await;
    let send = |body: Value| world.post(TENANTS).token(&acme.owner.token).header("idempotency-key", "once").json(body).send();
    let body = json!({"slug": "once", "cms": "prismic", "repository": "r"});
    let answers = race(16, |_| send(body.clone())).await;
    assert_eq!(counted(&answers), BTreeMap::from([(201, 16)]));
    assert!(answers.iter().all(|answer| answer.text == answers[0].text));
    assert_eq!(answers.iter().filter(|answer| answer.header("idempotency-replayed") == "true").count(), 15);
    send(json!({"slug": "other", "cms": "prismic", "repository": "r"})).await.expect(422);
    assert_eq!(world.get(TENANTS).token(&acme.owner.token).send().await.expect(200).json()["total"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_edits_of_one_version_one_wins_and_none_is_lost() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    create(&world, &acme.owner, "edited").await.expect(201);
    let path = format!("{TENANTS}/edited");
    let etag = world.get(&path).token(&acme.owner.token).send().await.expect(200).header("etag").to_owned();
    let answers = race(8, |number| {
        let request = world.put(&path).token(&acme.owner.token).header("if-match", &etag);
        request.json(json!({"cacheTTL": 100 + number})).send()
    })
    .await;
    assert_eq!(counted(&answers), BTreeMap::from([(200, 1), (412, 7)]));
    // Edits of different fields in parallel with cache refreshes: all of them are kept.
    let fields = [
        json!({"cacheTTL": 777}),
        json!({"stripParams": true}),
        json!({"videoOrigin": "https://v.acme.example"}),
        json!({"allowedTypes": ["svg"]}),
    ];
    let answers = race(8, |number| match fields.get(number) {
        Some(body) => world.put(&path).token(&acme.owner.token).json(body.clone()).send(),
        None => world.post(format!("{path}/refresh-cache")).token(&acme.owner.token).json(json!({"type": "api"})).send(),
    })
    .await;
    assert_eq!(counted(&answers), BTreeMap::from([(200, 8)]));
    let value = show(&world, &acme.owner, "edited").await;
    assert_eq!(
        (&value["cacheTTL"], &value["stripParams"], &value["videoOrigin"]),
        (&json!(777), &json!(true), &json!("https://v.acme.example"))
    );
    assert_eq!((&value["allowedTypes"], &value["cacheVersions"]), (&json!(["svg"]), &json!({"api": 5, "assets": 1})));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_first_configuration_is_begun_once() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let path = format!("{TENANTS}/{}", acme.slug);
    let answers = race(6, |number| match number {
        0 => world.put(format!("{path}/api-token")).token(&acme.owner.token).json(json!({"token": "t"})).send(),
        1 => world.put(&path).token(&acme.owner.token).json(json!({"cms": "prismic", "repository": "r"})).send(),
        2 => world.put(format!("{path}/api-config")).token(&acme.owner.token).json(json!({"apiOrigin": "https://o.example"})).send(),
        _ => world.post(format!("{path}/refresh-cache")).token(&acme.owner.token).json(json!({"type": "all"})).send(),
    })
    .await;
    assert_eq!(counted(&answers), BTreeMap::from([(200, 6)]));
    let value = show(&world, &acme.owner, &acme.slug).await;
    assert_eq!((&value["cms"], &value["apiOrigin"], &value["hasApiToken"]), (&json!("prismic"), &json!("https://o.example"), &json!(true)));
    assert_eq!(value["cacheVersions"], json!({"api": 4, "assets": 4}));
}

// ---------------------------------------------------------------- one tenant

#[tokio::test]
async fn a_configuration_is_changed_in_part() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    create(&world, &acme.owner, "mine").await.expect(201);
    let path = format!("{TENANTS}/mine");
    let put = async |body: Value| world.put(&path).token(&acme.owner.token).json(body).send().await;
    let seen = world.get(&path).token(&acme.owner.token).send().await.expect(200);
    world.get(&path).token(&acme.owner.token).header("if-none-match", seen.header("etag")).send().await.expect(304);
    world.advance(SignedDuration::from_secs(5));
    let changed = put(json!({"cacheTTL": 604_800, "websiteDomain": "www.acme.example"})).await.expect(200);
    assert!(changed.metered.expect("metered").round_trips <= 3);
    assert_eq!(changed.json()["key"], "mine");
    let value = &changed.json()["value"];
    assert_eq!(
        (&value["cacheTTL"], &value["websiteDomain"], &value["repository"]),
        (&json!(604_800), &json!("www.acme.example"), &json!("r"))
    );
    assert_ne!(value["updatedAt"], value["createdAt"]);
    assert_eq!(world.get(&path).token(&acme.owner.token).send().await.expect(200).json(), changed.json());
    world.get(&path).token(&acme.owner.token).header("if-none-match", seen.header("etag")).send().await.expect(200);
    world
        .put(&path)
        .token(&acme.owner.token)
        .header("if-match", seen.header("etag"))
        .json(json!({"cacheTTL": 60}))
        .send()
        .await
        .expect(412);
    let refresh = world.post(format!("{path}/refresh-cache")).token(&acme.owner.token).json(json!({"type": "all"}));
    assert!(refresh.send().await.expect(200).metered.expect("metered").round_trips <= 3);
    let changed = world.get(&path).token(&acme.owner.token).send().await.expect(200);
    assert_eq!(put(json!({})).await.expect(200).header("etag"), changed.header("etag"), "nothing said, nothing changed");
    put(json!({"websiteDomain": null, "allowedTypes": null})).await.expect(200);
    assert_eq!(show(&world, &acme.owner, "mine").await["websiteDomain"], Value::Null);
    // The slug never changes. Another provider needs its complete set.
    for (body, field) in [
        (json!({"slug": "other"}), "slug"),
        (json!({"cms": "sanity", "dataset": "d"}), "projectId"),
        (json!({"cms": "generic"}), "originUrl"),
        (json!({"spaceId": "x"}), "spaceId"),
        (json!({"cacheTTL": 1}), "cacheTTL"),
        (json!({"repository": null}), "repository"),
        (json!({"cms": null}), "cms"),
        (json!({"apiCacheTTL": 5}), "apiCacheTTL"),
        (json!({"hasApiToken": true}), "hasApiToken"),
        (json!({"cacheVersions": {"api": 9}}), "cacheVersions"),
    ] {
        let answer = put(body.clone()).await.expect(400);
        assert!(answer.details()[field].is_array(), "{body}: {}", answer.text);
    }
    let sanity = put(json!({"cms": "sanity", "projectId": "p", "dataset": "d"})).await.expect(200).json();
    assert_eq!((&sanity["value"]["projectId"], sanity["value"].get("repository")), (&json!("p"), None));
    put(json!({"cms": "generic", "originUrl": "https://o.acme.example"})).await.expect(200);
    put(json!({"originUrl": null})).await.expect(400);
}

#[tokio::test]
async fn a_tenant_from_elsewhere_is_configured_by_its_first_change() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let path = format!("{TENANTS}/{}", acme.slug);
    let unset = world.get(&path).token(&acme.owner.token).send().await.expect(200);
    let value = unset.json()["value"].clone();
    assert_eq!((&value["cms"], &value["cacheTTL"], &value["hasApiToken"]), (&Value::Null, &json!(86_400), &json!(false)));
    let refused = world.put(&path).token(&acme.owner.token).json(json!({"cacheTTL": 60})).send().await.expect(400);
    assert!(refused.details()["cms"].is_array(), "{}", refused.text);
    world
        .put(&path)
        .token(&acme.owner.token)
        .header("if-match", "\"7\"")
        .json(json!({"cms": "prismic", "repository": "r"}))
        .send()
        .await
        .expect(412);
    let request = world.put(&path).token(&acme.owner.token).header("if-match", unset.header("etag"));
    let begun = request.json(json!({"cms": "prismic", "repository": "r"})).send().await.expect(200);
    assert_eq!(begun.json()["value"]["cms"], "prismic");
    assert_ne!(begun.header("etag"), unset.header("etag"));
    world.put(&path).token(&acme.owner.token).json(json!({"cacheTTL": 60})).send().await.expect(200);
}

#[tokio::test]
async fn what_members_may_do_and_strangers_cannot_see() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let stranger = world.tenant("globex").await.owner;
    let viewer = world.member(&acme, "viewer").await;
    let path = format!("{TENANTS}/{}", acme.slug);
    world.get(&path).token(&viewer.token).send().await.expect(200);
    world.put(&path).token(&viewer.token).json(json!({"cms": "prismic", "repository": "r"})).send().await.expect(403);
    world.delete(&path).token(&world.member(&acme, "admin").await.token).send().await.expect(403);
    let nothing = format!("{TENANTS}/no-such-tenant");
    for (method, tail, body) in [
        ("GET", "", Value::Null),
        ("PUT", "", json!({"cacheTTL": 60})),
        ("DELETE", "", Value::Null),
        ("PUT", "/api-config", json!({"apiOrigin": "https://o.example"})),
        ("PUT", "/api-token", json!({"token": "t"})),
        ("POST", "/refresh-cache", json!({"type": "all"})),
    ] {
        let send = |path: &str| world.request(method, format!("{path}{tail}")).token(&stranger.token).json(body.clone()).send();
        let (theirs, nobodys) = (send(&path).await.expect(404), send(&nothing).await);
        assert_eq!(theirs.fingerprint(), nobodys.fingerprint(), "{method} {tail}");
    }
}

#[tokio::test]
async fn a_deleted_tenant_is_gone_and_its_slug_rests() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    create(&world, &acme.owner, "gone").await.expect(201);
    let path = format!("{TENANTS}/gone");
    world.delete(&path).token(&acme.owner.token).header("if-match", "\"9\"").send().await.expect(412);
    let answer = world.delete(&path).token(&acme.owner.token).send().await.expect(200);
    assert_eq!(answer.json(), json!({"ok": true, "key": "gone"}));
    world.get(&path).token(&acme.owner.token).send().await.expect(404);
    world.delete(&path).token(&acme.owner.token).send().await.expect(404);
    assert_eq!(world.get(TENANTS).token(&acme.owner.token).send().await.expect(200).json()["total"], 1);
    create(&world, &acme.owner, "gone").await.expect(409);
    let asked = world.get(format!("{TENANTS}/slug-availability?slug=gone")).token(&acme.owner.token).send().await.expect(200).json();
    assert_eq!(asked["available"], false);
    // After the purge: the slug rests, and then any tenant can take it.
    let until = shared::clock::Clock::now(&*world.clock) + SignedDuration::from_hours(24);
    world.change_item("G#slug#gone", "owner", |item| {
        item["rests_until"] = json!({"S": until.to_string()});
        item["ttl"] = json!({"N": until.as_second().to_string()});
    });
    let asked = world.get(format!("{TENANTS}/slug-availability?slug=gone")).token(&acme.owner.token).send().await.expect(200).json();
    assert_eq!((&asked["available"], &asked["reason"]), (&json!(false), &json!("resting")));
    create(&world, &acme.owner, "gone").await.expect(409);
    world.advance(SignedDuration::from_hours(25));
    let owner = world.login(&acme.owner.email, &acme.owner.password).await;
    let asked = world.get(format!("{TENANTS}/slug-availability?slug=gone")).token(&owner.token).send().await.expect(200).json();
    assert_eq!(asked["available"], true);
    create(&world, &owner, "gone").await.expect(201);
    assert_eq!(show(&world, &owner, "gone").await["slug"], "gone");
}

#[tokio::test]
async fn who_has_no_tenant_left_makes_a_new_one_and_is_at_home_there() {
    let world = World::strict().await;
    let acme = world.tenant("acme").await;
    world.delete(format!("{TENANTS}/{}", acme.slug)).token(&acme.owner.token).send().await.expect(200);
    let homeless = world.login(&acme.owner.email, &acme.owner.password).await;
    assert_eq!(world.get(TENANTS).token(&homeless.token).send().await.expect(200).json(), json!({"total": 0, "tenants": []}));
    create(&world, &homeless, "new-home").await.expect(201);
    let back = world.login(&acme.owner.email, &acme.owner.password).await;
    world.get("/api/v1/projects").token(&back.token).send().await.expect(200);
    let home = world.items().into_iter().find(|item| item["type"]["S"] == "tenant" && item["slug"]["S"] == "new-home").expect("the tenant");
    assert_eq!(claims_of(&back.token)["tid"], home["id"]["S"]);
}

// ---------------------------------------------------------------- the API proxy

#[tokio::test]
async fn the_api_proxy_is_saved_and_comes_back() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let path = format!("{TENANTS}/{}/api-config", acme.slug);
    let put = async |body: Value| world.put(&path).token(&acme.owner.token).json(body).send().await;
    assert!(put(json!({"apiAuthMode": "bearer"})).await.expect(400).details()["apiOrigin"].is_array());
    let saved = put(json!({"apiOrigin": "https://api.acme.example/", "apiAuthMode": "bearer"})).await.expect(200);
    assert_eq!(
        saved.json(),
        json!({"apiOrigin": "https://api.acme.example", "apiAuthMode": "bearer", "apiTokenHeader": "Authorization", "apiCacheTTL": 60,
            "previewBypassParam": "preview", "transformApiUrls": true, "hasApiToken": false, "apiTokenUpdatedAt": null})
    );
    let etag = saved.header("etag").to_owned();
    let all = json!({"apiAuthMode": "token", "apiTokenHeader": "X-Auth", "apiCacheTTL": 10, "previewBypassParam": null, "transformApiUrls": false});
    let changed = put(all).await.expect(200).json();
    assert_eq!(
        (&changed["apiOrigin"], &changed["apiCacheTTL"], &changed["previewBypassParam"]),
        (&json!("https://api.acme.example"), &json!(10), &Value::Null)
    );
    world.put(&path).token(&acme.owner.token).header("if-match", &etag).json(json!({"apiCacheTTL": 20})).send().await.expect(412);
    for (body, field) in [
        (json!({"apiOrigin": "http://api.acme.example"}), "apiOrigin"),
        (json!({"apiOrigin": "https://u:p@api.acme.example"}), "apiOrigin"),
        (json!({"apiOrigin": "https://api.acme.example?x"}), "apiOrigin"),
        (json!({"apiOrigin": "https://169.254.169.254"}), "apiOrigin"),
        (json!({"apiOrigin": "https://x.edge.example.com"}), "apiOrigin"),
        (json!({"apiCacheTTL": 9}), "apiCacheTTL"),
        (json!({"apiCacheTTL": 3601}), "apiCacheTTL"),
        (json!({"apiAuthMode": "ntlm"}), "apiAuthMode"),
        (json!({"apiTokenHeader": "A B"}), "apiTokenHeader"),
        (json!({"token": "secret"}), "token"),
        (json!({"cms": "prismic"}), "cms"),
    ] {
        let answer = put(body.clone()).await.expect(400);
        assert!(answer.details()[field].is_array(), "{body}: {}", answer.text);
        assert!(!answer.text.contains("secret"));
    }
    let off = put(json!({"apiOrigin": null})).await.expect(200).json();
    assert_eq!(off["apiOrigin"], Value::Null);
}

#[tokio::test]
async fn a_token_is_written_and_never_read() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    create(&world, &acme.owner, "sealed").await.expect(201);
    let path = format!("{TENANTS}/sealed/api-token");
    let put = async |body: Value| world.put(&path).token(&acme.owner.token).json(body).send().await;
    for missing in [json!({}), json!({"token": null}), json!({"token": ""}), json!({"token": "  \n "})] {
        assert_eq!(put(missing.clone()).await.expect(400).code(), "TOKEN_MISSING", "{missing}");
    }
    for wrong in
        [json!("x".repeat(5000)), json!("x".repeat(4097)), json!("a\r\nX-Injected: 1"), json!("ä"), json!(7), json!(["t"]), json!({"a": 1})]
    {
        let answer = put(json!({"token": wrong})).await.expect(400);
        assert_eq!((answer.code().as_str(), answer.details()["token"].is_array()), ("VALIDATION_ERROR", true), "{wrong}");
    }
    assert_eq!(put(json!({"token": "t", "apiOrigin": "https://o.example"})).await.expect(400).code(), "VALIDATION_ERROR");
    let secret = "s3cret Value-of-the-token";
    let saved = put(json!({"token": format!("  {secret}\n")})).await.expect(200);
    let updated = saved.json()["updatedAt"].clone();
    assert_eq!(saved.json(), json!({"ok": true, "updatedAt": updated}));
    assert!(saved.metered.expect("metered").round_trips <= 3);
    let shown = world.get(format!("{TENANTS}/sealed")).token(&acme.owner.token).send().await.expect(200);
    assert_eq!((&shown.json()["value"]["hasApiToken"], &shown.json()["value"]["apiTokenUpdatedAt"]), (&json!(true), &updated));
    let config = world
        .put(format!("{TENANTS}/sealed/api-config"))
        .token(&acme.owner.token)
        .json(json!({"apiOrigin": "https://o.example"}))
        .send()
        .await;
    let sealed = sealed_token(&world);
    assert!(sealed.starts_with("1."), "{sealed}");
    for text in [&shown.text, &config.text, &json!(world.items()).to_string()] {
        assert!(!text.contains(secret) && !text.contains("s3cret"), "the token shows");
    }
    assert!(!shown.text.contains(&sealed) && !config.text.contains(&sealed), "the sealed token shows");
    // The same token again changes nothing. After another one it is stored in another form. The largest one fits.
    assert_eq!(put(json!({"token": secret})).await.expect(200).json()["updatedAt"], updated);
    assert_eq!(sealed_token(&world), sealed);
    put(json!({"token": "x".repeat(4096)})).await.expect(200);
    put(json!({"token": secret})).await.expect(200);
    assert_ne!(sealed_token(&world), sealed);
}

#[tokio::test]
async fn tokens_move_to_the_newest_version_of_the_vault_secret() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let path = format!("{TENANTS}/{}", acme.slug);
    let command = json!({"command": "reencrypt-tokens", "tenant": acme.slug});
    let none = operate(&world, command.clone()).await.expect("done");
    assert_eq!((&none["key_version"], &none["sealed"], &none["changed"]), (&json!(1), &json!(0), &json!(0)));
    world.put(format!("{path}/api-token")).token(&acme.owner.token).json(json!({"token": "kept"})).send().await.expect(200);
    let first = sealed_token(&world);
    assert_eq!(operate(&world, command.clone()).await.expect("done")["changed"], 0);
    let old = vault_secret(&world).await;
    let secrets = |versions: Value| set_vault_secret(&world, versions.to_string());
    secrets(json!({"1": old, "2": "n".repeat(64)})).await;
    let moved = operate(&world, command.clone()).await.expect("done");
    assert_eq!((&moved["key_version"], &moved["changed"]), (&json!(2), &json!(1)));
    let second = sealed_token(&world);
    assert!(second.starts_with("2.") && second != first, "{second}");
    assert_eq!(operate(&world, command.clone()).await.expect("done")["changed"], 0, "repeated, it changes nothing more");
    // The old version can be removed: a third one replaces the second.
    secrets(json!({"2": "n".repeat(64), "3": "o".repeat(64)})).await;
    assert_eq!(operate(&world, command.clone()).await.expect("done")["changed"], 1);
    // A token that was moved to another tenant's item opens for nobody.
    let other = world.tenant("globex").await;
    world
        .put(format!("{TENANTS}/{}/api-token", other.slug))
        .token(&other.owner.token)
        .json(json!({"token": "theirs"}))
        .send()
        .await
        .expect(200);
    let stolen = sealed_of(&world, &acme);
    world.change_item(&format!("T#{}#edge-config", other.id), "config", |item| item["api_token"]["M"]["sealed"] = json!({"S": stolen}));
    secrets(json!({"3": "o".repeat(64), "4": "p".repeat(64)})).await;
    let refused = operate(&world, json!({"command": "reencrypt-tokens", "tenant": other.slug})).await.expect_err("not theirs");
    assert!(refused.contains("version"), "{refused}");
    operate(&world, json!({"command": "reencrypt-tokens", "tenant": "no-such-tenant"})).await.expect_err("no such tenant");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn caches_are_refreshed_ten_times_a_minute() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    create(&world, &acme.owner, "cached").await.expect(201);
    let refresh = |body: Value| world.post(format!("{TENANTS}/cached/refresh-cache")).token(&acme.owner.token).json(body).send();
    for wrong in [json!({}), json!({"type": null}), json!({"type": "everything"}), json!({"type": 1}), json!({"type": "all", "x": 1})] {
        refresh(wrong).await.expect(400);
    }
    let first = refresh(json!({"type": "api"})).await.expect(200);
    assert_eq!(first.json(), json!({"ok": true, "versions": {"api": 2, "assets": 1}}));
    assert_eq!(refresh(json!({"type": "assets"})).await.expect(200).json()["versions"], json!({"api": 2, "assets": 2}));
    assert_eq!(refresh(json!({"type": "all"})).await.expect(200).json()["versions"], json!({"api": 3, "assets": 3}));
    let answers = race(24, |_| refresh(json!({"type": "all"}))).await;
    let done: Vec<u64> =
        answers.iter().filter(|answer| answer.status == 200).filter_map(|answer| answer.json()["versions"]["api"].as_u64()).collect();
    assert_eq!(done.iter().collect::<BTreeSet<_>>().len(), 7, "each answer names versions of its own: {done:?}");
    assert_eq!(counted(&answers), BTreeMap::from([(200, 7), (429, 17)]));
    let refused = refresh(json!({"type": "all"})).await.expect(429);
    assert_eq!((refused.code().as_str(), refused.details()["quota"].as_str()), ("TOO_MANY_REQUESTS", Some("refresh-cache")));
    assert_eq!(refused.header("retry-after"), "60");
    world.advance(SignedDuration::from_secs(61));
    assert_eq!(refresh(json!({"type": "all"})).await.expect(200).json()["versions"], json!({"api": 11, "assets": 11}));
}

// ---------------------------------------------------------------- attacks

#[tokio::test]
async fn a_directory_record_without_a_membership_shows_nothing() {
    let world = World::with(Settings { plans: json!({"free": {"tenants_owned": 2}}), ..Settings::default() }).await;
    let acme = world.tenant("acme").await;
    let victim = world.tenant("globex").await;
    set_plan(&world, &victim, "enterprise");
    let user = claims_of(&acme.owner.token)["sub"].as_str().expect("a subject").to_owned();
    let total = async |caller: &Caller| world.get(TENANTS).token(&caller.token).send().await;
    // A record that was inserted by an attacker, or left behind by a removal.
    let belongs = world.items().into_iter().find(|item| item["type"]["S"] == "belongs" && item["user"]["S"] == user.as_str()).expect("one");
    let mut stale = belongs.clone();
    stale["sk"] = json!({"S": format!("tenant#{}", victim.id)});
    stale["tenant"] = json!({"S": victim.id});
    put_item(&world, &stale);
    let listed = total(&acme.owner).await.expect(200);
    assert_eq!(listed.json()["total"], 1);
    assert!(!listed.text.contains(&victim.slug), "{}", listed.text);
    // It does not lend a plan either: the second tenant is the last.
    create(&world, &acme.owner, "second").await.expect(201);
    create(&world, &acme.owner, "third").await.expect(403);
    // A membership item of another person in the place of mine is not mine.
    let theirs = world.items_of(&victim).into_iter().find(|item| item["type"]["S"] == "member").expect("a member");
    let mut copied = theirs.clone();
    copied["sk"] = json!({"S": format!("user#{user}")});
    put_item(&world, &copied);
    assert_eq!(total(&acme.owner).await.expect(200).json()["total"], 2);
    // An item that names another tenant is our own mistake, and nothing is returned.
    copied["tenant"] = json!({"S": acme.id});
    put_item(&world, &copied);
    let broken = total(&acme.owner).await.expect(500);
    assert!(!broken.text.contains(&victim.slug));
}

#[tokio::test]
async fn a_removed_member_lists_the_tenant_no_more() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let member = world.member(&acme, "admin").await;
    assert_eq!(world.get(TENANTS).token(&member.token).send().await.expect(200).json()["tenants"][0]["role"], "admin");
    world.delete(format!("/api/v1/tenant/members/{}", member.id)).token(&acme.owner.token).send().await.expect(200);
    let again = world.login(&member.email, &member.password).await;
    assert_eq!(world.get(TENANTS).token(&again.token).send().await.expect(200).json()["total"], 0);
    // A suspended tenant is still shown.
    set_tenant(&world, &acme, "status", "suspended");
    assert_eq!(world.get(TENANTS).token(&acme.owner.token).send().await.expect(200).json()["total"], 1);
    world.get(format!("{TENANTS}/{}", acme.slug)).token(&acme.owner.token).send().await.expect(403);
}

#[tokio::test]
async fn many_tenants_are_listed_in_few_steps() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    for number in 0..30 {
        create(&world, &acme.owner, &format!("many-{number}")).await.expect(201);
    }
    let answer = world.get(TENANTS).token(&acme.owner.token).send().await.expect(200);
    assert_eq!(answer.json()["total"], 31);
    assert_eq!(answer.metered.expect("metered").round_trips, 3, "twenty-five at a time");
    let slugs: BTreeSet<String> =
        answer.json()["tenants"].as_array().expect("a list").iter().map(|item| item["slug"].to_string()).collect();
    assert_eq!(slugs.len(), 31);
}

// ---------------------------------------------------------------- helpers

async fn create(world: &World, caller: &Caller, slug: &str) -> Answer {
    world.post(TENANTS).token(&caller.token).json(json!({"slug": slug, "cms": "prismic", "repository": "r"})).send().await
}

async fn show(world: &World, caller: &Caller, slug: &str) -> Value {
    world.get(format!("{TENANTS}/{slug}")).token(&caller.token).send().await.expect(200).json()["value"].clone()
}

fn set_tenant(world: &World, tenant: &Tenant, attribute: &str, value: &str) {
    world.change_item(&format!("T#{}#tenant", tenant.id), "profile", |item| item[attribute] = json!({"S": value}));
}

fn set_plan(world: &World, tenant: &Tenant, plan: &str) {
    set_tenant(world, tenant, "plan", plan);
}

fn put_item(world: &World, item: &Value) {
    let request = json!({"TableName": world.table_name(), "Item": item});
    world.aws.database().put_item(serde_json::from_value(request).expect("a request")).expect("the item can be written");
}

/// The only token in the table, as it is stored.
fn sealed_token(world: &World) -> String {
    let item = world.items().into_iter().find(|item| item["api_token"]["M"]["sealed"]["S"].is_string()).expect("a token");
    item["api_token"]["M"]["sealed"]["S"].as_str().unwrap_or_default().to_owned()
}

fn sealed_of(world: &World, tenant: &Tenant) -> String {
    let item = world.items_of(tenant).into_iter().find(|item| item["type"]["S"] == "edge_config").expect("a configuration");
    item["api_token"]["M"]["sealed"]["S"].as_str().unwrap_or_default().to_owned()
}

/// A command in a new instance of the operator, which reads the present secret of the vault.
async fn operate(world: &World, command: Value) -> Result<Value, String> {
    let variables: HashMap<String, String> = world.environment("operator").clone().into_iter().collect();
    let config = Config::read(&Variables(variables.clone())).expect("the template configures the function");
    let clients = Clients::read(Variables(variables.clone())).expect("the environment names AWS");
    let app = App::new(config, Plans::seeded(), records::ALL, world.clock.clone(), Random::system(), &clients);
    app.fetch_secrets().await.map_err(|error| error.to_string())?;
    let operator = Operator::start(app, Variables(variables)).expect("the operator starts");
    operator.handle(command, "request").await.map_err(|error| error.to_string())
}

async fn vault_secret(world: &World) -> String {
    let id = &world.environment("operator")["VAULT_SECRET_ID"];
    let output = world.auth.secrets().client().get_secret_value().secret_id(id).send().await.expect("the vault's secret");
    output.secret_string.expect("a text")
}

async fn set_vault_secret(world: &World, text: String) {
    let id = &world.environment("operator")["VAULT_SECRET_ID"];
    world.auth.secrets().client().put_secret_value().secret_id(id).secret_string(text).send().await.expect("the secret can be written");
}

async fn race<F>(count: usize, request: impl Fn(usize) -> F) -> Vec<Answer>
where
    F: Future<Output = Answer> + Send + 'static,
{
    let mut running = tokio::task::JoinSet::new();
    for number in 0..count {
        let request = request(number);
        running.spawn(async move { (number, request.await) });
    }
    let mut answers = running.join_all().await;
    answers.sort_by_key(|(number, _)| *number);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

fn counted(answers: &[Answer]) -> BTreeMap<u16, usize> {
    answers.iter().fold(BTreeMap::new(), |mut counted, answer| {
        *counted.entry(answer.status).or_default() += 1;
        counted
    })
}

#[tokio::test]
async fn a_slug_is_the_same_in_either_letter_case_wherever_it_is_given() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let loud = acme.slug.to_uppercase();
    let quiet = world.get(format!("{TENANTS}/{}", acme.slug)).token(&acme.owner.token).send().await.expect(200).json();
    assert_eq!(world.get(format!("{TENANTS}/{loud}")).token(&acme.owner.token).send().await.expect(200).json(), quiet);
    world.get(format!("{TENANTS}/{loud}/domains")).token(&acme.owner.token).send().await.expect(200);
    let selected = world.get("/api/tenant").token(&acme.owner.token).header("x-tenant-id", &loud).send().await.expect(200);
    assert_eq!(selected.json()["slug"], acme.slug.as_str());
    let asked = world.get(format!("{TENANTS}/slug-availability?slug={loud}")).token(&acme.owner.token).send().await.expect(200).json();
    assert_eq!((&asked["slug"], &asked["reason"]), (&json!(acme.slug), &json!("taken")));
    let key = crate::insights::ingest_key(&world).await;
    world.get(format!("/api/usage/check?tenant={loud}")).header("x-ingest-key", &key).send().await.expect(200);
    let report = json!({"batch_id": "b", "tenant": loud, "bytes": 10});
    world.post("/api/usage/ingest").header("x-ingest-key", &key).json(report).send().await.expect(200);
    // Look-alikes do not match.
    for other in ["\u{212a}elvin", "acme\u{301}"] {
        let path = percent(other);
        world.get(format!("{TENANTS}/{path}")).token(&acme.owner.token).send().await.expect(404);
    }
}

#[tokio::test]
async fn a_slug_made_of_a_name_transliterates_it() {
    let world = World::new().await;
    for (number, (name, begins)) in
        [("Österreich", "osterreich-"), ("Łódź & Söhne", "lodz-sohne-"), ("Ελλάδα", "ellada-"), ("日本", "riben-")].into_iter().enumerate()
    {
        let acme = world.tenant(&format!("acme{number}")).await;
        world.delete("/api/tenant").token(&acme.owner.token).send().await.expect(200);
        let owner = world.login(&acme.owner.email, &acme.owner.password).await;
        let made = world.post("/api/tenant").token(&owner.token).json(json!({"name": name})).send().await.expect(201).json();
        assert!(made["slug"].as_str().is_some_and(|slug| slug.starts_with(begins)), "{made}");
        assert_eq!(made["name"], name);
    }
}

#[tokio::test]
async fn lists_of_this_family_go_on_by_cursors_and_take_no_other() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    for number in 0..2 {
        let body = json!({"slug": format!("second-{number}"), "cms": "prismic", "repository": "r"});
        world.post(TENANTS).token(&acme.owner.token).json(body).send().await.expect(201);
        world.advance(jiff::SignedDuration::from_secs(1));
    }
    let all = world.get(TENANTS).token(&acme.owner.token).send().await.expect(200);
    assert_eq!((&all.json()["total"], all.header("link")), (&json!(3), ""));
    let (mut path, mut walked) = (format!("{TENANTS}?limit=1"), vec![]);
    loop {
        let page = world.get(&path).token(&acme.owner.token).send().await.expect(200);
        assert_eq!(page.json()["total"], 3);
        walked.extend(page.json()["tenants"].as_array().expect("tenants").clone());
        match page.header("link").strip_prefix('<').and_then(|link| link.split_once(">; rel=\"next\"")) {
            Some((next, _)) => path = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(&walked, all.json()["tenants"].as_array().expect("tenants"));
    for list in [TENANTS.to_owned(), format!("{TENANTS}/{}/domains", acme.slug)] {
        for wrong in ["cursor=garbage", "limit=0", "limit=101", "page=1"] {
            world.get(format!("{list}?{wrong}")).token(&acme.owner.token).send().await.expect(400);
        }
    }
    let stranger = world.tenant("stranger").await;
    let first = world.get(format!("{TENANTS}?limit=1")).token(&acme.owner.token).send().await.expect(200);
    let foreign = first.header("link").trim_start_matches('<').split('>').next().expect("a link").to_owned();
    world.get(foreign).token(&stranger.owner.token).send().await.expect(400);
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// A token that is already stored, a configuration without a change, a replacement without a difference.
#[tokio::test]
async fn a_change_that_changes_nothing_keeps_version_and_etag() {
    let (world, workers) = crate::workers::workers().await;
    let acme = world.tenant("acme").await;
    let (token, slug) = (&acme.owner.token, &acme.slug);
    let project = world.project(&acme.owner, "Launch").await;
    let task = world.task(&acme.owner, &project, json!({"title": "A task", "due_date": null})).await;
    let member = world.member(&acme, "member").await;
    let config = json!({"cms": "prismic", "repository": "r", "cacheTTL": 600});
    world.put(format!("{TENANTS}/{slug}")).token(token).json(config.clone()).send().await.expect(200);
    let api = json!({"apiOrigin": "https://api.acme.example"});
    world.put(format!("{TENANTS}/{slug}/api-config")).token(token).json(api.clone()).send().await.expect(200);
    world.put(format!("{TENANTS}/{slug}/api-token")).token(token).json(json!({"token": "swordfish"})).send().await.expect(200);
    world.put("/api/tenant").token(token).json(json!({"name": "Acme", "logo": "https://acme.example/l.png"})).send().await.expect(202);
    let body = json!({"name": "smtp_password", "value": "swordfish"});
    let setting = world.post("/api/tenant-setting").token(token).json(body.clone()).send().await.expect(201).json();
    crate::workers::drain(&world, &workers).await;
    let before: Vec<Value> = versions(&world, &acme);
    let entries = || world.items_of(&acme).iter().filter(|item| item["type"]["S"] == "audit_entry").count();
    let audited = entries();
    world.advance(jiff::SignedDuration::from_secs(5));

    let project_path = format!("/api/v1/projects/{}", id(&project));
    let task_path = format!("/api/v1/tasks/{}", id(&task));
    let setting_path = format!("/api/tenant-setting/{}", id(&setting));
    let tags = async || {
        let mut tags = vec![];
        for path in [project_path.clone(), task_path.clone(), setting_path.clone(), format!("{TENANTS}/{slug}"), "/api/tenant".into()] {
            tags.push(world.get(path).token(token).send().await.expect(200).header("etag").to_owned());
        }
        tags
    };
    let first = tags().await;
    world.put(&project_path).token(token).json(json!({"name": "Launch", "settings": {}})).send().await.expect(200);
    world.put(&project_path).token(token).json(json!({})).send().await.expect(200);
    world.put(&task_path).token(token).json(json!({"title": "A task", "status": "todo", "assigned_to": null})).send().await.expect(200);
    world.put(format!("/api/v1/tenant/members/{}", member.id)).token(token).json(json!({"role": "member"})).send().await.expect(200);
    world.put(format!("{TENANTS}/{slug}")).token(token).json(config).send().await.expect(200);
    world.put(format!("{TENANTS}/{slug}/api-config")).token(token).json(api).send().await.expect(200);
    let kept = world.put(format!("{TENANTS}/{slug}/api-token")).token(token).json(json!({"token": "swordfish"})).send().await.expect(200);
    assert_ne!(kept.json()["updatedAt"], world.auth.clock().now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string());
    world.put("/api/tenant").token(token).json(json!({"name": "Acme", "logo": "https://ACME.example:443/l.png"})).send().await.expect(202);
    world.post("/api/tenant-setting").token(token).json(body).send().await.expect(201);
    world.post("/api/tenant-setting").token(token).json(json!({"smtp_password": "********fish\n"})).send().await.expect(201);
    assert_eq!(tags().await, first);
    assert_eq!(versions(&world, &acme), before);
    crate::workers::drain(&world, &workers).await;
    assert_eq!(entries(), audited);
}

/// Every record of a tenant that has a version.
fn versions(world: &World, tenant: &Tenant) -> Vec<Value> {
    world.items_of(tenant).into_iter().filter(|item| item["version"].is_object()).collect()
}
