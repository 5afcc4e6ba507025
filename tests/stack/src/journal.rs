//! Small durable facts of the local stack: secrets, queued messages, stored objects, stream positions, caught mails and
//! what is to be played for them, phones and what they have to tell, caught webhooks, demo credentials. They are in one
//! SQLite file. A change is on disk when the call returns, so acknowledged data survives SIGKILL.

use std::{path::Path, sync::Arc};

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Serialize, de::DeserializeOwned};

use crate::lock::{Guard, Lock};

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("the stack's journal failed: {0}")]
    Database(#[from] rusqlite::Error),
    #[error("the stack's journal holds an unreadable entry: {0}")]
    Entry(#[from] serde_json::Error),
}

/// JSON values by space and id. Cheap to clone. Clones share the file.
#[derive(Clone)]
pub struct Journal {
    connection: Arc<Lock<Connection>>,
}

/// One change of a transaction.
pub enum Change {
    Put { space: String, id: String, value: String },
    Delete { space: String, id: String },
}

impl Change {
    pub fn put<T: Serialize>(space: &str, id: &str, value: &T) -> Result<Change, JournalError> {
        Ok(Change::Put { space: space.to_owned(), id: id.to_owned(), value: serde_json::to_string(value)? })
    }

    pub fn delete(space: &str, id: &str) -> Change {
        Change::Delete { space: space.to_owned(), id: id.to_owned() }
    }
}

impl Journal {
    pub fn memory() -> Result<Journal, JournalError> {
        Journal::prepare(Connection::open_in_memory()?)
    }

    pub fn open(path: &Path) -> Result<Journal, JournalError> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        Journal::prepare(connection)
    }

    pub fn put<T: Serialize>(&self, space: &str, id: &str, value: &T) -> Result<(), JournalError> {
        self.apply(&[Change::put(space, id, value)?])
    }

    pub fn get<T: DeserializeOwned>(&self, space: &str, id: &str) -> Result<Option<T>, JournalError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached("SELECT value FROM kept WHERE space = ?1 AND id = ?2")?;
        let text: Option<String> = statement.query_row(params![space, id], |row| row.get(0)).optional()?;
        text.map(|text| serde_json::from_str(&text).map_err(JournalError::from)).transpose()
    }

    pub fn delete(&self, space: &str, id: &str) -> Result<(), JournalError> {
        self.apply(&[Change::delete(space, id)])
    }

    /// The ids of a space, in the order in which they were first put.
    pub fn ids(&self, space: &str) -> Result<Vec<String>, JournalError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached("SELECT id FROM kept WHERE space = ?1 ORDER BY number")?;
        Ok(statement.query_map(params![space], |row| row.get(0))?.collect::<Result<_, _>>()?)
    }

    /// All entries of a space, in the order in which they were first put.
    pub fn list<T: DeserializeOwned>(&self, space: &str) -> Result<Vec<(String, T)>, JournalError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached("SELECT id, value FROM kept WHERE space = ?1 ORDER BY number")?;
        let rows = statement.query_map(params![space], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
        rows.map(|row| {
            let (id, text) = row?;
            Ok((id, serde_json::from_str(&text)?))
        })
        .collect()
    }

    /// Makes all changes or none.
    pub fn apply(&self, changes: &[Change]) -> Result<(), JournalError> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        for change in changes {
            match change {
                Change::Put { space, id, value } => transaction
                    .prepare_cached(
                        "INSERT INTO kept (space, id, value) VALUES (?1, ?2, ?3)
                         ON CONFLICT (space, id) DO UPDATE SET value = excluded.value",
                    )?
                    .execute(params![space, id, value])?,
                Change::Delete { space, id } => {
                    transaction.prepare_cached("DELETE FROM kept WHERE space = ?1 AND id = ?2")?.execute(params![space, id])?
                }
            };
        }
        transaction.commit()?;
        Ok(())
    }

    fn prepare(connection: Connection) -> Result<Journal, JournalError> {
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS kept (
                 number INTEGER PRIMARY KEY AUTOINCREMENT,
                 space TEXT NOT NULL,
                 id TEXT NOT NULL,
                 value TEXT NOT NULL,
                 UNIQUE (space, id)
             )",
        )?;
        Ok(Journal { connection: Arc::new(Lock::new(connection)) })
    }

    fn lock(&self) -> Guard<'_, Connection> {
        // A transaction of a thread that panicked was rolled back when it was dropped.
        self.connection.lock()
    }
}
