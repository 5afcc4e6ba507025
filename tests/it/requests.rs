//! Whatever arrives at a function, every event gets an answer of ours. Headers, queries, bodies and values are read correctly, or refused
//! by name.

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::world::{Answer, Tenant, World, catalogue, id};

const PROJECTS: &str = "/api/v1/projects";

// Events.

#[tokio::test]
async fn whatever_comes_in_is_answered_by_us() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let event = |change: &dyn Fn(&mut Value)| {
        let mut event = world.get(PROJECTS).token(&acme.owner.token).event();
        change(&mut event);
        event.to_string()
    };
    let with_header = |name: &str, value: Value| event(&|event| event["headers"][name] = value.clone());
    for (what, event, status) in [
        ("proto", with_header("x-forwarded-proto", json!("https,http")), 200),
        ("proto", with_header("x-forwarded-proto", json!("java script")), 200),
        ("host", with_header("host", json!("a b:c[")), 200),
        ("host", with_header("host", json!("")), 200),
        ("port", with_header("host", json!("a:99999999")), 200),
        ("control", with_header("x-anything", json!("a\nb\u{0}")), 200),
        ("letters", with_header("x-anything", json!("é")), 200),
        ("none", with_header("x-anything", Value::Null), 200),
        ("no name", with_header("not a name", json!("x")), 200),
        ("cookies", event(&|event| event["cookies"] = json!(["a=\u{0}", "b"])), 200),
        ("domain", event(&|event| event["requestContext"]["domainName"] = json!("not a host/")), 200),
        ("stage", event(&|event| event["requestContext"]["stage"] = json!("pro d")), 200),
        ("address", event(&|event| event["requestContext"]["http"]["sourceIp"] = Value::Null), 200),
        ("request id", event(&|event| event["requestContext"]["requestId"] = json!("a\nb")), 200),
        ("request id", event(&|event| event["requestContext"]["requestId"] = Value::Null), 200),
        ("body", event(&|event| event["body"] = Value::Null), 200),
        ("accept", with_header("accept", json!("é")), 200),
        ("credential", with_header("authorization", json!("Bearer é")), 400),
        ("credential", with_header("authorization", json!("Bearer a\nb")), 400),
        ("credential", with_header("authorization", json!(7)), 400),
        ("path", event(&|event| event["rawPath"] = json!("/api/v1/projects/\u{FFFD} {x}?#\\")), 404),
        ("path", event(&|event| event["rawPath"] = json!("http://other/api/v1/projects")), 404),
        ("path", event(&|event| event["rawPath"] = json!("x".repeat(70_000))), 404),
        ("path", event(&|event| event["rawPath"] = Value::Null), 404),
        ("query", event(&|event| event["rawQueryString"] = json!("%FF=1")), 400),
        ("query", event(&|event| event["rawQueryString"] = json!("search=%ff")), 400),
        ("query", event(&|event| event["rawQueryString"] = json!("search=<\" é\u{0}#x")), 422),
        ("query", event(&|event| event["rawQueryString"] = json!("%")), 200),
        ("query", event(&|event| event["rawQueryString"] = json!("search=%")), 200),
        ("method", event(&|event| event["requestContext"]["http"]["method"] = json!("G T")), 400),
        ("method", event(&|event| event["requestContext"]["http"]["method"] = json!("BREW")), 405),
        ("method", event(&|event| event["requestContext"]["http"]["method"] = Value::Null), 400),
        ("another event", json!({"Records": [{"eventSource": "aws:sqs"}]}).to_string(), 400),
        ("another event", "{}".to_owned(), 400),
        ("another event", "[]".to_owned(), 400),
        ("another event", "null".to_owned(), 400),
        ("another event", "\"\\ud800\"".to_owned(), 400),
        ("payload 1.0", json!({"httpMethod": "GET", "path": PROJECTS, "headers": {}, "requestContext": {}}).to_string(), 400),
    ] {
        let answer = world.invoke(PROJECTS, &event).await;
        assert_eq!(answer.status, status, "{what} {}: {}", event.chars().take(300).collect::<String>(), answer.text);
        is_ours(&answer);
    }
    let garbled = |body: &str| {
        let mut event = world.post(PROJECTS).token(&acme.owner.token).json(json!({"name": "x"})).event();
        event["body"] = json!(body);
        event.to_string()
    };
    let answer = world.invoke(PROJECTS, &garbled("no base64 *")).await.expect(400);
    assert_eq!(answer.code(), "BAD_REQUEST");
    // A caller without access learns nothing about the errors in their request.
    for path in [format!("{PROJECTS}?%FF=1"), format!("{PROJECTS}?page=1&page=1"), format!("{PROJECTS}/%FF")] {
        is_ours(&world.get(path).send().await.expect(401));
    }
}

#[tokio::test]
async fn a_path_that_is_no_text_names_nothing() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let unknown = world.get(format!("{PROJECTS}/unknown")).token(&acme.owner.token).send().await.expect(404).fingerprint();
    for path in ["%FF", "%c3", "%C3%28", "%00", "%", "%zz", "\u{FFFD}"] {
        let answer = world.get(format!("{PROJECTS}/{path}")).token(&acme.owner.token).send().await.expect(404);
        assert_eq!(answer.fingerprint(), unknown, "{path}");
        world.get(format!("{PROJECTS}/{path}")).send().await.expect(401);
    }
    for path in ["/api/tenants/%FF", "/api/tenants/%FF/domains", "/v1/subaccounts/%FF", "/api/tenant-setting/%FF"] {
        is_ours(&world.get(path).token(&acme.owner.token).send().await.expect(404));
    }
    is_ours(&world.get("/%FF").send().await.expect(404));
}

// Headers.

#[tokio::test]
async fn a_repeated_header_is_refused_as_the_gateway_joins_it() {
    let world = World::new().await;
    let (acme, other) = (world.tenant("acme").await, world.tenant("other").await);
    let key = world.post("/v1/api-keys").token(&acme.owner.token).json(json!({"name": "k"})).send().await.expect(201);
    let key = key.json()["data"]["key"].as_str().expect("a key").to_owned();
    let get = || world.get(PROJECTS);
    for (name, value) in [
        ("authorization", format!("Bearer {},Bearer {}", acme.owner.token, other.owner.token)),
        ("authorization", format!("Bearer {}, Bearer {}", acme.owner.token, acme.owner.token)),
        ("authorization", format!("Bearer {key},Basic eDp5")),
        ("authorization", format!("Bearer {},", acme.owner.token)),
        ("x-api-key", format!("{key},{key}")),
    ] {
        let answer = get().header(name, &value).send().await.expect(400);
        assert_eq!((answer.code().as_str(), answer.header("x-ratelimit-limit")), ("BAD_REQUEST", ""), "{value}");
    }
    for name in ["x-tenant-id", "x-subaccount-id"] {
        get().token(&acme.owner.token).header(name, &acme.id).header(name, &other.id).send().await.expect(400);
        get().token(&acme.owner.token).header(name, &acme.id).header(name, &acme.id).send().await.expect(400);
    }
    let batch = || world.post("/api/usage/ingest").json(json!({"batch_id": "b", "tenant": acme.slug, "entries": []}));
    batch().header("x-ingest-key", "one").header("x-ingest-key", "two").send().await.expect(400);
    // Other front ends list the values.
    for name in ["authorization", "x-api-key", "x-tenant-id", "idempotency-key"] {
        let mut event = world.post(PROJECTS).token(&acme.owner.token).json(json!({"name": "n"})).event();
        event["headers"][name] = json!(["one", "two"]);
        world.invoke(PROJECTS, &event.to_string()).await.expect(400);
    }
    // A list in two headers is one list, and a caller's key may contain commas.
    let project = world.project(&acme.owner, "Launch").await;
    let put = || world.put(format!("{PROJECTS}/{}", id(&project))).token(&acme.owner.token).json(json!({"name": "n"}));
    put().header("if-match", "\"7\"").header("if-match", "\"1.0.0\"").send().await.expect(200);
    let repeat = || world.post(PROJECTS).token(&acme.owner.token).header("idempotency-key", "a,b").json(json!({"name": "n"})).send();
    assert_eq!(repeat().await.expect(201).text, repeat().await.expect(201).text);
    // A repeated header that is not a credential does no harm.
    get().header("x-api-key", &key).send().await.expect(200);
}

#[tokio::test]
async fn accept_is_read_as_the_standard_says() {
    let world = World::new().await;
    for (accept, problem) in [
        ("Application/Problem+JSON", true),
        ("text/html, application/problem+json;q=0.1", true),
        ("application/problem+json;q=0", false),
        ("*/*", false),
        ("application/json, application/problem+json;q=0.9", false),
        ("application/*;q=0.9, application/json;q=0", true),
    ] {
        for path in [PROJECTS, "/nowhere"] {
            let answer = world.get(path).header("accept", accept).send().await;
            let kind = if problem { "application/problem+json" } else { "application/json" };
            assert_eq!(answer.header("content-type"), kind, "{accept} {path}");
        }
    }
    // As the gateway joins two headers.
    let answer = world.get(PROJECTS).header("accept", "text/html").header("accept", "application/problem+json").send().await;
    assert_eq!(answer.header("content-type"), "application/problem+json");
}

#[tokio::test]
async fn a_weakened_tag_still_names_its_version() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = world.project(&acme.owner, "Launch").await;
    let path = format!("{PROJECTS}/{}", id(&project));
    let put =
        |etag: &str, name: &str| world.put(&path).token(&acme.owner.token).header("if-match", etag).json(json!({"name": name})).send();
    let seen = world.get(&path).token(&acme.owner.token).send().await.header("etag").to_owned();
    let changed = put(&format!("W/{seen}"), "one").await.expect(200).header("etag").to_owned();
    put(&format!("W/{seen}"), "two").await.expect(412);
    put(&format!("{seen}, W/{changed}"), "two").await.expect(200);
    let etag = world.get(&path).token(&acme.owner.token).send().await.header("etag").to_owned();
    for known in [format!("W/{etag}"), format!("{seen}, W/{etag}"), "*".to_owned()] {
        world.get(&path).token(&acme.owner.token).header("if-none-match", &known).send().await.expect(304);
        world.request("HEAD", &path).token(&acme.owner.token).header("if-none-match", &known).send().await.expect(304);
    }
}

#[tokio::test]
async fn head_is_get_in_scopes_limits_and_headers() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = world.project(&acme.owner, "Launch").await;
    let key = async |scopes: Value| {
        let answer =
            world.post("/v1/api-keys").token(&acme.owner.token).json(json!({"name": "k", "scopes": scopes})).send().await.expect(201);
        answer.json()["data"]["key"].as_str().expect("a key").to_owned()
    };
    let (reader, writer) = (key(json!(["projects:read"])).await, key(json!(["projects:write"])).await);
    for path in [PROJECTS.to_owned(), format!("{PROJECTS}/{}", id(&project))] {
        for (key, status) in [(&reader, 200), (&writer, 403)] {
            let get = world.get(&path).token(key).send().await.expect(status);
            let head = world.request("HEAD", &path).token(key).send().await.expect(status);
            assert_eq!(head.text, "");
            if status == 200 {
                assert_eq!(head.header("content-length"), get.text.len().to_string());
            }
            for name in ["content-type", "etag", "link", "ratelimit-policy"] {
                assert_eq!(head.header(name), get.header(name), "{path} {name}");
            }
        }
    }
    assert!(world.request("HEAD", PROJECTS).token(&reader).send().await.header("ratelimit-policy").starts_with("\"api-read\""));
    let missing = world.request("HEAD", "/nowhere").send().await.expect(404);
    assert_eq!((missing.text.as_str(), missing.header("content-type")), ("", "application/json"));
    world.request("HEAD", "/api/v1/auth/login").send().await.expect(405);
}

// Queries.

#[tokio::test]
async fn an_empty_value_in_a_query_is_no_value() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = world.project(&acme.owner, "Launch").await;
    let (mut tried, mut required) = (0, 0);
    for operation in catalogue().operations.iter().filter(|operation| operation.method == "GET" && !operation.query.is_empty()) {
        let path = operation.path.replace("{slug}", &acme.slug).replace("/projects/{uuid}", &format!("/projects/{}", id(&project)));
        if path.contains('{') || path.starts_with("/api/usage/") {
            continue;
        }
        let plain = world.get(&path).token(&acme.owner.token).send().await;
        for field in &operation.query {
            let answer = world.get(format!("{path}?{}=", field.name)).token(&acme.owner.token).send().await;
            assert_eq!(answer.status, plain.status, "{path} {}: {}", field.name, answer.text);
            (tried, required) = (tried + 1, required + u32::from(field.required));
        }
    }
    assert!(tried > 30 && required >= 1, "{tried} {required}");
    let all = "?archived=&sort=&direction=&page=&per_page=&cursor=&search=&unknown=";
    let answer = world.get(format!("{PROJECTS}{all}")).token(&acme.owner.token).send().await.expect(200);
    assert_eq!(answer.json()["meta"]["total"], 1);
    assert!(!answer.json()["links"]["first"].as_str().expect("a link").contains("sort"));
}

// Bodies.

#[tokio::test]
async fn a_body_is_taken_with_its_mark_and_as_it_is() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let post = |body: &[u8]| world.post(PROJECTS).token(&acme.owner.token).raw(body);
    let marked = b"\xEF\xBB\xBF{\"name\":\"Marked\"}";
    assert_eq!(post(marked).send().await.expect(201).json()["data"]["name"], "Marked");
    post(b"\xEF\xBB\xBF\xEF\xBB\xBF{\"name\":\"Twice\"}").send().await.expect(400);
    assert_eq!(post(b"\xEF\xBB\xBF").send().await.expect(422).code(), "VALIDATION_ERROR");
    // Values that are read with the door come from the same body.
    let setting = b"\xEF\xBB\xBF{\"name\":\"company_name\",\"value\":\"x\"}";
    for _ in 0..2 {
        world.post("/api/tenant-setting").token(&acme.owner.token).raw(setting).send().await.expect(201);
    }
    for coding in ["identity", "Identity", "identity, identity", ""] {
        post(b"{\"name\":\"Plain\"}").header("content-encoding", coding).send().await.expect(201);
    }
    for coding in ["gzip", "br", "GZIP", "identity, gzip", "identity;q=1"] {
        let answer = post(b"{\"name\":\"Packed\"}").header("content-encoding", coding).send().await.expect(415);
        assert_eq!((answer.code().as_str(), answer.header("accept-encoding")), ("UNSUPPORTED_MEDIA_TYPE", "identity"));
        is_ours(&answer);
    }
    world.post(PROJECTS).header("content-encoding", "gzip").json(json!({})).send().await.expect(401);
}

#[tokio::test]
async fn free_numbers_come_back_equal_or_are_refused_by_name() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let numbers = "[0,-0,1.0,1e2,0.1,0.30000000000000004,1e300,5e-324,18446744073709551615,-9223372036854775808,9007199254740993,1e20]";
    let project = format!(r#"{{"name":"n","settings":{{"numbers":{numbers}}}}}"#);
    let subaccount = format!(r#"{{"name":"n","metadata":{{"numbers":{numbers}}}}}"#);
    for (path, body, field) in [(PROJECTS, &project, "settings"), ("/v1/subaccounts", &subaccount, "metadata")] {
        let made = world.post(path).token(&acme.owner.token).raw(body.as_bytes()).send().await.expect(201);
        let place = format!("{path}/{}", id(&made.json()["data"]));
        let shown = world.get(place).token(&acme.owner.token).send().await.expect(200);
        let listed = world.get(path).token(&acme.owner.token).send().await.expect(200);
        let given: Value = serde_json::from_str(numbers).expect("numbers");
        for (answer, data) in
            [(&made, made.json()["data"].clone()), (&shown, shown.json()["data"].clone()), (&listed, listed.json()["data"][0].clone())]
        {
            for (back, given) in data[field]["numbers"].as_array().expect("numbers").iter().zip(given.as_array().expect("numbers")) {
                assert_eq!(back.as_f64(), given.as_f64(), "{}", answer.text);
            }
            for exact in ["18446744073709551615", "-9223372036854775808", "9007199254740993", "0.30000000000000004"] {
                assert!(answer.text.contains(exact), "{exact}: {}", answer.text);
            }
        }
        let before = world.items().len();
        for wrong in
            ["18446744073709551616", "99999999999999.99", "1e400", "-1e400", "1e-400", "-9223372036854775809", "0.12345678901234567890"]
        {
            let body = body.replace(numbers, &format!("{{\"deep\":[1,{wrong}]}}"));
            let answer = world.post(path).token(&acme.owner.token).raw(body.as_bytes()).send().await;
            assert_eq!((answer.status, answer.code().as_str()), (if path == PROJECTS { 422 } else { 400 }, "VALIDATION_ERROR"));
            let fields: Vec<String> = answer.details().as_object().expect("fields").keys().cloned().collect();
            assert_eq!(fields, [format!("{field}.numbers.deep.1")], "{wrong}");
        }
        assert!(world.items().len() <= before + 1, "nothing was made");
    }
    // Another field at fault is named too, and invalid JSON is reported as such.
    let answer = world.post(PROJECTS).token(&acme.owner.token).raw(br#"{"settings":{"n":1e400}}"#).send().await.expect(422);
    assert_eq!(answer.details().as_object().expect("fields").keys().collect::<Vec<_>>(), ["name", "settings.n"]);
    world.post(PROJECTS).token(&acme.owner.token).raw(br#"{"settings":{"n":1e400}"#).send().await.expect(400);
    let setting =
        world.post("/api/tenant-setting").token(&acme.owner.token).raw(br#"{"name":"limit","value":1e400}"#).send().await.expect(400);
    assert!(setting.details()["value"].is_array(), "{}", setting.text);
}

#[tokio::test]
async fn metadata_stored_as_a_map_before_still_reads() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let made = world.post("/v1/subaccounts").token(&acme.owner.token).json(json!({"name": "n", "metadata": {"tier": "gold"}})).send().await;
    let made = made.expect(201).json()["data"].clone();
    let pk = format!("G#subaccounts#{}", acme.id);
    let sk = world.items().into_iter().find(|item| item["pk"]["S"] == pk.as_str()).expect("the link")["sk"]["S"]
        .as_str()
        .expect("sk")
        .to_owned();
    world.change_item(&pk, &sk, |item| {
        assert!(item["metadata"]["S"].is_string(), "kept as text");
        item["metadata"] = json!({"M": {"tier": {"S": "gold"}, "n": {"N": "1.5"}}});
    });
    let shown = world.get(format!("/v1/subaccounts/{}", id(&made))).token(&acme.owner.token).send().await.expect(200);
    assert_eq!(shown.json()["data"]["metadata"], json!({"tier": "gold", "n": 1.5}));
}

#[tokio::test]
async fn the_last_second_of_the_year_9999_is_a_moment() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    for moment in ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999Z", "9999-12-31T00:00:00+00:00"] {
        let body = json!({"name": "k", "expires_at": moment});
        let made = world.post("/v1/api-keys").token(&acme.owner.token).json(body).send().await.expect(201).json()["data"].clone();
        assert!(made["expires_at"].as_str().expect("a moment").starts_with("9999-12-31T23:59:59"), "{made}");
        let key = made["key"].as_str().expect("a key");
        world.get(PROJECTS).token(key).send().await.expect(200);
        world.advance(SignedDuration::from_hours(24));
        world.get(PROJECTS).token(key).send().await.expect(200);
        let rotated = world.post(format!("/v1/api-keys/{}/rotate", id(&made))).token(&acme.owner.token).json(json!({"grace_seconds": 60}));
        rotated.send().await.expect(201);
    }
    let body = json!({"name": "k", "expires_at": "10000-01-01T00:00:00Z"});
    world.post("/v1/api-keys").token(&acme.owner.token).json(body).send().await.expect(400);
    let logs = format!("/api/tenants/{}/logs?from=2026-01-01T00:00:00Z&to=9999-12-31T23:59:59Z", acme.slug);
    world.get(logs).token(&acme.owner.token).send().await.expect(200);
    let logs = format!("/api/tenants/{}/logs?from=9999-12-31&to=9999-12-31", acme.slug);
    world.get(logs).token(&acme.owner.token).send().await.expect(200);
}

// Names.

#[tokio::test]
async fn names_show_something_and_hide_nothing() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let project = world.project(&acme.owner, "Launch").await;
    let tasks = format!("{PROJECTS}/{}/tasks", id(&project));
    let project_path = format!("{PROJECTS}/{}", id(&project));
    let register = |name: &str, company: &str| json!({"name": name, "company_name": company, "email": "new@names.example.com", "password": "correct horse"});
    let hidden = [
        "\u{200B}",
        "a\u{200B}",
        "\u{202E}abc",
        "a\u{2066}b",
        "\u{FEFF}",
        "a\u{FEFF}",
        "\u{AD}",
        "\u{3164}",
        "\u{E0041}x",
        "\u{301}",
        " \u{2060} ",
        "a\u{0}",
    ];
    for name in hidden {
        for (method, path, body, field) in [
            ("POST", PROJECTS.to_owned(), json!({"name": name}), "name"),
            ("PUT", project_path.clone(), json!({"name": name}), "name"),
            ("POST", tasks.clone(), json!({"title": name}), "title"),
            ("POST", "/v1/subaccounts".to_owned(), json!({"name": name}), "name"),
            ("POST", "/v1/api-keys".to_owned(), json!({"name": name}), "name"),
            ("POST", "/api/tenant-api-key".to_owned(), json!({"name": name}), "name"),
            ("PUT", "/api/tenant".to_owned(), json!({"name": name}), "name"),
            ("POST", "/api/tenants".to_owned(), json!({"slug": "a-new-one", "name": name, "cms": "prismic", "repository": "r"}), "name"),
            ("POST", "/api/v1/auth/register".to_owned(), register(name, "ok"), "name"),
            ("POST", "/api/v1/auth/register".to_owned(), register("ok", name), "company_name"),
            ("POST", "/api/v1/demo".to_owned(), json!({"email": "d@names.example.com", "name": name, "company_name": "ok"}), "name"),
            (
                "POST",
                "/api/v1/demo".to_owned(),
                json!({"email": "d@names.example.com", "name": "ok", "company_name": name}),
                "company_name",
            ),
        ] {
            let answer = world.request(method, &path).token(&acme.owner.token).json(body).send().await;
            assert!([400, 422].contains(&answer.status), "{path} {name:?}: {}", answer.text);
            let fields: Vec<String> = answer.details().as_object().expect("fields").keys().cloned().collect();
            assert_eq!(fields, [field], "{path}");
        }
    }
    for (given, kept) in
        [("  e\u{301}te\u{301} ", "été"), ("👩\u{200D}🚀", "👩\u{200D}🚀"), ("می\u{200C}خواهم", "می\u{200C}خواهم"), ("日本", "日本")]
    {
        let made = world.post(PROJECTS).token(&acme.owner.token).json(json!({"name": given})).send().await.expect(201);
        assert_eq!(made.json()["data"]["name"], kept);
    }
}

#[tokio::test]
async fn lists_are_searched_and_sorted_as_people_read() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let launch = world.project(&acme.owner, "Launch").await;
    let names = ["zoo", "E\u{301}clair", "eclair", "Eclairs", "straße", "STRASSE", "Øre", "ore", "f"];
    let tasks = format!("{PROJECTS}/{}/tasks", id(&launch));
    for name in names {
        world.project(&acme.owner, name).await;
        world.task(&acme.owner, &launch, json!({"title": name})).await;
    }
    // A name as it was stored before names had a normal form.
    let found = world.items().into_iter().find(|item| item["type"]["S"] == "project" && item["name"]["S"] == "zoo").expect("the project");
    world.change_item(found["pk"]["S"].as_str().expect("pk"), found["sk"]["S"].as_str().expect("sk"), |item| {
        item["name"] = json!({"S": "Zoe\u{308}"});
        item["list_entry"]["M"]["name"] = json!({"S": "Zoe\u{308}"});
    });
    let names = async |path: String, field: &str| -> Vec<String> {
        let answer = world.get(path).token(&acme.owner.token).send().await.expect(200).json();
        answer["data"].as_array().expect("a list").iter().map(|one| one[field].as_str().expect("a name").to_owned()).collect()
    };
    let sorted = names(format!("{PROJECTS}?sort=name&direction=asc"), "name").await;
    assert_eq!(sorted[..5], ["eclair", "Éclair", "Eclairs", "f", "Launch"]);
    assert_eq!(sorted[5..7], ["ore", "Øre"]);
    let sorted = names(format!("{tasks}?sort=title&direction=asc"), "title").await;
    assert_eq!(sorted[..4], ["eclair", "Éclair", "Eclairs", "f"]);
    for (search, found) in [("%C3%89CLAIR", 1), ("e%CC%81clair", 1), ("STRASSE", 2), ("stra%C3%9Fe", 2), ("ECLAIR", 2)] {
        assert_eq!(names(format!("{PROJECTS}?search={search}"), "name").await.len(), found, "{search}");
        assert_eq!(names(format!("{tasks}?search={search}"), "title").await.len(), found, "{search}");
    }
    assert_eq!(names(format!("{PROJECTS}?search=zo%C3%AB"), "name").await.len(), 1);
    // A walk by cursor through such an order returns every record once.
    let (mut seen, mut path) = (vec![], format!("{PROJECTS}?sort=name&direction=asc&per_page=3"));
    loop {
        let page = world.get(&path).token(&acme.owner.token).send().await.expect(200).json();
        seen.extend(page["data"].as_array().expect("a list").iter().map(|one| id(one).to_owned()));
        match page["meta"]["next_cursor"].as_str() {
            Some(cursor) => path = format!("{PROJECTS}?sort=name&direction=asc&per_page=3&cursor={cursor}"),
            None => break,
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 10);
}

// Repeats.

#[tokio::test]
async fn the_same_content_in_another_spelling_is_the_same_content() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let send = |body: &str| world.post(PROJECTS).token(&acme.owner.token).header("idempotency-key", "k").raw(body.as_bytes()).send();
    let first = send(r#"{"name":"é","settings":{"a":1,"b":[1,2]}}"#).await.expect(201);
    for same in [
        "{ \"settings\" : {\"b\":[1, 2],\"a\":1.0},\n\"name\":\"\\u00e9\" }",
        "\u{FEFF}{\"name\":\"é\",\"settings\":{\"b\":[1,2],\"a\":1e0}}",
    ] {
        let again = send(same).await.expect(201);
        assert_eq!((again.header("idempotency-replayed"), &again.text), ("true", &first.text));
    }
    for other in [r#"{"name":"é","settings":{"a":1,"b":[2,1]}}"#, r#"{"name":"é","settings":{"a":"1","b":[1,2]}}"#, r#"{"name":"é"}"#, "{"]
    {
        assert_eq!(send(other).await.expect(422).code(), "IDEMPOTENCY_KEY_REUSED", "{other}");
    }
    // The table contains nothing of the request in a form that could be guessed.
    let record = world.items().into_iter().find(|item| item["type"]["S"] == "answer").expect("the record");
    assert!(record["body_hash"].is_null(), "{record}");
}

#[tokio::test]
async fn a_record_of_an_earlier_form_still_answers() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let body = json!({"name": "Once"});
    let send = |body: &Value| world.post(PROJECTS).token(&acme.owner.token).header("idempotency-key", "k").json(body.clone()).send();
    let first = send(&body).await.expect(201);
    let record = world.items().into_iter().find(|item| item["type"]["S"] == "answer").expect("the record");
    let (pk, sk) = (record["pk"]["S"].as_str().expect("pk"), record["sk"]["S"].as_str().expect("sk"));
    let answer = json!({"status": 201, "etag": first.header("etag"), "body": first.text});
    let answers = world.auth.keys().answers().expect("the key of answers");
    let sealed = answers.seal(answer.to_string().as_bytes(), sk, world.auth.random());
    world.change_item(pk, sk, |item| {
        item["sealed"] = json!({"S": sealed});
        item["body_hash"] = json!({"S": shared::crypto::hash(&[body.to_string().as_bytes()])});
    });
    let again = send(&body).await.expect(201);
    assert_eq!((again.header("idempotency-replayed"), &again.text), ("true", &first.text));
    send(&json!({"name": "Other"})).await.expect(422);
}

#[tokio::test]
async fn a_key_of_one_tenant_says_nothing_to_another() {
    let world = World::new().await;
    let (acme, globex) = (world.tenant("acme").await, world.tenant("globex").await);
    let create = |tenant: &Tenant, name: &str| {
        world.post("/v1/subaccounts").token(&tenant.owner.token).header("idempotency-key", "same").json(json!({"name": name})).send()
    };
    let mine = create(&acme, "Client").await.expect(201);
    let theirs = create(&globex, "Client").await.expect(201);
    assert_ne!(mine.json()["data"]["id"], theirs.json()["data"]["id"]);
    assert_eq!(theirs.json()["data"]["parent_tenant_id"], globex.id.as_str());
    for (tenant, first) in [(&acme, &mine), (&globex, &theirs)] {
        let again = create(tenant, "Client").await.expect(201);
        assert_eq!((again.header("idempotency-replayed"), &again.text), ("true", &first.text));
        let listed = world.get("/v1/subaccounts").token(&tenant.owner.token).send().await.expect(200);
        assert_eq!(listed.json()["data"].as_array().map(Vec::len), Some(1));
    }
    // One person in two tenants, selected by a header, counts as two callers.
    let visitor = world.member(&acme, "admin").await;
    world.advance(SignedDuration::from_secs(1));
    world
        .post("/api/v1/tenant/invitations")
        .token(&globex.owner.token)
        .json(json!({"email": visitor.email, "role": "owner"}))
        .send()
        .await
        .expect(201);
    let token = world.link_token(&visitor.email);
    let acceptance = json!({"token": token, "name": "Visitor", "password": "correct horse"});
    world.post("/api/v1/auth/accept-invitation").json(acceptance).send().await.expect(200);
    let visitor = world.login(&visitor.email, "correct horse").await;
    let create = |tenant: &Tenant| {
        let request = world.post(PROJECTS).token(&visitor.token).header("x-tenant-id", &tenant.id);
        request.header("idempotency-key", "both").json(json!({"name": "x"})).send()
    };
    assert_ne!(create(&acme).await.expect(201).text, create(&globex).await.expect(201).text);
}

#[tokio::test]
async fn every_post_takes_an_idempotency_key() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    // Mail programs, which post to the links of mails, know no such key, nor do gateways. What they post happens once.
    let knows_none = |path: &str| path.starts_with("/e/") || path.starts_with("/v1/gateways/");
    let operations = catalogue().operations.into_iter();
    let posts: Vec<_> = operations.filter(|operation| operation.method == "POST" && !knows_none(operation.path)).collect();
    assert!(posts.iter().all(|operation| operation.idempotent) && posts.len() > 25);
    let project = world.project(&acme.owner, "Launch").await;
    let task = world.task(&acme.owner, &project, json!({"title": "t"})).await;
    let child =
        world.post("/v1/subaccounts").token(&acme.owner.token).json(json!({"name": "c"})).send().await.expect(201).json()["data"].clone();
    let child = format!("/v1/subaccounts/{}", id(&child));
    for (path, body, other) in [
        (format!("/api/v1/tasks/{}/complete", id(&task)), json!({}), json!({"x": 1})),
        (format!("{PROJECTS}/{}/archive", id(&project)), json!({}), json!({"x": 1})),
        (format!("{PROJECTS}/{}/unarchive", id(&project)), json!({}), json!({"x": 1})),
        (format!("/api/tenants/{}/refresh-cache", acme.slug), json!({"type": "all"}), json!({"type": "api"})),
        (format!("{child}/suspend"), json!({}), json!({"x": 1})),
        (format!("{child}/activate"), json!({}), json!({"x": 1})),
        (format!("{child}/close"), json!({}), json!({"x": 1})),
    ] {
        let send = |body: &Value| world.post(&path).token(&acme.owner.token).header("idempotency-key", "k").json(body.clone()).send();
        let first = send(&body).await.expect(200);
        assert_eq!(first.header("idempotency-replayed"), "", "{path}");
        let again = send(&body).await.expect(200);
        assert_eq!(
            (again.header("idempotency-replayed"), &again.text, again.header("etag")),
            ("true", &first.text, first.header("etag")),
            "{path}"
        );
        assert_eq!(send(&other).await.expect(422).code(), "IDEMPOTENCY_KEY_REUSED", "{path}");
        world.post(&path).token(&acme.owner.token).header("idempotency-key", &"k".repeat(256)).json(body).send().await.expect(400);
    }
    // A repeat returns the first answer, whatever happened since.
    let path = format!("{PROJECTS}/{}/archive", id(&project));
    let archive = || world.post(&path).token(&acme.owner.token).header("idempotency-key", "again").send();
    let first = archive().await.expect(200);
    world.post(format!("{PROJECTS}/{}/unarchive", id(&project))).token(&acme.owner.token).send().await.expect(200);
    assert_eq!(archive().await.expect(200).text, first.text);
    let now = world.get(format!("{PROJECTS}/{}", id(&project))).token(&acme.owner.token).send().await.json();
    assert_eq!(now["data"]["is_archived"], false);
    // A caller who may no longer do it does not get the earlier answer either.
    world.post(&path).header("idempotency-key", "again").send().await.expect(401);
    let viewer = world.member(&acme, "viewer").await;
    world.post(&path).token(&viewer.token).header("idempotency-key", "again").send().await.expect(403);
}

fn is_ours(answer: &Answer) {
    assert_ne!(answer.header("x-request-id"), "", "{}", answer.text);
    assert_eq!(answer.header("content-type"), "application/json");
    if answer.status >= 400 {
        let body = answer.json();
        assert_eq!(body["success"], false);
        assert_eq!(body["error"]["request_id"], answer.header("x-request-id"));
    }
}

#[tokio::test]
async fn a_repeat_by_a_visitor_has_one_effect() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let mails = || world.items().iter().filter(|item| item["type"]["S"] == "mail" && item["to"]["S"] == acme.owner.email.as_str()).count();
    let forgot = |ip: &'static str, email: &str| {
        let request = world.post("/api/v1/auth/forgot-password").at_ip(ip).header("idempotency-key", "k");
        request.json(json!({"email": email})).send()
    };
    let before = mails();
    let first = forgot("192.0.2.1", &acme.owner.email).await.expect(202);
    let again = forgot("192.0.2.1", &acme.owner.email).await.expect(202);
    assert_eq!((again.header("idempotency-replayed"), &again.text, mails()), ("true", &first.text, before + 1));
    assert_eq!(forgot("192.0.2.1", "other@example.com").await.expect(422).code(), "IDEMPOTENCY_KEY_REUSED");
    // From another address it is another request.
    forgot("192.0.2.2", &acme.owner.email).await.expect(202);
    assert_eq!(mails(), before + 2);
    // Duplicates at the same moment send one mail.
    let before = mails();
    let twins = futures_util::future::join_all((0..5).map(|_| {
        let request = world.post("/api/v1/auth/forgot-password").at_ip("192.0.2.3").header("idempotency-key", "twins");
        request.json(json!({"email": acme.owner.email})).send()
    }));
    assert!(twins.await.iter().all(|answer| answer.status == 202));
    assert_eq!(mails(), before + 1);
    // After a link was used, a repeat gets the first answer.
    world.advance(SignedDuration::from_secs(1));
    world.post("/api/v1/auth/forgot-password").json(json!({"email": acme.owner.email})).send().await.expect(202);
    let reset = json!({"token": world.link_token(&acme.owner.email), "password": "another horse"});
    let follow = || world.post("/api/v1/auth/reset-password").at_ip("192.0.2.1").header("idempotency-key", "r").json(reset.clone()).send();
    let first = follow().await.expect(200);
    let again = follow().await.expect(200);
    assert_eq!((again.header("idempotency-replayed"), &again.text), ("true", &first.text));
    world.post("/api/v1/auth/reset-password").at_ip("192.0.2.1").json(reset.clone()).send().await.expect(422);
}

#[tokio::test]
async fn a_repeated_login_proves_the_password_and_gets_no_ended_session() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let login = |password: &str| {
        let request = world.post("/api/v1/auth/login").at_ip("192.0.2.1").header("idempotency-key", "k");
        request.json(json!({"email": acme.owner.email, "password": password})).send()
    };
    let sessions = || world.items().iter().filter(|item| item["type"]["S"] == "session").count();
    let before = sessions();
    let first = login("correct horse").await.expect(200);
    let again = login("correct horse").await.expect(200);
    assert_eq!((again.header("idempotency-replayed"), &again.text, sessions()), ("true", &first.text, before + 1));
    let token = first.json()["data"]["token"].as_str().expect("a token").to_owned();
    // The table contains neither the token nor anything for guessing the password.
    let stored = serde_json::to_string(&world.items()).expect("JSON");
    assert!(!stored.contains(&token) && !stored.contains(token.rsplit('.').next().expect("a signature")));
    // The session ends, so a repeat opens another.
    world.post("/api/v1/auth/logout").token(&token).send().await.expect(200);
    let new = login("correct horse").await.expect(200);
    assert_ne!(new.json()["data"]["token"], token.as_str());
    // The password changes: the old one opens nothing, with or without a key.
    world.advance(SignedDuration::from_secs(1));
    world.post("/api/v1/auth/forgot-password").json(json!({"email": acme.owner.email})).send().await.expect(202);
    let reset = json!({"token": world.link_token(&acme.owner.email), "password": "another horse"});
    world.post("/api/v1/auth/reset-password").json(reset).send().await.expect(200);
    login("correct horse").await.expect(422);
    assert_eq!(login("another horse").await.expect(422).code(), "IDEMPOTENCY_KEY_REUSED");
}

#[tokio::test]
async fn a_list_that_is_read_whole_does_not_end_at_a_thousand() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let body = json!({"name": "aws_bucket", "value": "x"});
    world.post("/api/tenant-setting").token(&acme.owner.token).json(body).send().await.expect(201);
    let one = world.items_of(&acme).into_iter().find(|item| item["type"]["S"] == "setting").expect("the setting");
    for number in 0..1100 {
        let mut copy = one.clone();
        let id = format!("0198c0de-0000-7000-8000-{number:012x}");
        (copy["sk"], copy["id"]) = (json!({"S": format!("name#zzz.{number}")}), json!({"S": id}));
        world.put_item(&copy);
    }
    // To find a setting by its id, all are searched.
    let last = format!("/api/tenant-setting/0198c0de-0000-7000-8000-{:012x}", 1099);
    world.get(last).token(&acme.owner.token).send().await.expect(200);
}
