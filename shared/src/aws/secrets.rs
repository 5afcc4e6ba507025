//! Secrets come only from Secrets Manager. They are fetched at start and kept. Public session keys are read again every five minutes. They
//! are also read when a token names an unknown key, but at most every ten seconds. Rotation therefore needs no restart.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use aws_sdk_secretsmanager::Client;
use aws_smithy_types::retry::RetryConfig;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde::{Deserialize, Serialize};

use crate::config::{Config, Stage};
use crate::crypto::{self, RootKey, SealingKey, SigningKey, Vault};
use crate::error::{Cause, Chain, Error, Result};
use crate::lock::Lock;
use crate::model::gateway::LineKeys;
use crate::model::mail_ref::MailKeys;

const KEEP: SignedDuration = SignedDuration::from_mins(5);
const RETRY_UNKNOWN_KEY: SignedDuration = SignedDuration::from_secs(10);

const READING_JWKS: &str = "reading the session keys";
const READING_SIGNER: &str = "reading the signing key";
const READING_INGEST: &str = "reading the ingest key";

pub struct Secrets {
    client: Client,
    key_ids: [(Purpose, Option<String>); 6],
    signing_id: Option<String>,
    jwks_id: Option<String>,
    demo_id: Option<String>,
    ingest_id: Option<String>,
    stage: Stage,
    keys: Keys,
    demo: OnceLock<Option<SigningKey>>,
    jwks: Lock<Option<(Arc<Jwks>, Timestamp)>>,
    signer: Lock<Option<(Arc<SessionSigner>, Timestamp)>>,
    /// The hash of the edge's key.
    ingest: Lock<Option<(String, Timestamp)>>,
}

/// Keys by purpose. Each purpose has its own secret from which its keys are derived, and a function only has the secrets for its own
/// purposes. An attacker who takes over a function gets no keys of other functions.
#[derive(Default)]
pub struct Keys {
    vault: OnceLock<VaultKeys>,
    links: OnceLock<LinkKeys>,
    mail_refs: OnceLock<MailKeys>,
    lines: OnceLock<LineKeys>,
    cursors: OnceLock<CursorKeys>,
    receipts: OnceLock<SigningKey>,
}

struct VaultKeys {
    vault: Vault,
    fingerprints: SigningKey,
    deliveries: SigningKey,
}

struct LinkKeys {
    links: SigningKey,
    demo_passwords: SigningKey,
}

struct CursorKeys {
    cursors: SealingKey,
    answers: SealingKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Vault,
    Links,
    MailRefs,
    Lines,
    Cursors,
    Receipts,
}

/// The public session keys by `kid`.
pub struct Jwks {
    /// As published at `/.well-known/jwks.json`.
    pub document: serde_json::Value,
    keys: HashMap<String, DecodingKey>,
}

/// The private key that sessions are signed with now.
pub struct SessionSigner {
    pub kid: String,
    pub key: EncodingKey,
}

/// The signing secret's text.
#[derive(Serialize, Deserialize)]
pub struct SigningSecret {
    pub kid: String,
    /// Base64 of the PKCS #8 document.
    pub pkcs8: String,
}

impl Keys {
    /// Encrypts positions in lists.
    pub fn cursors(&self) -> Result<&SealingKey> {
        Ok(&self.of(Purpose::Cursors, &self.cursors)?.cursors)
    }

    /// Encrypts answers that are kept for repeated requests.
    pub fn answers(&self) -> Result<&SealingKey> {
        Ok(&self.of(Purpose::Cursors, &self.cursors)?.answers)
    }

    /// Signs links in mails.
    pub fn links(&self) -> Result<&SigningKey> {
        Ok(&self.of(Purpose::Links, &self.links)?.links)
    }

    /// Of links and tags of campaigns' mails. They open no account, so who has these has none of `links`.
    pub fn mail_refs(&self) -> Result<&MailKeys> {
        self.of(Purpose::MailRefs, &self.mail_refs)
    }

    /// Of references to messages to phones, and of gateways' secrets.
    pub fn lines(&self) -> Result<&LineKeys> {
        self.of(Purpose::Lines, &self.lines)
    }

    /// Encrypts what tenants entrust to us.
    pub fn vault(&self) -> Result<&Vault> {
        Ok(&self.of(Purpose::Vault, &self.vault)?.vault)
    }

    /// Marks values in a setting's history.
    pub fn fingerprints(&self) -> Result<&SigningKey> {
        Ok(&self.of(Purpose::Vault, &self.vault)?.fingerprints)
    }

    /// Signs what goes with the delivery of an event, and comes back with what became of it.
    pub fn deliveries(&self) -> Result<&SigningKey> {
        Ok(&self.of(Purpose::Vault, &self.vault)?.deliveries)
    }

    /// Signs receipts of purges.
    pub fn receipts(&self) -> Result<&SigningKey> {
        self.of(Purpose::Receipts, &self.receipts)
    }

    fn of<'a, T>(&self, purpose: Purpose, kept: &'a OnceLock<T>) -> Result<&'a T> {
        kept.get()
            .ok_or_else(|| Error::internal("using a derived key", format!("this function is not configured with {}", purpose.variable())))
    }

    fn keep(&self, purpose: Purpose, secret: &str) -> Result<()> {
        let versions = secret_versions(secret).map_err(|cause| Error::internal(purpose.reading(), cause))?;
        // Old data does not name its version and uses the oldest key. Adding a version therefore breaks nothing. Removing the old one makes
        // this data unreadable.
        let root = RootKey::new(versions.first_key_value().map_or("", |(_, secret)| secret).as_bytes());
        match purpose {
            Purpose::Vault => {
                let vault = Vault::new(versions.iter().map(|(version, secret)| (*version, RootKey::new(secret.as_bytes()))).collect());
                let _ =
                    self.vault.set(VaultKeys { vault, fingerprints: root.signing("fingerprints"), deliveries: root.signing("deliveries") });
            }
            Purpose::Links => {
                let _ = self.links.set(LinkKeys { links: root.signing("links"), demo_passwords: root.signing("demo passwords") });
            }
            Purpose::MailRefs => {
                let _ = self.mail_refs.set(MailKeys::of(&root));
            }
            Purpose::Lines => {
                let _ = self.lines.set(LineKeys::of(&root));
            }
            Purpose::Cursors => {
                let _ = self.cursors.set(CursorKeys { cursors: root.sealing("cursors"), answers: root.sealing("answers") });
            }
            Purpose::Receipts => {
                let _ = self.receipts.set(root.signing("receipts"));
            }
        }
        Ok(())
    }
}

impl Purpose {
    fn variable(self) -> &'static str {
        match self {
            Purpose::Vault => "VAULT_SECRET_ID",
            Purpose::Links => "LINKS_SECRET_ID",
            Purpose::MailRefs => "MAIL_REFS_SECRET_ID",
            Purpose::Lines => "LINES_SECRET_ID",
            Purpose::Cursors => "CURSORS_SECRET_ID",
            Purpose::Receipts => "RECEIPTS_SECRET_ID",
        }
    }

    fn reading(self) -> &'static str {
        match self {
            Purpose::Vault => "reading the vault's secret",
            Purpose::Links => "reading the secret of links",
            Purpose::MailRefs => "reading the secret of campaigns' mails",
            Purpose::Lines => "reading the secret of lines",
            Purpose::Cursors => "reading the secret of cursors",
            Purpose::Receipts => "reading the secret of receipts",
        }
    }
}

impl Jwks {
    pub fn find(&self, kid: &str) -> Option<&DecodingKey> {
        self.keys.get(kid)
    }

    pub(crate) fn read(text: &str) -> Result<Self, Cause> {
        let set: JwkSet = serde_json::from_str(text)?;
        let mut keys = HashMap::new();
        for jwk in &set.keys {
            if let Some(kid) = &jwk.common.key_id {
                keys.insert(kid.clone(), DecodingKey::from_jwk(jwk)?);
            }
        }
        Ok(Jwks { document: serde_json::to_value(&set)?, keys })
    }
}

impl Secrets {
    pub(crate) fn new(client: Client, config: &Config) -> Self {
        Secrets {
            client,
            key_ids: [
                (Purpose::Vault, config.vault_secret.clone()),
                (Purpose::Links, config.links_secret.clone()),
                (Purpose::MailRefs, config.mail_refs_secret.clone()),
                (Purpose::Lines, config.lines_secret.clone()),
                (Purpose::Cursors, config.cursors_secret.clone()),
                (Purpose::Receipts, config.receipts_secret.clone()),
            ],
            signing_id: config.signing_secret.clone(),
            jwks_id: config.jwks_secret.clone(),
            demo_id: config.demo.secret.clone(),
            ingest_id: config.ingest_secret.clone(),
            stage: config.stage,
            keys: Keys::default(),
            demo: OnceLock::new(),
            jwks: Lock::new(None),
            signer: Lock::new(None),
            ingest: Lock::new(None),
        }
    }

    /// Fetches the secrets that this function is configured with, in one call. The signing key is excluded: only functions that sign get
    /// it.
    pub(crate) async fn fetch(&self, now: Timestamp) -> Result<()> {
        self.fetch_with(now, None).await
    }

    /// The same, with the signing key.
    pub(crate) async fn fetch_to_sign(&self, now: Timestamp) -> Result<()> {
        self.fetch_with(now, self.signing_id.as_ref()).await
    }

    async fn fetch_with(&self, now: Timestamp, signing_id: Option<&String>) -> Result<()> {
        let others = [self.demo_id.as_ref(), self.ingest_id.as_ref(), self.jwks_id.as_ref(), signing_id];
        let ids = self.key_ids.iter().map(|(_, id)| id.as_ref()).chain(others);
        let texts = self.texts(ids.flatten().cloned().collect()).await?;
        let text = async |id: &String, doing| match texts.get(id) {
            Some(text) => Ok(text.clone()),
            None => self.text(id, doing).await,
        };
        for (purpose, id) in &self.key_ids {
            if let Some(id) = id {
                self.keys.keep(*purpose, &text(id, purpose.reading()).await?)?;
            }
        }
        if let Some(id) = &self.demo_id {
            let secret = text(id, "reading the demo secret").await?;
            let _ = self.demo.set((!secret.is_empty()).then(|| RootKey::new(secret.as_bytes()).signing("demo passwords")));
        }
        if let Some(id) = &self.ingest_id {
            self.keep_ingest_key(text(id, READING_INGEST).await, now)?;
        }
        // A deployment whose first keys do not exist yet starts anyway and finds them later.
        if let Some(id) = &self.jwks_id
            && let Err(error) = self.keep_jwks(text(id, READING_JWKS).await, now)
        {
            tracing::warn!(error = %Chain(&error), "no session keys yet");
        }
        if let Some(id) = signing_id
            && let Err(error) = text(id, READING_SIGNER).await.and_then(|text| self.keep_signer(&text, now))
        {
            tracing::warn!(error = %Chain(&error), "no signing key yet");
        }
        Ok(())
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Demo passwords are derived from it. Production needs a separate secret for this.
    pub fn demo_passwords(&self) -> Result<&SigningKey> {
        if let Some(Some(key)) = self.demo.get() {
            return Ok(key);
        }
        if self.stage == Stage::Production {
            return Err(Error::NotConfigured("Demos are not configured: the demo password secret is missing."));
        }
        Ok(&self.keys.of(Purpose::Links, &self.keys.links)?.demo_passwords)
    }

    /// The public keys. `unknown_key`: a token named a key that is not among them.
    pub(crate) async fn jwks(&self, now: Timestamp, unknown_key: bool) -> Result<Arc<Jwks>> {
        let Some(id) = &self.jwks_id else {
            return Err(Error::internal(READING_JWKS, "this function is not configured with JWKS_SECRET_ID"));
        };
        if let Some((jwks, read_at)) = &*self.jwks.lock() {
            let age = now.duration_since(*read_at);
            if age < if unknown_key { RETRY_UNKNOWN_KEY } else { KEEP } {
                return Ok(jwks.clone());
            }
        }
        self.keep_jwks(self.text(id, READING_JWKS).await, now)
    }

    fn keep_jwks(&self, text: Result<String>, now: Timestamp) -> Result<Arc<Jwks>> {
        let read = text.and_then(|text| Jwks::read(&text).map_err(|cause| Error::internal(READING_JWKS, cause)));
        let cached = self.jwks.lock().clone();
        match (read, cached) {
            (Ok(jwks), _) => {
                let jwks = Arc::new(jwks);
                *self.jwks.lock() = Some((jwks.clone(), now));
                Ok(jwks)
            }
            // The keys we have stay in use while Secrets Manager cannot be reached.
            (Err(error), Some((jwks, _))) => {
                tracing::warn!(error = %Chain(&error), "using the session keys read earlier");
                *self.jwks.lock() = Some((jwks.clone(), now));
                Ok(jwks)
            }
            (Err(error), None) => Err(error),
        }
    }

    pub(crate) async fn signer(&self, now: Timestamp) -> Result<Arc<SessionSigner>> {
        let Some(id) = &self.signing_id else {
            return Err(Error::internal(READING_SIGNER, "this function is not configured with SIGNING_SECRET_ID"));
        };
        if let Some((signer, read_at)) = &*self.signer.lock()
            && now.duration_since(*read_at) < KEEP
        {
            return Ok(signer.clone());
        }
        self.keep_signer(&self.text(id, READING_SIGNER).await?, now)
    }

    fn keep_signer(&self, text: &str, now: Timestamp) -> Result<Arc<SessionSigner>> {
        // Before the first rotation there is only a placeholder, and nothing can be signed.
        let signer = read_signer(text).map_err(|cause| Error::Unavailable { doing: READING_SIGNER, cause })?;
        let signer = Arc::new(signer);
        *self.signer.lock() = Some((signer.clone(), now));
        Ok(signer)
    }

    /// Whether `given` is the key of the edge proxies. Hashes are compared in constant time, whatever the length. A key that does not match
    /// may be a new one, so the secret is read again, but at most every ten seconds.
    pub(crate) async fn is_ingest_key(&self, given: &str, now: Timestamp) -> Result<bool> {
        let given = crypto::hash(&[given.as_bytes()]);
        let fits = |key: &str| crypto::same(given.as_bytes(), key.as_bytes());
        Ok(fits(&self.ingest_key(now, false).await?) || fits(&self.ingest_key(now, true).await?))
    }

    async fn ingest_key(&self, now: Timestamp, unknown_key: bool) -> Result<String> {
        let Some(id) = &self.ingest_id else { return Err(Error::NotConfigured("Edge metering is not configured here.")) };
        if let Some((hash, read_at)) = &*self.ingest.lock()
            && now.duration_since(*read_at) < if unknown_key { RETRY_UNKNOWN_KEY } else { KEEP }
        {
            return Ok(hash.clone());
        }
        self.keep_ingest_key(self.text(id, READING_INGEST).await, now)
    }

    fn keep_ingest_key(&self, text: Result<String>, now: Timestamp) -> Result<String> {
        let cached = self.ingest.lock().clone();
        let hash = match (text, cached) {
            (Ok(key), _) if key.len() < 16 => return Err(Error::internal(READING_INGEST, "it has fewer than 16 characters")),
            (Ok(key), _) => crypto::hash(&[key.as_bytes()]),
            // The key we have stays in use while Secrets Manager cannot be reached.
            (Err(error), Some((hash, _))) => {
                tracing::warn!(error = %Chain(&error), "using the ingest key read earlier");
                hash
            }
            (Err(error), None) => return Err(error),
        };
        *self.ingest.lock() = Some((hash.clone(), now));
        Ok(hash)
    }

    /// Several secrets at once, by id. A secret that is missing in the answer is asked for again alone, because that answer says why.
    async fn texts(&self, ids: Vec<String>) -> Result<HashMap<String, String>> {
        if ids.len() < 2 {
            return Ok(HashMap::new());
        }
        // An account may ask for far fewer batches a second than single secrets. After a refusal, secrets are asked for one by one.
        let impatient = self.client.config().to_builder().retry_config(RetryConfig::disabled()).build();
        let batch = Client::from_conf(impatient).batch_get_secret_value().set_secret_id_list(Some(ids.clone()));
        let found = match batch.send().await {
            Ok(output) => output.secret_values.unwrap_or_default(),
            Err(error) if error.as_service_error().is_some() => {
                tracing::warn!(error = %Chain(&error), "the secrets are read one by one");
                return Ok(HashMap::new());
            }
            Err(error) => return Err(Error::Unavailable { doing: "reading the secrets", cause: error.into() }),
        };
        let mut texts = HashMap::new();
        for secret in found {
            // An id is an ARN or a name.
            let id = ids.iter().find(|id| secret.arn.as_ref() == Some(*id) || secret.name.as_ref() == Some(*id));
            texts.extend(id.cloned().zip(secret.secret_string));
        }
        Ok(texts)
    }

    async fn text(&self, id: &str, doing: &'static str) -> Result<String> {
        let output =
            self.client.get_secret_value().secret_id(id).send().await.map_err(|error| Error::Unavailable { doing, cause: error.into() })?;
        output.secret_string.ok_or_else(|| Error::internal(doing, "the secret has no text"))
    }

    /// For the rotator, which writes keys that it cannot read.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

/// A secret with its versions. Plain text is version 1. With several versions it is `{"1": "…", "2": "…"}`, and the highest is in use.
fn secret_versions(text: &str) -> Result<BTreeMap<u32, String>, Cause> {
    let versions: BTreeMap<u32, String> = if text.starts_with('{') {
        let named: BTreeMap<String, String> = serde_json::from_str(text).map_err(|_| "it is not a JSON object of texts by version")?;
        let numbered = named.into_iter().map(|(version, secret)| version.parse().map(|version| (version, secret)));
        numbered.collect::<Result<_, _>>().map_err(|_| "its versions are not all numbers")?
    } else {
        BTreeMap::from([(1, text.to_owned())])
    };
    if versions.is_empty() || versions.values().any(|secret| secret.len() < 32) {
        return Err("it has fewer than 32 characters".into());
    }
    Ok(versions)
}

/// The error does not say what is wrong, because it would quote the key.
fn read_signer(text: &str) -> Result<SessionSigner, Cause> {
    let secret: SigningSecret = serde_json::from_str(text).map_err(|_| "it is not a signing key")?;
    let pkcs8 = STANDARD.decode(secret.pkcs8).map_err(|_| "it is not in base64")?;
    Ok(SessionSigner { kid: secret.kid, key: EncodingKey::from_ec_der(&pkcs8) })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::aws::Aws;
    use crate::config::Variables;

    #[test]
    fn a_wrong_signing_key_does_not_show_in_the_error() {
        for wrong in [
            "secret",
            "\"secret\"",
            r#"{"kid": "secret"}"#,
            r#"{"kid": "k", "pkcs8": "secret!"}"#,
            r#"{"kid": "k", "pkcs8": {"secret": 1}}"#,
        ] {
            assert!(!read_signer(wrong).err().unwrap().to_string().contains("secret"), "{wrong}");
        }
    }

    #[test]
    fn a_secret_has_one_version_or_several() {
        let (old, new) = ("o".repeat(64), "n".repeat(64));
        assert_eq!(secret_versions(&old).unwrap(), BTreeMap::from([(1, old.clone())]));
        let both = serde_json::json!({"1": old, "10": new}).to_string();
        assert_eq!(secret_versions(&both).unwrap().last_key_value(), Some((&10, &new)));
        for wrong in ["", "short", "{}", "{", "{\"1\":\"short\"}", &serde_json::json!({"one": new}).to_string()] {
            assert!(secret_versions(wrong).is_err(), "{wrong}");
        }
    }

    /// Data from before the four secrets was sealed with keys derived from one text for all purposes.
    #[test]
    fn the_keys_of_a_text_are_what_they_always_were() {
        let (text, random) = ("r".repeat(64), crypto::Random::system());
        let (keys, root) = (Keys::default(), RootKey::new(text.as_bytes()));
        for purpose in [Purpose::Vault, Purpose::Links, Purpose::MailRefs, Purpose::Cursors, Purpose::Receipts] {
            keys.keep(purpose, &text).unwrap();
        }
        let mail_refs = keys.mail_refs().unwrap();
        assert!(mail_refs.sealing.open(&root.sealing("mail-refs addresses").seal(b"text", "place", &random), "place").is_some());
        for (key, purpose) in [
            (keys.links(), "links"),
            (Ok(&mail_refs.signing), "mail-refs"),
            (keys.fingerprints(), "fingerprints"),
            (keys.receipts(), "receipts"),
        ] {
            assert!(key.unwrap().verifies("text", &root.signing(purpose).sign("text")), "{purpose}");
        }
        for (key, purpose) in [(keys.cursors(), "cursors"), (keys.answers(), "answers")] {
            assert!(key.unwrap().open(&root.sealing(purpose).seal(b"text", "place", &random), "place").is_some(), "{purpose}");
        }
        let tenant = crate::ids::tenant_id_for_tests("550e8400-e29b-41d4-a716-446655440000");
        let vault = Vault::new(BTreeMap::from([(1, root)]));
        assert!(keys.vault().unwrap().open(tenant, "token", &vault.seal(tenant, "token", "text", &random)).is_some());
    }

    const CURSORS: (&str, &str) = ("cursors", "cccccccccccccccccccccccccccccccc");
    const JWKS: (&str, &str) = ("jwks", r#"{"keys":[]}"#);

    #[tokio::test]
    async fn a_start_asks_once_for_all_its_secrets() {
        assert_eq!(start(&[CURSORS, JWKS], Batch::Given).await, (Ok(()), "batch".to_owned()));
        // The role may not read in batches, so secrets are read one by one.
        assert_eq!(start(&[CURSORS, JWKS], Batch::Refused).await, (Ok(()), "batch cursors jwks".to_owned()));
    }

    #[tokio::test]
    async fn a_secret_that_is_missing_is_asked_for_alone() {
        // There are no session keys before the first rotation.
        assert_eq!(start(&[CURSORS], Batch::Given).await, (Ok(()), "batch jwks".to_owned()));
        let (missing, asked) = start(&[JWKS], Batch::Given).await;
        assert!(missing.unwrap_err().contains("reading the secret of cursors"));
        assert_eq!(asked, "batch cursors");
    }

    #[tokio::test]
    async fn a_start_without_secrets_manager_fails_at_once() {
        let (cut, asked) = start(&[CURSORS, JWKS], Batch::Cut).await;
        assert!(cut.unwrap_err().contains("reading the secrets"));
        assert_eq!(asked, "batch");
    }

    /// How the server answers a batch.
    #[derive(PartialEq)]
    enum Batch {
        Given,
        Refused,
        /// The connection is closed.
        Cut,
    }

    /// Starts a function against a Secrets Manager that has `secrets`. Returns the result and what was asked.
    async fn start(secrets: &[(&str, &str)], batch: Batch) -> (Result<(), String>, String) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let variables =
            |pairs: &[(&str, &str)]| Variables(pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect());
        let aws =
            [("AWS_REGION", "eu-central-1"), ("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "key"), ("AWS_ENDPOINT_URL", &url)];
        let config = [("STAGE", "local"), ("TABLE_NAME", "t"), ("CURSORS_SECRET_ID", "cursors"), ("JWKS_SECRET_ID", "jwks")];
        let client = Aws::read(variables(&aws)).unwrap().secrets_manager();
        let starting = Secrets::new(client, &Config::read(&variables(&config)).unwrap());

        let mut asked = vec![];
        let serve = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            loop {
                let request = request(&mut socket).await;
                let found = |id: &Value| {
                    let (name, text) = secrets.iter().find(|(name, _)| id == name)?;
                    Some(json!({"ARN": format!("arn:{name}"), "Name": name, "SecretString": text}))
                };
                let answer = match request["SecretIdList"].as_array() {
                    Some(ids) => (batch == Batch::Given).then(|| json!({"SecretValues": ids.iter().filter_map(found).collect::<Vec<_>>()})),
                    None => found(&request["SecretId"]),
                };
                asked.push(request["SecretId"].as_str().unwrap_or("batch").to_owned());
                if batch == Batch::Cut {
                    break;
                }
                let status = if answer.is_some() { "200 OK" } else { "400 Bad Request" };
                let answer = answer.unwrap_or_else(|| json!({"__type": "ResourceNotFoundException"})).to_string();
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        };
        let serve = async {
            serve.await;
            std::future::pending::<()>().await;
        };
        let started = tokio::select! {
            started = starting.fetch(Timestamp::UNIX_EPOCH) => started.map_err(|error| error.to_string()),
            () = serve => unreachable!("it serves for ever"),
        };
        // The function has no secret for another purpose. It says so and makes no key up.
        if started.is_ok() {
            assert!(starting.keys().cursors().is_ok() && starting.keys().answers().is_ok());
            let refused = [starting.keys().links().err(), starting.keys().vault().err(), starting.keys().receipts().err()];
            let refused = refused.map(|error| error.map(|error| Chain(&error).to_string()).unwrap_or_default());
            for (refused, variable) in refused.iter().zip(["LINKS", "VAULT", "RECEIPTS"]) {
                assert!(refused.contains(&format!("{variable}_SECRET_ID")), "{refused}");
            }
        }
        (started, asked.join(" "))
    }

    /// The body of the next request.
    async fn request(socket: &mut TcpStream) -> Value {
        let mut read = vec![];
        loop {
            assert!(socket.read_buf(&mut read).await.unwrap() > 0, "the connection was closed");
            let text = String::from_utf8_lossy(&read);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if body.len() == length.parse::<usize>().unwrap() {
                return serde_json::from_str(body).unwrap();
            }
        }
    }
}
