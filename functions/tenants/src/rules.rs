//! What the fields of an edge configuration may contain.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shared::http::form::{Fields, Flag, Integer, OneOf, Raw, Rule};
use shared::model::edge_config::{ApiChanges, AuthMode, Cms, EdgeChanges, StripParams};
use shared::model::tenant::Slug;
use shared::model::web;

/// A slug in upper or lower case.
pub struct SlugText;

/// A slug that may be taken: not a reserved word.
pub struct NewSlug;

/// A word of letters, digits, `-`, `_` and `.`: a repository, a space, a dataset, a query parameter.
pub struct Word;

pub struct Host;

pub struct Origin;

pub struct HeaderName;

/// File extensions (`webp`) and media types (`image/webp`, `image/*`).
pub struct FileTypes;

/// `true` for all types, `false`, or a list of types.
pub struct Stripping;

/// Up to 4096 printable characters. An empty text counts as missing.
pub struct Token;

pub const CMS: OneOf<Cms> = OneOf { words: Cms::WORDS, parse: Cms::parse };
const AUTH_MODE: OneOf<AuthMode> = OneOf { words: AuthMode::WORDS, parse: AuthMode::parse };
const CACHE_TTL: Integer = Integer { min: 60, max: 31_536_000 };
const API_CACHE_TTL: Integer = Integer { min: 10, max: 3600 };

/// The fields that creating and changing share, except `cms`. Null removes a value where that is allowed.
pub fn read_changes(fields: &mut Fields<'_>) -> EdgeChanges {
    let seconds = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
    let mut provider = BTreeMap::new();
    for name in ["repository", "spaceId", "projectId", "dataset", "cloudName"] {
        provider.extend(fields.change(name, Word).map(|value| (name, value)));
    }
    for name in ["shopDomain", "sourceDomain"] {
        provider.extend(fields.change(name, Host).map(|value| (name, value)));
    }
    EdgeChanges {
        cms: None,
        provider,
        origin_url: fields.change_or_clear("originUrl", Origin),
        video_origin: fields.change_or_clear("videoOrigin", Origin),
        website_domain: fields.change_or_clear("websiteDomain", Host),
        cache_ttl: seconds(fields.change("cacheTTL", CACHE_TTL)),
        allowed_types: fields.change_or_clear("allowedTypes", FileTypes),
        strip_params: fields.change("stripParams", Stripping),
        api: read_api_changes(fields),
    }
}

pub fn read_api_changes(fields: &mut Fields<'_>) -> ApiChanges {
    ApiChanges {
        origin: fields.change_or_clear("apiOrigin", Origin),
        auth_mode: fields.change("apiAuthMode", AUTH_MODE),
        token_header: fields.change("apiTokenHeader", HeaderName),
        cache_ttl: fields.change("apiCacheTTL", API_CACHE_TTL).and_then(|number| u32::try_from(number).ok()),
        preview_bypass_param: fields.change_or_clear("previewBypassParam", Word),
        transform_urls: fields.change("transformApiUrls", Flag),
    }
}

fn text(raw: Raw<'_>) -> Result<&str, String> {
    match raw {
        Raw::Json(Value::String(text)) => Ok(text),
        Raw::Text(text) => Ok(text),
        Raw::Json(_) => Err("must be a string".into()),
    }
}

impl Rule for SlugText {
    type Value = Slug;

    fn check(&self, raw: Raw<'_>) -> Result<Slug, String> {
        Slug::asked(text(raw)?).ok_or_else(|| {
            "must be 3 to 63 of the letters a-z, digits and hyphens, with no hyphen at either end or at third and fourth place".into()
        })
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "minLength": 3, "maxLength": 63, "pattern": "^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])$"})
    }
}

impl Rule for NewSlug {
    type Value = Slug;

    fn check(&self, raw: Raw<'_>) -> Result<Slug, String> {
        let slug = SlugText.check(raw)?;
        if slug.is_reserved() { Err("is a reserved word, or looks like one".into()) } else { Ok(slug) }
    }

    fn schema(&self) -> Value {
        SlugText.schema()
    }
}

impl Rule for Word {
    type Value = String;

    fn check(&self, raw: Raw<'_>) -> Result<String, String> {
        let text = text(raw)?;
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        let fits = (1..=100).contains(&text.len()) && plain && text.bytes().any(|byte| byte.is_ascii_alphanumeric());
        if fits { Ok(text.to_owned()) } else { Err("must be 1 to 100 letters, digits, hyphens, underscores and dots".into()) }
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[A-Za-z0-9._-]+$"})
    }
}

impl Rule for Host {
    type Value = String;

    fn check(&self, raw: Raw<'_>) -> Result<String, String> {
        web::host(text(raw)?).map_err(str::to_owned)
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "format": "hostname", "maxLength": 253})
    }
}

impl Rule for Origin {
    type Value = String;

    fn check(&self, raw: Raw<'_>) -> Result<String, String> {
        web::origin(text(raw)?).map_err(str::to_owned)
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "format": "uri", "pattern": "^https://", "maxLength": 2048})
    }
}

impl Rule for HeaderName {
    type Value = String;

    fn check(&self, raw: Raw<'_>) -> Result<String, String> {
        web::header_name(text(raw)?).map_err(str::to_owned)
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "minLength": 1, "maxLength": 64})
    }
}

impl Rule for FileTypes {
    type Value = Vec<String>;

    fn check(&self, raw: Raw<'_>) -> Result<Vec<String>, String> {
        let Raw::Json(Value::Array(values)) = raw else { return Err("must be a list of file types".into()) };
        if !(1..=50).contains(&values.len()) {
            return Err("must have 1 to 50 entries".into());
        }
        let mut types: Vec<String> = vec![];
        for value in values {
            let kind = value.as_str().and_then(file_type).ok_or("must be a list of file types like webp or image/webp")?;
            if !types.contains(&kind) {
                types.push(kind);
            }
        }
        Ok(types)
    }

    fn schema(&self) -> Value {
        json!({"type": "array", "minItems": 1, "maxItems": 50, "items": {"type": "string"}})
    }
}

/// In lower case, without a leading dot.
fn file_type(text: &str) -> Option<String> {
    let text = text.strip_prefix('.').unwrap_or(text).to_ascii_lowercase();
    let word = |word: &str, marks: &[u8]| {
        (1..=64).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || marks.contains(&byte))
    };
    let fits = match text.split_once('/') {
        None => text.len() <= 10 && word(&text, b""),
        Some((kind, part)) => word(kind, b"-") && (part == "*" || word(part, b"-+._")),
    };
    fits.then_some(text)
}

impl Rule for Stripping {
    type Value = StripParams;

    fn check(&self, raw: Raw<'_>) -> Result<StripParams, String> {
        match raw {
            Raw::Json(Value::Bool(true)) => Ok(StripParams::All),
            Raw::Json(Value::Bool(false)) => Ok(StripParams::Off),
            Raw::Json(Value::Array(_)) => FileTypes.check(raw).map(StripParams::Types),
            _ => Err("must be true, false or a list of file types".into()),
        }
    }

    fn schema(&self) -> Value {
        json!({"oneOf": [{"type": "boolean"}, FileTypes.schema()]})
    }
}

impl Rule for Token {
    type Value = Option<String>;

    fn check(&self, raw: Raw<'_>) -> Result<Option<String>, String> {
        let text = text(raw)?.trim();
        // It becomes the value of a header.
        if !text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
            return Err("must be printable ASCII characters".into());
        }
        if text.len() > 4096 {
            return Err("must not be longer than 4096 characters".into());
        }
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "format": "password", "minLength": 1, "maxLength": 4096})
    }
}
