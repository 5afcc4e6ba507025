//! Consent records in pages, as a table or as JSON, in the order in which they were recorded.

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use records::consent::ConsentEntry;
use shared::http::arguments::Query;
use shared::http::form::{Cursor, Fields, Form, OneOf};
use shared::http::lines::Sheet;
use shared::store::{Direction, Span};
use shared::tenancy::doors::Admin;
use shared::{Error, Result};

use crate::consent::{ConsentView, Filter};
use crate::rules::{opened, sealed};

/// Bytes of a page: in Base64, as Lambda hands it on, it stays below Lambda's 6 MB.
const PAGE: usize = 4_300_000;
/// Limits how long a page takes when a filter turns down most of what is read.
const PATIENCE: Duration = Duration::from_secs(10);
const AT_ONCE: usize = 100;

#[derive(Debug)]
pub struct ExportQuery {
    format: Format,
    filter: Filter,
    cursor: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Csv,
    Json,
}

/// As it is while the pages are fetched: what is recorded meanwhile may or may not be in it.
pub async fn export(door: Admin, query: Query<ExportQuery>) -> Result<Sheet<ConsentView>> {
    let ExportQuery { format, filter, cursor } = query.0;
    let question = format!("consent export {} {format:?} {filter:?}", door.tenant.id);
    let mut after = opened(&door.app, &question, cursor.as_ref())?;
    // A table has its head on the first page.
    let mut text = if format == Format::Csv && after.is_none() { head() } else { String::new() };
    let began = Instant::now();
    loop {
        let span = Span { after: after.clone(), skip: 0, limit: AT_ONCE };
        let found = filter.page(&door.store, &span, Direction::Ascending).await?;
        for entry in &found.items {
            let row = format.row(entry)?;
            if text.len() + row.len() > PAGE {
                return Ok(Sheet {
                    is_csv: format == Format::Csv,
                    text,
                    next: sealed(&door.app, &question, after.as_ref())?,
                    of: PhantomData,
                });
            }
            text.push_str(&row);
            after = Some(filter.after(entry));
        }
        after = found.next;
        if after.is_none() || began.elapsed() > PATIENCE {
            return Ok(Sheet { is_csv: format == Format::Csv, text, next: sealed(&door.app, &question, after.as_ref())?, of: PhantomData });
        }
    }
}

impl Format {
    fn row(self, entry: &ConsentEntry) -> Result<String> {
        let view = serde_json::to_value(ConsentView::of(entry)).map_err(|error| Error::internal("exporting a consent", error))?;
        if self == Format::Json {
            return Ok(format!("{view}\n"));
        }
        let cells = COLUMNS.iter().map(|column| match &view[*column] {
            serde_json::Value::Null => String::new(),
            serde_json::Value::String(text) => cell(column, text),
            other => cell(column, &other.to_string()),
        });
        Ok(cells.collect::<Vec<_>>().join(",") + "\r\n")
    }
}

const COLUMNS: &[&str] = &[
    "id",
    "phone_number",
    "kind",
    "consent_type",
    "consent_source",
    "consent_text_version",
    "consent_text",
    "ip_address",
    "user_agent",
    "evidence_url",
    "consented_at",
    "recorded_at",
    "recorded_by",
    "message_id",
    "metadata",
    "n",
    "hash",
    "previous",
    "redacted",
];

fn head() -> String {
    COLUMNS.join(",") + "\r\n"
}

/// As RFC 4180 has it. A text that a spreadsheet would take for a formula gets an apostrophe before it; a phone number, which is ours, does not.
fn cell(column: &str, text: &str) -> String {
    let is_formula = column != "phone_number" && text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if is_formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

const FORMAT: OneOf<Format> = OneOf {
    words: &["json", "csv"],
    parse: |word| match word {
        "json" => Some(Format::Json),
        "csv" => Some(Format::Csv),
        _ => None,
    },
};

impl Form for ExportQuery {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let format = fields.optional("format", FORMAT).unwrap_or(Format::Json);
        let filter = Filter::read(fields);
        let cursor = fields.optional("cursor", Cursor { max: 4096 });
        Some(ExportQuery { format, filter: filter?, cursor })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_holds_one_value_whatever_it_says() {
        for (text, written) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"yes\"\nplease", "\"say \"\"yes\"\"\nplease\""),
            ("=1+1", "'=1+1"),
            ("@cmd,x", "\"'@cmd,x\""),
            ("", ""),
        ] {
            assert_eq!(cell("consent_text", text), written);
        }
        assert_eq!((cell("phone_number", "+15551234567"), cell("user_agent", "+1")), ("+15551234567".into(), "'+1".into()));
    }
}
