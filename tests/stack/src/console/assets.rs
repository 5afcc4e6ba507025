//! Style sheet, scripts and icon, compiled in, so that a page loads nothing from other servers. Files of others are in `assets/vendor`, as
//! released.

use axum::{Router, http::header::CONTENT_TYPE, response::IntoResponse, routing::get};

const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const ICON: &str = "image/svg+xml";

const ASSETS: [(&str, &str, &str); 9] = [
    ("/assets/console.css", CSS, include_str!("../../assets/console.css")),
    ("/assets/console.js", SCRIPT, include_str!("../../assets/console.js")),
    ("/assets/reference.css", CSS, include_str!("../../assets/reference.css")),
    ("/assets/reference.js", SCRIPT, include_str!("../../assets/reference.js")),
    ("/assets/htmx.min.js", SCRIPT, include_str!("../../assets/vendor/htmx.min.js")),
    ("/assets/htmx-sse.min.js", SCRIPT, include_str!("../../assets/vendor/htmx-sse.min.js")),
    ("/assets/idiomorph-ext.min.js", SCRIPT, include_str!("../../assets/vendor/idiomorph-ext.min.js")),
    ("/assets/icon.svg", ICON, include_str!("../../assets/icon.svg")),
    // Browsers ask for it if no other icon is named.
    ("/favicon.ico", ICON, include_str!("../../assets/icon.svg")),
];

pub fn routes() -> Router {
    ASSETS.into_iter().fold(Router::new(), |router, (path, kind, text)| {
        router.route(path, get(move || async move { ([(CONTENT_TYPE, kind)], text).into_response() }))
    })
}
