//! Templates of mails: what a person may write, what is wrong with it and where, and the finished subject, HTML and text. Templates and values
//! are hostile: any input gives an answer in bounded time and memory, and a template sees nothing but its context. No I/O, no clock, no randomness.

mod filters;
mod links;
mod scan;
mod text;

use std::collections::BTreeSet;
use std::fmt;
use std::io;

use minijinja::ErrorKind;
use minijinja::value::Value;
use serde_json::{Map, Value as Json};

pub use links::{Link, harmless, rewrite_links};
pub use scan::NESTING;
pub use text::html_to_text;

/// Characters of a subject, as written and as rendered.
pub const SUBJECT: usize = 255;
/// Bytes of an HTML body as written.
pub const BODY: usize = 256 * 1024;
/// Bytes of a text body as written.
pub const TEXT: usize = 64 * 1024;
/// Bytes of each rendered part.
pub const OUTPUT: usize = 512 * 1024;
/// Bytes of all keys and values of a context; each value counts 16 more.
pub const CONTEXT: usize = 128 * 1024;
/// Steps of the engine for one part. A step is an instruction, or 64 bytes that are read or written.
pub const FUEL: u64 = 50_000;
/// Gmail shows no more of a mail's HTML.
pub const GMAIL: usize = 102 * 1024;

/// Names that every mail has. All other names are attributes of the contact, with or without `custom.` before them.
pub const STANDARD: [&str; 17] = [
    "first_name",
    "last_name",
    "full_name",
    "email",
    "phone",
    "company",
    "job_title",
    "city",
    "state",
    "country",
    "timezone",
    "lead_score",
    "workspace_name",
    "sender_name",
    "sender_email",
    "unsubscribe_url",
    "postal_address",
];

/// A template as a person wrote it.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// At most `SUBJECT` characters.
    pub subject: &'a str,
    /// At most `BODY` bytes.
    pub html: &'a str,
    /// At most `TEXT` bytes. None: the text part is made of the HTML.
    pub text: Option<&'a str>,
}

/// A part of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Subject,
    Html,
    Text,
}

/// What is wrong, and where in the source as it was written. Line and column are counted from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub field: Field,
    /// A sentence for the person who wrote it.
    pub message: String,
    pub line: u32,
    pub column: u32,
}

/// A template without faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Canonical names (`first_name`, `custom.colour`), sorted, each once. Names within a loop are those of its list.
    pub variables: Vec<String>,
    pub warnings: Vec<Warning>,
}

/// What a person should know before they send. `Display` is a sentence for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// Neither a standard name nor a known attribute. Told once a name, where it is first used.
    Undeclared { name: String, field: Field, line: u32, column: u32 },
    /// A filter of other languages, which is a fallback text here.
    FallbackLikeFilter { word: String, field: Field, line: u32, column: u32 },
    /// The HTML has no `{{unsubscribe_url}}`; the sender appends it.
    NoUnsubscribe,
    /// The HTML as written is longer than `GMAIL`.
    Clipped { bytes: usize },
}

/// A finished mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// One line without controls, at most `SUBJECT` characters. May be empty.
    pub subject: String,
    /// At most `OUTPUT` bytes. Its links are `harmless`, and it ends outside every tag, so that something can be appended.
    pub html: String,
    /// At most `OUTPUT` bytes.
    pub text: String,
    /// Canonical names that had neither a value nor a fallback where they were written; sorted, each once.
    pub missing: Vec<String>,
}

/// Why there is no mail. The same template and context always end the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderFault {
    #[error("the template has faults")]
    Template(Vec<Fault>),
    #[error("the context is larger than {CONTEXT} bytes or nested more than {NESTING} deep")]
    Context,
    #[error("the {0} takes more than {FUEL} steps")]
    Fuel(Field),
    #[error("the {0} becomes larger than {OUTPUT} bytes")]
    Output(Field),
    /// The scanner let through what the engine refuses: a bug here, not a mistake of the template's author.
    #[error("the {0} cannot be rendered: {1}")]
    Engine(Field, String),
}

/// Reads all parts. `is_known` is asked for names of attributes, without `custom.` and without parts of them.
///
/// # Errors
/// The faults of all parts, in the order of the source; at most 21 a part.
pub fn check(source: Source, is_known: impl Fn(&str) -> bool) -> Result<Checked, Vec<Fault>> {
    let scanned = scan_all(source)?;
    let mut warnings = Vec::new();
    let mut variables = BTreeSet::new();
    for (field, part, scanned) in &scanned {
        for (name, at) in &scanned.variables {
            let attribute = name.strip_prefix("custom.").map(|path| path.split('.').next().unwrap_or(path));
            if variables.insert(name.clone()) && attribute.is_some_and(|attribute| !is_known(attribute)) {
                let (line, column) = scan::place(part, *at);
                warnings.push(Warning::Undeclared { name: name.clone(), field: *field, line, column });
            }
        }
        for (word, at) in &scanned.suspects {
            let (line, column) = scan::place(part, *at);
            warnings.push(Warning::FallbackLikeFilter { word: word.clone(), field: *field, line, column });
        }
    }
    let mut in_html = scanned.iter().filter(|(field, ..)| *field == Field::Html).flat_map(|(.., scanned)| &scanned.variables);
    if !in_html.any(|(name, _)| name == "unsubscribe_url") {
        warnings.push(Warning::NoUnsubscribe);
    }
    if source.html.len() > GMAIL {
        warnings.push(Warning::Clipped { bytes: source.html.len() });
    }
    Ok(Checked { variables: variables.into_iter().collect(), warnings })
}

/// Renders all parts. The context has standard names in either spelling, and attributes: in `custom`, in `contact`, or beside the standard names.
///
/// # Errors
/// `RenderFault`: a template with faults, or a bound that it exceeds with these values.
pub fn render(source: Source, context: &Map<String, Json>) -> Result<Rendered, RenderFault> {
    let scanned = scan_all(source).map_err(RenderFault::Template)?;
    let context = canonical(context)?;
    let mut missing = BTreeSet::new();
    let mut parts = scanned.iter().map(|(field, _, scanned)| render_part(*field, &scanned.engine, &context, &mut missing));
    let mut next = || parts.next().unwrap_or(Ok(String::new()));
    let (subject, html) = (one_line(&next()?), next()?);
    let html = rewrite_links(&html, |link| harmless(link.url));
    let text = match source.text {
        Some(_) => next()?,
        None => html_to_text(&html),
    };
    for (field, part) in [(Field::Html, &html), (Field::Text, &text)] {
        if part.len() > OUTPUT {
            return Err(RenderFault::Output(field));
        }
    }
    Ok(Rendered { subject, html, text, missing: missing.into_iter().collect() })
}

impl Warning {
    /// A word for programs, which stays the same.
    pub fn code(&self) -> &'static str {
        match self {
            Warning::Undeclared { .. } => "undeclared_variable",
            Warning::FallbackLikeFilter { .. } => "fallback_like_filter",
            Warning::NoUnsubscribe => "no_unsubscribe_url",
            Warning::Clipped { .. } => "clipped",
        }
    }

    /// Field, line and column, where there is one place.
    pub fn place(&self) -> Option<(Field, u32, u32)> {
        match self {
            Warning::Undeclared { field, line, column, .. } | Warning::FallbackLikeFilter { field, line, column, .. } => {
                Some((*field, *line, *column))
            }
            Warning::NoUnsubscribe | Warning::Clipped { .. } => None,
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Warning::Undeclared { name, .. } => {
                write!(f, "{name} is no standard name: it shows something only for contacts that have it among their attributes.")
            }
            Warning::FallbackLikeFilter { word, .. } => write!(f, "{word} is no filter here, but the text for contacts without a value."),
            Warning::NoUnsubscribe => write!(f, "There is no {{{{unsubscribe_url}}}}; the link is appended when the mail is sent."),
            Warning::Clipped { bytes } => write!(f, "The HTML has {} KB; Gmail shows no more than {} KB.", bytes / 1024, GMAIL / 1024),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Field::Subject => "subject",
            Field::Html => "html",
            Field::Text => "text",
        })
    }
}

type Part<'a> = (Field, &'a str, scan::Scanned);

fn scan_all(source: Source<'_>) -> Result<Vec<Part<'_>>, Vec<Fault>> {
    let parts = [(Field::Subject, Some(source.subject)), (Field::Html, Some(source.html)), (Field::Text, source.text)];
    let mut scanned: Vec<_> = parts.into_iter().filter_map(|(field, part)| Some((field, part?, scan::scan(field, part?)))).collect();
    let faults: Vec<_> = scanned.iter_mut().flat_map(|(.., scanned)| std::mem::take(&mut scanned.faults)).collect();
    if faults.is_empty() { Ok(scanned) } else { Err(faults) }
}

fn render_part(field: Field, source: &str, context: &Value, missing: &mut BTreeSet<String>) -> Result<String, RenderFault> {
    let fault = |error: minijinja::Error| match error.kind() {
        ErrorKind::OutOfFuel => RenderFault::Fuel(field),
        ErrorKind::WriteFailure => RenderFault::Output(field),
        _ => RenderFault::Engine(field, error.to_string()),
    };
    let engine = filters::engine(field == Field::Html, FUEL);
    let template = engine.template_from_str(source).map_err(fault)?;
    let mut output = Bounded(Vec::new());
    let done = template.render_captured_to(context.clone(), &mut output).map_err(fault)?;
    if let Some(noted) = done.state().get_extension::<filters::Missing>() {
        missing.extend(noted.0.iter().cloned());
    }
    String::from_utf8(output.0).map_err(|error| RenderFault::Engine(field, error.to_string()))
}

/// What the engine writes to; more than `OUTPUT` bytes are an error.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > OUTPUT {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The context as the scanner's names find it: standard names in snake_case, and all others in `custom`.
fn canonical(context: &Map<String, Json>) -> Result<Value, RenderFault> {
    let mut left = CONTEXT;
    let (mut names, mut custom) = (Vec::new(), Vec::new());
    let contact = context.get("contact").and_then(Json::as_object);
    let layers = || contact.into_iter().chain([context]);
    // Of two with the same name the last wins: what is more explicit.
    for (key, value) in layers().flatten() {
        match scan::standard(key) {
            Some(name) => names.push((name, engine_value(value, 0, &mut left)?)),
            None if key == "custom" || key == "contact" => {}
            None => custom.push((key, value)),
        }
    }
    custom.extend(layers().filter_map(|layer| layer.get("custom")?.as_object()).flatten());
    let custom = custom.into_iter().map(|(key, value)| {
        left = left.checked_sub(key.len()).ok_or(RenderFault::Context)?;
        Ok((key.clone(), engine_value(value, 0, &mut left)?))
    });
    let custom = custom.collect::<Result<Vec<_>, RenderFault>>()?;
    names.push(("custom", Value::from_pairs(custom)));
    Ok(Value::from_pairs(names))
}

fn engine_value(json: &Json, depth: usize, left: &mut usize) -> Result<Value, RenderFault> {
    let bytes = 16 + json.as_str().map_or(0, str::len) + json.as_object().map_or(0, |map| map.keys().map(String::len).sum());
    *left = left.checked_sub(bytes).filter(|_| depth <= NESTING).ok_or(RenderFault::Context)?;
    Ok(match json {
        Json::Null => Value::UNDEFINED,
        Json::Bool(bool) => Value::from(*bool),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::from(number),
            (_, Some(number)) => Value::from(number),
            _ => Value::from(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => {
            items.iter().map(|item| engine_value(item, depth + 1, left)).collect::<Result<Vec<_>, _>>().map(Value::from)?
        }
        Json::Object(map) => {
            let pairs = map.iter().map(|(key, item)| Ok((key.clone(), engine_value(item, depth + 1, left)?)));
            Value::from_pairs(pairs.collect::<Result<Vec<_>, _>>()?)
        }
    })
}

/// Headers have one line. Controls and kinds of blanks become one space, since a value may bring a line break and a header of its own.
fn one_line(subject: &str) -> String {
    let words = subject.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ").chars().take(SUBJECT).collect()
}

#[cfg(test)]
mod hostile;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn context() -> Map<String, Json> {
        let context = json!({
            "firstName": "ada", "last_name": "O'Neil", "email": "ada@example.com", "lead_score": 42, "company": "A & B <Ltd>", "city": " ",
            "unsubscribe_url": "https://t.example/e/u/1?a=1&b=2",
            "custom": {
                "plan": "Pro", "seats": "12", "renewal": "2026-09-03", "moment": "2026-09-03T22:30:00+02:00", "price": 12.0, "none": null,
                "tags": ["x", "y"], "items": [{"name": "Pen", "sizes": [1, 2]}, {"name": "<Ink>"}], "größe": "L", "a": {"b": "deep"},
                "url": "java\tscript:alert(1)", "long": "word ".repeat(40), "lines": "one\r\nBcc: all@example.com\u{2028}two",
            },
        });
        context.as_object().unwrap().clone()
    }

    fn mail(html: &str) -> Result<Rendered, RenderFault> {
        render(Source { subject: "", html, text: None }, &context())
    }

    #[track_caller]
    fn is(html: &str, expected: &str) {
        assert_eq!(mail(html).map(|mail| mail.html), Ok(expected.to_owned()), "{html}");
    }

    #[test]
    fn every_spelling_of_a_variable_is_the_same() {
        for spelling in [
            "{{first_name}}",
            "{{firstName}}",
            "{{ first_name }}",
            "{{contact.first_name}}",
            "{{ contact.firstName }}",
            "{{first_name|there}}",
            "{{first_name | default: \"there\"}}",
            "{{first_name | default(\"there\")}}",
            "{{- first_name -}}",
            "{{\u{a0}first_name\n}}",
        ] {
            is(spelling, "ada");
        }
        for spelling in ["{{custom.plan}}", "{{plan}}", "{{contact.custom.plan}}", "{{contact.plan}}"] {
            is(spelling, "Pro");
        }
        is("{{custom.größe}} {{custom.a.b}} {{leadScore}} {{custom.price}} {{custom.tags}}", "L deep 42 12 x, y");
    }

    #[test]
    fn a_value_that_is_missing_is_empty_and_noted_unless_something_stands_in() {
        let mail =
            mail("[{{phone}}][{{city}}][{{custom.none}}][{{custom.x.y.z}}][{{phone|upper}}]{% if company %}{{job_title}}{% endif %}")
                .unwrap();
        assert_eq!(mail.html, "[][ ][][][]");
        assert_eq!(mail.missing, ["city", "custom.none", "custom.x.y.z", "job_title", "phone"]);
        for fallback in
            ["there", " dear friend ", "\"there\"", "'there'", " default: 'there'", " default('there')", " upper | there", "there!|trim"]
        {
            let source = format!("{{{{phone|{fallback}}}}}");
            let mail = super::tests::mail(&source).unwrap();
            assert!(["there", "there!", "dear friend"].contains(&mail.html.as_str()), "{source} is {}", mail.html);
            assert_eq!(mail.missing, Vec::<String>::new(), "{source}");
        }
        is("{{phone|default(7)}}{{phone|there|upper}}{{city|nowhere}}", "7THEREnowhere");
    }

    #[test]
    fn values_are_escaped_in_html_and_nowhere_else() {
        let source = Source {
            subject: "{{company}}",
            html: "{{company}} {{phone|\"<b>\"}} {{last_name}}",
            text: Some("{{company}} {{last_name}}\n"),
        };
        let mail = render(source, &context()).unwrap();
        assert_eq!(mail.subject, "A & B <Ltd>");
        assert_eq!(mail.html, "A &amp; B &lt;Ltd&gt; &lt;b&gt; O&#39;Neil");
        assert_eq!(mail.text, "A & B <Ltd> O'Neil\n");
    }

    #[test]
    fn a_subject_is_one_line() {
        let source = Source { subject: " Hi\n{{custom.lines}}\0\t!", html: "", text: None };
        assert_eq!(render(source, &context()).unwrap().subject, "Hi one Bcc: all@example.com two !");
        let long = Source { subject: "{{custom.long}}{{custom.long}}", ..source };
        assert_eq!(render(long, &context()).unwrap().subject.chars().count(), SUBJECT);
    }

    #[test]
    fn filters() {
        for (expression, expected) in [
            ("first_name|upper", "ADA"),
            ("custom.plan|lower", "pro"),
            ("last_name|title", "O&#39;neil"),
            ("\u{a0}email | title", "Ada@Example.Com"),
            ("city|trim", ""),
            ("custom.long|truncate(7)", "word w…"),
            ("custom.long|truncate: 6", "word…"),
            ("first_name|truncate(3)", "ada"),
            ("custom.renewal|date", "3 September 2026"),
            ("custom.renewal|date(\"%d.%m.%y\")", "03.09.26"),
            ("custom.moment|date: '%H:%M'", "22:30"),
            ("custom.plan|date", "Pro"),
            ("company|urlencode", "A%20%26%20B%20%3CLtd%3E"),
            ("company|lower|truncate(1)", "…"),
        ] {
            is(&format!("{{{{{expression}}}}}"), expected);
        }
    }

    #[test]
    fn conditions() {
        for (condition, holds) in [
            ("first_name", true),
            ("city", false),
            ("phone or custom.x", false),
            ("not phone and first_name", true),
            ("not (phone or first_name)", false),
            ("custom.plan == 'Pro'", true),
            ("custom.plan|lower == \"pro\"", true),
            ("custom.plan != 'Pro'", false),
            ("custom.seats == 12", true),
            ("custom.seats > 9", true),
            ("custom.seats < '9'", false),
            ("lead_score >= 42 and lead_score <= 42", true),
            ("phone < 5 or phone > 5 or phone == 5", false),
            ("phone == none", true),
            ("phone != 5", true),
            ("'x' in custom.tags", true),
            ("'z' not in custom.tags", true),
            ("custom.plan in ['Free', 'Pro']", true),
            ("'example' in email", true),
            ("phone in email", false),
            ("custom.price == -1.5", false),
            ("true and not false", true),
        ] {
            is(&format!("{{% if {condition} %}}yes{{% else %}}no{{% endif %}}"), if holds { "yes" } else { "no" });
        }
        is("{% if phone %}a{% elif custom.x %}b{%- elif first_name -%} c {%- else %}d{% endif %}\n", "c\n");
    }

    #[test]
    fn loops_go_over_custom_lists() {
        is(
            "{% for item in custom.items %}{{loop.index}} {{item.name}}{% if not loop.last %}, {% endif %}{% endfor %}",
            "1 Pen, 2 &lt;Ink&gt;",
        );
        is("{% for i in items %}{% for size in i.sizes %}{{size}}{{first_name}}{% else %}-{% endfor %}{% endfor %}", "1ada2ada-");
        is(
            "{% for tag in custom.tags %}{{tag|upper}}{% endfor %}{% for x in custom.plan %}{{x}}{% else %}none{% endfor %}{{tag|gone}}",
            "XYnonegone",
        );
        let mail = mail("{% for item in custom.items %}{{item.size}}{% endfor %}").unwrap();
        assert_eq!(mail.missing, ["custom.items.size"]);
    }

    #[test]
    fn text_that_only_looks_like_a_tag_stays() {
        is("a } }} %} #} { { $ {x} <style>@media(x){#id{a:b}}</style>\n", "a } }} %} #} { { $ {x} <style>@media(x){#id{a:b}}</style>\n");
        is("a{# a comment with {{ and {% #}b{#c#}", "ab");
    }

    #[test]
    fn links_out_of_variables_are_harmless_too() {
        is("<a href=\"{{custom.url}}\">x</a>", "<a href=\"#\">x</a>");
        is("<a href='{{unsubscribe_url}}'>x</a>", "<a href='https://t.example/e/u/1?a=1&amp;b=2'>x</a>");
        let mail = mail("<p>Hi {{firstName}}</p><a href='{{unsubscribe_url}}'>Unsubscribe</a>").unwrap();
        assert_eq!(mail.text, "Hi ada\n\nUnsubscribe (https://t.example/e/u/1?a=1&b=2)");
    }

    #[test]
    fn a_check_names_variables_and_warns() {
        let source = Source {
            subject: "{{firstName}} {{first_name}}",
            html: "{{colour}}\n {{custom.size.x}}{{custom.colour}}{% for i in custom.list %}{{i.name|capitalize}}{% endfor %}",
            text: Some("{{shape}}"),
        };
        let checked = check(source, |name| ["size", "list"].contains(&name)).unwrap();
        assert_eq!(checked.variables, ["custom.colour", "custom.list", "custom.shape", "custom.size.x", "first_name"]);
        let told: Vec<_> = checked.warnings.iter().map(|warning| (warning.code(), warning.place(), warning.to_string())).collect();
        let expected = [
            (
                "undeclared_variable",
                Some((Field::Html, 1, 3)),
                "custom.colour is no standard name: it shows something only for contacts that have it among their attributes.",
            ),
            (
                "fallback_like_filter",
                Some((Field::Html, 2, 71)),
                "capitalize is no filter here, but the text for contacts without a value.",
            ),
            (
                "undeclared_variable",
                Some((Field::Text, 1, 3)),
                "custom.shape is no standard name: it shows something only for contacts that have it among their attributes.",
            ),
            ("no_unsubscribe_url", None, "There is no {{unsubscribe_url}}; the link is appended when the mail is sent."),
        ];
        assert_eq!(told, expected.map(|(code, place, message)| (code, place, message.to_owned())));
        let long = "x".repeat(GMAIL + 1) + "{{unsubscribeUrl}}";
        let checked = check(Source { subject: "", html: &long, text: None }, |_| true).unwrap();
        assert_eq!(checked.warnings, [Warning::Clipped { bytes: long.len() }]);
    }

    #[test]
    fn a_context_is_bounded_and_its_more_explicit_names_win() {
        let mut context =
            json!({"contact": {"first_name": "a", "x": 1}, "firstName": "b", "x": 2, "custom": {"x": 3}}).as_object().unwrap().clone();
        let source = Source { subject: "{{first_name}}{{x}}", html: "", text: None };
        assert_eq!(render(source, &context).unwrap().subject, "b3");
        let deep = (0..NESTING + 2).fold(json!(1), |inner, _| json!([inner]));
        for large in [json!("x".repeat(CONTEXT)), json!(vec![0; CONTEXT / 16]), deep] {
            context.insert("y".to_owned(), large);
            assert_eq!(render(source, &context), Err(RenderFault::Context));
        }
    }
}
