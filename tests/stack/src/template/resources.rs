//! The resources of the template that the local stack implements, as plain types.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;

#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    pub logical_id: String,
    pub name: String,
    /// The body of a `CreateTable` call.
    pub definition: Value,
    pub ttl_attribute: Option<String>,
    /// The partition key attribute.
    pub hash_key: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    pub logical_id: String,
    pub name: String,
    pub arn: String,
    pub url: String,
    /// The attributes for `CreateQueue`, with the redrive policy.
    pub attributes: BTreeMap<String, String>,
    /// ARN of the dead-letter queue.
    pub dead_letters: Option<String>,
}

/// Where AWS End User Messaging says what becomes of messages, and what people write.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageNotices {
    pub configuration_set: String,
    /// The ARN of the topic.
    pub topic: String,
    /// The name of the queue.
    pub queue: String,
}

/// Where Amazon SES reports what becomes of a mail that is sent with a configuration set.
#[derive(Debug, Clone, PartialEq)]
pub struct MailReports {
    pub configuration_set: String,
    /// The kinds of events that are reported, as the template writes them: `delivery`, `bounce` …
    pub kinds: BTreeSet<String>,
    /// The name of the queue that gets them.
    pub queue: String,
}

/// Where Amazon SES puts the mails that it receives.
#[derive(Debug, Clone, PartialEq)]
pub struct MailReception {
    /// The domains whose mails are taken, and single addresses.
    pub recipients: Vec<String>,
    /// The bucket with the mails, and what their keys begin with.
    pub bucket: String,
    pub prefix: String,
    /// The ARN of the topic of notices, and the name of the queue that gets them.
    pub topic: String,
    pub queue: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Secret {
    pub logical_id: String,
    pub name: String,
    pub initial: InitialSecret,
    /// `Metadata.SplitFrom`: the name of the secret whose text this one takes over, if that secret exists.
    pub split_from: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum InitialSecret {
    /// Exists without a value until one is put.
    Empty,
    Text(String),
    Generated(GenerateSecretString),
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct GenerateSecretString {
    #[serde(default = "default_password_length", deserialize_with = "number")]
    pub password_length: i64,
    #[serde(default, deserialize_with = "flag")]
    pub exclude_punctuation: bool,
    #[serde(default, deserialize_with = "flag")]
    pub exclude_numbers: bool,
    #[serde(default, deserialize_with = "flag")]
    pub exclude_uppercase: bool,
    #[serde(default, deserialize_with = "flag")]
    pub exclude_lowercase: bool,
    #[serde(default, deserialize_with = "flag")]
    pub include_space: bool,
    /// Each allowed kind of character must appear, unless this is false. A generated text is generated again until that is so.
    #[serde(default = "yes", deserialize_with = "flag")]
    pub require_each_included_type: bool,
    #[serde(default)]
    pub exclude_characters: String,
    #[serde(default)]
    pub secret_string_template: Option<String>,
    #[serde(default)]
    pub generate_string_key: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    pub logical_id: String,
    /// The name of its crate and binary.
    pub name: String,
    pub timeout_seconds: i64,
    pub environment: BTreeMap<String, String>,
}

/// A role with the policies in the template. Managed policies, which are about logs and traces, are left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Role {
    pub logical_id: String,
    pub arn: String,
    /// Who may assume it.
    pub trust: Value,
    /// Policy documents.
    pub policies: Vec<Value>,
}

/// What the API allows pages of other origins.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cors {
    /// `*` is every origin.
    pub allow_origins: Vec<String>,
    #[serde(default)]
    pub allow_methods: Vec<String>,
    #[serde(default)]
    pub allow_headers: Vec<String>,
    #[serde(default)]
    pub expose_headers: Vec<String>,
    /// Seconds that a browser may cache the answer to a preflight.
    #[serde(default, deserialize_with = "optional_number")]
    pub max_age: Option<i64>,
    #[serde(default, deserialize_with = "flag")]
    pub allow_credentials: bool,
}

/// For the API as a whole, and for routes with their own throttle, by route key (`ANY /api/v1/demo`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Throttles {
    pub default: Option<Throttle>,
    pub routes: BTreeMap<String, Throttle>,
}

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Throttle {
    /// Requests per second.
    #[serde(rename = "ThrottlingRateLimit", deserialize_with = "number")]
    pub rate: i64,
    #[serde(rename = "ThrottlingBurstLimit", deserialize_with = "number")]
    pub burst: i64,
}

/// A route of the HTTP API.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    pub function: String,
    pub method: String,
    pub path: String,
}

impl Route {
    /// How closely the route matches a path, segment by segment: a fixed segment before a parameter before a greedy one. `None` if it does
    /// not match. API Gateway uses the closest route, and so does the local router.
    pub fn fit(&self, path: &str) -> Option<Vec<u8>> {
        let mut fit = vec![];
        let (mut pattern, mut segments) = (self.path.split('/').skip(1), path.split('/').skip(1));
        loop {
            match (pattern.next(), segments.next()) {
                (None, None) => return Some(fit),
                (Some(greedy), Some(segment)) if greedy.ends_with("+}") || greedy.starts_with("{*") => {
                    fit.push(0);
                    return (!segment.is_empty()).then_some(fit);
                }
                (Some(parameter), Some(segment)) if parameter.starts_with('{') => {
                    fit.push(1);
                    if segment.is_empty() {
                        return None;
                    }
                }
                (Some(fixed), Some(segment)) if fixed == segment => fit.push(2),
                _ => return None,
            }
        }
    }

    /// The closest of `routes` to a path.
    pub fn closest<'a>(routes: &'a [Route], path: &str) -> Option<&'a Route> {
        routes
            .iter()
            .filter_map(|route| Some((route.fit(path)?, route)))
            .max_by(|(left, _), (right, _)| left.cmp(right))
            .map(|(_, route)| route)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct StreamSource {
    pub function: String,
    pub table: String,
    pub arn: String,
    pub batch_size: usize,
    /// How many batches of a shard are delivered at the same time. Those of one partition key still follow each other.
    pub parallel: usize,
    pub bisect: bool,
    /// `None` retries until the record expires.
    pub retries: Option<u32>,
    pub maximum_age_seconds: Option<i64>,
    pub report_item_failures: bool,
    /// ARN of the queue that is informed about discarded records.
    pub on_failure: Option<String>,
    pub filters: Vec<Value>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct QueueSource {
    pub function: String,
    pub queue: String,
    pub arn: String,
    pub batch_size: usize,
    /// How many batches are handled at the same time, at most.
    pub at_once: Option<usize>,
    pub report_item_failures: bool,
    pub filters: Vec<Value>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    pub name: String,
    pub function: String,
    /// `rate(…)` or `cron(…)`.
    pub expression: String,
    pub input: Value,
}

/// CloudFormation also accepts numbers and booleans as text.
pub fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let value = Value::deserialize(deserializer)?;
    value.as_i64().or_else(|| value.as_str()?.parse().ok()).ok_or_else(|| D::Error::custom(format!("{value} is not a number")))
}

pub fn optional_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    number(deserializer).map(Some)
}

pub fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Bool(flag) => Ok(flag),
        Value::String(text) if text == "true" => Ok(true),
        Value::String(text) if text == "false" => Ok(false),
        other => Err(D::Error::custom(format!("{other} is not true or false"))),
    }
}

pub fn yes() -> bool {
    true
}

fn default_password_length() -> i64 {
    32
}
