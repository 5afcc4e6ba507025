//! The console over its router: pages answer, what is shown is escaped, and strangers are turned away.

use axum::{body::Body, http::Request};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;
use crate::{aws::Storage, template::Template};

async fn console() -> Router {
    let aws = Aws::start(Storage::Memory).unwrap();
    let template = Template::parse(include_str!("../../testdata/template.yaml")).unwrap();
    aws.create(&template).await.unwrap();
    for (pk, sk) in [("T#abc#projects", "p1"), ("T#abc", "root"), ("T#xyz#projects", "<b>"), ("G#email#a@b", "x")] {
        let item = json!({ "TableName": "tenantry-local-Table", "Item": { "pk": { "S": pk }, "sk": { "S": sk }, "n": { "N": "7" } } });
        aws.database().put_item(serde_json::from_value(item).unwrap()).unwrap();
    }
    let openapi = std::env::temp_dir().join(format!("openapi-{}.json", fastrand::u64(..)));
    std::fs::write(&openapi, r#"{"openapi":"3.1.0","servers":[{"url":"/"}]}"#).unwrap();
    Console { aws, api_url: "http://127.0.0.1:9000".to_owned(), openapi, tables: vec!["tenantry-local-Table".to_owned()] }.router()
}

async fn get_page(router: &Router, path: &str, host: &str) -> (u16, String) {
    let request = Request::get(path).header("host", host).body(Body::empty()).unwrap();
    read(router.clone().oneshot(request).await.unwrap()).await
}

async fn read(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

async fn post_mail(router: &Router, body: Value) -> u16 {
    let request = Request::post("/mailbox").header("host", "127.0.0.1:9001").header("content-type", "application/json");
    let request = request.body(Body::from(body.to_string())).unwrap();
    read(router.clone().oneshot(request).await.unwrap()).await.0
}

#[tokio::test]
async fn every_page_answers() {
    let router = console().await;
    for path in [
        "/",
        "/health",
        "/mailbox",
        "/mailbox.json",
        "/table",
        "/reference",
        "/reference/start.js",
        "/reference/assets/swagger-ui-bundle.js",
        "/reference/assets/swagger-ui.css",
    ] {
        let (status, body) = get_page(&router, path, "localhost:9001").await;
        assert_eq!(status, 200, "{path}: {body}");
        assert!(!body.contains("://cdn") && !body.is_empty(), "{path}");
    }
    let (_, document) = get_page(&router, "/openapi.json", "localhost:9001").await;
    assert!(document.contains(r#""servers":[{"url":"http://127.0.0.1:9000"}]"#), "{document}");
}

#[tokio::test]
async fn mails_are_shown_escaped_and_framed() {
    let router = console().await;
    let mail = json!({ "id": "a/b?c", "to": "x@example.com", "subject": "<script>alert(1)</script>", "text": "<i>",
        "html": "<p onclick=\"x\">hi</p>", "kind": "verify", "tenant": "t" });
    assert_eq!(post_mail(&router, mail.clone()).await, 200);
    assert_eq!(post_mail(&router, mail).await, 200);
    assert_eq!(post_mail(&router, json!({ "id": 1 })).await, 422);
    let (_, list) = get_page(&router, "/mailbox", "127.0.0.1").await;
    assert!(list.contains("&lt;script&gt;") && !list.contains("<script>"), "{list}");
    assert!(list.contains("/mailbox/a%2Fb%3Fc"), "{list}");
    let (status, shown) = get_page(&router, "/mailbox/a%2Fb%3Fc", "127.0.0.1").await;
    assert_eq!(status, 200);
    assert!(shown.contains("sandbox=\"\"") && shown.contains("2×") && shown.contains("&lt;p onclick=&quot;x"), "{shown}");
    assert_eq!(get_page(&router, "/mailbox/none", "127.0.0.1").await.0, 404);
}

#[tokio::test]
async fn items_are_shown_by_tenant() {
    let router = console().await;
    let (_, tenants) = get_page(&router, "/table", "127.0.0.1").await;
    assert!(tenants.contains("/table/tenantry-local-Table/abc") && tenants.contains("belongs to no tenant"), "{tenants}");
    let (_, items) = get_page(&router, "/table/tenantry-local-Table/xyz", "127.0.0.1").await;
    assert!(items.contains("&lt;b&gt;") && items.contains("T#xyz#projects") && !items.contains("T#abc"), "{items}");
    let (_, shared) = get_page(&router, "/table/tenantry-local-Table/shared", "127.0.0.1").await;
    assert!(shared.contains("G#email#a@b") && !shared.contains("T#abc"), "{shared}");
}

#[tokio::test]
async fn another_host_name_is_turned_away() {
    let router = console().await;
    for path in ["/", "/table", "/mailbox.json", "/reference/assets/swagger-ui.css"] {
        assert_eq!(get_page(&router, path, "rebound.example:9001").await.0, 421, "{path}");
    }
}
