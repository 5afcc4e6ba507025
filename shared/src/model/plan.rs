//! Plans are data: `plans.json` beside this file, or the variable `PLANS` in the same format. A limit is a number, or `null` for unlimited.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::subaccount::SubaccountLimits;
use crate::store::entity::Counter;

const SEEDED: &str = include_str!("plans.json");

/// What a plan bounds: the counter of it, and what the plan calls it.
#[derive(Clone, Copy)]
pub struct Quota {
    pub counter: Counter,
    pub name: &'static str,
    /// `None` is unlimited.
    pub most: fn(&Plan) -> Option<u64>,
}

/// Every plan by name.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct Plans(BTreeMap<String, Plan>);

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub tenants_owned: Option<u64>,
    pub users: Option<u64>,
    pub projects: Option<u64>,
    pub workspaces: Option<u64>,
    pub api_requests_per_day: Option<u64>,
    pub edge_requests_per_month: Option<u64>,
    pub edge_bytes_per_month: Option<u64>,
    /// Above the two limits, serving continues and is billed. Otherwise it pauses until the month is over.
    #[serde(default)]
    pub edge_overage: bool,
    pub custom_domains: Option<u64>,
    /// Leads and contacts together.
    pub people: Option<u64>,
    pub emails_per_month: Option<u64>,
    pub contacts_messaged_per_day: Option<u64>,
    pub contacts_messaged_per_month: Option<u64>,
    /// Messages to phones: unlimited by the seeded plans, but an agency limits its children.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages_per_day: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages_per_month: Option<u64>,
    pub api_keys: Option<u64>,
    pub webhooks: Option<u64>,
    pub subaccounts: Option<u64>,
    pub dedicated_lines: Option<u64>,
    /// Requests per minute, where the plan replaces the defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u64>,
}

impl Plan {
    /// The plan with the limits that an agency sets for a child: the smaller value of each.
    pub fn within(&self, limits: &SubaccountLimits) -> Plan {
        let least = |plan: Option<u64>, limit: Option<u64>| plan.into_iter().chain(limit).min();
        Plan {
            api_requests_per_day: least(self.api_requests_per_day, limits.api_requests_per_day),
            contacts_messaged_per_day: least(self.contacts_messaged_per_day, limits.new_contacts_per_day),
            contacts_messaged_per_month: least(self.contacts_messaged_per_month, limits.new_contacts_per_month),
            messages_per_day: least(self.messages_per_day, limits.messages_per_day),
            messages_per_month: least(self.messages_per_month, limits.messages_per_month),
            ..self.clone()
        }
    }

    /// The names of the agency's limits that are above this plan.
    pub fn exceeded_by(&self, limits: &SubaccountLimits) -> Vec<&'static str> {
        let above = |plan: Option<u64>, limit: Option<u64>| plan.zip(limit).is_some_and(|(plan, limit)| limit > plan);
        [
            ("api_requests_per_day", above(self.api_requests_per_day, limits.api_requests_per_day)),
            ("new_contacts_per_day", above(self.contacts_messaged_per_day, limits.new_contacts_per_day)),
            ("new_contacts_per_month", above(self.contacts_messaged_per_month, limits.new_contacts_per_month)),
            ("messages_per_day", above(self.messages_per_day, limits.messages_per_day)),
            ("messages_per_month", above(self.messages_per_month, limits.messages_per_month)),
        ]
        .into_iter()
        .filter_map(|(name, above)| above.then_some(name))
        .collect()
    }

    /// Whether nothing of `other` is above this plan: an agency gives its children no more than it has. The fields are listed one by one,
    /// so that a new limit must be decided on here.
    pub fn covers(&self, other: &Plan) -> bool {
        let Plan {
            // It limits people, and nobody owns a tenant through a subaccount.
            tenants_owned: _,
            users,
            projects,
            workspaces,
            api_requests_per_day,
            edge_requests_per_month,
            edge_bytes_per_month,
            edge_overage,
            custom_domains,
            people,
            emails_per_month,
            contacts_messaged_per_day,
            contacts_messaged_per_month,
            messages_per_day,
            messages_per_month,
            api_keys,
            webhooks,
            subaccounts,
            dedicated_lines,
            requests_per_minute,
        } = other;
        let covers = |mine: Option<u64>, theirs: &Option<u64>| mine.is_none_or(|mine| theirs.is_some_and(|theirs| theirs <= mine));
        covers(self.users, users)
            && covers(self.projects, projects)
            && covers(self.workspaces, workspaces)
            && covers(self.api_requests_per_day, api_requests_per_day)
            && covers(self.edge_requests_per_month, edge_requests_per_month)
            && covers(self.edge_bytes_per_month, edge_bytes_per_month)
            && (self.edge_overage || !edge_overage)
            && covers(self.custom_domains, custom_domains)
            && covers(self.people, people)
            && covers(self.emails_per_month, emails_per_month)
            && covers(self.contacts_messaged_per_day, contacts_messaged_per_day)
            && covers(self.contacts_messaged_per_month, contacts_messaged_per_month)
            && covers(self.messages_per_day, messages_per_day)
            && covers(self.messages_per_month, messages_per_month)
            && covers(self.api_keys, api_keys)
            && covers(self.webhooks, webhooks)
            && covers(self.subaccounts, subaccounts)
            && covers(self.dedicated_lines, dedicated_lines)
            // If absent, the deployment's default holds, which is the same for every plan.
            && requests_per_minute.is_none_or(|theirs| self.requests_per_minute.is_none_or(|mine| theirs <= mine))
    }
}

impl Plans {
    pub fn seeded() -> Self {
        serde_json::from_str(SEEDED).expect("plans.json is checked by a test")
    }

    pub fn read(json: &str) -> Result<Self, serde_json::Error> {
        let plans: Plans = serde_json::from_str(json)?;
        for needed in ["demo", "free"] {
            if !plans.0.contains_key(needed) {
                return Err(serde::de::Error::custom(format!("the plan {needed:?} is missing")));
            }
        }
        Ok(plans)
    }

    /// The plan with this name. A plan that is no longer in the data counts as `free`.
    pub fn get(&self, name: &str) -> &Plan {
        self.0.get(name).unwrap_or_else(|| &self.0["free"])
    }

    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeded_plans_are_the_documented_five() {
        let plans = Plans::seeded();
        assert_eq!(plans.names().collect::<Vec<_>>(), ["basic", "demo", "enterprise", "free", "pro"]);
        assert_eq!(plans.get("basic").projects, Some(10));
        assert_eq!(plans.get("enterprise").projects, None);
        assert_eq!(plans.get("gone").projects, plans.get("free").projects);
    }

    #[test]
    fn a_child_has_the_smaller_of_what_plan_and_agency_allow() {
        let plans = Plans::seeded();
        let pro = plans.get("pro");
        let limits = SubaccountLimits { api_requests_per_day: Some(500), new_contacts_per_day: Some(9_999), ..SubaccountLimits::default() };
        let within = pro.within(&limits);
        assert_eq!((within.api_requests_per_day, within.contacts_messaged_per_day, within.projects), (Some(500), Some(500), Some(100)));
        assert_eq!(pro.exceeded_by(&limits), ["new_contacts_per_day"]);
        assert_eq!(plans.get("enterprise").within(&limits).api_requests_per_day, Some(500));
        assert!(
            pro.covers(plans.get("basic"))
                && pro.covers(pro)
                && !pro.covers(plans.get("enterprise"))
                && plans.get("enterprise").covers(pro)
        );
    }

    #[test]
    fn a_plan_that_goes_beyond_in_one_limit_is_not_covered() {
        let plans = Plans::seeded();
        let mine = plans.get("pro");
        let beyond = |change: fn(&mut Plan)| {
            let mut other = mine.clone();
            change(&mut other);
            !mine.covers(&other)
        };
        assert!(mine.covers(mine));
        assert!(beyond(|plan| plan.api_keys = Some(51)) && beyond(|plan| plan.api_keys = None));
        assert!(beyond(|plan| plan.webhooks = Some(21)) && beyond(|plan| plan.custom_domains = Some(2)));
        assert!(beyond(|plan| plan.dedicated_lines = Some(2)) && beyond(|plan| plan.subaccounts = None));
        let metered = Plan { requests_per_minute: Some(100), edge_overage: false, ..mine.clone() };
        assert!(!metered.covers(&Plan { requests_per_minute: Some(101), ..metered.clone() }));
        assert!(!metered.covers(&Plan { edge_overage: true, ..metered.clone() }));
    }

    #[test]
    fn a_configured_table_needs_the_plans_the_product_gives_out() {
        assert!(Plans::read("{}").is_err());
        assert!(Plans::read(SEEDED).is_ok());
    }
}
