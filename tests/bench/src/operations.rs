//! Every route of the `projects` function: its table calls, what they consumed, and the least possible consumption, computed by hand from
//! the key layout and the item sizes.
//!
//! The rules: a strongly consistent read is 1 RRU for each 4 KB; in a batch this holds for each item, found or not. A write is 1 WRU for
//! each KB, 2 in a transaction, and 1 more for each changed entry of the index. All items here are below 1 KB. Every request reads session,
//! member and tenant (3 RRU) and writes its rate window (1 WRU).
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    Outcome,
    contenders::Contender,
    events::Ask,
    fixture::Fixture,
    process::Instance,
    proxy::{Call, HOLD, serial_round_trips},
    statistics::{Summary, milliseconds},
    world::World,
};

const DOOR: Units = Units { read: 3.0, write: 1.0 };
/// A project is read from both shelves, active and archived.
const PROJECT: f64 = 2.0;
/// A task is read together with the mark of a deleted project.
const TASK: f64 = 2.0;
/// A put or delete in a transaction of an item that has an entry in the index.
const LISTED: f64 = 3.0;
/// A counter moved in a transaction.
const COUNTER: f64 = 2.0;

#[derive(Serialize, Clone, Copy, PartialEq, Debug)]
pub struct Units {
    pub read: f64,
    pub write: f64,
}

#[derive(Serialize)]
pub struct Operation {
    pub name: &'static str,
    pub route: &'static str,
    pub calls: Vec<String>,
    pub consumed: Units,
    pub minimum: Units,
    pub round_trips: usize,
    pub round_trips_allowed: usize,
}

#[derive(Serialize)]
pub struct Operations {
    pub operations: Vec<Operation>,
    /// TLS handshakes before the first request, and in it.
    pub handshakes: (usize, usize),
    /// WRU for rate limits and quota in each request.
    pub limit_writes: f64,
    /// Milliseconds of a warm read outside its table calls.
    pub outside_table: Summary,
    /// CPU-milliseconds of one request of the most expensive operation.
    pub heaviest_cpu: f64,
    pub heaviest: &'static str,
}

struct Course<'a> {
    instance: Instance,
    world: &'a World,
    token: &'a str,
    done: Vec<Operation>,
}

pub async fn measure(world: &World, fixture: &Fixture, ours: &Contender, logs: &std::path::Path) -> Outcome<Operations> {
    let before = world.recorder.handshakes();
    let mut instance = Instance::start(&ours.program, logs).await?;
    let started = world.recorder.handshakes();
    instance.request(&fixture.ask().event()).await?;
    let handshakes = (started - before, world.recorder.handshakes() - started);
    let mut course = Course { instance, world, token: &fixture.token, done: Vec::new() };
    course.projects_and_tasks().await?;
    let limit_writes = course.limit_writes(fixture).await?;
    let outside_table = course.outside_table(fixture).await?;
    let (heaviest, heaviest_cpu) = course.heaviest().await?;
    course.instance.stop().await?;
    Ok(Operations { operations: course.done, handshakes, limit_writes, outside_table, heaviest_cpu, heaviest })
}

impl Course<'_> {
    async fn projects_and_tasks(&mut self) -> Outcome<()> {
        let body = json!({ "name": "Counted", "description": "Every unit of it", "color": "#10B981", "settings": {} });
        let create = Units { read: 0.0, write: LISTED + COUNTER };
        let project =
            self.one("create project", "POST /api/v1/projects", Ask::new("POST", "/api/v1/projects").body(body.clone()), create, 2).await?;
        let id = text(&project, "id")?;
        let path = format!("/api/v1/projects/{id}");

        let read = Units { read: PROJECT, write: 0.0 };
        self.one("get project", "GET /api/v1/projects/{}", Ask::new("GET", path.as_str()), read, 2).await?;
        // The counter of the shelf is read with the door. One page is below 4 KB.
        let page = Units { read: 1.0 + 1.0, write: 0.0 };
        self.one("list projects", "GET /api/v1/projects", Ask::new("GET", "/api/v1/projects"), page, 2).await?;
        let change = Units { read: PROJECT, write: 1.0 + 1.0 };
        self.one(
            "update project",
            "PUT /api/v1/projects/{}",
            Ask::new("PUT", path.as_str()).body(json!({ "name": "Counted again" })),
            change,
            2,
        )
        .await?;

        let tasks = format!("{path}/tasks");
        let task = json!({ "title": "New Task", "description": "Task description", "priority": "high" });
        let create = Units { read: PROJECT, write: LISTED + COUNTER };
        let task =
            self.one("create task", "POST /api/v1/projects/{}/tasks", Ask::new("POST", tasks.as_str()).body(task), create, 2).await?;
        let task = format!("/api/v1/tasks/{}", text(&task, "id")?);
        let read = Units { read: TASK, write: 0.0 };
        self.one("get task", "GET /api/v1/tasks/{}", Ask::new("GET", task.as_str()), read, 2).await?;
        let page = Units { read: PROJECT + 1.0, write: 0.0 };
        self.one("list tasks", "GET /api/v1/projects/{}/tasks", Ask::new("GET", tasks.as_str()), page, 2).await?;
        // The index is read eventually consistent, then the records of the page are read.
        let filtered = Units { read: PROJECT + 0.5 + 1.0, write: 0.0 };
        self.one("list tasks, filtered", "GET /api/v1/projects/{}/tasks", Ask::new("GET", format!("{tasks}?status=todo")), filtered, 3)
            .await?;
        self.one(
            "list tasks, sorted by due date",
            "GET /api/v1/projects/{}/tasks",
            Ask::new("GET", format!("{tasks}?sort=due_date")),
            filtered,
            3,
        )
        .await?;
        let change = Units { read: TASK, write: 1.0 + 1.0 };
        self.one(
            "update task",
            "PUT /api/v1/tasks/{}",
            Ask::new("PUT", task.as_str()).body(json!({ "title": "Another title" })),
            change,
            2,
        )
        .await?;
        let complete = Units { read: TASK, write: LISTED + COUNTER };
        self.one("complete task", "POST /api/v1/tasks/{}/complete", Ask::new("POST", format!("{task}/complete")), complete, 2).await?;
        // A deletion writes a removal for the audit log.
        let delete = Units { read: TASK, write: LISTED + COUNTER + 2.0 };
        self.one("delete task", "DELETE /api/v1/tasks/{}", Ask::new("DELETE", task.as_str()), delete, 2).await?;

        let shelve = Units { read: PROJECT, write: 2.0 * LISTED + 2.0 * COUNTER };
        self.one("archive project", "POST /api/v1/projects/{}/archive", Ask::new("POST", format!("{path}/archive")), shelve, 2).await?;
        self.one("unarchive project", "POST /api/v1/projects/{}/unarchive", Ask::new("POST", format!("{path}/unarchive")), shelve, 2)
            .await?;
        // The project, its counter, and the tombstone that hides its tasks at once.
        let delete = Units { read: PROJECT, write: LISTED + COUNTER + 2.0 + 2.0 };
        self.one("delete project", "DELETE /api/v1/projects/{}", Ask::new("DELETE", path.as_str()), delete, 2).await?;

        let once = |key: &str| Ask::new("POST", "/api/v1/projects").body(body.clone()).header("idempotency-key", key);
        let recorded = Units { read: 1.0, write: LISTED + COUNTER + 2.0 };
        let project = self.one("create project once", "POST /api/v1/projects", once("bench"), recorded, 2).await?;
        let replayed = Units { read: 1.0, write: 0.0 };
        self.one("create project once, again", "POST /api/v1/projects", once("bench"), replayed, 2).await?;
        let path = format!("/api/v1/projects/{}", text(&project, "id")?);
        self.instance.request(&Ask::new("DELETE", path).token(self.token).event()).await?;
        Ok(())
    }

    /// `above` is what the operation itself needs in addition to what every request needs.
    async fn one(&mut self, name: &'static str, route: &'static str, ask: Ask, above: Units, round_trips_allowed: usize) -> Outcome<Value> {
        self.world.recorder.start(HOLD);
        let answer = self.instance.request(&ask.token(self.token).event()).await.map_err(|error| format!("{name}: {error}"))?;
        let calls = self.world.recorder.stop();
        // Every 32nd request takes a lease of the daily quota, which `limit_writes` includes.
        let calls: Vec<Call> = calls.into_iter().filter(|call| !is_lease(call)).collect();
        self.done.push(Operation {
            name,
            route,
            consumed: units(&calls),
            minimum: Units { read: DOOR.read + above.read, write: DOOR.write + above.write },
            round_trips: serial_round_trips(&calls),
            round_trips_allowed,
            calls: calls.iter().map(|call| call.operation.clone()).collect(),
        });
        Ok(serde_json::from_str::<Value>(&answer.body)?["data"].take())
    }

    async fn limit_writes(&mut self, fixture: &Fixture) -> Outcome<f64> {
        const REQUESTS: usize = 160;
        self.world.recorder.start(Duration::ZERO);
        for _ in 0..REQUESTS {
            self.instance.request(&fixture.ask().event()).await?;
        }
        Ok(units(&self.world.recorder.stop()).write / REQUESTS as f64)
    }

    /// The function's own measurement: the whole request without its waiting for the table.
    async fn outside_table(&mut self, fixture: &Fixture) -> Outcome<Summary> {
        const TIMES: usize = 200;
        for _ in 0..TIMES {
            self.instance.request(&fixture.ask().event()).await?;
        }
        let lines = self.instance.request_lines(TIMES)?;
        let outside = |line: &Value| Some(line["latency_ms"].as_f64()? - line["table_ms"].as_f64()?);
        let samples: Option<Vec<f64>> = lines.iter().map(outside).collect();
        Ok(Summary::of(&samples.ok_or("a log line without latency_ms or table_ms")?))
    }

    /// The largest page of the list, and the writes, many times.
    async fn heaviest(&mut self) -> Outcome<(&'static str, f64)> {
        const TIMES: u32 = 20;
        const SERIES: usize = 4;
        let body = json!({ "name": "Heavy", "description": "d".repeat(600), "color": "#10B981", "settings": {} });
        let project = Ask::new("POST", "/api/v1/projects").token(self.token).body(body);
        let project: Value = serde_json::from_str(&self.instance.request(&project.event()).await?.body)?;
        let path = format!("/api/v1/projects/{}", text(&project["data"], "id")?);
        let tasks = format!("{path}/tasks");
        let task = Ask::new("POST", tasks.as_str()).token(self.token).body(json!({ "title": "t", "description": "d".repeat(600) }));
        for _ in 0..120 {
            self.instance.request(&task.event()).await?;
        }
        let candidates = [
            ("list of 15 tasks", Ask::new("GET", tasks.as_str())),
            ("list of 15 tasks, filtered", Ask::new("GET", format!("{tasks}?status=todo&sort=due_date"))),
            ("list of 100 tasks", Ask::new("GET", format!("{tasks}?per_page=100"))),
            ("create task", Ask::new("POST", tasks.as_str()).body(json!({ "title": "t", "description": "d".repeat(600) }))),
            ("update project", Ask::new("PUT", path.as_str()).body(json!({ "name": "Heavier" }))),
        ];
        let mut worst = ("", 0.0);
        for (name, ask) in candidates {
            let event = ask.token(self.token).event();
            self.instance.request(&event).await?;
            // The fastest of a few series, to exclude other work of the machine.
            let mut cpu = f64::MAX;
            for _ in 0..SERIES {
                let before = self.instance.cpu().await?;
                for _ in 0..TIMES {
                    self.instance.request(&event).await?;
                }
                cpu = cpu.min(milliseconds((self.instance.cpu().await? - before) / TIMES));
            }
            if cpu > worst.1 {
                worst = (name, cpu);
            }
        }
        self.instance.request(&Ask::new("DELETE", path).token(self.token).event()).await?;
        Ok(worst)
    }
}

/// Routes of the function in `openapi.json` that no operation above measures.
pub fn uncounted(openapi: &Value, operations: &[Operation]) -> Vec<String> {
    let mut routes = Vec::new();
    for (path, methods) in openapi["paths"].as_object().into_iter().flatten() {
        if !path.starts_with("/api/v1/projects") && !path.starts_with("/api/v1/tasks") {
            continue;
        }
        let path: Vec<&str> = path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect();
        for method in methods.as_object().into_iter().flatten().map(|(method, _)| method.to_uppercase()) {
            if ["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&method.as_str()) {
                routes.push(format!("{method} {}", path.join("/")));
            }
        }
    }
    routes.retain(|route| operations.iter().all(|operation| operation.route != route));
    routes
}

fn units(calls: &[Call]) -> Units {
    let sum = |writes: bool| calls.iter().filter(|call| call.writes() == writes).map(|call| call.units).sum();
    Units { read: sum(false), write: sum(true) }
}

fn is_lease(call: &Call) -> bool {
    call.operation == "UpdateItem" && call.request["Key"]["pk"]["S"].as_str().is_some_and(|pk| pk.ends_with("#usage"))
}

fn text(value: &Value, name: &str) -> Outcome<String> {
    Ok(value[name].as_str().ok_or_else(|| format!("an answer without `{name}`: {value}"))?.to_owned())
}
