//! What becomes of a campaign's mails: bounces, complaints, mails of which nobody knew, what their readers do, and what the campaign makes of it.

use jiff::SignedDuration;
use records::campaign::CampaignId;
use serde_json::{Value, json};
use stack::mailbox::{Report, unsubscribe_url};

use crate::audience::counts_are_true;
use crate::sending::Home;
use crate::workspaces::workspace;
use crate::world::{Settings, id};

const LEADS: &str = "/api/v1/tenant/leads";
const EVENTS: &str = "tenantry-local-MailEventsQueue";
const LETTERS: &str = "tenantry-local-MailEventsDeadLetters";
const DAY: SignedDuration = SignedDuration::from_hours(24);

fn mails_a_day_apart(mails: usize) -> Value {
    let mut steps = vec![];
    for number in 1..=mails {
        steps.push(json!({"type": "email", "subject": format!("Mail {number}"), "body": "<a href=\"https://shop.example/\">shop</a>"}));
        steps.push(json!({"type": "wait", "value": 1, "unit": "days"}));
    }
    steps.pop();
    json!(steps)
}

/// Launched, with the first mails out.
async fn launched(home: &Home, mails: usize, emails: &[&str]) -> (String, Vec<String>) {
    let mut leads = vec![];
    for email in emails {
        leads.push(id(&home.post(LEADS, json!({"email": email})).await.expect(201).json()["data"]).to_owned());
    }
    let campaign = home.campaign(mails_a_day_apart(mails), json!({"lead_ids": leads}), json!({"daily_limit": null})).await;
    home.send(&campaign, "start").await.expect(200);
    home.settle().await;
    (campaign, leads)
}

impl Home {
    pub async fn reported(&self) {
        self.world.advance(SignedDuration::from_secs(30));
        self.world.aws.mailbox().play(self.world.auth.clock().now()).expect("reports");
        self.settle().await;
        let letters = self.world.aws.queues().depth(LETTERS).expect("the queue");
        assert_eq!(letters.visible + letters.hidden, 0, "a report was given up");
    }

    async fn report(&self, mail: &str, report: Report) {
        self.world.advance(SignedDuration::from_secs(30));
        assert!(self.world.aws.mailbox().report(mail, report, self.world.auth.clock().now()).expect("a report"));
        self.settle().await;
    }

    pub async fn days(&self, days: usize) {
        for _ in 0..days {
            self.pass(1, DAY).await;
            self.pass(2, SignedDuration::from_mins(1)).await;
        }
    }

    /// A number of the campaign's record.
    fn number(&self, campaign: &str, name: &str) -> i64 {
        let uuid = CampaignId::parse_prefixed(campaign).expect("an id").to_string();
        let items = self.world.items_of_type("campaign");
        let item = items.into_iter().find(|item| item["sk"]["S"].as_str() == Some(&uuid)).expect("a campaign");
        item[name]["N"].as_str().map_or(0, |number| number.parse().expect("a number"))
    }

    async fn lead(&self, lead: &str) -> Value {
        self.get(&format!("{LEADS}/{lead}")).await
    }

    /// Reason by address.
    async fn suppressed(&self) -> Vec<(String, String, String)> {
        let list = self.get("/api/v1/tenant/suppression-list").await;
        let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let mut list: Vec<_> = list
            .as_array()
            .expect("a list")
            .iter()
            .map(|entry| (text(entry, "email"), text(entry, "reason"), text(entry, "scope")))
            .collect();
        list.sort();
        list
    }

    /// The id of the first mail to an address.
    fn mail_to(&self, email: &str) -> String {
        self.sent().into_iter().find(|kept| kept.mail.to == email).expect("a mail").mail.id
    }

    /// The path of a link of the latest mail to an address.
    fn link(&self, email: &str, kind: &str) -> String {
        let mail = self.sent().into_iter().rfind(|kept| kept.mail.to == email).expect("a mail").mail;
        let html = mail.html.unwrap_or_default();
        let start = html.find(&format!("/e/{kind}/")).unwrap_or_else(|| panic!("no such link: {html}"));
        html[start..].split('"').next().expect("a link").to_owned()
    }
}

#[tokio::test]
async fn a_bounce_and_a_complaint_end_the_mails_to_an_address() {
    let home = Home::new().await;
    let emails = ["a+bounce@example.com", "b+complain@example.com", "c@example.com"];
    let (campaign, leads) = launched(&home, 2, &emails).await;
    home.reported().await;
    let statuses = [home.lead(&leads[0]).await, home.lead(&leads[1]).await, home.lead(&leads[2]).await];
    assert_eq!(statuses.each_ref().map(|lead| lead["email_status"].as_str().unwrap()), ["bounced", "complained", "active"]);
    assert_eq!(
        statuses.each_ref().map(|lead| lead["activity"][0]["type"].as_str().unwrap()),
        ["email_bounced", "email_complained", "email_sent"]
    );
    let list = [("a+bounce@example.com", "hard_bounce", "tenant"), ("b+complain@example.com", "spam_complaint", "tenant")];
    let list = list.map(|(email, reason, scope)| (email.to_owned(), reason.to_owned(), scope.to_owned()));
    assert_eq!(home.suppressed().await, list);
    assert_eq!(["sent", "bounced", "complained"].map(|name| home.number(&campaign, name)), [3, 1, 1]);
    // The same again, and in another order, says nothing new.
    for (email, report) in
        [(emails[0], Report::Bounce), (emails[1], Report::Complaint), (emails[1], Report::Delivery), (emails[2], Report::Delivery)]
    {
        home.report(&home.mail_to(email), report).await;
    }
    assert_eq!(home.suppressed().await.len(), 2);
    assert_eq!(["sent", "bounced", "complained"].map(|name| home.number(&campaign, name)), [3, 1, 1]);
    home.days(1).await;
    let mails: Vec<usize> = emails.iter().map(|email| home.mails()[*email].len()).collect();
    assert_eq!(mails, [1, 1, 2]);
    assert_eq!(home.status(&campaign).await["status"], "completed");
    // After the last mail, too.
    home.report(&home.sent().into_iter().rfind(|kept| kept.mail.to == emails[2]).expect("a mail").mail.id, Report::Complaint).await;
    assert_eq!((home.number(&campaign, "complained"), home.lead(&leads[2]).await["email_status"].clone()), (2, json!("complained")));
}

#[tokio::test]
async fn an_address_that_is_lifted_gets_mail_again_in_every_workspace() {
    let home = Home::new().await;
    let emails = ["a+bounce@example.com", "b+complain@example.com"];
    let (_, leads) = launched(&home, 1, &emails).await;
    // The same addresses in another workspace, which heard of the complaint itself, too.
    let elsewhere = id(&workspace(&home.world, &home.tenant.owner, "Other").await).to_owned();
    let there = |method, path: &str| home.world.request(method, path).token(&home.tenant.owner.token).header("x-workspace-id", &elsewhere);
    let settings = json!({"settings": {"default_from_name": "Ada", "postal_address": "1 Main St"}});
    there("PATCH", &format!("/api/v1/tenant/workspaces/{elsewhere}")).json(settings).send().await.expect(200);
    let mut others = vec![];
    for email in emails {
        others.push(id(&there("POST", LEADS).json(json!({"email": email})).send().await.expect(201).json()["data"]).to_owned());
    }
    let body = json!({
        "name": "Other", "sequence": mails_a_day_apart(1), "audience": {"lead_ids": others}, "settings": {"daily_limit": null},
    });
    let campaign = id(&there("POST", "/api/v1/tenant/campaigns").json(body).send().await.expect(201).json()["data"]).to_owned();
    home.send(&campaign, "start").await.expect(200);
    home.settle().await;
    home.reported().await;
    for lead in leads.iter().chain(&others) {
        assert_ne!(home.lead(lead).await["email_status"], "active");
    }
    home.world.advance(SignedDuration::from_secs(1));
    let list = there("GET", "/api/v1/tenant/suppression-list").send().await.expect(200).json()["data"].clone();
    for entry in list.as_array().expect("a list") {
        let lifted = there("DELETE", &format!("/api/v1/tenant/suppression-list/{}", id(entry)));
        lifted.json(json!({"evidence": "They wrote on 3 May"})).send().await.expect(204);
    }
    for lead in leads.iter().chain(&others) {
        let lead = home.lead(lead).await;
        assert_eq!((&lead["email_status"], &lead["activity"][0]["type"]), (&json!("active"), &json!("suppression_lifted")));
    }
    let again = home.campaign(mails_a_day_apart(1), json!({"lead_ids": leads}), json!({"daily_limit": null})).await;
    home.send(&again, "start").await.expect(200);
    home.settle().await;
    assert_eq!(emails.map(|email| home.mails()[email].len()), [3, 3]);
}

/// Two mails come back, and the second report is late: by then the address was taken off the list.
#[tokio::test]
async fn a_report_of_a_time_before_a_lift_says_nothing_of_the_lead() {
    let home = Home::new().await;
    let emails = ["a@example.com", "b@example.com"];
    let (first, leads) = launched(&home, 1, &emails).await;
    let second = home.campaign(mails_a_day_apart(1), json!({"lead_ids": leads}), json!({"daily_limit": null})).await;
    home.send(&second, "start").await.expect(200);
    home.settle().await;
    let mails = |email: &str| home.sent().into_iter().filter(|kept| kept.mail.to == email).map(|kept| kept.mail.id).collect::<Vec<_>>();
    let kinds = [Report::Bounce, Report::Complaint];
    for (email, report) in emails.into_iter().zip(kinds) {
        home.report(&mails(email)[0], report).await;
    }
    let before = home.world.auth.clock().now();
    home.world.advance(SignedDuration::from_secs(1));
    let lift = async || {
        for entry in home.get("/api/v1/tenant/suppression-list").await.as_array().expect("a list") {
            let path = format!("/api/v1/tenant/suppression-list/{}", id(entry));
            let lifted = home.world.delete(path).token(&home.tenant.owner.token).json(json!({"evidence": "They wrote on 3 May"}));
            lifted.send().await.expect(204);
        }
    };
    lift().await;
    let report = async |mail: usize, at| {
        for (email, report) in emails.into_iter().zip(kinds) {
            assert!(home.world.aws.mailbox().report(&mails(email)[mail], report, at).expect("a report"));
        }
        home.settle().await;
    };
    report(1, before).await;
    for lead in &leads {
        let lead = home.lead(lead).await;
        assert_eq!((&lead["email_status"], &lead["activity"][0]["type"]), (&json!("active"), &json!("suppression_lifted")));
    }
    assert_eq!(home.suppressed().await, []);
    // What became of the mails counts in both campaigns.
    for campaign in [&first, &second] {
        assert_eq!(["bounced", "complained"].map(|name| home.number(campaign, name)), [1, 1]);
    }
    // What happens after the lift counts.
    let third = home.campaign(mails_a_day_apart(1), json!({"lead_ids": leads}), json!({"daily_limit": null})).await;
    home.send(&third, "start").await.expect(200);
    home.settle().await;
    home.world.advance(SignedDuration::from_secs(1));
    report(2, home.world.auth.clock().now()).await;
    let statuses = [home.lead(&leads[0]).await, home.lead(&leads[1]).await];
    assert_eq!(statuses.each_ref().map(|lead| lead["email_status"].as_str().unwrap()), ["bounced", "complained"]);
    assert_eq!(home.suppressed().await.len(), 2);
}

#[tokio::test]
async fn what_comes_back_counts_for_its_address_whatever_became_of_the_lead() {
    let home = Home::new().await;
    let emails = ["gone@example.com", "moved@example.com", "again@example.com"];
    let (campaign, leads) = launched(&home, 3, &emails).await;
    home.delete(&format!("{LEADS}/{}", leads[0])).await;
    home.patch(&format!("{LEADS}/{}", leads[1]), json!({"email": "new@example.com"})).await.expect(200);
    home.delete(&format!("{LEADS}/{}", leads[2])).await;
    // Another lead has the address now.
    let other = id(&home.post(LEADS, json!({"email": "Again@example.com"})).await.expect(201).json()["data"]).to_owned();
    home.settle().await;
    let reports = [(emails[0], Report::Complaint), (emails[1], Report::Bounce), (emails[2], Report::Complaint)];
    let list = [("again@example.com", "spam_complaint"), ("gone@example.com", "spam_complaint"), ("moved@example.com", "hard_bounce")];
    let list = list.map(|(email, reason)| (email.to_owned(), reason.to_owned(), "tenant".to_owned()));
    for _ in 0..2 {
        for (email, report) in reports {
            home.report(&home.mail_to(email), report).await;
        }
        assert_eq!(home.suppressed().await, list);
        assert_eq!(["bounced", "complained"].map(|name| home.number(&campaign, name)), [1, 2]);
        let (moved, other) = (home.lead(&leads[1]).await, home.lead(&other).await);
        // What was said of the old address says nothing of the new one, but the campaign ends.
        assert_eq!((&moved["email_status"], &moved["activity"][0]["type"]), (&json!("active"), &json!("email_sent")));
        assert_eq!((&other["email_status"], other["activity"].as_array().map(Vec::len)), (&json!("complained"), Some(1)));
        counts_are_true(&home.world, &home.tenant);
    }
    home.days(2).await;
    assert_eq!(home.mails().values().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
    // What is said after the lift counts, also where the campaign is gone.
    let listed = home.get("/api/v1/tenant/suppression-list").await;
    for entry in listed.as_array().expect("a list") {
        let path = format!("/api/v1/tenant/suppression-list/{}", id(entry));
        let lifted = home.world.delete(path).token(&home.tenant.owner.token).json(json!({"evidence": "They wrote on 3 May"}));
        lifted.send().await.expect(204);
    }
    home.delete(&format!("/api/v1/tenant/campaigns/{campaign}")).await;
    home.settle().await;
    home.report(&home.mail_to(emails[0]), Report::Complaint).await;
    assert_eq!(home.suppressed().await.len(), 1, "a complaint after the lift counts");
}

#[tokio::test]
async fn the_third_refusal_in_a_row_is_taken_for_good() {
    let home = Home::new().await;
    let emails = ["a+soft@example.com", "b+soft@example.com"];
    let (campaign, leads) = launched(&home, 5, &emails).await;
    home.reported().await;
    home.days(1).await;
    home.reported().await;
    assert_eq!(home.lead(&leads[0]).await["email_status"], "active");
    // A delivery in between ends the row.
    home.report(&home.mail_to(emails[1]), Report::Delivery).await;
    for _ in 0..2 {
        home.days(1).await;
        home.reported().await;
    }
    assert_eq!(emails.map(|email| home.mails()[email].len()), [3, 4]);
    assert_eq!([&leads[0], &leads[1]].map(|_| ()).len(), 2);
    assert_eq!(
        (home.lead(&leads[0]).await["email_status"].clone(), home.lead(&leads[1]).await["email_status"].clone()),
        (json!("bounced"), json!("active"))
    );
    assert_eq!(home.suppressed().await, [("a+soft@example.com".to_owned(), "soft_bounce".to_owned(), "tenant".to_owned())]);
    assert_eq!(home.number(&campaign, "bounced"), 1);
    // Another address of the same person is another matter.
    let path = format!("{LEADS}/{}", leads[0]);
    home.world.patch(&path).token(&home.tenant.owner.token).json(json!({"email": "other@example.com"})).send().await.expect(200);
    assert_eq!(home.lead(&leads[0]).await["email_status"], "active");
}

#[tokio::test]
async fn a_mail_of_which_nobody_knew_is_settled_by_a_report() {
    let home = Home::new().await;
    let emails = ["a+lost@example.com", "b@example.com"];
    let (campaign, leads) = launched(&home, 2, &emails).await;
    assert_eq!(["sent", "unknown"].map(|name| home.number(&campaign, name)), [1, 1]);
    assert_eq!(home.lead(&leads[0]).await["status"], "new");
    home.days(1).await;
    assert_eq!(emails.map(|email| home.mails()[email].len()), [1, 2], "what may have gone is not sent again, and nothing follows it");
    // The report of the delivery: it went, and the lead goes on, a day after it went.
    home.reported().await;
    assert_eq!(home.lead(&leads[0]).await["status"], "contacted");
    assert_eq!(["sent", "unknown"].map(|name| home.number(&campaign, name)), [3, 0]);
    home.report(&home.mail_to(emails[0]), Report::Delivery).await;
    home.days(1).await;
    let shown = home.status(&campaign).await;
    assert_eq!(
        (home.number(&campaign, "sent"), &shown["stats"]["sent"]),
        (3, &json!(3)),
        "a completed campaign sends nothing more: {shown}"
    );
}

#[tokio::test]
async fn a_settled_mail_is_followed_by_the_next_while_the_campaign_runs() {
    let home = Home::new().await;
    let emails = ["a+lost@example.com", "b@example.com"];
    let (campaign, _) = launched(&home, 2, &emails).await;
    home.reported().await;
    assert_eq!(["sent", "unknown"].map(|name| home.number(&campaign, name)), [2, 0]);
    home.days(1).await;
    assert_eq!(emails.map(|email| home.mails()[email].clone()), [["Mail 1", "Mail 2"], ["Mail 1", "Mail 2"]]);
    home.reported().await;
    assert_eq!(["sent", "unknown"].map(|name| home.number(&campaign, name)), [4, 0]);
    assert_eq!(home.status(&campaign).await["status"], "completed");
}

/// The second time that nobody waits, reports have their hour too.
#[tokio::test]
async fn each_mail_that_gets_lost_has_its_time_for_a_report() {
    let home = Home::new().await;
    let email = "a+lost@example.com";
    let (campaign, _) = launched(&home, 3, &[email]).await;
    for mails in 1..=3 {
        assert_eq!((home.mails()[email].len(), home.number(&campaign, "unknown")), (mails, 1));
        assert_eq!(home.status(&campaign).await["status"], "active", "after mail {mails}");
        home.reported().await;
        home.days(1).await;
    }
    assert_eq!(["sent", "unknown"].map(|name| home.number(&campaign, name)), [3, 0]);
    assert_eq!(home.status(&campaign).await["status"], "completed");
}

#[tokio::test]
async fn people_are_counted_once_and_programs_never() {
    let home = Home::new().await;
    let email = "a@example.com";
    let (campaign, leads) = launched(&home, 2, &[email, "b@example.com"]).await;
    home.reported().await;
    let open = |path: String| {
        let request = home.world.get(path);
        async { request.send().await.expect(200) }
    };
    let numbers = || ["opened", "clicked"].map(|name| home.number(&campaign, name));
    // As soon as it arrived, and by a program that says so.
    open(home.link(email, "o")).await;
    home.world.advance(SignedDuration::from_secs(60));
    home.world.get(home.link(email, "o")).header("purpose", "prefetch").send().await.expect(200);
    home.settle().await;
    assert_eq!(numbers(), [0, 0]);
    home.world.advance(SignedDuration::from_secs(60));
    home.world.get(home.link("b@example.com", "c")).send().await.expect(302);
    home.settle().await;
    assert_eq!(numbers(), [1, 1], "who follows a link has opened the mail");
    for _ in 0..3 {
        home.world.advance(SignedDuration::from_mins(6));
        open(home.link(email, "o")).await;
        home.settle().await;
    }
    assert_eq!(numbers(), [2, 1]);
    let lead = home.lead(&leads[0]).await;
    assert_eq!(lead["activity"][0]["type"], "email_opened");
    assert_eq!(lead["activity"].as_array().expect("entries").len(), 2, "{lead}");
    home.days(1).await;
    home.world.advance(SignedDuration::from_secs(60));
    home.world.get(home.link(email, "c")).send().await.expect(302);
    home.settle().await;
    assert_eq!(numbers(), [2, 2], "a lead opens a campaign once");
    assert_eq!(home.status(&campaign).await["stats"], json!({"sent": 4, "opened": 2, "replied": 0}));
}

#[tokio::test]
async fn who_wants_no_more_leaves_the_campaign() {
    let home = Home::new().await;
    let (campaign, leads) = launched(&home, 2, &["a@example.com", "b@example.com"]).await;
    let mail = home.sent().into_iter().find(|kept| kept.mail.to == "a@example.com").expect("a mail").mail;
    let url = unsubscribe_url(&mail).expect("a header");
    let path = url[url.find("/e/u/").expect("a link")..].to_owned();
    for _ in 0..2 {
        let form = home.world.post(&path).header("content-type", "application/x-www-form-urlencoded");
        form.raw(b"List-Unsubscribe=One-Click").send().await.expect(200);
        home.settle().await;
    }
    assert_eq!(home.number(&campaign, "unsubscribed"), 1);
    assert_eq!(home.lead(&leads[0]).await["email_status"], "unsubscribed");
    home.days(1).await;
    assert_eq!(["a@example.com", "b@example.com"].map(|email| home.mails()[email].len()), [1, 2]);
    let enrolments = home.world.items_of_type("enrolment");
    let exited: Vec<_> = enrolments.iter().filter(|item| item["state"]["M"]["at"]["S"] == "exited").collect();
    assert_eq!((exited.len(), &exited[0]["state"]["M"]["reason"]["S"]), (1, &json!("unsubscribed")));
}

#[tokio::test]
async fn a_campaign_of_which_too_much_comes_back_is_paused() {
    let home = Home::new().await;
    let (campaign, _) = launched(&home, 2, &["a+bounce@example.com", "b@example.com"]).await;
    let item = home.world.items_of_type("campaign").remove(0);
    let key = |name: &str| item[name]["S"].as_str().expect("a key").to_owned();
    home.world.change_item(&key("pk"), &key("sk"), |item| {
        item["sent"] = json!({"N": "500"});
        item["bounced"] = json!({"N": "25"});
    });
    home.reported().await;
    let shown = home.status(&campaign).await;
    assert_eq!((&shown["status"], home.number(&campaign, "bounced")), (&json!("paused"), 26), "{shown}");
    assert_eq!(home.active_campaigns(), 0);
    home.days(1).await;
    assert_eq!(home.mails()["b@example.com"].len(), 1);
}

#[tokio::test]
async fn reports_that_are_not_ours_or_come_too_late_change_nothing() {
    let home = Home::with(Settings::default()).await;
    let (campaign, _) = launched(&home, 1, &["a+bounce@example.com"]).await;
    let queue = || home.world.aws.queues();
    home.world.aws.mailbox().play(home.world.auth.clock().now()).expect("reports");
    let genuine: Value = serde_json::from_str(&queue().peek(EVENTS).expect("the queue")[0].body).expect("JSON");
    let before = home.world.items_of_type("enrolment");
    let forged = |change: &dyn Fn(&mut Value)| {
        let mut forged = genuine.clone();
        change(&mut forged);
        forged.to_string()
    };
    let tags = "/mail/tags";
    let messages = [
        forged(&|report| *report.pointer_mut(tags).expect("tags") = json!({})),
        forged(&|report| report.pointer_mut(tags).expect("tags")["l"] = json!(["550e8400-e29b-41d4-a716-446655440000"])),
        forged(&|report| report.pointer_mut(tags).expect("tags")["sig"] = json!(["AAAA"])),
        forged(&|report| report.pointer_mut(tags).expect("tags")["s"] = json!(["2"])),
        forged(&|report| report["eventType"] = json!("Send")),
        json!({"engagement": "unsubscribed", "token": "forged", "at": "2026-11-30T08:00:00Z", "automated": false}).to_string(),
    ];
    let waiting = queue().receive(EVENTS, 10).expect("the queue");
    assert_eq!(waiting.len(), 1);
    queue().delete(EVENTS, &waiting[0].receipt_handle).expect("a message");
    for message in &messages {
        queue().send(EVENTS, message, None).expect("a message");
    }
    home.reported().await;
    assert_eq!(home.world.items_of_type("enrolment"), before);
    assert_eq!(home.world.items_of_type("suppression").len() + home.world.items_of_type("workspace_suppression").len(), 0);
    // The genuine one comes when everything about it was deleted.
    queue().send(EVENTS, &genuine.to_string(), None).expect("a message");
    let path = format!("/api/v1/tenant/workspaces/{}", id(&home.workspace));
    assert_eq!(before.len(), 1, "{campaign}");
    let confirmed = home.world.delete(&path).token(&home.tenant.owner.token).json(json!({"confirm": "Client"}));
    confirmed.send().await.expect(204);
    home.reported().await;
    home.settle().await;
    assert_eq!(home.world.items_of_type("suppression").len(), 0);
    // What cannot be read at all is set aside for a person.
    queue().send(EVENTS, "no report", None).expect("a message");
    home.pass(8, SignedDuration::from_mins(7)).await;
    let letters = queue().depth(LETTERS).expect("the queue");
    assert_eq!(letters.visible + letters.hidden, 1);
}

/// What is compared: the numbers of the campaign, what is known of each mail, the leads with what their activity says, and the suppression list.
async fn state(home: &Home, campaign: &str, leads: &[String]) -> Value {
    let numbers = ["sent", "opened", "clicked", "bounced", "complained", "unsubscribed", "failed"].map(|name| home.number(campaign, name));
    let mut known = vec![];
    for (enrolment, lead) in home.enrolments(campaign).iter().zip(leads) {
        let mail = &enrolment["mails"]["L"][0]["M"];
        let mut noted: Vec<&String> = mail.as_object().expect("a mail").keys().filter(|name| name.ends_with("_at")).collect();
        noted.sort_unstable();
        let lead = home.lead(lead).await;
        let mut activity: Vec<&str> = lead["activity"].as_array().expect("a list").iter().filter_map(|one| one["type"].as_str()).collect();
        activity.sort_unstable();
        known.push(json!([super::sending::state(enrolment), noted, lead["email_status"], activity]));
    }
    json!([numbers, known, home.suppressed().await])
}

#[tokio::test]
async fn reports_in_any_order_and_number_come_to_what_each_comes_to_once() {
    let emails: Vec<String> = (0..20).map(|number| format!("lead{number:02}@example.com")).collect();
    let emails: Vec<&str> = emails.iter().map(String::as_str).collect();
    let mut expected = None;
    for seed in 0..4_u64 {
        let home = Home::new().await;
        let (campaign, leads) = launched(&home, 1, &emails).await;
        let at = |minutes: i64| home.world.auth.clock().now() + SignedDuration::from_mins(minutes);
        for (number, email) in emails.iter().enumerate() {
            let report = |report, minutes| {
                assert!(home.world.aws.mailbox().report(&home.mail_to(email), report, at(minutes)).expect("it is queued"))
            };
            match number % 5 {
                4 => report(Report::Bounce, 0),
                3 => [Report::Delivery, Report::Complaint].into_iter().for_each(|kind| report(kind, 0)),
                _ => report(Report::Delivery, 0),
            }
        }
        home.world.advance(SignedDuration::from_mins(10));
        for (number, email) in emails.iter().enumerate() {
            for kind in [&[][..], &["o"], &["o", "c"]].get(number % 5).copied().unwrap_or_default() {
                assert!(home.world.get(home.link(email, kind)).send().await.status < 400);
            }
        }
        let mut messages = vec![];
        while let Some(message) = home.world.aws.queues().receive(EVENTS, 1).expect("the queue").pop() {
            home.world.aws.queues().delete(EVENTS, &message.receipt_handle).expect("a message");
            messages.push(message.body);
        }
        assert_eq!(messages.len(), 24 + 12);
        if seed > 0 {
            let mut dice = crate::sending::Dice(seed);
            messages = messages.iter().flat_map(|message| vec![message.clone(); 1 + dice.below(4)]).collect();
            for last in (1..messages.len()).rev() {
                messages.swap(last, dice.below(last + 1));
            }
        }
        for message in &messages {
            home.world.aws.queues().send(EVENTS, message, None).expect("a message");
        }
        home.settle().await;
        let came_to = state(&home, &campaign, &leads).await;
        assert_eq!(expected.get_or_insert_with(|| came_to.clone()), &came_to, "{} messages with seed {seed}", messages.len());
        assert_eq!(came_to[0], json!([20, 8, 4, 4, 4, 0, 0]));
    }
}
