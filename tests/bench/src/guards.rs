//! What the dependency trees of the functions must not contain.
use std::fs;

use serde::Serialize;

use crate::{
    Outcome,
    contenders::{Places, cargo, run},
};

/// A second TLS or HTTP stack, or a crate with an advisory that has no fix: name and, where only one line is meant, its version prefix.
const FORBIDDEN: [(&str, &str); 5] = [("ring", ""), ("rsa", ""), ("rustls", "0.21."), ("hyper", "0.14."), ("rustls-webpki", "0.101.")];

#[derive(Serialize)]
pub struct Guard {
    pub function: String,
    pub found: Vec<String>,
}

pub fn dependency_trees(places: &Places) -> Outcome<Vec<Guard>> {
    let mut functions: Vec<String> = Vec::new();
    for entry in fs::read_dir(places.root.join("functions"))? {
        functions.push(entry?.file_name().to_string_lossy().into_owned());
    }
    functions.sort();
    let mut guards = Vec::new();
    for function in functions {
        let mut command = cargo(&places.root);
        command.args(["tree", "--quiet", "--package", &function, "--no-default-features", "--edges", "normal,build"]);
        command.args(["--prefix", "none", "--format", "{p}"]);
        let tree = String::from_utf8(run(&mut command)?)?;
        let mut found: Vec<String> = tree.lines().filter(|line| is_forbidden(line)).map(str::to_owned).collect();
        found.sort();
        found.dedup();
        guards.push(Guard { function, found });
    }
    Ok(guards)
}

fn is_forbidden(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let (Some(name), Some(version)) = (words.next(), words.next()) else { return false };
    FORBIDDEN.iter().any(|(bad, prefix)| name == *bad && version.trim_start_matches('v').starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_lines_are_forbidden() {
        assert!(is_forbidden("ring v0.17.14"));
        assert!(is_forbidden("hyper v0.14.32 (*)"));
        assert!(!is_forbidden("hyper v1.12.0"));
        assert!(!is_forbidden("rustls v0.23.46"));
    }
}
