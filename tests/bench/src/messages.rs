//! What it takes to accept a message to a phone, with the real `messages`: the table's units, the round trips and the CPU time of `POST /v1/messages`, and a
//! page of its list near its beginning and far from it.
use dynoxide::{ImportOptions, types::Item};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    Outcome,
    certificates::Trust,
    contenders::Places,
    events::Ask,
    fixture::{self, Fixture},
    lists::{first_millisecond, stored},
    process::Instance,
    proxy::{HOLD, serial_round_trips},
    statistics::{Summary, milliseconds},
    tally,
    world::World,
};

const MESSAGES: &str = "/v1/messages";
const TIMES: u32 = 40;
const SERIES: usize = 5;
/// Messages of the long list.
const MANY: usize = 20_000;
/// Pages of it that are read to come to its middle.
const PAGES: usize = 100;

#[derive(Serialize)]
pub struct MessageCost {
    /// To a number that was written to before, and to a new one.
    pub known: SendCost,
    pub new: SendCost,
    /// CPU-milliseconds of a message to a known number, warm.
    pub cpu: f64,
    pub first_page: PageCost,
    pub deep_page: PageCost,
}

#[derive(Serialize)]
pub struct SendCost {
    pub read_units: f64,
    pub write_units: f64,
    pub round_trips: usize,
}

#[derive(Serialize)]
pub struct PageCost {
    pub messages_before: usize,
    pub read_units: f64,
    pub took: Summary,
}

pub async fn measure(world: &World, places: &Places, trust: &Trust, fixture: &Fixture) -> Outcome<MessageCost> {
    let program = |name: &str| fixture::helper(world, places, trust, name, name == "messages");
    let logs = places.logs();
    let mut operator = Instance::start(&program("operator")?, &logs).await?;
    let line = json!({
        "command": "line-add", "carrier": "aws", "phone_number": "+15550100001", "capabilities": ["sms"], "active": true,
        "daily_limit": 1_000_000, "per_minute_limit": 6_000,
    });
    operator.invoke(&line.to_string()).await?;
    operator.stop().await?;
    let mut instance = Instance::start(&program("messages")?, &logs).await?;
    let to = |number: usize| {
        let body = json!({ "to": format!("+1808555{number:04}"), "body": "Hello from my tenant" });
        Ask::new("POST", MESSAGES).token(&fixture.token).body(body).event()
    };
    // The first request of an instance does more.
    for _ in 0..3 {
        instance.request(&to(0)).await?;
    }
    let (new, known) = (sent(world, &mut instance, &to(1)).await?, sent(world, &mut instance, &to(0)).await?);
    let mut cpu = f64::MAX;
    for _ in 0..SERIES {
        let before = instance.cpu().await?;
        for _ in 0..TIMES {
            instance.request(&to(0)).await?;
        }
        cpu = cpu.min(milliseconds((instance.cpu().await? - before) / TIMES));
    }
    fill(world, &mut instance, &to(2)).await?;
    let list = |cursor: Option<String>| {
        let cursor = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        Ask::new("GET", format!("{MESSAGES}?limit=100{cursor}")).token(&fixture.token).event()
    };
    let first_page = page(world, &mut instance, &list(None), 0).await?;
    let mut deep = None;
    for _ in 0..PAGES {
        let answer: Value = serde_json::from_str(&instance.request(&list(deep)).await?.body)?;
        deep = Some(answer["next_cursor"].as_str().ok_or("a list of messages ends too early")?.to_owned());
    }
    let deep_page = page(world, &mut instance, &list(deep), PAGES * 100).await?;
    instance.stop().await?;
    Ok(MessageCost { known, new, cpu, first_page, deep_page })
}

async fn sent(world: &World, instance: &mut Instance, event: &str) -> Outcome<SendCost> {
    world.recorder.start(HOLD);
    instance.request(event).await?;
    let calls = world.recorder.stop();
    let sum = |writes: bool| calls.iter().filter(|call| call.writes() == writes).map(|call| call.units).sum();
    Ok(SendCost { read_units: sum(false), write_units: sum(true), round_trips: serial_round_trips(&calls) })
}

async fn page(world: &World, instance: &mut Instance, event: &str, messages_before: usize) -> Outcome<PageCost> {
    world.recorder.tally.start();
    instance.request(event).await?;
    let (read_units, _) = tally::units(&world.recorder.tally.stop());
    let mut took = vec![];
    for _ in 0..TIMES {
        took.push(milliseconds(instance.request(event).await?.took));
    }
    Ok(PageCost { messages_before, read_units, took: Summary::of(&took) })
}

/// The product accepts one message, and the others are copies of it with their own ids, from before.
async fn fill(world: &World, instance: &mut Instance, event: &str) -> Outcome<()> {
    let answer: Value = serde_json::from_str(&instance.request(event).await?.body)?;
    let message = answer["data"]["message_id"].as_str().or(answer["message_id"].as_str()).ok_or("an answer without message_id")?;
    let hex = message.rsplit('_').next().unwrap_or_default();
    let id = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
    let (pattern, millisecond, rest) = (stored(world, &id)?, first_millisecond(&id)?, &id[13..]);
    let database = world.aws.database();
    database.enable_bulk_loading()?;
    let copies = (1..MANY).map(|number| {
        let time = millisecond - number as u64;
        let copy = format!("{:08x}-{:04x}{rest}", time >> 16, time & 0xffff);
        Ok(serde_json::from_str::<Item>(&pattern.replace(&id, &copy))?)
    });
    database.import_items(&world.table, copies.collect::<Outcome<Vec<Item>>>()?, ImportOptions::default())?;
    database.disable_bulk_loading()?;
    Ok(())
}
