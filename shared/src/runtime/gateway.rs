//! Events of API Gateway (HTTP API, payload 2.0) as requests, and answers in the gateway's format. Every event gets an answer of ours. What
//! cannot be part of a request is recorded here and refused after the door, and a panic is a 500.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::FutureExt;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Uri};
use http_body_util::BodyExt;
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Deserialize;
use tower::ServiceExt;

use crate::error::Error;
use crate::http::serve::{self, Context};
use crate::tenancy::App;

/// Answers one event, whatever it contains.
pub async fn answer(app: &App, router: &Router, event: &str) -> Response<Bytes> {
    let read = std::panic::catch_unwind(|| request_of(event));
    let request = match read {
        Ok(Some(request)) => request,
        Ok(None) => return whole(serve::unrouted(app, None, Error::BadRequest("This is no request of the gateway.".into()))).await,
        Err(panic) => return whole(serve::unrouted(app, None, serve::panicked("reading an event", panic))).await,
    };
    let request_id = request.extensions().get::<Context>().and_then(|context| context.request_id.clone());
    let answered = async { whole(router.clone().oneshot(request).await.unwrap_or_else(|never| match never {})).await };
    // Boxed, so that it is not part of the caller's stack frame.
    match AssertUnwindSafe(Box::pin(answered)).catch_unwind().await {
        Ok(answer) => answer,
        Err(panic) => whole(serve::unrouted(app, request_id, serve::panicked("answering a request", panic))).await,
    }
}

/// An answer in the gateway's format.
pub fn outgoing(answer: Response<Bytes>) -> ApiGatewayV2httpResponse {
    let (head, body) = answer.into_parts();
    let mut outgoing = ApiGatewayV2httpResponse::default();
    outgoing.status_code = i64::from(head.status.as_u16());
    outgoing.headers = joined(&head.headers);
    outgoing.body = Some(match String::from_utf8(body.into()) {
        Ok(text) => lambda_http::Body::Text(text),
        Err(binary) => {
            outgoing.is_base64_encoded = true;
            lambda_http::Body::Binary(binary.into_bytes())
        }
    });
    outgoing
}

/// Each name once, and only text, as the gateway requires.
fn joined(headers: &HeaderMap) -> HeaderMap {
    let mut joined = HeaderMap::with_capacity(headers.keys_len());
    for name in headers.keys() {
        let values: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        if let Ok(value) = HeaderValue::from_bytes(String::from_utf8_lossy(&values.join(&b", "[..])).as_bytes()) {
            joined.insert(name, value);
        }
    }
    joined
}

/// The parts of an event that we read. `lambda_http` could create the request, but not for every event: an impossible host or header value
/// causes a panic or no request, and the sender would get no answer of ours.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    raw_path: Option<String>,
    raw_query_string: Option<String>,
    headers: Option<BTreeMap<String, Values>>,
    request_context: RequestContext,
    body: Option<String>,
    is_base64_encoded: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext {
    request_id: Option<String>,
    http: Http,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Http {
    method: String,
    source_ip: Option<String>,
}

/// A header's value. The gateway joins several values with commas, other front ends list them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Many(Vec<String>),
    Wrong(serde::de::IgnoredAny),
}

/// Characters that must be encoded in a path. The gateway decodes the path.
const NOT_IN_PATH: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'?').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');
const NOT_IN_QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>');

/// `None` if the event is not one of the gateway's.
fn request_of(event: &str) -> Option<Request> {
    let event: Event = serde_json::from_str(event).ok()?;
    let method = Method::from_bytes(event.request_context.http.method.as_bytes()).ok()?;
    let body = event.body.unwrap_or_default();
    let (body, unreadable_body) = match event.is_base64_encoded {
        Some(true) => STANDARD.decode(body).map_or_else(|_| (vec![], true), |body| (body, false)),
        _ => (body.into_bytes(), false),
    };
    let context = Context {
        request_id: event.request_context.request_id,
        ip: event.request_context.http.source_ip.unwrap_or_default(),
        unreadable_body,
    };
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = method;
    *request.uri_mut() = uri(&event.raw_path.unwrap_or_default(), &event.raw_query_string.unwrap_or_default());
    *request.headers_mut() = headers(event.headers.unwrap_or_default());
    request.extensions_mut().insert(context);
    Some(request)
}

/// A text that is too long for a URI becomes one that matches no route.
fn uri(path: &str, query: &str) -> Uri {
    let path = format!("/{}", utf8_percent_encode(path.strip_prefix('/').unwrap_or(path), NOT_IN_PATH));
    let whole = if query.is_empty() { path } else { format!("{path}?{}", utf8_percent_encode(query, NOT_IN_QUERY)) };
    PathAndQuery::try_from(whole).map(Uri::from).unwrap_or_default()
}

fn headers(given: BTreeMap<String, Values>) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(given.len());
    for (name, values) in given {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { continue };
        let values = match values {
            Values::One(value) => vec![value],
            Values::Many(values) => values,
            Values::Wrong(_) => vec!["\u{FFFD}".to_owned()],
        };
        for value in values {
            // A value that is not valid stays visible as such, so that the code that reads it can refuse it.
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()).or_else(|_| HeaderValue::from_bytes("\u{FFFD}".as_bytes())) {
                headers.append(name.clone(), value);
            }
        }
    }
    headers
}

async fn whole(answer: axum::response::Response) -> Response<Bytes> {
    let (head, body) = answer.into_parts();
    // Our bodies are in memory, so collecting one cannot fail.
    let body = body.collect().await.map(|collected| collected.to_bytes()).unwrap_or_default();
    Response::from_parts(head, body)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn event(path: &str, query: &str, headers: Value) -> String {
        let context = json!({"requestId": "r-1", "http": {"method": "GET", "sourceIp": "192.0.2.1"}});
        json!({"version": "2.0", "rawPath": path, "rawQueryString": query, "headers": headers, "requestContext": context}).to_string()
    }

    #[test]
    fn any_path_and_query_becomes_a_uri() {
        for (path, query, uri) in [
            ("/a/b", "", "/a/b"),
            ("", "", "/"),
            ("a", "", "/a"),
            ("/a b?c#d/é\u{0}", "x=1&y=é", "/a%20b%3Fc%23d/%C3%A9%00?x=1&y=%C3%A9"),
            ("/%FF/%", "%FF=%&\"<>=# \u{7f}", "/%FF/%?%FF=%&%22%3C%3E=%23%20%7F"),
            ("//host/..", "", "//host/.."),
            ("/\u{FFFD}\\", "", "/%EF%BF%BD%5C"),
        ] {
            let request = request_of(&event(path, query, json!({"host": "[", "x-forwarded-proto": "https,http"}))).unwrap();
            assert_eq!(request.uri().to_string(), uri);
        }
        let long = "a".repeat(70_000);
        assert_eq!(request_of(&event(&long, "", json!({}))).unwrap().uri().to_string(), "/");
    }

    #[test]
    fn headers_come_through_or_show_that_they_are_none() {
        let given = json!({"A": "1", "b": ["1", "2"], "c": "é", "d": "x\ny", "e": null, "no name": "1", "": "1"});
        let request = request_of(&event("/", "", given)).unwrap();
        let values = |name: &str| request.headers().get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect::<Vec<_>>();
        assert_eq!((values("a"), values("b")), (vec![b"1".to_vec()], vec![b"1".to_vec(), b"2".to_vec()]));
        for name in ["c", "d", "e"] {
            assert!(request.headers()[name].to_str().is_err(), "{name}");
        }
        assert_eq!(request.headers().keys_len(), 5);
    }

    #[test]
    fn an_answer_is_the_gateways_own_form() {
        let answer = Response::builder().status(201).header("vary", "origin").header("vary", "accept").header("etag", "\"1\"");
        let sent = serde_json::to_value(outgoing(answer.body(Bytes::from_static("é".as_bytes())).unwrap())).unwrap();
        let headers = json!({"vary": "origin, accept", "etag": "\"1\""});
        let whole =
            json!({"statusCode": 201, "headers": headers, "multiValueHeaders": {}, "body": "é", "isBase64Encoded": false, "cookies": []});
        assert_eq!(sent, whole);
        let binary =
            Response::builder().header("odd", HeaderValue::from_bytes(b"\xff").unwrap()).body(Bytes::from_static(b"\xff\x00")).unwrap();
        let sent = serde_json::to_value(outgoing(binary)).unwrap();
        assert_eq!((&sent["body"], &sent["isBase64Encoded"], &sent["headers"]["odd"]), (&json!("/wA="), &json!(true), &json!("\u{FFFD}")));
    }

    #[test]
    fn what_is_no_event_of_the_gateway_is_none() {
        for wrong in ["", "null", "[]", "{}", "\"x\"", r#"{"Records":[]}"#, r#"{"requestContext":{"http":{}}}"#] {
            assert!(request_of(wrong).is_none(), "{wrong}");
        }
        let method = event("/", "", json!(null)).replace("GET", "G T");
        assert!(request_of(&method).is_none());
        let mut body: Value = serde_json::from_str(&event("/", "", json!(null))).unwrap();
        body["body"] = json!("***");
        body["isBase64Encoded"] = json!(true);
        assert!(request_of(&body.to_string()).unwrap().extensions().get::<Context>().unwrap().unreadable_body);
    }
}
