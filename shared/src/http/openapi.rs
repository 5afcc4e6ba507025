//! The catalogue as an OpenAPI 3.1 document. Every body and answer is a named schema, declared once. A field that is always present is
//! `required`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use http::Method;
use serde_json::{Map, Value, json};

use crate::http::catalogue::{Catalogue, Named, Operation, Shape};
use crate::http::family::Family;
use crate::http::form::{ANY_NAME, Described};
use crate::http::lines::{CSV, LINES};
use crate::http::page;
use crate::http::status::CODES;
use crate::ids::{PathId, SubaccountId};
use crate::tenancy::doors::Access;

pub(crate) fn document(catalogue: &Catalogue, version: &str) -> Value {
    let mut components = Components::default();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for operation in &catalogue.operations {
        let method = operation.method.as_str().to_ascii_lowercase();
        paths.entry(operation.path).or_default().insert(method, described(operation, &mut components));
    }
    error_schemas(&mut components);
    let tags: Vec<Value> = catalogue.tags.iter().map(|tag| json!({"name": tag.name, "description": tag.description})).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tenantry",
            "version": version,
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
            "description": "The multi-tenant back end. Every answer carries `x-request-id`; lists give `next_cursor` and `Link`; \
                limited answers give `X-RateLimit-*`, `RateLimit-Policy` and `RateLimit`. A list in its default order shows your own \
                writes at once; other orders and filters come from an index that may trail by its propagation time.",
        },
        "servers": [{
            "url": "{baseUrl}",
            "description": "Your deployment, or `cargo local`.",
            "variables": {"baseUrl": {"default": "http://127.0.0.1:9000", "description": "Where the API answers, without a slash at the end."}},
        }],
        "tags": tags,
        "paths": paths,
        "components": {
            "securitySchemes": security_schemes(),
            "parameters": header_parameters(),
            "headers": headers(),
            "responses": refusals(),
            "schemas": components.schemas,
        },
    })
}

/// The schemas of the document by their names.
#[derive(Default)]
struct Components {
    schemas: BTreeMap<String, Value>,
}

impl Components {
    /// Returns a reference to the schema with this name.
    fn add(&mut self, name: &str, schema: Value) -> Value {
        let known = self.schemas.entry(name.to_owned()).or_insert_with(|| schema.clone());
        assert!(*known == schema, "two schemas are called {name}: {known} and {schema}");
        reference("schemas", name)
    }

    /// The data of an answer, with all schemas that it refers to.
    fn data(&mut self, operation: &Operation) -> Value {
        let parts: BTreeMap<&str, &Value> = operation.parts.iter().map(|part| (part.name.as_str(), &part.schema)).collect();
        for part in operation.parts.iter().filter(|part| !is_scalar(&part.schema)) {
            self.add(&part.name, answered(&part.schema, &parts));
        }
        let Named { name, schema } = &operation.answer;
        self.add(name, answered(schema, &parts))
    }

    /// The schema of a successful answer: the data in the envelope of its family.
    fn success(&mut self, operation: &Operation) -> Value {
        let family = Family::of(operation.path);
        let enveloped = operation.path.starts_with("/api/v1") || family == Family::Messaging;
        if operation.answer.name == "Nothing" {
            return match family {
                Family::Projects => self.add("Done", object(json!({"success": success(), "message": {"type": "string"}}))),
                Family::Messaging => self.add("Empty", object(json!({}))),
                _ => self.add("Success", object(json!({"success": success()}))),
            };
        }
        let (data, name) = (self.data(operation), &operation.answer.name);
        let list = json!({"type": "array", "items": data});
        let cursor = json!({"type": ["string", "null"], "description": "Where the list goes on; null at its end."});
        match (family, operation.shape) {
            (Family::Projects, Shape::Many) => {
                let (links, meta) = (self.add("PageLinks", page_links()), self.add("PageMeta", page_meta(&cursor)));
                self.add(&format!("{name}Page"), object(json!({"data": list, "links": links, "meta": meta})))
            }
            (Family::Engagement, Shape::Many) => {
                let pagination = self.add("Pagination", pagination(&cursor));
                self.add(&format!("{name}Page"), object(json!({"success": success(), "data": list, "pagination": pagination})))
            }
            (Family::Messaging, Shape::Many) => self.add(&format!("{name}Page"), object(json!({"data": list, "next_cursor": cursor}))),
            // The lines together are one text.
            (_, Shape::Lines) => self.add("Export", json!({"type": "string", "contentMediaType": LINES, "contentSchema": data})),
            (_, Shape::Sheet) => {
                self.add(&format!("{name}Export"), json!({"type": "string", "contentMediaType": LINES, "contentSchema": data}))
            }
            (_, Shape::Many) => self.add(&format!("{name}List"), list),
            (Family::Projects, Shape::One) if enveloped => {
                let envelope = object(json!({"success": success(), "message": {"type": "string"}, "data": data}));
                self.add(&format!("{name}Response"), envelope)
            }
            (Family::Engagement, Shape::One) => self.add(&format!("{name}Response"), object(json!({"success": success(), "data": data}))),
            (Family::Messaging, Shape::One) => self.add(&format!("{name}Response"), object(json!({"data": data}))),
            _ => data,
        }
    }

    /// The body of a request: `NewProject` for `createProject`, `ProjectChanges` for `updateProject`, `LoginRequest` for `login`.
    fn body(&mut self, operation: &Operation) -> Value {
        let id = operation.id;
        let name = match (id.strip_prefix("create"), id.strip_prefix("update")) {
            (Some(noun), _) => format!("New{noun}"),
            (_, Some(noun)) => format!("{noun}Changes"),
            _ => format!("{}{}Request", id[..1].to_ascii_uppercase(), &id[1..]),
        };
        let (any, named): (Vec<&Described>, Vec<_>) = operation.body.iter().partition(|field| field.name == ANY_NAME);
        let properties: Map<String, Value> = named.iter().map(|field| (field.name.to_owned(), field.in_body())).collect();
        let required: Vec<&str> = named.iter().filter(|field| field.required).map(|field| field.name).collect();
        let others = any.first().map_or(json!(false), |field| field.schema.clone());
        let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": others});
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        self.add(&name, schema)
    }
}

fn described(operation: &Operation, components: &mut Components) -> Value {
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "description": admission(operation),
        "tags": [operation.tag],
        "parameters": parameters(operation),
        "responses": responses(operation, components),
        "security": match (operation.access, operation.scope()) {
            (Access::Open { .. } | Access::Recipient, _) => json!([]),
            (Access::Edge, _) => json!([{"edge": []}]),
            (Access::Gateway, _) => json!([{"gateway": []}]),
            (_, Some(_)) => json!([{"session": []}, {"bearerKey": []}, {"headerKey": []}]),
            (_, None) => json!([{"session": []}]),
        },
    });
    if !operation.body.is_empty() {
        let content = json!({"schema": components.body(operation), "example": example(operation)});
        let required = operation.body.iter().any(|field| field.required);
        described["requestBody"] = json!({"required": required, "content": {"application/json": content}});
        if let Some(most) = operation.most_bytes {
            described["requestBody"]["description"] = json!(format!("At most {} MiB.", most / 1024 / 1024));
        }
    }
    described
}

/// Who may call it.
fn admission(operation: &Operation) -> String {
    match (operation.access, operation.scope()) {
        (Access::Open { why }, _) => format!("Open: {why}."),
        (Access::Recipient, _) => "For whoever has the link, which is signed.".to_owned(),
        (Access::SignedIn, _) => "For any session.".to_owned(),
        (Access::Edge, _) => "For the edge proxies.".to_owned(),
        (Access::Gateway, _) => "For the gateways of the operator, which sign what they report.".to_owned(),
        (Access::AtLeast(role), None) => format!("For {} and above; not for API keys.", role.name()),
        (Access::InWorkspace(role), scope) => {
            let keys = scope.map_or("; not for API keys".to_owned(), |scope| format!(", and for API keys with the scope {scope}"));
            format!("For the workspace's {} and above{keys}.", role.name())
        }
        (Access::AtLeast(role), Some(scope)) => format!("For {} and above, and for API keys with the scope {scope}.", role.name()),
    }
}

fn parameters(operation: &Operation) -> Vec<Value> {
    let names: Vec<&str> = operation.path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}')).collect();
    let last = names.len().saturating_sub(1);
    let in_path = names.iter().enumerate().map(|(index, name)| {
        let schema = match (&operation.names, *name) {
            (Some(schema), _) if index == last => schema.clone(),
            (_, "workspace") => json!({
                "type": "string", "pattern": "^[0-9A-Za-z_-]{1,64}$", "description": "The workspace's id (`ws_…`) or slug."
            }),
            _ if index == 0 && operation.within.is_some() => operation.within.clone().unwrap_or_default(),
            (_, "slug") => json!({"type": "string", "description": "The tenant's slug, in either letter case."}),
            _ => SubaccountId::schema(),
        };
        json!({"name": name, "in": "path", "required": true, "schema": schema})
    });
    let in_query =
        operation.query.iter().map(|field| json!({"name": field.name, "in": "query", "required": field.required, "schema": field.schema}));
    let in_workspace = matches!(operation.access, Access::InWorkspace(_));
    let in_tenant = in_workspace || matches!(operation.access, Access::AtLeast(_));
    let of_agency = operation.path.starts_with("/v1/subaccounts") || operation.path.starts_with("/v1/agency");
    let headers = [
        (operation.idempotent, "IdempotencyKey"),
        (operation.conditional, "IfMatch"),
        (operation.method == Method::GET && operation.tagged, "IfNoneMatch"),
        (in_tenant, "TenantId"),
        (in_workspace, "WorkspaceId"),
        (in_tenant && !of_agency, "SubaccountId"),
    ];
    let in_headers = headers.iter().filter(|(takes, _)| *takes).map(|(_, name)| reference("parameters", name));
    in_path.chain(in_query).chain(in_headers).collect()
}

fn responses(operation: &Operation, components: &mut Components) -> Value {
    let media = match operation.shape {
        Shape::Lines | Shape::Sheet => LINES,
        Shape::Page => page::HTML,
        Shape::Image => page::GIF,
        _ => "application/json",
    };
    let limits = if operation.is_limited() { &LIMIT_HEADERS[..] } else { &[] };
    let others = [
        (true, "x-request-id"),
        (operation.tagged, "ETag"),
        (operation.has_next(), "Link"),
        (matches!(operation.access, Access::InWorkspace(_)), "x-workspace-id"),
        (operation.idempotent, "Idempotency-Replayed"),
        (operation.shape == Shape::Redirect, "Location"),
    ];
    let names = others.iter().filter(|(gives, _)| *gives).map(|(_, name)| *name).chain(limits.iter().copied());
    let mut success = json!({"description": operation.summary, "headers": header_references(names)});
    let other = operation.or.as_ref().map(|other| {
        let mut success = success.clone();
        success["content"] = json!({media: {"schema": components.success(other)}});
        (other.status.to_string(), success)
    });
    if !matches!(operation.shape, Shape::Empty | Shape::Redirect) {
        success["content"] = json!({media: {"schema": components.success(operation)}});
    }
    if operation.shape == Shape::Sheet {
        success["content"][CSV] = json!({"schema": components.add("Table", json!({"type": "string", "contentMediaType": "text/csv"}))});
    }
    let mut responses = Map::from_iter([(operation.status.to_string(), success)]);
    responses.extend(other);
    for status in operation.refusals() {
        let known = REFUSALS.iter().find(|refusal| refusal.status == status);
        let name = |refusal: &Refusal| match Family::of(operation.path) {
            Family::Links => format!("{}Page", refusal.name),
            _ => refusal.name.to_owned(),
        };
        responses.insert(status.to_string(), known.map_or(Value::Null, |refusal| reference("responses", &name(refusal))));
    }
    Value::Object(responses)
}

/// What somebody might send there: a documented example, or what is required as its schema has it.
fn example(operation: &Operation) -> Value {
    static EXAMPLES: LazyLock<Map<String, Value>> =
        LazyLock::new(|| serde_json::from_str(include_str!("examples.json")).unwrap_or_default());
    EXAMPLES.get(&operation.name()).cloned().unwrap_or_else(|| {
        let required: Vec<_> = operation.body.iter().filter(|field| field.required).collect();
        let fields = if required.is_empty() { operation.body.iter().take(1).collect() } else { required };
        // What changes something says something else than what made it.
        let name =
            |field: &Described| if operation.method == Method::POST { field.name.to_owned() } else { format!("other_{}", field.name) };
        fields.into_iter().map(|field| (field.name.to_owned(), fitting(&name(field), &field.schema))).collect()
    })
}

/// A value of a field that fits its schema.
fn fitting(name: &str, schema: &Value) -> Value {
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    match (schema["type"].as_str().unwrap_or_default(), schema["format"].as_str().unwrap_or_default()) {
        ("integer" | "number", _) => schema.get("minimum").cloned().unwrap_or(json!(1)),
        ("boolean", _) => json!(true),
        ("array", _) => json!([fitting(name, &schema["items"])]),
        ("object", _) => json!({}),
        (_, "email") => json!("jane@example.com"),
        (_, "uri") => json!("https://example.com"),
        (_, "uuid") => json!("0198c0de-0000-7000-8000-000000000000"),
        (_, "date") => json!("2030-01-31"),
        (_, "date-time") => json!("2030-01-31T00:00:00Z"),
        _ => {
            let words = name.replace('_', " ");
            json!(words[..1].to_uppercase() + &words[1..])
        }
    }
}

/// The schema of an answer for clients. Scalars are written where they are used. Nullable fields are always present; a field that can be
/// absent is declared as not nullable. An object without fields is free-form.
fn answered(schema: &Value, parts: &BTreeMap<&str, &Value>) -> Value {
    let Value::Object(object) = schema else {
        return match schema {
            Value::Array(items) => items.iter().map(|item| answered(item, parts)).collect(),
            other => other.clone(),
        };
    };
    let mut tidy: Map<String, Value> = object.iter().map(|(name, value)| (name.clone(), answered(value, parts))).collect();
    let referred = object.get("$ref").and_then(Value::as_str).and_then(|target| parts.get(target.rsplit('/').next()?));
    if let Some(scalar) = referred.filter(|schema| is_scalar(schema)) {
        tidy.remove("$ref");
        for (name, value) in scalar.as_object().into_iter().flatten().filter(|(name, _)| *name != "description") {
            tidy.insert(name.clone(), value.clone());
        }
    }
    // A value without a tag may match several schemas.
    if let Some(of) = tidy.remove("oneOf") {
        tidy.insert("anyOf".into(), of);
    }
    // A scalar or null.
    if let Some(Value::Array(of)) = tidy.get("anyOf")
        && let (Some(Value::Object(value)), 2) = (of.iter().find(|one| **one != null_schema()), of.len())
        && of.contains(&null_schema())
        && let Some(kind @ Value::String(_)) = value.get("type")
    {
        let (mut value, kind) = (value.clone(), json!([kind, "null"]));
        value.insert("type".into(), kind);
        tidy.remove("anyOf");
        tidy.extend(value);
    }
    if tidy.get("type") == Some(&json!("object")) && !tidy.contains_key("properties") && !tidy.contains_key("additionalProperties") {
        tidy.insert("additionalProperties".into(), json!(true));
    }
    if let Some(Value::Object(properties)) = tidy.get("properties") {
        let declared = tidy.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        let required: Vec<&String> = properties
            .iter()
            .filter(|(name, schema)| declared.contains(&json!(name)) || is_nullable(schema))
            .map(|(name, _)| name)
            .collect();
        if !required.is_empty() {
            let required = json!(required);
            tidy.insert("required".into(), required);
        }
    }
    Value::Object(tidy)
}

/// One plain value without a list of words.
fn is_scalar(schema: &Value) -> bool {
    schema["type"] == "string" && schema["enum"].is_null()
}

fn is_nullable(schema: &Value) -> bool {
    let is_listed = |list: &Value, what: &Value| list.as_array().is_some_and(|list| list.contains(what));
    is_listed(&schema["type"], &json!("null")) || is_listed(&schema["anyOf"], &null_schema())
}

fn null_schema() -> Value {
    json!({"type": "null"})
}

/// An object with all of these fields.
fn object(properties: Value) -> Value {
    let names: Vec<String> = properties.as_object().into_iter().flat_map(|properties| properties.keys().cloned()).collect();
    json!({"type": "object", "required": names, "properties": properties})
}

fn success() -> Value {
    json!({"type": "boolean", "const": true})
}

fn page_links() -> Value {
    let text = json!({"type": "string"});
    let place = json!({"type": ["string", "null"]});
    object(json!({"first": text, "last": text, "prev": place, "next": place}))
}

fn page_meta(cursor: &Value) -> Value {
    let (count, place) = (json!({"type": "integer"}), json!({"type": ["integer", "null"]}));
    object(json!({
        "current_page": place, "from": place, "last_page": count, "per_page": count, "to": place, "total": count, "next_cursor": cursor,
    }))
}

fn pagination(cursor: &Value) -> Value {
    let count = json!({"type": "integer"});
    object(json!({
        "total": count, "limit": count, "offset": {"type": ["integer", "null"]}, "has_more": {"type": "boolean"}, "next_cursor": cursor,
    }))
}

fn reference(kind: &str, name: &str) -> Value {
    json!({"$ref": format!("#/components/{kind}/{name}")})
}

fn header_references<'a>(names: impl Iterator<Item = &'a str>) -> Value {
    names.map(|name| (name.to_owned(), reference("headers", name))).collect::<Map<_, _>>().into()
}

fn security_schemes() -> Value {
    json!({
        "session": {
            "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
            "description": "The token of a login, or of a configured identity provider: a person acts.",
        },
        "bearerKey": {
            "type": "http", "scheme": "bearer", "bearerFormat": "tf_live_… or tf_test_…",
            "description": "An API key of a tenant as a bearer token. Give a session or a key, never both.",
        },
        "headerKey": {
            "type": "apiKey", "in": "header", "name": "X-API-Key",
            "description": "The same API key in a header of its own.",
        },
        "edge": {
            "type": "apiKey", "in": "header", "name": "X-Ingest-Key",
            "description": "The deployment's key with which edge proxies report usage. No tenant has it.",
        },
        "gateway": {
            "type": "apiKey", "in": "header", "name": "webhook-signature",
            "description": "A signature by Standard Webhooks 1.0 over `webhook-id`, `webhook-timestamp` (within 5 minutes) and the body, with the gateway's secret. \
                No tenant has it.",
        },
    })
}

fn header_parameters() -> Value {
    let header = |name: &str, text: &str, most: u64| json!({"name": name, "in": "header", "required": false, "description": text, "schema": {"type": "string", "maxLength": most}});
    json!({
        "IdempotencyKey": header("Idempotency-Key", "The same key with the same body gives the same answer for 24 hours.", 255),
        "IfMatch": header("If-Match", "The ETag you edited; another version answers 412.", 1024),
        "IfNoneMatch": header("If-None-Match", "The ETag you have; while it holds, the answer is 304 without a body.", 1024),
        "TenantId": header("x-tenant-id", "Id or slug of another tenant you belong to.", 64),
        "WorkspaceId": header("x-workspace-id", "Id or slug of the workspace. Without it: the one that the path or the body names, else your oldest.", 64),
        "SubaccountId": header("X-Subaccount-Id", "A subaccount of your agency to act for.", 64),
    })
}

/// The headers about limits on a counted answer.
const LIMIT_HEADERS: [&str; 5] = ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "RateLimit-Policy", "RateLimit"];

fn headers() -> Value {
    let header = |kind: &str, text: &str| json!({"description": text, "schema": {"type": kind}});
    json!({
        "x-request-id": header("string", "Names the request in our logs."),
        "x-workspace-id": header("string", "The workspace that the answer comes from."),
        "ETag": header("string", "The version of what is answered, for If-Match and If-None-Match."),
        "Link": header("string", "Where the list goes on (RFC 8288)."),
        "Idempotency-Replayed": header("string", "`true` where this is the answer to an earlier request with the same Idempotency-Key."),
        "X-RateLimit-Limit": header("integer", "Requests that the limit allows in its window."),
        "X-RateLimit-Remaining": header("integer", "How many of them are left."),
        "X-RateLimit-Reset": header("integer", "When the window ends, in seconds since 1970."),
        "RateLimit-Policy": header("string", "Every limit that was counted, as structured fields."),
        "RateLimit": header("string", "What is left of each, as structured fields."),
        "Location": header("string", "Where the link leads."),
        "Retry-After": header("integer", "Seconds until it is worth trying again."),
        "Accept-Encoding": header("string", "The codings of a body that are taken."),
    })
}

/// An answer that many routes share.
struct Refusal {
    status: u16,
    name: &'static str,
    text: &'static str,
    schema: &'static str,
    headers: &'static [&'static str],
}

const REFUSALS: [Refusal; 14] = [
    refusal(304, "NotModified", "If-None-Match names what would be sent.", "", &["ETag"]),
    refusal(400, "BadRequest", "The request cannot be read, or fields are missing or wrong.", "ValidationError", &[]),
    refusal(401, "Unauthorized", "The credential is missing or does not hold.", "Error", &[]),
    refusal(403, "Forbidden", "The role, the scope or the plan does not allow it.", "ForbiddenError", &[]),
    refusal(404, "NotFound", "It does not exist, or belongs to another tenant.", "Error", &[]),
    refusal(409, "Conflict", "It exists already, or changed meanwhile.", "Error", &[]),
    refusal(410, "Gone", "What the link belonged to is no more, or not in use.", "Error", &[]),
    refusal(412, "PreconditionFailed", "If-Match names a version that is no longer current.", "Error", &[]),
    refusal(413, "ContentTooLarge", "The body is larger than 256 KiB, or than what the description of the request allows.", "Error", &[]),
    refusal(415, "UnsupportedMediaType", "The body's coding is not taken.", "Error", &["Accept-Encoding"]),
    refusal(
        422,
        "UnprocessableContent",
        "Fields are missing or wrong, or the Idempotency-Key was used with another body.",
        "ValidationError",
        &[],
    ),
    refusal(429, "TooManyRequests", "A rate limit or quota is used up.", "RateLimitError", &["Retry-After"]),
    refusal(500, "InternalServerError", "Our fault; quote the request id.", "Error", &[]),
    refusal(503, "ServiceUnavailable", "Try again in a moment.", "Error", &["Retry-After"]),
];

/// Refusals that the routes of links show as pages.
const PAGES: [u16; 7] = [400, 404, 409, 410, 429, 500, 503];
/// Those that no other route has.
const ONLY_PAGES: [u16; 1] = [410];

const fn refusal(status: u16, name: &'static str, text: &'static str, schema: &'static str, headers: &'static [&'static str]) -> Refusal {
    Refusal { status, name, text, schema, headers }
}

fn refusals() -> Value {
    let described = |refusal: &Refusal| {
        let names = ["x-request-id"].iter().chain(refusal.headers).chain(&LIMIT_HEADERS).copied();
        let mut described = json!({"description": refusal.text, "headers": header_references(names)});
        if !refusal.schema.is_empty() {
            described["content"] = json!({
                "application/json": {"schema": reference("schemas", &format!("{}Response", refusal.schema))},
                "application/problem+json": {"schema": reference("schemas", "Problem")},
            });
        }
        described
    };
    let page = |refusal: &Refusal| {
        let mut page = described(refusal);
        page["content"] = json!({page::HTML: {"schema": reference("schemas", "Page")}});
        (format!("{}Page", refusal.name), page)
    };
    let pages = REFUSALS.iter().filter(|refusal| PAGES.contains(&refusal.status)).map(page);
    let bodies = REFUSALS.iter().filter(|refusal| !ONLY_PAGES.contains(&refusal.status));
    bodies.map(|refusal| (refusal.name.to_owned(), described(refusal))).chain(pages).collect::<Map<_, _>>().into()
}

/// The error body with the details of each kind of refusal, and the same facts in RFC 9457 for callers that ask for it with `Accept`.
fn error_schemas(components: &mut Components) {
    let (text, count) = (json!({"type": "string"}), json!({"type": "integer"}));
    let free = json!({"type": "object", "additionalProperties": true});
    let fields = json!({
        "type": "object",
        "description": "Each field that is missing or wrong, with what is wrong with it. Empty where the request cannot be read at all.",
        "additionalProperties": {"type": "array", "items": text},
    });
    let limit = json!({
        "type": "object",
        "description": "The limit of the plan that stands in the way. Empty where it is no limit.",
        "properties": {"limit": text, "used": count, "max": count, "plan": text},
    });
    let throttle = object(json!({"quota": text, "limit": count, "retry_after": count}));
    for (name, details) in [("Error", &free), ("ValidationError", &fields), ("ForbiddenError", &limit), ("RateLimitError", &throttle)] {
        // Each with the codes of its statuses, so that a client that checks the code knows the details.
        let code = error_code(|status| REFUSALS.iter().any(|refusal| refusal.schema == name && refusal.status == status));
        let error = components.add(name, object(json!({"code": code, "message": text, "details": details, "request_id": text})));
        components.add(&format!("{name}Response"), object(json!({"success": {"type": "boolean", "const": false}, "error": error})));
    }
    let problem = object(json!({
        "type": {"type": "string", "format": "uri"}, "title": text, "status": count, "detail": text, "code": error_code(|_| true), "details": free,
        "request_id": text,
    }));
    components.add("Problem", problem);
}

/// The codes of these statuses, with what they mean.
fn error_code(is_given: impl Fn(u16) -> bool) -> Value {
    let codes = CODES.iter().filter(|(_, statuses, _)| statuses.iter().any(|status| is_given(*status)));
    let (codes, meanings): (Vec<&str>, Vec<String>) = codes.map(|(code, _, meaning)| (*code, format!("* `{code}`: {meaning}."))).unzip();
    json!({"type": "string", "enum": codes, "description": meanings.join("\n")})
}
