//! Builds every contender and says how to start it. Nothing here is part of the measurement.
use std::{
    env, fs,
    io::{Cursor, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use crate::{Outcome, certificates::Trust, process::Program};

pub const NAMES: [&str; 5] = ["ours", "floor", "docs-default", "node", "python"];

#[derive(Clone)]
pub struct Contender {
    pub name: &'static str,
    pub program: Program,
    pub zip_bytes: usize,
}

/// Where the sources are and where results go.
pub struct Places {
    pub root: PathBuf,
    pub output: PathBuf,
}

impl Places {
    pub fn find() -> Outcome<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
        let metadata = run(cargo(&root).args(["metadata", "--no-deps", "--format-version", "1"]))?;
        let metadata: Value = serde_json::from_slice(&metadata)?;
        let target = PathBuf::from(metadata["target_directory"].as_str().ok_or("cargo names no target directory")?);
        let output = target.join("bench");
        fs::create_dir_all(output.join("logs"))?;
        Ok(Self { root, output })
    }

    pub fn logs(&self) -> PathBuf {
        self.output.join("logs")
    }

    fn sources(&self, name: &str) -> PathBuf {
        self.root.join("tests/bench/contenders").join(name)
    }
}

pub fn build(name: &'static str, places: &Places, trust: &Trust) -> Outcome<Contender> {
    match name {
        "ours" => rust(name, function(places, "projects", true)?, &[("TRUST_ROOTS", &trust.root)]),
        "floor" => rust(name, excluded(places, name)?, &[("TRUST_ROOTS", &trust.product)]),
        "docs-default" => rust(name, excluded(places, name)?, &[("SSL_CERT_FILE", &trust.system)]),
        "node" => node(places, trust),
        _ => python(places, trust),
    }
}

/// Builds a function of the workspace alone and as it is deployed, so that no other package's features reach it, and gives its binary.
pub fn function(places: &Places, package: &str, release: bool) -> Outcome<PathBuf> {
    let mut command = cargo(&places.root);
    command.args(["build", "--quiet", "--package", package, "--no-default-features", "--message-format", "json-render-diagnostics"]);
    if release {
        command.arg("--release");
    }
    executable(&run(&mut command)?, package)
}

fn excluded(places: &Places, name: &str) -> Outcome<PathBuf> {
    let mut command = cargo(&places.sources(name));
    command.args(["build", "--quiet", "--locked", "--release", "--message-format", "json-render-diagnostics"]);
    command.arg("--target-dir").arg(places.output.join(name));
    executable(&run(&mut command)?, name)
}

fn executable(messages: &[u8], name: &str) -> Outcome<PathBuf> {
    let lines = messages.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let path = lines
        .filter(|line| line["reason"] == "compiler-artifact" && line["target"]["name"] == name)
        .find_map(|line| line["executable"].as_str().map(PathBuf::from));
    Ok(path.ok_or_else(|| format!("cargo built no binary named {name}"))?)
}

fn rust(name: &'static str, path: PathBuf, trust: &[(&str, &PathBuf)]) -> Outcome<Contender> {
    let zip_bytes = zipped(&[("bootstrap".to_owned(), path.clone())])?;
    let environment = trust.iter().map(|(name, path)| (name.to_string(), path.display().to_string())).collect();
    let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
    let program = Program { name: name.to_owned(), path, arguments: vec![], folder, environment };
    Ok(Contender { name, program, zip_bytes })
}

fn node(places: &Places, trust: &Trust) -> Outcome<Contender> {
    let (sources, folder) = (places.sources("node"), places.output.join("node"));
    let bundle = folder.join("function/index.mjs");
    if changed(&sources, &folder, &["package.json", "package-lock.json", "index.mjs"])? {
        run(Command::new("npm").args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]).current_dir(&folder))?;
        // Parts of the SDK still use `require`, which an ES module does not have.
        let banner = r#"import{createRequire}from"node:module";const require=createRequire(import.meta.url);"#;
        run(Command::new("node_modules/.bin/esbuild")
            .args(["index.mjs", "--bundle", "--minify", "--platform=node", "--target=node20", "--format=esm"])
            .arg(format!("--banner:js={banner}"))
            .arg("--outfile=function/index.mjs")
            .arg("--log-level=warning")
            .current_dir(&folder))?;
        settle(&sources, &folder, &["package.json", "package-lock.json", "index.mjs"])?;
    }
    let path = run(Command::new("node").args(["-p", "process.execPath"]))?;
    let program = Program {
        name: "node".to_owned(),
        path: PathBuf::from(String::from_utf8(path)?.trim()),
        arguments: vec![bundle.display().to_string()],
        folder: folder.join("function"),
        environment: vec![("NODE_EXTRA_CA_CERTS".to_owned(), trust.root.display().to_string())],
    };
    let zip_bytes = zipped(&[("index.mjs".to_owned(), bundle)])?;
    Ok(Contender { name: "node", program, zip_bytes })
}

fn python(places: &Places, trust: &Trust) -> Outcome<Contender> {
    let (sources, folder) = (places.sources("python"), places.output.join("python"));
    let task = folder.join("function");
    if changed(&sources, &folder, &["requirements.txt", "handler.py"])? {
        if task.exists() {
            fs::remove_dir_all(&task)?;
        }
        run(Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check", "--root-user-action=ignore"])
            .arg("--target")
            .arg(&task)
            .args(["--requirement", "requirements.txt"])
            .current_dir(&folder))?;
        fs::copy(folder.join("handler.py"), task.join("handler.py"))?;
        settle(&sources, &folder, &["requirements.txt", "handler.py"])?;
    }
    let path = run(Command::new("python3").args(["-c", "import sys; print(sys.executable)"]))?;
    let program = Program {
        name: "python".to_owned(),
        path: PathBuf::from(String::from_utf8(path)?.trim()),
        arguments: ["-m", "awslambdaric", "handler.handle"].map(str::to_owned).to_vec(),
        folder: task.clone(),
        environment: vec![
            ("AWS_CA_BUNDLE".to_owned(), trust.system.display().to_string()),
            ("PYTHONPATH".to_owned(), task.display().to_string()),
            ("LAMBDA_TASK_ROOT".to_owned(), task.display().to_string()),
        ],
    };
    let mut files = Vec::new();
    collect_files(&task, &task, &mut files)?;
    let zip_bytes = zipped(&files)?;
    Ok(Contender { name: "python", program, zip_bytes })
}

/// Copies the sources to the build folder if they have changed since the last build.
fn changed(sources: &Path, folder: &Path, names: &[&str]) -> Outcome<bool> {
    fs::create_dir_all(folder)?;
    let stamp = stamp(sources, names)?;
    if fs::read_to_string(folder.join("built")).is_ok_and(|built| built == stamp) {
        return Ok(false);
    }
    for name in names {
        fs::copy(sources.join(name), folder.join(name))?;
    }
    Ok(true)
}

fn settle(sources: &Path, folder: &Path, names: &[&str]) -> Outcome<()> {
    Ok(fs::write(folder.join("built"), stamp(sources, names)?)?)
}

fn stamp(sources: &Path, names: &[&str]) -> Outcome<String> {
    let texts: Result<Vec<String>, _> = names.iter().map(|name| fs::read_to_string(sources.join(name))).collect();
    Ok(texts?.join("\n"))
}

fn collect_files(root: &Path, folder: &Path, files: &mut Vec<(String, PathBuf)>) -> Outcome<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            // The first start here creates compiled caches. A package for Lambda is shipped without them.
            if !path.ends_with("__pycache__") {
                collect_files(root, &path, files)?;
            }
        } else {
            files.push((path.strip_prefix(root)?.display().to_string(), path));
        }
    }
    Ok(())
}

fn zipped(files: &[(String, PathBuf)]) -> Outcome<usize> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated).compression_level(Some(9));
    for (name, path) in files {
        archive.start_file(name.as_str(), options)?;
        archive.write_all(&fs::read(path)?)?;
    }
    Ok(archive.finish()?.into_inner().len())
}

pub fn cargo(folder: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(folder);
    // Settings that speed up the build of the harness must not affect the contenders.
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_PROFILE_")) {
        command.env_remove(name);
    }
    command
}

/// Runs a tool and returns its output.
pub fn run(command: &mut Command) -> Outcome<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{name} is needed and does not start: {error}"))?;
    if !output.status.success() {
        return Err(format!("{name} failed: {:?}", command.get_args().collect::<Vec<_>>()).into());
    }
    Ok(output.stdout)
}
