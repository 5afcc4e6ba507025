//! What of a plan's messaging is used: messages, and numbers that get their first one, of a day and of a month (UTC). A place is taken in the transaction
//! that queues a message.

use crate::phone_message::Reason;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use shared::model::period::Month;
use shared::model::plan::Plan;
use shared::store::{Collection, Entity, InTenant, Key, Within};

/// `messaging-quotas` / `<what>-<period>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessagingQuota {
    pub n: u64,
}

/// A place to be taken.
pub struct Place {
    pub key: Key<MessagingQuota>,
    /// As `PLAN_LIMIT_REACHED` names it.
    pub name: &'static str,
    /// `None`: as many as there are. New contacts are counted all the same, because a place is given back where a plan has a limit by then.
    pub most: Option<u64>,
}

impl MessagingQuota {
    pub const CONTACTS_OF_DAY: &'static str = "new contacts messaged per day";
    pub const CONTACTS_OF_MONTH: &'static str = "new contacts messaged per month";
    pub const MESSAGES_OF_DAY: &'static str = "messages per day";
    pub const MESSAGES_OF_MONTH: &'static str = "messages per month";

    /// What a message takes of the plan's limits on a day. Those of months come first: a message waits for the next day, and not for the next month.
    pub fn places(plan: &Plan, counts_message: bool, is_new_contact: bool, day: Date) -> Vec<Place> {
        let (new_of_month, new_of_day) = MessagingQuota::of_contacts(day);
        let (has_month, has_day) = (counts_message && plan.messages_per_month.is_some(), counts_message && plan.messages_per_day.is_some());
        [
            (has_month, MessagingQuota::MESSAGES_OF_MONTH, plan.messages_per_month, of_month("messages-", day)),
            (is_new_contact, MessagingQuota::CONTACTS_OF_MONTH, plan.contacts_messaged_per_month, new_of_month),
            (has_day, MessagingQuota::MESSAGES_OF_DAY, plan.messages_per_day, of_day("messages-", day)),
            (is_new_contact, MessagingQuota::CONTACTS_OF_DAY, plan.contacts_messaged_per_day, new_of_day),
        ]
        .into_iter()
        .filter_map(|(is_counted, name, most, key)| is_counted.then_some(Place { key, name, most }))
        .collect()
    }

    /// Why a message waits that finds no place of that name.
    pub fn reason(name: &str) -> Option<Reason> {
        match name {
            MessagingQuota::CONTACTS_OF_DAY => Some(Reason::NewContactLimit),
            MessagingQuota::CONTACTS_OF_MONTH => Some(Reason::NewContactMonthLimit),
            MessagingQuota::MESSAGES_OF_DAY => Some(Reason::MessageLimit),
            MessagingQuota::MESSAGES_OF_MONTH => Some(Reason::MessageMonthLimit),
            _ => None,
        }
    }

    /// Of numbers that got their first message, of the month and of the day: what is given back where none went out after all.
    pub fn of_contacts(day: Date) -> (Key<Self>, Key<Self>) {
        (of_month("contacts-", day), of_day("contacts-", day))
    }
}

fn of_day(what: &'static str, day: Date) -> Key<MessagingQuota> {
    Key::behind(&Collection::of::<MessagingQuota>(), what, day)
}

fn of_month(what: &'static str, day: Date) -> Key<MessagingQuota> {
    Key::behind(&Collection::of::<MessagingQuota>(), what, Month::of_day(day))
}

counts!(MessagingQuota, InTenant, "messaging_quota", "messaging-quotas", None);

#[cfg(test)]
mod tests {
    use shared::model::plan::Plans;

    use super::*;

    #[test]
    fn months_come_before_days_and_messages_are_counted_only_against_a_limit() {
        let plans = Plans::seeded();
        let names = |plan: &Plan, is_new| {
            let places = MessagingQuota::places(plan, true, is_new, Date::constant(2026, 11, 21));
            places.iter().map(|place| (place.name, place.most)).collect::<Vec<_>>()
        };
        let (of_month, of_day) = (MessagingQuota::CONTACTS_OF_MONTH, MessagingQuota::CONTACTS_OF_DAY);
        assert_eq!(names(plans.get("free"), true), [(of_month, Some(250)), (of_day, Some(10))]);
        assert_eq!(names(plans.get("enterprise"), true), [(of_month, None), (of_day, None)]);
        assert_eq!(names(plans.get("enterprise"), false), []);
        let limited = Plan { messages_per_day: Some(5), messages_per_month: Some(50), ..plans.get("free").clone() };
        let all = names(&limited, true);
        assert_eq!(all.iter().map(|(_, most)| most.unwrap()).collect::<Vec<_>>(), [50, 250, 5, 10]);
        assert!(MessagingQuota::places(&limited, false, false, Date::constant(2026, 11, 21)).is_empty());
        // Whatever place is missing, the message says which.
        let reasons: Vec<_> = all.iter().map(|(name, _)| MessagingQuota::reason(name)).collect();
        let expected =
            [Reason::MessageMonthLimit, Reason::NewContactMonthLimit, Reason::MessageLimit, Reason::NewContactLimit].map(Some).to_vec();
        assert_eq!((reasons, MessagingQuota::reason("projects")), (expected, None));
    }
}
