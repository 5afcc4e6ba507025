//! Contender: the physical limit of this shape of program. A hand-written runtime loop on blocking sockets, rustls, hand-made
//! SigV4 and no SDK, async runtime or framework. It makes the same table calls as the product, and nothing else.
mod aws;
mod runtime;
mod token;

use std::{env, error::Error};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    aws::{Aws, Connection, Service},
    token::Keys,
};

pub type Outcome<T> = Result<T, Box<dyn Error>>;

struct App {
    aws: Aws,
    keys: Keys,
    reader: Connection,
    counter: Connection,
    read_body: String,
    counter_key: String,
    items: usize,
    wanted: String,
    table: String,
    issuer: String,
    _cursors_secret: String,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "rawPath", borrow)]
    raw_path: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    headers: Headers<'a>,
}

#[derive(Deserialize)]
struct Headers<'a> {
    #[serde(borrow)]
    authorization: Option<std::borrow::Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Key {
    pk: String,
    sk: String,
}

fn main() -> Outcome<()> {
    let mut app = App::start()?;
    runtime::run(&env::var("AWS_LAMBDA_RUNTIME_API")?, |event| app.answer(event))
}

impl App {
    fn start() -> Outcome<Self> {
        let aws = Aws::from_environment()?;
        let table = env::var("TABLE_NAME")?;
        let reads: Vec<Key> = serde_json::from_str(&env::var("BENCH_READS")?)?;
        let counter: Key = serde_json::from_str(&env::var("BENCH_COUNTER")?)?;
        let keys: Vec<Value> = reads.iter().map(attributes).collect();
        let read_body = json!({ "RequestItems": { table.as_str(): { "Keys": keys, "ConsistentRead": true } } }).to_string();

        // All hellos are sent before the first answer is awaited, so the handshakes overlap without a second thread.
        let mut secrets = aws.open(Service::SecretsManager)?;
        let mut reader = aws.open(Service::DynamoDb)?;
        let mut writer = aws.open(Service::DynamoDb)?;
        for connection in [&mut secrets, &mut reader, &mut writer] {
            connection.greet()?;
        }
        let ids = [env::var("JWKS_SECRET_ID")?, env::var("CURSORS_SECRET_ID")?];
        aws.send(&mut secrets, "secretsmanager.BatchGetSecretValue", &json!({ "SecretIdList": ids }).to_string())?;
        reader.finish_handshake()?;
        writer.finish_handshake()?;
        let secrets: Value = serde_json::from_slice(secrets.receive()?)?;
        let [jwks, cursors_secret] = ids.each_ref().map(|id| secret_string(&secrets, id));

        Ok(App {
            keys: Keys::parse(&jwks?)?,
            reader,
            counter: writer,
            read_body,
            counter_key: attributes(&counter).to_string(),
            items: env::var("BENCH_ITEMS")?.parse()?,
            wanted: env::var("BENCH_PROJECT")?,
            issuer: env::var("PUBLIC_URL")?,
            table,
            aws,
            _cursors_secret: cursors_secret?,
        })
    }

    fn answer(&mut self, event: &[u8]) -> Outcome<String> {
        let event: Event = serde_json::from_slice(event)?;
        let authorized = event.headers.authorization.as_deref().is_some_and(|it| self.keys.admit(it, &self.issuer));
        if !authorized {
            return Ok(respond(401, &json!({ "success": false }), "0"));
        }
        let count_body = format!(
            r##"{{"TableName":"{}","Key":{},"UpdateExpression":"ADD used :one SET #ttl = :ttl","ExpressionAttributeNames":{{"#ttl":"ttl"}},"ExpressionAttributeValues":{{":one":{{"N":"1"}},":ttl":{{"N":"{}"}}}},"ReturnValues":"UPDATED_NEW"}}"##,
            self.table,
            self.counter_key,
            aws::epoch_seconds() + 120
        );
        self.aws.send(&mut self.reader, "DynamoDB_20120810.BatchGetItem", &self.read_body)?;
        self.aws.send(&mut self.counter, "DynamoDB_20120810.UpdateItem", &count_body)?;
        let read: Value = serde_json::from_slice(self.reader.receive()?)?;
        let counted: Value = serde_json::from_slice(self.counter.receive()?)?;

        let items = read["Responses"][&self.table].as_array().map(Vec::as_slice).unwrap_or_default();
        let project = items.iter().find(|item| item["sk"]["S"] == self.wanted.as_str());
        let asked = event.raw_path.rsplit('/').next().unwrap_or_default();
        match project {
            Some(item) if items.len() == self.items && self.wanted.ends_with(asked) => {
                let body = json!({ "success": true, "message": "Success", "data": plain_item(item) });
                Ok(respond(200, &body, counted["Attributes"]["used"]["N"].as_str().unwrap_or_default()))
            }
            _ => Ok(respond(404, &json!({ "success": false }), "0")),
        }
    }
}

fn attributes(key: &Key) -> Value {
    json!({ "pk": { "S": key.pk }, "sk": { "S": key.sk } })
}

fn secret_string(answer: &Value, id: &str) -> Outcome<String> {
    let secret = answer["SecretValues"].as_array().into_iter().flatten().find(|secret| secret["ARN"] == id || secret["Name"] == id);
    Ok(secret.and_then(|secret| secret["SecretString"].as_str()).ok_or("a secret is missing")?.to_owned())
}

fn plain_item(item: &Value) -> Value {
    let fields = item.as_object().into_iter().flatten();
    Value::Object(fields.map(|(name, value)| (name.clone(), plain(value))).collect::<Map<_, _>>())
}

/// DynamoDB's typed JSON as plain JSON.
fn plain(value: &Value) -> Value {
    let Some((kind, inner)) = value.as_object().and_then(|object| object.iter().next()) else {
        return Value::Null;
    };
    match kind.as_str() {
        "N" => serde_json::from_str(inner.as_str().unwrap_or("0")).unwrap_or_default(),
        "M" => plain_item(inner),
        "L" => Value::Array(inner.as_array().into_iter().flatten().map(plain).collect()),
        "NULL" => Value::Null,
        _ => inner.clone(),
    }
}

fn respond(status: u16, body: &Value, used: &str) -> String {
    json!({
        "statusCode": status,
        "headers": { "content-type": "application/json", "x-ratelimit-remaining": used },
        "body": body.to_string(),
        "isBase64Encoded": false,
    })
    .to_string()
}
