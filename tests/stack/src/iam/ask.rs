//! The permissions that a request to DynamoDB needs: for each action the resource and the partition keys. A transaction needs the actions
//! of its items.

use std::collections::BTreeMap;

use serde_json::Value;

/// One permission that a policy must grant.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessRequest {
    pub action: String,
    pub resource: String,
    /// `None` if the request names no partition key, or it cannot be determined.
    pub leading_keys: Option<Vec<String>>,
    pub enclosing: Option<&'static str>,
}

/// The partition key attributes of tables and their indexes.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    /// `arn:aws:dynamodb:<region>:<account>:`
    pub prefix: String,
    pub attributes: BTreeMap<(String, Option<String>), String>,
}

impl Keys {
    fn arn(&self, table: &str, index: Option<&str>) -> String {
        let table = if table.starts_with("arn:") { table.to_owned() } else { format!("{}table/{table}", self.prefix) };
        index.map_or(table.clone(), |index| format!("{table}/index/{index}"))
    }

    fn attribute(&self, table: &str, index: Option<&str>) -> Option<&str> {
        let table = table.rsplit('/').next().unwrap_or(table);
        self.attributes.get(&(table.to_owned(), index.map(str::to_owned))).map(String::as_str)
    }

    /// The partition key in an item or key.
    fn of_item(&self, table: &str, item: &Value) -> Option<String> {
        self.attribute(table, None).and_then(|attribute| scalar(item.get(attribute)?))
    }
}

/// `operation` as in `X-Amz-Target: DynamoDB_20120810.<operation>`.
pub fn asks(operation: &str, body: &Value, keys: &Keys) -> Vec<AccessRequest> {
    let table = body["TableName"].as_str().unwrap_or_default();
    let index = body["IndexName"].as_str();
    let ask = |action: &str, table: &str, index: Option<&str>, leading_keys: Option<Vec<String>>, enclosing| AccessRequest {
        action: format!("dynamodb:{action}"),
        resource: if table.is_empty() { "*".to_owned() } else { keys.arn(table, index) },
        leading_keys,
        enclosing,
    };
    let of_item = |table: &str, item: &Value| keys.of_item(table, item).map(|key| vec![key]);
    match operation {
        "GetItem" | "UpdateItem" | "DeleteItem" => vec![ask(operation, table, None, of_item(table, &body["Key"]), None)],
        "PutItem" => vec![ask(operation, table, None, of_item(table, &body["Item"]), None)],
        "Query" => {
            let leading_keys = keys.attribute(table, index).and_then(|attribute| of_query(body, attribute));
            vec![ask(operation, table, index, leading_keys, None)]
        }
        "Scan" => vec![ask(operation, table, index, None, None)],
        "BatchGetItem" => entries(&body["RequestItems"])
            .map(|(table, wanted)| {
                let leading_keys = items(&wanted["Keys"]).map(|key| keys.of_item(table, key)).collect();
                ask(operation, table, None, leading_keys, None)
            })
            .collect(),
        "BatchWriteItem" => entries(&body["RequestItems"])
            .map(|(table, writes)| {
                let written = items(writes).map(|write| write["PutRequest"].get("Item").unwrap_or(&write["DeleteRequest"]["Key"]));
                let leading_keys = written.map(|item| keys.of_item(table, item)).collect();
                ask(operation, table, None, leading_keys, None)
            })
            .collect(),
        "TransactWriteItems" | "TransactGetItems" => {
            let enclosing = if operation == "TransactWriteItems" { "TransactWriteItems" } else { "TransactGetItems" };
            let parts = items(&body["TransactItems"]).flat_map(entries);
            parts
                .map(|(kind, part)| {
                    let table = part["TableName"].as_str().unwrap_or_default();
                    let action = if kind == "ConditionCheck" { "ConditionCheckItem".to_owned() } else { format!("{kind}Item") };
                    let key = part.get("Item").unwrap_or(&part["Key"]);
                    ask(&action, table, None, of_item(table, key), Some(enclosing))
                })
                .collect()
        }
        "ExecuteStatement" => vec![part_iql(&body["Statement"], keys)],
        "BatchExecuteStatement" => items(&body["Statements"]).map(|part| part_iql(&part["Statement"], keys)).collect(),
        "ExecuteTransaction" => items(&body["TransactStatements"]).map(|part| part_iql(&part["Statement"], keys)).collect(),
        other => vec![ask(other, table, None, None, None)],
    }
}

/// PartiQL has its own actions.
fn part_iql(statement: &Value, keys: &Keys) -> AccessRequest {
    let statement = statement.as_str().unwrap_or_default();
    let verb = statement.split_whitespace().next().unwrap_or_default().to_uppercase();
    let action = match verb.as_str() {
        "INSERT" => "PartiQLInsert",
        "UPDATE" => "PartiQLUpdate",
        "DELETE" => "PartiQLDelete",
        _ => "PartiQLSelect",
    };
    let table = statement.split('"').nth(1).unwrap_or_default();
    AccessRequest { action: format!("dynamodb:{action}"), resource: keys.arn(table, None), leading_keys: None, enclosing: None }
}

/// The values that a key condition compares the partition key with.
fn of_query(body: &Value, attribute: &str) -> Option<Vec<String>> {
    let expression = body["KeyConditionExpression"].as_str()?;
    let name = |text: &str| body["ExpressionAttributeNames"].get(text).and_then(Value::as_str).unwrap_or(text).to_owned();
    let found: Vec<String> = terms(expression)
        .filter_map(|term| {
            let (left, right) = term.split_once('=')?;
            let (left, right) = (left.trim(), right.trim());
            let value = if name(left) == attribute {
                right
            } else if name(right) == attribute {
                left
            } else {
                return None;
            };
            scalar(body["ExpressionAttributeValues"].get(value)?)
        })
        .collect();
    (!found.is_empty()).then_some(found)
}

/// The parts of an expression between its ANDs, without parentheses.
fn terms(expression: &str) -> impl Iterator<Item = String> {
    let spaced = expression.replace(['(', ')'], " ").replace('=', " = ");
    let mut terms = vec![String::new()];
    for word in spaced.split_whitespace() {
        if word.eq_ignore_ascii_case("and") {
            terms.push(String::new());
        } else if let Some(term) = terms.last_mut() {
            term.push_str(word);
            term.push(' ');
        }
    }
    terms.into_iter()
}

fn scalar(value: &Value) -> Option<String> {
    value.get("S").or_else(|| value.get("N")).or_else(|| value.get("B"))?.as_str().map(str::to_owned)
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value))
}
