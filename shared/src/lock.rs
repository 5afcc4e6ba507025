//! A lock that a panic does not close for ever: what these locks guard is changed in steps that leave it whole, so whoever comes next may go on.
//! The one lock of this workspace. It is not held across an `await`; those who wait for one another's calls use tokio's.

/// A mutex without poison.
#[derive(Debug, Default)]
#[allow(clippy::disallowed_types, reason = "here it is made safe to use")]
pub struct Lock<T>(std::sync::Mutex<T>);

pub type Guard<'a, T> = std::sync::MutexGuard<'a, T>;

#[allow(clippy::disallowed_types, reason = "here it is made safe to use")]
impl<T> Lock<T> {
    pub const fn new(value: T) -> Self {
        Lock(std::sync::Mutex::new(value))
    }

    pub fn lock(&self) -> Guard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_closes_nothing() {
        let lock = Lock::new(1);
        let panicked = std::panic::catch_unwind(|| {
            *lock.lock() = 2;
            let _held = lock.lock();
            panic!("while the lock is held");
        });
        assert!(panicked.is_err());
        assert_eq!(*lock.lock(), 2);
    }
}
