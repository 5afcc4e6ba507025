//! One request on its way through: what came in, when, and what is learned about it for the answer's headers and the log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method};
use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::http::family::Family;
use crate::http::form::{self, Form};
use crate::runtime::App;
use crate::store::Table;
use crate::tenancy::{Origin, TenantId};

pub const MAX_BODY: usize = 256 * 1024;

pub struct Incoming {
    pub app: App,
    pub method: Method,
    /// The path as it was asked for.
    pub path: String,
    /// The route's pattern.
    pub route: &'static str,
    pub family: Family,
    pub headers: HeaderMap,
    pub query: BTreeMap<String, String>,
    pub path_values: Vec<String>,
    pub body: Bytes,
    /// The caller's address as the gateway saw it.
    pub ip: String,
    pub request_id: String,
    pub now: Timestamp,
    /// The table, reporting to this request's meter.
    pub(crate) table: Table,
    learned: Arc<Mutex<Learned>>,
}

/// What is found out while the request runs.
#[derive(Debug, Default, Clone)]
pub struct Learned {
    pub tenant: Option<TenantId>,
    pub principal: Option<String>,
    pub limits: Vec<LimitReport>,
}

/// One limit as the headers report it.
#[derive(Debug, Clone)]
pub struct LimitReport {
    pub name: &'static str,
    pub limit: u64,
    pub remaining: u64,
    /// Seconds of the window.
    pub window: u64,
    /// Epoch seconds at which the window ends.
    pub resets_at: i64,
    pub seconds_left: u64,
}

impl Incoming {
    pub(crate) fn new(
        app: App,
        route: &'static str,
        path_values: Vec<String>,
        parts: &Parts,
        body: Bytes,
        ip: String,
        request_id: String,
    ) -> Result<Self> {
        let mut query = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
            if query.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(Error::BadRequest("A query parameter appears twice.".into()));
            }
        }
        Ok(Incoming {
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            route,
            family: Family::of(route),
            headers: parts.headers.clone(),
            query,
            path_values,
            body,
            ip,
            request_id,
            now: app.clock().now(),
            table: app.table().metered(),
            app,
            learned: Arc::default(),
        })
    }

    /// A header that may come at most once.
    pub fn header(&self, name: &HeaderName) -> Result<Option<&str>> {
        let mut values = self.headers.get_all(name).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Error::BadRequest(format!("The header {name} appears twice.").into()));
        }
        value.to_str().map(Some).map_err(|_| Error::BadRequest(format!("The header {name} is not plain text.").into()))
    }

    pub fn is_read(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
    }

    /// The body as a form: a JSON object, no larger than 256 KiB, with no field too many.
    pub(crate) fn form<F: Form>(&self) -> Result<F> {
        if self.body.len() > MAX_BODY {
            return Err(Error::PayloadTooLarge);
        }
        if self.headers.contains_key(http::header::CONTENT_ENCODING) {
            return Err(Error::BadRequest("Content-Encoding is not supported.".into()));
        }
        let kind = self.header(&http::header::CONTENT_TYPE)?.unwrap_or("application/json");
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if kind != "application/json" && !kind.ends_with("+json") {
            return Err(Error::BadRequest("Content-Type must be application/json.".into()));
        }
        let bytes = if self.body.is_empty() { b"{}" } else { &self.body[..] };
        let value = crate::http::json::parse(bytes).map_err(|message| Error::BadRequest(message.into()))?;
        let Some(object) = value.as_object() else {
            return Err(Error::BadRequest("The body must be a JSON object.".into()));
        };
        form::from_json(object).map_err(Error::Validation)
    }

    pub(crate) fn learned(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// For doors that learn more while the handler runs.
    pub(crate) fn shared_learned(&self) -> Arc<Mutex<Learned>> {
        self.learned.clone()
    }

    pub(crate) fn origin(&self, actor: String) -> Arc<Origin> {
        Arc::new(Origin { actor, request: self.request_id.clone() })
    }
}
