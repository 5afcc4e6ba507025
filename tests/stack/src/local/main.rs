//! `cargo local`: the whole of Tenantry on one machine. Standard output has only the ready line and the lines to paste. Everything else
//! goes to standard error.

mod demo;
mod lines;
mod options;
mod run;
mod supervisor;
mod terminal;
mod tools;
mod watch;
mod workspace;

use std::process::ExitCode;

use options::Options;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == supervisor::ARGUMENT) {
        return supervisor::run(arguments.collect());
    }
    let options = Options::read();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("the runtime cannot start: {error}")),
    };
    supervisor::adopt_orphans();
    let outcome = runtime.block_on(run::run(options));
    // After a normal end nothing is left. After an early or bad end, something may be.
    supervisor::end_descendants();
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &str) -> ExitCode {
    eprintln!("cargo local: {error}");
    ExitCode::FAILURE
}
