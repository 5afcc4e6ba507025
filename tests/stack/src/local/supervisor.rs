//! A small process between `cargo local` and `cargo lambda watch`. Its standard input is a pipe from `cargo local`. When the pipe closes,
//! on purpose or because the process was killed, it stops the watcher, so that nothing keeps the port.

use std::{
    ffi::OsString,
    io::Read,
    os::fd::AsFd,
    process::{Child, Command, ExitCode, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, getpid, kill_process, setsid};

/// The first argument that makes this binary the supervisor of the following command.
pub const ARGUMENT: &str = "--supervise";

/// The time for the watcher to stop its functions, before all of them are killed.
const TIMEOUT: Duration = Duration::from_secs(3);

pub fn run(command: Vec<OsString>) -> ExitCode {
    // A separate session, so that Ctrl-C in the terminal only reaches `cargo local`, which then stops everything in order.
    if let Err(error) = setsid() {
        eprintln!("cargo local: no session for the functions: {error}");
    }
    adopt_orphans();
    let mut child = match start(&command) {
        Ok(child) => child,
        Err(error) => {
            eprintln!("cargo local: {} cannot be started: {error}", command.join(" ".as_ref()).display());
            return ExitCode::FAILURE;
        }
    };
    let (ended, closed) = channel::<()>();
    std::thread::spawn(move || {
        let mut nothing = [0; 64];
        while matches!(std::io::stdin().read(&mut nothing), Ok(read) if read > 0) {}
        drop(ended);
    });
    let code = loop {
        match closed.recv_timeout(Duration::from_millis(50)) {
            Err(RecvTimeoutError::Timeout) if matches!(child.try_wait(), Ok(None)) => {}
            Err(RecvTimeoutError::Timeout) => break ExitCode::FAILURE,
            _ => {
                stop(&mut child);
                break ExitCode::SUCCESS;
            }
        }
    };
    end_descendants();
    code
}

/// Standard error, for a child's standard output.
pub fn standard_error() -> std::io::Result<Stdio> {
    Ok(Stdio::from(std::io::stderr().as_fd().try_clone_to_owned()?))
}

/// On systems that support it, orphans of a child become our children, so that `end_descendants` finds them.
pub fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_child_subreaper(Some(getpid())) {
        eprintln!("cargo local: orphans cannot be adopted: {error}");
    }
}

/// Whether a process's child has children: whether the watcher below a supervisor is running something.
pub fn has_work(supervisor: Option<u32>) -> bool {
    let Some(supervisor) = supervisor else { return false };
    let table = process_table();
    let children = |parent: i32| table.iter().filter(move |(_, of)| *of == parent).map(|(pid, _)| *pid);
    children(supervisor as i32).any(|watcher| children(watcher).next().is_some())
}

/// Kills everything that was started from here and still runs. The watcher puts each function into a separate session, so neither a process
/// group nor a session includes them all.
pub fn end_descendants() {
    let deadline = Instant::now() + TIMEOUT;
    while Instant::now() < deadline {
        let descendants = descendants();
        if descendants.is_empty() {
            return;
        }
        for pid in descendants {
            // It may have ended since it was listed.
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn start(command: &[OsString]) -> std::io::Result<Child> {
    let (program, arguments) = command.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    Command::new(program).args(arguments).stdin(Stdio::null()).stdout(standard_error()?).spawn()
}

/// Asks the watcher to end its functions and itself.
fn stop(child: &mut Child) {
    if let Some(pid) = Pid::from_raw(child.id() as i32) {
        let _ = kill_process(pid, Signal::TERM);
    }
    let deadline = Instant::now() + TIMEOUT;
    while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn descendants() -> Vec<Pid> {
    let table = process_table();
    let mut found = vec![getpid().as_raw_nonzero().get()];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(table.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.into_iter().skip(1).filter_map(Pid::from_raw).collect()
}

/// Each living process with its parent, without zombies.
fn process_table() -> Vec<(i32, i32)> {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return process_table_of_ps();
    };
    let read = |entry: std::fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name, in parentheses, may contain anything. State and parent follow it.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        (state != "Z").then_some((pid, parent))
    };
    processes.filter_map(|entry| read(entry.ok()?)).collect()
}

/// For systems without /proc.
fn process_table_of_ps() -> Vec<(i32, i32)> {
    let mut ps = Command::new("ps");
    ps.args(["-A", "-o", "pid=,ppid=,state="]).stdin(Stdio::null()).stdout(Stdio::piped());
    let Ok(ps) = ps.spawn() else {
        return Vec::new();
    };
    let itself = ps.id() as i32;
    let Ok(output) = ps.wait_with_output() else {
        return Vec::new();
    };
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (pid, parent) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            (pid != itself && !fields.next()?.starts_with('Z')).then_some((pid, parent))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_process_tables_know_this_process() {
        let this = getpid().as_raw_nonzero().get();
        for table in [process_table(), process_table_of_ps()] {
            // A machine without `ps` has /proc.
            assert!(table.is_empty() || table.iter().any(|(pid, _)| *pid == this));
        }
        assert!(process_table().iter().any(|(pid, _)| *pid == this));
    }
}
