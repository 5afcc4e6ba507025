//! Plays a DynamoDB stream event source. Records are delivered in order, and the position only moves when they were handled or given up. A
//! failing batch is halved until the bad record is alone. It is then retried as often as the mapping says, and given up.

use std::{
    collections::{BTreeMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use dynoxide::{
    actions::{
        get_records::{GetRecordsRequest, Record},
        get_shard_iterator::GetShardIteratorRequest,
    },
    types::AttributeValue,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{Courier, Invoke, Outcome, SourceError, Step, add, filter};
use crate::{
    aws::{Aws, REGION},
    journal::{Journal, JournalError},
    lock::Lock,
    template::{StreamSource, name_of_queue_arn},
};

pub const SHARDS_WHEN_REORDERING: usize = 4;

/// Positions of a mapping in its stream.
const SPACE: &str = "position";

/// One shard of a stream. Real streams are split by partition key as they grow, and Lambda reads each in as many parts as the mapping says. The embedded
/// table has one sequence of records, and a shard takes those whose key belongs to it.
pub struct StreamPlayer {
    source: StreamSource,
    hash_key: String,
    shard: usize,
    shards: usize,
    stream_arn: String,
    /// The shards keep their positions together.
    saving: Arc<Lock<()>>,
    recent: Arc<Lock<Recent>>,
    work: Mutex<Work>,
}

/// What was read of the stream last, for all shards together: each record is read once, unless a shard is far behind.
struct Recent {
    /// The records follow this one.
    after: String,
    records: VecDeque<Read>,
}

struct Read {
    sequence_number: String,
    shard: usize,
    /// As the function gets it. `None`: no filter lets it pass.
    record: Option<Value>,
}

/// Records that are kept for the other shards.
const RECENT: usize = 1_000;

#[derive(Default)]
struct Work {
    pieces: VecDeque<Piece>,
    /// The position of the shard when all pieces are done.
    after: String,
}

struct Piece {
    records: Vec<Value>,
    failures: u32,
}

#[derive(Serialize, Deserialize)]
struct Positions {
    /// The last handled sequence number of each shard. Empty before the first.
    shards: Vec<String>,
}

impl StreamPlayer {
    pub fn shards(source: &StreamSource, hash_key: &str, shards: usize, aws: &Aws) -> Result<Vec<StreamPlayer>, SourceError> {
        let stream_arn = dynoxide::streams::stream_arn(&source.table, "local");
        // With another number of shards, all start at the position of the slowest. Records are then delivered at least once.
        let journal = aws.journal();
        let id = position_id(source);
        let mut positions = read_positions(journal, &id)?;
        if positions.shards.len() != shards {
            let slowest = positions.shards.into_iter().min().unwrap_or_default();
            positions = Positions { shards: vec![slowest; shards] };
            journal.put(SPACE, &id, &positions)?;
        }
        let slowest = positions.shards.iter().min().cloned().unwrap_or_default();
        let recent = Arc::new(Lock::new(Recent { after: slowest, records: VecDeque::new() }));
        let saving = Arc::new(Lock::new(()));
        Ok((0..shards)
            .map(|shard| StreamPlayer {
                source: source.clone(),
                hash_key: hash_key.to_owned(),
                shard,
                shards,
                stream_arn: stream_arn.clone(),
                saving: saving.clone(),
                recent: recent.clone(),
                work: Mutex::default(),
            })
            .collect())
    }

    pub async fn step<I: Invoke>(&self, courier: &Courier<I>, aws: &Aws) -> Result<Step, SourceError> {
        let mut work = self.work.lock().await;
        if work.pieces.is_empty() && !self.read_more(&mut work, courier, aws)? {
            return Ok(Step::Idle);
        }
        let Some(mut piece) = work.pieces.pop_front() else {
            // Everything that was read belongs to other shards or is filtered out.
            self.save(aws, &work.after)?;
            return Ok(Step::Moved);
        };
        let identifiers: Vec<&str> = piece.records.iter().map(sequence_number).collect();
        let event = json!({ "Records": piece.records });
        let outcome = courier.deliver(&self.source.function, event, self.source.report_item_failures, &identifiers).await;
        let (handled, failure) = match outcome {
            Ok(Outcome::Done) => (piece.records.len(), None),
            Ok(Outcome::Failed(message)) => (0, Some(message)),
            Ok(Outcome::Partly(items)) => {
                // Lambda goes back to the first record that failed. The records after it are delivered again.
                let first = identifiers.iter().position(|identifier| items.contains(*identifier)).unwrap_or(0);
                (first, Some(format!("`{}` asked for a record again", self.source.function)))
            }
            Err(error) => {
                work.pieces.push_front(piece);
                return Err(error);
            }
        };
        if handled > 0 {
            let last = if handled == piece.records.len() && work.pieces.is_empty() {
                work.after.clone()
            } else {
                sequence_number(&piece.records[handled - 1]).to_owned()
            };
            self.save(aws, &last)?;
            piece.records.drain(..handled);
            piece.failures = 0;
        }
        let Some(message) = failure else {
            return Ok(Step::Moved);
        };
        if handled > 0 {
            work.pieces.push_front(piece);
            return Ok(Step::Again { failures: 0, message });
        }
        self.retry(&mut work, piece, message, courier, aws)
    }

    /// Decides about a piece of which no record was handled.
    fn retry<I: Invoke>(
        &self,
        work: &mut Work,
        mut piece: Piece,
        message: String,
        courier: &Courier<I>,
        aws: &Aws,
    ) -> Result<Step, SourceError> {
        piece.failures += 1;
        if self.source.bisect && piece.records.len() > 1 {
            // Halving does not count as a retry.
            let rest = piece.records.split_off(piece.records.len() / 2);
            work.pieces.push_front(Piece { records: rest, failures: 0 });
            work.pieces.push_front(Piece { records: piece.records, failures: 0 });
            return Ok(Step::Again { failures: 0, message });
        }
        let spent = self.source.retries.is_some_and(|retries| piece.failures > retries);
        let expired = self.source.maximum_age_seconds.is_some_and(|maximum| age_seconds(&piece.records) > maximum);
        if !spent && !expired {
            let failures = piece.failures;
            work.pieces.push_front(piece);
            return Ok(Step::Again { failures, message });
        }
        let condition = if spent { "RetryAttemptsExhausted" } else { "RecordAgeExceeded" };
        self.give_up(&piece, condition, aws)?;
        add(&courier.counts.discarded, piece.records.len());
        let last = match work.pieces.is_empty() {
            true => work.after.clone(),
            false => piece.records.last().map(sequence_number).unwrap_or_default().to_owned(),
        };
        self.save(aws, &last)?;
        Ok(Step::Moved)
    }

    /// Informs the failure destination about the records that were given up, in Lambda's format: with their position, not their content.
    fn give_up(&self, piece: &Piece, condition: &str, aws: &Aws) -> Result<(), SourceError> {
        let Some(destination) = &self.source.on_failure else {
            return Ok(());
        };
        let arrival = |record: Option<&Value>| record.map(|record| created_at(record).to_string());
        let body = json!({
            "requestContext": {
                "requestId": format!("{:032x}", fastrand::u128(..)),
                "functionArn": format!("arn:aws:lambda:{REGION}:{}:function:{}", crate::aws::ACCOUNT, self.source.function),
                "condition": condition,
                "approximateInvokeCount": piece.failures,
            },
            "responseContext": { "statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled" },
            "version": "1.0",
            "timestamp": Timestamp::now().to_string(),
            "DDBStreamBatchInfo": {
                "shardId": format!("shardId-{:08}", self.shard),
                "startSequenceNumber": piece.records.first().map(sequence_number),
                "endSequenceNumber": piece.records.last().map(sequence_number),
                "approximateArrivalOfFirstRecord": arrival(piece.records.first()),
                "approximateArrivalOfLastRecord": arrival(piece.records.last()),
                "batchSize": piece.records.len(),
                "streamArn": self.source.arn,
            },
        });
        aws.queues().send(name_of_queue_arn(destination), &body.to_string(), None)?;
        Ok(())
    }

    /// Reads on from the position. `false` if there is nothing new.
    fn read_more<I>(&self, work: &mut Work, courier: &Courier<I>, aws: &Aws) -> Result<bool, SourceError> {
        let after = self.position(aws)?;
        let limit = match courier.faults.reorder {
            true => courier.dice.up_to(self.source.batch_size),
            false => self.source.batch_size,
        };
        let mut recent = self.recent.lock();
        // A shard that is far behind reads for itself.
        let mut own = Recent { after: after.clone(), records: VecDeque::new() };
        let recent = if after < recent.after { &mut own } else { &mut *recent };
        let first = loop {
            let first = recent.records.partition_point(|read| read.sequence_number <= after);
            if first < recent.records.len() {
                break first;
            }
            let last = recent.records.back().map_or(&recent.after, |read| &read.sequence_number);
            let page = self.read_after(last, aws)?;
            if page.is_empty() {
                return Ok(false);
            }
            recent.records.extend(page);
        };
        let page = recent.records.range(first..).take(limit);
        work.after = page.clone().next_back().map_or(after, |read| read.sequence_number.clone());
        let records: Vec<Value> = page.filter(|read| read.shard == self.shard).filter_map(|read| read.record.clone()).collect();
        while recent.records.len() > RECENT {
            recent.after = recent.records.pop_front().map(|read| read.sequence_number).unwrap_or_default();
        }
        if !records.is_empty() {
            work.pieces.push_back(Piece { records, failures: 0 });
        }
        Ok(true)
    }

    fn read_after(&self, sequence_number: &str, aws: &Aws) -> Result<Vec<Read>, SourceError> {
        let iterator_type = if sequence_number.is_empty() { "TRIM_HORIZON" } else { "AFTER_SEQUENCE_NUMBER" };
        let database = aws.database();
        let table = |error| SourceError::Aws(crate::aws::AwsError::Table(error));
        let iterator = database
            .get_shard_iterator(GetShardIteratorRequest {
                stream_arn: self.stream_arn.clone(),
                shard_id: dynoxide::streams::shard_id(&self.source.table),
                shard_iterator_type: iterator_type.to_owned(),
                sequence_number: Some(sequence_number.to_owned()).filter(|number| !number.is_empty()),
            })
            .map_err(table)?;
        let shard_iterator = iterator.shard_iterator.unwrap_or_default();
        let page = database.get_records(GetRecordsRequest { shard_iterator, limit: Some(self.source.batch_size) }).map_err(table)?;
        let read = |record: Record| {
            let (sequence_number, shard) =
                (record.dynamodb.sequence_number.clone(), self.shard_of(record.dynamodb.keys.get(&self.hash_key))?);
            let mut record = serde_json::to_value(record).map_err(JournalError::from)?;
            record["awsRegion"] = REGION.into();
            record["eventSourceARN"] = self.source.arn.as_str().into();
            let record = Some(record).filter(|record| filter::passes(&self.source.filters, record));
            Ok(Read { sequence_number, shard, record })
        };
        page.records.into_iter().map(read).collect()
    }

    fn shard_of(&self, key: Option<&AttributeValue>) -> Result<usize, JournalError> {
        let mut hasher = DefaultHasher::new();
        serde_json::to_string(&key)?.hash(&mut hasher);
        Ok(hasher.finish() as usize % self.shards)
    }

    fn position(&self, aws: &Aws) -> Result<String, SourceError> {
        let positions = read_positions(aws.journal(), &position_id(&self.source))?;
        Ok(positions.shards.get(self.shard).cloned().unwrap_or_default())
    }

    fn save(&self, aws: &Aws, sequence_number: &str) -> Result<(), SourceError> {
        let id = position_id(&self.source);
        let _alone = self.saving.lock();
        let mut positions = read_positions(aws.journal(), &id)?;
        positions.shards.resize(self.shards, String::new());
        positions.shards[self.shard] = sequence_number.to_owned();
        aws.journal().put(SPACE, &id, &positions)?;
        Ok(())
    }
}

/// The tables whose streams are played, with the last record that all their mappings are done with; none where one has not read yet.
pub fn read_by_all(players: &[StreamPlayer], aws: &Aws) -> Result<BTreeMap<String, Option<String>>, SourceError> {
    let mut read: BTreeMap<String, Option<String>> = BTreeMap::new();
    for player in players {
        let position = Some(player.position(aws)?).filter(|position| !position.is_empty());
        read.entry(player.source.table.clone()).and_modify(|slowest| *slowest = slowest.take().min(position.clone())).or_insert(position);
    }
    Ok(read)
}

fn position_id(source: &StreamSource) -> String {
    format!("{}/{}", source.function, source.table)
}

fn read_positions(journal: &Journal, id: &str) -> Result<Positions, SourceError> {
    Ok(journal.get(SPACE, id)?.unwrap_or(Positions { shards: Vec::new() }))
}

fn sequence_number(record: &Value) -> &str {
    record["dynamodb"]["SequenceNumber"].as_str().unwrap_or_default()
}

fn created_at(record: &Value) -> Timestamp {
    let seconds = record["dynamodb"]["ApproximateCreationDateTime"].as_f64().unwrap_or_default();
    Timestamp::from_second(seconds as i64).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Records are only given up for their age after an attempt, so that a stack that slept over night still delivers.
fn age_seconds(records: &[Value]) -> i64 {
    let oldest = records.first().map_or(Timestamp::UNIX_EPOCH, created_at);
    Timestamp::now().as_second() - oldest.as_second()
}
