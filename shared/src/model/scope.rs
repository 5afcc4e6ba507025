//! What an API key may do: a set of `<resource>:<read|write>`. The scope that a route needs follows from its path and method, only here. A
//! route without a scope is for people only.

use std::collections::BTreeSet;
use std::fmt;

use http::Method;
use serde::{Deserialize, Serialize};

use crate::model::role::Role;

/// The first matching prefix wins. `None`: no key can use the route, whatever its scopes, because its effect outlives the key or is about a
/// person.
const ROUTES: &[(&str, Option<&str>)] = &[
    ("/api/v1/projects", Some("projects")),
    ("/api/v1/tasks", Some("projects")),
    ("/api/v1/auth", None),
    ("/api/v1/tenant/members", None),
    ("/api/v1/tenant/invitations", None),
    ("/api/v1/tenant/workspaces/{workspace}/members", None),
    ("/api/v1/tenant/workspaces", Some("workspaces")),
    ("/api/v1/tenant/leads", Some("leads")),
    ("/api/v1/tenant/suppression-list", Some("leads")),
    ("/api/v1/tenant/templates", Some("templates")),
    ("/api/v1/tenant/campaigns", Some("campaigns")),
    ("/api/v1/tenant/inbox", Some("inbox")),
    ("/api/tenants/{slug}", Some("edge")),
    ("/api/tenants", None),
    ("/api/tenant-setting", Some("settings")),
    ("/api/tenant-api-key", Some("keys")),
    ("/api/tenant/audit-log", Some("audit")),
    ("/api/tenant/cost", Some("usage")),
    ("/api/tenant/export", None),
    ("/api/tenant", Some("tenant")),
    ("/v1/api-keys", Some("keys")),
    ("/v1/billing", Some("usage")),
    ("/v1/contacts", Some("contacts")),
    ("/v1/contact-groups", Some("contacts")),
    ("/v1/messages", Some("messages")),
    ("/v1/phone-lines", Some("lines")),
    ("/v1/campaigns", Some("campaigns")),
    ("/v1/opt-outs", Some("compliance")),
    ("/v1/compliance", Some("compliance")),
    ("/v1/subaccounts", Some("agency")),
    ("/v1/agency", Some("agency")),
    ("/v1/settings/messaging", Some("messages")),
    ("/v1/templates", Some("templates")),
    ("/v1/events", Some("webhooks")),
    ("/v1/webhooks", Some("webhooks")),
];

/// Routes under a prefix above that are still for people only.
const PEOPLE_ONLY: &[(&str, &str)] = &[
    ("DELETE", "/api/tenant"),
    ("DELETE", "/api/tenants/{slug}"),
    ("DELETE", "/api/v1/tenant/workspaces/{workspace}"),
    ("POST", "/api/tenant-api-key/{id}/adopt"),
    ("POST", "/v1/api-keys/{id}/adopt"),
    ("POST", "/v1/subaccounts/{id}/api-keys/{kid}/adopt"),
    ("POST", "/v1/compliance/consent/redact"),
];

/// The highest role that any route of a resource needs, to read and to write. The maker of a key must have it.
const ROLES: &[(&str, Role, Role)] = &[
    ("agency", Role::Owner, Role::Owner),
    ("audit", Role::Admin, Role::Admin),
    ("campaigns", Role::Viewer, Role::Member),
    ("compliance", Role::Admin, Role::Admin),
    ("contacts", Role::Viewer, Role::Member),
    ("edge", Role::Viewer, Role::Admin),
    ("inbox", Role::Viewer, Role::Member),
    ("keys", Role::Owner, Role::Owner),
    ("leads", Role::Viewer, Role::Admin),
    ("lines", Role::Viewer, Role::Admin),
    ("messages", Role::Viewer, Role::Admin),
    ("projects", Role::Viewer, Role::Admin),
    ("settings", Role::Owner, Role::Owner),
    ("templates", Role::Viewer, Role::Member),
    ("tenant", Role::Viewer, Role::Owner),
    ("usage", Role::Admin, Role::Admin),
    ("webhooks", Role::Viewer, Role::Admin),
    ("workspaces", Role::Viewer, Role::Admin),
];

/// One permission of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    resource: &'static str,
    verb: Verb,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verb {
    Read,
    Write,
}

impl Verb {
    const ALL: [Verb; 2] = [Verb::Read, Verb::Write];

    fn name(self) -> &'static str {
        match self {
            Verb::Read => "read",
            Verb::Write => "write",
        }
    }
}

impl Scope {
    /// What an agency's key needs to act for a subaccount, in addition to the scope of the route.
    pub const ACTING_READ: Scope = Scope { resource: "agency", verb: Verb::Read };
    pub const ACTING_WRITE: Scope = Scope { resource: "agency", verb: Verb::Write };

    /// The scope that a key needs for a route. `None` if no key can use it.
    pub fn needed(method: &Method, route: &str) -> Option<Scope> {
        if PEOPLE_ONLY.iter().any(|(verb, path)| method.as_str() == *verb && route == *path) {
            return None;
        }
        let under = |prefix: &str| route.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let resource = ROUTES.iter().find(|(prefix, _)| under(prefix)).and_then(|(_, resource)| *resource)?;
        Some(Scope { resource, verb: if method == Method::GET { Verb::Read } else { Verb::Write } })
    }

    /// The lowest role that allows everything in the scope. A resource that is not listed needs the highest.
    pub fn role(self) -> Role {
        let roles = ROLES.iter().find(|(resource, ..)| *resource == self.resource);
        roles.map_or(Role::Owner, |(_, read, write)| if self.verb == Verb::Read { *read } else { *write })
    }

    /// All scopes.
    pub fn all() -> impl Iterator<Item = Scope> {
        let resources: BTreeSet<&'static str> = ROUTES.iter().filter_map(|(_, resource)| *resource).collect();
        resources.into_iter().flat_map(|resource| Verb::ALL.map(|verb| Scope { resource, verb }))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.resource, self.verb.name())
    }
}

/// What a key may do, as it was requested: `projects:read`, `projects:*`, or `*` for everything, now and later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scopes(BTreeSet<String>);

impl Scopes {
    pub fn everything() -> Self {
        Scopes(BTreeSet::from(["*".to_owned()]))
    }

    /// All words that a set can contain.
    pub fn words_known() -> impl Iterator<Item = String> {
        let resources: BTreeSet<&'static str> = Scope::all().map(|scope| scope.resource).collect();
        let every = std::iter::once("*".to_owned()).chain(resources.into_iter().map(|resource| format!("{resource}:*")));
        every.chain(Scope::all().map(|scope| scope.to_string()))
    }

    /// `Err` with the first word that is not a scope. An empty list is not a set of scopes.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut scopes = BTreeSet::new();
        for word in words {
            if !Scopes::words_known().any(|known| known == word) {
                return Err(word.chars().take(64).collect());
            }
            scopes.insert(word.to_owned());
        }
        if scopes.is_empty() { Err(String::new()) } else { Ok(Scopes(scopes)) }
    }

    pub fn allow(&self, scope: Scope) -> bool {
        self.0.contains("*") || self.0.contains(&format!("{}:*", scope.resource)) || self.0.contains(&scope.to_string())
    }

    /// Whether every scope of `other` is included. A key cannot make a key that may do more than itself.
    pub fn cover(&self, other: &Scopes) -> bool {
        self.0.contains("*") || (!other.0.contains("*") && Scope::all().filter(|scope| other.allow(*scope)).all(|scope| self.allow(scope)))
    }

    /// The lowest role that allows all of it.
    pub fn role(&self) -> Role {
        let asked = Scope::all().filter(|scope| self.allow(*scope)).map(Scope::role);
        if self.0.contains("*") { Role::Owner } else { asked.max().unwrap_or(Role::Owner) }
    }

    pub fn words(&self) -> Vec<String> {
        self.0.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(words: &[&str]) -> Scopes {
        Scopes::parse(words.iter().copied()).unwrap()
    }

    fn needed(method: Method, route: &str) -> Option<String> {
        Scope::needed(&method, route).map(|scope| scope.to_string())
    }

    #[test]
    fn a_routes_scope_is_its_resource_and_whether_it_writes() {
        assert_eq!(needed(Method::GET, "/api/v1/projects/{uuid}/tasks").as_deref(), Some("projects:read"));
        assert_eq!(needed(Method::POST, "/api/v1/tasks/{uuid}/complete").as_deref(), Some("projects:write"));
        assert_eq!(needed(Method::POST, "/api/tenants/{slug}/refresh-cache").as_deref(), Some("edge:write"));
        assert_eq!(needed(Method::GET, "/api/tenant").as_deref(), Some("tenant:read"));
        assert_eq!(needed(Method::GET, "/api/tenant-setting").as_deref(), Some("settings:read"));
        for (method, route) in [
            (Method::DELETE, "/api/tenant"),
            (Method::DELETE, "/api/tenants/{slug}"),
            (Method::GET, "/api/tenant/export"),
            (Method::POST, "/api/tenants"),
            (Method::GET, "/api/v1/tenant/members"),
            (Method::GET, "/api/v1/projectsx"),
            (Method::GET, "/unknown"),
        ] {
            assert_eq!(needed(method.clone(), route), None, "{method} {route}");
        }
    }

    #[test]
    fn scopes_allow_what_they_name() {
        let read = Scope::needed(&Method::GET, "/api/v1/projects").unwrap();
        let write = Scope::needed(&Method::POST, "/api/v1/projects").unwrap();
        assert!(scopes(&["projects:read"]).allow(read) && !scopes(&["projects:read"]).allow(write));
        assert!(scopes(&["projects:write"]).allow(write) && !scopes(&["projects:write"]).allow(read));
        assert!(scopes(&["projects:*"]).allow(read) && scopes(&["*"]).allow(write) && !scopes(&["usage:*"]).allow(read));
        for wrong in ["", "projects", "projects:", "Projects:read", "projects:delete", "**", "projects:read "] {
            assert!(Scopes::parse([wrong]).is_err(), "{wrong}");
        }
        assert!(Scopes::parse([]).is_err());
    }

    #[test]
    fn scopes_ask_for_the_highest_role_among_them() {
        assert_eq!(scopes(&["projects:read"]).role(), Role::Viewer);
        assert_eq!(scopes(&["projects:*", "edge:read"]).role(), Role::Admin);
        assert_eq!(scopes(&["projects:read", "keys:read"]).role(), Role::Owner);
        assert_eq!(scopes(&["*"]).role(), Role::Owner);
        let listed: BTreeSet<&str> = ROLES.iter().map(|(resource, ..)| *resource).collect();
        assert_eq!(listed, Scope::all().map(|scope| scope.resource).collect());
    }

    #[test]
    fn a_set_covers_its_subsets_alone() {
        assert!(scopes(&["*"]).cover(&scopes(&["*"])));
        assert!(scopes(&["projects:*", "keys:write"]).cover(&scopes(&["projects:read", "keys:write"])));
        assert!(scopes(&["projects:read", "projects:write"]).cover(&scopes(&["projects:*"])));
        assert!(!scopes(&["projects:*"]).cover(&scopes(&["*"])));
        assert!(!scopes(&["keys:*"]).cover(&scopes(&["keys:*", "usage:read"])));
        let all: Vec<String> = Scope::all().map(|scope| scope.to_string()).collect();
        // All present scopes together do not include scopes that may be added later.
        assert!(!Scopes::parse(all.iter().map(String::as_str)).unwrap().cover(&Scopes::everything()));
    }
}
