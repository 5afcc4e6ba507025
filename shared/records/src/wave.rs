//! Leads of a campaign that do the same step at the same moment. A wave is planned, released to a worker when it may go, and gone when all of its leads
//! are through.

use std::fmt;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::campaign::CampaignId;
use crate::lead::{LeadId, LeadIds};
use shared::crypto::{self, Random};
use shared::ids::Segment;
use shared::model::period::Month;
use shared::store::{Collection, Entity, IN_WORKSPACE, InWorkspace, Key, List, Packed, Restore, Within};

/// What enrolments name a wave by. It follows from what the wave comes of, so whoever does a thing twice makes the same wave.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WaveId(String);

impl WaveId {
    /// Of the page of a plan.
    pub fn of_page(campaign: CampaignId, page: u32, number: usize) -> Self {
        WaveId::of(&[&campaign.to_string(), &page.to_string(), &number.to_string()])
    }

    /// Of what a person does by hand.
    pub fn new(random: &Random) -> Self {
        WaveId::of(&[&random.text(b"0123456789abcdefghijklmnopqrstuv", 26)])
    }

    /// Of what follows from a mail that came in, by the receiving service's id of it.
    pub fn of_answer(receipt: &str, campaign: CampaignId) -> Self {
        WaveId::of(&["answer", receipt, &campaign.to_string()])
    }

    /// Of the same leads, for a later step.
    pub fn next(&self, step: u32) -> Self {
        WaveId::of(&[&self.0, &step.to_string()])
    }

    fn of(parts: &[&str]) -> Self {
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        WaveId(crypto::hash(&parts).chars().take(22).collect())
    }
}

/// `waves` / `<campaign>#<first or next>#<due>#<id>.<mark>`: in the order in which they are due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    pub id: WaveId,
    /// A wave that is larger than what may go is parted. The lead that was a part's first keeps the parts apart.
    pub mark: LeadId,
    pub campaign: CampaignId,
    pub step: u32,
    pub due: Timestamp,
    pub leads: LeadIds,
    pub state: WaveState,
    /// Its leads got no mail of the campaign yet. Others go before it.
    pub is_first: bool,
    pub version: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case")]
pub enum WaveState {
    Planned,
    /// A worker does it. What it counts for is taken: mails of a day and of a month, in whole numbers of its leads.
    Released {
        since: Timestamp,
        round: u32,
        /// `None`: it sends nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        counted: Option<Counted>,
    },
}

/// Where the mails of a wave were counted when it was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    pub day: Date,
    pub month: Month,
    /// In UTC, where the tenant was new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day_of_new: Option<Date>,
}

impl Wave {
    /// Leads of a full one: with each lead's record and activity, what a wave does fits in one transaction.
    pub const MOST: usize = 40;
    /// A released wave of which nothing was heard goes to a worker again.
    const OVERDUE: SignedDuration = SignedDuration::from_mins(15);

    /// `None`: of nobody.
    pub fn planned(id: WaveId, campaign: CampaignId, step: u32, due: Timestamp, leads: Vec<LeadId>) -> Option<Self> {
        let mark = *leads.first()?;
        Some(Wave { id, mark, campaign, step, due, leads: LeadIds(leads), state: WaveState::Planned, is_first: false, version: 1 })
    }

    /// Of leads that begin.
    pub fn first(self) -> Self {
        Wave { is_first: true, ..self }
    }

    /// Of those of its leads that go on to a later step. `None`: of nobody. Its own first lead keeps it apart from other parts, of this wave too.
    pub fn following(&self, step: u32, due: Timestamp, leads: Vec<LeadId>) -> Option<Self> {
        Wave::planned(self.id.next(step), self.campaign, step, due, leads)
    }

    pub fn released(&self, counted: Option<Counted>, now: Timestamp) -> Self {
        self.in_state(WaveState::Released { since: now, round: 1, counted })
    }

    /// The first leads, and the rest as a part of its own.
    pub fn parted(&self, first: usize) -> (Self, Option<Self>) {
        let (first, rest) = self.leads.0.split_at(first.min(self.leads.0.len()));
        let own = Wave { leads: LeadIds(first.to_vec()), ..self.clone() };
        let rest = rest.first().map(|mark| Wave { leads: LeadIds(rest.to_vec()), mark: *mark, version: 1, ..self.clone() });
        (own, rest)
    }

    /// What is left of it, planned again.
    pub fn returned(&self, leads: LeadIds) -> Self {
        Wave { leads, ..self.in_state(WaveState::Planned) }
    }

    /// For a worker once more, if nothing was heard of it for long.
    pub fn again(&self, now: Timestamp) -> Option<Self> {
        match self.state {
            WaveState::Released { since, round, counted } if now.duration_since(since) >= Wave::OVERDUE => {
                Some(self.in_state(WaveState::Released { since: now, round: round + 1, counted }))
            }
            _ => None,
        }
    }

    /// When it may be given to a worker once more.
    pub fn overdue_at(&self) -> Option<Timestamp> {
        match self.state {
            WaveState::Released { since, .. } => Some(since + Wave::OVERDUE),
            WaveState::Planned => None,
        }
    }

    pub fn is_planned(&self) -> bool {
        self.state == WaveState::Planned
    }

    fn in_state(&self, state: WaveState) -> Self {
        Wave { state, version: self.version + 1, ..self.clone() }
    }

    pub fn place(&self) -> WavePlace {
        WavePlace { campaign: self.campaign, is_first: self.is_first, due: self.due, id: self.id.clone(), mark: self.mark }
    }

    pub fn key_of(place: &WavePlace) -> Key<Self> {
        Key::new(&Collection::of::<Wave>(), place.clone())
    }

    /// Those of leads that begin, or the others, as they are due.
    pub fn due(campaign: CampaignId, is_first: bool) -> List<Self> {
        List::behind(Collection::of::<Wave>(), Turn(campaign, is_first))
    }

    /// Of all campaigns of the workspace.
    pub fn all() -> List<Self> {
        List::new(Collection::of::<Wave>(), "")
    }

    /// All of them.
    pub fn of_campaign(campaign: CampaignId) -> List<Self> {
        List::behind(Collection::of::<Wave>(), campaign)
    }
}

/// Where a wave lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WavePlace {
    pub campaign: CampaignId,
    pub is_first: bool,
    pub due: Timestamp,
    pub id: WaveId,
    pub mark: LeadId,
}

/// The waves of a campaign lie in two rows, so that who waits for the next mail is found without those who begin.
struct Turn(CampaignId, bool);

impl Segment for Turn {}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.0, if self.1 { "first" } else { "next" })
    }
}

impl Segment for WavePlace {}

impl fmt::Display for WavePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{:012}#{}.{}", Turn(self.campaign, self.is_first), self.due.as_second(), self.id.0, self.mark)
    }
}

/// A job: a worker shall do a released wave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendWave {
    pub wave: WavePlace,
}

impl Entity for Wave {
    type Scope = InWorkspace;
    const TYPE: &'static str = "wave";
    const COLLECTION: &'static str = "waves";
    const WITHIN: Option<Within> = Some(IN_WORKSPACE);
    const AUDITED: bool = false;
    /// No worker has it here.
    const RESTORE: Option<Restore> = Some(|data| {
        let wave: Wave = serde_json::from_value(data).ok()?;
        Packed::of(&Wave { state: WaveState::Planned, ..wave }).ok()
    });

    fn key(&self) -> Key<Self> {
        Wave::key_of(&self.place())
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }
}
