//! Builds the functions and runs them under `cargo lambda watch`.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use stack::template::Function;
use tokio::{
    net::TcpStream,
    process::{Child, ChildStdin, Command},
};

use crate::{supervisor, tools};

/// What makes the watcher start functions anew: their code, and nothing that merely lies in the workspace.
const IGNORED: &str = "*\n!*/\n!*.rs\n!Cargo.toml\n!Cargo.lock\n/target/\n/tests/\n/.local/\n";

pub struct Watch {
    child: Child,
    /// Open while this process lives; its closing stops the watcher. Not left in `child`, whose `wait` would close it.
    lifeline: Option<ChildStdin>,
}

/// Builds all functions, so that compile errors are plain and the first requests need not wait.
pub async fn build(workspace: &Path, functions: &[Function], release: bool) -> Result<(), String> {
    let mut command = Command::new(tools::cargo());
    command.current_dir(workspace).arg("build").arg("--quiet");
    for function in functions {
        command.args(["--bin", &function.name]);
    }
    if release {
        command.arg("--release");
    }
    forget_the_outer_cargo(&mut command);
    let output = supervisor::standard_error().map_err(|error| error.to_string())?;
    let status = command
        .stdin(Stdio::null())
        .stdout(output)
        .kill_on_drop(true)
        .status()
        .await
        .map_err(|error| format!("cargo cannot be run: {error}"))?;
    match status.success() {
        true => Ok(()),
        false => Err("the functions do not build; see the errors above".to_owned()),
    }
}

impl Watch {
    /// All functions share the environment that the watcher is started with.
    pub fn start(
        cargo_lambda: &Path,
        workspace: &Path,
        port: u16,
        release: bool,
        environment: &BTreeMap<String, String>,
    ) -> Result<Watch, String> {
        let trouble = |error: std::io::Error| format!("cargo lambda cannot be started: {error}");
        let ignored = workspace.join(".local").join("watch.ignore");
        std::fs::create_dir_all(workspace.join(".local"))
            .and_then(|()| std::fs::write(&ignored, IGNORED))
            .map_err(|error| format!("{} cannot be written: {error}", ignored.display()))?;
        let mut command = Command::new(std::env::current_exe().map_err(trouble)?);
        command.arg(supervisor::ARGUMENT).arg(cargo_lambda).args(["lambda", "watch"]);
        command.args(["--quiet", "--invoke-address", "127.0.0.1", "--invoke-port", &port.to_string()]);
        if release {
            command.arg("--release");
        }
        forget_the_outer_cargo(&mut command);
        // A developer's own AWS settings must not reach the functions.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("AWS_") && !name.starts_with("AWS_LC_") {
                command.env_remove(name.as_ref());
            }
        }
        let mut child = command
            .envs(environment)
            .env("CARGO_LAMBDA_IGNORE_FILE", &ignored)
            .current_dir(workspace)
            .stdin(Stdio::piped())
            .stdout(supervisor::standard_error().map_err(trouble)?)
            .spawn()
            .map_err(trouble)?;
        let lifeline = child.stdin.take();
        Ok(Watch { child, lifeline })
    }

    pub async fn listening(&mut self, address: SocketAddr) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(address).await.is_err() {
            if let Ok(Some(_)) = self.child.try_wait() {
                return Err("cargo lambda watch ended while starting; see its messages above".to_owned());
            }
            if Instant::now() > deadline {
                return Err("cargo lambda watch did not open its port within 30 seconds".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Returns when it ends by itself, which it should not.
    pub async fn ended(&mut self) -> String {
        drop(self.child.wait().await);
        "cargo lambda watch ended; see its messages above".to_owned()
    }

    pub async fn stop(mut self) {
        drop(self.lifeline.take());
        if tokio::time::timeout(Duration::from_secs(5), self.child.wait()).await.is_err() {
            drop(self.child.kill().await);
        }
    }
}

/// `cargo run` describes the package it runs in the environment; a cargo inside must not take that for its own.
fn forget_the_outer_cargo(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let describes_a_package =
            ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"].iter().any(|prefix| name.starts_with(prefix));
        if describes_a_package {
            command.env_remove(name.as_ref());
        }
    }
}
