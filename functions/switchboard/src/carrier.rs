//! What carries the messages of a line: a gateway of the operator's, or AWS End User Messaging.

use records::phone_message::{PhoneMessage, Reason};
use shared::Result;
use shared::model::gateway::Gateway;
use shared::model::line::PhoneLine;
use shared::model::message_ref::MessageRef;
use shared::model::shared_secret::SharedSecret;
use shared::tenancy::TenantStore;
use shared::tenancy::jobs::WorkContext;

use crate::common::Common;
use crate::{Switchboard, gateway};

pub enum Carrier {
    Gateway(Box<(Gateway, SharedSecret)>),
    EndUserMessaging,
}

/// What is known after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The carrier has it.
    Taken,
    /// It certainly has it not, and may take it after so many seconds.
    NotNow(u32),
    /// It will never go by this channel.
    Never(Reason),
    /// Perhaps it has it. It takes a message once, and can be asked again.
    Unanswered,
    /// Perhaps it has it, and it would take it a second time. It is not asked again.
    Lost,
}

/// Seconds, where a carrier does not say how long.
pub const LATER: u32 = 10;
/// No carrier is waited for longer than that before it is asked again.
pub const LATEST: u32 = 900;

impl Switchboard {
    /// `None`: there is none, or its secret cannot be read.
    pub async fn carrier(&self, context: &WorkContext, common: &Common, line: &PhoneLine) -> Result<Option<Carrier>> {
        let Some(id) = line.gateway else { return Ok(Some(Carrier::EndUserMessaging)) };
        let gateway = common.gateway(&context.directory, id).await?;
        let keys = self.app.keys().lines()?;
        Ok(gateway.and_then(|gateway| gateway.secret(keys).map(|secret| Carrier::Gateway(Box::new((gateway, secret))))))
    }

    pub async fn call(&self, store: &TenantStore, message: &PhoneMessage, carrier: &Carrier) -> Result<Outcome> {
        let reference = MessageRef::new(store.tenant_id(), message.id).text(&self.app.keys().lines()?.references);
        let now = self.app.clock().now();
        Ok(match carrier {
            Carrier::Gateway(known) => gateway::send(&self.https, &known.0, &known.1, message, &reference, now).await,
            Carrier::EndUserMessaging => self.end_user_messaging.send(message, &reference, now).await,
        })
    }
}
