//! The public keys that session tokens verify with (RFC 7517).

use serde::Serialize;
use shared::Result;
use shared::http::Answer;
use shared::tenancy::doors::Anyone;

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = JsonWebKeySet)]
pub struct KeySet {
    #[schema(value_type = Vec<Object>)]
    keys: serde_json::Value,
}

pub async fn show(door: Anyone) -> Result<Answer<KeySet>> {
    let keys = door.app.jwks().await?.document["keys"].clone();
    Ok(Answer::bare(KeySet { keys }))
}
