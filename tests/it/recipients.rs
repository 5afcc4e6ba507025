//! Recipients of campaigns: what their lists say, what a person does with one of them, that nobody gets a mail twice by it, and what is left of a campaign
//! that goes.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use serde_json::{Value, json};
use stack::sources::Faults;

use crate::sending::{Home, hello};
use crate::workspaces::workspace;
use crate::world::{Answer, Settings, id};

const CAMPAIGNS: &str = "/api/v1/tenant/campaigns";
const LEADS: &str = "/api/v1/tenant/leads";

const DAY: SignedDuration = SignedDuration::from_mins(24 * 60 + 1);

/// Three mails, a day apart.
fn three() -> Value {
    let mail = |subject: &str| json!({"type": "email", "subject": subject, "body": "<p>Hello</p>"});
    let day = json!({"type": "wait", "value": 1, "unit": "days"});
    json!([mail("One"), day, mail("Two"), day, mail("Three")])
}

/// For whom the list is long, the mail cannot be written.
fn of_a_list() -> Value {
    let body = "{% for a in custom.list %}{% for b in custom.list %}{% for c in custom.list %}x{% endfor %}{% endfor %}{% endfor %}";
    json!([{"type": "email", "subject": "One", "body": body}, {"type": "wait", "value": 1, "unit": "days"}, {"type": "email", "subject": "Two", "body": "<p>Two</p>"}])
}

impl Home {
    async fn made_lead(&self, email: &str, attributes: Value) -> String {
        id(&self.post(LEADS, json!({"email": email, "first_name": "Ada", "attributes": attributes})).await.expect(201).json()["data"])
            .to_owned()
    }

    async fn launched(&self, sequence: Value, leads: &[String]) -> String {
        let campaign = self.campaign(sequence, json!({"lead_ids": leads}), json!({"daily_limit": null})).await;
        self.send(&campaign, "start").await.expect(200);
        campaign
    }

    async fn act(&self, campaign: &str, lead: &str, action: &str) -> Answer {
        self.post(&format!("{CAMPAIGNS}/{campaign}/recipients/{lead}/{action}"), json!({})).await
    }

    async fn add(&self, campaign: &str, leads: &[String]) -> Answer {
        self.post(&format!("{CAMPAIGNS}/{campaign}/recipients"), json!({"lead_ids": leads})).await
    }

    async fn retry(&self, campaign: &str, body: Value) -> Value {
        self.post(&format!("{CAMPAIGNS}/{campaign}/retry"), body).await.expect(200).json()["data"].clone()
    }

    /// The leads of a list, and its total.
    async fn listed(&self, campaign: &str, query: &str) -> (BTreeSet<String>, u64) {
        let page = self.world.get(format!("{CAMPAIGNS}/{campaign}/recipients?limit=100{query}")).token(&self.tenant.owner.token);
        let page = page.send().await.expect(200).json();
        let leads = page["data"].as_array().expect("a list").iter().map(|one| id(&one["lead"]).to_owned()).collect();
        (leads, page["pagination"]["total"].as_u64().expect("a total"))
    }

    async fn recipient(&self, campaign: &str, lead: &str) -> Value {
        let all = self.get(&format!("{CAMPAIGNS}/{campaign}/recipients?limit=100")).await;
        all.as_array().expect("a list").iter().find(|one| one["lead"]["id"] == lead).expect("the recipient").clone()
    }

    fn kinds(&self) -> BTreeSet<String> {
        let kinds = self.world.items_of(&self.tenant).into_iter().filter_map(|item| Some(item["type"]["S"].as_str()?.to_owned()));
        kinds.filter(|kind| kind.starts_with("campaign") || matches!(kind.as_str(), "wave" | "enrolment")).collect()
    }
}

fn set(leads: &[&String]) -> (BTreeSet<String>, u64) {
    (leads.iter().map(|lead| (*lead).clone()).collect(), leads.len() as u64)
}

#[tokio::test]
async fn lists_say_what_came_of_each() {
    let home = Home::new().await;
    let long = json!({"list": (0..50).collect::<Vec<u32>>()});
    let [active, paused, removed] = ["active@example.com", "paused@example.com", "removed@example.com"];
    let mut leads = vec![];
    for email in [active, paused, removed, "unknown+lost@example.com", "suppressed@example.com", "gone@example.com"] {
        leads.push(home.made_lead(email, json!({})).await);
    }
    leads.push(home.made_lead("failed@example.com", long).await);
    let suppressed = json!({"email": "suppressed@example.com", "scope": "workspace", "reason": "manual"});
    home.post("/api/v1/tenant/suppression-list", suppressed).await.expect(201);
    let draft = home.campaign(of_a_list(), json!({"lead_ids": leads}), json!({"daily_limit": null})).await;
    assert_eq!(home.listed(&draft, "").await, set(&[]));
    home.send(&draft, "start").await.expect(200);
    let campaign = draft;
    home.settle().await;
    home.act(&campaign, &leads[1], "pause").await.expect(200);
    let taken = home.act(&campaign, &leads[2], "remove").await.expect(200).json()["data"].clone();
    assert_eq!((&taken["state"], &taken["outcome"], &taken["lead"]["email"]), (&json!("exited"), &json!("removed"), &json!(removed)));
    home.world.delete(format!("{LEADS}/{}", leads[5])).token(&home.tenant.owner.token).send().await.expect(204);

    let all: Vec<&String> = leads.iter().collect();
    assert_eq!(home.listed(&campaign, "").await, set(&all));
    for (outcome, expected) in [
        ("active", vec![&leads[0], &leads[5]]),
        ("paused", vec![&leads[1]]),
        ("removed", vec![&leads[2]]),
        ("unknown", vec![&leads[3]]),
        ("skipped", vec![&leads[4]]),
        ("failed", vec![&leads[6]]),
        ("completed", vec![]),
        ("replied", vec![]),
        ("bounced", vec![]),
        ("complained", vec![]),
        ("unsubscribed", vec![]),
    ] {
        assert_eq!(home.listed(&campaign, &format!("&outcome={outcome}")).await, set(&expected), "{outcome}");
    }
    for (search, expected) in [
        ("search=paused@", vec![&leads[1]]),
        ("search=PAUSED", vec![&leads[1]]),
        ("search=example.com", all[..5].iter().copied().chain([&leads[6]]).collect()),
        ("search=example.com&outcome=active", vec![&leads[0]]),
        ("search=paused&outcome=failed", vec![]),
        ("search=nobody", vec![]),
    ] {
        assert_eq!(home.listed(&campaign, &format!("&{search}")).await, set(&expected), "{search}");
    }
    // Page by page they are the same, whatever is asked for.
    for query in ["", "&outcome=active", "&search=example.com"] {
        let (whole, total) = home.listed(&campaign, query).await;
        let (mut seen, mut cursor) = (BTreeSet::new(), String::new());
        loop {
            let page = home.world.get(format!("{CAMPAIGNS}/{campaign}/recipients?limit=1{query}{cursor}")).token(&home.tenant.owner.token);
            let page = page.send().await.expect(200).json();
            assert_eq!(page["pagination"]["total"], total);
            assert!(seen.insert(id(&page["data"][0]["lead"]).to_owned()), "{query} twice");
            match page["pagination"]["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen, whole, "{query}");
    }
    // A lead that was deleted is an id.
    let gone = home.recipient(&campaign, &leads[5]).await;
    assert_eq!(gone["lead"], json!({"id": leads[5], "email": null, "first_name": null, "last_name": null, "company": null}));
    let one = home.recipient(&campaign, &leads[0]).await;
    assert_eq!(
        (&one["state"], &one["step"], &one["outcome"], &one["reason"]),
        (&json!("waiting"), &json!(3), &json!("active"), &Value::Null)
    );
    let sent: jiff::Timestamp = one["steps"][0]["sent_at"].as_str().expect("a moment").parse().expect("a moment");
    let next: jiff::Timestamp = one["next_at"].as_str().expect("a moment").parse().expect("a moment");
    assert_eq!((next.duration_since(sent), one["steps"].as_array().map(Vec::len)), (SignedDuration::from_hours(24), Some(1)));
    let skipped = home.recipient(&campaign, &leads[4]).await;
    assert_eq!((&skipped["step"], &skipped["reason"], &skipped["steps"]), (&Value::Null, &json!("suppressed: manual"), &json!([])));
    assert!(home.recipient(&campaign, &leads[6]).await["reason"].as_str().expect("a reason").starts_with("render: "));

    let status = home.status(&campaign).await;
    let counts = &status["counts"];
    let shown = ["enrolled", "skipped", "sent", "failed", "unknown", "dropped"].map(|name| counts[name].as_u64().expect("a number"));
    assert_eq!(shown, [6, 1, 4, 1, 1, 1], "{counts}");
    assert_eq!(status["pacing"], json!({"state": "sending", "held_by": null, "next_at": null}));
    assert!(status["launched_at"].is_string() && status["completed_at"].is_null());
    home.send(&campaign, "pause").await.expect(200);
    let status = home.status(&campaign).await;
    assert_eq!((&status["paused_by"], &status["pacing"]["state"]), (&json!("manual"), &json!("idle")));
    for wrong in ["outcome=nonsense", "search=a", "status=active", "limit=0"] {
        home.world.get(format!("{CAMPAIGNS}/{campaign}/recipients?{wrong}")).token(&home.tenant.owner.token).send().await.expect(400);
    }
}

#[tokio::test]
async fn what_is_held_up_says_by_what_and_until_when() {
    let home = Home::new().await;
    let leads = home.leads(3).await;
    let campaign = home.campaign(hello(), json!({"lead_ids": leads}), json!({"daily_limit": 1})).await;
    home.send(&campaign, "start").await.expect(200);
    home.settle().await;
    let pacing = home.status(&campaign).await["pacing"].clone();
    assert_eq!(pacing, json!({"state": "held", "held_by": "daily_limit", "next_at": "2026-12-01T00:00:00.000Z"}));
    let waiting: Vec<Value> =
        home.get(&format!("{CAMPAIGNS}/{campaign}/recipients?outcome=active")).await.as_array().expect("a list").clone();
    assert_eq!(waiting.len(), 2);
    assert!(waiting.iter().all(|one| one["next_at"] == "2026-12-01T00:00:00.000Z"), "{waiting:?}");
}

#[tokio::test]
async fn who_is_paused_waits_and_who_is_removed_gets_nothing_more() {
    let home = Home::new().await;
    let leads = home.leads(3).await;
    let campaign = home.launched(three(), &leads).await;
    home.settle().await;
    let paused = home.act(&campaign, &leads[0], "pause").await.expect(200).json()["data"].clone();
    assert_eq!((&paused["state"], &paused["step"], &paused["next_at"]), (&json!("paused"), &json!(3), &Value::Null));
    assert_eq!(home.act(&campaign, &leads[0], "pause").await.expect(409).code(), "CONFLICT");
    assert_eq!(home.act(&campaign, &leads[1], "resume").await.expect(409).code(), "CONFLICT");
    home.act(&campaign, &leads[2], "remove").await.expect(200);
    for action in ["pause", "resume", "remove"] {
        assert_eq!(home.act(&campaign, &leads[2], action).await.expect(409).code(), "CONFLICT", "{action}");
    }
    home.pass(1, DAY).await;
    assert_eq!(home.mails()["lead0@example.com"], ["One"]);
    assert_eq!(home.mails()["lead1@example.com"], ["One", "Two"]);
    let resumed = home.act(&campaign, &leads[0], "resume").await.expect(200).json()["data"].clone();
    assert_eq!((&resumed["state"], &resumed["outcome"]), (&json!("waiting"), &json!("active")));
    home.settle().await;
    assert_eq!(home.mails()["lead0@example.com"], ["One", "Two"]);
    // Paused and resumed in time, nothing changes but the moment.
    home.act(&campaign, &leads[0], "pause").await.expect(200);
    home.act(&campaign, &leads[0], "resume").await.expect(200);
    home.settle().await;
    home.pass(3, DAY).await;
    let mails = home.mails();
    assert_eq!((&mails["lead0@example.com"], &mails["lead1@example.com"]), (&mails["lead1@example.com"], &mails["lead0@example.com"]));
    assert_eq!(mails["lead0@example.com"], ["One", "Two", "Three"]);
    assert_eq!(mails["lead2@example.com"], ["One"]);
    let status = home.status(&campaign).await;
    assert_eq!((&status["status"], &status["counts"]["dropped"], &status["stats"]["sent"]), (&json!("completed"), &json!(1), &json!(7)));
    assert_eq!(home.act(&campaign, &leads[0], "resume").await.expect(409).code(), "CAMPAIGN_INVALID_STATE");
    assert_eq!(home.add(&campaign, &leads[..1]).await.expect(409).code(), "CAMPAIGN_INVALID_STATE");
    let retry = home.post(&format!("{CAMPAIGNS}/{campaign}/retry"), json!({"outcome": "unknown"})).await.expect(409);
    assert_eq!(retry.code(), "CAMPAIGN_INVALID_STATE");
}

#[tokio::test]
async fn who_is_resumed_in_a_paused_campaign_waits_for_that() {
    let home = Home::new().await;
    let leads = home.leads(2).await;
    let campaign = home.launched(three(), &leads).await;
    home.settle().await;
    home.act(&campaign, &leads[0], "pause").await.expect(200);
    home.send(&campaign, "pause").await.expect(200);
    home.act(&campaign, &leads[0], "resume").await.expect(200);
    home.pass(2, DAY).await;
    assert!(home.mails().values().all(|mails| mails == &["One"]));
    home.send(&campaign, "resume").await.expect(200);
    home.pass(3, DAY).await;
    assert!(home.mails().values().all(|mails| mails == &["One", "Two", "Three"]), "{:?}", home.mails());
}

#[tokio::test]
async fn what_failed_or_got_lost_goes_once_more_when_a_person_asks() {
    let home = Home::new().await;
    let failing = home.made_lead("failed@example.com", json!({"list": (0..50).collect::<Vec<u32>>()})).await;
    let lost = home.made_lead("ada+lost@example.com", json!({})).await;
    let other = home.made_lead("other@example.com", json!({})).await;
    let campaign = home.launched(of_a_list(), &[failing.clone(), lost.clone(), other.clone()]).await;
    home.settle().await;
    let counts = home.status(&campaign).await["counts"].clone();
    assert_eq!((&counts["sent"], &counts["failed"], &counts["unknown"]), (&json!(1), &json!(1), &json!(1)));
    // Nobody else is touched.
    assert_eq!(
        home.retry(&campaign, json!({"outcome": "failed", "lead_ids": [lost, other]})).await,
        json!({"retried": 0, "has_more": false})
    );
    let change = async |lead: &str, body: Value| {
        home.world.patch(format!("{LEADS}/{lead}")).token(&home.tenant.owner.token).json(body).send().await.expect(200)
    };
    change(&failing, json!({"attributes": {"list": null}})).await;
    assert_eq!(home.retry(&campaign, json!({"outcome": "failed"})).await, json!({"retried": 1, "has_more": false}));
    assert_eq!(home.retry(&campaign, json!({"outcome": "failed"})).await, json!({"retried": 0, "has_more": false}));
    home.settle().await;
    assert_eq!(home.mails()["failed@example.com"], ["One"]);
    // Of the other one a mail may have arrived: this is the second.
    assert_eq!(home.mails()["ada+lost@example.com"], ["One"]);
    assert_eq!(home.retry(&campaign, json!({"outcome": "unknown", "lead_ids": [lost]})).await["retried"], 1);
    home.settle().await;
    assert_eq!(
        (home.mails()["ada+lost@example.com"].len(), home.recipient(&campaign, &lost).await["outcome"].clone()),
        (2, json!("unknown"))
    );
    change(&lost, json!({"email": "ada@example.com"})).await;
    assert_eq!(home.retry(&campaign, json!({"outcome": "unknown"})).await["retried"], 1);
    let counts = home.status(&campaign).await["counts"].clone();
    assert_eq!((&counts["failed"], &counts["unknown"]), (&json!(0), &json!(0)));
    home.settle().await;
    home.pass(2, DAY).await;
    for email in ["failed@example.com", "ada@example.com", "other@example.com"] {
        assert_eq!(home.mails()[email], ["One", "Two"], "{email}");
    }
    let status = home.status(&campaign).await;
    assert_eq!((&status["status"], &status["stats"]["sent"]), (&json!("completed"), &json!(6)), "{status}");
    for wrong in
        [json!({}), json!({"outcome": "active"}), json!({"outcome": "failed", "lead_ids": []}), json!({"outcome": "failed", "all": true})]
    {
        home.post(&format!("{CAMPAIGNS}/{campaign}/retry"), wrong).await.expect(400);
    }
}

#[tokio::test]
async fn leads_are_added_by_hand_once() {
    let home = Home::new().await;
    let leads = home.leads(5).await;
    let draft =
        home.campaign(three(), json!({"lead_ids": [leads[0]]}), json!({"daily_limit": null, "required_variables": ["first_name"]})).await;
    assert_eq!(home.add(&draft, &leads[1..]).await.expect(409).code(), "CAMPAIGN_INVALID_STATE");
    home.send(&draft, "start").await.expect(200);
    let campaign = draft;
    // Before the sender has enrolled anybody: the audience's own lead, too.
    let nameless = id(&home.post(LEADS, json!({"email": "nameless@example.com"})).await.expect(201).json()["data"]).to_owned();
    let suppressed = json!({"email": "lead3@example.com", "scope": "tenant", "reason": "manual"});
    home.post("/api/v1/tenant/suppression-list", suppressed).await.expect(201);
    let named = [&leads[..4], std::slice::from_ref(&nameless)].concat();
    let added = home.add(&campaign, &named).await.expect(200).json()["data"].clone();
    assert_eq!(added, json!({"enrolled": 3, "skipped": {"suppressed": 1, "missing_variable": 1}, "already": 0}));
    let again = home.add(&campaign, &named).await.expect(200).json()["data"].clone();
    assert_eq!(again, json!({"enrolled": 0, "skipped": {"suppressed": 1, "missing_variable": 1}, "already": 3}));
    home.settle().await;
    assert_eq!(home.mails().len(), 3);
    assert!(home.mails().values().all(|mails| mails == &["One"]), "{:?}", home.mails());
    assert_eq!(home.status(&campaign).await["counts"]["enrolled"], 3);
    assert_eq!(home.listed(&campaign, "").await, set(&[&leads[0], &leads[1], &leads[2]]));
    // What kept it away is gone.
    home.world
        .patch(format!("{LEADS}/{nameless}"))
        .token(&home.tenant.owner.token)
        .json(json!({"first_name": "N"}))
        .send()
        .await
        .expect(200);
    home.send(&campaign, "pause").await.expect(200);
    let added = home.add(&campaign, &[nameless.clone(), leads[4].clone()]).await.expect(200).json()["data"].clone();
    assert_eq!((&added["enrolled"], &added["already"]), (&json!(2), &json!(0)));
    home.settle().await;
    assert_eq!(home.mails().len(), 3);
    home.send(&campaign, "resume").await.expect(200);
    home.pass(4, DAY).await;
    assert_eq!(home.mails().len(), 5);
    assert!(home.mails().values().all(|mails| mails == &["One", "Two", "Three"]), "{:?}", home.mails());
    let status = home.status(&campaign).await;
    assert_eq!((&status["status"], &status["counts"]["enrolled"], &status["stats"]["sent"]), (&json!("completed"), &json!(5), &json!(15)));
    for wrong in [json!({}), json!({"lead_ids": []}), json!({"lead_ids": vec![leads[0].clone(); 101]}), json!({"lead_ids": ["x"]})] {
        home.post(&format!("{CAMPAIGNS}/{campaign}/recipients"), wrong).await.expect(400);
    }
}

#[tokio::test]
async fn a_hundred_leads_are_added_at_once() {
    let home = Home::new().await;
    let leads = home.leads(101).await;
    let campaign = home.launched(hello(), &leads[..1]).await;
    let added = home.add(&campaign, &leads[1..]).await.expect(200).json()["data"].clone();
    assert_eq!(added["enrolled"], 100);
    home.settle().await;
    assert_eq!((home.mails().len(), home.sent().len()), (101, 101));
    let status = home.status(&campaign).await;
    assert_eq!((&status["status"], &status["counts"]["enrolled"]), (&json!("completed"), &json!(101)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_requests_at_once_each_lead_is_in_one_place() {
    let home = Home::new().await;
    let leads = home.leads(6).await;
    let campaign = home.launched(three(), &leads[..1]).await;
    // Both name the same leads, while the sender enrols one of them.
    let (one, two, ()) = tokio::join!(home.add(&campaign, &leads), home.add(&campaign, &leads), home.settle());
    let enrolled = |answer: Answer| answer.expect(200).json()["data"]["enrolled"].as_u64().expect("a number");
    let by_hand = enrolled(one) + enrolled(two);
    assert!((5..=6).contains(&by_hand), "{by_hand}");
    home.settle().await;
    home.pass(1, SignedDuration::from_mins(20)).await;
    assert_eq!((home.mails().len(), home.sent().len()), (6, 6));
    assert_eq!(home.status(&campaign).await["counts"]["enrolled"], 6);
    // Pause and removal: the removal holds, whichever is first.
    let (paused, removed) = tokio::join!(home.act(&campaign, &leads[1], "pause"), home.act(&campaign, &leads[1], "remove"));
    assert!(matches!(paused.status, 200 | 409), "{}", paused.text);
    removed.expect(200);
    assert_eq!(home.recipient(&campaign, &leads[1]).await["outcome"], "removed");
    home.act(&campaign, &leads[2], "pause").await.expect(200);
    let (one, two) = tokio::join!(home.act(&campaign, &leads[2], "resume"), home.act(&campaign, &leads[2], "resume"));
    assert_eq!(BTreeSet::from([one.status, two.status]), BTreeSet::from([200, 409]));
    home.settle().await;
    home.pass(4, DAY).await;
    let mails = home.mails();
    assert_eq!(mails["lead1@example.com"], ["One"]);
    for lead in [0, 2, 3, 4, 5] {
        assert_eq!(mails[&format!("lead{lead}@example.com")], ["One", "Two", "Three"], "{lead}");
    }
}

#[tokio::test]
async fn ids_of_another_workspace_are_nobodys() {
    let home = Home::new().await;
    let leads = home.leads(2).await;
    let campaign = home.launched(three(), &leads).await;
    home.settle().await;
    let own = home.tenant.owner.token.clone();
    let elsewhere = workspace(&home.world, &home.tenant.owner, "Elsewhere").await;
    let body = json!({"email": "lead0@example.com", "workspace_slug": elsewhere["slug"]});
    let foreign = id(&home.post(LEADS, body).await.expect(201).json()["data"]).to_owned();
    let nobody = format!("lead_0198c0de0000700080000000{}", &leads[0][leads[0].len() - 8..]);
    for action in ["pause", "resume", "remove"] {
        let theirs = home.act(&campaign, &foreign, action).await.expect(404);
        assert_eq!(theirs.fingerprint(), home.act(&campaign, &nobody, action).await.fingerprint(), "{action}");
        // The campaign, asked for in another workspace.
        let there = home.world.post(format!("{CAMPAIGNS}/{campaign}/recipients/{}/{action}", leads[0])).token(&own);
        let there = there.header("x-workspace-id", id(&elsewhere)).send().await.expect(404);
        let nowhere =
            home.world.post(format!("{CAMPAIGNS}/cmp_0198c0de000070008000000000000000/recipients/{}/{action}", leads[0])).token(&own);
        let nowhere = nowhere.header("x-workspace-id", id(&elsewhere)).send().await.expect(404);
        assert_eq!(there.fingerprint(), nowhere.fingerprint(), "{action}");
    }
    let theirs = home.add(&campaign, &[leads[0].clone(), foreign.clone()]).await.expect(404);
    assert_eq!(theirs.fingerprint(), home.add(&campaign, &[leads[0].clone(), nobody.clone()]).await.fingerprint());
    let retry =
        async |lead: &str| home.post(&format!("{CAMPAIGNS}/{campaign}/retry"), json!({"outcome": "failed", "lead_ids": [lead]})).await;
    assert_eq!(retry(&foreign).await.expect(404).fingerprint(), retry(&nobody).await.fingerprint());
}

#[tokio::test]
async fn a_campaign_that_goes_takes_all_with_it() {
    let home = Home::new().await;
    let template = json!({"name": "Hello", "subject": "Hello", "body": "<p>Hello</p>"});
    let template = id(&home.post("/api/v1/tenant/templates", template).await.expect(201).json()["data"]).to_owned();
    let used = async || home.get(&format!("/api/v1/tenant/templates/{template}")).await["used_in"].clone();
    let leads = home.leads(3).await;
    let sequence = json!([{"type": "email", "template_id": template}, {"type": "wait", "value": 1, "unit": "days"}, {"type": "email", "template_id": template}]);
    let delete = async |campaign: &str| home.world.delete(format!("{CAMPAIGNS}/{campaign}")).token(&home.tenant.owner.token).send().await;
    let campaign = home.launched(sequence.clone(), &leads).await;
    home.settle().await;
    assert_eq!(delete(&campaign).await.expect(409).code(), "CAMPAIGN_INVALID_STATE");
    assert_eq!((used().await, home.sent().len()), (json!(1), 3));
    home.send(&campaign, "pause").await.expect(200);
    delete(&campaign).await.expect(204);
    assert_eq!(used().await, 0);
    home.get(CAMPAIGNS).await.as_array().filter(|all| all.is_empty()).expect("no campaign");
    home.world.get(format!("{CAMPAIGNS}/{campaign}/recipients")).token(&home.tenant.owner.token).send().await.expect(404);
    home.settle().await;
    assert_eq!(home.kinds(), BTreeSet::new());
    home.pass(2, DAY).await;
    assert_eq!(home.sent().len(), 3);
    // One that is completed used its template only until then.
    let campaign = home.launched(sequence, &leads).await;
    home.settle().await;
    home.pass(2, DAY).await;
    assert_eq!((home.status(&campaign).await["status"].clone(), used().await), (json!("completed"), json!(0)));
    delete(&campaign).await.expect(204);
    home.settle().await;
    assert_eq!((home.kinds(), used().await), (BTreeSet::new(), json!(0)));
}

#[tokio::test]
async fn nothing_goes_and_nothing_stays_of_one_that_is_deleted_while_it_sends() {
    let mut round = 1;
    loop {
        let home = Home::new().await;
        let leads = home.leads(3).await;
        let campaign = home.campaign(three(), json!({"lead_ids": leads}), json!({"daily_limit": 100})).await;
        home.send(&campaign, "start").await.expect(200);
        let faults = Faults { kill_after: Some(round), ..Faults::default() };
        let sources = home.sources(faults);
        let is_cut = sources.drain().await.is_err();
        home.send(&campaign, "pause").await.expect(200);
        home.world.delete(format!("{CAMPAIGNS}/{campaign}")).token(&home.tenant.owner.token).send().await.expect(204);
        let sent = home.sent().len();
        home.settle().await;
        home.pass(3, DAY).await;
        assert_eq!((home.sent().len(), home.kinds()), (sent, BTreeSet::new()), "cut after {round}");
        assert_eq!(home.in_months(), sent as u64, "what did not go is not counted: cut after {round}");
        if !is_cut {
            assert!(round > 3, "{round}");
            break;
        }
        round += 1;
    }
}

/// Deletes the campaign, or all of its workspace, as soon as so many mails are out. Gives how many had gone when the answer came.
async fn deleted_when(home: &Home, campaign: &str, mails: usize, with_workspace: bool) -> usize {
    let deleting = async {
        while home.sent().len() < mails {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        let owner = &home.tenant.owner.token;
        if with_workspace {
            let workspace = home.world.delete(format!("/api/v1/tenant/workspaces/{}", id(&home.workspace)));
            workspace.token(owner).json(json!({"confirm": home.workspace["name"]})).send().await.expect(204);
        } else {
            home.send(campaign, "pause").await.expect(200);
            home.world.delete(format!("{CAMPAIGNS}/{campaign}")).token(owner).send().await.expect(204);
        }
        home.sent().len()
    };
    let (at_answer, ()) = tokio::join!(Box::pin(deleting), Box::pin(home.settle()));
    at_answer
}

#[tokio::test]
async fn who_deletes_in_the_middle_of_a_wave_pays_for_what_was_sent() {
    for (mails, with_workspace) in [(1, false), (50, false), (1, true), (50, true)] {
        let home = Home::new().await;
        let leads = home.leads(90).await;
        let campaign = home.launched(hello(), &leads).await;
        let at_answer = deleted_when(&home, &campaign, mails, with_workspace).await;
        let gone = home.sent().len();
        assert!(gone <= at_answer + 1 && gone < leads.len(), "{at_answer} at the answer, and then {gone}");
        home.pass(2, SignedDuration::from_mins(20)).await;
        let what = if with_workspace { "workspace" } else { "campaign" };
        assert_eq!((home.sent().len(), home.in_months()), (gone, gone as u64), "{what} after {mails}");
        assert_eq!(home.kinds(), BTreeSet::new(), "{what} after {mails}");
    }
}

#[tokio::test]
async fn colleagues_see_a_mail_first_and_nothing_is_noted_of_that() {
    let home = Home::new().await;
    let template = json!({"name": "Second", "subject": "Second {{first_name}}", "body": "<p>{{custom.plan}}</p>"});
    let template = id(&home.post("/api/v1/tenant/templates", template).await.expect(201).json()["data"]).to_owned();
    let lead = home.made_lead("lead@example.com", json!({"plan": "pro"})).await;
    let mut sequence = hello();
    sequence.as_array_mut().expect("a list").push(json!({"type": "email", "template_id": template}));
    let campaign = home.campaign(sequence, json!({"lead_ids": [lead]}), json!({"daily_limit": null})).await;
    let colleague = home.world.member(&home.tenant, "viewer").await;
    let test = async |body: Value| home.post(&format!("{CAMPAIGNS}/{campaign}/test-send"), body).await;
    let tests = async || {
        home.settle().await;
        let kept = home.world.aws.mailbox().mails().expect("mails");
        kept.into_iter().map(|kept| kept.mail).filter(|mail| mail.kind == "campaign_test").collect::<Vec<_>>()
    };
    let both = json!({"to": [home.tenant.owner.email, colleague.email, colleague.email.to_uppercase()]});
    let queued = test(both).await.expect(202).json()["data"].clone();
    assert_eq!(queued, json!({"step": 1, "to": [home.tenant.owner.email, colleague.email]}));
    let mails = tests().await;
    assert_eq!(mails.iter().map(|mail| &mail.to).collect::<BTreeSet<_>>(), BTreeSet::from([&home.tenant.owner.email, &colleague.email]));
    for mail in &mails {
        let html = mail.html.as_deref().unwrap_or_default();
        assert_eq!((mail.subject.as_str(), mail.from.as_deref()), ("[Test] Hi Jane", Some("\"Ada\" <no-reply@example.com>")));
        assert!(html.contains("https://shop.example/a") && html.contains("1 Main St") && html.contains("/e/u/test"), "{html}");
        assert!(!html.contains("/e/c/") && !html.contains("/e/o/") && mail.tags.is_empty() && mail.headers.is_empty(), "{html}");
    }
    // Of a draft, with the template as it is now and a lead's values; then while it is under way.
    test(json!({"to": [colleague.email], "step": 2, "lead_id": lead})).await.expect(202);
    let last = tests().await.into_iter().find(|mail| mail.subject == "[Test] Second Ada").expect("the mail of the template");
    assert!(last.html.as_deref().unwrap_or_default().contains("<p>pro</p>") && last.to == colleague.email);
    home.send(&campaign, "start").await.expect(200);
    home.settle().await;
    test(json!({"to": [colleague.email], "step": 2})).await.expect(202);
    assert_eq!((tests().await.len(), home.mails().len()), (4, 1));
    let status = home.status(&campaign).await;
    assert_eq!((&status["counts"]["enrolled"], &status["stats"]["sent"]), (&json!(1), &json!(2)), "{status}");
    // Its way out is nobody's.
    home.world.get("/e/u/test").send().await.expect(404);
    let months: Vec<Value> = home.world.items_of_type("mail_month");
    assert_eq!(months[0]["mails"]["N"], "6", "{months:?}");
    for wrong in [
        json!({}),
        json!({"to": []}),
        json!({"to": ["stranger@example.com"]}),
        json!({"to": [colleague.email, "lead@example.com"]}),
        json!({"to": [colleague.email], "step": 3}),
        json!({"to": [colleague.email], "step": 0}),
        json!({"to": (0..6).map(|number| format!("a{number}@example.com")).collect::<Vec<_>>()}),
    ] {
        test(wrong).await.expect(400);
    }
    assert_eq!(tests().await.len(), 4);
    let empty = home.campaign(json!([]), json!({"lead_ids": [lead]}), json!({})).await;
    let refused = home.post(&format!("{CAMPAIGNS}/{empty}/test-send"), json!({"to": [colleague.email]})).await.expect(409);
    assert_eq!(refused.code(), "CAMPAIGN_EMPTY_SEQUENCE");
}

#[tokio::test]
async fn a_workspace_sends_ten_tests_an_hour() {
    let home = Home::with(Settings { strict: true, ..Settings::default() }).await;
    let lead = home.made_lead("lead@example.com", json!({})).await;
    let campaign = home.campaign(hello(), json!({"lead_ids": [lead]}), json!({})).await;
    let test = async || home.post(&format!("{CAMPAIGNS}/{campaign}/test-send"), json!({"to": [home.tenant.owner.email]})).await;
    for _ in 0..10 {
        test().await.expect(202);
    }
    let refused = test().await.expect(429);
    assert_eq!((refused.details()["quota"].clone(), refused.details()["limit"].clone()), (json!("test-mails"), json!(10)));
    assert_eq!(home.world.items_of_type("test_mail").len(), 10);
    home.world.advance(SignedDuration::from_hours(1));
    test().await.expect(202);
}
