//! Interprets what a watcher prints: the output of cargo, of the compiler, of the watcher, and of the function. The state of the function
//! follows from it.

use std::collections::VecDeque;

use serde_json::Value;
use stack::gateway::functions::{Functions, Phase};

use crate::terminal::Terminal;

/// Lines of an error, for those who wait for the function.
const FIRST_LINES: usize = 20;

/// Lines of a function that ended.
const LAST_LINES: usize = 10;

/// Reads the lines of one watcher in their order.
pub struct Lines {
    function: String,
    functions: Functions,
    terminal: Terminal,
    /// An error or a warning of the compiler, up to the next empty line.
    block: Vec<String>,
    errors: Vec<String>,
    last: VecDeque<String>,
    runs: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// cargo has to compile first.
    Compiling,
    /// cargo has finished.
    Finished,
    Running,
    /// Not worth showing.
    Routine,
    /// The compilation failed.
    NotCompiled,
    /// The function, or cargo in its place, ended.
    Ended,
    Error,
    Warning,
    Empty,
    Logged,
    Other,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    None,
    /// Check whether the function still runs: the line also appears when a function was ended for a new one.
    Look,
}

impl Lines {
    pub fn new(function: &str, functions: Functions, terminal: Terminal) -> Lines {
        let function = function.to_owned();
        Lines { function, functions, terminal, block: vec![], errors: vec![], last: VecDeque::new(), runs: 0 }
    }

    pub fn read(&mut self, line: &str) -> Step {
        let line = plain(line);
        let line = line.trim_end();
        let kind = kind_of(line);
        // Only an empty line or a line of another kind ends a message of the compiler.
        if !self.block.is_empty() {
            if kind == Kind::Other {
                self.block.push(line.to_owned());
                return Step::None;
            }
            self.end_block();
        }
        match kind {
            Kind::Compiling => {
                self.errors.clear();
                // The first time it is only started, because everything has been built before.
                if self.runs > 0 && self.functions.phase_of(&self.function) != Some(Phase::Compiling) {
                    self.terminal.say(&format!("compiling `{}`", self.function));
                }
                self.functions.phase(&self.function, Phase::Compiling);
            }
            Kind::Finished => self.functions.phase(&self.function, Phase::Ready),
            Kind::Running => {
                self.errors.clear();
                self.last.clear();
                self.runs += 1;
                if self.runs > 1 {
                    self.terminal.say(&format!("`{}` runs anew", self.function));
                }
                self.functions.phase(&self.function, Phase::Ready);
            }
            Kind::NotCompiled => {
                let mut lines = std::mem::take(&mut self.errors);
                if lines.is_empty() {
                    lines.push(line.to_owned());
                }
                self.functions.phase(&self.function, Phase::Broken(lines));
                self.terminal.trouble(None, &format!("`{}` does not compile; it runs again once that is mended and saved", self.function));
            }
            Kind::Ended => return Step::Look,
            Kind::Error | Kind::Warning => self.block.push(line.to_owned()),
            Kind::Logged => {
                self.remember(line);
                if let Ok(value) = serde_json::from_str::<Value>(line) {
                    self.terminal.logged(&self.function, line, &value);
                }
            }
            Kind::Other => {
                self.remember(line);
                self.terminal.output(&self.function, line);
            }
            Kind::Routine | Kind::Empty => {}
        }
        Step::None
    }

    /// The last output of the function.
    pub fn last_words(&self) -> Vec<String> {
        self.last.iter().cloned().collect()
    }

    fn end_block(&mut self) {
        let block = std::mem::take(&mut self.block);
        let text = block.join("\n");
        if block[0].starts_with("error") {
            let room = FIRST_LINES.saturating_sub(self.errors.len());
            self.errors.extend(block.into_iter().take(room));
            self.terminal.trouble(None, &text);
        } else if !text.contains(" generated ") {
            self.terminal.warning(&self.function, &text);
        }
    }

    fn remember(&mut self, line: &str) {
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line.to_owned());
    }
}

fn kind_of(line: &str) -> Kind {
    let word = line.trim_start();
    let indented = line.len() > word.len();
    let starts = |words: &[&str]| words.iter().any(|start| word.starts_with(start));
    if word.is_empty() {
        return Kind::Empty;
    }
    if line.starts_with('{') && serde_json::from_str::<Value>(line).is_ok_and(|value| value["level"].is_string()) {
        return Kind::Logged;
    }
    // cargo writes the first word and the rest separately, so a line of the watcher may be between them. Therefore only the first word
    // counts.
    match word.split(' ').next().filter(|_| indented) {
        Some("Compiling" | "Checking" | "Blocking" | "Building" | "Updating" | "Downloading" | "Downloaded") => return Kind::Compiling,
        Some("Finished") => return Kind::Finished,
        Some("Running") => return Kind::Running,
        Some("Fresh" | "Locking" | "Adding" | "Removing" | "INFO" | "DEBUG" | "TRACE") => return Kind::Routine,
        _ => {}
    }
    if starts(&["For more information about this error", "Some errors have detailed explanations"]) {
        return Kind::Routine;
    }
    if word.starts_with("ERROR command ") {
        return Kind::Ended;
    }
    if word.starts_with("error: could not compile") {
        return Kind::NotCompiled;
    }
    if !indented && (word.starts_with("error:") || word.starts_with("error[")) {
        return Kind::Error;
    }
    if !indented && (word.starts_with("warning:") || word.starts_with("warning[")) {
        return Kind::Warning;
    }
    Kind::Other
}

/// Without colours.
fn plain(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line.chars();
    while let Some(character) = rest.next() {
        if character != '\u{1b}' {
            plain.push(character);
        } else if rest.next() == Some('[') {
            // Up to the letter that ends the sequence.
            for character in rest.by_ref() {
                if character.is_ascii_alphabetic() {
                    break;
                }
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use stack::{
        gateway::{
            access::{AccessLog, Filter},
            functions::Timeouts,
            queue::Bounds,
        },
        template::Function,
    };

    use super::*;

    fn lines() -> (Lines, Functions, AccessLog) {
        let function =
            Function { logical_id: "A".to_owned(), name: "auth".to_owned(), timeout_seconds: 3, environment: Default::default() };
        let functions =
            Functions::new(&[function], &Default::default(), Bounds { places: 1, per_function: 1, waiting: 1 }, Timeouts::default());
        functions.listening("auth", ([127, 0, 0, 1], 1).into());
        let access = AccessLog::new();
        (Lines::new("auth", functions.clone(), Terminal::new(false, access.clone())), functions, access)
    }

    #[test]
    fn a_compilation_that_fails_is_told_by_its_first_lines() {
        let (mut lines, functions, _) = lines();
        lines.read("    Blocking waiting for file lock on build directory");
        assert_eq!(functions.phase_of("auth"), Some(Phase::Compiling));
        for line in [
            "   Compiling auth v0.1.0 (/work)",
            "\u{1b}[0m\u{1b}[1m\u{1b}[38;5;9merror[E0308]\u{1b}[0m: mismatched types",
            " --> src/main.rs:1:126",
            "  |",
            "",
            "For more information about this error, try `rustc --explain E0308`.",
            "error: could not compile `auth` (bin \"auth\") due to 1 previous error",
        ] {
            assert_eq!(lines.read(line), Step::None);
        }
        let first = ["error[E0308]: mismatched types", " --> src/main.rs:1:126", "  |"].map(str::to_owned).to_vec();
        assert_eq!(functions.phase_of("auth"), Some(Phase::Broken(first)));
        for line in ["   Compiling auth v0.1.0 (/work)", "    Finished `dev` profile", "     Running `target/debug/auth`"] {
            lines.read(line);
        }
        assert_eq!(functions.phase_of("auth"), Some(Phase::Ready));
    }

    #[test]
    fn a_line_of_the_watcher_within_one_of_cargo_hides_nothing() {
        for torn in [
            &["    Finished INFO spawning function instance", " `dev` profile", "     Running `target/debug/auth`"][..],
            &["    Finished `dev` profile", "     Running INFO spawning function instance", " `target/debug/auth`"],
        ] {
            let (mut lines, functions, _) = lines();
            lines.read("    Blocking INFO starting Runtime server");
            lines.read(" waiting for file lock on artifact directory");
            assert_eq!(functions.phase_of("auth"), Some(Phase::Compiling));
            for line in torn {
                lines.read(line);
            }
            assert_eq!(functions.phase_of("auth"), Some(Phase::Ready));
            assert_eq!(lines.runs, 1);
        }
    }

    #[test]
    fn the_end_of_a_function_is_looked_into_and_its_last_words_kept() {
        let (mut lines, _, _) = lines();
        lines.read("thread 'main' panicked at src/main.rs:1:1:");
        lines.read("no table");
        assert_eq!(lines.read("ERROR command exited code=101"), Step::Look);
        assert_eq!(lines.last_words(), ["thread 'main' panicked at src/main.rs:1:1:", "no table"]);
    }

    #[test]
    fn a_request_line_reaches_the_access_log() {
        let (mut lines, _, access) = lines();
        let line = r#"{"timestamp":"x","level":"INFO","message":"request","request_id":"r-1","method":"GET","route":"/api/v1/projects","status":200,"latency_ms":1.5,"tenant":"t-1","read_units":0.5,"write_units":1.0,"function":"projects"}"#;
        lines.read(line);
        access.record(stack::gateway::access::Entry { request_id: "r-1".to_owned(), ..Default::default() });
        let entry = &access.recent(&Filter::default())[0];
        assert_eq!((entry.tenant.as_deref(), entry.write_units, entry.function_ms), (Some("t-1"), Some(1.0), Some(1.5)));
    }
}
