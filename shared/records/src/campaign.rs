//! Campaigns: what is written to whom and how, in which state that is, and what may be done in it. Its steps and its audience lie apart from it, so that
//! lists, and whoever sends, do not read them.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::audience::Audience;
use crate::campaign_plan::CampaignPlan;
use crate::campaign_settings::{CampaignSettings, SettingsChanges};
use crate::sequence::{EmailBody, EmailStep, SequenceMark, Step, number_of};
use crate::template::TemplateId;
use shared::error::Lack;
use shared::model::text;
use shared::model::workspace::WorkspaceSettings;
use shared::store::{Collection, Counter, Entity, IN_WORKSPACE, InWorkspace, Key, List, ListEntry, Listed, Named, Packed, Restore, Within};
use shared::{Error, Result, id};

id!(/// A campaign of a workspace.
    CampaignId = "cmp", in_workspace);

/// `campaigns` / `<id>`: newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Campaign {
    pub id: CampaignId,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<Goal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub status: CampaignStatus,
    pub settings: CampaignSettings,
    pub sequence: SequenceMark,
    /// The digest of its audience; `None`: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// `None`: as soon as it is launched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<Timestamp>,
    /// Why it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_by: Option<PausedBy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launched_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    #[serde(flatten)]
    pub numbers: CampaignNumbers,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Counts edits.
    pub version: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CampaignGoal)]
pub enum Goal {
    Awareness,
    LeadGen,
    Sales,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CampaignStatus {
    Draft,
    Scheduled,
    Active,
    Paused,
    Completed,
}

/// Numbers of the item, which move without an edit: mails that were sent, that failed and of which nobody knows, and leads that did something for the
/// first time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CampaignNumbers {
    pub sent: u64,
    pub opened: u64,
    pub clicked: u64,
    pub replied: u64,
    pub bounced: u64,
    pub complained: u64,
    pub unsubscribed: u64,
    pub failed: u64,
    /// Below zero for a moment, when a report settles a mail before the loss of it is counted.
    pub unknown: i64,
    /// Of leads that were enrolled and left out since.
    pub dropped: u64,
    /// How often any of them moved, or leads were put back among those who wait.
    pub moves: u64,
}

/// Who or what paused a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CampaignPause)]
pub enum PausedBy {
    /// A person.
    Manual,
    /// It was to start hours ago, and nothing could do so.
    MissedStart,
    /// What a launch asks for was missing: when it was to start, or later when a mail was to go.
    Guard,
    /// Too many bounces or complaints.
    Deliverability,
    /// The carrier does not send from its domain.
    Carrier,
    /// It came with an import: where it came from, it may go on.
    Import,
}

/// What an edit changes; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct CampaignChanges {
    pub name: Option<String>,
    pub goal: Option<Option<Goal>>,
    pub description: Option<Option<String>>,
    pub settings: SettingsChanges,
    /// All of them.
    pub steps: Option<Vec<Step>>,
    pub audience: Option<Option<Audience>>,
    pub start_at: Option<Option<Timestamp>>,
}

impl Goal {
    pub const WORDS: &'static [&'static str] = &["awareness", "lead_gen", "sales"];

    pub fn parse(word: &str) -> Option<Self> {
        Goal::WORDS.iter().position(|own| *own == word).map(|at| [Goal::Awareness, Goal::LeadGen, Goal::Sales][at])
    }
}

impl CampaignStatus {
    pub const WORDS: &'static [&'static str] = &["draft", "scheduled", "active", "paused", "completed"];
    const ALL: [CampaignStatus; 5] =
        [CampaignStatus::Draft, CampaignStatus::Scheduled, CampaignStatus::Active, CampaignStatus::Paused, CampaignStatus::Completed];

    pub fn parse(word: &str) -> Option<Self> {
        CampaignStatus::WORDS.iter().position(|own| *own == word).map(|at| CampaignStatus::ALL[at])
    }

    /// Whether leads may get mails, or will.
    pub fn is_launched(self) -> bool {
        matches!(self, CampaignStatus::Scheduled | CampaignStatus::Active | CampaignStatus::Paused)
    }

    pub fn is_active(self) -> bool {
        self == CampaignStatus::Active
    }

    /// What was sent stays as it was.
    pub fn check_edit(self) -> Result<()> {
        match self {
            CampaignStatus::Completed => Err(Error::CampaignState("A completed campaign takes no changes.")),
            _ => Ok(()),
        }
    }

    /// What may send is paused first.
    pub fn check_delete(self) -> Result<()> {
        match self {
            CampaignStatus::Draft | CampaignStatus::Paused | CampaignStatus::Completed => Ok(()),
            CampaignStatus::Scheduled | CampaignStatus::Active => {
                Err(Error::CampaignState("A campaign that is scheduled or active cannot be deleted. Pause it first."))
            }
        }
    }
}

impl Campaign {
    pub const NOUN: &'static str = "Campaign";
    pub const COUNT: Counter = Counter::named("campaigns");
    /// In one workspace: a pass over their lines serves filters.
    pub const MOST: u64 = 5_000;
    pub const NAME: usize = 200;
    pub const DESCRIPTION: usize = 2_000;
    /// Mails after which shares of bounces and complaints mean something.
    const BRAKES_AFTER: u64 = 500;
    /// How late a campaign may start.
    pub const LATEST_START: SignedDuration = SignedDuration::from_hours(6);
    /// How far ahead a campaign may start.
    const MOST_AHEAD: SignedDuration = SignedDuration::from_hours(365 * 24);

    /// A draft, in a workspace of that zone.
    pub fn new(id: CampaignId, name: String, timezone: &str, now: Timestamp) -> Self {
        Campaign {
            id,
            name,
            goal: None,
            description: None,
            status: CampaignStatus::Draft,
            settings: CampaignSettings::new(timezone),
            sequence: SequenceMark::of(&[]),
            audience: None,
            start_at: None,
            paused_by: None,
            launched_at: None,
            completed_at: None,
            numbers: CampaignNumbers::default(),
            created_at: now,
            updated_at: now,
            version: 1,
        }
    }

    /// Another draft that says the same. When it starts is for whoever copies it to say.
    pub fn copied(&self, id: CampaignId, name: String, now: Timestamp) -> Self {
        let Campaign { goal, description, settings, sequence, audience, .. } = self.clone();
        Campaign { goal, description, settings, sequence, audience, ..Campaign::new(id, name, "", now) }
    }

    /// `None`: it is so already.
    pub fn changed(&self, changes: &CampaignChanges, timezone: &str, now: Timestamp) -> Result<Option<Self>> {
        self.status.check_edit()?;
        let changed = self.with(changes, timezone, now)?;
        Ok((changed != *self).then(|| Campaign { updated_at: now, version: self.version + 1, ..changed }))
    }

    /// Launched, or going on: at once, or at the moment when it is to start.
    pub fn launched(&self, now: Timestamp) -> Result<Self> {
        let is_ahead = self.start_at.is_some_and(|start_at| start_at > now) && self.launched_at.is_none();
        let status = if is_ahead { CampaignStatus::Scheduled } else { CampaignStatus::Active };
        let launched_at = if is_ahead { None } else { self.launched_at.or(Some(now)) };
        Ok(Campaign { status, launched_at, paused_by: None, updated_at: now, version: self.version + 1, ..self.clone() })
    }

    pub fn paused(&self, by: PausedBy, now: Timestamp) -> Result<Self> {
        match self.status {
            CampaignStatus::Scheduled | CampaignStatus::Active => {}
            _ => return Err(Error::CampaignState("Only a scheduled or an active campaign can be paused.")),
        }
        let status = CampaignStatus::Paused;
        Ok(Campaign { status, paused_by: Some(by), updated_at: now, version: self.version + 1, ..self.clone() })
    }

    pub fn completed(&self, now: Timestamp) -> Self {
        let status = CampaignStatus::Completed;
        Campaign { status, completed_at: Some(now), updated_at: now, version: self.version + 1, ..self.clone() }
    }

    /// Whether leads may be put among those who wait. Before it began, its steps may still become others.
    pub fn check_waiting(&self) -> Result<()> {
        match self.status {
            CampaignStatus::Active | CampaignStatus::Paused if self.launched_at.is_some() => Ok(()),
            CampaignStatus::Completed => Err(Error::CampaignState("A completed campaign sends nothing more.")),
            _ => Err(Error::CampaignState("The campaign has not begun.")),
        }
    }

    /// With other numbers. Whoever counts on those before, such as its end, is refused.
    pub fn moved(&self, by: impl FnOnce(&mut CampaignNumbers)) -> Self {
        let mut moved = self.clone();
        by(&mut moved.numbers);
        moved.numbers.moves += 1;
        moved
    }

    /// Whether so many bounces or complaints came that it must not go on.
    pub fn must_brake(&self) -> bool {
        let CampaignNumbers { sent, bounced, complained, .. } = self.numbers;
        let share = |of: u64, most: u32| of * 10_000 > sent * u64::from(most);
        sent >= Campaign::BRAKES_AFTER && (share(bounced, self.settings.brake.bounce) || share(complained, self.settings.brake.complaint))
    }

    /// With these changes, as for a campaign that is not stored yet.
    pub fn with(&self, changes: &CampaignChanges, timezone: &str, now: Timestamp) -> Result<Self> {
        let mut campaign = self.clone();
        let CampaignChanges { name, goal, description, settings, steps, audience, start_at } = changes;
        campaign.name = name.clone().unwrap_or(campaign.name);
        campaign.goal = goal.unwrap_or(campaign.goal);
        campaign.description = description.clone().unwrap_or(campaign.description);
        campaign.settings = campaign.settings.with(settings, timezone);
        if let Some(steps) = steps {
            campaign.sequence = SequenceMark::of(steps);
        }
        if let Some(audience) = audience {
            campaign.audience = audience.as_ref().map(Audience::digest);
        }
        if campaign.audience != self.audience && self.launched_at.is_some() {
            return Err(Error::CampaignState("A launched campaign keeps its audience."));
        }
        if let Some(start_at) = *start_at
            && start_at != self.start_at
        {
            if self.launched_at.is_some() {
                return Err(Error::CampaignState("A launched campaign has started already."));
            }
            check_start(start_at, now)?;
            campaign.start_at = start_at;
        }
        Ok(campaign)
    }

    /// Whether these are its steps and its audience. They are read apart, and may be those before or after an edit.
    pub fn holds(&self, steps: &[Step], audience: Option<&Audience>) -> bool {
        self.sequence == SequenceMark::of(steps) && self.audience == audience.map(Audience::digest)
    }

    /// What a copy is called; cut where it would become too long.
    pub fn copy_name(name: &str) -> String {
        let mut copy: String = format!("Copy of {name}").chars().take(Campaign::NAME).collect();
        // The cut may leave half of what belongs together.
        while text::name(&copy).is_err() && copy.pop().is_some() {}
        copy.trim().to_owned()
    }

    /// The version; then how often its numbers moved, which is not an edit.
    pub fn etag(&self) -> String {
        format!("\"{}.{}\"", self.version, self.numbers.moves)
    }

    /// Of an answer that also shows how far it is.
    pub fn etag_with(&self, plan: Option<&CampaignPlan>) -> String {
        match plan {
            Some(plan) => format!("\"{}.{}.{}\"", self.version, self.numbers.moves, plan.version),
            None => self.etag(),
        }
    }

    pub fn key_of(id: CampaignId) -> Key<Self> {
        Key::new(&Collection::of::<Campaign>(), id)
    }

    pub fn all() -> List<Self> {
        List::new(Collection::of::<Campaign>(), "")
    }
}

fn check_start(start_at: Option<Timestamp>, now: Timestamp) -> Result<()> {
    match start_at {
        Some(start_at) if start_at <= now => Err(Error::field("start_at", "The start_at field must be in the future.")),
        Some(start_at) if start_at.duration_since(now) > Campaign::MOST_AHEAD => {
            Err(Error::field("start_at", "The start_at field must be within 365 days."))
        }
        _ => Ok(()),
    }
}

impl Entity for Campaign {
    type Scope = InWorkspace;
    const TYPE: &'static str = "campaign";
    const COLLECTION: &'static str = "campaigns";
    const WITHIN: Option<Within> = Some(IN_WORKSPACE);
    const COUNTER: Option<Counter> = Some(Campaign::COUNT);
    const NOUN: Option<&'static str> = Some(Campaign::NOUN);
    /// Where it came from it may go on, so here it waits for a person.
    const RESTORE: Option<Restore> = Some(|data| {
        let campaign: Campaign = serde_json::from_value(data).ok()?;
        let status = campaign.status;
        let paused = Campaign { status: CampaignStatus::Paused, paused_by: Some(PausedBy::Import), ..campaign.clone() };
        Packed::of(if matches!(status, CampaignStatus::Scheduled | CampaignStatus::Active) { &paused } else { &campaign }).ok()
    });

    fn key(&self) -> Key<Self> {
        Campaign::key_of(self.id)
    }

    /// With the numbers: an edit must not overwrite them.
    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version), ("moves", self.numbers.moves)]
    }

    fn list_entry(&self) -> Result<Option<ListEntry>> {
        ListEntry::of(self)
    }
}

impl Named for Campaign {
    type Id = CampaignId;

    fn places(id: CampaignId) -> Vec<Key<Self>> {
        vec![Campaign::key_of(id)]
    }
}

/// What lists of campaigns filter by; text is folded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CampaignEntry {
    pub name: String,
    pub status: CampaignStatus,
}

impl Listed for Campaign {
    type Entry = CampaignEntry;

    fn entry(&self) -> CampaignEntry {
        CampaignEntry { name: text::fold(&self.name), status: self.status }
    }
}

/// What a launch would be refused for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// Whether there is an audience at all.
    NoLeads {
        chosen: bool,
    },
    NoEmail,
    /// The number of an email without subject or body.
    Incomplete {
        step: u32,
        missing: &'static str,
    },
    TemplateGone {
        step: u32,
    },
    AudienceGone(&'static str),
    NoSenderName,
    NoAddress,
}

impl Problem {
    /// For programs, which know it by its code.
    pub fn lack(&self) -> Lack {
        match self {
            Problem::NoLeads { .. } => Lack::Leads,
            Problem::NoEmail | Problem::Incomplete { .. } => Lack::Emails,
            Problem::TemplateGone { .. } => Lack::Template,
            Problem::AudienceGone(_) => Lack::Audience,
            Problem::NoSenderName => Lack::SenderName,
            Problem::NoAddress => Lack::SenderAddress,
        }
    }

    pub fn sentence(&self) -> String {
        match self {
            Problem::NoLeads { chosen: false } => "The campaign has no audience.".into(),
            Problem::NoLeads { chosen: true } => "Nobody of the audience would get a mail.".into(),
            Problem::NoEmail => "The sequence has no email.".into(),
            Problem::Incomplete { step, missing } => format!("The email of step {step} has no {missing}."),
            Problem::TemplateGone { step } => format!("The template of step {step} was deleted."),
            Problem::AudienceGone(what) => format!("A {what} that the audience names was deleted."),
            Problem::NoSenderName => "There is no sender's name, neither in the campaign nor in the workspace.".into(),
            Problem::NoAddress => "The workspace has no postal address, which each mail must show.".into(),
        }
    }
}

/// What is wrong with the steps and the sender. Each email needs a body, and a subject of its own or of its template; `is_there` is asked of templates.
pub fn problems(
    settings: &CampaignSettings,
    steps: &[Step],
    is_there: impl Fn(TemplateId) -> bool,
    workspace: &WorkspaceSettings,
) -> Vec<Problem> {
    let (mut problems, mut emails) = (vec![], 0);
    for (index, step) in steps.iter().enumerate() {
        let Step::Email(EmailStep { subject, body }) = step else { continue };
        let step = number_of(index);
        emails += 1;
        match body {
            Some(EmailBody::Template(template)) if !is_there(*template) => problems.push(Problem::TemplateGone { step }),
            Some(EmailBody::Template(_)) => {}
            Some(EmailBody::Written(_)) if subject.is_some() => {}
            Some(EmailBody::Written(_)) => problems.push(Problem::Incomplete { step, missing: "subject" }),
            None => problems.push(Problem::Incomplete { step, missing: if subject.is_some() { "body" } else { "subject and no body" } }),
        }
    }
    problems.extend((emails == 0).then_some(Problem::NoEmail));
    problems.extend(sender_problems(settings, workspace));
    problems
}

/// What is wrong with the sender. It may become so at any time, so each mail asks.
pub fn sender_problems(settings: &CampaignSettings, workspace: &WorkspaceSettings) -> Vec<Problem> {
    let has_name = settings.from_name.is_some() || workspace.default_from_name.is_some();
    let no_name = (!has_name).then_some(Problem::NoSenderName);
    no_name.into_iter().chain(workspace.postal_address.is_none().then_some(Problem::NoAddress)).collect()
}

#[cfg(test)]
mod tests {
    use shared::crypto::Random;
    use shared::ids::WorkspaceId;

    use super::*;
    use crate::audience::{Chosen, Exclusions};
    use crate::template::PackedText;

    fn campaign() -> Campaign {
        let (random, now) = (Random::seeded(1), Timestamp::UNIX_EPOCH);
        Campaign::new(CampaignId::new(WorkspaceId::new(now, &random).tag(), now, &random), "Spring".into(), "Europe/Berlin", now)
    }

    fn later() -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1)
    }

    fn email(subject: Option<&str>, body: Option<&str>) -> Step {
        Step::Email(EmailStep { subject: subject.map(str::to_owned), body: body.map(|body| EmailBody::Written(PackedText::of(body))) })
    }

    fn audience() -> Audience {
        Audience { of: Chosen::Tag("vip".into()), exclude: Exclusions::default() }
    }

    #[test]
    fn states_say_what_may_be_done() {
        for status in CampaignStatus::ALL {
            assert_eq!(status.check_edit().is_ok(), status != CampaignStatus::Completed);
            assert_eq!(status.check_delete().is_ok(), !matches!(status, CampaignStatus::Scheduled | CampaignStatus::Active));
            let stored = Campaign { status, ..campaign() };
            let changes = CampaignChanges { name: Some("Summer".into()), ..CampaignChanges::default() };
            let changed = stored.changed(&changes, "UTC", later());
            assert_eq!(changed.is_ok(), status != CampaignStatus::Completed);
            assert!(stored.check_waiting().is_err(), "{status:?} and not begun");
            let began = Campaign { launched_at: Some(later()), ..stored };
            assert_eq!(began.check_waiting().is_ok(), matches!(status, CampaignStatus::Active | CampaignStatus::Paused));
        }
        for (word, status) in CampaignStatus::WORDS.iter().zip(CampaignStatus::ALL) {
            assert_eq!((serde_json::to_value(status).unwrap(), CampaignStatus::parse(word)), ((*word).into(), Some(status)));
        }
        for word in Goal::WORDS {
            assert_eq!(serde_json::to_value(Goal::parse(word).unwrap()).unwrap(), *word);
        }
    }

    #[test]
    fn an_edit_of_nothing_is_none_and_the_marks_say_what_else_changed() {
        let campaign = campaign();
        let steps = vec![email(Some("Hi"), Some("Hello"))];
        let changes = CampaignChanges {
            name: Some("Summer".into()),
            goal: Some(Some(Goal::Sales)),
            steps: Some(steps.clone()),
            audience: Some(Some(audience())),
            start_at: Some(Some(later() + SignedDuration::from_hours(1))),
            ..CampaignChanges::default()
        };
        let changed = campaign.changed(&changes, "UTC", later()).unwrap().unwrap();
        assert_eq!((changed.version, changed.updated_at, changed.sequence.steps), (2, later(), 1));
        assert!(changed.holds(&steps, Some(&audience())) && !changed.holds(&steps, None) && !changed.holds(&[], Some(&audience())));
        // The same once more, even when its start has passed.
        let long_after = later() + SignedDuration::from_hours(5);
        assert_eq!(changed.changed(&changes, "UTC", long_after).unwrap(), None);
        let cleared = CampaignChanges { audience: Some(None), start_at: Some(None), goal: Some(None), ..CampaignChanges::default() };
        let cleared = changed.changed(&cleared, "UTC", long_after).unwrap().unwrap();
        assert_eq!((&cleared.audience, cleared.start_at, cleared.goal), (&None, None, None));
    }

    #[test]
    fn a_start_is_ahead_and_within_a_year() {
        let at = |start_at: Timestamp| {
            let changes = CampaignChanges { start_at: Some(Some(start_at)), ..CampaignChanges::default() };
            campaign().with(&changes, "UTC", later()).is_ok()
        };
        let year = SignedDuration::from_hours(365 * 24);
        assert!(at(later() + SignedDuration::from_secs(1)) && at(later() + year));
        assert!(!at(later()) && !at(Timestamp::UNIX_EPOCH) && !at(later() + year + SignedDuration::from_secs(1)) && !at(Timestamp::MAX));
    }

    #[test]
    fn a_copy_is_a_draft_with_numbers_of_its_own() {
        let of = Campaign {
            status: CampaignStatus::Completed,
            numbers: CampaignNumbers { sent: 9, opened: 3, moves: 12, ..CampaignNumbers::default() },
            start_at: Some(later()),
            version: 4,
            ..campaign()
        };
        let id = CampaignId::new(WorkspaceId::new(later(), &Random::seeded(2)).tag(), later(), &Random::seeded(3));
        let copy = of.copied(id, Campaign::copy_name(&of.name), later());
        let expected = Campaign { id, name: "Copy of Spring".into(), created_at: later(), updated_at: later(), ..campaign() };
        assert_eq!(copy, expected);
        assert_eq!((of.etag(), copy.etag()), ("\"4.12\"".to_owned(), "\"1.0\"".to_owned()));
        let long = Campaign::copy_name(&"ä".repeat(200));
        assert_eq!((long.chars().count(), text::name(&long)), (200, Ok(long.clone())));
        let blank = Campaign::copy_name(&format!("{} x", "ä".repeat(191)));
        assert_eq!(text::name(&blank), Ok(blank));
    }

    #[test]
    fn what_a_launch_would_be_refused_for_is_told() {
        let settings = campaign().settings;
        let nobody = WorkspaceSettings::default();
        let complete = WorkspaceSettings {
            default_from_name: Some("Ada".into()),
            default_from_email: Some("ada@acme.example".into()),
            postal_address: Some("1 Main St".into()),
            ..WorkspaceSettings::default()
        };
        let codes = |steps: &[Step], workspace: &WorkspaceSettings| -> Vec<&'static str> {
            problems(&settings, steps, |_| false, workspace).iter().map(|problem| problem.lack().code()).collect()
        };
        let sender = ["SENDER_NAME_MISSING", "SENDER_ADDRESS_MISSING"];
        assert_eq!(codes(&[email(Some("Hi"), Some("Hello"))], &nobody), sender);
        assert_eq!(codes(&[], &complete), ["CAMPAIGN_EMPTY_SEQUENCE"]);
        assert_eq!(codes(&[email(Some("Hi"), Some("Hello"))], &complete), Vec::<&str>::new());
        let template = TemplateId::parse("00000000-0000-0000-0000-000000000001").unwrap();
        let of_template = Step::Email(EmailStep { subject: None, body: Some(EmailBody::Template(template)) });
        let steps = [email(None, None), of_template, email(None, Some("Hello"))];
        let sentences: Vec<String> = problems(&settings, &steps, |_| false, &complete).iter().map(Problem::sentence).collect();
        let expected = [
            "The email of step 1 has no subject and no body.",
            "The template of step 2 was deleted.",
            "The email of step 3 has no subject.",
        ];
        assert_eq!(sentences, expected);
        assert_eq!(problems(&settings, &steps[1..2], |_| true, &complete), []);
    }
}
