//! A proof of a mailbox proves the mailbox and nothing else. Tested here: attempts to prepare an account for another person, in every order
//! of events; addresses in every form; mails that strangers can cause; invitations whose reason no longer exists.

use jiff::SignedDuration;
use serde_json::{Value, json};
use shared::ids::{LinkId, UserId};
use shared::model::link::Link;

use crate::lifecycle::Workers;
use crate::world::{Answer, Caller, INVITATIONS, Tenant, World, claims_of, id};

const VICTIM: &str = "v@example.com";
const OWN: &str = "the victim's own";
const SQUATTED: &str = "the squatter's";

// A password or a session from before the proof.

#[tokio::test]
async fn a_registration_gives_its_password_no_right_to_what_an_invitation_proves() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    register(&world, VICTIM, SQUATTED).await.expect(202);
    let squatted = world.link_token(VICTIM);
    later(&world);
    world.invite(&acme.owner, VICTIM, "admin").await.expect(201);
    let joined = accept(&world, &world.link_token(VICTIM), Some(OWN)).await.expect(200).json();
    assert_eq!(joined["data"]["name"], "Victim", "the name is the one given with the proof");
    world.try_login(VICTIM, SQUATTED).await.expect(422);
    verify(&world, &squatted, SQUATTED).await.expect(422);
    let victim = world.login(VICTIM, OWN).await;
    assert_eq!((tenants(&world, &victim).await, claims_of(&victim.token)["tid"].as_str()), (1, Some(acme.id.as_str())));
    assert_eq!(world.items_of_type("registration").len(), 0);
}

#[tokio::test]
async fn a_demo_gives_no_right_to_what_an_invitation_or_a_registration_proves() {
    for by_invitation in [true, false] {
        let world = World::new().await;
        let acme = world.tenant("acme").await;
        let (first, second) = (demo(&world, VICTIM).await, demo(&world, &VICTIM.to_uppercase()).await);
        later(&world);
        if by_invitation {
            world.invite(&acme.owner, VICTIM, "admin").await.expect(201);
            accept(&world, &world.link_token(VICTIM), Some(OWN)).await.expect(200);
        } else {
            register(&world, VICTIM, OWN).await.expect(202);
            verify(&world, &world.link_token(VICTIM), OWN).await.expect(200);
            let victim = world.login(VICTIM, OWN).await;
            later(&world);
            world.invite(&acme.owner, VICTIM, "admin").await.expect(201);
            accept(&world, &world.link_token(VICTIM), None).await.expect(200);
            assert_ne!(claims_of(&victim.token)["sub"], claims_of(&first.token)["sub"]);
        }
        for squatter in [&first, &second] {
            for selected in [&acme.id, &acme.slug] {
                let entering = world.get("/api/v1/projects").token(&squatter.token).header("x-tenant-id", selected);
                entering.send().await.expect(401);
            }
            world.get("/api/v1/projects").token(&squatter.token).send().await.expect(401);
            world.get("/api/v1/auth/sessions").token(&squatter.token).send().await.expect(401);
            world.try_login(VICTIM, &squatter.password).await.expect(422);
        }
        let victim = world.login(VICTIM, OWN).await;
        world.get("/api/v1/projects").token(&victim.token).header("x-tenant-id", &acme.id).send().await.expect(200);
    }
}

#[tokio::test]
async fn a_person_who_confirms_a_strangers_registration_has_an_account_of_their_own() {
    let world = World::new().await;
    register(&world, VICTIM, SQUATTED).await.expect(202);
    let token = world.link_token(VICTIM);
    let without = world.post("/api/v1/auth/verify-email").json(json!({"token": token})).send().await.expect(422);
    assert!(without.details()["password"].is_array(), "{}", without.text);
    let body = json!({"token": token, "password": OWN, "name": "Vera"});
    let shown = world.post("/api/v1/auth/verify-email").json(body).send().await.expect(200).json();
    assert_eq!(
        (&shown["data"]["name"], &shown["data"]["is_tenant_owner"], &shown["data"]["id"]),
        (&json!("Vera"), &json!(true), &json!(1))
    );
    world.try_login(VICTIM, SQUATTED).await.expect(422);
    world.login(VICTIM, OWN).await;
}

#[tokio::test]
async fn of_several_registrations_the_confirmed_one_ends_the_others() {
    let world = World::new().await;
    register(&world, VICTIM, SQUATTED).await.expect(202);
    let squatted = world.link_token(VICTIM);
    later(&world);
    register(&world, VICTIM, OWN).await.expect(202);
    let own = world.link_token(VICTIM);
    // Each is told what is missing, and neither blocks the other.
    for password in [SQUATTED, OWN] {
        assert!(world.try_login(VICTIM, password).await.expect(403).text.contains("not verified"));
    }
    world.try_login(VICTIM, "another password").await.expect(422);
    verify(&world, &own, OWN).await.expect(200);
    verify(&world, &squatted, SQUATTED).await.expect(422);
    verify(&world, &own, SQUATTED).await.expect(422);
    world.try_login(VICTIM, SQUATTED).await.expect(422);
    world.login(VICTIM, OWN).await;
    assert_eq!((world.items_of_type("user").len(), world.items_of_type("tenant").len()), (1, 1));
    // A registration of a proven address changes nothing, whoever confirms what.
    register(&world, VICTIM, SQUATTED).await.expect(202);
    world.login(VICTIM, OWN).await;
}

#[tokio::test]
async fn a_registration_that_nobody_confirms_ends_and_blocks_nobody() {
    let world = World::new().await;
    register(&world, VICTIM, SQUATTED).await.expect(202);
    let token = world.link_token(VICTIM);
    world.advance(SignedDuration::from_hours(72));
    verify(&world, &token, SQUATTED).await.expect(422);
    world.try_login(VICTIM, SQUATTED).await.expect(422);
    register(&world, VICTIM, OWN).await.expect(202);
    verify(&world, &world.link_token(VICTIM), OWN).await.expect(200);
}

#[tokio::test]
async fn an_invitation_sets_no_password_of_a_proven_account() {
    let world = World::new().await;
    let (acme, beta) = (world.tenant("acme").await, world.tenant("beta").await);
    later(&world);
    world.invite(&acme.owner, &beta.owner.email, "member").await.expect(201);
    let joined = accept(&world, &world.link_token(&beta.owner.email), Some(SQUATTED)).await.expect(200).json();
    assert_eq!(joined["data"]["name"], "Owner of beta");
    world.try_login(&beta.owner.email, SQUATTED).await.expect(422);
    world.login(&beta.owner.email, &beta.owner.password).await;
    world.get("/api/v1/projects").token(&beta.owner.token).send().await.expect(200);
}

// Accounts from before registrations waited.

#[tokio::test]
async fn an_older_account_that_proved_nothing_belongs_to_the_first_who_proves_the_address() {
    for proof in ["its link", "an invitation", "a registration", "a reset"] {
        let world = World::new().await;
        let acme = world.tenant("acme").await;
        let older = older_account(&world, &acme, VICTIM, false, None);
        let link = older_link(&world, &older);
        // Its password was `correct horse`.
        assert!(world.try_login(VICTIM, "correct horse").await.expect(403).text.contains("not verified"));
        later(&world);
        match proof {
            "its link" => {
                let without = world.post("/api/v1/auth/verify-email").json(json!({"token": link})).send().await.expect(422);
                assert!(without.details()["password"].is_array());
                verify(&world, &link, OWN).await.expect(200);
            }
            "an invitation" => {
                world.invite(&acme.owner, VICTIM, "member").await.expect(201);
                let token = world.link_token(VICTIM);
                let body = json!({"token": token});
                world.post("/api/v1/auth/accept-invitation").json(body).send().await.expect(422);
                accept(&world, &token, Some(OWN)).await.expect(200);
            }
            "a registration" => {
                register(&world, VICTIM, OWN).await.expect(202);
                verify(&world, &world.link_token(VICTIM), OWN).await.expect(200);
            }
            _ => {
                world.forgot(VICTIM).await.expect(202);
                world.reset(&world.link_token(VICTIM), OWN).await.expect(200);
            }
        }
        world.try_login(VICTIM, "correct horse").await.expect(422);
        world.login(VICTIM, OWN).await;
        verify(&world, &link, SQUATTED).await.expect(422);
        world.try_login(VICTIM, SQUATTED).await.expect(422);
        let users = world.items_of_type("user").into_iter().filter(|user| user["email"]["S"] == VICTIM);
        assert_eq!(users.count(), 1, "{proof}: one account has the address");
    }
}

#[tokio::test]
async fn an_older_demo_gives_its_address_up_too() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    older_account(&world, &acme, VICTIM, true, Some("2100-01-01T00:00:00Z"));
    let squatter = world.login(VICTIM, "correct horse").await;
    later(&world);
    // It is no account of the address: it is not asked for a new password, and is not found when somebody is invited.
    let mails = world.items_of_type("mail").len();
    world.forgot(VICTIM).await.expect(202);
    assert_eq!(world.items_of_type("mail").len(), mails);
    let beta = world.tenant("beta").await;
    later(&world);
    world.invite(&beta.owner, VICTIM, "admin").await.expect(201);
    accept(&world, &world.link_token(VICTIM), Some(OWN)).await.expect(200);
    for selected in [&beta.id, &beta.slug] {
        world.get("/api/v1/projects").token(&squatter.token).header("x-tenant-id", selected).send().await.expect(401);
    }
    world.try_login(VICTIM, "correct horse").await.expect(422);
    let victim = world.login(VICTIM, OWN).await;
    assert_eq!((claims_of(&victim.token)["tid"].as_str(), tenants(&world, &victim).await), (Some(beta.id.as_str()), 1));
}

// Demos.

#[tokio::test]
async fn a_demo_answers_alike_for_every_address() {
    let world = World::new().await;
    world.tenant("acme").await;
    demo(&world, "demos@acme.example.com").await;
    let make = async |email: &str| {
        let body = json!({"email": email, "name": "Ada", "company_name": "Engines"});
        world.post("/api/v1/demo").json(body).send().await.expect(201)
    };
    let nobody = make("nobdy@acme.example.com").await;
    for known in ["owner@acme.example.com", "demos@acme.example.com"] {
        let answer = make(known).await;
        let work = |answer: &Answer| answer.metered.map(|metered| (metered.calls, metered.round_trips)).expect("metered");
        assert_eq!(work(&answer), work(&nobody));
        let (own, other) = (answer.json()["data"].clone(), nobody.json()["data"].clone());
        let names = |data: &Value| data.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!((names(&own), answer.headers.len()), (names(&other), nobody.headers.len()));
        // The logins that follow do not tell either: each opens its demo, and nothing of the owner's.
        let visitor = world.login(known, own["password"].as_str().unwrap()).await;
        assert_eq!(tenants(&world, &visitor).await, 1);
    }
    let owner = world.login("owner@acme.example.com", "correct horse").await;
    let me = world.get("/api/v1/auth/me").token(&owner.token).send().await.expect(200).json();
    assert_eq!(me["data"]["name"], "Owner of acme");
}

#[tokio::test]
async fn a_demos_owner_lives_in_the_demo_alone() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let visitor = demo(&world, VICTIM).await;
    for (path, body) in
        [("/api/tenants", json!({"slug": "another-one", "cms": "prismic", "repository": "x"})), ("/api/tenant", json!({"name": "x"}))]
    {
        let refused = world.post(path).token(&visitor.token).json(body).send().await;
        assert!([400, 403].contains(&refused.status), "{path}: {}", refused.text);
    }
    // The mailbox is invited, not the demo.
    later(&world);
    world.invite(&acme.owner, VICTIM, "member").await.expect(201);
    assert_eq!(tenants(&world, &visitor).await, 1);
    world.get("/api/v1/projects").token(&visitor.token).header("x-tenant-id", &acme.id).send().await.expect(404);
    let without = world.post("/api/v1/auth/accept-invitation").json(json!({"token": world.link_token(VICTIM)}));
    without.send().await.expect(422);
    // A demo's password is not one to forget.
    let mails = world.items_of_type("mail").len();
    world.forgot(VICTIM).await.expect(202);
    assert_eq!(world.items_of_type("mail").len(), mails);
    world.delete("/api/tenant").token(&visitor.token).send().await.expect(200);
    world.post("/api/tenant").token(&visitor.token).json(json!({"name": "x"})).send().await.expect(403);
}

#[tokio::test]
async fn a_demo_whose_address_has_moved_on_goes_without_it() {
    let world = World::new().await;
    let workers = Workers::of(&world);
    let squatter = demo(&world, VICTIM).await;
    register(&world, VICTIM, OWN).await.expect(202);
    later(&world);
    register(&world, VICTIM, OWN).await.expect(202);
    verify(&world, &world.link_token(VICTIM), OWN).await.expect(200);
    world.advance(SignedDuration::from_hours(49));
    assert_eq!(workers.purge().await["purged"], 1);
    let victim = world.login(VICTIM, OWN).await;
    assert_eq!(tenants(&world, &victim).await, 1);
    world.try_login(VICTIM, &squatter.password).await.expect(422);
    let left = world.items().into_iter().filter(|item| item.to_string().contains(claims_of(&squatter.token)["sub"].as_str().unwrap()));
    assert_eq!(left.filter(|item| item["type"]["S"] != "open_answer").count(), 0);
}

#[tokio::test]
async fn an_older_demo_that_joined_a_tenant_keeps_the_membership_for_the_one_who_proves_the_address() {
    let world = World::new().await;
    let workers = Workers::of(&world);
    let acme = world.tenant("acme").await;
    let squatter = demo(&world, VICTIM).await;
    let (user, tenant) = (claims_of(&squatter.token)["sub"].as_str().unwrap().to_owned(), claims_of(&squatter.token)["tid"].clone());
    // As they were made before: a claim of the address itself, an account without a mark, a password, a membership elsewhere.
    let hash = world.items_of_type("user").into_iter().find_map(|user| user["password"]["S"].as_str().map(str::to_owned)).expect("a hash");
    world.change_item(&format!("G#user#{user}"), "profile", |user| {
        user.as_object_mut().unwrap().remove("demo");
        user["password"] = json!({"S": hash});
    });
    let mut claim = world.items_of_type("demo_claim").remove(0);
    let at = claim["pk"]["S"].as_str().unwrap().to_owned();
    world.change_item(&at, claim["sk"]["S"].as_str().unwrap(), |claim| claim["mark"] = json!({"S": "none"}));
    claim["sk"] = json!({"S": "owner"});
    claim["type"] = json!({"S": "email"});
    world.put_item(&claim);
    let mut belongs =
        world.items_of_type("belongs").into_iter().find(|item| item["tenant"]["S"] == tenant.as_str().unwrap()).expect("a membership");
    belongs["sk"] = json!({"S": format!("tenant#{}", acme.id)});
    belongs["tenant"] = json!({"S": acme.id});
    world.put_item(&belongs);
    world.login(VICTIM, "correct horse").await;

    world.advance(SignedDuration::from_hours(49));
    for purged in [1, 0] {
        assert_eq!(workers.purge().await["purged"], purged);
    }
    world.try_login(VICTIM, "correct horse").await.expect(422);
    later(&world);
    world.forgot(VICTIM).await.expect(202);
    world.reset(&world.link_token(VICTIM), OWN).await.expect(200);
    let victim = world.login(VICTIM, OWN).await;
    assert_eq!(claims_of(&victim.token)["sub"], user);
}

#[tokio::test]
async fn a_kept_demo_is_handed_to_the_one_who_proves_its_address() {
    for proof in ["a reset", "a registration", "an invitation"] {
        let world = World::new().await;
        let workers = Workers::of(&world);
        let acme = world.tenant("acme").await;
        let squatter = demo(&world, VICTIM).await;
        let tenant = claims_of(&squatter.token)["tid"].as_str().unwrap().to_owned();
        workers.operate(json!({"command": "convert-demo", "tenant": tenant, "plan": "pro"})).await.unwrap();
        world.login(VICTIM, &squatter.password).await;
        later(&world);
        match proof {
            "a reset" => {
                world.forgot(VICTIM).await.expect(202);
                world.reset(&world.link_token(VICTIM), OWN).await.expect(200);
            }
            "a registration" => {
                register(&world, VICTIM, OWN).await.expect(202);
                verify(&world, &world.link_token(VICTIM), OWN).await.expect(200);
            }
            _ => {
                world.invite(&acme.owner, VICTIM, "member").await.expect(201);
                accept(&world, &world.link_token(VICTIM), Some(OWN)).await.expect(200);
            }
        }
        world.try_login(VICTIM, &squatter.password).await.expect(422);
        world.get("/api/v1/projects").token(&squatter.token).send().await.expect(401);
        let victim = world.login(VICTIM, OWN).await;
        world.get("/api/v1/projects").token(&victim.token).header("x-tenant-id", &tenant).send().await.expect(200);
    }
    // An address that somebody else has proven stays theirs when a demo is made permanent.
    let world = World::new().await;
    let workers = Workers::of(&world);
    let acme = world.tenant("acme").await;
    let visitor = demo(&world, &acme.owner.email).await;
    let command = json!({"command": "convert-demo", "tenant": claims_of(&visitor.token)["tid"], "plan": "pro"});
    assert!(workers.operate(command).await.unwrap_err().contains("another account"));
}

// Reset links and sessions.

#[tokio::test]
async fn a_new_password_ends_every_earlier_reset_link_and_every_session() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let phone = world.login(&acme.owner.email, &acme.owner.password).await;
    let mut tokens = vec![];
    for _ in 0..3 {
        later(&world);
        world.forgot(&acme.owner.email).await.expect(202);
        tokens.push(world.link_token(&acme.owner.email));
    }
    world.reset(&tokens[1], OWN).await.expect(200);
    for token in &tokens {
        world.reset(token, SQUATTED).await.expect(422);
    }
    for session in [&acme.owner, &phone] {
        world.get("/api/v1/auth/sessions").token(&session.token).send().await.expect(401);
    }
    world.login(&acme.owner.email, OWN).await;
    // A link that was requested afterwards still works.
    later(&world);
    world.forgot(&acme.owner.email).await.expect(202);
    world.reset(&world.link_token(&acme.owner.email), "a third password").await.expect(200);
    world.try_login(&acme.owner.email, OWN).await.expect(422);
}

#[tokio::test]
async fn links_are_used_once_for_an_idempotency_key() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    later(&world);
    let mails = world.items_of_type("mail").len();
    let send = |path: &str, body: Value| world.post(path).at_ip("203.0.113.1").header("idempotency-key", "one").json(body).send();
    for replayed in ["", "true"] {
        let answer = send("/api/v1/auth/forgot-password", json!({"email": acme.owner.email})).await.expect(202);
        assert_eq!(answer.header("idempotency-replayed"), replayed);
    }
    assert_eq!(world.items_of_type("mail").len(), mails + 1);
    let token = world.link_token(&acme.owner.email);
    for replayed in ["", "true"] {
        let answer = send("/api/v1/auth/reset-password", json!({"token": token, "password": OWN})).await.expect(200);
        assert_eq!(answer.header("idempotency-replayed"), replayed);
    }
}

// The forms of an address, and of a password.

#[tokio::test]
async fn an_address_is_one_in_every_form_of_its_domain() {
    let world = World::new().await;
    let shown = register(&world, "u@bücher.example", OWN).await.expect(202).json();
    assert_eq!(shown["data"]["email"], "u@xn--bcher-kva.example");
    verify(&world, &world.link_token("u@xn--bcher-kva.example"), OWN).await.expect(200);
    let forms = ["u@bücher.example", "U@BÜCHER.example", "u@bu\u{308}cher.example", "u@xn--bcher-kva.example", "U@XN--BCHER-KVA.EXAMPLE"];
    for form in forms {
        world.login(form, OWN).await;
        register(&world, form, OWN).await.expect(202);
        world.forgot(form).await.expect(202);
    }
    assert_eq!(world.items_of_type("user").len(), 1);
    let acme = world.tenant("acme").await;
    world.invite(&acme.owner, forms[0], "member").await.expect(201);
    world.invite(&acme.owner, forms[3], "member").await.expect(409);
}

#[tokio::test]
async fn what_no_carrier_takes_is_refused_by_a_sentence() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    for wrong in [
        "ü@example.com",
        "u@exa_mple.com",
        "u@xn--a.example",
        "\"u\"@example.com",
        "u@",
        "u.@example.com",
        "u@b\u{200b}.example.com\u{202e}",
    ] {
        let body = json!({"email": wrong, "name": "x", "company_name": "x"});
        let refused = world.post("/api/v1/demo").json(body).send().await.expect(422);
        assert!(
            refused.details()["email"][0].as_str().is_some_and(|text| text.starts_with("The email field must be a valid")),
            "{}",
            refused.text
        );
        register(&world, wrong, OWN).await.expect(422);
        world.invite(&acme.owner, wrong, "member").await.expect(400);
        world.try_login(wrong, OWN).await.expect(422);
    }
}

#[tokio::test]
async fn accounts_of_older_forms_are_found() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    for (kept, typed) in
        [("u@bücher.example", "u@xn--bcher-kva.example"), ("u@bücher.example", "u@Bücher.example"), ("ü@example.com", "Ü@example.com")]
    {
        older_account(&world, &acme, kept, true, None);
        world.login(typed, "correct horse").await;
        world.login(kept, "correct horse").await;
    }
    // Nobody else can have such an address.
    register(&world, "u@bücher.example", SQUATTED).await.expect(202);
    assert_eq!(world.items_of_type("mail").pop().map(|_| mails_of_kind(&world, "already_registered")), Some(1));
}

#[tokio::test]
async fn a_password_is_the_same_on_every_keyboard() {
    let world = World::new().await;
    let (composed, apart) = ("cr\u{e8}me br\u{fb}l\u{e9}e", "cre\u{300}me bru\u{302}le\u{301}e");
    register(&world, VICTIM, apart).await.expect(202);
    world.try_login(VICTIM, composed).await.expect(403);
    verify(&world, &world.link_token(VICTIM), apart).await.expect(200);
    world.login(VICTIM, composed).await;
    world.login(VICTIM, apart).await;
    world.try_login(VICTIM, "creme brulee").await.expect(422);
}

// Mails that strangers cause.

#[tokio::test]
async fn an_address_gets_few_mails_no_matter_who_asks_and_answers_stay_alike() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    start_of_day(&world);
    let mut answers = vec![];
    for number in 0..25 {
        answers.push(world.forgot(&acme.owner.email).await.expect(202).fingerprint());
        register(&world, VICTIM, SQUATTED).await.expect(202);
        let body = json!({"email": "d@example.com", "name": "x", "company_name": "x"});
        let made = world.post("/api/v1/demo").json(body).send().await.expect(201).json();
        if number == 24 {
            world.login("d@example.com", made["data"]["password"].as_str().unwrap()).await;
        }
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(["reset_password", "demo_ready"].map(|kind| mails_of_kind(&world, kind)), [10, 3]);
    assert_eq!(world.items_of_type("mail").iter().filter(|mail| mail["to"]["S"] == VICTIM).count(), 10);
    let work = |answer: &Answer| answer.metered.map(|metered| (metered.calls, metered.round_trips)).expect("metered");
    let (known, unknown) = (world.forgot(&acme.owner.email).await, world.forgot(VICTIM).await);
    assert_eq!(work(&known), work(&unknown), "though one of them is used up");
    world.advance(SignedDuration::from_hours(24));
    world.forgot(&acme.owner.email).await.expect(202);
    assert_eq!(mails_of_kind(&world, "reset_password"), 11);
}

#[tokio::test]
async fn one_place_does_not_use_up_the_mails_of_an_address() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    start_of_day(&world);
    let ask = |ip: &str| world.post("/api/v1/auth/forgot-password").at_ip(ip).json(json!({"email": acme.owner.email})).send();
    for _ in 0..9 {
        ask("203.0.113.1").await.expect(202);
    }
    assert_eq!(mails_of_kind(&world, "reset_password"), 5);
    ask("203.0.113.2").await.expect(202);
    assert_eq!(mails_of_kind(&world, "reset_password"), 6);
}

#[tokio::test]
async fn an_address_is_invited_once_at_a_time_and_three_times_a_day() {
    let world = World::new().await;
    let (acme, beta) = (world.tenant("acme").await, world.tenant("beta").await);
    start_of_day(&world);
    for _ in 0..3 {
        let made = world.invite(&acme.owner, VICTIM, "member").await.expect(201).json();
        assert_eq!(world.invite(&acme.owner, &VICTIM.to_uppercase(), "admin").await.expect(409).code(), "CONFLICT");
        world.delete(format!("{INVITATIONS}/{}", id(&made["data"]))).token(&acme.owner.token).send().await.expect(200);
    }
    let refused = world.invite(&acme.owner, VICTIM, "member").await.expect(429);
    assert_eq!((&refused.details()["quota"], &refused.details()["limit"]), (&json!("invitation-mails"), &json!(3)));
    assert!(refused.header("retry-after").parse::<i64>().is_ok_and(|seconds| seconds > 3600));
    assert_eq!((mails_of_kind(&world, "invitation"), world.items_of_type("invitation").len()), (3, 0));
    world.invite(&acme.owner, "another@example.com", "member").await.expect(201);
    world.invite(&beta.owner, VICTIM, "member").await.expect(201);
    world.advance(SignedDuration::from_hours(24));
    world.invite(&acme.owner, VICTIM, "member").await.expect(201);
}

#[tokio::test]
async fn many_tenants_do_not_flood_one_address_together() {
    let world = World::new().await;
    let mut last = None;
    for number in 0..21 {
        let tenant = world.tenant(&format!("tenant{number}")).await;
        if number == 0 {
            start_of_day(&world);
        }
        last = Some(world.invite(&tenant.owner, VICTIM, "member").await.status);
    }
    assert_eq!((last, mails_of_kind(&world, "invitation")), (Some(429), 20));
}

// Invitations whose reason no longer exists.

#[tokio::test]
async fn an_invitation_is_worth_what_its_sender_may_grant_when_it_is_accepted() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let sender = world.member(&acme, "owner").await;
    let set = async |role: &str| {
        let path = format!("/api/v1/tenant/members/{}", sender.id);
        world.put(path).token(&acme.owner.token).json(json!({"role": role})).send().await.expect(200);
    };
    later(&world);
    world.invite(&sender, "o@example.com", "owner").await.expect(201);
    world.invite(&sender, "m@example.com", "member").await.expect(201);
    let tokens = ["o@example.com", "m@example.com"].map(|email| world.link_token(email));
    set("admin").await;
    accept(&world, &tokens[0], Some(OWN)).await.expect(422);
    set("member").await;
    for token in &tokens {
        accept(&world, token, Some(OWN)).await.expect(422);
    }
    set("admin").await;
    accept(&world, &tokens[1], Some(OWN)).await.expect(200);
    world.delete(format!("/api/v1/tenant/members/{}", sender.id)).token(&acme.owner.token).send().await.expect(200);
    accept(&world, &tokens[0], Some(OWN)).await.expect(422);
    // Nothing came of the refused ones.
    world.try_login("o@example.com", OWN).await.expect(422);
    let members = world.get("/api/v1/tenant/members").token(&acme.owner.token).send().await.expect(200).json();
    assert_eq!(members["pagination"]["total"], 2);
}

#[tokio::test]
async fn an_agencys_invitation_is_worth_what_its_sender_may_grant_there() {
    let world = World::new().await;
    let agency = world.tenant("agency").await;
    let sender = world.member(&agency, "admin").await;
    let child = world.post("/v1/subaccounts").token(&agency.owner.token).json(json!({"name": "Client"})).send().await.expect(201).json();
    later(&world);
    let mut tokens = vec![];
    for (by, email) in [(&sender, "a@example.com"), (&agency.owner, "b@example.com"), (&agency.owner, "c@example.com")] {
        let inviting = world.post(INVITATIONS).token(&by.token).header("x-subaccount-id", id(&child["data"]));
        inviting.json(json!({"email": email, "role": "member"})).send().await.expect(201);
        tokens.push(world.link_token(email));
    }
    world.delete(format!("/api/v1/tenant/members/{}", sender.id)).token(&agency.owner.token).send().await.expect(200);
    accept(&world, &tokens[0], Some(OWN)).await.expect(422);
    accept(&world, &tokens[1], Some(OWN)).await.expect(200);
    world.post(format!("/v1/subaccounts/{}/suspend", id(&child["data"]))).token(&agency.owner.token).send().await.expect(200);
    let shut = accept(&world, &tokens[2], Some(OWN)).await;
    assert!([403, 422].contains(&shut.status), "{}", shut.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_demoted_while_they_invite_leaves_no_invitation_that_works() {
    let world = World::new().await;
    for round in 0..8 {
        let acme = world.tenant(&format!("acme{round}")).await;
        let sender = world.member(&acme, "admin").await;
        later(&world);
        let email = format!("m{round}@example.com");
        let demoting = world.put(format!("/api/v1/tenant/members/{}", sender.id)).token(&acme.owner.token).json(json!({"role": "viewer"}));
        let (demoted, invited) = tokio::join!(demoting.send(), world.invite(&sender, &email, "member"));
        demoted.expect(200);
        assert!([201, 403, 409].contains(&invited.status), "{}", invited.text);
        if invited.status == 201 {
            accept(&world, &world.link_token(&email), Some(OWN)).await.expect(422);
        }
    }
}

#[tokio::test]
async fn an_older_invitation_is_worth_what_its_writer_may_grant() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let sender = world.member(&acme, "owner").await;
    later(&world);
    world.invite(&sender, "o@example.com", "owner").await.expect(201);
    world.invite(&sender, "p@example.com", "owner").await.expect(201);
    for link in world.items_of_type("link") {
        let (pk, sk) = (link["pk"]["S"].as_str().unwrap().to_owned(), link["sk"]["S"].as_str().unwrap().to_owned());
        world.change_item(&pk, &sk, |link| drop(link["purpose"]["M"].as_object_mut().unwrap().remove("sender")));
    }
    accept(&world, &world.link_token("p@example.com"), Some(OWN)).await.expect(200);
    world.delete(format!("/api/v1/tenant/members/{}", sender.id)).token(&acme.owner.token).send().await.expect(200);
    accept(&world, &world.link_token("o@example.com"), Some(OWN)).await.expect(422);
}

#[tokio::test]
async fn invitations_are_listed_in_pages_however_many_there_are() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    for number in 0..25 {
        world.advance(SignedDuration::from_millis(2));
        world.invite(&acme.owner, &format!("a{number:02}@example.com"), "viewer").await.expect(201);
    }
    let (mut walked, mut path) = (vec![], format!("{INVITATIONS}?limit=10"));
    loop {
        let page = world.get(&path).token(&acme.owner.token).send().await.expect(200).json();
        assert_eq!(page["pagination"]["total"], 25);
        walked.extend(page["data"].as_array().unwrap().iter().map(|shown| shown["email"].as_str().unwrap().to_owned()));
        match page["pagination"]["next_cursor"].as_str() {
            Some(cursor) => path = format!("{INVITATIONS}?limit=10&cursor={cursor}"),
            None => break,
        }
    }
    let newest_first: Vec<String> = (0..25).rev().map(|number| format!("a{number:02}@example.com")).collect();
    assert_eq!(walked, newest_first);
    let page = world.get(format!("{INVITATIONS}?limit=2&offset=23")).token(&acme.owner.token).send().await.expect(200).json();
    assert_eq!((page["data"].as_array().map(Vec::len), &page["pagination"]["has_more"]), (Some(2), &json!(false)));
}

// A valid credential.

#[tokio::test]
async fn after_the_last_tenant_is_gone_its_person_can_found_another_at_once() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    world.delete("/api/tenant").token(&acme.owner.token).send().await.expect(200);
    for (path, status) in [("/api/tenant", 404), ("/api/v1/projects", 403), ("/api/v1/auth/sessions", 200), ("/api/tenants", 200)] {
        world.get(path).token(&acme.owner.token).send().await.expect(status);
    }
    world.post("/api/v1/projects").token(&acme.owner.token).json(json!({"name": "x"})).send().await.expect(403);
    let made = world.post("/api/tenant").token(&acme.owner.token).json(json!({"name": "Again"})).send().await.expect(201).json();
    // With the session that is open.
    let shown = world.get("/api/tenant").token(&acme.owner.token).send().await.expect(200).json();
    assert_eq!(shown["id"], made["id"]);
    world.post("/api/v1/projects").token(&acme.owner.token).json(json!({"name": "x"})).send().await.expect(201);
    // A session that has ended is still not valid.
    world.post("/api/v1/auth/logout").token(&acme.owner.token).send().await.expect(200);
    world.get("/api/tenant").token(&acme.owner.token).send().await.expect(401);
}

// Data from an older deployment.

/// An account in the earlier format: with the password of the owner of `like`, and in the same tenant.
fn older_account(world: &World, like: &Tenant, email: &str, verified: bool, ends_at: Option<&str>) -> String {
    let id = UserId::new(world.auth.clock().now(), world.auth.random()).to_string();
    let find =
        |kind: &str| world.items_of_type(kind).into_iter().find(|item| item["email"]["S"] == like.owner.email.as_str()).expect("the owner");
    let (mut user, mut claim) = (find("user"), find("email"));
    user["pk"] = json!({"S": format!("G#user#{id}")});
    user["id"] = json!({"S": id});
    user["email"] = json!({"S": email});
    let fields = user.as_object_mut().unwrap();
    fields.remove("passwords");
    fields.remove("home");
    if !verified {
        fields.remove("verified_at");
    }
    let hash = shared::crypto::hash(&[email.to_lowercase().as_bytes()]);
    claim["pk"] = json!({"S": format!("G#email#{hash}")});
    claim["email"] = json!({"S": email});
    claim["user"] = json!({"S": id});
    if let Some(ends_at) = ends_at {
        claim["ends_at"] = json!({"S": ends_at});
        claim["ttl"] = json!({"N": "4102444800"});
    }
    world.put_item(&user);
    world.put_item(&claim);
    id
}

/// The token of the link to confirm such an account.
fn older_link(world: &World, user: &str) -> String {
    let id = LinkId::new(world.auth.random());
    let expires_at = world.auth.clock().now() + SignedDuration::from_hours(72);
    world.put_item(&json!({
        "pk": {"S": format!("G#link#{id}")}, "sk": {"S": "link"}, "type": {"S": "link"}, "id": {"S": id.to_string()},
        "purpose": {"M": {"kind": {"S": "verify_email"}, "user": {"S": user}}},
        "expires_at": {"S": expires_at.to_string()}, "ttl": {"N": expires_at.as_second().to_string()},
        "actor": {"S": "visitor"}, "request": {"S": "older"}, "at": {"S": world.auth.clock().now().to_string()},
    }));
    Link::token(id, world.auth.keys().links().expect("the key of links"))
}

async fn register(world: &World, email: &str, password: &str) -> Answer {
    let body = json!({"name": "Squatter", "email": email, "password": password, "company_name": "Squat"});
    world.post("/api/v1/auth/register").json(body).send().await
}

async fn verify(world: &World, token: &str, password: &str) -> Answer {
    world.post("/api/v1/auth/verify-email").json(json!({"token": token, "password": password})).send().await
}

async fn accept(world: &World, token: &str, password: Option<&str>) -> Answer {
    let body = match password {
        Some(password) => json!({"token": token, "name": "Victim", "password": password}),
        None => json!({"token": token}),
    };
    world.post("/api/v1/auth/accept-invitation").json(body).send().await
}

async fn demo(world: &World, email: &str) -> Caller {
    let body = json!({"email": email, "name": "Squatter", "company_name": "Squat"});
    let made = world.post("/api/v1/demo").json(body).send().await.expect(201).json();
    world.login(email, made["data"]["password"].as_str().expect("a password")).await
}

async fn tenants(world: &World, caller: &Caller) -> usize {
    let listed = world.get("/api/tenants").token(&caller.token).send().await.expect(200).json();
    listed["tenants"].as_array().map_or(0, Vec::len)
}

fn mails_of_kind(world: &World, kind: &str) -> usize {
    world.items_of_type("mail").iter().filter(|mail| mail["content"]["M"]["kind"]["S"] == kind).count()
}

/// Ids of one millisecond have no order, and the test needs the newest mail.
fn later(world: &World) {
    world.advance(SignedDuration::from_secs(1));
}

fn start_of_day(world: &World) {
    let now = world.auth.clock().now().as_second();
    world.advance(SignedDuration::from_secs((now / 86_400 + 1) * 86_400 - now));
}
