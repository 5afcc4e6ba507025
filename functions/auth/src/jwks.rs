//! The public keys that session tokens verify with (RFC 7517).

use serde::Serialize;
use shared::Result;
use shared::http::Answer;
use shared::tenancy::doors::Anyone;

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = JsonWebKeySet)]
pub struct KeySet {
    #[schema(value_type = Vec<JsonWebKey>)]
    keys: serde_json::Value,
}

/// A public key on the curve P-256.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it describes what the keys' document holds")]
struct JsonWebKey {
    kty: String,
    crv: String,
    x: String,
    y: String,
    kid: String,
    alg: String,
    r#use: String,
}

pub async fn show(door: Anyone) -> Result<Answer<KeySet>> {
    let keys = door.app.jwks().await?.document["keys"].clone();
    Ok(Answer::bare(KeySet { keys }))
}
