//! What carries the mails of a deployment: Amazon SES, or the mailbox of a local run. Only for the workers that send (`courier`, and those
//! of campaigns), so that no other function contains the client of SES.

mod lines;
mod mailbox;
mod ses;

use shared::aws::Aws;
use shared::carriers::{Letter, MailCarrier, Outcome, PendingSend};
use shared::config::{ConfigError, Stage, Variables};

use crate::mailbox::Mailbox;
use crate::ses::AmazonSes;

/// `MAILBOX_URL` catches all mails of a local run. Otherwise they are sent with Amazon SES. `MAIL_FROM` is the platform's own sender.
/// `MAIL_CONFIGURATION_SET` names the configuration set of SES that reports what becomes of letters with tags.
pub fn chosen(variables: Variables, stage: Stage) -> Result<Box<dyn MailCarrier>, ConfigError> {
    let carrier: Box<dyn MailCarrier> = match variables.optional("MAILBOX_URL") {
        Some(_) if stage != Stage::Local => {
            return Err(ConfigError("MAILBOX_URL is for local runs (STAGE=local): elsewhere mails go out through Amazon SES".into()));
        }
        Some(url) => Box::new(Mailbox::at(url, variables.optional("MAIL_FROM"), Aws::read(variables)?.https().clone())),
        None => {
            let (from, reports) = (variables.required("MAIL_FROM")?, variables.optional("MAIL_CONFIGURATION_SET"));
            Box::new(AmazonSes::new(&Aws::read(variables)?, from, reports))
        }
    };
    Ok(Box::new(Guarded(carrier)))
}

/// No carrier gets a letter with a line that could become two. Both are reached through this alone.
struct Guarded(Box<dyn MailCarrier>);

impl MailCarrier for Guarded {
    fn deduplicates(&self) -> bool {
        self.0.deduplicates()
    }

    fn send<'a>(&'a self, letter: &'a Letter) -> PendingSend<'a> {
        match lines::check(letter) {
            Ok(()) => self.0.send(letter),
            Err(reason) => Box::pin(std::future::ready(Outcome::Never(reason))),
        }
    }
}

#[cfg(test)]
mod tests;
