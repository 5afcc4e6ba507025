//! The seeded demo tenant: its login, and lines to paste. Stored in the journal for the console and later starts.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::journal::{Journal, JournalError};

const SPACE: &str = "demo";
const ID: &str = "seeded";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demo {
    pub email: String,
    pub password: String,
    pub tenant_id: Value,
    pub tenant_slug: String,
}

impl Demo {
    pub fn known(journal: &Journal) -> Result<Option<Demo>, JournalError> {
        journal.get(SPACE, ID)
    }

    pub fn keep(&self, journal: &Journal) -> Result<(), JournalError> {
        journal.put(SPACE, ID, self)
    }

    /// The body of a login.
    pub fn credentials(&self) -> Value {
        json!({ "email": self.email, "password": self.password })
    }

    /// Lines for a POSIX shell that can be pasted one after another, each with what it does.
    pub fn curl_lines(&self, base: &str) -> [(&'static str, String); 5] {
        let login = quoted(&self.credentials().to_string());
        let project = quoted(&json!({ "name": "My first project" }).to_string());
        let json = "-H 'content-type: application/json'";
        let token = r#"-H "authorization: Bearer $TOKEN""#;
        let find = r#"sed -nE 's/.*"token": ?"([^"]+)".*/\1/p'"#;
        let draft = r#"sed -nE 's/.*"id": ?"(cmp_[^"]+)".*/\1/p'"#;
        let campaigns = format!("{base}/api/v1/tenant/campaigns");
        [
            ("Log in and keep the token", format!("TOKEN=$(curl -s {base}/api/v1/auth/login {json} -d {login} | {find})")),
            ("List the projects", format!("curl -s {base}/api/v1/projects {token}")),
            ("Make one", format!("curl -s {base}/api/v1/projects {token} {json} -d {project}")),
            ("Find the draft of a campaign", format!("CAMPAIGN=$(curl -s '{campaigns}?status=draft' {token} | {draft})")),
            ("Launch it: 25 mails arrive in the mailbox", format!("curl -s -X POST {campaigns}/$CAMPAIGN/send {token}")),
        ]
    }

    /// The text after the ready line: credentials, and lines to paste.
    pub fn usage(&self, base: &str) -> String {
        let Demo { email, password, tenant_id, tenant_slug } = self;
        let lines = self.curl_lines(base).map(|(_, line)| line).join("\n");
        format!("demo e-mail:  {email}\npassword:     {password}\ntenant:       {tenant_id} ({tenant_slug})\n{lines}\n")
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
        // The shell reads the body: in the pasted line, `curl` is replaced by a command that prints its last argument.
        let body = login.split(" -d ").nth(1).and_then(|rest| rest.split(" | sed").next()).unwrap();
        let printed = std::process::Command::new("sh").args(["-c", &format!("printf %s {body}")]).output().unwrap();
        let read: Value = serde_json::from_slice(&printed.stdout).unwrap();
        assert_eq!(read, json!({ "email": "demo@example.com", "password": r#"it's "so""# }));
        assert_eq!(usage.lines().filter(|line| line.contains("curl")).count(), 5);
    }

    #[test]
    fn a_demo_is_known_again_by_the_journal() {
        let journal = Journal::memory().unwrap();
        assert_eq!(Demo::known(&journal).unwrap(), None);
        let demo = Demo { email: "a@b".to_owned(), password: "p".to_owned(), tenant_id: json!(1), tenant_slug: "one".to_owned() };
        demo.keep(&journal).unwrap();
        assert_eq!(Demo::known(&journal).unwrap(), Some(demo));
    }
}
