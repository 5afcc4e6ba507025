//! The first page of a list of tasks with 100, 10,000 and 1,000,000 items: the same units and the same time. Those of leads are in `engine.rs`.
use dynoxide::{ImportOptions, types::Item};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    Outcome,
    contenders::Contender,
    events::Ask,
    fixture::Fixture,
    process::Instance,
    proxy::HOLD,
    statistics::{Summary, milliseconds},
    world::World,
};

const SIZES: [usize; 3] = [100, 10_000, 1_000_000];
/// A filter reads the whole index of its project. Longer lists are for the default order.
const LONGEST_FILTERED: usize = 10_000;
const TIMES: usize = 40;
/// These must cost the same at any size.
pub const TASKS: &str = "tasks, default order";
pub const LEADS: &str = "leads, default order";

#[derive(Serialize)]
pub struct ListCost {
    pub items: usize,
    pub list: &'static str,
    pub took: Summary,
    pub read_units: f64,
    pub calls: usize,
    pub cpu: f64,
}

pub async fn measure(world: &World, fixture: &Fixture, ours: &Contender, logs: &std::path::Path, longest: usize) -> Outcome<Vec<ListCost>> {
    let mut instance = Instance::start(&ours.program, logs).await?;
    let mut lists = Vec::new();
    for size in SIZES.into_iter().filter(|size| *size <= longest) {
        lists.push((size, fill(world, fixture, &mut instance, size).await?));
    }
    let mut costs = Vec::new();
    for (size, path) in &lists {
        costs.push(cost(world, &mut instance, *size, TASKS, &Ask::new("GET", path).token(&fixture.token), "/meta/total").await?);
    }
    for (size, path) in lists.iter().filter(|(size, _)| *size <= LONGEST_FILTERED) {
        let filtered = format!("{path}?status=todo&sort=due_date");
        let ask = Ask::new("GET", filtered).token(&fixture.token);
        costs.push(cost(world, &mut instance, *size, "filtered and sorted", &ask, "/meta/total").await?);
    }
    instance.stop().await?;
    Ok(costs)
}

/// `total`: where the answer says how many there are.
pub async fn cost(world: &World, instance: &mut Instance, items: usize, list: &'static str, ask: &Ask, total: &str) -> Outcome<ListCost> {
    let event = ask.event();
    let answer: Value = serde_json::from_str(&instance.request(&event).await?.body)?;
    let total = answer.pointer(total).cloned().unwrap_or_default();
    if total != items {
        return Err(format!("a list of {items} items says its total is {total}").into());
    }
    let before = instance.cpu().await?;
    let mut took = Vec::new();
    for _ in 0..TIMES {
        took.push(milliseconds(instance.request(&event).await?.took));
    }
    let cpu = milliseconds((instance.cpu().await? - before) / TIMES as u32);
    world.recorder.start(HOLD);
    instance.request(&event).await?;
    let calls = world.recorder.stop();
    let read_units = calls.iter().filter(|call| !call.writes()).map(|call| call.units).sum();
    Ok(ListCost { items, list, took: Summary::of(&took), read_units, calls: calls.len(), cpu })
}

/// A project with this many tasks. The product creates the project and the first task, and the others are copies with their own ids.
async fn fill(world: &World, fixture: &Fixture, instance: &mut Instance, size: usize) -> Outcome<String> {
    let body = json!({ "name": format!("List of {size}") });
    let project = create(instance, fixture, "/api/v1/projects", body).await?;
    let tasks = format!("/api/v1/projects/{project}/tasks");
    let body = json!({ "title": "Design homepage mockup", "description": "Create wireframes for the new homepage", "priority": "high" });
    let task = create(instance, fixture, &tasks, body).await?;

    let (pattern, counts) = (stored(world, &task)?, stored(world, &project)?);
    let (millisecond, rest) = (first_millisecond(&task)?, &task[13..]);
    let database = world.aws.database();
    database.enable_bulk_loading()?;
    for start in (1..size).step_by(20_000) {
        let copies = (start..size.min(start + 20_000)).map(|number| {
            // One millisecond older each, so that the list keeps its order.
            let time = millisecond - number as u64;
            let id = format!("{:08x}-{:04x}{rest}", time >> 16, time & 0xffff);
            Ok(serde_json::from_str::<Item>(&pattern.replace(&task, &id))?)
        });
        database.import_items(&world.table, copies.collect::<Outcome<Vec<Item>>>()?, ImportOptions::default())?;
    }
    database.disable_bulk_loading()?;
    let counts: Value = serde_json::from_str(&counts)?;
    let update = json!({
        "TableName": world.table,
        "Key": { "pk": counts["pk"], "sk": counts["sk"] },
        "UpdateExpression": "SET open_tasks = :n",
        "ExpressionAttributeValues": { ":n": { "N": size.to_string() } },
    });
    database.update_item(serde_json::from_value(update)?)?;
    Ok(tasks)
}

async fn create(instance: &mut Instance, fixture: &Fixture, path: &str, body: Value) -> Outcome<String> {
    let answer = instance.request(&Ask::new("POST", path).token(&fixture.token).body(body).event()).await?;
    let answer: Value = serde_json::from_str(&answer.body)?;
    Ok(answer["data"]["id"].as_str().ok_or("a created record without an id")?.to_owned())
}

/// The record with that id, as DynamoDB JSON. Looked up before the table is large.
pub fn stored(world: &World, id: &str) -> Outcome<String> {
    let scan = json!({
        "TableName": world.table,
        "FilterExpression": "id = :id",
        "ExpressionAttributeValues": { ":id": { "S": id } },
        "ConsistentRead": true,
    });
    let mut scan = scan;
    loop {
        let page = world.aws.scan(scan.clone())?;
        if let Some(item) = page["Items"].as_array().and_then(|items| items.first()) {
            return Ok(item.to_string());
        }
        if page["LastEvaluatedKey"].is_null() {
            return Err(format!("no stored record has the id {id}").into());
        }
        scan["ExclusiveStartKey"] = page["LastEvaluatedKey"].clone();
    }
}

/// The first 48 bits of a time-ordered id.
pub fn first_millisecond(id: &str) -> Outcome<u64> {
    Ok(u64::from_str_radix(&format!("{}{}", &id[..8], &id[9..13]), 16)?)
}
