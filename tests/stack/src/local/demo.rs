//! Seeds the demo tenant: created once for each data directory, and put on a plan that may send mails.

use http::Method;
use serde::Deserialize;
use serde_json::json;
use stack::{client::Api, demo::Demo, journal::Journal};

/// The demo of an earlier start if its login still works, otherwise a new one.
pub async fn seed(api: &Api, journal: &Journal) -> Result<Demo, String> {
    let known = Demo::known(journal).map_err(|error| error.to_string())?;
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
    // Demos of visitors send nothing.
    let command = json!({ "command": "convert-demo", "tenant": demo.tenant_slug, "plan": "pro" });
    let (status, answer) = api.call(Method::POST, "/2015-03-31/functions/operator/invocations", Some(&command)).await?;
    if status != 200 || answer["ok"] != true {
        return Err(format!("convert-demo answered {status}: {answer}"));
    }
    demo.keep(journal).map_err(|error| error.to_string())?;
    Ok(demo)
}

async fn login_works(api: &Api, demo: &Demo) -> Result<bool, String> {
    let (status, _) = api.call(Method::POST, "/api/v1/auth/login", Some(&demo.credentials())).await?;
    Ok(status == 200)
}
