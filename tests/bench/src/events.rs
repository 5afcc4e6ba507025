//! Events of the HTTP API, payload version 2, as API Gateway writes them.
use serde_json::{Map, Value, json};

#[derive(Clone, Default)]
pub struct Ask {
    pub method: &'static str,
    pub path: String,
    pub query: String,
    pub token: Option<String>,
    pub headers: Vec<(&'static str, String)>,
    pub body: Option<Value>,
}

impl Ask {
    pub fn new(method: &'static str, path: impl Into<String>) -> Self {
        let path = path.into();
        let (path, query) = path.split_once('?').map_or((path.as_str(), ""), |parts| parts);
        Self { method, path: path.to_owned(), query: query.to_owned(), ..Self::default() }
    }

    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    pub fn event(&self) -> String {
        let mut headers = Map::new();
        headers.insert("accept".into(), "application/json".into());
        headers.insert("host".into(), "api.example.com".into());
        headers.insert("user-agent".into(), "bench".into());
        headers.insert("x-forwarded-for".into(), "192.0.2.1".into());
        headers.insert("x-forwarded-proto".into(), "https".into());
        if let Some(token) = &self.token {
            headers.insert("authorization".into(), format!("Bearer {token}").into());
        }
        if self.body.is_some() {
            headers.insert("content-type".into(), "application/json".into());
        }
        for (name, value) in &self.headers {
            headers.insert((*name).to_owned(), value.as_str().into());
        }
        let parameters: Map<String, Value> =
            self.query.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (name.to_owned(), value.into())).collect();
        let mut event = json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": self.path,
            "rawQueryString": self.query,
            "headers": headers,
            "requestContext": {
                "accountId": "123456789012",
                "apiId": "bench",
                "domainName": "api.example.com",
                "domainPrefix": "api",
                "http": {
                    "method": self.method,
                    "path": self.path,
                    "protocol": "HTTP/1.1",
                    "sourceIp": "192.0.2.1",
                    "userAgent": "bench",
                },
                "requestId": uuid::Uuid::now_v7().to_string(),
                "routeKey": "$default",
                "stage": "$default",
                "time": "01/Jan/2026:00:00:00 +0000",
                "timeEpoch": 1_767_225_600_000_u64,
            },
            "isBase64Encoded": false,
        });
        if !parameters.is_empty() {
            event["queryStringParameters"] = parameters.into();
        }
        if let Some(body) = &self.body {
            event["body"] = body.to_string().into();
        }
        event.to_string()
    }
}
