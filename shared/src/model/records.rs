//! The records that this crate has itself. See `store::records` for what follows from such a list.

use crate::store::entity::Declared;
use crate::store::records::{Kind, Restored};

macro_rules! core {
    ($($file:ident::$record:ident),* $(,)?) => {
        $(impl Declared for crate::model::$file::$record {})*
        /// These, for `Records`: behind those of products, for a purge ends with the tenant.
        pub const KINDS: &[Kind] = &[$(Kind::of::<crate::model::$file::$record>()),*];
        /// For the import.
        pub const RESTORED: &[Restored] =
            &[$(Restored::of::<crate::model::$file::$record>()),*];
    };
}

// In the order in which a purge empties them: first what says what else there is, last the tenant itself, for while it stands the rest is not
// done.
core! {
    workspace::Workspace,
    workspace::DeletedWorkspace,
    workspace::WorkspaceMember,
    workspace::WorkspaceSlugClaim,
    workspace::WorkspaceAccess,
    member::Member,
    member::MemberNumber,
    inbound::InboundAddress,
    invitation::Invitation,
    invitation::OpenInvitations,
    domain::Domain,
    api_key::ApiKey,
    api_key::KeyUse,
    edge_config::EdgeConfig,
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
    due::DueWork,
    due_messages::DueMessages,
    gateway::Gateway,
    line::LinePool,
    line::LinePeer,
    line::LinePace,
    unclaimed::Unclaimed,
    due::DueDelivery,
    due::DueAnchor,
    domain::HostClaim,
    inbound::Inbound,
    link::Link,
    mail::Mail,
    mail::UnknownMail,
    registration::Registration,
    send_budget::SendBudget,
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

#[cfg(test)]
mod tests {
    use crate::model::edge::Rollup;
    use crate::model::member::Member;
    use crate::store::entity::attributes;

    #[test]
    fn a_record_says_its_attributes_unless_it_is_made_of_several() {
        let names = attributes::<Member>().unwrap();
        assert!(names.contains(&"joined_at") && names.contains(&"role"), "{names:?}");
        assert!(!names.contains(&"actor") && !names.contains(&"list_entry"), "{names:?}");
        assert_eq!(names.iter().filter(|name| **name == "tenant").count(), 1);
        assert_eq!(attributes::<Rollup>(), None);
    }
}
