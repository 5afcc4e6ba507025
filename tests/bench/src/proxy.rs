//! The TLS endpoint in front of the embedded services. It can also record every call: which operation, when, and what it consumed.
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::body::Bytes;
use dynoxide::Database;
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, HOST},
};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::{Outcome, table, tally::Tally};

use stack::lock::Lock;

/// Held this long, answers to calls made together overlap beyond doubt.
pub const HOLD: Duration = Duration::from_millis(12);

#[derive(Clone, Debug)]
pub struct Call {
    pub operation: String,
    pub request: Value,
    pub answer: Value,
    pub units: f64,
    started: Instant,
    ended: Instant,
}

#[derive(Default)]
pub struct Recorder {
    active: AtomicBool,
    /// How long each answer is delayed while calls are recorded, in microseconds.
    hold: AtomicU64,
    handshakes: AtomicUsize,
    calls: Lock<Vec<Call>>,
    /// Of many calls. What each was is not kept.
    pub tally: Tally,
}

pub struct Proxy {
    pub url: String,
}

impl Proxy {
    /// `upstream` is a URL. Calls that `table` can answer do not go there. Each service has its own `address`, as it has its own name on
    /// AWS.
    pub async fn start(
        address: &str,
        acceptor: TlsAcceptor,
        upstream: String,
        table: Option<Database>,
        recorder: Arc<Recorder>,
    ) -> Outcome<Self> {
        let listener = TcpListener::bind((address, 0)).await?;
        let url = format!("https://{}", listener.local_addr()?);
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let forward = Arc::new(Forward { client, upstream, table, recorder });
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, forward) = (acceptor.clone(), forward.clone());
                tokio::spawn(async move {
                    let _ = socket.set_nodelay(true);
                    let Ok(stream) = acceptor.accept(socket).await else { return };
                    forward.recorder.handshakes.fetch_add(1, Ordering::Relaxed);
                    let service = service_fn(move |request| {
                        let forward = forward.clone();
                        async move { Ok::<_, Infallible>(forward.answer(request).await) }
                    });
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(Self { url })
    }
}

struct Forward {
    client: Client<HttpConnector, Full<Bytes>>,
    upstream: String,
    table: Option<Database>,
    recorder: Arc<Recorder>,
}

impl Forward {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        self.pass(request).await.unwrap_or_else(|error| {
            let mut response = Response::new(Full::new(Bytes::from(error.to_string())));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        })
    }

    async fn pass(&self, request: Request<Incoming>) -> Outcome<Response<Full<Bytes>>> {
        let started = Instant::now();
        let (mut head, body) = request.into_parts();
        let mut body = body.collect().await?.to_bytes();
        let target = head.headers.get("x-amz-target").and_then(|it| it.to_str().ok()).unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let recording = self.recorder.active.load(Ordering::Relaxed) && target.starts_with("DynamoDB_");
        let mut written = Value::Null;
        if recording {
            written = serde_json::from_slice(&body)?;
            written["ReturnConsumedCapacity"] = "TOTAL".into();
            body = serde_json::to_vec(&written)?.into();
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        let kind = match &self.table {
            Some(_) => self.recorder.tally.admit(&operation, &body).await?,
            None => None,
        };
        let answer = match self.table.as_ref().and_then(|table| table::answer(table, &operation, &body)) {
            Some(answer) => {
                let (answer, body) = answer?;
                if let Some(kind) = kind
                    && self.recorder.tally.note(&kind, answer.status().is_success(), &body)?
                {
                    std::future::pending::<()>().await;
                }
                answer.map(|()| Full::new(body))
            }
            None => {
                head.uri = self.upstream.parse()?;
                // The services only answer to their own name.
                head.headers.remove(HOST);
                let (head, body) = self.client.request(Request::from_parts(head, Full::new(body))).await?.into_parts();
                Response::from_parts(head, Full::new(body.collect().await?.to_bytes()))
            }
        };
        if !recording {
            return Ok(answer);
        }
        let (head, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes();
        let hold = self.recorder.hold.load(Ordering::Relaxed);
        if hold > 0 {
            tokio::time::sleep(Duration::from_micros(hold)).await;
        }
        let answer: Value = serde_json::from_slice(&body)?;
        let units = units(&answer["ConsumedCapacity"]);
        let ended = Instant::now();
        self.recorder.keep(Call { operation, request: written, answer, units, started, ended });
        Ok(Response::from_parts(head, Full::new(body)))
    }
}

fn units(consumed: &Value) -> f64 {
    match consumed {
        Value::Array(tables) => tables.iter().map(units).sum(),
        table => table["CapacityUnits"].as_f64().unwrap_or_default(),
    }
}

impl Recorder {
    pub fn start(&self, hold: Duration) {
        self.take();
        self.hold.store(hold.as_micros() as u64, Ordering::Relaxed);
        self.active.store(true, Ordering::Relaxed);
    }

    pub fn stop(&self) -> Vec<Call> {
        self.active.store(false, Ordering::Relaxed);
        self.take()
    }

    /// TLS handshakes of all clients so far.
    pub fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::Relaxed)
    }

    fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock())
    }

    fn keep(&self, call: Call) {
        self.calls.lock().push(call);
    }
}

impl Call {
    pub fn writes(&self) -> bool {
        !matches!(self.operation.as_str(), "GetItem" | "BatchGetItem" | "Query" | "Scan" | "TransactGetItems")
    }
}

/// The longest chain of calls in which each began after the previous one had ended: what the caller waited for.
pub fn serial_round_trips(calls: &[Call]) -> usize {
    let mut calls: Vec<&Call> = calls.iter().collect();
    calls.sort_by_key(|call| call.ended);
    let mut last: Option<Instant> = None;
    let mut count = 0;
    for call in calls {
        if last.is_none_or(|ended| call.started >= ended) {
            last = Some(call.ended);
            count += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(from: u64, to: u64) -> Call {
        let zero = Instant::now() - Duration::from_secs(1);
        let at = |milliseconds| zero + Duration::from_millis(milliseconds);
        let (started, ended) = (at(from), at(to));
        Call { operation: String::new(), request: Value::Null, answer: Value::Null, units: 0.0, started, ended }
    }

    #[test]
    fn calls_made_together_are_one_round_trip() {
        assert_eq!(serial_round_trips(&[]), 0);
        let base = call(0, 0).started;
        let shift = |mut call: Call, from: u64, to: u64| {
            (call.started, call.ended) = (base + Duration::from_millis(from), base + Duration::from_millis(to));
            call
        };
        let calls = [shift(call(0, 0), 0, 10), shift(call(0, 0), 1, 14), shift(call(0, 0), 15, 20)];
        assert_eq!(serial_round_trips(&calls), 2);
    }
}
