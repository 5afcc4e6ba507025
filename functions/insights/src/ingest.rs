//! The edge reports in batches what it served, and asks whether it may continue to serve.

use crate::arguments::{Unread, Values};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use shared::error::FieldErrors;
use shared::http::answer::Answer;
use shared::http::arguments::{Body, Query};
use shared::http::form::{Fields, Form, Raw, Rule, Text};
use shared::http::json::canonical;
use shared::model::edge::{Batch, Entry, Pack, refusal};
use shared::tenancy::doors::EdgeProxy;
use shared::{Error, Result};

use crate::usage::EdgeLimits;

/// Errors are shown for at most this many entries. A thousand wrong entries usually have the same error.
const SHOWN: usize = 20;

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = IngestReceipt)]
pub struct Taken {
    ok: bool,
    accepted: usize,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = UsageVerdict)]
pub struct Verdict {
    allowed: bool,
    /// `suspended`, `expired`, `deleted`, `requests_exceeded`, `bandwidth_exceeded`; null where serving is allowed.
    reason: Option<&'static str>,
    requests: u64,
    #[serde(rename = "bandwidthBytes")]
    bandwidth_bytes: u64,
    limits: EdgeLimits,
}

/// A batch, or a single request in the simple form.
pub struct Report {
    batch_id: Option<String>,
    tenant: String,
    content: Content,
}

enum Content {
    Batch(Vec<Value>),
    /// Fields that the edge left out have their default values.
    Single(Value),
}

pub struct UsageQuery {
    tenant: String,
}

/// A repeat writes what the first attempt may have missed, under the same keys, and so adds nothing twice.
pub async fn ingest(door: EdgeProxy, report: Body<Report>) -> Result<Answer<Taken>> {
    let Report { batch_id, tenant: slug, content } = report.0;
    let batch_id = batch_id.unwrap_or_else(|| door.app.random().text(b"0123456789abcdef", 32));
    content.entries(door.now(), door.now())?;
    let tenant = door.tenant(&slug).await?;
    if refusal(&tenant.tenant, &tenant.plan, &tenant.used, door.now()) == Some("deleted") {
        return Err(Error::NotFound);
    }
    let batch = Batch::new(&batch_id, content.text().as_bytes(), door.now());
    let batch = match tenant.begin(&batch).await? {
        Some(earlier) if earlier.content != batch.content && earlier.content != content.as_sent() => {
            return Err(Error::IdempotencyKeyReused);
        }
        Some(earlier) => earlier,
        None => batch,
    };
    let entries = content.entries(batch.received_at, door.now())?;
    let accepted = entries.len();
    tenant.append(&Pack::cut(&batch, entries)?).await?;
    Ok(Answer::bare(Taken { ok: true, accepted }))
}

pub async fn check(door: EdgeProxy, asked: Query<UsageQuery>) -> Result<Answer<Verdict>> {
    let tenant = door.tenant(&asked.0.tenant).await?;
    let reason = refusal(&tenant.tenant, &tenant.plan, &tenant.used, door.now());
    Ok(Answer::bare(Verdict {
        allowed: reason.is_none(),
        reason,
        requests: tenant.used.requests,
        bandwidth_bytes: tenant.used.bytes,
        limits: EdgeLimits::of(&tenant.plan),
    }))
}

impl Content {
    /// All entries, or the errors of all wrong entries. An entry without a time has that of the batch.
    fn entries(&self, received_at: Timestamp, now: Timestamp) -> Result<Vec<Entry>> {
        let mut errors = FieldErrors::new();
        let entries: Vec<Option<Entry>> = match self {
            Content::Batch(values) => values
                .iter()
                .enumerate()
                .map(
                    |(index, value)| {
                        if errors.len() < SHOWN { Entry::read(value, &format!("entries.{index}"), now, &mut errors) } else { None }
                    },
                )
                .collect(),
            Content::Single(value) => {
                let mut value = value.clone();
                if value["timestamp"].is_null() {
                    value["timestamp"] = json!(received_at.to_string());
                }
                vec![Entry::read(&value, "request", now, &mut errors)]
            }
        };
        // The single form has its fields at the top level.
        let errors: FieldErrors = errors.into_iter().map(|(name, texts)| top_level(name, texts)).collect();
        if errors.is_empty() { Ok(entries.into_iter().flatten().collect()) } else { Err(Error::Validation(errors)) }
    }

    /// The text that is the same for two reports with one batch id, whatever their JSON spelling.
    fn text(&self) -> String {
        canonical(&self.value())
    }

    /// The same in the spelling of the report, as in earlier records of batches.
    fn as_sent(&self) -> String {
        Batch::new("", self.value().to_string().as_bytes(), Timestamp::UNIX_EPOCH).content
    }

    fn value(&self) -> Value {
        match self {
            Content::Batch(values) => Value::Array(values.clone()),
            Content::Single(value) => value.clone(),
        }
    }
}

fn top_level(name: String, texts: Vec<String>) -> (String, Vec<String>) {
    match name.strip_prefix("request.") {
        Some(field) => (field.to_owned(), texts.into_iter().map(|text| text.replacen("request.", "", 1)).collect()),
        None => (name, texts),
    }
}

impl Form for Report {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let (single, describes) = (fields.has("bytes"), fields.describes());
        let batch_id =
            if single || describes { fields.optional("batch_id", Text::up_to(255)) } else { fields.required("batch_id", Text::up_to(255)) };
        let tenant = fields.required("tenant", Text::up_to(63));
        let batch = Values { max: 1000, schema: Entry::schema };
        let entries = match (single, describes) {
            (true, _) => fields.optional("entries", Nothing),
            (false, true) => fields.optional("entries", batch),
            (false, false) => fields.required("entries", batch),
        };
        let defaults = [
            ("timestamp", Value::Null),
            ("method", json!("GET")),
            ("path", json!("/")),
            ("kind", json!("asset")),
            ("status", json!(200)),
            ("cache", json!("BYPASS")),
            ("bytes", Value::Null),
            ("durationMs", json!(0)),
            ("country", Value::Null),
        ];
        let mut request = serde_json::Map::new();
        for (name, default) in defaults {
            let given = if single || describes { fields.optional(name, Unread { field: name, schema: Entry::schema }) } else { None };
            request.insert(name.to_owned(), given.unwrap_or(default));
        }
        let content = if single { Content::Single(Value::Object(request)) } else { Content::Batch(entries?) };
        Some(Report { batch_id, tenant: tenant?, content })
    }
}

/// No entries are allowed with the fields of the simple form.
struct Nothing;

impl Rule for Nothing {
    type Value = Vec<Value>;

    fn check(&self, _raw: Raw<'_>) -> Result<Vec<Value>, String> {
        Err("cannot stand beside bytes".into())
    }

    fn schema(&self) -> Value {
        json!({})
    }
}

impl Form for UsageQuery {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(UsageQuery { tenant: fields.required("tenant", Text::up_to(63))? })
    }
}
