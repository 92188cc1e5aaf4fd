//! The engine of one tenant: one writer task and one reader task, each owning one plain SQLite connection.
//!
//! - Writes queue up; the writer takes what waits as one transaction ("group commit"), each unit inside its own
//!   savepoint, and answers all of them after the commit. No answer leaves before that.
//! - The ledger (journal, events, idempotency) is written set-wise in the string that commits.
//! - Reads queue up; the reader answers all waiting point reads with one statement and runs the others at one snapshot.
//! - A unit runs to its end in the task even when its caller is gone: dropping a future in the middle of a transaction
//!   is how commits become unknown.
//!
//! There is no `SqlitePool`: it pings on every acquire and release and hands every statement to another thread. The
//! measurements are in ADR 0002.

mod connection;
mod fault;
mod group;
mod handle;
mod job;
mod ledger;
mod reader;
mod totals;
mod unit;
mod writer;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};

pub(super) use self::connection::{Connection, Role};
pub(super) use self::fault::{Fault, fault_of};
pub use self::handle::{Read, Write};
pub use self::ledger::{Actor, Change, Done, Event, IdempotencyKey};
pub use self::reader::PointRead;
pub use self::totals::CountKey;
use self::totals::Totals;
pub use self::unit::Unit;
use super::error::{Outcome, Quarantine, Reason, StoreError, Unavailable};
use super::location::side_file;
use crate::domain::{Clock, IdSource, Masking, Scope};

/// A twin of a running request waits this long for it before it is told to come back (contract §8).
const TWIN_WAIT: Duration = Duration::from_secs(2);

/// How an engine behaves; the same for all tenants.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) queue: usize,
    pub(super) read_deadline: Duration,
    pub(super) write_deadline: Duration,
    pub(super) checkpoint_after: Duration,
    pub(super) writer_idle: Duration,
}

/// What an engine shares with all others.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<IdSource>,
    pub(super) masking: Masking,
    pub(super) counters: Arc<Counters>,
}

/// What the engines of a process have done since it started.
#[derive(Debug, Default)]
pub struct Counters {
    /// Write transactions committed: with `synchronous=FULL`, each is one sync of the WAL.
    pub commits: AtomicU64,
    /// Units of work that were part of a committed group.
    pub units: AtomicU64,
    /// Statements sent to SQLite, reads and writes, the engine's own included.
    pub statements: AtomicU64,
    /// Writes answered from an earlier request's stored answer.
    pub replays: AtomicU64,
    /// Point reads answered, and the statements that answered them.
    pub point_reads: AtomicU64,
    /// Statements that answered the point reads.
    pub point_batches: AtomicU64,
    /// Checkpoints that emptied a WAL.
    pub checkpoints: AtomicU64,
    /// Connections thrown away because a transaction on them could no longer be trusted.
    pub discarded: AtomicU64,
}

/// Where a tenant's file is and which file it was when it was opened.
#[derive(Debug, Clone)]
pub(super) struct OpenFile {
    pub(super) path: PathBuf,
    /// Device and inode; `None` for the template, which nobody replaces.
    pub(super) identity: Option<(u64, u64)>,
}

impl OpenFile {
    /// Whether the path still leads to the file that was opened. Only `stat`: opening a live file drops SQLite's locks.
    fn is_in_place(&self) -> bool {
        self.identity.is_none_or(|identity| file_identity(&self.path) == Some(identity))
    }

    /// Bytes of the WAL beside the file.
    fn wal_size(&self) -> u64 {
        std::fs::metadata(side_file(&self.path, "-wal")).map_or(0, |wal| wal.len())
    }

    /// Quarantines the tenant if its file is gone or another one lies in its place.
    fn check(&self, condition: &Condition) -> Result<(), Unavailable> {
        if !self.is_in_place() {
            condition.quarantine(Quarantine::Replaced);
        }
        condition.check()
    }

    /// Opens another connection to this very file. Looks before, because SQLite would replay the WAL that it finds
    /// beside the path into whatever lies there, and after, because only then it is certain which file was opened.
    async fn connect(
        &self,
        role: Role,
        counters: &Arc<Counters>,
        condition: &Condition,
    ) -> Result<Connection, Unavailable> {
        self.check(condition)?;
        let opened = Connection::open(&self.path, role, counters.clone()).await;
        let connection = opened.map_err(|error| fault::open_failed(error, condition))?;
        if let Err(why) = self.check(condition) {
            connection.close().await;
            return Err(why);
        }
        Ok(connection)
    }
}

/// Device and inode of what `path` names, without following a link.
pub(super) fn file_identity(path: &std::path::Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// One tenant's open file. Cheap to share; the last holder that lets go closes it.
pub struct TenantDb {
    writes: Option<mpsc::Sender<job::Job>>,
    reads: mpsc::Sender<reader::Job>,
    condition: Arc<Condition>,
    running: RunningKeys,
}

/// Whether a tenant may be served; set by its tasks, read by its callers.
#[derive(Debug, Default)]
pub(super) struct Condition {
    quarantine: OnceLock<Quarantine>,
}

impl Condition {
    pub(super) fn quarantine(&self, why: Quarantine) {
        if self.quarantine.set(why).is_ok() {
            tracing::error!(reason = %why, "tenant quarantined");
        }
    }

    pub(super) fn check(&self) -> Result<(), Unavailable> {
        match self.quarantine.get() {
            None => Ok(()),
            Some(&why) => Err(quarantined(why)),
        }
    }
}

/// The answer while a tenant is quarantined.
pub(super) fn quarantined(why: Quarantine) -> Unavailable {
    Unavailable {
        reason: Reason::Quarantined(why),
        outcome: Outcome::NotWritten,
        retry_after: Duration::from_secs(60),
    }
}

impl TenantDb {
    /// Starts the tasks of a tenant whose file is open for reading. `claim` is dropped once both connections are closed.
    pub(super) fn start<C: Send + 'static>(
        file: OpenFile,
        reader: Connection,
        shared: &Shared,
        condition: Arc<Condition>,
        claim: C,
    ) -> Self {
        let (reader_closed, when_reader_closed) = oneshot::channel();
        let snapshots = Arc::<AsyncMutex<()>>::default();
        let totals = Arc::<Totals>::default();
        let (reads, jobs) = mpsc::channel(shared.settings.queue);
        tokio::spawn(reader::run(
            jobs,
            file.clone(),
            reader,
            shared.clone(),
            condition.clone(),
            totals.clone(),
            snapshots.clone(),
            reader_closed,
        ));
        let (writes, jobs) = mpsc::channel(shared.settings.queue);
        let writer = writer::Writer::new(file, shared.clone(), condition.clone(), totals, snapshots);
        tokio::spawn(async move {
            writer.run(jobs, when_reader_closed).await;
            drop(claim);
        });
        Self { writes: Some(writes), reads, condition, running: RunningKeys::default() }
    }

    /// Starts a reader over a file that nobody changes.
    pub(super) fn start_immutable(path: PathBuf, reader: Connection, shared: &Shared) -> Self {
        let condition = Arc::new(Condition::default());
        let (reads, jobs) = mpsc::channel(shared.settings.queue);
        let file = OpenFile { path, identity: None };
        let (closed, _) = oneshot::channel();
        tokio::spawn(reader::run(
            jobs,
            file,
            reader,
            shared.clone(),
            condition.clone(),
            Arc::default(),
            Arc::default(),
            closed,
        ));
        Self { writes: None, reads, condition, running: RunningKeys::default() }
    }

    /// Runs a unit that writes. It commits together with its ledger entries, or not at all; the answer comes after the
    /// commit. With a `key`, an earlier unit's answer to the same request is returned instead of running this one.
    ///
    /// Write the unit as `async move |tx| …`. (`move |tx| async move { … }` fails with "implementation of
    /// `AsyncFnOnce` is not general enough".) It must not wait for anything but the database.
    ///
    /// # Errors
    /// Whatever the unit returns; [`StoreError::KeyReused`], [`StoreError::InProgress`], [`StoreError::Overloaded`] and
    /// [`StoreError::Unavailable`].
    pub async fn write<T, F>(
        &self,
        actor: Actor,
        key: Option<IdempotencyKey>,
        unit: F,
    ) -> Result<Done<T>, StoreError>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        F: AsyncFnOnce(&mut Write) -> Result<T, StoreError> + for<'a> Unit<'a, Write, T> + Send + 'static,
    {
        self.condition.check()?;
        let Some(writes) = &self.writes else {
            return Err(Unavailable::not_written(Reason::Stopping).into());
        };
        let running = key.as_ref().map(|key| self.running.enter(&key.key));
        let is_twin = running.as_ref().is_some_and(|running| running.is_twin);
        let (job, answer) = job::job(actor, key, running, unit);
        writes.try_send(job).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => StoreError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => Unavailable::not_written(Reason::Stopping).into(),
        })?;
        let lost = || StoreError::from(Unavailable::unknown(Reason::Stopping));
        if is_twin {
            let waited = tokio::time::timeout(TWIN_WAIT, answer).await.map_err(|_| StoreError::InProgress)?;
            return waited.map_err(|_| lost())?;
        }
        answer.await.map_err(|_| lost())?
    }

    /// Runs a unit that reads all rows, at one snapshot that holds every write answered before.
    ///
    /// # Errors
    /// Whatever the unit returns; [`StoreError::Overloaded`] and [`StoreError::Unavailable`].
    pub async fn read<T, F>(&self, unit: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: AsyncFnOnce(&mut Read) -> Result<T, StoreError> + for<'a> Unit<'a, Read, T> + Send + 'static,
    {
        self.read_in(Scope::All, unit).await
    }

    /// Runs a unit that reads the rows of `scope`, at one snapshot that holds every write answered before.
    ///
    /// # Errors
    /// Whatever the unit returns; [`StoreError::Overloaded`] and [`StoreError::Unavailable`].
    pub async fn read_in<T, F>(&self, scope: Scope, unit: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: AsyncFnOnce(&mut Read) -> Result<T, StoreError> + for<'a> Unit<'a, Read, T> + Send + 'static,
    {
        let (job, answer) = reader::unit_job(scope, unit);
        self.send_read(job)?;
        answer.await.map_err(|_| Unavailable::not_written(Reason::Stopping))?
    }

    /// Reads one record by its id; all point reads that wait together are answered by one statement.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`], [`StoreError::Unavailable`], [`StoreError::Sql`].
    pub async fn point_read<P: PointRead>(&self, id: String) -> Result<Option<P>, StoreError> {
        let (job, answer) = reader::point_job::<P>(id);
        self.send_read(job)?;
        match answer.await.map_err(|_| Unavailable::not_written(Reason::Stopping))?? {
            Some(row) => Ok(Some(P::from_row(&row)?)),
            None => Ok(None),
        }
    }

    fn send_read(&self, job: reader::Job) -> Result<(), StoreError> {
        self.condition.check()?;
        self.reads.try_send(job).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => StoreError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => Unavailable::not_written(Reason::Stopping).into(),
        })
    }
}

impl fmt::Debug for TenantDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantDb").field("condition", &self.condition).finish_non_exhaustive()
    }
}

/// The keys of the writes that are queued or running, with how many writes carry each.
#[derive(Debug, Clone, Default)]
struct RunningKeys(Arc<Mutex<HashMap<String, usize>>>);

/// A write's entry among the running keys; leaves it when dropped. It goes with the write, not with the request: a
/// client that gave up and repeats its request meets the twin that it left behind.
struct Running {
    keys: RunningKeys,
    key: String,
    is_twin: bool,
}

impl RunningKeys {
    fn enter(&self, key: &str) -> Running {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let carriers = entries.entry(key.to_owned()).or_insert(0);
        *carriers += 1;
        Running { keys: self.clone(), key: key.to_owned(), is_twin: *carriers > 1 }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut entries = self.keys.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(carriers) = entries.get_mut(&self.key) {
            *carriers -= 1;
            if *carriers == 0 {
                entries.remove(&self.key);
            }
        }
    }
}

impl Counters {
    fn add(counter: &AtomicU64, by: usize) {
        counter.fetch_add(u64::try_from(by).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
