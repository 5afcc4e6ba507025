//! Invokes functions over the Lambda invoke API, as `cargo lambda watch` serves it.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http::{Request, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

use super::{Invoke, InvokeError};
use crate::template::Function;

/// The longest time Lambda gives a function.
const LONGEST: Duration = Duration::from_secs(900);

/// On top of a function's own time: starting, and a little compiling.
const STARTING: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub struct HttpInvoke {
    base: String,
    client: Client<HttpConnector, Full<Bytes>>,
    timeouts: BTreeMap<String, Duration>,
}

impl HttpInvoke {
    /// `base` is `http://host:port`, without a path.
    pub fn new(base: &str) -> HttpInvoke {
        HttpInvoke {
            base: base.trim_end_matches('/').to_owned(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            timeouts: BTreeMap::new(),
        }
    }

    /// Gives each function its own time. The watcher forgets the invocations of a function that it starts anew, so
    /// silence is not held against the function: it counts as not reached.
    pub fn with_timeouts(mut self, functions: &[Function]) -> HttpInvoke {
        self.timeouts = functions
            .iter()
            .map(|function| {
                let seconds = u64::try_from(function.timeout_seconds).unwrap_or_default();
                (function.name.clone(), Duration::from_secs(seconds) + STARTING)
            })
            .collect();
        self
    }

    async fn post(&self, function: &str, payload: &Value) -> Result<(u16, Bytes), String> {
        let uri = format!("{}/2015-03-31/functions/{function}/invocations", self.base);
        let request = Request::post(uri)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(payload.to_string())))
            .map_err(|error| error.to_string())?;
        let response = self.client.request(request).await.map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(|error| error.to_string())?;
        Ok((status, body.to_bytes()))
    }
}

impl Invoke for HttpInvoke {
    async fn invoke(&self, function: &str, payload: Value) -> Result<Value, InvokeError> {
        let failed = |message: String| InvokeError::Failed { function: function.to_owned(), message };
        let unreachable = |message: String| InvokeError::Unreachable { function: function.to_owned(), message };
        let timeout = self.timeouts.get(function).copied().unwrap_or(LONGEST);
        let answered = tokio::time::timeout(timeout, self.post(function, &payload)).await;
        let (status, body) =
            answered.map_err(|_| unreachable(format!("no answer in {} seconds", timeout.as_secs())))?.map_err(unreachable)?;
        if status >= 300 {
            return Err(failed(format!("status {status}: {}", String::from_utf8_lossy(&body))));
        }
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|error| failed(format!("its answer is not JSON: {error}")))
    }
}
