//! The rules of values that only workspaces have.

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
