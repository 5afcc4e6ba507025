//! What people may write into a template, and what is wrong with it: the parts, the tags, and what the parts say together.

use records::lead::LeadId;
use records::template::{Content, Template};
use serde_json::{Map, Value, json};
use shared::http::form::{Fields, Id, Name, OneOf, Raw, Rule};
use shared::model::text;
use shared::{Error, Result};
use templating::{Checked, Fault, Field, Source};

/// Bytes of a request's body: that of a mail, its text, and what JSON adds.
pub const MOST_BYTES: usize = 1024 * 1024;
/// Names that a template may use. An answer that lists them must remain small enough to be kept for a repeat.
const VARIABLES: usize = 200;
/// Bytes of a context.
const CONTEXT: usize = templating::CONTEXT;

pub const STATUS: OneOf<records::template::TemplateStatus> =
    OneOf { words: records::template::TemplateStatus::WORDS, parse: records::template::TemplateStatus::parse };

pub const LEAD: Id<LeadId> = Id::of("a lead");

/// A part of a template as a person wrote it. It is kept unchanged, so that the places of faults are theirs.
pub struct Part(pub Field);

impl Rule for Part {
    type Value = String;

    fn check(&self, raw: Raw<'_>) -> Result<String, String> {
        let text = raw.text().ok_or("must be a string")?;
        if text.trim().is_empty() {
            return Err("must not be empty".into());
        }
        // They are no part of HTML, and an answer with many of them would be six times as long.
        if text::has_controls(text) {
            return Err("must not contain control characters".into());
        }
        match self.0 {
            Field::Subject if text.chars().count() > templating::SUBJECT => {
                Err(format!("must not be greater than {} characters", templating::SUBJECT))
            }
            Field::Html if text.len() > templating::BODY => Err(format!("must not be larger than {} KiB", templating::BODY / 1024)),
            Field::Text if text.len() > templating::TEXT => Err(format!("must not be larger than {} KiB", templating::TEXT / 1024)),
            _ => Ok(text.to_owned()),
        }
    }

    fn schema(&self) -> Value {
        let (most, text) = match self.0 {
            Field::Subject => (templating::SUBJECT, "A template of one line."),
            Field::Html => (templating::BODY, "A template of HTML, at most 256 KiB."),
            Field::Text => (templating::TEXT, "A template of the text part, at most 64 KiB. Without it, the text is made of the HTML."),
        };
        json!({"type": "string", "minLength": 1, "maxLength": most, "description": text})
    }
}

/// Names to find templates by, each once.
pub struct Tags;

impl Rule for Tags {
    type Value = Vec<String>;

    fn check(&self, raw: Raw<'_>) -> Result<Vec<String>, String> {
        let Raw::Json(Value::Array(given)) = raw else { return Err("must be a list of tags".into()) };
        let mut tags: Vec<String> = vec![];
        for tag in given {
            let tag = Name { max: Template::TAG }.check(Raw::Json(tag)).map_err(|problem| format!("has a tag that {problem}"))?;
            if !tags.iter().any(|other| text::fold(other) == text::fold(&tag)) {
                tags.push(tag);
            }
        }
        if tags.len() > Template::TAGS { Err(format!("must not have more than {} tags", Template::TAGS)) } else { Ok(tags) }
    }

    fn schema(&self) -> Value {
        json!({"type": "array", "maxItems": Template::TAGS, "items": Name { max: Template::TAG }.schema()})
    }
}

/// Values for the names of a template. How much there may be of them, the rendering knows.
pub struct Context;

impl Rule for Context {
    type Value = Map<String, Value>;

    fn check(&self, raw: Raw<'_>) -> Result<Map<String, Value>, String> {
        let Raw::Json(Value::Object(object)) = raw else { return Err("must be an object".into()) };
        // The same as for the parts.
        if object.values().any(any_controls) {
            return Err("must not contain control characters".into());
        }
        Ok(object.clone())
    }

    fn schema(&self) -> Value {
        json!({
            "type": "object", "additionalProperties": true,
            "description": format!("Standard names, and attributes in `custom` or beside them. At most {} KiB.", CONTEXT / 1024),
        })
    }
}

fn any_controls(value: &Value) -> bool {
    match value {
        Value::String(text) => text::has_controls(text),
        Value::Array(values) => values.iter().any(any_controls),
        Value::Object(object) => object.values().any(any_controls),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Adds what is wrong within a part to what is wrong with the other fields.
pub fn refuse_faults(fields: &mut Fields<'_>, field: Field, part: Option<&str>) {
    let Some(part) = part else { return };
    let nothing = Source { subject: "", html: "", text: None };
    let source = match field {
        Field::Subject => Source { subject: part, ..nothing },
        Field::Html => Source { html: part, ..nothing },
        Field::Text => Source { text: Some(part), ..nothing },
    };
    for fault in templating::check(source, |_| true).err().unwrap_or_default() {
        fields.refuse(name(field), &told(&fault));
    }
}

/// How a field of a template is called in requests.
pub fn name(field: Field) -> &'static str {
    match field {
        Field::Subject => "subject",
        Field::Html => "body",
        Field::Text => "text",
    }
}

/// Faults of a template, each with its place.
pub fn refused(faults: &[Fault]) -> Error {
    let mut errors = shared::error::FieldErrors::new();
    for fault in faults {
        let name = name(fault.field);
        errors.entry(name.to_owned()).or_default().push(format!("The {name} field {}.", told(fault)));
    }
    Error::Validation(errors)
}

/// What a template uses and should not be sent without, or what is wrong with all of it.
pub fn checked(content: &Content) -> Result<Checked> {
    let checked = templating::check(source(content), |_| false).map_err(|faults| refused(&faults))?;
    if checked.variables.len() > VARIABLES {
        return Err(Error::field("body", format!("The body field and the others use more than {VARIABLES} names.")));
    }
    Ok(checked)
}

pub fn source(content: &Content) -> Source<'_> {
    Source { subject: &content.subject, html: &content.html, text: content.text.as_deref() }
}

/// After "The body field", without the full stop.
fn told(fault: &Fault) -> String {
    let Fault { message, line, column, .. } = fault;
    format!("has a fault in line {line}, column {column}: {}", message.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_kept_as_they_are_written() {
        let html = Part(Field::Html);
        assert_eq!(html.check(Raw::Text(" <p>\t\r\n</p> ")), Ok(" <p>\t\r\n</p> ".to_owned()));
        for (part, wrong) in [(Field::Html, ""), (Field::Text, " \n"), (Field::Subject, "a\0"), (Field::Html, "\u{85}x")] {
            assert!(Part(part).check(Raw::Text(wrong)).is_err(), "{wrong:?}");
        }
        // Bytes, and for a subject characters.
        assert!(html.check(Raw::Text(&"ä".repeat(128 * 1024))).is_ok());
        assert!(html.check(Raw::Text(&format!("{}x", "ä".repeat(128 * 1024)))).is_err());
        assert!(Part(Field::Subject).check(Raw::Text(&"ä".repeat(255))).is_ok());
        assert!(Part(Field::Text).check(Raw::Text(&"x".repeat(64 * 1024 + 1))).is_err());
    }

    #[test]
    fn a_tag_counts_once() {
        let tags = |value: Value| Tags.check(Raw::Json(&value));
        assert_eq!(tags(json!([" New ", "new", "old"])), Ok(vec!["New".to_owned(), "old".to_owned()]));
        let many: Vec<String> = (0..21).map(|number| format!("t{number}")).collect();
        for wrong in [json!("new"), json!([1]), json!([""]), json!(["a\nb"]), json!(["x".repeat(51)]), json!(many), json!({})] {
            assert!(tags(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_context_has_no_controls_at_any_depth() {
        let context = |value: Value| Context.check(Raw::Json(&value));
        assert!(context(json!({"a": {"b": ["line\nline", 1, null]}})).is_ok());
        assert!(context(json!({"a": {"b": ["\u{1}"]}})).is_err() && context(json!([])).is_err());
    }

    #[test]
    fn a_template_uses_a_bounded_number_of_names() {
        let using = |many: usize| {
            let html = (0..many).map(|number| format!("{{{{custom.n{number}}}}}")).collect();
            checked(&Content { subject: "s".into(), html, text: None })
        };
        assert_eq!(using(200).unwrap().variables.len(), 200);
        assert!(using(201).is_err());
    }
}
