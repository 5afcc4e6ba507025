//! The routes as data, for the API reference, the role matrix and the tests. It is not part of a function's binary.

use http::Method;
use serde_json::{Value, json};

use crate::http::arguments::NoFilters;
use crate::http::endpoint::Handler;
use crate::http::family::Family;
use crate::http::form::{Described, Form};
use crate::http::openapi;
use crate::http::registry::{Registry, Routes};
use crate::tenancy::Scope;
use crate::tenancy::doors::{Access, Anyone, Door};

/// Every route of one or more functions.
#[derive(Default)]
pub struct Catalogue {
    pub operations: Vec<Operation>,
    /// The groups of routes in the API reference, in the order of their declaration.
    pub(crate) tags: Vec<Tag>,
    function: &'static str,
}

/// A resource, as a heading of the API reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag {
    pub name: &'static str,
    pub description: &'static str,
}

/// One route.
#[derive(Debug, Clone)]
pub struct Operation {
    pub function: &'static str,
    pub method: Method,
    pub path: &'static str,
    /// The name in generated clients.
    pub id: &'static str,
    pub summary: &'static str,
    pub access: Access,
    pub body: Vec<Described>,
    /// The most bytes of a body, where it is not the usual number.
    pub most_bytes: Option<usize>,
    pub query: Vec<Described>,
    pub shape: Shape,
    pub status: u16,
    pub idempotent: bool,
    pub conditional: bool,
    pub may_miss: bool,
    /// Whether its answer has an `ETag`.
    pub tagged: bool,
    pub(crate) tag: &'static str,
    pub(crate) answer: Named,
    /// What it answers where something else is asked for.
    pub(crate) or: Option<Box<Operation>>,
    /// The schemas that the answer's schema refers to.
    pub(crate) parts: Vec<Named>,
    /// The schema of the last value in the path, if an argument reads it.
    pub(crate) names: Option<Value>,
    /// The schema of the first value in the path, where the record of the last one lies within another.
    pub(crate) within: Option<Value>,
    /// Refusals that follow neither from the door nor from the arguments.
    pub(crate) may: Vec<u16>,
}

/// A JSON schema with its name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Named {
    pub name: String,
    pub schema: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    One,
    Many,
    /// One JSON document in each line.
    Lines,
    /// The same, or a table with commas.
    Sheet,
    /// No body.
    Empty,
    /// An HTML page, for people.
    Page,
    Image,
    /// No body, and the header `Location`.
    Redirect,
}

impl Catalogue {
    pub fn add<R: Routes>(&mut self, function: &'static str) {
        self.function = function;
        R::declare(self);
    }

    /// The OpenAPI 3.1 document.
    pub fn openapi(&self, version: &str) -> Value {
        openapi::document(self, version)
    }

    /// The roles and the scopes that each route needs, one line for each route. This is the access policy for a reviewer.
    pub fn role_matrix(&self) -> String {
        let mut lines: Vec<String> = self
            .operations
            .iter()
            .map(|operation| {
                let allowed = match operation.access {
                    Access::Open { why } => format!("open: {why}"),
                    Access::Recipient => "a signed link of a mail, limited by address".to_owned(),
                    Access::SignedIn => "any session".to_owned(),
                    Access::Edge => "the edge, by X-Ingest-Key".to_owned(),
                    Access::Gateway => "a gateway of the operator, by its signature".to_owned(),
                    Access::AtLeast(least) | Access::InWorkspace(least) => {
                        let roles = crate::tenancy::Role::ALL.map(|role| if role >= least { role.name() } else { "-" });
                        let walled = if matches!(operation.access, Access::InWorkspace(_)) { ", in the workspace" } else { "" };
                        let scope = operation.scope().map_or_else(|| "people only".to_owned(), |scope| scope.to_string());
                        format!("{:<7}{:<7}{:<6}{:<6} {scope}{walled}", roles[0], roles[1], roles[2], roles[3])
                    }
                };
                format!("{:<42} {:<7} {allowed}", operation.path, operation.method.as_str())
            })
            .collect();
        lines.sort();
        lines.join("\n") + "\n"
    }
}

impl Registry for Catalogue {
    fn route<T: 'static, H: Handler<T>>(
        &mut self,
        method: Method,
        path: &'static str,
        id: &'static str,
        summary: &'static str,
        handler: H,
    ) {
        let idempotent = method == Method::POST;
        let mut operation = Operation {
            function: self.function,
            method,
            path,
            id,
            summary,
            access: Access::SignedIn,
            body: vec![],
            most_bytes: None,
            query: vec![],
            shape: Shape::One,
            status: 200,
            idempotent,
            conditional: false,
            may_miss: false,
            tagged: false,
            tag: self.tags.last().map_or("", |tag| tag.name),
            answer: Named::default(),
            or: None,
            parts: vec![],
            names: None,
            within: None,
            may: vec![],
        };
        handler.describe(&mut operation);
        self.operations.push(operation);
    }

    fn tag(&mut self, name: &'static str, description: &'static str) {
        self.tags.push(Tag { name, description });
    }

    fn may(&mut self, status: u16) {
        if let Some(operation) = self.operations.last_mut() {
            operation.may.push(status);
        }
    }
}

impl Operation {
    /// `POST /api/v1/projects`.
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The scope that an API key needs. `None` if no key can use the route.
    pub fn scope(&self) -> Option<Scope> {
        matches!(self.access, Access::AtLeast(_) | Access::InWorkspace(_)).then(|| Scope::needed(&self.method, self.path)).flatten()
    }

    /// Every status except success that this route can answer, derived from its arguments and its door.
    pub fn refusals(&self) -> Vec<u16> {
        let (limited, edge) = (self.is_limited(), self.is_of_programs());
        let (writes, has_body) = (self.method != Method::GET, !self.body.is_empty());
        let recipient = self.access == Access::Recipient;
        let open = recipient || matches!(self.access, Access::Open { .. });
        // A person's own things are deleted without a transaction.
        let conflicts = writes && !edge && (has_body || self.access != Access::SignedIn);
        let checks_input = Family::of(self.path) == Family::Projects && (has_body || !self.query.is_empty());
        let mut refusals = self.may.clone();
        let mut may = |possible: bool, status: u16| refusals.extend(possible.then_some(status));
        may(self.method == Method::GET && self.tagged, 304);
        may(true, 400);
        may(!open, 401);
        may(!open && !edge, 403);
        // A caller who can select a tenant may name one that does not exist.
        may(recipient, 410);
        may(self.may_miss || edge || matches!(self.access, Access::AtLeast(_) | Access::InWorkspace(_)), 404);
        may(conflicts, 409);
        may(self.conditional, 412);
        may(has_body, 413);
        may(has_body, 415);
        may(self.idempotent || checks_input, 422);
        may(limited, 429);
        may(true, 500);
        may(true, 503);
        refusals
    }

    /// Whether requests are counted against a rate limit.
    pub(crate) fn is_limited(&self) -> bool {
        self.access != Anyone::ACCESS && !self.is_of_programs()
    }

    /// Whether the operator's own programs call it, with a credential that no tenant has.
    pub fn is_of_programs(&self) -> bool {
        matches!(self.access, Access::Edge | Access::Gateway)
    }

    /// Whether it is a list with pages.
    pub(crate) fn has_next(&self) -> bool {
        self.query.iter().any(|field| field.name == "cursor")
    }

    pub(crate) fn access(&mut self, access: Access) {
        self.access = access;
        if access == Access::Recipient {
            self.names(
                json!({"type": "string", "pattern": "^[0-9A-Za-z_-]{84,2752}$", "description": "The token in the link, signed by us."}),
            );
        }
    }

    pub fn body(&mut self, fields: Vec<Described>) {
        self.body.extend(fields);
    }

    /// How large a body may be.
    pub fn at_most(&mut self, bytes: usize) {
        self.most_bytes = Some(bytes).filter(|most| *most != NoFilters::MAX_BYTES);
    }

    pub fn query(&mut self, fields: Vec<Described>) {
        self.query.extend(fields);
    }

    pub fn conditional(&mut self) {
        self.conditional = true;
    }

    pub fn may_miss(&mut self) {
        self.may_miss = true;
    }

    pub(crate) fn tagged(&mut self) {
        self.tagged = true;
    }

    /// The last value of the path names a record.
    pub fn names(&mut self, schema: Value) {
        self.names = Some(schema);
        self.may_miss();
    }

    /// The first value of the path names what holds the record of the last one.
    pub fn within(&mut self, schema: Value) {
        self.within = Some(schema);
    }

    pub(crate) fn answers<T: utoipa::ToSchema>(&mut self, status: u16, shape: Shape) {
        let named = |name: String, schema| Named { name, schema: serde_json::to_value(schema).unwrap_or_default() };
        self.status = status;
        self.shape = shape;
        self.answer = named(T::name().into_owned(), T::schema());
        let mut parts = vec![];
        T::schemas(&mut parts);
        self.parts = parts.into_iter().map(|(name, schema)| named(name, schema)).collect();
    }
}
