//! The steps of a campaign, as they belong to it.

use std::collections::{BTreeMap, BTreeSet};

use records::campaign::Campaign;
use records::sequence::{self, CampaignStep, EmailBody, EmailStep, Step, TemplateCopy};
use records::template::{Template, TemplateBody, TemplateId};
use shared::tenancy::WorkspaceStore;
use shared::{Error, Result};

/// In their order.
pub async fn of(store: &WorkspaceStore, campaign: &Campaign) -> Result<Vec<CampaignStep>> {
    if campaign.sequence.steps == 0 {
        return Ok(vec![]);
    }
    store.all(&CampaignStep::of_campaign(campaign.id)).await
}

/// The templates of steps as they are now, for a campaign that is launched: its mails do not change with them.
pub async fn copies(store: &WorkspaceStore, steps: &[Step]) -> Result<Copies> {
    let keys: Vec<_> = sequence::templates(steps).into_iter().map(Template::key_of).collect();
    let templates = store.find_many(&keys).await?;
    let keys: Vec<_> = templates.iter().map(|template| TemplateBody::key_of(template.id, template.content_version())).collect();
    let mut copies = BTreeMap::new();
    for body in store.find_many(&keys).await? {
        copies.insert(body.template, TemplateCopy::of(&body.content()?));
    }
    let found: BTreeSet<TemplateId> = templates.iter().map(|template| template.id).collect();
    if copies.len() < found.len() {
        return Err(Error::Conflict("A template is being changed by others. Try again.".into()));
    }
    Ok(Copies(copies))
}

/// What templates say.
#[derive(Debug, Default)]
pub struct Copies(BTreeMap<TemplateId, TemplateCopy>);

impl Copies {
    /// A step with what its template says.
    pub fn with(&self, mut step: CampaignStep) -> CampaignStep {
        if let Step::Email(EmailStep { body: Some(EmailBody::Template(template)), .. }) = &step.step {
            step.copy = self.0.get(template).cloned();
        }
        step
    }
}
