//! The functions and their watchers. A watcher loses an invocation when it restarts the function. It stops working for good when more than
//! a hundred invocations wait for one function. The number of invocations is therefore limited. Each keeps its place until it is answered
//! or certainly lost, even if nobody waits for it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tokio::{
    sync::{Semaphore, oneshot, watch},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::queue::{Bounds, Queue};
use crate::lock::Lock;
use crate::{
    sources::{Invoke, InvokeError},
    template::Function,
};

/// Invocations of the event sources, in addition to the requests. Together with the requests' share of a function it stays below a hundred.
const SOURCES: usize = 48;

/// In addition to a function's own time: for starting, and for a short compilation.
const STARTING: Duration = Duration::from_secs(30);

/// A watcher sends an instance one event after the other. If there is one instance and a later event was answered first, by this much, the earlier one is
/// lost. Among several, each may take as long as the function's time allows.
const OVERTAKEN: Duration = Duration::from_secs(1);

/// After this time without an answer, which can have many reasons, the watcher is asked.
const SUSPICIOUS: Duration = Duration::from_secs(3);

/// Nobody waits for an event source.
const SOURCE_TIMEOUT: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timeouts {
    /// For a function that is being compiled or whose watcher is being started.
    pub starting: Duration,
    /// For a function that does not compile: a developer may be about to save the file.
    pub broken: Duration,
    /// For a turn in the queue.
    pub queueing: Duration,
    /// For the answer.
    pub answer: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        let seconds = Duration::from_secs;
        Timeouts { starting: seconds(10), broken: seconds(2), queueing: seconds(20), answer: seconds(30) }
    }
}

/// The state of a function, as reported by its watcher.
#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// There is no watcher. Contains the reason as a sentence.
    Away(String),
    Ready,
    Compiling,
    /// The first lines of the compiler, or of the function's output when it ended.
    Broken(Vec<String>),
}

/// The origin of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Takes turns with other senders.
    Sender(u64),
    Source,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub status: u16,
    pub body: Bytes,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CallError {
    #[error("there is no function `{0}`")]
    Unknown(String),
    #[error("too many requests are waiting already")]
    Busy,
    #[error("{message}")]
    NotReady { message: String, lines: Vec<String> },
    #[error("`{0}` was started anew while it had this request; whether it was carried out is not known")]
    Lost(String),
    #[error("the connection to the watcher of `{0}` was lost: {1}")]
    Unreachable(String, String),
    #[error("`{0}` did not answer within {1} seconds")]
    Late(String, u64),
}

#[derive(Clone)]
pub struct Functions {
    inner: Arc<Inner>,
}

struct Inner {
    slots: BTreeMap<String, Slot>,
    queue: Queue,
    sources: Arc<Semaphore>,
    timeouts: Timeouts,
    client: Client<HttpConnector, Full<Bytes>>,
    next: AtomicU64,
}

struct Slot {
    timeout: Duration,
    instances: usize,
    address: Lock<Option<SocketAddr>>,
    phase: watch::Sender<Phase>,
    sent: Lock<Sent>,
}

struct Sent {
    /// Dropping the sender gives up the invocation.
    invocations: BTreeMap<u64, (Instant, oneshot::Sender<()>)>,
    answered: Instant,
}

impl Functions {
    /// `instances`: how many of a function handle events at the same time, where it is more than one.
    pub fn new(functions: &[Function], instances: &BTreeMap<String, usize>, bounds: Bounds, timeouts: Timeouts) -> Functions {
        let slot = |function: &Function| Slot {
            timeout: Duration::from_secs(u64::try_from(function.timeout_seconds).unwrap_or_default()),
            instances: instances.get(&function.name).copied().unwrap_or(1),
            address: Lock::new(None),
            phase: watch::Sender::new(Phase::Away("it has not been started yet".to_owned())),
            sent: Lock::new(Sent { invocations: BTreeMap::new(), answered: Instant::now() }),
        };
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let inner = Inner {
            slots: functions.iter().map(|function| (function.name.clone(), slot(function))).collect(),
            queue: Queue::new(bounds),
            sources: Arc::new(Semaphore::new(SOURCES)),
            timeouts,
            client: Client::builder(TokioExecutor::new()).build(connector),
            next: AtomicU64::new(0),
        };
        Functions { inner: Arc::new(inner) }
    }

    pub fn instances_of(&self, function: &str) -> usize {
        self.inner.slots.get(function).map_or(1, |slot| slot.instances)
    }

    /// A new watcher listens at this address.
    pub fn listening(&self, function: &str, address: SocketAddr) {
        if let Some(slot) = self.inner.slots.get(function) {
            *slot.address.lock() = Some(address);
            slot.phase.send_replace(Phase::Ready);
        }
    }

    /// The watcher has ended, and its invocations are lost.
    pub fn away(&self, function: &str, why: &str) {
        if let Some(slot) = self.inner.slots.get(function) {
            slot.phase.send_replace(Phase::Away(why.to_owned()));
            *slot.address.lock() = None;
            slot.sent.lock().invocations.clear();
        }
    }

    /// The state of a running function, reported by its watcher. Ignored if there is no watcher.
    pub fn phase(&self, function: &str, phase: Phase) {
        if let Some(slot) = self.inner.slots.get(function) {
            slot.phase.send_if_modified(|known| {
                let news = !matches!(known, Phase::Away(_)) && *known != phase;
                if news {
                    *known = phase;
                }
                news
            });
        }
    }

    pub fn phase_of(&self, function: &str) -> Option<Phase> {
        self.inner.slots.get(function).map(|slot| slot.phase.borrow().clone())
    }

    /// Functions that are running but have not answered for longer than they may take. No answer will come.
    pub fn overdue(&self) -> Vec<String> {
        let now = Instant::now();
        let is_overdue = |slot: &Slot| {
            let sent = slot.sent.lock();
            let oldest = sent.invocations.values().next().map(|(at, _)| (*at).max(sent.answered));
            *slot.phase.borrow() == Phase::Ready && oldest.is_some_and(|oldest| now.duration_since(oldest) > slot.timeout + STARTING)
        };
        self.inner.slots.iter().filter(|(_, slot)| is_overdue(slot)).map(|(name, _)| name.clone()).collect()
    }

    /// Whether the watcher answers at all, if an invocation has waited for some seconds. This question needs no function. One that starts several instances
    /// answers nothing meanwhile, and is only given up when it is overdue.
    pub async fn watcher_answers(&self, function: &str) -> bool {
        let Some(slot) = self.inner.slots.get(function).filter(|slot| slot.instances == 1) else { return true };
        let oldest = slot.sent.lock().invocations.values().next().map(|(at, _)| at.elapsed());
        let Some(address) = slot.address.lock().filter(|_| oldest.is_some_and(|oldest| oldest > SUSPICIOUS)) else { return true };
        matches!(timeout(SUSPICIOUS, self.exchange("-", address, Bytes::from_static(b"{}"))).await, Ok(Ok(_)))
    }

    /// The numbers of running and waiting requests.
    pub fn lengths(&self) -> (usize, usize) {
        self.inner.queue.lengths()
    }

    /// Calls a function as AWS does and returns the answer, success or not. If the caller stops waiting, the call continues and keeps its
    /// place.
    pub async fn call(&self, function: &str, payload: Bytes, who: Who) -> Result<Reply, CallError> {
        let slot = self.inner.slots.get(function).ok_or_else(|| CallError::Unknown(function.to_owned()))?;
        let timeouts = self.inner.timeouts;
        let place: Box<dyn Send> = match who {
            Who::Sender(sender) => {
                let entered = timeout(timeouts.queueing, self.inner.queue.enter(sender, function)).await;
                Box::new(entered.map_err(|_| CallError::Busy)?.map_err(|_| CallError::Busy)?)
            }
            Who::Source => Box::new(self.inner.sources.clone().acquire_owned().await.map_err(|_| CallError::Busy)?),
        };
        let (starting, broken, wait) = match who {
            Who::Sender(_) => (timeouts.starting, timeouts.broken, timeouts.answer),
            Who::Source => (SOURCE_TIMEOUT, SOURCE_TIMEOUT, slot.timeout + STARTING),
        };
        let mut phase = slot.phase.subscribe();
        let address = self.ready(function, slot, &mut phase, starting, broken).await?;
        let (answer, answered) = oneshot::channel();
        let call = self.clone().invocation(function.to_owned(), address, payload, place, answer);
        tokio::spawn(call);

        let late = sleep(wait);
        tokio::pin!(late, answered);
        let mut give_up = None;
        loop {
            let giving_up = async move {
                match give_up {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                answer = &mut answered => return answer.unwrap_or_else(|_| Err(CallError::Lost(function.to_owned()))),
                () = &mut late => return Err(CallError::Late(function.to_owned(), wait.as_secs())),
                () = giving_up => return Err(not_ready(function, &slot.phase.borrow())),
                changed = phase.changed() => if changed.is_ok() {
                    // The watcher keeps invocations that it has not sent yet, but nobody waits for a long compilation.
                    give_up = match &*phase.borrow_and_update() {
                        Phase::Ready | Phase::Away(_) => None,
                        Phase::Compiling => Some(Instant::now() + starting),
                        Phase::Broken(_) => Some(Instant::now() + broken),
                    };
                },
            }
        }
    }

    async fn ready(
        &self,
        function: &str,
        slot: &Slot,
        phase: &mut watch::Receiver<Phase>,
        starting: Duration,
        broken: Duration,
    ) -> Result<SocketAddr, CallError> {
        let began = Instant::now();
        loop {
            let seen = phase.borrow_and_update().clone();
            let deadline = match seen {
                Phase::Ready => match *slot.address.lock() {
                    Some(address) => return Ok(address),
                    None => began + starting,
                },
                Phase::Broken(_) => began + broken,
                Phase::Away(_) | Phase::Compiling => began + starting,
            };
            if timeout_at(deadline, phase.changed()).await.is_err() {
                return Err(not_ready(function, &seen));
            }
        }
    }

    /// Keeps its place until there is an answer, or there can be none.
    async fn invocation(
        self,
        function: String,
        address: SocketAddr,
        payload: Bytes,
        place: Box<dyn Send>,
        answer: oneshot::Sender<Result<Reply, CallError>>,
    ) {
        let Some(slot) = self.inner.slots.get(&function) else { return };
        let id = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let (give_up, given_up) = oneshot::channel();
        let sent_at = Instant::now();
        slot.sent.lock().invocations.insert(id, (sent_at, give_up));
        let outcome = tokio::select! {
            biased;
            reply = self.exchange(&function, address, payload) => reply.map_err(|problem| CallError::Unreachable(function.clone(), problem)),
            _ = given_up => Err(CallError::Lost(function.clone())),
        };
        let mut sent = slot.sent.lock();
        sent.invocations.remove(&id);
        if outcome.is_ok() {
            sent.answered = Instant::now();
            let overtaken = if slot.instances == 1 { OVERTAKEN } else { slot.timeout + STARTING };
            sent.invocations.retain(|_, (at, _)| *at + overtaken > sent_at);
        }
        drop(sent);
        if outcome.as_ref().is_ok_and(|reply| reply.status < 300) {
            // An answer proves that the function runs, whatever its watcher reported.
            self.phase(&function, Phase::Ready);
        }
        drop(place);
        // The caller may have stopped waiting.
        drop(answer.send(outcome));
    }

    async fn exchange(&self, function: &str, address: SocketAddr, payload: Bytes) -> Result<Reply, String> {
        let request = Request::post(format!("http://{address}/2015-03-31/functions/{function}/invocations"))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(payload))
            .map_err(|error| error.to_string())?;
        let response = self.inner.client.request(request).await.map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        Ok(Reply { status, body })
    }
}

impl Invoke for Functions {
    async fn invoke(&self, function: &str, payload: Value) -> Result<Value, InvokeError> {
        let failed = |message: String| InvokeError::Failed { function: function.to_owned(), message };
        let unreachable = |error: CallError| InvokeError::Unreachable { function: function.to_owned(), message: error.to_string() };
        let reply = self.call(function, Bytes::from(payload.to_string()), Who::Source).await.map_err(unreachable)?;
        if reply.status >= 300 {
            return Err(failed(format!("status {}: {}", reply.status, String::from_utf8_lossy(&reply.body))));
        }
        if reply.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&reply.body).map_err(|error| failed(format!("its answer is not JSON: {error}")))
    }
}

fn not_ready(function: &str, phase: &Phase) -> CallError {
    let (message, lines) = match phase {
        Phase::Away(why) => (format!("`{function}` is not running: {why}"), vec![]),
        Phase::Compiling => (format!("`{function}` is being compiled"), vec![]),
        Phase::Broken(lines) => (format!("`{function}` does not run: it must be mended and saved first"), lines.clone()),
        Phase::Ready => (format!("`{function}` is being started"), vec![]),
    };
    CallError::NotReady { message, lines }
}
