//! A client for the few calls that the local stack makes to its own API.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

/// The first call of a function waits for its start.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Cheap to clone. Clones share their connections.
#[derive(Clone)]
pub struct Api {
    base: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Api {
    pub fn new(base: &str) -> Api {
        Api { base: base.to_owned(), client: Client::builder(TokioExecutor::new()).build_http() }
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    /// Status and body. A body that is not JSON becomes null.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(u16, Value), String> {
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, "application/json").body(body);
        let response = self.send(request.map_err(|error| error.to_string())?).await?;
        Ok((response.status().as_u16(), serde_json::from_slice(response.body()).unwrap_or_default()))
    }

    /// The answer to a request whose URI contains only path and query.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let (mut parts, body) = request.into_parts();
        let asked = format!("{} {}", parts.method, parts.uri.path());
        let trouble = |problem: String| format!("{asked} was not answered: {problem}");
        parts.uri = format!("{}{}", self.base, parts.uri).parse().map_err(|error: http::uri::InvalidUri| trouble(error.to_string()))?;
        let exchange = async {
            let response = self.client.request(Request::from_parts(parts, Full::new(body))).await.map_err(|error| error.to_string())?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
            Ok::<_, String>(Response::from_parts(parts, body))
        };
        tokio::time::timeout(TIMEOUT, exchange)
            .await
            .map_err(|_| trouble(format!("nothing came in {} seconds", TIMEOUT.as_secs())))?
            .map_err(trouble)
    }
}
