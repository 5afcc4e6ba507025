//! Jobs on their way into the queues: those of a whole batch of records, in as few requests as SQS allows.

use std::collections::BTreeMap;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use futures_util::StreamExt;
use futures_util::stream;
use jiff::SignedDuration;
use serde::Serialize;
use shared::tenancy::jobs::Queued;
use shared::{Error, Result};

pub struct Job<'a> {
    queue: &'a str,
    /// Whose share of the queue it uses.
    group: String,
    body: String,
    /// Nobody may take it before.
    delay: SignedDuration,
}

impl<'a> Job<'a> {
    pub fn new<J: Serialize>(queue: &'a str, group: String, job: &Queued<J>) -> Result<Self> {
        let body = serde_json::to_string(job).map_err(|error| Error::internal("writing a job", error))?;
        Ok(Job { queue, group, body, delay: SignedDuration::ZERO })
    }

    pub fn after(self, delay: SignedDuration) -> Self {
        Job { delay, ..self }
    }
}

/// Jobs for one queue, each with the number of its record.
type Batch<'a> = Vec<(usize, Job<'a>)>;

/// Of SQS: messages in one request.
const MOST_JOBS: usize = 10;
/// What a request took before SQS raised it to four times as much. A longer job goes alone.
const MOST_BYTES: usize = 256 * 1024;
/// Requests that are on their way at the same time.
const AT_ONCE: usize = 4;

/// Sends the jobs of each record. Gives the records of which not all jobs were taken: of each request, the first one.
pub async fn send(sqs: &Client, jobs: Vec<Vec<Job<'_>>>) -> Vec<(usize, Error)> {
    let sending: Vec<_> = batches(jobs).into_iter().map(|batch| send_batch(sqs, batch)).collect();
    stream::iter(sending).buffer_unordered(AT_ONCE).filter_map(async |unsent| unsent).collect().await
}

fn batches(jobs: Vec<Vec<Job<'_>>>) -> Vec<Batch<'_>> {
    let mut full = vec![];
    let mut open: BTreeMap<&str, (usize, Batch)> = BTreeMap::new();
    for (record, job) in jobs.into_iter().enumerate().flat_map(|(record, jobs)| jobs.into_iter().map(move |job| (record, job))) {
        let (bytes, batch) = open.entry(job.queue).or_default();
        if batch.len() == MOST_JOBS || (*bytes + job.body.len() > MOST_BYTES && !batch.is_empty()) {
            full.push(std::mem::take(batch));
            *bytes = 0;
        }
        *bytes += job.body.len();
        batch.push((record, job));
    }
    full.extend(open.into_values().map(|(_, batch)| batch));
    full
}

/// The first record whose job was not taken.
async fn send_batch(sqs: &Client, batch: Batch<'_>) -> Option<(usize, Error)> {
    let records: Vec<usize> = batch.iter().map(|(record, _)| *record).collect();
    match request(sqs, batch).await {
        Ok(refused) => refused.into_iter().map(|(number, error)| (records[number], error)).min_by_key(|(record, _)| *record),
        Err(error) => records.first().map(|record| (*record, error)),
    }
}

/// The jobs that were not taken, by their number. One of which the answer says nothing was not.
async fn request(sqs: &Client, batch: Batch<'_>) -> Result<Vec<(usize, Error)>> {
    let unavailable = |cause: Box<dyn std::error::Error + Send + Sync>| Error::Unavailable { doing: "queueing jobs", cause };
    let (count, mut sending) = (batch.len(), sqs.send_message_batch());
    for (number, (_, job)) in batch.into_iter().enumerate() {
        sending = sending.queue_url(job.queue).entries(job.entry(number)?);
    }
    let answer = sending.send().await.map_err(|error| unavailable(error.into()))?;
    let is_taken = |number: &usize| answer.successful().iter().any(|taken| taken.id() == number.to_string());
    let said = |number: usize| {
        let failed = answer.failed().iter().find(|failed| failed.id() == number.to_string());
        failed.map_or_else(|| "SQS did not say that it took the job".into(), |failed| format!("{failed:?}"))
    };
    Ok((0..count).filter(|number| !is_taken(number)).map(|number| (number, unavailable(said(number).into()))).collect())
}

impl Job<'_> {
    fn entry(self, number: usize) -> Result<SendMessageBatchRequestEntry> {
        // Of no time, it is absent: SQS then takes the queue's own, which is none.
        let delay = i32::try_from(self.delay.as_secs()).ok().filter(|seconds| *seconds > 0);
        let entry = SendMessageBatchRequestEntry::builder().id(number.to_string()).message_body(self.body);
        entry.message_group_id(self.group).set_delay_seconds(delay).build().map_err(|error| Error::internal("queueing jobs", error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(queue: &str, bytes: usize) -> Job<'_> {
        Job { queue, group: "directory".into(), body: "x".repeat(bytes), delay: SignedDuration::ZERO }
    }

    /// The records of each batch.
    fn records(jobs: Vec<Vec<Job<'_>>>) -> Vec<Vec<usize>> {
        batches(jobs).into_iter().map(|batch| batch.into_iter().map(|(record, _)| record).collect()).collect()
    }

    #[test]
    fn a_request_is_for_one_queue_and_holds_ten_jobs() {
        let of_record = |record: usize| match record % 3 {
            0 => vec![job("a", 1), job("b", 1)],
            1 => vec![job("a", 1)],
            _ => vec![],
        };
        let a: Vec<usize> = (0..21).filter(|record| record % 3 < 2).collect();
        let b: Vec<usize> = (0..21).filter(|record| record % 3 == 0).collect();
        assert_eq!(records((0..21).map(of_record).collect()), [a[..10].to_vec(), a[10..].to_vec(), b]);
        assert_eq!(records(vec![vec![], vec![]]), Vec::<Vec<usize>>::new());
    }

    #[test]
    fn a_request_holds_no_more_bytes_than_sqs_takes() {
        let half = MOST_BYTES / 2;
        let jobs = [half, half, 1, MOST_BYTES, MOST_BYTES + 1, 1].map(|bytes| vec![job("a", bytes)]);
        assert_eq!(records(jobs.into()), [vec![0, 1], vec![2], vec![3], vec![4], vec![5]]);
    }
}
