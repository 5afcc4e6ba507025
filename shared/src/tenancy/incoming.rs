//! One request: what arrived, when, and what is found out about it for the answer's headers and the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;

use crate::error::{Error, Result};
use crate::ids::WorkspaceId;
use crate::lock::{Guard, Lock};
use crate::store::Table;
use crate::tenancy::{App, DayPlace, Origin, TenantId};

pub struct Incoming {
    pub app: App,
    /// HEAD is treated as GET. The router removes the body afterwards.
    pub method: Method,
    /// Whether it was HEAD.
    pub is_head: bool,
    /// The path as it was requested.
    pub path: String,
    /// The route's pattern.
    pub route: &'static str,
    pub headers: HeaderMap,
    /// The parameters that have a value. An empty parameter counts as absent.
    pub query: BTreeMap<String, String>,
    /// Decoded. Invalid UTF-8 becomes replacement characters, which match no id.
    pub path_values: Vec<String>,
    pub body: Bytes,
    /// The caller's address as the gateway saw it.
    pub ip: String,
    pub request_id: String,
    pub now: Timestamp,
    /// Why the query cannot be read. The caller is told only after the door.
    query_fault: Option<&'static str>,
    /// The gateway marked the body as base64, but it is not.
    pub(crate) unreadable_body: bool,
    /// The table with this request's meter.
    pub(crate) table: Table,
    facts: Arc<Lock<RequestFacts>>,
}

/// A request as it arrived, with what the gateway says about it.
pub(crate) struct RawRequest<'a> {
    /// The route's pattern.
    pub route: &'static str,
    pub parts: &'a Parts,
    pub body: Bytes,
    pub ip: String,
    pub unreadable_body: bool,
    pub request_id: String,
}

/// What is found out while the request runs.
#[derive(Debug, Default, Clone)]
pub struct RequestFacts {
    pub tenant: Option<TenantId>,
    pub principal: Option<String>,
    /// The workspace that the request entered.
    pub workspace: Option<WorkspaceId>,
    pub limits: Vec<LimitReport>,
    /// The places in tenants' daily quotas that this request took.
    pub(crate) places: Vec<DayPlace>,
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
    pub(crate) fn new(app: App, raw: RawRequest<'_>) -> Self {
        let RawRequest { route, parts, body, ip, unreadable_body, request_id } = raw;
        let (query, query_fault) = read_query(parts.uri.query().unwrap_or_default());
        Incoming {
            method: if parts.method == Method::HEAD { Method::GET } else { parts.method.clone() },
            is_head: parts.method == Method::HEAD,
            path: parts.uri.path().to_owned(),
            route,
            headers: parts.headers.clone(),
            query,
            path_values: path_values(route, parts.uri.path()),
            body: if body.starts_with(BYTE_ORDER_MARK) { body.slice(BYTE_ORDER_MARK.len()..) } else { body },
            ip,
            request_id,
            now: app.clock().now(),
            query_fault,
            unreadable_body,
            table: app.table().metered(),
            app,
            facts: Arc::default(),
        }
    }

    /// Refuses a query that cannot be read. Called after the door.
    pub(crate) fn readable(&self) -> Result<()> {
        self.query_fault.map_or(Ok(()), |fault| Err(Error::BadRequest(fault.into())))
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

    /// A header that may appear at most once and whose value contains no comma. API Gateway joins repeated headers with commas.
    pub fn single(&self, name: &HeaderName) -> Result<Option<&str>> {
        match self.header(name)? {
            Some(value) if value.contains(',') => Err(Error::BadRequest(format!("The header {name} appears twice.").into())),
            value => Ok(value),
        }
    }

    /// A header that is a list. If it is repeated, the values form one list.
    pub fn list(&self, name: &HeaderName) -> Result<Option<String>> {
        let mut values = self.headers.get_all(name).iter().map(|value| value.to_str()).peekable();
        if values.peek().is_none() {
            return Ok(None);
        }
        let values: Vec<&str> =
            values.collect::<Result<_, _>>().map_err(|_| Error::BadRequest(format!("The header {name} is not plain text.").into()))?;
        Ok(Some(values.join(", ")))
    }

    pub fn is_read(&self) -> bool {
        self.method == Method::GET
    }

    pub(crate) fn facts(&self) -> Guard<'_, RequestFacts> {
        self.facts.lock()
    }

    /// For doors that learn more while the handler runs.
    pub(crate) fn shared_facts(&self) -> Arc<Lock<RequestFacts>> {
        self.facts.clone()
    }

    pub(crate) fn origin(&self, actor: String) -> Arc<Origin> {
        Arc::new(Origin { actor, request: self.request_id.clone() })
    }
}

/// Some editors put it at the beginning of a text.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

fn read_query(text: &str) -> (BTreeMap<String, String>, Option<&'static str>) {
    let (mut query, mut fault) = (BTreeMap::new(), None);
    if text.split('&').any(|pair| percent_decode_str(pair).decode_utf8().is_err()) {
        fault = Some("The query is not UTF-8.");
    }
    for (name, value) in form_urlencoded::parse(text.as_bytes()).filter(|(_, value)| !value.is_empty()) {
        if query.insert(name.into_owned(), value.into_owned()).is_some() {
            fault = Some("A query parameter appears twice.");
        }
    }
    (query, fault)
}

/// The values in a path at the positions of the route's parameters.
fn path_values(route: &str, path: &str) -> Vec<String> {
    let segments = route.split('/').zip(path.split('/'));
    let values = segments.filter(|(pattern, _)| pattern.starts_with('{'));
    values.map(|(_, value)| percent_decode_str(value).decode_utf8_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_as_far_as_they_can_be() {
        let read = |text: &str| {
            let (query, fault) = read_query(text);
            (query.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "), fault.is_some())
        };
        assert_eq!(read("b=2&a=%C3%A9+x&c=&d"), ("a=é x b=2".into(), false));
        assert_eq!(read("%"), (String::new(), false));
        assert_eq!(read("a=&a=1"), ("a=1".into(), false));
        for wrong in ["a=1&a=1", "%FF=1", "a=%ff", "%C3=&x=%A9"] {
            assert!(read(wrong).1, "{wrong}");
        }
    }

    #[test]
    fn path_values_stand_where_the_route_has_names() {
        assert_eq!(path_values("/a/{x}/b/{y}", "/a/1%2F2/b/%FF"), ["1/2", "\u{FFFD}"]);
        assert!(path_values("/a", "/a").is_empty());
    }
}
