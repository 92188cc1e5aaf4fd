//! The cell under load, against what it is compared with: ratios of answers a second, taken in interleaved rounds of one
//! run, because machines differ and drift.
//!
//! `cargo bench --bench load` (`-- --help`): builds the release cell and starts it with a fresh data root, a hello-world of
//! the same framework and the usual sqlx pool code over the same schema, each in a process of its own; hand-written
//! rusqlite runs in this one. 64 connections, JWTs verified, `synchronous=FULL`.

mod baselines;
mod ceiling;
mod client;
mod data;
mod groups;
mod lifecycle;
mod report;
mod scenarios;
mod servers;

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use clap::Parser;
use crm_cell::domain::{Clock as _, IdSource, SystemClock};

use crate::report::Report;

/// As the cell.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SECRET: &str = "the secret of the load driver, longer than 32 bytes";
const CONNECTIONS: usize = 64;

#[derive(Debug, Parser)]
struct Options {
    /// Interleaved rounds; medians are taken over them.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each subject in each round.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Only the groups whose names contain this: "1 tenant", "100 tenants", "2000 tenants", "life cycle".
    #[arg(long)]
    only: Option<String>,
    /// Only the subjects whose names contain this, and what they are compared with.
    #[arg(long)]
    subject: Option<String>,
    /// Write everything that was measured, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// The cell to measure.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_crm-cell"))]
    cell: PathBuf,
    /// Serve a baseline instead, over a directory of tenants' files.
    #[arg(long, num_args = 2, value_names = ["NAME", "DIRECTORY"], hide = true)]
    baseline: Option<Vec<PathBuf>>,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    fn wants(&self, group: &str) -> bool {
        self.only.as_ref().is_none_or(|only| group.contains(only.as_str()))
    }
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if let Some([which, tenants]) = options.baseline.as_deref() {
        // The runtime that the cell has.
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        return runtime.block_on(baselines::serve(&which.to_string_lossy(), tenants));
    }
    // One thread: the clients must not take more of the machine than they need.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut report = Report::default();
        for group in groups::ALL.iter().filter(|group| options.wants(group.name)) {
            group.measure(&options, &mut report).await?;
        }
        if options.wants("life cycle") {
            lifecycle::measure(&options, &mut report).await?;
        }
        if let Some(path) = &options.json {
            std::fs::write(path, serde_json::to_string_pretty(&report)?)?;
        }
        Ok(())
    })
}

/// A fresh id, as the cell makes them.
fn record_id() -> String {
    static IDS: LazyLock<IdSource> = LazyLock::new(IdSource::default);
    IDS.next(SystemClock.now()).to_string()
}
