//! The embedded AWS services of the stack: DynamoDB (dynoxide), Secrets Manager, SQS and S3 (winterbaume). Each has a loopback port that an
//! ordinary AWS SDK can use. On disk, everything acknowledged survives SIGKILL. In memory, nothing is kept.

mod batch;
mod create;
pub mod objects;
pub mod queues;
mod secrets;
mod server;
mod signature;
mod table;
mod tokens;
mod trim;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use dynoxide::Database;
use dynoxide::actions::{get_records::GetRecordsRequest, get_shard_iterator::GetShardIteratorRequest};
use serde_json::Value;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{
    catcher::Catcher,
    iam::{self, Guard},
    journal::{Journal, JournalError},
    mailbox::Mailbox,
    phones::Phones,
    template::{Template, TemplateError},
};

use objects::Objects;
use queues::Queues;
use secrets::Secrets;
use signature::Keyring;
use trim::Trimmer;

/// The region that the embedded services report.
pub const REGION: &str = "us-east-1";
pub const ACCOUNT: &str = winterbaume_core::state::DEFAULT_ACCOUNT_ID;

#[derive(Debug, thiserror::Error)]
pub enum AwsError {
    #[error("{path} cannot be used for data: {problem}", path = path.display())]
    Directory { path: PathBuf, problem: String },
    #[error("the embedded table failed: {0}")]
    Table(#[from] dynoxide::DynoxideError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error("the embedded services cannot listen on loopback: {0}")]
    Listen(#[from] std::io::Error),
    #[error("the table `{0}` on disk was made from another definition than template.yaml now has; use another data directory or delete it")]
    Definition(String),
    #[error("an embedded service refused: {0}")]
    Service(String),
}

/// Where the data is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    Memory,
    /// A directory, created if it does not exist.
    Disk(PathBuf),
}

/// The running services. They have their own runtime, so they may outlive the task (or test) that started them. Dropping the last clone
/// stops them.
#[derive(Clone)]
pub struct Aws {
    running: Arc<Running>,
}

struct Running {
    database: Database,
    /// Where the data is on disk.
    trimmer: Option<Trimmer>,
    queues: Queues,
    objects: Objects,
    secrets: Arc<Secrets>,
    mailbox: Mailbox,
    phones: Phones,
    catcher: Catcher,
    journal: Journal,
    keyring: Keyring,
    table_address: SocketAddr,
    service_address: SocketAddr,
    /// The runtime of the services.
    runtime: tokio::runtime::Handle,
    /// The guard before the table, and its address.
    guard: OnceLock<(Guard, SocketAddr)>,
    stop: watch::Sender<bool>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl Aws {
    /// Opens the data and listens. Blocks for a short time.
    pub fn start(storage: Storage) -> Result<Aws, AwsError> {
        let (database, trimmer, journal) = open(&storage)?;
        let (started, wait) = std::sync::mpsc::channel();
        std::thread::Builder::new().name("embedded-aws".to_owned()).spawn(move || {
            let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(AwsError::Listen(error)))),
            };
            runtime.block_on(async {
                match listen(database, trimmer, journal).await {
                    Ok((running, mut stopped, _servers)) => {
                        drop(started.send(Ok(running)));
                        // An error means that the sender was dropped, which also means the end.
                        drop(stopped.wait_for(|stopped| *stopped).await);
                    }
                    Err(error) => drop(started.send(Err(error))),
                }
            });
            runtime.shutdown_background();
        })?;
        let running = wait.recv().map_err(|_| AwsError::Service("it ended while starting".to_owned()))??;
        Ok(Aws { running: Arc::new(running) })
    }

    /// Creates the resources of the template that do not exist yet.
    pub async fn create(&self, template: &Template) -> Result<(), AwsError> {
        create::tables(&self.running.database, &self.running.journal, template)?;
        create::queues(&self.running.queues, template)?;
        create::buckets(&self.running.objects, template).await?;
        self.running.mailbox.publish_to(self.running.queues.clone(), template.mail_reports()?);
        self.running.mailbox.receive_by(self.running.queues.clone(), template.mail_reception()?);
        self.running.phones.publish_to(self.running.queues.clone(), template.message_notices()?);
        create::secrets(&self.running.secrets, template).await
    }

    /// Puts IAM before the table, with the roles and policies of the template. From now on the table's address is the guard's, and each
    /// function has its own access key.
    pub async fn guard(&self, template: &Template) -> Result<Guard, AwsError> {
        let guard = Guard::new(template, format!("http://{}", self.running.table_address)).map_err(AwsError::Service)?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?.into_std()?;
        let address = listener.local_addr()?;
        let router = guard.router();
        self.running.runtime.spawn(async move {
            let served = async { axum::serve(TcpListener::from_std(listener)?, router).await };
            if let Err(error) = served.await {
                eprintln!("the embedded IAM stopped: {error}");
            }
        });
        self.running.guard.set((guard.clone(), address)).map_err(|_| AwsError::Service("the table is guarded already".to_owned()))?;
        Ok(guard)
    }

    /// From now on the services only answer requests signed with the credentials of `environment`, which nobody else can guess. Until then
    /// they accept any signature, because tests call them directly.
    pub fn require_signatures(&self) {
        self.running.keyring.require();
    }

    pub fn dynamodb_url(&self) -> String {
        format!("http://{}", self.running.guard.get().map_or(self.running.table_address, |(_, address)| *address))
    }

    pub fn secrets_manager_url(&self) -> String {
        format!("http://{}", self.running.service_address)
    }

    pub fn s3_url(&self) -> String {
        format!("http://{}", self.running.service_address)
    }

    pub fn sqs_url(&self) -> String {
        format!("http://{}", self.running.service_address)
    }

    /// Endpoints, region and credentials for an AWS SDK, and the mailbox.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let [access_key, secret, token] = self.running.keyring.credentials();
        let pairs = [
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_DEFAULT_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", access_key),
            ("AWS_SECRET_ACCESS_KEY", secret),
            ("AWS_SESSION_TOKEN", token),
            // Calls to services that are not embedded are refused on loopback and never reach the network.
            ("AWS_ENDPOINT_URL", self.sqs_url()),
            ("AWS_ENDPOINT_URL_DYNAMODB", self.dynamodb_url()),
            ("AWS_ENDPOINT_URL_S3", self.s3_url()),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", self.secrets_manager_url()),
            ("AWS_ENDPOINT_URL_SQS", self.sqs_url()),
            ("MAILBOX_URL", self.mailbox_url()),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The environment of every function of the template, with its resources resolved to the embedded ones.
    pub fn function_environments(&self, template: &Template) -> Result<BTreeMap<String, BTreeMap<String, String>>, AwsError> {
        let template = template.clone().with_queue_url_base(&self.sqs_url());
        let functions = template.functions()?;
        Ok(functions
            .into_iter()
            .map(|function| {
                let mut environment = self.environment();
                if let Some((_, address)) = self.running.guard.get() {
                    environment.insert("AWS_ACCESS_KEY_ID".to_owned(), iam::access_key(&function.name));
                    environment.insert("AWS_ENDPOINT_URL_STS".to_owned(), format!("http://{address}"));
                }
                environment.extend(function.environment);
                (function.name, environment)
            })
            .collect())
    }

    /// The table itself, to read it without a network.
    pub fn database(&self) -> &Database {
        &self.running.database
    }

    pub fn queues(&self) -> &Queues {
        &self.running.queues
    }

    pub fn objects(&self) -> &Objects {
        &self.running.objects
    }

    pub fn mailbox(&self) -> &Mailbox {
        &self.running.mailbox
    }

    pub fn phones(&self) -> &Phones {
        &self.running.phones
    }

    pub fn catcher(&self) -> &Catcher {
        &self.running.catcher
    }

    /// The address for posting mails.
    pub fn mailbox_url(&self) -> String {
        format!("http://{}/mailbox", self.running.service_address)
    }

    pub fn journal(&self) -> &Journal {
        &self.running.journal
    }

    /// The current values of all secrets, by name.
    pub async fn secret_values(&self) -> BTreeMap<String, Option<String>> {
        self.running.secrets.values().await
    }

    /// Deletes expired items, as DynamoDB does after some time. Returns the number of deleted items.
    pub fn sweep_ttl(&self) -> Result<usize, AwsError> {
        Ok(self.running.database.sweep_ttl()?)
    }

    /// Forgets some of what was read of a table's stream, up to and with the record of this sequence number; gives whether there may be more.
    /// In memory all stays: two connections to one memory refuse each other, and it is gone at the end.
    pub fn trim_stream(&self, table: &str, read: &str) -> Result<bool, AwsError> {
        let Some(trimmer) = &self.running.trimmer else { return Ok(false) };
        Ok(trimmer.step(&self.running.database, table, read)? == trim::STEP)
    }

    /// What happened to a table after the record of this sequence number, or at all if it is empty: records of its stream, in the order in which
    /// they were written, transactions one after the other. For tests that follow every single write.
    pub fn records_after(&self, table: &str, sequence_number: &str) -> Result<Vec<Value>, AwsError> {
        let database = &self.running.database;
        let iterator = database.get_shard_iterator(GetShardIteratorRequest {
            stream_arn: dynoxide::streams::stream_arn(table, "local"),
            shard_id: dynoxide::streams::shard_id(table),
            shard_iterator_type: if sequence_number.is_empty() { "TRIM_HORIZON" } else { "AFTER_SEQUENCE_NUMBER" }.to_owned(),
            sequence_number: Some(sequence_number.to_owned()).filter(|number| !number.is_empty()),
        })?;
        let (mut records, mut next) = (vec![], iterator.shard_iterator);
        while let Some(shard_iterator) = next {
            let page = database.get_records(GetRecordsRequest { shard_iterator, limit: None })?;
            if page.records.is_empty() {
                break;
            }
            for record in page.records {
                records.push(serde_json::to_value(record).map_err(JournalError::from)?);
            }
            next = page.next_shard_iterator;
        }
        Ok(records)
    }

    /// All items of a table as DynamoDB JSON, in key order; for byte-for-byte comparisons.
    pub fn items(&self, table: &str) -> Result<Vec<Value>, AwsError> {
        let mut items = Vec::new();
        let mut start = Value::Null;
        loop {
            let request = serde_json::json!({ "TableName": table, "ConsistentRead": true, "ExclusiveStartKey": start });
            let page = self.scan(request)?;
            items.extend(page["Items"].as_array().cloned().unwrap_or_default());
            match page.get("LastEvaluatedKey") {
                Some(key) if !key.is_null() => start = key.clone(),
                _ => break,
            }
        }
        items.sort_by_cached_key(|item| (item["pk"].to_string(), item["sk"].to_string()));
        Ok(items)
    }

    /// One item as DynamoDB JSON.
    pub fn item(&self, table: &str, pk: &str, sk: &str) -> Result<Option<Value>, AwsError> {
        let request = serde_json::json!({ "TableName": table, "Key": { "pk": { "S": pk }, "sk": { "S": sk } }, "ConsistentRead": true });
        let request = serde_json::from_value(request).map_err(JournalError::from)?;
        let response = self.running.database.get_item(request)?;
        let mut response = serde_json::to_value(response).map_err(JournalError::from)?;
        Ok(response.get_mut("Item").map(Value::take).filter(|item| !item.is_null()))
    }

    /// One page of a scan, with the API's JSON as input and output.
    pub fn scan(&self, mut request: Value) -> Result<Value, AwsError> {
        if let Some(object) = request.as_object_mut() {
            object.retain(|_, value| !value.is_null());
        }
        let request = serde_json::from_value(request).map_err(JournalError::from)?;
        let response = self.running.database.scan(request)?;
        Ok(serde_json::to_value(response).map_err(JournalError::from)?)
    }
}

fn open(storage: &Storage) -> Result<(Database, Option<Trimmer>, Journal), AwsError> {
    let Storage::Disk(directory) = storage else {
        static OPENED: AtomicU64 = AtomicU64::new(0);
        // A name, so that a second connection opens the same memory.
        let name = format!("file:table-{}?mode=memory&cache=shared", OPENED.fetch_add(1, Ordering::Relaxed));
        return Ok((open_table(&name)?.0, None, Journal::memory()?));
    };
    let unusable = |problem: String| AwsError::Directory { path: directory.clone(), problem };
    std::fs::create_dir_all(directory).map_err(|error| unusable(error.to_string()))?;
    let table = directory.join("table.sqlite3");
    let (table, beside) = open_table(table.to_str().ok_or_else(|| unusable("its path is not Unicode".to_owned()))?)?;
    let trimmer = Trimmer::new(beside).map_err(JournalError::from)?;
    let journal = Journal::open(&directory.join("stack.sqlite3"))?;
    Ok((table, Some(trimmer), journal))
}

/// With an index on the stream that dynoxide does without: every write looks for the last sequence number, and would read all of the stream
/// for it. The connection that made it comes along.
fn open_table(path: &str) -> Result<(Database, rusqlite::Connection), AwsError> {
    let database = Database::new(path)?;
    let beside = rusqlite::Connection::open(path).map_err(JournalError::from)?;
    beside
        .execute_batch("CREATE INDEX IF NOT EXISTS stream_sequence ON _stream_records (table_name, CAST(sequence_number AS INTEGER))")
        .map_err(JournalError::from)?;
    Ok((database, beside))
}

async fn listen(
    database: Database,
    trimmer: Option<Trimmer>,
    journal: Journal,
) -> Result<(Running, watch::Receiver<bool>, JoinSet<()>), AwsError> {
    let secrets = Secrets::open(journal.clone()).await?;
    let queues = Queues::open(journal.clone())?;
    let objects = Objects::open(journal.clone());
    let (stop, stopped) = watch::channel(false);

    let table_listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let table_address = table_listener.local_addr()?;
    let mut servers = JoinSet::new();
    let keyring = Keyring::default();
    servers.spawn(table::serve(table_listener, database.clone(), keyring.clone()));

    let services = TcpListener::bind(("127.0.0.1", 0)).await?;
    let service_address = services.local_addr()?;
    let mailbox = Mailbox::open(journal.clone());
    let phones = Phones::open(journal.clone(), &format!("http://{service_address}/phones"))?;
    let catcher = Catcher::open(journal.clone())?;
    let beside = mailbox.router().merge(phones.router());
    servers.spawn(server::serve(services, secrets.clone(), queues.clone(), objects.clone(), phones.clone(), beside, keyring.clone()));

    let runtime = tokio::runtime::Handle::current();
    let running = Running {
        database,
        trimmer,
        queues,
        objects,
        secrets,
        mailbox,
        phones,
        catcher,
        journal,
        keyring,
        table_address,
        service_address,
        runtime,
        guard: OnceLock::new(),
        stop,
    };
    Ok((running, stopped, servers))
}

#[cfg(test)]
mod tests;
