//! IAM before the embedded table, for tests that use it. The access key says who calls, and the roles and policies of template.yaml say
//! what they may do. An STS returns sessions with tags. Signatures are not checked. Of the policies, only those for the table and STS
//! count.

mod ask;
pub mod policy;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, Method, StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use winterbaume_core::{MockRequest, MockService};
use winterbaume_sts::StsService;

use crate::lock::Lock;
use crate::template::Template;
use ask::{AccessRequest, Keys, asks};
use policy::{Context, Statement, allowing};

/// Access to the table with checks. Cheap to clone.
#[derive(Clone)]
pub struct Guard(Arc<Inner>);

struct Inner {
    roles: BTreeMap<String, Role>,
    identities: Lock<HashMap<String, Identity>>,
    keys: Keys,
    sts: StsService,
    table_url: String,
    client: Client<HttpConnector, Full<Bytes>>,
    denials: Lock<Vec<Denial>>,
    used: Lock<BTreeSet<Grant>>,
}

/// A role of the template. `Inner::roles` has it by its ARN.
struct Role {
    name: String,
    trust: Vec<Statement>,
    statements: Vec<Statement>,
}

/// The owner of an access key.
#[derive(Debug, Clone)]
struct Identity {
    role: String,
    tags: BTreeMap<String, String>,
    /// For a session: the token that must come with the key, and its end.
    token: Option<(String, Timestamp)>,
}

/// A request that IAM refused.
#[derive(Debug, Clone, PartialEq)]
pub struct Denial {
    /// The role, and the tenant if it was a session.
    pub caller: String,
    pub action: String,
    pub resource: String,
    pub leading_keys: Vec<String>,
}

/// An action on a resource that a role may use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    pub role: String,
    pub action: String,
    pub resource: String,
}

/// The access key of a function's own credentials.
pub fn access_key(function: &str) -> String {
    format!("LOCAL-{function}")
}

impl Guard {
    pub fn new(template: &Template, table_url: String) -> Result<Guard, String> {
        let mut roles = BTreeMap::new();
        for role in template.roles().map_err(|error| error.to_string())? {
            let read = |document: &Value| policy::read(document).map_err(|problem| format!("{}: {problem}", role.logical_id));
            let statements = role.policies.iter().map(read).collect::<Result<Vec<_>, _>>()?.into_iter().flatten();
            let statements = statements
                .filter(|statement| statement.actions.iter().any(|action| action.starts_with("dynamodb:") || action.starts_with("sts:")));
            let known = Role { name: role.logical_id.clone(), trust: read(&role.trust)?, statements: statements.collect() };
            roles.insert(role.arn, known);
        }
        let mut identities = HashMap::new();
        for (function, role) in template.function_roles().map_err(|error| error.to_string())? {
            identities.insert(access_key(&function), Identity { role, tags: BTreeMap::new(), token: None });
        }
        let place = template.place();
        let mut keys = Keys { prefix: format!("arn:aws:dynamodb:{}:{}:", place.region, place.account), ..Keys::default() };
        for table in template.tables().map_err(|error| error.to_string())? {
            for index in table.definition["GlobalSecondaryIndexes"].as_array().into_iter().flatten() {
                let hash = index["KeySchema"].as_array().into_iter().flatten().find(|key| key["KeyType"] == "HASH");
                let attribute = hash.and_then(|key| key["AttributeName"].as_str()).unwrap_or_default().to_owned();
                keys.attributes.insert((table.name.clone(), index["IndexName"].as_str().map(str::to_owned)), attribute);
            }
            keys.attributes.insert((table.name, None), table.hash_key);
        }
        Ok(Guard(Arc::new(Inner {
            roles,
            identities: Lock::new(identities),
            keys,
            sts: StsService::new(),
            table_url,
            client: Client::builder(TokioExecutor::new()).build_http(),
            denials: Lock::default(),
            used: Lock::default(),
        })))
    }

    pub fn router(&self) -> Router {
        Router::new().fallback(answer).layer(DefaultBodyLimit::max(32 * 1024 * 1024)).with_state(self.clone())
    }

    /// The refusals since the last call.
    pub fn take_denials(&self) -> Vec<Denial> {
        std::mem::take(&mut self.0.denials.lock())
    }

    /// What the roles may do with the table.
    pub fn grants(&self) -> BTreeSet<Grant> {
        let mut grants = BTreeSet::new();
        for role in self.0.roles.values() {
            for statement in &role.statements {
                for (action, resource) in statement.actions.iter().flat_map(|action| statement.resources.iter().map(move |to| (action, to)))
                {
                    grants.insert(Grant { role: role.name.clone(), action: action.clone(), resource: resource.clone() });
                }
            }
        }
        grants
    }

    /// What they have done with it so far.
    pub fn used(&self) -> BTreeSet<Grant> {
        self.0.used.lock().clone()
    }

    /// How many sessions were opened so far.
    pub fn sessions(&self) -> usize {
        self.0.identities.lock().values().filter(|identity| identity.token.is_some()).count()
    }

    /// Ends all sessions now, as if their time was over.
    pub fn end_sessions(&self) {
        for identity in self.0.identities.lock().values_mut() {
            if let Some((_, ends_at)) = &mut identity.token {
                *ends_at = Timestamp::UNIX_EPOCH;
            }
        }
    }

    fn identity(&self, headers: &HeaderMap) -> Result<Identity, &'static str> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let key = text("authorization").split("Credential=").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
        let identity = self.0.identities.lock().get(key).cloned().ok_or("UnrecognizedClientException")?;
        match &identity.token {
            Some((token, _)) if token != text("x-amz-security-token") => Err("UnrecognizedClientException"),
            Some((_, ends_at)) if *ends_at <= Timestamp::now() => Err("ExpiredTokenException"),
            _ => Ok(identity),
        }
    }

    /// Whether the caller's own policies allow it. A refusal is recorded.
    fn may(&self, identity: &Identity, ask: &AccessRequest, context: Context) -> Result<(), Denial> {
        let role = &self.0.roles[&identity.role];
        let context =
            identity.tags.iter().fold(context, |context, (tag, value)| context.with(&format!("aws:PrincipalTag/{tag}"), [value.clone()]));
        if allowing(&role.statements, None, &ask.action, &ask.resource, &context).is_some() {
            self.0.used.lock().insert(Grant { role: role.name.clone(), action: ask.action.clone(), resource: ask.resource.clone() });
            return Ok(());
        }
        Err(self.denied(identity, ask))
    }

    fn denied(&self, identity: &Identity, ask: &AccessRequest) -> Denial {
        let name = &self.0.roles[&identity.role].name;
        let denial = Denial {
            caller: identity.tags.get("tenant").map_or_else(|| name.clone(), |tenant| format!("{name} for {tenant}")),
            action: ask.action.clone(),
            resource: ask.resource.clone(),
            leading_keys: ask.leading_keys.clone().unwrap_or_default(),
        };
        self.0.denials.lock().push(denial.clone());
        denial
    }

    async fn dynamodb(&self, operation: &str, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
        let identity = match self.identity(&headers) {
            Ok(identity) => identity,
            Err(code) => return refuse(code, "The security token included in the request is not valid."),
        };
        let parsed: Value = serde_json::from_slice(&body).unwrap_or_default();
        for ask in asks(operation, &parsed, &self.0.keys) {
            let mut context = Context::default();
            if let Some(keys) = &ask.leading_keys {
                context = context.with("dynamodb:LeadingKeys", keys.clone());
            }
            if let Some(enclosing) = ask.enclosing {
                context = context.with("dynamodb:EnclosingOperation", [enclosing.to_owned()]);
            }
            if let Err(denial) = self.may(&identity, &ask, context) {
                let message = format!("{} is not authorized to perform: {} on resource: {}", denial.caller, denial.action, denial.resource);
                return refuse("AccessDeniedException", &message);
            }
        }
        self.forward(method, &uri, headers, body).await.unwrap_or_else(|problem| refuse("InternalServerError", &problem))
    }

    async fn forward(&self, method: Method, uri: &Uri, headers: HeaderMap, body: Bytes) -> Result<Response, String> {
        let mut request = http::Request::builder().method(method).uri(format!("{}{}", self.0.table_url, uri.path()));
        if let Some(copied) = request.headers_mut() {
            *copied = headers;
            copied.remove(http::header::HOST);
        }
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let response = self.0.client.request(request).await.map_err(|error| error.to_string())?;
        Ok(response.map(Body::new))
    }

    /// AssumeRole: the caller's policies must allow it, and the role must trust the caller with these tags.
    async fn assume_role(&self, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
        let identity = match self.identity(&headers) {
            Ok(identity) => identity,
            Err(code) => return refuse_sts(code),
        };
        let form: HashMap<String, String> = form_urlencoded::parse(&body).into_owned().collect();
        let value = |name: &str| form.get(name).cloned().unwrap_or_default();
        let tags: BTreeMap<String, String> = (1..=50)
            .filter_map(|n| Some((form.get(&format!("Tags.member.{n}.Key"))?.clone(), value(&format!("Tags.member.{n}.Value")))))
            .collect();
        let role_arn = value("RoleArn");
        let Some(role) = self.0.roles.get(&role_arn).filter(|_| value("Action") == "AssumeRole") else { return refuse_sts("AccessDenied") };
        let seconds: i64 = form.get("DurationSeconds").and_then(|text| text.parse().ok()).unwrap_or(3600);
        // A function's credentials are already a session, and chained sessions last an hour at most.
        if !(900..=3600).contains(&seconds) {
            return refuse_sts("ValidationError");
        }
        let mut context = Context::default();
        for (tag, value) in &tags {
            context = context.with(&format!("aws:RequestTag/{tag}"), [value.clone()]);
        }
        if !tags.is_empty() {
            context = context.with("aws:TagKeys", tags.keys().cloned());
        }
        for action in ["sts:AssumeRole", "sts:TagSession"].into_iter().take(if tags.is_empty() { 1 } else { 2 }) {
            let ask = AccessRequest { action: action.to_owned(), resource: role_arn.clone(), leading_keys: None, enclosing: None };
            if self.may(&identity, &ask, context.clone()).is_err() {
                return refuse_sts("AccessDenied");
            }
            if allowing(&role.trust, Some(&identity.role), action, &role_arn, &context).is_none() {
                self.denied(&identity, &ask);
                return refuse_sts("AccessDenied");
            }
        }
        let answered = self.0.sts.handle(MockRequest { method: method.to_string(), uri: uri.to_string(), headers, body }).await;
        let text = String::from_utf8_lossy(&answered.body).into_owned();
        let element = |name: &str| {
            let inside = text.split_once(&format!("<{name}>")).and_then(|(_, rest)| rest.split_once(&format!("</{name}>")));
            inside.map(|(inside, _)| inside.to_owned()).unwrap_or_default()
        };
        if answered.status < 300 {
            let ends_at = element("Expiration").parse().unwrap_or(Timestamp::UNIX_EPOCH);
            let session = Identity { role: role_arn, tags, token: Some((element("SessionToken"), ends_at)) };
            self.0.identities.lock().insert(element("AccessKeyId"), session);
        }
        let status = StatusCode::from_u16(answered.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, answered.headers, answered.body).into_response()
    }
}

async fn answer(State(guard): State<Guard>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).map(str::to_owned);
    match target.as_deref().and_then(|target| target.split_once('.')) {
        Some((service, operation)) if service.starts_with("DynamoDB") => guard.dynamodb(operation, method, uri, headers, body).await,
        Some(_) => refuse("UnknownOperationException", "this service is not part of the local stack"),
        None => guard.assume_role(method, uri, headers, body).await,
    }
}

fn refuse(code: &str, message: &str) -> Response {
    let status = if code == "InternalServerError" { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::BAD_REQUEST };
    let body = json!({ "__type": format!("com.amazon.coral.service#{code}"), "Message": message });
    (status, [(CONTENT_TYPE, "application/x-amz-json-1.0")], body.to_string()).into_response()
}

fn refuse_sts(code: &str) -> Response {
    let body = format!("<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>refused</Message></Error></ErrorResponse>");
    (StatusCode::FORBIDDEN, [(CONTENT_TYPE, "text/xml")], body).into_response()
}

#[cfg(test)]
mod tests;
