//! One change of many leads. Each is changed by itself, as if it were asked for alone: one that cannot be does not hold up the others.

use records::lead::{Lead, LeadChanges, LeadId, LeadStatus};
use records::lead_list::{LeadList, LeadListId};
use serde::Serialize;
use shared::http::answer::Answer;
use shared::http::arguments::Body;
use shared::http::form::{Fields, Form, OneOf, Several, Text, WorkspaceName};
use shared::model::text;
use shared::tenancy::doors::{In, Member};
use shared::{Error, Result};

use crate::changing;
use crate::rules::{LEAD, LIST, STATUS, TAG};

/// What became of the leads that were named.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = LeadsChanged)]
pub struct ChangedView {
    /// How many of them there are.
    matched: u64,
    /// How many were changed; the others were so already, or failed.
    changed: u64,
    failed: Vec<FailedView>,
}

/// A lead that was not changed, and why.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = LeadNotChanged)]
pub struct FailedView {
    id: String,
    reason: String,
}

pub struct Order {
    ids: Vec<LeadId>,
    action: Action,
}

enum Action {
    AddTag(String),
    RemoveTag(String),
    AddToList(LeadListId),
    RemoveFromList(LeadListId),
    SetStatus(LeadStatus),
    Delete,
}

#[derive(Clone, Copy)]
enum Word {
    AddTag,
    RemoveTag,
    AddToList,
    RemoveFromList,
    SetStatus,
    Delete,
}

/// The same request again changes nothing more, so its answer is kept after its effect.
pub async fn change(door: In<Member>, body: Body<Order>) -> Result<Answer<ChangedView>> {
    let Order { ids, action } = body.0;
    if let Action::AddToList(list) | Action::RemoveFromList(list) = action {
        door.store.get(&LeadList::key_of(list)).await?;
    }
    let keys: Vec<_> = ids.iter().copied().map(Lead::key_of).collect();
    let leads = door.store.find_many(&keys).await?;
    let mut view = ChangedView { matched: leads.len() as u64, changed: 0, failed: vec![] };
    for id in ids {
        let done = match leads.iter().find(|lead| lead.id == id) {
            Some(lead) => change_one(&door, lead, &action).await,
            None => Err(Error::Missing(Lead::NOUN)),
        };
        match done {
            Ok(changed) => view.changed += u64::from(changed),
            // What is our fault, or will pass, is so for all of them.
            Err(error @ (Error::Internal { .. } | Error::Unavailable { .. })) => return Err(error),
            Err(error) => view.failed.push(FailedView { id: id.prefixed(), reason: error.in_a_line() }),
        }
    }
    Ok(Answer::new("Success", view))
}

/// Whether it is another lead now.
async fn change_one(door: &In<Member>, lead: &Lead, action: &Action) -> Result<bool> {
    if matches!(action, Action::Delete) {
        return changing::delete(door, lead.clone(), |_| Ok(())).await.map(|()| true);
    }
    let named = if let Action::AddToList(list) = action { std::slice::from_ref(list) } else { &[] };
    let changed = changing::edit(door, lead.clone(), named, |lead| action.on(lead)).await?;
    Ok(changed.version != lead.version)
}

impl Action {
    fn on(&self, lead: &Lead) -> Result<LeadChanges> {
        let none = LeadChanges::default();
        Ok(match self {
            Action::AddTag(tag) if lead.has_tag(tag) => none,
            Action::AddTag(_) if lead.tags.len() >= Lead::MAX_TAGS => {
                return Err(Error::field("tags", format!("The lead has {} tags already.", Lead::MAX_TAGS)));
            }
            Action::AddTag(tag) => LeadChanges { tags: Some([&lead.tags[..], std::slice::from_ref(tag)].concat()), ..none },
            Action::RemoveTag(tag) => {
                let others = lead.tags.iter().filter(|own| text::fold(own) != text::fold(tag)).cloned().collect();
                LeadChanges { tags: Some(others), ..none }
            }
            Action::AddToList(list) if lead.lists.contains(list) => none,
            Action::AddToList(_) if lead.lists.len() >= Lead::MAX_LISTS => {
                return Err(Error::field("list_ids", format!("The lead is on {} lists already.", Lead::MAX_LISTS)));
            }
            Action::AddToList(list) => LeadChanges { lists: Some([&lead.lists[..], &[*list]].concat()), ..none },
            Action::RemoveFromList(list) => {
                LeadChanges { lists: Some(lead.lists.iter().filter(|own| *own != list).copied().collect()), ..none }
            }
            Action::SetStatus(status) => LeadChanges { status: Some(*status), ..none },
            Action::Delete => none,
        })
    }
}

const ACTION: OneOf<Word> = OneOf {
    words: &["add_tag", "remove_tag", "add_to_list", "remove_from_list", "set_status", "delete"],
    parse: |word| {
        Some(match word {
            "add_tag" => Word::AddTag,
            "remove_tag" => Word::RemoveTag,
            "add_to_list" => Word::AddToList,
            "remove_from_list" => Word::RemoveFromList,
            "set_status" => Word::SetStatus,
            "delete" => Word::Delete,
            _ => return None,
        })
    },
};

impl Form for Order {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        fields.optional("workspace_slug", WorkspaceName);
        let ids = fields.required("ids", Several { each: LEAD, min: 1, max: 100, key: LeadId::to_string });
        let action = match fields.required("action", ACTION) {
            Some(Word::AddTag) => fields.required("value", TAG).map(Action::AddTag),
            Some(Word::RemoveTag) => fields.required("value", TAG).map(Action::RemoveTag),
            Some(Word::AddToList) => fields.required("value", LIST).map(Action::AddToList),
            Some(Word::RemoveFromList) => fields.required("value", LIST).map(Action::RemoveFromList),
            Some(Word::SetStatus) => fields.required("value", STATUS).map(Action::SetStatus),
            Some(Word::Delete) => {
                if fields.optional("value", Text::at_most(0)).is_some() {
                    fields.refuse("value", "does not go with delete");
                }
                Some(Action::Delete)
            }
            None => {
                fields.optional("value", Text::up_to(100));
                None
            }
        };
        Some(Order { ids: ids?, action: action? })
    }
}
