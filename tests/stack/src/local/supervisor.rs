//! A small process between `cargo local` and `cargo lambda watch`. Its standard input is a pipe from `cargo local`: when
//! that closes, on purpose or because the process was killed, it stops the watcher, so that nothing keeps the port.

use std::{
    ffi::OsString,
    io::Read,
    os::fd::AsFd,
    process::{Child, Command, ExitCode, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, setsid};

/// First argument that makes this binary the supervisor of the command that follows.
pub const ARGUMENT: &str = "--supervise";

/// How long the watcher may take to stop its functions before it is killed.
const PATIENCE: Duration = Duration::from_secs(3);

pub fn run(command: Vec<OsString>) -> ExitCode {
    // A session of its own: Ctrl-C in the terminal reaches `cargo local` alone, which then stops things in order.
    if let Err(error) = setsid() {
        eprintln!("cargo local: no session for the functions: {error}");
    }
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
    loop {
        match closed.recv_timeout(Duration::from_millis(50)) {
            Err(RecvTimeoutError::Timeout) => match child.try_wait() {
                Ok(None) => {}
                _ => return ExitCode::FAILURE,
            },
            _ => {
                stop(&mut child);
                return ExitCode::SUCCESS;
            }
        }
    }
}

/// Standard error, for a child's standard output.
pub fn standard_error() -> std::io::Result<Stdio> {
    Ok(Stdio::from(std::io::stderr().as_fd().try_clone_to_owned()?))
}

fn start(command: &[OsString]) -> std::io::Result<Child> {
    let (program, arguments) = command.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    Command::new(program).args(arguments).stdin(Stdio::null()).stdout(standard_error()?).spawn()
}

fn stop(child: &mut Child) {
    // Asked first: the watcher ends its functions, which are in process groups of their own.
    if let Some(pid) = Pid::from_raw(child.id() as i32) {
        let _ = kill_process(pid, Signal::TERM);
    }
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(child.kill());
    drop(child.wait());
}
