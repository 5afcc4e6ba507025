//! The edge reports and asks, and tenants read their usage, analytics, bandwidth and logs. Sums equal what was reported in any order of the
//! stream, and the edge's key opens only its own door.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use courier::Courier;
use futures_util::future::join_all;
use janitor::Janitor;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use relay::Relay;
use serde_json::{Value, json};
use shared::Clock;
use shared::aws::Aws as Clients;
use shared::config::{Config, Variables};
use shared::crypto::Random;
use shared::runtime::App;
use shared::runtime::worker::Worker;
use stack::sources::{Duplicates, Faults, Invoke, InvokeError, Sources};

use crate::world::{Answer, Caller, Settings, Tenant, World};

// ---------------------------------------------------------------- what is reported is what is read

#[tokio::test]
async fn what_the_edge_reports_can_be_read_as_usage_analytics_bandwidth_and_logs() {
    let (world, key) = deployment().await;
    let acme = world.tenant("acme").await;
    let now = world.clock.now();
    let at = |seconds: i64| (now - SignedDuration::from_secs(seconds)).to_string();
    let entries = json!([
        {"timestamp": at(5), "method": "GET", "path": "/img/a.png?w=1", "kind": "asset", "status": 200, "cache": "HIT", "bytes": 1000, "durationMs": 3, "country": "DE"},
        {"timestamp": at(4), "method": "GET", "path": "/img/a.png", "kind": "asset", "status": 200, "cache": "MISS", "bytes": 1000, "durationMs": 80.4, "country": "DE"},
        {"timestamp": at(3), "method": "GET", "path": "/~api/posts", "kind": "api", "status": 200, "cache": "HIT", "bytes": 50, "durationMs": 2, "country": null},
        {"timestamp": at(2), "method": "GET", "path": "/~api/posts", "kind": "api", "status": 502, "cache": "ERROR", "bytes": 0, "durationMs": 900},
        {"timestamp": at(86_400), "method": "HEAD", "path": "/b.pdf", "kind": "asset", "status": 200, "cache": "BYPASS", "bytes": 7, "durationMs": 1, "country": "US"},
    ]);
    let taken = report(&world, &key, json!({"batch_id": "one", "tenant": acme.slug, "entries": entries})).await.expect(200);
    assert_eq!(taken.json(), json!({"ok": true, "accepted": 5}));
    drain(&world).await;

    let path = |rest: &str| format!("/api/tenants/{}/{rest}", acme.slug);
    let usage = read(&world, &acme.owner, path("usage")).await;
    let metered = usage.metered.unwrap();
    assert!(metered.round_trips <= 2, "{metered:?}");
    let month = month_of(now);
    assert_eq!(
        usage.json(),
        json!({
            "current": {"requests": 5, "bandwidthBytes": 2057, "apiRequests": 2, "assetRequests": 3},
            "previous": {"requests": 0, "bandwidthBytes": 0, "apiRequests": 0, "assetRequests": 0},
            "period": {"key": month, "start": format!("{month}-01T00:00:00.000Z"), "end": month_end(now)},
        })
    );
    let analytics = read(&world, &acme.owner, path("analytics?period=current")).await;
    assert!(analytics.metered.unwrap().round_trips <= 2, "{:?}", analytics.metered);
    assert_eq!(
        analytics.json(),
        json!({
            "period": {"key": month, "start": format!("{month}-01T00:00:00.000Z"), "end": month_end(now)},
            "requests": 5, "hits": 2, "misses": 1, "bypass": 1, "errors": 1,
            "hitRatio": 0.4, "originRequestsAvoided": 2, "bandwidthBytes": 2057, "estimatedSavings": null,
            "traffic": {"asset": 3, "api": 2, "apiHitRatio": 0.5},
            "topPaths": [{"path": "/img/a.png", "requests": 2}, {"path": "/~api/posts", "requests": 2}, {"path": "/b.pdf", "requests": 1}],
        })
    );
    let daily = read(&world, &acme.owner, path("bandwidth-daily")).await;
    assert!(daily.metered.unwrap().round_trips <= 2, "{:?}", daily.metered);
    let daily = daily.json();
    let points = daily["points"].as_array().unwrap();
    assert_eq!(points.len(), 30);
    assert_eq!(points[29], json!({"date": day_of(now), "bytes": 2050, "requests": 4}));
    assert_eq!(points[28], json!({"date": day_of(now - SignedDuration::from_hours(24)), "bytes": 7, "requests": 1}));
    assert_eq!(points[27]["bytes"], 0);
    assert_eq!((&daily["from"], &daily["to"]), (&points[0]["date"], &points[29]["date"]));

    let logs = read(&world, &acme.owner, path("logs")).await;
    assert!(logs.metered.unwrap().round_trips <= 2, "{:?}", logs.metered);
    let logs = logs.json();
    assert_eq!(logs["nextCursor"], Value::Null);
    assert_eq!(paths(&logs), ["/~api/posts", "/~api/posts", "/img/a.png", "/img/a.png", "/b.pdf"]);
    let mut first = logs["logs"][1].clone();
    assert!(first["id"].as_str().is_some_and(|id| id.len() > 10));
    first["id"] = json!("");
    assert_eq!(
        first,
        json!({"id": "", "timestamp": milliseconds(now - SignedDuration::from_secs(3)), "method": "GET", "path": "/~api/posts", "kind": "api",
            "status": 200, "cache": "HIT", "bytes": 50, "durationMs": 2, "country": null})
    );

    let everywhere = read(&world, &acme.owner, "/api/tenants/usage".into()).await;
    assert!(everywhere.metered.unwrap().round_trips <= 2, "{:?}", everywhere.metered);
    let everywhere = everywhere.json();
    assert_eq!(everywhere["totals"], json!({"requests": 5, "bandwidthBytes": 2057, "apiRequests": 2, "assetRequests": 3}));
    assert_eq!(everywhere["limits"], json!({"requests": 500_000, "bandwidthBytes": 5_000_000_000_u64}));
    assert_eq!(everywhere["tenants"], json!([{"slug": acme.slug, "requests": 5, "bandwidthBytes": 2057}]));
    assert_eq!(everywhere["period"]["key"], month.as_str());

    let checked = check(&world, &key, &acme.slug).await.expect(200).json();
    assert_eq!(
        checked,
        json!({"allowed": true, "reason": null, "requests": 5, "bandwidthBytes": 2057, "limits": {"requests": 500_000, "bandwidthBytes": 5_000_000_000_u64}})
    );
}

#[tokio::test]
async fn the_simple_form_takes_one_request_and_its_usual_values() {
    let (world, key) = deployment().await;
    let acme = world.tenant("acme").await;
    for _ in 0..2 {
        report(&world, &key, json!({"tenant": acme.slug, "bytes": 10})).await.expect(200);
    }
    world.advance(SignedDuration::from_secs(1));
    let body = json!({"tenant": acme.slug, "bytes": 5, "batch_id": "b", "path": "/~api/x", "kind": "api", "cache": "HIT", "status": 304});
    report(&world, &key, body.clone()).await.expect(200);
    // The time of arrival is part of the record, so a later repeat is still the same request.
    world.advance(SignedDuration::from_secs(40));
    assert_eq!(report(&world, &key, body).await.expect(200).json(), json!({"ok": true, "accepted": 1}));
    let logs = read(&world, &acme.owner, format!("/api/tenants/{}/logs", acme.slug)).await.json();
    assert_eq!(logs["logs"].as_array().unwrap().len(), 3);
    assert_eq!((&logs["logs"][0]["method"], &logs["logs"][1]["cache"]), (&json!("GET"), &json!("BYPASS")));
    drain(&world).await;
    let usage = read(&world, &acme.owner, format!("/api/tenants/{}/usage", acme.slug)).await.json();
    assert_eq!((&usage["current"]["requests"], &usage["current"]["bandwidthBytes"]), (&json!(3), &json!(25)));
    for (field, wrong) in
        [("bytes", json!(-1)), ("bytes", json!("x")), ("cache", json!("WARM")), ("entries", json!([])), ("extra", json!(1))]
    {
        let mut body = json!({"tenant": acme.slug, "bytes": 10});
        body[field] = wrong;
        let answer = report(&world, &key, body).await.expect(400);
        assert!(answer.details()[field].is_array(), "{field}: {}", answer.text);
    }
}

// ---------------------------------------------------------------- batches

#[tokio::test]
async fn a_thousand_events_take_few_calls_and_units() {
    let (world, key) = deployment().await;
    let acme = world.tenant("acme").await;
    let now = world.clock.now();
    let mut dice = Dice(7);
    for (name, step, random) in [
        ("at once", 0, false),
        ("seconds apart", 1000, false),
        ("seconds apart, paths at random", 1000, true),
        ("over thirty days", 2_500_000, false),
        ("over thirty days, paths at random", 2_500_000, true),
    ] {
        let entries: Vec<Value> = (0..1000)
            .map(|n| {
                let mut entry = entry(now - SignedDuration::from_millis(n * step + 1), &mut dice);
                if random {
                    entry["path"] = json!(format!("/{:016x}{:016x}", dice.next(), dice.next()));
                }
                entry
            })
            .collect();
        let answer = report(&world, &key, json!({"batch_id": name, "tenant": acme.slug, "entries": entries})).await.expect(200);
        let metered = answer.metered.unwrap();
        println!("1,000 events {name}: {metered:?}");
        assert!(metered.calls <= 12 && metered.write_units <= 60.0, "{name}: {metered:?}");
    }
    drain(&world).await;
    let totals = rollups(&world, &acme, "month#");
    assert_eq!(totals["requests"], 5000);
}

#[tokio::test]
async fn a_batch_counts_once_whatever_repeats_and_races() {
    let (world, key) = deployment().await;
    let acme = world.tenant("acme").await;
    let globex = world.tenant("globex").await;
    let mut dice = Dice(3);
    let now = world.clock.now();
    let entries: Vec<Value> = (0..500).map(|n| entry(now - SignedDuration::from_secs(n), &mut dice)).collect();
    let body = |tenant: &Tenant, id: &str| json!({"batch_id": id, "tenant": tenant.slug, "entries": entries});
    let other = world.another_instance().await;
    let racing = (0..8).map(|n| report(if n % 2 == 0 { &world } else { &other }, &key, body(&acme, "same")));
    for answer in join_all(racing).await {
        assert_eq!(answer.expect(200).json()["accepted"], 500);
    }
    report(&world, &key, body(&acme, "same")).await.expect(200);
    // The id belongs to the tenant: the same id from another tenant is another batch.
    report(&world, &key, body(&globex, "same")).await.expect(200);
    let before = items(&world, &acme, "edge_pack");
    assert_eq!(before.len(), 3);
    let changed = json!({"batch_id": "same", "tenant": acme.slug, "entries": entries[..499]});
    let answer = report(&world, &key, changed).await.expect(422);
    assert_eq!(answer.code(), "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(items(&world, &acme, "edge_pack"), before);
    drain(&world).await;
    assert_eq!(rollups(&world, &acme, "month#")["requests"], 500);
    assert_eq!(rollups(&world, &globex, "month#")["requests"], 500);
    // After all its entries have expired, a repeat is refused and not counted.
    world.advance(SignedDuration::from_hours(24 * 30));
    report(&world, &key, body(&acme, "same")).await.expect(400);
}

#[tokio::test]
async fn what_a_death_left_half_written_a_repeat_completes() {
    let (world, key) = deployment().await;
    let acme = world.tenant("acme").await;
    let mut dice = Dice(5);
    let now = world.clock.now();
    let entries: Vec<Value> = (0..600).map(|n| entry(now - SignedDuration::from_secs(n), &mut dice)).collect();
    let body = json!({"batch_id": "cut", "tenant": acme.slug, "entries": entries});
    report(&world, &key, body.clone()).await.expect(200);
    drain(&world).await;
    // As if only the record of the batch and one pack had been written.
    let packs = items(&world, &acme, "edge_pack");
    for pack in &packs[1..] {
        world.remove_item(pack);
        let mark = items(&world, &acme, "edge_counted").into_iter().find(|mark| mark["pack"] == pack["id"]).unwrap();
        world.remove_item(&mark);
    }
    report(&world, &key, body).await.expect(200);
    assert_eq!(items(&world, &acme, "edge_pack").len(), packs.len());
}

#[tokio::test]
async fn wrong_entries_are_named_by_their_index_and_nothing_is_written() {
    let (world, key) = deployment().await;
    let acme = world.tenant("acme").await;
    let now = world.clock.now();
    let mut dice = Dice(1);
    let good = entry(now, &mut dice);
    let before = world.items();
    let send = |entries: Value| report(&world, &key, json!({"batch_id": "b", "tenant": acme.slug, "entries": entries}));
    for (field, wrong) in [
        ("timestamp", json!((now + SignedDuration::from_mins(5)).to_string())),
        ("timestamp", json!((now - SignedDuration::from_hours(24 * 30)).to_string())),
        ("timestamp", json!("yesterday")),
        ("timestamp", Value::Null),
        ("bytes", json!(-1)),
        ("bytes", json!(1.5)),
        ("bytes", json!(u64::MAX)),
        ("kind", json!("image")),
        ("cache", json!("hit")),
        ("status", json!(99)),
        ("method", json!("GET /")),
        ("path", json!("no-slash")),
        ("path", json!(format!("/{}", "x".repeat(2048)))),
        ("durationMs", json!(-3)),
        ("country", json!("DEU")),
        ("tenant", json!("globex")),
    ] {
        let mut bad = good.clone();
        bad[field] = wrong.clone();
        let answer = send(json!([good, good, bad])).await.expect(400);
        assert_eq!(answer.code(), "VALIDATION_ERROR");
        assert!(answer.details()[format!("entries.2.{field}")].is_array(), "{field} {wrong}: {}", answer.text);
    }
    for wrong in [json!([]), json!({}), json!("x"), json!(null), json!([1]), Value::Array(vec![good.clone(); 1001])] {
        send(wrong.clone()).await.expect(400);
    }
    // The answer to a thousand wrong entries contains some errors, not a megabyte.
    let answer = send(Value::Array(vec![json!({}); 1000])).await.expect(400);
    assert!(answer.text.len() < 40_000, "{}", answer.text.len());
    for body in [
        json!({}),
        json!({"tenant": acme.slug, "entries": [good]}),
        json!({"batch_id": "", "tenant": acme.slug, "entries": [good]}),
        json!({"batch_id": "x".repeat(256), "tenant": acme.slug, "entries": [good]}),
        json!({"batch_id": 1, "tenant": acme.slug, "entries": [good]}),
        json!({"batch_id": "b", "entries": [good]}),
        json!({"batch_id": "b", "tenant": acme.slug, "entries": [good], "tenants": ["globex"]}),
        json!({"batch_id": "b", "tenant": [acme.slug, "globex"], "entries": [good]}),
    ] {
        report(&world, &key, body).await.expect(400);
    }
    let large = vec![json!({"path": format!("/{}", "x".repeat(300))}); 1000];
    report(&world, &key, json!({"batch_id": "b", "tenant": acme.slug, "entries": large})).await.expect(413);
    world.post("/api/usage/ingest").header("x-ingest-key", &key).raw(b"{").send().await.expect(400);
    assert_eq!(world.items(), before);
}

// ---------------------------------------------------------------- the edge's door

#[tokio::test]
async fn only_the_key_opens_the_edges_door_and_it_opens_no_other() {
    let (world, key) = deployment().await;
    let acme = world.tenant("acme").await;
    let mut dice = Dice(1);
    let body = json!({"batch_id": "b", "tenant": acme.slug, "entries": [entry(world.clock.now(), &mut dice)]});
    let before = world.items();
    let asked = format!("/api/usage/check?tenant={}", acme.slug);
    let missing = world.post("/api/usage/ingest").json(body.clone()).send().await.expect(401);
    assert_eq!((missing.code().as_str(), missing.metered.unwrap().calls), ("UNAUTHORIZED", 0));
    let mut other_case = key.clone();
    other_case.make_ascii_uppercase();
    for wrong in [
        "",
        " ",
        "x",
        &key[1..],
        &key[..key.len() - 1],
        &format!("{key}x"),
        &format!("{key} {key}"),
        &"x".repeat(10_000),
        &other_case,
        &acme.owner.token,
    ] {
        if wrong == key {
            continue;
        }
        let ingest = world.post("/api/usage/ingest").header("x-ingest-key", wrong).json(body.clone()).send().await;
        assert_eq!(ingest.fingerprint(), missing.fingerprint(), "{wrong}");
        world.get(&asked).header("x-ingest-key", wrong).send().await.expect(401);
    }
    // A session of any role is not the edge, and the edge's key is not a person's.
    for request in [world.post("/api/usage/ingest").json(body.clone()), world.get(&asked)] {
        request.token(&acme.owner.token).header("x-tenant-id", &acme.id).send().await.expect(401);
    }
    world.post("/api/usage/ingest").header("x-ingest-key", &key).header("x-ingest-key", &key).json(body.clone()).send().await.expect(400);
    for path in ["usage", "analytics", "bandwidth-daily", "logs"] {
        let path = format!("/api/tenants/{}/{path}", acme.slug);
        world.get(&path).header("x-ingest-key", &key).send().await.expect(401);
        world.get(&path).token(&key).send().await.expect(401);
    }
    world.get("/api/tenants/usage").header("x-ingest-key", &key).send().await.expect(401);
    world.get("/api/v1/projects").header("x-ingest-key", &key).header("x-tenant-id", &acme.id).send().await.expect(401);
    assert_eq!(without_limits(world.items()), without_limits(before));

    // A new key works soon, and the old one no longer.
    let insights = app(&world, "insights");
    let id = &world.environment("insights")["INGEST_SECRET_ID"];
    // A key with a comma is not treated as two.
    let fresh = "a new key of the edge, long enough";
    insights.secrets().client().put_secret_value().secret_id(id).secret_string(fresh).send().await.unwrap();
    world.advance(SignedDuration::from_secs(11));
    report(&world, fresh, body.clone()).await.expect(200);
    report(&world, &key, body).await.expect(401);
}

#[tokio::test]
async fn a_batch_reaches_the_tenant_of_its_slug_and_no_other() {
    let (world, key) = deployment().await;
    let (acme, globex) = (world.tenant("acme").await, world.tenant("globex").await);
    let mut dice = Dice(1);
    let entries = json!([entry(world.clock.now(), &mut dice)]);
    let send = |tenant: &str| report(&world, &key, json!({"batch_id": "b", "tenant": tenant, "entries": entries}));
    let before = world.items();
    let unknown = send("no-such-tenant").await.expect(404);
    for wrong in ["no such", "ACME", &acme.id, &format!("{}#x", acme.slug), "..", "usage", &format!("T#{}", acme.id)] {
        let answer = send(wrong).await;
        assert_eq!(answer.fingerprint(), unknown.fingerprint(), "{wrong}");
        check(&world, &key, &wrong.replace('#', "%23").replace(' ', "%20")).await.expect(404);
    }
    assert_eq!(world.items(), before);
    drain(&world).await;
    let theirs = world.items_of(&globex);
    send(&acme.slug).await.expect(200);
    drain(&world).await;
    assert_eq!(world.items_of(&globex), theirs);
    world.get("/api/usage/check").header("x-ingest-key", &key).send().await.expect(400);
    world.get(format!("/api/usage/check?tenant={}&all=true", acme.slug)).header("x-ingest-key", &key).send().await.expect(400);

    // Requests from before a suspension still count. A tenant that is being deleted accepts nothing.
    let profile = format!("T#{}#tenant", acme.id);
    for (status, taken, reason) in [("suspended", 200, "suspended"), ("deleting", 404, "deleted"), ("closed", 404, "deleted")] {
        world.change_item(&profile, "profile", |item| item["status"] = json!({"S": status}));
        let before = world.items_of(&acme);
        send(&acme.slug).await.expect(taken);
        assert_eq!(world.items_of(&acme), before, "the batch is known, or refused");
        let checked = check(&world, &key, &acme.slug).await.expect(200).json();
        assert_eq!((&checked["allowed"], &checked["reason"]), (&json!(false), &json!(reason)));
    }
    // An item of another tenant, or a claim that leads to a tenant with another name, opens nothing.
    world.change_item(&profile, "profile", |item| {
        item["status"] = json!({"S": "active"});
        item["slug"] = json!({"S": "renamed"});
    });
    send(&acme.slug).await.expect(404);
    world.change_item(&profile, "profile", |item| item["tenant"] = json!({"S": globex.id}));
    let before = world.items_of(&acme);
    send(&acme.slug).await.expect(500);
    assert_eq!(world.items_of(&acme), before);
}

#[tokio::test]
async fn insights_are_for_members_and_for_keys_with_the_scope() {
    let (world, key) = deployment().await;
    let (acme, globex) = (world.tenant("acme").await, world.tenant("globex").await);
    let mut dice = Dice(9);
    let entries: Vec<Value> = (0..10).map(|_| entry(world.clock.now(), &mut dice)).collect();
    report(&world, &key, json!({"batch_id": "b", "tenant": acme.slug, "entries": entries})).await.expect(200);
    drain(&world).await;
    let viewer = world.member(&acme, "viewer").await;
    for path in ["usage", "analytics", "bandwidth-daily", "logs", "logs?limit=3", "usage?period=2026-13", "logs?cache=x"] {
        let path = |slug: &str| format!("/api/tenants/{slug}/{path}");
        let missing = world.get(path("no-such-tenant")).token(&globex.owner.token).send().await.expect(404);
        let foreign = world.get(path(&acme.slug)).token(&globex.owner.token).send().await.expect(404);
        assert_eq!(foreign.fingerprint(), missing.fingerprint());
        world.get(path(&acme.slug)).send().await.expect(401);
        let seen = world.get(path(&acme.slug)).token(&viewer.token).send().await;
        assert!(matches!(seen.status, 200 | 400), "{}", seen.text);
    }
    // A cursor belongs to the tenant.
    let logs = |caller: &Caller, slug: &str, query: String| world.get(format!("/api/tenants/{slug}/logs?{query}")).token(&caller.token);
    let first = logs(&acme.owner, &acme.slug, "limit=3".into()).send().await.expect(200).json();
    let cursor = first["nextCursor"].as_str().unwrap();
    logs(&acme.owner, &acme.slug, format!("limit=9&cursor={cursor}")).send().await.expect(200);
    for wrong in [format!("cursor={cursor}&cache=HIT"), format!("cursor={cursor}A"), "cursor=x".into()] {
        logs(&acme.owner, &acme.slug, wrong).send().await.expect(400);
    }
    logs(&globex.owner, &globex.slug, format!("cursor={cursor}")).send().await.expect(400);
    // A person who has left sees the totals of their remaining tenants.
    let totals = read(&world, &viewer, "/api/tenants/usage".into()).await.json();
    assert_eq!((&totals["totals"]["requests"], &totals["limits"]["requests"]), (&json!(10), &json!(500_000)));
    world.delete(format!("/api/v1/tenant/members/{}", viewer.id)).token(&acme.owner.token).send().await.expect(200);
    let viewer = world.login(&viewer.email, &viewer.password).await;
    let totals = read(&world, &viewer, "/api/tenants/usage".into()).await.json();
    assert_eq!((&totals["totals"]["requests"], &totals["tenants"]), (&json!(0), &json!([])));
}

#[tokio::test]
async fn a_membership_list_alone_shows_no_tenants_usage() {
    let (world, key) = deployment().await;
    let (acme, globex) = (world.tenant("acme").await, world.tenant("globex").await);
    let mut dice = Dice(2);
    for tenant in [&acme, &globex] {
        let entries = json!([entry(world.clock.now(), &mut dice)]);
        report(&world, &key, json!({"batch_id": "b", "tenant": tenant.slug, "entries": entries})).await.expect(200);
    }
    drain(&world).await;
    // The result of an error in the directory: the directory says so, but there is no membership.
    let line = world.items().into_iter().find(|item| item["type"]["S"] == "belongs" && item["tenant"]["S"] == globex.id.as_str()).unwrap();
    let owner = crate::world::claims_of(&acme.owner.token)["sub"].as_str().unwrap().to_owned();
    let mut forged = line.clone();
    forged["pk"] = json!({"S": format!("G#user#{owner}")});
    forged["user"] = json!({"S": owner});
    world.aws.database().put_item(serde_json::from_value(json!({"TableName": world.table_name(), "Item": forged})).unwrap()).unwrap();
    let usage = read(&world, &acme.owner, "/api/tenants/usage".into()).await.json();
    assert_eq!(usage["tenants"].as_array().unwrap().len(), 1);
    assert_eq!(usage["totals"]["requests"], 1);
    // A tenant that is being deleted is not included.
    world.change_item(&format!("T#{}#tenant", globex.id), "profile", |item| item["status"] = json!({"S": "deleting"}));
    let answer = world.get("/api/tenants/usage").token(&globex.owner.token).send().await.expect(200);
    assert_eq!(answer.json()["tenants"], json!([]));
}

// ---------------------------------------------------------------- sums

#[tokio::test]
async fn sums_equal_the_events_after_duplicated_and_reordered_deliveries() {
    for (seed, duplicates) in [(1, Duplicates::Again), (2, Duplicates::AtOnce), (3, Duplicates::AtOnce)] {
        let (world, key) = deployment().await;
        let (acme, globex) = (world.tenant("acme").await, world.tenant("globex").await);
        let mut dice = Dice(seed);
        let mut raw: Vec<(String, Value)> = vec![];
        for batch in 0..12 {
            let tenant = if batch % 3 == 0 { &globex } else { &acme };
            let spread = [1, 60_000, 86_400_000 * 29][batch % 3];
            let entries: Vec<Value> = (0..(1 + dice.below(60)))
                .map(|_| entry(world.clock.now() - SignedDuration::from_millis(i64::try_from(dice.below(spread)).unwrap()), &mut dice))
                .collect();
            raw.extend(entries.iter().map(|entry| (tenant.id.clone(), entry.clone())));
            report(&world, &key, json!({"batch_id": batch.to_string(), "tenant": tenant.slug, "entries": entries})).await.expect(200);
        }
        deliver(&world, Faults { seed, duplicates, reorder: true, ..Faults::default() }).await;
        for tenant in [&acme, &globex] {
            let mine: Vec<&Value> = raw.iter().filter(|(id, _)| *id == tenant.id).map(|(_, entry)| entry).collect();
            let expected = sums(mine.iter().copied());
            for spans in ["day#", "month#"] {
                assert_eq!(rollups(&world, tenant, spans), expected, "{seed} {spans}");
            }
            let days: BTreeSet<&str> = mine.iter().map(|entry| &entry["timestamp"].as_str().unwrap()[..10]).collect();
            assert_eq!(items(&world, tenant, "edge_usage").iter().filter(|item| text(item, "sk").starts_with("day#")).count(), days.len());
            // And what the API says about both months.
            let usage = read(&world, &tenant.owner, format!("/api/tenants/{}/usage", tenant.slug)).await.json();
            let both = usage["current"]["requests"].as_u64().unwrap() + usage["previous"]["requests"].as_u64().unwrap();
            assert_eq!(both, mine.len() as u64);
            let previous = read(&world, &tenant.owner, format!("/api/tenants/{}/usage?period=previous", tenant.slug)).await.json();
            assert_eq!(previous["current"], usage["previous"]);
            assert_eq!(previous["period"]["end"], usage["period"]["start"]);
        }
    }
}

#[tokio::test]
async fn a_quota_is_told_once_for_every_step_and_stops_the_edge() {
    let settings =
        Settings { plans: json!({"free": {"edge_requests_per_month": 100, "edge_bytes_per_month": null}}), ..Settings::default() };
    let (world, key) = deployed(settings).await;
    let acme = world.tenant("acme").await;
    drain(&world).await;
    let mut dice = Dice(4);
    let mut told = vec![];
    for batch in 0..6 {
        let entries: Vec<Value> = (0..18).map(|_| entry(world.clock.now(), &mut dice)).collect();
        report(&world, &key, json!({"batch_id": batch.to_string(), "tenant": acme.slug, "entries": entries})).await.expect(200);
        deliver(&world, Faults { seed: batch, duplicates: Duplicates::AtOnce, reorder: true, ..Faults::default() }).await;
        let events = items(&world, &acme, "quota_event");
        told.push(events.iter().map(|event| event["percent"]["N"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" "));
    }
    assert_eq!(told, ["", "", "50", "50", "50 80", "50 80 100"]);
    let mails = world.aws.mailbox().mails_to(&acme.owner.email).unwrap();
    let mails: Vec<&str> = mails.iter().map(|kept| kept.mail.subject.as_str()).filter(|subject| subject.contains("edge")).collect();
    assert_eq!(mails, [50, 80, 100].map(|percent| format!("{percent} % of this month's edge requests are used")));
    let checked = check(&world, &key, &acme.slug).await.expect(200).json();
    assert_eq!((&checked["allowed"], &checked["reason"], &checked["requests"]), (&json!(false), &json!("requests_exceeded"), &json!(108)));
    // Another plan bills requests above the quota.
    world.change_item(&format!("T#{}#tenant", acme.id), "profile", |item| item["plan"] = json!({"S": "pro"}));
    assert_eq!(check(&world, &key, &acme.slug).await.json()["allowed"], true);
}

#[tokio::test]
async fn savings_are_estimated_for_a_cms_with_a_known_price() {
    let (world, key) = deployment().await;
    let acme = world.tenant("acme").await;
    let mut dice = Dice(1);
    let mut hit = entry(world.clock.now(), &mut dice);
    hit["cache"] = json!("HIT");
    hit["bytes"] = json!(20_000_000_000_u64);
    report(&world, &key, json!({"batch_id": "b", "tenant": acme.slug, "entries": [hit]})).await.expect(200);
    drain(&world).await;
    let configured = json!({"cms": "prismic", "repository": "sample"});
    world.put(format!("/api/tenants/{}", acme.slug)).token(&acme.owner.token).json(configured).send().await.expect(200);
    for (cms, savings) in [("sanity", json!(6.0)), ("generic", Value::Null)] {
        world.change_item(&format!("T#{}#edge-config", acme.id), "config", |item| item["cms"] = json!({"S": cms}));
        let analytics = read(&world, &acme.owner, format!("/api/tenants/{}/analytics", acme.slug)).await.json();
        assert_eq!(analytics["estimatedSavings"], savings, "{cms}");
    }
}

// ---------------------------------------------------------------- periods and ranges

#[tokio::test]
async fn wrong_periods_and_ranges_have_their_codes() {
    let (world, _) = deployment().await;
    let acme = world.tenant("acme").await;
    let next = month_of(world.clock.now() + SignedDuration::from_hours(24 * 20));
    for path in
        [format!("/api/tenants/{}/usage", acme.slug), format!("/api/tenants/{}/analytics", acme.slug), "/api/tenants/usage".to_owned()]
    {
        for wrong in ["2026-13", "2026-00", "2026-1", "202611", "last", "CURRENT", "2026-11-01", "9999-12", "%00", &next] {
            let answer = world.get(format!("{path}?period={wrong}")).token(&acme.owner.token).send().await.expect(400);
            assert!(answer.code() == "INVALID_PERIOD" || wrong == "%00", "{wrong}: {}", answer.text);
        }
        for right in ["current", "previous", "2025-01", &month_of(world.clock.now())] {
            world.get(format!("{path}?period={right}")).token(&acme.owner.token).send().await.expect(200);
        }
        world.get(format!("{path}?periode=current")).token(&acme.owner.token).send().await.expect(400);
    }
    let daily = format!("/api/tenants/{}/bandwidth-daily", acme.slug);
    for wrong in [
        "from=2026-02-02&to=2026-02-01",
        "from=2026-01-01&to=2026-04-03",
        "from=2026-02-30",
        "from=now",
        "to=2026-2-1",
        "from=2026-01-01T00:00:00Z",
        "from=0001-01-01&to=9999-12-31",
    ] {
        let answer = world.get(format!("{daily}?{wrong}")).token(&acme.owner.token).send().await.expect(400);
        assert_eq!(answer.code(), "INVALID_RANGE", "{wrong}");
    }
    let longest = world.get(format!("{daily}?from=2026-01-01&to=2026-04-02")).token(&acme.owner.token).send().await.expect(200).json();
    let dates: Vec<&str> = longest["points"].as_array().unwrap().iter().map(|point| point["date"].as_str().unwrap()).collect();
    assert_eq!((dates.len(), dates[0], dates[58], dates[59], dates[91]), (92, "2026-01-01", "2026-02-28", "2026-03-01", "2026-04-02"));
    let logs = format!("/api/tenants/{}/logs", acme.slug);
    for wrong in ["status=abc", "status=99", "cache=hit", "kind=image", "limit=0", "limit=201", "limit=x", "from=now", "level=3"] {
        world.get(format!("{logs}?{wrong}")).token(&acme.owner.token).send().await.expect(400);
    }
    let reversed = world.get(format!("{logs}?from=2026-02-02&to=2026-02-01")).token(&acme.owner.token).send().await.expect(400);
    assert_eq!(reversed.code(), "INVALID_RANGE");
}

// ---------------------------------------------------------------- logs

#[tokio::test]
async fn a_walk_through_the_log_sees_every_entry_once_newest_first() {
    for seed in 1..4 {
        let (world, key) = deployment().await;
        let acme = world.tenant("acme").await;
        let now = world.clock.now();
        let mut dice = Dice(seed);
        let mut raw: Vec<Value> = vec![];
        // Batches of many sizes that overlap in time, some of them over days.
        for batch in 0..14 {
            let spread = [2_000, 600_000, 7_200_000, 86_400_000 * 29][dice.below(4) as usize];
            let entries: Vec<Value> = (0..(1 + dice.below(120)))
                .map(|_| entry(now - SignedDuration::from_millis(i64::try_from(dice.below(spread)).unwrap()), &mut dice))
                .collect();
            raw.extend(entries.iter().cloned());
            report(&world, &key, json!({"batch_id": batch.to_string(), "tenant": acme.slug, "entries": entries})).await.expect(200);
        }
        let two_days = now - SignedDuration::from_hours(48);
        let hour = now - SignedDuration::from_hours(1);
        let ranged = |entry: &Value, from: Timestamp, to: Timestamp| (from..=to).contains(&moment(entry));
        type Keep<'a> = Box<dyn Fn(&Value) -> bool + 'a>;
        let walks: Vec<(String, Keep<'_>)> = vec![
            (String::new(), Box::new(|_| true)),
            ("&cache=HIT".into(), Box::new(|entry| entry["cache"] == "HIT")),
            ("&kind=api&status=404".into(), Box::new(|entry| entry["kind"] == "api" && entry["status"] == 404)),
            ("&path=/p1".into(), Box::new(|entry| entry["path"].as_str().unwrap().starts_with("/p1"))),
            ("&path=/nothing".into(), Box::new(|_| false)),
            (format!("&from={hour}"), Box::new(move |entry| ranged(entry, hour, now))),
            (format!("&to={hour}"), Box::new(move |entry| ranged(entry, Timestamp::MIN, hour))),
            (
                format!("&from={two_days}&to={hour}&cache=MISS"),
                Box::new(move |entry| ranged(entry, two_days, hour) && entry["cache"] == "MISS"),
            ),
        ];
        for (query, keep) in walks {
            let mut expected: Vec<String> = raw.iter().filter(|entry| keep(entry)).map(print).collect();
            for limit in [1 + dice.below(40), 200] {
                let seen = walk(&world, &acme, &format!("limit={limit}{query}"), limit as usize).await;
                let ids: BTreeSet<&str> = seen.iter().map(|entry| entry["id"].as_str().unwrap()).collect();
                assert_eq!(ids.len(), seen.len(), "{query}: an entry twice");
                let times: Vec<&str> = seen.iter().map(|entry| entry["timestamp"].as_str().unwrap()).collect();
                assert!(times.is_sorted_by(|earlier, later| earlier >= later), "{query}: out of order");
                let mut seen: Vec<String> = seen.iter().map(print).collect();
                seen.sort();
                expected.sort();
                assert_eq!(seen, expected, "seed {seed} {query} by {limit}");
            }
        }
    }
}

#[tokio::test]
async fn the_first_page_costs_the_same_whatever_the_volume() {
    let (world, key) = deployment().await;
    let (small, large) = (world.tenant("small").await, world.tenant("large").await);
    let now = world.clock.now();
    let mut dice = Dice(8);
    let mut fill = async |tenant: &Tenant, batches: i64, each: i64| {
        for batch in 0..batches {
            let at = |n: i64| now - SignedDuration::from_millis((batch * each + n) * 3000);
            let entries: Vec<Value> = (0..each).map(|n| entry(at(n), &mut dice)).collect();
            report(&world, &key, json!({"batch_id": batch.to_string(), "tenant": tenant.slug, "entries": entries})).await.expect(200);
        }
    };
    fill(&small, 1, 200).await;
    fill(&large, 20, 1000).await;
    drain(&world).await;
    let bounded = format!("logs?from={}&to={}", now - SignedDuration::from_mins(9), now - SignedDuration::from_mins(2));
    for path in ["logs", "logs?limit=10", &bounded, "usage", "analytics", "bandwidth-daily"] {
        let mut costs = vec![];
        for tenant in [&small, &large] {
            let answer = read(&world, &tenant.owner, format!("/api/tenants/{}/{path}", tenant.slug)).await;
            let again = read(&world, &tenant.owner, format!("/api/tenants/{}/{path}", tenant.slug)).await;
            let (first, second) = (answer.metered.unwrap(), again.metered.unwrap());
            costs.push((first.calls.min(second.calls), first.read_units.min(second.read_units), first.round_trips.min(second.round_trips)));
        }
        println!("{path}: {costs:?} (calls, read units, round trips) of 200 and of 20,000 entries");
        let [(calls, units, trips), (more_calls, more_units, more_trips)] = costs[..] else { unreachable!() };
        assert!(f64::from(more_calls) <= 1.5 * f64::from(calls) && more_units <= 1.5 * units, "{path}: {costs:?}");
        assert!(trips <= 2 && more_trips <= 2, "{path}: {costs:?}");
    }
    // A filter without matches stops after a certain amount and says where to continue. In the end it reaches the end of the log.
    let path = format!("/api/tenants/{}/logs?path=/nothing", large.slug);
    let (mut cursor, mut pages) = (String::new(), 0);
    loop {
        let answer = read(&world, &large.owner, format!("{path}{cursor}")).await;
        let metered = answer.metered.unwrap();
        assert!(metered.calls <= 20 && metered.read_units < 150.0, "{metered:?}");
        let answer = answer.json();
        assert_eq!(answer["logs"], json!([]));
        pages += 1;
        match answer["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert!((2..10).contains(&pages), "{pages}");
    assert_eq!(walk(&world, &large, "limit=200", 200).await.len(), 20_000);
}

#[tokio::test]
async fn entries_live_for_thirty_days_and_go_with_their_tenant() {
    let (world, key) = deployment().await;
    let acme = world.tenant("acme").await;
    let mut dice = Dice(6);
    let now = world.clock.now();
    let ages = [0, 24 * 10, 24 * 29];
    let entries: Vec<Value> = ages.iter().map(|hours| entry(now - SignedDuration::from_hours(*hours), &mut dice)).collect();
    for (index, entry) in entries.iter().enumerate() {
        report(&world, &key, json!({"batch_id": index.to_string(), "tenant": acme.slug, "entries": [entry]})).await.expect(200);
    }
    for item in items(&world, &acme, "edge_pack") {
        let newest: Timestamp = text(&item, "newest").parse().unwrap();
        assert_eq!(item["ttl"]["N"], (newest + SignedDuration::from_hours(24 * 30)).as_second().to_string().as_str());
    }
    let left = async |hours: i64| {
        world.advance(SignedDuration::from_hours(hours));
        let owner = world.login(&acme.owner.email, &acme.owner.password).await;
        walk_as(&world, &owner, &acme, "limit=200", 200).await.len()
    };
    assert_eq!((left(1).await, left(24).await, left(24 * 19).await, left(24 * 11).await), (3, 2, 1, 0));

    let demo = world
        .post("/api/v1/demo")
        .json(json!({"email": "ada@example.com", "name": "Ada", "company_name": "Engines"}))
        .send()
        .await
        .expect(201);
    let slug = demo.json()["data"]["tenant_slug"].as_str().unwrap().to_owned();
    let now = world.clock.now();
    for (batch, step) in [("near", 1), ("far", 40_000)] {
        let entries: Vec<Value> = (0..60).map(|n| entry(now - SignedDuration::from_secs(n * step), &mut dice)).collect();
        report(&world, &key, json!({"batch_id": batch, "tenant": slug, "entries": entries})).await.expect(200);
    }
    drain(&world).await;
    let of_demo = |world: &World| {
        let claim = world.items().into_iter().find(|item| item["pk"]["S"] == format!("G#slug#{slug}").as_str());
        claim.map(|claim| text(&claim, "tenant").to_owned())
    };
    let tenant = of_demo(&world).unwrap();
    let kinds: BTreeSet<String> =
        world.items().iter().filter(|item| text(item, "pk").contains(&tenant)).map(|item| text(item, "type").to_owned()).collect();
    for kind in ["edge_pack", "edge_batch", "edge_counted", "edge_usage"] {
        assert!(kinds.contains(kind), "{kinds:?}");
    }
    world.advance(SignedDuration::from_hours(50));
    let variables = Variables(world.environment("janitor").clone().into_iter().collect());
    let janitor = Janitor::start(app(&world, "janitor"), variables).unwrap();
    janitor.handle(json!({"task": "purge"}), "request").await.unwrap();
    let left: Vec<String> = world.items().iter().map(|item| text(item, "pk").to_owned()).filter(|pk| pk.contains(&tenant)).collect();
    assert_eq!(left, Vec::<String>::new());
}

// ---------------------------------------------------------------- tools

async fn deployment() -> (World, String) {
    deployed(Settings::default()).await
}

/// At noon of the 20th of next month, so that the last thirty days are in two months.
async fn deployed(settings: Settings) -> (World, String) {
    let world = World::with(settings).await;
    let today = world.clock.now().to_zoned(TimeZone::UTC).date();
    let noon = today.last_of_month().saturating_add(20.days()).at(12, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap().timestamp();
    world.advance(noon.duration_since(world.clock.now()));
    let key = ingest_key(&world).await;
    (world, key)
}

/// The key with which the edge reports.
pub async fn ingest_key(world: &World) -> String {
    let client = app(world, "insights");
    let id = &world.environment("insights")["INGEST_SECRET_ID"];
    let secret = client.secrets().client().get_secret_value().secret_id(id).send().await.unwrap();
    secret.secret_string.unwrap()
}

async fn report(world: &World, key: &str, body: Value) -> Answer {
    world.post("/api/usage/ingest").header("x-ingest-key", key).json(body).send().await
}

async fn check(world: &World, key: &str, slug: &str) -> Answer {
    world.get(format!("/api/usage/check?tenant={slug}")).header("x-ingest-key", key).send().await
}

async fn read(world: &World, caller: &Caller, path: String) -> Answer {
    world.get(path).token(&caller.token).send().await.expect(200)
}

async fn walk(world: &World, tenant: &Tenant, query: &str, limit: usize) -> Vec<Value> {
    walk_as(world, &tenant.owner, tenant, query, limit).await
}

async fn walk_as(world: &World, caller: &Caller, tenant: &Tenant, query: &str, limit: usize) -> Vec<Value> {
    let mut seen = vec![];
    let mut cursor = String::new();
    for _ in 0..5000 {
        let page = read(world, caller, format!("/api/tenants/{}/logs?{query}{cursor}", tenant.slug)).await.json();
        let logs = page["logs"].as_array().unwrap();
        assert!(logs.len() <= limit);
        seen.extend(logs.iter().cloned());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return seen,
        }
    }
    panic!("the log has no end");
}

/// A generator of numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn entry(at: Timestamp, dice: &mut Dice) -> Value {
    let pick = |dice: &mut Dice, words: &[&str]| words[dice.below(words.len() as u64) as usize].to_owned();
    let kind = pick(dice, &["asset", "asset", "api"]);
    let status = [200, 200, 304, 404][dice.below(4) as usize];
    json!({
        "timestamp": milliseconds(at),
        "method": "GET",
        "path": format!("/p{}/image-{}.webp", dice.below(20), dice.below(500)),
        "kind": kind,
        "status": status,
        "cache": pick(dice, &["HIT", "HIT", "HIT", "MISS", "BYPASS", "ERROR"]),
        "bytes": dice.below(100_000),
        "durationMs": dice.below(500),
        "country": if dice.below(5) == 0 { Value::Null } else { json!(pick(dice, &["DE", "US", "JP"])) },
    })
}

/// An entry as it must be returned.
fn print(entry: &Value) -> String {
    ["timestamp", "method", "path", "kind", "status", "cache", "bytes", "durationMs", "country"]
        .map(|field| entry[field].to_string())
        .join(" ")
}

fn moment(entry: &Value) -> Timestamp {
    entry["timestamp"].as_str().unwrap().parse().unwrap()
}

fn milliseconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

fn day_of(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).date().to_string()
}

fn month_of(at: Timestamp) -> String {
    day_of(at)[..7].to_owned()
}

fn month_end(at: Timestamp) -> String {
    let next = at.to_zoned(TimeZone::UTC).date().last_of_month().saturating_add(1.days());
    format!("{next}T00:00:00.000Z")
}

fn sums<'a>(entries: impl Iterator<Item = &'a Value>) -> BTreeMap<&'static str, u64> {
    let mut sums: BTreeMap<&'static str, u64> = COLUMNS.into_iter().map(|column| (column, 0)).collect();
    let mut add = |column: &'static str, by: u64| *sums.get_mut(column).unwrap() += by;
    for entry in entries {
        let bytes = entry["bytes"].as_u64().unwrap();
        add("requests", 1);
        add("bytes", bytes);
        let (cache, api) = (entry["cache"].as_str().unwrap(), entry["kind"] == "api");
        add(
            match cache {
                "HIT" => "hits",
                "MISS" => "misses",
                "BYPASS" => "bypass",
                _ => "errors",
            },
            1,
        );
        add(if api { "api" } else { "assets" }, 1);
        if cache == "HIT" {
            add("hit_bytes", bytes);
            add("api_hits", u64::from(api));
        }
    }
    sums
}

const COLUMNS: [&str; 10] = ["requests", "bytes", "hits", "misses", "bypass", "errors", "api", "assets", "api_hits", "hit_bytes"];

/// The sums of the tenant's counters of days, or of months.
fn rollups(world: &World, tenant: &Tenant, spans: &str) -> BTreeMap<&'static str, u64> {
    let mut sums: BTreeMap<&'static str, u64> = COLUMNS.into_iter().map(|column| (column, 0)).collect();
    for item in items(world, tenant, "edge_usage").iter().filter(|item| text(item, "sk").starts_with(spans)) {
        for (column, sum) in &mut sums {
            *sum += item[*column]["N"].as_str().map_or(0, |number| number.parse::<u64>().unwrap());
        }
    }
    sums
}

fn items(world: &World, tenant: &Tenant, kind: &str) -> Vec<Value> {
    world.items_of(tenant).into_iter().filter(|item| item["type"]["S"] == kind).collect()
}

fn text<'a>(item: &'a Value, attribute: &str) -> &'a str {
    item[attribute]["S"].as_str().unwrap_or_default()
}

fn paths(logs: &Value) -> Vec<&str> {
    logs["logs"].as_array().unwrap().iter().map(|entry| entry["path"].as_str().unwrap()).collect()
}

fn without_limits(items: Vec<Value>) -> Vec<Value> {
    items.into_iter().filter(|item| !text(item, "pk").starts_with("G#rate#") && !text(item, "pk").ends_with("#quota")).collect()
}

/// Relay and courier, as the event sources call them.
#[derive(Clone)]
struct Workers(Arc<(Relay, Courier, App, AtomicUsize)>);

impl Invoke for Workers {
    fn invoke(&self, function: &str, payload: Value) -> impl Future<Output = Result<Value, InvokeError>> + Send {
        let (workers, function) = (self.clone(), function.to_owned());
        async move {
            let (relay, courier, mailing, requests) = &*workers.0;
            let request = format!("request-{}", requests.fetch_add(1, Ordering::Relaxed));
            let done = match function.as_str() {
                "relay" => relay.handle(payload, &request).await,
                "courier" => {
                    mailing.fetch_secrets().await.unwrap();
                    courier.handle(payload, &request).await
                }
                other => panic!("{other} has nothing to do here"),
            };
            done.map_err(|error| InvokeError::Failed { function, message: error.to_string() })
        }
    }
}

async fn drain(world: &World) {
    deliver(world, Faults::default()).await;
}

async fn deliver(world: &World, faults: Faults) {
    let variables = |name: &str| Variables(world.environment(name).clone().into_iter().collect());
    let mailing = app(world, "courier");
    let relay = Relay::start(app(world, "relay"), variables("relay")).unwrap();
    let courier = Courier::start(mailing.clone(), variables("courier")).unwrap();
    let workers = Workers(Arc::new((relay, courier, mailing, AtomicUsize::new(0))));
    // A parallel run that finds a claimed mail waits for it. The lease is over when it tries again.
    world.advance(SignedDuration::from_secs(61));
    Sources::with_faults(&world.template, &world.aws, workers, faults).unwrap().drain().await.unwrap();
}

fn app(world: &World, function: &str) -> App {
    let variables = || Variables(world.environment(function).clone().into_iter().collect());
    let config = Config::read(&variables()).expect("the template configures the function");
    let clients = Clients::read(variables()).expect("the environment names AWS");
    App::new(config, world.plans.clone(), records::ALL, world.clock.clone(), Random::system(), &clients)
}
