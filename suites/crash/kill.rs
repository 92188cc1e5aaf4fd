//! S1: SIGKILL at a random moment while clients write; what they were told is held against the files and against a cell
//! started anew.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use tempfile::TempDir;

use crate::Common;
use crate::cell::{Cell, Client, Launch};
use crate::chance::Chance;
use crate::replay::repeat;
use crate::rows::{self, Rows};
use crate::verdict::{Verdict, compare};
use crate::workload::{Fate, Write, Writer, Written};

const TENANTS: usize = 8;
const WRITERS: usize = 4;
/// A data root is given up for a new one after this many kills: the comparisons look at all of it.
const KILLS_PER_ROOT: usize = 25;
/// Older writes that are repeated after each kill, besides those of its round.
const OLD_REPLAYS: i64 = 20;

/// How often, and what is tried.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// How often the cell is killed; the long form is 1000
    #[arg(long, default_value_t = 50)]
    kills: usize,
}

#[derive(Default)]
struct Figures {
    kills: usize,
    double_kills: usize,
    sent: usize,
    acknowledged: usize,
    unknown_but_written: usize,
    tenants: usize,
    replays: usize,
    wrong_replays: usize,
    verdict: Verdict,
    ready_ms: Vec<u128>,
}

/// The writes to each tenant, in the order of each writer.
type Ledger = BTreeMap<String, Vec<Write>>;

pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let (binary, seed) = (options.common.binary()?, options.common.seed());
    println!("kill: {} kills, {TENANTS} tenants x {WRITERS} writers, seed {seed}", options.kills);
    let mut figures = Figures::default();
    let mut chance = Chance::of(seed);
    while figures.kills < options.kills {
        let kills = KILLS_PER_ROOT.min(options.kills - figures.kills);
        let directory = tempfile::Builder::new().prefix("crash-kill-").tempdir()?;
        let launch = Launch::new(&binary, directory.path());
        let done = one_root(&launch, kills, &mut chance, &mut figures).await;
        if let Err(error) = done.and_then(|()| launch.check_log()) {
            let kept = directory.keep();
            return Err(error).context(format!("seed {seed}, data root kept at {}", kept.display()));
        }
        println!("kill: {} kills, {} sent, {}", figures.kills, figures.sent, figures.verdict);
    }
    figures.ready_ms.sort_unstable();
    let ready = |share: usize| figures.ready_ms[(figures.ready_ms.len() - 1) * share / 100];
    println!(
        "kill: {} kills ({} within 50 ms of a restart), {} tenants, {} sent, {} acknowledged, {} without an answer but \
         written; {}; {} repeated, {} not exactly; ready after p50 {} ms, p99 {} ms, max {} ms",
        figures.kills,
        figures.double_kills,
        figures.tenants,
        figures.sent,
        figures.acknowledged,
        figures.unknown_but_written,
        figures.verdict,
        figures.replays,
        figures.wrong_replays,
        ready(50),
        ready(99),
        ready(100),
    );
    Ok(())
}

/// Kills cells on one data root, then stops the last one and compares everything.
async fn one_root(
    launch: &Launch,
    kills: usize,
    chance: &mut Chance,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let mut ledger = Ledger::new();
    let mut cell = restart(launch, chance).await?;
    for round in 0..kills {
        let written = write_and_kill(cell, round, chance).await?;
        ensure!(written.wrong.is_empty(), "wrong answers: {:?}", written.wrong);
        figures.kills += 1;
        figures.sent += written.writes.len();
        figures.acknowledged +=
            written.writes.iter().filter(|write| matches!(write.fate, Fate::Acknowledged(_))).count();
        let fresh: Vec<String> = written.writes.iter().map(|write| write.request_id.clone()).collect();
        let touched: BTreeSet<String> = written.writes.iter().map(|write| write.tenant.clone()).collect();
        for write in written.writes {
            ledger.entry(write.tenant.clone()).or_default().push(write);
        }

        let files = read_copies(&launch.tenants(), &touched).await?;
        let verdict = compare_all(&files, &ledger, |tenant| touched.contains(tenant));
        verdict.check()?;
        figures.verdict += verdict;

        if chance.percent(30) {
            let mut child = launch.spawn()?;
            tokio::time::sleep(Duration::from_millis(chance.between(0, 50).unsigned_abs())).await;
            child.kill()?;
            child.wait()?;
            figures.kills += 1;
            figures.double_kills += 1;
        }
        cell = restart(launch, chance).await?;
        figures.ready_ms.push(cell.ready_after.as_millis());
        let is_written = |write: &Write| {
            files.get(&write.tenant).is_some_and(|rows| rows.answers.contains(&write.request_id))
        };
        replay_round(&cell.client()?, &mut ledger, &fresh, is_written, chance, figures).await?;
    }
    figures.tenants += ledger.len();
    cell.stop()?;
    let names =
        fs::read_dir(launch.tenants())?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names = names.collect::<std::io::Result<Vec<_>>>()?;
    let stray: Vec<_> = names.iter().filter(|name| !name.ends_with(".db")).collect();
    ensure!(stray.is_empty(), "left after a clean stop: {stray:?}");
    let files = read_copies(&launch.tenants(), ledger.keys()).await?;
    let verdict = compare_all(&files, &ledger, |_| true);
    verdict.check()?;
    figures.verdict += verdict;
    Ok(())
}

/// Starts the cell, in every other round so that it checkpoints, closes writers and closes tenants all the time.
async fn restart(launch: &Launch, chance: &mut Chance) -> anyhow::Result<Cell> {
    if chance.pick(&[true, false]) {
        return launch.start().await;
    }
    let restless = launch
        .clone()
        .with("CRM__STORAGE__CHECKPOINT_AFTER", "3ms")
        .with("CRM__STORAGE__WRITER_IDLE", "20ms")
        .with("CRM__STORAGE__TENANT_IDLE", "300ms")
        .with("CRM__STORAGE__MAX_OPEN_TENANTS", "6");
    restless.start().await
}

async fn write_and_kill(cell: Cell, round: usize, chance: &mut Chance) -> anyhow::Result<Written> {
    let stop = Arc::new(AtomicBool::new(false));
    let client = cell.client()?;
    let mut tasks = Vec::new();
    let mut spawn = |tenant: &str, name: String, pace: i64, most: usize, chance: &mut Chance| {
        let seed = chance.between(0, i64::MAX - 1).unsigned_abs();
        let writer = Writer::new(client.clone(), tenant, name, seed).pausing(pace);
        let stop = stop.clone();
        tasks.push(tokio::spawn(async move { writer.run(&stop, most).await }));
    };
    for tenant in 0..TENANTS {
        // Half of the tenants get pauses, or nobody would ever see them at rest.
        let pace = if tenant % 2 == 0 { 0 } else { 30 };
        for writer in 0..WRITERS {
            spawn(&format!("t{tenant}"), format!("{round}.{tenant}.{writer}"), pace, usize::MAX, chance);
        }
    }
    let life = Duration::from_millis(chance.between(5, 800).unsigned_abs());
    // A new tenant now and then, so that some are being made when the end comes.
    let end = tokio::time::Instant::now() + life;
    let mut made = 0;
    while tokio::time::Instant::now() < end {
        let tenant = format!("new-{round}-{made}");
        spawn(&tenant, format!("{round}.new.{made}"), 0, 3, chance);
        made += 1;
        let pause = Duration::from_millis(chance.between(1, 100).unsigned_abs());
        tokio::time::sleep_until(end.min(tokio::time::Instant::now() + pause)).await;
    }
    cell.kill()?;
    let mut all = Written::default();
    for task in tasks {
        let written = task.await?;
        all.writes.extend(written.writes);
        all.wrong.extend(written.wrong);
    }
    Ok(all)
}

/// What the files of these tenants hold, by tenant; one without a file is not in it.
async fn read_copies<'t>(
    directory: &Path,
    tenants: impl IntoIterator<Item = &'t String>,
) -> anyhow::Result<BTreeMap<String, Rows>> {
    let scratch = scratch()?;
    let mut files = BTreeMap::new();
    for tenant in tenants {
        rows::copy(directory, tenant, scratch.path())?;
        let path = scratch.path().join(format!("{tenant}.db"));
        if path.exists() {
            let rows = Rows::read(&path, tenant).await.with_context(|| format!("the file of {tenant}"))?;
            files.insert(tenant.clone(), rows);
        }
    }
    Ok(files)
}

/// A directory in memory, if there is such a thing: what lies there is thrown away.
pub(crate) fn scratch() -> std::io::Result<TempDir> {
    let mut name = tempfile::Builder::new();
    name.prefix("crash-");
    name.tempdir_in("/dev/shm").or_else(|_| name.tempdir())
}

fn compare_all(
    files: &BTreeMap<String, Rows>,
    ledger: &Ledger,
    is_meant: impl Fn(&String) -> bool,
) -> Verdict {
    let mut verdict = Verdict::default();
    let nothing = Rows::default();
    for (tenant, writes) in ledger.iter().filter(|(tenant, _)| is_meant(tenant)) {
        let writes: Vec<_> = writes.iter().collect();
        let rows = files.get(tenant).unwrap_or(&nothing);
        verdict += compare(rows, &writes, |write| matches!(write.fate, Fate::Acknowledged(_)));
    }
    verdict
}

/// Repeats the writes of the last round and some older ones.
async fn replay_round(
    client: &Client,
    ledger: &mut Ledger,
    fresh: &[String],
    is_written: impl Fn(&Write) -> bool,
    chance: &mut Chance,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let fresh: HashSet<&str> = fresh.iter().map(String::as_str).collect();
    let total = ledger.values().map(Vec::len).sum::<usize>();
    let old = OLD_REPLAYS * 10_000 / i64::try_from(total.max(1)).unwrap_or(i64::MAX);
    let chosen = ledger
        .values_mut()
        .flatten()
        .filter(|write| fresh.contains(write.request_id.as_str()) || chance.between(0, 9_999) < old);
    let mut chosen: Vec<_> = chosen.collect();
    figures.unknown_but_written +=
        chosen.iter().filter(|write| write.fate == Fate::Unknown && is_written(write)).count();
    let replays = repeat(client, chosen.drain(..), is_written).await?;
    figures.replays += replays.sent;
    figures.wrong_replays += replays.wrong.len();
    ensure!(
        replays.wrong.is_empty(),
        "{} replays are wrong: {:?}",
        replays.wrong.len(),
        replays.wrong.first()
    );
    Ok(())
}
