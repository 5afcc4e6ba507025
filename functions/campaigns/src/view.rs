//! Campaigns as answers show them.

use records::audience::{Audience, Chosen, Exclusions};
use records::campaign::{Campaign, CampaignId, CampaignNumbers, CampaignStatus, Goal, PausedBy};
use records::campaign_plan::CampaignPlan;
use records::campaign_settings::CampaignSettings;
use records::lead::LeadId;
use records::lead_list::LeadListId;
use records::schedule::{Day, Hold, Window};
use records::segment::SegmentId;
use records::sequence::{ConditionStep, EmailBody, EmailStep, Step, WaitStep, WaitUnit, number_of};
use records::template::TemplateId;
use serde::Serialize;
use serde_json::{Map, Number, Value};
use shared::http::form::clock;
use shared::model::time::{Printed, zulu};
use shared::model::user::Email;
use templating::{Field, Source, Warning};

use crate::contents::Contents;

/// A campaign in a list.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CampaignSummary)]
pub struct SummaryView {
    id: String,
    name: String,
    status: CampaignStatus,
    stats: StatsView,
    created_at: Printed,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CampaignStats)]
pub struct StatsView {
    /// Mails.
    sent: u64,
    /// Leads.
    opened: u64,
    /// Leads.
    replied: u64,
}

/// What came of it. Sent, failed and unknown are mails, the others leads; one of them may be in several.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CampaignCounts)]
struct CountsView {
    enrolled: u64,
    /// Of the audience, at the launch. Their recipients say why.
    skipped: u64,
    sent: u64,
    failed: u64,
    /// Nobody knows whether they went out.
    unknown: u64,
    /// Enrolled, and left out since: suppressed, removed, deleted, without what a mail needs.
    dropped: u64,
    bounced: u64,
    complained: u64,
    unsubscribed: u64,
    /// By people.
    opened: u64,
    clicked: u64,
    replied: u64,
}

/// How fast it goes.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CampaignPacing)]
struct PacingView {
    state: PacingState,
    /// What its mails wait for. `new_tenant`: few go in a day until 1,000 mails of the tenant have arrived. Null: nothing but their own moments.
    #[schema(inline = false)]
    held_by: Option<Hold>,
    /// Until when.
    next_at: Option<Printed>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CampaignPacingState)]
enum PacingState {
    /// Its leads are being enrolled; the first mails go meanwhile.
    Enrolling,
    Sending,
    /// Mails are due, and wait.
    Held,
    /// It is scheduled, paused or completed.
    Idle,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CreatedCampaign)]
pub struct CreatedView {
    id: String,
    name: String,
    status: CampaignStatus,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Campaign)]
pub struct CampaignView {
    id: String,
    name: String,
    status: CampaignStatus,
    goal: Option<Goal>,
    description: Option<String>,
    sequence: Vec<StepView>,
    settings: SettingsView,
    /// Null: nobody is chosen yet.
    audience: Option<AudienceView>,
    /// Null: as soon as it is launched.
    start_at: Option<Printed>,
    stats: StatsView,
    counts: CountsView,
    /// Null: it is not launched.
    #[schema(inline = false)]
    pacing: Option<PacingView>,
    /// Null: it is not paused.
    #[schema(inline = false)]
    paused_by: Option<PausedBy>,
    /// Null: it has not begun.
    launched_at: Option<Printed>,
    completed_at: Option<Printed>,
    /// What to know before it is sent; the first hundred.
    warnings: Vec<WarningView>,
    created_at: Printed,
    updated_at: Printed,
}

/// A step. Conditions name others by their number.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schema(as = CampaignStep)]
enum StepView {
    Email {
        step: u32,
        /// Null: the template's own.
        subject: Option<String>,
        body: Option<String>,
        template_id: Option<String>,
    },
    Wait {
        step: u32,
        value: u32,
        unit: WaitUnit,
    },
    Condition {
        step: u32,
        rule: RuleView,
        then: Option<u32>,
        #[serde(rename = "else")]
        otherwise: Option<u32>,
    },
}

/// As that of a segment, also over `steps[<number>].opened`, `.clicked` and `.replied`.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(transparent)]
#[schema(as = ConditionRule, value_type = Object)]
struct RuleView(Map<String, Value>);

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CampaignSettings)]
struct SettingsView {
    /// Null: the workspace's.
    from_name: Option<String>,
    /// Null: the workspace's.
    from_email: Option<Email>,
    reply_to: Option<Email>,
    /// Null: as many as the carrier takes.
    daily_limit: Option<u32>,
    /// Null: always.
    window: Option<WindowView>,
    timezone: String,
    track_opens: bool,
    track_clicks: bool,
    unsubscribe_enabled: bool,
    pause_on_reply: bool,
    ooo_delay_days: u32,
    required_variables: Vec<String>,
    brake: BrakeView,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = SendingWindow)]
struct WindowView {
    days: Vec<Day>,
    from: String,
    to: String,
}

/// The percentages at which a campaign pauses itself.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CampaignBrake)]
struct BrakeView {
    #[schema(value_type = f64)]
    bounce: Number,
    #[schema(value_type = f64)]
    complaint: Number,
}

/// One of the first four is not null.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CampaignAudience)]
struct AudienceView {
    lead_ids: Option<Vec<String>>,
    list_ids: Option<Vec<String>>,
    segment_id: Option<String>,
    tag: Option<String>,
    exclude: ExclusionsView,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CampaignExclusions)]
struct ExclusionsView {
    list_ids: Vec<String>,
    segment_id: Option<String>,
    campaign_ids: Vec<String>,
}

/// Field, line and column are null where there is no one place.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CampaignWarning)]
struct WarningView {
    step: u32,
    code: &'static str,
    message: String,
    field: Option<&'static str>,
    line: Option<u32>,
    column: Option<u32>,
}

/// How many warnings are shown.
const WARNINGS: usize = 100;

impl SummaryView {
    pub fn of(campaign: &Campaign) -> Self {
        SummaryView {
            id: campaign.id.prefixed(),
            name: campaign.name.clone(),
            status: campaign.status,
            stats: StatsView::of(campaign),
            created_at: zulu(campaign.created_at),
        }
    }
}

impl StatsView {
    fn of(campaign: &Campaign) -> Self {
        StatsView { sent: campaign.numbers.sent, opened: campaign.numbers.opened, replied: campaign.numbers.replied }
    }
}

impl CreatedView {
    pub fn of(campaign: &Campaign) -> Self {
        CreatedView { id: campaign.id.prefixed(), name: campaign.name.clone(), status: campaign.status }
    }
}

impl CampaignView {
    pub fn of(campaign: &Campaign, contents: Contents) -> Self {
        let sequence: Vec<StepView> =
            contents.steps.into_iter().enumerate().map(|(index, step)| StepView::of(number_of(index), step)).collect();
        CampaignView {
            id: campaign.id.prefixed(),
            name: campaign.name.clone(),
            status: campaign.status,
            goal: campaign.goal,
            description: campaign.description.clone(),
            warnings: sequence.iter().flat_map(StepView::warnings).take(WARNINGS).collect(),
            sequence,
            settings: SettingsView::of(&campaign.settings),
            audience: contents.audience.as_ref().map(AudienceView::of),
            start_at: campaign.start_at.map(zulu),
            stats: StatsView::of(campaign),
            counts: CountsView::of(campaign, contents.plan.as_ref()),
            pacing: contents.plan.as_ref().map(|plan| PacingView::of(campaign, plan)),
            paused_by: campaign.paused_by,
            launched_at: campaign.launched_at.map(zulu),
            completed_at: campaign.completed_at.map(zulu),
            created_at: zulu(campaign.created_at),
            updated_at: zulu(campaign.updated_at),
        }
    }
}

impl CountsView {
    fn of(campaign: &Campaign, plan: Option<&CampaignPlan>) -> Self {
        let CampaignNumbers { sent, opened, clicked, replied, bounced, complained, unsubscribed, failed, unknown, dropped, .. } =
            campaign.numbers;
        let (enrolled, skipped) = plan.map_or((0, 0), |plan| (plan.enrolled, plan.skipped));
        let unknown = u64::try_from(unknown).unwrap_or(0);
        CountsView { enrolled, skipped, sent, failed, unknown, dropped, bounced, complained, unsubscribed, opened, clicked, replied }
    }
}

impl PacingView {
    fn of(campaign: &Campaign, plan: &CampaignPlan) -> Self {
        let (state, held_by, next_at) = match campaign.status {
            CampaignStatus::Scheduled => (PacingState::Idle, None, campaign.start_at),
            CampaignStatus::Active if !plan.is_enrolled => (PacingState::Enrolling, plan.held_by, plan.next_at),
            CampaignStatus::Active if plan.held_by.is_some() => (PacingState::Held, plan.held_by, plan.next_at),
            CampaignStatus::Active => (PacingState::Sending, None, None),
            CampaignStatus::Draft | CampaignStatus::Paused | CampaignStatus::Completed => (PacingState::Idle, None, None),
        };
        PacingView { state, held_by, next_at: next_at.map(zulu) }
    }
}

impl StepView {
    fn of(number: u32, step: Step) -> Self {
        match step {
            Step::Email(EmailStep { subject, body }) => {
                let (body, template) = match body {
                    // It was packed by us; if it cannot be read any more, nothing of it is there.
                    Some(EmailBody::Written(packed)) => (packed.unpacked().ok(), None),
                    Some(EmailBody::Template(template)) => (None, Some(template)),
                    None => (None, None),
                };
                StepView::Email { step: number, subject, body, template_id: template.as_ref().map(TemplateId::prefixed) }
            }
            Step::Wait(WaitStep { value, unit }) => StepView::Wait { step: number, value, unit },
            Step::Condition(ConditionStep { rule, then, otherwise }) => {
                StepView::Condition { step: number, rule: RuleView(rule), then, otherwise }
            }
        }
    }

    /// Of a mail that is written here; those of templates are the templates'.
    fn warnings(&self) -> Vec<WarningView> {
        let StepView::Email { step, subject, body: Some(body), .. } = self else { return vec![] };
        let source = Source { subject: subject.as_deref().unwrap_or_default(), html: body, text: None };
        let view = |warning: &Warning| {
            let place = warning.place();
            WarningView {
                step: *step,
                code: warning.code(),
                message: warning.to_string(),
                field: place.map(|(field, ..)| if field == Field::Subject { "subject" } else { "body" }),
                line: place.map(|(_, line, _)| line),
                column: place.map(|(.., column)| column),
            }
        };
        let checked = templating::check(source, |_| false);
        checked.map(|checked| checked.warnings.iter().map(view).collect()).unwrap_or_default()
    }
}

impl SettingsView {
    fn of(settings: &CampaignSettings) -> Self {
        let CampaignSettings {
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
            brake,
        } = settings.clone();
        SettingsView {
            from_name,
            from_email,
            reply_to,
            daily_limit,
            window: window.map(WindowView::of),
            timezone,
            track_opens,
            track_clicks,
            unsubscribe_enabled,
            pause_on_reply,
            ooo_delay_days,
            required_variables,
            brake: BrakeView { bounce: percent(brake.bounce), complaint: percent(brake.complaint) },
        }
    }
}

impl WindowView {
    fn of(window: Window) -> Self {
        WindowView { days: window.days, from: clock(window.from), to: clock(window.to) }
    }
}

/// Hundredths of a percent, as people write them.
fn percent(hundredths: u32) -> Number {
    let whole = Number::from(hundredths / 100);
    if hundredths.is_multiple_of(100) { whole } else { Number::from_f64(f64::from(hundredths) / 100.0).unwrap_or(whole) }
}

impl AudienceView {
    fn of(audience: &Audience) -> Self {
        let Audience { of, exclude: Exclusions { lists, segment, campaigns } } = audience;
        let exclude = ExclusionsView {
            list_ids: lists.iter().map(LeadListId::prefixed).collect(),
            segment_id: segment.as_ref().map(SegmentId::prefixed),
            campaign_ids: campaigns.iter().map(CampaignId::prefixed).collect(),
        };
        let nobody = AudienceView { lead_ids: None, list_ids: None, segment_id: None, tag: None, exclude };
        match of {
            Chosen::Leads(leads) => AudienceView { lead_ids: Some(leads.iter().map(LeadId::prefixed).collect()), ..nobody },
            Chosen::Lists(lists) => AudienceView { list_ids: Some(lists.iter().map(LeadListId::prefixed).collect()), ..nobody },
            Chosen::Segment(segment) => AudienceView { segment_id: Some(segment.prefixed()), ..nobody },
            Chosen::Tag(tag) => AudienceView { tag: Some(tag.clone()), ..nobody },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn percentages_are_shown_as_they_were_given() {
        assert_eq!(json!([percent(500), percent(30), percent(1)]), json!([5, 0.3, 0.01]));
    }
}
