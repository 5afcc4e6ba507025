//! The lines of the local stack: three that all tenants share, carried by its phones.

use serde_json::{Value, json};

use crate::{phones::Phones, sources::Invoke};

/// Numbers that North America keeps for fiction, so nobody has one.
pub const LINES: [&str; 3] = ["+12025550101", "+12025550102", "+12025550103"];

/// Connects the phones as a gateway of the API at this address, and adds what lines are missing.
pub async fn seed(phones: &Phones, invoke: &impl Invoke, api_url: &str) -> Result<(), String> {
    let command = async |command: Value| {
        let answer = invoke.invoke("operator", command).await.map_err(|error| error.to_string())?;
        if answer["ok"] == true { Ok(answer) } else { Err(format!("the operator answered {answer}")) }
    };
    let gateway = json!({"command": "gateway-add", "name": "phones", "url": phones.url(), "secret": phones.secret()});
    let gateway = command(gateway).await?;
    for number in LINES {
        let line = json!({
            "command": "line-add", "phone_number": number, "capabilities": ["imessage", "rcs", "sms"], "gateway": "phones",
            "active": true, "daily_limit": 20_000, "per_minute_limit": 6_000,
        });
        command(line).await?;
    }
    phones.connect(api_url, gateway["gateway"].as_str().unwrap_or_default());
    Ok(())
}
