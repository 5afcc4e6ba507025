//! One JSON line for each request or job, and one line of metrics in CloudWatch's embedded format. Fields are listed here and nowhere
//! else: never a body, a token, an address or a name.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tracing_subscriber::filter::LevelFilter;

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
        .with_max_level(level);
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
        cold_start = cold,
        tenant = line.tenant,
        principal = line.principal,
        table_calls = line.metered.calls,
        round_trips = line.metered.round_trips,
        read_units = line.metered.read_units,
        write_units = line.metered.write_units,
        "request"
    );
    if let Ok(function) = std::env::var("AWS_LAMBDA_FUNCTION_NAME") {
        println!("{}", metrics(&function, line, cold));
    }
}

/// An EMF document. The tenant is a property, not a dimension: a dimension would cost a metric for each tenant.
fn metrics(function: &str, line: &RequestLine<'_>, cold: bool) -> serde_json::Value {
    let metric = |name: &str, unit: &str| json!({"Name": name, "Unit": unit});
    json!({
        "_aws": {
            "Timestamp": std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64),
            "CloudWatchMetrics": [{
                "Namespace": "Tenantry",
                "Dimensions": [["function", "status_class"]],
                "Metrics": [
                    metric("Latency", "Milliseconds"), metric("Requests", "Count"), metric("ColdStarts", "Count"),
                    metric("ReadUnits", "Count"), metric("WriteUnits", "Count"),
                ],
            }],
        },
        "function": function,
        "status_class": format!("{}xx", line.status / 100),
        "route": line.route,
        "tenant": line.tenant,
        "request_id": line.request_id,
        "Latency": line.milliseconds,
        "Requests": 1,
        "ColdStarts": u8::from(cold),
        "ReadUnits": line.metered.read_units,
        "WriteUnits": line.metered.write_units,
    })
}
