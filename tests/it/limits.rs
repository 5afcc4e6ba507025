//! Rate limits and the daily quota: what is counted, what is refused, what the headers say, what it costs.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::world::{Answer, Caller, Settings, World};

const PROJECTS: &str = "/api/v1/projects";

#[tokio::test]
async fn every_limited_answer_says_how_much_is_left() {
    let world = strict_at_the_minute().await;
    let acme = world.tenant("acme").await;
    start_of_minute(&world);
    let read = get(&world, &acme.owner).await.expect(200);
    says(&world, &read, 120, 119, 60);
    assert_eq!(read.header("ratelimit-policy"), "\"api-read\";q=120;w=60, \"day\";q=1000;w=86400");
    assert!(read.header("ratelimit").starts_with("\"api-read\";r=119;t=60, \"day\";r=99"), "{}", read.header("ratelimit"));
    world.advance(SignedDuration::from_secs(20));
    let written = create(&world, &acme.owner, "x").await.expect(201);
    says(&world, &written, 60, 59, 40);
    assert!(written.header("ratelimit-policy").starts_with("\"api\";q=60;w=60"), "{}", written.header("ratelimit-policy"));
    // Refusals count and say so too, for whatever reason.
    let invalid = create(&world, &acme.owner, "").await.expect(422);
    says(&world, &invalid, 60, 58, 40);
    let missing = world.get(format!("{PROJECTS}/no-such")).token(&acme.owner.token).send().await.expect(404);
    says(&world, &missing, 120, 118, 40);
    let login = login(&world, "nobody@example.com", "203.0.113.9").await.expect(422);
    says(&world, &login, 10, 9, 40);
    let demo = world.post("/api/v1/demo").json(json!({})).send().await.expect(422);
    assert_eq!((demo.header("x-ratelimit-limit"), demo.header("x-ratelimit-remaining")), ("3", "2"));
    assert_eq!(demo.header("ratelimit-policy"), "\"demo\";q=3;w=3600");
}

#[tokio::test]
async fn sixty_writes_and_a_hundred_and_twenty_reads_pass_in_a_minute() {
    let world = strict_at_the_minute().await;
    let acme = world.tenant("acme").await;
    let other = world.member(&acme, "admin").await;
    start_of_minute(&world);
    for number in 0..120 {
        let read = get(&world, &acme.owner).await.expect(200);
        assert_eq!(read.header("x-ratelimit-remaining"), (119 - number).to_string());
    }
    for _ in 0..60 {
        create(&world, &acme.owner, "").await.expect(422);
    }
    world.advance(SignedDuration::from_secs(15));
    let refused = get(&world, &acme.owner).await.expect(429);
    says(&world, &refused, 120, 0, 45);
    assert_eq!((refused.code().as_str(), refused.header("retry-after")), ("TOO_MANY_REQUESTS", "45"));
    assert_eq!(refused.details(), json!({"quota": "api-read", "limit": 120, "retry_after": 45}));
    let refused = create(&world, &acme.owner, "x").await.expect(429);
    assert_eq!((&refused.details()["quota"], refused.header("retry-after")), (&json!("api"), "45"));
    // A limit that is known to be used up is refused without a write.
    let refused = create(&world, &acme.owner, "x").await.expect(429);
    assert_eq!(refused.metered.map(|metered| metered.write_units), Some(0.0));
    // Another person in the same tenant has their own limit.
    get(&world, &other).await.expect(200);

    world.advance(SignedDuration::from_secs(44));
    get(&world, &acme.owner).await.expect(429);
    world.advance(SignedDuration::from_secs(1));
    let fresh = get(&world, &acme.owner).await.expect(200);
    says(&world, &fresh, 120, 119, 60);
    create(&world, &acme.owner, "x").await.expect(201);
}

#[tokio::test]
async fn what_is_a_persons_own_is_limited_too() {
    let world = strict_at_the_minute().await;
    let acme = world.tenant("acme").await;
    start_of_minute(&world);
    let mine = async || world.get("/api/v1/auth/sessions").token(&acme.owner.token).send().await;
    let end_others = async || world.delete("/api/v1/auth/sessions").token(&acme.owner.token).send().await;
    for _ in 0..120 {
        mine().await.expect(200);
    }
    for _ in 0..60 {
        end_others().await.expect(200);
    }
    assert_eq!(mine().await.expect(429).details()["quota"], "api-read");
    assert_eq!(end_others().await.expect(429).details()["quota"], "api");
    world.advance(SignedDuration::from_mins(1));
    mine().await.expect(200);
    end_others().await.expect(200);
}

#[tokio::test]
async fn a_plan_may_replace_the_rate() {
    let settings = Settings { strict: true, plans: json!({"free": {"requests_per_minute": 3}}), ..Settings::default() };
    let world = World::with(settings).await;
    let acme = world.tenant("acme").await;
    start_of_minute(&world);
    for _ in 0..3 {
        assert_eq!(get(&world, &acme.owner).await.expect(200).header("x-ratelimit-limit"), "3");
    }
    get(&world, &acme.owner).await.expect(429);
}

#[tokio::test]
async fn ten_sign_ins_a_minute_pass_for_an_address_from_one_place() {
    let world = strict_at_the_minute().await;
    let acme = world.tenant("acme").await;
    start_of_minute(&world);
    for _ in 0..10 {
        login(&world, &acme.owner.email, "203.0.113.1").await.expect(200);
    }
    let refused = login(&world, &acme.owner.email.to_uppercase(), "203.0.113.1").await.expect(429);
    assert_eq!((&refused.details()["quota"], refused.header("retry-after")), (&json!("api-auth"), "60"));
    login(&world, &acme.owner.email, "203.0.113.2").await.expect(200);
    login(&world, "nobody@example.com", "203.0.113.1").await.expect(422);
    // Registrations of the address count towards the same ten. Password resets have ten of their own.
    let again = json!({"name": "x", "email": acme.owner.email, "password": "correct horse", "company_name": "x"});
    world.post("/api/v1/auth/register").at_ip("203.0.113.1").json(again).send().await.expect(429);
    let forgot = || world.post("/api/v1/auth/forgot-password").at_ip("203.0.113.1").json(json!({"email": acme.owner.email})).send();
    for _ in 0..10 {
        forgot().await.expect(202);
    }
    assert_eq!(forgot().await.expect(429).details()["quota"], "api-auth-forgot");
    world.advance(SignedDuration::from_mins(1));
    login(&world, &acme.owner.email, "203.0.113.1").await.expect(200);
}

#[tokio::test]
async fn known_and_unknown_addresses_are_limited_alike() {
    let world = strict_at_the_minute().await;
    let acme = world.tenant("acme").await;
    start_of_minute(&world);
    let mut refused = vec![];
    for (email, ip) in [(acme.owner.email.as_str(), "203.0.113.1"), ("nobody@example.com", "203.0.113.2")] {
        for _ in 0..10 {
            wrong_login(&world, email, ip).await.expect(422);
        }
        refused.push(wrong_login(&world, email, ip).await.expect(429).fingerprint());
    }
    assert_eq!(refused[0], refused[1]);
}

#[tokio::test]
async fn one_place_does_not_try_many_addresses() {
    let settings = Settings { strict: true, variables: vec![("RATE_AUTH_IP", "5".into())], ..Settings::default() };
    let world = World::with(settings).await;
    start_of_minute(&world);
    for number in 0..5 {
        wrong_login(&world, &format!("nobody{number}@example.com"), "203.0.113.1").await.expect(422);
    }
    let refused = wrong_login(&world, "nobody9@example.com", "203.0.113.1").await.expect(429);
    assert_eq!(refused.details()["quota"], "api-auth-ip");
    wrong_login(&world, "nobody9@example.com", "203.0.113.2").await.expect(422);
}

#[tokio::test]
async fn failures_close_the_place_they_come_from_and_no_other() {
    let settings = Settings { strict: true, variables: vec![("RATE_AUTH_FAILURES", "4".into())], ..Settings::default() };
    let world = World::with(settings).await;
    let acme = world.tenant("acme").await;
    start_of(&world, 900);
    for _ in 0..4 {
        wrong_login(&world, &acme.owner.email, "203.0.113.1").await.expect(422);
    }
    let refused = login(&world, &acme.owner.email, "203.0.113.1").await.expect(429);
    assert_eq!((&refused.details()["quota"], refused.header("retry-after")), (&json!("api-auth-failures"), "900"));
    // Neither another e-mail nor another network is affected, and the right password is not a failure.
    wrong_login(&world, "nobody@example.com", "203.0.113.1").await.expect(422);
    for number in 0..6 {
        login(&world, &acme.owner.email, &format!("203.0.113.{}", 10 + number)).await.expect(200);
    }
    world.advance(SignedDuration::from_secs(900));
    login(&world, &acme.owner.email, "203.0.113.1").await.expect(200);
}

#[tokio::test]
async fn ten_thousand_failures_from_elsewhere_lock_nobody_out() {
    let world = World::strict().await;
    let acme = world.tenant("acme").await;
    login(&world, &acme.owner.email, "203.0.113.1").await.expect(200);
    start_of(&world, 900);
    for number in 0..60 {
        wrong_login(&world, &acme.owner.email, &format!("198.18.{number}.1")).await.expect(422);
    }
    // As if thousands more had arrived by now.
    let counter = |item: &Value| item["pk"]["S"].as_str().is_some_and(|pk| pk.starts_with("G#rate#api-auth-failures-anywhere#"));
    let counted = world.items().into_iter().find(counter).expect("failures are counted for the e-mail");
    assert_eq!(counted["n"]["N"], "60");
    world.change_item(counted["pk"]["S"].as_str().unwrap(), counted["sk"]["S"].as_str().unwrap(), |item| item["n"] = json!({"N": "10000"}));
    // From the owner's earlier networks without a limit, and from a new network too.
    for _ in 0..8 {
        login(&world, &acme.owner.email, "203.0.113.1").await.expect(200);
    }
    login(&world, &acme.owner.email, "203.0.113.99").await.expect(200);
    let forgot = world.post("/api/v1/auth/forgot-password").at_ip("203.0.113.98").json(json!({"email": acme.owner.email}));
    forgot.send().await.expect(202);
    // A guesser has three attempts from each network instead of fifty, and an IPv6 network counts as one.
    for network in ["198.19.0.1", "2001:db8:1:2::"] {
        for number in 0..4 {
            let ip = if network.contains(':') { format!("{network}{number}") } else { network.to_owned() };
            wrong_login(&world, &acme.owner.email, &ip).await.expect(if number < 3 { 422 } else { 429 });
        }
    }
    // Thirty days later the network is like any other. Nothing was locked in the meantime.
    world.advance(SignedDuration::from_hours(24 * 31));
    login(&world, &acme.owner.email, "203.0.113.1").await.expect(200);
}

#[tokio::test]
async fn a_network_where_others_fail_stays_open_to_those_who_logged_in_there() {
    let variables = vec![("RATE_AUTH_FAILURES_IP", "5".into()), ("RATE_AUTH_IP", "20".into())];
    let world = World::with(Settings { strict: true, variables, ..Settings::default() }).await;
    let (acme, beta) = (world.tenant("acme").await, world.tenant("beta").await);
    login(&world, &acme.owner.email, "203.0.113.1").await.expect(200);
    start_of(&world, 900);
    for number in 0..5 {
        wrong_login(&world, &format!("nobody{number}@example.com"), "203.0.113.1").await.expect(422);
    }
    let refused = login(&world, &beta.owner.email, "203.0.113.1").await.expect(429);
    assert_eq!(refused.details()["quota"], "api-auth-failures-ip");
    login(&world, &acme.owner.email, "203.0.113.1").await.expect(200);
    for number in 0..20 {
        wrong_login(&world, &format!("nobody{number}@example.com"), "203.0.113.1").await.expect(429);
    }
    let crowded = login(&world, &beta.owner.email, "203.0.113.1").await.expect(429);
    assert_eq!(crowded.details()["quota"], "api-auth-ip");
    login(&world, &acme.owner.email, "203.0.113.1").await.expect(200);
    login(&world, &beta.owner.email, "203.0.113.2").await.expect(200);
}

#[tokio::test]
async fn credentials_that_are_none_are_counted_by_place_and_refused_from_memory() {
    let world = World::with(Settings { strict: true, variables: vec![("RATE_CREDENTIALS", "5".into())], ..Settings::default() }).await;
    let acme = world.tenant("acme").await;
    let made = world.post("/api/tenant-api-key").token(&acme.owner.token).json(json!({"name": "CI", "scopes": ["projects:*"]}));
    let key = made.send().await.expect(201).json()["apiKey"].as_str().expect("a key").to_owned();
    start_of_minute(&world);
    let forged = format!("{}A", acme.owner.token);
    let ask = |credential: &str| world.get("/api/v1/projects").at_ip("203.0.113.1").token(credential).send();
    for _ in 0..5 {
        assert_eq!(ask(&forged).await.expect(401).header("x-ratelimit-limit"), "");
    }
    let refused = ask(&forged).await.expect(429);
    assert_eq!((&refused.details()["quota"], refused.header("retry-after")), (&json!("api-credentials"), "60"));
    let refused = ask(&forged).await.expect(429);
    assert_eq!(refused.metered.expect("metered").write_units, 0.0, "what is used up is known without a write");
    // Invalid credentials do not block a valid one, nor anybody in another network.
    ask(&acme.owner.token).await.expect(200);
    ask(&key).await.expect(200);
    world.get("/api/v1/projects").at_ip("203.0.113.2").token(&forged).send().await.expect(401);
    world.get("/api/v1/projects").at_ip("203.0.113.1").send().await.expect(401);
    world.advance(SignedDuration::from_mins(1));
    ask(&forged).await.expect(401);
}

#[tokio::test]
async fn the_daily_quota_is_exact_across_two_instances_and_begins_anew_at_midnight() {
    let world = quota(100, vec![]).await;
    let acme = world.tenant("acme").await;
    start_of(&world, 86_400);
    world.advance(SignedDuration::from_hours(23));
    // The session must be valid for longer than the window.
    let instances = [world.clone(), world.another_instance().await];
    let mut passed = 0;
    for number in 0..160 {
        let answer = get(&instances[number % 2], &acme.owner).await;
        passed += u32::from(answer.status == 200);
        assert!([200, 429].contains(&answer.status), "{}", answer.text);
    }
    assert_eq!(passed, 100);
    for world in &instances {
        let refused = get(world, &acme.owner).await.expect(429);
        assert_eq!(refused.details(), json!({"quota": "api_requests_per_day", "limit": 100, "retry_after": 3600}));
        assert_eq!(refused.header("retry-after"), "3600");
        assert!(refused.header("ratelimit").contains("\"day\";r=0;t=3600"), "{}", refused.header("ratelimit"));
        // X-RateLimit-* name the limit that refused.
        assert_eq!((refused.header("x-ratelimit-limit"), refused.header("x-ratelimit-remaining")), ("100", "0"));
        assert!(refused.header("ratelimit").starts_with("\"day\";r=0;t=3600, \"api-read\";r="), "{}", refused.header("ratelimit"));
    }
    // Another tenant has its own quota.
    let beta = world.tenant("beta").await;
    get(&world, &beta.owner).await.expect(200);
    world.advance(SignedDuration::from_secs(3599));
    get(&world, &acme.owner).await.expect(429);
    world.advance(SignedDuration::from_secs(1));
    for world in &instances {
        get(world, &acme.owner).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_daily_quota_is_exact_under_concurrent_requests() {
    let world = quota(700, vec![]).await;
    let acme = world.tenant("acme").await;
    start_of(&world, 86_400);
    let instances = [world.clone(), world.another_instance().await];
    let mut passed = 0;
    for _ in 0..10 {
        let answers = futures_util::future::join_all((0..80).map(|number| get(&instances[number % 2], &acme.owner))).await;
        passed += answers.iter().filter(|answer| answer.status == 200).count();
    }
    assert_eq!(passed, 700);
}

#[tokio::test]
async fn reported_limits_are_counted_and_never_refused() {
    let variables = vec![("RATE_LIMITS", "report".into()), ("RATE_READ", "3".into()), ("RATE_AUTH", "2".into())];
    let world = quota(5, variables).await;
    let acme = world.tenant("acme").await;
    start_of_minute(&world);
    for left in [2, 1, 0, 0, 0, 0, 0, 0] {
        let answer = get(&world, &acme.owner).await.expect(200);
        assert_eq!((answer.header("x-ratelimit-limit"), answer.header("x-ratelimit-remaining")), ("3", left.to_string().as_str()));
    }
    for _ in 0..4 {
        login(&world, &acme.owner.email, "203.0.113.1").await.expect(200);
    }
}

#[tokio::test]
async fn limits_cost_one_write_a_request_and_little_more() {
    for plan in ["free", "basic", "enterprise"] {
        let variables = vec![("RATE_READ", "100000".into())];
        let world = World::with(Settings { strict: true, variables, ..Settings::default() }).await;
        let acme = world.tenant("acme").await;
        world.change_item(&format!("T#{}#tenant", acme.id), "profile", |tenant| tenant["plan"] = json!({"S": plan}));
        let run = async |requests: u32| {
            let mut writes = 0.0;
            for _ in 0..requests {
                let answer = get(&world, &acme.owner).await.expect(200);
                writes += answer.metered.map_or(0.0, |metered| metered.write_units);
            }
            writes / f64::from(requests)
        };
        // A lease is a sixteenth of the day's requests so far, so the first thirty-two are leased one by one.
        assert_eq!(run(30).await, 2.0, "{plan}");
        run(300).await;
        let writes = run(200).await;
        assert!(writes <= 1.05, "{plan}: {writes} writes a request");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_validation_refuses_spends_nothing_of_the_day() {
    let world = quota(40, vec![]).await;
    let acme = world.tenant("acme").await;
    start_of(&world, 86_400);
    let invalid = |world: &World, number: usize| {
        let request = match number % 5 {
            0 => world.post(PROJECTS).json(json!({"name": ""})),
            1 => world.post(PROJECTS).raw(b"{"),
            2 => world.get(format!("{PROJECTS}?page=0")),
            3 => world.get(format!("{PROJECTS}?page=1&page=2")),
            _ => world.post(PROJECTS).header("content-encoding", "gzip").json(json!({"name": "x"})),
        };
        request.token(&acme.owner.token).send()
    };
    let first = invalid(&world, 0).await.expect(422);
    assert!(first.header("ratelimit").contains("\"day\";r=40;"), "{}", first.header("ratelimit"));
    for number in 0..100 {
        assert!([400, 415, 422].contains(&invalid(&world, number).await.status));
    }
    // Also in a race with requests that are valid.
    let instances = [world.clone(), world.another_instance().await];
    let mut passed = 0;
    for _ in 0..4 {
        let answers = futures_util::future::join_all((0..60).map(|number| {
            let world = &instances[number % 2];
            let (invalid, owner) = (&invalid, &acme.owner);
            async move { if number % 3 == 0 { invalid(world, number / 3).await } else { get(world, owner).await } }
        }));
        passed += answers.await.iter().filter(|answer| answer.status == 200).count();
    }
    assert_eq!(passed, 40);
    // When the day is used up, everything is refused for that reason.
    invalid(&world, 0).await.expect(429);
}

#[tokio::test]
async fn a_refusal_names_the_policy_that_refused() {
    let variables = vec![("RATE_READ", "3".into()), ("DEMO_PER_HOUR", "1".into()), ("RATE_AUTH", "1".into()), ("RATE_AUTH_IP", "2".into())];
    let world = World::with(Settings { strict: true, variables, ..Settings::default() }).await;
    let acme = world.tenant("acme").await;
    start_of(&world, 3600);
    let refused_by = |answer: Answer, policy: &str, limit: u64, window: Option<u64>| {
        let answer = answer.expect(429);
        let retry_after: i64 = answer.header("retry-after").parse().expect("seconds");
        let says = |name: &str| answer.header(name).to_owned();
        assert!(says("ratelimit").starts_with(&format!("\"{policy}\";r=0;t={retry_after}")), "{policy}: {}", says("ratelimit"));
        let window = window.map(|window| format!(";w={window}")).unwrap_or_default();
        let policies = says("ratelimit-policy");
        assert_eq!(policies.split(", ").next(), Some(format!("\"{policy}\";q={limit}{window}").as_str()), "{policies}");
        assert_eq!(policies.matches(&format!("\"{policy}\"")).count(), 1, "{policies}");
        assert_eq!((says("x-ratelimit-limit"), says("x-ratelimit-remaining")), (limit.to_string(), "0".to_owned()));
        let resets_at = world.auth.clock().now().as_second() + retry_after;
        assert_eq!(says("x-ratelimit-reset"), resets_at.to_string());
    };
    let read = |tenant: &'static str| world.get(PROJECTS).token(&acme.owner.token).header("x-tenant-id", tenant).send();
    for _ in 0..3 {
        get(&world, &acme.owner).await.expect(200);
    }
    refused_by(get(&world, &acme.owner).await, "api-read", 3, Some(60));
    // Also when the caller does not learn about a tenant.
    refused_by(read("unknown-tenant").await, "api-read", 3, Some(60));
    let demo = || world.post("/api/v1/demo").at_ip("203.0.113.7").json(json!({})).send();
    demo().await.expect(422);
    refused_by(demo().await, "demo", 1, Some(3600));
    login(&world, "a@example.com", "203.0.113.8").await.expect(422);
    refused_by(login(&world, "a@example.com", "203.0.113.8").await, "api-auth", 1, Some(60));
    refused_by(login(&world, "b@example.com", "203.0.113.8").await, "api-auth-ip", 2, Some(60));
    // A key's own limit, and one of a resource.
    let body = json!({"name": "k", "rate_limit": 1});
    let key = world.post("/v1/api-keys").token(&acme.owner.token).json(body).send().await.expect(201).json()["data"]["key"].clone();
    let with_key = || world.get(PROJECTS).token(key.as_str().expect("a key")).send();
    with_key().await.expect(200);
    refused_by(with_key().await, "api-read", 1, Some(60));
    let refresh =
        || world.post(format!("/api/tenants/{}/refresh-cache", acme.slug)).token(&acme.owner.token).json(json!({"type": "all"})).send();
    for _ in 0..10 {
        refresh().await.expect(200);
    }
    refused_by(refresh().await, "refresh-cache", 10, Some(60));
}

#[tokio::test]
async fn so_many_demos_at_a_time_is_a_policy_without_a_window() {
    let variables = vec![("DEMO_MAX_ACTIVE", "1".into())];
    let world = World::with(Settings { strict: true, variables, ..Settings::default() }).await;
    let demo = |name: &str| {
        let body = json!({"email": format!("{name}@example.com"), "name": name, "company_name": name});
        world.post("/api/v1/demo").json(body).send()
    };
    demo("one").await.expect(201);
    let refused = demo("two").await.expect(429);
    assert!(
        refused.header("ratelimit-policy").starts_with("\"active_demos\";q=1, \"demo\";q=3;w=3600"),
        "{}",
        refused.header("ratelimit-policy")
    );
    assert_eq!((refused.header("x-ratelimit-limit"), refused.header("x-ratelimit-remaining")), ("1", "0"));
}

async fn strict_at_the_minute() -> World {
    let world = World::strict().await;
    start_of_minute(&world);
    world
}

/// The seeded plans with a daily quota of `limit` and without other limits.
async fn quota(limit: u64, variables: Vec<(&'static str, String)>) -> World {
    let plans = json!({"free": {"api_requests_per_day": limit}});
    World::with(Settings { plans, variables, ..Settings::default() }).await
}

fn start_of_minute(world: &World) {
    start_of(world, 60);
}

/// Advances to the beginning of a window of this many seconds.
fn start_of(world: &World, seconds: i64) {
    let now = world.auth.clock().now();
    let begins = Timestamp::from_second((now.as_second() / seconds + 1) * seconds).expect("a moment");
    world.advance(begins.duration_since(now));
}

#[track_caller]
fn says(world: &World, answer: &Answer, limit: u64, remaining: u64, seconds: i64) {
    let resets_at = world.auth.clock().now().as_second() + seconds;
    let said = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"].map(|name| answer.header(name).parse::<i64>().ok());
    assert_eq!(said, [i64::try_from(limit).ok(), i64::try_from(remaining).ok(), Some(resets_at)]);
    assert!(answer.header("ratelimit-policy").contains(&format!(";q={limit};w=60")), "{}", answer.header("ratelimit-policy"));
    assert!(answer.header("ratelimit").contains(&format!(";r={remaining};t={seconds}")), "{}", answer.header("ratelimit"));
    assert_eq!(answer.header("retry-after").is_empty(), answer.status != 429);
}

async fn get(world: &World, caller: &Caller) -> Answer {
    world.get(PROJECTS).token(&caller.token).send().await
}

async fn create(world: &World, caller: &Caller, name: &str) -> Answer {
    world.post(PROJECTS).token(&caller.token).json(json!({"name": name})).send().await
}

async fn login(world: &World, email: &str, ip: &str) -> Answer {
    sign_in(world, json!({"email": email, "password": "correct horse"}), ip).await
}

async fn wrong_login(world: &World, email: &str, ip: &str) -> Answer {
    sign_in(world, json!({"email": email, "password": "wrong horse"}), ip).await
}

async fn sign_in(world: &World, body: Value, ip: &str) -> Answer {
    world.post("/api/v1/auth/login").at_ip(ip).json(body).send().await
}
