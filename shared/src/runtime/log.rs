//! One JSON line for each request or job, and one line of metrics in CloudWatch's embedded format. Fields are listed here and nowhere
//! else: never a body, a token, an address or a name.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Variables;
use crate::store::Metered;

static COLD: AtomicBool = AtomicBool::new(true);

/// What is known of a request when it ends.
pub struct RequestLine<'a> {
    pub request_id: &'a str,
    pub method: &'a str,
    pub route: &'a str,
    pub status: u16,
    pub milliseconds: f64,
    pub tenant: Option<&'a str>,
    pub principal: Option<&'a str>,
    pub metered: Metered,
}

/// JSON lines on stdout, at the level of `AWS_LAMBDA_LOG_LEVEL`.
pub fn start(variables: &Variables) {
    let level = match variables.optional("AWS_LAMBDA_LOG_LEVEL").as_deref().map(str::to_ascii_uppercase).as_deref() {
        Some("TRACE") => LevelFilter::TRACE,
        Some("DEBUG") => LevelFilter::DEBUG,
        Some("WARN") => LevelFilter::WARN,
        Some("ERROR" | "FATAL") => LevelFilter::ERROR,
        _ => LevelFilter::INFO,
    };
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_target(false)
        .with_current_span(false)
        .with_span_list(false)
        .with_max_level(level)
        .finish()
        // No line shows a span, and the runtime opens one for every request.
        .with(filter_fn(|metadata| metadata.is_event()));
    // A second start in one process (tests) keeps the first subscriber.
    let _ = subscriber.try_init();
}

pub fn request(line: &RequestLine<'_>) {
    let cold = COLD.swap(false, Ordering::Relaxed);
    tracing::info!(
        request_id = line.request_id,
        method = line.method,
        route = line.route,
        status = line.status,
        latency_ms = line.milliseconds,
        table_ms = line.metered.milliseconds,
        cold_start = cold,
        tenant = line.tenant,
        principal = line.principal,
        table_calls = line.metered.calls,
        round_trips = line.metered.round_trips,
        read_units = line.metered.read_units,
        write_units = line.metered.write_units,
        "request"
    );
    if let Ok(function) = std::env::var("AWS_LAMBDA_FUNCTION_NAME")
        && let Ok(metrics) = metrics(&function, line, cold)
    {
        println!("{metrics}");
    }
}

/// An EMF document. The tenant is a property, not a dimension: a dimension would cost a metric for each tenant.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metrics<'a> {
    #[serde(rename = "_aws")]
    aws: Metadata,
    #[serde(rename = "function")]
    function: &'a str,
    #[serde(rename = "status_class")]
    status_class: &'static str,
    #[serde(rename = "route")]
    route: &'a str,
    #[serde(rename = "tenant")]
    tenant: Option<&'a str>,
    #[serde(rename = "request_id")]
    request_id: &'a str,
    latency: f64,
    requests: u8,
    cold_starts: u8,
    read_units: f64,
    write_units: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    /// Epoch milliseconds.
    timestamp: u64,
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
    name: &'static str,
    unit: &'static str,
}

fn metrics(function: &str, line: &RequestLine<'_>, cold: bool) -> serde_json::Result<String> {
    let metric = |name, unit| Metric { name, unit };
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    serde_json::to_string(&Metrics {
        aws: Metadata {
            timestamp: since_epoch.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
            cloud_watch_metrics: [Directive {
                namespace: "Tenantry",
                dimensions: [["function", "status_class"]],
                metrics: [
                    metric("Latency", "Milliseconds"),
                    metric("Requests", "Count"),
                    metric("ColdStarts", "Count"),
                    metric("ReadUnits", "Count"),
                    metric("WriteUnits", "Count"),
                ],
            }],
        },
        function,
        status_class: match line.status / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        },
        route: line.route,
        tenant: line.tenant,
        request_id: line.request_id,
        latency: line.milliseconds,
        requests: 1,
        cold_starts: u8::from(cold),
        read_units: line.metered.read_units,
        write_units: line.metered.write_units,
    })
}
