//! Finds `cargo lambda`, or fetches it into the workspace's `.local/tools`.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The first version whose router and watcher were tested.
const OLDEST: (u32, u32) = (1, 9);

/// The `cargo-lambda` executable: the one on the path if it is new enough, otherwise a downloaded one.
pub fn cargo_lambda(workspace: &Path) -> Result<PathBuf, String> {
    let tools = workspace.join(".local").join("tools");
    let fetched = tools.join("bin").join("cargo-lambda");
    for candidate in [PathBuf::from("cargo-lambda"), fetched.clone()] {
        if is_new_enough(&candidate) {
            return Ok(candidate);
        }
    }
    std::fs::create_dir_all(&tools).map_err(|error| format!("{} cannot be made: {error}", tools.display()))?;
    eprintln!("cargo local: cargo-lambda {}.{} is not installed, fetching it into {}", OLDEST.0, OLDEST.1, tools.display());
    let version = format!("cargo-lambda~={}.{}", OLDEST.0, OLDEST.1);
    // Without its dependencies, which are only for cross-compiling.
    let wheel: [&OsStr; 10] = [
        "-m".as_ref(),
        "pip".as_ref(),
        "install".as_ref(),
        "--quiet".as_ref(),
        "--disable-pip-version-check".as_ref(),
        "--no-deps".as_ref(),
        "--upgrade".as_ref(),
        "--target".as_ref(),
        tools.as_os_str(),
        version.as_ref(),
    ];
    if succeeds(Command::new("python3").args(wheel)) && is_new_enough(&fetched) {
        return Ok(fetched);
    }
    eprintln!("cargo local: there is no ready-made cargo-lambda for this machine, building it; this takes some minutes");
    let version = format!("{}.{}", OLDEST.0, OLDEST.1);
    let mut install = Command::new(cargo());
    install.args(["install", "--locked", "cargo-lambda", "--version", &version, "--root"]).arg(&tools);
    if succeeds(&mut install) && is_new_enough(&fetched) {
        return Ok(fetched);
    }
    Err("cargo-lambda is missing and could not be fetched: install it with `pip install cargo-lambda` or `cargo install --locked cargo-lambda`".to_owned())
}

/// The cargo that started this process.
pub fn cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

fn succeeds(command: &mut Command) -> bool {
    // Their output goes to standard error, because standard output is for the ready line.
    let Ok(output) = crate::supervisor::standard_error() else {
        return false;
    };
    command.stdin(Stdio::null()).stdout(output).status().is_ok_and(|status| status.success())
}

fn is_new_enough(program: &Path) -> bool {
    let output = Command::new(program).args(["lambda", "--version"]).stderr(Stdio::null()).output();
    output.is_ok_and(|output| {
        let text = String::from_utf8_lossy(&output.stdout);
        version(&text).is_some_and(|version| version >= OLDEST)
    })
}

/// `cargo-lambda 1.9.2 (67129fc 2026-08-21Z)` → (1, 9)
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split_whitespace().nth(1)?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared() {
        assert_eq!(version("cargo-lambda 1.9.2 (67129fc 2026-08-21Z)\n"), Some((1, 9)));
        assert_eq!(version("cargo-lambda"), None);
        assert!(version("cargo-lambda 1.10.0").is_some_and(|version| version >= OLDEST));
        assert!(!is_new_enough(Path::new("/nowhere/cargo-lambda")));
    }
}
