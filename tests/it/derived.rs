//! What is derived from the declared routes: the API reference, the role matrix, the routes of gateway and watcher. Checked in, so that a change shows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use shared::error::Lack;
use shared::http::status::CODES;
use shared::store::Nested;
use shared::tenancy::doors::Access;
use shared::tenancy::{Role, Scope};
use stack::template::{Route, Template};

use crate::world::catalogue;

#[test]
fn the_api_reference_is_the_routes() {
    let text = serde_json::to_string_pretty(&in_order(catalogue().openapi(env!("CARGO_PKG_VERSION")))).expect("JSON") + "\n";
    compare(&root().join("openapi.json"), &text);
}

#[test]
fn the_role_matrix_is_the_reviewed_one() {
    compare(&root().join("tests/it/roles.txt"), &catalogue().role_matrix());
}

/// Each collection of a tenant is one of the table's parts, and has a line there.
#[test]
fn the_description_of_the_table_names_every_collection() {
    fn names<'a>(nested: &'a [Nested], all: &mut BTreeSet<&'a str>) {
        for one in nested {
            all.insert(one.name);
            names(one.nested(), all);
        }
    }
    let text = std::fs::read_to_string(root().join("docs/table.md")).expect("docs/table.md");
    let branches = records::ALL.of_tenant();
    let mut all: BTreeSet<&str> = branches.iter().map(|branch| branch.name).collect();
    branches.iter().for_each(|branch| names(&branch.nested, &mut all));
    let lines = |name: &str| text.contains(&format!("`{name}`")) || text.contains(&format!("`{name}#"));
    // The log of the edge has a collection for each month of a year.
    let missing: Vec<&str> = all.into_iter().filter(|name| !lines(name) && !name.starts_with("edge-logs-")).collect();
    assert!(missing.is_empty(), "docs/table.md has no line for {missing:?}");
}

/// A key is inactive if its maker's role is lower than this.
#[test]
fn a_scope_asks_for_the_highest_role_of_its_routes() {
    let mut highest: BTreeMap<Scope, Role> = BTreeMap::new();
    for operation in catalogue().operations {
        if let (Access::AtLeast(role) | Access::InWorkspace(role), Some(scope)) = (operation.access, operation.scope()) {
            let known = highest.entry(scope).or_insert(role);
            *known = role.max(*known);
        }
    }
    assert!(highest.len() > 10);
    for (scope, role) in highest {
        assert_eq!(scope.role(), role, "{scope}");
    }
}

#[test]
fn the_api_reference_is_a_sound_openapi_document() {
    let document = catalogue().openapi("0.0.0");
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1.")));
    let mut ids = BTreeSet::new();
    let mut operations = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let named: BTreeSet<&str> = path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}')).collect();
        for (method, operation) in methods.as_object().expect("methods") {
            operations += 1;
            let id = operation["operationId"].as_str().expect("an operationId");
            assert!(ids.insert(id.to_owned()), "{id} names two operations");
            let mut parameters = BTreeSet::new();
            let mut in_path = BTreeSet::new();
            for parameter in operation["parameters"].as_array().expect("parameters") {
                let parameter = resolved(&document, parameter);
                let (name, place) = (parameter["name"].as_str().expect("a name"), parameter["in"].as_str().expect("a place"));
                assert!(parameters.insert((name, place)), "{method} {path} declares {name} twice");
                assert!(parameter["schema"].is_object(), "{method} {path}: {name} has no schema");
                if place == "path" {
                    assert_eq!(parameter["required"], true, "{method} {path}: {name}");
                    in_path.insert(name);
                }
            }
            assert_eq!(in_path, named, "{method} {path}");
            let responses = operation["responses"].as_object().expect("responses");
            assert!(responses.keys().any(|status| status.starts_with('2') || status == "302"), "{method} {path} succeeds with nothing");
            assert!(
                responses.values().all(|response| response["description"].is_string() || response["$ref"].is_string()),
                "{method} {path}"
            );
            assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{method} {path} has no summary");
            let scheme = operation["security"][0].as_object().and_then(|schemes| schemes.keys().next().cloned());
            assert!(scheme.is_none_or(|scheme| document["components"]["securitySchemes"][scheme].is_object()), "{method} {path}");
            assert_eq!(
                operation["security"] != serde_json::json!([]),
                responses.contains_key("401"),
                "{method} {path}: security and 401 go together"
            );
        }
    }
    assert_eq!(operations, catalogue().operations.len(), "two routes share method and path");
    let mut references = vec![];
    references_in(&document, &mut references);
    assert!(references.len() > 100, "{}", references.len());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leaves the document"));
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

#[test]
fn every_body_and_answer_is_a_named_schema_in_words_of_the_reader() {
    let document = catalogue().openapi("0.0.0");
    let mut named = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let id = operation["operationId"].as_str().expect("an operationId");
            assert!(id.starts_with(|c: char| c.is_ascii_lowercase()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
            let tag = operation["tags"][0].as_str().expect("a tag");
            assert!(document["tags"].as_array().is_some_and(|tags| tags.iter().any(|known| known["name"] == tag)), "{id}: {tag}");
            let bodies = operation.get("requestBody").into_iter();
            let answers = operation["responses"].as_object().expect("responses").values().map(|response| resolved(&document, response));
            for content in bodies.chain(answers).filter_map(|place| place["content"].as_object()).flat_map(|kinds| kinds.values()) {
                assert!(content["schema"]["$ref"].is_string(), "{method} {path} has a schema without a name: {}", content["schema"]);
                named += 1;
            }
            let in_path = operation["parameters"].as_array().into_iter().flatten().filter(|parameter| parameter["in"] == "path");
            for parameter in in_path {
                let schema = &parameter["schema"];
                let is_told = !schema["format"].is_null() || !schema["pattern"].is_null() || schema["type"] == "integer";
                assert!(is_told || parameter["name"] == "slug", "{method} {path}: nobody knows what {} looks like", parameter["name"]);
            }
        }
    }
    assert!(named > 150, "{named}");
    let text = document.to_string();
    let is_ours = |word: &str| matches!(word, "F0" | "F1" | "F2" | "F3" | "F4" | "family" | "families");
    let ours: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| is_ours(word)).collect();
    assert!(ours.is_empty(), "the API reference speaks of {ours:?}, which its readers do not know");
}

#[test]
fn every_code_of_an_error_is_registered_once() {
    let codes: BTreeSet<&str> = CODES.iter().map(|(code, ..)| *code).collect();
    assert_eq!(codes.len(), CODES.len());
    let meanings: BTreeSet<&str> = CODES.iter().map(|(.., meaning)| *meaning).collect();
    assert_eq!(meanings.len(), CODES.len(), "two codes say the same");
    for (code, _, meaning) in CODES {
        assert!(code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'), "{code}");
        assert!(!meaning.is_empty() && !meaning.ends_with('.'), "{code}: {meaning}");
    }
    // Every code in the source is in the registry.
    let source = std::fs::read_to_string(root().join("shared/src/http/status.rs")).expect("status.rs");
    let table =
        source.split("pub fn entry").nth(1).and_then(|rest| rest.split("(status, Code(code))").next()).expect("the table of errors");
    let given = table.split("=> (").skip(1).filter_map(|rest| rest.split_once(')')?.0.split_once(", "));
    let mut used: BTreeSet<(&str, u16)> = given
        .filter(|(_, code)| code.starts_with('"'))
        .filter_map(|(status, code)| Some((code.trim_matches('"'), status.parse().ok()?)))
        .collect();
    // What a campaign lacks has a code of its own.
    used.extend(Lack::ALL.iter().map(|lack| (lack.code(), 409)));
    let registered: BTreeSet<(&str, u16)> =
        CODES.iter().flat_map(|(code, statuses, _)| statuses.iter().map(move |status| (*code, *status))).collect();
    assert_eq!(used, registered, "the registry and the table of errors differ");
}

#[test]
fn every_route_is_reached_through_the_gateway_in_its_own_function() {
    let gateway = template().routes().expect("routes");
    let local: Vec<Route> = local_router()
        .into_iter()
        .filter(|(path, _)| !matches!(path.as_str(), "/" | "/{*unknown}"))
        .map(|(path, function)| Route { function, method: "ANY".into(), path })
        .collect();
    for operation in catalogue().operations {
        let path = a_path_of(operation.path);
        for (routes, place) in [(&gateway, "on AWS"), (&local, "locally")] {
            let route = Route::closest(routes, &path);
            assert_eq!(route.map(|route| route.function.as_str()), Some(operation.function), "{} {place}", operation.name());
        }
    }
}

#[test]
fn the_gateway_and_the_local_router_have_the_same_routes() {
    let mut gateway = BTreeMap::new();
    for route in template().routes().expect("routes") {
        assert_eq!(route.method, "ANY", "{}: functions answer 405 themselves", route.path);
        let paths = match route.path.as_str() {
            "$default" => vec!["/".to_owned(), "/{*unknown}".to_owned()],
            path => vec![path.replace("{proxy+}", "{*proxy}")],
        };
        for path in paths {
            assert!(gateway.insert(path.clone(), route.function.clone()).is_none(), "{path} twice");
        }
    }
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let (before, rest) = manifest.split_once(WATCH_ROUTER).expect("the router");
    let after = rest.split_once("\n\n").map_or("", |(_, after)| after);
    let lines: Vec<String> = gateway.iter().map(|(path, function)| format!("\"{path}\" = \"{function}\"")).collect();
    compare(&root().join("Cargo.toml"), &format!("{before}{WATCH_ROUTER}\n{}\n\n{after}", lines.join("\n")));
    assert_eq!(gateway["/{*unknown}"], "auth");
}

#[test]
fn every_route_of_the_gateway_leads_to_an_operation() {
    for route in template().routes().expect("routes") {
        if route.path == "$default" {
            continue;
        }
        let leads = catalogue()
            .operations
            .iter()
            .any(|operation| operation.function == route.function && route.fit(&a_path_of(operation.path)).is_some());
        assert!(leads, "{} of {} leads to nothing", route.path, route.function);
    }
}

pub fn template() -> Template {
    let template = Template::load(root().join("template.yaml")).expect("template.yaml can be read");
    template
        .with_parameter("PublicUrl", "https://api.example.com")
        .with_parameter("MailFrom", "no-reply@example.com")
        .with_parameter("MailIdentity", "example.com")
}

/// The folder of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace").to_owned()
}

/// The checked-in text, or, with UPDATE_DERIVED=1, the new one.
fn compare(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_DERIVED").is_some_and(|value| value == "1") {
        std::fs::write(path, text).expect("the file can be written");
        return;
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    let name = path.strip_prefix(root()).unwrap_or(path).display();
    let difference = kept.lines().zip(text.lines()).enumerate().find(|(_, (kept, derived))| kept != derived);
    let difference =
        difference.map_or("one is longer".to_owned(), |(line, (kept, derived))| format!("line {}: {kept:?} became {derived:?}", line + 1));
    assert!(
        kept == text,
        "{name} is not what the routes say ({difference}). If the change is meant, run `UPDATE_DERIVED=1 cargo test --test it derived` and review the file's diff"
    );
}

const WATCH_ROUTER: &str = "[workspace.metadata.lambda.watch.router]";

/// That section of Cargo.toml: lines of `"path" = "function"`.
fn local_router() -> BTreeMap<String, String> {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let section = manifest.split(WATCH_ROUTER).nth(1).expect("the router");
    let lines = section.lines().skip(1).take_while(|line| !line.starts_with('[')).filter(|line| line.starts_with('"'));
    lines
        .map(|line| {
            let (path, function) = line.split_once(" = ").expect("path and function");
            (path.trim_matches('"').to_owned(), function.trim().trim_matches('"').to_owned())
        })
        .collect()
}

/// A path that matches a route's pattern.
fn a_path_of(pattern: &str) -> String {
    let path: Vec<&str> = pattern.split('/').map(|segment| if segment.starts_with('{') { "x" } else { segment }).collect();
    path.join("/")
}

/// With the members of every object in alphabetical order, because builds may keep them in different orders.
fn in_order(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            object.into_iter().map(|(name, value)| (name, in_order(value))).collect::<BTreeMap<_, _>>().into_iter().collect()
        }
        Value::Array(items) => items.into_iter().map(in_order).collect(),
        other => other,
    }
}

/// The target of a reference, or the value itself.
pub fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) {
        Some(pointer) => document.pointer(pointer).unwrap_or_else(|| panic!("{pointer} leads nowhere")),
        None => value,
    }
}

fn references_in<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(object) => {
            found.extend(object.get("$ref").and_then(Value::as_str));
            object.values().for_each(|value| references_in(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references_in(value, found)),
        _ => {}
    }
}
