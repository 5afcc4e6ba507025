//! Faults that AWS may cause and that a test can request: duplicate deliveries, reordering across keys, and interruption.

use crate::lock::{Guard, Lock};

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Faults {
    /// Equal seeds give equal orders.
    pub seed: u64,
    pub duplicates: Duplicates,
    /// Splits each stream into several shards by partition key (so that only the order within a key holds), returns messages of a queue in
    /// any order, and lets the sources take turns at random.
    pub reorder: bool,
    /// The process dies after this many invocations. The last one is made, but its answer is never recorded.
    pub kill_after: Option<usize>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Duplicates {
    #[default]
    None,
    /// Every batch is delivered a second time after the first was answered. The second answer counts.
    Again,
    /// Every batch is delivered twice at the same time. One of the answers counts.
    AtOnce,
}

pub struct Dice {
    rng: Lock<fastrand::Rng>,
}

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice { rng: Lock::new(fastrand::Rng::with_seed(seed)) }
    }

    pub fn shuffle<T>(&self, items: &mut [T]) {
        self.rng().shuffle(items);
    }

    /// 1 to `most`.
    pub fn up_to(&self, most: usize) -> usize {
        self.rng().usize(1..=most.max(1))
    }

    fn rng(&self) -> Guard<'_, fastrand::Rng> {
        self.rng.lock()
    }
}
