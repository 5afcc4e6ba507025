//! The gateway before the functions: it answers as API Gateway's HTTP API does, limits and checks requests, and logs its answers.

pub mod access;
pub mod cors;
pub mod event;
pub mod functions;
pub mod guard;
mod mask;
pub mod queue;
pub mod refusal;
mod server;
pub mod throttle;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::IpAddr,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request::Parts};
use http_body_util::BodyExt;
use hyper::{Request, body::Body};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};

use crate::template::{Route, Template, TemplateError};
use access::{AccessLog, Entry, Message};
use cors::Cors;
use functions::{CallError, Functions, Who};
use refusal::{Refusal, X_REQUEST_ID};
use throttle::Throttle;

const INVOCATIONS: &str = "/2015-03-31/";

/// After a refusal, up to this many bytes are still read, for a client that only reads after it has sent everything.
const MOST_DRAINED: usize = 64 * 1024 * 1024;

/// The most records waiting for the access log. Further ones are dropped.
const BACKLOG: usize = 1_024;

/// The limits of API Gateway.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GatewayLimits {
    pub body: usize,
    /// Request line and headers.
    pub headers: usize,
    /// For a client to send its request and to receive its answer.
    pub client: Duration,
    /// For the bodies of all current requests together.
    pub buffered: usize,
}

impl Default for GatewayLimits {
    fn default() -> GatewayLimits {
        GatewayLimits { body: 10 * 1024 * 1024, headers: 10 * 1024, client: Duration::from_secs(30), buffered: 256 * 1024 * 1024 }
    }
}

/// What the template says about the API.
#[derive(Debug)]
pub struct Settings {
    pub routes: Vec<Route>,
    pub cors: Option<Cors>,
    /// For the console: its reference calls the API from another port, whatever the template allows.
    pub console: Option<Cors>,
    pub throttle: Throttle,
    pub limits: GatewayLimits,
}

impl Settings {
    pub fn of(template: &Template) -> Result<Settings, TemplateError> {
        Ok(Settings {
            routes: template.routes()?,
            cors: template.cors()?.and_then(Cors::new),
            console: None,
            throttle: Throttle::new(template.throttles()?),
            limits: GatewayLimits::default(),
        })
    }

    fn cors_for(&self, asked: &HeaderMap) -> Option<&Cors> {
        self.console.as_ref().filter(|console| console.knows(asked)).or(self.cors.as_ref())
    }
}

#[derive(Clone)]
pub struct Gateway {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    functions: Functions,
    buffered: AtomicUsize,
    records: mpsc::Sender<Record>,
}

/// The result of a request, with its target.
#[derive(Default)]
struct Outcome {
    route: String,
    function: Option<String>,
    body: Bytes,
}

/// All data about a request, for the log. It is written separately, because masking takes longer than a request should wait.
struct Record {
    entry: Entry,
    request: (HeaderMap, Bytes),
    response: (HeaderMap, Bytes),
}

impl Gateway {
    pub fn new(settings: Settings, functions: Functions, access: AccessLog) -> Gateway {
        let (records, received) = mpsc::channel(BACKLOG);
        tokio::spawn(keep(access, received));
        Gateway { inner: Arc::new(Inner { settings, functions, buffered: AtomicUsize::new(0), records }) }
    }

    /// Answers on the listener until the future is dropped.
    pub async fn serve(self, listener: TcpListener) {
        server::serve(self, listener).await;
    }

    pub fn limits(&self) -> &GatewayLimits {
        &self.inner.settings.limits
    }

    /// One request and its answer, whatever happens.
    pub async fn answer<B>(&self, request: Request<B>, peer: IpAddr, port: u16) -> Response<Bytes>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let (at, started, request_id) = (Timestamp::now(), Instant::now(), new_request_id());
        let (parts, body) = request.into_parts();
        let mut outcome = Outcome { route: "none".to_owned(), ..Outcome::default() };
        let answered = AssertUnwindSafe(self.respond(&parts, body, peer, port, &request_id, at, &mut outcome)).catch_unwind().await;
        let refused = |refusal: Refusal| refusal.answer(&request_id, &parts.headers);
        let mut response = match answered {
            Ok(Ok(response)) => response,
            Ok(Err(refusal)) => refused(refusal),
            Err(_) => refused(internal("the gateway failed")),
        };
        let headers = response.headers_mut();
        if let Some(cors) = self.inner.settings.cors_for(&parts.headers)
            && !Cors::is_preflight(&parts.method, &parts.headers)
            && !parts.uri.path().starts_with(INVOCATIONS)
        {
            cors.apply(&parts.headers, headers);
        }
        if !headers.contains_key(X_REQUEST_ID)
            && let Ok(id) = HeaderValue::from_str(&request_id)
        {
            headers.insert(X_REQUEST_ID, id);
        }
        let entry = Entry {
            request_id,
            at,
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            route: outcome.route,
            function: outcome.function,
            status: response.status().as_u16(),
            latency_ms: started.elapsed().as_secs_f64() * 1000.0,
            ..Entry::default()
        };
        let record =
            Record { entry, request: (parts.headers, outcome.body), response: (response.headers().clone(), response.body().clone()) };
        // A slow log must not delay requests.
        drop(self.inner.records.try_send(record));
        response
    }

    #[allow(clippy::too_many_arguments, reason = "one call, of what is known of one request")]
    async fn respond<B>(
        &self,
        parts: &Parts,
        body: B,
        peer: IpAddr,
        port: u16,
        request_id: &str,
        at: Timestamp,
        outcome: &mut Outcome,
    ) -> Result<Response<Bytes>, Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let Settings { routes, throttle, limits, .. } = &self.inner.settings;
        if size_of(parts) > limits.headers {
            let message = format!("request line and headers are larger than {} bytes", limits.headers);
            return Err(Refusal::bad(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, message).hanging_up());
        }
        guard::loopback(&parts.uri, &parts.headers)?;
        let path = parts.uri.path();
        if path.starts_with(INVOCATIONS) {
            return self.invoke(parts, body, peer, outcome).await;
        }
        if let Some(cors) = self.inner.settings.cors_for(&parts.headers)
            && Cors::is_preflight(&parts.method, &parts.headers)
        {
            outcome.route = "preflight".to_owned();
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::NO_CONTENT;
            *response.headers_mut() = cors.preflight(&parts.headers);
            return Ok(response);
        }
        let not_found = || Refusal::new(StatusCode::NOT_FOUND, "NOT_FOUND", "there is no such route");
        let target = event::target(routes, &parts.method, path).ok_or_else(not_found)?;
        outcome.route = target.route_key.clone();
        throttle.take(&target.route_key, Instant::now()).map_err(|seconds| {
            let message = "the API has more requests than its throttle lets through; try again later";
            let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_REQUESTS", message);
            Refusal { retry_after: Some(seconds), ..refusal }
        })?;
        let (body, _held) = self.read(parts, body).await?;
        outcome.body = body.clone();
        outcome.function = Some(target.function.clone());
        let source_ip = peer.to_canonical().to_string();
        let told = event::RequestContext { request_id, at, source_ip: &source_ip, port };
        let event = event::event(parts, &body, &target, &told);
        let sender = Who::Sender(sender_of(&parts.headers, peer));
        let reply = self.inner.functions.call(&target.function, Bytes::from(event.to_string()), sender).await.map_err(refusal_of)?;
        if reply.status >= 300 {
            // The watcher's error, or the runtime's error about a function that failed. It is in the terminal.
            return Err(internal("the function failed; the terminal of `cargo local` says how"));
        }
        event::answer(&reply.body).map_err(|problem| internal(&format!("the function cannot be understood: {problem}")))
    }

    /// Lambda's invocation API, for `cargo lambda invoke` and `aws lambda invoke`. AWS requires a signature; here browsers are refused.
    async fn invoke<B>(&self, parts: &Parts, body: B, peer: IpAddr, outcome: &mut Outcome) -> Result<Response<Bytes>, Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        outcome.route = "invoke".to_owned();
        guard::no_browser(&parts.headers)?;
        let name = parts.uri.path().strip_prefix(INVOCATIONS).and_then(|rest| rest.strip_prefix("functions/"));
        let name = name.and_then(|rest| rest.strip_suffix("/invocations")).filter(|name| !name.is_empty() && !name.contains('/'));
        let Some(name) = name else {
            return Err(Refusal::new(
                StatusCode::NOT_FOUND,
                "NOT_FOUND",
                "functions are invoked at /2015-03-31/functions/NAME/invocations",
            ));
        };
        outcome.route = format!("invoke {name}");
        if parts.method != Method::POST {
            let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "an invocation is a POST");
            return Err(Refusal { allow: Some("POST"), ..refusal });
        }
        guard::not_a_form(&parts.headers)?;
        let (body, _held) = self.read(parts, body).await?;
        outcome.body = body.clone();
        let payload = if body.is_empty() { Bytes::from_static(b"{}") } else { body };
        let reply = self.inner.functions.call(name, payload, Who::Sender(sender_of(&parts.headers, peer))).await.map_err(refusal_of)?;
        outcome.function = Some(name.to_owned());
        let mut response = Response::new(reply.body);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if reply.status >= 300 {
            response.headers_mut().insert("x-amz-function-error", HeaderValue::from_static("Unhandled"));
        }
        Ok(response)
    }

    /// The whole body, if it is not too large and arrives in time.
    async fn read<B>(&self, parts: &Parts, mut body: B) -> Result<(Bytes, BodyBudget<'_>), Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let limits = self.limits();
        let most = limits.body;
        let too_large = || Refusal::bad(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {most} bytes")).hanging_up();
        let announced = body.size_hint().lower();
        // A client that waits for permission to send gets it.
        if announced > most as u64 && (parts.headers.contains_key(header::EXPECT) || announced > MOST_DRAINED as u64) {
            return Err(too_large());
        }
        let mut held = BodyBudget { total: &self.inner.buffered, bytes: 0 };
        let whole = async {
            let (mut read, mut length) = (BytesMut::new(), 0);
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|_| Refusal::bad(StatusCode::BAD_REQUEST, "the body ended too early").hanging_up())?;
                let Ok(data) = frame.into_data() else { continue };
                length += data.len();
                if length > MOST_DRAINED {
                    break;
                }
                if length <= most {
                    if !held.more(data.len(), limits.buffered) {
                        return Err(Refusal::unavailable("too many large bodies are here already", 5).hanging_up());
                    }
                    read.extend_from_slice(&data);
                }
            }
            if length > most { Err(too_large()) } else { Ok(read.freeze()) }
        };
        let late = Refusal::bad(StatusCode::REQUEST_TIMEOUT, format!("the body did not come within {} seconds", limits.client.as_secs()));
        let read = timeout(limits.client, whole).await.map_err(|_| late.hanging_up())??;
        Ok((read, held))
    }
}

/// A share of the memory for all bodies, returned when it is dropped.
struct BodyBudget<'a> {
    total: &'a AtomicUsize,
    bytes: usize,
}

impl BodyBudget<'_> {
    fn more(&mut self, bytes: usize, most: usize) -> bool {
        self.bytes += bytes;
        self.total.fetch_add(bytes, Ordering::Relaxed) + bytes <= most
    }
}

impl Drop for BodyBudget<'_> {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

pub fn new_request_id() -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(20).collect()
}

async fn keep(access: AccessLog, mut records: mpsc::Receiver<Record>) {
    while let Some(Record { entry, request, response }) = records.recv().await {
        let (path, query) = (entry.path.clone(), mask::query(&entry.query));
        let request = Message::new(&path, &request.0, &request.1);
        let response = Message::new(&path, &response.0, &response.1);
        access.record(Entry { query, request, response, ..entry });
    }
}

fn refusal_of(error: CallError) -> Refusal {
    let message = error.to_string();
    match error {
        CallError::Unknown(_) => Refusal::new(StatusCode::NOT_FOUND, "NOT_FOUND", message),
        CallError::Busy | CallError::Lost(_) => Refusal::unavailable(message, 1),
        CallError::Unreachable(..) => Refusal::unavailable(message, 2),
        CallError::Late(..) => Refusal::unavailable(message, 5),
        CallError::NotReady { lines, .. } => {
            let details = if lines.is_empty() { json!({}) } else { json!({ "compiler": lines }) };
            Refusal { details: Box::new(details), ..Refusal::unavailable(message, 5) }
        }
    }
}

fn internal(message: &str) -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_SERVER_ERROR", message)
}

fn size_of(parts: &Parts) -> usize {
    let line = parts.method.as_str().len() + parts.uri.path_and_query().map_or(0, |target| target.as_str().len()) + " HTTP/1.1\r\n ".len();
    line + parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum::<usize>()
}

/// The sender, for taking turns: the tenant if a session names one, otherwise the credential, otherwise the address. Nothing is verified
/// here: a sender with an invented tenant only gets a separate row.
fn sender_of(headers: &HeaderMap, peer: IpAddr) -> u64 {
    let mut hasher = DefaultHasher::new();
    let credential = ["authorization", "x-api-key", "x-ingest-key"].into_iter().find_map(|name| headers.get(name));
    match credential.map(HeaderValue::as_bytes) {
        Some(credential) => match tenant_of(credential) {
            Some(tenant) => (tenant, headers.get("x-tenant-id").map(HeaderValue::as_bytes)).hash(&mut hasher),
            None => credential.hash(&mut hasher),
        },
        None => peer.hash(&mut hasher),
    }
    hasher.finish()
}

fn tenant_of(credential: &[u8]) -> Option<String> {
    let token = std::str::from_utf8(credential).ok()?.strip_prefix("Bearer ")?;
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    claims["tid"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests;
