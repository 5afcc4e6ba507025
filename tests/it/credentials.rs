//! What makes a credential valid: forged and altered tokens, headers, expiry, revocation, identity providers, key rotation.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::lifecycle::Workers;
use crate::world::{Caller, PUBLIC_URL, Settings, World, claims_of, id, write_session_keys};
use shared::lock::Lock;

/// Signs tokens byte by byte, with the deployment's key or another one, so that a test can put anything into them.
pub struct Minter {
    pair: EcdsaKeyPair,
    pub kid: String,
}

impl Minter {
    /// With the key that currently signs sessions.
    pub async fn of(world: &World) -> Self {
        let secret = world.auth.secrets().client().get_secret_value().secret_id(&world.environment("auth")["SIGNING_SECRET_ID"]);
        let text = secret.send().await.expect("the signing secret").secret_string.expect("its text");
        let secret: Value = serde_json::from_str(&text).expect("JSON");
        let pkcs8 = STANDARD.decode(secret["pkcs8"].as_str().expect("a key")).expect("base64");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).expect("a P-256 key");
        Minter { pair, kid: secret["kid"].as_str().expect("a key id").to_owned() }
    }

    /// With a new key under any name.
    pub fn stranger(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        Minter { pair, kid: kid.to_owned() }
    }

    pub fn header(&self) -> Value {
        json!({"typ": "at+jwt", "alg": "ES256", "kid": self.kid})
    }

    pub fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.kid,
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..65]),
        })
    }

    pub fn token(&self, header: &Value, claims: &Value) -> String {
        self.text(&header.to_string(), &claims.to_string())
    }

    /// Header and claims as text, for content that a JSON value cannot express.
    pub fn text(&self, header: &str, claims: &str) -> String {
        let signed = unsigned(header, claims);
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    pub fn unsigned(&self, claims: &Value) -> String {
        let header = json!({"typ": "at+jwt", "alg": "none", "kid": self.kid});
        format!("{}.", unsigned(&header.to_string(), &claims.to_string()))
    }

    /// The classic confusion: the public key used as an HMAC secret.
    pub async fn with_public_key_as_secret(&self, world: &World, claims: &Value) -> String {
        let published = world.get("/.well-known/jwks.json").send().await.expect(200).json();
        assert_eq!(published["keys"][0]["x"], self.jwk()["x"]);
        hmac_token(&json!({"typ": "at+jwt", "alg": "HS256", "kid": self.kid}), claims, self.pair.public_key().as_ref())
    }
}

#[tokio::test]
async fn altered_tokens_open_neither_reads_nor_writes() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let altered = altered_tokens(&world, &own.owner).await;
    assert!(altered.len() >= 60, "{}", altered.len());
    // Both functions remember the token itself, but must not accept a similar one.
    world.get("/api/v1/projects").token(&own.owner.token).send().await.expect(200);
    world.get("/api/v1/auth/sessions").token(&own.owner.token).send().await.expect(200);
    let before = everything(&world);
    let anonymous = world.get("/api/v1/projects").send().await.expect(401).fingerprint();
    for (what, token) in &altered {
        assert_ne!(token, &own.owner.token, "{what} is the token itself");
        for request in [
            world.get("/api/v1/projects"),
            world.post("/api/v1/projects").json(json!({"name": "No"})),
            world.get("/api/v1/auth/sessions"),
            world.delete("/api/v1/auth/sessions"),
            world.get("/api/v1/tenant/members"),
        ] {
            let answer = request.token(token).send().await;
            assert_eq!(answer.status, 401, "{what} is taken: {}", answer.text);
        }
        assert_eq!(world.get("/api/v1/projects").token(token).send().await.fingerprint(), anonymous, "{what} is told apart");
    }
    assert_eq!(everything(&world), before);
    world.get("/api/v1/projects").token(&own.owner.token).send().await.expect(200);
    // A check of the minter itself: a token with the same claims is valid.
    let minter = Minter::of(&world).await;
    world.get("/api/v1/projects").token(&minter.token(&minter.header(), &claims_of(&own.owner.token))).send().await.expect(200);
}

#[tokio::test]
async fn a_request_gives_one_credential_of_one_kind_once() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let other = world.tenant("globex").await;
    for (path, method) in
        [("/api/v1/projects", "GET"), ("/api/v1/projects", "POST"), ("/api/v1/auth/me", "GET"), ("/api/v1/auth/sessions", "GET")]
    {
        let request = || world.request(method, path).json(json!({"name": "One"}));
        for second in [&own.owner.token, &other.owner.token, &"garbage".to_owned()] {
            let answer = request().token(&own.owner.token).token(second).send().await.expect(400);
            assert_eq!(answer.code(), "BAD_REQUEST");
        }
        request().token(&own.owner.token).header("x-api-key", "tf_live_anything").send().await.expect(400);
        request().header("x-api-key", "one").header("x-api-key", "two").send().await.expect(400);
        request().header("x-api-key", "tf_live_anything").send().await.expect(401);
        // As API Gateway joins a repeated header.
        let joined = format!("Bearer {}, Bearer {}", own.owner.token, other.owner.token);
        request().header("authorization", &joined).send().await.expect(400);
        let oversized = format!("{}{}", own.owner.token, "A".repeat(4096));
        request().token(&oversized).send().await.expect(401);
        request().token(&"A".repeat(200_000)).send().await.expect(401);
    }
    let scheme = format!("bearer {}", own.owner.token);
    world.get("/api/v1/projects").header("authorization", &scheme).send().await.expect(200);
}

#[tokio::test]
async fn a_lower_role_holds_from_the_next_request_on() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let admin = world.member(&own, "admin").await;
    let elsewhere = world.another_instance().await;
    let create = async |world: &World| world.post("/api/v1/projects").token(&admin.token).json(json!({"name": "New"})).send().await.status;
    assert_eq!((create(&world).await, create(&elsewhere).await), (201, 201));
    set_role(&world, &own.owner, &admin, "member").await;
    assert_eq!((create(&world).await, create(&elsewhere).await), (403, 403));
    set_role(&world, &own.owner, &admin, "admin").await;
    assert_eq!((create(&world).await, create(&elsewhere).await), (201, 201));
    world.delete(format!("/api/v1/tenant/members/{}", admin.id)).token(&own.owner.token).send().await.expect(200);
    assert_eq!((create(&world).await, create(&elsewhere).await), (401, 401));
}

#[tokio::test]
async fn a_logout_holds_from_the_next_request_on_and_ends_one_session_only() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let elsewhere = world.another_instance().await;
    let phone = world.login(&own.owner.email, &own.owner.password).await;
    elsewhere.get("/api/v1/projects").token(&phone.token).send().await.expect(200);
    world.post("/api/v1/auth/logout").token(&phone.token).send().await.expect(200);
    for world in [&world, &elsewhere] {
        world.get("/api/v1/projects").token(&phone.token).send().await.expect(401);
        world.get("/api/v1/auth/sessions").token(&phone.token).send().await.expect(401);
        world.get("/api/v1/projects").token(&own.owner.token).send().await.expect(200);
    }
    world.post("/api/v1/auth/logout").token(&phone.token).send().await.expect(401);
}

#[tokio::test]
async fn a_session_lasts_its_days_and_no_longer() {
    let world = World::with(Settings { variables: vec![("SESSION_DAYS", "3".into())], ..Settings::default() }).await;
    let own = world.tenant("acme").await;
    let claims = claims_of(&own.owner.token);
    assert_eq!(claims["exp"].as_i64().zip(claims["iat"].as_i64()).map(|(exp, iat)| exp - iat), Some(3 * 86_400));
    world.advance(SignedDuration::from_secs(3 * 86_400 - 2));
    world.get("/api/v1/projects").token(&own.owner.token).send().await.expect(200);
    // A token with a longer lifetime still ends with its session's record.
    let minter = Minter::of(&world).await;
    let mut longer = claims.clone();
    longer["exp"] = json!(claims["exp"].as_i64().unwrap_or_default() + 1_000_000);
    let longer = minter.token(&minter.header(), &longer);
    world.get("/api/v1/projects").token(&longer).send().await.expect(200);
    world.advance(SignedDuration::from_secs(2 + 31));
    for token in [&own.owner.token, &longer] {
        world.get("/api/v1/projects").token(token).send().await.expect(401);
        world.get("/api/v1/auth/sessions").token(token).send().await.expect(401);
    }
    let again = world.login(&own.owner.email, &own.owner.password).await;
    world.get("/api/v1/projects").token(&again.token).send().await.expect(200);
}

#[tokio::test]
async fn clocks_may_differ_by_thirty_seconds() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let minter = Minter::of(&world).await;
    let now = world.auth.clock().now().as_second();
    for (claim, offset, status) in [("exp", -29, 200), ("exp", -30, 401), ("exp", -31, 401), ("iat", 30, 200), ("iat", 31, 401)] {
        let mut claims = claims_of(&own.owner.token);
        claims[claim] = json!(now + offset);
        let answer = world.get("/api/v1/projects").token(&minter.token(&minter.header(), &claims)).send().await;
        assert_eq!(answer.status, status, "{claim} {offset}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_token_that_was_seen_before_opens_no_longer_than_it_says() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let minter = Minter::of(&world).await;
    let now = world.auth.clock().now().as_second();
    let mut claims = claims_of(&own.owner.token);
    claims["exp"] = json!(now + 5);
    let brief = minter.token(&minter.header(), &claims);
    for seconds in [0, 5, 29] {
        world.advance(SignedDuration::from_secs(seconds));
        world.get("/api/v1/projects").token(&brief).send().await.expect(200);
    }
    world.advance(SignedDuration::from_secs(1));
    world.get("/api/v1/projects").token(&brief).send().await.expect(401);
    // Its session still exists: only the token had ended.
    world.get("/api/v1/projects").token(&own.owner.token).send().await.expect(200);
    // Any other text is another token, whatever its signature says.
    let (signed, signature) = own.owner.token.rsplit_once('.').expect("a token");
    for place in 0..signature.len() {
        let mut other = signature.as_bytes().to_vec();
        other[place] = if other[place] == b'A' { b'B' } else { b'A' };
        let other = format!("{signed}.{}", String::from_utf8(other).expect("text"));
        world.get("/api/v1/projects").token(&other).send().await.expect(401);
    }
    world.post("/api/v1/auth/logout").token(&own.owner.token).send().await.expect(200);
    world.get("/api/v1/projects").token(&own.owner.token).send().await.expect(401);
}

#[tokio::test]
async fn keys_are_rotated_without_ending_a_session() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let (old, cold) = (own.owner.token.clone(), world.another_instance().await);
    let first = published(&world).await;
    // Both are public, and the new one signs. Tokens of both are valid, even in instances that have not seen the new key.
    write_session_keys(&world.auth, world.environment("auth"), "key-2").await;
    let second = published(&world).await;
    publish(&world, &[&first[..], &second[..]].concat()).await;
    world.advance(SignedDuration::from_mins(6));
    let new = world.login(&own.owner.email, &own.owner.password).await.token;
    assert_eq!([&old, &new].map(|token| header_of(token)["kid"].clone()), ["key-1", "key-2"]);
    for world in [&world, &cold] {
        for token in [&old, &new] {
            world.get("/api/v1/projects").token(token).send().await.expect(200);
            world.get("/api/v1/auth/me").token(token).send().await.expect(200);
        }
    }
    let document = world.get("/.well-known/jwks.json").send().await.expect(200).json();
    assert_eq!(document["keys"].as_array().map(Vec::len), Some(2));
    assert!(!document.to_string().contains("\"d\""), "a private part is published");
    // The first is removed: its tokens end when the cached copy does.
    publish(&world, &second).await;
    world.advance(SignedDuration::from_mins(6));
    for world in [&world, &cold] {
        world.get("/api/v1/projects").token(&old).send().await.expect(401);
        world.get("/api/v1/projects").token(&new).send().await.expect(200);
    }
}

#[tokio::test]
async fn a_key_published_after_start_is_found_within_ten_seconds() {
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let next = Minter::stranger("key-next");
    let token = next.token(&next.header(), &claims_of(&own.owner.token));
    world.get("/api/v1/projects").token(&token).send().await.expect(401);
    let mut keys = published(&world).await;
    keys.push(next.jwk());
    publish(&world, &keys).await;
    world.advance(SignedDuration::from_secs(11));
    world.get("/api/v1/projects").token(&token).send().await.expect(200);
}

#[tokio::test]
async fn an_identity_providers_token_stands_for_the_user_with_its_verified_address() {
    for algorithm in [Algorithm::Es256, Algorithm::Rs256] {
        let provider = Provider::start(algorithm);
        let world = provider.world().await;
        let own = world.tenant("acme").await;
        let project = world.project(&own.owner, "Own").await;
        let token = provider.token(&provider.claims(&world, "subject-1", &own.owner.email));
        let read = async |token: &str| world.get(format!("/api/v1/projects/{}", id(&project))).token(token).send().await;
        read(&token).await.expect(200);
        assert_eq!(world.get("/api/v1/auth/me").token(&token).send().await.expect(200).json()["data"]["email"], own.owner.email.as_str());
        // From here on the subject decides. The same subject with another address is the same person. An address that moved to another
        // subject at the provider belongs to the second subject.
        let mut renamed = provider.claims(&world, "subject-1", "new-name@example.com");
        renamed["email_verified"] = json!(false);
        read(&provider.token(&renamed)).await.expect(200);
    }
}

#[tokio::test]
async fn an_identity_providers_token_must_hold_in_every_part() {
    let provider = Provider::start(Algorithm::Es256);
    let world = provider.world().await;
    let own = world.tenant("acme").await;
    let now = world.auth.clock().now().as_second();
    let before = everything(&world);
    let good = provider.claims(&world, "subject-1", &own.owner.email);
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        provider.token(&claims)
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().expect("claims").remove(name);
        provider.token(&claims)
    };
    let header = |value: Value| unsigned(&value.to_string(), &good.to_string());
    let own_key = Minter::of(&world).await;
    let stranger = Provider::start(Algorithm::Es256);
    for (what, token) in [
        ("an unverified address", with("email_verified", json!(false))),
        ("an address of unknown state", without("email_verified")),
        ("a verified address as text", with("email_verified", json!("true"))),
        ("no address", without("email")),
        ("an unknown address", with("email", json!("nobody@example.com"))),
        ("no address of anybody", with("email", json!(""))),
        ("another audience", with("aud", json!("another-application"))),
        ("our own audience", with("aud", json!(PUBLIC_URL))),
        ("no audience", without("aud")),
        ("an unknown issuer", with("iss", json!("https://evil.example.com"))),
        ("a longer issuer", with("iss", json!(format!("{ISSUER}/")))),
        ("our own issuer", with("iss", json!(PUBLIC_URL))),
        ("no issuer", without("iss")),
        ("no subject", without("sub")),
        ("expired", with("exp", json!(now - 30))),
        ("no expiry", without("exp")),
        ("not yet valid", with("nbf", json!(now + 31))),
        ("alg none", format!("{}.", header(json!({"alg": "none", "kid": provider.kid()})))),
        ("HS256", hmac_token(&json!({"alg": "HS256", "kid": provider.kid()}), &good, &provider.public_bytes())),
        ("a stranger's key", stranger.token(&good)),
        ("an unknown key", Minter::stranger("another").token(&json!({"alg": "ES256", "kid": "another"}), &good)),
        ("no key id", provider.token_with(&json!({"alg": "ES256"}), &good)),
        ("another algorithm", provider.token_with(&json!({"alg": "RS256", "kid": provider.kid()}), &good)),
        ("a key in the header", provider.token_with(&json!({"alg": "ES256", "kid": provider.kid(), "jwk": provider.jwk()}), &good)),
        (
            "a link to keys in the header",
            provider.token_with(&json!({"alg": "ES256", "kid": provider.kid(), "jku": "https://evil.example.com"}), &good),
        ),
        ("our session key", own_key.token(&own_key.header(), &good)),
        (
            "the provider's key for one of our sessions",
            provider.token_with(&json!({"typ": "at+jwt", "alg": "ES256", "kid": provider.kid()}), &claims_of(&own.owner.token)),
        ),
    ] {
        for path in ["/api/v1/projects", "/api/v1/auth/sessions"] {
            let answer = world.get(path).token(&token).send().await;
            assert_eq!((answer.status, answer.code().as_str()), (401, "UNAUTHORIZED"), "{what}: {}", answer.text);
        }
    }
    assert_eq!(everything(&world), before, "a refused token left something");
    world.get("/api/v1/projects").token(&provider.token(&good)).send().await.expect(200);
}

#[tokio::test]
async fn an_identity_provider_says_neither_tenant_nor_role() {
    let provider = Provider::start(Algorithm::Es256);
    let world = provider.world().await;
    let own = world.tenant("acme").await;
    let neighbour = world.tenant("globex").await;
    let viewer = world.member(&own, "viewer").await;
    let mut claims = provider.claims(&world, "subject-viewer", &viewer.email);
    for (name, value) in [
        ("tid", neighbour.id.clone()),
        ("tenant_id", neighbour.id.clone()),
        ("org_id", neighbour.id.clone()),
        ("role", "owner".into()),
        ("roles", "owner".into()),
        ("sid", claims_of(&neighbour.owner.token)["sid"].as_str().unwrap_or_default().into()),
    ] {
        claims[name] = json!(value);
    }
    let token = provider.token(&claims);
    let theirs = world.project(&neighbour.owner, "Theirs").await;
    world.get("/api/v1/projects").token(&token).send().await.expect(200);
    world.get(format!("/api/v1/projects/{}", id(&theirs))).token(&token).send().await.expect(404);
    world.get("/api/v1/projects").token(&token).header("x-tenant-id", &neighbour.slug).send().await.expect(404);
    world.post("/api/v1/projects").token(&token).json(json!({"name": "No"})).send().await.expect(403);
    // When a membership ends, the provider's token loses access too.
    world.delete(format!("/api/v1/tenant/members/{}", viewer.id)).token(&own.owner.token).send().await.expect(200);
    let answer = world.get("/api/v1/projects").token(&token).send().await;
    assert!(matches!(answer.status, 401 | 403), "{}", answer.text);
}

#[tokio::test]
async fn a_system_administrator_comes_in_by_no_provider() {
    let provider = Provider::start(Algorithm::Es256);
    let world = provider.world().await;
    let own = world.tenant("acme").await;
    let token = provider.token(&provider.claims(&world, "subject-1", &own.owner.email));
    world.get("/api/v1/projects").token(&token).send().await.expect(200);
    let user = format!("G#user#{}", claims_of(&own.owner.token)["sub"].as_str().expect("a subject"));
    for (is_admin, status) in [(true, 403), (false, 200)] {
        world.change_item(&user, "profile", |user| user["system_admin"] = json!({"BOOL": is_admin}));
        for path in ["/api/v1/projects", "/api/tenants", "/api/v1/auth/sessions"] {
            let answer = world.get(path).token(&token).send().await.expect(status);
            assert_eq!(answer.text.contains("System administrators"), is_admin, "{path}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn an_address_that_changed_hands_at_the_provider_takes_no_account() {
    let provider = Provider::start(Algorithm::Es256);
    let world = provider.world().await;
    let workers = Workers::of(&world);
    let own = world.tenant("acme").await;
    let ask = async |subject: &str| {
        let token = provider.token(&provider.claims(&world, subject, &own.owner.email));
        world.get("/api/v1/projects").token(&token).send().await
    };
    ask("first").await.expect(200);
    for _ in 0..2 {
        assert_eq!(ask("second").await.expect(403).code(), "IDENTITY_CONFLICT");
    }
    ask("first").await.expect(200);
    // Two at once: only one of them is linked.
    let beta = world.tenant("beta").await;
    let of_beta = async |subject: &str| {
        let token = provider.token(&provider.claims(&world, subject, &beta.owner.email));
        world.get("/api/v1/projects").token(&token).send().await.status
    };
    let mut statuses = <[u16; 2]>::from(tokio::join!(of_beta("third"), of_beta("fourth")));
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403]);
    // An operator decides.
    let command = json!({"command": "link-identity", "email": own.owner.email, "issuer": ISSUER, "subject": "second"});
    let done = workers.operate(command.clone()).await.unwrap();
    assert_eq!(workers.operate(command).await.unwrap(), done, "repeated, it changes nothing");
    ask("second").await.expect(200);
    ask("first").await.expect(403);
}

#[tokio::test]
async fn an_older_link_is_the_only_one_of_its_issuer_once_it_is_used() {
    let provider = Provider::start(Algorithm::Es256);
    let world = provider.world().await;
    let own = world.tenant("acme").await;
    let ask = async |subject: &str| {
        let token = provider.token(&provider.claims(&world, subject, &own.owner.email));
        world.get("/api/v1/projects").token(&token).send().await.status
    };
    assert_eq!(ask("first").await, 200);
    let links: Vec<Value> = world.items().into_iter().filter(|item| item["type"]["S"] == "identity").collect();
    world.change_item(links[0]["pk"]["S"].as_str().unwrap(), "owner", |link| drop(link.as_object_mut().unwrap().remove("paired")));
    assert_eq!((ask("first").await, ask("second").await, ask("first").await), (200, 403, 200));
}

#[tokio::test]
async fn an_identity_provider_links_no_account_that_has_not_proven_its_address() {
    let provider = Provider::start(Algorithm::Es256);
    let world = provider.world().await;
    world.tenant("acme").await;
    let ask = async |email: &str| {
        let token = provider.token(&provider.claims(&world, "subject", email));
        world.get("/api/v1/auth/sessions").token(&token).send().await
    };
    let body = json!({"name": "Eve", "email": "v@example.com", "password": "the squatter's", "company_name": "Eve"});
    world.post("/api/v1/auth/register").json(body.clone()).send().await.expect(202);
    ask("v@example.com").await.expect(401);
    world.post("/api/v1/demo").json(json!({"email": "v@example.com", "name": "Eve", "company_name": "Eve"})).send().await.expect(201);
    ask("v@example.com").await.expect(401);
    // An account from before registrations waited for their proof.
    let user =
        world.items().into_iter().find(|item| item["type"]["S"] == "user" && item["email"]["S"] == "owner@acme.example.com").unwrap();
    world.change_item(user["pk"]["S"].as_str().unwrap(), "profile", |user| drop(user.as_object_mut().unwrap().remove("verified_at")));
    assert_eq!(ask("owner@acme.example.com").await.expect(403).code(), "IDENTITY_CONFLICT");
    assert!(!world.items().iter().any(|item| item["type"]["S"] == "identity"));
}

#[tokio::test]
async fn an_identity_provider_may_rotate_its_keys() {
    let provider = Provider::start(Algorithm::Es256);
    let world = provider.world().await;
    let own = world.tenant("acme").await;
    let claims = provider.claims(&world, "subject-1", &own.owner.email);
    let read = async |token: &str| world.get("/api/v1/projects").token(token).send().await.status;
    let old = provider.token(&claims);
    assert_eq!(read(&old).await, 200);
    let next = Minter::stranger("provider-2");
    let new = next.token(&json!({"alg": "ES256", "kid": "provider-2"}), &claims);
    assert_eq!(read(&new).await, 401);
    provider.publish(&[provider.jwk(), next.jwk()]);
    world.advance(SignedDuration::from_secs(11));
    assert_eq!((read(&new).await, read(&old).await), (200, 200));
    provider.publish(&[next.jwk()]);
    world.advance(SignedDuration::from_mins(61));
    let claims = provider.claims(&world, "subject-1", &own.owner.email);
    let (new, old) = (next.token(&json!({"alg": "ES256", "kid": "provider-2"}), &claims), provider.token(&claims));
    assert_eq!((read(&new).await, read(&old).await), (200, 401));
    let asked = provider.asked();
    for _ in 0..20 {
        read(&old).await;
    }
    assert!(provider.asked() <= asked + 1, "unknown keys make us ask the provider again and again");
}

const ISSUER: &str = "https://id.example.com";
const AUDIENCE: &str = "tenantry";

#[derive(Clone, Copy)]
enum Algorithm {
    Es256,
    Rs256,
}

/// An identity provider: signs tokens, and serves its keys on loopback.
struct Provider {
    key: ProviderKey,
    url: String,
    served: Arc<Lock<(String, usize)>>,
}

enum ProviderKey {
    Elliptic(Minter),
    Rsa(Box<RsaKeyPair>),
}

impl Provider {
    fn start(algorithm: Algorithm) -> Self {
        let key = match algorithm {
            Algorithm::Es256 => ProviderKey::Elliptic(Minter::stranger("provider-1")),
            Algorithm::Rs256 => ProviderKey::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"))),
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port on loopback");
        let url = format!("http://{}/jwks.json", listener.local_addr().expect("an address"));
        let served = Arc::new(Lock::new((String::new(), 0)));
        let document = served.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                let body = {
                    let mut served = document.lock();
                    served.1 += 1;
                    served.0.clone()
                };
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all((head + &body).as_bytes());
            }
        });
        let provider = Provider { key, url, served };
        provider.publish(&[provider.jwk()]);
        provider
    }

    /// A deployment that accepts this provider's tokens.
    async fn world(&self) -> World {
        let issuers = json!([{"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": self.url}]);
        World::with(Settings { variables: vec![("OIDC_ISSUERS", issuers.to_string())], ..Settings::default() }).await
    }

    fn publish(&self, keys: &[Value]) {
        self.served.lock().0 = json!({"keys": keys}).to_string();
    }

    fn asked(&self) -> usize {
        self.served.lock().1
    }

    fn kid(&self) -> &str {
        match &self.key {
            ProviderKey::Elliptic(minter) => &minter.kid,
            ProviderKey::Rsa(_) => "provider-rsa",
        }
    }

    fn jwk(&self) -> Value {
        match &self.key {
            ProviderKey::Elliptic(minter) => minter.jwk(),
            ProviderKey::Rsa(pair) => {
                let (modulus, exponent) = (pair.public_key().modulus(), pair.public_key().exponent());
                let (modulus, exponent) = (modulus.big_endian_without_leading_zero(), exponent.big_endian_without_leading_zero());
                json!({"kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.kid(), "n": URL_SAFE_NO_PAD.encode(modulus), "e": URL_SAFE_NO_PAD.encode(exponent)})
            }
        }
    }

    fn public_bytes(&self) -> Vec<u8> {
        match &self.key {
            ProviderKey::Elliptic(minter) => minter.pair.public_key().as_ref().to_vec(),
            ProviderKey::Rsa(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    fn claims(&self, world: &World, subject: &str, email: &str) -> Value {
        let now = world.auth.clock().now().as_second();
        json!({"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "email": email, "email_verified": true, "iat": now, "nbf": now, "exp": now + 3600})
    }

    fn token(&self, claims: &Value) -> String {
        let algorithm = if matches!(self.key, ProviderKey::Rsa(_)) { "RS256" } else { "ES256" };
        self.token_with(&json!({"typ": "JWT", "alg": algorithm, "kid": self.kid()}), claims)
    }

    fn token_with(&self, header: &Value, claims: &Value) -> String {
        match &self.key {
            ProviderKey::Elliptic(minter) => minter.token(header, claims),
            ProviderKey::Rsa(pair) => {
                let signed = unsigned(&header.to_string(), &claims.to_string());
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).expect("a signature");
                format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
            }
        }
    }
}

/// Every way in which a token can be almost right, by name.
async fn altered_tokens(world: &World, caller: &Caller) -> Vec<(String, String)> {
    let minter = Minter::of(world).await;
    let (header, claims) = (minter.header(), claims_of(&caller.token));
    let now = world.auth.clock().now().as_second();
    let mut all: Vec<(String, String)> = vec![];
    let mut add = |what: &str, token: String| all.push((what.to_owned(), token));
    for (name, value) in [
        ("alg", json!("none")),
        ("alg", json!("None")),
        ("alg", json!("NONE")),
        ("alg", json!("")),
        ("alg", json!("HS256")),
        ("alg", json!("HS512")),
        ("alg", json!("RS256")),
        ("alg", json!("PS256")),
        ("alg", json!("ES384")),
        ("alg", json!("EdDSA")),
        ("alg", json!("es256")),
        ("alg", Value::Null),
        ("alg", json!(["ES256"])),
        ("typ", json!("JWT")),
        ("typ", json!("at+JWT")),
        ("typ", json!("application/at+jwt")),
        ("typ", json!("id+jwt")),
        ("typ", Value::Null),
        ("typ", json!("")),
        ("kid", json!("key-2")),
        ("kid", json!("")),
        ("kid", Value::Null),
        ("kid", json!("../../dev/null")),
        ("kid", json!("key-1' OR '1'='1")),
        ("kid", json!(1)),
        ("jku", json!("https://evil.example.com/keys")),
        ("x5u", json!("https://evil.example.com/cert")),
        ("jwk", minter.jwk()),
        ("jwk", Minter::stranger("key-1").jwk()),
        ("x5c", json!(["AAAA"])),
        ("crit", json!(["exp"])),
        ("crit", json!(["b64"])),
    ] {
        let mut header = header.clone();
        header[name] = value.clone();
        add(&format!("header {name} {value}"), minter.token(&header, &claims));
    }
    for name in ["alg", "typ", "kid"] {
        let mut header = header.clone();
        header.as_object_mut().expect("a header").remove(name);
        add(&format!("no {name}"), minter.token(&header, &claims));
    }
    for (name, value) in [
        ("iss", json!("https://evil.example.com")),
        ("iss", json!(format!("{PUBLIC_URL}/"))),
        ("iss", json!("")),
        ("iss", Value::Null),
        ("iss", json!([PUBLIC_URL])),
        ("aud", json!("https://evil.example.com")),
        ("aud", json!([])),
        ("aud", json!("")),
        ("aud", Value::Null),
        ("exp", json!(now - 31)),
        ("exp", json!(0)),
        ("exp", json!(-1)),
        ("exp", json!("9999999999")),
        ("exp", json!(9e99)),
        ("exp", Value::Null),
        ("iat", json!(now + 31)),
        ("iat", Value::Null),
        ("sub", json!("0198c0de-0000-7000-8000-000000000000")),
        ("sub", json!("")),
        ("sub", json!("*")),
        ("sub", Value::Null),
        ("sub", json!([claims["sub"]])),
        ("sid", json!("0198c0de-0000-4000-8000-000000000000")),
        ("sid", json!("")),
        ("sid", Value::Null),
        ("sid", claims["sub"].clone()),
        ("tid", json!("not-a-tenant")),
        ("tid", json!("#")),
        ("tid", json!(1)),
    ] {
        let mut claims = claims.clone();
        claims[name] = value.clone();
        add(&format!("{name} {value}"), minter.token(&header, &claims));
    }
    for name in ["iss", "aud", "exp", "iat", "sub", "sid", "jti"] {
        let mut claims = claims.clone();
        claims.as_object_mut().expect("claims").remove(name);
        add(&format!("no {name}"), minter.token(&header, &claims));
    }
    // The same claim twice. Two parsers could choose different ones, so both must be refused.
    for name in ["sub", "sid", "exp", "iss", "tid"] {
        let twice = claims.to_string().replacen('{', &format!("{{\"{name}\":{},", claims[name]), 1);
        add(&format!("{name} twice"), minter.text(&header.to_string(), &twice));
    }
    add("another key under our name", Minter::stranger(&minter.kid).token(&header, &claims));
    add("unsigned", minter.unsigned(&claims));
    add("the public key as a secret", minter.with_public_key_as_secret(world, &claims).await);
    add(
        "its JWK as a secret",
        hmac_token(&json!({"typ": "at+jwt", "alg": "HS256", "kid": minter.kid}), &claims, minter.jwk().to_string().as_bytes()),
    );
    add("an empty secret", hmac_token(&json!({"typ": "at+jwt", "alg": "HS256", "kid": minter.kid}), &claims, b""));
    let parts: Vec<&str> = caller.token.split('.').collect();
    let [head, body, signature] = parts[..] else { panic!("a token has three parts") };
    let zeros = URL_SAFE_NO_PAD.encode([0; 64]);
    let mut flipped = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    flipped[10] ^= 1;
    for (what, token) in [
        ("no signature", format!("{head}.{body}.")),
        ("two parts", format!("{head}.{body}")),
        ("four parts", format!("{}.{signature}", caller.token)),
        ("one part", head.to_owned()),
        ("a signature of zeros", format!("{head}.{body}.{zeros}")),
        ("a flipped bit", format!("{head}.{body}.{}", URL_SAFE_NO_PAD.encode(flipped))),
        ("half a signature", format!("{head}.{body}.{}", &signature[..43])),
        ("a longer signature", format!("{}AAAA", caller.token)),
        ("padding", format!("{}==", caller.token)),
        ("standard base64", format!("{}.{}.{signature}", STANDARD.encode(header.to_string()), STANDARD.encode(claims.to_string()))),
        ("a signature in DER", format!("{head}.{body}.{}", URL_SAFE_NO_PAD.encode([0x30, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01]))),
        ("swapped parts", format!("{body}.{head}.{signature}")),
        ("a quoted token", format!("\"{}\"", caller.token)),
        ("claims that are a list", minter.text(&header.to_string(), "[]")),
        ("claims that are no JSON", minter.text(&header.to_string(), "{")),
        ("a header that is no JSON", minter.text("{", &claims.to_string())),
        ("deep claims", minter.text(&header.to_string(), &format!("{}{}", "[".repeat(500), "]".repeat(500)))),
        ("too large", format!("{head}.{body}.{}", "A".repeat(4100))),
        ("dots", "..".into()),
    ] {
        add(what, token);
    }
    all
}

fn unsigned(header: &str, claims: &str) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
}

fn hmac_token(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let signed = unsigned(&header.to_string(), &claims.to_string());
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

fn header_of(token: &str) -> Value {
    let header = token.split('.').next().expect("a header");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).expect("base64url")).expect("JSON")
}

async fn set_role(world: &World, owner: &Caller, member: &Caller, role: &str) {
    world.put(format!("/api/v1/tenant/members/{}", member.id)).token(&owner.token).json(json!({"role": role})).send().await.expect(200);
}

async fn published(world: &World) -> Vec<Value> {
    let secret = world.auth.secrets().client().get_secret_value().secret_id(&world.environment("auth")["JWKS_SECRET_ID"]);
    let text = secret.send().await.expect("the public keys").secret_string.expect("their text");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    document["keys"].as_array().expect("keys").clone()
}

async fn publish(world: &World, keys: &[Value]) {
    let secret = world.auth.secrets().client().put_secret_value().secret_id(&world.environment("auth")["JWKS_SECRET_ID"]);
    secret.secret_string(json!({"keys": keys}).to_string()).send().await.expect("the public keys are written");
}

/// All items except the counters of requests.
fn everything(world: &World) -> Vec<Value> {
    let counts = |pk: &str| pk.starts_with("G#rate#") || pk.ends_with("#usage");
    world.items().into_iter().filter(|item| item["pk"]["S"].as_str().is_some_and(|pk| !counts(pk))).collect()
}
