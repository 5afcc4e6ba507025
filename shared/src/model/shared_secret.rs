//! Secrets that both sides of a call share, and what they sign: Standard Webhooks 1.0 <https://github.com/standard-webhooks/standard-webhooks>.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};

use crate::crypto::{Random, hmac, same};

/// As both sides have it: `whsec_` and the Base64 of 24 to 64 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedSecret(Vec<u8>);

impl SharedSecret {
    const PREFIX: &'static str = "whsec_";
    /// Bytes.
    pub const SHORTEST: usize = 24;
    pub const LONGEST: usize = 64;
    /// How far the clocks of both sides may be apart.
    const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

    pub fn new(random: &Random) -> Self {
        SharedSecret(random.bytes::<32>().to_vec())
    }

    pub fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.strip_prefix(SharedSecret::PREFIX)?).ok()?;
        (SharedSecret::SHORTEST..=SharedSecret::LONGEST).contains(&bytes.len()).then_some(SharedSecret(bytes))
    }

    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        SharedSecret(bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// As it is shown to whoever shares it.
    pub fn text(&self) -> String {
        format!("{}{}", SharedSecret::PREFIX, STANDARD.encode(&self.0))
    }

    /// The value of `webhook-signature`.
    pub fn sign(&self, id: &str, at: Timestamp, body: &[u8]) -> String {
        let mac = hmac(&self.0, &[id.as_bytes(), b".", at.as_second().to_string().as_bytes(), b".", body]);
        format!("v1,{}", STANDARD.encode(mac))
    }

    /// Whether one of the signatures, which are separated by blanks, is ours for this content, and `timestamp` (epoch seconds) is about now.
    pub fn verifies(&self, id: &str, timestamp: &str, signatures: &str, body: &[u8], now: Timestamp) -> bool {
        let at = timestamp.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        let Some(at) = at.filter(|at| now.duration_since(*at).abs() <= SharedSecret::TOLERANCE) else { return false };
        let ours = self.sign(id, at, body);
        signatures.split(' ').any(|signature| same(signature.as_bytes(), ours.as_bytes()))
    }
}

/// Says nothing of the secret.
impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret")
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
    fn a_secret_has_24_to_64_bytes_in_plain_base64() {
        let written = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        for bytes in [24, 32, 64] {
            let secret = SharedSecret::parse(&written(bytes)).unwrap();
            assert_eq!(secret.text(), written(bytes));
        }
        for wrong in [written(23), written(65), "whsec_".into(), "whsec_!".into(), written(32)[6..].to_owned(), format!("{} ", written(32))]
        {
            assert_eq!(SharedSecret::parse(&wrong), None, "{wrong}");
        }
        assert_eq!(format!("{:?}", SharedSecret::parse(&written(32))), "Some(SharedSecret)");
    }
}
