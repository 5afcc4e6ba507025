//! Secrets Manager: winterbaume answers from memory, and every change is in the journal before its answer is sent.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde_json::Value;
use tokio::sync::Mutex;
use winterbaume_core::{MockRequest, MockResponse, MockService, StatefulService};
use winterbaume_secretsmanager::{
    SecretsManagerService,
    views::{SecretView, SecretsmanagerStateView},
};

use super::{ACCOUNT, AwsError, REGION};
use crate::journal::{Change, Journal};

const SPACE: &str = "secret";

pub struct Secrets {
    service: SecretsManagerService,
    journal: Journal,
    /// The content of the journal, so that only changes are written. It also serialises the calls, so that no answer is sent before a
    /// change that it contains is stored.
    kept: Mutex<BTreeMap<String, Value>>,
}

impl Secrets {
    pub async fn open(journal: Journal) -> Result<Arc<Secrets>, AwsError> {
        let service = SecretsManagerService::new();
        let mut kept = BTreeMap::new();
        let mut secrets = HashMap::new();
        for (name, view) in journal.list::<SecretView>(SPACE)? {
            kept.insert(name.clone(), to_value(&view)?);
            secrets.insert(name, view);
        }
        service
            .restore(ACCOUNT, REGION, SecretsmanagerStateView { secrets })
            .await
            .map_err(|error| AwsError::Service(error.to_string()))?;
        Ok(Arc::new(Secrets { service, journal, kept: Mutex::new(kept) }))
    }

    pub async fn answer(&self, request: MockRequest) -> Result<MockResponse, AwsError> {
        let mut kept = self.kept.lock().await;
        let response = self.service.handle(request).await;
        if response.status < 300 {
            let now = self.service.snapshot(ACCOUNT, REGION).await.secrets;
            let mut changes = Vec::new();
            for (name, view) in &now {
                let value = to_value(view)?;
                if kept.get(name) != Some(&value) {
                    changes.push((name.clone(), Some(value)));
                }
            }
            changes.extend(kept.keys().filter(|name| !now.contains_key(*name)).map(|name| (name.clone(), None)));
            if !changes.is_empty() {
                let journal: Vec<Change> = changes.iter().cloned().map(to_change).collect();
                self.journal.apply(&journal)?;
                for (name, value) in changes {
                    match value {
                        Some(value) => kept.insert(name, value),
                        None => kept.remove(&name),
                    };
                }
            }
        }
        Ok(response)
    }

    /// The current value of every secret, by name.
    pub async fn values(&self) -> BTreeMap<String, Option<String>> {
        let state = self.service.snapshot(ACCOUNT, REGION).await;
        state
            .secrets
            .into_iter()
            .map(|(name, view)| {
                let current = view.current_version_id.as_ref().and_then(|id| view.versions.get(id));
                (name, current.and_then(|version| version.secret_string.clone()))
            })
            .collect()
    }
}

fn to_change((id, value): (String, Option<Value>)) -> Change {
    let space = SPACE.to_owned();
    match value {
        Some(value) => Change::Put { space, id, value: value.to_string() },
        None => Change::Delete { space, id },
    }
}

fn to_value(view: &SecretView) -> Result<Value, AwsError> {
    Ok(serde_json::to_value(view).map_err(crate::journal::JournalError::from)?)
}
