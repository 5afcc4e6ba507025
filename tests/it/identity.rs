//! People and their access: registering, signing in and out, passwords, invitations, members, demos, public keys.

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::world::{Answer, Caller, INVITATIONS, Settings, Tenant, World, claims_of, id};

const MEMBERS: &str = "/api/v1/tenant/members";
const SESSIONS: &str = "/api/v1/auth/sessions";

// Signing in and out.

#[tokio::test]
async fn a_person_registers_verifies_signs_in_and_out() {
    let world = World::new().await;
    let registered = register(&world, "ada@example.com").await.expect(202);
    assert_eq!(registered.json()["data"], json!({"email": "ada@example.com"}));
    world.try_login("ada@example.com", "correct horse").await.expect(403);
    let token = world.link_token("ada@example.com");
    let verified =
        world.post("/api/v1/auth/verify-email").json(json!({"token": token, "password": "correct horse"})).send().await.expect(200).json();
    assert!(verified["data"]["email_verified_at"].is_string());
    world.post("/api/v1/auth/verify-email").json(json!({"token": token, "password": "correct horse"})).send().await.expect(422);

    let ada = world.login("ada@example.com", "correct horse").await;
    let me = get(&world, &ada, "/api/v1/auth/me").await.expect(200).json()["data"].clone();
    assert_eq!((&me["id"], &me["email"], &me["is_tenant_owner"]), (&json!(1), &json!("ada@example.com"), &json!(true)));

    let again = world.login("ada@example.com", "correct horse").await;
    world.post("/api/v1/auth/logout").token(&ada.token).send().await.expect(200);
    get(&world, &ada, "/api/v1/auth/me").await.expect(401);
    world.post("/api/v1/auth/logout").token(&ada.token).send().await.expect(401);
    get(&world, &again, "/api/v1/auth/me").await.expect(200);
}

#[tokio::test]
async fn addresses_are_one_whatever_their_case() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    world.login(&acme.owner.email.to_uppercase(), "correct horse").await;
    register(&world, &acme.owner.email.to_uppercase()).await.expect(202);
    assert_eq!(world.items_of_type("user").len(), 1);
}

#[tokio::test]
async fn sessions_are_listed_and_ended_one_by_one_or_all_others_at_once() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let other = world.tenant("other").await.owner;
    let mut devices = vec![acme.owner.clone()];
    for device in ["phone", "tablet", "laptop"] {
        world.advance(SignedDuration::from_secs(1));
        let body = json!({"email": acme.owner.email, "password": "correct horse", "device_name": device});
        let answer = world.post("/api/v1/auth/login").json(body).send().await.expect(200).json();
        devices.push(Caller { token: answer["data"]["token"].as_str().unwrap_or_default().to_owned(), ..acme.owner.clone() });
    }
    let listed = get(&world, &devices[1], SESSIONS).await.expect(200).json();
    let names: Vec<_> = listed["data"].as_array().into_iter().flatten().map(|session| session["device_name"].clone()).collect();
    assert_eq!(names, ["laptop", "tablet", "phone", "api-token"]);
    let current: Vec<_> = listed["data"].as_array().into_iter().flatten().map(|session| session["is_current"].clone()).collect();
    assert_eq!(current, [false, false, true, false]);
    assert_eq!(listed["meta"]["total"], 4);

    let tablet = format!("{SESSIONS}/{}", id(&listed["data"][1]));
    delete(&world, &other, &tablet).await.expect(404);
    delete(&world, &devices[1], &tablet).await.expect(200);
    delete(&world, &devices[1], &tablet).await.expect(404);
    get(&world, &devices[2], "/api/v1/auth/me").await.expect(401);

    delete(&world, &devices[1], SESSIONS).await.expect(200);
    for (device, status) in [(0, 401), (1, 200), (3, 401)] {
        get(&world, &devices[device], "/api/v1/auth/me").await.expect(status);
    }
    get(&world, &other, "/api/v1/auth/me").await.expect(200);
}

#[tokio::test]
async fn a_session_ends_by_itself_after_seven_days() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    world.advance(SignedDuration::from_hours(7 * 24) - SignedDuration::from_secs(60));
    get(&world, &acme.owner, "/api/v1/auth/me").await.expect(200);
    world.advance(SignedDuration::from_secs(60));
    get(&world, &acme.owner, "/api/v1/auth/me").await.expect(401);
}

#[tokio::test]
async fn login_checks_in_the_documented_order() {
    let world = World::new().await;
    register(&world, "ada@example.com").await.expect(202);
    let refused = |answer: Answer, word: &str| {
        assert_eq!(answer.code(), if word == "suspended" { "TENANT_SUSPENDED" } else { "FORBIDDEN" });
        assert!(answer.text.contains(word), "{}", answer.text);
    };
    world.try_login("ada@example.com", "wrong horse").await.expect(422);
    refused(world.try_login("ada@example.com", "correct horse").await.expect(403), "verified");
    verify(&world, "ada@example.com").await;
    let tenant = world.items_of_type("tenant").remove(0);
    let (tenant, user) = (tenant["pk"]["S"].as_str().unwrap_or_default(), world.items_of_type("user").remove(0));
    let user = user["pk"]["S"].as_str().unwrap_or_default();
    // Everything is wrong at first, and is corrected in the order of the checks.
    world.change_item(user, "profile", |user| {
        user["system_admin"] = json!({"BOOL": true});
        user.as_object_mut().expect("an item").remove("verified_at");
    });
    world.change_item(tenant, "profile", |tenant| tenant["status"] = json!({"S": "suspended"}));

    let invalid = world.post("/api/v1/auth/login").json(json!({"email": "ada@example.com", "password": ""})).send().await.expect(422);
    assert!(invalid.details()["password"].is_array());
    let wrong = world.try_login("ada@example.com", "wrong horse").await.expect(422);
    assert!(wrong.details()["email"].is_array() && wrong.details().as_object().is_some_and(|details| details.len() == 1));
    refused(world.try_login("ada@example.com", "correct horse").await.expect(403), "System administrators");
    world.change_item(user, "profile", |user| user["system_admin"] = json!({"BOOL": false}));
    refused(world.try_login("ada@example.com", "correct horse").await.expect(403), "verified");
    world.change_item(user, "profile", |user| user["verified_at"] = json!({"S": world.auth.clock().now().to_string()}));
    refused(world.try_login("ada@example.com", "correct horse").await.expect(403), "suspended");
    world.try_login("ada@example.com", "wrong horse").await.expect(422);
    world.change_item(tenant, "profile", |tenant| {
        tenant["status"] = json!({"S": "active"});
        tenant["ends_at"] = json!({"S": world.auth.clock().now().to_string()});
    });
    refused(world.try_login("ada@example.com", "correct horse").await.expect(403), "expired");
    world.change_item(tenant, "profile", |tenant| tenant["ends_at"] = json!({"S": "2100-01-01T00:00:00Z"}));
    world.try_login("ada@example.com", "correct horse").await.expect(200);
}

#[tokio::test]
async fn suspension_and_the_end_of_a_tenant_hold_from_the_next_request_on() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let profile = format!("T#{}#tenant", acme.id);
    world.change_item(&profile, "profile", |tenant| tenant["status"] = json!({"S": "suspended"}));
    get(&world, &acme.owner, MEMBERS).await.expect(403);
    world.change_item(&profile, "profile", |tenant| tenant["status"] = json!({"S": "deleting"}));
    get(&world, &acme.owner, MEMBERS).await.expect(403);
    // Without a tenant one can still sign in, to have another.
    let me = world.try_login(&acme.owner.email, "correct horse").await.expect(200).json();
    assert_eq!(me["data"]["user"]["id"], Value::Null);
}

// Known and unknown addresses.

#[tokio::test]
async fn login_says_nothing_about_which_addresses_are_known() {
    let world = World::new().await;
    world.tenant("acme").await;
    register(&world, "pending@example.com").await.expect(202);
    let nobody = world.try_login("nobody@example.com", "wrong horse").await.expect(422);
    for known in ["owner@acme.example.com", "pending@example.com"] {
        let somebody = world.try_login(known, "wrong horse").await.expect(422);
        assert_eq!(somebody.fingerprint(), nobody.fingerprint());
        assert_eq!(work_of(&somebody), work_of(&nobody), "table calls and round trips");
    }
}

#[tokio::test]
async fn a_login_takes_as_long_for_nobody_as_for_somebody() {
    let world = World::new().await;
    world.tenant("acme").await;
    let mut least = [std::time::Duration::MAX; 2];
    // The least of several: what else the machine does makes one slow, and none quick.
    for _ in 0..6 {
        for (least, email) in least.iter_mut().zip(["owner@acme.example.com", "nobody@example.com"]) {
            let started = std::time::Instant::now();
            world.try_login(email, "wrong horse").await.expect(422);
            *least = started.elapsed().min(*least);
        }
    }
    let [somebody, nobody] = least;
    // Nearly all of it is the hash of the password.
    assert!(nobody * 2 > somebody, "{nobody:?} for nobody, {somebody:?} for somebody");
}

#[tokio::test]
async fn registration_says_nothing_about_which_addresses_are_known() {
    let world = World::new().await;
    world.tenant("acme").await;
    register(&world, "waits@acme.example.com").await.expect(202);
    let unknown = register(&world, "other@acme.example.com").await.expect(202);
    for known in ["owner@acme.example.com", "waits@acme.example.com"] {
        world.advance(SignedDuration::from_secs(1));
        let answer = register(&world, known).await.expect(202);
        assert_eq!(answer.fingerprint().replace(known, "other@acme.example.com"), unknown.fingerprint());
        assert_eq!(work_of(&answer), work_of(&unknown), "table calls and round trips");
        // A login with the invented password does not tell either.
        assert_eq!(
            world.try_login(known, "made up just now").await.fingerprint(),
            world.try_login("other@acme.example.com", "made up just now").await.fingerprint()
        );
    }
    let body = json!({"name": "Eve", "email": "owner@acme.example.com", "password": "made up just now", "company_name": "Eve"});
    world.post("/api/v1/auth/register").json(body).send().await.expect(202);
    let refused = world.try_login("owner@acme.example.com", "made up just now").await.expect(403);
    assert!(refused.text.contains("not verified"), "as for an address that is nobody's: {}", refused.text);
    // The owner of the address hears of it, and nothing else came of it.
    let heard = world.items_of_type("mail").into_iter().filter(|mail| mail["content"]["M"]["kind"]["S"] == "already_registered");
    assert_eq!(heard.count(), 2);
    assert_eq!((world.items_of_type("tenant").len(), world.items_of_type("user").len()), (1, 1));
}

#[tokio::test]
async fn forgot_password_says_nothing_about_which_addresses_are_known() {
    let world = World::new().await;
    world.tenant("acme").await;
    let known = world.forgot("owner@acme.example.com").await.expect(202);
    let unknown = world.forgot("nobdy@acme.example.com").await.expect(202);
    assert_eq!(known.fingerprint().replace("owner@", "nobdy@"), unknown.fingerprint());
    assert_eq!(work_of(&known), work_of(&unknown), "table calls and round trips");
    let mails = world.items_of_type("mail").into_iter().filter(|mail| mail["to"]["S"] == "nobdy@acme.example.com");
    assert_eq!(mails.count(), 0);
}

// Links in mails.

#[tokio::test]
async fn a_password_reset_ends_every_session_and_its_link_works_once() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let second = world.login(&acme.owner.email, "correct horse").await;
    world.advance(SignedDuration::from_secs(1));
    world.forgot(&acme.owner.email).await.expect(202);
    let token = world.link_token(&acme.owner.email);
    world.reset(&token, "short").await.expect(422);
    world.reset(&token, "battery staple").await.expect(200);
    for session in [&acme.owner, &second] {
        get(&world, session, "/api/v1/auth/me").await.expect(401);
    }
    world.try_login(&acme.owner.email, "correct horse").await.expect(422);
    let fresh = world.login(&acme.owner.email, "battery staple").await;
    let again = world.reset(&token, "another staple").await.expect(422);
    assert!(again.details()["token"].is_array());
    get(&world, &fresh, "/api/v1/auth/me").await.expect(200);
}

#[tokio::test]
async fn a_reset_link_dies_after_an_hour() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    world.advance(SignedDuration::from_secs(1));
    world.forgot(&acme.owner.email).await.expect(202);
    let token = world.link_token(&acme.owner.email);
    world.advance(SignedDuration::from_hours(1));
    world.reset(&token, "battery staple").await.expect(422);
    world.login(&acme.owner.email, "correct horse").await;
}

#[tokio::test]
async fn a_link_is_good_for_its_own_purpose_and_only_as_we_signed_it() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    register(&world, "ada@example.com").await.expect(202);
    let verification = world.link_token("ada@example.com");
    world.invite(&acme.owner, "bob@example.com", "member").await.expect(201);
    let invitation = world.link_token("bob@example.com");
    world.advance(SignedDuration::from_secs(1));
    world.forgot(&acme.owner.email).await.expect(202);
    let resetting = world.link_token(&acme.owner.email);

    let forged = {
        let (id, signature) = resetting.split_once('.').expect("a token has two parts");
        let first = if signature.starts_with('A') { 'B' } else { 'A' };
        format!("{id}.{first}{}", &signature[1..])
    };
    let swapped = format!("{}.{}", resetting.split('.').next().unwrap_or_default(), verification.split('.').nth(1).unwrap_or_default());
    for token in [&verification, &invitation, &forged, &swapped, "", "x", "a.b"] {
        world.reset(token, "battery staple").await.expect(422);
    }
    for token in [&resetting, &invitation, &forged] {
        world.post("/api/v1/auth/verify-email").json(json!({"token": token, "password": "correct horse"})).send().await.expect(422);
    }
    for token in [&resetting, &verification, &forged] {
        accept(&world, token).await.expect(422);
    }
    // None of it used the links up.
    world.reset(&resetting, "battery staple").await.expect(200);
    accept(&world, &invitation).await.expect(200);
    world.post("/api/v1/auth/verify-email").json(json!({"token": verification, "password": "correct horse"})).send().await.expect(200);
}

// Invitations.

#[tokio::test]
async fn an_invitation_is_created_listed_and_revoked() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let invited = world.invite(&acme.owner, "bob@example.com", "admin").await.expect(201).json()["data"].clone();
    assert_eq!(
        (&invited["email"], &invited["role"], &invited["invited_by"]),
        (&json!("bob@example.com"), &json!("admin"), &json!("Owner of acme"))
    );
    let listed = get(&world, &acme.owner, INVITATIONS).await.expect(200).json();
    assert_eq!((&listed["data"], &listed["pagination"]["total"]), (&json!([invited]), &json!(1)));
    let token = world.link_token("bob@example.com");
    let path = format!("{INVITATIONS}/{}", id(&invited));
    delete(&world, &acme.owner, &path).await.expect(200);
    delete(&world, &acme.owner, &path).await.expect(404);
    accept(&world, &token).await.expect(422);
    assert_eq!(get(&world, &acme.owner, INVITATIONS).await.expect(200).json()["data"], json!([]));
    assert_eq!(world.items_of_type("invitation").len() + world.items_of_type("link").len(), 0, "nothing of it stays");
}

#[tokio::test]
async fn an_invitation_makes_a_new_user_a_member_once() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    world.invite(&acme.owner, "bob@example.com", "viewer").await.expect(201);
    let token = world.link_token("bob@example.com");
    let incomplete = world.post("/api/v1/auth/accept-invitation").json(json!({"token": token})).send().await.expect(422);
    assert!(incomplete.details()["name"].is_array() && incomplete.details()["password"].is_array());
    let member = accept(&world, &token).await.expect(200).json()["data"].clone();
    assert_eq!((&member["id"], &member["role"], &member["name"]), (&json!(2), &json!("viewer"), &json!("Bob")));
    accept(&world, &token).await.expect(422);
    let bob = world.login("bob@example.com", "correct horse").await;
    get(&world, &bob, MEMBERS).await.expect(403);
    assert_eq!(get(&world, &acme.owner, MEMBERS).await.expect(200).json()["pagination"]["total"], 2);
    world.invite(&bob, "carl@example.com", "viewer").await.expect(403);
    let already = world.invite(&acme.owner, "bob@example.com", "admin").await.expect(400);
    assert!(already.details()["email"].is_array());
}

#[tokio::test]
async fn one_invitation_accepted_many_times_at_once_makes_one_member() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    world.invite(&acme.owner, "bob@example.com", "member").await.expect(201);
    let token = world.link_token("bob@example.com");
    let answers = futures_util::future::join_all((0..8).map(|_| accept(&world, &token))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    assert!(answers.iter().all(|answer| [200, 409, 422].contains(&answer.status)), "{:?}", statuses(&answers));
    assert_eq!(get(&world, &acme.owner, MEMBERS).await.expect(200).json()["pagination"]["total"], 2);
    assert_eq!(world.items_of_type("user").len(), 2);
}

#[tokio::test]
async fn a_user_of_another_tenant_joins_as_themselves_and_chooses_the_tenant_by_id_or_slug() {
    let world = World::new().await;
    let (acme, beta) = (world.tenant("acme").await, world.tenant("beta").await);
    let stranger = world.tenant("gamma").await;
    world.advance(SignedDuration::from_secs(1));
    world.invite(&acme.owner, &beta.owner.email, "admin").await.expect(201);
    let token = world.link_token(&beta.owner.email);
    let accepted = world.post("/api/v1/auth/accept-invitation").json(json!({"token": token})).send().await.expect(200);
    assert_eq!(accepted.json()["data"]["name"], "Owner of beta");
    // The open session works in both. Without the header it acts where it was opened.
    let members = async |header: Option<&str>| {
        let request = world.get(MEMBERS).token(&beta.owner.token);
        let request = header.into_iter().fold(request, |request, header| request.header("x-tenant-id", header));
        request.send().await
    };
    assert_eq!(members(None).await.expect(200).json()["pagination"]["total"], 1);
    assert_eq!(members(Some(&beta.id)).await.expect(200).json()["pagination"]["total"], 1);
    for acme in [&acme.id, &acme.slug] {
        assert_eq!(members(Some(acme)).await.expect(200).json()["pagination"]["total"], 2);
    }
    let missing = members(Some("no-such-tenant")).await.expect(404);
    for foreign in [&stranger.id, &stranger.slug, "550e8400-e29b-41d4-a716-446655440000", "Not A Slug", ""] {
        assert_eq!(members(Some(foreign)).await.fingerprint(), missing.fingerprint(), "{foreign}");
    }
    // Their role is different in each.
    let invitation = world.post(INVITATIONS).token(&beta.owner.token).header("x-tenant-id", &acme.slug);
    invitation.json(json!({"email": "x@example.com", "role": "owner"})).send().await.expect(403);
    world.invite(&beta.owner, "x@example.com", "owner").await.expect(201);
}

#[tokio::test]
async fn an_invitation_dies_after_seven_days() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    world.invite(&acme.owner, "bob@example.com", "member").await.expect(201);
    let token = world.link_token("bob@example.com");
    world.advance(SignedDuration::from_hours(7 * 24));
    accept(&world, &token).await.expect(422);
    let owner = world.login(&acme.owner.email, "correct horse").await;
    assert_eq!(get(&world, &owner, INVITATIONS).await.expect(200).json()["pagination"]["total"], 0);
}

#[tokio::test]
async fn only_owners_invite_owners_and_revoke_such_an_invitation() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let admin = world.member(&acme, "admin").await;
    world.invite(&admin, "bob@example.com", "owner").await.expect(403);
    world.invite(&admin, "bob@example.com", "emperor").await.expect(400);
    let invited = world.invite(&acme.owner, "bob@example.com", "owner").await.expect(201).json()["data"].clone();
    let path = format!("{INVITATIONS}/{}", id(&invited));
    delete(&world, &admin, &path).await.expect(403);
    delete(&world, &acme.owner, &path).await.expect(200);
    world.invite(&admin, "carl@example.com", "admin").await.expect(201);
}

#[tokio::test]
async fn a_plan_has_room_for_so_many_users_and_no_more() {
    let world = World::strict().await;
    let acme = world.tenant("acme").await;
    let full = |answer: Answer| {
        assert_eq!(answer.code(), "PLAN_LIMIT_REACHED");
        assert_eq!(answer.details(), json!({"limit": "users", "used": 3, "max": 3, "plan": "free"}));
    };
    let invited = world.invite(&acme.owner, "a@example.com", "member").await.expect(201).json();
    world.invite(&acme.owner, "b@example.com", "member").await.expect(201);
    // Who is invited has a seat.
    full(world.invite(&acme.owner, "c@example.com", "member").await.expect(403));
    delete(&world, &acme.owner, &format!("{INVITATIONS}/{}", id(&invited["data"]))).await.expect(200);
    world.invite(&acme.owner, "c@example.com", "member").await.expect(201);
    accept(&world, &world.link_token("b@example.com")).await.expect(200);
    let joined = accept(&world, &world.link_token("c@example.com")).await.expect(200).json();
    full(world.invite(&acme.owner, "d@example.com", "member").await.expect(403));
    delete(&world, &acme.owner, &format!("{MEMBERS}/{}", joined["data"]["id"])).await.expect(200);
    world.invite(&acme.owner, "d@example.com", "member").await.expect(201);
    full(world.invite(&acme.owner, "e@example.com", "member").await.expect(403));
    // One that has expired gives its seat back by itself.
    world.advance(SignedDuration::from_hours(7 * 24));
    let owner = world.login(&acme.owner.email, "correct horse").await;
    world.invite(&owner, "e@example.com", "member").await.expect(201);
    // A smaller plan lets in no more than it has seats.
    let profile = format!("T#{}#counters", acme.id);
    world.change_item(&profile, "members", |counter| counter["n"] = json!({"N": "3"}));
    full(accept(&world, &world.link_token("e@example.com")).await.expect(403));
}

// Members.

#[tokio::test]
async fn members_are_listed_by_offset_and_by_cursor() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    for _ in 0..6 {
        world.member(&acme, "viewer").await;
    }
    let all = get(&world, &acme.owner, MEMBERS).await.expect(200).json();
    assert_eq!((all["data"].as_array().map(Vec::len), &all["pagination"]["has_more"]), (Some(7), &json!(false)));
    let page = get(&world, &acme.owner, &format!("{MEMBERS}?limit=3&offset=3")).await.expect(200).json();
    assert_eq!(page["data"], json!(all["data"].as_array().map(|all| &all[3..6])));
    assert_eq!(
        (&page["pagination"]["total"], &page["pagination"]["limit"], &page["pagination"]["offset"]),
        (&json!(7), &json!(3), &json!(3))
    );
    let (mut walked, mut path) = (vec![], format!("{MEMBERS}?limit=2"));
    loop {
        let page = get(&world, &acme.owner, &path).await.expect(200).json();
        walked.extend(page["data"].as_array().cloned().unwrap_or_default());
        assert_eq!(page["pagination"]["total"], 7);
        match page["pagination"]["next_cursor"].as_str() {
            Some(cursor) => path = format!("{MEMBERS}?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(json!(walked), all["data"]);
    get(&world, &acme.owner, &format!("{MEMBERS}?offset=10001")).await.expect(400);
    get(&world, &acme.owner, &format!("{MEMBERS}?limit=0")).await.expect(400);
    // A cursor is only valid for its own list and its own tenant.
    let cursor = get(&world, &acme.owner, &format!("{MEMBERS}?limit=2")).await.json()["pagination"]["next_cursor"].clone();
    let cursor = cursor.as_str().unwrap_or_default();
    get(&world, &acme.owner, &format!("{INVITATIONS}?cursor={cursor}")).await.expect(400);
    let beta = world.tenant("beta").await;
    get(&world, &beta.owner, &format!("{MEMBERS}?cursor={cursor}")).await.expect(400);
}

#[tokio::test]
async fn a_role_changes_from_the_next_request_on() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let viewer = world.member(&acme, "viewer").await;
    world.post("/api/v1/projects").token(&viewer.token).json(json!({"name": "x"})).send().await.expect(403);
    let path = format!("{MEMBERS}/{}", viewer.id);
    let changed = change_role(&world, &acme.owner, viewer.id, "admin").await.expect(200);
    assert_eq!(changed.json()["data"]["role"], "admin");
    world.post("/api/v1/projects").token(&viewer.token).json(json!({"name": "x"})).send().await.expect(201);
    let stale = world.put(&path).token(&acme.owner.token).header("if-match", "\"1\"").json(json!({"role": "member"})).send().await;
    stale.expect(412);
    change_role(&world, &acme.owner, 99, "viewer").await.expect(404);
    change_role(&world, &acme.owner, viewer.id, "viewer").await.expect(200);
    world.post("/api/v1/projects").token(&viewer.token).json(json!({"name": "x"})).send().await.expect(403);
}

#[tokio::test]
async fn only_owners_touch_owners_and_one_owner_stays() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let admin = world.member(&acme, "admin").await;
    change_role(&world, &admin, admin.id, "owner").await.expect(403);
    change_role(&world, &admin, acme.owner.id, "viewer").await.expect(403);
    delete(&world, &admin, &format!("{MEMBERS}/{}", acme.owner.id)).await.expect(403);
    change_role(&world, &acme.owner, acme.owner.id, "admin").await.expect(409);
    delete(&world, &acme.owner, &format!("{MEMBERS}/{}", acme.owner.id)).await.expect(409);
    change_role(&world, &acme.owner, admin.id, "owner").await.expect(200);
    change_role(&world, &acme.owner, acme.owner.id, "admin").await.expect(200);
    change_role(&world, &admin, admin.id, "viewer").await.expect(409);
    assert_eq!(roles(&world, &acme), ["admin", "owner"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_owners_who_demote_each_other_at_once_leave_one_owner() {
    let world = World::new().await;
    for round in 0..10 {
        let acme = world.tenant(&format!("acme{round}")).await;
        let second = world.member(&acme, "owner").await;
        let (left, right) =
            tokio::join!(change_role(&world, &acme.owner, second.id, "viewer"), change_role(&world, &second, acme.owner.id, "viewer"));
        let mut statuses = [left.status, right.status];
        statuses.sort_unstable();
        assert!(matches!(statuses, [200, 403 | 409]), "{statuses:?}");
        assert_eq!(roles(&world, &acme), ["owner", "viewer"]);
    }
}

/// Nobody stands in the other's way here but the count of owners.
#[tokio::test]
async fn two_owners_who_step_down_at_once_leave_one_owner() {
    let world = World::new().await;
    for round in 0..10 {
        let acme = world.tenant(&format!("acme{round}")).await;
        let second = world.member(&acme, "owner").await;
        let step_down = async |owner: &Caller| {
            if round % 2 == 0 {
                change_role(&world, owner, owner.id, "viewer").await
            } else {
                delete(&world, owner, &format!("/api/v1/tenant/members/{}", owner.id)).await
            }
        };
        let (left, right) = tokio::join!(step_down(&acme.owner), step_down(&second));
        let mut statuses = [left.status, right.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "round {round}");
        assert_eq!(roles(&world, &acme).iter().filter(|role| *role == "owner").count(), 1, "round {round}");
    }
}

#[tokio::test]
async fn a_removed_member_has_no_access_and_their_number_is_never_given_again() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let bob = world.member(&acme, "member").await;
    let project = world.project(&acme.owner, "Launch").await;
    let task = world.task(&acme.owner, &project, json!({"title": "x", "assigned_to": bob.id})).await;
    delete(&world, &acme.owner, &format!("{MEMBERS}/{}", bob.id)).await.expect(200);
    get(&world, &bob, MEMBERS).await.expect(401);
    get(&world, &bob, "/api/v1/auth/me").await.expect(401);
    delete(&world, &acme.owner, &format!("{MEMBERS}/{}", bob.id)).await.expect(404);
    // Their task keeps their name, but they cannot be assigned to other tasks.
    let shown = get(&world, &acme.owner, &format!("/api/v1/tasks/{}", id(&task))).await.expect(200).json();
    assert_eq!(shown["data"]["assignee"]["id"], bob.id);
    let assigning = world.post(format!("/api/v1/projects/{}/tasks", id(&project))).token(&acme.owner.token);
    assigning.json(json!({"title": "y", "assigned_to": bob.id})).send().await.expect(422);

    world.advance(SignedDuration::from_secs(1));
    world.invite(&acme.owner, &bob.email, "member").await.expect(201);
    let back = accept(&world, &world.link_token(&bob.email)).await.expect(200).json();
    assert_eq!(back["data"]["id"], bob.id + 1);
    assert_eq!(get(&world, &acme.owner, MEMBERS).await.expect(200).json()["pagination"]["total"], 2);
}

// Demos.

#[tokio::test]
async fn a_demo_answers_as_documented_and_its_password_works() {
    let world = World::strict().await;
    let answer = demo(&world, "ada@example.com").await.expect(201);
    let data = answer.json()["data"].clone();
    let mut fields: Vec<_> = data.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    fields.sort();
    assert_eq!(fields, ["app_url", "email", "expires_at", "password", "tenant_id", "tenant_slug", "tenant_url"]);
    let slug = data["tenant_slug"].as_str().unwrap_or_default();
    assert!(slug.strip_prefix("demo-").is_some_and(|end| end.len() == 6 && end.bytes().all(|byte| byte.is_ascii_alphanumeric())), "{slug}");
    assert!(data["tenant_id"].is_u64() && data["tenant_url"].as_str().is_some_and(|url| url.contains(slug)));
    assert_eq!(data["app_url"], format!("{}/app", data["tenant_url"].as_str().unwrap_or_default()));
    assert!(data["expires_at"].as_str().is_some_and(|end| end.ends_with("+00:00")), "{data}");
    assert_eq!((&answer.json()["success"], &data["email"]), (&json!(true), &json!("ada@example.com")));

    let ada = world.login("ada@example.com", data["password"].as_str().unwrap_or_default()).await;
    let me = get(&world, &ada, "/api/v1/auth/me").await.expect(200).json();
    assert_eq!((&me["data"]["is_tenant_owner"], me["data"]["email_verified_at"].is_string()), (&json!(true), true));
    let other = demo(&world, "bob@example.com").await.expect(201).json();
    assert_ne!(other["data"]["password"], data["password"], "each demo has its own password");
}

#[tokio::test]
async fn a_demo_comes_with_sample_data_that_is_counted_right() {
    let world = World::strict().await;
    let ada = demo_owner(&world, "ada@example.com").await;
    let projects = get(&world, &ada, "/api/v1/projects?sort=name&direction=asc").await.expect(200).json();
    assert_eq!(projects["meta"]["total"], 2);
    assert_eq!(get(&world, &ada, "/api/v1/projects").await.expect(200).json()["meta"]["total"], 2);
    for project in projects["data"].as_array().into_iter().flatten() {
        let tasks = get(&world, &ada, &format!("/api/v1/projects/{}/tasks", id(project))).await.expect(200).json();
        let listed = tasks["data"].as_array().cloned().unwrap_or_default();
        assert!(!listed.is_empty());
        assert_eq!(tasks["meta"]["total"], listed.len());
        let count = |wanted: &dyn Fn(&Value) -> bool| json!(listed.iter().filter(|task| wanted(task)).count());
        assert_eq!(project["open_tasks_count"], count(&|task| task["status"]["is_open"] == true));
        assert_eq!(project["completed_tasks_count"], count(&|task| task["status"]["value"] == "done"));
    }
}

#[tokio::test]
async fn demos_can_be_disabled() {
    let world = World::with(Settings { variables: vec![("DEMO_ENABLED", "false".into())], ..Settings::default() }).await;
    let refused = demo(&world, "ada@example.com").await.expect(403);
    assert_eq!(refused.code(), "FORBIDDEN");
}

#[tokio::test]
async fn an_address_gets_three_demos_an_hour() {
    let world = World::strict().await;
    let from = async |ip: &str, email: &str| {
        let body = json!({"email": email, "name": "Ada", "company_name": "Engines"});
        world.post("/api/v1/demo").at_ip(ip).json(body).send().await
    };
    for email in ["a@example.com", "b@example.com", "c@example.com"] {
        from("203.0.113.1", email).await.expect(201);
    }
    let refused = from("203.0.113.1", "d@example.com").await.expect(429);
    assert_eq!((refused.code().as_str(), &refused.details()["quota"]), ("TOO_MANY_REQUESTS", &json!("demo")));
    assert!(refused.header("retry-after").parse::<i64>().is_ok_and(|seconds| (1..=3600).contains(&seconds)));
    from("203.0.113.2", "d@example.com").await.expect(201);
    world.advance(SignedDuration::from_hours(1));
    from("203.0.113.1", "e@example.com").await.expect(201);
}

#[tokio::test]
async fn there_are_only_so_many_demos_at_a_time() {
    let world = World::with(Settings { variables: vec![("DEMO_MAX_ACTIVE", "2".into())], ..Settings::default() }).await;
    demo(&world, "a@example.com").await.expect(201);
    demo(&world, "b@example.com").await.expect(201);
    let before = world.items().len();
    let full = demo(&world, "c@example.com").await.expect(429);
    assert_eq!(full.details()["quota"], "active_demos");
    assert!(!full.header("retry-after").is_empty());
    assert!(world.items().len() <= before + 1, "nothing but a rate counter is left behind");
}

#[tokio::test]
async fn in_production_demos_need_a_secret_of_their_own() {
    let production = ("STAGE", "prod".to_owned());
    let variables = vec![production.clone(), ("DEMO_SECRET_ID", String::new())];
    let world = World::with(Settings { variables, ..Settings::default() }).await;
    let refused = demo(&world, "ada@example.com").await.expect(503);
    assert_eq!(refused.code(), "SERVICE_UNAVAILABLE");
    assert_eq!(world.items_of_type("tenant").len(), 0);
    let world = World::with(Settings { variables: vec![production], ..Settings::default() }).await;
    demo_owner(&world, "ada@example.com").await;
}

#[tokio::test]
async fn an_address_may_have_several_demos_each_with_its_own_password() {
    let world = World::strict().await;
    let ada = demo_owner(&world, "ada@example.com").await;
    world.advance(SignedDuration::from_secs(2));
    let second = demo_owner(&world, "Ada@example.com").await;
    assert_ne!((claims_of(&ada.token)["tid"].clone(), &ada.password), (claims_of(&second.token)["tid"].clone(), &second.password));
    // Making another demo takes nothing from the first.
    world.login("ada@example.com", &ada.password).await;
    world.advance(SignedDuration::from_hours(48) - SignedDuration::from_secs(3));
    get(&world, &ada, "/api/v1/projects").await.expect(200);
    world.advance(SignedDuration::from_secs(2));
    let expired = get(&world, &ada, "/api/v1/projects").await.expect(403);
    assert!(expired.text.contains("expired"), "{}", expired.text);
    world.try_login("ada@example.com", &ada.password).await.expect(403);
    world.try_login("ada@example.com", "wrong horse").await.expect(422);
    get(&world, &second, "/api/v1/projects").await.expect(200);
}

#[tokio::test]
async fn the_address_of_an_ended_demo_can_register() {
    let world = World::new().await;
    demo_owner(&world, "ada@example.com").await;
    world.advance(SignedDuration::from_hours(48));
    register(&world, "ada@example.com").await.expect(202);
    verify(&world, "ada@example.com").await;
    world.login("ada@example.com", "correct horse").await;
}

// Repeats.

#[tokio::test]
async fn a_demo_and_a_registration_happen_once_for_an_idempotency_key() {
    let world = World::new().await;
    let send = async |path: &str, ip: &str, email: &str| {
        let body = json!({"email": email, "name": "Ada", "company_name": "Engines"});
        let body = if path.ends_with("register") {
            json!({"password": "correct horse", "email": email, "name": "Ada", "company_name": "Engines"})
        } else {
            body
        };
        world.post(path).at_ip(ip).header("idempotency-key", "key-1").json(body).send().await
    };
    for (path, email, status) in [("/api/v1/demo", "ada@example.com", 201), ("/api/v1/auth/register", "bob@example.com", 202)] {
        let first = send(path, "203.0.113.1", email).await.expect(status);
        assert_eq!(first.header("idempotency-replayed"), "");
        let tenants = world.items_of_type("tenant").len();
        let mails = world.items_of_type("mail").len();
        let second = send(path, "203.0.113.1", email).await.expect(status);
        assert_eq!((second.text.as_str(), second.header("idempotency-replayed")), (first.text.as_str(), "true"));
        assert_eq!((world.items_of_type("tenant").len(), world.items_of_type("mail").len()), (tenants, mails));
        let reused = send(path, "203.0.113.1", "other@example.com").await.expect(422);
        assert_eq!(reused.code(), "IDEMPOTENCY_KEY_REUSED");
        // A key belongs to its owner: from another address it reveals nothing.
        let elsewhere = send(path, "203.0.113.2", email).await;
        assert_eq!(elsewhere.header("idempotency-replayed"), "");
        assert!(path.ends_with("register") || elsewhere.text != first.text, "{}", elsewhere.text);
    }
    let stored = json!(world.items()).to_string();
    let demo = send("/api/v1/demo", "203.0.113.1", "ada@example.com").await.json();
    assert!(!stored.contains(demo["data"]["password"].as_str().expect("a password")), "no stored answer shows a password");
}

// Public keys.

#[tokio::test]
async fn the_public_keys_verify_a_session_token() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let keys = world.get("/.well-known/jwks.json").send().await.expect(200).json();
    assert_eq!(keys["keys"].as_array().map(Vec::len), Some(1));
    assert!(keys["keys"][0].get("d").is_none(), "only the public half");
    let header = jsonwebtoken::decode_header(&acme.owner.token).expect("a header");
    assert_eq!((header.typ.as_deref(), header.kid.as_deref()), (Some("at+jwt"), keys["keys"][0]["kid"].as_str()));
    let key = serde_json::from_value(keys["keys"][0].clone()).expect("a JWK");
    let key = jsonwebtoken::DecodingKey::from_jwk(&key).expect("a key");
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES256);
    validation.set_issuer(&[crate::world::PUBLIC_URL]);
    validation.set_audience(&[crate::world::PUBLIC_URL]);
    let claims = jsonwebtoken::decode::<Value>(&acme.owner.token, &key, &validation).expect("the token verifies").claims;
    assert_eq!(claims, claims_of(&acme.owner.token));
    let mut names: Vec<_> = claims.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["aud", "exp", "iat", "iss", "jti", "sid", "sub", "tid"]);
}

async fn register(world: &World, email: &str) -> Answer {
    let body = json!({"name": "Ada", "email": email, "password": "correct horse", "company_name": "Analytical Engines"});
    world.post("/api/v1/auth/register").json(body).send().await
}

async fn verify(world: &World, email: &str) {
    let token = world.link_token(email);
    world.post("/api/v1/auth/verify-email").json(json!({"token": token, "password": "correct horse"})).send().await.expect(200);
}

async fn accept(world: &World, token: &str) -> Answer {
    let body = json!({"token": token, "name": "Bob", "password": "correct horse"});
    world.post("/api/v1/auth/accept-invitation").json(body).send().await
}

async fn change_role(world: &World, caller: &Caller, number: u64, role: &str) -> Answer {
    world.put(format!("{MEMBERS}/{number}")).token(&caller.token).json(json!({"role": role})).send().await
}

async fn get(world: &World, caller: &Caller, path: &str) -> Answer {
    world.get(path).token(&caller.token).send().await
}

async fn delete(world: &World, caller: &Caller, path: &str) -> Answer {
    world.delete(path).token(&caller.token).send().await
}

async fn demo(world: &World, email: &str) -> Answer {
    world.post("/api/v1/demo").json(json!({"email": email, "name": "Ada", "company_name": "Engines"})).send().await
}

async fn demo_owner(world: &World, email: &str) -> Caller {
    let made = demo(world, email).await.expect(201).json();
    world.login(email, made["data"]["password"].as_str().expect("a password")).await
}

fn roles(world: &World, tenant: &Tenant) -> Vec<String> {
    let members = world.items_of(tenant).into_iter().filter(|item| item["type"]["S"] == "member");
    let mut roles: Vec<_> = members.map(|member| member["role"]["S"].as_str().unwrap_or_default().to_owned()).collect();
    roles.sort();
    roles
}

/// The work that can be measured without a clock: table calls and round trips.
fn work_of(answer: &Answer) -> (u32, u32) {
    answer.metered.map(|metered| (metered.calls, metered.round_trips)).expect("the request was metered")
}

fn statuses(answers: &[Answer]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}
