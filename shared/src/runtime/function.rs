//! The start of an HTTP function. Its `main` is `shared::runtime::serve::<Projects>(records::ALL)`.

use std::sync::Arc;

use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::value::RawValue;

use crate::aws::Aws;
use crate::clock::SystemClock;
use crate::config::{Config, ConfigError, Variables};
use crate::crypto::Random;
use crate::http::registry::{Routes, router};
use crate::log;
use crate::model::plan::Plans;
use crate::runtime::{App, StartError, gateway};
use crate::store::Records;

/// Serves the routes of `R` until Lambda ends the process. Current-thread: one request at a time is Lambda's model, and a second
/// thread costs 60 % more CPU on every request.
pub fn serve<R: Routes>(records: Records) -> Result<(), StartError> {
    block_on(async {
        let app = start(records).await?;
        let (app, router) = (&app, &router::<R>(app.clone()));
        // The raw event. An adapter that parses it first could fail before our code can answer.
        lambda_runtime::run(service_fn(|event: LambdaEvent<Box<RawValue>>| async move {
            Ok::<_, StartError>(gateway::outgoing(gateway::answer(app, router, event.payload.get()).await))
        }))
        .await
    })
}

pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, StartError>>) -> Result<T, StartError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

/// Reads the environment, builds the clients, and warms up.
pub(crate) async fn start(records: Records) -> Result<App, StartError> {
    let app = build(records)?;
    app.warm_up().await?;
    Ok(app)
}

/// The same for a worker, which nobody waits for and which never signs a session.
pub(crate) async fn start_worker(records: Records) -> Result<App, StartError> {
    let app = build(records)?;
    app.fetch_secrets().await?;
    Ok(app)
}

fn build(records: Records) -> Result<App, StartError> {
    log::start(&Variables::from_env());
    let config = Config::from_env()?;
    let plans = match Variables::from_env().optional("PLANS") {
        None => Plans::seeded(),
        Some(json) => Plans::read(&json).map_err(|error| ConfigError(format!("PLANS cannot be read: {error}")))?,
    };
    let aws = Aws::from_env()?;
    Ok(App::new(config, plans, records, Arc::new(SystemClock), Random::system(), &aws))
}
