//! Rotates the session keys, and does nothing else. With the right to replace them, one could sign in as any user. Therefore only this
//! function has that right, and it has no other. Its only input is its own task.

pub mod rotation;

use serde::Deserialize;
use serde_json::Value;
use shared::Result;
use shared::config::Variables;
use shared::runtime::worker::{self, Worker};
use shared::runtime::{App, StartError};

use crate::rotation::Pace;

pub struct Rotator {
    app: App,
    pace: Pace,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "task", rename_all = "kebab-case", deny_unknown_fields)]
enum Task {
    /// Daily. `now` begins a rotation even if the current key is young.
    RotateKeys {
        #[serde(default)]
        now: bool,
    },
}

impl Worker for Rotator {
    const NAME: &'static str = "rotator";

    fn start(app: App, variables: Variables) -> Result<Self, StartError> {
        let pace = Pace::read(&variables, app.config().session_days)?;
        Ok(Rotator { app, pace })
    }

    async fn handle(&self, event: Value, request_id: &str) -> Result<Value> {
        let Task::RotateKeys { now } = worker::command(event)?;
        worker::answer(rotation::rotate(&worker::work_context(&self.app, Self::NAME, request_id), &self.pace, now).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_of_the_schedule_is_the_task() {
        let sample = include_str!("../../../events/rotator/rotate-keys.json");
        worker::command::<Task>(serde_json::from_str(sample).unwrap()).unwrap();
        assert!(worker::command::<Task>(serde_json::json!({"task": "purge"})).is_err());
    }
}
