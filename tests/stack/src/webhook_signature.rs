//! Standard Webhooks 1.0, as the gateway of the phones signs and verifies, and as the catcher verifies: `v1,` and the HMAC-SHA256 of `id.timestamp.body` in base64.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};

pub const ID: &str = "webhook-id";
pub const TIMESTAMP: &str = "webhook-timestamp";
pub const SIGNATURE: &str = "webhook-signature";

const PREFIX: &str = "whsec_";
const VERSION: &str = "v1,";

/// How far the moment of a signature may be from now, in both directions.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// Bytes of a secret that is made here.
const LENGTH: usize = 32;

/// What both sides of a webhook know.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// A new one, which nobody outside this machine can reach, let alone guess.
    pub fn generate() -> Secret {
        Secret(std::iter::repeat_with(|| fastrand::u8(..)).take(LENGTH).collect())
    }

    /// `whsec_` and the base64 of 24 to 64 bytes.
    pub fn parse(text: &str) -> Option<Secret> {
        let bytes = BASE64_STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?;
        (24..=64).contains(&bytes.len()).then_some(Secret(bytes))
    }

    pub fn text(&self) -> String {
        format!("{PREFIX}{}", BASE64_STANDARD.encode(&self.0))
    }

    /// The value of `webhook-signature`. `at` is the moment of `webhook-timestamp`, whole seconds since 1970.
    pub fn sign(&self, id: &str, at: i64, body: &[u8]) -> String {
        let tag = hmac::sign(&self.key(), &signed(id, &at.to_string(), body));
        format!("{VERSION}{}", BASE64_STANDARD.encode(tag))
    }

    /// The id of a signed request. Nothing if a header is missing, none of its signatures is ours, or its moment is too far from `now`.
    pub fn verify<'a>(&self, headers: &'a HeaderMap, body: &[u8], now: Timestamp) -> Option<&'a str> {
        let header = |name| headers.get(name)?.to_str().ok();
        let (id, moment, signatures) = (header(ID)?, header(TIMESTAMP)?, header(SIGNATURE)?);
        (is_timely(moment, now) && self.fits(id, moment, signatures, body)).then_some(id)
    }

    /// Whether one of the signatures is ours, whenever it was made.
    pub fn fits(&self, id: &str, moment: &str, signatures: &str, body: &[u8]) -> bool {
        let (key, signed) = (self.key(), signed(id, moment, body));
        let mut tags = signatures.split(' ').filter_map(|signature| BASE64_STANDARD.decode(signature.strip_prefix(VERSION)?).ok());
        tags.any(|tag| hmac::verify(&key, &signed, &tag).is_ok())
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.0)
    }
}

/// Whether the moment of a signature, whole seconds since 1970, is near enough to `now`.
pub fn is_timely(moment: &str, now: Timestamp) -> bool {
    let at = moment.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    at.is_some_and(|at| at.duration_since(now).abs() <= TOLERANCE)
}

fn signed(id: &str, moment: &str, body: &[u8]) -> Vec<u8> {
    [id.as_bytes(), b".", moment.as_bytes(), b".", body].concat()
}

#[cfg(test)]
mod tests {
    use standardwebhooks::Webhook;

    use super::*;

    fn headers(id: &str, at: &str, signature: &str) -> HeaderMap {
        let pairs = [(ID, id), (TIMESTAMP, at), (SIGNATURE, signature)];
        pairs.into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn it_is_signed_and_verified_as_the_reference_does() {
        let secret = Secret::generate();
        let reference = Webhook::new(&secret.text()).unwrap();
        let (now, body) = (Timestamp::now(), "{\"text\":\"Grüße 👋\"}".as_bytes());
        let at = now.as_second();
        assert_eq!(secret.sign("msg_1", at, body), reference.sign("msg_1", at, body).unwrap());
        let signed = headers("msg_1", &at.to_string(), &secret.sign("msg_1", at, body));
        reference.verify(body, &signed).unwrap();
        assert_eq!(secret.verify(&signed, body, now), Some("msg_1"));
        let read = Secret::parse(&secret.text()).unwrap();
        assert_eq!(read.verify(&signed, body, now), Some("msg_1"), "the text of a secret is the secret");
    }

    #[test]
    fn what_is_not_signed_so_is_refused() {
        let (secret, now, body) = (Secret::generate(), Timestamp::now(), b"{}".as_slice());
        let at = now.as_second();
        let right = secret.sign("a", at, body);
        let other = Secret::generate().sign("a", at, body);
        let moment = at.to_string();
        // A secret that is replaced signs beside the new one.
        assert_eq!(secret.verify(&headers("a", &moment, &format!("{other} {right}")), body, now), Some("a"));
        for (why, headers, body) in [
            ("another id", headers("b", &moment, &right), body),
            ("another moment", headers("a", &(at + 1).to_string(), &right), body),
            ("another body", headers("a", &moment, &right), b"{ }"),
            ("another secret", headers("a", &moment, &other), body),
            ("no version", headers("a", &moment, right.trim_start_matches("v1,")), body),
            ("another version", headers("a", &moment, &right.replace("v1,", "v2,")), body),
            ("nothing", headers("a", &moment, ""), body),
            ("no number", headers("a", "now", &right), body),
            ("no header", HeaderMap::new(), body),
        ] {
            assert_eq!(secret.verify(&headers, body, now), None, "{why}");
        }
        for (seconds, expected) in [(-301, None), (-300, Some("a")), (300, Some("a")), (301, None)] {
            let at = at + seconds;
            let signed = headers("a", &at.to_string(), &secret.sign("a", at, body));
            assert_eq!(
                secret.verify(&signed, body, Timestamp::from_second(now.as_second()).unwrap()),
                expected,
                "{seconds} seconds from now"
            );
        }
    }

    #[test]
    fn a_secret_has_24_to_64_bytes() {
        let with = |bytes: usize| Secret::parse(&format!("whsec_{}", BASE64_STANDARD.encode(vec![7; bytes])));
        assert!(with(23).is_none() && with(24).is_some() && with(64).is_some() && with(65).is_none());
        assert!(Secret::parse(&BASE64_STANDARD.encode([7; 24])).is_none() && Secret::parse("whsec_!").is_none());
    }
}
