//! Recipients of a campaign: who they are and what came of each; one of them is paused, put back among those who wait, or taken out.

use std::collections::HashMap;

use jiff::Timestamp;
use records::campaign::{Campaign, CampaignId, CampaignStatus};
use records::campaign_plan::CampaignPlan;
use records::enrolment::{Enrolment, EnrolmentState, ExitReason, Outcome, PauseReason, SentMail};
use records::lead::{Lead, LeadFilter, LeadId, ProfileField};
use records::sequence::Step;
use records::wave::{Wave, WaveId};
use serde::Serialize;
use shared::http::answer::{Answer, Listing};
use shared::http::arguments::{Body, Found, Offsets, Total};
use shared::http::form::NoFields;
use shared::http::{Argument, Operation};
use shared::ids::PathId;
use shared::model::due::DueWork;
use shared::model::time::{Printed, zulu};
use shared::model::user::Email;
use shared::store::{Direction, Listed, RankedPage, Span, Window};
use shared::tenancy::doors::{In, Member, Viewer};
use shared::tenancy::{Entered, Incoming, Transaction, Wants, WorkspaceStore, conflict};
use shared::{Error, Result};

use crate::contents;
use crate::forms::RecipientFilters;

/// A lead in a campaign, and what came of it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Recipient)]
pub struct RecipientView {
    lead: RecipientLeadView,
    state: RecipientState,
    /// The step that it is at; of one that has ended, the last. Null: it was never enrolled.
    step: Option<u32>,
    outcome: Outcome,
    /// Why, where the outcome does not say it.
    reason: Option<String>,
    /// When its next step is due, as far as it is known.
    next_at: Option<Printed>,
    /// Its mails.
    steps: Vec<RecipientStepView>,
}

/// All but the id is null where the lead was deleted.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = RecipientLead)]
struct RecipientLeadView {
    id: String,
    email: Option<Email>,
    first_name: Option<String>,
    last_name: Option<String>,
    company: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = RecipientState)]
enum RecipientState {
    Waiting,
    /// Its mail may be on its way to the carrier right now.
    Sending,
    Unknown,
    Failed,
    Paused,
    /// It was never enrolled.
    Skipped,
    Exited,
    Completed,
}

/// What is known of a mail.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = RecipientStep)]
struct RecipientStepView {
    step: u32,
    sent_at: Option<Printed>,
    delivered_at: Option<Printed>,
    /// By a person, as the following.
    opened_at: Option<Printed>,
    clicked_at: Option<Printed>,
    replied_at: Option<Printed>,
    bounced_at: Option<Printed>,
    complained_at: Option<Printed>,
}

/// Recipients that one pass looks at.
const AT_ONCE: usize = 1_000;
/// Leads that a search may find.
const MOST_FOUND: usize = 1_000;
/// How often a change is tried again when others write at the same time.
pub const TRIES: usize = 10;

/// Those whose leads are newest first.
pub async fn list(
    door: In<Viewer>,
    campaign: Found<Campaign>,
    asked: Offsets<RecipientFilters>,
    leads: Total<Lead>,
) -> Result<Listing<RecipientView>> {
    let (store, campaign, Offsets { filters, page }) = (&door.store, campaign.0, asked);
    let recipients = Recipients { store, campaign: campaign.id, filters: &filters, leads: leads.count };
    let (plan, steps, found) = tokio::try_join!(
        contents::plan_of(store, &campaign),
        contents::steps_of(store, &campaign),
        recipients.found(&campaign, page.span())
    )?;
    let leads = leads_of(store, &found.items).await?;
    let shown = Shown { campaign: &campaign, plan: plan.as_ref(), steps: &steps };
    let items: Vec<RecipientView> = found.items.iter().map(|one| shown.view(one, leads.get(&one.lead))).collect();
    Ok(Listing { items, total: found.total, page, next: found.next })
}

/// It gets no mail until it is resumed. A mail that is being sent at this moment is not held up.
pub async fn pause(door: In<Member>, found: FoundRecipient, _body: Body<NoFields>) -> Result<Answer<RecipientView>> {
    let change = |campaign: &Campaign, enrolment: &Enrolment| {
        enrolment.check_pause()?;
        Ok((campaign.moved(|_| {}), enrolment.paused(PauseReason::Manual), None))
    };
    changed(&door, found, change).await
}

/// Its next mail is due now.
pub async fn resume(door: In<Member>, found: FoundRecipient, _body: Body<NoFields>) -> Result<Answer<RecipientView>> {
    found.campaign.check_waiting()?;
    let (steps, wave) = (contents::steps_of(&door.store, &found.campaign).await?, WaveId::new(door.store.random()));
    let change = |campaign: &Campaign, enrolment: &Enrolment| {
        campaign.check_waiting()?;
        enrolment.check_resume()?;
        let (resumed, wave) = enrolment.resumed(&wave, &steps, door.now());
        Ok((campaign.moved(|_| {}), resumed, wave))
    };
    changed(&door, found, change).await
}

/// It gets no further mail of the campaign, for good.
pub async fn remove(door: In<Member>, found: FoundRecipient, _body: Body<NoFields>) -> Result<Answer<RecipientView>> {
    let change = |campaign: &Campaign, enrolment: &Enrolment| {
        enrolment.check_remove()?;
        let was_unknown = i64::from(enrolment.outcome() == Outcome::Unknown);
        let moved = campaign.moved(|numbers| {
            numbers.dropped += 1;
            numbers.unknown -= was_unknown;
        });
        Ok((moved, enrolment.exited(ExitReason::Removed), None))
    };
    changed(&door, found, change).await
}

/// What becomes of a recipient, with the campaign and a wave of its own.
type Change = (Campaign, Enrolment, Option<Wave>);

/// Writes what `change` makes of both as they are then.
async fn changed(
    door: &In<Member>,
    found: FoundRecipient,
    change: impl Fn(&Campaign, &Enrolment) -> Result<Change> + Send + Sync,
) -> Result<Answer<RecipientView>> {
    let (store, FoundRecipient { mut campaign, mut enrolment }) = (&door.store, found);
    for _ in 0..TRIES {
        let (moved, after, wave) = change(&campaign, &enrolment)?;
        let mut changing = door.while_there(store.transaction())?.replace(store, &moved, &campaign)?.replace(store, &after, &enrolment)?;
        if let Some(wave) = &wave {
            changing = planned(changing, door, std::slice::from_ref(wave))?;
        }
        match changing.commit().await {
            Err(Error::Conflict(_)) => {
                let keys = (Campaign::key_of(campaign.id), Enrolment::key_of(campaign.id, enrolment.lead));
                (campaign, enrolment) = tokio::try_join!(store.get(&keys.0), store.get(&keys.1))?;
            }
            Err(error) => return Err(error),
            Ok(()) => return answer(door, &moved, &after).await,
        }
    }
    Err(contents::being_changed())
}

/// Waves that are due at one moment, and the note by which the sender finds them. It is written for a paused campaign too: whoever resumes that looks only
/// at what is due then.
pub fn planned<'a>(transaction: Transaction<'a>, door: &In<Member>, waves: &[Wave]) -> Result<Transaction<'a>> {
    let Some(first) = waves.first() else { return Ok(transaction) };
    let note = DueWork::new(first.due, door.store.tenant_id(), first.campaign, door.store.random());
    let with_note = transaction.put(&door.outer.directory, &note)?;
    waves.iter().try_fold(with_note, |transaction, wave| transaction.create(&door.store, wave, conflict("This wave exists.")))
}

async fn answer(door: &In<Member>, campaign: &Campaign, enrolment: &Enrolment) -> Result<Answer<RecipientView>> {
    let (store, lead) = (&door.store, Lead::key_of(enrolment.lead));
    let (plan, steps, lead) = tokio::try_join!(contents::plan_of(store, campaign), contents::steps_of(store, campaign), store.find(&lead))?;
    let shown = Shown { campaign, plan: plan.as_ref(), steps: &steps };
    Ok(Answer::new("Success", shown.view(enrolment, lead.as_ref())))
}

async fn leads_of(store: &WorkspaceStore, enrolments: &[Enrolment]) -> Result<HashMap<LeadId, Lead>> {
    let keys: Vec<_> = enrolments.iter().map(|enrolment| Lead::key_of(enrolment.lead)).collect();
    Ok(store.find_many(&keys).await?.into_iter().map(|lead| (lead.id, lead)).collect())
}

/// Those of a campaign that a list asks for.
struct Recipients<'a> {
    store: &'a WorkspaceStore,
    campaign: CampaignId,
    filters: &'a RecipientFilters,
    /// Of the workspace.
    leads: u64,
}

impl Recipients<'_> {
    /// Without a filter a page costs the same whatever their number. Those who go their way have no line in the index: to find them, and to search, all are
    /// looked at, and there is an end to how many.
    async fn found(&self, campaign: &Campaign, span: Span) -> Result<RankedPage<Enrolment>> {
        let list = Enrolment::of_campaign(self.campaign).going(Direction::Descending);
        match (&self.filters.search, self.filters.outcome) {
            (None, None) => {
                let (plan, page) = tokio::try_join!(contents::plan_of(self.store, campaign), self.store.page(&list, &span, |_| true))?;
                Ok(RankedPage { items: page.items, next: page.next, total: plan.map_or(0, |plan| plan.recipients()) })
            }
            (None, Some(outcome)) if outcome.is_listed() => self.store.ranked(&list, span, |own| (own == outcome).then_some(())).await,
            (Some(search), _) if self.leads <= Lead::MAX_PASSED => self.searched(search, span).await,
            _ => self.passed(campaign, span).await,
        }
    }

    /// Looks for the leads first.
    async fn searched(&self, search: &str, span: Span) -> Result<RankedPage<Enrolment>> {
        let filter = LeadFilter { search: Some(search.to_owned()), ..LeadFilter::default() };
        let leads = Lead::all().going(Direction::Descending);
        let found = self.store.ranked(&leads, Span::first(MOST_FOUND), |entry| filter.keeps(&entry).then_some(())).await?;
        if found.total > MOST_FOUND as u64 {
            let sentence = format!("More than {MOST_FOUND} leads of the workspace are found so: search for more of the e-mail or name.");
            return Err(Error::BadRequest(sentence.into()));
        }
        let keys: Vec<_> = found.items.iter().map(|lead| Enrolment::key_of(self.campaign, lead.id)).collect();
        let mut window = Window::new(span, Direction::Descending)?;
        for enrolment in self.store.find_many(&keys).await?.iter().filter(|enrolment| self.keeps(enrolment)) {
            window.add((), enrolment.lead.to_string());
        }
        self.shown(window).await
    }

    /// Looks at each recipient.
    async fn passed(&self, campaign: &Campaign, span: Span) -> Result<RankedPage<Enrolment>> {
        let plan = contents::plan_of(self.store, campaign).await?;
        if plan.is_some_and(|plan| plan.recipients() > Lead::MAX_PASSED) {
            let most = Lead::MAX_PASSED;
            let sentence = format!("This campaign has more than {most} recipients: they are not searched, nor found by this outcome.");
            return Err(Error::BadRequest(sentence.into()));
        }
        let filter = LeadFilter { search: self.filters.search.clone(), ..LeadFilter::default() };
        let (all, mut place) = (Enrolment::of_campaign(self.campaign), None);
        let mut window = Window::new(span, Direction::Descending)?;
        loop {
            let (mut some, next) = self.store.after(&all, place.as_ref(), AT_ONCE).await?;
            some.retain(|enrolment| self.keeps(enrolment));
            if filter.search.is_some() {
                let leads = leads_of(self.store, &some).await?;
                some.retain(|enrolment| leads.get(&enrolment.lead).is_some_and(|lead| filter.keeps(&lead.entry())));
            }
            some.iter().for_each(|enrolment| window.add((), enrolment.lead.to_string()));
            match next {
                Some(next) => place = Some(next),
                None => return self.shown(window).await,
            }
        }
    }

    fn keeps(&self, enrolment: &Enrolment) -> bool {
        self.filters.outcome.is_none_or(|outcome| enrolment.outcome() == outcome)
    }

    async fn shown(&self, window: Window<()>) -> Result<RankedPage<Enrolment>> {
        let (leads, next, total) = window.finish();
        let keys: Vec<_> = leads.iter().filter_map(|lead| LeadId::parse(lead)).map(|lead| Enrolment::key_of(self.campaign, lead)).collect();
        Ok(RankedPage { items: self.store.find_many(&keys).await?, next, total })
    }
}

/// The recipient of a campaign that a path names by its lead.
pub struct FoundRecipient {
    campaign: Campaign,
    enrolment: Enrolment,
}

impl FoundRecipient {
    fn named(incoming: &Incoming) -> Option<(CampaignId, Option<LeadId>)> {
        let [campaign, lead] = &incoming.path_values[..] else { return None };
        Some((CampaignId::from_path(campaign)?, LeadId::from_path(lead)))
    }
}

impl Argument for FoundRecipient {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        wants.means::<Campaign>();
        let Some((campaign, lead)) = FoundRecipient::named(incoming) else { return };
        wants.named(&Campaign::key_of(campaign));
        if let Some(lead) = lead {
            wants.record(&Enrolment::key_of(campaign, lead));
        }
    }

    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        let nobody = || Error::Missing("Recipient");
        let (id, lead) = FoundRecipient::named(incoming).ok_or(Error::Missing(Campaign::NOUN))?;
        let campaign = entered.find(&Campaign::key_of(id)).await?.ok_or(Error::Missing(Campaign::NOUN))?;
        let enrolment = entered.find(&Enrolment::key_of(id, lead.ok_or_else(nobody)?)).await?.ok_or_else(nobody)?;
        Ok(FoundRecipient { campaign, enrolment })
    }

    fn describe(operation: &mut Operation) {
        operation.names(LeadId::schema());
        operation.within(CampaignId::schema());
    }
}

/// What a recipient is shown with.
struct Shown<'a> {
    campaign: &'a Campaign,
    plan: Option<&'a CampaignPlan>,
    steps: &'a [Step],
}

impl Shown<'_> {
    fn view(&self, enrolment: &Enrolment, lead: Option<&Lead>) -> RecipientView {
        let mut mails: Vec<&SentMail> = enrolment.mails.iter().collect();
        mails.sort_by_key(|mail| mail.step);
        RecipientView {
            lead: RecipientLeadView::of(enrolment.lead, lead),
            state: RecipientState::of(&enrolment.state),
            step: (enrolment.step > 0).then_some(enrolment.step),
            outcome: enrolment.outcome(),
            reason: enrolment.reason(),
            next_at: self.next_at(enrolment).map(zulu),
            steps: mails.into_iter().map(RecipientStepView::of).collect(),
        }
    }

    /// What is due waits for what holds up the campaign.
    fn next_at(&self, enrolment: &Enrolment) -> Option<Timestamp> {
        let plan = self.plan.filter(|_| self.campaign.status == CampaignStatus::Active)?;
        let due = enrolment.due(self.steps, plan.started_at)?;
        let held = plan.next_at.filter(|_| plan.held_by.is_some());
        Some(held.map_or(due, |held| held.max(due)))
    }
}

impl RecipientLeadView {
    fn of(id: LeadId, lead: Option<&Lead>) -> Self {
        let of = |field| lead.and_then(|lead| lead.profile.get(field)).map(str::to_owned);
        RecipientLeadView {
            id: id.prefixed(),
            email: lead.map(|lead| lead.email.clone()),
            first_name: of(ProfileField::FirstName),
            last_name: of(ProfileField::LastName),
            company: of(ProfileField::Company),
        }
    }
}

impl RecipientState {
    fn of(state: &EnrolmentState) -> Self {
        match state {
            EnrolmentState::Waiting { .. } => RecipientState::Waiting,
            EnrolmentState::Sending { .. } => RecipientState::Sending,
            EnrolmentState::Unknown { .. } => RecipientState::Unknown,
            EnrolmentState::Failed { .. } => RecipientState::Failed,
            EnrolmentState::Paused { .. } => RecipientState::Paused,
            EnrolmentState::Skipped { .. } => RecipientState::Skipped,
            EnrolmentState::Exited { .. } => RecipientState::Exited,
            EnrolmentState::Completed => RecipientState::Completed,
        }
    }
}

impl RecipientStepView {
    fn of(mail: &SentMail) -> Self {
        RecipientStepView {
            step: mail.step,
            sent_at: mail.sent_at.map(zulu),
            delivered_at: mail.delivered_at.map(zulu),
            opened_at: mail.opened_at.map(zulu),
            clicked_at: mail.clicked_at.map(zulu),
            replied_at: mail.replied_at.map(zulu),
            bounced_at: mail.bounced_at.map(zulu),
            complained_at: mail.complained_at.map(zulu),
        }
    }
}
