//! The session keys after the first rotation in a new deployment: a private one for `auth`, and its public key for all.
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use axum::body::Bytes;
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};

use crate::{Outcome, world::World};

pub async fn create(world: &World) -> Outcome<()> {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).map_err(|_| "no key could be made")?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref())?;
    // An uncompressed point: a tag, then x and y.
    let point = pair.public_key().as_ref();
    let (x, y) = (BASE64_URL_SAFE_NO_PAD.encode(&point[1..33]), BASE64_URL_SAFE_NO_PAD.encode(&point[33..65]));
    let public = json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "bench", "x": x, "y": y });
    put(world, "JWKS_SECRET_ID", json!({ "keys": [public] })).await?;
    put(world, "SIGNING_SECRET_ID", json!({ "kid": "bench", "pkcs8": BASE64_STANDARD.encode(pkcs8.as_ref()) })).await
}

async fn put(world: &World, variable: &str, value: Value) -> Outcome<()> {
    let environment = world.environment("auth");
    let secret = environment.iter().find(|(name, _)| name == variable);
    let (_, secret) = secret.ok_or_else(|| format!("template.yaml gives the function `auth` no {variable}"))?;
    let body = json!({
        "SecretId": secret,
        "SecretString": value.to_string(),
        "ClientRequestToken": uuid::Uuid::now_v7().to_string(),
    });
    let request = Request::post(world.aws.secrets_manager_url())
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", "secretsmanager.PutSecretValue")
        .header("x-amz-date", "20260101T000000Z")
        // The embedded service reads region and service from here and checks no signature.
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/secretsmanager/aws4_request, SignedHeaders=host, Signature=0",
        )
        .body(Full::new(Bytes::from(body.to_string())))?;
    let answer = Client::builder(TokioExecutor::new()).build_http().request(request).await?;
    let status = answer.status();
    if !status.is_success() {
        let text = answer.into_body().collect().await?.to_bytes();
        return Err(format!("writing {variable}: {status} {}", String::from_utf8_lossy(&text)).into());
    }
    Ok(())
}
