//! Has a mail of a campaign sent to colleagues, who see it before anybody else does.

use std::collections::BTreeSet;

use engagement::launch;
use records::campaign::{Campaign, Problem};
use records::campaign_plan::MailMonth;
use records::lead::Lead;
use records::sequence::{self, Step, number_of};
use records::test_mail::{TestMail, TestMailId};
use serde::Serialize;
use shared::http::answer::Answer;
use shared::http::arguments::Found;
use shared::http::idempotency::Once;
use shared::model::member;
use shared::model::period::Month;
use shared::model::user::{Email, EmailClaim};
use shared::tenancy::doors::{In, Member};
use shared::tenancy::{conflict, limit_reached};
use shared::{Error, Result};

use crate::contents::{self, Contents};
use crate::forms::TestSend;
use crate::launch::{has_room, refuse};

/// What is on its way.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CampaignTest)]
pub struct TestView {
    /// The number of the mail.
    step: u32,
    to: Vec<Email>,
}

/// Nothing is counted but the mails of the month. Links lead where they say, and nothing is noted of who follows them.
pub async fn send(door: In<Member>, campaign: Found<Campaign>, once: Once<TestSend>) -> Result<Answer<TestView, 202>> {
    let (store, outer, now) = (&door.store, &door.outer, door.now());
    let TestSend { to, step, lead } = once.body;
    let (campaign, contents) = contents::read(store, campaign.0).await?;
    let step = mail(&contents, step)?;
    check(&door, &campaign, &contents, step).await?;
    if let Some(lead) = lead {
        store.get(&Lead::key_of(lead)).await?;
    }
    are_members(&door, &to).await?;
    has_room(&door, to.len() as u64).await?;
    let answer = Answer::new("Test mails queued", TestView { step, to: to.clone() });
    let (mails, most) = (i64::try_from(to.len()).unwrap_or(0), outer.plan.emails_per_month);
    let full = limit_reached(MailMonth::NAME, most.unwrap_or(u64::MAX), &outer.tenant.plan);
    let mut sending = door
        .while_there(once.ticket.record(store.transaction(), &outer.store, &answer)?)?
        .allow(&door.test_mails())?
        .tally_within(&outer.store, &MailMonth::key_of(Month::of(now)), ("mails", mails), most, full)?;
    for to in to {
        let id = TestMailId::new(store.tag(), now, store.random());
        let test = TestMail::new(id, campaign.id, step, lead, to, now);
        sending = sending.create(store, &test, conflict("This test mail exists."))?;
    }
    sending.commit().await?;
    Ok(answer)
}

/// The first mail, if none is asked for.
fn mail(contents: &Contents, asked: Option<u32>) -> Result<u32> {
    let is_mail = |number: &u32| matches!(sequence::step(&contents.steps, *number), Some(Step::Email(_)));
    match asked {
        Some(number) if is_mail(&number) => Ok(number),
        Some(_) => Err(Error::field("step", "The step field must be the number of an email of the sequence.")),
        None => (0..contents.steps.len()).map(number_of).find(is_mail).map_or_else(|| refuse(Some(&Problem::NoEmail)).map(|()| 0), Ok),
    }
}

/// It asks for what a launch asks for, but of the one mail only.
async fn check(door: &In<Member>, campaign: &Campaign, contents: &Contents, number: u32) -> Result<()> {
    let problems = launch::of_contents(&door.store, &door.workspace.settings, campaign, &contents.steps).await?;
    let is_of_another = |problem: &&Problem| match problem {
        Problem::Incomplete { step, .. } | Problem::TemplateGone { step } => *step != number,
        _ => false,
    };
    refuse(problems.iter().find(|problem| !is_of_another(problem)))
}

/// Nobody else is written to in this way.
async fn are_members(door: &In<Member>, to: &[Email]) -> Result<()> {
    let claims: Vec<_> = to.iter().map(EmailClaim::key_of).collect();
    let claims = door.outer.directory.find_many(&claims).await?;
    let members: Vec<_> = claims.iter().map(|claim| member::Member::key_of(claim.user)).collect();
    let members: BTreeSet<_> = door.outer.store.find_many(&members).await?.into_iter().map(|member| member.user).collect();
    let of_members = claims.iter().filter(|claim| members.contains(&claim.user)).count();
    if of_members == to.len() {
        return Ok(());
    }
    Err(Error::field("to", "The to field must have only addresses of members of this tenant."))
}
