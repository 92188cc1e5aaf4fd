//! S4: small disks that fill up and are freed, a file system that turns read-only under the cell, and one whose blocks are
//! too small. Must be root, and in a mount namespace of its own: `suites/crash/run` sees to that.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use rustix::fs::statvfs;
use tokio::task::JoinSet;

use crate::Common;
use crate::cell::{Cell, Launch};
use crate::chance::Chance;
use crate::heal::heal;
use crate::ledger::{Files, Ledger, scratch};
use crate::replay::repeat;
use crate::verdict::Verdict;
use crate::workload::{Fate, Writer, Written};

/// Tenants that are open while the disk is full.
const WARM: [&str; 3] = ["warm0", "warm1", "warm2"];
/// A volume is made anew after this many cycles: what is written stays.
const CYCLES_PER_VOLUME: usize = 5;
/// What a full disk has left for the writers to fill.
const ROOM: u64 = 256 << 10;
/// How long it takes until a tenant that nobody asks for is closed.
const COOLING: Duration = Duration::from_millis(1200);
/// How long clients write to a disk that fills up.
const FULL: Duration = Duration::from_millis(1200);

/// How often.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// How often each disk is filled and freed; the long form is 20
    #[arg(long, default_value_t = 3)]
    cycles: usize,
}

/// A file system, unmounted when dropped.
struct Volume {
    directory: PathBuf,
}

/// What a volume is made of.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Tmpfs,
    /// With blocks of this many bytes.
    Ext4(u32),
}

#[derive(Default)]
struct Figures {
    cycles: usize,
    sent: usize,
    acknowledged: usize,
    rejections: usize,
    warm_reads: usize,
    /// Tenants that could be opened, and could not, while the disk was full.
    cold: (usize, usize),
    repeated: usize,
    verdict: Verdict,
    slowest_heal: Duration,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let (binary, seed) = (options.common.binary()?, options.common.seed());
    println!("disks: {} cycles on each, seed {seed}", options.cycles);
    let mut chance = Chance::of(seed);
    let work = scratch()?;
    let directory = work.path().join("volume");
    fs::create_dir(&directory)?;
    for kind in [Kind::Tmpfs, Kind::Ext4(4096)] {
        let mut figures = Figures::default();
        while figures.cycles < options.cycles {
            let Some(_volume) = mount(kind, work.path(), &directory)? else { break };
            let launch = launch_on(&binary, work.path(), &directory);
            let cycles = CYCLES_PER_VOLUME.min(options.cycles - figures.cycles);
            fill_and_free(&launch, &directory, cycles, &mut chance, &mut figures)
                .await
                .and_then(|()| launch.check_log())
                .with_context(|| format!("{kind:?}, seed {seed}, the cell's log: {}", tail(&launch.log())))?;
        }
        if figures.cycles > 0 {
            println!("disks: {kind:?}: {figures}");
        }
    }
    if let Some(_volume) = mount(Kind::Ext4(4096), work.path(), &directory)? {
        turn_read_only(&launch_on(&binary, work.path(), &directory), work.path(), &directory).await?;
    }
    if let Some(_volume) = mount(Kind::Ext4(1024), work.path(), &directory)? {
        let refused = launch_on(&binary, work.path(), &directory).start().await.err();
        let why = refused.map(|error| error.to_string()).unwrap_or_default();
        ensure!(
            why.contains("-b 4096"),
            "a volume with blocks of 1 KiB is not refused as it should be: {why:?}"
        );
        println!("disks: Ext4(1024): refused at start, with what to do");
    }
    Ok(())
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} cycles, {} sent, {} acknowledged; {} answers 423; {}; {} repeated exactly; {} warm reads answered; \
             of the cold tenants {} could be opened, {} not; healed after at most {} ms",
            self.cycles,
            self.sent,
            self.acknowledged,
            self.rejections,
            self.verdict,
            self.repeated,
            self.warm_reads,
            self.cold.0,
            self.cold.1,
            self.slowest_heal.as_millis(),
        )
    }
}

fn launch_on(binary: &Path, work: &Path, volume: &Path) -> Launch {
    Launch::new(binary, work)
        .rooted(&volume.join("cell"))
        .with("CRM__STORAGE__TENANT_IDLE", "500ms")
        .with("CRM__STORAGE__CHECKPOINT_AFTER", "200ms")
}

/// The end of a log.
fn tail(log: &Path) -> String {
    let log = fs::read_to_string(log).unwrap_or_default();
    let lines = log.lines().rev().filter(|line| !line.contains("http::error"));
    lines.take(5).collect::<Vec<_>>().join(" | ")
}

/// An empty file system of the kind; `None`, and a word, where such a one cannot be mounted.
fn mount(kind: Kind, work: &Path, directory: &Path) -> anyhow::Result<Option<Volume>> {
    let image = work.join("image");
    let mounted = match kind {
        Kind::Tmpfs => call("mount", &["-t", "tmpfs", "-o", "size=8m", "tmpfs"], directory),
        Kind::Ext4(block) => {
            let megabytes = if block < 4096 { 8 } else { 16 };
            let _old = fs::remove_file(&image);
            File::create(&image)?.set_len(megabytes << 20)?;
            call("mkfs.ext4", &["-q", "-F", "-m", "0", "-b", &block.to_string()], &image)?;
            call("mount", &["-o", "loop", &image.to_string_lossy()], directory)
        }
    };
    match mounted {
        Ok(()) => Ok(Some(Volume { directory: directory.to_owned() })),
        Err(error) => {
            println!("\n*** disks: {kind:?} SKIPPED: {error:#}\n");
            Ok(None)
        }
    }
}

/// Runs a program, `last` being its last argument.
fn call(program: &str, arguments: &[&str], last: &Path) -> anyhow::Result<()> {
    let done =
        Command::new(program).args(arguments).arg(last).output().with_context(|| program.to_owned())?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{program}: {}", said.trim());
    Ok(())
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _gone = call("umount", &[], &self.directory);
    }
}

/// Fills the disk and frees it, again and again under one cell; at last kills the cell on the full disk.
async fn fill_and_free(
    launch: &Launch,
    volume: &Path,
    cycles: usize,
    chance: &mut Chance,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let mut ledger = Ledger::default();
    let mut cell = launch.start().await?;
    for cycle in 0..cycles {
        let is_last = cycle + 1 == cycles;
        let filler = volume.join("filler");
        let cold = format!("cold{cycle}");
        let over = Instant::now();
        for tenant in WARM.into_iter().chain([cold.as_str()]) {
            let (writes, after) = heal(&cell.client()?, tenant, &format!("{cycle}.free"), over).await?;
            figures.slowest_heal = figures.slowest_heal.max(after);
            ledger.add(writes);
        }
        read_warm(&mut cell, COOLING, figures).await?;
        fill(&filler, volume)?;
        let written = write_to_a_full_disk(&mut cell, cycle, chance, figures).await?;
        figures.rejections += written.rejections;
        ledger.add(written.writes);
        figures.cycles += 1;
        if is_last {
            break;
        }
        fs::remove_file(&filler)?;
    }
    cell.kill()?;
    fs::remove_file(volume.join("filler"))?;

    let files = Files::read(&launch.tenants(), ledger.tenants()).await?;
    figures.verdict += files.compare(&ledger)?;
    for write in ledger.writes() {
        figures.sent += 1;
        figures.acknowledged += usize::from(matches!(write.fate, Fate::Acknowledged(_)));
    }
    let cell = launch.start().await?;
    // Not those that were refused: there were many, and the disk is small.
    let chosen = ledger.writes_mut().filter(|write| files.hold(write));
    figures.repeated += repeat(&cell.client()?, chosen, |write| files.hold(write)).await?.all_exact()?;
    cell.stop()?;
    figures.verdict += Files::read(&launch.tenants(), ledger.tenants()).await?.compare(&ledger)?;
    Ok(())
}

/// Takes all space but a little.
fn fill(filler: &Path, volume: &Path) -> anyhow::Result<()> {
    let free = free(volume)?;
    let mut file = File::create(filler)?;
    let block = vec![0x55; 4096];
    for _ in 0..free.saturating_sub(ROOM) / 4096 {
        if file.write_all(&block).is_err() {
            break;
        }
    }
    let _full = file.sync_all();
    Ok(())
}

fn free(volume: &Path) -> anyhow::Result<u64> {
    let volume = statvfs(volume)?;
    Ok(volume.f_bavail * volume.f_frsize)
}

/// Reads the warm tenants for a while, so that they stay open.
async fn read_warm(cell: &mut Cell, lasts: Duration, figures: &mut Figures) -> anyhow::Result<()> {
    let client = cell.client()?;
    let begun = Instant::now();
    while begun.elapsed() < lasts {
        for tenant in WARM {
            let list = client.get("/customers?pageSize=5", Some(tenant)).await;
            cell.check_alive()?;
            let list = list.context("a warm read")?;
            ensure!(list.status == 200, "a warm read answers {} {}", list.status, list.body);
            figures.warm_reads += 1;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn write_to_a_full_disk(
    cell: &mut Cell,
    cycle: usize,
    chance: &mut Chance,
    figures: &mut Figures,
) -> anyhow::Result<Written> {
    let client = cell.client()?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for tenant in WARM {
        for writer in 0..2 {
            let seed = chance.between(0, i64::MAX - 1).unsigned_abs();
            let name = format!("{cycle}.{tenant}.{writer}");
            let writer = Writer::new(client.clone(), tenant, name, seed).pausing(10);
            let stop = stop.clone();
            writers.spawn(async move { writer.run(&stop, usize::MAX).await });
        }
    }
    read_warm(cell, FULL, figures).await?;
    // A tenant that is closed may stay closed on a full disk.
    for cold in 0..=cycle {
        let list = client.get("/customers", Some(&format!("cold{cold}"))).await?;
        match list.status {
            200 => figures.cold.0 += 1,
            423 => figures.cold.1 += 1,
            other => bail!("a cold read answers {other} {}", list.body),
        }
    }
    read_warm(cell, FULL / 4, figures).await?;
    stop.store(true, Ordering::Relaxed);
    let mut all = Written::default();
    while let Some(written) = writers.join_next().await {
        all += written?;
    }
    cell.check_alive()?;
    ensure!(all.wrong.is_empty(), "answers of another form: {:?}", all.wrong);
    ensure!(all.rejections > 0, "the disk was never full");
    Ok(all)
}

/// The kernel makes a file system read-only when it finds it damaged: reads go on, writes are refused, nothing is lost.
async fn turn_read_only(launch: &Launch, work: &Path, volume: &Path) -> anyhow::Result<()> {
    let mut cell = launch.start().await?;
    let client = cell.client()?;
    let mut ledger = Ledger::default();
    for tenant in WARM {
        let (writes, _) = heal(&client, tenant, "before", Instant::now()).await?;
        ledger.add(writes);
    }
    call("mount", &["-o", "remount,abort"], volume)?;
    let mut refused = 0;
    for tenant in WARM {
        let stop = Arc::new(AtomicBool::new(false));
        let writer = Writer::new(client.clone(), tenant, format!("ro.{tenant}"), 1);
        let written = writer.run(&stop, 5).await;
        ensure!(written.wrong.is_empty(), "answers of another form: {:?}", written.wrong);
        let acknowledged = written.writes.iter().filter(|write| matches!(write.fate, Fate::Acknowledged(_)));
        ensure!(acknowledged.count() == 0, "a write to a read-only file system was acknowledged");
        refused += written.rejections;
        ledger.add(written.writes);
        let list = client.get("/customers", Some(tenant)).await?;
        ensure!(list.status == 200, "a read answers {} {}", list.status, list.body);
    }
    cell.check_alive()?;
    cell.kill()?;
    call("umount", &[], volume)?;
    call("mount", &["-o", "loop", &work.join("image").to_string_lossy()], volume)?;
    let cell = launch.start().await?;
    for tenant in WARM {
        let (writes, _) = heal(&cell.client()?, tenant, "after", Instant::now()).await?;
        ledger.add(writes);
    }
    cell.stop()?;
    let verdict = Files::read(&launch.tenants(), ledger.tenants()).await?.compare(&ledger)?;
    println!("disks: read-only: {refused} answers 423, reads answered; mounted again: {verdict}");
    Ok(())
}
