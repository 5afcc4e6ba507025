//! Leads: list, create, read, change, delete.

use engagement::lead_view::{SummaryView, existing, without_deleted};
use records::activity::Activity;
use records::lead::{EmailStatus, Lead, LeadChanges, LeadFilter, LeadId, LeadStatus, ProfileField};
use records::lead_list::{LeadList, LeadListId, LeadListMember};
use serde::Serialize;
use serde_json::{Map, Value};
use shared::http::answer::{Answer, Created, Listing, NoContent, Tagged};
use shared::http::arguments::{Body, Found, IfMatch, Offsets, Total};
use shared::http::form::{EmailAddress, Fields, Form, Name, Text, WorkspaceName};
use shared::http::idempotency::Once;
use shared::model::text;
use shared::model::time::Printed;
use shared::model::user::Email;
use shared::store::{Direction, Listed, RankedPage, Span, Window};
use shared::tenancy::WorkspaceStore;
use shared::tenancy::doors::{In, Member, Viewer};
use shared::{Error, Result};

use crate::activity::{ActivityView, newest};
use crate::changing;
use crate::rules::{Attributes, EMAIL_STATUS, LIST, STATUS, TAG, list_ids, tags};

/// A lead, with the newest of its activity.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Lead)]
pub struct LeadView {
    id: String,
    email: Email,
    first_name: Option<String>,
    last_name: Option<String>,
    company: Option<String>,
    phone: Option<String>,
    job_title: Option<String>,
    city: Option<String>,
    state: Option<String>,
    country: Option<String>,
    timezone: Option<String>,
    status: LeadStatus,
    email_status: EmailStatus,
    tags: Vec<String>,
    list_ids: Vec<String>,
    #[schema(value_type = Object)]
    attributes: Map<String, Value>,
    activity: Vec<ActivityView>,
    created_at: Printed,
    updated_at: Printed,
}

pub struct NewLead {
    email: Email,
    changes: LeadChanges,
}

pub struct Changes(LeadChanges);

pub struct Filters(LeadFilter);

pub async fn list(door: In<Viewer>, asked: Offsets<Filters, 50>, total: Total<Lead>) -> Result<Listing<SummaryView>> {
    let Offsets { filters, page } = asked;
    let found = matching(&door.store, &filters.0, page.span(), total.count).await?;
    let there = existing(&door.store, found.items.iter().flat_map(|lead| lead.lists.iter().copied())).await?;
    let items = found.items.iter().map(|lead| SummaryView::of(&without_deleted(lead, &there))).collect();
    Ok(Listing { items, total: found.total, page, next: found.next })
}

pub async fn create(door: In<Member>, once: Once<NewLead>) -> Result<Tagged<LeadView, 201>> {
    let NewLead { email, changes } = once.body;
    let id = LeadId::new(door.store.tag(), door.now(), door.store.random());
    let lead = Lead::new(id, email, door.now()).with(&changes)?;
    let answer = Created::new("Lead created", LeadView::of(&lead, &[])).tagged(lead.etag());
    let transaction = once.ticket.record(door.store.transaction(), &door.outer.store, &answer)?;
    changing::create(&door, transaction, &lead)?.commit().await?;
    Ok(answer)
}

pub async fn show(door: In<Viewer>, lead: Found<Lead>) -> Result<Tagged<LeadView>> {
    let there = existing(&door.store, lead.0.lists.iter().copied()).await?;
    answer(&door.store, &without_deleted(&lead.0, &there)).await
}

pub async fn update(door: In<Member>, lead: Found<Lead>, expected: IfMatch, changes: Body<Changes>) -> Result<Tagged<LeadView>> {
    let changes = changes.0.0;
    let named = changes.lists.clone().unwrap_or_default();
    let changed = changing::edit(&door, lead.0, &named, |lead| {
        expected.check(&lead.etag())?;
        Ok(changes.clone())
    })
    .await?;
    answer(&door.store, &changed).await
}

pub async fn delete(door: In<Member>, lead: Found<Lead>, expected: IfMatch) -> Result<NoContent> {
    changing::delete(&door, lead.0, |lead| expected.check(&lead.etag())).await?;
    Ok(NoContent)
}

/// Newest first. Without a filter, and by list alone, a page costs the same whatever the number of leads. Any other filter looks at each lead of
/// the workspace, or of the list where that has fewer, and there is an end to how many.
async fn matching(store: &WorkspaceStore, filter: &LeadFilter, span: Span, total: u64) -> Result<RankedPage<Lead>> {
    let leads = Lead::all().going(Direction::Descending);
    if filter.keeps_all() {
        let found = store.page(&leads, &span, |_| true).await?;
        return Ok(RankedPage { items: found.items, next: found.next, total });
    }
    if let Some(id) = filter.list {
        let list = store.get(&LeadList::key_of(id)).await?;
        if *filter == (LeadFilter { list: Some(id), ..LeadFilter::default() }) {
            let found = store.page(&LeadListMember::on(id).going(Direction::Descending), &span, |_| true).await?;
            return Ok(RankedPage { items: members(store, &found.items).await?, next: found.next, total: list.members });
        }
        if total > Lead::MAX_PASSED && list.members <= Lead::MAX_PASSED {
            return among_members(store, id, filter, span).await;
        }
    }
    if total > Lead::MAX_PASSED {
        let most = Lead::MAX_PASSED;
        let sentence =
            format!("This workspace has more than {most} leads: name a list of at most {most} too, with list=list_…, to filter them.");
        return Err(Error::BadRequest(sentence.into()));
    }
    store.ranked(&leads, span, |entry| filter.keeps(&entry).then_some(())).await
}

async fn members(store: &WorkspaceStore, members: &[LeadListMember]) -> Result<Vec<Lead>> {
    let keys: Vec<_> = members.iter().map(|member| Lead::key_of(member.lead)).collect();
    store.find_many(&keys).await
}

async fn among_members(store: &WorkspaceStore, list: LeadListId, filter: &LeadFilter, span: Span) -> Result<RankedPage<Lead>> {
    const AT_ONCE: usize = 1_000;
    let mut window = Window::new(span, Direction::Descending)?;
    let (on_list, mut place) = (LeadListMember::on(list), None);
    loop {
        let (some, next) = store.after(&on_list, place.as_ref(), AT_ONCE).await?;
        for lead in members(store, &some).await?.iter().filter(|lead| filter.keeps(&lead.entry())) {
            window.add((), lead.id.to_string());
        }
        match next {
            Some(next) => place = Some(next),
            None => break,
        }
    }
    let (ids, next, total) = window.finish();
    let keys: Vec<_> = ids.iter().filter_map(|id| LeadId::parse(id)).map(Lead::key_of).collect();
    Ok(RankedPage { items: store.find_many(&keys).await?, next, total })
}

async fn answer(store: &WorkspaceStore, lead: &Lead) -> Result<Tagged<LeadView>> {
    let activity = newest(store, lead).await?;
    Ok(Answer::new("Success", LeadView::of(lead, &activity)).tagged(lead.etag()))
}

impl LeadView {
    fn of(lead: &Lead, activity: &[Activity]) -> Self {
        let of = |field| lead.profile.get(field).map(str::to_owned);
        let SummaryView { id, email, first_name, last_name, company, status, email_status, tags, list_ids, created_at, updated_at } =
            SummaryView::of(lead);
        LeadView {
            id,
            email,
            first_name,
            last_name,
            company,
            phone: of(ProfileField::Phone),
            job_title: of(ProfileField::JobTitle),
            city: of(ProfileField::City),
            state: of(ProfileField::State),
            country: of(ProfileField::Country),
            timezone: of(ProfileField::Timezone),
            status,
            email_status,
            tags,
            list_ids,
            attributes: lead.attributes.clone(),
            activity: activity.iter().map(ActivityView::of).collect(),
            created_at,
            updated_at,
        }
    }
}

impl Form for NewLead {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        fields.optional("workspace_slug", WorkspaceName);
        let email = fields.required("email", EmailAddress);
        let of = |field: ProfileField| (field, fields.optional(field.name(), Name { max: field.max() }));
        let profile = ProfileField::ALL.map(of).into_iter().filter(|(_, value)| value.is_some()).collect();
        let changes = LeadChanges {
            email: None,
            profile,
            attributes: fields.optional("attributes", Attributes),
            tags: fields.optional("tags", tags()),
            lists: fields.optional("list_ids", list_ids()),
            status: fields.optional("status", STATUS),
        };
        Some(NewLead { email: email?, changes })
    }
}

impl Form for Changes {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let email = fields.change("email", EmailAddress);
        let of = |field: ProfileField| Some((field, fields.change_or_clear(field.name(), Name { max: field.max() })?));
        let profile = ProfileField::ALL.into_iter().filter_map(of).collect();
        Some(Changes(LeadChanges {
            email,
            profile,
            attributes: fields.change("attributes", Attributes),
            tags: fields.change("tags", tags()),
            lists: fields.change("list_ids", list_ids()),
            status: fields.change("status", STATUS),
        }))
    }
}

impl Form for Filters {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        fields.optional("workspace", WorkspaceName);
        Some(Filters(LeadFilter {
            status: fields.optional("status", STATUS),
            email_status: fields.optional("email_status", EMAIL_STATUS),
            search: fields.optional("search", Text { min: 2, max: 255 }).map(|search| text::fold(&search)),
            list: fields.optional("list", LIST),
            tag: fields.optional("tag", TAG).map(|tag| text::fold(&tag)),
        }))
    }
}
