//! Lambda's runtime API for one process: gives out events, receives answers, and records the times.
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt,
};
use stack::lock::Lock;
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle, time::timeout};

use crate::Outcome;

const TIMEOUT: Duration = Duration::from_secs(30);

enum Signal {
    Next(Instant),
    Answer(Instant, Bytes),
    Failure(String),
}

struct Shared {
    events: tokio::sync::Mutex<mpsc::UnboundedReceiver<String>>,
    signals: mpsc::UnboundedSender<Signal>,
    sent: Lock<Instant>,
}

pub struct Stub {
    pub address: String,
    shared: Arc<Shared>,
    events: mpsc::UnboundedSender<String>,
    signals: mpsc::UnboundedReceiver<Signal>,
    server: JoinHandle<()>,
}

impl Stub {
    pub async fn start() -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let (events, waiting) = mpsc::unbounded_channel();
        let (sender, signals) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared { events: tokio::sync::Mutex::new(waiting), signals: sender, sent: Lock::new(Instant::now()) });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(answer))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(failure))
            .route("/2018-06-01/runtime/init/error", post(failure))
            .with_state(shared.clone());
        let listener = listener.tap_io(|socket| {
            let _ = socket.set_nodelay(true);
        });
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, shared, events, signals, server })
    }

    /// Waits until the process asks for its next event.
    pub async fn idle(&mut self) -> Outcome<Instant> {
        match self.signal().await? {
            Signal::Next(at) => Ok(at),
            Signal::Answer(..) => Err("an answer came where a wish for the next event was due".into()),
            Signal::Failure(text) => Err(text.into()),
        }
    }

    /// Gives out an event and returns the answer and the time between.
    pub async fn invoke(&mut self, event: &str) -> Outcome<(Duration, Bytes)> {
        self.events.send(event.to_owned())?;
        match self.signal().await? {
            Signal::Answer(at, body) => Ok((at.duration_since(*self.shared.sent.lock()), body)),
            Signal::Next(_) => Err("the process asked for the next event before it answered".into()),
            Signal::Failure(text) => Err(text.into()),
        }
    }

    async fn signal(&mut self) -> Outcome<Signal> {
        let waited = timeout(TIMEOUT, self.signals.recv()).await;
        Ok(waited.map_err(|_| "no sign of the process for 30 seconds")?.ok_or("the stub has ended")?)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn next(State(shared): State<Arc<Shared>>) -> Response {
    let _ = shared.signals.send(Signal::Next(Instant::now()));
    let Some(event) = shared.events.lock().await.recv().await else { return StatusCode::GONE.into_response() };
    let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + TIMEOUT;
    let headers = [
        ("lambda-runtime-aws-request-id", uuid::Uuid::now_v7().to_string()),
        ("lambda-runtime-deadline-ms", deadline.as_millis().to_string()),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:123456789012:function:bench".to_owned()),
        ("lambda-runtime-trace-id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0".to_owned()),
        ("content-type", "application/json".to_owned()),
    ];
    *shared.sent.lock() = Instant::now();
    (headers, event).into_response()
}

async fn answer(State(shared): State<Arc<Shared>>, body: Bytes) -> StatusCode {
    let _ = shared.signals.send(Signal::Answer(Instant::now(), body));
    StatusCode::ACCEPTED
}

async fn failure(State(shared): State<Arc<Shared>>, body: Bytes) -> StatusCode {
    let _ = shared.signals.send(Signal::Failure(String::from_utf8_lossy(&body).into_owned()));
    StatusCode::ACCEPTED
}
