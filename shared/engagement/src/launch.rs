//! What a campaign lacks to be launched. A dry run tells it, a launch is refused for it, and a start that was planned is held up by it.

use std::collections::BTreeSet;

use records::audience::Audience;
use records::campaign::{Campaign, Problem, problems};
use records::lead::Lead;
use records::sequence::{self, Step};
use records::template::{Template, TemplateId};
use shared::Result;
use shared::model::workspace::WorkspaceSettings;
use shared::tenancy::{TenantStore, WorkspaceStore};

use crate::audience::Reader;

/// Leads that are read at once, when only one is looked for.
const AT_ONCE: usize = 200;

/// What is wrong with its steps and its sender.
pub async fn of_contents(
    store: &WorkspaceStore,
    workspace: &WorkspaceSettings,
    campaign: &Campaign,
    steps: &[Step],
) -> Result<Vec<Problem>> {
    let keys: Vec<_> = sequence::templates(steps).into_iter().map(Template::key_of).collect();
    let there: BTreeSet<TemplateId> = store.find_many(&keys).await?.into_iter().map(|template| template.id).collect();
    Ok(problems(&campaign.settings, steps, |template| there.contains(&template), workspace))
}

/// What is wrong with its audience: what it names is gone, or nobody of it would get a mail. In a very large workspace somebody is believed to.
pub async fn of_audience(
    store: &WorkspaceStore,
    outer: &TenantStore,
    campaign: &Campaign,
    audience: Option<&Audience>,
) -> Result<Vec<Problem>> {
    let Some(audience) = audience else { return Ok(vec![Problem::NoLeads { chosen: false }]) };
    let reader = Reader::of(store, outer, &campaign.settings, audience).await?;
    let mut problems: Vec<Problem> = reader.gone.iter().map(|what| Problem::AudienceGone(what)).collect();
    let (mut place, mut passed, mut seen) = (None, 0, BTreeSet::new());
    loop {
        let page = reader.page(place, AT_ONCE, &mut seen).await?;
        passed += page.passed as u64;
        if page.leads.iter().any(|lead| lead.decision.is_ok()) {
            break;
        }
        match page.next {
            Some(next) if passed < Lead::MAX_PASSED => place = Some(next),
            Some(_) => break,
            None => {
                problems.push(Problem::NoLeads { chosen: true });
                break;
            }
        }
    }
    Ok(problems)
}
