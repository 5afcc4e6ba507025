//! The seeded demo tenant: made once per data directory, made anew when it has expired.

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stack::journal::Journal;

use crate::http::Api;

const SPACE: &str = "demo";
const ID: &str = "seeded";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demo {
    pub email: String,
    pub password: String,
    pub tenant_id: Value,
    pub tenant_slug: String,
}

/// The demo of an earlier start if it still lets someone in, else a new one.
pub async fn seed(api: &Api, journal: &Journal) -> Result<Demo, String> {
    let known: Option<Demo> = journal.get(SPACE, ID).map_err(|error| error.to_string())?;
    if let Some(demo) = known
        && login_works(api, &demo).await?
    {
        return Ok(demo);
    }
    let body = json!({
        "email": format!("demo-{:08x}@example.com", fastrand::u32(..)),
        "name": "Demo User",
        "company_name": "Demo Company",
    });
    let (status, answer) = api.call(Method::POST, "/api/v1/demo", Some(&body)).await?;
    if status != 201 {
        return Err(format!("POST /api/v1/demo answered {status}: {answer}"));
    }
    let demo = Demo::deserialize(&answer["data"]).map_err(|error| format!("POST /api/v1/demo answered {answer}: {error}"))?;
    journal.put(SPACE, ID, &demo).map_err(|error| error.to_string())?;
    Ok(demo)
}

async fn login_works(api: &Api, demo: &Demo) -> Result<bool, String> {
    let (status, _) = api.call(Method::POST, "/api/v1/auth/login", Some(&demo.credentials())).await?;
    Ok(status == 200)
}

impl Demo {
    /// What is printed after the ready line: credentials, and three lines that work as pasted.
    pub fn usage(&self, base: &str) -> String {
        let Demo { email, password, tenant_id, tenant_slug } = self;
        let login = quoted(&self.credentials().to_string());
        let project = quoted(&json!({ "name": "My first project" }).to_string());
        let json = "-H 'content-type: application/json'";
        let token = r#"-H "authorization: Bearer $TOKEN""#;
        let find = r#"sed -nE 's/.*"token": ?"([^"]+)".*/\1/p'"#;
        format!(
            "demo e-mail:  {email}\n\
             password:     {password}\n\
             tenant:       {tenant_id} ({tenant_slug})\n\
             TOKEN=$(curl -s {base}/api/v1/auth/login {json} -d {login} | {find})\n\
             curl -s {base}/api/v1/projects {token}\n\
             curl -s {base}/api/v1/projects {token} {json} -d {project}\n"
        )
    }

    fn credentials(&self) -> Value {
        json!({ "email": self.email, "password": self.password })
    }
}

/// For a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_pasted_whatever_the_password() {
        let demo = Demo {
            email: "demo@example.com".to_owned(),
            password: r#"it's "so""#.to_owned(),
            tenant_id: json!(7),
            tenant_slug: "demo-7".to_owned(),
        };
        let usage = demo.usage("http://127.0.0.1:9000");
        let login = usage.lines().find(|line| line.starts_with("TOKEN=")).unwrap();
        // The shell reads the body back: the pasted line with `curl` replaced by a print of its last argument.
        let body = login.split(" -d ").nth(1).and_then(|rest| rest.split(" | sed").next()).unwrap();
        let printed = std::process::Command::new("sh").args(["-c", &format!("printf %s {body}")]).output().unwrap();
        let read: Value = serde_json::from_slice(&printed.stdout).unwrap();
        assert_eq!(read, json!({ "email": "demo@example.com", "password": r#"it's "so""# }));
        assert_eq!(usage.lines().filter(|line| line.contains("curl")).count(), 3);
    }
}
