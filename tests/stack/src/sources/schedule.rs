//! Plays a `rate(…)` schedule in real time. The last run is stored, so a schedule that was due while the stack was off runs soon after the
//! next start.

use std::time::Duration;

use jiff::Timestamp;

use super::Invoke;
use crate::{journal::Journal, template::Schedule};

const SPACE: &str = "schedule";

pub async fn run<I: Invoke>(schedule: &Schedule, invoke: &I, journal: &Journal, tell: impl Fn(String)) {
    let Some(every) = period(&schedule.expression) else {
        return tell(format!("the schedule {} is not played: `{}` is not a rate", schedule.name, schedule.expression));
    };
    loop {
        let now = Timestamp::now().as_second();
        let last = match journal.get::<i64>(SPACE, &schedule.name) {
            Ok(Some(last)) => last,
            // As on AWS, the first run comes one period after the schedule was created.
            Ok(None) => match journal.put(SPACE, &schedule.name, &now) {
                Ok(()) => now,
                Err(error) => return tell(error.to_string()),
            },
            Err(error) => return tell(error.to_string()),
        };
        let due = last + every.as_secs() as i64;
        if due > now {
            // In short pieces, so that a machine that sleeps does not extend the period.
            let wait = Duration::from_secs((due - now) as u64).min(Duration::from_secs(30));
            tokio::time::sleep(wait).await;
            continue;
        }
        if let Err(error) = invoke.invoke(&schedule.function, schedule.input.clone()).await {
            tell(format!("the schedule {}: {error}", schedule.name));
        }
        if let Err(error) = journal.put(SPACE, &schedule.name, &now) {
            return tell(error.to_string());
        }
    }
}

/// `rate(5 minutes)` → 300 s.
pub fn period(expression: &str) -> Option<Duration> {
    let (number, unit) = expression.strip_prefix("rate(")?.strip_suffix(')')?.split_once(' ')?;
    let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
    let seconds = match unit {
        "minute" | "minutes" => 60,
        "hour" | "hours" => 3_600,
        "day" | "days" => 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(number * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read() {
        assert_eq!(period("rate(1 hour)"), Some(Duration::from_secs(3_600)));
        assert_eq!(period("rate(2 days)"), Some(Duration::from_secs(172_800)));
        assert_eq!(period("rate(0 days)"), None);
        assert_eq!(period("cron(0 3 * * ? *)"), None);
    }
}
