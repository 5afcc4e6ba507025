//! Who would get a campaign, who would not and why, and when the first mails would go. Nothing is written.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::tz::TimeZone;
use records::admission::{Admission, Candidate, Refusal};
use records::audience::{Audience, Chosen};
use records::campaign::{Campaign, Problem, problems};
use records::lead::{Lead, LeadId};
use records::lead_list::{LeadList, LeadListId, LeadListMember};
use records::rule::Rule;
use records::schedule::Pace;
use records::segment::{Segment, SegmentId};
use records::sequence;
use records::suppression::{AddressHash, Reason, Suppression};
use records::template::{Template, TemplateId};
use serde::Serialize;
use shared::http::answer::Answer;
use shared::http::arguments::{Body, Found, Total};
use shared::model::user::Email;
use shared::store::{InTenant, InWorkspace, Record};
use shared::tenancy::WorkspaceStore;
use shared::tenancy::doors::{In, Viewer};
use shared::{Error, Result};

use crate::contents::{self, Contents};
use crate::forms::Nothing;

/// Leads of an audience. Each is read, with what may keep it from a mail.
const MOST: usize = 2_000;
/// Leads that are shown for a reason.
const EXAMPLES: usize = 100;
const AT_ONCE: usize = 1_000;

/// What a launch would do at this moment.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = DryRun)]
pub struct DryRunView {
    /// How many leads.
    would_get: u64,
    /// How many would not, by reason.
    #[schema(value_type = BTreeMap<String, u64>)]
    excluded: BTreeMap<&'static str, u64>,
    /// Up to a hundred of them, by reason.
    #[schema(value_type = BTreeMap<String, Vec<ExampleView>>)]
    examples: BTreeMap<&'static str, Vec<ExampleView>>,
    /// First mails, by day of the campaign's zone.
    forecast: Vec<DayView>,
    /// What a launch would be refused for.
    problems: Vec<ProblemView>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = DryRunExample)]
pub struct ExampleView {
    lead_id: String,
    /// Null: the lead was deleted.
    email: Option<Email>,
    /// What exactly, where the reason does not say it: the reason of the suppression, the list or segment, the variables without a value.
    detail: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = DryRunDay)]
struct DayView {
    #[schema(format = Date)]
    date: String,
    mails: u64,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = DryRunProblem)]
struct ProblemView {
    code: &'static str,
    message: String,
}

pub async fn run(door: In<Viewer>, campaign: Found<Campaign>, total: Total<Lead>, _body: Body<Nothing>) -> Result<Answer<DryRunView>> {
    let (campaign, contents) = contents::read(&door.store, campaign.0).await?;
    let mut outcome = Outcome::default();
    let mut problems = of_campaign(&door, &campaign, &contents).await?;
    match &contents.audience {
        None => problems.push(Problem::NoLeads { chosen: false }),
        Some(audience) => {
            let asked = Asked::of(&door.store, &campaign, audience, total.count).await?;
            outcome = asked.outcome(&door, audience).await?;
            problems.extend(asked.gone.into_iter().map(Problem::AudienceGone));
            problems.extend((outcome.would_get == 0).then_some(Problem::NoLeads { chosen: true }));
        }
    }
    let forecast = forecast(&door, &campaign, outcome.would_get)?;
    Ok(Answer::new("Success", outcome.view(forecast, &problems)))
}

async fn of_campaign(door: &In<Viewer>, campaign: &Campaign, contents: &Contents) -> Result<Vec<Problem>> {
    let keys: Vec<_> = sequence::templates(&contents.steps).into_iter().map(Template::key_of).collect();
    let there: BTreeSet<TemplateId> = door.store.find_many(&keys).await?.into_iter().map(|template| template.id).collect();
    Ok(problems(&campaign.settings, &contents.steps, |template| there.contains(&template), &door.workspace.settings))
}

fn forecast(door: &In<Viewer>, campaign: &Campaign, mails: u64) -> Result<Vec<DayView>> {
    let settings = &campaign.settings;
    let zone = TimeZone::get(&settings.timezone).map_err(|error| Error::internal("reading a campaign's zone", error))?;
    let pace = Pace { zone: &zone, window: settings.window.as_ref(), daily_limit: settings.daily_limit };
    let start = campaign.start_at.map_or(door.now(), |start_at| start_at.max(door.now()));
    let days = pace.forecast(mails, start);
    Ok(days.into_iter().map(|(date, mails)| DayView { date: date.to_string(), mails }).collect())
}

/// What is known of an audience before its leads are read.
struct Asked {
    admission: Admission,
    segments: BTreeMap<SegmentId, Rule>,
    /// What it names and is not there any more.
    gone: Vec<&'static str>,
}

impl Asked {
    async fn of(store: &WorkspaceStore, campaign: &Campaign, audience: &Audience, total: u64) -> Result<Self> {
        if total > Lead::MAX_PASSED {
            let most = Lead::MAX_PASSED;
            let sentence = format!("A dry run is for workspaces of at most {most} leads, and this one has {total}.");
            return Err(Error::BadRequest(sentence.into()));
        }
        let keys: Vec<_> = audience.segments().into_iter().map(Segment::key_of).collect();
        let (lists, segments) = (store.all(&LeadList::all()).await?, store.find_many(&keys).await?);
        let lists: BTreeSet<LeadListId> = lists.into_iter().map(|list| list.id).collect();
        let segments: BTreeMap<SegmentId, Rule> = segments.iter().filter_map(|segment| Some((segment.id, segment.parsed()?))).collect();
        let mut gone = vec![];
        gone.extend(audience.lists().iter().any(|list| !lists.contains(list)).then_some("list"));
        gone.extend(audience.segments().iter().any(|segment| !segments.contains_key(segment)).then_some("segment"));
        let excluded = audience.exclude.segment.and_then(|segment| Some((segment, segments.get(&segment)?.clone())));
        let admission = Admission {
            required: campaign.settings.required_variables.clone(),
            excluded_lists: audience.exclude.lists.iter().filter(|list| lists.contains(list)).copied().collect(),
            excluded_segment: excluded,
            lists,
        };
        Ok(Asked { admission, segments, gone })
    }

    async fn outcome(&self, door: &In<Viewer>, audience: &Audience) -> Result<Outcome> {
        let store = &door.store;
        let (named, leads) = match &audience.of {
            Chosen::Leads(leads) => (leads.clone(), by_id(store, leads).await?),
            Chosen::Lists(lists) => {
                let named = self.members(store, lists).await?;
                let leads = by_id(store, &named).await?;
                (named, leads)
            }
            Chosen::Segment(segment) => match self.segments.get(segment) {
                Some(rule) => passed(store, |lead| rule.matches(&self.admission.as_it_is(lead), store.now())).await?,
                None => (vec![], HashMap::new()),
            },
            Chosen::Tag(tag) => passed(store, |lead| lead.has_tag(tag)).await?,
        };
        let suppressed = suppressed(door, leads.values()).await?;
        let (mut outcome, mut seen) = (Outcome::default(), BTreeSet::new());
        for id in named {
            let lead = leads.get(&id);
            let reason = lead.and_then(|lead| suppressed.get(&AddressHash::of(&lead.email).to_string()).copied());
            let candidate = Candidate { lead, is_repeated: !seen.insert(id), suppressed: reason };
            outcome.add(id, lead, self.admission.decide(&candidate, store.now()));
        }
        Ok(outcome)
    }

    /// Those on the lists, one list after the other. Who is on two is named twice.
    async fn members(&self, store: &WorkspaceStore, lists: &[LeadListId]) -> Result<Vec<LeadId>> {
        let (mut named, mut each) = (vec![], BTreeSet::new());
        for list in lists.iter().filter(|list| self.admission.lists.contains(list)) {
            let (members, mut place) = (LeadListMember::on(*list), None);
            loop {
                let (some, next) = store.after(&members, place.as_ref(), AT_ONCE).await?;
                each.extend(some.iter().map(|member| member.lead));
                named.extend(some.iter().map(|member| member.lead));
                not_too_many(each.len())?;
                match next {
                    Some(next) => place = Some(next),
                    None => break,
                }
            }
        }
        Ok(named)
    }
}

async fn by_id(store: &WorkspaceStore, ids: &[LeadId]) -> Result<HashMap<LeadId, Lead>> {
    let keys: Vec<_> = ids.iter().collect::<BTreeSet<_>>().into_iter().copied().map(Lead::key_of).collect();
    Ok(store.find_many(&keys).await?.into_iter().map(|lead| (lead.id, lead)).collect())
}

/// Asks every lead of the workspace.
async fn passed(store: &WorkspaceStore, is_meant: impl Fn(&Lead) -> bool) -> Result<(Vec<LeadId>, HashMap<LeadId, Lead>)> {
    let (mut named, mut leads, mut place) = (vec![], HashMap::new(), None);
    loop {
        let (some, next) = store.after(&Lead::all(), place.as_ref(), AT_ONCE).await?;
        for lead in some.into_iter().filter(|lead| is_meant(lead)) {
            named.push(lead.id);
            leads.insert(lead.id, lead);
        }
        not_too_many(named.len())?;
        match next {
            Some(next) => place = Some(next),
            None => return Ok((named, leads)),
        }
    }
}

fn not_too_many(leads: usize) -> Result<()> {
    if leads > MOST {
        return Err(Error::BadRequest(format!("A dry run is for audiences of at most {MOST} leads, and this one has more.").into()));
    }
    Ok(())
}

/// Why addresses get no mail, by their hashes.
async fn suppressed(door: &In<Viewer>, leads: impl Iterator<Item = &Lead> + Clone) -> Result<HashMap<String, Reason>> {
    let own: Vec<_> = leads.clone().map(|lead| Suppression::<InWorkspace>::key_of(&lead.email)).collect();
    let of_tenant: Vec<_> = leads.map(|lead| Suppression::<InTenant>::key_of(&lead.email)).collect();
    let (own, of_tenant) = tokio::try_join!(door.store.find_many(&own), door.outer.store.find_many(&of_tenant))?;
    let own = own.into_iter().map(|found| (found.address, found.current));
    let of_tenant = of_tenant.into_iter().map(|found| (found.address, found.current));
    Ok(own.chain(of_tenant).filter_map(|(hash, current)| Some((hash.to_string(), current?.reason))).collect())
}

#[derive(Default)]
struct Outcome {
    would_get: u64,
    excluded: BTreeMap<&'static str, u64>,
    examples: BTreeMap<&'static str, Vec<ExampleView>>,
}

impl Outcome {
    fn add(&mut self, id: LeadId, lead: Option<&Lead>, decided: Result<(), Refusal>) {
        let Err(refusal) = decided else {
            self.would_get += 1;
            return;
        };
        *self.excluded.entry(refusal.word()).or_default() += 1;
        let examples = self.examples.entry(refusal.word()).or_default();
        if examples.len() < EXAMPLES {
            let email = lead.map(|lead| lead.email.clone());
            examples.push(ExampleView { lead_id: id.prefixed(), email, detail: refusal.detail() });
        }
    }

    fn view(self, forecast: Vec<DayView>, problems: &[Problem]) -> DryRunView {
        let Outcome { would_get, excluded, examples } = self;
        let problem = |problem: &Problem| ProblemView { code: problem.code(), message: problem.sentence() };
        DryRunView { would_get, excluded, examples, forecast, problems: problems.iter().map(problem).collect() }
    }
}
