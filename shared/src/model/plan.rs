//! Plans are data: `plans.json` beside this file, or the `PLANS` variable in its shape. A limit is a number or `null`, unlimited.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

const SEEDED: &str = include_str!("plans.json");

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
    /// Beyond the two, serving goes on and is billed; otherwise it pauses until the month is over.
    #[serde(default)]
    pub edge_overage: bool,
    pub custom_domains: Option<u64>,
    /// Leads and contacts together.
    pub people: Option<u64>,
    pub emails_per_month: Option<u64>,
    pub contacts_messaged_per_day: Option<u64>,
    pub contacts_messaged_per_month: Option<u64>,
    pub api_keys: Option<u64>,
    pub webhooks: Option<u64>,
    pub subaccounts: Option<u64>,
    pub dedicated_lines: Option<u64>,
    /// Requests per minute, where the plan replaces the defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u64>,
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

    /// The named plan; a plan that was taken out of the data counts as `free`.
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
    fn a_configured_table_needs_the_plans_the_product_gives_out() {
        assert!(Plans::read("{}").is_err());
        assert!(Plans::read(SEEDED).is_ok());
    }
}
