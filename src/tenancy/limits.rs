//! How many tenants may be open at once, from what the machine allows this process.

use std::fmt;
use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::engine;

/// Descriptors of an open tenant: the file, its WAL and its shared memory for the first connection, two for the second, and
/// one to spare while it is made or closed. Then the file for each long read: while another connection holds a
/// lock, SQLite keeps the descriptor of one that is closed, for the next.
const FILES_PER_TENANT: u64 = 6 + engine::IN_TENANT as u64;
/// sqlx runs one thread for each connection.
const THREADS_PER_TENANT: u64 = 2;
/// Measured: at most 400 KiB for an active tenant.
const MEMORY_PER_TENANT: u64 = 400 * 1024;
/// Connections of long reads.
const ASIDE: u64 = engine::IN_PROCESS as u64;
/// Descriptors for logs, `LOCK`, the listener and the runtime; and for each long read the file and its WAL.
const OTHER_FILES: u64 = 64 + 2 * ASIDE;
/// Threads of the runtime and its blocking pool, and of long reads.
const OTHER_THREADS: u64 = 64 + ASIDE;

/// What this process may use.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// Descriptors.
    pub files: u64,
    /// Threads.
    pub threads: u64,
    /// Bytes of memory.
    pub memory: u64,
}

impl Machine {
    /// Raises the limit on descriptors as far as allowed and reads all limits.
    #[must_use]
    pub fn inspect() -> Self {
        Self { files: raise_file_limit(), threads: thread_limit(), memory: memory_limit() }
    }
}

/// How the limits are shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Tenants open at once.
    pub tenants: u64,
    /// Client connections at once.
    pub connections: usize,
    /// The limit that bound the number of tenants.
    pub bound_by: Bound,
}

/// What bounds the number of open tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// `storage.max_open_tenants`.
    Configured,
    /// `RLIMIT_NOFILE`.
    Files,
    /// The control group's `pids.max`, or `RLIMIT_NPROC`.
    Threads,
    /// The control group's `memory.max`, or the machine's memory: half of it is for tenants.
    Memory,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configured => "storage.max_open_tenants",
            Self::Files => "the limit on open files (ulimit -n)",
            Self::Threads => "the limit on threads (pids.max)",
            Self::Memory => "the limit on memory",
        })
    }
}

impl Capacity {
    /// Shares out `machine`: client connections first, at most half of the descriptors; the rest is for tenants.
    /// `configured` tenants (0 = as many as fit) are never exceeded.
    #[must_use]
    pub fn of(machine: Machine, configured: u64, max_connections: usize) -> Self {
        let files = machine.files.saturating_sub(OTHER_FILES);
        let connections = u64::try_from(max_connections).unwrap_or(u64::MAX).min(files / 2).max(16);
        let candidates = [
            (if configured == 0 { u64::MAX } else { configured }, Bound::Configured),
            (files.saturating_sub(connections) / FILES_PER_TENANT, Bound::Files),
            (machine.threads.saturating_sub(OTHER_THREADS) / THREADS_PER_TENANT, Bound::Threads),
            (machine.memory / 2 / MEMORY_PER_TENANT, Bound::Memory),
        ];
        let (tenants, bound_by) =
            candidates.into_iter().min_by_key(|(tenants, _)| *tenants).unwrap_or((1, Bound::Configured));
        Self {
            tenants: tenants.max(1),
            connections: usize::try_from(connections).unwrap_or(usize::MAX),
            bound_by,
        }
    }
}

fn raise_file_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok() {
        return maximum.unwrap_or(u64::MAX);
    }
    current.unwrap_or(u64::MAX)
}

fn thread_limit() -> u64 {
    let processes = getrlimit(Resource::Nproc).current.unwrap_or(u64::MAX);
    processes.min(control_group("pids.max").unwrap_or(u64::MAX))
}

fn memory_limit() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        kib.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    let machine = machine.map_or(u64::MAX, |kib| kib.saturating_mul(1024));
    machine.min(control_group("memory.max").unwrap_or(u64::MAX))
}

/// The tightest value of a control-group file, from this process's group up to the root; "max" is no limit.
fn control_group(file: &str) -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mut directory = std::path::PathBuf::from("/sys/fs/cgroup").join(group);
    let mut tightest = None;
    loop {
        let value =
            fs::read_to_string(directory.join(file)).ok().and_then(|text| text.trim().parse::<u64>().ok());
        tightest = match (tightest, value) {
            (Some(a), Some(b)) => Some(u64::min(a, b)),
            (a, b) => a.or(b),
        };
        if directory == std::path::Path::new("/sys/fs/cgroup") || !directory.pop() {
            return tightest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOMY: Machine = Machine { files: 1 << 20, threads: 1 << 20, memory: 1 << 40 };

    #[test]
    fn the_tightest_limit_binds() {
        let capacity = |machine, configured| Capacity::of(machine, configured, 4096);
        assert_eq!(capacity(ROOMY, 7).bound_by, Bound::Configured);
        assert_eq!(capacity(Machine { files: 20_000, ..ROOMY }, 0).bound_by, Bound::Files);
        assert_eq!(capacity(Machine { threads: 400, ..ROOMY }, 0).tenants, 163);
        assert_eq!(capacity(Machine { memory: 256 << 20, ..ROOMY }, 0).bound_by, Bound::Memory);
    }

    #[test]
    fn tenants_and_connections_fit_into_the_descriptors() {
        for files in [256, 512, 1024, 20_000, 65_536] {
            let capacity = Capacity::of(Machine { files, ..ROOMY }, 0, 4096);
            let used = capacity.tenants * FILES_PER_TENANT + capacity.connections as u64 + OTHER_FILES;
            assert!(used <= files, "{files}: {capacity:?} use {used}");
            assert!(capacity.tenants >= 10, "{files}: {capacity:?}");
        }
    }

    #[test]
    fn at_least_one_tenant_can_be_open() {
        assert_eq!(Capacity::of(Machine { files: 10, threads: 1, memory: 0 }, 0, 10).tenants, 1);
    }
}
