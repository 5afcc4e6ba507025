//! Sends the platform's mails: claim with a lease, give to the carrier with a stable id, record the result. After a crash between carrier
//! and record, a mail is sent again only if the carrier accepts an id once. Otherwise it becomes `unknown`, is listed, and waits for an
//! operator.

use std::time::Duration;

use serde_json::Value;
use shared::carriers::letter::{Letter, Sites};
use shared::carriers::{MailCarrier, Outcome};
use shared::config::Variables;
use shared::model::mail::{Mail, MailState, MailStep};
use shared::runtime::worker::{self, Worker};
use shared::runtime::{App, StartError};
use shared::tenancy::jobs::{SendMail, WorkContext};
use shared::{Error, Result};

pub struct Courier {
    app: App,
    carrier: Box<dyn MailCarrier>,
    sites: Sites,
}

impl Worker for Courier {
    const NAME: &'static str = "courier";

    /// `APP_URL` is the base of the pages that links in mails lead to. Without it, mails contain only the token.
    fn start(app: App, variables: Variables) -> Result<Self, StartError> {
        let pages = variables.optional("APP_URL").map(|url| url.trim_end_matches('/').to_owned());
        let carrier = carriers::chosen(variables, app.config().stage)?;
        Ok(Courier::with(app, carrier, pages))
    }

    async fn handle(&self, event: Value, request_id: &str) -> Result<Value> {
        worker::queue(&self.app, event, Self::NAME, request_id, |context, job: SendMail| async move { self.deliver(&context, job).await })
            .await
    }
}

impl Courier {
    pub fn with(app: App, carrier: Box<dyn MailCarrier>, pages: Option<String>) -> Self {
        let sites = Sites { api: app.config().public_url.clone(), app: pages };
        Courier { app, carrier, sites }
    }

    async fn deliver(&self, context: &WorkContext, job: SendMail) -> Result<()> {
        // The mail was deleted, so nobody waits for it any more.
        let Some(mail) = context.directory.find(&Mail::key_of(job.mail)).await? else { return Ok(()) };
        match mail.next_step(context.now(), self.carrier.deduplicates()) {
            MailStep::Done => Ok(()),
            MailStep::Wait => Err(claimed_by_another()),
            MailStep::GiveUp => lose_track(context, &mail).await,
            MailStep::Send => self.send(context, &mail).await,
        }
    }

    async fn send(&self, context: &WorkContext, mail: &Mail) -> Result<()> {
        let letter = Letter::of(mail, &self.sites, self.app.keys().links()?);
        let claimed = mail.claimed(context.now());
        if !context.directory.replace_if(&claimed, mail).await? {
            return Err(claimed_by_another());
        }
        match self.carrier.send(&letter).await {
            Outcome::Taken(_) => settle(context, &claimed, MailState::Sent { at_time: self.app.clock().now() }).await,
            Outcome::Never(reason) => {
                tracing::error!(mail = %mail.id, kind = letter.kind, reason, "a mail that no attempt will deliver");
                settle(context, &claimed, MailState::Failed { reason }).await
            }
            Outcome::Unknown(reason) if !self.carrier.deduplicates() => {
                tracing::warn!(mail = %mail.id, kind = letter.kind, reason, "nobody knows whether a mail went out");
                lose_track(context, &claimed).await
            }
            Outcome::NotNow(reason) | Outcome::Held(reason) | Outcome::Unverified(reason) | Outcome::Unknown(reason) => {
                settle(context, &claimed, MailState::Queued).await?;
                Err(Error::Unavailable { doing: "sending a mail", cause: reason.into() })
            }
        }
    }
}

/// Records the result for a claimed mail. It tries a few times, because a lost record causes another attempt or an `unknown` mail.
async fn settle(context: &WorkContext, claimed: &Mail, state: MailState) -> Result<()> {
    let settled = claimed.with_state(state);
    let mut pauses = [200, 800].into_iter();
    loop {
        match context.directory.replace_if(&settled, claimed).await {
            Ok(true) => return Ok(()),
            Ok(false) => return Err(claimed_by_another()),
            Err(error) => match pauses.next() {
                Some(pause) if error.is_transient() => tokio::time::sleep(Duration::from_millis(pause)).await,
                _ => return Err(error),
            },
        }
    }
}

/// The mail and its entry in the operators' list, together.
async fn lose_track(context: &WorkContext, mail: &Mail) -> Result<()> {
    let (unknown, line) = mail.lost_track_of(context.now());
    let directory = &context.directory;
    directory.transaction().replace(directory, &unknown, mail)?.put(directory, &line)?.commit().await
}

fn claimed_by_another() -> Error {
    Error::Unavailable { doing: "sending a mail", cause: "another worker has claimed it".into() }
}
