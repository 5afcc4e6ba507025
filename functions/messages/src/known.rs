//! What the request for a message names, read with the door: its number, its template, the lines that there are, and how the tenant sends.

use records::message_template::{MessageTemplate, MessageTemplateName};
use records::messaging_settings::MessagingSettings;
use records::peer::Peer;
use serde::Deserialize;
use shared::Result;
use shared::http::catalogue::Operation;
use shared::http::endpoint::Argument;
use shared::model::line::LinePool;
use shared::model::phone_number::PhoneNumber;
use shared::tenancy::{Entered, Incoming, Wants};

pub struct Known {
    pub peer: Option<Peer>,
    pub template: Option<MessageTemplate>,
    pub pool: LinePool,
    /// `None`: nothing was set yet.
    pub settings: Option<MessagingSettings>,
}

/// The form says what is wrong with a body; here a wrong one names nothing.
#[derive(Default, Deserialize)]
struct Named {
    #[serde(default)]
    to: Option<serde_json::Value>,
    #[serde(default)]
    template: Option<serde_json::Value>,
}

impl Named {
    fn of(incoming: &Incoming) -> Self {
        serde_json::from_slice(&incoming.body).unwrap_or_default()
    }

    fn number(&self) -> Option<PhoneNumber> {
        self.to.as_ref()?.as_str().and_then(PhoneNumber::parse)
    }

    fn template(&self) -> Option<MessageTemplateName> {
        self.template.as_ref()?.as_str().and_then(MessageTemplateName::parse)
    }
}

impl Argument for Known {
    fn wants(incoming: &Incoming, wants: &mut Wants) {
        let named = Named::of(incoming);
        if let Some(number) = named.number() {
            wants.record(&Peer::key_of(&number));
        }
        if let Some(name) = named.template() {
            wants.record(&MessageTemplate::key_of(&name));
        }
        wants.record(&MessagingSettings::key_of());
        wants.open(&LinePool::key_of());
    }

    async fn take(incoming: &Incoming, entered: &Entered) -> Result<Self> {
        let named = Named::of(incoming);
        let peer = match named.number() {
            Some(number) => entered.find(&Peer::key_of(&number)).await?,
            None => None,
        };
        let template = match named.template() {
            Some(name) => entered.find(&MessageTemplate::key_of(&name)).await?,
            None => None,
        };
        let pool = entered.find_open(&LinePool::key_of()).await?.unwrap_or_else(LinePool::none);
        let settings = entered.find(&MessagingSettings::key_of()).await?;
        Ok(Known { peer, template, pool, settings })
    }

    fn describe(_operation: &mut Operation) {}
}
