//! Plays the event sources of the template as AWS does: stream and queue batches with partial failures, bisecting, retries and dead
//! letters, and schedules. For `cargo local` in real time, and for tests step by step until nothing is left.

mod faults;
pub mod filter;
mod queue;
mod schedule;
mod stream;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::sync::watch;

use crate::{
    aws::{Aws, AwsError},
    journal::JournalError,
    lock::Lock,
    template::{Schedule, Template, TemplateError},
};

pub use faults::{Duplicates, Faults};
pub use schedule::period;

use faults::Dice;
use queue::QueuePlayer;
use stream::StreamPlayer;

/// Calls a function. The answer is its JSON.
pub trait Invoke: Send + Sync + 'static {
    fn invoke(&self, function: &str, payload: Value) -> impl Future<Output = Result<Value, InvokeError>> + Send;
}

impl<I: Invoke> Invoke for Arc<I> {
    fn invoke(&self, function: &str, payload: Value) -> impl Future<Output = Result<Value, InvokeError>> + Send {
        I::invoke(self, function, payload)
    }
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvokeError {
    /// The function ran and failed, which counts as an attempt.
    #[error("the function `{function}` failed: {message}")]
    Failed { function: String, message: String },
    /// The function was not reached. This does not count, and the same batch is tried again.
    #[error("the function `{function}` cannot be reached: {message}")]
    Unreachable { function: String, message: String },
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("killed after {0} invocations, as asked")]
    Killed(usize),
    #[error("still busy after {0} invocations: something feeds itself or is never given up")]
    Endless(usize),
    #[error(transparent)]
    Invoke(#[from] InvokeError),
    #[error(transparent)]
    Aws(#[from] AwsError),
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("there is no schedule `{0}`")]
    NoSchedule(String),
}

/// Functions that handle several batches at the same time where sources are played in real time, with how many. What comes from one queue of such a
/// function waits for none of another. All others handle one event after the other.
pub fn instances(template: &Template) -> Result<BTreeMap<String, usize>, TemplateError> {
    let mut players: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for source in template.queue_sources()? {
        players.entry(source.function.clone()).or_default().push(QueuePlayer::new(source).at_once());
    }
    let several = players.into_iter().filter(|(_, of_queues)| of_queues.iter().any(|at_once| *at_once > 1));
    Ok(several.map(|(function, of_queues)| (function, of_queues.iter().sum())).collect())
}

/// What was delivered so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    pub invocations: usize,
    /// Invocations that failed as a whole.
    pub failures: usize,
    /// Records and messages that a partial answer reported as failed.
    pub item_failures: usize,
    /// Stream records that were given up, with or without a failure destination.
    pub discarded: usize,
}

/// The event sources of one template. Their positions are stored by the `Aws` they play on. A new `Sources` continues where the last one
/// stopped, and delivers again what was not yet recorded as handled.
pub struct Sources<I> {
    courier: Courier<I>,
    streams: Vec<StreamPlayer>,
    queues: Vec<QueuePlayer>,
    schedules: Vec<Schedule>,
    aws: Aws,
}

/// After this many invocations, `drain` fails because the work seems endless.
const ENDLESS: usize = 20_000;

impl<I: Invoke> Sources<I> {
    pub fn new(template: &Template, aws: &Aws, invoke: I) -> Result<Sources<I>, SourceError> {
        Sources::with_faults(template, aws, invoke, Faults::default())
    }

    pub fn with_faults(template: &Template, aws: &Aws, invoke: I, faults: Faults) -> Result<Sources<I>, SourceError> {
        let tables = template.tables()?;
        let mut streams = Vec::new();
        for source in template.stream_sources()? {
            let hash_key = tables.iter().find(|table| table.name == source.table).map(|table| table.hash_key.clone());
            let shards = if faults.reorder { source.parallel.max(stream::SHARDS_WHEN_REORDERING) } else { source.parallel };
            streams.extend(StreamPlayer::shards(&source, &hash_key.unwrap_or_default(), shards, aws)?);
        }
        let queues = template.queue_sources()?.into_iter().map(QueuePlayer::new).collect();
        let dice = Dice::new(faults.seed);
        Ok(Sources {
            courier: Courier { invoke, faults, dice, counts: Counts::default() },
            streams,
            queues,
            schedules: template.schedules()?,
            aws: aws.clone(),
        })
    }

    pub fn report(&self) -> Report {
        self.courier.counts.report()
    }

    /// Delivers until nothing is left. Time is skipped: retries follow at once, and delays and visibility timeouts end as soon as there is
    /// nothing else to do.
    pub async fn drain(&self) -> Result<Report, SourceError> {
        self.drain_and(|| (), |queues| queues.iter().map(|queue| self.aws.queues().skip_waiting(queue)).sum::<usize>() > 0).await
    }

    /// The same, in the order of time: nothing comes before what is due earlier. `passes` is told of all time that passes: what is skipped, and what the
    /// work takes, during which the queues' own clock goes on.
    pub async fn drain_in_time(&self, passes: impl Fn(Duration)) -> Result<Report, SourceError> {
        let told = Lock::new(Instant::now());
        let tick = || passes(std::mem::replace(&mut *told.lock(), Instant::now()).elapsed());
        self.drain_and(tick, |queues| self.aws.queues().skip_to_next(queues).map(&passes).is_some()).await
    }

    /// `tick`: before each step. `wake`: where nothing else is left, lets something come that waits.
    async fn drain_and(&self, tick: impl Fn(), wake: impl Fn(&BTreeSet<&str>) -> bool) -> Result<Report, SourceError> {
        let before = self.report().invocations;
        let mut turns: Vec<Turn> = (0..self.streams.len()).map(Turn::Stream).chain((0..self.queues.len()).map(Turn::Queue)).collect();
        loop {
            let mut moved = false;
            if self.courier.faults.reorder {
                self.courier.dice.shuffle(&mut turns);
            }
            for turn in &turns {
                tick();
                let step = match turn {
                    Turn::Stream(index) => self.streams[*index].step(&self.courier, &self.aws).await?,
                    Turn::Queue(index) => self.queues[*index].step(&self.courier, &self.aws).await?,
                };
                moved |= !matches!(step, Step::Idle);
            }
            if !moved {
                let queues: BTreeSet<&str> = self.queues.iter().map(QueuePlayer::queue).collect();
                if !wake(&queues) {
                    return Ok(self.report());
                }
            }
            let made = self.report().invocations - before;
            if made > ENDLESS {
                return Err(SourceError::Endless(made));
            }
        }
    }

    /// Forgets some of what all mappings of a stream are done with: what they recorded as handled, and nothing else. Gives whether there may
    /// be more.
    pub fn trim(&self) -> Result<bool, SourceError> {
        let mut more = false;
        for (table, read) in stream::read_by_all(&self.streams, &self.aws)? {
            if let Some(read) = read {
                more |= self.aws.trim_stream(&table, &read)?;
            }
        }
        Ok(more)
    }

    /// Runs one schedule now, by its name (`<function's logical id><event's name>`).
    pub async fn fire(&self, schedule: &str) -> Result<Value, SourceError> {
        let schedule = self
            .schedules
            .iter()
            .find(|candidate| candidate.name == schedule)
            .ok_or_else(|| SourceError::NoSchedule(schedule.to_owned()))?;
        Ok(self.courier.invoke.invoke(&schedule.function, schedule.input.clone()).await?)
    }

    /// Plays all sources in real time until `stop` becomes true. Errors go to `tell`, one sentence each.
    pub async fn run(self: Arc<Self>, stop: watch::Receiver<bool>, tell: impl Fn(String) + Clone + Send + Sync + 'static) {
        let mut tasks = tokio::task::JoinSet::new();
        for index in 0..self.streams.len() {
            let sources = self.clone();
            tasks.spawn(sources.follow(Turn::Stream(index), tell.clone()));
        }
        for (index, queue) in self.queues.iter().enumerate() {
            for _ in 0..queue.at_once() {
                tasks.spawn(self.clone().follow(Turn::Queue(index), tell.clone()));
            }
        }
        for index in 0..self.schedules.len() {
            let (sources, tell) = (self.clone(), tell.clone());
            tasks.spawn(async move {
                let schedule = &sources.schedules[index];
                schedule::run(schedule, &sources.courier.invoke, sources.aws.journal(), tell).await;
            });
        }
        tasks.spawn(self.clone().keep_trimmed(tell));
        let mut stop = stop;
        // An error means that the sender was dropped, which also means the end.
        drop(stop.wait_for(|stop| *stop).await);
        tasks.shutdown().await;
    }

    async fn follow(self: Arc<Self>, turn: Turn, tell: impl Fn(String) + Clone + Send + Sync + 'static) {
        let mut told = None;
        loop {
            let step = match turn {
                Turn::Stream(index) => self.streams[index].step(&self.courier, &self.aws).await,
                Turn::Queue(index) => self.queues[index].step(&self.courier, &self.aws).await,
            };
            let pause = match step {
                Ok(Step::Moved) => turn.pause(),
                Ok(Step::Idle) => Duration::from_millis(100),
                Ok(Step::Again { failures, message }) => {
                    tell(message);
                    Duration::from_secs(1 << failures.min(5))
                }
                Err(error) => {
                    let message = error.to_string();
                    if told.as_ref() != Some(&message) {
                        tell(message.clone());
                        told = Some(message);
                    }
                    Duration::from_secs(1)
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn keep_trimmed(self: Arc<Self>, tell: impl Fn(String) + Send) {
        let mut told = None;
        loop {
            let pause = match self.trim() {
                Ok(true) => Duration::from_millis(50),
                Ok(false) => Duration::from_secs(2),
                Err(error) => {
                    let message = error.to_string();
                    if told.as_ref() != Some(&message) {
                        tell(message.clone());
                        told = Some(message);
                    }
                    Duration::from_secs(10)
                }
            };
            tokio::time::sleep(pause).await;
        }
    }
}

#[derive(Clone, Copy)]
enum Turn {
    Stream(usize),
    Queue(usize),
}

impl Turn {
    /// After a batch, where sources are played in real time. Lambda looks at a shard four times a second, and finds what came meanwhile in one batch.
    fn pause(self) -> Duration {
        match self {
            Turn::Stream(_) => Duration::from_millis(50),
            Turn::Queue(_) => Duration::ZERO,
        }
    }
}

/// The result of one step of a source.
enum Step {
    Idle,
    Moved,
    /// A batch failed and is due again after a pause.
    Again {
        failures: u32,
        message: String,
    },
}

/// Makes the invocations of all sources, with the requested faults.
struct Courier<I> {
    invoke: I,
    faults: Faults,
    dice: Dice,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    invocations: AtomicUsize,
    failures: AtomicUsize,
    item_failures: AtomicUsize,
    discarded: AtomicUsize,
}

impl Counts {
    fn report(&self) -> Report {
        let read = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        Report {
            invocations: read(&self.invocations),
            failures: read(&self.failures),
            item_failures: read(&self.item_failures),
            discarded: read(&self.discarded),
        }
    }
}

/// How a function answered a batch.
enum Outcome {
    Done,
    Failed(String),
    /// The identifiers that failed.
    Partly(BTreeSet<String>),
}

impl<I: Invoke> Courier<I> {
    /// `identifiers` are those of the records in the event, to check a partial answer.
    async fn deliver(&self, function: &str, event: Value, partial: bool, identifiers: &[&str]) -> Result<Outcome, SourceError> {
        let answer = match self.faults.duplicates {
            Duplicates::None => self.once(function, event).await?,
            Duplicates::Again => {
                // The answer of the first delivery is lost.
                drop(self.once(function, event.clone()).await?);
                self.once(function, event).await?
            }
            Duplicates::AtOnce => {
                let (first, second) = futures_util::future::join(self.once(function, event.clone()), self.once(function, event)).await;
                drop(first?);
                second?
            }
        };
        let outcome = match answer {
            Ok(answer) if partial => item_failures(&answer, identifiers),
            Ok(_) => Outcome::Done,
            Err(message) => Outcome::Failed(message),
        };
        match &outcome {
            Outcome::Done => {}
            Outcome::Failed(_) => add(&self.counts.failures, 1),
            Outcome::Partly(items) => add(&self.counts.item_failures, items.len()),
        }
        Ok(outcome)
    }

    /// The inner error is the function's own failure.
    async fn once(&self, function: &str, event: Value) -> Result<Result<Value, String>, SourceError> {
        if let Some(most) = self.faults.kill_after
            && self.counts.invocations.load(Ordering::SeqCst) >= most
        {
            return Err(SourceError::Killed(most));
        }
        let answer = self.invoke.invoke(function, event).await;
        if let Err(error @ InvokeError::Unreachable { .. }) = answer {
            return Err(error.into());
        }
        let made = self.counts.invocations.fetch_add(1, Ordering::SeqCst) + 1;
        match self.faults.kill_after {
            Some(most) if made >= most => Err(SourceError::Killed(most)),
            _ => Ok(answer.map_err(|error| error.to_string())),
        }
    }
}

/// Reads a partial batch response as Lambda does. An empty answer or list is success. A list that cannot be right (no identifier, or one
/// that was not in the batch) fails the whole batch.
fn item_failures(answer: &Value, identifiers: &[&str]) -> Outcome {
    let failures = match answer.get("batchItemFailures") {
        None | Some(Value::Null) => return Outcome::Done,
        Some(Value::Array(failures)) if failures.is_empty() => return Outcome::Done,
        Some(Value::Array(failures)) => failures,
        Some(_) => return Outcome::Failed("batchItemFailures is not a list".to_owned()),
    };
    let mut items = BTreeSet::new();
    for failure in failures {
        match failure["itemIdentifier"].as_str() {
            Some(identifier) if identifiers.contains(&identifier) => {
                items.insert(identifier.to_owned());
            }
            other => {
                return Outcome::Failed(format!("batchItemFailures names {other:?}, which was not in the batch"));
            }
        }
    }
    Outcome::Partly(items)
}

fn add(count: &AtomicUsize, number: usize) {
    count.fetch_add(number, Ordering::SeqCst);
}

#[cfg(test)]
mod tests;
