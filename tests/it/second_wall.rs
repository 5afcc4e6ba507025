//! The second wall: with `TenantCredentials=session` a tenant's data is reached with credentials that IAM confines to it. IAM is the
//! embedded one here, with the roles and policies of template.yaml. That AWS decides the same is an assumption.

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeValue, BatchStatementRequest, ConditionCheck, Delete, DeleteRequest, Get, KeysAndAttributes, ParameterizedStatement, Put,
    PutRequest, TransactGetItem, TransactWriteItem, Update, WriteRequest,
};
use aws_sdk_sts::types::Tag;
use serde_json::json;
use shared::aws::Aws as Clients;
use shared::config::Variables;
use stack::iam::Guard;
use stack::template::Template;

use crate::world::{Settings, Tenant, TenantCredentials, World};

async fn world() -> World {
    World::with(Settings { tenant_credentials: Some(TenantCredentials::Session), ..Settings::default() }).await
}

fn guard(world: &World) -> &Guard {
    &world.guard.0
}

fn clients(world: &World, function: &str) -> Clients {
    Clients::read(Variables(world.environment(function).clone().into_iter().collect())).expect("the environment names AWS")
}

/// Calls STS as a function, with any tags. Otherwise returns the code of the refusal.
async fn assume(world: &World, function: &str, tags: &[(&str, &str)]) -> Result<Credentials, String> {
    let mut request = clients(world, function).sts().assume_role().role_arn(role_of_tenants(world)).role_session_name("test");
    for (key, value) in tags {
        request = request.tags(Tag::builder().key(*key).value(*value).build().expect("a tag"));
    }
    let given = request.send().await.map_err(|error| error.code().unwrap_or_default().to_owned())?.credentials.expect("credentials");
    Ok(Credentials::new(given.access_key_id, given.secret_access_key, Some(given.session_token), None, "test"))
}

fn role_of_tenants(world: &World) -> String {
    world.environment("projects")["TENANT_ROLE_ARN"].clone()
}

/// A plain client of the table with chosen credentials.
struct Raw {
    client: aws_sdk_dynamodb::Client,
    table: String,
}

impl Raw {
    fn new(world: &World, credentials: Credentials) -> Self {
        let config = clients(world, "projects").dynamodb().config().to_builder().credentials_provider(credentials).build();
        Raw { client: aws_sdk_dynamodb::Client::from_conf(config), table: world.table_name().to_owned() }
    }

    async fn of(world: &World, tenant: &Tenant) -> Self {
        Raw::new(world, assume(world, "projects", &[("tenant", &tenant.id)]).await.expect("a session"))
    }

    /// The function's own credentials.
    fn own(world: &World, function: &str) -> Self {
        let id = &world.environment(function)["AWS_ACCESS_KEY_ID"];
        Raw::new(world, Credentials::new(id, "local", None, None, "test"))
    }

    fn query(&self, attribute: &str, pk: &str) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.table)
            .key_condition_expression("#k = :k")
            .expression_attribute_names("#k", attribute)
            .expression_attribute_values(":k", text(pk))
    }

    /// Reads of a partition, each with its name and outcome. `own` is a key for reads that mix partitions.
    async fn reads(&self, pk: &str, own: &str) -> Vec<(&'static str, Outcome)> {
        let both = |pk: &str| {
            KeysAndAttributes::builder()
                .keys([("pk".into(), text(own)), ("sk".into(), text("x"))].into())
                .keys([("pk".into(), text(pk)), ("sk".into(), text("y"))].into())
                .build()
                .expect("keys")
        };
        let get = |pk: &str| {
            let get = Get::builder().table_name(&self.table).key("pk", text(pk)).key("sk", text("x")).build().expect("a get");
            TransactGetItem::builder().get(get).build()
        };
        let inverted = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("(:k = pk) AND begins_with(sk, :s)")
            .expression_attribute_values(":k", text(pk))
            .expression_attribute_values(":s", text("x"));
        vec![
            ("GetItem", code(self.client.get_item().table_name(&self.table).key("pk", text(pk)).key("sk", text("x")).send().await)),
            ("Query", code(self.query("pk", pk).send().await)),
            ("Query, written otherwise", code(inverted.send().await)),
            ("Query of the index", code(self.query("lpk", pk).index_name("lists").send().await)),
            ("BatchGetItem, mixed", code(self.client.batch_get_item().request_items(&self.table, both(pk)).send().await)),
            (
                "TransactGetItems, mixed",
                code(self.client.transact_get_items().transact_items(get(own)).transact_items(get(pk)).send().await),
            ),
        ]
    }

    /// Single writes.
    async fn writes(&self, pk: &str) -> Vec<(&'static str, Outcome)> {
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", text(pk))
            .key("sk", text("attempt"))
            .update_expression("SET x = :x")
            .expression_attribute_values(":x", text("x"));
        vec![
            ("PutItem", code(self.client.put_item().table_name(&self.table).item("pk", text(pk)).item("sk", text("attempt")).send().await)),
            ("UpdateItem", code(update.send().await)),
            (
                "DeleteItem",
                code(self.client.delete_item().table_name(&self.table).key("pk", text(pk)).key("sk", text("attempt")).send().await),
            ),
        ]
    }

    /// Transactions with one write to `own` and one to `pk`.
    async fn transactions(&self, pk: &str, own: &str) -> Vec<(&'static str, Outcome)> {
        let put = |pk: &str, sk: &str| {
            let put = Put::builder().table_name(&self.table).item("pk", text(pk)).item("sk", text(sk)).build().expect("a put");
            TransactWriteItem::builder().put(put).build()
        };
        let update = Update::builder().table_name(&self.table).key("pk", text(pk)).key("sk", text("attempt"));
        let update = update.update_expression("SET x = :x").expression_attribute_values(":x", text("x")).build().expect("an update");
        let delete = Delete::builder().table_name(&self.table).key("pk", text(pk)).key("sk", text("attempt")).build().expect("a delete");
        let check = ConditionCheck::builder().table_name(&self.table).key("pk", text(pk)).key("sk", text("attempt"));
        let check = check.condition_expression("attribute_not_exists(pk)").build().expect("a check");
        let actions = [
            ("TransactWriteItems, Put", put(pk, "attempt")),
            ("TransactWriteItems, Update", TransactWriteItem::builder().update(update).build()),
            ("TransactWriteItems, Delete", TransactWriteItem::builder().delete(delete).build()),
            ("TransactWriteItems, ConditionCheck", TransactWriteItem::builder().condition_check(check).build()),
        ];
        let mut outcomes = vec![];
        for (name, action) in actions {
            let request = self.client.transact_write_items().transact_items(put(own, "attempt too")).transact_items(action);
            outcomes.push((name, code(request.send().await)));
        }
        outcomes
    }

    /// What no role may do to any partition.
    async fn never(&self, pk: &str, own: &str) -> Vec<(&'static str, Outcome)> {
        let table = &self.table;
        let item = |pk: &str| [("pk".to_owned(), text(pk)), ("sk".to_owned(), text("attempt"))].into();
        let put =
            |pk: &str| WriteRequest::builder().put_request(PutRequest::builder().set_item(Some(item(pk))).build().expect("a put")).build();
        let delete =
            WriteRequest::builder().delete_request(DeleteRequest::builder().set_key(Some(item(pk))).build().expect("a delete")).build();
        let select = format!("SELECT * FROM \"{table}\" WHERE pk = '{pk}'");
        let statements = [
            ("PartiQL SELECT", select.clone()),
            ("PartiQL SELECT of the index", format!("SELECT * FROM \"{table}\".\"lists\" WHERE lpk = '{pk}'")),
            ("PartiQL UPDATE", format!("UPDATE \"{table}\" SET x = 'x' WHERE pk = '{pk}' AND sk = 'attempt'")),
            ("PartiQL INSERT", format!("INSERT INTO \"{table}\" VALUE {{'pk': '{pk}', 'sk': 'attempt'}}")),
            ("PartiQL DELETE", format!("DELETE FROM \"{table}\" WHERE pk = '{pk}' AND sk = 'attempt'")),
        ];
        let filtered = self.client.scan().table_name(table).filter_expression("pk = :k").expression_attribute_values(":k", text(pk));
        let batch = BatchStatementRequest::builder().statement(&select).build().expect("a statement");
        let part = ParameterizedStatement::builder().statement(&select).build().expect("a statement");
        let mut outcomes = vec![
            ("Scan", code(filtered.send().await)),
            ("Scan of the index", code(self.client.scan().table_name(table).index_name("lists").send().await)),
            ("BatchWriteItem, put, mixed", code(self.client.batch_write_item().request_items(table, vec![put(own), put(pk)]).send().await)),
            (
                "BatchWriteItem, delete, mixed",
                code(self.client.batch_write_item().request_items(table, vec![put(own), delete]).send().await),
            ),
            ("BatchExecuteStatement", code(self.client.batch_execute_statement().statements(batch).send().await)),
            ("ExecuteTransaction", code(self.client.execute_transaction().transact_statements(part).send().await)),
        ];
        for (name, statement) in statements {
            outcomes.push((name, code(self.client.execute_statement().statement(statement).send().await)));
        }
        outcomes
    }
}

/// `Err` with the code of a refusal.
type Outcome = Result<(), String>;

fn code<T, E: ProvideErrorMetadata, R>(result: Result<T, SdkError<E, R>>) -> Outcome {
    match result {
        Ok(_) => Ok(()),
        Err(error) => Err(error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or("no answer").to_owned()),
    }
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn denied() -> Outcome {
    Err("AccessDeniedException".into())
}

/// Partition keys that do not belong to the tenant `own`, although some look like it.
fn not_of(own: &Tenant, other: &Tenant) -> Vec<String> {
    let (id, foreign) = (&own.id, &other.id);
    let mut keys: Vec<String> = ["tenant", "members", "projects", "counters", "quota", "invitations", "idempotency"]
        .map(|part| format!("T#{foreign}#{part}"))
        .into();
    keys.extend([
        format!("T#{id}"),
        format!("T#{id}x#projects"),
        format!("T#{}#projects", &id[..35]),
        format!("T#{}#projects", id.to_uppercase()),
        format!("t#{id}#projects"),
        format!(" T#{id}#projects"),
        format!("#{id}#projects"),
        format!("G#T#{foreign}"),
        format!("T#{foreign}#T#{id}#projects"),
        "T#*#projects".to_owned(),
        "T#*".to_owned(),
        "*".to_owned(),
        "T#".to_owned(),
        "T##projects".to_owned(),
        "T#${aws:PrincipalTag/tenant}#projects".to_owned(),
        format!("T#{}#projects", "?".repeat(36)),
    ]);
    keys
}

#[tokio::test]
async fn a_tenants_credentials_reach_no_other_tenant() {
    let world = world().await;
    let (own, other) = (world.tenant("acme").await, world.tenant("globex").await);
    for tenant in [&own, &other] {
        let project = world.project(&tenant.owner, "One").await;
        world.task(&tenant.owner, &project, json!({"title": "One"})).await;
    }
    let raw = Raw::of(&world, &own).await;
    let before = world.items();
    let mine = format!("T#{}#projects", own.id);
    let (mut attempts, mut through) = (0, vec![]);
    for pk in not_of(&own, &other) {
        let mut outcomes = raw.reads(&pk, &mine).await;
        outcomes.extend(raw.writes(&pk).await);
        // In a transaction the directory may be written, which is a separate test.
        if !pk.starts_with("G#") {
            outcomes.extend(raw.transactions(&pk, &mine).await);
        }
        outcomes.extend(raw.never(&pk, &mine).await);
        attempts += outcomes.len();
        through.extend(outcomes.into_iter().filter(|(_, outcome)| *outcome != denied()).map(|(name, outcome)| (name, pk.clone(), outcome)));
    }
    assert!(through.is_empty(), "{through:#?}");
    assert!(attempts >= 500, "{attempts}");
    assert_eq!(guard(&world).take_denials().len(), attempts);
    assert_eq!(world.items(), before);
}

#[tokio::test]
async fn a_tenants_credentials_reach_all_that_is_its_own() {
    let world = world().await;
    let own = world.tenant("acme").await;
    let raw = Raw::of(&world, &own).await;
    for part in ["tenant", "projects", "tasks#a", "counters", ""] {
        let pk = format!("T#{}#{part}", own.id);
        let mut outcomes = raw.reads(&pk, &format!("T#{}#members", own.id)).await;
        outcomes.extend(raw.writes(&pk).await);
        outcomes.extend(raw.transactions(&pk, &format!("T#{}#members", own.id)).await);
        for (name, outcome) in outcomes {
            assert_eq!(outcome, Ok(()), "{name} of {pk}");
        }
        // Not in its own partition either.
        for (name, outcome) in raw.never(&pk, &pk).await {
            assert_eq!(outcome, denied(), "{name} of {pk}");
        }
    }
    assert!(!guard(&world).take_denials().is_empty());
}

#[tokio::test]
async fn a_tenants_credentials_write_the_directory_in_transactions_and_never_read_it() {
    let world = world().await;
    let own = world.tenant("acme").await;
    let raw = Raw::of(&world, &own).await;
    let mine = format!("T#{}#projects", own.id);
    for pk in ["G#users", "G#emails", "G#sessions#1", "G#"] {
        let mut outcomes = raw.reads(pk, &mine).await;
        outcomes.extend(raw.writes(pk).await);
        outcomes.extend(raw.never(pk, &mine).await);
        for (name, outcome) in outcomes {
            assert_eq!(outcome, denied(), "{name} of {pk}");
        }
        for (name, outcome) in raw.transactions(pk, &mine).await {
            assert_eq!(outcome, Ok(()), "{name} of {pk}");
        }
    }
    guard(&world).take_denials();
}

#[tokio::test]
async fn a_functions_own_credentials_reach_the_directory_alone() {
    let world = world().await;
    let own = world.tenant("acme").await;
    for function in ["auth", "projects", "tenants", "keys", "insights", "agency", "courier", "janitor", "operator"] {
        let raw = Raw::own(&world, function);
        for pk in [format!("T#{}#projects", own.id), "T#*".into(), format!("T#{}", own.id)] {
            let mut outcomes = raw.reads(&pk, "G#users").await;
            outcomes.extend(raw.writes(&pk).await);
            outcomes.extend(raw.transactions(&pk, "G#users").await);
            outcomes.extend(raw.never(&pk, "G#users").await);
            for (name, outcome) in outcomes {
                assert_eq!(outcome, denied(), "{function}: {name} of {pk}");
            }
        }
        let read = raw.client.get_item().table_name(&raw.table).key("pk", text("G#users")).key("sk", text("x")).send().await;
        assert_eq!(code(read), Ok(()), "{function}");
    }
    guard(&world).take_denials();
}

#[tokio::test]
async fn a_session_is_for_one_tenant_and_opens_no_other() {
    let world = world().await;
    let own = world.tenant("acme").await;
    let id = own.id.as_str();
    let refused: [(&str, &[(&str, &str)]); 8] = [
        ("projects", &[]),
        ("projects", &[("tenant", "")]),
        ("projects", &[("tenant", &id[..35])]),
        ("projects", &[("partner", id)]),
        ("projects", &[("tenant", id), ("admin", "yes")]),
        ("projects", &[("Tenants", id)]),
        // They have no door.
        ("courier", &[("tenant", id)]),
        ("rotator", &[("tenant", id)]),
    ];
    for (function, tags) in refused {
        assert_eq!(assume(&world, function, tags).await.err().as_deref(), Some("AccessDenied"), "{function} {tags:?}");
    }
    // A session cannot open another session.
    let session = assume(&world, "projects", &[("tenant", id)]).await.expect("a session");
    let config = clients(&world, "projects").sts().config().to_builder().credentials_provider(session.clone()).build();
    let again = aws_sdk_sts::Client::from_conf(config).assume_role().role_arn(role_of_tenants(&world)).role_session_name("again");
    let again = again.tags(Tag::builder().key("tenant").value(id).build().expect("a tag")).send().await;
    assert_eq!(again.err().and_then(|error| error.code().map(str::to_owned)).as_deref(), Some("AccessDenied"));
    // A session's key without its token, an unknown key, and an ended session are all refused.
    let pk = format!("T#{id}#tenant");
    let get = |raw: Raw| {
        let request = raw.client.get_item().table_name(&raw.table).key("pk", text(&pk)).key("sk", text("x"));
        async move { code(request.send().await) }
    };
    assert_eq!(get(Raw::new(&world, session.clone())).await, Ok(()));
    let bare = Credentials::new(session.access_key_id(), session.secret_access_key(), None, None, "test");
    assert_eq!(get(Raw::new(&world, bare)).await, Err("UnrecognizedClientException".into()));
    let nobody = Credentials::new("nobody", "x", None, None, "test");
    assert_eq!(get(Raw::new(&world, nobody)).await, Err("UnrecognizedClientException".into()));
    guard(&world).end_sessions();
    assert_eq!(get(Raw::new(&world, session)).await, Err("ExpiredTokenException".into()));
    guard(&world).take_denials();
}

#[tokio::test]
async fn two_tenants_change_together_in_one_transaction_and_no_other_way() {
    let world = world().await;
    let (own, other, third) = (world.tenant("acme").await, world.tenant("globex").await, world.tenant("initech").await);
    let session = assume(&world, "agency", &[("tenant", &own.id), ("partner", &other.id)]).await.expect("a session");
    let raw = Raw::new(&world, session);
    let (mine, partners) = (format!("T#{}#tenant", own.id), format!("T#{}#tenant", other.id));
    for (name, outcome) in raw.transactions(&partners, &mine).await {
        assert_eq!(outcome, Ok(()), "{name}");
    }
    let mut outcomes = raw.reads(&partners, &mine).await;
    outcomes.extend(raw.writes(&partners).await);
    outcomes.extend(raw.never(&partners, &mine).await);
    outcomes.extend(raw.transactions(&format!("T#{}#tenant", third.id), &mine).await);
    for (name, outcome) in outcomes {
        assert_eq!(outcome, denied(), "{name}");
    }
    guard(&world).take_denials();
}

#[tokio::test]
async fn a_session_is_opened_once_per_tenant_and_function() {
    let world = world().await;
    let own = world.tenant("acme").await;
    world.get("/api/v1/projects").token(&own.owner.token).send().await.expect(200);
    let opened = guard(&world).sessions();
    for _ in 0..10 {
        let project = world.project(&own.owner, "One").await;
        world.task(&own.owner, &project, json!({"title": "One"})).await;
        world.get("/api/v1/projects").token(&own.owner.token).send().await.expect(200);
    }
    assert_eq!(guard(&world).sessions(), opened);
    // For any number of parallel requests, another instance opens one session.
    let cold = world.another_instance().await;
    let requests = (0..8).map(|_| cold.get("/api/v1/projects").token(&own.owner.token).send());
    for answer in futures_util::future::join_all(requests).await {
        answer.expect(200);
    }
    assert_eq!(guard(&world).sessions(), opened + 1);
}

/// The usual life of a tenant, with all functions and workers that it needs. `World` fails if IAM refuses anything.
async fn a_life(world: &World) {
    let own = world.tenant("acme").await;
    for role in ["admin", "viewer"] {
        world.member(&own, role).await;
    }
    let project = world.project(&own.owner, "One").await;
    let path = format!("/api/v1/projects/{}", crate::world::id(&project));
    let task = world.task(&own.owner, &project, json!({"title": "One"})).await;
    world.put(&path).token(&own.owner.token).json(json!({"name": "Two"})).send().await.expect(200);
    world.get("/api/v1/projects?sort=name").token(&own.owner.token).send().await.expect(200);
    world.get(&path).token(&own.owner.token).header("x-tenant-id", &own.slug).send().await.expect(200);
    world.get(&path).token(&own.owner.token).header("x-tenant-id", &own.id).send().await.expect(200);
    world.delete(format!("/api/v1/tasks/{}", crate::world::id(&task))).token(&own.owner.token).send().await.expect(200);
    world.delete(&path).token(&own.owner.token).send().await.expect(200);
    world.post("/api/v1/demo").json(json!({})).send().await;
    crate::links::a_mail_and_its_links(world, &own).await;
    let other = world.tenant("globex").await;
    world.get(&path).token(&other.owner.token).send().await.expect(404);
    world.get("/api/v1/projects").token(&own.owner.token).header("x-tenant-id", &other.id).send().await.expect(404);
    world.get("/api/v1/projects").token(&own.owner.token).header("x-tenant-id", &other.slug).send().await.expect(404);
}

#[tokio::test]
async fn the_api_works_with_sessions() {
    let world = world().await;
    a_life(&world).await;
    assert!(guard(&world).sessions() > 0);
}

#[tokio::test]
async fn the_api_works_with_the_functions_own_verbs_and_opens_no_session() {
    let world = World::with(Settings { tenant_credentials: Some(TenantCredentials::Function), ..Settings::default() }).await;
    a_life(&world).await;
    assert_eq!(guard(&world).sessions(), 0);
    assert!(!world.environment("projects").contains_key("TENANT_ROLE_ARN"));
}

#[tokio::test]
async fn without_the_role_a_function_says_what_failed_and_tells_the_caller_nothing() {
    let arn = "arn:aws:iam::123456789012:role/nobodys".to_owned();
    let world = World::with(Settings {
        tenant_credentials: Some(TenantCredentials::Session),
        variables: vec![("TENANT_ROLE_ARN", arn)],
        ..Settings::default()
    })
    .await;
    let body = json!({"name": "Ann", "email": "ann@example.com", "password": "correct horse", "company_name": "Acme"});
    world.post("/api/v1/auth/register").json(body).send().await.expect(202);
    let body = json!({"token": world.link_token("ann@example.com"), "password": "correct horse"});
    let answer = world.post("/api/v1/auth/verify-email").json(body).send().await;
    assert_eq!(answer.status, 500);
    assert!(!answer.text.contains("nobodys"), "{}", answer.text);
}

/// The actions that nothing used, after a run of the whole suite with `TENANT_CREDENTIALS=session GRANTS_USED=<file>`.
#[test]
#[ignore = "looks at what a run of the suite has left"]
fn unused_grants_are_listed() {
    let used = std::fs::read_to_string(std::env::var("GRANTS_USED").expect("GRANTS_USED names the file")).expect("the file");
    let template = Template::load("../template.yaml").expect("template.yaml can be read");
    let template = template.with_parameter("TenantCredentials", "session").with_parameter("PublicUrl", "https://api.example.com");
    let template = template.with_parameter("MailFrom", "no-reply@example.com").with_parameter("MailIdentity", "example.com");
    let guard = Guard::new(&template, String::new()).expect("the policies are understood");
    let unused: Vec<_> = guard.grants().into_iter().filter(|grant| !used.lines().any(|line| line == format!("{grant:?}"))).collect();
    for grant in &unused {
        println!("{} never needs {} on {}", grant.role, grant.action, grant.resource);
    }
    // With sessions, a function's own actions are for the directory; without them they are also for tenants. Only functions with sessions
    // may open one.
    let idle: Vec<_> = unused.iter().filter(|grant| grant.action.starts_with("sts:")).collect();
    assert!(idle.is_empty(), "may open sessions and never does: {idle:?}");
    println!("{} unused grants", unused.len());
}
