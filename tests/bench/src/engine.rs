//! The sending engine: how a campaign to very many leads is planned by a `sender` that dies again and again, and what its mails take. Jobs are handed over
//! here, as `relay` and the queues do on AWS.
use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use dynoxide::{ImportOptions, types::Item};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    Outcome,
    certificates::Trust,
    contenders::Places,
    events::Ask,
    fixture::{self, Fixture},
    lists::{self, ListCost},
    process::{Instance, Program},
    statistics::milliseconds,
    tally::{self, Calls, Death},
    world::World,
};

const CAMPAIGNS: &str = "/api/v1/tenant/campaigns";
const LEADS: &str = "/api/v1/tenant/leads";
const WORKSPACES: &str = "/api/v1/tenant/workspaces";

/// In each name and address of a lead that is copied.
const PATTERN: &str = "lead0000000";
/// Milliseconds from one lead to the next: a million came in two years.
const APART: u64 = 60_000;
/// Ten full waves.
const MAILS: usize = 400;
/// Leads of the short list.
const FEW: usize = 100;

#[derive(Serialize)]
pub struct EngineCost {
    pub plan: PlanCost,
    pub mails: MailCost,
}

/// A campaign to so many leads, until all are enrolled and in waves.
#[derive(Serialize)]
pub struct PlanCost {
    pub leads: usize,
    /// For each lead. Without what is tried again after a death, which is refused.
    pub read_units: f64,
    pub write_units: f64,
    /// Enrolments that were there already, when whoever came after a death made them again.
    pub repeated: usize,
    /// Leads that have not exactly one enrolment and one wave that belong together, and enrolments of nobody.
    pub wrong: usize,
    /// How often the process was killed, and how often with some leads of a page enrolled, and not all.
    pub deaths: usize,
    pub in_a_page: usize,
    pub seconds: f64,
    /// From the launch until the first wave was released.
    pub first_release: f64,
    pub megabytes: f64,
    pub calls: BTreeMap<String, Calls>,
}

/// The mails of a campaign by one worker, from the launch to the end.
#[derive(Serialize)]
pub struct MailCost {
    pub mails: usize,
    /// For each mail.
    pub read_units: f64,
    pub write_units: f64,
    pub cpu: f64,
    pub per_second: f64,
    /// From the answer of the launch until the carrier has the first mail.
    pub first: f64,
    pub megabytes: f64,
    pub calls: BTreeMap<String, Calls>,
}

/// A workspace that may send, and the programs.
struct Home<'a> {
    world: &'a World,
    token: &'a str,
    logs: &'a Path,
    sender: Program,
    campaigns: Instance,
    audience: Instance,
    workspaces: Instance,
}

/// A campaign that was launched.
struct Launched {
    /// As the table has it.
    campaign: String,
    /// Of the partitions of its workspace: `T#<tenant>#`, and the tag at their end.
    tenant: String,
    tag: String,
    at: Instant,
}

/// Also the first pages of a short and of the long list of leads.
pub async fn measure(
    world: &World,
    places: &Places,
    trust: &Trust,
    fixture: &Fixture,
    leads: usize,
) -> Outcome<(EngineCost, Vec<ListCost>)> {
    let logs = &places.logs();
    // Only the sender is measured. What the others write is the same in every build.
    let program = |name: &str| fixture::helper(world, places, trust, name, name == "sender");
    let mut home = Home {
        world,
        token: &fixture.token,
        logs,
        sender: program("sender")?,
        campaigns: Instance::start(&program("campaigns")?, logs).await?,
        audience: Instance::start(&program("audience")?, logs).await?,
        workspaces: Instance::start(&program("workspaces")?, logs).await?,
    };
    let mails = home.mails().await?;
    let (few, many) = (home.workspace("Few").await?, home.workspace("Plan").await?);
    home.fill(&few, FEW).await?;
    let first = home.fill(&many, leads).await?;
    let lists = home.lists(&[(FEW, &few), (leads, &many)]).await?;
    let plan = home.plan(leads, &many, &first).await?;
    home.campaigns.stop().await?;
    home.audience.stop().await?;
    home.workspaces.stop().await?;
    Ok((EngineCost { plan, mails }, lists))
}

impl Home<'_> {
    async fn mails(&mut self) -> Outcome<MailCost> {
        let workspace = self.workspace("Mails").await?;
        let mut leads = vec![];
        for number in 0..MAILS {
            leads.push(self.lead(&workspace, &format!("lead{number}")).await?);
        }
        let mut sender = Instance::start(&self.sender, self.logs).await?;
        let mut news = self.world.aws.mailbox().news();
        let before = sender.cpu().await?;
        self.world.recorder.tally.start();
        let launched = self.launch(&workspace, json!({ "lead_ids": leads }), Value::Null).await?;
        let at = launched.at;
        let first = tokio::spawn(async move { news.changed().await.map(|()| at.elapsed()) });
        for due in self.due(&launched)? {
            handled(&mut sender, &due).await?;
        }
        let began = Instant::now();
        let waves = self.released(&launched)?;
        for wave in &waves {
            handled(&mut sender, wave).await?;
        }
        let took = began.elapsed();
        // The last look, after which the campaign is completed.
        for due in self.due(&launched)? {
            handled(&mut sender, &due).await?;
        }
        let calls = self.world.recorder.tally.stop();
        let campaign = self.record(&launched, "campaigns")?;
        let (sent, status) = (number(&campaign, "sent"), campaign["status"]["S"].as_str().unwrap_or_default());
        if (sent, status) != (MAILS, "completed") {
            return Err(format!("of {MAILS} mails of a campaign {sent} were sent, and it is {status}").into());
        }
        let cpu = milliseconds(sender.cpu().await? - before) / MAILS as f64;
        let (read, write) = tally::units(&calls);
        let cost = MailCost {
            mails: MAILS,
            read_units: read / MAILS as f64,
            write_units: write / MAILS as f64,
            cpu,
            per_second: MAILS as f64 / took.as_secs_f64(),
            first: milliseconds(first.await??),
            megabytes: sender.peak_memory()?,
            calls,
        };
        sender.stop().await?;
        Ok(cost)
    }

    /// One mail a day, which nobody sends here: what is measured is the plan alone.
    async fn plan(&mut self, leads: usize, workspace: &str, first: &str) -> Outcome<PlanCost> {
        self.world.recorder.tally.start();
        let launched = self.launch(workspace, json!({ "tag": "everybody" }), json!(1)).await?;
        let (mut died, mut in_a_page, mut megabytes, mut first_release) = (0, 0, 0.0_f64, None);
        let deaths = deaths(leads);
        let (all, mut deaths) = (deaths.len(), deaths.into_iter());
        let mut sender = Instance::start(&self.sender, self.logs).await?;
        self.world.recorder.tally.dies(deaths.next());
        loop {
            let [due] = &self.due(&launched)?[..] else { return Err("a campaign that is being planned has not one note".into()) };
            let lives = tokio::select! {
                done = handled(&mut sender, due) => { done?; true }
                () = self.world.recorder.tally.died() => false,
            };
            megabytes = megabytes.max(sender.peak_memory()?);
            let plan = self.record(&launched, "campaign-plans")?;
            if !lives {
                sender.stop().await?;
                died += 1;
                let begun = self.world.recorder.tally.enrolments().saturating_sub(number(&plan, "enrolled"));
                let page = plan.get("pending").map(|page| unpacked(text(&page["M"], "leads")?)).transpose()?;
                in_a_page += usize::from(begun > 0 && page.is_some_and(|page| begun < page.len()));
                // What it had sent before is refused an answer too.
                tokio::time::sleep(Duration::from_millis(20)).await;
                self.world.recorder.tally.dies(deaths.next());
                sender = Instance::start(&self.sender, self.logs).await?;
                continue;
            }
            if first_release.is_none() && !self.released(&launched)?.is_empty() {
                first_release = Some(launched.at.elapsed());
            }
            if plan["is_enrolled"]["BOOL"] == true {
                break;
            }
        }
        let seconds = launched.at.elapsed().as_secs_f64();
        sender.stop().await?;
        if died < all {
            return Err(format!("the sender was to die {all} times, and died {died} times").into());
        }
        let calls = self.world.recorder.tally.stop();
        let (read, write) = tally::units(&calls);
        Ok(PlanCost {
            leads,
            repeated: calls.get(tally::ENROLMENT).map_or(0, |calls| calls.refused),
            read_units: read / leads as f64,
            write_units: write / leads as f64,
            wrong: self.wrong(&launched, first, leads)?,
            deaths: died,
            in_a_page,
            seconds,
            first_release: first_release.unwrap_or_default().as_secs_f64(),
            megabytes,
            calls,
        })
    }

    async fn lists(&mut self, workspaces: &[(usize, &String)]) -> Outcome<Vec<ListCost>> {
        let mut costs = vec![];
        for (leads, workspace) in workspaces {
            let ask = Ask::new("GET", LEADS).token(self.token).header("x-workspace-id", *workspace);
            costs.push(lists::cost(self.world, &mut self.audience, *leads, lists::LEADS, &ask, "/pagination/total").await?);
        }
        Ok(costs)
    }

    /// Every lead has one enrolment, and is in one wave: the one that its enrolment names.
    fn wrong(&self, launched: &Launched, first: &str, leads: usize) -> Outcome<usize> {
        let (latest, rest) = (first_millisecond(first)?, &first[13..]);
        let number_of = |lead: &str| {
            let before = latest.checked_sub(first_millisecond(lead).ok()?)?;
            let number = (before / APART) as usize;
            (before % APART == 0 && number < leads && &lead[13..] == rest).then_some(number)
        };
        let (mut wrong, mut waves) = (0, BTreeMap::<String, u32>::new());
        // By the number of the lead: how often it is in a wave, and in which; what its enrolment says.
        let mut seen = vec![(0_u32, u32::MAX, u32::MAX, 0_u32); leads];
        let mut name = |wave: &str| {
            let next = waves.len() as u32;
            *waves.entry(wave.to_owned()).or_insert(next)
        };
        self.each(launched, "waves", |wave| {
            let id = name(text(wave, "id")?);
            for lead in unpacked(text(wave, "leads")?)? {
                match number_of(&lead) {
                    Some(number) => (seen[number].0, seen[number].1) = (seen[number].0 + 1, id),
                    None => wrong += 1,
                }
            }
            Ok(())
        })?;
        self.each(launched, "enrolments", |enrolment| {
            let id = name(text(&enrolment["state"]["M"], "wave")?);
            match number_of(text(enrolment, "lead")?) {
                Some(number) => (seen[number].3, seen[number].2) = (seen[number].3 + 1, id),
                None => wrong += 1,
            }
            Ok(())
        })?;
        wrong += seen.iter().filter(|(in_waves, of_wave, own, enrolments)| (*in_waves, *enrolments) != (1, 1) || of_wave != own).count();
        let plan = self.record(launched, "campaign-plans")?;
        let (enrolled, skipped) = (number(&plan, "enrolled"), number(&plan, "skipped"));
        if (enrolled, skipped) != (leads, 0) || plan.get("pending").is_some() {
            return Err(format!("the plan of {leads} leads says that {enrolled} are enrolled and {skipped} left out").into());
        }
        Ok(wrong)
    }

    async fn workspace(&mut self, name: &str) -> Outcome<String> {
        let body = json!({ "name": name, "settings": { "default_from_name": "Ada", "postal_address": "1 Main Street" } });
        let ask = Ask::new("POST", WORKSPACES).token(self.token).body(body);
        created(&self.workspaces.request(&ask.event()).await?.body)
    }

    async fn lead(&mut self, workspace: &str, name: &str) -> Outcome<String> {
        let body = json!({ "email": format!("{name}@example.com"), "first_name": name, "company": "Example Ltd", "tags": ["everybody"] });
        let ask = Ask::new("POST", LEADS).token(self.token).header("x-workspace-id", workspace).body(body);
        created(&self.audience.request(&ask.event()).await?.body)
    }

    /// The product creates the first lead. The others are copies of all that it wrote with it, each with an id and an address of its own, and are counted
    /// where it was counted. Gives the first one's id as the table has it.
    async fn fill(&mut self, workspace: &str, leads: usize) -> Outcome<String> {
        self.world.recorder.start(Duration::ZERO);
        let id = bare(&self.lead(workspace, PATTERN).await?);
        let calls = self.world.recorder.stop();
        let transaction = calls.iter().find(|call| call.operation == "TransactWriteItems").ok_or("a lead was made in no transaction")?;
        let writes = transaction.request["TransactItems"].as_array().ok_or("a transaction without items")?;
        let patterns: Vec<String> = writes
            .iter()
            .map(|write| write["Put"]["Item"].to_string())
            .filter(|item| item.contains(&id) || item.contains(PATTERN))
            .collect();
        let (latest, rest, database) = (first_millisecond(&id)?, &id[13..], self.world.aws.database());
        database.enable_bulk_loading()?;
        for start in (1..leads).step_by(20_000) {
            for pattern in &patterns {
                let copies = (start..leads.min(start + 20_000)).map(|number| {
                    let time = latest - number as u64 * APART;
                    let own = format!("{:08x}-{:04x}{rest}", time >> 16, time & 0xffff);
                    let item = pattern.replace(&id, &own).replace(PATTERN, &format!("lead{number:07}"));
                    Ok(serde_json::from_str::<Item>(&item)?)
                });
                database.import_items(&self.world.table, copies.collect::<Outcome<Vec<Item>>>()?, ImportOptions::default())?;
            }
        }
        database.disable_bulk_loading()?;
        for counter in writes.iter().filter_map(|write| write.get("Update")) {
            let update = json!({
                "TableName": self.world.table,
                "Key": counter["Key"],
                "UpdateExpression": "ADD n :n",
                "ExpressionAttributeValues": { ":n": { "N": (leads - 1).to_string() } },
            });
            database.update_item(serde_json::from_value(update)?)?;
        }
        Ok(id)
    }

    async fn launch(&mut self, workspace: &str, audience: Value, daily_limit: Value) -> Outcome<Launched> {
        let body = json!({
            "name": "Spring",
            "audience": audience,
            "settings": { "daily_limit": daily_limit },
            "sequence": [{ "type": "email", "subject": "Hi {{first_name}}", "body": "<p>Hello <a href=\"https://shop.example/a\">shop</a></p>" }],
        });
        let ask = Ask::new("POST", CAMPAIGNS).token(self.token).header("x-workspace-id", workspace).body(body);
        let id = created(&self.campaigns.request(&ask.event()).await?.body)?;
        let start = Ask::new("POST", format!("{CAMPAIGNS}/{id}/send")).token(self.token).body(json!({ "action": "start" }));
        self.campaigns.request(&start.event()).await?;
        let (at, campaign) = (Instant::now(), bare(&id));
        let notes = self.query("G#due", "0")?;
        let note = notes.iter().find(|note| note["campaign"]["S"] == campaign.as_str()).ok_or("a launch left no note")?;
        let tag = campaign.rsplit('-').next().unwrap_or_default().to_owned();
        Ok(Launched { tenant: format!("T#{}#", text(note, "tenant")?), tag, campaign, at })
    }

    /// What `relay` makes of the notes that are due.
    fn due(&self, launched: &Launched) -> Outcome<Vec<String>> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
        let is_due =
            |note: &Value| note["sk"]["S"].as_str().and_then(|sk| sk.split('#').next()?.parse().ok()).is_some_and(|at: u128| at <= now);
        let notes = self.query("G#due", "0")?;
        let own = notes.iter().filter(|note| note["campaign"]["S"] == launched.campaign.as_str() && is_due(note));
        Ok(own.map(|note| message(&json!({ "due": plain(note, &["due_at", "tenant", "campaign", "mark", "rounds"]) }))).collect())
    }

    /// What `relay` makes of the waves that were released.
    fn released(&self, launched: &Launched) -> Outcome<Vec<String>> {
        let waves = self.query(&launched.partition("waves"), &launched.campaign)?;
        let released = waves.iter().filter(|wave| wave["state"]["M"]["at"]["S"] == "released");
        let tenant = launched.tenant.split('#').nth(1).unwrap_or_default();
        let job =
            |wave| json!({ "tenant": tenant, "within": launched.tag, "wave": plain(wave, &["campaign", "is_first", "due", "id", "mark"]) });
        Ok(released.map(|wave| message(&job(wave))).collect())
    }

    /// The campaign itself, or its plan.
    fn record(&self, launched: &Launched, collection: &str) -> Outcome<Value> {
        let found = self.world.aws.item(&self.world.table, &launched.partition(collection), &launched.campaign)?;
        found.ok_or_else(|| format!("the campaign has no record in {collection}").into())
    }

    fn each(&self, launched: &Launched, collection: &str, mut each: impl FnMut(&Value) -> Outcome<()>) -> Outcome<()> {
        let mut after = Value::Null;
        loop {
            let page = self.page(&launched.partition(collection), &launched.campaign, after)?;
            page["Items"].as_array().into_iter().flatten().try_for_each(&mut each)?;
            after = page["LastEvaluatedKey"].clone();
            if after.is_null() {
                return Ok(());
            }
        }
    }

    /// The first page of what lies there.
    fn query(&self, partition: &str, start: &str) -> Outcome<Vec<Value>> {
        Ok(self.page(partition, start, Value::Null)?["Items"].as_array().cloned().unwrap_or_default())
    }

    fn page(&self, partition: &str, start: &str, after: Value) -> Outcome<Value> {
        let mut request = json!({
            "TableName": self.world.table,
            // Without it, the embedded table reads all that follows for each page.
            "Limit": 1_000,
            "KeyConditionExpression": "pk = :pk AND begins_with(sk, :sk)",
            "ExpressionAttributeValues": { ":pk": { "S": partition }, ":sk": { "S": start } },
        });
        if !after.is_null() {
            request["ExclusiveStartKey"] = after;
        }
        Ok(serde_json::to_value(self.world.aws.database().query(serde_json::from_value(request)?)?)?)
    }
}

impl Launched {
    fn partition(&self, collection: &str) -> String {
        format!("{}{collection}#{}", self.tenant, self.tag)
    }
}

/// Before and after the first page is written down. Then, spread over the enrolment: before and after the transaction that ends a page, and at some of
/// the writes between.
fn deaths(leads: usize) -> Vec<Death> {
    let both = |kind| [false, true].map(|is_written| (kind, is_written));
    let spread = [tally::ENROLMENT, tally::TRANSACTION, tally::ENROLMENT, tally::ENROLMENT].into_iter().flat_map(both);
    let part = leads / 9;
    // Where in a page that is, is another matter each time.
    let some = || uuid::Uuid::now_v7().as_u128() as usize % (part / 2).max(1);
    let spread = spread.zip(1..).map(|((kind, is_written), number)| Death { kind, after: part * number + some(), is_written });
    both(tally::PLAN).map(|(kind, is_written)| Death { kind, after: 0, is_written }).into_iter().chain(spread).collect()
}

/// A job that fails would come again. Here it shall not.
async fn handled(sender: &mut Instance, message: &str) -> Outcome<()> {
    let (_, answer) = sender.invoke(message).await?;
    match answer["batchItemFailures"].as_array() {
        Some(failures) if failures.is_empty() => Ok(()),
        _ => Err(format!("a job of the sender failed: {answer}").into()),
    }
}

/// A batch of one, as the queue gives it.
fn message(job: &Value) -> String {
    let record = json!({
        "messageId": uuid::Uuid::now_v7().to_string(),
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:bench",
        "body": job.to_string(),
    });
    json!({ "Records": [record] }).to_string()
}

/// Some attributes of an item, as JSON.
fn plain(item: &Value, names: &[&str]) -> Value {
    let value = |attribute: &Value| match attribute["N"].as_str().and_then(|number| number.parse::<u64>().ok()) {
        Some(number) => json!(number),
        None if attribute["BOOL"].is_boolean() => attribute["BOOL"].clone(),
        None => attribute["S"].clone(),
    };
    Value::Object(names.iter().map(|name| ((*name).to_owned(), value(&item[*name]))).collect())
}

/// The ids of leads that an item has as one text: a number of common bytes, these, the tag of the workspace, and the rest of each.
fn unpacked(text: &str) -> Outcome<Vec<String>> {
    let (common, packed) = text.split_at_checked(1).ok_or("a wave of nobody")?;
    let (common, packed) = (common.parse::<usize>()?, BASE64_URL_SAFE_NO_PAD.decode(packed)?);
    let (start, rest) = packed.split_at_checked(common).ok_or("leads without a beginning")?;
    let (tag, leads) = rest.split_at_checked(6).ok_or("leads without a workspace")?;
    let id = |own: &[u8]| uuid::Uuid::from_slice(&[start, own, tag].concat()).map(|id| id.to_string());
    Ok(leads.chunks(10 - common).map(id).collect::<Result<_, _>>()?)
}

fn created(body: &str) -> Outcome<String> {
    let answer: Value = serde_json::from_str(body)?;
    Ok(answer["data"]["id"].as_str().ok_or("a created record without an id")?.to_owned())
}

/// An id as the table has it.
fn bare(id: &str) -> String {
    let hex = id.rsplit('_').next().unwrap_or_default();
    match hex.len() {
        32 => [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"),
        _ => hex.to_owned(),
    }
}

/// The first 48 bits of a time-ordered id.
fn first_millisecond(id: &str) -> Outcome<u64> {
    Ok(u64::from_str_radix(&format!("{}{}", &id[..8], &id[9..13]), 16)?)
}

fn text<'a>(item: &'a Value, attribute: &str) -> Outcome<&'a str> {
    Ok(item[attribute]["S"].as_str().ok_or_else(|| format!("an item without {attribute}"))?)
}

fn number(item: &Value, attribute: &str) -> usize {
    item[attribute]["N"].as_str().and_then(|number| number.parse().ok()).unwrap_or_default()
}
