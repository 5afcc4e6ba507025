//! Tests of the console with its router: pages answer, content is escaped, searched and named, events are sent, and other pages are
//! refused.

use axum::{
    body::Body,
    http::{HeaderMap, Request},
};
use http::header::CONTENT_SECURITY_POLICY;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;
use crate::{
    aws::Storage,
    gateway::access::{Entry, FunctionReport, Message},
    template::Template,
};

const TABLE: &str = "tenantry-local-Table";

/// Pages in the navigation.
const PAGES: [&str; 7] = ["/", "/requests", "/mailbox", "/phones", "/catcher", "/table", "/reference"];

struct Stack {
    aws: Aws,
    access: AccessLog,
    router: Router,
}

async fn stack() -> Stack {
    let aws = Aws::start(Storage::Memory).unwrap();
    let template = Template::parse(include_str!("../../testdata/template.yaml")).unwrap();
    aws.create(&template).await.unwrap();
    for (pk, sk) in [("T#abc#projects", "p1"), ("T#abc", "root"), ("T#xyz#projects", "<b>"), ("G#email#a@b", "x")] {
        put(&aws, json!({ "pk": { "S": pk }, "sk": { "S": sk }, "n": { "N": "7" } }));
    }
    let openapi = std::env::temp_dir().join(format!("openapi-{}.json", fastrand::u64(..)));
    let parameters = json!([{ "name": "slug", "in": "path" }, { "name": "slug", "in": "query" }]);
    let document = json!({ "openapi": "3.1.0", "servers": [{ "url": "/" }], "paths": { "/x": { "get": { "parameters": parameters } } } });
    std::fs::write(&openapi, document.to_string()).unwrap();
    let access = AccessLog::new();
    // Nothing listens there.
    let router = Console::new(aws.clone(), access.clone(), "http://127.0.0.1:1", openapi, vec![TABLE.to_owned()]).router();
    Stack { aws, access, router }
}

fn put(aws: &Aws, item: Value) {
    let item = json!({ "TableName": TABLE, "Item": item });
    aws.database().put_item(serde_json::from_value(item).unwrap()).unwrap();
}

fn put_tenant(aws: &Aws, id: &str, slug: &str, name: &str) {
    let text = |text: &str| json!({ "S": text });
    put(
        aws,
        json!({ "pk": text(&format!("T#{id}#tenant")), "sk": text("profile"), "name": text(name), "slug": text(slug), "status": text("active"),
            "plan": text("free"), "settings": { "M": { "big": { "N": "18446744073709551616" }, "list": { "L": [{ "BOOL": true }, { "NULL": true }] } } } }),
    );
    put(aws, json!({ "pk": text(&format!("G#slug#{slug}")), "sk": text("owner"), "tenant": text(id) }));
}

fn entry(id: &str, path: &str, status: u16) -> Entry {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", "Bearer secret-token".parse().unwrap());
    let request = Message::new(path, &headers, br#"{"name":"<i>"}"#);
    Entry {
        request_id: id.to_owned(),
        method: "POST".to_owned(),
        path: path.to_owned(),
        route: format!("ANY {path}"),
        status,
        latency_ms: 12.0,
        request,
        ..Entry::default()
    }
}

impl Stack {
    async fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path, &[], "").await
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        read(self.send(method, path, headers, body).await).await
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "127.0.0.1:9001");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap()
    }

    async fn post_mail(&self, body: Value) -> u16 {
        self.ask("POST", "/mailbox", &[("content-type", "application/json")], &body.to_string()).await.0
    }
}

async fn read(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn every_page_answers() {
    let stack = stack().await;
    let others = [
        "/health",
        "/mailbox.json",
        "/phones.json",
        "/phones/+12025550100",
        "/catcher.json",
        "/catcher/mine",
        "/catcher/mine.json",
        "/assets/console.css",
        "/assets/console.js",
        "/assets/htmx.min.js",
        "/assets/htmx-sse.min.js",
        "/assets/idiomorph-ext.min.js",
        "/assets/icon.svg",
        "/favicon.ico",
        "/reference/assets/swagger-ui-bundle.js",
        "/reference/assets/swagger-ui.css",
    ];
    for path in PAGES.iter().chain(&others) {
        let (status, body) = stack.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        assert!(!body.contains("://cdn") && !body.is_empty(), "{path}");
    }
    let (_, document) = stack.get("/openapi.json").await;
    assert!(document.contains(r#""servers":[{"url":"http://127.0.0.1:1"}]"#), "{document}");
}

#[tokio::test]
async fn pages_have_a_frame_for_phones_keyboards_and_screen_readers() {
    let stack = stack().await;
    for path in PAGES {
        let (_, body) = stack.get(path).await;
        for part in [
            r#"<html lang="en">"#,
            r#"name="viewport""#,
            r##"<a class="skip" href="#main">"##,
            r#"<nav aria-label="Console">"#,
            r#"<main id="main""#,
            "<h1>",
            r#"aria-live="polite""#,
        ] {
            assert!(body.contains(part), "{path} lacks {part}");
        }
        assert!(body.contains(&format!(r#"<a href="{path}" aria-current="page">"#)), "{path}");
        assert_eq!(body.matches("aria-current").count(), 1, "{path}");
        // Pages contain nothing that the policy would refuse.
        assert!(!body.contains("<style") && !body.contains(" style=") && !body.contains(" onclick"), "{path}");
        assert!(body.split("<script").skip(1).all(|script| script.starts_with(" src=\"/")), "{path} has an inline script");
    }
}

#[tokio::test]
async fn nothing_inline_and_nothing_from_elsewhere_is_allowed() {
    let stack = stack().await;
    for path in ["/", "/requests", "/mailbox", "/phones", "/phones/+12025550100", "/catcher", "/catcher/mine", "/table", "/nowhere"] {
        let response = stack.send("GET", path, &[], "").await;
        assert_eq!(response.headers()["referrer-policy"], "same-origin", "{path}");
        let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("http:") && !policy.contains('*'), "{path}: {policy}");
    }
    let response = stack.send("GET", "/reference", &[], "").await;
    let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.contains("script-src 'self';") && policy.contains("connect-src 'self';"), "{policy}");
}

#[tokio::test]
async fn an_unknown_path_or_method_is_a_page_with_the_navigation() {
    let stack = stack().await;
    for (method, path) in [
        ("GET", "/nowhere"),
        ("GET", "/table/x/y/z"),
        ("GET", "/table/other/abc"),
        ("GET", "/mailbox/none"),
        ("GET", "/mailbox/none/html"),
        ("GET", "/phones/none"),
        ("GET", "/catcher/None"),
    ] {
        let (status, body) = stack.ask(method, path, &[], "").await;
        assert_eq!(status, 404, "{path}");
        assert!(body.contains("<nav aria-label=\"Console\">") && body.contains("Not found"), "{path}: {body}");
    }
    let response = stack.send("DELETE", "/requests", &[], "").await;
    assert_eq!(response.status(), 405);
    assert!(read(response).await.1.contains("<nav"));
    let (_, body) = stack.get("/%3Cscript%3E").await;
    assert!(!body.contains("<script>"), "{body}");
}

#[tokio::test]
async fn mails_are_shown_escaped_and_framed() {
    let stack = stack().await;
    let mail = json!({ "id": "a/b?c", "to": "x@example.com", "subject": "<script>alert(1)</script>", "text": "<i>",
        "html": "<p onclick=\"x\">hi</p>", "kind": "verify", "tenant": "t" });
    assert_eq!(stack.post_mail(mail.clone()).await, 200);
    assert_eq!(stack.post_mail(mail).await, 200);
    assert_eq!(stack.post_mail(json!({ "id": 1 })).await, 422);
    let (_, list) = stack.get("/mailbox").await;
    assert!(list.contains("&lt;script&gt;") && !list.contains("<script>"), "{list}");
    assert!(list.contains("/mailbox/a%2Fb%3Fc"), "{list}");
    let (status, shown) = stack.get("/mailbox/a%2Fb%3Fc").await;
    assert_eq!(status, 200);
    assert!(shown.contains("2×") && shown.contains("&lt;i&gt;"), "{shown}");
    assert!(shown.contains(r#"<iframe sandbox="" title="The mail as written" src="/mailbox/a%2Fb%3Fc/html">"#), "{shown}");
    let written = stack.send("GET", "/mailbox/a%2Fb%3Fc/html", &[], "").await;
    let policy = written.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
    assert!(policy.starts_with("sandbox; default-src 'none'") && !policy.contains("script"), "{policy}");
    assert_eq!(read(written).await.1, "<p onclick=\"x\">hi</p>");
}

/// A mail as a campaign sends it.
fn campaign_mail(id: &str) -> Value {
    json!({ "id": id, "from": "Ada <ada@example.org>", "reply_to": "r@example.org", "to": "x@example.com", "subject": "Hello", "text": "hi",
        "html": "<a href=\"http://127.0.0.1:1/e/c/t\">y</a><a href=\"https://elsewhere.example/<i>\">z</a><img src=\"http://127.0.0.1:1/e/o/t\">",
        "kind": "campaign", "headers": { "List-Unsubscribe": "<http://127.0.0.1:1/e/u/t>", "X-<b>": "<i>" }, "tags": { "t": "acme" } })
}

#[tokio::test]
async fn a_mail_of_a_campaign_shows_its_envelope_its_links_and_what_became_of_it() {
    let stack = stack().await;
    assert_eq!(stack.post_mail(campaign_mail("one")).await, 200);
    assert_eq!(stack.aws.mailbox().play("2030-01-02T03:04:05Z".parse().unwrap()).unwrap(), 1);
    let (_, shown) = stack.get("/mailbox/one").await;
    for part in [
        "Ada &lt;ada@example.org&gt;",
        "r@example.org",
        "<dt>X-&lt;b&gt;</dt>",
        "t = acme",
        "local-one",
        "2030-01-02 03:04:05",
        r#"action="/mailbox/one/play""#,
        r#"value="bounce""#,
        r#"value="soft_bounce""#,
        r#"value="complaint""#,
        r#"value="open""#,
        r#"value="unsubscribe""#,
        r#"name="link" value="http://127.0.0.1:1/e/c/t""#,
        "https://elsewhere.example/&lt;i&gt;",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert_eq!(shown.matches(r#"value="click""#).count(), 1, "only links of the platform can be followed: {shown}");
    assert!(!shown.contains("<b>") && !shown.contains("<i>"), "{shown}");

    let (_, text) = stack.get("/mailbox/one.json").await;
    let mail: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&mail["headers"]["List-Unsubscribe"], &mail["text"]), (&json!("<http://127.0.0.1:1/e/u/t>"), &json!("hi")));
    assert_eq!(mail["links"][0], json!({ "url": "http://127.0.0.1:1/e/c/t", "means": "click" }));
    assert_eq!(mail["links"][1]["means"], Value::Null);
    assert_eq!(mail["events"], json!([{ "what": "delivery", "at": "2030-01-02T03:04:05Z" }]));
    assert_eq!((&mail["message_id"], &mail["unsubscribe"]), (&json!("local-one"), &json!("http://127.0.0.1:1/e/u/t")));
    let (_, all) = stack.get("/mailbox.json").await;
    let all: Value = serde_json::from_str(&all).unwrap();
    assert_eq!((&all[0]["subject"], &all[0]["deliveries"], &all[0]["tags"]), (&json!("Hello"), &json!(1), &json!({ "t": "acme" })));
    assert_eq!(stack.get("/mailbox/none.json").await.0, 404);
}

#[tokio::test]
async fn buttons_play_what_else_may_become_of_a_mail() {
    let stack = stack().await;
    let press = async |id: &str, fields: &str| {
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("origin", "http://127.0.0.1:9001")];
        stack.send("POST", &format!("/mailbox/{id}/play"), &headers, fields).await
    };
    assert_eq!(stack.post_mail(campaign_mail("a/b")).await, 200);
    assert_eq!(stack.post_mail(json!({ "id": "plain", "to": "x@example.com", "subject": "s" })).await, 200);
    for what in ["bounce", "soft_bounce", "complaint"] {
        let answer = press("a%2Fb", &format!("what={what}")).await;
        assert_eq!((answer.status(), answer.headers()["location"].to_str().unwrap()), (StatusCode::SEE_OTHER, "/mailbox/a%2Fb"));
    }
    let queued = stack.aws.queues().peek("tenantry-local-ReportsQueue").unwrap();
    let queued: Vec<Value> = queued.iter().map(|message| serde_json::from_str(&message.body).unwrap()).collect();
    assert_eq!(queued.iter().map(|event| event["eventType"].as_str().unwrap()).collect::<Vec<_>>(), ["Bounce", "Bounce", "Complaint"]);
    assert_eq!(queued[0]["mail"]["tags"]["ses:configuration-set"], json!(["tenantry-local-Reports"]));
    // Nothing listens at the API's address, and the page says so.
    for fields in ["what=open", "what=unsubscribe", "what=click&link=http%3A%2F%2F127.0.0.1%3A1%2Fe%2Fc%2Ft"] {
        let (status, body) = read(press("a%2Fb", fields).await).await;
        assert!(status == 500 && body.contains("was not answered"), "{fields}: {status} {body}");
    }
    for (id, fields) in [
        ("a%2Fb", "what=click&link=https%3A%2F%2Felsewhere.example%2F%3Ci%3E"),
        ("a%2Fb", "what=nothing"),
        ("a%2Fb", ""),
        ("plain", "what=bounce"),
        ("plain", "what=open"),
    ] {
        assert_eq!(press(id, fields).await.status(), StatusCode::CONFLICT, "{id}: {fields}");
    }
    assert_eq!(press("none", "what=bounce").await.status(), StatusCode::NOT_FOUND);
    let (_, plain) = stack.get("/mailbox/plain").await;
    assert!(!plain.contains("<form method=\"post\"") && !plain.contains("What became of it"), "{plain}");
}

#[tokio::test]
async fn buttons_write_back_to_a_mail_whose_answers_come_to_the_deployment() {
    let stack = stack().await;
    let press = async |id: &str, fields: &str| {
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("origin", "http://127.0.0.1:9001")];
        stack.send("POST", &format!("/mailbox/{id}/play"), &headers, fields).await.status()
    };
    let ours = json!({ "id": "ours", "to": "x@example.com", "subject": "Hello", "text": "hi", "reply_to": "reply+abc@in.example.org" });
    assert_eq!((stack.post_mail(ours).await, stack.post_mail(campaign_mail("other")).await), (200, 200));
    let (_, shown) = stack.get("/mailbox/ours").await;
    for part in [r#"name="what" value="reply""#, r#"name="what" value="ooo""#, "<textarea"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!stack.get("/mailbox/other").await.1.contains("<textarea"), "answers to it go elsewhere");
    assert_eq!(press("ours", "what=reply&text=Yes%2C+please").await, StatusCode::SEE_OTHER);
    assert_eq!(press("ours", "what=ooo").await, StatusCode::SEE_OTHER);
    assert_eq!(press("other", "what=reply").await, StatusCode::CONFLICT);
    let notices = stack.aws.queues().peek("tenantry-local-InboundQueue").unwrap();
    let keys = notices.iter().map(|notice| {
        let notice: Value = serde_json::from_str(&notice.body).unwrap();
        notice["receipt"]["action"]["objectKey"].as_str().unwrap().to_owned()
    });
    let mails: Vec<String> =
        keys.map(|key| String::from_utf8(stack.aws.objects().get("tenantry-local-mails", &key).unwrap().unwrap()).unwrap()).collect();
    assert!(mails.len() == 2 && mails[0].contains("Yes, please") && mails[1].contains("Auto-Submitted: auto-replied"), "{mails:?}");
    let (_, shown) = stack.get("/mailbox/ours").await;
    assert!(shown.contains(">reply<") && shown.contains(">ooo<"), "{shown}");
}

/// A phone, and a line that writes to it.
const PHONE: &str = "+12025550100";
const LINE: &str = "+15550100";

impl Stack {
    /// A message comes to a phone, as the services' port takes it.
    async fn text(&self, id: &str, to: &str, channel: &str, text: &str) -> u16 {
        let phones = self.aws.phones();
        let body = json!({ "id": id, "reference": "ref", "from": LINE, "to": to, "channel": channel, "text": text }).to_string();
        let at = jiff::Timestamp::now().as_second();
        let signature = standardwebhooks::Webhook::new(&phones.secret()).unwrap().sign(id, at, body.as_bytes()).unwrap();
        let headers = [("webhook-id", id), ("webhook-timestamp", &at.to_string()), ("webhook-signature", &signature)];
        let mut request = Request::post("/phones");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let url: http::Uri = phones.url().parse().unwrap();
        assert_eq!(url.path(), "/phones");
        Api::new(&format!("http://{}", url.authority().unwrap())).send(request.body(body.into()).unwrap()).await.unwrap().status().as_u16()
    }

    async fn press(&self, path: &str, fields: &str) -> Response {
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("origin", "http://127.0.0.1:9001")];
        self.send("POST", path, &headers, fields).await
    }

    async fn post_json(&self, path: &str, body: Value) -> (u16, Value) {
        let (status, text) = self.ask("POST", path, &[("content-type", "application/json")], &body.to_string()).await;
        (status, serde_json::from_str(&text).unwrap())
    }

    async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path).await.1).unwrap()
    }
}

#[tokio::test]
async fn a_conversation_is_shown_escaped_and_reading_it_is_told() {
    let stack = stack().await;
    assert_eq!(stack.text("a/1", PHONE, "imessage", "<script>alert(1)</script>\nשלום 👋").await, 202);
    assert_eq!(stack.text("b", PHONE, "sms", &"long".repeat(400)).await, 202);
    let (_, list) = stack.get("/phones").await;
    for part in [r#"href="/phones/%2B12025550100""#, "1 phone", "2 to be told", "longlong", "No API has been connected", "5550194"] {
        assert!(list.contains(part), "{part}: {list}");
    }
    assert!(!list.contains(&"long".repeat(100)), "the list has excerpts");
    let read = json!(["delivered"]);
    let statuses =
        |phone: &Value| json!(phone["messages"][0]["receipts"].as_array().unwrap().iter().map(|it| &it["status"]).collect::<Vec<_>>());
    assert_eq!(statuses(&stack.json("/phones/+12025550100.json").await), read, "JSON reads nothing");
    let (status, shown) = stack.get("/phones/%2B12025550100").await;
    assert_eq!(status, 200);
    for part in [
        "<h1>+12025550100</h1>",
        r#"<p class="said" dir="auto">&lt;script&gt;alert(1)&lt;/script&gt;"#,
        "שלום 👋",
        r#"role="log""#,
        r#"aria-label="Conversation""#,
        r#"<label for="text">"#,
        r#"<label for="line">"#,
        r#"maxlength="1600""#,
        r#"value="STOP""#,
        r#"value="START""#,
        r#"value="HELP""#,
        r#"name="on" value="false""#,
        r#"name="imessage" value="false""#,
        r#"name="rcs" value="false""#,
        "iMessage",
        "not told yet",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("<script>"), "{shown}");
    let phone = stack.json("/phones/%2B12025550100.json").await;
    assert_eq!(statuses(&phone), json!(["delivered", "read"]));
    assert_eq!(phone["messages"][1]["receipts"].as_array().unwrap().len(), 1, "an SMS tells no reading: {phone}");
    assert_eq!((&phone["waiting"], &phone["script"], &phone["on"]), (&json!(3), &Value::Null, &json!(true)));
    let all = stack.json("/phones.json").await;
    assert_eq!((&all[0]["number"], &all[0]["messages"], &all[0]["last"]["id"]), (&json!(PHONE), &json!(2), &json!("b")));
    assert_eq!(stack.json("/health").await["phones"], 1);
    assert_eq!(stack.get("/phones/+12025550101.json").await.0, 404);
    let (_, scripted) = stack.get("/phones/+12025550190").await;
    assert!(scripted.contains("never sends a receipt"), "{scripted}");
    assert_eq!(stack.aws.phones().count(), 1, "looking makes no phone");
}

#[tokio::test]
async fn the_owner_of_a_phone_answers_by_form_and_by_json() {
    let stack = stack().await;
    assert_eq!(stack.text("a", PHONE, "rcs", "Hello").await, 202);
    let messages = "/phones/+12025550100/messages";
    let answer = stack.press(messages, "text=Yes%2C%0D%0Aplease+%F0%9F%91%8D&line=").await;
    assert_eq!((answer.status(), answer.headers()["location"].to_str().unwrap()), (StatusCode::SEE_OTHER, "/phones/%2B12025550100"));
    assert_eq!(stack.press(messages, "text=STOP").await.status(), StatusCode::SEE_OTHER);
    let (status, written) = stack.post_json(messages, json!({ "text": "Who is this?", "line": "+15550102" })).await;
    assert_eq!((status, &written["direction"], &written["line"]), (201, &json!("inbound"), &json!("+15550102")));
    let phone = stack.json("/phones/+12025550100.json").await;
    let said: Vec<_> = phone["messages"].as_array().unwrap().iter().map(|it| [&it["text"], &it["line"], &it["channel"]]).collect();
    assert_eq!(
        json!(said),
        json!([["Hello", LINE, "rcs"], ["Yes,\nplease 👍", LINE, "rcs"], ["STOP", LINE, "rcs"], ["Who is this?", "+15550102", "imessage"]])
    );
    let (_, shown) = stack.get("/phones/+12025550100").await;
    assert!(shown.contains(r#"<option value="+15550102">"#) && shown.contains(r#"<li class="mine" id="message-in-"#), "{shown}");

    // A phone to which nobody wrote needs a line.
    for (path, body, status) in [
        ("/phones/+12025550101/messages", json!({ "text": "Hi" }), 400),
        ("/phones/+12025550101/messages", json!({ "text": "Hi", "line": "x" }), 400),
        ("/phones/x/messages", json!({ "text": "Hi", "line": LINE }), 400),
        (messages, json!({ "text": " " }), 400),
        (messages, json!({}), 400),
        (messages, json!({ "text": 1 }), 400),
        (messages, json!({ "text": "Hi", "colour": "red" }), 400),
        (messages, json!([]), 400),
        ("/phones/+12025550101/messages", json!({ "text": "Hi", "line": LINE }), 201),
        ("/phones/+12025550199/messages", json!({ "text": "Hi", "line": LINE }), 409),
    ] {
        let (answered, answer) = stack.post_json(path, body.clone()).await;
        assert_eq!(answered, status, "{path} {body}: {answer}");
        assert!(status < 400 || answer["error"].is_string(), "{answer}");
    }
    let (status, page) = read(stack.press(messages, "text=").await).await;
    assert!(status == 400 && page.contains("<nav"), "{page}");
}

#[tokio::test]
async fn switches_are_put_by_form_and_by_json() {
    let stack = stack().await;
    let path = "/phones/+12025550100";
    assert_eq!(stack.press(path, "on=false").await.status(), StatusCode::SEE_OTHER);
    assert_eq!(stack.text("a", PHONE, "imessage", "Hello").await, 202);
    let (_, shown) = stack.get(path).await;
    for part in ["waits until the phone is on", "Switch on", "The phone is off"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("<textarea"), "nobody writes with a phone that is off");
    let (status, phone) = stack.post_json(path, json!({ "on": true, "imessage": false, "rcs": "false" })).await;
    assert_eq!(
        (status, &phone["on"], &phone["imessage"], &phone["rcs"], &phone["waiting"]),
        (200, &json!(true), &json!(false), &json!(false), &json!(1))
    );
    assert_eq!((stack.text("b", PHONE, "imessage", "Hello").await, stack.text("c", PHONE, "sms", "Hello").await), (422, 202));
    for body in [json!({}), json!({ "on": "perhaps" }), json!({ "off": true }), json!({ "on": null }), json!("on")] {
        assert_eq!(stack.post_json(path, body.clone()).await.0, 400, "{body}");
    }
    assert_eq!(stack.post_json("/phones/x", json!({ "on": true })).await.0, 400);
    assert_eq!(stack.press(path, "on=perhaps").await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn phones_are_found_and_opened_by_number() {
    let stack = stack().await;
    assert_eq!(stack.text("a", PHONE, "imessage", "Your Code is 123").await, 202);
    assert_eq!(stack.text("b", "+12025550101", "imessage", "Hello").await, 202);
    for (query, wanted) in [
        ("?q=2025550100", ["+12025550100"].as_slice()),
        ("?q=code+123", &["+12025550100"]),
        ("?q=%2B1555", &["+12025550100", "+12025550101"]),
        ("?q=nobody", &[]),
    ] {
        let (_, list) = stack.get(&format!("/phones{query}")).await;
        for number in [PHONE, "+12025550101"] {
            assert_eq!(list.contains(&format!(">{number}</a>")), wanted.contains(&number), "{query}: {number}");
        }
    }
    let answer = stack.send("GET", "/phones?open=%2B1+%28202%29+555-0107", &[], "").await;
    assert_eq!((answer.status(), answer.headers()["location"].to_str().unwrap()), (StatusCode::SEE_OTHER, "/phones/%2B12025550107"));
    assert_eq!(stack.get("/phones?open=Ada").await.0, 400);
}

const SECRET: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const NEXT_SECRET: &str = "whsec_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";

/// A webhook as the API sends it.
struct Webhook {
    id: String,
    at: i64,
    body: String,
    secrets: Vec<&'static str>,
}

impl Webhook {
    fn now(id: &str) -> Webhook {
        let body = json!({ "type": "message.queued", "data": { "text": "<i>Hello</i>" } }).to_string();
        Webhook { id: id.to_owned(), at: jiff::Timestamp::now().as_second(), body, secrets: vec![SECRET] }
    }

    /// Signed by the reference.
    fn headers(&self) -> [(&'static str, String); 3] {
        let sign = |secret: &&str| standardwebhooks::Webhook::new(secret).unwrap().sign(&self.id, self.at, self.body.as_bytes()).unwrap();
        let signatures: Vec<String> = self.secrets.iter().map(sign).collect();
        [("webhook-id", self.id.clone()), ("webhook-timestamp", self.at.to_string()), ("webhook-signature", signatures.join(" "))]
    }
}

fn as_texts<'a>(headers: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

impl Stack {
    async fn tell(&self, sink: &str, webhook: Webhook) -> (u16, String) {
        self.tell_with(sink, &webhook, &[]).await
    }

    async fn tell_with(&self, sink: &str, webhook: &Webhook, more: &[(&str, &str)]) -> (u16, String) {
        let signed = webhook.headers();
        let headers = [as_texts(&signed), more.to_vec()].concat();
        self.ask("POST", &format!("/catcher/sink/{sink}"), &headers, &webhook.body).await
    }

    /// The newest that was caught.
    async fn newest(&self) -> Value {
        self.json("/catcher.json").await[0].clone()
    }
}

#[tokio::test]
async fn a_webhook_is_shown_with_its_body_escaped() {
    let stack = stack().await;
    let (_, empty) = stack.get("/catcher").await;
    assert!(empty.contains("Nothing has come yet") && empty.contains("http://127.0.0.1:9001/catcher/sink/mine"), "{empty}");
    assert_eq!(stack.tell("mine", Webhook::now("evt_<b>")).await.0, 200);
    let (_, list) = stack.get("/catcher?open=1").await;
    for part in [
        "1 webhook",
        r#"href="/catcher/mine""#,
        ">message.queued</a>",
        "evt_&lt;b&gt;",
        "no secret known",
        r#"aria-expanded="true" aria-controls="detail-1""#,
        "&lt;i&gt;Hello&lt;/i&gt;",
    ] {
        assert!(list.contains(part), "{part}: {list}");
    }
    assert!(!list.contains("<i>") && !list.contains("<b>") && !list.contains("repeat"), "{list}");
    assert!(text_of(&list).contains("\n  \"data\": {\n    \"text\""), "the body is indented: {list}");

    let no_json = Webhook { body: "<script>alert(1)</script>".into(), ..Webhook::now("evt_2") };
    assert_eq!(stack.tell("mine", no_json).await.0, 200);
    let (_, list) = stack.get("/catcher/mine?open=2").await;
    assert!(list.contains("none named") && list.contains("&lt;script&gt;alert(1)") && !list.contains("<script>"), "{list}");
    assert_eq!(stack.json("/health").await["webhooks"], 2);
    assert!(stack.get("/").await.1.contains("2 webhooks"));
}

#[tokio::test]
async fn a_signature_holds_by_a_secret_that_is_known() {
    let stack = stack().await;
    let state = async || {
        let newest = stack.newest().await;
        (newest["signature"].as_str().unwrap().to_owned(), newest["signed_by"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(stack.tell("mine", Webhook::now("a")).await.0, 200);
    assert_eq!(state().await, ("no_secret".to_owned(), String::new()));
    // Whoever enters a secret sees also of what came before whether it holds.
    let (status, sink) = stack.post_json("/catcher/mine", json!({ "secret": SECRET })).await;
    assert_eq!(status, 200);
    let url = "http://127.0.0.1:9001/catcher/sink/mine";
    assert_eq!(sink, json!({ "name": "mine", "url": url, "answer": 200, "secrets": ["whsec_AAAAAA…"] }));
    assert_eq!(state().await, ("signed".to_owned(), "whsec_AAAAAA…".to_owned()));
    let (_, shown) = stack.get("/catcher/mine").await;
    assert!(shown.contains("badge good\">signed<") && shown.contains("whsec_AAAAAA…") && !shown.contains(SECRET), "{shown}");

    let wrong = || Webhook { secrets: vec![NEXT_SECRET], ..Webhook::now("b") };
    assert_eq!(stack.tell("mine", wrong()).await.0, 200);
    assert_eq!(state().await.0, "wrong");
    let (_, shown) = stack.get("/catcher/mine?open=2").await;
    assert!(shown.contains("signature does not hold") && shown.contains("none of its signatures"), "{shown}");
    // Another body than the signed one.
    let mut changed = Webhook::now("b");
    let signed = changed.headers();
    changed.body.push(' ');
    assert_eq!(stack.ask("POST", "/catcher/sink/mine", &as_texts(&signed), &changed.body).await.0, 200);
    assert_eq!(state().await.0, "wrong");

    // While one secret replaces another, both sign, and either is enough.
    for secrets in [vec![NEXT_SECRET, SECRET], vec![SECRET, NEXT_SECRET]] {
        assert_eq!(stack.tell("mine", Webhook { secrets, ..Webhook::now("c") }).await.0, 200);
        assert_eq!(state().await, ("signed".to_owned(), "whsec_AAAAAA…".to_owned()));
    }
    let (_, sink) = stack.post_json("/catcher/mine", json!({ "secret": NEXT_SECRET })).await;
    assert_eq!(sink["secrets"], json!(["whsec_BBBBBB…", "whsec_AAAAAA…"]));
    for (secret, by) in [(SECRET, "whsec_AAAAAA…"), (NEXT_SECRET, "whsec_BBBBBB…")] {
        assert_eq!(stack.tell("mine", Webhook { secrets: vec![secret], ..Webhook::now("d") }).await.0, 200);
        assert_eq!(state().await, ("signed".to_owned(), by.to_owned()));
    }
    // The secret of one name says nothing of another's.
    assert_eq!(stack.tell("other", Webhook::now("e")).await.0, 200);
    assert_eq!(state().await.0, "no_secret");

    for (seconds, expected) in [(-310, "wrong"), (-290, "signed"), (290, "signed"), (310, "wrong")] {
        let webhook = Webhook::now("f");
        assert_eq!(stack.tell("mine", Webhook { at: webhook.at + seconds, ..webhook }).await.0, 200);
        assert_eq!(state().await.0, expected, "{seconds} seconds from now");
    }
    assert!(stack.newest().await["why"].as_str().unwrap().contains("five minutes"));
    assert_eq!(stack.press("/catcher/mine", "secret=").await.status(), StatusCode::SEE_OTHER);
    assert_eq!(state().await.0, "no_secret");
}

#[tokio::test]
async fn a_sink_answers_as_its_url_asks_else_as_it_is_set() {
    let stack = stack().await;
    let answered = async || stack.newest().await["answered"].clone();
    for (sink, status, noted) in [
        ("mine", 200, json!(200)),
        ("mine?answer=410", 410, json!(410)),
        ("mine?answer=500&x=1", 500, json!(500)),
        ("mine?answer=200", 200, json!(200)),
    ] {
        assert_eq!(stack.tell(sink, Webhook::now("a")).await.0, status, "{sink}");
        assert_eq!(answered().await, noted, "{sink}");
    }
    assert_eq!(stack.newest().await["attempt"], 4, "the same id came three times before");
    assert_eq!(stack.tell("other", Webhook::now("a")).await.0, 200);
    assert_eq!(stack.newest().await["attempt"], 1, "each name has its own");
    assert!(stack.get("/catcher").await.1.contains("repeat, attempt 4"));

    for (entered, shown, status) in [(json!(500), json!(500), 500), (json!("410"), json!(410), 410), (json!(200), json!(200), 200)] {
        assert_eq!(stack.post_json("/catcher/mine", json!({ "answer": entered })).await.1["answer"], shown);
        assert_eq!(stack.tell("mine", Webhook::now("b")).await.0, status);
    }
    let pressed = stack.press("/catcher/mine", "answer=500").await;
    assert_eq!((pressed.status(), pressed.headers()["location"].to_str().unwrap()), (StatusCode::SEE_OTHER, "/catcher/mine"));
    assert_eq!(stack.tell("mine", Webhook::now("b")).await.0, 500);
    assert_eq!(stack.tell("mine?answer=200", Webhook::now("b")).await.0, 200, "the URL wins");
    assert_eq!(stack.tell("other", Webhook::now("b")).await.0, 200);

    let caught = stack.aws.catcher().count();
    for answer in ["", "201", "SLOW", "slow&answer=slow", "%20200"] {
        assert_eq!(stack.tell(&format!("mine?answer={answer}"), Webhook::now("c")).await.0, 400, "{answer}");
    }
    assert_eq!(stack.aws.catcher().count(), caught, "what is refused is not kept");
    // Kept at once, and answered when nobody waits any more.
    for slow in ["other?answer=slow", "mine"] {
        assert_eq!(stack.post_json("/catcher/mine", json!({ "answer": "slow" })).await.1["answer"], "slow");
        let patience = std::time::Duration::from_millis(300);
        assert!(tokio::time::timeout(patience, stack.tell(slow, Webhook::now("d"))).await.is_err(), "{slow}");
        assert_eq!(answered().await, "slow");
    }
    assert!(stack.get("/catcher/mine").await.1.contains("after 20 seconds"));
}

#[tokio::test]
async fn what_is_no_webhook_is_not_kept() {
    let stack = stack().await;
    let (long_name, long_id) = ("n".repeat(41), "i".repeat(513));
    for (sink, webhook, status) in [
        ("Mine", Webhook::now("a"), 400),
        ("m_ine", Webhook::now("a"), 400),
        (long_name.as_str(), Webhook::now("a"), 400),
        ("mine", Webhook::now(&long_id), 400),
        ("mine", Webhook::now(""), 400),
        ("mine", Webhook { body: "x".repeat(64 * 1024 + 1), ..Webhook::now("a") }, 413),
    ] {
        assert_eq!(stack.tell(sink, webhook).await.0, status, "{sink}");
    }
    assert_eq!(stack.ask("POST", "/catcher/sink/mine", &[], "{}").await.0, 400, "without headers");
    assert_eq!(stack.get("/catcher/sink/mine").await.0, 405);
    let webhook = Webhook::now("a");
    let signed = webhook.headers();
    let headers = as_texts(&signed);
    let mut request = Request::post("/catcher/sink/mine").header("host", "127.0.0.1:9001");
    for (name, value) in &headers {
        request = request.header(*name, *value);
    }
    let answer = stack.router.clone().oneshot(request.body(Body::from(vec![0xff, 0xfe])).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 400, "no text");
    // No page tells a sink anything, not even one of the console's.
    for page in [
        [("origin", "http://127.0.0.1:9001"), ("sec-fetch-site", "same-origin")],
        [("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")],
    ] {
        assert_eq!(stack.tell_with("mine", &webhook, &page).await.0, 403);
    }
    // And a webhook reaches nothing but a sink.
    for path in ["/demo/token", "/reference/token", "/catcher/mine", "/phones/+12025550100/messages", "/through/api/tenant", "/mailbox"] {
        assert_eq!(stack.ask("POST", path, &headers, "{}").await.0, 403, "{path}");
    }
    assert_eq!(stack.aws.catcher().count(), 0);
    let largest = Webhook { body: "x".repeat(64 * 1024), ..Webhook::now("a") };
    assert_eq!(stack.tell(&"n".repeat(40), largest).await.0, 200);

    for body in [
        json!({}),
        json!({ "secret": "whsec_short" }),
        json!({ "secret": " " }),
        json!({ "secret": 1 }),
        json!({ "secret": null }),
        json!({ "answer": 201 }),
        json!({ "answer": null }),
        json!({ "answer": 200, "colour": "red" }),
        json!([]),
    ] {
        let (status, answer) = stack.post_json("/catcher/mine", body.clone()).await;
        assert!(status == 400 && answer["error"].is_string(), "{body}: {status} {answer}");
    }
    assert_eq!(stack.post_json("/catcher/Mine", json!({ "answer": 500 })).await.0, 400);
    let (status, page) = read(stack.press("/catcher/mine", "secret=whsec_%3Ci%3E").await).await;
    assert!(status == 400 && page.contains("<nav") && !page.contains("<i>"), "{page}");
}

#[tokio::test]
async fn webhooks_are_found_by_their_words_and_by_their_signature() {
    let stack = stack().await;
    stack.post_json("/catcher/mine", json!({ "secret": SECRET })).await;
    let failed =
        Webhook { body: json!({ "type": "message.failed", "data": { "to": "+12025550100" } }).to_string(), ..Webhook::now("evt_b") };
    for (sink, webhook) in [("mine", Webhook::now("evt_a")), ("other", failed)] {
        assert_eq!(stack.tell(sink, webhook).await.0, 200);
    }
    for (query, wanted) in [
        ("?q=EVT_A", ["evt_a"].as_slice()),
        ("?q=other+failed", &["evt_b"]),
        ("?q=5550100", &["evt_b"]),
        ("?q=message.", &["evt_a", "evt_b"]),
        ("?q=nothing", &[]),
        ("?signature=signed", &["evt_a"]),
        ("?signature=no_secret&q=", &["evt_b"]),
        ("?signature=wrong", &[]),
    ] {
        let (_, list) = stack.get(&format!("/catcher{query}")).await;
        for id in ["evt_a", "evt_b"] {
            assert_eq!(list.contains(&format!(">{id}<")), wanted.contains(&id), "{query}: {id}");
        }
    }
    let (_, open) = stack.get("/catcher?q=evt_a&open=1").await;
    assert!(open.contains(r#"href="/catcher?q=evt_a""#), "closing the row keeps the filter: {open}");
    let mine = stack.json("/catcher/mine.json").await;
    assert_eq!((mine["webhooks"].as_array().unwrap().len(), &mine["webhooks"][0]["type"]), (1, &json!("message.queued")));
    let opened = stack.send("GET", "/catcher?name=third", &[], "").await;
    assert_eq!((opened.status(), opened.headers()["location"].to_str().unwrap()), (StatusCode::SEE_OTHER, "/catcher/third"));
    assert_eq!(stack.get("/catcher?name=No%20name").await.0, 400);
}

#[tokio::test]
async fn mails_are_found_by_recipient_subject_text_and_tenant() {
    let stack = stack().await;
    put_tenant(&stack.aws, "t-1", "acme-works", "Acme Works");
    for (id, to, subject, text, kind, tenant) in [
        ("one", "Ann@example.com", "Confirm your address", "the code is 123", "verify", None),
        ("two", "bob@example.com", "You are invited", "join us", "invitation", Some("t-1")),
    ] {
        let mail = json!({ "id": id, "to": to, "subject": subject, "text": text, "kind": kind, "tenant": tenant });
        assert_eq!(stack.post_mail(mail).await, 200);
    }
    for (query, wanted) in [
        ("?q=ann%40", ["one"].as_slice()),
        ("?q=INVITED", &["two"]),
        ("?q=code+123", &["one"]),
        ("?q=acme", &["two"]),
        ("?q=t-1", &["two"]),
        ("?kind=verify", &["one"]),
        ("?q=example.com&kind=", &["one", "two"]),
        ("?q=nobody", &[]),
    ] {
        let (_, list) = stack.get(&format!("/mailbox{query}")).await;
        for id in ["one", "two"] {
            assert_eq!(list.contains(&format!("href=\"/mailbox/{id}\"")), wanted.contains(&id), "{query}: {id}");
        }
    }
    let (_, list) = stack.get("/mailbox").await;
    assert!(list.contains("Acme Works") && list.contains("2 mails"), "{list}");
    let (_, mail) = stack.get("/mailbox/two").await;
    assert!(mail.contains("Acme Works (acme-works)") && mail.contains("t-1"), "{mail}");
}

#[tokio::test]
async fn items_are_shown_by_tenant_as_plain_json() {
    let stack = stack().await;
    put_tenant(&stack.aws, "0198-a", "acme-works", "Acme <Works>");
    let (_, tenants) = stack.get("/table").await;
    assert!(tenants.contains("/table/tenantry-local-Table/abc") && tenants.contains("belongs to no tenant"), "{tenants}");
    assert!(tenants.contains("Acme &lt;Works&gt;") && tenants.contains("acme-works") && tenants.contains("0198-a"), "{tenants}");
    let (_, found) = stack.get("/table?q=ACME").await;
    assert!(found.contains("0198-a") && !found.contains("Table/abc"), "{found}");
    let (_, items) = stack.get("/table/tenantry-local-Table/xyz").await;
    assert!(items.contains("&lt;b&gt;") && items.contains("T#xyz#projects") && !items.contains("T#abc"), "{items}");
    let (_, shared) = stack.get("/table/tenantry-local-Table/shared").await;
    assert!(shared.contains("G#email#a@b") && !shared.contains("T#abc"), "{shared}");
    let (_, tenant) = stack.get("/table/tenantry-local-Table/0198-a").await;
    assert!(tenant.contains("<h1>Acme &lt;Works&gt;</h1>"), "{tenant}");
    let text = text_of(&tenant);
    assert!(
        text.contains("\"settings\": {\n    \"big\": \"18446744073709551616\",\n    \"list\": [\n      true,\n      null\n    ]\n  }"),
        "{text}"
    );
    assert!(!text.contains("{\"S\""), "{text}");
}

/// The visible text.
fn text_of(page: &str) -> String {
    let parts = page.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text));
    parts.collect::<String>().replace("&quot;", "\"")
}

#[tokio::test]
async fn items_are_found_and_turned_by_page() {
    let stack = stack().await;
    for index in 0..120 {
        put(
            &stack.aws,
            json!({ "pk": { "S": "T#many#tasks" }, "sk": { "S": format!("t-{index:03}") }, "title": { "S": format!("Task {index}") } }),
        );
    }
    put(&stack.aws, json!({ "pk": { "S": "T#many#projects" }, "sk": { "S": "p-1" } }));
    let (_, first) = stack.get("/table/tenantry-local-Table/many?collection=tasks").await;
    assert!(first.contains("120 of 121 items") && first.contains("t-049") && !first.contains("t-050"), "{first}");
    assert!(first.contains("collection=tasks&amp;from=50") && !first.contains("Previous"), "{first}");
    let (_, last) = stack.get("/table/tenantry-local-Table/many?collection=tasks&from=100").await;
    assert!(last.contains("t-119") && !last.contains("t-099") && !last.contains(">Next<"), "{last}");
    let (_, one) = stack.get("/table/tenantry-local-Table/many?q=task+77").await;
    assert!(one.contains("1 of 121 items") && one.contains("t-077") && one.contains("<details open"), "{one}");
}

#[tokio::test]
async fn requests_are_listed_filtered_and_opened() {
    let stack = stack().await;
    put_tenant(&stack.aws, "t-1", "acme-works", "Acme Works");
    stack.access.record(entry("r-1", "/api/v1/projects", 201));
    stack.access.tell(FunctionReport {
        request_id: "r-1".to_owned(),
        route: "/api/v1/projects".to_owned(),
        tenant: Some("t-1".to_owned()),
        read_units: Some(2.5),
        write_units: Some(4.0),
        ..FunctionReport::default()
    });
    stack.access.record(entry("r-2", "/api/v1/auth/login", 401));
    let (_, list) = stack.get("/requests").await;
    for part in ["r-1", "r-2", "Acme Works", "acme-works", "12 ms", "2.5", "201", "401", "aria-expanded=\"false\"", "2 requests"] {
        assert!(list.contains(part), "{part} in {list}");
    }
    for (query, wanted) in [
        ("?tenant=t-1", ["r-1"].as_slice()),
        ("?tenant=-", &["r-2"]),
        ("?status=4xx", &["r-2"]),
        ("?status=201", &["r-1"]),
        ("?route=login", &["r-2"]),
        ("?method=post&route=", &["r-1", "r-2"]),
        ("?method=GET", &[]),
    ] {
        let (_, list) = stack.get(&format!("/requests{query}")).await;
        for id in ["r-1", "r-2"] {
            assert_eq!(list.contains(&format!(">{id}<")), wanted.contains(&id), "{query}: {id}");
        }
    }
    let (_, open) = stack.get("/requests?status=2xx&open=1").await;
    assert!(open.contains("aria-expanded=\"true\"") && open.contains("aria-controls=\"detail-1\""), "{open}");
    let text = text_of(&open);
    assert!(text.contains("curl -sS -X 'POST' 'http://127.0.0.1:1/api/v1/projects'") && text.contains("$TOKEN"), "{text}");
    assert!(open.contains("&lt;i&gt;") && !open.contains("<i>") && !open.contains("secret-token"), "{open}");
    // Closing the row keeps the filter.
    assert!(open.contains("href=\"/requests?status=2xx\""), "{open}");
}

#[tokio::test]
async fn news_are_told_once_at_first_and_then_as_they_come() {
    let stack = stack().await;
    for (topic, happens) in [
        ("requests", true),
        ("mailbox", true),
        ("phones", true),
        ("catcher", true),
        ("home", true),
        ("mailbox", false),
        ("phones", false),
        ("catcher", false),
    ] {
        let response = stack.send("GET", &format!("/events?topic={topic}"), &[], "").await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut body = response.into_body();
        let mut next = async || tokio::time::timeout(std::time::Duration::from_secs(3), body.frame()).await;
        let first = next().await.unwrap().unwrap().unwrap().into_data().unwrap();
        assert_eq!(&first[..], b"event: news\ndata: come\n\n");
        if topic == "home" {
            // The first event comes at once.
            assert!(next().await.is_ok());
        }
        if happens {
            let id = format!("{topic}-news");
            stack.access.record(entry(&id, "/", 200));
            assert_eq!(stack.post_mail(json!({ "id": id, "to": "a@b", "subject": "s" })).await, 200);
            stack.aws.phones().say(PHONE, Some(LINE), "news").unwrap();
            assert_eq!(stack.tell("mine", Webhook::now(&id)).await.0, 200);
        }
        assert_eq!(next().await.is_ok(), happens, "{topic}");
    }
    assert_eq!(stack.get("/events?topic=weather").await.0, 400);
}

#[tokio::test]
async fn the_demo_is_on_the_first_page_once_it_is_there() {
    let stack = stack().await;
    let (_, before) = stack.get("/").await;
    assert!(before.contains("is being made") && !before.contains("fresh token"), "{before}");
    put_tenant(&stack.aws, "t-1", "acme-works", "Acme Works");
    let demo = Demo { email: "demo@example.com".into(), password: "pa<ss".into(), tenant_id: json!(7), tenant_slug: "acme-works".into() };
    demo.keep(stack.aws.journal()).unwrap();
    let (_, home) = stack.get("/").await;
    for part in [
        "demo@example.com",
        "pa&lt;ss",
        "Acme Works",
        "acme-works",
        "number 7",
        "t-1",
        "Get a fresh token",
        "data-copy=\"curl-3\"",
        "TOKEN=$(curl",
    ] {
        assert!(home.contains(part), "{part} in {home}");
    }
    let (_, document) = stack.get("/openapi.json").await;
    assert_eq!(document.matches(r#""example":"acme-works""#).count(), 1, "{document}");
    // The API cannot be reached, and the page says so.
    let (status, token) = stack.ask("POST", "/demo/token", &[("hx-request", "true")], "").await;
    assert!(status == 200 && token.contains("There is no token") && !token.contains("<html"), "{token}");
    let (_, page) = stack.ask("POST", "/demo/token", &[], "").await;
    assert!(page.contains("<html"), "{page}");
    assert_eq!(stack.ask("POST", "/reference/token", &[], "").await.0, 502);
    assert_eq!(stack.get("/demo/token").await.0, 405);
}

#[tokio::test]
async fn another_host_name_is_turned_away() {
    let stack = stack().await;
    for path in [
        "/",
        "/table",
        "/requests",
        "/mailbox.json",
        "/phones.json",
        "/catcher.json",
        "/events?topic=home",
        "/reference/assets/swagger-ui.css",
        "/nowhere",
    ] {
        assert_eq!(stack.ask("GET", path, &[("host", "rebound.example:9001")], "").await.0, 421, "{path}");
    }
}

#[tokio::test]
async fn pages_of_other_origins_are_turned_away() {
    let stack = stack().await;
    for origin in ["https://evil.example", "null", "http://localhost:3000", "http://127.0.0.1:9000"] {
        for (method, path) in [
            ("POST", "/demo/token"),
            ("POST", "/reference/token"),
            ("POST", "/mailbox"),
            ("POST", "/mailbox/x/play"),
            ("POST", "/phones/+12025550100"),
            ("POST", "/phones/+12025550100/messages"),
            ("POST", "/catcher/mine"),
            ("POST", "/catcher/sink/mine"),
            ("DELETE", "/through/api/tenant"),
            ("GET", "/"),
        ] {
            assert_eq!(stack.ask(method, path, &[("origin", origin)], "").await.0, 403, "{origin}: {method} {path}");
        }
    }
    let embedded = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "script")];
    assert_eq!(stack.ask("GET", "/mailbox.json", &embedded, "").await.0, 403);
    let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    assert_eq!(stack.ask("GET", "/mailbox", &link, "").await.0, 200);
    // Its own pages, and requests that do not come from a page, pass.
    let own = [("origin", "http://127.0.0.1:9001"), ("sec-fetch-site", "same-origin")];
    assert_eq!(stack.ask("POST", "/reference/token", &own, "").await.0, 502);
    assert_eq!(stack.ask("POST", "/reference/token", &[], "").await.0, 502);
}

#[tokio::test]
async fn the_reference_asks_the_api_through_the_console() {
    // An API that returns the request it got.
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let echo = async |request: Request<Body>| {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let seen = json!({ "asked": format!("{} {}", parts.method, parts.uri), "body": String::from_utf8_lossy(&body),
            "authorization": header("authorization"), "origin": header("origin"), "host": header("host") });
        (StatusCode::CREATED, [("etag", "\"1.0.0\"")], Json(seen))
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(echo)).await });
    let aws = Aws::start(Storage::Memory).unwrap();
    let router = Console::new(aws.clone(), AccessLog::new(), &base, PathBuf::new(), vec![]).router();
    let stack = Stack { aws, access: AccessLog::new(), router };
    let headers = [("origin", "http://127.0.0.1:9001"), ("authorization", "Bearer x"), ("content-type", "application/json")];
    let response = stack.send("POST", "/through/api/v1/projects%2F?a=%26b", &headers, "{}").await;
    assert_eq!((response.status().as_u16(), response.headers()["etag"].to_str().unwrap()), (201, "\"1.0.0\""));
    let seen: Value = serde_json::from_str(&read(response).await.1).unwrap();
    assert_eq!(seen["asked"], "POST /api/v1/projects%2F?a=%26b");
    assert_eq!((&seen["authorization"], &seen["body"], &seen["origin"]), (&json!("Bearer x"), &json!("{}"), &Value::Null));
    assert_eq!(seen["host"], base.trim_start_matches("http://"));
}

#[test]
fn what_is_vendored_is_as_it_was_released() {
    let assets = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/vendor");
    let list = std::fs::read_to_string(assets.join("README.md")).unwrap();
    let mut listed: Vec<String> = list.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next().map(str::to_owned)).collect();
    let mut there: Vec<String> = std::fs::read_dir(&assets).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    there.retain(|name| name != "README.md");
    listed.sort();
    there.sort();
    assert_eq!(listed, there, "assets/vendor/README.md names every file with its version, author and licence");
}
