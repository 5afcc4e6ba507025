//! Answers in the shape of their family, and the one error body.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LINK, RETRY_AFTER};
use http::{Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::{Error, FieldErrors, StoredAnswer};
use crate::http::family::Family;
use crate::http::page;
use crate::http::paging::{PageRequest, Style};
use crate::http::status;
use crate::store::page::Position;

pub type ResponseBody = http_body_util::Full<Bytes>;

/// A success: a sentence and data. The status, and whether there is an `ETag`, are part of the type, so that the API reference knows them.
#[derive(Debug)]
pub struct Answer<T, const STATUS: u16 = 200, const TAGGED: bool = false> {
    message: &'static str,
    data: Option<T>,
    etag: Option<String>,
    bare: bool,
    /// The cursor of the next page, for lists that have their own shape.
    pub(crate) next: Option<String>,
}

/// Something was created.
pub type Created<T> = Answer<T, 201>;
/// Accepted, to be finished after the answer.
pub type Accepted<T> = Answer<T, 202>;
/// With an `ETag`.
pub type Tagged<T, const STATUS: u16 = 200> = Answer<T, STATUS, true>;

/// `Answer<Nothing>` carries no data.
#[derive(Debug, Serialize)]
pub enum Nothing {}

/// Done, and there is nothing to say: 204 without a body.
#[derive(Debug)]
pub struct NoContent;

/// Something that is no more.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Deleted {
    id: String,
    deleted: bool,
}

impl Deleted {
    pub fn of(id: String) -> Self {
        Deleted { id, deleted: true }
    }
}

/// A page of a list.
#[derive(Debug)]
pub struct Listing<T> {
    pub items: Vec<T>,
    /// Not shown by families that only use cursors.
    pub total: u64,
    pub page: PageRequest,
    pub next: Option<Position>,
}

impl<T: Serialize, const STATUS: u16> Answer<T, STATUS> {
    pub fn new(message: &'static str, data: T) -> Self {
        Answer { message, data: Some(data), etag: None, bare: false, next: None }
    }

    /// The data alone, without an envelope.
    pub fn bare(data: T) -> Self {
        Answer { bare: true, ..Answer::new("", data) }
    }

    pub fn tagged(self, etag: String) -> Tagged<T, STATUS> {
        let Answer { message, data, bare, next, .. } = self;
        Answer { message, data, etag: Some(etag), bare, next }
    }

    /// A page of a list with a next page. The header `Link` names it.
    pub fn with_next(self, next: Option<String>) -> Self {
        Answer { next, ..self }
    }
}

impl<T: Serialize, const STATUS: u16, const TAGGED: bool> Answer<T, STATUS, TAGGED> {
    pub fn render(&self, family: Family) -> StoredAnswer {
        #[derive(Serialize)]
        struct Envelope<'a, T> {
            #[serde(skip_serializing_if = "Option::is_none")]
            success: Option<bool>,
            #[serde(skip_serializing_if = "Option::is_none")]
            message: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            data: Option<&'a T>,
        }
        let data = self.data.as_ref();
        let body = match family {
            Family::Projects if !self.bare => text_of(&Envelope { success: Some(true), message: Some(self.message), data }),
            Family::Engagement if !self.bare => text_of(&Envelope { success: Some(true), message: None, data }),
            Family::Messaging if !self.bare => text_of(&Envelope { success: None, message: None, data }),
            _ => text_of(&data),
        };
        StoredAnswer { status: STATUS, etag: self.etag.clone(), body }
    }
}

/// Our own answer types can always be serialised. If one could not, the caller would get an empty document and not a panic.
fn text_of(document: &impl Serialize) -> String {
    serde_json::to_string(document).unwrap_or_default()
}

impl Answer<Nothing> {
    /// A sentence, and no data.
    pub fn done(message: &'static str) -> Self {
        Answer { message, data: None, etag: None, bare: false, next: None }
    }
}

impl utoipa::PartialSchema for Nothing {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        utoipa::openapi::ObjectBuilder::new().into()
    }
}

impl utoipa::ToSchema for Nothing {}

/// A stored answer as a response.
pub(crate) fn response_of(answer: &StoredAnswer) -> Response<ResponseBody> {
    let mut response = json_response(answer.status, "application/json", answer.body.clone());
    if let Some(etag) = answer.etag.as_deref().and_then(|etag| HeaderValue::from_str(etag).ok()) {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}

/// The request for a listing, which its links repeat.
pub(crate) struct ListingRequest<'a> {
    pub path: &'a str,
    /// The parameters without the position, percent-encoded, in the order of their names.
    pub filters: String,
    pub seal: &'a dyn Fn(&PageRequest, &Position) -> String,
}

impl<T: Serialize> Listing<T> {
    pub(crate) fn response(&self, request: &ListingRequest<'_>) -> Response<ResponseBody> {
        let cursor = self.next.as_ref().map(|next| (request.seal)(&self.page, next));
        let url = |position: &str| {
            let separator = if request.filters.is_empty() { "" } else { "&" };
            format!("{}?{}{separator}{position}", request.path, request.filters)
        };
        let limit = self.page.limit as u64;
        let (body, links) = match self.page.style {
            Style::Pages => {
                let last_page = self.total.div_ceil(limit).max(1);
                let current = self.page.offset().map(|offset| offset / limit + 1);
                let first = current.map(|page| (page - 1) * limit + 1).filter(|_| !self.items.is_empty());
                let next = match current {
                    Some(page) if page < last_page => Some(url(&format!("page={}", page + 1))),
                    Some(_) => None,
                    None => cursor.as_ref().map(|cursor| url(&format!("cursor={cursor}"))),
                };
                let links = json!({
                    "first": url("page=1"),
                    "last": url(&format!("page={last_page}")),
                    "prev": current.filter(|page| *page > 1).map(|page| url(&format!("page={}", page - 1))),
                    "next": next,
                });
                let meta = json!({
                    "current_page": current,
                    "from": first,
                    "last_page": last_page,
                    "per_page": limit,
                    "to": first.map(|first| first + self.items.len() as u64 - 1),
                    "total": self.total,
                    "next_cursor": cursor,
                });
                #[derive(Serialize)]
                struct Pages<'a, T> {
                    data: &'a [T],
                    links: &'a Value,
                    meta: Value,
                }
                (text_of(&Pages { data: &self.items, links: &links, meta }), links)
            }
            Style::Offsets => {
                let offset = self.page.offset();
                let pagination = json!({
                    "total": self.total,
                    "limit": limit,
                    "offset": offset,
                    "has_more": cursor.is_some(),
                    "next_cursor": cursor,
                });
                let links = json!({"next": cursor.as_ref().map(|cursor| url(&format!("limit={limit}&cursor={cursor}")))});
                #[derive(Serialize)]
                struct Offsets<'a, T> {
                    success: bool,
                    data: &'a [T],
                    pagination: Value,
                }
                (text_of(&Offsets { success: true, data: &self.items, pagination }), links)
            }
            Style::Cursors => {
                let links = json!({"next": cursor.as_ref().map(|cursor| url(&format!("limit={limit}&cursor={cursor}")))});
                #[derive(Serialize)]
                struct Cursors<'a, T> {
                    data: &'a [T],
                    next_cursor: Option<&'a str>,
                }
                (text_of(&Cursors { data: &self.items, next_cursor: cursor.as_deref() }), links)
            }
        };
        let mut response = json_response(200, "application/json", body);
        let mut header = String::new();
        for relation in ["first", "prev", "next", "last"] {
            if let Some(target) = links[relation].as_str() {
                let _ = write!(header, "{}<{target}>; rel=\"{relation}\"", if header.is_empty() { "" } else { ", " });
            }
        }
        if let Ok(value) = HeaderValue::from_str(&header)
            && !header.is_empty()
        {
            response.headers_mut().insert(LINK, value);
        }
        response
    }
}

/// The one error body, or RFC 9457 problem details with the same facts if `Accept` asks for them.
pub(crate) fn error_response(error: &Error, family: Family, request_id: &str, problem: bool) -> Response<ResponseBody> {
    if let Error::Replayed(answer) = error {
        let mut response = response_of(answer);
        response.headers_mut().insert(HeaderName::from_static("idempotency-replayed"), HeaderValue::from_static("true"));
        return response;
    }
    let (status, code) = status::entry(error, family);
    let mut response = if family == Family::Links {
        page::refusal(status, error)
    } else if problem {
        let title = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default();
        let body = json!({
            "type": format!("urn:tenantry:error:{}", code.0.to_ascii_lowercase()),
            "title": title,
            "status": status,
            "detail": error.message(),
            "code": code.0,
            "details": details(error),
            "request_id": request_id,
        });
        json_response(status, "application/problem+json", body.to_string())
    } else {
        let StoredAnswer { status, body, .. } = refusal(error, family, request_id);
        json_response(status, "application/json", body)
    };
    let retry_after = match error {
        Error::TooManyRequests(throttled) => Some(throttled.retry_after),
        Error::Unavailable { .. } => Some(1),
        _ => None,
    };
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// An error in our own shape.
pub(crate) fn refusal(error: &Error, family: Family, request_id: &str) -> StoredAnswer {
    let (status, code) = status::entry(error, family);
    let error = json!({"code": code.0, "message": error.message(), "details": details(error), "request_id": request_id});
    StoredAnswer { status, etag: None, body: json!({"success": false, "error": error}).to_string() }
}

fn details(error: &Error) -> Value {
    match error {
        Error::Validation(fields) => json!(fields),
        Error::MissingTemplateVariables(names) => {
            let lacking = |name: &String| (format!("data.{name}"), vec![format!("The data.{name} field is required.")]);
            json!(names.iter().map(lacking).collect::<FieldErrors>())
        }
        Error::WebhookUrlRefused(_) => json!({"url": [error.message()]}),
        Error::PlanLimitReached(limit) => json!({"limit": limit.limit, "used": limit.used, "max": limit.max, "plan": limit.plan}),
        Error::TooManyRequests(throttled) => {
            json!({"quota": throttled.quota, "limit": throttled.limit, "retry_after": throttled.retry_after})
        }
        _ => json!({}),
    }
}

fn json_response(status: u16, content_type: &'static str, body: String) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
