//! What is acknowledged must outlast everything that ends a process or a disk: `suites/crash/run` tries it on the real
//! binary, over HTTP, with what was promised kept outside of it.
//!
//! Each subcommand is one kind of end. All of them share the writers ([`workload`]), the reading of what is in a tenant's
//! file ([`rows`]) and the comparison of the two ([`verdict`]).

#[path = "../../src/demo/chance.rs"]
mod chance;

mod cell;
mod kill;
mod power;
mod replay;
mod rows;
mod verdict;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Instant, UNIX_EPOCH};

use clap::{Args, Parser, Subcommand};

/// Tries what a crash could lose.
#[derive(Debug, Parser)]
#[command(name = "suites/crash/run")]
struct Cli {
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Debug, Subcommand)]
enum Suite {
    /// Kill the cell while clients write, start it again, compare
    Kill(kill::Options),
    /// Trace the cell, make the states that a power loss may leave, open each of them, compare
    Power(power::Options),
}

/// What every suite is told.
#[derive(Debug, Args)]
struct Common {
    /// The crm-cell to try [default: the one beside this program]
    #[arg(long)]
    binary: Option<PathBuf>,
    /// What all chance follows from; a run that failed is repeated by its number [default: the time]
    #[arg(long)]
    seed: Option<u64>,
}

impl Common {
    fn binary(&self) -> anyhow::Result<PathBuf> {
        let beside = || Ok(std::env::current_exe()?.with_file_name("../crm-cell"));
        let path = self.binary.clone().map_or_else(beside, anyhow::Ok)?;
        path.canonicalize().map_err(|error| {
            anyhow::anyhow!("no binary at {} ({error}): cargo build, or --binary", path.display())
        })
    }

    fn seed(&self) -> u64 {
        // Not the time of any record: a number that is another one each time.
        let now = || UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        self.seed.unwrap_or_else(now)
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let start = Instant::now();
    let done = match Cli::parse().suite {
        Suite::Kill(options) => kill::run(options).await,
        Suite::Power(options) => power::run(options).await,
    };
    match done {
        Ok(()) => {
            println!("passed in {} s", start.elapsed().as_secs());
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}
