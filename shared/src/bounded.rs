//! What an instance remembers without end would grow without end. A bounded map forgets what nobody asked for the longest time: entries lie
//! in two generations, what is asked for moves to the younger one, and when that is full the older one goes.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// Holds at most `capacity` entries, and surely the `capacity / 2` that were used last.
#[derive(Debug)]
pub struct Bounded<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    half: usize,
}

impl<K: Hash + Eq, V> Bounded<K, V> {
    pub fn new(capacity: usize) -> Self {
        Bounded { young: HashMap::new(), old: HashMap::new(), half: (capacity / 2).max(1) }
    }

    pub fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// Asking keeps an entry young.
    pub fn get<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        if let Some((key, value)) = self.old.remove_entry(key) {
            self.insert(key, value);
        }
        self.young.get_mut(key)
    }

    pub fn or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V
    where
        K: Clone,
    {
        if let Some(value) = self.old.remove(&key) {
            self.insert(key.clone(), value);
        } else if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.entry(key).or_insert_with(make)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
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
            if scanned % 40 == 0 {
                *map.get("live").unwrap() += 1;
            }
        }
        assert_eq!(map.get("live"), Some(&mut 2500));
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
    }
}
