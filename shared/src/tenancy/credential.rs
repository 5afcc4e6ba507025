//! What credential a caller presents, and who that makes them. Our own sessions are ES256 JWTs of type `at+jwt` (RFC 9068) with pinned
//! keys. An identity provider's JWTs are verified with the provider's published keys. An API key is verified by its checksum and the hash
//! of its secret. A credential says who the caller is; the table says whether it is still valid.

use std::collections::HashMap;
use std::sync::Arc;

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderName;
use http::header::AUTHORIZATION;
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header, encode};
use serde::{Deserialize, Serialize};

use crate::aws::https::Https;
use crate::aws::secrets::Jwks;
use crate::bounded::Bounded;
use crate::config::Issuer;
use crate::crypto;
use crate::error::{Error, Result};
use crate::ids::{LinkId, SessionId, UserId};
use crate::lock::Lock;
use crate::model::api_key::{KeyClaim, KeyHandle, KeyText};
use crate::model::session::Session;
use crate::model::user::{Email, EmailClaim, Identity, Subject, User};
use crate::tenancy::limiter::{Class, network};
use crate::tenancy::{App, Directory, Incoming, TenantId};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const TOKEN_TYPE: &str = "at+jwt";
const LEEWAY_SECONDS: i64 = 30;
const MAX_TOKEN: usize = 4096;

/// The caller that a verified credential names.
pub(super) enum Caller {
    Person(Person),
    /// The door reads the key's own record, which says whether the key is still valid.
    Key(Arc<KeyClaim>),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Person {
    pub user: UserId,
    /// Our own session, whose record must still exist. `None` for an identity provider's token.
    pub session: Option<SessionId>,
    /// The tenant when none is selected.
    pub tenant: Option<TenantId>,
}

impl Caller {
    /// `user:<id>` or `key:<handle>`: for counters, the log and the audit log.
    pub(super) fn principal(&self) -> String {
        match self {
            Caller::Person(person) => user_principal(person.user),
            Caller::Key(claim) => key_principal(&claim.handle),
        }
    }

    pub(super) fn tenant(&self) -> Option<TenantId> {
        match self {
            Caller::Person(person) => person.tenant,
            Caller::Key(claim) => Some(claim.tenant),
        }
    }
}

fn user_principal(user: UserId) -> String {
    format!("user:{user}")
}

fn key_principal(handle: &KeyHandle) -> String {
    format!("key:{handle}")
}

/// The credential in the request.
enum Presented<'a> {
    Token(&'a str),
    Key(&'a str),
}

/// The claims of keys seen lately. What they say of the secret never changes, and where they lead to a maker is compared with the key;
/// whether a key still stands is read on every request.
pub struct KnownKeys(Lock<Bounded<KeyHandle, Arc<KeyClaim>>>);

impl Default for KnownKeys {
    fn default() -> Self {
        KnownKeys(Lock::new(Bounded::new(10_000)))
    }
}

impl KnownKeys {
    fn get(&self, handle: &KeyHandle) -> Option<Arc<KeyClaim>> {
        self.0.lock().get(handle).cloned()
    }

    pub(super) fn remember(&self, claim: Arc<KeyClaim>) {
        self.0.lock().insert(claim.handle.clone(), claim);
    }
}

/// Session tokens whose signature was verified recently. Times are still compared, and sessions are still read, on every request.
#[derive(Default)]
pub struct KnownTokens(Lock<Option<Verified>>);

/// Claims by the hash of the whole token, and the keys that verified them. When the keys are read again, every few minutes, everything here
/// is forgotten.
struct Verified {
    keys: Arc<Jwks>,
    tokens: Bounded<String, Arc<Claims>>,
}

impl KnownTokens {
    const REMEMBERED: usize = 10_000;

    fn get(&self, keys: &Arc<Jwks>, hash: &str) -> Option<Arc<Claims>> {
        let mut known = self.0.lock();
        known.as_mut().filter(|known| Arc::ptr_eq(&known.keys, keys))?.tokens.get(hash).cloned()
    }

    fn remember(&self, keys: Arc<Jwks>, hash: String, claims: Arc<Claims>) {
        let mut known = self.0.lock();
        match &mut *known {
            Some(known) if Arc::ptr_eq(&known.keys, &keys) => known.tokens.insert(hash, claims),
            _ => {
                let mut tokens = Bounded::new(Self::REMEMBERED);
                tokens.insert(hash, claims);
                *known = Some(Verified { keys, tokens });
            }
        }
    }
}

/// The claims of a session token.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserId,
    sid: SessionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tid: Option<String>,
    iat: i64,
    exp: i64,
    jti: String,
}

/// The claims that we read from an identity provider's token.
#[derive(Debug, Deserialize)]
struct ExternalClaims {
    iss: String,
    sub: String,
    exp: i64,
    #[serde(default)]
    nbf: Option<i64>,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    email_verified: Option<bool>,
}

/// Signs the token of a session that has just been written.
pub async fn issue(app: &App, session: &Session) -> Result<String> {
    let signer = app.signer().await?;
    let issuer = app.config().public_url.clone();
    let claims = Claims {
        aud: issuer.clone(),
        iss: issuer,
        sub: session.user,
        sid: session.id,
        tid: session.tenant.map(|tenant| tenant.to_string()),
        iat: session.created_at.as_second(),
        exp: session.expires_at.as_second(),
        jti: LinkId::new(app.random()).to_string(),
    };
    let mut header = Header::new(Algorithm::ES256);
    header.typ = Some(TOKEN_TYPE.into());
    header.kid = Some(signer.kid.clone());
    encode(&header, &claims, &signer.key).map_err(|error| Error::internal("signing a session", error))
}

/// The session that a token of ours names, not verified: only for tokens that we stored ourselves.
pub fn session_in(token: &str) -> Option<SessionId> {
    SessionId::parse(unverified(token)?.get("sid")?.as_str()?)
}

/// The caller, verified as far as possible with the credential alone. Without a valid credential: `Unauthorized`. After too many of those
/// from one network: `TooManyRequests`. A valid credential never gets that answer.
pub(super) async fn verify(incoming: &Incoming, directory: &Directory) -> Result<Caller> {
    let presented = presented(incoming)?.ok_or(Error::Unauthorized)?;
    match verified(incoming, directory, presented).await {
        Err(Error::Unauthorized) => Err(refused(incoming).await),
        verified => verified,
    }
}

/// Counts an invalid credential for the network it came from, and returns the error for the caller. A window that is used up is kept in
/// memory, so that further attempts write nothing.
pub(super) async fn refused(incoming: &Incoming) -> Error {
    let limiter = incoming.app.limiter();
    match limiter.strike(&incoming.table, Class::CREDENTIALS, &network(&incoming.ip), incoming.now).await {
        Ok(hit) => match limiter.judge(&hit, limiter.limits.credentials, incoming.now) {
            (report, Err(error)) => {
                incoming.facts().limits.push(report);
                error
            }
            (_, Ok(())) => Error::Unauthorized,
        },
        Err(error) => error,
    }
}

async fn verified(incoming: &Incoming, directory: &Directory, presented: Presented<'_>) -> Result<Caller> {
    let token = match presented {
        Presented::Key(text) => return key(incoming, directory, text).await.map(Caller::Key),
        Presented::Token(token) => token,
    };
    let person = match incoming.app.issuers().of(token) {
        Some(issuer) => external(incoming, directory, issuer, token).await,
        None => own(incoming, token).await,
    };
    person.map(Caller::Person)
}

/// The principal that a credential names, before it is verified. It may only be used to choose what to read in parallel with the
/// verification.
pub(super) fn claimed_principal(incoming: &Incoming) -> Result<String> {
    match presented(incoming)?.ok_or(Error::Unauthorized)? {
        Presented::Key(text) => KeyText::parse(text).map(|key| key_principal(&key.handle)).ok_or(Error::Unauthorized),
        Presented::Token(token) => {
            let claims = unverified(token).ok_or(Error::Unauthorized)?;
            let user = claims.get("sub").and_then(|sub| sub.as_str()).and_then(UserId::parse);
            user.map(user_principal).ok_or(Error::Unauthorized)
        }
    }
}

/// The credential: only one kind, only once. A key may be in either header.
fn presented(incoming: &Incoming) -> Result<Option<Presented<'_>>> {
    let authorization = incoming.single(&AUTHORIZATION)?;
    let key = incoming.single(&X_API_KEY)?;
    let authorization = match (authorization, key) {
        (Some(_), Some(_)) => return Err(Error::BadRequest("Give one credential: Authorization or X-API-Key.".into())),
        (None, None) => return Ok(None),
        (None, Some(key)) => return Ok(Some(Presented::Key(key))),
        (Some(authorization), None) => authorization,
    };
    let (scheme, token) = authorization.split_once(' ').ok_or(Error::Unauthorized)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.len() > MAX_TOKEN {
        return Err(Error::Unauthorized);
    }
    Ok(Some(if KeyText::looks_like_one(token) { Presented::Key(token) } else { Presented::Token(token) }))
}

/// The key's claim, if the text is one of our keys: first form and checksum, then one read unless it is remembered.
async fn key(incoming: &Incoming, directory: &Directory, text: &str) -> Result<Arc<KeyClaim>> {
    let text = KeyText::parse(text).ok_or(Error::Unauthorized)?;
    let known = incoming.app.known_keys();
    let claim = match known.get(&text.handle) {
        Some(claim) => claim,
        None => Arc::new(directory.find(&KeyClaim::key_of(&text.handle)).await?.ok_or(Error::Unauthorized)?),
    };
    if !text.opens(&claim) {
        return Err(Error::Unauthorized);
    }
    known.remember(claim.clone());
    Ok(claim)
}

fn unverified(token: &str) -> Option<serde_json::Value> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// Nothing in the header may choose how the token is verified: there is one algorithm, and the key is one of ours by its id.
fn plain(header: &Header) -> bool {
    header.jku.is_none() && header.jwk.is_none() && header.x5u.is_none() && header.x5c.is_none() && header.crit.is_none()
}

async fn own(incoming: &Incoming, token: &str) -> Result<Person> {
    let keys = incoming.app.jwks().await?;
    let known = incoming.app.known_tokens();
    let hash = crypto::hash(&[token.as_bytes()]);
    let claims = match known.get(&keys, &hash) {
        Some(claims) => claims,
        None => {
            let (claims, keys) = verify_own(incoming, token, keys).await?;
            let claims = Arc::new(claims);
            known.remember(keys, hash, claims.clone());
            claims
        }
    };
    let now = incoming.now.as_second();
    if claims.exp + LEEWAY_SECONDS <= now || claims.iat > now + LEEWAY_SECONDS {
        return Err(Error::Unauthorized);
    }
    let tenant = match &claims.tid {
        None => None,
        Some(text) => Some(TenantId::parse(text).ok_or(Error::Unauthorized)?),
    };
    Ok(Person { user: claims.sub, session: Some(claims.sid), tenant })
}

/// The claims of a token that one of our keys signed, even if it has expired, and the keys that verified it.
async fn verify_own(incoming: &Incoming, token: &str, mut keys: Arc<Jwks>) -> Result<(Claims, Arc<Jwks>)> {
    let header = decode_header(token).map_err(|_| Error::Unauthorized)?;
    if header.alg != Algorithm::ES256 || header.typ.as_deref() != Some(TOKEN_TYPE) || !plain(&header) {
        return Err(Error::Unauthorized);
    }
    let kid = header.kid.as_deref().ok_or(Error::Unauthorized)?;
    if keys.find(kid).is_none() {
        keys = incoming.app.secrets().jwks(incoming.now, true).await?;
    }
    let key = keys.find(kid).ok_or(Error::Unauthorized)?;
    let issuer = &incoming.app.config().public_url;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[issuer]);
    validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
    // Times are compared with our clock, on every request.
    validation.validate_exp = false;
    let claims = decode(token, key, &validation).map_err(|_| Error::Unauthorized)?.claims;
    Ok((claims, keys))
}

async fn external(incoming: &Incoming, directory: &Directory, configured: &Issuer, token: &str) -> Result<Person> {
    let issuers = incoming.app.issuers();
    let header = decode_header(token).map_err(|_| Error::Unauthorized)?;
    if !matches!(header.alg, Algorithm::RS256 | Algorithm::ES256) || !plain(&header) {
        return Err(Error::Unauthorized);
    }
    let kid = header.kid.as_deref().ok_or(Error::Unauthorized)?;
    let key = issuers.key(configured, kid, incoming.now).await?.ok_or(Error::Unauthorized)?;
    let mut validation = Validation::new(header.alg);
    validation.set_issuer(&[&configured.issuer]);
    validation.set_audience(&[&configured.audience]);
    // By default a token without an audience would be accepted, so a token for any application of the provider would pass.
    validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
    validation.validate_exp = false;
    let claims: ExternalClaims = decode(token, &key, &validation).map_err(|_| Error::Unauthorized)?.claims;
    let now = incoming.now.as_second();
    if claims.exp + LEEWAY_SECONDS <= now || claims.nbf.is_some_and(|nbf| nbf > now + LEEWAY_SECONDS) {
        return Err(Error::Unauthorized);
    }
    let user = user_of(directory, &claims).await?;
    if user.system_admin {
        return Err(Error::Forbidden("System administrators cannot use the tenant API.".into()));
    }
    Ok(Person { user: user.id, session: None, tenant: user.home })
}

/// The user for an identity provider's subject. A verified e-mail links the two once, to an account that has proven the same address and is
/// not linked to another subject of that issuer. After that only the subject decides, so an address that gets a new owner at the provider
/// gives no access to the account.
async fn user_of(directory: &Directory, claims: &ExternalClaims) -> Result<User> {
    if let Some(identity) = directory.find(&Identity::key_of(&claims.iss, &claims.sub)).await?
        && let Some(user) = directory.find(&User::key_of(identity.user)).await?
    {
        if !identity.paired {
            pair(directory, identity).await?;
        }
        return if user.is_proven() { Ok(user) } else { Err(Error::Unauthorized) };
    }
    // Unknown, or linked to a user that no longer exists.
    let email = claims.email.as_deref().filter(|_| claims.email_verified == Some(true)).and_then(Email::looked_up);
    let claim = directory.find(&EmailClaim::key_of(&email.ok_or(Error::Unauthorized)?)).await?.filter(|claim| claim.ends_at.is_none());
    let user = directory.find(&User::key_of(claim.ok_or(Error::Unauthorized)?.user)).await?.ok_or(Error::Unauthorized)?;
    if !user.is_proven() {
        return Err(Error::IdentityConflict);
    }
    let identity = Identity { issuer: claims.iss.clone(), subject: claims.sub.clone(), user: user.id, paired: true };
    let subject = Subject { user: user.id, issuer: claims.iss.clone(), subject: claims.sub.clone() };
    let another = Box::new(|_| Error::IdentityConflict);
    directory.transaction().claim(directory, &subject, "subject", &claims.sub, another)?.put(directory, &identity)?.commit().await?;
    Ok(user)
}

/// Records with the user which subject an older link belongs to, so that no second subject of the issuer is linked.
async fn pair(directory: &Directory, identity: Identity) -> Result<()> {
    let subject = Subject { user: identity.user, issuer: identity.issuer.clone(), subject: identity.subject.clone() };
    // If two subjects were linked, the first that logs in gets the record. The other link still works.
    match directory.create(&subject, || Error::IdentityConflict).await {
        Ok(()) | Err(Error::IdentityConflict) => {}
        Err(error) => return Err(error),
    }
    directory.transaction().put(directory, &Identity { paired: true, ..identity })?.commit().await
}

type KeysById = HashMap<String, DecodingKey>;

/// The configured identity providers and their keys, fetched when first needed.
pub struct Issuers {
    configured: Vec<Issuer>,
    /// By issuer, with the moment they were read.
    keys: Lock<HashMap<String, (Arc<KeysById>, Timestamp)>>,
    https: std::sync::OnceLock<Https>,
}

impl Issuers {
    const KEEP: SignedDuration = SignedDuration::from_mins(60);
    const RETRY_UNKNOWN_KEY: SignedDuration = SignedDuration::from_secs(10);
    const MAX_DOCUMENT: usize = 256 * 1024;

    pub fn new(configured: Vec<Issuer>) -> Self {
        Issuers { configured, keys: Lock::default(), https: std::sync::OnceLock::new() }
    }

    /// The configured provider that a token names.
    fn of(&self, token: &str) -> Option<&Issuer> {
        if self.configured.is_empty() {
            return None;
        }
        let claims = unverified(token)?;
        let issuer = claims.get("iss")?.as_str()?;
        self.configured.iter().find(|configured| configured.issuer == issuer)
    }

    async fn key(&self, issuer: &Issuer, kid: &str, now: Timestamp) -> Result<Option<DecodingKey>> {
        let cached = self.keys.lock().get(&issuer.issuer).cloned();
        if let Some((keys, read_at)) = &cached {
            let age = now.duration_since(*read_at);
            let keep = if keys.contains_key(kid) { Self::KEEP } else { Self::RETRY_UNKNOWN_KEY };
            if age < keep {
                return Ok(keys.get(kid).cloned());
            }
        }
        let keys = match self.fetch(&issuer.jwks_url).await {
            Ok(keys) => Arc::new(keys),
            Err(cause) => match cached {
                Some((keys, _)) => keys,
                None => return Err(Error::Unavailable { doing: "reading an identity provider's keys", cause }),
            },
        };
        let key = keys.get(kid).cloned();
        self.keys.lock().insert(issuer.issuer.clone(), (keys, now));
        Ok(key)
    }

    async fn fetch(&self, url: &str) -> Result<KeysById, crate::error::Cause> {
        let https = match self.https.get() {
            Some(https) => https,
            // Providers are on the internet, so their certificates are checked with the machine's roots.
            None => {
                let native = Https::native()?;
                self.https.get_or_init(|| native)
            }
        };
        let call = async {
            let response = https.send(HttpRequest::get(url)?, None).await?;
            if !response.status().is_success() {
                return Err(format!("the key document answers {}", response.status().as_u16()).into());
            }
            let body = http_body_util::Limited::new(response.into_body(), Self::MAX_DOCUMENT).collect().await?.to_bytes();
            let set: jsonwebtoken::jwk::JwkSet = serde_json::from_slice(&body)?;
            let keys = set.keys.iter().filter_map(|jwk| Some((jwk.common.key_id.clone()?, DecodingKey::from_jwk(jwk).ok()?)));
            Ok(keys.collect())
        };
        tokio::time::timeout(std::time::Duration::from_secs(3), call)
            .await
            .unwrap_or_else(|_| Err("the key document did not come within 3 s".into()))
    }
}
