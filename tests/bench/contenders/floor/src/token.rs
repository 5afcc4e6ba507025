//! ES256 session tokens: the key set is parsed once, and a token is checked in each request.
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde::Deserialize;

use crate::{Outcome, aws::epoch_seconds};

pub struct Keys(Vec<(String, UnparsedPublicKey<Vec<u8>>)>);

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kid: String,
    x: String,
    y: String,
}

#[derive(Deserialize)]
struct Header<'a> {
    alg: &'a str,
    typ: &'a str,
    kid: &'a str,
}

#[derive(Deserialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    sid: &'a str,
    tid: &'a str,
    exp: u64,
}

impl Keys {
    pub fn parse(jwks: &str) -> Outcome<Self> {
        let set: JwkSet = serde_json::from_str(jwks)?;
        let keys = set.keys.into_iter().map(|key| {
            let mut point = vec![4];
            point.extend(BASE64.decode(key.x)?);
            point.extend(BASE64.decode(key.y)?);
            Ok((key.kid, UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)))
        });
        Ok(Self(keys.collect::<Outcome<_>>()?))
    }

    pub fn admit(&self, authorization: &str, issuer: &str) -> bool {
        self.check(authorization, issuer).is_some()
    }

    fn check(&self, authorization: &str, issuer: &str) -> Option<()> {
        let token = authorization.strip_prefix("Bearer ")?;
        let (signed, signature) = token.rsplit_once('.')?;
        let (head, body) = signed.split_once('.')?;
        let head = BASE64.decode(head).ok()?;
        let header: Header = serde_json::from_slice(&head).ok()?;
        let key = &self.0.iter().find(|(kid, _)| kid == header.kid)?.1;
        if header.alg != "ES256" || header.typ != "at+jwt" {
            return None;
        }
        key.verify(signed.as_bytes(), &BASE64.decode(signature).ok()?).ok()?;
        let body = BASE64.decode(body).ok()?;
        let claims: Claims = serde_json::from_slice(&body).ok()?;
        let named = !claims.sub.is_empty() && !claims.sid.is_empty() && !claims.tid.is_empty();
        (named && claims.iss == issuer && claims.exp > epoch_seconds()).then_some(())
    }
}
