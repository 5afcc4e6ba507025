//! Lists of records. A record that is in none cannot be stored; which collections a purge empties, what an export shows, what the audit log tells
//! and what an import puts back follow from what each record says of itself.

use serde_json::{Map, Value};

use crate::store::entity::{Collection, Counter, Entity, Packed, Record, Scope, Within};
use crate::store::page::List;

/// Records of any type.
pub struct Anything;

/// The collection of all counters.
pub(crate) const COUNTERS: &str = "counters";

/// What a record says of itself.
#[derive(Clone, Copy)]
pub struct Kind {
    name: &'static str,
    collections: &'static [&'static str],
    owned: bool,
    within: Option<Within>,
    audited: bool,
    exported: bool,
    counter: Option<Counter>,
}

impl Kind {
    pub(crate) const fn of<E: Entity>() -> Self {
        Kind {
            name: E::TYPE,
            collections: E::COLLECTIONS,
            owned: <E::Scope as Scope>::OWNED,
            within: E::WITHIN,
            audited: E::AUDITED,
            exported: E::EXPORTED,
            counter: E::COUNTER,
        }
    }

    /// For records of other crates: only this crate has records of the directory, which say whose something is.
    pub const fn owned<E: Entity>() -> Self {
        assert!(<E::Scope as Scope>::OWNED, "a record outside `shared` is a tenant's own");
        Kind::of::<E>()
    }
}

/// All records that a deployment has.
#[derive(Clone, Copy)]
pub struct Records(pub &'static [&'static [Kind]]);

/// A collection as a walk over a tenant comes to it.
pub struct Branch {
    pub name: &'static str,
    pub list: List<Anything>,
    /// What lies in partitions of the records of this collection.
    pub nested: Vec<Nested>,
}

/// A nested record: each of its parents has a partition for it.
#[derive(Clone, Copy)]
pub struct Nested {
    pub name: &'static str,
    within: Within,
    exported: bool,
}

impl Nested {
    /// The partition of a parent as it is stored; `None` where the parent has none.
    pub fn of(&self, parent: &Map<String, Value>) -> Option<List<Anything>> {
        Some(List::new(Collection::nested(self.name, &(self.within.part)(parent)?), ""))
    }

    /// Whether a record of a parent's partition is this parent's: two may share one.
    pub fn is_of(&self, record: &Map<String, Value>, parent: &Map<String, Value>) -> bool {
        parent.get("id").is_some_and(|id| record.get(self.within.parent_id) == Some(id))
    }
}

impl Records {
    /// The type itself, if its changes are in the audit log.
    pub fn audited(&self, kind: &str) -> Option<&'static str> {
        self.kinds().find(|known| known.audited && known.name == kind).map(|known| known.name)
    }

    /// Every collection of a tenant: first what others lie within, last the tenant itself.
    pub fn of_tenant(&self) -> Vec<Branch> {
        let mut names = self.collections(|_| true);
        // Counters are no records, but they must be purged too, before the tenant.
        names.insert(names.len().saturating_sub(1), COUNTERS);
        names.into_iter().map(|name| self.branch(name, |_| true)).collect()
    }

    /// Those that an export shows.
    pub fn exported(&self) -> Vec<Branch> {
        self.collections(|kind| kind.exported).into_iter().map(|name| self.branch(name, |nested| nested.exported)).collect()
    }

    /// What is wrong with the lists: two records of one type or with one counter, a collection that two crates have or that is both a tenant's and
    /// the directory's, a parent that lies within another record itself.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = vec![];
        let kinds: Vec<(usize, &Kind)> =
            self.0.iter().enumerate().flat_map(|(of, kinds)| kinds.iter().map(move |kind| (of, kind))).collect();
        for (index, (of, kind)) in kinds.iter().enumerate() {
            for (other_of, other) in &kinds[index + 1..] {
                if other.name == kind.name {
                    faults.push(format!("two records have the type {}", kind.name));
                }
                if kind.counter.is_some() && kind.counter == other.counter {
                    faults.push(format!("{} and {} have one counter", kind.name, other.name));
                }
                // Only recorded answers belong to both a tenant and the directory.
                let apart = of != other_of || kind.owned != other.owned;
                let both = kind.collections.iter().filter(|name| apart && **name != "answers" && other.collections.contains(name));
                faults.extend(
                    both.map(|name| format!("{name} is a collection of {} and of {}, which do not go together", kind.name, other.name)),
                );
            }
        }
        let flat = self.collections(|_| true);
        for nested in self.nested() {
            let lost = nested.within.parents.iter().filter(|parent| !flat.contains(parent));
            faults.extend(lost.map(|parent| format!("{} lies within {parent}, which is no collection of a tenant", nested.name)));
        }
        faults
    }

    fn branch(&self, name: &'static str, keep: impl Fn(&Nested) -> bool) -> Branch {
        let nested = self.nested().filter(|nested| nested.within.parents.contains(&name)).filter(keep);
        Branch { name, list: List::new(Collection::named(name), ""), nested: nested.collect() }
    }

    fn nested(&self) -> impl Iterator<Item = Nested> {
        let of = |kind: &Kind| Some(Nested { name: kind.collections[0], within: kind.within?, exported: kind.exported });
        self.kinds().filter_map(of)
    }

    /// Each once, in the order of the lists.
    fn collections(&self, keep: impl Fn(&Kind) -> bool) -> Vec<&'static str> {
        let kinds = self.kinds().filter(|kind| kind.owned && kind.within.is_none() && keep(kind));
        let mut names = vec![];
        for name in kinds.flat_map(|kind| kind.collections) {
            if !names.contains(name) {
                names.push(name);
            }
        }
        names
    }

    fn kinds(&self) -> impl Iterator<Item = &'static Kind> {
        self.0.iter().flat_map(|kinds| kinds.iter())
    }
}

/// How an import puts back a record of a type: as it was.
pub type Restore = fn(Value) -> Option<Packed>;

/// A type, and how a record of it is put back; `None` if it is not.
pub type Restored = (&'static str, Option<Restore>);

pub(crate) fn restored<R: Record>(data: Value) -> Option<Packed> {
    Packed::of::<R>(&serde_json::from_value(data).ok()?).ok()
}

/// The records of a crate outside `shared`, in the order in which a purge empties them: `pub const KINDS`, for `Records`, and `pub const RESTORED`, for
/// the import.
#[macro_export]
macro_rules! records {
    ($($record:ty),* $(,)?) => {
        $(impl $crate::store::Declared for $record {})*
        pub const KINDS: &[$crate::store::Kind] = &[$($crate::store::Kind::owned::<$record>()),*];
        pub const RESTORED: &[$crate::store::Restored] =
            &[$((<$record as $crate::store::Entity>::TYPE, <$record as $crate::store::Entity>::RESTORE)),*];
    };
}
