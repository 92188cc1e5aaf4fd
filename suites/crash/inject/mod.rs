//! S3: the n-th write, sync, open, … of every thread fails, once or for a while. strace is attached to the serving cell and
//! has the kernel answer so; when it detaches, the fault is over.

mod fault;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use tokio::task::JoinSet;

use self::fault::{Session, Sweep};
use crate::Common;
use crate::cell::{Cell, Launch};
use crate::chance::Chance;
use crate::heal::{heal, write_until_acknowledged};
use crate::ledger::{Files, Ledger, scratch};
use crate::replay::repeat;
use crate::verdict::Verdict;
use crate::workload::{Effect, Fate, Kind, Writer, Written};

/// A data root is given up for a new one after this many sessions.
const SESSIONS_PER_ROOT: usize = 30;
/// Tenants that exist, but are closed when a fault is armed.
const OLD: [&str; 3] = ["old0", "old1", "old2"];
/// A tenant whose files meet no fault.
const CALM: &str = "calm";

/// How many faults.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// Calls that are made to fail one at a time; those of lasting faults come on top. The long form is 1000
    #[arg(long, default_value_t = 150)]
    injections: usize,
}

#[derive(Default)]
struct Figures {
    sessions: usize,
    injections: usize,
    /// Calls that failed while a fault lasted.
    lasting: usize,
    sent: usize,
    acknowledged: usize,
    refused: usize,
    unknown: usize,
    /// Answers 423 and 429, also to writes that were acknowledged in the end.
    rejections: usize,
    repeated: usize,
    verdict: Verdict,
    heals_ms: Vec<u128>,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let (binary, seed) = (options.common.binary()?, options.common.seed());
    println!("inject: {} injections, seed {seed}", options.injections);
    let mut figures = Figures::default();
    let mut chance = Chance::of(seed);
    let mut sweep = Sweep::default();
    while figures.injections < options.injections {
        // In memory: how soon a tenant heals must not depend on what else the disk is doing.
        let directory = scratch()?;
        let launch = Launch::new(&binary, directory.path())
            .with("CRM__STORAGE__CHECKPOINT_AFTER", "10ms")
            .with("CRM__STORAGE__WRITER_IDLE", "40ms")
            .with("CRM__STORAGE__TENANT_IDLE", "80ms");
        let done = one_root(&launch, &mut sweep, options.injections, &mut chance, &mut figures).await;
        if let Err(error) = done.and_then(|()| launch.check_log()) {
            let kept = directory.keep();
            return Err(error).context(format!("seed {seed}, data root kept at {}", kept.display()));
        }
        println!(
            "inject: {} injections in {} sessions, {}",
            figures.injections, figures.sessions, figures.verdict
        );
    }
    figures.heals_ms.sort_unstable();
    let heal = |share: usize| figures.heals_ms[(figures.heals_ms.len() - 1) * share / 100];
    println!(
        "inject: {} injections, {} more in lasting faults, in {} sessions; {}; {} sent, {} acknowledged, {} refused, {} unknown; {} answers 423; {}; \
         {} repeated exactly; healed after p50 {} ms, p99 {} ms, max {} ms",
        figures.injections,
        figures.lasting,
        figures.sessions,
        sweep,
        figures.sent,
        figures.acknowledged,
        figures.refused,
        figures.unknown,
        figures.rejections,
        figures.verdict,
        figures.repeated,
        heal(50),
        heal(99),
        heal(100),
    );
    Ok(())
}

/// Sessions on one data root, then a comparison of everything.
async fn one_root(
    launch: &Launch,
    sweep: &mut Sweep,
    injections: usize,
    chance: &mut Chance,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let mut ledger = Ledger::default();
    let mut cell = launch.start().await?;
    for tenant in OLD.into_iter().chain([CALM]) {
        let (write, _) =
            write_until_acknowledged(&cell.client()?, tenant, &format!("first.{tenant}")).await?;
        ledger.add([write]);
    }
    for number in 0..SESSIONS_PER_ROOT {
        if figures.injections >= injections {
            break;
        }
        let session = sweep.next();
        let done = one_session(&mut cell, launch, &session, number, chance, &mut ledger, figures).await;
        let injected = done.with_context(|| session.to_string())?;
        sweep.saw(&session, injected);
        figures.sessions += 1;
        if session.is_lasting {
            figures.lasting += injected;
        } else {
            figures.injections += injected;
        }
    }
    // A commit whose sync failed may yet be there after a crash, or after a stop.
    if chance.pick(&[true, false]) {
        cell.kill()?;
    } else {
        cell.stop()?;
    }

    let files = Files::read(&launch.tenants(), ledger.tenants()).await?;
    figures.verdict += files.compare(&ledger)?;
    for write in ledger.writes() {
        figures.sent += 1;
        match write.fate {
            Fate::Acknowledged(_) => figures.acknowledged += 1,
            Fate::Refused => figures.refused += 1,
            Fate::Unknown => figures.unknown += 1,
        }
    }

    let cell = launch.start().await?;
    // What did not take place and rests on a customer is not tried now: others may have changed or deleted that since.
    let chosen = ledger
        .writes_mut()
        .filter(|write| files.hold(write) || write.effect == Effect::Create(Kind::Customer));
    figures.repeated += repeat(&cell.client()?, chosen, |write| files.hold(write)).await?.all_exact()?;
    cell.stop()?;
    figures.verdict += Files::read(&launch.tenants(), ledger.tenants()).await?.compare(&ledger)?;
    Ok(())
}

/// Arms one fault while clients write, ends it, and waits for the tenants to heal. Returns how many calls failed.
async fn one_session(
    cell: &mut Cell,
    launch: &Launch,
    session: &Session,
    number: usize,
    chance: &mut Chance,
    ledger: &mut Ledger,
    figures: &mut Figures,
) -> anyhow::Result<usize> {
    let client = cell.client()?;
    let new = [format!("new-{number}-0"), format!("new-{number}-1")];
    let tenants: Vec<&str> = OLD.into_iter().chain(new.iter().map(String::as_str)).collect();
    let armed = session.arm(cell.pid(), &launch.tenants(), &tenants).await?;

    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for (tenant, count) in tenants.iter().map(|tenant| (*tenant, 2)).chain([(CALM, 1)]) {
        for writer in 0..count {
            let seed = chance.between(0, i64::MAX - 1).unsigned_abs();
            let name = format!("{number}.{tenant}.{writer}");
            // With pauses, in which tenants are checkpointed and closed.
            let writer = Writer::new(client.clone(), tenant, name, seed).pausing(60);
            let stop = stop.clone();
            writers.spawn(async move { writer.run(&stop, usize::MAX).await });
        }
    }
    let begun = Instant::now();
    while begun.elapsed() < session.lasts {
        let health = client.get("/health", None).await.context("GET /health")?;
        ensure!(health.status == 200, "GET /health: {}", health.status);
        let list = client.get("/customers", Some(CALM)).await.context("a read of a tenant without faults")?;
        ensure!(list.status == 200, "a tenant without faults: {} {}", list.status, list.body);
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let injected = armed.disarm().await?;
    let over = Instant::now();

    let mut healing = JoinSet::new();
    for tenant in tenants.into_iter().map(str::to_owned) {
        let (client, name) = (client.clone(), format!("{number}.healed"));
        healing.spawn(async move { heal(&client, &tenant, &name, over).await });
    }
    let mut all = Written::default();
    while let Some(written) = writers.join_next().await {
        let written = written?;
        let is_calm = written.writes.first().is_some_and(|write| write.tenant == CALM);
        ensure!(!is_calm || written.rejections == 0, "a tenant without faults was refused writes");
        all += written;
    }
    while let Some(healed) = healing.join_next().await {
        let (writes, after) = healed??;
        all.writes.extend(writes);
        figures.heals_ms.push(after.as_millis());
    }
    cell.check_alive()?;
    launch.check_log()?;
    ensure!(all.wrong.is_empty(), "answers of another form: {:?}", all.wrong);
    figures.rejections += all.rejections;
    ledger.add(all.writes);
    Ok(injected)
}
