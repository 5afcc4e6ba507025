//! Medians and their neighbours.
use serde::Serialize;

#[derive(Serialize, Clone, Copy, Debug, Default)]
pub struct Summary {
    pub count: usize,
    pub min: f64,
    pub p50: f64,
    pub p90: f64,
}

impl Summary {
    pub fn of(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let index = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
            sorted.get(index).copied().unwrap_or_default()
        };
        Self { count: sorted.len(), min: at(0.0), p50: at(0.5), p90: at(0.9) }
    }
}

pub fn milliseconds(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_takes_samples_that_occurred() {
        let summary = Summary::of(&[5.0, 1.0, 4.0, 2.0, 3.0]);
        assert_eq!((summary.min, summary.p50, summary.p90), (1.0, 3.0, 5.0));
        assert_eq!(Summary::of(&[]).count, 0);
    }
}
