//! What an instance remembers without end would grow without end. A bounded map holds so many entries and forgets, one by one, what nobody
//! asked for the longest time. What must not be forgotten unseen is handed over instead (`hold`, `surplus`).

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Holds at most `capacity` entries: those that were used last.
#[derive(Debug)]
pub struct Bounded<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// When each was used last → its key.
    uses: BTreeMap<u64, K>,
    now: u64,
    capacity: usize,
}

#[derive(Debug)]
struct Entry<V> {
    used: u64,
    value: V,
}

impl<K: Hash + Eq + Clone, V> Bounded<K, V> {
    pub fn new(capacity: usize) -> Self {
        Bounded { entries: HashMap::new(), uses: BTreeMap::new(), now: 0, capacity: capacity.max(1) }
    }

    pub fn insert(&mut self, key: K, value: V) {
        self.remove(&key);
        self.or_insert_with(key, || value);
    }

    /// Asking is a use.
    pub fn get<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let entry = self.entries.get_mut(key)?;
        self.now += 1;
        let key = self.uses.remove(&std::mem::replace(&mut entry.used, self.now))?;
        self.uses.insert(self.now, key);
        Some(&mut entry.value)
    }

    pub fn or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        if self.entries.len() >= self.capacity && !self.entries.contains_key(&key) {
            self.forget_one();
        }
        self.hold(key, make)
    }

    /// Forgets nothing for a new entry: whoever holds entries takes out the `surplus`.
    pub fn hold(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.now += 1;
        let entry = self.entries.entry(key.clone()).or_insert_with(|| Entry { used: 0, value: make() });
        self.uses.remove(&std::mem::replace(&mut entry.used, self.now));
        self.uses.insert(self.now, key);
        &mut entry.value
    }

    /// The entry that was used the longest time ago, where there are more than `capacity`.
    pub fn surplus(&mut self) -> Option<(K, V)> {
        if self.entries.len() > self.capacity { self.forget_one() } else { None }
    }

    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let entry = self.entries.remove(key)?;
        self.uses.remove(&entry.used);
        Some(entry.value)
    }

    fn forget_one(&mut self) -> Option<(K, V)> {
        let (_, key) = self.uses.pop_first()?;
        let entry = self.entries.remove(&key)?;
        Some((key, entry.value))
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        assert_eq!(self.entries.len(), self.uses.len());
        self.entries.len()
    }

    #[cfg(test)]
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values().map(|entry| &entry.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scanner_does_not_push_out_what_is_in_use() {
        let mut map = Bounded::new(100);
        map.insert("live".to_owned(), 0);
        for scanned in 0..100_000 {
            map.insert(format!("scanned {scanned}"), scanned);
            assert!(map.len() <= 100);
            if scanned % 90 == 0 {
                *map.get("live").unwrap() += 1;
            }
        }
        assert_eq!(map.get("live"), Some(&mut 1112));
        assert_eq!(map.get("scanned 0"), None);
    }

    #[test]
    fn an_entry_stands_once_and_with_its_last_value() {
        let mut map = Bounded::new(4);
        for (key, value) in [(1, 1), (2, 1), (3, 1), (1, 2), (2, 2)] {
            map.insert(key, value);
        }
        assert_eq!((map.len(), map.get(&1)), (3, Some(&mut 2)));
        assert_eq!(*map.or_insert_with(2, || 9), 2);
        assert_eq!(*map.or_insert_with(7, || 9), 9);
        assert_eq!((map.remove(&7), map.remove(&7), map.len()), (Some(9), None, 3));
    }

    #[test]
    fn those_used_last_stay() {
        let mut map = Bounded::new(3);
        for key in [1, 2, 3] {
            map.insert(key, key);
        }
        map.get(&1);
        map.or_insert_with(2, || 0);
        map.insert(4, 4);
        assert_eq!([1, 2, 3, 4].map(|key| map.get(&key).copied()), [Some(1), Some(2), None, Some(4)]);
    }

    #[test]
    fn what_is_held_is_handed_over_and_never_forgotten() {
        let mut map = Bounded::new(10);
        let mut handed_over = 0;
        for key in (0..1000_u32).flat_map(|turn| [turn % 30, turn % 7]) {
            *map.hold(key, || 0) += 1;
            handed_over += map.surplus().map_or(0, |(_, count)| count);
            assert!(map.len() <= 10);
        }
        assert_eq!(handed_over + map.values().sum::<u32>(), 2000);
        assert!(handed_over > 0);
    }
}
