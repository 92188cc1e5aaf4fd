//! What opening, keeping and creating tenants costs.

use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::Context as _;
use crm_cell::app::{App, Parts};
use crm_cell::config::{Config, Sources};

use crate::client::{self, Connection, Requests};
use crate::report::Report;
use crate::report::Target::{AtLeast, AtMost};
use crate::scenarios::{self, Tenants};
use crate::servers::{Server, tenants_of};
use crate::{CONNECTIONS, Options, SECRET, data};

const TENANTS: usize = 2000;
/// More than may be open at once under this limit on files.
const IN_ROTATION: usize = 5000;
const FILES: u64 = 512;
const ROTATION: Duration = Duration::from_secs(60);
const ROWS: u64 = 200;
const FIRST_TOUCHES: usize = 300;
/// The most that checkpoints of all of them take.
const REST: Duration = Duration::from_secs(60);

pub(crate) async fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path();
    data::fill(&options.cell, path, IN_ROTATION, ROWS).await?;
    println!("\nlife cycle");
    cold_open(path, report).await?;
    open_tenants(options, path, report).await?;
    rotation(options, path, report).await
}

/// How long the map takes to open a tenant whose file exists, in this process.
async fn cold_open(directory: &Path, report: &mut Report) -> anyhow::Result<()> {
    let variables = [("PORT", "0"), ("CRM_JWT_SECRET", SECRET), ("CRM_HOST", "127.0.0.1")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let config = Config::load(&Sources::new(variables, directory))?;
    let app = App::build(config, Parts::of_process(directory)?).await?;
    let mut times = Vec::new();
    for number in 0..TENANTS {
        let tenant = format!("t{number}").parse()?;
        let start = Instant::now();
        app.state().tenants.find(&tenant).await?.context("the tenant")?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let p95 = times.get(TENANTS * 95 / 100).copied().unwrap_or(f64::NAN);
    report.figure("cold open in process, p50 ms", times, crate::report::Target::None);
    report.figure("cold open in process, p95 ms", vec![p95], AtMost(1.0));
    app.run(std::future::ready(())).await
}

/// Tenants that stay open: what they take, read only and written to; and how long the first write to a new one takes.
async fn open_tenants(options: &Options, directory: &Path, report: &mut Report) -> anyhow::Result<()> {
    let cell = Server::cell(&options.cell, directory, None)?;
    let tenants = Tenants::new(TENANTS, ROWS)?;
    // Connections, threads and caches that are there whatever the number of tenants.
    let one = Tenants::new(1, ROWS)?;
    client::run(&cell.address, CONNECTIONS, Duration::from_secs(2), &one.mix()).await?;
    let (before, _) = cell.footprint()?;
    once_each(&cell, &tenants.in_turn(|_| false)).await?;
    let (idle, _) = cell.footprint()?;
    once_each(&cell, &tenants.in_turn(|_| true)).await?;
    let (active, threads) = cell.footprint()?;
    let mut connection = Connection::open(&cell.address).await?;
    connection.send(&scenarios::open("/metrics")).await?;
    let figures = connection.json()?;
    let open = figures["tenants_open"].as_f64().context("tenants_open")?;
    let per_tenant = |from: u64, to: u64| (to.saturating_sub(from)) as f64 / TENANTS as f64;
    report.figure("tenants open at once", vec![open], AtLeast(TENANTS as f64));
    report.figure("KiB resident per idle tenant", vec![per_tenant(before, idle)], AtMost(230.0));
    report.figure("KiB resident per active tenant", vec![per_tenant(before, active)], AtMost(400.0));
    report.figure("threads", vec![threads as f64], crate::report::Target::None);
    // Each of those writes is followed by a checkpoint, and those by nothing.
    at_rest(&tenants_of(directory)).await?;
    let requests = scenarios::first_touch()?;
    let mut times = Vec::new();
    for _ in 0..FIRST_TOUCHES {
        times.push(connection.send(&requests).await?.as_secs_f64() * 1e3);
    }
    report.figure("first touch of a new tenant over HTTP, p50 ms", times, AtMost(2.0));
    cell.stop()
}

/// More tenants in turn than may be open.
async fn rotation(options: &Options, directory: &Path, report: &mut Report) -> anyhow::Result<()> {
    let cell = Server::cell(&options.cell, directory, Some(FILES))?;
    let requests = Tenants::new(IN_ROTATION, ROWS)?.in_turn(|turn| turn % 5 == 1);
    let run = client::run(&cell.address, CONNECTIONS, ROTATION, &requests).await?;
    let turns = run.per_second * ROTATION.as_secs_f64() / IN_ROTATION as f64;
    report.figure("turns of 5000 tenants, 512 files, no error", vec![turns], AtLeast(1.0));
    report.figure("answers/s meanwhile", vec![run.per_second], crate::report::Target::None);
    report.figure("p99 ms meanwhile", vec![run.p99_ms], crate::report::Target::None);
    cell.stop()
}

/// Waits until all WALs are empty.
async fn at_rest(tenants: &Path) -> anyhow::Result<()> {
    let is_written_to = |entry: io::Result<fs::DirEntry>| {
        let entry = entry?;
        Ok::<_, io::Error>(
            entry.file_name().to_string_lossy().ends_with("-wal") && entry.metadata()?.len() > 0,
        )
    };
    let give_up = Instant::now() + REST;
    while fs::read_dir(tenants)?.map(is_written_to).any(|written| written.unwrap_or(true)) {
        anyhow::ensure!(Instant::now() < give_up, "the tenants do not come to rest");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Sends one request to each of the tenants.
async fn once_each(cell: &Server, requests: &Requests) -> anyhow::Result<()> {
    let mut connection = Connection::open(&cell.address).await?;
    for _ in 0..TENANTS {
        connection.send(requests).await?;
    }
    Ok(())
}
