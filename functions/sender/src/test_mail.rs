//! Sends a mail of a campaign to a colleague who wants to see it. At most once: it is taken before the carrier is asked.

use engagement::letter::Composer;
use engagement::steps;
use engagement::suppressed::is_suppressed;
use records::campaign::Campaign;
use records::lead::{Lead, LeadId};
use records::template::Content;
use records::test_mail::{SendTest, TestMail};
use shared::carriers::{Letter, Outcome};
use shared::model::tenant::Tenant;
use shared::model::workspace::Workspace;
use shared::store::Record;
use shared::tenancy::jobs::WorkContext;
use shared::tenancy::{TenantStore, WorkspaceStore};
use shared::{Error, Result};

use crate::Sender;

impl Sender {
    pub async fn test(&self, context: &WorkContext, job: SendTest) -> Result<()> {
        let (Some(store), Some(within)) = (&context.store, &context.within) else {
            return Err(Error::internal("sending a test mail", "the job names no workspace"));
        };
        let Some(test) = within.find(&TestMail::key_of(job.test)).await?.filter(|test| !test.is_taken) else { return Ok(()) };
        let Some(letter) = self.letter_of(store, within, &test).await? else { return Ok(()) };
        let taken = test.taken();
        if !within.replace_if(&taken, &test).await? {
            return Ok(());
        }
        match self.carrier.send(&letter).await {
            Outcome::Taken(_) => Ok(()),
            Outcome::NotNow(reason) => {
                within.replace_if(&taken.returned(), &taken).await?;
                Err(Error::Unavailable { doing: "sending a test mail", cause: reason.into() })
            }
            Outcome::Never(reason) | Outcome::Unknown(reason) | Outcome::Held(reason) | Outcome::Unverified(reason) => {
                tracing::warn!(campaign = %test.campaign, reason, "a test mail did not go out");
                Ok(())
            }
        }
    }

    /// `None`: what it needs is gone, or the address gets no mail.
    async fn letter_of(&self, store: &TenantStore, within: &WorkspaceStore, test: &TestMail) -> Result<Option<Letter>> {
        let (campaign, workspace, tenant) = (Campaign::key_of(test.campaign), Workspace::key_of(within.tag()), Tenant::key_of());
        let (campaign, workspace, tenant, is_suppressed) =
            tokio::try_join!(within.find(&campaign), store.find(&workspace), store.find(&tenant), is_suppressed(store, within, &test.to))?;
        let (Some(campaign), Some(workspace), Some(tenant)) = (campaign, workspace, tenant) else { return Ok(None) };
        if is_suppressed || tenant.inaccessible(self.app.clock().now()).is_some() {
            return Ok(None);
        }
        let (Some(content), Some(lead)) = (content(within, &campaign, test.step).await?, self.lead_of(within, test).await?) else {
            return Ok(None);
        };
        let (keys, random) = (self.app.keys().mail_refs()?, self.app.random());
        let (settings, sites) = (&campaign.settings, &self.sites);
        let composer = Composer { workspace: &workspace, settings, sites, keys, random, inbound: None };
        match composer.test_letter(&content, &lead, store.tenant_id(), test.to.clone(), test.id.to_string()) {
            Ok(letter) => Ok(Some(letter)),
            Err(fault) => {
                tracing::warn!(campaign = %test.campaign, %fault, "a test mail cannot be written");
                Ok(None)
            }
        }
    }

    async fn lead_of(&self, within: &WorkspaceStore, test: &TestMail) -> Result<Option<Lead>> {
        match test.lead {
            Some(lead) => within.find(&Lead::key_of(lead)).await,
            None => {
                let now = self.app.clock().now();
                Ok(Some(Lead::example(LeadId::new(within.tag(), now, self.app.random()), test.to.clone(), now)))
            }
        }
    }
}

/// What the mail of a step says. A draft has no copies of its templates.
async fn content(within: &WorkspaceStore, campaign: &Campaign, number: u32) -> Result<Option<Content>> {
    let Some(step) = steps::of(within, campaign).await?.into_iter().find(|step| step.number == number) else { return Ok(None) };
    if let Some(content) = step.content()? {
        return Ok(Some(content));
    }
    let copies = steps::copies(within, std::slice::from_ref(&step.step)).await?;
    copies.with(step).content()
}
