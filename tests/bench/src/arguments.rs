//! The command line.
use std::path::PathBuf;

use clap::Parser;

/// Measures the real `projects` function beside four contenders doing the same work, and prints one table.
#[derive(Parser, Clone)]
#[command(name = "cargo bench-ratios")]
pub struct Arguments {
    /// Interleaved rounds.
    #[arg(long, default_value_t = 6)]
    pub rounds: usize,
    /// Cold starts of each contender in a round.
    #[arg(long, default_value_t = 5)]
    pub cold: usize,
    /// Warm requests after each cold start.
    #[arg(long, default_value_t = 60)]
    pub warm: usize,
    /// Small but complete: 2 rounds of 3 cold starts, lists up to 10,000 items, a campaign to 10,000 leads.
    #[arg(long)]
    pub quick: bool,
    /// Exit with 1 when a count, a CPU time or a size misses its target. Wall times never fail a run.
    #[arg(long)]
    pub gate: bool,
    /// Where the JSON goes; `target/bench/ratios.json` unless told.
    #[arg(long, value_name = "PATH")]
    pub json: Option<PathBuf>,
    /// Only this part or contender; may be given more than once.
    #[arg(long, value_name = "NAME", value_parser = ["ours", "floor", "docs-default", "node", "python", "operations", "lists", "engine", "messages", "guards"])]
    pub only: Vec<String>,
    /// The longest list to load.
    #[arg(long, value_name = "ITEMS", default_value_t = 1_000_000)]
    pub list_max: usize,
    /// Leads of the campaign that is planned.
    #[arg(long, value_name = "LEADS", default_value_t = 1_000_000)]
    pub leads: usize,
}

impl Arguments {
    pub fn read() -> Self {
        let mut arguments = Self::parse();
        if arguments.quick {
            arguments.rounds = arguments.rounds.min(2);
            arguments.cold = arguments.cold.min(3);
            arguments.warm = arguments.warm.min(30);
            arguments.list_max = arguments.list_max.min(10_000);
            arguments.leads = arguments.leads.min(10_000);
        }
        arguments
    }

    /// Everything except the dependency trees needs the running product.
    pub fn needs_world(&self) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only != "guards")
    }

    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}
