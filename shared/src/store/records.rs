//! Lists of records. A record that is in none cannot be stored; which collections a purge empties, what an export shows, what the audit log tells
//! and what an import puts back follow from what each record says of itself.

use serde_json::{Map, Value};

use crate::store::entity::{Collection, Counter, DELETED_WORKSPACES, Entity, IN_WORKSPACE, Packed, Scope, WORKSPACES, Within};
use crate::store::page::List;

/// Records of any type.
pub struct Anything;

/// Who writes with each mail, and with each message to or from a phone.
const MAIL_WORKERS: [&str; 4] = ["sender", "receiver", "switchboard", "gateway"];
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
    mails_audited: bool,
    told_by: Option<&'static str>,
    exported: bool,
    free: &'static [&'static str],
    counter: Option<Counter>,
}

impl Kind {
    /// Counters, as far as a walk over a workspace is concerned: they are ours.
    const COUNTED: Kind = Kind {
        name: "counter",
        collections: &[COUNTERS],
        owned: true,
        within: Some(IN_WORKSPACE),
        audited: false,
        mails_audited: false,
        told_by: None,
        exported: false,
        free: &[],
        counter: None,
    };

    pub(crate) const fn of<E: Entity>() -> Self {
        Kind {
            name: E::TYPE,
            collections: E::COLLECTIONS,
            owned: <E::Scope as Scope>::OWNED,
            within: E::WITHIN,
            audited: E::AUDITED,
            mails_audited: E::MAILS_AUDITED,
            told_by: E::TOLD_BY,
            exported: E::EXPORTED,
            free: E::FREE,
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
#[derive(Clone)]
pub struct Branch {
    pub name: &'static str,
    pub list: List<Anything>,
    /// What the names of partitions within this one begin with: the parts of its own name.
    path: String,
    /// What lies in partitions of the records of this collection.
    pub nested: Vec<Nested>,
}

/// A nested record: each of its parents has partitions for it.
#[derive(Clone)]
pub struct Nested {
    pub name: &'static str,
    within: Within,
    /// What lies within it in turn.
    nested: Vec<Nested>,
}

impl Branch {
    /// The partitions of a record of this collection, as it is stored, for one kind of what lies within it. `None` where it does not say them.
    pub fn within(&self, nested: &Nested, parent: &Map<String, Value>) -> Option<Vec<Branch>> {
        let of = |part: String| {
            let path = if self.path.is_empty() { part } else { format!("{}.{part}", self.path) };
            let list = List::new(Collection::nested(nested.name, &path), "");
            Branch { name: nested.name, list, path, nested: nested.nested.clone() }
        };
        Some((nested.within.parts)(parent)?.into_iter().map(of).collect())
    }
}

impl Nested {
    /// What lies within its own records.
    pub fn nested(&self) -> &[Nested] {
        &self.nested
    }

    /// Whether a record of a parent's partition is this parent's: two may share one.
    pub fn is_of(&self, record: &Map<String, Value>, parent: &Map<String, Value>) -> bool {
        let Some(parent_id) = self.within.parent_id else { return true };
        parent.get("id").is_some_and(|id| record.get(parent_id) == Some(id))
    }
}

impl Records {
    /// The type itself, if a change of it that this one made is in the audit log.
    pub fn audited(&self, kind: &str, actor: &str) -> Option<&'static str> {
        let is_of_mails = MAIL_WORKERS.contains(&actor);
        let is_audited = |known: &&Kind| known.audited && (!is_of_mails || known.mails_audited);
        self.kinds().find(|known| known.name == kind).filter(is_audited).map(|known| known.name)
    }

    /// The attribute that names the record which tells the audit log of a write.
    pub fn told_by(&self, kind: &str) -> Option<&'static str> {
        self.kinds().find(|known| known.name == kind).and_then(|known| known.told_by)
    }

    /// The attributes of a type in which a customer named things themselves.
    pub fn free(&self, kind: &str) -> &'static [&'static str] {
        self.kinds().find(|known| known.name == kind).map_or(&[], |known| known.free)
    }

    /// Every collection of a tenant: first what others lie within, last the tenant itself.
    pub fn of_tenant(&self) -> Vec<Branch> {
        let mut names = self.collections(|_| true);
        // Counters are no records, but they must be purged too, before the tenant.
        names.insert(names.len().saturating_sub(1), COUNTERS);
        names.into_iter().map(|name| self.branch(name, |_| true)).collect()
    }

    /// Everything of a workspace that is given as it is stored, or of what is left of it.
    pub fn of_workspace(&self, workspace: &Map<String, Value>) -> Vec<Branch> {
        let root = self.branch(WORKSPACES, |_| true);
        root.nested.iter().flat_map(|nested| root.within(nested, workspace).unwrap_or_default()).collect()
    }

    /// Those that an export shows.
    pub fn exported(&self) -> Vec<Branch> {
        self.collections(|kind| kind.exported).into_iter().map(|name| self.branch(name, |kind| kind.exported)).collect()
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
        let (flat, nested) = (self.collections(|_| true), self.nested_kinds());
        for (name, within, _) in &nested {
            // A walk must come to an end, so nothing lies within itself.
            let known = |parent: &&str| flat.contains(parent) || nested.iter().any(|(other, ..)| other == parent && other != name);
            let lost = within.parents.iter().filter(|parent| !known(parent));
            faults.extend(lost.map(|parent| format!("{name} lies within {parent}, which is no collection of a tenant")));
        }
        faults
    }

    fn branch(&self, name: &'static str, keep: fn(&Kind) -> bool) -> Branch {
        Branch { name, list: List::new(Collection::named(name), ""), path: String::new(), nested: self.nested(name, keep) }
    }

    /// What lies within the records of a collection.
    fn nested(&self, parent: &'static str, keep: fn(&Kind) -> bool) -> Vec<Nested> {
        let nested = self
            .nested_kinds()
            .into_iter()
            .filter(|(_, within, kinds)| within.parents.contains(&parent) && kinds.iter().any(|kind| keep(kind)));
        let mut nested: Vec<Nested> = nested.map(|(name, within, _)| Nested { name, within, nested: self.nested(name, keep) }).collect();
        // Counters are no records. A workspace has its own.
        if parent == WORKSPACES || parent == DELETED_WORKSPACES {
            let counters = Nested { name: COUNTERS, within: IN_WORKSPACE, nested: vec![] };
            nested.extend(keep(&Kind::COUNTED).then_some(counters));
        }
        nested
    }

    /// Each nested collection once, with how it lies and the records that share it.
    fn nested_kinds(&self) -> Vec<(&'static str, Within, Vec<&'static Kind>)> {
        let mut found: Vec<(&'static str, Within, Vec<&'static Kind>)> = vec![];
        for kind in self.kinds() {
            let Some(within) = kind.within else { continue };
            for name in kind.collections {
                match found.iter_mut().find(|(other, ..)| other == name) {
                    Some((.., kinds)) => kinds.push(kind),
                    None => found.push((*name, within, vec![kind])),
                }
            }
        }
        found
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

/// A type, as an import needs it.
#[derive(Clone, Copy)]
pub struct Restored {
    pub kind: &'static str,
    /// How a record of it is put back; `None` if it is not.
    pub restore: Option<Restore>,
    pub free: &'static [&'static str],
    /// It lies in a workspace.
    pub walled: bool,
}

impl Restored {
    pub const fn of<E: Entity>() -> Self {
        Restored { kind: E::TYPE, restore: E::RESTORE, free: E::FREE, walled: <E::Scope as Scope>::WALLED }
    }
}

/// Puts back a record as it was.
pub fn restored<E: Entity>(data: Value) -> Option<Packed> {
    Packed::of::<E>(&serde_json::from_value(data).ok()?).ok()
}

/// The records of a crate outside `shared`, in the order in which a purge empties them: `pub const KINDS`, for `Records`, and `pub const RESTORED`, for
/// the import.
#[macro_export]
macro_rules! records {
    ($($record:ty),* $(,)?) => {
        $(impl $crate::store::Declared for $record {})*
        pub const KINDS: &[$crate::store::Kind] = &[$($crate::store::Kind::owned::<$record>()),*];
        pub const RESTORED: &[$crate::store::Restored] =
            &[$($crate::store::Restored::of::<$record>()),*];
    };
}
