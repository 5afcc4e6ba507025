//! The table as pages: its tenants, and the items of one of them as JSON. Read only.

use std::collections::BTreeMap;

use axum::{
    Router,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
    routing::get,
};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Console, PageError, missing,
    page::{Section, page},
    parts::{self, Field},
    tenants::{Named, Tenants, plain_item},
};

/// The most items on a page.
const PAGE: usize = 50;

/// Up to this many items are shown open.
const FEW: usize = 3;

/// The owner of items that belong to no tenant.
const SHARED: &str = "shared";

pub fn routes() -> Router<Console> {
    Router::new().route("/table", get(tenants)).route("/table/{table}/{owner}", get(items))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WantedTenants {
    q: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WantedItems {
    q: String,
    collection: String,
    /// How many items to skip.
    from: String,
}

/// An item as it is shown.
struct Item {
    collection: String,
    sk: String,
    content: Value,
}

async fn tenants(State(console): State<Console>, Query(wanted): Query<WantedTenants>) -> Result<Markup, PageError> {
    let mut names = Tenants::of(&console);
    let mut tables = Vec::new();
    for table in &console.tables {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for item in scan(&console, json!({ "TableName": table, "ProjectionExpression": "pk" }))? {
            *counts.entry(owner_of(item["pk"]["S"].as_str().unwrap_or_default()).to_owned()).or_default() += 1;
        }
        let shared = counts.remove(SHARED).unwrap_or_default();
        let all = counts.len();
        let mut found: Vec<(Named, usize)> = counts.into_iter().map(|(owner, count)| (names.get(&owner), count)).collect();
        found.retain(|(tenant, _)| tenant.fits(wanted.q.trim()));
        found.sort_by_cached_key(|(tenant, _)| (tenant.name.is_empty(), tenant.title().to_lowercase()));
        tables.push((table, found, all, shared));
    }
    let fields = [Field::Search { name: "q", label: "Search", value: &wanted.q, hint: "Tenant by name, slug or id" }];
    let heads = [("Tenant", false), ("Id", false), ("Status", false), ("Plan", false), ("Items", true)];
    Ok(page(
        Section::Table,
        "Table",
        html! {
            (parts::filters("/table", "#results", &fields))
            div #results .stack {
                @for (table, found, all, shared) in &tables {
                    div .row.spread {
                        h2 .id { (table) }
                        (parts::count(found.len(), Some(*all), "tenant", "tenants"))
                    }
                    @if found.is_empty() && *all > 0 { (parts::nothing(html! { "No tenant fits the filter." })) }
                    @if !found.is_empty() {
                        (parts::table(&format!("Tenants of {table}"), &heads, html! {
                            @for (tenant, count) in found {
                                tr {
                                    td { a href=(items_path(table, &tenant.id)) {
                                        @if tenant.name.is_empty() { "(no record of its own)" } @else { (tenant.name) }
                                    } span .under { (tenant.slug) } }
                                    td .id.short { (tenant.id) }
                                    td .short { (tenant.status) }
                                    td .short { (tenant.plan) }
                                    td .number { (count) }
                                }
                            }
                        }))
                    }
                    p { a href=(items_path(table, SHARED)) { "What belongs to no tenant" } span .quiet { " – " (shared) " items: who owns which slug, key, address" } }
                }
            }
        },
    ))
}

async fn items(
    State(console): State<Console>,
    Path((table, owner)): Path<(String, String)>,
    Query(wanted): Query<WantedItems>,
) -> Result<Response, PageError> {
    if !console.tables.contains(&table) {
        return Ok(missing(Section::Table, "There is no such table."));
    }
    let all = items_of(&console, &table, &owner)?;
    let mut collections: Vec<&str> = all.iter().map(|item| item.collection.as_str()).collect();
    collections.sort_unstable();
    collections.dedup();
    let words: Vec<String> = wanted.q.to_lowercase().split_whitespace().map(str::to_owned).collect();
    let found: Vec<&Item> = all
        .iter()
        .filter(|item| wanted.collection.is_empty() || item.collection == wanted.collection)
        .filter(|item| words.is_empty() || item.holds(&words))
        .collect();
    let from = wanted.from.parse().unwrap_or(0).min(found.len());
    let shown = &found[from..found.len().min(from + PAGE)];
    let path = items_path(&table, &owner);
    let fields = [
        Field::Search { name: "q", label: "Search", value: &wanted.q, hint: "Anything in the item or its key" },
        Field::Choice {
            name: "collection",
            label: "Collection",
            value: &wanted.collection,
            options: collections.into_iter().map(|name| (name.to_owned(), name.to_owned())).collect(),
        },
    ];
    let turn = |from: usize| {
        format!("{path}{}", parts::query(&[("q", &wanted.q), ("collection", &wanted.collection), ("from", &from.to_string())]))
    };
    let tenant = (owner != SHARED).then(|| Tenants::of(&console).get(&owner));
    let title = match &tenant {
        None => "What belongs to no tenant".to_owned(),
        Some(tenant) if tenant.name.is_empty() => tenant.id.clone(),
        Some(tenant) => tenant.name.clone(),
    };
    let content = html! {
        p .row {
            a href="/table" { "All tenants" }
            @if let Some(tenant) = &tenant {
                span .quiet { (tenant.slug) }
                (parts::copyable_value("tenant-id", "the tenant's id", &tenant.id))
                a href={ "/requests" (parts::query(&[("tenant", &tenant.id)])) } { "Its requests" }
            }
        }
        (parts::filters(&path, "#results", &fields))
        div #results .stack {
            (parts::count(found.len(), Some(all.len()), "item", "items"))
            @if found.is_empty() {
                (parts::nothing(html! { @if all.is_empty() { "No items." } @else { "No item fits the filter." } }))
            } @else {
                div .items {
                    @for (index, item) in shown.iter().enumerate() {
                        details open[found.len() <= FEW] {
                            summary { strong { (item.collection) } span .id.quiet { (item.sk) } }
                            div {
                                div .sheet tabindex="0" role="region" aria-label={ (item.collection) " " (item.sk) } {
                                    div #{ "item-" (index) } { (parts::json(&item.content)) }
                                }
                                div { (parts::copy_button(&format!("item-{index}"), "the item")) }
                            }
                        }
                    }
                }
                @if found.len() > PAGE {
                    nav .row aria-label="Pages" {
                        @if from > 0 { a .button href=(turn(from.saturating_sub(PAGE))) { "Previous" } }
                        span .quiet { (from + 1) "–" (from + shown.len()) " of " (found.len()) }
                        @if from + PAGE < found.len() { a .button href=(turn(from + PAGE)) { "Next" } }
                    }
                }
            }
        }
    };
    Ok(page(Section::Table, &title, content).into_response())
}

impl Item {
    fn new(item: &Value) -> Item {
        let content = plain_item(item);
        let text = |name: &str| content[name].as_str().unwrap_or_default().to_owned();
        Item { collection: collection_of(&text("pk")), sk: text("sk"), content }
    }

    fn holds(&self, words: &[String]) -> bool {
        let text = self.content.to_string().to_lowercase();
        words.iter().all(|word| text.contains(word.as_str()))
    }
}

/// The owner of a partition: the tenant of `T#<tenant>#…`, otherwise none.
fn owner_of(partition: &str) -> &str {
    let mut parts = partition.split('#');
    match (parts.next(), parts.next()) {
        (Some("T"), Some(tenant)) => tenant,
        _ => SHARED,
    }
}

/// The content of a partition: the first word after its owner.
fn collection_of(partition: &str) -> String {
    let mut parts = partition.split('#');
    let rest = match parts.next() {
        Some("T") => parts.nth(1),
        _ => parts.next(),
    };
    rest.unwrap_or(partition).to_owned()
}

fn items_path(table: &str, owner: &str) -> String {
    format!("/table/{}/{}", parts::encoded(table), parts::encoded(owner))
}

fn items_of(console: &Console, table: &str, owner: &str) -> Result<Vec<Item>, PageError> {
    let (condition, prefix) = match owner {
        SHARED => ("NOT begins_with(pk, :prefix)", "T#".to_owned()),
        tenant => ("begins_with(pk, :prefix)", format!("T#{tenant}#")),
    };
    let request = json!({
        "TableName": table,
        "FilterExpression": condition,
        "ExpressionAttributeValues": { ":prefix": { "S": prefix } },
    });
    let mut found = scan(console, request)?;
    found.sort_by_cached_key(|item| (item["pk"].to_string(), item["sk"].to_string()));
    Ok(found.iter().map(Item::new).collect())
}

fn scan(console: &Console, mut request: Value) -> Result<Vec<Value>, PageError> {
    let mut items = Vec::new();
    loop {
        let page = console.aws.scan(request.clone())?;
        items.extend(page["Items"].as_array().cloned().unwrap_or_default());
        match page.get("LastEvaluatedKey").filter(|key| !key.is_null()) {
            Some(key) => request["ExclusiveStartKey"] = key.clone(),
            None => return Ok(items),
        }
    }
}
