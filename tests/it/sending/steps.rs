//! Each lead goes its own way through a sequence, begins when the campaign does, and leaves it with the lead.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::{Value, json};
use stack::mailbox::unsubscribe_url;

use super::{CAMPAIGNS, Home, LEADS, Numbers, email, number, state, text, wait};
use crate::world::id;

const SUPPRESSIONS: &str = "/api/v1/tenant/suppression-list";
const TEMPLATES: &str = "/api/v1/tenant/templates";

fn all_day() -> Value {
    json!({"daily_limit": null})
}

/// Marks the mail of a step as opened, as a report does.
fn opened(home: &Home, campaign: &str, lead: &str) {
    let enrolment = home.enrolments(campaign).into_iter().find(|one| text(one, "lead") == super::bare(lead)).expect("the lead is in it");
    home.world.change_item(text(&enrolment, "pk"), text(&enrolment, "sk"), |item| {
        item["mails"]["L"][0]["M"]["opened_at"] = json!({"S": "2026-11-30T09:00:00Z"});
        item["version"] = json!({"N": (number(item, "version") + 1).to_string()});
    });
}

#[tokio::test]
async fn who_opened_goes_one_way_and_who_did_not_the_other_each_with_its_waits() {
    let home = Home::new().await;
    let leads = home.leads(4).await;
    let is_opened = json!({"field": "steps[1].opened", "op": "equals", "value": true});
    let sequence = json!([
        email("One"),
        wait(1, "days"),
        {"type": "condition", "rule": is_opened, "then": 4, "else": 6},
        wait(2, "hours"),
        email("Seen"),
        email("Last"),
    ]);
    let campaign = home.campaign(sequence, json!({"lead_ids": leads}), all_day()).await;
    home.send(&campaign, "start").await.expect(200);
    home.settle().await;
    opened(&home, &campaign, &leads[0]);
    opened(&home, &campaign, &leads[2]);
    home.pass(1, SignedDuration::from_mins(23 * 60 + 58)).await;
    assert_eq!(home.sent().len(), 4, "a day is not over");
    home.pass(3, SignedDuration::from_mins(1)).await;
    let subjects = |number: usize| home.mails()[&format!("lead{number}@example.com")].clone();
    assert_eq!((subjects(0), subjects(1)), (vec!["One".to_owned()], vec!["One".to_owned(), "Last".to_owned()]));
    home.pass(1, SignedDuration::from_mins(117)).await;
    assert_eq!(subjects(2), ["One"], "two hours are not over");
    home.pass(3, SignedDuration::from_mins(1)).await;
    for (number, subjects_of) in [(0, vec!["One", "Seen", "Last"]), (1, vec!["One", "Last"]), (2, vec!["One", "Seen", "Last"])] {
        assert_eq!(subjects(number), subjects_of);
    }
    assert_eq!(home.numbers(&campaign).sent, 10);
    assert_eq!(home.states(&campaign), BTreeMap::from([("completed".to_owned(), 4)]));
}

/// Both ways lead to the same mail, one of them around the wait before it.
#[tokio::test]
async fn a_way_around_a_wait_does_not_wait() {
    let home = Home::new().await;
    let leads = home.leads(3).await;
    let is_opened = json!({"field": "steps[1].opened", "op": "equals", "value": true});
    let sequence = json!([
        email("One"),
        wait(1, "hours"),
        {"type": "condition", "rule": is_opened, "then": 5, "else": 4},
        wait(2, "days"),
        email("Two"),
    ]);
    let campaign = home.campaign(sequence, json!({"lead_ids": leads}), all_day()).await;
    home.send(&campaign, "start").await.expect(200);
    home.settle().await;
    opened(&home, &campaign, &leads[1]);
    home.pass(2, SignedDuration::from_mins(31)).await;
    assert_eq!((home.sent().len(), home.mails()["lead1@example.com"].len()), (4, 2));
    home.pass(1, SignedDuration::from_hours(47)).await;
    assert_eq!(home.sent().len(), 4);
    home.pass(1, SignedDuration::from_hours(2)).await;
    assert_eq!(home.numbers(&campaign).sent, 6);
    assert_eq!(text(&home.record("campaigns", &campaign), "status"), "completed");
}

#[tokio::test]
async fn a_planned_start_goes_at_its_moment() {
    let home = Home::new().await;
    let leads = home.leads(2).await;
    let campaign = scheduled(&home, json!([email("One")]), &leads).await;
    assert_eq!(home.status(&campaign).await["status"], "scheduled");
    home.settle().await;
    home.pass(1, SignedDuration::from_mins(59)).await;
    assert_eq!(home.sent().len(), 0);
    home.pass(2, SignedDuration::from_mins(1)).await;
    assert_eq!((home.sent().len(), &home.status(&campaign).await["status"]), (2, &json!("completed")));
    assert_eq!(home.active_campaigns(), 0);
}

/// However long before it was planned.
#[tokio::test]
async fn a_wait_at_the_beginning_is_counted_from_when_the_campaign_begins() {
    let home = Home::new().await;
    let leads = home.leads(2).await;
    let sequence = json!([wait(30, "minutes"), email("One")]);
    let planned = scheduled(&home, sequence.clone(), &leads).await;
    home.pass(1, SignedDuration::from_mins(61)).await;
    assert_eq!((&home.status(&planned).await["status"], home.sent().len()), (&json!("active"), 0));
    home.pass(1, SignedDuration::from_mins(29)).await;
    assert_eq!(home.sent().len(), 0, "half an hour is not over");
    home.pass(1, SignedDuration::from_mins(2)).await;
    assert_eq!((home.given(&planned).len(), &home.status(&planned).await["status"]), (2, &json!("completed")));
    // Paused before its moment, and let go on after that.
    let resumed = scheduled(&home, sequence, &leads).await;
    home.send(&resumed, "pause").await.expect(200);
    home.pass(1, SignedDuration::from_mins(90)).await;
    home.send(&resumed, "resume").await.expect(200);
    home.settle().await;
    home.pass(1, SignedDuration::from_mins(29)).await;
    assert_eq!(home.given(&resumed).len(), 0, "half an hour is not over");
    home.pass(1, SignedDuration::from_mins(2)).await;
    assert_eq!(home.given(&resumed).len(), 2);
}

/// Waves of one lead each would cost as much as their mails.
#[tokio::test]
async fn who_goes_the_same_way_goes_on_together_while_the_clock_moves() {
    let home = Home::new().await;
    let leads = home.leads(12).await;
    let is_opened = json!({"field": "steps[1].opened", "op": "equals", "value": true});
    let sequence = json!([email("One"), {"type": "condition", "rule": is_opened, "then": 4, "else": 3}, wait(1, "hours"), wait(2, "hours"), email("Two")]);
    let campaign = home.campaign(sequence, json!({"lead_ids": leads}), all_day()).await;
    home.send(&campaign, "start").await.expect(200);
    home.world.clock.ticks(SignedDuration::from_millis(700));
    home.settle().await;
    let waves = home.waves(&campaign);
    assert_eq!(waves.iter().map(|wave| number(wave, "step")).collect::<Vec<_>>(), [5], "{waves:?}");
    home.pass(4, SignedDuration::from_mins(61)).await;
    assert_eq!(home.numbers(&campaign).sent, 24);
}

/// A launch asks for them once, and each mail must show them.
#[tokio::test]
async fn without_a_postal_address_or_a_name_nothing_more_goes() {
    let home = Home::new().await;
    let leads = home.leads(3).await;
    let workspace = format!("/api/v1/tenant/workspaces/{}", id(&home.workspace));
    let sequence = json!([email("One"), wait(1, "hours"), email("Two")]);
    for (field, code) in [("postal_address", "SENDER_ADDRESS_MISSING"), ("default_from_name", "SENDER_NAME_MISSING")] {
        let campaign = home.campaign(sequence.clone(), json!({"lead_ids": leads}), all_day()).await;
        home.send(&campaign, "start").await.expect(200);
        home.settle().await;
        home.patch(&workspace, json!({"settings": {field: null}})).await.expect(200);
        home.pass(2, SignedDuration::from_mins(31)).await;
        let status = home.status(&campaign).await;
        assert_eq!((&status["status"], &status["paused_by"], home.active_campaigns()), (&json!("paused"), &json!("guard"), 0), "{field}");
        let numbers = home.numbers(&campaign);
        assert_eq!((numbers.sent, numbers.in_days), (3, 3), "{field}: what did not go is not counted");
        assert_eq!(home.send(&campaign, "resume").await.expect(409).code(), code);
        home.patch(&workspace, json!({"settings": {field: "Ada"}})).await.expect(200);
        home.send(&campaign, "resume").await.expect(200);
        home.settle().await;
        assert_eq!((home.given(&campaign).len(), &home.status(&campaign).await["status"]), (6, &json!("completed")), "{field}");
    }
}

#[tokio::test]
async fn a_start_that_was_missed_by_hours_waits_for_a_person() {
    let home = Home::new().await;
    let leads = home.leads(2).await;
    // Within six hours it goes late.
    for (hours, ends) in [(6, "completed"), (8, "paused")] {
        let campaign = scheduled(&home, json!([email("One")]), &leads).await;
        home.pass(2, SignedDuration::from_hours(hours)).await;
        let record = home.record("campaigns", &campaign);
        assert_eq!(text(&record, "status"), ends, "{hours} hours");
        if ends == "paused" {
            assert_eq!((text(&record, "paused_by"), home.given(&campaign).len()), ("missed_start", 0));
            let owner = home.world.login(&home.tenant.owner.email, &home.tenant.owner.password).await;
            let path = format!("{CAMPAIGNS}/{campaign}/send");
            home.world.post(path).token(&owner.token).json(json!({"action": "resume"})).send().await.expect(200);
            home.settle().await;
            assert_eq!(home.given(&campaign).len(), 2);
        }
    }
}

#[tokio::test]
async fn a_planned_start_asks_for_what_a_launch_asks_for() {
    let home = Home::new().await;
    let leads = home.leads(2).await;
    let made = json!({"name": "Spring", "subject": "Hi", "body": "<p>Hello</p>", "status": "active"});
    let template = id(&home.post(TEMPLATES, made).await.expect(201).json()["data"]).to_owned();
    let campaign = scheduled(&home, json!([{"type": "email", "template_id": template}]), &leads).await;
    let path = format!("{TEMPLATES}/{template}");
    let in_use = home.world.delete(&path).token(&home.tenant.owner.token).send().await.expect(409);
    assert_eq!(in_use.code(), "TEMPLATE_IN_USE");
    let workspace = format!("/api/v1/tenant/workspaces/{}", id(&home.workspace));
    home.patch(&workspace, json!({"settings": {"postal_address": null}})).await.expect(200);
    home.pass(2, SignedDuration::from_mins(31)).await;
    let record = home.record("campaigns", &campaign);
    assert_eq!((text(&record, "status"), text(&record, "paused_by"), home.sent().len()), ("paused", "guard", 0));
    assert_eq!(home.send(&campaign, "resume").await.expect(409).code(), "SENDER_ADDRESS_MISSING");
    home.patch(&workspace, json!({"settings": {"postal_address": "1 Main St"}})).await.expect(200);
    home.send(&campaign, "resume").await.expect(200);
    home.settle().await;
    assert_eq!((home.sent().len(), &home.status(&campaign).await["status"]), (2, &json!("completed")));
    home.delete(&path).await;
}

/// Between the first mail and the second, leads go in every way.
#[tokio::test]
async fn who_is_deleted_suppressed_or_unsubscribed_gets_no_further_mail() {
    let home = Home::new().await;
    let leads = home.leads(6).await;
    let mut settings = all_day();
    settings["required_variables"] = json!(["first_name"]);
    let campaign = home.campaign(json!([email("One"), wait(1, "hours"), email("Two")]), json!({"lead_ids": leads}), settings).await;
    home.send(&campaign, "start").await.expect(200);
    home.settle().await;
    assert_eq!(home.sent().len(), 6);
    home.delete(&format!("{LEADS}/{}", leads[0])).await;
    for (lead, scope) in [(1, "workspace"), (2, "tenant")] {
        let body = json!({"email": format!("lead{lead}@example.com"), "scope": scope, "reason": "manual"});
        home.post(SUPPRESSIONS, body).await.expect(201);
    }
    let mail = home.sent().into_iter().find(|kept| kept.mail.to == "lead3@example.com").expect("a mail");
    let link = unsubscribe_url(&mail.mail).expect("a link").replace(crate::world::PUBLIC_URL, "");
    home.world
        .post(link)
        .raw(b"List-Unsubscribe=One-Click")
        .header("content-type", "application/x-www-form-urlencoded")
        .send()
        .await
        .expect(200);
    home.patch(&format!("{LEADS}/{}", leads[4]), json!({"first_name": null})).await.expect(200);
    home.pass(2, SignedDuration::from_mins(31)).await;
    let second: Vec<String> = home.mails().into_iter().filter(|(_, subjects)| subjects.len() == 2).map(|(to, _)| to).collect();
    assert_eq!(second, ["lead5@example.com"]);
    assert_eq!(home.numbers(&campaign), Numbers { sent: 7, dropped: 4, in_days: 7, in_months: 7, ..Numbers::default() });
    let mut reasons: Vec<(String, String)> = vec![];
    for enrolment in home.enrolments(&campaign) {
        reasons.push((state(&enrolment).to_owned(), text(&enrolment["state"]["M"], "reason").to_owned()));
    }
    reasons.sort();
    let expected = [
        ("completed", ""),
        ("exited", "deleted"),
        ("exited", "missing_variable"),
        ("exited", "suppressed"),
        ("exited", "suppressed"),
        ("exited", "unsubscribed"),
    ];
    assert_eq!(reasons, expected.map(|(state, reason)| (state.to_owned(), reason.to_owned())));
    assert_eq!(home.status(&campaign).await["status"], "completed");
}

/// To start an hour from now.
async fn scheduled(home: &Home, sequence: Value, leads: &[String]) -> String {
    use shared::Clock;
    let start_at = (home.world.clock.now() + SignedDuration::from_hours(1)).to_string();
    let body = json!({"name": "Later", "sequence": sequence, "audience": {"lead_ids": leads}, "settings": all_day(), "start_at": start_at});
    let campaign = id(&home.post(CAMPAIGNS, body).await.expect(201).json()["data"]).to_owned();
    home.send(&campaign, "start").await.expect(200);
    campaign
}
