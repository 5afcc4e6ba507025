//! What requests about campaigns may say.

use records::audience::{Audience, Chosen, Exclusions};
use records::campaign::{Campaign, CampaignChanges, CampaignEntry, CampaignStatus};
use records::campaign_settings::{CampaignSettings, SettingsChanges};
use records::enrolment::Outcome;
use records::lead::LeadId;
use records::rule::Fault;
use records::schedule::{MINUTES_OF_A_DAY, Window};
use records::sequence::{MOST_STEPS, Step};
use records::test_mail::TestMail;
use serde_json::Value;
use shared::http::form::{
    Clock, EmailAddress, Fields, Flag, Form, Integer, Moment, Name, OneOf, Raw, Rule, Several, Text, Timezone, WorkspaceName,
};
use shared::model::text;
use shared::model::user::Email;

use crate::rules::{
    Days, EXCLUDED_CAMPAIGNS, EXCLUDED_LISTS, GOAL, LEAD, LEADS, LISTS, MOST_BYTES, OUTCOME, Percent, RECIPIENTS, SEGMENT, STATUS, Steps,
    TAG, Variables,
};

pub struct NewCampaign {
    pub name: String,
    pub changes: CampaignChanges,
}

pub struct Changes(pub CampaignChanges);

/// Settings, each optional.
pub struct Config(pub SettingsChanges);

pub struct Copy {
    pub name: Option<String>,
}

pub struct Filters {
    search: Option<String>,
    status: Option<CampaignStatus>,
}

/// Which recipients a list shows.
pub struct RecipientFilters {
    pub outcome: Option<Outcome>,
    pub search: Option<String>,
}

/// Leads that are enrolled by hand.
pub struct Addition {
    pub leads: Vec<LeadId>,
}

/// Whose mail is tried again.
pub struct Retry {
    pub outcome: Retried,
    pub leads: Option<Vec<LeadId>>,
}

/// Who wants to see which mail, and with whose values.
pub struct TestSend {
    pub to: Vec<Email>,
    pub step: Option<u32>,
    pub lead: Option<LeadId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retried {
    Failed,
    Unknown,
}

impl Retried {
    const WORDS: &'static [&'static str] = &["failed", "unknown"];

    fn parse(word: &str) -> Option<Self> {
        Retried::WORDS.iter().position(|own| *own == word).map(|at| [Retried::Failed, Retried::Unknown][at])
    }

    pub fn outcome(self) -> Outcome {
        match self {
            Retried::Failed => Outcome::Failed,
            Retried::Unknown => Outcome::Unknown,
        }
    }
}

/// What is done with a campaign; without a word, it is launched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendAction {
    Start,
    Pause,
    Resume,
}

impl SendAction {
    const WORDS: &'static [&'static str] = &["start", "pause", "resume"];

    fn parse(word: &str) -> Option<Self> {
        SendAction::WORDS.iter().position(|own| *own == word).map(|at| [SendAction::Start, SendAction::Pause, SendAction::Resume][at])
    }
}

struct WindowForm(Window);

#[derive(Default)]
struct BrakeForm {
    bounce: Option<u32>,
    complaint: Option<u32>,
}

struct AudienceForm(Audience);

struct ExclusionsForm(Exclusions);

impl Filters {
    pub fn is_none(&self) -> bool {
        self.search.is_none() && self.status.is_none()
    }

    pub fn keep(&self, entry: &CampaignEntry) -> bool {
        self.search.as_ref().is_none_or(|search| entry.name.contains(search)) && self.status.is_none_or(|status| entry.status == status)
    }
}

impl Form for NewCampaign {
    const MAX_BYTES: usize = MOST_BYTES;

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        fields.optional("workspace_slug", WorkspaceName);
        let name = fields.required("name", Name { max: Campaign::NAME });
        let goal = fields.optional("goal", GOAL);
        let description = fields.optional("description", Text::up_to(Campaign::DESCRIPTION));
        let steps = fields.optional("sequence", Steps);
        let settings = fields.nested("settings").map(|Config(changes)| changes).unwrap_or_default();
        let audience = fields.nested("audience").map(|AudienceForm(audience)| audience);
        let start_at = fields.optional("start_at", Moment);
        let steps = steps.and_then(|steps| without_faults(fields, steps));
        let changes = CampaignChanges {
            name: None,
            goal: Some(goal),
            description: Some(description),
            settings,
            steps,
            audience: Some(audience),
            start_at: Some(start_at),
        };
        Some(NewCampaign { name: name?, changes })
    }
}

impl Form for Changes {
    const MAX_BYTES: usize = MOST_BYTES;

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let name = fields.change("name", Name { max: Campaign::NAME });
        let goal = fields.change_or_clear("goal", GOAL);
        let description = fields.change_or_clear("description", Text::up_to(Campaign::DESCRIPTION));
        let steps = fields.change_or_clear("sequence", Steps);
        let settings = fields.nested("settings").map(|Config(changes)| changes).unwrap_or_default();
        let audience = fields.nested_or_clear("audience").map(|audience| audience.map(|AudienceForm(audience)| audience));
        let start_at = fields.change_or_clear("start_at", Moment);
        let steps = steps.and_then(|steps| steps.map_or(Some(vec![]), |steps| without_faults(fields, steps)));
        Some(Changes(CampaignChanges { name, goal, description, settings, steps, audience, start_at }))
    }
}

fn without_faults(fields: &mut Fields<'_>, steps: Result<Vec<Step>, Vec<Fault>>) -> Option<Vec<Step>> {
    let faults = match steps {
        Ok(steps) => return Some(steps),
        Err(faults) => faults,
    };
    for Fault { at, problem } in faults {
        fields.refuse(&format!("sequence{at}"), &problem);
    }
    None
}

impl Form for Config {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let from_name = fields.change_or_clear("from_name", Name { max: CampaignSettings::FROM_NAME });
        let from_email = fields.change_or_clear("from_email", EmailAddress);
        let reply_to = fields.change_or_clear("reply_to", EmailAddress);
        let daily_limit = fields.change_or_clear("daily_limit", Number { min: 1, max: CampaignSettings::MOST_A_DAY });
        let window = fields.nested_or_clear("window").map(|window| window.map(|WindowForm(window)| window));
        let timezone = fields.change_or_clear("timezone", Timezone);
        let track_opens = fields.change("track_opens", Flag);
        let track_clicks = fields.change("track_clicks", Flag);
        let unsubscribe_enabled = fields.change("unsubscribe_enabled", Flag);
        let pause_on_reply = fields.change("pause_on_reply", Flag);
        let ooo_delay_days = fields.change("ooo_delay_days", Number { min: 0, max: CampaignSettings::MOST_DELAY });
        let required_variables = fields.change("required_variables", Variables);
        let BrakeForm { bounce, complaint } = fields.nested("brake").unwrap_or_default();
        Some(Config(SettingsChanges {
            from_name,
            from_email,
            reply_to,
            daily_limit,
            window,
            timezone,
            track_opens,
            track_clicks,
            unsubscribe_enabled,
            pause_on_reply,
            ooo_delay_days,
            required_variables,
            bounce,
            complaint,
        }))
    }
}

/// A whole number that fits.
struct Number {
    min: u32,
    max: u32,
}

impl Rule for Number {
    type Value = u32;

    fn check(&self, raw: Raw<'_>) -> Result<u32, String> {
        let number = Integer { min: self.min.into(), max: self.max.into() }.check(raw)?;
        u32::try_from(number).map_err(|_| "must be an integer".into())
    }

    fn schema(&self) -> Value {
        Integer { min: self.min.into(), max: self.max.into() }.schema()
    }
}

impl Form for WindowForm {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let days = fields.required("days", Days);
        let from = fields.required("from", Clock { last: MINUTES_OF_A_DAY - 1 });
        let to = fields.required("to", Clock { last: MINUTES_OF_A_DAY });
        if let (Some(from), Some(to)) = (from, to)
            && from >= to
        {
            fields.refuse("to", "must be later than from");
        }
        Some(WindowForm(Window { days: days?, from: from?, to: to? }))
    }
}

impl Form for BrakeForm {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(BrakeForm { bounce: fields.change("bounce", Percent), complaint: fields.change("complaint", Percent) })
    }
}

impl Form for AudienceForm {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let leads = fields.optional("lead_ids", LEADS);
        let lists = fields.optional("list_ids", LISTS);
        let segment = fields.optional("segment_id", SEGMENT);
        let tag = fields.optional("tag", TAG);
        let exclude = fields.nested("exclude").map(|ExclusionsForm(exclude)| exclude).unwrap_or_default();
        let given: Vec<&str> = ["lead_ids", "list_ids", "segment_id", "tag"].into_iter().filter(|name| fields.has(name)).collect();
        if given.is_empty() {
            fields.refuse("lead_ids", "is required, or one of list_ids, segment_id and tag in its place");
        }
        for name in given.iter().skip(1) {
            fields.refuse(name, &format!("must not stand beside {}", given[0]));
        }
        let of = leads.map(Chosen::Leads).or(lists.map(Chosen::Lists)).or(segment.map(Chosen::Segment)).or(tag.map(Chosen::Tag));
        Some(AudienceForm(Audience { of: of?, exclude }))
    }
}

impl Form for ExclusionsForm {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(ExclusionsForm(Exclusions {
            lists: fields.optional("list_ids", EXCLUDED_LISTS).unwrap_or_default(),
            segment: fields.optional("segment_id", SEGMENT),
            campaigns: fields.optional("campaign_ids", EXCLUDED_CAMPAIGNS).unwrap_or_default(),
        }))
    }
}

impl Form for Copy {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Copy { name: fields.optional("name", Name { max: Campaign::NAME }) })
    }
}

impl Form for Filters {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        fields.optional("workspace", WorkspaceName);
        let search = fields.optional("search", Text::at_most(255)).filter(|search| !search.is_empty());
        let status = fields.optional("status", STATUS);
        Some(Filters { search: search.map(|search| text::fold(&search)), status })
    }
}

impl Form for RecipientFilters {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        fields.optional("workspace", WorkspaceName);
        Some(RecipientFilters {
            outcome: fields.optional("outcome", OUTCOME),
            search: fields.optional("search", Text { min: 2, max: 255 }).map(|search| text::fold(&search)),
        })
    }
}

impl Form for Addition {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        fields.required("lead_ids", RECIPIENTS).map(|leads| Addition { leads })
    }
}

impl Form for Retry {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let outcome = fields.required("outcome", OneOf { words: Retried::WORDS, parse: Retried::parse });
        let leads = fields.optional("lead_ids", RECIPIENTS);
        Some(Retry { outcome: outcome?, leads })
    }
}

impl Form for TestSend {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let to = fields.required("to", Several { each: EmailAddress, min: 1, max: TestMail::MOST, key: |email| email.normalised() });
        let step = fields.optional("step", Number { min: 1, max: MOST_STEPS as u32 });
        let lead = fields.optional("lead_id", LEAD);
        Some(TestSend { to: to?, step, lead })
    }
}

impl Form for SendAction {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let action = fields.optional("action", OneOf { words: SendAction::WORDS, parse: SendAction::parse });
        Some(action.unwrap_or(SendAction::Start))
    }
}
