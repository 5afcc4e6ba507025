//! The records of products, each in a file of its own, outside the crate that decides who may touch what. Like `shared::model` they are pure: time, ids
//! and randomness are passed in.

#[macro_use]
mod counts;

pub mod activity;
pub mod admission;
pub mod area_codes;
pub mod audience;
pub mod campaign;
pub mod campaign_plan;
pub mod campaign_settings;
pub mod consent;
pub mod consent_anchor;
pub mod consent_chain;
pub mod contact;
pub mod contact_group;
pub mod deleted_campaign;
pub mod delivery;
pub mod enrolment;
pub mod event;
pub mod keywords;
pub mod lead;
pub mod lead_list;
pub mod line_use;
pub mod merkle;
pub mod message;
pub mod message_campaign;
pub mod message_template;
pub mod message_text;
pub mod messaging_quota;
pub mod messaging_settings;
pub mod opt_out;
pub mod peer;
pub mod phone_admission;
pub mod phone_message;
pub mod project;
pub mod quiet_hours;
pub mod replay;
pub mod rule;
pub mod sandbox_message;
pub mod schedule;
pub mod segment;
pub mod sequence;
pub mod setting;
pub mod sms;
pub mod standing;
pub mod stranger_day;
pub mod suppression;
pub mod task;
pub mod template;
pub mod test_mail;
pub mod thread;
pub mod wave;
pub mod webhook;
pub mod webhook_pace;

use shared::model::records;
use shared::store::{InTenant, InWorkspace, Records, Restored};

// In the order in which a purge empties them: first what says where else there is something.
shared::records! {
    project::Project,
    project::DeletedProject,
    task::Task,
    setting::Setting,
    lead::Lead,
    lead::LeadEmail,
    lead::DeletedLead,
    lead_list::LeadList,
    lead_list::LeadListName,
    lead_list::LeadListMember,
    segment::Segment,
    activity::Activity,
    suppression::SuppressionChange,
    suppression::Suppression<InTenant>,
    suppression::SuppressionEntry<InTenant>,
    suppression::Suppression<InWorkspace>,
    suppression::SuppressionEntry<InWorkspace>,
    template::Template,
    template::TemplateBody,
    template::TemplateName,
    campaign::Campaign,
    deleted_campaign::DeletedCampaign,
    test_mail::TestMail,
    sequence::CampaignStep,
    audience::CampaignAudience,
    campaign_plan::CampaignPlan,
    campaign_plan::CampaignDay,
    campaign_plan::MailMonth,
    campaign_plan::MailDay,
    campaign_plan::DeliveredMails,
    wave::Wave,
    enrolment::Enrolment,
    thread::Thread,
    thread::ThreadCard,
    thread::OwnThread,
    thread::ThreadKey,
    stranger_day::StrangerDay,
    message::Message,
    contact::Contact,
    contact::ContactImport,
    contact_group::ContactGroup,
    contact_group::ContactGroupName,
    contact_group::ContactGroupMember,
    peer::Peer,
    phone_message::PhoneMessage,
    message_campaign::MessageCampaign,
    message_campaign::RecipientPack,
    message_campaign::CampaignProgress,
    message_campaign::CampaignCounts,
    sandbox_message::SandboxMessage,
    messaging_quota::MessagingQuota,
    line_use::LineUse,
    consent::ConsentEntry,
    consent::Consent,
    consent::ConsentImport,
    consent_anchor::ConsentAnchored,
    consent_anchor::ConsentAnchor,
    opt_out::OptOut,
    message_template::MessageTemplate,
    message_template::MessageTemplateById,
    messaging_settings::MessagingSettings,
    webhook::Webhook,
    webhook::WebhookSecrets,
    webhook::WebhookHealth,
    webhook_pace::WebhookPace,
    event::Event,
    delivery::Delivery,
    replay::Replay,
}

/// All that a deployment has.
pub const ALL: Records = Records(&[KINDS, records::KINDS]);

/// How an import puts all of them back.
pub const ALL_RESTORED: &[&[Restored]] = &[RESTORED, records::RESTORED];

#[cfg(test)]
mod tests {
    use shared::model::tenant::Tenant;
    use shared::store::{Entity, Kind};

    use super::*;

    #[test]
    fn the_records_go_together() {
        assert_eq!(ALL.faults(), Vec::<String>::new());
        const TWICE: Records = Records(&[KINDS, KINDS]);
        const ORPHANS: Records = Records(&[&[Kind::owned::<task::Task>()]]);
        let twice = TWICE.faults();
        for fault in ["two records have the type project", "projects is a collection of project and of project, which do not go together"] {
            assert!(twice.iter().any(|found| found == fault), "{twice:?}");
        }
        assert_eq!(ORPHANS.faults()[0], "tasks lies within projects, which is no collection of a tenant");
    }

    #[test]
    fn a_purge_begins_with_what_leads_on_and_ends_with_the_tenant() {
        let branches = ALL.of_tenant();
        let names: Vec<&str> = branches.iter().map(|branch| branch.name).collect();
        assert_eq!(names.last(), Some(&Tenant::COLLECTION));
        assert_eq!(names[..2], ["projects", "deleted-projects"]);
        assert!(names.contains(&"edge-logs-01") && names.contains(&"counters") && !names.contains(&"tasks"), "{names:?}");
        assert!(branches[..2].iter().all(|branch| branch.nested.len() == 1 && branch.nested[0].name == "tasks"));
    }

    #[test]
    fn an_export_shows_tasks_behind_projects_that_are_there_and_nothing_of_ours() {
        let branches = ALL.exported();
        let with_tasks: Vec<&str> = branches.iter().filter(|branch| !branch.nested.is_empty()).map(|branch| branch.name).collect();
        assert_eq!(with_tasks, ["projects", "peers", "workspaces"]);
        for hidden in ["answers", "counters", "deleted-projects", "tasks"] {
            assert!(branches.iter().all(|branch| branch.name != hidden), "{hidden}");
        }
    }

    #[test]
    fn what_a_tenant_owns_is_audited_unless_it_says_otherwise() {
        let audited =
            ["project", "invitation", "subaccount", "deleted_project", "answer", "session"].map(|kind| ALL.audited(kind, "user:1"));
        assert_eq!(audited, [Some("project"), Some("invitation"), Some("subaccount"), None, None, None]);
        // What each mail changes is not told again.
        for (kind, is_told) in [("campaign", true), ("lead", false), ("thread", false), ("message", false), ("test_mail", false)] {
            assert_eq!(ALL.audited(kind, "sender").is_some(), is_told, "{kind}");
            assert!(ALL.audited(kind, "platform").is_some(), "{kind}");
        }
    }
}
