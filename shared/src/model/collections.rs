//! Every collection a tenant can have. A purge empties these and nothing else, so one that is missing here would outlive its tenant: a
//! test reads the sources and complains.

use crate::model::edge::SHELVES;
use crate::store::entity::Collection;
use crate::store::page::List;

/// Records of any type.
pub struct Anything;

/// All but the tasks, which are a partition for each project, and the packs of the edge's log (`edge::SHELVES`). Projects, tombstones and members come first: they say what else there
/// is. The tenant's own record comes last: while it stands, the rest is not done.
const OF_TENANT: [&str; 20] = [
    "projects",
    "deleted-projects",
    "members",
    "invitations",
    "open-invitations",
    "domains",
    "api-keys",
    "api-key-uses",
    "edge-config",
    "settings",
    "audit",
    "removals",
    "edge-batches",
    "edge-counted",
    "edge-usage",
    "quota-events",
    "answers",
    "usage",
    "counters",
    "tenant",
];

/// What says nothing that the rest does not, is sealed, or packed for ourselves: an export leaves it out.
const NOT_EXPORTED: [&str; 9] =
    ["deleted-projects", "open-invitations", "removals", "api-key-uses", "answers", "usage", "counters", "edge-batches", "edge-counted"];

pub fn of_tenant() -> impl Iterator<Item = List<Anything>> {
    SHELVES.into_iter().chain(OF_TENANT).map(|name| List::new(Collection::named(name), ""))
}

/// Those that an export shows, by name.
pub fn exported() -> impl Iterator<Item = (&'static str, List<Anything>)> {
    let shown = OF_TENANT.into_iter().filter(|name| !NOT_EXPORTED.contains(name));
    shown.map(|name| (name, List::new(Collection::named(name), "")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    const OF_PROJECT: [&str; 1] = ["tasks"];
    const OF_DIRECTORY: [&str; 18] = [
        "answers",
        "api-key",
        "deletions",
        "demos",
        "domain-checks",
        "email",
        "external-ids",
        "familiar",
        "hostname",
        "identity",
        "link",
        "mail",
        "receipts",
        "session-keys",
        "slug",
        "subaccounts",
        "unknown-mails",
        "user",
    ];

    /// The texts that open a partition in the sources, whatever file they stand in.
    fn named_in(folder: &Path, names: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                named_in(&path, names);
                continue;
            }
            let source = std::fs::read_to_string(&path).unwrap_or_default();
            for opening in [
                concat!("Collection::", "named(\""),
                concat!("Collection::", "of(\""),
                concat!("partition", "(\""),
                concat!("COLLECTION: &'static", " str = \""),
            ] {
                names.extend(source.split(opening).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned));
            }
        }
    }

    #[test]
    fn every_collection_is_known_to_the_purge_or_belongs_to_the_directory() {
        let mut named = BTreeSet::new();
        named_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut named);
        assert!(
            named.contains("projects") && named.contains("tasks") && named.contains("usage"),
            "the search finds what is there: {named:?}"
        );
        let known: BTreeSet<String> = OF_TENANT.iter().chain(&OF_PROJECT).chain(&OF_DIRECTORY).map(|name| (*name).to_owned()).collect();
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "add to OF_TENANT what a tenant owns, to OF_DIRECTORY what it does not: {unknown:?}");
    }
}
