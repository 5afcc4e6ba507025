//! The isolation sweep: every declared route with every kind of caller, tenant header and id. The routes come from the catalogue, so a
//! new one is attacked at once, or fails here until it has a line in `exception`. What a refused request must leave alone is compared item by item.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::SignedDuration;
use serde_json::{Value, json};
use shared::http::catalogue::{Operation, Shape};
use shared::http::form::ANY_NAME;
use shared::tenancy::doors::Access;
use shared::tenancy::{Role, Scope};

use crate::credentials::Minter;
use crate::derived::resolved;
use crate::world::{Answer, Caller, Request, Tenant, World, catalogue, claims_of, id};

/// Open on purpose. A line more here needs a reason in review; a line less never does.
const OPEN: [&str; 12] = [
    "GET /.well-known/jwks.json",
    "GET /e/c/{token}",
    "GET /e/o/{token}",
    "GET /e/u/{token}",
    "POST /api/v1/auth/accept-invitation",
    "POST /api/v1/auth/forgot-password",
    "POST /api/v1/auth/login",
    "POST /api/v1/auth/register",
    "POST /api/v1/auth/reset-password",
    "POST /api/v1/auth/verify-email",
    "POST /api/v1/demo",
    "POST /e/u/{token}",
];

/// What takes the tenant out of service. The sweep puts it back.
pub(crate) const ENDS_THE_TENANT: [&str; 2] = ["DELETE /api/tenant", "DELETE /api/tenants/{slug}"];

/// Set by the server; no body may set them.
const SERVER_OWNED: [&str; 36] = [
    "id",
    "uuid",
    "pk",
    "sk",
    "lpk",
    "lsk",
    "type",
    "ttl",
    "tenant",
    "tenant_id",
    "tenantId",
    "tenant_slug",
    "user",
    "user_id",
    "owner",
    "owner_id",
    "member_number",
    "number",
    "version",
    "created_at",
    "updated_at",
    "joined_at",
    "completed_at",
    "expires_at",
    "ends_at",
    "invited_by",
    "creator",
    "assignee",
    "link",
    "plan",
    "account",
    "system_admin",
    "is_tenant_owner",
    "verified_at",
    "email_verified_at",
    "is_archived",
];

/// What an operation's path names, and a body that a caller with the role succeeds with: as the catalogue tells, or as `exception` says.
pub(crate) fn sample(operation: &Operation) -> (Target, Value) {
    let (target, body) = exception(operation);
    let target = target.or_else(|| Target::of(operation)).unwrap_or_else(|| {
        panic!(
            "{} is a route without a sample: there is no POST that makes what its path names, so add a line to `exception` in \
             tests/it/isolation.rs that says it (a new kind of record is a new `Target`)",
            operation.name()
        )
    });
    (target, body.unwrap_or_else(|| example(operation)))
}

/// The example of the API reference; if the body has required fields, only those.
fn example(operation: &Operation) -> Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| catalogue().openapi("0.0.0"));
    if operation.body.is_empty() {
        return Value::Null;
    }
    let content = &DOCUMENT["paths"][operation.path][method(operation).to_ascii_lowercase()]["requestBody"]["content"]["application/json"];
    let mut example = content["example"].clone();
    let required = resolved(&DOCUMENT, &content["schema"])["required"].as_array().cloned().unwrap_or_default();
    if let Some(object) = example.as_object_mut().filter(|_| !required.is_empty()) {
        object.retain(|name, _| required.iter().any(|field| field == name));
    }
    example
}

/// Where the catalogue does not say enough: paths that name something no POST of their collection makes, things a tenant has only once, and bodies
/// whose example works only once.
fn exception(operation: &Operation) -> (Option<Target>, Option<Value>) {
    let address = format!("invited{}@elsewhere.example.com", serial());
    let (target, body) = match operation.name().as_str() {
        "POST /api/v1/auth/register" => {
            (None, json!({"name": "New", "email": address, "password": "correct horse", "company_name": "New"}))
        }
        "POST /api/v1/auth/forgot-password" => (None, json!({"email": address})),
        "POST /api/v1/auth/accept-invitation" => (None, json!({"token": "not-a-token"})),
        "POST /api/v1/demo" => (None, json!({"email": address, "name": "New", "company_name": "New"})),
        "POST /api/v1/tenant/invitations" => (None, json!({"email": address, "role": "viewer"})),
        "DELETE /api/v1/auth/sessions/{id}" => (Some(Target::Session), Value::Null),
        "PUT /api/v1/tenant/members/{id}" => (Some(Target::Member), json!({"role": "member"})),
        "DELETE /api/v1/tenant/members/{id}" => (Some(Target::Member), Value::Null),
        "POST /api/v1/projects/{uuid}/unarchive" => (Some(Target::ArchivedProject), Value::Null),
        "POST /api/tenants" => (None, json!({"slug": format!("sample-{}", serial()), "cms": "prismic", "repository": "sample"})),
        "PUT /api/tenants/{slug}" => (None, json!({"cms": "prismic", "repository": "sample"})),
        // The example's host is this deployment's own.
        "PUT /api/tenants/{slug}/api-config" => (None, json!({"apiOrigin": "https://origin.example.org"})),
        "POST /api/tenants/{slug}/domains" => (None, json!({"hostname": format!("added{}.example.com", serial())})),
        // The target has it: see `Target::made`.
        "DELETE /api/tenants/{slug}/domains" | "POST /api/tenants/{slug}/domains/verify" => {
            (None, json!({"hostname": "listed.{slug}.com"}))
        }
        "POST /api/tenant" => (Some(Target::NoTenant), json!({"name": "Sample"})),
        "POST /api/tenant-setting" | "POST /api/tenant-setting/dynamic" => {
            (None, json!({"name": "sample", "value": format!("value {}", serial())}))
        }
        "POST /api/v1/tenant/workspaces" => (None, json!({"name": "Sample"})),
        "DELETE /api/v1/tenant/workspaces/{workspace}" => (Some(Target::Workspace), json!({"confirm": "Sample"})),
        "POST /api/v1/tenant/workspaces/{workspace}/members" => (Some(Target::Workspace), json!({"email": address})),
        "POST /api/v1/tenant/leads" => (None, json!({"email": address})),
        "POST /api/v1/tenant/leads/lists" => (None, json!({"name": format!("List {}", serial())})),
        "POST /api/v1/tenant/leads/bulk" => {
            (None, json!({"ids": ["lead_0198c0de000070008000000000000000"], "action": "add_tag", "value": "vip"}))
        }
        "POST /v1/contacts" => (None, json!({"phone_number": format!("+1555{:07}", serial())})),
        "POST /v1/contact-groups" | "PATCH /v1/contact-groups/{id}" => (None, json!({"name": format!("Group {}", serial())})),
        "POST /v1/contact-groups/{id}/contacts" => (Some(Target::ContactGroup), json!({"contact_ids": ["{contact}"]})),
        "DELETE /v1/contact-groups/{id}/contacts" => (Some(Target::ContactOfGroup), json!({"contact_ids": ["{contact}"]})),
        name if name.contains("opt-outs/{phone}/dismiss") => (Some(Target::SuspectedOptOut), Value::Null),
        name if name.contains("opt-outs/{phone}") && name.starts_with("GET") => (Some(Target::OptOut), Value::Null),
        name if name.contains("opt-outs/{phone}") => {
            (Some(Target::OptOut), json!({"consent": {"consent_type": "express", "consent_source": "web_form"}}))
        }
        name if name.starts_with("POST") && name.ends_with("/opt-outs") => (None, json!({"phone_number": format!("+1555{:07}", serial())})),
        "POST /v1/compliance/consent/redact" => (None, json!({"ids": ["cns_0198c0de000070008000000000000000"], "reason": "asked"})),
        "POST /api/v1/tenant/suppression-list" => (None, json!({"email": address, "scope": "workspace", "reason": "manual"})),
        "POST /api/v1/tenant/suppression-list/bulk" => (None, json!({"emails": [address], "scope": "workspace", "reason": "manual"})),
        "POST /api/v1/tenant/templates" => {
            (None, json!({"name": format!("Template {}", serial()), "subject": "Hello", "body": "<p>Hello</p>"}))
        }
        "POST /v1/messages" => {
            let in_a_month = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 30)).to_string();
            (Some(Target::Lines), json!({"to": format!("+1555{:07}", serial()), "body": "Hello", "scheduled_at": in_a_month}))
        }
        "GET /v1/messages/{id}" | "POST /v1/messages/{id}/cancel" => (Some(Target::Message), Value::Null),
        "POST /v1/messages/{id}/resend" => (Some(Target::FailedMessage), Value::Null),
        "GET /v1/phone-lines/{id}" => (Some(Target::Line), Value::Null),
        "POST /v1/campaigns" => {
            let in_a_month = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 30)).to_string();
            let to = json!([format!("+1555{:07}", serial())]);
            (Some(Target::Lines), json!({"name": "Spring", "body": "Hello", "recipients": to, "scheduled_at": in_a_month}))
        }
        "POST /v1/campaigns/{id}/pause" => (Some(Target::MessageCampaign("sending")), Value::Null),
        "POST /v1/campaigns/{id}/resume" => (Some(Target::MessageCampaign("paused")), Value::Null),
        "POST /v1/campaigns/{id}/retry-failed" => (Some(Target::MessageCampaign("completed")), Value::Null),
        name if name.contains(" /v1/campaigns/{id}") => (Some(Target::MessageCampaign("scheduled")), Value::Null),
        // Whoever signs it is a gateway: tests/it/messages.rs attacks its door.
        "POST /v1/gateways/{id}/events" => (Some(Target::Nothing), Value::Null),
        // Each time other hours, so that each changes something.
        "PATCH /v1/settings/messaging" => {
            let minute = 481 + serial() % 479;
            (None, json!({"quiet_hours": {"end": format!("{:02}:{:02}", minute / 60, minute % 60)}}))
        }
        "POST /v1/templates" => {
            (None, json!({"name": format!("template_{}", serial()), "channel": "both", "type": "otp", "body": "Your code is {{code}}"}))
        }
        name if name.contains("/deliveries/{event}") => (Some(Target::Delivery), Value::Null),
        "POST /v1/webhooks/{id}/replay" => {
            let an_hour_ago = (jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1)).to_string();
            (Some(Target::Created("/v1/webhooks")), json!({"since": an_hour_ago}))
        }
        "GET /v1/webhooks/{id}/replay/{job}" => (Some(Target::Replay), Value::Null),
        "GET /v1/events/{id}" => (Some(Target::Event), Value::Null),
        "POST /api/v1/tenant/campaigns/{id}/send" => (Some(Target::LaunchedCampaign), json!({"action": "pause"})),
        "POST /api/v1/tenant/campaigns/{id}/recipients" => (Some(Target::LaunchedCampaign), json!({"lead_ids": ["{lead}"]})),
        "POST /api/v1/tenant/campaigns/{id}/retry" => (Some(Target::FailedRecipient), json!({"outcome": "failed", "lead_ids": ["{lead}"]})),
        "POST /api/v1/tenant/campaigns/{id}/test-send" => (Some(Target::TestedCampaign), json!({"to": ["{email}"]})),
        "PATCH /api/v1/tenant/inbox/threads/{id}" => (Some(Target::Thread), json!({"unread": false})),
        "POST /api/v1/tenant/inbox/threads/{id}/reply" => (Some(Target::Thread), json!({"body": "Hello"})),
        name if name.contains("/inbox/threads/{id}") => (Some(Target::Thread), Value::Null),
        name if name.ends_with("/recipients/{lead}/resume") => (Some(Target::PausedRecipient), Value::Null),
        name if name.contains("/campaigns/{id}/recipients") => (Some(Target::Recipient), Value::Null),
        // Whose link it is stands in the token: tests/it/links.rs attacks it.
        name if name.contains(" /e/") => (Some(Target::Nothing), Value::Null),
        name if name.ends_with("/duplicate") => (None, json!({})),
        "PATCH /api/v1/tenant/leads/lists/{id}" => (None, json!({"name": format!("List {}", serial())})),
        name if name.contains("/versions/{version}") => (Some(Target::TemplateVersion), json!({})),
        "POST /api/usage/ingest" => (None, json!({"batch_id": "1", "tenant": "no-such-tenant", "entries": []})),
        name if name.ends_with("/end-grace") && name.contains("{kid}") => (Some(Target::RetiringSubaccountKey), Value::Null),
        name if name.ends_with("/end-grace") => (Some(Target::RetiringKey), Value::Null),
        // The member is a viewer.
        "PATCH /api/v1/tenant/workspaces/{workspace}/members/{user_id}" => (Some(Target::WorkspaceMember), json!({"role": "member"})),
        name if name.contains("/members/{user_id}") => return (Some(Target::WorkspaceMember), None),
        name if name.contains("/workspaces/{workspace}") => return (Some(Target::Workspace), None),
        name if name.contains("/api/v1/tasks/{uuid}") => return (Some(Target::Task), None),
        name if name.contains("{kid}") => return (Some(Target::SubaccountKey), None),
        // A key with every scope, because the route may need it.
        name if name.contains("api-key/{id}") || name.contains("/v1/api-keys/{id}") => return (Some(Target::ApiKey), None),
        _ => return (None, None),
    };
    (target, Some(body))
}

#[tokio::test]
async fn every_role_may_do_what_the_catalogue_says_and_no_more() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let people = people(&world, &own).await;
    let mut calls = 0;
    for operation in in_tenant() {
        let (Access::AtLeast(least) | Access::InWorkspace(least)) = operation.access else { continue };
        let (kind, _) = sample(&operation);
        for (role, caller) in &people {
            let target = kind.made(&world, &own, caller).await;
            let before = content(&world, &own);
            let answer = call(&world, &operation, &target).token(&caller.token).send().await;
            calls += 1;
            let who = format!("{} as {}: {}", operation.name(), role.name(), answer.text);
            if *role >= least {
                assert_eq!(answer.status, operation.status, "{who}");
                put_back(&world, &operation, &own);
                continue;
            }
            assert_eq!((answer.status, answer.code().as_str()), (403, "FORBIDDEN"), "{who}");
            // A slug names the tenant itself, and they are in it: only a record within it must not show.
            // In a workspace, too, whose member they are.
            if !matches!(kind, Target::Slug | Target::Workspace | Target::WorkspaceMember) {
                let missing = call(&world, &operation, &beside(&operation, kind, &target)).token(&caller.token).send().await;
                assert_eq!(answer.fingerprint(), missing.fingerprint(), "a role too small learns whether something exists: {who}");
            }
            assert_eq!(content(&world, &own), before, "refused, but done: {who}");
        }
    }
    assert_eq!(calls, in_tenant().len() * Role::ALL.len());
}

#[tokio::test]
async fn a_key_may_do_what_its_scopes_say_and_no_more() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let neighbour = world.tenant("globex").await;
    let all: Vec<String> = Scope::all().map(|scope| scope.to_string()).collect();
    let text = |key: &Value| key["apiKey"].as_str().expect("a key").to_owned();
    let everything = text(&key(&world, &own, json!(["*"])).await);
    let (mut opened, mut for_people) = (0, 0);
    for operation in signed_in() {
        let (kind, _) = sample(&operation);
        let target = kind.made(&world, &own, &own.owner).await;
        let before = content(&world, &own);
        let Some(scope) = operation.scope() else {
            let answer = call(&world, &operation, &target).token(&everything).send().await;
            assert_eq!((answer.status, answer.code().as_str()), (403, "FORBIDDEN"), "{}: {}", operation.name(), answer.text);
            assert_eq!(uses_aside(&content(&world, &own)), uses_aside(&before), "{}", operation.name());
            for_people += 1;
            continue;
        };
        let others: Vec<&String> = all.iter().filter(|other| **other != scope.to_string()).collect();
        let lacking = text(&key(&world, &own, json!(others)).await);
        let before = content(&world, &own);
        let refused = call(&world, &operation, &target).token(&lacking).send().await;
        assert_eq!((refused.status, refused.code().as_str()), (403, "FORBIDDEN"), "{} without {scope}", operation.name());
        assert_eq!(uses_aside(&content(&world, &own)), uses_aside(&before), "{} without {scope}", operation.name());
        // A foreign thing, even with every scope, is nothing.
        if !kind.is_nobodys() {
            let foreign = kind.made(&world, &neighbour, &neighbour.owner).await;
            let theirs = everything_of(&world, &neighbour);
            let missing = call(&world, &operation, kind.nonexistent()).token(&everything).send().await;
            let answer = call(&world, &operation, &foreign).token(&everything).send().await;
            assert_eq!((answer.status, answer.fingerprint()), (404, missing.fingerprint()), "{}", operation.name());
            assert_eq!(everything_of(&world, &neighbour), theirs, "{} touched the neighbour", operation.name());
        }
        // With `keys:write` alone a key could not make the sample's key, which may do more.
        let scopes = if operation.path.contains("api-key") { json!(["*"]) } else { json!([scope.to_string()]) };
        let having = text(&key(&world, &own, scopes).await);
        let answer = call(&world, &operation, &target).token(&having).send().await;
        assert_eq!(answer.status, operation.status, "{} with {scope}: {}", operation.name(), answer.text);
        opened += 1;
    }
    assert!(opened >= 24 && for_people >= 8, "{opened} {for_people}");
}

/// All but the notes of when a key was used.
fn uses_aside(items: &[Value]) -> Vec<Value> {
    items.iter().filter(|item| item["type"]["S"] != "api_key_use").cloned().collect()
}

#[tokio::test]
async fn no_credential_that_does_not_hold_opens_any_route() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let bad = bad_credentials(&world, &own).await;
    let second = world.member(&own, "owner").await;
    for operation in signed_in() {
        let (kind, _) = sample(&operation);
        let target = kind.made(&world, &own, &own.owner).await;
        let before = (content(&world, &own), users(&world));
        let anonymous = call(&world, &operation, &target).send().await.expect(401);
        assert_eq!(anonymous.code(), "UNAUTHORIZED");
        for (name, authorization) in &bad {
            for target in [target.as_str(), kind.nonexistent()] {
                let answer = call(&world, &operation, target).header("authorization", authorization).send().await;
                assert_eq!(answer.fingerprint(), anonymous.fingerprint(), "{} with {name}", operation.name());
            }
        }
        assert_eq!((content(&world, &own), users(&world)), before, "{} changed something for a caller it refused", operation.name());
        // The control: the same request with a session that holds.
        let alone = if kind == Target::NoTenant { Some(homeless(&world, &own).await) } else { None };
        let owner = if kind == Target::Session { &own.owner } else { alone.as_ref().unwrap_or(&second) };
        let owner = world.login(&owner.email, &owner.password).await;
        call(&world, &operation, &target).token(&owner.token).send().await.expect(operation.status);
        put_back(&world, &operation, &own);
    }
}

#[tokio::test]
async fn an_inaccessible_tenant_lets_nobody_in_and_is_not_changed() {
    let world = World::new().await;
    let past = (world.auth.clock().now() - SignedDuration::from_secs(1)).to_string();
    for (attribute, value, status, selected_status) in [
        ("status", "suspended", 403, 403),
        ("ends_at", past.as_str(), 403, 403),
        ("status", "deleting", 403, 404),
        ("status", "closed", 403, 404),
    ] {
        let own = world.tenant(&format!("acme{}", serial())).await;
        let people = people(&world, &own).await;
        let mut targets = vec![];
        for operation in in_tenant() {
            let target = sample(&operation).0.made(&world, &own, &own.owner).await;
            targets.push((operation, target));
        }
        world.get("/api/v1/projects").token(&own.owner.token).send().await.expect(200);
        set_tenant(&world, &own, attribute, value);
        let before = content(&world, &own);
        for (operation, target) in &targets {
            // Whoever asks for their tenant hears that there is none any more.
            let own_path = sample(operation).0 == Target::Slug || operation.path == "/api/tenant";
            let status = if own_path { selected_status } else { status };
            for (role, caller) in &people {
                let what = format!("{} as {} with {attribute} {value}", operation.name(), role.name());
                let answer = call(&world, operation, target).token(&caller.token).send().await;
                assert_eq!(answer.status, status, "{what}: {}", answer.text);
                let selected = call(&world, operation, target).token(&caller.token).header("x-tenant-id", &own.slug).send().await;
                assert_eq!(selected.status, selected_status, "{what}, selected: {}", selected.text);
            }
        }
        assert_eq!(content(&world, &own), before, "{attribute} {value}");
        world.post("/api/v1/auth/login").json(json!({"email": own.owner.email, "password": own.owner.password})).send().await.expect(
            // Whose only tenant is going away still has an account.
            if selected_status == 403 { 403 } else { 200 },
        );
    }
}

#[tokio::test]
async fn a_removed_member_is_a_stranger() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let gone = world.member(&own, "admin").await;
    world.get("/api/v1/projects").token(&gone.token).send().await.expect(200);
    world.delete(format!("/api/v1/tenant/members/{}", gone.id)).token(&own.owner.token).send().await.expect(200);
    let homeless = world.login(&gone.email, &gone.password).await;
    for world in [world.clone(), world.another_instance().await] {
        for operation in in_tenant() {
            let target = sample(&operation).0.made(&world, &own, &own.owner).await;
            let before = content(&world, &own);
            for _ in 0..3 {
                call(&world, &operation, &target).token(&gone.token).send().await.expect(401);
            }
            for name in [&own.id, &own.slug] {
                call(&world, &operation, &target).token(&gone.token).header("x-tenant-id", name).send().await.expect(401);
                call(&world, &operation, &target).token(&homeless.token).header("x-tenant-id", name).send().await.expect(404);
            }
            let status = if sample(&operation).0 == Target::Slug || operation.path == "/api/tenant" { 404 } else { 403 };
            call(&world, &operation, &target).token(&homeless.token).send().await.expect(status);
            assert_eq!(content(&world, &own), before, "{} changed the tenant for somebody who left it", operation.name());
        }
    }
    // Invited back, they sign in anew: what they held before stays void. (Ids of one millisecond have no order, and the newest mail is meant.)
    world.advance(SignedDuration::from_millis(10));
    world.post("/api/v1/tenant/invitations").token(&own.owner.token).json(json!({"email": gone.email})).send().await.expect(201);
    let token = world.link_token(&gone.email);
    world.post("/api/v1/auth/accept-invitation").json(json!({"token": token})).send().await.expect(200);
    world.get("/api/v1/projects").token(&gone.token).send().await.expect(401);
    let back = world.login(&gone.email, &gone.password).await;
    world.get("/api/v1/projects").token(&back.token).send().await.expect(200);
}

#[tokio::test]
async fn a_session_that_ended_spends_nothing_of_the_tenants_day() {
    let world = World::strict().await;
    let own = world.tenant("acme").await;
    let ended = world.login(&own.owner.email, &own.owner.password).await;
    world.post("/api/v1/auth/logout").token(&ended.token).send().await.expect(200);
    let cold = world.another_instance().await;
    cold.get("/api/v1/projects").token(&ended.token).send().await.expect(401);
    let before = cold.items_of(&own);
    for _ in 0..50 {
        cold.get("/api/v1/projects").token(&ended.token).send().await.expect(401);
    }
    assert_eq!(cold.items_of(&own), before, "refused requests took from the daily quota");
}

#[tokio::test]
async fn another_tenants_anything_is_as_if_it_did_not_exist() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let neighbour = crowded_neighbour(&world).await;
    let people = people(&world, &own).await;
    let mut compared = 0;
    for operation in signed_in() {
        let (kind, _) = sample(&operation);
        if kind.is_nobodys() || kind == Target::NoTenant {
            continue;
        }
        let foreign = kind.made(&world, &neighbour, &neighbour.owner).await;
        let before = everything_of(&world, &neighbour);
        for (role, caller) in &people {
            let what = format!("{} as {}", operation.name(), role.name());
            let missing = call(&world, &operation, kind.nonexistent()).token(&caller.token).send().await;
            let answer = call(&world, &operation, &foreign).token(&caller.token).send().await;
            assert_eq!(answer.fingerprint(), missing.fingerprint(), "{what}");
            compared += 1;
            // That a slug is taken is no secret: `slug-availability` says it.
            if kind != Target::Slug {
                let theirs = cost(&world, &operation, &foreign, caller).await;
                let nobodys = cost(&world, &operation, kind.nonexistent(), caller).await;
                assert_eq!(theirs, nobodys, "{what} takes another number of calls");
            }
            // Whoever is no member of a workspace hears that there is none, whatever their role.
            if !allows(&operation, *role) && kind != Target::Slug && !in_workspace(&operation) {
                assert_eq!(answer.status, 403, "{what}: {}", answer.text);
                continue;
            }
            assert_eq!(answer.status, 404, "{what}: {}", answer.text);
            for wrong in
                ["not-an-id", "0", "-1", "%23", "..%2f..", "%00", "T%23x%23tenant", &format!("{foreign}%23"), &format!("%20{foreign}")]
            {
                let answer = call(&world, &operation, wrong).token(&caller.token).send().await;
                assert_eq!(answer.fingerprint(), missing.fingerprint(), "{what} with {wrong}");
            }
        }
        assert_eq!(everything_of(&world, &neighbour), before, "{} touched the neighbour", operation.name());
        call(&world, &operation, &foreign).token(&neighbour.owner.token).send().await.expect(operation.status);
        put_back(&world, &operation, &neighbour);
    }
    assert!(compared >= 4 * 15, "{compared} comparisons");
}

/// What a mistake of ours in the keys would do: the item of one tenant lies where another's are read.
#[tokio::test]
async fn an_item_that_says_it_is_anothers_is_never_given_out() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let neighbour = world.tenant("globex").await;
    let project = world.project(&own.owner, "Misplaced").await;
    let item = world.items_of(&own).into_iter().find(|item| item["type"]["S"] == "project").expect("the project's item");
    let (pk, sk) = (item["pk"]["S"].as_str().expect("a key"), item["sk"]["S"].as_str().expect("a key"));
    let owners = [Some(neighbour.id.clone()), Some(format!("{} ", own.id)), Some(String::new()), Some(own.id.replace('-', "")), None];
    for owner in owners {
        world.change_item(pk, sk, |item| match &owner {
            Some(owner) => item["tenant"] = json!({"S": owner}),
            None => drop(item.as_object_mut().and_then(|item| item.remove("tenant"))),
        });
        for path in [format!("/api/v1/projects/{}", id(&project)), "/api/v1/projects".to_owned()] {
            let answer = world.get(&path).token(&own.owner.token).send().await;
            assert_eq!(answer.status, 500, "{path} of an item of {owner:?}: {}", answer.text);
            assert!(!answer.text.contains("Misplaced"), "{}", answer.text);
        }
    }
    world.change_item(pk, sk, |item| item["tenant"] = json!({"S": own.id}));
    world.get(format!("/api/v1/projects/{}", id(&project))).token(&own.owner.token).send().await.expect(200);
}

#[tokio::test]
async fn the_tenant_header_only_selects_among_ones_own() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let neighbour = crowded_neighbour(&world).await;
    let strangers = [
        neighbour.id.as_str(),
        neighbour.slug.as_str(),
        &neighbour.id.to_uppercase(),
        "0198c0de-0000-4000-8000-000000000000",
        "no-such-tenant",
        "",
        " ",
        &format!("{} ", own.slug),
        "*",
        "T#",
        "../..",
    ]
    .map(str::to_owned);
    for operation in in_tenant() {
        let (kind, _) = sample(&operation);
        // There the path selects.
        if kind == Target::Slug {
            continue;
        }
        let foreign = kind.made(&world, &neighbour, &neighbour.owner).await;
        let target = kind.made(&world, &own, &own.owner).await;
        let before = (everything_of(&world, &neighbour), content(&world, &own));
        let unknown =
            call(&world, &operation, &target).token(&own.owner.token).header("x-tenant-id", "nobody-here").send().await.expect(404);
        for stranger in &strangers {
            for target in [target.as_str(), &foreign, kind.nonexistent()] {
                let answer = call(&world, &operation, target).token(&own.owner.token).header("x-tenant-id", stranger).send().await;
                assert_eq!(answer.fingerprint(), unknown.fingerprint(), "{} with x-tenant-id {stranger:?}", operation.name());
            }
        }
        for (first, second) in [(&own.id, &neighbour.id), (&own.id, &own.id), (&neighbour.slug, &own.slug)] {
            let twice =
                call(&world, &operation, &target).token(&own.owner.token).header("x-tenant-id", first).header("x-tenant-id", second);
            twice.send().await.expect(400);
        }
        assert_eq!((everything_of(&world, &neighbour), content(&world, &own)), before, "{}", operation.name());
        let name = if operation.path.len() % 2 == 0 { &own.id } else { &own.slug };
        call(&world, &operation, &target).token(&own.owner.token).header("x-tenant-id", name).send().await.expect(operation.status);
        put_back(&world, &operation, &own);
    }
}

#[tokio::test]
async fn a_member_of_two_tenants_has_in_each_the_role_they_have_there() {
    let world = World::new().await;
    let home = world.tenant("home").await;
    let away = world.tenant("away").await;
    // The newest mail is found by its time.
    world.advance(SignedDuration::from_secs(1));
    let body = json!({"email": home.owner.email, "role": "viewer"});
    world.post("/api/v1/tenant/invitations").token(&away.owner.token).json(body).send().await.expect(201);
    let link = world.link_token(&home.owner.email);
    world.post("/api/v1/auth/accept-invitation").json(json!({"token": link})).send().await.expect(200);
    let theirs = world.project(&away.owner, "Away").await;
    let mine = world.project(&home.owner, "Home").await;
    for name in [&away.id, &away.slug] {
        let there = |request: Request| request.token(&home.owner.token).header("x-tenant-id", name);
        there(world.get(format!("/api/v1/projects/{}", id(&theirs)))).send().await.expect(200);
        there(world.get(format!("/api/v1/projects/{}", id(&mine)))).send().await.expect(404);
        there(world.put(format!("/api/v1/projects/{}", id(&theirs)))).json(json!({"name": "Mine now"})).send().await.expect(403);
    }
    world.get(format!("/api/v1/projects/{}", id(&theirs))).token(&home.owner.token).send().await.expect(404);
    world
        .put(format!("/api/v1/projects/{}", id(&mine)))
        .token(&home.owner.token)
        .json(json!({"name": "Still mine"}))
        .send()
        .await
        .expect(200);
}

#[tokio::test]
async fn asking_for_a_slug_costs_the_same_whether_it_is_taken_or_free() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let neighbour = world.tenant("globex").await;
    let left = async || -> i64 {
        let answer = world.get("/api/v1/projects").token(&own.owner.token).send().await.expect(200);
        answer.header("x-ratelimit-remaining").parse().expect("a number")
    };
    let mut costs = BTreeSet::new();
    for name in [neighbour.slug.as_str(), "free-slug", &neighbour.id, "not a slug at all"] {
        let before = left().await;
        world.get("/api/v1/projects").token(&own.owner.token).header("x-tenant-id", name).send().await.expect(404);
        costs.insert(before - left().await);
    }
    assert_eq!(costs.len(), 1, "the requests left tell taken slugs from free ones: {costs:?}");
}

#[tokio::test]
async fn asking_for_tenants_is_limited_like_any_request() {
    let world = World::strict().await;
    let own = world.tenant("acme").await;
    let neighbour = world.tenant("globex").await;
    for name in [neighbour.slug.as_str(), "free-slug"] {
        let ask = async || world.get("/api/v1/projects").token(&own.owner.token).header("x-tenant-id", name).send().await.status;
        for _ in 0..120 {
            assert_eq!(ask().await, 404);
        }
        assert_eq!(ask().await, 429, "{name}");
        world.advance(SignedDuration::from_secs(60));
    }
}

#[tokio::test]
async fn ids_in_bodies_and_filters_reach_only_ones_own_records() {
    // Every field of every body that names a record, by the catalogue's own words.
    let naming: BTreeSet<String> = signed_in()
        .iter()
        .flat_map(|operation| operation.body.iter().chain(&operation.query).map(move |field| (operation, field)))
        .filter(|(_, field)| {
            let is_uuid = field.schema["format"] == "uuid";
            is_uuid || ["id", "_id", "_to", "_by", "_ids"].iter().any(|ending| field.name.ends_with(ending)) || field.name == "member"
        })
        // The agency's own word, which names nothing here.
        .filter(|(_, field)| field.name != "external_id" && field.schema["format"] != "email")
        .map(|(operation, field)| format!("{} {}", operation.name(), field.name))
        .collect();
    let tested = [
        "GET /api/v1/projects/{uuid}/tasks assigned_to",
        "DELETE /v1/contact-groups/{id}/contacts contact_ids",
        "GET /api/v1/tenant/inbox/threads assigned_to",
        "GET /api/v1/tenant/inbox/threads campaign_id",
        "GET /api/v1/tenant/inbox/threads lead_id",
        "GET /v1/contacts group_id",
        "GET /v1/messages campaign_id",
        "PATCH /api/v1/tenant/inbox/threads/{id} assigned_to",
        "POST /api/v1/projects/{uuid}/tasks assigned_to",
        "PATCH /api/v1/tenant/leads/{id} list_ids",
        "PATCH /v1/contacts/{id} group_ids",
        "POST /api/v1/tenant/campaigns/{id}/recipients lead_ids",
        "POST /api/v1/tenant/campaigns/{id}/retry lead_ids",
        "POST /api/v1/tenant/campaigns/{id}/test-send lead_id",
        "POST /api/v1/tenant/leads list_ids",
        "POST /api/v1/tenant/templates/render lead_id",
        "POST /api/v1/tenant/templates/{id}/render lead_id",
        "POST /v1/api-keys workspace_ids",
        "POST /v1/campaigns group_id",
        "POST /v1/contact-groups/{id}/contacts contact_ids",
        "POST /v1/contacts group_ids",
        "POST /v1/contacts/import group_ids",
        "POST /v1/subaccounts/{id}/api-keys workspace_ids",
        "PUT /api/v1/tasks/{uuid} assigned_to",
    ];
    assert_eq!(naming, tested.map(str::to_owned).into(), "a field that names a record needs its lines in this test");

    let world = World::new().await;
    let own = world.tenant("acme").await;
    let neighbour = crowded_neighbour(&world).await;
    let foreign = world.member(&neighbour, "member").await.id;
    let project = world.project(&own.owner, "Own").await;
    let task = world.task(&own.owner, &project, json!({"title": "Own"})).await;
    let before = (everything_of(&world, &neighbour), content(&world, &own));
    let tasks = format!("/api/v1/projects/{}/tasks", id(&project));
    let create =
        async |number: u64| world.post(&tasks).token(&own.owner.token).json(json!({"title": "New", "assigned_to": number})).send().await;
    let update = async |number: u64| {
        world.put(format!("/api/v1/tasks/{}", id(&task))).token(&own.owner.token).json(json!({"assigned_to": number})).send().await
    };
    let filter = async |number: u64| world.get(format!("{tasks}?assigned_to={number}")).token(&own.owner.token).send().await;
    assert_eq!(create(foreign).await.expect(422).fingerprint(), create(999_999).await.fingerprint());
    assert_eq!(update(foreign).await.expect(422).fingerprint(), update(999_999).await.fingerprint());
    let (theirs, nobodys) = (filter(foreign).await.expect(200), filter(999_999).await.expect(200));
    assert_eq!((theirs.json()["data"].clone(), nobodys.json()["data"].clone()), (json!([]), json!([])));
    assert_eq!((everything_of(&world, &neighbour), content(&world, &own)), before);
    let theirs = home(&world, &neighbour).await;
    let subaccount = id(&subaccount(&world, &own).await).to_owned();
    for keys in ["/v1/api-keys".to_owned(), format!("/v1/subaccounts/{subaccount}/api-keys")] {
        let make = async |workspace: &str| {
            world.post(&keys).token(&own.owner.token).json(json!({"name": "K", "workspace_ids": [workspace]})).send().await.expect(400)
        };
        let (theirs, nobodys) = (make(&theirs).await, make("ws_0198c0de000070008000000000000000").await);
        assert_eq!(theirs.fingerprint(), nobodys.fingerprint(), "{keys}");
    }
    // Lists of another tenant, and of another workspace of one's own.
    home(&world, &own).await;
    let list = |tenant: &Tenant, workspace: &str| {
        let body = json!({"name": format!("List {}", serial()), "workspace_slug": workspace});
        world.post("/api/v1/tenant/leads/lists").token(&tenant.owner.token).json(body).send()
    };
    let (elsewhere, _) = workspace(&world, &own, &own.owner).await;
    let their_list = id(&list(&neighbour, &theirs).await.expect(201).json()["data"]).to_owned();
    let other_list = id(&list(&own, &elsewhere).await.expect(201).json()["data"]).to_owned();
    let lead =
        world.post("/api/v1/tenant/leads").token(&own.owner.token).json(json!({"email": "own@example.com"})).send().await.expect(201);
    let lead = format!("/api/v1/tenant/leads/{}", id(&lead.json()["data"]));
    let their_lead = json!({"email": "theirs@example.com"});
    let their_lead = world.post("/api/v1/tenant/leads").token(&neighbour.owner.token).json(their_lead).send().await.expect(201);
    let elsewhere = json!({"email": "elsewhere@example.com", "workspace_slug": elsewhere});
    let other_lead = world.post("/api/v1/tenant/leads").token(&own.owner.token).json(elsewhere).send().await.expect(201);
    let template = Target::Created("/api/v1/tenant/templates").made(&world, &own, &own.owner).await;
    let shown = async |lead: &str| {
        let saved = world.post(format!("/api/v1/tenant/templates/{template}/render")).token(&own.owner.token);
        let unsaved = world.post("/api/v1/tenant/templates/render").token(&own.owner.token);
        let saved = saved.json(json!({"lead_id": lead})).send().await.expect(404);
        let unsaved = unsaved.json(json!({"subject": "S", "body": "B", "lead_id": lead})).send().await.expect(404);
        (saved.fingerprint(), unsaved.fingerprint())
    };
    let nobodys = shown("lead_0198c0de000070008000000000000000").await;
    assert_eq!(shown(id(&their_lead.json()["data"])).await, nobodys);
    assert_eq!(shown(id(&other_lead.json()["data"])).await, nobodys);
    let (campaign, own_lead) = launched(&world, &own).await;
    let recipients = async |lead: &str| {
        let added = world.post(format!("/api/v1/tenant/campaigns/{campaign}/recipients")).token(&own.owner.token);
        let retried = world.post(format!("/api/v1/tenant/campaigns/{campaign}/retry")).token(&own.owner.token);
        let tested = world.post(format!("/api/v1/tenant/campaigns/{campaign}/test-send")).token(&own.owner.token);
        // Nothing is done where one of them is not there.
        let added = added.json(json!({"lead_ids": [own_lead, lead]})).send().await.expect(404);
        let retried = retried.json(json!({"outcome": "failed", "lead_ids": [lead]})).send().await.expect(404);
        let tested = tested.json(json!({"to": [own.owner.email], "lead_id": lead})).send().await.expect(404);
        (added.fingerprint(), retried.fingerprint(), tested.fingerprint())
    };
    let nobodys = recipients("lead_0198c0de000070008000000000000000").await;
    assert_eq!(recipients(id(&their_lead.json()["data"])).await, nobodys);
    assert_eq!(recipients(id(&other_lead.json()["data"])).await, nobodys);
    assert!(!world.items_of(&own).iter().any(|item| item["type"]["S"] == "enrolment"));
    let on = async |list: &str| {
        let new = json!({"email": "new@example.com", "list_ids": [list]});
        let created = world.post("/api/v1/tenant/leads").token(&own.owner.token).json(new).send().await.expect(404);
        let changed = world.patch(&lead).token(&own.owner.token).json(json!({"list_ids": [list]})).send().await.expect(404);
        (created.fingerprint(), changed.fingerprint())
    };
    let nobodys = on("list_0198c0de000070008000000000000000").await;
    assert_eq!((on(&their_list).await, on(&other_list).await), (nobodys.clone(), nobodys));
    let thread = format!("/api/v1/tenant/inbox/threads/{}", thread(&world, &own).await);
    let assign = async |number: u64| world.patch(&thread).token(&own.owner.token).json(json!({"assigned_to": number})).send().await;
    assert_eq!(assign(foreign).await.expect(400).fingerprint(), assign(999_999).await.expect(400).fingerprint());
    // A member of the tenant who cannot enter the workspace would never see it.
    let outside = world.member(&own, "member").await.id;
    assert_eq!(assign(outside).await.expect(400).fingerprint(), assign(999_999).await.expect(400).fingerprint());
    let of_another = [
        format!("assigned_to={foreign}"),
        format!("lead_id={}", id(&their_lead.json()["data"])),
        format!("lead_id={}", id(&other_lead.json()["data"])),
        "campaign_id=cmp_0198c0de000070008000000000000000".to_owned(),
    ];
    for filter in of_another {
        let found = world.get(format!("/api/v1/tenant/inbox/threads?{filter}")).token(&own.owner.token).send().await.expect(200).json();
        assert_eq!((&found["data"], &found["pagination"]["total"]), (&json!([]), &json!(0)), "{filter}");
    }
    contacts_and_groups_are_ones_own(&world, &own, &neighbour).await;
    // The control.
    assign(own.owner.id).await.expect(200);
    create(own.owner.id).await.expect(201);
    update(own.owner.id).await.expect(200);
    assert_eq!(filter(own.owner.id).await.json()["data"].as_array().map(Vec::len), Some(2));
}

async fn contacts_and_groups_are_ones_own(world: &World, own: &Tenant, neighbour: &Tenant) {
    let token = &own.owner.token;
    let (contacts, groups) = ("/v1/contacts", "/v1/contact-groups");
    let own_contact = Target::Created(contacts).made(world, own, &own.owner).await;
    let own_group = Target::Created(groups).made(world, own, &own.owner).await;
    let their_contact = Target::Created(contacts).made(world, neighbour, &neighbour.owner).await;
    let their_group = Target::Created(groups).made(world, neighbour, &neighbour.owner).await;
    let number = format!("+1555{:07}", serial());
    let with_group = async |group: &str| {
        let created = world.post(contacts).token(token).json(json!({"phone_number": number, "group_ids": [group]})).send().await;
        let changed =
            world.patch(format!("{contacts}/{own_contact}")).token(token).json(json!({"group_ids": [own_group, group]})).send().await;
        let row = json!({"phone_number": number});
        let imported = world.post("/v1/contacts/import").token(token).json(json!({"contacts": [row], "group_ids": [group]})).send().await;
        let listed = world.get(format!("{contacts}?group_id={group}")).token(token).send().await;
        // A row says it of itself.
        let row = json!({"phone_number": number, "group_ids": [group]});
        let of_row = world.post("/v1/contacts/import").token(token).json(json!({"contacts": [row]})).send().await.expect(200);
        assert_eq!((&of_row.json()["data"]["created"], &of_row.json()["data"]["errors"][0]["code"]), (&json!(0), &json!("NOT_FOUND")));
        [created, changed, imported, listed].map(|answer| answer.expect(404).fingerprint())
    };
    let with_contact = async |contact: &str| {
        let mut told = vec![];
        for method in ["POST", "DELETE"] {
            let path = format!("{groups}/{own_group}/contacts");
            let answer = world.request(method, path).token(token).json(json!({"contact_ids": [contact]})).send().await.expect(200);
            told.push(answer.fingerprint().replace(contact, "<contact>"));
        }
        told
    };
    let their_campaign = message_campaign(world, neighbour, "sending").await;
    let to_many = async |group: &str, contact: &str, campaign: &str| {
        let send = |to: Value| {
            let mut body = json!({"name": "Spring", "body": "Hello"});
            body.as_object_mut().expect("an object").extend(to.as_object().expect("an object").clone());
            world.post("/v1/campaigns").token(token).json(body).send()
        };
        let of_group = send(json!({"group_id": group})).await.expect(404);
        let of_contact = send(json!({"recipients": [contact]})).await.expect(400);
        let listed = world.get(format!("/v1/messages?campaign_id={campaign}")).token(token).send().await.expect(200);
        [of_group, of_contact, listed].map(|answer| answer.fingerprint())
    };
    let before = everything_of(world, neighbour);
    let nobodys = ["grp", "con", "cmp"].map(|kind| format!("{kind}_0198c0de000070008000000000000000"));
    let [group, contact, campaign] = &nobodys;
    assert_eq!(to_many(&their_group, &their_contact, &their_campaign).await, to_many(group, contact, campaign).await);
    assert_eq!(with_group(&their_group).await, with_group("grp_0198c0de000070008000000000000000").await);
    assert_eq!(with_contact(&their_contact).await, with_contact("con_0198c0de000070008000000000000000").await);
    assert_eq!(everything_of(world, neighbour), before);
    // The control.
    assert_ne!(with_contact(&own_contact).await, with_contact(&their_contact).await);
    world.post(contacts).token(token).json(json!({"phone_number": number, "group_ids": [own_group]})).send().await.expect(201);
    // What a neighbour knows of a number is theirs.
    world.post(contacts).token(&neighbour.owner.token).json(json!({"phone_number": number})).send().await.expect(201);
}

#[tokio::test]
async fn fields_that_the_server_owns_are_refused_by_name() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let mut refused = 0;
    for operation in operations().into_iter().filter(|operation| !operation.body.is_empty() && !operation.is_of_programs()) {
        let (kind, body) = sample(&operation);
        let target = kind.made(&world, &own, &own.owner).await;
        let before = content(&world, &own);
        let users = users(&world);
        for field in SERVER_OWNED.into_iter().chain(["role", "status", "slug", "email", "permissions"]) {
            if operation.body.iter().any(|known| known.name == field) {
                continue;
            }
            for value in [json!("owner"), json!(1), json!(true), Value::Null] {
                let mut body = body.clone();
                body[field] = value;
                let answer = call(&world, &operation, &target).token(&own.owner.token).json(body).send().await;
                let what = format!("{} with {field}: {}", operation.name(), answer.text);
                assert!(matches!(answer.status, 400 | 422) && answer.code() == "VALIDATION_ERROR", "{what}");
                assert!(answer.details().get(field).is_some(), "the field is not named: {what}");
                refused += 1;
            }
        }
        assert_eq!(content(&world, &own), before, "{}", operation.name());
        assert_eq!(self::users(&world), users, "{}", operation.name());
    }
    assert!(refused > 1_000, "{refused}");
}

#[tokio::test]
async fn a_cursor_means_nothing_in_another_tenant_list_or_order() {
    let world = World::new().await;
    lines(&world).await;
    let own = world.tenant("acme").await;
    let neighbour = world.tenant("globex").await;
    let mut lists: BTreeMap<&str, [String; 2]> = BTreeMap::new();
    for (index, tenant) in [&own, &neighbour].into_iter().enumerate() {
        world.member(tenant, "viewer").await;
        world.login(&tenant.owner.email, &tenant.owner.password).await;
        for percent in ["050", "080"] {
            let text = |text: &str| json!({"S": text});
            world.put_item(&json!({
                "pk": text(&format!("T#{}#quota-events", tenant.id)), "sk": text(&format!("2026-11#bytes#{percent}")), "type": text("quota_event"),
                "tenant": text(&tenant.id), "month": text("2026-11"), "metric": text("bytes"), "percent": {"N": percent}, "used": {"N": "1"},
                "limit": {"N": "1"}, "plan": text("free"), "reached_at": text("2026-11-21T00:00:00Z"),
            }));
        }
        for operation in operations().into_iter().filter(|operation| operation.shape == Shape::Many) {
            assert!(operation.query.iter().any(|field| field.name == "cursor"), "{} takes no cursor", operation.name());
            let parent = sample(&operation).0.made(&world, tenant, &tenant.owner).await;
            // Two to page through, of the list's own POST.
            if let Some(post) = OPERATIONS.iter().find(|known| known.path == operation.path && known.method == "POST") {
                for _ in 0..2 {
                    call(&world, post, &parent).token(&tenant.owner.token).send().await.expect(post.status);
                }
            }
            // What has no POST of its own comes with changes of its parent.
            for body in [json!({"text": "One"}), json!({"text": "Two"})].iter().filter(|_| operation.path.ends_with("/leads/{id}/activity"))
            {
                let notes = format!("/api/v1/tenant/leads/{parent}/notes");
                world.post(notes).token(&tenant.owner.token).json(body.clone()).send().await.expect(201);
            }
            for _ in ["One", "Two"].iter().filter(|_| operation.path.ends_with("/contact-groups/{id}/contacts")) {
                let body = json!({"phone_number": format!("+1555{:07}", serial()), "group_ids": [parent]});
                world.post("/v1/contacts").token(&tenant.owner.token).json(body).send().await.expect(201);
            }
            for _ in ["One", "Two"].iter().filter(|_| operation.path.ends_with("/webhooks/{id}/deliveries")) {
                delivery(&world, tenant, &parent).await;
            }
            for _ in ["One", "Two"].iter().filter(|_| operation.path == "/v1/events") {
                Target::Event.made(&world, tenant, &tenant.owner).await;
            }
            for number in [1, 2].into_iter().filter(|_| operation.path.ends_with("/consent/anchors")) {
                anchor(&world, tenant, number);
            }
            for _ in ["One", "Two"].iter().filter(|_| operation.path.ends_with("/inbox/threads")) {
                thread(&world, tenant).await;
            }
            for subject in ["One", "Two"].iter().filter(|_| operation.path.ends_with("/templates/{id}/versions")) {
                let template = format!("/api/v1/tenant/templates/{parent}");
                world.patch(template).token(&tenant.owner.token).json(json!({"subject": subject})).send().await.expect(200);
            }
            lists.entry(operation.path).or_default()[index] = concrete(operation.path, &parent);
        }
    }
    assert!(lists.len() >= 9, "{lists:?}");
    let limit = |path: &str| if path.contains("/tenant/") || path.starts_with("/v1/") { "limit=1" } else { "per_page=1" };
    let page = async |path: &str, caller: &Caller, more: &str| -> Answer {
        world.get(format!("{path}?{}{more}", limit(path))).token(&caller.token).send().await
    };
    let next = |answer: &Answer| -> String {
        let body = answer.json();
        let cursor = [&body["meta"], &body["pagination"], &body].into_iter().find_map(|place| place["next_cursor"].as_str());
        cursor.unwrap_or_else(|| panic!("a next_cursor: {body}")).to_owned()
    };
    let mut cursors = vec![];
    for [mine, theirs] in lists.values() {
        let (own_cursor, foreign) = (next(&page(mine, &own.owner, "").await), next(&page(theirs, &neighbour.owner, "").await));
        page(mine, &own.owner, &format!("&cursor={own_cursor}")).await.expect(200);
        page(mine, &own.owner, &format!("&cursor={foreign}")).await.expect(400);
        page(theirs, &neighbour.owner, &format!("&cursor={own_cursor}")).await.expect(400);
        cursors.push((mine, own_cursor));
    }
    for (path, _) in &cursors {
        for (other, cursor) in &cursors {
            let status = if path == other { 200 } else { 400 };
            page(path, &own.owner, &format!("&cursor={cursor}")).await.expect(status);
        }
    }
    for (path, cursor) in &cursors {
        // An empty one is none.
        for broken in mutations(cursor).into_iter().filter(|broken| !broken.is_empty()) {
            let answer = page(path, &own.owner, &format!("&cursor={broken}")).await;
            assert!(matches!(answer.status, 400 | 422), "{path} takes {broken} for {cursor}: {}", answer.text);
        }
    }
    let projects = &lists["/api/v1/projects"][0];
    let sorted = next(&page(projects, &own.owner, "&sort=name").await);
    page(projects, &own.owner, &format!("&sort=name&cursor={sorted}")).await.expect(200);
    for other in ["", "&sort=updated_at", "&sort=name&direction=asc", "&sort=name&search=o", "&sort=name&archived=true"] {
        page(projects, &own.owner, &format!("{other}&cursor={sorted}")).await.expect(400);
    }
}

#[tokio::test]
async fn open_routes_are_the_reviewed_ones_and_give_nothing_for_a_credential() {
    let open: Vec<String> = {
        let mut names: Vec<_> = operations().iter().filter(|operation| is_open(operation)).map(Operation::name).collect();
        names.sort();
        names
    };
    assert_eq!(open, OPEN, "the routes without a credential changed: OPEN in tests/it/isolation.rs is the reviewed list");
    let world = World::new().await;
    let own = world.tenant("acme").await;
    for operation in operations().into_iter().filter(is_open) {
        let before = everything_of(&world, &own);
        let bare = call(&world, &operation, "").json(json!({})).send().await;
        assert!(bare.status < 500, "{}", bare.text);
        for authorization in [format!("Bearer {}", own.owner.token), "Bearer garbage".into(), "Basic YTpi".into()] {
            let answer = call(&world, &operation, "")
                .json(json!({}))
                .header("authorization", &authorization)
                .header("x-tenant-id", &own.id)
                .send()
                .await;
            assert_eq!(answer.fingerprint(), bare.fingerprint(), "{}", operation.name());
        }
        let sampled = call(&world, &operation, "").send().await;
        assert!(sampled.status < 500, "{}: {}", operation.name(), sampled.text);
        assert_eq!(everything_of(&world, &own), before, "{} touched a tenant", operation.name());
    }
}

#[tokio::test]
async fn the_example_of_every_body_is_one_that_its_route_takes() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let document = catalogue().openapi("0.0.0");
    let key = world.aws.secret_values().await.remove(&world.environment("insights")["INGEST_SECRET_ID"]).flatten().expect("the edge's key");
    let with_body: Vec<Operation> =
        operations().into_iter().filter(|operation| !operation.body.is_empty() && operation.access != Access::Gateway).collect();
    for operation in &with_body {
        let name = operation.name();
        let content =
            &document["paths"][operation.path][method(operation).to_ascii_lowercase()]["requestBody"]["content"]["application/json"];
        let mut example = content["example"].clone();
        let required = resolved(&document, &content["schema"])["required"].as_array().cloned().unwrap_or_default();
        assert!(
            required.iter().all(|field| !example[field.as_str().unwrap_or_default()].is_null()),
            "{name}: {example} lacks what is required"
        );
        assert!(!example.to_string().contains("\"string\""), "{name}: {example}");
        let kind = sample(operation).0;
        let target = kind.made(&world, &own, &own.owner).await;
        let alone = if kind == Target::NoTenant { Some(homeless(&world, &own).await) } else { None };
        let caller = alone.as_ref().unwrap_or(&own.owner);
        // A form names all that is wrong at once: beside a field that it does not know, nothing may be.
        let open = operation.body.iter().any(|field| field.name == ANY_NAME);
        if !open {
            example["no_such_field"] = json!(true);
        }
        let request = call(&world, operation, &target).json(example.clone());
        let request = match operation.access {
            Access::Edge => request.header("x-ingest-key", &key),
            Access::Open { .. } | Access::Recipient => request,
            _ => request.token(&caller.token),
        };
        let answer = request.send().await;
        if open {
            assert!(answer.status < 300, "{name} {example}: {}", answer.text);
        } else {
            let wrong: Vec<String> = answer.details().as_object().into_iter().flat_map(|details| details.keys().cloned()).collect();
            assert_eq!(
                (answer.code().as_str(), wrong),
                ("VALIDATION_ERROR", vec!["no_such_field".to_owned()]),
                "{name} {example}: {}",
                answer.text
            );
        }
    }
    assert!(with_body.len() >= 35, "{}", with_body.len());
}

#[tokio::test]
async fn other_methods_and_spellings_of_a_path_reach_no_handler() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let mut declared: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for operation in operations() {
        declared.entry(operation.path).or_default().insert(method(&operation));
    }
    let before = (content(&world, &own), users(&world));
    for (path, methods) in &declared {
        let concrete = path
            .replace("{uuid}", "0198c0de-0000-7000-8000-000000000000")
            .replace("{id}", "4711")
            .replace("{slug}", "no-such-tenant")
            .replace("{kid}", "4711");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"] {
            if methods.contains(method) {
                continue;
            }
            let answer = world.request(method, concrete.clone()).token(&own.owner.token).send().await;
            // Links of mails answer people, with pages.
            let code = if path.starts_with("/e/") { "METHOD_NOT_ALLOWED".to_owned() } else { answer.code() };
            assert_eq!((answer.status, code.as_str()), (405, "METHOD_NOT_ALLOWED"), "{method} {path}");
            for allowed in methods {
                assert!(answer.header("allow").contains(allowed), "{method} {path} allows {:?}", answer.header("allow"));
            }
            let anonymous = world.request(method, concrete.clone()).send().await;
            assert_eq!(anonymous.fingerprint(), answer.fingerprint(), "{method} {path}");
        }
        let method = methods.first().expect("a method");
        let last = concrete.rsplit('/').next().unwrap_or_default();
        for trick in [
            format!("/{concrete}"),
            format!("{concrete}/"),
            format!("{concrete}/."),
            format!("{concrete}/..;/x"),
            concrete.replacen("/v1/", "/v1%2f", 1),
            concrete.replacen("/v1/", "/V1/", 1),
            concrete.replacen(last, &format!("{last}.json"), 1),
            format!("{concrete};x=1"),
        ] {
            if trick == concrete {
                continue;
            }
            let answer = world.request(method, trick.clone()).token(&own.owner.token).send().await;
            assert!(matches!(answer.status, 404 | 405), "{method} {trick}: {} {}", answer.status, answer.text);
        }
        // Dot segments are taken out before routing (RFC 3986): the same door, or none.
        for trick in [concrete.replacen('/', "/./", 1), concrete.replacen("/api/v1", "/api/x/../v1", 1)] {
            let (plain, dotted) = (world.request(method, concrete.clone()).send().await, world.request(method, trick.clone()).send().await);
            assert!(
                dotted.status == 404 || dotted.fingerprint() == plain.fingerprint(),
                "{method} {trick}: {} {}",
                dotted.status,
                dotted.text
            );
        }
    }
    assert_eq!((content(&world, &own), users(&world)), before);
}

#[tokio::test]
async fn an_id_once_used_opens_nothing_again() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let first = world.member(&own, "member").await;
    world.delete(format!("/api/v1/tenant/members/{}", first.id)).token(&own.owner.token).send().await.expect(200);
    let second = world.member(&own, "member").await;
    assert!(second.id > first.id, "member numbers are never given twice");
    world
        .put(format!("/api/v1/tenant/members/{}", first.id))
        .token(&own.owner.token)
        .json(json!({"role": "admin"}))
        .send()
        .await
        .expect(404);
    // A new tenant of the same name has a slug, an id and an account of its own.
    let again = world.post("/api/v1/auth/register").json(json!({
        "name": "Twin", "email": "twin@example.com", "password": "correct horse", "company_name": "acme",
    }));
    again.send().await.expect(202);
    let token = world.link_token("twin@example.com");
    world.post("/api/v1/auth/verify-email").json(json!({"token": token, "password": "correct horse"})).send().await.expect(200);
    world.post("/api/v1/auth/verify-email").json(json!({"token": token, "password": "correct horse"})).send().await.expect(422);
    let twin = world.login("twin@example.com", "correct horse").await;
    assert_ne!(claims_of(&twin.token)["tid"], own.id.as_str());
    let project = world.project(&own.owner, "Own").await;
    world.get(format!("/api/v1/projects/{}", id(&project))).token(&twin.token).send().await.expect(404);
}

/// A kind of record that a path names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    Nothing,
    /// What the POST of this collection makes.
    Created(&'static str),
    ArchivedProject,
    Task,
    /// The caller is a member of it, with their role in the tenant.
    Workspace,
    /// Workspace and number.
    WorkspaceMember,
    /// An earlier version of a template.
    TemplateVersion,
    /// One that sends, and a lead that is not in it.
    LaunchedCampaign,
    /// One that can be sent, and the address of the tenant's owner.
    TestedCampaign,
    /// Campaign and lead. There is another recipient, too.
    Recipient,
    PausedRecipient,
    FailedRecipient,
    /// One, and a contact that is not in it.
    ContactGroup,
    /// One, and a contact of it.
    ContactOfGroup,
    /// Nothing, where there are lines for messages to phones.
    Lines,
    /// A line for messages to phones, which all tenants share.
    Line,
    /// To a phone, in a month.
    Message,
    FailedMessage,
    /// A campaign of messages in this state, of which one failed.
    MessageCampaign(&'static str),
    /// A number that opted out.
    OptOut,
    /// A number that seems to have opted out.
    SuspectedOptOut,
    /// Webhook and event.
    Delivery,
    /// Webhook and replay.
    Replay,
    Event,
    /// With two messages.
    Thread,
    Member,
    /// The caller's own.
    Session,
    /// The tenant itself (F1).
    Slug,
    /// Nothing; for somebody who belongs to no tenant.
    NoTenant,
    ApiKey,
    /// One that was replaced and is in its grace.
    RetiringKey,
    /// Subaccount and key.
    SubaccountKey,
    RetiringSubaccountKey,
}

impl Target {
    /// By the path: the tenant itself, or what the POST of the path without its last value makes; `None` where there is none.
    fn of(operation: &Operation) -> Option<Self> {
        let Some((collection, last)) = operation.path.rsplit_once("/{") else { return Some(Target::Nothing) };
        if last.starts_with("slug}") {
            return Some(Target::Slug);
        }
        let created = |known: &Operation| known.path == collection && known.method == "POST" && known.status == 201;
        OPERATIONS.iter().find(|known| created(known)).map(|known| Target::Created(known.path))
    }

    /// A fresh one: an operation may use it up.
    pub(crate) async fn made(self, world: &World, tenant: &Tenant, caller: &Caller) -> String {
        match self {
            Target::Nothing => String::new(),
            Target::Created(collection) => {
                let operation = OPERATIONS.iter().find(|operation| operation.path == collection && operation.method == "POST");
                let operation = operation.expect("the collection has a POST");
                if in_workspace(operation) {
                    home(world, tenant).await;
                }
                let body = match sample(operation).1 {
                    // Each a setting of its own.
                    body if collection == "/api/tenant-setting" => json!({"name": format!("target{}", serial()), "value": body["value"]}),
                    body => body,
                };
                let made = world.post(collection).token(&tenant.owner.token).json(body).send().await.expect(operation.status).json();
                id(if made["data"].is_object() { &made["data"] } else { &made }).to_owned()
            }
            Target::ArchivedProject => {
                let project = world.project(&tenant.owner, "Target").await;
                world.post(format!("/api/v1/projects/{}/archive", id(&project))).token(&tenant.owner.token).send().await.expect(200);
                id(&project).to_owned()
            }
            Target::Task => {
                let project = world.project(&tenant.owner, "Target").await;
                id(&world.task(&tenant.owner, &project, json!({"title": "Target"})).await).to_owned()
            }
            Target::Workspace => workspace(world, tenant, caller).await.0,
            Target::WorkspaceMember => {
                let (workspace, member) = workspace(world, tenant, caller).await;
                format!("{workspace}|{member}")
            }
            Target::TemplateVersion => {
                let template = Box::pin(Target::Created("/api/v1/tenant/templates").made(world, tenant, caller)).await;
                let change = world.patch(format!("/api/v1/tenant/templates/{template}")).token(&tenant.owner.token);
                change.json(json!({"subject": "Hello again"})).send().await.expect(200);
                format!("{template}|1")
            }
            Target::LaunchedCampaign => {
                let (campaign, lead) = launched(world, tenant).await;
                format!("{campaign}|{lead}")
            }
            Target::TestedCampaign => format!("{}|{}", launched(world, tenant).await.0, tenant.owner.email),
            Target::Recipient | Target::PausedRecipient | Target::FailedRecipient => recipient(world, tenant, self).await,
            Target::ContactGroup | Target::ContactOfGroup => {
                let group = Box::pin(Target::Created("/v1/contact-groups").made(world, tenant, caller)).await;
                let groups = if self == Target::ContactOfGroup { json!([group]) } else { json!([]) };
                let body = json!({"phone_number": format!("+1555{:07}", serial()), "group_ids": groups});
                let contact = world.post("/v1/contacts").token(&tenant.owner.token).json(body).send().await.expect(201).json();
                format!("{group}|{}", id(&contact["data"]))
            }
            Target::Lines => {
                lines(world).await;
                String::new()
            }
            Target::Line => {
                lines(world).await;
                let pool = world.items_of_type("line_pool").remove(0);
                pool["lines"]["L"][0]["M"]["id"]["S"].as_str().expect("an id").to_owned()
            }
            Target::Message | Target::FailedMessage => {
                lines(world).await;
                let in_a_month = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 30)).to_string();
                let body = json!({"to": format!("+1555{:07}", serial()), "body": "Hello", "scheduled_at": in_a_month});
                let made = world.post("/v1/messages").token(&tenant.owner.token).json(body).send().await.expect(202).json();
                let id = made["data"]["message_id"].as_str().expect("an id").to_owned();
                if self == Target::FailedMessage {
                    let item = world.items_of(tenant).into_iter().find(|item| {
                        item["type"]["S"] == "phone_message"
                            && item["id"]["S"].as_str().is_some_and(|uuid| uuid.replace('-', "") == id[4..])
                    });
                    let item = item.expect("the message");
                    let [pk, sk] = ["pk", "sk"].map(|name| item[name]["S"].as_str().expect("a key").to_owned());
                    world.change_item(&pk, &sk, |item| item["status"] = json!({"S": "failed"}));
                }
                id
            }
            Target::MessageCampaign(status) => message_campaign(world, tenant, status).await,
            Target::OptOut => {
                let number = format!("+1555{:07}", serial());
                let body = json!({"phone_number": number});
                world.post("/v1/opt-outs").token(&tenant.owner.token).json(body).send().await.expect(201);
                number
            }
            Target::SuspectedOptOut => suspected(world, tenant, &format!("+1555{:07}", serial())),
            Target::Delivery => {
                let webhook = Box::pin(Target::Created("/v1/webhooks").made(world, tenant, caller)).await;
                format!("{webhook}|{}", delivery(world, tenant, &webhook).await)
            }
            Target::Replay => {
                let webhook = Box::pin(Target::Created("/v1/webhooks").made(world, tenant, caller)).await;
                let an_hour_ago = (jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1)).to_string();
                let replay = world.post(format!("/v1/webhooks/{webhook}/replay")).token(&tenant.owner.token);
                let replay = replay.json(json!({"since": an_hour_ago})).send().await.expect(202).json();
                format!("{webhook}|{}", id(&replay["data"]))
            }
            Target::Event => {
                let webhook = Box::pin(Target::Created("/v1/webhooks").made(world, tenant, caller)).await;
                delivery(world, tenant, &webhook).await
            }
            Target::Thread => thread(world, tenant).await,
            Target::Member => world.member(tenant, "viewer").await.id.to_string(),
            Target::NoTenant => String::new(),
            Target::ApiKey => id(&key(world, tenant, json!(["*"])).await).to_owned(),
            Target::RetiringKey => {
                let key = key(world, tenant, json!(["*"])).await;
                let rotate = world.post(format!("/api/tenant-api-key/{}/rotate", id(&key))).token(&tenant.owner.token);
                rotate.json(json!({"graceSeconds": 600})).send().await.expect(201);
                id(&key).to_owned()
            }
            Target::SubaccountKey | Target::RetiringSubaccountKey => {
                let subaccount = id(&subaccount(world, tenant).await).to_owned();
                let keys = format!("/v1/subaccounts/{subaccount}/api-keys");
                let made = world.post(&keys).token(&tenant.owner.token).json(json!({"name": "Theirs"})).send().await.expect(201);
                let key = id(&made.json()["data"]).to_owned();
                if self == Target::RetiringSubaccountKey {
                    let rotate = world.post(format!("{keys}/{key}/rotate")).token(&tenant.owner.token);
                    rotate.json(json!({"grace_seconds": 600})).send().await.expect(201);
                }
                format!("{subaccount}|{key}")
            }
            Target::Slug => {
                let body = json!({"hostname": format!("listed.{}.com", tenant.slug)});
                world.post(format!("/api/tenants/{}/domains", tenant.slug)).token(&tenant.owner.token).json(body).send().await;
                tenant.slug.clone()
            }
            Target::Session => {
                let another = world.login(&caller.email, &caller.password).await;
                claims_of(&another.token)["sid"].as_str().expect("a session id").to_owned()
            }
        }
    }

    /// Whether it is no tenant's own.
    fn is_nobodys(self) -> bool {
        matches!(self, Target::Nothing | Target::Lines | Target::Line)
    }

    fn nonexistent(self) -> &'static str {
        match self {
            Target::Member => "4711",
            Target::Slug => "no-such-tenant",
            _ => "0198c0de-0000-7000-8000-000000000000",
        }
    }
}

/// A campaign of messages to two numbers, as workers leave it.
async fn message_campaign(world: &World, tenant: &Tenant, status: &str) -> String {
    lines(world).await;
    let to = [0, 1].map(|_| format!("+1555{:07}", serial()));
    let body = json!({"name": "Spring", "body": "Hello", "recipients": to});
    let made = world.post("/v1/campaigns").token(&tenant.owner.token).json(body).send().await.expect(202).json();
    let id = id(&made["data"]).to_owned();
    let uuid = crate::world::uuid_of(&id);
    let place = format!("T#{}#message-campaigns", tenant.id);
    world.change_item(&place, &uuid, |item| item["status"] = json!({"S": status}));
    let counts = json!({"campaign": uuid, "part": "0", "failed": 1});
    let mut item = stored(&counts)["M"].clone();
    let own = [("pk", format!("T#{}#message-campaign-counts", tenant.id)), ("sk", format!("{uuid}#0"))];
    for (name, value) in own.into_iter().chain([("type", "message_campaign_counts".to_owned()), ("tenant", tenant.id.clone())]) {
        item[name] = json!({"S": value});
    }
    world.put_item(&item);
    id
}

/// A number that seems to have opted out, as the worker leaves it that takes in messages.
pub(crate) fn suspected(world: &World, tenant: &Tenant, number: &str) -> String {
    let (now, digits) = (world.auth.clock().now().to_string(), &number[1..]);
    let suspicion = json!({"since": now, "phrase": "please stop texting me"});
    let peer = json!({"phone_number": number, "suspected": suspicion, "version": 1});
    let opt_out = json!({"phone_number": number, "suspected": suspicion, "updated_at": now, "version": 1,
        "list_entry": {"updated_at": now, "active": false, "suspected": true}});
    for (collection, kind, record) in [("peers", "peer", peer), ("opt-outs", "opt_out", opt_out)] {
        let mut item = stored(&record)["M"].clone();
        let place = format!("T#{}#{collection}", tenant.id);
        for (name, value) in [("pk", place.as_str()), ("sk", digits), ("type", kind), ("tenant", tenant.id.as_str())] {
            item[name] = json!({"S": value});
        }
        if kind == "opt_out" {
            item["lpk"] = json!({"S": place});
            item["lsk"] = json!({"S": digits});
        }
        world.put_item(&item);
    }
    number.to_owned()
}

/// An event on its way to a webhook: nobody delivers it here.
async fn delivery(world: &World, tenant: &Tenant, webhook: &str) -> String {
    world.advance(SignedDuration::from_millis(1));
    let test = world.post(format!("/v1/webhooks/{webhook}/test")).token(&tenant.owner.token).send().await.expect(200);
    test.json()["data"]["event_id"].as_str().expect("an event").to_owned()
}

/// A thread of a stranger, as the receiver leaves it after two mails.
pub(crate) async fn thread(world: &World, tenant: &Tenant) -> String {
    let home = home(world, tenant).await;
    let tag = &home[home.len() - 12..];
    let new = || format!("019b0000-{:04x}-7000-8000-{tag}", serial());
    let (thread, messages) = (new(), [new(), new()]);
    let moment = world.auth.clock().now();
    let (email, now) = ("stranger@elsewhere.example.com", moment.to_string());
    let correspondent = json!({"email": email, "name": "Grace"});
    let common = json!({
        "subject": "Hello", "snippet": "Good day", "status": "open", "unread": true, "is_spam": false, "correspondent": correspondent,
        "last_message_at": now,
    });
    let with = |more: Value| {
        let mut record = common.clone();
        record.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        record
    };
    let whole = with(json!({
        "id": thread, "topic": "hello", "participants": [email], "messages": 2, "last_message": messages[1], "references": ["1@elsewhere.example.com"],
        "hours": {"prospect": {"began": now, "mails": 2}, "others": {"began": now, "mails": 0}}, "created_at": now, "updated_at": now, "version": 1,
    }));
    put(world, tenant, tag, "threads", &thread, "thread", &whole);
    let place = format!("open#{:015}#{thread}", moment.as_millisecond());
    put(world, tenant, tag, "inbox", &place, "thread_card", &with(json!({"thread": thread})));
    for message in &messages {
        let record = json!({
            "id": message, "thread": thread, "from": "prospect", "kind": "email", "name": "Grace", "email": email, "subject": "Hello",
            "text": {"plain": "Good day"}, "written_at": now, "version": 1,
        });
        put(world, tenant, tag, "messages", &format!("{thread}#{message}"), "message", &record);
    }
    let open = world.items_of_type("thread_card").iter().filter(|item| item["tenant"]["S"] == tenant.id.as_str()).count();
    put(world, tenant, tag, "counters", "threads_open", "counter", &json!({"n": open}));
    format!("th_{}", thread.replace('-', ""))
}

fn put(world: &World, tenant: &Tenant, tag: &str, collection: &str, sort: &str, kind: &str, record: &Value) {
    let mut item = stored(record)["M"].clone();
    let own = [("pk", format!("T#{}#{collection}#{tag}", tenant.id)), ("sk", sort.to_owned()), ("type", kind.to_owned())];
    for (name, value) in own.into_iter().chain([("tenant", tenant.id.clone()), ("workspace", tag.to_owned())]) {
        item[name] = json!({"S": value});
    }
    world.put_item(&item);
}

/// As the table has it.
fn stored(value: &Value) -> Value {
    match value {
        Value::Null => json!({"NULL": true}),
        Value::Bool(is) => json!({"BOOL": is}),
        Value::Number(number) => json!({"N": number.to_string()}),
        Value::String(text) => json!({"S": text}),
        Value::Array(values) => json!({"L": values.iter().map(stored).collect::<Vec<_>>()}),
        Value::Object(fields) => {
            json!({"M": fields.iter().map(|(name, value)| (name.clone(), stored(value))).collect::<serde_json::Map<_, _>>()})
        }
    }
}

/// A campaign that sends to one lead, and another lead.
async fn launched(world: &World, tenant: &Tenant) -> (String, String) {
    let home = home(world, tenant).await;
    let owner = &tenant.owner.token;
    let settings = json!({"settings": {"default_from_name": "Ada", "postal_address": "1 Main St"}});
    world.patch(format!("/api/v1/tenant/workspaces/{home}")).token(owner).json(settings).send().await.expect(200);
    let lead = async || {
        let body = json!({"email": format!("lead{}@elsewhere.example.com", serial())});
        id(&world.post("/api/v1/tenant/leads").token(owner).json(body).send().await.expect(201).json()["data"]).to_owned()
    };
    let (first, second) = (lead().await, lead().await);
    let sequence = json!([{"type": "email", "subject": "Hello", "body": "<p>Hello</p>"}]);
    let body = json!({"name": "Sample", "sequence": sequence, "audience": {"lead_ids": [first]}});
    let made = world.post("/api/v1/tenant/campaigns").token(owner).json(body).send().await.expect(201);
    let campaign = id(&made.json()["data"]).to_owned();
    world.post(format!("/api/v1/tenant/campaigns/{campaign}/send")).token(owner).json(json!({})).send().await.expect(200);
    (campaign, second)
}

async fn recipient(world: &World, tenant: &Tenant, kind: Target) -> String {
    let (campaign, lead) = launched(world, tenant).await;
    let owner = &tenant.owner.token;
    let other = json!({"email": format!("lead{}@elsewhere.example.com", serial())});
    let other = world.post("/api/v1/tenant/leads").token(owner).json(other).send().await.expect(201);
    let (recipients, both) =
        (format!("/api/v1/tenant/campaigns/{campaign}/recipients"), json!({"lead_ids": [lead, id(&other.json()["data"])]}));
    world.post(&recipients).token(owner).json(both).send().await.expect(200);
    if kind == Target::PausedRecipient {
        world.post(format!("{recipients}/{lead}/pause")).token(owner).send().await.expect(200);
    }
    if kind == Target::FailedRecipient {
        let is_theirs =
            |item: &Value| item["type"]["S"] == "enrolment" && lead.ends_with(&item["lead"]["S"].as_str().unwrap_or("?").replace('-', ""));
        let enrolment = world.items_of(tenant).into_iter().find(is_theirs).expect("the enrolment");
        let (pk, sk) = (enrolment["pk"]["S"].as_str().expect("a key"), enrolment["sk"]["S"].as_str().expect("a key"));
        let failed = json!({"M": {"at": {"S": "failed"}, "reason": {"S": "MessageRejected"}}});
        world.change_item(pk, sk, |item| item["state"] = failed);
    }
    format!("{campaign}|{lead}")
}

/// A new workspace, with the caller in it as what they are in the tenant, and the number of another member.
async fn workspace(world: &World, tenant: &Tenant, caller: &Caller) -> (String, u64) {
    let made = world.post("/api/v1/tenant/workspaces").token(&tenant.owner.token).json(json!({"name": "Sample"})).send().await.expect(201);
    let workspace = id(&made.json()["data"]).to_owned();
    let other = world.member(tenant, "viewer").await;
    add_to(world, tenant, &workspace, &other).await;
    if caller.id != tenant.owner.id {
        add_to(world, tenant, &workspace, caller).await;
    }
    (workspace, other.id)
}

/// Makes somebody a member of a workspace, with the role that they have in the tenant.
async fn add_to(world: &World, tenant: &Tenant, workspace: &str, caller: &Caller) {
    let user = claims_of(&caller.token)["sub"].as_str().expect("a subject").to_owned();
    let items = world.items_of(tenant);
    let member = items.iter().find(|item| item["type"]["S"] == "member" && item["user"]["S"] == user.as_str()).expect("a member");
    let body = json!({"email": caller.email, "role": member["role"]["S"]});
    world.post(format!("/api/v1/tenant/workspaces/{workspace}/members")).token(&tenant.owner.token).json(body).send().await.expect(201);
}

/// The tenant's oldest workspace, in which everything lies whose workspace is not named.
async fn home(world: &World, tenant: &Tenant) -> String {
    let oldest = world.get("/api/v1/tenant/workspaces?limit=1").token(&tenant.owner.token).send().await.expect(200);
    if let Some(workspace) = oldest.json()["data"][0]["id"].as_str() {
        return workspace.to_owned();
    }
    let made = world.post("/api/v1/tenant/workspaces").token(&tenant.owner.token).json(json!({"name": "Home"})).send().await.expect(201);
    // Those of one second have no order.
    world.advance(SignedDuration::from_secs(1));
    id(&made.json()["data"]).to_owned()
}

/// What a target would be that does not exist: for something in a workspace, in the same one.
fn beside(operation: &Operation, kind: Target, target: &str) -> String {
    let nobody = kind.nonexistent();
    let (first, others) = target.split_once('|').map_or((target, String::new()), |(first, others)| (first, format!("|{others}")));
    if !in_workspace(operation) || first.len() < 12 {
        return nobody.to_owned();
    }
    format!("{}{}{others}", &nobody[..nobody.len() - 12], &first[first.len() - 12..])
}

fn in_workspace(operation: &Operation) -> bool {
    matches!(operation.access, Access::InWorkspace(_))
}

/// A new subaccount of the tenant.
async fn subaccount(world: &World, tenant: &Tenant) -> Value {
    let body = json!({"name": "Client"});
    world.post("/v1/subaccounts").token(&tenant.owner.token).json(body).send().await.expect(201).json()["data"].clone()
}

/// A new API key of the tenant, as F3 shows it.
async fn key(world: &World, tenant: &Tenant, scopes: Value) -> Value {
    let body = json!({"name": "Sweep", "scopes": scopes});
    world.post("/api/tenant-api-key").token(&tenant.owner.token).json(body).send().await.expect(201).json()
}

/// What carries messages to phones, once in a deployment.
async fn lines(world: &World) {
    if world.items_of_type("line_pool").is_empty() {
        let workers = crate::workers::Workers::on(world);
        stack::phone_lines::seed(world.aws.phones(), &workers, "http://127.0.0.1:1").await.expect("lines");
    }
}

static OPERATIONS: LazyLock<Vec<Operation>> = LazyLock::new(|| catalogue().operations);

pub(crate) fn operations() -> Vec<Operation> {
    OPERATIONS.clone()
}

fn is_open(operation: &Operation) -> bool {
    matches!(operation.access, Access::Open { .. } | Access::Recipient)
}

fn signed_in() -> Vec<Operation> {
    operations().into_iter().filter(|operation| !is_open(operation) && !operation.is_of_programs()).collect()
}

pub(crate) fn in_tenant() -> Vec<Operation> {
    operations().into_iter().filter(|operation| matches!(operation.access, Access::AtLeast(_) | Access::InWorkspace(_))).collect()
}

fn allows(operation: &Operation, role: Role) -> bool {
    match operation.access {
        Access::AtLeast(least) | Access::InWorkspace(least) => role >= least,
        Access::Open { .. } | Access::Recipient | Access::SignedIn => true,
        // The edge's key is nobody's: tests/it/insights.rs attacks its door.
        // The same of a gateway's signature: tests/it/messages.rs.
        Access::Edge | Access::Gateway => false,
    }
}

pub(crate) fn method(operation: &Operation) -> &'static str {
    ["GET", "POST", "PUT", "PATCH", "DELETE"].into_iter().find(|name| operation.method == *name).expect("a known method")
}

/// The operation's sample request; the target stands where the path has its parameter, or its values, separated by `|`, where it has several.
pub(crate) fn call(world: &World, operation: &Operation, target: &str) -> Request {
    let request = world.request(method(operation), concrete(operation.path, target) + required_query(operation));
    let (kind, body) = sample(operation);
    match body {
        Value::Null => request,
        // A body may contain `{slug}`, which becomes the target's slug.
        body if kind == Target::Slug => request.raw(body.to_string().replace("{slug}", target).as_bytes()),
        // Or `{lead}` or `{email}`, which becomes the second of its values.
        body if matches!(kind, Target::LaunchedCampaign | Target::FailedRecipient | Target::TestedCampaign) => {
            let second = target.split_once('|').map(|(_, second)| second);
            let lead = second.unwrap_or("lead_0198c0de000070008000000000000000");
            let email = second.unwrap_or("nobody@example.com");
            request.raw(body.to_string().replace("{lead}", lead).replace("{email}", email).as_bytes())
        }
        // Or `{contact}`, likewise.
        body if matches!(kind, Target::ContactGroup | Target::ContactOfGroup) => {
            let contact = target.split_once('|').map_or("con_0198c0de000070008000000000000000", |(_, contact)| contact);
            request.raw(body.to_string().replace("{contact}", contact).as_bytes())
        }
        body => request.json(body),
    }
}

/// The path with the values of a target.
fn concrete(pattern: &str, target: &str) -> String {
    let mut values = target.split('|');
    let mut value = || values.next().unwrap_or("0198c0de-0000-7000-8000-000000000000");
    let path: Vec<&str> = pattern.split('/').map(|segment| if segment.starts_with('{') { value() } else { segment }).collect();
    path.join("/")
}

/// An anchor of consent, as the janitor writes it.
fn anchor(world: &World, tenant: &Tenant, number: u64) {
    let hash = json!({"S": "0".repeat(64)});
    world.put_item(&json!({
        "pk": {"S": format!("T#{}#consent-anchors", tenant.id)}, "sk": {"S": format!("{number:010}")},
        "tenant": {"S": tenant.id}, "type": {"S": "consent_anchor"}, "number": {"N": number.to_string()}, "heads": {"N": "1"},
        "anchored_at": {"S": "2026-11-21T00:20:00Z"}, "until": {"S": "0198c0de-0000-7000-8000-000000000000"}, "root": hash, "previous": hash, "digest": hash,
    }));
}

/// The query parameters an operation cannot do without.
fn required_query(operation: &Operation) -> &'static str {
    match operation.name().as_str() {
        "GET /api/tenants/slug-availability" => "?slug=sample",
        "GET /api/v1/tenant/suppression-list/check" => "?email=jane@example.com",
        "GET /v1/compliance/consent/proof" => "?phone_number=%2B15551234567",
        _ => "",
    }
}

/// Calls and round trips of a request, the least of three: one in some takes a lease on the daily quota.
async fn cost(world: &World, operation: &Operation, target: &str, caller: &Caller) -> (u32, u32) {
    let mut least = (u32::MAX, u32::MAX);
    for _ in 0..3 {
        let answer = call(world, operation, target).token(&caller.token).send().await;
        let metered = answer.metered.expect("metered");
        least = least.min((metered.calls, metered.round_trips));
    }
    least
}

fn serial() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A person of each role, which they have in the tenant's oldest workspace too.
async fn people(world: &World, tenant: &Tenant) -> Vec<(Role, Caller)> {
    let home = home(world, tenant).await;
    let people = vec![
        (Role::Viewer, world.member(tenant, "viewer").await),
        (Role::Member, world.member(tenant, "member").await),
        (Role::Admin, world.member(tenant, "admin").await),
        (Role::Owner, tenant.owner.clone()),
    ];
    for (_, caller) in &people[..3] {
        add_to(world, tenant, &home, caller).await;
    }
    people
}

/// With member numbers that nobody else's tenant has.
async fn crowded_neighbour(world: &World) -> Tenant {
    let neighbour = world.tenant("globex").await;
    for _ in 0..6 {
        world.member(&neighbour, "viewer").await;
    }
    neighbour
}

/// The tenant's items but for its usage of the day and its audit log, to which a refused request of its own people may add.
fn content(world: &World, tenant: &Tenant) -> Vec<Value> {
    let aside = ["usage", "audit"].map(|collection| format!("T#{}#{collection}", tenant.id));
    world.items_of(tenant).into_iter().filter(|item| aside.iter().all(|aside| item["pk"]["S"] != aside.as_str())).collect()
}

/// The tenant's items and those of its owner's account.
fn everything_of(world: &World, tenant: &Tenant) -> Vec<Value> {
    let owner = format!("G#user#{}", claims_of(&tenant.owner.token)["sub"].as_str().expect("a subject"));
    let mut items = world.items_of(tenant);
    items.extend(world.items().into_iter().filter(|item| item["pk"]["S"] == owner.as_str()));
    items
}

fn users(world: &World) -> Vec<Value> {
    world
        .items()
        .into_iter()
        .filter(|item| item["pk"]["S"].as_str().is_some_and(|pk| pk.starts_with("G#user#") || pk.starts_with("G#email#")))
        .collect()
}

/// Undoes what ended the tenant.
fn put_back(world: &World, operation: &Operation, tenant: &Tenant) {
    if ENDS_THE_TENANT.contains(&operation.name().as_str()) {
        set_tenant(world, tenant, "status", "active");
    }
}

/// Somebody who was in the tenant and belongs to none now.
async fn homeless(world: &World, tenant: &Tenant) -> Caller {
    let gone = world.member(tenant, "viewer").await;
    world.delete(format!("/api/v1/tenant/members/{}", gone.id)).token(&tenant.owner.token).send().await.expect(200);
    world.login(&gone.email, &gone.password).await
}

fn set_tenant(world: &World, tenant: &Tenant, attribute: &str, value: &str) {
    world.change_item(&format!("T#{}#tenant", tenant.id), "profile", |item| item[attribute] = json!({"S": value}));
}

/// `Authorization` values none of which may open anything.
async fn bad_credentials(world: &World, own: &Tenant) -> Vec<(&'static str, String)> {
    let minter = Minter::of(world).await;
    let good = claims_of(&own.owner.token);
    let now = world.auth.clock().now().as_second();
    let with = |field: &str, value: Value| {
        let mut claims = good.clone();
        claims[field] = value;
        claims
    };
    let ended = world.login(&own.owner.email, &own.owner.password).await;
    world.post("/api/v1/auth/logout").token(&ended.token).send().await.expect(200);
    let other = world.member(own, "viewer").await;
    let revoked = key(world, own, json!(["*"])).await;
    world.delete(format!("/api/tenant-api-key/{}", id(&revoked))).token(&own.owner.token).send().await.expect(200);
    let header = minter.header();
    let mut other_type = header.clone();
    other_type["typ"] = json!("JWT");
    let bearer = |token: String| format!("Bearer {token}");
    vec![
        ("no token", "Bearer ".into()),
        ("text", "Bearer not-a-token".into()),
        ("three parts", "Bearer a.b.c".into()),
        ("another scheme", format!("Basic {}", own.owner.token)),
        ("no scheme", own.owner.token.clone()),
        ("expired", bearer(minter.token(&header, &with("exp", json!(now - 31))))),
        ("issued in the future", bearer(minter.token(&header, &with("iat", json!(now + 3600))))),
        ("forged", bearer(Minter::stranger(&minter.kid).token(&header, &good))),
        ("alg none", bearer(minter.unsigned(&good))),
        ("HS256 with the public key", bearer(minter.with_public_key_as_secret(world, &good).await)),
        ("wrong issuer", bearer(minter.token(&header, &with("iss", json!("https://evil.example.com"))))),
        ("wrong audience", bearer(minter.token(&header, &with("aud", json!("https://evil.example.com"))))),
        ("wrong type", bearer(minter.token(&other_type, &good))),
        ("logged out", bearer(ended.token)),
        ("a session that never was", bearer(minter.token(&header, &with("sid", json!("0198c0de-0000-4000-8000-000000000000"))))),
        ("another's session", bearer(minter.token(&header, &with("sid", claims_of(&other.token)["sid"].clone())))),
        ("a piece of an API key", "Bearer tf_live_000000000000".into()),
        ("a revoked API key", bearer(revoked["apiKey"].as_str().expect("a key").to_owned())),
    ]
}

/// Each character changed, cut and doubled somewhere.
fn mutations(text: &str) -> Vec<String> {
    let mut all = vec![
        String::new(),
        "A".into(),
        "=".repeat(8),
        format!("{text}A"),
        format!("A{text}"),
        text.chars().rev().collect(),
        text.repeat(2),
    ];
    for (at, character) in text.char_indices() {
        let other = if character == 'A' { 'B' } else { 'A' };
        all.push(format!("{}{other}{}", &text[..at], &text[at + 1..]));
        all.push(text[..at].to_owned());
    }
    all.retain(|mutation| mutation != text);
    all
}
