//! Commands about what carries messages to phones: gateways, and the lines that all tenants share.

use messaging::ways;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::config::Stage;
use shared::model::gateway::{Gateway, GatewayId};
use shared::model::line::{Channel, LineId, LinePool, PhoneLine};
use shared::model::phone_number::PhoneNumber;
use shared::model::shared_secret::SharedSecret;
use shared::model::time::day;
use shared::runtime::worker;
use shared::tenancy::jobs::WorkContext;
use shared::{Error, Result};

/// A line as it is added.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewLine {
    pub phone_number: String,
    pub capabilities: Vec<Channel>,
    /// The id or the name of the gateway that carries it.
    #[serde(default)]
    pub gateway: Option<String>,
    /// What carries it instead of a gateway.
    #[serde(default)]
    pub carrier: Option<Carrier>,
    /// It need not warm up.
    #[serde(default)]
    pub active: bool,
    pub daily_limit: u64,
    pub per_minute_limit: u64,
}

/// What carries a line, if it is no gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Carrier {
    /// AWS End User Messaging, where the account has the number.
    Aws,
}

const TRIES: usize = 10;

/// Adds a gateway, or gives the one of this name another address and secret. The secret is shown only here.
pub async fn add_gateway(context: &WorkContext, name: &str, url: &str, secret: Option<&str>) -> Result<Value> {
    if name.is_empty() || name.chars().count() > Gateway::NAME {
        return Err(bad(format!("The name must have 1 to {} characters.", Gateway::NAME)));
    }
    let is_local = context.app.config().stage == Stage::Local && url.starts_with("http://127.0.0.1:");
    if !is_local && !url.starts_with("https://") {
        return Err(bad("The url must begin with https://.".into()));
    }
    let random = context.app.random();
    let secret = match secret {
        Some(text) => SharedSecret::parse(text).ok_or_else(|| bad("The secret must be whsec_ and the Base64 of 24 to 64 bytes.".into()))?,
        None => SharedSecret::new(random),
    };
    let (directory, keys) = (&context.directory, context.app.keys().lines()?);
    for _ in 0..TRIES {
        let known = directory.all(&Gateway::all()).await?.into_iter().find(|gateway| gateway.name == name);
        let (gateway, is_written) = match known {
            Some(known) => {
                let renewed = known.renewed(url.to_owned(), &secret, keys, random);
                let is_written = directory.replace_if(&renewed, &known).await?;
                (renewed, is_written)
            }
            None => {
                let id = GatewayId::new(context.now(), random);
                let gateway = Gateway::new(id, name.to_owned(), url.to_owned(), &secret, keys, random, context.now());
                directory.create(&gateway, Error::contested).await?;
                (gateway, true)
            }
        };
        if is_written {
            return Ok(json!({"ok": true, "gateway": gateway.id.prefixed(), "name": name, "url": url, "secret": secret.text()}));
        }
    }
    Err(Error::contested())
}

/// Adds a line to the pool. One that is there stays as it is.
pub async fn add_line(context: &WorkContext, new: NewLine) -> Result<Value> {
    let phone_number = PhoneNumber::parse(&new.phone_number).ok_or_else(|| bad("The phone_number must be + and 8 to 15 digits.".into()))?;
    let mut capabilities = new.capabilities;
    capabilities.sort_unstable();
    capabilities.dedup();
    if capabilities.is_empty() {
        return Err(bad("A line must carry imessage, rcs or sms.".into()));
    }
    if new.per_minute_limit == 0 || new.daily_limit == 0 {
        return Err(bad("The limits must be above 0.".into()));
    }
    let directory = &context.directory;
    let gateway = match (&new.gateway, new.carrier) {
        (Some(name), None) => Some(gateway_named(context, name).await?.id),
        (None, Some(Carrier::Aws)) if capabilities == [Channel::Sms] => None,
        (None, Some(Carrier::Aws)) => return Err(bad("AWS End User Messaging carries sms alone.".into())),
        _ => return Err(bad("A line has either a gateway or the carrier aws.".into())),
    };
    for _ in 0..TRIES {
        let before = directory.find(&LinePool::key_of()).await?;
        let pool = before.clone().unwrap_or_else(LinePool::none);
        if let Some(line) = pool.of_number(&phone_number) {
            return Ok(json!({"ok": true, "line": shown(line, context)}));
        }
        let line = PhoneLine {
            id: LineId::new(context.now(), context.app.random()),
            phone_number: phone_number.clone(),
            capabilities: capabilities.clone(),
            gateway,
            daily_limit: new.daily_limit,
            per_minute_limit: new.per_minute_limit,
            warming_since: (!new.active).then(|| day(context.now())),
            created_at: context.now(),
        };
        let with = pool.with(line.clone())?;
        let is_written = match &before {
            Some(before) => directory.replace_if(&with, before).await?,
            None => match directory.create(&with, Error::contested).await {
                Err(Error::Conflict(_)) => false,
                created => created.map(|()| true)?,
            },
        };
        if is_written {
            return Ok(json!({"ok": true, "line": shown(&line, context)}));
        }
    }
    Err(Error::contested())
}

pub async fn list(context: &WorkContext) -> Result<Value> {
    let pool = ways::pool(&context.directory).await?;
    let gateways = context.directory.all(&Gateway::all()).await?;
    let lines: Vec<Value> = pool.lines.iter().map(|line| shown(line, context)).collect();
    let gateways = gateways.iter().map(|gateway| json!({"gateway": gateway.id.prefixed(), "name": gateway.name, "url": gateway.url}));
    worker::answer(json!({"ok": true, "lines": lines, "gateways": gateways.collect::<Vec<Value>>()}))
}

async fn gateway_named(context: &WorkContext, name: &str) -> Result<Gateway> {
    let gateways = context.directory.all(&Gateway::all()).await?;
    let named = |gateway: &Gateway| gateway.name == name || Some(gateway.id) == GatewayId::parse_prefixed(name);
    gateways.into_iter().find(named).ok_or_else(|| bad(format!("There is no gateway {name:?}: add it first.")))
}

fn shown(line: &PhoneLine, context: &WorkContext) -> Value {
    json!({
        "id": line.id.prefixed(),
        "phone_number": line.phone_number,
        "capabilities": line.capabilities,
        "mode": "pooled",
        "status": line.status(context.now()),
        "gateway": line.gateway.map(|gateway| gateway.prefixed()),
        "carrier": if line.gateway.is_some() { "gateway" } else { "aws" },
        "daily_limit": line.daily_limit,
        "per_minute_limit": line.per_minute_limit,
        "warming_day": line.warming_day(context.now()),
    })
}

fn bad(message: String) -> Error {
    Error::BadRequest(message.into())
}
