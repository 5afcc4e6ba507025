//! Events for pages that refresh themselves (server-sent events). An event says that there is something new, but not what. The page then
//! loads itself again, so that there is one way to render it. Events close together are sent as one.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Query, State},
    response::{
        IntoResponse, Sse,
        sse::{Event, KeepAlive},
    },
    routing::get,
};
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::{
    broadcast::{self, error::RecvError},
    watch,
};

use super::Console;
use crate::gateway::access::Entry;

/// The pause between two events of a stream.
const PAUSE: Duration = Duration::from_millis(250);

/// How often to check things that do not report their changes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The topics of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Topic {
    /// The content of the home page.
    Home,
    Requests,
    Mailbox,
    Phones,
    Catcher,
}

impl Topic {
    pub fn name(self) -> &'static str {
        match self {
            Topic::Home => "home",
            Topic::Requests => "requests",
            Topic::Mailbox => "mailbox",
            Topic::Phones => "phones",
            Topic::Catcher => "catcher",
        }
    }
}

pub fn routes() -> Router<Console> {
    Router::new().route("/events", get(events))
}

#[derive(Deserialize)]
struct Wanted {
    topic: Topic,
}

async fn events(State(console): State<Console>, Query(Wanted { topic }): Query<Wanted>) -> impl IntoResponse {
    let news = match topic {
        Topic::Home => News::Home { console: Box::new(console), seen: String::new() },
        Topic::Requests => News::Requests(console.access.subscribe()),
        Topic::Mailbox => News::Counted(console.aws.mailbox().news()),
        Topic::Phones => News::Counted(console.aws.phones().news()),
        Topic::Catcher => News::Counted(console.aws.catcher().news()),
    };
    // The first event is sent at once, because something may have happened since the page was made.
    let stream = stream::unfold((news, true), async |(mut news, first)| {
        if !first {
            tokio::time::sleep(PAUSE).await;
            news.come().await?;
        }
        // A browser drops an event without data.
        Some((Ok::<_, Infallible>(Event::default().event("news").data("come")), (news, false)))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}

/// The source of a stream's events.
enum News {
    Home {
        console: Box<Console>,
        seen: String,
    },
    Requests(broadcast::Receiver<Arc<Entry>>),
    /// What counts its changes.
    Counted(watch::Receiver<u64>),
}

impl News {
    /// Returns when there is something new; `None` if there will never be again.
    async fn come(&mut self) -> Option<()> {
        match self {
            News::Home { console, seen } => loop {
                let now = super::home::state(console);
                if now != *seen {
                    *seen = now;
                    return Some(());
                }
                tokio::time::sleep(LOOK_EVERY).await;
            },
            News::Requests(entries) => {
                if let Err(RecvError::Closed) = entries.recv().await {
                    return None;
                }
                // Further entries until now belong to the same event.
                *entries = entries.resubscribe();
                Some(())
            }
            News::Counted(changes) => changes.changed().await.ok(),
        }
    }
}
