//! Campaigns that are launched: who gets which mail and when, that nobody gets one twice, and that what is paused stops.

mod audiences;
mod deaths;
mod model;
mod pacing;
mod pausing;
mod steps;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::poll_immediate;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use shared::Clock;
use shared::lock::Lock;
use stack::mailbox::KeptMail;
use stack::sources::{Faults, Invoke, InvokeError, SourceError, Sources};

pub use audiences::Dice;

use crate::workers::Workers;
use crate::workspaces::workspace;
use crate::world::{Answer, Settings, Tenant, TenantCredentials, World, id};

const CAMPAIGNS: &str = "/api/v1/tenant/campaigns";
const LEADS: &str = "/api/v1/tenant/leads";

/// A tenant with a workspace that may send.
pub struct Home {
    pub world: World,
    pub crew: Crew,
    pub tenant: Tenant,
    pub workspace: Value,
}

/// The workers, of which some may die, and what their mails were seen to do.
#[derive(Clone)]
pub struct Crew {
    world: World,
    workers: Workers,
    /// The next one last.
    deaths: Arc<Lock<Vec<Death>>>,
    /// When each mail of a campaign arrived, by the clock of the world.
    arrived: Arc<Lock<BTreeMap<String, Timestamp>>>,
    /// What the mailbox had when that was looked at.
    noted: Arc<AtomicU64>,
}

/// The worker dies after so many waits of all its invocations together, or when the carrier has so many mails: before it hears of the last one.
#[derive(Debug, Clone, Copy)]
pub struct Death {
    pub of: &'static str,
    pub waits: usize,
    pub mails: usize,
    /// The time until its message is delivered again.
    pub delay: SignedDuration,
}

/// What a campaign came to, as its records say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    pub sent: u64,
    pub failed: u64,
    pub unknown: u64,
    pub dropped: u64,
    /// Of all its days.
    pub in_days: u64,
    /// Of all months of its tenant.
    pub in_months: u64,
}

impl Home {
    pub async fn new() -> Self {
        Home::with(Settings::default()).await
    }

    pub async fn with(settings: Settings) -> Self {
        let moment = settings.moment.or_else(|| "2026-11-30T08:00:00Z".parse().ok());
        let world = World::with(Settings { moment, ..settings }).await;
        Home::of(world, "acme").await
    }

    /// Another tenant of the same deployment.
    pub async fn beside(&self, name: &str) -> Self {
        let home = Home::of(self.world.clone(), name).await;
        Home { crew: self.crew.clone(), ..home }
    }

    async fn of(world: World, name: &str) -> Self {
        let workers = Workers::on(&world);
        let tenant = world.tenant(name).await;
        let workspace = workspace(&world, &tenant.owner, "Client").await;
        let crew = Crew { world: world.clone(), workers, deaths: Arc::default(), arrived: Arc::default(), noted: Arc::default() };
        let home = Home { world, crew, tenant, workspace };
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

    pub async fn leads(&self, count: usize) -> Vec<String> {
        self.leads_of("lead", count).await
    }

    pub async fn leads_of(&self, name: &str, count: usize) -> Vec<String> {
        let mut leads = vec![];
        for number in 0..count {
            let body = json!({"email": format!("{name}{number}@example.com"), "first_name": format!("Lead{number}")});
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

    pub async fn delete(&self, path: &str) {
        self.world.delete(path).token(&self.tenant.owner.token).send().await.expect(204);
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.world.patch(path).token(&self.tenant.owner.token).json(body).send().await
    }

    /// All that is due is done.
    pub async fn settle(&self) {
        self.settle_with(Faults::default()).await;
    }

    pub async fn settle_with(&self, faults: Faults) {
        self.sources(faults).drain().await.expect("all is done");
    }

    pub fn sources(&self, faults: Faults) -> Sources<Crew> {
        Sources::with_faults(&self.world.template, &self.world.aws, self.crew.clone(), faults).expect("sources")
    }

    /// Time goes on in steps, with the sweep of each.
    pub async fn pass(&self, steps: usize, step: SignedDuration) {
        self.pass_with(steps, step, &Faults::default()).await;
    }

    pub async fn pass_with(&self, steps: usize, step: SignedDuration, faults: &Faults) {
        for _ in 0..steps {
            self.world.advance(step);
            let sources = self.sources(faults.clone());
            // One that dies is followed by the next minute's.
            let swept = sources.fire("SenderFunctionSweep").await;
            assert!(matches!(&swept, Ok(_) | Err(SourceError::Invoke(InvokeError::Failed { .. }))), "{swept:?}");
            sources.drain().await.expect("all is done");
        }
    }

    /// Time goes on until then. Only minutes in which something is due have a sweep that does something, so the others are left out.
    pub async fn pass_until_due(&self, end: Timestamp) {
        loop {
            let now = self.world.clock.now();
            let due = self.due().iter().filter_map(|note| text(note, "due_at").parse().ok()).min();
            let minutes = due.filter(|due: &Timestamp| *due > now).map_or(1, |due| due.duration_since(now).as_secs() / 60 + 1);
            let step = SignedDuration::from_mins(minutes);
            if due.is_none() || now + step > end {
                return self.world.advance(end.duration_since(now).max(SignedDuration::ZERO));
            }
            self.pass(1, step).await;
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
        self.crew.sent()
    }

    /// How often the carrier was given each mail of a campaign, by lead and step, whatever the attempt.
    pub fn given(&self, campaign: &str) -> BTreeMap<(String, u32), usize> {
        let (campaign, mut given) = (bare(campaign), BTreeMap::new());
        for kept in self.sent() {
            let parts: Vec<&str> = kept.mail.id.split('.').collect();
            if parts[0] == campaign {
                *given.entry((parts[1].to_owned(), parts[2].parse().expect("a step"))).or_default() += kept.deliveries;
            }
        }
        given
    }

    /// When the campaign's mails arrived.
    pub fn arrivals(&self, campaign: &str) -> Vec<Timestamp> {
        let (campaign, arrived) = (bare(campaign), self.crew.arrived.lock());
        let mut moments: Vec<Timestamp> = arrived.iter().filter(|(mail, _)| mail.starts_with(&campaign)).map(|(_, at)| *at).collect();
        moments.sort();
        moments
    }

    /// Of a campaign, by the collection in which it lies.
    pub fn record(&self, collection: &str, campaign: &str) -> Value {
        self.within(collection, &bare(campaign)).into_iter().next().unwrap_or_else(|| panic!("one of {collection}"))
    }

    /// Items of a collection of the workspace.
    fn within(&self, collection: &str, start: &str) -> Vec<Value> {
        let workspace = bare(id(&self.workspace));
        let tag = workspace.rsplit('-').next().unwrap_or_default();
        self.queried(&format!("T#{}#{collection}#{tag}", self.tenant.id), start)
    }

    fn queried(&self, partition: &str, start: &str) -> Vec<Value> {
        let (mut items, mut after) = (vec![], Value::Null);
        loop {
            let mut request = json!({
                "TableName": self.world.table_name(),
                "KeyConditionExpression": "pk = :pk AND begins_with(sk, :sk)",
                "ExpressionAttributeValues": {":pk": {"S": partition}, ":sk": {"S": start}},
            });
            if !after.is_null() {
                request["ExclusiveStartKey"] = after;
            }
            let answer = self.world.aws.database().query(serde_json::from_value(request).expect("a request")).expect("items");
            let answer = serde_json::to_value(answer).expect("JSON");
            items.extend(answer["Items"].as_array().into_iter().flatten().cloned());
            after = answer["LastEvaluatedKey"].clone();
            if after.is_null() {
                return items;
            }
        }
    }

    /// As the workspace counts them.
    pub fn active_campaigns(&self) -> u64 {
        self.within("counters", "active_campaigns").first().map_or(0, |counter| number(counter, "n"))
    }

    pub fn numbers(&self, campaign: &str) -> Numbers {
        let record = self.record("campaigns", campaign);
        let mails = |items: Vec<Value>| items.iter().map(|item| number(item, "mails")).sum();
        Numbers {
            sent: number(&record, "sent"),
            failed: number(&record, "failed"),
            unknown: number(&record, "unknown"),
            dropped: number(&record, "dropped"),
            in_days: mails(self.within("campaign-days", &bare(campaign))),
            in_months: self.in_months(),
        }
    }

    /// How many mails of its campaigns were sent.
    pub fn sent_by_tenant(&self) -> usize {
        let campaigns: Vec<String> = self.within("campaigns", "").iter().map(|campaign| text(campaign, "id").to_owned()).collect();
        let sent = self.sent().into_iter();
        sent.filter(|kept| campaigns.iter().any(|campaign| kept.mail.id.starts_with(campaign))).count()
    }

    /// Mails that count in all months of the tenant.
    pub fn in_months(&self) -> u64 {
        self.queried(&format!("T#{}#mail-months", self.tenant.id), "2").iter().map(|month| number(month, "mails")).sum()
    }

    /// Of a campaign.
    pub fn enrolments(&self, campaign: &str) -> Vec<Value> {
        self.within("enrolments", &bare(campaign))
    }

    /// Of a campaign.
    pub fn waves(&self, campaign: &str) -> Vec<Value> {
        self.within("waves", &bare(campaign))
    }

    /// When campaigns are to be looked at.
    pub fn due(&self) -> Vec<Value> {
        self.queried("G#due", "0")
    }

    /// How many leads of the campaign are in which state.
    pub fn states(&self, campaign: &str) -> BTreeMap<String, usize> {
        let mut states = BTreeMap::new();
        for enrolment in self.enrolments(campaign) {
            *states.entry(state(&enrolment).to_owned()).or_default() += 1;
        }
        states
    }
}

impl Crew {
    pub fn sent(&self) -> Vec<KeptMail> {
        self.world.aws.mailbox().mails().expect("mails").into_iter().filter(|kept| kept.mail.kind == "campaign").collect()
    }

    pub fn dies(&self, death: Death) {
        *self.deaths.lock() = vec![death];
    }

    /// One after the other, the last one first.
    pub fn die_often(&self, deaths: Vec<Death>) {
        *self.deaths.lock() = deaths;
    }

    /// Ends the danger. Whether the worker lives.
    pub fn lives(&self) -> bool {
        self.outlived() > 0
    }

    /// Ends the danger. How many deaths did not come.
    pub fn outlived(&self) -> usize {
        std::mem::take(&mut *self.deaths.lock()).len()
    }

    async fn run(&self, function: &str, payload: Value) -> Result<Value, String> {
        let next = self.deaths.lock().last().copied();
        let Some(Death { mut waits, mails, delay, .. }) = next.filter(|death| death.of == function) else {
            return Box::pin(self.workers.run(function, payload)).await;
        };
        let mut work = Box::pin(self.workers.run(function, payload));
        while waits > 0 && (mails == usize::MAX || self.sent().len() < mails) {
            if let Some(done) = poll_immediate(&mut work).await {
                if let Some(next) = self.deaths.lock().last_mut() {
                    next.waits = waits;
                }
                return done;
            }
            waits -= 1;
            // Pending results arrive, so that the next poll gets further.
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        self.deaths.lock().pop();
        self.note();
        self.world.advance(delay);
        Err("it died".into())
    }

    fn note(&self) {
        let (now, news) = (self.world.clock.now(), *self.world.aws.mailbox().news().borrow());
        if self.noted.swap(news, Ordering::Relaxed) == news {
            return;
        }
        let mut arrived = self.arrived.lock();
        for kept in self.sent() {
            arrived.entry(kept.mail.id).or_insert(now);
        }
    }
}

impl Invoke for Crew {
    fn invoke(&self, function: &str, payload: Value) -> impl Future<Output = Result<Value, InvokeError>> + Send {
        let (crew, function) = (self.clone(), function.to_owned());
        async move {
            let done = crew.run(&function, payload).await;
            if function == "sender" {
                crew.note();
            }
            done.map_err(|message| InvokeError::Failed { function, message })
        }
    }
}

/// An id as the table has it.
pub fn bare(id: &str) -> String {
    let hex = id.split_once('_').map_or(id, |(_, bare)| bare);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

pub fn text<'a>(item: &'a Value, attribute: &str) -> &'a str {
    item[attribute]["S"].as_str().unwrap_or_default()
}

pub fn number(item: &Value, attribute: &str) -> u64 {
    item[attribute]["N"].as_str().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Of an enrolment.
pub fn state(enrolment: &Value) -> &str {
    text(&enrolment["state"]["M"], "at")
}

pub fn email(subject: &str) -> Value {
    json!({"type": "email", "subject": subject, "body": "<p>Hello</p>"})
}

pub fn wait(value: u32, unit: &str) -> Value {
    json!({"type": "wait", "value": value, "unit": unit})
}

pub fn hello() -> Value {
    json!([{"type": "email", "subject": "Hi {{first_name}}", "body": "<p>Hello <a href=\"https://shop.example/a\">shop</a></p>"}])
}

#[tokio::test]
async fn a_launched_campaign_reaches_every_lead_once_and_is_completed() {
    let home = Home::new().await;
    let leads = home.leads(3).await;
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
    // The audit log tells of the campaign, and the activity of each lead of its mail.
    let entries = home.world.items_of_type("audit_entry").into_iter().filter(|entry| text(entry, "actor") == "sender");
    let changes = entries.flat_map(|entry| entry.as_object().expect("an item").keys().cloned().collect::<Vec<_>>());
    let changes: Vec<String> = changes.filter(|name| name.starts_with("change:")).collect();
    assert!(!changes.is_empty() && changes.iter().all(|name| name.starts_with("change:campaign:")), "{changes:?}");
}

/// Everything that the engine does is done with credentials of the one tenant.
#[tokio::test]
async fn with_sessions_of_tenants_the_sender_reaches_only_its_tenant() {
    let settings = Settings { tenant_credentials: Some(TenantCredentials::Session), ..Settings::default() };
    let acme = Home::with(settings).await;
    let globex = acme.beside("globex").await;
    let sequence = json!([email("One"), wait(1, "hours"), email("Two")]);
    let mut campaigns = vec![];
    for home in [&acme, &globex] {
        let leads = home.leads(3).await;
        let campaign = home.campaign(sequence.clone(), json!({"lead_ids": leads}), json!({"daily_limit": null})).await;
        home.send(&campaign, "start").await.expect(200);
        campaigns.push(campaign);
    }
    acme.settle().await;
    acme.pass(2, SignedDuration::from_mins(31)).await;
    for (home, campaign) in [&acme, &globex].into_iter().zip(&campaigns) {
        assert_eq!(home.status(campaign).await["status"], "completed");
        assert_eq!(home.numbers(campaign), Numbers { sent: 6, in_days: 6, in_months: 6, ..Numbers::default() });
        assert_eq!(home.sent().iter().filter(|kept| kept.mail.tenant.as_deref() == Some(&home.tenant.id)).count(), 6);
    }
}
