//! Who would get a campaign, who would not and why, and when the first mails would go. Nothing is written.

use std::collections::{BTreeMap, BTreeSet};

use engagement::audience::{Decided, Reader};
use engagement::launch;
use jiff::tz::TimeZone;
use records::audience::Audience;
use records::campaign::{Campaign, Problem};
use records::lead::Lead;
use records::schedule::Pace;
use serde::Serialize;
use shared::http::answer::Answer;
use shared::http::arguments::{Body, Found, Total};
use shared::http::form::NoFields;
use shared::model::user::Email;
use shared::tenancy::doors::{In, Viewer};
use shared::{Error, Result};

use crate::contents;

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

pub async fn run(door: In<Viewer>, campaign: Found<Campaign>, total: Total<Lead>, _body: Body<NoFields>) -> Result<Answer<DryRunView>> {
    let (campaign, contents) = contents::read(&door.store, campaign.0).await?;
    let mut outcome = Outcome::default();
    let mut problems = launch::of_contents(&door.store, &door.workspace.settings, &campaign, &contents.steps).await?;
    match &contents.audience {
        None => problems.push(Problem::NoLeads { chosen: false }),
        Some(audience) => {
            let gone = outcome.read(&door, &campaign, audience, total.count).await?;
            problems.extend(gone.into_iter().map(Problem::AudienceGone));
            problems.extend((outcome.would_get == 0).then_some(Problem::NoLeads { chosen: true }));
        }
    }
    let forecast = forecast(&door, &campaign, outcome.would_get)?;
    Ok(Answer::new("Success", outcome.view(forecast, &problems)))
}

fn forecast(door: &In<Viewer>, campaign: &Campaign, mails: u64) -> Result<Vec<DayView>> {
    let settings = &campaign.settings;
    let zone = TimeZone::get(&settings.timezone).map_err(|error| Error::internal("reading a campaign's zone", error))?;
    let pace = Pace { zone: &zone, window: settings.window.as_ref(), daily_limit: settings.daily_limit };
    let start = campaign.start_at.map_or(door.now(), |start_at| start_at.max(door.now()));
    let days = pace.forecast(mails, start);
    Ok(days.into_iter().map(|(date, mails)| DayView { date: date.to_string(), mails }).collect())
}

#[derive(Default)]
struct Outcome {
    would_get: u64,
    excluded: BTreeMap<&'static str, u64>,
    examples: BTreeMap<&'static str, Vec<ExampleView>>,
}

impl Outcome {
    /// Counts all of an audience. Gives what it names and is not there any more.
    async fn read(&mut self, door: &In<Viewer>, campaign: &Campaign, audience: &Audience, total: u64) -> Result<Vec<&'static str>> {
        if total > Lead::MAX_PASSED {
            let most = Lead::MAX_PASSED;
            let sentence = format!("A dry run is for workspaces of at most {most} leads, and this one has {total}.");
            return Err(Error::BadRequest(sentence.into()));
        }
        let reader = Reader::of(&door.store, &door.outer.store, &campaign.settings, audience).await?;
        let (mut place, mut seen) = (None, BTreeSet::new());
        loop {
            let page = reader.page(place, AT_ONCE, &mut seen).await?;
            if seen.len() > MOST {
                return Err(Error::BadRequest(
                    format!("A dry run is for audiences of at most {MOST} leads, and this one has more.").into(),
                ));
            }
            page.leads.into_iter().for_each(|lead| self.add(lead));
            match page.next {
                Some(next) => place = Some(next),
                None => return Ok(reader.gone),
            }
        }
    }

    fn add(&mut self, lead: Decided) {
        let Err(refusal) = lead.decision else {
            self.would_get += 1;
            return;
        };
        *self.excluded.entry(refusal.word()).or_default() += 1;
        let examples = self.examples.entry(refusal.word()).or_default();
        if examples.len() < EXAMPLES {
            examples.push(ExampleView { lead_id: lead.lead.prefixed(), email: lead.email, detail: refusal.detail() });
        }
    }

    fn view(self, forecast: Vec<DayView>, problems: &[Problem]) -> DryRunView {
        let Outcome { would_get, excluded, examples } = self;
        let problem = |problem: &Problem| ProblemView { code: problem.lack().code(), message: problem.sentence() };
        DryRunView { would_get, excluded, examples, forecast, problems: problems.iter().map(problem).collect() }
    }
}
