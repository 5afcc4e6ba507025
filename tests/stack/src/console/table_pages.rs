//! The table as pages: its tenants, and the items of one of them. Read only.

use std::collections::BTreeMap;

use axum::{
    Router,
    extract::{Path, State},
    routing::get,
};
use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::{Console, Trouble, mail_pages::path_part, page::page};

/// Items shown of one tenant.
const MOST: usize = 1_000;

pub fn routes() -> Router<Console> {
    Router::new().route("/table", get(tenants)).route("/table/{table}/{owner}", get(items))
}

/// Who a partition belongs to: `T#<tenant>#…` to a tenant, everything else to no one.
fn owner_of(partition: &str) -> &str {
    let mut parts = partition.split('#');
    match (parts.next(), parts.next()) {
        (Some("T"), Some(tenant)) => tenant,
        _ => SHARED,
    }
}

const SHARED: &str = "shared";

async fn tenants(State(console): State<Console>) -> Result<Markup, Trouble> {
    let mut tables = Vec::new();
    for table in &console.tables {
        let mut owners: BTreeMap<String, usize> = BTreeMap::new();
        for item in scan(&console, json!({ "TableName": table, "ProjectionExpression": "pk" }), usize::MAX)? {
            let partition = item["pk"]["S"].as_str().unwrap_or_default();
            *owners.entry(owner_of(partition).to_owned()).or_default() += 1;
        }
        tables.push((table, owners));
    }
    Ok(page(
        "Table",
        html! {
            @for (table, owners) in tables {
                h2 { (table) }
                @if owners.is_empty() { p { "No items yet." } }
                table {
                    tr { th { "Tenant" } th { "Items" } }
                    @for (owner, count) in owners {
                        tr {
                            td { a href={ "/table/" (path_part(table)) "/" (path_part(&owner)) } {
                                @if owner == SHARED { "what belongs to no tenant" } @else { (owner) }
                            } }
                            td { (count) }
                        }
                    }
                }
            }
        },
    ))
}

async fn items(State(console): State<Console>, Path((table, owner)): Path<(String, String)>) -> Result<Markup, Trouble> {
    let request = match owner.as_str() {
        SHARED => json!({
            "TableName": table,
            "FilterExpression": "NOT begins_with(pk, :prefix)",
            "ExpressionAttributeValues": { ":prefix": { "S": "T#" } },
        }),
        tenant => json!({
            "TableName": table,
            "FilterExpression": "begins_with(pk, :prefix)",
            "ExpressionAttributeValues": { ":prefix": { "S": format!("T#{tenant}#") } },
        }),
    };
    let mut found = if console.tables.contains(&table) { scan(&console, request, MOST + 1)? } else { Vec::new() };
    let more = found.len() > MOST;
    found.truncate(MOST);
    found.sort_by_cached_key(|item| (item["pk"].to_string(), item["sk"].to_string()));
    Ok(page(
        &owner,
        html! {
            @if found.is_empty() { p { "No items." } }
            @if more { p { "The first " (MOST) " items." } }
            table {
                tr { th { "pk" } th { "sk" } th { "Item" } }
                @for item in found {
                    tr {
                        td { code { (item["pk"]["S"].as_str().unwrap_or_default()) } }
                        td { code { (item["sk"]["S"].as_str().unwrap_or_default()) } }
                        td { details { summary { (item.as_object().map_or(0, Map::len)) " attributes" }
                            pre { (readable(&item)) } } }
                    }
                }
            }
        },
    ))
}

fn scan(console: &Console, mut request: Value, most: usize) -> Result<Vec<Value>, Trouble> {
    let mut items = Vec::new();
    loop {
        let page = console.aws.scan(request.clone())?;
        items.extend(page["Items"].as_array().cloned().unwrap_or_default());
        match page.get("LastEvaluatedKey").filter(|key| !key.is_null()) {
            Some(key) if items.len() < most => request["ExclusiveStartKey"] = key.clone(),
            _ => return Ok(items),
        }
    }
}

fn readable(item: &Value) -> String {
    let plain: Map<String, Value> =
        item.as_object().into_iter().flatten().map(|(name, attribute)| (name.clone(), plain(attribute))).collect();
    serde_json::to_string_pretty(&plain).unwrap_or_default()
}

/// DynamoDB's typed JSON without the types.
fn plain(attribute: &Value) -> Value {
    let Some((kind, value)) = attribute.as_object().and_then(|object| object.iter().next()) else {
        return attribute.clone();
    };
    match (kind.as_str(), value) {
        ("L", Value::Array(elements)) => elements.iter().map(plain).collect(),
        ("M", Value::Object(fields)) => fields.iter().map(|(name, field)| (name.clone(), plain(field))).collect(),
        ("N", Value::String(number)) => serde_json::from_str(number).unwrap_or_else(|_| value.clone()),
        ("NULL", _) => Value::Null,
        _ => value.clone(),
    }
}
