//! What happened with a lead, and notes about it.

use records::activity::{Activity, ActivityId, ActivityKind};
use records::lead::{Lead, LeadStatus};
use serde::Serialize;
use shared::Result;
use shared::http::answer::{Answer, Created, Listing};
use shared::http::arguments::{Found, NoFilters, Offsets};
use shared::http::form::{Fields, Form, Text};
use shared::http::idempotency::Once;
use shared::model::time::{Printed, zulu};
use shared::store::{Direction, Span};
use shared::tenancy::doors::{In, Member, Viewer};
use shared::tenancy::{WorkspaceStore, conflict};

/// As many entries come with their lead.
const SHOWN: usize = 20;

/// An entry of a lead's activity.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Activity)]
pub struct ActivityView {
    id: String,
    r#type: ActivityKind,
    campaign_id: Option<String>,
    /// Of the campaign.
    step: Option<u32>,
    /// The status before and after, where it changed.
    from: Option<LeadStatus>,
    to: Option<LeadStatus>,
    /// Of a note.
    text: Option<String>,
    /// Who did it. Null where nobody of the tenant did.
    #[schema(inline = false)]
    by: Option<AuthorView>,
    timestamp: Printed,
}

/// A member who did something.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Author)]
pub struct AuthorView {
    /// The member's number.
    id: u64,
    name: String,
}

pub struct NewNote(String);

/// Newest first. The lead counts its entries.
pub async fn list(door: In<Viewer>, lead: Found<Lead>, asked: Offsets<NoFilters>) -> Result<Listing<ActivityView>> {
    let (lead, page) = (lead.0, asked.page);
    let entries = Activity::of_lead(lead.id).going(Direction::Descending);
    let found = door.store.page(&entries, &page.span(), |_| true).await?;
    let items = found.items.iter().map(ActivityView::of).collect();
    Ok(Listing { items, total: lead.activities, page, next: found.next })
}

/// No edit of the lead: its version stays.
pub async fn note(door: In<Member>, lead: Found<Lead>, once: Once<NewNote>) -> Result<Answer<ActivityView, 201>> {
    let id = ActivityId::new(door.store.tag(), door.now(), door.store.random());
    let note = Activity::note(id, lead.0.id, once.body.0, door.outer.member.person(), door.now());
    let answer = Created::new("Note added", ActivityView::of(&note));
    door.store
        .edit(lead.0, |lead, transaction| {
            let transaction = once.ticket.record(transaction, &door.outer.store, &answer)?;
            let transaction = door.while_there(transaction)?.create(&door.store, &note, conflict("This note exists already."))?;
            Ok(Some((lead.clone().with_activity(), transaction)))
        })
        .await?;
    Ok(answer)
}

pub async fn newest(store: &WorkspaceStore, lead: &Lead) -> Result<Vec<Activity>> {
    if lead.activities == 0 {
        return Ok(vec![]);
    }
    let entries = Activity::of_lead(lead.id).going(Direction::Descending);
    Ok(store.page(&entries, &Span::first(SHOWN), |_| true).await?.items)
}

impl ActivityView {
    pub fn of(activity: &Activity) -> Self {
        ActivityView {
            id: activity.id.prefixed(),
            r#type: activity.kind,
            campaign_id: activity.campaign.clone(),
            step: activity.step,
            from: activity.from,
            to: activity.to,
            text: activity.text.clone(),
            by: activity.by.as_ref().map(|by| AuthorView { id: by.id, name: by.name.clone() }),
            timestamp: zulu(activity.occurred_at),
        }
    }
}

impl Form for NewNote {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        fields.required("text", Text::up_to(4_000)).map(NewNote)
    }
}
