//! The throttle of the stage: `RouteSettings` for routes that have them, and `DefaultRouteSettings` for all others together.

use std::{collections::BTreeMap, time::Instant};

use crate::lock::Lock;
use crate::template::{Throttle as Limit, Throttles};

#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

#[derive(Debug, Default)]
pub struct Throttle {
    limits: Throttles,
    buckets: Lock<BTreeMap<String, Bucket>>,
}

impl Throttle {
    pub fn new(limits: Throttles) -> Throttle {
        Throttle { limits, buckets: Lock::default() }
    }

    /// Seconds to wait, if the route has reached its limit.
    pub fn take(&self, route: &str, now: Instant) -> Result<(), u64> {
        let own = self.limits.routes.get(route).map(|limit| (route, *limit));
        let Some((route, Limit { rate, burst })) = own.or(self.limits.default.map(|limit| ("", limit))) else { return Ok(()) };
        let (rate, burst) = (rate as f64, burst as f64);
        let mut buckets = self.buckets.lock();
        let bucket = buckets.entry(route.to_owned()).or_insert(Bucket { left: burst, at: now });
        bucket.left = (bucket.left + now.saturating_duration_since(bucket.at).as_secs_f64() * rate).min(burst);
        bucket.at = now;
        if bucket.left < 1.0 {
            return Err(((1.0 - bucket.left) / rate.max(0.001)).ceil().max(1.0) as u64);
        }
        bucket.left -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_route_has_its_burst_and_then_its_rate() {
        let limits = Throttles {
            default: Some(Limit { rate: 10, burst: 3 }),
            routes: BTreeMap::from([("ANY /demo".to_owned(), Limit { rate: 10, burst: 1 })]),
        };
        let throttle = Throttle::new(limits);
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
        let throttle = Throttle::default();
        assert!((0..10_000).all(|_| throttle.take("ANY /", Instant::now()).is_ok()));
    }
}
