//! The API reference: Swagger UI from a crate that bundles it, with the workspace's `openapi.json`. It has a filter, is signed in as the
//! demo, and calls the API through this server. The page therefore needs no right to call another origin, and shows every header of an
//! answer.

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, HeaderName, Method, Request, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use maud::{Markup, html};
use serde_json::{Value, json};
use swagger_ui_dist::{ApiDefinition, OpenApiSource, generate_routes};

use super::{
    Console, PageError,
    page::{Section, frame},
};
use crate::demo::Demo;

/// The path below which the API is called.
const THROUGH: &str = "/through";

/// More than the API accepts, so that the API refuses it.
const MOST_BODY: usize = 12 * 1024 * 1024;

/// Swagger UI writes styles into elements and has pictures in its style sheet.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Headers of the browser's connection with this server, not of the request.
static OWN_HEADERS: [HeaderName; 7] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::ORIGIN,
    header::REFERER,
    header::ACCEPT_ENCODING,
];

pub fn routes() -> Router<Console> {
    Router::new()
        .route("/reference", get(reference))
        .route("/reference/token", post(token))
        .route("/openapi.json", get(openapi))
        .route(&format!("{THROUGH}/{{*path}}"), any(through).layer(DefaultBodyLimit::max(MOST_BODY)))
}

pub fn assets() -> Router {
    generate_routes(ApiDefinition {
        uri_prefix: "/reference/assets".to_owned(),
        api_definition: OpenApiSource::Uri("/openapi.json".to_owned()),
        title: Some("Tenantry".to_owned()),
    })
}

async fn reference(State(console): State<Console>) -> ([(HeaderName, &'static str); 1], Markup) {
    let scripts = ["/assets/console.js", "/reference/assets/swagger-ui-bundle.js", "/assets/reference.js"];
    let styles = ["/reference/assets/swagger-ui.css", "/assets/reference.css"];
    let page = frame(
        Section::Reference,
        "API reference",
        &styles,
        &scripts,
        html! {
            main #main tabindex="-1" {
                div .stack {
                    h1 { "API reference" }
                    p #signed-in .quiet role="status" aria-live="polite" { "Signing in as the demo …" }
                    h2 .unseen { "Routes" }
                div #swagger-ui data-api=(console.api.base()) data-through=(THROUGH) { p .quiet { "The reference needs scripts." } }
                }
            }
        },
    );
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], page)
}

/// The credentials of the reference: a token of the demo, and the edge's key.
async fn token(State(console): State<Console>) -> Response {
    let email = console.demo().ok().flatten().map(|demo| demo.email);
    let key = console.ingest_key().await;
    match console.token().await {
        Ok(token) => Json(json!({ "token": token, "email": email, "ingest_key": key })).into_response(),
        Err(problem) => (StatusCode::BAD_GATEWAY, Json(json!({ "problem": problem, "ingest_key": key }))).into_response(),
    }
}

async fn openapi(State(console): State<Console>) -> Result<Json<Value>, PageError> {
    let missing = |problem: String| PageError(format!("{} cannot be shown: {problem}", console.openapi.display()));
    let text = std::fs::read_to_string(&console.openapi).map_err(|error| missing(error.to_string()))?;
    let mut document: Value = serde_json::from_str(&text).map_err(|error| missing(error.to_string()))?;
    document["servers"] = json!([{ "url": console.api.base() }]);
    if let Some(demo) = console.demo()? {
        let operations = document["paths"].as_object_mut().into_iter().flat_map(|paths| paths.iter_mut());
        for (path, methods) in operations {
            for operation in methods.as_object_mut().into_iter().flat_map(|methods| methods.values_mut()) {
                fill_in(path, operation, &demo);
            }
        }
    }
    Ok(Json(document))
}

/// Examples that work here: the demo's slug in paths, its login, and a recent moment for the edge's reports.
fn fill_in(path: &str, operation: &mut Value, demo: &Demo) {
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        if parameter["in"] == "path" && parameter["name"] == "slug" {
            parameter["example"] = demo.tenant_slug.as_str().into();
        }
    }
    let Some(example) = operation.pointer_mut("/requestBody/content/application~1json/example") else {
        return;
    };
    match path {
        "/api/v1/auth/login" => *example = demo.credentials(),
        "/api/usage/ingest" => {
            example["tenant"] = demo.tenant_slug.as_str().into();
            if let Some(moment) = example.pointer_mut("/entries/0/timestamp") {
                *moment = jiff::Timestamp::now().to_string().into();
            }
        }
        _ => {}
    }
}

/// Calls the API for the page. The guard has only let in this server's own pages.
async fn through(State(console): State<Console>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Result<Response, PageError> {
    let path = uri.path_and_query().map(|path| path.as_str()).and_then(|path| path.strip_prefix(THROUGH)).unwrap_or("/");
    let mut request = Request::builder().method(method).uri(path).body(body).map_err(|error| PageError(error.to_string()))?;
    *request.headers_mut() = headers;
    request.headers_mut().remove("sec-fetch-site");
    OWN_HEADERS.iter().for_each(|name| drop(request.headers_mut().remove(name)));
    let mut answer = console.api.send(request).await.map_err(PageError)?;
    for name in [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        answer.headers_mut().remove(name);
    }
    Ok(answer.map(axum::body::Body::from))
}
