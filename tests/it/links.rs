//! Links of campaigns' mails, through the door that recipients use: what each changes, what it must leave alone, and which of them open anything.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use jiff::SignedDuration;
use records::campaign::CampaignId;
use records::lead::LeadId;
use serde_json::{Value, json};
use shared::crypto::Random;
use shared::ids::Uuid;
use shared::model::mail_ref::{LinkKind, MailKeys, MailRef};
use shared::model::user::Email;
use shared::runtime::worker::work_context;

use crate::audience::{counts_are_true, stored};
use crate::workers::{Workers, drain};
use crate::workspaces::workspace;
use crate::world::{Answer, Request, Settings, Tenant, World, id};

const LEADS: &str = "/api/v1/tenant/leads";
const SUPPRESSIONS: &str = "/api/v1/tenant/suppression-list";
const QUEUE: &str = "tenantry-local-MailEventsQueue";
const URL: &str = "https://shop.example.com/spring?a=1&b=%C3%A4#top";

/// A mail to a lead, as if a campaign had sent it.
struct Sent {
    world: World,
    tenant: Tenant,
    workspace: String,
    lead: String,
    campaign: String,
    mail: MailRef,
    /// The address that it went to.
    email: String,
}

impl Sent {
    async fn new(world: &World, name: &str) -> Self {
        let tenant = world.tenant(name).await;
        Sent::to(world, tenant, "jane@example.com").await
    }

    /// From a workspace of its own.
    async fn to(world: &World, tenant: Tenant, email: &str) -> Self {
        let place = workspace(world, &tenant.owner, "Ann & Sons <b>").await;
        let workspace = id(&place).to_owned();
        let made = async |path: &str, body: Value| {
            world.advance(SignedDuration::from_millis(1));
            let request = world.post(path).token(&tenant.owner.token).header("x-workspace-id", &workspace);
            id(&request.json(body).send().await.expect(201).json()["data"]).to_owned()
        };
        let lead = made(LEADS, json!({"email": email})).await;
        let campaign = made("/api/v1/tenant/campaigns", json!({"name": "Spring"})).await;
        let mail = mail_to(world, &tenant, &campaign, &lead).await;
        Sent { world: world.clone(), tenant, workspace, lead, campaign, mail, email: email.to_owned() }
    }

    fn path(&self, kind: LinkKind) -> String {
        match kind {
            LinkKind::Unsubscribe => path_of(kind, &unsubscribe_token(&self.mail, &self.email, key(&self.world))),
            _ => link_of(&self.world, &self.mail, kind),
        }
    }

    fn get(&self, kind: LinkKind) -> Request {
        self.world.get(self.path(kind))
    }

    fn post(&self) -> Request {
        self.world.post(self.path(LinkKind::Unsubscribe)).header("content-type", "application/x-www-form-urlencoded").raw(ONE_CLICK)
    }

    fn owner(&self, method: &'static str, path: &str) -> Request {
        self.world.request(method, path).token(&self.tenant.owner.token).header("x-workspace-id", &self.workspace)
    }

    async fn read(&self, path: &str) -> Value {
        self.owner("GET", path).send().await.expect(200).json()["data"].clone()
    }

    async fn shown(&self) -> Value {
        self.read(&format!("{LEADS}/{}", self.lead)).await
    }

    fn stored(&self) -> Vec<Value> {
        stored(&self.world, &self.tenant)
    }

    fn set_tenant(&self, attribute: &str, value: &str) {
        self.world.change_item(&format!("T#{}#tenant", self.tenant.id), "profile", |item| item[attribute] = json!({"S": value}));
    }
}

const ONE_CLICK: &[u8] = b"List-Unsubscribe=One-Click";

fn key(world: &World) -> &MailKeys {
    world.app("links").keys().mail_refs().expect("the function has the key")
}

pub(crate) async fn mail_to(world: &World, tenant: &Tenant, campaign: &str, lead: &str) -> MailRef {
    let store = work_context(world.app("links"), "test", "test").tenant_named(&tenant.id).await.expect("a tenant");
    let campaign = CampaignId::parse_prefixed(campaign).expect("an id");
    let lead = LeadId::parse_prefixed(lead).expect("an id");
    MailRef::new(store.tenant_id(), campaign, lead, 2).expect("both lie in one workspace")
}

/// To Jane, the same each time.
fn token_of(mail: &MailRef, kind: LinkKind, keys: &MailKeys) -> String {
    match kind {
        LinkKind::Unsubscribe => unsubscribe_token(mail, "jane@example.com", keys),
        LinkKind::Open => mail.open_token(&keys.signing),
        LinkKind::Click => mail.click_token(URL, &keys.signing).expect("a URL"),
    }
}

fn unsubscribe_token(mail: &MailRef, to: &str, keys: &MailKeys) -> String {
    mail.unsubscribe_token(&Email::parse(to).expect("an address"), keys, &Random::seeded(1))
}

/// The path of a link of a mail.
pub(crate) fn link_of(world: &World, mail: &MailRef, kind: LinkKind) -> String {
    path_of(kind, &token_of(mail, kind, key(world)))
}

fn path_of(kind: LinkKind, token: &str) -> String {
    let letter = match kind {
        LinkKind::Unsubscribe => 'u',
        LinkKind::Open => 'o',
        LinkKind::Click => 'c',
    };
    format!("/e/{letter}/{token}")
}

/// What lies in the queue, oldest first.
fn events(world: &World) -> Vec<Value> {
    let mut messages = world.aws.queues().peek(QUEUE).expect("the queue is there");
    messages.sort_by_key(|message| message.sent_at);
    messages.iter().map(|message| serde_json::from_str(&message.body).expect("JSON")).collect()
}

/// A page for people, that runs nothing and loads nothing.
#[track_caller]
fn is_page(answer: &Answer) {
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8", "{}", answer.text);
    assert!(answer.text.starts_with("<!DOCTYPE html>") && !answer.text.contains("<script"), "{}", answer.text);
    assert!(!answer.text.contains("http://") && !answer.text.contains("https://") && !answer.text.contains("src="), "{}", answer.text);
    is_private(answer);
}

#[track_caller]
fn is_private(answer: &Answer) {
    let policy = answer.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none';") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(answer.header("x-robots-tag"), "noindex, nofollow");
    assert_eq!((answer.header("referrer-policy"), answer.header("cache-control")), ("no-referrer", "no-store"));
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
}

/// A lead gets a mail, opens it, follows its link and unsubscribes.
pub(crate) async fn a_mail_and_its_links(world: &World, tenant: &Tenant) {
    let sent = Sent::to(world, tenant.clone(), "jane@example.com").await;
    for kind in LinkKind::ALL {
        assert!(matches!(sent.get(kind).send().await.status, 200 | 302));
    }
    sent.post().send().await.expect(200);
    assert_eq!(sent.shown().await["email_status"], "unsubscribed");
}

// ---------------------------------------------------------------- unsubscribing

#[tokio::test]
async fn a_page_asks_and_its_button_unsubscribes() {
    let world = World::new().await;
    let sent = Sent::new(&world, "acme").await;
    let before = sent.stored();
    let page = sent.get(LinkKind::Unsubscribe).send().await.expect(200);
    is_page(&page);
    assert!(page.text.contains("Ann &amp; Sons &lt;b&gt;") && page.text.contains("<form method=\"post\">"), "{}", page.text);
    assert_eq!((sent.stored(), events(&world)), (before, vec![]), "a look changed something");

    let done = sent.post().send().await.expect(200);
    is_page(&done);
    assert!(done.text.contains("You are unsubscribed") && done.text.contains("Ann &amp; Sons"), "{}", done.text);
    let lead = sent.shown().await;
    assert_eq!((&lead["email_status"], &lead["status"]), (&json!("unsubscribed"), &json!("new")));
    let activity = lead["activity"].as_array().expect("entries");
    assert_eq!(activity.len(), 1, "{lead}");
    let said = (&activity[0]["type"], &activity[0]["campaign_id"], &activity[0]["step"], &activity[0]["by"]);
    assert_eq!(said, (&json!("unsubscribed"), &json!(sent.campaign), &json!(2), &Value::Null));
    let checked = sent.read(&format!("{SUPPRESSIONS}/check?email=jane@example.com")).await;
    let said = (&checked["suppressed"], &checked["scope"], &checked["reason"], &checked["source"]);
    assert_eq!(said, (&json!(true), &json!("workspace"), &json!("user_request"), &json!("unsubscribe")));
    let unsubscribed = sent.read(&format!("{LEADS}?email_status=unsubscribed")).await;
    assert_eq!(unsubscribed.as_array().map(Vec::len), Some(1), "lists filter by it");
    counts_are_true(&world, &sent.tenant);
    let token = token_of(&sent.mail, LinkKind::Unsubscribe, key(&world));
    let at = world.auth.clock().now().to_string();
    assert_eq!(events(&world), [json!({"engagement": "unsubscribed", "token": token, "at": at, "automated": false})]);

    // Once more, and here nothing is left to do.
    let after = sent.stored();
    let again = sent.post().send().await.expect(200);
    assert_eq!(again.text, done.text);
    sent.get(LinkKind::Unsubscribe).send().await.expect(200);
    assert_eq!((sent.stored(), events(&world).len()), (after, 1));
}

#[tokio::test]
async fn one_click_unsubscribes_however_the_mail_program_writes_it() {
    let world = World::new().await;
    let tenant = world.tenant("acme").await;
    let multipart = b"--x\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--x--\r\n";
    let bodies: [(&str, Option<&[u8]>); 6] = [
        ("application/x-www-form-urlencoded", Some(ONE_CLICK)),
        ("multipart/form-data; boundary=x", Some(multipart)),
        ("multipart/form-data; boundary=x", Some(b"--y\r\n")),
        ("application/json", Some(b"{\"List-Unsubscribe\": 1}")),
        ("", None),
        ("text/plain", Some(&[0xFF, 0xFE])),
    ];
    for (number, (kind, body)) in bodies.into_iter().enumerate() {
        let sent = Sent::to(&world, tenant.clone(), &format!("lead{number}@example.com")).await;
        let request =
            world.post(format!("{}?utm_source=a&utm_source=b&%FF", sent.path(LinkKind::Unsubscribe))).header("content-type", kind);
        // Of whoever is signed in elsewhere, too; and with whatever is added to the link.
        let request = request.header("authorization", "Bearer garbage").header("idempotency-key", "k").header("x-tenant-id", "nobody");
        let request = if let Some(body) = body { request.raw(body) } else { request };
        let answer = request.send().await.expect(200);
        is_page(&answer);
        assert_eq!(sent.shown().await["email_status"], "unsubscribed", "{kind}");
    }
    counts_are_true(&world, &tenant);
}

#[tokio::test]
async fn many_at_once_have_one_effect() {
    let world = World::new().await;
    let sent = Sent::new(&world, "acme").await;
    let other = world.another_instance().await;
    for round in 0..5 {
        let both = (0..8).map(|number| {
            let world = if number % 2 == 0 { &world } else { &other };
            world.post(sent.path(LinkKind::Unsubscribe)).raw(ONE_CLICK).send()
        });
        for answer in join_all(both).await {
            answer.expect(200);
        }
        let lead = sent.shown().await;
        assert_eq!((&lead["email_status"], lead["activity"].as_array().map(Vec::len)), (&json!("unsubscribed"), Some(2 * round + 1)));
        counts_are_true(&world, &sent.tenant);
        // They want mail again, and then they do not.
        let listed = sent.read(SUPPRESSIONS).await;
        assert_eq!(listed.as_array().map(Vec::len), Some(1));
        let lifted = sent.owner("DELETE", &format!("{SUPPRESSIONS}/{}", id(&listed[0])));
        lifted.json(json!({"evidence": "They asked."})).send().await.expect(204);
        assert_eq!(sent.shown().await["email_status"], "active");
    }
}

#[tokio::test]
async fn a_lift_lets_mail_go_again_once_no_list_has_the_address() {
    let world = World::new().await;
    let sent = Sent::new(&world, "acme").await;
    let manual = json!({"email": "jane@example.com", "scope": "tenant", "reason": "manual"});
    let lift = async |scope: &str, evidence: Option<&str>| {
        world.advance(SignedDuration::from_secs(1));
        let listed = sent.read(&format!("{SUPPRESSIONS}?scope={scope}")).await;
        let body = evidence.map_or(json!({}), |evidence| json!({"evidence": evidence}));
        sent.owner("DELETE", &format!("{SUPPRESSIONS}/{}", id(&listed[0]))).json(body).send().await
    };
    sent.post().send().await.expect(200);
    sent.owner("POST", SUPPRESSIONS).json(manual.clone()).send().await.expect(201);
    // The other list has it still, whichever is lifted first.
    lift("tenant", None).await.expect(204);
    assert_eq!(sent.shown().await["email_status"], "unsubscribed");
    sent.owner("POST", SUPPRESSIONS).json(manual).send().await.expect(201);
    lift("workspace", Some("They asked.")).await.expect(204);
    assert_eq!(sent.shown().await["email_status"], "unsubscribed");
    // What is lifted now needs no evidence by itself, but the lead said no.
    assert!(lift("tenant", None).await.expect(400).details()["evidence"].is_array());
    assert_eq!(sent.shown().await["email_status"], "unsubscribed");
    lift("tenant", Some("They asked.")).await.expect(204);
    let lead = sent.shown().await;
    assert_eq!(lead["email_status"], "active");
    let said = lead["activity"].as_array().expect("entries").iter().map(|entry| entry["type"].clone()).collect::<Vec<_>>();
    assert_eq!(said, ["suppression_lifted", "unsubscribed"]);
    assert!(lead["activity"][0]["by"]["name"].is_string(), "{lead}");
    counts_are_true(&world, &sent.tenant);
}

#[tokio::test]
async fn it_works_as_long_as_there_is_something_to_write_and_says_the_same_when_there_is_not() {
    let world = World::new().await;
    let sent = Sent::new(&world, "acme").await;
    // Years later, and the campaign is gone.
    sent.owner("DELETE", &format!("/api/v1/tenant/campaigns/{}", sent.campaign)).send().await.expect(204);
    world.advance(SignedDuration::from_hours(24 * 365 * 5));
    let login = world.login(&sent.tenant.owner.email, "correct horse").await;
    let sent = Sent { tenant: Tenant { owner: login, ..sent.tenant.clone() }, ..sent };
    let done = sent.post().send().await.expect(200);
    assert_eq!(sent.shown().await["email_status"], "unsubscribed");

    // Where the lead is gone, the link says which address it was.
    let gone = Sent::to(&world, sent.tenant.clone(), "gone@example.com").await;
    gone.owner("DELETE", &format!("{LEADS}/{}", gone.lead)).send().await.expect(204);
    let page = gone.get(LinkKind::Unsubscribe).send().await.expect(200);
    assert!(page.text.contains("<form method=\"post\">"));
    assert_eq!(gone.post().send().await.expect(200).text, done.text);
    let checked = gone.read(&format!("{SUPPRESSIONS}/check?email=gone@example.com")).await;
    assert_eq!((&checked["scope"], &checked["reason"]), (&json!("workspace"), &json!("user_request")));
    let after = gone.stored();
    gone.post().send().await.expect(200);
    assert_eq!(gone.stored(), after);
    counts_are_true(&world, &gone.tenant);

    // With its workspace, too.
    let lost = Sent::to(&world, sent.tenant.clone(), "lost@example.com").await;
    let path = format!("/api/v1/tenant/workspaces/{}", lost.workspace);
    lost.owner("DELETE", &path).json(json!({"confirm": "Ann & Sons <b>"})).send().await.expect(204);
    let before = lost.stored();
    for kind in LinkKind::ALL {
        let answer = lost.get(kind).send().await;
        assert!(matches!(answer.status, 200 | 302), "{}", answer.text);
    }
    let page = lost.post().send().await.expect(200);
    assert!(page.text.contains("You are unsubscribed") && page.text.contains("this sender"), "{}", page.text);
    assert_eq!(lost.stored(), before, "something was written into a workspace that is gone");
}

#[tokio::test]
async fn a_link_stops_mails_to_its_address_whoever_has_it_now() {
    let world = World::new().await;
    let sent = Sent::new(&world, "acme").await;
    // The lead comes again, as another one; and in another mail's case, the address goes over to another lead.
    sent.owner("DELETE", &format!("{LEADS}/{}", sent.lead)).send().await.expect(204);
    world.advance(SignedDuration::from_millis(5));
    let again = sent.owner("POST", LEADS).json(json!({"email": "JANE@example.com"})).send().await.expect(201).json()["data"].clone();
    sent.post().send().await.expect(200);
    let again = sent.read(&format!("{LEADS}/{}", id(&again))).await;
    assert_eq!((&again["email_status"], again["activity"].as_array().map(Vec::len)), (&json!("unsubscribed"), Some(1)));
    assert_eq!(again["activity"][0]["campaign_id"], json!(sent.campaign));

    let moved = Sent::to(&world, sent.tenant.clone(), "joe@example.com").await;
    moved.owner("PATCH", &format!("{LEADS}/{}", moved.lead)).json(json!({"email": "other@example.com"})).send().await.expect(200);
    let holder = moved.owner("POST", LEADS).json(json!({"email": "joe@example.com"})).send().await.expect(201).json()["data"].clone();
    for _ in 0..2 {
        moved.post().send().await.expect(200);
        for lead in [&moved.lead, id(&holder)] {
            let lead = moved.read(&format!("{LEADS}/{lead}")).await;
            assert_eq!((&lead["email_status"], lead["activity"].as_array().map(Vec::len)), (&json!("unsubscribed"), Some(1)));
        }
        let listed = moved.read(SUPPRESSIONS).await;
        let mut emails: Vec<&str> = listed.as_array().expect("a list").iter().filter_map(|entry| entry["email"].as_str()).collect();
        emails.sort_unstable();
        assert_eq!(emails, ["joe@example.com", "other@example.com"]);
        counts_are_true(&world, &moved.tenant);
    }
}

#[tokio::test]
async fn what_others_change_at_the_same_time_is_not_lost() {
    let world = World::new().await;
    let sent = Sent::new(&world, "acme").await;
    // The address changes: mail would go to the new one.
    let path = format!("{LEADS}/{}", sent.lead);
    let change = sent.owner("PATCH", &path).json(json!({"email": "other@example.com", "tags": ["vip"]})).send();
    let (changed, done) = tokio::join!(change, sent.post().send());
    changed.expect(200);
    done.expect(200);
    sent.post().send().await.expect(200);
    let lead = sent.shown().await;
    assert_eq!((&lead["email_status"], &lead["tags"]), (&json!("unsubscribed"), &json!(["vip"])));
    let checked = sent.read(&format!("{SUPPRESSIONS}/check?email=other@example.com")).await;
    assert_eq!(checked["suppressed"], true);
    // A deletion: whoever comes first, nothing is left of the lead's activity.
    for number in 0..5 {
        let sent = Sent::to(&world, sent.tenant.clone(), &format!("lead{number}@example.com")).await;
        let path = format!("{LEADS}/{}", sent.lead);
        let (deleted, done) = tokio::join!(sent.owner("DELETE", &path).send(), sent.post().send());
        deleted.expect(204);
        done.expect(200);
    }
    counts_are_true(&world, &sent.tenant);
}

#[tokio::test]
async fn whoever_is_suppressed_already_is_noted_and_counted_once() {
    let world = World::new().await;
    let sent = Sent::new(&world, "acme").await;
    let body = json!({"email": "jane@example.com", "scope": "workspace", "reason": "manual"});
    sent.owner("POST", SUPPRESSIONS).json(body).send().await.expect(201);
    sent.post().send().await.expect(200);
    let lead = sent.shown().await;
    assert_eq!((&lead["email_status"], lead["activity"].as_array().map(Vec::len)), (&json!("unsubscribed"), Some(1)));
    let checked = sent.read(&format!("{SUPPRESSIONS}/check?email=jane@example.com")).await;
    assert_eq!(checked["reason"], "user_request", "their own wish takes the place of what others wrote down");
    counts_are_true(&world, &sent.tenant);
    let listed = sent.read(SUPPRESSIONS).await;
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!((&listed[0]["reason"], &listed[0]["source"]), (&json!("user_request"), &json!("unsubscribe")));
    // So nobody takes it off the list without saying why.
    let path = format!("{SUPPRESSIONS}/{}", id(&listed[0]));
    sent.owner("DELETE", &path).json(json!({})).send().await.expect(400);
    let body = json!({"email": "jane@example.com", "scope": "workspace", "reason": "manual"});
    sent.owner("POST", SUPPRESSIONS).json(body).send().await.expect(409);
    sent.owner("DELETE", &path).json(json!({"evidence": "They asked."})).send().await.expect(204);
    counts_are_true(&world, &sent.tenant);
}

#[tokio::test]
async fn the_audit_log_says_that_it_was_the_recipient() {
    let world = World::new().await;
    let workers = Workers::on(&world);
    let sent = Sent::new(&world, "acme").await;
    let answer = sent.post().send().await.expect(200);
    drain(&world, &workers).await;
    let log = world.get("/api/tenant/audit-log").token(&sent.tenant.owner.token).send().await.expect(200).json();
    let entries = log.as_array().or_else(|| log["entries"].as_array()).or_else(|| log["data"].as_array()).expect("a log").clone();
    let of_it: Vec<&Value> = entries.iter().filter(|entry| entry["requestId"] == answer.header("x-request-id")).collect();
    assert_eq!(of_it.len(), 1, "{log}");
    assert_eq!(of_it[0]["actor"], "recipient");
    let changes: Vec<&str> = of_it[0]["changes"].as_array().expect("changes").iter().filter_map(|one| one["resource"].as_str()).collect();
    assert!(changes.contains(&"lead") && changes.contains(&"suppression_change"), "{changes:?}");
}

// ---------------------------------------------------------------- what people do with mails

#[tokio::test]
async fn the_get_and_head_of_every_link_change_nothing_and_say_what_happened() {
    let world = World::new().await;
    let sent = Sent::new(&world, "acme").await;
    let before = sent.stored();
    for kind in LinkKind::ALL {
        for (method, header) in [
            ("HEAD", None),
            ("GET", Some(("purpose", "prefetch"))),
            ("GET", Some(("sec-purpose", "prefetch;prerender"))),
            ("GET", Some(("user-agent", "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"))),
            ("GET", None),
        ] {
            let request = world.request(method, sent.path(kind));
            let answer = match header {
                Some((name, value)) => request.header(name, value).send().await,
                None => request.send().await,
            };
            is_private(&answer);
            match kind {
                LinkKind::Unsubscribe => assert_eq!(answer.status, 200),
                LinkKind::Open => assert_eq!((answer.status, answer.header("content-type")), (200, "image/gif")),
                LinkKind::Click => assert_eq!((answer.status, answer.header("location")), (302, URL)),
            }
            assert!(method == "GET" || answer.text.is_empty());
        }
    }
    assert_eq!(sent.stored(), before, "a look at a link changed something");
    // A repeat is dropped by the instance; a program's look does not hide a person's.
    let said: Vec<(String, bool)> = events(&world)
        .iter()
        .map(|event| (event["engagement"].as_str().expect("a word").to_owned(), event["automated"].as_bool().expect("a flag")))
        .collect();
    let expected = [("opened", true), ("opened", false), ("clicked", true), ("clicked", false)].map(|(word, flag)| (word.to_owned(), flag));
    assert_eq!(said, expected);
    for event in events(&world) {
        let kind = if event["engagement"] == "opened" { LinkKind::Open } else { LinkKind::Click };
        assert_eq!(event["token"], token_of(&sent.mail, kind, key(&world)));
        assert!(event["at"].as_str().is_some_and(|at| at.parse::<jiff::Timestamp>().is_ok()), "{event}");
        assert_eq!(event.as_object().map(serde_json::Map::len), Some(4));
    }
    let groups = world.aws.queues().peek(QUEUE).expect("the queue");
    assert!(groups.iter().all(|message| message.group.as_deref() == Some(&sent.tenant.id)), "each tenant has its share of the queue");
    // Another instance knows nothing of it.
    world.another_instance().await.get(sent.path(LinkKind::Open)).send().await.expect(200);
    assert_eq!(events(&world).len(), 5);
}

#[tokio::test]
async fn without_the_queue_people_get_what_they_asked_for() {
    let variables = vec![("MAIL_EVENTS_QUEUE_URL", "http://127.0.0.1:1/000000000000/none".to_owned())];
    let world = World::with(Settings { variables, ..Settings::default() }).await;
    let sent = Sent::new(&world, "acme").await;
    sent.get(LinkKind::Open).send().await.expect(200);
    assert_eq!(sent.get(LinkKind::Click).send().await.expect(302).header("location"), URL);
    sent.post().send().await.expect(200);
    assert_eq!(sent.shown().await["email_status"], "unsubscribed");
    assert_eq!(events(&world), Vec::<Value>::new());
}

// ---------------------------------------------------------------- what opens nothing

#[tokio::test]
async fn a_token_that_we_did_not_sign_for_this_link_opens_nothing() {
    let world = World::new().await;
    let sent = Sent::new(&world, "acme").await;
    let before = sent.stored();
    let ours = key(&world);
    let theirs = World::new().await;
    let good = LinkKind::ALL.map(|kind| token_of(&sent.mail, kind, ours));
    let mut tried = 0;
    for kind in LinkKind::ALL {
        let own = token_of(&sent.mail, kind, ours);
        let mut wrong = vec![
            String::new(),
            "x".to_owned(),
            "%00".to_owned(),
            "%FF".to_owned(),
            "..%2f..".to_owned(),
            "A".repeat(84),
            "A".repeat(9_000),
            format!("{own}A"),
            format!("{own}="),
            format!("A{own}"),
            own.repeat(2),
            own.to_uppercase(),
            own[..own.len() - 1].to_owned(),
            own[..42].to_owned(),
            token_of(&sent.mail, kind, key(&theirs)),
            sent.mail.tags(&ours.signing).into_iter().map(|(_, value)| value).next_back().expect("a signature"),
            format!("{}.{}", Uuid::nil(), own),
        ];
        wrong.extend(good.iter().filter(|token| **token != own).cloned());
        for at in (0..own.len()).step_by(3) {
            let other = if own.as_bytes()[at] == b'A' { 'B' } else { 'A' };
            wrong.push(format!("{}{other}{}", &own[..at], &own[at + 1..]));
        }
        for token in wrong {
            for method in if kind == LinkKind::Unsubscribe { &["GET", "HEAD", "POST"][..] } else { &["GET", "HEAD"] } {
                let answer = world.request(method, path_of(kind, &token)).send().await;
                let what = format!("{method} {kind:?} {token}: {}", answer.text);
                assert_eq!((answer.status, answer.header("location")), (404, ""), "{what}");
                // Made-up tokens cost nothing. (An empty one is no path of ours.)
                assert!(token.is_empty() || answer.metered.is_some_and(|metered| metered.calls == 0), "{what}");
                if *method != "HEAD" {
                    is_page(&answer);
                }
                tried += 1;
            }
        }
    }
    assert!(tried > 300, "{tried}");
    assert_eq!((sent.stored(), events(&world)), (before, vec![]));
    // The control.
    for kind in LinkKind::ALL {
        assert!(matches!(sent.get(kind).send().await.status, 200 | 302));
    }
}

/// What is signed by mistake for a lead of another tenant or workspace stays within the tenant and workspace that it names.
#[tokio::test]
async fn a_link_reaches_no_other_tenant_and_no_other_workspace() {
    let world = World::new().await;
    let sent = Sent::new(&world, "acme").await;
    let neighbour = Sent::new(&world, "globex").await;
    let elsewhere = Sent::to(&world, sent.tenant.clone(), "jane@example.com").await;
    let (before, theirs) = (sent.stored(), neighbour.stored());
    let foreign = mail_to(&world, &sent.tenant, &neighbour.campaign, &neighbour.lead).await;
    for kind in LinkKind::ALL {
        let answer = world.get(link_of(&world, &foreign, kind)).send().await;
        assert!(matches!(answer.status, 200 | 302) && !answer.text.contains("Ann"), "{}", answer.text);
    }
    let page = world.post(link_of(&world, &foreign, LinkKind::Unsubscribe)).send().await.expect(200);
    assert!(page.text.contains("this sender"));
    assert_eq!((sent.stored(), neighbour.stored()), (before, theirs));
    // The same address in the tenant's other workspace is another lead.
    sent.post().send().await.expect(200);
    assert_eq!((&sent.shown().await["email_status"], &elsewhere.shown().await["email_status"]), (&json!("unsubscribed"), &json!("active")));
    assert_eq!(neighbour.shown().await["email_status"], "active");
    let checked = elsewhere.read(&format!("{SUPPRESSIONS}/check?email=jane@example.com")).await;
    assert_eq!(checked["suppressed"], false);
}

#[tokio::test]
async fn links_of_a_tenant_that_is_not_in_service_are_gone() {
    let world = World::new().await;
    let now = world.auth.clock().now();
    let soon = (now + SignedDuration::from_secs(30)).to_string();
    for (number, (attribute, value)) in
        [("status", "suspended"), ("status", "deleting"), ("status", "closed"), ("ends_at", &now.to_string()), ("ends_at", &soon)]
            .into_iter()
            .enumerate()
    {
        let sent = Sent::new(&world, &format!("acme{number}")).await;
        // The control.
        assert_eq!(sent.get(LinkKind::Open).send().await.status, 200);
        let heard = events(&world).len();
        sent.set_tenant(attribute, value);
        are_gone(&sent).await;
        assert_eq!(events(&world).len(), heard, "{attribute} {value}");
    }
    // A purge leaves nothing.
    let sent = Sent::new(&world, "purged").await;
    world.change_item(&format!("T#{}#tenant", sent.tenant.id), "profile", |item| item["pk"] = json!({"S": "G#elsewhere"}));
    let table = world.table_name();
    let gone = json!({"TableName": table, "Key": {"pk": {"S": format!("T#{}#tenant", sent.tenant.id)}, "sk": {"S": "profile"}}});
    world.aws.database().delete_item(serde_json::from_value(gone).expect("a request")).expect("the item goes");
    are_gone(&sent).await;
}

async fn are_gone(sent: &Sent) {
    let before = sent.stored();
    for kind in LinkKind::ALL {
        let answer = sent.get(kind).send().await.expect(410);
        is_page(&answer);
        assert_eq!(answer.header("location"), "");
        sent.world.request("HEAD", sent.path(kind)).send().await.expect(410);
    }
    is_page(&sent.post().send().await.expect(410));
    assert_eq!(sent.stored(), before);
}

#[tokio::test]
async fn only_an_address_is_limited_and_never_what_people_want_to_reach() {
    let variables = vec![("RATE_LINKS", "20".to_owned())];
    let plans = json!({"free": {"api_requests_per_day": 1}, "trial": {"api_requests_per_day": 1}});
    let world = World::with(Settings { variables, plans, ..Settings::default() }).await;
    let tenant = world.tenant("acme").await;
    // The tenant's day is over before it begins.
    let leads = world.get(LEADS).token(&tenant.owner.token).send().await;
    assert!(matches!(leads.status, 200 | 429), "{}", leads.text);
    let mail = {
        let tag = "0123456789ab";
        let within = |number: u128| Uuid::from_u128(number << 48 | u128::from_str_radix(tag, 16).expect("hex"));
        let store = work_context(world.app("links"), "test", "test").tenant_named(&tenant.id).await.expect("a tenant");
        MailRef::new(store.tenant_id(), within(1), within(2), 0).expect("one workspace")
    };
    let ask = |kind: LinkKind, ip: &'static str| world.get(link_of(&world, &mail, kind)).at_ip(ip).send();
    for _ in 0..20 {
        ask(LinkKind::Unsubscribe, "192.0.2.1").await.expect(200);
    }
    let heard = events(&world).len();
    let refused = ask(LinkKind::Unsubscribe, "192.0.2.1").await;
    // Strikes are counted by portions.
    let refused = if refused.status == 200 { ask(LinkKind::Unsubscribe, "192.0.2.1").await } else { refused };
    is_page(&refused.clone().expect(429));
    assert!(refused.header("retry-after").parse::<u64>().is_ok() && refused.header("x-ratelimit-limit") == "20");
    // Images and clicks are another matter, and a crowd of them stands in nobody's way out.
    for number in 0..22 {
        assert_eq!(ask(LinkKind::Click, "192.0.2.1").await.expect(302).header("location"), URL);
        let click = if number < 20 { "192.0.2.3" } else { "192.0.2.2" };
        ask(LinkKind::Click, click).await.expect(302);
    }
    assert!(events(&world).len() > heard);
    let heard = events(&world).len();
    ask(LinkKind::Open, "192.0.2.1").await.expect(200);
    ask(LinkKind::Open, "192.0.2.1").await.expect(200);
    assert_eq!(events(&world).len(), heard, "a crowd counts for nothing");
    ask(LinkKind::Unsubscribe, "192.0.2.3").await.expect(200);
    ask(LinkKind::Unsubscribe, "192.0.2.2").await.expect(200);
    world.advance(SignedDuration::from_secs(60));
    ask(LinkKind::Unsubscribe, "192.0.2.1").await.expect(200);
}

#[tokio::test]
async fn other_methods_are_refused_on_a_page() {
    let world = World::new().await;
    let sent = Sent::new(&world, "acme").await;
    for kind in LinkKind::ALL {
        for method in ["PUT", "DELETE", "PATCH"] {
            is_page(&world.request(method, sent.path(kind)).send().await.expect(405));
        }
    }
    is_page(&world.post(sent.path(LinkKind::Click)).send().await.expect(405));
}

// ---------------------------------------------------------------- workers

/// A carrier's report is believed as far as we signed it, and opens the tenant that we wrote.
#[tokio::test]
async fn a_report_opens_the_tenant_of_its_signature() {
    let world = World::new().await;
    let sent = Sent::new(&world, "acme").await;
    let neighbour = Sent::new(&world, "globex").await;
    let context = work_context(world.app("links"), "test", "test");
    let tags = |sent: &Sent| -> BTreeMap<String, String> {
        sent.mail.tags(&key(&world).signing).into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    };
    let (mail, store, within) = context.reported(&tags(&sent)).expect("the key").expect("our tags");
    assert_eq!(
        (mail, store.tenant_id().to_string(), within.tenant_id().to_string()),
        (sent.mail, sent.tenant.id.clone(), sent.tenant.id.clone())
    );
    assert_eq!(within.tag(), sent.mail.workspace());
    let (own, other) = (tags(&sent), tags(&neighbour));
    for name in ["t", "c", "l", "s", "sig"] {
        let mut mixed = own.clone();
        mixed.insert(name.to_owned(), if name == "s" { "3".to_owned() } else { other[name].clone() });
        assert!(context.reported(&mixed).expect("the key").is_none(), "{name} of another mail");
        mixed.remove(name);
        assert!(context.reported(&mixed).expect("the key").is_none(), "without {name}");
    }
    for kind in LinkKind::ALL {
        let token = token_of(&sent.mail, kind, key(&world));
        for asked in LinkKind::ALL {
            let opened = context.engaged(asked, &token).expect("the key");
            let tenant = opened.as_ref().map(|(link, store, within)| {
                assert_eq!((link.mail, within.tag()), (sent.mail, sent.mail.workspace()));
                store.tenant_id().to_string()
            });
            assert_eq!(tenant, (asked == kind).then(|| sent.tenant.id.clone()));
        }
    }
    // A function without the key believes nothing.
    assert!(work_context(&world.auth, "test", "test").reported(&own).is_err());
}
