//! News for pages that refresh themselves, as server-sent events: that there is something new, never what. The page asks for itself again, so that
//! there is one way to render it. News that come close together are told once.

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

/// Between two news of a stream.
const PAUSE: Duration = Duration::from_millis(250);

/// How often is looked for what tells nobody of its changes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What there can be news of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Topic {
    /// What the home page shows.
    Home,
    Requests,
    Mailbox,
}

impl Topic {
    pub fn name(self) -> &'static str {
        match self {
            Topic::Home => "home",
            Topic::Requests => "requests",
            Topic::Mailbox => "mailbox",
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
        Topic::Mailbox => News::Mailbox(console.aws.mailbox().news()),
    };
    // The first at once: something may have happened since the page was made.
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

/// Where a stream hears of its topic.
enum News {
    Home { console: Box<Console>, seen: String },
    Requests(broadcast::Receiver<Arc<Entry>>),
    Mailbox(watch::Receiver<u64>),
}

impl News {
    /// Returns when there is something new; `None` when there will never be again.
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
                // What came with it is told with it.
                *entries = entries.resubscribe();
                Some(())
            }
            News::Mailbox(mails) => mails.changed().await.ok(),
        }
    }
}
