//! Campaigns on their way. A turn reads a group into packs, makes some messages, or goes through those that were made; then the campaign's next turn is queued
//! behind them. Each step is one transaction with the campaign's progress, so whatever is repeated or dies makes no message twice and leaves none out.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use messaging::campaigns::{self, Known, Room, WATCHED, admitted};
use messaging::moving::{self, Allowed};
use records::contact_group::ContactGroupId;
use records::message_campaign::{
    CampaignCounts, CampaignProgress, CampaignTurn, Gathering, MessageCampaign, MessageCampaignStatus, OpenCampaign, RecipientPack, Walk,
};
use records::messaging_settings::MessagingSettings;
use records::peer::Peer;
use records::phone_message::{MessageStatus, PhoneMessage, PhoneMessageId, Reason};
use shared::model::due::DueNote as _;
use shared::model::due_messages::DueMessages;
use shared::model::line::LinePool;
use shared::model::phone_number::PhoneNumber;
use shared::model::tenant::{Tenant, TenantStatus};
use shared::tenancy::jobs::WorkContext;
use shared::tenancy::{TenantStore, Transaction};
use shared::{Error, Result};

use crate::Switchboard;
use crate::common::Common;
use crate::send::settle;

/// Messages of one transaction.
const TOGETHER: u64 = 25;
/// Steps of a turn. The next turn is queued behind their messages, so a pause finds few that were made.
const STEPS: usize = 4;
/// How far a campaign is ahead of the lines, in minutes.
const AHEAD: u64 = 1;
/// How often a step is tried again that meets others.
const TRIES: usize = 10;
/// Until it is seen whether a tenant is accessible again.
const HOURLY: SignedDuration = SignedDuration::from_hours(1);

/// A campaign and what it needs for a step.
struct State {
    campaign: MessageCampaign,
    progress: CampaignProgress,
    tenant: Tenant,
    settings: MessagingSettings,
    pool: LinePool,
}

/// A message that is to be made.
struct Slot {
    place: u64,
    id: PhoneMessageId,
    to: PhoneNumber,
    /// The one that failed.
    instead_of: Option<PhoneMessage>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The turn goes on.
    Done,
    /// The turn is over: another one comes, or none is needed.
    Over,
}

impl Switchboard {
    /// Whoever comes too late, or twice, finds that it is another one's turn.
    pub async fn advance(&self, context: &WorkContext, common: &Common, turn: &CampaignTurn) -> Result<()> {
        let store = context.store.as_ref().ok_or_else(|| Error::internal("sending a campaign", "the job names no tenant"))?;
        let (mut steps, mut tries) = (0, 0);
        loop {
            let Some(state) = State::read(context, store, turn).await? else { return Ok(()) };
            match self.go_on(context, common, store, state, steps).await {
                Ok(Step::Over) => return Ok(()),
                Ok(Step::Done) => (steps, tries) = (steps + 1, 0),
                // Somebody else wrote: the campaign, a number, or a place of the plan.
                Err(error @ (Error::Conflict(_) | Error::NotFound | Error::Missing(_) | Error::PlanLimitReached(_))) => {
                    tries += 1;
                    if tries == TRIES {
                        return Err(Error::Unavailable { doing: "sending a campaign", cause: error.to_string().into() });
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Starts what is due, and gives those another turn that rested or lost theirs.
    pub async fn revive(&self, context: &WorkContext, store: &TenantStore) -> Result<()> {
        let mut failed = None;
        for open in store.lines(&MessageCampaign::all()).await? {
            let done = match open.status {
                MessageCampaignStatus::Scheduled if open.scheduled_at.is_none_or(|due| due <= store.now()) => {
                    self.start(context, store, &open).await
                }
                MessageCampaignStatus::Sending => bring_to_mind(context, store, &open).await,
                _ => Ok(()),
            };
            match done {
                // Whoever wrote first did the same, or something else with it.
                Ok(()) | Err(Error::Conflict(_) | Error::NotFound | Error::Missing(_)) => {}
                Err(error) => {
                    tracing::error!(campaign = %open.id, %error, "a campaign could not go on");
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn start(&self, context: &WorkContext, store: &TenantStore, open: &OpenCampaign) -> Result<()> {
        let (now, Some(campaign)) = (store.now(), store.find(&MessageCampaign::key_of(open.id)).await?) else { return Ok(()) };
        let Some(started) = campaign.started(now) else { return Ok(()) };
        let watched = CampaignProgress::new(&started, now).watched(now + WATCHED);
        let writing = store.transaction().replace(store, &started, &campaign)?.create(store, &watched, moving::contested())?;
        campaigns::remind(writing, &context.directory, store, now + WATCHED)?.while_kept(store)?.commit().await
    }

    async fn go_on(&self, context: &WorkContext, common: &Common, store: &TenantStore, state: State, steps: usize) -> Result<Step> {
        let (now, progress, status) = (store.now(), &state.progress, state.campaign.status);
        let is_last = steps + 1 >= STEPS;
        // What comes next begins a turn of its own, or goes on in this one.
        let on = |progress: CampaignProgress| if is_last { progress.on(now).next_turn(None, now) } else { progress.on(now) };
        let then = |went: bool| if went && !is_last { Step::Done } else { Step::Over };
        let makes = progress.walk.map_or(!progress.is_made(), |walk| walk.retries_at.is_some());
        if let Some(walk) = progress.walk.filter(|_| !makes || status == MessageCampaignStatus::Cancelled) {
            return self.walk(context, common, store, &state, walk, on).await.map(then);
        }
        // Whoever lets it go on gives it a turn.
        if status != MessageCampaignStatus::Sending {
            return Ok(Step::Over);
        }
        if state.tenant.inaccessible(now).is_some() {
            return state.wait(context, store, progress.clone().rests(now + HOURLY, now)).await;
        }
        if let (Some(group), Some(gathering)) = (state.campaign.group, progress.gathering) {
            return gather(store, &state, (group, gathering), on).await.map(|()| then(true));
        }
        if !makes {
            return self.look(context, store, &state).await;
        }
        if steps == 0 {
            let counts = campaigns::counts(store, state.campaign.id).await?;
            // What goes through its messages finds those that do not get on.
            let finds_lost = progress.walk.is_some() && progress.stands_still();
            if state.is_ahead(&counts) && !finds_lost {
                return state.wait_for(context, store, &counts).await;
            }
        }
        match progress.walk {
            Some(walk) => self.walk(context, common, store, &state, walk, on).await.map(then),
            None => self.make_next(context, store, &state, on).await.map(then),
        }
    }

    /// The messages to the next numbers. `false`: there are none today.
    async fn make_next(
        &self,
        context: &WorkContext,
        store: &TenantStore,
        state: &State,
        on: impl Fn(CampaignProgress) -> CampaignProgress,
    ) -> Result<bool> {
        let State { campaign, progress, .. } = state;
        let Some((place, some_are_there)) = progress.places() else {
            // None is left but those that were left out.
            let waiting = progress.clone().begins_again(moving::tomorrow(store.now()), store.now());
            if let Some(waiting) = waiting {
                state.wait(context, store, waiting).await?;
            }
            return Ok(false);
        };
        let places = place..progress.recipients.min(place + TOGETHER);
        let numbers = campaigns::numbers(store, campaign.id, places.clone()).await?;
        let slots = places.clone().zip(numbers).map(|(place, to)| Slot { place, id: progress.message(place), to, instead_of: None });
        let mut slots: Vec<Slot> = slots.collect();
        if some_are_there {
            let keys: Vec<_> = slots.iter().map(|slot| PhoneMessage::key_of(slot.id)).collect();
            let there = store.find_many(&keys).await?;
            slots.retain(|slot| there.iter().all(|message| message.id != slot.id));
        }
        let up_to = |place, left_out| progress.clone().made_up_to(place, left_out);
        let after = |place: Option<u64>, left_out| place.map_or_else(|| on(up_to(places.end, left_out)), |place| up_to(place, left_out));
        self.make(context, store, state, slots, after).await
    }

    /// Writes messages, each as it may go now, with all that they count together, and what `after` makes of the progress: up to the first place whose message
    /// is not made, if the plan has no more messages today; then it is `false`, and the campaign waits for the next day. Where it has no more new contacts, those
    /// are left out, and `after` hears of it.
    async fn make(
        &self,
        context: &WorkContext,
        store: &TenantStore,
        state: &State,
        slots: Vec<Slot>,
        after: impl Fn(Option<u64>, Option<Reason>) -> CampaignProgress,
    ) -> Result<bool> {
        let (State { campaign, tenant, settings, .. }, now) = (state, store.now());
        if slots.is_empty() {
            return state.wait(context, store, after(None, None)).await.map(|_| true);
        }
        let plan = self.app.plans().get(&tenant.plan).within(&tenant.limits.unwrap_or_default());
        let numbers: Vec<PhoneNumber> = slots.iter().map(|slot| slot.to.clone()).collect();
        let known = Known::read(store, &numbers).await?;
        let mut room = Room::read(store, Allowed { plan: &plan, called: &tenant.plan }).await?;
        let (mut made, mut waits, mut left_out) = (vec![], None, None);
        for slot in slots {
            let (message, verdict) = known.message(campaign, slot.id, &slot.to, settings, now);
            match admitted(message, verdict, &mut room, known.is_new(&slot.to)) {
                Ok(message) => made.push((message, slot.instead_of)),
                // Others are no new contacts.
                Err(reason @ (Reason::NewContactLimit | Reason::NewContactMonthLimit)) if slot.instead_of.is_none() => {
                    left_out = Some(reason);
                }
                Err(reason) => {
                    waits = Some((slot.place, reason));
                    break;
                }
            }
        }
        let tomorrow = moving::tomorrow(now);
        let progress = match waits {
            None => after(None, left_out),
            Some((place, reason)) => after(Some(place), left_out).waits(reason, tomorrow, now),
        };
        let mut writing = state.write(store, &progress)?;
        let (mut usage, mut counts) = (BTreeMap::<_, i64>::new(), BTreeMap::<_, i64>::new());
        let mut notes: BTreeMap<Timestamp, DueMessages> = BTreeMap::new();
        let mut note = |at: Timestamp| {
            let note = DueMessages::new(at, store.tenant_id(), store.random());
            notes.insert(note.due_at(), note);
        };
        for (message, instead_of) in made {
            writing = writing.create(store, &message, moving::contested())?;
            if message.status == MessageStatus::Queued && known.is_new(&message.to) {
                let before = known.peer(&message.to);
                writing = moving::write_peer(writing, store, before, &moving::expecting(store, &message, before))?;
            }
            if let Some(old) = instead_of {
                writing = writing.replace(store, &old.replaced(message.id), &old)?;
                *counts.entry(CampaignCounts::name(old.status)).or_default() -= 1;
            }
            *counts.entry(CampaignCounts::name(message.status)).or_default() += 1;
            let asked = PhoneMessage { status: MessageStatus::Queued, ..message.clone() };
            for (name, by) in asked.tally(&message) {
                *usage.entry(name).or_default() += by;
            }
            message.due_at.into_iter().for_each(&mut note);
        }
        if waits.is_some() {
            note(tomorrow);
        }
        writing = room.write(writing, store)?;
        for note in notes.values() {
            writing = writing.put(&context.directory, note)?;
        }
        let (usage, counts): (Vec<_>, Vec<_>) = (usage.into_iter().collect(), counts.into_iter().collect());
        let counts = (!counts.is_empty()).then_some((campaign.id, counts));
        moving::count(writing, store, &usage, counts)?.while_kept(store)?.commit().await?;
        Ok(waits.is_none())
    }

    /// Goes through messages that were made: those that a pause holds and those whose job got lost go on, those of a cancelled campaign end, those that failed
    /// go once more. `false`: nothing is left to do for it now.
    async fn walk(
        &self,
        context: &WorkContext,
        common: &Common,
        store: &TenantStore,
        state: &State,
        walk: Walk,
        on: impl Fn(CampaignProgress) -> CampaignProgress,
    ) -> Result<bool> {
        let (now, progress, campaign) = (store.now(), &state.progress, &state.campaign);
        let places = walk.place..progress.made.min(walk.place + TOGETHER);
        let first: Vec<PhoneMessageId> = places.clone().map(|place| progress.message(place)).collect();
        let mut messages = campaigns::messages(store, campaign.id, &first).await?;
        let mut slots = vec![];
        for place in places.clone() {
            let Some(message) = messages.remove(&progress.message(place)) else { continue };
            match campaign.status {
                MessageCampaignStatus::Sending if message.reason == Some(Reason::CampaignPaused) => {
                    self.wake(context, common, store, message.id, now).await?;
                }
                MessageCampaignStatus::Sending => {
                    if let Some(nudged) = message.nudged(now) {
                        settle(context, store, (&message, &nudged), None, None).await?;
                    }
                    let again = walk.retries_at.map(|moment| campaign.id.message(moment, place)).filter(|id| *id != message.id);
                    if let Some(id) = again.filter(|_| message.status == MessageStatus::Failed && message.replaced_by.is_none()) {
                        slots.push(Slot { place, id, to: message.to.clone(), instead_of: Some(message) });
                    }
                }
                MessageCampaignStatus::Cancelled => cancel(store, message).await?,
                // It is gone through again when it goes on.
                _ => return Ok(false),
            }
        }
        let at = |place: u64| CampaignProgress { walk: (place < progress.made).then_some(Walk { place, ..walk }), ..progress.clone() };
        let after = |place: Option<u64>, _| place.map_or_else(|| on(at(places.end)), at);
        self.make(context, store, state, slots, after).await
    }

    /// All messages were made: it ends when none of them waits or is on its way.
    async fn look(&self, context: &WorkContext, store: &TenantStore, state: &State) -> Result<Step> {
        let (now, State { campaign, progress, .. }) = (store.now(), state);
        let counts = campaigns::counts(store, campaign.id).await?;
        if counts.open() > 0 {
            return state.wait_for(context, store, &counts).await;
        }
        let writing = store.transaction().replace(store, &campaign.ended(&counts, now), campaign)?;
        let writing = writing.require_unchanged(store, progress, moving::contested())?.count(store, MessageCampaign::OPEN, -1)?;
        writing.while_kept(store)?.commit().await.map(|()| Step::Over)
    }
}

impl State {
    /// `None`: it is gone, or it is another turn.
    async fn read(context: &WorkContext, store: &TenantStore, turn: &CampaignTurn) -> Result<Option<Self>> {
        let (campaign, progress) = (MessageCampaign::key_of(turn.campaign), CampaignProgress::key_of(turn.campaign));
        let (tenant, settings, pool) = (Tenant::key_of(), MessagingSettings::key_of(), LinePool::key_of());
        let of_tenant = store.find_together((&campaign, &progress, &tenant, &settings));
        let ((campaign, progress, tenant, settings), pool) = tokio::try_join!(of_tenant, context.directory.find(&pool))?;
        let (campaign, progress) = (campaign, progress.filter(|progress| progress.turn == turn.turn));
        let tenant = tenant.filter(|tenant| tenant.status != TenantStatus::Closed);
        let (Some((campaign, progress)), Some(tenant)) = (campaign.zip(progress), tenant) else { return Ok(None) };
        let settings = settings.unwrap_or_else(|| MessagingSettings::unset(tenant.created_at));
        Ok(Some(State { campaign, progress, tenant, settings, pool: pool.unwrap_or_else(LinePool::none) }))
    }

    /// The progress, while nobody has paused, ended or moved the campaign on.
    fn write<'a>(&self, store: &'a TenantStore, after: &CampaignProgress) -> Result<Transaction<'a>> {
        let writing = store.transaction().replace(store, after, &self.progress)?;
        writing.require_unchanged(store, &self.campaign, moving::contested())
    }

    /// Whether there is as much in the queue as the lines send in the next time.
    fn is_ahead(&self, counts: &CampaignCounts) -> bool {
        let most = campaigns::per_minute(&self.campaign, &self.pool, &self.settings).saturating_mul(AHEAD);
        u64::try_from(counts.queued).unwrap_or(0) >= most.max(TOGETHER)
    }

    /// Until its messages have got on. Those that have not for long are gone through.
    async fn wait_for(&self, context: &WorkContext, store: &TenantStore, counts: &CampaignCounts) -> Result<Step> {
        let (now, progress) = (store.now(), self.progress.clone());
        let is_lost = counts.queued > 0 && progress.stands_still() && progress.walk.is_none();
        self.wait(context, store, if is_lost { progress.walking(None, now) } else { progress.later(now) }).await
    }

    async fn wait(&self, context: &WorkContext, store: &TenantStore, after: CampaignProgress) -> Result<Step> {
        let writing = self.write(store, &after)?;
        let writing = match after.due_at.filter(|_| after.is_resting()) {
            Some(until) => campaigns::remind(writing, &context.directory, store, until)?,
            None => writing,
        };
        writing.while_kept(store)?.commit().await.map(|()| Step::Over)
    }
}

/// One whose rest is over or whose turn was lost gets another, and one that goes on is looked at again in a while.
async fn bring_to_mind(context: &WorkContext, store: &TenantStore, open: &OpenCampaign) -> Result<()> {
    let (now, Some(progress)) = (store.now(), store.find(&CampaignProgress::key_of(open.id)).await?) else { return Ok(()) };
    if progress.wants_turn(now) {
        let next = progress.clone().next_turn(None, now).watched(now + WATCHED);
        let writing = store.transaction().replace(store, &next, &progress)?;
        return campaigns::remind(writing, &context.directory, store, now + WATCHED)?.commit().await;
    }
    if progress.is_resting() || progress.watched_until.is_some_and(|until| until > now) {
        return Ok(());
    }
    let writing = store.transaction().replace(store, &progress.clone().watched(now + WATCHED), &progress)?;
    campaigns::remind(writing, &context.directory, store, now + WATCHED)?.commit().await
}

/// Reads one more pack of a group. The campaign takes as many contacts as it may have recipients.
async fn gather(
    store: &TenantStore,
    state: &State,
    (group, gathering): (ContactGroupId, Gathering),
    on: impl Fn(CampaignProgress) -> CampaignProgress,
) -> Result<()> {
    let (now, State { campaign, progress, .. }) = (store.now(), state);
    let room = u64::try_from(MessageCampaign::MOST).unwrap_or(u64::MAX).saturating_sub(progress.recipients).min(RecipientPack::SIZE);
    let most = usize::try_from(room).unwrap_or(usize::MAX);
    let (numbers, after) = campaigns::members(store, group, gathering.after, progress.began_at, most).await?;
    let recipients = progress.recipients + numbers.len() as u64;
    let is_all = (numbers.len() as u64) < RecipientPack::SIZE;
    let next = Gathering { after, packs: gathering.packs + 1 };
    let went_on = on(CampaignProgress { gathering: (!is_all).then_some(next), recipients, ..progress.clone() });
    let writing = if is_all {
        let writing = store.transaction().replace(store, &went_on, progress)?;
        writing.replace(store, &campaign.gathered(recipients, now), campaign)?
    } else {
        state.write(store, &went_on)?
    };
    let pack = RecipientPack { campaign: campaign.id, n: gathering.packs, numbers };
    let writing = if pack.numbers.is_empty() { writing } else { writing.create(store, &pack, moving::contested())? };
    writing.while_kept(store)?.commit().await
}

/// One that has not left ends.
async fn cancel(store: &TenantStore, message: PhoneMessage) -> Result<()> {
    let mut message = message;
    for _ in 0..TRIES {
        let Some(cancelled) = message.cancelled() else { return Ok(()) };
        let peer = store.find(&Peer::key_of(&message.to)).await?;
        match moving::change(store.transaction(), store, (&message, &cancelled), peer.as_ref())?.commit().await {
            Err(Error::Conflict(_) | Error::NotFound) => {
                let Some(newer) = store.find(&PhoneMessage::key_of(message.id)).await? else { return Ok(()) };
                message = newer;
            }
            done => return done,
        }
    }
    Err(Error::contested())
}
