//! Forgets what of a table's stream was read. DynamoDB does so after a day and dynoxide never; a data directory would grow with every write.

use std::time::Duration;

use dynoxide::{
    Database,
    actions::get_shard_iterator::{GetShardIteratorRequest, decode_shard_iterator},
};
use rusqlite::{Connection, ErrorCode, params};

use super::AwsError;
use crate::{journal::JournalError, lock::Lock};

/// So few at a time that a write which comes meanwhile does not notice.
pub const STEP: usize = 200;

/// A connection of its own to the table's file.
pub struct Trimmer(Lock<Connection>);

impl Trimmer {
    pub fn new(connection: Connection) -> Result<Trimmer, rusqlite::Error> {
        // Whoever writes goes first.
        connection.busy_timeout(Duration::ZERO)?;
        Ok(Trimmer(Lock::new(connection)))
    }

    /// Forgets up to `STEP` records, the oldest first, up to and with the one of this sequence number; gives how many. The newest record
    /// stays in any case: the next one is numbered after it.
    pub fn step(&self, database: &Database, table: &str, read: &str) -> Result<usize, AwsError> {
        let Some(read) = stored_number(database, table, read)? else { return Ok(0) };
        let trimmed = self.0.lock().execute(
            "DELETE FROM _stream_records WHERE id IN (
                 SELECT id FROM _stream_records
                 WHERE table_name = ?1 AND CAST(sequence_number AS INTEGER) <= ?2 AND CAST(sequence_number AS INTEGER) <
                     (SELECT MAX(CAST(sequence_number AS INTEGER)) FROM _stream_records WHERE table_name = ?1)
                 ORDER BY CAST(sequence_number AS INTEGER) LIMIT ?3)",
            params![table, read, STEP],
        );
        match trimmed {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(0),
            trimmed => Ok(trimmed.map_err(JournalError::from)?),
        }
    }
}

/// The number that a record's public sequence number stands for in the file.
fn stored_number(database: &Database, table: &str, public: &str) -> Result<Option<i64>, AwsError> {
    let iterator = database.get_shard_iterator(GetShardIteratorRequest {
        stream_arn: dynoxide::streams::stream_arn(table, "local"),
        shard_id: dynoxide::streams::shard_id(table),
        shard_iterator_type: "AFTER_SEQUENCE_NUMBER".to_owned(),
        sequence_number: Some(public.to_owned()),
    })?;
    Ok(iterator.shard_iterator.as_deref().and_then(decode_shard_iterator).map(|(_, _, position)| position))
}
