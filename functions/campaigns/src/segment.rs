//! Segments: list, create, read, change, delete, and who is in them. Leads are asked one by one, so there is an end to how many.

use std::collections::BTreeSet;

use engagement::lead_view::{SummaryView, existing, without_deleted};
use records::lead::Lead;
use records::lead_list::LeadList;
use records::rule::Rule;
use records::segment::{Segment, SegmentId};
use serde::Serialize;
use serde_json::{Map, Value, json};
use shared::http::answer::{Answer, Created, Listing, NoContent, Tagged};
use shared::http::arguments::{Body, Found, IfMatch, OfWorkspace, Offsets, Total};
use shared::http::form::{Fields, Form, Name, Raw, WorkspaceName};
use shared::http::idempotency::Once;
use shared::model::time::{Printed, zulu};
use shared::model::workspace::Workspace;
use shared::store::{Direction, Record};
use shared::tenancy::doors::{In, Member, Viewer};
use shared::tenancy::{WorkspaceStore, conflict};
use shared::{Error, Result};

/// As many leads are shown of a segment.
const SHOWN: usize = 20;
const AT_ONCE: usize = 1_000;

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Segment)]
pub struct SegmentView {
    id: String,
    name: String,
    #[schema(value_type = Object)]
    rule: Map<String, Value>,
    created_at: Printed,
    updated_at: Printed,
}

/// How many leads are in a segment.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = SegmentCount)]
pub struct CountView {
    value: u64,
    counted_at: Printed,
}

/// How many leads a rule describes, and the newest of them.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = SegmentPreview)]
pub struct PreviewView {
    count: CountView,
    leads: Vec<SummaryView>,
}

pub struct NewSegment {
    name: String,
    rule: Map<String, Value>,
}

pub struct Changes {
    name: Option<String>,
    rule: Option<Map<String, Value>>,
}

pub struct Preview(Map<String, Value>);

/// Newest first.
pub async fn list(door: In<Viewer>, asked: Offsets<OfWorkspace>, total: Total<Segment>) -> Result<Listing<SegmentView>> {
    let page = asked.page;
    let found = door.store.page(&Segment::all().going(Direction::Descending), &page.span(), |_| true).await?;
    Ok(Listing { items: found.items.iter().map(SegmentView::of).collect(), total: total.count, page, next: found.next })
}

pub async fn create(door: In<Member>, once: Once<NewSegment>) -> Result<Tagged<SegmentView, 201>> {
    let NewSegment { name, rule } = once.body;
    lists_are_there(&door.store, &rule).await?;
    let id = SegmentId::new(door.store.tag(), door.now(), door.store.random());
    let segment = Segment { id, name, rule, created_at: door.now(), updated_at: door.now(), version: 1 };
    let answer = Created::new("Segment created", SegmentView::of(&segment)).tagged(segment.etag());
    let transaction = once.ticket.record(door.store.transaction(), &door.outer.store, &answer)?;
    door.while_there(transaction)?
        .count_many_within(&door.store, Segment::COUNT, 1, "segments", Segment::MOST, &door.outer.tenant.plan)?
        .create(&door.store, &segment, conflict("This segment exists already."))?
        .commit()
        .await?;
    Ok(answer)
}

pub async fn show(_door: In<Viewer>, segment: Found<Segment>) -> Result<Tagged<SegmentView>> {
    Ok(answer(&segment.0))
}

pub async fn update(door: In<Member>, segment: Found<Segment>, expected: IfMatch, changes: Body<Changes>) -> Result<Tagged<SegmentView>> {
    let Changes { name, rule } = changes.0;
    if let Some(rule) = &rule {
        lists_are_there(&door.store, rule).await?;
    }
    let changed = door
        .store
        .edit(segment.0, |segment, transaction| {
            expected.check(&segment.etag())?;
            Ok(segment.changed(name.clone(), rule.clone(), door.now()).map(|changed| (changed, transaction)))
        })
        .await?;
    Ok(answer(&changed))
}

pub async fn delete(door: In<Member>, segment: Found<Segment>, expected: IfMatch) -> Result<NoContent> {
    door.store
        .remove(segment.0, |segment, transaction| {
            expected.check(&segment.etag())?;
            door.while_there(transaction)?.count(&door.store, Segment::COUNT, -1)
        })
        .await?;
    Ok(NoContent)
}

pub async fn count(door: In<Viewer>, segment: Found<Segment>, total: Total<Lead>) -> Result<Answer<CountView>> {
    let found = asked(&door.store, &segment.0.rule, total.count, 0).await?;
    Ok(Answer::new("Success", found.count))
}

pub async fn preview(door: In<Viewer>, segment: Found<Segment>, total: Total<Lead>) -> Result<Answer<PreviewView>> {
    asked(&door.store, &segment.0.rule, total.count, SHOWN).await.map(|found| Answer::new("Success", found))
}

pub async fn preview_rule(door: In<Viewer>, body: Body<Preview>) -> Result<Answer<PreviewView>> {
    let rule = body.0.0;
    lists_are_there(&door.store, &rule).await?;
    let total = door.store.count(Workspace::LEADS).await?;
    asked(&door.store, &rule, total, SHOWN).await.map(|found| Answer::new("Success", found))
}

/// Asks every lead, newest first.
async fn asked(store: &WorkspaceStore, rule: &Map<String, Value>, total: u64, shown: usize) -> Result<PreviewView> {
    if total > Lead::MAX_PASSED {
        let most = Lead::MAX_PASSED;
        let sentence = format!("A segment is counted in workspaces of at most {most} leads, and this one has {total}.");
        return Err(Error::BadRequest(sentence.into()));
    }
    // It was parsed before it was stored or came here.
    let rule = Rule::parse(rule).map_err(|fault| Error::internal("reading a segment", fault.to_string()))?;
    let lists: BTreeSet<_> = match rule.asks_for_lists() {
        true => store.all(&LeadList::all()).await?.into_iter().map(|list| list.id).collect(),
        false => BTreeSet::new(),
    };
    let (leads, mut place, mut value, mut kept) = (Lead::all().going(Direction::Descending), None, 0, vec![]);
    loop {
        let (some, next) = store.after(&leads, place.as_ref(), AT_ONCE).await?;
        for lead in some {
            let is_in = match rule.asks_for_lists() {
                true => rule.matches(&without_deleted(&lead, &lists), store.now()),
                false => rule.matches(&lead, store.now()),
            };
            value += u64::from(is_in);
            if is_in && kept.len() < shown {
                kept.push(lead);
            }
        }
        match next {
            Some(next) => place = Some(next),
            None => break,
        }
    }
    let there = existing(store, kept.iter().flat_map(|lead| lead.lists.iter().copied())).await?;
    let leads = kept.iter().map(|lead| SummaryView::of(&without_deleted(lead, &there))).collect();
    Ok(PreviewView { count: CountView { value, counted_at: zulu(store.now()) }, leads })
}

/// A rule names lists of its own workspace.
async fn lists_are_there(store: &WorkspaceStore, rule: &Map<String, Value>) -> Result<()> {
    let lists = Rule::parse(rule).map(|rule| rule.lists()).unwrap_or_default();
    let there = existing(store, lists.iter().copied()).await?;
    if there.len() < lists.len() { Err(Error::Missing(LeadList::NOUN)) } else { Ok(()) }
}

fn answer(segment: &Segment) -> Tagged<SegmentView> {
    Answer::new("Success", SegmentView::of(segment)).tagged(segment.etag())
}

impl SegmentView {
    fn of(segment: &Segment) -> Self {
        SegmentView {
            id: segment.id.prefixed(),
            name: segment.name.clone(),
            rule: segment.rule.clone(),
            created_at: zulu(segment.created_at),
            updated_at: zulu(segment.updated_at),
        }
    }
}

impl Form for NewSegment {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        fields.optional("workspace_slug", WorkspaceName);
        let name = fields.required("name", Name { max: 100 });
        let rule = fields.required("rule", LeadRule);
        Some(NewSegment { name: name?, rule: rule? })
    }
}

impl Form for Changes {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Changes { name: fields.change("name", Name { max: 100 }), rule: fields.change("rule", LeadRule) })
    }
}

impl Form for Preview {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        fields.optional("workspace_slug", WorkspaceName);
        fields.required("rule", LeadRule).map(Preview)
    }
}

/// A rule over leads that can be asked.
struct LeadRule;

impl shared::http::form::Rule for LeadRule {
    type Value = Map<String, Value>;

    fn check(&self, raw: Raw<'_>) -> std::result::Result<Map<String, Value>, String> {
        let Raw::Json(Value::Object(object)) = raw else { return Err("must be an object".into()) };
        Rule::parse(object).map_err(|fault| fault.to_string())?;
        Ok(object.clone())
    }

    fn schema(&self) -> Value {
        json!({
            "type": "object",
            "additionalProperties": true,
            "description": "`{\"all\": […]}`, `{\"any\": […]}`, `{\"not\": …}` or `{\"field\", \"op\", \"value\"}`, at most 4 deep.",
        })
    }
}
