//! Where a request ends: errors become answers and are logged, panics become a 500, and headers are added. This happens only here.

use std::any::Any;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::extract::Request;
use axum::response::Response as AxumResponse;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::{ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::error::{Chain, Error, Result};
use crate::http::answer::{ResponseBody, error_response};
use crate::http::arguments::not_modified;
use crate::http::endpoint::Handler;
use crate::http::family::Family;
use crate::http::negotiation::wants_problem;
use crate::http::request::LARGEST_BODY;
use crate::log::{self, RequestLine};
use crate::store::Metered;
use crate::tenancy::doors::workspace::X_WORKSPACE_ID;
use crate::tenancy::incoming::{LimitReport, RawRequest};
use crate::tenancy::{App, Incoming};

/// A handler with its types erased.
pub(crate) trait Call: Send + Sync {
    fn call<'a>(&'a self, incoming: &'a Incoming) -> BoxFuture<'a, Result<Response<ResponseBody>>>;
}

/// Erases a handler's types.
pub(crate) struct Erased<H, T>(pub H, pub PhantomData<fn() -> T>);

impl<T, H: Handler<T>> Call for Erased<H, T> {
    fn call<'a>(&'a self, incoming: &'a Incoming) -> BoxFuture<'a, Result<Response<ResponseBody>>> {
        Box::pin(self.0.call(incoming))
    }
}

/// What the gateway says about a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Context {
    pub request_id: Option<String>,
    /// The caller's address as the gateway saw it.
    pub ip: String,
    /// The gateway marked the body as base64, but it is not.
    pub unreadable_body: bool,
}

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Not generic over the handler, which is a boxed call. The code is therefore compiled once and not for every route.
pub(crate) async fn serve(app: App, route: &'static str, request: Request, handler: &dyn Call) -> AxumResponse {
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let (context, request_id) = context_of(&app, &parts);
    let family = Family::of(route);
    let body = match Limited::new(body, LARGEST_BODY).collect().await {
        Ok(collected) => collected.to_bytes(),
        // Replaced by a body that is one byte too long, because the door comes before the error about the body.
        Err(error) if error.is::<LengthLimitError>() => Bytes::from(vec![b' '; LARGEST_BODY + 1]),
        Err(_) => Bytes::new(),
    };
    let method = parts.method.as_str().to_owned();
    let problem = asks_for_problem(&parts.headers);
    let Context { ip, unreadable_body, .. } = context;
    let raw = RawRequest { route, parts: &parts, body, ip, unreadable_body, request_id: request_id.clone() };
    let incoming = Incoming::new(app, raw);
    let answered = AssertUnwindSafe(handler.call(&incoming)).catch_unwind().await;
    let result = answered.unwrap_or_else(|panic| Err(panicked("handling a request", panic)));
    let result = result.map(|response| unless_unchanged(&incoming, response));
    // A refusal does not say it: it must not tell where something is.
    let from = if matches!(result, Ok(_) | Err(Error::Replayed(_))) { incoming.facts().workspace } else { None };
    let limiter = incoming.app.limiter();
    if result.as_ref().is_err_and(Error::is_invalid) {
        let mut facts = incoming.facts();
        let places = std::mem::take(&mut facts.places);
        limiter.give_back(places, &mut facts.limits);
    }
    let facts = incoming.facts().clone();
    let limits = limiter.reported(facts.limits, result.as_ref().err(), incoming.now);
    let mut response = finish(result, family, &request_id, problem, &limits);
    let from = from.and_then(|workspace| HeaderValue::from_str(&workspace.prefixed()).ok());
    response.headers_mut().extend(from.map(|workspace| (X_WORKSPACE_ID, workspace)));
    let (metered, memory_mb) = (incoming.table.meter().read(), incoming.app.config().memory_mb);
    // For code that calls the router in the same process. It is not sent to the client.
    response.extensions_mut().insert(metered);
    let elapsed = started.elapsed();
    if let Some(tenant) = facts.tenant {
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        limiter.consumed(incoming.app.table(), tenant, metered, micros, memory_mb, incoming.now).await;
    }
    log::request(&RequestLine {
        at: incoming.app.clock().now(),
        request_id: &request_id,
        method: &method,
        route,
        status: response.status().as_u16(),
        milliseconds: elapsed.as_secs_f64() * 1000.0,
        tenant: facts.tenant.map(|tenant| tenant.to_string()).as_deref(),
        principal: facts.principal.as_deref(),
        metered,
    });
    axum_response(response)
}

/// The answer to a path or method that no route has.
pub(crate) async fn refuse(app: App, request: Request, error: Error) -> AxumResponse {
    let (parts, _) = request.into_parts();
    let (_, request_id) = context_of(&app, &parts);
    let family = Family::of(parts.uri.path());
    // The path itself is the caller's text and may contain anything, so it is not logged.
    turned_away(&app, error, family, parts.method.as_str(), "none", &request_id, asks_for_problem(&parts.headers))
}

/// The answer to an event that is not a valid request, or to a request whose answer failed outside a handler.
pub(crate) fn unrouted(app: &App, request_id: Option<String>, error: Error) -> AxumResponse {
    let request_id = request_id.unwrap_or_else(|| new_request_id(app));
    turned_away(app, error, Family::Projects, "none", "none", &request_id, false)
}

/// A panic as an error.
pub(crate) fn panicked(doing: &'static str, panic: Box<dyn Any + Send>) -> Error {
    let what = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    Error::internal(doing, what.unwrap_or_else(|| "a panic".into()))
}

/// The answer to a request that reaches no handler.
fn turned_away(app: &App, error: Error, family: Family, method: &str, route: &str, request_id: &str, problem: bool) -> AxumResponse {
    let response = finish(Err(error), family, request_id, problem, &[]);
    log::request(&RequestLine {
        at: app.clock().now(),
        request_id,
        method,
        route,
        status: response.status().as_u16(),
        milliseconds: 0.0,
        tenant: None,
        principal: None,
        metered: Metered::default(),
    });
    axum_response(response)
}

fn finish(
    result: Result<Response<ResponseBody>>,
    family: Family,
    request_id: &str,
    problem: bool,
    limits: &[LimitReport],
) -> Response<ResponseBody> {
    let mut response = result.unwrap_or_else(|error| {
        if let Error::Internal { .. } | Error::Unavailable { .. } = &error {
            tracing::error!(request_id, error = %Chain(&error), "request failed");
        }
        error_response(&error, family, request_id, problem)
    });
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(X_REQUEST_ID, id);
    }
    if response.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    limit_headers(response.headers_mut(), limits);
    response
}

/// `X-RateLimit-*` describe the first limit: the one per minute, or the one that refused. The two structured fields
/// (draft-ietf-httpapi-ratelimit-headers-10) describe all.
fn limit_headers(headers: &mut HeaderMap, limits: &[LimitReport]) {
    let Some(first) = limits.first() else { return };
    headers.insert(HeaderName::from_static("x-ratelimit-limit"), HeaderValue::from(first.limit));
    headers.insert(HeaderName::from_static("x-ratelimit-remaining"), HeaderValue::from(first.remaining));
    headers.insert(HeaderName::from_static("x-ratelimit-reset"), HeaderValue::from(first.resets_at));
    // A limit without a rate (so many at a time) has no window.
    let window = |report: &LimitReport| if report.window == 0 { String::new() } else { format!(";w={}", report.window) };
    let policy: Vec<String> = limits.iter().map(|report| format!("\"{}\";q={}{}", report.name, report.limit, window(report))).collect();
    let state: Vec<String> =
        limits.iter().map(|report| format!("\"{}\";r={};t={}", report.name, report.remaining, report.seconds_left)).collect();
    for (name, value) in [("ratelimit-policy", policy.join(", ")), ("ratelimit", state.join(", "))] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// 304 if the caller already has the same representation.
fn unless_unchanged(incoming: &Incoming, response: Response<ResponseBody>) -> Response<ResponseBody> {
    let unchanged = incoming.is_read()
        && response.status() == StatusCode::OK
        && match (incoming.list(&IF_NONE_MATCH), response.headers().get(ETAG).and_then(|etag| etag.to_str().ok())) {
            (Ok(Some(expected)), Some(etag)) => not_modified(&expected, etag),
            _ => false,
        };
    if !unchanged {
        return response;
    }
    let (parts, _) = response.into_parts();
    let mut unchanged = Response::new(ResponseBody::default());
    *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
    if let Some(etag) = parts.headers.get(ETAG) {
        unchanged.headers_mut().insert(ETAG, etag.clone());
    }
    unchanged
}

/// What the gateway says about a request, and the request's id: the gateway's, or a new one.
fn context_of(app: &App, parts: &Parts) -> (Context, String) {
    let context = parts.extensions.get::<Context>().cloned().unwrap_or_default();
    let fits = |id: &String| (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    let request_id = context.request_id.clone().filter(fits).unwrap_or_else(|| new_request_id(app));
    (context, request_id)
}

fn new_request_id(app: &App) -> String {
    crate::ids::LinkId::new(app.random()).to_string()
}

fn asks_for_problem(headers: &HeaderMap) -> bool {
    wants_problem(headers.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok()))
}

fn axum_response(response: Response<ResponseBody>) -> AxumResponse {
    response.map(axum::body::Body::new)
}
