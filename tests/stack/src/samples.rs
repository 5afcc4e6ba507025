//! The data that the sample events of events/ use: an account, its tenants, a project, a demo, a mail. It is created once for each data
//! directory with the functions themselves, so that every sample event works on a fresh `cargo local`. The events contain a token of an
//! identity provider that only the local stack trusts. The private key that signed this one token no longer exists.

use std::time::{Duration, Instant};

use axum::{Json, Router, routing::get};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    aws::Aws,
    sources::Invoke,
    template::{Route, Template},
};

/// A token for the account `owner@example.com` that is valid until the year 2100.
pub const TOKEN: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NiIsImtpZCI6InNhbXBsZXMifQ.eyJpc3MiOiJodHRwczovL2xvZ2luLnNhbXBsZXMuaW52YWxpZCIsImF1ZCI6InRlbmFudHJ5LXNhbXBsZXMiLCJzdWIiOiJhZGEiLCJlbWFpbCI6Im93bmVyQGV4YW1wbGUuY29tIiwiZW1haWxfdmVyaWZpZWQiOnRydWUsImlhdCI6MTc2NzIyNTYwMCwiZXhwIjo0MTAyNDQ0ODAwfQ.MSMFQOG1zOLO-59zyAfgfOhEwWDhiXJajPCEXGxZ2LnzJHCpCSA1FBgNbYhnUImkT3oFsB0-H5aLf1Mn0Xo-gA";
pub const PASSWORD: &str = "correct horse battery staple";

const ISSUER: &str = "https://login.samples.invalid";
const AUDIENCE: &str = "tenantry-samples";
const OWNER: &str = "owner@example.com";
const PROJECT: &str = "018f3f70-12ab-7e0f-8a44-5d1f9c3b2e10";
const MAIL: &str = "018f3f72-44cd-7b21-b3a7-90e4d2f6a811";
const DEMO: &str = "demo-abc123";

const SPACE: &str = "samples";
const MAIL_TIMEOUT: Duration = Duration::from_secs(15);

/// The identity provider: the address of its public key.
pub struct Provider {
    listener: TcpListener,
    url: String,
}

impl Provider {
    pub async fn open() -> std::io::Result<Provider> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}/jwks.json", listener.local_addr()?);
        Ok(Provider { listener, url })
    }

    /// Its entry in `OIDC_ISSUERS`.
    pub fn issuers(&self) -> String {
        json!([{ "issuer": ISSUER, "audience": AUDIENCE, "jwks_url": self.url }]).to_string()
    }

    pub async fn serve(self) -> std::io::Result<()> {
        let key = json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "samples",
            "x": "oOUrK_baLTpY9UgCuiMbSzTYMI3cWc6Pbm7BgHGYEec", "y": "q8rQUNTBqkMHyAwoWbpO5QQ3B6f2PkYCv7o8zUNGwtI",
        });
        let keys = json!({ "keys": [key] });
        axum::serve(self.listener, Router::new().route("/jwks.json", get(move || async move { Json(keys) }))).await
    }
}

/// Creates what does not exist yet. The event sources must be running, because the account's proof comes by mail.
pub async fn seed(aws: &Aws, template: &Template, invoke: &impl Invoke) -> Result<(), String> {
    if aws.journal().get::<bool>(SPACE, "made").map_err(text)?.is_some() {
        return Ok(());
    }
    // Tried once, because older data may contain another account with this name.
    aws.journal().put(SPACE, "made", &true).map_err(text)?;
    let tables = template.tables().map_err(text)?;
    let table = tables.first().ok_or("the template has no table")?.name.clone();
    let samples = Samples { aws, table, routes: template.routes().map_err(text)?, invoke };
    samples.account().await?;
    samples.tenants().await?;
    samples.project().await?;
    samples.workspace().await?;
    samples.demo().await?;
    samples.mail()
}

struct Samples<'a, I> {
    aws: &'a Aws,
    table: String,
    routes: Vec<Route>,
    invoke: &'a I,
}

impl<I: Invoke> Samples<'_, I> {
    async fn account(&self) -> Result<(), String> {
        let body = json!({ "name": "Ada Owner", "email": OWNER, "password": PASSWORD, "company_name": "Samples" });
        self.call("POST", "/api/v1/auth/register", body).await?;
        let token = self.mailed_token().await?;
        self.call("POST", "/api/v1/auth/verify-email", json!({ "token": token, "password": PASSWORD })).await.map(drop)
    }

    /// One tenant to work in, and one for each command that would remove it.
    async fn tenants(&self) -> Result<(), String> {
        let own = self.call("GET", "/api/tenants", Value::Null).await?;
        let home = own["tenants"][0]["slug"].as_str().ok_or_else(|| format!("the account has no tenant: {own}"))?;
        // Without a limit for the number of tenants.
        self.command(json!({ "command": "change-plan", "tenant": home, "plan": "enterprise" })).await?;
        for slug in ["acme", "globex", "initech", "umbrella"] {
            self.call("POST", "/api/tenants", json!({ "slug": slug, "cms": "prismic", "repository": slug })).await?;
        }
        self.command(json!({ "command": "change-plan", "tenant": "acme", "plan": "enterprise" })).await?;
        self.call("POST", "/api/tenants/acme/domains", json!({ "hostname": "www.acme.com" })).await?;
        for slug in ["globex", "initech"] {
            self.command(json!({ "command": "purge-tenant", "tenant": slug })).await?;
        }
        Ok(())
    }

    async fn project(&self) -> Result<(), String> {
        let made = self.call("POST", "/api/v1/projects", json!({ "name": "Website redesign" })).await?;
        self.rename(id_of(&made["data"]["id"])?, PROJECT)
    }

    async fn workspace(&self) -> Result<(), String> {
        let body = json!({ "name": "Sample client", "slug": "sample-client" });
        self.call("POST", "/api/v1/tenant/workspaces", body).await.map(drop)
    }

    async fn demo(&self) -> Result<(), String> {
        let body = json!({ "email": "evaluator@example.com", "name": "Eve Evaluator", "company_name": "Evaluating" });
        let made = self.call("POST", "/api/v1/demo", body).await?;
        self.rename(id_of(&made["data"]["tenant_slug"])?, DEMO)
    }

    /// A mail that the carrier refused.
    fn mail(&self) -> Result<(), String> {
        let items = self.aws.items(&self.table).map_err(text)?;
        let sent = items.iter().find(|item| item["type"]["S"] == "mail" && item["to"]["S"] == OWNER).ok_or("no mail was sent")?;
        let mut failed = replaced(sent, id_of(&sent["id"]["S"])?, MAIL)?;
        failed["state"] = json!({ "M": { "at": { "S": "failed" }, "reason": { "S": "a sample" } } });
        self.put(&failed)
    }

    /// The answer to a request with the token, if it is a success.
    async fn call(&self, method: &str, path: &str, body: Value) -> Result<Value, String> {
        let open = path.starts_with("/api/v1/auth/") || path == "/api/v1/demo";
        let function = Route::closest(&self.routes, path).map_or("auth", |route| route.function.as_str());
        let answer = self.invoke.invoke(function, event(method, path, (!open).then_some(TOKEN), &body)).await.map_err(text)?;
        let status = answer["statusCode"].as_u64().unwrap_or_default();
        let content = answer["body"].as_str().unwrap_or_default();
        match status {
            200..=299 => Ok(serde_json::from_str(content).unwrap_or_default()),
            _ => Err(format!("{method} {path} answers {status}: {content}")),
        }
    }

    async fn command(&self, command: Value) -> Result<(), String> {
        let answer = self.invoke.invoke("operator", command.clone()).await.map_err(text)?;
        if answer["ok"] == true { Ok(()) } else { Err(format!("{command} answers {answer}")) }
    }

    /// The proof in the mail to the account.
    async fn mailed_token(&self) -> Result<String, String> {
        let deadline = Instant::now() + MAIL_TIMEOUT;
        loop {
            for kept in self.aws.mailbox().mails_to(OWNER).map_err(text)? {
                if let Some(token) = kept.mail.text.split_whitespace().find(|word| looks_like_a_link_token(word)) {
                    return Ok(token.to_owned());
                }
            }
            if Instant::now() > deadline {
                return Err(format!("no mail came to {OWNER} in {} seconds", MAIL_TIMEOUT.as_secs()));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Gives a record an id that an event can contain, as if it had been generated.
    fn rename(&self, from: &str, to: &str) -> Result<(), String> {
        for item in self.aws.items(&self.table).map_err(text)? {
            let renamed = replaced(&item, from, to)?;
            if renamed == item {
                continue;
            }
            self.put(&renamed)?;
            let key = |item: &Value| json!({ "pk": item["pk"], "sk": item["sk"] });
            if key(&renamed) != key(&item) {
                let request = json!({ "TableName": self.table, "Key": key(&item) });
                self.aws.database().delete_item(serde_json::from_value(request).map_err(text)?).map_err(text)?;
            }
        }
        Ok(())
    }

    fn put(&self, item: &Value) -> Result<(), String> {
        let request = json!({ "TableName": self.table, "Item": item });
        self.aws.database().put_item(serde_json::from_value(request).map_err(text)?).map_err(text).map(drop)
    }
}

/// An event of API Gateway, payload 2.0.
fn event(method: &str, path: &str, token: Option<&str>, body: &Value) -> Value {
    let mut headers = json!({ "content-type": "application/json", "host": "api.example.com", "x-forwarded-proto": "https" });
    if let Some(token) = token {
        headers["authorization"] = format!("Bearer {token}").into();
    }
    let http = json!({ "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "198.51.100.7", "userAgent": "cargo-local" });
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "local",
            "domainName": "api.example.com",
            "domainPrefix": "api",
            "http": http,
            "requestId": "samples",
            "routeKey": "$default",
            "stage": "$default",
            "time": "01/Jan/2026:00:00:00 +0000",
            "timeEpoch": 1_767_225_600_000_i64,
        },
        "body": if body.is_null() { Value::Null } else { body.to_string().into() },
        "isBase64Encoded": false,
    })
}

/// `<id>.<signature>`: a UUID and 43 characters.
fn looks_like_a_link_token(word: &str) -> bool {
    word.split_once('.').is_some_and(|(id, signature)| id.len() == 36 && signature.len() == 43)
}

fn id_of(value: &Value) -> Result<&str, String> {
    value.as_str().filter(|id| id.len() >= 8).ok_or_else(|| format!("{value} is not an id"))
}

fn replaced(item: &Value, from: &str, to: &str) -> Result<Value, String> {
    serde_json::from_str(&item.to_string().replace(from, to)).map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
