//! Subaccounts: the tenants of an agency's clients. The agency's side is a record of the directory (whose child is this?). The child is a
//! tenant like any other, and nothing in it leads back to the agency.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::Error;
use crate::ids::{SubaccountId, TenantId, stored};
use crate::model::free;
use crate::model::tenant::{Tenant, TenantStatus};
use crate::store::entity::{Collection, Entity, Hashed, InDirectory, Key};
use crate::store::page::List;

/// `subaccounts#<agency>` / `<id>`: an agency's children in the order of creation. Read by the door that acts for one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Subaccount {
    pub id: SubaccountId,
    #[serde(with = "stored")]
    pub agency: TenantId,
    /// The child.
    #[serde(rename = "child", with = "stored")]
    pub tenant: TenantId,
    pub name: String,
    /// The agency's own name for it, unique within the agency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The same as in the child's own record. Both are written together.
    pub status: TenantStatus,
    pub lines: LineMode,
    #[serde(default, skip_serializing_if = "Map::is_empty", with = "free")]
    pub metadata: Map<String, Value>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub version: u64,
}

/// How phone lines are given to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LineMode {
    Pooled,
    Dedicated,
}

/// What the agency allows the child, below what its plan does. `None`: as the plan says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SubaccountLimits {
    #[serde(default)]
    pub messages_per_day: Option<u64>,
    #[serde(default)]
    pub messages_per_month: Option<u64>,
    #[serde(default)]
    pub new_contacts_per_day: Option<u64>,
    #[serde(default)]
    pub new_contacts_per_month: Option<u64>,
    #[serde(default)]
    pub api_requests_per_day: Option<u64>,
}

/// What an agency changes of a subaccount; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct SubaccountChanges {
    pub name: Option<String>,
    pub metadata: Option<Map<String, Value>>,
    pub limits: LimitChanges,
}

/// `None` leaves a limit as it is. `Some(None)` removes it, so that the plan's limit holds.
#[derive(Debug, Clone, Copy, Default)]
pub struct LimitChanges {
    pub messages_per_day: Option<Option<u64>>,
    pub messages_per_month: Option<Option<u64>>,
    pub new_contacts_per_day: Option<Option<u64>>,
    pub new_contacts_per_month: Option<Option<u64>>,
    pub api_requests_per_day: Option<Option<u64>>,
}

impl LimitChanges {
    /// A change that sets every limit as in `limits`.
    pub fn to(limits: SubaccountLimits) -> Self {
        LimitChanges {
            messages_per_day: Some(limits.messages_per_day),
            messages_per_month: Some(limits.messages_per_month),
            new_contacts_per_day: Some(limits.new_contacts_per_day),
            new_contacts_per_month: Some(limits.new_contacts_per_month),
            api_requests_per_day: Some(limits.api_requests_per_day),
        }
    }

    pub fn over(self, limits: SubaccountLimits) -> SubaccountLimits {
        SubaccountLimits {
            messages_per_day: self.messages_per_day.unwrap_or(limits.messages_per_day),
            messages_per_month: self.messages_per_month.unwrap_or(limits.messages_per_month),
            new_contacts_per_day: self.new_contacts_per_day.unwrap_or(limits.new_contacts_per_day),
            new_contacts_per_month: self.new_contacts_per_month.unwrap_or(limits.new_contacts_per_month),
            api_requests_per_day: self.api_requests_per_day.unwrap_or(limits.api_requests_per_day),
        }
    }
}

impl Subaccount {
    /// The subaccount and the child after the agency's change. The subaccount gets a new version with every change of the child, so that
    /// its version stands for both and the agency's audit log shows the change. `None` if nothing changes.
    pub fn changed(&self, child: &Tenant, changes: SubaccountChanges, now: Timestamp) -> Option<(Self, Option<Tenant>)> {
        let child_name = changes.name.clone().unwrap_or_else(|| child.name.clone());
        let name = changes.name.unwrap_or_else(|| self.name.clone());
        let metadata = changes.metadata.unwrap_or_else(|| self.metadata.clone());
        let before = child.limits.unwrap_or_default();
        let limits = changes.limits.over(before);
        let of_child = child_name != child.name || limits != before;
        if !of_child && name == self.name && metadata == self.metadata {
            return None;
        }
        let link = Subaccount { name, metadata, updated_at: now, version: self.version + 1, ..self.clone() };
        Some((link, of_child.then(|| child.as_agreed(child_name, limits, now))))
    }

    /// Active and suspended can change into each other, both can be closed, and closed is final. `None` if nothing changes.
    pub fn with_status(&self, status: TenantStatus, now: Timestamp) -> Result<Option<Self>, Error> {
        match (self.status, status) {
            (before, after) if before == after => Ok(None),
            (TenantStatus::Closed, _) => Err(Error::Conflict("This subaccount is closed for good.".into())),
            _ => Ok(Some(Subaccount { status, updated_at: now, version: self.version + 1, ..self.clone() })),
        }
    }

    pub fn etag(&self) -> String {
        format!("\"{}\"", self.version)
    }

    /// Of an agency, in the order in which they were made.
    pub fn of_agency(agency: TenantId) -> List<Self> {
        List::new(Collection::within::<Subaccount>(agency), "")
    }

    pub fn key_of(agency: TenantId, id: SubaccountId) -> Key<Self> {
        Key::at(&Collection::within::<Subaccount>(agency), id.to_string())
    }
}

impl Entity for Subaccount {
    type Scope = InDirectory;
    const TYPE: &'static str = "subaccount";
    const COLLECTION: &'static str = "subaccounts";
    const AUDITED: bool = true;

    fn key(&self) -> Key<Self> {
        Subaccount::key_of(self.agency, self.id)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }
}

/// `external-ids#<agency>` / `<hash of the external id>`: an agency already uses this external id.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExternalId {
    #[serde(with = "stored")]
    pub agency: TenantId,
    pub external_id: String,
    pub subaccount: SubaccountId,
}

impl ExternalId {
    pub fn key_of(agency: TenantId, external_id: &str) -> Key<Self> {
        Key::at(&Collection::within::<ExternalId>(agency), Hashed::of(&[external_id]).to_string())
    }
}

impl Entity for ExternalId {
    type Scope = InDirectory;
    const TYPE: &'static str = "external_id";
    const COLLECTION: &'static str = "external-ids";

    fn key(&self) -> Key<Self> {
        ExternalId::key_of(self.agency, &self.external_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subaccount(status: TenantStatus) -> Subaccount {
        let tenant = |text: &str| stored::deserialize(serde_json::json!(text)).unwrap();
        Subaccount {
            id: SubaccountId::parse("018f3f70-12ab-7e0f-8a44-5d1f9c3b2e10").unwrap(),
            agency: tenant("5b0e8f6e-7a10-4c55-9d6e-2b6f0a1c4d01"),
            tenant: tenant("6b0e8f6e-7a10-4c55-9d6e-2b6f0a1c4d02"),
            name: "Client".into(),
            external_id: None,
            status,
            lines: LineMode::Pooled,
            metadata: Map::new(),
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
            version: 1,
        }
    }

    #[test]
    fn closed_is_final() {
        let now = Timestamp::UNIX_EPOCH;
        for (from, to, changes) in [
            (TenantStatus::Active, TenantStatus::Suspended, true),
            (TenantStatus::Suspended, TenantStatus::Active, true),
            (TenantStatus::Active, TenantStatus::Closed, true),
            (TenantStatus::Suspended, TenantStatus::Closed, true),
            (TenantStatus::Active, TenantStatus::Active, false),
            (TenantStatus::Closed, TenantStatus::Closed, false),
        ] {
            assert_eq!(subaccount(from).with_status(to, now).unwrap().is_some(), changes, "{from:?} to {to:?}");
        }
        for to in [TenantStatus::Active, TenantStatus::Suspended] {
            assert!(subaccount(TenantStatus::Closed).with_status(to, now).is_err());
        }
    }
}
