//! The routes as data, for the API reference, the role matrix and the tests. Nothing of this is in a function's binary.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use http::Method;
use serde_json::{Map, Value, json};

use crate::http::endpoint::{Handler, needs_credential};
use crate::http::family::Family;
use crate::http::form::{ANY_NAME, Described};
use crate::http::registry::{Registry, Routes};
use crate::http::status::CODES;
use crate::tenancy::Scope;
use crate::tenancy::doors::{Access, Anyone, Door};

/// Every route of one or more functions.
#[derive(Default)]
pub struct Catalogue {
    pub operations: Vec<Operation>,
    function: &'static str,
}

/// One route.
#[derive(Debug, Clone)]
pub struct Operation {
    pub function: &'static str,
    pub method: Method,
    pub path: &'static str,
    pub summary: &'static str,
    pub access: Access,
    pub body: Vec<Described>,
    pub query: Vec<Described>,
    pub answer: Value,
    pub shape: Shape,
    pub status: u16,
    pub idempotent: bool,
    pub conditional: bool,
    pub may_miss: bool,
    schemas: Vec<(String, Value)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    One,
    Many,
    /// One JSON document a line.
    Lines,
}

impl Catalogue {
    pub fn add<R: Routes>(&mut self, function: &'static str) {
        self.function = function;
        R::declare(self);
    }

    /// The OpenAPI 3.1 document.
    pub fn openapi(&self, version: &str) -> Value {
        let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
        let mut schemas: BTreeMap<String, Value> = BTreeMap::new();
        for operation in &self.operations {
            schemas.extend(operation.schemas.iter().cloned());
            paths.entry(operation.path).or_default().insert(operation.method.as_str().to_ascii_lowercase(), operation.openapi());
        }
        schemas.insert("Error".into(), error_schema());
        schemas.insert("Problem".into(), problem_schema());
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
            "servers": [{"url": "http://127.0.0.1:9000", "description": "cargo local"}],
            "tags": self.tags(),
            "paths": paths,
            "components": {
                "securitySchemes": {
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
                },
                "schemas": schemas,
                "responses": shared_responses(),
            },
        })
    }

    /// Which role and which scope of a key may do what, one line a route: a reviewer reads the access policy here.
    pub fn role_matrix(&self) -> String {
        let mut lines: Vec<String> = self
            .operations
            .iter()
            .map(|operation| {
                let allowed = match operation.access {
                    Access::Open { why } => format!("open: {why}"),
                    Access::SignedIn => "any session".to_owned(),
                    Access::Edge => "the edge, by X-Ingest-Key".to_owned(),
                    Access::AtLeast(least) => {
                        let roles = crate::tenancy::Role::ALL.map(|role| if role >= least { role.name() } else { "-" });
                        let scope = operation.scope().map_or_else(|| "people only".to_owned(), |scope| scope.to_string());
                        format!("{:<7}{:<7}{:<6}{:<6} {scope}", roles[0], roles[1], roles[2], roles[3])
                    }
                };
                format!("{:<42} {:<7} {allowed}", operation.path, operation.method.as_str())
            })
            .collect();
        lines.sort();
        lines.join("\n") + "\n"
    }

    fn tags(&self) -> Vec<Value> {
        let mut tags: Vec<&str> = vec![];
        for operation in &self.operations {
            let tag = operation.tag();
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        tags.into_iter().map(|name| json!({"name": name})).collect()
    }
}

impl Registry for Catalogue {
    fn route<T: 'static, H: Handler<T>>(&mut self, method: Method, path: &'static str, summary: &'static str, handler: H) {
        let idempotent = method == Method::POST;
        let mut operation = Operation {
            function: self.function,
            method,
            path,
            summary,
            access: Access::SignedIn,
            body: vec![],
            query: vec![],
            answer: Value::Null,
            shape: Shape::One,
            status: 200,
            idempotent,
            conditional: false,
            may_miss: false,
            schemas: vec![],
        };
        handler.describe(&mut operation);
        self.operations.push(operation);
    }
}

impl Operation {
    /// `POST /api/v1/projects`.
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// What an API key needs here; `None` when no key will do.
    pub fn scope(&self) -> Option<Scope> {
        matches!(self.access, Access::AtLeast(_)).then(|| Scope::needed(&self.method, self.path)).flatten()
    }

    pub(crate) fn access(&mut self, access: Access) {
        self.access = access;
    }

    pub(crate) fn body(&mut self, fields: Vec<Described>) {
        self.body.extend(fields);
    }

    pub(crate) fn query(&mut self, fields: Vec<Described>) {
        self.query.extend(fields);
    }

    pub(crate) fn conditional(&mut self) {
        self.conditional = true;
    }

    pub(crate) fn may_miss(&mut self) {
        self.may_miss = true;
    }

    pub(crate) fn answers<T: utoipa::ToSchema>(&mut self, status: u16, shape: Shape) {
        self.status = status;
        self.shape = shape;
        self.answer = serde_json::to_value(T::schema()).unwrap_or_default();
        let mut schemas = vec![];
        T::schemas(&mut schemas);
        self.schemas = schemas.into_iter().map(|(name, schema)| (name, serde_json::to_value(schema).unwrap_or_default())).collect();
    }

    /// The resource: the first word of the path that is not the API's own.
    fn tag(&self) -> &'static str {
        let mut segments = self.path.split('/').filter(|segment| !matches!(*segment, "" | "api" | "v1" | ".well-known"));
        match segments.next().unwrap_or_default() {
            "jwks.json" => "keys",
            "tenant" if self.path.starts_with("/api/v1/") => segments.next().unwrap_or("tenant"),
            tag => tag,
        }
    }

    fn openapi(&self) -> Value {
        let family = Family::of(self.path);
        let names: Vec<&str> = self.path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}')).collect();
        let mut parameters: Vec<Value> =
            names.iter().map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})).collect();
        for field in &self.query {
            parameters.push(json!({"name": field.name, "in": "query", "required": field.required, "schema": field.schema}));
        }
        let header = |name: &str, text: &str| json!({"name": name, "in": "header", "required": false, "description": text, "schema": {"type": "string"}});
        if self.idempotent {
            parameters.push(header("Idempotency-Key", "At most 255 characters; the same key gives the same answer for 24 hours."));
        }
        if self.conditional {
            parameters.push(header("If-Match", "The ETag you edited; another version answers 412."));
        }
        if matches!(self.access, Access::AtLeast(_)) {
            parameters.push(header("x-tenant-id", "Id or slug of another tenant you belong to."));
        }
        let mut operation = json!({
            "operationId": self.operation_id(),
            "summary": self.summary,
            "tags": [self.tag()],
            "parameters": parameters,
            "responses": self.responses(family),
        });
        operation["description"] = json!(match (self.access, self.scope()) {
            (Access::Open { why }, _) => format!("Open: {why}."),
            (Access::SignedIn, _) => "For any session.".to_owned(),
            (Access::Edge, _) => "For the edge proxies.".to_owned(),
            (Access::AtLeast(role), None) => format!("For {} and above; not for API keys.", role.name()),
            (Access::AtLeast(role), Some(scope)) => format!("For {} and above, and for API keys with the scope {scope}.", role.name()),
        });
        if needs_credential(self.access) {
            operation["security"] = match self.scope() {
                Some(_) => json!([{"session": []}, {"bearerKey": []}, {"headerKey": []}]),
                None if self.access == Access::Edge => json!([{"edge": []}]),
                None => json!([{"session": []}]),
            };
        }
        if !self.body.is_empty() {
            let required: Vec<&str> = self.body.iter().filter(|field| field.required).map(|field| field.name).collect();
            let (any, named): (Vec<_>, Vec<_>) = self.body.iter().partition(|field| field.name == ANY_NAME);
            let properties: Map<String, Value> = named.iter().map(|field| (field.name.to_owned(), field.schema.clone())).collect();
            let others = any.first().map_or(json!(false), |field| field.schema.clone());
            let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": others});
            if !required.is_empty() {
                schema["required"] = json!(required);
            }
            let mut content = json!({"schema": schema});
            if let Some(example) = example(&self.name()) {
                content["example"] = example;
            }
            operation["requestBody"] = json!({"required": !required.is_empty(), "content": {"application/json": content}});
        }
        operation
    }

    fn operation_id(&self) -> String {
        let words: Vec<String> = self
            .path
            .split(['/', '.', '-'])
            .filter(|segment| !segment.is_empty() && !matches!(*segment, "api" | "v1"))
            .map(|segment| segment.trim_matches(['{', '}']).to_owned())
            .collect();
        format!("{}_{}", self.method.as_str().to_ascii_lowercase(), words.join("_"))
    }

    fn responses(&self, family: Family) -> Value {
        let content = |schema: Value| json!({"application/json": {"schema": schema}});
        let mut responses = Map::new();
        let success = match self.shape {
            Shape::One | Shape::Many => content(self.envelope(family)),
            Shape::Lines => json!({"application/x-ndjson": {"schema": self.envelope(family)}}),
        };
        responses.insert(self.status.to_string(), json!({"description": self.summary, "content": success}));
        for status in self.refusals(family) {
            responses.insert(status.into(), json!({"$ref": format!("#/components/responses/{status}")}));
        }
        if self.method == Method::GET && self.shape == Shape::One && self.may_miss {
            responses.insert("304".into(), json!({"$ref": "#/components/responses/304"}));
        }
        Value::Object(responses)
    }

    /// Every status but success that this route can give, from what it takes and who may call it.
    fn refusals(&self, family: Family) -> Vec<&'static str> {
        let (public, edge) = (self.access == Anyone::ACCESS, self.access == Access::Edge);
        let (writes, has_body) = (self.method != Method::GET, !self.body.is_empty());
        let mut refusals = vec!["400", "500", "503"];
        let mut may = |possible: bool, status: &'static str| refusals.extend(possible.then_some(status));
        may(needs_credential(self.access), "401");
        may(!public && !edge, "403");
        // Whoever may select a tenant may name one that is not there.
        may(self.may_miss || edge || matches!(self.access, Access::AtLeast(_)), "404");
        may(writes && !edge, "409");
        may(self.conditional, "412");
        may(has_body, "413");
        may(has_body, "415");
        may(self.idempotent || (family == Family::Projects && (has_body || !self.query.is_empty())), "422");
        may(!public && !edge, "429");
        refusals
    }

    fn envelope(&self, family: Family) -> Value {
        let data = match self.shape {
            Shape::One | Shape::Lines => self.answer.clone(),
            Shape::Many => json!({"type": "array", "items": self.answer}),
        };
        let success = json!({"const": true});
        match (family, self.shape) {
            (Family::Projects, Shape::Many) => json!({
                "type": "object",
                "required": ["data", "links", "meta"],
                "properties": {
                    "data": data,
                    "links": {"type": "object", "properties": {
                        "first": {"type": "string"}, "last": {"type": "string"},
                        "prev": {"type": ["string", "null"]}, "next": {"type": ["string", "null"]},
                    }},
                    "meta": {"type": "object", "properties": {
                        "current_page": {"type": ["integer", "null"]}, "from": {"type": ["integer", "null"]},
                        "last_page": {"type": "integer"}, "per_page": {"type": "integer"},
                        "to": {"type": ["integer", "null"]}, "total": {"type": "integer"},
                        "next_cursor": {"type": ["string", "null"]},
                    }},
                },
            }),
            (Family::Engagement, Shape::Many) => json!({
                "type": "object",
                "required": ["success", "data", "pagination"],
                "properties": {"success": success, "data": data, "pagination": {"type": "object", "properties": {
                    "total": {"type": "integer"}, "limit": {"type": "integer"}, "offset": {"type": ["integer", "null"]},
                    "has_more": {"type": "boolean"}, "next_cursor": {"type": ["string", "null"]},
                }}},
            }),
            (Family::Projects, Shape::One) if self.path.starts_with("/api") => json!({
                "type": "object",
                "required": ["success", "message"],
                "properties": {"success": success, "message": {"type": "string"}, "data": data},
            }),
            (Family::Engagement, Shape::One) => {
                json!({"type": "object", "required": ["success"], "properties": {"success": success, "data": data}})
            }
            (Family::Messaging, Shape::Many) => json!({
                "type": "object",
                "required": ["data", "next_cursor"],
                "properties": {"data": data, "next_cursor": {"type": ["string", "null"]}},
            }),
            (Family::Messaging, Shape::One) => json!({"type": "object", "required": ["data"], "properties": {"data": data}}),
            _ => data,
        }
    }
}

/// What somebody might send there, from the documented examples where there is one.
fn example(operation: &str) -> Option<Value> {
    static EXAMPLES: LazyLock<Map<String, Value>> =
        LazyLock::new(|| serde_json::from_str(include_str!("examples.json")).unwrap_or_default());
    EXAMPLES.get(operation).cloned()
}

fn error_schema() -> Value {
    let codes: Vec<&str> = CODES.iter().map(|(code, _)| *code).collect();
    let meanings: Vec<String> = CODES.iter().map(|(code, meaning)| format!("{code}: {meaning}.")).collect();
    json!({
        "type": "object",
        "required": ["success", "error"],
        "properties": {
            "success": {"const": false},
            "error": {
                "type": "object",
                "required": ["code", "message", "details", "request_id"],
                "properties": {
                    "code": {"type": "string", "enum": codes, "description": meanings.join(" ")},
                    "message": {"type": "string"},
                    "details": {"type": "object", "additionalProperties": true},
                    "request_id": {"type": "string"},
                },
            },
        },
    })
}

/// The answers that many routes share, by status.
fn shared_responses() -> Value {
    let content = json!({
        "application/json": {"schema": {"$ref": "#/components/schemas/Error"}},
        "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}},
    });
    let refusal = |text: &str| json!({"description": text, "content": content});
    json!({
        "304": {"description": "If-None-Match names what would be sent"},
        "400": refusal("Bad request"),
        "401": refusal("Not authenticated"),
        "403": refusal("Not allowed"),
        "404": refusal("Not found"),
        "409": refusal("Conflict"),
        "412": refusal("Changed meanwhile"),
        "413": refusal("Too large"),
        "415": refusal("The body's coding is not taken"),
        "422": refusal("Invalid"),
        "429": refusal("Too many requests"),
        "500": refusal("Internal error"),
        "503": refusal("Try again"),
    })
}

/// RFC 9457, for who asks for it by `Accept`.
fn problem_schema() -> Value {
    json!({
        "type": "object",
        "required": ["type", "title", "status", "detail", "code", "details", "request_id"],
        "properties": {
            "type": {"type": "string", "format": "uri"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "string"},
            "details": {"type": "object", "additionalProperties": true},
            "request_id": {"type": "string"},
        },
    })
}
