//! The inbox of a workspace (F0): threads of what people wrote and were answered. `receiver` brings in what they write, and `sender` sends the answers.

mod message;
mod reply;
mod rules;
mod thread;

use shared::http::Registry;
use shared::http::registry::Routes;

pub struct Inbox;

impl Routes for Inbox {
    fn declare(routes: &mut impl Registry) {
        routes.tag("inbox", "What people answer, and what is answered to them.");
        routes.get("/api/v1/tenant/inbox/threads", "listThreads", "List threads", thread::list);
        routes.get("/api/v1/tenant/inbox/threads/{id}", "getThread", "Read a thread with its newest messages", thread::show);
        routes.patch("/api/v1/tenant/inbox/threads/{id}", "updateThread", "Change the state of a thread", thread::update);
        routes.get("/api/v1/tenant/inbox/threads/{id}/messages", "listMessages", "List the messages of a thread", message::list);
        routes.post("/api/v1/tenant/inbox/threads/{id}/reply", "replyToThread", "Answer a thread", reply::reply);
    }
}
