//! Campaigns that are launched: who gets which mail and when, that nobody gets one twice, and that what is paused stops.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::{Value, json};
use stack::mailbox::KeptMail;
use stack::sources::Sources;

use crate::workers::{Workers, drain};
use crate::workspaces::workspace;
use crate::world::{Answer, Settings, Tenant, World, id};

const CAMPAIGNS: &str = "/api/v1/tenant/campaigns";
const LEADS: &str = "/api/v1/tenant/leads";

/// A tenant with a workspace that may send.
pub struct Home {
    pub world: World,
    pub workers: Workers,
    pub tenant: Tenant,
    pub workspace: Value,
}

impl Home {
    pub async fn new() -> Self {
        Home::with(Settings::default()).await
    }

    pub async fn with(settings: Settings) -> Self {
        let moment = Some("2026-11-30T08:00:00Z".parse().expect("a moment"));
        let world = World::with(Settings { moment, ..settings }).await;
        let workers = Workers::on(&world);
        let tenant = world.tenant("acme").await;
        let workspace = workspace(&world, &tenant.owner, "Client").await;
        let home = Home { world, workers, tenant, workspace };
        let settings = json!({"settings": {"default_from_name": "Ada", "postal_address": "1 Main St"}});
        let path = format!("/api/v1/tenant/workspaces/{}", id(&home.workspace));
        home.world.patch(path).token(&home.tenant.owner.token).json(settings).send().await.expect(200);
        home
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.world.advance(SignedDuration::from_millis(5));
        self.world.post(path).token(&self.tenant.owner.token).json(body).send().await
    }

    pub async fn get(&self, path: &str) -> Value {
        self.world.get(path).token(&self.tenant.owner.token).send().await.expect(200).json()["data"].clone()
    }

    pub async fn leads(&self, count: usize, list: Option<&str>) -> Vec<String> {
        let mut leads = vec![];
        for number in 0..count {
            let mut body = json!({"email": format!("lead{number}@example.com"), "first_name": format!("Lead{number}")});
            if let Some(list) = list {
                body["list_ids"] = json!([list]);
            }
            leads.push(id(&self.post(LEADS, body).await.expect(201).json()["data"]).to_owned());
        }
        leads
    }

    pub async fn campaign(&self, sequence: Value, audience: Value, settings: Value) -> String {
        let body = json!({"name": "Spring", "sequence": sequence, "audience": audience, "settings": settings});
        id(&self.post(CAMPAIGNS, body).await.expect(201).json()["data"]).to_owned()
    }

    pub async fn send(&self, campaign: &str, action: &str) -> Answer {
        self.post(&format!("{CAMPAIGNS}/{campaign}/send"), json!({"action": action})).await
    }

    pub async fn status(&self, campaign: &str) -> Value {
        self.get(&format!("{CAMPAIGNS}/{campaign}")).await
    }

    /// All that is due is done.
    pub async fn settle(&self) {
        drain(&self.world, &self.workers).await;
    }

    /// Time goes on in steps, with the sweep of each.
    pub async fn pass(&self, steps: usize, step: SignedDuration) {
        for _ in 0..steps {
            self.world.advance(step);
            let sources = Sources::new(&self.world.template, &self.world.aws, self.workers.clone()).expect("sources");
            sources.fire("SenderFunctionSweep").await.expect("the sweep");
            self.settle().await;
        }
    }

    /// Mails of campaigns, by address: the subjects in their order.
    pub fn mails(&self) -> BTreeMap<String, Vec<String>> {
        let mut mails = BTreeMap::<String, Vec<String>>::new();
        for kept in self.sent() {
            mails.entry(kept.mail.to).or_default().push(kept.mail.subject);
        }
        mails
    }

    pub fn sent(&self) -> Vec<KeptMail> {
        self.world.aws.mailbox().mails().expect("mails").into_iter().filter(|kept| kept.mail.kind == "campaign").collect()
    }
}

pub fn hello() -> Value {
    json!([{"type": "email", "subject": "Hi {{first_name}}", "body": "<p>Hello <a href=\"https://shop.example/a\">shop</a></p>"}])
}

#[tokio::test]
async fn a_launched_campaign_reaches_every_lead_once_and_is_completed() {
    let home = Home::new().await;
    let leads = home.leads(3, None).await;
    let campaign = home.campaign(hello(), json!({"lead_ids": leads}), json!({"daily_limit": null})).await;
    let launched = home.post(&format!("{CAMPAIGNS}/{campaign}/send"), json!({})).await.expect(200).json();
    assert_eq!(launched["data"]["status"], "active");
    home.settle().await;
    assert_eq!(home.mails().len(), 3);
    assert_eq!(home.mails()["lead1@example.com"], ["Hi Lead1"]);
    let mail = &home.sent()[0];
    assert_eq!(mail.mail.from.as_deref(), Some("\"Ada\" <no-reply@example.com>"));
    assert!(mail.mail.headers["List-Unsubscribe"].contains("/e/u/"), "{:?}", mail.mail.headers);
    let html = mail.mail.html.as_deref().unwrap_or_default();
    assert!(html.contains("/e/c/") && html.contains("/e/o/") && html.contains("1 Main St"), "{html}");
    let status = home.status(&campaign).await;
    assert_eq!((&status["status"], &status["stats"]["sent"]), (&json!("completed"), &json!(3)));
    let lead = home.get(&format!("{LEADS}/{}", leads[0])).await;
    assert_eq!((&lead["status"], &lead["activity"][0]["type"]), (&json!("contacted"), &json!("email_sent")), "{lead}");
    let refused = home.send(&campaign, "start").await.expect(409);
    assert_eq!(refused.code(), "CAMPAIGN_INVALID_STATE");
    assert!(home.world.items_of_type("wave").is_empty());
}
