//! The access log: the last requests with their answers, in memory, with masked secrets. A function's own log line (tenant, principal,
//! route, table units) is joined by the request id, whichever comes first.

use std::{collections::VecDeque, sync::Arc};

use http::HeaderMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use super::mask;

use crate::lock::{Guard, Lock};

/// Entries kept; the oldest go first.
pub const CAPACITY: usize = 1_000;

/// The stored bytes of a body.
pub const MOST_BODY: usize = 16 * 1024;

/// Lines of functions that wait for the answer of their request.
const MOST_WAITING: usize = 256;

/// How many entries a slow listener may be behind.
const BACKLOG: usize = 256;

/// One request and its answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Entry {
    /// Increases with every entry. An entry that is sent again, because its function's line arrived, keeps its number.
    pub number: u64,
    pub request_id: String,
    pub at: Timestamp,
    pub method: String,
    /// As received, without the query.
    pub path: String,
    /// As received, with masked secrets. Empty if there is none.
    pub query: String,
    /// The function's route, `/api/v1/projects/{project_id}`. Until its log line arrives, the gateway's route.
    pub route: String,
    pub function: Option<String>,
    pub status: u16,
    /// From the complete request to the answer, measured by the gateway.
    pub latency_ms: f64,
    /// The same, measured by the function.
    pub function_ms: Option<f64>,
    pub tenant: Option<String>,
    pub principal: Option<String>,
    pub read_units: Option<f64>,
    pub write_units: Option<f64>,
    pub request: Message,
    pub response: Message,
}

/// Headers and body of a request or an answer, secrets masked.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Message {
    pub headers: Vec<(String, String)>,
    /// Text, cut after 16 KiB. For binary data, only its size.
    pub body: String,
    pub body_bytes: usize,
    pub cut: bool,
}

/// The facts in a function's own log line about a request.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct FunctionReport {
    pub request_id: String,
    pub route: String,
    #[serde(default)]
    pub latency_ms: Option<f64>,
    #[serde(default)]
    pub tenant: Option<String>,
    #[serde(default)]
    pub principal: Option<String>,
    #[serde(default)]
    pub read_units: Option<f64>,
    #[serde(default)]
    pub write_units: Option<f64>,
    #[serde(default)]
    pub function: Option<String>,
}

/// Which entries to return. An absent or empty field filters nothing.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Exactly this tenant id, or `-` for requests without one.
    pub tenant: Option<String>,
    /// A part of the route or of the path.
    pub route: Option<String>,
    pub method: Option<String>,
    /// A status, `404`, or a class, `4xx`.
    pub status: Option<String>,
    pub request_id: Option<String>,
    /// The most entries. If absent, all that are stored.
    pub limit: Option<usize>,
}

/// Cheap to clone. All clones are the same log.
#[derive(Debug, Clone)]
pub struct AccessLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Lock<State>,
    news: broadcast::Sender<Arc<Entry>>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    entries: VecDeque<Arc<Entry>>,
    waiting: VecDeque<FunctionReport>,
}

impl Default for AccessLog {
    fn default() -> AccessLog {
        AccessLog::new()
    }
}

impl AccessLog {
    pub fn new() -> AccessLog {
        AccessLog { shared: Arc::new(Shared { state: Lock::default(), news: broadcast::channel(BACKLOG).0 }) }
    }

    /// Adds an entry, informs the listeners, and returns its number.
    pub fn record(&self, mut entry: Entry) -> u64 {
        let mut state = self.state();
        state.next += 1;
        entry.number = state.next;
        if let Some(index) = state.waiting.iter().position(|told| told.request_id == entry.request_id)
            && let Some(told) = state.waiting.remove(index)
        {
            entry.learn(told);
        }
        let entry = Arc::new(entry);
        if state.entries.len() == CAPACITY {
            state.entries.pop_front();
        }
        state.entries.push_back(entry.clone());
        drop(state);
        let number = entry.number;
        // It is fine if nobody listens.
        let _ = self.shared.news.send(entry);
        number
    }

    /// Joins a function's line to its request, which may not be finished yet.
    pub fn tell(&self, told: FunctionReport) {
        let mut state = self.state();
        // Search from the newest, because the line belongs to one of the last requests.
        let Some(entry) = state.entries.iter_mut().rev().find(|entry| entry.request_id == told.request_id) else {
            if state.waiting.len() == MOST_WAITING {
                state.waiting.pop_front();
            }
            state.waiting.push_back(told);
            return;
        };
        Arc::make_mut(entry).learn(told);
        let entry = entry.clone();
        drop(state);
        let _ = self.shared.news.send(entry);
    }

    /// The stored entries that match, newest first.
    pub fn recent(&self, filter: &Filter) -> Vec<Arc<Entry>> {
        let limit = filter.limit.unwrap_or(CAPACITY);
        self.state().entries.iter().rev().filter(|entry| filter.fits(entry)).take(limit).cloned().collect()
    }

    pub fn find(&self, request_id: &str) -> Option<Arc<Entry>> {
        self.state().entries.iter().rev().find(|entry| entry.request_id == request_id).cloned()
    }

    /// Every entry from now on. An entry whose function's line came later is sent again with the same number.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Entry>> {
        self.shared.news.subscribe()
    }

    fn state(&self) -> Guard<'_, State> {
        self.shared.state.lock()
    }
}

impl Filter {
    pub fn fits(&self, entry: &Entry) -> bool {
        let asked = |wanted: &Option<String>| wanted.as_deref().map(str::trim).filter(|wanted| !wanted.is_empty()).map(str::to_owned);
        let tenant = asked(&self.tenant).is_none_or(|tenant| tenant == entry.tenant.as_deref().unwrap_or("-"));
        let route = asked(&self.route).is_none_or(|part| entry.route.contains(&part) || entry.path.contains(&part));
        let method = asked(&self.method).is_none_or(|method| method.eq_ignore_ascii_case(&entry.method));
        let status = asked(&self.status).is_none_or(|status| status_fits(&status, entry.status));
        let request_id = asked(&self.request_id).is_none_or(|id| id == entry.request_id);
        tenant && route && method && status && request_id
    }
}

impl Entry {
    /// The request as a line for a POSIX shell, without secrets: the credential is replaced by `$TOKEN` or `$API_KEY`.
    pub fn curl(&self, base: &str) -> String {
        let query = if self.query.is_empty() { String::new() } else { format!("?{}", self.query) };
        let mut line = "curl -sS".to_owned();
        match self.method.as_str() {
            "GET" if self.request.body.is_empty() => {}
            "HEAD" => line.push_str(" --head"),
            method => line.push_str(&format!(" -X {}", quoted(method))),
        }
        line.push_str(&format!(" {}", quoted(&format!("{base}{}{query}", self.path))));
        for (name, value) in &self.request.headers {
            match name.as_str() {
                // curl adds these itself.
                "host" | "content-length" | "user-agent" | "accept-encoding" | "connection" | "transfer-encoding" | "expect" => {}
                "accept" if value == "*/*" => {}
                "authorization" => line.push_str(" -H \"authorization: Bearer $TOKEN\""),
                "x-api-key" => line.push_str(" -H \"x-api-key: $API_KEY\""),
                "x-ingest-key" => line.push_str(" -H \"x-ingest-key: $INGEST_KEY\""),
                _ => line.push_str(&format!(" -H {}", quoted(&format!("{name}: {value}")))),
            }
        }
        if !self.request.body.is_empty() {
            line.push_str(&format!(" --data-raw {}", quoted(&self.request.body)));
        }
        line
    }

    fn learn(&mut self, told: FunctionReport) {
        // If the path matches no route of the function, the gateway's route stays.
        if told.route != "none" {
            self.route = told.route;
        }
        self.function_ms = told.latency_ms;
        self.tenant = told.tenant;
        self.principal = told.principal;
        self.read_units = told.read_units;
        self.write_units = told.write_units;
        self.function = told.function.or_else(|| self.function.take());
    }
}

impl Message {
    /// Masked first and then cut, so that no part of a secret is left. `path` says where whole values are secret.
    pub fn new(path: &str, headers: &HeaderMap, body: &[u8]) -> Message {
        let content_type = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let headers = headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), mask::header(name.as_str(), &String::from_utf8_lossy(value.as_bytes()))))
            .collect();
        let text = mask::body(path, content_type, body);
        let mut end = text.len().min(MOST_BODY);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Message { headers, cut: end < text.len(), body: text[..end].to_owned(), body_bytes: body.len() }
    }
}

fn status_fits(wanted: &str, status: u16) -> bool {
    match wanted.strip_suffix("xx") {
        Some(class) => class == (status / 100).to_string(),
        None => wanted == status.to_string(),
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, status: u16) -> Entry {
        let (request_id, method) = (id.to_owned(), "GET".to_owned());
        Entry {
            request_id,
            method,
            path: "/api/v1/projects".to_owned(),
            route: "ANY /api/v1/projects".to_owned(),
            status,
            ..Entry::default()
        }
    }

    fn told(id: &str) -> FunctionReport {
        FunctionReport {
            request_id: id.to_owned(),
            route: "/api/v1/projects/{project_id}".to_owned(),
            tenant: Some("t-1".to_owned()),
            read_units: Some(3.5),
            ..FunctionReport::default()
        }
    }

    #[test]
    fn a_line_and_its_request_meet_whichever_comes_first() {
        let log = AccessLog::new();
        let mut news = log.subscribe();
        log.tell(told("early"));
        log.record(entry("early", 200));
        let number = log.record(entry("late", 200));
        log.tell(told("late"));
        for id in ["early", "late"] {
            let entry = log.find(id).unwrap();
            assert_eq!((entry.tenant.as_deref(), entry.read_units), (Some("t-1"), Some(3.5)), "{id}");
            assert_eq!(entry.route, "/api/v1/projects/{project_id}");
        }
        let heard: Vec<_> = std::iter::from_fn(|| news.try_recv().ok()).map(|entry| (entry.number, entry.tenant.is_some())).collect();
        assert_eq!(heard, [(1, true), (number, false), (number, true)]);
    }

    #[test]
    fn the_log_is_bounded_and_the_oldest_go() {
        let log = AccessLog::new();
        for index in 0..CAPACITY + 10 {
            log.record(entry(&format!("r-{index}"), 200));
            log.tell(told(&format!("never-{index}")));
        }
        let kept = log.recent(&Filter::default());
        assert_eq!((kept.len(), kept[0].request_id.as_str()), (CAPACITY, "r-1009"));
        assert!(log.find("r-9").is_none() && log.find("r-10").is_some());
        assert_eq!(log.state().waiting.len(), MOST_WAITING);
    }

    #[test]
    fn filters_are_joined_by_and_and_an_empty_one_asks_nothing() {
        let log = AccessLog::new();
        for (id, status) in [("a", 200), ("b", 404), ("c", 422)] {
            log.record(entry(id, status));
        }
        log.tell(told("b"));
        let ids = |filter: Filter| log.recent(&filter).iter().map(|entry| entry.request_id.clone()).collect::<Vec<_>>();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(ids(Filter { status: some("4xx"), ..Filter::default() }), ["c", "b"]);
        assert_eq!(ids(Filter { status: some("404"), tenant: some("t-1"), ..Filter::default() }), ["b"]);
        assert_eq!(ids(Filter { tenant: some("-"), limit: Some(1), ..Filter::default() }), ["c"]);
        assert_eq!(ids(Filter { route: some("{project_id}"), ..Filter::default() }), ["b"]);
        assert_eq!(ids(Filter { tenant: some(" "), method: some("get"), ..Filter::default() }).len(), 3);
    }

    #[test]
    fn the_curl_line_holds_no_secret_and_can_be_pasted() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("authorization", "Bearer eyJ.abc.def"), ("content-type", "application/json"), ("content-length", "9")] {
            headers.insert(name, value.parse().unwrap());
        }
        let request = Message::new("/api/v1/auth/login", &headers, br#"{"name":"it's","password":"hunter2"}"#);
        let entry = Entry { method: "POST".to_owned(), query: "a=1".to_owned(), request, ..entry("a", 200) };
        assert_eq!(
            entry.curl("http://127.0.0.1:9000"),
            r#"curl -sS -X 'POST' 'http://127.0.0.1:9000/api/v1/projects?a=1' -H "authorization: Bearer $TOKEN" -H 'content-type: application/json' --data-raw '{"name":"it'\''s","password":"********"}'"#
        );
    }

    #[test]
    fn a_long_body_is_cut_at_a_character_and_binary_is_told_by_its_size() {
        let text = "é".repeat(MOST_BODY);
        let message = Message::new("/", &HeaderMap::new(), text.as_bytes());
        assert!(message.cut && message.body.len() <= MOST_BODY && message.body_bytes == text.len());
        let message = Message::new("/", &HeaderMap::new(), &[0x1f, 0x8b, 0xff]);
        assert_eq!((message.body.as_str(), message.cut), ("(3 bytes that are not text)", false));
    }
}
