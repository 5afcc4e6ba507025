//! What the engine can do: the filters that the scanner writes, and how values become text. Values are those of JSON; null is like absent.
//! People's data often come from tables, so numbers in texts compare as numbers.

use std::collections::BTreeSet;

use jiff::civil::DateTime;
use jiff::{Timestamp, tz::TimeZone};
use minijinja::value::{Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, Output, State, UndefinedBehavior, syntax::SyntaxConfig};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::links::escape;

/// Names that had neither a value nor a fallback in this render.
#[derive(Default)]
pub(crate) struct Missing(pub BTreeSet<String>);

/// An engine that escapes for HTML, or not, and stops when the fuel is used up.
pub(crate) fn engine<'a>(html: bool, fuel: u64) -> Environment<'a> {
    let mut engine = Environment::empty();
    engine.set_auto_escape_callback(move |_| if html { AutoEscape::Html } else { AutoEscape::None });
    engine.set_undefined_behavior(UndefinedBehavior::Chainable);
    engine.set_fuel(Some(fuel));
    engine.set_formatter(write);
    if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
        engine.set_syntax(syntax);
    }
    engine.add_filter("noted", noted);
    engine.add_filter("list", |value: Value| if value.kind() == ValueKind::Seq { value } else { Value::from_iter::<[Value; 0]>([]) });
    engine.add_filter("given", |value: Value| given(&value));
    engine.add_filter("equal", |left: Value, right: Value| equal(&left, &right));
    engine.add_filter("unequal", |left: Value, right: Value| !equal(&left, &right));
    engine.add_filter("less", |left: Value, right: Value| less(&left, &right, false));
    engine.add_filter("more", |left: Value, right: Value| less(&right, &left, false));
    engine.add_filter("at_most", |left: Value, right: Value| less(&left, &right, true));
    engine.add_filter("at_least", |left: Value, right: Value| less(&right, &left, true));
    engine.add_filter("within", within);
    engine.add_filter("default", |value: Value, fallback: Value| if is_empty(&value) { fallback } else { value });
    engine.add_filter("upper", |value: Value| text(&value).to_uppercase());
    engine.add_filter("lower", |value: Value| text(&value).to_lowercase());
    engine.add_filter("title", |value: Value| title(&text(&value)));
    engine.add_filter("trim", |value: Value| text(&value).trim().to_owned());
    engine.add_filter("truncate", |value: Value, length: usize| truncate(&text(&value), length));
    engine.add_filter("date", |value: Value, format: Option<String>| date(&text(&value), format.as_deref().unwrap_or("%-d %B %Y")));
    engine.add_filter("urlencode", |value: Value| utf8_percent_encode(&text(&value), UNRESERVED).to_string());
    engine
}

pub(crate) fn is_date_format(format: &str) -> bool {
    format.len() <= 100 && jiff::fmt::strtime::format(format, DateTime::MAX).is_ok_and(|shown| shown.len() <= 1_000)
}

/// Items of a list that become text. The engine takes no fuel for reading them.
const ITEMS: usize = 100;
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

fn write(output: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    let text = text(value);
    let mut written = Ok(());
    match state.auto_escape() {
        AutoEscape::Html => escape(&text, |piece| written = written.and_then(|()| output.write_str(piece))),
        _ => written = output.write_str(&text),
    }
    written.map_err(Error::from)
}

/// Numbers without a needless `.0`, the beginning of a list with commas, nothing for what has no text.
fn text(value: &Value) -> String {
    match value.kind() {
        ValueKind::String => value.as_str().unwrap_or_default().to_owned(),
        ValueKind::Bool => value.to_string(),
        ValueKind::Number => match f64::try_from(value.clone()) {
            Ok(number) if !value.is_integer() => number.to_string(),
            _ => value.to_string(),
        },
        ValueKind::Seq => {
            let items = value.try_iter().into_iter().flatten().take(ITEMS).filter(|item| item.kind() != ValueKind::Seq);
            items.map(|item| text(&item)).filter(|item| !item.is_empty()).collect::<Vec<_>>().join(", ")
        }
        _ => String::new(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value.kind() {
        ValueKind::String => value.as_str().unwrap_or_default().trim().is_empty(),
        ValueKind::Bool | ValueKind::Number => false,
        _ => value.len().unwrap_or(0) == 0,
    }
}

fn given(value: &Value) -> bool {
    !is_empty(value) && value.is_true()
}

fn noted(state: &mut State, value: Value, name: String) -> Value {
    if is_empty(&value) {
        state.get_or_insert_extension_with(Missing::default).0.insert(name);
    }
    value
}

fn number(value: &Value) -> Option<f64> {
    match value.kind() {
        ValueKind::Number => f64::try_from(value.clone()).ok(),
        ValueKind::String => value.as_str()?.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        _ => None,
    }
}

/// Lists are equal to nothing.
fn equal(left: &Value, right: &Value) -> bool {
    let is_absent = |value: &Value| value.is_undefined() || value.is_none();
    match (number(left), number(right)) {
        (Some(left), Some(right)) => left == right,
        _ if is_absent(left) || is_absent(right) => is_absent(left) && is_absent(right),
        _ => left.kind() == right.kind() && left.kind() != ValueKind::Seq && text(left) == text(right),
    }
}

/// Numbers, or else two texts; a missing value is neither less nor more.
fn less(left: &Value, right: &Value, or_equal: bool) -> bool {
    let order = match (number(left), number(right), left.as_str(), right.as_str()) {
        (Some(left), Some(right), ..) => left.partial_cmp(&right),
        (.., Some(left), Some(right)) => Some(left.cmp(right)),
        _ => None,
    };
    order.is_some_and(|order| order.is_lt() || or_equal && order.is_eq())
}

/// In a list, or in a text.
fn within(state: &mut State, value: Value, whole: Value) -> Result<bool, Error> {
    if let Some(whole) = whole.as_str() {
        return Ok(!is_empty(&value) && whole.contains(&text(&value)));
    }
    if whole.kind() != ValueKind::Seq {
        return Ok(false);
    }
    state.consume_fuel(whole.len().unwrap_or(0) as u64)?;
    Ok(whole.try_iter()?.any(|item| equal(&item, &value)))
}

fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut within_word = false;
    for char in text.chars() {
        match within_word {
            true => out.extend(char.to_lowercase()),
            false => out.extend(char.to_uppercase()),
        }
        within_word = char.is_alphanumeric() || within_word && matches!(char, '\'' | '’');
    }
    out
}

/// At most `length` characters, the last of which is `…` if some are missing.
fn truncate(text: &str, length: usize) -> String {
    match text.char_indices().nth(length) {
        None => text.to_owned(),
        Some(_) => text.chars().take(length - 1).collect::<String>().trim_end().to_owned() + "…",
    }
}

/// A date or moment as it is written, in its own zone. What is none stays as it is.
fn date(text: &str, format: &str) -> String {
    let written: Option<DateTime> = text.trim().parse().ok();
    let moment = written.or_else(|| text.trim().parse::<Timestamp>().ok().map(|moment| TimeZone::UTC.to_datetime(moment)));
    moment.and_then(|moment| jiff::fmt::strtime::format(format, moment).ok()).unwrap_or_else(|| text.to_owned())
}
