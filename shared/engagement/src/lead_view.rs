//! A lead as lists show it: without the lists that were deleted.

use std::collections::BTreeSet;

use records::lead::{EmailStatus, Lead, LeadStatus, ProfileField};
use records::lead_list::{LeadList, LeadListId};
use serde::Serialize;
use shared::Result;
use shared::model::time::{Printed, zulu};
use shared::model::user::Email;
use shared::tenancy::WorkspaceStore;

/// A lead in a list.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = LeadSummary)]
pub struct SummaryView {
    pub id: String,
    pub email: Email,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub company: Option<String>,
    pub status: LeadStatus,
    pub email_status: EmailStatus,
    pub tags: Vec<String>,
    pub list_ids: Vec<String>,
    pub created_at: Printed,
    pub updated_at: Printed,
}

/// Which of these lists are there.
pub async fn existing(store: &WorkspaceStore, lists: impl IntoIterator<Item = LeadListId>) -> Result<BTreeSet<LeadListId>> {
    let asked: BTreeSet<LeadListId> = lists.into_iter().collect();
    let keys: Vec<_> = asked.into_iter().map(LeadList::key_of).collect();
    Ok(store.find_many(&keys).await?.into_iter().map(|list| list.id).collect())
}

/// The lead without lists that were deleted: as it is shown, and as its next edit writes it.
pub fn without_deleted(lead: &Lead, existing: &BTreeSet<LeadListId>) -> Lead {
    let mut shown = lead.clone();
    shown.lists.retain(|list| existing.contains(list));
    shown
}

impl SummaryView {
    pub fn of(lead: &Lead) -> Self {
        let of = |field| lead.profile.get(field).map(str::to_owned);
        SummaryView {
            id: lead.id.prefixed(),
            email: lead.email.clone(),
            first_name: of(ProfileField::FirstName),
            last_name: of(ProfileField::LastName),
            company: of(ProfileField::Company),
            status: lead.status,
            email_status: lead.email_status,
            tags: lead.tags.clone(),
            list_ids: lead.lists.iter().map(LeadListId::prefixed).collect(),
            created_at: zulu(lead.created_at),
            updated_at: zulu(lead.updated_at),
        }
    }
}
