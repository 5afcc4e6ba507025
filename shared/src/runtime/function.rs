//! The start of an HTTP function. Its `main` is `shared::runtime::serve::<Projects>()`.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use http_body_util::BodyExt;
use lambda_http::{Body, IntoResponse, Service, service_fn};

use crate::clock::SystemClock;
use crate::config::{Config, ConfigError, Variables};
use crate::crypto::Random;
use crate::http::registry::{Routes, router};
use crate::model::plan::Plans;
use crate::runtime::aws::Aws;
use crate::runtime::{App, StartError, log};

/// Serves the routes of `R` until Lambda ends the process. Current-thread: one request at a time is Lambda's model, and a second
/// thread costs 60 % more CPU on every request.
pub fn serve<R: Routes>() -> Result<(), StartError> {
    block_on(async {
        let mut router = router::<R>(start().await?);
        lambda_http::run(service_fn(move |request: lambda_http::Request| {
            let answer = router.call(request);
            async move { Ok::<_, Infallible>(Answered::of(answer.await?).await) }
        }))
        .await
    })
}

/// An answer on its way out: text where it is text. (The runtime's own way goes by media type and brings the tables of forty encodings.)
struct Answered(http::Response<Body>);

impl Answered {
    async fn of(answer: axum::response::Response) -> Self {
        let (head, body) = answer.into_parts();
        // Our bodies are whole and in memory: collecting one cannot fail.
        let bytes = body.collect().await.map(|collected| collected.to_bytes()).unwrap_or_default();
        let body = match String::from_utf8(bytes.into()) {
            Ok(text) if text.is_empty() => Body::Empty,
            Ok(text) => Body::Text(text),
            Err(binary) => Body::Binary(binary.into_bytes()),
        };
        Answered(http::Response::from_parts(head, body))
    }
}

impl IntoResponse for Answered {
    fn into_response(self) -> Pin<Box<dyn Future<Output = http::Response<Body>> + Send>> {
        Box::pin(std::future::ready(self.0))
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, StartError>>) -> Result<T, StartError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

/// Reads the environment, builds the clients, and warms up.
pub(crate) async fn start() -> Result<App, StartError> {
    let app = build()?;
    app.warm_up().await?;
    Ok(app)
}

/// The same for a worker, which nobody waits for and which never signs a session.
pub(crate) async fn start_worker() -> Result<App, StartError> {
    let app = build()?;
    app.fetch_secrets().await?;
    Ok(app)
}

fn build() -> Result<App, StartError> {
    log::start(&Variables::from_env());
    let config = Config::from_env()?;
    let plans = match Variables::from_env().optional("PLANS") {
        None => Plans::seeded(),
        Some(json) => Plans::read(&json).map_err(|error| ConfigError(format!("PLANS cannot be read: {error}")))?,
    };
    let aws = Aws::from_env()?;
    Ok(App::new(config, plans, Arc::new(SystemClock), Random::system(), &aws))
}
