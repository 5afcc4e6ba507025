//! When mails go: within their window, by the limit of a day and of a month, and in a fair share of what the carrier takes.

use std::collections::BTreeMap;

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};
use serde_json::{Value, json};

use super::{CAMPAIGNS, Death, Home, Numbers, email, number, text};
use crate::world::Settings;

fn moment(text: &str) -> Option<Timestamp> {
    Some(text.parse().expect("a moment"))
}

fn in_berlin() -> Value {
    json!({"window": {"days": ["mon", "tue", "wed", "thu", "fri"], "from": "09:00", "to": "10:00"}, "timezone": "Europe/Berlin"})
}

/// The local moments of a campaign's mails, by day. All are within the window.
fn by_day(home: &Home, campaign: &str) -> BTreeMap<Date, Vec<Zoned>> {
    let zone = TimeZone::get("Europe/Berlin").expect("a zone");
    let mut days = BTreeMap::<Date, Vec<Zoned>>::new();
    for at in home.arrivals(campaign) {
        let local = at.to_zoned(zone.clone());
        assert!(local.hour() == 9 && !matches!(local.weekday(), Weekday::Saturday | Weekday::Sunday), "outside the window: {local}");
        days.entry(local.date()).or_default().push(local);
    }
    days
}

#[tokio::test]
async fn a_daily_limit_and_a_window_hold_over_the_end_of_summer_time() {
    for start in ["2026-10-20T07:40:00Z", "2027-03-25T11:00:00Z"] {
        let home = Home::with(Settings { moment: moment(start), ..Settings::default() }).await;
        let leads = home.leads(11).await;
        let mut settings = in_berlin();
        settings["daily_limit"] = json!(2);
        let campaign = home.campaign(json!([email("One")]), json!({"lead_ids": leads}), settings).await;
        home.send(&campaign, "start").await.expect(200);
        home.settle().await;
        let until = moment(start).expect("a moment") + SignedDuration::from_hours(24 * 14);
        home.pass_until_due(until).await;
        let days = by_day(&home, &campaign);
        assert_eq!(days.values().map(Vec::len).sum::<usize>(), 11, "{days:?}");
        assert!(days.len() == 6 && days.values().all(|mails| mails.len() <= 2), "{days:?}");
        for mails in days.values().filter(|mails| mails.len() == 2) {
            let apart = mails[1].duration_since(&mails[0]);
            assert!(apart >= SignedDuration::from_mins(25), "spread over the hour: {mails:?}");
        }
        assert_eq!(home.numbers(&campaign), Numbers { sent: 11, in_days: 11, in_months: 11, ..Numbers::default() });
        assert_eq!(text(&home.record("campaigns", &campaign), "status"), "completed");
    }
}

/// Each look at a campaign is a job. They must not become more with each mail.
#[tokio::test]
async fn a_campaign_that_waits_is_looked_at_once() {
    let home = Home::with(Settings { moment: moment("2026-11-30T07:00:00Z"), ..Settings::default() }).await;
    let leads = home.leads(12).await;
    let mut settings = in_berlin();
    settings["daily_limit"] = json!(20);
    let campaign = home.campaign(json!([email("One")]), json!({"lead_ids": leads}), settings).await;
    home.send(&campaign, "start").await.expect(200);
    home.settle().await;
    let mut most = 0;
    while home.arrivals(&campaign).len() < 10 {
        home.pass(1, SignedDuration::from_mins(1)).await;
        most = most.max(home.due().len());
    }
    assert!(most <= 4, "{most} notes of one campaign");
}

/// Whoever polls with the tag of an answer hears of what changed since, also where no mail goes yet.
#[tokio::test]
async fn how_far_a_campaign_is_has_a_tag_of_its_own() {
    let home = Home::with(Settings { moment: moment("2026-11-30T05:00:00Z"), ..Settings::default() }).await;
    let leads = home.leads(3).await;
    let campaign = home.campaign(json!([email("One")]), json!({"lead_ids": leads}), in_berlin()).await;
    home.send(&campaign, "start").await.expect(200);
    let path = format!("{CAMPAIGNS}/{campaign}");
    let shown = async |tag: &str| home.world.get(&path).token(&home.tenant.owner.token).header("if-none-match", tag).send().await;
    let first = shown("").await.expect(200);
    home.settle().await;
    let second = shown(first.header("etag")).await.expect(200);
    assert_eq!(second.json()["data"]["counts"]["enrolled"], 3);
    shown(second.header("etag")).await.expect(304);
    // It is no edit, and stands in nobody's way.
    let change = home.world.patch(&path).token(&home.tenant.owner.token).header("if-match", first.header("etag"));
    change.json(json!({"description": "Spring"})).send().await.expect(200);
}

/// A wave that was released within the window may come to a worker after its end.
#[tokio::test]
async fn what_a_dead_worker_leaves_behind_keeps_to_the_window_and_the_day() {
    for mails in [1, 3, 6] {
        let home = Home::with(Settings { moment: moment("2026-11-30T08:59:00Z"), ..Settings::default() }).await;
        let leads = home.leads(6).await;
        let mut settings = in_berlin();
        settings["daily_limit"] = json!(null);
        let campaign = home.campaign(json!([email("One")]), json!({"lead_ids": leads}), settings).await;
        home.send(&campaign, "start").await.expect(200);
        home.crew.dies(Death { of: "sender", waits: usize::MAX, mails, delay: SignedDuration::from_mins(6) });
        home.settle().await;
        assert!(!home.crew.lives());
        home.pass(3, SignedDuration::from_mins(16)).await;
        home.pass_until_due("2026-12-01T10:00:00Z".parse().expect("a moment")).await;
        let days = by_day(&home, &campaign);
        let gone: Vec<usize> = days.values().map(Vec::len).collect();
        assert_eq!(gone, if mails < 6 { vec![mails, 6 - mails] } else { vec![6] }, "{days:?}");
        assert_eq!(home.numbers(&campaign), Numbers { sent: 5, unknown: 1, in_days: 6, in_months: 6, ..Numbers::default() });
    }
}

/// Without a window a day's mails go at once, and those that came too late for one day count for the next.
#[tokio::test]
async fn a_wave_that_outlives_its_day_counts_for_the_next() {
    let home = Home::with(Settings { moment: moment("2026-11-30T23:59:00Z"), ..Settings::default() }).await;
    let leads = home.leads(12).await;
    let campaign = home.campaign(json!([email("One")]), json!({"lead_ids": leads}), json!({"daily_limit": 4, "timezone": "UTC"})).await;
    home.send(&campaign, "start").await.expect(200);
    home.crew.dies(Death { of: "sender", waits: usize::MAX, mails: 2, delay: SignedDuration::from_mins(6) });
    home.settle().await;
    assert!(!home.crew.lives());
    home.pass(3, SignedDuration::from_mins(16)).await;
    home.pass_until_due("2026-12-05T10:00:00Z".parse().expect("a moment")).await;
    let mut days = BTreeMap::<Date, usize>::new();
    for at in home.arrivals(&campaign) {
        *days.entry(at.to_zoned(TimeZone::UTC).date()).or_default() += 1;
    }
    assert_eq!(days.into_values().collect::<Vec<_>>(), [2, 4, 4, 2]);
    assert_eq!(home.numbers(&campaign), Numbers { sent: 11, unknown: 1, in_days: 12, in_months: 12, ..Numbers::default() });
}

#[tokio::test]
async fn the_month_of_the_plan_holds_a_campaign_until_the_next_begins() {
    let plans = json!({"free": {"emails_per_month": 5}});
    let home = Home::with(Settings { plans, ..Settings::default() }).await;
    let leads = home.leads(8).await;
    let campaign = home.campaign(json!([email("One")]), json!({"lead_ids": leads}), json!({"daily_limit": null})).await;
    home.send(&campaign, "start").await.expect(200);
    home.settle().await;
    home.pass(3, SignedDuration::from_hours(4)).await;
    let plan = home.record("campaign-plans", &campaign);
    assert_eq!((home.sent().len(), text(&plan, "held_by")), (5, "monthly_limit"));
    assert_eq!(text(&plan, "next_at"), "2026-12-01T00:00:00Z");
    // Nothing more of this tenant goes this month.
    let other = home.campaign(json!([email("Other")]), json!({"lead_ids": leads}), json!({})).await;
    let refused = home.send(&other, "start").await.expect(403);
    assert_eq!(refused.details(), json!({"limit": "e-mails per month", "used": 5, "max": 5, "plan": "free"}));
    home.pass_until_due("2026-12-01T01:00:00Z".parse().expect("a moment")).await;
    assert_eq!(home.numbers(&campaign), Numbers { sent: 8, in_days: 8, in_months: 8, ..Numbers::default() });
    assert_eq!(text(&home.record("campaigns", &campaign), "status"), "completed");
}

#[tokio::test]
async fn a_small_campaign_does_not_wait_for_a_large_one() {
    let variables = vec![("SES_PER_SECOND", "1".to_owned())];
    let large = Home::with(Settings { variables, ..Settings::default() }).await;
    let small = large.beside("globex").await;
    let leads = large.leads(200).await;
    let first = large.campaign(json!([email("One")]), json!({"lead_ids": leads}), json!({"daily_limit": null})).await;
    large.send(&first, "start").await.expect(200);
    large.settle().await;
    assert_eq!(large.sent().len(), 54, "a minute of the carrier, but for a tenth");
    let leads = small.leads(3).await;
    let second = small.campaign(json!([email("One")]), json!({"lead_ids": leads}), json!({"daily_limit": null})).await;
    small.send(&second, "start").await.expect(200);
    small.settle().await;
    small.pass(2, SignedDuration::from_mins(1)).await;
    assert_eq!((small.numbers(&second).sent, small.status(&second).await["status"].clone()), (3, json!("completed")));
    assert!(large.numbers(&first).sent < 200);
    large.pass(4, SignedDuration::from_mins(1)).await;
    assert_eq!(large.numbers(&first), Numbers { sent: 200, in_days: 200, in_months: 200, ..Numbers::default() });
    assert_eq!(number(&large.record("campaigns", &first), "failed"), 0);
}

#[tokio::test]
async fn what_the_carrier_does_not_take_now_goes_later_and_once() {
    let home = Home::with(Settings { plans: json!({"free": {"emails_per_month": null}}), ..Settings::default() }).await;
    let leads = home.leads(30).await;
    let campaign = home.campaign(json!([email("One")]), json!({"lead_ids": leads}), json!({"daily_limit": null})).await;
    home.send(&campaign, "start").await.expect(200);
    home.world.aws.mailbox().throttle_next(7);
    home.settle().await;
    home.pass(4, SignedDuration::from_mins(16)).await;
    let (given, numbers) = (home.given(&campaign), home.numbers(&campaign));
    assert!(given.len() == 30 && given.values().all(|times| *times == 1), "{given:?}");
    assert_eq!((numbers.sent, numbers.unknown, numbers.failed, numbers.dropped, numbers.in_days, numbers.in_months), (30, 0, 0, 0, 30, 30));
    assert_eq!(home.status(&campaign).await["status"], "completed");
}

fn new_tenants(daily: u32) -> Settings {
    Settings { variables: vec![("NEW_TENANT_DAILY", daily.to_string())], ..Settings::default() }
}

/// A carrier judges a deployment by all of its tenants.
#[tokio::test]
async fn a_new_tenant_sends_little_a_day_until_enough_of_its_mails_have_arrived() {
    let mut home = Home::with(new_tenants(5)).await;
    let leads = home.leads(8).await;
    let campaign = home.campaign(json!([email("One")]), json!({"lead_ids": leads}), json!({"daily_limit": null})).await;
    home.send(&campaign, "start").await.expect(200);
    home.settle().await;
    let held = json!({"state": "held", "held_by": "new_tenant", "next_at": "2026-12-01T00:00:00.000Z"});
    assert_eq!((home.sent().len(), home.status(&campaign).await["pacing"].clone()), (5, held));
    // All campaigns of the tenant together. Others have their own five.
    let second = home.campaign(json!([email("Two")]), json!({"lead_ids": leads}), json!({"daily_limit": null})).await;
    home.send(&second, "start").await.expect(200);
    let other = home.beside("globex").await;
    let theirs = other.leads_of("their", 6).await;
    let of_other = other.campaign(json!([email("One")]), json!({"lead_ids": theirs}), json!({"daily_limit": null})).await;
    other.send(&of_other, "start").await.expect(200);
    home.settle().await;
    home.pass(3, SignedDuration::from_hours(5)).await;
    assert_eq!([&campaign, &second, &of_other].map(|campaign| home.given(campaign).len()), [5, 0, 5]);
    home.pass_until_due("2026-12-01T01:00:00Z".parse().expect("a moment")).await;
    assert_eq!((home.given(&campaign).len() + home.given(&second).len(), home.given(&of_other).len()), (10, 6));
    home.reported().await;
    let delivered = |home: &Home| home.queried(&format!("T#{}#delivered-mails", home.tenant.id), "all").remove(0);
    let known = delivered(&home);
    assert_eq!((number(&known, "mails"), number(&delivered(&other), "mails")), (10, 6));
    home.world.change_item(text(&known, "pk"), text(&known, "sk"), |item| item["mails"] = json!({"N": "999"}));
    home.pass_until_due("2026-12-02T01:00:00Z".parse().expect("a moment")).await;
    assert_eq!(home.given(&campaign).len() + home.given(&second).len(), 15, "with 999 it is new");
    home.reported().await;
    home.pass_until_due("2026-12-03T01:00:00Z".parse().expect("a moment")).await;
    assert_eq!((home.given(&campaign).len(), home.given(&second).len()), (8, 8));
    let enough = number(&delivered(&home), "mails");
    assert!((1_000..1_005).contains(&enough), "{enough}");
    home.tenant.owner = home.world.login(&home.tenant.owner.email, &home.tenant.owner.password).await;
    let third = home.campaign(json!([email("Three")]), json!({"lead_ids": leads}), json!({"daily_limit": null})).await;
    home.send(&third, "start").await.expect(200);
    home.settle().await;
    assert_eq!((home.given(&third).len(), home.status(&third).await["status"].clone()), (8, json!("completed")));
    home.reported().await;
    assert_eq!(number(&delivered(&home), "mails"), enough, "who is known is not counted any more");
}

/// Neither by a failure nor by a pause, nor with the campaign.
#[tokio::test]
async fn what_does_not_go_takes_nothing_from_a_new_tenants_day() {
    let home = Home::with(new_tenants(5)).await;
    let attributes = json!({"list": (0..50).collect::<Vec<u32>>()});
    let body = json!({"email": "failing@example.com", "first_name": "Ada", "attributes": attributes});
    let failing = crate::world::id(&home.post(super::LEADS, body).await.expect(201).json()["data"]).to_owned();
    let leads = [vec![failing], home.leads(8).await].concat();
    let long = "{% for a in custom.list %}{% for b in custom.list %}{% for c in custom.list %}x{% endfor %}{% endfor %}{% endfor %}";
    let sequence = json!([{"type": "email", "subject": "One", "body": long}]);
    let campaign = home.campaign(sequence, json!({"lead_ids": leads}), json!({"daily_limit": null})).await;
    home.send(&campaign, "start").await.expect(200);
    let paused = super::pausing::paused_when(&home, &campaign, || home.sent().len() >= 2).await;
    assert!(paused < 5, "{paused}");
    home.send(&campaign, "resume").await.expect(200);
    home.settle().await;
    home.pass(2, SignedDuration::from_mins(20)).await;
    let of_day = home.queried(&format!("T#{}#mail-days", home.tenant.id), "2026-11-30").remove(0);
    assert_eq!((home.sent().len(), home.numbers(&campaign).failed, number(&of_day, "mails")), (5, 1, 5));
}
