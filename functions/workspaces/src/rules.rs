//! The rules of values that only workspaces have.

use jiff::tz::TimeZone;
use serde_json::{Value, json};
use shared::http::form::{Raw, Rule};
use shared::model::web;
use shared::model::workspace::WorkspaceSlug;

/// The slug of a new workspace.
pub struct NewSlug;

impl Rule for NewSlug {
    type Value = WorkspaceSlug;

    fn check(&self, raw: Raw<'_>) -> Result<WorkspaceSlug, String> {
        let text = raw.text().ok_or("must be a string")?;
        WorkspaceSlug::parse(text)
            .ok_or_else(|| format!("must be 1 to {} of a-z and 0-9, in words joined by single hyphens", WorkspaceSlug::MAX))
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "pattern": WorkspaceSlug::PATTERN, "minLength": 1, "maxLength": WorkspaceSlug::MAX, "example": "acme"})
    }
}

/// A zone of the IANA database, stored as it is spelled there.
pub struct Timezone;

impl Rule for Timezone {
    type Value = String;

    fn check(&self, raw: Raw<'_>) -> Result<String, String> {
        let zone = raw.text().filter(|text| text.len() <= 64).and_then(|text| TimeZone::get(text).ok());
        let name = zone.as_ref().and_then(TimeZone::iana_name).map(str::to_owned);
        name.ok_or_else(|| "must be a time zone like Europe/Berlin".into())
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "maxLength": 64, "example": "Europe/Berlin"})
    }
}

/// An https URL of at most 2,048 characters.
pub struct HttpsUrl;

impl Rule for HttpsUrl {
    type Value = String;

    fn check(&self, raw: Raw<'_>) -> Result<String, String> {
        let text = raw.text().filter(|text| text.len() <= 2048).ok_or("must be an https URL")?;
        web::url(text, &["https"], false).map_err(|_| "must be an https URL".into())
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "format": "uri", "maxLength": 2048, "example": "https://cdn.example.com/logo.png"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
