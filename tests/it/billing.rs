//! Usage as it is billed, and what a tenant costs: the counters that enforce the limits, with what requests really consumed.

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::world::{Settings, Tenant, World};

const USAGE: &str = "/v1/billing/usage";
const COST: &str = "/api/tenant/cost";
const PROJECTS: &str = "/api/v1/projects";

#[tokio::test]
async fn usage_shows_the_counters_beside_the_limits_of_the_plan() {
    let world = World::strict().await;
    let own = world.tenant("acme").await;
    calls(&world, &own, 10).await;
    let answer = world.get(USAGE).token(&own.owner.token).send().await.expect(200);
    assert!(answer.metered.expect("metered").round_trips <= 2);
    let usage = answer.json()["data"].clone();
    let month = world.auth.clock().now().strftime("%Y-%m").to_string();
    assert_eq!((&usage["plan"], &usage["period_start"]), (&json!("free"), &json!(format!("{month}-01T00:00:00.000Z"))));
    assert_eq!(usage["new_contacts"], json!({"used_today": 0, "limit_today": 10, "used_this_month": 0, "limit_this_month": 250}));
    assert_eq!(usage["messages"], json!({"sent": 0, "delivered": 0, "failed": 0, "blocked": 0}));
    // With few calls, the number is almost exact: an instance holds at most one unused call.
    let used = usage["api_calls"]["used_today"].as_u64().expect("a number");
    assert!((11..=12).contains(&used), "{usage}");
    let days = world.auth.clock().now().to_zoned(jiff::tz::TimeZone::UTC).date().days_in_month();
    assert_eq!((&usage["api_calls"]["limit_today"], &usage["api_calls"]["limit"]), (&json!(1000), &json!(1000 * i64::from(days))));
}

/// The number shown is the one compared with the quota: never less than what was used, and at most a sixteenth more, plus one for each
/// instance. Later in the day, all limits together cost hardly more than one write for each request.
#[tokio::test]
async fn calls_are_shown_as_used_within_a_sixteenth_whatever_the_number_of_instances() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let instances = [world.clone(), world.another_instance().await, world.another_instance().await];
    let mut used = 0;
    for round in 0..40 {
        for instance in &instances {
            for _ in 0..=round {
                instance.get(PROJECTS).token(&own.owner.token).send().await.expect(200);
                used += 1;
            }
        }
        if round % 13 == 0 {
            let shown = world.get(USAGE).token(&own.owner.token).send().await.expect(200).json()["data"].clone();
            used += 1;
            let calls = shown["api_calls"]["used_today"].as_u64().expect("a number");
            // The functions that show it are separate instances.
            let held = 5 * (used / 16 + 1);
            assert!((used..=used + held).contains(&calls), "{used} shown as {calls}");
        }
    }
    let mut writes = 0.0;
    for _ in 0..160 {
        writes += world.get(PROJECTS).token(&own.owner.token).send().await.expect(200).metered.expect("metered").write_units;
    }
    assert!(writes / 160.0 <= 1.05, "{writes}");
}

#[tokio::test]
async fn history_goes_back_month_by_month() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    calls(&world, &own, 3).await;
    world.advance(SignedDuration::from_hours(24 * 35));
    let own = Tenant { owner: world.login(&own.owner.email, &own.owner.password).await, ..own };
    calls(&world, &own, 3).await;
    let history = world.get(format!("{USAGE}/history?months=3")).token(&own.owner.token).send().await.expect(200).json()["data"].clone();
    let months: Vec<u64> = history.as_array().expect("months").iter().filter_map(|month| month["api_calls"].as_u64()).collect();
    assert!(months.len() == 3 && months.iter().sum::<u64>() >= 7 && months[0] >= 3, "{history}");
    for wrong in ["months=0", "months=25", "months=x", "limit=3"] {
        world.get(format!("{USAGE}/history?{wrong}")).token(&own.owner.token).send().await.expect(400);
    }
    let events = world.get("/v1/billing/events").token(&own.owner.token).send().await.expect(200).json();
    assert_eq!(events, json!({"data": [], "next_cursor": null}));
}

#[tokio::test]
async fn the_cost_of_a_tenant_is_what_its_requests_consumed() {
    let world = World::with(Settings {
        variables: vec![("PRICES", r#"{"read_unit": 1.0, "write_unit": 10.0, "gb_second": 0.0, "request": 100.0}"#.into())],
        ..Settings::default()
    })
    .await;
    let (own, other) = (world.tenant("acme").await, world.tenant("globex").await);
    let (mut reads, mut writes) = (0.0, 0.0);
    for number in 0..200 {
        let request = if number % 2 == 0 { world.get(PROJECTS) } else { world.post(PROJECTS).json(json!({"name": "x"})) };
        let metered = request.token(&own.owner.token).send().await.metered.expect("metered");
        (reads, writes) = (reads + metered.read_units, writes + metered.write_units);
    }
    let cost = world.get(COST).token(&own.owner.token).send().await.expect(200).json();
    let of = |field: &str| cost["table"][field].as_f64().expect("units");
    // All except those after the last lease, which is for at most 32 requests.
    assert!(of("readUnits") <= reads + 50.0 && of("readUnits") > reads * 0.75, "{reads} {cost}");
    assert!(of("writeUnits") <= writes + 50.0 && of("writeUnits") > writes * 0.75, "{writes} {cost}");
    assert_eq!(of("cost"), of("readUnits") + 10.0 * of("writeUnits"));
    let requests = cost["requests"].as_f64().expect("requests");
    assert!((150.0..=201.0).contains(&requests), "those whose consumption is written down: {cost}");
    assert!((cost["total"].as_f64().expect("a total") - of("cost") - 100.0 * requests).abs() < 1e-6, "{cost}");
    assert!(cost["compute"]["milliseconds"].as_f64().expect("time") > 0.0);
    assert_eq!(cost["days"].as_array().map(Vec::len), Some(1));
    let theirs = world.get(COST).token(&other.owner.token).send().await.expect(200).json();
    assert!(theirs["table"]["readUnits"].as_f64().expect("units") < 100.0, "a neighbour pays nothing of it: {theirs}");
    let none = world.get(format!("{COST}?period=previous")).token(&own.owner.token).send().await.expect(200).json();
    assert_eq!((&none["total"], &none["days"]), (&json!(0.0), &json!([])));
    for wrong in ["2026-13", "2999-01", "now", "2026", "2026-1"] {
        let answer = world.get(format!("{COST}?period={wrong}")).token(&own.owner.token).send().await.expect(400);
        assert!(matches!(answer.code().as_str(), "INVALID_PERIOD" | "VALIDATION_ERROR"), "{wrong}: {}", answer.text);
    }
}

async fn calls(world: &World, tenant: &Tenant, number: usize) {
    for _ in 0..number {
        let answer = world.get(PROJECTS).token(&tenant.owner.token).send().await.expect(200);
        assert_ne!(answer.json(), Value::Null);
    }
}
