//! The flags of `cargo local`.

use std::path::PathBuf;

use clap::Parser;

/// Run all of Tenantry on this machine: the functions, an embedded DynamoDB, Secrets Manager and SQS, and a console.
#[derive(Debug, Clone, Parser)]
#[command(name = "cargo local", bin_name = "cargo local")]
pub struct Options {
    /// Port of the API
    #[arg(long, default_value_t = 9000, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,

    /// Port of the console: API reference, mailbox, table browser
    #[arg(long, default_value_t = 9001, value_parser = clap::value_parser!(u16).range(1..))]
    pub console_port: u16,

    /// Where the data is kept [default: .local/data of the workspace]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Keep the data in memory; it is gone at the end
    #[arg(long, conflicts_with = "data")]
    pub memory: bool,

    /// Build and run the functions with the release profile
    #[arg(long)]
    pub release: bool,

    /// Count and report rate limits and quotas, but never refuse
    #[arg(long)]
    pub no_limits: bool,
}

impl Options {
    /// Reads the command line; a mistake or `--help` ends the process.
    pub fn read() -> Options {
        Options::parse()
    }
}
