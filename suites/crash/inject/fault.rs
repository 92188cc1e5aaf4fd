//! Which calls fail, and for how long.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::NamedTempFile;

/// What fails, and how. Locks do not: on a local file system they never meet a disk. `fdatasync` beside `fsync`: which one SQLite calls depends on how it is compiled.
const FAULTS: [(&str, &str); 14] = [
    ("fsync,fdatasync", "EIO"),
    ("pwrite64", "EIO"),
    ("pwrite64", "ENOSPC"),
    ("write", "ENOSPC"),
    ("write", "EIO"),
    ("ftruncate", "EIO"),
    ("openat", "EIO"),
    ("openat", "EMFILE"),
    ("mmap", "ENOMEM"),
    ("pread64", "EIO"),
    ("renameat2", "EIO"),
    ("unlink", "EIO"),
    ("statx", "EIO"),
    ("newfstatat,fstat", "EIO"),
];
/// Every call up to this one is tried; of later ones some.
const EVERY: usize = 16;
/// The last one that is tried.
const LAST: usize = 200;
/// How long a fault is armed that strikes each thread once, and how long one lasts.
const ONCE: Duration = Duration::from_millis(250);
const LASTING: Duration = Duration::from_millis(1500);

/// One fault, armed for a while.
#[derive(Debug, Clone)]
pub(super) struct Session {
    fault: usize,
    /// Which call of each thread fails.
    nth: usize,
    /// And all calls after it.
    pub(super) is_lasting: bool,
    pub(super) lasts: Duration,
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (call, error) = FAULTS[self.fault];
        let and_after = if self.is_lasting { " and all after it" } else { "" };
        write!(f, "{error} of {call} number {}{and_after}", self.nth)
    }
}

/// Goes through all faults: of each the first call, then the second, …, until none fails any more.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    nth: usize,
    due: Vec<Session>,
    clean: BTreeSet<usize>,
    times: usize,
}

impl fmt::Display for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} faults up to call {}, {} of them until none failed any more",
            FAULTS.len(),
            self.nth,
            self.clean.len()
        )?;
        if self.times > 0 {
            write!(f, ", {} sweeps before", self.times)?;
        }
        Ok(())
    }
}

impl Sweep {
    pub(super) fn next(&mut self) -> Session {
        loop {
            if let Some(session) = self.due.pop() {
                return session;
            }
            if self.clean.len() == FAULTS.len() || self.nth >= LAST {
                *self = Self { times: self.times + 1, ..Self::default() };
            }
            self.nth += if self.nth < EVERY { 1 } else { self.nth / 4 };
            for fault in (0..FAULTS.len()).rev().filter(|fault| !self.clean.contains(fault)) {
                let session = Session { fault, nth: self.nth, is_lasting: false, lasts: ONCE };
                if self.nth % 4 == 1 {
                    self.due.push(Session { is_lasting: true, lasts: LASTING, ..session.clone() });
                }
                self.due.push(session);
            }
        }
    }

    /// A fault that struck nobody is through.
    pub(super) fn saw(&mut self, session: &Session, injected: usize) {
        if injected == 0 {
            self.clean.insert(session.fault);
        }
    }
}

/// strace, attached.
pub(super) struct Armed {
    strace: Child,
    log: NamedTempFile,
}

impl Session {
    /// Makes the calls fail that name the files of these tenants, or their directory.
    pub(super) async fn arm(&self, cell: i32, directory: &Path, tenants: &[&str]) -> anyhow::Result<Armed> {
        let (call, error) = FAULTS[self.fault];
        let log = NamedTempFile::with_prefix("crash-inject-")?;
        let when = format!("{}{}", self.nth, if self.is_lasting { "+" } else { "" });
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-y", "-s", "0", "-e", &format!("trace={call}")]);
        strace.args(["-e", &format!("inject={call}:error={error}:when={when}")]);
        if !call.contains("stat") {
            // SQLite looks at every part of a path: a tenant without faults would meet them too.
            strace.arg("-P").arg(directory);
        }
        for tenant in tenants {
            for suffix in [".db", ".db-wal", ".db-shm", ".db.new"] {
                strace.arg("-P").arg(directory.join(format!("{tenant}{suffix}")));
            }
        }
        strace.arg("-o").arg(log.path()).args(["-p", &cell.to_string()]);
        let strace = strace.stdin(Stdio::null()).stderr(Stdio::null()).spawn().context("starting strace")?;
        let mut armed = Armed { strace, log };
        let begun = Instant::now();
        while !is_traced(cell) {
            ensure!(armed.strace.try_wait()?.is_none(), "strace ended");
            ensure!(begun.elapsed() < Duration::from_secs(10), "strace does not attach");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(armed)
    }
}

impl Armed {
    /// Ends the fault; how many calls it made fail.
    pub(super) async fn disarm(mut self) -> anyhow::Result<usize> {
        kill_process(Pid::from_child(&self.strace), Signal::TERM)?;
        let begun = Instant::now();
        while self.strace.try_wait()?.is_none() {
            ensure!(begun.elapsed() < Duration::from_secs(10), "strace does not detach");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let log = fs::read(self.log.path())?;
        Ok(String::from_utf8_lossy(&log).matches("(INJECTED)").count())
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        // Without it strace would keep its hold on the cell.
        if matches!(self.strace.try_wait(), Ok(None)) {
            let _detached = kill_process(Pid::from_child(&self.strace), Signal::TERM);
            let _reaped = self.strace.wait();
        }
    }
}

/// Whether all threads of a process have a tracer.
fn is_traced(process: i32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return false };
    threads.flatten().all(|thread| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
        tracer.is_none_or(|tracer| tracer.trim() != "0")
    })
}
