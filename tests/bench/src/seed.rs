//! TEMPORARY: a tenant written by hand until `auth`, `janitor` and `operator` exist.
use std::io::{Read, Write};

use aws_lc_rs::{rand::SystemRandom, signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _}};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as B64};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::{Outcome, world::World};

pub fn token(world: &World) -> Outcome<String> {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).map_err(|_| "key")?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).map_err(|_| "key")?;
    let point = pair.public_key().as_ref();
    let jwks = json!({"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":"k1","x":B64.encode(&point[1..33]),"y":B64.encode(&point[33..65])}]});
    let environment = world.environment("projects");
    let jwks_id = environment.iter().find(|(name, _)| name == "JWKS_SECRET_ID").map(|it| it.1.clone()).ok_or("no JWKS_SECRET_ID")?;
    let body = json!({"SecretId": jwks_id, "SecretString": jwks.to_string(), "ClientRequestToken": uuid::Uuid::now_v7().to_string()}).to_string();
    let host = world.aws.secrets_manager_url().replace("http://", "");
    let mut stream = std::net::TcpStream::connect(&host)?;
    write!(stream, "POST / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-type: application/x-amz-json-1.1\r\nx-amz-target: secretsmanager.PutSecretValue\r\nauthorization: AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/secretsmanager/aws4_request, SignedHeaders=host, Signature=00\r\nx-amz-date: 20260101T000000Z\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if !answer.starts_with("HTTP/1.1 200") { return Err(answer.into()); }

    let id = || uuid::Uuid::now_v7().to_string();
    let (tenant, user, session) = (id(), id(), id());
    let (then, until) = ("2026-01-01T00:00:00Z", "2099-01-01T00:00:00Z");
    let s = |text: &str| json!({"S": text});
    let n = |number: u64| json!({"N": number.to_string()});
    let put = |item: Value| -> Outcome<()> {
        let mut item = item;
        item["actor"] = s("user:x"); item["request"] = s("0123456789abcdef");
        world.aws.database().put_item(serde_json::from_value(json!({"TableName": world.table, "Item": item}))?)?;
        Ok(())
    };
    put(json!({"pk": s(&format!("G#user#{user}")), "sk": s(&format!("session#{session}")), "type": s("session"), "id": s(&session), "user": s(&user), "tenant": s(&tenant), "device_name": s("api-token"), "created_at": s(then), "expires_at": s(until), "ttl": n(4070908800)}))?;
    put(json!({"pk": s(&format!("T#{tenant}#members")), "sk": s(&format!("user#{user}")), "type": s("member"), "tenant": s(&tenant), "user": s(&user), "number": n(1), "role": s("owner"), "name": s("Bench"), "email": s("bench@example.com"), "joined_at": s(then), "version": n(1)}))?;
    put(json!({"pk": s(&format!("T#{tenant}#tenant")), "sk": s("profile"), "type": s("tenant"), "tenant": s(&tenant), "id": s(&tenant), "account": n(1), "slug": s("bench-abc123"), "name": s("Bench"), "status": s("active"), "plan": s("pro"), "kind": s("standard"), "created_at": s(then), "updated_at": s(then), "version": n(1)}))?;
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some("k1".into());
    header.typ = Some("at+jwt".into());
    let claims = json!({"iss":"https://api.example.com","aud":"https://api.example.com","sub":user,"sid":session,"tid":tenant,"exp":4070908800u64,"iat":1767225600,"jti":id()});
    Ok(encode(&header, &claims, &EncodingKey::from_ec_der(pkcs8.as_ref()))?)
}
