//! One tenant with one project, created by the product itself, and the table calls of one read of it, which the contenders repeat.
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    Outcome,
    certificates::Trust,
    contenders::{Contender, Places, function},
    events::Ask,
    keys,
    process::{Instance, Program},
    proxy::Call,
    world::World,
};

pub struct Fixture {
    pub token: String,
    pub project: String,
    /// What a contender needs to make the same calls.
    pub contender_environment: Vec<(String, String)>,
}

/// After this many requests in a tenant's day, a lease has its largest size.
const YOUNG_DAY: usize = 16 * 32;

#[derive(Serialize, Deserialize)]
struct Key {
    pk: String,
    sk: String,
}

impl Fixture {
    pub async fn create(world: &World, places: &Places, trust: &Trust, ours: &Contender) -> Outcome<Self> {
        let logs = places.logs();
        let helper = |name: &str| helper(world, places, trust, name, false);
        keys::create(world).await?;
        let mut auth = Instance::start(&helper("auth")?, &logs).await?;
        let person = json!({ "email": "bench@example.com", "name": "Bench", "company_name": "Bench" });
        let demo = data(&auth.request(&Ask::new("POST", "/api/v1/demo").body(person).event()).await?.body)?;
        // A plan with a daily quota for the whole run.
        let mut operator = Instance::start(&helper("operator")?, &logs).await?;
        let convert = json!({ "command": "convert-demo", "tenant": demo["tenant_slug"], "plan": "pro" });
        operator.invoke(&convert.to_string()).await?;
        operator.stop().await?;
        let login = json!({ "email": demo["email"], "password": demo["password"] });
        let login = data(&auth.request(&Ask::new("POST", "/api/v1/auth/login").body(login).event()).await?.body)?;
        auth.stop().await?;
        let token = login["token"].as_str().ok_or("login gave no token")?.to_owned();

        let mut projects = Instance::start(&ours.program, &logs).await?;
        let body = json!({ "name": "Marketing Campaign", "description": "Q1 marketing initiatives", "color": "#3B82F6" });
        let create = Ask::new("POST", "/api/v1/projects").token(&token).body(body);
        let created = data(&projects.request(&create.event()).await?.body)?;
        let project = created["id"].as_str().ok_or("the created project has no id")?.to_owned();
        let ask = Ask::new("GET", format!("/api/v1/projects/{project}")).token(&token);
        // A tenant's first requests of a day, and the first of an instance, also lease quota. The usual requests come after that.
        for _ in 0..YOUNG_DAY {
            projects.request(&ask.event()).await?;
        }
        let mut calls = record(world, &mut projects, &ask).await?;
        if calls.len() > 2 {
            // It took a lease by chance, so the next one takes none.
            calls = record(world, &mut projects, &ask).await?;
        }
        projects.stop().await?;
        let contender_environment = calls_to_repeat(&calls, &world.table, &project)?;
        Ok(Self { token, project, contender_environment })
    }

    pub fn ask(&self) -> Ask {
        Ask::new("GET", format!("/api/v1/projects/{}", self.project)).token(&self.token)
    }
}

/// A function beside the one that is compared.
pub fn helper(world: &World, places: &Places, trust: &Trust, name: &str, release: bool) -> Outcome<Program> {
    let path = function(places, name, release)?;
    let environment = vec![("TRUST_ROOTS".to_owned(), trust.product.display().to_string())];
    let program = Program { name: name.to_owned(), path, arguments: vec![], folder: places.root.clone(), environment };
    Ok(world.place(program, name))
}

/// The table calls of one request.
async fn record(world: &World, instance: &mut Instance, ask: &Ask) -> Outcome<Vec<Call>> {
    world.recorder.start(std::time::Duration::ZERO);
    instance.request(&ask.event()).await?;
    Ok(world.recorder.stop())
}

fn data(body: &str) -> Outcome<Value> {
    Ok(serde_json::from_str::<Value>(body)?["data"].take())
}

fn calls_to_repeat(calls: &[Call], table: &str, project: &str) -> Outcome<Vec<(String, String)>> {
    let one = |operation: &str| {
        let mut found = calls.iter().filter(|call| call.operation == operation);
        found.next().filter(|_| found.next().is_none())
    };
    let (Some(read), Some(count), 2) = (one("BatchGetItem"), one("UpdateItem"), calls.len()) else {
        let names: Vec<&str> = calls.iter().map(|call| call.operation.as_str()).collect();
        return Err(format!("reading a project makes the calls {names:?}; the contenders know one BatchGetItem and one UpdateItem").into());
    };
    let key = |key: &Value| -> Outcome<Key> {
        let part = |name: &str| key[name]["S"].as_str().map(str::to_owned).ok_or("a key without pk or sk");
        Ok(Key { pk: part("pk")?, sk: part("sk")? })
    };
    let keys = read.request["RequestItems"][table]["Keys"].as_array().ok_or("a batch read without keys")?;
    let keys = keys.iter().map(key).collect::<Outcome<Vec<Key>>>()?;
    let items = read.answer["Responses"][table].as_array().ok_or("a batch read without items")?;
    let sorts = items.iter().filter_map(|item| item["sk"]["S"].as_str());
    let sort = sorts.into_iter().find(|sort| sort.ends_with(project)).ok_or("the project was not read by its id")?;
    Ok(vec![
        ("BENCH_READS".to_owned(), serde_json::to_string(&keys)?),
        ("BENCH_ITEMS".to_owned(), items.len().to_string()),
        ("BENCH_PROJECT".to_owned(), sort.to_owned()),
        ("BENCH_COUNTER".to_owned(), serde_json::to_string(&key(&count.request["Key"])?)?),
    ])
}
