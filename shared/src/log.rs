//! One JSON line for each request. CloudWatch reads metrics from the same line (embedded metric format). Other log lines use `tracing`. The
//! fields of a request line are listed only here. It never contains a body, a token, an address or a name.

use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use serde::Serialize;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Variables;
use crate::store::Metered;

static COLD: AtomicBool = AtomicBool::new(true);

/// What is known of a request when it ends.
pub struct RequestLine<'a> {
    /// When it ended.
    pub at: Timestamp,
    pub request_id: &'a str,
    pub method: &'a str,
    pub route: &'a str,
    pub status: u16,
    pub milliseconds: f64,
    pub tenant: Option<&'a str>,
    pub principal: Option<&'a str>,
    pub metered: Metered,
}

/// Crates that log a lot at DEBUG, by the start of their names.
const DEPENDENCIES: [&str; 8] = ["aws_", "hyper", "lambda_", "rustls", "hickory_", "h2", "tower", "tokio"];

/// Writes JSON lines to stdout at the level of `LOG_LEVEL`. Other crates log only warnings. At DEBUG they would log requests and answers
/// with their contents, so that needs `LOG_DEPENDENCIES`.
pub fn start(variables: &Variables) {
    let level = |name: &str| variables.optional(name).as_deref().and_then(level);
    let ours = level("LOG_LEVEL").unwrap_or(LevelFilter::INFO);
    let theirs = level("LOG_DEPENDENCIES").unwrap_or(ours.min(LevelFilter::WARN));
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_target(false)
        .with_current_span(false)
        .with_span_list(false)
        .with_max_level(ours.max(theirs))
        .finish()
        // No line shows a span, but the runtime opens one for every request.
        .with(filter_fn(move |metadata| {
            metadata.is_event() && *metadata.level() <= if is_ours(metadata.target()) { ours } else { theirs }
        }));
    // A second start in one process (tests) keeps the first subscriber.
    let _ = subscriber.try_init();
}

fn level(name: &str) -> Option<LevelFilter> {
    match name.to_ascii_uppercase().as_str() {
        "TRACE" => Some(LevelFilter::TRACE),
        "DEBUG" => Some(LevelFilter::DEBUG),
        "INFO" => Some(LevelFilter::INFO),
        "WARN" => Some(LevelFilter::WARN),
        "ERROR" | "FATAL" => Some(LevelFilter::ERROR),
        _ => None,
    }
}

fn is_ours(target: &str) -> bool {
    !DEPENDENCIES.iter().any(|start| target.starts_with(start))
}

/// Written at every level, because without the line there are no metrics.
pub fn request(line: &RequestLine<'_>) {
    let function = std::env::var("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default();
    let cold = COLD.swap(false, Ordering::Relaxed);
    if let Ok(line) = serde_json::to_string(&Line::of(line, &function, cold)) {
        println!("{line}");
    }
}

/// What is logged for a request. The tenant is a property and not a dimension, because every value of a dimension creates a new metric.
#[derive(Serialize)]
struct Line<'a> {
    timestamp: Timestamp,
    level: &'static str,
    message: &'static str,
    request_id: &'a str,
    method: &'a str,
    route: &'a str,
    status: u16,
    latency_ms: f64,
    table_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<&'a str>,
    table_calls: u32,
    round_trips: u32,
    read_units: f64,
    write_units: f64,
    requests: u8,
    cold_starts: u8,
    function: &'a str,
    status_class: &'static str,
    #[serde(rename = "_aws")]
    aws: Metadata,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    /// Epoch milliseconds.
    timestamp: i64,
    cloud_watch_metrics: [Directive; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Directive {
    namespace: &'static str,
    dimensions: [[&'static str; 2]; 1],
    metrics: [Metric; 5],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metric {
    /// A number in the line.
    name: &'static str,
    unit: &'static str,
}

impl<'a> Line<'a> {
    fn of(line: &RequestLine<'a>, function: &'a str, cold: bool) -> Self {
        let metric = |name, unit| Metric { name, unit };
        Line {
            timestamp: line.at,
            level: "INFO",
            message: "request",
            request_id: line.request_id,
            method: line.method,
            route: line.route,
            status: line.status,
            latency_ms: to_three_digits(line.milliseconds),
            table_ms: line.metered.milliseconds,
            tenant: line.tenant,
            principal: line.principal,
            table_calls: line.metered.calls,
            round_trips: line.metered.round_trips,
            read_units: line.metered.read_units,
            write_units: line.metered.write_units,
            requests: 1,
            cold_starts: u8::from(cold),
            function,
            status_class: match line.status / 100 {
                1 => "1xx",
                2 => "2xx",
                3 => "3xx",
                4 => "4xx",
                _ => "5xx",
            },
            aws: Metadata {
                timestamp: line.at.as_millisecond(),
                cloud_watch_metrics: [Directive {
                    namespace: "Tenantry",
                    dimensions: [["function", "status_class"]],
                    metrics: [
                        metric("latency_ms", "Milliseconds"),
                        metric("requests", "Count"),
                        metric("cold_starts", "Count"),
                        metric("read_units", "Count"),
                        metric("write_units", "Count"),
                    ],
                }],
            },
        }
    }
}

fn to_three_digits(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_the_sdk_tells_of_itself_is_not_ours() {
        for target in ["shared::runtime::edge", "projects", "janitor::purge", "domains::resolver"] {
            assert!(is_ours(target), "{target}");
        }
        for target in [
            "aws_smithy_runtime::client::http",
            "aws_config",
            "hyper_util::client",
            "hyper::proto",
            "rustls",
            "lambda_runtime",
            "hickory_resolver",
        ] {
            assert!(!is_ours(target), "{target}");
        }
    }

    #[test]
    fn every_metric_is_a_number_of_the_line_and_every_dimension_a_text() {
        let metered = Metered { calls: 3, round_trips: 2, milliseconds: 2.5, read_units: 3.5, write_units: 1.0 };
        let request = RequestLine {
            at: Timestamp::UNIX_EPOCH,
            request_id: "r-1",
            method: "GET",
            route: "/api/v1/projects/{project_id}",
            status: 404,
            milliseconds: 2.718_94,
            tenant: Some("t-1"),
            principal: None,
            metered,
        };
        let line = serde_json::to_value(Line::of(&request, "projects", true)).unwrap();
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        let metrics = directive["Metrics"].as_array().unwrap();
        for metric in metrics {
            assert!(line[metric["Name"].as_str().unwrap()].is_number(), "{metric}");
        }
        for dimension in directive["Dimensions"][0].as_array().unwrap() {
            assert!(line[dimension.as_str().unwrap()].is_string(), "{dimension}");
        }
        assert_eq!(metrics.len(), 5);
        assert_eq!(line["_aws"]["Timestamp"], 0);
        let told = ["latency_ms", "table_ms", "status_class", "cold_starts", "tenant"].map(|name| line[name].clone());
        assert_eq!(told, [json!(2.719), json!(2.5), json!("4xx"), json!(1), json!("t-1")]);
        assert_eq!((&line["principal"], &line["level"]), (&Value::Null, &json!("INFO")));
    }
}
