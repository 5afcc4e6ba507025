//! Requests in the form in which API Gateway's HTTP API sends them to a function (payload format 2.0), and answers in its form.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, SET_COOKIE},
    request::Parts,
};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use crate::template::Route;

/// The target of a request: the template's route, and its function.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// `ANY /api/v1/projects/{proxy+}`, or `$default`.
    pub route_key: String,
    pub function: String,
    pub path_parameters: Vec<(String, String)>,
}

/// What the gateway knows about a request besides the request.
#[derive(Debug, Clone)]
pub struct RequestContext<'a> {
    pub request_id: &'a str,
    pub at: Timestamp,
    pub source_ip: &'a str,
    pub port: u16,
}

/// They concern one connection and are not passed on.
const HOP_BY_HOP: [&str; 9] =
    ["connection", "keep-alive", "proxy-connection", "proxy-authenticate", "te", "trailer", "transfer-encoding", "upgrade", "expect"];

/// The closest route: the most specific path among those with this method or ANY, the method itself before ANY, and `$default` last.
pub fn target(routes: &[Route], method: &Method, path: &str) -> Option<Target> {
    let takes = |route: &&Route| route.method == "ANY" || route.method == method.as_str();
    let fitting = routes.iter().filter(takes).filter_map(|route| Some((route.fit(path)?, route.method != "ANY", route)));
    let closest = fitting.max_by(|left, right| (&left.0, left.1).cmp(&(&right.0, right.1))).map(|(_, _, route)| route);
    let route = closest.or_else(|| routes.iter().filter(takes).find(|route| route.path == "$default"))?;
    let route_key = if route.path == "$default" { "$default".to_owned() } else { format!("{} {}", route.method, route.path) };
    Some(Target { route_key, function: route.function.clone(), path_parameters: path_parameters(&route.path, path) })
}

pub fn event(parts: &Parts, body: &Bytes, target: &Target, told: &RequestContext<'_>) -> Value {
    let raw_path = decoded(parts.uri.path());
    let raw_query = parts.uri.query().unwrap_or_default();
    let mut headers = joined(&parts.headers);
    headers.insert("x-amzn-trace-id".to_owned(), trace_id(told).into());
    let forwarded = match headers.get("x-forwarded-for").and_then(Value::as_str) {
        Some(earlier) => format!("{earlier}, {}", told.source_ip),
        None => told.source_ip.to_owned(),
    };
    headers.insert("x-forwarded-for".to_owned(), forwarded.into());
    headers.insert("x-forwarded-port".to_owned(), told.port.to_string().into());
    headers.insert("x-forwarded-proto".to_owned(), "http".into());
    let host = headers.get("host").and_then(Value::as_str).unwrap_or_default().to_owned();
    let user_agent = headers.get("user-agent").and_then(Value::as_str).unwrap_or_default().to_owned();
    let domain_prefix = host.split(['.', ':']).next().unwrap_or_default().to_owned();

    let mut event = json!({
        "version": "2.0",
        "routeKey": target.route_key,
        "rawPath": raw_path,
        "rawQueryString": raw_query,
        "headers": headers,
        "requestContext": {
            "accountId": crate::aws::ACCOUNT,
            "apiId": "local",
            "domainName": host,
            "domainPrefix": domain_prefix,
            "http": {
                "method": parts.method.as_str(),
                "path": raw_path,
                "protocol": format!("{:?}", parts.version),
                "sourceIp": told.source_ip,
                "userAgent": user_agent,
            },
            "requestId": told.request_id,
            "routeKey": target.route_key,
            "stage": "$default",
            "time": told.at.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string(),
            "timeEpoch": told.at.as_millisecond(),
        },
        "isBase64Encoded": false,
    });
    // All of these are absent if they are empty.
    let cookies = cookies(&parts.headers);
    if !cookies.is_empty() {
        event["cookies"] = json!(cookies);
    }
    let parameters = query_parameters(raw_query);
    if !parameters.is_empty() {
        event["queryStringParameters"] = Value::Object(parameters);
    }
    if !target.path_parameters.is_empty() {
        event["pathParameters"] = target.path_parameters.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    }
    if !body.is_empty() {
        let text = if is_text(&parts.headers) { std::str::from_utf8(body).ok() } else { None };
        event["isBase64Encoded"] = text.is_none().into();
        event["body"] = text.map_or_else(|| STANDARD.encode(body), str::to_owned).into();
    }
    event
}

/// The answer of a function. `Err` says why API Gateway would not accept it.
pub fn answer(payload: &[u8]) -> Result<Response<Bytes>, String> {
    let payload: Value = serde_json::from_slice(payload).map_err(|error| format!("its answer is not JSON: {error}"))?;
    let Some(status) = payload.get("statusCode") else {
        // Anything else that a function answers is used as the body.
        let text = payload.as_str().map_or_else(|| payload.to_string(), str::to_owned);
        let mut response = Response::new(Bytes::from(text));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        return Ok(response);
    };
    let status = status.as_u64().and_then(|status| u16::try_from(status).ok()).and_then(|status| StatusCode::from_u16(status).ok());
    let status = status.filter(|status| status.as_u16() >= 200).ok_or("its statusCode is none")?;
    let body = payload["body"].as_str().unwrap_or_default();
    let body = match payload["isBase64Encoded"].as_bool() {
        Some(true) => Bytes::from(STANDARD.decode(body).map_err(|_| "its body is not base64, though it says so")?),
        _ => Bytes::from(body.to_owned()),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in payload["headers"].as_object().into_iter().flatten() {
        add(headers, name, value)?;
    }
    for (name, values) in payload["multiValueHeaders"].as_object().into_iter().flatten() {
        if !headers.contains_key(name.as_str()) {
            for value in values.as_array().into_iter().flatten() {
                add(headers, name, value)?;
            }
        }
    }
    for cookie in payload["cookies"].as_array().into_iter().flatten() {
        add(headers, SET_COOKIE.as_str(), cookie)?;
    }
    // The length is computed again here.
    headers.remove(CONTENT_LENGTH);
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    Ok(response)
}

/// Whether API Gateway treats it as text: by its type only, and not if it is compressed.
fn is_text(headers: &HeaderMap) -> bool {
    let packed = headers.get(CONTENT_ENCODING).is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"));
    let content_type = headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?").to_ascii_lowercase());
    let essence = content_type.as_deref().map(|text| text.split(';').next().unwrap_or_default().trim());
    let text = match essence {
        None => true,
        Some("application/json" | "application/xml" | "application/javascript") => true,
        Some(other) => other.starts_with("text/"),
    };
    text && !packed
}

fn joined(headers: &HeaderMap) -> Map<String, Value> {
    let mut joined = Map::new();
    for name in headers.keys().filter(|name| **name != COOKIE && !HOP_BY_HOP.contains(&name.as_str())) {
        let values: Vec<_> = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        joined.insert(name.as_str().to_owned(), values.join(",").into());
    }
    joined
}

fn cookies(headers: &HeaderMap) -> Vec<String> {
    let all = headers.get_all(COOKIE).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    all.flat_map(|value| value.split(';').map(|cookie| cookie.trim().to_owned()).collect::<Vec<_>>())
        .filter(|cookie| !cookie.is_empty())
        .collect()
}

/// Decoded, in the order in which the names first appear.
fn query_parameters(query: &str) -> Map<String, Value> {
    let mut parameters = Map::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let entry = parameters.entry(name.into_owned()).or_insert(Value::Null);
        *entry = match entry.as_str() {
            Some(earlier) => format!("{earlier},{value}").into(),
            None => value.into_owned().into(),
        };
    }
    parameters
}

fn path_parameters(pattern: &str, path: &str) -> Vec<(String, String)> {
    let mut parameters = Vec::new();
    let mut rest = path.strip_prefix('/').unwrap_or(path);
    for part in pattern.split('/').skip(1) {
        let (segment, after) = rest.split_once('/').unwrap_or((rest, ""));
        let name = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
        match name.map(|name| (name.trim_end_matches('+'), name.ends_with('+'))) {
            Some((name, true)) => parameters.push((name.to_owned(), decoded(rest))),
            Some((name, false)) => parameters.push((name.to_owned(), decoded(segment))),
            None => {}
        }
        rest = after;
    }
    parameters
}

/// An event is JSON, so it can only contain valid UTF-8.
fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn trace_id(told: &RequestContext<'_>) -> String {
    let random = format!("{:016x}{:08x}", fastrand::u64(..), fastrand::u32(..));
    format!("Root=1-{:08x}-{random}", told.at.as_second())
}

fn add(headers: &mut HeaderMap, name: &str, value: &Value) -> Result<(), String> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let name: HeaderName = name.parse().map_err(|_| format!("it answers with a header `{name}`, which is no name"))?;
    let value = HeaderValue::from_bytes(text.as_bytes()).map_err(|_| format!("the value of its header `{name}` is none"))?;
    headers.append(name, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn routes(list: &[(&str, &str)]) -> Vec<Route> {
        let route = |(method, path): &(&str, &str)| Route {
            function: format!("{method} {path}"),
            method: (*method).to_owned(),
            path: (*path).to_owned(),
        };
        list.iter().map(route).collect()
    }

    fn made(request: Request<&'static [u8]>) -> Value {
        let (parts, body) = request.into_parts();
        let routes = routes(&[("ANY", "/api/tenants/{slug}/{proxy+}"), ("ANY", "$default")]);
        let target = target(&routes, &parts.method, parts.uri.path()).unwrap();
        let at: Timestamp = "2026-11-21T09:30:00Z".parse().unwrap();
        event(
            &parts,
            &Bytes::from_static(body),
            &target,
            &RequestContext { request_id: "BkL5xh0fFiAEJ3Q=", at, source_ip: "203.0.113.7", port: 9000 },
        )
    }

    #[test]
    fn the_most_specific_route_wins_and_the_method_before_any() {
        let routes = routes(&[
            ("ANY", "$default"),
            ("ANY", "/{proxy+}"),
            ("ANY", "/api/tenants/{slug}"),
            ("ANY", "/api/tenants/usage"),
            ("ANY", "/api/tenants/{slug}/{proxy+}"),
            ("GET", "/api/tenants/{slug}"),
        ]);
        let found = |method: Method, path: &str| target(&routes, &method, path).unwrap().route_key;
        assert_eq!(found(Method::GET, "/api/tenants/usage"), "ANY /api/tenants/usage");
        assert_eq!(found(Method::GET, "/api/tenants/acme"), "GET /api/tenants/{slug}");
        assert_eq!(found(Method::PUT, "/api/tenants/acme"), "ANY /api/tenants/{slug}");
        assert_eq!(found(Method::GET, "/api/tenants/acme/domains/x"), "ANY /api/tenants/{slug}/{proxy+}");
        assert_eq!(found(Method::GET, "/elsewhere"), "ANY /{proxy+}");
        assert_eq!(found(Method::GET, "/"), "$default");
    }

    #[test]
    fn an_event_has_the_form_of_the_sample_events() {
        let sample: Value = serde_json::from_str(include_str!("../../../../events/tenants/list-domains.json")).unwrap();
        let made = made(
            Request::get("/api/tenants/acme/domains?limit=20")
                .header("host", "api.example.com")
                .header("user-agent", "curl")
                .body(&[][..])
                .unwrap(),
        );
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<std::collections::BTreeSet<_>>();
        assert!(keys(&made).is_superset(&keys(&sample)), "{:?} {:?}", keys(&made), keys(&sample));
        assert_eq!(keys(&made["requestContext"]), keys(&sample["requestContext"]));
        assert_eq!(keys(&made["requestContext"]["http"]), keys(&sample["requestContext"]["http"]));
        assert_eq!(made["requestContext"]["time"], "21/Nov/2026:09:30:00 +0000");
        assert_eq!(made["pathParameters"], json!({"slug": "acme", "proxy": "domains"}));
    }

    #[test]
    fn what_is_repeated_is_joined_by_commas_and_cookies_stand_apart() {
        let request = Request::get("/api/tenants/a%20b/c%2Fd?x=1&y=%C3%A9+z&x=2")
            .header("Authorization", "Bearer a")
            .header("authorization", "Bearer b")
            .header("cookie", "one=1; two=2")
            .header("cookie", "three=3")
            .header("x-forwarded-for", "192.0.2.1")
            .header("x-forwarded-proto", "https,http")
            .header("connection", "keep-alive")
            .body(&[][..]);
        let event = made(request.unwrap());
        assert_eq!(event["headers"]["authorization"], "Bearer a,Bearer b");
        assert_eq!(event["cookies"], json!(["one=1", "two=2", "three=3"]));
        assert_eq!(event["headers"]["x-forwarded-for"], "192.0.2.1, 203.0.113.7");
        assert_eq!(event["headers"]["x-forwarded-proto"], "http");
        assert_eq!((event["headers"].get("cookie"), event["headers"].get("connection")), (None, None));
        assert_eq!(event["rawPath"], "/api/tenants/a b/c/d");
        assert_eq!(event["pathParameters"], json!({"slug": "a b", "proxy": "c/d"}));
        assert_eq!(event["rawQueryString"], "x=1&y=%C3%A9+z&x=2");
        assert_eq!(event["queryStringParameters"], json!({"x": "1,2", "y": "é z"}));
        assert_eq!((event.get("body"), &event["isBase64Encoded"]), (None, &json!(false)));
    }

    #[test]
    fn what_is_not_text_comes_in_base64() {
        let body = |content_type: &str, encoding: Option<&str>, body: &'static [u8]| {
            let mut request = Request::post("/").header("content-type", content_type);
            if let Some(encoding) = encoding {
                request = request.header("content-encoding", encoding);
            }
            let event = made(request.body(body).unwrap());
            (event["body"].as_str().unwrap().to_owned(), event["isBase64Encoded"].as_bool().unwrap())
        };
        assert_eq!(body("application/json; charset=utf-8", None, b"{}"), ("{}".to_owned(), false));
        assert_eq!(body("application/json", Some("identity"), b"{}"), ("{}".to_owned(), false));
        assert_eq!(body("application/json", None, b"\xff"), ("/w==".to_owned(), true));
        assert_eq!(body("application/json", Some("gzip"), b"{}"), ("e30=".to_owned(), true));
        assert_eq!(body("application/x-www-form-urlencoded", None, b"a"), ("YQ==".to_owned(), true));
    }

    #[test]
    fn an_answer_keeps_status_headers_cookies_and_bytes() {
        let payload = json!({
            "statusCode": 201, "headers": {"content-type": "application/json", "x-number": 5, "content-length": "99", "connection": "close"},
            "multiValueHeaders": {"link": ["a", "b"], "x-number": ["6"]}, "cookies": ["a=1", "b=2"], "body": "/w==", "isBase64Encoded": true,
        });
        let response = answer(payload.to_string().as_bytes()).unwrap();
        assert_eq!((response.status().as_u16(), response.body().as_ref()), (201, &b"\xff"[..]));
        let values = |name: &str| response.headers().get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!((values("link"), values("set-cookie"), values("x-number")), (vec!["a", "b"], vec!["a=1", "b=2"], vec!["5"]));
        assert_eq!((values("connection").len(), values("content-length").len()), (0, 0));
        let plain = answer(br#"{"any":"thing"}"#).unwrap();
        assert_eq!((plain.status().as_u16(), plain.body().as_ref()), (200, &br#"{"any":"thing"}"#[..]));
        for broken in [
            "",
            r#"{"statusCode":99}"#,
            r#"{"statusCode":200,"body":"*","isBase64Encoded":true}"#,
            r#"{"statusCode":200,"headers":{"a b":"c"}}"#,
        ] {
            assert!(answer(broken.as_bytes()).is_err(), "{broken}");
        }
    }
}
