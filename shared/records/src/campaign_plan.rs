//! How far a launched campaign is: which leads are enrolled, and how fast its mails may go.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::campaign::{Campaign, CampaignId};
use crate::lead::{LeadId, LeadIds};
use crate::schedule::Hold;
use crate::sequence::Next;
use crate::wave::{Wave, WaveId};
use shared::ids::Segment;
use shared::model::period::Month;
use shared::store::{Collection, Entity, IN_WORKSPACE, InTenant, InWorkspace, Key, List, Restore, Within, restored};

/// `campaign-plans` / `<campaign>`: from its launch on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CampaignPlan {
    pub campaign: CampaignId,
    pub started_at: Timestamp,
    /// How many pages of the audience are enrolled.
    pub page: u32,
    /// Where the next page begins. `None`: at the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// A page that is being enrolled: who is on it is written down before the first of them is, so whoever goes on enrols the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<PlannedPage>,
    pub is_enrolled: bool,
    /// How many leads were enrolled, and left out.
    pub enrolled: u64,
    pub skipped: u64,
    /// Moments of the schedule up to this one are used.
    pub paced_to: Timestamp,
    /// Mails of moments before that may still go today.
    pub credit: u32,
    /// What its mails wait for, and until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by: Option<Hold>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Timestamp>,
    /// Since when nobody waits any more, but reports of mails of which nobody knows are still awaited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_since: Option<Timestamp>,
    pub version: u64,
}

/// A place in an audience.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Of several lists, which. Of leads that are named, how many are behind.
    pub number: u32,
    /// The last lead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<LeadId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedPage {
    pub leads: LeadIds,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<SkippedLead>,
    /// Where the page after it begins. `None`: it is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Place>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedLead {
    pub lead: LeadId,
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl CampaignPlan {
    /// Leads of a page.
    pub const PAGE: usize = 400;

    pub fn new(campaign: CampaignId, now: Timestamp) -> Self {
        CampaignPlan {
            campaign,
            started_at: now,
            page: 0,
            place: None,
            pending: None,
            is_enrolled: false,
            enrolled: 0,
            skipped: 0,
            paced_to: now,
            credit: 0,
            held_by: None,
            next_at: None,
            over_since: None,
            version: 1,
        }
    }

    /// Leads that have an enrolment. Those of a page that is being enrolled are counted at its end.
    pub fn recipients(&self) -> u64 {
        self.enrolled + self.skipped
    }

    /// With the page that is enrolled next. It has a number of its own, which its enrolments carry.
    pub fn with_page(&self, page: PlannedPage) -> Self {
        CampaignPlan { pending: Some(page), page: self.page + 1, version: self.version + 1, ..self.clone() }
    }

    /// The page is enrolled.
    pub fn past_page(&self, next: Option<Place>, enrolled: u64, skipped: u64) -> Self {
        CampaignPlan {
            pending: None,
            place: next,
            is_enrolled: next.is_none(),
            enrolled: self.enrolled + enrolled,
            skipped: self.skipped + skipped,
            version: self.version + 1,
            ..self.clone()
        }
    }

    /// As it goes on with its campaign, which was `before`: what went by before is not made up for. Of a campaign that begins now, the first wait does too.
    pub fn resumed(&self, before: &Campaign, now: Timestamp) -> Self {
        let started_at = if before.launched_at.is_none() { now } else { self.started_at };
        let version = self.version + 1;
        CampaignPlan { started_at, paced_to: now, credit: 0, held_by: None, next_at: None, over_since: None, version, ..self.clone() }
    }

    /// After mails were released. `None`: nothing changes.
    pub fn paced(&self, to: Timestamp, credit: u32, held_by: Option<Hold>, next_at: Option<Timestamp>) -> Option<Self> {
        let paced = CampaignPlan { paced_to: to, credit, held_by, next_at, ..self.clone() };
        (paced != *self).then(|| CampaignPlan { version: self.version + 1, ..paced })
    }

    /// Nobody waits any more.
    pub fn over(&self, now: Timestamp) -> Self {
        CampaignPlan { over_since: Some(now), version: self.version + 1, ..self.clone() }
    }

    /// Somebody waits. Reports of mails that get lost from here on have their own time to come. `None`: somebody did before.
    pub fn not_over(&self) -> Option<Self> {
        self.over_since.map(|_| CampaignPlan { over_since: None, version: self.version + 1, ..self.clone() })
    }

    /// The waves of a page: its leads do the first step of the sequence together. Each lead's wave follows from its place on the page.
    pub fn waves(&self, page: &PlannedPage, first: Next) -> Vec<Wave> {
        let Next::Step { number, due } = first else { return vec![] };
        let wave = |(at, leads): (usize, &[LeadId])| {
            Wave::planned(WaveId::of_page(self.campaign, self.page, at), self.campaign, number, due, leads.to_vec()).map(Wave::first)
        };
        page.leads.0.chunks(Wave::MOST).enumerate().filter_map(wave).collect()
    }

    pub fn key_of(campaign: CampaignId) -> Key<Self> {
        Key::new(&Collection::of::<CampaignPlan>(), campaign)
    }
}

impl Entity for CampaignPlan {
    type Scope = InWorkspace;
    const TYPE: &'static str = "campaign_plan";
    const COLLECTION: &'static str = "campaign-plans";
    const WITHIN: Option<Within> = Some(IN_WORKSPACE);
    const AUDITED: bool = false;
    const RESTORE: Option<Restore> = Some(restored::<CampaignPlan>);

    fn key(&self) -> Key<Self> {
        CampaignPlan::key_of(self.campaign)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }
}

/// `campaign-days` / `<campaign>#<date>`: mails of a campaign on a day of its zone. What is released is counted, and what then does not go is taken off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignDay {
    pub mails: u64,
}

struct DayKey(CampaignId, Date);

impl Segment for DayKey {}

impl fmt::Display for DayKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.0, self.1)
    }
}

impl CampaignDay {
    pub fn of_campaign(campaign: CampaignId) -> List<Self> {
        List::behind(Collection::of::<CampaignDay>(), campaign)
    }

    pub fn key_of(campaign: CampaignId, day: Date) -> Key<Self> {
        Key::new(&Collection::of::<CampaignDay>(), DayKey(campaign, day))
    }
}

/// `mail-months` / `<month>`: mails of a tenant in a month (UTC), counted like those of a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailMonth {
    pub mails: u64,
}

impl MailMonth {
    /// What the plan limits.
    pub const NAME: &'static str = "e-mails per month";

    pub fn key_of(month: Month) -> Key<Self> {
        Key::new(&Collection::of::<MailMonth>(), month)
    }
}

/// `mail-days` / `<date>`: mails of a new tenant's campaigns on a day (UTC), counted like those of a month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailDay {
    pub mails: u64,
}

impl MailDay {
    pub const NAME: &'static str = "e-mails per day of a new tenant";

    pub fn key_of(day: Date) -> Key<Self> {
        Key::new(&Collection::of::<MailDay>(), day)
    }
}

/// `delivered-mails` / `all`: how many mails of a tenant's campaigns arrived. It is counted only until the tenant is no longer new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveredMails {
    pub mails: u64,
}

impl DeliveredMails {
    /// With so many, a tenant is no longer new.
    pub const ENOUGH: u64 = 1_000;

    pub fn key_of() -> Key<Self> {
        Key::new(&Collection::of::<DeliveredMails>(), "all")
    }
}

counts!(CampaignDay, InWorkspace, "campaign_day", "campaign-days", Some(IN_WORKSPACE));
counts!(MailMonth, InTenant, "mail_month", "mail-months", None);
counts!(MailDay, InTenant, "mail_day", "mail-days", None);
counts!(DeliveredMails, InTenant, "delivered_mails", "delivered-mails", None);
