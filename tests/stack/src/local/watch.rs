//! Builds the functions and runs each with a separate `cargo lambda watch`. A change therefore only restarts the functions that contain it,
//! each function has its own environment, and one that hangs does not stop the others.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use stack::lock::Lock;
use stack::{
    gateway::functions::{Functions, Phase},
    template::Function,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, ChildStderr, ChildStdin, Command},
    sync::{Notify, watch},
    task::JoinSet,
};

use crate::{
    lines::{Lines, Step},
    supervisor,
    terminal::Terminal,
    tools,
};

/// The files whose change restarts a function: its own code, and not everything else in the workspace. Folders are ignored by their
/// content: a file that an earlier line includes is not excluded by its folder.
const IGNORED: &str = "*\n!*/\n!*.rs\n!Cargo.toml\n!Cargo.lock\n/target/**\n/tests/**\n/.local/**\n";

/// A function that ends sooner is broken. Restarting it at once would only waste CPU time.
const ALIVE: Duration = Duration::from_secs(10);

/// The time until a broken function is tried again automatically. Saving a file is faster.
const LATER: Duration = Duration::from_secs(30);

/// The settings that all watchers share.
pub struct WatchSetup {
    pub cargo_lambda: PathBuf,
    pub workspace: PathBuf,
    pub release: bool,
    pub functions: Functions,
    pub terminal: Terminal,
}

pub struct Watchers {
    keepers: JoinSet<()>,
    stop: watch::Sender<bool>,
}

/// Builds all functions, so that compile errors are clear and the first requests need not wait.
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

impl Watchers {
    pub async fn start(workshop: WatchSetup, environments: BTreeMap<String, BTreeMap<String, String>>) -> Result<Watchers, String> {
        let ignored = ignored_by(&workshop.workspace, environments.keys()).await?;
        let directory = workshop.workspace.join(".local").join("watch");
        std::fs::create_dir_all(&directory).map_err(|error| format!("{} cannot be made: {error}", directory.display()))?;
        let workshop = Arc::new(workshop);
        let (stop, stopped) = watch::channel(false);
        let mut keepers = JoinSet::new();
        for (function, environment) in environments {
            let ignore_file = directory.join(format!("{function}.ignore"));
            let rules = ignored.get(&function).map_or(IGNORED, String::as_str);
            std::fs::write(&ignore_file, rules).map_err(|error| format!("{} cannot be written: {error}", ignore_file.display()))?;
            let keeper = WatcherKeeper { workshop: workshop.clone(), function, environment, ignore_file };
            keepers.spawn(keeper.run(stopped.clone()));
        }
        Ok(Watchers { keepers, stop })
    }

    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.keepers.join_next().await.is_some() {}
    }
}

/// Keeps one function's watcher running, whatever happens.
struct WatcherKeeper {
    workshop: Arc<WatchSetup>,
    function: String,
    environment: BTreeMap<String, String>,
    ignore_file: PathBuf,
}

struct Watcher {
    child: Child,
    /// Open while this process lives. Its closing stops the watcher. Not kept in `child`, because `wait` would close it.
    lifeline: Option<ChildStdin>,
    reading: JoinSet<()>,
    lines: Arc<Lock<Lines>>,
    /// The watcher told that something ended.
    look: Arc<Notify>,
}

impl WatcherKeeper {
    async fn run(self, mut stopped: watch::Receiver<bool>) {
        let (functions, terminal) = (self.workshop.functions.clone(), self.workshop.terminal.clone());
        let name = self.function.as_str();
        let mut failures = 0_u32;
        loop {
            let started = Instant::now();
            let why = self.once(&mut stopped).await;
            let Some(why) = why else { return };
            failures = if started.elapsed() > ALIVE { 0 } else { failures + 1 };
            functions.away(name, &why);
            terminal.trouble(None, &format!("{why}; it is started again"));
            let pause = Duration::from_millis(200) * 2_u32.pow(failures.min(7));
            tokio::select! {
                () = told(&mut stopped) => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// From a watcher's start to its end. Returns how it ended, or `None` if it was stopped.
    async fn once(&self, stopped: &mut watch::Receiver<bool>) -> Option<String> {
        let name = self.function.as_str();
        let functions = &self.workshop.functions;
        let address = match free_address() {
            Ok(address) => address,
            Err(error) => return Some(format!("there is no port for `cargo lambda watch` of `{name}`: {error}")),
        };
        let mut watcher = match self.spawn(address) {
            Ok(watcher) => watcher,
            Err(problem) => return Some(problem),
        };
        let listens = tokio::select! {
            listens = listening(&mut watcher.child, address, name) => Some(listens),
            () = told(stopped) => None,
        };
        match listens {
            Some(Ok(())) => {}
            Some(Err(problem)) => {
                watcher.stop().await;
                return Some(problem);
            }
            None => {
                watcher.stop().await;
                return None;
            }
        }
        functions.listening(name, address);
        let mut overdue = tokio::time::interval(Duration::from_secs(1));
        overdue.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut again = None;
        let mut running_since = Instant::now();
        loop {
            let later = async move {
                match again {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let look = watcher.look.clone();
            tokio::select! {
                () = told(stopped) => {
                    watcher.stop().await;
                    return None;
                }
                ended = watcher.child.wait() => {
                    let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                    return Some(format!("`cargo lambda watch` of `{name}` ended ({how})"));
                }
                () = later => {
                    watcher.stop().await;
                    return Some(format!("`{name}` ended"));
                }
                _ = overdue.tick() => {
                    let is_overdue = functions.overdue().iter().any(|overdue| overdue == name);
                    if is_overdue {
                        let why = format!("`{name}` has answered nothing for longer than it may take");
                        // Waiting requests are told at once.
                        functions.away(name, &why);
                        watcher.stop().await;
                        return Some(why);
                    }
                    if !functions.watcher_answers(name).await {
                        let why = format!("`cargo lambda watch` of `{name}` stands still");
                        // Waiting requests are told at once.
                        functions.away(name, &why);
                        watcher.stop().await;
                        return Some(why);
                    }
                }
                () = look.notified() => {
                    // The line may be about an earlier process that was ended for a new one.
                    tokio::time::sleep(Duration::from_millis(1_500)).await;
                    if functions.phase_of(name) != Some(Phase::Ready) || supervisor::has_work(watcher.child.id()) {
                        running_since = Instant::now();
                        continue;
                    }
                    if running_since.elapsed() > ALIVE {
                        watcher.stop().await;
                        return Some(format!("`{name}` ended"));
                    }
                    let last_words = watcher.lines.lock().last_words();
                    self.workshop.terminal.trouble(Some(name), &format!("it ends as soon as it is started:\n{}", last_words.join("\n")));
                    functions.phase(name, Phase::Broken(last_words));
                    again = Some(tokio::time::Instant::now() + LATER);
                }
            }
        }
    }

    fn spawn(&self, address: SocketAddr) -> Result<Watcher, String> {
        let trouble = |error: std::io::Error| format!("cargo lambda cannot be started: {error}");
        let WatchSetup { cargo_lambda, workspace, release, functions, terminal } = &*self.workshop;
        let mut command = Command::new(std::env::current_exe().map_err(trouble)?);
        command.arg(supervisor::ARGUMENT).arg(cargo_lambda).args(["lambda", "watch", "--wait", "--disable-cors", "--color", "never"]);
        command.args(["--invoke-address", &address.ip().to_string(), "--invoke-port", &address.port().to_string()]);
        let instances = functions.instances_of(&self.function);
        if instances > 1 {
            command.args(["--concurrency", &instances.to_string()]);
            // The watcher waits for each instance on a thread of its runtime, which has as many as there are cores. None would be left to answer.
            command.env("TOKIO_WORKER_THREADS", (instances + 2).to_string());
        }
        if *release {
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
            .envs(&self.environment)
            .env("CARGO_LAMBDA_IGNORE_FILE", &self.ignore_file)
            .current_dir(workspace)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(trouble)?;
        let lifeline = child.stdin.take();
        let lines = Arc::new(Lock::new(Lines::new(&self.function, functions.clone(), terminal.clone())));
        let look = Arc::new(Notify::new());
        let mut reading = JoinSet::new();
        if let Some(output) = child.stderr.take() {
            reading.spawn(read(output, lines.clone(), look.clone()));
        }
        Ok(Watcher { child, lifeline, reading, lines, look })
    }
}

impl Watcher {
    async fn stop(mut self) {
        drop(self.lifeline.take());
        if tokio::time::timeout(Duration::from_secs(8), self.child.wait()).await.is_err() {
            drop(self.child.kill().await);
        }
        // Its last output is read to the end.
        drop(tokio::time::timeout(Duration::from_millis(200), self.reading.join_next()).await);
    }
}

/// Returns when it must stop.
async fn told(stopped: &mut watch::Receiver<bool>) {
    // An error means that the sender was dropped, which also means the end.
    drop(stopped.wait_for(|stopped| *stopped).await);
}

async fn read(output: ChildStderr, lines: Arc<Lock<Lines>>, look: Arc<Notify>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    // Not with `lines()`, because a function may print invalid UTF-8.
    while matches!(output.read_until(b'\n', &mut line).await, Ok(read) if read > 0) {
        let step = lines.lock().read(&String::from_utf8_lossy(&line));
        if step == Step::Look {
            look.notify_one();
        }
        line.clear();
    }
}

async fn listening(child: &mut Child, address: SocketAddr, name: &str) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(address).await.is_err() {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("`cargo lambda watch` of `{name}` ended while it started ({status})"));
        }
        if Instant::now() > deadline {
            return Err(format!("`cargo lambda watch` of `{name}` did not open its port within 30 seconds"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// The watcher answers everybody. On systems where all of 127/8 is loopback, no web page can guess the address.
fn free_address() -> std::io::Result<SocketAddr> {
    let hidden = Ipv4Addr::new(127, fastrand::u8(1..=254), fastrand::u8(1..=254), fastrand::u8(1..=254));
    let listener = std::net::TcpListener::bind((hidden, 0)).or_else(|_| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    listener.local_addr()
}

/// For each function the rules of its watcher: folders of workspace crates that the function does not use are ignored.
async fn ignored_by(workspace: &Path, functions: impl Iterator<Item = &String>) -> Result<BTreeMap<String, String>, String> {
    let mut command = Command::new(tools::cargo());
    command.current_dir(workspace).args(["metadata", "--format-version", "1", "--no-deps", "--offline"]);
    forget_the_outer_cargo(&mut command);
    let output =
        command.stdin(Stdio::null()).stderr(Stdio::null()).output().await.map_err(|error| format!("cargo cannot be run: {error}"))?;
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata cannot be read: {error}"))?;
    Ok(functions.map(|function| (function.clone(), rules(workspace, &metadata, function))).collect())
}

fn rules(workspace: &Path, metadata: &Value, function: &str) -> String {
    let packages: Vec<&Value> = metadata["packages"].as_array().into_iter().flatten().collect();
    let folder = |package: &Value| {
        let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap_or_default());
        manifest.parent().and_then(|folder| folder.strip_prefix(workspace).ok()).map(Path::to_owned).unwrap_or_default()
    };
    // The package of the binary, and its dependencies within the workspace.
    let has_binary = |package: &&&Value| {
        let targets = package["targets"].as_array().into_iter().flatten();
        targets.into_iter().any(|target| target["name"] == function && target["kind"][0] == "bin")
    };
    let mut made_of: BTreeSet<&str> = packages.iter().filter(has_binary).filter_map(|package| package["name"].as_str()).collect();
    loop {
        let more: BTreeSet<&str> = packages
            .iter()
            .filter(|package| package["name"].as_str().is_some_and(|name| made_of.contains(name)))
            .flat_map(|package| package["dependencies"].as_array().into_iter().flatten())
            .filter(|dependency| dependency["path"].is_string() && dependency["kind"].is_null())
            .filter_map(|dependency| dependency["name"].as_str())
            .filter(|name| !made_of.contains(name))
            .collect();
        if more.is_empty() {
            break;
        }
        made_of.extend(more);
    }
    if made_of.is_empty() {
        return IGNORED.to_owned();
    }
    let others = packages.iter().filter(|package| package["name"].as_str().is_some_and(|name| !made_of.contains(name)));
    let others = others.map(|package| folder(package)).filter(|folder| !folder.as_os_str().is_empty());
    others.fold(IGNORED.to_owned(), |rules, folder| format!("{rules}/{}/**\n", folder.display()))
}

/// `cargo run` describes its package in the environment. A cargo started from here must not use that.
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_watcher_ignores_the_crates_that_its_function_is_not_made_of() {
        let package = |name: &str, folder: &str, dependencies: &[&str]| {
            let dependencies: Vec<Value> = dependencies.iter().map(|name| json!({"name": name, "path": "/w/x", "kind": null})).collect();
            json!({
                "name": name, "manifest_path": format!("/w/{folder}/Cargo.toml"), "dependencies": dependencies,
                "targets": [{"name": name, "kind": ["lib"]}, {"name": name, "kind": ["bin"]}],
            })
        };
        let metadata = json!({"packages": [
            package("shared", "shared", &[]),
            package("domains", "shared/domains", &["shared"]),
            package("auth", "functions/auth", &["shared"]),
            package("janitor", "functions/janitor", &["shared", "domains"]),
        ]});
        assert_eq!(rules(Path::new("/w"), &metadata, "auth"), format!("{IGNORED}/shared/domains/**\n/functions/janitor/**\n"));
        assert_eq!(rules(Path::new("/w"), &metadata, "janitor"), format!("{IGNORED}/functions/auth/**\n"));
        assert_eq!(rules(Path::new("/w"), &metadata, "unknown"), IGNORED);
    }
}
