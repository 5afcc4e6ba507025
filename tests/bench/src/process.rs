//! One execution environment: the process, its runtime API, and what the kernel knows about it.
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::process::{Child, Command};

use crate::{Outcome, stub::Stub};

#[derive(Clone)]
pub struct Program {
    pub name: String,
    pub path: PathBuf,
    pub arguments: Vec<String>,
    pub folder: PathBuf,
    pub environment: Vec<(String, String)>,
}

pub struct Instance {
    child: Child,
    stub: Stub,
    log: PathBuf,
    pub id: u32,
    /// From the start of the process to its first request for an event.
    pub init: Duration,
}

pub struct Answer {
    pub took: Duration,
    pub body: String,
}

impl Instance {
    pub async fn start(program: &Program, logs: &Path) -> Outcome<Self> {
        let mut stub = Stub::start().await?;
        let log = logs.join(format!("{}.log", program.name));
        let output = File::options().create(true).append(true).open(&log)?;
        let mut command = Command::new(&program.path);
        command
            .args(&program.arguments)
            .current_dir(&program.folder)
            .env_clear()
            .envs(program.environment.iter().map(|(name, value)| (name, value)))
            .env("AWS_LAMBDA_RUNTIME_API", &stub.address)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true);
        let started = Instant::now();
        let child = command.spawn().map_err(|error| format!("{} does not start: {error}", program.path.display()))?;
        let id = child.id().ok_or("the process ended at once")?;
        let init = stub.idle().await.map_err(|error| explain(&program.name, &log, &error.to_string()))?;
        Ok(Self { child, stub, log, id, init: init.duration_since(started) })
    }

    /// One request of the HTTP API. An answer other than 2xx fails the run.
    pub async fn request(&mut self, event: &str) -> Outcome<Answer> {
        let (took, payload) = self.invoke(event).await?;
        let status = payload["statusCode"].as_u64().unwrap_or_default();
        let body = payload["body"].as_str().unwrap_or_default().to_owned();
        if !(200..300).contains(&status) {
            return Err(explain("the function", &self.log, &format!("status {status}: {body}")).into());
        }
        Ok(Answer { took, body })
    }

    pub async fn invoke(&mut self, event: &str) -> Outcome<(Duration, Value)> {
        let log = self.log.clone();
        let fail = |error: Box<dyn std::error::Error + Send + Sync>| explain("the function", &log, &error.to_string());
        let (took, body) = self.stub.invoke(event).await.map_err(fail)?;
        self.stub.idle().await.map_err(fail)?;
        Ok((took, serde_json::from_slice(&body)?))
    }

    /// CPU time of all its threads. The pause lets the last active thread sleep, which is when the kernel updates its account.
    pub async fn cpu(&self) -> Outcome<Duration> {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let mut sum = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.id))? {
            let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
            sum += text.split_whitespace().next().and_then(|it| it.parse::<u64>().ok()).unwrap_or_default();
        }
        Ok(Duration::from_nanos(sum))
    }

    /// The most memory it ever held, in MB.
    pub fn peak_memory(&self) -> Outcome<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id))?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).ok_or("no VmHWM")?;
        let kilobytes: f64 = line.split_whitespace().nth(1).unwrap_or_default().parse()?;
        Ok(kilobytes / 1024.0)
    }

    /// The last lines of its log about requests.
    pub fn request_lines(&self, count: usize) -> Outcome<Vec<Value>> {
        let text = fs::read_to_string(&self.log)?;
        let lines = text.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let lines: Vec<Value> = lines.filter(|line| line["message"] == "request").take(count).collect();
        if lines.len() < count { Err("the log has too few lines about requests".into()) } else { Ok(lines) }
    }

    pub async fn stop(mut self) -> Outcome<()> {
        self.child.kill().await?;
        Ok(())
    }
}

fn explain(who: &str, log: &Path, what: &str) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(8)..].join("\n");
    format!("{who} failed: {what}\nlast lines of its log:\n{tail}")
}
