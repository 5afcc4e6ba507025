//! The rules of values that only campaigns have.

use std::collections::BTreeSet;

use records::admission;
use records::audience::Audience;
use records::campaign::{CampaignId, CampaignStatus, Goal};
use records::campaign_settings::CampaignSettings;
use records::enrolment::Outcome;
use records::lead::LeadId;
use records::lead_list::LeadListId;
use records::rule::Fault;
use records::schedule::Day;
use records::segment::SegmentId;
use records::sequence::{self, MOST_STEPS, Part, Step};
use serde_json::{Value, json};
use shared::http::form::{Id, Name, OneOf, Raw, Rule, Several};
use shared::model::text;
use templating::Source;

/// Bytes of a request's body: those of the mails of a sequence.
pub const MOST_BYTES: usize = 1024 * 1024;

pub const STATUS: OneOf<CampaignStatus> = OneOf { words: CampaignStatus::WORDS, parse: CampaignStatus::parse };
pub const GOAL: OneOf<Goal> = OneOf { words: Goal::WORDS, parse: Goal::parse };
pub const OUTCOME: OneOf<Outcome> = OneOf { words: Outcome::WORDS, parse: Outcome::parse };
pub const TAG: Name = Name { max: 50 };
pub const SEGMENT: Id<SegmentId> = Id::of("a segment");
pub const LEAD: Id<LeadId> = Id::of("a lead");
const LIST: Id<LeadListId> = Id::of("a list");
const CAMPAIGN: Id<CampaignId> = Id::of("a campaign");

pub const LEADS: Several<Id<LeadId>> = Several { each: LEAD, min: 1, max: Audience::MOST_LEADS, key: LeadId::to_string };
/// Leads that one request enrols, or tries again.
pub const RECIPIENTS: Several<Id<LeadId>> = Several { each: LEAD, min: 1, max: 100, key: LeadId::to_string };
pub const LISTS: Several<Id<LeadListId>> = Several { each: LIST, min: 1, max: Audience::MOST_NAMED, key: LeadListId::to_string };
pub const EXCLUDED_LISTS: Several<Id<LeadListId>> = Several { each: LIST, min: 0, max: Audience::MOST_NAMED, key: LeadListId::to_string };
pub const EXCLUDED_CAMPAIGNS: Several<Id<CampaignId>> =
    Several { each: CAMPAIGN, min: 0, max: Audience::MOST_NAMED, key: CampaignId::to_string };

/// All steps of a sequence, or what is wrong with them, each with its place.
pub struct Steps;

impl Rule for Steps {
    type Value = Result<Vec<Step>, Vec<Fault>>;

    fn check(&self, raw: Raw<'_>) -> Result<Self::Value, String> {
        let Raw::Json(Value::Array(steps)) = raw else { return Err("must be a list of steps".into()) };
        Ok(sequence::parse(steps, &problems))
    }

    fn schema(&self) -> Value {
        json!({
            "type": "array",
            "maxItems": MOST_STEPS,
            "description": "In their order: `email` with subject and body or template_id, `wait` with value and unit, `condition` with rule, then and else.",
            "items": {"type": "object", "required": ["type"], "properties": {
                "type": {"type": "string", "enum": ["email", "wait", "condition"]},
                "step": {"type": "integer", "description": "Its place, counted from 1, if it is given at all."},
                "subject": {"type": ["string", "null"], "maxLength": templating::SUBJECT},
                "body": {"type": ["string", "null"], "maxLength": templating::BODY},
                "template_id": {"type": ["string", "null"]},
                "value": {"type": "integer", "minimum": 1},
                "unit": {"type": "string", "enum": ["minutes", "hours", "days", "weeks"]},
                "rule": {"type": "object", "additionalProperties": true},
                "then": {"type": ["integer", "null"], "description": "The number of a later step, or null for the end."},
                "else": {"type": ["integer", "null"]},
            }, "additionalProperties": false},
        })
    }
}

/// What is wrong with a text of a mail. It is kept unchanged, so that the places of faults are those of whoever wrote it.
fn problems(part: Part, text: &str) -> Vec<String> {
    if text.trim().is_empty() {
        return vec!["must not be empty".into()];
    }
    if text::has_controls(text) {
        return vec!["must not contain control characters".into()];
    }
    let source = match part {
        Part::Subject if text.chars().count() > templating::SUBJECT => {
            return vec![format!("must not be greater than {} characters", templating::SUBJECT)];
        }
        Part::Body if text.len() > templating::BODY => {
            return vec![format!("must not be larger than {} KiB", templating::BODY / 1024)];
        }
        Part::Subject => Source { subject: text, html: "", text: None },
        Part::Body => Source { subject: "", html: text, text: None },
    };
    let told = |fault: &templating::Fault| {
        format!("has a fault in line {}, column {}: {}", fault.line, fault.column, fault.message.trim_end_matches('.'))
    };
    templating::check(source, |_| true).err().unwrap_or_default().iter().map(told).collect()
}

/// Names of variables without which a lead gets no mail, each in its canonical spelling and once.
pub struct Variables;

impl Rule for Variables {
    type Value = Vec<String>;

    fn check(&self, raw: Raw<'_>) -> Result<Vec<String>, String> {
        let Raw::Json(Value::Array(items)) = raw else { return Err("must be a list of names".into()) };
        if items.len() > CampaignSettings::MOST_REQUIRED {
            return Err(format!("must not have more than {} names", CampaignSettings::MOST_REQUIRED));
        }
        let mut names = vec![];
        for (index, item) in items.iter().enumerate() {
            let name = item.as_str().and_then(variable).filter(|name| admission::is_of_a_lead(name));
            let name =
                name.ok_or_else(|| format!("is wrong at [{index}], which must be a variable of a lead, like first_name or custom.plan"))?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn schema(&self) -> Value {
        let each = json!({"type": "string", "minLength": 1, "maxLength": LONGEST_VARIABLE});
        json!({"type": "array", "maxItems": CampaignSettings::MOST_REQUIRED, "items": each})
    }
}

const LONGEST_VARIABLE: usize = 100;

/// The one name that a mail finds in `{{…}}`, as it finds it there.
fn variable(name: &str) -> Option<String> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
    if name.chars().count() > LONGEST_VARIABLE || !name.chars().all(plain) {
        return None;
    }
    let written = format!("{{{{{name}}}}}");
    let checked = templating::check(Source { subject: &written, html: "", text: None }, |_| true).ok()?;
    <[String; 1]>::try_from(checked.variables).ok().map(|[name]| name)
}

/// Days of the week, in their order and each once.
pub struct Days;

impl Rule for Days {
    type Value = Vec<Day>;

    fn check(&self, raw: Raw<'_>) -> Result<Vec<Day>, String> {
        let problem = || format!("must be a list of at least one of {}", Day::WORDS.join(", "));
        let Raw::Json(Value::Array(items)) = raw else { return Err(problem()) };
        let day = |item: &Value| item.as_str().and_then(Day::parse);
        let days: Option<BTreeSet<Day>> = items.iter().map(day).collect();
        days.filter(|days| !days.is_empty()).map(|days| days.into_iter().collect()).ok_or_else(problem)
    }

    fn schema(&self) -> Value {
        json!({"type": "array", "minItems": 1, "items": {"type": "string", "enum": Day::WORDS}})
    }
}

/// A share of up to 100 percent, in hundredths of a percent. A finer one is refused, so that it comes back as it was given.
pub struct Percent;

impl Rule for Percent {
    type Value = u32;

    fn check(&self, raw: Raw<'_>) -> Result<u32, String> {
        let number = if let Raw::Json(value) = raw { value.as_f64() } else { None };
        let hundredths = number.map(|number| number * 100.0).filter(|number| (1.0..=10_000.0).contains(number));
        let whole = hundredths.filter(|number| (number - number.round()).abs() < 1e-6);
        whole
            .map(|number| number.round() as u32)
            .ok_or_else(|| "must be a percentage between 0.01 and 100, with at most two decimals".into())
    }

    fn schema(&self) -> Value {
        json!({"type": "number", "minimum": 0.01, "maximum": 100})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_have_two_decimals() {
        let check = |value: Value| Percent.check(Raw::Json(&value)).ok();
        assert_eq!([json!(5), json!(0.3), json!(100), json!(0.01), json!(99.99)].map(check), [500, 30, 10_000, 1, 9_999].map(Some));
        for wrong in [json!(0), json!(0.001), json!(100.01), json!(-1), json!("5"), json!(0.123)] {
            assert_eq!(check(wrong.clone()), None, "{wrong}");
        }
    }

    #[test]
    fn variables_are_named_as_mails_find_them() {
        let check = |value: Value| Variables.check(Raw::Json(&value));
        let given = json!(["firstName", "first_name", "contact.company", "custom.plan", "plan", "lead_score"]);
        assert_eq!(check(given).unwrap(), ["first_name", "company", "custom.plan", "lead_score"]);
        for wrong in [
            json!(["sender_name"]),
            json!(["a b"]),
            json!([""]),
            json!(["a|b"]),
            json!(["}}"]),
            json!([1]),
            json!("x"),
            json!(vec!["a"; 21]),
        ] {
            assert!(check(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn days_stand_in_the_order_of_the_week() {
        let check = |value: Value| Days.check(Raw::Json(&value)).ok();
        assert_eq!(check(json!(["fri", "mon", "fri"])), Some(vec![Day::Mon, Day::Fri]));
        for wrong in [json!([]), json!(["monday"]), json!("mon"), json!([1])] {
            assert_eq!(check(wrong.clone()), None, "{wrong}");
        }
    }

    #[test]
    fn texts_are_told_their_faults() {
        assert_eq!(problems(Part::Body, "Hi {{first_name}}"), Vec::<String>::new());
        assert!(problems(Part::Body, "Hi\n  {{#x}}")[0].starts_with("has a fault in line 2, column "));
        for (part, wrong) in [(Part::Subject, " "), (Part::Body, "a\0"), (Part::Subject, &*"x".repeat(256)), (Part::Subject, "{{")] {
            assert_eq!(problems(part, wrong).len(), 1, "{wrong:?}");
        }
        assert_eq!(problems(Part::Body, &"x".repeat(256 * 1024 + 1)).len(), 1);
    }
}
