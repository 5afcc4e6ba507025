//! Messages to phones (F4): so far their templates, with a preview of what becomes of one.

mod rules;
mod template;

use shared::http::Registry;
use shared::http::registry::Routes;

pub struct Messages;

impl Routes for Messages {
    fn declare(routes: &mut impl Registry) {
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
    }
}
