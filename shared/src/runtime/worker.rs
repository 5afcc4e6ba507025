//! The loops of the workers: stream batches, queue batches with partial failures, and direct commands. A worker gets one piece of work at a
//! time. Only the pieces that fail are reported, and the rest of the batch continues.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::join_all;
use lambda_runtime::{LambdaEvent, service_fn};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::config::Variables;
use crate::error::{Chain, Error, Result};
use crate::runtime::{App, StartError, function};
use crate::store::Records;
use crate::tenancy::jobs::{Change, Queued, WorkContext};

/// Takes whole invocation events. `main` runs it, and tests call it.
pub trait Worker: Sized + Send + Sync + 'static {
    const NAME: &'static str;

    /// From the function's environment.
    fn start(app: App, variables: Variables) -> Result<Self, StartError>;

    /// The answer to one event; an error makes Lambda deliver the event again.
    fn handle(&self, event: Value, request_id: &str) -> impl Future<Output = Result<Value>> + Send;
}

/// Runs a worker until Lambda ends the process.
pub fn work<W: Worker>(records: Records) -> Result<(), StartError> {
    function::block_on(async {
        let worker = &W::start(function::start_worker(records).await?, Variables::from_env())?;
        lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| async move {
            let request_id = event.context.request_id;
            worker.handle(event.payload, &request_id).await.map_err(|error| {
                tracing::error!(request_id, worker = W::NAME, error = %Chain(&error), "work failed");
                StartError::from(error)
            })
        }))
        .await
    })
}

/// Processes a stream batch. `each` takes the records in order and gives what is left to do for one; its first failure ends that. `rest` then does what is
/// left of all of them together, and gives the records, by their number in the batch, for which it could not. Lambda repeats from the first record that is
/// not done, so the order within a key is kept, and what was done for the records behind it is done again.
pub async fn stream<T, F, Fut, R, Rest>(event: Value, worker: &'static str, each: F, rest: R) -> Result<Value>
where
    F: Fn(Change) -> Fut,
    Fut: Future<Output = Result<T>>,
    R: FnOnce(Vec<T>) -> Rest,
    Rest: Future<Output = Vec<(usize, Error)>>,
{
    let (mut positions, mut left, mut failed) = (vec![], vec![], vec![]);
    for record in records(event)? {
        positions.push(record["dynamodb"]["SequenceNumber"].as_str().unwrap_or_default().to_owned());
        let done = match Change::read(record) {
            Ok(change) => caught(each(change)).await,
            Err(error) => Err(error),
        };
        match done {
            Ok(more) => left.push(more),
            Err(error) => {
                failed.push((left.len(), error));
                break;
            }
        }
    }
    match caught(async { Ok(rest(left).await) }).await {
        Ok(unfinished) => failed.extend(unfinished),
        Err(error) => failed.push((0, error)),
    }
    for (number, error) in &failed {
        tracing::error!(worker, error = %Chain(error), position = positions[*number], "a stream record failed");
    }
    let first = failed.iter().map(|(number, _)| *number).min();
    Ok(failures(first.map(|number| positions.swap_remove(number))))
}

/// Processes a batch of our own jobs. Each message succeeds or is delivered again by itself, and finally goes to the dead-letter queue.
pub async fn queue<J, F, Fut>(app: &App, event: Value, worker: &'static str, request_id: &str, each: F) -> Result<Value>
where
    J: DeserializeOwned,
    F: Fn(WorkContext, J) -> Fut,
    Fut: Future<Output = Result<()>>,
{
    messages(event, worker, request_id, |body| Queued::<J>::read(body)?.open(app, worker, request_id), each).await
}

/// The same for jobs that do not wait for one another, but for the table or for a stranger.
pub async fn queue_at_once<J, F, Fut>(app: &App, event: Value, worker: &'static str, request_id: &str, each: F) -> Result<Value>
where
    J: DeserializeOwned,
    F: Fn(WorkContext, J) -> Fut,
    Fut: Future<Output = Result<()>>,
{
    messages_at_once(event, worker, request_id, |body, own| Queued::<J>::read(body)?.open(app, worker, own), each).await
}

/// The same for messages that are not jobs of ours: they come without a tenant, and what they say of one is not believed.
pub async fn notices<F, Fut>(app: &App, event: Value, worker: &'static str, request_id: &str, each: F) -> Result<Value>
where
    F: Fn(WorkContext, String) -> Fut,
    Fut: Future<Output = Result<()>>,
{
    messages(event, worker, request_id, |body| Ok((work_context(app, worker, request_id), body.to_owned())), each).await
}

/// The same for messages that do not wait for one another: what they ask for is slow, and nobody else's.
pub async fn notices_at_once<F, Fut>(app: &App, event: Value, worker: &'static str, request_id: &str, each: F) -> Result<Value>
where
    F: Fn(WorkContext, String) -> Fut,
    Fut: Future<Output = Result<()>>,
{
    messages_at_once(event, worker, request_id, |body, own| Ok((work_context(app, worker, own), body.to_owned())), each).await
}

/// `open` gets a request id for each message: a write that finds what it would have written counts as done, so no other message may write the same.
async fn messages_at_once<J, O, F, Fut>(event: Value, worker: &'static str, request_id: &str, open: O, each: F) -> Result<Value>
where
    O: Fn(&str, &str) -> Result<(WorkContext, J)>,
    F: Fn(WorkContext, J) -> Fut,
    Fut: Future<Output = Result<()>>,
{
    let (open, each) = (&open, &each);
    let all = records(event)?.into_iter().enumerate().map(|(number, record)| async move {
        let own = format!("{request_id}-{number}");
        message(record, worker, request_id, &|body: &str| open(body, &own), each).await
    });
    Ok(failures(join_all(all).await.into_iter().flatten()))
}

async fn messages<J, O, F, Fut>(event: Value, worker: &'static str, request_id: &str, open: O, each: F) -> Result<Value>
where
    O: Fn(&str) -> Result<(WorkContext, J)>,
    F: Fn(WorkContext, J) -> Fut,
    Fut: Future<Output = Result<()>>,
{
    let mut failed = vec![];
    for record in records(event)? {
        failed.extend(message(record, worker, request_id, &open, &each).await);
    }
    Ok(failures(failed))
}

/// The id of the message, if it failed.
async fn message<J, O, F, Fut>(record: Value, worker: &'static str, request_id: &str, open: &O, each: &F) -> Option<String>
where
    O: Fn(&str) -> Result<(WorkContext, J)>,
    F: Fn(WorkContext, J) -> Fut,
    Fut: Future<Output = Result<()>>,
{
    let message_id = record["messageId"].as_str().unwrap_or_default().to_owned();
    let started = Instant::now();
    let done = match open(record["body"].as_str().unwrap_or_default()) {
        Ok((context, job)) => {
            let (table, tenant) = (context.table().clone(), context.store.as_ref().map(|store| store.tenant_id().to_string()));
            // Boxed, so that the work of a worker is no part of the loop's own state.
            let done = caught(Box::pin(each(context, job))).await;
            let metered = table.meter().read();
            let (read_units, write_units) = (metered.read_units, metered.write_units);
            let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
            tracing::info!(worker, request_id, message_id, tenant, ok = done.is_ok(), milliseconds, read_units, write_units, "job");
            done
        }
        Err(error) => Err(error),
    };
    let error = done.err()?;
    tracing::error!(worker, request_id, error = %Chain(&error), message_id, "a job failed");
    Some(message_id)
}

/// Whether an event is a batch of queue or stream records.
pub fn is_batch(event: &Value) -> bool {
    event["Records"].is_array()
}

/// Whether a batch comes from the queue of that ARN. A batch has one source.
pub fn comes_from(event: &Value, queue: &str) -> bool {
    event["Records"][0]["eventSourceARN"] == queue
}

/// Reads a direct command or a schedule's input.
pub fn command<C: DeserializeOwned>(event: Value) -> Result<C> {
    serde_json::from_value(event).map_err(|error| Error::BadRequest(format!("The command cannot be read: {error}.").into()))
}

/// The context of scheduled work and commands.
pub fn work_context(app: &App, worker: &'static str, request_id: &str) -> WorkContext {
    WorkContext::scheduled(app, worker, request_id)
}

/// The answer of a command, as JSON.
pub fn answer(answer: impl Serialize) -> Result<Value> {
    serde_json::to_value(answer).map_err(|error| Error::internal("answering a command", error))
}

/// A panic in one piece of work is a failure of that piece only. The rest of the batch continues.
async fn caught<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Error::internal("working", what.unwrap_or_else(|| "a panic".into())))
    })
}

fn records(event: Value) -> Result<Vec<Value>> {
    match event {
        Value::Object(mut event) => match event.remove("Records") {
            Some(Value::Array(records)) => Ok(records),
            _ => Err(Error::internal("reading an event", "it has no Records")),
        },
        _ => Err(Error::internal("reading an event", "it is not an object")),
    }
}

fn failures(ids: impl IntoIterator<Item = String>) -> Value {
    let failures: Vec<Value> = ids.into_iter().map(|id| json!({"itemIdentifier": id})).collect();
    json!({"batchItemFailures": failures})
}
