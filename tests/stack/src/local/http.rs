//! A JSON client for the few calls `cargo local` makes to its own API.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

/// The first call of a function waits for its start.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub struct Api {
    base: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Api {
    pub fn new(base: &str) -> Api {
        Api { base: base.to_owned(), client: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// Status and body; a body that is not JSON is null.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(u16, Value), String> {
        let trouble = |problem: String| format!("{method} {path} was not answered: {problem}");
        let request = Request::builder()
            .method(&method)
            .uri(format!("{}{path}", self.base))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()))))
            .map_err(|error| trouble(error.to_string()))?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| error.to_string())?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
            Ok::<_, String>((status, serde_json::from_slice(&body).unwrap_or_default()))
        };
        tokio::time::timeout(PATIENCE, exchange)
            .await
            .map_err(|_| trouble(format!("nothing came in {} seconds", PATIENCE.as_secs())))?
            .map_err(trouble)
    }
}
