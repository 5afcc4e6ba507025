//! Secrets stay where they were put: not in answers or errors, not readable in the table, not in the log.

use std::io::Write;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use crate::world::{Answer, Tenant, World, id};
use shared::lock::Lock;

/// In a separate process, because the log output of other tests would mix with it.
#[test]
fn a_secret_shows_nowhere_but_in_the_answer_that_gives_it_out() {
    let alone = std::process::Command::new(std::env::current_exe().expect("this binary"))
        .args(["--ignored", "--exact", "--nocapture", "secrets::every_secret_is_looked_for"])
        .output()
        .expect("this binary starts");
    let said = String::from_utf8_lossy(&alone.stdout);
    assert!(alone.status.success() && said.contains("1 passed"), "{said}");
    // The log lines go to stdout, followed at the very end by the planted secrets.
    let (lines, planted) = said.split_once(PLANTED).expect("what was planted");
    let planted = planted.lines().next().unwrap_or_default();
    let (heard, planted): (usize, Vec<String>) = serde_json::from_str(planted).expect("a number and a list of texts");
    assert!(lines.matches(r#""message":"request""#).count() >= heard, "every request has its line: {lines}");
    for canary in &planted {
        assert!(forms(canary).iter().all(|form| !lines.contains(form)), "{canary} stands in a request's line");
    }
}

const PLANTED: &str = "planted: ";

#[tokio::test]
#[ignore = "run by the test above, in a process of its own"]
async fn every_secret_is_looked_for() {
    let log = Log::default();
    // As deployed, with more log output than by default. The functions run on this thread.
    let listening =
        tracing_subscriber::fmt().json().with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG).with_writer(log.clone());
    let _listening = tracing_subscriber::util::SubscriberInitExt::set_default(listening.finish());
    let world = World::new().await;
    let own = world.tenant("acme").await;
    let (mut heard, mut canaries) = (vec![], vec![own.owner.password.replace(' ', "%20"), own.owner.token.clone()]);
    let tenant = format!("/api/tenants/{}", own.slug);
    let mut plant = |canary: &str| {
        canaries.push(canary.to_owned());
        canary.to_owned()
    };

    // Entrusted to us: given once, never shown.
    world.put(&tenant).token(&own.owner.token).json(json!({"cms": "prismic", "repository": "acme"})).send().await.expect(200);
    for (number, bad) in [json!({}), json!({"more": 1}), json!({"token": ["x"]})].into_iter().enumerate() {
        let token = plant(&format!("canary-api-token-{number}-4b1d"));
        let path = format!("{tenant}/api-token");
        heard.push(world.put(&path).token(&own.owner.token).json(json!({"token": token})).send().await.expect(200));
        let mut wrong = json!({"token": token, "unknown": token});
        wrong.as_object_mut().expect("an object").extend(bad.as_object().expect("an object").clone());
        heard.push(world.put(&path).token(&own.owner.token).json(wrong).send().await.expect(400));
    }
    for name in ["smtp_password", "aws_secret_access_key", "cloudinary_api_secret", "anything.else"] {
        let value = plant(&format!("canary-{name}-of-some-length-9c2e"));
        heard.push(
            world.post("/api/tenant-setting").token(&own.owner.token).json(json!({"name": name, "value": value})).send().await.expect(201),
        );
        heard.push(
            world.post("/api/tenant-setting").token(&own.owner.token).json(json!({"name": name, "valve": value})).send().await.expect(400),
        );
    }
    // Presented: passwords, tokens, keys, and text that looks like them.
    let password = plant("canary password 77aa");
    for body in [json!({"email": own.owner.email, "password": password}), json!({"email": "x", "password": password})] {
        heard.push(world.post("/api/v1/auth/login").json(body).send().await.expect(422));
    }
    let register = json!({"name": "New", "email": "new@example.com", "password": password, "company_name": "New", "extra": password});
    heard.push(world.post("/api/v1/auth/register").json(register).send().await.expect(422));
    for header in ["authorization", "x-api-key", "x-ingest-key"] {
        let value = plant(&format!("canary-{header}-51f0"));
        heard.push(world.get("/api/v1/projects").header(header, &value).send().await.expect(401));
        heard.push(world.get("/api/usage/check?tenant=acme").header(header, &value).send().await.expect(401));
    }
    let twice = plant("canary-query-3c3c");
    heard.push(world.get(format!("/api/v1/projects?search={twice}&search={twice}")).token(&own.owner.token).send().await.expect(400));
    let link = plant("canary-link-token-8e8e");
    for path in ["verify-email", "reset-password", "accept-invitation"] {
        heard.push(world.post(format!("/api/v1/auth/{path}")).json(json!({"token": link, "password": password})).send().await);
    }
    // Shown once.
    let key = world.post("/api/tenant-api-key").token(&own.owner.token).json(json!({"name": "CI"})).send().await.expect(201).json();
    let text = plant(&key["apiKey"].as_str().expect("a key")[20..]);
    heard.push(world.get("/api/v1/projects").token(key["apiKey"].as_str().expect("a key")).send().await.expect(200));
    heard.push(world.get("/api/v1/projects").token(&format!("tf_live_000000000000{text}")).send().await.expect(401));
    for path in ["/api/tenant-api-key", "/v1/api-keys", "/api/tenant-setting", "/api/tenant/export", &tenant, "/api/tenant/audit-log"] {
        heard.push(world.get(path).token(&own.owner.token).send().await.expect(200));
    }
    heard.push(world.get(format!("/api/tenant-api-key/{}", id(&key))).token(&own.owner.token).send().await.expect(200));

    let answers: Vec<String> = heard.iter().map(shown).collect();
    let table = kept(&world, &own);
    let log = log.text();
    assert!(!log.is_empty() && heard.len() >= 30, "the log was heard");
    assert!(canaries.len() >= 14);
    for canary in &canaries {
        for text in forms(canary) {
            assert!(!log.contains(&text), "{canary} stands in the log");
            assert!(!table.contains(&text), "{canary} stands in the table");
            for answer in &answers {
                assert!(!answer.contains(&text), "{canary} stands in {answer}");
            }
        }
    }
    println!("{PLANTED}{}", json!([heard.len(), canaries]));
}

/// The forms in which a text could be written.
fn forms(canary: &str) -> [String; 4] {
    [canary.to_owned(), STANDARD.encode(canary), URL_SAFE_NO_PAD.encode(canary), canary.bytes().map(|byte| format!("{byte:02x}")).collect()]
}

fn shown(answer: &Answer) -> String {
    format!("{} {:?} {}", answer.status, answer.headers, answer.text)
}

/// Every item, as text.
fn kept(world: &World, own: &Tenant) -> String {
    assert!(!world.items_of(own).is_empty());
    Value::Array(world.items()).to_string()
}

#[derive(Clone, Default)]
pub struct Log(Arc<Lock<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock()).into_owned()
    }

    /// What was written since it was asked last.
    pub fn taken(&self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut *self.0.lock())).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}
