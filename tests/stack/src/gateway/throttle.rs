//! The throttle of the stage: `RouteSettings` where a route has its own, and `DefaultRouteSettings` for all others together.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use serde_json::Value;

#[derive(Debug, Clone, Copy, PartialEq)]
struct Limit {
    /// Requests a second.
    rate: f64,
    burst: f64,
}

#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

#[derive(Debug, Default)]
pub struct Throttle {
    default: Option<Limit>,
    by_route: BTreeMap<String, Limit>,
    buckets: Mutex<BTreeMap<String, Bucket>>,
}

impl Throttle {
    /// From the two settings of the API; what is missing does not limit.
    pub fn read(default: &Value, by_route: &Value) -> Throttle {
        let default = limit(default, None);
        let by_route = by_route.as_object().into_iter().flatten();
        let by_route = by_route.filter_map(|(route, settings)| Some((route.clone(), limit(settings, default)?))).collect();
        Throttle { default, by_route, buckets: Mutex::default() }
    }

    /// Seconds to wait, if the route has had enough.
    pub fn take(&self, route: &str, now: Instant) -> Result<(), u64> {
        let own = self.by_route.get(route).map(|limit| (route, *limit));
        let Some((route, limit)) = own.or(self.default.map(|limit| ("", limit))) else { return Ok(()) };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(route.to_owned()).or_insert(Bucket { left: limit.burst, at: now });
        bucket.left = (bucket.left + now.saturating_duration_since(bucket.at).as_secs_f64() * limit.rate).min(limit.burst);
        bucket.at = now;
        if bucket.left < 1.0 {
            return Err(((1.0 - bucket.left) / limit.rate.max(0.001)).ceil().max(1.0) as u64);
        }
        bucket.left -= 1.0;
        Ok(())
    }
}

fn limit(settings: &Value, default: Option<Limit>) -> Option<Limit> {
    let number = |name: &str| match &settings[name] {
        Value::String(text) => text.parse().ok(),
        other => other.as_f64(),
    };
    let rate = number("ThrottlingRateLimit").or(default.map(|limit| limit.rate));
    let burst = number("ThrottlingBurstLimit").or(default.map(|limit| limit.burst));
    Some(Limit { rate: rate?, burst: burst? })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_route_has_its_burst_and_then_its_rate() {
        let default = json!({"ThrottlingRateLimit": 10, "ThrottlingBurstLimit": "3"});
        let throttle = Throttle::read(&default, &json!({"ANY /demo": {"ThrottlingBurstLimit": 1}}));
        let start = Instant::now();
        let taken = |route: &str, at: Duration| throttle.take(route, start + at);
        for _ in 0..3 {
            assert_eq!(taken("ANY /", Duration::ZERO), Ok(()));
        }
        assert_eq!(taken("ANY /", Duration::ZERO), Err(1));
        assert_eq!(taken("ANY /demo", Duration::ZERO), Ok(()));
        assert_eq!(taken("ANY /demo", Duration::ZERO), Err(1));
        assert_eq!(taken("ANY /", Duration::from_millis(100)), Ok(()));
        assert_eq!(taken("ANY /", Duration::from_millis(100)), Err(1));
    }

    #[test]
    fn what_is_not_set_does_not_limit() {
        let throttle = Throttle::read(&json!({}), &json!({}));
        assert!((0..10_000).all(|_| throttle.take("ANY /", Instant::now()).is_ok()));
    }
}
