//! What holds for any input: identifiers, addresses, cursors, links, and the partitions of two tenants' items.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use proptest::prelude::*;
use records::project::ProjectId;
use records::task::TaskId;
use serde_json::{Value, json};
use shared::crypto::{Random, RootKey, hash};
use shared::ids::{LinkId, MailId, SessionId, UserId};
use shared::model::invitation::InvitationId;
use shared::model::link::Link;
use shared::model::tenant::Slug;
use shared::model::user::Email;

use crate::world::{Answer, INVITATIONS, Tenant, World, id};

const PROJECTS: &str = "/api/v1/projects";
const MEMBERS: &str = "/api/v1/tenant/members";

macro_rules! reads_back {
    ($($id:ident: $made:expr),* $(,)?) => { $(
        let id = $made;
        let text = id.to_string();
        prop_assert_eq!($id::parse(&text), Some(id));
        prop_assert_eq!($id::parse(&text.to_uppercase()), Some(id));
        prop_assert_eq!(serde_json::from_value::<$id>(json!(id)).ok(), Some(id));
        prop_assert!(text.len() == 36 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'), "{}", text);
    )* };
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn ids_read_back_and_hold_no_delimiter(seed in 1_u64.., seconds in 0_i64..4_000_000_000) {
        let (random, now) = (Random::seeded(seed), Timestamp::from_second(seconds).expect("a moment"));
        let project = ProjectId::new(now, &random);
        reads_back! {
            UserId: UserId::new(now, &random),
            ProjectId: project,
            TaskId: TaskId::new(project, now, &random),
            InvitationId: InvitationId::new(now, &random),
            MailId: MailId::new(now, &random),
            SessionId: SessionId::new(&random),
            LinkId: LinkId::new(&random),
        }
        prop_assert_eq!(TaskId::new(project, now, &random).project_tag(), project.tag());
        prop_assert_ne!(ProjectId::new(now, &random), project);
        // In the order of their creation.
        let later = Timestamp::from_second(seconds + 1).expect("a moment");
        prop_assert!(ProjectId::new(later, &random).to_string() > project.to_string());
        prop_assert!(TaskId::new(project, later, &random).to_string() > TaskId::new(project, now, &random).to_string());
    }

    #[test]
    fn nothing_but_the_canonical_form_is_an_id(text in prop_oneof![".{0,40}", "[0-9a-fA-F{}#-]{34,38}", "urn:uuid:[0-9a-f-]{36}"]) {
        if let Some(id) = ProjectId::parse(&text) {
            prop_assert_eq!(id.to_string(), text.to_lowercase());
        }
    }

    #[test]
    fn slugs_read_back_and_every_name_makes_one(text in prop_oneof![".{0,45}", "[a-z0-9-]{1,42}"], suffix in "[a-z0-9]{6}") {
        if let Some(slug) = Slug::parse(&text) {
            prop_assert_eq!(slug.as_str(), &text);
            prop_assert_eq!(serde_json::from_value::<Slug>(json!(slug)).ok(), Some(slug));
            prop_assert!(!text.contains('#'));
        } else {
            prop_assert!(serde_json::from_value::<Slug>(json!(text)).is_err());
        }
        let made = Slug::from_name(&text, &suffix);
        prop_assert_eq!(Slug::parse(made.as_str()), Some(made));
    }

    #[test]
    fn addresses_read_back_and_compare_without_case(
        text in prop_oneof![".{0,60}", "[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]{1,20}@[a-zA-Z0-9.-]{1,20}", "\\PC{1,10}@\\PC{1,10}\\.[a-z]{2,5}"],
    ) {
        let Some(email) = Email::parse(&text) else { return Ok(()) };
        if text.is_ascii() && !text.to_ascii_lowercase().contains("xn--") {
            prop_assert_eq!(email.as_str(), text.trim());
        }
        prop_assert!(email.as_str().is_ascii());
        prop_assert_eq!(Email::parse(email.as_str()), Some(email.clone()));
        prop_assert!(!email.as_str().chars().any(|c| c.is_whitespace() || c.is_control()));
        let lower = Email::parse(&email.normalised());
        prop_assert_eq!(lower.map(|lower| lower.normalised()), Some(email.normalised()), "the compared form is an address, and its own");
    }

    #[test]
    fn different_parts_make_different_keys(
        left in prop::collection::vec(".{0,6}", 0..4),
        right in prop::collection::vec(".{0,6}", 0..4),
        cut in 0_usize..8,
    ) {
        let hashed = |parts: &[String]| hash(&parts.iter().map(|part| part.as_bytes()).collect::<Vec<_>>());
        prop_assert_eq!(hashed(&left) == hashed(&right), left == right);
        prop_assert!(!hashed(&left).contains('#'));
        // The same text, split at other positions.
        let text: String = left.concat();
        let moved: Vec<String> = text.char_indices().nth(cut).map(|(at, _)| vec![text[..at].to_owned(), text[at..].to_owned()]).unwrap_or_default();
        prop_assert_eq!(hashed(&left) == hashed(&moved), left == moved);
    }

    #[test]
    fn sealed_text_opens_whole_and_only_where_it_belongs(text in prop::collection::vec(any::<u8>(), 0..120), place in ".{0,30}", other in ".{0,30}", bit: prop::sample::Index) {
        let (root, random) = (RootKey::new(b"a root secret of a deployment, 32 bytes or more"), Random::system());
        let key = root.sealing("cursors");
        let sealed = key.seal(&text, &place, &random);
        prop_assert_eq!(key.open(&sealed, &place), Some(text.clone()));
        prop_assert_eq!(key.open(&sealed, &other).is_some(), place == other);
        prop_assert_eq!(root.sealing("answers").open(&sealed, &place), None);
        prop_assert_ne!(key.seal(&text, &place, &random), sealed.clone());
        let bytes = URL_SAFE_NO_PAD.decode(&sealed).expect("base64url");
        prop_assert_eq!(key.open(&flipped(&bytes, bit.index(bytes.len() * 8)), &place), None);
        prop_assert_eq!(key.open(&sealed[..bit.index(sealed.len())], &place), None);
        prop_assert_eq!(key.open(&format!("{sealed}A"), &place), None);
    }

    #[test]
    fn a_link_names_its_id_only_under_our_signature(seed in 1_u64.., bit in 0_usize..256) {
        let (root, random) = (RootKey::new(b"a root secret of a deployment, 32 bytes or more"), Random::seeded(seed));
        let (key, id) = (root.signing("links"), LinkId::new(&random));
        let token = Link::token(id, &key);
        prop_assert_eq!(Link::of_token(&token, &key), Some(id));
        prop_assert_eq!(Link::of_token(&token, &root.signing("demo passwords")), None);
        let (_, signature) = token.split_once('.').expect("two parts");
        prop_assert_eq!(Link::of_token(&format!("{}.{signature}", LinkId::new(&random)), &key), None);
        let forged = flipped(&URL_SAFE_NO_PAD.decode(signature).expect("base64url"), bit);
        prop_assert_eq!(Link::of_token(&format!("{id}.{forged}"), &key), None);
    }
}

#[tokio::test]
async fn a_cursor_with_any_bit_changed_is_refused() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    for number in 0..3 {
        world.project(&acme.owner, &format!("Project {number}")).await;
    }
    let first = list(&world, &acme, &format!("{PROJECTS}?per_page=1")).await.expect(200).json();
    let cursor = first["meta"]["next_cursor"].as_str().expect("there is more").to_owned();
    list(&world, &acme, &format!("{PROJECTS}?per_page=1&cursor={cursor}")).await.expect(200);
    let bytes = URL_SAFE_NO_PAD.decode(&cursor).expect("base64url");
    for bit in 0..bytes.len() * 8 {
        let refused = list(&world, &acme, &format!("{PROJECTS}?per_page=1&cursor={}", flipped(&bytes, bit))).await.expect(400);
        assert_eq!(refused.code(), "BAD_REQUEST");
    }
    // A part of a cursor is not a cursor.
    for length in 1..cursor.len() {
        let answer = list(&world, &acme, &format!("{PROJECTS}?per_page=1&cursor={}", &cursor[..length])).await;
        assert!([400, 422].contains(&answer.status), "{length}: {}", answer.text);
    }
    // It is not valid for other filters or another order either.
    for other in ["search=x&", "archived=true&", "sort=name&", "direction=asc&"] {
        list(&world, &acme, &format!("{PROJECTS}?{other}per_page=1&cursor={cursor}")).await.expect(400);
    }
    // It does not contain the keys themselves.
    let readable = String::from_utf8_lossy(&bytes).into_owned();
    assert!(!readable.contains(&acme.id) && !readable.contains("active#"));
}

/// One action of one of two tenants. `pick` chooses among the existing records.
#[derive(Debug, Clone)]
struct Step {
    tenant: usize,
    action: Action,
    pick: prop::sample::Index,
    text: String,
}

#[derive(Debug, Clone, Copy)]
enum Action {
    NewProject,
    Rename,
    Archive,
    Unarchive,
    DeleteProject,
    NewTask,
    ChangeTask,
    Complete,
    DeleteTask,
    Invite,
    Join,
    ChangeRole,
    RemoveMember,
    List,
    /// Tries to access the other tenant's records.
    Trespass,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    use Action::*;
    let action = prop::sample::select(vec![
        NewProject,
        NewProject,
        NewProject,
        Rename,
        Archive,
        Unarchive,
        DeleteProject,
        NewTask,
        NewTask,
        NewTask,
        NewTask,
        ChangeTask,
        Complete,
        DeleteTask,
        Invite,
        Join,
        ChangeRole,
        RemoveMember,
        List,
        Trespass,
        Trespass,
    ]);
    let text = prop_oneof!["[a-zA-Z0-9 ]{1,20}", "[#/%.\\\\\"'a-z]{1,20}", Just("T#x#projects".to_owned()), "\\PC{1,20}"];
    let step = (0..2_usize, action, any::<prop::sample::Index>(), text);
    prop::collection::vec(step.prop_map(|(tenant, action, pick, text)| Step { tenant, action, pick, text }), 200)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_shrink_iters: 0, ..ProptestConfig::with_cases(3) })]

    #[test]
    fn whatever_two_tenants_do_their_items_never_meet(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(two_tenants(steps));
    }
}

async fn two_tenants(steps: Vec<Step>) {
    let world = World::new().await;
    let tenants = [world.tenant("acme").await, world.tenant("beta").await];
    let (mut projects, mut tasks, mut mails) = ([vec![], vec![]], [vec![], vec![]], [vec![], vec![]]);
    let mut marks: [Vec<String>; 2] =
        tenants.each_ref().map(|tenant| vec![tenant.id.clone(), tenant.slug.clone(), tenant.owner.email.clone()]);
    for (number, step) in steps.iter().enumerate() {
        let (mine, other) = (step.tenant, 1 - step.tenant);
        let token = &tenants[mine].owner.token;
        let chosen =
            |all: &[String]| if all.is_empty() { "00000000-0000-7000-8000-000000000000".to_owned() } else { step.pick.get(all).clone() };
        let (project, task) = (format!("{PROJECTS}/{}", chosen(&projects[mine])), format!("/api/v1/tasks/{}", chosen(&tasks[mine])));
        let name = json!({"name": step.text, "description": step.text});
        // The caller's text becomes part of the key of the recorded answer.
        let key: String = step.text.chars().filter(char::is_ascii_graphic).chain(['#', '0']).collect();
        let answer = match step.action {
            Action::NewProject => world.post(PROJECTS).token(token).header("idempotency-key", &key).json(name).send().await,
            Action::Rename => world.put(project).token(token).json(name).send().await,
            Action::Archive => world.post(format!("{project}/archive")).token(token).send().await,
            Action::Unarchive => world.post(format!("{project}/unarchive")).token(token).send().await,
            Action::DeleteProject => world.delete(project).token(token).send().await,
            Action::NewTask => {
                world.post(format!("{project}/tasks")).token(token).json(json!({"title": step.text, "assigned_to": 1})).send().await
            }
            Action::ChangeTask => world.put(task).token(token).json(json!({"title": step.text, "status": "in_review"})).send().await,
            Action::Complete => world.post(format!("{task}/complete")).token(token).send().await,
            Action::DeleteTask => world.delete(task).token(token).send().await,
            Action::Invite => {
                let email = format!("a#{mine}#{number}@example.com");
                let answer = world.post(INVITATIONS).token(token).json(json!({"email": email, "role": "admin"})).send().await.expect(201);
                mails[mine].push(email);
                answer
            }
            Action::Join => {
                let Some(email) = mails[mine].pop() else { continue };
                let body = json!({"token": world.link_token(&email), "name": "#", "password": "correct horse"});
                marks[mine].push(email);
                world.post("/api/v1/auth/accept-invitation").json(body).send().await.expect(200)
            }
            Action::ChangeRole => world.put(format!("{MEMBERS}/2")).token(token).json(json!({"role": "viewer"})).send().await,
            Action::RemoveMember => world.delete(format!("{MEMBERS}/{}", number % 7 + 2)).token(token).send().await,
            Action::List => list(&world, &tenants[mine], &format!("{PROJECTS}?sort=name")).await.expect(200),
            Action::Trespass => {
                let theirs = [format!("{PROJECTS}/{}", chosen(&projects[other])), format!("/api/v1/tasks/{}", chosen(&tasks[other]))];
                for path in theirs {
                    world.put(&path).token(token).json(json!({})).send().await.expect(404);
                    world.delete(&path).token(token).send().await.expect(404);
                }
                world.post(PROJECTS).token(token).header("x-tenant-id", &tenants[other].id).json(name).send().await.expect(404)
            }
        };
        assert!(answer.status < 500, "{step:?}: {}", answer.text);
        if answer.status == 201 && answer.header("idempotency-replayed").is_empty() {
            let made = answer.json()["data"].clone();
            match step.action {
                Action::NewProject => projects[mine].push(id(&made).to_owned()),
                Action::NewTask => tasks[mine].push(id(&made).to_owned()),
                _ => {}
            }
        }
    }
    for mine in 0..2 {
        marks[mine].extend(projects[mine].iter().chain(&tasks[mine]).cloned());
    }
    lie_apart(&world.items(), &tenants, &marks);
}

/// Every item is in the partition of its own tenant or in the directory, and contains nothing of the other tenant.
fn lie_apart(items: &[Value], tenants: &[Tenant; 2], marks: &[Vec<String>; 2]) {
    for item in items {
        let pk = item["pk"]["S"].as_str().expect("a partition key");
        let text = item.to_string();
        assert!(item.get("lpk").is_none_or(|lpk| *lpk == item["pk"]), "the index has the partitions of the table: {pk}");
        if pk.starts_with("G#") {
            assert!(!tenants.iter().all(|tenant| text.contains(&tenant.id)), "a record of the directory names one tenant at most: {text}");
            continue;
        }
        let owner = tenants.iter().position(|tenant| pk.starts_with(&format!("T#{}#", tenant.id)));
        let owner = owner.unwrap_or_else(|| panic!("{pk} is nobody's partition"));
        // Counters are only numbers. Every record names its tenant.
        assert!(item["type"].is_null() || item["tenant"]["S"] == tenants[owner].id.as_str(), "{pk}: {text}");
        for foreign in &marks[1 - owner] {
            assert!(!text.contains(foreign), "{pk} holds {foreign} of the other tenant");
        }
    }
    for (tenant, marks) in tenants.iter().zip(marks) {
        assert!(
            marks.len() > 4 && items.iter().any(|item| item["pk"]["S"].as_str().is_some_and(|pk| pk.contains(&tenant.id))),
            "something was done by each"
        );
    }
}

async fn list(world: &World, tenant: &Tenant, path: &str) -> Answer {
    world.get(path).token(&tenant.owner.token).send().await
}

/// The bytes with one bit changed, as base64url.
fn flipped(bytes: &[u8], bit: usize) -> String {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    URL_SAFE_NO_PAD.encode(bytes)
}
