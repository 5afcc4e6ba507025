//! Reads `template.yaml`, the only description of what runs on AWS. Returns what the local stack has to create and play: tables, queues,
//! secrets, buckets, event sources, schedules, and the environment of the functions.

mod intrinsics;
mod resources;
mod yaml;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

pub use resources::{
    Cors, Function, GenerateSecretString, InitialSecret, MailReception, MailReports, MessageNotices, Queue, QueueSource, Role, Route,
    Schedule, Secret, StreamSource, Table, Throttle, Throttles,
};

use intrinsics::{Resolver, scalar_text};
use resources::{flag, optional_number, yes};

#[derive(Debug, Clone, thiserror::Error, PartialEq)]
pub enum TemplateError {
    #[error("{path} cannot be read: {problem}", path = path.display())]
    File { path: PathBuf, problem: String },
    #[error("the template is not readable YAML: {0}")]
    Yaml(String),
    #[error("template: {at}: {problem}")]
    At { at: String, problem: String },
}

/// The region, account and names of the stack, from which names and ARNs are built.
#[derive(Debug, Clone, PartialEq)]
pub struct StackLocation {
    pub region: String,
    pub account: String,
    pub stack: String,
    /// A queue URL is this text, the account and the queue name.
    pub queue_url_base: String,
}

impl Default for StackLocation {
    fn default() -> Self {
        StackLocation {
            region: crate::aws::REGION.to_owned(),
            account: crate::aws::ACCOUNT.to_owned(),
            stack: "tenantry-local".to_owned(),
            queue_url_base: format!("https://sqs.{}.amazonaws.com", crate::aws::REGION),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Template {
    place: StackLocation,
    parameters: BTreeMap<String, Value>,
    /// Parameters that are lists, written with commas.
    lists: BTreeSet<String>,
    conditions: Map<String, Value>,
    mappings: Map<String, Value>,
    globals: Value,
    resources: Map<String, Value>,
}

impl Template {
    pub fn load(path: impl AsRef<Path>) -> Result<Template, TemplateError> {
        let path = path.as_ref();
        let text =
            std::fs::read_to_string(path).map_err(|error| TemplateError::File { path: path.to_owned(), problem: error.to_string() })?;
        Template::parse(&text)
    }

    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        let document = yaml::parse(text)?;
        let section = |name: &str| document[name].as_object().cloned().unwrap_or_default();
        let declared = section("Parameters");
        let lists =
            declared.iter().filter(|(_, parameter)| parameter["Type"] == "CommaDelimitedList").map(|(name, _)| name.clone()).collect();
        let template = Template {
            place: StackLocation::default(),
            parameters: BTreeMap::new(),
            lists,
            conditions: section("Conditions"),
            mappings: section("Mappings"),
            globals: document["Globals"].clone(),
            resources: section("Resources"),
        };
        // A parameter without a default must be set before it is used. Until then its `Ref` is an error that names it.
        let defaults = declared.into_iter().filter_map(|(name, parameter)| Some((name, parameter.get("Default")?.clone())));
        Ok(defaults.fold(template, |template, (name, default)| template.with(name, default)))
    }

    /// Overrides one parameter, as `--parameter-overrides` does.
    pub fn with_parameter(self, name: &str, value: &str) -> Template {
        self.with(name.to_owned(), value.into())
    }

    fn with(mut self, name: String, value: Value) -> Template {
        let value = match &value {
            Value::String(text) if self.lists.contains(&name) => text.split(',').map(|item| Value::from(item.trim())).collect(),
            _ => value,
        };
        self.parameters.insert(name, value);
        self
    }

    pub fn with_queue_url_base(mut self, base: &str) -> Template {
        self.place.queue_url_base = base.trim_end_matches('/').to_owned();
        self
    }

    /// A section as it is written, with intrinsics in their long form. For checks of parts that the local stack does not use.
    pub fn resources(&self) -> &Map<String, Value> {
        &self.resources
    }

    pub fn globals(&self) -> &Value {
        &self.globals
    }

    pub fn place(&self) -> &StackLocation {
        &self.place
    }

    pub fn tables(&self) -> Result<Vec<Table>, TemplateError> {
        self.of_type("AWS::DynamoDB::Table")?
            .into_iter()
            .map(|logical_id| {
                let mut definition = self.properties(&logical_id)?;
                let name = self.resolver().physical_name(&logical_id)?;
                let object = object_of(&logical_id, &mut definition)?;
                let ttl = object.remove("TimeToLiveSpecification");
                // Properties that the embedded table does not support, or that would disturb a developer.
                object.remove("PointInTimeRecoverySpecification");
                object.remove("DeletionProtectionEnabled");
                object.remove("SSESpecification");
                object.remove("Tags");
                object.insert("TableName".into(), name.clone().into());
                if let Some(stream) = object.get_mut("StreamSpecification") {
                    stream["StreamEnabled"] = true.into();
                }
                let hash_key = object["KeySchema"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .find(|key| key["KeyType"] == "HASH")
                    .and_then(|key| key["AttributeName"].as_str())
                    .ok_or_else(|| at(&format!("{logical_id}.KeySchema"), "has no HASH key"))?
                    .to_owned();
                let ttl_attribute =
                    ttl.filter(|ttl| ttl["Enabled"] != false).and_then(|ttl| ttl["AttributeName"].as_str().map(str::to_owned));
                Ok(Table { logical_id, name, definition, ttl_attribute, hash_key })
            })
            .collect()
    }

    /// Dead-letter queues come before the queues that name them.
    pub fn queues(&self) -> Result<Vec<Queue>, TemplateError> {
        let mut queues =
            self.of_type("AWS::SQS::Queue")?.into_iter().map(|logical_id| self.queue(logical_id)).collect::<Result<Vec<_>, _>>()?;
        queues.sort_by_key(|queue| queue.dead_letters.is_some());
        Ok(queues)
    }

    /// The names of the buckets.
    pub fn buckets(&self) -> Result<Vec<String>, TemplateError> {
        self.of_type("AWS::S3::Bucket")?.iter().map(|logical_id| self.resolver().physical_name(logical_id)).collect()
    }

    pub fn secrets(&self) -> Result<Vec<Secret>, TemplateError> {
        self.of_type("AWS::SecretsManager::Secret")?
            .into_iter()
            .map(|logical_id| {
                let properties = self.properties(&logical_id)?;
                let name = self.resolver().physical_name(&logical_id)?;
                let initial = if let Some(generate) = properties.get("GenerateSecretString") {
                    InitialSecret::Generated(read(&format!("{logical_id}.GenerateSecretString"), generate)?)
                } else if let Some(text) = properties.get("SecretString") {
                    InitialSecret::Text(scalar_text(&format!("{logical_id}.SecretString"), text)?)
                } else {
                    InitialSecret::Empty
                };
                let split_from = self.resources[&logical_id]["Metadata"]["SplitFrom"].as_str();
                let split_from = split_from.map(|former| format!("{}-{former}", self.place.stack));
                Ok(Secret { logical_id, name, initial, split_from })
            })
            .collect()
    }

    pub fn functions(&self) -> Result<Vec<Function>, TemplateError> {
        self.of_type("AWS::Serverless::Function")?
            .into_iter()
            .map(|logical_id| {
                let path = format!("{logical_id}.Environment.Variables");
                let mut environment = BTreeMap::new();
                for source in [
                    &self.globals["Function"]["Environment"]["Variables"],
                    &self.resources[&logical_id]["Properties"]["Environment"]["Variables"],
                ] {
                    let resolved = self.resolver().resolve(&path, source)?;
                    for (name, value) in resolved.as_object().into_iter().flatten() {
                        environment.insert(name.clone(), scalar_text(&format!("{path}.{name}"), value)?);
                    }
                }
                let timeout = self.resources[&logical_id]["Properties"].get("Timeout").or_else(|| self.globals["Function"].get("Timeout"));
                let timeout_seconds = match timeout {
                    Some(timeout) => {
                        let path = format!("{logical_id}.Timeout");
                        let resolved = self.resolver().resolve(&path, timeout)?;
                        let text = scalar_text(&path, &resolved)?;
                        text.parse().map_err(|_| at(&path, "is not a number"))?
                    }
                    None => 3,
                };
                let name = self.function_name(&logical_id)?;
                Ok(Function { logical_id, name, timeout_seconds, environment })
            })
            .collect()
    }

    pub fn roles(&self) -> Result<Vec<Role>, TemplateError> {
        let attached = self.of_type("AWS::IAM::Policy")?.iter().map(|policy| self.properties(policy)).collect::<Result<Vec<_>, _>>()?;
        self.of_type("AWS::IAM::Role")?
            .into_iter()
            .map(|logical_id| {
                let (name, properties) = (self.resolver().physical_name(&logical_id)?, self.properties(&logical_id)?);
                let own = properties["Policies"].as_array().into_iter().flatten();
                let others = attached
                    .iter()
                    .filter(|policy| policy["Roles"].as_array().is_some_and(|roles| roles.iter().any(|role| *role == name.as_str())));
                let policies = own.chain(others).map(|policy| policy["PolicyDocument"].clone()).collect();
                let arn = format!("arn:aws:iam::{}:role/{name}", self.place.account);
                Ok(Role { logical_id, arn, trust: properties["AssumeRolePolicyDocument"].clone(), policies })
            })
            .collect()
    }

    /// The ARN of each function's role.
    pub fn function_roles(&self) -> Result<BTreeMap<String, String>, TemplateError> {
        self.of_type("AWS::Serverless::Function")?
            .into_iter()
            .map(|logical_id| {
                let path = format!("{logical_id}.Role");
                let role = self.resolver().resolve(&path, &self.resources[&logical_id]["Properties"]["Role"])?;
                Ok((self.function_name(&logical_id)?, scalar_text(&path, &role)?))
            })
            .collect()
    }

    /// The routes of the API's definition, sorted.
    pub fn routes(&self) -> Result<Vec<Route>, TemplateError> {
        let mut routes = Vec::new();
        if let Some((logical_id, api)) = self.api()? {
            let functions = self.functions_by_arn()?;
            let definition = &api["DefinitionBody"];
            for (path, operations) in definition["paths"].as_object().into_iter().flatten() {
                for (method, operation) in operations.as_object().into_iter().flatten() {
                    let at_operation = format!("{logical_id}.DefinitionBody.paths.{path}.{method}");
                    let function = integration_of(definition, operation)
                        .and_then(|integration| function_arn(&integration["uri"]))
                        .and_then(|arn| functions.get(arn))
                        .ok_or_else(|| at(&at_operation, "is not integrated with the alias of a function"))?;
                    let method = if method == ANY_METHOD { "ANY".to_owned() } else { method.to_uppercase() };
                    let path = if operation["isDefaultRoute"] == true { "$default" } else { path.as_str() };
                    routes.push(Route { function: function.clone(), method, path: path.to_owned() });
                }
            }
        }
        routes.sort();
        Ok(routes)
    }

    /// What the API allows pages of other origins. `None`: nothing, so browsers keep its answers from them.
    pub fn cors(&self) -> Result<Option<Cors>, TemplateError> {
        let Some((logical_id, api)) = self.api()? else { return Ok(None) };
        let path = format!("{logical_id}.DefinitionBody.{CORS}");
        api["DefinitionBody"].get(CORS).map(|cors| read(&path, cors)).transpose()
    }

    /// How many requests a second the API accepts. Routes without their own throttle share the default one.
    pub fn throttles(&self) -> Result<Throttles, TemplateError> {
        let Some((logical_id, api)) = self.api()? else { return Ok(Throttles::default()) };
        let throttle = |path: &str, settings: &Value| read::<Option<Throttle>>(&format!("{logical_id}.{path}"), settings);
        let mut routes = BTreeMap::new();
        for (key, settings) in api["RouteSettings"].as_object().into_iter().flatten() {
            routes.extend(throttle(&format!("RouteSettings.{key}"), settings)?.map(|throttle| (key.clone(), throttle)));
        }
        Ok(Throttles { default: throttle("DefaultRouteSettings", &api["DefaultRouteSettings"])?, routes })
    }

    pub fn stream_sources(&self) -> Result<Vec<StreamSource>, TemplateError> {
        self.events(&["DynamoDB"])?
            .into_iter()
            .map(|event| {
                let properties: StreamEvent = read(&event.at, &event.properties)?;
                let table = properties
                    .stream
                    .split(":table/")
                    .nth(1)
                    .and_then(|rest| rest.split('/').next())
                    .ok_or_else(|| at(&event.at, "Stream is not the ARN of a table stream"))?
                    .to_owned();
                Ok(StreamSource {
                    function: event.function,
                    table,
                    arn: properties.stream,
                    batch_size: properties.batch_size.unwrap_or(100).max(1) as usize,
                    parallel: properties.parallelization_factor.unwrap_or(1).clamp(1, 10) as usize,
                    bisect: properties.bisect_batch_on_function_error,
                    retries: limit(properties.maximum_retry_attempts).map(|retries| retries as u32),
                    maximum_age_seconds: limit(properties.maximum_record_age_in_seconds),
                    report_item_failures: reports_item_failures(&properties.function_response_types),
                    on_failure: properties
                        .destination_config
                        .and_then(|config| config.on_failure)
                        .map(|destination| destination.destination),
                    filters: filter_patterns(&event.at, properties.filter_criteria)?,
                })
                .map(|source| properties.enabled.then_some(source))
            })
            .filter_map(Result::transpose)
            .collect()
    }

    pub fn queue_sources(&self) -> Result<Vec<QueueSource>, TemplateError> {
        self.events(&["SQS"])?
            .into_iter()
            .map(|event| {
                let properties: QueueEvent = read(&event.at, &event.properties)?;
                Ok(QueueSource {
                    function: event.function,
                    queue: name_of_queue_arn(&properties.queue).to_owned(),
                    arn: properties.queue,
                    batch_size: properties.batch_size.unwrap_or(10).max(1) as usize,
                    at_once: properties.scaling_config.and_then(|scaling| scaling.maximum_concurrency).map(|most| most.max(1) as usize),
                    report_item_failures: reports_item_failures(&properties.function_response_types),
                    filters: filter_patterns(&event.at, properties.filter_criteria)?,
                })
                .map(|source| properties.enabled.then_some(source))
            })
            .filter_map(Result::transpose)
            .collect()
    }

    pub fn schedules(&self) -> Result<Vec<Schedule>, TemplateError> {
        self.events(&["Schedule", "ScheduleV2"])?
            .into_iter()
            .map(|event| {
                let properties: ScheduleEvent = read(&event.at, &event.properties)?;
                let expression =
                    properties.schedule_expression.or(properties.schedule).ok_or_else(|| at(&event.at, "has no schedule expression"))?;
                let input = match &properties.input {
                    Some(Value::String(text)) => {
                        serde_json::from_str(text).map_err(|error| at(&event.at, &format!("Input is not JSON: {error}")))?
                    }
                    Some(other) => other.clone(),
                    None => Value::Object(Map::new()),
                };
                let disabled = !properties.enabled || properties.state.as_deref() == Some("DISABLED");
                Ok((!disabled).then_some(Schedule { name: event.name, function: event.function, expression, input }))
            })
            .filter_map(Result::transpose)
            .collect()
    }

    /// From the configuration set of SES over a topic to the queue that subscribes to it.
    pub fn mail_reports(&self) -> Result<Option<MailReports>, TemplateError> {
        let destinations = self.of_type("AWS::SES::ConfigurationSetEventDestination")?;
        let [logical_id] = destinations.as_slice() else {
            return match destinations.get(1) {
                None => Ok(None),
                Some(second) => Err(at(second, "a second destination of reports is not played here")),
            };
        };
        let destination: EventDestination = read(logical_id, &self.properties(logical_id)?)?;
        let to = destination.event_destination;
        if !to.enabled {
            return Ok(None);
        }
        let topic = to.sns_destination.ok_or_else(|| at(logical_id, "reports are played here through a topic of SNS alone"))?.topic_arn;
        let queue = self.queue_behind(logical_id, &topic, Delivery::Raw)?;
        Ok(Some(MailReports { configuration_set: destination.configuration_set_name, kinds: to.matching_event_types, queue }))
    }

    /// From the receipt rule of SES to the bucket, and over a topic to the queue that subscribes to it.
    pub fn mail_reception(&self) -> Result<Option<MailReception>, TemplateError> {
        let rules = self.of_type("AWS::SES::ReceiptRule")?;
        let [logical_id] = rules.as_slice() else {
            return match rules.get(1) {
                None => Ok(None),
                Some(second) => Err(at(second, "a second receipt rule is not played here")),
            };
        };
        let ReceiptRule { rule } = read(logical_id, &self.properties(logical_id)?)?;
        let [RuleAction { s3_action: Some(action) }] = &rule.actions[..] else {
            return Err(at(logical_id, "mails are received here by one action that stores them in a bucket"));
        };
        let queue = self.queue_behind(logical_id, &action.topic_arn, Delivery::Raw)?;
        if !self.buckets()?.contains(&action.bucket_name) {
            return Err(at(logical_id, "its bucket is not part of the template"));
        }
        Ok(rule.enabled.then(|| MailReception {
            recipients: rule.recipients.clone(),
            bucket: action.bucket_name.clone(),
            prefix: action.object_key_prefix.clone().unwrap_or_default(),
            topic: action.topic_arn.clone(),
            queue,
        }))
    }

    /// From the configuration set of AWS End User Messaging over a topic to the queue that subscribes to it.
    pub fn message_notices(&self) -> Result<Option<MessageNotices>, TemplateError> {
        let sets = self.of_type("AWS::SMSVOICE::ConfigurationSet")?;
        let logical_id = match sets.as_slice() {
            [] => return Ok(None),
            [one] => one,
            [_, second, ..] => return Err(at(second, "a second configuration set of messages is not played here")),
        };
        let MessageSet { event_destinations } = read(logical_id, &self.properties(logical_id)?)?;
        let [MessageDestination { enabled: true, matching_event_types, sns_destination: Some(MessageTopic { topic_arn: topic }) }] =
            &event_destinations[..]
        else {
            return Err(at(logical_id, "notices are played here through one topic of SNS, which is on"));
        };
        if !matching_event_types.contains("TEXT_ALL") {
            return Err(at(logical_id, "notices are played here where all of SMS are asked for: TEXT_ALL"));
        }
        let queue = self.queue_behind(logical_id, topic, Delivery::Enveloped)?;
        Ok(Some(MessageNotices { configuration_set: self.resolver().physical_name(logical_id)?, topic: topic.clone(), queue }))
    }

    /// The name of the queue that gets what is published to a topic.
    fn queue_behind(&self, logical_id: &str, topic: &str, delivery: Delivery) -> Result<String, TemplateError> {
        let queues = self.queues()?;
        for subscription in self.of_type("AWS::SNS::Subscription")? {
            let found: Subscription = read(&subscription, &self.properties(&subscription)?)?;
            if found.topic_arn != topic || found.protocol != "sqs" {
                continue;
            }
            match (delivery, found.raw_message_delivery) {
                (Delivery::Raw, false) => {
                    return Err(at(&subscription, "messages in an envelope of SNS are not played here: RawMessageDelivery is missing"));
                }
                (Delivery::Enveloped, true) => return Err(at(&subscription, "its messages are played in the envelope of SNS alone")),
                (Delivery::Raw, true) | (Delivery::Enveloped, false) => {}
            }
            let queue = queues.iter().find(|queue| Some(&queue.arn) == found.endpoint.as_ref());
            return queue.map(|queue| queue.name.clone()).ok_or_else(|| at(&subscription, "its queue is not part of the template"));
        }
        Err(at(logical_id, "no queue subscribes to its topic"))
    }

    fn queue(&self, logical_id: String) -> Result<Queue, TemplateError> {
        let resolver = self.resolver();
        let name = resolver.physical_name(&logical_id)?;
        let mut attributes = BTreeMap::new();
        let mut dead_letters = None;
        let properties = self.properties(&logical_id)?;
        for (key, value) in properties.as_object().into_iter().flatten() {
            let path = format!("{logical_id}.{key}");
            let value = match key.as_str() {
                "QueueName" | "Tags" | "SqsManagedSseEnabled" | "KmsMasterKeyId" => continue,
                "RedrivePolicy" | "RedriveAllowPolicy" => {
                    if let Some(target) = value["deadLetterTargetArn"].as_str() {
                        dead_letters = Some(target.to_owned());
                    }
                    value.to_string()
                }
                _ => scalar_text(&path, value)?,
            };
            attributes.insert(key.clone(), value);
        }
        let place = &self.place;
        Ok(Queue {
            arn: format!("arn:aws:sqs:{}:{}:{name}", place.region, place.account),
            url: format!("{}/{}/{name}", place.queue_url_base, place.account),
            logical_id,
            name,
            attributes,
            dead_letters,
        })
    }

    /// The HTTP API with its properties.
    fn api(&self) -> Result<Option<(String, Value)>, TemplateError> {
        match self.of_type("AWS::Serverless::HttpApi")?.as_slice() {
            [] => Ok(None),
            [logical_id] => Ok(Some((logical_id.clone(), self.properties(logical_id)?))),
            [_, second, ..] => Err(at(second, "a second HTTP API is not played here")),
        }
    }

    /// The names of the functions by the ARN of their alias.
    fn functions_by_arn(&self) -> Result<BTreeMap<String, String>, TemplateError> {
        let functions = self.of_type("AWS::Serverless::Function")?.into_iter();
        functions.map(|logical_id| Ok((self.resolver().alias(&logical_id)?, self.function_name(&logical_id)?))).collect()
    }

    fn events(&self, kinds: &[&str]) -> Result<Vec<Event>, TemplateError> {
        let mut events = Vec::new();
        for logical_id in self.of_type("AWS::Serverless::Function")? {
            let function = self.function_name(&logical_id)?;
            let declared = &self.resources[&logical_id]["Properties"]["Events"];
            for (name, event) in declared.as_object().into_iter().flatten() {
                let path = format!("{logical_id}.Events.{name}");
                let kind = event["Type"].as_str().unwrap_or_default();
                if matches!(kind, "HttpApi" | "Api") {
                    return Err(at(
                        &path,
                        "routes stand in the DefinitionBody of the API: at a function each would get a permission of its own",
                    ));
                }
                if !EVENT_KINDS.contains(&kind) {
                    return Err(at(&path, &format!("events of type `{kind}` are not played here")));
                }
                if kinds.contains(&kind) {
                    let nothing = Value::Object(Map::new());
                    let properties = event.get("Properties").unwrap_or(&nothing);
                    events.push(Event {
                        function: function.clone(),
                        name: format!("{logical_id}{name}"),
                        properties: self.resolver().resolve(&path, properties)?,
                        at: path,
                    });
                }
            }
        }
        Ok(events)
    }

    /// The crate of a function: the binary that its build names, otherwise the folder of its code.
    fn function_name(&self, logical_id: &str) -> Result<String, TemplateError> {
        let resource = &self.resources[logical_id];
        let code = resource["Properties"]["CodeUri"].as_str().unwrap_or_default();
        let folder = code.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        resource["Metadata"]["BuildProperties"]["Binary"]
            .as_str()
            .or(Some(folder).filter(|folder| !matches!(*folder, "" | "." | "..")))
            .map(str::to_owned)
            .ok_or_else(|| at(logical_id, "neither Metadata.BuildProperties.Binary nor CodeUri names its crate"))
    }

    fn of_type(&self, kind: &str) -> Result<Vec<String>, TemplateError> {
        let mut found = Vec::new();
        for (logical_id, resource) in &self.resources {
            if UNPLAYED_KINDS.contains(&resource["Type"].as_str().unwrap_or_default()) {
                let problem = "resources of this type are not played here; declare it as an event of its function";
                return Err(at(logical_id, problem));
            }
            if resource["Type"] != kind {
                continue;
            }
            let wanted = match resource.get("Condition").and_then(Value::as_str) {
                Some(condition) => self.resolver().condition(logical_id, condition)?,
                None => true,
            };
            if wanted {
                found.push(logical_id.clone());
            }
        }
        Ok(found)
    }

    fn properties(&self, logical_id: &str) -> Result<Value, TemplateError> {
        match self.resources[logical_id].get("Properties") {
            Some(properties) => self.resolver().resolve(logical_id, properties),
            None => Ok(Value::Object(Map::new())),
        }
    }

    fn resolver(&self) -> Resolver<'_> {
        Resolver {
            parameters: &self.parameters,
            conditions: &self.conditions,
            mappings: &self.mappings,
            resources: &self.resources,
            place: &self.place,
        }
    }
}

/// The last part of a queue's ARN.
pub fn name_of_queue_arn(arn: &str) -> &str {
    arn.rsplit(':').next().unwrap_or(arn)
}

const EVENT_KINDS: [&str; 4] = ["DynamoDB", "SQS", "Schedule", "ScheduleV2"];

/// Kinds that the local stack does not support. They are refused, because otherwise they would be missing without a message.
const UNPLAYED_KINDS: [&str; 3] = ["AWS::Lambda::EventSourceMapping", "AWS::Scheduler::Schedule", "AWS::Lambda::Function"];

const ANY_METHOD: &str = "x-amazon-apigateway-any-method";
const INTEGRATION: &str = "x-amazon-apigateway-integration";
const CORS: &str = "x-amazon-apigateway-cors";

struct Event {
    function: String,
    name: String,
    at: String,
    properties: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StreamEvent {
    stream: String,
    #[serde(default, deserialize_with = "optional_number")]
    batch_size: Option<i64>,
    #[serde(default, deserialize_with = "optional_number")]
    parallelization_factor: Option<i64>,
    #[serde(default, deserialize_with = "flag")]
    bisect_batch_on_function_error: bool,
    #[serde(default, deserialize_with = "optional_number")]
    maximum_retry_attempts: Option<i64>,
    #[serde(default, deserialize_with = "optional_number")]
    maximum_record_age_in_seconds: Option<i64>,
    #[serde(default)]
    function_response_types: Vec<String>,
    #[serde(default)]
    destination_config: Option<DestinationConfig>,
    #[serde(default)]
    filter_criteria: Option<FilterCriteria>,
    #[serde(default = "yes", deserialize_with = "flag")]
    enabled: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct QueueEvent {
    queue: String,
    #[serde(default, deserialize_with = "optional_number")]
    batch_size: Option<i64>,
    #[serde(default)]
    function_response_types: Vec<String>,
    #[serde(default)]
    filter_criteria: Option<FilterCriteria>,
    scaling_config: Option<ScalingConfig>,
    #[serde(default = "yes", deserialize_with = "flag")]
    enabled: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ScalingConfig {
    #[serde(default, deserialize_with = "optional_number")]
    maximum_concurrency: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ScheduleEvent {
    schedule: Option<String>,
    schedule_expression: Option<String>,
    input: Option<Value>,
    #[serde(default = "yes", deserialize_with = "flag")]
    enabled: bool,
    state: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EventDestination {
    configuration_set_name: String,
    event_destination: ReportsTo,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ReportsTo {
    #[serde(default, deserialize_with = "flag")]
    enabled: bool,
    matching_event_types: BTreeSet<String>,
    #[serde(default)]
    sns_destination: Option<SnsDestination>,
}

/// How a topic puts what is published into a queue.
#[derive(Clone, Copy)]
enum Delivery {
    Raw,
    Enveloped,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MessageSet {
    event_destinations: Vec<MessageDestination>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MessageDestination {
    #[serde(deserialize_with = "flag")]
    enabled: bool,
    matching_event_types: BTreeSet<String>,
    #[serde(default)]
    sns_destination: Option<MessageTopic>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MessageTopic {
    topic_arn: String,
}

#[derive(Deserialize)]
struct SnsDestination {
    #[serde(rename = "TopicARN")]
    topic_arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ReceiptRule {
    rule: Rule,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Rule {
    #[serde(default, deserialize_with = "flag")]
    enabled: bool,
    recipients: Vec<String>,
    actions: Vec<RuleAction>,
}

#[derive(Deserialize)]
struct RuleAction {
    #[serde(rename = "S3Action")]
    s3_action: Option<StoreAction>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StoreAction {
    bucket_name: String,
    #[serde(default)]
    object_key_prefix: Option<String>,
    topic_arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Subscription {
    topic_arn: String,
    protocol: String,
    endpoint: Option<String>,
    #[serde(default, deserialize_with = "flag")]
    raw_message_delivery: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DestinationConfig {
    on_failure: Option<Destination>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Destination {
    destination: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FilterCriteria {
    filters: Vec<Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    pattern: String,
}

/// The integration of an operation, or the shared one that it refers to.
fn integration_of<'a>(definition: &'a Value, operation: &'a Value) -> Option<&'a Value> {
    let own = operation.get(INTEGRATION)?;
    match own["$ref"].as_str() {
        None => Some(own),
        Some(reference) => definition.pointer(reference.strip_prefix('#')?),
    }
}

/// The function that an integration's URI invokes.
fn function_arn(uri: &Value) -> Option<&str> {
    uri.as_str()?.split_once("/functions/")?.1.strip_suffix("/invocations")
}

fn filter_patterns(path: &str, criteria: Option<FilterCriteria>) -> Result<Vec<Value>, TemplateError> {
    criteria
        .into_iter()
        .flat_map(|criteria| criteria.filters)
        .map(|filter| {
            let pattern =
                serde_json::from_str(&filter.pattern).map_err(|error| at(path, &format!("a filter pattern is not JSON: {error}")))?;
            crate::sources::filter::check(&pattern).map_err(|problem| at(path, &problem))?;
            Ok(pattern)
        })
        .collect()
}

fn reports_item_failures(types: &[String]) -> bool {
    types.iter().any(|kind| kind == "ReportBatchItemFailures")
}

/// -1 is AWS's value for "no limit".
fn limit(value: Option<i64>) -> Option<i64> {
    value.filter(|value| *value >= 0)
}

fn read<T: DeserializeOwned>(path: &str, value: &Value) -> Result<T, TemplateError> {
    T::deserialize(value).map_err(|error| at(path, &error.to_string()))
}

fn object_of<'a>(path: &str, value: &'a mut Value) -> Result<&'a mut Map<String, Value>, TemplateError> {
    value.as_object_mut().ok_or_else(|| at(path, "has no properties"))
}

fn at(path: &str, problem: &str) -> TemplateError {
    TemplateError::At { at: path.to_owned(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests;
