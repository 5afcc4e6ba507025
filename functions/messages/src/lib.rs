//! Messages to phones (F4): what is sent and what came in, the lines that they go out from, campaigns of messages, templates of messages, how a tenant sends
//! them, and what gateways report.

mod campaign;
mod dry_run;
mod gateway;
mod known;
mod message;
mod phone_line;
mod recipient;
mod rules;
mod sandbox;
mod settings;
mod template;

use shared::http::Registry;
use shared::http::registry::Routes;

pub struct Messages;

impl Routes for Messages {
    fn declare(routes: &mut impl Registry) {
        routes.tag("messages", "Messages to and from phones: by iMessage, RCS or SMS.");
        routes.get("/v1/messages", "listPhoneMessages", "List messages", message::list);
        routes.post("/v1/messages", "sendPhoneMessage", "Send a message", message::send);
        routes.may(404);
        routes.get("/v1/messages/{id}", "getPhoneMessage", "Read a message, with each call of a carrier", message::show);
        routes.post("/v1/messages/{id}/cancel", "cancelPhoneMessage", "Cancel a message that waits", message::cancel);
        routes.post("/v1/messages/{id}/resend", "resendPhoneMessage", "Send a message again that failed or is unknown", message::resend);
        routes.tag("phone lines", "The numbers that messages to phones go out from.");
        routes.get("/v1/phone-lines", "listPhoneLines", "List the lines that the tenant may send from", phone_line::list);
        routes.get("/v1/phone-lines/{id}", "getPhoneLine", "Read a line", phone_line::show);
        routes.tag("gateways", "What gateways of the operator report.");
        routes.post("/v1/gateways/{id}/events", "reportGatewayEvents", "Report receipts, and messages that came in", gateway::take);
        routes.tag("message campaigns", "One text to many phones, each with the values of its contact.");
        routes.get("/v1/campaigns", "listMessageCampaigns", "List campaigns of messages", campaign::list);
        routes.post("/v1/campaigns", "createMessageCampaign", "Send a campaign of messages, or see what it would do", campaign::create);
        routes.may(404);
        routes.get("/v1/campaigns/{id}", "getMessageCampaign", "Read a campaign of messages, with its counts", campaign::show);
        routes.post("/v1/campaigns/{id}/pause", "pauseMessageCampaign", "Pause a campaign of messages", campaign::pause);
        routes.post("/v1/campaigns/{id}/resume", "resumeMessageCampaign", "Let a paused campaign of messages go on", campaign::resume);
        routes.post("/v1/campaigns/{id}/cancel", "cancelMessageCampaign", "Cancel what a campaign has not sent", campaign::cancel);
        routes.post(
            "/v1/campaigns/{id}/retry-failed",
            "retryFailedOfMessageCampaign",
            "Send once more to those whose message failed",
            campaign::retry_failed,
        );
        routes.get("/v1/campaigns/{id}/recipients", "listMessageCampaignRecipients", "List what became of each recipient", recipient::list);
        routes.tag("message templates", "What messages to phones say, with `{{variables}}` for what differs from message to message.");
        routes.get("/v1/templates", "listMessageTemplates", "List templates of messages", template::list);
        routes.post("/v1/templates", "createMessageTemplate", "Create a template of messages", template::create);
        routes.get("/v1/templates/{id}", "getMessageTemplate", "Read a template of messages", template::show);
        routes.patch("/v1/templates/{id}", "updateMessageTemplate", "Change a template of messages", template::update);
        routes.delete("/v1/templates/{id}", "deleteMessageTemplate", "Delete a template of messages", template::delete);
        routes.post(
            "/v1/templates/{id}/preview",
            "previewMessageTemplate",
            "See what a message would say, and how many SMS segments it takes",
            template::preview,
        );
        routes.tag("messaging settings", "How the tenant sends messages: quiet hours, consent, and by what a message may go.");
        routes.get("/v1/settings/messaging", "getMessagingSettings", "Read how messages are sent", settings::show);
        routes.patch("/v1/settings/messaging", "updateMessagingSettings", "Change how messages are sent", settings::update);
    }
}
