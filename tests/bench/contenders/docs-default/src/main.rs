//! Contender: the same request written as the public documentation shows it, with every crate at its default features
//! (lambda_http, axum, aws-config, AWS SDK) and cargo's default release profile.
use std::{collections::HashMap, env, sync::Arc, time::SystemTime};

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, ReturnValue};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    response::{IntoResponse, Response},
    routing::get,
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use serde::Deserialize;
use serde_json::{Value, json};

type Item = HashMap<String, AttributeValue>;

#[derive(Deserialize)]
struct Key {
    pk: String,
    sk: String,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    sid: String,
    tid: String,
}

struct App {
    dynamodb: aws_sdk_dynamodb::Client,
    table: String,
    keys: HashMap<String, DecodingKey>,
    validation: Validation,
    reads: Vec<Key>,
    items: usize,
    wanted: String,
    counter: Key,
    _cursors_secret: String,
}

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    let config = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
    let secrets = aws_sdk_secretsmanager::Client::new(&config);
    let dynamodb = aws_sdk_dynamodb::Client::new(&config);

    let (jwks_id, cursors_id) = (env::var("JWKS_SECRET_ID")?, env::var("CURSORS_SECRET_ID")?);
    let (jwks, cursors) =
        tokio::try_join!(secrets.get_secret_value().secret_id(jwks_id).send(), secrets.get_secret_value().secret_id(cursors_id).send(),)?;
    let set: JwkSet = serde_json::from_str(jwks.secret_string().unwrap_or_default())?;
    let mut keys = HashMap::new();
    for key in &set.keys {
        keys.insert(key.common.key_id.clone().unwrap_or_default(), DecodingKey::from_jwk(key)?);
    }
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_issuer(&[env::var("PUBLIC_URL")?]);
    validation.set_required_spec_claims(&["exp", "iss", "sub"]);
    validation.validate_aud = false;

    let app = App {
        dynamodb,
        table: env::var("TABLE_NAME")?,
        keys,
        validation,
        reads: serde_json::from_str(&env::var("BENCH_READS")?)?,
        items: env::var("BENCH_ITEMS")?.parse()?,
        wanted: env::var("BENCH_PROJECT")?,
        counter: serde_json::from_str(&env::var("BENCH_COUNTER")?)?,
        _cursors_secret: cursors.secret_string().unwrap_or_default().to_owned(),
    };
    let router = Router::new().route("/api/v1/projects/{id}", get(project)).with_state(Arc::new(app));
    lambda_http::run(router).await
}

async fn project(State(app): State<Arc<App>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    if app.caller(&headers).is_none() {
        return (StatusCode::UNAUTHORIZED, Json(json!({ "success": false }))).into_response();
    }
    let (items, used) = match tokio::try_join!(app.read(), app.count()) {
        Ok(answers) => answers,
        Err(error) => {
            eprintln!("table call failed: {error}");
            return (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "success": false }))).into_response();
        }
    };
    let found = items.len() == app.items && app.wanted.ends_with(&id);
    let project = items.into_iter().find(|item| item.get("sk").and_then(|sk| sk.as_s().ok()).is_some_and(|sk| *sk == app.wanted));
    match project {
        Some(item) if found => {
            let data: Value = serde_dynamo::from_item(item).unwrap_or_default();
            let headers = [("x-ratelimit-remaining", used.to_string())];
            (headers, Json(json!({ "success": true, "message": "Success", "data": data }))).into_response()
        }
        _ => (StatusCode::NOT_FOUND, Json(json!({ "success": false }))).into_response(),
    }
}

impl App {
    fn caller(&self, headers: &HeaderMap) -> Option<Claims> {
        let token = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
        let header = decode_header(token).ok()?;
        if header.typ.as_deref() != Some("at+jwt") {
            return None;
        }
        let claims = decode::<Claims>(token, self.keys.get(header.kid.as_deref()?)?, &self.validation).ok()?.claims;
        (!claims.sub.is_empty() && !claims.sid.is_empty() && !claims.tid.is_empty()).then_some(claims)
    }

    async fn read(&self) -> Result<Vec<Item>, aws_sdk_dynamodb::Error> {
        let mut request = KeysAndAttributes::builder().consistent_read(true);
        for key in &self.reads {
            request = request.keys(attributes(key));
        }
        let request = request.build().map_err(aws_sdk_dynamodb::Error::from)?;
        let answer = self.dynamodb.batch_get_item().request_items(&self.table, request).send().await?;
        Ok(answer.responses.unwrap_or_default().remove(&self.table).unwrap_or_default())
    }

    async fn count(&self) -> Result<i64, aws_sdk_dynamodb::Error> {
        let expires = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map(|age| age.as_secs()).unwrap_or_default() + 120;
        let answer = self
            .dynamodb
            .update_item()
            .table_name(&self.table)
            .set_key(Some(attributes(&self.counter)))
            .update_expression("ADD used :one SET #ttl = :ttl")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":one", AttributeValue::N("1".into()))
            .expression_attribute_values(":ttl", AttributeValue::N(expires.to_string()))
            .return_values(ReturnValue::UpdatedNew)
            .send()
            .await?;
        Ok(answer.attributes.and_then(|item| item.get("used")?.as_n().ok()?.parse().ok()).unwrap_or_default())
    }
}

fn attributes(key: &Key) -> Item {
    HashMap::from([("pk".to_owned(), AttributeValue::S(key.pk.clone())), ("sk".to_owned(), AttributeValue::S(key.sk.clone()))])
}
