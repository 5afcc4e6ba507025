//! CORS as API Gateway does it from its configuration. The gateway answers preflights, whatever the routes are. Other answers get the
//! gateway's CORS headers instead of the function's. Without a configuration nothing is added and nothing is answered.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
    },
};

use crate::template::Cors as Configuration;

#[derive(Debug, Clone, PartialEq)]
pub struct Cors {
    of: Configuration,
}

impl Cors {
    /// `None` if the template has no configuration, or one without origins.
    pub fn new(mut of: Configuration) -> Option<Cors> {
        of.allow_origins.retain(|origin| !origin.is_empty());
        (!of.allow_origins.is_empty()).then_some(Cors { of })
    }

    /// Allows everything, for the stack's own pages.
    pub fn all_for(origins: Vec<String>) -> Cors {
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let of = Configuration {
            allow_origins: origins,
            allow_methods: list(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]),
            allow_headers: list(&["*"]),
            expose_headers: list(&["*"]),
            max_age: None,
            allow_credentials: false,
        };
        Cors { of }
    }

    /// Whether the page's origin is allowed.
    pub fn knows(&self, asked: &HeaderMap) -> bool {
        self.allowed(asked).is_some()
    }

    pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
        method == Method::OPTIONS && headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// Headers of the answer to a preflight. None for a page that is not allowed.
    pub fn preflight(&self, asked: &HeaderMap) -> HeaderMap {
        let mut answer = HeaderMap::new();
        let Some(origin) = self.allowed(asked) else { return answer };
        self.put_origin(&mut answer, origin);
        put(&mut answer, ACCESS_CONTROL_ALLOW_METHODS, &self.of.allow_methods.join(","));
        // With credentials a star is not a wildcard, and it never includes Authorization. So the requested headers are returned.
        let wanted = asked.get(ACCESS_CONTROL_REQUEST_HEADERS).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let headers = if self.of.allow_headers.iter().any(|name| name == "*") {
            wanted.to_owned()
        } else {
            self.of.allow_headers.join(",").to_lowercase()
        };
        put(&mut answer, ACCESS_CONTROL_ALLOW_HEADERS, &headers);
        if let Some(seconds) = self.of.max_age {
            put(&mut answer, ACCESS_CONTROL_MAX_AGE, &seconds.to_string());
        }
        answer
    }

    /// Replaces the function's CORS headers by the gateway's.
    pub fn apply(&self, asked: &HeaderMap, answer: &mut HeaderMap) {
        let own: Vec<HeaderName> = answer.keys().filter(|name| name.as_str().starts_with("access-control-")).cloned().collect();
        for name in own {
            answer.remove(name);
        }
        if let Some(origin) = self.allowed(asked) {
            self.put_origin(answer, origin);
            put(answer, ACCESS_CONTROL_EXPOSE_HEADERS, &self.of.expose_headers.join(","));
        }
    }

    fn allowed<'a>(&self, asked: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let origin = asked.get(ORIGIN)?;
        let text = origin.to_str().ok()?;
        self.of.allow_origins.iter().any(|allowed| covers(allowed, text)).then_some(origin)
    }

    fn put_origin(&self, answer: &mut HeaderMap, origin: &HeaderValue) {
        let anybody = !self.of.allow_credentials && self.of.allow_origins.iter().any(|origin| origin == "*");
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, if anybody { HeaderValue::from_static("*") } else { origin.clone() });
        if !anybody {
            answer.append(VARY, HeaderValue::from_static("Origin"));
        }
        if self.of.allow_credentials {
            answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}

/// The only wildcards are `*`, `https://*` and `http://*`.
fn covers(allowed: &str, origin: &str) -> bool {
    match allowed {
        "*" => true,
        "https://*" | "http://*" => origin.starts_with(allowed.trim_end_matches('*')),
        _ => allowed.eq_ignore_ascii_case(origin),
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value)
        && !value.is_empty()
    {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(origin: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ORIGIN, origin.parse().unwrap());
        headers.insert(ACCESS_CONTROL_REQUEST_METHOD, "PATCH".parse().unwrap());
        headers.insert(ACCESS_CONTROL_REQUEST_HEADERS, "authorization".parse().unwrap());
        headers
    }

    fn cors(configuration: serde_json::Value) -> Option<Cors> {
        Cors::new(serde_json::from_value(configuration).unwrap())
    }

    #[test]
    fn no_origin_is_no_cors() {
        for none in [json!([]), json!([""])] {
            assert_eq!(cors(json!({"allowOrigins": none})), None, "{none}");
        }
    }

    #[test]
    fn a_preflight_names_what_is_allowed_to_those_who_are() {
        let configuration = json!({
            "allowOrigins": ["https://app.example.com"], "allowMethods": ["GET", "PATCH"], "allowHeaders": ["Authorization", "Content-Type"],
            "exposeHeaders": ["ETag", "Link"], "maxAge": "600",
        });
        let cors = cors(configuration).unwrap();
        let answer = cors.preflight(&asked("https://app.example.com"));
        let text = |name: HeaderName| answer.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        assert_eq!(text(ACCESS_CONTROL_ALLOW_ORIGIN), "https://app.example.com");
        assert_eq!(text(ACCESS_CONTROL_ALLOW_METHODS), "GET,PATCH");
        assert_eq!(text(ACCESS_CONTROL_ALLOW_HEADERS), "authorization,content-type");
        assert_eq!((text(ACCESS_CONTROL_MAX_AGE), text(VARY)), ("600".to_owned(), "Origin".to_owned()));
        assert!(cors.preflight(&asked("https://evil.example")).is_empty());
        let mut answer = HeaderMap::new();
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, "*".parse().unwrap());
        cors.apply(&asked("https://evil.example"), &mut answer);
        assert!(answer.is_empty());
        cors.apply(&asked("https://app.example.com"), &mut answer);
        assert_eq!(answer[ACCESS_CONTROL_EXPOSE_HEADERS], "ETag,Link");
    }

    #[test]
    fn stars_are_the_wildcards_that_api_gateway_knows() {
        for (allowed, origin, expected) in [
            ("*", "null", true),
            ("https://*", "https://x.example", true),
            ("https://*", "http://x.example", false),
            ("https://*.example", "https://x.example", false),
            ("https://a.example", "https://A.example", true),
            ("https://a.example", "https://a.example.evil", false),
        ] {
            assert_eq!(covers(allowed, origin), expected, "{allowed} {origin}");
        }
        let cors = cors(json!({"allowOrigins": ["*", "https://a.example"]})).unwrap();
        assert_eq!(cors.preflight(&asked("https://b.example"))[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    }
}
