//! Rotation of the session keys. The next public key is published well before its private key signs. The old public key stays published
//! until no session signed with it can be valid. This function writes private keys and never reads one. It learns which key is current and
//! which is next from the stages of the secret's versions, because a version's id is the key's id. Everything else is stored with the
//! public keys. Each step follows from what is stored, so the next run continues after an interruption.

use std::collections::{BTreeMap, HashMap};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use aws_sdk_secretsmanager::Client;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::aws::secrets::SigningSecret;
use shared::config::{ConfigError, Variables};
use shared::crypto::Random;
use shared::tenancy::jobs::WorkContext;
use shared::{Error, Result};

const CURRENT: &str = "AWSCURRENT";
const PENDING: &str = "AWSPENDING";

/// Functions keep public keys for five minutes. After twice that time, all of them know a published key.
const SHORTEST_PUBLISHING: i64 = 10;

/// How long each state lasts.
#[derive(Debug, Clone)]
pub struct Pace {
    /// `ROTATE_AFTER_DAYS`, 30.
    rotate_after: SignedDuration,
    /// `PUBLISH_MINUTES`, 10.
    publish_for: SignedDuration,
    /// `SESSION_DAYS` and a day more.
    keep_for: SignedDuration,
}

/// The text of the public keys' secret. Other functions read `keys`; `history` is for the rotator.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Ring {
    #[serde(default)]
    keys: Vec<Value>,
    #[serde(default)]
    history: BTreeMap<String, History>,
}

/// The history of a published key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct History {
    published_at: Timestamp,
    /// When it was first seen that the key no longer signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retired_at: Option<Timestamp>,
}

/// The private keys that exist, by key id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Stages {
    current: Option<String>,
    pending: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Make a key pair, store the private key as the next one, and publish the public key.
    Create,
    /// Sign with the next key from now on.
    Use(String),
    /// Record that this key signs again, because an operator went back to it.
    Reinstate(String),
    /// Record that these keys no longer sign.
    Retire(Vec<String>),
    /// Remove these from the public keys.
    Withdraw(Vec<String>),
    /// The next key is published, and will be used from this moment on.
    Wait(Timestamp),
    Nothing,
}

#[derive(Debug, Default, Serialize)]
pub struct Rotated {
    pub ok: bool,
    pub steps: Vec<String>,
    /// The key that signs.
    pub current: Option<String>,
    /// When a run may start to use the published key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_use: Option<Timestamp>,
}

/// Takes the steps that are due. `now` begins a rotation even if the current key is young. It never shortens the publishing. For a forced
/// rotation, run this task now, and again at `next_use`.
pub async fn rotate(context: &WorkContext, pace: &Pace, now: bool) -> Result<Rotated> {
    let secrets = KeySecrets::of(context)?;
    let mut rotated = Rotated { ok: true, ..Rotated::default() };
    let mut forced = now;
    // Every step is decided from what is stored at that time. This also shows whether two runs disturbed each other.
    for _ in 0..8 {
        let (mut ring, stages) = (secrets.ring().await?, secrets.stages().await?);
        let step = ring.due(&stages, pace, context.now(), forced);
        let said = match step {
            Step::Nothing | Step::Wait(_) => {
                rotated.current = stages.current;
                rotated.next_use = if let Step::Wait(until) = step { Some(until) } else { None };
                tracing::info!(steps = ?rotated.steps, current = rotated.current, "keys are in order");
                return Ok(rotated);
            }
            Step::Create => {
                forced = false;
                let kid = secrets.create(&mut ring, context.now()).await?;
                format!("published {kid}")
            }
            Step::Use(kid) => {
                secrets.put_in_use(&kid, stages.current.as_deref()).await?;
                format!("now signing with {kid}")
            }
            Step::Reinstate(kid) => {
                ring.reinstate(&kid);
                secrets.publish(&ring).await?;
                format!("signing with {kid} again")
            }
            Step::Retire(kids) => {
                ring.retire(&kids, context.now());
                secrets.publish(&ring).await?;
                format!("retired {}", kids.join(", "))
            }
            Step::Withdraw(kids) => {
                ring.withdraw(&kids);
                secrets.publish(&ring).await?;
                format!("withdrew {}", kids.join(", "))
            }
        };
        rotated.steps.push(said);
    }
    Err(Error::internal("rotating keys", "something is always due: another run may be at it"))
}

impl Ring {
    fn due(&self, stages: &Stages, pace: &Pace, now: Timestamp, forced: bool) -> Step {
        let published = |kid: &Option<String>| kid.clone().filter(|kid| self.has(kid));
        let next = published(&stages.pending).filter(|kid| stages.current.as_ref() != Some(kid));
        let Some(current) = published(&stages.current) else {
            // No published key can verify the current signatures: it is the first run, or the public keys were lost. There is no reason to
            // wait.
            return next.map_or(Step::Create, Step::Use);
        };
        if self.history.get(&current).is_some_and(|history| history.retired_at.is_some()) {
            return Step::Reinstate(current);
        }
        let unused: Vec<String> = self.kids().filter(|kid| *kid != current && Some(kid) != next.as_ref()).collect();
        let retired_at = |kid: &String| self.history.get(kid).and_then(|history| history.retired_at);
        let (retired, unnoted): (Vec<String>, Vec<String>) = unused.into_iter().partition(|kid| retired_at(kid).is_some());
        if !unnoted.is_empty() {
            return Step::Retire(unnoted);
        }
        let over: Vec<String> = retired.into_iter().filter(|kid| retired_at(kid).is_some_and(|at| at + pace.keep_for <= now)).collect();
        if !over.is_empty() {
            return Step::Withdraw(over);
        }
        // A key without history was added by hand at an unknown time, so it counts as new.
        let published_at = |kid: &String| self.history.get(kid).map_or(now, |history| history.published_at);
        match next {
            Some(next) if published_at(&next) + pace.publish_for <= now => Step::Use(next),
            Some(next) => Step::Wait(published_at(&next) + pace.publish_for),
            None if forced || published_at(&current) + pace.rotate_after <= now => Step::Create,
            None => Step::Nothing,
        }
    }

    fn kids(&self) -> impl Iterator<Item = String> {
        self.keys.iter().filter_map(|key| key["kid"].as_str()).map(str::to_owned)
    }

    fn has(&self, kid: &str) -> bool {
        self.kids().any(|known| known == kid)
    }

    fn add(&mut self, kid: &str, jwk: Value, now: Timestamp) {
        self.keys.push(jwk);
        self.history.insert(kid.to_owned(), History { published_at: now, retired_at: None });
    }

    fn reinstate(&mut self, kid: &str) {
        if let Some(history) = self.history.get_mut(kid) {
            history.retired_at = None;
        }
    }

    fn retire(&mut self, kids: &[String], now: Timestamp) {
        for kid in kids {
            self.history.entry(kid.clone()).or_insert(History { published_at: now, retired_at: None }).retired_at = Some(now);
        }
    }

    fn withdraw(&mut self, kids: &[String]) {
        self.keys.retain(|key| key["kid"].as_str().is_none_or(|kid| !kids.iter().any(|gone| gone == kid)));
        self.history.retain(|kid, _| !kids.contains(kid));
    }
}

impl Stages {
    /// From the versions of the secret. A version with both stages is in use already.
    fn of(versions: &HashMap<String, Vec<String>>) -> Self {
        let at = |stage: &str| versions.iter().find(|(_, stages)| stages.iter().any(|at| at == stage)).map(|(version, _)| version.clone());
        Stages { current: at(CURRENT), pending: at(PENDING) }
    }
}

impl Pace {
    pub fn read(variables: &Variables, session_days: i64) -> std::result::Result<Self, ConfigError> {
        let number = |name: &str, default: i64, least: i64, why: &str| match variables.optional(name).map(|text| text.parse::<i64>()) {
            None => Ok(default),
            Some(Ok(number)) if number >= least => Ok(number),
            Some(_) => Err(ConfigError(format!("{name} must be a number of at least {least}{why}"))),
        };
        let publish = number("PUBLISH_MINUTES", SHORTEST_PUBLISHING, SHORTEST_PUBLISHING, ": functions keep public keys for half of that")?;
        Ok(Pace {
            rotate_after: SignedDuration::from_hours(24 * number("ROTATE_AFTER_DAYS", 30, 1, "")?),
            publish_for: SignedDuration::from_mins(publish),
            keep_for: SignedDuration::from_hours(24 * (session_days + 1)),
        })
    }
}

/// The two secrets. The private keys are never read.
struct KeySecrets<'a> {
    client: &'a Client,
    random: &'a Random,
    signing: &'a str,
    jwks: &'a str,
}

impl<'a> KeySecrets<'a> {
    fn of(context: &'a WorkContext) -> Result<Self> {
        let config = context.app.config();
        let missing = |name: &'static str| Error::internal("rotating keys", format!("this function is not configured with {name}"));
        Ok(KeySecrets {
            client: context.app.secrets().client(),
            random: context.app.random(),
            signing: config.signing_secret.as_deref().ok_or_else(|| missing("SIGNING_SECRET_ID"))?,
            jwks: config.jwks_secret.as_deref().ok_or_else(|| missing("JWKS_SECRET_ID"))?,
        })
    }

    async fn ring(&self) -> Result<Ring> {
        let read = self.client.get_secret_value().secret_id(self.jwks).send().await;
        let text = read.map_err(|error| unavailable("reading the public keys", error))?.secret_string.unwrap_or_default();
        serde_json::from_str(&text).map_err(|error| Error::internal("reading the public keys", error))
    }

    async fn stages(&self) -> Result<Stages> {
        let described = self.client.describe_secret().secret_id(self.signing).send().await;
        let described = described.map_err(|error| unavailable("describing the signing key", error))?;
        Ok(Stages::of(&described.version_ids_to_stages.unwrap_or_default()))
    }

    /// The private key is written first. After an interruption it has no public key, and the next run makes another.
    async fn create(&self, ring: &mut Ring, now: Timestamp) -> Result<String> {
        let kid = uuid::Builder::from_random_bytes(self.random.bytes()).into_uuid().to_string();
        let (private, public) = key_pair(&kid)?;
        let putting = self.client.put_secret_value().secret_id(self.signing).client_request_token(&kid).version_stages(PENDING);
        putting.secret_string(private).send().await.map_err(|error| unavailable("keeping the next signing key", error))?;
        ring.add(&kid, public, now);
        self.publish(ring).await?;
        Ok(kid)
    }

    async fn put_in_use(&self, kid: &str, instead_of: Option<&str>) -> Result<()> {
        let moving = self.client.update_secret_version_stage().secret_id(self.signing).version_stage(CURRENT).move_to_version_id(kid);
        let moving = moving.set_remove_from_version_id(instead_of.map(str::to_owned));
        moving.send().await.map_err(|error| unavailable("putting the next signing key into use", error))?;
        Ok(())
    }

    async fn publish(&self, ring: &Ring) -> Result<()> {
        let text = serde_json::to_string(ring).map_err(|error| Error::internal("publishing keys", error))?;
        let putting = self.client.put_secret_value().secret_id(self.jwks).secret_string(text);
        putting.send().await.map_err(|error| unavailable("publishing keys", error))?;
        Ok(())
    }
}

/// The text of the signing secret, and the public key as a JWK (RFC 7517).
fn key_pair(kid: &str) -> Result<(String, Value)> {
    let failed = |_| Error::internal("making a session key", "the crypto library refused");
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).map_err(failed)?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref());
    let pair = pair.map_err(|error| Error::internal("making a session key", error.to_string()))?;
    // SEC 1: an uncompressed point is 4, x, y.
    let point = pair.public_key().as_ref();
    let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..65]));
    let public = json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": kid, "x": x, "y": y});
    let private = SigningSecret { kid: kid.to_owned(), pkcs8: STANDARD.encode(document.as_ref()) };
    let private = serde_json::to_string(&private).map_err(|error| Error::internal("making a session key", error))?;
    Ok((private, public))
}

fn unavailable(doing: &'static str, cause: impl Into<shared::error::Cause>) -> Error {
    Error::Unavailable { doing, cause: cause.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::UNIX_EPOCH;

    fn pace() -> Pace {
        Pace::read(&Variables(HashMap::new()), 7).unwrap()
    }

    fn after(minutes: i64) -> Timestamp {
        START + SignedDuration::from_mins(minutes)
    }

    fn days(days: i64) -> i64 {
        days * 24 * 60
    }

    /// Two secrets in memory on which a run takes steps. `cut` ends it after this many writes.
    #[derive(Clone, Default)]
    struct Stored {
        ring: Ring,
        stages: Stages,
        keys_made: usize,
    }

    impl Stored {
        fn run(&mut self, now: Timestamp, forced: bool, cut: usize) -> Step {
            let (mut writes, mut forced) = (0, forced);
            let mut write = || {
                writes += 1;
                writes <= cut
            };
            loop {
                match self.ring.due(&self.stages, &pace(), now, forced) {
                    step @ (Step::Nothing | Step::Wait(_)) => return step,
                    Step::Create => {
                        forced = false;
                        self.keys_made += 1;
                        let kid = format!("key-{}", self.keys_made);
                        if !write() {
                            return Step::Create;
                        }
                        self.stages.pending = Some(kid.clone());
                        if !write() {
                            return Step::Create;
                        }
                        self.ring.add(&kid, json!({"kid": kid}), now);
                    }
                    step if !write() => return step,
                    Step::Use(kid) => self.stages.current = Some(kid),
                    Step::Reinstate(kid) => self.ring.reinstate(&kid),
                    Step::Retire(kids) => self.ring.retire(&kids, now),
                    Step::Withdraw(kids) => self.ring.withdraw(&kids),
                }
            }
        }

        fn published(&self) -> Vec<String> {
            self.ring.kids().collect()
        }
    }

    #[test]
    fn the_first_run_makes_keys_at_once() {
        let mut stored = Stored { stages: Stages { current: Some("placeholder".into()), pending: None }, ..Stored::default() };
        assert_eq!(stored.run(START, false, usize::MAX), Step::Nothing);
        assert_eq!((stored.stages.current.as_deref(), stored.published()), (Some("key-1"), vec!["key-1".to_owned()]));
        assert_eq!(stored.run(after(days(30) - 1), false, usize::MAX), Step::Nothing);
    }

    #[test]
    fn a_key_is_published_before_it_signs_and_stays_until_its_last_session_ended() {
        let mut stored = Stored::default();
        stored.run(START, false, usize::MAX);
        let month = days(30);
        assert_eq!(stored.run(after(month), false, usize::MAX), Step::Wait(after(month + 10)));
        assert_eq!(stored.stages.current.as_deref(), Some("key-1"));
        assert_eq!(stored.run(after(month + 9), false, usize::MAX), Step::Wait(after(month + 10)));
        assert_eq!(stored.run(after(month + 10), false, usize::MAX), Step::Nothing);
        assert_eq!((stored.stages.current.as_deref(), stored.published().len()), (Some("key-2"), 2));
        stored.run(after(month + 10 + days(8) - 1), false, usize::MAX);
        assert_eq!(stored.published().len(), 2);
        stored.run(after(month + 10 + days(8)), false, usize::MAX);
        assert_eq!(stored.published(), ["key-2"]);
    }

    #[test]
    fn a_forced_rotation_still_publishes_first() {
        let mut stored = Stored::default();
        stored.run(START, false, usize::MAX);
        assert_eq!(stored.run(after(1), true, usize::MAX), Step::Wait(after(11)));
        assert_eq!(stored.run(after(2), true, usize::MAX), Step::Wait(after(11)));
        assert_eq!(stored.keys_made, 2);
        assert_eq!(stored.run(after(11), false, usize::MAX), Step::Nothing);
        assert_eq!(stored.stages.current.as_deref(), Some("key-2"));
    }

    #[test]
    fn a_rotation_cut_off_anywhere_is_taken_up_and_never_signs_unverifiably() {
        for cut in 0..6 {
            let mut stored = Stored::default();
            let mut clock = 0;
            stored.run(after(clock), false, cut);
            // Nobody can be signed in before the first key is in use. From here on, the signing key must be published.
            stored.run(after(clock), false, usize::MAX);
            for _ in 0..4 {
                for step in [days(30), 10, days(8)] {
                    clock += step;
                    stored.run(after(clock), false, cut);
                    assert!(stored.ring.has(stored.stages.current.as_deref().unwrap()), "cut after {cut}");
                    stored.run(after(clock), false, usize::MAX);
                    let current = stored.stages.current.clone().unwrap();
                    assert!(stored.ring.has(&current), "cut after {cut}");
                    assert!(stored.ring.history[&current].retired_at.is_none());
                }
            }
            assert!(stored.published().len() <= 2, "cut after {cut}: {:?}", stored.published());
        }
    }

    #[test]
    fn a_key_that_an_operator_went_back_to_is_kept_for_the_sessions_it_signs_again() {
        let mut stored = Stored::default();
        stored.run(START, false, usize::MAX);
        stored.run(after(1), true, usize::MAX);
        stored.run(after(11), false, usize::MAX);
        stored.stages = Stages { current: Some("key-1".into()), pending: None };
        stored.run(after(days(7)), false, usize::MAX);
        stored.run(after(days(20)), true, usize::MAX);
        stored.run(after(days(20) + 10), false, usize::MAX);
        stored.run(after(days(27)), false, usize::MAX);
        assert_eq!(stored.published(), ["key-1", "key-3"]);
    }

    #[test]
    fn public_keys_that_were_lost_are_made_anew() {
        let mut stored = Stored::default();
        stored.run(START, false, usize::MAX);
        stored.ring = Ring::default();
        assert_eq!(stored.run(after(5), false, usize::MAX), Step::Nothing);
        assert!(stored.ring.has(stored.stages.current.as_deref().unwrap()));
    }

    #[test]
    fn the_pace_is_read_with_care() {
        let read = |name: &str, value: &str| Pace::read(&Variables(HashMap::from([(name.to_owned(), value.to_owned())])), 7);
        assert!(read("PUBLISH_MINUTES", "9").unwrap_err().0.contains("at least 10"));
        assert!(read("ROTATE_AFTER_DAYS", "soon").unwrap_err().0.contains("ROTATE_AFTER_DAYS"));
        assert!(read("ROTATE_AFTER_DAYS", "90").is_ok());
    }

    #[test]
    fn a_key_pair_is_a_private_secret_and_its_jwk() {
        let (private, public) = key_pair("kid").unwrap();
        let private: SigningSecret = serde_json::from_str(&private).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &STANDARD.decode(private.pkcs8).unwrap()).unwrap();
        let x = URL_SAFE_NO_PAD.decode(public["x"].as_str().unwrap()).unwrap();
        assert_eq!(x, pair.public_key().as_ref()[1..33]);
        assert_eq!((private.kid.as_str(), public["kid"].as_str()), ("kid", Some("kid")));
    }
}
