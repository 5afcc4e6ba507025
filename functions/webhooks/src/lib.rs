//! Webhooks (F4): where a tenant wants to be told of events, and what became of the deliveries; and the events, for those who ask. It delivers nothing itself.

mod delivery;
mod event;
mod replay;
mod rules;
mod webhook;

use shared::http::Registry;
use shared::http::registry::Routes;

pub struct Webhooks;

impl Routes for Webhooks {
    fn declare(routes: &mut impl Registry) {
        routes.tag("webhooks", "Where you are told of events. Deliveries are signed as Standard Webhooks 1.0 says.");
        routes.get("/v1/webhooks", "listWebhooks", "List webhooks", webhook::list);
        routes.post("/v1/webhooks", "createWebhook", "Create a webhook; its secret is shown this once", webhook::create);
        routes.get("/v1/webhooks/event-types", "listEventTypes", "List what a webhook can be told of", webhook::event_types);
        routes.get("/v1/webhooks/{id}", "getWebhook", "Read a webhook", webhook::show);
        routes.patch("/v1/webhooks/{id}", "updateWebhook", "Change, disable or enable a webhook", webhook::update);
        routes.delete("/v1/webhooks/{id}", "deleteWebhook", "Delete a webhook", webhook::delete);
        routes.post(
            "/v1/webhooks/{id}/rotate-secret",
            "rotateWebhookSecret",
            "Replace the secret; the one before also signs for a while",
            webhook::rotate_secret,
        );
        routes.post("/v1/webhooks/{id}/test", "testWebhook", "Deliver a test event, and wait for what becomes of it", delivery::test);
        routes.get("/v1/webhooks/{id}/deliveries", "listWebhookDeliveries", "List deliveries, newest first", delivery::list);
        routes.get("/v1/webhooks/{id}/deliveries/{event}", "getWebhookDelivery", "Read a delivery with its attempts", delivery::show);
        routes.post(
            "/v1/webhooks/{id}/deliveries/{event}/retry",
            "retryWebhookDelivery",
            "Deliver an event again, now and by the schedule from its beginning",
            delivery::retry,
        );
        routes.post("/v1/webhooks/{id}/replay", "replayWebhook", "Deliver events of some time again", replay::begin);
        routes.get("/v1/webhooks/{id}/replay/{job}", "getWebhookReplay", "See how far a replay is", replay::show);
        routes.tag("events", "What happened, for those who ask instead of being told. It is kept for 30 days.");
        routes.get(
            "/v1/events",
            "listEvents",
            "List events, newest first; with `order=asc` to read on: `next_cursor` then always leads to what is told later",
            event::list,
        );
        routes.get("/v1/events/{id}", "getEvent", "Read an event", event::show);
    }
}
