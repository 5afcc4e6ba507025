//! Messages to phones under whatever may happen: people and firms do anything in any order, workers die anywhere, reports come twice and in any order. Each
//! single write is followed as the stream of the table tells it.

mod caps;
mod deaths;
mod ledger;
mod model;
mod receipts;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::poll_immediate;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use shared::Clock;
use shared::lock::Lock;
use stack::phones::{Direction, Message};
use stack::sources::{Faults, Invoke, InvokeError, SourceError, Sources};

use crate::messages::{key_of, tell};
use crate::workers::Workers;
use crate::world::{Answer, Request, Settings, Tenant, World, id};

const ALL: &str = "/v1/messages";
const SWEEP: &str = "SwitchboardFunctionSweep";
/// How long a queue keeps a message to itself that a worker has.
const HIDDEN: SignedDuration = SignedDuration::from_secs(331);

/// A deployment with lines and phones, and a few firms that send.
pub struct Town {
    pub world: World,
    pub crew: Crew,
    pub firms: Vec<Firm>,
    agency: Tenant,
}

/// A tenant with a key.
#[derive(Clone)]
pub struct Firm {
    /// As the table has it.
    pub tenant: String,
    pub slug: String,
    pub key: String,
    /// Of an agency, its id there.
    child: Option<String>,
}

/// The workers, of which some may die. A job that is brought before its turn is brought at its turn.
#[derive(Clone)]
pub struct Crew {
    world: World,
    workers: Workers,
    /// The next one last.
    deaths: Arc<Lock<Vec<Death>>>,
}

/// The worker dies after so many waits of all its invocations together.
#[derive(Debug, Clone, Copy)]
pub struct Death {
    pub of: &'static str,
    pub waits: usize,
}

impl Town {
    /// The last firm is an agency's.
    pub async fn new(firms: usize, settings: Settings) -> Self {
        let world = World::with(settings).await;
        let workers = Workers::on(&world);
        stack::phone_lines::seed(world.aws.phones(), &workers, "http://127.0.0.1:1").await.expect("lines");
        let crew = Crew { world: world.clone(), workers, deaths: Arc::default() };
        let agency = world.tenant("agency").await;
        let mut town = Town { world, crew, firms: vec![], agency };
        for name in ["acme", "globex"].into_iter().take(firms - 1) {
            let own = town.world.tenant(name).await;
            let key = key_of(&town.world, &own, "live").await;
            town.firms.push(Firm { tenant: own.id, slug: own.slug, key, child: None });
        }
        let token = &town.agency.owner.token;
        let child = town.world.post("/v1/subaccounts").token(token).json(json!({"name": "Client"})).send().await.expect(201).json();
        let (child, tenant) = (id(&child["data"]).to_owned(), child["data"]["tenant_id"].as_str().expect("an id").to_owned());
        let keys = format!("/v1/subaccounts/{child}/api-keys");
        let key = town.world.post(keys).token(token).json(json!({"name": "Theirs"})).send().await.expect(201).json();
        let key = key["data"]["key"].as_str().expect("a key").to_owned();
        town.firms.push(Firm { tenant, slug: String::new(), key, child: Some(child) });
        town
    }

    pub fn now(&self) -> Timestamp {
        self.world.clock.now()
    }

    pub fn ask(&self, firm: usize, method: &'static str, path: &str) -> Request {
        // What comes in one millisecond has no order.
        self.world.advance(SignedDuration::from_millis(5));
        self.world.request(method, path).header("x-api-key", &self.firms[firm].key)
    }

    pub fn post(&self, firm: usize, body: Value) -> Request {
        self.ask(firm, "POST", ALL).json(body)
    }

    pub fn sources(&self, faults: Faults) -> Sources<Crew> {
        Sources::with_faults(&self.world.template, &self.world.aws, self.crew.clone(), faults).expect("sources")
    }

    /// Everything goes on until nothing is left to do.
    pub async fn drain(&self, faults: Faults) {
        self.sources(faults).drain().await.expect("all is done");
    }

    /// The same, and the phones tell what they have to tell.
    pub async fn settle(&self) {
        loop {
            self.drain(Faults::default()).await;
            if tell(&self.world).await == 0 {
                return;
            }
        }
    }

    /// Time goes on, with the sweep of that minute.
    pub async fn pass(&self, by: SignedDuration, faults: &Faults) {
        self.world.advance(by);
        let sources = self.sources(faults.clone());
        // One that dies is followed by the next minute's.
        let swept = sources.fire(SWEEP).await;
        assert!(matches!(&swept, Ok(_) | Err(SourceError::Invoke(InvokeError::Failed { .. }))), "{swept:?}");
        sources.drain().await.expect("all is done");
    }

    /// Suspends a firm, or ends that.
    pub async fn turn(&self, firm: usize, is_active: bool) {
        let Firm { slug, child, .. } = &self.firms[firm];
        let Some(child) = child else {
            let command = if is_active { "activate-tenant" } else { "suspend-tenant" };
            self.crew.workers.run("operator", json!({"command": command, "tenant": slug})).await.expect("a turn");
            return;
        };
        let owner = self.world.login(&self.agency.owner.email, &self.agency.owner.password).await;
        let verb = if is_active { "activate" } else { "suspend" };
        self.world.post(format!("/v1/subaccounts/{child}/{verb}")).token(&owner.token).send().await.expect(200);
    }

    /// What the API shows as used.
    pub async fn usage(&self, firm: usize) -> Value {
        self.ask(firm, "GET", "/v1/billing/usage").send().await.expect(200).json()["data"].clone()
    }

    /// Messages of a firm, both ways, as the table has them.
    pub fn messages(&self, firm: usize) -> Vec<Value> {
        let pk = format!("T#{}#phone-messages", self.firms[firm].tenant);
        self.world.items().into_iter().filter(|item| item["pk"]["S"] == pk.as_str()).collect()
    }

    /// What all phones have got.
    pub fn arrived(&self) -> Vec<(String, Message)> {
        let phones = self.world.aws.phones().phones();
        let messages = phones.into_iter().flat_map(|phone| {
            let number = phone.number;
            phone.messages.into_iter().map(move |message| (number.clone(), message))
        });
        messages.filter(|(_, message)| message.direction == Direction::Outbound).collect()
    }

    /// The numbers that the API shows of a firm are those of its messages.
    pub async fn check_usage(&self, firm: usize, context: &str) {
        let messages = self.messages(firm);
        let outbound: Vec<&Value> = messages.iter().filter(|message| text(message, "direction") == "outbound").collect();
        let has = |name: &'static str| outbound.iter().filter(|message| message[name]["S"].is_string()).count();
        let of = |status: &str| outbound.iter().filter(|message| text(message, "status") == status).count();
        let by = |channel: &str| {
            outbound.iter().filter(|message| message["sent_at"]["S"].is_string() && text(message, "channel") == channel).count()
        };
        let usage = self.usage(firm).await;
        let expected = json!({"sent": has("sent_at"), "delivered": has("delivered_at"), "failed": of("failed"), "blocked": of("blocked")});
        assert_eq!(usage["messages"], expected, "{context}");
        let channels = json!({"imessage": by("imessage"), "rcs": by("rcs"), "sms": by("sms")});
        assert_eq!(usage["channels"], channels, "{context}");
        self.check_lines(firm, &outbound, context).await;
        let peers = format!("T#{}#peers", self.firms[firm].tenant);
        let peers = self.world.items().into_iter().filter(|item| item["pk"]["S"] == peers.as_str());
        let messaged = peers.filter(|peer| peer["first_messaged_at"]["S"].is_string()).count();
        assert_eq!(usage["new_contacts"]["used_this_month"], messaged, "{context}");
        let Some(child) = &self.firms[firm].child else { return };
        let owner = self.world.login(&self.agency.owner.email, &self.agency.owner.password).await;
        let from = self.now().strftime("%Y-%m-01");
        let path = format!("/v1/agency/analytics?from={from}&to={}", self.now().strftime("%Y-%m-%d"));
        let analytics = self.world.get(path).token(&owner.token).send().await.expect(200).json()["data"].clone();
        let children = analytics["subaccounts"].as_array().expect("subaccounts");
        let shown = children.iter().find(|one| one["id"] == child.as_str() || one["subaccount_id"] == child.as_str());
        let shown = shown.unwrap_or_else(|| panic!("{context}: {analytics}"));
        for name in ["sent", "delivered", "failed"] {
            assert_eq!(shown[name], expected[name], "{context}: {name} of {analytics}");
        }
    }

    /// What each line sent for a firm, of each day and as the API shows it of today, is what its messages say that left by it.
    async fn check_lines(&self, firm: usize, outbound: &[&Value], context: &str) {
        let pool = self.world.items_of_type("line_pool").remove(0);
        let lines = pool["lines"]["L"].as_array().expect("lines").iter().map(|line| &line["M"]);
        let lines: BTreeMap<&str, &str> = lines.map(|line| (text(line, "id"), text(line, "phone_number"))).collect();
        let own = format!("T#{}#line-uses", self.firms[firm].tenant);
        let uses: Vec<Value> = self.world.items().into_iter().filter(|item| item["pk"]["S"] == own.as_str()).collect();
        let mut counted: BTreeMap<&str, i64> = BTreeMap::new();
        for part in &uses {
            *counted.entry(lines[text(part, "line")]).or_default() += number(part, "sent");
        }
        let mut sent: BTreeMap<&str, i64> = BTreeMap::new();
        for message in outbound.iter().filter(|message| message["sent_at"]["S"].is_string()) {
            *sent.entry(text(message, "from")).or_default() += 1;
        }
        assert_eq!(counted, sent, "{context}");
        let today = self.now().strftime("%Y-%m-%d").to_string();
        let of_today = uses.iter().filter(|part| text(part, "date") == today).map(|part| number(part, "sent")).sum::<i64>();
        let shown = self.ask(firm, "GET", "/v1/phone-lines?limit=100").send().await.expect(200).json();
        let shown = shown["data"].as_array().expect("lines").iter().map(|line| line["sent_today"].as_i64().expect("a number"));
        assert_eq!(shown.sum::<i64>(), of_today, "{context}");
    }

    /// No job of a message was given up.
    pub fn check_letters(&self, context: &str) {
        for name in ["OtpDeadLetters", "MessageDeadLetters", "BulkDeadLetters", "RelayDeadLetters"] {
            let depth = self.world.aws.queues().depth(&format!("tenantry-local-{name}")).expect("a queue");
            assert_eq!((depth.visible, depth.hidden), (0, 0), "{context}: {name}");
        }
    }
}

impl Crew {
    pub fn dies(&self, death: Death) {
        *self.deaths.lock() = vec![death];
    }

    /// Ends the danger. Whether the worker lives.
    pub fn lives(&self) -> bool {
        !std::mem::take(&mut *self.deaths.lock()).is_empty()
    }

    async fn run(&self, function: &str, payload: Value) -> Result<Value, String> {
        if function == "switchboard" {
            self.wait_for_turn(&payload);
        }
        let next = self.deaths.lock().last().copied();
        let Some(Death { waits, .. }) = next.filter(|death| death.of == function) else {
            return Box::pin(self.workers.run(function, payload)).await;
        };
        let (done, left) = cut(self.workers.run(function, payload), waits).await;
        let mut deaths = self.deaths.lock();
        match done {
            Some(done) => {
                if let Some(next) = deaths.last_mut() {
                    next.waits = left;
                }
                done
            }
            None => {
                deaths.pop();
                Err("it died".into())
            }
        }
    }

    /// Nothing is brought before its time: a job with a delay when that is over, and one whose worker died when the queue shows it again.
    fn wait_for_turn(&self, payload: &Value) {
        for record in payload["Records"].as_array().into_iter().flatten() {
            let body: Value = record["body"].as_str().and_then(|body| serde_json::from_str(body).ok()).unwrap_or_default();
            let (Some(tenant), Some(message)) = (body["tenant"].as_str(), body["message"].as_str()) else { continue };
            let item = self.world.aws.item(self.world.table_name(), &format!("T#{tenant}#phone-messages"), message).expect("the table");
            let Some(item) = item else { continue };
            let moment = |name: &str| text(&item, name).parse::<Timestamp>().ok();
            let turn = match text(&item, "status") {
                "queued" => moment("due_at"),
                "sending" => moment("sending_since").map(|since| since + HIDDEN),
                _ => None,
            };
            let left = turn.map_or(SignedDuration::ZERO, |turn| turn.duration_since(self.world.clock.now()));
            if left > SignedDuration::ZERO {
                self.world.advance(left);
            }
        }
    }
}

impl Invoke for Crew {
    fn invoke(&self, function: &str, payload: Value) -> impl Future<Output = Result<Value, InvokeError>> + Send {
        let (crew, function) = (self.clone(), function.to_owned());
        async move { crew.run(&function, payload).await.map_err(|message| InvokeError::Failed { function, message }) }
    }
}

/// Work whose process dies after it has waited so many times: `None`, if that was before its end. Gives the waits that are left, too.
pub async fn cut<T>(work: impl Future<Output = T>, mut waits: usize) -> (Option<T>, usize) {
    let mut work = pin!(work);
    while waits > 0 {
        if let Some(done) = poll_immediate(&mut work).await {
            return (Some(done), waits);
        }
        waits -= 1;
        // Pending results arrive, so that the next poll gets further.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (None, 0)
}

pub fn text<'a>(item: &'a Value, attribute: &str) -> &'a str {
    item[attribute]["S"].as_str().unwrap_or_default()
}

pub fn number(item: &Value, attribute: &str) -> i64 {
    item[attribute]["N"].as_str().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// What a request of a firm was answered.
pub fn outcome(answer: &Answer) -> String {
    match answer.status {
        200..300 => answer.json()["data"]["status"].as_str().unwrap_or("done").to_owned(),
        _ => answer.code(),
    }
}
