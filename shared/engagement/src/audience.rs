//! Who is in an audience, page by page, and who of them gets the campaign. A dry run and the enrolment read the same pages.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use records::admission::{Admission, Candidate, Refusal};
use records::audience::{Audience, Chosen};
use records::campaign::CampaignId;
use records::campaign_plan::Place;
use records::campaign_settings::CampaignSettings;
use records::enrolment::{Enrolment, Outcome};
use records::lead::{Lead, LeadId};
use records::lead_list::{LeadList, LeadListId, LeadListMember};
use records::rule::Rule;
use records::segment::{Segment, SegmentId};
use records::suppression::{AddressHash, Reason, Suppression};
use shared::Result;
use shared::model::user::Email;
use shared::store::{InTenant, InWorkspace, Record};
use shared::tenancy::{TenantStore, WorkspaceStore};

/// An audience, with what it names as far as that is there.
pub struct Reader<'a> {
    store: &'a WorkspaceStore,
    outer: &'a TenantStore,
    audience: &'a Audience,
    admission: Admission,
    segments: BTreeMap<SegmentId, Rule>,
    /// What it names and is not there any more.
    pub gone: Vec<&'static str>,
}

/// A part of an audience.
pub struct Page {
    pub leads: Vec<Decided>,
    /// Where the next one begins. `None`: this is the last.
    pub next: Option<Place>,
    /// How many leads were looked at.
    pub passed: usize,
}

/// A lead of an audience.
pub struct Decided {
    pub lead: LeadId,
    /// `None`: it was deleted.
    pub email: Option<Email>,
    pub decision: Result<(), Refusal>,
}

/// Parts of a workspace that are looked through for one page, where few leads are meant.
const MOST_PARTS: usize = 10;

impl<'a> Reader<'a> {
    pub async fn of(
        store: &'a WorkspaceStore,
        outer: &'a TenantStore,
        settings: &CampaignSettings,
        audience: &'a Audience,
    ) -> Result<Self> {
        let keys: Vec<_> = audience.segments().into_iter().map(Segment::key_of).collect();
        let all_lists = LeadList::all();
        let (lists, segments) = tokio::try_join!(store.all(&all_lists), store.find_many(&keys))?;
        let lists: BTreeSet<LeadListId> = lists.into_iter().map(|list| list.id).collect();
        let segments: BTreeMap<SegmentId, Rule> = segments.iter().filter_map(|segment| Some((segment.id, segment.parsed()?))).collect();
        let mut gone = vec![];
        gone.extend(audience.lists().iter().any(|list| !lists.contains(list)).then_some("list"));
        gone.extend(audience.segments().iter().any(|segment| !segments.contains_key(segment)).then_some("segment"));
        let excluded = audience.exclude.segment.and_then(|segment| Some((segment, segments.get(&segment)?.clone())));
        let admission = Admission {
            required: settings.required_variables.clone(),
            excluded_lists: audience.exclude.lists.iter().filter(|list| lists.contains(list)).copied().collect(),
            excluded_segment: excluded,
            lists,
        };
        Ok(Reader { store, outer, audience, admission, segments, gone })
    }

    /// About `at_most` leads from a place on. `seen` has those before them; another one of these is a repetition.
    pub async fn page(&self, place: Option<Place>, at_most: usize, seen: &mut BTreeSet<LeadId>) -> Result<Page> {
        let place = place.unwrap_or_default();
        let (named, leads, next, passed) = match &self.audience.of {
            Chosen::Leads(leads) => self.of_named(leads, place, at_most).await?,
            Chosen::Lists(lists) => self.of_lists(lists, place, at_most).await?,
            Chosen::Segment(segment) => match self.segments.get(segment) {
                Some(rule) => {
                    let is_meant = |lead: &Lead| rule.matches(&self.admission.as_it_is(lead), self.store.now());
                    self.of_workspace(is_meant, place, at_most).await?
                }
                None => (vec![], HashMap::new(), None, 0),
            },
            Chosen::Tag(tag) => self.of_workspace(|lead| lead.has_tag(tag), place, at_most).await?,
        };
        let (suppressed, elsewhere) = tokio::try_join!(self.suppressed(leads.values()), self.elsewhere(&named))?;
        let decide = |id: LeadId| {
            let lead = leads.get(&id);
            let suppressed = lead.and_then(|lead| suppressed.get(&AddressHash::of(&lead.email).to_string()).copied());
            let candidate = Candidate { lead, is_repeated: !seen.insert(id), suppressed, enrolled_in: elsewhere.get(&id).copied() };
            let decision = self.admission.decide(&candidate, self.store.now());
            Decided { lead: id, email: lead.map(|lead| lead.email.clone()), decision }
        };
        Ok(Page { leads: named.into_iter().map(decide).collect(), next, passed })
    }

    async fn of_named(&self, all: &[LeadId], place: Place, at_most: usize) -> Result<Part> {
        let rest = all.get(place.number as usize..).unwrap_or_default();
        let named: Vec<LeadId> = rest.iter().take(at_most).copied().collect();
        let next = (rest.len() > named.len()).then(|| Place { number: place.number + named.len() as u32, after: None });
        let (leads, passed) = (self.by_id(&named).await?, named.len());
        Ok((named, leads, next, passed))
    }

    /// One list after the other. Who is on two is named twice.
    async fn of_lists(&self, lists: &[LeadListId], place: Place, at_most: usize) -> Result<Part> {
        let Some(list) = lists.get(place.number as usize) else { return Ok((vec![], HashMap::new(), None, 0)) };
        let next_list = Some(Place { number: place.number + 1, after: None }).filter(|next| (next.number as usize) < lists.len());
        // One that was deleted has nobody.
        if !self.admission.lists.contains(list) {
            return Ok((vec![], HashMap::new(), next_list, 0));
        }
        let after = place.after.map(|lead| LeadListMember::key_of(*list, lead));
        let (members, more) = self.store.after(&LeadListMember::on(*list), after.as_ref(), at_most).await?;
        let named: Vec<LeadId> = members.iter().map(|member| member.lead).collect();
        let next = match more {
            Some(_) => Some(Place { after: named.last().copied(), ..place }),
            None => next_list,
        };
        let (leads, passed) = (self.by_id(&named).await?, named.len());
        Ok((named, leads, next, passed))
    }

    /// Every lead of the workspace is asked.
    async fn of_workspace(&self, is_meant: impl Fn(&Lead) -> bool, place: Place, at_most: usize) -> Result<Part> {
        let (mut named, mut leads, mut passed, mut after) = (vec![], HashMap::new(), 0, place.after);
        for _ in 0..MOST_PARTS {
            let (some, more) = self.store.after(&Lead::all(), after.map(Lead::key_of).as_ref(), at_most).await?;
            passed += some.len();
            after = some.last().map(|lead| lead.id).or(after);
            for lead in some.into_iter().filter(|lead| is_meant(lead)) {
                named.push(lead.id);
                leads.insert(lead.id, lead);
            }
            if more.is_none() {
                return Ok((named, leads, None, passed));
            }
            if named.len() * 2 > at_most {
                break;
            }
        }
        Ok((named, leads, Some(Place { number: 0, after }), passed))
    }

    async fn by_id(&self, ids: &[LeadId]) -> Result<HashMap<LeadId, Lead>> {
        let keys: Vec<_> = ids.iter().collect::<BTreeSet<_>>().into_iter().copied().map(Lead::key_of).collect();
        Ok(self.store.find_many(&keys).await?.into_iter().map(|lead| (lead.id, lead)).collect())
    }

    /// Why addresses get no mail, by their hashes.
    async fn suppressed(&self, leads: impl Iterator<Item = &Lead> + Clone) -> Result<HashMap<String, Reason>> {
        let own: Vec<_> = leads.clone().map(|lead| Suppression::<InWorkspace>::key_of(&lead.email)).collect();
        let of_tenant: Vec<_> = leads.map(|lead| Suppression::<InTenant>::key_of(&lead.email)).collect();
        let (own, of_tenant) = tokio::try_join!(self.store.find_many(&own), self.outer.find_many(&of_tenant))?;
        let own = own.into_iter().map(|found| (found.address, found.current));
        let of_tenant = of_tenant.into_iter().map(|found| (found.address, found.current));
        Ok(own.chain(of_tenant).filter_map(|(hash, current)| Some((hash.to_string(), current?.reason))).collect())
    }

    /// Which of the excluded campaigns leads are in. Who was left out there is not.
    async fn elsewhere(&self, leads: &[LeadId]) -> Result<HashMap<LeadId, CampaignId>> {
        let mut found = HashMap::new();
        for campaign in &self.audience.exclude.campaigns {
            let keys: Vec<_> = leads.iter().map(|lead| Enrolment::key_of(*campaign, *lead)).collect();
            let enrolments = self.store.find_many(&keys).await?;
            found.extend(enrolments.iter().filter(|one| one.outcome() != Outcome::Skipped).map(|one| (one.lead, *campaign)));
        }
        Ok(found)
    }
}

/// The leads that are named, those of them that are there, where it goes on, and how many were looked at.
type Part = (Vec<LeadId>, HashMap<LeadId, Lead>, Option<Place>, usize);
