//! The API reference: Swagger UI from a crate that bundles it, on the workspace's `openapi.json`.

use axum::{
    Json, Router,
    extract::State,
    http::header::CONTENT_TYPE,
    response::{Html, IntoResponse},
    routing::get,
};
use maud::{DOCTYPE, PreEscaped, html};
use serde_json::{Value, json};
use swagger_ui_dist::{ApiDefinition, OpenApiSource, generate_routes};

use super::{Console, Trouble};

/// The page is our own, so that its script is a file and the policy can forbid inline ones.
const START: &str = "window.onload = () => SwaggerUIBundle({ url: '/openapi.json', dom_id: '#swagger-ui', deepLinking: true });\n";

pub fn routes() -> Router<Console> {
    Router::new()
        .route("/reference", get(reference))
        .route("/reference/start.js", get(|| async { ([(CONTENT_TYPE, "text/javascript")], START) }))
        .route("/openapi.json", get(openapi))
}

pub fn assets() -> Router {
    generate_routes(ApiDefinition {
        uri_prefix: "/reference/assets".to_owned(),
        api_definition: OpenApiSource::Uri("/openapi.json".to_owned()),
        title: Some("Tenantry".to_owned()),
    })
}

async fn reference() -> impl IntoResponse {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { "API reference · Tenantry" }
                link rel="stylesheet" href="/reference/assets/swagger-ui.css";
            }
            body {
                div id="swagger-ui" { (PreEscaped("")) }
                script src="/reference/assets/swagger-ui-bundle.js" {}
                script src="/reference/start.js" {}
            }
        }
    };
    Html(page.into_string())
}

async fn openapi(State(console): State<Console>) -> Result<Json<Value>, Trouble> {
    let missing = |problem: String| Trouble(format!("{} cannot be shown: {problem}", console.openapi.display()));
    let text = std::fs::read_to_string(&console.openapi).map_err(|error| missing(error.to_string()))?;
    let mut document: Value = serde_json::from_str(&text).map_err(|error| missing(error.to_string()))?;
    // "Try it out" must reach the local API, which is on another port than this page.
    document["servers"] = json!([{ "url": console.api_url }]);
    Ok(Json(document))
}
