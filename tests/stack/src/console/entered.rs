//! What a form of a page, or a script by a JSON object, enters; and how each is told that it is refused.

use std::collections::BTreeMap;

use axum::{
    Json,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use maud::html;
use serde_json::{Value, json};

use super::{
    page::{Section, page},
    parts,
};

/// Whether a script asks: it is answered with JSON, and a person with a page.
pub fn is_json(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|value| value.starts_with("application/json"))
}

/// The fields of a form, as texts, or of a JSON object. Nothing if the body is neither, or has others than the known ones.
pub fn fields(is_json: bool, body: &[u8], known: &[&str]) -> Option<BTreeMap<String, Value>> {
    let fields: BTreeMap<String, Value> = match is_json {
        false => form_urlencoded::parse(body).map(|(name, value)| (name.into_owned(), Value::from(value))).collect(),
        true => serde_json::from_slice(body).ok()?,
    };
    fields.keys().all(|name| known.contains(&name.as_str())).then_some(fields)
}

pub fn refused(is_json: bool, section: Section, status: StatusCode, why: &str) -> Response {
    match is_json {
        true => failed(status, why),
        false => (status, page(section, "Not so", parts::nothing(html! { (why) }))).into_response(),
    }
}

/// `takes` says what would have been understood.
pub fn not_understood(is_json: bool, section: Section, takes: &str) -> Response {
    refused(is_json, section, StatusCode::BAD_REQUEST, &format!("A form or a JSON object is taken here, with {takes}."))
}

pub fn failed(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({ "error": why }))).into_response()
}
