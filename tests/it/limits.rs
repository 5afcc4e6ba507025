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
    // Refusals count and say so too, whatever they are refused for.
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
    // What is known to be used up is refused without a write.
    let refused = create(&world, &acme.owner, "x").await.expect(429);
    assert_eq!(refused.metered.map(|metered| metered.write_units), Some(0.0));
    // Another person of the same tenant has his own.
    get(&world, &other).await.expect(200);

    world.advance(SignedDuration::from_secs(44));
    get(&world, &acme.owner).await.expect(429);
    world.advance(SignedDuration::from_secs(1));
    let fresh = get(&world, &acme.owner).await.expect(200);
    says(&world, &fresh, 120, 119, 60);
    create(&world, &acme.owner, "x").await.expect(201);
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
    // Forgotten passwords and registrations of the address come out of the same ten.
    let forgot = world.post("/api/v1/auth/forgot-password").at_ip("203.0.113.1").json(json!({"email": acme.owner.email}));
    forgot.send().await.expect(429);
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
async fn failures_of_one_address_are_limited_wherever_they_come_from() {
    let settings = Settings { strict: true, variables: vec![("RATE_AUTH_FAILURES", "4".into())], ..Settings::default() };
    let world = World::with(settings).await;
    let acme = world.tenant("acme").await;
    start_of(&world, 900);
    for _ in 0..3 {
        wrong_login(&world, &acme.owner.email, "203.0.113.1").await.expect(422);
    }
    // The right password is no failure.
    for number in 0..6 {
        login(&world, &acme.owner.email, &format!("203.0.113.{}", 10 + number)).await.expect(200);
    }
    wrong_login(&world, &acme.owner.email, "203.0.113.20").await.expect(422);
    let refused = wrong_login(&world, &acme.owner.email, "203.0.113.30").await.expect(429);
    assert_eq!(refused.details()["quota"], "api-auth-failures");
    assert_eq!(refused.header("retry-after"), "900");
    world.advance(SignedDuration::from_secs(900));
    login(&world, &acme.owner.email, "203.0.113.30").await.expect(200);
}

#[tokio::test]
async fn the_daily_quota_is_exact_across_two_instances_and_begins_anew_at_midnight() {
    let world = quota(100, vec![]).await;
    let acme = world.tenant("acme").await;
    start_of(&world, 86_400);
    world.advance(SignedDuration::from_hours(23));
    // A session lives longer than that.
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
        // The per-minute limit is the one that X-RateLimit-* names.
        assert_ne!(refused.header("x-ratelimit-limit"), "100");
    }
    // Another tenant has its own.
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
        // A lease is a sixteenth of the day so far: the first thirty-two are leased one by one.
        assert_eq!(run(30).await, 2.0, "{plan}");
        run(300).await;
        let writes = run(200).await;
        assert!(writes <= 1.05, "{plan}: {writes} writes a request");
    }
}

async fn strict_at_the_minute() -> World {
    let world = World::strict().await;
    start_of_minute(&world);
    world
}

/// Seeded plans but for a daily quota of `limit`, and no other limit in the way.
async fn quota(limit: u64, variables: Vec<(&'static str, String)>) -> World {
    let plans = json!({"free": {"api_requests_per_day": limit}});
    World::with(Settings { plans, variables, ..Settings::default() }).await
}

fn start_of_minute(world: &World) {
    start_of(world, 60);
}

/// Goes forward to where a window of so many seconds begins.
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
