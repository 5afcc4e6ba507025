//! What clients see, to the byte: requests and their answers over every route, compared with the files in tests/it/recorded/.
//! `recorded/walks.rs` has what is asked by hand; what every route must refuse follows from the catalogue. Ids, tokens, cursors and
//! hashes are replaced by a name with a number, in the order in which they appear, so that a file changes only when an answer does.

mod walks;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use shared::http::catalogue::Operation;
use shared::http::form::{ANY_NAME, Described};
use shared::tenancy::Role;
use shared::tenancy::doors::Access;

use crate::derived::root;
use crate::described::route;
use crate::insights::ingest_key;
use crate::world::{Answer, Caller, Request, Settings, Tenant, World, catalogue, claims_of};

/// What begins an entry of a file.
const MARK: &str = "== ";
const NOBODY: &str = "0198c0de-0000-7000-8000-000000000000";
/// What every answer has; an entry says it only where it is otherwise.
const USUAL: [(&str, &str); 3] =
    [("cache-control", "no-store"), ("content-type", "application/json"), ("x-content-type-options", "nosniff")];

/// What is left of the rate limits.
const COUNTS: [&str; 3] = ["ratelimit", "x-ratelimit-remaining", "x-ratelimit-reset"];

/// A tenant with a person of each role, and all that was said.
struct Walk {
    world: World,
    own: Tenant,
    people: BTreeMap<&'static str, Caller>,
    names: Names,
    /// What the paths of the catalogue name here: the beginning of a path, as declared and as it is.
    places: Vec<(&'static str, String)>,
    /// Whether the numbers of the rate limits are kept too. They change with every request that is added before.
    counts: bool,
    succeeded: BTreeSet<String>,
    text: String,
}

impl Walk {
    async fn begin(settings: Settings) -> Self {
        let moment = "2027-03-04T05:06:00Z".parse::<Timestamp>().expect("a moment");
        let world = World::with(Settings { seed: 1, moment: Some(moment), ..settings }).await;
        let own = world.tenant("acme").await;
        let mut names = Names::default();
        names.know(&own.owner.token, "token of the owner");
        names.know(&own.slug, "slug of acme");
        let mut people = BTreeMap::from([("owner", own.owner.clone())]);
        for role in ["viewer", "member", "admin"] {
            let caller = world.member(&own, role).await;
            names.know(&caller.token, &format!("token of the {role}"));
            names.know(&caller.email, &format!("address of the {role}"));
            people.insert(role, caller);
        }
        let places = vec![("/api/tenants/{slug}", format!("/api/tenants/{}", own.slug))];
        Walk { world, own, people, names, places, counts: false, succeeded: BTreeSet::new(), text: String::new() }
    }

    /// A request without a credential: `anonymous("GET /api/v1/projects")`.
    fn anonymous(&self, line: &str) -> Request {
        let (method, path) = line.split_once(' ').expect("a method and a path");
        self.world.request(method_of(method), path)
    }

    fn by(&self, role: &str, line: &str) -> Request {
        self.anonymous(line).token(&self.people[role].token)
    }

    fn owner(&self, line: &str) -> Request {
        self.by("owner", line)
    }

    /// Sends a request and keeps what is said, a second after the one before.
    async fn ask(&mut self, title: &str, request: Request) -> Answer {
        self.world.advance(SignedDuration::from_secs(1));
        let (method, path) = (request.method, request.path.clone());
        let mut asked = format!("{method} {path}\n");
        for (name, value) in &request.headers {
            asked += &format!("{name}: {value}\n");
        }
        if let Some(body) = &request.body {
            asked += &format!("{}\n", shortened(&String::from_utf8_lossy(body)));
        }
        let answer = request.send().await;
        for document in answer.text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            self.names.learn("", &document);
        }
        let asked = self.names.hide(&asked);
        let said = self.names.hide(&said(&answer, self.counts));
        self.text += &format!("{MARK}{title}\n{asked}-- {said}\n");
        if answer.status < 300 || answer.status == 302 {
            self.succeeded.extend(route(&path).map(|route| format!("{method} {route}")));
        }
        answer
    }

    /// The same with a body, as the owner.
    async fn send(&mut self, title: &str, line: &str, body: Value) -> Answer {
        self.ask(title, self.owner(line).json(body)).await
    }

    /// The same without one.
    async fn get(&mut self, title: &str, line: &str) -> Answer {
        self.ask(title, self.owner(line)).await
    }

    /// A declared path with what is there; `nobody`: its last value names nothing.
    fn path(&self, declared: &'static str, nobody: bool) -> String {
        let places = self.places.iter().filter(|(beginning, _)| declared.starts_with(beginning));
        let (beginning, place) = places.max_by_key(|(beginning, _)| beginning.len()).map_or(("", ""), |(from, to)| (*from, to.as_str()));
        let path = format!("{place}{}", &declared[beginning.len()..]);
        assert!(!path.contains('{'), "the walk has no place for {declared}");
        let last = declared.split('/').enumerate().filter(|(_, segment)| segment.starts_with('{')).last();
        let segments = path.split('/').enumerate().map(|(at, segment)| match last {
            Some((index, name)) if nobody && at == index => {
                if name == "{slug}" {
                    "no-such-tenant"
                } else {
                    NOBODY
                }
            }
            _ => segment,
        });
        segments.collect::<Vec<_>>().join("/")
    }

    /// What every route of a function must refuse, from what the catalogue says that it takes.
    async fn refusals(&mut self, function: &str) {
        let document = catalogue().openapi("0.0.0");
        let edge = ingest_key(&self.world).await;
        self.names.know(&edge, "key of the edge");
        for operation in catalogue().operations.into_iter().filter(|operation| operation.function == function) {
            let line = |path: &str| format!("{} {path}", operation.method);
            let example = &document["paths"][operation.path][operation.method.as_str().to_ascii_lowercase()]["requestBody"]["content"]["application/json"]
                ["example"];
            let path = self.path(operation.path, false);
            let title = |what: &str| format!("{}: {what}", operation.id);
            let allowed = |walk: &Walk, path: &str| match operation.access {
                Access::Open { .. } | Access::Recipient => walk.anonymous(&line(path)),
                Access::Edge => walk.anonymous(&line(path)).header("x-ingest-key", &edge),
                _ => walk.owner(&line(path)),
            };
            if !matches!(operation.access, Access::Open { .. } | Access::Recipient) {
                self.ask(&title("without a credential"), self.anonymous(&line(&path))).await;
            }
            if let Some(role) = role_below(&operation) {
                self.ask(&title("with a role too small"), self.by(role, &line(&path))).await;
            }
            if operation.path.contains('{') {
                let request = allowed(self, &self.path(operation.path, true));
                let request = if example.is_null() { request } else { request.json(example.clone()) };
                self.ask(&title("of what is not there"), request).await;
            }
            for (what, body) in wrong_bodies(&operation, example) {
                self.ask(&title(what), allowed(self, &path).raw(body.as_bytes())).await;
            }
            for (what, query) in wrong_queries(&operation) {
                self.ask(&title(what), allowed(self, &format!("{path}?{query}"))).await;
            }
        }
    }

    /// Compares with the file, or writes it anew with UPDATE_RECORDED=1.
    #[track_caller]
    fn end(self, name: &str) {
        let path = root().join(format!("tests/it/recorded/{name}.txt"));
        if std::env::var_os("UPDATE_RECORDED").is_some_and(|value| value == "1") {
            std::fs::write(&path, &self.text).expect("the file can be written");
        }
        // What a gateway signs is asked in tests/it/messages.rs: its signature says when.
        let is_here = |operation: &&Operation| operation.function == name && operation.access != Access::Gateway;
        let all: BTreeSet<String> = catalogue().operations.iter().filter(is_here).map(Operation::name).collect();
        let missing: Vec<&String> = all.difference(&self.succeeded).collect();
        assert!(missing.is_empty(), "tests/it/recorded/walks.rs has no request that succeeds: {missing:?}");
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        if let Some((number, kept, got)) = first_difference(&kept, &self.text) {
            panic!(
                "{name}.txt: entry {number} is another.\n\nexpected:\n{kept}\ngot:\n{got}\nIf clients are meant to see this, run \
                 `UPDATE_RECORDED=1 cargo test --test it recorded::` and review the diff of the file."
            );
        }
    }
}

/// What a client sees of an answer. Length and id of the request are as they must be, or this fails.
fn said(answer: &Answer, counts: bool) -> String {
    let mut lines = format!("{}\n", answer.status);
    let id = answer.header("x-request-id");
    assert!(!id.is_empty(), "no request id: {}", answer.text);
    assert!(
        matches!(answer.header("content-length").parse::<usize>().ok(), None | Some(0))
            || answer.header("content-type") == "image/gif"
            || answer.header("content-length") == answer.text.len().to_string()
    );
    for (name, value) in USUAL.iter().filter(|(name, _)| !answer.headers.contains_key(*name)) {
        lines += &format!("{name}: none instead of {value}\n");
    }
    let mut headers: Vec<(&str, &str)> =
        answer.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("a header is text"))).collect();
    headers.sort_unstable();
    headers.retain(|(name, _)| !matches!(*name, "content-length" | "x-request-id"));
    if !counts {
        let before = headers.len();
        headers.retain(|(name, _)| !COUNTS.contains(name));
        let policy = answer.headers.contains_key("ratelimit-policy");
        assert_eq!(before - headers.len(), if policy { COUNTS.len() } else { 0 }, "a policy comes with its counts: {:?}", answer.headers);
    }
    for header in headers.iter().filter(|header| !USUAL.contains(header)) {
        lines += &format!("{}: {}\n", header.0, header.1);
    }
    let text = match answer.header("content-type") {
        "application/x-ndjson" => sorted(&answer.text),
        "image/gif" => "an image".to_owned(),
        _ => answer.text.clone(),
    };
    if !text.is_empty() {
        lines += &format!("{}\n", text.replace(&format!("\"{id}\""), "\"<request>\""));
    }
    lines
}

/// The export shows an item's fields in the order in which the table gives them, which is none.
fn sorted(lines: &str) -> String {
    let line = |line: &str| {
        let mut document: Value = serde_json::from_str(line).expect("a JSON document a line");
        document.sort_all_objects();
        document.to_string() + "\n"
    };
    lines.lines().map(line).collect()
}

/// The first entry that two files do not have alike.
fn first_difference<'a>(kept: &'a str, got: &'a str) -> Option<(usize, &'a str, &'a str)> {
    let entries = |text: &'a str| -> Vec<&'a str> {
        let mut starts: Vec<usize> =
            text.match_indices(MARK).map(|(at, _)| at).filter(|at| *at == 0 || text[..*at].ends_with('\n')).collect();
        starts.push(text.len());
        starts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
    };
    let (kept, got) = (entries(kept), entries(got));
    let at = (0..kept.len().max(got.len())).find(|at| kept.get(*at) != got.get(*at))?;
    let shown = |entries: &[&'a str]| entries.get(at).copied().unwrap_or("nothing: the other goes on\n");
    Some((at + 1, shown(&kept), shown(&got)))
}

// ---------------------------------------------------------------- what the catalogue says must be refused

fn role_below(operation: &Operation) -> Option<&'static str> {
    match operation.access {
        Access::AtLeast(Role::Owner) | Access::InWorkspace(Role::Owner) => Some("admin"),
        Access::AtLeast(Role::Admin) | Access::InWorkspace(Role::Admin) => Some("member"),
        Access::AtLeast(Role::Member) | Access::InWorkspace(Role::Member) => Some("viewer"),
        _ => None,
    }
}

fn wrong_bodies(operation: &Operation, example: &Value) -> Vec<(&'static str, String)> {
    let fields: Vec<&Described> = operation.body.iter().filter(|field| field.name != ANY_NAME).collect();
    if fields.is_empty() {
        return vec![];
    }
    let filled = |value: fn(&Value) -> Option<Value>| -> Map<String, Value> {
        let mut body = example.as_object().cloned().unwrap_or_default();
        body.extend(fields.iter().filter_map(|field| Some((field.name.to_owned(), value(&field.schema)?))));
        body
    };
    let mut unknown = example.clone();
    for name in ["no_such_field", "id", "tenant_id", "created_at"] {
        unknown[name] = json!("x");
    }
    vec![
        ("an empty object", "{}".to_owned()),
        ("a list", "[]".to_owned()),
        ("no JSON", r#"{"name": "#.to_owned()),
        ("every field of a wrong type", json!(filled(|schema| Some(of_another_type(schema)))).to_string()),
        ("every field beyond its bounds", json!(filled(beyond)).to_string()),
        ("fields that are unknown or the server's", unknown.to_string()),
    ]
}

fn wrong_queries(operation: &Operation) -> Vec<(&'static str, String)> {
    if operation.query.is_empty() {
        return vec![];
    }
    let fields = operation.query.iter().filter(|field| field.name != "cursor");
    let wrong: Vec<String> = fields
        .map(|field| match beyond(&field.schema) {
            Some(Value::String(text)) => format!("{}={text}", field.name),
            Some(value) => format!("{}={value}", field.name),
            None => format!("{}=maybe", field.name),
        })
        .collect();
    let mut queries = vec![("an unknown parameter", "no_such_parameter=1".to_owned())];
    if !wrong.is_empty() {
        queries.push(("every parameter beyond its bounds", wrong.join("&")));
    }
    if operation.query.iter().any(|field| field.name == "cursor") {
        queries.push(("a cursor that is none", "cursor=bm8gY3Vyc29y".to_owned()));
    }
    queries
}

fn of_another_type(schema: &Value) -> Value {
    match schema["type"].as_str() {
        Some("string") => json!(7),
        Some("object") => json!([]),
        _ => json!("x"),
    }
}

/// A value of the right type that is too much.
fn beyond(schema: &Value) -> Option<Value> {
    match schema["type"].as_str()? {
        "string" => {
            let most = schema["maxLength"].as_u64().unwrap_or(300);
            Some(json!("n".repeat(usize::try_from(most).ok()? + 1)))
        }
        "integer" => schema["maximum"].as_i64().and_then(|most| most.checked_add(1)).map(|number| json!(number)),
        _ => None,
    }
}

fn method_of(name: &str) -> &'static str {
    ["GET", "POST", "PUT", "PATCH", "DELETE"].into_iter().find(|known| *known == name).expect("a known method")
}

/// A text in which what is repeated often is said once: `n×256`.
fn shortened(text: &str) -> String {
    let mut short = String::new();
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        let mut times = 1;
        while rest.next_if_eq(&character).is_some() {
            times += 1;
        }
        match times {
            0..40 => short.extend(std::iter::repeat_n(character, times)),
            _ => short += &format!("{character}×{times}"),
        }
    }
    short
}

// ---------------------------------------------------------------- what is another in every run

/// Names for what randomness makes.
#[derive(Default)]
struct Names {
    known: Vec<(String, String)>,
    /// By kind, in the order of first sight.
    seen: BTreeMap<&'static str, Vec<String>>,
}

impl Names {
    /// A text that is hidden wherever it stands.
    fn know(&mut self, text: &str, name: &str) {
        if self.known.iter().any(|(known, _)| known == text) {
            return;
        }
        self.known.push((text.to_owned(), format!("<{name}>")));
        // What contains another is replaced first.
        self.known.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
    }

    /// What is random and does not look so, by the field that it stands in.
    fn learn(&mut self, field: &str, value: &Value) {
        match value {
            Value::String(text) => {
                if let Some(kind) = random_field(field, text) {
                    let name = self.name(kind, text);
                    self.know(text, name.trim_matches(['<', '>']));
                }
            }
            Value::Array(values) => values.iter().for_each(|value| self.learn(field, value)),
            Value::Object(fields) => fields.iter().for_each(|(field, value)| self.learn(field, value)),
            _ => {}
        }
    }

    fn hide(&mut self, text: &str) -> String {
        let mut text = shortened(text);
        for (known, name) in &self.known {
            text = text.replace(known, name);
        }
        let mut hidden = String::new();
        let mut rest = text.as_str();
        while let Some(first) = rest.chars().next() {
            let word = word_of(rest);
            let taken = if word.is_empty() { first.len_utf8() } else { word.len() };
            match self.named(word) {
                Some(name) => hidden += &name,
                None => hidden += &rest[..taken],
            }
            rest = &rest[taken..];
        }
        hidden
    }

    fn named(&mut self, word: &str) -> Option<String> {
        if word.starts_with("eyJ") && word.contains('.') {
            return Some(self.name("token", word));
        }
        if word.starts_with("tf_live_") || word.starts_with("tf_test_") {
            return Some(self.name(if word.len() == 69 { "API key" } else { "start of an API key" }, word));
        }
        if is_uuid(word) {
            return Some(self.name("id", &word.replace('-', "")));
        }
        // `key_` and the like before the same id.
        if let Some((prefix, id)) = word.rsplit_once('_')
            && is_hex(id, 32)
        {
            return Some(format!("{prefix}_{}", self.name("id", id)));
        }
        if is_hex(word, 16) {
            return Some(self.name("hex", word));
        }
        let has = |is: fn(&u8) -> bool| word.bytes().any(|byte| is(&byte));
        let is_mixed = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase);
        let is_random = is_mixed && (word.len() >= 40 || word.len() >= 22 && has(u8::is_ascii_digit));
        is_random.then(|| self.name("secret", word))
    }

    fn name(&mut self, kind: &'static str, value: &str) -> String {
        let seen = self.seen.entry(kind).or_default();
        let at = seen.iter().position(|known| known == value).unwrap_or_else(|| {
            seen.push(value.to_owned());
            seen.len() - 1
        });
        format!("<{kind} {}>", at + 1)
    }
}

/// The kind of what a field holds, where that is random.
fn random_field(field: &str, text: &str) -> Option<&'static str> {
    let has_digit = |text: &str| text.bytes().any(|byte| byte.is_ascii_digit());
    match field {
        "password" => Some("password"),
        "beforeHash" | "afterHash" => Some("hash"),
        "key_hint" => Some("end of an API key"),
        "slug" | "tenant_slug" if text.rsplit('-').next().is_some_and(|end| end.len() >= 6 && has_digit(end)) => Some("slug"),
        "id" if text.len() < 32 && has_digit(text) && text.bytes().any(|byte| byte.is_ascii_uppercase()) => Some("entry"),
        _ => None,
    }
}

/// The letters, digits, hyphens, underscores and, in a token, dots that a text begins with.
fn word_of(text: &str) -> &str {
    let is_token = text.starts_with("eyJ");
    let end =
        text.find(|character: char| !(character.is_ascii_alphanumeric() || matches!(character, '-' | '_') || is_token && character == '.'));
    &text[..end.unwrap_or(text.len())]
}

fn is_uuid(word: &str) -> bool {
    word.len() == 36 && word.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && is_hex(&word.replace('-', ""), 32)
}

/// Sixteen digits are a number.
fn is_hex(word: &str, least: usize) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase();
    word.len() >= least && word.bytes().all(is_digit) && !word.bytes().all(|byte| byte.is_ascii_digit())
}

#[test]
fn a_difference_is_found_and_names_are_stable() {
    assert_eq!(first_difference("== a\n1\n== b\n2\n", "== a\n1\n== b\n3\n"), Some((2, "== b\n2\n", "== b\n3\n")));
    assert_eq!(first_difference("== a\n1\n", "== a\n1\n"), None);
    assert_eq!(first_difference("== a\n1\n", "== a\n1\n== b\n").map(|(entry, ..)| entry), Some(2));
    let mut names = Names::default();
    names.know("acme-x1y2z3", "slug");
    let text = "key_0198c0de000070008000000000000000 0198c0de-0000-7000-8000-000000000000 eyJh.eyJi.x acme-x1y2z3";
    assert_eq!(names.hide(text), "key_<id 1> <id 1> <token 1> <slug>");
    assert_eq!(
        names.hide("NOT_FOUND 2027-03-04T05:06:07.000Z \"1.0.0\" api-auth-forgot"),
        "NOT_FOUND 2027-03-04T05:06:07.000Z \"1.0.0\" api-auth-forgot"
    );
    assert_eq!(shortened(&"n".repeat(256)), "n×256");
}
