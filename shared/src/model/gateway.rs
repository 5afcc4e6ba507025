//! Gateways: programs of the operator that carry messages to phones and report what became of them. What goes to one and what comes from one is signed
//! with its secret, by Standard Webhooks 1.0 <https://github.com/standard-webhooks/standard-webhooks>.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::crypto::{Random, RootKey, SealingKey, SigningKey};
use crate::model::shared_secret::SharedSecret;
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

impl LineKeys {
    pub fn of(root: &RootKey) -> Self {
        LineKeys { references: root.signing("message references"), gateways: root.sealing("gateways") }
    }
}

impl Gateway {
    /// Characters of a name.
    pub const NAME: usize = 64;

    pub fn new(id: GatewayId, name: String, url: String, secret: &SharedSecret, keys: &LineKeys, random: &Random, now: Timestamp) -> Self {
        let sealed = keys.gateways.seal(secret.bytes(), &id.to_string(), random);
        Gateway { id, name, url, sealed, created_at: now, version: 1 }
    }

    /// Elsewhere, with another secret.
    pub fn renewed(&self, url: String, secret: &SharedSecret, keys: &LineKeys, random: &Random) -> Self {
        let sealed = keys.gateways.seal(secret.bytes(), &self.id.to_string(), random);
        Gateway { url, sealed, version: self.version + 1, ..self.clone() }
    }

    /// `None`: it was sealed with another key.
    pub fn secret(&self, keys: &LineKeys) -> Option<SharedSecret> {
        keys.gateways.open(&self.sealed, &self.id.to_string()).map(SharedSecret::of)
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
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

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
