//! What became of mails: the carrier's reports, and what readers did with them. Reports come late, twice and in any order, so each thing is noted once, in
//! one transaction with all that follows from it.

mod effects;
mod notice;

use engagement::active::turned;
use jiff::Timestamp;
use records::campaign::{Campaign, CampaignId, CampaignStatus, PausedBy};
use records::enrolment::Enrolment;
use records::lead::{Lead, LeadId};
use shared::model::mail_ref::MailRef;
use shared::tenancy::jobs::WorkContext;
use shared::tenancy::{TenantStore, WorkspaceStore};
use shared::{Error, Result};

use crate::Sender;
use crate::mail::busy;
use effects::{Effects, Known};
pub use notice::Notice;
use notice::{Event, Happened};

/// A mail of a campaign, and what is there of what it belongs to.
pub struct Mail<'a> {
    context: &'a WorkContext,
    store: &'a TenantStore,
    within: &'a WorkspaceStore,
    campaign: CampaignId,
    lead: LeadId,
    step: u32,
}

/// How often it is tried again when somebody else writes about the same lead.
const TRIES: usize = 10;

impl Sender {
    /// A notice about no mail of ours, or about what is gone, says nothing.
    pub async fn report(&self, context: &WorkContext, notice: Notice) -> Result<()> {
        let now = self.app.clock().now();
        let Some(event) = notice.event(now) else { return Ok(()) };
        let found = match &notice {
            Notice::Carrier(report) => context.reported(&report.tags())?,
            Notice::Reader(followed) => {
                let found = context.engaged(followed.engagement.link(), &followed.token)?;
                found.map(|(link, store, within)| (link.mail, store, within))
            }
        };
        let Some((mail, store, within)) = found else { return Ok(()) };
        let mail = Mail::of(context, &store, &within, &mail);
        for _ in 0..TRIES {
            match self.note(&mail, &event, now).await {
                Err(Error::Conflict(_) | Error::Missing(_)) => {}
                // Tenant or workspace are going.
                Err(Error::NotFound) => return Ok(()),
                Err(error) => return Err(error),
                Ok(()) => return self.brake(&mail, &event).await,
            }
        }
        Err(busy())
    }

    async fn note(&self, mail: &Mail<'_>, event: &Event, now: Timestamp) -> Result<()> {
        let (enrolment, lead) = (Enrolment::key_of(mail.campaign, mail.lead), Lead::key_of(mail.lead));
        let campaign = Campaign::key_of(mail.campaign);
        let (enrolment, lead, campaign) = mail.within.find_together((&enrolment, &lead, &campaign)).await?;
        // What was never given to the carrier is not reported.
        let enrolment = enrolment.filter(|enrolment| enrolment.mail(mail.step).is_some());
        let mut effects = Effects::new(mail, Known { enrolment, lead }, campaign, now);
        effects.settle(event).await?;
        match &event.happened {
            Happened::Delivered => effects.delivered(event.at),
            Happened::Bounced { of, by_list } => effects.bounced(event.at, of, *by_list).await?,
            Happened::SoftBounced { of } => effects.soft_bounced(event.at, of).await?,
            Happened::Complained { of } => effects.complained(event.at, of).await?,
            Happened::Rejected { reason } => effects.rejected(reason),
            Happened::Opened { automated } => effects.opened(event.at, *automated),
            Happened::Clicked { automated } => effects.clicked(event.at, *automated),
            Happened::Unsubscribed => effects.unsubscribed(),
        }
        let of_new = effects.has_arrived && self.daily_of_new(mail.store).await?.is_some();
        effects.write(of_new).await
    }

    /// A campaign of which too much comes back goes no further.
    async fn brake(&self, mail: &Mail<'_>, event: &Event) -> Result<()> {
        if !matches!(event.happened, Happened::Bounced { .. } | Happened::Complained { .. }) {
            return Ok(());
        }
        for _ in 0..TRIES {
            let Some(campaign) = mail.within.find(&Campaign::key_of(mail.campaign)).await? else { return Ok(()) };
            if campaign.status != CampaignStatus::Active || !campaign.must_brake() {
                return Ok(());
            }
            let paused = campaign.paused(PausedBy::Deliverability, self.app.clock().now())?;
            match turned(mail.store, mail.within, &paused, &campaign)?.commit().await {
                Ok(()) => {
                    tracing::warn!(campaign = %mail.campaign, "too many mails come back: the campaign is paused");
                    return Ok(());
                }
                Err(Error::Conflict(_)) => {}
                Err(Error::NotFound | Error::Missing(_)) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Err(busy())
    }
}

impl<'a> Mail<'a> {
    fn of(context: &'a WorkContext, store: &'a TenantStore, within: &'a WorkspaceStore, mail: &MailRef) -> Self {
        let (campaign, lead) = (CampaignId::from(mail.campaign()), LeadId::from(mail.lead()));
        Mail { context, store, within, campaign, lead, step: mail.step() }
    }
}
