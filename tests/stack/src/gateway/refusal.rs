//! The gateway's own refusals, in the same form as all errors.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{ACCEPT, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, RETRY_AFTER},
};
use serde_json::{Value, json};

pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    /// Boxed, so that a refusal is small enough as an error.
    pub details: Box<Value>,
    /// Seconds.
    pub retry_after: Option<u64>,
    /// The allowed methods.
    pub allow: Option<&'static str>,
    /// The rest of the request will not be read.
    pub hang_up: bool,
}

impl Refusal {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { status, code, message: message.into(), details: Box::new(json!({})), retry_after: None, allow: None, hang_up: false }
    }

    pub fn bad(status: StatusCode, message: impl Into<String>) -> Refusal {
        Refusal::new(status, "BAD_REQUEST", message)
    }

    pub fn unavailable(message: impl Into<String>, retry_after: u64) -> Refusal {
        let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", message);
        Refusal { retry_after: Some(retry_after), ..refusal }
    }

    pub fn hanging_up(self) -> Refusal {
        Refusal { hang_up: true, ..self }
    }

    /// `Accept` may ask for RFC 9457.
    pub fn answer(&self, request_id: &str, asked: &HeaderMap) -> Response<Bytes> {
        let problem = asked
            .get_all(ACCEPT)
            .iter()
            .filter_map(|accept| accept.to_str().ok())
            .any(|accept| accept.to_ascii_lowercase().contains("application/problem+json"));
        let Refusal { status, code, message, details, .. } = self;
        let (content_type, body) = if problem {
            let title = status.canonical_reason().unwrap_or_default();
            let kind = format!("urn:tenantry:error:{}", code.to_ascii_lowercase());
            let body = json!({
                "type": kind, "title": title, "status": status.as_u16(), "detail": message, "code": code, "details": details, "request_id": request_id,
            });
            ("application/problem+json", body)
        } else {
            let error = json!({ "code": code, "message": message, "details": details, "request_id": request_id });
            ("application/json", json!({ "success": false, "error": error }))
        };
        let mut response = Response::new(Bytes::from(body.to_string()));
        *response.status_mut() = *status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        if let Ok(id) = HeaderValue::from_str(request_id) {
            headers.insert(X_REQUEST_ID, id);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(methods) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(methods));
        }
        if self.hang_up {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
