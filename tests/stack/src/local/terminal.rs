//! The output for a person: at first only what they need, then a short line for each request, and errors. `--json` prints the functions'
//! own lines instead. Everything goes to standard error.

use std::{
    collections::{HashMap, VecDeque},
    io::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::{Value, json};
use stack::gateway::access::{AccessLog, Entry, FunctionReport};
use stack::lock::{Guard, Lock};

/// The same error of several functions, or of one in a loop, is shown once in this time.
const ONCE: Duration = Duration::from_secs(20);

/// A function's log line arrives at about the same time as its answer.
const JOINING: Duration = Duration::from_millis(150);

/// Each function prints this at each start, about a variable that its watcher sets.
const KNOWN: &str = "AWS_LAMBDA_MAX_CONCURRENCY is set to";

/// Lines held back until everything is ready, to show them if that never happens.
const HELD_BACK: usize = 60;

#[derive(Clone)]
pub struct Terminal {
    shared: Arc<Shared>,
}

struct Shared {
    json: bool,
    /// Whether the developer asked for more than requests and errors.
    chatty: bool,
    access: AccessLog,
    state: Lock<State>,
}

#[derive(Default)]
struct State {
    ready: bool,
    held_back: VecDeque<String>,
    told: HashMap<String, Instant>,
}

impl Terminal {
    pub fn new(json: bool, access: AccessLog) -> Terminal {
        let chatty = std::env::var_os("LOG_LEVEL").is_some() || std::env::var_os("LOG_DEPENDENCIES").is_some();
        Terminal { shared: Arc::new(Shared { json, chatty, access, state: Lock::default() }) }
    }

    /// From now on every request has a line.
    pub fn ready(&self) {
        let mut state = self.state();
        state.ready = true;
        state.held_back.clear();
    }

    /// The start failed: now everything may matter.
    pub fn failed(&self) {
        for line in std::mem::take(&mut self.state().held_back) {
            print(&line);
        }
    }

    /// A sentence of the stack itself.
    pub fn say(&self, message: &str) {
        self.tell("INFO", None, message);
    }

    /// An error of a function or of the stack.
    pub fn trouble(&self, function: Option<&str>, message: &str) {
        let mut state = self.state();
        let now = Instant::now();
        state.told.retain(|_, at| now.duration_since(*at) < ONCE);
        if state.told.insert(message.to_owned(), now).is_some() {
            return;
        }
        drop(state);
        self.tell("ERROR", function, message);
    }

    /// A warning: nothing stops, and before everything is ready it is not shown.
    pub fn warning(&self, function: &str, message: &str) {
        let mut state = self.state();
        let now = Instant::now();
        state.told.retain(|_, at| now.duration_since(*at) < ONCE);
        if state.told.insert(message.to_owned(), now).is_some() {
            return;
        }
        if !state.ready {
            hold_back(&mut state, format!("cargo local: {function}: {message}"));
            return;
        }
        drop(state);
        self.tell("WARN", Some(function), message);
    }

    /// Other output of a function, which a developer may have put there.
    pub fn output(&self, function: &str, line: &str) {
        let mut state = self.state();
        if !state.ready {
            hold_back(&mut state, format!("{function}: {line}"));
            return;
        }
        drop(state);
        self.tell("INFO", Some(function), line);
    }

    /// A line that a function logged.
    pub fn logged(&self, function: &str, line: &str, value: &Value) {
        let level = value["level"].as_str().unwrap_or_default();
        let is_request = value["message"] == "request" && value["request_id"].is_string();
        if is_request && let Ok(told) = serde_json::from_value::<FunctionReport>(value.clone()) {
            self.shared.access.tell(told);
        }
        let mut state = self.state();
        let severe = level == "ERROR";
        if !state.ready && !severe {
            hold_back(&mut state, line.to_owned());
            return;
        }
        drop(state);
        if self.shared.json {
            print(line);
            return;
        }
        if is_request || value["message"].as_str().is_some_and(|message| message.starts_with(KNOWN)) {
            return;
        }
        let message = fields(value);
        match level {
            "ERROR" => self.trouble(Some(function), &message),
            "WARN" => self.warning(function, &message),
            _ if self.shared.chatty => print(&format!("{} {level:<5} {function}: {message}", clock(Timestamp::now()))),
            _ => {}
        }
    }

    /// Prints a line for each request, until the log ends.
    pub async fn follow(self) {
        let mut news = self.shared.access.subscribe();
        let mut waiting: VecDeque<(Instant, Arc<Entry>)> = VecDeque::new();
        // They arrive in the order of their numbers.
        let mut printed = 0;
        loop {
            let oldest = waiting.front().map_or(JOINING, |(at, _)| JOINING.saturating_sub(at.elapsed()));
            match tokio::time::timeout(oldest, news.recv()).await {
                Ok(Ok(entry)) => match waiting.iter_mut().find(|(_, known)| known.number == entry.number) {
                    Some((_, known)) => *known = entry,
                    // Sent again.
                    None if entry.number <= printed => {}
                    None => waiting.push_back((Instant::now(), entry)),
                },
                Ok(Err(tokio::sync::broadcast::error::RecvError::Closed)) => return,
                Ok(Err(tokio::sync::broadcast::error::RecvError::Lagged(_))) | Err(_) => {}
            }
            while let Some((at, entry)) = waiting.front() {
                if entry.function_ms.is_none() && entry.function.is_some() && at.elapsed() < JOINING {
                    break;
                }
                self.requested(entry);
                printed = entry.number;
                waiting.pop_front();
            }
        }
    }

    fn requested(&self, entry: &Entry) {
        if !self.state().ready {
            return;
        }
        if !self.shared.json {
            print(&line_of(entry));
        } else if entry.function_ms.is_none() {
            // No function has logged it.
            let line = json!({
                "timestamp": entry.at, "level": "INFO", "message": "request", "request_id": entry.request_id, "method": entry.method,
                "route": entry.route, "status": entry.status, "latency_ms": entry.latency_ms, "function": "gateway",
            });
            print(&line.to_string());
        }
    }

    fn tell(&self, level: &str, function: Option<&str>, message: &str) {
        if self.shared.json {
            let mut line = json!({ "timestamp": Timestamp::now(), "level": level, "message": message });
            if let Some(function) = function {
                line["function"] = function.into();
            }
            print(&line.to_string());
            return;
        }
        let of = function.map(|function| format!("{function}: ")).unwrap_or_default();
        match level {
            "INFO" if function.is_some() => print(&format!("{of}{message}")),
            "INFO" => print(&format!("cargo local: {message}")),
            level => print(&format!("cargo local: {} {of}{message}", level.to_lowercase())),
        }
    }

    fn state(&self) -> Guard<'_, State> {
        self.shared.state.lock()
    }
}

/// `13:20:16 POST /api/v1/projects 201 12 ms 5f0d9c1e`, without the query, which may contain secrets.
fn line_of(entry: &Entry) -> String {
    let tenant = entry.tenant.as_deref().map(|tenant| format!(" {}", &tenant[tenant.len().saturating_sub(8)..])).unwrap_or_default();
    let Entry { method, path, status, latency_ms, .. } = entry;
    let path: String = path.chars().take(200).collect();
    format!("{} {method} {path} {status} {latency_ms:.0} ms{tenant}", clock(entry.at))
}

fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

/// The message, and the fields that a person may need.
fn fields(value: &Value) -> String {
    let mut text = value["message"].as_str().unwrap_or_default().to_owned();
    for (name, value) in value.as_object().into_iter().flatten() {
        if !matches!(name.as_str(), "message" | "level" | "timestamp" | "target" | "span" | "spans" | "_aws" | "function") {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            text.push_str(&format!(" {name}={value}"));
        }
    }
    text
}

fn hold_back(state: &mut State, line: String) {
    if state.held_back.len() == HELD_BACK {
        state.held_back.pop_front();
    }
    state.held_back.push_back(line);
}

fn print(line: &str) {
    // Continue even if the terminal is closed.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_short_line_without_its_query() {
        let entry = Entry {
            at: "2026-11-28T13:20:16Z".parse().unwrap(),
            method: "POST".to_owned(),
            path: "/api/v1/projects".to_owned(),
            query: "token=secret".to_owned(),
            status: 201,
            latency_ms: 12.4,
            tenant: Some("0198f2ab-0000-7000-8000-00005f0d9c1e".to_owned()),
            ..Entry::default()
        };
        assert_eq!(line_of(&entry), "13:20:16 POST /api/v1/projects 201 12 ms 5f0d9c1e");
        assert_eq!(line_of(&Entry { tenant: None, ..entry }), "13:20:16 POST /api/v1/projects 201 12 ms");
    }

    #[test]
    fn a_logged_trouble_is_told_with_its_fields() {
        let value = json!({"timestamp": "x", "level": "ERROR", "message": "a job failed", "worker": "courier", "attempt": 2});
        assert_eq!(fields(&value), "a job failed worker=courier attempt=2");
    }
}
