//! The rules of AWS's event sources, one test each, with the fixture: 8 records in a stream batch, 2 retries, 4 messages in a queue batch,
//! 3 receives.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::*;
use crate::{aws::Storage, lock::Lock};

const TABLE: &str = "tenantry-local-Table";
const MAIL: &str = "tenantry-local-MailQueue";
const MAIL_LETTERS: &str = "tenantry-local-MailDeadLetters";
const RELAY_LETTERS: &str = "tenantry-local-RelayDeadLetters";

type Answer = Box<dyn Fn(&[String]) -> Result<Value, String> + Send + Sync>;

/// Records the keys or bodies of every batch, and answers as instructed.
struct Recorder {
    batches: Lock<Vec<(String, Vec<String>)>>,
    events: Lock<Vec<Value>>,
    answer: Answer,
}

impl Recorder {
    fn new(answer: impl Fn(&[String]) -> Result<Value, String> + Send + Sync + 'static) -> Arc<Recorder> {
        Arc::new(Recorder { batches: Lock::default(), events: Lock::default(), answer: Box::new(answer) })
    }

    fn willing() -> Arc<Recorder> {
        Recorder::new(|_| Ok(Value::Null))
    }

    fn batches(&self) -> Vec<Vec<String>> {
        self.batches.lock().iter().map(|(_, batch)| batch.clone()).collect()
    }

    fn seen(&self) -> Vec<String> {
        self.batches().concat()
    }
}

impl Invoke for Recorder {
    async fn invoke(&self, function: &str, payload: Value) -> Result<Value, InvokeError> {
        let records = payload["Records"].as_array().cloned().unwrap_or_default();
        let names: Vec<String> = records.iter().map(name_of).collect();
        self.batches.lock().push((function.to_owned(), names.clone()));
        self.events.lock().push(payload);
        let mut answer = (self.answer)(&names).map_err(|message| InvokeError::Failed { function: function.to_owned(), message })?;
        // Answers name items, but Lambda needs identifiers.
        for failure in answer.get_mut("batchItemFailures").and_then(Value::as_array_mut).into_iter().flatten() {
            let wanted = failure["itemIdentifier"].as_str().unwrap_or_default().to_owned();
            if let Some(record) = records.iter().find(|record| name_of(record) == wanted) {
                let sequence = &record["dynamodb"]["SequenceNumber"];
                failure["itemIdentifier"] = if sequence.is_null() { record["messageId"].clone() } else { sequence.clone() };
            }
        }
        Ok(answer)
    }
}

fn name_of(record: &Value) -> String {
    let keys = &record["dynamodb"]["Keys"];
    match record["body"].as_str() {
        Some(body) => body.to_owned(),
        None => format!("{}/{}", keys["pk"]["S"].as_str().unwrap_or("?"), keys["sk"]["S"].as_str().unwrap_or("?")),
    }
}

fn failed_items(items: &[&String]) -> Value {
    let items: Vec<Value> = items.iter().map(|item| json!({ "itemIdentifier": item })).collect();
    json!({ "batchItemFailures": items })
}

fn template() -> Template {
    Template::parse(include_str!("../../testdata/template.yaml")).unwrap()
}

async fn started() -> Aws {
    let aws = Aws::start(Storage::Memory).unwrap();
    aws.create(&template()).await.unwrap();
    aws
}

fn put(aws: &Aws, pk: &str, sk: &str) {
    let request = json!({ "TableName": TABLE, "Item": { "pk": { "S": pk }, "sk": { "S": sk } } });
    aws.database().put_item(serde_json::from_value(request).unwrap()).unwrap();
}

fn remove(aws: &Aws, pk: &str, sk: &str) {
    let request = json!({ "TableName": TABLE, "Key": { "pk": { "S": pk }, "sk": { "S": sk } } });
    aws.database().delete_item(serde_json::from_value(request).unwrap()).unwrap();
}

fn depth(aws: &Aws, queue: &str) -> usize {
    let depth = aws.queues().depth(queue).unwrap();
    depth.visible + depth.hidden
}

#[tokio::test]
async fn stream_records_come_in_order_once_and_in_lambdas_shape() {
    let aws = started().await;
    for number in 0..10 {
        put(&aws, "T#1", &number.to_string());
    }
    let recorder = Recorder::willing();
    let report = Sources::new(&template(), &aws, recorder.clone()).unwrap().drain().await.unwrap();
    let batches = recorder.batches();
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [8, 2]);
    assert_eq!(recorder.seen(), (0..10).map(|number| format!("T#1/{number}")).collect::<Vec<_>>());
    assert_eq!(report, Report { invocations: 2, ..Report::default() });
    let record = recorder.events.lock()[0]["Records"][0].clone();
    assert_eq!(record["eventName"], "INSERT");
    assert_eq!(record["eventSource"], "aws:dynamodb");
    assert_eq!(record["awsRegion"], "us-east-1");
    assert_eq!(record["dynamodb"]["StreamViewType"], "NEW_AND_OLD_IMAGES");
    assert_eq!(record["dynamodb"]["NewImage"]["sk"], json!({ "S": "0" }));
    assert!(record["eventID"].as_str().is_some_and(|id| !id.is_empty()));
    assert!(record["eventSourceARN"].as_str().unwrap().contains(":table/tenantry-local-Table/stream/"));

    // A new player on the same services continues after the last one.
    put(&aws, "T#1", "new");
    let next = Recorder::willing();
    Sources::new(&template(), &aws, next.clone()).unwrap().drain().await.unwrap();
    assert_eq!(next.seen(), ["T#1/new"]);
}

#[tokio::test]
async fn filtered_records_are_not_delivered() {
    let aws = started().await;
    put(&aws, "T#1", "a");
    remove(&aws, "T#1", "a");
    let recorder = Recorder::willing();
    Sources::new(&template(), &aws, recorder.clone()).unwrap().drain().await.unwrap();
    assert_eq!(recorder.seen(), ["T#1/a"]);
}

#[tokio::test]
async fn a_poisoned_record_is_isolated_retried_and_set_aside_and_the_rest_goes_on() {
    let aws = started().await;
    for number in 0..8 {
        put(&aws, "T#1", &number.to_string());
    }
    let recorder = Recorder::new(|batch| match batch.iter().any(|name| name == "T#1/5") {
        true => Err("poison".to_owned()),
        false => Ok(Value::Null),
    });
    let report = Sources::new(&template(), &aws, recorder.clone()).unwrap().drain().await.unwrap();
    // 8 → 4+4 → 2+2 → 1+1, then the record alone: once, and two retries.
    let lengths: Vec<usize> = recorder.batches().iter().map(Vec::len).collect();
    assert_eq!(lengths, [8, 4, 4, 2, 1, 1, 1, 1, 2]);
    assert_eq!(report.discarded, 1);
    let good: BTreeSet<String> = (0..8).map(|number| format!("T#1/{number}")).collect();
    assert_eq!(recorder.seen().into_iter().collect::<BTreeSet<_>>(), good);
    let letters = aws.queues().peek(RELAY_LETTERS).unwrap();
    let letter: Value = serde_json::from_str(&letters[0].body).unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(letter["requestContext"]["condition"], "RetryAttemptsExhausted");
    assert_eq!(letter["requestContext"]["approximateInvokeCount"], 3);
    assert_eq!(letter["DDBStreamBatchInfo"]["batchSize"], 1);
    assert_eq!(letter["DDBStreamBatchInfo"]["startSequenceNumber"], letter["DDBStreamBatchInfo"]["endSequenceNumber"]);
}

#[tokio::test]
async fn a_partial_answer_goes_back_to_the_first_failed_record() {
    let aws = started().await;
    for number in 0..5 {
        put(&aws, "T#1", &number.to_string());
    }
    let failed_once = Lock::new(false);
    let recorder = Recorder::new(move |batch| {
        let bad = batch.iter().find(|name| *name == "T#1/3");
        let mut failed = failed_once.lock();
        match bad {
            Some(bad) if !*failed => {
                *failed = true;
                Ok(failed_items(&[bad]))
            }
            _ => Ok(json!({ "batchItemFailures": [] })),
        }
    });
    let report = Sources::new(&template(), &aws, recorder.clone()).unwrap().drain().await.unwrap();
    let batches = recorder.batches();
    assert_eq!(batches.len(), 2);
    assert_eq!(batches[1], ["T#1/3", "T#1/4"]);
    assert_eq!((report.item_failures, report.discarded), (1, 0));
}

#[tokio::test]
async fn an_impossible_partial_answer_fails_the_whole_batch() {
    let aws = started().await;
    put(&aws, "T#1", "a");
    let recorder = Recorder::new(|_| Ok(json!({ "batchItemFailures": [{ "itemIdentifier": "unknown" }] })));
    let report = Sources::new(&template(), &aws, recorder.clone()).unwrap().drain().await.unwrap();
    assert_eq!((report.failures, report.discarded), (3, 1));
}

#[tokio::test]
async fn handled_messages_go_and_failed_ones_come_back_until_they_are_dead() {
    let aws = started().await;
    for body in ["a", "b", "poison", "c"] {
        aws.queues().send(MAIL, body, Some("tenant-7")).unwrap();
    }
    let recorder = Recorder::new(|batch| {
        let bad: Vec<&String> = batch.iter().filter(|body| *body == "poison").collect();
        Ok(failed_items(&bad))
    });
    let report = Sources::new(&template(), &aws, recorder.clone()).unwrap().drain().await.unwrap();
    let mut counts = BTreeMap::new();
    for body in recorder.seen() {
        *counts.entry(body).or_insert(0) += 1;
    }
    assert_eq!(counts["poison"], 3);
    assert_eq!(counts["a"] + counts["b"] + counts["c"], 3);
    assert_eq!(report.item_failures, 3);
    assert_eq!((depth(&aws, MAIL), depth(&aws, MAIL_LETTERS)), (0, 1));
    let record = recorder.events.lock()[0]["Records"][0].clone();
    assert_eq!(record["attributes"]["MessageGroupId"], "tenant-7");
    assert_eq!(record["attributes"]["ApproximateReceiveCount"], "1");
    assert_eq!(record["eventSource"], "aws:sqs");
    assert!(record["eventSourceARN"].as_str().unwrap().ends_with(":tenantry-local-MailQueue"));
    assert!(record["receiptHandle"].is_string() && record["messageId"].is_string());
    let last = recorder.events.lock().last().unwrap()["Records"][0].clone();
    assert_eq!(last["attributes"]["ApproximateReceiveCount"], "3");
}

#[tokio::test]
async fn a_failing_function_loses_no_message() {
    let aws = started().await;
    for body in ["a", "b"] {
        aws.queues().send(MAIL, body, None).unwrap();
    }
    let recorder = Recorder::new(|_| Err("down".to_owned()));
    let report = Sources::new(&template(), &aws, recorder).unwrap().drain().await.unwrap();
    assert_eq!(report.failures, 3);
    assert_eq!((depth(&aws, MAIL), depth(&aws, MAIL_LETTERS)), (0, 2));
}

#[tokio::test]
async fn not_reached_spends_no_attempt() {
    struct Unreachable;
    impl Invoke for Unreachable {
        async fn invoke(&self, function: &str, _: Value) -> Result<Value, InvokeError> {
            Err(InvokeError::Unreachable { function: function.to_owned(), message: "refused".to_owned() })
        }
    }
    let aws = started().await;
    aws.queues().send(MAIL, "a", None).unwrap();
    for _ in 0..5 {
        let error = Sources::new(&template(), &aws, Unreachable).unwrap().drain().await.unwrap_err();
        assert!(matches!(error, SourceError::Invoke(InvokeError::Unreachable { .. })));
    }
    let recorder = Recorder::willing();
    Sources::new(&template(), &aws, recorder.clone()).unwrap().drain().await.unwrap();
    assert_eq!(recorder.seen(), ["a"]);
    assert_eq!(recorder.events.lock()[0]["Records"][0]["attributes"]["ApproximateReceiveCount"], "1");
}

#[tokio::test]
async fn duplicates_deliver_everything_twice() {
    for duplicates in [Duplicates::Again, Duplicates::AtOnce] {
        let aws = started().await;
        put(&aws, "T#1", "a");
        aws.queues().send(MAIL, "b", None).unwrap();
        let recorder = Recorder::willing();
        let faults = Faults { duplicates, ..Faults::default() };
        Sources::with_faults(&template(), &aws, recorder.clone(), faults).unwrap().drain().await.unwrap();
        let mut seen = recorder.seen();
        seen.sort();
        assert_eq!(seen, ["T#1/a", "T#1/a", "b", "b"]);
    }
}

#[tokio::test]
async fn reordering_keeps_the_order_within_a_key() {
    let aws = started().await;
    for number in 0..40 {
        put(&aws, &format!("T#{}", number % 8), &format!("{number:02}"));
    }
    let mut orders = BTreeSet::new();
    for seed in 0..3 {
        let recorder = Recorder::willing();
        let faults = Faults { seed, reorder: true, ..Faults::default() };
        let sources = Sources::with_faults(&template(), &aws, recorder.clone(), faults).unwrap();
        aws.journal().delete("position", &format!("relay/{TABLE}")).unwrap();
        sources.drain().await.unwrap();
        let seen = recorder.seen();
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 40);
        for key in 0..8 {
            let of_key: Vec<&String> = seen.iter().filter(|name| name.starts_with(&format!("T#{key}/"))).collect();
            assert!(of_key.is_sorted(), "{of_key:?}");
        }
        assert!(!seen.iter().map(|name| &name[4..]).is_sorted());
        orders.insert(seen);
    }
    assert!(orders.len() > 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_batches_at_a_time_keep_the_order_within_a_key_and_each_its_position() {
    let text =
        include_str!("../../testdata/template.yaml").replace("BatchSize: 8\n", "BatchSize: 8\n            ParallelizationFactor: 4\n");
    let parallel = Template::parse(&text).unwrap();
    assert_eq!(parallel.stream_sources().unwrap()[0].parallel, 4);
    let aws = Aws::start(Storage::Memory).unwrap();
    aws.create(&parallel).await.unwrap();
    for number in 0..400 {
        put(&aws, &format!("T#{:02}", number % 16), &format!("{number:03}"));
    }
    let recorder = Recorder::willing();
    let sources = Arc::new(Sources::new(&parallel, &aws, recorder.clone()).unwrap());
    let (stop, stopped) = watch::channel(false);
    let playing = tokio::spawn(sources.run(stopped, |_| {}));
    for _ in 0..200 {
        if recorder.seen().len() >= 400 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    // What was answered last is also recorded.
    tokio::time::sleep(Duration::from_millis(50)).await;
    stop.send(true).unwrap();
    playing.await.unwrap();
    let seen = recorder.seen();
    assert_eq!((seen.len(), seen.iter().collect::<BTreeSet<_>>().len()), (400, 400));
    for key in 0..16 {
        let of_key: Vec<&String> = seen.iter().filter(|name| name.starts_with(&format!("T#{key:02}/"))).collect();
        assert!(of_key.is_sorted(), "{of_key:?}");
    }
    let again = Recorder::willing();
    Sources::new(&parallel, &aws, again.clone()).unwrap().drain().await.unwrap();
    assert_eq!(again.seen(), Vec::<String>::new());
}

#[tokio::test]
async fn what_a_killed_process_had_not_recorded_is_delivered_again() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::Disk(directory.path().to_owned());
    let aws = Aws::start(storage.clone()).unwrap();
    aws.create(&template()).await.unwrap();
    for number in 0..10 {
        put(&aws, "T#1", &number.to_string());
    }
    aws.queues().send(MAIL, "mail", None).unwrap();
    let mut seen = Vec::new();
    let mut kills = 0;
    // Dies after each invocation, until one run succeeds.
    for life in 1.. {
        let aws = std::mem::ManuallyDrop::new(Aws::start(storage.clone()).unwrap());
        aws.create(&template()).await.unwrap();
        let recorder = Recorder::willing();
        let faults = Faults { kill_after: Some(life), reorder: true, seed: life as u64, ..Faults::default() };
        let end = Sources::with_faults(&template(), &aws, recorder.clone(), faults).unwrap().drain().await;
        seen.extend(recorder.seen());
        match end {
            Ok(_) => break,
            Err(SourceError::Killed(_)) => kills += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(kills > 0);
    let distinct: BTreeSet<String> = seen.into_iter().collect();
    assert_eq!(distinct.len(), 11);
}

/// How many records are on disk.
fn kept(directory: &tempfile::TempDir) -> usize {
    let beside = rusqlite::Connection::open(directory.path().join("table.sqlite3")).unwrap();
    beside.query_row("SELECT COUNT(*) FROM _stream_records", [], |row| row.get(0)).unwrap()
}

fn trimmed(sources: &Sources<Arc<Recorder>>) {
    while sources.trim().unwrap() {}
}

#[tokio::test]
async fn a_stream_on_disk_is_trimmed_behind_what_was_handled_and_nothing_else_goes() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::Disk(directory.path().to_owned());
    let aws = Aws::start(storage.clone()).unwrap();
    aws.create(&template()).await.unwrap();
    for number in 0..500 {
        put(&aws, "T#1", &number.to_string());
    }
    let first = Recorder::willing();
    let sources = Sources::new(&template(), &aws, first.clone()).unwrap();
    // Nobody has read yet.
    trimmed(&sources);
    assert_eq!(kept(&directory), 500);
    sources.drain().await.unwrap();
    put(&aws, "T#1", "late");
    put(&aws, "T#1", "later");
    assert!(sources.trim().unwrap(), "a step is small");
    assert_eq!(kept(&directory), 302);
    trimmed(&sources);
    assert_eq!((first.seen().len(), kept(&directory)), (500, 2));

    // A kill, and a start that knows what was handled from the disk alone.
    let _killed = std::mem::ManuallyDrop::new((aws, sources));
    let aws = Aws::start(storage).unwrap();
    aws.create(&template()).await.unwrap();
    let second = Recorder::willing();
    let sources = Sources::new(&template(), &aws, second.clone()).unwrap();
    trimmed(&sources);
    assert_eq!(kept(&directory), 2);
    sources.drain().await.unwrap();
    trimmed(&sources);
    // The newest stays, and the next one is numbered after it.
    assert_eq!((second.seen(), kept(&directory)), (vec!["T#1/late".to_owned(), "T#1/later".to_owned()], 1));
    put(&aws, "T#1", "latest");
    sources.drain().await.unwrap();
    assert_eq!(second.seen().last().unwrap(), "T#1/latest");
}

#[tokio::test]
async fn a_stream_is_trimmed_behind_the_slowest_of_its_readers() {
    let directory = tempfile::tempdir().unwrap();
    let aws = Aws::start(Storage::Disk(directory.path().to_owned())).unwrap();
    let reader =
        "Records: { Type: DynamoDB, Properties: { Stream: !GetAtt Table.StreamArn, StartingPosition: TRIM_HORIZON, BatchSize: 3 } }";
    let text = include_str!("../../testdata/template.yaml").replace("        Purge:\n", &format!("        {reader}\n        Purge:\n"));
    let two_readers = Template::parse(&text).unwrap();
    assert_eq!(two_readers.stream_sources().unwrap().len(), 2);
    aws.create(&two_readers).await.unwrap();
    for number in 0..10 {
        put(&aws, "T#1", &number.to_string());
    }
    // The relay reads all; the second reader begins later, and dies after its first three.
    Sources::new(&template(), &aws, Recorder::willing()).unwrap().drain().await.unwrap();
    let dying = Recorder::willing();
    let faults = Faults { kill_after: Some(2), ..Faults::default() };
    let sources = Sources::with_faults(&two_readers, &aws, dying.clone(), faults).unwrap();
    trimmed(&sources);
    assert_eq!(kept(&directory), 10);
    assert!(matches!(sources.drain().await, Err(SourceError::Killed(2))));
    trimmed(&sources);
    assert_eq!(kept(&directory), 7);
    let living = Recorder::willing();
    let sources = Sources::new(&two_readers, &aws, living.clone()).unwrap();
    sources.drain().await.unwrap();
    assert_eq!(living.seen(), (3..10).map(|number| format!("T#1/{number}")).collect::<Vec<_>>());
    trimmed(&sources);
    assert_eq!(kept(&directory), 1);
}

#[tokio::test]
async fn trimming_fails_no_write() {
    let directory = tempfile::tempdir().unwrap();
    let aws = Aws::start(Storage::Disk(directory.path().to_owned())).unwrap();
    aws.create(&template()).await.unwrap();
    let recorder = Recorder::willing();
    let sources = Sources::new(&template(), &aws, recorder.clone()).unwrap();
    let writer = aws.clone();
    let writing = std::thread::spawn(move || (0..400).for_each(|number| put(&writer, "T#1", &number.to_string())));
    while !writing.is_finished() {
        sources.drain().await.unwrap();
        sources.trim().unwrap();
    }
    writing.join().unwrap();
    sources.drain().await.unwrap();
    trimmed(&sources);
    let distinct: BTreeSet<String> = recorder.seen().into_iter().collect();
    assert_eq!((recorder.seen().len(), distinct.len(), kept(&directory)), (400, 400, 1));
}

#[tokio::test]
async fn a_schedule_is_fired_by_name() {
    let aws = started().await;
    let recorder = Recorder::willing();
    let sources = Sources::new(&template(), &aws, recorder.clone()).unwrap();
    sources.fire("JanitorFunctionPurge").await.unwrap();
    assert_eq!(recorder.events.lock()[0], json!({ "task": "purge" }));
    assert!(matches!(sources.fire("Nothing").await, Err(SourceError::NoSchedule(_))));
}

#[tokio::test]
async fn live_play_delivers_and_stops_when_told() {
    let aws = started().await;
    put(&aws, "T#1", "a");
    let recorder = Recorder::willing();
    let sources = Arc::new(Sources::new(&template(), &aws, recorder.clone()).unwrap());
    let (stop, stopped) = watch::channel(false);
    let playing = tokio::spawn(sources.run(stopped, |_| {}));
    for _ in 0..100 {
        if recorder.seen() == ["T#1/a"] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(recorder.seen(), ["T#1/a"]);
    stop.send(true).unwrap();
    tokio::time::timeout(Duration::from_secs(5), playing).await.unwrap().unwrap();
}
