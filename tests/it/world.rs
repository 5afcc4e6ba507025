//! A whole deployment in one process: the table and secrets of template.yaml, the functions behind a gateway, and a clock that only tests
//! move.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use lambda_http::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use shared::aws::Aws as Clients;
use shared::clock::{Clock, SetClock};
use shared::config::{Config, Variables};
use shared::crypto::Random;
use shared::http::Catalogue;
use shared::http::registry::{Routes, router};
use shared::model::link::Link;
use shared::model::plan::Plans;
use shared::runtime::{App, gateway};
use shared::store::{Metered, Records};
use stack::aws::{Aws, Storage};
use stack::iam::Guard;
use stack::template::{Route, Template};

use crate::described;

pub const PUBLIC_URL: &str = "https://api.example.com";
pub const INVITATIONS: &str = "/api/v1/tenant/invitations";

#[derive(Clone)]
pub struct World {
    pub aws: Aws,
    pub template: Arc<Template>,
    pub clock: Arc<SetClock>,
    pub auth: App,
    functions: Arc<Functions>,
    gateway: Arc<Vec<Route>>,
    environments: Arc<BTreeMap<String, BTreeMap<String, String>>>,
    pub plans: Plans,
    pub records: Records,
    next_ip: Arc<AtomicU64>,
    /// IAM, which decides by the roles of template.yaml.
    pub guard: Arc<Guarded>,
}

/// Whose credentials access a tenant's data: the function's own, unless it is said otherwise.
/// `TENANT_CREDENTIALS=session cargo test --test it` runs every test with sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TenantCredentials {
    Function,
    Session,
}

/// Fails a test that ends without looking at a refusal by IAM.
pub struct Guarded(pub Guard);

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Ok(path) = std::env::var("GRANTS_USED")
            && let Ok(mut file) = std::fs::OpenOptions::new().append(true).create(true).open(path)
        {
            let lines: String = self.0.used().iter().map(|grant| format!("{grant:?}\n")).collect();
            drop(std::io::Write::write_all(&mut file, lines.as_bytes()));
        }
        let denials = self.0.take_denials();
        if !std::thread::panicking() {
            assert!(denials.is_empty(), "IAM refused what a function asked for: {denials:#?}");
        }
    }
}

/// Every running function of the API, by name.
type Functions = BTreeMap<&'static str, (App, Router)>;

/// How the deployment of a test differs from the default.
#[derive(Default)]
pub struct Settings {
    /// The seeded plans and the documented rates. Otherwise the limits are high enough for a test's own traffic.
    pub strict: bool,
    pub variables: Vec<(&'static str, String)>,
    /// Changes limits of plans: `{"free": {"projects": 10}}`.
    pub plans: Value,
    pub seed: u64,
    /// Where the clock stands at first; otherwise at the machine's time.
    pub moment: Option<Timestamp>,
    pub tenant_credentials: Option<TenantCredentials>,
    /// Otherwise those of every deployment.
    pub records: Option<Records>,
}

/// A signed-in person.
#[derive(Clone, Debug)]
pub struct Caller {
    pub token: String,
    /// The member's number.
    pub id: u64,
    pub email: String,
    pub password: String,
}

/// A tenant and its owner.
#[derive(Clone, Debug)]
pub struct Tenant {
    pub owner: Caller,
    pub slug: String,
    /// The tenant's UUID.
    pub id: String,
}

pub struct Request {
    world: World,
    pub method: &'static str,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
    ip: String,
}

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    pub metered: Option<Metered>,
}

impl World {
    pub async fn new() -> Self {
        World::with(Settings::default()).await
    }

    /// As deployed: seeded plans, documented limits.
    pub async fn strict() -> Self {
        World::with(Settings { strict: true, ..Settings::default() }).await
    }

    pub async fn with(settings: Settings) -> Self {
        let template = Template::load("../template.yaml")
            .expect("template.yaml can be read")
            .with_parameter("Stage", "local")
            .with_parameter("PublicUrl", PUBLIC_URL)
            .with_parameter("MailFrom", "no-reply@example.com")
            .with_parameter("MailIdentity", "example.com")
            .with_parameter("InboundDomain", "in.example.com")
            .with_parameter("NewTenantDaily", "0");
        let of_run = || match std::env::var("TENANT_CREDENTIALS").as_deref() {
            Ok("session") => TenantCredentials::Session,
            _ => TenantCredentials::Function,
        };
        let template = match settings.tenant_credentials.unwrap_or_else(of_run) {
            TenantCredentials::Session => template.with_parameter("TenantCredentials", "session"),
            TenantCredentials::Function => template,
        };
        let aws = Aws::start(Storage::Memory).expect("the embedded AWS starts");
        aws.create(&template).await.expect("the resources can be made");
        let guard = Arc::new(Guarded(aws.guard(&template).await.expect("the policies are understood")));
        let mut environments = aws.function_environments(&template).expect("the environments resolve");
        for variables in environments.values_mut() {
            variables.insert("STAGE".into(), "local".into());
            variables.insert("PUBLIC_URL".into(), PUBLIC_URL.into());
            // Nobody delivers what a request writes while it waits.
            variables.insert("WEBHOOK_TEST_WAIT_MS".into(), "0".into());
            variables.insert("DNS_RESOLVERS".into(), crate::dns::empty().to_string());
            if !settings.strict {
                for name in ["RATE_WRITE", "RATE_READ", "RATE_AUTH", "RATE_AUTH_IP", "DEMO_PER_HOUR", "DEMO_MAX_ACTIVE"] {
                    variables.insert(name.into(), "1000000".into());
                }
            }
            for (name, value) in &settings.variables {
                variables.insert((*name).into(), value.clone());
            }
        }
        let plans = plans(settings.strict, &settings.plans);
        let clock = Arc::new(SetClock::at(settings.moment.unwrap_or_else(Timestamp::now)));
        let moments = clock.clone();
        aws.phones().follow(move || moments.now());
        let records = settings.records.unwrap_or(records::ALL);
        let auth = app("auth", &environments, &plans, records, &clock, settings.seed);
        write_session_keys(&auth, &environments["auth"], "key-1").await;
        let functions = functions(&environments, &plans, records, &clock, settings.seed).await;
        World {
            aws,
            clock,
            auth: functions["auth"].0.clone(),
            functions: Arc::new(functions),
            gateway: Arc::new(template.routes().expect("routes")),
            template: Arc::new(template),
            environments: Arc::new(environments),
            plans,
            records,
            next_ip: Arc::new(AtomicU64::new(1)),
            guard,
        }
    }

    /// Another instance of the same functions: its own memory, the same table.
    pub async fn another_instance(&self) -> Self {
        let seed = 1000 + 10 * self.next_ip.fetch_add(1, Ordering::Relaxed);
        let functions = functions(&self.environments, &self.plans, self.records, &self.clock, seed).await;
        World { auth: functions["auth"].0.clone(), functions: Arc::new(functions), ..self.clone() }
    }

    /// The same with one function more, which the gateway hands what lies under a path.
    pub async fn serving<R: Routes>(self, path: &str) -> Self {
        let app = app("projects", &self.environments, &self.plans, self.records, &self.clock, 0);
        app.warm_up().await.expect("the function warms up");
        let mut functions = (*self.functions).clone();
        functions.insert("another", (app.clone(), router::<R>(app)));
        let route = |path: String| Route { function: "another".into(), method: "ANY".into(), path };
        let more = [route(path.to_owned()), route(format!("{path}/{{proxy+}}"))];
        let gateway = self.gateway.iter().cloned().chain(more).collect();
        World { functions: Arc::new(functions), gateway: Arc::new(gateway), ..self }
    }

    /// The function that the gateway hands a path to.
    pub fn router(&self, path: &str) -> Router {
        let route = Route::closest(&self.gateway, path);
        self.functions[route.map_or("auth", |route| route.function.as_str())].1.clone()
    }

    /// Sends an event to the function to which the gateway sends a path.
    pub async fn invoke(&self, path: &str, event: &str) -> Answer {
        let response = Box::pin(gateway::answer(&self.auth, &self.router(path), event)).await;
        let (parts, body) = response.into_parts();
        Answer {
            status: parts.status.as_u16(),
            text: String::from_utf8(body.to_vec()).unwrap_or_else(|error| {
                assert_eq!(parts.headers["content-type"], "image/gif", "other answers are UTF-8");
                String::from_utf8_lossy(error.as_bytes()).into_owned()
            }),
            headers: parts.headers,
            metered: parts.extensions.get::<Metered>().copied(),
        }
    }

    /// The state of a function of the API.
    pub fn app(&self, function: &str) -> &App {
        &self.functions[function].0
    }

    pub fn advance(&self, by: SignedDuration) {
        self.clock.advance(by);
    }

    pub fn clock_now(&self) -> Timestamp {
        self.auth.clock().now()
    }

    pub fn environment(&self, function: &str) -> &BTreeMap<String, String> {
        &self.environments[function]
    }

    pub fn table_name(&self) -> &str {
        &self.environments["projects"]["TABLE_NAME"]
    }

    /// Every item, in key order, to compare before and after.
    pub fn items(&self) -> Vec<Value> {
        self.aws.items(self.table_name()).expect("the table can be read")
    }

    pub fn items_of_type(&self, name: &str) -> Vec<Value> {
        self.items().into_iter().filter(|item| item["type"]["S"] == name).collect()
    }

    /// The items of one tenant.
    pub fn items_of(&self, tenant: &Tenant) -> Vec<Value> {
        let prefix = format!("T#{}#", tenant.id);
        self.items().into_iter().filter(|item| item["pk"]["S"].as_str().is_some_and(|pk| pk.starts_with(&prefix))).collect()
    }

    /// Changes an item directly in the table, as an operator with access to the table could.
    pub fn change_item(&self, pk: &str, sk: &str, change: impl FnOnce(&mut Value)) {
        let mut item = self.items().into_iter().find(|item| item["pk"]["S"] == pk && item["sk"]["S"] == sk).expect("the item is there");
        change(&mut item);
        self.put_item(&item);
    }

    /// Writes an item directly to the table.
    pub fn put_item(&self, item: &Value) {
        let request = json!({"TableName": self.table_name(), "Item": item});
        self.aws.database().put_item(serde_json::from_value(request).expect("a request")).expect("the item can be written");
    }

    /// Deletes an item directly from the table.
    pub fn remove_item(&self, item: &Value) {
        let request = json!({"TableName": self.table_name(), "Key": {"pk": item["pk"], "sk": item["sk"]}});
        self.aws.database().delete_item(serde_json::from_value(request).expect("a request")).expect("the item can be deleted");
    }

    pub fn request(&self, method: &'static str, path: impl Into<String>) -> Request {
        let next = self.next_ip.fetch_add(1, Ordering::Relaxed);
        let ip = format!("198.51.{}.{}", next / 250 % 250, next % 250);
        Request { world: self.clone(), method, path: path.into(), headers: vec![], body: None, ip }
    }

    pub fn get(&self, path: impl Into<String>) -> Request {
        self.request("GET", path)
    }

    pub fn post(&self, path: impl Into<String>) -> Request {
        self.request("POST", path)
    }

    pub fn put(&self, path: impl Into<String>) -> Request {
        self.request("PUT", path)
    }

    pub fn patch(&self, path: impl Into<String>) -> Request {
        self.request("PATCH", path)
    }

    pub fn delete(&self, path: impl Into<String>) -> Request {
        self.request("DELETE", path)
    }

    /// An empty tenant with its signed-in owner. Created by registration, as people do.
    pub async fn tenant(&self, name: &str) -> Tenant {
        let email = format!("owner@{name}.example.com");
        let body = json!({"name": format!("Owner of {name}"), "email": email, "password": "correct horse", "company_name": name});
        self.post("/api/v1/auth/register").json(body).send().await.expect(202);
        let token = self.link_token(&email);
        self.post("/api/v1/auth/verify-email").json(json!({"token": token, "password": "correct horse"})).send().await.expect(200);
        let owner = self.login(&email, "correct horse").await;
        let claims = claims_of(&owner.token);
        let id = claims["tid"].as_str().expect("the session has a tenant").to_owned();
        let profile =
            self.items().into_iter().find(|item| item["pk"]["S"] == format!("T#{id}#tenant").as_str()).expect("the tenant has a profile");
        Tenant { owner, slug: profile["slug"]["S"].as_str().unwrap_or_default().to_owned(), id }
    }

    /// A new member of the tenant with a role, signed in.
    pub async fn member(&self, tenant: &Tenant, role: &str) -> Caller {
        let serial = self.next_ip.fetch_add(1, Ordering::Relaxed);
        let email = format!("{role}{serial}@{}.example.com", tenant.slug);
        self.invite(&tenant.owner, &email, role).await.expect(201);
        let token = self.link_token(&email);
        let body = json!({"token": token, "name": format!("The {role}"), "password": "correct horse"});
        self.post("/api/v1/auth/accept-invitation").json(body).send().await.expect(200);
        self.login(&email, "correct horse").await
    }

    pub async fn login(&self, email: &str, password: &str) -> Caller {
        let answer = self.try_login(email, password).await.expect(200);
        let data = &answer.json()["data"];
        Caller {
            token: data["token"].as_str().expect("a token").to_owned(),
            id: data["user"]["id"].as_u64().unwrap_or(0),
            email: email.to_owned(),
            password: password.to_owned(),
        }
    }

    pub async fn try_login(&self, email: &str, password: &str) -> Answer {
        self.post("/api/v1/auth/login").json(json!({"email": email, "password": password})).send().await
    }

    pub async fn forgot(&self, email: &str) -> Answer {
        self.post("/api/v1/auth/forgot-password").json(json!({"email": email})).send().await
    }

    pub async fn reset(&self, token: &str, password: &str) -> Answer {
        self.post("/api/v1/auth/reset-password").json(json!({"token": token, "password": password})).send().await
    }

    pub async fn invite(&self, caller: &Caller, email: &str, role: &str) -> Answer {
        self.post(INVITATIONS).token(&caller.token).json(json!({"email": email, "role": role})).send().await
    }

    /// The token in the newest mail to an address.
    pub fn link_token(&self, email: &str) -> String {
        let mails = self.items().into_iter().filter(|item| item["type"]["S"] == "mail" && item["to"]["S"] == email);
        let newest = mails.max_by_key(|item| item["pk"]["S"].as_str().unwrap_or_default().to_owned()).expect("a mail to the address");
        let link = newest["content"]["M"]["link"]["S"].as_str().expect("the mail has a link");
        let id = shared::ids::LinkId::parse(link).expect("the link has an id");
        Link::token(id, self.auth.keys().links().expect("the keys are there"))
    }

    /// A project of the tenant, as JSON.
    pub async fn project(&self, caller: &Caller, name: &str) -> Value {
        let answer = self.post("/api/v1/projects").token(&caller.token).json(json!({"name": name})).send().await.expect(201);
        answer.json()["data"].clone()
    }

    /// A task of a project, as JSON.
    pub async fn task(&self, caller: &Caller, project: &Value, body: Value) -> Value {
        let path = format!("/api/v1/projects/{}/tasks", id(project));
        self.post(path).token(&caller.token).json(body).send().await.expect(201).json()["data"].clone()
    }
}

impl Request {
    pub fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn has(&self, header: &str) -> bool {
        self.headers.iter().any(|(name, _)| name == header)
    }

    /// Repeated names are sent repeatedly.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn json(self, body: Value) -> Self {
        self.raw(body.to_string().as_bytes())
    }

    pub fn raw(mut self, body: &[u8]) -> Self {
        self.body = Some(body.to_vec());
        self
    }

    pub fn at_ip(mut self, ip: &str) -> Self {
        self.ip = ip.to_owned();
        self
    }

    /// As API Gateway sends it: payload 2.0, with a decoded path, and repeated headers joined by commas.
    pub fn event(&self) -> Value {
        let (path, query) = self.path.split_once('?').unwrap_or((&self.path, ""));
        let mut headers: BTreeMap<&str, String> = BTreeMap::from([("content-type", "application/json".to_owned())]);
        for (index, (name, value)) in self.headers.iter().enumerate() {
            let is_first = self.headers[..index].iter().all(|(earlier, _)| earlier != name);
            match headers.get_mut(name.as_str()).filter(|_| !is_first) {
                Some(values) => *values = format!("{values},{value}"),
                None => drop(headers.insert(name, value.clone())),
            }
        }
        json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": path,
            "rawQueryString": query,
            "headers": headers,
            "requestContext": {
                "accountId": "000000000000", "apiId": "local", "domainName": "api.example.com", "stage": "$default", "time": "", "timeEpoch": 0,
                "requestId": format!("req-{}", self.world.next_ip.fetch_add(1, Ordering::Relaxed)),
                "routeKey": "$default",
                "http": {"method": self.method, "path": path, "protocol": "HTTP/1.1", "sourceIp": self.ip, "userAgent": "tests"},
            },
            "body": self.body.as_ref().map(|body| STANDARD.encode(body)),
            "isBase64Encoded": self.body.is_some(),
        })
    }

    pub async fn send(self) -> Answer {
        let path = self.path.split('?').next().unwrap_or_default();
        let answer = self.world.invoke(path, &self.event().to_string()).await;
        described::check(self.method, path, self.body.as_deref(), &answer);
        answer
    }
}

impl Answer {
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        let name = StatusCode::from_u16(status).expect("a status");
        assert_eq!(self.status, status, "expected {name}: {}", self.text);
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    #[track_caller]
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn details(&self) -> Value {
        self.json()["error"]["details"].clone()
    }

    /// What must be the same for two callers: status, body and header names, except the request id.
    pub fn fingerprint(&self) -> String {
        let id = self.header("x-request-id").to_owned();
        let mut names: Vec<_> = self.headers.keys().map(|name| name.as_str().to_owned()).collect();
        names.sort();
        format!("{} {} {names:?}", self.status, if id.is_empty() { self.text.clone() } else { self.text.replace(&id, "<request id>") })
    }
}

pub fn id(resource: &Value) -> &str {
    resource["id"].as_str().expect("the resource has an id")
}

/// A prefixed id (`msg_…`) as the table has it.
pub fn uuid_of(id: &str) -> String {
    let hex = id.split_once('_').map_or(id, |(_, hex)| hex);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// The claims of a token, not verified.
pub fn claims_of(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a token has three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("JSON claims")
}

/// Makes a session key as the rotator does, the public key first.
pub async fn write_session_keys(app: &App, environment: &BTreeMap<String, String>, kid: &str) {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &aws_lc_rs::rand::SystemRandom::new()).expect("a key");
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).expect("the key can be read");
    let point = pair.public_key().as_ref();
    let jwk = json!({
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": kid,
        "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..65]),
    });
    let client = app.secrets().client();
    let private = json!({"kid": kid, "pkcs8": STANDARD.encode(pkcs8.as_ref())});
    for (id, value) in [(&environment["JWKS_SECRET_ID"], json!({"keys": [jwk]})), (&environment["SIGNING_SECRET_ID"], private)] {
        client.put_secret_value().secret_id(id).secret_string(value.to_string()).send().await.expect("the secret can be written");
    }
}

/// Every function of the API. `functions` below and `recorded/walks.rs` list them too.
pub fn catalogue() -> Catalogue {
    let mut catalogue = Catalogue::default();
    catalogue.add::<auth::Auth>("auth");
    catalogue.add::<projects::Projects>("projects");
    catalogue.add::<tenants::Tenants>("tenants");
    catalogue.add::<keys::Keys>("keys");
    catalogue.add::<insights::Insights>("insights");
    catalogue.add::<agency::Agency>("agency");
    catalogue.add::<workspaces::Workspaces>("workspaces");
    catalogue.add::<audience::Audience>("audience");
    catalogue.add::<contacts::Contacts>("contacts");
    catalogue.add::<templates::Templates>("templates");
    catalogue.add::<inbox::Inbox>("inbox");
    catalogue.add::<campaigns::Campaigns>("campaigns");
    catalogue.add::<messages::Messages>("messages");
    catalogue.add::<compliance::Compliance>("compliance");
    catalogue.add::<webhooks::Webhooks>("webhooks");
    catalogue.add::<links::Links>("links");
    catalogue
}

async fn functions(
    environments: &BTreeMap<String, BTreeMap<String, String>>,
    plans: &Plans,
    records: Records,
    clock: &Arc<SetClock>,
    seed: u64,
) -> Functions {
    type Serve = fn(App) -> Router;
    let routers: [(&'static str, Serve); 16] = [
        ("auth", router::<auth::Auth>),
        ("projects", router::<projects::Projects>),
        ("tenants", router::<tenants::Tenants>),
        ("keys", router::<keys::Keys>),
        ("insights", router::<insights::Insights>),
        ("agency", router::<agency::Agency>),
        ("workspaces", router::<workspaces::Workspaces>),
        ("audience", router::<audience::Audience>),
        ("contacts", router::<contacts::Contacts>),
        ("templates", router::<templates::Templates>),
        ("inbox", router::<inbox::Inbox>),
        ("campaigns", router::<campaigns::Campaigns>),
        ("messages", router::<messages::Messages>),
        ("compliance", router::<compliance::Compliance>),
        ("webhooks", router::<webhooks::Webhooks>),
        ("links", router::<links::Links>),
    ];
    let mut functions = BTreeMap::new();
    for (index, (name, router)) in routers.into_iter().enumerate() {
        let app = app(name, environments, plans, records, clock, if seed == 0 { 0 } else { seed + index as u64 });
        app.warm_up().await.expect("the functions warm up");
        functions.insert(name, (app.clone(), router(app)));
    }
    functions
}

const TIMEOUT: Duration = Duration::from_secs(100);

fn app(
    function: &str,
    environments: &BTreeMap<String, BTreeMap<String, String>>,
    plans: &Plans,
    records: Records,
    clock: &Arc<SetClock>,
    seed: u64,
) -> App {
    let variables: HashMap<String, String> = environments[function].clone().into_iter().collect();
    let config = Config::read(&Variables(variables.clone())).expect("the template configures the function");
    // On a busy machine the table is slow, and the product then correctly answers 503. Tests are about its other answers.
    let clients = Clients::read(Variables(variables)).expect("the environment names AWS").waiting(TIMEOUT);
    let random = if seed == 0 { Random::system() } else { Random::seeded(seed) };
    App::new(config, plans.clone(), records, clock.clone(), random, &clients)
}

/// The seeded plans with a test's changes. Unless `strict`, without limits that a test could reach by accident.
fn plans(strict: bool, changes: &Value) -> Plans {
    let mut plans: Value = serde_json::from_str(include_str!("../../shared/src/model/plans.json")).expect("plans.json");
    for (name, plan) in plans.as_object_mut().expect("an object") {
        for limit in [
            "tenants_owned",
            "users",
            "projects",
            "workspaces",
            "people",
            "api_keys",
            "custom_domains",
            "subaccounts",
            "webhooks",
            "api_requests_per_day",
        ] {
            if !strict {
                plan[limit] = Value::Null;
            }
        }
        for (limit, value) in changes[name.as_str()].as_object().into_iter().flatten() {
            plan[limit] = value.clone();
        }
    }
    Plans::read(&plans.to_string()).expect("the plans are complete")
}
