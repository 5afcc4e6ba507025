//! The list of all records. A record that is not in it cannot be stored; which collections a purge empties, what an export shows and what the audit
//! log tells follow from what each record says of itself.

use crate::store::entity::{Collection, Declared, Entity, Scope};
use crate::store::page::List;

/// Records of any type.
pub struct Anything;

/// Where numbers lie that move with what they count.
pub(crate) const COUNTERS: &str = "counters";

struct Kind {
    name: &'static str,
    collections: &'static [&'static str],
    owned: bool,
    nested: bool,
    audited: bool,
    exported: bool,
}

impl Kind {
    const fn of<E: Entity>() -> Self {
        Kind {
            name: E::TYPE,
            collections: E::COLLECTIONS,
            owned: <E::Scope as Scope>::OWNED,
            nested: E::NESTED,
            audited: E::AUDITED,
            exported: E::EXPORTED,
        }
    }
}

macro_rules! records {
    ($($file:ident::$record:ident),* $(,)?) => {
        $(impl Declared for crate::model::$file::$record {})*
        const KINDS: &[Kind] = &[$(Kind::of::<crate::model::$file::$record>()),*];
    };
}

// In the order in which a purge empties them: first what says what else there is, last the tenant itself, for while it stands the rest is not
// done.
records! {
    project::Project,
    project::DeletedProject,
    member::Member,
    member::MemberNumber,
    invitation::Invitation,
    invitation::OpenInvitations,
    domain::Domain,
    api_key::ApiKey,
    api_key::KeyUse,
    edge_config::EdgeConfig,
    setting::Setting,
    task::Task,
    audit::AuditEntry,
    audit::Removal,
    edge::Pack,
    edge::Batch,
    edge::Counted,
    edge::Rollup,
    edge::QuotaEvent,
    answer::AnswerRecord,
    usage::UsageDay,
    tenant::Tenant,
    // The directory's.
    answer::DirectoryAnswerRecord,
    api_key::KeyClaim,
    deletion::Deletion,
    deletion::Receipt,
    demo::Demo,
    demo::DemoClaim,
    domain::DomainCheck,
    domain::HostClaim,
    link::Link,
    mail::Mail,
    mail::UnknownMail,
    registration::Registration,
    session::Session,
    subaccount::ExternalId,
    subaccount::Subaccount,
    tenant::SlugClaim,
    user::UserTenant,
    user::EmailClaim,
    user::KnownNetwork,
    user::Identity,
    user::Subject,
    user::User,
}

/// What a stored type is called in the audit log; `None` for what is no resource of its own.
pub fn audited(kind: &str) -> Option<&'static str> {
    KINDS.iter().find(|known| known.audited && known.name == kind).map(|known| known.name)
}

/// Every collection of a tenant but the nested ones, whose parents say where they are.
pub fn of_tenant() -> impl Iterator<Item = List<Anything>> {
    let mut names = collections(|_| true);
    // No record, but a collection all the same.
    names.insert(names.len() - 1, COUNTERS);
    names.into_iter().map(|name| List::new(Collection::named(name), ""))
}

/// Those that an export shows, by name.
pub fn exported() -> impl Iterator<Item = (&'static str, List<Anything>)> {
    collections(|kind| kind.exported).into_iter().map(|name| (name, List::new(Collection::named(name), "")))
}

/// Each once, in the order of the list.
fn collections(keep: impl Fn(&Kind) -> bool) -> Vec<&'static str> {
    let kinds = KINDS.iter().filter(|kind| kind.owned && !kind.nested && keep(kind));
    let mut names = vec![];
    for name in kinds.flat_map(|kind| kind.collections) {
        if !names.contains(name) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::tenant::Tenant;

    #[test]
    fn a_type_is_one_record_and_a_collection_is_of_one_side() {
        let names: BTreeSet<&str> = KINDS.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), KINDS.len(), "two records have one type");
        let of = |owned: bool| KINDS.iter().filter(move |kind| kind.owned == owned).flat_map(|kind| kind.collections);
        // Recorded answers alone lie on both sides.
        let both: Vec<_> = of(true).filter(|name| of(false).any(|other| other == *name)).collect();
        assert_eq!(both, [&"answers"]);
    }

    #[test]
    fn a_purge_begins_with_what_leads_on_and_ends_with_the_tenant() {
        let names = collections(|_| true);
        assert_eq!(names.last(), Some(&Tenant::COLLECTION));
        assert_eq!(names[..2], ["projects", "deleted-projects"]);
        assert!(names.contains(&"edge-logs-01") && !names.contains(&"tasks"), "{names:?}");
        assert!(!exported().any(|(name, _)| name == "answers" || name == COUNTERS));
    }

    #[test]
    fn what_a_tenant_owns_is_audited_unless_it_says_otherwise() {
        assert_eq!(
            (audited("invitation"), audited("subaccount"), audited("answer"), audited("session")),
            (Some("invitation"), Some("subaccount"), None, None)
        );
    }
}
