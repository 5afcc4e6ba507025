//! What is asked by hand, a walk a function: everything that succeeds, and the refusals that need a story.

use jiff::SignedDuration;
use serde_json::{Value, json};
use shared::model::mail_ref::LinkKind;
use stack::sources::Invoke as _;

use super::{Walk, catalogue, claims_of};
use crate::compliance::anchors::anchored_next_day;
use crate::dns::Server;
use crate::insights::ingest_key;
use crate::isolation::{suspected, thread};
use crate::links::{link_of, mail_to};
use crate::workers::{Workers, drain};
use crate::world::{Answer, Settings, id};

const FUNCTIONS: [&str; 16] = [
    "auth",
    "projects",
    "tenants",
    "keys",
    "insights",
    "agency",
    "workspaces",
    "audience",
    "contacts",
    "templates",
    "campaigns",
    "inbox",
    "messages",
    "compliance",
    "webhooks",
    "links",
];

#[test]
fn every_function_has_a_walk() {
    let without: Vec<String> = catalogue()
        .operations
        .iter()
        .filter(|operation| !FUNCTIONS.contains(&operation.function))
        .map(|operation| format!("{} of {}", operation.name(), operation.function))
        .collect();
    assert!(without.is_empty(), "a walk in tests/it/recorded/walks.rs is missing: {without:?}");
}

// ---------------------------------------------------------------- auth

#[tokio::test]
async fn auth() {
    let mut walk = Walk::begin(Settings::default()).await;
    sign_in(&mut walk).await;
    sessions(&mut walk).await;
    accounts(&mut walk).await;
    members(&mut walk).await;
    invitations(&mut walk).await;
    demos(&mut walk).await;
    any_route(&mut walk).await;
    walk.refusals("auth").await;
    walk.end("auth");
}

async fn sign_in(walk: &mut Walk) {
    walk.ask("the public keys", walk.anonymous("GET /.well-known/jwks.json")).await;
    let login = |walk: &Walk, body: Value| walk.anonymous("POST /api/v1/auth/login").json(body);
    let (email, password) = (walk.own.owner.email.clone(), "correct horse");
    walk.ask("a login", login(walk, json!({"email": email, "password": password, "device_name": "laptop"}))).await;
    walk.ask("a login with an address in capitals", login(walk, json!({"email": email.to_uppercase(), "password": password}))).await;
    walk.ask("a wrong password", login(walk, json!({"email": email, "password": "incorrect"}))).await;
    walk.ask("an address that nobody has", login(walk, json!({"email": "nobody@example.com", "password": "incorrect"}))).await;
    walk.get("who am I", "GET /api/v1/auth/me").await;
    walk.ask("who am I, as a member", walk.by("member", "GET /api/v1/auth/me")).await;
}

async fn sessions(walk: &mut Walk) {
    let sessions = "GET /api/v1/auth/sessions";
    let first = walk.get("the sessions, one a page", &format!("{sessions}?per_page=1")).await;
    walk.get("the next page", &format!("{sessions}?per_page=1&cursor={}", cursor(&first))).await;
    walk.get("the second page by its number", &format!("{sessions}?per_page=1&page=2")).await;
    walk.get("a page beyond the last", &format!("{sessions}?page=9")).await;
    let other = walk.world.login(&walk.own.owner.email, "correct horse").await;
    let session = claims_of(&other.token)["sid"].as_str().expect("a session").to_owned();
    walk.get("another session is ended", &format!("DELETE /api/v1/auth/sessions/{session}")).await;
    walk.get("it is gone", &format!("DELETE /api/v1/auth/sessions/{session}")).await;
    walk.ask("its token is worth nothing", walk.anonymous("GET /api/v1/auth/me").token(&other.token)).await;
    walk.get("all others are ended", "DELETE /api/v1/auth/sessions").await;
    let other = walk.world.login(&walk.own.owner.email, "correct horse").await;
    walk.ask("a logout", walk.anonymous("POST /api/v1/auth/logout").token(&other.token)).await;
    walk.ask("after the logout", walk.anonymous("POST /api/v1/auth/logout").token(&other.token)).await;
    walk.places.push(("/api/v1/auth/sessions/{id}", format!("/api/v1/auth/sessions/{session}")));
}

async fn accounts(walk: &mut Walk) {
    let registration = json!({"name": "Una", "email": "una@example.com", "password": "correct horse", "company_name": "Una & Co"});
    walk.ask("a registration", walk.anonymous("POST /api/v1/auth/register").json(registration.clone())).await;
    walk.ask("the same again", walk.anonymous("POST /api/v1/auth/register").json(registration)).await;
    let login = json!({"email": "una@example.com", "password": "correct horse"});
    walk.ask("a login before the address is verified", walk.anonymous("POST /api/v1/auth/login").json(login.clone())).await;
    let verify = json!({"token": walk.world.link_token("una@example.com"), "password": "correct horse"});
    walk.ask("the link of the mail", walk.anonymous("POST /api/v1/auth/verify-email").json(verify.clone())).await;
    walk.ask("the link once more", walk.anonymous("POST /api/v1/auth/verify-email").json(verify)).await;
    for (title, email) in [("a password is forgotten", "una@example.com"), ("the password of nobody", "nobody@example.com")] {
        walk.ask(title, walk.anonymous("POST /api/v1/auth/forgot-password").json(json!({"email": email}))).await;
    }
    let reset = json!({"token": walk.world.link_token("una@example.com"), "password": "another horse"});
    walk.ask("a new password", walk.anonymous("POST /api/v1/auth/reset-password").json(reset.clone())).await;
    walk.ask("the link of the password once more", walk.anonymous("POST /api/v1/auth/reset-password").json(reset)).await;
    walk.ask("the old password", walk.anonymous("POST /api/v1/auth/login").json(login)).await;
}

async fn members(walk: &mut Walk) {
    let members = "/api/v1/tenant/members";
    walk.get("all members", &format!("GET {members}")).await;
    let first = walk.get("members, two a page", &format!("GET {members}?limit=2")).await;
    walk.get("the next two", &format!("GET {members}?limit=2&cursor={}", cursor(&first))).await;
    walk.get("members from the third", &format!("GET {members}?limit=2&offset=2")).await;
    let (owner, admin) = (walk.own.owner.id, walk.people["admin"].id);
    let gone = walk.world.member(&walk.own, "viewer").await;
    walk.names.know(&gone.email, "address of another viewer");
    let member = format!("{members}/{}", gone.id);
    walk.send("a viewer becomes a member", &format!("PUT {member}"), json!({"role": "member"})).await;
    walk.send("a role that there is not", &format!("PUT {member}"), json!({"role": "king"})).await;
    walk.send("the last owner stays one", &format!("PUT {members}/{owner}"), json!({"role": "member"})).await;
    walk.get("the last owner stays", &format!("DELETE {members}/{owner}")).await;
    let promotion = walk.by("admin", &format!("PUT {members}/{admin}")).json(json!({"role": "owner"}));
    walk.ask("an admin makes no owner", promotion).await;
    walk.get("a member is removed", &format!("DELETE {member}")).await;
    walk.get("the member is gone", &format!("DELETE {member}")).await;
    walk.places.push(("/api/v1/tenant/members/{id}", format!("{members}/{}", walk.people["viewer"].id)));
}

async fn invitations(walk: &mut Walk) {
    let invitations = "/api/v1/tenant/invitations";
    let invite = format!("POST {invitations}");
    let made = walk.send("an invitation", &invite, json!({"email": "ida@example.com", "role": "admin"})).await.expect(201);
    walk.send("an address is invited once at a time", &invite, json!({"email": "ida@example.com"})).await;
    walk.send("a member is not invited", &invite, json!({"email": walk.own.owner.email})).await;
    walk.ask("an admin invites no owner", walk.by("admin", &invite).json(json!({"email": "eve@example.com", "role": "owner"}))).await;
    walk.send("an invitation without a role", &invite, json!({"email": "max@example.com"})).await;
    let first = walk.get("invitations, one a page", &format!("GET {invitations}?limit=1")).await;
    walk.get("the next one", &format!("GET {invitations}?limit=1&cursor={}", cursor(&first))).await;
    walk.get("invitations from the second", &format!("GET {invitations}?limit=1&offset=1")).await;
    let accept = json!({"token": walk.world.link_token("max@example.com"), "name": "Max", "password": "correct horse"});
    walk.ask("an invitation is accepted", walk.anonymous("POST /api/v1/auth/accept-invitation").json(accept.clone())).await;
    walk.ask("and once more", walk.anonymous("POST /api/v1/auth/accept-invitation").json(accept)).await;
    let invitation = format!("{invitations}/{}", id(&made.json()["data"]));
    walk.get("an invitation is revoked", &format!("DELETE {invitation}")).await;
    walk.get("the invitation is gone", &format!("DELETE {invitation}")).await;
    walk.places.push(("/api/v1/tenant/invitations/{id}", invitation));
}

async fn demos(walk: &mut Walk) {
    let body = json!({"name": "Visitor", "email": "visitor@example.com", "company_name": "Visiting"});
    let demo = walk.ask("a demo", walk.anonymous("POST /api/v1/demo").json(body)).await.json()["data"].clone();
    let login = json!({"email": "visitor@example.com", "password": demo["password"]});
    let token = walk.ask("a login to a demo", walk.anonymous("POST /api/v1/auth/login").json(login)).await.json()["data"]["token"].clone();
    let invite = walk.anonymous("POST /api/v1/tenant/invitations").token(token.as_str().expect("a token"));
    walk.ask("a demo invites nobody", invite.json(json!({"email": "ida@example.com"}))).await;
}

/// What every route does alike.
async fn any_route(walk: &mut Walk) {
    let me = "GET /api/v1/auth/me";
    walk.get("a path that there is not", "GET /api/v1/nothing").await;
    walk.get("a method that a path does not take", &format!("PATCH {}", "/api/v1/auth/me")).await;
    walk.ask("a credential of another kind", walk.anonymous(me).header("authorization", "Basic YTpi")).await;
    walk.ask("a token that is none", walk.anonymous(me).token("eyJhbGciOiJFUzI1NiJ9.e30.AAAA")).await;
    walk.ask("a key that is none", walk.anonymous(me).header("x-api-key", "tf_live_nothing")).await;
    walk.ask("a tenant by its slug", walk.owner(me).header("x-tenant-id", &walk.own.slug)).await;
    walk.ask("a tenant by its id", walk.owner(me).header("x-tenant-id", &walk.own.id)).await;
    walk.ask("a tenant of nobody", walk.owner(me).header("x-tenant-id", "no-such-tenant")).await;
    walk.ask("two tenants", walk.owner(me).header("x-tenant-id", "one").header("x-tenant-id", "two")).await;
    for (title, accept) in [
        ("problem details", "application/problem+json"),
        ("JSON before problem details", "application/json, application/problem+json;q=0.5"),
    ] {
        let invalid = walk.anonymous("POST /api/v1/auth/login").header("accept", accept).json(json!({}));
        walk.ask(title, invalid).await;
    }
    let invite = "POST /api/v1/tenant/invitations";
    walk.ask("no body", walk.owner(invite)).await;
    walk.ask("another media type", walk.owner(invite).header("content-type", "text/plain").raw(b"{}")).await;
    walk.ask("a compressed body", walk.owner(invite).header("content-encoding", "gzip").raw(b"{}")).await;
    let long = format!("{{\"email\": \"{}\"}}", "n".repeat(300_000));
    walk.ask("a body that is too large", walk.owner(invite).raw(long.as_bytes())).await;
    walk.ask("a name twice in an object", walk.owner(invite).raw(br#"{"email": "a@example.com", "email": "b@example.com"}"#)).await;
    walk.ask("a parameter twice", walk.owner("GET /api/v1/tenant/members?limit=1&limit=2")).await;
    walk.ask("a parameter where there is none", walk.owner(&format!("{me}?limit=1"))).await;
    walk.ask("an idempotency key that is too long", walk.owner(invite).header("idempotency-key", &"k".repeat(300)).json(json!({}))).await;
}

// ---------------------------------------------------------------- projects

#[tokio::test]
async fn projects() {
    let mut walk = Walk::begin(Settings::default()).await;
    let project = walk_projects(&mut walk).await;
    walk_tasks(&mut walk, &project).await;
    project_lists(&mut walk).await;
    walk.places.push(("/api/v1/projects/{uuid}", project));
    walk.refusals("projects").await;
    walk.end("projects");
}

/// The path of a project.
async fn walk_projects(walk: &mut Walk) -> String {
    let projects = "/api/v1/projects";
    let create = format!("POST {projects}");
    let whole = json!({"name": "First", "description": "What it is about", "color": "#10b981", "settings": {"b": [1, null], "a": 2.5}});
    let made = walk.send("a project", &create, whole).await.expect(201);
    let project = format!("{projects}/{}", id(&made.json()["data"]));
    walk.send("a project with a name alone", &create, json!({"name": "  Zürich  "})).await;
    walk.send("values that are out of their bounds", &create, json!({"name": "", "color": "red", "settings": [], "description": 1})).await;
    let shown = walk.get("it can be read", &format!("GET {project}")).await;
    let etag = shown.header("etag").to_owned();
    walk.ask("it is unchanged", walk.owner(&format!("GET {project}")).header("if-none-match", &etag)).await;
    let rename = |walk: &Walk, tag: &str| walk.owner(&format!("PUT {project}")).header("if-match", tag).json(json!({"name": "Renamed"}));
    walk.ask("a change of what was seen", rename(walk, &etag)).await;
    walk.ask("a change of what is no more", rename(walk, &etag)).await;
    walk.ask("a change of anything", rename(walk, "*")).await;
    walk.ask("a tag that is none", rename(walk, "nonsense")).await;
    walk.send("a change that changes nothing", &format!("PUT {project}"), json!({})).await;
    walk.send("a description is emptied", &format!("PUT {project}"), json!({"description": null})).await;
    walk.send("a name is not", &format!("PUT {project}"), json!({"name": null})).await;
    walk.get("it is archived", &format!("POST {project}/archive")).await;
    walk.send("an archived project takes no tasks", &format!("POST {project}/tasks"), json!({"title": "Late"})).await;
    walk.get("it is restored", &format!("POST {project}/unarchive")).await;
    let once = |walk: &Walk, name: &str| walk.owner(&create).header("idempotency-key", "once").json(json!({"name": name}));
    let made = walk.ask("a project with an idempotency key", once(walk, "Once")).await.expect(201);
    walk.ask("the same again", once(walk, "Once")).await;
    walk.ask("the key with another body", once(walk, "Twice")).await;
    walk.get("a project is deleted", &format!("DELETE {projects}/{}", id(&made.json()["data"]))).await;
    walk.get("the project is gone", &format!("DELETE {projects}/{}", id(&made.json()["data"]))).await;
    project
}

async fn walk_tasks(walk: &mut Walk, project: &str) {
    let tasks = format!("{project}/tasks");
    let member = walk.people["member"].id;
    let whole = json!({
        "title": "Write", "description": "Two lines\nof text", "status": "in_progress", "priority": "urgent", "due_date": "2027-03-05",
        "assigned_to": member, "sort_order": 3,
    });
    let made = walk.send("a task", &format!("POST {tasks}"), whole).await.expect(201);
    let task = format!("/api/v1/tasks/{}", id(&made.json()["data"]));
    let done = walk.send("a task with a title alone", &format!("POST {tasks}"), json!({"title": "Read"})).await.expect(201);
    let done = format!("/api/v1/tasks/{}", id(&done.json()["data"]));
    walk.ask("a task of a member", walk.by("member", &format!("POST {tasks}")).json(json!({"title": "Mine", "assigned_to": member}))).await;
    walk.send("a task for nobody we know", &format!("POST {tasks}"), json!({"title": "x", "assigned_to": 4711})).await;
    let wrong = json!({"title": "", "status": "open", "priority": 1, "due_date": "2027-02-30", "assigned_to": 0, "sort_order": 1.5});
    walk.send("a task of wrong values", &format!("POST {tasks}"), wrong).await;
    walk.send("a task for yesterday", &format!("POST {tasks}"), json!({"title": "x", "due_date": "2027-03-03"})).await;
    let shown = walk.get("a task is read", &format!("GET {task}")).await;
    let etag = shown.header("etag").to_owned();
    walk.ask("a task is unchanged", walk.owner(&format!("GET {task}")).header("if-none-match", &etag)).await;
    let change = |walk: &Walk| walk.owner(&format!("PUT {task}")).header("if-match", &etag).json(json!({"status": "in_review"}));
    walk.ask("a task is changed", change(walk)).await;
    walk.ask("somebody was quicker", change(walk)).await;
    walk.get("a task is completed", &format!("POST {done}/complete")).await;
    walk.get("and once more", &format!("POST {done}/complete")).await;
    walk.world.advance(SignedDuration::from_hours(48));
    for query in [
        "",
        "?status=done",
        "?priority=urgent",
        "?open=true",
        "?overdue=true",
        "?my_tasks=true",
        "?search=WRI",
        "?sort=title&direction=asc",
        "?sort=due_date&direction=asc",
        "?per_page=2&page=2",
    ] {
        walk.get("tasks", &format!("GET {tasks}{query}")).await;
    }
    walk.get("tasks of a member", &format!("GET {tasks}?assigned_to={member}")).await;
    let first = walk.get("tasks, one a page", &format!("GET {tasks}?per_page=1&sort=priority")).await;
    walk.get("the next task", &format!("GET {tasks}?per_page=1&sort=priority&cursor={}", cursor(&first))).await;
    walk.get("the cursor in another order", &format!("GET {tasks}?per_page=1&sort=title&cursor={}", cursor(&first))).await;
    walk.get("wrong filters", &format!("GET {tasks}?status=open&priority=1&open=maybe&assigned_to=me&sort=color&direction=up")).await;
    walk.send("date and person are emptied", &format!("PUT {task}"), json!({"due_date": null, "assigned_to": null})).await;
    walk.get("a task is deleted", &format!("DELETE {done}")).await;
    walk.get("the task is gone", &format!("GET {done}")).await;
    walk.places.push(("/api/v1/tasks/{uuid}", task));
}

async fn project_lists(walk: &mut Walk) {
    let projects = "GET /api/v1/projects";
    walk.send("an archived one", "POST /api/v1/projects", json!({"name": "Alpha"})).await;
    for query in ["", "?search=zur", "?sort=name&direction=asc", "?sort=updated_at", "?archived=true", "?per_page=1&page=2", "?page=99"] {
        walk.get("projects", &format!("{projects}{query}")).await;
    }
    walk.ask("projects of a viewer", walk.by("viewer", projects)).await;
    let first = walk.get("projects, one a page", &format!("{projects}?per_page=1&search=a&sort=name")).await;
    walk.get("the next project", &format!("{projects}?per_page=1&search=a&sort=name&cursor={}", cursor(&first))).await;
    walk.get("the cursor without its filter", &format!("{projects}?per_page=1&sort=name&cursor={}", cursor(&first))).await;
    walk.get("wrong parameters", &format!("{projects}?page=0&per_page=101&archived=maybe&sort=color&direction=up")).await;
    walk.get("a page and a cursor", &format!("{projects}?page=2&cursor={}", cursor(&first))).await;
}

// ---------------------------------------------------------------- tenants

#[tokio::test]
async fn tenants() {
    let server = Server::start();
    let variables = vec![("DNS_RESOLVERS", server.address.to_string())];
    let mut walk = Walk::begin(Settings { variables, ..Settings::default() }).await;
    walk.names.know(&server.address.to_string(), "the resolver");
    tenants_by_slug(&mut walk).await;
    domains(&mut walk, &server).await;
    current_tenant(&mut walk).await;
    settings(&mut walk).await;
    walk.refusals("tenants").await;
    walk.end("tenants");
}

async fn tenants_by_slug(walk: &mut Walk) {
    let tenants = "/api/tenants";
    let create = format!("POST {tenants}");
    let whole = json!({"slug": "my-project", "name": "My project", "cms": "prismic", "repository": "my-repo", "cacheTTL": 3600, "websiteDomain": "www.example.com"});
    walk.send("a tenant", &create, whole.clone()).await;
    walk.send("its slug is taken", &create, whole).await;
    walk.send("a slug that is reserved", &create, json!({"slug": "admin", "cms": "prismic", "repository": "r"})).await;
    walk.send("a source without what it needs", &create, json!({"slug": "other", "cms": "sanity"})).await;
    for slug in ["free-slug", "my-project", "www", "No Slug"] {
        walk.get("is a slug free", &format!("GET {tenants}/slug-availability?slug={}", slug.replace(' ', "%20"))).await;
    }
    walk.get("no slug at all", &format!("GET {tenants}/slug-availability")).await;
    let first = walk.get("my tenants, one a page", &format!("GET {tenants}?limit=1")).await;
    if let Some(next) = first.json()["nextCursor"].as_str() {
        walk.get("the next tenant", &format!("GET {tenants}?limit=1&cursor={next}")).await;
    }
    walk.get("my tenants", &format!("GET {tenants}")).await;
    let tenant = format!("{tenants}/my-project");
    let shown = walk.get("its configuration", &format!("GET {tenant}")).await;
    let etag = shown.header("etag").to_owned();
    let change = |walk: &Walk| walk.owner(&format!("PUT {tenant}")).header("if-match", &etag).json(json!({"cacheTTL": 604_800}));
    walk.ask("it is changed", change(walk)).await;
    walk.ask("somebody was quicker", change(walk)).await;
    walk.send("another source", &format!("PUT {tenant}"), json!({"cms": "generic", "originUrl": "https://origin.example.com/"})).await;
    let wrong = json!({"slug": "other", "spaceId": "x", "cacheTTL": 1, "originUrl": "ftp://example.com", "hasApiToken": true});
    walk.send("a configuration of wrong values", &format!("PUT {tenant}"), wrong).await;
    let api = json!({"apiOrigin": "https://origin.example.com", "apiAuthMode": "bearer", "apiCacheTTL": 60});
    walk.send("how requests are passed on", &format!("PUT {tenant}/api-config"), api).await;
    walk.send("an origin of our own", &format!("PUT {tenant}/api-config"), json!({"apiOrigin": "https://api.example.com"})).await;
    walk.send("an origin that is none of the Internet", &format!("PUT {tenant}/api-config"), json!({"apiOrigin": "http://127.0.0.1"}))
        .await;
    walk.send("the token of the origin", &format!("PUT {tenant}/api-token"), json!({"token": "the-token-of-your-api"})).await;
    walk.get("it is not shown", &format!("GET {tenant}")).await;
    walk.send("the token is taken away", &format!("PUT {tenant}/api-token"), json!({"token": null})).await;
    walk.send("the caches are renewed", &format!("POST {tenant}/refresh-cache"), json!({"type": "all"})).await;
    walk.send("caches that there are not", &format!("POST {tenant}/refresh-cache"), json!({"type": "some"})).await;
    walk.get("a tenant is deleted", &format!("DELETE {tenant}")).await;
    walk.get("the tenant is gone", &format!("GET {tenant}")).await;
    walk.get("its slug rests", &format!("GET {tenants}/slug-availability?slug=my-project")).await;
}

async fn domains(walk: &mut Walk, server: &Server) {
    let domains = format!("/api/tenants/{}/domains", walk.own.slug);
    walk.get("no domains yet", &format!("GET {domains}")).await;
    let made = walk.send("a domain", &format!("POST {domains}"), json!({"hostname": "CDN.Acme.com"})).await.json();
    walk.send("a domain once more", &format!("POST {domains}"), json!({"hostname": "cdn.acme.com"})).await;
    walk.send("a domain without a subdomain", &format!("POST {domains}"), json!({"hostname": "acme.com"})).await;
    walk.send("DNS says nothing", &format!("POST {domains}/verify"), json!({"hostname": "cdn.acme.com"})).await;
    let text = |field: &str| made["txt"][field].as_str().expect("a text");
    server.text(text("name"), text("value"));
    server.cname("cdn.acme.com", "proxy.edge.example.com");
    walk.get("DNS says what it must", &format!("POST {domains}/verify?hostname=cdn.acme.com")).await;
    walk.send("a second domain", &format!("POST {domains}"), json!({"hostname": "www.acme.com"})).await;
    let first = walk.get("domains, one a page", &format!("GET {domains}?limit=1")).await;
    if let Some(next) = first.json()["nextCursor"].as_str() {
        walk.get("the next domain", &format!("GET {domains}?limit=1&cursor={next}")).await;
    }
    walk.get("domains", &format!("GET {domains}")).await;
    walk.send("a domain of nobody", &format!("POST {domains}/verify"), json!({"hostname": "no.such.example.com"})).await;
    walk.get("a domain is removed", &format!("DELETE {domains}?hostname=www.acme.com")).await;
    walk.send("the domain is gone", &format!("DELETE {domains}"), json!({"hostname": "www.acme.com"})).await;
    walk.send("two hostnames", &format!("DELETE {domains}?hostname=a.example.com"), json!({"hostname": "b.example.com"})).await;
}

async fn current_tenant(walk: &mut Walk) {
    let tenant = "/api/tenant";
    let shown = walk.get("my tenant", &format!("GET {tenant}")).await;
    let etag = shown.header("etag").to_owned();
    walk.ask("my tenant, as a viewer", walk.by("viewer", &format!("GET {tenant}"))).await;
    walk.ask("my tenant is unchanged", walk.owner(&format!("GET {tenant}")).header("if-none-match", &etag)).await;
    walk.send("a new name and a logo", &format!("PUT {tenant}"), json!({"name": "Acme Works", "logo": "https://example.com/logo.png"}))
        .await;
    walk.send("a logo of no web page", &format!("PUT {tenant}"), json!({"name": "Acme Works", "logo": "javascript:alert(1)"})).await;
    walk.send("I have one already", &format!("POST {tenant}"), json!({"name": "Another"})).await;
    let other = walk.world.tenant("other").await;
    walk.names.know(&other.owner.token, "token of another owner");
    walk.ask("a tenant is given up", walk.anonymous(&format!("DELETE {tenant}")).token(&other.owner.token)).await;
    walk.ask("it is no more", walk.anonymous(&format!("GET {tenant}")).token(&other.owner.token)).await;
    let homeless = walk.world.login(&other.owner.email, "correct horse").await;
    walk.names.know(&homeless.token, "token of somebody without a tenant");
    let asked = walk.anonymous(&format!("POST {tenant}")).token(&homeless.token).json(json!({"name": "A new one"}));
    walk.ask("a tenant for who has none", asked).await;
    let workers = Workers::on(&walk.world);
    drain(&walk.world, &workers).await;
    let log = format!("{tenant}/audit-log");
    walk.get("the audit log", &format!("GET {log}")).await;
    let first = walk.get("entries, two a page", &format!("GET {log}?limit=2")).await;
    if let Some(next) = first.json()["nextCursor"].as_str() {
        walk.get("the next entries", &format!("GET {log}?limit=2&cursor={next}")).await;
    }
    walk.get("everything", &format!("GET {tenant}/export")).await;
}

async fn settings(walk: &mut Walk) {
    let settings = "/api/tenant-setting";
    let theme = walk.send("a setting", &format!("POST {settings}"), json!({"name": "theme", "value": "dark"})).await.json();
    walk.send("a setting changes", &format!("POST {settings}"), json!({"name": "theme", "value": "light"})).await;
    let secret = walk.send("a secret", &format!("POST {settings}"), json!({"name": "smtp_password", "value": "swordfish"})).await.json();
    walk.send("several at once", &format!("POST {settings}"), json!({"items_per_page": 50, "beta": true, "theme": "dark"})).await;
    walk.send("of any name", &format!("POST {settings}/dynamic"), json!({"anything": "goes", "theme": null})).await;
    walk.send("names and values that cannot be", &format!("POST {settings}"), json!({"a name": "x", "theme": ["x"], "": 1})).await;
    walk.get("all settings", &format!("GET {settings}")).await;
    walk.get("a setting that was deleted", &format!("GET {settings}/{}", id(&theme))).await;
    walk.get("a secret is masked", &format!("GET {settings}/{}", id(&secret))).await;
    let theme = walk.send("a setting anew", &format!("POST {settings}"), json!({"name": "theme", "value": "dark"})).await.json();
    walk.send("it changes", &format!("POST {settings}"), json!({"name": "theme", "value": "light"})).await;
    let setting = format!("{settings}/{}", id(&theme));
    walk.get("a setting is read", &format!("GET {setting}")).await;
    walk.get("its history", &format!("GET {setting}/history")).await;
    walk.get("its history, one a page", &format!("GET {setting}/history?limit=1")).await;
    walk.places.push(("/api/tenant-setting/{id}", setting));
}

// ---------------------------------------------------------------- keys

#[tokio::test]
async fn keys() {
    let mut walk = Walk::begin(Settings::default()).await;
    let child = walk.owner("POST /v1/subaccounts").json(json!({"name": "Client"})).send().await.expect(201).json()["data"].clone();
    keys_in(&mut walk, "/api/tenant-api-key", "graceSeconds", "expiresAt").await;
    keys_in(&mut walk, "/v1/api-keys", "grace_seconds", "expires_at").await;
    let theirs = format!("/v1/subaccounts/{}/api-keys", id(&child));
    let key = keys_in(&mut walk, &theirs, "grace_seconds", "expires_at").await;
    walk.places.push(("/v1/subaccounts/{id}/api-keys/{kid}", key));
    walk.places.push(("/v1/subaccounts/{id}/api-keys", theirs));
    what_keys_open(&mut walk).await;
    for (declared, path) in [("/api/tenant-api-key/{id}", "/api/tenant-api-key"), ("/v1/api-keys/{id}", "/v1/api-keys")] {
        let key = walk.owner(&format!("POST {path}")).json(json!({"name": "Target"})).send().await.expect(201).json();
        let key = key.get("data").unwrap_or(&key);
        walk.places.push((declared, format!("{path}/{}", id(key))));
    }
    walk.refusals("keys").await;
    walk.end("keys");
}

/// The life of a key under one of its paths; the path of one that is left.
async fn keys_in(walk: &mut Walk, keys: &str, grace: &str, expires: &str) -> String {
    let key_of = |answer: Answer| -> Value {
        let body = answer.json();
        body.get("data").cloned().unwrap_or(body)
    };
    let whole = json!({"name": "CI", "scopes": ["projects:*", "usage:read"], "environment": "test", expires: "2030-01-01T00:00:00Z"});
    let key = key_of(walk.send("a key", &format!("POST {keys}"), whole).await);
    walk.send("a key with a name alone", &format!("POST {keys}"), json!({"name": "Plain"})).await;
    let wrong = json!({"name": "", "scopes": ["everything"], "environment": "dev", expires: "2020-01-01T00:00:00Z"});
    walk.send("a key of wrong values", &format!("POST {keys}"), wrong).await;
    walk.send("a key that may do nothing", &format!("POST {keys}"), json!({"name": "x", "scopes": []})).await;
    let first = walk.get("keys, one a page", &format!("GET {keys}?limit=1")).await;
    if let Some(next) = first.json()["next_cursor"].as_str() {
        walk.get("the next key", &format!("GET {keys}?limit=1&cursor={next}")).await;
    }
    walk.get("keys", &format!("GET {keys}")).await;
    let path = format!("{keys}/{}", id(&key));
    walk.get("a key is read", &format!("GET {path}")).await;
    walk.get("it is mine already", &format!("POST {path}/adopt")).await;
    walk.get("it has no grace to end", &format!("POST {path}/end-grace")).await;
    walk.send("a grace that is too long", &format!("POST {path}/rotate"), json!({grace: 10_000_000})).await;
    let next = key_of(walk.send("it is replaced", &format!("POST {path}/rotate"), json!({grace: 600})).await);
    walk.send("it is replaced once", &format!("POST {path}/rotate"), json!({grace: 600})).await;
    walk.get("a key in its grace", &format!("GET {path}")).await;
    walk.get("the grace is ended", &format!("POST {path}/end-grace")).await;
    walk.get("the old key", &format!("GET {path}")).await;
    let next = format!("{keys}/{}", id(&next));
    let last = key_of(walk.ask("it is replaced at once", walk.owner(&format!("POST {next}/rotate"))).await);
    let last = format!("{keys}/{}", id(&last));
    walk.get("a key is revoked", &format!("DELETE {last}")).await;
    walk.get("the key is gone", &format!("DELETE {last}")).await;
    let left = key_of(walk.send("one that is left", &format!("POST {keys}"), json!({"name": "Left"})).await);
    format!("{keys}/{}", id(&left))
}

async fn what_keys_open(walk: &mut Walk) {
    let made = walk.send("a key that reads", "POST /v1/api-keys", json!({"name": "Reader", "scopes": ["projects:read"]})).await.json();
    let text = made["data"]["key"].as_str().expect("the key, once").to_owned();
    walk.ask("it reads", walk.anonymous("GET /api/v1/projects").header("x-api-key", &text)).await;
    walk.ask("and writes nothing", walk.anonymous("POST /api/v1/projects").header("x-api-key", &text).json(json!({"name": "x"}))).await;
    walk.ask("what is for people only", walk.anonymous("GET /api/v1/auth/me").token(&text)).await;
    let more = json!({"name": "More", "scopes": ["*"]});
    walk.ask("it makes no key", walk.anonymous("POST /v1/api-keys").token(&text).json(more.clone())).await;
    let made = walk.send("a key that makes keys", "POST /v1/api-keys", json!({"name": "Maker", "scopes": ["keys:*"]})).await.json();
    let maker = made["data"]["key"].as_str().expect("the key, once").to_owned();
    walk.ask("it makes none that may more", walk.anonymous("POST /v1/api-keys").token(&maker).json(more)).await;
    walk.ask("two credentials", walk.owner("GET /api/v1/projects").header("x-api-key", &text)).await;
}

// ---------------------------------------------------------------- insights

#[tokio::test]
async fn insights() {
    let mut walk = Walk::begin(Settings::default()).await;
    let key = ingest_key(&walk.world).await;
    walk.names.know(&key, "key of the edge");
    reports(&mut walk, &key).await;
    let workers = Workers::on(&walk.world);
    drain(&walk.world, &workers).await;
    let slug = walk.own.slug.clone();
    for path in [
        "usage",
        "usage?period=current",
        "usage?period=previous",
        "usage?period=2027-03",
        "usage?period=2027-13",
        "analytics",
        "analytics?period=2027-02",
        "bandwidth-daily?from=2027-03-02&to=2027-03-04",
        "bandwidth-daily?from=2027-03-04&to=2027-03-02",
        "bandwidth-daily?from=2026-01-01&to=2027-01-01",
        "logs",
        "logs?cache=HIT",
        "logs?kind=api&status=502",
        "logs?path=/img",
        "logs?from=2027-03-04&to=2027-03-05",
        "logs?from=now",
        "logs?status=99&cache=WARM&kind=image&limit=0",
    ] {
        walk.get("what a tenant served", &format!("GET /api/tenants/{slug}/{path}")).await;
    }
    let first = walk.get("the log, two a page", &format!("GET /api/tenants/{slug}/logs?limit=2")).await;
    let next = first.json()["nextCursor"].as_str().expect("a cursor").to_owned();
    walk.get("the log goes on", &format!("GET /api/tenants/{slug}/logs?limit=2&cursor={next}")).await;
    walk.get("a cursor of another filter", &format!("GET /api/tenants/{slug}/logs?limit=2&cache=HIT&cursor={next}")).await;
    for path in ["", "?period=previous", "?period=2027-13"] {
        walk.get("what all tenants served", &format!("GET /api/tenants/usage{path}")).await;
    }
    for path in ["usage", "usage/history?months=2", "usage/history?months=25", "events", "events?limit=1"] {
        walk.get("usage beside the plan", &format!("GET /v1/billing/{path}")).await;
    }
    walk.get("what a tenant of another month cost", "GET /api/tenant/cost?period=2027-02").await;
    walk.refusals("insights").await;
    walk.end("insights");
}

async fn reports(walk: &mut Walk, key: &str) {
    let report = |walk: &Walk, body: Value| walk.anonymous("POST /api/usage/ingest").header("x-ingest-key", key).json(body);
    let slug = walk.own.slug.clone();
    let entries = json!([
        {"timestamp": "2027-03-04T05:00:01Z", "method": "GET", "path": "/img/a.png?w=1", "kind": "asset", "status": 200, "cache": "HIT", "bytes": 1000, "durationMs": 3, "country": "DE"},
        {"timestamp": "2027-03-04T05:00:02Z", "method": "GET", "path": "/~api/posts", "kind": "api", "status": 502, "cache": "ERROR", "bytes": 0, "durationMs": 900.5},
        {"timestamp": "2027-03-03T05:00:03Z", "method": "HEAD", "path": "/b.pdf", "kind": "asset", "status": 200, "cache": "MISS", "bytes": 7, "durationMs": 1, "country": null},
    ]);
    let batch = json!({"batch_id": "edge-1", "tenant": slug, "entries": entries});
    walk.ask("a batch", report(walk, batch.clone())).await;
    walk.ask("the same batch", report(walk, batch)).await;
    walk.ask("one request", report(walk, json!({"tenant": slug, "bytes": 10, "batch_id": "one", "path": "/c.css", "kind": "asset"}))).await;
    walk.ask("a tenant of nobody", report(walk, json!({"tenant": "no-such-tenant", "bytes": 10}))).await;
    let wrong = json!({"batch_id": "x", "tenant": slug, "entries": [{"timestamp": "now", "cache": "WARM", "bytes": -1, "extra": 1}]});
    walk.ask("entries of wrong values", report(walk, wrong)).await;
    walk.ask("no entries", report(walk, json!({"batch_id": "x", "tenant": slug, "entries": []}))).await;
    walk.ask("a wrong key", report(walk, json!({})).header("x-ingest-key", "wrong")).await;
    for tenant in [slug.as_str(), "no-such-tenant"] {
        let check = walk.anonymous(&format!("GET /api/usage/check?tenant={tenant}")).header("x-ingest-key", key);
        walk.ask("may the edge serve", check).await;
    }
}

// ---------------------------------------------------------------- agency

#[tokio::test]
async fn agency() {
    let mut walk = Walk::begin(Settings::default()).await;
    let subaccounts = "/v1/subaccounts";
    let create = format!("POST {subaccounts}");
    let whole = json!({"name": "Client One", "external_id": "crm-17", "limits": {"messages_per_day": 100}, "metadata": {"tier": "gold"}, "phone_assignment_mode": "dedicated"});
    let made = walk.send("a subaccount", &create, whole).await.json()["data"].clone();
    let one = format!("{subaccounts}/{}", id(&made));
    walk.send("its name at the agency is taken", &create, json!({"name": "Other", "external_id": "crm-17"})).await;
    walk.send("a subaccount with a name alone", &create, json!({"name": "Client Two"})).await;
    let wrong =
        json!({"name": "", "plan": "golden", "limits": {"messages_per_day": -1, "x": 1}, "phone_assignment_mode": "x", "metadata": []});
    walk.send("a subaccount of wrong values", &create, wrong).await;
    walk.send("a plan that there is not", &create, json!({"name": "x", "plan": "golden"})).await;
    let first = walk.get("subaccounts, one a page", &format!("GET {subaccounts}?limit=1")).await;
    walk.get("the next one", &format!("GET {subaccounts}?limit=1&cursor={}", cursor(&first))).await;
    walk.get("active ones", &format!("GET {subaccounts}?status=active")).await;
    walk.get("closed ones", &format!("GET {subaccounts}?status=closed")).await;
    walk.get("a subaccount is read", &format!("GET {one}")).await;
    walk.send("it is renamed", &format!("PATCH {one}"), json!({"name": "Client 1", "limits": {"messages_per_day": null}})).await;
    walk.get("its limits", &format!("GET {one}/limits")).await;
    walk.send("limits", &format!("PUT {one}/limits"), json!({"api_requests_per_day": 1000, "messages_per_day": 5})).await;
    walk.send("a limit that is not named is none", &format!("PUT {one}/limits"), json!({"api_requests_per_day": 500})).await;
    let acting = |walk: &Walk, line: &str, child: &str| walk.owner(line).header("x-subaccount-id", child);
    walk.ask("a project of the subaccount", acting(&walk, "POST /api/v1/projects", id(&made)).json(json!({"name": "Theirs"}))).await;
    walk.ask("its projects", acting(&walk, "GET /api/v1/projects", id(&made))).await;
    walk.ask("a subaccount of nobody", acting(&walk, "GET /api/v1/projects", "sub_0198c0de000070008000000000000000")).await;
    walk.get("it is suspended", &format!("POST {one}/suspend")).await;
    walk.ask("nobody acts in it", acting(&walk, "GET /api/v1/projects", id(&made))).await;
    walk.get("it is activated", &format!("POST {one}/activate")).await;
    for query in ["", "?from=2027-03-01&to=2027-03-04", "?from=2027-03-04&to=2027-03-01", "?from=yesterday"] {
        walk.get("what all of them did", &format!("GET /v1/agency/analytics{query}")).await;
    }
    let three = walk.send("a third", &create, json!({"name": "Client Three"})).await.json()["data"].clone();
    walk.get("it is closed", &format!("POST {subaccounts}/{}/close", id(&three))).await;
    walk.get("it stays closed", &format!("POST {subaccounts}/{}/activate", id(&three))).await;
    walk.places.push(("/v1/subaccounts/{id}", one));
    walk.refusals("agency").await;
    walk.end("agency");
}

// ---------------------------------------------------------------- limits

/// With the documented rates and plans, and the numbers of what is left.
#[tokio::test]
async fn limits() {
    let mut walk = Walk::begin(Settings {
        strict: true,
        plans: json!({"free": {"projects": 1, "users": 10, "requests_per_minute": 8}}),
        ..Settings::default()
    })
    .await;
    walk.counts = true;
    let create = "POST /api/v1/projects";
    walk.send("the plan's one project", create, json!({"name": "One"})).await;
    walk.send("one too many", create, json!({"name": "Two"})).await;
    for _ in 0..8 {
        walk.get("so many a minute", "GET /api/v1/projects").await;
    }
    let problem = walk.owner("GET /api/v1/projects").header("accept", "application/problem+json");
    walk.ask("too many, as problem details", problem).await;
    let demo = |walk: &Walk| walk.anonymous("POST /api/v1/demo").at_ip("203.0.113.7").json(json!({}));
    for _ in 0..4 {
        walk.ask("three demos an hour", demo(&walk)).await;
    }
    walk.end("limits");
}

/// The cursor of a list, wherever its family has it.
fn cursor(answer: &Answer) -> String {
    let body = answer.json();
    let places = [&body["meta"], &body["pagination"], &body];
    places.iter().find_map(|place| place["next_cursor"].as_str()).unwrap_or_else(|| panic!("no cursor: {body}")).to_owned()
}

// ---------------------------------------------------------------- workspaces

const WORKSPACES: &str = "/api/v1/tenant/workspaces";

#[tokio::test]
async fn workspaces() {
    let mut walk = Walk::begin(Settings::default()).await;
    let list = format!("GET {WORKSPACES}");
    walk.get("no workspace yet", &list).await;
    let post = format!("POST {WORKSPACES}");
    let first = walk.send("a workspace", &post, json!({"name": "Acme Corp", "slug": "acme"})).await;
    let first = id(&first.json()["data"]).to_owned();
    walk.send(
        "one whose slug is made of its name",
        &post,
        json!({"name": "Österreich & Söhne", "settings": {"timezone": "Europe/Vienna"}}),
    )
    .await;
    walk.send("a slug that is taken", &post, json!({"name": "Other", "slug": "acme"})).await;
    walk.ask("as a member", walk.by("member", &post).json(json!({"name": "Mine"}))).await;
    walk.get("the list, one a page", &format!("{list}?limit=1")).await;
    walk.ask("the list of somebody who is in none", walk.by("member", &list)).await;
    let one = format!("{WORKSPACES}/acme");
    walk.get("by its slug", &format!("GET {one}")).await;
    walk.get("by its id", &format!("GET {WORKSPACES}/{first}")).await;
    walk.ask("for somebody who is not in it", walk.by("member", &format!("GET {one}"))).await;
    let settings =
        json!({"default_from_name": "Acme", "postal_address": "1 Main Street", "branding": {"logo_url": "https://cdn.example.com/a.png"}});
    walk.send("a change", &format!("PATCH {one}"), json!({"name": "Acme", "settings": settings})).await;
    let stale = walk.owner(&format!("PATCH {one}")).header("if-match", "\"1\"").json(json!({"name": "Late"}));
    walk.ask("a change of a version that is gone", stale).await;
    let members = format!("{one}/members");
    let (member, number) = (walk.people["member"].email.clone(), walk.people["member"].id);
    walk.send("a member of the tenant is added", &format!("POST {members}"), json!({"email": member, "role": "viewer"})).await;
    walk.send("they are in it already", &format!("POST {members}"), json!({"email": member})).await;
    walk.send("a stranger is invited", &format!("POST {members}"), json!({"email": "new@example.com"})).await;
    walk.get("the members", &format!("GET {members}")).await;
    walk.send("a role is changed", &format!("PATCH {members}/{number}"), json!({"role": "admin"})).await;
    walk.ask("what they see", walk.by("member", &list)).await;
    walk.ask("only an owner deletes it", walk.by("member", &format!("DELETE {one}")).json(json!({"confirm": "Acme"}))).await;
    let last = walk.people["owner"].id;
    walk.get("a member is removed", &format!("DELETE {members}/{number}")).await;
    walk.get("the last admin stays", &format!("DELETE {members}/{last}")).await;
    walk.send("the name must be typed", &format!("DELETE {one}"), json!({"confirm": "acme"})).await;
    let doomed = walk.send("another", &post, json!({"name": "Short"})).await;
    let doomed = id(&doomed.json()["data"]).to_owned();
    walk.send("it is deleted", &format!("DELETE {WORKSPACES}/{doomed}"), json!({"confirm": "Short"})).await;
    walk.get("and gone", &format!("GET {WORKSPACES}/{doomed}")).await;
    for (role, caller) in walk.people.clone() {
        if role != "owner" {
            walk.send("everybody is added", &format!("POST {members}"), json!({"email": caller.email, "role": role})).await;
        }
    }
    walk.places.push(("/api/v1/tenant/workspaces/{workspace}", one.clone()));
    walk.places.push(("/api/v1/tenant/workspaces/{workspace}/members/{user_id}", format!("{members}/{number}")));
    walk.refusals("workspaces").await;
    walk.end("workspaces");
}

/// A workspace with everybody in it, so that each has their role there.
async fn enter_a_workspace(walk: &mut Walk) {
    walk.send("a workspace", &format!("POST {WORKSPACES}"), json!({"name": "Client"})).await;
    for (role, caller) in walk.people.clone() {
        if role != "owner" {
            let body = json!({"email": caller.email, "role": role});
            walk.send("everybody is in it", &format!("POST {WORKSPACES}/client/members"), body).await;
        }
    }
}

// ---------------------------------------------------------------- audience

const LEADS: &str = "/api/v1/tenant/leads";

#[tokio::test]
async fn audience() {
    let mut walk = Walk::begin(Settings::default()).await;
    walk.get("no workspace yet: an empty list", &format!("GET {LEADS}")).await;
    walk.send("and nothing can be created", &format!("POST {LEADS}"), json!({"email": "ada@example.com"})).await;
    enter_a_workspace(&mut walk).await;
    let made = walk.send("a list", &format!("POST {LEADS}/lists"), json!({"name": "Newsletter"})).await;
    let list = id(&made.json()["data"]).to_owned();
    let lead = leads(&mut walk, &list).await;
    walk.places.push(("/api/v1/tenant/leads/{id}", format!("{LEADS}/{lead}")));
    walk.refusals("audience").await;
    walk.end("audience");
}

async fn leads(walk: &mut Walk, list: &str) -> String {
    let post = format!("POST {LEADS}");
    let ada = json!({"workspace_slug": "client", "email": "Ada@Example.com", "first_name": "Ada", "last_name": "Lovelace", "company": "Analytical Engines",
        "attributes": {"plan": "pro"}, "tags": ["VIP"], "list_ids": [list]});
    let made = walk.send("a lead", &post, ada.clone()).await;
    let lead = id(&made.json()["data"]).to_owned();
    walk.send("the same address", &post, json!({"email": "ada@example.COM"})).await;
    let second = walk.send("an address is enough", &post, json!({"email": "alan@example.com"})).await;
    let second = id(&second.json()["data"]).to_owned();
    walk.ask("as a viewer", walk.by("viewer", &post).json(json!({"email": "v@example.com"}))).await;
    walk.get("it", &format!("GET {LEADS}/{lead}")).await;
    let change = json!({"status": "replied", "attributes": {"plan": null, "seats": 3}, "city": "London"});
    walk.send("a change", &format!("PATCH {LEADS}/{lead}"), change).await;
    walk.send("a note", &format!("POST {LEADS}/{lead}/notes"), json!({"text": "Wants a demo in May"})).await;
    walk.get("what happened", &format!("GET {LEADS}/{lead}/activity")).await;
    walk.get("all, one a page", &format!("GET {LEADS}?limit=1")).await;
    for filter in ["status=replied", "search=love", "tag=vip", &format!("list={list}"), "email_status=bounced"] {
        walk.get("some of them", &format!("GET {LEADS}?{filter}")).await;
    }
    let bulk = json!({"ids": [lead, second, "lead_0198c0de000070008000000000000000"], "action": "add_tag", "value": "spring"});
    walk.send("several at once", &format!("POST {LEADS}/bulk"), bulk).await;
    walk.get("one goes", &format!("DELETE {LEADS}/{second}")).await;
    walk.get("and is gone", &format!("GET {LEADS}/{second}")).await;
    lead
}

// ---------------------------------------------------------------- contacts

#[tokio::test]
async fn contacts() {
    let mut walk = Walk::begin(Settings::default()).await;
    let (contacts, groups) = ("/v1/contacts", "/v1/contact-groups");
    let made = walk.send("a group", &format!("POST {groups}"), json!({"name": "Regulars", "description": "Twice a month"})).await;
    let group = id(&made.json()["data"]).to_owned();
    walk.send("a name that is taken, in another case", &format!("POST {groups}"), json!({"name": "REGULARS"})).await;
    let other = walk.send("another", &format!("POST {groups}"), json!({"name": "Old"})).await;
    let other = id(&other.json()["data"]).to_owned();
    let ada = json!({"phone_number": "+15551234567", "name": "Ada Lovelace", "email": "ada@example.com", "timezone": "Europe/London",
        "metadata": {"plan": "pro"}, "group_ids": [group, other]});
    let post = format!("POST {contacts}");
    let made = walk.send("a contact", &post, ada.clone()).await;
    let contact = id(&made.json()["data"]).to_owned();
    walk.send("the same number", &post, json!({"phone_number": "+15551234567"})).await;
    walk.send(
        "wrong values",
        &post,
        json!({"phone_number": "0791234567", "timezone": "London", "metadata": {"seats": 3}, "colour": "red"}),
    )
    .await;
    let second = walk.send("a number is enough", &post, json!({"phone_number": "+15551234568"})).await;
    let second = id(&second.json()["data"]).to_owned();
    walk.ask("as a viewer", walk.by("viewer", &post).json(json!({"phone_number": "+15551234569"}))).await;
    walk.get("it", &format!("GET {contacts}/{contact}")).await;
    walk.send("a change", &format!("PATCH {contacts}/{contact}"), json!({"email": null, "metadata": {"plan": null, "seats": "3"}})).await;
    walk.send("a number stays", &format!("PATCH {contacts}/{contact}"), json!({"phone_number": "+15551234560"})).await;
    let rows = json!([{"phone_number": "+15551234567", "name": "Ada King"}, {"phone_number": "+15551230000"}, {"phone_number": "123"}, 4]);
    let import = json!({"contacts": rows, "group_ids": [group]});
    walk.send("an import", &format!("POST {contacts}/import"), import.clone()).await;
    let mut updating = import;
    updating["on_duplicate"] = json!("update");
    walk.send("that changes what is there", &format!("POST {contacts}/import"), updating).await;
    let first = walk.get("all, two a page", &format!("GET {contacts}?limit=2")).await;
    let next = first.json()["next_cursor"].as_str().expect("a cursor").to_owned();
    walk.get("the next", &format!("GET {contacts}?limit=2&cursor={next}")).await;
    for filter in ["search=king", "search=%2B1555123456", &format!("group_id={group}"), &format!("group_id={group}&search=ada")] {
        walk.get("some of them", &format!("GET {contacts}?{filter}")).await;
    }
    let named = json!({"contact_ids": [contact, second, "con_0198c0de000070008000000000000000"]});
    walk.send("into a group", &format!("POST {groups}/{group}/contacts"), named.clone()).await;
    walk.get("who is in it", &format!("GET {groups}/{group}/contacts")).await;
    walk.send("out of it", &format!("DELETE {groups}/{group}/contacts"), named).await;
    walk.get("the group", &format!("GET {groups}/{group}")).await;
    walk.send("a new name", &format!("PATCH {groups}/{group}"), json!({"name": "Best", "description": null})).await;
    walk.get("the groups", &format!("GET {groups}")).await;
    walk.get("one goes", &format!("DELETE {groups}/{other}")).await;
    walk.get("a contact that was in it", &format!("GET {contacts}/{contact}")).await;
    walk.get("a contact goes", &format!("DELETE {contacts}/{second}")).await;
    walk.get("and is gone", &format!("GET {contacts}/{second}")).await;
    walk.places.push(("/v1/contacts/{id}", format!("{contacts}/{contact}")));
    walk.places.push(("/v1/contact-groups/{id}", format!("{groups}/{group}")));
    walk.places.push(("/v1/contact-groups/{id}/contacts", format!("{groups}/{group}/contacts")));
    walk.refusals("contacts").await;
    walk.end("contacts");
}

// ---------------------------------------------------------------- templates

const TEMPLATES: &str = "/api/v1/tenant/templates";

#[tokio::test]
async fn templates() {
    let mut walk = Walk::begin(Settings::default()).await;
    enter_a_workspace(&mut walk).await;
    let post = format!("POST {TEMPLATES}");
    let body = "<p>Hello {{first_name|there}},</p>\n<p><a href=\"{{unsubscribe_url}}\">Unsubscribe</a></p>";
    let welcome =
        json!({"workspace_slug": "client", "name": "Welcome", "subject": "Welcome, {{firstName}}", "body": body, "tags": ["first"]});
    let made = walk.send("a template", &post, welcome).await;
    let template = id(&made.json()["data"]).to_owned();
    walk.send("a name that is taken", &post, json!({"name": "WELCOME", "subject": "Hi", "body": "<p>Hi</p>"})).await;
    let wrong = json!({"name": "Wrong", "subject": "{{first_name", "body": "<p>\n  {% include 'x' %}</p>"});
    walk.send("faults have a place", &post, wrong).await;
    walk.ask("as a viewer", walk.by("viewer", &post).json(json!({"name": "V", "subject": "V", "body": "V"}))).await;
    let one = format!("{TEMPLATES}/{template}");
    walk.get("it", &format!("GET {one}")).await;
    walk.send("a change", &format!("PATCH {one}"), json!({"subject": "Welcome back, {{first_name}}", "status": "draft"})).await;
    walk.get("the templates", &format!("GET {TEMPLATES}?workspace=client")).await;
    walk.get("some of them", &format!("GET {TEMPLATES}?search=well&status=active")).await;
    let context = json!({"context": {"first_name": "<Ada>"}});
    walk.send("as a mail", &format!("POST {one}/render"), context).await;
    let lead = walk.send("a lead", &format!("POST {LEADS}"), json!({"email": "ada@example.com", "first_name": "Ada"})).await;
    let lead = id(&lead.json()["data"]).to_owned();
    walk.send("as a mail to a lead", &format!("POST {one}/render"), json!({"lead_id": lead})).await;
    walk.send("to nobody", &format!("POST {one}/render"), json!({"lead_id": "lead_0198c0de000070008000000000000000"})).await;
    let unsaved =
        json!({"subject": "Hi {{custom.nick}}", "body": "<a href=\"javascript:x()\">Hi</a>", "context": {"custom": {"nick": "A"}}});
    walk.send("what is not saved", &format!("POST {TEMPLATES}/render"), unsaved).await;
    walk.get("its versions", &format!("GET {one}/versions")).await;
    walk.send("the first again", &format!("POST {one}/versions/1/restore"), json!({})).await;
    let copy = walk.send("a copy", &format!("POST {one}/duplicate"), json!({})).await;
    let copy = id(&copy.json()["data"]).to_owned();
    walk.get("it goes", &format!("DELETE {TEMPLATES}/{copy}")).await;
    walk.get("and is gone", &format!("GET {TEMPLATES}/{copy}")).await;
    walk.places.push(("/api/v1/tenant/templates/{id}", one.clone()));
    walk.places.push(("/api/v1/tenant/templates/{id}/versions/{version}", format!("{one}/versions/1")));
    walk.refusals("templates").await;
    walk.end("templates");
}

// ---------------------------------------------------------------- campaigns

const SUPPRESSED: &str = "/api/v1/tenant/suppression-list";
const CAMPAIGNS: &str = "/api/v1/tenant/campaigns";

#[tokio::test]
async fn campaigns() {
    let mut walk = Walk::begin(Settings::default()).await;
    enter_a_workspace(&mut walk).await;
    let post = format!("POST {CAMPAIGNS}");
    let made = walk.send("a draft", &post, json!({"workspace_slug": "client", "name": "Spring", "goal": "lead_gen"})).await;
    let campaign = id(&made.json()["data"]).to_owned();
    let one = format!("{CAMPAIGNS}/{campaign}");
    walk.get("it, with what holds where nothing is said", &format!("GET {one}")).await;
    walk.ask("as a viewer", walk.by("viewer", &post).json(json!({"name": "V"}))).await;
    walk.get("what would keep it from its launch", &format!("POST {one}/dry-run")).await;
    for (email, tags) in [("ada@example.com", json!(["vip"])), ("alan@example.com", json!(["vip"])), ("bob@example.com", json!([]))] {
        let lead = json!({"email": email, "first_name": "A", "tags": tags});
        walk.send("a lead", &format!("POST {LEADS}"), lead).await;
    }
    walk.send(
        "one gets no mail",
        &format!("POST {SUPPRESSED}"),
        json!({"email": "alan@example.com", "scope": "workspace", "reason": "manual"}),
    )
    .await;
    let sender =
        json!({"settings": {"default_from_name": "Client", "default_from_email": "hello@example.com", "postal_address": "1 Main Street"}});
    walk.send("who writes", &format!("PATCH {WORKSPACES}/client"), sender).await;
    let mail = "<p>Hello {{first_name}}</p><p><a href=\"{{unsubscribe_url}}\">Unsubscribe</a></p>";
    let steps = json!([
        {"type": "email", "subject": "Hello {{first_name}}", "body": mail},
        {"type": "wait", "value": 3, "unit": "days"},
        {"type": "condition", "rule": {"field": "steps[1].opened", "op": "equals", "value": true}, "then": null, "else": 4},
        {"type": "email", "subject": "Did you see this?", "body": mail},
    ]);
    let window = json!({"days": ["mon", "tue"], "from": "09:00", "to": "17:00"});
    let change = json!({"sequence": steps, "audience": {"tag": "vip"}, "settings": {"window": window, "timezone": "Europe/Berlin"}});
    walk.send("steps, audience, settings", &format!("PATCH {one}"), change).await;
    let wrong = json!({"sequence": [{"type": "wait", "value": 0, "unit": "days"}, {"type": "condition", "rule": {}, "then": 1, "else": null}, {"type": "call"}]});
    walk.send("faults have a place", &format!("PATCH {one}"), wrong).await;
    walk.send("how it sends", &format!("PATCH {one}/config"), json!({"daily_limit": 1, "required_variables": ["first_name"]})).await;
    walk.ask("who would get it, for a viewer", walk.by("viewer", &format!("POST {one}/dry-run"))).await;
    let copy = walk.send("a copy", &format!("POST {one}/duplicate"), json!({})).await;
    let copy = id(&copy.json()["data"]).to_owned();
    walk.get("the campaigns", &format!("GET {CAMPAIGNS}?workspace=client")).await;
    walk.get("some of them", &format!("GET {CAMPAIGNS}?status=draft&search=copy")).await;
    walk.get("it goes", &format!("DELETE {CAMPAIGNS}/{copy}")).await;
    walk.get("and is gone", &format!("GET {CAMPAIGNS}/{copy}")).await;
    let recipient = recipients(&mut walk, &one).await;
    walk.places.push(("/api/v1/tenant/campaigns/{id}", one));
    walk.places.push(("/api/v1/tenant/campaigns/{id}/recipients/{lead}", recipient));
    let list = lead_lists(&mut walk).await;
    walk.places.push(("/api/v1/tenant/leads/lists/{id}", format!("{LEADS}/lists/{list}")));
    let segment = segments(&mut walk).await;
    walk.places.push(("/api/v1/tenant/leads/segments/{id}", format!("{LEADS}/segments/{segment}")));
    let suppressed = suppressions(&mut walk).await;
    walk.places.push(("/api/v1/tenant/suppression-list/{id}", format!("{SUPPRESSED}/{suppressed}")));
    walk.refusals("campaigns").await;
    walk.end("campaigns");
}

async fn lead_lists(walk: &mut Walk) -> String {
    let lists = format!("{LEADS}/lists");
    let made = walk.send("a list", &format!("POST {lists}"), json!({"name": "Newsletter"})).await;
    let list = id(&made.json()["data"]).to_owned();
    walk.send("a name that is taken, in another case", &format!("POST {lists}"), json!({"name": "NEWSLETTER"})).await;
    walk.get("it", &format!("GET {lists}/{list}")).await;
    walk.send("a new name", &format!("PATCH {lists}/{list}"), json!({"name": "Monthly"})).await;
    let other = walk.send("another", &format!("POST {lists}"), json!({"name": "Old"})).await;
    let other = id(&other.json()["data"]).to_owned();
    walk.get("the lists", &format!("GET {lists}?workspace=client")).await;
    walk.get("one goes", &format!("DELETE {lists}/{other}")).await;
    list
}

async fn segments(walk: &mut Walk) -> String {
    let segments = format!("{LEADS}/segments");
    let rule =
        json!({"all": [{"field": "tags", "op": "contains", "value": "vip"}, {"field": "attributes.seats", "op": "gte", "value": 3}]});
    let made = walk.send("a segment", &format!("POST {segments}"), json!({"name": "Warm", "rule": rule})).await;
    let segment = id(&made.json()["data"]).to_owned();
    let wrong = json!({"name": "Wrong", "rule": {"any": [{"field": "shoe_size", "op": "equals", "value": 1}]}});
    walk.send("a rule that asks for nothing known", &format!("POST {segments}"), wrong).await;
    walk.get("it", &format!("GET {segments}/{segment}")).await;
    walk.send("a new name", &format!("PATCH {segments}/{segment}"), json!({"name": "Hot"})).await;
    walk.get("how many", &format!("GET {segments}/{segment}/count")).await;
    walk.get("who", &format!("GET {segments}/{segment}/preview")).await;
    let rule = json!({"rule": {"field": "city", "op": "equals", "value": "London"}});
    walk.send("who would be", &format!("POST {segments}/preview"), rule).await;
    let other = json!({"name": "All", "rule": {"field": "email", "op": "exists", "value": true}});
    let other = walk.send("another", &format!("POST {segments}"), other).await;
    walk.get("the segments", &format!("GET {segments}")).await;
    walk.get("one goes", &format!("DELETE {segments}/{}", id(&other.json()["data"]))).await;
    segment
}

async fn suppressions(walk: &mut Walk) -> String {
    let post = format!("POST {SUPPRESSED}");
    let made = walk.send("an address", &post, json!({"email": "no@example.com", "scope": "workspace", "reason": "user_request"})).await;
    let suppressed = id(&made.json()["data"]).to_owned();
    walk.send("once more", &post, json!({"email": "NO@example.com", "scope": "workspace", "reason": "manual"})).await;
    let many = json!({"emails": ["a@example.com", "no@example.com"], "scope": "workspace", "reason": "import"});
    walk.send("several", &format!("{post}/bulk"), many).await;
    walk.send("of the whole tenant", &post, json!({"email": "never@example.com", "scope": "tenant", "reason": "spam_complaint"})).await;
    walk.get("the list", &format!("GET {SUPPRESSED}")).await;
    walk.get("whether one is", &format!("GET {SUPPRESSED}/check?email=never@example.com")).await;
    walk.get("whether another is", &format!("GET {SUPPRESSED}/check?email=ada@example.com")).await;
    walk.get("who asked for it says why it ends", &format!("DELETE {SUPPRESSED}/{suppressed}")).await;
    let evidence = json!({"evidence": "Asked for mails again on 3 May"});
    walk.send("with evidence", &format!("DELETE {SUPPRESSED}/{suppressed}"), evidence).await;
    let again = walk.send("again", &post, json!({"email": "no@example.com", "scope": "workspace", "reason": "manual"})).await;
    id(&again.json()["data"]).to_owned()
}

/// Those of a campaign that is launched. Gives the path of one.
async fn recipients(walk: &mut Walk, campaign: &str) -> String {
    let mut leads = vec![];
    for email in ["carol@example.com", "dave@example.com", "eve@example.com"] {
        let lead = walk.send("a lead", &format!("POST {LEADS}"), json!({"email": email, "first_name": "C"})).await;
        leads.push(id(&lead.json()["data"]).to_owned());
    }
    let (recipients, retry) = (format!("{campaign}/recipients"), format!("POST {campaign}/retry"));
    let add = format!("POST {recipients}");
    walk.send("too early", &add, json!({"lead_ids": leads})).await;
    let owner = walk.own.owner.email.clone();
    let test = format!("POST {campaign}/test-send");
    walk.send("somebody sees it first", &test, json!({"to": [owner], "lead_id": leads[0]})).await;
    walk.send("nobody from outside", &test, json!({"to": ["stranger@example.com"]})).await;
    walk.send("only a mail", &test, json!({"to": [owner], "step": 2})).await;
    walk.get("it is launched", &format!("POST {campaign}/send")).await;
    walk.get("what sends does not go", &format!("DELETE {campaign}")).await;
    walk.send("leads by hand", &add, json!({"lead_ids": leads})).await;
    walk.send("once", &add, json!({"lead_ids": leads})).await;
    walk.ask("as a viewer", walk.by("viewer", &add).json(json!({"lead_ids": leads}))).await;
    let one = format!("{recipients}/{}", leads[0]);
    walk.get("one is paused", &format!("POST {one}/pause")).await;
    walk.get("only who waits", &format!("POST {one}/pause")).await;
    walk.get("and goes on", &format!("POST {one}/resume")).await;
    walk.get("another is taken out", &format!("POST {recipients}/{}/remove", leads[1])).await;
    walk.get("for good", &format!("POST {recipients}/{}/resume", leads[1])).await;
    walk.send("nothing failed", &retry, json!({"outcome": "failed"})).await;
    walk.ask("the recipients, for a viewer", walk.by("viewer", &format!("GET {recipients}"))).await;
    walk.get("some of them", &format!("GET {recipients}?outcome=removed&search=dave&limit=1")).await;
    walk.get("how far it is", &format!("GET {campaign}")).await;
    walk.send("it is paused", &format!("POST {campaign}/send"), json!({"action": "pause"})).await;
    one
}

// ---------------------------------------------------------------- inbox

const THREADS: &str = "/api/v1/tenant/inbox/threads";

#[tokio::test]
async fn inbox() {
    let mut walk = Walk::begin(Settings::default()).await;
    enter_a_workspace(&mut walk).await;
    walk.get("nobody wrote", &format!("GET {THREADS}?workspace=client")).await;
    for name in ["a thread", "another thread"] {
        let thread = thread(&walk.world, &walk.own).await;
        walk.names.know(&thread, name);
    }
    let threads = walk.get("two people wrote", &format!("GET {THREADS}?workspace=client")).await;
    let first = threads.json()["data"][0].clone();
    let one = format!("{THREADS}/{}", id(&first));
    walk.get("one a page", &format!("GET {THREADS}?limit=1")).await;
    walk.get("some of them", &format!("GET {THREADS}?unread=true&search=hello&limit=1")).await;
    walk.get("none of them", &format!("GET {THREADS}?status=archived&category=ooo")).await;
    let thread = walk.get("one of them", &format!("GET {one}")).await;
    walk.ask("as a viewer", walk.by("viewer", &format!("GET {one}"))).await;
    walk.get("its messages", &format!("GET {one}/messages?limit=1&images=true")).await;
    let number = walk.own.owner.id;
    walk.send("it is somebody's", &format!("PATCH {one}"), json!({"assigned_to": number, "category": "interested", "unread": false})).await;
    walk.send("once", &format!("PATCH {one}"), json!({"unread": false})).await;
    walk.send("nobody has this number", &format!("PATCH {one}"), json!({"assigned_to": 999})).await;
    let seen = thread.json()["data"]["messages"][0]["id"].clone();
    walk.send("something came in that its writer had not seen", &format!("POST {one}/reply"), json!({"body": "Hi", "last_seen": seen}))
        .await;
    walk.send("an answer", &format!("POST {one}/reply"), json!({"body": "Thank you"})).await;
    walk.ask("not a viewer's", walk.by("viewer", &format!("POST {one}/reply")).json(json!({"body": "Hi"}))).await;
    walk.send("it is done", &format!("PATCH {one}"), json!({"status": "closed"})).await;
    walk.send("they are not interested", &format!("PATCH {one}"), json!({"category": "not_interested"})).await;
    walk.send("and get no more mail", &format!("POST {one}/reply"), json!({"body": "Please"})).await;
    walk.get("it, with the answer", &format!("GET {one}")).await;
    walk.places.push(("/api/v1/tenant/inbox/threads/{id}", one));
    walk.refusals("inbox").await;
    walk.end("inbox");
}

// ---------------------------------------------------------------- messages

#[tokio::test]
async fn messages() {
    let mut walk = Walk::begin(Settings::default()).await;
    let templates = "/v1/templates";
    let post = format!("POST {templates}");
    let code = json!({"name": "login_code", "channel": "both", "type": "otp", "body": "{{ code }} is your code, {{name}}."});
    let made = walk.send("a template", &post, code.clone()).await;
    let one = format!("{templates}/{}", id(&made.json()["data"]));
    walk.send("a name that is taken", &post, code).await;
    let wrong = json!({"name": "Login-Code", "channel": "rcs", "type": "news", "body": "Hi {{Name}}\n{{", "subject": "x"});
    walk.send("mistakes have a place", &post, wrong).await;
    let order = json!({"name": "order_sent", "channel": "sms", "type": "alert", "body": "Your order is on its way."});
    walk.ask("as a viewer", walk.by("viewer", &post).json(order.clone())).await;
    let order = walk.send("another", &post, order).await;
    walk.get("it", &format!("GET {one}")).await;
    let first = walk.get("the templates, one a page", &format!("GET {templates}?limit=1")).await;
    walk.get("the next one", &format!("GET {templates}?limit=1&cursor={}", cursor(&first))).await;
    walk.get("those of a type", &format!("GET {templates}?type=alert")).await;
    walk.send("a change", &format!("PATCH {one}"), json!({"body": "{{code}} is your code."})).await;
    walk.send("a change of nothing", &format!("PATCH {one}"), json!({"channel": "both"})).await;
    walk.ask(
        "a change of an earlier version",
        walk.owner(&format!("PATCH {one}")).header("if-match", "\"1\"").json(json!({"type": "alert"})),
    )
    .await;
    let preview = format!("POST {one}/preview");
    walk.send("what is sent", &preview, json!({"data": {"code": "“123456”", "other": 1}})).await;
    walk.send("a value is missing", &preview, json!({"data": {"Code": 1}})).await;
    walk.send("values that cannot be", &preview, json!({"data": {"code": true, "name": ["x"]}})).await;
    walk.send("nothing is left", &format!("PATCH {one}"), json!({"body": "{{code}}"})).await;
    walk.send("of the text", &preview, json!({"data": {"code": " "}})).await;
    let order = format!("{templates}/{}", id(&order.json()["data"]));
    walk.get("it goes", &format!("DELETE {order}")).await;
    walk.get("and is gone", &format!("GET {order}")).await;
    walk.places.push(("/v1/templates/{id}", one));
    let settings = "/v1/settings/messaging";
    walk.get("how messages are sent, as long as nothing was set", &format!("GET {settings}")).await;
    let hours = json!({"timezone": "America/New_York", "quiet_hours": {"mode": "defer", "end": "09:00", "rules": "strict"}, "fallback": ["rcs", "sms"]});
    walk.send("it is set", &format!("PATCH {settings}"), hours.clone()).await;
    walk.send("and set again", &format!("PATCH {settings}"), hours).await;
    walk.ask(
        "a change of the defaults",
        walk.owner(&format!("PATCH {settings}")).header("if-match", "\"0\"").json(json!({"require_marketing_consent": true})),
    )
    .await;
    let wrong =
        json!({"timezone": "Mars", "quiet_hours": {"mode": "x", "start": "21:00", "end": "7:00"}, "fallback": ["sms", "sms"], "x": 1});
    walk.send("quiet hours do not shrink", &format!("PATCH {settings}"), wrong).await;
    walk.send("nor fill the day", &format!("PATCH {settings}"), json!({"quiet_hours": {"start": "12:59"}})).await;
    walk.ask("as a member", walk.by("member", &format!("PATCH {settings}")).json(json!({"timezone": "UTC"}))).await;
    phones(&mut walk).await;
    walk.refusals("messages").await;
    walk.end("messages");
}

/// Messages that are accepted; what becomes of them, tests/it/messages.rs asks.
async fn phones(walk: &mut Walk) {
    let messages = "/v1/messages";
    let hello = json!({"to": "+15551234567", "channel": "auto", "body": "Hello from my tenant"});
    walk.send("as long as there is no line", &format!("POST {messages}"), hello.clone()).await;
    // One line alone: which of several it would be, differs from world to world.
    let (workers, gateway) = (crate::workers::Workers::on(&walk.world), "https://gateway.example.com/messages");
    for command in [
        json!({"command": "gateway-add", "name": "phones", "url": gateway}),
        json!({
            "command": "line-add", "phone_number": stack::phone_lines::LINES[0], "capabilities": ["imessage", "rcs", "sms"], "gateway": "phones",
            "active": true, "daily_limit": 20_000, "per_minute_limit": 6_000,
        }),
    ] {
        workers.invoke("operator", command).await.expect("a line");
    }
    let sent = walk.send("a message", &format!("POST {messages}"), hello).await;
    let wrong = json!({"to": "5551234567", "body": " ", "channel": "fax", "scheduled_at": "tomorrow", "metadata": {"a": 1}, "x": 1});
    walk.send("all that is wrong", &format!("POST {messages}"), wrong).await;
    walk.send("no such template", &format!("POST {messages}"), json!({"to": "+15551234567", "template": "other"})).await;
    walk.send("nobody's number", &format!("POST {messages}"), json!({"to": "+15551234567", "body": "x", "from_number": "+15550009999"}))
        .await;
    let one = format!("{messages}/{}", sent.json()["data"]["message_id"].as_str().unwrap_or_default());
    walk.get("it", &format!("GET {one}")).await;
    walk.get("the messages", &format!("GET {messages}?status=queued&to=%2B15551234567&limit=1")).await;
    walk.get("it is cancelled", &format!("POST {one}/cancel")).await;
    walk.get("which is final", &format!("POST {one}/cancel")).await;
    walk.get("and not to be sent again", &format!("POST {one}/resend")).await;
    let failed =
        walk.send("one that no line could send", &format!("POST {messages}"), json!({"to": "+15551234567", "body": "Once more"})).await;
    let failed = failed.json()["data"]["message_id"].as_str().unwrap_or_default().to_owned();
    let is_it = |item: &Value| item["type"]["S"] == "phone_message" && item["body"]["S"] == "Once more";
    let item = walk.world.items_of(&walk.own).into_iter().find(is_it).expect("the message");
    let [pk, sk] = ["pk", "sk"].map(|name| item[name]["S"].as_str().expect("a key"));
    walk.world.change_item(pk, sk, |item| item["status"] = json!({"S": "failed"}));
    walk.get("it is sent again", &format!("POST {messages}/{failed}/resend")).await;
    walk.places.push(("/v1/messages/{id}", one));
    of_many(walk).await;
    let lines = walk.get("the lines", "GET /v1/phone-lines").await;
    let line = format!("/v1/phone-lines/{}", id(&lines.json()["data"][0]));
    walk.get("one of them", &format!("GET {line}")).await;
    walk.places.push(("/v1/phone-lines/{id}", line));
    walk.places.push(("/v1/gateways/{id}", "/v1/gateways/gw_0198c0de000070008000000000000000".to_owned()));
}

/// Campaigns of messages, which no worker moves on here.
async fn of_many(walk: &mut Walk) {
    let campaigns = "/v1/campaigns";
    let post = format!("POST {campaigns}");
    let news = json!({
        "name": "News", "body": "Hi {{name}}", "data": {"name": "there"}, "recipients": ["+15551234567", "+15551234568", "+15551234567"],
        "scheduled_at": (walk.world.clock_now() + SignedDuration::from_hours(24)).to_string(),
    });
    let now = json!({"name": "Now", "body": "Hi", "recipients": ["+15551234567"], "quiet_hours": "defer"});
    walk.send("what a campaign would do", &format!("{post}?dry_run=true"), news.clone()).await;
    let wrong = json!({"name": "", "body": "Hi {{", "recipients": ["5551234567"], "channel": "fax", "scheduled_at": "tomorrow", "x": 1});
    walk.send("all that is wrong", &post, wrong).await;
    walk.send("nobody to write to", &post, json!({"name": "News", "body": "Hi"})).await;
    let stranger = "con_0198c0de000070008000000000000000";
    walk.send("a contact that is not there", &post, json!({"name": "News", "body": "Hi", "recipients": ["+15551234567", stranger]})).await;
    walk.send("a one-time password", &post, json!({"name": "News", "template": "login_code", "recipients": ["+15551234567"]})).await;
    walk.ask("as a viewer", walk.by("viewer", &post).json(now.clone())).await;
    let planned = walk.send("one for later", &post, news).await;
    let sending = walk.send("one for now", &post, now).await;
    let [planned, one] = [planned, sending].map(|made| format!("{campaigns}/{}", id(&made.json()["data"])));
    walk.get("it", &format!("GET {one}")).await;
    walk.get("the campaigns", &format!("GET {campaigns}?status=scheduled&limit=1")).await;
    walk.get("its recipients", &format!("GET {one}/recipients?status=pending&limit=1")).await;
    walk.get("those of the one for later, of which there is another page", &format!("GET {planned}/recipients?limit=1")).await;
    walk.get("it is paused", &format!("POST {one}/pause")).await;
    walk.get("which it is", &format!("POST {one}/pause")).await;
    walk.get("and goes on", &format!("POST {one}/resume")).await;
    walk.get("the other one is cancelled", &format!("POST {planned}/cancel")).await;
    walk.get("which is final", &format!("POST {planned}/cancel")).await;
    walk.get("nothing failed that could go again", &format!("POST {one}/retry-failed")).await;
    let counts = walk.world.items_of_type("message_campaign").into_iter().find(|item| item["name"]["S"] == "Now").expect("the campaign");
    let [pk, sk] = ["pk", "sk"].map(|name| counts[name]["S"].as_str().expect("a key").to_owned());
    let part = json!({
        "pk": {"S": pk.replace("message-campaigns", "message-campaign-counts")}, "sk": {"S": format!("{sk}#0")}, "type": {"S": "message_campaign_counts"},
        "tenant": {"S": walk.own.id}, "campaign": {"S": sk}, "part": {"S": "0"}, "failed": {"N": "1"},
    });
    walk.world.put_item(&part);
    walk.world.change_item(&pk, &sk, |item| item["status"] = json!({"S": "completed"}));
    walk.get("what failed goes again", &format!("POST {one}/retry-failed")).await;
    walk.places.push(("/v1/campaigns/{id}", one));
}

// ---------------------------------------------------------------- compliance

#[tokio::test]
async fn compliance() {
    let mut walk = Walk::begin(Settings::default()).await;
    let (outs, consents) = ("/v1/opt-outs", "/v1/compliance/consent");
    let (ada, bob) = ("+15551234567", "+15551234568");
    let post = format!("POST {outs}");
    walk.send("somebody opts out", &post, json!({"phone_number": ada, "reason": "Called us"})).await;
    walk.send("they have already", &post, json!({"phone_number": ada})).await;
    walk.send("no number, and more", &post, json!({"phone_number": "0791234567", "reason": "", "keyword": "STOP"})).await;
    walk.ask("as a viewer", walk.by("viewer", &post).json(json!({"phone_number": bob}))).await;
    walk.send("another, under the other path", "POST /v1/compliance/opt-outs", json!({"phone_number": bob})).await;
    walk.get("the opt-out of a number", &format!("GET {outs}/%2B15551234567")).await;
    walk.get("the same, with a plus", &format!("GET {outs}/{ada}")).await;
    walk.get("under the other path", &format!("GET /v1/compliance/opt-outs/{ada}")).await;
    walk.get("what is no number", &format!("GET {outs}/15551234567")).await;
    let first = walk.get("opt-outs, one a page", &format!("GET {outs}?limit=1")).await;
    walk.get("the next one", &format!("GET {outs}?limit=1&cursor={}", cursor(&first))).await;
    walk.get("the newest", &format!("GET {outs}?order=recent&limit=1")).await;
    walk.get("those in force", &format!("GET {outs}?active=true&phone_number=%2B15551234567")).await;
    walk.get("filters that cannot be", &format!("GET {outs}?active=yes&order=name&phone_number=1")).await;
    let consent = json!({"consent_type": "express_written", "consent_source": "web_form", "consent_text": "Text me again."});
    let opt_in = format!("POST {outs}/{ada}/opt-in");
    walk.send("an opt-in without evidence", &opt_in, json!({})).await;
    walk.send("evidence that cannot be", &opt_in, json!({"consent": {"consent_type": "verbal", "ip_address": "1.2.3"}})).await;
    walk.send(
        "evidence of the future",
        &opt_in,
        json!({"consent": {"consent_type": "express", "consent_source": "api", "consented_at": "2099-01-01T00:00:00Z"}}),
    )
    .await;
    walk.ask("an opt-in by a member", walk.by("member", &opt_in).json(json!({"consent": consent}))).await;
    walk.send("an opt-in", &opt_in, json!({"consent": consent})).await;
    walk.send("they get messages already", &opt_in, json!({"consent": consent})).await;
    walk.send("the same as a DELETE", &format!("DELETE {outs}/{bob}"), json!({"consent": consent})).await;
    walk.get("nothing is suspected", &format!("POST {outs}/{ada}/dismiss")).await;
    walk.send("opted out again", &post, json!({"phone_number": bob})).await;
    let other = "/v1/compliance/opt-outs";
    walk.get("those under the other path", &format!("GET {other}?limit=1")).await;
    let eve = "+15551234570";
    walk.send("one of them", &format!("POST {other}"), json!({"phone_number": eve})).await;
    walk.send("comes back", &format!("POST {other}/{eve}/opt-in"), json!({"consent": consent})).await;
    walk.send("goes", &format!("POST {other}"), json!({"phone_number": eve})).await;
    walk.send("and comes back", &format!("DELETE {other}/{eve}"), json!({"consent": consent})).await;
    for (path, number) in [(outs, "+15551234571"), (other, "+15551234572")] {
        suspected(&walk.world, &walk.own, number);
        walk.get("a suspicion was none", &format!("POST {path}/{number}/dismiss")).await;
    }

    let record = format!("POST {consents}");
    let whole = json!({"phone_number": ada, "consent_type": "express_written", "consent_source": "checkout_form", "consent_text": "I agree.",
        "consent_text_version": "v2", "ip_address": "2001:DB8::1", "user_agent": "Mozilla/5.0", "evidence_url": "https://example.com/buy",
        "consented_at": "2024-01-31T10:30:00+01:00", "metadata": {"order": "42"}});
    let made = walk.send("a consent", &record, whole).await;
    let one = format!("{consents}/{}", id(&made.json()["data"]));
    walk.send(
        "what is needed",
        &record,
        json!({"phone_number": "+15551234569", "consent_type": "implied", "consent_source": "Our own words"}),
    )
    .await;
    let wrong = json!({"phone_number": "123", "consent_type": "written", "consent_source": "", "ip_address": "example.com", "evidence_url": "ftp://x",
        "consented_at": "yesterday", "metadata": {"n": 1}, "colour": "red"});
    walk.send("all that can be wrong", &record, wrong).await;
    walk.get("it", &format!("GET {one}")).await;
    let first = walk.get("the newest first", &format!("GET {consents}?limit=1")).await;
    walk.get("the next one", &format!("GET {consents}?limit=1&cursor={}", cursor(&first))).await;
    walk.get("of a number and a type", &format!("GET {consents}?phone_number=%2B15551234567&consent_type=express_written")).await;
    walk.get("of a time", &format!("GET {consents}?from=2024-01-01T00:00:00Z&to=2024-02-01T00:00:00Z")).await;
    walk.get("a time that ends before it begins", &format!("GET {consents}?from=2024-02-01T00:00:00Z&to=2024-01-01T00:00:00Z")).await;
    let second =
        walk.send("given anew", &record, json!({"phone_number": ada, "consent_type": "express", "consent_source": "manual"})).await;
    let second = format!("{consents}/{}", id(&second.json()["data"]));
    let revoked = walk.send("taken back", &format!("POST {second}/revoke"), json!({"reason": "On the phone"})).await;
    walk.send("it is not in force any more", &format!("POST {second}/revoke"), json!({})).await;
    walk.send("what takes back", &format!("POST {consents}/{}/revoke", id(&revoked.json()["data"])), json!({})).await;
    let rows = json!([{"phone_number": "+15551234560", "consent_type": "express", "consent_source": "paper_form", "consented_at": "2023-05-01T00:00:00Z"},
        {"phone_number": "1", "consent_type": "express", "consent_source": "paper_form"}, 4]);
    walk.send("an import", &format!("POST {consents}/import"), json!({"records": rows})).await;
    walk.send("the same again", &format!("POST {consents}/import"), json!({"records": rows})).await;
    anchored_next_day(&walk.world, &Workers::on(&walk.world)).await;
    walk.get("anchors", &format!("GET {consents}/anchors")).await;
    walk.get("fewer than none", &format!("GET {consents}/anchors?limit=0")).await;
    walk.get("chains hold", &format!("GET {consents}/verify")).await;
    walk.get("that of a number", &format!("GET {consents}/verify?phone_number=%2B15551234567")).await;
    walk.get("what proves it", &format!("GET {consents}/proof?phone_number=%2B15551234567")).await;
    walk.get("of no number", &format!("GET {consents}/proof")).await;
    let named = json!({"ids": [id(&made.json()["data"]), "cns_0198c0de000070008000000000000000"], "reason": "Asked to be forgotten"});
    walk.ask("evidence is forgotten, by an admin", walk.by("admin", &format!("POST {consents}/redact")).json(named.clone())).await;
    walk.send("evidence is forgotten", &format!("POST {consents}/redact"), named.clone()).await;
    walk.send("it is already", &format!("POST {consents}/redact"), named).await;
    walk.get("what is left", &format!("GET {one}")).await;
    walk.get("the chain holds still", &format!("GET {consents}/verify?phone_number=%2B15551234567")).await;
    walk.get("an export", &format!("GET {consents}/export")).await;
    walk.get("an export as a table", &format!("GET {consents}/export?format=csv&consent_type=express")).await;
    walk.get("of another form", &format!("GET {consents}/export?format=xml&cursor=x")).await;
    walk.places.push(("/v1/opt-outs/{phone}", format!("{outs}/{bob}")));
    walk.places.push(("/v1/compliance/opt-outs/{phone}", format!("/v1/compliance/opt-outs/{bob}")));
    walk.places.push(("/v1/compliance/consent/{id}", one));
    walk.refusals("compliance").await;
    walk.end("compliance");
}

// ---------------------------------------------------------------- webhooks

#[tokio::test]
async fn webhooks() {
    let mut walk = Walk::begin(Settings::default()).await;
    let webhooks = "/v1/webhooks";
    let post = format!("POST {webhooks}");
    walk.get("what there is to be told of", &format!("GET {webhooks}/event-types")).await;
    let given = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let body = json!({"url": "https://Example.com/hook", "events": ["message.inbound", "contact.*"], "secret": given});
    let made = walk.send("a webhook with a secret of one's own", &post, body).await;
    let one = format!("{webhooks}/{}", id(&made.json()["data"]));
    walk.send("a URL that leads inside", &post, json!({"url": "https://10.0.0.1/", "events": ["*"]})).await;
    walk.send("mistakes", &post, json!({"url": 1, "events": ["message"], "payload": "fat", "secret": "x", "more": 1})).await;
    walk.ask("as a member", walk.by("member", &post).json(json!({"url": "https://example.com/", "events": ["*"]}))).await;
    walk.get("it", &format!("GET {one}")).await;
    walk.get("the webhooks", &format!("GET {webhooks}")).await;
    walk.send("a change", &format!("PATCH {one}"), json!({"events": ["*"], "payload": "thin", "max_per_second": 100})).await;
    walk.send("a change of nothing", &format!("PATCH {one}"), json!({"enabled": true})).await;
    walk.send("to a URL of another scheme", &format!("PATCH {one}"), json!({"url": "http://example.com/"})).await;
    let other = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
    let rotate = format!("POST {one}/rotate-secret");
    walk.send("another secret", &rotate, json!({"secret": other, "grace_seconds": 3600})).await;
    walk.send("and a third", &rotate, json!({"secret": given})).await;
    walk.send("one too many", &rotate, json!({"secret": other})).await;
    let test = walk.get("a test, while nobody delivers", &format!("POST {one}/test")).await;
    let delivery = format!("{one}/deliveries/{}", test.json()["data"]["event_id"].as_str().expect("an event"));
    walk.get("its delivery", &format!("GET {delivery}")).await;
    walk.get("those that wait", &format!("GET {one}/deliveries?status=pending")).await;
    walk.get("again", &format!("POST {delivery}/retry")).await;
    let event = test.json()["data"]["event_id"].as_str().expect("an event").to_owned();
    walk.get("what happened", "GET /v1/events").await;
    walk.get("one of it", &format!("GET /v1/events/{event}")).await;
    walk.get("of messages alone", "GET /v1/events?type=message.*").await;
    walk.get("mistakes in a list", "GET /v1/events?type=message&order=up&since=yesterday").await;
    let replay = format!("POST {one}/replay");
    let since = (walk.world.clock_now() - jiff::SignedDuration::from_hours(1)).to_string();
    let begun = walk.send("a replay", &replay, json!({"since": since, "status": "all", "event": "message.*"})).await;
    walk.get("how far it is", &format!("GET {one}/replay/{}", id(&begun.json()["data"]))).await;
    walk.send("another one meanwhile", &replay, json!({"since": since})).await;
    walk.send("mistakes in a replay", &replay, json!({"until": 1, "status": "done", "event": "message"})).await;
    walk.send("of what is long gone", &replay, json!({"since": "2020-01-01T00:00:00Z"})).await;
    walk.send("it rests", &format!("PATCH {one}"), json!({"enabled": false})).await;
    walk.get("and is not tested", &format!("POST {one}/test")).await;
    walk.get("it goes", &format!("DELETE {one}")).await;
    walk.get("and is gone", &format!("GET {one}")).await;
    let made = walk.send("another", &post, json!({"url": "https://example.com/", "events": ["*"], "secret": given})).await;
    let one = format!("{webhooks}/{}", id(&made.json()["data"]));
    let test = walk.get("its test", &format!("POST {one}/test")).await;
    let delivery = format!("{one}/deliveries/{}", test.json()["data"]["event_id"].as_str().expect("an event"));
    let since = (walk.world.clock_now() - jiff::SignedDuration::from_hours(1)).to_string();
    let begun = walk.send("its replay", &format!("POST {one}/replay"), json!({"since": since})).await;
    let event = format!("/v1/events/{}", test.json()["data"]["event_id"].as_str().expect("an event"));
    walk.places.push(("/v1/webhooks/{id}/replay/{job}", format!("{one}/replay/{}", id(&begun.json()["data"]))));
    walk.places.push(("/v1/events/{id}", event));
    walk.places.push(("/v1/webhooks/{id}", one));
    walk.places.push(("/v1/webhooks/{id}/deliveries/{event}", delivery));
    walk.refusals("webhooks").await;
    walk.end("webhooks");
}

// ---------------------------------------------------------------- links

#[tokio::test]
async fn links() {
    let mut walk = Walk::begin(Settings::default()).await;
    enter_a_workspace(&mut walk).await;
    let campaign = walk.send("a campaign", &format!("POST {CAMPAIGNS}"), json!({"workspace_slug": "client", "name": "Spring"})).await;
    let lead = walk.send("a lead", &format!("POST {LEADS}"), json!({"email": "ada@example.com"})).await;
    let (campaign, lead) = (campaign.json()["data"].clone(), lead.json()["data"].clone());
    let mail = mail_to(&walk.world, &walk.own, id(&campaign), id(&lead)).await;
    let [unsubscribe, open, click] = LinkKind::ALL.map(|kind| link_of(&walk.world, &mail, kind));
    for (path, name) in [(&unsubscribe, "token to unsubscribe"), (&open, "token of the image"), (&click, "token of a link")] {
        walk.names.know(&path[5..], name);
    }
    walk.ask("the page", walk.anonymous(&format!("GET {unsubscribe}"))).await;
    let button = "List-Unsubscribe=One-Click";
    let press = |walk: &Walk| {
        let request = walk.anonymous(&format!("POST {unsubscribe}")).header("content-type", "application/x-www-form-urlencoded");
        request.raw(button.as_bytes())
    };
    walk.ask("its button", press(&walk)).await;
    walk.ask("its button once more", press(&walk)).await;
    walk.get("what became of the lead", &format!("GET {LEADS}/{}", id(&lead))).await;
    walk.ask("the mail is opened", walk.anonymous(&format!("GET {open}"))).await;
    walk.ask("a link is followed", walk.anonymous(&format!("GET {click}"))).await;
    walk.ask("a link cut short", walk.anonymous(&format!("GET {}", &click[..60]))).await;
    let swapped = open.replace("/e/o/", "/e/u/");
    walk.ask("a link of another kind", walk.anonymous(&format!("GET {swapped}"))).await;
    walk.ask("another method", walk.anonymous(&format!("DELETE {unsubscribe}"))).await;
    let profile = format!("T#{}#tenant", walk.own.id);
    walk.world.change_item(&profile, "profile", |item| item["status"] = json!({"S": "suspended"}));
    for (title, path) in [("the page of a suspended tenant", &unsubscribe), ("its image", &open), ("its link", &click)] {
        walk.ask(title, walk.anonymous(&format!("GET {path}"))).await;
    }
    walk.world.change_item(&profile, "profile", |item| item["status"] = json!({"S": "active"}));
    for (declared, path) in [("/e/u/{token}", unsubscribe), ("/e/o/{token}", open), ("/e/c/{token}", click)] {
        walk.places.push((declared, path));
    }
    walk.refusals("links").await;
    walk.end("links");
}
