//! Webhooks: where a tenant wants to be told of events, the secrets that what is delivered is signed with, and how deliveries fare.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use shared::crypto::{Random, Vault};
use shared::id;
use shared::ids::TenantId;
use shared::model::plan::Quota;
use shared::model::shared_secret::SharedSecret;
use shared::store::{Counter, InTenant, Record};

use crate::event::{Event, EventFilter, EventKind, Payload};
use crate::setting::VaultKeyLost;

id!(/// Where a tenant wants to be told of events.
    WebhookId = "wh", time_ordered);

/// `webhooks` / `<id>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Webhook {
    pub id: WebhookId,
    /// In the normal form of a parser.
    pub url: String,
    pub events: Vec<EventFilter>,
    pub payload: Payload,
    /// Attempts, where nothing is wrong with it.
    #[serde(default = "usual_pace")]
    pub max_per_second: i64,
    pub enabled: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Counts edits.
    pub version: u64,
}

/// What an edit changes; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct WebhookChanges {
    pub url: Option<String>,
    pub events: Option<Vec<EventFilter>>,
    pub payload: Option<Payload>,
    pub max_per_second: Option<i64>,
    pub enabled: Option<bool>,
}

impl Webhook {
    pub const COUNT: Counter = Counter::named("webhooks");
    pub const QUOTA: Quota = Quota { counter: Webhook::COUNT, name: "webhooks", most: |plan| plan.webhooks };
    /// Bytes.
    pub const LONGEST_URL: usize = 2_048;
    /// Attempts a second.
    pub const FASTEST: i64 = 100;
    pub const USUAL_PACE: i64 = 25;

    /// `None`: it is so already.
    pub fn changed(&self, changes: &WebhookChanges, now: Timestamp) -> Option<Self> {
        let WebhookChanges { url, events, payload, max_per_second, enabled } = changes.clone();
        let changed = Webhook {
            url: url.unwrap_or_else(|| self.url.clone()),
            events: events.unwrap_or_else(|| self.events.clone()),
            payload: payload.unwrap_or(self.payload),
            max_per_second: max_per_second.unwrap_or(self.max_per_second),
            enabled: enabled.unwrap_or(self.enabled),
            ..self.clone()
        };
        (changed != *self).then(|| Webhook { updated_at: now, version: self.version + 1, ..changed })
    }

    /// Whether it is told of an event. Of what became of a webhook, that one itself is not told.
    pub fn takes(&self, event: &Event) -> bool {
        let about = event.data.get("webhook_id").and_then(|id| id.as_str()).and_then(WebhookId::parse_prefixed);
        let (kind, is_test) = (event.kind, event.kind == EventKind::WebhookTest);
        self.enabled && about != Some(self.id) && !is_test && self.events.iter().any(|filter| filter.takes(kind))
    }
}

fn usual_pace() -> i64 {
    Webhook::USUAL_PACE
}

impl Record for Webhook {
    type Scope = InTenant;
    type Id = WebhookId;
    const TYPE: &'static str = "webhook";
    const COLLECTION: &'static str = "webhooks";
    const COUNTER: Option<Counter> = Some(Webhook::COUNT);
    const NOUN: Option<&'static str> = Some("Webhook");
    // Its secrets stay here, and without them nothing can be delivered.
    const RESTORED: bool = false;

    fn id(&self) -> WebhookId {
        self.id
    }

    fn version(&self) -> Option<u64> {
        Some(self.version)
    }
}

/// `webhook-secrets` / `<id of the webhook>`: written and deleted with it. Apart from it, so that an export shows the webhook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WebhookSecrets {
    pub id: WebhookId,
    /// The newest first.
    pub secrets: Vec<SealedSecret>,
    pub version: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SealedSecret {
    sealed: String,
    /// Of one that was replaced: until when receivers may still know only this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
}

impl WebhookSecrets {
    /// At the same time.
    pub const MOST: usize = 3;
    /// Seconds.
    pub const LONGEST_GRACE: i64 = 7 * 86_400;

    pub fn new(id: WebhookId, secret: &SharedSecret, (tenant, vault, random): (TenantId, &Vault, &Random)) -> Self {
        let sealed = vault.seal(tenant, &WebhookSecrets::field(id), &secret.text(), random);
        WebhookSecrets { id, secrets: vec![SealedSecret { sealed, ends_at: None }], version: 1 }
    }

    /// With a new one. Those before it end after the grace, or when they would anyway. `None`: too many would live.
    pub fn rotated(
        &self,
        secret: &SharedSecret,
        grace: SignedDuration,
        now: Timestamp,
        (tenant, vault, random): (TenantId, &Vault, &Random),
    ) -> Option<Self> {
        let end = now.saturating_add(grace).unwrap_or(Timestamp::MAX);
        let sealed = vault.seal(tenant, &WebhookSecrets::field(self.id), &secret.text(), random);
        let earlier = self.secrets.iter().map(|earlier| SealedSecret {
            sealed: earlier.sealed.clone(),
            ends_at: Some(earlier.ends_at.map_or(end, |ends_at| ends_at.min(end))),
        });
        let living = earlier.filter(|earlier| earlier.lives(now));
        let secrets: Vec<SealedSecret> = std::iter::once(SealedSecret { sealed, ends_at: None }).chain(living).collect();
        (secrets.len() <= WebhookSecrets::MOST).then_some(WebhookSecrets { secrets, version: self.version + 1, ..self.clone() })
    }

    /// Those that count now, the newest first. `None`: the vault's secret lacks the version of one.
    pub fn living(&self, now: Timestamp, tenant: TenantId, vault: &Vault) -> Option<Vec<SharedSecret>> {
        let open = |secret: &SealedSecret| vault.open(tenant, &WebhookSecrets::field(self.id), &secret.sealed);
        self.secrets.iter().filter(|secret| secret.lives(now)).map(|secret| SharedSecret::parse(&open(secret)?)).collect()
    }

    /// Sealed with the newest version of the vault's secret. `Ok(None)`: all are. `Err`: one does not open.
    pub fn resealed(&self, tenant: TenantId, vault: &Vault, random: &Random) -> Result<Option<Self>, VaultKeyLost> {
        if self.secrets.iter().all(|secret| Vault::version_of(&secret.sealed) == Some(vault.newest())) {
            return Ok(None);
        }
        let field = WebhookSecrets::field(self.id);
        let again = |secret: &SealedSecret| {
            let plain = vault.open(tenant, &field, &secret.sealed).ok_or(VaultKeyLost)?;
            Ok(SealedSecret { sealed: vault.seal(tenant, &field, &plain, random), ends_at: secret.ends_at })
        };
        let secrets = self.secrets.iter().map(again).collect::<Result<_, _>>()?;
        Ok(Some(WebhookSecrets { secrets, version: self.version + 1, ..self.clone() }))
    }

    fn field(id: WebhookId) -> String {
        format!("webhook {id}")
    }
}

impl SealedSecret {
    fn lives(&self, now: Timestamp) -> bool {
        self.ends_at.is_none_or(|ends_at| ends_at > now)
    }
}

impl Record for WebhookSecrets {
    type Scope = InTenant;
    type Id = WebhookId;
    const TYPE: &'static str = "webhook_secrets";
    const COLLECTION: &'static str = "webhook-secrets";
    const EXPORTED: bool = false;

    fn id(&self) -> WebhookId {
        self.id
    }

    fn version(&self) -> Option<u64> {
        Some(self.version)
    }
}

/// How the deliveries to a webhook fare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    Healthy,
    /// The last attempts failed.
    Degraded,
    /// None has succeeded for an hour.
    Failing,
    /// Nothing is delivered: it failed for days, asked for it, or somebody disabled it.
    Disabled,
}

/// `webhook-health` / `<id of the webhook>`: there is none until something fails. Apart from it, for it moves without an edit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WebhookHealth {
    pub id: WebhookId,
    pub state: HealthState,
    /// Attempts that failed in a row, counted up to `ENOUGH`.
    pub failures: u64,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// The first event since then that was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_lost: Option<Timestamp>,
    /// What was said of this failure to the owners: when it began, a day later, and four.
    #[serde(default)]
    warnings: u64,
    /// When they got the last mail, which outlives a recovery: what comes and goes all day long is not worth a mail each time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mailed_at: Option<Timestamp>,
    pub version: u64,
}

/// What became of one attempt, as far as health is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    Yes,
    No,
    /// No, and the event is given up.
    Lost,
    /// It asked to be left alone.
    NeverAgain,
}

impl WebhookHealth {
    /// In a row.
    const SOME: u64 = 5;
    const ENOUGH: u64 = 10;
    const FAILING: SignedDuration = SignedDuration::from_hours(1);
    const DISABLED: SignedDuration = SignedDuration::from_hours(5 * 24);
    /// Between two events that were given up: one bad night disables nothing.
    const APART: SignedDuration = SignedDuration::from_hours(12);
    /// After so long a failure the owners are told once more.
    const REMINDERS: [SignedDuration; 2] = [SignedDuration::from_hours(24), SignedDuration::from_hours(96)];
    /// Between two mails.
    const QUIET: SignedDuration = SignedDuration::from_hours(12);

    /// Of a webhook of which nothing bad is known.
    pub fn new(id: WebhookId) -> Self {
        let (failing_since, first_lost, mailed_at) = (None, None, None);
        WebhookHealth { id, state: HealthState::Healthy, failures: 0, failing_since, first_lost, warnings: 0, mailed_at, version: 0 }
    }

    /// The same of one that is known, which is as new but for what was told of it.
    fn well(&self) -> Self {
        WebhookHealth { mailed_at: self.mailed_at, version: self.version, ..WebhookHealth::new(self.id) }
    }

    /// Enabled again, it begins as one of which nothing bad is known. Its version goes on: receivers tell by it what is newer.
    pub fn anew(&self) -> Self {
        WebhookHealth { version: self.version + 1, ..self.well() }
    }

    /// Without a record nothing bad is known.
    pub fn state_of(health: Option<&Self>) -> HealthState {
        health.map_or(HealthState::Healthy, |health| health.state)
    }

    /// Whether its owners get a mail about its change from `before`.
    pub fn is_mailed_after(&self, before: &Self) -> bool {
        self.mailed_at != before.mailed_at
    }

    /// After an attempt at `at`. `None`: it is as it was.
    pub fn after(&self, reached: Reached, at: Timestamp) -> Option<Self> {
        // It is over: who enables the webhook begins anew, and what was on its way says nothing.
        if self.state == HealthState::Disabled {
            return None;
        }
        let version = self.version + 1;
        let changed = match reached {
            Reached::Yes => self.well(),
            Reached::NeverAgain => WebhookHealth { state: HealthState::Disabled, mailed_at: Some(at), ..self.clone() },
            Reached::No | Reached::Lost => {
                let since = self.failing_since.map_or(at, |since| since.min(at));
                let failures = (self.failures + 1).min(WebhookHealth::ENOUGH);
                let is_lost = reached == Reached::Lost;
                let first_lost = self.first_lost.or(is_lost.then_some(at));
                let apart = first_lost.is_some_and(|first| is_lost && at.duration_since(first) >= WebhookHealth::APART);
                let is_long = failures == WebhookHealth::ENOUGH && at.duration_since(since) >= WebhookHealth::FAILING;
                let state = if at.duration_since(since) >= WebhookHealth::DISABLED && apart {
                    HealthState::Disabled
                } else if is_long || self.state == HealthState::Failing {
                    HealthState::Failing
                } else if failures >= WebhookHealth::SOME {
                    HealthState::Degraded
                } else {
                    HealthState::Healthy
                };
                let lasted = at.duration_since(since);
                let reminders = WebhookHealth::REMINDERS.iter().map(|after| u64::from(lasted >= *after)).sum::<u64>();
                let warnings = if state == HealthState::Failing { self.warnings.max(1 + reminders) } else { self.warnings };
                let is_quiet = self.mailed_at.is_some_and(|last| at.duration_since(last) < WebhookHealth::QUIET);
                let is_told = state == HealthState::Disabled || (warnings > self.warnings && !is_quiet);
                let mailed_at = if is_told { Some(at) } else { self.mailed_at };
                WebhookHealth { state, failures, failing_since: Some(since), first_lost, warnings, mailed_at, ..self.clone() }
            }
        };
        (changed != *self).then_some(WebhookHealth { version, ..changed })
    }

    /// What its change from `before` tells other webhooks.
    pub fn told_after(&self, before: Option<&Self>) -> Option<EventKind> {
        let earlier = WebhookHealth::state_of(before);
        match self.state {
            same if same == earlier => None,
            HealthState::Failing => Some(EventKind::WebhookFailing),
            HealthState::Disabled => Some(EventKind::WebhookDisabled),
            HealthState::Healthy if earlier == HealthState::Failing => Some(EventKind::WebhookRecovered),
            _ => None,
        }
    }
}

impl Record for WebhookHealth {
    type Scope = InTenant;
    type Id = WebhookId;
    const TYPE: &'static str = "webhook_health";
    const COLLECTION: &'static str = "webhook-health";
    const AUDITED: bool = false;
    const EXPORTED: bool = false;

    fn id(&self) -> WebhookId {
        self.id
    }

    fn version(&self) -> Option<u64> {
        Some(self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn later(minutes: i64) -> Timestamp {
        NOW + SignedDuration::from_mins(minutes)
    }

    #[test]
    fn health_follows_what_is_reached() {
        let id = WebhookId::new(NOW, &Random::seeded(1));
        let mut health = WebhookHealth::new(id);
        assert_eq!(health.after(Reached::Yes, NOW), None, "what is well needs no record");
        let mut states = vec![];
        for minute in 0..70 {
            health = health.after(Reached::No, later(minute)).unwrap_or(health);
            states.push(health.state);
        }
        assert_eq!((states[3], states[4], states[59], states[60]), {
            use HealthState::{Degraded, Failing, Healthy};
            (Healthy, Degraded, Degraded, Failing)
        });
        assert_eq!(health.after(Reached::No, later(80)), None, "more of the same is not written");
        let well = health.after(Reached::Yes, later(90)).unwrap();
        assert_eq!(
            (well.state, well.failures, well.told_after(Some(&health))),
            (HealthState::Healthy, 0, Some(EventKind::WebhookRecovered))
        );

        // Five days, and two events given up half a day apart.
        let day = 24 * 60;
        let once = health.after(Reached::Lost, later(5 * day)).unwrap();
        assert_eq!(once.state, HealthState::Failing);
        let soon = once.after(Reached::Lost, later(5 * day + 11 * 60)).unwrap_or(once.clone());
        assert_eq!(soon.state, HealthState::Failing);
        let ended = soon.after(Reached::Lost, later(5 * day + 12 * 60)).unwrap();
        assert_eq!((ended.state, ended.told_after(Some(&soon))), (HealthState::Disabled, Some(EventKind::WebhookDisabled)));
        assert_eq!(WebhookHealth::new(id).after(Reached::NeverAgain, NOW).unwrap().state, HealthState::Disabled);
        // Enabled again, it is well, and what follows is newer than what was.
        let anew = ended.anew();
        assert_eq!((anew.state, anew.failures, anew.version > ended.version), (HealthState::Healthy, 0, true));
        assert_eq!(anew.told_after(Some(&ended)), None);
        assert!(!anew.is_mailed_after(&ended));
        assert!(anew.after(Reached::No, later(6 * day)).unwrap().version > anew.version);
    }

    /// When it begins, after a day, after four days, and at the end; at most twice a day where it comes and goes.
    #[test]
    fn owners_are_told_of_a_failure_a_few_times() {
        let (mut health, mut mailed) = (WebhookHealth::new(WebhookId::new(NOW, &Random::seeded(1))), vec![]);
        for hour in 0..=140 {
            let reached = if hour % 13 == 12 { Reached::Lost } else { Reached::No };
            if let Some(after) = health.after(reached, later(60 * hour)) {
                if after.is_mailed_after(&health) {
                    mailed.push((hour, after.state));
                }
                health = after;
            }
        }
        let failing = |hour| (hour, HealthState::Failing);
        assert_eq!(mailed, [failing(9), failing(24), failing(96), (129, HealthState::Disabled)]);

        let (mut health, mut mailed) = (WebhookHealth::new(WebhookId::new(NOW, &Random::seeded(1))), 0);
        for minute in 0..3 * 24 * 60 {
            // An hour and a half without success, then one.
            let reached = if minute % 90 == 89 { Reached::Yes } else { Reached::No };
            if let Some(after) = health.after(reached, later(minute)) {
                mailed += u32::from(after.is_mailed_after(&health));
                health = after;
            }
        }
        assert_eq!(mailed, 6);
    }
}
