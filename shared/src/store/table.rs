//! The table, call by call. Every call asks for its consumed capacity and adds it to the request's meter. Every failure is either "try
//! again" or "our fault". Keys are complete when they arrive here, because the caller came through a door.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Config;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{
    AttributeValue, ConsumedCapacity, KeysAndAttributes, ReturnConsumedCapacity, ReturnValue, TransactWriteItem,
};

use futures_util::future::{try_join, try_join_all};

use crate::error::{Cause, Error, Result};
use crate::lock::{Guard, Lock};
use crate::store::sessions::{Sessions, Tenants};

pub type Item = HashMap<String, AttributeValue>;

/// A full primary key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FullKey {
    pub pk: String,
    pub sk: String,
}

impl FullKey {
    pub(crate) fn attributes(self) -> Item {
        Item::from([("pk".into(), AttributeValue::S(self.pk)), ("sk".into(), AttributeValue::S(self.sk))])
    }
}

/// What a request consumed. Shared by all stores of one request.
#[derive(Debug, Default)]
pub struct Meter {
    calls: AtomicU32,
    in_flight: AtomicU32,
    round_trips: AtomicU32,
    /// When the calls in flight began to be more than none.
    busy_since: Lock<Option<Instant>>,
    /// How long some call was in flight, in microseconds.
    busy: AtomicU64,
    /// In thousandths of a unit, because capacity comes in halves.
    read_units: AtomicU64,
    write_units: AtomicU64,
}

/// The values of a meter.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Metered {
    pub calls: u32,
    /// Calls that ran in parallel count once.
    pub round_trips: u32,
    /// How long at least one call was in flight.
    pub milliseconds: f64,
    pub read_units: f64,
    pub write_units: f64,
}

/// The sum of what several requests consumed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Consumed {
    pub requests: u64,
    pub read_milliunits: u64,
    pub write_milliunits: u64,
    pub compute_micros: u64,
    /// Computing time multiplied by memory, in GB-microseconds. This is what Lambda bills.
    pub gb_micros: u64,
}

impl Consumed {
    pub fn plus(&mut self, other: Consumed) {
        self.requests += other.requests;
        self.read_milliunits += other.read_milliunits;
        self.write_milliunits += other.write_milliunits;
        self.compute_micros += other.compute_micros;
        self.gb_micros += other.gb_micros;
    }

    pub fn add(&mut self, metered: Metered, micros: u64, memory_mb: u64) {
        self.requests += 1;
        self.read_milliunits += (metered.read_units * 1000.0).round() as u64;
        self.write_milliunits += (metered.write_units * 1000.0).round() as u64;
        self.compute_micros += micros;
        self.gb_micros += micros * memory_mb / 1024;
    }
}

/// A handle to the table. It reports to one meter.
#[derive(Clone)]
pub struct Table {
    client: Client,
    name: Arc<str>,
    meter: Arc<Meter>,
    /// Set where each tenant's data is reached with the tenant's own credentials.
    sessions: Option<Arc<Sessions>>,
    /// The tenants whose credentials the calls use. Without tenants or without sessions: the function's own credentials.
    acts_for: Option<Tenants>,
}

pub(crate) struct Query {
    pub pk: String,
    /// Only sort keys that begin with this text.
    pub prefix: String,
    pub index: Option<&'static str>,
    pub forward: bool,
    pub consistent: bool,
    /// Continue after this sort key.
    pub after: Option<String>,
    pub limit: Option<i32>,
    /// The attributes to read; all of them if `None`.
    pub attributes: Option<Vec<&'static str>>,
}

/// A write's condition failed. Holds the existing item, if there is one.
pub struct Refused(pub Option<Item>);

impl Meter {
    pub fn read(&self) -> Metered {
        Metered {
            calls: self.calls.load(Ordering::Relaxed),
            round_trips: self.round_trips.load(Ordering::Relaxed),
            milliseconds: self.busy.load(Ordering::Relaxed) as f64 / 1000.0,
            read_units: self.read_units.load(Ordering::Relaxed) as f64 / 1000.0,
            write_units: self.write_units.load(Ordering::Relaxed) as f64 / 1000.0,
        }
    }

    fn start(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.in_flight.fetch_add(1, Ordering::Relaxed) == 0 {
            self.round_trips.fetch_add(1, Ordering::Relaxed);
            *self.since() = Some(Instant::now());
        }
    }

    fn finish(&self) {
        if self.in_flight.fetch_sub(1, Ordering::Relaxed) == 1
            && let Some(since) = self.since().take()
        {
            self.busy.fetch_add(u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    fn since(&self) -> Guard<'_, Option<Instant>> {
        self.busy_since.lock()
    }

    fn reads(&self, capacity: Option<&ConsumedCapacity>) {
        self.read_units.fetch_add(thousandths(capacity), Ordering::Relaxed);
    }

    fn writes(&self, capacity: Option<&ConsumedCapacity>) {
        self.write_units.fetch_add(thousandths(capacity), Ordering::Relaxed);
    }
}

fn thousandths(capacity: Option<&ConsumedCapacity>) -> u64 {
    (capacity.and_then(|capacity| capacity.capacity_units).unwrap_or(0.0) * 1000.0).round() as u64
}

/// Marks the end of a call in the meter, even if its future is dropped.
struct InFlight<'a>(&'a Meter);

impl<'a> InFlight<'a> {
    fn new(meter: &'a Meter) -> Self {
        meter.start();
        InFlight(meter)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.finish();
    }
}

/// Sends a request with the credentials that the table acts with.
macro_rules! send {
    ($table:expr, $request:expr) => {
        match $table.credentials().await? {
            None => $request.send().await,
            Some(credentials) => $request.customize().config_override(Config::builder().credentials_provider(credentials)).send().await,
        }
    };
}

/// Lets a builder write on a condition alone, and tell the item as it was where that failed. The SDK's builders have no trait in common.
macro_rules! on_condition {
    ($builder:expr, $condition:expr) => {
        $builder
            .condition_expression(&$condition.expression)
            .set_expression_attribute_names($condition.names())
            .set_expression_attribute_values($condition.values())
            .return_values_on_condition_check_failure(aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure::AllOld)
    };
}
pub(crate) use on_condition;

/// DynamoDB reads no more keys with one request.
const MOST_KEYS: usize = 100;

impl Table {
    pub(crate) fn new(client: Client, name: &str, sessions: Option<Sessions>) -> Self {
        Table { client, name: name.into(), meter: Arc::default(), sessions: sessions.map(Arc::new), acts_for: None }
    }

    /// The same table with a new meter.
    pub(crate) fn metered(&self) -> Self {
        Table { meter: Arc::default(), ..self.clone() }
    }

    /// The same table with the credentials of these tenants, if tenants have their own.
    pub(crate) fn acting_for(&self, tenants: Tenants) -> Self {
        Table { acts_for: Some(tenants), ..self.clone() }
    }

    fn acting_as_itself(&self) -> Self {
        Table { acts_for: None, ..self.clone() }
    }

    pub(crate) fn has_sessions(&self) -> bool {
        self.sessions.is_some()
    }

    /// `None` means the function's own credentials, which the client already has.
    async fn credentials(&self) -> Result<Option<Credentials>> {
        match (&self.sessions, self.acts_for) {
            (Some(sessions), Some(tenants)) => sessions.of(tenants).await.map(Some),
            _ => Ok(None),
        }
    }

    pub(crate) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    pub(crate) async fn get(&self, key: FullKey, consistent: bool) -> Result<Option<Item>> {
        let _in_flight = InFlight::new(&self.meter);
        let request = self
            .client
            .get_item()
            .table_name(&*self.name)
            .set_key(Some(key.attributes()))
            .consistent_read(consistent)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let output = send!(self, request).map_err(|error| failure("reading an item", error))?;
        self.meter.reads(output.consumed_capacity());
        Ok(output.item)
    }

    /// Consistent reads of several items, in the given order. Missing items are `None`. The keys may mix a tenant's items with items of
    /// the directory. If the tenant has its own credentials, directory items are read in parallel with the function's credentials.
    pub(crate) async fn get_many(&self, keys: &[FullKey]) -> Result<Vec<Option<Item>>> {
        self.get_of(keys, None).await
    }

    /// The same for some attributes, or for all if none are named.
    pub(crate) async fn get_of(&self, keys: &[FullKey], attributes: Option<&[&'static str]>) -> Result<Vec<Option<Item>>> {
        if self.sessions.is_none() || self.acts_for.is_none() {
            return self.get_batch(keys, attributes).await;
        }
        let in_directory = |key: &FullKey| key.pk.starts_with("G#");
        let (general, own): (Vec<FullKey>, Vec<FullKey>) = keys.iter().cloned().partition(in_directory);
        let itself = self.acting_as_itself();
        let (general, own) = Box::pin(try_join(itself.get_batch(&general, attributes), self.get_batch(&own, attributes))).await?;
        let (mut general, mut own) = (general.into_iter(), own.into_iter());
        Ok(keys.iter().map(|key| if in_directory(key) { general.next() } else { own.next() }.flatten()).collect())
    }

    async fn get_batch(&self, keys: &[FullKey], attributes: Option<&[&'static str]>) -> Result<Vec<Option<Item>>> {
        if keys.len() > MOST_KEYS {
            let parts = keys.chunks(MOST_KEYS).map(|some| Box::pin(self.get_batch(some, attributes)));
            return Ok(try_join_all(parts).await?.concat());
        }
        let mut found: HashMap<FullKey, Item> = HashMap::with_capacity(keys.len());
        let mut distinct: Vec<&FullKey> = Vec::with_capacity(keys.len());
        for key in keys {
            if !distinct.contains(&key) {
                distinct.push(key);
            }
        }
        if distinct.is_empty() {
            return Ok(vec![]);
        }
        if let [single] = distinct[..] {
            let item = self.get(single.clone(), true).await?;
            return Ok(keys.iter().map(|_| item.clone()).collect());
        }
        let repeated = distinct.len() < keys.len();
        let _in_flight = InFlight::new(&self.meter);
        let wanted = distinct.into_iter().map(|key| key.clone().attributes()).collect();
        let with_keys = |attributes: &[&'static str]| {
            let others = attributes.iter().copied().filter(|name| !matches!(*name, "pk" | "sk"));
            projection(&["pk", "sk"].into_iter().chain(others).collect::<Vec<_>>())
        };
        let (expression, names) = attributes.map(with_keys).unzip();
        let mut wanted = Some(
            KeysAndAttributes::builder()
                .set_keys(Some(wanted))
                .set_projection_expression(expression)
                .set_expression_attribute_names(names)
                .consistent_read(true)
                .build()
                .map_err(|error| Error::internal("building a batch read", error))?,
        );
        let mut attempts = 0;
        while let Some(batch) = wanted.take() {
            let request =
                self.client.batch_get_item().request_items(&*self.name, batch).return_consumed_capacity(ReturnConsumedCapacity::Total);
            let output = send!(self, request).map_err(|error| failure("reading items", error))?;
            output.consumed_capacity().iter().for_each(|capacity| self.meter.reads(Some(capacity)));
            for item in output.responses.unwrap_or_default().remove(&*self.name).unwrap_or_default() {
                found.insert(FullKey { pk: text(&item, "pk"), sk: text(&item, "sk") }, item);
            }
            wanted = output.unprocessed_keys.unwrap_or_default().remove(&*self.name);
            if wanted.is_some() {
                attempts += 1;
                if attempts == 4 {
                    return Err(unavailable("reading items", "keys stayed unprocessed"));
                }
                tokio::time::sleep(std::time::Duration::from_millis(20 << attempts)).await;
            }
        }
        Ok(keys.iter().map(|key| if repeated { found.get(key).cloned() } else { found.remove(key) }).collect())
    }

    /// One page of a partition, and the sort key after which the next page begins, if there is one.
    pub(crate) async fn query(&self, query: Query) -> Result<(Vec<Item>, Option<String>)> {
        let _in_flight = InFlight::new(&self.meter);
        let (pk, sk) = if query.index.is_some() { ("lpk", "lsk") } else { ("pk", "sk") };
        let mut request = self
            .client
            .query()
            .table_name(&*self.name)
            .set_index_name(query.index.map(Into::into))
            .expression_attribute_names("#pk", pk)
            .expression_attribute_values(":pk", AttributeValue::S(query.pk.clone()))
            .scan_index_forward(query.forward)
            .consistent_read(query.consistent)
            .set_limit(query.limit)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        request = if query.prefix.is_empty() {
            request.key_condition_expression("#pk = :pk")
        } else {
            request
                .key_condition_expression("#pk = :pk AND begins_with(#sk, :prefix)")
                .expression_attribute_names("#sk", sk)
                .expression_attribute_values(":prefix", AttributeValue::S(query.prefix.clone()))
        };
        if let Some(attributes) = &query.attributes {
            let (expression, names) = projection(attributes);
            request = request.projection_expression(expression);
            for (placeholder, name) in names {
                request = request.expression_attribute_names(placeholder, name);
            }
        }
        if let Some(after) = query.after {
            // An index entry contains the keys of its item, so a sort key is enough to continue in both.
            if query.index.is_some() {
                request = request
                    .exclusive_start_key("lpk", AttributeValue::S(query.pk.clone()))
                    .exclusive_start_key("lsk", AttributeValue::S(after.clone()));
            }
            request = request.exclusive_start_key("pk", AttributeValue::S(query.pk)).exclusive_start_key("sk", AttributeValue::S(after));
        }
        let output = send!(self, request).map_err(|error| failure("listing items", error))?;
        self.meter.reads(output.consumed_capacity());
        let next = output.last_evaluated_key.as_ref().map(|key| text(key, "sk"));
        Ok((output.items.unwrap_or_default(), next))
    }

    /// `condition` over `names` and `values` must hold. Otherwise the existing item is returned.
    pub(crate) async fn put(&self, item: Item, condition: Option<&Condition>) -> Result<Result<(), Refused>> {
        let _in_flight = InFlight::new(&self.meter);
        let mut request =
            self.client.put_item().table_name(&*self.name).set_item(Some(item)).return_consumed_capacity(ReturnConsumedCapacity::Total);
        if let Some(condition) = condition {
            request = on_condition!(request, condition);
        }
        match send!(self, request) {
            Ok(output) => {
                self.meter.writes(output.consumed_capacity());
                Ok(Ok(()))
            }
            Err(error) => refused(error, "writing an item", |error| match error {
                aws_sdk_dynamodb::operation::put_item::PutItemError::ConditionalCheckFailedException(refused) => Some(refused.item),
                _ => None,
            }),
        }
    }

    pub(crate) async fn delete(&self, key: FullKey, condition: Option<&Condition>) -> Result<Result<(), Refused>> {
        let _in_flight = InFlight::new(&self.meter);
        let mut request = self
            .client
            .delete_item()
            .table_name(&*self.name)
            .set_key(Some(key.attributes()))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        if let Some(condition) = condition {
            request = on_condition!(request, condition);
        }
        match send!(self, request) {
            Ok(output) => {
                self.meter.writes(output.consumed_capacity());
                Ok(Ok(()))
            }
            Err(error) => refused(error, "deleting an item", |error| match error {
                aws_sdk_dynamodb::operation::delete_item::DeleteItemError::ConditionalCheckFailedException(refused) => Some(refused.item),
                _ => None,
            }),
        }
    }

    /// Adds to a number and returns the new value. Creates the item if it does not exist, with `ttl` (epoch seconds) if one is given.
    pub(crate) async fn add(&self, key: FullKey, attribute: &str, by: u64, ttl: Option<i64>) -> Result<u64> {
        let updated = self.update("counting", key, &[], &[(attribute, by)], ttl).await?;
        number(&updated, attribute).ok_or_else(|| Error::internal("counting", "the counter came back without its number"))
    }

    /// Sets text attributes of an item and adds to number attributes. Other attributes stay as they are. Creates the item if it does not
    /// exist; the first `ttl` (epoch seconds) stays. Returns the updated attributes.
    pub(crate) async fn update(
        &self,
        doing: &'static str,
        key: FullKey,
        sets: &[(&str, String)],
        adds: &[(&str, u64)],
        ttl: Option<i64>,
    ) -> Result<Item> {
        let updated = self.update_if(doing, key, sets, adds, ttl, None).await?;
        updated.map_err(|_| Error::internal(doing, "a write without a condition was refused"))
    }

    /// The same with a condition. The condition must not name attributes.
    pub(crate) async fn update_if(
        &self,
        doing: &'static str,
        key: FullKey,
        sets: &[(&str, String)],
        adds: &[(&str, u64)],
        ttl: Option<i64>,
        condition: Option<&Condition>,
    ) -> Result<Result<Item, Refused>> {
        let _in_flight = InFlight::new(&self.meter);
        let mut request = self
            .client
            .update_item()
            .table_name(&*self.name)
            .set_key(Some(key.attributes()))
            .return_values(ReturnValue::UpdatedNew)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let (mut set, mut added) = (vec![], vec![]);
        for (index, (attribute, text)) in sets.iter().enumerate() {
            set.push(format!("#s{index} = :s{index}"));
            request = request
                .expression_attribute_names(format!("#s{index}"), *attribute)
                .expression_attribute_values(format!(":s{index}"), AttributeValue::S(text.clone()));
        }
        if let Some(ttl) = ttl {
            set.push("#ttl = if_not_exists(#ttl, :ttl)".to_owned());
            request =
                request.expression_attribute_names("#ttl", "ttl").expression_attribute_values(":ttl", AttributeValue::N(ttl.to_string()));
        }
        for (index, (attribute, by)) in adds.iter().enumerate() {
            added.push(format!("#a{index} :a{index}"));
            request = request
                .expression_attribute_names(format!("#a{index}"), *attribute)
                .expression_attribute_values(format!(":a{index}"), AttributeValue::N(by.to_string()));
        }
        let clause = |verb: &str, parts: &[String]| if parts.is_empty() { String::new() } else { format!("{verb} {} ", parts.join(", ")) };
        let request = request
            .update_expression(clause("SET", &set) + &clause("ADD", &added))
            .set_condition_expression(condition.map(|condition| condition.expression.clone()));
        match send!(self, request) {
            Ok(output) => {
                self.meter.writes(output.consumed_capacity());
                Ok(Ok(output.attributes.unwrap_or_default()))
            }
            Err(error) => refused(error, doing, |error| match error {
                aws_sdk_dynamodb::operation::update_item::UpdateItemError::ConditionalCheckFailedException(refused) => Some(refused.item),
                _ => None,
            })
            .map(|refused| refused.map(|()| Item::new())),
        }
    }

    /// `None` if everything was written. Otherwise, for each action, its failed condition, if it failed.
    pub(crate) async fn transact(&self, actions: Vec<TransactWriteItem>, token: &str) -> Result<Option<Vec<Option<Refused>>>> {
        let _in_flight = InFlight::new(&self.meter);
        let request = self
            .client
            .transact_write_items()
            .set_transact_items(Some(actions))
            .client_request_token(token)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let error = match send!(self, request) {
            Ok(output) => {
                output.consumed_capacity().iter().for_each(|capacity| self.meter.writes(Some(capacity)));
                return Ok(None);
            }
            Err(error) => error,
        };
        use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError as Failure;
        let Some(Failure::TransactionCanceledException(cancelled)) = error.as_service_error() else {
            return Err(failure("writing a transaction", error));
        };
        let reasons = cancelled.cancellation_reasons();
        let code = |reason: &aws_sdk_dynamodb::types::CancellationReason| reason.code().unwrap_or_default().to_owned();
        if reasons.iter().any(|reason| code(reason) == "ConditionalCheckFailed") {
            let refused = reasons.iter().map(|reason| (code(reason) == "ConditionalCheckFailed").then(|| Refused(reason.item.clone())));
            return Ok(Some(refused.collect()));
        }
        let busy = ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"];
        if reasons.iter().any(|reason| busy.contains(&code(reason).as_str())) {
            return Err(unavailable("writing a transaction", "another transaction is at the same items"));
        }
        Err(failure("writing a transaction", error))
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// Placeholders for the words that a condition compares with.
const WORDS: [&str; 4] = [":w0", ":w1", ":w2", ":w3"];

/// A condition expression with its names and values.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    pub expression: String,
    pub names: Vec<(&'static str, &'static str)>,
    pub values: Vec<(&'static str, AttributeValue)>,
}

impl Condition {
    pub(crate) fn absent() -> Self {
        Condition { expression: "attribute_not_exists(pk)".into(), names: vec![], values: vec![] }
    }

    pub(crate) fn present() -> Self {
        Condition { expression: "attribute_exists(pk)".into(), names: vec![], values: vec![] }
    }

    /// The record exists and the attribute has this value.
    pub(crate) fn held_by(attribute: &'static str, value: &str) -> Self {
        Condition {
            expression: "#holder = :holder".into(),
            names: vec![("#holder", attribute)],
            values: vec![(":holder", AttributeValue::S(value.to_owned()))],
        }
    }

    /// The record exists with this number and one of these words.
    pub(crate) fn says(number: (&'static str, u64), word: &'static str, words: impl IntoIterator<Item = &'static str>) -> Self {
        let words: Vec<_> = WORDS.into_iter().zip(words).collect();
        let any = words.iter().map(|(value, _)| format!("#word = {value}")).collect::<Vec<_>>().join(" OR ");
        let mut values = vec![(":number", AttributeValue::N(number.1.to_string()))];
        values.extend(words.into_iter().map(|(value, word)| (value, AttributeValue::S(word.to_owned()))));
        Condition { expression: format!("#number = :number AND ({any})"), names: vec![("#number", number.0), ("#word", word)], values }
    }

    /// The record exists and the attribute is none of these words.
    pub(crate) fn says_not(word: &'static str, words: impl IntoIterator<Item = &'static str>) -> Self {
        let words: Vec<_> = WORDS.into_iter().zip(words).collect();
        let expression = words.iter().fold("attribute_exists(pk)".to_owned(), |all, (value, _)| format!("{all} AND #word <> {value}"));
        let values = words.into_iter().map(|(value, word)| (value, AttributeValue::S(word.to_owned()))).collect();
        Condition { expression, names: vec![("#word", word)], values }
    }

    /// The stored numbers have not changed. A record without such numbers only has to exist.
    pub(crate) fn unchanged(guard: &[(&'static str, u64)]) -> Self {
        if guard.is_empty() {
            return Condition::present();
        }
        const NAMES: [(&str, &str); 4] = [("#g0", ":g0"), ("#g1", ":g1"), ("#g2", ":g2"), ("#g3", ":g3")];
        let pairs = || guard.iter().zip(NAMES);
        Condition {
            expression: pairs().map(|(_, (name, value))| format!("{name} = {value}")).collect::<Vec<_>>().join(" AND "),
            names: pairs().map(|((attribute, _), (name, _))| (name, *attribute)).collect(),
            values: pairs().map(|((_, number), (_, value))| (value, AttributeValue::N(number.to_string()))).collect(),
        }
    }

    pub(crate) fn names(&self) -> Option<HashMap<String, String>> {
        let names: HashMap<_, _> = self.names.iter().map(|(name, attribute)| ((*name).to_owned(), (*attribute).to_owned())).collect();
        (!names.is_empty()).then_some(names)
    }

    pub(crate) fn values(&self) -> Option<Item> {
        let values: Item = self.values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        (!values.is_empty()).then_some(values)
    }
}

/// Attribute names as an expression, with the placeholders for them. Placeholders are needed because some names are reserved words of
/// DynamoDB.
fn projection(attributes: &[&str]) -> (String, HashMap<String, String>) {
    let placeholders: Vec<String> = (0..attributes.len()).map(|index| format!("#{index}")).collect();
    let expression = placeholders.join(",");
    (expression, placeholders.into_iter().zip(attributes.iter().map(|name| (*name).to_owned())).collect())
}

pub(crate) fn text(item: &Item, attribute: &str) -> String {
    borrowed(item, attribute).unwrap_or_default().to_owned()
}

pub(crate) fn borrowed<'a>(item: &'a Item, attribute: &str) -> Option<&'a str> {
    item.get(attribute)?.as_s().ok().map(String::as_str)
}

pub(crate) fn number(item: &Item, attribute: &str) -> Option<u64> {
    item.get(attribute)?.as_n().ok()?.parse().ok()
}

pub(crate) fn unavailable(doing: &'static str, cause: impl Into<Cause>) -> Error {
    Error::Unavailable { doing, cause: cause.into() }
}

fn refused<E, R>(
    error: SdkError<E, R>,
    doing: &'static str,
    condition: impl FnOnce(E) -> Option<Option<Item>>,
) -> Result<Result<(), Refused>>
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    if error.as_service_error().and_then(ProvideErrorMetadata::code) != Some("ConditionalCheckFailedException") {
        return Err(failure(doing, error));
    }
    match error {
        SdkError::ServiceError(context) => Ok(Err(Refused(condition(context.into_err()).flatten()))),
        other => Err(failure(doing, other)),
    }
}

/// Throttling, time-outs and lost connections can be tried again. All other failures are our fault.
pub(crate) fn failure<E, R>(doing: &'static str, error: SdkError<E, R>) -> Error
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    const TRANSIENT: [&str; 8] = [
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingException",
        "InternalServerError",
        "ServiceUnavailable",
        // A single write that met a transaction on the same item.
        "TransactionConflictException",
        "TransactionInProgressException",
    ];
    let transient = match &error {
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => true,
        other => other.as_service_error().and_then(ProvideErrorMetadata::code).is_some_and(|code| TRANSIENT.contains(&code)),
    };
    if transient { unavailable(doing, error) } else { Error::internal(doing, error) }
}
