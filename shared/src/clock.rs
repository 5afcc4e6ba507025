//! The only place that reads the current time. All other code gets the time as an argument, so a test can choose any moment.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
pub struct SystemClock;

/// A clock that changes only when a test moves it, or by so much each time that it is read.
pub struct SetClock {
    micros: AtomicI64,
    tick: AtomicI64,
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that may ask")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

impl SetClock {
    pub fn at(now: Timestamp) -> Self {
        SetClock { micros: AtomicI64::new(now.as_microsecond()), tick: AtomicI64::new(0) }
    }

    /// From now on, as a clock does under load.
    pub fn ticks(&self, by: SignedDuration) {
        self.tick.store(i64::try_from(by.as_micros()).unwrap_or(0), Ordering::SeqCst);
    }

    pub fn advance(&self, by: SignedDuration) {
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.micros.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        let tick = self.tick.load(Ordering::SeqCst);
        Timestamp::from_microsecond(self.micros.fetch_add(tick, Ordering::SeqCst)).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}
