//! Takes in what people write to the deployment's address for replies. Amazon SES stores each mail in a bucket and says so in a queue; this function reads
//! the notice, fetches the mail, and hands both on. Notices come late, twice and in any order.

mod effects;
mod mails;
mod receipt;
mod receiving;
mod threading;

use serde_json::Value;
use shared::config::Variables;
use shared::runtime::worker::{self, Worker};
use shared::runtime::{App, StartError};
use shared::tenancy::jobs::WorkContext;
use shared::{Error, Result};

use mails::Mails;
use receipt::{Receipt, Verdict};

pub struct Receiver {
    app: App,
    mails: Mails,
    /// To which people answer. `None`: nobody can.
    domain: Option<String>,
    /// Where notices of mails come from.
    queue: String,
}

impl Worker for Receiver {
    const NAME: &'static str = "receiver";

    /// `INBOUND_BUCKET` is where Amazon SES stores mails, and `INBOUND_QUEUE_ARN` the queue of its notices.
    fn start(app: App, variables: Variables) -> Result<Self, StartError> {
        let (bucket, queue) = (variables.required("INBOUND_BUCKET")?, variables.required("INBOUND_QUEUE_ARN")?);
        let domain = variables.optional("INBOUND_DOMAIN");
        let mails = Mails::read(variables, bucket)?;
        Ok(Receiver { app, mails, domain, queue })
    }

    async fn handle(&self, event: Value, request_id: &str) -> Result<Value> {
        // An empty batch wakes an instance up.
        let is_empty = event["Records"].as_array().is_some_and(Vec::is_empty);
        if !is_empty && !worker::comes_from(&event, &self.queue) {
            return Err(Error::internal("receiving mails", "the event is not of the queue of inbound mails"));
        }
        let work = |context: WorkContext, body: String| async move {
            match Receipt::read(&body, self.mails.bucket())? {
                Some(receipt) => self.receive(&context, &receipt).await,
                None => Ok(()),
            }
        };
        worker::notices(&self.app, event, Self::NAME, request_id, work).await
    }
}
