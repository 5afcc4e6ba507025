//! What a demo tenant has to try: projects with tasks, and a workspace for a client with a template, leads and the draft of a campaign to them.

use jiff::{SignedDuration, ToSpan};
use records::audience::{Audience, CampaignAudience, Chosen, Exclusions};
use records::campaign::{Campaign, CampaignChanges, CampaignId};
use records::campaign_settings::SettingsChanges;
use records::lead::{Lead, LeadEmail, LeadId, ProfileField};
use records::project::{Project, ProjectId, TaskCounts};
use records::sequence::{CampaignStep, EmailBody, EmailStep, Step, WaitStep, WaitUnit};
use records::task::{Priority, Task, TaskId, TaskStatus};
use records::template::{Content, Template, TemplateBody, TemplateId};
use shared::ids::WorkspaceId;
use shared::model::member::Person;
use shared::model::time::day;
use shared::model::user::Email;
use shared::model::workspace::{Workspace, WorkspaceMember, WorkspaceSettings, WorkspaceSlug, WorkspaceSlugClaim};
use shared::tenancy::{Role, TenantStore, Transaction, WorkspaceStore, conflict};
use shared::tenant_lifecycle::TenantCreation;
use shared::workspaces::join;
use shared::{Error, Result};

/// A workspace with all that is in it.
pub struct SampleClient {
    pub workspace: Workspace,
    member: WorkspaceMember,
    template: Template,
    body: TemplateBody,
    leads: Vec<Lead>,
    campaign: Campaign,
    steps: Vec<Step>,
    audience: Audience,
}

/// First name, last name, company.
const PEOPLE: [(&str, &str, &str); 25] = [
    ("Ada", "Lovelace", "Analytical Engines"),
    ("Alan", "Turing", "Bletchley Computing"),
    ("Grace", "Hopper", "Compilers & Sons"),
    ("Edsger", "Dijkstra", "Shortest Path"),
    ("Barbara", "Liskov", "Substitutes"),
    ("Donald", "Knuth", "Fine Typesetting"),
    ("Margaret", "Hamilton", "Apollo Software"),
    ("Dennis", "Ritchie", "Portable Systems"),
    ("Radia", "Perlman", "Spanning Trees"),
    ("Ken", "Thompson", "Portable Systems"),
    ("Hedy", "Lamarr", "Spread Spectrum"),
    ("Niklaus", "Wirth", "Lean Languages"),
    ("Frances", "Allen", "Fast Loops"),
    ("John", "Backus", "Formula Translators"),
    ("Jean", "Sammet", "Common Business"),
    ("Tony", "Hoare", "Quick Sorting"),
    ("Karen", "Sp\u{e4}rck Jones", "Rare Words"),
    ("Claude", "Shannon", "Bits & Co"),
    ("Katherine", "Johnson", "Orbital Numbers"),
    ("Leslie", "Lamport", "Logical Clocks"),
    ("Shafi", "Goldwasser", "Zero Knowledge"),
    ("Adi", "Shamir", "Shared Secrets"),
    ("Sophie", "Wilson", "Small Instructions"),
    ("Whitfield", "Diffie", "Key Agreements"),
    ("Lynn", "Conway", "Large Scale"),
];
const SUBJECT: &str = "{{first_name}}, a question about {{company}}";
const HTML: &str = "<p>Hello {{first_name|there}},</p>\n<p>I read about {{company}} and would like to show you what we do. Do you have ten minutes this week?</p>\n\
<p>{{sender_name}}</p>\n<p><a href=\"{{unsubscribe_url}}\">Unsubscribe</a></p>\n";

impl SampleClient {
    pub fn new(creation: &TenantCreation, now: jiff::Timestamp, random: &shared::crypto::Random) -> Result<Self> {
        let owner = creation.owner.as_ref().ok_or(Error::NotFound)?;
        let id = WorkspaceId::new(now, random);
        let settings = WorkspaceSettings {
            default_from_name: Some(owner.name.clone()),
            postal_address: Some("1 Example Street, 12345 Sampletown".into()),
            ..WorkspaceSettings::default()
        };
        let slug = WorkspaceSlug::from_name("Sample client", 0);
        let workspace = Workspace { id, slug, name: "Sample client".into(), settings, created_at: now, updated_at: now, version: 1 };
        let member = WorkspaceMember { user: owner.user, number: owner.number, role: Role::Owner, joined_at: now, version: 1 };
        let content = Content { subject: SUBJECT.into(), html: HTML.into(), text: None };
        let template = TemplateId::new(id.tag(), now, random);
        let (template, body) = Template::new(template, "First contact".into(), &content, owner.person(), now);
        let leads = PEOPLE.iter().enumerate().map(|(index, person)| lead(id, person, index, now, random)).collect::<Option<_>>();
        let leads: Vec<Lead> = leads.ok_or_else(|| Error::internal("making samples", "an address is none"))?;
        let mail = |subject: Option<&str>| {
            Step::Email(EmailStep { subject: subject.map(str::to_owned), body: Some(EmailBody::Template(template.id)) })
        };
        let steps =
            vec![mail(None), Step::Wait(WaitStep { value: 3, unit: WaitUnit::Days }), mail(Some("Did my mail reach you, {{first_name}}?"))];
        let audience = Audience { of: Chosen::Leads(leads.iter().map(|lead| lead.id).collect()), exclude: Exclusions::default() };
        // As fast as the carrier takes them.
        let settings = SettingsChanges { daily_limit: Some(None), ..SettingsChanges::default() };
        let says =
            CampaignChanges { steps: Some(steps.clone()), audience: Some(Some(audience.clone())), settings, ..CampaignChanges::default() };
        let zone = workspace.settings.timezone.clone();
        let campaign = CampaignId::new(id.tag(), now, random);
        let campaign = Campaign::new(campaign, "First contact".into(), &zone, now).with(&says, &zone, now)?;
        Ok(SampleClient { workspace, member, template, body, leads, campaign, steps, audience })
    }

    pub fn write<'a>(&self, transaction: Transaction<'a>, store: &TenantStore, within: &WorkspaceStore) -> Result<Transaction<'a>> {
        let again = || conflict("Try again.");
        let claim = WorkspaceSlugClaim { slug: self.workspace.slug.clone(), id: self.workspace.id };
        let leads = i64::try_from(self.leads.len()).unwrap_or(0);
        let transaction = transaction
            .create(store, &self.workspace, again())?
            .create(store, &claim, again())?
            .count(store, Workspace::COUNT, 1)?
            .create(within, &self.template, again())?
            .create(within, &self.body, again())?
            .create(within, &self.template.claim(), again())?
            .count(within, Template::COUNT, 1)?
            .count(within, Workspace::LEADS, leads)?
            .count(store, Workspace::PEOPLE, leads)?
            .create(within, &self.campaign, again())?
            .create(within, &CampaignAudience { campaign: self.campaign.id, audience: self.audience.clone() }, again())?
            .count(within, Campaign::COUNT, 1)?;
        let transaction = CampaignStep::all_of(self.campaign.id, &self.steps)
            .iter()
            .try_fold(transaction, |transaction, step| transaction.create(within, step, again()))?;
        let transaction = join(transaction, store, within, self.workspace.id, &self.member, None)?;
        self.leads.iter().try_fold(transaction, |transaction, lead| {
            let claim = LeadEmail { email: lead.email.clone(), lead: lead.id };
            transaction.create(within, lead, again())?.create(within, &claim, again())
        })
    }
}

/// A second apart, so that their order is the order here.
fn lead(
    workspace: WorkspaceId,
    (first, last, company): &(&str, &str, &str),
    index: usize,
    now: jiff::Timestamp,
    random: &shared::crypto::Random,
) -> Option<Lead> {
    let at = now - SignedDuration::from_secs(i64::try_from(index).ok()?);
    let address = |text: &str| text.to_lowercase().replace(' ', ".").replace('\u{e4}', "ae");
    let email = Email::parse(&format!("{}.{}@example.com", address(first), address(last)))?;
    let mut lead = Lead::new(LeadId::new(workspace.tag(), at, random), email, at);
    for (field, value) in [(ProfileField::FirstName, first), (ProfileField::LastName, last), (ProfileField::Company, company)] {
        lead.profile.set(field, Some((*value).to_owned()));
    }
    Some(lead)
}

/// A sample task: title, status, priority, and in how many days it is due.
type Sample = (&'static str, TaskStatus, Priority, Option<i32>);

/// Two projects with tasks in every state, so that a first look shows what the lists can do.
pub fn projects(person: &Person, now: jiff::Timestamp, random: &shared::crypto::Random) -> Vec<(Project, Vec<Task>)> {
    let today = day(now);
    let plan: [(&str, &str, &str, &[Sample]); 2] = [
        (
            "Website Redesign",
            "A new face for the company",
            "#3B82F6",
            &[
                ("Design homepage mockup", TaskStatus::InProgress, Priority::High, Some(2)),
                ("Write the copy", TaskStatus::Todo, Priority::Medium, Some(7)),
                ("Collect feedback from customers", TaskStatus::Done, Priority::Medium, None),
                ("Choose a typeface", TaskStatus::InReview, Priority::Low, None),
            ],
        ),
        (
            "Product Launch",
            "Everything for the day itself",
            "#10B981",
            &[
                ("Plan the launch event", TaskStatus::Todo, Priority::Urgent, Some(14)),
                ("Print flyers", TaskStatus::Cancelled, Priority::Low, None),
            ],
        ),
    ];
    plan.into_iter()
        .enumerate()
        .map(|(index, (name, description, color, tasks))| {
            // One second apart, so that their order is the order here.
            let at = now + SignedDuration::from_secs(i64::try_from(index).unwrap_or(0));
            let id = ProjectId::new(at, random);
            let tasks: Vec<Task> = tasks
                .iter()
                .enumerate()
                .map(|(order, (title, status, priority, due))| Task {
                    id: TaskId::new(id, at, random),
                    project: id,
                    title: (*title).to_owned(),
                    description: None,
                    status: *status,
                    priority: *priority,
                    due_date: due.map(|days| today.saturating_add(days.days())),
                    completed_at: (*status == TaskStatus::Done).then_some(now),
                    sort_order: i64::try_from(order).unwrap_or(0),
                    assignee: (*status == TaskStatus::InProgress).then(|| person.clone()),
                    creator: person.clone(),
                    created_at: now,
                    updated_at: now,
                    version: 1,
                })
                .collect();
            let count = |counted: fn(TaskStatus) -> bool| tasks.iter().filter(|task| counted(task.status)).count() as u64;
            let counts = TaskCounts {
                open: count(TaskStatus::is_open),
                completed: count(|status| status == TaskStatus::Done),
                cancelled: count(|status| status == TaskStatus::Cancelled),
            };
            let project =
                Project { description: Some(description.into()), color: color.into(), tasks: counts, ..Project::new(id, name.into(), now) };
            (project, tasks)
        })
        .collect()
}
