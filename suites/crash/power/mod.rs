//! S2: what a power loss may leave. The cell is run under strace; out of the log of its writes and syncs come states of
//! the disk at any moment, and each of them is opened and held against what clients had been told by then.

mod disk;
mod trace;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use tokio::task::JoinSet;

use self::disk::{Disk, Rest, Syncs, checkpoints};
use self::trace::{Trace, What};
use crate::Common;
use crate::cell::Launch;
use crate::chance::Chance;
use crate::kill::scratch;
use crate::rows::Rows;
use crate::verdict::{Verdict, compare};
use crate::workload::{Write, Writer, Written};

/// States that are looked at at the same time.
const AT_ONCE: usize = 4;

/// How many states.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// States of the disk that are tried; each of the two controls tries a tenth as many. The long form is 10000
    #[arg(long, default_value_t = 1500)]
    states: usize,
}

/// What is recorded.
struct Workload {
    name: &'static str,
    tenants: usize,
    writers: usize,
    /// Of each writer.
    writes: usize,
    /// Milliseconds between the writes of one writer, at most.
    pace: i64,
    variables: &'static [(&'static str, &'static str)],
    /// Percent of the moments that are chosen from within checkpoints.
    in_checkpoints: i64,
}

const WORKLOADS: [Workload; 3] = [
    Workload {
        name: "plain",
        tenants: 3,
        writers: 4,
        writes: 15,
        pace: 0,
        variables: &[],
        in_checkpoints: 10,
    },
    Workload {
        name: "checkpoints",
        tenants: 3,
        writers: 2,
        writes: 30,
        pace: 60,
        variables: &[
            ("CRM__STORAGE__CHECKPOINT_AFTER", "5ms"),
            ("CRM__STORAGE__WRITER_IDLE", "50ms"),
            ("CRM__STORAGE__TENANT_IDLE", "200ms"),
        ],
        in_checkpoints: 70,
    },
    Workload {
        name: "new tenants",
        tenants: 24,
        writers: 1,
        writes: 3,
        pace: 20,
        variables: &[],
        in_checkpoints: 0,
    },
];

/// A run of the cell: what it asked of the disk, and what it promised.
struct Recording {
    trace: Trace,
    checkpoints: Vec<(usize, usize)>,
    /// Writes by tenant.
    ledger: Arc<BTreeMap<String, Vec<Write>>>,
    /// The line on which a request was answered, by its id.
    acknowledged: Arc<HashMap<String, usize>>,
}

#[derive(Default)]
struct Figures {
    states: usize,
    in_checkpoints: usize,
    /// Acknowledged writes that had to be there, over all states.
    required: usize,
    corrupt: usize,
    /// States in which acknowledged writes were lost.
    lossy: usize,
    verdict: Verdict,
    examples: Vec<String>,
}

/// What one state is.
struct Finding {
    required: usize,
    verdict: Verdict,
    corrupt: Option<String>,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let (binary, seed) = (options.common.binary()?, options.common.seed());
    println!("power: {} states, seed {seed}", options.states);
    let mut chance = Chance::of(seed);
    let (mut obeyed, mut ignored, mut normal) = (Figures::default(), Figures::default(), Figures::default());
    let share = options.states.div_ceil(WORKLOADS.len());
    for workload in &WORKLOADS {
        let recording = record(&binary, workload, &mut chance).await.context(workload.name)?;
        let (writes, lines) = (recording.ledger.values().map(Vec::len).sum::<usize>(), recording.trace.lines);
        println!("power: {}: {writes} acknowledged writes in a log of {lines} lines", workload.name);
        for (syncs, states, figures) in [
            (Syncs::Obeyed, share, &mut obeyed),
            (Syncs::Ignored, share.div_ceil(10), &mut ignored),
            (Syncs::AsWithNormal, share.div_ceil(10), &mut normal),
        ] {
            try_states(&recording, workload, syncs, states, &mut chance, figures).await?;
        }
        println!(
            "power: {}: {} states, {} corrupt, {}",
            workload.name, obeyed.states, obeyed.corrupt, obeyed.verdict
        );
    }
    println!(
        "power: {} states, {} of them within checkpoints, {} acknowledged writes required of them: {} corrupt, {}",
        obeyed.states, obeyed.in_checkpoints, obeyed.required, obeyed.corrupt, obeyed.verdict
    );
    println!(
        "power: control without syncs: {} of {} states corrupt, {} more without acknowledged writes; control with the syncs \
         of synchronous=NORMAL: {} of {} states without acknowledged writes, {} corrupt",
        ignored.corrupt, ignored.states, ignored.lossy, normal.lossy, normal.states, normal.corrupt
    );
    ensure!(
        obeyed.corrupt == 0,
        "seed {seed}: {} corrupt states: {}",
        obeyed.corrupt,
        obeyed.examples.join("; ")
    );
    obeyed.verdict.check().with_context(|| format!("seed {seed}"))?;
    ensure!(
        obeyed.in_checkpoints * 5 >= obeyed.states,
        "too few states within checkpoints to prove anything"
    );
    ensure!(
        (ignored.corrupt + ignored.lossy) * 2 >= ignored.states,
        "the control without syncs does not fire"
    );
    ensure!(normal.lossy * 20 >= normal.states, "the control with synchronous=NORMAL does not fire");
    Ok(())
}

/// Runs the cell under strace, with writers, until it has been stopped.
async fn record(binary: &Path, workload: &Workload, chance: &mut Chance) -> anyhow::Result<Recording> {
    let directory = scratch()?;
    let log = directory.path().join("strace.log");
    let mut launch = Launch::new(binary, directory.path());
    launch.under = vec!["strace".into(), "-o".into(), log.clone().into()];
    launch.under.extend(trace::OPTIONS.map(Into::into));
    for (name, value) in workload.variables {
        launch = launch.with(name, value);
    }
    let cell = launch.start().await?;
    let never = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for tenant in 0..workload.tenants {
        for writer in 0..workload.writers {
            let seed = chance.between(0, i64::MAX - 1).unsigned_abs();
            let name = format!("{tenant}.{writer}");
            let writer =
                Writer::new(cell.client()?, &format!("t{tenant}"), name, seed).pausing(workload.pace);
            let (never, writes) = (never.clone(), workload.writes);
            writers.spawn(async move { writer.run(&never, writes).await });
        }
    }
    let mut all = Written::default();
    while let Some(written) = writers.join_next().await {
        let written = written?;
        all.writes.extend(written.writes);
        all.wrong.extend(written.wrong);
    }
    ensure!(all.wrong.is_empty(), "wrong answers: {:?}", all.wrong);
    // Long enough for the checkpoint after the last write, where there is one.
    tokio::time::sleep(Duration::from_millis(200)).await;
    cell.stop()?;
    launch.check_log()?;

    let text = fs::read_to_string(&log)?;
    let trace = Trace::parse(&text, &launch.tenants())?;
    let mut acknowledged = HashMap::new();
    for event in &trace.events {
        if let What::Acknowledged { request_id } = &event.what {
            acknowledged.entry(request_id.clone()).or_insert(event.start);
        }
    }
    let mut ledger: BTreeMap<String, Vec<Write>> = BTreeMap::new();
    for write in all.writes {
        if !acknowledged.contains_key(&write.request_id) {
            bail!("the answer to {} is not in the log: {:?}", write.request_id, write.fate);
        }
        ledger.entry(write.tenant.clone()).or_default().push(write);
    }
    let checkpoints = checkpoints(&trace);
    Ok(Recording { trace, checkpoints, ledger: ledger.into(), acknowledged: acknowledged.into() })
}

/// Tries as many states as are asked for.
async fn try_states(
    recording: &Recording,
    workload: &Workload,
    syncs: Syncs,
    states: usize,
    chance: &mut Chance,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let mut moments: Vec<usize> =
        (0..states).map(|_| a_moment(recording, workload.in_checkpoints, chance)).collect();
    moments.sort_unstable();
    let mut disk = Disk::new(&recording.trace, syncs);
    let mut checks = JoinSet::new();
    for (number, moment) in moments.into_iter().enumerate() {
        let rest = chance.pick(&Rest::ALL);
        let state = disk.state(moment, rest, chance);
        figures.states += 1;
        let inside = recording.checkpoints.iter().any(|(from, to)| *from < moment && moment <= *to);
        figures.in_checkpoints += usize::from(inside);
        while checks.len() >= AT_ONCE {
            figures.count(checks.join_next().await.context("a check")???);
        }
        let (ledger, acknowledged) = (recording.ledger.clone(), recording.acknowledged.clone());
        checks.spawn(async move {
            let finding = check(&state, &ledger, |write| acknowledged[&write.request_id] < moment).await;
            finding.with_context(|| format!("state {number}: {rest:?} at line {moment}"))
        });
    }
    while let Some(finding) = checks.join_next().await {
        figures.count(finding??);
    }
    Ok(())
}

/// A line of the log before which the power goes.
fn a_moment(recording: &Recording, in_checkpoints: i64, chance: &mut Chance) -> usize {
    let mut between = |from: usize, to: usize| {
        let [from, to] = [from, to].map(|line| i64::try_from(line).unwrap_or(i64::MAX));
        usize::try_from(chance.between(from, to)).unwrap_or(0)
    };
    let last = recording.checkpoints.len().saturating_sub(1);
    if last > 0 && between(1, 100) <= usize::try_from(in_checkpoints).unwrap_or(0) {
        let (from, to) = recording.checkpoints[between(0, last)];
        return between(from + 1, to);
    }
    // Nothing happens to a tenant before the first event.
    let first = recording.trace.events.first().map_or(0, |event| event.start);
    between(first, recording.trace.lines)
}

impl Figures {
    fn count(&mut self, finding: Finding) {
        self.required += finding.required;
        if let Some(why) = finding.corrupt {
            self.corrupt += 1;
            self.examples.push(why);
            self.examples.truncate(5);
        } else {
            self.lossy += usize::from(finding.verdict.lost > 0);
        }
        self.verdict += finding.verdict;
    }
}

/// Opens every tenant of a state, as the next start would, and compares.
async fn check(
    state: &BTreeMap<String, Vec<u8>>,
    ledger: &BTreeMap<String, Vec<Write>>,
    must: impl Fn(&Write) -> bool,
) -> anyhow::Result<Finding> {
    let directory = scratch()?;
    for (name, content) in state {
        fs::write(directory.path().join(name), content)?;
    }
    let mut finding = Finding { required: 0, verdict: Verdict::default(), corrupt: None };
    for (tenant, writes) in ledger {
        let name = format!("{tenant}.db");
        let rows = if state.contains_key(&name) {
            Rows::read(&directory.path().join(&name), tenant)
                .await
                .with_context(|| format!("the file of {tenant}"))
        } else if state.contains_key(&format!("{name}-wal")) {
            Err(anyhow::anyhow!("{name} is missing, and its WAL is there"))
        } else {
            Ok(Rows::default())
        };
        let writes: Vec<_> = writes.iter().collect();
        finding.required += writes.iter().filter(|write| must(write)).count();
        match rows {
            Ok(rows) => finding.verdict += compare(&rows, &writes, &must),
            Err(error) => finding.corrupt = Some(format!("{error:#}")),
        }
    }
    Ok(finding)
}
