//! Gateways: programs of the operator that carry messages to phones and report what became of them. What goes to one and what comes from one is signed
//! with its secret, by Standard Webhooks 1.0 <https://github.com/standard-webhooks/standard-webhooks>.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::crypto::{Random, RootKey, SealingKey, SigningKey};
use crate::store::entity::{Collection, Entity, InDirectory, Key};
use crate::store::page::List;

crate::id!(/// A gateway.
    GatewayId = "gw", time_ordered);

/// `gateways` / `<id>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    pub id: GatewayId,
    pub name: String,
    /// Where messages go.
    pub url: String,
    /// Its secret, bound to the id.
    sealed: String,
    pub created_at: Timestamp,
    pub version: u64,
}

/// The keys of lines: what references are signed with, and what secrets of gateways are sealed with.
pub struct LineKeys {
    pub references: SigningKey,
    gateways: SealingKey,
}

/// A secret for signatures: `whsec_` and the Base64 of 24 to 64 bytes.
#[derive(Clone)]
pub struct SharedSecret(Vec<u8>);

impl LineKeys {
    pub fn of(root: &RootKey) -> Self {
        LineKeys { references: root.signing("message references"), gateways: root.sealing("gateways") }
    }
}

impl SharedSecret {
    const PREFIX: &'static str = "whsec_";
    /// How far the clocks of both sides may be apart.
    const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

    pub fn new(random: &Random) -> Self {
        SharedSecret(random.bytes::<32>().to_vec())
    }

    pub fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.strip_prefix(SharedSecret::PREFIX)?).ok()?;
        (24..=64).contains(&bytes.len()).then_some(SharedSecret(bytes))
    }

    /// As it is shown to whoever shares it.
    pub fn text(&self) -> String {
        format!("{}{}", SharedSecret::PREFIX, STANDARD.encode(&self.0))
    }

    /// The value of `webhook-signature`.
    pub fn sign(&self, id: &str, at: Timestamp, body: &[u8]) -> String {
        let mac = crate::crypto::hmac(&self.0, &[id.as_bytes(), b".", at.as_second().to_string().as_bytes(), b".", body]);
        format!("v1,{}", STANDARD.encode(mac))
    }

    /// Whether one of the signatures, which are separated by blanks, is ours for this content, and `timestamp` (epoch seconds) is about now.
    pub fn verifies(&self, id: &str, timestamp: &str, signatures: &str, body: &[u8], now: Timestamp) -> bool {
        let at = timestamp.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        let Some(at) = at.filter(|at| now.duration_since(*at).abs() <= SharedSecret::TOLERANCE) else { return false };
        let ours = self.sign(id, at, body);
        signatures.split(' ').any(|signature| crate::crypto::same(signature.as_bytes(), ours.as_bytes()))
    }
}

impl Gateway {
    /// Characters of a name.
    pub const NAME: usize = 64;

    pub fn new(id: GatewayId, name: String, url: String, secret: &SharedSecret, keys: &LineKeys, random: &Random, now: Timestamp) -> Self {
        let sealed = keys.gateways.seal(&secret.0, &id.to_string(), random);
        Gateway { id, name, url, sealed, created_at: now, version: 1 }
    }

    /// Elsewhere, with another secret.
    pub fn renewed(&self, url: String, secret: &SharedSecret, keys: &LineKeys, random: &Random) -> Self {
        let sealed = keys.gateways.seal(&secret.0, &self.id.to_string(), random);
        Gateway { url, sealed, version: self.version + 1, ..self.clone() }
    }

    /// `None`: it was sealed with another key.
    pub fn secret(&self, keys: &LineKeys) -> Option<SharedSecret> {
        keys.gateways.open(&self.sealed, &self.id.to_string()).map(SharedSecret)
    }

    pub fn key_of(id: GatewayId) -> Key<Self> {
        Key::new(&Collection::of::<Gateway>(), id)
    }

    pub fn all() -> List<Self> {
        List::new(Collection::of::<Gateway>(), "")
    }
}

impl Entity for Gateway {
    type Scope = InDirectory;
    const TYPE: &'static str = "gateway";
    const COLLECTION: &'static str = "gateways";

    fn key(&self) -> Key<Self> {
        Gateway::key_of(self.id)
    }

    fn guard(&self) -> Vec<(&'static str, u64)> {
        vec![("version", self.version)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    #[test]
    fn a_signature_is_that_of_standard_webhooks() {
        let secret = SharedSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let at = Timestamp::from_second(1_614_265_330).unwrap();
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", at, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn only_its_own_content_of_about_now_verifies() {
        let secret = SharedSecret::new(&Random::seeded(1));
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let signature = secret.sign("1", now, b"{}");
        let seconds = now.as_second().to_string();
        assert!(secret.verifies("1", &seconds, &format!("v1,other {signature}"), b"{}", now + SignedDuration::from_mins(5)));
        for (id, timestamp, signatures, body) in [
            ("2", seconds.as_str(), signature.as_str(), &b"{}"[..]),
            ("1", "1700000001", &signature, b"{}"),
            ("1", "x", &signature, b"{}"),
            ("1", &seconds, "", b"{}"),
            ("1", &seconds, &signature[..20], b"{}"),
            ("1", &seconds, &signature, b"{ }"),
        ] {
            assert!(!secret.verifies(id, timestamp, signatures, body, now), "{id} {timestamp} {signatures}");
        }
        for late in [301, -301] {
            assert!(!secret.verifies("1", &seconds, &signature, b"{}", now + SignedDuration::from_secs(late)), "{late}");
        }
        assert!(!SharedSecret::new(&Random::seeded(2)).verifies("1", &seconds, &signature, b"{}", now));
    }

    #[test]
    fn a_secret_has_24_to_64_bytes_and_comes_back_as_it_was() {
        let (random, now) = (Random::seeded(1), Timestamp::UNIX_EPOCH);
        let secret = |length: usize| SharedSecret::parse(&format!("whsec_{}", STANDARD.encode(vec![7; length])));
        assert!(secret(24).is_some() && secret(64).is_some());
        assert!(secret(23).is_none() && secret(65).is_none() && SharedSecret::parse("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").is_none());
        let keys = LineKeys::of(&RootKey::new(b"a root secret of a deployment, 32 bytes or more"));
        let gateway = Gateway::new(
            GatewayId::new(now, &random),
            "phones".into(),
            "http://127.0.0.1".into(),
            &secret(24).unwrap(),
            &keys,
            &random,
            now,
        );
        assert_eq!(gateway.secret(&keys).unwrap().text(), secret(24).unwrap().text());
        let other = LineKeys::of(&RootKey::new(b"another root secret of a deployment, 32 bytes"));
        assert!(gateway.secret(&other).is_none());
    }
}
