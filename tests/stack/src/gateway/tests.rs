//! The gateway with a fake watcher: what it passes on, what it refuses, and that nothing stops it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Json, Router, extract::State, routing::post};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use super::{
    access::{AccessLog, Filter},
    cors::Cors,
    functions::{Functions, Phase, Timeouts},
    queue::Bounds,
    throttle::Throttle,
    *,
};
use crate::template::{Function, Throttle as Limit, Throttles};

/// Answers with the event that it got.
struct Watcher {
    address: SocketAddr,
    busy: AtomicUsize,
    most: AtomicUsize,
    seen: AtomicUsize,
    /// If closed, nothing is answered until it opens.
    open: Semaphore,
}

struct Stack {
    address: SocketAddr,
    functions: Functions,
    watcher: Arc<Watcher>,
    access: AccessLog,
}

async fn watcher() -> Arc<Watcher> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let zero = || AtomicUsize::new(0);
    let watcher = Arc::new(Watcher { address, busy: zero(), most: zero(), seen: zero(), open: Semaphore::new(100_000) });
    let router =
        Router::new().route("/2015-03-31/functions/{name}/invocations", post(invoked)).layer(axum::extract::DefaultBodyLimit::disable());
    let router = router.with_state(watcher.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    watcher
}

async fn invoked(State(watcher): State<Arc<Watcher>>, Json(event): Json<Value>) -> Json<Value> {
    watcher.seen.fetch_add(1, Ordering::SeqCst);
    let busy = watcher.busy.fetch_add(1, Ordering::SeqCst) + 1;
    watcher.most.fetch_max(busy, Ordering::SeqCst);
    drop(watcher.open.acquire().await);
    tokio::time::sleep(Duration::from_millis(2)).await;
    watcher.busy.fetch_sub(1, Ordering::SeqCst);
    Json(json!({ "statusCode": 200, "headers": {"content-type": "application/json", "etag": "\"1\""}, "body": event.to_string() }))
}

fn settings() -> Settings {
    let route = |function: &str, path: &str| Route { function: function.to_owned(), method: "ANY".to_owned(), path: path.to_owned() };
    let routes = vec![route("auth", "$default"), route("projects", "/api/v1/projects")];
    let limits = GatewayLimits { client: Duration::from_millis(1_500), ..GatewayLimits::default() };
    Settings { routes, cors: None, console: None, throttle: Throttle::default(), limits }
}

async fn stack(settings: Settings) -> Stack {
    let function =
        |name: &str| Function { logical_id: name.to_owned(), name: name.to_owned(), timeout_seconds: 3, environment: Default::default() };
    let bounds = Bounds { places: 64, per_function: 32, waiting: 300 };
    let short = Duration::from_millis;
    let timeouts = Timeouts { starting: short(400), broken: short(100), queueing: Duration::from_secs(5), answer: short(900) };
    let functions = Functions::new(
        &[function("auth"), function("projects"), function("operator")],
        &[("operator".to_owned(), 3)].into(),
        bounds,
        timeouts,
    );
    let watcher = watcher().await;
    for name in ["auth", "projects", "operator"] {
        functions.listening(name, watcher.address);
    }
    let access = AccessLog::new();
    let gateway = Gateway::new(settings, functions.clone(), access.clone());
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(gateway.serve(listener));
    Stack { address, functions, watcher, access }
}

/// Status, headers in lower case, body.
type Heard = (u16, String, String);

impl Stack {
    async fn ask(&self, method: &str, target: &str, headers: &str, body: &[u8]) -> Heard {
        let host = format!("host: {}\r\n", self.address);
        let host = if headers.starts_with("host:") { "" } else { &host };
        let head = format!("{method} {target} HTTP/1.1\r\n{host}connection: close\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
        self.raw(&[head.as_bytes(), body].concat()).await
    }

    async fn raw(&self, bytes: &[u8]) -> Heard {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let (mut reading, mut writing) = stream.split();
        let mut heard = Vec::new();
        // A refusal may arrive before everything is sent.
        let (_, read) = tokio::join!(writing.write_all(bytes), reading.read_to_end(&mut heard));
        drop(read);
        let heard = String::from_utf8_lossy(&heard).into_owned();
        let (head, body) = heard.split_once("\r\n\r\n").unwrap_or((&heard, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        (status, head.to_lowercase(), body.to_owned())
    }
}

#[track_caller]
fn is_ours((status, head, body): &Heard, expected: u16, code: &str) {
    assert_eq!(*status, expected, "{head}\n{body}");
    let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{head}\n{body}"));
    assert_eq!((&body["success"], &body["error"]["code"]), (&json!(false), &json!(code)));
    assert!(body["error"]["message"].is_string() && body["error"]["details"].is_object());
    let id = body["error"]["request_id"].as_str().unwrap();
    assert!(head.contains(&format!("x-request-id: {}", id.to_lowercase())), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_at_once_are_answered_and_the_next_one_at_once() {
    let stack = Arc::new(stack(settings()).await);
    let asked: Vec<_> = (0..500)
        .map(|number| {
            let stack = stack.clone();
            let headers = format!("authorization: Bearer {}\r\n", number % 7);
            tokio::spawn(async move { stack.ask("GET", "/api/v1/projects", &headers, b"").await })
        })
        .collect();
    let mut good = 0;
    for asked in asked {
        let heard = asked.await.unwrap();
        if heard.0 == 200 {
            good += 1;
        } else {
            is_ours(&heard, 503, "SERVICE_UNAVAILABLE");
            assert!(heard.1.contains("\r\nretry-after: 1"), "{}", heard.1);
        }
    }
    assert!(good >= 300, "{good}");
    assert!(stack.watcher.most.load(Ordering::SeqCst) <= 32);
    let started = Instant::now();
    assert_eq!(stack.ask("GET", "/api/v1/projects", "", b"").await.0, 200);
    assert!(started.elapsed() < Duration::from_millis(500));
    assert_eq!(stack.functions.lengths(), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_stands_still_gets_no_more_than_it_can_hold_and_is_left_for_its_successor() {
    let stack = Arc::new(stack(settings()).await);
    stack.watcher.open.forget_permits(100_000);
    let asked: Vec<_> = (0..40)
        .map(|_| stack.clone())
        .map(|stack| tokio::spawn(async move { stack.ask("GET", "/api/v1/projects", "", b"").await }))
        .collect();
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(stack.watcher.seen.load(Ordering::SeqCst), 32);
    // It answers, although it returns no result of its invocations.
    assert!(stack.functions.watcher_answers("projects").await);
    // Nobody waits for those any more, but the watcher still has them.
    assert_eq!(stack.functions.lengths(), (32, 8));
    // The others are not delayed.
    let next = self::watcher().await;
    stack.functions.listening("auth", next.address);
    assert_eq!(stack.ask("GET", "/", "", b"").await.0, 200);
    stack.functions.away("projects", "it was ended");
    stack.functions.listening("projects", next.address);
    let started = Instant::now();
    assert_eq!(stack.ask("GET", "/api/v1/projects", "", b"").await.0, 200);
    assert!(started.elapsed() < Duration::from_millis(700));
    for asked in asked {
        let heard = asked.await.unwrap();
        assert!(heard.0 == 200 || heard.1.contains("\r\nretry-after: "), "{}", heard.1);
    }
    assert_eq!(stack.functions.lengths(), (0, 0));
}

#[tokio::test]
async fn what_was_overtaken_is_lost_and_its_place_free() {
    let stack = Arc::new(stack(settings()).await);
    // They were lost with a function that was restarted: the watcher never answers.
    stack.watcher.open.forget_permits(100_000);
    let lost = stack.clone();
    let lost = tokio::spawn(async move { lost.functions.call("auth", Bytes::from_static(b"{}"), functions::Who::Source).await });
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    let next = self::watcher().await;
    stack.functions.listening("auth", next.address);
    assert_eq!(stack.ask("GET", "/", "", b"").await.0, 200);
    assert_eq!(lost.await.unwrap(), Err(functions::CallError::Lost("auth".to_owned())));
}

#[tokio::test]
async fn among_several_instances_a_later_answer_says_nothing_of_an_earlier_event() {
    let stack = Arc::new(stack(settings()).await);
    let call = |stack: Arc<Stack>| async move { stack.functions.call("operator", Bytes::from_static(b"{}"), functions::Who::Source).await };
    stack.watcher.open.forget_permits(100_000);
    let slow = tokio::spawn(call(stack.clone()));
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    let first = stack.watcher.address;
    stack.functions.listening("operator", self::watcher().await.address);
    assert!(call(stack.clone()).await.is_ok());
    stack.functions.listening("operator", first);
    assert!(!slow.is_finished());
    stack.watcher.open.add_permits(100_000);
    assert_eq!(slow.await.unwrap().map(|reply| reply.status), Ok(200));
}

#[tokio::test]
async fn events_are_those_of_api_gateway() {
    let stack = stack(settings()).await;
    let twice = "Authorization: Bearer a\r\nauthorization: Bearer b\r\ncookie: a=1; b=2\r\n";
    let (status, head, body) = stack.ask("GET", "/caf%C3%A9?x=1&x=2", twice, b"").await;
    assert_eq!(status, 200);
    assert!(head.contains("\r\nx-request-id: ") && head.contains("\r\netag: \"1\""), "{head}");
    let event: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&event["rawPath"], &event["headers"]["authorization"]), (&json!("/café"), &json!("Bearer a,Bearer b")));
    assert_eq!((&event["cookies"], &event["queryStringParameters"]), (&json!(["a=1", "b=2"]), &json!({"x": "1,2"})));
    assert_eq!(event["requestContext"]["http"]["sourceIp"], "127.0.0.1");
    let (_, _, body) = stack.ask("POST", "/", "content-type: application/json\r\ncontent-encoding: gzip\r\n", b"\x1f\x8b\xff").await;
    let event: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&event["body"], &event["isBase64Encoded"]), (&json!("H4v/"), &json!(true)));
    let (status, head, body) = stack.ask("HEAD", "/", "", b"").await;
    assert_eq!((status, body.as_str()), (200, ""));
    assert!(head.contains("\r\ncontent-length: "), "{head}");
}

#[tokio::test]
async fn what_is_too_large_or_too_slow_or_no_request_is_refused_in_our_form() {
    let stack = stack(settings()).await;
    let big = vec![b'a'; 10 * 1024 * 1024 + 1];
    is_ours(&stack.ask("POST", "/", "content-type: application/json\r\n", &big).await, 413, "BAD_REQUEST");
    let announced = format!("POST / HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n", big.len());
    is_ours(&stack.raw(announced.as_bytes()).await, 413, "BAD_REQUEST");
    is_ours(&stack.ask("GET", "/", &format!("x-big: {}\r\n", "a".repeat(10_300)), b"").await, 431, "BAD_REQUEST");
    is_ours(&stack.ask("GET", &format!("/{}", "a".repeat(10_300)), "", b"").await, 431, "BAD_REQUEST");
    is_ours(&stack.raw(b"not a request\r\n\r\n").await, 400, "BAD_REQUEST");
    is_ours(&stack.raw(b"GET /\xff HTTP/1.1\r\nhost: localhost\r\n\r\n").await, 400, "BAD_REQUEST");
    let started = Instant::now();
    is_ours(&stack.raw(b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nslow").await, 408, "BAD_REQUEST");
    // Half a request line: there is no answer, but the connection ends.
    assert_eq!(stack.raw(b"GET / HT").await.0, 0);
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn web_pages_reach_neither_another_name_nor_an_invocation() {
    let stack = stack(settings()).await;
    for host in ["evil.example", "127.0.0.1.evil.example:9000", "", "localhost:9000@evil.example"] {
        is_ours(&stack.ask("GET", "/", &format!("host: {host}\r\n"), b"").await, 421, "BAD_REQUEST");
    }
    for host in ["localhost:9000", "[::1]:9000", "127.0.0.1"] {
        assert_eq!(stack.ask("GET", "/", &format!("host: {host}\r\n"), b"").await.0, 200, "{host}");
    }
    let path = "/2015-03-31/functions/operator/invocations";
    let json = "content-type: application/json\r\n";
    let event = br#"{"command":"list-receipts"}"#;
    is_ours(&stack.ask("POST", path, &format!("{json}origin: https://evil.example\r\n"), event).await, 403, "FORBIDDEN");
    is_ours(&stack.ask("POST", path, &format!("{json}sec-fetch-site: same-origin\r\n"), event).await, 403, "FORBIDDEN");
    is_ours(&stack.ask("POST", path, "content-type: text/plain\r\n", event).await, 415, "BAD_REQUEST");
    is_ours(&stack.ask("GET", path, "", b"").await, 405, "METHOD_NOT_ALLOWED");
    is_ours(&stack.ask("POST", "/2015-03-31/functions/nobody/invocations", json, event).await, 404, "NOT_FOUND");
    is_ours(&stack.ask("POST", "/2015-03-31/elsewhere", json, event).await, 404, "NOT_FOUND");
    assert_eq!(stack.watcher.seen.load(Ordering::SeqCst), 3);
    let (status, _, body) = stack.ask("POST", path, json, event).await;
    assert_eq!(status, 200);
    assert!(body.contains("list-receipts"), "{body}");
}

#[tokio::test]
async fn cors_is_what_the_template_says() {
    let preflight = "origin: https://app.example.com\r\naccess-control-request-method: PATCH\r\n";
    let console = Some(Cors::all_for(vec!["http://localhost:9001".to_owned()]));
    let without = stack(Settings { console, ..settings() }).await;
    let own = "origin: http://localhost:9001\r\naccess-control-request-method: GET\r\naccess-control-request-headers: authorization\r\n";
    let (status, head, _) = without.ask("OPTIONS", "/api/v1/projects", own, b"").await;
    assert!(status == 204 && head.contains("access-control-allow-headers: authorization"), "{head}");
    let (status, head, _) = without.ask("OPTIONS", "/api/v1/projects", preflight, b"").await;
    // The function answers, and it knows no such method.
    assert!(status == 200 && !head.contains("access-control"), "{head}");
    let configuration = json!({"allowOrigins": ["https://app.example.com"], "allowMethods": ["PATCH"], "exposeHeaders": ["ETag"]});
    let cors = Cors::new(serde_json::from_value(configuration).unwrap());
    let with = stack(Settings { cors, ..settings() }).await;
    let (status, head, body) = with.ask("OPTIONS", "/api/v1/projects", preflight, b"").await;
    assert_eq!((status, body.as_str()), (204, ""));
    assert!(head.contains("access-control-allow-origin: https://app.example.com") && head.contains("x-request-id"), "{head}");
    assert_eq!(with.watcher.seen.load(Ordering::SeqCst), 0);
    let (_, head, _) = with.ask("GET", "/api/v1/projects", "origin: https://app.example.com\r\n", b"").await;
    assert!(head.contains("access-control-expose-headers: etag"), "{head}");
    let (status, head, _) = with.ask("GET", "/api/v1/projects", "origin: https://evil.example\r\n", b"").await;
    assert!(status == 200 && !head.contains("access-control"), "{head}");
}

#[tokio::test]
async fn a_function_that_is_compiled_is_waited_for_and_one_that_does_not_build_says_why() {
    let stack = Arc::new(stack(settings()).await);
    stack.functions.phase("auth", Phase::Compiling);
    let patient = stack.clone();
    let patient = tokio::spawn(async move { patient.ask("GET", "/", "", b"").await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    stack.functions.phase("auth", Phase::Ready);
    assert_eq!(patient.await.unwrap().0, 200);
    stack.functions.phase("auth", Phase::Broken(vec!["error[E0308]: mismatched types".to_owned()]));
    let heard = stack.ask("GET", "/", "", b"").await;
    is_ours(&heard, 503, "SERVICE_UNAVAILABLE");
    let body: Value = serde_json::from_str(&heard.2).unwrap();
    assert_eq!(body["error"]["details"]["compiler"][0], "error[E0308]: mismatched types");
    assert!(heard.1.contains("\r\nretry-after: 5"));
    // The others are unchanged.
    assert_eq!(stack.ask("GET", "/api/v1/projects", "", b"").await.0, 200);
    stack.functions.away("auth", "`cargo lambda watch` ended");
    is_ours(&stack.ask("GET", "/", "", b"").await, 503, "SERVICE_UNAVAILABLE");
}

#[tokio::test]
async fn a_throttle_refuses_with_a_time_to_wait() {
    let limits = Throttles { default: None, routes: [("ANY /api/v1/projects".to_owned(), Limit { rate: 1, burst: 1 })].into() };
    let throttle = Throttle::new(limits);
    let stack = stack(Settings { throttle, ..settings() }).await;
    assert_eq!(stack.ask("GET", "/api/v1/projects", "", b"").await.0, 200);
    let heard = stack.ask("GET", "/api/v1/projects", "", b"").await;
    is_ours(&heard, 429, "TOO_MANY_REQUESTS");
    assert!(heard.1.contains("\r\nretry-after: 1"));
    assert_eq!(stack.ask("GET", "/", "", b"").await.0, 200);
}

#[tokio::test]
async fn every_request_is_in_the_log_without_its_secrets() {
    let stack = stack(settings()).await;
    let headers = "authorization: Bearer eyJh.eyJi.sig\r\ncontent-type: application/json\r\n";
    let (_, head, _) = stack.ask("POST", "/api/v1/projects?token=abc", headers, br#"{"name":"n","password":"hunter2"}"#).await;
    let mut kept = Vec::new();
    for _ in 0..100 {
        kept = stack.access.recent(&Filter::default());
        if !kept.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let entry = &kept[0];
    assert_eq!((entry.status, entry.method.as_str(), entry.query.as_str()), (200, "POST", "token=********"));
    assert_eq!((entry.route.as_str(), entry.function.as_deref()), ("ANY /api/v1/projects", Some("projects")));
    assert_eq!(entry.request.body, r#"{"name":"n","password":"********"}"#);
    let all = serde_json::to_string(entry.as_ref()).unwrap();
    assert!(!all.contains("hunter2") && !all.contains("eyJh.eyJi"), "{all}");
    assert!(head.contains(&format!("x-request-id: {}", entry.request_id.to_lowercase())) || head.contains("x-request-id"));
}
