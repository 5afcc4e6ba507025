//! Parts of pages: filters, tables, facts, badges, text to copy, JSON. Each works with a keyboard, a screen reader and a phone.

use maud::{Markup, html};
use serde_json::Value;

/// One field of a filter form. An empty value filters nothing.
pub enum Field<'a> {
    Search {
        name: &'static str,
        label: &'static str,
        value: &'a str,
        hint: &'static str,
    },
    /// Values with their names. "any" is added.
    Choice {
        name: &'static str,
        label: &'static str,
        value: &'a str,
        options: Vec<(String, String)>,
    },
}

/// A form that filters what is in `#live` (or `#results` if a page does not refresh itself) while a person types. The filter is part of the
/// address. It also works without scripts.
pub fn filters(path: &str, target: &str, fields: &[Field]) -> Markup {
    html! {
        form .filters role="search" aria-label="Filter" method="get" action=(path) hx-get=(path)
            hx-trigger="input delay:200ms, change delay:200ms, submit" hx-target=(target) hx-select=(target) hx-swap="morph" hx-replace-url="true" hx-sync="this:replace" {
            @for field in fields {
                @match field {
                    Field::Search { name, label, value, hint } => {
                        div .wide {
                            label for={ "filter-" (name) } { (label) }
                            input #{ "filter-" (name) } type="search" name=(name) value=(value) placeholder=(hint) autocomplete="off" spellcheck="false";
                        }
                    }
                    Field::Choice { name, label, value, options } => {
                        div {
                            label for={ "filter-" (name) } { (label) }
                            select #{ "filter-" (name) } name=(name) {
                                option value="" { "Any" }
                                @for (option, text) in options { option value=(option) selected[option == value] { (text) } }
                                // The selected value stays visible, even if it has no entries any more.
                                @if !value.is_empty() && !options.iter().any(|(option, _)| option == value) {
                                    option value=(value) selected { (value) }
                                }
                            }
                        }
                    }
                }
            }
            div .actions { button type="submit" { "Filter" } a .button href=(path) { "Clear" } }
        }
    }
}

/// A table that scrolls by itself. `heads` says for each column whether it contains numbers. `rows` are `tr`s.
pub fn table(caption: &str, heads: &[(&str, bool)], rows: Markup) -> Markup {
    html! {
        div .scroll role="region" aria-label=(caption) tabindex="0" {
            table {
                caption .unseen { (caption) }
                thead { tr { @for (head, number) in heads { th scope="col" .number[*number] { (head) } } } }
                tbody { (rows) }
            }
        }
    }
}

/// A link that opens a row of `#live` or closes it: `link` is the address of the page after that. What is open is the row after it, `detail-…`.
pub fn opener(number: &str, link: &str, open: bool, text: &str) -> Markup {
    html! {
        a #{ "open-" (number) } href=(link) hx-get=(link) hx-target="#live" hx-select="#live" hx-swap="morph" hx-push-url="true"
            aria-expanded=(open) aria-controls=[open.then(|| format!("detail-{number}"))] { (text) }
    }
}

/// The number of shown entries, announced by screen readers when it changes.
pub fn count(shown: usize, of: Option<usize>, one: &str, many: &str) -> Markup {
    let noun = if of.unwrap_or(shown) == 1 { one } else { many };
    html! {
        p #count .quiet.small role="status" aria-live="polite" {
            @match of {
                Some(all) if all != shown => { (shown) " of " (all) " " (noun) }
                _ => { (shown) " " (noun) }
            }
        }
    }
}

pub fn nothing(what: Markup) -> Markup {
    html! { div .nothing { p { (what) } } }
}

pub fn facts(facts: &[(&str, Markup)]) -> Markup {
    html! { dl .facts { @for (name, value) in facts { dt { (name) } dd { (value) } } } }
}

/// Text with a button that copies it. `id` must be unique in the page. `what` completes "Copy …" for screen readers.
pub fn copyable(id: &str, what: &str, text: &str) -> Markup {
    html! { div .copyable { pre #(id) { (text) } (copy_button(id, what)) } }
}

/// The same for a short value in a line.
pub fn copyable_value(id: &str, what: &str, text: &str) -> Markup {
    html! { span .copyable.plain { code #(id) { (text) } (copy_button(id, what)) } }
}

pub fn copy_button(id: &str, what: &str) -> Markup {
    html! { button .copy type="button" data-copy=(id) { "Copy" span .unseen { " " (what) } } }
}

pub fn status(status: u16) -> Markup {
    let kind = match status {
        200..=299 => "good",
        400..=499 => "wrong",
        500.. => "broken",
        _ => "",
    };
    html! { span class={ "badge " (kind) } { (status) } }
}

/// A moment of today is shown as a time. Its title contains the whole moment.
pub fn moment(text: &str) -> Markup {
    let shown = text.parse::<jiff::Timestamp>().ok().map_or_else(
        || text.to_owned(),
        |moment| {
            let whole = moment.strftime("%Y-%m-%d %H:%M:%S").to_string();
            match whole.split_once(' ') {
                Some((day, time)) if day == jiff::Timestamp::now().strftime("%Y-%m-%d").to_string() => time.to_owned(),
                _ => whole,
            }
        },
    );
    html! { time datetime=(text) title=(text) { (shown) } }
}

/// Indented JSON with different styles for its types.
pub fn json(value: &Value) -> Markup {
    html! { pre .json { (nested(value, 0)) } }
}

/// A body as JSON if possible, otherwise unchanged.
pub fn body(text: &str) -> Markup {
    match serde_json::from_str::<Value>(text) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => json(&value),
        _ => html! { pre { (text) } },
    }
}

fn nested(value: &Value, depth: usize) -> Markup {
    let inner = "  ".repeat(depth + 1);
    let outer = "  ".repeat(depth);
    match value {
        Value::Object(fields) if !fields.is_empty() => html! {
            "{\n"
            @for (index, (name, field)) in fields.iter().enumerate() {
                (inner) span .k { (quoted(name)) } ": " (nested(field, depth + 1)) @if index + 1 < fields.len() { "," } "\n"
            }
            (outer) "}"
        },
        Value::Array(elements) if !elements.is_empty() => html! {
            "[\n"
            @for (index, element) in elements.iter().enumerate() {
                (inner) (nested(element, depth + 1)) @if index + 1 < elements.len() { "," } "\n"
            }
            (outer) "]"
        },
        Value::String(text) => html! { span .s { (quoted(text)) } },
        Value::Number(number) => html! { span .n { (number) } },
        Value::Bool(_) | Value::Null => html! { span .w { (value) } },
        Value::Object(_) | Value::Array(_) => html! { (value) },
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Percent-encodes an id for a path or a query.
pub fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// A query with all values that are not empty, with its `?`. Empty if all are empty.
pub fn query(pairs: &[(&str, &str)]) -> String {
    let asked: Vec<String> =
        pairs.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    if asked.is_empty() { String::new() } else { format!("?{}", asked.join("&")) }
}
