//! How a tenant sends messages: the defaults, changes that merge, hours that never shrink, and that no edit is lost.

use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::lifecycle::export;
use crate::workers::{Workers, drain};
use crate::world::{Caller, Request, Tenant, World};

const SETTINGS: &str = "/v1/settings/messaging";

async fn home() -> (World, Tenant) {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    (world, own)
}

fn change(world: &World, caller: &Caller, body: Value) -> Request {
    world.advance(SignedDuration::from_millis(5));
    world.patch(SETTINGS).token(&caller.token).json(body)
}

async fn shown(world: &World, caller: &Caller) -> Value {
    world.get(SETTINGS).token(&caller.token).send().await.expect(200).json()["data"].clone()
}

fn stored(world: &World, tenant: &Tenant) -> usize {
    world.items_of(tenant).into_iter().filter(|item| item["type"]["S"] == "messaging_settings").count()
}

#[tokio::test]
async fn the_defaults_are_answered_before_anything_was_set() {
    let (world, own) = home().await;
    let owner = &own.owner;
    let read = world.get(SETTINGS).token(&owner.token).send().await.expect(200);
    let since = read.json()["data"]["updated_at"].clone();
    let whole = json!({
        "timezone": "UTC", "quiet_hours": {"mode": "block", "start": "20:00", "end": "08:00", "rules": "default"}, "require_marketing_consent": false,
        "fallback": ["imessage", "rcs", "sms"], "otp_per_hour": 5, "keep_events": true, "version": 0, "updated_at": since,
    });
    assert_eq!((read.json(), read.header("etag")), (json!({"data": whole}), "\"0\""));
    assert!(read.metered.expect("metered").round_trips <= 2);
    assert_eq!(world.get(SETTINGS).token(&owner.token).header("if-none-match", "\"0\"").send().await.status, 304);
    // What changes nothing stores nothing.
    let same = change(&world, owner, json!({"timezone": "UTC", "quiet_hours": {"start": "20:00"}, "fallback": ["imessage", "rcs", "sms"]}));
    let same = same.send().await.expect(200);
    assert_eq!((same.json(), same.header("etag"), stored(&world, &own)), (json!({"data": whole}), "\"0\"", 0));
}

#[tokio::test]
async fn a_change_keeps_the_rest_and_one_of_nothing_keeps_the_version() {
    let (world, own) = home().await;
    let owner = &own.owner;
    let first = json!({"timezone": "america/new_york", "quiet_hours": {"end": "09:30", "rules": "strict"}});
    let first = change(&world, owner, first).send().await.expect(200);
    let made = first.json()["data"].clone();
    assert_eq!((first.header("etag"), &made["version"], &made["timezone"]), ("\"1\"", &json!(1), &json!("America/New_York")));
    assert_eq!(made["quiet_hours"], json!({"mode": "block", "start": "20:00", "end": "09:30", "rules": "strict"}));
    assert_eq!(shown(&world, owner).await, made);

    let second = json!({"quiet_hours": {"mode": "defer", "start": "18:00"}, "require_marketing_consent": true, "fallback": ["sms", "imessage"], "otp_per_hour": 8});
    let second = change(&world, owner, second).send().await.expect(200).json()["data"].clone();
    let whole = json!({
        "timezone": "America/New_York", "quiet_hours": {"mode": "defer", "start": "18:00", "end": "09:30", "rules": "strict"},
        "require_marketing_consent": true, "fallback": ["sms", "imessage"], "otp_per_hour": 8, "keep_events": true, "version": 2, "updated_at": second["updated_at"],
    });
    assert_eq!(second, whole);
    assert_ne!(second["updated_at"], made["updated_at"]);
    for nothing in [
        json!({}),
        json!({"quiet_hours": null}),
        json!({"quiet_hours": {}}),
        json!({"quiet_hours": {"end": "09:30"}, "fallback": ["sms", "imessage"]}),
    ] {
        let same = change(&world, owner, nothing).send().await.expect(200);
        assert_eq!((same.json()["data"].clone(), same.header("etag")), (whole.clone(), "\"2\""));
    }
    assert_eq!((shown(&world, owner).await, stored(&world, &own)), (whole, 1));
}

#[tokio::test]
async fn every_wrong_field_is_named_at_once() {
    let (world, own) = home().await;
    let owner = &own.owner;
    let wrong = json!({
        "timezone": "Berlin", "quiet_hours": {"mode": "drop", "start": "20:01", "end": "07:59", "rules": "none", "days": []},
        "require_marketing_consent": "maybe", "fallback": ["sms", "fax"], "otp_per_hour": 101, "persona_id": null,
    });
    let refused = change(&world, owner, wrong).send().await.expect(400);
    assert_eq!(refused.code(), "VALIDATION_ERROR");
    assert_eq!(
        refused.details(),
        json!({
            "timezone": ["The timezone field must be a time zone like Europe/Berlin."],
            "quiet_hours.mode": ["The mode field must be one of block, defer."],
            "quiet_hours.start": ["The start field must not be later than 20:00."],
            "quiet_hours.end": ["The end field must not be earlier than 08:00."],
            "quiet_hours.rules": ["The rules field must be one of default, strict."],
            "quiet_hours.days": ["The days field is not known."],
            "require_marketing_consent": ["The require_marketing_consent field must be true or false."],
            "fallback": ["The fallback field is wrong at [1], which must be one of imessage, rcs, sms."],
            "otp_per_hour": ["The otp_per_hour field must be between 1 and 100."],
            "persona_id": ["The persona_id field is not known."],
        })
    );
    for (body, field, problem) in [
        (json!({"fallback": []}), "fallback", "must name at least one channel, and each once"),
        (json!({"fallback": ["sms", "rcs", "sms"]}), "fallback", "must name at least one channel, and each once"),
        (json!({"fallback": ["sms", "rcs", "imessage", "sms", "sms"]}), "fallback", "must name at least one channel, and each once"),
        (json!({"fallback": "sms"}), "fallback", "must be a list of channels"),
        (json!({"fallback": null}), "fallback", "must be a list of channels"),
        (json!({"timezone": null}), "timezone", "must be a time zone like Europe/Berlin"),
        (json!({"quiet_hours": "20:00"}), "quiet_hours", "must be an object"),
        (json!({"quiet_hours": {"start": null}}), "quiet_hours.start", "must be a time like 09:00, at most 23:59"),
        (json!({"quiet_hours": {"start": "8pm"}}), "quiet_hours.start", "must be a time like 09:00, at most 23:59"),
        (json!({"quiet_hours": {"end": "24:00"}}), "quiet_hours.end", "must be a time like 09:00, at most 23:59"),
        (json!({"quiet_hours": {"end": 540}}), "quiet_hours.end", "must be a time like 09:00, at most 23:59"),
        (json!({"quiet_hours": {"start": "23:00"}}), "quiet_hours.start", "must not be later than 20:00"),
        (json!({"quiet_hours": {"end": "00:00"}}), "quiet_hours.end", "must not be earlier than 08:00"),
        // Less than four hours of a day would be left.
        (json!({"quiet_hours": {"start": "11:59"}}), "quiet_hours.start", "must be at least 4 hours after the end"),
        (json!({"quiet_hours": {"end": "16:01"}}), "quiet_hours.start", "must be at least 4 hours after the end"),
        (json!({"quiet_hours": {"start": "08:00", "end": "20:00"}}), "quiet_hours.start", "must be at least 4 hours after the end"),
    ] {
        let refused = change(&world, owner, body.clone()).send().await.expect(400);
        let name = field.rsplit('.').next().unwrap_or(field);
        assert_eq!(refused.details(), json!({field: [format!("The {name} field {problem}.")]}), "{body}");
    }
    assert_eq!(stored(&world, &own), 0);
    for edge in [json!({"start": "12:00", "end": "08:00"}), json!({"start": "20:00", "end": "16:00"})] {
        change(&world, owner, json!({"quiet_hours": edge})).send().await.expect(200);
    }
}

#[tokio::test]
async fn hours_are_judged_with_those_that_stay() {
    let (world, own) = home().await;
    let owner = &own.owner;
    change(&world, owner, json!({"quiet_hours": {"end": "15:00"}})).send().await.expect(200);
    let refused = change(&world, owner, json!({"quiet_hours": {"start": "18:00"}})).send().await.expect(400);
    assert_eq!(refused.details(), json!({"quiet_hours.start": ["The start field must be at least 4 hours after the end."]}));
    change(&world, owner, json!({"quiet_hours": {"start": "18:00", "end": "14:00"}})).send().await.expect(200);
}

#[tokio::test]
async fn viewers_read_and_admins_change() {
    let (world, own) = home().await;
    for (role, status) in [("viewer", 403), ("member", 403), ("admin", 200)] {
        let who = world.member(&own, role).await;
        shown(&world, &who).await;
        change(&world, &who, json!({"timezone": "Europe/Vienna"})).send().await.expect(status);
    }
    let other = world.tenant("other").await;
    assert_eq!(shown(&world, &other.owner).await["timezone"], "UTC", "another tenant's are its own");
}

#[tokio::test]
async fn of_edits_of_one_version_one_is_made_and_without_a_version_all() {
    let (world, own) = home().await;
    let owner = &own.owner;
    let begun = [json!({"timezone": "Europe/Vienna"}), json!({"require_marketing_consent": true}), json!({"fallback": ["sms"]})];
    let racing = begun.map(|body| change(&world, owner, body).send());
    for answer in join_all(racing).await {
        answer.expect(200);
    }
    let all = shown(&world, owner).await;
    assert_eq!(
        (&all["timezone"], &all["require_marketing_consent"], &all["fallback"], &all["version"]),
        (&json!("Europe/Vienna"), &json!(true), &json!(["sms"]), &json!(3))
    );
    let zones = ["Europe/Paris", "Europe/Rome", "Europe/Oslo"];
    let racing = zones.map(|zone| change(&world, owner, json!({"timezone": zone})).header("if-match", "\"3\"").send());
    let mut statuses: Vec<u16> = join_all(racing).await.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412]);
    change(&world, owner, json!({"timezone": "UTC"})).header("if-match", "\"4\"").send().await.expect(200);

    // Of those who saw the defaults, one makes the first change.
    let other = world.tenant("other").await;
    let racing = zones.map(|zone| change(&world, &other.owner, json!({"timezone": zone})).header("if-match", "\"0\"").send());
    let mut statuses: Vec<u16> = join_all(racing).await.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!((statuses, &shown(&world, &other.owner).await["version"]), (vec![200, 412, 412], &json!(1)));
}

#[tokio::test]
async fn settings_stand_in_the_audit_log_the_export_and_the_import_and_are_purged() {
    let (world, own) = home().await;
    let owner = &own.owner;
    let workers = Workers::on(&world);
    change(&world, owner, json!({"timezone": "Europe/Vienna", "quiet_hours": {"mode": "defer", "end": "09:00"}})).send().await.expect(200);
    change(&world, owner, json!({"fallback": ["sms"]})).send().await.expect(200);
    change(&world, owner, json!({"fallback": ["sms"]})).send().await.expect(200);
    let before = shown(&world, owner).await;
    drain(&world, &workers).await;
    let log = world.get("/api/tenant/audit-log").token(&owner.token).send().await.expect(200).json();
    let entries = log["entries"].as_array().expect("entries").iter();
    let mut told: Vec<&str> = entries
        .flat_map(|entry| entry["changes"].as_array().expect("changes"))
        .filter(|change| change["resource"] == "messaging_settings")
        .filter_map(|change| change["action"].as_str())
        .collect();
    told.sort_unstable();
    assert_eq!(told, ["changed", "created"]);

    let (lines, _) = export(&world, owner).await;
    let imported = workers.import(records::ALL_RESTORED, &owner.email, &lines).await;
    assert_eq!(imported["imported"]["messaging_settings"], 1, "{imported}");
    let twin = imported["tenant"].as_str().expect("a tenant");
    let again = world.login(&owner.email, &owner.password).await;
    let ask = |request: Request| request.token(&again.token).header("x-tenant-id", twin).send();
    assert_eq!(ask(world.get(SETTINGS)).await.expect(200).json()["data"], before);

    ask(world.delete("/api/tenant")).await.expect(200);
    world.advance(SignedDuration::from_hours(24 * 8));
    workers.run("janitor", json!({"task": "purge"})).await.expect("the purge");
    let left = world.items().into_iter().filter(|item| item["pk"]["S"].as_str().is_some_and(|pk| pk.starts_with(&format!("T#{twin}#"))));
    assert_eq!(left.count(), 0);
}
